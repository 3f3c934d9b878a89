"""Criticality: how many lots a price move forces out, over how many the book takes - and whether that passes
1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._badrows import show
from ._standing import Standing, Sums, haircut_values
from ._state import KNOWN_TO_INFINITY, KNOWN_TO_ZERO, NEVER_LIQUIDATED, State
from .errors import InputError, InputTypeError
from .instruments import PRICE_LIMIT
from .margin import MARK_ONE
from .tables import Table

DEFAULT_PATH = (0.0, 0.2, 41)
"""Where `criticality` looks unless told otherwise: from 0 to 20% in steps of half a per cent."""


@dataclass(frozen=True, eq=False)
class Criticality:
    """Feedback of liquidations on prices, to first order, along a path of falling (or rising) prices.

    `K[a, b]` is the number of ticks that instrument a moves on because b moved one: lots of a forced out a
    tick of b (`density`), over the lots of a that its book takes a tick (`depth`). A cascade grows where the
    spectral radius of K exceeds 1.

    Attributes
    ----------
    instruments : tuple of str, length n
    distance : (m,) float64
        Relative moves at which the market was looked at.
    density : (m, n, n) float64
        Lots of a forced out a tick of b.
    depth : (m, n) float64
        Lots of a a tick, on the side that the forced orders hit; NaN where the book is not known that far.
    K : (m, n, n) float64
        `density` over `depth`; inf where lots meet no depth, NaN where it is not known.
    spectral_radius : (m,) float64
        Largest modulus of K's eigenvalues; inf or NaN where K has such entries in a row that matters.
    """

    instruments: tuple[str, ...]
    distance: np.ndarray
    density: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    spectral_radius: np.ndarray

    @property
    def start(self) -> float:
        """The spectral radius before any move."""
        return float(self.spectral_radius[0])

    @property
    def peak(self) -> float:
        """The largest known spectral radius along the path."""
        known = self.spectral_radius[~np.isnan(self.spectral_radius)]
        return float(known.max()) if known.size else float("nan")

    @property
    def tips_at(self) -> float:
        """The first distance at which the spectral radius is 1 or more; NaN where it nowhere is."""
        over = np.flatnonzero(self.spectral_radius >= 1)
        return float(self.distance[over[0]]) if over.size else float("nan")

    @property
    def path(self) -> Table:
        """distance, spectral_radius: one row a point of the path."""
        return Table({"distance": self.distance, "spectral_radius": self.spectral_radius})

    def matrix(self, k: int = 0) -> Table:
        """The pairs (instrument, moved) at point k of the path: density, depth, K."""
        n = len(self.instruments)
        names = np.array(self.instruments)
        return Table(
            {
                "instrument": np.repeat(names, n), "moved": np.tile(names, n),
                "density": self.density[k].ravel(), "depth": np.repeat(self.depth[k], n),
                "K": self.K[k].ravel(),
            }
        )  # fmt: skip

    def __repr__(self) -> str:
        names = ", ".join(self.instruments)
        return f"<cascade.Criticality {names}: {self.start:.4g} at the start, {self.peak:.4g} at most>"


def criticality_of(
    state: State,
    rules: Any,
    marks: list[int],
    symbols: tuple[str, ...],
    direction: Any,
    path: Any,
    window: Any,
) -> Criticality:
    """See `Market.criticality`."""
    way = _direction(direction, symbols)
    distance = _path(path)
    width = _window(window)
    if float(distance.max()) + width >= 1 and (way < 0).any():
        reach = f"up to {distance.max():g} with a window of {width:g}"
        raise InputError(f"criticality.path: {reach}: must stay below 1")
    # Everything is measured over a step of `width` further along: of one instrument for the density in it, of
    # the book for its depth.
    n, m = len(symbols), len(distance)
    density, depth = np.zeros((m, n, n)), np.full((m, n), np.nan)
    ticks = np.array([mark / MARK_ONE for mark in marks])
    step = ticks * width
    for k, u in enumerate(distance):
        here = [max(1, round(mark * (1 + s * u))) for mark, s in zip(marks, way, strict=True)]
        there = [max(1, round(mark * (1 + s * (u + width)))) for mark, s in zip(marks, way, strict=True)]
        density[k] = _forced(state, rules, here, there, way) / step
        for a in range(n):
            depth[k, a] = _resting(state, a, here[a] / MARK_ONE, there[a] / MARK_ONE, way[a]) / step[a]
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = np.where(density == 0, 0.0, density / depth[:, :, None])
    radius = np.array([_radius(x) for x in matrix])
    return Criticality(symbols, distance, density, depth, matrix, radius)


def _forced(
    state: State, rules: Any, here: list[int], there: list[int], way: np.ndarray
) -> np.ndarray:
    """(n, n) lots of a that go when b alone moves on from `here` to `there`, of accounts healthy `here`."""
    standing = Standing(state, rules, here)
    rows, sums, n = standing.rows, standing.sums, len(here)
    excess = sums.equity - sums.account_needed
    healthy = (excess >= 0) & ((state.account_flags & NEVER_LIQUIDATED) == 0)
    # A long is sold, a short bought back: what moves its price on is what counts.
    pushes = np.sign(rows["lots"]) == -way[rows["instrument"]]
    forced = np.zeros((n, n))
    for b in range(n):
        mine = rows["instrument"] == b
        marks = list(here)
        marks[b] = there[b]
        then = Sums(state, rules, state.account_balance, rows[mine], marks)
        change = np.zeros(len(excess), np.int64)
        np.add.at(
            change, rows["account"][mine], (then.value - then.needed) - (sums.value - sums.needed)[mine]
        )
        held = state.holdings["instrument"] == b
        worth = haircut_values(state, state.holdings[held], marks)[0] - sums.held_value[held]
        np.add.at(change, state.holdings["account"][held], worth)
        falls = healthy & (excess + change < 0)
        gone = falls[rows["account"]] & pushes
        lots = np.abs(rows["lots"][gone]).astype(np.float64)
        forced[:, b] = np.bincount(rows["instrument"][gone], lots, minlength=n)
    return forced


def _resting(state: State, a: int, here: float, there: float, way: int) -> float:
    """Lots that stand between two prices (ticks) on the side that forced orders hit; NaN if not known that
    far."""
    orders, side = state.orders[a], -way
    edge = int(state.known_bid[a] if side > 0 else state.known_ask[a])
    complete = edge in (KNOWN_TO_ZERO, KNOWN_TO_INFINITY, PRICE_LIMIT)
    if not complete and (there < edge if side > 0 else there > edge):
        return float("nan")
    low, high = min(here, there), max(here, there)
    inside = (orders.side == side) & (orders.price >= low) & (orders.price < high)
    if side < 0:
        inside = (orders.side == side) & (orders.price > low) & (orders.price <= high)
    return float(orders.lots[inside].astype(np.float64).sum())


def _radius(matrix: np.ndarray) -> float:
    """Spectral radius; entries that are not finite decide only where they lie on a loop."""
    if np.isfinite(matrix).all():
        return float(np.abs(np.linalg.eigvals(matrix)).max())
    reach = matrix != 0
    for _ in range(len(matrix)):
        reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
    on_loop = reach & reach.T & (matrix != 0)
    if np.isnan(matrix[on_loop]).any():
        return float("nan")
    if np.isinf(matrix[on_loop]).any():
        return float("inf")
    return float(np.abs(np.linalg.eigvals(np.where(on_loop, matrix, 0.0))).max())


def _direction(direction: Any, symbols: tuple[str, ...]) -> np.ndarray:
    words = {"down": -1, "up": 1}
    chosen = direction if isinstance(direction, dict) else dict.fromkeys(symbols, direction)
    way = np.full(len(symbols), -1)
    for symbol, word in chosen.items():
        if symbol not in symbols:
            raise InputError(f"criticality.direction = {show(symbol)}: not an instrument of this market")
        if not isinstance(word, str) or word not in words:
            raise InputError(f"criticality.direction = {show(word)}: must be 'down' or 'up'")
        way[symbols.index(symbol)] = words[word]
    return way


def _path(path: Any) -> np.ndarray:
    if path is None:
        return np.linspace(*DEFAULT_PATH)
    try:
        distance = np.atleast_1d(np.asarray(path, np.float64))
    except (TypeError, ValueError):
        raise InputTypeError(f"criticality.path = {show(path)}: must be relative moves") from None
    if distance.ndim != 1 or not distance.size or not np.isfinite(distance).all() or (distance < 0).any():
        raise InputError(f"criticality.path = {show(path)}: must be finite relative moves >= 0")
    return distance


def _window(window: Any) -> float:
    if isinstance(window, bool) or not isinstance(window, int | float | np.floating | np.integer):
        raise InputTypeError(f"criticality.window = {show(window)}: must be a number")
    if not 0 < window < 1:
        raise InputError(f"criticality.window = {show(window)}: must be in (0, 1)")
    return float(window)
