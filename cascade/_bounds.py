"""Bounds of a simulation: what prices and sizes it has met, so that nothing from outside can overflow a
value."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._state import lowest_price
from .errors import RangeError
from .instruments import PRICE_LIMIT
from .records import Action, OrderType, ShockPart, TimeInForce


class Bounds:
    """The prices and sizes that a simulation has met, per instrument. Never changed once made."""

    LIMIT = 2.0**61

    def __init__(self, state: Any, ops: np.ndarray, rules: Any):
        self._state = state
        self._lowest = lowest_price(rules)
        self.reach = state.price_reach(ops, rules)
        self.lots = [
            max(
                int(orders.lots.max(initial=0)),
                int(np.abs(state.row_lots[state.row_instrument == i]).max(initial=0)),
                int(state.holdings["lots"][state.holdings["instrument"] == i].max(initial=0)),
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
                f"{what}[{self._state.instruments[i].symbol!r}]: {most} lots at {low:.6g} to {high:.6g} "
                "ticks could be worth "
                "more cash quanta than 61 bits hold"
            )
        twin = Bounds.__new__(Bounds)
        twin._state, twin._lowest = self._state, self._lowest
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
                bounds = bounds._with(
                    i, max(self._lowest, low * (1 + rate)), high * (1 + rate), bounds.lots[i], "shock"
                )
            elif op["part"] == ShockPart.DEPTH and rate > 1:
                low, high = bounds.reach[i]
                bounds = bounds._with(i, low, high, int(bounds.lots[i] * rate) + 1, "shock")
        return bounds

    def including_messages(self, i: int, messages: np.ndarray) -> Bounds:
        """Bounds that include what messages (ORDER_DTYPE) may rest: trades happen at the prices of what
        rests.

        What is out of the engine's domain is left to the engine, which refuses it with a reason.
        """
        resting = (messages["type"] == OrderType.LIMIT) & np.isin(
            messages["tif"], (TimeInForce.GTC, TimeInForce.POST_ONLY)
        )
        action = messages["action"]
        x = messages[(resting | (action == Action.MODIFY)) & (action != Action.CANCEL)]
        x = x[(x["price"] >= 1) & (x["price"] < PRICE_LIMIT) & (x["quantity"] >= 1) & (x["quantity"] < 2**61)]
        return self.including(i, x["price"], x["quantity"], "orders")
