"""Running the scenarios of a sweep: a part of them in a row, and parts on threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._badrows import show
from ..errors import Cancelled, InputTypeError
from ..shocks import Shock
from ._rows import Rows, flat, kept_table

LARGEST_CHUNK = 256
POLL_S = 0.05
"""How often a waiting sweep looks for an interrupt."""


@dataclass(frozen=True)
class Job:
    """What every scenario of a sweep shares; travels to wherever it runs."""

    scenarios: Any
    """a list of Shocks, a table of moves as {symbol: array}, or a callable"""
    seed: int
    options: dict[str, Any]
    record: str
    columns: tuple[str, ...] | None
    tables: tuple[str, ...]
    functions: dict[str, Callable[[Any], Any]]
    deadline: float | None
    """seconds since the epoch"""

    def part(self, first: int, last: int) -> Job:
        """The same for scenarios first to last - 1 alone."""
        given = self.scenarios
        if isinstance(given, dict):
            given = {symbol: moves[first:last] for symbol, moves in given.items()}
        elif not callable(given):
            given = given[first:last]
        return replace(self, scenarios=given)

    def shock(self, k: int, first: int) -> Shock:
        """Scenario k of a part that begins with `first`. Depends on the seed and k alone."""
        given = self.scenarios
        if isinstance(given, dict):
            return Shock({symbol: float(moves[k - first]) for symbol, moves in given.items()})
        if callable(given):
            made = given(np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(k,))), k)
            if not isinstance(made, Shock):
                raise InputTypeError(f"sweep.scenarios: scenario {k} = {show(made)}: must be a Shock")
            return made
        return given[k - first]


class Stop:
    """Stops a sweep from any thread: no scenario begins any more, and those that run are cancelled."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[Any] = set()

    def began(self, engine: Any) -> None:
        """The engine runs: `now` cancels it. Raises Cancelled if that has been."""
        self._running.add(engine)
        if self.stopped:  # looked at after it was added: `now` does these two the other way round
            raise Cancelled("sweep: stopped")

    def ended(self, engine: Any) -> None:
        self._running.discard(engine)

    def now(self) -> None:
        self.stopped = True
        for engine in list(self._running):
            engine.cancel()


def run_part(market: Any, job: Job, first: int, last: int, stop: Stop) -> Rows:
    """Run scenarios first to last - 1 of a job (a part of it that begins with `first`)."""
    rows = Rows(first, tables={name: [] for name in job.tables}, values={name: [] for name in job.functions})
    whole = bool(job.tables or job.functions)
    for k in range(first, last):
        values: dict[str, Any] = {}
        if stop.stopped or (job.deadline is not None and time.time() >= job.deadline):
            scalars = {"status": "not_run", "error": "past the deadline"}
        else:
            try:
                summary, result = market._scenario(job.shock(k, first), stop, job.record, whole, job.options)
                scalars = flat(summary)
                tables = {name: kept_table(result, name) for name in job.tables}
                values = {name: function(result) for name, function in job.functions.items()}
            except Cancelled:
                scalars = {"status": "not_run", "error": "past the deadline"}
            except Exception as error:
                scalars = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
            else:
                if job.columns is not None:
                    scalars = {name: scalars[name] for name in ("status", *job.columns)}
                for name, table in tables.items():
                    rows.tables[name].append((k, table))
        rows.scalars.append(scalars)
        for name, kept in rows.values.items():
            kept.append(values.get(name))
    return rows


def chunks(count: int, workers: int) -> list[tuple[int, int]]:
    """Spans of scenarios, a few a worker, so that all end at about the same time."""
    size = max(1, min(LARGEST_CHUNK, count // (8 * workers) + 1))
    return [(first, min(first + size, count)) for first in range(0, count, size)]


@contextmanager
def stopped_at(deadline: float | None, stop: Stop) -> Iterator[None]:
    """Within this, `stop` happens at the deadline."""
    timer = None if deadline is None else threading.Timer(max(0.0, deadline - time.time()), stop.now)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


def on_threads(
    market: Any, job: Job, spans: list[tuple[int, int]], threads: int, done: Callable[[Rows], None]
) -> None:
    """On threads of this process, which share the market. An interrupt stops what runs."""
    stop = Stop()
    with stopped_at(job.deadline, stop):
        if threads == 1:
            for first, last in spans:
                done(run_part(market, job.part(first, last), first, last, stop))
            return
        with ThreadPoolExecutor(threads) as pool:
            waiting = iter(spans)
            running: set[Future[Rows]] = set()
            try:
                while True:
                    for first, last in waiting:
                        running.add(pool.submit(run_part, market, job.part(first, last), first, last, stop))
                        if len(running) >= 2 * threads:
                            break
                    if not running:
                        return
                    ended, running = wait(running, POLL_S, FIRST_COMPLETED)
                    for future in ended:
                        done(future.result())
            except BaseException:
                stop.now()
                raise
