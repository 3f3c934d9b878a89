"""Turns of singles that are taken together in runs that keep summaries alone: the same as one by one.

Markets here have few instruments, one tier each, and many positions whose keys are close or equal, in quanta
so large that rounding decides who comes first.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from twins import difference, planted

import cascade as cs
from cascade import _core, _index


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
    engines = [engine for idle in market._derived.engines.values() for engine in idle]
    return np.sum([engine.singles_served for engine in engines], axis=0)


def check(seed: int, found: Counter, reference: bool = False) -> None:
    market, shock = herd(seed, 60 if reference else 300)
    whole = market.run(shock, record="all")
    assert served(market)[0] == 0
    part = market.run(shock, record="summary", audit="full" if seed % 7 == 0 else "delta")
    text = difference(whole, part, ("all", "summary"))
    assert not text, f"seed {seed}: {text}"
    singles, batched, ranged = served(market)
    assert batched + ranged <= singles <= max(singles, len(whole.liquidations["seq"]))
    part = market.run(shock, record="liquidations")
    text = difference(whole, part, ("all", "liquidations"))
    assert not text, f"seed {seed}: {text}"
    found["recorded"] += served(market)[1]
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
    assert min(found[name] for name in ("ranged", "batched", "recorded")) > 100, found


def test_many_markets_and_every_case_occurs():
    found: Counter = Counter()
    for seed in range(100, 1_500):
        check(seed, found, seed % 25 == 0)
    cases = (
        "others beside them", "one by one", "shortfall", "deficit", "fee", "surplus", "shorts",
    )  # fmt: skip
    assert all(found[f"ranges, {case}"] >= 5 for case in cases), found
    assert found["ranges, deleveraged"], found


def ratio(lots: int, basis: int, balance: int, coef: int, rate: Fraction, mark: int) -> Fraction:
    """Equity over maintenance as the engines round them."""
    value = lots * coef * mark // 1024
    return Fraction(balance + value - basis, math.ceil(rate * abs(value)))


def trigger(row: tuple[int, ...], step: Fraction) -> Fraction:
    """The trigger price in ticks, not rounded; equity less maintenance gains `step` a lot and tick."""
    return Fraction(row[1] - row[2], row[0]) / step if row[0] else Fraction(0)


@pytest.mark.fast
@pytest.mark.parametrize("falling", [True, False])
def test_cuts_part_those_whose_order_is_sure(falling):
    """Whoever stands in front of a cut has a smaller ratio at every mark at which the cut holds."""
    rng, cuts = random.Random(f"cuts {falling}"), Counter()
    for _ in range(300):
        coef, rate, n = rng.choice((1, 7, 100)), Fraction(rng.choice((4, 50, 400)), 1000), rng.randint(1, 40)
        top = rng.choice((2_000, 50_000, 600_000)) * rng.choice((1, 30))
        rows = []
        for _ in range(n):
            lots, entry = rng.choice((1, 2, rng.randint(1, 500))), top - rng.randrange(max(2, top // 500))
            basis = lots * coef * entry
            money = int(basis * (rate + Fraction(rng.randint(0, 20), 1000)))
            lots = lots if falling else -lots
            rows.append((lots if rng.random() < 0.9 else 0, basis if falling else -basis, money, 0))

        step = coef * (1 - rate if falling else 1 + rate)
        rows.sort(key=lambda row, step=step: trigger(row, step), reverse=falling)
        singles = np.array(rows, np.int64)
        least, others = _index.mark_cuts(singles, coef, float(rate), falling)
        assert others == sum(row[0] == 0 for row in rows)
        assert least == min((abs(row[0]) for row in rows if row[0]), default=0)
        if least == 0:
            continue
        flags = singles[:, 3] >> 8 & 3
        for _ in range(6):
            mark = int(rng.choice([trigger(row, step) for row in rows if row[0]]) * 1024) + rng.randint(
                -9_000, 9_000
            )
            mark -= rng.choice((0, 0, 40_000)) if falling else -rng.choice((0, 0, 40_000))
            if mark <= 0 or rate * coef * least * mark < 1024 * 101:
                continue
            found = [ratio(*row[:3], coef, rate, mark) if row[0] else None for row in rows]
            known = [x for x in found if x is not None]
            for level, most in ((1, 2), (2, 48)):
                if min(known) < -most:
                    continue
                for k in range(n):
                    front = [x for x in found[:k] if x is not None and x <= 1]
                    back = [x for x in found[k:] if x is not None]
                    if flags[k] & level and front and back:
                        cuts[level] += 1
                        assert max(front) < min(back)
    assert min(cuts[1], cuts[2]) > 200, cuts


@pytest.mark.fast
@pytest.mark.parametrize("falling", [True, False])
def test_cuts_know_what_float64_does_to_large_values(falling):
    """Basis beyond 2**53 quanta: triggers closer to one another than float64 tells, listed as it has them."""
    rng, sure = random.Random(f"large {falling}"), 0
    rate, sign = Fraction(1, 20), 1 if falling else -1
    step = 1 - rate if falling else 1 + rate
    for _ in range(300):
        least, price = rng.choice((1_000, 4_096)), 2 ** rng.choice((40, 45, 47)) + rng.randrange(2**20)
        rows = []
        for _ in range(30):
            lots = sign * (least + rng.randrange(3))
            basis = lots * (price + rng.randrange(price // 100))
            rows.append((lots, basis, int(basis - lots * price * step) + rng.randrange(400), 0))
        rows.sort(key=lambda row: -sign * float(trigger(row, step)))
        singles = np.array(rows, np.int64)
        _index.mark_cuts(singles, 1, float(rate), falling)
        mark = int(price * 1024 * rng.choice((1, 1 - sign * 0.02)))
        found = [ratio(*row[:3], 1, rate, mark) for row in rows]
        for k in np.flatnonzero(singles[1:, 3] >> 8 & 3) + 1:
            sure += 1
            assert max(found[:k]) < min(found[k:])
    assert sure > 100


@pytest.mark.fast
@pytest.mark.parametrize("side", [1, -1])
def test_accounts_without_a_trigger_price_are_looked_at(side):
    """From 2**52 ticks on a trigger does not fit: every mark reaches its account, which may be healthy."""
    tick, mid, n = Decimal("0.001"), 4_600_000_000_000_000, 60
    market = cs.Market(cs.Instrument("X", tick_size=tick, lot_size=tick, tiers="0.05"))
    away = [tick * int(mid // 1_000 * k) for k in range(1, 100)]
    quantity = [Decimal(1)] * len(away)
    bids = {"price": [tick * mid - x for x in away], "quantity": quantity}
    asks = {"price": [tick * mid + x for x in away], "quantity": quantity}
    market.load_book("X", bids, asks, complete=True)
    market.load_positions(
        {
            "account": list(range(n)), "instrument": ["X"] * n, "size": [side * tick] * n,
            "entry_price": [tick * mid] * n,
            "margin": [tick * tick * mid * (52 + 2 * k) / 1_000 for k in range(n)],
        }
    )  # fmt: skip
    for size in ("0.5", "5.5", "40"):
        shock = cs.Shock(orders={"X": -side * Decimal(size)})
        whole, *parts = (market.run(shock, record=record) for record in ("all", "summary", "liquidations"))
        assert len(whole.liquidations["seq"]) < n
        for part in parts:
            text = difference(whole, part, ("all", part._record))
            assert not text, f"{size}: {text}"


def longs(
    n: int, bids: dict, size, entry, margin, tick: float = 1.0, fund: float = 10**6, **fields
) -> cs.Market:
    """n isolated longs in front of a deep book; sizes in lots, prices and margin in ticks."""
    market = cs.Market(cs.Instrument("X", tick_size=tick, lot_size=tick, tiers=0.005, **fields), fund=fund)
    bids = {"price": np.array(bids["price"]) * tick, "quantity": np.array(bids["quantity"]) * tick}
    market.load_book("X", bids, {"price": [100_001 * tick], "quantity": [tick]}, complete=True)
    margin = np.round(np.broadcast_to(margin, n) * tick * tick, 6)
    market.load_positions(
        {
            "account": np.arange(n), "instrument": np.full(n, "X"),
            "size": np.broadcast_to(size, n) * tick, "entry_price": np.broadcast_to(entry, n) * tick,
            "margin": margin,
        }
    )  # fmt: skip
    return market


def test_equal_keys_in_the_wrong_order():
    """Positions of one leverage: the larger ones are listed behind, by account they come first."""
    n = 40_000
    size = np.arange(n, 0, -1.0) // 20 + 1
    market = longs(n, {"price": [99_999], "quantity": [10**9]}, size, 100_000, size * 1_000, tick=0.001)
    shock = cs.Shock(price=-0.016)  # maintenance is whole
    whole, part = (market.run(shock, record=record) for record in ("all", "liquidations"))
    assert not difference(whole, part, ("all", "liquidations"))
    assert len(whole.liquidations["seq"]) == n == served(market)[1] + 1


def test_a_range_with_others_between_all_of_it():
    n, rng = 50_000, np.random.default_rng(1)
    bids = {"price": [100_000, 90_000], "quantity": [10**9, 10**9]}
    market = longs(n, bids, 1, 100_000, 1_000 + rng.random(n) * 500)
    k = np.arange(n, 2 * n)
    market.load_accounts({"account": k, "balance": 2_000 + rng.random(n) * 1_000})
    market.load_positions(
        {
            "account": np.repeat(k, 2), "instrument": np.full(2 * n, "X"), "size": np.tile([3.0, -1.0], n),
            "entry_price": np.full(2 * n, 100_000.0), "position_side": np.tile(["long", "short"], n),
        }
    )  # fmt: skip
    shock = cs.Shock(price=-0.01)
    whole, part = (market.run(shock, record=record) for record in ("all", "summary"))
    assert not difference(whole, part, ("all", "summary"))
    assert served(market)[2] > n / 4


def test_sums_that_leave_int64():
    """Longs that were bought at a hundred times the price and are backed by as much money."""
    n = 40_000
    margin = 9_900_000 + 1_000 + np.arange(n) % 100
    bids = {"price": [100_000], "quantity": [10**6]}
    market = longs(n, bids, 1, 10_000_000, margin * 200, multiplier=200)
    shock = cs.Shock(price=-0.01)
    whole = market.run(shock, record="all")
    assert len(whole.liquidations["seq"]) == n
    for record in ("summary", "liquidations"):
        part = market.run(shock, record=record)
        assert not difference(whole, part, ("all", record))


@pytest.mark.parametrize("copied", [False, True])
def test_what_comes_in_the_middle_of_a_range_finds_ordinary_accounts(copied):
    """An interrupt leaves a range half served; then an account rests an order that those who wait hit."""
    n = 40_000
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, tiers=0.003), fund=100_000_000)
    asks = {"price": [100_001], "quantity": [1]}
    bids = {"price": np.arange(100_000, 70_000, -1), "quantity": np.full(30_000, 400)}
    market.load_book("X", bids, asks, complete=True)
    market.load_accounts({"account": ["maker", "owner"], "balance": [1e6, 0.0]})
    market.load_positions(
        {
            "account": np.append(np.arange(n - 1).astype(str), "owner"), "instrument": np.full(n, "X"),
            "size": np.ones(n), "entry_price": np.full(n, 100_000), "margin": 2_000.0 + np.arange(n) % 370,
        }
    )  # fmt: skip
    order = np.zeros(1, cs.ORDER_DTYPE)
    order["order_id"], order["side"], order["quantity"], order["owner"] = 1, 1, 500, market.owner("maker")
    results = []
    for record in ("liquidations", "summary"):
        sim = market.start(cs.Shock(price=-0.02), record=record)
        engine = sim._engine
        engine.cancelled = True
        with pytest.raises(cs.Cancelled):
            sim.step()
        engine.cancelled = False
        assert (0 < engine.singles_served[2] < n - 1) == (record == "summary")
        if copied:
            sim = sim.copy()
        order["price"] = int(sim.mark("X"))
        sim.submit("X", order)
        sim.apply(cs.Shock(cash={"owner": -50.0}))
        sim.settle()
        assert sim.position(market.owner("maker")) == {"X": 500}
        results.append(sim.result())
    assert not difference(*results, ("liquidations", "summary"))


@pytest.mark.canary
@pytest.mark.skipif(not _core.TESTING, reason="needs a build with CASCADE_TESTING=1")
def test_money_that_a_range_loses_is_noticed():
    market, shock = herd(0)
    market.run(shock, record="summary")
    assert served(market)[2] > 0
    market.run(shock, record="all")  # an engine is made with a bug when its run begins
    with planted(1), pytest.raises(cs.AuditError):
        market.run(shock, record="summary")


@pytest.mark.fast
@pytest.mark.parametrize("record", ["summary", "liquidations"])
def test_one_who_just_stands_elsewhere_changes_no_way(record):
    """A single of another instrument, at its trigger price to the quantum, is found healthy once."""
    n = 3_000
    served_with = []
    for stands in (False, True):
        market = cs.Market([cs.Instrument(x, tick_size=1, lot_size=1, tiers=0.01) for x in "XY"], fund=1e9)
        for name in "XY":
            bids = {"price": np.arange(10_000, 5_000, -1), "quantity": np.full(5_000, 2 * n)}
            market.load_book(name, bids, {"price": [10_001], "quantity": [1]}, complete=True)
        rows = {
            "account": [f"a{k}" for k in range(n)], "instrument": ["X"] * n, "size": np.ones(n),
            "entry_price": np.full(n, 10_000), "margin": 200.0 + np.arange(n) / 2,
        }  # fmt: skip
        market.load_positions(rows)
        if stands:  # a hundredth of its mark is what it has
            one = {"account": ["y"], "instrument": ["Y"], "size": [1], "entry_price": [10_000]}
            market.load_positions({**one, "margin": [100.0]})
        rules = cs.VenueRules(mark="index", size="all")
        market.set_prices(index={"X": 10_000, "Y": 10_000})
        whole = market.run(cs.Shock(index={"X": -0.08}), rules=rules)
        part = market.run(cs.Shock(index={"X": -0.08}), rules=rules, record=record)
        assert not difference(whole, part, ("all", record))
        assert part.summary["liquidated_accounts"] > 1_000
        served_with.append(served(market).tolist())
    assert served_with[0] == served_with[1]
    assert served_with[0][2 if record == "summary" else 1] > 1_000
