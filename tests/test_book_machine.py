"""Any calls to the compiled and the plain order book, one at a time: Hypothesis shrinks a difference to its
smallest case."""

from __future__ import annotations

import os

import numpy as np
import random_orders
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import cascade as cs
from cascade.records import Action, OrderType
from cascade.reference.book import Book

LOW, HIGH = -(2**63), 2**63 - 1

MATCHINGS = [
    "fifo", "fifo", "pro_rata", "A", "Q", "S", "T",
    cs.Matching.preset("K", fifo_percent=40, pro_rata_min=2),
    cs.Matching.preset("O", top_min=2, top_max=3),
    cs.Matching(("top", "pro_rata", "leveling")),
    cs.Matching(("split",), fifo_percent=50),
]  # fmt: skip
IDS = st.one_of(st.integers(0, 7), st.sampled_from([600, 2**40, 2**64 - 1]))
SIDES = st.sampled_from([1, -1])
PRICES = st.one_of(st.integers(-3, 3), st.sampled_from([LOW, HIGH]))
LOTS = st.one_of(st.integers(0, 9), st.sampled_from([2**61, 2**62]))
OWNERS = st.integers(0, 3)
# In slices of 1, or in pieces of a room of 1, 2**62 lots would be trades without end: these orders are small.
FEW = st.integers(1, 12)
KINDS = st.sampled_from([0, 0, 0, 1, 2, 3])


class Books(RuleBasedStateMachine):
    """One book twice."""

    @initialize(matching=st.sampled_from(MATCHINGS))
    def make(self, matching):
        self.core, self.plain = cs.OrderBook(matching), Book(matching)

    def same(self, name, *arguments):
        """The answer of both."""
        command = [(name, *arguments)]
        text = random_orders.different(
            random_orders.play(self.plain, command), random_orders.play(self.core, command)
        )
        assert text is None, text

    def send(self, **fields):
        row = np.zeros(1, cs.ORDER_DTYPE)
        for name, value in fields.items():
            row[name] = value
        self.same("process", row)

    @rule(order_id=IDS, side=SIDES, price=PRICES, lots=LOTS, tif=st.integers(0, 3), owner=OWNERS)
    def limit(self, order_id, side, price, lots, tif, owner):
        self.send(order_id=order_id, side=side, price=price, quantity=lots, tif=tif, owner=owner)

    @rule(
        order_id=IDS, side=SIDES, price=st.integers(-3, 3), lots=FEW, kind=KINDS,
        tif=st.integers(0, 3), owner=OWNERS, stp=st.integers(0, 4), flags=st.integers(0, 3),
        display=st.sampled_from([0, 0, 1, 2, 5]), stop_price=st.integers(-3, 3),
    )  # fmt: skip
    def any_order(self, order_id, side, price, lots, kind, tif, owner, stp, flags, display, stop_price):
        self.send(
            order_id=order_id, side=side, price=price, quantity=lots, type=kind, tif=tif, owner=owner,
            stp=stp, flags=flags if kind >= OrderType.STOP else flags & 1, display=display,
            stop_price=stop_price,
        )  # fmt: skip

    @rule(order_id=IDS)
    def cancel(self, order_id):
        self.send(order_id=order_id, action=Action.CANCEL)

    @rule(order_id=IDS, price=PRICES, lots=st.integers(0, 12))
    def modify(self, order_id, price, lots):
        self.send(order_id=order_id, price=price, quantity=lots, action=Action.MODIFY)

    @rule(owner=OWNERS)
    def cancel_owner(self, owner):
        self.same("cancel_owner", owner)

    @rule(price=st.integers(-3, 3))
    def set_mark(self, price):
        self.same("set_mark", price)

    @rule(owner=OWNERS, lots=st.integers(-9, 9))
    def set_position(self, owner, lots):
        self.same("set_position", owner, lots)

    @rule(owner=OWNERS, percent=st.sampled_from([0, 10, 50, 100]))
    def set_lmm(self, owner, percent):
        self.same("set_lmm", owner, percent)

    @rule(side=SIDES, levels=st.dictionaries(st.integers(-3, 3), st.integers(0, 9), max_size=3))
    def set_levels(self, side, levels):
        self.same(
            "set_levels", side, np.array(list(levels), np.int64), np.array(list(levels.values()), np.int64)
        )

    @rule()
    def copy(self):
        self.core, self.plain = self.core.copy(), self.plain.copy()

    @rule()
    def dump_and_load(self):
        self.core = cs.OrderBook.load(self.core.dump())

    @invariant()
    def one_state(self):
        assert self.core._check()
        self.same("state")


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize="CI" in os.environ
)
