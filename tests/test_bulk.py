"""Columns in bulk: every number is what Fraction arithmetic on its shortest decimal makes of it."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import cascade as cs
from cascade import _bulk, _load
from cascade._exact import basis_inverse, basis_linear, to_rounded, to_whole
from cascade._ingest import BadRows

STEPS = [
    Fraction(1),
    Fraction("0.1"),
    Fraction("0.001"),
    Fraction("0.25"),
    Fraction("0.5"),
    Fraction(5),
    Fraction(1, 3),
]


def where(n, column="x", *, drop=False):
    bad = BadRows("table", drop=drop)
    bad.resize(n)
    return bad.where(column)


def meant(x):
    return Fraction(Decimal(str(float(x))))


def numbers(rng, n=100):
    """Decimals of few and many digits, halves, whole numbers, numbers of any size and sign."""
    few = np.round(rng.uniform(-1e5, 1e5, n), 2)
    many = rng.uniform(-1e5, 1e5, n)
    halves = rng.integers(-1_000, 1_000, n) + 0.5
    wide = rng.uniform(-1, 1, n) * 10.0 ** rng.integers(-12, 12, n)
    whole = rng.integers(-(2**53), 2**53, n).astype(np.float64)
    return np.concatenate(
        [few, many, halves, wide, whole, [0.0, -0.0, 5e-324, 1e-300, 0.1, 0.3, 1e15, 2.5e14]]
    )


@pytest.mark.fast
@pytest.mark.parametrize("step", STEPS)
def test_rounded_is_half_even_of_the_shortest_decimal(step):
    values = numbers(np.random.default_rng(1))
    values = values[np.abs(values) / float(step) < 2**61]
    rest = np.zeros(len(values))
    found = to_rounded(values, step, where(len(values)), rest=rest)
    for x, k, cut in zip(values, found.tolist(), rest, strict=True):
        exact = meant(x) / step
        assert k == round(exact)
        assert abs(Fraction(float(cut)) - (exact - k)) <= Fraction(1, 2**30) + abs(exact) / 2**50


@pytest.mark.fast
@pytest.mark.parametrize("step", STEPS)
def test_whole_numbers_of_steps_are_found_and_others_refused(step):
    rng = np.random.default_rng(2)
    wanted = np.concatenate([rng.integers(-(10**9), 10**9, 300), rng.integers(-9, 9, 50), [0]])
    values = np.array([float(int(k) * step) for k in wanted])
    assert to_whole(values, step, where(len(values))).tolist() == wanted.tolist()
    for off in (float(step) * 1.01, float(step) / 3, float(step) * (10**6 + 0.4)):
        mixed = values.copy()
        mixed[7] = off
        with pytest.raises(
            cs.InputError, match=r"table\['x'\]\[7\] = .*whole number of ticks.*\(1 bad row\)"
        ):
            to_whole(mixed, step, where(len(values)), what="tick")


@pytest.mark.fast
@pytest.mark.parametrize(
    "unit", [Fraction(1000), Fraction(10**6), Fraction(7, 3), Fraction("0.01"), Fraction(1)]
)
def test_basis_is_exact(unit):
    rng = np.random.default_rng(3)
    values = np.abs(numbers(rng))
    values = values[(values > 1e-12) & (values < 1e8)]
    lots = rng.integers(-(10**4), 10**4, len(values))
    linear = basis_linear(lots, values, unit, where(len(values)))
    inverse = basis_inverse(lots, values + 1, unit, where(len(values)))
    for x, n, basis, coin in zip(values, lots.tolist(), linear.tolist(), inverse.tolist(), strict=True):
        assert basis == round(n * unit * meant(x))
        assert coin == -round(n * unit / meant(x + 1))


@pytest.mark.fast
def test_plain_rows_are_not_left_over():
    """What the bulk conversions are for: decimals of market data need no second look."""
    rng = np.random.default_rng(4)
    ticks = rng.integers(1, 10**7, 1_000)
    assert _bulk.on_grid(ticks / 10, 10.0, 1)[1].size == 0
    lots = rng.integers(-1_000, 1_000, 1_000)
    product, left = _bulk.times_on_grid(ticks / 10, lots, 1000.0, 1, 2**61)
    assert left.size == 0
    assert product.tolist() == (lots * ticks * 100).tolist()
    assert _bulk.scaled(rng.uniform(1, 1e5, 1_000), lots, 1000.0, 0.0, False, 2.0**-63)[2].size == 0


@pytest.mark.fast
def test_rows_that_cannot_be_are_left_over():
    values = np.array([1.0, np.nan, np.inf, -np.inf, 1e300, 0.05])
    assert _bulk.on_grid(values, 10.0, 1)[1].tolist() == [1, 2, 3, 4, 5]
    ones = np.ones(len(values), np.int64)
    assert _bulk.times_on_grid(np.array([1.0, -1.0, 0.0]), ones[:3], 1.0, 1, 2**61)[1].tolist() == [1, 2]
    assert _bulk.times_on_grid(np.array([2.0]), np.array([2**60]), 1.0, 1, 2**61)[1].tolist() == [0]
    assert set(_bulk.scaled(values, ones, 1.0, 0.0, False, 2.0**-63)[2].tolist()) >= {1, 2, 3, 4}


@pytest.mark.fast
def test_dropped_rows_are_zero_and_named_as_before():
    values = np.array([1.0, 0.05, np.nan, 3.0, 0.25])
    bad = BadRows("t", drop=True)
    bad.resize(5)
    bad.record(np.array([3]), "other", ["x"], "was bad before")
    assert to_whole(values, Fraction("0.5"), bad.where("x"), what="tick").tolist() == [2, 0, 0, 0, 0]
    assert bad.to_table()["row"].tolist() == [1, 2, 3, 4]
    assert bad.to_table()["rule"][1] == "must be finite"


@pytest.mark.fast
@pytest.mark.parametrize("known", [1, 7, 60])
def test_symbols(known):
    symbols = [f"S{k}" for k in range(known)] + ["ÄÖ", "LONGER THAN OTHERS"]
    rng = np.random.default_rng(known)
    names = np.array([*symbols[:-1], "S", "S00", "", "other"])
    drawn = np.concatenate([np.repeat(names, 3), rng.choice(names, 500)])
    index = {s: k for k, s in enumerate(symbols)}
    assert _load._codes(drawn, symbols).tolist() == [index.get(s, -1) for s in drawn.tolist()]
    assert _load._codes(np.array(["", ""]), symbols).tolist() == [-1, -1]


@pytest.mark.fast
def test_ids_in_any_order_are_found():
    rng = np.random.default_rng(6)
    for ids in (
        np.arange(5, 25),
        rng.permutation(40),
        np.array([3, 9, 2**62]),
        np.array([2**63, 2**63 + 1], np.uint64),
    ):
        known = _load.Ids(ids)
        assert known.find(ids).tolist() == list(range(len(ids)))
        other = np.array([-1, 1_000, -(2**63), 2**63 - 1])
        assert known.find(other.astype(np.int64)).tolist() == [-1] * 4
        assert known.values(np.arange(len(ids))).tolist() == ids.tolist()
    ends = _load.Ids(np.array([-(2**63), -(2**63) + 1]))
    assert ends.find(np.array([2**63 - 1, 2**63 - 5, -(2**63) + 1, 0, -1])).tolist() == [-1, -1, 1, -1, -1]
    unsigned = _load.Ids(np.array([5, 6], np.uint64))
    assert unsigned.find(np.array([2**64 - 1, 2**63 + 9, 4, 6], np.uint64)).tolist() == [-1, -1, -1, 1]


@pytest.mark.fast
def test_accounts_come_in_order_of_rows():
    """Owners just before their first isolated position, whatever comes between."""
    market = cs.Market([cs.Instrument(s, tick_size=1, lot_size=1) for s in "XY"])
    market.load_accounts({"account": [7], "balance": [5]})
    market.load_positions({
        "account": [9, 7, 3, 9, 7, 7], "instrument": ["X", "X", "Y", "Y", "Y", "X"],
        "size": [1, 2, 3, -4, 5, 6],
        "entry_price": [10.0] * 6, "margin": [1, np.nan, 2, 3, 4, 5],
    })  # fmt: skip
    state = market.state()
    first = 6 + 2
    assert market.account_names(np.arange(first, len(state.account_mode))).tolist() == [
        7,
        9,
        9,
        3,
        3,
        9,
        7,
        7,
    ]
    assert state.account_mode[first:].tolist() == [1, 1, 2, 1, 2, 2, 2, 2]
    assert (state.account_parent[first:] - first).tolist() == [
        -first - 1,
        -first - 1,
        1,
        -first - 1,
        3,
        1,
        0,
        0,
    ]
    assert (state.account_balance[first:] / 10**6).tolist() == [5, 0, 1, 0, 2, 3, 4, 5]
    assert (state.row_account - first).tolist() == [0, 2, 4, 5, 6, 7]
    assert state.row_lots.tolist() == [2, 1, 3, -4, 5, 6]


@pytest.mark.fast
def test_the_market_keeps_nothing_of_the_users_arrays():
    columns = {
        "account": np.arange(3), "instrument": np.full(3, "X"), "size": np.ones(3),
        "entry_price": np.full(3, 10.0),
        "margin": np.ones(3),
    }  # fmt: skip
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    market.load_positions(columns)
    digest = market.digest
    state = market.state()
    kept = [v for v in vars(state).values() if isinstance(v, np.ndarray)] + [market._ids._array]
    assert not any(np.shares_memory(mine, theirs) for mine in kept for theirs in columns.values())
    del market.__dict__["digest"]
    for column in columns.values():
        column[:] = column[::-1] if column.dtype.kind == "U" else 0
    assert market.digest == digest
