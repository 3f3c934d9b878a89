"""fastlob (Python): Decimals, own ids. It does not name makers: the levels at the end are looked at."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import fastlob

logging.getLogger("[LOB-1]").setLevel(logging.CRITICAL)


class Book:
    def __init__(self) -> None:
        self.book = fastlob.Orderbook(start=True)
        self.theirs: dict[int, str] = {}

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        which = fastlob.OrderSide.BID if side == 1 else fastlob.OrderSide.ASK
        result = self.book(fastlob.OrderParams(which, price, quantity))
        self.theirs[order_id] = result.orderid()

    def cancel(self, order_id: int) -> None:
        self.book.cancel(self.theirs.pop(order_id))

    def close(self) -> None:
        self.book.stop()

    @property
    def levels(self) -> Iterator[tuple[int, int, int]]:
        for side, best in ((1, self.book.best_bids), (-1, self.book.best_asks)):
            for price, volume, _orders in best(self.book.n_bids() if side == 1 else self.book.n_asks()):
                yield side, int(price), int(volume)
