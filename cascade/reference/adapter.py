"""The reference engine behind the interface that `Market` and `Simulation` use; the core's twin is
`cascade/_engine.py`."""

from __future__ import annotations

import copy

import numpy as np

from .. import _bookdump
from .._core import OrderBook
from .._rundata import ROW_DTYPE, RunData
from .._state import EXTERNAL
from ..instruments import RATE_ONE
from ..matching import as_matching
from ..records import REPORT_DTYPE
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

    def cancel(self) -> None:
        """The reference is stopped between scenarios only."""

    def step(self) -> bool:
        return self.engine.step()

    def run(self, ops: np.ndarray) -> None:
        self.engine.apply(ops)
        self.engine.run()

    def finish(self) -> None:
        self.engine.finish()

    def through(self, ops: np.ndarray) -> RunData:
        self.run(ops)
        return self.outcome()

    def outcome(self) -> RunData:
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

    def fences(self) -> list[tuple[int, int, int]]:
        return self.engine.fences()

    def book(self, i: int) -> OrderBook:
        """A compiled copy of a book, for looking at."""
        source = self.engine.books[i]
        orders = [*source.side_orders(1), *source.side_orders(-1)]
        rank = {
            id(order): k
            for owner in {order.owner for order in orders} - {EXTERNAL}
            for k, order in enumerate(source.owner_orders(owner))
        }
        records = np.zeros(len(orders), _bookdump.RESTING_DTYPE)
        for row, order in enumerate(orders):
            records["order_id"][row] = order.id
            records["price"][row] = order.price
            records["quantity"][row] = order.lots
            records["shown"][row] = order.lots
            records["owner"][row] = order.owner
            records["owner_rank"][row] = rank.get(id(order), 0)
            records["side"][row] = order.side
            records["external"][row] = order.external
        state = {
            "matching": as_matching("fifo"),
            "orders": records,
            "stops": np.zeros(0, _bookdump.STOP_DTYPE),
            "owners": np.zeros(0, _bookdump.OWNER_DTYPE),
            "last": None,
            "mark": None,
            "top_left": (0, 0),
            "last_id": max((order.id for order in orders), default=0),
        }
        return OrderBook.load(_bookdump.pack(state))

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
            for (i, slot), p in sorted((a.positions | a.collateral).items())
        ]
        return np.array(rows, ROW_DTYPE)

    def ranking(self, i: int, side: int) -> tuple[np.ndarray, ...]:
        """(account, slot, lots, score) of who holds a side of an instrument, in deleveraging order."""
        ranked = self.engine.ranking(i, side)
        return (
            np.array([a for _, a, _ in ranked], np.int32),
            np.array([row[1] for _, _, row in ranked], np.int32),
            np.array([self.engine.accounts[a].positions[row].lots for _, a, row in ranked], np.int64),
            np.array([float(rank) for rank, _, _ in ranked], np.float64),
        )

    def marks(self) -> list[int]:
        return list(self.engine.shadow)

    def haircuts(self) -> list[int]:
        return [RATE_ONE - weight for weight in self.engine.weights]

    @property
    def time_ns(self) -> int:
        return self.engine.time_ns

    def copy(self) -> ReferenceEngine:
        twin = copy.copy(self)
        twin.engine = copy.deepcopy(self.engine, {id(self.engine.state): self.engine.state})
        return twin
