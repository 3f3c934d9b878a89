"""Causes of a run: who pushed whom, which instrument's move forced out what, how many liquidations one
brings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ._rundata import RunData
from ._state import COLLATERAL, INVERSE, State
from .instruments import RATE_ONE
from .margin import MARK_ONE
from .records import NO_INSTRUMENT, SLOT_MASK, TAKER_SLOT_SHIFT, EventKind
from .tables import Table

FEW = 30
"""Liquidations below which a branching ratio says little: its standard error is about 1 / sqrt(n)."""
SHOCK = "shock"
"""The cause of what nobody's liquidation caused, in a network with roots."""


def through(data: RunData, liquidations: np.ndarray) -> np.ndarray:
    """(n,) the instrument whose event was the cause of each liquidation, -1 where none was."""
    changes = data.mark_changes
    assert changes is not None
    cause = liquidations["cause"]
    order = np.argsort(changes["seq"], kind="stable")
    at = np.searchsorted(changes["seq"][order], cause)
    found = np.full(len(cause), -1)
    if len(order):
        at = np.minimum(at, len(order) - 1)
        moved = (changes["seq"][order][at] == cause) & (cause >= 0)
        found[moved] = changes["instrument"][order][at][moved]
    # An event that changed the account directly - its own order filled, a deleveraging - is of the instrument
    # then being liquidated.
    direct = (found < 0) & (liquidations["cause_row"] >= 0)
    found[direct] = liquidations["instrument"][liquidations["cause_row"][direct]]
    return found


def downstream(liquidations: np.ndarray) -> np.ndarray:
    """(n,) int64: the value, in quanta, that each liquidation closed together with all that it caused,
    directly or not."""
    total = np.abs(liquidations["closed_value"])
    for row, cause in reversed(list(enumerate(liquidations["cause_row"].tolist()))):
        if cause >= 0:  # a cause stands before what it caused
            total[cause] += total[row]
    return total


def network_table(result: Any, roots: bool, total: bool) -> Table:
    """See `Result.network`."""
    data, x = result._data, result._data.liquidations
    caused = x["cause_row"] >= 0
    chosen = x["cause"] != -2 if roots else caused
    y = x[chosen]
    source = np.where(y["cause_row"] >= 0, x["account"][y["cause_row"]] if len(x) else -1, -1)
    columns = [source, y["account"].astype(np.int64), through(data, x)[chosen]]
    weight = result._money(np.abs(y["closed_value"]))
    count = np.ones(len(y), np.int64)
    if total and len(y):
        edges = np.column_stack(columns)
        keys, first, inverse = np.unique(edges, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)  # in the order of their first liquidation
        columns = [column[order] for column in keys.T]
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        inverse = place[inverse.ravel()]
        weight = np.bincount(inverse, weight, minlength=len(order))
        count = np.bincount(inverse, minlength=len(order))
    names, effects = result._accounts(np.maximum(columns[0], 0)), result._accounts(columns[1])
    if roots:  # "shock" is a string, and a node must have one name: all are strings then
        names, effects = np.where(columns[0] < 0, SHOCK, names.astype(str)), effects.astype(str)
    return Table(
        {
            "cause": names, "effect": effects, "instrument": result._symbols(columns[2]),
            "weight": weight, "liquidations": count,
        }
    )  # fmt: skip


def branching_ratio(data: RunData) -> float:
    """See `Result.branching_ratio`."""
    x = data.liquidations
    assert x is not None
    counted = x[x["cause"] != -2]
    if len(counted) < FEW:
        warnings.warn(
            f"branching_ratio: {len(counted)} liquidations are too few to say; "
            f"{FEW} give an error of about a fifth",
            RuntimeWarning,
            stacklevel=3,
        )
    return float((counted["cause_row"] >= 0).sum() / len(counted)) if len(counted) else float("nan")


# -- what each instrument's move took --------------------------------------------------------------------


