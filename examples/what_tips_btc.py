"""What tips BTC on the real book: how large must a market sale be before liquidations carry the price away?

The books are Binance's of 2024-08-08, the accounts are made up. Run it with --picture FILE to draw the curve.
"""

import argparse

import cascade as cs

LARGEST, STEP = 4_000, 1  # BTC


def sale(size):
    return cs.Shock(orders={"BTCUSDT": -size})


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--accounts", type=int, default=5_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--picture", metavar="FILE", help="draw damage by size of the sale")
    given = arguments.parse_args()

    market = cs.datasets.binance_market(accounts=given.accounts, rng=given.seed)
    tip = cs.studies.tipping_point(market, sale, STEP, LARGEST, step=STEP, outcome="price_drop")
    if not tip:
        print(f"No sale of up to {LARGEST:,} BTC makes the price jump.")
        return
    print(f"The price tips at a sale of {tip.at:,.0f} BTC: {STEP} BTC less ends {tip.below:.1%} lower,")
    print(f"this much {tip.above:.1%} lower ({len(tip.points)} runs to find it).\n")

    print(f"{'sale, BTC':>9}{'lowest mark':>13}{'sold by the shock':>19}{'liquidated':>12}{'waves':>7}  end")
    for size in (tip.at / 4, tip.at / 2, tip.at - STEP, tip.at, tip.at * 1.25):
        s = market.run(sale(round(size)), record="summary").summary
        low = s["price"]["BTCUSDT"]["low"] / s["price"]["BTCUSDT"]["start"] - 1
        print(
            f"{round(size):>9,}{low:>13.1%}{s['shock_notional'] / 1e6:>18,.1f}M"
            f"{s['liquidated_notional'] / 1e6:>11,.1f}M{s['waves']:>7}  {s['status'].replace('_', ' ')}"
        )

    criticality = market.criticality()
    print(f"\nBefore any run: one lot forced out forces out {criticality.start:.2f} more at today's prices;")
    print(
        f"where all prices are {criticality.tips_at:.1%} lower it is 1 or more, and a cascade feeds itself."
    )
    print("Falls of nearly all say that the known bids were used up, not where a market would trade.")
    if given.picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4), layout="constrained")
        tip.plot(ax=figure.add_subplot()).set_xlabel("market sale, BTC")
        figure.savefig(given.picture)


if __name__ == "__main__":
    main()
