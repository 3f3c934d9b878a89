"""Maintenance at entry or with fees, rates by size and open interest, bankruptcy values by share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from ..instruments import Instrument
from ..market import Market
from ..records import EventKind
from ..rules import VenueRules
from ._inputs import Inputs
from ._markets import Contract, market
from ._prices import isolated, one_tier, prices

AT_MARK = VenueRules(mark="index")
AT_ENTRY = AT_MARK.replace(maintenance_on="entry")
WITH_FEE = AT_MARK.replace(maintenance_fee="taker")
PPM = Fraction(1, 10**6)
QUANTUM = Fraction(1, 10**6)
"""dYdX's quote quantum in USDC."""


def linear_at_entry(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """An isolated linear position with maintenance on the value at entry, and margin put in or taken out."""
    entry, size = inputs.number("entry"), inputs.number("size")
    margin = entry * size / inputs.number("leverage") + inputs.number("extra_margin", 0)
    tiers = one_tier(inputs.number("mmr"), inputs.number("mm_deduction", 0))
    return prices(isolated(inputs.side(), size, entry, margin, tiers, AT_ENTRY))


def linear_with_fee(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """An isolated linear position whose maintenance holds the fee of closing at the mark."""
    tiers = one_tier(inputs.number("mmr"), inputs.number("mm_deduction", 0))
    made = isolated(
        inputs.side(),
        inputs.number("size"),
        inputs.number("entry_price"),
        inputs.number("margin"),
        tiers,
        WITH_FEE,
        taker_fee=inputs.number("taker"),
    )
    return prices(made)


def inverse_at_entry(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """An isolated inverse position with maintenance on the value at entry: the value is its initial margin at
    leverage 1."""
    size, entry, rate = inputs.number("qty"), inputs.number("entry"), inputs.number("mmr")
    said = []
    for initial in (Fraction(1), 1 / inputs.number("leverage")):
        tiers = [[0, None, initial, rate, inputs.number("mm_deduction", 0)]]
        margin = size / entry / inputs.number("leverage")
        said.append(isolated(inputs.side(), size, entry, margin, tiers, AT_ENTRY, contract="inverse"))
    whole, part = (made.margin() for made in said)
    return {
        "position_value": float(whole["initial"][-1]),
        "initial_margin": float(part["initial"][-1]),
        "maintenance_margin": float(part["maintenance"][-1]),
        **prices(said[1]),
    }


def bitmex_isolated(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """BitMEX's page on isolated margin, which treats the contract as linear."""
    entry, value = inputs.number("entry"), inputs.number("position_value")
    made = isolated(
        inputs.side(), value / entry, entry, inputs.number("margin"), one_tier(inputs.number("mm")), AT_ENTRY
    )
    return prices(made)


def bybit_inverse_cross(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """An inverse position under cross margin, fees of closing at the bankruptcy price counted; the printed
    liquidation price is rounded to the tick that is reached first."""
    size, entry, tick = inputs.number("qty"), inputs.number("entry"), inputs.number("tick")
    side = inputs.side("side", 1)
    rules = AT_ENTRY.replace(maintenance_fee="taker_at_bankruptcy", bankruptcy_fee="taker")
    contract = Contract(
        "X",
        one_tier(inputs.number("mmr")),
        price=entry,
        sizes=[size],
        contract="inverse",
        taker_fee=inputs.number("taker"),
    )
    made = market(
        [contract],
        rules=rules,
        balances={"a": inputs.number("balance") - inputs.number("order_margin", 0)},
        positions=[{"account": "a", "instrument": "X", "size": side * size, "entry_price": entry}],
    )
    said = prices(made)
    steps = Fraction(said["liquidation_price"]) / tick
    return {
        "bankruptcy_price": said["bankruptcy_price"],
        "liquidation_price": (math.ceil(steps) if side == 1 else math.floor(steps)) * tick,
    }


def deribit_linear(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """A rate that rises with every coin of size."""
    base, slope = inputs.number("base_rate"), inputs.number("per_unit")
    size, price = inputs.number("size"), inputs.number("price")
    contract = Contract(
        "X", one_tier(base), price=price, sizes=[size], initial_slope=slope, maintenance_slope=slope
    )
    made = market(
        [contract],
        rules=AT_MARK,
        balances={"a": Fraction(0)},
        positions=[{"account": "a", "instrument": "X", "size": size, "entry_price": price}],
    )
    margin = float(made.margin()["initial"][0])
    worth = float(size * price)
    return {"rate": margin / worth, "margin_coin": margin / float(price), "margin_usd": margin}


def dydx_initial(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Initial margin under open interest, in whole quote quantums: the account's position and the others'."""
    notional, interest = inputs.whole("notional"), inputs.whole("oi")
    lower, upper = inputs.whole("lower"), inputs.whole("upper")
    scaled: dict[str, Any] = {}
    if upper > lower:
        scaled = {"open_interest_floor": lower, "open_interest_cap": upper}
    rate = inputs.number("imf_ppm") * PPM
    contract = Instrument("X", tick_size=1, lot_size=1, tiers=[[0, None, rate, 0, 0]], **scaled)
    made = Market(contract, rules=AT_MARK, cash_quantum=1)
    made.set_prices(index={"X": 1}, last={"X": 1})
    sizes = [notional, interest - notional] if interest > notional else [notional]
    made.load_accounts({"account": [*range(len(sizes))], "balance": [0] * len(sizes)})
    made.load_positions(
        {
            "account": [*range(len(sizes))],
            "instrument": ["X"] * len(sizes),
            "size": sizes,
            "entry_price": [1] * len(sizes),
        }
    )
    return {"initial_margin": int(made.margin()["initial"][0])}


def dydx_account(
    inputs: Inputs, rules: VenueRules, *, fund: int = 0, prices: Iterable[Fraction] = (), **terms: Any
) -> Market:
    """A subaccount of dYdX in whole quantums: lots are base quantums, the cash quantum is the quote's, or
    finer where a price has a fraction of it."""
    rows = inputs.rows("positions")
    contracts, balance = [], Fraction(inputs.whole("quote_quantums"))
    positions: dict[str, list[Any]] = {"account": [], "instrument": [], "size": [], "entry_price": []}
    at = {}
    for row in rows:
        symbol, size = row.text("market"), row.whole("quantums")
        price = row.number("price") / QUANTUM / row.number("unit")
        initial = row.number("imf_ppm") * PPM
        tiers = [[0, None, initial, initial * row.number("mf_ppm") * PPM, 0]]
        tick = Fraction(1, math.lcm(price.denominator, *(x.denominator for x in prices)))
        contracts.append(Instrument(symbol, tick_size=tick, lot_size=1, tiers=tiers, **terms))
        at[symbol] = price
        balance += size * price
        for name, value in (("account", "a"), ("instrument", symbol), ("size", size), ("entry_price", price)):
            positions[name].append(value)
    if not contracts:
        contracts, at = [Instrument("X", tick_size=1, lot_size=1)], {"X": Fraction(1)}
    ticks = (x.tick_size.denominator for x in contracts)
    made = Market(contracts, rules=rules, fund=fund, cash_quantum=Fraction(1, math.lcm(*ticks)))
    made.set_prices(index=at)
    made.load_accounts({"account": ["a"], "balance": [balance]})
    if rows:
        made.load_positions(positions)
    return made


def dydx_bankruptcy(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What closing a part of a position is worth at its bankruptcy price, in quote quantums that the account
    receives."""
    made = dydx_account(inputs, AT_MARK.replace(bankruptcy_share="maintenance"))
    symbol = inputs.rows("positions")[inputs.whole("target")].text("market")
    value = made.bankruptcy_value("a", symbol, abs(inputs.whole("delta_quantums")))
    return {"quote_delta": math.ceil(-value)}


def dydx_liquidatable(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a run looks at the account as one to be liquidated."""
    events = dydx_account(inputs, AT_MARK).run().events
    return {"liquidatable": bool((events["kind"] == EventKind.QUEUED).any())}


MODELS = {
    "linear_iso_entry_mm": linear_at_entry,
    "linear_iso_mark_mm_fee": linear_with_fee,
    "inverse_iso_entry_mm": inverse_at_entry,
    "bitmex_isolated_simple": bitmex_isolated,
    "bybit_inverse_cross": bybit_inverse_cross,
    "deribit_linear": deribit_linear,
    "dydx_im": dydx_initial,
    "dydx_bankruptcy": dydx_bankruptcy,
    "dydx_is_liquidatable": dydx_liquidatable,
}
