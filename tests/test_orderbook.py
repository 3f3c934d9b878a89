"""The compiled order book's own surface: one order at a time, questions, anonymous levels, buffers."""

import numpy as np
import pytest
from book_texts import BUY, HIGH, IOC, LOW, SELL, as_array, cancel, filled_book, new

import cascade as cs


def test_one_at_a_time():
    book = cs.OrderBook()
    assert book.limit(BUY, 99, 4) == 1
    assert book.limit(BUY, 98, 4, order_id=10) == 10
    assert book.market(SELL, 1) == 11
    assert book.limit(SELL, 99, 1, tif=cs.TimeInForce.IOC) == 12
    assert book.level(BUY, 99) == (2, 1)
    assert book.modify(10, 97, 8) is None
    assert book.cancel(1) is None
    assert (book.best_bid, len(book)) == (97, 1)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda b: b.limit(BUY, 99, 0), "BAD_QUANTITY"),
        (lambda b: b.limit(BUY, 99, 1, order_id=1), "DUPLICATE_ID"),
        (lambda b: b.limit(BUY, 101, 1, tif=cs.TimeInForce.POST_ONLY), "WOULD_TAKE"),
        (lambda b: b.limit(BUY, 101, 3, tif=cs.TimeInForce.FOK), "FOK_UNFILLABLE"),
        (lambda b: b.limit(BUY, 99, 1, tif=9), "BAD_FIELD"),
        (lambda b: b.market(BUY, -1), "BAD_QUANTITY"),
        (lambda b: b.cancel(77), "UNKNOWN_ID"),
        (lambda b: b.modify(77, 1, 1), "UNKNOWN_ID"),
        (lambda b: b.modify(1, 1, 0), "BAD_QUANTITY"),
    ],
)
def test_one_at_a_time_refusals(call, reason):
    book = filled_book()
    before = book.dump()
    with pytest.raises(cs.InputError, match=reason):
        call(book)
    assert book.dump() == before


def test_automatic_ids_end():
    book = cs.OrderBook()
    book.limit(BUY, 1, 1, order_id=2**64 - 1)
    with pytest.raises(cs.RangeError, match="order_id"):
        book.limit(BUY, 1, 1)
    assert len(book) == 1


def test_depth_level_and_queue_position():
    book = filled_book()
    depth = book.depth(2)
    assert depth["side"].tolist() == [1, 1, -1, -1]
    assert depth["price"].tolist() == [99, 98, 101, 103]
    assert depth["quantity"].tolist() == [11, 1, 2, 12]
    assert depth["orders"].tolist() == [2, 1, 1, 2]
    assert len(book.depth()["price"]) == 5
    assert len(book.depth(0)["price"]) == 0
    assert book.level(BUY, 99) == (11, 2)
    assert book.level(SELL, 99) == (0, 0)
    assert (book.queue_position(2), book.queue_position(1)) == (0, 1)
    with pytest.raises(cs.InputError, match="no resting order"):
        book.queue_position(999)
    assert repr(book) == "OrderBook(7 orders, best_bid=99, best_ask=101)"


def test_price_to_fill_and_quantity_to():
    book = filled_book()
    assert [book.price_to_fill(BUY, q) for q in (1, 2, 3, 14, 15, 20, 21)] == [
        101,
        101,
        103,
        103,
        104,
        104,
        None,
    ]
    assert [book.price_to_fill(SELL, q) for q in (11, 12, 13)] == [99, 98, None]
    assert [book.quantity_to(BUY, p) for p in (100, 101, 103, HIGH)] == [0, 2, 14, 20]
    assert [book.quantity_to(SELL, p) for p in (100, 99, LOW)] == [0, 11, 12]
    with pytest.raises(cs.InputError, match="quantity"):
        book.price_to_fill(BUY, 0)


def test_set_levels():
    book = cs.OrderBook()
    book.set_levels(BUY, np.array([10, 12, 11]), np.array([1, 2, 3]))
    book.limit(BUY, 12, 9, order_id=5)
    assert book.queue_position(5) == 1
    book.set_levels(BUY, [12, 11, 7], [8, 0, 0])
    assert book._check()
    assert book.orders()["quantity"].tolist() == [8, 9, 1]
    assert book.queue_position(5) == 1
    book.set_levels(BUY, [12], [0])
    assert book.level(BUY, 12) == (9, 1)
    book.set_levels(BUY, [12], [3])
    assert book.orders()["external"].tolist() == [False, True, True]
    book.set_levels(BUY, [], [])


