"""Where the core's index by trigger price could overlook somebody: the reference's full check decides."""

import random

import numpy as np
import pytest

import cascade as cs


def both(market, shock, rules=None):
    engines = ("reference", "core")
    results = [market.run(shock, engine=engine, rules=rules, audit="full") for engine in engines]
    assert results[0].digest == results[1].digest
    return results[1]


def market(tiers, balance, size):
    made = cs.Market(cs.Instrument("X", tick_size="0.1", lot_size=1, tiers=tiers))
    price = np.arange(999, 0, -1) / 10
    bids = {"price": price, "quantity": np.full(len(price), 50.0)}
    asks = {"price": [100.1, 100.2, 150.0], "quantity": [50, 50, 50]}
    made.load_book("X", bids, asks, complete=True)
    made.load_accounts({"account": ["a"], "balance": [balance]})
    made.load_positions({"account": ["a"], "instrument": ["X"], "size": [size], "entry_price": [100.0]})
    made.set_prices(index={"X": 100}, last={"X": 100})
    return made


@pytest.mark.fast
@pytest.mark.parametrize(
    "tiers",
    [
        [(0, None, 0.5, 0.1, 5)],  # an amount that exceeds the maintenance: cut off at 0
        [(0, 50, 0.5, 0.1, 5), (50, None, 0.5, 0.2, 10)],
        [(0, 50, 0.5, 0.1, 0), (50, None, 0.5, 0.2, 0)],  # no amounts: a jump
    ],
)
@pytest.mark.parametrize("fall", [-0.5, -0.595, -0.605, -0.61, -0.7])
def test_tiers_with_odd_amounts(tiers, fall):
    both(market(tiers, 60.0, 1.0), cs.Shock(price=fall))


@pytest.mark.fast
def test_an_insolvent_account_behind_an_odd_amount_is_found():
    result = both(market([(0, None, 0.5, 0.1, 5)], 60.0, 1.0), cs.Shock(price=-0.605))
    assert result.summary["liquidated_accounts"] == 1


@pytest.mark.fast
@pytest.mark.parametrize("rise", [0.05, 0.1, 0.2, 5.0])
def test_a_short_at_a_step_of_one_quantum_is_found(rise):
    tiers = [(0, 100, 0.5, 0.005, 0), (100, None, 0.5, 0.015, 0)]
    made = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, tiers=tiers), cash_quantum=1)
    bids, asks = {"price": [99, 98], "quantity": [50, 50]}, {"price": [101, 102, 150], "quantity": [50] * 3}
    made.load_book("X", bids, asks, complete=True)
    made.load_accounts({"account": ["a"], "balance": [5]})
    made.load_positions({"account": ["a"], "instrument": ["X"], "size": [-1], "entry_price": [100]})
    made.set_prices(index={"X": 100}, last={"X": 100})
    assert both(made, cs.Shock(price=rise)).summary["liquidated_accounts"] == 1


@pytest.mark.fast
@pytest.mark.parametrize("last", [2**50, 2**52 - 10, 2**53 - 2000])
def test_trigger_prices_near_the_end_of_the_domain(last):
    made = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1), cash_quantum=1)
    bids, asks = {"price": [last], "quantity": [5]}, {"price": [last + 1], "quantity": [5]}
    made.load_book("X", bids, asks, complete=True)
    made.load_accounts({"account": [1, 2], "balance": [1000, 1000]})
    entry = [last + 900, last + 1200]
    made.load_positions(
        {"account": [1, 2], "instrument": ["X", "X"], "size": [1, 1], "entry_price": entry}
    )
    both(made, cs.Shock(price=-0.0000001), cs.VenueRules(queue="trigger_price"))


