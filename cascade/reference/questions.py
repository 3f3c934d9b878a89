"""What can be asked of a book, under the names of `cascade.OrderBook`."""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade._orders import Level, exact_int, exact_side
from cascade.errors import InputError
from cascade.records import Side
from cascade.tables import Table

from .levels import Levels, Order

_TYPES = {
    "order_id": np.uint64, "owner": np.int32, "side": np.int8, "type": np.uint8, "tif": np.uint8,
    "flags": np.uint8,
    "stp": np.uint8, "external": np.bool_,
}  # fmt: skip


def table(rows: list[dict[str, Any]], *names: str) -> Table:
    """Rows as a table; int64 where no other type is known for the name."""
    return Table({name: np.array([row[name] for row in rows], _TYPES.get(name, np.int64)) for name in names})


class Questions(Levels):
    """Questions about the resting orders. None of them changes anything."""

    @property
    def best_bid(self) -> int | None:
        return self.best(Side.BUY)

    @property
    def best_ask(self) -> int | None:
        return self.best(Side.SELL)

    def __len__(self) -> int:
        return len(self.side_orders(Side.BUY)) + len(self.side_orders(Side.SELL))

    def level(self, side: int, price: int) -> Level:
        """Sum of the shown lots and number of orders at a price."""
        queue = self.queue(exact_side(side), price)
        return Level(sum(order.shown for order in queue), len(queue))

    def depth(self, n: int | None = None) -> Table:
        """The best levels, at most n a side: bids first, best price first, shown lots."""
        most = None if n is None else exact_int(n, "n", 0)
        rows = []
        for side in (Side.BUY, Side.SELL):
            for price in list(dict.fromkeys(order.price for order in self.side_orders(side)))[:most]:
                quantity, orders = self.level(side, price)
                rows.append({"side": side, "price": price, "quantity": quantity, "orders": orders})
        return table(rows, "side", "price", "quantity", "orders")

    def orders(self) -> Table:
        """All resting orders: bids first, best price first, queue order."""
        rows = [
            {
                "order_id": o.id, "owner": o.owner, "side": o.side, "price": o.price, "quantity": o.lots,
                "shown": o.shown, "display": o.display, "flags": o.flags, "stp": o.stp,
                "external": o.external,
            }
            for o in self.side_orders(Side.BUY) + self.side_orders(Side.SELL)
        ]  # fmt: skip
        return table(
            rows, "order_id", "owner", "side", "price", "quantity", "shown", "display", "flags", "stp",
            "external",
        )  # fmt: skip

    def queue_position(self, order_id: int) -> int:
        """How many orders are ahead of an order at its price."""
        order = self.find(exact_int(order_id, "order_id", 0, 2**64 - 1))
        if order is None:
            raise InputError(f"order_id = {order_id}: no resting order has this id")
        return self.queue(order.side, order.price).index(order)

    def quantity_to(self, side: int, price: int) -> int:
        """The lots, hidden ones included, that a taker of `side` finds up to a limit."""
        taker = Order(0, 0, exact_side(side), exact_int(price, "price"), 0)
        return sum(maker.lots for maker in self.side_orders(-side) if taker.accepts(maker.price))

    def price_to_fill(self, side: int, quantity: int) -> int | None:
        """The worst price that a market order of `side` would pay, None if the book cannot fill it."""
        pieces = self._pieces(side, quantity)
        return None if pieces is None else pieces[-1][0]

    def cost(self, side: int, quantity: int) -> int | None:
        """What a market order of `side` would pay or get in ticks x lots, None if the book cannot fill it."""
        pieces = self._pieces(side, quantity)
        return None if pieces is None else sum(price * lots for price, lots in pieces)

    def _pieces(self, side: int, quantity: int) -> list[tuple[int, int]] | None:
        """Prices and lots of what a market order would take."""
        side, left = exact_side(side), exact_int(quantity, "quantity")
        if left < 1:
            raise InputError(f"quantity = {left}: must be > 0")
        pieces = []
        for maker in self.side_orders(-side):
            pieces.append((maker.price, min(left, maker.lots)))
            left -= pieces[-1][1]
            if left == 0:
                return pieces
        return None
