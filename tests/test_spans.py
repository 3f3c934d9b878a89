"""What one order fills of a range at once, by blocks where all of one fare alike: the same as one by one."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from twins import difference

import cascade as cs
from cascade import _index


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
    engine = next(engine for idle in market._derived.engines.values() for engine in idle)
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


@pytest.mark.fast
@pytest.mark.parametrize("bits", [10, 40, 53, 57])
def test_what_is_known_of_a_block_holds_for_all_of_it(bits):
    rng = random.Random(bits)
    for sign in (1, -1):
        lots = np.array([sign * rng.randint(1, 2 ** rng.choice((1, 10, bits))) for _ in range(330)])
        lots[rng.sample(range(330), 40)] = 0  # who are no singles
        near = rng.randint(1, 2**12)  # most prices are close together
        prices = [near + rng.choice((0, 0, 1, -1)) for _ in lots]
        basis = np.array([size * p % 2**bits + p % 2 for size, p in zip(lots.tolist(), prices, strict=True)])
        balance = np.array([rng.randint(-10, 2 ** rng.choice((3, bits))) for _ in lots])
        singles = np.column_stack([lots, basis, balance, np.arange(330) % 2])
        singles[lots == 0] = 0
        blocks = _index.sum_blocks(singles)
        assert blocks.shape == (20, 8)
        for k, (both, traded, held, paid, money, owe, stand, fall) in enumerate(blocks.tolist()):
            own = [row for row in singles[16 * k : 16 * k + 16].tolist() if row[0]]
            assert both == len(own) + (sum(row[3] for row in own) << 32)
            assert [traded, held] == [sum(abs(row[0]) for row in own), sum(row[0] for row in own)]
            assert [paid, money] == [sum(row[1] for row in own), sum(row[2] for row in own)]
            for size, cost, rest, _ in own:
                size = abs(size)
                assert size * (owe + 1) + cost > 0
                assert rest - cost - size * (stand - 1) > 0
                assert rest - cost - size * (fall + 1) < 0
            # And no more is left out than rounding makes unsure.
            unsure = 5 + max((abs(row[1]) + abs(row[2])) / abs(row[0]) for row in own) / 2**48
            assert owe - max(-row[1] / abs(row[0]) for row in own) < unsure
            assert min((row[2] - row[1]) / abs(row[0]) for row in own) - stand < unsure


@pytest.mark.fast
def test_nothing_is_known_of_a_block_whose_sums_could_leave_int64():
    singles = np.ones((48, 4), np.int64)
    singles[20, 2] = 2**58
    assert (_index.sum_blocks(singles)[:, 1] == [16, 2**63 - 1, 16]).all()
    assert _index.sum_blocks(singles[:15]).shape == (0, 8)
