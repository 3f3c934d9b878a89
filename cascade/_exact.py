"""Exact numbers on the way in: user values to int64 multiples of a tick, a lot or a money quantum.

The value of a float is its shortest decimal, so that 0.1 means one tenth; Decimals, strings, integers and
Fractions mean what they say. Every result equals what Fraction arithmetic on these values gives. Floats are
converted in bulk by arithmetic with a proven error bound; the few that the bound leaves open are done with
Fractions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from cascade import _bulk
from cascade._badrows import Where
from cascade.errors import RangeError

BASIS_LIMIT = 2**61
"""Largest |basis| in quanta: sums of a few stay inside int64."""

WHOLE_TOLERANCE = Fraction(1, 10**6)
"""How far from a whole number of steps a float may be, in steps."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
LONGEST = 400  # digits and decimal exponent of a Decimal or text: beyond it is no market's number, only work
_FLOAT64_HALF_ULP = 2.0**-53 * 1.0001  # |shortest decimal - float| <= half an ulp, relative to a normal float
_CLEAR = 0.5 - 1e-9  # a distance below it rounds to the nearest whole number for sure
_SMALLEST = 1e-290  # below it the relative bound is not taken for granted
_LONG = np.longdouble
_LONG_EPS = float(np.finfo(_LONG).eps)


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let floats overflow in silence: such a result is not sure, and done with Fractions."""

    @functools.wraps(function)
    def wrapper(*args: Any, **named: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            return function(*args, **named)

    return wrapper


def exact(value: int | float | str | Decimal | Fraction) -> Fraction:
    """The rational number that a scalar means; a float means its shortest decimal.

    Raises ValueError or ArithmeticError for NaN, infinities and text that is no number.
    """
    if isinstance(value, float | np.floating | str):
        return Fraction(Decimal(str(value)))
    return Fraction(int(value) if isinstance(value, np.integer) else value)


def to_whole(
    values: np.ndarray,
    step: Fraction,
    where: Where,
    *,
    lowest: int | None = None,
    highest: int | None = None,
    what: str = "step",
) -> np.ndarray:
    """Convert prices or sizes to whole numbers of steps.

    A float is taken when its shortest decimal is within 1e-6 of a step of a whole number of steps; anything
    else must be a whole number of steps exactly. -0.0 is 0.

    Parameters
    ----------
    values : numpy.ndarray, shape (n,)
        Floats, integers, or text, Decimals and Fractions in a 'U' or object array.
    step : Fraction
        The tick or lot, > 0.
    where : Where
        Table and column, for messages.
    lowest, highest : int, optional
        Range of the result, in steps.
    what : str
        Name of the step in messages: "tick", "lot".

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        0 at rows that were refused.

    Raises
    ------
    InputTypeError
        bool, complex, dates, None: not numbers.
    InputError
        NaN, infinite, not a whole number of steps, or outside the range.
    RangeError
        The number of steps does not fit int64.
    """
    result, left = _on_grid(_floats(values), len(values), step)
    if left.size:
        others, there = values[left], where.at(left)
        numbers = _Numbers(others, there)
        result[left], off = numbers.whole(step)
        there.refuse(numbers.too_big(result[left]), others, "the number of steps must fit int64", RangeError)
        there.refuse(off, others, f"must be a whole number of {what}s of {_decimal(step)}")
    return _bounded(result, values, where, step, lowest, highest)


def to_rounded(
    values: np.ndarray,
    step: Fraction,
    where: Where,
    *,
    lowest: int | None = None,
    highest: int | None = None,
    rest: np.ndarray | None = None,
) -> np.ndarray:
    """Convert to the nearest whole number of steps, ties to even: marks and index prices (1/1024 tick), rates
    (1e-12).

    Parameters, returns and errors as `to_whole`, except that every finite number is taken; `rest`, float64 of
    shape (n,), is set to what rounding took away, in steps.
    """
    floats = _floats(values)
    result, left = _on_grid(floats, len(values), step)
    cut = np.zeros(len(values) if left.size else 0)
    left = _scaled(floats, None, 1 / step, False, left, result, cut)
    if left.size:
        others, there = values[left], where.at(left)
        numbers = _Numbers(others, there)
        result[left] = numbers.rounded(1 / step)
        cut[left] = numbers.rest
        there.refuse(numbers.too_big(result[left]), others, "the number of steps must fit int64", RangeError)
    if rest is not None:
        _tell(cut, rest)
    return _bounded(result, values, where, step, lowest, highest)


def to_money(
    values: np.ndarray,
    quantum: Decimal | Fraction,
    where: Where,
    *,
    lowest: int | None = None,
    highest: int | None = None,
    allow_missing: bool = False,
    rest: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Convert balances and margins to quanta, half-even.

    Parameters
    ----------
    values, where, lowest, highest, rest
        As `to_rounded`; the range is in quanta.
    quantum : Decimal or Fraction
        One unit of the result, in the settlement currency.
    allow_missing : bool
        Whether NaN and None mean that there is no value; otherwise they are errors.

    Returns
    -------
    quanta : numpy.ndarray of int64, shape (n,)
        0 where the value is missing.
    missing : numpy.ndarray of bool, shape (n,)

    Raises
    ------
    InputTypeError, InputError, RangeError
        As `to_rounded`.
    """
    missing = np.zeros(len(values), np.bool_)
    if allow_missing:
        missing = missing_values(values)
        if missing.any():
            values = values.copy()
            values[missing] = 0
    quanta = to_rounded(values, Fraction(quantum), where, lowest=lowest, highest=highest, rest=rest)
    return quanta, missing


