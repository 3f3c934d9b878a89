"""Scenarios: a TOML file that names a market's files, rules and shock, as `cascade run` takes it. See
docs/scenario.md."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from . import venues
from ._files import (
    UserTable,
    at,
    both_sides,
    naming,
    read_table,
    sides,
    with_missing,
    with_order_ids,
    with_text_ids,
)
from .collateral import Collateral
from .errors import InputError
from .instruments import Instrument
from .market import Market
from .rules import CHOICES, FLAGS, NUMBERS, STAGES, Venue, VenueRules
from .shocks import Shock

TOP = (
    "name",
    "fund",
    "vault",
    "cash_quantum",
    "rules",
    "settlement_asset",
    "collateral",
    "instrument",
    "accounts",
    "positions",
    "shock",
    "prices",
    "run",
)
INSTRUMENT = (
    "symbol", "tick_size", "lot_size", "contract", "multiplier", "tiers", "taker_fee", "maker_fee",
    "liquidation_fee", "funding_interval", "initial_slope", "maintenance_slope", "open_interest_floor",
    "open_interest_cap", "index_follows",
    "book", "orders",
)  # fmt: skip
BOOK = ("bids", "asks", "file", "complete", "columns")
FILE = ("file", "columns")
SHOCK = ("price", "index", "depth", "haircut", "cash", "funding", "orders")
COLLATERAL = ("asset", "instrument", "haircut")
PRICES = ("index", "last", "external", "funding_rate", "time_to_funding", "basis")
RUN = ("engine", "record", "audit", "max_waves")
TIER = ("floor", "cap", "initial_rate", "maintenance_rate", "amount")
RULES = ("venue", *CHOICES, *STAGES, *FLAGS, *NUMBERS)


@dataclass(frozen=True)
class Scenario:
    """A market, what hits it, and how to run it."""

    name: str
    market: Market
    shock: Shock
    options: dict[str, Any]
    """Keyword arguments of `Market.run`."""


def load_scenario(path: str | Path, say: Callable[[str], None] = lambda text: None) -> Scenario:
    """Read a scenario file and everything it names.

    Parameters
    ----------
    path : str or Path
        The TOML file; relative paths in it are relative to its folder.
    say : callable, optional
        Called with the name of each file before it is read.

    Raises
    ------
    InputError, InputTypeError
        The message begins with the file and, for a row of a CSV file, its line.
    """
    path = Path(path)
    try:
        # Numbers stay decimal: 0.1 in the file is one tenth.
        top = tomllib.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal)
    except OSError as error:
        raise at(path, error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise at(path, "must be UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise at(path, f"not TOML: {error}") from None
    with naming({}, path):
        _known(top, "the file", TOP)
        rules, shock, options = _rules(top.get("rules")), _shock(top.get("shock")), _run(top.get("run"))
    reader = _Reader(path, say)
    return Scenario(str(top.get("name", path.stem)), reader.market(top, rules), shock, options)


@dataclass(frozen=True)
class _Reader:
    """Reads what a scenario file names."""

    path: Path
    say: Callable[[str], None]

    def market(self, top: Mapping[str, Any], rules: VenueRules | Venue | None) -> Market:
        with naming({}, self.path):
            sections = top.get("instrument")
            if not isinstance(sections, list) or not sections:
                raise InputError("instrument: missing; must have at least one [[instrument]]")
            for k, section in enumerate(sections):
                _known(section, f"instrument[{k}]", INSTRUMENT)
                for name in INSTRUMENT[:3]:
                    if name not in section:
                        raise InputError(f"instrument[{k}]: missing key {name!r}")
        instruments = [self.instrument(section) for section in sections]
        with naming({}, self.path):
            fields = "fund", "vault", "cash_quantum", "settlement_asset"
            given = {name: top[name] for name in fields if name in top}
            market = Market(instruments, rules=rules, collateral=_collateral(top), **given)
        for section in sections:
            if "book" in section:
                self.book(market, section["symbol"], section["book"])
        if "accounts" in top:
            table = with_missing(with_text_ids(self.table(top["accounts"], "accounts")), "asset")
            with naming({"accounts": table}, table.path):
                market.load_accounts(table.columns, columns=table.extra)
        if "positions" in top:
            table = with_missing(with_text_ids(self.table(top["positions"], "positions")), "margin")
            with naming({"positions": table}, table.path):
                market.load_positions(table.columns, columns=table.extra)
        for section in sections:
            if "orders" in section:
                self.orders(market, section["symbol"], section["orders"])
        with naming({}, self.path):
            prices = _known(top.get("prices", {}), "prices", PRICES)
            market.set_prices(**{name: _known(table, f"prices.{name}") for name, table in prices.items()})
            market.marks()
        return market

    def instrument(self, section: Mapping[str, Any]) -> Instrument:
        fields = {
            name: value
            for name, value in section.items()
            if name not in ("symbol", "book", "orders", "tiers")
        }
        where = f"instrument[{section['symbol']!r}].tiers"
        tiers = section.get("tiers")
        place = self.path
        with naming({}, self.path):
            if isinstance(tiers, Mapping) or (isinstance(tiers, str) and Path(tiers).suffix):
                table = self.table(tiers, where)
                place = table.path
                with naming({}, place):
                    tiers = _tier_rows(table)
            elif isinstance(tiers, str):
                tiers = _venue(tiers, where, "or a file").tiers(section["symbol"])
            elif isinstance(tiers, list):
                tiers = [[_unbounded(x) for x in row] if isinstance(row, list) else row for row in tiers]
                for k, row in enumerate(tiers):
                    if not isinstance(row, list):
                        raise InputError(f"{where}[{k}] = {row!r}: must be a row [{', '.join(TIER)}]")
            Instrument(section["symbol"], **fields)  # what is wrong here is not the tiers' file's
        with naming({}, place):
            return Instrument(section["symbol"], tiers=tiers, **fields)

    def table(self, section: Any, where: str) -> UserTable:
        """A file given by its name or as {file, columns}."""
        with naming({}, self.path):
            if isinstance(section, str):
                section = {"file": section}
            _known(section, where, FILE)
            return self.open(section.get("file"), section.get("columns"), where)

    def open(self, file: Any, columns: Any, where: str) -> UserTable:
        if not isinstance(file, str) or not file:
            raise InputError(f'{where}: must name a file, as in file = "{where.rpartition(".")[2]}.csv"')
        if columns is not None:
            for name, theirs in _known(columns, f"{where}.columns").items():
                if not isinstance(theirs, str):
                    raise InputError(f"{where}.columns[{name!r}] = {theirs!r}: must be a column of the file")
        self.say(file)
        return read_table(self.path.parent / file, columns)

    def book(self, market: Market, symbol: str, section: Any) -> None:
        where = f"instrument[{symbol!r}].book"
        with naming({}, self.path):
            if isinstance(section, str):
                section = {"file": section}
            _known(section, where, BOOK)
            complete, columns = section.get("complete", False), section.get("columns")
            if not isinstance(complete, bool):
                raise InputError(f"{where}.complete = {complete!r}: must be true or false")
            if ("file" in section) == ("bids" in section or "asks" in section):
                raise InputError(f"{where}: must have either file (with a side column), or bids and asks")
            if "file" in section:
                bids, asks = both_sides(self.open(section["file"], columns, where))
            else:
                for side in ("bids", "asks"):
                    if side not in section:
                        raise InputError(
                            f"{where}: missing key {side!r} (an empty side is a file of a header alone)"
                        )
                bids, asks = (
                    self.open(section[side], columns, f"{where}.{side}") for side in ("bids", "asks")
                )
        with naming({"bids": bids, "asks": asks}, bids.path):
            market.load_book(symbol, bids.columns, asks.columns, complete=complete, columns=bids.extra)

    def orders(self, market: Market, symbol: str, section: Any) -> None:
        table = with_order_ids(with_text_ids(self.table(section, f"instrument[{symbol!r}].orders")))
        with naming({"orders": table}, table.path):
            table = table.with_column("side", sides(table, "orders"))
            market.load_orders(symbol, table.columns, columns=table.extra)


def _known(section: Any, where: str, known: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    """The section, if it is a table of known keys."""
    if not isinstance(section, Mapping):
        raise InputError(f"{where} = {section!r}: must be a table")
    for name in section:
        if known is not None and name not in known:
            raise InputError(f"{where}: unknown key {name!r} (known: {', '.join(known)})")
    return section


def _collateral(top: Mapping[str, Any]) -> list[Collateral]:
    """The assets of [[collateral]]."""
    sections = top.get("collateral", [])
    if not isinstance(sections, list):
        raise InputError(f"collateral = {sections!r}: must be tables, [[collateral]]")
    for k, section in enumerate(sections):
        _known(section, f"collateral[{k}]", COLLATERAL)
        for name in COLLATERAL:
            if name not in section:
                raise InputError(f"collateral[{k}]: missing key {name!r}")
    return [Collateral(**section) for section in sections]


def _unbounded(value: Any) -> Any:
    """None for TOML's inf."""
    return None if isinstance(value, Decimal) and value.is_infinite() and value > 0 else value


