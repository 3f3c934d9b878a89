"""cascade.OrderBook: one call a message, and `process` in batches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

import cascade as cs


class Calls:
    """One call a message. Its calls give no fills: the levels at the end are looked at."""

    def __init__(self) -> None:
        self.book = book = cs.OrderBook()
        self.limit, self.send, self.cancel, self.modify = book.limit, book.market, book.cancel, book.modify

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self.limit(side, price, quantity, order_id=order_id)

    def ioc(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self.limit(side, price, quantity, order_id=order_id, tif=1)

    def market(self, order_id: int, side: int, quantity: int) -> None:
        self.send(side, quantity, order_id=order_id)

    @property
    def levels(self) -> Iterable[tuple[int, int, int]]:
        table = self.book.depth()
        return zip(*(np.asarray(table[name]).tolist() for name in ("side", "price", "quantity")), strict=True)


class Batches:
    """`process`, all reports written to one buffer, the trades kept."""

    def __init__(self) -> None:
        self.book = cs.OrderBook()
        self.out = np.zeros(65_536, cs.REPORT_DTYPE)
        self.trades: list[np.ndarray] = []

    def process(self, orders: np.ndarray) -> None:
        while len(orders):
            written, rows = self.book.process(orders, out=self.out)
            reports = self.out[:written]
            self.trades.append(reports[reports["kind"] == cs.ReportKind.TRADE])
            orders = orders[rows:]

    @property
    def fills(self) -> Iterable[tuple[int, int, int]]:
        trades = np.concatenate(self.trades)
        return zip(*(trades[name].tolist() for name in ("maker_id", "price", "quantity")), strict=True)
