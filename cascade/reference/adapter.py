"""The reference engine behind the interface that `Market` and `Simulation` use; the core's twin is
`cascade/_engine.py`."""

from __future__ import annotations

import copy

import numpy as np

from .._core import OrderBook
from ..records import REPORT_DTYPE, Action, OrderType
from ..result import ROW_DTYPE, RunData
from .engine import Engine
from .export import export


class ReferenceEngine:
    """Arrays in, arrays out, around an `Engine`."""

    def __init__(
        self, state, rules, record: str, audit: str, max_waves: int | None, engine: type[Engine] = Engine
    ):
        self.engine = engine(state, rules, max_waves)
        self.rules = rules
        self.record = record
        self.audit = audit

    def apply(self, ops: np.ndarray) -> None:
        self.engine.apply(ops)

    def step(self) -> bool:
        return self.engine.step()

    def run(self) -> None:
        self.engine.run()

    def finish(self) -> None:
        self.engine.finish()

    def export(self) -> RunData:
        return export(self.engine, self.record)

    def release(self) -> None:
        """Nothing to put back: the reference works on a copy."""

    def submit(self, i: int, orders: np.ndarray) -> np.ndarray:
        messages = [
            {name: int(row[name]) for name in orders.dtype.names or () if name != "_pad"} for row in orders
        ]
        reports = self.engine.submit(i, messages)
        array = np.zeros(len(reports), REPORT_DTYPE)
        for row, report in enumerate(reports):
            for name, value in report.items():
                array[name][row] = value
        return array

    def set_levels(self, i: int, side: int, prices: np.ndarray, lots: np.ndarray) -> None:
        self.engine.set_levels(i, side, list(zip(prices.tolist(), lots.tolist(), strict=True)))

    def advance_ns(self, dt: int) -> None:
        self.engine.advance_ns(dt)

    def book(self, i: int) -> OrderBook:
        """A compiled copy of a book, for looking at: external levels are anonymous."""
        book = OrderBook()
        source = self.engine.books[i]
        for side in (1, -1):
            for order in source.orders(side):
                if order.external:
                    level = [o for o in source.orders(side) if o.price == order.price and o.external]
                    book.set_levels(side, [order.price], [sum(o.lots for o in level)])
                else:
                    book.process(
                        {
                            "action": [int(Action.NEW)], "type": [int(OrderType.LIMIT)],
                            "order_id": [order.id],
                            "side": [side], "price": [order.price], "quantity": [order.lots],
                            "owner": [order.owner],
                        }
                    )  # fmt: skip
        return book

    def balances(self) -> np.ndarray:
        """Balances of the users' accounts in quanta; 0 for system accounts."""
        out = self.engine.state.account_balance.copy()
        for account in self.engine.accounts:
            out[account.index] = account.balance if account.mode else 0
        return out

    def rows(self) -> np.ndarray:
        """Position rows of the users' accounts, sorted by account, instrument, slot."""
        rows = [
            (a.index, i, slot, p.lots, p.basis)
            for a in self.engine.accounts
            if a.mode
            for (i, slot), p in sorted(a.positions.items())
        ]
        return np.array(rows, ROW_DTYPE)

    def marks(self) -> list[int]:
        return list(self.engine.shadow)

    @property
    def time_ns(self) -> int:
        return self.engine.time_ns

    def copy(self) -> ReferenceEngine:
        twin = copy.copy(self)
        twin.engine = copy.deepcopy(self.engine, {id(self.engine.state): self.engine.state})
        return twin
