"""The order book in plain Python: for any array of messages it gives the compiled book's reports, bit for
bit.

`docs/orderbook.md` is the meaning, rule by rule. The resting orders are in `levels`, the division of one
level's lots in `allocation`, the questions in `questions`; here are the messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade._orders import (
    ORDER_FIELDS,
    as_orders,
    check_levels,
    check_uncrossed,
    exact_int,
    exact_side,
    integer_column,
)
from cascade.errors import InputError, RangeError
from cascade.matching import Matching
from cascade.records import (
    REPORT_DTYPE,
    Action,
    OrderFlags,
    OrderType,
    Reason,
    ReportKind,
    Side,
    Stp,
    TimeInForce,
)
from cascade.tables import Table

from .allocation import Division
from .levels import Order
from .questions import Questions, table

LARGEST_QUANTITY = 2**62
LARGEST_SUM = 2**63 - 1
LARGEST_OWNER = 2**31 - 1
MOST_SLICES = 2**16

KNOWN_FLAGS = int(OrderFlags.REDUCE_ONLY | OrderFlags.MARK_TRIGGER)

Report = dict[str, int]


class Walk:
    """What a taker does in one go: what it traded, at which prices, and why it ended before its time."""

    def __init__(self, taker: Order) -> None:
        self.taker = taker
        self.traded = 0
        self.prices: list[int] = []
        self.end: Reason | None = None


class Book(Questions):
    """A limit order book with price-time priority, or with another rule at each price.

    Parameters
    ----------
    matching : Matching or str
        The allocation rule.
    """

    def __init__(self, matching: Matching | str = "fifo") -> None:
        super().__init__(matching)
        self.last: int | None = None
        self.mark: int | None = None
        self._waiting: dict[int, Order] = {}
        self._positions: dict[int, int] = {}
        self._lmm: dict[int, int] = {}

    # What can be done to a book

    def process(self, orders: Any, *, reports: str = "all") -> np.ndarray:
        """Deal with a table of messages, in order; the reports as an array of REPORT_DTYPE."""
        if reports not in ("all", "trades", "none"):
            raise InputError(f"reports = {reports!r}: must be 'all', 'trades' or 'none'")
        every: list[Report] = []
        rows = as_orders(orders)[list(ORDER_FIELDS)].tolist()
        for row, values in enumerate(rows):
            start = len(every)
            self._message(dict(zip(ORDER_FIELDS, values, strict=True)), every)
            for report in every[start:]:
                report["message"] = row
        if reports == "trades":
            every = [report for report in every if report["kind"] == ReportKind.TRADE]
        return _as_array([] if reports == "none" else every)

    def set_mark(self, price: int) -> np.ndarray:
        """State the mark; the reports of the stops that it reaches."""
        self.mark = exact_int(price, "price")
        reports: list[Report] = []
        self._let_stops_act(self._leave_waiting([self.mark], on_mark=True), reports)
        return _as_array(reports)

    def cancel_owner(self, owner: int) -> np.ndarray:
        """Take all orders of an owner off, resting and waiting, by arrival; their CANCELLED reports."""
        owner = _owner(owner)
        waiting = [stop for stop in self._waiting.values() if stop.owner == owner]
        reports: list[Report] = []
        for order in sorted(self.owner_orders(owner) + waiting, key=lambda order: order.arrival):
            self._cancel(order, Reason.OWNER, reports)
        return _as_array(reports)

    def set_levels(self, side: int, prices: Any, quantities: Any) -> None:
        """Set anonymous levels absolutely: one order a price, 0 takes it off."""
        side = exact_side(side)
        price_column = integer_column(prices, np.dtype(np.int64), "prices")
        lots_column = integer_column(quantities, np.dtype(np.int64), "quantities")
        check_levels(price_column, lots_column)
        far = self.best(-side)
        if far is not None:
            check_uncrossed(price_column, lots_column, side == Side.BUY, far)
        # The worst price first: each new level is the best one so far, whatever the order of the arguments.
        levels = sorted(
            zip(price_column.tolist(), lots_column.tolist(), strict=True), key=lambda level: side * level[0]
        )
        for price, lots in levels:
            order = self._external_at(side, price)
            if self.open_at(side, price) + lots - (order.lots if order else 0) > LARGEST_SUM:
                raise RangeError(f"quantities: the sum of the level {price} does not fit 64 bits")
        for price, lots in levels:
            order = self._external_at(side, price)
            if order is None and lots > 0:
                self.add(side, price, lots, 0, 0, external=True)
            elif order is not None and lots > 0:
                self.reduce(order, lots)
            elif order is not None:
                self.remove(order)

    def set_position(self, owner: int, lots: int) -> None:
        """State an owner's net position; its trades move it from here."""
        self._positions[_owner(owner)] = exact_int(lots, "lots", -LARGEST_QUANTITY, LARGEST_QUANTITY)

    def position(self, owner: int) -> int:
        """An owner's net position in lots."""
        return self._positions.get(_owner(owner), 0)

    def set_lmm(self, owner: int, percent: int) -> None:
        """Name a lead market maker; 0 percent unnames."""
        owner, percent = _owner(owner), exact_int(percent, "percent", 0, 100)
        self._lmm.pop(owner, None)
        if percent > 0:
            self._lmm[owner] = percent

    def stops(self) -> Table:
        """All waiting stops: those on the last price, then those on the mark, each in trigger order."""
        rows = [
            {
                "order_id": s.id, "owner": s.owner, "side": s.side, "type": s.type, "tif": s.tif,
                "stop_price": s.stop_price, "price": s.price, "quantity": s.lots, "display": s.display,
                "flags": s.flags, "stp": s.stp,
            }
            for s in sorted(self._waiting.values(), key=_trigger_order)
        ]  # fmt: skip
        return table(
            rows, "order_id", "owner", "side", "type", "tif", "stop_price", "price", "quantity", "display",
            "flags", "stp",
        )  # fmt: skip

    def copy(self) -> Book:
        """An independent copy."""
        twin = type(self)(self.matching)
        self._copy_levels_to(twin)
        twin.last = self.last
        twin.mark = self.mark
        twin._waiting = {order_id: stop.copy() for order_id, stop in self._waiting.items()}
        twin._positions = dict(self._positions)
        twin._lmm = dict(self._lmm)
        return twin

    # One message

    def _message(self, m: dict[str, int], reports: list[Report]) -> None:
        """Deal with a message, then with the stops that its trades reach."""
        reason = self.refusal(m)
        if reason is not None:
            reports.append(
                {
                    "kind": ReportKind.REJECTED,
                    "order_id": m["order_id"],
                    "action": m["action"],
                    "reason": reason,
                }
            )
            return
        prices: list[int] = []
        if m["action"] == Action.NEW:
            prices = self._new(_order_of(m), reports)
        elif m["action"] == Action.CANCEL:
            self._cancel(self._living(m["order_id"]), Reason.USER, reports)
        elif m["order_id"] in self._waiting:
            self._modify_waiting(m, reports)
        else:
            prices = self._modify(m, reports)
        self._let_stops_act(self._leave_waiting(prices, on_mark=False), reports)

    def refusal(self, m: dict[str, int]) -> Reason | None:
        """Why a message is refused: its fields, then the book's state."""
        if m["action"] == Action.CANCEL:
            return Reason.UNKNOWN_ID if self._living(m["order_id"]) is None else None
        if m["action"] == Action.MODIFY:
            return self._refusal_of_modify(m)
        if m["action"] != Action.NEW:
            return Reason.BAD_FIELD
        reason = bad_fields(m)
        if reason is not None:
            return reason
        if self._living(m["order_id"]) is not None:
            return Reason.DUPLICATE_ID
        order = _order_of(m)
        return None if order.waits else self._refusal_to_act(order)

    def _refusal_of_modify(self, m: dict[str, int]) -> Reason | None:
        if not 1 <= m["quantity"] <= LARGEST_QUANTITY:
            return Reason.BAD_QUANTITY
        order = self._living(m["order_id"])
        if order is None:
            return Reason.UNKNOWN_ID
        if order.display and m["quantity"] > order.display * MOST_SLICES:
            return Reason.BAD_QUANTITY
        if order.waits:
            return None
        others = self.open_at(order.side, m["price"])
        if order.price == m["price"]:
            others -= order.lots
        return Reason.CAPACITY if others + m["quantity"] > LARGEST_SUM else None

    def _refusal_to_act(self, order: Order) -> Reason | None:
        """Why the state of the book does not let an order that is no stop act."""
        if order.tif == TimeInForce.POST_ONLY and self._meets(order) is not None:
            return Reason.WOULD_TAKE
        if order.tif == TimeInForce.FOK and not self._fills_whole(order):
            return Reason.FOK_UNFILLABLE
        if _rests(order) and self.open_at(order.side, order.price) + order.lots > LARGEST_SUM:
            return Reason.CAPACITY
        return None

    def _fills_whole(self, order: Order) -> bool:
        """Try the walk on a copy of the book."""
        walk = Walk(order.copy())
        self.copy()._walk(walk, [])
        return walk.traded == order.lots

    def _new(self, order: Order, reports: list[Report]) -> list[int]:
        """A new order acts, or waits; the prices it trades at."""
        reports.append(_report(ReportKind.ACK, order, price=order.price, quantity=order.lots))
        if not order.waits:
            return self._act(order, reports)
        if self._is_reached(order):
            return self._trigger(order, reports)
        order.arrival = self.next_arrival()
        self._waiting[order.id] = order
        return []

    def _act(self, order: Order, reports: list[Report]) -> list[int]:
        """Take, then rest or be taken off; the prices traded at."""
        walk = Walk(order)
        self._walk(walk, reports)
        if order.lots > 0 and walk.end is None and _rests(order):
            self.rest(order)
        elif order.lots > 0:
            reports.append(_cancelled(order, order.lots, walk.end or Reason.IOC))
        return walk.prices

    def _modify(self, m: dict[str, int], reports: list[Report]) -> list[int]:
        """Change a resting order: it keeps its place, or leaves it and acts again; the prices traded at."""
        order = self._by_id[m["order_id"]]
        modified = _report(ReportKind.MODIFIED, order, price=m["price"], quantity=m["quantity"])
        del modified["side"]
        if m["price"] == order.price and m["quantity"] < order.lots:
            self.reduce(order, m["quantity"])
            reports.append(modified)
            return []
        self.remove(order)
        order.price, order.lots, order.tif = m["price"], m["quantity"], TimeInForce.GTC
        walk = Walk(order)
        self._walk(walk, reports)
        reports.append(modified)
        if order.lots > 0 and walk.end is None:
            self.rest(order)
        elif order.lots > 0:
            reports.append(_cancelled(order, order.lots, walk.end))
        return walk.prices

    def _modify_waiting(self, m: dict[str, int], reports: list[Report]) -> None:
        stop = self._waiting[m["order_id"]]
        if m["price"] != stop.price or m["quantity"] >= stop.lots:
            stop.arrival = self.next_arrival()
        stop.price, stop.lots = m["price"], m["quantity"]
        modified = _report(ReportKind.MODIFIED, stop, price=m["price"], quantity=m["quantity"])
        del modified["side"]
        reports.append(modified)

    def _cancel(self, order: Order, reason: Reason, reports: list[Report]) -> None:
        """Take an order off whole, resting or waiting."""
        reports.append(_cancelled(order, order.lots, reason))
        if order.waits:
            del self._waiting[order.id]
        else:
            self.remove(order)

    # Taking

    def _walk(self, walk: Walk, reports: list[Report]) -> None:
        """Trade, best price first and then by the rule, at the makers' prices."""
        by_time = self.matching.steps == ("fifo",)
        while walk.taker.lots > 0 and walk.end is None:
            price = self._meets(walk.taker)
            if price is None:
                return
            level = self.queue(-walk.taker.side, price)
            if by_time:
                self._meet_oldest(walk, level[0], reports)
            else:
                self._meet_level(walk, level, reports)

    def _meets(self, taker: Order) -> int | None:
        """The best price of the other side, if the taker would trade at it."""
        best = self.best(-taker.side)
        return best if best is not None and taker.accepts(best) else None

    def _meet_oldest(self, walk: Walk, maker: Order, reports: list[Report]) -> None:
        """One step of a walk by price and time."""
        taker = walk.taker
        if _own(taker, maker):
            self._prevent(walk, maker, reports)
        elif self._allowed(maker) == 0:
            self._cancel(maker, Reason.REDUCE_ONLY, reports)
        elif self._allowed(taker) == 0:
            walk.end = Reason.REDUCE_ONLY
        else:
            lots = min(taker.lots, maker.shown)
            if not _same_owner(taker, maker):
                lots = min(lots, self._allowed(taker), self._allowed(maker))
            self._trade(walk, maker, lots, reports)

    def _meet_level(self, walk: Walk, level: list[Order], reports: list[Report]) -> None:
        """One step of a walk with shares: an own maker, or a roomless one, or the whole level."""
        taker = walk.taker
        own = [maker for maker in level if _own(taker, maker)]
        roomless = [maker for maker in level if self._allowed(maker) == 0]
        if own:
            self._prevent(walk, own[0], reports)
        elif roomless:
            self._cancel(roomless[0], Reason.REDUCE_ONLY, reports)
        elif self._allowed(taker) == 0:
            walk.end = Reason.REDUCE_ONLY
        else:
            self._share(walk, level, reports)

    def _share(self, walk: Walk, level: list[Order], reports: list[Report]) -> None:
        """Divide what the taker may trade among the orders of a level."""
        taker = walk.taker
        wanted = self._wanted(taker, level)
        lots = self._allowed(taker)
        limited = lots < taker.lots
        enough = lots >= sum(wanted)
        shares = wanted if enough else self._divide(level, wanted, lots)
        for maker, share in zip(level, shares, strict=True):
            if share > 0:
                self._trade(walk, maker, share, reports)
        if not enough and taker.lots > 0:
            walk.end = Reason.REDUCE_ONLY if limited else Reason.UNALLOCATED

    def _wanted(self, taker: Order, level: list[Order]) -> list[int]:
        """The most that each order may get: what it shows, or what the orders of its owner before it leave of
        the room, which does not limit the taker's own."""
        wanted: list[int] = []
        for k, maker in enumerate(level):
            most = maker.shown
            if maker.reduce_only and not _same_owner(taker, maker):
                before = sum(wanted[j] for j in range(k) if level[j].owner == maker.owner)
                most = min(most, max(0, self._room(maker) - before))
            wanted.append(most)
        return wanted

    def _divide(self, level: list[Order], wanted: list[int], lots: int) -> list[int]:
        division = Division(self.matching, level, wanted, lots, self.top(level[0].side), self._lmm)
        division.run()
        return division.given

    def _trade(self, walk: Walk, maker: Order, lots: int, reports: list[Report]) -> None:
        taker = walk.taker
        taker.lots -= lots
        walk.traded += lots
        walk.prices.append(maker.price)
        self.last = maker.price
        reports.append(
            {
                "kind": ReportKind.TRADE,
                "order_id": taker.id,
                "owner": taker.owner,
                "maker_id": maker.id,
                "maker_owner": maker.owner,
                "side": taker.side,
                "price": maker.price,
                "quantity": lots,
                "leaves": taker.lots,
            }
        )
        self._move_position(taker.owner, taker.side * lots)
        self._move_position(maker.owner, maker.side * lots)
        self.take(maker, lots)
        if maker.lots > 0 and self._allowed(maker) == 0:
            self._cancel(maker, Reason.REDUCE_ONLY, reports)

    def _prevent(self, walk: Walk, maker: Order, reports: list[Report]) -> None:
        """The taker meets its owner's order: one of them gives way, or both."""
        taker = walk.taker
        if taker.stp == Stp.DECREMENT:
            lots = min(taker.lots, maker.shown)
            reports.append(_cancelled(maker, lots, Reason.STP))
            reports.append(_cancelled(taker, lots, Reason.STP))
            self.take(maker, lots)
            taker.lots -= lots
            return
        if taker.stp in (Stp.MAKER, Stp.BOTH):
            self._cancel(maker, Reason.STP, reports)
        if taker.stp in (Stp.TAKER, Stp.BOTH):
            walk.end = Reason.STP

    # Reduce-only

    def _room(self, order: Order) -> int:
        """The lots of its owner's position that an order could close."""
        return max(0, -order.side * self._positions.get(order.owner, 0))

    def _allowed(self, order: Order) -> int:
        """How many of its open lots an order may trade now."""
        return min(order.lots, self._room(order)) if order.reduce_only else order.lots

    def _move_position(self, owner: int, lots: int) -> None:
        if owner > 0:
            self._positions[owner] = self._positions.get(owner, 0) + lots

    # Stops

    def _is_reached(self, stop: Order) -> bool:
        """Has the trigger price already reached a new stop?"""
        price = self.mark if stop.on_mark else self.last
        return price is not None and _reaches(price, stop)

    def _leave_waiting(self, prices: list[int], on_mark: bool) -> list[Order]:
        """The stops that one of these trigger prices reaches leave their places, in trigger order."""
        if not prices:
            return []
        low, high = min(prices), max(prices)
        reached = [
            stop
            for stop in self._waiting.values()
            if stop.on_mark == on_mark and (_reaches(low, stop) or _reaches(high, stop))
        ]
        for stop in reached:
            del self._waiting[stop.id]
        return sorted(reached, key=_trigger_order)

    def _let_stops_act(self, queue: list[Order], reports: list[Report]) -> None:
        """First in, first out; the stops that one reaches join the end."""
        while queue:
            prices = self._trigger(queue.pop(0), reports)
            queue += self._leave_waiting(prices, on_mark=False)

    def _trigger(self, stop: Order, reports: list[Report]) -> list[int]:
        """A stop becomes an order that acts; the prices it trades at."""
        reports.append(_report(ReportKind.TRIGGERED, stop, price=stop.stop_price, quantity=stop.lots))
        stop.type = OrderType.MARKET if stop.type == OrderType.STOP else OrderType.LIMIT
        stop.flags &= int(OrderFlags.REDUCE_ONLY)
        reason = self._refusal_to_act(stop)
        if reason is not None:
            reports.append(_cancelled(stop, stop.lots, reason))
            return []
        return self._act(stop, reports)

    def _living(self, order_id: int) -> Any:
        """The resting or waiting order with this id, or None."""
        return self._by_id.get(order_id) or self._waiting.get(order_id)

    def _external_at(self, side: int, price: int) -> Order | None:
        """The anonymous order at a price."""
        return next((order for order in self.queue(side, price) if order.external), None)


