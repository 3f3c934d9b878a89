"""Studies: against numbers that are known - published, or worked out on textbook markets."""

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