@pytest.mark.parametrize(
    ("prices", "quantities", "match"),
    [
        ([50, 49], [1], "rows"),
        ([50, 49], [1, -1], r"quantities\[1\] = -1"),
        ([50, 49, 50], [1, 1, 1], r"prices\[2\] = 50"),
        ([50, 101], [1, 1], r"prices\[1\] = 101.*best, 101 \(1 bad"),
        ([102, 50, 103], [1, 1, 1], r"prices\[0\] = 102.*\(2 bad"),
        ([50], [2**62 + 1], "quantities"),
    ],
)
def test_set_levels_refusals(prices, quantities, match):
    book = filled_book()
    before = book.dump()
    with pytest.raises(cs.InputError, match=match):
        book.set_levels(BUY, prices, quantities)
    assert book.dump() == before


def test_set_levels_sum_is_bounded():
    book = cs.OrderBook()
    book.limit(BUY, 5, 2**62)
    book.limit(BUY, 5, 2**62 - 1)
    before = book.digest
    with pytest.raises(cs.RangeError):
        book.set_levels(BUY, [4, 5], [1, 1])
    assert book.digest == before


@pytest.mark.fast
def test_a_message_is_dealt_with_only_when_all_its_reports_fit():
    book = cs.OrderBook()
    for k in range(5):
        book.limit(SELL, 100 + k, 1)
    orders = as_array(new(50, BUY, 1, 1), new(51, BUY, 200, 6, tif=IOC), cancel(50))
    out = np.zeros(7, cs.REPORT_DTYPE)
    assert book.process(orders, out=out) == (1, 1)
    assert len(book) == 6
    before = book.dump()
    with pytest.raises(cs.CapacityError, match="row 0 alone gives 7"):
        book.process(orders[1:], out=out[:6])
    assert book.dump() == before
    assert book.process(orders[1:], out=out) == (7, 1)
    assert out["kind"].tolist() == [0, 1, 1, 1, 1, 1, 2]
    assert book.process(orders[2:], out=out[:1]) == (1, 1)


def test_a_buffer_without_room_deals_with_messages_that_have_no_reports():
    book = cs.OrderBook()
    orders = as_array(new(1, BUY, 5, 5), new(2, SELL, 5, 1))
    out = np.zeros(0, cs.REPORT_DTYPE)
    assert book.process(orders, out=out, reports="trades") == (0, 1)
    assert book.process(orders[1:], out=out, reports="none") == (0, 1)
    assert book.level(BUY, 5) == (4, 1)


def test_trades_and_none():
    orders = as_array(new(1, BUY, 5, 5), new(2, SELL, 5, 9), cancel(2), cancel(2), new(3, BUY, 1, 0))
    every = cs.OrderBook().process(orders)
    trades = cs.OrderBook().process(orders, reports="trades")
    assert trades.tobytes() == every[every["kind"] == cs.ReportKind.TRADE].tobytes()
    assert cs.OrderBook().process(orders, reports="none").size == 0


def test_reports_outgrow_the_first_buffer():
    book = cs.OrderBook(reserve=5000)
    orders = np.zeros(5000, cs.ORDER_DTYPE)
    orders["order_id"] = np.arange(5000)
    orders["side"] = 1
    orders["quantity"] = 1
    book.process(orders)
    reports = book.process(as_array(new(9999, SELL, 0, 5001)))
    assert reports["maker_id"][1:].tolist() == list(range(5000))
    assert reports["leaves"][-1] == 1
    assert book._check()


@pytest.mark.fast
def test_many_stops_are_cancelled_in_a_wide_book():
    """What is fetched ahead for a cancellation must not take a stop for a resting order."""
    resting, waiting = 5_000, 60_000
    book = cs.OrderBook()
    orders = np.zeros(resting + waiting, cs.ORDER_DTYPE)
    orders["order_id"] = np.arange(1, resting + waiting + 1)
    orders["side"], orders["quantity"] = BUY, 1
    orders["price"][:resting] = np.random.default_rng(1).integers(0, 2**31, resting)
    orders["type"][resting:], orders["stop_price"][resting:] = cs.OrderType.STOP, 2**40
    book.process(orders, reports="none")
    off = np.zeros(waiting, cs.ORDER_DTYPE)
    off["order_id"], off["action"] = orders["order_id"][resting:][::-1], cs.Action.CANCEL
    reports = book.process(off)
    assert (reports["kind"] == cs.ReportKind.CANCELLED).all()
    assert len(reports) == waiting
    assert len(book) == resting
    assert book._check()
