"""Studies: against numbers that are known - published, or worked out on textbook markets."""

import sys
from itertools import combinations

import numpy as np
import pytest

import cascade as cs


def sale(q):
    return cs.Shock(orders={"X": -q})


# -- fire sales ----------------------------------------------------------------------------------------------
BANKS = {
    "assets": (100, 200), "weights": [[0.5, 0.5], [0.2, 0.8]], "equity": (10, 10), "debt": (90, 190),
    "impact": (1e-3, 5e-4), "shock": (-0.05, 0),
}  # fmt: skip


@pytest.mark.fast
def test_a_fire_sale_of_two_banks():
    found = cs.studies.fire_sale(**BANKS)
    assert found.sales == pytest.approx([22.5, 38])
    assert found.price_return == pytest.approx([-0.01885, -0.020825])
    assert found.aggregate_vulnerability == pytest.approx(0.3034875)
    assert found.systemicness == pytest.approx([0.1096875, 0.1938])
    assert found.indirect_vulnerability == pytest.approx([0.198375, 0.4086])
    assert found.systemicness.sum() == pytest.approx(found.aggregate_vulnerability)


@pytest.mark.fast
def test_nobody_sells_more_than_there_is_or_after_a_gain():
    found = cs.studies.fire_sale((100,), [[1.0]], (1,), (99,), (0,), (-0.5,))
    assert found.sales == pytest.approx([50])
    assert cs.studies.fire_sale((100,), [[1.0]], (10,), (90,), (1e-3,), (0.5,)).sales.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"assets": (100,)}, cs.InputError, r"fire_sale.assets: 1 values"),
        ({"equity": (10, 0)}, cs.InputError, r"fire_sale.equity\[1\] = 0: must be > 0"),
        ({"weights": [[0.5, 0.6], [0.2, 0.8]]}, cs.InputError, r"weights\[0\]: sums to 1.1"),
        ({"shock": (-1, 0)}, cs.InputError, r"fire_sale.shock\[0\] = -1"),
        ({"debt": "much"}, cs.InputTypeError, "fire_sale.debt = 'much'"),
        ({"impact": (np.nan, 0)}, cs.InputError, "fire_sale.impact: must be finite"),
    ],
)
@pytest.mark.fast
def test_bad_banks(change, error, words):
    with pytest.raises(error, match=words):
        cs.studies.fire_sale(**{**BANKS, **change})


# -- tipping points ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("low", "high"), [(1, 1000), (0, 900), (640, 1003)])
def test_the_cluster_tips_at_800(low, high):
    found = cs.studies.tipping_point(cs.datasets.cluster(), sale, low, high, step=1)
    assert found.at == 800
    assert found.below == pytest.approx(7.99 / 100_000)
    assert found.above == pytest.approx(15 / 100_000)
    assert len(found.points) < 60
    assert (np.diff(found.points["size"]) > 0).all()


def test_a_limit_is_first_passed_where_the_drop_says():
    market = cs.datasets.constant_depth(g=0)
    found = cs.studies.tipping_point(market, sale, 0, 1000, step=1, limit=5 / 100_000)
    assert found.at == 501  # a drop of more than 5.00 needs a lot beyond 500
    assert not cs.studies.tipping_point(market, sale, 0, 100, step=1, limit=1)


def test_no_jump_where_the_outcome_grows_evenly():
    found = cs.studies.tipping_point(cs.datasets.constant_depth(g=0), sale, 1, 1000, step=1)
    assert not found
    assert np.isnan(found.at)


def test_outcomes_need_not_grow_with_the_shock():
    """A jump down is a jump as well."""
    found = cs.studies.tipping_point(
        cs.datasets.cluster(), sale, 1, 1000, step=1, outcome=lambda r: -r.summary["liquidated_accounts"]
    )
    assert found.at == 800


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"step": 0}, cs.InputError, "tipping_point.step = 0"),
        ({"high": 1}, cs.InputError, "tipping_point.high = 1"),
        ({"jump": 1, "limit": 1}, cs.InputError, "not both"),
        ({"points": 1}, cs.InputError, "tipping_point.points = 1"),
        ({"points": 2.5}, cs.InputTypeError, "tipping_point.points = 2.5"),
        ({"outcome": "joy"}, cs.InputError, "tipping_point.outcome = 'joy'"),
        ({"outcome": 3}, cs.InputTypeError, "tipping_point.outcome = 3"),
    ],
)
@pytest.mark.fast
def test_bad_tipping_points(change, error, words):
    with pytest.raises(error, match=words):
        cs.studies.tipping_point(
            cs.datasets.cluster(), sale, **{"low": 1, "high": 10, "step": 1, **change}
        )


