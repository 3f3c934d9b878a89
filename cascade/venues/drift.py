"""Drift v2: the liquidation formulas of the program, in its integers. Another machine than the engines: here
keepers take positions over at the oracle's price less a fee, and losses are socialised through funding.

Formulas, not rules of a run. Units are the program's: margin ratios and weights 1e-4, fees and prices 1e-6,
quote 1e-6 USD, base 1e-9, percentages to liquidate 1e-4. Divisions round down unless said otherwise.

Source: github.com/drift-labs/protocol-v2 at 0ae3e3b, programs/drift/src/math/{liquidation,margin}.rs and
controller/liquidation.rs.

>>> import cascade as cs
>>> cs.venues.drift.liquidation_base(10_000_000, 1_000, liquidation_fee=10_000, oracle=100_000_000)
1111111111
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from ..errors import InputError
from ._exactly import whole

MARGIN_ONE = 10_000
FEE_ONE = 1_000_000
PRICE_ONE = 1_000_000
QUOTE_ONE = 1_000_000
BASE_ONE = 1_000_000_000
PERCENT_ONE = 10_000
FUNDING_ONE = 1_000  # funding rates carry three digits more than quote
FEE_TO_MARGIN = FEE_ONE // MARGIN_ONE
GRACE_SLOTS = 1_500
FEE_PER_SLOT = 1
SMALL = 50 * QUOTE_ONE
"""Shortages below, and positions up to this are liquidated at once."""
UNBOUNDED = 2**64 - 1
"""What the program says for "as much as there is" in base."""
UNBOUNDED_TRANSFER = 2**128 - 1


class Step(NamedTuple):
    """What one liquidation of a perpetual position does; base 1e-9, quote 1e-6."""

    margin_shortage: int
    base: int
    if_fee: int
    user_base: int
    user_quote: int
    liquidator_quote: int


def margin_ratio(ratio: int, size: int, imf_factor: int = 0) -> int:
    """A margin ratio with the premium of large sizes: max(ratio, 0.8 ratio + factor sqrt(size)).

    Parameters
    ----------
    ratio : int, 1e-4
    size : int, base 1e-9
    imf_factor : int, 1e-6
    """
    ratio, size, factor = whole(ratio, "ratio"), whole(size, "size"), whole(imf_factor, "imf_factor")
    if factor == 0:
        return ratio
    root = isqrt(size * 10 + 1)  # 1e5
    return max(ratio, ratio - ratio // 5 + root * factor // (100_000 * 1_000_000 // MARGIN_ONE))


def is_liquidatable(collateral: int, requirement: int) -> bool:
    """Whether liquidation begins: collateral below the maintenance requirement; equality is healthy."""
    return whole(collateral, "collateral", None) < whole(requirement, "requirement")


def may_exit(collateral: int, requirement_with_buffer: int) -> bool:
    """Whether a liquidation that began is over: collateral reaches the requirement plus its buffer."""
    return whole(collateral, "collateral", None) >= whole(requirement_with_buffer, "requirement")


def liquidation_fee(base: int, largest: int, slots: int) -> int:
    """The liquidator's fee after a number of slots without activity: from 1,500 slots on it has grown by 1e-6
    a slot, up to the largest.

    Parameters
    ----------
    base, largest : int, 1e-6
    slots : int
    """
    base, largest, slots = whole(base, "base"), whole(largest, "largest"), whole(slots, "slots")
    return base if slots < GRACE_SLOTS else min(base + slots * FEE_PER_SLOT, largest)


def liquidation_base(
    shortage: int,
    ratio: int,
    liquidation_fee: int = 0,
    if_fee: int = 0,
    *,
    oracle: int,
    quote_oracle: int = PRICE_ONE,
) -> int:
    """The base to take over so that a margin shortage is covered: shortage / (price (ratio - fee) - price
    insurance fee).

    Parameters
    ----------
    shortage : int, 1e-6 USD
    ratio : int, 1e-4, with the buffer
    liquidation_fee, if_fee : int, 1e-6
    oracle, quote_oracle : int, 1e-6

    Returns
    -------
    int : base 1e-9; 2**64 - 1, everything, where the price is 0 or the fee eats up the ratio.
    """
    shortage, fee, insurance = (
        whole(shortage, "shortage"),
        whole(liquidation_fee, "liquidation_fee"),
        whole(if_fee, "if_fee"),
    )
    oracle, quote = whole(oracle, "oracle"), whole(quote_oracle, "quote_oracle")
    margin = whole(ratio, "ratio") * FEE_TO_MARGIN
    if oracle == 0 or margin <= fee:
        return UNBOUNDED
    freed = oracle * quote // PRICE_ONE * (margin - fee) // FEE_ONE - oracle * insurance // FEE_ONE
    if freed <= 0:
        raise InputError(f"if_fee = {if_fee}: leaves nothing of the margin that a unit frees")
    return shortage * BASE_ONE // freed


def perp_if_fee(
    shortage: int,
    base: int,
    ratio: int,
    liquidation_fee: int,
    *,
    oracle: int,
    quote_oracle: int = PRICE_ONE,
    largest: int,
) -> int:
    """The insurance fund's fee on a perpetual position: 95% of what ratio - fee - shortage / notional leaves,
    at most `largest`; 1e-6."""
    margin = whole(ratio, "ratio") * FEE_TO_MARGIN
    fee, base, oracle = (
        whole(liquidation_fee, "liquidation_fee"),
        whole(base, "base"),
        whole(oracle, "oracle"),
    )
    quote, largest = whole(quote_oracle, "quote_oracle"), whole(largest, "largest")
    price = oracle * quote // PRICE_ONE
    if price == 0 or margin <= fee or base == 0:
        return 0
    used = whole(shortage, "shortage") * BASE_ONE // base * PRICE_ONE // price
    return min(largest, max(0, margin - fee - used) * 19 // 20)


def spot_if_fee(
    shortage: int,
    amount: int,
    asset_weight: int,
    asset_multiplier: int,
    liability_weight: int,
    liability_multiplier: int,
    *,
    decimals: int,
    price: int,
    largest: int,
) -> int:
    """The insurance fund's fee on a borrow: what weights and multipliers leave after the shortage, relative
    to the liability's weight, at most `largest`; 1e-6.

    Parameters
    ----------
    shortage : int, 1e-6 USD
    amount : int, the borrowed tokens in units of 10**-decimals
    asset_weight, liability_weight : int, 1e-4
    asset_multiplier, liability_multiplier : int, 1e-6, one plus or minus the liquidation fee
    price : int, 1e-6
    """
    amount, price, largest = whole(amount, "amount"), whole(price, "price"), whole(largest, "largest")
    weight, multiplier = whole(asset_weight, "asset_weight"), whole(asset_multiplier, "asset_multiplier")
    owed = whole(liability_weight, "liability_weight")
    owed_multiplier = whole(liability_multiplier, "liability_multiplier")
    if weight >= owed or price == 0 or amount == 0 or owed_multiplier == 0:
        return 0
    owed, weight = owed * FEE_TO_MARGIN, weight * FEE_TO_MARGIN
    used = whole(shortage, "shortage") * FEE_ONE * 10 ** whole(decimals, "decimals") // amount // price
    left = max(0, max(0, owed - weight * multiplier // owed_multiplier) - used)
    return min(largest, left * FEE_ONE // owed)


def max_percent(shortage: int, slots: int, initial: int, duration: int, freed: int = 0) -> int:
    """How much of a shortage may be freed by now: initial + slots / duration of all that was and is short,
    less what has been freed; everything at once where the shortage is below 50 USD. 1e-4.

    Parameters
    ----------
    shortage, freed : int, 1e-6 USD
    slots, duration : int
    initial : int, 1e-4
    """
    shortage, slots, freed = whole(shortage, "shortage"), whole(slots, "slots"), whole(freed, "freed")
    initial, duration = whole(initial, "initial"), whole(duration, "duration")
    if shortage < SMALL:
        return PERCENT_ONE
    grown = slots * PERCENT_ONE // duration if duration else PERCENT_ONE
    freeable = (shortage + freed) * min(grown + initial, PERCENT_ONE) // PERCENT_ONE
    return max(0, freeable - freed) * PERCENT_ONE // shortage


def liability_transfer(
    shortage: int,
    asset_weight: int,
    asset_multiplier: int,
    liability_weight: int,
    liability_multiplier: int,
    *,
    decimals: int,
    price: int,
    if_fee: int = 0,
) -> int:
    """The borrowed tokens that a liquidator takes over so that a shortage is covered, in units of
    10**-decimals; 2**128 - 1, everything, where the weights are equal.

    Parameters are `spot_if_fee`'s.
    """
    weight, owed = whole(asset_weight, "asset_weight"), whole(liability_weight, "liability_weight")
    if weight == owed:
        return UNBOUNDED_TRANSFER
    digits, price = whole(decimals, "decimals"), whole(price, "price")
    multiplier = whole(asset_multiplier, "asset_multiplier")
    owed_multiplier = whole(liability_multiplier, "liability_multiplier")
    more, less = (10 ** (digits - 6), 1) if digits > 6 else (1, 10 ** (6 - digits))
    if owed_multiplier == 0:
        raise InputError("liability_multiplier = 0: must be > 0")
    freed = price * (owed * 10 - weight * 10 * multiplier // owed_multiplier)
    freed -= price * whole(if_fee, "if_fee") // FEE_ONE * owed * 10
    if freed <= 0:
        raise InputError("weights, multipliers and fee leave nothing that a transfer would free")
    return whole(shortage, "shortage") * more * PRICE_ONE * MARGIN_ONE * 10 // freed // less


def socialised_funding(loss: int, long_base: int, short_base: int) -> int:
    """By how much a loss moves the cumulative funding rate of both sides: |loss| / (long + |short|) a unit of
    base, rounded up, in 1e-9 quote.

    Parameters
    ----------
    loss : int, 1e-6 USD
    long_base, short_base : int, 1e-9
    """
    total = abs(whole(long_base, "long_base", None)) + abs(whole(short_base, "short_base", None))
    if total == 0:
        raise InputError("long_base, short_base: must not both be 0")
    return -(-abs(whole(loss, "loss", None)) * BASE_ONE // total) * FUNDING_ONE


def liquidate_perp(
    base: int,
    quote: int,
    collateral: int,
    *,
    oracle: int,
    ratio: int,
    buffer: int,
    fee: int,
    largest_if_fee: int,
    step: int,
    percent: int | None = None,
    liquidator_base: int = UNBOUNDED,
    quote_oracle: int = PRICE_ONE,
) -> Step:
    """One liquidation of a perpetual position by a keeper, after the user's orders are cancelled.

    Parameters
    ----------
    base, quote : int
        The user's position: signed base 1e-9 and its signed quote 1e-6.
    collateral : int, 1e-6 USD
        With the position's profit or loss at the oracle's price.
    oracle, quote_oracle : int, 1e-6
    ratio, buffer : int, 1e-4
        Maintenance ratio (with the premium of size) and the buffer above it.
    fee, largest_if_fee : int, 1e-6
    step : int, base 1e-9
        Amounts are rounded up to it, to the whole position at most.
    percent : int, optional
        1e-4, what `max_percent` allows; by default everything.
    liquidator_base : int
        The most that the keeper takes.

    Returns
    -------
    Step : all zero but the position where collateral is sufficient.
    """
    held, quote = whole(base, "base", None), whole(quote, "quote", None)
    if held == 0:
        raise InputError("base = 0: must not be flat")
    size, step = abs(held), whole(step, "step", 1)
    with_buffer = whole(ratio, "ratio") + whole(buffer, "buffer")
    value = size * whole(oracle, "oracle") // BASE_ONE
    requirement = value * whole(quote_oracle, "quote_oracle") // PRICE_ONE * with_buffer // MARGIN_ONE
    shortage = max(0, requirement - whole(collateral, "collateral", None))
    if shortage == 0:
        return Step(0, 0, 0, held, quote, 0)
    prices = {"oracle": oracle, "quote_oracle": quote_oracle}
    insurance = perp_if_fee(shortage, size, with_buffer, fee, largest=largest_if_fee, **prices)
    cover = _up(liquidation_base(shortage, with_buffer, fee, insurance, **prices), step)
    allowed = PERCENT_ONE if percent is None or value <= SMALL else whole(percent, "percent")
    most = cover if allowed >= PERCENT_ONE else cover * allowed // PERCENT_ONE
    taken = min(size, _up(min(size, whole(liquidator_base, "liquidator_base"), most), step))
    sign = 1 if held > 0 else -1
    notional = taken * oracle // BASE_ONE
    paid = notional * (FEE_ONE - sign * whole(fee, "fee")) // FEE_ONE
    to_fund = notional * quote_oracle // PRICE_ONE * insurance // FEE_ONE
    return Step(shortage, taken, to_fund, held - sign * taken, quote + sign * paid - to_fund, -sign * paid)


def _up(amount: int, step: int) -> int:
    return -(-amount // step) * step
