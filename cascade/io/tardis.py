"""Tardis.dev CSV datasets: incremental_book_L2, book_snapshot_5 and _25, trades."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np

from cascade.errors import InputError
from cascade.instruments import Instrument
from cascade.io._build import BUY_SELL, from_first_snapshot, runs, trades
from cascade.io._source import Choice, Kind, Label, Steps, column_names, prices, quantities, read, units
from cascade.io._updates import MessageKind, Updates
from cascade.tables import Table

MICROSECONDS = Steps(Fraction(1, 1000), "nanosecond", lowest=0)
_BOOLS = {"true": 1, "false": 0}
_LEVEL = re.compile(r"(asks|bids)\[(\d+)\]\.(price|amount)")


def read_tardis_book(
    source: Any,
    instrument: Instrument | None = None,
    *,
    tick_size: Any = None,
    lot_size: Any = None,
    symbol: str | None = None,
    incomplete: bool = False,
) -> Updates:
    """Read incremental order book updates, Tardis' `incremental_book_L2`.

    Parameters
    ----------
    source : path, table, or list of these
        CSV, also gzip, or any table, with the columns timestamp, local_timestamp (microseconds since the
        epoch), is_snapshot (true, false), side (bid, ask), price, amount (absolute; 0 removes the level), and
        symbol where `symbol` is given. exchange is not read.
    instrument : Instrument, optional
        Its tick and lot are the units; or give both sizes.
    tick_size, lot_size : str, Decimal, int or float
        Units of the result.
    symbol : str, optional
        The rows to take; without it the source must have one symbol only.
    incomplete : bool
        Whether to go on where there is no snapshot at all.

    Returns
    -------
    Updates
        Rows in a row with equal local_timestamp and is_snapshot are one message. The first message of a run
        of snapshot rows is a SNAPSHOT. Messages before the first one are dropped and counted.

    Raises
    ------
    InputError
        With file, column, row, value and rule: no number, not whole ticks or lots, an unknown word, a missing
        or several symbols, no snapshot.

    Notes
    -----
    See https://docs.tardis.dev/downloadable-csv-files/data-types#incremental_book_l2 : rows of
    one local_timestamp belong to one message of the exchange, updates before the first snapshot are to be
    skipped, and a snapshot after what was none discards the book.

    Examples
    --------
    >>> import cascade as cs
    >>> updates = cs.io.read_tardis_book(
    ...     {"symbol": ["BTC"] * 3, "timestamp": [1000, 1000, 2000], "local_timestamp": [1500, 1500, 2600],
    ...      "is_snapshot": [True, True, False], "side": ["bid", "ask", "ask"], "price": [99.5, 100.5, 100.0],
    ...      "amount": [1.0, 2.0, 0.5]}, tick_size="0.5", lot_size="0.1")
    >>> updates
    Updates(1 update, 1 snapshot, 3 rows)
    >>> updates.best["ask"]
    array([201, 200])
    """
    tick, lot = units(instrument, tick_size, lot_size)
    spec: dict[str, Kind] = {
        "symbol": Label(symbol, required=symbol is not None),
        "timestamp": MICROSECONDS,
        "local_timestamp": MICROSECONDS,
        "is_snapshot": Choice({**_BOOLS, "True": 1, "False": 0}),
        "side": Choice({"bid": 1, "ask": -1}),
        "price": prices(tick),
        "amount": quantities(lot),
    }
    raw = read(source, "book", spec)
    begin = runs(raw["local_timestamp"], raw["is_snapshot"])
    snapshot = raw["is_snapshot"][begin] == 1
    opens = snapshot.copy()
    opens[1:] &= ~snapshot[:-1]
    updates = Updates(
        time_ns=raw["timestamp"][begin],
        local_ns=raw["local_timestamp"][begin],
        kind=np.where(opens, MessageKind.SNAPSHOT, MessageKind.UPDATE).astype(np.int8),
        first_row=np.append(begin, len(raw["side"])),
        side=raw["side"],
        price=raw["price"],
        quantity=raw["amount"],
        first_id=np.full(len(begin), -1),
        last_id=np.full(len(begin), -1),
    )
    return updates if incomplete else from_first_snapshot(updates, "book")


def read_tardis_snapshots(
    source: Any,
    instrument: Instrument | None = None,
    *,
    tick_size: Any = None,
    lot_size: Any = None,
    symbol: str | None = None,
) -> Updates:
    """Read snapshots of the best levels, Tardis' `book_snapshot_5` and `book_snapshot_25`.

    Parameters
    ----------
    source : path, table, or list of these
        With the columns timestamp, local_timestamp, and asks[k].price, asks[k].amount, bids[k].price,
        bids[k].amount for k from 0, as many as there are. Levels that do not exist are empty.
    instrument, tick_size, lot_size, symbol
        As `read_tardis_book`.

    Returns
    -------
    Updates
        Every row is a SNAPSHOT. Beyond the last level depth is unknown, not zero.

    Raises
    ------
    InputError
        As `read_tardis_book`; no level columns.

    Notes
    -----
    https://docs.tardis.dev/downloadable-csv-files/data-types#book_snapshot_25
    """
    tick, lot = units(instrument, tick_size, lot_size)
    depth = _depth(source)
    spec: dict[str, Kind] = {
        "symbol": Label(symbol, required=symbol is not None),
        "timestamp": MICROSECONDS,
        "local_timestamp": MICROSECONDS,
    }
    levels = [(s, f"{name}[{k}]") for s, name in ((1, "bids"), (-1, "asks")) for k in range(depth)]
    for _, level in levels:
        spec[f"{level}.price"] = prices(tick, missing=0)
        spec[f"{level}.amount"] = quantities(lot, missing=0)
    raw = read(source, "snapshots", spec)
    num_rows = len(raw["timestamp"])
    price, quantity = (
        np.stack([raw[f"{level}.{part}"] for _, level in levels], axis=1).ravel()
        for part in ("price", "amount")
    )
    side = np.tile(np.array([s for s, _ in levels], np.int8), num_rows)
    message = np.repeat(np.arange(num_rows), len(levels))
    there = quantity > 0
    return Updates(
        time_ns=raw["timestamp"],
        local_ns=raw["local_timestamp"],
        kind=np.full(num_rows, MessageKind.SNAPSHOT, np.int8),
        first_row=np.searchsorted(message[there], np.arange(num_rows + 1)),
        side=side[there],
        price=price[there],
        quantity=quantity[there],
        first_id=np.full(num_rows, -1),
        last_id=np.full(num_rows, -1),
    )


def read_tardis_trades(
    source: Any,
    instrument: Instrument | None = None,
    *,
    tick_size: Any = None,
    lot_size: Any = None,
    symbol: str | None = None,
) -> Table:
    """Read trades, Tardis' `trades`.

    Parameters
    ----------
    source : path, table, or list of these
        With the columns timestamp, local_timestamp, side (buy, sell, unknown: the taker's), price, amount.
    instrument, tick_size, lot_size, symbol
        As `read_tardis_book`.

    Returns
    -------
    Table
        time_ns, local_ns, side (1 buy, -1 sell, 0 unknown: the taker's), price (ticks), quantity (lots), id
        (-1: Tardis' ids are text and not read).

    Raises
    ------
    InputError
        As `read_tardis_book`.

    Notes
    -----
    https://docs.tardis.dev/downloadable-csv-files/data-types#trades
    """
    tick, lot = units(instrument, tick_size, lot_size)
    spec: dict[str, Kind] = {
        "symbol": Label(symbol, required=symbol is not None),
        "timestamp": MICROSECONDS,
        "local_timestamp": MICROSECONDS,
        "side": Choice({**BUY_SELL, "unknown": 0}),
        "price": prices(tick),
        "amount": quantities(lot),
    }
    raw = read(source, "trades", spec)
    return trades(raw["timestamp"], raw["local_timestamp"], raw["side"], raw["price"], raw["amount"], None)


def _depth(source: Any) -> int:
    """How many levels a side the columns name."""
    found = map(_LEVEL.fullmatch, column_names(source, "snapshots"))
    seen = [int(match[2]) for match in found if match]
    if not seen:
        raise InputError("snapshots: no column asks[0].price: must have levels")
    return max(seen) + 1
