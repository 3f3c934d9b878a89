"""Simulation: a market in motion, for harnesses - step by step, with orders, market data and time from
outside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ._bands import fences_table
from ._bounds import Bounds
from ._core import OrderBook
from ._orders import as_orders, check_levels, exact_int, exact_side, integer_column
from ._standing import accounts_table, holdings_table, positions_table
from ._state import COLLATERAL, CROSS
from .errors import EngineStateError, InputError
from .result import Result
from .shocks import Shock, as_shock
from .tables import Table

LAST_TIME = 2**62
"""Nanoseconds a simulation may reach: 146 years."""


class Simulation:
    """A market that a harness drives; made by `Market.start`. The market itself is not changed.

    Prices are in ticks and quantities in lots, as in an `OrderBook`; times in nanoseconds.
    `market.owner(account)` gives the owner numbers of orders.

    Examples
    --------
    >>> import cascade as cs
    >>> market = cs.datasets.constant_depth()
    >>> sim = market.start(cs.Shock(orders={"X": -500}))
    >>> while sim.step():
    ...     _ = sim.advance_ns(1_000_000)
    >>> round(sim.mark("X"), 2)
    99987.5
    """

    def __init__(
        self, market: Any, names: Any, state: Any, engine: Any, shock: Shock, ops: np.ndarray, record: str
    ) -> None:
        self._market = market
        self._engine = engine
        self._shock = shock
        self._record = record
        self._names = names
        self._state = state
        self._ops = ops
        self._bounds = Bounds(state, ops, engine.rules)
        self._busy = _Busy()

    # -- driving ---------------------------------------------------------------------------------------------
    def step(self) -> bool:
        """One step: marks, margin check, queue, turns. True while another step at this time could change
        something."""
        with self._busy:
            return self._engine.step()

    def settle(self, progress: Callable[[int], Any] | None = None) -> int:
        """Step until nothing changes; the number of steps taken."""
        steps = 1
        while self.step():
            if progress is not None:
                progress(steps)
            steps += 1
        return steps

    def apply(self, shock: Shock) -> None:
        """Another shock, now."""
        shock = as_shock(shock)
        ops = shock.compile(self._market)
        late = ops["account"] >= len(self._state.account_mode)
        if late.any():
            name = self._market.account_name(int(ops["account"][late][0]))
            raise InputError(f"shock.cash[{name!r}]: the account was loaded after the simulation started")
        with self._busy:
            so_far = np.concatenate([self._ops, ops])  # what the shocks before this one moved counts too
            self._state.check_range(so_far, self._engine.rules, self._market.account_name)
            bounds = self._bounds.after(ops)
            self._engine.apply(ops)
            self._ops, self._bounds, self._shock = so_far, bounds, self._shock + shock

    def submit(self, instrument: str, orders: Any) -> np.ndarray:
        """Send messages to an instrument's book.

        Parameters
        ----------
        instrument : str
        orders : array of ORDER_DTYPE, or a table with a subset of its fields
            Owner 0 is the external account; any other owner must be a cross account (`market.owner`).

        Returns
        -------
        Array of REPORT_DTYPE, in event order.

        Raises
        ------
        RangeError
            For prices and quantities at which a value could exceed the engines' integers, before anything has
            changed.
        """
        i, orders = self._market.instrument_index(instrument), as_orders(orders)
        with self._busy:
            self._bounds = self._bounds.including_messages(i, orders)
            return self._engine.submit(i, orders)

    def set_levels(self, instrument: str, side: int, prices: Any, quantities: Any) -> None:
        """Set external L2 levels absolutely: ticks and lots, 0 lots take a level off.

        A new level trades with internal orders that it crosses. Raises InputError if it would cross the
        external levels of the other side, before anything has changed.
        """
        i = self._market.instrument_index(instrument)
        side = exact_side(side)
        ticks, lots = _whole(prices, "prices"), _whole(quantities, "quantities")
        check_levels(ticks, lots)
        for name, values, low, high in (("prices", ticks, 1, 2**53 - 1), ("quantities", lots, 0, 2**60)):
            bad = np.flatnonzero((values < low) | (values > high))
            if bad.size:
                raise InputError(
                    f"levels[{name!r}][{bad[0]}] = {values[bad[0]]}: "
                    f"must be in [{low}, {high}] ({bad.size} bad rows)"
                )
        with self._busy:
            bounds = self._bounds.including(i, ticks[lots > 0], lots[lots > 0], "levels")
            self._engine.set_levels(i, side, ticks, lots)
            self._bounds = bounds

    def advance_ns(self, dt: int) -> int:
        """Let `dt` >= 0 nanoseconds pass; the new time.

        Averages of a mark tree move: what holds now has held for dt. The way to the next funding becomes
        shorter, and when it ends a new interval begins; payments are made by `Shock(funding=)` alone.
        """
        with self._busy:
            self._engine.advance_ns(exact_int(dt, "dt", 0, LAST_TIME - self._engine.time_ns))
            return self._engine.time_ns

    # -- looking ---------------------------------------------------------------------------------------------
    @property
    def time_ns(self) -> int:
        """Nanoseconds since the start."""
        return self._engine.time_ns

    def mark(self, instrument: str) -> float:
        """The mark as if set now."""
        i = self._market.instrument_index(instrument)
        with self._busy:
            marks = self._engine.marks()
        return float(marks[i] * self._state.instruments[i].tick_size / 1024)

    def book(self, instrument: str) -> OrderBook:
        """A copy of an instrument's book as it stands; `depth()` and `orders()` give read-only arrays."""
        i = self._market.instrument_index(instrument)
        with self._busy:
            return self._engine.book(i)

    @property
    def accounts(self) -> Table:
        """Every margin account as it stands, at the marks as if set now; read-only arrays as in
        `Result.accounts`."""
        with self._busy:
            balances, rows, marks = self._engine.balances(), self._engine.rows(), self._engine.marks()
            state = self._state.with_haircuts(self._engine.haircuts())
        return accounts_table(self._names, state, self._engine.rules, balances, rows, marks)

    @property
    def positions(self) -> Table:
        """Every open position as it stands, as in `Result.positions`."""
        with self._busy:
            rows = self._engine.rows()
        return positions_table(self._names, self._state, rows)

    @property
    def holdings(self) -> Table:
        """Collateral in other assets as it stands, at the marks as if set now: the columns of
        `Market.holdings`."""
        with self._busy:
            rows, marks = self._engine.rows(), self._engine.marks()
            state = self._state.with_haircuts(self._engine.haircuts())
        return holdings_table(self._names, state, rows, marks)

    def bands(self) -> Table:
        """Between which prices an order that came now could trade (`VenueRules.breakers`).

        Returns
        -------
        Table : instrument, lower, upper (prices; 0 and infinity where there is no limit, NaN while matching
            is halted), halted, halted_until_ns (0: not halted, 2**63 - 1: for good)
        """
        with self._busy:
            rows = self._engine.fences()
        return fences_table(self._state, rows)

    def position(self, owner: int) -> dict[str, float]:
        """{symbol: signed size} of an owner's account (cross margin; both slots added)."""
        owner = exact_int(owner, "owner")
        modes = self._state.account_mode
        if not 0 <= owner < len(modes) or modes[owner] != CROSS:
            raise InputError(f"owner = {owner}: must be an owner number of an account (market.owner)")
        with self._busy:
            rows = self._engine.rows()
        rows = rows[(rows["account"] == owner) & (rows["slot"] != COLLATERAL)]
        sizes: dict[str, float] = {}
        for i, ins in enumerate(self._state.instruments):
            lots = int(rows["lots"][rows["instrument"] == i].sum())
            if lots:
                sizes[ins.symbol] = ins.to_size(lots)
        return sizes

    def result(self) -> Result:
        """Everything so far as a Result; the simulation goes on unchanged."""
        with self._busy:
            twin = self._engine.copy()
        twin.finish()
        return Result(
            self._names, self._state, twin.outcome(), self._engine.rules, self._shock, self._record
        )

    def copy(self) -> Simulation:
        """An independent copy."""
        twin = Simulation.__new__(Simulation)
        twin.__dict__.update(self.__dict__)
        with self._busy:
            twin._engine = self._engine.copy()
        twin._busy = _Busy()
        return twin

    def __repr__(self) -> str:
        symbols = ", ".join(i.symbol for i in self._state.instruments)
        return f"<cascade.Simulation of {symbols} at {self.time_ns} ns>"


class _Busy:
    """One call at a time: a second one, from another thread or from within, is refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise EngineStateError(
                "simulation: busy with another call; let one thread at a time drive it, or use copy()"
            )

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _whole(values: Any, name: str) -> np.ndarray:
    """One integer or a column of them as an int64 array."""
    label = f"levels[{name!r}]"
    if isinstance(values, int | np.integer) and not isinstance(values, bool):
        return np.array([exact_int(values, label)], np.int64)
    return integer_column(values, np.dtype(np.int64), label)
