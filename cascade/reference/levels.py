"""Resting orders: two sides of price levels, each level a queue, oldest first."""

from __future__ import annotations

import copy

from cascade.matching import Matching, as_matching
from cascade.records import OrderFlags, OrderType, Side


class Order:
    """An order as sent, and what has become of it: ticks, lots, side +1 or -1.

    `lots` are open, `shown` those of them that others see while it rests. `external` marks an anonymous
    level's order, which no id finds. `arrival` counts insertions of the whole book.
    """

    __slots__ = (
        "arrival", "display", "external", "flags", "id", "lots", "owner", "price", "shown", "side",
        "stop_price",
        "stp", "tif", "type",
    )  # fmt: skip

    def __init__(
        self,
        order_id: int,
        owner: int,
        side: int,
        price: int,
        lots: int,
        *,
        type: int = OrderType.LIMIT,
        tif: int = 0,
        stop_price: int = 0,
        display: int = 0,
        flags: int = 0,
        stp: int = 0,
        external: bool = False,
    ) -> None:
        self.id = order_id
        self.owner = owner
        self.side = side
        self.price = price
        self.lots = lots
        self.type = type
        self.tif = tif
        self.stop_price = stop_price
        self.display = display
        self.flags = flags
        self.stp = stp
        self.external = external
        self.shown = 0
        self.arrival = 0

    @property
    def reduce_only(self) -> bool:
        return bool(self.flags & OrderFlags.REDUCE_ONLY)

    @property
    def on_mark(self) -> bool:
        """Is it a stop that looks at the mark?"""
        return bool(self.flags & OrderFlags.MARK_TRIGGER)

    @property
    def waits(self) -> bool:
        """Is it a stop that has not been triggered?"""
        return self.type in (OrderType.STOP, OrderType.STOP_LIMIT)

    def accepts(self, price: int) -> bool:
        """Would it trade at this price as a taker?"""
        if self.type == OrderType.MARKET:
            return True
        return price <= self.price if self.side == Side.BUY else price >= self.price

    def show(self) -> None:
        """Show the peak: all open lots of a plain order, at most `display` of an iceberg."""
        self.shown = min(self.display, self.lots) if self.display else self.lots

    def copy(self) -> Order:
        return copy.copy(self)


class Top:
    """The TOP place of a side: who has it and the lots that the rule still allows it there."""

    def __init__(self, order: Order, allowed: int) -> None:
        self.order = order
        self.allowed = allowed


class Levels:
    """Orders that rest. Each side is a dict of price -> queue; a price without orders has no entry."""

    def __init__(self, matching: Matching | str = "fifo") -> None:
        self.matching = as_matching(matching)
        self._levels: dict[int, dict[int, list[Order]]] = {Side.BUY: {}, Side.SELL: {}}
        self._by_id: dict[int, Order] = {}
        self._by_owner: dict[int, list[Order]] = {}
        self._top: dict[int, Top | None] = {Side.BUY: None, Side.SELL: None}
        self._arrivals = 0

    def add(
        self, side: int, price: int, lots: int, owner: int, order_id: int, external: bool = False
    ) -> Order:
        """Append a plain order at the end of its level's queue."""
        order = Order(order_id, owner, side, price, lots, external=external)
        self.rest(order)
        return order

    def rest(self, order: Order) -> None:
        """Append an order at the end of its level's queue, with a fresh peak."""
        order.show()
        order.arrival = self.next_arrival()
        if "top" in self.matching.steps and self._betters(order):
            enough = order.shown >= self.matching.top_min and not order.external
            self._top[order.side] = Top(order, self.matching.top_max) if enough else None
        self._levels[order.side].setdefault(order.price, []).append(order)
        if not order.external:
            self._by_id[order.id] = order
        if order.owner != 0:
            self._by_owner.setdefault(order.owner, []).append(order)

    def next_arrival(self) -> int:
        self._arrivals += 1
        return self._arrivals

    def remove(self, order: Order) -> None:
        """Take an order off, whatever is left of it."""
        self._lose_top(order)
        queue = self._levels[order.side][order.price]
        queue.remove(order)
        if not queue:
            del self._levels[order.side][order.price]
        if not order.external:
            del self._by_id[order.id]
        if order.owner != 0:
            self._by_owner[order.owner].remove(order)
            if not self._by_owner[order.owner]:
                del self._by_owner[order.owner]

    def take(self, order: Order, lots: int) -> None:
        """Shown lots go, by a trade or by self-trade prevention. An order without lots leaves the book."""
        order.lots -= lots
        order.shown -= lots
        if order.lots == 0:
            self.remove(order)
        elif order.shown == 0:
            self.refill(order)

    def refill(self, order: Order) -> None:
        """Hidden lots show, at the end of the level's queue."""
        self._lose_top(order)
        order.show()
        queue = self._levels[order.side][order.price]
        queue.remove(order)
        queue.append(order)

    def reduce(self, order: Order, lots: int) -> None:
        """Set the open quantity and keep the place; hidden lots go first."""
        order.lots = lots
        order.shown = min(order.shown, lots) if order.display else lots

    def find(self, order_id: int) -> Order | None:
        """The resting order with this id."""
        return self._by_id.get(order_id)

    def best(self, side: int) -> int | None:
        """The best price of a side, or None."""
        prices = self._levels[side]
        if not prices:
            return None
        return max(prices) if side == Side.BUY else min(prices)

    def queue(self, side: int, price: int) -> list[Order]:
        """The orders at a price, oldest first."""
        return list(self._levels[side].get(price, []))

    def front(self, side: int) -> Order | None:
        """The oldest order of the best level, or None."""
        price = self.best(side)
        return None if price is None else self._levels[side][price][0]

    def owner_orders(self, owner: int) -> list[Order]:
        """An owner's resting orders, by arrival."""
        return list(self._by_owner.get(owner, []))

    def side_orders(self, side: int) -> list[Order]:
        """A side's orders, best price first, then oldest."""
        prices = sorted(self._levels[side], reverse=side == Side.BUY)
        return [order for price in prices for order in self._levels[side][price]]

    def open_at(self, side: int, price: int) -> int:
        """The sum of the open lots at a price, hidden ones included."""
        return sum(order.lots for order in self._levels[side].get(price, []))

    def top(self, side: int) -> Top | None:
        """The side's TOP place, None if nobody has it."""
        return self._top[side]

    def _betters(self, order: Order) -> bool:
        best = self.best(order.side)
        return best is None or order.side * (order.price - best) > 0

    def _lose_top(self, order: Order) -> None:
        top = self._top[order.side]
        if top is not None and top.order is order:
            self._top[order.side] = None

    def _copy_levels_to(self, twin: Levels) -> None:
        """Give an empty book a copy of every resting order, with its places."""
        twins: dict[int, Order] = {}  # by identity: anonymous orders share their id
        for side, levels in self._levels.items():
            for price, queue in levels.items():
                twin._levels[side][price] = [order.copy() for order in queue]
                twins |= zip(map(id, queue), twin._levels[side][price], strict=True)
        twin._by_id = {order_id: twins[id(order)] for order_id, order in self._by_id.items()}
        twin._by_owner = {
            owner: [twins[id(order)] for order in orders] for owner, orders in self._by_owner.items()
        }
        for side, top in self._top.items():
            twin._top[side] = None if top is None else Top(twins[id(top.order)], top.allowed)
        twin._arrivals = self._arrivals
