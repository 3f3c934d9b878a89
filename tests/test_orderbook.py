"""Behaviour of the order book, on the compiled and on the plain Python one, and the two against each
other."""

import hashlib
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import cascade as cs
from cascade.reference.book import Book

BUY, SELL = cs.Side.BUY, cs.Side.SELL
LOW, HIGH = -(2**63), 2**63 - 1
FIELDS = [name for name in cs.REPORT_DTYPE.names if name != "_pad"]


class PlainBook:
    """The reference under the names that the tests use."""

    def __init__(self):
        self.book = Book()

    def process(self, orders):
        return self.book.process(orders)

    def cancel_owner(self, owner):
        return self.book.cancel_owner(owner)

    @property
    def best_bid(self):
        return self.book.best(BUY)

    @property
    def best_ask(self):
        return self.book.best(SELL)

    def level(self, side, price):
        return self.book.level(side, price)

    def resting(self):
        rows = self.book.side_orders(BUY) + self.book.side_orders(SELL)
        return [(o.id, int(o.side), o.price, o.lots, o.owner, o.external) for o in rows]

    def add_external(self, side, price, lots):
        self.book.add(side, price, lots, 0, 0, external=True)

    def copy(self):
        twin = PlainBook()
        twin.book = self.book.copy()
        return twin

    def __len__(self):
        return len(self.book)


class CoreBook:
    """The compiled book; its inner state is checked whenever the resting orders are read."""

    def __init__(self):
        self.book = cs.OrderBook()

    def __getattr__(self, name):
        return getattr(self.book, name)

    def resting(self):
        assert self.book._check()
        t = self.book.orders()
        names = ("order_id", "side", "price", "quantity", "owner", "external")
        return list(zip(*(t[name].tolist() for name in names), strict=True))

    def add_external(self, side, price, lots):
        self.book.set_levels(side, [price], [lots])

    def copy(self):
        twin = CoreBook()
        twin.book = self.book.copy()
        return twin

    def __len__(self):
        return len(self.book)


@pytest.fixture(params=[CoreBook, PlainBook], ids=["core", "reference"])
def book(request):
    return request.param()


def message(order_id=0, side=0, price=0, quantity=0, **fields):
    row = np.zeros(1, cs.ORDER_DTYPE)
    for name, value in {
        "order_id": order_id,
        "side": side,
        "price": price,
        "quantity": quantity,
        **fields,
    }.items():
        row[name] = value
    return row


def new(order_id, side, price, quantity, **fields):
    return message(order_id, side, price, quantity, **fields)


def cancel(order_id):
    return message(order_id, action=cs.Action.CANCEL)


def modify(order_id, price, quantity):
    return message(order_id, 0, price, quantity, action=cs.Action.MODIFY)


def send(book, *messages):
    """Reports as dicts of what is not 0, kinds by name."""
    reports = book.process(np.concatenate(messages))
    assert reports.dtype == cs.REPORT_DTYPE
    assert reports["_pad"].tobytes() == bytes(4 * len(reports))
    rows = []
    for report in reports:
        row = {name: int(report[name]) for name in FIELDS if report[name] != 0}
        row["kind"] = cs.ReportKind(int(report["kind"])).name
        if "reason" in row:
            row["reason"] = cs.Reason(row["reason"]).name
        rows.append(row)
    return rows


def ack(order_id, side, price, quantity, **more):
    return _row("ACK", order_id=order_id, side=side, price=price, quantity=quantity, **more)


def trade(order_id, side, maker_id, price, quantity, leaves=0, **more):
    fields = {
        "order_id": order_id,
        "side": side,
        "maker_id": maker_id,
        "price": price,
        "quantity": quantity,
        "leaves": leaves,
    }
    return _row("TRADE", **fields, **more)


def cancelled(order_id, side, price, quantity, reason, **more):
    return _row(
        "CANCELLED", order_id=order_id, side=side, price=price, quantity=quantity, reason=reason, **more
    )


def modified(order_id, price, quantity, **more):
    return _row("MODIFIED", order_id=order_id, price=price, quantity=quantity, **more)


def rejected(order_id, reason, action=0, **more):
    return _row("REJECTED", order_id=order_id, reason=reason, action=action, **more)


