"""Sweeps over 100,000 positions: what a scenario costs beside its cascade, and what a second worker brings.

python benchmarks/sweep.py [--rounds N] [--scenarios N]

- Overhead: workload A (`workload.py`) under market sales of one lot, which touch one level and nobody: all of a
  scenario's time is overhead, from the Shock to the row. The same under gaps of the price that hurt nobody; there all 8,002 levels
  of the book move, which is work, and is told apart by the time that the core spends in it.
- Two workers: sales that liquidate about 1% of the positions each, one worker and two in turn. `alone` is what two
  could bring at most, from the part of a scenario that holds the interpreter's lock. Rows must be the same for both.
"""

from __future__ import annotations

import argparse
import os
import time

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


def overhead(market: cs.Market, n: int, rounds: int) -> float:
    """Rows about scenarios that hurt nobody; microseconds a scenario."""
    tiny, gaps = [cs.Shock(orders={"BTCUSDT": -0.001})] * n, [cs.Shock(price=-0.0001)] * (n // 4)
    taken = [per_scenario(market, tiny, 1)[0] for _ in range(rounds)]
    rule = f"at most {MUST_OVERHEAD_US}"
    low = min(taken)
    line("a sale of one lot, a scenario", f"{np.median(taken):.0f} us, at least {low:.0f}", rule, low <= MUST_OVERHEAD_US)
    moved = min(per_scenario(market, gaps, 1)[0] for _ in range(rounds))
    inside = core_us(market, gaps[0], 50)
    rest = moved - inside
    line("a gap that moves 8,002 levels, a scenario", f"{moved:.0f} us, {inside:.0f} in the core")
    line("  of it overhead", f"{rest:.0f} us", rule, rest <= MUST_OVERHEAD_US)
    return low


def two_workers(market: cs.Market, n: int, rounds: int, outside_us: float) -> None:
    """Rows about scenarios that liquidate 1% of the positions."""
    shocks = sales(n, 900, 935)
    part = np.mean(market.sweep(shocks[:50])["liquidated_accounts"]) / workload.POSITIONS
    if not PER_CENT[0] <= part <= PER_CENT[1]:
        raise SystemExit(f"benchmark: {part:.2%} of the positions are liquidated, not 1%")
    one, two = [], []
    for _ in range(rounds):
        for taken, workers in ((one, 1), (two, 2)):
            us, swept = per_scenario(market, shocks, workers)
            taken.append(us)
            if workers == 1:
                alone = swept
        if any(not np.array_equal(swept[c], alone[c], equal_nan=c not in ("status", "error")) for c in swept.table.columns):
            raise SystemExit("benchmark: two workers give other rows than one")
    ratios = np.array(one) / np.array(two)
    line(f"{part:.1%} liquidated, one worker, a scenario", f"{np.median(one):.0f} us")
    line("two workers", f"{np.median(two):.0f} us")
    line(
        "one over two", f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
        f"at least {MUST_RATIO} (aim {AIM_RATIO})", float(np.median(ratios)) >= MUST_RATIO,
    )  # fmt: skip
    held = outside_us / min(one)
    line("  alone", f"at most {1 / (held + (1 - held) / 2):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scenarios", type=int, default=1_000)
    args = parser.parse_args()
    market = workload.build().market()
    print(f"cascade {cs.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {args.rounds} rounds")
    outside_us = overhead(market, args.scenarios, args.rounds)
    two_workers(market, args.scenarios, args.rounds, outside_us)


if __name__ == "__main__":
    main()
