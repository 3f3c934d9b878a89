"""The order book's named cases, on both books: exact reports, and the levels right after each message."""

import pytest
import random_orders
from book_texts import (
    BUY,
    FOK,
    HIGH,
    IOC,
    LARGEST,
    LOW,
    POST_ONLY,
    SELL,
    STOP_LIMIT,
    cancel,
    levels,
    market,
    modify,
    new,
    resting,
    send,
    stop,
)

import cascade as cs


@pytest.fixture
def book(orderbook):
    return orderbook("fifo")


def step(book, message, expected, after):
    """One message: its reports, and the levels that it leaves."""
    assert send(book, message) == expected
    assert levels(book) == after


def refused(book, message, report):
    """A message that is refused changes nothing."""
    before = random_orders.state(book)
    assert send(book, message) == [report]
    assert random_orders.state(book) == before


# Ids


@pytest.mark.fast
def test_a_duplicate_live_id_is_refused_and_the_first_order_untouched(book):
    step(book, new(1, BUY, 100, 5, owner=4), ["ACK 1 of 4: buy 5 @ 100"], "5(1)@100 | -")
    step(book, new(2, SELL, 110, 5), ["ACK 2: sell 5 @ 110"], "5(1)@100 | 5(1)@110")
    step(book, stop(3, BUY, 120, 5), ["ACK 3: buy 5 @ 0"], "5(1)@100 | 5(1)@110")
    for message in (
        new(1, BUY, 120, 9),
        new(1, BUY, 100, 5, owner=4),
        new(1, SELL, 100, 5),
        market(1, SELL, 9),
        stop(1, SELL, 1, 1),
        new(1, BUY, 120, 9, tif=FOK),
    ):
        refused(book, message, "REJECTED 1: NEW DUPLICATE_ID")
    refused(book, new(3, BUY, 1, 1), "REJECTED 3: NEW DUPLICATE_ID")
    # It is still the first one that trades.
    step(book, new(4, SELL, 100, 2), ["ACK 4: sell 2 @ 100", "TRADE 4: sell 2 @ 100 from 1 of 4, 0 left"],
         "3(1)@100 | 5(1)@110")  # fmt: skip
    refused(book, new(1, BUY, 120, 9), "REJECTED 1: NEW DUPLICATE_ID")
    step(book, cancel(1), ["CANCELLED 1 of 4: buy 3 @ 100 USER"], "- | 5(1)@110")


def test_an_id_is_free_again_once_its_order_is_gone(book):
    send(book, new(1, BUY, 100, 5), new(2, SELL, 100, 5))
    step(book, new(1, BUY, 90, 1), ["ACK 1: buy 1 @ 90"], "1(1)@90 | -")
    step(book, cancel(1), ["CANCELLED 1: buy 1 @ 90 USER"], "- | -")
    step(book, new(1, SELL, 80, 2), ["ACK 1: sell 2 @ 80"], "- | 2(1)@80")
    step(
        book, new(2, BUY, 70, 1, tif=IOC), ["ACK 2: buy 1 @ 70", "CANCELLED 2: buy 1 @ 70 IOC"], "- | 2(1)@80"
    )
    step(book, stop(2, BUY, 190, 1), ["ACK 2: buy 1 @ 0"], "- | 2(1)@80")
    step(book, cancel(2), ["CANCELLED 2: buy 1 @ 0 USER"], "- | 2(1)@80")
    step(book, new(2, SELL, 70, 1), ["ACK 2: sell 1 @ 70"], "- | 1(1)@70 2(1)@80")


