"""The bytes of an order book's dump: header, one record an order in canonical order, BLAKE2b-128 over all
before it.

Canonical order is bids first, best price first, oldest first. The header is magic, format version, a zero,
the largest id accepted and the number of records.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np

from cascade.errors import InputError, InputTypeError
from cascade.records import FORMAT_VERSION

RESTING_DTYPE = np.dtype(
    [
        ("order_id", "<u8"), ("price", "<i8"), ("quantity", "<i8"), ("owner", "<i4"), ("owner_rank", "<i4"),
        ("side", "i1"), ("external", "u1"), ("_pad", "V6"),
    ]
)  # fmt: skip
"""A resting order, 40 bytes; owner_rank counts its owner's orders from the oldest, 0 where owner is 0."""

_MAGIC = b"CASCBOOK"
_HEADER = struct.Struct("<8sIIQQ")
_CHECKSUM_BYTES = 16


def _checksum(payload: bytes | memoryview) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECKSUM_BYTES).digest()


def pack(records: np.ndarray, last_id: int) -> bytes:
    """The dump of `records` (RESTING_DTYPE, canonical order)."""
    payload = _HEADER.pack(_MAGIC, FORMAT_VERSION, 0, last_id, records.size) + records.tobytes()
    return payload + _checksum(payload)


def digest(records: np.ndarray) -> str:
    """32 hex digits over the resting orders. The largest id is left out: an order that came and went leaves
    no trace."""
    return _checksum(_HEADER.pack(_MAGIC, FORMAT_VERSION, 0, 0, records.size) + records.tobytes()).hex()


def unpack(blob: Any) -> tuple[np.ndarray, int]:
    """Records and largest id of a dump whose frame and single values are right; raises InputError for any
    other bytes.

    The lengths are compared before anything is allocated.
    """
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise InputTypeError(f"dump: must be bytes, not {type(blob).__name__}")
    blob = bytes(blob)
    if len(blob) < _HEADER.size + _CHECKSUM_BYTES:
        raise InputError(f"dump: {len(blob)} bytes, shorter than an empty book's")
    magic, version, zero, last_id, count = _HEADER.unpack_from(blob)
    if magic != _MAGIC:
        raise InputError("dump: not an order book's")
    if version != FORMAT_VERSION:
        raise InputError(f"dump: format version {version}, this release reads {FORMAT_VERSION}")
    expected = _HEADER.size + count * RESTING_DTYPE.itemsize + _CHECKSUM_BYTES
    if len(blob) != expected:
        raise InputError(f"dump: {len(blob)} bytes, {count} orders take {expected}")
    if _checksum(memoryview(blob)[:-_CHECKSUM_BYTES]) != blob[-_CHECKSUM_BYTES:]:
        raise InputError("dump: the checksum does not match, bytes have changed")
    records = np.frombuffer(blob, RESTING_DTYPE, count, _HEADER.size)
    quantity, external, owner, side = (records[name] for name in ("quantity", "external", "owner", "side"))
    named = records["order_id"][external == 0]
    valid = (
        zero == 0
        and count < 2**31
        and bool(((quantity >= 1) & (quantity <= 2**62)).all())
        and bool(((external <= 1) & (owner >= 0) & (np.abs(side) == 1)).all())
        and np.unique(named).size == named.size
        and (named.size == 0 or int(named.max()) <= last_id)
    )
    if not valid:
        raise InputError("dump: holds what no book can hold")
    return records, last_id


def load_order(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order in which to place them (each side's worst price first, so that every new level is the
    best one; oldest first within a price) and the rows with an owner, each owner's oldest first."""
    rank = np.where(records["side"] == 1, records["price"], ~records["price"])
    owned = np.flatnonzero(records["owner"])
    owned = owned[np.lexsort((records["owner_rank"][owned], records["owner"][owned]))]
    return np.argsort(rank, kind="stable"), owned
