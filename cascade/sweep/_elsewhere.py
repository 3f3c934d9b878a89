"""Running a sweep elsewhere: on other processes and machines, through whatever maps a function over tasks."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import EngineStateError
from ._rows import Rows, joined
from ._run import Job, Stop, run_part, stopped_at


@dataclass(frozen=True)
class Task:
    """Spans of scenarios for another process. The market comes along as bytes, or is there already, or in a
    file."""

    token: str
    path: str
    market: bytes | None
    job: Job
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Absent:
    """The answer of a process that has no market: it is sent the market together with all its tasks."""

    where: str
    task: Task


_market: tuple[str, Any] | None = None
"""The market that this process ran last, by its token: one, so that sweeps over many do not pile up."""


def market_here(task: Task) -> Any:
    """The market of a task in this process, None if it must be sent."""
    global _market
    if _market is None or _market[0] != task.token:
        data = task.market
        if data is None:
            try:
                data = Path(task.path).read_bytes()
            except OSError:
                return None
        _market = task.token, pickle.loads(data)
    return _market[1]


def run_task(task: Task) -> list[Rows] | Absent:
    """What a worker process runs."""
    market = market_here(task)
    if market is None:
        return Absent(f"{socket.gethostname()}:{os.getpid()}", task)
    stop = Stop()
    with stopped_at(task.job.deadline, stop):
        return [
            run_part(market, part_for(task, k), first, last, stop)
            for k, (first, last) in enumerate(task.spans)
        ]


def part_for(task: Task, k: int) -> Job:
    """The scenarios of a task's k-th span: its job holds those of all its spans, one after another."""
    begin = sum(last - first for first, last in task.spans[:k])
    first, last = task.spans[k]
    return task.job.part(begin, begin + last - first)


def on_map(
    market: Any,
    job: Job,
    spans: list[tuple[int, int]],
    run_map: Callable[..., Any],
    done: Callable[[Rows], None],
) -> None:
    """Wherever `run_map` runs things. A process on this machine reads the market from a file, once; any other
    is sent it once, together with the tasks that it could not do."""
    data = pickle.dumps(market, protocol=pickle.HIGHEST_PROTOCOL)
    token = f"{market.digest}:{os.getpid()}:{time.monotonic_ns()}"
    with tempfile.TemporaryDirectory(prefix="cascade-") as folder:
        path = Path(folder) / "market.pickle"
        path.write_bytes(data)
        tasks = [Task(token, str(path), None, job.part(a, b), ((a, b),)) for a, b in spans]
        absent: dict[str, list[Task]] = {}
        for answer in run_map(run_task, tasks):
            if isinstance(answer, Absent):
                absent.setdefault(answer.where, []).append(answer.task)
                continue
            for rows in answer:
                done(rows)
        again = [joined_task(list(parts), data) for parts in absent.values()]
        for answer in run_map(run_task, again) if again else ():
            if isinstance(answer, Absent):
                raise EngineStateError("sweep: a worker process lost the market that it was sent")
            for rows in answer:
                done(rows)


def joined_task(tasks: list[Task], data: bytes) -> Task:
    """The tasks of one process as one, with the market."""
    given = [task.job.scenarios for task in tasks]
    scenarios: Any = given[0]
    if isinstance(scenarios, dict):
        scenarios = joined(given)
    elif not callable(scenarios):
        scenarios = [shock for part in given for shock in part]
    return Task(
        tasks[0].token, tasks[0].path, data, replace(tasks[0].job, scenarios=scenarios),
        tuple(span for task in tasks for span in task.spans),
    )  # fmt: skip
