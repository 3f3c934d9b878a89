"""Sweeps over 100,000 positions: what a scenario costs beside its cascade, and what a second worker brings.

python benchmarks/sweep.py [--rounds N] [--scenarios N]

- Overhead: workload A (`workload.py`) under market sales of one lot, which touch one level and nobody: all
  of a scenario's time is overhead, from the Shock to the row. The same under gaps of the price that hurt
  nobody: there all 8,002 levels of the book move, which is work; the time that the core takes is left out.
- Two workers: sales that liquidate about 1% of the positions each, one worker and two in turn, and the same
  sweep with one worker in two processes at a time: what the machine can give at the moment. Beside it the
  processor time that two workers take, over that of one. Rows must be the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from typing import Any

import numpy as np
import workload

import cascade as cs

SEED = 17
MUST_OVERHEAD_US = 100
MUST_RATIO, AIM_RATIO = 1.6, 1.9
PER_CENT = (0.005, 0.015)
"""The part of the positions that a scenario of the second kind liquidates."""


def sales(n: int, low: float, high: float) -> list[cs.Shock]:
    """n market sales, evenly drawn between two sizes in BTC, in whole lots."""
    sizes = np.random.default_rng(SEED).integers(round(low * 1_000), round(high * 1_000) + 1, n)
    return [cs.Shock(orders={"BTCUSDT": -int(lots) / 1_000}) for lots in sizes]


def per_scenario(market: cs.Market, shocks: list[cs.Shock], workers: int) -> tuple[float, cs.Sweep]:
    """Microseconds a scenario, and the sweep."""
    begun = time.perf_counter()
    swept = market.sweep(shocks, workers=workers)
    return (time.perf_counter() - begun) / len(shocks) * 1e6, swept


def core_us(market: cs.Market, shock: cs.Shock, rounds: int) -> float:
    """Least microseconds that the engine takes from the shock to being as loaded again."""
    taken = []
    for _ in range(rounds):
        state = market.state()
        started, ops = market._prepare(state, shock, None, "core", "summary", "delta", None)
        begun = time.perf_counter()
        started.run(ops)
        started.release()
        taken.append(time.perf_counter() - begun)
    return min(taken) * 1e6


def line(what: str, measured: str, must: str = "", reached: bool = True) -> None:
    print(f"{what:<52} {measured:>32}  {must}{'' if not must else ': ok' if reached else ': NOT REACHED'}")


def overhead(market: cs.Market, n: int, rounds: int) -> None:
    """Rows about scenarios that hurt nobody."""
    tiny, gaps = [cs.Shock(orders={"BTCUSDT": -0.001})] * n, [cs.Shock(price=-0.0001)] * (n // 4)
    taken = [per_scenario(market, tiny, 1)[0] for _ in range(rounds)]
    rule = f"at most {MUST_OVERHEAD_US}"
    low = min(taken)
    measured = f"{np.median(taken):.0f} us, at least {low:.0f}"
    line("a sale of one lot, a scenario", measured, rule, low <= MUST_OVERHEAD_US)
    moved = min(per_scenario(market, gaps, 1)[0] for _ in range(rounds))
    inside = core_us(market, gaps[0], 50)
    rest = moved - inside
    line("a gap that moves 8,002 levels, a scenario", f"{moved:.0f} us, {inside:.0f} in the core")
    line("  of it overhead", f"{rest:.0f} us", rule, rest <= MUST_OVERHEAD_US)


def same_rows(a: cs.Sweep, b: cs.Sweep) -> bool:
    """Whether two sweeps found the same."""
    texts = ("status", "error")
    return all(np.array_equal(a[c], b[c], equal_nan=c not in texts) for c in a.table.columns)


def alone(shocks: list[cs.Shock], ready: Any, taken: Any) -> None:
    """A process that sweeps once it and the others are ready."""
    market = workload.build().market()
    market.sweep(shocks[:20])
    ready.wait()
    taken.put(per_scenario(market, shocks, 1)[0])


def processes(shocks: list[cs.Shock], n: int) -> float:
    """Microseconds a scenario of the slowest of n processes at a time."""
    context = multiprocessing.get_context("spawn")
    ready, taken = context.Barrier(n), context.Queue()
    started = [context.Process(target=alone, args=(shocks, ready, taken)) for _ in range(n)]
    for process in started:
        process.start()
    slowest = max(taken.get() for _ in started)
    for process in started:
        process.join()
    return float(slowest)


def two_workers(market: cs.Market, n: int, rounds: int) -> None:
    """Rows about scenarios that liquidate 1% of the positions."""
    shocks = sales(n, 900, 935)
    first = market.sweep(shocks)
    part = np.mean(first["liquidated_accounts"]) / workload.POSITIONS
    if not PER_CENT[0] <= part <= PER_CENT[1]:
        raise SystemExit(f"benchmark: {part:.2%} of the positions are liquidated, not 1%")
    wall: dict[int, list[float]] = {1: [], 2: []}
    processor: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers in (1, 2):
            begun = time.process_time()
            us, swept = per_scenario(market, shocks, workers)
            processor[workers].append(time.process_time() - begun)
            wall[workers].append(us)
            if not same_rows(swept, first):
                raise SystemExit("benchmark: two workers give other rows than one")
    ratios = np.array(wall[1]) / np.array(wall[2])
    most = float(np.median([2 * processes(shocks, 1) / processes(shocks, 2) for _ in range(3)]))
    line(f"{part:.1%} liquidated, one worker, a scenario", f"{np.median(wall[1]):.0f} us")
    line("  two workers", f"{np.median(wall[2]):.0f} us")
    line(
        "  one over two", f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
        f"at least {MUST_RATIO} (aim {AIM_RATIO})", float(np.median(ratios)) >= MUST_RATIO,
    )  # fmt: skip
    line("  two processes, one over two", f"{most:.2f}")
    line("  processor time, two over one", f"{min(processor[2]) / min(processor[1]):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scenarios", type=int, default=1_000)
    args = parser.parse_args()
    market = workload.build().market()
    load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"cascade {cs.__version__}, {load}, {args.rounds} rounds")
    overhead(market, args.scenarios, args.rounds)
    two_workers(market, args.scenarios, args.rounds)


if __name__ == "__main__":
    main()
