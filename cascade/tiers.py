"""Margin tiers of venues: tables and formulas, read from one file for every symbol of a venue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from ._badrows import show
from .errors import InputError, InputTypeError
from .instruments import RATE_ONE, exact, rate
from .instruments import read_tiers as checked_tiers

Rows = list[list[Any]]
SATOSHI = Fraction(1, 10**8)


class Slope(NamedTuple):
    """A rate that rises with the position: rate + slope * max(0, size - above), in the table's unit."""

    above: Fraction
    initial: Fraction
    maintenance: Fraction


class TierTable(dict[str, Rows]):
    """Margin tiers of a venue's symbols at one date: symbol -> rows (floor, cap, initial rate, maintenance
    rate, maintenance amount), as `Instrument(tiers=...)` takes them.

    Rows are in `unit`. Where that is the settlement currency (`measure` is "notional") they go into an
    Instrument as they are; where the venue counts contracts or base coins, `at_price` turns a symbol's rows
    into notional at a price. A symbol is found by the file's own name, by the venue's name ("BTCUSDT") and
    in the form BASE/QUOTE:SETTLE that ccxt uses ("BTC/USDT:USDT").

    Attributes
    ----------
    exchange, as_of, source : str
        Who, when and where it was read, as the file says.
    unit : str
        Unit of floors, caps and amounts.
    measure : {"notional", "contracts", "base"}
        What floors and caps count.
    note : str
        The rule that formulas follow, and what the file leaves open.
    slopes : dict of str to Slope
        Where rates rise continuously with size: the rows hold the base rates alone, this is the rest.
    """

    def __init__(
        self,
        rows: Mapping[str, Rows],
        *,
        exchange: str,
        as_of: str,
        source: str,
        unit: str,
        measure: str = "notional",
        note: str = "",
        slopes: Mapping[str, Slope] | None = None,
        inverse: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(rows)
        self.exchange, self.as_of, self.source = exchange, as_of, source
        self.unit, self.measure, self.note = unit, measure, note
        self.slopes = dict(slopes or {})
        self._inverse = inverse
        self._names: dict[str, str] = {}
        for symbol in self:
            for name in _names_of(symbol):
                self._names.setdefault(name, symbol)

    def symbol(self, name: Any) -> str:
        """The table's own name of a symbol.

        Raises
        ------
        InputError
            An unknown symbol; the message names the nearest ones, if any is near.
        """
        if not isinstance(name, str):
            raise InputTypeError(f"tiers: symbol = {show(name)}: must be a string")
        if name in self:
            return name
        unified = "/" in name and any("/" in symbol for symbol in self)
        for candidate in () if unified else _spellings(name):
            if candidate in self:
                return candidate
            if candidate in self._names:
                return self._names[candidate]
        near = self._near(name.upper())
        raise InputError(
            f"tiers: symbol = {show(name)}: {self.exchange} ({self.as_of}) has {len(self)} symbols and not "
            f"this one; {'near it' if near else 'the first'}: {', '.join(near or list(self._names)[:5])}"
        )

    def _near(self, name: str) -> list[str]:
        """Up to five names that look like one; first those where one of the two begins with the other."""
        begins = [n for n in self._names if len(name) > 1 < len(n) and name[: len(n)] == n[: len(name)]]
        begins.sort(key=lambda n: abs(len(n) - len(name)))
        return list(dict.fromkeys(begins + get_close_matches(name, self._names, 5)))[:5]

    def rows(self, name: str) -> Rows:
        """The rows of a symbol, the caller's to change."""
        return [list(row) for row in super().__getitem__(self.symbol(name))]

    def __missing__(self, name: str) -> Rows:
        return super().__getitem__(self.symbol(name))

    def at_price(self, name: str, price: Any) -> Rows:
        """A symbol's rows with floors, caps and amounts as notional in the settlement currency at a price.

        Parameters
        ----------
        name : str
        price : number
            The price at which contracts (linear: times the price; inverse, of one unit of quote: divided by
            it) or base coins (times the price) are worth what they are. Without effect where rows are
            notional already.
        """
        symbol, at = self.symbol(name), exact(price, "tiers: price")
        if at <= 0:
            raise InputError(f"tiers: price = {show(price)}: must be > 0")
        factor = Fraction(1)
        if self.measure != "notional":
            factor = 1 / at if symbol in self._inverse else at

        def scaled(value: Any) -> float | None:
            return None if value is None else float(exact(value, "tiers") * factor)

        return [[scaled(a), scaled(b), i, m, scaled(d)] for a, b, i, m, d in super().__getitem__(symbol)]

    def __repr__(self) -> str:
        return f"<TierTable {self.exchange} {self.as_of}: {len(self)} symbols, {self.unit}>"


def _names_of(symbol: str) -> list[str]:
    """Other names under which a table's symbol is known."""
    pair, _, settled = symbol.partition(":")
    base, slash, quote = pair.partition("/")
    if not slash:
        return [symbol]
    _, _, expiry = settled.partition("-")
    return [base + quote + (f"_{expiry}" if expiry else "")]


def _spellings(name: str) -> list[str]:
    """How venues write what was given as BASE/QUOTE:SETTLE, the likeliest first."""
    pair, _, settled = name.partition(":")
    base, slash, quote = pair.partition("/")
    if not slash:
        return [name]
    settle, _, expiry = settled.partition("-")
    if expiry:
        return [
            f"{base}{quote}_{expiry}",
            f"fi_{_xbt(base)}{quote}_20{expiry}".lower(),
            f"fi_{_xbt(base)}{quote}_{expiry}".lower(),
        ]
    found = [base + quote, f"{base}_{quote}", f"{base}-{quote}", _xbt(base) + quote]
    if settle == base:
        found.append(f"pi_{_xbt(base)}{quote}".lower())
    if quote == settle == "USDC":
        found.append(base)
        if base.startswith("K"):  # a thousand of a coin: kPEPE
            found.append("k" + base[1:])
    return found


def _xbt(base: str) -> str:
    return "XBT" if base == "BTC" else base


def read_tiers(path: str | PathLike[str]) -> TierTable:
    """Margin tiers of every symbol in a file: a table of brackets, or the numbers of a venue's formula.

    Parameters
    ----------
    path : str or path
        A JSON file with exchange, as_of, source, unit and either `tiers`: symbol -> rows (floor, cap, initial
        rate, maintenance rate, maintenance amount or null), or `formula`: symbol -> fields as the venue's
        interface names them.

    Returns
    -------
    TierTable
        A dict of symbol to rows. Amounts that a table does not give follow from continuity, a_n = a_(n-1) +
        floor_n (r_n - r_(n-1)). Formulas become rows:

        =========  ===========================================================================================
        BitMEX     value up to riskLimit + n riskStep: initMargin + n maintMargin, (n + 1) maintMargin, on the
                   whole position (amount 0: maintenance jumps); satoshi become XBT
        Gate       value up to risk_limit_base + n risk_limit_step: 1 / leverage_max + n maintenance_rate,
                   (n + 1) maintenance_rate, on the whole position; in USDT
        dYdX v3    initial rate + n incrementalInitialMarginFraction beyond baselinePositionSize; one
                   maintenance rate; `measure` is "base": use `at_price`
        Delta      one row of base rates up to any size, and `slopes`: a rate rises by the scaling factor with
                   each unit of notional above max_leverage_notional
        =========  ===========================================================================================

    Rates end at 1.

    Raises
    ------
    InputError, InputTypeError
        Naming file, symbol, row, field and rule.

    Examples
    --------
    >>> import json, tempfile, cascade as cs
    >>> with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
    ...     rows = [[0, 100, 0.1, 0.05, None], [100, None, 0.2, 0.1, None]]
    ...     json.dump({"exchange": "x", "as_of": "2026-01-01", "source": "mine", "unit": "USDT",
    ...                "tiers": {"BTC/USDT:USDT": rows}}, file)
    >>> table = cs.io.read_tiers(file.name)
    >>> table["BTCUSDT"]
    [[0.0, 100.0, 0.1, 0.05, 0.0], [100.0, None, 0.2, 0.1, 5.0]]
    """
    if not isinstance(path, str | PathLike):
        raise InputTypeError(f"read_tiers: path = {show(path)}: must be a path")
    name = Path(path).name
    try:
        read = json.loads(Path(path).read_text(encoding="utf-8"), parse_float=Decimal)
    except FileNotFoundError:
        raise InputError(f"read_tiers: {str(path)!r}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"read_tiers: {str(path)!r}: cannot be read: {error}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"read_tiers: {name}: not JSON: {error}") from error
    return table_of(read, name)


def table_of(read: Any, file: str) -> TierTable:
    """A TierTable from a file's decoded JSON; `file` is its name in messages."""
    if not isinstance(read, dict):
        raise InputError(f"read_tiers: {file}: must be an object with tiers or formula")
    head: dict[str, Any] = {}
    for field in ("exchange", "as_of", "source", "unit"):
        text = read.get(field)
        if not isinstance(text, str):
            raise InputError(f"read_tiers: {file}: {field} = {show(text)}: must be a string")
        head[field] = text
    kinds = [kind for kind in ("tiers", "formula") if isinstance(read.get(kind), dict)]
    if len(kinds) != 1 or not read[kinds[0]]:
        raise InputError(f"read_tiers: {file}: must have an object 'tiers' or an object 'formula'")
    note = str(read.get("rule") or read.get("note") or "")
    if kinds == ["tiers"]:
        rows = {symbol: _table_rows(f"{file}: {symbol}", rows) for symbol, rows in read["tiers"].items()}
        contracts = head["unit"].startswith("contracts")
        return TierTable(
            rows,
            **head,
            note=note,
            measure="contracts" if contracts else "notional",
            inverse=frozenset(rows) if contracts else frozenset(),
        )
    formulas = read["formula"]
    for symbol, fields in formulas.items():
        if not isinstance(fields, dict):
            raise InputError(f"read_tiers: {file}: {symbol}: must be an object of fields")
    first = next(iter(formulas.values()))
    for needed, formula in FORMULAS:
        if all(field in first for field in needed):
            return formula(formulas, file, head, note)
    raise InputError(
        f"read_tiers: {file}: formula: unknown fields {', '.join(sorted(first)[:6])}: must be those of "
        f"BitMEX, Gate, dYdX v3 or Delta"
    )


def _table_rows(where: str, rows: Any) -> Rows:
    """Rows of a table, checked as an Instrument checks them, amounts filled in."""
    if not isinstance(rows, list) or not rows:
        raise InputError(f"read_tiers: {where}: must be a list of rows")
    for k, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 5:
            raise InputError(
                f"read_tiers: {where}[{k}] = {show(row)}: must be [floor, cap, initial rate, maintenance "
                f"rate, maintenance amount]"
            )
    missing = [row[4] is None for row in rows]
    if any(missing) and not all(missing):
        k = missing.index(not missing[0])
        raise InputError(f"read_tiers: {where}[{k}].amount: must be given in every row or in none")
    tiers = checked_tiers([row[:4] for row in rows] if missing[0] else rows, f"read_tiers: {where}")
    for k, tier in enumerate(tiers[:-1]):
        if tier.cap is None:
            raise InputError(f"read_tiers: {where}[{k}].cap = None: only the last tier may be unbounded")
    return [
        [_plain(tier.floor), _plain(tier.cap), _plain(given[2]), _plain(given[3]), _plain(tier.amount)]
        for tier, given in zip(tiers, rows, strict=True)
    ]


def _plain(value: Any) -> float | None:
    """The float next to a number; None stays None."""
    return None if value is None else float(value)


def _number(fields: Mapping[str, Any], field: str, where: str, *, positive: bool = False) -> Fraction:
    if field not in fields:
        raise InputError(f"read_tiers: {where}.{field}: missing")
    value = exact(fields[field], f"read_tiers: {where}.{field}")
    if value < 0 or (positive and value == 0):
        raise InputError(
            f"read_tiers: {where}.{field} = {show(fields[field])}: must be {'> 0' if positive else '>= 0'}"
        )
    return value


def _steps(
    where: str,
    base: Fraction,
    step: Fraction,
    last: Fraction | None,
    initial: Fraction,
    rise: Fraction,
    maintenance: Fraction,
    maintenance_rise: Fraction,
) -> Rows:
    """Rows of a formula whose rates rise by a step with each `step` of size above `base`, on the whole
    position: amounts are 0. Ends at `last`, or with the first row whose initial rate is 1."""
    rows: Rows = []
    floor, cap = Fraction(0), base
    while True:
        cap = cap if last is None else min(cap, last)
        at = (min(initial, Fraction(1)), min(maintenance, Fraction(1)))
        i, m = (rate(x, f"read_tiers: {where}", 0) for x in at)
        rows.append([float(floor), float(cap), float(i), float(m), 0.0])
        ended = cap == last or (last is None and initial >= 1)
        if ended:
            break
        floor, cap = cap, cap + step
        initial, maintenance = initial + rise, maintenance + maintenance_rise
        if len(rows) > 100_000:
            raise InputError(f"read_tiers: {where}: gives more than 100,000 tiers")
    checked_tiers(rows, f"read_tiers: {where}")
    return rows


def _bitmex(formulas: Any, file: str, head: Any, note: str) -> TierTable:
    rows, units = {}, {"XBt": SATOSHI, "USDt": Fraction(1, 10**6)}
    for symbol, fields in formulas.items():
        where = f"{file}: {symbol}"
        currency = fields.get("settlCurrency")
        if currency not in units:
            raise InputError(
                f"read_tiers: {where}.settlCurrency = {show(currency)}: must be one of {', '.join(units)}"
            )
        unit, kept = units[currency], _number(fields, "maintMargin", where, positive=True)
        rows[symbol] = _steps(
            where,
            _number(fields, "riskLimit", where, positive=True) * unit,
            _number(fields, "riskStep", where, positive=True) * unit,
            None,
            _number(fields, "initMargin", where, positive=True),
            kept,
            kept,
            kept,
        )
    return TierTable(rows, **{**head, "unit": "notional in the settlement currency (XBT, USDT)"}, note=note)


def _gate(formulas: Any, file: str, head: Any, note: str) -> TierTable:
    rows = {}
    for symbol, fields in formulas.items():
        where = f"{file}: {symbol}"
        kept = _number(fields, "maintenance_rate", where, positive=True)
        base = _number(fields, "risk_limit_base", where, positive=True)
        last = _number(fields, "risk_limit_max", where, positive=True)
        if last < base:
            raise InputError(
                f"read_tiers: {where}.risk_limit_max = {show(fields['risk_limit_max'])}: must be >= "
                "risk_limit_base"
            )
        rows[symbol] = _steps(
            where,
            base,
            _number(fields, "risk_limit_step", where, positive=True),
            last,
            1 / _number(fields, "leverage_max", where, positive=True),
            kept,
            kept,
            kept,
        )
    rule = "value <= risk_limit_base + n * risk_limit_step: initial 1 / leverage_max + n * maintenance_rate, "
    rule += "maintenance (n + 1) * maintenance_rate, on the whole position, as Gate did until July 2025"
    return TierTable(rows, note=note or rule, **head)


def _dydx_v3(formulas: Any, file: str, head: Any, note: str) -> TierTable:
    rows = {}
    for symbol, fields in formulas.items():
        where = f"{file}: {symbol}"
        last = _number(fields, "maxPositionSize", where, positive=True)
        baseline = _number(fields, "baselinePositionSize", where, positive=True)
        rows[symbol] = _steps(
            where,
            min(baseline, last),
            _number(fields, "incrementalPositionSize", where, positive=True),
            last,
            _number(fields, "initialMarginFraction", where, positive=True),
            _number(fields, "incrementalInitialMarginFraction", where),
            _number(fields, "maintenanceMarginFraction", where, positive=True),
            Fraction(0),
        )
    return TierTable(rows, measure="base", note=note, **head)


def _delta(formulas: Any, file: str, head: Any, note: str) -> TierTable:
    rows, slopes = {}, {}
    for symbol, fields in formulas.items():
        where = f"{file}: {symbol}"
        initial, maintenance, initial_rise, maintenance_rise = (
            _number(fields, field, where) / 100
            for field in (
                "initial_margin",
                "maintenance_margin",
                "initial_margin_scaling_factor",
                "maintenance_margin_scaling_factor",
            )
        )
        above = _number(fields, "max_leverage_notional", where)
        rows[symbol] = [[0.0, None, float(initial), float(maintenance), 0.0]]
        checked_tiers(rows[symbol], f"read_tiers: {where}")
        slopes[symbol] = Slope(
            above, *(Fraction(round(x * RATE_ONE), RATE_ONE) for x in (initial_rise, maintenance_rise))
        )
    unit = "notional in the settlement currency"
    rule = "rate = margin + scaling_factor * max(0, notional - max_leverage_notional); rows hold the margins"
    return TierTable(rows, **{**head, "unit": unit}, note=note or rule, slopes=slopes)


FORMULAS: tuple[tuple[tuple[str, ...], Callable[[Any, str, Any, str], TierTable]], ...] = (
    (("riskLimit", "riskStep", "initMargin", "maintMargin"), _bitmex),
    (("risk_limit_base", "risk_limit_step", "maintenance_rate"), _gate),
    (("baselinePositionSize", "incrementalPositionSize", "initialMarginFraction"), _dydx_v3),
    (("initial_margin", "maintenance_margin", "initial_margin_scaling_factor"), _delta),
)
"""Fields that tell whose formula a file has, and its reader."""
