"""limit-order-book (C++ through ctypes): our ids; it gives no fills: the levels at the end are looked at."""

from __future__ import annotations

from collections.abc import Iterator

import limit_order_book


class Book:
    def __init__(self) -> None:
        self.book = book = limit_order_book.LimitOrderBook()
        self.cancel, self.buy, self.sell = book.cancel, book.limit_buy, book.limit_sell
        self.take_buy, self.take_sell = book.market_buy, book.market_sell
        self.prices: set[int] = set()

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self.prices.add(price)
        if side == 1:
            self.buy(order_id, quantity, price)
        else:
            self.sell(order_id, quantity, price)

    def market(self, order_id: int, side: int, quantity: int) -> None:
        if side == 1:
            self.take_buy(order_id, quantity)
        else:
            self.take_sell(order_id, quantity)

    @property
    def levels(self) -> Iterator[tuple[int, int, int]]:
        for price in self.prices:
            for side, volume in ((1, self.book.volume_buy(price)), (-1, self.book.volume_sell(price))):
                if volume:
                    yield side, price, volume
