"""The short way of accounts with several positions, in summary runs: the same as every other way."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import random_cross
import random_markets
from twins import difference, looking, planted

import cascade as cs
from cascade import _core

BY_COUNTS, BY_SCAN = 0, 2
REFUSED = ("vault_below", "adl_below", "notional_per_step", "fund_per_step", "bankruptcy_share")
"""Rules under which nobody is served this way."""


def crowd(seed: int) -> tuple[cs.Market, cs.Shock, dict]:
    """A random market of cross margin, nobody's orders in its books.

    Some accounts own isolated positions, are in hedge mode, hold collateral or have one position.
    """
    rng = random.Random(f"several {seed}")
    s = random_cross.spec(seed)
    s["orders"] = [[(*o[:4], None) for o in orders] for orders in s["orders"]]
    rules = s["rules"]
    for name in ("capacity", "clearing", "breakers"):
        rules.pop(name, None)
    if rng.random() < 0.9:
        rules["size"] = rng.choice(("whole", "all"))
        rules["offset_hedges"] = rng.random() < 0.05
        for name in REFUSED:
            rules.pop(name, None)
        if rules.get("order_price") == "fillable":
            rules["order_price"] = "bankruptcy"
        if rules.get("queue") == "fillable" and rng.random() < 0.5:
            rules["queue"] = "ratio"
        if rules.get("maintenance_fee") == "taker_at_bankruptcy":
            rules["maintenance_fee"] = rng.choice(("none", "taker"))
    if rng.random() < 0.5:
        rules["shortfall"] = rng.choice((("fund",), (), ("vault", "fund"), ("fund", "socialise")))
    n = len(s["instruments"])
    mids = [bids[0][0] for bids, _, _ in s["books"]]
    risk = rng.choice((0.02, 0.1, 0.3))
    if rng.random() < 0.8:
        part = risk * rng.uniform(0.5, 1.5) * rng.choice((1, 1, 1, -1))
        each = {f"I{i}": -part * rng.random() for i in range(n)}
        s["shock"] = [{"price": rng.choice((-part, each))}]
    ids = [account for account, _ in s["accounts"]]
    new = [9_000 + k for k in range(rng.choice((0, 10)))]
    for account in [*new, *rng.sample(ids, rng.choice((0, 0, len(ids) // 4)))]:
        i = rng.randrange(n)
        lots, entry = (
            rng.randint(1, 9) * rng.choice((1, -1)),
            max(1, round(mids[i] * rng.uniform(0.95, 1.05))),
        )
        margin = None
        if account not in new:
            margin = max(0, round(asked(s["instruments"][i], mids[i], lots, entry, risk * rng.random()), 2))
        s["positions"].append((account, i, lots, entry, margin, "both"))
    balance = dict.fromkeys([*ids, *new], 0.0)
    for account, i, lots, entry, margin, _ in s["positions"]:
        if margin is None:
            balance[account] += asked(
                s["instruments"][i], mids[i], lots, entry, risk * rng.uniform(-0.2, 0.7)
            )
    s["accounts"] = [(account, round(money, 2)) for account, money in balance.items()]
    for bids, asks, _ in s["books"]:
        deeper = rng.choice((1, 1, 5, 40))
        for levels in (bids, asks):
            levels[:] = [(price, lots * deeper) for price, lots in levels]
    return random_markets.build(s)


def asked(instrument: dict, mid: int, lots: int, entry: float, more: float) -> float:
    """About what a position has lost and needs at its steepest rate, and a part of its notional more."""
    price = mid * instrument["tick_size"]
    size = abs(lots) * instrument["lot_size"] * instrument["multiplier"]
    notional = size * price if instrument["contract"] == "linear" else size / price
    tiers = instrument["tiers"] or 0.0
    rate = tiers if isinstance(tiers, float) else max(tier[3] for tier in tiers)
    asked_on = size if instrument["contract"] == "linear" else notional
    rate += instrument.get("maintenance_slope", 0) * asked_on + max(0, instrument["taker_fee"])
    lost = (entry - mid) / mid * (1 if lots > 0 else -1)
    return notional * (lost + rate + more)


def served(market: cs.Market) -> int:
    """Turns of the latest run that took the short way."""
    return sum(engine.several_served for idle in market._derived.engines.values() for engine in idle)


def check(seed: int, found: Counter) -> None:
    market, shock, run = crowd(seed)
    try:
        whole = market.run(shock, record="all", audit="full", **run)
    except cs.CascadeError as e:
        with pytest.raises(type(e)):
            market.run(shock, record="summary", **run)
        return
    assert served(market) == 0
    turns = 0
    for way, audit in ((BY_SCAN, "delta"), (BY_COUNTS, "full"), (BY_SCAN, "full")):
        with looking(way):
            part = market.run(shock, record="summary", audit=audit, **run)
        turns = max(turns, served(market))
        text = difference(whole, part, ("all", "summary"))
        assert not text, f"seed {seed}, way {way}: {text}"
    if turns:
        count(market, run["rules"], whole, turns, found)
    if seed % 20 == 0:
        reference = market.run(shock, record="summary", engine="reference", **run)
        text = difference(whole, reference, ("core", "reference"))
        assert not text, f"seed {seed}: {text}"


def count(market: cs.Market, rules: cs.VenueRules, whole: cs.Result, turns: int, found: Counter) -> None:
    """What happened beside the turns that took the short way, to see that tests come to everything."""
    rows, state = whole._data.liquidations, market.state()
    held = np.bincount(state.row_account, minlength=len(state.account_balance))
    of_turn, orders = np.unique(rows["seq"], return_counts=True)
    account = rows["account"][np.searchsorted(rows["seq"], of_turn)]
    several = held[account] > 1
    found["markets"] += 1
    found["turns"] += turns
    found["others beside them"] += len(of_turn) > turns
    found["ended before all were closed"] += bool((several & (orders < held[account])).any())
    found["an order not filled whole"] += bool(((rows["left"] > 0) | (rows["adl"] > 0)).any())
    found["hedge mode"] += bool((state.row_slot > 0).any())
    found["isolated beside them"] += bool((state.account_parent >= 0).any())
    found["collateral"] += len(state.holdings) > 0
    found["inverse"] += any(i.contract == "inverse" for i in market.instruments)
    found["bankruptcy price"] += rules.order_price == "bankruptcy"
    found["several waves"] += bool((rows["wave"] > 1).any())
    for name in ("shortfall", "fund", "socialised", "deficit", "fee", "surplus", "adl"):
        found[name] += bool((rows[name] > 0).any())


@pytest.mark.fast
def test_a_few_markets():
    found: Counter = Counter()
    for seed in range(40):
        check(seed, found)
    assert found["turns"] > 40, found


def test_many_markets_and_every_case_occurs():
    found: Counter = Counter()
    for seed in range(100, 1_000):
        check(seed, found)
    assert found["turns"] > 600, found
    assert all(n >= 10 for n in found.values()), found


@pytest.fixture
def pairs_on_ladders():
    """Accounts with a long in each of two instruments, each with more money than the last."""
    market = cs.Market([cs.Instrument(x, tick_size=1, lot_size=1, tiers=0.003) for x in "AB"], fund=30)
    price = np.arange(1_000, 800, -1)
    for name in "AB":
        market.load_book(
            name,
            {"price": price, "quantity": np.ones(200)},
            {"price": [1_001], "quantity": [1]},
            complete=True,
        )
    k = np.arange(60)
    market.load_accounts({"account": k, "balance": 10.0 + k})
    market.load_positions(
        {
            "account": np.repeat(k, 2),
            "instrument": ["A", "B"] * 60,
            "size": np.ones(120),
            "entry_price": np.full(120, 1_000),
        }
    )
    return market, cs.Shock(orders={"A": -20, "B": -10})


@pytest.mark.fast
@pytest.mark.parametrize("size", ["whole", "all"])
@pytest.mark.parametrize("queue", ["ratio", "largest", "fifo", "trigger_price"])
def test_pairs_go_in_waves(pairs_on_ladders, size, queue):
    market, shock = pairs_on_ladders
    rules = cs.VenueRules(mark="last", size=size, queue=queue)
    whole, part = (market.run(shock, rules=rules, record=record) for record in ("all", "summary"))
    assert served(market) > 20
    assert not difference(whole, part, ("all", "summary"))
    assert not difference(whole, market.run(shock, rules=rules, engine="reference"))
    assert whole.summary["waves"] > 1


@pytest.mark.canary
@pytest.mark.skipif(not _core.TESTING, reason="needs a build with CASCADE_TESTING=1")
def test_money_that_is_lost_on_the_short_way_is_noticed(pairs_on_ladders):
    market, shock = pairs_on_ladders
    market.run(shock, record="summary")
    assert served(market) > 10
    market.run(shock, record="all")  # an engine is made with a bug when its run begins
    with planted(1), pytest.raises(cs.AuditError):
        market.run(shock, record="summary")


@pytest.mark.fast
def test_a_simulation_and_its_copy_go_on_from_what_the_short_way_left(pairs_on_ladders):
    market, shock = pairs_on_ladders
    results = {}
    for record in ("summary", "all"):
        sim = market.start(record=record)
        sim.apply(shock)
        sim.step()
        sims = [sim, sim.copy()]
        for one in sims:
            one.settle()
            one.apply(cs.Shock(cash={3: 5.0, 50: -3.0}, orders={"A": -5}))
            one.settle()
        results[record] = [one.result() for one in sims]
    for k in range(2):
        assert not difference(results["all"][k], results["summary"][k], ("all", "summary"))


@pytest.mark.fast
def test_who_was_closed_is_not_found_again_when_the_index_is_asked():
    """A scan finds most; later few are near, and the index of safe moves still names those who are gone."""
    market = cs.Market(
        [cs.Instrument(x, tick_size="0.01", lot_size=1, tiers=0.003) for x in "AB"], fund=1_000
    )
    for name in "AB":
        level = {"quantity": [1e6]}
        market.load_book(name, {"price": [99.99], **level}, {"price": [100.01], **level}, complete=True)
    k = np.arange(400)
    market.load_accounts({"account": k, "balance": np.round(np.geomspace(1, 50, 400), 2)})
    market.load_positions(
        {
            "account": np.repeat(k, 2),
            "instrument": ["A", "B"] * 400,
            "size": np.ones(800),
            "entry_price": np.full(800, 100.0),
        }
    )
    market.set_prices(last={"A": 100, "B": 100}, index={"A": 100, "B": 100})
    rules = cs.VenueRules(mark="index", size="all")
    results = []
    for record in ("all", "summary"):
        sim = market.start(rules=rules, record=record)
        for part in (-0.03, 0.031, -0.03, -0.002, 0.05, -0.06):
            sim.apply(cs.Shock(index={"A": part, "B": part}))
            sim.settle()
        results.append(sim.result())
    assert not difference(*results, ("all", "summary"))
    assert sim._engine.several_served > 100


@pytest.mark.fast
def test_what_comes_in_the_middle_of_a_step_finds_ordinary_accounts():
    """An interrupt leaves a step half done; an account then rests an order that those who wait will hit."""
    n = 6_000
    market = cs.Market([cs.Instrument(x, tick_size=1, lot_size=1, tiers=0.003) for x in "AB"], fund=1_000_000)
    for name in "AB":
        bids = {"price": np.arange(100_000, 70_000, -1), "quantity": np.full(30_000, 3)}
        market.load_book(name, bids, {"price": [100_001], "quantity": [1]}, complete=True)
    k = np.arange(n)
    market.load_accounts({"account": [*k.astype(str), "maker"], "balance": [*(4_000.0 + k % 37), 1e6]})
    market.load_positions(
        {
            "account": np.repeat(k.astype(str), 2), "instrument": ["A", "B"] * n,
            "size": np.ones(2 * n), "entry_price": np.full(2 * n, 100_000),
        }
    )  # fmt: skip
    order = np.zeros(1, cs.ORDER_DTYPE)
    order["order_id"], order["side"], order["quantity"], order["owner"] = 1, 1, 500, market.owner("maker")
    results = []
    for record in ("all", "summary"):
        sim = market.start(cs.Shock(price=-0.02), record=record)
        engine = sim._engine
        engine.cancelled = True
        with pytest.raises(cs.Cancelled):
            sim.step()
        engine.cancelled = False
        assert (0 < engine.several_served < n) == (record == "summary")
        order["price"] = int(sim.mark("A"))
        sim.submit("A", order)
        sim.apply(cs.Shock(cash={"17": -50.0}))
        sim.settle()
        results.append(sim.result())
    assert not difference(*results, ("all", "summary"))
