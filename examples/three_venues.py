"""The same shock under three venues' rules: who is liquidated, and who pays, at Binance, Hyperliquid and OKX?

One market, one shock, three records of rules; once with each venue's own mark, which an index holds at one
instant, and once with all marks following the contract's own book. Books of 2024-08-08, made-up accounts.
"""

import argparse

import cascade as cs

SHOCK = cs.Shock(price=-0.08, depth=0.7)
VENUES = (cs.venues.binance_usdm, cs.venues.hyperliquid, cs.venues.okx)

MILLIONS = (
    "liquidated_notional", "higher_order_notional", "fund_use", "takeover_notional", "adl_notional",
    "deficit",
)  # fmt: skip


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--accounts", type=int, default=5_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument(
        "--report", metavar="FILE", help="write the first venue's run on its own book as a page"
    )
    given = arguments.parse_args()

    market = cs.datasets.binance_market(accounts=given.accounts, rng=given.seed)
    on_book = {venue.name: venue.rules.replace(mark="book_median") for venue in VENUES}
    changes = {f"{venue.name}, own mark": venue for venue in VENUES}
    changes |= {f"{name}, own book": rules for name, rules in on_book.items()}
    t = cs.studies.mitigation(market, SHOCK, changes).table
    print(f"{SHOCK}; money in millions of USDT\n")
    print(
        f"{'rules':<25}{'accounts':>9}{'notional':>10}{'higher order':>14}{'deepest fall':>14}"
        f"{'fund used':>11}{'vault':>8}{'deleveraged':>13}{'deficit':>9}{'waves':>7}  end"
    )
    for k in range(len(t)):
        row = {name: t[name][k] / 1e6 if name in MILLIONS else t[name][k] for name in t}
        print(
            f"{row['rules']:<25}{row['liquidated_accounts']:>9,}{row['liquidated_notional']:>10,.1f}"
            f"{row['higher_order_notional']:>14,.1f}{row['price_drop']:>14.1%}{row['fund_use']:>11,.1f}"
            f"{row['takeover_notional']:>8,.1f}{row['adl_notional']:>13,.1f}{row['deficit']:>9,.2f}"
            f"{row['waves']:>7}  {row['status'].replace('_', ' ')}"
        )
    print("\nOne instant: an index that does not move holds the mark, and orders walk a book that nobody")
    print("refills. horizon: what is left waits for time to pass (a rest between two orders). Margin tiers,")
    print("books and accounts are Binance's in every row; the rules differ alone. The vault starts empty.")
    if given.report:
        name = VENUES[0].name
        market.run(SHOCK, rules=on_book[name]).report(
            given.report, title=f"{SHOCK} under {name}", currency="USDT"
        )


if __name__ == "__main__":
    main()