# -- tails ---------------------------------------------------------------------------------------------------
def draw(rng, k):
    return sale(float(rng.integers(1, 400)))


def test_tails_with_and_without_the_cascade():
    """Constant depth: a sale of Q lowers the price by Q / 40 with the cascade and by Q / 100 without."""
    market = cs.datasets.constant_depth(d=100, g=60, lot="0.1")
    found = cs.studies.tail_risk(market, draw, n=200, rng=3, levels=(0.9, 0.95), workers=2, resamples=200)
    sizes = market.sweep(draw, n=200, rng=3)["shock_notional"] / 100_000
    drops = found.draws["price_drop"] * 100_000
    assert drops == pytest.approx(sizes / 40, abs=0.05)
    assert found.draws["price_drop_static"] * 100_000 == pytest.approx(sizes / 100, abs=0.02)
    rows = found.table.rows(found.table["outcome"] == "price_drop")
    for k, level in enumerate((0.9, 0.95)):
        worst = np.sort(found.draws["price_drop"])[::-1]
        tail = round(200 * (1 - level))
        assert rows["var"][k] == worst[tail]
        assert rows["es"][k] == pytest.approx(worst[:tail].mean())
        assert rows["var_low"][k] <= rows["var"][k] <= rows["var_high"][k]
        assert rows["es_low"][k] <= rows["es"][k] <= rows["es_high"][k]
        assert rows["es_static"][k] == pytest.approx(0.4 * rows["es"][k], rel=0.01)
    missed = found.missed
    assert missed["missed"][missed["outcome"] == "price_drop"] == pytest.approx(0.6, abs=0.01)
    again = cs.studies.tail_risk(market, draw, n=200, rng=3, levels=(0.9, 0.95), resamples=200)
    for name in found.table.columns:
        np.testing.assert_array_equal(again.table[name], found.table[name])


def test_the_static_loss_is_what_accounts_owe_at_the_shocked_marks():
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1), fund=30)
    market.load_book("X", {"price": [999], "quantity": [9]}, {"price": [1_001], "quantity": [9]})
    market.set_prices(last={"X": 1_000})
    market.load_positions(
        {"account": [1, 2], "instrument": ["X", "X"], "size": [1, 1], "entry_price": [1_000, 1_000],
         "margin": [50, 200]}
    )  # fmt: skip
    found = cs.studies.tail_risk(market, [cs.Shock(-0.1), cs.Shock(0.1)], rng=0, resamples=5)
    assert found.draws["venue_loss_static"].tolist() == [50, 0]  # 100 lost, 50 posted
    assert found.draws["fund_use_static"].tolist() == [30, 0]
    assert found.draws["price_drop_static"].tolist() == pytest.approx([0.1, 0])


def test_tails_leave_no_scenario_out():
    market = cs.datasets.cluster()
    with pytest.raises(cs.InputError, match="scenario 1 failed"):
        cs.studies.tail_risk(market, [sale(1), cs.Shock({"Y": 0.1})], rng=0)
    with pytest.raises(cs.InputError, match=r"tail_risk\.levels"):
        cs.studies.tail_risk(market, [sale(1)], levels=(1.5,))


# -- fragility, mitigation -----------------------------------------------------------------------------------
def test_fragility_of_the_cluster():
    found = cs.studies.fragility(cs.datasets.cluster(), sale, range(700, 901, 10), outcome="price_drop")
    assert found.steepest == 790
    assert found.curve["outcome"][10] == pytest.approx(15 / 100_000)
    assert found.maps["X"]["quantity"].tolist() == [700]
    empty = cs.studies.fragility(cs.datasets.cluster(), sale, [])
    assert len(empty.curve) == 0
    assert np.isnan(empty.steepest)


