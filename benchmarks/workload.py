"""Workload A: isolated longs on the real BTCUSDT book, of which a large market sale liquidates about a third.

Everything that is needed to build it again:

- Book: `cascade.datasets.binance_books("BTCUSDT")`, all levels of both sides; tick 0.1 USDT, lot 0.001 BTC.
  What lies beyond the last level is never reached.
- Draws, in this order, from `numpy.random.default_rng(7)`, n each:
  sizes in lots, `rng.geometric(n / 2_500_000)` (mean 25 lots at n = 100,000; together the
  positions hold about 2,500 BTC whatever n is);
  leverages, `rng.choice([10, 20, 25, 50, 75, 100, 125], p=[1/18, 2/18, 2/18, 4/18, 3/18, 4/18, 2/18])`;
  entry prices in ticks, `floor(best_bid * (1 - 0.012 * rng.random(n)))`: up to 1.2% below
  the market.
- Posted margin: entry value / leverage, rounded to 1e-6 USDT. Maintenance: 0.4% of notional, one tier.
- Rules: mark "last", clearing "wave", trigger "lt", whole positions at the market, no fees, a fund of
  25,000,000 USDT.
- Shock: the external account sells 1,200 BTC at the market.

At n = 100,000 24 waves liquidate 33,986 positions and take the price from 61,628.2 to 60,716.6. The sizes are
chosen, among others that take about a third, because the cascade is long; a shorter one is kinder to
baselines that pay by the wave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import cascade as cs

SEED = 7
POSITIONS = 100_000
SALE_LOTS = 1_200_000
HALF_LOTS = 1_350_000
SAFE = 0.47
MAINTENANCE = 0.004
FUND = 25_000_000
LEVERAGES = np.array([10, 20, 25, 50, 75, 100, 125])
WEIGHTS = np.array([1, 2, 2, 4, 3, 4, 2]) / 18
LOT_TICK = 1e-4
"""USDT that one lot gains a tick."""


@dataclass(frozen=True)
class Workload:
    """The same positions and bids for everybody: integers in ticks and lots, margins in USDT."""

    lots: np.ndarray
    entry: np.ndarray
    margin: np.ndarray
    bid_price: np.ndarray
    """best first"""
    bid_lots: np.ndarray

    def trigger(self) -> np.ndarray:
        """Price in ticks below which a position is unhealthy: equity < 0.4% of value there."""
        return (self.entry - self.margin / (self.lots * LOT_TICK)) / (1 - MAINTENANCE)

    def columns(self) -> dict[str, np.ndarray]:
        """Positions as `Market.load_positions` takes them, with integer ids."""
        return {
            "account": np.arange(1, len(self.lots) + 1),
            "instrument": np.full(len(self.lots), "BTCUSDT"),
            "size": self.lots / 1_000,
            "entry_price": self.entry / 10,
            "margin": self.margin,
        }

    def market(self) -> cs.Market:
        """The loaded market."""
        market = empty_market()
        market.load_positions(self.columns())
        return market


def build(n: int = POSITIONS, held: int = 2_500_000) -> Workload:
    """n positions of about so many lots together, and the bids, as the module says."""
    bids, _ = cs.datasets.binance_books("BTCUSDT")
    price = np.round(bids["price"] * 10).astype(np.int64)
    lots = np.round(bids["quantity"] * 1_000).astype(np.int64)
    rng = np.random.default_rng(SEED)
    size = rng.geometric(min(1.0, n / held), n)
    leverage = rng.choice(LEVERAGES, n, p=WEIGHTS)
    entry = np.floor(price[0] * (1 - 0.012 * rng.random(n))).astype(np.int64)
    margin = np.round(size * entry * LOT_TICK / leverage, 6)
    return Workload(size, entry, margin, price, lots)


def half(n: int) -> Workload:
    """Workload A of which half is liquidated by a sale of `HALF_LOTS`: sizes are drawn from
    `geometric(n / 4_750_000)`, and 47% of the positions (`default_rng(8).random(n) < 0.47`) post their whole
    value as margin."""
    w, rng = build(n, 4_750_000), np.random.default_rng(SEED + 1)
    whole = np.round(w.lots * w.entry * LOT_TICK, 6)
    return replace(w, margin=np.where(rng.random(n) < SAFE, whole, w.margin))


def empty_market() -> cs.Market:
    """The instrument and its book, nobody in it."""
    btc = cs.Instrument("BTCUSDT", tick_size="0.1", lot_size="0.001", tiers=MAINTENANCE)
    market = cs.Market(btc, rules=cs.VenueRules(), fund=FUND)
    market.load_book("BTCUSDT", *cs.datasets.binance_books("BTCUSDT"))
    return market


def chain(n: int) -> tuple[cs.Market, cs.Shock, tuple]:
    """A long cascade: n waves of one account each. The market, the shock, and the baseline's columns.

    Bids of one lot a tick; n longs of one lot without margin, one going at each tick; a sale of two lots
    starts it.
    """
    top = 2_000_000
    price = np.arange(top, top - 2 * n, -1)
    entry = top - np.arange(n) - 0.5
    ones = np.ones(n, np.int64)
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    asks = {"price": [top + 1], "quantity": [1]}
    market.load_book("X", {"price": price, "quantity": np.ones(2 * n, np.int64)}, asks, complete=True)
    longs = {"account": np.arange(n), "instrument": np.full(n, "X"), "size": ones, "entry_price": entry}
    market.load_positions({**longs, "margin": np.zeros(n)})
    return market, cs.Shock(orders={"X": -2}), (entry, ones, price, np.arange(1, 2 * n + 1), 2)


def shock() -> cs.Shock:
    """The external account's sale."""
    return cs.Shock(orders={"BTCUSDT": -SALE_LOTS / 1_000})


def outcome(result: cs.Result) -> tuple[int, int, int]:
    """(waves, liquidated accounts, final price in ticks): what every opponent must reproduce."""
    summary = result.summary
    return summary["waves"], summary["liquidated_accounts"], round(summary["price"]["BTCUSDT"]["final"] * 10)
