"""Price bands and circuit breakers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .. import breakers
from ._inputs import Inputs, Unknown


def luld(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Limit up - limit down: the bands around a reference price, by the previous close."""
    rule = breakers.luld(inputs.whole("tier"), doubled=bool(inputs.raw("doubled", False)))
    band = rule.band("0.01", inputs.number("ref"), settle=inputs.number("prev_close"))
    return {
        "pct": None if band.rate is None else Fraction(band.rate),
        "lower": Fraction(band.lower),
        "upper": Fraction(band.upper),
    }


def dynamic(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """CME's dynamic circuit breaker: limits from the extremes of the window."""
    band = breakers.dynamic_circuit_breaker(inputs.number("pct")).band(
        inputs.number("tick"),
        settle=inputs.number("settle"),
        low=inputs.number("window_low"),
        high=inputs.number("window_high"),
    )
    return {
        "variant": Fraction(band.variant),
        "high_bid_limit": Fraction(band.high_bid_limit),
        "low_ask_limit": Fraction(band.low_ask_limit),
    }


CLOSES = ("prior_close", "prev_close", "close", "reference", "settle")


def market_wide(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Market-wide circuit breaker: the prices of its levels, and the level that a price reaches."""
    names = [name for name in CLOSES if name in inputs]
    if not names:
        raise Unknown(f"no closing price among {', '.join(CLOSES)}")
    rule, close = breakers.market_wide(), inputs.number(names[0])
    prices = [
        Fraction(price) for price in rule.triggers(close, inputs.number("tick") if "tick" in inputs else None)
    ]
    said: dict[str, Any] = {"levels": prices}
    for k, price in enumerate(prices, 1):
        said |= {f"level{k}": price, f"level_{k}": price}
    if "price" in inputs:
        stop = rule.halt_at(inputs.number("price"), close)
        said |= {"level": stop.level, "halted": stop.level > 0}
    return said


MODELS = {"luld": luld, "dcb": dynamic, "mwcb": market_wide}
