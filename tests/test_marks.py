"""Marks that are trees, and funding: the venues' vectors through the public interface, what each part of a
tree means, what time does to averages, and what is refused."""

from __future__ import annotations

import math
import pickle
import random
from fractions import Fraction

import numpy as np
import pytest

import cascade as cs
from cascade import marks
from cascade._marks import Exponential, Window, decay
from cascade.records import EventKind, ShockPart, Why

pytestmark = pytest.mark.fast
SECOND = 10**9
HOUR = 3600 * SECOND
ERROR, TYPE, RANGE = cs.InputError, cs.InputTypeError, cs.RangeError


def market(bids=((99, 10),), asks=((101, 10),), tick="0.001", contract="linear", **instrument):
    """One instrument X; levels of (price, quantity)."""
    made = cs.Market(cs.Instrument("X", tick_size=tick, lot_size="0.001", contract=contract, **instrument))
    made.load_book(
        "X",
        {"price": [float(p) for p, _ in bids], "quantity": [float(q) for _, q in bids]},
        {"price": [float(p) for p, _ in asks], "quantity": [float(q) for _, q in asks]},
        complete=True,
    )
    return made


def feed(made, **prices):
    made.set_prices(**{name: {"X": value} for name, value in prices.items()})
    return made


def under(tree, **rules):
    return cs.VenueRules(mark=tree, **rules)


def fed(names, values):
    return dict(zip(names, values, strict=True))


def mark_now(made, tree, engine):
    """The mark as loaded; the market and the engine must say the same."""
    price = made.mark("X", under(tree))
    assert made.start(rules=under(tree), engine=engine).mark("X") == price
    return price


# The venues' vectors


def test_binance_takes_the_median_of_two_prices_and_the_last(engine):
    """bn-mark-01"""
    made = feed(
        market(), index=100, last="100.3", funding_rate="0.0001", time_to_funding=4, basis="0.2"
    )
    price_1, price_2 = marks.funded_index(), marks.index_plus_basis(30)
    assert mark_now(made, price_1, engine) == 100.005
    assert mark_now(made, price_2, engine) == 100.2
    assert mark_now(made, marks.median(price_1, price_2, marks.last()), engine) == 100.2


def test_the_index_adjusted_for_funding(engine):
    """bm-fair-1"""
    made = feed(market(tick="0.5"), index=10000, last=10000, funding_rate="0.0001", time_to_funding=4)
    assert mark_now(made, marks.funded_index(), engine) == 10000.5
    assert mark_now(feed(made, time_to_funding=0), marks.funded_index(), engine) == 10000
    assert mark_now(feed(made, funding_rate="-0.01", time_to_funding=8), marks.funded_index(), engine) == 9900


@pytest.mark.parametrize(
    ("values", "weights", "price"),
    [
        ((100, 101, 102, 103, 104), (3, 2, 2, 1, 1), 101),  # hl-mark-02
        ((104, 103, 102, 101, 100), (1, 1, 2, 2, 3), 101),
        ((100, 200), (1, 1), 100),  # half is reached at the first: the lower one
        ((100, 200), (1, "1.001"), 200),
        ((100, 200, 300), (1, 5, 1), 200),
        ((100, 100, 50), (1, 1, "1.5"), 100),
        ((7,), ("0.1",), 7),
    ],
)
def test_the_lower_weighted_median(engine, values, weights, price):
    names = "abcdefg"[: len(values)]
    made = feed(market(), external=fed(names, values))
    tree = marks.weighted_median(*((marks.external(n), w) for n, w in zip(names, weights, strict=True)))
    assert mark_now(made, tree, engine) == price


def hyperliquid():
    venues = {"binance": 3, "okx": 2, "bybit": 2, "gate": 1, "mexc": 1}
    spread = marks.median(marks.bid(), marks.ask(), marks.last())
    return marks.median(
        marks.index_plus_basis(150, average="exponential"),
        spread,
        marks.weighted_median(*((marks.external(n), w) for n, w in venues.items()), missing="drop"),
        missing="drop",
        spare=marks.ema(spread, 30),
    )


def test_hyperliquid_takes_the_median_of_three_and_a_spare_when_one_is_missing(engine):
    made = feed(market(), index=100, last=100, basis="0.5")
    # No foreign price: index + basis 100.5, the book 100, the average of the book 100.
    assert mark_now(made, hyperliquid(), engine) == 100
    feed(made, external={"binance": 103, "okx": 102, "gate": 101})
    assert mark_now(made, hyperliquid(), engine) == 100.5  # 100, 100.5, 102 or 103
    feed(made, external={"binance": None, "okx": None, "gate": None}, last="100.75")
    # Two inputs, 100.5 and 100.75, and the spare, 100.75.
    assert mark_now(made, hyperliquid(), engine) == 100.75


