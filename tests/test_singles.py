"""The short way of accounts with one position, in runs that keep no events: the same as every other way."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import random_markets
from twins import difference, planted

import cascade as cs
from cascade import _core


def crowd(seed: int) -> tuple[cs.Market, cs.Shock, dict]:
    """A random market of many accounts with one position, nobody's orders in its books."""
    rng = random.Random(f"singles {seed}")
    s = random_markets.spec(seed, turns=rng.random() < 0.2, breakers=False)
    for name in ("capacity", "clearing"):
        s["rules"].pop(name, None)
    if rng.random() < 0.85:
        s["rules"] |= {"size": rng.choice(("whole", "all"))}
        for name in ("vault_below", "adl_below", "notional_per_step", "fund_per_step", "bankruptcy_share"):
            s["rules"].pop(name, None)
        if s["rules"].get("order_price") == "fillable":
            s["rules"]["order_price"] = "bankruptcy"
        if s["rules"].get("queue") == "fillable" and rng.random() < 0.5:
            s["rules"]["queue"] = "ratio"
    s["orders"] = [[(*o[:4], None) for o in orders] for orders in s["orders"]]
    if rng.random() < 0.3:
        s["rules"]["mark"] = "last"
    if rng.random() < 0.7:
        i = rng.randrange(len(s["instruments"]))
        s["shock"] = [{"orders": {f"I{i}": rng.choice((1, -1)) * rng.choice((20, 60, 200))}}]
    texts = isinstance(s["accounts"][0][0], str)
    risk = rng.choice((0.02, 0.1, 0.3))
    for k in range(rng.choice((5, 60, 120))):
        account = f"single {k}" if texts else 1000 + k
        i = rng.randrange(len(s["instruments"]))
        mid, worth = s["prices"][i][1], s["prices"][i][1] * 1.5
        lots = rng.choice((1, 2, rng.randint(1, 9))) * rng.choice((1, 1, -1))
        isolated = rng.random() < 0.6
        money = round(abs(lots) * worth * rng.uniform(0.5, 5) * risk, 2)
        entry = max(0.5, round(mid * (1 + rng.uniform(-0.5, 0.5) * risk), rng.choice((0, 1))))
        side = rng.choice(("both", "both", "long" if lots > 0 else "short"))
        s["accounts"].append((account, rng.choice((0, 0, 1)) if isolated else money))
        s["positions"].append((account, i, lots, entry, money if isolated else None, side))
    for bids, asks, _ in s["books"]:
        for levels, side in ((bids, -1), (asks, 1)):
            levels[:] = [(price, lots * rng.choice((1, 5, 40, 200))) for price, lots in levels]
            for _ in range(rng.choice((0, 10, 40)) if levels else 0):
                price = levels[-1][0] + side * rng.choice((1, 1, 2))
                levels += [(price, rng.choice((3, 30, 300)))] if price > 0 else []
    return random_markets.build(s)


def served(market: cs.Market) -> int:
    """Turns of the latest run that took the short way."""
    return sum(engine.singles_served[0] for idle in market._derived.engines.values() for engine in idle)


def check(seed: int, found: Counter) -> None:
    market, shock, run = crowd(seed)
    try:
        whole = market.run(shock, record="all", audit="full", **run)
    except cs.CascadeError as e:
        with pytest.raises(type(e)):
            market.run(shock, record="summary", **run)
        return
    assert served(market) == 0
    for record, audit in (
        ("summary", "delta"),
        ("liquidations", "full"),
        ("liquidations", "delta"),
        ("summary", "full"),
    ):
        part = market.run(shock, record=record, audit=audit, **run)
        text = difference(whole, part, ("all", record))
        assert not text, f"seed {seed}: {text}"
    if served(market):
        rows = whole.liquidations
        found["markets"] += 1
        found["turns"] += served(market)
        found["others beside them"] += len(np.unique(rows["seq"])) > served(market)
        found["shortfall"] += bool((rows["shortfall"] > 0).any())
        found["deleveraged"] += bool((rows["adl"] > 0).any())
        found["fee"] += bool((rows["fee"] > 0).any())
        found["socialised"] += bool((rows["socialised"] > 0).any())
        found["surplus"] += bool((rows["surplus"] > 0).any())
        found["inverse"] += any(i.contract == "inverse" for i in market.instruments)
    if seed % 20 == 0:
        reference = market.run(shock, record="summary", engine="reference", **run)
        text = difference(whole, reference, ("core", "reference"))
        assert not text, f"seed {seed}: {text}"


@pytest.mark.fast
def test_a_few_markets():
    for seed in range(40):
        check(seed, Counter())


def test_many_markets_and_every_case_occurs():
    found: Counter = Counter()
    for seed in range(100, 1_000):
        check(seed, found)
    assert found["turns"] > 600, found
    assert all(found[name] >= 10 for name in (
        "markets", "others beside them", "shortfall", "deleveraged", "fee", "socialised", "surplus", "inverse"
    )), found  # fmt: skip


@pytest.mark.canary
@pytest.mark.skipif(not _core.TESTING, reason="needs a build with CASCADE_TESTING=1")
def test_money_that_is_lost_on_the_short_way_is_noticed(longs_on_a_ladder):
    market, shock = longs_on_a_ladder
    market.run(shock, record="summary")
    assert served(market) > 10
    market.run(shock, record="all")  # an engine is made with a bug when its run begins
    with planted(1), pytest.raises(cs.AuditError):
        market.run(shock, record="summary")


