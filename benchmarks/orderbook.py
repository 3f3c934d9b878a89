"""The order book's speed and size against what each must reach: medians of interleaved runs. See README.md.

    python benchmarks/orderbook.py [--quick] [--rounds N] [--flows FOLDER] [--only SECTION ...]

Every pass deals with the same messages as the pass that was checked before, fill by fill, against the flow's
header; its number of reports and the book that it ends with are compared each time.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import compare
import flows
import numpy as np

import cascade as cs

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("CASCADE_SHARED") or HERE.parents[1] / "shared") / "bench"
BATCH = 4_096
SPARSE = 17
"""Seed of the sparse ids."""
SECTIONS = ("process", "calls", "memory", "copy", "others")

# What must be reached (and what is aimed at).
BATCHES = {"normal": (2.0, 1.7), "cascade": (1.7, 1.5)}
WHOLE = {"normal": 2.5, "cascade": 2.5}
SPREAD = {"normal": 2.5, "cascade": 3.5}
WIDE_TO_NORMAL = 2.5
WIDE_AHEAD_OF_MAP = 2.0
CALL = 5.0
BYTES_DEEP = 40
BYTES_FLAT = 200
COPY = 1.5
LARGE_PAGE = 2 << 20  # bytes


class Table:
    """Lines as they come, and how many targets were missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []
        self.under = ""

    def head(self, what: str) -> None:
        self.under = what.split(":")[0]
        print(f"\n{what}")

    def line(
        self, what: str, measured: str, ratio: str = "", must: str = "", good: bool | None = None
    ) -> None:
        verdict = "" if good is None else "ok" if good else "NOT"
        if good is False:
            self.missed.append(f"{self.under}: {what} {ratio}, must be {must}")
        print(f"  {what:<60} {measured:>12} {ratio:>34}  {must:<17} {verdict}".rstrip(), flush=True)


def median(times: list[float]) -> float:
    return float(np.median(times))


def spread_of(times: list[float]) -> str:
    return f"{min(times):.1f}..{max(times):.1f}"


# The flows


