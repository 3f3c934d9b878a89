"""The index by trigger price."""

import numpy as np

def kinds_of(
    row_account: np.ndarray, row_lots: np.ndarray, parent: np.ndarray, holders: np.ndarray
) -> np.ndarray: ...
def rows_by_instrument(
    kind: np.ndarray,
    row_account: np.ndarray,
    row_instrument: np.ndarray,
    barred: np.ndarray | None,
    instruments_n: int,
) -> tuple[np.ndarray, np.ndarray]: ...
def scanned_of(
    kind: np.ndarray, row_account: np.ndarray, barred: np.ndarray | None, flags: np.ndarray
) -> np.ndarray: ...
def debtors_of(kind: np.ndarray, mode: np.ndarray, balance: np.ndarray) -> np.ndarray: ...
def trigger_prices(
    row: np.ndarray,
    row_account: np.ndarray,
    row_lots: np.ndarray,
    row_basis: np.ndarray,
    balance: np.ndarray,
    fixed: np.ndarray | None,
    extra: np.ndarray | None,
    linear: bool,
    coef_num: float,
    coef_den: float,
    floors: np.ndarray,
    rates: np.ndarray,
    amounts: np.ndarray,
) -> np.ndarray: ...
def side_of(
    row: np.ndarray,
    trigger: np.ndarray,
    falling: bool,
    kind: np.ndarray,
    row_account: np.ndarray,
    row_slot: np.ndarray,
    row_lots: np.ndarray,
    row_basis: np.ndarray,
    mode: np.ndarray,
    parent: np.ndarray,
    flags: np.ndarray,
    balance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def mark_cuts(singles: np.ndarray, coef: float, rate: float, falling: bool) -> tuple[int, int]: ...
def sum_blocks(singles: np.ndarray) -> np.ndarray: ...