def missing_values(values: np.ndarray) -> np.ndarray:
    """Mask of NaN and None."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "O":
        return np.array([value is None or _is_nan(value) for value in values.tolist()], np.bool_)
    return np.zeros(len(values), np.bool_)


def basis_linear(
    lots: np.ndarray, entry: np.ndarray, unit: Fraction, where: Where, rest: np.ndarray | None = None
) -> np.ndarray:
    """Basis of linear positions: half_even(lots * entry * unit), exactly.

    Parameters
    ----------
    lots : numpy.ndarray of int64, shape (n,)
        Signed sizes.
    entry : numpy.ndarray, shape (n,)
        Entry prices, as `to_whole` takes numbers: averages, any finite positive number.
    unit : Fraction
        Value of one lot at price 1, in quanta: lot size * multiplier / quantum.
    where : Where
        Table and column of the entry prices.
    rest : numpy.ndarray of float64, shape (n,), optional
        Set to what rounding took away, in quanta.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Quanta; 0 at rows that were refused.

    Raises
    ------
    InputTypeError, InputError
        An entry that is no number, not finite, not positive.
    RangeError
        A basis beyond 2**61 quanta.
    """
    basis, cut = _basis(lots, entry, unit, where, inverse=False)
    if rest is not None:
        _tell(cut, rest)
    return basis


def basis_inverse(
    lots: np.ndarray, entry: np.ndarray, coefficient: Fraction, where: Where, rest: np.ndarray | None = None
) -> np.ndarray:
    """Basis of inverse positions: -half_even(lots * coefficient / entry), exactly.

    Parameters, returns and errors as `basis_linear`; `coefficient` is the value of one lot at price 1, in
    quanta.
    """
    basis, cut = _basis(lots, entry, coefficient, where, inverse=True)
    if rest is not None:
        _tell(-cut, rest)
    return -basis


def _basis(
    lots: np.ndarray, entry: np.ndarray, factor: Fraction, where: Where, *, inverse: bool
) -> tuple[np.ndarray, np.ndarray]:
    floats = _floats(entry)
    result, left = _times_on_grid(floats, lots, factor, inverse)
    cut = np.zeros(len(entry) if left.size else 0)
    left = _scaled(floats, lots, factor, inverse, left, result, cut)
    if left.size:
        others, there = entry[left], where.at(left)
        numbers = _Numbers(others, there)
        numbers.refuse_unless_positive()
        result[left] = numbers.scaled_by(lots[left], factor, inverse)
        cut[left] = numbers.rest
        rule = "the value at entry must stay within 2**61 quanta"
        there.refuse(numbers.too_big(result[left], BASIS_LIMIT), others, rule, RangeError)
    refused = where.refused
    if refused is not None:
        result[refused] = 0
        cut[refused[: len(cut)]] = 0
    return result, cut


def _tell(cut: np.ndarray, rest: np.ndarray) -> None:
    """Set `rest` to what rounding took away; nothing at all where there is no `cut`."""
    if len(cut):
        rest[:] = cut
    elif rest.any():
        rest[:] = 0


# What needs no second look, in bulk: results, and the numbers of the rows that are left.


def _floats(values: np.ndarray) -> np.ndarray | None:
    """A column of numbers that float64 holds, as such; None where it is another."""
    if values.dtype == np.float64:
        return np.ascontiguousarray(values)
    if values.dtype.kind in "iu" and not _beyond(values):
        return values.astype(np.float64)
    return None


def _beyond(values: np.ndarray) -> bool:
    """Whether float64 does not hold some of the integers."""
    return bool(len(values)) and (int(values.max()) > 2**53 or int(values.min()) < -(2**53))


def _on_grid(floats: np.ndarray | None, n: int, step: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers of steps.

    With step = s / 10**j, the integer m nearest to x * 10**j has at most 15 digits and m / 10**j rounds
    to x. Two decimals of at most 15 digits never round to the same float, so m / 10**j is the shortest
    decimal of x.
    """
    places = 0
    while places <= 22 and 10**places % step.denominator:  # 10**22 is the last power that is a float
        places += 1
    unit = int(step * 10**places) if places <= 22 else 0
    if floats is None or not 0 < unit < 2**53:
        return np.zeros(n, np.int64), np.arange(n)
    return _bulk.on_grid(floats, float(10**places), unit)


