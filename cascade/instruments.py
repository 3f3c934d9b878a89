"""Instruments: what one contract is, its tick and lot, its margin tiers and fees - validated once, exact ever
after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ._badrows import Where, show
from ._columns import read_column
from ._exact import LONGEST, NUMBER, to_whole
from ._texts import text_fault
from .errors import InputError, InputTypeError, RangeError

RATE_ONE = 10**12
"""Rates are kept as integers of 1e-12."""
PRICE_LIMIT = 2**53
"""Prices in a market are below this many ticks."""
_TOO_LONG = 10**LONGEST
_WIDE = Context(prec=40)  # messages and reprs must not depend on the caller's decimal context
HOUR_NS = 3600 * 10**9
NEAR_WHOLE = Fraction(1, 10**6)
"""A float counts as a whole number of ticks (lots) within this many ticks."""


class Tier(NamedTuple):
    """One margin tier: it holds for notionals in [floor, cap); maintenance = maintenance_rate * notional -
    amount."""

    floor: Fraction
    cap: Fraction | None
    initial_rate: Fraction
    maintenance_rate: Fraction
    amount: Fraction


def exact(value: Any, what: str) -> Fraction:
    """The rational number that `value` is written as; a float means its shortest decimal form, so 0.1 is one
    tenth."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | str | Decimal | Fraction | np.integer | np.floating
    ):
        raise InputTypeError(f"{what} = {show(value)}: must be a number, a Decimal or a decimal string")
    if isinstance(value, Fraction | int | np.integer):
        number = Fraction(value) if isinstance(value, Fraction) else Fraction(int(value))
        if max(abs(number.numerator), number.denominator) >= _TOO_LONG:
            raise InputError(f"{what} = {show(value)}: must have at most {LONGEST} digits")
        return number
    if isinstance(value, str):
        value = value.strip()
        if not NUMBER.fullmatch(value):
            word = "finite" if value.lower().lstrip("+-") in ("nan", "inf", "infinity") else "a number"
            raise InputError(f"{what} = {show(value)}: must be {word}")
        if len(value) > LONGEST:
            raise InputError(f"{what} = {show(value)}: must have at most {LONGEST} digits")
    # A float of any width means its shortest decimal in its own precision. Lengths are looked at before a
    # number is made, which would take all memory for "1e999999999".
    decimal = value if isinstance(value, Decimal) else Decimal(str(value))
    if not decimal.is_finite():
        raise InputError(f"{what} = {show(value)}: must be finite")
    if len(decimal.as_tuple().digits) > LONGEST or (decimal and abs(decimal.adjusted()) > LONGEST):
        raise InputError(f"{what} = {show(value)}: must have at most {LONGEST} digits")
    return Fraction(decimal) if decimal else Fraction(0)


def positive(value: Any, what: str) -> Fraction:
    number = exact(value, what)
    if number <= 0:
        raise InputError(f"{what} = {show(value)}: must be > 0")
    return number


def rate(value: Any, what: str, lowest: int = -1, highest: int = 1) -> Fraction:
    """A rate in [lowest, highest] that is a whole number of 1e-12."""
    number = exact(value, what)
    if not lowest <= number <= highest:
        raise InputError(f"{what} = {show(value)}: must be in [{lowest}, {highest}]")
    if (number * RATE_ONE).denominator != 1:
        number = Fraction(round(number * RATE_ONE), RATE_ONE)
    return number


