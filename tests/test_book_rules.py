"""The order book rule by rule (docs/orderbook.md), on both books: exact reports written by hand, and what
holds for any commands."""

from collections import Counter

import numpy as np
import pytest
import random_orders
from book_texts import (
    BUY,
    FOK,
    LARGEST,
    MARKET,
    POST_ONLY,
    SELL,
    STOP,
    STOP_LIMIT,
    cancel,
    levels,
    market,
    modify,
    new,
    resting,
    send,
    stop,
    texts,
)

import cascade as cs

# Taking


@pytest.mark.fast
def test_the_example_of_the_documentation(orderbook):
    book = orderbook("fifo")
    assert send(book, new(1, BUY, 100, 5), new(2, SELL, 100, 3)) == [
        "ACK 1: buy 5 @ 100",
        "ACK 2: sell 3 @ 100 [1]",
        "TRADE 2: sell 3 @ 100 from 1, 0 left [1]",
    ]
    assert levels(book) == "2(1)@100 | -"


def test_an_empty_book(orderbook):
    book = orderbook("fifo")
    assert (levels(book), len(book), book.last, book.mark) == ("- | -", 0, None, None)
    assert book.process(np.zeros(0, cs.ORDER_DTYPE)).shape == (0,)
    assert send(book, market(1, BUY, 5)) == ["ACK 1: buy 5 @ 0", "CANCELLED 1: buy 5 @ 0 IOC"]
    assert book.cancel_owner(7).size == 0
    assert book.set_mark(5).size == 0


@pytest.mark.fast
def test_the_best_price_first_then_the_oldest_at_the_makers_price(orderbook):
    book = orderbook("fifo")
    send(book, new(1, SELL, 102, 1), new(2, SELL, 101, 2, owner=5), new(3, SELL, 101, 3))
    send(book, new(4, SELL, 103, 9))
    assert send(book, new(5, BUY, 102, 7, owner=8)) == [
        "ACK 5 of 8: buy 7 @ 102",
        "TRADE 5 of 8: buy 2 @ 101 from 2 of 5, 5 left",
        "TRADE 5 of 8: buy 3 @ 101 from 3, 2 left",
        "TRADE 5 of 8: buy 1 @ 102 from 1, 1 left",
    ]
    assert levels(book) == "1(1)@102 | 9(1)@103"


@pytest.mark.parametrize("kind", ["limit", "market"])
def test_fok_is_filled_whole_or_refused(orderbook, kind):
    book = orderbook("fifo")
    send(book, new(1, SELL, 100, 3), new(2, SELL, 101, 3))
    before = random_orders.state(book)
    too_much = new(3, BUY, 100, 4, tif=FOK) if kind == "limit" else market(3, BUY, 7, tif=FOK)
    assert send(book, too_much) == ["REJECTED 3: NEW FOK_UNFILLABLE"]
    assert random_orders.state(book) == before
    enough = new(3, BUY, 101, 6, tif=FOK) if kind == "limit" else market(3, BUY, 6, tif=FOK)
    assert send(book, enough)[1:] == [
        "TRADE 3: buy 3 @ 100 from 1, 3 left",
        "TRADE 3: buy 3 @ 101 from 2, 0 left",
    ]
    assert levels(book) == "- | -"


def test_post_only_rests_or_is_refused(orderbook):
    book = orderbook("fifo")
    send(book, new(1, SELL, 100, 3, owner=7))
    before = random_orders.state(book)
    taker = new(2, BUY, 100, 1, tif=POST_ONLY, owner=7, stp=cs.Stp.MAKER)
    assert send(book, taker) == ["REJECTED 2: NEW WOULD_TAKE"]
    assert random_orders.state(book) == before
    assert send(book, new(2, BUY, 99, 1, tif=POST_ONLY)) == ["ACK 2: buy 1 @ 99"]
    assert send(book, modify(2, 100, 1)) == [
        "TRADE 2: buy 1 @ 100 from 1 of 7, 0 left",
        "MODIFIED 2: 1 @ 100",
    ]


def test_fields_that_are_not_read(orderbook):
    book = orderbook("fifo")
    assert send(book, new(1, BUY, 5, 5, stop_price=77, ts_ns=-5, instrument=-3)) == ["ACK 1: buy 5 @ 5"]


# Refusals


GOOD = {"order_id": 9, "side": BUY, "price": 200, "quantity": 5, "owner": 3}


@pytest.mark.fast
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": 4}, "BAD_FIELD"),
        ({"tif": 4}, "BAD_FIELD"),
        ({"stp": 5}, "BAD_FIELD"),
        ({"flags": 4}, "BAD_FIELD"),
        ({"flags": 8 + 1}, "BAD_FIELD"),
        ({"flags": 255}, "BAD_FIELD"),
        ({"type": MARKET, "tif": POST_ONLY}, "BAD_FIELD"),
        ({"type": STOP, "tif": POST_ONLY}, "BAD_FIELD"),
        ({"flags": cs.OrderFlags.MARK_TRIGGER}, "BAD_FIELD"),
        ({"flags": 3, "type": MARKET}, "BAD_FIELD"),
        ({"side": 0}, "BAD_SIDE"),
        ({"quantity": 0}, "BAD_QUANTITY"),
        ({"quantity": LARGEST + 1}, "BAD_QUANTITY"),
        ({"display": -1}, "BAD_QUANTITY"),
        ({"owner": -1}, "BAD_OWNER"),
        ({"owner": 0, "flags": 1}, "BAD_OWNER"),
        ({"order_id": 1}, "DUPLICATE_ID"),
        ({"order_id": 2}, "DUPLICATE_ID"),
        ({"tif": POST_ONLY}, "WOULD_TAKE"),
        ({"tif": FOK, "quantity": 6}, "FOK_UNFILLABLE"),
        ({"price": 90, "quantity": LARGEST}, "CAPACITY"),
        # The first reason wins.
        ({"type": 9, "side": 0}, "BAD_FIELD"),
        ({"side": 0, "quantity": 0}, "BAD_SIDE"),
        ({"quantity": 0, "owner": -1}, "BAD_QUANTITY"),
        ({"owner": -1, "order_id": 1}, "BAD_OWNER"),
        ({"order_id": 1, "tif": POST_ONLY}, "DUPLICATE_ID"),
    ],
)
def test_refusals(orderbook, fields, reason):
    book = orderbook("fifo")
    send(book, new(1, SELL, 200, 5), stop(2, BUY, 300, 5), new(3, BUY, 90, LARGEST, display=2**50))
    before = random_orders.state(book)
    message = {**GOOD, **fields}
    assert send(book, message) == [f"REJECTED {message['order_id']}: NEW {reason}"]
    assert random_orders.state(book) == before


