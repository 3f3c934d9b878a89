"""An index that follows another one by a beta: what a shock of the other does to it, in both engines."""

import pickle
from fractions import Fraction

import numpy as np
import pytest

import cascade as cs
from cascade._scenario import load_scenario
from cascade.records import EventKind, ShockPart

pytestmark = pytest.mark.fast
INDEX = cs.VenueRules(mark="index")


def made(symbol, follows=None, **fields):
    return cs.Instrument(symbol, tick_size="0.5", lot_size=1, tiers=0.01, index_follows=follows, **fields)


def market(*instruments, index=100.0):
    """Books of some levels around 100, index marks."""
    m = cs.Market(instruments, rules=INDEX, fund=50)
    for instrument in instruments:
        bids = {"price": [99.5 - k for k in range(40)], "quantity": [20] * 40}
        asks = {"price": [100.5 + k for k in range(40)], "quantity": [20] * 40}
        m.load_book(instrument.symbol, bids, asks)
    m.set_prices(index={i.symbol: index for i in instruments})
    return m


def moves(m, shock, engine):
    """{symbol: index after / index before}, in 1/1024 ticks of half a unit."""
    result = m.run(shock, engine=engine)
    return dict(zip(m._index, result._data.index_1024, strict=True))


def half_even(index, g):
    """An index in 1/1024 tick after a move of 1e-9."""
    return round(Fraction(index * (10**9 + g), 10**9))


START = 200 * 1024


def test_it_moves_by_beta_times_the_move(engine):
    m = market(made("A"), made("B", ("A", "1.25")), made("C"))
    for shock in (cs.Shock(index={"A": -0.04}), cs.Shock(price={"A": -0.04})):
        after = moves(m, shock, engine)
        assert after == {"A": half_even(START, -40_000_000), "B": half_even(START, -50_000_000), "C": START}


def test_the_books_of_the_follower_stay(engine):
    m = market(made("A"), made("B", ("A", 2)))
    result = m.run(cs.Shock(price={"A": -0.1}), engine=engine)
    assert result.summary["price"]["B"]["final"] == pytest.approx(80)  # the index is the mark here
    parts = [(e["instrument"], e["flags"]) for e in result.events if e["kind"] == EventKind.SHOCK]
    assert parts == [(0, ShockPart.GAP), (1, ShockPart.INDEX)]
    assert result._data.last == [180, 200]


def test_moves_are_rounded_once_to_a_billionth_and_once_to_the_grid(engine):
    beta = Fraction(333_333_333_333, 10**12)
    m = market(made("A"), made("B", ("A", beta)), made("C", ("B", "0.7")), index=12_345.5)
    start, g = round(12_345.5 * 2 * 1024), -123_456_789
    after = moves(m, cs.Shock(index={"A": Fraction(g, 10**9)}), engine)
    assert after["B"] == half_even(start, round(g * beta))
    assert after["C"] == half_even(start, round(g * beta * Fraction(7, 10)))  # not from B's rounded move
    assert round(round(g * beta) * Fraction(7, 10)) != 0


def test_what_the_shock_names_moves_as_it_says(engine):
    m = market(made("A"), made("B", ("A", 2)), made("C", ("B", "0.5")))
    half = half_even(START, -100_000_000)
    assert moves(m, cs.Shock(index={"A": -0.1, "B": 0}), engine) == {"A": half, "B": START, "C": START}
    after = moves(m, cs.Shock(index={"A": -0.1, "B": -0.02}), engine)
    assert after == {"A": half, "B": half_even(START, -20_000_000), "C": half_even(START, -10_000_000)}
    for everything in (cs.Shock(index=-0.1), cs.Shock(price=-0.1)):
        assert moves(m, everything, engine) == dict.fromkeys("ABC", half)
    # A part of its own: what moves the price of A first, moves B; then B's own index moves on from there.
    both = moves(m, cs.Shock(price={"A": -0.1}, index={"B": -0.02}), engine)
    assert both["B"] == half_even(half_even(START, -200_000_000), -20_000_000)
    assert both["C"] == half_even(half_even(START, -100_000_000), -10_000_000)
    in_turn = cs.Shock(index={"A": -0.1}) + cs.Shock(index={"A": 0.1})
    assert moves(m, in_turn, engine)["B"] == half_even(half_even(START, -200_000_000), 200_000_000)


def test_a_market_without_followers_has_the_operations_that_it_had():
    m = market(made("A"), made("B"))
    shock = cs.Shock(price={"A": -0.1}, index={"A": -0.1})
    assert shock.compile(m)[["part", "instrument", "rate"]].tolist() == [
        (ShockPart.GAP, 0, -(10**8)), (ShockPart.INDEX, 0, -(10**8))
    ]  # fmt: skip


def test_who_has_no_index_does_not_get_one(engine):
    m = cs.Market([made("A"), made("B", ("A", 2))])
    m.set_prices(last={"A": 100, "B": 100}, index={"A": 100})
    after = moves(m, cs.Shock(index={"A": -0.1}), engine)
    assert after["A"] == half_even(START, -100_000_000)
    assert after["B"] == 0


def random_market(rng):
    """Five instruments that follow others at random, and accounts that hold some of each."""
    symbols, instruments = list("ABCDE"), []
    order = rng.permutation(5)
    for k in range(5):
        earlier = [symbols[j] for j in range(5) if order[j] < order[k]]
        follows = None
        if earlier and rng.random() < 0.8:
            follows = (earlier[rng.integers(len(earlier))], float(np.round(rng.uniform(-1.5, 1.6), 12)) or 1)
        instruments.append(made(symbols[k], follows))
    m = market(*instruments)
    n = 30
    m.load_accounts({"account": np.arange(n), "balance": rng.uniform(20, 150, n).round(6)})
    rows = [(a, s) for a in range(n) for s in symbols if rng.random() < 0.5]
    size = rng.integers(1, 12, len(rows)) * rng.choice([-1, 1], len(rows))
    columns = {"account": [a for a, _ in rows], "instrument": [s for _, s in rows]}
    m.load_positions({**columns, "size": size, "entry_price": rng.uniform(98, 102, len(rows)).round(3)})
    return m


