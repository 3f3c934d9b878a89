"""The comparison in one run: opponents in turn, medians, ratios, and what each must reach. See README.md.

python benchmarks/report.py [--rounds N] [--quick]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import workload
from baselines import compiled_walk, mask_over, mask_per_wave, sorted_triggers
from flow import mixed_flow

import cascade as cs

RECORDS = ("summary", "liquidations", "all")
MUST_BEAT_MASK = 3.0
MUST_DEMO = 10.0
MILLION = 1_000_000


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, one call of every opponent a round so that noise meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(seconds(call))
    return {name: float(np.median(times)) for name, times in taken.items()}


def line(what: str, measured: str, ratio: str = "", must: str = "") -> None:
    print(f"{what:<44} {measured:>16} {ratio:>30}  {must}")


def verdict(good: bool, rule: str) -> str:
    return f"{rule}: {'ok' if good else 'NOT REACHED'}"


def named(record: str) -> str:
    return f"cascade, record={record!r}"


def cascade_runs(rounds: int, n: int) -> None:
    """Workload A: first runs, then all opponents in turn."""
    w, shock = workload.build(n), workload.shock()
    first = {}
    for record in RECORDS:
        times = []
        for _ in range(3):
            market = w.market()
            times.append(seconds(lambda market=market, record=record: market.run(shock, record=record)))
        first[record] = float(np.median(times))
    expected = workload.outcome(market.run(shock, record="summary"))
    waves, count, tick = expected
    print(f"workload A, {n:,} positions: {waves} waves, {count:,} liquidated, final tick {tick:,}")
    opponents = {"NumPy, a mask a wave": mask_per_wave(w), "NumPy, sorted triggers": sorted_triggers(w)}
    if importlib.util.find_spec("numba"):
        opponents["Numba, sorted walk"] = compiled_walk(w)
    for name, call in opponents.items():
        if call() != expected:
            raise AssertionError(f"{name} gives {call()}, cascade {expected}")
    runs = {named(record): lambda record=record: market.run(shock, record=record) for record in RECORDS}
    median = in_turn({**opponents, **runs}, rounds)
    mask = median["NumPy, a mask a wave"]
    for name, taken in median.items():
        ratio = mask / taken
        must = "report"
        if name.endswith("'liquidations'"):
            must = verdict(ratio >= MUST_BEAT_MASK, f">= {MUST_BEAT_MASK:g}")
        line(name, f"{taken * 1e3:.2f} ms", f"{ratio:.2f} x the mask's speed", must)
    for record, taken in first.items():
        each = median[named(record)] / count * 1e9
        line(f"  first run, record={record!r}", f"{taken * 1e3:.2f} ms", f"later {each:.0f} ns/liquidation")


def long_cascade(rounds: int, n: int) -> None:
    """Workload B: a cascade of many small waves, where the mask looks at everybody again in each."""
    market, start, columns = workload.chain(n)
    mask = mask_over(*columns)
    summary = market.run(start, record="summary").summary
    expected = (summary["waves"], summary["liquidated_accounts"], round(summary["price"]["X"]["final"]))
    if mask() != expected:
        raise AssertionError(f"the mask gives {mask()}, cascade {expected}")
    print(f"workload B, {n:,} positions: {expected[0]:,} waves of one account each")
    runs = {named(record): lambda record=record: market.run(start, record=record) for record in RECORDS}
    median = in_turn({"NumPy, a mask a wave": mask, **runs}, rounds)
    for name, taken in median.items():
        ratio = median["NumPy, a mask a wave"] / taken
        line(name, f"{taken * 1e3:.2f} ms", f"{ratio:.2f} x the mask's speed", "report")


def load(rounds: int) -> None:
    """A million isolated positions from NumPy columns against sorting their trigger prices."""
    w = workload.build(MILLION)
    trigger, columns = w.trigger(), w.columns()
    markets = iter([workload.empty_market() for _ in range(rounds)])
    median = in_turn(
        {"sort": lambda: np.argsort(trigger), "load": lambda: next(markets).load_positions(columns)}, rounds
    )
    line("np.argsort of 1M triggers", f"{median['sort'] * 1e3:.0f} ms")
    ratio = median["load"] / median["sort"]
    line("load_positions, 1M", f"{median['load'] * 1e3:.0f} ms", f"{ratio:.1f} x argsort", "report")


def resident() -> int:
    """Bytes of memory resident now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return 0


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_here(trace: bool) -> None:
    """In a process of its own: bytes a position that a loaded market and its first run take."""
    warm = workload.build(1_000).market()
    warm.run(workload.shock(), record="liquidations")
    columns, market = workload.build(MILLION).columns(), workload.empty_market()
    if trace:
        tracemalloc.start()
    base = resident()

    def now() -> tuple[int, int]:
        return tracemalloc.get_traced_memory() if trace else (resident() - base, peak() - base)

    market.load_positions(columns)
    loaded = now()
    result = market.run(workload.shock(), record="liquidations")
    print(*(x / MILLION for x in loaded + now()), result.status)


def memory() -> None:
    """Resident memory, and what Python and NumPy allocate (tracemalloc), each in a subprocess."""
    for name, flag in (("resident", "--memory"), ("traced", "--memory-traced")):
        command = [sys.executable, __file__, flag]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        loaded, loading, ran, running = (float(x) for x in out.split()[:4])
        line(f"bytes a position, 1M, {name}: loaded", f"{loaded:.0f}", f"peak {loading:.0f}", "report")
        line("  after the first run", f"{ran:.0f}", f"peak {running:.0f}", "report")


def demo() -> None:
    """`cascade demo` from start to end, in a process of its own."""
    beside = Path(sys.executable).parent / "cascade"
    command = str(beside) if beside.exists() else shutil.which("cascade")
    if command is None or importlib.util.find_spec("cascade._cli") is None:
        line("cascade demo", "no such command", "", "skipped")
        return
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([command, "demo"], cwd=folder, capture_output=True, check=True)
        taken = time.perf_counter() - start
    line(
        "cascade demo, the whole process",
        f"{taken:.2f} s",
        "",
        verdict(taken < MUST_DEMO, f"< {MUST_DEMO:g} s"),
    )


def order_book(rounds: int) -> None:
    orders = mixed_flow()
    buffer = np.empty(2 * len(orders), cs.REPORT_DTYPE)
    buffer.view(np.uint8)[:] = 0  # memory that is there already
    books = iter([cs.OrderBook(reserve=len(orders)) for _ in range(2 * rounds)])
    calls = {
        "new reports": lambda: next(books).process(orders),
        "reports to out=": lambda: next(books).process(orders, out=buffer),
    }
    for name, taken in in_turn(calls, rounds).items():
        each = f"{taken / len(orders) * 1e9:.0f} ns/message"
        line(f"OrderBook.process, {name}", f"{len(orders) / taken / 1e6:.2f} M/s", each, "report")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the opponents (default 15)")
    parser.add_argument("--quick", action="store_true", help="without the workloads of a million positions")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--memory-traced", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory or args.memory_traced:
        memory_here(args.memory_traced)
        return
    print(
        f"cascade {cs.__version__}, Python {platform.python_version()}, NumPy {np.__version__},",
        f"{os.cpu_count()} cores",
    )
    cascade_runs(args.rounds, workload.POSITIONS)
    long_cascade(3, 20_000)
    if not args.quick:
        cascade_runs(max(3, args.rounds // 5), MILLION)
        load(5)
        memory()
    order_book(7)
    demo()


if __name__ == "__main__":
    main()
