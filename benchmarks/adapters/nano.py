"""nanobook (Rust): integer prices and quantities, ids of its own."""

from __future__ import annotations

from collections.abc import Iterator

import nanobook


class Book:
    def __init__(self) -> None:
        self.exchange = exchange = nanobook.Exchange()
        self.limit, self.take, self.change = exchange.submit_limit, exchange.submit_market, exchange.modify
        self.off = exchange.cancel
        self.theirs: dict[int, int] = {}
        self.ours: dict[int, int] = {}

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        number = self.limit("buy" if side == 1 else "sell", price, quantity).order_id
        self.theirs[order_id] = number
        self.ours[number] = order_id

    def ioc(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self.limit("buy" if side == 1 else "sell", price, quantity, "ioc")

    def market(self, order_id: int, side: int, quantity: int) -> None:
        self.take("buy" if side == 1 else "sell", quantity)

    def cancel(self, order_id: int) -> None:
        self.off(self.theirs.pop(order_id))

    def modify(self, order_id: int, price: int, quantity: int) -> None:
        number = self.change(self.theirs[order_id], price, quantity).new_order_id
        self.theirs[order_id] = number
        self.ours[number] = order_id

    @property
    def fills(self) -> Iterator[tuple[int, int, int]]:
        # The exchange keeps all of its trades.
        return ((self.ours[t.passive_order_id], t.price, t.quantity) for t in self.exchange.trades())
