"""BitMEX order books by id: partial, insert, update and delete rows (channel `orderBookL2`)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from cascade._badrows import Where
from cascade.errors import InputError
from cascade.instruments import Instrument
from cascade.io._build import runs
from cascade.io._source import Choice, Label, Steps, prices, quantities, read, units
from cascade.io._updates import MessageKind, Updates

_PARTIAL, _INSERT, _UPDATE, _DELETE = range(4)
_ACTIONS = {"partial": _PARTIAL, "insert": _INSERT, "update": _UPDATE, "delete": _DELETE}
_NO_PRICE = -(2**62)
SECONDS = Steps(Fraction(1, 10**9), "nanosecond", lowest=0)


def read_bitmex_l2(
    source: Any,
    instrument: Instrument | None = None,
    *,
    snapshot: Any = None,
    tick_size: Any = None,
    lot_size: Any = None,
    symbol: str | None = None,
) -> Updates:
    """Read an order book by id, BitMEX' `orderBookL2`.

    Parameters
    ----------
    source : path, table, or list of these
        One row an entry of a message: recv_unix_s (time of arrival, seconds), action (partial, insert,
        update, delete), side (Buy, Sell; or 1, -1), size (contracts; may be missing where deleted), id, price
        (may be missing where an id is known), and symbol where `symbol` is given.
    instrument, tick_size, lot_size, symbol
        As `read_tardis_book`; a lot is a number of contracts.
    snapshot : path, table, or list of these, optional
        Rows of the partial, where they are apart: the same columns without action. They come first.

    Returns
    -------
    Updates
        Rows in a row with equal time and action are one message; a partial is a SNAPSHOT. The venue's time is
        not known (-1). Rows before the first partial are dropped.

    Raises
    ------
    InputError
        As `read_tardis_book`; an update or delete of an id that is not in the book, an id without a price, or
        with another price than before.

    Notes
    -----
    https://www.bitmex.com/app/wsAPI#OrderBookL2 : an id stands for a price of one symbol, and updates and
    deletes may leave the price out. An id that changes sides is deleted from the other one.
    """
    tick, lot = units(instrument, tick_size, lot_size)
    spec: dict[str, Any] = {
        "symbol": Label(symbol, required=symbol is not None),
        "recv_unix_s": SECONDS,
        "side": Choice({"Buy": 1, "Sell": -1}),
        "price": prices(tick, missing=_NO_PRICE, required=False),
        "size": quantities(lot, missing=0, required=False),
        "id": Steps(),
    }
    raw = read(source, "updates", {**spec, "action": Choice(_ACTIONS)})
    for column, missing in (("price", _NO_PRICE), ("size", 0)):
        if raw[column] is None:
            raw[column] = np.full(len(raw["id"]), missing)
    at_snapshot = 0
    if snapshot is not None:
        first = read(snapshot, "snapshot", spec | {"price": prices(tick), "size": quantities(lot)})
        at_snapshot = len(first["id"])
        first["action"] = np.full(at_snapshot, _PARTIAL, np.int8)
        raw = {column: np.concatenate([first[column], raw[column]]) for column in raw}
    partials = np.flatnonzero(raw["action"] == _PARTIAL)
    if not partials.size:
        raise InputError("updates: no partial: without one the book is unknown")
    start = int(partials[0])
    dropped = len(runs(raw["recv_unix_s"][:start], raw["action"][:start]))
    raw = {column: values[start:] for column, values in raw.items()}
    ids, action, side = raw["id"], raw["action"], raw["side"]
    price, size = raw["price"], np.where(action == _DELETE, 0, raw["size"])
    where = Where("updates", "id", np.arange(len(ids)) + start - at_snapshot)

    # Rows of an id, one after the other, between two partials.
    opens = action == _PARTIAL
    begins = opens.copy()
    begins[1:] &= ~opens[:-1] | (raw["recv_unix_s"][1:] != raw["recv_unix_s"][:-1])
    era = np.cumsum(begins)
    order = np.lexsort((np.arange(len(ids)), ids))
    same_id = np.zeros(len(ids), np.bool_)
    same_id[1:] = ids[order[1:]] == ids[order[:-1]]
    before = np.full(len(ids), -1)  # the row before of the same id
    before[order[1:]] = np.where(same_id[1:], order[:-1], -1)
    price = _filled(price, order, same_id)
    where.refuse(price == _NO_PRICE, ids, "must have a price, here or in a row before")
    known = (before >= 0) & (era[before] == era) & (action[before] != _DELETE)
    where.refuse(np.isin(action, (_UPDATE, _DELETE)) & ~known, ids, "must be an id in the book")
    where.refuse((before >= 0) & (price != price[before]), ids, "must keep its price")

    flips = np.flatnonzero(known & (side != side[before]))
    begin = runs(raw["recv_unix_s"], action)
    begin += np.searchsorted(flips, begin, "left")
    columns = {
        name: np.insert(values, flips, extra)
        for name, values, extra in (
            ("side", side, -side[flips]),
            ("price", price, price[flips]),
            ("quantity", size, 0),
        )
    }
    first_row = runs(raw["recv_unix_s"], action)
    unknown = np.full(len(begin), -1)
    return Updates(
        time_ns=unknown.copy(),
        local_ns=raw["recv_unix_s"][first_row],
        kind=np.where(begins[first_row], MessageKind.SNAPSHOT, MessageKind.UPDATE).astype(np.int8),
        first_row=np.append(begin, len(columns["side"])),
        side=columns["side"],
        price=columns["price"],
        quantity=columns["quantity"],
        first_id=unknown.copy(),
        last_id=unknown.copy(),
        dropped=dropped,
    )


def _filled(price: np.ndarray, order: np.ndarray, same_id: np.ndarray) -> np.ndarray:
    """Missing prices from the last row of the same id that has one."""
    sorted_price = price[order]
    group = np.cumsum(~same_id)
    last = np.maximum.accumulate(np.where(sorted_price != _NO_PRICE, np.arange(len(price)), -1))
    usable = (last >= 0) & (group[last] == group)
    result = np.empty_like(price)
    result[order] = np.where(usable, sorted_price[last], _NO_PRICE)
    return result
