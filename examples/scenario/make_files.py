"""Writes the CSV files of this example: two invented books, 300 invented accounts. Seeded."""

import csv
from pathlib import Path

import numpy as np

import cascade as cs

HERE = Path(__file__).parent


def book(rng, mid, tick, size, levels):
    """(bids, asks): levels a few ticks apart, sizes that grow away from the price."""
    sides = []
    for sign in (-1, 1):
        distance = np.cumsum(rng.integers(1, 6, levels))
        ticks = round(mid / tick) + sign * distance
        lots = np.maximum(1, np.rint(size * (1 + 0.02 * np.arange(levels)) * rng.exponential(1, levels)))
        sides.append([(f"{t * tick:.2f}", f"{q * 0.1:.1f}") for t, q in zip(ticks, lots, strict=True)])
    return sides


def write(name, header, rows):
    with open(HERE / name, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main():
    rng = np.random.default_rng(20)
    alpha = book(rng, 500.0, 0.05, 60, 220)
    beta = book(rng, 40.0, 0.01, 300, 220)
    write("alpha_bids.csv", ["price", "quantity"], alpha[0])
    write("alpha_asks.csv", ["price", "quantity"], alpha[1])
    rows = [("bid", *level) for level in beta[0]] + [("ask", *level) for level in beta[1]]
    write("beta_book.csv", ["side", "px", "qty"], rows)

    terms = {"lot_size": "0.1", "tiers": [[0, 100_000, 0.02, 0.01], [100_000, None, 0.05, 0.025]]}
    market = cs.Market(
        [
            cs.Instrument("ALPHA", tick_size="0.05", **terms),
            cs.Instrument("BETA", tick_size="0.01", **terms),
        ]
    )
    for symbol, sides in (("ALPHA", alpha), ("BETA", beta)):
        bids, asks = (
            {"price": [float(p) for p, _ in side], "quantity": [float(q) for _, q in side]} for side in sides
        )
        market.load_book(symbol, bids, asks)
    people, positions = cs.datasets.population(market, accounts=300, rng=20, load=False)
    names = {k: f"user-{k:03d}" for k in people["account"].tolist()}
    write(
        "accounts.csv",
        ["user_id", "balance", "country"],
        [
            (names[k], f"{b:.2f}", "-")
            for k, b in zip(people["account"].tolist(), people["balance"], strict=True)
        ],
    )
    write(
        "positions.csv",
        ["account", "instrument", "size", "entry_price", "margin"],
        [
            (names[k], symbol, f"{size:.1f}", f"{entry:.4f}", "" if np.isnan(margin) else f"{margin:.2f}")
            for k, symbol, size, entry, margin in zip(
                *(positions[name].tolist() for name in positions.columns), strict=True
            )
        ],
    )
    own = []
    for n in range(12):
        side, price = ("buy", 490.0 - 2 * n) if n % 2 == 0 else ("sell", 508.0 + 2 * n)
        own.append((n + 1, f"user-{rng.integers(1, 300):03d}", side, f"{price:.2f}", f"{5 + n}.0"))
    write("alpha_orders.csv", ["order_id", "account", "side", "price", "quantity"], own)
    write(
        "tiers.csv",
        ["floor", "cap", "initial_rate", "maintenance_rate"],
        [(0, 100_000, "0.02", "0.01"), (100_000, "", "0.05", "0.025")],
    )


if __name__ == "__main__":
    main()
