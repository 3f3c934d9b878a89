"""Enumerations and record layouts: every integer code and every NumPy dtype that crosses the boundary, in one
place."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np

FORMAT_VERSION = 2
"""Version of every binary dump and digest made by this release."""


class Action(IntEnum):
    """What a message asks of an order book."""

    NEW = 0
    CANCEL = 1
    MODIFY = 2


class Side(IntEnum):
    """Side of an order."""

    BUY = 1
    SELL = -1


class OrderType(IntEnum):
    """Type of an order."""

    LIMIT = 0
    MARKET = 1
    STOP = 2
    """waits, then acts as a MARKET order"""
    STOP_LIMIT = 3
    """waits, then acts as a LIMIT order"""


class TimeInForce(IntEnum):
    """How long an order lives."""

    GTC = 0
    IOC = 1
    FOK = 2
    POST_ONLY = 3


class Stp(IntEnum):
    """Self-trade prevention: which order gives way when both belong to one owner. The taker decides."""

    NONE = 0
    """they trade"""
    TAKER = 1
    """the rest of the taker is taken off"""
    MAKER = 2
    """the maker is taken off whole, the taker goes on"""
    BOTH = 3
    DECREMENT = 4
    """both lose the smaller one's lots, without a trade"""


class ReportKind(IntEnum):
    """What a report of the order book tells."""

    ACK = 0
    TRADE = 1
    CANCELLED = 2
    MODIFIED = 3
    REJECTED = 4
    TRIGGERED = 5


class Reason(IntEnum):
    """Why an order was cancelled or a message rejected; 0 where there is nothing to explain."""

    NONE = 0
    USER = 1
    IOC = 2
    """the unfilled rest of an IOC or market order"""
    STP = 3
    """self-trade prevention, see `Stp`"""
    OWNER = 4
    """all orders of an owner were taken off, by `cancel_owner` or by a liquidation"""
    REDUCE_ONLY = 5
    """a reduce-only order whose owner has no position left that it could close"""
    DUPLICATE_ID = 6
    """the id is resting, or waiting as a stop"""
    UNKNOWN_ID = 7
    BAD_QUANTITY = 8
    BAD_PRICE = 9
    BAD_SIDE = 10
    BAD_FIELD = 11
    """an action, type, time in force, flag or self-trade code outside its enumeration"""
    FOK_UNFILLABLE = 12
    WOULD_TAKE = 13
    """a post-only order that would have traded"""
    UNSUPPORTED = 14
    """known to the format and to `OrderBook`, but not to the books of a running market"""
    BAD_OWNER = 15
    BEYOND_DATA = 16
    """the rest met unknown depth (see `Market.load_book(complete=)`)"""
    CAPACITY = 17
    """the sum of the level's open lots would pass 2**63 - 1"""
    UNALLOCATED = 18
    """lots that no step of the matching rule gave out (see `Matching`)"""
    BANDED = 19
    """the rest may not trade beyond a price band (`VenueRules.breakers`)"""
    HALTED = 20
    """matching in the instrument is halted"""


class EventKind(IntEnum):
    """What an event of a run tells; `docs/model.md` says what each field holds."""

    SHOCK = 0
    ORDER = 1
    FILL = 2
    CANCEL = 3
    MARK = 4
    QUEUED = 5
    TURN = 6
    RECOVERED = 7
    ADL = 8
    TRANSFER = 9
    END = 10
    TAKEOVER = 11
    """the vault takes lots at their bankruptcy value, or at the mark"""
    OFFSET = 12
    """the long and the short slot of an account are closed against each other at the mark"""
    HALT = 13
    """a circuit breaker stops matching in an instrument"""
    RESUME = 14
    """matching goes on"""


class Status(IntEnum):
    """How a run ended."""

    RUNNING = 0
    SETTLED = 1
    """nobody is left to liquidate"""
    HALTED = 2
    """lots wait for the end of a halt, or for a price band to move"""
    STRANDED = 3
    """lots are left that no one can take on a complete book"""
    OUT_OF_DATA = 4
    """lots are left where the knowledge of the book ends"""
    HORIZON = 5
    """the only work left waits for time to pass"""
    LIMIT = 6
    """a cap that the caller set was reached"""


