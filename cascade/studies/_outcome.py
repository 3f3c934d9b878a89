"""What a study looks at: one number of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._badrows import show
from .._summary import SUMMARY_SCALARS
from ..errors import InputError, InputTypeError
from ..result import Result


def price_drop(result: Result) -> float:
    """The largest relative fall of a mark from its start to its low, over all instruments."""
    return max(1 - p["low"] / p["start"] for p in result._summary["price"].values())


def fund_use(result: Result) -> float:
    """What the fund has lost."""
    return result._summary["fund_start"] - result._summary["fund_end"]


def venue_loss(result: Result) -> float:
    """What the venue and its sharers have lost: fund, socialised losses, deficit."""
    s = result._summary
    return fund_use(result) + s["socialised"] + s["deficit"]


NAMED: dict[str, Callable[[Result], float]] = {
    "price_drop": price_drop,
    "fund_use": fund_use,
    "venue_loss": venue_loss,
}
"""Outcomes that a summary does not hold by itself."""
SCALARS = tuple(name for name in SUMMARY_SCALARS if name not in ("status", "price", "known_until"))


def as_outcome(outcome: Any, where: str) -> Callable[[Result], float]:
    """A function of a Result from a callable, a scalar of `Result.summary`, or one of NAMED."""
    if callable(outcome):
        return outcome
    if not isinstance(outcome, str):
        raise InputTypeError(f"{where} = {show(outcome)}: must be a name or a function of a Result")
    if outcome in NAMED:
        return NAMED[outcome]
    if outcome in SCALARS:
        return lambda result: float(result._summary[outcome])
    raise InputError(f"{where} = {outcome!r}: must be one of {', '.join((*NAMED, *SCALARS))}, or a function")


def name_of(outcome: Any) -> str:
    """What an outcome is called; a function goes by its own name."""
    return outcome if isinstance(outcome, str) else getattr(outcome, "__name__", "outcome")