# What each part means


def test_sources(engine):
    made = feed(market(), index=100.25, last=99.5, external={"spot": 98.125})
    for tree, price in (
        (marks.last(), 99.5),
        (marks.bid(), 99),
        (marks.ask(), 101),
        (marks.mid(), 100),
        (marks.index(), 100.25),
        (marks.external("spot"), 98.125),
        (marks.index_plus_basis(60), 100),  # by default the basis is the present one
        (marks.ema(marks.last(), 3), 99.5),
    ):
        assert mark_now(made, tree, engine) == price


def test_missing_inputs(engine):
    made = feed(market(), index=100, last=99, external={"a": 98})
    nobody = marks.external("nobody")
    for tree, price in (
        (marks.median(marks.last(), nobody, missing="drop"), 99),
        (marks.median(marks.last(), nobody, marks.external("a"), missing="drop"), 98.5),
        (marks.weighted_median((nobody, 9), (marks.last(), 1), missing="drop"), 99),
        (marks.median(marks.median(nobody, marks.last()), marks.index(), missing="drop"), 100),
    ):
        assert mark_now(made, tree, engine) == price
    for tree in (
        nobody,
        marks.median(marks.last(), nobody),
        marks.weighted_median((marks.last(), 1), (nobody, 1)),
        marks.median(nobody, missing="drop"),
        marks.ema(nobody, 3),
    ):
        with pytest.raises(cs.InputError, match=r"market\['X'\]: no mark under rules.mark="):
            made.run(rules=under(tree), engine=engine)


def test_the_mean_of_two_is_half_even(engine):
    made = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    grid = [Fraction(1024 + k, 1024) for k in range(4)]
    for low, high, middle in ((0, 1, 0), (1, 2, 2), (2, 3, 2), (0, 2, 1)):
        made.set_prices(external={"X": {"a": grid[low], "b": grid[high]}})
        tree = marks.median(marks.external("a"), marks.external("b"))
        assert mark_now(made, tree, engine) == float(grid[middle])


def test_prices_derived_from_the_index_stay_near_it(engine):
    made = feed(market(), index=100, basis=500)
    assert mark_now(made, marks.index_plus_basis(30), engine) == 200
    feed(made, basis=-99.5)
    assert mark_now(made, marks.index_plus_basis(30), engine) == 50
    feed(made, funding_rate=-1, time_to_funding=8)
    assert mark_now(made, marks.funded_index(), engine) == 50


def test_a_mark_with_a_missing_input_keeps_its_value(engine):
    made = feed(market(bids=((99, 1), (97, 1))), last=100)
    tree = marks.median(marks.bid(), marks.ask(), marks.last())
    sim = made.start(rules=under(tree), engine=engine)
    assert sim.mark("X") == 100
    sim.apply(cs.Shock(orders={"X": -1}))
    assert sim.mark("X") == 99
    sim.apply(cs.Shock(orders={"X": -1}))  # no bid is left
    assert sim.mark("X") == 99
    sim.set_levels("X", 1, 96_000, 5)
    assert sim.mark("X") == 97


def test_a_gap_moves_external_prices_and_leaves_averages(engine):
    made = feed(market(), index=100, basis=2, external={"a": 101})
    for tree, price in (
        (marks.external("a"), 90.9),
        (marks.index_plus_basis(30), 92),
        (marks.ema(marks.index(), 30), 100),
        (marks.index(), 90),
    ):
        sim = made.start(cs.Shock(price=-0.1), rules=under(tree), engine=engine)
        assert sim.mark("X") == pytest.approx(price, abs=1e-6)
    sim = made.start(cs.Shock(index=-0.1), rules=under(marks.external("a")), engine=engine)
    assert sim.mark("X") == pytest.approx(101, abs=1e-6)


def test_a_string_and_the_same_tree_run_alike(engine):
    """Liquidations, causes, previous marks: all of it rests on the mark, whatever it is made of."""
    trees = {
        "last": marks.last(),
        "mid": marks.mid(),
        "index": marks.index(),
        "book_median": marks.median(marks.bid(), marks.ask(), marks.last()),
    }
    made = cs.datasets.constant_depth(reach=3)
    for name, tree in trees.items():
        for price in ("bankruptcy", "previous_mark"):
            runs = [
                made.run(
                    cs.Shock(price=-0.01, orders={"X": -200}),
                    rules=made.rules.replace(mark=mark, adl_price=price), engine=engine, audit="full",
                )
                for mark in (name, tree)
            ]  # fmt: skip
            assert runs[0].digest == runs[1].digest


