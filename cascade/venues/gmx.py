"""GMX v2: when a position is liquidated and when deleveraging is enabled. Another machine than the engines:
positions stand against a pool at the oracle's price, and there is no book.

Formulas, not rules of a run. Numbers are exact; what the contracts round at 1e-30 USD is rounded here too.

Source: github.com/gmx-io/gmx-synthetics at a5c0c88, contracts/position/PositionUtils.sol
(isPositionLiquidatable), market/MarketUtils.sol (isPnlFactorExceeded), adl/AdlUtils.sol.

>>> import cascade as cs
>>> cs.venues.gmx.liquidation(
...     side=-1, size_usd=450_000, size_tokens=30_000, collateral=1, collateral_price=4_499, index_price=15,
...     min_collateral_factor="0.01").liquidatable
True
"""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any, NamedTuple

from ._exactly import above, number, side_of

USD_ONE = 10**30


class Liquidation(NamedTuple):
    """Whether a position is liquidated, what is left of its collateral in USD, and what its owner gets back
    in tokens of the collateral (None where it is not liquidated)."""

    liquidatable: bool
    remaining_usd: Fraction
    returned: Fraction | None


def _factor(value: Fraction, factor: Fraction) -> Fraction:
    """value * factor, rounded down to 1e-30 USD."""
    return Fraction(floor(value * factor * USD_ONE), USD_ONE)


def profit(side: Any, size_usd: Any, size_tokens: Any, index_price: Any) -> Fraction:
    """A position's profit at the oracle's price: the value of its tokens less its size, or the other way
    round for a short."""
    value = number(size_tokens, "size_tokens", 0) * above(index_price, "index_price")
    return side_of(side) * (value - number(size_usd, "size_usd", 0))


def liquidation(
    *,
    side: Any,
    size_usd: Any,
    size_tokens: Any,
    collateral: Any,
    collateral_price: Any,
    index_price: Any,
    min_collateral_factor: Any,
    min_collateral_usd: Any = 0,
    price_impact_usd: Any = 0,
    max_price_impact_factor: Any = None,
    closing_fees_usd: Any = 0,
    liquidation_fee_factor: Any = 0,
) -> Liquidation:
    """Whether a position is liquidated.

    Parameters
    ----------
    side : {1, -1}
    size_usd, size_tokens : number
        Size at entry in USD, and in tokens of the index.
    collateral, collateral_price : number
        Tokens, and the lower of the oracle's two prices.
    index_price : number
        The oracle's price that is worse for the position.
    min_collateral_factor : number
        The smallest ratio of what remains to `size_usd`.
    min_collateral_usd : number
        The least that must remain in any case.
    price_impact_usd : number
        Of closing; only a negative one counts.
    max_price_impact_factor : number, optional
        The negative impact counts up to this part of `size_usd`.
    closing_fees_usd : number
        All fees of closing but the liquidation's.
    liquidation_fee_factor : number
        Part of `size_usd` that a liquidation costs; it does not count in the test.

    Returns
    -------
    Liquidation
        Liquidatable if remaining = collateral + profit + impact - fees is below `min_collateral_usd`, <= 0,
        or below size * factor.
    """
    size, price = number(size_usd, "size_usd", 0), above(collateral_price, "collateral_price")
    impact = min(Fraction(0), number(price_impact_usd, "price_impact_usd"))
    if max_price_impact_factor is not None:
        impact = max(impact, -_factor(size, number(max_price_impact_factor, "max_price_impact_factor", 0)))
    remaining = number(collateral, "collateral", 0) * price + profit(side, size_usd, size_tokens, index_price)
    remaining += impact - number(closing_fees_usd, "closing_fees_usd", 0)
    least = number(min_collateral_usd, "min_collateral_usd")
    needed = _factor(size, number(min_collateral_factor, "min_collateral_factor", 0))
    if not (remaining < least or remaining <= 0 or remaining < needed):
        return Liquidation(False, remaining, None)
    fee = _factor(size, number(liquidation_fee_factor, "liquidation_fee_factor", 0))
    return Liquidation(True, remaining, max(Fraction(0), remaining - fee) / price)


def adl_enabled(
    *, size_usd: Any, size_tokens: Any, index_price: Any, pool_usd: Any, max_pnl_factor: Any, side: Any = 1
) -> bool:
    """Whether deleveraging of a side is enabled: its profit over the pool's value is above the largest
    factor; at the factor it is not.

    Parameters
    ----------
    size_usd, size_tokens : number
        The side's open interest at entry, and in tokens.
    index_price, pool_usd, max_pnl_factor : number
    side : {1, -1}
    """
    pool = above(pool_usd, "pool_usd")
    factor = _factor(profit(side, size_usd, size_tokens, index_price), 1 / pool)
    return factor > 0 and factor > number(max_pnl_factor, "max_pnl_factor", 0)