def shared_flows(folder: Path, quick: bool) -> None:
    """Write the yardstick's own flows into `folder`, where they are not there yet."""
    tail = "_small" if quick else ""
    wanted = [folder / f"flow_{name}{tail}.bin" for name in ("normal", "cascade")]
    script = SHARED / "flow.py"
    if script.exists() and not all(path.exists() for path in wanted):
        command = [sys.executable, str(script), str(folder), *(["--small"] if quick else [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def load_flows(folder: Path, quick: bool, ours: bool) -> dict[str, tuple[flows.Flow, Path]]:
    """The three flows and their files in `folder`; what is missing is made and written there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not ours:
        shared_flows(folder, quick)
    found = {}
    for name in flows.NAMES:
        path = folder / f"flow_{name}{'_small' if quick else ''}.bin"
        if not path.exists():
            flows.make(name, quick).write(path)
        found[name] = flows.read(path, name), path
    return found


# Passes of our book; each gives ns a message


class Passes:
    """One flow through `OrderBook.process`, in batches into one buffer or in one call."""

    def __init__(self, flow: flows.Flow, sparse: int | None = None) -> None:
        self.orders = flow.orders(sparse)
        rows, warm = self.orders.rows, self.orders.warm
        self.warm, self.timed = batches(rows[:warm]), batches(rows[warm:])
        self.out = np.zeros(flow.most_live + 4 * BATCH, cs.REPORT_DTYPE)  # memory that is there already
        book = cs.OrderBook()
        start = time.perf_counter_ns()
        reports = book.process(rows)
        self.first_ns = (time.perf_counter_ns() - start) / len(rows)
        found = self.orders.totals(reports)
        if found != flow.totals:
            raise AssertionError(f"{flow.name}: the book gives {found}, the flow has {flow.totals}")
        self.reports = int(np.count_nonzero(reports["message"] >= warm))
        self.digest = book.digest
        self.used = book

    def check(self, book: cs.OrderBook, reports: int) -> None:
        if reports != self.reports or book.digest != self.digest:
            raise AssertionError("a timed pass differs from the one that was checked")

    def run(self, book: cs.OrderBook, parts: list[np.ndarray]) -> int:
        process, out, reports = book.process, self.out, 0
        for part in parts:
            written, rows = process(part, out=out)
            reports += written
            while rows < len(part):  # a buffer that was full
                part = part[rows:]
                written, rows = process(part, out=out)
                reports += written
        return reports

    def in_batches(self) -> float:
        book = cs.OrderBook()
        self.run(book, self.warm)
        start = time.perf_counter_ns()
        reports = self.run(book, self.timed)
        taken = time.perf_counter_ns() - start
        self.check(book, reports)
        return taken / (len(self.orders.rows) - self.orders.warm)

    def whole(self) -> float:
        return self.in_one_call(cs.OrderBook())

    def again(self) -> float:
        """The same in a book that has been used before: it keeps its memory, that of reports too."""
        self.used.clear()
        return self.in_one_call(self.used)

    def in_one_call(self, book: cs.OrderBook) -> float:
        self.run(book, self.warm)
        rows = self.orders.rows[self.orders.warm :]
        start = time.perf_counter_ns()
        reports = book.process(rows)
        taken = time.perf_counter_ns() - start
        self.check(book, len(reports))
        return taken / len(rows)


def batches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


# Programs in C++


def compiled(folder: Path, source: Path, *flags: str) -> Path | None:
    """The program of a C++ file, built into `folder`; None where there is no compiler or no such file."""
    compiler = shutil.which("g++")
    if compiler is None or not source.exists():
        return None
    program = folder / source.stem
    subprocess.run([compiler, "-O3", *flags, str(source), "-o", str(program)], check=True)
    return program


def program_pass(program: Path, path: Path) -> Callable[[], list[float]]:
    """Two passes of a program over a flow's file."""

    def run() -> list[float]:
        out = subprocess.run(
            [str(program), str(path), "2"], check=True, capture_output=True, text=True
        ).stdout
        found = [json.loads(line) for line in out.splitlines()]
        if any(x["check"] != "exact" for x in found):
            raise AssertionError(f"{program.name} gives other fills than {path.name} has")
        return [x["ns_msg"] for x in found]

    return run


def in_turn(passes: dict[str, Callable[[], float | list[float]]], rounds: int) -> dict[str, list[float]]:
    """Every pass once a round, so that noise meets all alike; the first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in passes}
    gc.disable()
    for k in range(rounds + 1):
        for name, run in passes.items():
            found = run()
            if k > 0:
                taken[name] += found if isinstance(found, list) else [found]
    gc.enable()
    return taken


def process(table: Table, made: dict[str, tuple[flows.Flow, Path]], folder: Path, rounds: int) -> None:
    """`process` on the three flows, against limit.cpp and the std::map book."""
    limit = compiled(folder, SHARED / "limit.cpp", "-std=c++20", "-DEVENTS")
    mapbook = compiled(folder, HERE / "mapbook.cpp", "-std=c++17")
    runs: dict[str, Callable[[], float | list[float]]] = {}
    first = {}
    for name, (flow, path) in made.items():
        ours, spread = Passes(flow), Passes(flow, SPARSE)
        first[name] = ours.first_ns
        if limit and name != "wide":  # a flat array of levels does not go as wide
            runs[f"{name} limit"] = program_pass(limit, path)
        runs[f"{name} batches"] = ours.in_batches
        runs[f"{name} whole"] = ours.whole
        runs[f"{name} again"] = ours.again
        runs[f"{name} sparse"] = spread.in_batches
        if mapbook:
            runs[f"{name} map"] = program_pass(mapbook, path)
    taken = in_turn(runs, rounds)
    ns = {name: median(times) for name, times in taken.items()}
    for name, (flow, _) in made.items():
        table.head(
            f"process, {name}: {len(flow):,} messages, the first {flow.warm:,} not timed, {flow.totals}"
        )
        unit = ns.get(f"{name} limit")

        def row(what: str, key: str, must: float | None = None, aim: float | None = None) -> None:
            key = f"{name} {key}"  # noqa: B023
            if key not in ns:
                return
            ratio = f"{ns[key] / unit:.2f} x limit.cpp" if unit else ""  # noqa: B023
            rule = f"<= {must:g}" + (f" (aim {aim:g})" if aim else "") if must else ""
            good = ns[key] / unit <= must if must and unit else None  # noqa: B023
            measured = f"{ns[key]:.1f} ns/msg"
            table.line(what, measured, f"{ratio} ({spread_of(taken[key])})", rule, good)

        row("limit.cpp -O3 -DEVENTS", "limit")
        must, aim = BATCHES.get(name, (None, None))
        row("batches of 4,096, reused out", "batches", must, aim)
        row("one call, returned array", "whole", WHOLE.get(name))
        row("one call, returned array, the book cleared and used again", "again", WHOLE.get(name))
        row("batches, sparse ids", "sparse", SPREAD.get(name))
        row("std::map book (mapbook.cpp), batches", "map")
        table.line("one call, the first of its kind, warm prefix too", f"{first[name]:.1f} ns/msg")
    if limit is None:
        print(f"  limit.cpp: skipped, {f'{SHARED} is not there' if shutil.which('g++') else 'no g++'}")
    wide = ns["wide batches"]
    ratio = wide / ns["normal batches"]
    must_say = f"<= {WIDE_TO_NORMAL:g}"
    table.line(
        "wide to normal, batches",
        f"{wide:.1f} ns/msg",
        f"{ratio:.2f} x normal",
        must_say,
        ratio <= WIDE_TO_NORMAL,
    )
    if mapbook:
        ratio = ns["wide map"] / wide
        good = ratio >= WIDE_AHEAD_OF_MAP
        table.line(
            "wide, ahead of std::map",
            f"{wide:.1f} ns/msg",
            f"{ratio:.2f} x its speed",
            f">= {WIDE_AHEAD_OF_MAP:g}",
            good,
        )


# One call a message


class Empty:
    """What a call costs that does nothing."""

    def method(self, side: int, price: int, quantity: int) -> None:
        pass


def calls(table: Table, flow: flows.Flow, rounds: int) -> None:
    """`book.limit(side, price, quantity)` against an empty method with the same arguments."""
    rows = flow.orders().rows
    new = rows[(rows["action"] == cs.Action.NEW) & (rows["tif"] == cs.TimeInForce.GTC)][:100_000]
    arguments = [(int(r["side"]), int(r["price"]), int(r["quantity"])) for r in new]
    count = len(arguments)

    def nothing() -> float:
        start = time.perf_counter_ns()
        for _side, _price, _quantity in arguments:
            pass
        return (time.perf_counter_ns() - start) / count

    def empty() -> float:
        method = Empty().method
        start = time.perf_counter_ns()
        for side, price, quantity in arguments:
            method(side, price, quantity)
        return (time.perf_counter_ns() - start) / count

    def limit() -> float:
        book = cs.OrderBook()
        method = book.limit
        start = time.perf_counter_ns()
        for side, price, quantity in arguments:
            method(side, price, quantity)
        taken = time.perf_counter_ns() - start
        if book.limit(1, 1, 1) != count + 1:
            raise AssertionError("limit does not give the next id")
        return taken / count

    def cancel() -> float:
        book = cs.OrderBook()
        ids = [book.limit(1, price, quantity) for _, price, quantity in arguments]
        method = book.cancel
        start = time.perf_counter_ns()
        for order_id in ids:
            method(order_id)
        taken = time.perf_counter_ns() - start
        if len(book) != 0:
            raise AssertionError("orders are left")
        return taken / count

    taken = in_turn({"nothing": nothing, "empty": empty, "limit": limit, "cancel": cancel}, max(rounds, 5))
    ns = {name: median(times) for name, times in taken.items()}
    net = ns["empty"] - ns["nothing"]
    table.head(
        f"one call a message from Python: {count:,} orders of the normal flow; the loop itself subtracted"
    )
    table.line("empty method(side, price, quantity)", f"{net:.0f} ns", f"{ns['empty']:.0f} with the loop")
    ratio = (ns["limit"] - ns["nothing"]) / net
    beside = f"{ns['limit'] / ns['empty']:.2f} with the loop"
    table.line(
        "book.limit(...), the id returned",
        f"{ns['limit'] - ns['nothing']:.0f} ns",
        f"{ratio:.2f} x empty, {beside}",
        f"<= {CALL:g}",
        ratio <= CALL,
    )
    ratio = (ns["cancel"] - ns["nothing"]) / net
    table.line("book.cancel(id)", f"{ns['cancel'] - ns['nothing']:.0f} ns", f"{ratio:.2f} x empty")


# Memory

MILLION = 1_000_000
SHAPES = {
    "2,000 levels": BYTES_DEEP,
    "one order a level, adjacent ticks": BYTES_FLAT,
    "one order a level, spread over 2^31 ticks": BYTES_FLAT,
}


def resting(shape: str, n: int, sparse: bool) -> np.ndarray:
    """n orders that rest: half bids, half asks, sent in random order of price."""
    rng = np.random.default_rng(23)
    half = n // 2
    if shape == "2,000 levels":
        away = rng.permutation(np.arange(n) % 1_000)
        side = rng.permutation(np.repeat(np.array([1, -1], np.int8), half))
        price = 1_000_000 - side * (1 + away)
    else:
        price = np.arange(2 * half) if "adjacent" in shape else distinct(rng, 2 * half)
        side = np.repeat(np.array([1, -1], np.int8), half)
        order = rng.permutation(2 * half)
        price, side = price[order], side[order]
    rows = np.zeros(2 * half, cs.ORDER_DTYPE)
    ids = np.arange(1, 2 * half + 1, dtype=np.uint64)
    rows["order_id"] = flows.spread(ids, SPARSE) if sparse else ids
    rows["side"], rows["price"], rows["quantity"] = side, price, rng.integers(1, 1_000, 2 * half)
    return rows


def distinct(rng: np.random.Generator, n: int) -> np.ndarray:
    """n different prices of 0..2^31 - 1, ascending."""
    found = np.unique(rng.integers(0, 2**31, n + n // 8))
    return found[np.sort(rng.permutation(len(found))[:n])]


def resident() -> int:
    """Bytes of memory resident now; 0 where that cannot be asked."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def memory_here(shape: str, n: int, sparse: bool, reserve: bool) -> None:
    """In a process of its own: bytes an order, traced and resident, and traced of a copy."""
    rows = resting(shape, n, sparse)
    cs.OrderBook().process(rows[:1], reports="none")  # what is made once
    tracemalloc.start()
    base = resident()
    book = cs.OrderBook(reserve=len(rows)) if reserve else cs.OrderBook()
    for part in batches(rows):
        book.process(part, reports="none")
    traced, grown = tracemalloc.get_traced_memory()[0], resident() - base
    if len(book) != len(rows):
        raise AssertionError("orders are missing")
    copy = book.copy()
    print(json.dumps([traced / n, grown / n, (tracemalloc.get_traced_memory()[0] - traced) / n, len(copy)]))


def memory(table: Table, n: int) -> None:
    """Bytes an order of books at rest; each in a process of its own."""
    table.head(f"memory: {n:,} resting orders, bytes an order: traced by tracemalloc (resident beside)")
    for shape, must in SHAPES.items():
        for sparse in (False, True):
            for reserve in (False, True):
                command = [
                    sys.executable,
                    __file__,
                    "--memory-of",
                    shape,
                    str(n),
                    str(int(sparse)),
                    str(int(reserve)),
                ]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                traced, grown, copied, _ = json.loads(out)
                ids = "sparse ids" if sparse else "sequential ids"
                what = f"{shape}, {ids}{', reserved' if reserve else ''}"
                # The claim is of ids as the book gives them, in a book that grew.
                claimed = not sparse and not reserve
                good = max(traced, grown) <= must if claimed else None
                beside = f"resident {grown:.1f}, its copy {copied:.1f}"
                table.line(what, f"{traced:.1f}", beside, f"<= {must}" if claimed else "", good)


def copies(table: Table, n: int, rounds: int) -> None:
    """A copy against memcpy of as many bytes into memory of the kind that it gets.

    The allocator hands out memory that was used before, or has the system map new memory, which is cleared
    while it is filled: faults tell which. What was copied or freed a moment ago lies in the caches, and whose
    turn came before decides who meets it there: everybody starts with caches full of something else.
    """
    table.head(
        "copy: against memcpy into memory as the copy gets it, new (ndarray.copy) or used; caches cold"
    )
    libc = ctypes.CDLL(None)
    libc.memcpy.restype = ctypes.c_void_p
    libc.memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    other = np.ones(1 << 29, np.uint8)
    for shape in SHAPES:
        rows = resting(shape, n, False)
        book = cs.OrderBook()
        for part in batches(rows):
            book.process(part, reports="none")
        tracemalloc.start()
        twin = book.copy()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        if twin.digest != book.digest:
            raise AssertionError("a copy differs")
        del twin
        source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)

        def cold(call: Callable[[], object]) -> Callable[[], float]:
            def timed() -> float:
                other[::64] += 1
                return milliseconds(call)

            return timed

        def onto(source: np.ndarray = source, target: np.ndarray = target) -> None:
            libc.memcpy(target.ctypes.data, source.ctypes.data, source.nbytes)

        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        book.copy()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        kind = "new" if 2 * faults * LARGE_PAGE > size else "used"
        calls = {"ours": cold(book.copy), "new": cold(source.copy), "used": cold(onto)}
        taken = in_turn(calls, max(rounds, 7))
        ms = {name: median(times) for name, times in taken.items()}
        ratios = {k: ms["ours"] / ms[k] for k in ("new", "used")}
        beside = f"{ratios['new']:.2f} x into new, {ratios['used']:.2f} x into used"
        what = f"{shape}, {size / 1e6:.0f} MB, into {kind}"
        table.line(what, f"{ms['ours']:.1f} ms", beside, f"< {COPY:g}", ratios[kind] < COPY)


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    made = call()
    taken = time.perf_counter_ns() - start
    del made
    return taken / 1e6


# Others' books


def others(table: Table, flow: flows.Flow, rounds: int) -> None:
    """One call a message, ours and every book of PyPI that is installed."""
    job = compare.Job(compare.head(flow, 20_000))
    names = compare.installed()
    engines = {"driver": compare.Driver, "ours": compare.engine("adapters.ours:Calls")}
    engines |= {name: compare.engine(spec) for name, spec in names.items()}
    found = compare.compare(engines, job, rounds, 60)
    driver, ours = found["driver"][0], found["ours"][0]
    count = len(job.flow) - job.flow.warm
    table.head(f"one call a message, {count:,} of the normal flow: the loop itself is {driver:.0f} ns")
    table.line("cascade.OrderBook", f"{ours:.0f} ns/msg", found["ours"][1], "", found["ours"][2])
    for name in names:
        ns, check, right = found[name]
        if right:
            table.line(name, f"{ns:.0f} ns/msg", f"{ns / ours:.1f} x ours, {check}", "> 1", ns > ours)
        else:
            table.line(name, f"{ns:.0f} ns/msg", f"{ns / ours:.1f} x ours, does not match right")
            print(f"    {check}")
    missing = sorted(set(compare.PYPI) - set(names))
    if missing:
        print(f"  not installed (pip install '.[bench]'): {', '.join(missing)}")


def machine() -> str:
    names = (
        line.split(":")[1].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")
    )
    return f"{next(names, platform.processor() or platform.machine())}, {os.cpu_count()} cores"


def lines_of(path: str) -> Iterator[str]:
    try:
        yield from Path(path).read_text().splitlines()
    except OSError:
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="flows and books of about a tenth, fewer rounds")
    parser.add_argument("--rounds", type=int, help="rounds of interleaved passes (15; quick 5)")
    parser.add_argument(
        "--flows", type=Path, help="where the flows are kept, and written if missing (default: temporary)"
    )
    parser.add_argument(
        "--ours", action="store_true", help="our own flows even where the shared ones are there"
    )
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION", help=" ".join(SECTIONS)
    )
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        shape, n, sparse, reserve = args.memory_of
        memory_here(shape, int(n), sparse == "1", reserve == "1")
        return
    rounds = args.rounds or (5 if args.quick else 15)
    print(
        f"cascade {cs.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, {machine()}"
    )
    table = Table()
    with tempfile.TemporaryDirectory(prefix="cascade-bench-") as temporary:
        folder = Path(temporary)
        if {"process", "calls", "others"} & set(args.only):
            made = load_flows(args.flows or folder, args.quick, args.ours)
        if "process" in args.only:
            process(table, made, folder, rounds)
        if "calls" in args.only:
            calls(table, made["normal"][0], rounds)
        if "others" in args.only:
            others(table, made["normal"][0], 3)
    n = MILLION // 10 if args.quick else MILLION
    if "memory" in args.only:
        memory(table, n)
    if "copy" in args.only:
        copies(table, n, rounds)
    print(f"\n{len(table.missed)} targets missed" + "".join(f"\n  {what}" for what in table.missed))


if __name__ == "__main__":
    main()
