"""Dumps of the compiled order book: equal books, equal bytes; any other bytes are an InputError, never a
crash nor a book that no messages could have made."""

import copy
import hashlib
import struct

import numpy as np
import pytest
import random_orders
from book_texts import BUY, HIGH, LARGEST, LOW, SELL, as_array, cancel, filled_book, modify, new, send, stop

import cascade as cs
from cascade import _bookdump

HEADER = _bookdump._HEADER
NAMES = (
    "magic", "version", "zero", "last_id", "orders_n", "stops_n", "owners_n", "has_last", "has_mark", "last",
    "mark", "left_bid", "left_ask", "top_min", "top_max", "pro_rata_min", "fifo_percent", "steps", "codes",
)  # fmt: skip
DTYPES = {
    "orders": _bookdump.RESTING_DTYPE,
    "stops": _bookdump.STOP_DTYPE,
    "owners": _bookdump.OWNER_DTYPE,
}


def rich_book():
    """A book with something of everything that a dump holds."""
    book = cs.OrderBook(cs.Matching.preset("O", top_min=1, top_max=9))
    book.set_position(7, -30)
    book.set_position(9, LARGEST)
    book.set_lmm(8, 40)
    book.set_mark(50)
    book.set_levels(BUY, [90, 95], [3, 4])
    limit = {"type": 3, "price": 130, "display": 2, "tif": 3}
    send(
        book,
        new(1, BUY, 99, 6, owner=7, display=4, stp=2), new(2, BUY, 99, 2), new(3, BUY, 99, 5, owner=8),
        new(4, SELL, 110, 9, owner=9, flags=1), new(5, SELL, 111, 9, display=20),
        new(6, SELL, 111, 1, owner=8), stop(7, BUY, 120, 5, owner=7, stp=1),
        {**stop(8, BUY, 120, 5), **limit}, stop(9, SELL, 80, 5, owner=9),
        stop(10, BUY, 60, 5, flags=2), stop(11, SELL, 40, 5, owner=8, flags=3), new(12, SELL, 99, 1),
        cancel(2), modify(3, 99, 4),
    )  # fmt: skip
    return book


class Parts:
    """The parts of a dump, to be changed and put together again."""

    def __init__(self, blob):
        for name, value in zip(NAMES, HEADER.unpack_from(blob), strict=True):
            setattr(self, name, value)
        at = HEADER.size
        for name, dtype in DTYPES.items():
            n = getattr(self, name + "_n")
            setattr(self, name, np.frombuffer(blob, dtype, n, at).copy())
            at += n * dtype.itemsize

    def row(self, name, k, **fields):
        for field, value in fields.items():
            getattr(self, name)[field][k] = value

    def add(self, name, k, **fields):
        """A further row like row k, right behind it."""
        rows = getattr(self, name)
        setattr(self, name, np.insert(rows, k + 1, rows[k]))
        setattr(self, name + "_n", rows.size + 1)
        self.row(name, k + 1, **fields)

    def sealed(self):
        payload = HEADER.pack(*(getattr(self, name) for name in NAMES))
        payload += b"".join(getattr(self, name).tobytes() for name in DTYPES)
        return payload + hashlib.blake2b(payload, digest_size=16).digest()


def resealed(payload):
    payload = bytes(payload)
    return payload + hashlib.blake2b(payload, digest_size=16).digest()


# Dumps that are right


@pytest.mark.fast
def test_dump_load_and_digest():
    for book in (filled_book(), rich_book(), cs.OrderBook(), cs.OrderBook("K")):
        twin = cs.OrderBook.load(book.dump())
        assert twin._check()
        assert (twin.dump(), twin.digest, len(twin.digest)) == (book.dump(), book.digest, 32)
        assert twin.matching == book.matching
        assert random_orders.state(twin) == random_orders.state(book)
        assert cs.OrderBook.load(bytearray(book.dump())).digest == book.digest
        assert cs.OrderBook.load(memoryview(book.dump())).digest == book.digest
        assert twin.limit(BUY, 1, 1) == book.limit(BUY, 1, 1)
        assert twin.cancel_owner(3).tobytes() == book.cancel_owner(3).tobytes()
        assert Parts(book.dump()).sealed() == book.dump()