def test_a_liquidation_moves_a_tree_and_the_tree_the_next_one(engine):
    """Halved feedback: the median of last and index moves half as far as the last."""
    made = market(bids=((99, 1), (90, 50)), asks=((101, 10),), tiers=0.01)
    feed(made, last=100, index=100)
    made.load_accounts({"account": ["a", "b", "c"], "balance": [0.0, 0.0, 0.0]})
    made.load_positions(
        {
            "account": ["a", "b", "c"], "instrument": ["X"] * 3, "size": [1.0, 1.0, 1.0],
            "entry_price": [100.0] * 3, "margin": [1.4, 5.5, 7.5],
        }
    )  # fmt: skip
    half = marks.median(marks.last(), marks.index())
    result = made.run(cs.Shock(orders={"X": -1}), rules=under(half), engine=engine, audit="full")
    assert result.prices["mark"].tolist() == [99.5, 95.0]
    assert result.liquidations["account"].tolist() == ["a", "b"]
    first, second = result.liquidations["cause"].tolist()
    assert first == -1
    assert result.events[second]["kind"] == EventKind.MARK


# Time


def test_the_window_forgets_what_is_older(engine):
    made = feed(market(), index=100, basis=3)
    sim = made.start(rules=under(marks.index_plus_basis(30)), engine=engine)
    for dt, price in ((10, 102), (10, 101), (5, 100.5), (5, 100), (60, 100)):  # the present basis is 0
        sim.advance_ns(dt * SECOND)
        assert sim.mark("X") == price
    sim.set_levels("X", 1, 99_800, 1)  # mid 100.4
    assert sim.mark("X") == 100
    sim.advance_ns(15 * SECOND)
    assert sim.mark("X") == pytest.approx(100.2, abs=1e-6)


def test_the_exponential_average_is_hyperliquids(engine):
    made = feed(market(), index=100, basis=3)
    sim = made.start(rules=under(marks.index_plus_basis(150, average="exponential")), engine=engine)
    num, den = 3 * 150.0, 150.0
    for dt in (3, 3, 1, 100, 1000):
        sim.advance_ns(dt * SECOND)
        kept = math.exp(-dt / 150)
        num, den = num * kept, den * kept + dt  # the present basis is 0
        assert sim.mark("X") == pytest.approx(100 + num / den, abs=2e-6)


def test_an_average_that_nobody_fed_begins_with_the_first_sample(engine):
    made = feed(market(), index=98, basis=None)
    tree = marks.median(marks.index_plus_basis(150, average="exponential"), marks.last(), missing="drop")
    sim = made.start(rules=under(marks.median(tree)), engine=engine)
    assert sim.mark("X") == 100  # the last alone
    samples = []
    for bid, dt in ((99, 3), (99.5, 2), (100, 4)):
        sim.set_levels("X", 1, round(bid * 1000), 1)
        samples.append(((bid + 101) / 2 - 98, dt))
        sim.advance_ns(dt * SECOND)
    num = den = 0.0
    for x, dt in samples:
        num, den = num * math.exp(-dt / 150) + x * dt, den * math.exp(-dt / 150) + dt
    assert sim.mark("X") == pytest.approx((98 + num / den + 100) / 2, abs=2e-6)


def test_an_average_of_a_mark_follows_it(engine):
    made = feed(market(), last=100)
    sim = made.start(rules=under(marks.ema(marks.last(), 30)), engine=engine)
    sim.apply(cs.Shock(orders={"X": -1}))
    assert sim.mark("X") == 100
    sim.advance_ns(30 * SECOND)
    expected = (100 * 30 * math.exp(-1) + 99 * 30) / (30 * math.exp(-1) + 30)
    assert sim.mark("X") == pytest.approx(expected, abs=2e-6)


def test_while_a_side_is_empty_the_basis_stands_still(engine):
    made = feed(market(bids=((99, 1),)), index=100, basis=3)
    sim = made.start(cs.Shock(orders={"X": -1}), rules=under(marks.index_plus_basis(30)), engine=engine)
    sim.advance_ns(20 * SECOND)
    assert sim.mark("X") == 103
    sim.set_levels("X", 1, 99_000, 1)
    sim.advance_ns(15 * SECOND)
    assert sim.mark("X") == 101.5


