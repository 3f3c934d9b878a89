"""Embedded margin tiers: one JSON file a venue and date."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from ..errors import InputError, InputTypeError


@cache
def embedded(file: str) -> dict:
    """A file of this package: exchange, as_of, source, unit, columns, tiers[symbol]."""
    return json.loads((files(__package__) / file).read_text(encoding="utf-8"))


def tiers_of(file: str, symbol: str) -> list[list[float]]:
    """Rows (floor, cap, initial rate, maintenance rate, maintenance amount) of a symbol, the caller's to
    change.

    Raises
    ------
    InputError
        A symbol that is not embedded.
    """
    if not isinstance(symbol, str):
        raise InputTypeError(f"tiers: symbol = {symbol!r}: must be a string")
    known = embedded(file)["tiers"]
    if symbol not in known:
        raise InputError(f"tiers: symbol = {symbol!r}: not embedded, must be one of {', '.join(known)}")
    return [list(row) for row in known[symbol]]