def test_an_order_that_came_and_went_leaves_no_trace_in_the_digest():
    for book in (filled_book(), rich_book()):
        before = book.digest
        book.cancel(book.limit(BUY, 1, 1, owner=11))
        book.cancel(book.stop(BUY, HIGH, 1, owner=11))
        assert book.digest == before


def test_the_digest_does_not_depend_on_the_history():
    a, b = cs.OrderBook(), cs.OrderBook()
    send(a, new(1, BUY, 5, 5), new(2, SELL, 9, 5), stop(3, BUY, 7, 1), stop(4, BUY, 6, 1))
    send(
        b,
        stop(4, BUY, 6, 2),
        new(2, SELL, 9, 5),
        new(5, BUY, 5, 3),
        cancel(5),
        new(1, BUY, 5, 6),
        modify(1, 5, 5),
    )
    send(b, stop(6, SELL, 6, 1), cancel(6), stop(3, BUY, 7, 1), modify(4, 0, 1))
    assert a.digest == b.digest


def test_the_digest_is_fixed():
    assert filled_book().digest == "eadc5cfbbc5d84868bbc68403cac3729"


# Bytes that have changed


@pytest.mark.fast
def test_damaged_bytes():
    blob = rich_book().dump()
    for k in range(len(blob)):
        for bit in range(8) if k < HEADER.size else [k % 8]:
            damaged = bytearray(blob)
            damaged[k] ^= 1 << bit
            with pytest.raises(cs.InputError, match="dump"):
                cs.OrderBook.load(bytes(damaged))


@pytest.mark.fast
def test_truncated_and_extended_bytes():
    for blob in (rich_book().dump(), cs.OrderBook().dump()):
        for size in range(len(blob)):
            with pytest.raises(cs.InputError, match="dump"):
                cs.OrderBook.load(blob[:size])
            with pytest.raises(cs.InputError, match="dump"):
                cs.OrderBook.load(resealed(blob[: max(0, size - 16)]))
        for more in (b"\0", bytes(56), blob):
            with pytest.raises(cs.InputError, match="dump"):
                cs.OrderBook.load(blob + more)
            with pytest.raises(cs.InputError, match="dump"):
                cs.OrderBook.load(resealed(blob[:-16] + more))


@pytest.mark.parametrize("value", ["text", None, 7, [], np.zeros(3)])
def test_what_is_no_bytes(value):
    with pytest.raises(cs.InputTypeError, match="dump: must be bytes"):
        cs.OrderBook.load(value)


