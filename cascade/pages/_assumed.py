"""What a page says was assumed: instruments and books, accounts, rules, and what the model leaves out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .._report import amount, price_text
from .._standing import loaded_mark
from .._state import SYSTEM, State
from ..rules import VenueRules
from ._html import paragraph, table

ALWAYS = (
    "mark",
    "clearing",
    "trigger",
    "queue",
    "size",
    "order_price",
    "residual",
    "shortfall",
    "surplus",
    "adl_rank",
)
"""Fields of the rules that are shown even at their defaults."""
NEAR = (0.01, 0.05)
"""Distances from the mid within which depth is told."""
LEFT_OUT = (
    "What the model leaves out: books are not replenished while the cascade runs, nobody adds margin, closes "
    "in time or trades against the move, and no other venue holds the price. Depth that was not loaded is "
    "unknown: a run that reaches it says so."
)


def market_table(state: State, rules: VenueRules) -> str:
    """Instruments: terms, mark, who holds what, how deep the books are."""
    terms, held = [], []
    for i, ins in enumerate(state.instruments):
        tick, lot = float(ins.tick_size), float(ins.lot_size)
        mark = loaded_mark(state, i, rules.mark)
        lots = state.row_lots[state.row_instrument == i].astype(np.float64)
        orders = state.orders[i]
        bids, asks = orders.prices(1), orders.prices(-1)
        depth = ["no book", "no book"]
        if bids.size and asks.size:
            mid = (int(bids.max()) + int(asks.min())) / 2
            near = np.abs(orders.price / mid - 1)
            depth = [
                " / ".join(
                    f"{orders.lots[(orders.side == side) & (near <= d)].astype(np.float64).sum() * lot:,.6g}"
                    for side in (1, -1)
                )
                for d in NEAR
            ]
        terms.append(
            (
                ins.symbol,
                ins.contract,
                price_text(tick, tick),
                f"{lot:.10g}",
                f"{len(ins.tiers)}",
                f"{float(ins.tiers[0].maintenance_rate):.4g}" if ins.tiers else "0",
            )
        )
        held.append(
            (
                ins.symbol,
                "none" if mark is None else price_text(mark / 1024 * tick, tick),
                f"{lots[lots > 0].sum() * lot:,.6g}",
                f"{-lots[lots < 0].sum() * lot:,.6g}",
                *depth,
            )
        )
    named = ("instrument", "contract", "tick", "lot", "margin tiers", "lowest maintenance rate")
    holds = ("instrument", "mark", "long", "short", *(f"bids / asks within {d:.0%}" for d in NEAR))
    users = int((state.account_mode != SYSTEM).sum())
    positions = int((state.row_lots != 0).sum())
    words = (
        f"{users:,} margin accounts with {positions:,} open positions. Quantities are in each instrument's "
        "own unit; a difference of long and short is held outside the venue."
    )
    return (
        paragraph(words)
        + table("Instruments", named, terms, 2)
        + table("Marks, open interest and depth before the shock", holds, held)
    )


def rules_table(rules: VenueRules, fund: float, vault: float) -> str:
    """The rules that decide most, and every one that differs from its default."""
    rows = [("insurance fund at the start", amount(fund), ""), ("vault at the start", amount(vault), "")]
    for field in dataclasses.fields(rules):
        value = getattr(rules, field.name)
        changed = value != field.default
        if changed or field.name in ALWAYS:
            rows.append((field.name, _words(value), _words(field.default) if changed else ""))
    caption = "Rules of the venue (fields of VenueRules; those not listed are at their defaults)"
    return table(caption, ("rule", "value", "default, where it differs"), rows, 3)


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_words(x) for x in value) or "none"
    return "none" if value is None else str(value)
