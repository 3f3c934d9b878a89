"""Exact money: contract values, rounding, tiers, fees. Python integers only, so nothing here can overflow or
drift."""

from __future__ import annotations

from .._state import LINEAR, Terms
from ..instruments import PRICE_LIMIT, RATE_ONE

MARK_ONE = 1024
"""Marks, index prices and averages are integers of 1/1024 tick."""
PPM = 10**6
"""Open interest raises initial rates by whole parts per million, in units of 1e-12."""


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up, b > 0."""
    return -(-a // b)


def half_even(a: int, b: int) -> int:
    """a / b rounded to nearest, ties to even, b > 0. Odd in a: half_even(-a, b) == -half_even(a, b)."""
    q, r = divmod(a, b)
    return q + (2 * r > b or (2 * r == b and q % 2 == 1))


def sign(x: int) -> int:
    return (x > 0) - (x < 0)


def trade_value(terms: Terms, lots: int, price: int) -> int:
    """Signed value in quanta of a trade of `lots` (signed) at `price` ticks. Odd in lots."""
    if terms.contract == LINEAR:
        return lots * price * terms.coef_num
    return -half_even(lots * terms.coef_num, price * terms.coef_den)


def value_at_mark(terms: Terms, lots: int, mark: int) -> int:
    """Signed value in quanta at a mark of 1/1024 ticks, rounded down."""
    if terms.contract == LINEAR:
        return lots * mark * terms.coef_num // MARK_ONE
    return -lots * terms.coef_num * MARK_ONE // (mark * terms.coef_den)


def maintenance(terms: Terms, notional: int, lots: int = 0) -> int:
    """Maintenance margin of a position of this notional: the highest tier whose floor it reaches, rounded up,
    never negative."""
    return maintenance_in(terms, tier_of(terms, notional), notional, lots)


def maintenance_in(terms: Terms, tier: int, notional: int, lots: int) -> int:
    """Maintenance margin of a position of this notional, as if a tier held for it."""
    rate = terms.rates[tier] + size_rate(terms, terms.slope, notional, lots)
    return max(0, ceil_div(rate * notional, RATE_ONE) - terms.amounts[tier])


def initial(terms: Terms, notional: int, lots: int = 0, open_interest: int = 0) -> int:
    """Initial margin of a position of this notional, rounded up: its tier's rate, raised by open interest and
    by size; never more than the notional."""
    rate = terms.initial_rates[tier_of(terms, notional)]
    if terms.open_interest:
        floor, cap = terms.open_interest
        rise = max(0, open_interest - floor) * (RATE_ONE - rate) // ((cap - floor) * PPM)
        rate = min(rate + rise * PPM, RATE_ONE)
    rate = min(rate + size_rate(terms, terms.initial_slope, notional, lots), RATE_ONE)
    return ceil_div(rate * notional, RATE_ONE)


def tier_of(terms: Terms, notional: int) -> int:
    """The highest tier whose floor the notional reaches."""
    t = len(terms.floors) - 1
    while t > 0 and terms.floors[t] > notional:
        t -= 1
    return t


def size_rate(terms: Terms, slope: tuple[int, int], notional: int, lots: int) -> int:
    """What size adds to a margin rate: `slope` a lot (linear) or a quantum of notional (inverse), rounded up,
    at most 1."""
    size = abs(lots) if terms.contract == LINEAR else notional
    return min(ceil_div(size * slope[0], slope[1]), RATE_ONE)


def value_after_fee(rate: int, value: int) -> int:
    """The largest closing value that, with a fee at this rate on it, is no more than `value`: the fee on what
    is paid comes on top, the fee on what is received is taken off."""
    return value * RATE_ONE // (RATE_ONE + rate if value >= 0 else RATE_ONE - rate)


def fee(rate: int, notional: int) -> int:
    """A fee, rounded up (a rebate is negative and rounds towards the venue)."""
    return ceil_div(rate * notional, RATE_ONE)


def released_basis(basis: int, closed: int, held: int) -> int:
    """The part of `basis` that closing `closed` of `held` lots releases (both counts positive)."""
    return half_even(basis * closed, held)


def implied_price_exists(terms: Terms, lots: int, value: int) -> bool:
    """Whether some positive price gives a trade of `lots` this signed value."""
    return sign(value) == (sign(lots) if terms.contract == LINEAR else -sign(lots))


def bankruptcy_limit(terms: Terms, lots: int, value: int) -> int:
    """The tick at which closing `lots` (signed) is worth `value` or better: rounded in the account's favour.

    A sell rounds up, a buy down, clamped to the domain. The implied price must exist.
    """
    n, v = abs(lots), abs(value)
    if terms.contract == LINEAR:
        a, b = v, n * terms.coef_num
    else:
        a, b = n * terms.coef_num, v * terms.coef_den
    price = ceil_div(a, b) if lots < 0 else a // b
    return min(max(price, 1), PRICE_LIMIT - 1)
