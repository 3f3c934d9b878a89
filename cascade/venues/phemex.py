"""Phemex USDT contracts: assigned margin and liquidation price, which count the fee of closing.

Formulas, not rules of a run. Source: phemex.com/help-center/liq-price-for-USDTM.

>>> import cascade as cs
>>> float(cs.venues.phemex.assigned_margin(side=1, open_value=200, leverage=5, taker_fee="0.0006"))
40.096
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ._exactly import above, number, side_of


def assigned_margin(*, side: Any, open_value: Any, leverage: Any, taker_fee: Any) -> Fraction:
    """What a position is opened with: value / leverage, and the fee of closing at the price where that is
    gone."""
    value, part = above(open_value, "open_value"), 1 / above(leverage, "leverage")
    return value * part + value * (1 - side_of(side) * part) * number(taker_fee, "taker_fee")


def liquidation_price(
    *,
    side: Any,
    size: Any,
    open_value: Any,
    margin: Any,
    maintenance_rate: Any,
    taker_fee: Any,
    amount: Any = 0,
) -> Fraction:
    """Where margin and profit are down to maintenance and the fee of closing, both on the value there.

    Parameters
    ----------
    side : {1, -1}
    size, open_value : number
    margin : number
        What is assigned to the position.
    maintenance_rate, taker_fee : number
    amount : number
        The tier's maintenance amount.
    """
    s, rate = side_of(side), number(maintenance_rate, "maintenance_rate") + number(taker_fee, "taker_fee")
    left = above(open_value, "open_value") - s * (number(margin, "margin") + number(amount, "amount"))
    return left / (above(size, "size") * (1 - s * rate))
