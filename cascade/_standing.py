"""Standing: what accounts are worth and need at given marks, as columns and as the tables that market,
simulation and result show."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ._badrows import show
from ._marks import loaded_value
from ._rundata import ROW_DTYPE
from ._state import COLLATERAL, ISOLATED, SETTLEMENT, SLOTS, State
from .errors import InputError
from .instruments import RATE_ONE
from .margin import (
    MARK_ONE,
    bankruptcy_together,
    initial,
    liquidation_price,
    moving_terms,
    needs,
    price_of_closing,
    rated,
    spent,
    together,
    value_after_fee,
    value_and_rest,
    value_at_mark,
)
from .marks import Mark
from .tables import Table

MODE_NAMES = np.array(["system", "cross", "isolated"])
SLOT_NAMES = np.array([*SLOTS, "collateral"])


def slot_names(slots: np.ndarray) -> np.ndarray:
    return SLOT_NAMES[slots]


def per_instrument(state: State, instrument: np.ndarray, values: np.ndarray, step: Any) -> np.ndarray:
    """values * the instrument's step, row by row; NaN where there is no instrument."""
    values = np.asarray(values, np.float64)
    out = np.full(len(values), np.nan)
    for i, ins in enumerate(state.instruments):
        mine = instrument == i
        out[mine] = values[mine] * step(ins).numerator / step(ins).denominator
    return out