def bad_fields(m: dict[str, int]) -> Reason | None:
    """What is wrong with the fields of a NEW, whatever the book."""
    stop = m["type"] in (OrderType.STOP, OrderType.STOP_LIMIT)
    no_price = m["type"] in (OrderType.MARKET, OrderType.STOP)
    if (
        m["type"] > OrderType.STOP_LIMIT
        or m["tif"] > TimeInForce.POST_ONLY
        or m["stp"] > Stp.DECREMENT
        or m["flags"] & ~KNOWN_FLAGS
        or (no_price and m["tif"] == TimeInForce.POST_ONLY)
        or (m["flags"] & OrderFlags.MARK_TRIGGER and not stop)
    ):
        return Reason.BAD_FIELD
    if m["side"] not in (Side.BUY, Side.SELL):
        return Reason.BAD_SIDE
    if not 1 <= m["quantity"] <= LARGEST_QUANTITY or m["display"] < 0:
        return Reason.BAD_QUANTITY
    if m["display"] and m["quantity"] > m["display"] * MOST_SLICES:
        return Reason.BAD_QUANTITY
    if m["owner"] < 0 or (m["owner"] == 0 and m["flags"] & OrderFlags.REDUCE_ONLY):
        return Reason.BAD_OWNER
    return None


def _order_of(m: dict[str, int]) -> Order:
    return Order(
        m["order_id"], m["owner"], m["side"], m["price"], m["quantity"], type=m["type"], tif=m["tif"],
        stop_price=m["stop_price"], display=m["display"], flags=m["flags"],
        stp=m["stp"] if m["owner"] else Stp.NONE,
    )  # fmt: skip


