"""The compiled order book against the plain-Python one over random commands: every report, answer and refusal
is the same, bit for bit. Then the compiled one against itself: what must not matter does not.

CASCADE_SEEDS scales how many seeds there are (the default, 5,000, makes more than a million messages),
CASCADE_FIRST_SEED says where they start.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter

import numpy as np
import pytest
import random_orders

import cascade as cs
from cascade.records import Action, ReportKind
from cascade.reference.book import Book

FIRST = int(os.environ.get("CASCADE_FIRST_SEED", "0"))
SCALE = int(os.environ.get("CASCADE_SEEDS", "5000")) / 5000
MESSAGES = 400
CHUNK = 100


def chunks(seeds):
    """The first seed of each chunk of so many seeds, as many as CASCADE_SEEDS asks for."""
    return range(FIRST, FIRST + max(1, round(seeds * SCALE)), CHUNK)


def orders_only(commands):
    return np.concatenate([arguments[0] for name, *arguments in commands if name == "process"])


def one_by_one(commands):
    """The same commands, every message in a call of its own."""
    for name, *arguments in commands:
        if name == "process":
            yield from (("process", arguments[0][k : k + 1]) for k in range(len(arguments[0])))
        else:
            yield (name, *arguments)


def same(some, others, seed):
    text = random_orders.different(some, others)
    assert text is None, f"seed {seed}: {text}"


# The two books


def agree(seed, messages=MESSAGES):
    matching, commands = random_orders.make(seed, messages)
    same(
        random_orders.play(Book(matching), commands),
        random_orders.play(cs.OrderBook(matching), commands),
        seed,
    )


def agree_and_check(seed, messages):
    """Message by message, the core's inner state re-derived after each command."""
    matching, commands = random_orders.make(seed, messages)
    core, plain = cs.OrderBook(matching), Book(matching)
    for command in one_by_one(commands):
        same(random_orders.play(plain, [command]), random_orders.play(core, [command]), seed)
        if command[0] == "copy":
            core, plain = core.copy(), plain.copy()
        assert core._check(), f"seed {seed}: {command}"


@pytest.mark.fast
def test_books_agree_on_a_few():
    for seed in range(20):
        agree(seed)


@pytest.mark.fast
def test_inner_state_after_every_command_on_a_few():
    for seed in range(10):
        agree_and_check(seed, 150)


@pytest.mark.parametrize("first", chunks(2500))
def test_books_agree(first):
    for seed in range(first, first + CHUNK):
        agree(seed)


@pytest.mark.parametrize("first", chunks(200))
def test_books_agree_on_longer_runs(first):
    for seed in range(first, first + CHUNK, 20):
        agree(10_000_000 + seed, 4_000)


@pytest.mark.parametrize("first", chunks(200))
def test_inner_state_after_every_command(first):
    for seed in range(first, first + CHUNK):
        agree_and_check(seed, 200)


def test_the_random_commands_reach_every_branch():
    seen = Counter()
    for seed in range(150):
        seen += random_orders.count(seed)
    rare = {name: seen[name] for name in random_orders.BRANCHES if seen[name] < 5}
    assert not rare
    assert not set(seen) - set(random_orders.BRANCHES)


# One long level


def long_level(rng, n):
    """n orders of a few owners on one level, some of them icebergs or reduce-only."""
    rows = np.zeros(n, cs.ORDER_DTYPE)
    rows["order_id"] = np.arange(1, n + 1)
    rows["side"], rows["price"] = cs.Side.BUY, 100
    rows["owner"] = rng.integers(0, 6, n)
    rows["quantity"] = rng.choice([1, 2, 3, 40, 1000, 2**40], n)
    rows["display"] = rng.choice([0, 0, 0, 2**38], n) + rng.choice([0, 0, 1], n) * (rows["quantity"] < 50)
    rows["flags"] = np.where(rows["owner"] > 0, rng.choice([0, 0, cs.OrderFlags.REDUCE_ONLY], n), 0)
    return rows