def test_refusals_of_the_other_actions(orderbook):
    book = orderbook("fifo")
    send(book, new(1, BUY, 5, LARGEST), new(2, BUY, 5, LARGEST - 1, display=2**50), stop(3, BUY, 300, 5))
    before = random_orders.state(book)
    assert send(book, modify(9, 5, 0), modify(9, 5, 1), modify(2, 5, LARGEST), cancel(9)) == [
        "REJECTED 9: MODIFY BAD_QUANTITY",
        "REJECTED 9: MODIFY UNKNOWN_ID [1]",
        "REJECTED 2: MODIFY CAPACITY [2]",
        "REJECTED 9: CANCEL UNKNOWN_ID [3]",
    ]
    assert random_orders.state(book) == before


# Icebergs


@pytest.mark.fast
def test_an_iceberg_loses_its_place_at_each_refill(orderbook):
    book = orderbook("fifo")
    send(book, new(1, SELL, 5, 7, display=3), new(2, SELL, 5, 2))
    assert resting(book) == [(1, 7, 3), (2, 2, 2)]
    assert (book.level(SELL, 5), book.quantity_to(BUY, 5), book.cost(BUY, 9)) == ((5, 2), 9, 45)
    assert book.depth()["quantity"].tolist() == [5]
    assert send(book, new(3, BUY, 5, 4)) == [
        "ACK 3: buy 4 @ 5",
        "TRADE 3: buy 3 @ 5 from 1, 1 left",
        "TRADE 3: buy 1 @ 5 from 2, 0 left",
    ]
    assert resting(book) == [(2, 1, 1), (1, 4, 3)]
    assert book.queue_position(1) == 1
    assert send(book, new(4, BUY, 5, 9))[1:] == [
        "TRADE 4: buy 1 @ 5 from 2, 8 left",
        "TRADE 4: buy 3 @ 5 from 1, 5 left",
        "TRADE 4: buy 1 @ 5 from 1, 4 left",
    ]


def test_an_iceberg_takes_with_all_and_then_shows_its_peak(orderbook):
    book = orderbook("fifo")
    send(book, new(1, SELL, 5, 4))
    assert send(book, new(2, BUY, 5, 10, display=2))[1] == "TRADE 2: buy 4 @ 5 from 1, 6 left"
    assert resting(book) == [(2, 6, 2)]


def test_display_of_a_plain_order(orderbook):
    book = orderbook("fifo")
    send(book, new(1, BUY, 5, 4, display=4), new(2, BUY, 5, 4, display=9))
    assert resting(book) == [(1, 4, 4), (2, 4, 4)]
    # It is kept as sent, so it shows what it says once the order is larger.
    send(book, modify(1, 5, 7))
    assert resting(book) == [(2, 4, 4), (1, 7, 4)]
    assert book.orders()["display"].tolist() == [9, 4]


def test_modify_of_an_iceberg(orderbook):
    book = orderbook("fifo")
    send(book, new(1, BUY, 5, 9, display=4), new(2, BUY, 5, 1), market(3, SELL, 1))
    assert resting(book) == [(1, 8, 3), (2, 1, 1)]
    send(book, modify(1, 5, 5))
    assert resting(book) == [(1, 5, 3), (2, 1, 1)]
    send(book, modify(1, 5, 2))
    assert resting(book) == [(1, 2, 2), (2, 1, 1)]
    send(book, modify(1, 5, 6))
    assert resting(book) == [(2, 1, 1), (1, 6, 4)]


def test_capacity_counts_hidden_lots(orderbook):
    book = orderbook("fifo")
    send(book, new(1, BUY, 5, LARGEST, display=2**50), new(2, BUY, 5, LARGEST - 1, display=2**50))
    assert book.level(BUY, 5) == (2**51, 2)
    assert send(book, new(3, BUY, 5, 1)) == ["REJECTED 3: NEW CAPACITY"]
    with pytest.raises(cs.RangeError):
        book.set_levels(BUY, [5], [1])


# Self-trade prevention


def own_orders(orderbook, matching="fifo"):
    book = orderbook(matching)
    send(
        book, new(1, SELL, 5, 2, owner=8), new(2, SELL, 5, 6, owner=7, display=4), new(3, SELL, 6, 3, owner=7)
    )
    return book


@pytest.mark.fast
@pytest.mark.parametrize(
    ("stp", "lines", "left"),
    [
        (
            cs.Stp.NONE,
            [
                "TRADE 9 of 7: buy 4 @ 5 from 2 of 7, 4 left",
                "TRADE 9 of 7: buy 2 @ 5 from 2 of 7, 2 left",
                "TRADE 9 of 7: buy 2 @ 6 from 3 of 7, 0 left",
            ],
            [(3, 1, 1)],
        ),
        (cs.Stp.TAKER, ["CANCELLED 9 of 7: buy 8 @ 6 STP"], [(2, 6, 4), (3, 3, 3)]),
        (
            cs.Stp.MAKER,
            ["CANCELLED 2 of 7: sell 6 @ 5 STP", "CANCELLED 3 of 7: sell 3 @ 6 STP"],
            [(9, 8, 8)],
        ),
        (
            cs.Stp.BOTH,
            ["CANCELLED 2 of 7: sell 6 @ 5 STP", "CANCELLED 9 of 7: buy 8 @ 6 STP"],
            [(3, 3, 3)],
        ),
        (
            cs.Stp.DECREMENT,
            [
                "CANCELLED 2 of 7: sell 4 @ 5 STP, 2 left",
                "CANCELLED 9 of 7: buy 4 @ 6 STP, 4 left",
                "CANCELLED 2 of 7: sell 2 @ 5 STP",
                "CANCELLED 9 of 7: buy 2 @ 6 STP, 2 left",
                "CANCELLED 3 of 7: sell 2 @ 6 STP, 1 left",
                "CANCELLED 9 of 7: buy 2 @ 6 STP",
            ],
            [(3, 1, 1)],
        ),
    ],
)
def test_self_trade_prevention(orderbook, stp, lines, left):
    book = own_orders(orderbook)
    assert send(book, new(9, BUY, 6, 10, owner=7, stp=stp)) == [
        "ACK 9 of 7: buy 10 @ 6",
        "TRADE 9 of 7: buy 2 @ 5 from 1 of 8, 8 left",
        *lines,
    ]
    assert resting(book) == left
    assert book.last == (6 if stp == cs.Stp.NONE else 5)


