"""Columns in bulk."""

import numpy as np

def on_grid(values: np.ndarray, scale: float, unit: int) -> tuple[np.ndarray, np.ndarray]: ...
def times_on_grid(
    values: np.ndarray, lots: np.ndarray, scale: float, factor: int, limit: int
) -> tuple[np.ndarray, np.ndarray]: ...
def scaled(
    values: np.ndarray, lots: np.ndarray | None, high: float, low: float, inverse: bool, epsilon: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def add_accounts(
    owner: np.ndarray,
    isolated: np.ndarray,
    margin: np.ndarray,
    cross: np.ndarray,
    mode: np.ndarray,
    parent: np.ndarray,
    balance: np.ndarray,
    owner_row: np.ndarray,
    first: int,
    cross_mode: int,
    isolated_mode: int,
) -> np.ndarray: ...
def lots_held(instrument: np.ndarray, lots: np.ndarray, n: int) -> np.ndarray: ...
def exposures(
    account: np.ndarray,
    instrument: np.ndarray,
    lots: np.ndarray,
    basis: np.ndarray,
    balance: np.ndarray,
    worst: np.ndarray,
    beside: np.ndarray | None,
) -> tuple[float, float]: ...
def codes_of(texts: np.ndarray, symbols: np.ndarray) -> np.ndarray: ...
