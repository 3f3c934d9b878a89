"""pyorderbook (Python): orders are objects of its own, prices Decimals."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pyorderbook

logging.getLogger("pyorderbook").setLevel(logging.WARNING)


class Book:
    def __init__(self) -> None:
        self.book = pyorderbook.Book()
        self.orders: dict[int, Any] = {}
        self.ours: dict[Any, int] = {}
        self.trades: list[list[Any]] = []

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        order = (pyorderbook.bid if side == 1 else pyorderbook.ask)("X", price, quantity)
        self.orders[order_id] = order
        self.ours[order.id] = order_id
        found = self.book.match(order).trades
        if found:
            self.trades.append(found)

    def cancel(self, order_id: int) -> None:
        self.book.cancel(self.orders.pop(order_id))

    @property
    def fills(self) -> Iterator[tuple[int, int, int]]:
        for found in self.trades:
            for t in found:
                yield self.ours[t.standing_order_id], int(t.fill_price), t.fill_quantity