def test_the_takers_code_decides_and_nobody_is_no_owner(orderbook):
    book = orderbook("fifo")
    send(book, new(1, SELL, 5, 1, stp=cs.Stp.BOTH), new(2, SELL, 5, 1, owner=7, stp=cs.Stp.BOTH))
    lines = send(book, new(3, BUY, 5, 1, stp=cs.Stp.BOTH), new(4, BUY, 5, 1, owner=7))
    assert [line.split()[0] for line in lines] == ["ACK", "TRADE", "ACK", "TRADE"]


def test_modify_ended_by_self_trade_prevention(orderbook):
    book = orderbook("fifo")
    send(book, new(1, SELL, 5, 1, owner=8), new(2, SELL, 5, 1, owner=7))
    send(book, new(3, BUY, 4, 3, owner=7, stp=cs.Stp.TAKER))
    assert send(book, modify(3, 5, 4)) == [
        "TRADE 3 of 7: buy 1 @ 5 from 1 of 8, 3 left",
        "MODIFIED 3 of 7: 4 @ 5",
        "CANCELLED 3 of 7: buy 3 @ 5 STP",
    ]


def test_modify_decremented_to_nothing(orderbook):
    book = orderbook("fifo")
    send(book, new(2, SELL, 5, 4, owner=7), new(3, BUY, 4, 3, owner=7, stp=cs.Stp.DECREMENT))
    assert send(book, modify(3, 5, 4), cancel(3)) == [
        "CANCELLED 2 of 7: sell 4 @ 5 STP",
        "CANCELLED 3 of 7: buy 4 @ 5 STP",
        "MODIFIED 3 of 7: 4 @ 5",
        "REJECTED 3: CANCEL UNKNOWN_ID [1]",
    ]


def test_fok_is_the_exact_walk(orderbook):
    book = own_orders(orderbook)
    for stp, lots, filled in [
        (cs.Stp.NONE, 11, True),
        (cs.Stp.NONE, 12, False),
        (cs.Stp.TAKER, 2, True),
        (cs.Stp.TAKER, 3, False),
        (cs.Stp.MAKER, 3, False),
        (cs.Stp.DECREMENT, 3, False),
    ]:
        twin = book.copy()
        lines = send(twin, new(9, BUY, 6, lots, owner=7, stp=stp, tif=FOK))
        assert (lines[0] != "REJECTED 9: NEW FOK_UNFILLABLE") == filled
        if not filled:
            assert random_orders.state(twin) == random_orders.state(book)


# Reduce-only


@pytest.mark.fast
def test_a_reduce_only_taker_trades_its_room(orderbook):
    book = orderbook("fifo")
    book.set_position(7, 5)
    send(book, new(1, BUY, 5, 3), new(2, BUY, 4, 9))
    assert send(book, new(3, SELL, 4, 8, owner=7, flags=1)) == [
        "ACK 3 of 7: sell 8 @ 4",
        "TRADE 3 of 7: sell 3 @ 5 from 1, 5 left",
        "TRADE 3 of 7: sell 2 @ 4 from 2, 3 left",
        "CANCELLED 3 of 7: sell 3 @ 4 REDUCE_ONLY",
    ]
    assert (book.position(7), book.position(8)) == (0, 0)


def test_a_reduce_only_order_that_crosses_nothing_rests_whole(orderbook):
    book = orderbook("fifo")
    assert send(book, new(1, SELL, 5, 8, owner=7, flags=1)) == ["ACK 1 of 7: sell 8 @ 5"]
    assert resting(book) == [(1, 8, 8)]


def test_a_reduce_only_order_rests_without_room_once_nothing_crosses(orderbook):
    book = orderbook("fifo")
    book.set_position(7, 3)
    send(book, new(1, BUY, 5, 3))
    assert send(book, new(2, SELL, 5, 8, owner=7, flags=1))[1:] == ["TRADE 2 of 7: sell 3 @ 5 from 1, 5 left"]
    assert resting(book) == [(2, 5, 5)]


@pytest.mark.fast
def test_reduce_only_makers(orderbook):
    book = orderbook("fifo")
    book.set_position(7, 4)
    send(book, new(1, SELL, 5, 6, owner=8, flags=1), new(2, SELL, 5, 6, owner=7, flags=1), new(3, SELL, 5, 9))
    assert send(book, new(4, BUY, 5, 6, owner=9)) == [
        "ACK 4 of 9: buy 6 @ 5",
        "CANCELLED 1 of 8: sell 6 @ 5 REDUCE_ONLY",
        "TRADE 4 of 9: buy 4 @ 5 from 2 of 7, 2 left",
        "CANCELLED 2 of 7: sell 2 @ 5 REDUCE_ONLY",
        "TRADE 4 of 9: buy 2 @ 5 from 3, 0 left",
    ]
    assert [book.position(owner) for owner in (7, 8, 9)] == [0, 0, 6]


def test_a_taker_without_room_takes_own_and_roomless_makers_off_its_way(orderbook):
    book = orderbook("fifo")
    send(book, new(1, BUY, 5, 1, owner=7), new(2, BUY, 5, 1, owner=8, flags=1), new(3, BUY, 5, 1))
    assert send(book, new(4, SELL, 5, 2, owner=7, flags=1, stp=cs.Stp.MAKER)) == [
        "ACK 4 of 7: sell 2 @ 5",
        "CANCELLED 1 of 7: buy 1 @ 5 STP",
        "CANCELLED 2 of 8: buy 1 @ 5 REDUCE_ONLY",
        "CANCELLED 4 of 7: sell 2 @ 5 REDUCE_ONLY",
    ]


