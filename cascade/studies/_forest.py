"""The forest of causes of one run: which liquidation brought about which, and sums over what is below."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._badrows import show
from .._standing import slot_names
from .._state import ISOLATED
from ..causes import through
from ..errors import InputTypeError
from ..result import Result


class Forest:
    """Liquidations as nodes, each below the one that caused it. m liquidations, as in `Result.liquidations`.

    Attributes
    ----------
    parent : (m,) int64
        Row of the cause, -1 for what the shock caused or what was unhealthy before it; always an earlier row.
    known : (m,) bool
        False for what was unhealthy before the shock.
    account, instrument : (m,) int64
        Whose liquidation, of what (-1: a flat account's debt).
    moved : (m,) int64
        The instrument whose liquidation caused it; -1 without a parent.
    amounts : {name: (m,) int64}
        liquidations (1 each), and in quanta notional, shortfall, deficit.
    """

    def __init__(self, result: Result) -> None:
        x = result._data.liquidations
        assert x is not None
        self.rows = x
        self.parent = np.where(x["cause_row"] >= 0, x["cause_row"], -1).astype(np.int64)
        self.known = x["cause"] != -2
        self.account, self.instrument = x["account"].astype(np.int64), x["instrument"].astype(np.int64)
        self.moved = np.where(self.parent >= 0, through(result._data, x), -1)
        self.amounts = {
            "liquidations": np.ones(len(x), np.int64),
            "notional": np.abs(x["closed_value"]),
            "shortfall": x["shortfall"],
            "deficit": x["deficit"],
        }
        self._enter, self._leave = self._walk()

    def _walk(self) -> tuple[np.ndarray, np.ndarray]:
        """(m,) first and one past the last place of each row's tree, rows numbered depth first."""
        parent = self.parent.tolist()
        size = [1] * len(parent)
        for row in range(len(parent) - 1, -1, -1):
            if parent[row] >= 0:
                size[parent[row]] += size[row]
        enter, free, roots = [0] * len(parent), [0] * len(parent), 0
        for row, above in enumerate(parent):
            if above < 0:
                enter[row], roots = roots, roots + size[row]
            else:
                enter[row] = free[above]
                free[above] += size[row]
            free[row] = enter[row] + 1
        first = np.array(enter, np.int64)
        return first, first + np.array(size, np.int64)

    @property
    def generation(self) -> np.ndarray:
        """(m,) int64: 0 for a root, otherwise one more than the cause's."""
        out = np.zeros(len(self.parent), np.int64)
        for row, above in enumerate(self.parent.tolist()):
            if above >= 0:
                out[row] = out[above] + 1
        return out

    def within(self, label: np.ndarray, n: int) -> dict[str, list[int]]:
        """For labels 0 to n - 1: the amounts of all rows that carry the label or have one above them that
        does, each row once. Python integers: sums of quanta know no bound."""
        order = np.lexsort((self._enter, label))
        order = order[label[order] >= 0]
        tops: list[tuple[int, int]] = []
        last, end = -1, -1
        for row in order.tolist():
            if label[row] != last:
                last, end = int(label[row]), -1
            if self._enter[row] >= end:  # not below another one of its label
                tops.append((last, row))
                end = int(self._leave[row])
        sums = {}
        for name, amount in self.amounts.items():
            upto = np.zeros(len(amount) + 1, object)
            placed = np.empty(len(amount), object)
            placed[self._enter] = amount.tolist()
            upto[1:] = np.cumsum(placed)
            total = [0] * n
            for k, row in tops:
                total[k] += int(upto[self._leave[row]] - upto[self._enter[row]])
            sums[name] = total
        return sums

    def added(self, label: np.ndarray, n: int) -> dict[str, list[int]]:
        """For labels 0 to n - 1: the amounts of the rows that carry the label."""
        sums = {}
        for name, amount in self.amounts.items():
            total = [0] * n
            for k, quanta in zip(label.tolist(), amount.tolist(), strict=True):
                if k >= 0:
                    total[k] += quanta
            sums[name] = total
        return sums


def forest_of(result: Any, where: str) -> Forest:
    """The forest of a run that recorded its liquidations."""
    if not isinstance(result, Result):
        raise InputTypeError(f"{where}.result = {show(result)}: must be a Result")
    result._need(where, "all", "liquidations")
    return Forest(result)


def who(result: Result, forest: Forest, accounts: np.ndarray) -> dict[str, np.ndarray]:
    """account, margin_mode, instrument, position_side of margin accounts, by index; the last two empty where
    an account is not an isolated position's."""
    first = np.zeros(int(forest.account.max(initial=-1)) + 1, np.int64)
    first[forest.account[::-1]] = np.arange(len(forest.account))[::-1]
    isolated = result._state.account_mode[accounts] == ISOLATED
    row = first[accounts]
    return {
        "account": result._accounts(accounts),
        "margin_mode": result._modes(accounts),
        "instrument": result._symbols(np.where(isolated, forest.instrument[row], -1)),
        "position_side": np.where(isolated, slot_names(forest.rows["slot"][row]), ""),
    }
