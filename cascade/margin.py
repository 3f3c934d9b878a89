"""Margin arithmetic over whole columns: values at mark, maintenance, liquidation and bankruptcy prices.

Values and maintenance are exact integers, as in the engines. Prices are solved unrounded, in float64: they
are reported and used to find candidates, never to decide. What a price is solved from is held as an exact
integer and a small remainder, since sums over many positions can nearly cancel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._state import LINEAR, Terms
from .instruments import RATE_ONE

MARK_ONE = 1024
PPM = 10**6
"""Open interest raises initial rates by whole parts per million, in units of 1e-12."""
STEEP = RATE_ONE - 10**6
"""From this rate on maintenance takes nearly all of a rise in value: float64 cannot solve for crossings."""


def _exact_product_fits(*factors: float) -> bool:
    return float(np.prod(np.asarray(factors, np.float64))) < 2**62


# -- exact integers ------------------------------------------------------------------------------------------


def value_at_mark(terms: Terms, lots: np.ndarray, mark: int) -> np.ndarray:
    """Signed value in quanta, rounded down: (n,) int64 for (n,) int64 lots at one mark in 1/1024 ticks."""
    return value_and_rest(terms, lots, mark)[0]


def value_and_rest(terms: Terms, lots: np.ndarray, mark: int) -> tuple[np.ndarray, np.ndarray]:
    """(signed value rounded down, int64; what was cut off, float64 in [0, 1)) in quanta."""
    if not lots.size:
        return np.zeros(0, np.int64), np.zeros(0)
    largest = max(1.0, float(np.abs(lots).max()))
    if terms.contract == LINEAR:
        factor, divisor = terms.coef_num * mark, MARK_ONE
    else:
        factor, divisor = -terms.coef_num * MARK_ONE, mark * terms.coef_den
    common = np.gcd(factor, divisor) if _exact_product_fits(abs(factor)) and divisor < 2**62 else 1
    factor, divisor = factor // int(common), divisor // int(common)
    if _exact_product_fits(largest, abs(factor)) and divisor < 2**62:
        value, rest = np.divmod(lots * factor, divisor)
        return value, rest / divisor
    pairs = [divmod(n * factor, divisor) for n in lots.tolist()]
    return np.array([v for v, _ in pairs], np.int64), np.array([r / divisor for _, r in pairs], np.float64)


def rated(rates: np.ndarray, notional: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """rate * notional as (rounded down, int64; what was cut off, float64 in [0, 1)); rates are 1e-12, up to
    3e12."""
    # The product has up to 103 bits: split the notional at 1e12, where the rate's unit sits.
    high, low = np.divmod(notional, RATE_ONE)
    low_high, low_low = np.divmod(low, 10**6)
    tail = rates * low_low  # < 3e18
    middle = rates * low_high + tail // 10**6  # in 1e-6 quanta
    cut = (middle % 10**6 + (tail % 10**6) / 1e6) / 1e6
    # Of a remainder that float64 rounds to 1 (or to 0) only whether there is one matters.
    exact = (middle % 10**6 == 0) & (tail % 10**6 == 0)
    return rates * high + middle // 10**6, np.where(exact, 0, np.clip(cut, 1e-300, 1 - 2**-53))


def tier_of(terms: Terms, notional: np.ndarray) -> np.ndarray:
    """The highest tier whose floor a notional reaches: (n,) intp for (n,) int64."""
    tier = np.searchsorted(np.array(terms.floors, np.int64), notional, side="right") - 1
    return np.maximum(tier, 0)


def size_rate(terms: Terms, slope: tuple[int, int], notional: np.ndarray, lots: Any) -> np.ndarray:
    """What size adds to a margin rate, (n,) int64 of 1e-12, rounded up, at most 1."""
    return _size_rate_and_rest(terms, slope, notional, lots)[0]


def _size_rate_and_rest(
    terms: Terms, slope: tuple[int, int], notional: np.ndarray, lots: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The same, and (n,) float64 in (-1, 0], what the unrounded rate differs by."""
    num, den = slope
    if not num:
        return np.zeros(len(notional), np.int64), np.zeros(len(notional))
    size = np.abs(np.asarray(lots, np.int64)) if terms.contract == LINEAR else notional
    if _exact_product_fits(max(1.0, float(size.max(initial=0))), num) and den < 2**62:
        negated, rest = np.divmod(-size * num, den)
        rate, rest = -negated, -rest / den
    else:
        pairs = [divmod(-n * num, den) for n in size.tolist()]
        rate = np.array([min(-q, RATE_ONE) for q, _ in pairs], np.int64)
        rest = np.array([-r / den for _, r in pairs], np.float64)
    return np.minimum(rate, RATE_ONE), np.where(rate < RATE_ONE, rest, 0.0)