def test_funding_time_counts_down_and_begins_again(engine):
    made = feed(market(tick="0.5"), index=10000, funding_rate="0.01", time_to_funding=2)
    sim = made.start(rules=under(marks.funded_index()), engine=engine)
    for hours, price in ((0, 10025), (1, 10012.5), (1, 10000), (2, 10075), (8, 10075), (6, 10000)):
        sim.advance_ns(hours * HOUR)
        assert sim.mark("X") == price
    # An instrument may have an interval of its own.
    hourly = feed(market(tick="0.5", funding_interval=1), index=10000, funding_rate="0.01")
    assert mark_now(hourly, marks.funded_index(), engine) == 10100


def test_what_time_does_comes_from_outside(engine):
    """A MARK of cause -1; whoever it makes unhealthy is liquidated by the next step, caused from outside."""
    made = feed(market(tiers=0.01), index=100, basis=3)
    made.load_accounts({"account": ["a"], "balance": [3.0]})
    made.load_positions({"account": ["a"], "instrument": ["X"], "size": [1.0], "entry_price": [103.0]})
    sim = made.start(rules=under(marks.index_plus_basis(30)), engine=engine, audit="full")
    assert not sim.step()
    twin = sim.copy()
    sim.advance_ns(25 * SECOND)
    sim.settle()
    result = sim.result()
    first = result.events[0]
    assert first["kind"] == EventKind.MARK
    assert (first["cause"], first["wave"], first["time_ns"]) == (-1, 0, 25 * SECOND)
    assert result.liquidations["cause"].tolist() == [-1]
    assert result.prices["mark"][0] == 100.5
    assert twin.mark("X") == 103
    twin.advance_ns(5 * SECOND)
    assert twin.mark("X") == 102.5
    assert not twin.step()


def test_an_engine_is_as_good_as_new_after_time_and_gaps():
    made = feed(market(), index=100, basis=3, external={"a": 104})
    rules = under(marks.median(marks.index_plus_basis(30), marks.external("a")))
    before = made.run(cs.Shock(orders={"X": -1}), rules=rules).digest
    assert made.run(cs.Shock(price=-0.3), rules=rules).digest != before
    sim = made.start(cs.Shock(price=-0.2), rules=rules)
    sim.advance_ns(7 * SECOND)
    sim.settle()
    assert made.run(cs.Shock(orders={"X": -1}), rules=rules).digest == before


def test_averages_against_their_definitions():
    rng = random.Random(5)
    for _ in range(60):
        span, start = rng.choice((1, 7, 1000, 30 * SECOND)), rng.choice((None, rng.randint(-(2**62), 2**62)))
        window, smooth = Window(span, start), Exponential(span, start)
        pieces = [] if start is None else [(span, start)]
        num = den = Fraction(0)
        if start is not None:
            num, den = Fraction(start * span), Fraction(span)
        for _ in range(rng.randint(1, 12)):
            dt, x = rng.randint(1, 2 * span), rng.randint(-(2**20), 2**62)
            window.add(dt, x)
            smooth.add(dt, x)
            pieces.append((dt, x))
            kept = Fraction(decay(dt, span), 2**64)
            assert float(kept) == pytest.approx(math.exp(-dt / span), rel=1e-12, abs=1e-18)
            num, den = num * kept + x * dt, den * kept + dt
        left, total = span, 0
        for dt, x in reversed(pieces):
            total += min(dt, left) * x
            left -= min(dt, left)
        assert window.value == round(Fraction(total, span - left))
        assert abs(smooth.value - num / den) <= 1
        assert window.length <= span


# Refusals