def read_tiers(tiers: Any, what: str) -> tuple[Tier, ...]:
    """Margin tiers from one maintenance rate, or from rows (floor, cap, initial rate, maintenance rate[,
    amount]).

    Without amounts (or with None in every row) they follow from continuity: a_n = a_(n-1) + floor_n * (r_n -
    r_(n-1)).
    """
    if tiers is None:
        return ()
    numbers = int | float | str | Decimal | Fraction | np.integer | np.floating
    if isinstance(tiers, numbers) or not isinstance(tiers, Iterable):
        r = rate(tiers, what, 0)
        return (Tier(Fraction(0), None, r, r, Fraction(0)),) if r else ()
    rows = [tiers[()]] if isinstance(tiers, np.ndarray) and tiers.ndim == 0 else list(tiers)
    for k, row in enumerate(rows):
        if isinstance(row, str | bytes) or not isinstance(row, Iterable | np.void):
            raise InputTypeError(
                f"{what}[{k}] = {show(row)}: "
                "must be (floor, cap, initial rate, maintenance rate, maintenance amount)"
            )
    # An amount of None in every row is none given.
    rows = [tuple(row) for row in rows]
    if all(len(row) == 5 and row[4] is None for row in rows):
        rows = [row[:4] for row in rows]
    if not rows:
        raise InputError(f"{what} = []: must have at least one row, or be None")
    read: list[Tier] = []
    for k, row in enumerate(rows):
        where = f"{what}[{k}]"
        if len(row) not in (4, 5) or len(row) != len(rows[0]):
            raise InputError(
                f"{where} = {row!r}: must be "
                "(floor, cap, initial rate, maintenance rate, maintenance amount), "
                "the amount in every row or in none"
            )
        floor = exact(row[0], f"{where}.floor")
        unbounded = row[1] is None or (isinstance(row[1], float | np.floating) and row[1] == np.inf)
        cap = None if unbounded else exact(row[1], f"{where}.cap")
        initial = rate(row[2], f"{where}.initial_rate", 0)
        maintenance = rate(row[3], f"{where}.maintenance_rate", 0)
        amount = exact(row[4], f"{where}.amount") if len(row) == 5 else Fraction(0)
        previous = read[-1] if read else None
        if previous is None and floor != 0:
            raise InputError(f"{where}.floor = {row[0]!r}: the first tier must start at 0")
        if previous is not None and previous.cap != floor:
            word = "unbounded" if previous.cap is None else f"at {float(previous.cap):g}"
            raise InputError(f"{where}.floor = {row[0]!r}: must start where the tier before ends ({word})")
        if cap is not None and cap <= floor:
            raise InputError(f"{where}.cap = {row[1]!r}: must exceed the floor {row[0]!r}")
        if maintenance > initial:
            raise InputError(
                f"{where}.maintenance_rate = {row[3]!r}: must not exceed the initial rate {row[2]!r}"
            )
        if previous is not None and maintenance < previous.maintenance_rate:
            raise InputError(f"{where}.maintenance_rate = {row[3]!r}: must not fall from tier to tier")
        if amount < 0:
            raise InputError(f"{where}.amount = {row[4]!r}: must be >= 0")
        if len(row) == 4 and previous is not None:
            amount = previous.amount + floor * (maintenance - previous.maintenance_rate)
        read.append(Tier(floor, cap, initial, maintenance, amount))
    return tuple(read)