def test_zero_and_the_largest_number_are_ids(book):
    last = 2**64 - 1
    step(book, new(0, BUY, 1, 1), ["ACK 0: buy 1 @ 1"], "1(1)@1 | -")
    step(book, new(last, BUY, 2, 1), [f"ACK {last}: buy 1 @ 2"], "1(1)@2 1(1)@1 | -")
    refused(book, new(0, SELL, 9, 1), "REJECTED 0: NEW DUPLICATE_ID")
    refused(book, new(last, SELL, 9, 1), f"REJECTED {last}: NEW DUPLICATE_ID")
    step(book, cancel(last), [f"CANCELLED {last}: buy 1 @ 2 USER"], "1(1)@1 | -")
    step(book, cancel(0), ["CANCELLED 0: buy 1 @ 1 USER"], "- | -")


@pytest.mark.fast
def test_cancel_of_a_filled_a_cancelled_and_an_unknown_id(book):
    send(book, new(1, BUY, 100, 5), new(2, SELL, 100, 5), new(3, BUY, 100, 5), new(9, BUY, 99, 1))
    step(book, cancel(3), ["CANCELLED 3: buy 5 @ 100 USER"], "1(1)@99 | -")
    for order in (1, 2, 3, 4, 0, 2**64 - 1):
        refused(book, cancel(order), f"REJECTED {order}: CANCEL UNKNOWN_ID")
    assert send(book, cancel(1), cancel(2), cancel(9), cancel(4)) == [
        "REJECTED 1: CANCEL UNKNOWN_ID",
        "REJECTED 2: CANCEL UNKNOWN_ID [1]",
        "CANCELLED 9: buy 1 @ 99 USER [2]",
        "REJECTED 4: CANCEL UNKNOWN_ID [3]",
    ]
    assert levels(book) == "- | -"
    refused(book, cancel(9), "REJECTED 9: CANCEL UNKNOWN_ID")


@pytest.mark.fast
def test_double_cancel(book):
    assert send(book, new(1, BUY, 1, 1), cancel(1), cancel(1), stop(2, BUY, 9, 4), cancel(2), cancel(2)) == [
        "ACK 1: buy 1 @ 1",
        "CANCELLED 1: buy 1 @ 1 USER [1]",
        "REJECTED 1: CANCEL UNKNOWN_ID [2]",
        "ACK 2: buy 4 @ 0 [3]",
        "CANCELLED 2: buy 4 @ 0 USER [4]",
        "REJECTED 2: CANCEL UNKNOWN_ID [5]",
    ]
    assert levels(book) == "- | -"
    step(book, new(1, BUY, 1, 1), ["ACK 1: buy 1 @ 1"], "1(1)@1 | -")
    step(book, cancel(1), ["CANCELLED 1: buy 1 @ 1 USER"], "- | -")
    refused(book, cancel(1), "REJECTED 1: CANCEL UNKNOWN_ID")


def test_cancel_reads_the_id_only(book):
    send(book, new(7, BUY, 100, 5, owner=2), new(8, SELL, 101, 2))
    wrong = {
        "side": -9,
        "price": 3,
        "quantity": -5,
        "type": 200,
        "tif": 200,
        "flags": 255,
        "stp": 99,
        "owner": -4,
    }
    step(book, {**cancel(7), **wrong}, ["CANCELLED 7 of 2: buy 5 @ 100 USER"], "- | 2(1)@101")


# Modify


@pytest.mark.fast
def test_modify_of_a_dead_id(book):
    send(book, new(1, BUY, 100, 5), new(2, SELL, 100, 5), new(3, BUY, 100, 5), cancel(3), stop(4, BUY, 9, 1))
    send(book, cancel(4), new(5, BUY, 8, 1, tif=IOC), new(6, SELL, 7, 2))
    for order in (1, 2, 3, 4, 5, 77):
        refused(book, modify(order, 100, 1), f"REJECTED {order}: MODIFY UNKNOWN_ID")
    assert levels(book) == "- | 2(1)@7"


def test_refusals_of_modify(book):
    send(book, new(1, BUY, 100, 5), stop(2, BUY, 200, 5))
    for order in (1, 2, 77):
        for quantity in (0, -1, LOW, LARGEST + 1):
            refused(book, modify(order, 1, quantity), f"REJECTED {order}: MODIFY BAD_QUANTITY")


