"""The rows of a sweep: scalars and kept tables of scenarios, in order, to memory or to Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..tables import Table

WHOLE = frozenset(
    (
        "waves", "steps", "events", "liquidated_accounts", "recovered_accounts", "initially_unhealthy",
        "unfilled_accounts", "dropped_levels",
    )
)  # fmt: skip
"""The scalars that are counts."""
NAN = float("nan")


@dataclass
class Rows:
    """Outcomes of scenarios first, first + 1, ...: one dict of scalars each, their kept tables, and what
    kept functions returned (None of a scenario without a result)."""

    first: int
    scalars: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[tuple[int, Table]]] = field(default_factory=dict)
    values: dict[str, list[Any]] = field(default_factory=dict)


def kept_table(result: Any, name: str) -> Table:
    """A table of a result by name; some are properties, some are questions."""
    found = getattr(result, name)
    return found() if callable(found) else found


def flat(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary's scalars; those by instrument as "price_final[BTCUSDT]", "known_until[BTCUSDT]"."""
    out = dict(summary)
    known = out.pop("known_until")
    for symbol, prices in out.pop("price").items():
        for which, price in prices.items():
            out[f"price_{which}[{symbol}]"] = price
        out[f"known_until[{symbol}]"] = known.get(symbol, NAN)
    return out


def columns_of(rows: Rows, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The rows as columns; what a scenario without a result lacks is NaN, or 0 where it counts things."""
    out: dict[str, np.ndarray] = {"scenario": rows.first + np.arange(len(rows.scalars))}
    for name in names:
        whole = name in WHOLE
        missing: Any = "" if name == "status" else 0 if whole else float("nan")
        values = [row.get(name, missing) for row in rows.scalars]
        kind = np.str_ if name == "status" else np.int64 if whole else np.float64
        out[name] = np.array(values, kind)
    out["error"] = np.array([row.get("error", "") for row in rows.scalars], np.str_)
    return out


class Collector:
    """Takes parts in any order, hands them on in order: to memory, or to Parquet files."""

    def __init__(self, names: Sequence[str], tables: Sequence[str], out: Path | None):
        self.names, self.out = names, out
        self.tables: dict[str, list[Table]] = {name: [] for name in tables}
        self.columns: list[dict[str, np.ndarray]] = []
        self.values: dict[str, list[Any]] = {}
        self.done = self.failed = self.not_run = self._next = 0
        self._early: dict[int, Rows] = {}
        self._files: dict[str, Any] = {}

    def add(self, rows: Rows) -> None:
        self.done += len(rows.scalars)
        self._early[rows.first] = rows
        while self._next in self._early:
            part = self._early.pop(self._next)
            self._next += len(part.scalars)
            self._keep(part)

    def _keep(self, rows: Rows) -> None:
        columns = columns_of(rows, self.names)
        self.failed += int((columns["status"] == "failed").sum())
        self.not_run += int((columns["status"] == "not_run").sum())
        for name, values in rows.values.items():
            self.values.setdefault(name, []).extend(values)
        found = {name: with_scenario(parts) for name, parts in rows.tables.items() if parts}
        if self.out is None:
            self.columns.append(columns)
            for name, table in found.items():
                self.tables[name].append(table)
            return
        self._write("scenarios", Table(columns))
        for name, table in found.items():
            self._write(name, table)

    def _write(self, name: str, table: Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        assert self.out is not None
        data = pa.table(table)
        if name not in self._files:
            self._files[name] = pq.ParquetWriter(self.out / f"{name}.parquet", data.schema)
        self._files[name].write_table(data.cast(self._files[name].schema))

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def table(self) -> Table:
        return Table(joined(self.columns) or columns_of(Rows(0), self.names))

    def kept(self) -> dict[str, Table]:
        return {name: Table(joined(parts)) for name, parts in self.tables.items()}


def with_scenario(parts: list[tuple[int, Table]]) -> Table:
    """Tables of one name one after another, with a first column scenario."""
    scenario = np.repeat([k for k, _ in parts], [len(table) for _, table in parts])
    return Table({"scenario": scenario.astype(np.int64), **joined([table for _, table in parts])})


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
