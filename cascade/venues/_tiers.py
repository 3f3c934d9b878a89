"""Embedded margin tiers: one JSON file a venue and date, each different table once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from .._badrows import show
from ..errors import InputError, InputTypeError
from ..instruments import RATE_ONE
from ..tiers import Rows, TierTable, table_of


def expanded(read: dict[str, Any]) -> dict[str, Any]:
    """What `tools/embed_tiers.py` wrote, as a file that `read_tiers` takes.

    Amounts follow from continuity. A table of leverages stands for initial rates of 1 / leverage and
    maintenance rates of half of it, on the engines' grid of 1e-12.
    """
    tables = []
    for floors, first, *more in read["tables"]:
        cap = more[-1]
        if len(more) == 2:
            rates = list(zip(first, more[0], strict=True))
        else:
            halves = [Decimal(round(Decimal(RATE_ONE) / (2 * leverage))) / RATE_ONE for leverage in first]
            rates = [(2 * half, half) for half in halves]
        caps = [*floors[1:], cap]
        tables.append([[a, b, i, m, None] for a, b, (i, m) in zip(floors, caps, rates, strict=True)])
    tiers = {symbol: tables[k] for symbol, k in read["symbols"].items()}
    return {name: read[name] for name in ("exchange", "as_of", "source", "unit", "note")} | {"tiers": tiers}


@cache
def embedded(file: str) -> TierTable:
    """A file of this package."""
    text = (files(__package__) / file).read_text(encoding="utf-8")
    return table_of(expanded(json.loads(text, parse_float=Decimal)), file)


def tiers_of(dated: Mapping[str, str], symbol: str, date: str | None) -> Rows:
    """Rows (floor, cap, initial rate, maintenance rate, maintenance amount) of a symbol, the caller's to
    change.

    Parameters
    ----------
    dated : mapping of dates to files of this package, the newest last
    symbol : str
        The venue's own name, or BASE/QUOTE:SETTLE.
    date : str, optional
        One of `dated`; by default the newest.

    Raises
    ------
    InputError
        A symbol or a date that is not embedded.
    """
    if date is None:
        date = list(dated)[-1]
    if not isinstance(date, str):
        raise InputTypeError(f"tiers: date = {show(date)}: must be a string")
    if date not in dated:
        raise InputError(f"tiers: date = {date!r}: not embedded, must be one of {', '.join(dated)}")
    return embedded(dated[date]).rows(symbol)