def test_the_same_shocks_under_several_rules():
    market, rules = cs.datasets.constant_depth(), cs.VenueRules()
    found = cs.studies.mitigation(
        market, {"small": sale(100), "large": sale(500)},
        {"last": rules, "mid": rules.replace(mark="mid"), "thin": cs.datasets.constant_depth(d=80, g=60)},
    )  # fmt: skip
    assert found.table["rules"].tolist() == ["last", "mid", "thin"] * 2
    by_rules = found.column("price_drop")
    assert by_rules.columns == ("shock", "last", "mid", "thin")
    assert by_rules["last"] * 100_000 == pytest.approx([2.5, 12.5], abs=0.02)
    assert (by_rules["mid"] < by_rules["last"]).all()
    assert (by_rules["last"] < by_rules["thin"]).all()
    with pytest.raises(cs.InputError, match=r"mitigation\.changes"):
        cs.studies.mitigation(market, sale(1), {})
    with pytest.raises(cs.InputTypeError, match=r"mitigation\.shocks"):
        cs.studies.mitigation(market, 5, {"a": rules})


# -- pictures ------------------------------------------------------------------------------------------------
def test_studies_draw_themselves():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    market = cs.datasets.cluster()
    tails = cs.studies.tail_risk(market, [sale(q) for q in (700, 799, 800, 900)], rng=0, resamples=5)
    for plot in (
        cs.studies.tipping_point(market, sale, 1, 1000, step=1).plot,
        cs.studies.fragility(market, sale, range(700, 901, 50), outcome="price_drop").plot,
        tails.plot,
    ):
        figure, ax = plt.subplots()
        assert plot(ax=ax) is ax
        assert ax.lines
        plt.close(figure)


def test_bars_of_mitigation_and_of_a_fire_sale():
    plt = pytest.importorskip("matplotlib.pyplot")
    rules = cs.VenueRules()
    changes = {"last": rules, "mid": rules.replace(mark="mid")}
    found = cs.studies.mitigation(cs.datasets.cluster(), {"small": sale(700), "large": sale(900)}, changes)
    figure, ax = plt.subplots()
    assert found.plot("price_drop", ax=ax) is ax
    heights = [bar.get_height() for bar in ax.patches]
    table = found.column("price_drop")
    np.testing.assert_allclose(heights, 100 * np.concatenate([table["last"], table["mid"]]))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["last", "mid"]
    assert ax.get_ylabel() == "price drop, %"
    plt.close(figure)
    banks = cs.studies.fire_sale(
        (100, 200), [[0.5, 0.5], [0.2, 0.8]], (10, 10), (90, 190), (1e-3, 5e-4), (-0.05, 0)
    )
    figure, ax = plt.subplots()
    assert banks.plot(ax=ax) is ax
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, [10.96875, 19.38, 19.8375, 40.86])
    plt.close(figure)


# -- reverse stress ------------------------------------------------------------------------------------------
COVARIANCE = [[0.0025, 0.00125], [0.00125, 0.0025]]
"""Two instruments with a deviation of 5% each and a correlation of 1/2."""


def two_longs(margins, fund=0):
    """One account in each of two instruments, that goes when its margin is lost: at 1,000 less it."""
    market = cs.Market([cs.Instrument(s, tick_size="0.01", lot_size=1) for s in "XY"], fund=fund)
    for symbol in "XY":
        bids, asks = ({"price": [price], "quantity": [100]} for price in (999.99, 1_000.01))
        market.load_book(symbol, bids, asks, complete=True)
    prices = {"X": 1_000, "Y": 1_000}
    market.set_prices(last=prices, index=prices)
    market.load_positions(
        {"account": ["x", "y"], "instrument": ["X", "Y"], "size": [1, 1], "entry_price": [1_000, 1_000],
         "margin": margins}
    )  # fmt: skip
    return market