def test_positions_move_with_every_trade(orderbook):
    book = orderbook("fifo")
    send(book, new(1, BUY, 5, 4, owner=7), new(2, SELL, 5, 3, owner=8), new(3, SELL, 5, 1, owner=7))
    assert (book.position(7), book.position(8)) == (3, -3)
    # They are not bounded by what `set_position` takes.
    book.set_position(7, LARGEST)
    send(book, new(4, BUY, 5, LARGEST, owner=7), market(5, SELL, LARGEST, owner=8))
    send(book, new(6, BUY, 5, LARGEST, owner=7), market(7, SELL, LARGEST, owner=8))
    assert (book.position(7), book.position(8)) == (3 * LARGEST, -2 * LARGEST - 3)


# Stops


@pytest.mark.fast
def test_stops_wait_and_are_reached_by_trades_only(orderbook):
    book = orderbook("fifo")
    assert send(book, stop(1, BUY, 10, 2, owner=7), new(2, SELL, 10, 1), new(3, BUY, 9, 1)) == [
        "ACK 1 of 7: buy 2 @ 0",
        "ACK 2: sell 1 @ 10 [1]",
        "ACK 3: buy 1 @ 9 [2]",
    ]
    assert (len(book), book.stops()["order_id"].tolist(), book.last) == (2, [1], None)
    assert send(book, market(4, SELL, 1)) == ["ACK 4: sell 1 @ 0", "TRADE 4: sell 1 @ 9 from 3, 0 left"]
    assert send(book, new(6, SELL, 12, 1), new(5, BUY, 10, 1)) == [
        "ACK 6: sell 1 @ 12",
        "ACK 5: buy 1 @ 10 [1]",
        "TRADE 5: buy 1 @ 10 from 2, 0 left [1]",
        "TRIGGERED 1 of 7: buy 2 @ 10 [1]",
        "TRADE 1 of 7: buy 1 @ 12 from 6, 1 left [1]",
        "CANCELLED 1 of 7: buy 1 @ 0 IOC [1]",
    ]
    assert book.last == 12


def test_a_stop_that_is_reached_when_entered(orderbook):
    book = orderbook("fifo")
    send(book, new(1, SELL, 10, 1), new(2, BUY, 10, 1), new(3, SELL, 11, 5))
    limit = new(4, BUY, 11, 7, type=STOP_LIMIT, stop_price=10, display=1, owner=7, flags=1)
    book.set_position(7, -9)
    assert send(book, limit) == [
        "ACK 4 of 7: buy 7 @ 11",
        "TRIGGERED 4 of 7: buy 7 @ 10",
        "TRADE 4 of 7: buy 5 @ 11 from 3, 2 left",
    ]
    t = book.orders()
    assert [t[name].tolist() for name in ("order_id", "shown", "display", "flags")] == [[4], [1], [1], [1]]


@pytest.mark.fast
def test_the_order_in_which_stops_act(orderbook):
    """Sells, highest first, then buys, lowest first, then by arrival; those that they reach join behind."""
    book = orderbook("fifo")
    send(book, *(new(100 + p, BUY, p, 1) for p in (1, 2, 3, 4)))
    send(book, *(new(200 + p, SELL, p, 1) for p in (12, 13, 14, 15)))
    send(
        book,
        stop(1, SELL, 4, 1), stop(2, SELL, 8, 1), stop(3, SELL, 8, 1), stop(4, SELL, 9, 1),
        stop(5, BUY, 10, 1), stop(6, BUY, 9, 1), stop(7, BUY, 13, 1), stop(8, SELL, 3, 1),
    )  # fmt: skip
    send(book, new(20, SELL, 8, 1), new(21, SELL, 10, 1))
    lines = send(book, new(22, BUY, 10, 2))
    assert [line for line in lines if not line.startswith("ACK")] == [
        "TRADE 22: buy 1 @ 8 from 20, 1 left",
        "TRADE 22: buy 1 @ 10 from 21, 0 left",
        "TRIGGERED 4: sell 1 @ 9",
        "TRADE 4: sell 1 @ 4 from 104, 0 left",
        "TRIGGERED 2: sell 1 @ 8",
        "TRADE 2: sell 1 @ 3 from 103, 0 left",
        "TRIGGERED 3: sell 1 @ 8",
        "TRADE 3: sell 1 @ 2 from 102, 0 left",
        "TRIGGERED 6: buy 1 @ 9",
        "TRADE 6: buy 1 @ 12 from 212, 0 left",
        "TRIGGERED 5: buy 1 @ 10",
        "TRADE 5: buy 1 @ 13 from 213, 0 left",
        "TRIGGERED 1: sell 1 @ 4",
        "TRADE 1: sell 1 @ 1 from 101, 0 left",
        "TRIGGERED 8: sell 1 @ 3",
        "CANCELLED 8: sell 1 @ 0 IOC",
        "TRIGGERED 7: buy 1 @ 13",
        "TRADE 7: buy 1 @ 14 from 214, 0 left",
    ]


def test_what_would_be_a_refusal_cancels_a_triggered_stop(orderbook):
    book = orderbook("fifo")
    limit = {"type": STOP_LIMIT, "stop_price": 10}
    send(
        book,
        new(1, SELL, 10, 1), new(2, SELL, 11, 3), new(3, BUY, 5, LARGEST), new(4, BUY, 5, LARGEST - 1),
        new(5, BUY, 11, 4, tif=FOK, **limit),
        new(6, BUY, 11, 4, tif=POST_ONLY, **limit),
        new(7, BUY, 5, 1, **limit),
        new(8, BUY, 11, 3, tif=FOK, **limit),
    )  # fmt: skip
    assert send(book, new(9, BUY, 10, 1))[2:] == [
        "TRIGGERED 5: buy 4 @ 10",
        "CANCELLED 5: buy 4 @ 11 FOK_UNFILLABLE",
        "TRIGGERED 6: buy 4 @ 10",
        "CANCELLED 6: buy 4 @ 11 WOULD_TAKE",
        "TRIGGERED 7: buy 1 @ 10",
        "CANCELLED 7: buy 1 @ 5 CAPACITY",
        "TRIGGERED 8: buy 3 @ 10",
        "TRADE 8: buy 3 @ 11 from 2, 0 left",
    ]


