"""Marks as trees, and funding rates and payments."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .. import marks
from ..funding import Funding
from ..instruments import Instrument
from ..market import Market
from ..rules import VenueRules
from ..shocks import Shock
from ._inputs import Inputs
from ._markets import Contract, grid, market

FINEST = 2**40
"""Ticks in a price: marks are then exact to 1e-15."""


def priced(price: Fraction, others: list[Fraction], **terms: Any) -> Market:
    """A market with one instrument, without a book, on so fine a grid that its marks are as good as exact."""
    tick = grid([price, *others])
    while price / tick < FINEST:
        tick /= 10
    return Market(
        Instrument("X", tick_size=tick, lot_size=1 / tick / 10**6, **terms), cash_quantum=Fraction(1, 10**6)
    )


def said(made: Market, tree: marks.Mark) -> Fraction:
    """The mark that a tree gives."""
    [mark] = made.marks(VenueRules(mark=tree))
    return mark * made.instruments[0].tick_size / 1024


def binance_mark(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Median of the funded index, the index plus the mean basis, and the last price."""
    index, last = inputs.number("index"), inputs.number("contract_price")
    made = priced(index, [last, inputs.number("basis_ma")], funding_interval=inputs.number("funding_period"))
    made.set_prices(
        index={"X": index},
        last={"X": last},
        funding_rate={"X": inputs.number("last_funding")},
        time_to_funding={"X": inputs.number("time_to_funding")},
        basis={"X": inputs.number("basis_ma")},
    )
    first, second = marks.funded_index(), marks.index_plus_basis(30)
    return {
        "price1": float(said(made, first)),
        "price2": float(said(made, second)),
        "mark_price": float(said(made, marks.median(first, second, marks.last()))),
    }


def bitmex_fair(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The index with the funding that is still to come."""
    index = inputs.number("index")
    made = priced(index, [], funding_interval=inputs.number("interval"))
    made.set_prices(
        index={"X": index},
        funding_rate={"X": inputs.number("funding_rate")},
        time_to_funding={"X": inputs.number("time_to_funding")},
    )
    fair = said(made, marks.funded_index())
    return {"funding_basis": float(fair / index - 1), "fair_price": float(fair)}


def weighted_median(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Other venues' prices, weighted."""
    prices, weights = inputs.numbers("values"), inputs.numbers("weights")
    names = [f"venue{k}" for k in range(len(prices))]
    made = priced(prices[0], prices[1:])
    made.set_prices(index={"X": prices[0]}, external={"X": dict(zip(names, prices, strict=True))})
    tree = marks.weighted_median(
        *((marks.external(name), weight) for name, weight in zip(names, weights, strict=True))
    )
    return {"price": float(said(made, tree))}


def funding_clamp(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Premium plus a clamped difference to the interest rate."""
    rule = Funding(
        interest=inputs.number("interest"), clamp=inputs.number("clamp"), divisor=inputs.number("divisor", 1)
    )
    return {"rate": rule.rate(inputs.number("premium"))}


def funding_hourly(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The same an hour and capped, and what a position pays at the oracle's price."""
    size, oracle = inputs.number("position"), inputs.number("oracle_price")
    rule = Funding(
        interest=inputs.number("interest"),
        clamp=inputs.number("clamp"),
        divisor=inputs.number("divisor", 8),
        cap=inputs.number("cap"),
        interval=1,
        price="index",
    )
    rate = rule.rate(inputs.number("premium"))
    contract = Contract("X", None, price=oracle, sizes=[size])
    made = market(
        [contract],
        rules=VenueRules(mark="index", funding=rule),
        balances={"a": 2 * abs(size) * oracle},
        positions=[{"account": "a", "instrument": "X", "size": size, "entry_price": oracle}],
    )
    before, after = made.margin()["balance"][0], made.run(Shock(funding={"X": rate})).accounts["balance"][0]
    return {"hourly_rate": rate, "payment": float(before - after)}


def deribit_funding(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """A premium less a dead band."""
    rule = Funding(damper=inputs.number("damper"), cap=inputs.number("cap"), interval=8)
    return {"rate": rule.rate(inputs.number("premium"))}


def dydx_clamp(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The largest rate that an instrument's margin rates allow, in whole parts per million."""
    initial = inputs.number("imf_ppm") / 10**6
    kept = initial * inputs.number("mf_ppm") / 10**6
    contract = Instrument("X", tick_size=1, lot_size=1, tiers=[[0, None, initial, kept, 0]])
    limit = Funding(margin_cap=inputs.number("clamp_factor_ppm") / 10**6, interval=1).limit(contract)
    assert limit is not None
    return {"max_abs_rate_ppm": int(limit * 10**6)}


MODELS = {
    "binance_mark": binance_mark,
    "bitmex_fair": bitmex_fair,
    "weighted_median": weighted_median,
    "funding_clamp": funding_clamp,
    "funding_hourly": funding_hourly,
    "deribit_funding": deribit_funding,
    "dydx_funding_clamp": dydx_clamp,
}
