"""What callers hand to an order book, made exact: tables of orders to ORDER_DTYPE, Python numbers to
integers."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cascade.errors import InputError, InputTypeError, RangeError
from cascade.records import ORDER_DTYPE, REPORT_DTYPE, Reason, Side

ORDER_FIELDS = tuple(name for name in ORDER_DTYPE.names or () if name != "_pad")

_NO_INTEGERS = (bool, np.bool_, float, np.floating, str, bytes)


class Level(NamedTuple):
    """One price level: the sum of its open quantities (lots) and the number of its orders; zeros where there
    is none."""

    quantity: int
    orders: int


def exact_int(value: Any, name: str, low: int = -(2**63), high: int = 2**63 - 1) -> int:
    """`value` as an int in low..high. Floats, bools, strings and None are type errors: nothing is rounded in
    silence."""
    if type(value) is int:
        number = value
    elif value is None or isinstance(value, _NO_INTEGERS):
        raise InputTypeError(f"{name} = {value!r}: must be an integer, not {type(value).__name__}")
    else:
        try:
            number = operator.index(value)
        except TypeError:
            raise InputTypeError(f"{name}: must be an integer, not {type(value).__name__}") from None
    if not low <= number <= high:
        raise RangeError(f"{name} = {number}: must be in {low}..{high}")
    return number


def exact_side(value: Any) -> int:
    """`value` as 1 (buy) or -1 (sell)."""
    number = exact_int(value, "side")
    if number not in (Side.BUY, Side.SELL):
        raise InputError(f"side = {number}: must be 1 (BUY) or -1 (SELL)")
    return number


def rejection(order_id: int, reason: int) -> InputError:
    """The exception for a message that the book refused."""
    return InputError(f"order {order_id}: refused, {Reason(reason).name}")


def _masked(label: str, array: np.ma.MaskedArray) -> InputTypeError:
    # A structured mask is bools side by side.
    count = np.count_nonzero(np.ascontiguousarray(np.ma.getmaskarray(array)).view(bool))
    return InputTypeError(f"{label}: masked arrays are refused, {count} values are masked")


def integer_column(values: Any, dtype: np.dtype, label: str) -> np.ndarray:
    """`values` as a 1-D array of the integer type `dtype`, or an error that names the first bad row."""
    if type(values) is np.ndarray and values.dtype == dtype and values.ndim == 1:
        return values
    if values is None:
        raise InputTypeError(f"{label} = None: must be a 1-D array of integers")
    if isinstance(values, np.ma.MaskedArray):
        raise _masked(label, values)
    if isinstance(values, str | bytes | Mapping) or (
        np.ndim(values) == 0 and not hasattr(values, "__array__")
    ):
        raise InputTypeError(f"{label}: must be a 1-D array of integers, not {type(values).__name__}")
    if isinstance(values, Sequence):
        return _from_sequence(values, dtype, label)
    null_count = getattr(values, "null_count", 0)  # pyarrow columns, and polars' by a method
    nulls = null_count() if callable(null_count) else null_count
    if nulls:
        raise InputTypeError(f"{label}: nulls are refused, {nulls} values are null")
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{label}: must be 1-D, has {array.ndim} dimensions")
    if array.dtype.kind not in "iu":
        raise InputTypeError(f"{label}: must be integers, has dtype {array.dtype}")
    limits = np.iinfo(dtype)
    if array.dtype.itemsize > dtype.itemsize or array.dtype.kind != dtype.kind:
        # Comparisons with Python integers are exact for every integer dtype.
        bad = np.zeros(array.size, bool)
        if np.iinfo(array.dtype).min < limits.min:
            bad |= array < limits.min
        if np.iinfo(array.dtype).max > limits.max:
            bad |= array > limits.max
        _raise_bad_rows(bad, array, label, limits)
    return array.astype(dtype, copy=False)


def _from_sequence(values: Sequence, dtype: np.dtype, label: str) -> np.ndarray:
    limits = np.iinfo(dtype)
    numbers = []
    for row, value in enumerate(values):
        if isinstance(value, list | tuple | np.ndarray):
            raise InputError(f"{label}: must be 1-D, row {row} is a {type(value).__name__}")
        numbers.append(exact_int(value, f"{label}[{row}]", int(limits.min), int(limits.max)))
    return np.array(numbers, dtype)


def _raise_bad_rows(bad: np.ndarray, array: np.ndarray, label: str, limits: np.iinfo) -> None:
    if bad.any():
        row = int(bad.argmax())
        rule = f"must be in {limits.min}..{limits.max} ({np.count_nonzero(bad)} bad rows)"
        raise RangeError(f"{label}[{row}] = {array[row]}: {rule}")


def _columns(table: Any) -> Iterable[tuple[str, Any]]:
    """Names and columns of any table: mapping, structured array, pandas, polars, pyarrow."""
    if isinstance(table, np.ndarray):
        return [(name, table[name]) for name in table.dtype.names]
    if isinstance(table, Mapping):
        return list(table.items())
    names = getattr(table, "column_names", None)
    if names is None:
        names = getattr(table, "columns", None)
    if names is None or callable(names):
        raise InputTypeError(
            f"orders: must be a structured array or a table of columns, not {type(table).__name__}"
        )
    return [(name, table[name]) for name in names]


def as_orders(table: Any) -> np.ndarray:
    """Any table of orders as a contiguous 1-D array of ORDER_DTYPE; the caller's own array when it is one
    already.

    `order_id` must be there; other fields that are missing are 0. Raises InputTypeError for what are no
    integers, RangeError for integers that do not fit the field, InputError for shapes, lengths and unknown
    columns. The values themselves are the book's to judge: it refuses a bad row with a REJECTED report.
    """
    if isinstance(table, np.ma.MaskedArray):
        raise _masked("orders", table)
    if isinstance(table, np.ndarray):
        if table.dtype.names is None:
            raise InputTypeError(f"orders: must be a structured array, has dtype {table.dtype}")
        if table.ndim != 1:
            raise InputError(f"orders: must be 1-D, has {table.ndim} dimensions")
        if table.dtype == ORDER_DTYPE:
            return np.ascontiguousarray(table)
    columns = {}
    for name, values in _columns(table):
        if name == "_pad":
            continue
        if name not in ORDER_FIELDS:
            raise InputError(f"orders[{name!r}]: unknown column; known are {', '.join(ORDER_FIELDS)}")
        columns[name] = integer_column(values, ORDER_DTYPE[name], f"orders[{name!r}]")
    if "order_id" not in columns:
        raise InputError("orders: the column 'order_id' is missing")
    rows = columns["order_id"].size
    for name, column in columns.items():
        if column.size != rows:
            raise InputError(f"orders[{name!r}]: has {column.size} rows, 'order_id' has {rows}")
    orders = np.zeros(rows, ORDER_DTYPE)
    for name, column in columns.items():
        orders[name] = column
    return orders


def check_out(out: Any, orders: np.ndarray) -> None:
    """Can reports be written straight into `out`?"""
    if isinstance(out, np.ma.MaskedArray) or not isinstance(out, np.ndarray) or out.dtype != REPORT_DTYPE:
        raise InputTypeError("out: must be an array of REPORT_DTYPE")
    if out.ndim != 1 or not out.flags.c_contiguous:
        raise InputError("out: must be 1-D and contiguous")
    if not out.flags.writeable:
        raise InputError("out: is read-only")
    if np.may_share_memory(out, orders):
        raise InputError("out: shares memory with orders")


def check_levels(prices: np.ndarray, quantities: np.ndarray) -> None:
    """Are these levels that one call may set?"""
    if prices.size != quantities.size:
        raise InputError(f"quantities: has {quantities.size} rows, prices has {prices.size}")
    # Market data comes a few levels at a time: plain numbers are faster there than arrays.
    few = prices.size <= 32 and len(set(prices.tolist())) == prices.size
    if few and all(0 <= lots <= 2**62 for lots in quantities.tolist()):
        return
    bad = (quantities < 0) | (quantities > 2**62)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"quantities[{row}] = {quantities[row]}: must be in 0..2**62 ({np.count_nonzero(bad)} bad rows)"
        )
    distinct, first = np.unique(prices, return_index=True)
    if distinct.size != prices.size:
        repeated = np.ones(prices.size, bool)
        repeated[first] = False
        row = int(repeated.argmax())
        raise InputError(
            f"prices[{row}] = {prices[row]}: each price once ({prices.size - distinct.size} bad rows)"
        )


def check_uncrossed(prices: np.ndarray, quantities: np.ndarray, bids: bool, far: int) -> None:
    """Does no new level lie at or through `far`, the other side's best price?"""
    if prices.size == 0 or (prices.max() < far if bids else prices.min() > far):
        return
    bad = (quantities > 0) & (prices >= far if bids else prices <= far)
    if bad.any():
        row = int(bad.argmax())
        rule = f"must not reach the other side's best, {far} ({np.count_nonzero(bad)} bad rows)"
        raise InputError(f"prices[{row}] = {prices[row]}: {rule}")