@pytest.mark.fast
def test_a_modify_that_trades_partly(book):
    send(book, new(1, SELL, 101, 3, owner=5), new(2, BUY, 100, 1, owner=6), new(3, BUY, 99, 4))
    assert levels(book) == "1(1)@100 4(1)@99 | 3(1)@101"
    step(book, modify(2, 101, 5),
         ["TRADE 2 of 6: buy 3 @ 101 from 1 of 5, 2 left", "MODIFIED 2 of 6: 5 @ 101"],
         "2(1)@101 4(1)@99 | -")  # fmt: skip
    refused(book, cancel(1), "REJECTED 1: CANCEL UNKNOWN_ID")
    step(book, cancel(2), ["CANCELLED 2 of 6: buy 2 @ 101 USER"], "4(1)@99 | -")


@pytest.mark.fast
def test_a_modify_that_trades_wholly(book):
    send(book, new(1, SELL, 101, 9), new(2, BUY, 100, 1), new(3, SELL, 102, 1))
    step(book, modify(2, 102, 4), ["TRADE 2: buy 4 @ 101 from 1, 0 left", "MODIFIED 2: 4 @ 102"],
         "- | 5(1)@101 1(1)@102")  # fmt: skip
    refused(book, cancel(2), "REJECTED 2: CANCEL UNKNOWN_ID")
    refused(book, modify(2, 102, 4), "REJECTED 2: MODIFY UNKNOWN_ID")
    # Both are gone where they end together.
    step(book, new(2, BUY, 100, 1), ["ACK 2: buy 1 @ 100"], "1(1)@100 | 5(1)@101 1(1)@102")
    step(
        book,
        modify(2, 101, 5),
        ["TRADE 2: buy 5 @ 101 from 1, 0 left", "MODIFIED 2: 5 @ 101"],
        "- | 1(1)@102",
    )


@pytest.mark.parametrize("quantity", [5, 6, LARGEST])
def test_a_modify_up_at_the_same_price_loses_priority(book, quantity):
    send(book, new(1, BUY, 100, 5), new(2, BUY, 100, 5))
    step(book, modify(1, 100, quantity), [f"MODIFIED 1: {quantity} @ 100"], f"{quantity + 5}(2)@100 | -")
    assert [row[0] for row in resting(book)] == [2, 1]
    assert book.queue_position(1) == 1
    step(book, new(3, SELL, 100, 5), ["ACK 3: sell 5 @ 100", "TRADE 3: sell 5 @ 100 from 2, 0 left"],
         f"{quantity}(1)@100 | -")  # fmt: skip


def test_a_modify_down_at_the_same_price_keeps_priority(book):
    send(book, new(1, BUY, 100, 5, owner=3), new(2, BUY, 100, 5))
    step(book, modify(1, 100, 2), ["MODIFIED 1 of 3: 2 @ 100"], "7(2)@100 | -")
    assert (resting(book), book.queue_position(1)) == ([(1, 2, 2), (2, 5, 5)], 0)
    step(book, new(3, SELL, 100, 3),
         ["ACK 3: sell 3 @ 100", "TRADE 3: sell 2 @ 100 from 1 of 3, 1 left",
          "TRADE 3: sell 1 @ 100 from 2, 0 left"],
         "4(1)@100 | -")  # fmt: skip


def test_a_modify_to_another_price_rests_last_there(book):
    send(book, new(1, BUY, 100, 5), new(2, BUY, 99, 5))
    step(book, modify(1, 99, 1), ["MODIFIED 1: 1 @ 99"], "6(2)@99 | -")
    assert resting(book) == [(2, 5, 5), (1, 1, 1)]
    step(book, modify(2, 101, 5), ["MODIFIED 2: 5 @ 101"], "5(1)@101 1(1)@99 | -")
    step(book, modify(2, 98, 5), ["MODIFIED 2: 5 @ 98"], "1(1)@99 5(1)@98 | -")


