"""Margin tiers: deductions, maintenance margin."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ..instruments import Instrument
from ..rules import VenueRules
from ._inputs import Inputs
from ._markets import Contract, market

AT_MARK = VenueRules(mark="index")


def rows_of(inputs: Inputs) -> list[list[Any]]:
    """Rows without amounts from floors and maintenance rates: amounts follow from continuity."""
    floors, rates = inputs.numbers("floors"), inputs.numbers("rates")
    return [[a, b, r, r] for a, b, r in zip(floors, [*floors[1:], None], rates, strict=True)]


def deductions(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The amounts of a table, as an Instrument fills them in."""
    made = Instrument("X", tick_size=1, lot_size=1, tiers=rows_of(inputs))
    return {"deductions": [float(tier.amount) for tier in made.tiers]}


def deduction_step(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The amount of one more tier, above a tier of a given rate and amount."""
    floor, before = inputs.number("floor"), inputs.number("prev_rate")
    owed = inputs.number("prev_deduction")
    rows: list[list[Any]] = [
        [0, floor, before, before],
        [floor, None, inputs.number("rate"), inputs.number("rate")],
    ]
    if owed:  # a free tier so long that the next one's amount is the given one
        free = owed / before
        rows = [[0, free, 0, 0], [free, floor, before, before], rows[1]]
    made = Instrument("X", tick_size=1, lot_size=1, tiers=rows)
    return {"deduction": float(made.tiers[-1].amount)}


def maintenance(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Maintenance margin of a notional: a position of that size at price 1."""
    size = inputs.number("notional")
    contract = Contract("X", rows_of(inputs), price=Fraction(1), sizes=[size])
    made = market(
        [contract],
        rules=AT_MARK,
        balances={"a": Fraction(0)},
        positions=[{"account": "a", "instrument": "X", "size": size, "entry_price": 1}],
    )
    return {"maintenance_margin": float(made.margin()["maintenance"][0])}


MODELS = {
    "tier_deductions": deductions,
    "tier_deduction_step": deduction_step,
    "tier_mm": maintenance,
}