def maintenance_rates(terms: Terms, notional: np.ndarray, lots: Any = None) -> np.ndarray:
    """The maintenance rate at a notional, (n,) int64 of 1e-12."""
    rates = np.array(terms.rates, np.int64)[tier_of(terms, notional)]
    return rates + size_rate(terms, terms.slope, notional, lots) if terms.slope[0] else rates


def maintenance(terms: Terms, notional: np.ndarray, lots: Any = None) -> np.ndarray:
    """Maintenance margin in quanta, rounded up and never negative: (n,) int64 for (n,) int64 notionals (and
    lots, where the rate grows with size)."""
    needed, cut = rated(maintenance_rates(terms, notional, lots), notional)
    return np.maximum(needed + (cut > 0) - np.array(terms.amounts, np.int64)[tier_of(terms, notional)], 0)


def initial(terms: Terms, notional: np.ndarray, lots: Any, open_interest: int) -> np.ndarray:
    """Initial margin in quanta, rounded up: the tier's rate, raised by open interest and by size, up to 1."""
    rates = np.array(terms.initial_rates, np.int64)
    if terms.open_interest:
        floor, cap = terms.open_interest
        over = max(0, open_interest - floor)
        rates = np.array(
            [min(r + over * (RATE_ONE - r) // ((cap - floor) * PPM) * PPM, RATE_ONE) for r in rates.tolist()],
            np.int64,
        )
    rates = rates[tier_of(terms, notional)] + size_rate(terms, terms.initial_slope, notional, lots)
    needed, cut = rated(np.minimum(rates, RATE_ONE), notional)
    return needed + (cut > 0)


def value_after_fee(rate: int, value: np.ndarray) -> np.ndarray:
    """The largest closing value that, with a fee at this rate (1e-12, in [0, 1/2]) on it, is no more than
    `value`: (n,) int64."""
    if not rate:
        return value
    up, down = RATE_ONE + rate, RATE_ONE - rate
    return np.array([v * RATE_ONE // (up if v >= 0 else down) for v in value.tolist()], np.int64)


def fee(rate: int, notional: np.ndarray) -> np.ndarray:
    """A fee >= 0 in quanta, rounded up: (n,) int64."""
    needed, cut = rated(np.full(len(notional), rate, np.int64), notional)
    return needed + (cut > 0)


# -- what rows need ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Needs:
    """What positions of one instrument are worth and need under some rules; `terms` are those under them."""

    terms: Terms
    value: np.ndarray
    """(n,) int64 quanta, signed, rounded down"""
    value_rest: np.ndarray
    """(n,) float64, what was cut off"""
    needed: np.ndarray
    """(n,) int64 quanta, maintenance as the engines have it"""
    needed_rest: np.ndarray
    """(n,) float64: unrounded maintenance less `needed`"""
    fixed: np.ndarray
    """(n,) int64 quanta of `needed` that do not move with the mark"""
    fixed_rest: np.ndarray
    """(n,) float64: the same, unrounded less `fixed`"""


def needs(
    terms: Terms, rules: Any, lots: Any, basis: Any, balance: Any, mark: int, basis_rest: Any = 0.0
) -> Needs:
    """Values and maintenance of (n,) positions of one instrument: lots, basis and their accounts' balances,
    int64; `basis_rest`, float64, is what rounding took from the basis."""
    lots, basis = np.asarray(lots), np.asarray(basis)
    value, value_rest = value_and_rest(terms, lots, mark)
    fixed, fixed_rest = not_moving(terms, rules, lots, basis, np.asarray(balance))
    if rules.maintenance_on == "entry":
        rates = maintenance_rates(terms, np.abs(basis), lots) / RATE_ONE
        fixed_rest = fixed_rest + np.where(fixed > 0, rates * np.sign(basis) * basis_rest, 0)
    if rules.maintenance_on == "entry":
        return Needs(terms, value, value_rest, fixed, fixed_rest, fixed, fixed_rest)
    moving, moving_rest = _maintenance_and_rest(terms, np.abs(value), lots)
    rates = maintenance_rates(terms, np.abs(value), lots)
    moving_rest += np.where(moving > 0, rates / RATE_ONE * np.where(value < 0, -value_rest, value_rest), 0)
    return Needs(terms, value, value_rest, moving + fixed, moving_rest + fixed_rest, fixed, fixed_rest)


def not_moving(
    terms: Terms, rules: Any, lots: np.ndarray, basis: np.ndarray, balance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The part of positions' maintenance that does not move with the mark: (n,) int64 quanta, rounded up, and
    (n,) float64, what the unrounded amount differs by."""
    fixed, rest = np.zeros(len(lots), np.int64), np.zeros(len(lots))
    if rules.maintenance_on == "entry":
        fixed, rest = _maintenance_and_rest(terms, np.abs(basis), lots)
    if rules.maintenance_fee == "taker_at_bankruptcy" and terms.closing_fee:
        spare = balance - basis
        whole = rules.bankruptcy_fee == "taker"
        amount = fee(terms.closing_fee, np.abs(value_after_fee(terms.closing_fee, spare) if whole else spare))
        unrounded = spent(terms.closing_fee if whole else 0, spare.astype(np.float64))
        unrounded = np.abs(unrounded) * (terms.closing_fee / RATE_ONE)
        fixed, rest = fixed + amount, rest + (unrounded - amount)
    return fixed, rest


def _maintenance_and_rest(
    terms: Terms, notional: np.ndarray, lots: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Maintenance as the engines have it, and what the unrounded amount differs by."""
    needed = maintenance(terms, notional, lots)
    down, cut = rated(maintenance_rates(terms, notional, lots), notional)
    down -= np.array(terms.amounts, np.int64)[tier_of(terms, notional)]
    if terms.slope[0]:
        cut = cut + _size_rate_and_rest(terms, terms.slope, notional, lots)[1] * (notional / RATE_ONE)
    return needed, np.where(down < 0, 0, down - needed + cut)


def fixed_part(terms: Terms, rules: Any, lots: Any, value: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """The part of positions' maintenance that does not move with the mark: (n,) int64."""
    if rules.maintenance_on == "entry":
        return needed
    return needed - maintenance(terms, np.abs(value), lots)


def moving_terms(terms: Terms, rules: Any) -> Terms:
    """The terms with the maintenance that moves with the mark alone."""
    if rules.maintenance_on == "mark":
        return terms
    return replace(terms, floors=(0,), rates=(0,), amounts=(0,), slope=(0, 1))


def grows_squared(terms: Terms) -> bool:
    """Whether maintenance grows with the square of the notional."""
    return terms.contract != LINEAR and terms.slope[0] > 0


def needs_general(terms: Terms) -> bool:
    """Whether a position's price must be solved piece by piece: maintenance that starts free within a tier,
    or that grows with the square of the notional."""
    tiers = zip(terms.amounts, terms.rates, terms.floors, strict=True)
    return grows_squared(terms) or any(a * RATE_ONE > rate * floor for a, rate, floor in tiers)


# -- prices --------------------------------------------------------------------------------------------------


def notional_at_zero_excess(
    terms: Terms, rising: np.ndarray, rest: np.ndarray, cut: Any = 0.0, lots: Any = None
) -> np.ndarray:
    """The notional x at which rest + x - maintenance(x) = 0 where `rising`, rest - x - maintenance(x) = 0
    elsewhere. Not for terms that `needs_general` names.

    Parameters
    ----------
    rising : (n,) bool, whether the position's value grows with its notional
    rest : (n,) int64 quanta, everything else of the account: equity and maintenance without this position
    cut : (n,) float64, the part of `rest` below a quantum
    lots : (n,) int64, the position, where the rate grows with size

    Returns
    -------
    (n,) float64, solved in the tier that holds at the answer; NaN where there is none.
    """
    extra = size_rate(terms, terms.slope, rest, lots) if terms.slope[0] else np.zeros(len(rest), np.int64)
    answer = np.full(rest.shape, np.nan)
    floors = np.array([*terms.floors, np.inf], np.float64)
    for t, (rate, a) in enumerate(zip(terms.rates, terms.amounts, strict=True)):
        top = ((rest + a).astype(np.float64) + cut) * RATE_ONE
        with np.errstate(divide="ignore", invalid="ignore"):
            x = np.where(rising, -top / (RATE_ONE - rate - extra), top / (RATE_ONE + rate + extra))
        # A hair of room at the tiers' ends: neighbours agree there, and rounding must not leave a gap between
        # them.
        room = 1e-12 * (1 + floors[t])
        holds = (x > 0) & (x >= floors[t] - room) & (x <= floors[t + 1] * (1 + 1e-12))
        better = np.isnan(answer) | np.where(rising, x > answer, x < answer)
        answer = np.where(holds & better, x, answer)
    # Where maintenance jumps up at a floor, the jump itself can be the crossing.
    for t in range(1, len(terms.floors)):
        below = (terms.rates[t - 1] + extra) / RATE_ONE * floors[t] - terms.amounts[t - 1]
        above = (terms.rates[t] + extra) / RATE_ONE * floors[t] - terms.amounts[t]
        value = np.where(rising, floors[t], -floors[t])
        crossing = (rest + value - np.minimum(below, above) >= 0) != (
            rest + value - np.maximum(below, above) >= 0
        )
        missing = np.isnan(answer) & crossing & (above - below > 2)
        answer = np.where(missing, floors[t], answer)
    return answer


def price_of_notional(terms: Terms, lots: np.ndarray, notional: np.ndarray) -> np.ndarray:
    """The price in ticks (float64) at which signed lots have this notional; NaN where there is none."""
    size = np.abs(lots).astype(np.float64) * terms.coef_num / terms.coef_den
    with np.errstate(divide="ignore", invalid="ignore"):
        price = notional / size if terms.contract == LINEAR else size / notional
    return np.where(np.isfinite(price) & (price > 0), price, np.nan)


def rises(terms: Terms, lots: np.ndarray) -> np.ndarray:
    """Whether positions' values grow with their notional: (n,) bool."""
    return (lots > 0) == (terms.contract == LINEAR)


def price_of_closing(terms: Terms, lots: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The price in ticks at which the trade that closes signed lots has this signed value; NaN where there is
    none."""
    notional = np.where(rises(terms, lots), -value, value).astype(np.float64)
    return price_of_notional(terms, lots, np.where(notional > 0, notional, np.nan))


def spent(fee: int, money: np.ndarray) -> np.ndarray:
    """The closing value, unrounded, that with a fee at this rate of 1e-12 on it comes to `money`."""
    return money / np.where(money >= 0, 1 + fee / RATE_ONE, 1 - fee / RATE_ONE)


def liquidation_price(
    terms: Terms, lots: np.ndarray, rest: np.ndarray, cut: Any, mark: Any
) -> np.ndarray:
    """Liquidation prices in ticks, all else fixed, of positions whose instrument's price moves nothing else.

    Parameters
    ----------
    terms : those of the maintenance that moves with the mark
    lots : (n,) int64, the position
    rest : (n,) int64 quanta, its account's equity less maintenance, both without the position (but with the
        maintenance of it that does not move)
    cut : (n,) float64, the part of `rest` below a quantum
    mark : float ticks, or (n,); of several crossings the one next to it is meant

    Returns
    -------
    (n,) float64, NaN where there is none.
    """
    if needs_general(terms):
        return together(terms, lots[:, None], rest, cut, mark)
    return price_of_notional(
        terms, lots, notional_at_zero_excess(terms, rises(terms, lots), rest, cut, lots)
    )


def net_size(terms: Terms, lots: np.ndarray, rates: np.ndarray, spot: Any = 0.0) -> np.ndarray:
    """How (n, k) positions' values, less what rates (1e-12) of their notionals take, move with u: the price
    of a linear contract, 1 / price of an inverse one. (n,) float64. `spot`, (n,) float64: lots that nothing
    is taken of.

    In extended precision: long and short can nearly cancel, and rates then decide.
    """
    net = lots.sum(axis=1).astype(np.longdouble) * (RATE_ONE if terms.contract == LINEAR else -RATE_ONE)
    net = net - (np.abs(lots).astype(np.longdouble) * rates).sum(axis=1) + np.longdouble(1) * spot * RATE_ONE
    return (net / RATE_ONE * terms.coef_num / terms.coef_den).astype(np.float64)


def bankruptcy_together(
    terms: Terms, lots: np.ndarray, money: np.ndarray, cut: Any = 0.0, fee: int = 0, spot: Any = 0.0
) -> np.ndarray:
    """The price in ticks at which closing all of (n, k) positions of one instrument leaves nothing.

    money, cut : (n,) int64 and float64 quanta, the accounts' equity without these positions.
    spot : as for `together`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        u = -(money + cut) / net_size(terms, lots, np.full(lots.shape, fee), spot)
        price = u if terms.contract == LINEAR else 1 / u
    return np.where(np.isfinite(price) & (price > 0), price, np.nan)


def together(
    terms: Terms, lots: np.ndarray, rest: np.ndarray, cut: Any, mark: Any, spot: Any = 0.0
) -> np.ndarray:
    """Liquidation prices of accounts with several positions in one instrument (hedge mode), or collateral in
    it as well: its price moves them all.

    Parameters
    ----------
    lots : (n, k) int64, the positions of one account a row, 0 where there are fewer than k
    rest, cut : as for `liquidation_price`, without any of them
    mark : float ticks, or (n,)
    spot : (n,) float64, lots that are worth something and need nothing: collateral after its haircut

    Returns
    -------
    (n,) float64 ticks, the crossing next to the mark; NaN without one.
    """
    linear = terms.contract == LINEAR
    size = np.abs(lots).astype(np.float64) * terms.coef_num / terms.coef_den
    # In u = price (linear) or 1 / price (inverse) values and each tier's maintenance are straight lines;
    # where an inverse contract's rate grows with size, parabolas.
    square = 0.0 if linear else terms.slope[0] / terms.slope[1] / RATE_ONE
    start = np.reshape(mark if linear else 1 / np.asarray(mark), (-1, 1))
    extra = np.zeros(lots.shape, np.int64)
    if linear and terms.slope[0]:
        extra = size_rate(terms, terms.slope, lots.ravel(), lots.ravel()).reshape(lots.shape)
    rates, floors = np.array(terms.rates, np.int64), np.array(terms.floors, np.float64)
    amounts = np.array(terms.amounts, np.int64)
    columns = range(lots.shape[1])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Maintenance bends where a tier begins, where its amount stops making it nothing, and where size adds
        # no more.
        ends = []
        for k in columns:
            r = (rates + extra[:, k : k + 1]) / RATE_ONE
            root = amounts / r if not square else 2 * amounts / (r + np.sqrt(r * r + 4 * square * amounts))
            most = np.full((len(r), 1), 1 / square if square else 0)
            bends = [np.broadcast_to(floors, r.shape), root, most]
            ends.append(np.concatenate(bends, axis=1) / size[:, k : k + 1])
        end = np.concatenate(ends, axis=1)
        end = np.sort(np.where(np.isfinite(end) & (end > 0), end, np.inf), axis=1)
        low = np.concatenate([np.zeros((len(end), 1)), end], axis=1)
        high = np.concatenate([end, np.full((len(end), 1), np.inf)], axis=1)
        middle = np.where(np.isfinite(high), (low + high) / 2, 2 * low + 1)
        base, bend = np.broadcast_to(rest[:, None], low.shape).copy(), np.zeros(low.shape)
        taken = np.zeros((*low.shape, lots.shape[1]), np.int64)
        for k in columns:
            inside = middle * size[:, k : k + 1]
            tier = np.maximum(np.searchsorted(floors, inside, side="right") - 1, 0)
            rate = rates[tier] + extra[:, k : k + 1]
            capped = square * inside >= 1
            rate = rate + np.where(capped, RATE_ONE, 0)
            growing = np.where(capped, 0.0, square)
            free = (rate / RATE_ONE + growing * inside) * inside <= amounts[tier]
            base += np.where(free, 0, amounts[tier])
            taken[:, :, k] = np.where(free, 0, rate)
            bend -= np.where(free, 0.0, growing) * size[:, k : k + 1] ** 2
        steepness = np.stack([net_size(terms, lots, taken[:, j], spot) for j in range(low.shape[1])], axis=1)
        level = base + np.broadcast_to(np.asarray(cut, np.float64), rest.shape)[:, None]
        # Both roots of level + steepness u + bend u^2, without cancellation; of a straight line the one.
        half = -(steepness + np.copysign(np.sqrt(steepness**2 - 4 * level * bend), steepness)) / 2
        roots = np.where(bend == 0, -level / steepness, level / half)
        others = np.where(bend == 0, np.nan, half / bend)
        room = 1e-12 * np.where(np.isfinite(high), high, low)
        u = [
            np.where((x > 0) & (x >= low - room) & (x <= high + room) & np.isfinite(low), x, np.nan)
            for x in (roots, others)
        ]
        left = level[:, :-1] + (steepness[:, :-1] + bend[:, :-1] * end) * end
        right = level[:, 1:] + (steepness[:, 1:] + bend[:, 1:] * end) * end
        jumps = np.isfinite(end) & ((left >= 0) != (right >= 0)) & (np.abs(left - right) > 2)
        found = np.concatenate([*u, np.where(jumps, end, np.nan)], axis=1)
        distance = np.where(np.isnan(found), np.inf, np.abs(found - start))
        chosen = found[np.arange(len(found)), distance.argmin(axis=1)]
        price = chosen if linear else 1 / chosen
    return np.where(np.isfinite(price) & (price > 0), price, np.nan)