def test_the_quantity_of_a_modify_is_the_open_one(book):
    send(book, new(1, BUY, 100, 10), new(2, SELL, 100, 6))
    step(book, modify(1, 100, 3), ["MODIFIED 1: 3 @ 100"], "3(1)@100 | -")


def test_a_modify_cannot_change_the_side(book):
    send(book, new(1, BUY, 100, 5))
    step(book, {**modify(1, 90, 5), "side": SELL}, ["MODIFIED 1: 5 @ 90"], "5(1)@90 | -")


# Remainders, levels' ends


@pytest.mark.fast
@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize(
    "fields", [{"tif": IOC}, {"type": cs.OrderType.MARKET}, {"type": cs.OrderType.MARKET, "tif": IOC}]
)
def test_a_remainder_is_reported_once(book, side, fields):
    way, far = {BUY: "buy", SELL: "sell"}[side], {BUY: "sell", SELL: "buy"}[side]
    step(
        book,
        new(1, -side, 100, 3),
        [f"ACK 1: {far} 3 @ 100"],
        {BUY: "- | 3(1)@100", SELL: "3(1)@100 | -"}[side],
    )
    step(book, new(2, side, 100, 5, **fields),
         [f"ACK 2: {way} 5 @ 100", f"TRADE 2: {way} 3 @ 100 from 1, 2 left",
          f"CANCELLED 2: {way} 2 @ 100 IOC"],
         "- | -")  # fmt: skip
    step(
        book,
        new(2, side, 100, 5, **fields),
        [f"ACK 2: {way} 5 @ 100", f"CANCELLED 2: {way} 5 @ 100 IOC"],
        "- | -",
    )
    send(book, new(1, -side, 100, 5))
    step(book, new(2, side, 100, 5, **fields),
         [f"ACK 2: {way} 5 @ 100", f"TRADE 2: {way} 5 @ 100 from 1, 0 left"], "- | -")  # fmt: skip


@pytest.mark.fast
def test_a_taker_that_ends_exactly_at_a_levels_end(book):
    send(book, new(1, SELL, 100, 2), new(2, SELL, 100, 3), new(3, SELL, 105, 1), new(4, SELL, 106, 1))
    step(book, new(5, BUY, 105, 5),
         ["ACK 5: buy 5 @ 105", "TRADE 5: buy 2 @ 100 from 1, 3 left", "TRADE 5: buy 3 @ 100 from 2, 0 left"],
         "- | 1(1)@105 1(1)@106")  # fmt: skip
    # At its limit's end the rest stays, at the last level's end nothing does.
    step(book, new(6, BUY, 105, 3), ["ACK 6: buy 3 @ 105", "TRADE 6: buy 1 @ 105 from 3, 2 left"],
         "2(1)@105 | 1(1)@106")  # fmt: skip
    step(book, market(7, BUY, 1), ["ACK 7: buy 1 @ 0", "TRADE 7: buy 1 @ 106 from 4, 0 left"], "2(1)@105 | -")
    step(book, new(8, SELL, 105, 2, tif=FOK),
         ["ACK 8: sell 2 @ 105", "TRADE 8: sell 2 @ 105 from 6, 0 left"], "- | -")  # fmt: skip


def test_a_taker_that_ends_exactly_at_the_end_of_a_long_queue(book):
    """More orders than any block of a queue may hold; then the level is there anew."""
    for orders in (6, 7, 8, 14, 15, 200):
        send(book, *(new(k, SELL, 5, 1) for k in range(1, orders + 1)), new(900, SELL, 6, 1))
        assert levels(book) == f"- | {orders}({orders})@5 1(1)@6"
        lines = send(book, new(901, BUY, 5, orders))
        assert lines[1:] == [
            f"TRADE 901: buy 1 @ 5 from {k}, {orders - k} left" for k in range(1, orders + 1)
        ]
        assert levels(book) == "- | 1(1)@6"
        step(book, new(902, SELL, 5, 4), ["ACK 902: sell 4 @ 5"], "- | 4(1)@5 1(1)@6")
        send(book, cancel(902), cancel(900))
        assert levels(book) == "- | -"


