"""One thread at a time: a second caller is refused at once, others run meanwhile, books share nothing; and
the memory that reports lie in is theirs while anyone holds them."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import random_orders
from book_texts import BUY, SELL, as_array, market, new

import cascade as cs


def many(n, seed=0):
    """Orders that rest, enough of them for a call that lasts."""
    orders = np.zeros(n, cs.ORDER_DTYPE)
    orders["order_id"] = np.arange(n) * 7919 % (2**31)  # anywhere: hashed
    orders["side"] = 1
    orders["price"] = np.random.default_rng(seed).integers(0, 50_000, n)
    orders["quantity"] = 1
    return orders


QUESTIONS = {
    "best_bid": lambda book: book.best_bid,
    "best_ask": lambda book: book.best_ask,
    "last": lambda book: book.last,
    "mark": lambda book: book.mark,
    "len": len,
    "digest": lambda book: book.digest,
    "process": lambda book: book.process(as_array(new(1, BUY, 5, 5))),
    "process, none": lambda book: book.process(as_array(new(1, BUY, 5, 5)), reports="none"),
    "process, out": lambda book: book.process(as_array(new(1, BUY, 5, 5)), out=np.zeros(9, cs.REPORT_DTYPE)),
    "limit": lambda book: book.limit(BUY, 5, 5),
    "market": lambda book: book.market(SELL, 5),
    "stop": lambda book: book.stop(BUY, 5, 5),
    "cancel": lambda book: book.cancel(7919),
    "modify": lambda book: book.modify(7919, 5, 5),
    "cancel_owner": lambda book: book.cancel_owner(7),
    "set_mark": lambda book: book.set_mark(7),
    "set_position": lambda book: book.set_position(7, 7),
    "position": lambda book: book.position(7),
    "set_lmm": lambda book: book.set_lmm(7, 7),
    "set_levels": lambda book: book.set_levels(BUY, [5], [5]),
    "depth": lambda book: book.depth(),
    "level": lambda book: book.level(BUY, 5),
    "queue_position": lambda book: book.queue_position(7919),
    "orders": lambda book: book.orders(),
    "stops": lambda book: book.stops(),
    "price_to_fill": lambda book: book.price_to_fill(BUY, 5),
    "quantity_to": lambda book: book.quantity_to(BUY, 5),
    "cost": lambda book: book.cost(BUY, 5),
    "dump": lambda book: book.dump(),
    "copy": lambda book: book.copy(),
    "clear": lambda book: book.clear(),
    "_check": lambda book: book._check(),
    "repr": repr,
}


class Long:
    """A thread inside one long `process` call; what it gives is looked at in the end."""

    def __init__(self, book, orders):
        self.book, self.orders, self.inside = book, orders, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        self.inside.set()
        self.reports = self.book.process(self.orders)

    def __enter__(self):
        self.thread.start()
        self.inside.wait()
        return self

    def __exit__(self, *error):
        self.thread.join()

    @property
    def runs(self):
        return self.thread.is_alive()


def busy(book):
    try:
        len(book)
    except cs.EngineStateError:
        return True
    return False


@pytest.mark.fast
def test_a_second_caller_is_refused_at_once():
    orders = many(600_000)
    for _ in range(8):
        book = cs.OrderBook()
        refused, said, slowest = set(), set(), 0.0
        with Long(book, orders) as long:
            while long.runs and not busy(book):
                pass
            for name, ask in QUESTIONS.items():
                began = time.perf_counter()
                try:
                    ask(book)
                except cs.EngineStateError as error:
                    refused.add(name)
                    said.add(str(error))
                    slowest = max(slowest, time.perf_counter() - began)
                except cs.CascadeError:
                    break  # the long call has ended: another try
                if not long.runs:
                    break
        if refused == set(QUESTIONS):
            break
    else:
        pytest.fail(f"never refused: {set(QUESTIONS) - refused}")
    assert said == {"order book: busy in another thread"}
    # What was refused did nothing.
    assert len(long.reports) == orders.size
    assert len(book) == orders.size
    assert book._check()
    assert slowest < 0.1


@pytest.mark.fast
def test_other_threads_run_meanwhile():
    """A call gives the interpreter free: a Python loop goes on beside it."""
    orders = many(600_000)
    for _ in range(5):
        with Long(cs.OrderBook(), orders) as long:
            turns = 0
            while long.runs:
                turns += 1
        assert len(long.reports) == orders.size
        if turns > 1_000:
            return
    pytest.fail(f"only {turns} turns of a loop beside a call")


@pytest.mark.fast
def test_books_share_no_state():
    """Threads with a book each, and all on copies of one book."""

    def answers(seed):
        matching, commands = random_orders.make(seed, 400)
        return random_orders.play(cs.OrderBook(matching), commands)

    alone = [answers(seed) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        for expected, got in zip(alone, pool.map(answers, range(24)), strict=True):
            assert random_orders.different(expected, got) is None

    base = cs.OrderBook()
    base.process(many(20_000))
    before = base.digest

    def on_a_copy(book):
        reports = book.process(as_array(*(market(2**40 + k, SELL, 100) for k in range(50))))
        return reports.tobytes(), book.digest

    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(on_a_copy, [base.copy() for _ in range(12)]))
    assert len(results) == 1
    assert base.digest == before


def test_a_long_call_and_other_books():
    orders = many(600_000)
    book, other = cs.OrderBook(), cs.OrderBook()
    with Long(book, orders) as long:
        calls = 0
        while long.runs:
            other.process(as_array(new(calls, BUY, calls % 50, 1)))
            calls += 1
    assert calls > 0
    assert len(other) == calls
    assert other._check()
    assert book._check()


# Memory of reports


@pytest.mark.fast
def test_reports_stay_as_they_are_while_they_are_held():
    rng = np.random.default_rng(1)
    book = cs.OrderBook()
    held = []
    for k in range(400):
        n = int(rng.choice([1, 2, 30, 1000]))
        orders = many(n, k)
        orders["order_id"] += np.uint64(k * 2**32)
        if rng.random() < 0.2:
            reports = book.set_mark(k)
        elif rng.random() < 0.2:
            orders = as_array(new(2**60 + k, SELL, 0, 500))
            reports = book.process(orders)
        else:
            reports = book.process(orders, reports=str(rng.choice(["all", "all", "trades", "none"])))
        kind = rng.random()
        if kind < 0.2:
            reports = reports[1:]  # a part keeps the whole
        elif kind < 0.4:
            reports = reports["order_id"]
        elif kind < 0.5:
            reports[:] = np.zeros(1, reports.dtype)  # they are the caller's
        held.append((reports, reports.tobytes()))
        while len(held) > 8 or (held and rng.random() < 0.45):
            held.pop(int(rng.integers(len(held))))
        assert all(reports.tobytes() == content for reports, content in held), k
    del book
    gc.collect()
    assert all(reports.tobytes() == content for reports, content in held)


def test_reports_outlive_copies_clears_and_the_book():
    book = cs.OrderBook()
    reports = book.process(many(5_000))
    content = reports.tobytes()
    twin = book.copy()
    book.clear()
    for k in range(5):
        book.process(many(5_000, k + 1))
        twin.process(as_array(*(market(2**40 + k * 100 + j, SELL, 5) for j in range(100))))
    assert reports.tobytes() == content
    del book, twin
    gc.collect()
    assert reports.tobytes() == content
    assert reports.flags.writeable


def test_reports_are_dropped_in_other_threads():
    book = cs.OrderBook()
    orders = many(500)

    def drop(reports):
        total = int(reports["quantity"].sum())
        del reports
        return total

    with ThreadPoolExecutor(3) as pool:
        futures = []
        for k in range(400):
            orders["order_id"] += np.uint64(2**32)
            reports = book.process(orders)
            assert reports["order_id"].tolist() == orders["order_id"].tolist(), k
            futures.append(pool.submit(drop, reports))
            del reports
        assert {future.result() for future in futures} == {500}
    assert book._check()
