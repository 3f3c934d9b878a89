"""A sweep from the call to its outcome."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..rules import as_rules
from ..tables import Table
from ._assumed import Assumed, assumed
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
    assumed : Assumed
        The market, the rules and the scenarios, for `report`.
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
    assumed: Assumed

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

    def report(self, path: str | PathLike[str], *, title: str = "", currency: str = "") -> Path:
        """Write the sweep as one HTML page: headlines, what was assumed, tails, ends, the worst scenarios.

        As `Result.report`: complete in itself, printable, without pictures where there is no matplotlib. What
        `keep` left out is left out here; rows that were written to `out` are read from there.

        Parameters
        ----------
        path : str or path-like
            File to write; an existing one is replaced.
        title : str
            Heading; by default the number of scenarios.
        currency : str
            What money is in ("USDT").

        Returns
        -------
        pathlib.Path : the file

        Raises
        ------
        InputError, InputTypeError
            A folder that is not there, a title or currency that is no text.
        EngineStateError
            The rows that were written to `out` have gone.
        """
        from ..pages import sweep_page, write

        return write(path, "sweep.report", title, currency, lambda: sweep_page(self, title, currency))

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
    state = market.state()
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
        assumed(state, as_rules(options["rules"], market.rules), given, count, options["max_waves"]),
    )  # fmt: skip