class Why(IntEnum):
    """The reason of a transfer of money (flags of a TRANSFER event)."""

    REALISED = 1
    """profit or loss of a reducing trade, against the instrument's settlement account"""
    FEE = 2
    """trading fee, or rebate when it flows from the fee account"""
    LIQUIDATION_FEE = 3
    GAP = 4
    """the fund pays the difference to the bankruptcy value, fill by fill"""
    SHORTFALL = 5
    """a flat account's negative balance, paid by fund, vault or deficit"""
    SOCIALISED = 6
    SURPLUS = 7
    """what a liquidated account left, taken by the fund or the vault"""
    SWEEP = 8
    """a flat isolated account's balance goes to its owner"""
    TAKEN = 9
    """what was left of an account whose positions the vault took without an order"""
    FUNDING = 10
    """between a position and the external account; longs pay a positive rate"""


class LiquidationStatus(IntEnum):
    """What became of the lots of one liquidation."""

    CLOSED = 0
    """closed whole: in the book, by deleveraging or by the vault"""
    BEYOND_DATA = 1
    """lots stay open where the knowledge of the book ends"""
    STRANDED = 2
    """lots stay open that nobody could take"""
    FLAT = 3
    """there was no position, only a negative balance to serve"""
    PART = 4
    """a part was served, and the lots left of it are for what follows in the same turn"""
    OFFSET = 5
    """closing long against short slots was enough"""
    BANDED = 6
    """lots wait: they may not trade beyond a price band"""
    HALTED = 7
    """lots wait for the end of a halt"""


class ShockPart(IntEnum):
    """Which part of a shock a SHOCK event is (its flags)."""

    GAP = 1
    INDEX = 2
    DEPTH = 3
    HAIRCUT = 4
    CASH = 5
    ORDERS = 6
    LEVELS = 7
    """external levels set by `Simulation.set_levels`"""
    TIME = 8
    FUNDING = 9


class OrderFlags(IntFlag):
    """Bits of the `flags` field of ORDER_DTYPE."""

    REDUCE_ONLY = 1
    """trades at most what closes its owner's position"""
    MARK_TRIGGER = 2
    """a stop that looks at the mark, not at the last price"""


ORDER_DTYPE = np.dtype(
    [
        ("order_id", "<u8"), ("price", "<i8"), ("quantity", "<i8"), ("stop_price", "<i8"), ("display", "<i8"),
        ("ts_ns", "<i8"), ("owner", "<i4"), ("instrument", "<i4"), ("action", "u1"), ("side", "i1"),
        ("type", "u1"),
        ("tif", "u1"), ("flags", "u1"), ("stp", "u1"), ("_pad", "V2"),
    ]
)  # fmt: skip
"""One message to an order book, 64 bytes: prices in ticks, quantities in lots, times in nanoseconds."""

REPORT_DTYPE = np.dtype(
    [
        ("order_id", "<u8"), ("maker_id", "<u8"), ("price", "<i8"), ("quantity", "<i8"), ("leaves", "<i8"),
        ("message", "<i8"), ("owner", "<i4"), ("maker_owner", "<i4"), ("kind", "u1"), ("side", "i1"),
        ("action", "u1"),
        ("reason", "u1"), ("_pad", "V4"),
    ]
)  # fmt: skip
"""One report of an order book, 64 bytes; `message` is the row of the call's array that caused it."""

EVENT_DTYPE = np.dtype(
    [
        ("seq", "<i8"), ("time_ns", "<i8"), ("cause", "<i8"), ("quantity", "<i8"), ("price_1024", "<i8"),
        ("value", "<i8"),
        ("a", "<i4"), ("b", "<i4"), ("wave", "<i4"), ("instrument", "<u2"), ("kind", "u1"), ("flags", "u1"),
    ]
)  # fmt: skip
"""One event of a run, 64 bytes: lots, 1/1024 ticks, quanta; a and b are account indices, -1 where there is
none."""

TAKER_SLOT_SHIFT, MAKER_SLOT_SHIFT, SLOT_MASK = 4, 6, 3
"""Where the flags of a trade's event hold the slots of its two sides, beside the order's kind in the low
bits."""
NO_INSTRUMENT = 0xFFFF
"""`instrument` of an event that concerns none."""
