"""`Updates`: recorded changes of an order book in messages, whatever venue they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

from cascade.errors import InputError, InputTypeError
from cascade.io import _levels
from cascade.io._levels import Lives
from cascade.tables import Table


class MessageKind(IntEnum):
    """What a message does to the book."""

    UPDATE = 0
    """sets some levels"""
    SNAPSHOT = 1
    """empties the book, then sets levels"""
    QUOTE = 2
    """best bid and ask: sets these two levels, and nothing better than them is left"""


_NO_GAPS = Table(
    {"message": np.zeros(0, np.int64), "expected": np.zeros(0, np.int64), "found": np.zeros(0, np.int64)}
)


@dataclass(frozen=True, eq=False, repr=False)
class Updates:
    """Changes of one order book, message by message, in integer ticks and lots.

    Parameters
    ----------
    time_ns, local_ns : numpy.ndarray of int64, shape (m,)
        Of each message: the venue's time and the time of arrival, nanoseconds since the epoch (since midnight
        where the source says so); -1 where the source does not give it.
    kind : numpy.ndarray of int8, shape (m,)
        `MessageKind` of each message.
    first_row : numpy.ndarray of int64, shape (m + 1,)
        Message i consists of the rows first_row[i] to first_row[i + 1] - 1; the last element is n.
    side : numpy.ndarray of int8, shape (n,)
        1 bid, -1 ask.
    price : numpy.ndarray of int64, shape (n,)
        Ticks.
    quantity : numpy.ndarray of int64, shape (n,)
        Lots at that price from now on; 0 deletes the level.
    first_id, last_id : numpy.ndarray of int64, shape (m,)
        The venue's sequence ids; -1 where it has none.
    gaps : Table
        message, expected, found: messages whose sequence id does not follow the one before.
    dropped : int
        Messages of the source that were left out: those before the first snapshot.

    Notes
    -----
    A book is never crossed. Rows are applied in order, the newest information wins: a bid takes off the asks
    at or below its price, and the other way round, unless their own message says otherwise. What was taken
    off so is counted in `stale`. Good feeds are crossed at no message and lose nothing. Where a message
    names a level twice, the last row counts.

    All answers are computed for all messages at once, and kept.

    Examples
    --------
    >>> import numpy as np
    >>> updates = Updates.from_rows(
    ...     message=[0, 0, 1, 2], time_ns=[5, 7, 9], side=[1, -1, 1, -1], price=[99, 101, 100, 101],
    ...     quantity=[3, 4, 1, 0],
    ... )
    >>> updates.best["bid"], updates.best["ask_quantity"]
    (array([ 99, 100, 100]), array([4, 4, 0]))
    >>> updates.depth_at(7)
    Table: 3 rows x 3 columns
        side  price  quantity
       int64  int64     int64
    0      1    100         1
    1      1     99         3
    2     -1    101         4
    """

    time_ns: np.ndarray
    local_ns: np.ndarray
    kind: np.ndarray
    first_row: np.ndarray
    side: np.ndarray
    price: np.ndarray
    quantity: np.ndarray
    first_id: np.ndarray
    last_id: np.ndarray
    gaps: Table = field(default_factory=lambda: _NO_GAPS)
    dropped: int = 0

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray):
                values.flags.writeable = False
                object.__setattr__(self, name, values)

    @classmethod
    def from_rows(
        cls,
        *,
        message: Any,
        time_ns: Any,
        side: Any,
        price: Any,
        quantity: Any,
        local_ns: Any = None,
        kind: Any = None,
        first_id: Any = None,
        last_id: Any = None,
        gaps: Table = _NO_GAPS,
        dropped: int = 0,
    ) -> Updates:
        """Make updates from rows that name their message.

        Parameters
        ----------
        message : array of int, shape (n,)
            Message of each row, from 0, never falling.
        time_ns, local_ns, kind, first_id, last_id : array of int, shape (m,)
            As in the class; time_ns says how many messages there are.
        side, price, quantity : array of int, shape (n,)
            As in the class.
        gaps, dropped
            As in the class.

        Raises
        ------
        InputError
            Unequal lengths, or a message number, side, price or quantity outside its range.
        """
        time = _integers("time_ns", time_ns)
        unknown = np.full(len(time), -1)
        number = _integers("message", message)
        columns: dict[str, np.ndarray] = {
            name: _integers(name, values)
            for name, values in (("side", side), ("price", price), ("quantity", quantity))
        }
        for name, values in columns.items():
            if values.shape != number.shape:
                raise InputError(f"updates[{name!r}] has {len(values)} rows and 'message' {len(number)}")
        if len(number) and (number[0] < 0 or number[-1] >= len(time) or (np.diff(number) < 0).any()):
            raise InputError(f"updates['message']: must never fall and be from 0 to {len(time) - 1}")
        if not np.isin(columns["side"], (1, -1)).all():
            raise InputError("updates['side']: must be 1 or -1")
        columns["side"] = columns["side"].astype(np.int8)
        if len(number) and int(np.abs(columns["price"]).max()) >= 2**62:
            raise InputError("updates['price']: must be within 2**62 ticks")
        if len(number) and not 0 <= columns["quantity"].min() <= columns["quantity"].max() < 2**62:
            raise InputError("updates['quantity']: must be from 0 to 2**62 - 1 lots")
        per_message: dict[str, np.ndarray] = {}
        for name, given, other in (
            ("local_ns", local_ns, unknown),
            ("kind", kind, np.zeros_like(time)),
            ("first_id", first_id, unknown),
            ("last_id", last_id, unknown),
        ):
            values = _integers(name, other if given is None else given)
            if values.shape != time.shape:
                raise InputError(f"updates[{name!r}] has {len(values)} messages and 'time_ns' {len(time)}")
            per_message[name] = values
        if not np.isin(per_message["kind"], list(MessageKind)).all():
            raise InputError("updates['kind']: must be a MessageKind")
        per_message["kind"] = per_message["kind"].astype(np.int8)
        return cls(
            time_ns=time,
            first_row=np.searchsorted(number, np.arange(len(time) + 1)),
            gaps=gaps,
            dropped=dropped,
            **per_message,
            **columns,
        )

    def __len__(self) -> int:
        return len(self.time_ns)

    def __repr__(self) -> str:
        kinds = np.bincount(self.kind, minlength=3).tolist()
        words = [
            f"{n:,} {k.name.lower()}{'s'[: n != 1]}" for n, k in zip(kinds, MessageKind, strict=True) if n
        ]
        notes = [f", {n:,} {word}" for n, word in ((len(self.gaps), "gaps"), (self.dropped, "dropped")) if n]
        return f"Updates({', '.join(words) or 'no messages'}, {len(self.side):,} rows{''.join(notes)})"

    @property
    def messages(self) -> Table:
        """One row a message: time_ns, local_ns, kind, first_row, first_id, last_id."""
        return Table(
            {
                "time_ns": self.time_ns,
                "local_ns": self.local_ns,
                "kind": self.kind,
                "first_row": self.first_row[:-1],
                "first_id": self.first_id,
                "last_id": self.last_id,
            }
        )

    @property
    def rows(self) -> Table:
        """One row a level that is set: message, side, price, quantity."""
        message = np.repeat(np.arange(len(self)), np.diff(self.first_row))
        return Table({"message": message, "side": self.side, "price": self.price, "quantity": self.quantity})

    @cached_property
    def _lives(self) -> Lives:
        return _levels.lives(self.kind, self.first_row, self.side, self.price, self.quantity)

    @cached_property
    def best(self) -> Table:
        """The best prices after every message: time_ns, local_ns, bid, bid_quantity, ask, ask_quantity.

        Ticks and lots, int64, shape (m,). Price and quantity are 0 where a side is empty.
        """
        columns = {"time_ns": self.time_ns, "local_ns": self.local_ns}
        for side, name in ((1, "bid"), (-1, "ask")):
            mine = np.flatnonzero(self._lives.side == side)
            price, quantity = self._lives.price[mine], self._lives.quantity[mine]
            key = price if side > 0 else ~price
            top = _levels.best(self._lives.begin[mine], self._lives.end[mine], key, len(self))
            columns[name] = np.where(top >= 0, np.append(price, 0)[top], 0)
            columns[f"{name}_quantity"] = np.where(top >= 0, np.append(quantity, 0)[top], 0)
        return Table(columns)

    @cached_property
    def stale(self) -> Table:
        """Levels that newer prices of the other side took off: message, side, price, quantity.

        A good feed has none. They are stale: the message that should have deleted them is missing, or late.
        """
        which = np.flatnonzero(self._lives.crossed)
        which = which[np.argsort(self._lives.end[which], kind="stable")]
        return Table(
            {
                "message": self._lives.end[which],
                "side": self._lives.side[which],
                "price": self._lives.price[which],
                "quantity": self._lives.quantity[which],
            }
        )

    def depth_after(self, message: int) -> Table:
        """The book after a message: side, price, quantity; bids first, best price first.

        Parameters
        ----------
        message : int
            From 0; -1 is the last one.

        Raises
        ------
        InputError
            There is no such message.
        """
        i = int(message)
        if not -len(self) <= i < len(self):
            raise InputError(f"message = {message}: must be from 0 to {len(self) - 1}")
        return self._depth(i % len(self))

    def _depth(self, i: int) -> Table:
        """The book after message i; empty for -1."""
        which = np.flatnonzero((self._lives.begin <= i) & (i < self._lives.end))
        side, price = self._lives.side[which].astype(np.int64), self._lives.price[which]
        order = np.lexsort((-side * price, -side))
        return Table(
            {"side": side[order], "price": price[order], "quantity": self._lives.quantity[which][order]}
        )

    def depth_at(self, time_ns: int, *, clock: str = "venue") -> Table:
        """The book at a time: after the last message of that time or before.

        Parameters
        ----------
        time_ns : int
        clock : {"venue", "local"}
            Which of the two times is meant.

        Returns
        -------
        Table
            As `depth_after`; empty before the first message.
        """
        i = int(np.searchsorted(np.maximum.accumulate(self.clock(clock)), time_ns, "right")) - 1
        return self._depth(i)

    def clock(self, clock: str) -> np.ndarray:
        """`time_ns` ("venue") or `local_ns` ("local"), if the source gives it."""
        if clock not in ("venue", "local"):
            raise InputError(f"clock = {clock!r}: must be 'venue' or 'local'")
        times = self.time_ns if clock == "venue" else self.local_ns
        if len(times) and times.min() < 0:
            other = "local" if clock == "venue" else "venue"
            raise InputError(f"clock = {clock!r}: not given for every message; try {other!r}")
        return times

    def with_quotes(self, quotes: Any, *, clock: str | None = None, slack_ns: int = 0) -> Updates:
        """Add recorded best bids and asks as messages of kind QUOTE.

        Diff streams come every 50 or 100 ms; streams of best bid and ask come at once. Merged, the book is
        right at every quote, and as the diff stream says after each of its messages.

        Parameters
        ----------
        quotes : Table
            time_ns, local_ns, id, bid, bid_quantity, ask, ask_quantity: what `read_binance_quotes` gives.
        clock : {"venue", "local"}, optional
            By which time both are put in order; by default the venue's where both have it. Where both have
            sequence ids, these decide instead.
        slack_ns : int
            How far the two streams' clocks may be apart. Among the quotes that are this near, and one
            before, a message's place is next to the quote that equals its own best prices and quantities; by
            the time alone if there is none. At equal times quotes come first.

        Returns
        -------
        Updates
            Quotes before the first message are left out.

        Raises
        ------
        InputError
            There are quotes in it already, or a time is missing.

        Notes
        -----
        The place matters: a quote of the same millisecond as a diff may be older or newer than it. One that
        is older, put after, would take off levels that the diff had set.
        """
        if (self.kind == MessageKind.QUOTE).any():
            raise InputError("with_quotes: the updates have quotes already")
        if not isinstance(quotes, Table):
            raise InputTypeError(f"quotes: a {type(quotes).__name__}: must be a Table of quotes")
        place = self._places(quotes, clock, slack_ns)
        at_quote = np.arange(len(quotes)) + np.searchsorted(place, np.arange(len(quotes)), "right")
        keep = np.arange(len(quotes)) >= (place[0] if len(place) else len(quotes))
        skipped = int((~keep).sum())
        at_quote, at_mine = at_quote[keep] - skipped, place + np.arange(len(place)) - skipped
        total = len(self) + len(at_quote)

        def merge(mine: np.ndarray, theirs: np.ndarray, dtype: type = np.int64) -> np.ndarray:
            merged: np.ndarray = np.empty(total, dtype)
            merged[at_mine], merged[at_quote] = mine, theirs
            return merged

        count = merge(np.diff(self.first_row), np.full(len(at_quote), 2))
        first_row = np.concatenate([[0], np.cumsum(count)])
        mine = np.arange(len(self.side)) + np.repeat(
            first_row[at_mine] - self.first_row[:-1], np.diff(self.first_row)
        )
        theirs = first_row[at_quote]
        columns = {}
        for name, bid, ask in (
            ("side", np.ones(len(quotes), np.int8), np.full(len(quotes), -1, np.int8)),
            ("price", quotes["bid"], quotes["ask"]),
            ("quantity", quotes["bid_quantity"], quotes["ask_quantity"]),
        ):
            own = getattr(self, name)
            values = np.empty(first_row[-1], own.dtype)
            values[mine], values[theirs], values[theirs + 1] = own, bid[keep], ask[keep]
            columns[name] = values
        gaps = dict(self.gaps) | {"message": at_mine[self.gaps["message"]]}
        return Updates(
            time_ns=merge(self.time_ns, quotes["time_ns"][keep]),
            local_ns=merge(self.local_ns, quotes["local_ns"][keep]),
            kind=merge(self.kind, np.full(len(at_quote), MessageKind.QUOTE), np.int8),
            first_row=first_row,
            first_id=merge(self.first_id, quotes["id"][keep]),
            last_id=merge(self.last_id, quotes["id"][keep]),
            gaps=Table(gaps),
            dropped=self.dropped,
            **columns,
        )

    def _places(self, quotes: Table, clock: str | None, slack_ns: int) -> np.ndarray:
        """How many quotes come before each message; never falls."""
        ids = quotes["id"]
        if len(ids) and len(self) and min(ids.min(), self.last_id.min()) >= 0:
            return np.maximum.accumulate(np.searchsorted(ids, self.last_id, "left"))
        if clock is None:
            both = len(self) and len(quotes) and min(self.time_ns.min(), quotes["time_ns"].min()) >= 0
            clock = "venue" if both else "local"
        mine = np.maximum.accumulate(self.clock(clock))
        theirs = np.maximum.accumulate(quotes["time_ns" if clock == "venue" else "local_ns"])
        if len(theirs) and theirs[0] < 0:
            raise InputError(f"quotes: the source does not give the {clock} clock")
        by_time = np.searchsorted(theirs, mine, "right")
        lowest = np.searchsorted(theirs, mine - slack_ns, "left") - 1
        highest = np.searchsorted(theirs, mine + slack_ns, "right")
        # Equal best prices and quantities get equal numbers; bisection then finds the nearest equal quote.
        code = np.zeros(len(self) + len(quotes), np.int64)
        for name in ("bid", "bid_quantity", "ask", "ask_quantity"):
            _, one = np.unique(np.concatenate([self.best[name], quotes[name]]), return_inverse=True)
            _, code = np.unique(code * (int(one.max(initial=0)) + 1) + one, return_inverse=True)
        width = len(quotes) + 2
        known = np.sort(code[len(self) :] * width + np.arange(len(quotes)))
        want = code[: len(self)] * width
        at = np.searchsorted(known, want + by_time)
        padded = np.concatenate([[-1], known, [-1]])
        before, after = padded[at] - want, padded[at + 1] - want
        has_before = (before >= lowest) & (before >= 0) & (before < by_time)
        has_after = (after < highest) & (after >= by_time)
        nearer_after = has_after & (~has_before | (after - by_time < by_time - 1 - before))
        place = np.where(nearer_after, after + 1, np.where(has_before, before + 1, by_time))
        return np.maximum.accumulate(place)


def _integers(name: str, values: Any) -> np.ndarray:
    """A copy as int64."""
    array = np.array(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputTypeError(f"updates[{name!r}]: dtype {array.dtype}, {array.ndim}-D: must be 1-D integers")
    if array.size and int(array.max()) >= 2**63:
        raise InputError(f"updates[{name!r}]: must fit int64")
    return array.astype(np.int64)
