"""Cross margin at scale: accounts with positions in several of 50 instruments, against a plain C scan of all of them.

python benchmarks/cross.py [--accounts N] [--rounds N]

Everything that is needed to build the market again:

- Instruments I0 .. I49: tick 0.1, lot 1, last price 1,000 ticks; maintenance 1% of notional, one tier.
- Draws, in this order, from `numpy.random.default_rng(11)`: positions an account, 1 to 4 (`integers(1, 5, n)`);
  the first instrument of each (`integers(0, 50, n)`), the others follow at strides of 13; for each position
  lots (`1 + geometric(0.1)`), a long with probability 0.8 (`random() < 0.8`), entry price in ticks
  (`integers(990, 1_011)`); for each account the part of its notional that is its balance,
  `0.03 + 0.27 * random()`, rounded to 0.01, and what its positions have lost already beside it, so that nobody
  is unhealthy at the start.
- Books: every tick down to 501 and up to 1,499, the same lots on both sides: a hundredth of the lots held in an
  instrument on average.
- Rules: mark "mid" (which does not depend on the order within a wave), all positions of an account at the market, no fees, no fund.
- Shocks: the external account sells ONE, ALL and HALF whole levels, in one instrument or in all of them. The
  first two hurt nobody.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import cascade as cs

SEED = 11
INSTRUMENTS = 50
LAST = 1_000
RATE = 0.01
TICK = 0.1
ONE, ALL, HALF = 40, 10, 240
"""Levels that the shocks sell in each instrument: one, all, all."""
RULES = cs.VenueRules(mark="mid", size="all")


@dataclass(frozen=True)
class Holdings:
    """The same accounts for everybody; positions are in order of accounts."""

    first: np.ndarray
    balance: np.ndarray
    instrument: np.ndarray
    lots: np.ndarray
    entry: np.ndarray
    depth: int

    @property
    def account(self) -> np.ndarray:
        """The account of each position."""
        return np.repeat(np.arange(len(self.balance)), np.diff(self.first))

    def market(self) -> cs.Market:
        """The loaded market."""
        names = [f"I{i}" for i in range(INSTRUMENTS)]
        market = cs.Market([cs.Instrument(x, tick_size="0.1", lot_size=1, tiers=RATE) for x in names], rules=RULES)
        bids, asks = ladder(self.depth)
        for name in names:
            market.load_book(name, bids, asks)
        market.load_accounts({"account": np.arange(len(self.balance)), "balance": self.balance})
        market.load_positions(
            {
                "account": self.account,
                "instrument": np.array(names)[self.instrument],
                "size": self.lots.astype(np.float64),
                "entry_price": self.entry * TICK,
            }
        )
        market.set_prices(last=dict.fromkeys(names, LAST * TICK), index=dict.fromkeys(names, LAST * TICK))
        return market


def ladder(depth: int) -> tuple[dict, dict]:
    """Bids and asks of every instrument."""
    steps = np.arange(1, LAST // 2)
    lots = np.full(len(steps), float(depth))
    return (
        {"price": (LAST - steps) * TICK, "quantity": lots},
        {"price": (LAST + steps) * TICK, "quantity": lots},
    )


def build(n: int) -> Holdings:
    """n accounts, as the module says."""
    rng = np.random.default_rng(SEED)
    count = rng.integers(1, 5, n)
    first = np.concatenate([[0], np.cumsum(count)])
    within = np.arange(first[-1]) - np.repeat(first[:-1], count)
    instrument = (np.repeat(rng.integers(0, INSTRUMENTS, n), count) + 13 * within) % INSTRUMENTS
    rows = len(within)
    lots = (1 + rng.geometric(0.1, rows)) * np.where(rng.random(rows) < 0.8, 1, -1)
    entry = rng.integers(990, 1_011, rows)
    part = 0.03 + 0.27 * rng.random(n)
    notional = np.add.reduceat(np.abs(lots) * LAST * TICK, first[:-1])
    lost = np.add.reduceat(lots * (entry - LAST) * TICK, first[:-1])
    balance = np.round(part * notional + lost, 2)
    depth = max(1, int(np.abs(lots).sum()) // INSTRUMENTS // 100)
    return Holdings(first, balance, instrument.astype(np.uint16), lots.astype(np.int32), entry, depth)


class Scan:
    """scan.c over the same holdings; money in whole units of quote currency."""

    class Table(ctypes.Structure):
        _fields_ = [("accounts", ctypes.c_int64)] + [
            (name, ctypes.c_void_p)
            for name in ("first", "balance", "size", "cost", "lots", "instrument", "rate")
        ]

    class Ladder(ctypes.Structure):
        _fields_ = [("price", ctypes.c_void_p), ("lots", ctypes.c_void_p)] + [
            (name, ctypes.c_int64) for name in ("levels", "at", "eaten")
        ]

    def __init__(self, h: Holdings, folder: Path):
        source, built = Path(__file__).with_name("scan.c"), folder / "scan.so"
        subprocess.run(["gcc", "-O3", "-shared", "-fPIC", "-o", built, source], check=True)
        self.c = ctypes.CDLL(str(built))
        self.c.scan.restype = ctypes.c_int64
        size = h.lots * TICK
        self.columns = (
            h.first.astype(np.int64), h.balance, size, size * h.entry, h.lots, h.instrument,
            np.full(INSTRUMENTS, RATE),
        )  # fmt: skip
        self.table = Scan.Table(len(h.balance), *(column.ctypes.data for column in self.columns))
        self.prices = [LAST - np.arange(1, LAST // 2), LAST + np.arange(1, LAST // 2)]
        self.depth = np.full(LAST // 2 - 1, h.depth)
        self.marks = np.empty(INSTRUMENTS)
        self.alive = np.ones(len(h.balance), np.uint8)

    def scan(self, marks: np.ndarray) -> int:
        """How many accounts are unhealthy at marks in ticks."""
        return self.c.scan(ctypes.byref(self.table), marks.ctypes.data_as(ctypes.c_void_p))

    def prepare(self, levels: int) -> None:
        """Books and marks after a sale of whole levels in all instruments; not timed."""
        self.ladders = (Scan.Ladder * (2 * INSTRUMENTS))(
            *(
                Scan.Ladder(price.ctypes.data, self.depth.ctypes.data, len(price), at, 0)
                for price, at in zip(self.prices * INSTRUMENTS, (levels, 0) * INSTRUMENTS, strict=True)
            )
        )
        self.marks[:] = LAST - levels / 2
        self.alive[:] = 1

    def cascade(self) -> tuple[int, int, int]:
        """(accounts liquidated, waves, accounts looked at); `marks` are then the final prices."""
        counts = np.zeros(3, np.int64)
        pointer = ctypes.c_void_p
        self.c.cascade(
            ctypes.byref(self.table), self.marks.ctypes.data_as(pointer), ctypes.c_int64(INSTRUMENTS),
            self.ladders, self.alive.ctypes.data_as(pointer), counts.ctypes.data_as(pointer),
        )  # fmt: skip
        return tuple(counts.tolist())


def sale(h: Holdings, levels: int, symbols: list[str]) -> cs.Shock:
    """The external account sells whole levels."""
    return cs.Shock(orders=dict.fromkeys(symbols, -levels * h.depth))


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Cross margin against a plain C scan.")
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    h = build(options.accounts)
    market = h.market()
    with tempfile.TemporaryDirectory() as folder:
        opponent = Scan(h, Path(folder))
    print(f"{len(h.balance):,} accounts, {len(h.lots):,} positions, {h.depth:,} lots a level")
    names = [f"I{i}" for i in range(INSTRUMENTS)]
    one, every, half = sale(h, ONE, names[7:8]), sale(h, ALL, names), sale(h, HALF, names)
    print(f"first run {seconds(lambda: market.run(one, record='summary')):.2f} s")
    marks = np.full(INSTRUMENTS, LAST - ALL / 2)
    taken: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        calls = {
            "C, one scan": lambda: opponent.scan(marks),
            "quiet: one instrument": lambda: market.run(one, record="summary"),
            "quiet: all": lambda: market.run(every, record="summary"),
        }
        for name, call in calls.items():
            taken.setdefault(name, []).append(seconds(call))
    for shock in (one, every):
        if market.run(shock, record="summary").summary["liquidated_accounts"]:
            raise AssertionError("a quiet shock hurts somebody")
    for _ in range(options.rounds):
        opponent.prepare(HALF)
        taken.setdefault("C, half liquidated", []).append(seconds(opponent.cascade))
        taken.setdefault("half liquidated", []).append(seconds(lambda: market.run(half, record="summary")))
    opponent.prepare(HALF)
    gone, waves, looked = opponent.cascade()
    summary = market.run(half, record="summary").summary
    print(f"C: {gone:,} gone in {waves} waves, {looked:,} looks; cascade: {summary['liquidated_accounts']:,} in {summary['waves']}")
    for name, times in taken.items():
        against = "C, half liquidated" if "half" in name else "C, one scan"
        times, base = np.array(times), np.array(taken[against])
        print(f"{name:<26} {np.median(times) * 1e3:9.2f} ms  {np.median(times / base):7.3f} of {against}")


if __name__ == "__main__":
    main()