def test_the_best_price_after_each_way_in_which_a_level_ends(book):
    send(book, *(new(k, BUY, 101 - k, 1, owner=k) for k in range(1, 8)), stop(20, BUY, 300, 1))
    assert book.best_bid == 100
    step(book, cancel(1), ["CANCELLED 1 of 1: buy 1 @ 100 USER"],
         "1(1)@99 1(1)@98 1(1)@97 1(1)@96 1(1)@95 1(1)@94 | -")  # fmt: skip
    step(book, modify(2, 90, 1), ["MODIFIED 2 of 2: 1 @ 90"],
         "1(1)@98 1(1)@97 1(1)@96 1(1)@95 1(1)@94 1(1)@90 | -")  # fmt: skip
    step(book, new(8, SELL, 98, 1), ["ACK 8: sell 1 @ 98", "TRADE 8: sell 1 @ 98 from 3 of 3, 0 left"],
         "1(1)@97 1(1)@96 1(1)@95 1(1)@94 1(1)@90 | -")  # fmt: skip
    step(book, new(9, SELL, 97, 2), ["ACK 9: sell 2 @ 97", "TRADE 9: sell 1 @ 97 from 4 of 4, 1 left"],
         "1(1)@96 1(1)@95 1(1)@94 1(1)@90 | 1(1)@97")  # fmt: skip
    assert book.cancel_owner(5).size == 1
    assert levels(book) == "1(1)@95 1(1)@94 1(1)@90 | 1(1)@97"
    step(book, new(10, SELL, 95, 1, owner=6, stp=cs.Stp.BOTH),
         ["ACK 10 of 6: sell 1 @ 95", "CANCELLED 6 of 6: buy 1 @ 95 STP",
          "CANCELLED 10 of 6: sell 1 @ 95 STP"],
         "1(1)@94 1(1)@90 | 1(1)@97")  # fmt: skip
    book.set_levels(BUY, [96], [5])
    assert levels(book) == "5(1)@96 1(1)@94 1(1)@90 | 1(1)@97"
    book.set_levels(BUY, [96], [0])
    assert levels(book) == "1(1)@94 1(1)@90 | 1(1)@97"
    refused(book, new(11, SELL, 94, 2, tif=FOK), "REJECTED 11: NEW FOK_UNFILLABLE")
    refused(book, new(11, SELL, 94, 1, tif=POST_ONLY), "REJECTED 11: NEW WOULD_TAKE")
    assert levels(book) == "1(1)@94 1(1)@90 | 1(1)@97"
    send(book, market(12, SELL, 9))
    assert levels(book) == "- | 1(1)@97"


# Stops


