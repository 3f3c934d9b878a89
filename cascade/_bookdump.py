"""The bytes of an order book's dump: header, records in canonical order, BLAKE2b-128 over all before it.

Resting orders go bids first, best price first, oldest first; waiting stops as `OrderBook.stops` lists them;
owners by number.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from cascade.errors import CascadeError, InputError, InputTypeError
from cascade.matching import STEPS, Matching
from cascade.records import FORMAT_VERSION

RESTING_DTYPE = np.dtype(
    [
        ("order_id", "<u8"), ("price", "<i8"), ("quantity", "<i8"), ("shown", "<i8"), ("display", "<i8"),
        ("owner", "<i4"), ("owner_rank", "<i4"), ("side", "i1"), ("external", "u1"), ("flags", "u1"),
        ("stp", "u1"), ("top", "u1"), ("_pad", "V3"),
    ]
)  # fmt: skip
"""A resting order, 56 bytes; owner_rank counts its owner's orders, stops included, from the oldest."""

STOP_DTYPE = np.dtype(
    [
        ("order_id", "<u8"), ("stop_price", "<i8"), ("price", "<i8"), ("quantity", "<i8"), ("display", "<i8"),
        ("owner", "<i4"), ("owner_rank", "<i4"), ("side", "i1"), ("type", "u1"), ("tif", "u1"),
        ("flags", "u1"), ("stp", "u1"), ("_pad", "V3"),
    ]
)  # fmt: skip
"""A waiting stop, 56 bytes."""

STOP_FIELDS = tuple(name for name in STOP_DTYPE.names or () if name != "_pad")

OWNER_DTYPE = np.dtype(
    [("owner", "<i4"), ("lmm_percent", "<i4"), ("position_high", "<i8"), ("position_low", "<u8")]
)
"""An owner with a net position (128 bits, two's complement) or a lead market maker, 24 bytes."""

_MAGIC = b"CASCBOOK"
# magic, version, zero, largest id, counts of the three tables, has last, has mark, last, mark, top_left,
# top_min, top_max, pro_rata_min, fifo percent, number of steps, steps.
_HEADER = struct.Struct("<8sIIQQQQBB6xqqqqqqqII8s")
_CHECKSUM_BYTES = 16
_IMPOSSIBLE = "dump: holds what no book can hold"


def _checksum(payload: bytes | memoryview) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECKSUM_BYTES).digest()


def _payload(state: dict[str, Any], last_id: int) -> bytes:
    matching = state["matching"]
    codes = bytes(matching.codes)
    header = _HEADER.pack(
        _MAGIC, FORMAT_VERSION, 0, last_id, *(state[name].size for name in ("orders", "stops", "owners")),
        state["last"] is not None, state["mark"] is not None, state["last"] or 0, state["mark"] or 0,
        *state["top_left"], matching.top_min, matching.top_max, matching.pro_rata_min,
        matching.fifo_percent, len(codes), codes,
    )  # fmt: skip
    return header + b"".join(state[name].tobytes() for name in ("orders", "stops", "owners"))


def pack(state: dict[str, Any]) -> bytes:
    """The dump of a book's state."""
    payload = _payload(state, state["last_id"])
    return payload + _checksum(payload)


def digest(state: dict[str, Any]) -> str:
    """32 hex digits over the state. The largest id is left out: an order that came and went leaves no
    trace."""
    return _checksum(_payload(state, 0)).hex()


def unpack(blob: Any) -> dict[str, Any]:
    """The state of a dump whose frame and single values are right; raises InputError for any other bytes.

    The lengths are compared before anything is allocated.
    """
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise InputTypeError(f"dump: must be bytes, not {type(blob).__name__}")
    blob = bytes(blob)
    if len(blob) < 12:
        raise InputError(f"dump: {len(blob)} bytes, shorter than an empty book's")
    magic, version = struct.unpack_from("<8sI", blob)
    if magic != _MAGIC:
        raise InputError("dump: not an order book's")
    if version != FORMAT_VERSION:
        raise InputError(f"dump: format version {version}, this release reads {FORMAT_VERSION}")
    if len(blob) < _HEADER.size + _CHECKSUM_BYTES:
        raise InputError(f"dump: {len(blob)} bytes, shorter than an empty book's")
    (
        _, _, zero, last_id, orders, stops, owners, has_last, has_mark, last, mark, left_bid, left_ask,
        top_min, top_max, pro_rata_min, fifo_percent, steps, codes,
    ) = _HEADER.unpack_from(blob)  # fmt: skip
    counts = {
        "orders": (orders, RESTING_DTYPE),
        "stops": (stops, STOP_DTYPE),
        "owners": (owners, OWNER_DTYPE),
    }
    expected = _HEADER.size + sum(n * dtype.itemsize for n, dtype in counts.values()) + _CHECKSUM_BYTES
    if len(blob) != expected:
        raise InputError(
            f"dump: {len(blob)} bytes, {orders} orders, {stops} stops, {owners} owners take {expected}"
        )
    if _checksum(memoryview(blob)[:-_CHECKSUM_BYTES]) != blob[-_CHECKSUM_BYTES:]:
        raise InputError("dump: the checksum does not match, bytes have changed")
    state: dict[str, Any] = {
        "last": last if has_last else None,
        "mark": mark if has_mark else None,
        "top_left": (left_bid, left_ask),
        "last_id": last_id,
    }
    at = _HEADER.size
    for name, (n, dtype) in counts.items():
        state[name] = np.frombuffer(blob, dtype, n, at)
        at += n * dtype.itemsize
    steps_known = 1 <= steps <= len(codes) and max(codes[:steps]) < len(STEPS)
    if zero or has_last > 1 or has_mark > 1 or not steps_known:
        raise InputError(_IMPOSSIBLE)
    try:
        state["matching"] = Matching(
            tuple(STEPS[code] for code in codes[:steps]), top_min, top_max, pro_rata_min, fifo_percent
        )
    except CascadeError as error:
        raise InputError(f"{_IMPOSSIBLE}: {error}") from None
    if not _plausible(state):
        raise InputError(_IMPOSSIBLE)
    return state