@pytest.mark.fast
@pytest.mark.parametrize("seed", range(40))
def test_hedged_inverse_contracts_queued_by_trigger_price(seed):
    """Net longs whose first position is a short: no lower mark makes them healthy."""
    rng = random.Random(seed)
    price, multiplier = 10 ** rng.choice((2, 4, 6, 8)), rng.choice((1, 10, 100, 1000))
    contract = {"contract": "inverse", "multiplier": multiplier * price, "tiers": 0.05}
    made = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, **contract), cash_quantum="1e-6")
    bids, asks = {"price": [price - 1], "quantity": [500]}, {"price": [price + 1], "quantity": [500]}
    made.load_book("X", bids, asks, complete=True)
    ids = ["a", "b", "c"]
    made.load_accounts({"account": ids, "balance": [rng.uniform(0, 0.1) * multiplier for _ in ids]})
    made.load_positions(
        {
            "account": ids * 2, "instrument": ["X"] * 6,
            "size": [-rng.randint(1, 2) for _ in ids] + [rng.randint(2, 40) for _ in ids],
            "entry_price": [price] * 6, "position_side": ["both"] * 3 + ["long"] * 3,
        }
    )  # fmt: skip
    both(made, cs.Shock(price=-0.05), cs.VenueRules(queue="trigger_price", position_order="index"))


@pytest.mark.fast
@pytest.mark.parametrize("parts", [1, 3, 10, 100])
@pytest.mark.parametrize("fall", [-0.05, -0.3, -0.6])
def test_maintenance_rates_next_to_one(parts, fall):
    both(market([(0, None, 1, 1 - parts * 1e-12, 0)], 5.0, 1.0), cs.Shock(price=fall))


@pytest.mark.parametrize("contract", ["linear", "inverse"])
@pytest.mark.parametrize("slope", [0, 0.0005])
@pytest.mark.parametrize("maintenance_on", ["mark", "entry"])
@pytest.mark.parametrize("maintenance_fee", ["none", "taker", "taker_at_bankruptcy"])
def test_many_single_positions(contract, slope, maintenance_on, maintenance_fee):
    """Many accounts with one position each, close to their triggers, under every way to ask for margin."""
    rng = np.random.default_rng(3)
    tiers = [(0, 500, 0.5, 0.01), (500, 2_000, 0.5, 0.02), (2_000, None, 0.5, 0.05)]
    if contract == "inverse":
        tiers = [(0, 5, 0.5, 0.01), (5, 20, 0.5, 0.02), (20, None, 0.5, 0.05)]
    instrument = cs.Instrument(
        "X", tick_size="0.01", lot_size=1, contract=contract, multiplier=1 if contract == "linear" else 100,
        tiers=tiers, taker_fee=0.0006, maintenance_slope=slope,
    )  # fmt: skip
    made = cs.Market(instrument, fund=50, cash_quantum="1e-8" if contract == "inverse" else "1e-6")
    steps = np.arange(1, 3000) / 100
    made.load_book(
        "X",
        {"price": 100 - steps, "quantity": np.full(len(steps), 40.0)},
        {"price": 100 + steps, "quantity": np.full(len(steps), 40.0)},
    )
    n = 80
    size = np.ceil(10 ** rng.uniform(0, 2.5, n)) * rng.choice([-1, 1], n)
    entry = np.round(100 * rng.uniform(0.97, 1.03, n), 3)
    worth = np.abs(size) * (100 if contract == "linear" else 1)
    made.load_accounts({"account": np.arange(n), "balance": np.round(worth * rng.uniform(0.02, 0.15, n), 6)})
    made.load_positions(
        {"account": np.arange(n), "instrument": ["X"] * n, "size": size, "entry_price": entry}
    )
    for move, bankruptcy_fee in ((-0.03, "none"), (0.04, "taker")):
        rules = cs.VenueRules(
            maintenance_on=maintenance_on, maintenance_fee=maintenance_fee, bankruptcy_fee=bankruptcy_fee
        )
        result = both(made, cs.Shock(price=move) + cs.Shock(orders={"X": 100 if move > 0 else -100}), rules)
        assert result.summary["liquidated_accounts"] >= 4