@pytest.mark.parametrize(
    ("tree", "error", "text"),
    [
        (marks.median(), ERROR, "rules.mark.inputs = (): must have at least one, a mark needs a source"),
        (marks.weighted_median(), ERROR, "rules.mark.inputs = (): must have at least one"),
        (marks.median(marks.last(), "index"), TYPE, "rules.mark.inputs[1] = 'index': must be a mark"),
        (marks.median(marks.last(), missing="no"), ERROR, "rules.mark.missing = 'no': must be one of keep"),
        (marks.median(marks.last(), missing=None), TYPE, "rules.mark.missing = null: must be one of"),
        (
            marks.median(marks.last(), marks.bid(), spare=marks.ask(), missing="drop"), ERROR,
            "rules.mark.spare = ask(): must go with three inputs and missing='drop'",
        ),
        (
            marks.median(marks.last(), marks.bid(), marks.ask(), spare=marks.mid()), ERROR,
            "rules.mark.spare = mid(): must go with",
        ),
        (
            marks.median(marks.last(), marks.bid(), marks.ask(), spare=3, missing="drop"), TYPE,
            "rules.mark.spare = 3: must be a mark of cs.marks",
        ),
        (marks.weighted_median(marks.last()), TYPE, "rules.mark.inputs[0] = last(): must be (mark,"),
        (marks.weighted_median((marks.last(), 0)), ERROR, "rules.mark.inputs[0].weight = 0: must be > 0"),
        (marks.weighted_median((marks.last(), -1)), ERROR, "rules.mark.inputs[0].weight = -1: must be > 0"),
        (marks.weighted_median((marks.last(), "x")), ERROR, "rules.mark.inputs[0].weight = 'x': must be a"),
        (
            marks.weighted_median((marks.last(), 1), (marks.bid(), 2**50)), ERROR,
            "rules.mark.inputs: weights must be whole in a common unit",
        ),
        (marks.index_plus_basis(0), ERROR, "rules.mark.seconds = 0: must be > 0"),
        (marks.index_plus_basis(-3), ERROR, "rules.mark.seconds = -3: must be > 0"),
        (marks.index_plus_basis(1e-12), ERROR, "rules.mark.seconds = 1e-12: must be from 1e-9 to 1000000"),
        (marks.index_plus_basis(10**7), ERROR, "rules.mark.seconds = 10000000: must be from"),
        (marks.index_plus_basis(math.nan), ERROR, "rules.mark.seconds = nan: must be finite"),
        (marks.index_plus_basis(None), TYPE, "rules.mark.seconds = null: must be a number"),
        (marks.index_plus_basis(3, "mean"), ERROR, "rules.mark.average = 'mean': must be one of window"),
        (marks.ema(marks.last(), 0), ERROR, "rules.mark.seconds = 0: must be > 0"),
        (marks.ema("last", 3), TYPE, "rules.mark.source = 'last': must be a mark of cs.marks"),
        (marks.ema(marks.median(), 3), ERROR, "rules.mark.source.inputs = (): must have at least one"),
        (marks.external(""), ERROR, "rules.mark.name = '': must not be empty"),
        (marks.external(7), TYPE, "rules.mark.name = 7: must be a string"),
        (marks.Source("fair"), ERROR, "rules.mark = 'fair': must be one of last, bid"),
        (marks.Mark(), ERROR, "unknown kind of mark"),
        (marks.median(*[marks.last()] * 64), ERROR, "a mark must have at most 64 parts"),
        (marks.last, TYPE, "or a mark of cs.marks"),
    ],
)  # fmt: skip
def test_bad_trees_are_refused(tree, error, text):
    with pytest.raises(error) as caught:
        cs.VenueRules(mark=tree)
    assert text in str(caught.value)


def test_endless_trees_are_refused():
    tree = marks.last()
    for _ in range(2000):
        tree = marks.median(tree, tree)
    with pytest.raises(cs.InputError, match="at most 64 parts"):
        cs.VenueRules(mark=tree)


@pytest.mark.parametrize(
    ("prices", "error", "text"),
    [
        ({"external": {"X": 3}}, TYPE, "prices.external['X'] = 3: must map names to prices"),
        ({"external": {"X": {"a": 0}}}, ERROR, "prices.external['X']['a'] = 0: must be > 0"),
        ({"external": {"X": {"": 3}}}, ERROR, "prices.external['X']: name = '': must not be empty"),
        ({"external": {"X": {"a": 1e16}}}, RANGE, "prices.external['X']['a'] = 1e+16: must be at least"),
        ({"external": {"Y": {"a": 1}}}, ERROR, "prices.external = 'Y': unknown instrument"),
        ({"funding_rate": {"X": 1.5}}, ERROR, "prices.funding_rate['X'] = 1.5: must be in [-1, 1]"),
        ({"funding_rate": 0.1}, TYPE, "prices.funding_rate = 0.1: must map symbols"),
        ({"time_to_funding": {"X": -1}}, ERROR, "prices.time_to_funding['X'] = -1: must be from 0 to"),
        ({"time_to_funding": {"X": 8.5}}, ERROR, "must be from 0 to the funding interval, 8 hours"),
        ({"basis": {"X": "x"}}, ERROR, "prices.basis['X'] = 'x': must be a number"),
        ({"basis": {"X": 1e15}}, RANGE, "prices.basis['X'] = 1000000000000000.0: must be within 2**52"),
    ],
)  # fmt: skip
def test_bad_feeds_are_refused_and_change_nothing(prices, error, text):
    made = feed(market(), index=100)
    digest = made.digest
    with pytest.raises(error) as caught:
        made.set_prices(index={"X": 120}, **prices)
    assert text in str(caught.value)
    assert made.digest == digest


