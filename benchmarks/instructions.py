"""Instructions a message of `OrderBook.process` and a liquidation of `Market.run`, counted by callgrind.

    python benchmarks/instructions.py             count and print
    python benchmarks/instructions.py --record    and write instructions.json
    python benchmarks/instructions.py --check     and fail where a count is 5% above the record's

The record holds for the compiler that built the core, Cython, Python's minor version and the architecture:
with others --check says so and passes. It needs valgrind with its headers and a C compiler; without, it says
so and passes too.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORD = HERE / "instructions.json"
TOLERANCE = 0.05
BATCH = 4_096
TIMED = 20 * BATCH
"""Messages counted of each flow, after its warm prefix."""
POSITIONS = 100_000
FEW = 100
"""Liquidations, about, of the run called few; half of all positions in the one called half."""
RUNS = {"few": ("few", "summary", 50), "half": ("half", "summary", 3), "rows": ("half", "liquidations", 1)}
"""Name: which sale, what is recorded, how many runs are counted."""

# Instrumentation is on around the counted calls alone: the rest runs ten times faster without it.
SWITCH = """
#include <valgrind/callgrind.h>
void count_start(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void count_stop(const char* name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""


def count_here(folder: Path) -> None:
    """Under callgrind: the counted messages of each flow, batch by batch into one buffer."""
    import flows
    import numpy as np

    import cascade as cs

    switch = ctypes.CDLL(str(folder / "switch.so"))
    switch.count_stop.argtypes = [ctypes.c_char_p]
    out = np.zeros(65_536, cs.REPORT_DTYPE)
    for name in flows.NAMES:
        flow = flows.read(folder / f"{name}.bin", name)
        rows, warm = flow.orders().rows, flow.orders().warm
        # Room for all: whether growing copies is up to malloc, and differs from machine to machine.
        book = cs.OrderBook(reserve=len(rows))
        book.process(rows[:warm], reports="none")
        parts = [rows[i : i + BATCH] for i in range(warm, warm + TIMED, BATCH)]
        reports = 0
        switch.count_start()
        for part in parts:
            written, done = book.process(part, out=out)
            reports += written
            while done < len(part):
                part = part[done:]
                written, done = book.process(part, out=out)
                reports += written
        switch.count_stop(name.encode())
        print(json.dumps({"name": name, "counted": TIMED, "reports": reports, "left": len(book)}))
    import contagion
    import workload

    drawn = workload.half(POSITIONS)
    market = drawn.market()
    sales = {"few": contagion.sale_for(drawn, FEW)[0], "half": workload.HALF_LOTS}
    for name, (sale, record, times) in RUNS.items():
        shock = contagion.sell(sales[sale])
        gone = market.run(shock, record=record).summary["liquidated_accounts"]
        market.run(shock, record=record)
        switch.count_start()
        for _ in range(times):
            market.run(shock, record=record)
        switch.count_stop(name.encode())
        print(json.dumps({"name": name, "counted": times * gone}))


def missing() -> str:
    """Why nothing can be counted here, or nothing."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return "there is no C compiler"
    found = subprocess.run(
        [compiler, "-E", "-"],
        input="#include <valgrind/callgrind.h>",
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if found.returncode == 0 else "valgrind's headers are not installed"


def count() -> dict[str, float]:
    """Instructions a message of each flow, and a liquidation of each run."""
    import flows

    small = {"cascade": {"levels": 1_000, "per": 10, "rounds": 700}}
    with tempfile.TemporaryDirectory(prefix="cascade-counts-") as temporary:
        folder = Path(temporary)
        made = {}
        for name in flows.NAMES:
            n = 20_000 + TIMED
            flow = getattr(flows, name)(**small.get(name, {"n": n, "warm": 20_000}))
            if len(flow) - flow.warm < TIMED:
                raise AssertionError(f"{name}: only {len(flow) - flow.warm} messages")
            made[name] = flow
            flow.write(folder / f"{name}.bin")
        (folder / "switch.c").write_text(SWITCH)
        compiler = shutil.which("gcc") or "cc"
        command = [
            compiler,
            "-O1",
            "-shared",
            "-fPIC",
            str(folder / "switch.c"),
            "-o",
            str(folder / "switch.so"),
        ]
        subprocess.run(command, check=True)
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out",
            sys.executable, str(Path(__file__).resolve()), "--count-in", str(folder),
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if run.returncode != 0:
            raise RuntimeError(f"valgrind failed:\n{run.stderr[-3000:]}")
        said = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        of = {line["name"]: line["counted"] for line in said}
        counted = {}
        for path in folder.glob("out.*"):
            text = path.read_text(errors="replace")
            name = re.search(r"^desc: Trigger: Client Request: (\w+)", text, re.M)
            totals = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
            if name and totals:
                counted[name[1]] = int(totals[1]) / of[name[1]]
    names = (*flows.NAMES, *RUNS)
    if sorted(counted) != sorted(names):
        raise RuntimeError(f"callgrind counted {sorted(counted)} only")
    return {name: round(counted[name], 1) for name in names}


def built_by() -> dict[str, str]:
    """What the counts depend on: read from the compiled core itself where it says so."""
    import cascade._core

    body = Path(cascade._core.__file__).read_bytes()
    compiler = re.search(rb"(?:GCC: \([^)]*\) |clang version )[\w.]+", body)
    cython = re.search(rb"_cython_(\d+_\d+_\d+\w*)", body)
    return {
        "compiler": compiler[0].decode() if compiler else "unknown",
        "cython": cython[1].decode().replace("_", ".") if cython else "unknown",
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
    }


def check(counted: dict[str, float], built: dict[str, str]) -> int:
    """0, or 1 where a flow or run takes 5% more instructions than the record says."""
    if not RECORD.exists():
        print("skipped: nothing is recorded")
        return 0
    record = json.loads(RECORD.read_text())
    other = [
        f"{key} {built[key]}, recorded with {record['built'][key]}"
        for key in built
        if built[key] != record["built"][key]
    ]
    if other:
        print(f"skipped: {'; '.join(other)}")
        return 0
    bad = 0
    for name, now in counted.items():
        before = record["instructions"][name]
        change = now / before - 1
        bad += change > TOLERANCE
        mark = " - TOO MANY" if change > TOLERANCE else ""
        print(f"  {name:<8} {now:8.1f}, recorded {before:8.1f}: {change:+.1%}{mark}")
        if change < -TOLERANCE:
            print("           faster than recorded: python benchmarks/instructions.py --record")
    return 1 if bad else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--count-in", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count_in:
        count_here(args.count_in)
        return
    why = missing()
    if why:
        print(f"instruction counts skipped: {why}")
        sys.exit(1 if args.record else 0)
    counted, built = count(), built_by()
    print(f"instructions a message, or a liquidation ({', '.join(built.values())})")
    for name, number in counted.items():
        print(f"  {name:<8} {number:8.1f}")
    if args.record:
        flags = " ".join(str(sysconfig.get_config_var(key) or "") for key in ("CFLAGS", "CCSHARED")).split()
        record = {
            "instructions": counted,
            "built": built,
            "flags": [*flags, "-O3"],
            "messages": TIMED,
        }
        RECORD.write_text(json.dumps(record, indent=2) + "\n")
        print(f"written to {RECORD}")
    if args.check:
        sys.exit(check(counted, built))


if __name__ == "__main__":
    main()
