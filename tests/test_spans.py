"""What one order fills of a range at once, by blocks where all of one fare alike: the same as one by one."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from twins import difference

import cascade as cs


def crowd(seed: int) -> tuple[cs.Market, cs.Shock]:
    """A random market in which a fall makes many singles unhealthy at once, in front of a wall."""
    rng = random.Random(f"crowd {seed}")
    n = rng.choice((40, 200, 1_000))
    side = rng.choice((1, -1))  # the singles'
    mid, rate = rng.choice((1_000, 60_000)), rng.choice((0.004, 0.02))
    tick, lot = rng.choice(((1, 1), (0.1, 0.001)))
    worth = mid * tick * lot
    quantum = rng.choice((None, None, Fraction(str(tick)) * Fraction(str(lot)) / 10 ** rng.choice((4, 11))))
    rules = cs.VenueRules(
        mark="last", size="all", surplus=rng.choice(("account", "fund", "vault")),
        residual=rng.choice((("fund_walk",), ("adl",))), fee_to="fund",
    )  # fmt: skip
    instrument = cs.Instrument("X", tick_size=tick, lot_size=lot, tiers=rate)
    kept = {"vault": 10 * worth} if rules.surplus == "vault" else {}
    fund = rng.choice((0, 3, 10 * n, 100 * n)) * worth
    market = cs.Market(instrument, rules=rules, fund=round(fund, 3), cash_quantum=quantum, **kept)
    drop = rng.choice((0.02, 0.1, 0.3))
    wall = round(mid * (1 - side * drop * rng.choice((1, 1, 0.9, 1.1))))
    thin = [round(mid * (1 - side * drop * part)) for part in (0.001, 0.3, 1.0)]
    near = {"price": sorted({*thin, wall}, reverse=side > 0)}
    near["quantity"] = [
        50 * n * lot if price == wall else rng.choice((1, 40)) * lot for price in near["price"]
    ]
    near["price"] = [price * tick for price in near["price"]]
    far = {"price": [(mid + side) * tick], "quantity": [lot]}
    market.load_book("X", *((near, far) if side > 0 else (far, near)), complete=True)
    spread = rng.choice((0, 0.05, 0.5))
    lots = np.array([rng.choice((1, 2, 7, rng.randint(1, 40))) for _ in range(n)])
    entry = np.array([round(mid * (1 + spread * side * rng.uniform(-0.2, 1))) for _ in range(n)])
    # Where they become unhealthy.
    trigger = mid * (1 - side * drop * np.array([rng.uniform(0.01, rng.choice((0.5, 2))) for _ in range(n)]))
    money = np.round(lots * lot * tick * (side * (entry - trigger) + rate * trigger), 6)
    money = np.maximum(money, 1e-6)
    isolated = np.array([rng.random() < rng.choice((0, 0.5, 1)) for _ in range(n)])
    accounts = [(f"a{k}", money[k]) for k in np.flatnonzero(~isolated)]
    rows = [
        (f"a{k}", "X", side * lots[k] * lot, entry[k] * tick, money[k] if isolated[k] else np.nan)
        for k in range(n)
    ]
    if rng.random() < 0.3:  # some whom an index holds, but who are no singles
        rows += [(f"a{k}", "X", side * lot, mid * tick, worth / 3) for k in range(0, n, 7) if not isolated[k]]
    if accounts:
        market.load_accounts({"account": [a for a, _ in accounts], "balance": [m for _, m in accounts]})
    names = ("account", "instrument", "size", "entry_price", "margin")
    market.load_positions(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    return market, cs.Shock(orders={"X": -side * rng.choice((2, 60, n)) * lot})


def check(seed: int, found: Counter) -> None:
    market, shock = crowd(seed)
    whole = market.run(shock, record="all")
    part = market.run(shock, record="summary", audit="full" if seed % 3 == 0 else "delta")
    engine = next(engine for idle in market._engines.values() for engine in idle)
    found["blocks"] += engine.blocks_served
    found["ranged"] += engine.singles_served[2]
    text = difference(whole, part, ("all", "summary"))
    assert not text, f"seed {seed}: {text}"
    if engine.blocks_served:
        rows = whole.liquidations
        found["markets"] += 1
        found["shortfall"] += bool((rows["shortfall"] > 0).any())
        found["surplus"] += bool((rows["surplus"] > 0).any())
        found["shorts"] += bool((rows["side"] == "buy").any())


@pytest.mark.fast
def test_a_few_crowds():
    found: Counter = Counter()
    for seed in (*range(40), 2901):  # the last one's sums leave int64
        check(seed, found)
    assert found["blocks"] > 1_000, found
    assert min(found[name] for name in ("shortfall", "surplus", "shorts")) > 3, found


def test_many_crowds():
    found: Counter = Counter()
    for seed in range(40, 400):
        check(seed, found)
    assert found["markets"] > 100, found