def takers(rng, first, n):
    """n takers and changes of that level's orders, from owners with and without orders there."""
    rows = np.zeros(n, cs.ORDER_DTYPE)
    rows["order_id"] = np.arange(first, first + n)
    rows["side"], rows["price"], rows["owner"] = cs.Side.SELL, 100, rng.integers(0, 8, n)
    rows["quantity"] = rng.choice([1, 60, 700, 5000, 2**42], n)
    rows["stp"] = rng.integers(0, 5, n)
    rows["tif"] = rng.choice([cs.TimeInForce.IOC, cs.TimeInForce.IOC, cs.TimeInForce.FOK], n)
    changes = rng.random(n) < 0.3
    rows["order_id"][changes] = rng.integers(1, first, changes.sum())
    rows["action"][changes] = rng.choice([cs.Action.MODIFY, cs.Action.CANCEL], changes.sum())
    rows["quantity"][changes] = rng.integers(1, 50, changes.sum())
    return rows


@pytest.mark.fast
@pytest.mark.parametrize("name", ["fifo", "C", "K", "O", "Q", "T", "leveling"])
def test_books_agree_on_a_long_level(name):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        steps = cs.Matching(("lmm", "pro_rata", "leveling"), pro_rata_min=30)
        matching = (
            steps
            if name == "leveling"
            else cs.Matching.preset(name, **({"fifo_percent": 40} if name == "K" else {}))
        )
        core, plain = cs.OrderBook(matching), Book(matching)
        commands = [("set_position", owner, int(rng.choice([0, -3, -90, -5000]))) for owner in range(1, 8)]
        commands += [("set_lmm", owner, int(rng.choice([0, 5, 30, 70]))) for owner in range(1, 8)]
        commands += [("process", long_level(rng, 100)), ("state",)]
        commands += [("process", row[None]) for row in takers(rng, 1000, 25)]
        for command in [*commands, ("state",)]:
            same(random_orders.play(plain, [command]), random_orders.play(core, [command]), seed)
            assert core._check(), f"seed {seed}: {command}"


LONG = 100_000


def seconds(rule, orders, taker, lmm=()):
    """Processor time for one level of plain buys, changed by `orders`, and a taker, changed by `taker`."""
    rows = np.zeros(LONG + 1, cs.ORDER_DTYPE)
    rows["order_id"] = np.arange(1, LONG + 2)
    rows["side"], rows["price"], rows["quantity"] = cs.Side.BUY, 100, 10
    for name, values in orders.items():
        rows[name][:LONG] = values
    rows["side"][LONG] = cs.Side.SELL
    for name, value in taker.items():
        rows[name][LONG] = value
    book = cs.OrderBook(rule)
    book.set_position(7, -LONG * 10 if orders.get("flags") is not None else 0)
    for owner in lmm:
        book.set_lmm(owner, 1)
    start = time.process_time()
    book.process(rows)
    return time.process_time() - start


