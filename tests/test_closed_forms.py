"""Textbook markets against what can be worked out on paper (docs/model.md, section 11), to 1e-3."""

import math

import numpy as np
import pytest

import cascade as cs


def sold(market, quantity, engine, **options):
    """The result of selling a quantity, its waves' quantities, and the drop in price units."""
    result = market.run(cs.Shock(orders={"X": -quantity}), engine=engine, **options)
    price = result.summary["price"]["X"]
    return result, result.waves["quantity"], price["start"] - price["final"]


def test_constant_depth(engine):
    result, waves, drop = sold(cs.datasets.constant_depth(), 500, engine, audit="full")
    assert waves[:5] == pytest.approx([500, 300, 180, 108, 64.8], rel=1e-12)
    assert waves.sum() == pytest.approx(1250, rel=1e-3)
    assert drop == pytest.approx(12.5, rel=1e-3)
    assert result.summary["amplification"] == pytest.approx(2.5, rel=1e-3)
    assert result.status == "settled"
    assert result.audit["conserved"]


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.8, 0.9])
def test_constant_depth_at_other_ratios(engine, ratio):
    quantity = 20_000 * (1 - ratio)
    market = cs.datasets.constant_depth(d=1000, g=round(1000 * ratio, 9), lot="0.1")
    _, waves, drop = sold(market, quantity, engine)
    assert waves[1] == pytest.approx(ratio * quantity, rel=1e-3)
    assert waves[2] == pytest.approx(ratio**2 * quantity, rel=1e-2)
    assert waves.sum() == pytest.approx(20_000, rel=1e-3)
    assert drop == pytest.approx(20, rel=1e-3)


def test_no_liquidations_without_longs(engine):
    result, waves, drop = sold(cs.datasets.constant_depth(g=0), 500, engine)
    assert waves.tolist() == [500]
    assert drop == pytest.approx(5)
    assert result.summary["amplification"] == 1


def test_above_the_critical_ratio_it_runs_to_the_end_of_the_book(engine):
    result, waves, drop = sold(cs.datasets.constant_depth(d=100, g=120, reach=20), 100, engine)
    assert result.status == "stranded"
    assert waves.sum() == pytest.approx(2000)
    assert drop == pytest.approx(20)


@pytest.mark.parametrize(("g", "drop"), [(30, 41.925824), (0, 22.360680)])
def test_linear_depth(engine, g, drop):
    assert drop == pytest.approx((g + math.sqrt(g**2 + 2 * 2 * 500)) / 2)
    result, _, fell = sold(cs.datasets.linear_depth(g=g), 500, engine)
    assert fell == pytest.approx(drop, rel=1e-3)
    assert result.status == "settled"
    assert result.audit["conserved"]


@pytest.mark.parametrize(("quantity", "drop"), [(799, 7.99), (800, 15.00)])
def test_a_cluster_tips_one_lot_later(engine, quantity, drop):
    result, _, fell = sold(cs.datasets.cluster(), quantity, engine)
    assert fell == pytest.approx(drop)
    assert len(result.liquidations) == (quantity == 800)


def test_mark_mid_halves_the_feedback(engine):
    market = cs.datasets.constant_depth(rules=cs.VenueRules(mark="mid"))
    _, waves, _ = sold(market, 500, engine)
    assert waves.sum() == pytest.approx(714.29, rel=1e-3)
    assert waves[1] == pytest.approx(150)


def test_mark_index_cuts_the_feedback(engine):
    _, waves, drop = sold(cs.datasets.constant_depth(), 500, engine, rules=cs.VenueRules(mark="index"))
    assert waves.tolist() == [500]
    assert drop == 0


def test_a_simulation_comes_to_the_same(engine):
    sim = cs.datasets.constant_depth().start(cs.Shock(orders={"X": -500}), engine=engine)
    sim.settle()
    assert sim.mark("X") == pytest.approx(99987.5)


def test_engines_agree_bit_for_bit():
    markets = [
        cs.datasets.constant_depth(reach=15),
        cs.datasets.cluster(),
        cs.datasets.linear_depth(reach=45),
    ]
    for market in markets:
        shock = cs.Shock(orders={"X": -800 if market.instruments[0].lot_size == 1 else -500})
        digests = {market.run(shock, engine=name).digest for name in ("reference", "core")}
        assert len(digests) == 1


# How the markets are built


def test_longs_are_healthy_at_the_start_and_go_where_stated():
    market = cs.datasets.constant_depth(reach=5)
    prices = market.liquidation_prices()
    assert len(prices) == 500
    assert np.diff(prices["liquidation_price"]) == pytest.approx(-0.01)
    assert prices["liquidation_price"][0] == pytest.approx(99_999.995)
    assert market.run(engine="reference").summary["liquidated_accounts"] == 0


def test_what_is_off_the_grid_is_refused():
    with pytest.raises(cs.InputError, match=r"g = 60: g/100 must be a whole number of lots of 0\.7"):
        cs.datasets.constant_depth(d=70, g=60, lot="0.7")
    with pytest.raises(cs.InputError, match="slope"):
        cs.datasets.linear_depth(slope=2.5, g=0)
    with pytest.raises(cs.InputError, match="reach"):
        cs.datasets.constant_depth(reach="0.001")
    with pytest.raises(cs.InputError, match="start"):
        cs.datasets.constant_depth(start=30)
    with pytest.raises(cs.InputError, match="size"):
        cs.datasets.cluster(size="0.5")