def test_the_nearest_deficit_is_that_of_the_weaker_account():
    """x goes at a fall of 10%, y of 20%. Nearest: X falls as far, Y by what goes with it, half of that."""
    pytest.importorskip("scipy")
    found = cs.studies.reverse_stress(two_longs([100, 200]), COVARIANCE, outcome="deficit", limit=0)
    fall = np.log(0.9)
    assert found.distance == pytest.approx(-fall / 0.05, abs=3e-4)
    assert found.log_returns == pytest.approx([fall, fall / 2], abs=2e-3)
    assert found.log_returns[0] == pytest.approx(fall, abs=2e-5)
    assert found.sigmas == pytest.approx(found.log_returns / 0.05)
    assert found.plausibility == pytest.approx(np.exp(-(found.distance**2) / 2))  # chi-squared, 2 degrees
    assert found.damage > 0
    assert found.inside == 0
    assert 0 < found.distance - found.inside_distance <= 1e-4
    assert found.shock == cs.Shock(price=found.moves)
    market = two_longs([100, 200])
    assert market.run(found.shock).summary["deficit"] == found.damage
    nearer = cs.Shock(price=dict(zip("XY", np.expm1(found.log_returns * 0.999), strict=True)))
    assert market.run(nearer).summary["deficit"] == 0
    assert (np.diff(found.candidates["distance"]) >= 0).all()
    again = cs.studies.reverse_stress(market, COVARIANCE, outcome="deficit", limit=0)
    assert again.distance == found.distance
    assert again.moves == found.moves


def test_both_accounts_go_at_a_corner():
    """x at 10%, y at 12%: the nearest point with both is the corner, where radii have a kink."""
    pytest.importorskip("scipy")
    found = cs.studies.reverse_stress(
        two_longs([100, 120]), COVARIANCE, outcome="liquidated_accounts", limit=1
    )
    a, b = np.log(0.9), np.log(0.88)
    # Variance v, correlation 1/2: x' C^-1 x = (a^2 - ab + b^2) / (v 3/4).
    assert found.distance == pytest.approx(np.sqrt((a * a - a * b + b * b) / (0.0025 * 0.75)), abs=5e-4)
    assert found.log_returns == pytest.approx([a, b], abs=2e-4)
    assert found.damage == 2
    assert found.inside < 2


def test_the_nearest_of_many_corners():
    """Any three of five accounts: ten corners, each the least distance with three moves given, which is found
    here without a run (with more falling along, it is no corner of three)."""
    pytest.importorskip("scipy")
    names, margins = [f"I{k}" for k in range(5)], np.array([100, 120, 150, 110, 90])
    market = cs.Market([cs.Instrument(s, tick_size="0.01", lot_size=1) for s in names])
    for symbol in names:
        bids, asks = ({"price": [price], "quantity": [100]} for price in (999.99, 1_000.01))
        market.load_book(symbol, bids, asks, complete=True)
    market.load_positions(
        {"account": names, "instrument": names, "size": np.ones(5), "entry_price": np.full(5, 1_000.0),
         "margin": margins}
    )  # fmt: skip
    factors = np.random.default_rng(3).standard_normal((5, 5))
    covariance = factors @ factors.T
    deviation = np.sqrt(np.diag(covariance))
    covariance *= 0.0025 / np.outer(deviation, deviation)
    falls = np.log(1 - margins / 1_000)
    least = np.inf
    for three in combinations(range(5), 3):
        given = covariance[np.ix_(three, three)]
        weights = np.linalg.solve(given, falls[list(three)])
        if (weights <= 0).all():  # otherwise one of them falls further by itself
            least = min(least, np.sqrt(falls[list(three)] @ weights))
    found = cs.studies.reverse_stress(
        market, covariance, outcome="liquidated_accounts", limit=2, reach=12, starts=4, points=13,
        directions=32, tolerance=1e-3,
    )  # fmt: skip
    assert found.distance == pytest.approx(least, abs=2e-3)
    assert found.damage == 3
    assert found.inside < 3  # the three cross at one distance, to the tolerance


def test_a_fund_of_30_is_exhausted_30_further_down():
    pytest.importorskip("scipy")
    found = cs.studies.reverse_stress(two_longs([100, 900], fund=30), COVARIANCE)
    assert found.log_returns[0] == pytest.approx(np.log(0.87), abs=3e-5)
    assert found.damage == 0
    assert 0 < found.inside < 1


