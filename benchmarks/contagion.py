"""Liquidation cascades against what each must reach: medians of interleaved runs. See README.md.

    python benchmarks/contagion.py [--quick] [--rounds N] [--only SECTION ...]

Opponents are asked the same question as cascade and must give the same answer; they record nothing.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cross
import flox
import numpy as np
import workload
from baselines import c_sweep, compiled_walk, mask_over, mask_per_wave, sorted_triggers
from orderbook import Table, resident

import cascade as cs

TREE = Path(__file__).resolve().parents[1]
MILLION = 1_000_000
SECTIONS = ("half", "few", "long", "cross", "accounts", "flox", "load", "memory", "audit", "demo")

# What must be reached, and what is aimed at.
SUMMARY, RECORDED = (12, 5), (40, 15)  # times the C sweep
AHEAD_OF_MASK = 4
FEW_GROWTH, FEW_OF_A_PASS, FEW_CALLS = 2, 1 / 100, 200
QUIET, WAVES = (1 / 10, 1 / 40), (2, 1.2)  # of one C scan; times one a wave
ACCOUNTS_GROWTH = 2
AHEAD_OF_FLOX, FLOX_RUNS = 500, 9
LOAD = 4  # times np.argsort
LOADED, PEAK = (120, 80), (250, None)  # bytes a position
AUDIT = 0.10
DEMO = 10.0  # seconds


def seconds(call: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """By this thread's own time: what others do on the machine meanwhile does not count."""
    start = clock()
    call()
    return clock() - start


