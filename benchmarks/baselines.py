"""Opponents on workload A: what a skilled user would write by hand.

They record nothing: a number of waves, a count and a final price are all they give. Trigger prices,
cumulative depth and sorted copies are prepared beforehand and not timed, as the market's loading is not.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from workload import SALE_LOTS, Workload

Outcome = tuple[int, int, int]


def mask_per_wave(w: Workload, sale: int = SALE_LOTS) -> Callable[[], Outcome]:
    """NumPy, a boolean mask over all positions a wave."""
    return mask_over(w.trigger(), w.lots, w.bid_price, np.cumsum(w.bid_lots), sale)


def mask_over(trigger, size, price, depth, sale: int) -> Callable[[], Outcome]:
    """The same for any longs: unhealthy below `trigger`, of `size` lots; bids by price, cumulative depth."""

    def run() -> Outcome:
        alive = np.ones(len(trigger), bool)
        sold, waves = sale, 0
        mark = price[np.searchsorted(depth, sold)]
        while True:
            mask = alive & (trigger > mark)
            quantity = size[mask].sum()
            if quantity == 0:
                return waves, len(alive) - np.count_nonzero(alive), int(mark)
            alive &= ~mask
            waves += 1
            sold += quantity
            mark = price[np.searchsorted(depth, sold)]

    return run


def sorted_triggers(w: Workload, sale: int = SALE_LOTS) -> Callable[[], Outcome]:
    """NumPy, positions sorted by trigger beforehand: two binary searches a wave."""
    trigger = w.trigger()
    order = np.argsort(-trigger)
    falling, size = -trigger[order], np.concatenate([[0], np.cumsum(w.lots[order])])
    price, depth = w.bid_price, np.cumsum(w.bid_lots)

    def run() -> Outcome:
        waves = taken = 0
        mark = price[np.searchsorted(depth, sale)]
        while True:
            reached = np.searchsorted(falling, -mark)
            if reached == taken:
                return waves, int(taken), int(mark)
            taken = reached
            waves += 1
            mark = price[np.searchsorted(depth, sale + size[taken])]

    return run


def c_sweep(w: Workload, folder: Path, sale: int = SALE_LOTS) -> Callable[[], Outcome] | None:
    """sweep.c on the same; None without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    built = folder / "sweep.so"
    source = Path(__file__).with_name("sweep.c")
    subprocess.run([compiler, "-O3", "-Wall", "-shared", "-fPIC", "-o", built, source], check=True)
    sweep = ctypes.CDLL(str(built)).sweep
    trigger = w.trigger()
    order = np.argsort(-trigger)
    columns = trigger[order], w.lots[order], w.bid_price, w.bid_lots
    counts = np.zeros(3, np.int64)
    arrays = *columns, counts
    pointers = [column.ctypes.data for column in arrays]
    array, number = ctypes.c_void_p, ctypes.c_int64
    sweep.argtypes = [array, array, number, array, array, number, array]
    sweep.restype = None

    def run() -> Outcome:
        sweep(*pointers[:2], len(arrays[0]), *pointers[2:4], sale, pointers[4])
        waves, taken, mark = counts.tolist()
        return waves, taken, mark

    return run


def compiled_walk(w: Workload, sale: int = SALE_LOTS) -> Callable[[], Outcome]:
    """Numba, sorted positions: one pointer down the triggers, one down the book, order by order."""
    import numba

    trigger = w.trigger()
    order = np.argsort(-trigger)

    @numba.njit
    def walk(trigger, size, price, depth, sale):
        level, left, mark = 0, depth[0], price[0]
        waves, taken, end, quantity = 0, 0, 0, sale
        while True:
            while True:
                while quantity > 0:
                    if left == 0:
                        level += 1
                        left = depth[level]
                    lots = min(left, quantity)
                    left -= lots
                    quantity -= lots
                if taken == end:
                    break
                quantity = size[taken]
                taken += 1
            mark = price[level]
            while end < len(trigger) and trigger[end] > mark:
                end += 1
            if end == taken:
                return waves, taken, mark
            waves += 1

    columns = trigger[order], w.lots[order], w.bid_price, w.bid_lots
    walk(*columns, sale)

    def run() -> Outcome:
        waves, taken, mark = walk(*columns, sale)
        return waves, taken, int(mark)

    return run