def _row(kind, **fields):
    return {"kind": kind, **{name: value for name, value in fields.items() if value != 0}}


# What the reports say


@pytest.mark.fast
def test_the_example_of_the_documentation(book):
    orders = np.zeros(2, cs.ORDER_DTYPE)
    orders["order_id"] = [1, 2]
    orders["side"] = [cs.Side.BUY, cs.Side.SELL]
    orders["price"] = [100, 100]
    orders["quantity"] = [5, 3]
    assert send(book, orders) == [
        ack(1, 1, 100, 5),
        ack(2, -1, 100, 3, message=1),
        trade(2, -1, 1, 100, 3, message=1),
    ]
    assert (book.best_bid, book.best_ask) == (100, None)
    assert book.resting() == [(1, 1, 100, 2, 0, False)]


def test_empty_book(book):
    assert (book.best_bid, book.best_ask, len(book)) == (None, None, 0)
    assert book.process(np.zeros(0, cs.ORDER_DTYPE)).shape == (0,)
    assert send(book, new(1, BUY, 0, 5, type=cs.OrderType.MARKET)) == [
        ack(1, 1, 0, 5),
        cancelled(1, 1, 0, 5, "IOC"),
    ]


@pytest.mark.fast
def test_trades_go_best_price_first_then_oldest_at_the_makers_price(book):
    send(book, new(1, SELL, 102, 1), new(2, SELL, 101, 2), new(3, SELL, 101, 3), new(4, SELL, 103, 9))
    assert send(book, new(5, BUY, 102, 7, owner=8)) == [
        ack(5, 1, 102, 7, owner=8),
        trade(5, 1, 2, 101, 2, 5, owner=8),
        trade(5, 1, 3, 101, 3, 2, owner=8),
        trade(5, 1, 1, 102, 1, 1, owner=8),
    ]
    assert book.resting() == [(5, 1, 102, 1, 8, False), (4, -1, 103, 9, 0, False)]


def test_trade_names_both_owners(book):
    send(book, new(1, SELL, 10, 4, owner=3))
    assert send(book, new(2, BUY, 10, 4, owner=5))[1] == trade(2, 1, 1, 10, 4, owner=5, maker_owner=3)


def test_equal_owners_trade_when_stp_is_none(book):
    send(book, new(1, SELL, 10, 4, owner=3))
    assert send(book, new(2, BUY, 10, 4, owner=3))[1]["kind"] == "TRADE"


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize(
    "fields",
    [{"tif": cs.TimeInForce.IOC}, {"type": cs.OrderType.MARKET}, {"type": cs.OrderType.MARKET, "tif": 1}],
)
def test_remainder_of_ioc_and_market_is_reported_once(book, side, fields):
    send(book, new(1, -side, 100, 3))
    assert send(book, new(2, side, 100, 5, **fields)) == [
        ack(2, side, 100, 5),
        trade(2, side, 1, 100, 3, 2),
        cancelled(2, side, 100, 2, "IOC"),
    ]
    assert len(book) == 0


def test_ioc_filled_whole_has_no_remainder(book):
    send(book, new(1, SELL, 100, 5))
    assert [r["kind"] for r in send(book, new(2, BUY, 100, 5, tif=cs.TimeInForce.IOC))] == ["ACK", "TRADE"]


def test_market_order_takes_any_price(book):
    send(book, new(1, SELL, HIGH, 1), new(2, SELL, 5, 1))
    assert [r.get("price", 0) for r in send(book, new(3, BUY, 7, 2, type=cs.OrderType.MARKET))] == [
        7,
        5,
        HIGH,
    ]


@pytest.mark.parametrize("market", [False, True])
def test_fok_all_or_nothing(book, market):
    fields = {"tif": cs.TimeInForce.FOK, "type": int(market)}
    send(book, new(1, SELL, 100, 3), new(2, SELL, 101, 3))
    before = book.resting()
    quantity = 7 if market else 4
    assert send(book, new(3, BUY, 100, quantity, **fields)) == [rejected(3, "FOK_UNFILLABLE")]
    assert book.resting() == before
    assert send(book, new(3, BUY, 101, 6, **fields)) == [
        ack(3, 1, 101, 6),
        trade(3, 1, 1, 100, 3, 3),
        trade(3, 1, 2, 101, 3, 0),
    ]
    assert len(book) == 0


