"""What a venue would show of its queues: the fillable price of each position, and its place in
deleveraging."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ._standing import MODE_NAMES, Standing, per_instrument, slot_names
from ._state import State
from .rules import VenueRules
from .tables import Table


def fillable_table(names: Any, standing: Standing, rules: VenueRules) -> Table:
    """The fillable price of every position: see `Market.fillable_prices`."""
    state, rows = standing.state, standing.rows
    adjustment, spread = rules.exact("fillable_adjustment"), rules.exact("fillable_spread")
    assert adjustment is not None
    assert spread is not None
    price = np.full(len(rows), np.nan)
    columns = (rows[name].tolist() for name in ("account", "instrument", "lots"))
    for k, (a, i, lots) in enumerate(zip(*columns, strict=True)):
        equity, needed = int(standing.equity[a]), int(standing.needed[a])
        part = adjustment * Fraction(needed - equity, needed) if needed else Fraction(0)
        part = min(max(part, Fraction(0)), Fraction(1))
        # What the position is worth to its owner at the fillable price; the price follows.
        worth = int(standing.value[k]) - part * spread * int(standing.row_needed[k])
        terms, tick = state.terms[i], state.instruments[i].tick_size
        size = Fraction(lots * terms.coef_num, terms.coef_den)
        if terms.contract == 0:
            price[k] = float(worth / size * tick)
        elif worth * size < 0:
            price[k] = float(-size / worth * tick)
    marks = zip(standing.marks, state.instruments, strict=True)
    mark = np.array([float(m * ins.tick_size / 1024) for m, ins in marks])[rows["instrument"]]
    return Table(
        {
            **_names_of(names, state, rows["account"], rows["instrument"], rows["slot"]),
            "size": per_instrument(state, rows["instrument"], rows["lots"], lambda ins: ins.lot_size),
            "mark": mark, "fillable_price": price,
        }
    )  # fmt: skip


def ranks_table(names: Any, state: State, i: int, engine: Any) -> Table:
    """The deleveraging ranks of one instrument: see `Market.adl_ranks`."""
    parts = [engine.ranking(i, side) for side in (1, -1)]
    account, slot, lots, score = (np.concatenate([part[k] for part in parts]) for k in range(4))
    instrument = np.full(len(account), i)
    return Table(
        {
            **_names_of(names, state, account, instrument, slot),
            "size": per_instrument(state, instrument, lots, lambda ins: ins.lot_size),
            "score": score,
            "rank": np.concatenate([np.arange(1, len(part[0]) + 1) for part in parts]),
        }
    )


def _names_of(names: Any, state: State, account: Any, instrument: Any, slot: Any) -> dict[str, Any]:
    symbols = np.array([ins.symbol for ins in state.instruments])
    return {
        "account": names.account_names(account), "instrument": symbols[instrument],
        "position_side": slot_names(slot), "margin_mode": MODE_NAMES[state.account_mode[account]],
    }  # fmt: skip
