"""The core's units against Python's own integers, fractions and sorting.

Needs a test build (CASCADE_TESTING=1).
"""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from cascade import _core
from cascade.instruments import PRICE_LIMIT
from cascade.reference import money

units = pytest.importorskip(
    "cascade._testing", reason="not a test build: set CASCADE_TESTING=1 and build again"
)
pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(not _core.TESTING, reason="not a test build: set CASCADE_TESTING=1 and build again"),
]

TOP = 2**63 - 1
N = 3_000


def some(rng: random.Random, bits: int, *, signed: bool = True, least: int = 0) -> int:
    """A number of at most `bits` bits: of any size, often at an edge."""
    kind = rng.random()
    if kind < 0.15:
        x = rng.choice((0, 1, 2, 3, 2**bits - 1, 2**bits - 2, 2 ** (bits - 1), 2 ** (bits // 2)))
    else:
        x = rng.getrandbits(rng.randint(1, bits))
    x = max(least, x)
    return -x if signed and rng.random() < 0.5 else x


def half_even(a: int, b: int) -> int:
    return round(Fraction(a, b))


def test_wide_integers():
    rng = random.Random(1)
    for _ in range(N):
        x, y = some(rng, 126), some(rng, 126)
        assert units.wide_identity(x) == x
        assert units.wide_sum(x, y) == x + y
        assert units.wide_difference(x, y) == x - y
        assert units.wide_compare(x, y) == ((x > y) - (x < y), (x > 0) - (x < 0), 0)
        assert units.wide_as_double(x) == float(x)
        a, b = some(rng, 63), some(rng, 63)
        assert units.wide_product(a, b) == a * b
    for x in (-(2**127), 2**127 - 1, -1, -(2**64), 2**64 - 1):
        assert units.wide_identity(x) == x
    assert units.wide_product(-(2**63), -(2**63)) == 2**126


def test_values_of_trades_and_positions():
    rng = random.Random(2)
    checked = 0
    while checked < N:
        n, p, c = some(rng, 61), some(rng, 53, signed=False, least=1), some(rng, 40, signed=False, least=1)
        if abs(n * p * c) < 2**62:
            assert units.linear(n, p, c) == n * p * c
            checked += 1
        mark = some(rng, 62, signed=False, least=1)
        if abs(n * c) < 2**62 and abs(n * c * mark) < 2**72:
            assert units.linear_mark(n, mark, c) == n * c * mark // 1024
        a, b = some(rng, 61, signed=False, least=1), some(rng, 30, signed=False, least=1)
        if abs(n * a) < 2**125 and abs(n * a) < p * b * 2**62:
            assert units.inverse(n, a, p, b) == -half_even(n * a, p * b)
            assert units.inverse(-n, a, p, b) == -units.inverse(n, a, p, b)
        if abs(n * a) * 1024 < 2**126 and abs(n * a) * 1024 < mark * b * 2**62:
            assert units.inverse_mark(n, a, mark, b) == -n * a * 1024 // (mark * b)


def test_ties_go_to_even_on_both_sides_of_zero():
    for q in (*range(-9, 9), 2**60 - 1, 2**60, -(2**60)):
        for n in (2, 4, 10, 2**40):
            a = 2 * q + 1
            assert units.share_even(a, n // 2, n) == half_even(a * (n // 2), n)
            assert units.share_even(a, n // 2, n) % 2 == 0
        for delta in (-1, 1):  # just beside a tie
            a, k, n = (2 * q + 1) * 2**20 + delta if abs(q) < 2**40 else 2 * q + 1, 1, 2**21
            assert units.share_even(a, k, n) == half_even(a * k, n)
    assert [units.inverse(n, 1, 2, 1) for n in (1, 3, 5, -1, -3, -5)] == [0, -2, -2, 0, 2, 2]


def test_shares():
    rng = random.Random(3)
    for _ in range(N):
        n = some(rng, 62, signed=False, least=1)
        k = rng.randint(0, n)
        a = some(rng, 62)
        assert units.share_even(a, k, n) == half_even(a * k, n)
        assert units.share_floor(a, k, n) == a * k // n
        whole = some(rng, 100, signed=False, least=1)
        part = rng.randint(0, min(whole, TOP))
        total = min(some(rng, 62, signed=False), whole)
        assert units.share_rest(total, part, whole) == divmod(total * part, whole)


def test_rates_round_up():
    rng = random.Random(4)
    for _ in range(N):
        rate, amount = some(rng, 40) % (10**12 + 1), some(rng, 62, signed=False)
        assert units.rate_up(rate, amount) == money.fee(rate, amount)
        assert units.rate_up(-rate, amount) == money.fee(-rate, amount)
    assert [units.rate_up(1, x) for x in (0, 1, 10**12, 10**12 + 1)] == [0, 1, 1, 2]
    assert [units.rate_up(-1, x) for x in (0, 1, 10**12, 2 * 10**12 - 1)] == [0, 0, -1, -1]


def test_prices_of_values_are_clamped_to_the_domain():
    rng = random.Random(5)
    for _ in range(N):
        n, v = some(rng, 61, signed=False, least=1), some(rng, 62, signed=False, least=1)
        a, b = some(rng, 61, signed=False, least=1), some(rng, 61, signed=False, least=1)
        for inverse in (False, True):
            x = Fraction(n * a, v * b) if inverse else Fraction(v, n * a)
            for up in (False, True):
                rounded = -(-x.numerator // x.denominator) if up else x.numerator // x.denominator
                clamped = min(max(rounded, 1), PRICE_LIMIT - 1)
                assert units.price(inverse, n, v, a, b, up) == clamped


def test_factors_and_distances():
    rng = random.Random(6)
    for _ in range(N):
        a, f = some(rng, 62), some(rng, 50, signed=False)
        x = Fraction(a * f, 10**9)
        assert units.scaled(a, f) == (
            round(x),
            x.numerator // x.denominator,
            -(-x.numerator // x.denominator),
        )
        t = some(rng, 54, signed=False, least=1)
        p = max(1, t // 2 + rng.choice((0, 1, -1, some(rng, 20))))
        low, high = sorted(rng.choice((0, 1, 10**9, some(rng, 50, signed=False))) for _ in range(2))
        distance = Fraction(abs(2 * p - t), t) * 10**9
        assert units.is_within(p, t, low, high) == (low <= distance < high)
    assert units.is_within(11, 20, 10**8, 10**8 + 1)  # exactly a tenth away: from there on
    assert not units.is_within(11, 20, 0, 10**8)


def test_fractions_are_compared_exactly():
    rng = random.Random(7)
    close = 0
    for _ in range(N):
        a, b = some(rng, 126), some(rng, 126, signed=False, least=1)
        kind = rng.random()
        if kind < 0.3:
            c, d = some(rng, 126), some(rng, 126, signed=False, least=1)
        elif kind < 0.6:  # equal, written in another way
            a, b, k = a >> 63, max(1, b >> 63), some(rng, 62, signed=False, least=1)
            c, d = a * k, b * k
        else:  # beside it, by less than doubles can tell
            c, d = a + rng.choice((-1, 0, 1)), max(1, b + rng.choice((-1, 0, 1)))
        close += Fraction(a, b) != Fraction(c, d) and float(Fraction(a, b)) == float(Fraction(c, d))
        x, y = Fraction(a, b), Fraction(c, d)
        assert units.compare_fractions(a, b, c, d) == (x > y) - (x < y), (a, b, c, d)
        assert units.compare_fractions(c, d, a, b) == (y > x) - (y < x), (a, b, c, d)
    assert close > 100
    top = 2**126
    assert units.compare_fractions(top, top - 1, top - 1, top - 2) == -1
    assert units.compare_fractions(-top, top - 1, -(top - 1), top - 2) == 1
    assert units.compare_fractions(0, 1, 0, top) == 0


def test_the_hash_map_is_a_dict():
    rng = random.Random(8)
    for stride in (1, 2**32, 1024, 2**61 - 1):
        mine, theirs = units.IdMap(), {}
        keys = [k * stride % 2**64 for k in range(400)] + [0, 2**64 - 1, 2**63]
        for step in range(3_000):
            key = rng.choice(keys)
            if key in theirs:
                assert mine.get(key) == theirs[key]
                if rng.random() < 0.55:
                    mine.delete(key)
                    del theirs[key]
            else:
                assert mine.get(key) == -1
                theirs[key] = rng.randrange(2**31)
                mine.put(key, theirs[key])
            if step % 500 == 0:
                assert mine.check()
        twin = mine.copy()
        for key in list(theirs):
            mine.delete(key)
        assert mine.check()
        assert len(mine) == 0
        assert twin.check()
        assert len(twin) == len(theirs)
        assert all(twin.get(key) == value for key, value in theirs.items())


def some_keys(rng, n: int) -> list[tuple]:
    """(numerator, denominator, account) with many ties, near ties that doubles cannot tell, and some that go
    first."""
    accounts = rng.sample(range(10_000), n)
    pool = [(some(rng, 60), some(rng, 60, signed=False, least=1)) for _ in range(max(1, n // 4))]
    keys = []
    for account in accounts:
        num, den = rng.choice(pool)
        num += rng.choice((0, 0, 1, -1))
        keys.append((num, 0 if rng.random() < 0.1 else den, account))
    return keys


def python_order(items) -> list[int]:
    ranked = [(den != 0, Fraction(num, den) if den else 0, account) for num, den, account in items]
    return [account for _, _, account in sorted(ranked)]


def test_the_queue_is_sorted():
    rng = random.Random(9)
    for _ in range(600):
        items = some_keys(rng, rng.randint(0, 40))
        expected = python_order(items)
        assert units.sorted_accounts(items) == expected
        assert units.drained(items) == expected
        # Entered in order they wait in a line, out of order in a heap; popping in between mixes the two.
        waiting, script, out = [], [], []
        arrivals = sorted(items, key=lambda item: expected.index(item[2])) if rng.random() < 0.3 else items
        for item in arrivals:
            script.append(item)
            waiting.append(item)
            if rng.random() < 0.4:
                script.append(None)
                first = python_order(waiting)[0]
                waiting = [x for x in waiting if x[2] != first]
                out.append(first)
        assert units.drained(script) == out + python_order(waiting)


# The order book's units

LOW = -(2**63)


def some_price(rng, near: int) -> int:
    kind = rng.random()
    if kind < 0.6:
        return near + rng.randint(-40, 40)
    if kind < 0.7:
        return rng.choice(
            (LOW, LOW + 1, LOW + 15, LOW + 16, TOP, TOP - 1, TOP - 16, -1, 0, 1, 15, 16, -16, -17)
        )
    if kind < 0.85:
        return near + rng.choice((-1, 1)) * rng.getrandbits(rng.randint(1, 40))
    return rng.randint(LOW, TOP)


def same_prices(ladder, prices) -> None:
    assert ladder.check()
    assert ladder.prices(0) == sorted(prices[0], reverse=True)
    assert ladder.prices(1) == sorted(prices[1])


def test_the_ladder_is_two_sorted_sets():
    for seed in range(40):
        rng = random.Random(seed)
        ladder, prices = units.Ladder(), (set(), set())
        near, full = rng.choice((0, 0, 7, 10**9, -(10**15))), rng.choice((3, 30, 300))
        for step in range(1_500):
            side, price = rng.randrange(2), some_price(rng, near)
            if prices[side] and rng.random() < 0.3:
                price = rng.choice(tuple(prices[side])) + rng.choice((0, 0, 0, 1, -1))
                price = min(max(price, LOW), TOP)
            assert ladder.has(side, price) == (price in prices[side])
            if price in prices[side]:
                behind = [p for p in prices[side] if (p < price if side == 0 else p > price)]
                best = max if side == 0 else min
                assert ladder.below(side, price) == best(behind, default=None)
                if rng.random() < 0.7:
                    ladder.remove(side, price)
                    prices[side].remove(price)
            elif len(prices[side]) < full or rng.random() < 0.1:
                ladder.add(side, price)
                prices[side].add(price)
            else:
                gone = rng.choice(tuple(prices[side]))
                ladder.remove(side, gone)
                prices[side].remove(gone)
            if step % 50 == 0:
                same_prices(ladder, prices)
            if step % 500 == 250:
                twin = ladder.copy()
                for p in prices[0]:
                    twin.remove(0, p)
                same_prices(twin, (set(), prices[1]))
        same_prices(ladder, prices)
        for side in range(2):  # the best one first: what a long walk does
            for price in ladder.prices(side):
                ladder.remove(side, price)
                prices[side].remove(price)
        same_prices(ladder, prices)
        ladder.add(0, near)
        ladder.clear()
        same_prices(ladder, (set(), set()))


ID_STREAMS = (
    lambda n: n,
    lambda n: n * 40,
    lambda n: n * 512,
    lambda n: 2**64 - 1 - n,
    lambda n: n * 0x9E3779B97F4A7C15 % 2**64,
    lambda n: n if n // 3000 % 2 else n * 0x9E3779B97F4A7C15 % 2**64,
    lambda n: n + n // 2000 * 10**9,
    lambda n: n // 2 | n % 2 << 40,
)


@pytest.mark.parametrize("stream", range(len(ID_STREAMS)))
def test_hints_lead_to_every_live_id(stream):
    """Some stale hints are forgotten, others stay; pages are collected, buckets renewed, as in a book."""
    rng = random.Random(stream)
    for most in (5, 400):
        ids, live, collected, renewed = units.Ids(), {}, 0, 0
        for n in range(1, 90_000):
            if ids.full():
                ids.collect(live)
                collected += 1
                assert all(handle in ids.hints(some_id) for some_id, handle in live.items())
            while not ids.put(ID_STREAMS[stream](n), n):
                ids.renew(live)
                renewed += 1
            live[ID_STREAMS[stream](n)] = n
            if rng.random() < 0.05:
                some_id = rng.choice(tuple(live))
                ids.move(some_id, live[some_id], n + 10**6)
                live[some_id] = n + 10**6
            while len(live) > most:
                # Most go soon, some stay for long.
                k = next(reversed(live)) if rng.random() < 0.9 else next(iter(live))
                handle = live.pop(k)
                if rng.random() < 0.4:
                    ids.forget(k, handle)
            if n % 1_000 == 0:
                assert all(handle in ids.hints(some_id) for some_id, handle in live.items())
        assert all(handle in ids.hints(some_id) for some_id, handle in live.items())
        pages, _, used = ids.sizes()
        assert pages < 64 + 2 * (len(live) + 64)
        assert used < 64 + 8 * len(live)
        assert renewed > 0
        assert collected > 0 or stream not in (0, 7)
        twin = ids.copy()
        ids.clear()
        assert ids.sizes()[1:] == (0, 0)
        assert all(ids.hints(some_id) == {0} for some_id in live)
        assert all(handle in twin.hints(some_id) for some_id, handle in live.items())


def test_the_stops_are_four_sorted_lists():
    for seed in range(60):
        rng = random.Random(seed)
        stops, waiting, width = units.Stops(), {}, rng.choice((2, 20, 2**62))
        for n in range(1, 600):
            kind = rng.random()
            if kind < 0.6:
                side, flags = rng.choice((1, -1)), rng.choice((0, 2))
                price = rng.choice((LOW, TOP)) if rng.random() < 0.02 else rng.randint(-width, width)
                waiting[n] = (flags, side, side * price, n, price, stops.add(n, side, price, flags))
            elif kind < 0.8 and waiting:
                stops.kill(waiting.pop(rng.choice(tuple(waiting)))[5])
            elif kind < 0.85:
                flags = rng.choice((0, 2))
                low, high = sorted(rng.randint(-width, width) for _ in range(2))
                reached = sorted(
                    row for row in waiting.values()
                    if row[0] == flags and (row[4] <= high if row[1] == 1 else row[4] >= low)
                )  # fmt: skip
                assert stops.reach(flags, low, high) == [row[3] for row in reached]
                for row in reached:
                    del waiting[row[3]]
            if n % 20 == 0:
                assert stops.check()
                assert len(stops) == len(waiting)
            if n % 200 == 0:
                everything = [stops.copy().reach(first, LOW, TOP) for first in (0, 2)]
                assert everything == [
                    [row[3] for row in sorted(waiting.values()) if row[0] == flags] for flags in (0, 2)
                ]
        stops.clear()
        assert stops.check()
        assert stops.reach(0, LOW, TOP) == []
