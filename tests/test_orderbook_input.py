"""What callers hand to an order book: right values taken exactly, everything else refused with the book
unchanged."""

import pickle
import sys

import numpy as np
import pytest

import cascade as cs

BUY, SELL = cs.Side.BUY, cs.Side.SELL


@pytest.fixture
def book():
    book = cs.OrderBook()
    book.limit(BUY, 99, 4, owner=3)
    book.limit(SELL, 101, 4)
    return book


def columns(**changed):
    table = {
        "order_id": np.array([7, 8]),
        "side": np.array([1, -1]),
        "price": [5, 200],
        "quantity": [1, 2],
    } | changed
    return {name: values for name, values in table.items() if values is not ...}


def masked(values):
    return np.ma.MaskedArray(values, mask=[False, True])


# Tables that are right

EXPECTED = [(7, 1, 5, 1), (8, -1, 200, 2)]

GOOD = {
    "dict": columns(),
    "lists": columns(order_id=[7, 8], side=[BUY, SELL]),
    "small integers": columns(side=np.array([1, -1], np.int8), price=np.array([5, 200], np.uint8)),
    "large integers": columns(side=np.array([1, -1], np.int64), order_id=np.array([7, 8], np.int64)),
    "big endian": columns(price=np.array([5, 200], ">i8")),
    "strided": columns(price=np.array([5, 0, 200, 0])[::2]),
    "reversed": columns(price=np.array([200, 5])[::-1]),
    "read-only": columns(price=np.frombuffer(np.array([5, 200]).tobytes(), np.int64)),
    "misaligned": columns(price=np.frombuffer(b"x" + np.array([5, 200]).tobytes(), np.int64, 2, 1)),
}


@pytest.mark.parametrize("name", GOOD)
def test_tables_that_are_right(name):
    book = cs.OrderBook()
    reports = book.process(GOOD[name])
    assert reports["kind"].tolist() == [0, 0]
    t = book.orders()
    got = list(zip(*(t[k].tolist() for k in ("order_id", "side", "price", "quantity")), strict=True))
    assert got == EXPECTED


def exact_orders():
    orders = np.zeros(2, cs.ORDER_DTYPE)
    for name, values in columns().items():
        orders[name] = values
    return orders


def subset():
    orders = np.zeros(2, [("price", "<i4"), ("order_id", "<u8"), ("quantity", "<i8"), ("side", "i1")])
    for name, values in columns().items():
        orders[name] = values
    return orders


def misaligned():
    return np.frombuffer(b"abc" + exact_orders().tobytes(), cs.ORDER_DTYPE, 2, 3)


def strided():
    return np.repeat(exact_orders(), 2)[::2]


def read_only():
    orders = exact_orders()
    orders.flags.writeable = False
    return orders


def swapped():
    return exact_orders().astype(cs.ORDER_DTYPE.newbyteorder())


def records():
    return exact_orders().view(np.recarray)


@pytest.mark.fast
@pytest.mark.parametrize("make", [swapped, records, exact_orders, subset, misaligned, strided, read_only])
def test_structured_arrays_that_are_right(make):
    book = cs.OrderBook()
    orders = make()
    before = orders.tobytes()
    book.process(orders)
    assert orders.tobytes() == before
    assert book.orders()["price"].tolist() == [5, 200]


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    book = cs.OrderBook()
    book.process(pandas.DataFrame(columns(), index=[5, 6]))
    assert book.orders()["price"].tolist() == [5, 200]
    with pytest.raises(cs.InputTypeError, match="'price'"):
        book.process(pandas.DataFrame(columns(price=pandas.array([5, None], dtype="Int64"))))


def test_polars_frames():
    polars = pytest.importorskip("polars")
    book = cs.OrderBook()
    book.process(polars.DataFrame(columns()))
    assert book.orders()["price"].tolist() == [5, 200]
    with pytest.raises(cs.InputTypeError, match="1 values are null"):
        book.process(polars.DataFrame(columns(price=[5, None])))