LEVELING = cs.Matching(("pro_rata", "leveling", "fifo"), pro_rata_min=10**9)
HALF = np.arange(LONG) >= LONG // 2
LONG_LEVELS = {
    "leveling": (LEVELING, {"quantity": np.arange(LONG) + 1}, {"quantity": LONG // 2}),
    "a lead market maker": ("T", {"owner": 7}, {"quantity": LONG // 2}, [7]),
    "many of them": ("T", {"owner": np.arange(LONG) + 1}, {"quantity": LONG}, range(1, LONG + 1)),
    "icebergs": ("fifo", {"display": 3}, {"quantity": LONG}),
    "reduce-only": ("C", {"owner": 7, "flags": cs.OrderFlags.REDUCE_ONLY}, {"quantity": LONG}),
    "own behind others": ("C", {"owner": HALF * 7}, {"owner": 7, "stp": cs.Stp.MAKER, "quantity": LONG}),
    "roomless behind others": ("C", {"owner": HALF * 8, "flags": HALF * 1}, {"quantity": LONG}),
}


@pytest.mark.parametrize("case", LONG_LEVELS)
def test_a_long_level_does_not_cost_its_square(case):
    """All take some milliseconds; what costs the square of the orders takes seconds."""
    assert seconds(*LONG_LEVELS[case]) < 0.5


# What must not matter


def in_pieces(book, orders, rng):
    """The reports of one array of messages that is handed over in pieces."""
    reports, start = [np.empty(0, cs.REPORT_DTYPE)], 0
    while start < len(orders):
        size = int(rng.choice([0, 1, 2, 5, 17, 100]))
        reports.append(book.process(orders[start : start + size]).copy())
        reports[-1]["message"] += start
        start += size
    return np.concatenate(reports)


def through_a_small_buffer(book, orders, rng, mode):
    """The reports by way of buffers that are too small for all of them, most for some message's."""
    reports, start, needed = [np.empty(0, cs.REPORT_DTYPE)], 0, 0
    while start < len(orders):
        out = np.zeros(max(needed, int(rng.choice([0, 1, 2, 3, 5, 8, 30]))), cs.REPORT_DTYPE)
        out["message"] = -7
        before = book.dump() if rng.random() < 0.1 else None
        try:
            written, rows = book.process(orders[start:], out=out, reports=mode)
        except cs.CapacityError as error:
            told = re.fullmatch(r"out: holds (\d+) reports, row 0 alone gives (\d+)", str(error))
            assert int(told[1]) == out.size
            needed = int(told[2])
            assert needed > out.size
            assert before is None or book.dump() == before
            continue
        assert rows > 0
        assert needed == 0 or written >= needed
        assert (out["message"][written:] == -7).all(), "nothing is written behind the reports"
        needed = 0
        reports.append(out[:written].copy())
        reports[-1]["message"] += start
        start += rows
    return np.concatenate(reports)


def same_whatever(seed, answer):
    """Play commands with `answer(book, orders, rng)` for process; everything else as usual."""
    matching, commands = random_orders.make(seed)
    rng = np.random.default_rng(seed)
    whole, other = cs.OrderBook(matching), cs.OrderBook(matching)
    for command in commands:
        if command[0] == "process":
            expected, got = answer(whole, other, command[1], rng)
            assert got.tobytes() == expected.tobytes(), f"seed {seed}"
        elif command[0] == "copy":
            whole, other = whole.copy(), other.copy()
        else:
            same(random_orders.play(whole, [command]), random_orders.play(other, [command]), seed)
    assert whole.dump() == other.dump()
    assert other._check()


def split(whole, other, orders, rng):
    return whole.process(orders), in_pieces(other, orders, rng)


def small_buffer(whole, other, orders, rng):
    return whole.process(orders), through_a_small_buffer(other, orders, rng, "all")


def small_buffer_of_trades(whole, other, orders, rng):
    return whole.process(orders, reports="trades"), through_a_small_buffer(other, orders, rng, "trades")


def no_reports(whole, other, orders, rng):
    return whole.process(orders, reports="none"), through_a_small_buffer(other, orders, rng, "none")


def trades(whole, other, orders, rng):
    every = whole.process(orders)
    return every[every["kind"] == ReportKind.TRADE], other.process(orders, reports="trades")


def none(whole, other, orders, rng):
    whole.process(orders)
    return np.empty(0, cs.REPORT_DTYPE), other.process(orders, reports="none")


def dumped(whole, other, orders, rng):
    reports = whole.process(orders)
    twin = cs.OrderBook.load(other.dump())
    assert (twin.dump(), twin.digest) == (other.dump(), other.digest)
    assert twin._check()
    assert twin.process(orders).tobytes() == reports.tobytes()
    assert twin.dump() == whole.dump()
    return reports, other.process(orders)


def copied(whole, other, orders, rng):
    twin = other.copy()
    before = twin.dump()
    reports = other.process(orders)
    assert twin.dump() == before
    assert twin.process(orders).tobytes() == reports.tobytes()
    assert twin._check()
    return whole.process(orders), reports


WAYS = [split, small_buffer, small_buffer_of_trades, no_reports, trades, none, dumped, copied]


@pytest.mark.fast
@pytest.mark.parametrize("way", WAYS)
def test_what_must_not_matter_on_a_few(way):
    for seed in range(5):
        same_whatever(seed, way)


@pytest.mark.parametrize("way", WAYS)
def test_what_must_not_matter(way):
    for seed in range(FIRST, FIRST + max(1, round(80 * SCALE))):
        same_whatever(seed, way)


@pytest.mark.fast
def test_a_book_that_is_cleared_is_as_good_as_new():
    for seed in range(60):
        matching, commands = random_orders.make(seed, 300)
        later = random_orders.make(seed + 1, 300)[1]
        used, new = cs.OrderBook(matching), cs.OrderBook(matching)
        for command in [command for command in commands if command[0] != "copy"]:
            random_orders.play(used, [command])
        used.clear()
        assert used._check()
        assert (used.dump(), used.digest) == (new.dump(), new.digest)
        later = [command for command in later if command[0] != "copy"]
        same(random_orders.play(new, later), random_orders.play(used, later), seed)
        assert used._check()
        assert used.dump() == new.dump()


# Ids, whatever they are


def mixed(n):
    """A bijection of 64-bit numbers."""
    n = (n ^ n >> 31) * 0x7FB5D329728EA185 % 2**64
    return (n ^ n >> 27) * 0x81DADEF4BC2DD44D % 2**64


STREAMS = {
    "one after the other": lambda n: n,
    "strides": lambda n: n * 700,
    "pages": lambda n: n * 512,
    "long strides": lambda n: n * (2**32 + 1) % 2**64,
    "powers of two": lambda n: (n << 44 | n >> 20) % 2**64,
    "from the end down": lambda n: 2**64 - 1 - n,
    "down": lambda n: 10**7 - n,
    "anywhere": mixed,
    "dense, sparse, dense": lambda n: mixed(n) if n // 700 % 3 == 1 else n,
    "dense, elsewhere, back": lambda n: n + 2**40 if n // 900 % 2 else n,
    "two at a time": lambda n: n >> 1 | (n & 1) << 50,
    "jumps": lambda n: n + n // 1000 * 10**12,
    "blocks in disorder": lambda n: n % 300 + (n // 300 * 37 % 101) * 512 + n // 30300 * 2**26,
}


class Renamed:
    """Gives every accepted NEW an id of its own from a stream, and turns reports back."""

    def __init__(self, stream):
        self.stream, self.n, self.now, self.back = stream, 0, {}, {0: 0}

    def orders(self, orders, reports):
        """Messages with other ids; `reports` is what the ones with the old ids gave."""
        orders = orders.copy()
        first = reports[np.searchsorted(reports["message"], np.arange(len(orders)))]
        accepted = (first["kind"] == ReportKind.ACK).tolist()
        ids = []
        for old, is_new in zip(orders["order_id"].tolist(), accepted, strict=True):
            if is_new or old not in self.now:
                self.n += 1
                self.now[old] = self.stream(self.n)
                assert self.now[old] not in self.back
                self.back[self.now[old]] = old
            ids.append(self.now[old])
        orders["order_id"] = ids
        return orders

    def old(self, reports):
        reports = reports.copy()
        for name in ("order_id", "maker_id"):
            reports[name] = [self.back[number] for number in reports[name].tolist()]
        return reports


def ids_do_not_matter(seed, stream, messages):
    matching, commands = random_orders.make(seed, messages)
    plain, other, names = cs.OrderBook(matching), cs.OrderBook(matching), Renamed(stream)
    for k, (name, *arguments) in enumerate(commands):
        if name == "process":
            orders = arguments[0]
            orders["order_id"][orders["order_id"] == 0] = 7  # an anonymous maker's is 0
            reports = plain.process(orders)
            got = other.process(names.orders(orders, reports))
            assert names.old(got).tobytes() == reports.tobytes(), f"seed {seed}, command {k}"
        elif name in ("set_mark", "cancel_owner"):
            reports = getattr(plain, name)(*arguments)
            assert names.old(getattr(other, name)(*arguments)).tobytes() == reports.tobytes()
        elif name == "copy":
            plain, other = plain.copy(), other.copy()
        elif name != "state":
            random_orders.play(plain, [(name, *arguments)])
            random_orders.play(other, [(name, *arguments)])
        if k % 8 == 0:
            assert other._check(), f"seed {seed}, command {k}"
            assert cs.OrderBook.load(other.dump()).digest == other.digest
    assert other._check()


@pytest.mark.fast
@pytest.mark.parametrize("stream", STREAMS)
def test_ids_do_not_matter_on_a_few(stream):
    for seed in range(2):
        ids_do_not_matter(seed, STREAMS[stream], 400)


@pytest.mark.parametrize("stream", STREAMS)
def test_ids_do_not_matter(stream):
    for seed in range(FIRST, FIRST + max(1, round(6 * SCALE))):
        ids_do_not_matter(20_000_000 + seed, STREAMS[stream], 6_000)


def few_alive(stream, messages, most, seed):
    """A long run of orders that come and go, against a dict."""
    rng = np.random.default_rng(seed)
    book, live, gone, n = cs.OrderBook(), {}, [], 0
    batch = 2_000
    for start in range(0, messages, batch):
        orders = np.zeros(batch, cs.ORDER_DTYPE)
        sides = rng.choice([1, -1], batch)
        orders["side"] = sides
        orders["price"] = rng.integers(0, 40, batch) - 50 * sides
        orders["quantity"] = rng.integers(1, 9, batch)
        prices, lots = orders["price"].tolist(), orders["quantity"].tolist()
        chance, pick = rng.random(batch).tolist(), rng.random(batch).tolist()
        ids, actions, kinds = [], [], []
        for row in range(batch):
            alive = list(live) if chance[row] < 0.02 else None
            action, kind = Action.NEW, ReportKind.ACK
            if alive:  # an id that is there: refused, or its order changed
                order = alive[int(pick[row] * len(alive))]
                action = Action.NEW if chance[row] < 0.01 else Action.MODIFY
                kind = ReportKind.REJECTED if action == Action.NEW else ReportKind.MODIFIED
                if action == Action.MODIFY:
                    prices[row] = live[order][0]
                    live[order] = (prices[row], lots[row])
            elif chance[row] < 0.04 and gone:  # one that is not
                order = gone[int(pick[row] * len(gone))]
                action, kind = Action.CANCEL, ReportKind.REJECTED
            elif len(live) >= most or (live and chance[row] < 0.3):
                # Most go soon, some stay for long.
                order = next(reversed(live)) if pick[row] < 0.9 else next(iter(live))
                del live[order]
                gone = [*gone[-50:], order]
                action, kind = Action.CANCEL, ReportKind.CANCELLED
            else:
                n += 1
                order = stream(n)
                live[order] = (prices[row], lots[row])
            ids.append(order)
            actions.append(action)
            kinds.append(kind)
        orders["order_id"], orders["action"], orders["price"] = ids, actions, prices
        reports = book.process(orders)
        assert reports["kind"].tolist() == kinds
        assert reports["order_id"].tolist() == ids
        assert len(book) == len(live)
        if start % (10 * batch) == 0:
            assert book._check()
    t = book.orders()
    found = zip(*(t[name].tolist() for name in ("order_id", "price", "quantity")), strict=True)
    assert {order: (price, quantity) for order, price, quantity in found} == live
    assert book._check()
    twin = book.copy()
    book.clear()
    assert twin._check()
    assert sorted(twin.orders()["order_id"].tolist()) == sorted(live)


@pytest.mark.parametrize("stream", STREAMS)
def test_long_runs_with_few_orders_alive(stream):
    few_alive(STREAMS[stream], 200_000, 20, 1)
    few_alive(STREAMS[stream], 40_000, 1_500, 2)
