"""Tables of price bands and market-wide halts, for market and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._standing import loaded_mark
from ._state import State
from .breakers import INDEX, MARK, MARK_ONE, band_of, band_terms, level_terms
from .instruments import PRICE_LIMIT
from .tables import Table


def limit_price(state: State, i: int, ticks: int) -> float:
    """A limit as a price: 0 and infinity where there is none."""
    return float("inf") if ticks >= PRICE_LIMIT - 1 else float(ticks * state.instruments[i].tick_size)


def bands_table(state: State, rules: Any) -> Table:
    """What `Market.bands` gives."""
    rows = []
    for i, bands in enumerate(band_terms(state, rules.breakers)):
        instrument = state.instruments[i]
        settle = state.band_prices(i)[1]
        for terms in bands:
            rule = rules.breakers[terms.breaker]
            middle = terms.anchor
            if terms.kind == MARK:
                middle = loaded_mark(state, i, rules.mark) or 0
            elif terms.kind == INDEX:
                middle = int(state.index_1024[i])
            band = band_of(rule, terms, instrument.tick_size, settle, middle, middle)
            rows.append(
                (
                    instrument.symbol, terms.breaker, np.nan if band.rate is None else float(band.rate),
                    float(band.variant), float(band.lower),
                    np.inf if band.upper >= (PRICE_LIMIT - 1) * instrument.tick_size else float(band.upper),
                )
            )  # fmt: skip
    return _table(rows, {"instrument": str, "breaker": np.int64} | dict.fromkeys(
        ("rate", "variant", "lower", "upper"), np.float64
    ))


def levels_table(state: State, rules: Any) -> Table:
    """What `Market.halts` gives."""
    rows = []
    seen: dict[int, int] = {}
    for terms in level_terms(state, rules.breakers):
        level = seen[terms.breaker] = seen.get(terms.breaker, 0) + 1
        instrument = state.instruments[terms.instrument]
        rate = rules.breakers[terms.breaker].levels[level - 1][0]
        price = float(terms.threshold * instrument.tick_size / MARK_ONE)
        rows.append((instrument.symbol, terms.breaker, level, float(rate), price, terms.halt))
    names = {"instrument": str, "breaker": np.int64, "level": np.int64, "rate": np.float64}
    return _table(rows, names | {"price": np.float64, "halt_ns": np.int64})


def fences_table(state: State, fences: list[tuple[int, int, int]]) -> Table:
    """What `Simulation.bands` gives."""
    rows = []
    for i, (low, high, until) in enumerate(fences):
        prices = (np.nan, np.nan) if until else (limit_price(state, i, low), limit_price(state, i, high))
        rows.append((state.instruments[i].symbol, *prices, bool(until), until))
    names = {"instrument": str, "lower": np.float64, "upper": np.float64}
    return _table(rows, names | {"halted": np.bool_, "halted_until_ns": np.int64})


def _table(rows: list[tuple], kinds: dict[str, Any]) -> Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(kinds)
    return Table(
        {name: np.array(column, kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)}
    )
