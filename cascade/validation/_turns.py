"""What a turn does: stages below maintenance, parts of positions, fillable prices, limits of funds."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .. import venues
from ..market import Market
from ..records import EventKind
from ..rules import VenueRules
from ..shocks import Shock
from ._inputs import Inputs, Unknown
from ._losses import BOOK
from ._margins import PPM, dydx_account
from ._markets import Contract, market

AT_MARK = VenueRules(mark="index")
LOT = Fraction(1, 1000)


def long_at_one(
    size: Fraction,
    equity: Fraction,
    tiers: Any,
    rules: VenueRules,
    *,
    vault: Fraction = Fraction(0),
    lot: Fraction = LOT,
    price: Fraction = Fraction(1),
) -> Market:
    """A long of this size at a price, another account short as much, and bids for it at 1."""
    contract = Contract("X", tiers, price=price, prices=[Fraction(1)], sizes=[size, lot])
    made = market(
        [contract],
        rules=rules,
        vault=vault,
        balances={"a": equity, "other": 100 * size * price},
        positions=[
            {"account": "a", "instrument": "X", "size": size, "entry_price": price},
            {"account": "other", "instrument": "X", "size": -size, "entry_price": price},
        ],
    )
    made.load_book("X", {"price": [1], "quantity": [size]}, BOOK)
    return made


def hl_stage(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What happens first to an account: nothing, an order, the vault's takeover, or deleveraging."""
    equity, needed = inputs.number("equity"), inputs.number("maintenance_margin")
    size = 10 * needed
    made = long_at_one(
        size, equity, Fraction(1, 10), venues.hyperliquid.rules.replace(mark="index"), vault=1000 * size
    )
    names = {EventKind.ORDER: "market", EventKind.TAKEOVER: "backstop", EventKind.ADL: "adl"}
    for kind in made.run().events["kind"].tolist():
        if kind in names:
            return {"stage": names[EventKind(kind)]}
    return {"stage": "none"}


def ordered(made: Market) -> Fraction:
    """The quantity of the first liquidation order."""
    return orders_of(made.run(max_waves=1).events, made)[0]


def orders_of(events: Any, made: Market) -> list[Fraction]:
    """The quantities of all orders in a run."""
    lots = events["quantity"][events["kind"] == EventKind.ORDER].tolist()
    return [abs(n) * made.instruments[0].lot_size for n in lots]


