"""From rows as sources have them to `Updates` and tables of trades: batches, clocks, sequence ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade.errors import InputError
from cascade.io._updates import MessageKind, Updates
from cascade.tables import Table

BUY_SELL = {"buy": 1, "sell": -1}


def runs(*columns: np.ndarray) -> np.ndarray:
    """Rows at which one of the columns changes, the first one included."""
    if not len(columns[0]):
        return np.zeros(0, np.int64)
    change = np.zeros(len(columns[0]), np.bool_)
    change[0] = True
    for values in columns:
        change[1:] |= values[1:] != values[:-1]
    return np.flatnonzero(change)


def trades(
    time_ns: Any, local_ns: Any, side: np.ndarray, price: np.ndarray, quantity: np.ndarray, ids: Any
) -> Table:
    """The common form of trades; what a source does not give is -1."""
    unknown = np.full(len(side), -1)
    return Table(
        {
            "time_ns": unknown if time_ns is None else time_ns,
            "local_ns": unknown if local_ns is None else local_ns,
            "side": side,
            "price": price,
            "quantity": quantity,
            "id": unknown if ids is None else ids,
        }
    )


def gap_table(message: np.ndarray, expected: np.ndarray, found: np.ndarray) -> Table:
    return Table({"message": message, "expected": expected, "found": found})


def check_gaps(gaps: Table, on_gap: str, name: str) -> None:
    """Raise at the first gap, unless they are to be kept."""
    if on_gap not in ("raise", "keep"):
        raise InputError(f"on_gap = {on_gap!r}: must be 'raise' or 'keep'")
    if on_gap == "raise" and len(gaps):
        message, expected, found = (int(gaps[column][0]) for column in gaps.columns)
        raise InputError(
            f"{name}: message {message} follows id {found}, must follow {expected} "
            f"({len(gaps)} gap{'s'[: len(gaps) > 1]}; on_gap='keep' keeps them in `gaps`)"
        )


def from_first_snapshot(updates: Updates, name: str) -> Updates:
    """Without the messages before the first snapshot, of a book that nobody knows."""
    snapshots = np.flatnonzero(updates.kind == MessageKind.SNAPSHOT)
    if not snapshots.size:
        raise InputError(f"{name}: no snapshot: without one the book is unknown (incomplete=True goes on)")
    k = int(snapshots[0])
    if not k:
        return updates
    row = updates.first_row[k]
    return Updates(
        **{c: getattr(updates, c)[k:].copy() for c in ("time_ns", "local_ns", "kind", "first_id", "last_id")},
        **{c: getattr(updates, c)[row:].copy() for c in ("side", "price", "quantity")},
        first_row=updates.first_row[k:] - row,
        gaps=updates.gaps,
        dropped=k,
    )
