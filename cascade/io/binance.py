"""Binance: diff-depth updates with their sequence ids, best bid/ask, trades; streams and dumps."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cascade._badrows import Where, show
from cascade._columns import read_column
from cascade.errors import InputError, InputTypeError
from cascade.instruments import Instrument
from cascade.io import _build
from cascade.io._build import check_gaps, from_first_snapshot, gap_table
from cascade.io._source import (
    Choice,
    Kind,
    Pick,
    Steps,
    column_names,
    is_path,
    open_bytes,
    prices,
    quantities,
    read,
    read_steps,
    units,
)
from cascade.io._updates import MessageKind, Updates
from cascade.tables import Table

_DEPTH, _TRADE, _QUOTE, _SNAPSHOT, _OTHER_TRADE = 1, 2, 3, 4, 5
"""The column `kind` of recorded events."""
_EXCHANGE_TIME = Steps(Fraction(1, 10**6), "nanosecond")
"""Milliseconds; -1 or 0 where there is none, which `_known` makes -1."""
_ID = Steps()
_MAKER_SIDES = {"true": -1, "True": -1, "TRUE": -1, "false": 1, "False": 1, "FALSE": 1}
_TRADE_COLUMNS = {
    6: ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker"),
    7: ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"),
    "agg 7": ("id", "price", "qty", "first_id", "last_id", "time", "is_buyer_maker"),
    8: ("id", "price", "qty", "first_id", "last_id", "time", "is_buyer_maker", "is_best_match"),
}
_SAME = {
    "agg_trade_id": "id", "trade_id": "id", "quantity": "qty", "transact_time": "time", "timestamp": "time",
    "isBuyerMaker": "is_buyer_maker", "transaction_time": "time",
}  # fmt: skip
"""Other names that these columns go by."""


def read_binance_depth(
    source: Any,
    instrument: Instrument | None = None,
    *,
    messages: Any = None,
    snapshot: Any = None,
    tick_size: Any = None,
    lot_size: Any = None,
    on_gap: str = "raise",
    incomplete: bool = False,
) -> Updates:
    """Read diff-depth updates of a Binance market (spot, USD-M or COIN-M).

    Parameters
    ----------
    source : path, iterable of dict, or table
        JSON lines as the stream `<symbol>@depth` sends them, plain or in the {"stream", "data"} form of
        combined streams, each optionally after the time of arrival in nanoseconds and a blank; also gzip or
        zip. Order books as the REST call `depth` returns them (lastUpdateId, bids, asks) are snapshots. Other
        messages are passed over. An iterable gives the same as dicts. A table, or a CSV or Parquet file, has
        one row a level: msg, local_ns, exch_ms, kind (1 update, 4 snapshot; others are passed over), side (1,
        -1), price, qty.
    instrument : Instrument, optional
        Its tick and lot are the units; or give both sizes.
    messages : path or table, optional
        The messages of a source that is a table: type (depth, snapshot), msg, local_ns, exch_ms, U, u, pu (-1
        on spot). Without it nothing is known of sequence ids.
    snapshot : path, dict, optional
        A REST order book to begin with, where the stream has none.
    tick_size, lot_size : str, Decimal, int or float
        Units of the result.
    on_gap : {"raise", "keep"}
        What to do where the sequence is broken; kept gaps are in `Updates.gaps`.
    incomplete : bool
        Whether to go on where there is no snapshot at all.

    Returns
    -------
    Updates
        time_ns is the transaction time T, else the event time E, else that of the next message.

    Raises
    ------
    InputError
        With table, column, row, value and rule: no number, not whole ticks or lots; a gap; no snapshot; a
        line that is no JSON.

    Notes
    -----
    After Binance's pages "How to manage a local order book correctly" (developers.binance.com, one for each
    market). A snapshot of id L stands before the first event with u >= L on futures and u > L on spot,
    whenever it arrived; events before the first snapshot are dropped. That first event must have U <= L on
    futures and U <= L + 1 on spot; every other one must have pu = u of the event before on futures, and U = u
    of the event before + 1 on spot. Events on futures are those with pu.

    A snapshot has at most 1,000 to 5,000 levels a side: beyond it only levels that an event names are known.

    Examples
    --------
    >>> import cascade as cs
    >>> stream = [
    ...     {"lastUpdateId": 10, "bids": [["99.5", "3"]], "asks": [["100.5", "2"]]},
    ...     {"e": "depthUpdate", "E": 1723161256300, "T": 1723161256298, "U": 8, "u": 12, "pu": 7,
    ...      "b": [["100.0", "1"]], "a": []},
    ... ]
    >>> updates = cs.io.read_binance_depth(stream, tick_size="0.5", lot_size="0.001")
    >>> updates.best["bid"], updates.messages["last_id"]
    (array([199, 200]), array([10, 12]))
    """
    tick, lot = units(instrument, tick_size, lot_size)
    if on_gap not in ("raise", "keep"):
        raise InputError(f"on_gap = {on_gap!r}: must be 'raise' or 'keep'")
    if (events := _events(source)) is not None:
        if messages is not None:
            raise InputError("messages: only for a source that is a table")
        parts = _depth_of_json(events, snapshot, tick, lot)
    else:
        if snapshot is not None:
            raise InputError("snapshot: only for a source of JSON; a table has rows of kind 4")
        parts = _depth_of_table(source, messages, tick, lot)
    return _in_sequence(parts, on_gap, incomplete)


def read_binance_quotes(
    source: Any, instrument: Instrument | None = None, *, tick_size: Any = None, lot_size: Any = None
) -> Table:
    """Read best bids and asks of a Binance market.

    Parameters
    ----------
    source : path, iterable of dict, table, or list of paths or tables
        JSON lines of the stream `<symbol>@bookTicker`, as in `read_binance_depth`; a dump of
        data.binance.vision (update_id, best_bid_price, best_bid_qty, best_ask_price, best_ask_qty,
        transaction_time); or a table of events as in `read_binance_depth`, whose rows of kind 3 come in
        pairs, bid first.
    instrument, tick_size, lot_size
        As `read_binance_depth`.

    Returns
    -------
    Table
        time_ns, local_ns, id (-1 where there is none), bid, bid_quantity, ask, ask_quantity.

    Raises
    ------
    InputError
        As `read_binance_depth`; a bid without its ask.
    """
    tick, lot = units(instrument, tick_size, lot_size)
    if (events := _events(source)) is not None:
        ours = [(local, e) for local, e in events if e.keys() >= {"u", "b", "B", "a", "A"}]
        only = [e for _, e in ours]
        price, quantity = prices(tick), quantities(lot)
        return _quotes(
            _times(only, "quotes"), [local for local, _ in ours], _numbers(only, "u", "quotes"),
            _numbers(only, "b", "quotes", price), _numbers(only, "B", "quotes", quantity),
            _numbers(only, "a", "quotes", price), _numbers(only, "A", "quotes", quantity),
        )  # fmt: skip
    if "kind" in column_names(source, "events"):
        raw = read(source, "events", _event_spec((_QUOTE,), tick, lot))
        side = raw["side"]
        if len(side) % 2 or (side[::2] != 1).any() or (side[1::2] != -1).any():
            raise InputError("events: rows of kind 3 must come in pairs, bid first")
        return _quotes(
            _known(raw["exch_ms"][::2]), raw["local_ns"][::2], None,
            raw["price"][::2], raw["qty"][::2], raw["price"][1::2], raw["qty"][1::2],
        )  # fmt: skip
    raw = read(
        source,
        "quotes",
        {
            "update_id": Steps(),
            "best_bid_price": prices(tick),
            "best_bid_qty": quantities(lot),
            "best_ask_price": prices(tick),
            "best_ask_qty": quantities(lot),
            "transaction_time": Steps(lowest=0),
        },
    )
    return _quotes(
        _nanoseconds(raw["transaction_time"]), None, raw["update_id"],
        raw["best_bid_price"], raw["best_bid_qty"], raw["best_ask_price"], raw["best_ask_qty"],
    )  # fmt: skip


def read_binance_trades(
    source: Any,
    instrument: Instrument | None = None,
    *,
    tick_size: Any = None,
    lot_size: Any = None,
    non_market: bool = False,
) -> Table:
    """Read trades of a Binance market.

    Parameters
    ----------
    source : path, iterable of dict, table, or list of paths or tables
        A dump of data.binance.vision, `trades` or `aggTrades`, of any of the three markets, with or without a
        header, CSV or zip; JSON lines of the streams `<symbol>@trade` and `@aggTrade`, as in
        `read_binance_depth`; or a table of events as there, whose rows of kind 2 are trades, and those of
        kind 5 trades outside the market.
    instrument, tick_size, lot_size
        As `read_binance_depth`.
    non_market : bool
        Whether to take trades outside the market too: kind 5, or a field X of a stream that is not MARKET
        (insurance fund, deleveraging).

    Returns
    -------
    Table
        time_ns, local_ns (-1 where it is not given), side (of the taker: 1 buy, -1 sell), price (ticks),
        quantity (lots), id (-1 where there is none).

    Raises
    ------
    InputError
        As `read_binance_depth`.

    Notes
    -----
    Columns after https://github.com/binance/binance-public-data ; without a header they are told by their
    number, and `trades` of spot from `aggTrades` of futures, both of 7, by whether the sixth is a number.
    Times are milliseconds, or microseconds (spot since 2025-01-01), told by their size. Where the buyer is
    the maker, the taker sold.

    Examples
    --------
    >>> import cascade as cs
    >>> trades = cs.io.read_binance_trades(
    ...     {"id": [1], "price": ["61628.1"], "qty": ["0.25"], "time": [1723161256298],
    ...      "is_buyer_maker": [True]}, tick_size="0.1", lot_size="0.001")
    >>> trades[["time_ns", "side", "price", "quantity"]]
    Table: 1 row x 4 columns
                   time_ns  side   price  quantity
                     int64  int8   int64     int64
    0  1723161256298000000    -1  616281       250
    """
    tick, lot = units(instrument, tick_size, lot_size)
    if (events := _events(source)) is not None:
        ours = [
            (local, e) for local, e in events
            if e.get("e") in ("trade", "aggTrade") and (non_market or e.get("X", "MARKET") == "MARKET")
        ]  # fmt: skip
        only = [e for _, e in ours]
        return _build.trades(
            _times(only, "trades"), [local for local, _ in ours],
            np.where(_values(only, "m", "trades"), -1, 1).astype(np.int8),
            _numbers(only, "p", "trades", prices(tick)), _numbers(only, "q", "trades", quantities(lot)),
            _numbers([e if "t" in e else {"t": e.get("a")} for e in only], "t", "trades"),
        )  # fmt: skip
    if isinstance(source, list | tuple) and source:
        parts = [
            read_binance_trades(part, tick_size=tick, lot_size=lot, non_market=non_market) for part in source
        ]
        return Table({column: np.concatenate([part[column] for part in parts]) for column in parts[0]})
    names = column_names(source, "trades")
    if "kind" in names:
        kinds = (_TRADE, _OTHER_TRADE) if non_market else (_TRADE,)
        raw = read(source, "events", _event_spec(kinds, tick, lot))
        time_ns = _known(raw["exch_ms"])
        return _build.trades(time_ns, raw["local_ns"], raw["side"], raw["price"], raw["qty"], None)
    spec: dict[str, Kind] = {
        "id": Steps(required=False),
        "price": prices(tick),
        "qty": quantities(lot),
        "time": Steps(lowest=0),
        "is_buyer_maker": Choice(_MAKER_SIDES),
    }
    theirs = {_SAME.get(name, name): name for name in names}
    renamed = {theirs.get(column, column): kind for column, kind in spec.items()}
    if is_path(source) and Path(source).suffix.lower() not in (".parquet", ".pq"):
        raw = read(source, "trades", spec, _trade_names)
    else:
        raw = {_SAME.get(c, c): values for c, values in read(source, "trades", renamed).items()}
    return _build.trades(
        _nanoseconds(raw["time"]), None, raw["is_buyer_maker"], raw["price"], raw["qty"], raw["id"]
    )


def _trade_names(fields: list[str]) -> tuple[list[str], bool]:
    """The columns of a dump, from its header or from how many there are."""
    if not fields[0].isdigit():
        return [_SAME.get(name, name) for name in fields], True
    key: Any = len(fields)
    if key == 7 and fields[5].isdigit():
        key = "agg 7"
    if key not in _TRADE_COLUMNS:
        raise InputError(f"trades: {key} columns without a header: must be 6 to 8")
    return list(_TRADE_COLUMNS[key]), False


def _nanoseconds(time: np.ndarray) -> np.ndarray:
    """Milliseconds, or microseconds where they are so large, as nanoseconds."""
    return time * np.where(time >= 10**14, 1_000, 1_000_000)


def _known(time: np.ndarray) -> np.ndarray:
    """-1 for times that are not given."""
    return np.where(time > 0, time, -1)


def _quotes(time_ns: Any, local_ns: Any, ids: Any, *columns: np.ndarray) -> Table:
    unknown = np.full(len(columns[0]), -1)
    names = ("bid", "bid_quantity", "ask", "ask_quantity")
    return Table(
        {
            "time_ns": unknown if time_ns is None else np.array(time_ns, np.int64),
            "local_ns": unknown if local_ns is None else np.array(local_ns, np.int64),
            "id": unknown if ids is None else np.array(ids, np.int64),
            **dict(zip(names, columns, strict=True)),
        }
    )


# Tables of events


def _event_spec(kinds: tuple[int, ...], tick: Fraction, lot: Fraction) -> dict[str, Any]:
    return {
        "kind": Pick(kinds),
        "local_ns": Steps(),
        "exch_ms": _EXCHANGE_TIME,
        "side": Choice({"bid": 1, "ask": -1}),
        "price": prices(tick),
        "qty": quantities(lot),
    }


class _Parts:
    """Messages in order of arrival, snapshots among them, before they are put in sequence."""

    def __init__(
        self, time_ns: Any, local_ns: Any, snapshot: Any, first: Any, last: Any, before: Any,
        count: Any, side: np.ndarray, price: np.ndarray, quantity: np.ndarray,
    ) -> None:  # fmt: skip
        self.time_ns, self.local_ns = np.array(time_ns, np.int64), np.array(local_ns, np.int64)
        self.snapshot = np.array(snapshot, np.bool_)
        self.first, self.last, self.before = (np.array(ids, np.int64) for ids in (first, last, before))
        self.count = np.array(count, np.int64)
        self.side, self.price, self.quantity = side, price, quantity


def _depth_of_table(source: Any, messages: Any, tick: Fraction, lot: Fraction) -> _Parts:
    raw = read(source, "events", {"msg": Steps(), **_event_spec((_DEPTH, _SNAPSHOT), tick, lot)})
    msg = raw["msg"]
    where = Where("events", "msg")
    where.refuse(np.diff(msg, prepend=msg[:1]) < 0, msg, "must not fall")
    begin = _build.runs(msg)
    if messages is None:
        unknown = np.full(len(begin), -1)
        return _Parts(
            raw["exch_ms"][begin], raw["local_ns"][begin], raw["kind"][begin] == _SNAPSHOT, unknown, unknown,
            unknown, np.diff(np.append(begin, len(msg))), raw["side"], raw["price"], raw["qty"],
        )  # fmt: skip
    names = ("msg", "local_ns", "U", "u", "pu")
    spec: dict[str, Kind] = {name: Steps(required=name != "pu") for name in names}
    known = read(
        messages,
        "messages",
        {"type": Choice({"depth": 0, "snapshot": 1}), "exch_ms": _EXCHANGE_TIME, **spec},
    )
    place = Where("messages", "msg")
    place.refuse(np.diff(known["msg"], prepend=known["msg"][:1] - 1) <= 0, known["msg"], "must rise")
    at = np.searchsorted(known["msg"], msg[begin])
    found = np.append(known["msg"], -1)[at] == msg[begin]
    Where("events", "msg", begin).refuse(~found, msg[begin], "must be one of the messages")
    count = np.zeros(len(known["msg"]), np.int64)
    count[at] = np.diff(np.append(begin, len(msg)))
    before = np.full(len(count), -1) if known["pu"] is None else known["pu"]
    return _Parts(
        known["exch_ms"], known["local_ns"], known["type"] == 1, known["U"], known["u"], before, count,
        raw["side"], raw["price"], raw["qty"],
    )  # fmt: skip


# JSON


def _events(source: Any) -> list[tuple[int, dict[str, Any]]] | None:
    """(time of arrival or -1, event) of a source of JSON; None if it is something else."""
    if is_path(source):
        path = Path(source)
        if path.suffix.lower() in (".parquet", ".pq"):
            return None
        with open_bytes(path) as file:
            if b"{" not in file.readline():
                return None
        with open_bytes(path) as file:
            return [event for k, line in enumerate(file) if (event := _event(line, path, k + 1))]
    if isinstance(source, Mapping | np.ndarray) or not isinstance(source, Iterable):
        return None
    if hasattr(source, "columns") or hasattr(source, "schema"):
        return None
    elements = list(source)
    if not elements or not all(isinstance(e, Mapping) for e in elements):
        return None
    if not any(key in elements[0] for key in ("e", "b", "data", "lastUpdateId")):
        return None
    return [(-1, dict(e.get("data", e))) for e in elements]


def _event(line: bytes, path: Path, number: int) -> tuple[int, dict[str, Any]] | None:
    text, local = line.strip(), -1
    try:
        if text[:1].isdigit():
            arrival, _, text = text.partition(b" ")
            local = int(arrival)
        if not text:
            return None
        event = json.loads(text, parse_float=str)
    except ValueError:
        start = show(line[:40].decode("latin-1"))
        raise InputError(f"{path}, line {number}: {start}: must be JSON") from None
    if isinstance(event, dict):
        event = event.get("data", event)
    if not isinstance(event, dict):
        raise InputError(f"{path}, line {number}: must be a JSON object")
    return local, event


def _values(events: list[dict[str, Any]], key: str, table: str) -> list[Any]:
    """One field of all events."""
    try:
        return [e[key] for e in events]
    except KeyError:
        raise InputError(f"{table}: an event without {key!r}") from None


def _steps(values: list[Any], kind: Steps, where: Where) -> np.ndarray:
    """Numbers of JSON, written as text or not, as steps."""
    return read_steps(read_column(values, where.table, where.column)[0], kind, where)


def _numbers(events: list[dict[str, Any]], key: str, table: str, kind: Steps = _ID) -> np.ndarray:
    """A field of all events, as steps."""
    return _steps(_values(events, key, table), kind, Where(table, key))


def _times(events: list[dict[str, Any]], table: str) -> np.ndarray:
    """T, else E, in nanoseconds; -1 without either."""
    times = _steps([e.get("T") or e.get("E") or -1 for e in events], _ID, Where(table, "T"))
    return np.where(times < 0, -1, _nanoseconds(times))


def _depth_of_json(
    events: list[tuple[int, dict[str, Any]]], snapshot: Any, tick: Fraction, lot: Fraction
) -> _Parts:
    if snapshot is not None:
        first = _rest_book(snapshot)
        events = [(-1, first), *events]
    ours = [(t, e) for t, e in events if e.get("e") == "depthUpdate" or "lastUpdateId" in e]
    only = [e for _, e in ours]
    is_snapshot = ["lastUpdateId" in e for e in only]
    named = [
        {"b": e.get("bids"), "a": e.get("asks"), "U": e["lastUpdateId"], "u": e["lastUpdateId"]} if s else e
        for e, s in zip(only, is_snapshot, strict=True)
    ]
    both = list(zip(_values(named, "b", "depth"), _values(named, "a", "depth"), strict=True))
    chain = itertools.chain.from_iterable
    try:
        levels = list(chain(chain(both)))
        price, quantity = [level[0] for level in levels], [level[1] for level in levels]
    except (TypeError, IndexError, KeyError):
        raise InputError("depth: a level that is no list of price and quantity") from None
    bids = np.array([len(b) for b, _ in both], np.int64)
    asks = np.array([len(a) for _, a in both], np.int64)
    side = np.repeat(np.tile(np.array([1, -1], np.int8), len(both)), np.stack([bids, asks], axis=1).ravel())
    before = _steps([e.get("pu", -1) for e in only], _ID, Where("depth", "pu"))
    return _Parts(
        _times(only, "depth"), [t for t, _ in ours], is_snapshot, _numbers(named, "U", "depth"),
        _numbers(named, "u", "depth"), before, bids + asks, side,
        _steps(price, prices(tick), Where("depth", "price")),
        _steps(quantity, quantities(lot), Where("depth", "quantity")),
    )  # fmt: skip


def _rest_book(snapshot: Any) -> dict[str, Any]:
    if isinstance(snapshot, Mapping):
        book = dict(snapshot)
    elif is_path(snapshot):
        path = Path(snapshot)
        with open_bytes(path) as file:
            try:
                book = json.loads(file.read(), parse_float=str)
            except ValueError:
                raise InputError(f"{path}: must be JSON") from None
    else:
        raise InputTypeError(f"snapshot: a {type(snapshot).__name__}: must be a path or a dict")
    if not isinstance(book, dict) or not {"lastUpdateId", "bids", "asks"} <= book.keys():
        raise InputError("snapshot: must have lastUpdateId, bids and asks")
    return book


# Sequence


def _in_sequence(parts: _Parts, on_gap: str, incomplete: bool) -> Updates:
    """Put snapshots where their ids say, drop what comes before the first, and check the chain of ids."""
    snapshot, last = parts.snapshot, parts.last
    num = len(snapshot)
    if not num:
        raise InputError("depth: no updates")
    diffs = np.flatnonzero(~snapshot)
    futures = bool((parts.before[diffs] >= 0).any())
    key = np.arange(num, dtype=np.float64)
    if last.min() >= 0 and diffs.size:
        reached = np.maximum.accumulate(last[diffs])
        at = np.searchsorted(reached, last[snapshot], "left" if futures else "right")
        key[snapshot] = np.append(diffs, num)[at] - 0.5
    order = np.argsort(key, kind="stable")
    # Rows follow their messages.
    begin = np.concatenate([[0], np.cumsum(parts.count)])
    count = parts.count[order]
    first_row = np.concatenate([[0], np.cumsum(count)])
    rows = np.arange(first_row[-1]) + np.repeat(begin[:-1][order] - first_row[:-1], count)
    snapshot, first, last = snapshot[order], parts.first[order], last[order]
    time_ns = _following(parts.time_ns[order])
    updates = Updates(
        time_ns=time_ns,
        local_ns=parts.local_ns[order],
        kind=np.where(snapshot, MessageKind.SNAPSHOT, MessageKind.UPDATE).astype(np.int8),
        first_row=first_row,
        side=parts.side[rows],
        price=parts.price[rows],
        quantity=parts.quantity[rows],
        first_id=first,
        last_id=last,
    )
    if not incomplete:
        updates = from_first_snapshot(updates, "depth")
    gaps = _gaps(updates, parts.before[order][updates.dropped :], futures)
    check_gaps(gaps, on_gap, "depth")
    object.__setattr__(updates, "gaps", gaps)
    return updates


def _following(times: np.ndarray) -> np.ndarray:
    """Unknown times (-1) as the next known one, else the one before."""
    known = np.flatnonzero(times > 0)
    if not known.size:
        return np.full(len(times), -1)
    at = np.searchsorted(known, np.arange(len(times)))
    return times[known[np.minimum(at, len(known) - 1)]]


def _gaps(updates: Updates, before: np.ndarray, futures: bool) -> Table:
    first, last = updates.first_id, updates.last_id
    if not len(last) or last.min() < 0:
        return updates.gaps
    diff = np.flatnonzero(updates.kind[1:] == MessageKind.UPDATE) + 1
    previous, after_snapshot = last[diff - 1], updates.kind[diff - 1] == MessageKind.SNAPSHOT
    found = before[diff] if futures else first[diff]
    expected = previous if futures else previous + 1
    good = found == expected
    good |= after_snapshot & (first[diff] <= expected) & (last[diff] >= previous)
    return gap_table(diff[~good], expected[~good], found[~good])
