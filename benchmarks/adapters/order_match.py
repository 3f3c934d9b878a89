"""order-matching (Python): orders are dataclasses with text ids and times, float prices and quantities."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from loguru import logger
from order_matching.enums import Side
from order_matching.matching_engine import MatchingEngine
from order_matching.order import LimitOrder
from order_matching.orders import Orders

logger.disable("order_matching")


class Book:
    def __init__(self) -> None:
        self.engine = MatchingEngine(seed=1)
        self.now = datetime(2024, 1, 1)
        self.step = timedelta(microseconds=1)
        self.trades: list[list[Any]] = []

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self.now += self.step
        order = LimitOrder(
            side=Side.BUY if side == 1 else Side.SELL, price=price, size=quantity, timestamp=self.now,
            order_id=str(order_id), trader_id="x",
        )  # fmt: skip
        self.engine.place(Orders([order]))
        found = self.engine.match(timestamp=self.now).trades
        if found:
            self.trades.append(found)

    def cancel(self, order_id: int) -> None:
        self.engine.cancel_order(str(order_id))

    @property
    def fills(self) -> Iterator[tuple[int, int, int]]:
        for found in self.trades:
            for t in found:
                yield int(t.book_order_id), int(t.price), int(t.size)
