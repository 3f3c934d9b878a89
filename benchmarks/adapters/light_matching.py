"""lightmatchingengine (Python): ids of its own, a trade for each of the two sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightmatchingengine.lightmatchingengine import LightMatchingEngine


class Book:
    def __init__(self) -> None:
        self.book = LightMatchingEngine()
        self.theirs: dict[int, int] = {}
        self.ours: dict[int, int] = {}
        self.trades: list[tuple[int, list[Any]]] = []

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        order, found = self.book.add_order("X", price, quantity, 1 if side == 1 else 2)
        self.theirs[order_id] = order.order_id
        self.ours[order.order_id] = order_id
        if found:
            self.trades.append((order.order_id, found))

    def cancel(self, order_id: int) -> None:
        self.book.cancel_order(self.theirs.pop(order_id), "X")

    @property
    def fills(self) -> Iterator[tuple[int, int, int]]:
        for taker, found in self.trades:
            for t in found:
                if t.order_id != taker:
                    yield self.ours[t.order_id], t.trade_price, t.trade_qty
