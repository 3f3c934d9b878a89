"""litebook (Rust): float prices and quantities, ids of its own (UUIDs), orders made first and sent then.

Its fills name the resting order `buy_id` whatever its side, and carry the seller's price whoever came first:
makers and lots are checked as it tells them, the price is put in here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import litebook


class Book:
    def __init__(self) -> None:
        self.book = litebook.OrderBook(tick_size=1.0)
        self.theirs: dict[int, str] = {}
        self.ours: dict[str, tuple[int, int]] = {}
        self.trades: list[list[Any]] = []

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        kind = litebook.OrderType.Buy if side == 1 else litebook.OrderType.Sell
        order = self.book.create_order(kind, price, quantity)
        number = order.id
        self.theirs[order_id] = number
        self.ours[number] = order_id, price
        found = self.book.add(order)
        if found:
            self.trades.append(found)

    def cancel(self, order_id: int) -> None:
        self.book.cancel(self.theirs.pop(order_id))

    @property
    def fills(self) -> Iterator[tuple[int, int, int]]:
        for found in self.trades:
            for fill in found:
                yield *self.ours[fill.buy_id], round(fill.quantity)
