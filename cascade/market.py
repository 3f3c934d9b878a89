"""Market: load instruments, books, accounts and positions; shock them; ask what stands where."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from . import _bulk, _load
from ._badrows import show
from ._bands import bands_table, levels_table
from ._core import Ready
from ._engine import start
from ._indicators import fillable_table, ranks_table
from ._marks import NO_BASIS
from ._rundata import ROW_DTYPE
from ._standing import Standing, accounts_table, holdings_table, loaded_mark, map_table
from ._state import (
    ACCOUNT_LIMIT,
    COLLATERAL,
    CROSS,
    EXTERNAL,
    ISOLATED,
    KNOWN_TO_INFINITY,
    KNOWN_TO_ZERO,
    SETTLEMENT,
    SYSTEM,
    Orders,
    State,
    pick_quantum,
    terms_of,
)
from ._summary import summary_of
from .breakers import check_symbols
from .collateral import Collateral, read_collateral
from .criticality import Criticality, criticality_of
from .errors import InputError, InputTypeError, RangeError
from .instruments import HOUR_NS, PRICE_LIMIT, RATE_ONE, Instrument, decimal_text, exact, rate
from .marks import check_name
from .records import FORMAT_VERSION
from .reference.adapter import ReferenceEngine
from .reference.engine import Engine
from .result import Result
from .rules import Venue, VenueRules, as_rules
from .shocks import OP_DTYPE, Shock, as_shock
from .simulation import Simulation
from .sweep import Sweep, sweep
from .tables import Table

RECORDS = ("summary", "liquidations", "all")
ENGINES = ("core", "reference")
AUDITS = ("delta", "full")
MOST_READY = 64
"""Objects given as rules that a market knows to fit it, at a time."""
MOST_LOADED = 16
"""Rules for which it keeps engines."""
FUND_LIMIT = 2**120
"""The fund is one of the accounts that the engines keep in 128 bits."""
SYSTEM_NAMES = ("external", "fund", "fees", "dust", "deficit", "vault")


class Market:
    """Instruments, order books, accounts and positions of one venue with one settlement currency.

    Every `load_*` adds, and is all-or-nothing: a refused call leaves the market as it was. A run does not
    change the market.

    Parameters
    ----------
    instruments : Instrument or sequence of Instrument
    rules : VenueRules or Venue, optional
        Default rules of a run.
    fund : number
        Balance of the insurance fund, in the settlement currency.
    vault : number
        Balance of the venue's vault, which takes positions where the rules say so.
    cash_quantum : number, optional
        Smallest unit of money; by default the largest power of ten <= 1e-6 (1e-10 where an instrument is
        inverse) that makes a lot's value a tick whole.
    collateral : Collateral or sequence of Collateral, optional
        Assets that accounts may hold beside the settlement currency: see `docs/model.md`, section 5.
    settlement_asset : str, optional
        Name of the settlement currency in the `asset` column of `load_accounts`.

    Examples
    --------
    >>> import cascade as cs
    >>> btc = cs.Instrument("BTCUSDT", tick_size="0.1", lot_size="0.001", tiers=0.005)
    >>> market = cs.Market(btc, fund=1_000)
    >>> bids = {"price": [100.0, 99.9], "quantity": [2, 3]}
    >>> market.load_book("BTCUSDT", bids, {"price": [100.1], "quantity": [5]})
    >>> market.load_accounts({"account": ["alice"], "balance": [3.0]})
    >>> market.load_positions(
    ...     {"account": ["alice"], "instrument": ["BTCUSDT"], "size": [1.0], "entry_price": [102.0]}
    ... )
    >>> market.run(cs.Shock(price=-0.05)).status
    'settled'
    """

    def __init__(
        self, instruments: Instrument | Iterable[Instrument], *, rules: VenueRules | Venue | None = None,
        fund: Any = 0,
        vault: Any = 0, cash_quantum: Any = None,
        collateral: Collateral | Iterable[Collateral] | None = None, settlement_asset: str | None = None,
    ) -> None:  # fmt: skip
        self.instruments: tuple[Instrument, ...] = _as_instruments(instruments)
        self._collateral, haircuts = read_collateral(collateral, settlement_asset, self.instruments)
        self._settlement_asset = settlement_asset
        self._rules = as_rules(rules)
        quantum = pick_quantum(self.instruments) if cash_quantum is None else cash_quantum
        self.quantum = exact(quantum, "market.cash_quantum")
        if self.quantum <= 0:
            raise InputError(f"market.cash_quantum = {show(cash_quantum)}: must be > 0")
        self._terms = tuple(terms_of(i, self.quantum) for i in self.instruments)
        self._index = {instrument.symbol: k for k, instrument in enumerate(self.instruments)}
        self.followers = tuple(k for k, i in enumerate(self.instruments) if i.index_follows is not None)
        """Places of the instruments whose index follows another one's."""
        n = len(self.instruments)
        self._fund = self._reserve(fund, "market.fund", FUND_LIMIT)
        self._vault = self._reserve(vault, "market.vault", ACCOUNT_LIMIT)
        self._last = np.zeros(n, np.int64)
        self._index_1024 = np.zeros(n, np.int64)
        self._last_given = np.zeros(n, bool)
        self._index_given = np.zeros(n, bool)
        # What only mark trees look at: {name: 1/1024 ticks}, basis (None: not given), 1e-12, nanoseconds.
        self._external: list[dict[str, int]] = [{} for _ in range(n)]
        self._basis: list[int | None] = [None] * n
        self._funding_rate = np.zeros(n, np.int64)
        intervals = [round(i.funding_interval * HOUR_NS) for i in self.instruments]
        self._interval_ns = np.array(intervals, np.int64)
        self._left_ns = self._interval_ns.copy()
        self._reference = np.zeros(n, np.int64)
        self._settle = np.zeros(n, np.int64)
        self._orders = [Orders.empty() for _ in range(n)]
        self._complete: list[bool | None] = [None] * n  # None: no load_book yet
        self._mode = np.full(SETTLEMENT + n, SYSTEM, np.uint8)
        self._parent = np.full(SETTLEMENT + n, -1, np.int32)
        self._balance = np.zeros(SETTLEMENT + n, np.int64)
        self._owner_row = np.full(SETTLEMENT + n, -1, np.int32)  # row of `_ids` per account
        self._ids = _load.Ids()
        self._rows = _load.Rows.empty()
        self._holdings = np.zeros(0, ROW_DTYPE)
        self._haircut = np.array([int(haircuts.get(i, 0) * RATE_ONE) for i in range(n)], np.int64)
        # What rounding to quanta took away, for prices that are reported.
        self._balance_rest = _load.nothing(SETTLEMENT + n)
        self._basis_rest = _load.nothing(0)
        self._derived = _Derived()

    def _reserve(self, amount: Any, what: str, limit: int) -> int:
        quanta = self.to_quanta(amount, what)
        if quanta < 0:
            raise InputError(f"{what} = {show(amount)}: must be >= 0")
        if quanta >= limit:
            quantum = decimal_text(self.quantum)
            raise RangeError(f"{what} = {show(amount)}: must be below {limit:.3g} cash quanta of {quantum}")
        return quanta

    @property
    def rules(self) -> VenueRules:
        """The rules that a run follows unless it is given others; fixed, as they are part of `digest`."""
        return self._rules

    @property
    def collateral(self) -> tuple[Collateral, ...]:
        """The assets that accounts may hold beside the settlement currency."""
        return self._collateral

    # -- names and units -------------------------------------------------------------------------------------
    def instrument_index(self, symbol: Any, what: str = "instrument") -> int:
        """Position of an instrument by its symbol."""
        if isinstance(symbol, Instrument):
            symbol = symbol.symbol
        if not isinstance(symbol, str):
            raise InputTypeError(f"{what} = {show(symbol)}: must be a symbol")
        try:
            return self._index[symbol]
        except KeyError:
            listing = ", ".join(list(self._index)[:8]) + (", ..." if len(self._index) > 8 else "")
            rule = f"unknown instrument; the market has {listing}"
            raise InputError(f"{what} = {show(symbol)}: {rule}") from None

    def owner(self, account: Any) -> int:
        """The owner number of an account, as order books and harnesses use it. Raises InputError if it is not
        loaded."""
        k = self._ids.find_one(account)
        if k < 0:
            raise InputError(f"account = {show(account)}: not loaded")
        return int(self._cross_accounts[k])

    @property
    def _cross_accounts(self) -> np.ndarray:
        """Account index per row of `_ids`."""
        cross = np.flatnonzero(self._mode == CROSS).astype(np.int32)
        out = np.empty(len(self._ids), np.int32)
        out[self._owner_row[cross]] = cross
        return out

    def account_name(self, index: int) -> Any:
        """The id of an account by its index; system accounts have names of their own."""
        name = self.account_names(np.array([index]))[0]
        return name.item() if isinstance(name, np.generic) else name

    def account_names(self, index: np.ndarray) -> np.ndarray:
        """Ids per account index; isolated accounts carry their owner's. With system accounts among them,
        objects or strings."""
        index = np.asarray(index, np.int64)
        system = index < SETTLEMENT + len(self.instruments)
        if not system.any():
            return self._ids.values(self._owner_row[index])
        names = np.empty(len(index), object)
        words = [*SYSTEM_NAMES, *(f"settlement:{i.symbol}" for i in self.instruments)]
        names[system] = [words[k] if k >= 0 else "" for k in index[system]]
        names[~system] = [str(x) for x in self._ids.values(self._owner_row[index[~system]]).tolist()]
        return _load.text_array(names)

    def to_quanta(self, amount: Any, what: str = "amount") -> int:
        """An amount of the settlement currency as whole cash quanta, half-even."""
        return round(exact(amount, what) / self.quantum)

    def to_money(self, quanta: int) -> float:
        """Cash quanta as an amount of the settlement currency."""
        return float(quanta * self.quantum)

    # -- loading ---------------------------------------------------------------------------------------------
    def load_book(
        self, instrument: str, bids: Any, asks: Any, *, complete: bool = False,
        columns: Mapping[str, str] | None = None,
        on_bad: str = "raise",
    ) -> Table | None:  # fmt: skip
        """Load an L2 book: external orders, one a level.

        Parameters
        ----------
        instrument : str
        bids, asks : tables with columns price, quantity, best price first; either may be empty
        complete : bool
            False: what lies beyond the last level of a side is unknown, and lots that would go there stay
            open, flagged.
            True: the book is all there is.
        columns : mapping of our column names to the table's
        on_bad : {"raise", "drop"}

        Returns
        -------
        Table of the dropped rows and why with on_bad="drop", else None.

        Raises
        ------
        InputError
            A bad value, a repeated or unsorted level, a crossed book.
        """
        i = self.instrument_index(instrument)
        ins = self.instruments[i]
        if not isinstance(complete, bool | np.bool_):
            raise InputTypeError(f"load_book: complete = {show(complete)}: must be True or False")
        bad = {1: _load.bad_rows("bids", on_bad), -1: _load.bad_rows("asks", on_bad)}
        sides = {
            side: _load.levels(table, ins, side, columns, bad[side])
            for side, table in ((1, bids), (-1, asks))
        }
        prices = np.concatenate([sides[1][0], sides[-1][0]])
        lots = np.concatenate([sides[1][1], sides[-1][1]])
        side = np.repeat(np.array([1, -1], np.int8), [len(sides[1][0]), len(sides[-1][0])])
        added = Orders(
            np.zeros(len(prices), np.uint64), side, prices, lots, np.full(len(prices), EXTERNAL, np.int32)
        )
        orders = self._checked_book(i, added, "book")
        self._orders[i], self._complete[i] = orders, bool(complete)
        self._changed()
        return _load.dropped(bad[1], bad[-1])

    def load_orders(
        self, instrument: str, orders: Any, *, columns: Mapping[str, str] | None = None, on_bad: str = "raise"
    ) -> Table | None:
        """Load resting limit orders with owners.

        Parameters
        ----------
        orders : table with columns order_id (unique in the instrument), side (+1/-1, "buy"/"sell"), price,
        quantity and
            optionally account (loaded before; without it, or null, the order is the external account's).
            Older orders first.

        Returns, raises
        ---------------
        As `load_book`.
        """
        i = self.instrument_index(instrument)
        bad = _load.bad_rows("orders", on_bad)
        taken = self._orders[i].order_id[self._orders[i].owner != EXTERNAL]
        order_id, side, price, lots, owner_row = _load.orders(
            orders, self.instruments[i], self._ids, taken, columns, bad
        )
        owner = np.where(
            owner_row < 0, EXTERNAL, self._cross_accounts[owner_row] if len(self._ids) else EXTERNAL
        )
        order_id = np.where(owner == EXTERNAL, 0, order_id).astype(np.uint64)
        added = Orders(order_id, side, price, lots, owner.astype(np.int32))
        self._orders[i] = self._checked_book(i, added, "orders")
        self._changed()
        return _load.dropped(bad)

    def _checked_book(self, i: int, added: Orders, table: str) -> Orders:
        """The book with some orders added; refused if it is crossed or its sums do not fit."""
        orders = self._orders[i].extended(added)
        best_bid, best_ask = orders.prices(1).max(initial=0), orders.prices(-1).min(initial=PRICE_LIMIT)
        ins = self.instruments[i]
        if best_bid >= best_ask:
            raise InputError(
                f"{table}[{ins.symbol!r}]: best bid {ins.to_price(best_bid)} >= best ask "
                f"{ins.to_price(best_ask)}: "
                "must not be crossed"
            )
        if orders.lots.astype(np.float64).sum() >= 2**61:
            raise RangeError(f"{table}[{ins.symbol!r}]['quantity']: the sum must be below 2**61 lots")
        return orders

    def load_accounts(
        self, accounts: Any, *, columns: Mapping[str, str] | None = None, on_bad: str = "raise"
    ) -> Table | None:
        """Load cross-margin accounts.

        Parameters
        ----------
        accounts : table with columns account (int or str, new), balance (any finite number) in the settlement
            currency, and optionally asset
            With an asset column there is a row for each (account, asset). The settlement asset is
            `Market.settlement_asset` or a missing one; of an asset of `Market.collateral` the balance is an
            amount >= 0 of that asset, a whole number of its instrument's lots, and its account may have been
            loaded before. An account without a row in the settlement asset has 0 of it.

        Returns, raises
        ---------------
        As `load_book`.
        """
        bad = _load.bad_rows("accounts", on_bad)
        held = _load.holding_keys(self._owner_row[self._holdings["account"]], self._holdings["instrument"])
        loaded = _load.accounts(accounts, self._ids, self.quantum, self._assets, held, columns, bad)
        self._add_cross(loaded.new_ids, loaded.balance, loaded.balance_rest)
        if len(loaded.lots):
            held = np.zeros(len(loaded.lots), ROW_DTYPE)
            held["account"] = self._cross_accounts[loaded.owner_row]
            held["instrument"], held["slot"], held["lots"] = loaded.instrument, COLLATERAL, loaded.lots
            held = np.concatenate([self._holdings, held])
            self._holdings = held[np.lexsort((held["instrument"], held["account"]))]
        self._changed()
        return _load.dropped(bad)

    @property
    def asset_instruments(self) -> dict[str, int]:
        """Position of the instrument that prices each asset of `collateral`, by the asset's name."""
        return {asset.asset: self._index[asset.instrument] for asset in self._collateral}

    @property
    def _assets(self) -> _load.Assets:
        instrument = self.asset_instruments
        steps = {
            i: self.instruments[i].lot_size * self.instruments[i].multiplier for i in instrument.values()
        }
        return _load.Assets(self._settlement_asset, instrument, steps)

    def _add_cross(self, ids: np.ndarray, balance: np.ndarray, rest: np.ndarray) -> None:
        first, n = len(self._ids), len(ids)
        self._ids = self._ids.extended(ids)
        self._mode = np.concatenate([self._mode, np.full(n, CROSS, np.uint8)])
        self._parent = np.concatenate([self._parent, np.full(n, -1, np.int32)])
        self._balance = np.concatenate([self._balance, balance])
        self._balance_rest = _load.rests(np.concatenate([self._balance_rest, rest]))
        self._owner_row = np.concatenate([self._owner_row, np.arange(first, first + n, dtype=np.int32)])

    def load_positions(
        self, positions: Any, *, columns: Mapping[str, str] | None = None, on_bad: str = "raise"
    ) -> Table | None:
        """Load open positions; the external account is their counterparty.

        Parameters
        ----------
        positions : table with columns account, instrument, size (signed, not 0), entry_price (an average: any
        finite positive
            number) and optionally margin (posted margin of an isolated position, in addition to the account's
            balance; NaN or null means cross), position_side ("both", "long", "short"), margin_mode ("cross",
            "isolated"). A cross position's account must be loaded; an isolated one's is created with balance
            0 if absent. The key (account, instrument, position_side, margin_mode) must be new.

        Returns, raises
        ---------------
        As `load_book`.
        """
        bad = _load.bad_rows("positions", on_bad)
        rows, account = self._rows, self._rows.account
        isolated = self._mode[account] == ISOLATED
        held = _load.position_keys(self._owner_row[account], rows.instrument, rows.slot, isolated)
        loaded = _load.positions(
            positions, self.instruments, self._terms, self._ids, self.quantum, held, columns, bad
        )
        self._add_positions(loaded)
        self._changed()
        return _load.dropped(bad)

    def _add_positions(self, x: _load.Positions) -> None:
        """Create absent owners and the isolated accounts in row order, then the rows."""
        old, n_isolated = len(self._mode), int(np.count_nonzero(x.isolated))
        total = old + len(x.new_ids) + n_isolated
        cross = np.full(len(self._ids) + len(x.new_ids), -1, np.int32)
        cross[: len(self._ids)] = self._cross_accounts
        mode, parent, balance, owner_row = (
            np.empty(total, c.dtype) for c in (self._mode, self._parent, self._balance, self._owner_row)
        )
        mode[:old], parent[:old] = self._mode, self._parent
        balance[:old], owner_row[:old] = self._balance, self._owner_row
        isolated = np.ascontiguousarray(x.isolated).view(np.uint8)
        account = _bulk.add_accounts(
            x.owner_row, isolated, x.margin, cross, mode, parent, balance, owner_row, old, CROSS, ISOLATED
        )
        balance_rest = _load.nothing(total)
        if self._balance_rest.any() or x.margin_rest.any():
            balance_rest = np.zeros(total)
            balance_rest[:old] = self._balance_rest
            balance_rest[account[x.isolated]] = x.margin_rest[x.isolated]
        types = np.uint16, np.uint8, np.int64, np.int64
        columns = zip((x.instrument, x.slot, x.lots, x.basis), types, strict=True)
        rows = _load.Rows(account, *(column.astype(t, copy=False) for column, t in columns))
        self._ids = self._ids.extended(x.new_ids)
        self._mode, self._parent, self._balance, self._owner_row = mode, parent, balance, owner_row
        self._rows = self._rows.extended(rows)
        self._balance_rest = balance_rest
        self._basis_rest = _load.rests(_load.extended(self._basis_rest, x.basis_rest))

    def set_prices(
        self, *, index: Mapping[str, Any] | None = None, last: Mapping[str, Any] | None = None,
        external: Mapping[str, Mapping[str, Any]] | None = None,
        funding_rate: Mapping[str, Any] | None = None, time_to_funding: Mapping[str, Any] | None = None,
        basis: Mapping[str, Any] | None = None, reference: Mapping[str, Any] | None = None,
        settle: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Override index prices (any positive number) and last prices (whole ticks), by default both from the
        mid; and feed what only mark trees (`cs.marks`) and breakers (`cs.breakers`) look at. What is not
        named stays as it is.

        Parameters
        ----------
        index, last : {symbol: price}
        external : {symbol: {name: price or None}}
            Prices of other venues; None takes one off.
        funding_rate : {symbol: rate}
            Of one interval, in [-1, 1]; 0 until given.
        time_to_funding : {symbol: hours}
            From 0 to the instrument's `funding_interval`, which it is until given.
        basis : {symbol: price difference or None}
            Average of (mid - index) so far, with which every average of a basis starts; by default the
            present one. None: there is none yet, and it begins with the first time that passes.
        reference, settle : {symbol: price}
            Reference price of bands at the start, by default the last price; and settlement price (previous
            close), by default the reference. Any positive numbers.
        """
        new: dict[str, dict[int, Any]] = {"index": {}, "last": {}, "funding_rate": {}, "time_to_funding": {}}
        new |= {"reference": {}, "settle": {}}
        for name, given in (("reference", reference), ("settle", settle)):
            for i, price, what in self._given(name, given):
                value = round(_positive_price(price, what) / self.instruments[i].tick_size * 1024)
                new[name][i] = _in_domain(value, 1024, price, what)
        for i, price, what in self._given("index", index):
            value = round(_positive_price(price, what) / self.instruments[i].tick_size * 1024)
            new["index"][i] = _in_domain(value, 1024, price, what)
        for i, price, what in self._given("last", last):
            _positive_price(price, what)
            new["last"][i] = _in_domain(self.instruments[i].to_ticks(price), 1, price, what)
        new_external = self._given_external(external)
        for i, value, what in self._given("funding_rate", funding_rate):
            new["funding_rate"][i] = int(rate(value, what) * RATE_ONE)
        for i, hours, what in self._given("time_to_funding", time_to_funding):
            longest = self.instruments[i].funding_interval
            if not 0 <= exact(hours, what) <= longest:
                raise InputError(
                    f"{what} = {show(hours)}: must be from 0 to the funding interval, "
                    f"{float(longest):g} hours"
                )
            new["time_to_funding"][i] = round(exact(hours, what) * HOUR_NS)
        new_basis: dict[int, int] = {}
        for i, value, what in self._given("basis", basis):
            if value is None:
                new_basis[i] = NO_BASIS
                continue
            new_basis[i] = round(exact(value, what) / self.instruments[i].tick_size * 1024)
            if abs(new_basis[i]) >= 2**62:
                raise RangeError(f"{what} = {show(value)}: must be within 2**52 ticks")
        for name in (
            "_last", "_last_given", "_index_1024", "_index_given", "_external", "_basis", "_funding_rate",
            "_left_ns", "_reference", "_settle",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name).copy())  # a copy of the market shares the old ones
        for i, value in new["index"].items():
            self._index_1024[i], self._index_given[i] = value, True
        for i, value in new["last"].items():
            self._last[i], self._last_given[i] = value, True
        for i, prices in new_external.items():
            self._external[i] = prices
        for i, value in new["funding_rate"].items():
            self._funding_rate[i] = value
        for i, value in new["time_to_funding"].items():
            self._left_ns[i] = value
        for i, average in new_basis.items():
            self._basis[i] = average
        for i, value in new["reference"].items():
            self._reference[i] = value
        for i, value in new["settle"].items():
            self._settle[i] = value
        self._changed()

    def _given(self, name: str, given: Any) -> Iterator[tuple[int, Any, str]]:
        """(instrument, value, place for messages) of what `set_prices` was given under a name."""
        if given is not None and not isinstance(given, Mapping):
            raise InputTypeError(f"prices.{name} = {show(given)}: must map symbols to prices")
        seen = set()
        for symbol, value in dict(given or {}).items():
            i = self.instrument_index(symbol, f"prices.{name}")
            if i in seen:
                raise InputError(f"prices.{name} = {show(symbol)}: must not name an instrument twice")
            seen.add(i)
            yield i, value, f"prices.{name}[{self.instruments[i].symbol!r}]"

    def _given_external(self, external: Any) -> dict[int, dict[str, int]]:
        """The external prices of the instruments that were given some, with those that they had."""
        found = {}
        for i, prices, what in self._given("external", external):
            if not isinstance(prices, Mapping):
                raise InputTypeError(f"{what} = {show(prices)}: must map names to prices")
            found[i] = dict(self._external[i])
            for name, price in prices.items():
                check_name(name, f"{what}: name")
                place = f"{what}[{name!r}]"
                if price is None:
                    found[i].pop(name, None)
                    continue
                value = round(_positive_price(price, place) / self.instruments[i].tick_size * 1024)
                found[i][name] = _in_domain(value, 1024, price, place)
        return found

    def _changed(self) -> None:
        # Other threads that are making something for the market as it was put it into the old one.
        self._derived = _Derived()
        self.__dict__.pop("digest", None)

    # -- the exact state -------------------------------------------------------------------------------------
    def state(self) -> State:
        """The market as exact integer columns, built once and kept until the next load."""
        derived = self._derived
        if derived.state is None:
            derived.state = self._compile()
        return derived.state

    def _compile(self) -> State:
        n = len(self.instruments)
        last, index = self._last.copy(), self._index_1024.copy()
        known_bid, known_ask = np.zeros(n, np.int64), np.zeros(n, np.int64)
        owners = []
        basis = np.full(n, NO_BASIS, np.int64)
        names = tuple(sorted({name for prices in self._external for name in prices}))
        for i, orders in enumerate(self._orders):
            bids, asks = orders.prices(1), orders.prices(-1)
            if bids.size and asks.size:
                twice_mid = int(bids.max()) + int(asks.min())
                if not self._last_given[i]:
                    last[i] = round(Fraction(twice_mid, 2))
                if not self._index_given[i]:
                    index[i] = twice_mid * 512
                basis[i] = twice_mid * 512 - index[i]
            given = self._basis[i]
            if given is not None:
                basis[i] = given
            if self._complete[i]:
                known_bid[i], known_ask[i] = KNOWN_TO_ZERO, KNOWN_TO_INFINITY
            else:
                # Knowledge reaches as far as the external levels; where only accounts' orders were loaded, as
                # far as these.
                seen = (
                    orders.owner == EXTERNAL
                    if self._complete[i] is not None
                    else np.ones(len(orders.price), bool)
                )
                known_bid[i] = orders.price[seen & (orders.side == 1)].min(initial=PRICE_LIMIT)
                known_ask[i] = orders.price[seen & (orders.side == -1)].max(initial=0)
            owners += [(int(a), i, 0, 0, 0) for a in np.unique(orders.owner[orders.owner != EXTERNAL])]
        rows, basis_rest = self._rows, self._basis_rest
        held = (
            set(zip(*(column.tolist() for column in rows.columns()[:3]), strict=True)) if owners else set()
        )
        # An owner of orders gets a row for what they may trade.
        flat = [row for row in owners if row[:3] not in held]
        if flat:
            parts = zip(*flat, strict=True)
            added = (np.array(part, c.dtype) for part, c in zip(parts, rows.columns(), strict=True))
            rows = rows.extended(_load.Rows(*added))
            basis_rest = _load.rests(_load.extended(basis_rest, np.zeros(len(flat))))
        if not rows.in_order():
            order = np.lexsort((rows.slot, rows.instrument, rows.account))
            rows, basis_rest = rows.sorted_by(order), _load.rests(basis_rest[order])
        return State(
            instruments=self.instruments,
            quantum=self.quantum,
            fund=self._fund,
            vault=self._vault,
            last=last,
            index_1024=index,
            external_names=names,
            external_1024=np.array(
                [[prices.get(name, 0) for name in names] for prices in self._external], np.int64
            ).reshape(n, len(names)),
            basis_1024=basis,
            funding_rate=self._funding_rate.copy(),
            funding_left_ns=self._left_ns.copy(),
            funding_interval_ns=self._interval_ns,
            orders=tuple(self._orders),
            known_bid=known_bid,
            known_ask=known_ask,
            account_mode=self._mode,
            account_parent=self._parent,
            account_flags=np.broadcast_to(np.uint8(0), len(self._mode)),
            account_balance=self._balance,
            row_account=rows.account,
            row_instrument=rows.instrument,
            row_slot=rows.slot,
            row_lots=rows.lots,
            row_basis=rows.basis,
            balance_rest=self._balance_rest,
            row_basis_rest=basis_rest,
            reference_1024=self._reference.copy(),
            settle_1024=self._settle.copy(),
            haircut=self._haircut,
            holdings=self._holdings,
        )

    @cached_property
    def digest(self) -> str:
        """BLAKE2b-128 of everything loaded, 32 hex digits: equal digests give equal runs."""
        h = hashlib.blake2b(f"cascade {FORMAT_VERSION}".encode(), digest_size=16)
        # Every field as it is: an Instrument's repr rounds what is no decimal.
        fields = [[getattr(i, name) for name in i.__slots__] for i in self.instruments]
        h.update(repr((fields, self.quantum, self._fund, self._vault)).encode())
        h.update(repr(self._complete).encode())
        h.update(repr(self.rules).encode())
        for given, prices in ((self._last_given, self._last), (self._index_given, self._index_1024)):
            h.update(given.tobytes() + prices.tobytes())
        h.update(repr(([sorted(prices.items()) for prices in self._external], self._basis)).encode())
        h.update(self._funding_rate.tobytes() + self._left_ns.tobytes())
        h.update(self._reference.tobytes() + self._settle.tobytes())
        for orders in self._orders:
            for column in orders.columns():
                h.update(column.size.to_bytes(8, "little") + column.tobytes())
        for column in (self._mode, self._parent, self._balance, self._owner_row):
            h.update(column.size.to_bytes(8, "little") + column.tobytes())
        for records in self._rows.records():
            h.update(records.tobytes())
        if self._collateral:
            h.update(repr((self._collateral, self._settlement_asset)).encode() + self._holdings.tobytes())
        h.update(self._ids.digest_bytes())
        return h.hexdigest()

    # -- running ---------------------------------------------------------------------------------------------
    def run(
        self, shock: Shock | None = None, *, rules: VenueRules | Venue | None = None,
        engine: str | type[Engine] = "core", record: str = "all",
        audit: str = "delta", max_waves: int | None = None,
    ) -> Result:  # fmt: skip
        """Apply a shock and follow the cascade to its end. The market is not changed.

        Parameters
        ----------
        shock : Shock, optional
            None: only what is unhealthy already is liquidated.
        rules : VenueRules or Venue, optional
            Default: the market's.
        engine : {"core", "reference"} or a subclass of cs.reference.Engine
            The compiled engine, or the plain-Python one that it is checked against; both give the same
            events. A subclass runs rules of your own, at the reference's speed.
        record : {"all", "liquidations", "summary"}
            How much to keep: every event; liquidations and marks; totals only.
        audit : {"delta", "full"}
            "delta": conservation is checked after every event. "full": everything is also recounted from
            scratch at the end.
        max_waves : int, optional
            Stop with status "limit" rather than begin a wave after this one.

        Raises
        ------
        InputError
            An instrument without a mark, a shock of an unknown instrument or account.
        RangeError
            Something could exceed the engines' integers: refused before the run.
        """
        ready = self._derived.ready.get(id(rules))
        if ready is not None:
            result = ready.run(shock, engine, record, audit, max_waves)
            if result is not None:
                return result
        shock, record, audit = as_shock(shock), _plain(record), _plain(audit)
        names, state = self.snapshot(), self.state()
        started, ops = self._prepare(state, shock, rules, engine, record, audit, max_waves)
        try:
            data = started.through(ops)
        finally:
            started.release()
        return Result(names, state, data, started.rules, shock, record)

    def start(
        self, shock: Shock | None = None, *, rules: VenueRules | Venue | None = None,
        engine: str | type[Engine] = "core", record: str = "all",
        audit: str = "delta", max_waves: int | None = None,
    ) -> Simulation:  # fmt: skip
        """The same, step by step, with orders and market data from outside in between: see `Simulation`."""
        shock, record, audit = as_shock(shock), _plain(record), _plain(audit)
        names, state = self.snapshot(), self.state()
        started, ops = self._prepare(state, shock, rules, engine, record, audit, max_waves)
        started.apply(ops)
        return Simulation(self, names, state, started, shock, ops, record)

    def sweep(
        self, scenarios: Any, *, n: int | None = None, workers: Any = 1,
        progress: Callable[[int, int], Any] | None = None, rng: Any = None,
        keep: Iterable[str] | Mapping[str, Any] | None = None,
        out: Any = None, deadline: float | None = None, rules: VenueRules | Venue | None = None,
        engine: str | type[Engine] = "core", max_waves: int | None = None,
    ) -> Sweep:  # fmt: skip
        """Run many scenarios, one row of results each.

        Parameters
        ----------
        scenarios : iterable of Shock, table of moves, or callable
            A table of relative price moves: (n, instruments) array_like with the instruments in the market's
            order, or named columns (dict, structured, pandas, polars). A callable makes scenario k from (rng,
            k): it gets a numpy.random.Generator that depends on the seed and k alone, and returns a Shock.
        n : int
            How many scenarios a callable makes.
        workers : int, or a callable like the built-in map
            Threads (-1: one a core): the core runs without the GIL, and threads share the loaded market. Or
            the `map` of a process pool, of joblib, Dask, Ray, mpi4py: the market then travels to a process
            once.
        progress : callable, optional
            Called with (scenarios done, scenarios in all), in this thread.
        rng : int, numpy.random.SeedSequence or numpy.random.Generator, optional
            The seed. Row k depends on it and on k alone, whatever the workers.
        keep : sequence of str, optional
            Scalars of `Result.summary` to keep (default: all; by instrument as "price_final[BTCUSDT]"), and
            tables to keep beside them: "liquidations", "waves", "prices", "fills", "adl", "flows",
            "accounts", "positions", "network", "contagion". Or {name: function of a Result}: what it
            returns is in `Sweep.values`, beside all scalars.
        out : path, optional
            Write rows to Parquet files in this directory as they come (scenarios.parquet, and one a kept
            table) instead of keeping them in memory. Needs pyarrow.
        deadline : float, optional
            Seconds after which no scenario begins and those that run are stopped: "not_run".
        rules, engine, max_waves
            As in `run`.

        Returns
        -------
        Sweep

        Raises
        ------
        InputError, InputTypeError
            Scenarios, a seed, a name in `keep` that cannot be; nothing has run then. An error in one scenario
            does not stop the others: its row has status "failed" and the message.
        KeyboardInterrupt
            From Ctrl-C, within a scenario; nothing is left running.

        Examples
        --------
        >>> import cascade as cs
        >>> market = cs.datasets.constant_depth()
        >>> shocks = [cs.Shock(orders={"X": -q}) for q in (100, 200, 300)]
        >>> market.sweep(shocks, workers=2)["amplification"].round(2)
        array([2.5, 2.5, 2.5])
        >>> drawn = market.sweep(lambda rng, k: cs.Shock(orders={"X": -rng.integers(1, 500)}), n=4, rng=7)
        >>> len(drawn)
        4
        """
        options = {"rules": rules, "engine": engine, "max_waves": max_waves}
        return sweep(self, scenarios, n, workers, progress, rng, keep, out, deadline, options)

    def _scenario(
        self, shock: Shock, stop: Any, record: str, whole: bool, options: dict[str, Any]
    ) -> tuple[dict[str, Any], Result | None]:
        """`run` for a sweep: the summary and, if `whole`, the Result. `stop.began(engine)` has the run
        stopped by other threads."""
        names, state = self.snapshot(), self.state()
        started, ops = self._prepare(state, shock, record=record, audit="delta", **options)
        try:
            try:
                stop.began(started)
                data = started.through(ops)
            finally:
                stop.ended(started)
        finally:
            started.release()
        if not whole:
            return summary_of(state, data), None
        result = Result(names, state, data, started.rules, shock, record)
        return result._summary, result

    def _prepare(
        self,
        state: State,
        shock: Shock,
        rules: Any,
        engine: str | type[Engine],
        record: str,
        audit: str,
        max_waves: int | None,
    ) -> tuple[Any, np.ndarray]:
        own_engine = engine if isinstance(engine, type) and issubclass(engine, Engine) else None
        _check_options("core" if own_engine else engine, record, audit, max_waves)
        chosen = as_rules(rules, self._rules)
        ready = self._derived.ready.get(id(rules))
        known = ready is not None and ready.state is state
        if not known:
            check_symbols(chosen.breakers, list(self._index))
        ops = self._operations(state, shock, chosen)
        if not known:
            self._marks(state, chosen)
            ready = self._make_ready(state, rules, chosen)
        cap = None if max_waves is None else min(int(max_waves), 2**31 - 1)
        if own_engine or engine == "reference":
            return ReferenceEngine(state, chosen, record, audit, cap, own_engine or Engine), ops
        assert ready is not None
        return start(ready.idle, state, chosen, record, audit, cap), ops

    def _make_ready(self, state: State, given: Any, chosen: VenueRules) -> Ready:
        """Rules found to fit the market, by the object that a run was given; that is kept, so that its id
        stays its own."""
        derived = self._derived
        if state is not derived.state:
            # Another thread has loaded meanwhile: engines of an older state are not for the next run.
            return Ready(Result, self.snapshot(), state, given, chosen, [])
        new = chosen not in derived.engines
        if len(derived.ready) >= MOST_READY or (new and len(derived.engines) >= MOST_LOADED):
            derived.ready.clear()
            for rules in list(derived.engines)[: 1 - MOST_LOADED]:  # all but the latest
                derived.engines.pop(rules, None)
        idle = derived.engines.setdefault(chosen, [])
        derived.ready[id(given)] = ready = Ready(Result, self.snapshot(), state, given, chosen, idle)
        return ready

    def _operations(self, state: State, shock: Shock, chosen: VenueRules) -> np.ndarray:
        """A shock as OP_DTYPE rows that fit the market; the shock keeps them, since neither it nor the state
        changes."""
        made = shock._made
        if made is None or made[0] is not state.token:
            ops = shock.compile(self)
            ops.flags.writeable = False
        elif made[2] is chosen:
            return made[1]
        else:
            ops = made[1]
        state.check_range(ops, chosen, self.account_name)
        shock._made = state.token, ops, chosen
        return ops

    def snapshot(self) -> Names:
        """What a result needs of the market, unaffected by later loads."""
        derived = self._derived
        if derived.names is None:
            derived.names = Names(self)
        return derived.names

    # -- questions -------------------------------------------------------------------------------------------
    def marks(self, rules: VenueRules | Venue | None = None) -> list[int]:
        """Marks per instrument in 1/1024 ticks, before any shock. Raises InputError for an instrument without
        one."""
        return self._marks(self.state(), as_rules(rules, self.rules))

    def mark(self, instrument: str, rules: VenueRules | Venue | None = None) -> float:
        """The mark of one instrument before any shock. Raises as `marks`."""
        i = self.instrument_index(instrument)
        return float(self.marks(rules)[i] * self.instruments[i].tick_size / 1024)

    def _marks(self, state: State, chosen: VenueRules) -> list[int]:
        marks = []
        for i, instrument in enumerate(self.instruments):
            mark = loaded_mark(state, i, chosen.mark)
            if mark is None:
                raise InputError(
                    f"market[{instrument.symbol!r}]: no mark under rules.mark={chosen.mark!r}: "
                    "load both sides of its book, or call set_prices"
                )
            marks.append(mark)
        return marks

    def _valued(self, rules: VenueRules | Venue | None) -> Standing:
        state, chosen = self.state(), as_rules(rules, self.rules)
        state.check_range(np.empty(0, OP_DTYPE), chosen, self.account_name)  # or sums could wrap around
        return Standing(state, chosen, self._marks(state, chosen))

    def liquidation_prices(self, rules: VenueRules | Venue | None = None) -> Table:
        """Where each position would be liquidated and where closing it would use up its account's equity, all
        else fixed.

        Returns
        -------
        Table : account, instrument, position_side, margin_mode, size, mark, liquidation_price,
        bankruptcy_price, maintenance, initial, bankruptcy_value; float64 prices,
            solved unrounded in the tier that holds at the answer, NaN where there is none. Positions of one
            account in one instrument (hedge mode) share both prices: the instrument's price moves them
            together. Maintenance and initial margin are the position's own; `bankruptcy_value` is the signed
            value (paid: positive) of the trade that closes it at its bankruptcy price, in whole cash quanta
            as the engines fix it for its liquidation order, the other positions at their marks. Under
            bankruptcy_share="maintenance" the bankruptcy price is that value's.
        """
        return self._valued(rules).prices_table(self)

    def bankruptcy_value(
        self, account: Any, instrument: str, size: Any = None, *, position_side: str = "both",
        margin_mode: str = "cross", rules: VenueRules | Venue | None = None,
    ) -> float:  # fmt: skip
        """What closing a position, or a part of it, is worth at its bankruptcy price.

        As in the engines, in whole cash quanta: the first k of n lots are worth floor(value * k / n), or
        under bankruptcy_share="maintenance" what gives up as much equity as the maintenance that closing them
        frees.

        Parameters
        ----------
        account, instrument, position_side, margin_mode : the position
        size : number, optional
            How much of it is closed, > 0; default: all.

        Returns
        -------
        float
            Signed value of the closing trade in the settlement currency: what is paid is positive, what is
            received negative.

        Raises
        ------
        InputError
            No such position, or a size beyond it.
        """
        standing = self._valued(rules)
        row = standing.row_of(
            self.owner(account), self.instrument_index(instrument), position_side, margin_mode
        )
        what = f"bankruptcy_value[{show(account)}, {show(instrument)}]"
        if row is None:
            raise InputError(f"{what}: no open position ({position_side}, {margin_mode})")
        i, held = int(standing.rows["instrument"][row]), abs(int(standing.rows["lots"][row]))
        lots = held if size is None else self.instruments[i].to_lots(size)
        if not 1 <= lots <= held:
            whole = self.instruments[i].to_size(held)
            raise InputError(f"{what}: size = {show(size)}: must be > 0 and at most {whole:g}")
        return self.to_money(standing.sums.bankruptcy_value(row, lots))

    def margin(self, rules: VenueRules | Venue | None = None) -> Table:
        """account, margin_mode, instrument, position_side, balance, equity, maintenance, ratio (equity /
        maintenance, NaN where nothing is needed), initial (what opening the positions anew would need: each
        one's initial rate times its notional, rounded up), collateral (what collateral in other assets counts
        for in equity) of every margin account at the marks."""
        standing = self._valued(rules)
        return accounts_table(
            self, standing.state, standing.rules, standing.state.account_balance,
            np.concatenate([standing.rows, standing.state.holdings]), standing.marks,
        )  # fmt: skip

    def holdings(self, rules: VenueRules | Venue | None = None) -> Table:
        """Collateral in other assets than the settlement currency, at the marks.

        Returns
        -------
        Table : account, asset, instrument, quantity (of the asset), price (the instrument's mark), haircut,
        value (what it counts for, after the haircut, in the settlement currency)
        """
        return holdings_table(self, self.state(), self.state().holdings, self.marks(rules))

    def fillable_prices(self, rules: VenueRules | Venue | None = None) -> Table:
        """What each position would be ordered at under rules.order_price="fillable": the mark less a part of
        its maintenance that grows as the account's equity goes (dYdX).

        Returns
        -------
        Table : account, instrument, position_side, margin_mode, size, mark, fillable_price; float64 prices,
        computed exactly and before rounding to a tick, NaN where there is none. A healthy account's is the
        mark.
        """
        return fillable_table(self, self._valued(rules), as_rules(rules, self.rules))

    def adl_ranks(self, instrument: str, rules: VenueRules | Venue | None = None) -> Table:
        """Who would be deleveraged first, by rules.adl_rank at the marks: the ADL indicator.

        Returns
        -------
        Table : account, instrument, position_side, margin_mode, size, score, rank. `score` is the rank's
        formula (float64), `rank` the place in the queue of its side, 1 first: all longs, then all shorts.
        """
        i, state = self.instrument_index(instrument), self.state()
        started, _ = self._prepare(state, Shock(), rules, "core", "summary", "delta", None)
        try:
            return ranks_table(self, state, i, started)
        finally:
            started.release()

    def bands(self, rules: VenueRules | Venue | None = None) -> Table:
        """The price bands of `VenueRules.breakers` as they are at the start of a run.

        Returns
        -------
        Table : instrument, breaker (its place in rules.breakers), rate (of the reference or settlement
            price; NaN where an amount decides), variant (how far it reaches), lower, upper; float64 prices, 0
            and infinity where there is no limit. The limits of a window are around the reference price.
        """
        state, chosen = self.state(), as_rules(rules, self.rules)
        check_symbols(chosen.breakers, list(self._index))
        return bands_table(state, chosen)

    def halts(self, rules: VenueRules | Venue | None = None) -> Table:
        """The levels of market-wide halts in `VenueRules.breakers`.

        Returns
        -------
        Table : instrument (whose price decides), breaker, level (1 is the first), rate, price (float64,
            where it acts), halt_ns (2**63 - 1: for good)
        """
        state, chosen = self.state(), as_rules(rules, self.rules)
        check_symbols(chosen.breakers, list(self._index))
        return levels_table(state, chosen)

    def liquidation_map(self, instrument: str, rules: VenueRules | Venue | None = None) -> Table:
        """Quantity that would be liquidated by trigger price.

        Returns
        -------
        Table : price (float64, ascending), quantity (float64), side of the
            liquidation order ("sell" closes longs, "buy" shorts). Positions without a liquidation price are
            left out.
        """
        symbol = self.instruments[self.instrument_index(instrument)].symbol
        return map_table(self.liquidation_prices(rules), symbol)

    def criticality(
        self, *, direction: str | dict[str, str] = "down", path: Any = None, window: float = 0.005,
        rules: VenueRules | Venue | None = None,
    ) -> Criticality:  # fmt: skip
        """How strongly liquidations feed on themselves, here and further along a path of prices.

        At each point of the path all marks have moved by that much, and who is unhealthy there is gone. From
        there one instrument at a time moves on by `window`: the lots that this forces out, over those that
        the books take within the same step, make K. Whole accounts are taken to go; lots that would
        push a price back are left out.

        Parameters
        ----------
        direction : {"down", "up"} or {symbol: "down" or "up"}
            Where prices go; instruments that are not named fall.
        path : (m,) array_like of float, optional
            Relative moves >= 0 of all marks, the first taken as the start. Default: 0 to 0.2 in steps of
            0.005.
        window : float
            Relative move over which densities and depths are measured.
        rules : VenueRules or Venue, optional
            Default: the market's.

        Returns
        -------
        Criticality

        Raises
        ------
        InputError, InputTypeError
            A symbol or word that is not known, a path that reaches -100%, a window outside (0, 1).

        Notes
        -----
        `docs/model.md`, section 7. With one instrument of constant depth d and g lots a tick to go, K = g / d
        and the amplification of a small shock is 1 / (1 - K).

        Examples
        --------
        >>> import cascade as cs
        >>> market = cs.datasets.constant_depth(d=100, g=60)
        >>> round(market.criticality(path=[0], window=1e-4).start, 2)
        0.6
        """
        state, chosen = self.state(), as_rules(rules, self.rules)
        state.check_range(np.empty(0, OP_DTYPE), chosen, self.account_name)
        symbols = tuple(i.symbol for i in self.instruments)
        marks = self._marks(state, chosen)
        return criticality_of(state, chosen, marks, symbols, direction, path, window)

    def __str__(self) -> str:
        from ._report import market_report

        return market_report(self)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or pickle takes along: everything loaded; engines are built anew."""
        return {**self.__dict__, "_derived": _Derived(self._derived.state), "_orders": list(self._orders)}

    def __repr__(self) -> str:
        return (
            f"<cascade.Market {', '.join(self._index)}: {len(self._ids):,} accounts, {len(self._rows):,} "
            "positions>"
        )


def _check_options(engine: Any, record: Any, audit: Any, max_waves: Any) -> None:
    """Refuse arguments of a run that are none of the choices."""
    for name, value, choices in (
        ("engine", engine, ENGINES), ("record", record, RECORDS), ("audit", audit, AUDITS)
    ):  # fmt: skip
        if not isinstance(value, str):
            raise InputTypeError(f"run: {name} = {show(value)}: must be one of {', '.join(choices)}")
        if value not in choices:
            raise InputError(f"run: {name} = {show(value)}: must be one of {', '.join(choices)}")
    if max_waves is None:
        return
    if isinstance(max_waves, bool) or not isinstance(max_waves, int | np.integer):
        raise InputTypeError(f"run: max_waves = {show(max_waves)}: must be an int or None")
    if max_waves < 0:
        raise InputError(f"run: max_waves = {show(max_waves)}: must be >= 0")


def _plain(option: Any) -> Any:
    """An option that is a str of some kind, as numpy's and enumerations' are, as a str."""
    return str.__str__(option) if isinstance(option, str) else option


class _Derived:
    """What has been made of a market as it is loaded; a load puts a new one in its place."""

    def __init__(self, state: State | None = None) -> None:
        self.state = state
        self.names: Names | None = None
        self.engines: dict[VenueRules, list[Any]] = {}
        """idle ones by rules"""
        self.ready: dict[int, Ready] = {}
        """by the id of what a run was given as rules"""


class Names:
    """Account ids of a market at one moment, for results."""

    def __init__(self, market: Market):
        self.instruments, self._ids, self._owner_row = market.instruments, market._ids, market._owner_row
        self.collateral = market.collateral

    account_names = Market.account_names


def _as_instruments(instruments: Any) -> tuple[Instrument, ...]:
    if isinstance(instruments, Instrument):
        instruments = (instruments,)
    if isinstance(instruments, str | Mapping) or not isinstance(instruments, Iterable):
        raise InputTypeError(f"market.instruments = {show(instruments)}: must be Instruments")
    found = tuple(instruments)
    for k, instrument in enumerate(found):
        if not isinstance(instrument, Instrument):
            raise InputTypeError(f"market.instruments[{k}] = {show(instrument)}: must be an Instrument")
        if any(instrument.symbol == other.symbol for other in found[:k]):
            raise InputError(f"market.instruments[{k}] = {instrument.symbol!r}: must not stand twice")
    if not 1 <= len(found) < 2**15:
        raise InputError(f"market.instruments: {len(found)} given, must be 1 to {2**15 - 1}")
    _check_follows(found)
    return found


def _check_follows(instruments: tuple[Instrument, ...]) -> None:
    """Refuse indices that follow nobody of the market, or one another in a circle."""
    follows = {i.symbol: i.index_follows[0] for i in instruments if i.index_follows is not None}
    symbols = {i.symbol for i in instruments}
    for k, instrument in enumerate(instruments):
        what, path = f"market.instruments[{k}].index_follows", [instrument.symbol]
        while path[-1] in follows:
            following = follows[path[-1]]
            if following not in symbols:
                listing = ", ".join(i.symbol for i in instruments[:8])
                rule = (
                    f"unknown instrument; the market has {listing}{', ...' if len(instruments) > 8 else ''}"
                )
                raise InputError(f"{what}[0] = {show(following)}: {rule}")
            if following in path:
                raise InputError(f"{what}: {' follows '.join([*path, following])}: must not be a circle")
            path.append(following)


def _positive_price(price: Any, what: str) -> Fraction:
    number = exact(price, what)
    if number <= 0:
        raise InputError(f"{what} = {show(price)}: must be > 0")
    return number


def _in_domain(value: int, unit: int, price: Any, what: str) -> int:
    if not 1 <= value < PRICE_LIMIT * unit:
        lowest = "1 tick" if unit == 1 else f"1/{unit} tick"
        raise RangeError(f"{what} = {show(price)}: must be at least {lowest} and less than 2**53 ticks")
    return value
