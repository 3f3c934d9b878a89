"""Simulation: a market in motion, for harnesses - step by step, with orders, market data and time from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._core import OrderBook
from ._orders import as_orders, exact_int
from .errors import InputError, InputTypeError, RangeError
from .instruments import PRICE_LIMIT
from .records import Action, OrderType, ShockPart, Side, TimeInForce
from .result import Result, accounts_table, positions_table
from .shocks import Shock, as_shock
from .tables import Table


class Simulation:
    """A market that a harness drives; made by `Market.start`. The market itself is not changed.

    Prices are in ticks and quantities in lots, as in an `OrderBook`; times in nanoseconds. `market.owner(account)` gives the owner
    numbers of orders.

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

    def __init__(self, market: Any, engine: Any, shock: Shock, record: str):
        self._market = market
        self._engine = engine
        self._shock = shock
        self._record = record
        self._names = market.snapshot()
        self._state = market.state()
        self._bounds = Bounds(self._state, shock.compile(market))

    # -- driving -----------------------------------------------------------------------------------------------------
    def step(self) -> bool:
        """One step: marks, margin check, queue, turns. True while another step at this time could change something."""
        return self._engine.step()

    def settle(self, progress: Callable[[int], Any] | None = None) -> int:
        """Step until nothing changes; the number of steps taken."""
        steps = 1
        while self._engine.step():
            if progress is not None:
                progress(steps)
            steps += 1
        return steps

    def apply(self, shock: Shock) -> None:
        """Another shock, now."""
        shock = as_shock(shock)
        ops = shock.compile(self._market)
        self._state.check_range(ops, self._engine.rules)
        bounds = self._bounds.after(ops)
        self._engine.apply(ops)
        self._bounds = bounds
        self._shock = self._shock + shock

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
            For prices and quantities at which a value could exceed the engines' integers, before anything has changed.
        """
        i, messages = self._market.instrument_index(instrument), as_orders(orders)
        rests = ((messages["type"] == OrderType.LIMIT) & np.isin(messages["tif"], (TimeInForce.GTC, TimeInForce.POST_ONLY))) | (
            messages["action"] == Action.MODIFY
        )
        # The engine refuses what is out of its domain, with a reason; trades happen at the prices of what rests.
        x = messages[rests & (messages["price"] >= 1) & (messages["price"] < PRICE_LIMIT)]
        x = x[(x["quantity"] >= 1) & (x["quantity"] < 2**61) & (x["action"] != Action.CANCEL)]
        self._bounds = self._bounds.including(i, x["price"], x["quantity"], "orders")
        return self._engine.submit(i, messages)

    def set_levels(self, instrument: str, side: int, prices: Any, quantities: Any) -> None:
        """Set external L2 levels absolutely: ticks and lots, 0 lots take a level off.

        A new level trades with internal orders that it crosses. Raises InputError if it would cross the external levels of the other
        side, before anything has changed.
        """
        i = self._market.instrument_index(instrument)
        if side not in (Side.BUY, Side.SELL):
            raise InputError(f"set_levels: side = {side!r}: must be {int(Side.BUY)} or {int(Side.SELL)}")
        ticks, lots = _whole(prices, "prices"), _whole(quantities, "quantities")
        if ticks.shape != lots.shape:
            raise InputError(f"set_levels: {len(ticks)} prices and {len(lots)} quantities: must be as many")
        for name, values, low, high in (("prices", ticks, 1, 2**53 - 1), ("quantities", lots, 0, 2**60)):
            bad = np.flatnonzero((values < low) | (values > high))
            if bad.size:
                raise InputError(
                    f"levels[{name!r}][{bad[0]}] = {values[bad[0]]}: must be in [{low}, {high}] ({bad.size} bad rows)"
                )
        bounds = self._bounds.including(i, ticks[lots > 0], lots[lots > 0], "levels")
        self._engine.set_levels(i, int(side), ticks, lots)
        self._bounds = bounds

    def advance_ns(self, dt: int) -> int:
        """Let `dt` >= 0 nanoseconds pass; the new time."""
        self._engine.advance_ns(exact_int(dt, "dt", 0, 2**63 - 1 - self._engine.time_ns))
        return self._engine.time_ns

    # -- looking -----------------------------------------------------------------------------------------------------
    @property
    def time_ns(self) -> int:
        """Nanoseconds since the start."""
        return self._engine.time_ns

    def mark(self, instrument: str) -> float:
        """The mark as if set now."""
        i = self._market.instrument_index(instrument)
        return float(self._engine.marks()[i] * self._state.instruments[i].tick_size / 1024)

    def book(self, instrument: str) -> OrderBook:
        """A copy of an instrument's book as it stands; `depth()` and `orders()` give read-only arrays."""
        return self._engine.book(self._market.instrument_index(instrument))

    @property
    def accounts(self) -> Table:
        """Every margin account as it stands, at the marks as if set now; read-only arrays as in `Result.accounts`."""
        return accounts_table(
            self._names, self._state, self._engine.balances(), self._engine.rows(), self._engine.marks()
        )

    @property
    def positions(self) -> Table:
        """Every open position as it stands, as in `Result.positions`."""
        return positions_table(self._names, self._state, self._engine.rows())

    def position(self, owner: int) -> dict[str, float]:
        """{symbol: signed size} of an owner's account (cross margin; both slots added)."""
        if isinstance(owner, bool) or not isinstance(owner, int | np.integer):
            raise InputTypeError(f"position: owner = {owner!r}: must be an owner number (market.owner)")
        rows = self._engine.rows()
        rows = rows[rows["account"] == owner]
        sizes: dict[str, float] = {}
        for i, ins in enumerate(self._state.instruments):
            lots = int(rows["lots"][rows["instrument"] == i].sum())
            if lots:
                sizes[ins.symbol] = ins.to_size(lots)
        return sizes

    def result(self) -> Result:
        """Everything so far as a Result; the simulation goes on unchanged."""
        twin = self._engine.copy()
        twin.finish()
        return Result(self._names, self._state, twin.export(), self._engine.rules, repr(self._shock), self._record)

    def copy(self) -> Simulation:
        """An independent copy."""
        twin = Simulation.__new__(Simulation)
        twin.__dict__.update(self.__dict__)
        twin._engine = self._engine.copy()
        return twin

    def __repr__(self) -> str:
        return f"<cascade.Simulation of {', '.join(i.symbol for i in self._state.instruments)} at {self.time_ns} ns>"