def test_damage_need_not_grow_with_the_moves():
    """A predicate that holds between falls of 5% and 8% alone, and one that holds on both sides."""
    pytest.importorskip("scipy")
    market = two_longs([1_000, 1_000])

    def fall(result):
        return 1 - result.summary["price"]["X"]["final"] / 1_000

    found = cs.studies.reverse_stress(market, COVARIANCE, outcome=lambda r: 0.05 <= fall(r) < 0.08)
    assert found.log_returns[0] == pytest.approx(np.log(0.95), abs=2e-5)
    assert (found.damage, found.inside) == (1, 0)
    up = cs.studies.reverse_stress(market, COVARIANCE, outcome=lambda r: fall(r) > 0.05 or fall(r) < -0.04)
    assert up.log_returns[0] == pytest.approx(np.log(1.04), abs=2e-5)


def test_reverse_stress_of_one_instrument_and_of_one_factor():
    pytest.importorskip("scipy")
    market = two_longs([100, 50])
    alone = cs.studies.reverse_stress(
        market, [[0.0025]], ["X"], outcome="liquidated_accounts", limit=0, tolerance=1e-6
    )
    assert alone.moves == {"X": pytest.approx(-0.1, abs=2e-5)}
    assert list(alone.candidates.columns) == ["distance", "X"]
    # A covariance of rank one: Y moves twice as far as X, always.
    factor = cs.studies.reverse_stress(
        market, [[1e-4, 2e-4], [2e-4, 4e-4]], outcome="liquidated_accounts", limit=0
    )
    assert factor.log_returns == pytest.approx([np.log(0.95) / 2, np.log(0.95)], abs=2e-5)
    assert factor.plausibility == pytest.approx(0.010321, abs=1e-4)  # 2.5647 deviations, either way


def test_reverse_stress_says_when_there_is_nothing_to_find():
    pytest.importorskip("scipy")
    none = cs.studies.reverse_stress(
        two_longs([900, 900]), COVARIANCE, outcome="deficit", limit=0, directions=2, reach=3
    )
    assert not none
    assert none.result is None
    assert len(none.candidates) == 0
    at_once = cs.studies.reverse_stress(two_longs([900, 900]), COVARIANCE)  # there is no fund
    assert at_once
    assert at_once.distance == 0
    assert np.isnan(at_once.inside)


@pytest.mark.fast
def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ModuleNotFoundError, match=r"liquidation-cascade\[studies\]"):
        cs.studies.reverse_stress(two_longs([1, 1]), COVARIANCE)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"covariance": [[1.0]]}, cs.InputError, "covariance: shape"),
        ({"covariance": [[0, 0], [0, 0]]}, cs.InputError, "must allow at least one move"),
        ({"symbols": ["X", "X"]}, cs.InputError, "must not name an instrument twice"),
        ({"symbols": "XY"}, cs.InputTypeError, "reverse_stress.symbols = 'XY'"),
        ({"outcome": "deficit"}, cs.InputError, "reverse_stress.limit: must be given"),
        ({"outcome": "joy"}, cs.InputError, "reverse_stress.outcome = 'joy'"),
        ({"limit": 1}, cs.InputError, "reverse_stress.limit: must not be given"),
        ({"points": 0}, cs.InputError, "reverse_stress.points = 0"),
        ({"starts": 1.5}, cs.InputTypeError, "reverse_stress.starts = 1.5"),
        ({"reach": 0}, cs.InputError, "reverse_stress.reach = 0"),
        ({"shock": 3}, cs.InputTypeError, "reverse_stress.shock = 3"),
    ],
)
@pytest.mark.fast
def test_bad_reverse_stresses(change, error, words):
    pytest.importorskip("scipy")
    with pytest.raises(error, match=words):
        cs.studies.reverse_stress(two_longs([1, 1]), **{"covariance": COVARIANCE, **change})


# -- manipulation --------------------------------------------------------------------------------------------
BIDS = {"price": [999, 998, 997, 996, 990], "quantity": [10, 10, 10, 20, 50]}
ASKS = {"price": [1_001, 1_002], "quantity": [15, 100]}


