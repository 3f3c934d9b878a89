"""Numbers of formulas: exact rationals in, exact rationals or integers out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from .._badrows import show
from ..errors import InputError, InputTypeError
from ..instruments import exact


def number(value: Any, name: str, lowest: int | None = None) -> Fraction:
    """A finite number as the rational that it is written as, at least `lowest`."""
    found = exact(value, name)
    if lowest is not None and found < lowest:
        raise InputError(f"{name} = {show(value)}: must be >= {lowest}")
    return found


def above(value: Any, name: str) -> Fraction:
    """A number > 0."""
    found = exact(value, name)
    if found <= 0:
        raise InputError(f"{name} = {show(value)}: must be > 0")
    return found


def whole(value: Any, name: str, lowest: int | None = 0) -> int:
    """An integer, at least `lowest`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"{name} = {show(value)}: must be an int")
    if lowest is not None and value < lowest:
        raise InputError(f"{name} = {show(value)}: must be >= {lowest}")
    return int(value)


def side_of(value: Any) -> int:
    """+1 for a long, -1 for a short."""
    if isinstance(value, bool) or value not in (1, -1):
        raise InputError(f"side = {show(value)}: must be 1 (long) or -1 (short)")
    return int(value)