def hl_partial(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The notional of a liquidation order: a part of a large position first, after that all that is left."""
    notional, fraction = inputs.number("notional"), inputs.number("fraction")
    rules = AT_MARK.replace(
        size="fraction",
        size_fraction=fraction,
        size_above=inputs.number("threshold"),
        then_whole=True,
        cooldown_ns=inputs.whole("cooldown_s", 30) * 10**9,
    )
    if not inputs.raw("already_partial", False):
        return {"order_notional": ordered(long_at_one(notional, notional / 100, Fraction(1, 2), rules))}
    if fraction >= 1 or notional <= 0:
        raise Unknown("nothing is left after the part")
    before, price = notional / (1 - fraction), Fraction(1)
    while before * price <= inputs.number("threshold"):  # it was larger when the part was ordered
        price *= 2
    made = long_at_one(before, before / 100, Fraction(1, 2), rules, price=price)
    simulation = made.start()
    simulation.settle()
    if price > 1:
        simulation.apply(Shock(index={"X": 1 / price - 1}))
    simulation.advance_ns(rules.cooldown_ns)
    simulation.settle()
    return {"order_notional": orders_of(simulation.result().events, made)[1]}


def dydx_size(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The least and the most notional that one liquidation order of a position is for, in whole quote
    quantums."""
    notional, least = Fraction(inputs.whole("notional")), inputs.number("min_notional")
    orders = [
        ordered(
            long_at_one(
                notional,
                notional / 100,
                Fraction(1, 2),
                AT_MARK.replace(size="fraction", size_fraction=fraction, size_minimum=least),
                lot=Fraction(1),
            )
        )
        for fraction in (0, inputs.number("max_portion_ppm") * PPM)
    ]
    return {"min_liquidatable": orders[0], "max_liquidatable": orders[1]}


def okx_to_first_tier(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The lots of an order that brings a position down into the first of two tiers."""
    size, limit = inputs.number("size"), inputs.number("tier1_max")
    above = limit + LOT  # the limit itself is still in the first tier
    tiers = [[0, above, "0.1", "0.1"], [above, None, "0.5", "0.5"]]
    made = long_at_one(size, size / 100, tiers, AT_MARK.replace(size="step_down", size_steps=1))
    return {"close_qty": ordered(made)}


def bybit_adl(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a pool's drawdown stops the fund and deleveraging begins."""
    comparisons = {"<": "lt", "<=": "le"}
    if inputs.text("cmp") not in comparisons:
        raise Unknown(f"no comparison {inputs.text('cmp')!r}")
    rules = venues.bybit.rules.replace(
        fund_stop=-inputs.number("trigger_ratio"),
        fund_resume=-inputs.number("stop_ratio"),
        fund_stop_above=inputs.number("trigger_threshold"),
        fund_stop_at=comparisons[inputs.text("cmp")],
    )
    said = rules.fund_guard(
        inputs.number("balance"),
        inputs.number("max_balance"),
        pnl=inputs.number("symbol_pnl"),
        max_pnl=inputs.number("symbol_max_pnl"),
    )
    return {
        "pnl_ratio": said.ratio,
        "triggered": said.triggered,
        "adl_amount": said.overshoot,
        "stopped": said.resumed,
    }


def okx_adl(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a fund has fallen so far from its average that deleveraging begins."""
    rules = venues.okx.rules.replace(
        fund_stop=inputs.number("pct"), fund_stop_amount=inputs.number("abs_floor")
    )
    said = rules.fund_guard(inputs.number("current"), inputs.number("avg8h"))
    return {"threshold": said.threshold, "triggered": said.triggered}


def dydx_fillable(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The fillable price of a position, in quote quantums a base quantum."""
    rules = AT_MARK.replace(
        order_price="fillable",
        fillable_adjustment=inputs.number("bankruptcy_adjustment_ppm") * PPM,
        fillable_spread=inputs.number("smmr_ppm") * PPM,
    )
    table = dydx_account(inputs, rules).fillable_prices()
    symbol = inputs.rows("positions")[inputs.whole("target")].text("market")
    return {"fillable_price": float(table["fillable_price"][table["instrument"].tolist().index(symbol)])}


def dydx_insurance(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What the fund gets or pays when a position is filled at a price: the liquidation fee, at most what the
    fill was better than bankruptcy; or what it was worse."""
    rules = AT_MARK.replace(
        fee_cap="improvement", fee_to="fund", surplus="account", residual=(), shortfall=("fund",)
    )
    [row] = inputs.rows("positions")
    size, price = row.whole("quantums"), inputs.number("fill_price") * 10**6 / row.number("unit")
    fee = inputs.number("max_fee_ppm") * PPM
    made = dydx_account(inputs, rules, liquidation_fee=fee, fund=10**15, prices=[price])
    if abs(size) != inputs.whole("fill_quantums"):
        raise Unknown("a fill of a part of the position")
    level = {"price": [price], "quantity": [abs(size)]}
    made.load_book(row.text("market"), level if size > 0 else BOOK, BOOK if size > 0 else level)
    change = Fraction(0)
    table = made.run().flows
    for amount, source, target in zip(
        *(table[name].tolist() for name in ("amount", "from", "to")), strict=True
    ):
        change += Fraction(amount) * ((target == "fund") - (source == "fund"))
    return {"insurance_delta": int(change)}


def dydx_deleverage(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """A short closed against a long at the short's bankruptcy price, unless the long would owe money."""
    size, price = inputs.number("size"), inputs.number("price")
    rules = AT_MARK.replace(
        queue="fifo",
        order_price="bankruptcy",
        residual=("adl",),
        shortfall=(),
        adl_rank="none",
        adl_overlap=True,
        trigger="le",
    )
    contract = Contract("X", 1, price=price, sizes=[size])
    made = market(
        [contract],
        rules=rules,
        balances={
            "short": inputs.number("liq_quote") - size * price,
            "long": inputs.number("off_quote") + size * price,
        },
        positions=[
            {"account": "short", "instrument": "X", "size": -size, "entry_price": price},
            {"account": "long", "instrument": "X", "size": size, "entry_price": price},
        ],
    )
    made.load_book("X", BOOK, BOOK, complete=True)
    result = made.run()
    done = "short" in result.adl["bankrupt"].tolist()
    left = dict(zip(result.accounts["account"].tolist(), result.accounts["balance"].tolist(), strict=True))
    return {"ok": done, "offsetting_quote_after": float(left["long"]) if done else None}


MODELS = {
    "hl_stage": hl_stage,
    "hl_partial": hl_partial,
    "dydx_size": dydx_size,
    "okx_partial_to_tier1": okx_to_first_tier,
    "bybit_adl": bybit_adl,
    "okx_adl": okx_adl,
    "dydx_fillable": dydx_fillable,
    "dydx_if_delta": dydx_insurance,
    "dydx_deleverage": dydx_deleverage,
}
