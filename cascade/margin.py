"""Margin arithmetic over whole columns: values at mark, maintenance, liquidation and bankruptcy prices.

Values and maintenance are exact integers, as in the engines. Prices are solved unrounded, in float64: they
are reported and used to find candidates, never to decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._state import LINEAR, Terms
from .instruments import RATE_ONE

MARK_ONE = 1024


def _exact_product_fits(*factors: float) -> bool:
    return float(np.prod(np.asarray(factors, np.float64))) < 2**62


def value_at_mark(terms: Terms, lots: np.ndarray, mark: int) -> np.ndarray:
    """Signed value in quanta, rounded down: (n,) int64 for (n,) int64 lots at one mark in 1/1024 ticks."""
    if not lots.size:
        return np.zeros(0, np.int64)
    largest = max(1.0, float(np.abs(lots).max()))
    if terms.contract == LINEAR:
        factor, divisor = terms.coef_num * mark, MARK_ONE
    else:
        factor, divisor = -terms.coef_num * MARK_ONE, mark * terms.coef_den
    common = np.gcd(factor, divisor) if _exact_product_fits(abs(factor)) and divisor < 2**62 else 1
    factor, divisor = factor // int(common), divisor // int(common)
    if _exact_product_fits(largest, abs(factor)) and divisor < 2**62:
        return lots * factor // divisor
    return np.array([n * factor // divisor for n in lots.tolist()], np.int64)


def maintenance(terms: Terms, notional: np.ndarray) -> np.ndarray:
    """Maintenance margin in quanta, rounded up and never negative: (n,) int64 for (n,) int64 notionals."""
    tier = np.searchsorted(np.array(terms.floors, np.int64), notional, side="right") - 1
    tier = np.maximum(tier, 0)
    rates = np.array(terms.rates, np.int64)[tier]
    # rate * notional has up to 101 bits: split the notional at 1e12, where the rate's unit sits.
    high, low = np.divmod(notional, RATE_ONE)
    low_high, low_low = np.divmod(low, 10**6)
    tail = rates * low_low  # < 1e18
    middle = rates * low_high + tail // 10**6  # in 1e-6 quanta
    needed = rates * high + middle // 10**6
    exact = (middle % 10**6 == 0) & (tail % 10**6 == 0)
    return np.maximum(needed + ~exact - np.array(terms.amounts, np.int64)[tier], 0)


def notional_at_zero_excess(terms: Terms, rising: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The notional x at which rest + x - maintenance(x) = 0 where `rising`, rest - x - maintenance(x) = 0
    elsewhere.

    Parameters
    ----------
    rising : (n,) bool, whether the position's value grows with its notional
    rest : (n,) float64 quanta, everything else of the account: equity and maintenance without this position

    Returns
    -------
    (n,) float64, solved in the tier that holds at the answer; NaN where there is none.
    """
    rest = np.asarray(rest, np.float64)
    answer = np.full(rest.shape, np.nan)
    floors = np.array([*terms.floors, np.inf], np.float64)
    for t, (rate, a) in enumerate(zip(terms.rates, terms.amounts, strict=True)):
        r = rate / RATE_ONE
        with np.errstate(divide="ignore", invalid="ignore"):
            x = np.where(rising, -(rest + a) / (1 - r), (rest + a) / (1 + r))
        # A hair of room at the tiers' ends: neighbours agree there, and rounding must not leave a gap between
        # them.
        room = 1e-12 * (1 + floors[t])
        holds = (x > 0) & (x >= floors[t] - room) & (x <= floors[t + 1] * (1 + 1e-12))
        better = np.isnan(answer) | np.where(rising, x > answer, x < answer)
        answer = np.where(holds & better, x, answer)
    # Where maintenance jumps up at a floor, the jump itself can be the crossing.
    for t in range(1, len(terms.floors)):
        below = terms.rates[t - 1] / RATE_ONE * floors[t] - terms.amounts[t - 1]
        above = terms.rates[t] / RATE_ONE * floors[t] - terms.amounts[t]
        value = np.where(rising, floors[t], -floors[t])
        crossing = (rest + value - min(below, above) >= 0) != (rest + value - max(below, above) >= 0)
        missing = np.isnan(answer) & crossing & (above - below > 2)
        answer = np.where(missing, floors[t], answer)
    return answer


def price_of_notional(terms: Terms, lots: np.ndarray, notional: np.ndarray) -> np.ndarray:
    """The price in ticks (float64) at which signed lots have this notional; NaN where there is none."""
    size = np.abs(lots).astype(np.float64) * terms.coef_num / terms.coef_den
    with np.errstate(divide="ignore", invalid="ignore"):
        price = notional / size if terms.contract == LINEAR else size / notional
    return np.where(np.isfinite(price) & (price > 0), price, np.nan)


