"""Who is looked at under cross margin: whichever way accounts are found, the events are the reference's.

CASCADE_SEEDS sets how many markets (default 5,000; a tenth of them are run here).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import random_cross
import random_markets
from twins import difference, looking

import cascade as cs

BY_COUNTS, BY_INDEX, BY_SCAN, BY_REST = WAYS = range(4)
SEEDS = max(60, int(os.environ.get("CASCADE_SEEDS", "5000")) // 10)


def check(make, seed: int) -> int:
    """One market through the reference and every way of the core; how many accounts were liquidated."""
    market, shock, run = make(seed)
    reference = market.run(shock, engine="reference", audit="full", **run)
    for way in WAYS:
        with looking(way):
            core = market.run(shock, engine="core", audit="full", **run)
            text = difference(reference, core)
            assert not text, f"seed {seed}, way {way}: {text}"
            part = market.run(shock, engine="core", record="summary", **run)
            text = difference(core, part)
            assert not text, f"seed {seed}, way {way}, summary: {text}"
    return reference.summary["liquidated_accounts"]


@pytest.mark.fast
def test_every_way_finds_the_same_on_a_few():
    assert sum(check(random_cross.make, seed) for seed in range(25)) > 100
    for seed in range(25):
        check(random_markets.make, seed)


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_every_way_finds_the_same(first):
    for seed in range(1_000 + first, 1_000 + first + 50):
        check(random_cross.make, seed)
        check(random_markets.make, seed)


@pytest.mark.fast
@pytest.mark.parametrize("way", WAYS)
def test_simulations_and_their_copies_find_the_same(way):
    for seed in range(15):
        market, shock, run = random_cross.make(seed)
        sims = [market.start(shock, engine="reference", **run)]
        with looking(way):
            sims.append(market.start(shock, engine="core", **run))
        more = [sim.step() for sim in sims]
        assert more[0] == more[1]
        sims.append(sims[1].copy())
        for sim in sims:
            sim.settle()
            sim.advance_ns(40 * 10**9)
            sim.apply(cs.Shock(price=-0.03) + cs.Shock(orders={"I1": -2}))
            sim.settle()
        reference, *cores = [sim.result() for sim in sims]
        for core in cores:
            assert not difference(reference, core), f"seed {seed}"


@pytest.mark.fast
def test_an_engine_is_as_good_as_new_after_every_way():
    for seed in range(12):
        market, shock, run = random_cross.make(seed)
        other = cs.Shock(price=-0.06)
        expected = [market.run(x, engine="reference", **run).digest for x in (shock, other)]
        for way in (*WAYS, *reversed(WAYS)):
            with looking(way):
                found = [market.run(x, engine="core", **run).digest for x in (shock, other)]
            assert found == expected, f"seed {seed}, way {way}"


# At the edge of what accounts stand

TIERS = {
    "one": 0.02,
    "continuous": [(0, 900, 0.5, 0.01), (900, 1_100, 0.5, 0.05), (1_100, None, 0.5, 0.3)],
    "jumps": [(0, 950, 0.5, 0.01, 0), (950, 1_050, 0.5, 0.02, 0), (1_050, None, 0.5, 0.06, 0)],
    "steep": [(0, 950, 1, 0.1), (950, None, 1, 1.0)],
}


def edges(contract: str, tiers: str, slope: float, side: int, n: int = 240) -> cs.Market:
    """Accounts with positions of 500 and 1,000 in two instruments, each with more money than the last."""
    names = ["A", "B"]
    multiplier = 1 if contract == "linear" else 100
    market = cs.Market(
        [
            cs.Instrument(
                x, tick_size="0.01", lot_size=1, contract=contract, multiplier=multiplier,
                maintenance_slope=slope, taker_fee=0.001,
                tiers=scaled(TIERS[tiers], 1 if contract == "linear" else 0.01),
            )
            for x in names
        ],
        cash_quantum="1e-8" if contract == "inverse" else "1e-6",
    )  # fmt: skip
    level = {"quantity": [1e6]}
    for name in names:
        market.load_book(name, {"price": [99.99], **level}, {"price": [100.01], **level}, complete=True)
    worth = 1_500 * (1 if contract == "linear" else 0.01)
    k = np.arange(n)
    market.load_accounts({"account": k, "balance": np.round(worth * (0.1 + 0.3 * k / n), 6)})
    unit = 1 if contract == "linear" else 0.01 * multiplier
    sizes = side * np.array([5.0, 10.0]) * (1 if contract == "linear" else 1 / unit)
    market.load_positions(
        {
            "account": np.repeat(k, 2),
            "instrument": names * n,
            "size": np.tile(sizes, n),
            "entry_price": np.full(2 * n, 100.0),
        }
    )
    market.set_prices(last=dict.fromkeys(names, 100.0), index=dict.fromkeys(names, 100.0))
    return market


def scaled(tiers, unit: float):
    """Tiers whose floors and caps are in another unit of money."""
    if isinstance(tiers, float):
        return tiers
    return [(f * unit, None if c is None else c * unit, *rest) for f, c, *rest in tiers]


@pytest.mark.fast
@pytest.mark.parametrize("contract", ["linear", "inverse"])
@pytest.mark.parametrize("tiers", TIERS)
@pytest.mark.parametrize("slope", [0, 2e-5])
def test_nobody_at_the_edge_is_overlooked(contract, tiers, slope):
    """Marks move against everybody alike, in several steps: first those go who stand less."""
    for side, maintenance_on in ((1, "mark"), (-1, "mark"), (-1, "entry")):
        market = edges(contract, tiers, slope, side)
        rules = cs.VenueRules(
            mark="index", maintenance_on=maintenance_on, maintenance_fee="taker", size="all"
        )
        sims = [market.start(rules=rules, engine="reference")]
        for way in WAYS:
            with looking(way):
                sims.append(market.start(rules=rules))
        gone = set()
        for part in (0.04, 0.03, 0.03, -0.2, 0.21, 0.002, 0.03, 0.05):
            for sim in sims:
                sim.apply(cs.Shock(index=dict.fromkeys("AB", -part * side)))
                sim.settle()
            expected, *found = [sim.result() for sim in sims]
            gone.add(expected.summary["liquidated_accounts"])
            for way, core in zip(WAYS, found, strict=True):
                text = difference(expected, core)
                assert not text, f"side {side}, {maintenance_on}, way {way}, after {part}: {text}"
        assert len(gone) > 2, gone


@pytest.mark.fast
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("side", [1, -1])
def test_a_favourable_move_into_a_jump_of_maintenance_is_seen(way, side):
    """A long gains a little and needs much more; a short loses a little and needs much more."""
    tiers = [(0, 1_003, 1, 0.01, 0), (1_003, None, 1, 0.3, 0)]
    market = cs.Market([cs.Instrument(x, tick_size="0.01", lot_size=1, tiers=tiers) for x in "AB"])
    for name in "AB":
        levels = {"quantity": [1e4]}
        market.load_book(name, {"price": [99.99], **levels}, {"price": [100.01], **levels}, complete=True)
    market.load_accounts({"account": [1, 2], "balance": [120, 900]})
    size = [10.0 * side, -10.0 * side] * 2
    market.load_positions(
        {"account": [1, 1, 2, 2], "instrument": ["A", "B"] * 2, "size": size, "entry_price": [100.0] * 4}
    )
    market.set_prices(last={"A": 100, "B": 100}, index={"A": 100, "B": 100})
    rules, shock = cs.VenueRules(mark="index", size="all"), cs.Shock(index={"A": 0.005})
    reference = market.run(shock, rules=rules, engine="reference")
    assert reference.summary["liquidated_accounts"] == 1
    with looking(way):
        assert not difference(reference, market.run(shock, rules=rules))


# Which way is taken


def spread(n: int = 400, far: float = 10.0) -> cs.Market:
    """Accounts with a long in each of two of eight instruments, with 2% to `far` times 2% of its notional."""
    names = [f"I{i}" for i in range(8)]
    market = cs.Market([cs.Instrument(x, tick_size="0.01", lot_size=1, tiers=0.01) for x in names])
    steps = np.arange(1, 6_000)
    for name in names:
        levels = np.full(len(steps), 4.0)
        market.load_book(
            name,
            {"price": (10_000 - steps) / 100, "quantity": levels},
            {"price": (10_000 + steps) / 100, "quantity": levels},
        )
    k = np.arange(n)
    market.load_accounts({"account": k, "balance": np.round(200 * np.geomspace(0.02, 0.02 * far, n), 2)})
    market.load_positions(
        {
            "account": np.repeat(k, 2),
            "instrument": np.array(names)[np.column_stack([k % 8, (k + 3) % 8]).ravel()],
            "size": np.ones(2 * n), "entry_price": np.full(2 * n, 100.0),
        }
    )  # fmt: skip
    market.set_prices(last=dict.fromkeys(names, 100.0), index=dict.fromkeys(names, 100.0))
    return market


def looks(market: cs.Market, shock: cs.Shock, way: int = BY_COUNTS) -> tuple[int, dict[str, int]]:
    """Accounts liquidated, and what the engine says of who was looked at, after a run."""
    with looking(way):
        sim = market.start(shock)
    sim.settle()
    return sim.result().summary["liquidated_accounts"], sim._engine.looks()


@pytest.mark.fast
def test_who_stands_the_moves_is_not_looked_at():
    market = spread()
    count, seen = looks(market, cs.Shock(price=-0.005))
    assert count == 0
    assert seen == {"scanned": 400, "scans": 0, "reached": 0, "resting": 0, "watched": 0}


@pytest.mark.fast
def test_few_are_found_by_the_index_and_rest():
    market = spread(far=100.0)
    count, seen = looks(market, cs.Shock(price={"I0": -0.025}))
    assert seen["scans"] == 0
    assert 0 < seen["reached"] <= 400 / 16
    assert seen["resting"] > 0
    assert count < seen["reached"]


@pytest.mark.fast
def test_many_are_found_by_scans():
    market = spread()
    count, seen = looks(market, cs.Shock(price=-0.05))
    assert count > 100
    assert seen["scans"] > 1
    assert seen["reached"] == 0


@pytest.mark.fast
def test_after_scans_without_end_everybody_rests():
    """Continuous clearing checks after every turn: a long tail must not be scanned for."""
    market = spread()
    with looking(BY_COUNTS):
        sim = market.start(cs.Shock(price=-0.05), rules=cs.VenueRules(clearing="continuous"))
        sim.settle()
    seen = sim._engine.looks()
    assert seen["scans"] == 24
    assert seen["resting"] > 0
    assert (
        sim.result().digest
        == market.run(
            cs.Shock(price=-0.05), engine="reference", rules=cs.VenueRules(clearing="continuous")
        ).digest
    )