@pytest.mark.fast
def test_a_stop_that_triggers_a_stop(book):
    send(book, new(1, SELL, 10, 1), new(2, SELL, 11, 1), new(3, SELL, 12, 1), new(4, SELL, 13, 5))
    step(book, stop(5, BUY, 10, 1), ["ACK 5: buy 1 @ 0"], "- | 1(1)@10 1(1)@11 1(1)@12 5(1)@13")
    step(book, stop(6, BUY, 11, 1, owner=7), ["ACK 6 of 7: buy 1 @ 0"], "- | 1(1)@10 1(1)@11 1(1)@12 5(1)@13")
    limit = new(7, BUY, 13, 9, type=STOP_LIMIT, stop_price=12)
    step(book, limit, ["ACK 7: buy 9 @ 13"], "- | 1(1)@10 1(1)@11 1(1)@12 5(1)@13")
    assert book.stops()["order_id"].tolist() == [5, 6, 7]
    step(book, new(8, BUY, 10, 1),
         [
             "ACK 8: buy 1 @ 10",
             "TRADE 8: buy 1 @ 10 from 1, 0 left",
             "TRIGGERED 5: buy 1 @ 10",
             "TRADE 5: buy 1 @ 11 from 2, 0 left",
             "TRIGGERED 6 of 7: buy 1 @ 11",
             "TRADE 6 of 7: buy 1 @ 12 from 3, 0 left",
             "TRIGGERED 7: buy 9 @ 12",
             "TRADE 7: buy 5 @ 13 from 4, 4 left",
         ],
         "4(1)@13 | -")  # fmt: skip
    assert (book.last, len(book.stops()["order_id"])) == (13, 0)
    for order in (5, 6):
        refused(book, cancel(order), f"REJECTED {order}: CANCEL UNKNOWN_ID")
    step(book, cancel(7), ["CANCELLED 7: buy 4 @ 13 USER"], "- | -")


def test_a_long_line_of_stops_that_trigger_one_another(book):
    n = 300
    send(
        book,
        *(new(k, SELL, k, 1) for k in range(1, n + 2)),
        *(stop(1000 + k, BUY, k, 1) for k in range(1, n + 1)),
    )
    lines = send(book, new(999, BUY, 1, 1))
    assert lines[2:4] == ["TRIGGERED 1001: buy 1 @ 1", "TRADE 1001: buy 1 @ 2 from 2, 0 left"]
    assert lines[-1] == f"TRADE {1000 + n}: buy 1 @ {n + 1} from {n + 1}, 0 left"
    assert len(lines) == 2 + 2 * n
    assert levels(book) == "- | -"


# Ends of the numbers


@pytest.mark.fast
def test_extreme_prices(book):
    step(book, new(1, BUY, LOW, 1), [f"ACK 1: buy 1 @ {LOW}"], f"1(1)@{LOW} | -")
    step(book, new(2, SELL, HIGH, 1), [f"ACK 2: sell 1 @ {HIGH}"], f"1(1)@{LOW} | 1(1)@{HIGH}")
    step(book, new(3, BUY, HIGH, 1), [f"ACK 3: buy 1 @ {HIGH}", f"TRADE 3: buy 1 @ {HIGH} from 2, 0 left"],
         f"1(1)@{LOW} | -")  # fmt: skip
    step(
        book,
        new(4, SELL, LOW, 1),
        [f"ACK 4: sell 1 @ {LOW}", f"TRADE 4: sell 1 @ {LOW} from 1, 0 left"],
        "- | -",
    )
    step(book, new(5, SELL, LOW, 1), [f"ACK 5: sell 1 @ {LOW}"], f"- | 1(1)@{LOW}")
    step(book, modify(5, HIGH, 1), [f"MODIFIED 5: 1 @ {HIGH}"], f"- | 1(1)@{HIGH}")
    step(book, new(6, BUY, HIGH - 1, 2), [f"ACK 6: buy 2 @ {HIGH - 1}"], f"2(1)@{HIGH - 1} | 1(1)@{HIGH}")
    step(book, market(7, BUY, 1), ["ACK 7: buy 1 @ 0", f"TRADE 7: buy 1 @ {HIGH} from 5, 0 left"],
         f"2(1)@{HIGH - 1} | -")  # fmt: skip
    step(book, modify(6, LOW, 2), [f"MODIFIED 6: 2 @ {LOW}"], f"2(1)@{LOW} | -")
    step(book, market(8, SELL, 3),
         ["ACK 8: sell 3 @ 0", f"TRADE 8: sell 2 @ {LOW} from 6, 1 left", "CANCELLED 8: sell 1 @ 0 IOC"],
         "- | -")  # fmt: skip


