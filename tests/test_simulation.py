"""Simulations: both engines under the same random actions, and what each method promises.

CASCADE_SEEDS / 10 random simulations (default 500), from CASCADE_FIRST_SEED on; `tools/fuzz.py --simulations`
for more.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import random_markets
from twins import ENGINES, difference, records_difference

import cascade as cs
from cascade.records import ORDER_DTYPE

SEEDS, FIRST = int(os.environ.get("CASCADE_SEEDS", "5000")) // 10, int(
    os.environ.get("CASCADE_FIRST_SEED", "0")
)
CHUNK = 50
SLOT_GTC, BUY, SELL = 0, 1, -1


class Twins:
    """One simulation in both engines; whatever is done to one is done to the other, and must come to the
    same."""

    def __init__(self, sims):
        self.sims = sims

    @classmethod
    def start(cls, market, shock, **run):
        return cls([market.start(shock, engine=engine, audit="full", **run) for engine in ENGINES])

    def do(self, method, *args):
        outcomes = []
        for sim in self.sims:
            try:
                outcomes.append(getattr(sim, method)(*args))
            except cs.CascadeError as error:
                outcomes.append((type(error), str(error)))
        mine, theirs = outcomes
        if isinstance(mine, np.ndarray):
            text = records_difference("reports", mine, theirs)
            assert not text, f"{method}{args}: {text}"
        else:
            assert mine == theirs, f"{method}{args}: {mine} and {theirs}"
        return mine

    def copy(self):
        return Twins([sim.copy() for sim in self.sims])

    def compare(self):
        """What can be looked at is the same."""
        mine, theirs = self.sims
        looks = [("time_ns", mine.time_ns, theirs.time_ns)]
        looks += [(name, getattr(mine, name), getattr(theirs, name)) for name in ("accounts", "positions")]
        for instrument in mine._state.instruments:
            symbol = instrument.symbol
            books = mine.book(symbol), theirs.book(symbol)
            looks.append((f"mark of {symbol}", mine.mark(symbol), theirs.mark(symbol)))
            looks.append((f"depth of {symbol}", *(book.depth() for book in books)))
            looks.append((f"orders of {symbol}", *(book.orders() for book in books)))
            looks.append((f"book of {symbol}", *(book.digest for book in books)))
        for what, one, other in looks:
            assert one == other, f"{what}: {one} and {other}"

    def compare_results(self):
        text = difference(*(sim.result() for sim in self.sims))
        assert not text, text


def some_price(rng, mid):
    return rng.choice(
        (mid, mid - 1, mid + 1, mid + rng.randint(-5, 5), mid + rng.randint(-5, 5),
        max(1, mid + rng.randint(-50, 50)))
        if rng.random() < 0.93
        else (0, -5, 1, 2**53, 2**62, 2 * mid)
    )


def some_orders(rng, market, mid, ids):
    """A table of messages, some of them bad."""
    users = [market.owner(a) for a in ids]
    orders = np.zeros(rng.choice((1, 1, 1, 2, 4)), ORDER_DTYPE)
    for order in orders:
        order["order_id"] = rng.randint(1, 25)
        order["action"] = rng.choice((0, 0, 0, 0, 1, 2)) if rng.random() < 0.98 else 9
        order["side"] = rng.choice((1, -1)) if rng.random() < 0.98 else rng.choice((0, 2))
        order["price"] = some_price(rng, mid)
        order["quantity"] = rng.choice((1, 2, 5, rng.randint(1, 40)))
        order["type"] = rng.choice((0, 0, 0, 1)) if rng.random() < 0.97 else rng.choice((2, 3, 7))
        order["tif"] = rng.choice((0, 0, 0, 1, 2, 3)) if rng.random() < 0.98 else 8
        order["owner"] = rng.choice((0, *users, *users))
        if rng.random() < 0.04:
            order["quantity"] = rng.choice((0, -3, 2**61, 2**62, 2**62 + 1, -(2**63)))
        if rng.random() < 0.04:
            order["owner"] = rng.choice(
                (-1, 1, 5, 6, 10**6, len(market._mode) - 1, len(market._mode), 2**31 - 1)
            )
        if rng.random() < 0.02:
            order[rng.choice(("stp", "flags", "display", "stop_price", "ts_ns"))] = 1
    return orders


def act(rng, twins, market, ids, mids) -> None:
    """One random action on both engines."""
    i = rng.randrange(len(mids))
    symbol, mid = f"I{i}", mids[i]
    what = rng.random()
    if what < 0.5:
        twins.do("submit", symbol, some_orders(rng, market, mid, ids))
    elif what < 0.62:
        side, n = rng.choice((1, -1)), rng.randint(1, 4)
        prices = [max(1, some_price(rng, mid - side * rng.choice((0, 2, 2, 4)))) for _ in range(n)]
        prices = [p if p < 2**53 else mid for p in prices]
        twins.do(
            "set_levels", symbol, side, prices, [rng.choice((0, 1, 5, rng.randint(1, 60))) for _ in range(n)]
        )
    elif what < 0.72:
        part = {
            "price": {symbol: round(rng.uniform(-0.1, 0.1), 3)},
            "orders": {symbol: rng.choice((-20, -4, 4, 20))},
            "depth": {symbol: rng.choice((0.5, 1.5, 0))}, "index": {symbol: round(rng.uniform(-0.1, 0.1), 3)},
            "cash": {rng.choice(ids): rng.choice((-5.0, 3.0, 50.0))},
        }  # fmt: skip
        names = rng.sample(sorted(part), rng.choice((1, 1, 2)))
        shock = cs.Shock(**{name: part[name] for name in names})
        twins.do("apply", shock)
    elif what < 0.77:
        twins.do("advance_ns", rng.choice((0, 1, 10**9)))
    elif what < 0.92:
        twins.do("step")
    else:
        twins.do("settle")


def drive(seed: int, actions: int = 25) -> None:
    """A random simulation in both engines."""
    try:
        rng = random.Random(-1 - seed)
        market, shock, run = random_markets.make(seed)
        s = random_markets.spec(seed)
        ids = [a for a, _ in s["accounts"]]
        mids = [max(4, round(prices[0])) for prices in s["prices"]]
        simulations = [Twins.start(market, shock, **run)]
        for _ in range(actions):
            twins = rng.choice(simulations)
            act(rng, twins, market, ids, mids)
            if rng.random() < 0.2:
                twins.compare()
            if rng.random() < 0.05:
                twins.compare_results()
            if rng.random() < 0.06 and len(simulations) < 4:
                simulations.append(twins.copy())
        for twins in simulations:
            twins.compare()
            twins.do("settle")
            twins.compare()
            twins.compare_results()
            for owner in [*(market.owner(a) for a in ids), 0, 10**6]:
                twins.do("position", owner)
    except AssertionError as error:
        raise AssertionError(f"simulation {seed}: {error}") from error


@pytest.mark.fast
def test_engines_agree_on_a_few_simulations():
    for seed in range(12):
        drive(seed)


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_engines_agree_on_random_simulations(first):
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        drive(seed)
