"""Any order book through the same flows, its fills checked, its time beside others'. See README.md.

    python benchmarks/compare.py                            our book, and the adapters that are installed
    python benchmarks/compare.py --engine mymodule:MyBook   yours (again for more), our book beside it

An engine is a class without arguments. Sides are 1 (buys) and -1; prices, quantities, ids are integers:

    add(order_id, side, price, quantity)    a limit order; what does not trade rests
    cancel(order_id)                        of an order that rests
    ioc(order_id, side, price, quantity)    optional: add, whose rest is cancelled
    market(order_id, side, quantity)        optional: it takes what there is
    modify(order_id, price, quantity)       optional: cancel, and add anew under the same id
    process(orders)                         optional, instead of all: rows of cascade.ORDER_DTYPE, up to 4,096

The driver makes optional ones of add and cancel where they are missing. Each call returns its fills,
an iterable of (maker_id, price, quantity), or None if the engine has an attribute `fills` that holds all of
them at the end (it is read when the clock has stopped). An engine that cannot tell them has `levels` instead:
the (side, price, quantity) that rest at the end. An exception is a wrong answer.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flows
import numpy as np

BATCH = 4_096
CHUNK = 1_000
"""Messages between two looks at the clock, for engines that are too slow to be waited for."""

OURS = ("adapters.ours:Batches", "adapters.ours:Calls")
PYPI = {
    "nanobook": "adapters.nano:Book",
    "litebook": "adapters.lite:Book",
    "limit_order_book": "adapters.limit_order:Book",
    "pyorderbook": "adapters.py_order:Book",
    "lightmatchingengine": "adapters.light_matching:Book",
    "cython_orderbook": "adapters.cython_order:Book",
    "lobby": "adapters.lobby_book:Book",
    "fastlob": "adapters.fast:Book",
}
"""Module of the package -> its adapter."""

Fill = tuple[int, int, int]
Step = tuple[int, int, int, int, int]


class Driver:
    """The engine that does nothing: what the loop itself takes."""

    fills: tuple[Fill, ...] = ()

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        pass

    def cancel(self, order_id: int) -> None:
        pass

    ioc = add

    def market(self, order_id: int, side: int, quantity: int) -> None:
        pass

    def modify(self, order_id: int, price: int, quantity: int) -> None:
        pass


class Job:
    """A flow made ready: what must come of it, and the calls to make."""

    def __init__(self, flow: flows.Flow) -> None:
        self.flow = flow
        book = flows.PlainBook()
        self.left: list[int] = []
        self.fills_after: list[int] = []
        for row in flow.messages.tolist():
            self.left.append(book.apply(*row[:5]))
            self.fills_after.append(len(book.fills))
        self.fills = book.fills
        if book.totals() != flow.totals:
            raise AssertionError(f"{flow.name}: the plain book gives {book.totals()}, the file {flow.totals}")
        self.levels = {
            (1 if side == 0 else -1, price, sum(level.values()))
            for side in (0, 1)
            for price, level in book.levels[side].items()
        }
        self.split = flows.same_price(flow.messages).tolist()
        self._steps: dict[tuple[bool, ...], tuple[list[Step], list[Step]]] = {}

    def steps(self, book: Any) -> tuple[list[Step], list[Step]]:
        """The calls for an engine (kind, id, side, price, quantity): the untimed prefix's and the others."""
        has = tuple(hasattr(book, name) for name in ("ioc", "market", "modify"))
        if has not in self._steps:
            self._steps[has] = self._written(*has)
        return self._steps[has]

    def _written(self, has_ioc: bool, has_market: bool, has_modify: bool) -> tuple[list[Step], list[Step]]:
        parts: tuple[list[Step], list[Step]] = ([], [])
        missing = {flows.IOC: not has_ioc, flows.MARKET: not has_market}
        for k, row in enumerate(self.flow.messages.tolist()):
            order_id, price, quantity, kind, side = row[:5]
            side = 1 if side == 0 else -1
            out = parts[k >= self.flow.warm]
            if missing.get(kind):
                out.append((flows.ADD, order_id, side, price, quantity))
                if self.left[k]:
                    out.append((flows.CANCEL, order_id, 0, 0, 0))
            elif kind == flows.MODIFY and (not has_modify or self.split[k]):
                out.append((flows.CANCEL, order_id, 0, 0, 0))
                out.append((flows.ADD, order_id, side, price, quantity))
            else:
                out.append((kind, order_id, side, price, quantity))
        return parts


