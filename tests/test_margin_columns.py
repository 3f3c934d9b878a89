# ruff: noqa: E501 - one case a line reads best

"""cascade/margin.py computes whole columns; the reference engine one integer at a time. They must agree to the quantum."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade._state import INVERSE, LINEAR, Terms
from cascade.instruments import RATE_ONE
from cascade.margin import initial, maintenance, value_after_fee, value_at_mark
from cascade.reference import money

LIMIT = 2**62
EDGES = [1, 2, 3, 1023, 1024, 1025, 10**6 - 1, 10**6, 10**6 + 1, 10**12 - 1, 10**12, 10**12 + 1, 2**31, 2**52, 2**53, 2**60]


def terms(contract=LINEAR, num=1, den=1, floors=(0,), rates=(0,), amounts=(0,)):
    return Terms(contract, num, den, floors, rates, amounts, 0, 0, 0)


def magnitudes(highest):
    """Integers of 1 to `highest`, as many small as large, and edges."""
    edges = [x for x in EDGES if x <= highest] + [highest, highest - 1]
    sizes = st.integers(0, highest.bit_length() - 1).flatmap(lambda b: st.integers(2**b, min(highest, 2 ** (b + 1))))
    return st.one_of(st.sampled_from(edges), sizes)


def signed(highest):
    return st.tuples(magnitudes(highest), st.sampled_from([1, -1])).map(lambda x: x[0] * x[1]) | st.just(0)


def check_values(t, lots, mark):
    expected = [money.value_at_mark(t, n, mark) for n in lots]
    inside = [k for k, value in enumerate(expected) if abs(value) < LIMIT]
    got = value_at_mark(t, np.array([lots[k] for k in inside], np.int64), mark)
    assert got.dtype == np.int64
    assert got.tolist() == [expected[k] for k in inside]


@settings(max_examples=400, deadline=None)
@given(st.lists(signed(2**60), max_size=8), magnitudes(2**63 - 1), magnitudes(2**62 - 1))
def test_linear_values(lots, mark, num):
    check_values(terms(LINEAR, num), lots, mark)


@settings(max_examples=400, deadline=None)
@given(st.lists(signed(2**60), max_size=8), magnitudes(2**63 - 1), magnitudes(2**62 - 1), magnitudes(2**62 - 1))
def test_inverse_values(lots, mark, num, den):
    check_values(terms(INVERSE, num, den), lots, mark)


@st.composite
def tiered(draw):
    count = draw(st.integers(1, 6))
    floors = [0, *sorted(draw(st.lists(magnitudes(2**60 - 1), min_size=count - 1, max_size=count - 1, unique=True)))]
    rates = sorted(draw(st.lists(st.integers(0, RATE_ONE), min_size=count, max_size=count)))
    if draw(st.booleans()):  # continuous, as venues write them
        amounts = [0]
        for k in range(1, count):
            amounts.append(amounts[-1] + floors[k] * (rates[k] - rates[k - 1]) // RATE_ONE)
    else:
        amounts = draw(st.lists(st.integers(0, 2**60 - 1), min_size=count, max_size=count))
    return terms(floors=tuple(floors), rates=tuple(rates), amounts=tuple(amounts))


@settings(max_examples=500, deadline=None)
@given(tiered(), st.lists(magnitudes(2**62) | st.just(0), max_size=8), st.integers(-2, 2))
def test_maintenance(t, notionals, shift):
    """At and around every tier's edge, and anywhere up to 2**62 quanta."""
    notionals = notionals + [max(0, floor + shift) for floor in t.floors]
    got = maintenance(t, np.array(notionals, np.int64))
    assert got.dtype == np.int64
    assert got.tolist() == [money.maintenance(t, n) for n in notionals]


@pytest.mark.fast
def test_random_columns():
    rng = np.random.default_rng(1)
    for _ in range(60):
        lots = rng.integers(-(2 ** int(rng.integers(1, 60))), 2 ** int(rng.integers(1, 60)), 50).tolist()
        mark, num, den = (int(2 ** rng.uniform(0, 61)) for _ in range(3))
        check_values(terms(LINEAR, num), lots, mark)
        check_values(terms(INVERSE, num, den), lots, mark)
        floors = np.unique(np.concatenate([[0], (2 ** rng.uniform(0, 59, 5)).astype(np.int64)]))
        rates = np.sort(rng.integers(0, RATE_ONE + 1, len(floors)))
        amounts = rng.integers(0, 2**50, len(floors))
        t = terms(floors=tuple(floors.tolist()), rates=tuple(rates.tolist()), amounts=tuple(amounts.tolist()))
        notionals = np.concatenate([floors, floors + 1, np.maximum(floors - 1, 0), (2 ** rng.uniform(0, 62, 50)).astype(np.int64)])
        assert maintenance(t, notionals).tolist() == [money.maintenance(t, n) for n in notionals.tolist()]


@settings(max_examples=300, deadline=None)
@given(tiered(), st.lists(magnitudes(2**58), min_size=1, max_size=8), st.data())
def test_rates_that_grow(t, notionals, data):
    """With size, of either contract, and with open interest: the columns and the integers agree."""
    slopes = st.tuples(magnitudes(2**50) | st.just(0), magnitudes(2**61))
    floor = data.draw(magnitudes(2**59))
    t = replace(
        t, contract=data.draw(st.sampled_from([LINEAR, INVERSE])), slope=data.draw(slopes), initial_slope=data.draw(slopes),
        initial_rates=tuple(data.draw(st.integers(r, RATE_ONE)) for r in t.rates),
        open_interest=data.draw(st.sampled_from([None, (floor, floor + data.draw(magnitudes(2**59)))])),
    )
    lots = data.draw(st.lists(signed(2**60), min_size=len(notionals), max_size=len(notionals)))
    open_interest = data.draw(magnitudes(2**61))
    got = maintenance(t, np.array(notionals), np.array(lots))
    assert got.tolist() == [money.maintenance(t, n, k) for n, k in zip(notionals, lots, strict=True)]
    got = initial(t, np.array(notionals), np.array(lots), open_interest)
    assert got.tolist() == [money.initial(t, n, k, open_interest) for n, k in zip(notionals, lots, strict=True)]


@pytest.mark.parametrize("rate", [1, 600_000_000, RATE_ONE // 2])
def test_values_after_a_fee(rate):
    values = [0, 1, -1, 7, -7, 10**12 + 1, -(10**12) - 1, 2**60, -(2**60)]
    expected = [money.value_after_fee(rate, v) for v in values]
    assert value_after_fee(rate, np.array(values)).tolist() == expected
    for value, closing in zip(values, expected, strict=True):
        assert closing + money.fee(rate, abs(closing)) <= value < closing + 1 + money.fee(rate, abs(closing + 1))


@pytest.mark.fast
def test_empty_columns():
    assert value_at_mark(terms(), np.zeros(0, np.int64), 5).tolist() == []
    assert maintenance(terms(), np.zeros(0, np.int64)).tolist() == []


@pytest.mark.fast
@pytest.mark.parametrize("contract", [LINEAR, INVERSE])
def test_values_are_rounded_down_not_towards_zero(contract):
    t = terms(contract, 1, 1)
    for lots in (-3, -1, 1, 3):
        assert value_at_mark(t, np.array([lots]), 1000).tolist() == [money.value_at_mark(t, lots, 1000)]