def haircut_values(state: State, holdings: np.ndarray, marks: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """What holdings count for in equity: (n,) int64 quanta, rounded down as in the engines, and (n,) float64,
    what rounding took away."""
    value, rest = np.zeros(len(holdings), np.int64), np.zeros(len(holdings))
    for i, terms in enumerate(state.terms):
        mine = np.flatnonzero(holdings["instrument"] == i)
        if mine.size:
            weight = RATE_ONE - int(state.haircut[i])
            whole, cut = value_and_rest(terms, holdings["lots"][mine], int(marks[i]))
            value[mine], rest[mine] = rated(np.full(mine.size, weight, np.int64), whole)
            rest[mine] += cut * (weight / RATE_ONE)
    return value, rest


class Sums:
    """Position rows valued at marks under some rules, and what their accounts are worth and need.

    Integers are those of the engines; `*_rest` is what they round away, for prices that are solved unrounded:
    with it balances and basis are those that were given.
    """

    def __init__(
        self, state: State, rules: Any, balances: np.ndarray, rows: np.ndarray, marks: list[int],
        balance_rest: np.ndarray | None = None, basis_rest: np.ndarray | None = None,
        holdings: np.ndarray | None = None,
    ):  # fmt: skip
        self.state, self.rules, self.rows, self.marks = state, rules, rows, marks
        self.holdings = np.zeros(0, ROW_DTYPE) if holdings is None else holdings
        self._balances = balances
        n = len(rows)
        self.value, self.needed, self.fixed = (np.zeros(n, np.int64) for _ in range(3))
        self.value_rest, self.needed_rest, self.fixed_rest = (np.zeros(n) for _ in range(3))
        for i, terms in enumerate(state.terms_under(rules)):
            mine = np.flatnonzero((rows["instrument"] == i) & (rows["lots"] != 0))
            if mine.size:
                held = rows[mine]
                balance = balances[held["account"]]
                basis_cut = 0.0 if basis_rest is None else basis_rest[mine]
                found = needs(terms, rules, held["lots"], held["basis"], balance, int(marks[i]), basis_cut)
                for name in ("value", "value_rest", "needed", "needed_rest", "fixed", "fixed_rest"):
                    getattr(self, name)[mine] = getattr(found, name)
        self.equity = balances.copy()
        self.account_needed = np.zeros(len(balances), np.int64)
        self.equity_rest, self.account_needed_rest = np.zeros(len(balances)), np.zeros(len(balances))
        np.add.at(self.equity, rows["account"], self.value - rows["basis"])
        np.add.at(self.account_needed, rows["account"], self.needed)
        if balance_rest is not None:
            self.equity_rest += balance_rest
        np.add.at(
            self.equity_rest, rows["account"], self.value_rest - (0.0 if basis_rest is None else basis_rest)
        )
        np.add.at(self.account_needed_rest, rows["account"], self.needed_rest)
        self.held_value, self.held_rest = haircut_values(state, self.holdings, marks)
        self.collateral = np.zeros(len(balances), np.int64)
        np.add.at(self.collateral, self.holdings["account"], self.held_value)
        np.add.at(self.equity_rest, self.holdings["account"], self.held_rest)
        self.equity += self.collateral

    def initial(self) -> np.ndarray:
        """Initial margin of every row in quanta, (n,) int64: on the notional that maintenance is asked on."""
        rows, state = self.rows, self.state
        out = np.zeros(len(rows), np.int64)
        for i, terms in enumerate(state.terms):
            mine = np.flatnonzero((rows["instrument"] == i) & (rows["lots"] != 0))
            lots = rows["lots"][mine]
            on_entry = self.rules.maintenance_on == "entry"
            notional = np.abs(rows["basis"][mine] if on_entry else self.value[mine])
            # Somebody holds the other side of everything: the external account, if none of these.
            held = max(int(lots[lots > 0].sum()), -int(lots[lots < 0].sum()))
            open_interest = abs(int(value_at_mark(terms, np.array([held]), int(self.marks[i]))[0]))
            out[mine] = initial(terms, notional, lots, open_interest)
        return out

    def bankruptcy_value(self, row: int, lots: int) -> int:
        """What the first `lots` of a row are worth at its bankruptcy price, in quanta, as in the engines."""
        at = self.rows[row : row + 1]
        held, account = abs(int(at["lots"][0])), int(at["account"][0])
        whole = int(self.account_needed[account])
        if self.rules.bankruptcy_share == "whole" or not whole or lots == held:
            return int(self.bankruptcy_values()[row]) * lots // held
        i = int(at["instrument"][0])
        left = at.copy()
        left["lots"] -= np.sign(left["lots"]) * lots
        left["basis"] -= round(Fraction(int(at["basis"][0]) * lots, held))
        sums = Sums(self.state, self.rules, self._balances, left, self.marks)
        share = int(self.equity[account]) * int(self.needed[row] - sums.needed[0]) // whole
        spend = np.array([share - int(self.value[row] - sums.value[0])])
        if self.rules.bankruptcy_fee == "taker":
            spend = value_after_fee(self.state.terms[i].closing_fee, spend)
        return int(spend[0])

    def bankruptcy_values(self) -> np.ndarray:
        """Bankruptcy value of every row in quanta, (n,) int64, as engines fix it when an order is sent."""
        rows, a = self.rows, self.rows["account"]
        equity = self.equity[a]
        if self.rules.bankruptcy_share == "maintenance":
            parts = zip(equity.tolist(), self.needed.tolist(), self.account_needed[a].tolist(), strict=True)
            equity = np.array([e * m // whole if whole else e for e, m, whole in parts], np.int64)
        spend = equity - self.value
        if self.rules.bankruptcy_fee == "taker":
            for i, terms in enumerate(self.state.terms):
                mine = rows["instrument"] == i
                spend[mine] = value_after_fee(terms.closing_fee, spend[mine])
        return spend


def accounts_table(
    market: Any, state: State, rules: Any, balances: np.ndarray, rows: np.ndarray, marks: list[int]
) -> Table:
    """account, margin_mode, instrument, position_side, balance, equity, maintenance, ratio, initial,
    collateral of every margin account; `rows` are positions and holdings."""
    holds = rows["slot"] == COLLATERAL
    rows, holdings = rows[~holds], rows[holds]
    sums = Sums(state, rules, balances, rows, marks, holdings=holdings)
    equity, needed = sums.equity, sums.account_needed
    needed_to_open = np.zeros(len(balances), np.int64)
    np.add.at(needed_to_open, rows["account"], sums.initial())
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
            "initial": money(needed_to_open), "collateral": money(sums.collateral),
        }
    )  # fmt: skip


def holdings_table(names: Any, state: State, rows: np.ndarray, marks: list[int]) -> Table:
    """account, asset, instrument, quantity, price, haircut, value of the collateral among `rows`."""
    rows = rows[(rows["slot"] == COLLATERAL) & (rows["lots"] != 0)]
    n = len(state.instruments)
    asset, haircut = np.full(n, "", object), state.haircut / RATE_ONE
    symbols = np.array([i.symbol for i in state.instruments])
    for one in names.collateral:
        asset[symbols == one.instrument] = one.asset
    i = rows["instrument"]
    mark = np.array([int(marks[k]) for k in i.tolist()], np.float64) / MARK_ONE
    value = haircut_values(state, rows, marks)[0].astype(np.float64)
    return Table(
        {
            "account": names.account_names(rows["account"]), "asset": asset[i].astype(str),
            "instrument": symbols[i],
            "quantity": per_instrument(state, i, rows["lots"], lambda ins: ins.lot_size * ins.multiplier),
            "price": per_instrument(state, i, mark, lambda ins: ins.tick_size), "haircut": haircut[i],
            "value": value * state.quantum.numerator / state.quantum.denominator,
        }
    )  # fmt: skip


def positions_table(market: Any, state: State, rows: np.ndarray) -> Table:
    """account, instrument, position_side, margin_mode, size, entry_price of every open position."""
    rows = rows[(rows["lots"] != 0) & (rows["slot"] != COLLATERAL)]
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
    """The loaded positions of a market, valued at marks under some rules."""

    def __init__(self, state: State, rules: Any, marks: list[int]):
        self.state, self.rules, self.marks = state, rules, marks
        rows = np.zeros(len(state.row_lots), ROW_DTYPE)
        for name, column in (
            ("account", state.row_account), ("instrument", state.row_instrument), ("slot", state.row_slot),
            ("lots", state.row_lots), ("basis", state.row_basis),
        ):  # fmt: skip
            rows[name] = column
        held = rows["lots"] != 0
        self.rows = rows[held]
        self.sums = Sums(
            state, rules, state.account_balance, self.rows, marks, state.balance_rest,
            state.row_basis_rest[held], state.holdings,
        )  # fmt: skip

    def prices_table(self, names: Any) -> Table:
        """Liquidation and bankruptcy prices of every position: see `Market.liquidation_prices`."""
        state, rows, sums = self.state, self.rows, self.sums
        prices = np.full((2, len(rows)), np.nan)
        mark, size = np.empty(len(rows)), np.empty(len(rows))
        for i, ins in enumerate(state.instruments):
            mine = np.flatnonzero(rows["instrument"] == i)
            self._solve(prices, mine, i)
            prices[:, mine] *= float(ins.tick_size)
            mark[mine] = float(self.marks[i] * ins.tick_size / MARK_ONE)
            size[mine] = ins.to_size(rows["lots"][mine])

        def money(quanta: np.ndarray) -> np.ndarray:
            return quanta.astype(np.float64) * state.quantum.numerator / state.quantum.denominator

        return Table(
            {
                "account": names.account_names(rows["account"]),
                "instrument": np.array([i.symbol for i in state.instruments])[rows["instrument"]],
                "position_side": slot_names(rows["slot"]),
                "margin_mode": MODE_NAMES[state.account_mode[rows["account"]]],
                "size": size, "mark": mark, "liquidation_price": prices[0], "bankruptcy_price": prices[1],
                "maintenance": money(sums.needed), "initial": money(sums.initial()),
                "bankruptcy_value": money(sums.bankruptcy_values()),
            }
        )  # fmt: skip

    def _collateral_in(self, i: int, accounts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the collateral in instrument i of some accounts (sorted): lots that count, after the haircut,
        float64; what they count for, int64 quanta; and what rounding took from that."""
        held, sums, n = self.state.holdings, self.sums, len(accounts)
        lots, value, rest = np.zeros(n), np.zeros(n, np.int64), np.zeros(n)
        mine = np.flatnonzero((held["instrument"] == i) & np.isin(held["account"], accounts))
        at = np.searchsorted(accounts, held["account"][mine])
        lots[at] = held["lots"][mine] * (float(RATE_ONE - self.state.haircut[i]) / RATE_ONE)
        value[at], rest[at] = sums.held_value[mine], sums.held_rest[mine]
        return lots, value, rest

    def row_of(self, owner: int, i: int, side: Any, mode: Any) -> int | None:
        """The row of an owner's position, None where there is none."""
        rows, state = self.rows, self.state
        if not isinstance(mode, str) or mode not in ("cross", "isolated"):
            raise InputError(f"margin_mode = {show(mode)}: must be cross or isolated")
        if not isinstance(side, str) or side not in SLOTS:
            raise InputError(f"position_side = {show(side)}: must be one of {', '.join(SLOTS)}")
        account = rows["account"] if mode == "cross" else state.account_parent[rows["account"]]
        found = np.flatnonzero((account == owner) & (rows["instrument"] == i) & (rows["slot"] == SLOTS[side]))
        return int(found[0]) if found.size else None

    def _solve(self, prices: np.ndarray, mine: np.ndarray, i: int) -> None:
        """Prices in ticks of the positions `mine` in one instrument, written to (2, n) `prices`."""
        rows, sums, rules = self.rows, self.sums, self.rules
        terms = self.state.terms_under(rules)[i]
        moving, mark = moving_terms(terms, rules), self.marks[i] / MARK_ONE
        fee = terms.closing_fee if rules.bankruptcy_fee == "taker" else 0
        account, lots = rows["account"][mine], rows["lots"][mine]
        # What is left of the account without the position, the maintenance that moves with it included.
        money, money_rest = sums.equity[account], sums.equity_rest[account]
        rest, cut = money - sums.account_needed[account], money_rest - sums.account_needed_rest[account]
        own, own_rest = sums.value[mine], sums.value_rest[mine]
        moves, moves_rest = (sums.needed - sums.fixed)[mine], (sums.needed_rest - sums.fixed_rest)[mine]
        accounts, first, count = np.unique(account, return_index=True, return_counts=True)
        # Collateral in this instrument moves with its price as well, and needs nothing.
        spot, held_value, held_rest = self._collateral_in(i, accounts)
        hedged = (count > 1) | (spot > 0)  # rows are sorted by account: those of one stand side by side
        alone = np.repeat(~hedged, count)
        one = mine[alone]
        prices[0, one] = liquidation_price(
            moving, lots[alone], (rest - own + moves)[alone], (cut - own_rest + moves_rest)[alone], mark
        )
        spend, spend_rest = (money - own)[alone], (money_rest - own_rest)[alone]
        prices[1, one] = price_of_closing(terms, lots[alone], spent(fee, spend + spend_rest))
        if hedged.any():
            k = np.arange(count.max())
            there = k < count[hedged][:, None]
            at = np.where(there, first[hedged][:, None] + k, first[hedged][:, None])
            held = np.where(there, lots[at], 0)

            def without(column: np.ndarray, *rows_of: np.ndarray) -> np.ndarray:
                """An account's column less what its positions in this instrument have in it."""
                parts = sum(np.where(there, part[at], 0).sum(axis=1) for part in rows_of)
                return column[first[hedged]] - parts

            spot, held_value, held_rest = spot[hedged], held_value[hedged], held_rest[hedged]
            spend, spend_rest = without(money, own) - held_value, without(money_rest, own_rest) - held_rest
            rest = without(rest, own, -moves) - held_value
            cut = without(cut, own_rest, -moves_rest) - held_rest
            solved = together(moving, held, rest, cut, mark, spot), bankruptcy_together(
                terms, held, spend, spend_rest, fee, spot
            )
            prices[:, mine[at[there]]] = np.repeat(np.array(solved), count[hedged], axis=1)
        if rules.bankruptcy_share == "maintenance":
            whole = sums.account_needed[account] + sums.account_needed_rest[account].astype(np.longdouble)
            part = sums.needed[mine] + sums.needed_rest[mine].astype(np.longdouble)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(whole > 0, part / whole, 1)
            spend = (money + money_rest.astype(np.longdouble)) * share - own - own_rest
            shared = price_of_closing(terms, lots, spent(fee, spend.astype(np.float64)))
            prices[1, mine] = np.where(whole > 0, shared, prices[1, mine])


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