def test_stops_at_extreme_prices(book):
    send(book, stop(1, BUY, HIGH, 1), stop(2, SELL, LOW, 1), new(3, SELL, HIGH, 2), new(4, BUY, LOW, 2))
    assert send(book, market(5, BUY, 1))[1:] == [
        f"TRADE 5: buy 1 @ {HIGH} from 3, 0 left",
        f"TRIGGERED 1: buy 1 @ {HIGH}",
        f"TRADE 1: buy 1 @ {HIGH} from 3, 0 left",
    ]
    assert send(book, market(5, SELL, 1))[2] == f"TRIGGERED 2: sell 1 @ {LOW}"
    assert levels(book) == "- | -"


@pytest.mark.fast
def test_extreme_quantities(book):
    step(book, new(1, BUY, 5, LARGEST), [f"ACK 1: buy {LARGEST} @ 5"], f"{LARGEST}(1)@5 | -")
    step(book, new(2, BUY, 5, LARGEST - 1), [f"ACK 2: buy {LARGEST - 1} @ 5"], f"{HIGH}(2)@5 | -")
    step(book, new(3, BUY, 4, 1), ["ACK 3: buy 1 @ 4"], f"{HIGH}(2)@5 1(1)@4 | -")
    refused(book, new(4, BUY, 5, 1), "REJECTED 4: NEW CAPACITY")
    refused(book, modify(2, 5, LARGEST), "REJECTED 2: MODIFY CAPACITY")
    refused(book, modify(3, 5, 1), "REJECTED 3: MODIFY CAPACITY")
    for quantity in (LARGEST + 1, HIGH, LOW, 0, -1):
        refused(book, new(4, BUY, 9, quantity), "REJECTED 4: NEW BAD_QUANTITY")
    step(book, new(4, BUY, 5, 1, tif=IOC), ["ACK 4: buy 1 @ 5", "CANCELLED 4: buy 1 @ 5 IOC"],
         f"{HIGH}(2)@5 1(1)@4 | -")  # fmt: skip
    step(book, modify(2, 5, LARGEST - 1), [f"MODIFIED 2: {LARGEST - 1} @ 5"], f"{HIGH}(2)@5 1(1)@4 | -")
    step(book, market(5, SELL, LARGEST),
         [f"ACK 5: sell {LARGEST} @ 0", f"TRADE 5: sell {LARGEST} @ 5 from 1, 0 left"],
         f"{LARGEST - 1}(1)@5 1(1)@4 | -")  # fmt: skip
    step(book, new(6, SELL, 4, LARGEST),
         [
             f"ACK 6: sell {LARGEST} @ 4",
             f"TRADE 6: sell {LARGEST - 1} @ 5 from 2, 1 left",
             "TRADE 6: sell 1 @ 4 from 3, 0 left",
         ],
         "- | -")  # fmt: skip


def test_sums_beyond_64_bits(book):
    """Of several levels: no level has more."""
    for k in range(4):
        send(book, new(2 * k, SELL, k, LARGEST), new(2 * k + 1, SELL, k, LARGEST - 1))
    total = 4 * HIGH
    assert (book.quantity_to(BUY, 3), book.quantity_to(BUY, 1)) == (total, 2 * HIGH)
    assert book.cost(BUY, HIGH) == 0
    refused(book, new(9, BUY, 3, LARGEST + 1, tif=FOK), "REJECTED 9: NEW BAD_QUANTITY")
    assert send(book, new(9, BUY, 3, LARGEST, tif=FOK))[-1] == f"TRADE 9: buy {LARGEST} @ 0 from 0, 0 left"
    assert levels(book) == "- | " + " ".join(
        [f"{LARGEST - 1}(1)@0", *(f"{HIGH}(2)@{price}" for price in (1, 2, 3))]
    )


# An owner that trades with itself