def test_arrow_tables():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(columns())
    book = cs.OrderBook()
    book.process(pyarrow.concat_tables([table.slice(0, 1), table.slice(1, 1)]))
    assert book.orders()["price"].tolist() == [5, 200]
    with pytest.raises(cs.InputTypeError, match="1 values are null"):
        book.process(pyarrow.table(columns(price=pyarrow.array([5, None]))))


def test_no_rows():
    book = cs.OrderBook()
    for orders in (np.zeros(0, cs.ORDER_DTYPE), {"order_id": []}, {"order_id": np.zeros(0, np.int64)}):
        assert book.process(orders).size == 0
    assert book.process(np.zeros(0, cs.ORDER_DTYPE), out=np.zeros(0, cs.REPORT_DTYPE)) == (0, 0)


def test_padding_is_ignored():
    orders = exact_orders()
    orders.view(np.uint8).reshape(2, 64)[:, 62:] = 255
    assert cs.OrderBook().process(orders)["kind"].tolist() == [0, 0]


# Tables that are wrong

BAD = [
    (None, cs.InputTypeError, "NoneType"),
    (5, cs.InputTypeError, "int"),
    ("orders", cs.InputTypeError, "str"),
    ([(7, 1, 5, 1)], cs.InputTypeError, "list"),
    (np.array([1, 2]), cs.InputTypeError, "structured"),
    (np.zeros((2, 2), cs.ORDER_DTYPE), cs.InputError, "2 dimensions"),
    (np.zeros((), cs.ORDER_DTYPE), cs.InputError, "0 dimensions"),
    (np.ma.zeros(2, cs.ORDER_DTYPE), cs.InputTypeError, "masked"),
    (np.zeros(2, cs.REPORT_DTYPE), cs.InputError, "unknown column"),
    (columns(size=[1, 2]), cs.InputError, "'size'.*unknown column"),
    (columns(order_id=...), cs.InputError, "'order_id' is missing"),
    (columns(price=[1, 2, 3]), cs.InputError, r"\['price'\].*3 rows"),
    (columns(price=None), cs.InputTypeError, r"\['price'\].*None"),
    (columns(price=5), cs.InputTypeError, r"\['price'\]"),
    (columns(price=np.int64(5)), cs.InputError, r"\['price'\].*0 dimensions"),
    (columns(price="10"), cs.InputTypeError, r"\['price'\]"),
    (columns(price=[5, 1.9]), cs.InputTypeError, r"\['price'\]\[1\] = 1.9"),
    (columns(price=[5, np.float64(7.0)]), cs.InputTypeError, r"\['price'\]\[1\]"),
    (columns(price=[5, True]), cs.InputTypeError, r"\['price'\]\[1\] = True"),
    (columns(price=[5, np.True_]), cs.InputTypeError, r"\['price'\]\[1\]"),
    (columns(price=[5, "10"]), cs.InputTypeError, r"\['price'\]\[1\] = '10'"),
    (columns(price=[5, None]), cs.InputTypeError, r"\['price'\]\[1\] = None"),
    (columns(price=[5, object()]), cs.InputTypeError, r"\['price'\]\[1\]"),
    (columns(price=[[5], [6]]), cs.InputError, r"\['price'\].*1-D"),
    (columns(price=[5, 2**63]), cs.RangeError, r"\['price'\]\[1\] = 9223372036854775808"),
    (columns(price=[5, -(2**70)]), cs.RangeError, r"\['price'\]\[1\]"),
    (columns(price=np.array([5.0, 6.0])), cs.InputTypeError, "float64"),
    (columns(order_id=np.array([5.0, 6.0])), cs.InputTypeError, "float64"),
    (columns(price=np.array([True, False])), cs.InputTypeError, "bool"),
    (columns(price=np.array([5, 6], object)), cs.InputTypeError, "object"),
    (columns(price=np.array([5, 6], complex)), cs.InputTypeError, "complex"),
    (columns(price=np.array([5, 6], "M8[s]")), cs.InputTypeError, "datetime64"),
    (columns(price=np.array([5, 6], "m8[s]")), cs.InputTypeError, "timedelta64"),
    (columns(price=np.array(["5", "6"])), cs.InputTypeError, "<U1"),
    (columns(price=np.array([[5, 6]])), cs.InputError, "2 dimensions"),
    (columns(price=masked([5, 6])), cs.InputTypeError, "1 values are masked"),
    (columns(price=np.array([5, 2**63], np.uint64)), cs.RangeError, r"\['price'\]\[1\].*1 bad rows"),
    (columns(order_id=np.array([-1, -2])), cs.RangeError, r"\['order_id'\]\[0\] = -1.*2 bad rows"),
    (columns(side=np.array([1, 257])), cs.RangeError, r"\['side'\]\[1\] = 257"),
    (columns(owner=np.array([0, 2**31])), cs.RangeError, r"\['owner'\]\[1\]"),
    (columns(tif=np.array([0, 256])), cs.RangeError, r"\['tif'\]\[1\]"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("orders", "error", "match"), BAD)
def test_tables_that_are_wrong(book, orders, error, match):
    before = book.dump()
    with pytest.raises(error, match=match):
        book.process(orders)
    assert book.dump() == before


def test_float_field_in_a_structured_array(book):
    orders = np.zeros(1, [("order_id", "<u8"), ("price", "<f8")])
    with pytest.raises(cs.InputTypeError, match=r"\['price'\].*float64"):
        book.process(orders)


# Buffers and switches

OUTS = [
    (np.zeros(5, cs.ORDER_DTYPE), cs.InputTypeError),
    ([0] * 5, cs.InputTypeError),
    (np.ma.zeros(5, cs.REPORT_DTYPE), cs.InputTypeError),
    (np.zeros((5, 5), cs.REPORT_DTYPE), cs.InputError),
    (np.zeros(10, cs.REPORT_DTYPE)[::2], cs.InputError),
    (np.frombuffer(bytes(640), cs.REPORT_DTYPE), cs.InputError),
]


@pytest.mark.parametrize(("out", "error"), OUTS)
def test_buffers_that_are_wrong(book, out, error):
    before = book.dump()
    with pytest.raises(error, match="out"):
        book.process(exact_orders(), out=out)
    assert book.dump() == before


def test_buffer_that_overlaps_the_orders(book):
    orders = exact_orders()
    with pytest.raises(cs.InputError, match="shares memory"):
        book.process(orders, out=orders.view(cs.REPORT_DTYPE))


def test_misaligned_buffer(book):
    memory = np.zeros(64 * 4 + 1, np.uint8)
    out = memory[1:].view(cs.REPORT_DTYPE)
    assert book.process(exact_orders(), out=out) == (2, 2)
    assert out["order_id"].tolist() == [7, 8, 0, 0]


@pytest.mark.parametrize("reports", ["some", None, 0])
def test_unknown_reports(book, reports):
    with pytest.raises(cs.InputError, match="reports"):
        book.process(exact_orders(), reports=reports)


def test_constructor():
    assert len(cs.OrderBook("fifo", 10)) == 0
    with pytest.raises(cs.InputError, match="matching"):
        cs.OrderBook(matching="lifo")
    for matching in (None, 5):
        with pytest.raises(cs.InputTypeError, match="matching"):
            cs.OrderBook(matching=matching)
    for reserve in (-1, 2**31):
        with pytest.raises(cs.RangeError, match="reserve"):
            cs.OrderBook(reserve=reserve)
    for reserve in (1.0, True, "10", None):
        with pytest.raises(cs.InputTypeError, match="reserve"):
            cs.OrderBook(reserve=reserve)


def test_a_book_is_not_pickled(book):
    with pytest.raises(TypeError):
        pickle.dumps(book)


# Single values

NO_INTEGERS = [1.9, 7.0, np.float64(7.9), True, np.True_, "10", b"10", None, [1], 1j, object()]

CALLS = {
    "side of limit": lambda b, x: b.limit(x, 1, 1),
    "price of limit": lambda b, x: b.limit(BUY, x, 1),
    "quantity of limit": lambda b, x: b.limit(BUY, 1, x),
    "owner of limit": lambda b, x: b.limit(BUY, 1, 1, owner=x),
    "tif of limit": lambda b, x: b.limit(BUY, 1, 1, tif=x),
    "side of market": lambda b, x: b.market(x, 1),
    "quantity of market": lambda b, x: b.market(BUY, x),
    "id of cancel": lambda b, x: b.cancel(x),
    "id of modify": lambda b, x: b.modify(x, 1, 1),
    "price of modify": lambda b, x: b.modify(1, x, 1),
    "quantity of modify": lambda b, x: b.modify(1, 1, x),
    "owner of cancel_owner": lambda b, x: b.cancel_owner(x),
    "side of level": lambda b, x: b.level(x, 1),
    "price of level": lambda b, x: b.level(BUY, x),
    "id of queue_position": lambda b, x: b.queue_position(x),
    "quantity of price_to_fill": lambda b, x: b.price_to_fill(BUY, x),
    "price of quantity_to": lambda b, x: b.quantity_to(BUY, x),
    "side of set_levels": lambda b, x: b.set_levels(x, [1], [1]),
    "price of set_levels": lambda b, x: b.set_levels(BUY, [x], [1]),
    "quantity of set_levels": lambda b, x: b.set_levels(BUY, [1], [x]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
def test_what_is_no_integer(book, call, value):
    before = book.dump()
    with pytest.raises((cs.InputTypeError, cs.InputError)) as caught:
        CALLS[call](book, value)
    # A list inside set_levels is a question of shape.
    assert isinstance(caught.value, cs.InputTypeError) or isinstance(value, list)
    assert book.dump() == before


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_what_does_not_fit(book, call, value):
    before = book.dump()
    with pytest.raises(cs.RangeError):
        CALLS[call](book, value)
    assert book.dump() == before


@pytest.mark.parametrize("side", [0, 2, -2])
def test_no_side(book, side):
    for call in (
        lambda: book.limit(side, 1, 1),
        lambda: book.market(side, 1),
        lambda: book.level(side, 1),
        lambda: book.set_levels(side, [1], [1]),
        lambda: book.price_to_fill(side, 1),
        lambda: book.quantity_to(side, 1),
    ):
        with pytest.raises(cs.InputError, match="side"):
            call()


def test_integer_like_values_are_taken(book):
    assert book.limit(np.int8(1), np.int32(5), np.uint64(6), order_id=np.uint64(50), owner=np.int16(2)) == 50
    assert book.level(BUY, 5) == (6, 1)
    book.cancel(np.int64(50))


def test_owner_nobody_has_no_list(book):
    with pytest.raises(cs.InputError, match="owner"):
        book.cancel_owner(0)
    with pytest.raises(cs.RangeError, match="owner"):
        book.cancel_owner(-1)


@pytest.mark.parametrize(
    ("prices", "quantities"),
    [
        (None, [1]),
        ([1], None),
        (np.array([1.0]), [1]),
        ([1], np.array([1.0])),
        (masked([1, 2]), [1, 2]),
        ("1", [1]),
        (1, 1),
        (np.array([[1]]), [1]),
    ],
)
def test_levels_that_are_no_columns(book, prices, quantities):
    before = book.dump()
    with pytest.raises((cs.InputTypeError, cs.InputError)):
        book.set_levels(BUY, prices, quantities)
    assert book.dump() == before


def test_failing_allocations_leave_the_book_whole():
    testcapi = pytest.importorskip("_testcapi")
    refused = 0
    for k in range(1, 60):
        book = cs.OrderBook()
        for price in range(16):
            book.limit(BUY, price, 1, owner=price + 1)
        before = book.dump()
        done = False
        testcapi.set_nomemory(k, k + 1)
        try:
            book.limit(BUY, 99, 1, owner=99)
            done = True
        except (MemoryError, cs.InputError):
            refused += 1
        finally:
            testcapi.remove_mem_hooks()
        assert book._check()
        assert len(book) == 16 + done
        if not done:
            assert book.dump() == before
    assert refused > 0


def test_reports_of_a_first_allocation_that_fails():
    testcapi = pytest.importorskip("_testcapi")
    orders = as_rows((1, 1, 10), (2, -1, 10))
    for k in range(40):
        book = cs.OrderBook()
        testcapi.set_nomemory(k, k + 1)
        try:
            book.process(orders, reports="trades")
        except (MemoryError, cs.CapacityError):
            pass
        finally:
            testcapi.remove_mem_hooks()
        assert book._check()


def address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_icebergs_that_come_and_go_take_no_memory():
    book = cs.OrderBook()
    book.process(as_rows(*((k, -1, 1) for k in range(1, 20_001))))
    book.cancel(book.limit(BUY, 1, 10, display=1))
    before = address_space()
    for _ in range(400):
        book.cancel(book.limit(BUY, 1, 10, display=1))
    assert address_space() - before < 50 << 20
    assert book._check()


# Buffers: what a message writes is known before


def as_rows(*rows, **fields):
    """Orders of (id, side, quantity) at 100."""
    orders = np.zeros(len(rows), cs.ORDER_DTYPE)
    for k, name in enumerate(("order_id", "side", "quantity")):
        orders[name] = [row[k] for row in rows]
    orders["price"] = 100
    for name, value in fields.items():
        orders[name] = value
    return orders


def every_buffer(book, orders):
    """A message's reports are the same in every buffer that holds them; one too short changes nothing."""
    want = book.copy().process(orders)
    before = book.dump()
    for size in range(len(want)):
        with pytest.raises(cs.CapacityError, match=f"row 0 alone gives {len(want)}"):
            book.process(orders, out=np.zeros(size, cs.REPORT_DTYPE))
    assert book.dump() == before
    for size in range(len(want), len(want) + 3):
        out = np.zeros(size, cs.REPORT_DTYPE)
        assert book.copy().process(orders, out=out) == (len(want), 1)
        assert out[: len(want)].tobytes() == want.tobytes()
    assert book._check()


@pytest.mark.parametrize("stp", [cs.Stp.MAKER, cs.Stp.DECREMENT])
def test_a_stop_that_acts_at_once_among_its_owners_orders(stp):
    book = cs.OrderBook()
    book.limit(1, 5, 1)
    book.limit(-1, 5, 1)
    book.process(as_rows(*((k, -1, 1) for k in range(10, 20)), owner=1))
    every_buffer(book, as_rows((99, 1, 10), owner=1, stp=stp, type=cs.OrderType.STOP, stop_price=1))


def test_orders_without_room_on_the_way_of_a_small_taker():
    book = cs.OrderBook()
    book.process(as_rows(*((k, -1, 1) for k in range(10, 20)), owner=1, flags=cs.OrderFlags.REDUCE_ONLY))
    every_buffer(book, as_rows((99, 1, 1)))


def test_icebergs_among_the_stops_that_a_message_sets_off():
    for icebergs in range(1, 24):
        book = cs.OrderBook()
        book.process(as_rows(*((k, -1, 10) for k in range(1, icebergs + 1)), display=1))
        stops = as_rows(*((k, 1, 10) for k in range(100, 120)), display=1, type=cs.OrderType.STOP_LIMIT)
        stops["price"], stops["stop_price"] = 50, 100
        book.process(stops)
        every_buffer(book, as_rows((99, 1, 1)))


def test_levels_in_columns_of_any_stride(book):
    table = np.array([[90, 1], [91, 2], [92, 3]])
    book.set_levels(BUY, table[:, 0], table[:, 1])
    assert book.level(BUY, 92) == (3, 1)
    assert table.tolist() == [[90, 1], [91, 2], [92, 3]]


def test_what_the_book_refuses_anyway_comes_before_a_minimum_or_a_budget(book):
    order_id = book.limit(BUY, 1, 1)
    for call in (
        lambda: book.limit(BUY, 1, 1, order_id=order_id, tif=cs.TimeInForce.IOC, min_quantity=10**6),
        lambda: book.market(BUY, 10**6, order_id=order_id, budget=1),
    ):
        with pytest.raises(cs.InputError, match="DUPLICATE_ID"):
            call()
    with pytest.raises(cs.InputError, match="BAD_QUANTITY"):
        book.market(SELL, 0, budget=1)