def _owner(value: Any) -> int:
    """An owner that is somebody."""
    owner = exact_int(value, "owner", 0, LARGEST_OWNER)
    if owner == 0:
        raise InputError("owner = 0: is nobody, must be > 0")
    return owner


def _rests(order: Order) -> bool:
    """Does a remainder stay on the book?"""
    return order.type == OrderType.LIMIT and order.tif in (TimeInForce.GTC, TimeInForce.POST_ONLY)


def _same_owner(taker: Order, maker: Order) -> bool:
    return taker.owner != 0 and taker.owner == maker.owner


def _own(taker: Order, maker: Order) -> bool:
    """Is the maker one that self-trade prevention keeps from the taker?"""
    return taker.stp != Stp.NONE and _same_owner(taker, maker)


def _reaches(price: int, stop: Order) -> bool:
    return price >= stop.stop_price if stop.side == Side.BUY else price <= stop.stop_price


def _trigger_order(stop: Order) -> tuple[bool, int, int, int]:
    """On the last price first; sells, the highest first; buys, the lowest first; then by arrival."""
    return stop.on_mark, stop.side, stop.side * stop.stop_price, stop.arrival


def _report(kind: ReportKind, order: Order, **fields: int) -> Report:
    return {"kind": kind, "order_id": order.id, "owner": order.owner, "side": order.side, **fields}


def _cancelled(order: Order, lots: int, reason: Any) -> Report:
    """`lots` of the order's open ones are taken off."""
    return _report(
        ReportKind.CANCELLED, order, price=order.price, quantity=lots, leaves=order.lots - lots, reason=reason
    )


def _as_array(reports: list[Report]) -> np.ndarray:
    """Reports as an array of REPORT_DTYPE; fields that a report does not name are 0."""
    array = np.zeros(len(reports), REPORT_DTYPE)
    for name in REPORT_DTYPE.names or ():
        if name != "_pad":
            array[name] = np.array([report.get(name, 0) for report in reports], REPORT_DTYPE[name])
    return array