class Instrument:
    """A futures-like contract.

    Parameters
    ----------
    symbol : str
    tick_size, lot_size : Decimal, str, int or float
        Smallest steps of price and of quantity. Floats mean their shortest decimal form.
    contract : {"linear", "inverse"}
        Linear: a quantity n at price P is worth n * P * multiplier of the settlement currency. Inverse: -n *
        multiplier / P.
    multiplier : number
        Default 1.
    tiers : None, a rate, or rows (floor, cap, initial rate, maintenance rate[, maintenance amount])
        Margin tiers by notional in the settlement currency; None means no maintenance margin. The last cap
        may be None or inf. Amounts that are left out (or None in every row) make maintenance continuous.
    taker_fee, maker_fee : number
        Fractions of notional; negative is a rebate.
    liquidation_fee : number
        Fraction of the notional that a liquidation closes, taken from what equity is left.
    funding_interval : number
        Hours between two fundings.
    initial_slope, maintenance_slope : number
        Margin rates that grow with the position (Deribit): this much is added to the tier's rate for every
        coin of size, up to 1 in all. The size in coin is quantity * multiplier of a linear contract, the
        notional itself of an inverse one.
    open_interest_floor, open_interest_cap : number, optional
        Initial margin that grows with open interest (dYdX): between these two amounts of open interest (at
        the mark, in the settlement currency) the initial rate rises from the tier's to 1, in whole parts per
        million, rounded down. Both or neither. Maintenance does not change.
    index_follows : (symbol, beta), optional
        Another instrument of the market whose index this one's follows: where a shock moves that index, by a
        gap or alone, by a relative move g, it moves this one's by beta * g, unless it names this instrument
        itself (docs/model.md, section 8). Beta is in [-100, 100], in 1e-12, not 0.

    Raises
    ------
    InputError, InputTypeError
        The message names the field, its value and the rule.

    Examples
    --------
    >>> import cascade as cs
    >>> btc = cs.Instrument("BTCUSDT", tick_size="0.1", lot_size="0.001", tiers=0.005)
    >>> btc.to_ticks(61628.1), btc.to_lots("0.25")
    (616281, 250)
    """

    __slots__ = (
        "contract", "funding_interval", "index_follows", "initial_slope", "liquidation_fee", "lot_size",
        "maintenance_slope", "maker_fee", "multiplier", "open_interest_cap", "open_interest_floor",
        "symbol", "taker_fee", "tick_size", "tiers",
    )  # fmt: skip

    symbol: str
    tick_size: Fraction
    lot_size: Fraction
    contract: str
    multiplier: Fraction
    tiers: tuple[Tier, ...]
    taker_fee: Fraction
    maker_fee: Fraction
    liquidation_fee: Fraction
    funding_interval: Fraction
    initial_slope: Fraction
    maintenance_slope: Fraction
    open_interest_floor: Fraction | None
    open_interest_cap: Fraction | None
    index_follows: tuple[str, Fraction] | None

    def __init__(
        self, symbol: str, *, tick_size: Any, lot_size: Any, contract: str = "linear", multiplier: Any = 1,
        tiers: Any = None,
        taker_fee: Any = 0, maker_fee: Any = 0, liquidation_fee: Any = 0, funding_interval: Any = 8,
        initial_slope: Any = 0, maintenance_slope: Any = 0,
        open_interest_floor: Any = None, open_interest_cap: Any = None,
        index_follows: Any = None,
    ) -> None:  # fmt: skip
        if not isinstance(symbol, str):
            raise InputTypeError(f"instrument.symbol = {symbol!r}: must be a string")
        if not symbol:
            raise InputError("instrument.symbol = '': must not be empty")
        if fault := text_fault(symbol):
            raise InputError(f"instrument.symbol = {show(symbol)}: {fault}")
        if contract not in ("linear", "inverse"):
            raise InputError(f"instrument[{symbol!r}].contract = {contract!r}: must be 'linear' or 'inverse'")
        name = f"instrument[{symbol!r}]"
        fields = {
            "symbol": symbol,
            "tick_size": positive(tick_size, f"{name}.tick_size"),
            "lot_size": positive(lot_size, f"{name}.lot_size"),
            "contract": contract,
            "multiplier": positive(multiplier, f"{name}.multiplier"),
            "tiers": read_tiers(tiers, f"{name}.tiers"),
            "taker_fee": rate(taker_fee, f"{name}.taker_fee"),
            "maker_fee": rate(maker_fee, f"{name}.maker_fee"),
            "liquidation_fee": rate(liquidation_fee, f"{name}.liquidation_fee", 0),
            "funding_interval": _hours(funding_interval, f"{name}.funding_interval"),
            "initial_slope": _slope(initial_slope, f"{name}.initial_slope"),
            "maintenance_slope": _slope(maintenance_slope, f"{name}.maintenance_slope"),
            **_open_interest(open_interest_floor, open_interest_cap, name),
            "index_follows": _follows(index_follows, symbol, f"{name}.index_follows"),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Instrument is immutable; make a new one to change {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, ({name: getattr(self, name) for name in self.__slots__},)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Instrument):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.symbol, self.tick_size, self.lot_size, self.contract))

    def __repr__(self) -> str:
        tick, lot = decimal_text(self.tick_size), decimal_text(self.lot_size)
        parts = [f"{self.symbol!r}", f"tick_size={tick}", f"lot_size={lot}"]
        if self.contract != "linear":
            parts.append(f"contract={self.contract!r}")
        if self.multiplier != 1:
            parts.append(f"multiplier={decimal_text(self.multiplier)}")
        if self.tiers:
            parts.append(f"tiers=<{len(self.tiers)} from {float(self.tiers[0].maintenance_rate):.3%}>")
        for field in (
            "taker_fee", "maker_fee", "liquidation_fee", "initial_slope", "maintenance_slope",
            "open_interest_floor", "open_interest_cap",
        ):  # fmt: skip
            if getattr(self, field):
                parts.append(f"{field}={decimal_text(getattr(self, field))}")
        if self.funding_interval != 8:
            parts.append(f"funding_interval={decimal_text(self.funding_interval)}")
        if self.index_follows is not None:
            parts.append(f"index_follows=({self.index_follows[0]!r}, {decimal_text(self.index_follows[1])})")
        return f"Instrument({', '.join(parts)})"

    # -- units -----------------------------------------------------------------------------------------------
    def to_ticks(self, price: Any) -> Any:
        """Price(s) to whole ticks: int for a scalar, int64 array for an array. Raises InputError when off the
        grid."""
        return self._to_whole(price, self.tick_size, "price", "tick")

    def to_lots(self, size: Any) -> Any:
        """Quantity (or quantities, signed) to whole lots: int for a scalar, int64 array for an array."""
        return self._to_whole(size, self.lot_size, "size", "lot")

    def to_price(self, ticks: Any) -> Any:
        """Ticks to price(s): float for a scalar, float64 array for an array. None stays None."""
        return None if ticks is None else _scaled(ticks, self.tick_size)

    def to_size(self, lots: Any) -> Any:
        """Lots to quantity (or quantities): float for a scalar, float64 array for an array."""
        return _scaled(lots, self.lot_size)

    def _to_whole(self, values: Any, step: Fraction, what: str, unit: str) -> Any:
        if isinstance(values, list | tuple) or (hasattr(values, "__array__") and np.ndim(values) > 0):
            place = f"instrument[{self.symbol!r}]"
            column, missing = read_column(values, place, what)
            where = Where(place, what)
            if missing is not None:
                where.refuse(missing, np.full(len(missing), None, object), "must not be missing")
            return to_whole(column, step, where, what=unit)
        if type(values) is float:
            # Below a billion steps a product of floats is within 4e-7 of the exact number of steps.
            close = values * (step.denominator / step.numerator)
            if -1e9 < close < 1e9 and abs(close - round(close)) < 5e-7:
                return round(close)
        steps = exact(values, f"instrument[{self.symbol!r}]: {what}") / step
        whole = round(steps)
        near = NEAR_WHOLE if isinstance(values, float | np.floating) else 0
        if abs(steps - whole) > near:
            raise InputError(
                f"instrument[{self.symbol!r}]: {what} = {show(values)}: "
                f"must be a whole number of {unit}s of {decimal_text(step)}"
            )
        if abs(whole) >= 2**63:
            raise RangeError(
                f"instrument[{self.symbol!r}]: {what} = {show(values)}: the number of {unit}s must fit int64"
            )
        return whole