def test_a_tree_is_a_value():
    one, two = hyperliquid(), hyperliquid()
    assert one == two
    assert hash(under(one)) == hash(under(two))
    assert pickle.loads(pickle.dumps(one)) == one
    names = {name: getattr(marks, name) for name in marks.__all__}
    assert eval(repr(one), names) == one
    assert repr(marks.index_plus_basis(30)) == "index_plus_basis(30)"
    assert "median(" in repr(under(one))


def test_what_is_fed_is_part_of_the_digest():
    digests = {market().digest}
    for prices in (
        {"external": {"a": 3}}, {"external": {"b": 3}}, {"external": {"a": 4}}, {"funding_rate": 0.1},
        {"time_to_funding": 3}, {"basis": 1}, {"basis": None},
    ):  # fmt: skip
        digests.add(feed(market(), **prices).digest)
    assert len(digests) == 8
    assert market(funding_interval=4).digest not in digests


def test_prices_that_could_overflow_are_refused(engine):
    made = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1), cash_quantum=1)
    made.set_prices(index={"X": 2**52}, last={"X": 100})
    made.run(rules=under(marks.median(marks.index(), marks.last())), engine=engine)
    with pytest.raises(cs.RangeError, match=r"must stay below 2\*\*53"):
        made.run(rules=under(marks.funded_index()), engine=engine)


# Funding


@pytest.mark.parametrize(
    ("funding", "premium", "rate"),
    [
        ({}, "0.0006", "0.0001"),  # bn-fund-01
        ({}, "-0.0004", "0.0001"),
        ({}, "0.001", "0.0005"),  # bn-fund-03
        ({}, "-0.001", "-0.0005"),
        ({"interval": 4}, "0.001", "0.00025"),
        ({"cap": "0.0003"}, "0.001", "0.0003"),
        ({"cap": "0.0003"}, "-1", "-0.0003"),
        ({"interval": 1, "cap": "0.04"}, "0.01", "0.0011875"),  # hl-fund-02
        ({"interval": 1, "cap": "0.04", "divisor": 1}, "0.01", "0.0095"),
        ({"interval": 1, "cap": "0.04"}, "0.5", "0.04"),
        ({"damper": "0.00025", "cap": "0.005"}, "0.0002", "0"),  # db-fund-1
        ({"damper": "0.00025", "cap": "0.005"}, "0.0005", "0.00025"),  # db-fund-2
        ({"damper": "0.00025", "cap": "0.005"}, "-0.001", "-0.00075"),  # db-fund-3
        ({"damper": "0.00025", "cap": "0.005"}, "0.1", "0.005"),
    ],
)
def test_rates(funding, premium, rate):
    rules = cs.VenueRules(funding=cs.Funding(**funding))
    assert rules.funding.rate(premium) == Fraction(rate)


@pytest.mark.parametrize(
    ("clamp_ppm", "initial_ppm", "maintenance_part_ppm", "limit_ppm"),
    [
        (6_000_000, 450_000, 1_000_000, 0),  # dydx-fclamp-2
        (3_000_000, 1_000_000, 0, 3_000_000),  # dydx-fclamp-3
        (423_978_721, 745_345, 564_947, 137_481_459),  # dydx-fclamp-4
        (6_000_000, 50_000, 600_000, 120_000),
    ],
)
def test_a_cap_by_margin(clamp_ppm, initial_ppm, maintenance_part_ppm, limit_ppm):
    initial = Fraction(initial_ppm, 10**6)
    tiers = [(0, None, initial, initial * Fraction(maintenance_part_ppm, 10**6))]
    x = cs.Instrument("X", tick_size=1, lot_size=1, tiers=tiers)
    funding = cs.Funding(interest=0, clamp=0, margin_cap=Fraction(clamp_ppm, 10**6), interval=1)
    assert funding.limit(x) == Fraction(limit_ppm, 10**6)
    assert funding.rate(-10_000, x) == -funding.limit(x)
    with pytest.raises(cs.InputError, match=r"funding.margin_cap: needs the instrument"):
        funding.rate(1)


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"clamp": -1}, ERROR, "funding.clamp = -1: must be >= 0"),
        ({"clamp": None}, TYPE, "funding.clamp = null: must be a number"),
        ({"interest": 2}, ERROR, "funding.interest = 2: must be in [-1, 1]"),
        ({"damper": -0.1}, ERROR, "funding.damper = -0.1: must be >= 0"),
        ({"cap": -0.1}, ERROR, "funding.cap = -0.1: must be >= 0"),
        ({"margin_cap": "x"}, ERROR, "funding.margin_cap = 'x': must be a number"),
        ({"interval": 0}, ERROR, "funding.interval = 0: must be > 0"),
        ({"interval": 10**5}, ERROR, "funding.interval = 100000: must be at most 8784 hours"),
        ({"divisor": 0}, ERROR, "funding.divisor = 0: must be > 0"),
        ({"price": "oracle"}, ERROR, "funding.price = 'oracle': must be one of mark, index"),
        ({"price": None}, TYPE, "funding.price = null: must be one of mark, index"),
    ],
)
def test_bad_funding_is_refused(fields, error, text):
    with pytest.raises(error) as caught:
        cs.Funding(**fields)
    assert text in str(caught.value)