def in_turn(calls: dict[str, Callable[[], object]], rounds: int, each: int = 1) -> dict[str, np.ndarray]:
    """Seconds of each, one call (of `each` runs) of every opponent a round so that noise meets all alike; the
    first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(rounds + 1):
        for name, call in calls.items():
            time_taken = seconds(call)
            if k:
                taken[name].append(time_taken)
    return {name: np.array(times) / each for name, times in taken.items()}


def ratio(a: np.ndarray, b: np.ndarray) -> float:
    """Of medians."""
    return float(np.median(a) / np.median(b))


def ms(times: np.ndarray) -> str:
    return f"{np.median(times) * 1e3:.3f} ms"


def at_most(table: Table, what: str, measured: str, value: float, unit: str, rule: tuple) -> None:
    """A row whose value must be at most rule[0]; the aim is rule[1]."""
    must, aim = rule
    text = f"<= {must:g}" + (f" (aim {aim:g})" if aim else "")
    table.line(what, measured, f"{value:.3g} {unit}", text, value <= must)


def sell(lots: int) -> cs.Shock:
    return cs.Shock(orders={"BTCUSDT": -lots / 1_000})


# Isolated positions, one book


def half(table: Table, n: int, rounds: int, folder: Path) -> None:
    """Half of n isolated positions go."""
    w, sale = workload.half(n), workload.HALF_LOTS
    market, shock = w.market(), sell(workload.HALF_LOTS)
    expected = workload.outcome(market.run(shock, record="summary"))
    waves, count, tick = expected
    table.head(f"half: {n:,} isolated positions, {waves} waves, {count:,} liquidated, final tick {tick:,}")
    opponents = {"NumPy, a mask a wave": mask_per_wave(w, sale), "NumPy, sorted": sorted_triggers(w, sale)}
    if importlib.util.find_spec("numba"):
        opponents["Numba, sorted walk"] = compiled_walk(w, sale)
    sweep = c_sweep(w, folder, sale)
    if sweep:
        opponents["C sweep"] = sweep
    for name, call in opponents.items():
        if call() != expected:
            raise AssertionError(f"{name} gives {call()}, cascade {expected}")
    records = ("summary", "liquidations", "all")
    runs = {record: lambda record=record: market.run(shock, record=record) for record in records}
    taken = in_turn({**opponents, **runs}, rounds)
    each = {name: f"{np.median(times) / count * 1e9:.1f} ns each" for name, times in taken.items()}
    for name in opponents:
        table.line(name, ms(taken[name]), each[name])
    for record, rule in (("summary", SUMMARY), ("liquidations", RECORDED), ("all", None)):
        what = f"cascade, record={record!r}"
        if rule is None or not sweep:
            table.line(what, ms(taken[record]), each[record])
        else:
            at_most(table, what, ms(taken[record]), ratio(taken[record], taken["C sweep"]), "x C sweep", rule)
        ahead = ratio(taken["NumPy, a mask a wave"], taken[record])
        must, good = ("", None) if record != "summary" else (f">= {AHEAD_OF_MASK}", ahead >= AHEAD_OF_MASK)
        table.line("  beside the mask", "", f"{ahead:.2f} x its speed", must, good)


def sale_for(w: workload.Workload, target: int) -> tuple[int, int]:
    """(a sale in lots, how many positions it liquidates): of those that a bisection tries, the nearest."""
    low, high, best = 1, workload.SALE_LOTS, (0, 0)
    while low <= high:
        lots = (low + high) // 2
        gone = sorted_triggers(w, lots)()[1]
        if abs(gone - target) < abs(best[1] - target):
            best = lots, gone
        low, high = (lots + 1, high) if gone < target else (low, lots - 1)
    return best


def growth(table: Table, n: int, target: int, rounds: int) -> dict[str, np.ndarray]:
    """The time of about so many liquidations at n / 10 and at n positions."""
    calls = {}
    for size in (n // 10, n):
        w = workload.half(size)
        lots, gone = sale_for(w, target)
        market, shock = w.market(), sell(lots)
        found = market.run(shock, record="summary").summary["liquidated_accounts"]
        if found != gone:
            raise AssertionError(f"{size} positions: the sweep says {gone}, cascade {found}")
        table.line(f"  of {size:,}: a sale of {lots:,} lots", f"{gone} gone")
        calls[f"{size}"] = lambda market=market, shock=shock: market.run(shock, record="summary")
    trigger = workload.half(n).trigger()
    mark = float(np.partition(trigger, n - target)[n - target])
    calls["pass"] = lambda: np.count_nonzero(trigger > mark)
    calls["wave"] = one_wave(trigger, workload.half(n).lots, mark)
    return in_turn({name: often(call) for name, call in calls.items()}, rounds, FEW_CALLS)


def often(call: Callable[[], object]) -> Callable[[], None]:
    """FEW_CALLS in a row, as of runs that are many."""

    def calls() -> None:
        for _ in range(FEW_CALLS):
            call()

    return calls


def one_wave(trigger: np.ndarray, size: np.ndarray, mark: float) -> Callable[[], object]:
    """What the mask does in a wave: who has been reached, and their lots."""
    alive = np.ones(len(trigger), bool)

    def wave() -> object:
        mask = alive & (trigger > mark)
        return size[mask].sum(), alive & ~mask

    return wave


def few(table: Table, n: int, rounds: int) -> None:
    """About 100 liquidations cost what they cost, however many positions there are."""
    table.head(f"few: about 100 liquidations, record='summary', {n // 10:,} and {n:,} isolated positions")
    taken = growth(table, n, 100, rounds)
    small, large = taken[f"{n // 10}"], taken[f"{n}"]
    table.line(f"{n // 10:,} positions", ms(small))
    at_most(table, f"{n:,} positions", ms(large), ratio(large, small), "x the smaller", (FEW_GROWTH, None))
    for key, what in (("pass", "  NumPy, count what is reached"), ("wave", "  NumPy, one wave of the mask")):
        share, rule = ratio(large, taken[key]), (FEW_OF_A_PASS, None)
        at_most(table, what, ms(taken[key]), share, "of it", rule)


def long(table: Table, n: int, rounds: int) -> None:
    """A cascade of many small waves, where the mask looks at everybody again in each."""
    market, start, columns = workload.chain(n)
    mask = mask_over(*columns)
    summary = market.run(start, record="summary").summary
    expected = (summary["waves"], summary["liquidated_accounts"], round(summary["price"]["X"]["final"]))
    if mask() != expected:
        raise AssertionError(f"the mask gives {mask()}, cascade {expected}")
    table.head(f"long: {n:,} positions, {expected[0]:,} waves of one account each")
    run = {"summary": lambda: market.run(start, record="summary")}
    taken = in_turn({"mask": mask, **run}, min(rounds, 3))
    table.line("NumPy, a mask a wave", ms(taken["mask"]))
    ahead = ratio(taken["mask"], taken["summary"])
    table.line("cascade, record='summary'", ms(taken["summary"]), f"{ahead:.1f} x its speed")


# Cross accounts, 50 instruments


def cross_margin(table: Table, n: int, rounds: int, folder: Path) -> None:
    """A shock that hurts nobody, and one that half of the accounts do not survive, against scan.c."""
    if shutil.which("gcc") is None:
        print("  cross: skipped, no gcc")
        return
    h = cross.build(n)
    market, opponent = h.market(), cross.Scan(h, folder)
    names = [instrument.symbol for instrument in market.instruments]
    one, every = cross.sale(h, cross.ONE, names[7:8]), cross.sale(h, cross.ALL, names)
    wild = cross.sale(h, cross.HALF, names)
    table.head(f"cross: {n:,} cross accounts, {len(h.lots):,} positions, {len(names)} instruments")
    first = seconds(lambda: market.run(one, record="summary"))
    table.line("first run, record='summary'", ms(np.array([first])))
    marks = np.full(len(names), cross.LAST - cross.ALL / 2)
    if opponent.scan(marks):
        raise AssertionError("a quiet shock hurts somebody")
    runs = {
        "one": lambda: market.run(one, record="summary"),
        "every": lambda: market.run(every, record="summary"),
    }
    for call in runs.values():
        if call().summary["liquidated_accounts"]:
            raise AssertionError("a quiet shock hurts somebody")
    taken = in_turn({"scan": lambda: opponent.scan(marks), **runs}, rounds)
    table.line("C, one scan of all accounts", ms(taken["scan"]))
    for key, what in (("one", "nobody hurt, one instrument moves"), ("every", "nobody hurt, all move")):
        at_most(table, what, ms(taken[key]), ratio(taken[key], taken["scan"]), "of a scan", QUIET)
    opponent.prepare(cross.HALF)
    gone, waves, _ = opponent.cascade()
    found = market.run(wild, record="summary").summary
    table.line("half liquidated: cascade", f"{found['liquidated_accounts']:,}", f"{found['waves']} waves")
    table.line("half liquidated: C", f"{gone:,}", f"{waves} waves")
    times: dict[str, list[float]] = {"C": [], "cascade": []}
    for _ in range(max(2, rounds // 2)):
        opponent.prepare(cross.HALF)
        times["C"].append(seconds(opponent.cascade))
        times["cascade"].append(seconds(lambda: market.run(wild, record="summary")))
    ours, theirs = np.array(times["cascade"]), np.array(times["C"])
    table.line("C, a scan a wave", ms(theirs))
    at_most(table, "cascade, record='summary'", ms(ours), ratio(ours, theirs), "x C, a scan a wave", WAVES)


def accounts(table: Table, n: int, rounds: int, folder: Path) -> None:
    """1,000 liquidations of ten times the accounts: isolated, and cross where there is a C compiler."""
    table.head(f"accounts: about 1,000 liquidations, record='summary', {n // 10:,} and {n:,} accounts")
    taken = growth(table, n, 1_000, rounds)
    small, large = taken[f"{n // 10}"], taken[f"{n}"]
    table.line(f"isolated, {n // 10:,}", ms(small))
    rule = ACCOUNTS_GROWTH, None
    at_most(table, f"isolated, {n:,}", ms(large), ratio(large, small), "x the smaller", rule)
    if shutil.which("gcc") is None:
        return
    calls = {}
    for size in (n // 10, n):
        h = cross.build(size)
        market, names = h.market(), [f"I{i}" for i in range(cross.INSTRUMENTS)]
        opponent = cross.Scan(h, folder)
        gone_at = {k: gone_of(opponent, k) for k in range(10, 120, 2)}
        levels = min(gone_at, key=lambda k, gone_at=gone_at: abs(gone_at[k] - 1_000))
        shock = cross.sale(h, levels, names)
        gone = market.run(shock, record="summary").summary["liquidated_accounts"]
        table.line(f"  of {size:,}: {levels} levels sold everywhere", f"{gone} gone")
        calls[f"{size}"] = lambda market=market, shock=shock: market.run(shock, record="summary")
    taken = in_turn(calls, rounds)
    small, large = taken[f"{n // 10}"], taken[f"{n}"]
    table.line(f"cross, {n // 10:,}", ms(small))
    at_most(table, f"cross, {n:,}", ms(large), ratio(large, small), "x the smaller", rule)


def gone_of(opponent: cross.Scan, levels: int) -> int:
    opponent.prepare(levels)
    return opponent.cascade()[0]


# Others


def beside_flox(table: Table, n: int, rounds: int) -> None:
    """5% of n isolated positions, one fall of the mark."""
    if flox.lrvx is None:
        print("\nflox: skipped, lrvx is not installed")
        return
    w = workload.build(n)
    run = flox.cascade_run(w)
    result = run()
    table.head(f"flox: {n:,} isolated positions, 5% unhealthy at one fall of the mark")
    theirs, ours = [], []
    for _ in range(min(rounds, 3)):
        found = flox.flox_run(w, time.thread_time)
        theirs.append(found.seconds)
        gc.collect()  # its 100,000 objects are not for cascade to look through
        ours += [seconds(run) for _ in range(FLOX_RUNS)]
    gone = result.summary["liquidated_accounts"]
    if found.liquidated != gone:
        raise AssertionError(f"FLOX liquidates {found.liquidated}, cascade {gone}")
    table.line("FLOX, on_mark", ms(np.array(theirs)), f"{found.liquidated:,} gone")
    kept = "conserves money" if abs(found.missing) < 0.01 else f"{found.missing:,.2f} USDT are nowhere"
    table.line("  its money", "", kept)
    ahead = ratio(np.array(theirs), np.array(ours))
    must, good = f">= {AHEAD_OF_FLOX}", ahead >= AHEAD_OF_FLOX
    table.line("cascade, record='summary'", ms(np.array(ours)), f"{ahead:,.0f} x its speed", must, good)
    kept = "conserves money" if result.audit["conserved"] else "loses money"
    table.line("  its money", "", kept, "conserves", bool(result.audit["conserved"]))


def load(table: Table, n: int, rounds: int) -> None:
    """n isolated positions from NumPy columns against sorting their trigger prices."""
    w = workload.half(n)
    trigger, columns = w.trigger(), w.columns()
    text = columns | {"account": columns["account"].astype(str)}
    table.head(f"load: {n:,} isolated positions from NumPy columns")
    markets: list[cs.Market] = []

    def loading(what: dict) -> None:
        markets.append(workload.empty_market())
        markets[-1].load_positions(what)

    calls = {
        "sort": lambda: np.argsort(trigger),
        "load": lambda: loading(columns),
        "first": lambda: markets[0].run(record="summary"),
        "later": lambda: markets[0].run(record="summary"),
        "forget": markets.clear,
        "text": lambda: loading(text),
        "forget them": markets.clear,
    }
    taken = in_turn(calls, min(rounds, 7))
    sort = taken["sort"]
    table.line("np.argsort of their trigger prices", ms(sort))
    rule = LOAD, None
    times = ratio(taken["load"], sort)
    at_most(table, "load_positions, integer ids", ms(taken["load"]), times, "x argsort", rule)
    table.line("load_positions, string ids", ms(taken["text"]), f"{ratio(taken['text'], sort):.3g} x argsort")
    made = taken["first"] - taken["later"]
    what = "what the first run makes: bounds, index of triggers, engine"
    table.line(what, ms(made), f"{ratio(made, sort):.3g} x argsort")


def peak() -> int:
    """The most bytes that were resident since `forget_peak`."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """From now on `peak` counts anew, where the system can."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def memory_here(n: int, trace: bool) -> None:
    """In a process of its own: bytes a position of a market loaded, and at the peak of load and first run."""
    warm = workload.half(1_000).market()
    warm.run(sell(workload.HALF_LOTS), record="summary")
    columns, market = workload.half(n).columns(), workload.empty_market()
    if trace:
        tracemalloc.start()
    forget_peak()
    base = resident()

    def now() -> tuple[int, int]:
        return tracemalloc.get_traced_memory() if trace else (resident() - base, peak() - base)

    market.load_positions(columns)
    loaded = now()
    result = market.run(sell(workload.HALF_LOTS), record="summary")
    print(*(x / n for x in loaded + now()), result.status)