@dataclass
class Run:
    """One pass of an engine."""

    ns: float
    """a message of the timed part"""
    check: str
    right: bool


def drive(book: Any, steps: Sequence[Step], returned: list[Iterable[Fill]]) -> None:
    """Make the calls; what they return, where it is something, is kept."""
    add, cancel, keep = book.add, book.cancel, returned.append
    ioc, market, modify = (getattr(book, name, None) for name in ("ioc", "market", "modify"))
    for kind, order_id, side, price, quantity in steps:
        if kind == flows.ADD:
            found = add(order_id, side, price, quantity)
        elif kind == flows.CANCEL:
            cancel(order_id)
            continue
        elif kind == flows.IOC:
            found = ioc(order_id, side, price, quantity)
        elif kind == flows.MODIFY:
            found = modify(order_id, price, quantity)
        else:
            found = market(order_id, side, quantity)
        if found is not None:
            keep(found)


def one_pass(make: Callable[[], Any], job: Job, seconds: float) -> Run:
    """A new book through the flow; cut where the timed part has taken so long."""
    book = make()
    returned: list[Iterable[Fill]] = []
    cut = False
    try:
        if hasattr(book, "process"):
            orders = job.flow.orders()
            rows, warm = orders.rows, orders.warm
            parts = [rows[i : i + BATCH] for i in range(warm, len(rows), BATCH)]
            for i in range(0, warm, BATCH):
                returned.append(book.process(rows[i : min(i + BATCH, warm)]))
            start = time.perf_counter()
            for part in parts:
                returned.append(book.process(part))
            taken, done = time.perf_counter() - start, len(rows) - warm
            returned = [found for found in returned if found is not None]
        else:
            warm_steps, steps = job.steps(book)
            begun = time.perf_counter()
            for i in range(0, len(warm_steps), CHUNK):
                drive(book, warm_steps[i : i + CHUNK], returned)
                if time.perf_counter() - begun > seconds:
                    return Run(
                        float("nan"), f"too slow: {i + CHUNK:,} untimed messages in {seconds:g} s", True
                    )
            done, taken = 0, 0.0
            for i in range(0, len(steps), CHUNK):
                part = steps[i : i + CHUNK]
                start = time.perf_counter()
                drive(book, part, returned)
                taken += time.perf_counter() - start
                done += len(part)
                if taken > seconds and done < len(steps):
                    cut = True
                    break
            # A change or a taker may be two calls; the message is what counts.
            done = done * (len(job.flow) - job.flow.warm) / len(steps)
        check = verdict(book, returned, job, cut)
        if hasattr(book, "close"):
            book.close()
    except Exception as error:
        return Run(
            float("nan"), f"WRONG: {type(error).__name__}: {error}{before(book, returned, job)}", False
        )
    return Run(taken / done * 1e9, check, not check.startswith("WRONG"))


def fills_of(book: Any, returned: list[Iterable[Fill]]) -> list[Fill]:
    source = book.fills if hasattr(book, "fills") else itertools.chain.from_iterable(returned)
    return [(int(maker), int(price), int(lots)) for maker, price, lots in source]


def difference(fills: list[Fill], right: list[Fill]) -> str:
    """The first fill that is not what it must be."""
    pairs = enumerate(zip(fills, right, strict=False))
    at = next((k for k, (found, must) in pairs if found != must), min(len(fills), len(right)))
    found, must = (str(x[at]) if at < len(x) else "none" for x in (fills, right))
    return f"fill {at} is {found}, must be {must} (maker, price, lots)"


def before(book: Any, returned: list[Iterable[Fill]], job: Job) -> str:
    """What was wrong already when an engine raised."""
    try:
        fills = fills_of(book, returned)
    except Exception:
        return ""
    right = job.fills[: len(fills)]
    return "" if fills == right else f"; before that, {difference(fills, right)}"