@pytest.fixture
def longs_on_a_ladder():
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    price = np.arange(1_000, 900, -1)
    market.load_book(
        "X", {"price": price, "quantity": np.ones(100)}, {"price": [1_001], "quantity": [1]}, complete=True
    )
    n = np.arange(20)
    market.load_positions(
        {
            "account": n,
            "instrument": np.full(20, "X"),
            "size": np.ones(20),
            "entry_price": 1_000.0 - n,
            "margin": np.full(20, 20.0),
        }
    )
    return market, cs.Shock(orders={"X": -30})


@pytest.mark.fast
def test_a_simulation_goes_on_from_what_the_short_way_left(longs_on_a_ladder):
    market, shock = longs_on_a_ladder
    results = {}
    for record in ("summary", "all"):
        sim = market.start(record=record)
        sim.apply(shock)
        sim.settle()
        sim.apply(cs.Shock(cash={3: 5.0}, orders={"X": -5}))
        sim.settle()
        results[record] = sim.result()
    assert not difference(results["all"], results["summary"], ("all", "summary"))


@pytest.mark.fast
def test_what_an_owner_who_owes_gets_counts_at_once():
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, tiers=0.003), fund=1_000)
    price = np.arange(1_000, 900, -1)
    asks = {"price": [1_001], "quantity": [1]}
    market.load_book("X", {"price": price, "quantity": np.ones(100)}, asks, complete=True)
    market.load_accounts({"account": ["owner", "other"], "balance": [0.0, 0.0]})
    market.load_positions(
        {
            "account": ["owner", "other", "other"], "instrument": ["X"] * 3, "size": [1, 1, 1],
            "entry_price": [1_000, 1_000, 1_000], "margin": [5.0, 5.0, 5.5],
            "position_side": ["both", "long", "both"],
        }
    )  # fmt: skip
    rules = cs.VenueRules(trigger="le", queue="largest")
    for cash in ({"owner": -2.0}, {"other": -3.0}, {"owner": -1.0, "other": -50.0}):
        for price in (-0.002, -0.003, -0.006):
            shock = cs.Shock(price=price, cash=cash)
            whole, part = (market.run(shock, rules=rules, record=record) for record in ("all", "summary"))
            assert not difference(whole, part, ("all", "summary"))


@pytest.mark.fast
def test_what_comes_to_an_owner_after_its_own_position_closed_is_not_lost():
    """An account with a position of its own gets what its isolated position leaves, in the same step."""
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, tiers=0.003), fund=1_000)
    price = np.arange(1_000, 900, -1)
    asks = {"price": [1_001], "quantity": [1]}
    market.load_book("X", {"price": price, "quantity": np.ones(100)}, asks, complete=True)
    market.load_accounts({"account": ["owner"], "balance": [5.0]})
    market.load_positions(
        {
            "account": ["owner", "owner"], "instrument": ["X"] * 2, "size": [1, 1],
            "entry_price": [1_000, 1_000], "margin": [np.nan, 5.0],
        }
    )  # fmt: skip
    for queue in ("ratio", "largest", "fifo"):
        rules, shock = cs.VenueRules(queue=queue), cs.Shock(price=-0.003)
        whole = market.run(shock, rules=rules, record="all")
        assert whole.liquidations["margin_mode"].tolist() == ["cross", "isolated"]
        for audit in ("delta", "full"):
            part = market.run(shock, rules=rules, record="summary", audit=audit)
            assert not difference(whole, part, ("all", "summary"))


@pytest.mark.parametrize("record", ["summary", "liquidations"])
def test_what_comes_in_the_middle_of_a_step_finds_ordinary_accounts(record):
    """An interrupt leaves a step half done; an account then rests an order that those who wait will hit."""
    n = 6_000
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, tiers=0.003), fund=1_000_000)
    asks = {"price": [100_001], "quantity": [1]}
    bids = {"price": np.arange(100_000, 70_000, -1), "quantity": np.full(30_000, 3)}
    market.load_book("X", bids, asks, complete=True)
    market.load_accounts({"account": ["maker", "owner"], "balance": [1e6, 0.0]})
    market.load_positions(
        {
            "account": np.append(np.arange(n - 1).astype(str), "owner"), "instrument": np.full(n, "X"),
            "size": np.ones(n), "entry_price": np.full(n, 100_000), "margin": 2_000.0 + np.arange(n) % 37,
        }
    )  # fmt: skip
    order = np.zeros(1, cs.ORDER_DTYPE)
    order["order_id"], order["side"], order["quantity"], order["owner"] = 1, 1, 500, market.owner("maker")
    results = []
    for kept in ("all", record):
        sim = market.start(cs.Shock(price=-0.02), record=kept)
        engine = sim._engine
        engine.cancelled = True
        with pytest.raises(cs.Cancelled):
            sim.step()
        engine.cancelled = False
        assert (0 < engine.singles_served[0] < n - 1) == (kept == record)
        order["price"] = int(sim.mark("X"))
        sim.submit("X", order)
        sim.apply(cs.Shock(cash={"owner": -50.0}))
        sim.settle()
        assert sim.position(market.owner("maker")) == {"X": 500}
        results.append(sim.result())
    assert not difference(*results, ("all", record))
