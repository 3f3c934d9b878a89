"""Bugs planted on purpose: each must make the check fire that is there for it.

Needs a test build (CASCADE_TESTING=1).
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import random_markets
from twins import difference, events_difference, planted

import cascade as cs
from cascade import _core

pytestmark = [
    pytest.mark.canary,
    pytest.mark.skipif(not _core.TESTING, reason="not a test build: set CASCADE_TESTING=1 and build again"),
]

LOST_QUANTUM, FEE_TOO_HIGH, LOST_LOT = 1, 2, 3


def taking_profit(fee=0):
    """A market in which the shock's sell closes a part of a short's position at a profit."""
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, taker_fee=fee, maker_fee=fee))
    market.load_accounts({"account": ["short"], "balance": [1000.0]})
    market.load_positions({"account": ["short"], "instrument": ["X"], "size": [-5.0], "entry_price": [100.0]})
    market.load_book("X", {"price": [50], "quantity": [9]}, {"price": [101], "quantity": [9]}, complete=True)
    market.load_orders(
        "X", {"order_id": [1], "account": ["short"], "side": [1], "price": [90], "quantity": [2]}
    )
    return market, cs.Shock(orders={"X": -2})


def test_a_quantum_lost_makes_the_audit_fire():
    market, shock = taking_profit()
    sound = market.run(shock)
    assert sound.audit["conserved"]
    for audit in ("delta", "full"):
        with planted(LOST_QUANTUM), pytest.raises(cs.AuditError, match="not conserved"):
            market.run(shock, audit=audit)
    assert not difference(sound, market.run(shock), ("before", "after")), "a void run leaves nothing behind"


def test_a_quantum_lost_fires_in_most_random_markets_that_realise_anything():
    fired = realised = 0
    for seed in range(200):
        market, shock, run = random_markets.make(seed)
        sound = market.run(shock, **run)
        happened = bool((sound.flows["why"] == "realised").any())
        realised += happened
        try:
            with planted(LOST_QUANTUM):
                market.run(shock, **run)
        except cs.AuditError:
            fired += 1
            assert happened, seed
        else:
            assert not happened, seed
        assert not difference(sound, market.run(shock, **run), ("before", "after")), seed
    assert fired == realised > 50


def liquidated_longs(several):
    """Longs that a gap makes unhealthy, in front of a deep book: one position each, or two."""
    names = ["X", "Y"] if several else ["X"]
    instruments = [cs.Instrument(name, tick_size=1, lot_size=1, tiers=0.005) for name in names]
    market = cs.Market(instruments, fund=1e6)
    n = 40
    for name in names:
        bids = {"price": np.arange(10_000, 9_000, -1), "quantity": np.full(1_000, 100)}
        market.load_book(name, bids, {"price": [10_001], "quantity": [1]}, complete=True)
    market.load_accounts({"account": np.arange(n), "balance": 400.0 + 10 * np.arange(n)})
    for name in names:
        columns = {"account": np.arange(n), "instrument": np.full(n, name), "size": np.ones(n)}
        market.load_positions({**columns, "entry_price": np.full(n, 10_000.0)})
    rules = cs.VenueRules(mark="mid", size="all")
    return market, cs.Shock(price=dict.fromkeys(names, -0.06)), rules


@pytest.mark.parametrize("record", ["summary", "liquidations", "all"])
@pytest.mark.parametrize("several", [False, True])
def test_a_lot_lost_makes_the_audit_fire(several, record):
    """On every way that a turn can take."""
    market, shock, rules = liquidated_longs(several)
    sound = market.run(shock, rules=rules, record=record)
    assert sound.summary["liquidated_accounts"] > 10
    engine = next(engine for idle in market._derived.engines.values() for engine in idle)
    if not several:
        singles, batched, ranged = engine.singles_served
        used = {"summary": ranged, "liquidations": batched, "all": singles == 0}
        assert used[record] > 0
    for audit in ("delta", "full"):
        with planted(LOST_LOT), pytest.raises(cs.AuditError, match="not conserved"):
            market.run(shock, rules=rules, record=record, audit=audit)


def test_a_lot_lost_to_a_market_order_from_outside_makes_the_audit_fire():
    market, shock = taking_profit()
    with planted(LOST_LOT), pytest.raises(cs.AuditError, match="not conserved"):
        market.run(shock)


def test_a_fee_too_high_makes_only_the_differential_fail():
    market, shock = taking_profit(fee=0.001)
    with planted(FEE_TOO_HIGH):
        wrong = market.run(shock, audit="full")
    assert wrong.audit["conserved"]
    text = difference(market.run(shock, engine="reference"), wrong)
    assert "differ in value" in text
    assert "TRANSFER" in text


def test_a_fee_too_high_is_found_in_random_markets():
    found = 0
    for seed in range(200):
        market, shock, run = random_markets.make(seed)
        with planted(FEE_TOO_HIGH):
            wrong = market.run(shock, audit="full", **run)
        charged = bool((wrong.flows["why"] == "fee").any())
        text = difference(market.run(shock, engine="reference", **run), wrong)
        assert bool(text) >= charged, seed
        found += bool(text)
    assert found > 50


def test_the_comparison_sees_every_field_of_an_event():
    market, shock, run = random_markets.make(3)
    events = market.run(shock, **run).events
    assert len(events) > 3
    assert not events_difference(events, events.copy())
    for field in events.dtype.names:
        for k in (0, len(events) - 1):
            other = events.copy()
            other[field][k] ^= 1
            text = events_difference(events, other)
            assert f"event {k} " in text
            assert f"differ in {field}" in text
    assert "no more events" in events_difference(events, events[:-1])
    assert "no more events" in events_difference(events[:-1], events)


def test_the_determinism_check_sees_a_perturbed_run():
    for seed in range(30):
        market, shock, run = random_markets.make(seed)
        mine, theirs = market.run(shock, **run), market.run(shock, **run)
        if len(mine.events) == 0:
            continue
        theirs = pickle.loads(pickle.dumps(theirs))  # whose data can be changed
        events = theirs.events.copy()
        events["value"][len(events) // 2] += 1
        theirs._data.events = events
        assert mine.digest != theirs.digest
        assert difference(mine, theirs)
        balances = market.run(shock, **run)
        balances._data.system_balances[1] += 1
        assert mine.digest != balances.digest
        assert "system_balances" in difference(mine, balances)


def test_sound_engines_know_no_bug():
    market, shock = taking_profit()
    assert np.array_equal(market.run(shock).events, market.run(shock, engine="reference").events)