def verdict(book: Any, returned: list[Iterable[Fill]], job: Job, cut: bool) -> str:
    """What the engine's fills, or the levels it ends with, are worth."""
    if hasattr(book, "levels") and not hasattr(book, "fills") and not returned:
        if cut:
            return "cut, not checked"
        found = {(int(side), int(price), int(lots)) for side, price, lots in book.levels}
        if found != job.levels:
            return f"WRONG: {len(found ^ job.levels)} levels at the end differ"
        return "levels at the end"
    fills = fills_of(book, returned)
    right = job.fills[: len(fills)] if cut else job.fills
    if fills == right and (not cut or fills):
        return f"exact, cut after {len(fills):,} fills" if cut else "exact"
    return f"WRONG: {difference(fills, right)}"


def engine(spec: str) -> Callable[[], Any]:
    """The class that `module:Class` names; modules beside the caller and beside this file are found."""
    module, colon, name = spec.partition(":")
    if not colon:
        raise SystemExit(f"--engine {spec}: must be module:Class")
    for folder in (str(Path.cwd()), str(Path(__file__).resolve().parent)):
        if folder not in sys.path:
            sys.path.append(folder)
    return getattr(importlib.import_module(module), name)


def installed() -> dict[str, str]:
    """Adapters whose package can be imported."""
    found = {}
    for package, spec in PYPI.items():
        try:
            engine(spec)
        except ImportError:
            continue
        found[package] = spec
    return found


def head(flow: flows.Flow, n: int) -> flows.Flow:
    """The first n timed messages of a flow, with totals of their own."""
    messages = flow.messages[: flow.warm + n]
    book = flows.PlainBook()
    fills = 0
    for k, row in enumerate(messages.tolist()):
        if k == flow.warm:
            fills = len(book.fills)
        book.apply(*row[:5])
    timed = book.fills[fills:]
    lots = sum(f[2] for f in timed)
    totals, live = book.totals(), len(book.live)
    return flows.Flow(flow.name, messages, flow.warm, totals, (len(timed), lots), book.most_live, live)


def compare(
    engines: dict[str, Callable[[], Any]], job: Job, rounds: int, seconds: float
) -> dict[str, tuple[float, str, bool]]:
    """Median ns a message, the check and whether it is right, of each; passes take turns."""
    runs: dict[str, list[Run]] = {name: [] for name in engines}
    # The collector is part of what a book of many objects costs; the driver's own objects are not.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, make in engines.items():
            # An engine that was wrong, or has to be cut, is not waited for again.
            if not runs[name] or runs[name][-1].check in ("exact", "levels at the end"):
                runs[name].append(one_pass(make, job, seconds))
    gc.unfreeze()
    found = {}
    for name, passes in runs.items():
        worst = next((run for run in passes if not run.right), passes[-1])
        found[name] = (float(np.median([run.ns for run in passes])), worst.check, worst.right)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", action="append", default=[], metavar="MODULE:CLASS")
    parser.add_argument("--all", action="store_true", help="with --engine: the installed adapters too")
    parser.add_argument(
        "--flow", action="append", default=[], metavar="NAME_OR_FILE", help="normal, cascade, wide or a file"
    )
    parser.add_argument(
        "--messages", type=int, help="of each flow, after the untimed ones (default: 200,000)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="cut a pass that takes longer (default 20)")
    args = parser.parse_args()
    engines: dict[str, Callable[[], Any]] = {"the driver alone": Driver}
    engines |= {f"cascade, {spec.partition(':')[2].lower()}": engine(spec) for spec in OURS}
    if args.all or not args.engine:
        engines |= {package: engine(spec) for package, spec in installed().items()}
    engines |= {spec: engine(spec) for spec in args.engine}
    wrong = 0
    for name in args.flow or flows.NAMES:
        flow = flows.make(name, quick=True) if name in flows.NAMES else flows.read(Path(name))
        job = Job(flow if args.messages is None else head(flow, args.messages))
        timed = len(job.flow) - job.flow.warm
        print(f"\n{job.flow.name}: {timed:,} messages after {job.flow.warm:,}, {job.flow.totals}")
        found = compare(engines, job, args.rounds, args.seconds)
        found["the driver alone"] = (found["the driver alone"][0], "", True)
        ours = found["cascade, calls"][0]
        for label, (ns, check, right) in found.items():
            wrong += not right
            speed = f"{ns:>11,.0f} ns/msg {ns / ours:>9.2f} x cascade, calls" if ns == ns else " " * 43
            print(f"  {label:<28} {speed}   {check}".rstrip())
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
