"""A sweep from the call to its outcome."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tables import Table
from ._elsewhere import on_map
from ._given import (
    directory,
    read_deadline,
    read_keep,
    read_scenarios,
    read_seed,
    read_workers,
    scalar_names,
)
from ._rows import Collector, Rows
from ._run import Job, chunks, on_threads


@dataclass(frozen=True, eq=False)
class Sweep:
    """The outcomes of many scenarios, one row each. Made by `Market.sweep`.

    Attributes
    ----------
    table : Table
        scenario (its number), status ("settled", ... as of a run; "failed"; "not_run" past the deadline), the
        scalars of `Result.summary` - prices as "price_final[BTCUSDT]" and so on - and error, the message of a
        scenario that failed. Empty where the rows went to `out`.
    tables : dict of str to Table
        The tables that `keep` named, all scenarios one after another, with a first column scenario.
    values : dict of str to list
        What the functions that `keep` named returned, one entry a scenario; None where there is no result.
    seed : int
        What `rng=` was, as a number: the same seed gives the same draws.
    elapsed : float
        Seconds.
    out : Path or None
        The directory that the rows were written to.
    failed, not_run : int
        Scenarios that raised, and that the deadline left out.
    """

    table: Table
    tables: dict[str, Table]
    values: dict[str, list[Any]]
    seed: int
    elapsed: float
    out: Path | None
    scenarios: int
    failed: int
    not_run: int

    def __len__(self) -> int:
        return self.scenarios

    def __getitem__(self, column: Any) -> Any:
        """A column of `table`, or a table of some of its columns."""
        return self.table[column]

    @property
    def failures(self) -> Table:
        """scenario, status, error of those that failed or were not run."""
        rows = self.table[["scenario", "status", "error"]]
        return rows.rows(np.isin(rows["status"], ["failed", "not_run"]))

    def __repr__(self) -> str:
        bad = f", {self.failed} failed" if self.failed else ""
        late = f", {self.not_run} not run" if self.not_run else ""
        return f"<cascade.Sweep {self.scenarios:,} scenarios in {self.elapsed:.3g} s{bad}{late}>"


def sweep(
    market: Any, scenarios: Any, n: int | None, workers: Any,
    progress: Callable[[int, int], Any] | None, rng: Any, keep: Any, out: Any, deadline: float | None,
    options: dict[str, Any],
) -> Sweep:  # fmt: skip
    """See `Market.sweep`."""
    begun = time.monotonic()
    given, count = read_scenarios(market, scenarios, n)
    columns, tables, functions, record = read_keep(market, keep)
    names = ("status", *(name for name in (columns or scalar_names(market)) if name != "status"))
    ends = None if deadline is None else time.time() + read_deadline(deadline)
    job = Job(given, read_seed(rng), options, record, columns, tables, functions, ends)
    collector = Collector(names, tables, directory(out))
    run_map, threads = read_workers(workers)
    market.state()
    spans = chunks(count, threads or os.cpu_count() or 1)

    def done(rows: Rows) -> None:
        collector.add(rows)
        if progress is not None:
            progress(collector.done, count)

    try:
        if run_map is not None:
            on_map(market, job, spans, run_map, done)
        else:
            on_threads(market, job, spans, threads, done)
    finally:
        collector.close()
    return Sweep(
        collector.table(), collector.kept(), collector.values, job.seed, time.monotonic() - begun,
        collector.out, count, collector.failed, collector.not_run,
    )  # fmt: skip
