"""cython-orderbook (Cython): orders are objects of its own, all trades in a log."""

from __future__ import annotations

from collections.abc import Iterator

from cython_orderbook.orderbook import Order, OrderBook, OrderSide


class Book:
    def __init__(self) -> None:
        self.book = OrderBook()
        self.theirs: dict[int, str] = {}
        self.ours: dict[str, int] = {}

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        order = Order(
            side=OrderSide.BID if side == 1 else OrderSide.ASK, price=price, original_quantity=quantity
        )
        self.theirs[order_id] = order.order_id
        self.ours[order.order_id] = order_id
        self.book.add_limit_order(order)

    def market(self, order_id: int, side: int, quantity: int) -> None:
        order = Order(side=OrderSide.BID if side == 1 else OrderSide.ASK, original_quantity=quantity)
        self.book.add_market_order(order)

    def cancel(self, order_id: int) -> None:
        self.book.cancel_order(self.theirs.pop(order_id))

    @property
    def fills(self) -> Iterator[tuple[int, int, int]]:
        for t in self.book.trade_log:
            yield self.ours[t.filler_id], int(t.price), t.quantity_filled