@pytest.mark.fast
def test_stops_on_the_mark(orderbook):
    book = orderbook("fifo")
    on_mark = {"flags": cs.OrderFlags.MARK_TRIGGER}
    send(book, new(1, SELL, 20, 1), new(2, BUY, 20, 1), new(3, BUY, 4, 5), new(4, SELL, 30, 5))
    assert send(book, stop(5, BUY, 10, 1, **on_mark)) == ["ACK 5: buy 1 @ 0"]
    send(book, stop(6, SELL, 15, 1, **on_mark), stop(7, SELL, 3, 1))
    assert (book.mark, book.set_mark(9).size) == (None, 2)
    assert book.stops()["order_id"].tolist() == [7, 5]
    send(book, stop(6, SELL, 8, 1, **on_mark), stop(8, SELL, 8, 2, **on_mark))
    assert texts(book.set_mark(10)) == [
        "TRIGGERED 5: buy 1 @ 10",
        "TRADE 5: buy 1 @ 30 from 4, 0 left",
    ]
    assert send(book, stop(9, BUY, 10, 1, **on_mark)) == [
        "ACK 9: buy 1 @ 0",
        "TRIGGERED 9: buy 1 @ 10",
        "TRADE 9: buy 1 @ 30 from 4, 0 left",
    ]
    send(book, stop(10, SELL, 4, 1))
    assert texts(book.set_mark(8)) == [
        "TRIGGERED 6: sell 1 @ 8",
        "TRADE 6: sell 1 @ 4 from 3, 0 left",
        "TRIGGERED 8: sell 2 @ 8",
        "TRADE 8: sell 2 @ 4 from 3, 0 left",
        "TRIGGERED 10: sell 1 @ 4",
        "TRADE 10: sell 1 @ 4 from 3, 0 left",
    ]
    assert (book.mark, book.last, book.stops()["order_id"].tolist()) == (8, 4, [7])


def test_modify_and_cancel_of_waiting_stops(orderbook):
    book = orderbook("fifo")
    limit = {"type": STOP_LIMIT, "stop_price": 10}
    send(book, *(new(k, BUY, 20, 5, owner=7, **limit) for k in (1, 2, 3)))
    assert send(book, modify(1, 20, 4), modify(2, 20, 5), modify(3, 19, 1), cancel(3)) == [
        "MODIFIED 1 of 7: 4 @ 20",
        "MODIFIED 2 of 7: 5 @ 20 [1]",
        "MODIFIED 3 of 7: 1 @ 19 [2]",
        "CANCELLED 3 of 7: buy 1 @ 19 USER [3]",
    ]
    send(book, new(3, BUY, 20, 5, owner=7, **limit), modify(1, 20, 4))
    t = book.stops()
    assert [t[name].tolist() for name in ("order_id", "quantity", "price")] == [
        [2, 3, 1],
        [5, 5, 4],
        [20] * 3,
    ]


def test_cancel_owner_takes_stops_too_by_arrival(orderbook):
    book = orderbook("fifo")
    send(
        book,
        stop(1, BUY, 50, 5, owner=7), new(2, SELL, 20, 9, owner=7, display=2), stop(3, BUY, 40, 5, owner=8),
        new(4, BUY, 10, 5, owner=7), stop(5, SELL, 1, 5, owner=7), market(6, BUY, 2), modify(1, 3, 5),
    )  # fmt: skip
    assert texts(book.cancel_owner(7)) == [
        "CANCELLED 2 of 7: sell 7 @ 20 OWNER",
        "CANCELLED 4 of 7: buy 5 @ 10 OWNER",
        "CANCELLED 5 of 7: sell 5 @ 0 OWNER",
        "CANCELLED 1 of 7: buy 5 @ 3 OWNER",
    ]
    assert (len(book), book.stops()["order_id"].tolist()) == (0, [3])


def test_a_triggered_stop_arrives_among_its_owners_orders_when_it_rests(orderbook):
    book = orderbook("fifo")
    send(
        book,
        new(1, BUY, 5, 1, owner=7, type=STOP_LIMIT, stop_price=10), new(2, BUY, 5, 1, owner=7),
        new(3, SELL, 10, 1), new(4, BUY, 10, 1),
    )  # fmt: skip
    assert [row[0] for row in resting(book)] == [2, 1]
    assert [line.split()[1] for line in texts(book.cancel_owner(7))] == ["2", "1"]


# Shares


@pytest.mark.fast
def test_top_is_who_betters_the_side(orderbook):
    book = orderbook(cs.Matching(("top", "fifo"), top_min=3, top_max=4))
    send(book, new(1, BUY, 5, 9), new(2, BUY, 6, 2), new(3, BUY, 6, 9))
    # 2 bettered the side with too little: it has no TOP.
    assert send(book, market(10, SELL, 1))[1:] == ["TRADE 10: sell 1 @ 6 from 2, 0 left"]
    send(book, new(4, BUY, 7, 9), new(5, BUY, 7, 9), modify(4, 7, 8))
    assert send(book, market(10, SELL, 3))[1:] == ["TRADE 10: sell 3 @ 7 from 4, 0 left"]
    send(book, modify(5, 7, 20))
    # What is left of its maximum, then time.
    assert send(book, market(10, SELL, 8))[1:] == ["TRADE 10: sell 5 @ 7 from 4, 3 left",
                                                  "TRADE 10: sell 3 @ 7 from 5, 0 left"]  # fmt: skip


def test_top_goes_before_older_orders_of_its_level(orderbook):
    book = orderbook(cs.Matching(("top", "fifo"), top_max=4))
    book.set_levels(BUY, [6, 5], [3, 9])
    send(book, new(2, BUY, 6, 9, display=2), new(3, BUY, 7, 9), cancel(3), new(4, BUY, 6, 1))
    assert send(book, market(10, SELL, 4))[1:] == [
        "TRADE 10: sell 3 @ 6 from 0, 1 left",
        "TRADE 10: sell 1 @ 6 from 2, 0 left",
    ]
    # The anonymous order was TOP until 3 bettered the side: 3 has left, and nobody follows.
    book.set_levels(BUY, [8], [9])
    send(book, new(5, BUY, 8, 9))
    book.set_levels(BUY, [8], [5])
    assert send(book, market(10, SELL, 7))[1:] == [
        "TRADE 10: sell 5 @ 8 from 0, 2 left",
        "TRADE 10: sell 2 @ 8 from 5, 0 left",
    ]


