"""How much insurance fund does a venue need, so that 99.9% of days pass without deleveraging or a deficit?

Days are made up: Student's t moves of BTC and ETH together, each at one instant, on the real books of
2024-08-08 with made-up accounts. Run it with --report FILE to write the sweep as a page.
"""

import argparse
from functools import partial

import numpy as np

import cascade as cs

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
DAILY, CORRELATION, FREEDOM = (0.035, 0.045), 0.85, 4  # standard deviations; degrees of freedom of the tails
LEVEL = 0.999
COVARIANCE = np.outer(DAILY, DAILY) * np.array([[1, CORRELATION], [CORRELATION, 1]])


def day(rng, k):
    return cs.Shock.correlated(COVARIANCE, SYMBOLS, rng=rng, df=FREEDOM)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--scenarios", type=int, default=4_000)
    arguments.add_argument("--accounts", type=int, default=2_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--report", metavar="FILE", help="write the sweep as an HTML page")
    given = arguments.parse_args()

    load = partial(cs.datasets.binance_market, accounts=given.accounts, rng=given.seed)
    # A fund that always pays shows what it is asked for.
    swept = load(fund=10**10).sweep(day, n=given.scenarios, rng=given.seed, workers=given.workers)
    asked = swept["fund_start"] - swept["fund_end"]
    rng = np.random.default_rng(given.seed)
    drawn = [np.quantile(rng.choice(asked, len(asked)), LEVEL, method="higher") for _ in range(500)]
    low, high = np.quantile(drawn, [0.025, 0.975])

    print(
        f"{given.scenarios:,} days; open interest {open_interest(load()) / 1e6:,.0f}M USDT on the long side"
    )
    print(f"{'level':>8}{'fund needed, USDT':>20}")
    for level in (0.9, 0.99, LEVEL):
        print(f"{level:>8.1%}{max(0, np.quantile(asked, level, method='higher')):>20,.0f}")
    beyond = given.scenarios * (1 - LEVEL)
    print(
        f"95% bootstrap interval at {LEVEL:.1%}: {max(0, low):,.0f} to {high:,.0f} "
        f"({beyond:.0f} days lie beyond)"
    )

    # The answer, tried on days that it was not made from. A fund falls short where it leaves deleveraging or
    # a deficit.
    fresh = given.seed + 1
    print(f"\nTried on {given.scenarios // 2:,} other days:")
    print(f"{'fund, USDT':>14}{'days it falls short':>21}")
    for part in (0.25, 1.0):
        fund = round(max(0.0, float(np.quantile(asked, LEVEL, method="higher"))) * part)
        tried = load(fund=fund).sweep(day, n=given.scenarios // 2, rng=fresh, workers=given.workers)
        short = (tried["adl_notional"] > 0) | (tried["deficit"] > 0)
        print(f"{fund:>14,}{short.mean():>21.2%}")
    ends = dict(zip(*np.unique(swept["status"], return_counts=True), strict=True))
    print("\nHow the days ended: " + ", ".join(f"{n} {word.replace('_', ' ')}" for word, n in ends.items()))
    if given.report:
        swept.report(given.report, title="What is asked of the insurance fund", currency="USDT")


def open_interest(market):
    held = market.liquidation_prices()
    return float((held["size"] * held["mark"])[held["size"] > 0].sum())


if __name__ == "__main__":
    main()
