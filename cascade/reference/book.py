"""The order book in plain Python: for any array of messages it gives the compiled book's reports, bit for
bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade._orders import as_orders
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

_LARGEST_QUANTITY = 2**62
_LARGEST_SUM = 2**63 - 1


class Order:
    """A resting order: ticks, lots (open), side +1 or -1; `external` marks an anonymous level's order, which
    no id finds."""

    __slots__ = ("external", "id", "lots", "owner", "price", "side")

    def __init__(self, side: int, price: int, lots: int, owner: int, order_id: int, external: bool) -> None:
        self.side = side
        self.price = price
        self.lots = lots
        self.owner = owner
        self.id = order_id
        self.external = external


class Book:
    """A limit order book with price-time priority.

    Each side is a dict of price -> orders, oldest first; a price without orders has no entry.
    """

    def __init__(self) -> None:
        self._levels: dict[int, dict[int, list[Order]]] = {Side.BUY: {}, Side.SELL: {}}
        self._by_id: dict[int, Order] = {}
        self._by_owner: dict[int, list[Order]] = {}

    # Primitives

    def add(
        self, side: int, price: int, lots: int, owner: int, order_id: int, external: bool = False
    ) -> Order:
        """Append an order at the end of its level's queue."""
        order = Order(side, price, lots, owner, order_id, external)
        self._levels[side].setdefault(price, []).append(order)
        if not external:
            self._by_id[order_id] = order
        if owner != 0:
            self._by_owner.setdefault(owner, []).append(order)
        return order

    def remove(self, order: Order) -> None:
        """Take an order off, whatever is left of it."""
        queue = self._levels[order.side][order.price]
        queue.remove(order)
        if not queue:
            del self._levels[order.side][order.price]
        if not order.external:
            del self._by_id[order.id]
        if order.owner != 0:
            self._by_owner[order.owner].remove(order)

    def take(self, order: Order, lots: int) -> None:
        """A fill of `lots`; an order filled whole leaves the book."""
        order.lots -= lots
        if order.lots == 0:
            self.remove(order)

    def reduce(self, order: Order, lots: int) -> None:
        """Set the open quantity and keep the place."""
        order.lots = lots

    def find(self, order_id: int) -> Order | None:
        """The resting order with this id."""
        return self._by_id.get(order_id)

    def best(self, side: int) -> int | None:
        """The best price of a side, or None."""
        prices = self._levels[side]
        if not prices:
            return None
        return max(prices) if side == Side.BUY else min(prices)

    def front(self, side: int) -> Order | None:
        """The oldest order of the best level, or None."""
        price = self.best(side)
        return None if price is None else self._levels[side][price][0]

    def owner_orders(self, owner: int) -> list[Order]:
        """An owner's resting orders, oldest first."""
        return list(self._by_owner.get(owner, []))

    def orders(self, side: int) -> list[Order]:
        """A side's orders, best price first, then oldest."""
        prices = sorted(self._levels[side], reverse=side == Side.BUY)
        return [order for price in prices for order in self._levels[side][price]]

    def level(self, side: int, price: int) -> tuple[int, int]:
        """Sum of the open quantities and number of orders at a price."""
        queue = self._levels[side].get(price, [])
        return sum(order.lots for order in queue), len(queue)

    def __len__(self) -> int:
        return len(self.orders(Side.BUY)) + len(self.orders(Side.SELL))

    def copy(self) -> Book:
        """An independent copy."""
        twin = Book()
        twins: dict[int, Order] = {}
        for side in (Side.BUY, Side.SELL):
            for order in self.orders(side):
                twins[id(order)] = twin.add(side, order.price, order.lots, 0, order.id, order.external)
        for owner, orders in self._by_owner.items():
            for order in orders:
                twins[id(order)].owner = owner
                twin._by_owner.setdefault(owner, []).append(twins[id(order)])
        return twin

    # Messages

    def process(self, orders: Any) -> np.ndarray:
        """Deal with a table of messages, in order; the reports as an array of REPORT_DTYPE."""
        reports: list[dict[str, int]] = []
        for row, message in enumerate(as_orders(orders)):
            start = len(reports)
            self._message(
                {name: int(message[name]) for name in message.dtype.names if name != "_pad"}, reports
            )
            for report in reports[start:]:
                report["message"] = row
        return _as_array(reports)

    def cancel_owner(self, owner: int) -> np.ndarray:
        """Take all orders of an owner off, oldest first; their CANCELLED reports."""
        reports = []
        for order in self.owner_orders(owner):
            reports.append(_cancelled(order, Reason.OWNER))
            self.remove(order)
        return _as_array(reports)

    def _message(self, m: dict[str, int], reports: list[dict[str, int]]) -> None:
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
        elif m["action"] == Action.NEW:
            self._new(m, reports)
        elif m["action"] == Action.CANCEL:
            order = self._by_id[m["order_id"]]
            reports.append(_cancelled(order, Reason.USER))
            self.remove(order)
        else:
            self._modify(m, reports)

    def refusal(self, m: dict[str, int]) -> Reason | None:
        """Why a message is refused: its fields, then what this book does not support, then the book's
        state."""
        action, order_id = m["action"], m["order_id"]
        if action == Action.CANCEL:
            return None if order_id in self._by_id else Reason.UNKNOWN_ID
        if action == Action.MODIFY:
            return self._refusal_of_modify(m)
        if action != Action.NEW:
            return Reason.BAD_FIELD
        if (
            m["type"] > max(OrderType)
            or m["tif"] > max(TimeInForce)
            or m["stp"] > max(Stp)
            or m["flags"] > OrderFlags.REDUCE_ONLY
            or (m["type"] == OrderType.MARKET and m["tif"] == TimeInForce.POST_ONLY)
        ):
            return Reason.BAD_FIELD
        if m["side"] not in (Side.BUY, Side.SELL):
            return Reason.BAD_SIDE
        if not 1 <= m["quantity"] <= _LARGEST_QUANTITY:
            return Reason.BAD_QUANTITY
        if m["owner"] < 0:
            return Reason.BAD_OWNER
        if m["type"] in (OrderType.STOP, OrderType.STOP_LIMIT) or m["display"] or m["flags"] or m["stp"]:
            return Reason.UNSUPPORTED
        if order_id in self._by_id:
            return Reason.DUPLICATE_ID
        limit = None if m["type"] == OrderType.MARKET else m["price"]
        if m["tif"] == TimeInForce.POST_ONLY and self._crosses(m["side"], limit):
            return Reason.WOULD_TAKE
        if m["tif"] == TimeInForce.FOK and self._reachable(m["side"], limit) < m["quantity"]:
            return Reason.FOK_UNFILLABLE
        if _rests(m) and self.level(m["side"], m["price"])[0] + m["quantity"] > _LARGEST_SUM:
            return Reason.CAPACITY
        return None

    def _refusal_of_modify(self, m: dict[str, int]) -> Reason | None:
        if not 1 <= m["quantity"] <= _LARGEST_QUANTITY:
            return Reason.BAD_QUANTITY
        order = self.find(m["order_id"])
        if order is None:
            return Reason.UNKNOWN_ID
        others = self.level(order.side, m["price"])[0]
        if order.price == m["price"]:
            others -= order.lots
        return Reason.CAPACITY if others + m["quantity"] > _LARGEST_SUM else None

    def _new(self, m: dict[str, int], reports: list[dict[str, int]]) -> None:
        sent = {"order_id": m["order_id"], "owner": m["owner"], "side": m["side"], "price": m["price"]}
        reports.append({"kind": ReportKind.ACK, "quantity": m["quantity"], **sent})
        limit = None if m["type"] == OrderType.MARKET else m["price"]
        left = self._walk(m["side"], limit, m["quantity"], m["owner"], m["order_id"], reports)
        if left > 0 and _rests(m):
            self.add(m["side"], m["price"], left, m["owner"], m["order_id"])
        elif left > 0:
            reports.append({"kind": ReportKind.CANCELLED, "quantity": left, "reason": Reason.IOC, **sent})

    def _modify(self, m: dict[str, int], reports: list[dict[str, int]]) -> None:
        order = self._by_id[m["order_id"]]
        if m["price"] == order.price and m["quantity"] < order.lots:
            self.reduce(order, m["quantity"])
        else:
            self.remove(order)
            left = self._walk(order.side, m["price"], m["quantity"], order.owner, order.id, reports)
            if left > 0:
                self.add(order.side, m["price"], left, order.owner, order.id)
        reports.append(
            {
                "kind": ReportKind.MODIFIED,
                "order_id": order.id,
                "owner": order.owner,
                "price": m["price"],
                "quantity": m["quantity"],
            }
        )

    def _walk(
        self,
        side: int,
        limit: int | None,
        lots: int,
        owner: int,
        order_id: int,
        reports: list[dict[str, int]],
    ) -> int:
        """Trade, best price first, then oldest, at the makers' prices; the lots left."""
        maker = self.front(-side)
        while lots > 0 and maker is not None and _accepts(side, limit, maker.price):
            traded = min(lots, maker.lots)
            lots -= traded
            reports.append(
                {
                    "kind": ReportKind.TRADE,
                    "order_id": order_id,
                    "owner": owner,
                    "maker_id": maker.id,
                    "maker_owner": maker.owner,
                    "side": side,
                    "price": maker.price,
                    "quantity": traded,
                    "leaves": lots,
                }
            )
            self.take(maker, traded)
            maker = self.front(-side)
        return lots

    def _crosses(self, side: int, limit: int | None) -> bool:
        """Would a taker trade with the best price of the other side?"""
        best = self.best(-side)
        return best is not None and _accepts(side, limit, best)

    def _reachable(self, side: int, limit: int | None) -> int:
        """The lots that a taker could get."""
        return sum(order.lots for order in self.orders(-side) if _accepts(side, limit, order.price))


def _accepts(side: int, limit: int | None, price: int) -> bool:
    """Does a taker accept a maker's price? A limit of None takes any."""
    return limit is None or (price <= limit if side == Side.BUY else price >= limit)


def _rests(m: dict[str, int]) -> bool:
    """Does a remainder stay on the book?"""
    return m["type"] == OrderType.LIMIT and m["tif"] in (TimeInForce.GTC, TimeInForce.POST_ONLY)


def _as_array(reports: list[dict[str, int]]) -> np.ndarray:
    """Reports as an array of REPORT_DTYPE; fields that a report does not name are 0."""
    array = np.zeros(len(reports), REPORT_DTYPE)
    for row, report in enumerate(reports):
        for name, value in report.items():
            array[name][row] = value
    return array


def _cancelled(order: Order, reason: Reason) -> dict[str, int]:
    return {
        "kind": ReportKind.CANCELLED,
        "order_id": order.id,
        "owner": order.owner,
        "side": order.side,
        "price": order.price,
        "quantity": order.lots,
        "reason": reason,
    }