def test_lead_market_makers_in_the_order_of_their_first_order(orderbook):
    book = orderbook("T")
    book.set_lmm(7, 30)
    book.set_lmm(8, 50)
    send(
        book,
        new(1, SELL, 5, 10), new(2, SELL, 5, 2, owner=8), new(3, SELL, 5, 10, owner=7),
        new(4, SELL, 5, 10, owner=8), new(5, SELL, 5, 10),
    )  # fmt: skip
    assert send(book, new(9, BUY, 5, 11))[1:] == [
        "TRADE 9: buy 3 @ 5 from 1, 8 left",
        "TRADE 9: buy 2 @ 5 from 2 of 8, 6 left",
        "TRADE 9: buy 3 @ 5 from 3 of 7, 3 left",
        "TRADE 9: buy 3 @ 5 from 4 of 8, 0 left",
    ]
    book.set_lmm(7, 0)
    book.set_lmm(8, 0)
    assert send(book, new(9, BUY, 5, 5))[1:] == ["TRADE 9: buy 5 @ 5 from 1, 0 left"]


@pytest.mark.parametrize(("percent", "lots"), [(0, 0), (29, 1), (30, 2), (50, 3), (100, 5)])
def test_split_rounds_to_the_nearest_lot(orderbook, percent, lots):
    book = orderbook(cs.Matching(("split",), fifo_percent=percent))
    send(book, new(1, SELL, 5, 10))
    lines = send(book, market(9, BUY, 5))[1:]
    trade = [f"TRADE 9: buy {lots} @ 5 from 1, {5 - lots} left"] if lots else []
    rest = [f"CANCELLED 9: buy {5 - lots} @ 0 UNALLOCATED"] if lots < 5 else []
    assert lines == trade + rest


def test_leveling_goes_by_size_then_time(orderbook):
    book = orderbook(cs.Matching(("pro_rata", "leveling"), pro_rata_min=3))
    send(book, new(1, SELL, 5, 2), new(2, SELL, 5, 4), new(3, SELL, 5, 4), new(4, SELL, 5, 50))
    assert send(book, market(9, BUY, 20))[1:] == [
        "TRADE 9: buy 1 @ 5 from 1, 19 left",
        "TRADE 9: buy 1 @ 5 from 2, 18 left",
        "TRADE 9: buy 1 @ 5 from 3, 17 left",
        "TRADE 9: buy 16 @ 5 from 4, 1 left",
        "CANCELLED 9: buy 1 @ 0 UNALLOCATED",
    ]


def test_lots_that_no_step_gives_out_do_not_rest(orderbook):
    book = orderbook(cs.Matching(("pro_rata",), pro_rata_min=5))
    send(book, new(1, SELL, 5, 4), new(2, SELL, 5, 4), new(3, SELL, 6, 9))
    assert send(book, new(9, BUY, 6, 5)) == ["ACK 9: buy 5 @ 6", "CANCELLED 9: buy 5 @ 6 UNALLOCATED"]
    # Enough for the whole level: no step is asked, and the walk goes on.
    assert send(book, new(9, BUY, 6, 10))[1:] == [
        "TRADE 9: buy 4 @ 5 from 1, 6 left",
        "TRADE 9: buy 4 @ 5 from 2, 2 left",
        "CANCELLED 9: buy 2 @ 6 UNALLOCATED",
    ]


@pytest.mark.fast
def test_own_and_roomless_makers_come_before_the_shares(orderbook):
    book = orderbook("pro_rata")
    book.set_position(6, 3)
    send(
        book,
        new(1, SELL, 5, 10), new(2, SELL, 5, 4, owner=7), new(3, SELL, 5, 4, owner=8, flags=1),
        new(4, SELL, 5, 20, owner=6, flags=1), new(5, SELL, 5, 20, owner=6, flags=1),
    )  # fmt: skip
    assert send(book, new(9, BUY, 5, 13, owner=7, stp=cs.Stp.DECREMENT)) == [
        "ACK 9 of 7: buy 13 @ 5",
        "CANCELLED 2 of 7: sell 4 @ 5 STP",
        "CANCELLED 9 of 7: buy 4 @ 5 STP, 9 left",
        "CANCELLED 3 of 8: sell 4 @ 5 REDUCE_ONLY",
        # The two orders of owner 6 share its room of 3: 10 + 3 + 0 lots are there.
        "TRADE 9 of 7: buy 7 @ 5 from 1, 2 left",
        "TRADE 9 of 7: buy 2 @ 5 from 4 of 6, 0 left",
    ]
    assert send(book, new(9, BUY, 5, 4))[1:] == [
        "TRADE 9: buy 3 @ 5 from 1, 1 left",
        "TRADE 9: buy 1 @ 5 from 4 of 6, 0 left",
        "CANCELLED 4 of 6: sell 17 @ 5 REDUCE_ONLY",
    ]
    assert send(book, new(9, BUY, 5, 1))[1:] == ["CANCELLED 5 of 6: sell 20 @ 5 REDUCE_ONLY"]


def test_an_own_maker_ends_a_taker_before_it_shares(orderbook):
    book = orderbook("pro_rata")
    send(book, new(1, SELL, 5, 10), new(2, SELL, 5, 4, owner=7))
    taker = new(9, BUY, 5, 3, owner=7, stp=cs.Stp.TAKER)
    assert send(book, taker)[1:] == ["CANCELLED 9 of 7: buy 3 @ 5 STP"]
    # By time alone it meets the other order first, and is filled before it meets its own.
    book = orderbook("fifo")
    send(book, new(1, SELL, 5, 10), new(2, SELL, 5, 4, owner=7))
    assert send(book, taker)[1:] == ["TRADE 9 of 7: buy 3 @ 5 from 1, 0 left"]


