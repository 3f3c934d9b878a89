"""What an engine hands over at the end of a run: integers and integer records, the same from both engines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIQUIDATION_DTYPE = np.dtype(
    [
        (name, "<i8")
        for name in (
            "seq", "time_ns", "cause", "quantity", "filled", "left", "adl", "takeover", "mark", "equity",
            "maintenance",
            "value", "row_maintenance", "bankruptcy_value", "filled_value", "closed_value", "fee", "surplus",
            "shortfall",
            "fund", "vault", "socialised", "deficit", "held",
        )
    ]
    + [(name, "<i4")
    for name in ("cause_row", "account", "instrument", "step", "wave", "slot", "status", "pad")]
)  # fmt: skip
"""One liquidation as the engines record it, 224 bytes: lots (signed: the order's; `held`: the
position's when it was sent), 1/1024 ticks and quanta."""

MARK_DTYPE = np.dtype(
    [
        ("seq", "<i8"), ("time_ns", "<i8"), ("mark", "<i8"), ("wave", "<i4"), ("instrument", "<i4"),
        ("row", "<i4"),
        ("rises", "<i4"),
    ]
)
"""One change of a shadow mark; `row` of the liquidations was acting (-1: the outside), `rises` counts the
upward changes so far."""

FLAT_DTYPE = np.dtype([("money", "<i8"), ("account", "<i4"), ("pad", "<i4")])
"""An account that is flat and has, or gave, `money` quanta."""

WAVE_DTYPE = np.dtype(
    [("wave", "<i4"), ("instrument", "<i4"), ("accounts", "<i8"), ("lots", "<i8"), ("mark", "<i8")]
)


@dataclass
class RunData:
    """What an engine hands over at the end of a run: integers and integer arrays only. Fields up to `totals`
    are what its scalars are made from."""

    status: int
    steps: int
    seq: int
    """number of events"""
    last_wave: int
    shock_notional: int
    """quanta traded in wave 0"""
    start_marks: list[int]
    low_marks: list[int]
    high_marks: list[int]
    final_marks: list[int]
    known_until: dict[int, int]
    fund: int
    deficit: int
    """balances at the end, quanta"""
    totals: dict[str, int]
    time_ns: int
    events: np.ndarray | None
    liquidations: np.ndarray | None
    mark_changes: np.ndarray | None
    waves: np.ndarray
    wave_notional: list[int]
    """quanta, one a row of `waves`"""
    last: list[int]
    index_1024: list[int]
    system_balances: list[int]
    external: list[tuple[int, int]]
    """(lots, basis) of the external account per instrument"""
    settlement: list[int]
    """basis of each settlement account (its balance is in system_balances)"""
    haircuts: list[int]
    """1e-12 per instrument, at the end"""
    deposits: int
    touched_accounts: np.ndarray
    """int32 indices of accounts whose balance changed"""
    touched_balances: np.ndarray
    """int64"""
    touched_rows: np.ndarray
    """structured: account, instrument, slot, lots, basis; rows that changed or came to be"""
    flats: np.ndarray
    """FLAT_DTYPE: beside them, accounts all of whose positions are flat now; what an isolated one had left
    went to its owner"""


ROW_DTYPE = np.dtype(
    [("account", "<i4"), ("instrument", "<i4"), ("slot", "<i4"), ("lots", "<i8"), ("basis", "<i8")]
)
