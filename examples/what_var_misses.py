"""Second-order risk: how much of the tail does a value at risk miss that lets no liquidation move the price?

The same shocks twice: with the cascade, and with everything closed at the shocked marks, the books unable to
move. Real books of 2024-08-08, made-up accounts and moves. --picture FILE and --report FILE draw the tails.
"""

import argparse

import numpy as np

import cascade as cs

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
DAILY, CORRELATION, FREEDOM = (0.035, 0.045), 0.85, 4
DEPTH = 0.7  # makers withdraw in a storm
COVARIANCE = np.outer(DAILY, DAILY) * np.array([[1, CORRELATION], [CORRELATION, 1]])


def storm(rng, k):
    return cs.Shock.correlated(COVARIANCE, SYMBOLS, rng=rng, df=FREEDOM) + cs.Shock(depth=DEPTH)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--scenarios", type=int, default=1_000)
    arguments.add_argument("--accounts", type=int, default=3_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--picture", metavar="FILE", help="draw the distribution of the venue's loss")
    arguments.add_argument("--report", metavar="FILE", help="write the tails as an HTML page")
    given = arguments.parse_args()

    market = cs.datasets.binance_market(accounts=given.accounts, rng=given.seed)
    tails = cs.studies.tail_risk(
        market, storm, n=given.scenarios, rng=given.seed, levels=(0.95, 0.99), workers=given.workers,
        resamples=200,
    )  # fmt: skip
    t, missed = tails.table, tails.missed["missed"]
    print(
        f"{given.scenarios:,} shocks, books thinned to {DEPTH:.0%}; es: expected shortfall, money in USDT\n"
    )
    print(f"{'outcome':<12}{'level':>6}{'es':>14}{'95% interval':>28}{'es static':>14}{'missed':>8}")
    for k, name in enumerate(t["outcome"].tolist()):
        if name == "price_drop":
            x, low, high, still = (f"{t[c][k]:.2%}" for c in ("es", "es_low", "es_high", "es_static"))
        else:
            x, low, high, still = (f"{t[c][k]:,.0f}" for c in ("es", "es_low", "es_high", "es_static"))
        print(f"{name:<12}{t['level'][k]:>6.0%}{x:>14}{f'{low} to {high}':>28}{still:>14}{missed[k]:>8.0%}")
    print("\nA negative number: deleveraging spreads over winners what a static view leaves with the venue.")
    s = tails.sweep
    caused = s["higher_order_notional"].sum() / max(
        1.0, (s["first_order_notional"] + s["higher_order_notional"]).sum()
    )
    print(f"Of all liquidated notional other liquidations caused {caused:.0%}.")
    if given.picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4), layout="constrained")
        tails.plot("price_drop", ax=figure.add_subplot())
        figure.savefig(given.picture)
    if given.report:
        tails.report(given.report, title="What a static value at risk misses", currency="USDT")


if __name__ == "__main__":
    main()