def test_a_reduce_only_taker_shares_its_room(orderbook):
    book = orderbook("pro_rata")
    book.set_position(7, -6)
    send(book, new(1, SELL, 5, 10), new(2, SELL, 5, 20))
    assert send(book, new(9, BUY, 5, 40, owner=7, flags=1))[1:] == [
        "TRADE 9 of 7: buy 2 @ 5 from 1, 38 left",
        "TRADE 9 of 7: buy 4 @ 5 from 2, 34 left",
        "CANCELLED 9 of 7: buy 34 @ 5 REDUCE_ONLY",
    ]


def test_icebergs_share_what_they_show(orderbook):
    book = orderbook("pro_rata")
    send(book, new(1, SELL, 5, 100, display=10), new(2, SELL, 5, 10))
    assert send(book, new(9, BUY, 5, 30))[1:] == [
        "TRADE 9: buy 10 @ 5 from 1, 20 left",
        "TRADE 9: buy 10 @ 5 from 2, 10 left",
        "TRADE 9: buy 10 @ 5 from 1, 0 left",
    ]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({"steps": ()}, cs.InputError, "steps: must have"),
        ({"steps": "fifo"}, cs.InputTypeError, "steps = 'fifo'"),
        ({"steps": None}, cs.InputTypeError, "steps = null"),
        ({"steps": ("fifo", "time")}, cs.InputError, "unknown step 'time'"),
        ({"steps": ("top", "top")}, cs.InputError, "twice"),
        ({"steps": ("fifo", "top")}, cs.InputError, "last step"),
        ({"steps": ("leveling", "pro_rata")}, cs.InputError, "'leveling' must come after"),
        ({"top_min": 0}, cs.RangeError, "matching.top_min = 0"),
        ({"top_max": 2**62 + 1}, cs.RangeError, "matching.top_max"),
        ({"pro_rata_min": 1.0}, cs.InputTypeError, "matching.pro_rata_min"),
        ({"fifo_percent": 101}, cs.RangeError, "matching.fifo_percent = 101"),
        ({"fifo_percent": True}, cs.InputTypeError, "matching.fifo_percent"),
    ],
)
def test_matching_refuses(fields, error, match):
    with pytest.raises(error, match=match):
        cs.Matching(**{"steps": ("fifo",), **fields})


def test_matching_presets(orderbook):
    assert cs.Matching.preset("fifo") == cs.Matching.preset("F") == cs.Matching(["fifo"])
    assert cs.Matching.preset("pro_rata") == cs.Matching.preset("C")
    assert (cs.Matching.preset("A").pro_rata_min, cs.Matching.preset("A", pro_rata_min=1).pro_rata_min) == (
        2,
        1,
    )
    assert cs.Matching.preset("K", fifo_percent=np.int64(40)).codes == (2, 3, 4, 1, 5, 0)
    with pytest.raises(cs.InputError, match="matching = 'Z'"):
        orderbook("Z")
    with pytest.raises(cs.InputTypeError, match="matching"):
        orderbook(3)
    with pytest.raises(cs.InputError, match="unknown field"):
        cs.Matching.preset("K", percent=3)


# Owners, anonymous levels, copies


def test_cancel_owner_goes_by_arrival(orderbook):
    book = orderbook("fifo")
    send(
        book,
        new(1, BUY, 100, 5, owner=7), new(2, SELL, 200, 5, owner=7), new(3, BUY, 100, 5, owner=8),
        new(4, BUY, 101, 5, owner=7), modify(1, 100, 6),
    )  # fmt: skip
    assert texts(book.cancel_owner(7)) == [
        "CANCELLED 2 of 7: sell 5 @ 200 OWNER",
        "CANCELLED 4 of 7: buy 5 @ 101 OWNER",
        "CANCELLED 1 of 7: buy 6 @ 100 OWNER",
    ]
    assert levels(book) == "5(1)@100 | -"
    assert book.cancel_owner(7).size == 0


def test_anonymous_levels_trade_but_have_no_id(orderbook):
    book = orderbook("fifo")
    book.set_levels(SELL, [100], [5])
    send(book, new(0, SELL, 100, 5))
    assert send(book, new(3, BUY, 100, 7))[1:] == [
        "TRADE 3: buy 5 @ 100 from 0, 2 left",
        "TRADE 3: buy 2 @ 100 from 0, 0 left",
    ]
    assert send(book, cancel(0)) == ["CANCELLED 0: sell 3 @ 100 USER"]
    book.set_levels(SELL, [100], [5])
    assert send(book, cancel(0), modify(0, 100, 1)) == [
        "REJECTED 0: CANCEL UNKNOWN_ID",
        "REJECTED 0: MODIFY UNKNOWN_ID [1]",
    ]


def test_a_copy_is_independent(orderbook):
    book = orderbook("fifo")
    send(book, new(1, BUY, 100, 5, owner=7), new(2, BUY, 90, 5, owner=7), stop(3, BUY, 300, 1, owner=7))
    send(book, modify(1, 100, 5))
    before = random_orders.state(book)
    twin = book.copy()
    assert random_orders.state(twin) == before
    assert twin.cancel_owner(7)["order_id"].tolist() == [2, 3, 1]
    send(twin, new(9, SELL, 1, 1))
    assert random_orders.state(book) == before
    assert book.cancel_owner(7)["order_id"].tolist() == [2, 3, 1]


# Levels, questions