def _times_on_grid(
    floats: np.ndarray | None, lots: np.ndarray, factor: Fraction, inverse: bool
) -> tuple[np.ndarray, np.ndarray]:
    """lots * factor * value, where decimals of so few places make it whole by themselves."""
    whole, places = factor.numerator, 0
    while places < 22 and whole % 10 == 0:
        whole, places = whole // 10, places + 1
    if floats is None or inverse or factor.denominator != 1 or whole >= 2**53:
        return np.zeros(len(lots), np.int64), np.arange(len(lots))
    return _bulk.times_on_grid(floats, lots, float(10**places), whole, BASIS_LIMIT)


def _scaled(
    floats: np.ndarray | None, lots: np.ndarray | None, factor: Fraction, inverse: bool, rows: np.ndarray,
    result: np.ndarray, cut: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Round half-even, of the numbered rows those that are sure: into `result`, and into `cut` what it took
    away. The numbers of the others."""
    if floats is None or not rows.size:
        return rows
    mine = None if lots is None else lots[rows]
    high = float(factor)
    low = float(factor - Fraction(high))
    result[rows], cut[rows], left = _bulk.scaled(floats[rows], mine, high, low, inverse, _LONG_EPS)
    return rows[left]


class _Numbers:
    """Finite numbers of one column: `floats` in bulk, `fractions` by row for what floats do not hold.

    Refused rows hold 0 in both.
    """

    def __init__(self, values: np.ndarray, where: Where) -> None:
        self.values = values
        self.where = where
        self.fractions: dict[int, Fraction] = {}
        self.overflow = np.zeros(len(values), np.bool_)
        self.is_exact = np.ones(len(values), np.bool_)  # False: a float, to which tolerances apply
        self.skip = np.zeros(len(values), np.bool_)  # rows whose result is 0 whatever they hold
        self.rest = np.zeros(len(values))  # what rounding took away
        kind = values.dtype.kind
        if not len(values):
            self.floats = np.zeros(0)
        elif kind == "f" and values.dtype.itemsize <= 8:
            self._read_floats()
        elif kind in "iu":
            self._read_integers()
        elif kind in "UO":
            self._read_objects()
        else:
            where.wrong_column(f"dtype {values.dtype}", "must be numbers of at most 64 bits")

    def _read_floats(self) -> None:
        floats = self.values
        finite = np.isfinite(floats)
        self.where.refuse(~finite, floats, "must be finite")
        floats = np.where(finite & self.where.good(len(floats)), floats, 0)
        if floats.dtype.itemsize < 8:
            floats = floats.astype("U32").astype(np.float64)  # the shortest decimal in their own precision
        self.floats = floats
        self.is_exact[:] = False

    def _read_integers(self) -> None:
        self.floats = self.values.astype(np.float64)
        inside = np.abs(self.floats) <= 2**53
        for row in np.flatnonzero(~inside).tolist():
            self.fractions[row] = Fraction(int(self.values[row]))

    def _read_objects(self) -> None:
        values = self.values.tolist()
        good = self.where.good(len(values))
        self.floats = np.zeros(len(values))
        no_number, not_finite, too_long, no_type = (np.zeros(len(values), np.bool_) for _ in range(4))
        for row, value in enumerate(values):
            if not good[row]:
                continue
            if isinstance(value, bool | np.bool_) or not isinstance(
                value, int | float | str | Decimal | Fraction | np.integer | np.floating
            ):
                no_type[row] = True
                continue
            if isinstance(value, str):
                value = value.strip()
                if not NUMBER.fullmatch(value):
                    no_number[row] = value.lower().lstrip("+-") not in ("nan", "inf", "infinity")
                    not_finite[row] = not no_number[row]
                    continue
                if len(value) > LONGEST:
                    too_long[row] = True
                    continue
                value = Decimal(value)
            if isinstance(value, float | np.floating | Decimal) and not _is_finite(value):
                not_finite[row] = True
                continue
            if isinstance(value, Decimal) and value and abs(value.adjusted()) > LONGEST:
                too_long[row] = True
                continue
            self.is_exact[row] = not isinstance(value, float | np.floating)
            self.fractions[row] = exact(value)
        self.where.wrong_type(no_type, values, "must be a number")
        self.where.refuse(no_number, values, "must be a number")
        self.where.refuse(not_finite, values, "must be finite")
        self.where.refuse(too_long, values, f"must have at most {LONGEST} digits")

    def refuse_unless_positive(self) -> None:
        """Refuse what is not above 0, and go on with 1 in its place."""
        bad = ~(self.floats > 0)
        for row, value in self.fractions.items():
            bad[row] = value <= 0
        self.where.refuse(bad, self.values, "must be positive")
        bad |= ~self.where.good(len(bad))
        self.floats = np.where(self.floats > 0, self.floats, 1.0)
        self.fractions = {row: value for row, value in self.fractions.items() if not bad[row]}
        self.skip = bad

    @_quiet
    def whole(self, step: Fraction) -> tuple[np.ndarray, np.ndarray]:
        """Divide by `step`: (whole numbers as int64, mask of what is not whole; floats may be 1e-6 off)."""
        off = np.zeros(len(self.floats), np.bool_)

        def convert(row: int, value: Fraction) -> int:
            quotient = value / step
            rounded = round(quotient)
            off[row] = abs(quotient - rounded) > (0 if self.is_exact[row] else WHOLE_TOLERANCE)
            return rounded

        nearest, distance, error = _nearest(self.floats.astype(_LONG) * _long(1 / step))
        limit = np.where(self.is_exact, 0.0, float(WHOLE_TOLERANCE))
        sure = distance + error < limit * (1 - 1e-9)
        refused = distance - error > limit * (1 + 1e-9)
        off |= refused
        return self._finish(nearest, sure | refused, convert), off

    @_quiet
    def rounded(self, factor: Fraction) -> np.ndarray:
        """Round value * factor half-even to int64."""
        return self._rounded(self.floats.astype(_LONG) * _long(factor), lambda row, value: value * factor)

    @_quiet
    def scaled_by(self, lots: np.ndarray, factor: Fraction, inverse: bool) -> np.ndarray:
        """Round lots * factor * value, or lots * factor / value, half-even to int64."""

        def convert(row: int, value: Fraction) -> Fraction:
            number = int(lots[row]) * factor
            return number / value if inverse else number * value

        entry = self.floats.astype(_LONG)
        scaled = lots.astype(_LONG) * _long(factor)
        result = self._rounded(scaled / entry if inverse else scaled * entry, convert)
        result[self.skip] = 0
        return result

    def _rounded(self, quotient: np.ndarray, convert: Callable[[int, Fraction], Fraction]) -> np.ndarray:
        """Round half-even; `convert` makes the exact number of a row where `quotient` is not sure."""
        nearest, distance, error = _nearest(quotient)
        self.rest = np.clip(np.where(self.skip, 0, quotient - nearest), -0.5, 0.5).astype(np.float64)

        def whole(row: int, value: Fraction) -> int:
            number = convert(row, value)
            self.rest[row] = float(number - round(number))
            return round(number)

        return self._finish(nearest, distance + error < _CLEAR, whole)

    @_quiet
    def _finish(
        self, nearest: np.ndarray, sure: np.ndarray, convert: Callable[[int, Fraction], int]
    ) -> np.ndarray:
        """Bulk results where they are sure, Fractions elsewhere; marks what does not fit int64."""
        sure = (sure & (np.abs(self.floats) > _SMALLEST) & (np.abs(nearest) < 2**62)) | (self.floats == 0)
        result = np.where(sure, nearest, 0).astype(np.int64)
        rows = dict.fromkeys(np.flatnonzero(~sure).tolist()) | dict.fromkeys(self.fractions)
        for row in rows:
            value = self.fractions.get(row)
            whole = convert(row, exact(float(self.floats[row])) if value is None else value)
            self.overflow[row] = not INT64_MIN < whole <= INT64_MAX
            result[row] = 0 if self.overflow[row] else whole
        return result

    def too_big(self, result: np.ndarray, limit: int = INT64_MAX) -> np.ndarray:
        """Mask of results beyond `limit` in size."""
        return self.overflow | (np.abs(result) > limit)


@_quiet
def _nearest(quotient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest whole number, distance to it, and a bound of the error of `quotient`.

    The error is that of the float against its shortest decimal (half an ulp of float64) and of at most four
    roundings in long double. Where long double is wider than float64 this decides nearly all values up to
    2**52.
    """
    nearest = np.rint(quotient)
    distance = np.abs(quotient - nearest).astype(np.float64)
    error = np.abs(quotient).astype(np.float64) * (_FLOAT64_HALF_ULP + 8 * _LONG_EPS) * 1.0001
    return nearest, distance, error


def _long(value: Fraction) -> np.longdouble:
    """`value` in long double, within one ulp: the sum of its two leading float64 parts."""
    high = float(value)
    return _LONG(high) + _LONG(float(value - Fraction(high)))


def _bounded(
    result: np.ndarray,
    values: np.ndarray,
    where: Where,
    step: Fraction,
    lowest: int | None,
    highest: int | None,
) -> np.ndarray:
    if lowest is not None:
        rule = "must be positive" if lowest == 1 else f"must be at least {_decimal(lowest * step)}"
        rule = "must not be negative" if lowest == 0 else rule
        where.refuse(result < lowest, values, rule)
    if highest is not None:
        where.refuse(result > highest, values, f"must be at most {_decimal(highest * step)}")
    refused = where.refused
    if refused is not None:
        result[refused] = 0
    return result


def _decimal(value: Fraction) -> str:
    """A rational as people write it."""
    number = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{number.normalize():f}" if Fraction(number) == value else str(value)


def _is_finite(value: float | np.floating | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else bool(np.isfinite(value))


def _is_nan(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float | np.floating) and bool(np.isnan(value))