@pytest.mark.fast
def test_a_room_does_not_limit_trades_of_an_owner_with_itself(book):
    """They move no position: with a room of 1 each lot would be a trade."""
    book.set_position(7, 1)
    send(book, new(1, SELL, 5, LARGEST, owner=7, flags=1))
    step(book, new(2, BUY, 5, LARGEST - 1, owner=7),
         [f"ACK 2 of 7: buy {LARGEST - 1} @ 5",
          f"TRADE 2 of 7: buy {LARGEST - 1} @ 5 from 1 of 7, 0 left"],
         "- | 1(1)@5")  # fmt: skip
    assert book.position(7) == 1
    # A taker: its own order first, then what its room lets it.
    send(book, cancel(1), new(3, BUY, 5, 40, owner=7), new(4, BUY, 5, 40))
    step(book, new(5, SELL, 5, 100, owner=7, flags=1),
         ["ACK 5 of 7: sell 100 @ 5",
          "TRADE 5 of 7: sell 40 @ 5 from 3 of 7, 60 left",
          "TRADE 5 of 7: sell 1 @ 5 from 4, 59 left",
          "CANCELLED 5 of 7: sell 59 @ 5 REDUCE_ONLY"],
         "39(1)@5 | -")  # fmt: skip


def test_shares_of_an_owners_own_reduce_only_orders(orderbook):
    book = orderbook("pro_rata")
    book.set_position(7, 1)
    send(book, new(1, SELL, 5, LARGEST - 1, owner=7, flags=1), new(2, SELL, 5, 1))
    step(book, new(3, BUY, 5, LARGEST, owner=7),
         [f"ACK 3 of 7: buy {LARGEST} @ 5",
          f"TRADE 3 of 7: buy {LARGEST - 1} @ 5 from 1 of 7, 1 left",
          "TRADE 3 of 7: buy 1 @ 5 from 2, 0 left"],
         "- | -")  # fmt: skip


# Memory that a message needs


def far(k):
    """An id far from all others."""
    return (7919 * k + 1) << 30


def waiting(order_id, price, quantity, **fields):
    """A sell with a limit that waits for the mark to reach 5."""
    return new(order_id, SELL, price, quantity, type=STOP_LIMIT, stop_price=5, flags=2, **fields)


def test_far_ids_of_stops_that_come_and_go(book):
    """Each stop has a hint while it waits and one when it rests, neither of which is erased."""
    for k in range(200):
        send(book, stop(far(k), SELL, 5, 1, flags=2))
        assert len(book.set_mark(5)) == 2
        book.set_mark(6)
    for n in range(1, 40):
        send(book, *(waiting(far(1000 * n + k), 0, 1) for k in range(n)))
        assert len(book.set_mark(5)) == n
        book.set_mark(6)
    assert len(book) == 39 * 20
    if isinstance(book, cs.OrderBook):
        assert book._check()
    assert send(book, cancel(far(1000))) == [f"CANCELLED {far(1000)}: sell 1 @ 0 USER"]


def test_stops_of_a_copy_that_the_mark_reaches(book):
    """A copy has room for them before any message has made it."""
    for n in range(1, 60):
        for k in range(n):
            send(book, waiting(k, k, 10, display=4, owner=7))
        twin = book.copy()
        assert len(twin.set_mark(5)) == len(twin) == n
        if isinstance(book, cs.OrderBook):
            assert twin._check()
        book.cancel_owner(7)


def test_a_fill_or_kill_that_refills_icebergs(book):
    """It is tried on a copy, where each refilled slice may start another run of orders."""
    for n in range(1, 40):
        send(book, new(1, BUY, 1, 1, owner=7), new(2, SELL, 5, 100, display=1))
        send(book, *(new(3 + k, SELL, 5, 1) for k in range(n)))
        assert len(send(book, new(100, BUY, 5, 100 + n, owner=7, tif=FOK, stp=cs.Stp.TAKER))) == 101 + n
        if isinstance(book, cs.OrderBook):
            assert book._check()
        assert levels(book) == "1(1)@1 | -"
        send(book, cancel(1))