def test_bad_funding_rules_and_shocks_are_refused():
    with pytest.raises(cs.InputTypeError, match=r"rules.funding = 'bitmex': must be a cs.Funding or None"):
        cs.VenueRules(funding="bitmex")
    with pytest.raises(cs.InputError, match=r"shock.funding\['X'\] = 2: must be in \[-1, 1\]"):
        cs.Shock(funding={"X": 2})
    with pytest.raises(cs.InputError, match=r"funding_interval = 0: must be > 0"):
        cs.Instrument("X", tick_size=1, lot_size=1, funding_interval=0)


def test_a_payment_is_a_transfer(engine):
    """hl-fund-02: at the index, which is the oracle; longs pay."""
    made = cs.Market(cs.Instrument("BTC", tick_size=1, lot_size=1))
    made.load_accounts({"account": ["a"], "balance": [100_000.0]})
    made.load_positions({"account": ["a"], "instrument": ["BTC"], "size": [10], "entry_price": [9_000.0]})
    made.set_prices(index={"BTC": 10_000}, last={"BTC": 11_000})
    funding = cs.Funding(interest="0.0001", clamp="0.0005", cap="0.04", interval=1, price="index")
    shock = cs.Shock(funding={"BTC": funding.rate("0.01")})
    for price, paid in (("index", 118.75), ("mark", 130.625)):
        rules = cs.VenueRules(funding=cs.Funding(price=price))
        result = made.run(shock, rules=rules, engine=engine, audit="full")
        assert result.flows["amount"].tolist() == [paid]
        assert result.flows["why"].tolist() == ["funding"]
        assert result.flows["from"].tolist() == ["a"]
        assert result.flows["to"].tolist() == ["external"]
        shock_event = result.events[0]
        assert shock_event["flags"] == ShockPart.FUNDING
        assert shock_event["quantity"] == 1_187_500_000
        assert result.events[1]["cause"] == -1
    result = made.run(shock, engine=engine)  # without a rule: at the mark
    assert result.flows["amount"].tolist() == [130.625]


def test_longs_pay_shorts_in_order_of_accounts_and_slots(engine):
    made = market(tick=1, tiers=0.005)
    made.load_accounts({"account": ["a", "b"], "balance": [50.0, 50.0]})
    made.load_positions(
        {
            "account": ["b", "b", "a", "a"], "instrument": ["X"] * 4, "size": [2.0, -3.0, -1.0, 0.5],
            "entry_price": [100.0] * 4, "position_side": ["long", "short", "both", "both"],
            "margin": [math.nan, math.nan, math.nan, 60.0],
        }
    )  # fmt: skip
    result = made.run(cs.Shock(funding=0.01), engine=engine, audit="full")
    flows = result.flows
    assert flows["from"].tolist() == ["external", "b", "external", "a"]
    assert flows["amount"].tolist() == [1.0, 2.0, 3.0, 0.5]
    back = made.run(cs.Shock(funding=-0.01), engine=engine).flows
    assert back["to"].tolist() == flows["from"].tolist()
    assert result.audit["conserved"]