@pytest.mark.fast
@pytest.mark.parametrize("name", ["orders_n", "stops_n", "owners_n"])
@pytest.mark.parametrize(
    "count", [-1, 1, 2**20, 2**31, 2**32, 2**61, 2**63, 2**64 - 1, 2**64 // 56, 2**64 // 24 + 1]
)
def test_counts_are_compared_before_anything_is_allocated(name, count):
    parts = Parts(rich_book().dump())
    setattr(parts, name, (getattr(parts, name) + count) % 2**64)
    with pytest.raises(cs.InputError, match=r"dump: .* take"):
        cs.OrderBook.load(parts.sealed())


# Right frames and wrong content. Rows: two orders at 99, anonymous ones at 95 and 90, asks at 110, 111, 111;
# stops 9, 7, 8, 11, 10; owners 7, 8, 9.

FORGERIES = {
    "magic": lambda p: setattr(p, "magic", b"CASCBOOM"),
    "version": lambda p: setattr(p, "version", 99),
    "zero": lambda p: setattr(p, "zero", 1),
    "last id": lambda p: setattr(p, "last_id", 10),
    "has last": lambda p: setattr(p, "has_last", 2),
    "last without": lambda p: setattr(p, "has_last", 0),
    "mark without": lambda p: setattr(p, "has_mark", 0),
    "has mark": lambda p: setattr(p, "has_mark", 255),
    "top_left without TOP": lambda p: p.row("orders", 4, top=0),
    "top_left": lambda p: setattr(p, "left_bid", 10),
    "top_left < 0": lambda p: setattr(p, "left_bid", -1),
    "top_min": lambda p: setattr(p, "top_min", 0),
    "top_max": lambda p: setattr(p, "top_max", LARGEST + 1),
    "pro_rata_min": lambda p: setattr(p, "pro_rata_min", -1),
    "fifo_percent": lambda p: setattr(p, "fifo_percent", 101),
    "no steps": lambda p: setattr(p, "steps", 0),
    "steps": lambda p: setattr(p, "steps", 9),
    "many steps": lambda p: setattr(p, "steps", 2**32 - 1),
    "unknown step": lambda p: setattr(p, "codes", b"\2\1\6" + bytes(5)),
    "step twice": lambda p: setattr(p, "codes", b"\2\2\0" + bytes(5)),
    "step after fifo": lambda p: setattr(p, "codes", b"\2\0\1" + bytes(5)),
    "leveling first": lambda p: setattr(p, "codes", b"\5\1\0" + bytes(5)),
    "step unused": lambda p: setattr(p, "codes", b"\2\1\0\3" + bytes(4)),
    "TOP without the step": lambda p: setattr(p, "codes", b"\3\1\0" + bytes(5)),
    "id twice": lambda p: p.row("orders", 1, order_id=1),
    "id of a stop": lambda p: p.row("orders", 1, order_id=9),
    "stop id twice": lambda p: p.row("stops", 1, order_id=9),
    "id beyond the last": lambda p: p.row("orders", 1, order_id=2**64 - 1),
    "stop id beyond the last": lambda p: p.row("stops", 1, order_id=2**64 - 1),
    "crossed": lambda p: p.row("orders", 0, price=110),
    "crossed far": lambda p: p.row("orders", 0, price=HIGH),
    "unsorted": lambda p: p.row("orders", 0, price=LOW),
    "unsorted asks": lambda p: p.row("orders", 4, price=112),
    "swapped": lambda p: setattr(p, "orders", p.orders[[0, 1, 3, 2, 4, 5, 6]]),
    "asks first": lambda p: setattr(p, "orders", np.roll(p.orders, 3)),
    "quantity 0": lambda p: p.row("orders", 1, quantity=0, shown=0),
    "quantity < 0": lambda p: p.row("orders", 1, quantity=-1, shown=-1),
    "quantity lowest": lambda p: p.row("orders", 1, quantity=LOW, shown=LOW),
    "quantity too large": lambda p: p.row("orders", 1, quantity=LARGEST + 1, shown=LARGEST + 1),
    "sum too large": lambda p: (
        p.row("orders", 5, quantity=LARGEST, shown=LARGEST, display=LARGEST),
        p.row("orders", 6, quantity=LARGEST, shown=LARGEST),
    ),
    "sum with hidden too large": lambda p: (
        p.row("orders", 5, quantity=LARGEST, shown=1, display=2**46),
        p.row("orders", 6, quantity=LARGEST, shown=1, display=2**46),
    ),
    "sum with hidden far too large": lambda p: [
        p.add("orders", 5, order_id=k, quantity=LARGEST, shown=1, display=2**46) for k in (2, 12)
    ],
    "shown 0": lambda p: p.row("orders", 0, shown=0),
    "shown < 0": lambda p: p.row("orders", 0, shown=-3),
    "shown > quantity": lambda p: p.row("orders", 0, shown=8),
    "shown > display": lambda p: p.row("orders", 0, display=1),
    "hidden without display": lambda p: p.row("orders", 0, display=0),
    "hidden of a plain order": lambda p: p.row("orders", 1, quantity=9),
    "display < 0": lambda p: p.row("orders", 0, display=-4),
    "too many slices": lambda p: p.row("orders", 0, quantity=LARGEST),
    "too many slices of a stop": lambda p: p.row("stops", 2, quantity=LARGEST),
    "owner < 0": lambda p: p.row("orders", 1, owner=-1),
    "rank repeated": lambda p: p.row("stops", 1, owner_rank=0),
    "rank left out": lambda p: p.row("stops", 1, owner_rank=2),
    "rank < 0": lambda p: p.row("orders", 0, owner_rank=-1),
    "rank of nobody": lambda p: p.row("orders", 5, owner_rank=1),
    "rank of nobody's stop": lambda p: p.row("stops", 2, owner_rank=1),
    "side 0": lambda p: p.row("orders", 0, side=0),
    "side 2": lambda p: p.row("orders", 0, side=2),
    "side -128": lambda p: p.row("orders", 0, side=-128),
    "side": lambda p: p.row("orders", 0, side=-1),
    "external 2": lambda p: p.row("orders", 2, external=2),
    "external with an id": lambda p: p.row("orders", 2, order_id=2),
    "external with an owner": lambda p: p.row("orders", 2, owner=7),
    "external with a display": lambda p: p.row("orders", 2, display=7),
    "external with stp": lambda p: p.row("orders", 2, stp=1),
    "external with flags": lambda p: p.row("orders", 2, flags=1),
    "external TOP": lambda p: (p.row("orders", 0, top=0), p.row("orders", 2, top=1)),
    "mark trigger at rest": lambda p: p.row("orders", 0, flags=2),
    "unknown flag": lambda p: p.row("orders", 0, flags=4),
    "reduce-only of nobody": lambda p: p.row("orders", 5, flags=1),
    "stp 5": lambda p: p.row("orders", 0, stp=5),
    "stp of nobody": lambda p: p.row("orders", 5, stp=1),
    "top 2": lambda p: p.row("orders", 0, top=2),
    "two TOPs": lambda p: p.row("orders", 1, top=1),
    "TOP not the oldest": lambda p: (p.row("orders", 0, top=0), p.row("orders", 1, top=1)),
    "TOP not at the best": lambda p: (p.row("orders", 4, top=0), p.row("orders", 5, top=1)),
    "padding": lambda p: p.row("orders", 0, _pad=b"\0\0\1"),
    "stop padding": lambda p: p.row("stops", 0, _pad=b"\1"),
    "stop quantity 0": lambda p: p.row("stops", 0, quantity=0),
    "stop quantity < 0": lambda p: p.row("stops", 0, quantity=-1),
    "stop quantity too large": lambda p: p.row("stops", 0, quantity=LARGEST + 1),
    "stop side": lambda p: p.row("stops", 0, side=0),
    "stop side -128": lambda p: p.row("stops", 0, side=-128),
    "stop type LIMIT": lambda p: p.row("stops", 0, type=0),
    "stop type 4": lambda p: p.row("stops", 0, type=4),
    "stop tif": lambda p: p.row("stops", 0, tif=4),
    "STOP that rests only": lambda p: p.row("stops", 0, tif=3),
    "stop flags": lambda p: p.row("stops", 0, flags=4),
    "stop reduce-only of nobody": lambda p: p.row("stops", 2, flags=1),
    "stop stp": lambda p: p.row("stops", 0, stp=5),
    "stop stp of nobody": lambda p: p.row("stops", 2, stp=1),
    "stop display": lambda p: p.row("stops", 0, display=-1),
    "stop owner": lambda p: p.row("stops", 2, owner=-5),
    "stops unsorted": lambda p: p.row("stops", 2, stop_price=119),
    "stops swapped": lambda p: setattr(p, "stops", p.stops[[1, 0, 2, 3, 4]]),
    "stop on the other trigger": lambda p: p.row("stops", 0, flags=2),
    "stop reached": lambda p: p.row("stops", 0, stop_price=99),
    "buy stop reached": lambda p: p.row("stops", 1, stop_price=99),
    "mark stop reached": lambda p: p.row("stops", 3, stop_price=50),
    "owner 0": lambda p: p.row("owners", 0, owner=0),
    "owner record < 0": lambda p: p.row("owners", 0, owner=-7),
    "owner twice": lambda p: p.row("owners", 1, owner=7),
    "owners unsorted": lambda p: setattr(p, "owners", p.owners[::-1].copy()),
    "owner of nothing": lambda p: p.row("owners", 1, lmm_percent=0, position_high=0, position_low=0),
    "lmm 101": lambda p: p.row("owners", 1, lmm_percent=101),
    "lmm < 0": lambda p: p.row("owners", 1, lmm_percent=-1),
    "position": lambda p: p.row("owners", 0, position_high=HIGH, position_low=2**64 - 1),
    "position < 0": lambda p: p.row("owners", 0, position_high=LOW),
}


@pytest.mark.fast
@pytest.mark.parametrize("name", FORGERIES)
def test_right_checksum_and_wrong_content(name):
    parts = Parts(rich_book().dump())
    assert parts.orders["order_id"].tolist() == [1, 3, 0, 0, 4, 5, 6]
    assert parts.stops["order_id"].tolist() == [9, 7, 8, 11, 10]
    assert parts.owners["owner"].tolist() == [7, 8, 9]
    assert parts.orders["top"].tolist() == [1, 0, 0, 0, 1, 0, 0]
    FORGERIES[name](parts)
    with pytest.raises(cs.InputError, match="dump"):
        cs.OrderBook.load(parts.sealed())


def wrong_somewhere(seed):
    """Random bytes in a right frame: refused, or a book that holds exactly this and works."""
    rng = np.random.default_rng(seed)
    matching, commands = random_orders.make(seed % 40, 120)
    book = cs.OrderBook(matching)
    random_orders.play(book, [command for command in commands if command[0] != "copy"])
    payload = bytearray(book.dump()[:-16])
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(12, len(payload)))
        word = rng.random() < 0.3 and at % 8 == 0 and at + 8 <= len(payload)
        if word:
            payload[at : at + 8] = struct.pack("<q", int(rng.choice([LOW, HIGH, LARGEST, -1, 0, 1, 2**61])))
        else:
            payload[at] = int(rng.choice([0, 1, 2, 3, 127, 128, 255, payload[at] ^ 1, payload[at] ^ 64]))
    blob = resealed(payload)
    try:
        made = cs.OrderBook.load(blob)
    except cs.InputError:
        return False
    assert made._check()
    assert made.dump() == blob
    orders = np.concatenate([command[1] for command in commands if command[0] == "process"])
    made.process(orders)
    made.set_mark(3)
    assert made._check()
    return True


def test_random_content():
    loaded = sum(wrong_somewhere(seed) for seed in range(1_000))
    assert 50 < loaded < 950


@pytest.mark.fast
def test_random_content_on_a_few():
    for seed in range(200):
        wrong_somewhere(seed)


def test_a_load_that_fails_leaves_nothing_behind():
    blob = rich_book().dump()
    parts = Parts(blob)
    wrong = copy.deepcopy(parts)
    wrong.row("orders", 1, order_id=1)
    for _ in range(50):
        with pytest.raises(cs.InputError):
            cs.OrderBook.load(wrong.sealed())
    assert cs.OrderBook.load(parts.sealed()).dump() == blob


def test_process_after_load_is_process_without():
    book = rich_book()
    twin = cs.OrderBook.load(book.dump())
    orders = as_array(
        new(20, SELL, 90, 9, owner=8, stp=4), new(21, BUY, 200, 300, owner=9), cancel(5), modify(4, 10, 9)
    )
    assert book.process(orders).tobytes() == twin.process(orders).tobytes()
    assert book.dump() == twin.dump()