class Bounds:
    """The prices and sizes that a simulation has met, per instrument, so that nothing from outside can overflow a value."""

    LIMIT = 2.0**61

    def __init__(self, state: Any, ops: np.ndarray):
        self._state = state
        self.reach = state.price_reach(ops)
        self.lots = [
            max(
                int(orders.lots.max(initial=0)),
                int(np.abs(state.row_lots[state.row_instrument == i]).max(initial=0)),
            )
            for i, orders in enumerate(state.orders)
        ]

    def _with(self, i: int, low: float, high: float, lots: int, what: str) -> Bounds:
        """Bounds that include these for instrument i; itself if it does already."""
        (lowest, highest), most = self.reach[i], self.lots[i]
        if lowest <= low and high <= highest and lots <= most:
            return self
        reach, most = (min(low, lowest), max(high, highest)), max(lots, most)
        if reach[1] >= PRICE_LIMIT + 1 or self._state.worst_value_of_a_lot(i, reach) * most >= self.LIMIT:
            raise RangeError(
                f"{what}[{self._state.instruments[i].symbol!r}]: {most} lots at {low:.6g} to {high:.6g} ticks could be worth "
                "more cash quanta than 61 bits hold"
            )
        twin = Bounds.__new__(Bounds)
        twin._state = self._state
        twin.reach, twin.lots = list(self.reach), list(self.lots)
        twin.reach[i], twin.lots[i] = reach, most
        return twin

    def including(self, i: int, prices: np.ndarray, lots: np.ndarray, what: str) -> Bounds:
        """Bounds that include orders at these prices."""
        if not len(prices):
            return self
        return self._with(i, float(prices.min()), float(prices.max()), int(lots.max()), what)

    def after(self, ops: np.ndarray) -> Bounds:
        """Bounds after the gaps, index moves and depth factors of a shock."""
        bounds = self
        for op in ops:
            i, rate = int(op["instrument"]), float(op["rate"]) / 1e9
            if op["part"] in (ShockPart.GAP, ShockPart.INDEX):
                low, high = bounds.reach[i]
                bounds = bounds._with(i, max(1.0, low * (1 + rate)), high * (1 + rate), bounds.lots[i], "shock")
            elif op["part"] == ShockPart.DEPTH and rate > 1:
                low, high = bounds.reach[i]
                bounds = bounds._with(i, low, high, int(bounds.lots[i] * rate) + 1, "shock")
        return bounds


def _whole(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim == 0:
        array = array[None]
    if array.ndim != 1 or array.dtype.kind not in "iu" or isinstance(values, np.ma.MaskedArray):
        raise InputTypeError(f"set_levels: {name}: must be a 1-D array of integers, not {array.dtype} of {array.ndim} dimensions")
    return array.astype(np.int64)
