"""Result: what a run did, as scalars and tables; everything is made from the engine's integers when first
asked for."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import FrozenInstanceError
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ._core import ResultParts
from ._rundata import ROW_DTYPE
from ._standing import (
    MODE_NAMES,
    accounts_table,
    holdings_table,
    per_instrument,
    positions_table,
    slot_names,
)
from ._state import COLLATERAL, ISOLATED, SETTLEMENT
from ._summary import STATUS_NAMES, known_until_of, summary_of
from .causes import branching_ratio, contagion_table, network_table
from .errors import EngineStateError
from .margin import MARK_ONE, fixed_part, liquidation_price, moving_terms, price_of_closing
from .records import EventKind, LiquidationStatus, Why
from .tables import Table


class Result(ResultParts):
    """The outcome of one run. Frozen; tables are made when first asked for.

    Attributes
    ----------
    status : str
        "settled", "stranded" (lots that a complete book cannot take), "out_of_data" (lots where the knowledge
        of a book ends), "halted", "horizon" (what is left waits for time to pass) or "limit" (the caller's
        cap).
    """

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    # -- scalars ---------------------------------------------------------------------------------------------
    @property
    def status(self) -> str:
        return STATUS_NAMES[self._data.status]

    @property
    def known_until(self) -> dict[str, float]:
        """{symbol: price} at which the knowledge of a book ended while lots were still to be traded."""
        return known_until_of(self._state, self._data)

    def _money(self, quanta: Any) -> Any:
        """Quanta to the settlement currency, float64."""
        q = self._state.quantum
        if np.ndim(quanta) == 0:
            return int(quanta) * q.numerator / q.denominator  # rounded once
        return np.asarray(quanta, np.float64) * q.numerator / q.denominator

    @property
    def summary(self) -> dict[str, Any]:
        """Scalars of the run: see `docs/model.md`, section 7, for first and higher order and
        amplification."""
        return summary_of(self._state, self._data)  # the caller's own: a result is frozen

    @cached_property
    def _summary(self) -> dict[str, Any]:
        return summary_of(self._state, self._data)

    @property
    def audit(self) -> dict[str, Any]:
        """The integer totals before and after: contracts and basis per instrument are 0, money is what was
        put in."""
        return copy.deepcopy(self._audit)

    @cached_property
    def _audit(self) -> dict[str, Any]:
        data = self._data
        balances = self._final_balances()
        rows = self._final_rows()
        lots, basis = [], []
        for i, (external_lots, external_basis) in enumerate(data.external):
            mine = rows["instrument"] == i
            lots.append(int(rows["lots"][mine].sum(dtype=object) or 0) + external_lots)
            basis.append(
                int(rows["basis"][mine].sum(dtype=object) or 0) + external_basis + data.settlement[i]
            )
        first_user = SETTLEMENT + len(self._state.instruments)
        money = sum(data.system_balances) + int(balances[first_user:].sum(dtype=object) or 0)
        before = self._state.fund + self._state.vault + int(self._state.account_balance.sum(dtype=object))
        return {
            "contracts": dict(zip((i.symbol for i in self._state.instruments), lots, strict=True)),
            "basis": dict(zip((i.symbol for i in self._state.instruments), basis, strict=True)),
            "money_before": before,
            "deposited": data.deposits - before,
            "money_after": money,
            "cash_quantum": float(self._state.quantum),
            "conserved": not any(lots) and not any(basis) and money == data.deposits,
        }

    @cached_property
    def digest(self) -> str:
        """BLAKE2b-128 over all events and the final state, 32 hex digits; the same in both engines. Needs
        record="all"."""
        data = self._data
        h = hashlib.blake2b(self.events_array().tobytes(), digest_size=16)
        for x in (*data.system_balances, *data.settlement, *(v for pair in data.external for v in pair)):
            h.update(int(x).to_bytes(17, "little", signed=True))
        rows = self._final_rows()
        columns = (rows[name] for name in rows.dtype.names or ())
        for array in (self._final_balances(), *columns, data.last, data.index_1024):
            h.update(np.ascontiguousarray(array, "<i8").tobytes())
        return h.hexdigest()

    # -- final state -----------------------------------------------------------------------------------------
    def _final_balances(self) -> np.ndarray:
        balances = self._state.account_balance.copy()
        balances[self._data.touched_accounts] = self._data.touched_balances
        flat, left = self._data.flats["account"], self._data.flats["money"]
        swept = (self._state.account_mode[flat] == ISOLATED) & (left > 0)
        balances[flat] = np.where(swept, 0, left)
        np.add.at(balances, self._state.account_parent[flat[swept]], left[swept])
        return balances

    def _flat_rows(self) -> np.ndarray:
        """The rows of the accounts that are flat now."""
        state, flat = self._state, self._data.flats["account"]
        first, last = (np.searchsorted(state.row_account, flat, side) for side in ("left", "right"))
        count = last - first
        which = np.repeat(last - np.cumsum(count), count) + np.arange(count.sum())
        rows = np.zeros(len(which), ROW_DTYPE)
        rows["account"], rows["instrument"] = state.row_account[which], state.row_instrument[which]
        rows["slot"] = state.row_slot[which]
        return rows

    def _final_rows(self) -> np.ndarray:
        """All position rows and holdings, sorted by account, instrument, slot; rows that are flat and were
        never held are left out."""
        state = self._state
        touched = np.concatenate([state.holdings, self._data.touched_rows, self._flat_rows()])
        rows = np.empty(len(state.row_lots) + len(touched), ROW_DTYPE)
        n = len(state.row_lots)
        for name, column in zip(
            ROW_DTYPE.names or (),
            (state.row_account, state.row_instrument, state.row_slot, state.row_lots, state.row_basis),
            strict=True,
        ):  # fmt: skip
            rows[name][:n] = column
        rows[n:] = touched
        order = np.lexsort((np.arange(len(rows)), rows["slot"], rows["instrument"], rows["account"]))
        rows = rows[order]
        key = rows[["account", "instrument", "slot"]]
        latest = np.ones(len(rows), bool)
        # Of two rows with one key the touched one, which sorts last, counts
        latest[:-1] = key[1:] != key[:-1]
        return rows[latest]

    # -- tables ----------------------------------------------------------------------------------------------
    def _need(self, what: str, *levels: str) -> None:
        if self._record not in levels:
            raise EngineStateError(
                f"result.{what}: the run was made with record={self._record!r}; needs {' or '.join(levels)}"
            )

    def events_array(self) -> np.ndarray:
        """All events, an array of EVENT_DTYPE. Needs record="all"."""
        self._need("events", "all")
        assert self._data.events is not None
        events = self._data.events.view()
        events.flags.writeable = False
        return events

    @property
    def events(self) -> np.ndarray:
        """All events, an array of EVENT_DTYPE: ticks, lots and quanta. Needs record="all"."""
        return self.events_array()

    def _accounts(self, index: np.ndarray) -> np.ndarray:
        return self._market.account_names(index)

    def _symbols(self, index: np.ndarray) -> np.ndarray:
        names = np.array([*(i.symbol for i in self._state.instruments), ""])
        return names[np.where((index < 0) | (index >= len(names)), len(names) - 1, index)]

    def _modes(self, accounts: np.ndarray) -> np.ndarray:
        return MODE_NAMES[self._state.account_mode[accounts]]

    def _sizes(self, instrument: np.ndarray, lots: np.ndarray) -> np.ndarray:
        return per_instrument(self._state, instrument, lots, lambda ins: ins.lot_size)

    def _prices(self, instrument: np.ndarray, ticks: np.ndarray) -> np.ndarray:
        return per_instrument(self._state, instrument, ticks, lambda ins: ins.tick_size)

    @cached_property
    def liquidations(self) -> Table:
        """One row a position closed (or collateral sold, position_side "collateral"; or a flat account's debt
        served), in order. Needs record="liquidations" or "all".

        `cause` is the event that made the account unhealthy, -1 the shock, -2 it was so before;
        `cause_liquidation` is the row of this table that this event belongs to, -1 if none. `side` is the
        order's. Liquidation and bankruptcy prices are those at the turn, all else fixed: also the other slot
        of the same instrument, if there is one.
        """
        self._need("liquidations", "all", "liquidations")
        x = self._data.liquidations
        assert x is not None
        instrument, account = x["instrument"], x["account"]
        liquidation, bankruptcy = np.full(len(x), np.nan), np.full(len(x), np.nan)
        for i, terms in enumerate(self._state.terms_under(self._rules)):
            mine = np.flatnonzero(instrument == i)
            y, lots = x[mine], x["held"][mine]
            fixed = fixed_part(terms, self._rules, lots, y["value"], y["row_maintenance"])
            rest = y["equity"] - y["value"] - (y["maintenance"] - y["row_maintenance"]) - fixed
            moving = moving_terms(terms, self._rules)
            liquidation[mine] = liquidation_price(moving, lots, rest, 0.0, y["mark"] / MARK_ONE)
            bankruptcy[mine] = price_of_closing(terms, lots, y["bankruptcy_value"])
            sold = mine[y["slot"] == COLLATERAL]  # no position, and no such prices
            liquidation[sold] = bankruptcy[sold] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            average = self._average_price(instrument, x["filled"], x["filled_value"])
        statuses = np.array([s.name.lower() for s in LiquidationStatus])
        sides = np.array(["sell", "", "buy"])
        columns = {
            "seq": x["seq"], "step": x["step"], "time_ns": x["time_ns"], "wave": x["wave"],
            "cause": x["cause"],
            "cause_liquidation": x["cause_row"], "account": self._accounts(account),
            "instrument": self._symbols(instrument), "position_side": slot_names(x["slot"]),
            "margin_mode": self._modes(account), "side": sides[np.sign(x["quantity"]) + 1],
            "mark": self._prices(instrument, x["mark"] / MARK_ONE),
            "liquidation_price": self._prices(instrument, liquidation),
            "bankruptcy_price": self._prices(instrument, bankruptcy),
            "quantity": self._sizes(instrument, np.abs(x["quantity"])),
            "filled": self._sizes(instrument, x["filled"]),
            "average_price": average, "notional": self._money(x["closed_value"]),
            "fee": self._money(x["fee"]),
            "surplus": self._money(x["surplus"]), "shortfall": self._money(x["shortfall"]),
            "fund": self._money(x["fund"]),
            "vault": self._money(x["vault"]), "adl": self._sizes(instrument, x["adl"]),
            "takeover": self._sizes(instrument, x["takeover"]), "socialised": self._money(x["socialised"]),
            "deficit": self._money(x["deficit"]), "left": self._sizes(instrument, x["left"]),
            "equity": self._money(x["equity"]), "maintenance": self._money(x["maintenance"]),
            "status": statuses[x["status"]],
        }  # fmt: skip
        return Table(columns)

    def _average_price(self, instrument: np.ndarray, lots: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Average price of trades of these lots with this total signed value; NaN without lots."""
        ticks = np.full(len(lots), np.nan)
        for i, terms in enumerate(self._state.terms):
            mine = instrument == i
            size = np.abs(lots[mine]).astype(np.float64) * terms.coef_num / terms.coef_den
            total = np.abs(value[mine]).astype(np.float64)
            price = total / size if terms.contract == 0 else size / total
            ticks[mine] = np.where(lots[mine] != 0, price, np.nan)
        return self._prices(instrument, ticks)

    @cached_property
    def waves(self) -> Table:
        """Per wave and instrument: turns that closed lots, quantity, notional and the mark after them; wave 0
        is the shock's."""
        x = self._data.waves
        return Table(
            {
                "wave": x["wave"], "instrument": self._symbols(x["instrument"]), "accounts": x["accounts"],
                "quantity": self._sizes(x["instrument"], x["lots"]),
                "notional": np.array([self._money(n) for n in self._data.wave_notional], np.float64),
                "price": self._prices(x["instrument"], x["mark"] / MARK_ONE),
            }
        )  # fmt: skip

    def _of_kind(self, what: str, *kinds: EventKind) -> np.ndarray:
        self._need(what, "all")
        events = self.events_array()
        return events[np.isin(events["kind"], [int(k) for k in kinds])]

    @cached_property
    def fills(self) -> Table:
        """Every trade in a book: taker, maker, side of the taker. Needs record="all"."""
        x = self._of_kind("fills", EventKind.FILL)
        instrument = x["instrument"].astype(np.int32)
        return Table(
            {
                "seq": x["seq"], "time_ns": x["time_ns"], "wave": x["wave"], "order": x["cause"],
                "instrument": self._symbols(instrument), "taker": self._accounts(x["a"]),
                "maker": self._accounts(x["b"]),
                "side": np.where(x["quantity"] > 0, "buy", "sell"),
                "price": self._prices(instrument, x["price_1024"] / MARK_ONE),
                "quantity": self._sizes(instrument, np.abs(x["quantity"])),
                "notional": self._money(np.abs(x["value"])),
            }
        )  # fmt: skip

    @cached_property
    def adl(self) -> Table:
        """Every deleveraging: who was bankrupt, who was closed against. Needs record="all"."""
        x = self._of_kind("adl", EventKind.ADL)
        instrument = x["instrument"].astype(np.int32)
        return Table(
            {
                "seq": x["seq"], "time_ns": x["time_ns"], "wave": x["wave"], "turn": x["cause"],
                "instrument": self._symbols(instrument), "bankrupt": self._accounts(x["a"]),
                "counterparty": self._accounts(x["b"]), "side": np.where(x["quantity"] > 0, "buy", "sell"),
                "quantity": self._sizes(instrument, np.abs(x["quantity"])),
                "price": self._average_price(instrument, x["quantity"], x["value"]),
                "notional": self._money(np.abs(x["value"])),
            }
        )  # fmt: skip

    @cached_property
    def flows(self) -> Table:
        """Every transfer of money: from, to, amount, why. Nothing else but a shock's cash changes a balance.

        `from_margin_mode` and `to_margin_mode` tell the venue's accounts ("system") from users' of the same
        name. Needs record="all".
        """
        x = self._of_kind("flows", EventKind.TRANSFER)
        why = np.array(["", *(w.name.lower() for w in Why)])
        return Table(
            {
                "seq": x["seq"], "time_ns": x["time_ns"], "wave": x["wave"], "turn": x["cause"],
                "from": self._accounts(x["a"]), "to": self._accounts(x["b"]),
                "amount": self._money(x["value"]),
                "why": why[x["flags"]], "instrument": self._symbols(x["instrument"].astype(np.int32)),
                "from_margin_mode": self._modes(x["a"]), "to_margin_mode": self._modes(x["b"]),
            }
        )  # fmt: skip

    @cached_property
    def prices(self) -> Table:
        """Every change of a mark, as if set at that moment. Needs record="liquidations" or "all"."""
        self._need("prices", "all", "liquidations")
        x = self._data.mark_changes
        assert x is not None
        return Table(
            {
                "seq": x["seq"], "time_ns": x["time_ns"], "wave": x["wave"],
                "instrument": self._symbols(x["instrument"]),
                "mark": self._prices(x["instrument"], x["mark"] / MARK_ONE),
            }
        )  # fmt: skip

    @cached_property
    def accounts(self) -> Table:
        """Every margin account at the end; an isolated position is an account of its own."""
        return accounts_table(
            self._market, self._state.with_haircuts(self._data.haircuts), self._rules,
            self._final_balances(), self._final_rows(), self._data.final_marks,
        )  # fmt: skip

    @cached_property
    def positions(self) -> Table:
        """Every open position at the end; the vault's, if it took some, with margin_mode "system"."""
        return positions_table(self._market, self._state, self._final_rows())

    @cached_property
    def holdings(self) -> Table:
        """Collateral in other assets at the end, at the final marks: the columns of `Market.holdings`."""
        state = self._state.with_haircuts(self._data.haircuts)
        return holdings_table(self._market, state, self._final_rows(), self._data.final_marks)

    # -- causes ----------------------------------------------------------------------------------------------
    def network(self, *, roots: bool = False, total: bool = False) -> Table:
        """Who pushed whom: an edge for every liquidation that another one caused.

        Parameters
        ----------
        roots : bool
            Also those that the shock itself caused, with "shock" as their cause; accounts are strings then.
        total : bool
            One edge for each (cause, effect, instrument) instead of one a liquidation.

        Returns
        -------
        Table : cause and effect (accounts), instrument (whose event made the effect unhealthy), weight
            (notional closed, settlement currency), liquidations (their number). In order of the effects'
            liquidations; accounts unhealthy beforehand are nobody's effect.
            `networkx.from_pandas_edgelist(pandas.DataFrame(table), "cause", "effect", edge_attr=True,
            create_using=networkx.MultiDiGraph)` and `igraph.Graph.DataFrame` take it. Needs
            record="liquidations" or "all".
        """
        self._need("network", "all", "liquidations")
        return network_table(self, roots, total)

    def contagion(self) -> Table:
        """What the moves of one instrument forced out of another.

        Each liquidation is shared out over the instruments whose moves took equity from the account, in
        proportion to exposure times mark change between the last check that found it healthy and the one
        that did not. Accounts unhealthy before the shock are left out.

        Returns
        -------
        Table : instrument (what was closed), moved (whose move did it; "" where no move took anything:
            money withdrawn, a deleveraging), quantity (instrument's units), notional (settlement currency).
            Pairs without lots are left out. Needs record="all".
        """
        self._need("contagion", "all")
        return contagion_table(self, self._rules.clearing == "continuous")

    def branching_ratio(self) -> float:
        """Of the liquidations, the part that other liquidations caused: how many the average one brings.

        In a cascade that has ended, children over members of the forest of causes; NaN without
        liquidations, accounts unhealthy beforehand left out. Below 1 by construction: a supercritical
        cascade shows in how close it comes. Warns (RuntimeWarning) below 30 liquidations. Needs
        record="liquidations" or "all".
        """
        self._need("branching_ratio", "all", "liquidations")
        return branching_ratio(self._data)

    # -- to read ---------------------------------------------------------------------------------------------
    def report(self, path: str | PathLike[str], *, title: str = "", currency: str = "") -> Path:
        """Write the run as one HTML page: headlines, what was assumed, prices, liquidations, who paid, why.

        The page is complete in itself: it loads nothing, has its pictures inside, follows the reader's light
        or dark setting and can be printed. Equal runs give equal pages. Without matplotlib it has no
        pictures and says so; what the run did not record is named.

        Parameters
        ----------
        path : str or path-like
            File to write; an existing one is replaced.
        title : str
            Heading; by default the shock in words.
        currency : str
            What money is in ("USDT"); the engine knows it as the settlement currency only.

        Returns
        -------
        pathlib.Path : the file

        Raises
        ------
        InputError, InputTypeError
            A folder that is not there, a title or currency that is no text.

        Examples
        --------
        >>> import cascade as cs
        >>> result = cs.datasets.constant_depth().run(cs.Shock(orders={"X": -500}))
        >>> result.report("report.html", currency="USD")  # doctest: +SKIP
        """
        from .pages import run_page, write

        return write(path, "result.report", title, currency, lambda: run_page(self, title, currency))

    def __str__(self) -> str:
        from ._report import report

        return report(self)

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"<cascade.Result {s['status']}: {s['waves']} waves, {s['liquidated_accounts']} accounts, "
            f"notional {s['liquidated_notional']:,.0f}>"
        )