def _plausible(state: dict[str, Any]) -> bool:
    """Could a book hold these values, each row looked at alone, and these ids together?"""
    orders, stops, owners = state["orders"], state["stops"], state["owners"]
    if orders.size + stops.size + owners.size >= 2**31:
        return False
    ids = np.concatenate([orders["order_id"][orders["external"] == 0], stops["order_id"]])
    return (
        all(bool(rule.all()) for rule in (*_of_both(orders), *_of_both(stops)))
        and all(bool(rule.all()) for rule in (*_of_resting(orders), *_of_waiting(stops, state)))
        and all(bool(rule.all()) for rule in _of_owners(owners))
        and _top_plausible(state)
        and np.unique(ids).size == ids.size
        and (ids.size == 0 or int(ids.max()) <= state["last_id"])
    )


def _of_both(x: np.ndarray) -> Iterator[np.ndarray]:
    """What holds for every order, resting or waiting."""
    nobodys = x["owner"] == 0
    yield (x["quantity"] >= 1) & (x["quantity"] <= 2**62)
    yield (x["owner"] >= 0) & (np.abs(x["side"]) == 1) & (x["display"] >= 0) & (x["stp"] <= 4)
    yield (x["display"] == 0) | ((x["quantity"] - 1) >> 16 < x["display"])  # at most 2**16 slices
    yield ~nobodys | ((x["flags"] & 1 == 0) & (x["stp"] == 0))


def _of_resting(orders: np.ndarray) -> Iterator[np.ndarray]:
    shown, display, external = orders["shown"], orders["display"], orders["external"]
    yield (shown >= 1) & (shown <= orders["quantity"])
    yield np.where(display == 0, shown == orders["quantity"], shown <= display)
    yield (external <= 1) & (orders["flags"] <= 1) & (orders["top"] <= 1)
    yield (external == 0) | ((orders["owner"] == 0) & (display == 0) & (orders["top"] == 0))


def _of_waiting(stops: np.ndarray, state: dict[str, Any]) -> Iterator[np.ndarray]:
    yield (stops["type"] >= 2) & (stops["type"] <= 3) & (stops["tif"] <= 3) & (stops["flags"] <= 3)
    yield (stops["type"] == 3) | (stops["tif"] < 3)
    for on_mark, now in ((0, state["last"]), (2, state["mark"])):
        if now is not None:
            waits = np.where(stops["side"] == 1, stops["stop_price"] > now, stops["stop_price"] < now)
            yield (stops["flags"] & 2 != on_mark) | waits


def _of_owners(owners: np.ndarray) -> Iterator[np.ndarray]:
    yield (owners["owner"] > 0) & (owners["lmm_percent"] >= 0) & (owners["lmm_percent"] <= 100)
    # A trade moves a position by at most 2**62: beyond this no book comes.
    yield (owners["position_high"] >= -(2**61)) & (owners["position_high"] < 2**61)


def _top_plausible(state: dict[str, Any]) -> bool:
    """A TOP order is its side's first one, with at most `top_max` left to get."""
    orders, matching = state["orders"], state["matching"]
    rows = np.flatnonzero(orders["top"])
    first = (rows == 0) | (orders["side"][rows] != orders["side"][rows - 1])
    return (
        bool(first.all())
        and (rows.size == 0 or "top" in matching.steps)
        and all(0 <= left <= matching.top_max for left in state["top_left"])
    )


def load_order(state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `orders` in the order in which to place them (oldest first within a price), and, counting stops
    on from the orders, the rows with an owner, each owner's oldest first."""
    orders, stops = state["orders"], state["stops"]
    owner = np.concatenate([orders["owner"], stops["owner"]])
    rank = np.concatenate([orders["owner_rank"], stops["owner_rank"]])
    owned = np.flatnonzero(owner)
    owned = owned[np.lexsort((rank[owned], owner[owned]))]
    return np.arange(orders.size), owned
