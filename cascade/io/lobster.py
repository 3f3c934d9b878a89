"""LOBSTER message and order book files (NASDAQ, reconstructed from ITCH by lobsterdata.com)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from cascade._badrows import Where
from cascade._core import OrderBook
from cascade.errors import InputError
from cascade.instruments import positive
from cascade.io._build import trades
from cascade.io._source import Steps, column_names, is_path, read
from cascade.io._updates import MessageKind, Updates
from cascade.records import ORDER_DTYPE, Action, OrderType, Side, TimeInForce
from cascade.tables import Table

_SUBMIT, _REDUCE, _DELETE, _EXECUTE, _HIDDEN, _CROSS, _HALT = range(1, 8)
_COLUMNS = ("time", "type", "order_id", "size", "price", "direction")
_TAKER_IDS = 2**63
_EMPTY = 9_999_999_999
"""Price of a level that does not exist: this for asks, minus this for bids; their size is 0."""


@dataclass(frozen=True, eq=False)
class Lobster:
    """A LOBSTER message file as messages of an `OrderBook`.

    Parameters
    ----------
    orders : numpy.ndarray of ORDER_DTYPE, shape (k,)
        What drives the book, in order.
    row : numpy.ndarray of int64, shape (k,)
        Row of the message file behind each of them.
    time_ns : numpy.ndarray of int64, shape (m,)
        Nanoseconds since midnight (exchange time), of every row of the file.
    opening : Table
        Orders that stood before the first message, as far as the files tell: order_id (0 for what has none),
        side, price, quantity.
    trades : Table
        Executions of visible and hidden orders: as `read_tardis_trades`, side of the taker; id is the order
        that was hit, 0 if hidden.
    halts : Table
        time_ns and state: -1 trading stops, 0 quoting resumes, 1 trading resumes.
    """

    orders: np.ndarray
    row: np.ndarray
    time_ns: np.ndarray
    opening: Table
    trades: Table
    halts: Table

    def opening_book(self) -> OrderBook:
        """A new order book with what stood before the first message.

        Orders with an id come first at their price, lowest id first; what has none is one external level.
        """
        book = OrderBook()
        named = self.opening["order_id"] > 0
        orders = np.zeros(int(named.sum()), ORDER_DTYPE)
        for name in ("order_id", "side", "price", "quantity"):
            orders[name] = self.opening[name][named]
        book.process(orders, reports="none")
        for side in (Side.BUY, Side.SELL):
            mine = ~named & (self.opening["side"] == side)
            book.set_levels(side, self.opening["price"][mine], self.opening["quantity"][mine])
        return book


def read_lobster(
    messages: Any, orderbook: Any = None, *, tick_size: Any = "0.0001", executions: str = "reduce"
) -> Lobster:
    """Read a LOBSTER message file as messages that drive an `OrderBook`.

    Parameters
    ----------
    messages : path or table
        `..._message_N.csv`, no header: time (seconds since midnight, up to nine decimals), type, order_id,
        size, price (dollars times 10,000), direction (1 buy, -1 sell: of the resting order). A table has
        these names.
    orderbook : path or table, optional
        `..._orderbook_N.csv`: its first row tells what stood before the first message.
    tick_size : str, Decimal, int or float
        Dollars a tick of the result; "0.01" for most shares, if all prices of the file are whole cents.
    executions : {"reduce", "take"}
        What an execution of a visible order (type 4) becomes; see Notes.

    Returns
    -------
    Lobster

    Raises
    ------
    InputError
        With file, column, row, value and rule: an unknown type, an order submitted twice, one reduced below
        0, a price that is no whole tick.

    Notes
    -----
    After https://lobsterdata.com/info/DataStructure.php . Each row becomes:

    === ================================== ==================================================================
    1   submission                         NEW, limit, good till cancelled, size as quantity
    2   partial cancellation               MODIFY to what is left: it keeps its place in the queue
    3   deletion                           CANCEL
    4   execution of a visible order       "reduce": MODIFY to what is left, or CANCEL if that is nothing: the
                                           order that LOBSTER names shrinks, whatever its place. "take": a
                                           NEW of the other side at that price, immediate or cancel, with an
                                           id from 2**63: there is a TRADE, the book finds the order itself
    5   execution of a hidden order        nothing; a row of `trades`
    6   cross trade (auction)              nothing
    7   halt, resumption                   nothing; a row of `halts`
    === ================================== ==================================================================

    With "reduce", after the messages of a row the book equals that row of the order book file, as long as
    every level of the file is known: files of N levels have no messages outside them, so a level that comes
    into view later is missing here. With "take" this holds where the named order is the oldest at the best
    price. Orders that were submitted before the file starts are in `opening`, with the lots that the file
    takes off them: a first row of the order book file gives the rest.

    Examples
    --------
    >>> import cascade as cs
    >>> day = cs.io.read_lobster({
    ...     "time": ["34200.1", "34200.2", "34200.3"], "type": [1, 1, 4], "order_id": [11, 12, 11],
    ...     "size": [100, 50, 40], "price": [1_000_000, 1_000_200, 1_000_000], "direction": [1, -1, 1]},
    ...     tick_size="0.01")
    >>> book = day.opening_book()
    >>> _ = book.process(day.orders, reports="none")
    >>> book.level(cs.Side.BUY, 10_000).quantity, day.trades["side"]
    (60, array([-1], dtype=int8))
    """
    if executions not in ("reduce", "take"):
        raise InputError(f"executions = {executions!r}: must be 'reduce' or 'take'")
    tick = _tick(tick_size)
    no_header = (lambda fields: (_COLUMNS, False)) if is_path(messages) else None
    raw = read(
        messages,
        "messages",
        {
            "time": Steps(Fraction(1, 10**9), "nanosecond", lowest=0),
            "type": Steps(lowest=1, highest=7),
            "order_id": Steps(),
            "size": Steps(),
            "price": Steps(),
            "direction": Steps(lowest=-1, highest=1),
        },
        no_header,
    )
    time_ns, kind, ids, size = raw["time"], raw["type"], raw["order_id"], raw["size"]
    acts = np.flatnonzero(kind <= _EXECUTE)
    table = "messages"
    Where(table, "order_id", acts).refuse(ids[acts] <= 0, ids[acts], "must be positive")
    Where(table, "size", acts).refuse(size[acts] <= 0, size[acts], "must be positive")
    priced = np.flatnonzero(kind <= _HIDDEN)
    ticks = np.zeros(len(kind), np.int64)
    ticks[priced] = _to_ticks(raw["price"][priced], tick, Where(table, "price", priced))
    direction = raw["direction"]
    Where(table, "direction", priced).refuse(direction[priced] == 0, direction[priced], "must be 1 or -1")

    left, opening = _left(acts, kind, ids, size, direction, ticks)
    orders = np.zeros(len(acts), ORDER_DTYPE)
    what = kind[acts]
    orders["order_id"] = ids[acts]
    orders["price"], orders["quantity"] = ticks[acts], left
    orders["side"], orders["ts_ns"] = direction[acts], time_ns[acts]
    orders["action"] = np.where(left > 0, Action.MODIFY, Action.CANCEL)
    new = what == _SUBMIT
    orders["action"][new], orders["quantity"][new] = Action.NEW, size[acts][new]
    if executions == "take":
        hit = what == _EXECUTE
        orders["action"][hit] = Action.NEW
        orders["order_id"][hit] = np.uint64(_TAKER_IDS) + np.flatnonzero(hit).astype(np.uint64)
        orders["side"][hit] = -direction[acts][hit]
        orders["quantity"][hit] = size[acts][hit]
        orders["type"][hit], orders["tif"][hit] = OrderType.LIMIT, TimeInForce.IOC
    if orderbook is not None and len(kind):
        opening = _with_levels(opening, orderbook, tick, kind[0], direction[0], ticks[0], size[0])
    done = np.flatnonzero((kind == _EXECUTE) | (kind == _HIDDEN))
    halts = np.flatnonzero(kind == _HALT)
    return Lobster(
        orders=orders,
        row=acts,
        time_ns=time_ns,
        opening=opening,
        trades=trades(
            time_ns[done], None, (-direction[done]).astype(np.int8), ticks[done], size[done],
            np.where(kind[done] == _EXECUTE, ids[done], 0),
        ),
        halts=Table({"time_ns": time_ns[halts], "state": raw["price"][halts]}),
    )  # fmt: skip


def _left(
    acts: np.ndarray, kind: np.ndarray, ids: np.ndarray, size: np.ndarray, direction: np.ndarray,
    ticks: np.ndarray,
) -> tuple[np.ndarray, Table]:  # fmt: skip
    """What is left of its order after each message, and the orders that stood before: sums within each id."""
    order = np.argsort(ids[acts], kind="stable")
    rows = acts[order]
    start = np.ones(len(rows), np.bool_)
    start[1:] = ids[rows[1:]] != ids[rows[:-1]]
    submitted = kind[rows] == _SUBMIT
    Where("messages", "order_id", rows).refuse(submitted & ~start, ids[rows], "must be submitted once")
    taken = np.where(submitted, 0, size[rows])
    group = np.cumsum(start) - 1
    begin = np.flatnonzero(start)
    total = np.add.reduceat(taken, begin) if len(begin) else taken
    first = np.where(submitted[begin], size[rows[begin]], total)
    so_far = np.cumsum(taken)
    left = first[group] - (so_far - (so_far - taken)[begin][group])
    Where("messages", "size", rows).refuse(left < 0, size[rows], "must not be more than the order has left")
    left = np.where(kind[rows] == _DELETE, 0, left)
    result = np.empty_like(left)
    result[order] = left
    old = begin[~submitted[begin]]
    opening = Table(
        {
            "order_id": ids[rows[old]],
            "side": direction[rows[old]],
            "price": ticks[rows[old]],
            "quantity": first[~submitted[begin]],
        }
    )
    return result, opening


def _with_levels(
    opening: Table, orderbook: Any, tick: Fraction, kind: int, direction: int, price: int, size: int
) -> Table:
    """Add what the first row of the order book file shows beyond the known orders, before its message."""
    depth = read_lobster_orderbook(orderbook, tick_size=tick, _rows=1).depth_after(0)
    side, level = depth["side"].copy(), depth["price"].copy()
    quantity = depth["quantity"].copy()
    if kind <= _EXECUTE:  # undo the first message
        side, level = np.append(side, direction), np.append(level, price)
        quantity = np.append(quantity, -size if kind == _SUBMIT else size)
    side, level = np.concatenate([side, opening["side"]]), np.concatenate([level, opening["price"]])
    quantity = np.concatenate([quantity, -opening["quantity"]])
    order = np.lexsort((level, side))
    side, level, quantity = side[order], level[order], quantity[order]
    begin = np.flatnonzero(np.append(True, (np.diff(side) != 0) | (np.diff(level) != 0)))
    rest = np.add.reduceat(quantity, begin)
    shown = rest > 0
    return Table(
        {
            "order_id": np.concatenate([opening["order_id"], np.zeros(shown.sum(), np.int64)]),
            "side": np.concatenate([opening["side"], side[begin][shown]]),
            "price": np.concatenate([opening["price"], level[begin][shown]]),
            "quantity": np.concatenate([opening["quantity"], rest[shown]]),
        }
    )


def read_lobster_orderbook(
    source: Any, times: Any = None, *, tick_size: Any = "0.0001", _rows: int | None = None
) -> Updates:
    """Read a LOBSTER order book file: the best levels after each message.

    Parameters
    ----------
    source : path or table
        `..._orderbook_N.csv`, no header: ask price, ask size, bid price, bid size of level 1, then of level
        2... A table has the names ask_price_1, ask_size_1, bid_price_1, bid_size_1, ...
    times : array of int, shape (m,), optional
        Nanoseconds of each row: `Lobster.time_ns`.
    tick_size : str, Decimal, int or float
        As `read_lobster`.

    Returns
    -------
    Updates
        Every row is a SNAPSHOT. Levels that do not exist (price 9999999999 or -9999999999) are left out;
        beyond the last level depth is unknown.

    Raises
    ------
    InputError
        As `read_lobster`; a number of columns that is no multiple of 4.
    """
    tick = _tick(tick_size)
    if is_path(source):
        num_columns = len(column_names(source, "orderbook"))
    else:
        num_columns = 4 * sum(name.startswith("ask_price_") for name in column_names(source, "orderbook"))
    if not num_columns or num_columns % 4:
        raise InputError(f"orderbook: {num_columns} columns: must be 4 a level")
    parts = ("ask_price", "ask_size", "bid_price", "bid_size")
    names = [f"{part}_{k + 1}" for k in range(num_columns // 4) for part in parts]
    no_header = (lambda fields: (names, False)) if is_path(source) else None
    raw = read(source, "orderbook", {name: Steps() for name in names}, no_header)
    num_rows = len(raw[names[0]]) if _rows is None else min(_rows, len(raw[names[0]]))
    price = np.stack([raw[name][:num_rows] for name in names[::2]], axis=1).ravel()
    quantity = np.stack([raw[name][:num_rows] for name in names[1::2]], axis=1).ravel()
    side = np.tile(np.array([-1, 1], np.int8), num_rows * num_columns // 4)
    message = np.repeat(np.arange(num_rows), num_columns // 2)
    there = np.flatnonzero((quantity > 0) & (np.abs(price) != _EMPTY))
    return Updates.from_rows(
        message=message[there],
        time_ns=np.full(num_rows, -1) if times is None else np.asarray(times)[:num_rows],
        kind=np.full(num_rows, MessageKind.SNAPSHOT),
        side=side[there],
        price=_to_ticks(price[there], tick, Where("orderbook", "price", message[there])),
        quantity=quantity[there],
    )


def _tick(tick_size: Any) -> Fraction:
    return positive(tick_size, "tick_size")


def _to_ticks(price: np.ndarray, tick: Fraction, where: Where) -> np.ndarray:
    """Dollars times 10,000 as ticks."""
    step = tick * 10_000
    rule = f"must be a whole number of ticks of {float(step):g}"
    where.refuse(price * step.denominator % step.numerator != 0, price, rule)
    return price * step.denominator // step.numerator