def test_an_inverse_payment_is_in_coin(engine):
    made = market(bids=((9999, 1),), asks=((10001, 1),), tick=1, contract="inverse")
    made.load_accounts({"account": ["a"], "balance": [1.0]})
    made.load_positions({"account": ["a"], "instrument": ["X"], "size": [5000], "entry_price": [10_000.0]})
    result = made.run(cs.Shock(funding={"X": "0.0001"}), engine=engine, audit="full")
    assert result.flows["from"].tolist() == ["a"]
    assert result.flows["amount"].tolist() == pytest.approx([0.00005], abs=1e-10)


def test_funding_makes_an_account_unhealthy(engine):
    made = market(bids=((99, 50),), tick=1, tiers=0.01)
    made.load_accounts({"account": ["a"], "balance": [3.0]})
    made.load_positions({"account": ["a"], "instrument": ["X"], "size": [2.0], "entry_price": [100.0]})
    assert len(made.run(engine=engine).liquidations) == 0
    result = made.run(cs.Shock(funding=0.01), engine=engine, audit="full")
    assert result.liquidations["cause"].tolist() == [-1]
    sim = made.start(engine=engine, audit="full")
    sim.settle()
    sim.apply(cs.Shock(funding={"X": 0.004}))
    assert not sim.step()
    sim.apply(cs.Shock(funding={"X": 0.004}))
    sim.settle()
    again = sim.result()
    assert len(again.liquidations) == 1
    assert [w for w in again.flows["why"].tolist() if w == "funding"] == ["funding"] * 2


def test_funding_comes_after_the_gap_and_before_the_orders_at_the_mark_in_force(engine):
    made = market(tick=1)
    made.load_accounts({"account": ["a"], "balance": [300.0]})
    made.load_positions({"account": ["a"], "instrument": ["X"], "size": [2.0], "entry_price": [100.0]})
    shock = cs.Shock(price=-0.1, cash={"a": 5}, funding=0.01, orders={"X": -1})
    result = made.run(shock, engine=engine)
    kinds = [k for k in result.events["kind"].tolist() if k not in (EventKind.MARK, EventKind.END)]
    assert kinds == [
        EventKind.SHOCK, EventKind.SHOCK, EventKind.SHOCK, EventKind.TRANSFER, EventKind.ORDER,
        EventKind.FILL,
    ]  # fmt: skip
    parts = [e["flags"] for e in result.events if e["kind"] == EventKind.SHOCK]
    assert parts == [ShockPart.GAP, ShockPart.CASH, ShockPart.FUNDING]
    assert result.flows["amount"].tolist() == [2.0]  # at 100: the new mark is not in force yet
    assert Why.FUNDING in result.events["flags"]


def test_the_vault_pays_and_is_paid_too(engine):
    made = cs.Market(market(tick=1, tiers=0.01).instruments, vault=10_000)
    bids, asks = {"price": [99.0], "quantity": [1.0]}, {"price": [101.0], "quantity": [9.0]}
    made.load_book("X", bids, asks, complete=True)
    made.load_accounts({"account": ["a"], "balance": [3.0]})
    made.load_positions({"account": ["a"], "instrument": ["X"], "size": [5.0], "entry_price": [100.0]})
    rules = cs.VenueRules(mark="index", residual=("vault",))
    sim = made.start(cs.Shock(index=-0.01), rules=rules, engine=engine, audit="full")
    sim.settle()
    sim.apply(cs.Shock(funding={"X": 0.01}))
    flows = sim.result().flows
    assert flows["from"].tolist()[-1] == "vault"
    assert flows["amount"].tolist()[-1] == pytest.approx(4 * 99 * 0.01)


def test_a_payment_that_could_overflow_is_refused():
    made = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1), cash_quantum=1)
    made.set_prices(index={"X": 2**30}, last={"X": 2**30})
    made.load_accounts({"account": ["a"], "balance": [0.0]})
    made.load_positions({"account": ["a"], "instrument": ["X"], "size": [2**27], "entry_price": [2.0**30]})
    made.run(cs.Shock(funding=0.001))
    with pytest.raises(cs.RangeError, match=r"account 'a' could reach"):
        made.run(cs.Shock(funding=1) + cs.Shock(funding=1) + cs.Shock(funding=1))


def test_a_funding_shock_in_words():
    shock = cs.Shock(funding={"X": "0.0001"}, price=-0.1)
    assert str(shock) == "all prices -10%, X funding +0.01%"
    assert eval(repr(shock), {"Shock": cs.Shock}) == shock
    assert len(cs.Shock(funding=0).compile(market())) == 0
    assert np.all(cs.Shock(funding=0.5).compile(market())["rate"] == 5 * 10**11)
