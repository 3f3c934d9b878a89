"""Compare the two engines on random markets and random simulations, on several processes.

    python tools/fuzz.py --markets 1000000 --simulations 100000 --first 0 --workers 2

Prints the first difference and stops with exit code 1, or how often each branch occurred. The checks are
those of tests/test_differential.py and tests/test_simulation.py; a seed found here fails there too, with
CASCADE_FIRST_SEED.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]
CHUNK = 500


def markets(first: int, n: int) -> Counter:
    import test_differential

    found: Counter = Counter()
    for seed in range(first, first + n):
        test_differential.check(seed, found)
    return found


def simulations(first: int, n: int) -> Counter:
    import test_simulation

    for seed in range(first, first + n):
        test_simulation.drive(seed)
    return Counter()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markets", type=int, default=20_000)
    parser.add_argument("--simulations", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    started, found = time.monotonic(), Counter()
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = {}
        for work, total in ((markets, options.markets), (simulations, options.simulations)):
            for first in range(options.first, options.first + total, CHUNK):
                n = min(CHUNK, options.first + total - first)
                jobs[pool.submit(work, first, n)] = f"{work.__name__} {first} to {first + n - 1}"
        for job, name in jobs.items():
            try:
                found += job.result()
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {error}")
                pool.shutdown(cancel_futures=True)
                return 1
    for branch, n in found.most_common():
        print(f"{n:10,} {branch}")
    print(f"no difference in {options.markets:,} markets, {options.simulations:,} simulations")
    print(f"{time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