def _hours(value: Any, what: str) -> Fraction:
    """A funding interval: at least a nanosecond, at most a leap year."""
    number = positive(value, what)
    if not number * HOUR_NS >= 1 or number > 24 * 366:
        raise InputError(f"{what} = {show(value)}: must be from a nanosecond to {24 * 366} hours")
    return number


def _slope(value: Any, what: str) -> Fraction:
    number = exact(value, what)
    if not 0 <= number <= 1:
        raise InputError(f"{what} = {show(value)}: must be in [0, 1]")
    return number


def _open_interest(floor: Any, cap: Any, name: str) -> dict[str, Fraction | None]:
    """The two amounts between which open interest raises the initial rate; both or neither."""
    if floor is None and cap is None:
        return {"open_interest_floor": None, "open_interest_cap": None}
    if floor is None or cap is None:
        field = "open_interest_floor" if floor is None else "open_interest_cap"
        raise InputError(f"{name}.{field} = None: must be given with the other, or neither")
    low, high = exact(floor, f"{name}.open_interest_floor"), exact(cap, f"{name}.open_interest_cap")
    if low < 0:
        raise InputError(f"{name}.open_interest_floor = {show(floor)}: must be >= 0")
    if high <= low:
        raise InputError(f"{name}.open_interest_cap = {show(cap)}: must exceed open_interest_floor")
    return {"open_interest_floor": low, "open_interest_cap": high}


def _follows(value: Any, symbol: str, what: str) -> tuple[str, Fraction] | None:
    """Whose index an instrument's follows, and the beta."""
    if value is None:
        return None
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise InputTypeError(f"{what} = {show(value)}: must be (symbol, beta)")
    if len(value) != 2:
        raise InputError(f"{what} = {show(value)}: must be (symbol, beta)")
    followed, beta = value
    if not isinstance(followed, str):
        raise InputTypeError(f"{what}[0] = {show(followed)}: must be a symbol")
    if followed == symbol:
        raise InputError(f"{what}[0] = {followed!r}: must be another instrument")
    number = rate(beta, f"{what}[1]", -100, 100)
    if not number:
        raise InputError(f"{what}[1] = {show(beta)}: must not be 0")
    return followed, number


def _rebuild(fields: dict[str, Any]) -> Instrument:
    symbol = fields.pop("symbol")
    fields["tiers"] = [tuple(t) for t in fields["tiers"]] or None
    return Instrument(symbol, **fields)


def _scaled(values: Any, step: Fraction) -> Any:
    """values * step, rounded once: the float nearest to the exact product where both factors are exact in a
    float."""
    if np.ndim(values) == 0:
        if isinstance(values, float | np.floating) and not np.isfinite(values):
            return float(values)
        return float(exact(values, "steps") * step)
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" and array.size:
        raise InputTypeError(f"steps: dtype {array.dtype}: must be numbers")
    return array.astype(np.float64) * step.numerator / step.denominator


def decimal_text(x: Fraction) -> str:
    """A rational as a plain decimal where it is one."""
    text = format(_WIDE.divide(Decimal(x.numerator), Decimal(x.denominator)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
