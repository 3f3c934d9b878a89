"""Which accounts matter: whose liquidation brings down most, and what happens to the run without them?

Two answers that need not agree: what the recorded causes put downstream of an account, and the same shock run
again without it. Real books of 2024-08-08, made-up accounts. --picture FILE draws who pushed whom.
"""

import argparse

import numpy as np

import cascade as cs

SHOCK = cs.Shock(price=-0.08, depth=0.7)
SHOWN, TOGETHER = 6, 50


def downstream(result):
    """{account: notional that its liquidations caused, directly or not}, largest first."""
    x = result.liquidations
    below = x["notional"].copy()
    for row in range(len(x) - 1, -1, -1):  # a cause stands before what it caused
        if x["cause_liquidation"][row] >= 0:
            below[x["cause_liquidation"][row]] += below[row]
    names, of = np.unique(x["account"], return_inverse=True)
    caused = np.bincount(of, below - x["notional"])
    order = np.argsort(-caused, kind="stable")
    return dict(zip(names[order].tolist(), caused[order].tolist(), strict=True))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--accounts", type=int, default=5_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--picture", metavar="FILE", help="draw who pushed whom")
    given = arguments.parse_args()

    market = cs.datasets.binance_market()
    people, positions = cs.datasets.population(market, accounts=given.accounts, rng=given.seed)
    result = market.run(SHOCK)
    whole = result.summary["liquidated_notional"]
    print(f"{SHOCK}: {result.summary['liquidated_accounts']:,} accounts, {whole / 1e6:,.1f}M USDT liquidated")
    print(f"branching ratio {result.branching_ratio():.2f}: so many liquidations the average one brings\n")

    held = market.liquidation_prices()
    size = {}
    for account, notional in zip(
        held["account"].tolist(), np.abs(held["size"] * held["mark"]).tolist(), strict=True
    ):
        size[account] = size.get(account, 0.0) + notional
    by_size = sorted(size, key=size.get, reverse=True)
    caused = downstream(result)

    def without(accounts):
        """Liquidated notional of the same shock, the positions of these accounts held outside the venue."""
        other = cs.datasets.binance_market()
        other.load_accounts(people)
        other.load_positions(positions.rows(~np.isin(positions["account"], accounts)))
        return other.run(SHOCK, record="summary").summary["liquidated_notional"]

    def part(left):
        return f"{round(1 - left / whole, 2) + 0.0:.0%}"

    print(
        f"{'account':>8}{'size, M':>10}{'rank by size':>14}{'downstream, M':>15}"
        f"{'run without it, M':>19}{'less':>8}"
    )
    largest = [a for a in by_size if a not in list(caused)[:SHOWN]][: SHOWN // 2]
    for account in [*list(caused)[:SHOWN], *largest]:
        left = without([account])
        print(
            f"{account:>8}{size[account] / 1e6:>10,.2f}{by_size.index(account) + 1:>14,}"
            f"{caused.get(account, 0.0) / 1e6:>15,.1f}{left / 1e6:>19,.1f}{part(left):>8}"
        )
    for what, chosen in (("with most downstream", list(caused)), ("largest", by_size)):
        left = without(chosen[:TOGETHER])
        print(f"{f'the {TOGETHER} {what} together':<47}{left / 1e6:>19,.1f}{part(left):>8}")
    print(
        f"\nFirst the {SHOWN} with most downstream, then the largest others. Who stands first in the queue is"
    )
    print(
        "the recorded cause of much that the next one would have brought down as well: then the run without"
    )
    print("it differs by less than what is downstream of it.")
    if given.picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 5), layout="constrained")
        cs.plot.network(result, ax=figure.add_subplot())
        figure.savefig(given.picture)


if __name__ == "__main__":
    main()