def test_levels_are_set_worst_price_first(orderbook):
    """A level that leaves and one that comes: the arguments' order does not matter."""
    for prices, lots in (([9, 8], [0, 5]), ([8, 9], [5, 0])):
        book = orderbook(cs.Matching(("top", "fifo")))
        book.set_levels(BUY, [9], [5])
        send(book, new(1, BUY, 7, 5))
        book.set_levels(BUY, prices, lots)
        send(book, new(2, BUY, 8, 5), new(3, BUY, 9, 5), modify(3, 8, 5))
        assert resting(book) == [(0, 5, 5), (2, 5, 5), (3, 5, 5), (1, 5, 5)]
        # Nobody is TOP: 8 was no better than 9 when it came.
        assert send(book, market(9, SELL, 6))[1].startswith("TRADE 9: sell 5 @ 8 from 0,")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda b: b.cancel_owner(0), cs.InputError),
        (lambda b: b.set_position(0, 5), cs.InputError),
        (lambda b: b.set_position(1, LARGEST + 1), cs.RangeError),
        (lambda b: b.set_position(1, 1.0), cs.InputTypeError),
        (lambda b: b.set_lmm(0, 5), cs.InputError),
        (lambda b: b.set_lmm(1, 101), cs.RangeError),
        (lambda b: b.set_mark(2**63), cs.RangeError),
        (lambda b: b.set_mark(None), cs.InputTypeError),
        (lambda b: b.queue_position(2), cs.InputError),
        (lambda b: b.cost(BUY, 0), cs.InputError),
        (lambda b: b.process([]), cs.CascadeError),
        (lambda b: b.process({"order_id": [1]}, reports="some"), cs.InputError),
    ],
)
def test_bad_calls_change_nothing(orderbook, call, error):
    book = orderbook("fifo")
    send(book, new(1, BUY, 5, 5, owner=1), stop(2, BUY, 9, 1))
    before = random_orders.state(book)
    with pytest.raises(error):
        call(book)
    assert random_orders.state(book) == before


def test_reports_can_be_left_out(orderbook):
    matching, commands = random_orders.make(3, 300)
    every, trades, none = (orderbook(matching) for _ in range(3))
    for name, *arguments in commands:
        if name == "process":
            reports = every.process(*arguments)
            only = trades.process(*arguments, reports="trades")
            assert only.tobytes() == reports[reports["kind"] == cs.ReportKind.TRADE].tobytes()
            assert none.process(*arguments, reports="none").size == 0
    assert random_orders.state(every) == random_orders.state(trades) == random_orders.state(none)


# Any commands


def ledger(book, commands):
    """Play commands and keep an own account of every order and position from the reports alone."""
    lots, waiting, position = {}, {}, Counter()
    last = None

    def read(reports, sent):
        nonlocal last
        for r in reports:
            kind, order, quantity = int(r["kind"]), int(r["order_id"]), int(r["quantity"])
            if kind == cs.ReportKind.ACK:
                assert order not in lots
                lots[order] = quantity
                if sent[int(r["message"])]["type"] >= STOP:
                    waiting[order] = True
            elif kind == cs.ReportKind.TRADE:
                lots[order] -= quantity
                assert lots[order] == int(r["leaves"])
                position[int(r["owner"])] += int(r["side"]) * quantity
                position[int(r["maker_owner"])] -= int(r["side"]) * quantity
                last = int(r["price"])
                if maker_named(r):
                    lots[int(r["maker_id"])] -= quantity
            elif kind == cs.ReportKind.CANCELLED:
                lots[order] -= quantity
                assert lots[order] == int(r["leaves"])
            elif kind == cs.ReportKind.TRIGGERED:
                assert lots[order] == quantity
                del waiting[order]
            elif kind == cs.ReportKind.MODIFIED and order not in asked:
                lots[order] = quantity
        for order in [order for order, left in lots.items() if left == 0]:
            del lots[order]
            waiting.pop(order, None)

    def maker_named(r):
        return int(r["maker_id"]) != 0 or int(r["maker_owner"]) != 0

    for name, *arguments in commands:
        asked = {}
        try:
            answer = getattr(book, name)(*arguments)
        except cs.CascadeError:
            continue
        if name == "process":
            sent = arguments[0]
            for row in range(len(sent)):
                mine = answer[answer["message"] == row]
                asked = {}
                order = int(sent["order_id"][row])
                modified = (
                    sent["action"][row] == cs.Action.MODIFY and mine["kind"][0] != cs.ReportKind.REJECTED
                )
                if modified and order not in waiting:
                    # What it asks for is open from the start of the message, before its own trades.
                    asked[order] = True
                    lots[order] = int(sent["quantity"][row])
                read(mine, sent)
        elif name in ("set_mark", "cancel_owner"):
            read(answer, [])
        elif name == "set_position":
            position[arguments[0]] = arguments[1]
    return lots, waiting, position, last


@pytest.mark.parametrize("seed", range(40))
def test_lots_positions_and_last_follow_from_the_reports(orderbook, seed):
    matching, commands = random_orders.make(seed, 300)
    for name, *arguments in commands:
        if name == "process":
            # Anonymous makers have id 0 and owner 0: here no other order has.
            arguments[0]["order_id"][arguments[0]["order_id"] == 0] = 7
    book = orderbook(matching)
    lots, waiting, position, last = ledger(book, [c for c in commands if c[0] not in ("copy", "state")])
    t, s = book.orders(), book.stops()
    named = ~t["external"]
    found = dict(zip(t["order_id"][named].tolist(), t["quantity"][named].tolist(), strict=True))
    assert dict(zip(s["order_id"].tolist(), s["quantity"].tolist(), strict=True)) == {
        k: lots[k] for k in waiting
    }
    assert found == {k: left for k, left in lots.items() if k not in waiting}
    assert [book.position(owner) for owner in range(1, 9)] == [position[owner] for owner in range(1, 9)]
    assert book.last == last


@pytest.mark.parametrize("seed", range(0, 40, 3))
def test_what_holds_after_every_message(orderbook, seed):
    matching, commands = random_orders.make(seed, 200)
    book = orderbook(matching)
    for name, *arguments in commands:
        if name == "process":
            rows = [("process", arguments[0][k : k + 1]) for k in range(len(arguments[0]))]
        else:
            rows = [(name, *arguments)]
        for command in rows:
            random_orders.play(book, [command])
            bid, ask = book.best_bid, book.best_ask
            assert bid is None or ask is None or bid < ask
            t, s = book.orders(), book.stops()
            assert (t["shown"] >= 1).all()
            assert (t["shown"] <= t["quantity"]).all()
            peak = np.where(t["display"] > 0, np.minimum(t["display"], t["quantity"]), t["quantity"])
            assert (t["shown"] <= peak).all()
            assert (t["shown"] == peak)[t["display"] == 0].all()
            # No stop waits that the trigger price has reached.
            for side, price, flags in zip(
                *(s[c].tolist() for c in ("side", "stop_price", "flags")), strict=True
            ):
                trigger = book.mark if flags & cs.OrderFlags.MARK_TRIGGER else book.last
                assert trigger is None or side * (trigger - price) < 0