def ladder(fee=0, **position):
    """A small book, and one isolated position without margin: by default 20 long, gone below 997.5."""
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, taker_fee=fee))
    market.load_book("X", BIDS, ASKS, complete=True)
    market.set_prices(last={"X": 1_000}, index={"X": 1_000})
    given = {"account": 1, "instrument": "X", "size": 20, "entry_price": 997.5, "margin": 0, **position}
    market.load_positions({name: [value] for name, value in given.items()})
    return market


@pytest.mark.fast
def test_what_a_push_into_a_cluster_costs_and_brings():
    """21 lots reach 997. Sold for 9,990 + 9,980 + 997, bought back for 15,015 + 6,012. The cascade takes the
    20 long down to 996: a short of 20 gains 80, for 60."""
    market = ladder()
    found = cs.studies.manipulation_cost(market, "X", position=20)
    row = {name: found.pushes[name].tolist() for name in found.pushes.columns}
    assert row == {
        "quantity": [21], "price": [997], "walk": [20_967], "unwind": [21_027], "fees": [0], "cost": [60],
        "mark_pushed": [997], "mark_final": [996], "liquidated_notional": [9 * 997 + 11 * 996],
        "gain_pushed": [60], "gain": [80], "profit": [20], "within_budget": [True], "status": ["settled"],
    }  # fmt: skip
    assert found.pays
    assert found.best["profit"] == 20
    assert found.position_limit == 15  # 4 a lot, for 60
    fills = market.run(cs.Shock(orders={"X": -21})).fills
    assert fills["notional"][fills["wave"] == 0].sum() == 20_967
    assert not cs.studies.manipulation_cost(market, "X", position=15).pays
    assert cs.studies.manipulation_cost(market, "X", position=16).pays


@pytest.mark.fast
def test_a_budget_leaves_pushes_out():
    within = cs.studies.manipulation_cost(ladder(), "X", position=20, budget=60)
    assert within.pays
    short = cs.studies.manipulation_cost(ladder(), "X", position=20, budget=59)
    assert not short.pays
    assert short.best is None
    assert short.position_limit == np.inf
    assert short.pushes["within_budget"].tolist() == [False]


@pytest.mark.fast
def test_the_depth_that_stops_it():
    """1.2 times: 25 lots, sold for 24,961, bought back for 25,032: 71. 1.5 times: 31 for 88. Twice: 41 for
    115. The mark ends at 996 each time: 80."""
    found = cs.studies.manipulation_cost(ladder(), "X", position=20, depths=["1.2", "1.5", 2])
    assert found.depths["best_profit"].tolist() == [9, -8, -35]
    assert found.depths["pays"].tolist() == [True, False, False]
    assert found.depth_limit == 1.5
    assert np.isnan(cs.studies.manipulation_cost(ladder(), "X", position=20, depths=["1.2"]).depth_limit)


@pytest.mark.fast
def test_the_margin_that_stops_it():
    """The long has 50 of its notional of 20,000. With 60 it goes below 997: 31 lots to 996, cost 111, and the
    mark ends at 990. With 100 it goes below 995: 51 lots to 990, cost 237."""
    market = ladder()
    digest = market.digest
    found = cs.studies.manipulation_cost(market, "X", position=20, margins=["0.002", "0.003", "0.005"])
    assert found.margins["deposited"].tolist() == [0, 10, 50]
    assert found.margins["best_profit"].tolist() == [20, 89, -37]
    assert found.margin_limit == 0.005
    assert market.digest == digest
    assert market.margin()["equity"][market.margin()["margin_mode"] == "isolated"].tolist() == [50]


@pytest.mark.fast
def test_a_push_upwards_and_its_fees():
    """A short of 5 goes above 1,001.5: 16 lots bought for 16,017 and sold for 15,978; 0.1% of both is
    31.995."""
    found = cs.studies.manipulation_cost(
        ladder("0.001", size=-5, entry_price=1_001.5), "X", position=40, side="buy"
    )
    assert found.pushes["quantity"].tolist() == [16]
    assert found.pushes["fees"].tolist() == [31.995]
    assert found.pushes["cost"].tolist() == [70.995]
    assert found.pushes["mark_final"].tolist() == [1_002]
    assert found.pushes["profit"].tolist() == [9.005]
    assert found.position_limit == 35


