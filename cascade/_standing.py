"""Standing: what accounts are worth and need at given marks, as columns and as the tables that market,
simulation and result show."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._marks import loaded_value
from ._rundata import ROW_DTYPE
from ._state import ISOLATED, SETTLEMENT, SLOTS, State, Terms
from .instruments import RATE_ONE
from .margin import MARK_ONE, maintenance, solve, solve_together, value_at_mark
from .marks import Mark
from .tables import Table

MODE_NAMES = np.array(["system", "cross", "isolated"])


def slot_names(slots: np.ndarray) -> np.ndarray:
    return np.array(list(SLOTS))[slots]


def per_instrument(state: State, instrument: np.ndarray, values: np.ndarray, step: Any) -> np.ndarray:
    """values * the instrument's step, row by row; NaN where there is no instrument."""
    values = np.asarray(values, np.float64)
    out = np.full(len(values), np.nan)
    for i, ins in enumerate(state.instruments):
        mine = instrument == i
        out[mine] = values[mine] * step(ins).numerator / step(ins).denominator
    return out


def valued_rows(state: State, rows: np.ndarray, marks: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(value, maintenance) of position rows at marks, int64 quanta."""
    value, needed = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for i, terms in enumerate(state.terms):
        mine = np.flatnonzero((rows["instrument"] == i) & (rows["lots"] != 0))
        if mine.size:
            value[mine] = value_at_mark(terms, rows["lots"][mine], int(marks[i]))
            needed[mine] = maintenance(terms, np.abs(value[mine]))
    return value, needed


def account_sums(
    state: State, balances: np.ndarray, rows: np.ndarray, marks: list[int]
) -> tuple[np.ndarray, ...]:
    """(equity, maintenance) per account and (value, maintenance) per row, int64 quanta."""
    value, needed = valued_rows(state, rows, marks)
    equity, maintenance_sum = balances.copy(), np.zeros(len(balances), np.int64)
    np.add.at(equity, rows["account"], value - rows["basis"])
    np.add.at(maintenance_sum, rows["account"], needed)
    return equity, maintenance_sum, value, needed


def accounts_table(
    market: Any, state: State, balances: np.ndarray, rows: np.ndarray, marks: list[int]
) -> Table:
    """account, margin_mode, instrument, position_side, balance, equity, maintenance, ratio of every margin
    account."""
    equity, needed, _, _ = account_sums(state, balances, rows, marks)
    users = np.arange(SETTLEMENT + len(state.instruments), len(balances))
    instrument, slot = np.full(len(balances), -1), np.zeros(len(balances), np.int64)
    isolated = state.account_mode[rows["account"]] == ISOLATED
    instrument[rows["account"][isolated]] = rows["instrument"][isolated]
    slot[rows["account"][isolated]] = rows["slot"][isolated]

    def money(quanta: np.ndarray) -> np.ndarray:
        return quanta[users].astype(np.float64) * state.quantum.numerator / state.quantum.denominator

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(needed[users] > 0, equity[users] / needed[users], np.nan)
    names = np.array([*(i.symbol for i in state.instruments), ""])
    return Table(
        {
            "account": market.account_names(users),
            "margin_mode": np.where(state.account_mode[users] == ISOLATED, "isolated", "cross"),
            "instrument": names[instrument[users]],
            "position_side": np.where(instrument[users] >= 0, slot_names(slot[users]), ""),
            "balance": money(balances), "equity": money(equity), "maintenance": money(needed), "ratio": ratio,
        }
    )  # fmt: skip


def positions_table(market: Any, state: State, rows: np.ndarray) -> Table:
    """account, instrument, position_side, margin_mode, size, entry_price of every open position."""
    rows = rows[rows["lots"] != 0]
    entry = np.full(len(rows), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, terms in enumerate(state.terms):
            mine = rows["instrument"] == i
            size = np.abs(rows["lots"][mine]).astype(np.float64) * terms.coef_num / terms.coef_den
            basis = np.abs(rows["basis"][mine]).astype(np.float64)
            entry[mine] = basis / size if terms.contract == 0 else size / basis
    symbols = np.array([i.symbol for i in state.instruments])
    return Table(
        {
            "account": market.account_names(rows["account"]), "instrument": symbols[rows["instrument"]],
            "position_side": slot_names(rows["slot"]),
            "margin_mode": MODE_NAMES[state.account_mode[rows["account"]]],
            "size": per_instrument(state, rows["instrument"], rows["lots"], lambda ins: ins.lot_size),
            "entry_price": per_instrument(state, rows["instrument"], entry, lambda ins: ins.tick_size),
        }
    )  # fmt: skip


class Standing:
    """The loaded positions of a market, valued at marks."""

    def __init__(self, state: State, marks: list[int]):
        self.state, self.marks = state, marks
        rows = np.zeros(len(state.row_lots), ROW_DTYPE)
        for name, column in (
            ("account", state.row_account), ("instrument", state.row_instrument), ("slot", state.row_slot),
            ("lots", state.row_lots), ("basis", state.row_basis),
        ):  # fmt: skip
            rows[name] = column
        self.rows = rows[rows["lots"] != 0]
        sums = account_sums(state, state.account_balance, self.rows, marks)
        self.equity, self.needed, self.value, self.row_needed = sums

    def prices_table(self, names: Any) -> Table:
        """Liquidation and bankruptcy prices of every position: see `Market.liquidation_prices`."""
        state, rows = self.state, self.rows
        prices = np.full((2, len(rows)), np.nan)
        mark, size = np.empty(len(rows)), np.empty(len(rows))
        for i, (ins, terms) in enumerate(zip(state.instruments, state.terms, strict=True)):
            mine = np.flatnonzero(rows["instrument"] == i)
            a = rows["account"][mine]
            prices[:, mine] = solve(
                terms, rows["lots"][mine], self.equity[a], self.needed[a], self.value[mine],
                self.row_needed[mine]
            )
            self._solve_hedged(prices, mine, terms, self.marks[i] / MARK_ONE)
            prices[:, mine] *= float(ins.tick_size)
            mark[mine] = float(self.marks[i] * ins.tick_size / MARK_ONE)
            size[mine] = ins.to_size(rows["lots"][mine])
        return Table(
            {
                "account": names.account_names(rows["account"]),
                "instrument": np.array([i.symbol for i in state.instruments])[rows["instrument"]],
                "position_side": slot_names(rows["slot"]),
                "margin_mode": MODE_NAMES[state.account_mode[rows["account"]]],
                "size": size, "mark": mark, "liquidation_price": prices[0], "bankruptcy_price": prices[1],
            }
        )  # fmt: skip

    def _solve_hedged(self, prices: np.ndarray, mine: np.ndarray, terms: Terms, mark: float) -> None:
        """Prices in ticks of accounts that hold several slots of one instrument, which move together."""
        rows = self.rows
        accounts, first, count = np.unique(rows["account"][mine], return_index=True, return_counts=True)
        hedged = count > 1  # rows are sorted by account: those of one stand side by side
        tiers = zip(terms.amounts, terms.rates, terms.floors, strict=True)
        if any(amount * RATE_ONE > rate * floor for amount, rate, floor in tiers):
            hedged[:] = True  # a tier that starts without maintenance: only the general solution knows of it
        if not hedged.any():
            return
        accounts, first, count = accounts[hedged], first[hedged], count[hedged]
        k = np.arange(count.max())
        there = k < count[:, None]
        at = mine[np.where(there, first[:, None] + k, first[:, None])]
        lots, own, own_needed = (
            np.where(there, column[at], 0) for column in (rows["lots"], self.value, self.row_needed)
        )
        solved = solve_together(
            terms, lots, self.equity[accounts], self.needed[accounts], own, own_needed, mark
        )
        prices[:, at[there]] = np.repeat(np.array(solved), count, axis=1)


def map_table(prices: Table, symbol: str) -> Table:
    """Quantity by trigger price of one instrument: see `Market.liquidation_map`."""
    mine = (prices["instrument"] == symbol) & ~np.isnan(prices["liquidation_price"])
    price, size = prices["liquidation_price"][mine], prices["size"][mine]
    side = np.where(size > 0, "sell", "buy")
    order = np.lexsort((side, price))
    keys = np.rec.fromarrays(
        [price[order], side[order]], dtype=[("price", price.dtype), ("side", side.dtype)]
    )
    _, first = np.unique(keys, return_index=True) if len(keys) else (keys, np.zeros(0, np.intp))
    quantity = np.add.reduceat(np.abs(size[order]), first) if len(first) else np.zeros(0)
    return Table({"price": price[order][first], "quantity": quantity, "side": side[order][first]})


def loaded_mark(state: State, i: int, rule: str | Mark) -> int | None:
    """The mark of an instrument as loaded, in 1/1024 ticks."""
    if isinstance(rule, Mark):
        return loaded_value(state, i, rule)
    last, index = int(state.last[i]), int(state.index_1024[i])
    if rule == "last":
        return last * 1024 or None
    if rule == "index":
        return index or None
    bid, ask = state.best[i]
    if bid is None or ask is None:
        return None
    if rule == "mid":
        return (bid + ask) * 512
    return sorted((bid, ask, last))[1] * 1024 if last else None

