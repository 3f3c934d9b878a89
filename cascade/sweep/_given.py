"""What the caller of a sweep gives: scenarios, seed, workers, what to keep - read and checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._badrows import show
from .._summary import SUMMARY_SCALARS
from ..errors import InputError, InputTypeError
from ..shocks import Shock

TABLES = {
    "liquidations": "liquidations", "prices": "liquidations", "network": "liquidations", "fills": "all",
    "adl": "all", "flows": "all", "contagion": "all", "waves": "summary", "accounts": "summary",
    "positions": "summary", "holdings": "summary",
}  # fmt: skip
"""The tables of a result that can be kept, and the record that each needs."""
RECORDS = ("summary", "liquidations", "all")


def read_scenarios(market: Any, scenarios: Any, n: int | None) -> tuple[Any, int]:
    """(what `Job` takes, number of scenarios) from a list of Shocks, a table of moves, or a callable."""
    if callable(scenarios):
        if n is None:
            raise InputTypeError("sweep.n: must be given with a callable: the number of scenarios to draw")
        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise InputTypeError(f"sweep.n = {show(n)}: must be the number of scenarios to draw")
        if n < 0:
            raise InputError(f"sweep.n = {n}: must be >= 0")
        return scenarios, int(n)
    read: Any
    if isinstance(scenarios, Mapping) or hasattr(scenarios, "columns") or hasattr(scenarios, "dtype"):
        read, count = read_moves(market, scenarios)
    else:
        read, count = read_shocks(scenarios)
    if n is not None and n != count:
        raise InputError(f"sweep.n = {show(n)}: {count} scenarios are given")
    return read, count


def read_shocks(scenarios: Any) -> tuple[list[Shock], int]:
    """A list of Shocks and its length."""
    if isinstance(scenarios, Shock | str) or not isinstance(scenarios, Iterable):
        raise InputTypeError(f"sweep.scenarios = {show(scenarios)}: must be Shocks, a table, or a callable")
    shocks = list(scenarios)
    for k, shock in enumerate(shocks):
        if not isinstance(shock, Shock):
            raise InputTypeError(f"sweep.scenarios[{k}] = {show(shock)}: must be a Shock")
    return shocks, len(shocks)


def read_moves(market: Any, scenarios: Any) -> tuple[dict[str, np.ndarray], int]:
    """{symbol: relative moves} of an array with a column an instrument, or of named columns; and their
    length."""
    symbols = [i.symbol for i in market.instruments]
    if isinstance(scenarios, np.ndarray) and scenarios.dtype.names is None:
        if scenarios.ndim != 2 or scenarios.shape[1] != len(symbols):
            raise InputError(
                f"sweep.scenarios: shape {scenarios.shape}: must be (n, {len(symbols)}), "
                "a column an instrument"
            )
        columns = {symbol: moves_of(scenarios[:, i], symbol) for i, symbol in enumerate(symbols)}
        return columns, len(scenarios)
    names = (
        scenarios.dtype.names
        if isinstance(scenarios, np.ndarray)
        else getattr(scenarios, "columns", scenarios)
    )
    columns = {}
    for name in names:
        symbol = market.instruments[market.instrument_index(name, "sweep.scenarios")].symbol
        columns[symbol] = moves_of(np.asarray(scenarios[name]), symbol)
    lengths = {len(moves) for moves in columns.values()}
    if len(lengths) != 1:
        raise InputError("sweep.scenarios: must have columns, all equally long")
    return columns, lengths.pop()


def moves_of(column: Any, symbol: str) -> np.ndarray:
    """A column of relative price moves, float64."""
    try:
        moves = np.ascontiguousarray(column, np.float64)
    except (TypeError, ValueError):
        raise InputTypeError(f"sweep.scenarios[{symbol!r}]: must be numbers") from None
    bad = np.flatnonzero(~(np.isfinite(moves) & (moves > -1)))
    if bad.size:
        k = int(bad[0])
        raise InputError(
            f"sweep.scenarios[{symbol!r}][{k}] = {moves[k]}: must be a finite relative move > -1 "
            f"({bad.size} bad rows)"
        )
    return moves


def read_seed(rng: Any) -> int:
    """A number that every draw of a sweep is made from."""
    if rng is None:
        return int(np.random.SeedSequence().generate_state(2, np.uint64)[0])
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if isinstance(rng, np.random.SeedSequence):
        return int(rng.generate_state(1, np.uint64)[0])
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer):
        raise InputTypeError(f"sweep.rng = {show(rng)}: must be a seed, a SeedSequence or a Generator")
    if rng < 0:
        raise InputError(f"sweep.rng = {rng}: must be >= 0")
    return int(rng)


def read_keep(
    market: Any, keep: Any
) -> tuple[tuple[str, ...] | None, tuple[str, ...], dict[str, Callable[..., Any]], str]:
    """(scalars or None for all, tables, functions of a Result, the record that they need)."""
    if keep is None:
        return None, (), {}, "summary"
    if isinstance(keep, Mapping):
        for name, function in keep.items():
            if not callable(function):
                what = f"sweep.keep[{show(name)}] = {show(function)}"
                raise InputTypeError(f"{what}: must be a function of a Result")
        return None, (), dict(keep), "summary"
    if isinstance(keep, str) or not isinstance(keep, Iterable):
        rule = "must be a sequence of column and table names, or a mapping"
        raise InputTypeError(f"sweep.keep = {show(keep)}: {rule}")
    known = scalar_names(market)
    columns, tables = [], []
    for name in keep:
        if name in TABLES:
            tables.append(name)
        elif name in known:
            columns.append(name)
        else:
            choices = ", ".join(sorted(TABLES))
            raise InputError(
                f"sweep.keep = {show(name)}: must be a scalar of result.summary or one of {choices}"
            )
    record = max((TABLES[name] for name in tables), key=RECORDS.index, default="summary")
    return (tuple(columns) if columns else None), tuple(tables), {}, record


def scalar_names(market: Any) -> list[str]:
    """The columns that a sweep of this market has, "scenario" and "error" apart."""
    names: list[str] = []
    for name in SUMMARY_SCALARS:
        if name == "price":
            names += [
                f"price_{which}[{i.symbol}]"
                for i in market.instruments
                for which in ("start", "low", "high", "final")
            ]
        elif name == "known_until":
            names += [f"known_until[{i.symbol}]" for i in market.instruments]
        else:
            names.append(name)
    return names


def read_workers(workers: Any) -> tuple[Callable[..., Any] | None, int]:
    """(a map-like callable, 0) or (None, threads)."""
    if callable(workers):
        return workers, 0
    if isinstance(workers, bool) or not isinstance(workers, int | np.integer):
        raise InputTypeError(f"sweep.workers = {show(workers)}: must be an int or a map-like callable")
    if workers == -1:
        return None, os.cpu_count() or 1
    if workers < 1:
        raise InputError(f"sweep.workers = {workers}: must be >= 1, or -1 for all cores")
    return None, int(workers)


def read_deadline(deadline: Any) -> float:
    if isinstance(deadline, bool) or not isinstance(deadline, int | float | np.integer | np.floating):
        raise InputTypeError(f"sweep.deadline = {show(deadline)}: must be seconds")
    if not deadline >= 0:
        raise InputError(f"sweep.deadline = {deadline}: must be >= 0 seconds")
    return float(deadline)


def directory(out: Any) -> Path | None:
    """The directory for Parquet files, made if need be."""
    if out is None:
        return None
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise InputError("sweep.out: needs pyarrow: pip install pyarrow") from error
    path = Path(out)
    path.mkdir(parents=True, exist_ok=True)
    return path