def _tier_rows(table: UserTable) -> list[list[Any]]:
    """Margin tiers of a file: an empty or infinite cap is unbounded; the amount column may be left out."""
    names = [name for name in TIER if name != "amount" or table.theirs(name) in table.columns]
    for name in names:
        if table.theirs(name) not in table.columns:
            raise InputError(
                f"tiers: missing column {table.theirs(name)!r} (it has {', '.join(map(repr, table.columns))})"
            )
    columns = []
    for name in names:
        values = table.columns[table.theirs(name)]
        values = values.to_pylist() if hasattr(values, "to_pylist") else list(values)
        if name == "cap":
            values = [
                None if v is None or v != v or str(v).lower() in ("inf", "infinity") else v for v in values
            ]
        columns.append(values)
    return [list(row) for row in zip(*columns, strict=True)]


def _venue(name: str, where: str, others: str = "") -> Venue:
    found = {key: value for key, value in vars(venues).items() if isinstance(value, Venue)}
    if name not in found:
        raise InputError(
            f"{where} = {name!r}: must be a venue ({', '.join(sorted(found))}){others and ' ' + others}"
        )
    return found[name]


def _rules(section: Any) -> VenueRules | Venue | None:
    """A venue's name, or a table of fields, on top of a venue's where it names one."""
    if section is None:
        return None
    if isinstance(section, str):
        return _venue(section, "rules", "or a table")
    if isinstance(section, Mapping) and "breakers" in section:
        raise InputError(
            "rules.breakers: a scenario file cannot have price bands and circuit breakers; "
            "use Market.run(rules=...)"
        )
    fields = dict(_known(section, "rules", RULES))
    base = VenueRules()
    if "venue" in fields:
        base = _venue(str(fields.pop("venue")), "rules.venue").rules
    return base.replace(**fields)


def _shock(section: Any) -> Shock:
    """One shock, or several one after the other."""
    parts = section if isinstance(section, list) else [] if section is None else [section]
    total: Shock | None = None
    for k, part in enumerate(parts):
        fields = dict(_known(part, f"shock[{k}]" if isinstance(section, list) else "shock", SHOCK))
        depth = fields.get("depth")
        if isinstance(depth, Mapping):
            fields["depth"] = {symbol: _bands(rows) for symbol, rows in depth.items()}
        elif isinstance(depth, list):
            fields["depth"] = _bands(depth)
        shock = Shock(**fields)
        total = shock if total is None else total + shock
    return Shock() if total is None else total


def _bands(rows: Any) -> Any:
    if not isinstance(rows, list):
        return rows
    return [[_unbounded(x) for x in row] if isinstance(row, list) else row for row in rows]


def _run(section: Any) -> dict[str, Any]:
    return dict(_known({} if section is None else section, "run", RUN))