def checks(events: np.ndarray, continuous: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each QUEUED event: (last event before the check that queued it, the same of the check before, or
    -1).

    Under wave clearing a check opens a step, under continuous clearing one follows every turn as well.
    """
    kind = events["kind"]
    queued = kind == EventKind.QUEUED
    first = queued & ~np.concatenate([[False], queued[:-1]])
    starts = np.flatnonzero(first)
    if continuous:
        # Checks without a find leave no trace but the turn that follows them.
        turns = np.flatnonzero((kind == EventKind.TURN) | (kind == EventKind.RECOVERED))
        turns = turns[~queued[turns - 1]]
        starts = np.union1d(starts, turns)
    ends = events["seq"][starts] - 1
    own = np.flatnonzero(queued)
    place = np.searchsorted(starts, own, side="right") - 1
    before = np.where(place > 0, ends[np.maximum(place - 1, 0)], -1)
    return ends[place], before


def contagion_table(result: Any, continuous: bool) -> Table:
    """See `Result.contagion`."""
    state, data = result._state, result._data
    events, x = result.events_array(), data.liquidations
    n = len(state.instruments)
    lots, notional = np.zeros((n, n + 1)), np.zeros((n, n + 1))
    y = x[(x["instrument"] >= 0) & (x["cause"] != -2)]
    if len(y):
        share = _shares(state, data, events, y, continuous)
        closed = np.abs(y["quantity"]) - y["left"]
        for a in range(n):
            mine = y["instrument"] == a
            lots[a] = closed[mine].astype(np.float64) @ share[mine]
            notional[a] = np.abs(y["closed_value"][mine]).astype(np.float64) @ share[mine]
    symbols = np.array([*(i.symbol for i in state.instruments), ""])
    forced, moved = np.divmod(np.arange(n * (n + 1)), n + 1)
    keep = (lots.ravel() > 0) | (notional.ravel() > 0)
    return Table(
        {
            "instrument": symbols[forced][keep], "moved": symbols[moved][keep],
            "quantity": result._sizes(forced, lots.ravel())[keep],
            "notional": result._money(notional.ravel())[keep],
        }
    )  # fmt: skip


def _shares(state: State, data: RunData, events: np.ndarray, y: np.ndarray, continuous: bool) -> np.ndarray:
    """(len(y), n + 1) what part of each liquidation each instrument's move brought about; the last column
    holds what no move explains."""
    n, moves = len(state.instruments), data.mark_changes
    assert moves is not None
    queued = events[events["kind"] == EventKind.QUEUED]
    now, before = checks(events, continuous)
    # The first check that found the account unhealthy for this cause: a repeated one keeps its window.
    key = queued["a"].astype(np.int64) * (int(events["seq"][-1]) + 3) + queued["cause"] + 2
    wanted = y["account"].astype(np.int64) * (int(events["seq"][-1]) + 3) + y["cause"] + 2
    keys, first = np.unique(key, return_index=True)
    at = first[np.searchsorted(keys, wanted)]
    took = np.zeros((len(y), n + 1))
    for b in range(n):
        changes = moves[moves["instrument"] == b]
        marks = np.concatenate([[data.start_marks[b]], changes["mark"]]).astype(np.float64)
        high = marks[np.searchsorted(changes["seq"], now[at], side="right")]
        low = marks[np.searchsorted(changes["seq"], before[at], side="right")]
        held = _held(state, events, y["account"], b, queued["seq"][at])
        terms = state.terms[b]
        if terms.contract == INVERSE:
            gain = held * (terms.coef_num / terms.coef_den) * MARK_ONE * (1 / low - 1 / high)
        else:
            gain = held * terms.coef_num * (high - low) / MARK_ONE
        took[:, b] = np.maximum(0.0, -gain)
    whole = took.sum(axis=1)
    took[whole == 0, n] = 1.0
    return took / took.sum(axis=1, keepdims=True)


def _held(state: State, events: np.ndarray, account: np.ndarray, b: int, seq: np.ndarray) -> np.ndarray:
    """(k,) lots that accounts held in instrument b just before events, all slots together, collateral as far
    as it counts."""
    mine = state.row_instrument == b
    start = np.zeros(len(state.account_mode))
    np.add.at(start, state.row_account[mine], state.row_lots[mine].astype(np.float64))
    counts = 1 - float(state.haircut[b]) / RATE_ONE
    collateral = state.holdings[state.holdings["instrument"] == b]
    np.add.at(start, collateral["account"], collateral["lots"] * counts)
    traded = events[
        np.isin(events["kind"], [EventKind.FILL, EventKind.ADL, EventKind.TAKEOVER])
        & (events["instrument"] == b)
        & (events["instrument"] != NO_INSTRUMENT)
    ]
    who = np.concatenate([traded["a"], traded["b"]]).astype(np.int64)
    lots = np.concatenate([traded["quantity"], -traded["quantity"]]).astype(np.float64)
    slots = traded["flags"] >> TAKER_SLOT_SHIFT & SLOT_MASK  # who sells collateral is the taker
    lots[: len(traded)][slots == COLLATERAL] *= counts
    when = np.concatenate([traded["seq"], traded["seq"]])
    order = np.lexsort((when, who))
    who, lots, when = who[order], lots[order], when[order]
    run = np.concatenate([[0.0], np.cumsum(lots)])
    span = int(events["seq"][-1]) + 2
    key = who * span + when
    first = np.searchsorted(key, account.astype(np.int64) * span)
    last = np.searchsorted(key, account.astype(np.int64) * span + seq)
    return start[account] + run[last] - run[first]