def test_fok_does_not_overflow_on_huge_levels(book):
    for k in range(4):
        send(book, new(k, SELL, k // 3, 2**62 if k % 3 == 0 else 2**61))
    assert send(book, new(9, BUY, 5, 2**62, tif=cs.TimeInForce.FOK))[-1] == trade(9, 1, 0, 0, 2**62)


def test_post_only(book):
    send(book, new(1, SELL, 100, 3))
    before = book.resting()
    assert send(book, new(2, BUY, 100, 1, tif=cs.TimeInForce.POST_ONLY)) == [rejected(2, "WOULD_TAKE")]
    assert book.resting() == before
    assert send(book, new(2, BUY, 99, 1, tif=cs.TimeInForce.POST_ONLY)) == [ack(2, 1, 99, 1)]
    assert book.best_bid == 99


@pytest.mark.fast
def test_cancel_reads_order_id_only(book):
    send(book, new(7, BUY, 100, 5, owner=2), new(8, SELL, 100, 2))
    garbage = message(7, -9, 3, -5, action=cs.Action.CANCEL, type=200, tif=200, flags=255, stp=99, owner=-4)
    assert send(book, garbage) == [cancelled(7, 1, 100, 3, "USER", owner=2)]
    assert len(book) == 0


def test_cancel_of_unknown_filled_or_cancelled(book):
    send(book, new(1, BUY, 100, 5), new(2, SELL, 100, 5), new(3, BUY, 100, 5), cancel(3))
    action = cs.Action.CANCEL
    assert send(book, cancel(1), cancel(2), cancel(3), cancel(4)) == [
        rejected(1, "UNKNOWN_ID", action),
        rejected(2, "UNKNOWN_ID", action, message=1),
        rejected(3, "UNKNOWN_ID", action, message=2),
        rejected(4, "UNKNOWN_ID", action, message=3),
    ]


def test_double_cancel_in_one_call(book):
    assert [r["kind"] for r in send(book, new(1, BUY, 1, 1), cancel(1), cancel(1))] == [
        "ACK",
        "CANCELLED",
        "REJECTED",
    ]


@pytest.mark.fast
def test_duplicate_live_id_is_refused_and_the_first_untouched(book):
    send(book, new(1, BUY, 100, 5, owner=4), new(2, SELL, 110, 5))
    before = book.resting()
    assert send(book, new(1, BUY, 120, 9)) == [rejected(1, "DUPLICATE_ID")]
    assert book.resting() == before


def test_an_id_is_free_again_once_dead(book):
    fills = send(
        book, new(1, BUY, 100, 5), new(2, SELL, 100, 5), new(1, BUY, 90, 1), cancel(1), new(1, BUY, 80, 1)
    )
    assert "REJECTED" not in [r["kind"] for r in fills]
    send(book, new(3, BUY, 70, 1, tif=cs.TimeInForce.IOC))
    assert send(book, new(3, BUY, 70, 1)) == [ack(3, 1, 70, 1)]


def test_id_zero_and_the_largest_are_ids(book):
    send(book, new(0, BUY, 1, 1), new(2**64 - 1, BUY, 2, 1))
    assert [r["kind"] for r in send(book, cancel(0), cancel(2**64 - 1))] == ["CANCELLED", "CANCELLED"]


def test_modify_less_at_the_same_price_keeps_its_place(book):
    send(book, new(1, BUY, 100, 5, owner=3), new(2, BUY, 100, 5))
    assert send(book, modify(1, 100, 2)) == [modified(1, 100, 2, owner=3)]
    assert [r[0] for r in book.resting()] == [1, 2]
    assert book.level(BUY, 100) == (7, 2)


@pytest.mark.parametrize("quantity", [5, 6])
def test_modify_not_less_at_the_same_price_rests_last(book, quantity):
    send(book, new(1, BUY, 100, 5), new(2, BUY, 100, 5))
    assert send(book, modify(1, 100, quantity)) == [modified(1, 100, quantity)]
    assert [r[0] for r in book.resting()] == [2, 1]


def test_modify_to_another_price_rests_last_there(book):
    send(book, new(1, BUY, 100, 5), new(2, BUY, 99, 5))
    send(book, modify(1, 99, 1))
    assert book.resting() == [(2, 1, 99, 5, 0, False), (1, 1, 99, 1, 0, False)]


def test_modify_quantity_is_the_open_one(book):
    send(book, new(1, BUY, 100, 10), new(2, SELL, 100, 6), modify(1, 100, 3))
    assert book.resting() == [(1, 1, 100, 3, 0, False)]


@pytest.mark.fast
def test_modify_that_trades_partly(book):
    send(book, new(1, SELL, 101, 3, owner=5), new(2, BUY, 100, 1, owner=6))
    assert send(book, modify(2, 101, 5)) == [
        trade(2, 1, 1, 101, 3, 2, owner=6, maker_owner=5),
        modified(2, 101, 5, owner=6),
    ]
    assert book.resting() == [(2, 1, 101, 2, 6, False)]


def test_modify_that_fills_whole_still_says_what_was_asked(book):
    send(book, new(1, SELL, 101, 9), new(2, BUY, 100, 1))
    assert send(book, modify(2, 102, 4), cancel(2)) == [
        trade(2, 1, 1, 101, 4),
        modified(2, 102, 4),
        rejected(2, "UNKNOWN_ID", cs.Action.CANCEL, message=1),
    ]
    assert (book.best_bid, book.best_ask) == (None, 101)


def test_modify_cannot_change_the_side(book):
    send(book, new(1, BUY, 100, 5), message(1, SELL, 90, 5, action=cs.Action.MODIFY))
    assert book.resting() == [(1, 1, 90, 5, 0, False)]


def test_modify_refusals(book):
    send(book, new(1, BUY, 100, 5), new(2, BUY, 100, 5), cancel(2))
    before = book.resting()
    action = cs.Action.MODIFY
    assert send(book, modify(2, 1, 1), modify(1, 1, 0), modify(1, 1, -1), modify(1, 1, 2**62 + 1)) == [
        rejected(2, "UNKNOWN_ID", action),
        rejected(1, "BAD_QUANTITY", action, message=1),
        rejected(1, "BAD_QUANTITY", action, message=2),
        rejected(1, "BAD_QUANTITY", action, message=3),
    ]
    assert book.resting() == before


REFUSALS = [
    ({"side": 2}, "BAD_SIDE"),
    ({"side": 0}, "BAD_SIDE"),
    ({"quantity": 0}, "BAD_QUANTITY"),
    ({"quantity": -1}, "BAD_QUANTITY"),
    ({"quantity": LOW}, "BAD_QUANTITY"),
    ({"quantity": 2**62 + 1}, "BAD_QUANTITY"),
    ({"owner": -1}, "BAD_OWNER"),
    ({"type": 4}, "BAD_FIELD"),
    ({"tif": 4}, "BAD_FIELD"),
    ({"flags": 2}, "BAD_FIELD"),
    ({"stp": 5}, "BAD_FIELD"),
    ({"action": 3}, "BAD_FIELD"),
    ({"type": cs.OrderType.MARKET, "tif": cs.TimeInForce.POST_ONLY}, "BAD_FIELD"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("fields", "reason"), REFUSALS)
def test_refused_messages_change_nothing(book, fields, reason):
    send(book, new(1, BUY, 100, 5), new(2, SELL, 101, 5))
    before = book.resting()
    row = {"order_id": 9, "side": BUY, "price": 200, "quantity": 5} | fields
    assert send(book, message(**row)) == [rejected(9, reason, row.get("action", 0))]
    assert book.resting() == before


def test_fields_that_are_not_read(book):
    assert send(book, new(1, BUY, 5, 5, stop_price=77, ts_ns=-5, instrument=-3)) == [ack(1, 1, 5, 5)]


def test_extreme_prices(book):
    send(book, new(1, BUY, LOW, 1), new(2, SELL, HIGH, 1))
    assert (book.best_bid, book.best_ask) == (LOW, HIGH)
    assert send(book, new(3, BUY, HIGH, 1))[1] == trade(3, 1, 2, HIGH, 1)
    assert send(book, new(4, SELL, LOW, 1))[1] == trade(4, -1, 1, LOW, 1)
    send(book, new(5, SELL, LOW, 1))
    assert (book.best_bid, book.best_ask) == (None, LOW)
    assert book.level(SELL, LOW) == (1, 1)


def test_level_sum_is_bounded(book):
    send(book, new(1, BUY, 5, 2**62), new(2, BUY, 5, 2**62 - 1), new(3, BUY, 4, 1))
    assert book.level(BUY, 5) == (HIGH, 2)
    before = book.resting()
    assert send(book, new(4, BUY, 5, 1), modify(2, 5, 2**62), modify(3, 5, 1)) == [
        rejected(4, "CAPACITY"),
        rejected(2, "CAPACITY", cs.Action.MODIFY, message=1),
        rejected(3, "CAPACITY", cs.Action.MODIFY, message=2),
    ]
    assert book.resting() == before
    assert send(book, new(4, BUY, 5, 1, tif=cs.TimeInForce.IOC))[0]["kind"] == "ACK"
    assert send(book, modify(2, 5, 2**62 - 1)) == [modified(2, 5, 2**62 - 1)]


def test_taker_that_ends_exactly_at_a_levels_end(book):
    send(book, new(1, SELL, 100, 2), new(2, SELL, 100, 3), new(3, SELL, 105, 1))
    assert send(book, new(4, BUY, 105, 5))[-1] == trade(4, 1, 2, 100, 3)
    assert (book.best_bid, book.best_ask) == (None, 105)


def test_best_is_right_after_each_way_a_level_ends(book):
    send(book, new(1, BUY, 100, 1), new(2, BUY, 99, 1), new(3, BUY, 98, 1), new(4, BUY, 97, 1))
    assert book.best_bid == 100
    send(book, cancel(1))
    assert book.best_bid == 99
    send(book, modify(2, 90, 1))
    assert book.best_bid == 98
    send(book, new(5, SELL, 98, 1))
    assert book.best_bid == 97
    send(book, cancel(2))
    assert book.best_bid == 97
    send(book, new(6, SELL, 0, 1, type=cs.OrderType.MARKET))
    assert book.best_bid is None


def test_message_counts_rows_and_splitting_changes_nothing_else():
    rng = np.random.default_rng(5)
    orders = random_orders(rng, 500)
    whole = cs.OrderBook().process(orders)
    parts, book, start = [], cs.OrderBook(), 0
    for size in [1, 7, 0, 100, 392]:
        reports = book.process(orders[start : start + size])
        reports["message"] += start
        parts.append(reports)
        start += size
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_cancel_owner_takes_orders_in_arrival_order(book):
    send(
        book,
        new(1, BUY, 100, 5, owner=7),
        new(2, SELL, 200, 5, owner=7),
        new(3, BUY, 100, 5, owner=8),
        new(4, BUY, 101, 5, owner=7),
        modify(1, 100, 6),
    )
    reports = book.cancel_owner(7)
    assert reports["order_id"].tolist() == [2, 4, 1]
    assert reports["quantity"].tolist() == [5, 5, 6]
    assert reports["side"].tolist() == [-1, 1, 1]
    assert set(reports["reason"].tolist()) == {cs.Reason.OWNER}
    assert set(reports["kind"].tolist()) == {cs.ReportKind.CANCELLED}
    assert book.resting() == [(3, 1, 100, 5, 8, False)]
    assert book.cancel_owner(7).size == 0


def test_external_levels_trade_but_have_no_id(book):
    book.add_external(SELL, 100, 5)
    send(book, new(0, SELL, 100, 5))
    assert send(book, new(3, BUY, 100, 7)) == [
        ack(3, 1, 100, 7),
        trade(3, 1, 0, 100, 5, 2),
        trade(3, 1, 0, 100, 2),
    ]
    assert send(book, cancel(0))[0]["kind"] == "CANCELLED"
    book.add_external(SELL, 100, 5)
    assert send(book, cancel(0))[0]["reason"] == "UNKNOWN_ID"


def test_copy_is_independent(book):
    send(book, new(1, BUY, 100, 5, owner=7), new(2, BUY, 90, 5, owner=7), modify(1, 100, 5))
    twin = book.copy()
    before = book.resting()
    assert twin.resting() == before
    assert twin.cancel_owner(7)["order_id"].tolist() == [2, 1]
    assert book.resting() == before
    assert book.cancel_owner(7)["order_id"].tolist() == [2, 1]


# The compiled book's own surface


def filled_book():
    book = cs.OrderBook()
    book.limit(BUY, 99, 4, owner=3)
    book.limit(BUY, 99, 6)
    book.limit(BUY, 98, 1, owner=3)
    book.limit(SELL, 101, 2)
    book.limit(SELL, 103, 7, owner=2)
    book.set_levels(SELL, [103, 104], [5, 6])
    book.modify(1, 99, 5)
    return book


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


def test_out_buffer_resumes_and_loses_nothing():
    rng = np.random.default_rng(11)
    orders = random_orders(rng, 3000)
    for mode in ("all", "trades", "none"):
        expected = cs.OrderBook().process(orders, reports=mode)
        for size in (50, 64, 1000, 20000):
            book, got, start = cs.OrderBook(), [], 0
            out = np.zeros(size, cs.REPORT_DTYPE)
            while start < len(orders):
                written, rows = book.process(orders[start:], out=out, reports=mode)
                assert rows > 0
                part = out[:written].copy()
                part["message"] += start
                got.append(part)
                start += rows
            assert np.concatenate(got).tobytes() == expected.tobytes()


@pytest.mark.fast
def test_a_message_is_dealt_with_only_when_all_its_reports_fit():
    book = cs.OrderBook()
    for k in range(5):
        book.limit(SELL, 100 + k, 1)
    orders = np.concatenate([new(50, BUY, 1, 1), new(51, BUY, 200, 6, tif=cs.TimeInForce.IOC), cancel(50)])
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
    orders = np.concatenate([new(1, BUY, 5, 5), new(2, SELL, 5, 1)])
    out = np.zeros(0, cs.REPORT_DTYPE)
    assert book.process(orders, out=out, reports="trades") == (0, 1)
    assert book.process(orders[1:], out=out, reports="none") == (0, 1)
    assert book.level(BUY, 5) == (4, 1)


def test_trades_and_none():
    orders = np.concatenate([new(1, BUY, 5, 5), new(2, SELL, 5, 9), cancel(2), cancel(2), new(3, BUY, 1, 0)])
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
    reports = book.process(new(9999, SELL, 0, 5001))
    assert reports["maker_id"][1:].tolist() == list(range(5000))
    assert reports["leaves"][-1] == 1
    assert book._check()


@pytest.mark.fast
def test_dump_load_and_digest():
    book = filled_book()
    twin = cs.OrderBook.load(book.dump())
    assert twin._check()
    assert (twin.dump(), twin.digest, len(twin.digest)) == (book.dump(), book.digest, 32)
    assert twin.limit(BUY, 1, 1) == book.limit(BUY, 1, 1)
    assert twin.cancel_owner(3).tobytes() == book.cancel_owner(3).tobytes()
    assert cs.OrderBook.load(cs.OrderBook().dump()).dump() == cs.OrderBook().dump()
    assert cs.OrderBook.load(bytearray(book.dump())).digest == book.digest


def test_add_and_cancel_leave_the_same_digest():
    book = filled_book()
    before = book.digest
    book.cancel(book.limit(BUY, 1, 1, owner=9))
    assert book.digest == before


def test_digest_does_not_depend_on_the_history():
    a, b = cs.OrderBook(), cs.OrderBook()
    a.process(np.concatenate([new(1, BUY, 5, 5), new(2, SELL, 9, 5)]))
    b.process(
        np.concatenate([new(2, SELL, 9, 5), new(4, BUY, 5, 3), cancel(4), new(1, BUY, 5, 6), modify(1, 5, 5)])
    )
    assert a.digest == b.digest


def test_digest_is_fixed():
    assert filled_book().digest == "eadc5cfbbc5d84868bbc68403cac3729"


@pytest.mark.fast
def test_damaged_dumps_are_refused():
    blob = filled_book().dump()
    for k in range(len(blob)):
        damaged = bytearray(blob)
        damaged[k] ^= 1 << (k % 8)
        with pytest.raises(cs.InputError, match="dump"):
            cs.OrderBook.load(bytes(damaged))
    for size in (0, 1, 16, len(blob) // 2, len(blob) - 1):
        with pytest.raises(cs.InputError, match="dump"):
            cs.OrderBook.load(blob[:size])
    with pytest.raises(cs.InputError, match="dump"):
        cs.OrderBook.load(blob + b"\0")
    with pytest.raises(cs.InputTypeError):
        cs.OrderBook.load("text")


def sealed(payload):
    return bytes(payload) + hashlib.blake2b(bytes(payload), digest_size=16).digest()


def test_dumps_with_a_right_checksum_and_wrong_content_are_refused():
    payload = bytearray(filled_book().dump()[:-16])

    def with_bytes(at, value):
        changed = bytearray(payload)
        changed[at : at + len(value)] = value
        return sealed(changed)

    assert len(cs.OrderBook.load(sealed(payload))) == 7
    first = 32
    wrong = {
        "version": with_bytes(8, (99).to_bytes(4, "little")),
        "reserved": with_bytes(12, b"\1"),
        "last id": with_bytes(16, (0).to_bytes(8, "little")),
        "huge count": with_bytes(24, (2**62).to_bytes(8, "little")),
        "repeated id": with_bytes(first, (1).to_bytes(8, "little")),
        "crossed": with_bytes(first + 8, (500).to_bytes(8, "little")),
        "unsorted": with_bytes(first + 8, (1).to_bytes(8, "little")),
        "quantity 0": with_bytes(first + 16, bytes(8)),
        "quantity": with_bytes(first + 16, b"\xff" * 8),
        "owner": with_bytes(first + 24, b"\xff" * 4),
        "rank": with_bytes(first + 40 + 28, b"\5"),
        "side": with_bytes(first + 32, b"\0"),
        "side -128": with_bytes(first + 32, b"\x80"),
        "external": with_bytes(first + 33, b"\2"),
        "pad": with_bytes(first + 34, b"\1"),
    }
    for blob in wrong.values():
        with pytest.raises(cs.InputError, match="dump"):
            cs.OrderBook.load(blob)


def test_dump_with_a_level_whose_sum_overflows_is_refused():
    book = cs.OrderBook()
    for _ in range(2):
        book.limit(BUY, 5, 2**61)
    payload = bytearray(book.dump()[:-16])
    for k in range(2):
        payload[32 + 40 * k + 16 : 32 + 40 * k + 24] = (2**62).to_bytes(8, "little")
    with pytest.raises(cs.InputError, match="dump"):
        cs.OrderBook.load(sealed(payload))


def test_a_second_thread_is_refused_at_once():
    book = cs.OrderBook()
    orders = np.zeros(400_000, cs.ORDER_DTYPE)
    orders["order_id"] = np.arange(orders.size)
    orders["side"] = 1
    orders["price"] = np.random.default_rng(0).integers(0, 50_000, orders.size)
    orders["quantity"] = 1
    thread = threading.Thread(target=book.process, args=(orders,), kwargs={"reports": "none"})
    refused = 0
    thread.start()
    while thread.is_alive():
        try:
            book.best_bid  # noqa: B018
        except cs.EngineStateError:
            refused += 1
    thread.join()
    assert refused > 0
    assert len(book) == orders.size


# The two books against each other


def random_orders(rng, n, ids=300, width=15):
    """Messages of every kind that both books know, good and bad, around one price."""
    orders = np.zeros(n, cs.ORDER_DTYPE)
    orders["order_id"] = rng.integers(0, ids, n)
    orders["price"] = rng.integers(-width, width, n)
    orders["quantity"] = rng.integers(-1, 40, n)
    orders["side"] = rng.choice([1, -1, 0], n, p=[0.495, 0.495, 0.01])
    orders["action"] = rng.choice(4, n, p=[0.66, 0.17, 0.16, 0.01])
    orders["type"] = rng.choice([0, 1, 4], n, p=[0.92, 0.07, 0.01])
    orders["tif"] = rng.choice(5, n, p=[0.8, 0.08, 0.06, 0.05, 0.01])
    orders["owner"] = rng.integers(-1, 9, n)
    orders["stp"] = rng.choice([0, 9], n, p=[0.99, 0.01])
    orders["flags"] = rng.choice([0, 2], n, p=[0.99, 0.01])
    edge = rng.random(n) < 0.004
    orders["price"][edge] = rng.choice([LOW, HIGH], edge.sum())
    orders["quantity"][rng.random(n) < 0.004] = 2**62
    return orders


def same_orders(core, plain):
    t = core.orders()
    rows = plain.side_orders(BUY) + plain.side_orders(SELL)
    assert t["order_id"].tolist() == [o.id for o in rows]
    assert t["quantity"].tolist() == [o.lots for o in rows]
    assert t["price"].tolist() == [o.price for o in rows]
    assert t["owner"].tolist() == [o.owner for o in rows]


@pytest.mark.parametrize(("seed", "ids", "width"), [(1, 60, 4), (2, 300, 15), (3, 2000, 300)])
def test_core_equals_reference(seed, ids, width):
    rng = np.random.default_rng(seed)
    core, plain = cs.OrderBook(), Book()
    for k in range(70):
        orders = random_orders(rng, 1000, ids, width)
        assert core.process(orders).tobytes() == plain.process(orders).tobytes()
        assert core._check()
        if k % 5 == 0:
            same_orders(core, plain)
            owner = int(rng.integers(1, 9))
            assert core.cancel_owner(owner).tobytes() == plain.cancel_owner(owner).tobytes()
            assert core._check()
            if k % 10 == 0:
                core = cs.OrderBook.load(core.dump())
            else:
                core = core.copy()
            assert core._check()
    same_orders(core, plain)


@pytest.mark.fast
def test_core_equals_reference_in_small():
    rng = np.random.default_rng(9)
    core, plain = cs.OrderBook(), Book()
    for _ in range(20):
        orders = random_orders(rng, 100, 60, 6)
        assert core.process(orders).tobytes() == plain.process(orders).tobytes()
        assert core._check()


IDS = st.integers(0, 6)
PRICES = st.one_of(st.integers(-3, 3), st.sampled_from([LOW, HIGH]))
LOTS = st.one_of(st.integers(0, 6), st.sampled_from([2**62, 2**61]))


class Twins(RuleBasedStateMachine):
    """Any calls to both books, one at a time: Hypothesis shrinks a difference to its smallest case."""

    def __init__(self):
        super().__init__()
        self.core, self.plain = cs.OrderBook(), Book()

    def send(self, row):
        assert self.core.process(row).tobytes() == self.plain.process(row).tobytes()

    @rule(
        order_id=IDS,
        side=st.sampled_from([1, -1]),
        price=PRICES,
        lots=LOTS,
        kind=st.integers(0, 1),
        tif=st.integers(0, 3),
        owner=st.integers(0, 2),
    )
    def new(self, order_id, side, price, lots, kind, tif, owner):
        self.send(new(order_id, side, price, lots, type=kind, tif=tif, owner=owner))

    @rule(order_id=IDS)
    def cancel(self, order_id):
        self.send(cancel(order_id))

    @rule(order_id=IDS, price=PRICES, lots=LOTS)
    def modify(self, order_id, price, lots):
        self.send(modify(order_id, price, lots))

    @rule(owner=st.integers(1, 2))
    def cancel_owner(self, owner):
        assert self.core.cancel_owner(owner).tobytes() == self.plain.cancel_owner(owner).tobytes()

    @rule(side=st.sampled_from([1, -1]), price=st.integers(-3, 3), lots=st.integers(1, 6))
    def external(self, side, price, lots):
        far = self.plain.best(-side)
        if far is None or side * (far - price) > 0:
            if any(o.external and o.price == price for o in self.plain.side_orders(side)):
                return
            if self.plain.level(side, price)[0] + lots <= HIGH:
                self.core.set_levels(side, [price], [lots])
                self.plain.add(side, price, lots, 0, 0, external=True)

    @rule()
    def copy(self):
        self.core, self.plain = self.core.copy(), self.plain.copy()

    @rule()
    def dump_and_load(self):
        self.core = cs.OrderBook.load(self.core.dump())

    @invariant()
    def same(self):
        assert self.core._check()
        same_orders(self.core, self.plain)


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