def memory(table: Table, n: int) -> None:
    """What Python, NumPy and the core's own allocations take (tracemalloc), and what the process grows by."""
    table.head(f"memory: bytes a position, {n:,} isolated positions, then a run that liquidates half of them")
    found = {}
    for name in ("traced", "resident"):
        command = [sys.executable, __file__, "--memory-of", name, str(n)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[name] = [float(x) for x in out.split()[:4]]
    traced, grown = found["traced"], found["resident"]
    rows = (("loaded", 0, LOADED), ("peak of the load", 1, PEAK), ("peak of load and first run", 3, PEAK))
    for what, k, rule in rows:
        larger = max(traced[k], grown[k])
        at_most(table, what, f"{traced[k]:.0f} traced", larger, f"({grown[k]:.0f} resident)", rule)
    table.line("kept after the first run", f"{traced[2]:.0f} traced", f"{grown[2]:.0f} resident")


# The audit's share: two builds, one without


AUDIT_CALL = re.compile(r"^( +)audit_(money|instrument|book)\(.*\)$", re.M)
AUDIT_SUM = re.compile(r"^( +)(r|ins)\.sum_(money|lots|basis) = wide_(?:add|sub)\(.*\)$", re.M)


def built(folder: Path, audit: bool) -> Path:
    """A copy of the sources, compiled; without the audit's checks and the sums that they look at."""
    kept = shutil.ignore_patterns("*.so", "*.c", "__pycache__", "build")
    for name in ("cascade", "setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=kept)
        else:
            shutil.copy(source, folder / name)
    if not audit:
        taken = 0
        for path in (folder / "cascade").glob("*.p[xy][dxi]"):
            text = path.read_text()
            for pattern in (AUDIT_CALL, AUDIT_SUM):
                text, n = pattern.subn(r"\1pass", text)
                taken += n
            path.write_text(text)
        if taken < 10:
            raise AssertionError(f"only {taken} lines of the audit were found")
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    environment = {k: v for k, v in os.environ.items() if k != "CASCADE_TESTING"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return folder


def serve(n: int) -> None:
    """In a process of its own: time a run for every line that comes in."""
    market, shock = workload.half(n).market(), sell(workload.HALF_LOTS)
    market.run(shock, record="summary")
    for record in sys.stdin:
        print(seconds(lambda record=record: market.run(shock, record=record.strip())), flush=True)


def audit(table: Table, n: int, rounds: int, folder: Path) -> None:
    """The same runs by a build with the always-on audit and by one without."""
    if importlib.util.find_spec("Cython") is None or not (TREE / "setup.py").exists():
        print("\naudit: skipped, it needs Cython and the sources")
        return
    table.head(f"audit: a build with it against one without, {n:,} isolated positions, half liquidated")
    workers = {}
    for name in ("with", "without"):
        (folder / name).mkdir()
        path = built(folder / name, name == "with")
        environment = os.environ | {"PYTHONPATH": str(path)}
        command = [sys.executable, __file__, "--serve", str(n)]
        workers[name] = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(name: str, record: str) -> float:
        worker = workers[name]
        worker.stdin.write(record + "\n")
        worker.stdin.flush()
        return float(worker.stdout.readline())

    for record in ("summary", "liquidations"):
        times: dict[str, list[float]] = {name: [] for name in workers}
        for k in range(2 * rounds + 1):
            for name in workers:
                taken = ask(name, record)
                if k:
                    times[name].append(taken)
        share = 1 - ratio(np.array(times["without"]), np.array(times["with"]))
        what = f"record={record!r}, the audit's share of a run"
        table.line(what, ms(np.array(times["with"])), f"{share:.1%}", f"< {AUDIT:.0%}", share < AUDIT)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()


def demo(table: Table) -> None:
    """`cascade demo` from start to end, in a process of its own."""
    table.head("demo: the command, import and all")
    with tempfile.TemporaryDirectory() as empty:
        command = [sys.executable, "-m", "cascade", "demo"]
        run = lambda: subprocess.run(command, cwd=empty, capture_output=True, check=True)  # noqa: E731
        taken = seconds(run, time.perf_counter)
    table.line("cascade demo", f"{taken:.2f} s", "", f"< {DEMO:g} s", taken < DEMO)


def main(arguments: list[str] | None = None) -> Table:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, fewer rounds")
    parser.add_argument("--rounds", type=int, help="rounds of interleaved runs (15; quick 5)")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION", help=" ".join(SECTIONS)
    )
    parser.add_argument("--positions", type=int, help="instead of a million; the targets are of a million")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    table = Table()
    if args.memory_of:
        memory_here(int(args.memory_of[1]), args.memory_of[0] == "traced")
        return table
    if args.serve:
        serve(args.serve)
        return table
    n = args.positions or (MILLION // 10 if args.quick else MILLION)
    rounds = args.rounds or (5 if args.quick else 15)
    versions = f"cascade {cs.__version__}, Python {platform.python_version()}, NumPy {np.__version__}"
    print(f"{versions}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="cascade-bench-") as temporary:
        folder = Path(temporary)
        calls = {
            "half": lambda: half(table, n, rounds, folder),
            "few": lambda: few(table, n, 3 * rounds),
            "long": lambda: long(table, n // 50, rounds),
            "cross": lambda: cross_margin(table, n, rounds, folder),
            "accounts": lambda: accounts(table, n, rounds, folder),
            "flox": lambda: beside_flox(table, n // 10, rounds),
            "load": lambda: load(table, n, rounds),
            "memory": lambda: memory(table, n),
            "audit": lambda: audit(table, n, rounds, folder),
            "demo": lambda: demo(table),
        }
        for name in args.only:
            calls[name]()
    print(f"\n{len(table.missed)} targets missed" + "".join(f"\n  {what}" for what in table.missed))
    return table


if __name__ == "__main__":
    main()
