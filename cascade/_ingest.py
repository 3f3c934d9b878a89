"""The way in: reading user tables (`read_columns`) and converting their columns, with one form of error.

    bad = BadRows("positions", drop=on_bad == "drop")
    raw = read_columns(positions, "positions", spec, columns, bad=bad)
    account = to_ids(raw["account"], bad.where("account"))
    lots = to_whole(raw["size"], lot_size, bad.where("size"), what="lot")
    keep, dropped = bad.keep, bad.to_table()

Converters never change their input. Without `drop` they raise at the first rule that a row fails; with it
the row is recorded and its result is 0 (an empty string for ids).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cascade._badrows import BadRows, Where
from cascade._columns import NULLABLE, OPTIONAL, REQUIRED, Field, read_columns
from cascade._exact import (
    BASIS_LIMIT,
    INT64_MAX,
    INT64_MIN,
    basis_inverse,
    basis_linear,
    exact,
    missing_values,
    to_money,
    to_rounded,
    to_whole,
)
from cascade._texts import ID_BYTES, NO_NUL, NO_SURROGATE, NOT_LONG, utf8_size
from cascade.errors import RangeError

__all__ = [
    "BASIS_LIMIT",
    "NULLABLE",
    "OPTIONAL",
    "REQUIRED",
    "BadRows",
    "Field",
    "Where",
    "basis_inverse",
    "basis_linear",
    "exact",
    "missing_values",
    "read_columns",
    "to_choice",
    "to_ids",
    "to_int",
    "to_money",
    "to_rounded",
    "to_whole",
]

def to_int(
    values: np.ndarray,
    where: Where,
    *,
    lowest: int = INT64_MIN,
    highest: int = INT64_MAX,
    dtype: np.dtype | type = np.int64,
) -> np.ndarray:
    """Convert integers to one integer dtype, without loss.

    Parameters
    ----------
    values : numpy.ndarray, shape (n,)
        Any integer dtype.
    where : Where
        Table and column, for messages.
    lowest, highest : int
        Range of the values, inclusive.
    dtype : integer dtype
        Type of the result.

    Returns
    -------
    numpy.ndarray of `dtype`, shape (n,)

    Raises
    ------
    InputTypeError
        Floats (also whole ones), bool, text, None.
    RangeError
        A value does not fit `dtype`.
    InputError
        A value outside [lowest, highest].
    """
    info = np.iinfo(dtype)
    if not len(values):
        return np.zeros(0, dtype)
    if values.dtype.kind == "O":
        # Columns of integers alone come as int64 or uint64 (`read_columns`), unless one of them is beyond 64
        # bits.
        elements = values.tolist()
        wrong = [isinstance(value, bool) or not isinstance(value, int | np.integer) for value in elements]
        where.wrong_type(np.array(wrong, np.bool_), elements, "must be an integer")
        good = where.good(len(values))
        values = np.array([value if ok else 0 for value, ok in zip(elements, good, strict=True)], object)
    elif values.dtype.kind not in "iu":
        rule = f"must be an integer (the column has dtype {values.dtype})"
        where.wrong_type(np.ones(len(values), np.bool_), values, rule)
    outside = _outside(values, int(info.min), int(info.max))
    where.refuse(outside, values, f"must fit {np.dtype(dtype).name}", RangeError)
    beyond = _outside(values, lowest, highest)
    where.refuse(beyond & ~outside, values, f"must be from {lowest} to {highest}")
    result = values.copy()
    result[outside | ~where.good(len(values))] = 0
    return result.astype(dtype)


def _outside(values: np.ndarray, lowest: int, highest: int) -> np.ndarray:
    """Mask of the integers outside a range, whatever their dtype can hold."""
    if values.dtype.kind == "O":
        return np.array([not lowest <= value <= highest for value in values.tolist()], np.bool_)
    info = np.iinfo(values.dtype)
    mask = np.zeros(len(values), np.bool_)
    if lowest > info.min:
        mask |= values < lowest if lowest <= info.max else True
    if highest < info.max:
        mask |= values > highest if highest >= info.min else True
    return mask


def to_ids(values: np.ndarray, where: Where) -> np.ndarray:
    """Check account ids or instrument names: all integers or all text.

    Text is compared code point by code point: ids that look the same in other normal forms are different ids.

    Parameters
    ----------
    values : numpy.ndarray, shape (n,)
        Any integer dtype, 'U' strings, or an object array of str.
    where : Where
        Table and column, for messages.

    Returns
    -------
    numpy.ndarray of int64, uint64 or object (str), shape (n,)
        uint64 only where a value needs it.

    Raises
    ------
    InputTypeError
        Floats, bool, bytes, None, or integers and text mixed.
    InputError
        Text with a NUL, that UTF-8 cannot encode (a lone surrogate), or of more than 1 MiB.
    RangeError
        An integer beyond 64 bits.
    """
    if not len(values):
        return np.zeros(0, np.int64) if values.dtype.kind not in "UO" else np.zeros(0, object)
    if values.dtype.kind in "iu":
        narrow = values.dtype != np.uint64 or int(values.max()) <= INT64_MAX
        return values.astype(np.int64 if narrow else np.uint64)
    if values.dtype.kind not in "UO":
        rule = f"must be an integer or text (the column has dtype {values.dtype})"
        where.wrong_type(np.ones(len(values), np.bool_), values, rule)
    elements = values.tolist()
    good = where.good(len(values))
    kinds = {type(value) for value, ok in zip(elements, good, strict=True) if ok}
    if kinds and all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
        first = [value if ok else 0 for value, ok in zip(elements, good, strict=True)]
        return to_int(np.array(first, object), where)
    wrong = [not isinstance(value, str) for value in elements]
    mixed = any(issubclass(kind, str) for kind in kinds)
    rule = "must be text, as other ids are" if mixed else "must be an integer or text"
    where.wrong_type(np.array(wrong, np.bool_), elements, rule)
    texts = [str(value) if ok else "" for value, ok in zip(elements, good, strict=True)]
    _check_texts(texts, where)
    result = np.empty(len(texts), object)
    result[:] = texts
    result[~where.good(len(texts))] = ""
    return result


def _check_texts(texts: list[str], where: Where) -> None:
    """Refuse text that cannot be an id. The common case, where all is well, is three passes in C."""
    joined = "\n".join(texts)
    if "\0" in joined:
        where.refuse(np.array(["\0" in text for text in texts]), texts, NO_NUL)
    try:
        joined.encode()
    except UnicodeEncodeError:
        where.refuse(np.array([utf8_size(text) is None for text in texts]), texts, NO_SURROGATE)
    if max(map(len, texts)) > ID_BYTES // 4:
        where.refuse(np.array([(utf8_size(text) or 0) > ID_BYTES for text in texts]), texts, NOT_LONG)


def to_choice(
    values: np.ndarray, choices: Mapping[str, int], where: Where, *, missing: int | None = None
) -> np.ndarray:
    """Convert words to codes.

    Parameters
    ----------
    values : numpy.ndarray, shape (n,)
        'U' strings or an object array of str.
    choices : mapping of str to int
        The words and their codes, -128 to 127.
    where : Where
        Table and column, for messages.
    missing : int, optional
        Code of None and NaN; without it they are errors.

    Returns
    -------
    numpy.ndarray of int8, shape (n,)

    Raises
    ------
    InputTypeError
        Anything but text.
    InputError
        A word that is no choice.
    """
    if not len(values):
        return np.zeros(0, np.int8)
    absent = missing_values(values) if missing is not None else np.zeros(len(values), np.bool_)
    rule = f"must be one of {', '.join(map(repr, choices))}"
    if values.dtype.kind not in "UO":
        where.wrong_type(~absent, values, f"{rule} (the column has dtype {values.dtype})")
    elements = values.tolist()
    wrong = np.array([not isinstance(value, str) for value in elements], np.bool_)
    where.wrong_type(wrong & ~absent, elements, rule)
    codes = [None if other else choices.get(value) for value, other in zip(elements, wrong, strict=True)]
    unknown = np.array([code is None for code in codes], np.bool_)
    where.refuse(unknown & ~absent, elements, rule)
    result = np.array([0 if code is None else code for code in codes], np.int8)
    result[absent] = missing or 0
    return result
