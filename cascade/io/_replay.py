"""Driving an order book with recorded updates, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cascade._core import OrderBook
from cascade.errors import InputError, InputTypeError
from cascade.io._updates import Updates
from cascade.tables import Table


@dataclass(frozen=True, eq=False)
class Replay:
    """What `replay` gives.

    Parameters
    ----------
    book : OrderBook
        After the last message.
    best : Table
        time_ns, local_ns, bid, ask after each message, read from the book (ticks; 0 where `has_bid` or
        `has_ask` is False).
    """

    book: OrderBook
    best: Table


def replay(
    updates: Updates, book: OrderBook | None = None, *, start: int = 0, stop: int | None = None
) -> Replay:
    """Set the levels of an order book message by message, and write down its best prices.

    Parameters
    ----------
    updates : Updates
    book : OrderBook, optional
        Without it, a new one. Its other orders stay, and must never be crossed by the updates.
    start, stop : int
        Messages from `start` to `stop` - 1. With `start` > 0 the book is first given the levels after message
        `start` - 1, in one go.

    Returns
    -------
    Replay

    Raises
    ------
    InputError
        The updates would cross orders that are not theirs.

    Notes
    -----
    The best prices alone, of every message at once, are in `updates.best`, without a book and some hundred
    times faster.

    Examples
    --------
    >>> from cascade.io import Updates
    >>> updates = Updates.from_rows(message=[0, 0, 1], time_ns=[5, 7], side=[1, -1, 1], price=[99, 101, 100],
    ...                             quantity=[3, 4, 1])
    >>> replay(updates).best["bid"]
    array([ 99, 100])
    """
    first, last = _span(updates, start, stop)
    bid, ask = np.zeros(last - first, np.int64), np.zeros(last - first, np.int64)
    has_bid, has_ask = np.zeros(last - first, np.bool_), np.zeros(last - first, np.bool_)
    book = OrderBook() if book is None else book
    for k, _ in enumerate(stream(updates, book, start=first, stop=last)):
        best_bid, best_ask = book.best_bid, book.best_ask
        if best_bid is not None:
            bid[k], has_bid[k] = best_bid, True
        if best_ask is not None:
            ask[k], has_ask[k] = best_ask, True
    return Replay(
        book,
        Table(
            {
                "time_ns": updates.time_ns[first:last],
                "local_ns": updates.local_ns[first:last],
                "bid": bid,
                "ask": ask,
                "has_bid": has_bid,
                "has_ask": has_ask,
            }
        ),
    )


def stream(updates: Updates, book: OrderBook, *, start: int = 0, stop: int | None = None) -> Iterator[int]:
    """Apply the messages to a book one at a time: yields the number of each message when it has been applied.

    Parameters and errors as `replay`. Between two messages the caller may do with the book what it likes, but
    not change its external levels.

    Notes
    -----
    At most one `set_levels` a side and message. The side that makes room goes first, so that the book is
    never crossed on the way: with both final, not both sides can need the other one's old best price.
    """
    first, last = _span(updates, start, stop)
    if not isinstance(book, OrderBook):
        raise InputTypeError(f"book: a {type(book).__name__}: must be an OrderBook")
    if first:
        depth = updates.depth_after(first - 1)
        for side in (1, -1):
            mine = depth["side"] == side
            book.set_levels(side, depth["price"][mine], depth["quantity"][mine])
    lives = updates._lives
    ends = np.flatnonzero(lives.pure)
    sides = np.concatenate([lives.side, lives.side[ends]])
    message = np.concatenate([lives.begin, lives.end[ends]])
    price = np.concatenate([lives.price, lives.price[ends]])
    quantity = np.concatenate([lives.quantity, np.zeros(len(ends), np.int64)])
    # Bids of message i are rows bounds[2 i] to bounds[2 i + 1], its asks those up to bounds[2 i + 2].
    slot = 2 * message + (sides < 0)
    order = np.argsort(slot, kind="stable")
    price, quantity = price[order], quantity[order]
    bounds = np.searchsorted(slot[order], np.arange(2 * first, 2 * last + 1)).tolist()
    set_levels = book.set_levels
    for i in range(last - first):
        a, b, c = bounds[2 * i : 2 * i + 3]
        ask = book.best_ask if a < b < c else None
        if ask is not None and (price[a:b][quantity[a:b] > 0] >= ask).any():
            set_levels(-1, price[b:c], quantity[b:c])
            c = b
        if a < b:
            set_levels(1, price[a:b], quantity[a:b])
        if b < c:
            set_levels(-1, price[b:c], quantity[b:c])
        yield first + i


def _span(updates: Updates, start: int, stop: int | None) -> tuple[int, int]:
    if not isinstance(updates, Updates):
        raise InputTypeError(f"updates: a {type(updates).__name__}: must be Updates")
    last = len(updates) if stop is None else int(stop)
    if not 0 <= start <= last <= len(updates):
        raise InputError(f"start, stop = {start}, {last}: must be in order, from 0 to {len(updates)}")
    return int(start), last
