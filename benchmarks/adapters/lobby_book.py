"""lobby (Python, a successor of PyLOB): quotes are dicts; with its flag `fromData` it takes our ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lobby


class Book:
    def __init__(self) -> None:
        self.book = lobby.OrderBook(price_digits=0)
        self.sides: dict[int, str] = {}
        self.time = 0

    def send(self, kind: str, order_id: int, side: int, price: int, quantity: int) -> None:
        self.time += 1
        name = "bid" if side == 1 else "ask"
        self.sides[order_id] = name
        quote: dict[str, Any] = {"type": kind, "side": name, "qty": quantity, "price": price, "tid": order_id}
        quote["idNum"], quote["timestamp"] = order_id, self.time
        self.book.processOrder(quote, True, False)

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self.send("limit", order_id, side, price, quantity)

    def market(self, order_id: int, side: int, quantity: int) -> None:
        self.send("market", order_id, side, 0, quantity)

    def cancel(self, order_id: int) -> None:
        self.book.cancelOrder(self.sides[order_id], order_id)

    @property
    def fills(self) -> Iterator[tuple[int, int, int]]:
        return ((t["party1"][2], t["price"], t["qty"]) for t in self.book.tape)