def solve(
    terms: Terms, lots: Any, equity: Any, needed: Any, value: Any, row_needed: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Liquidation and bankruptcy price in ticks, all else fixed.

    Parameters
    ----------
    lots : (n,) int64, the position
    equity, needed : (n,) int64 quanta, the account's equity and maintenance at the marks
    value, row_needed : (n,) int64 quanta, the position's own signed value and maintenance there

    Returns
    -------
    (liquidation_price, bankruptcy_price) : (n,) float64 ticks, NaN where there is none.
    """
    lots, equity, value = np.asarray(lots), np.asarray(equity), np.asarray(value)
    rising = (lots > 0) == (terms.contract == LINEAR)
    rest = equity - value - (np.asarray(needed) - np.asarray(row_needed))
    liquidation = price_of_notional(terms, lots, notional_at_zero_excess(terms, rising, rest))
    own = np.where(rising, value - equity, equity - value).astype(np.float64)
    bankruptcy = price_of_notional(terms, lots, np.where(own > 0, own, np.nan))
    return liquidation, bankruptcy


def solve_together(
    terms: Terms, lots: Any, equity: Any, needed: Any, value: Any, row_needed: Any, mark: float
) -> tuple[np.ndarray, ...]:
    """The same for accounts with several positions in one instrument (hedge mode): its price moves them all.

    Parameters
    ----------
    lots, value, row_needed : (n, k) int64, the positions of one account a row, 0 where there are fewer than k
    equity, needed : (n,) int64 quanta, the account's
    mark : float, ticks

    Returns
    -------
    (liquidation_price, bankruptcy_price) : (n,) float64 ticks, the crossing next to the mark; NaN without
    one.
    """
    linear = terms.contract == LINEAR
    size = np.abs(lots).astype(np.float64) * terms.coef_num / terms.coef_den
    # In u = price (linear) or 1 / price (inverse) values and each tier's maintenance are straight lines.
    slope = (np.sign(lots) * size).sum(axis=1) * (1 if linear else -1)
    own = np.asarray(value).sum(axis=1)
    money = (equity - own).astype(np.float64)
    rest = (equity - own - (needed - np.asarray(row_needed).sum(axis=1))).astype(np.float64)
    start = mark if linear else 1 / mark
    rates, floors = np.array(terms.rates, np.float64) / RATE_ONE, np.array(terms.floors, np.float64)
    amounts = np.array(terms.amounts, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Maintenance bends where a tier begins, and where its amount stops making it nothing.
        bends = np.concatenate([floors, amounts / rates])
        ends = np.concatenate([bends / size[:, k : k + 1] for k in range(lots.shape[1])], axis=1)
        ends = np.sort(np.where(np.isfinite(ends) & (ends > 0), ends, np.inf), axis=1)
        low = np.concatenate([np.zeros((len(ends), 1)), ends], axis=1)
        high = np.concatenate([ends, np.full((len(ends), 1), np.inf)], axis=1)
        inside = np.where(np.isfinite(high), (low + high) / 2, 2 * low + 1)[:, :, None] * size[:, None, :]
        tier = np.searchsorted(floors, inside, side="right") - 1
        free = rates[tier] * inside <= amounts[tier]
        steepness = slope[:, None] - np.where(free, 0, rates[tier] * size[:, None, :]).sum(axis=2)
        base = rest[:, None] + np.where(free, 0, amounts[tier]).sum(axis=2)
        roots = -base / steepness
        room = 1e-12 * (1 + np.where(np.isfinite(high), high, low))
        holds = (roots > 0) & (roots >= low - room) & (roots <= high + room) & np.isfinite(low)
        left, right = base[:, :-1] + steepness[:, :-1] * ends, base[:, 1:] + steepness[:, 1:] * ends
        jumps = np.isfinite(ends) & ((left >= 0) != (right >= 0)) & (np.abs(left - right) > 2)
        u = np.concatenate([np.where(holds, roots, np.nan), np.where(jumps, ends, np.nan)], axis=1)
        distance = np.where(np.isnan(u), np.inf, np.abs(u - start))
        chosen = u[np.arange(len(u)), distance.argmin(axis=1)]
        broke = -money / slope
        prices = np.array([chosen, np.where(broke > 0, broke, np.nan)])
        prices = prices if linear else 1 / prices
    return tuple(np.where(np.isfinite(prices) & (prices > 0), prices, np.nan))
