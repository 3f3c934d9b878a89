"""Turns of singles that are taken together in runs that keep summaries alone: the same as one by one.

Markets here have few instruments, one tier each, and many positions whose keys are close or equal, in quanta
so large that rounding decides who comes first.
"""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from twins import difference, planted

import cascade as cs
from cascade import _bulk, _core


def herd(seed: int, most: int = 300) -> tuple[cs.Market, cs.Shock]:
    """A random market of singles, with few others among them, and a shock."""
    rng = random.Random(f"herd {seed}")
    n = rng.choice((30, 100, most))
    tick, lot = rng.choice(((0.1, 0.001), (0.01, 0.01), (0.001, 0.001), (1, 1)))
    mid = rng.choice((1_000, 10_000, 61_234))
    rate = rng.choice((0.004, 0.005, 0.01, 0.05, 0.4))
    fees = {}
    if rng.random() < 0.3:
        fees = {"taker_fee": rng.choice((0.0005, 0.00031)), "liquidation_fee": rng.choice((0, 0.0013))}
    names = ["X", "Y"] if rng.random() < 0.15 else ["X"]
    instruments = [cs.Instrument(name, tick_size=tick, lot_size=lot, tiers=rate, **fees) for name in names]
    rules = cs.VenueRules(
        mark=rng.choice(("last", "last", "mid", "book_median")),
        trigger=rng.choice(("lt", "le")),
        size=rng.choice(("whole", "all")),
        order_price=rng.choice(("market", "market", "bankruptcy")),
        surplus=rng.choice(("account", "account", "fund", "vault")),
        fee_to=rng.choice(("fund", "venue")),
        fee_cap=rng.choice(("equity", "improvement")),
        shortfall=rng.choice((("fund",), ("fund",), (), ("vault", "fund"), ("fund", "socialise"))),
        residual=rng.choice((("fund_walk", "adl"), ("adl",), ())),
        queue="fifo" if rng.random() < 0.05 else "ratio",
    )
    vault = 1_000.0 if rules.surplus == "vault" or "vault" in rules.shortfall else 0
    worth = mid * tick * lot
    fund = rng.choice((0, 5, 100, 10_000)) * worth
    market = cs.Market(instruments, rules=rules, fund=round(fund, 2), vault=vault)
    depth = rng.choice((5, 20, 50, 500))
    reach = rng.choice((0.002, 0.01, 0.05))
    step = max(1, int(mid * reach / rng.choice((20, 60, 200))))
    for name in names:
        ticks = np.arange(1, 200)
        sizes = [rng.randint(1, 2 * depth) for _ in ticks]
        bids = {"price": (mid - ticks * step) * tick, "quantity": np.array(sizes) * lot}
        asks = {"price": (mid + ticks * step) * tick, "quantity": np.array(sizes[::-1]) * lot}
        keep = bids["price"] > 0
        bids = {key: values[keep] for key, values in bids.items()}
        market.load_book(name, bids, asks, complete=rng.random() < 0.8)
    side = rng.choice((1, 1, -1, 0))
    entries = [mid * (1 - (side or 1) * reach * rng.random()) for _ in range(rng.choice((3, 20, n)))]
    powers = [1 / (rate + reach * rng.uniform(0.05, 3)) for _ in range(rng.choice((2, 5, n)))]
    others = rng.choice((0, 0.1))
    accounts: list[tuple[str, float]] = []
    rows = []
    for k in range(n):
        name, lots = rng.choice(names), rng.choice((1, 2, 3, rng.randint(1, 30)))
        entry = rng.choice(entries)
        entry = round(entry) if rng.random() < 0.8 else entry
        money = lots * worth * entry / mid / max(1.01, rng.choice(powers))
        money = round(money, 6 if money < 1 else rng.choice((2, 4, 6)))
        isolated = rng.random() < 0.6
        account = f"a{k}"
        if isolated and rng.random() < 0.1 and k:
            account = f"a{rng.randrange(k)}"  # an owner who may hold something
        if not isolated:
            accounts.append((account, money))
        lots *= side or rng.choice((1, -1))
        if rng.random() < others:  # somebody to deleverage
            lots, money = -lots, round(abs(lots) * worth, 2)
        rows.append((account, name, lots * lot, entry * tick, money if isolated else np.nan))
    rows = list({(row[0], row[1], np.isnan(row[4])): row for row in rows}.values())
    known = dict(accounts)
    if known:
        market.load_accounts({"account": list(known), "balance": list(known.values())})
    columns = zip(*rows, strict=True)
    names_of = ("account", "instrument", "size", "entry_price", "margin")
    market.load_positions({key: list(values) for key, values in zip(names_of, columns, strict=True)})
    sold = rng.choice((5, 30, 100)) * depth
    orders = {name: -(side or 1) * sold * lot for name in names if name == "X" or rng.random() < 0.5}
    return market, cs.Shock(orders=orders)


def served(market: cs.Market) -> np.ndarray:
    """Turns of the latest run on the short way; of them, taken together in order, and without one."""
    return np.sum([engine.singles_served for idle in market._engines.values() for engine in idle], axis=0)


def check(seed: int, found: Counter, reference: bool = False) -> None:
    market, shock = herd(seed, 60 if reference else 300)
    whole = market.run(shock, record="all")
    assert served(market)[0] == 0
    part = market.run(shock, record="summary", audit="full" if seed % 7 == 0 else "delta")
    text = difference(whole, part, ("all", "summary"))
    assert not text, f"seed {seed}: {text}"
    singles, batched, ranged = served(market)
    assert batched + ranged <= singles <= max(singles, len(whole.liquidations["seq"]))
    found["batched"] += batched
    found["ranged"] += ranged
    rows = whole.liquidations
    if ranged:
        found["ranges"] += 1
        found["ranges, others beside them"] += len(rows["seq"]) > singles
        found["ranges, one by one"] += singles > batched + ranged
        found["ranges, shortfall"] += bool((rows["shortfall"] > 0).any())
        found["ranges, deficit"] += bool((rows["deficit"] > 0).any())
        found["ranges, fee"] += bool((rows["fee"] > 0).any())
        found["ranges, surplus"] += bool((rows["surplus"] > 0).any())
        found["ranges, deleveraged"] += bool((rows["adl"] > 0).any())
        found["ranges, shorts"] += bool((rows["side"] == "buy").any())
        found["ranges, two instruments"] += len(np.unique(rows["instrument"])) > 1
    if reference:
        slow = market.run(shock, record="summary", engine="reference")
        text = difference(whole, slow, ("core", "reference"))
        assert not text, f"seed {seed}: {text}"


@pytest.mark.fast
def test_a_few_markets():
    found: Counter = Counter()
    for seed in range(60):
        check(seed, found, seed % 10 == 0)
    assert found["ranged"] > 100 and found["batched"] > 100, found


def test_many_markets_and_every_case_occurs():
    found: Counter = Counter()
    for seed in range(100, 1_500):
        check(seed, found, seed % 25 == 0)
    cases = (
        "others beside them", "one by one", "shortfall", "deficit", "fee", "surplus", "deleveraged", "shorts",
    )  # fmt: skip
    assert all(found[f"ranges, {case}"] >= 5 for case in cases), found