def random_shock(rng):
    named = {s: round(float(rng.uniform(-0.12, 0.12)), 9) for s in "ABCDE" if rng.random() < 0.4}
    kind = ("price", "index")[rng.integers(2)]
    return cs.Shock(**{kind: named}) + cs.Shock(index={"ABCDE"[rng.integers(5)]: 0.03}, orders={"A": -15})


@pytest.mark.parametrize("seed", range(25))
def test_both_engines_agree(seed):
    rng = np.random.default_rng([seed, 5])
    m, shock = random_market(rng), random_shock(rng)
    middle = cs.marks.median(cs.marks.index(), cs.marks.last(), cs.marks.mid())
    for rules in (INDEX, INDEX.replace(mark="book_median"), INDEX.replace(mark=middle)):
        results = [m.run(shock, rules=rules, engine=name, audit="full") for name in ("core", "reference")]
        assert results[0].digest == results[1].digest


def test_random_shocks_liquidate_through_the_index_alone():
    """Or the test above would say nothing about what followers' marks do."""
    found = 0
    for seed in range(25):
        rng = np.random.default_rng([seed, 5])
        found += random_market(rng).run(cs.Shock(index={"A": -0.1})).summary["liquidated_accounts"]
    assert found > 50


def test_simulations_follow_as_well(engine):
    m = market(made("A"), made("B", ("A", "1.5")))
    sim = m.start(engine=engine)
    sim.apply(cs.Shock(index={"A": -0.1}))
    sim.settle()
    assert sim.mark("B") == pytest.approx(85)


def test_it_is_part_of_the_terms_and_of_the_digest():
    one, other = made("B", ("A", "1.2")), made("B", ["A", 1.3])
    assert one.index_follows == ("A", Fraction(6, 5))
    assert one != other != made("B")
    assert pickle.loads(pickle.dumps(one)) == one
    assert "index_follows=('A', 1.2)" in repr(one)
    assert "index_follows" not in repr(made("B"))
    assert market(made("A"), one).digest != market(made("A"), other).digest


@pytest.mark.parametrize(
    ("follows", "error", "message"),
    [
        (("B", 1), cs.InputError, r"instrument\['B'\].index_follows\[0\] = 'B': must be another instrument"),
        (("A", 0), cs.InputError, r"instrument\['B'\].index_follows\[1\] = 0: must not be 0"),
        (("A", 101), cs.InputError, r"index_follows\[1\] = 101: must be in \[-100, 100\]"),
        (("A", float("nan")), cs.InputError, r"index_follows\[1\] = nan: must be finite"),
        (("A", True), cs.InputTypeError, r"index_follows\[1\] = True: must be a number"),
        ((5, 1), cs.InputTypeError, r"index_follows\[0\] = 5: must be a symbol"),
        ("A", cs.InputTypeError, r"index_follows = 'A': must be \(symbol, beta\)"),
        (("A",), cs.InputError, r"index_follows = \('A',\): must be \(symbol, beta\)"),
        (3, cs.InputTypeError, r"index_follows = 3: must be \(symbol, beta\)"),
    ],
)  # fmt: skip
def test_bad_terms(follows, error, message):
    with pytest.raises(error, match=message):
        made("B", follows)


def test_what_is_followed_must_be_there_and_not_follow_back():
    unknown = r"instruments\[1\].index_follows\[0\] = 'X': unknown instrument; the market has A, B"
    with pytest.raises(cs.InputError, match=unknown):
        cs.Market([made("A"), made("B", ("X", 1))])
    circle = r"instruments\[0\].index_follows: A follows C follows B follows A: must not be a circle"
    with pytest.raises(cs.InputError, match=circle):
        cs.Market([made("A", ("C", 1)), made("B", ("A", 1)), made("C", ("B", 1))])


def test_a_move_that_leaves_nothing_is_refused_before_the_run():
    m = market(made("A"), made("B", ("A", 2)), made("C", ("B", "-1.5")))
    before = m.digest
    rule = r"moves the index of '{}', which follows it, by {}: must be > -1"
    with pytest.raises(cs.InputError, match=r"shock.index\['A'\] = -0.5: " + rule.format("B", -1)):
        m.run(cs.Shock(index={"A": -0.5}))
    with pytest.raises(cs.InputError, match=r"shock.price\['A'\] = 0.4: " + rule.format("C", -1.2)):
        m.run(cs.Shock(price={"A": 0.4}))
    assert m.digest == before


def test_a_scenario_file_has_it(tmp_path):
    for name, price in (("bids", 99.5), ("asks", 100.5)):
        (tmp_path / f"{name}.csv").write_text(f"price,quantity\n{price},10\n")
    (tmp_path / "s.toml").write_text("""
[[instrument]]
symbol = "A"
tick_size = 0.5
lot_size = 1
book = { bids = "bids.csv", asks = "asks.csv" }
[[instrument]]
symbol = "B"
tick_size = 0.5
lot_size = 1
index_follows = ["A", 1.5]
book = { bids = "bids.csv", asks = "asks.csv" }
[rules]
mark = "index"
[shock]
index = { A = -0.1 }
""")
    scenario = load_scenario(tmp_path / "s.toml")
    assert scenario.market.instruments[1].index_follows == ("A", Fraction(3, 2))
    assert scenario.market.run(scenario.shock).summary["price"]["B"]["final"] == pytest.approx(85)