@pytest.mark.fast
def test_makers_that_come_back_around_the_mark_make_it_cheap():
    """21 bought back at 996, after they were sold for 20,967."""
    found = cs.studies.manipulation_cost(ladder(), "X", position=20, unwind="mark")
    assert found.pushes["cost"].tolist() == [-51]
    assert found.position_limit == 0


@pytest.mark.fast
def test_where_a_cluster_begins_depends_on_the_trigger():
    """A long that is worth nothing at 997 goes there under "le", one level further under "lt"."""
    market, rules = ladder(entry_price=997), cs.VenueRules()
    for trigger, lots in (("le", 21), ("lt", 31)):
        found = cs.studies.manipulation_cost(
            market, "X", position=1, rules=rules.replace(trigger=trigger)
        )
        assert found.pushes["quantity"].tolist() == [lots]
        assert found.pushes["liquidated_notional"][0] > 0
        less = cs.studies.manipulation_cost(
            market, "X", position=1, pushes=[lots - 1], rules=rules.replace(trigger=trigger)
        )
        assert less.pushes["liquidated_notional"][0] == 0


@pytest.mark.fast
def test_what_cannot_be_traded_back_is_not_within_a_budget():
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    market.load_book("X", BIDS, {"price": [1_001], "quantity": [5]}, complete=True)
    market.set_prices(last={"X": 1_000}, index={"X": 1_000})
    found = cs.studies.manipulation_cost(market, "X", position=1, pushes=[5, 6])
    assert found.pushes["within_budget"].tolist() == [True, False]
    assert np.isnan(found.pushes["cost"][1])
    assert len(cs.studies.manipulation_cost(market, "X", position=1).pushes) == 0  # nobody to push


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"instrument": "Q"}, cs.InputError, "manipulation_cost.instrument = 'Q'"),
        ({"position": 0}, cs.InputError, "manipulation_cost.position = 0"),
        ({"position": 1.5}, cs.InputError, "whole number of lots"),
        ({"side": "down"}, cs.InputError, "manipulation_cost.side = 'down'"),
        ({"unwind": "never"}, cs.InputError, "manipulation_cost.unwind = 'never'"),
        ({"budget": -1}, cs.InputError, "manipulation_cost.budget = -1"),
        ({"pushes": [1, 101]}, cs.InputError, "manipulation_cost.pushes = 101: the book fills 100"),
        ({"pushes": [-1]}, cs.InputError, r"manipulation_cost.pushes\[0\] = -1"),
        ({"pushes": 5}, cs.InputTypeError, "manipulation_cost.pushes = 5"),
        ({"points": 0}, cs.InputError, "manipulation_cost.points = 0"),
        ({"depths": [2, 1]}, cs.InputError, r"manipulation_cost.depths\[1\] = 1: must ascend"),
        ({"margins": [0]}, cs.InputError, r"manipulation_cost.margins\[0\] = 0: must be in \(0, 1\]"),
        ({"margins": 0.1}, cs.InputTypeError, "manipulation_cost.margins = 0.1"),
    ],
)
@pytest.mark.fast
def test_bad_manipulations(change, error, words):
    with pytest.raises(error, match=words):
        cs.studies.manipulation_cost(ladder(), **{"instrument": "X", "position": 1, **change})


@pytest.mark.fast
def test_manipulation_of_an_inverse_contract_is_refused():
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, contract="inverse"))
    market.load_book("X", BIDS, ASKS)
    with pytest.raises(cs.InputError, match="must be linear"):
        cs.studies.manipulation_cost(market, "X", position=1)


def test_reverse_stress_and_manipulation_draw_themselves():
    matplotlib = pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    matplotlib.use("Agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    for study in (
        cs.studies.reverse_stress(two_longs([100, 200]), COVARIANCE, outcome="deficit", limit=0),
        cs.studies.manipulation_cost(ladder(), "X", position=20, budget=70, pushes=[1, 21, 31]),
    ):
        figure, ax = plt.subplots()
        assert study.plot(ax=ax) is ax
        assert ax.lines
        plt.close(figure)
