"""One form for every complaint about a table: table, column, first bad row, value, rule, count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np

from cascade.errors import CascadeError, InputError, InputTypeError
from cascade.tables import Table

VALUE_WIDTH = 60


class BadRows:
    """What happens to the bad rows of one table: the first rule that fails raises, or its rows are dropped.

    Parameters
    ----------
    table : str
        Name of the table, for messages.
    drop : bool
        False: `Where.refuse` raises. True: it records the rows, each with the first rule that it failed.
        Errors of type always raise: they concern a column, not a row.

    Attributes
    ----------
    mask : numpy.ndarray of bool, shape (rows,)
        Rows recorded so far.

    Examples
    --------
    >>> bad = BadRows("orders", drop=True)
    >>> bad.resize(3)
    >>> bad.where("price").refuse(np.array([False, True, False]), np.array([5, -1, 2]), "must be positive")
    >>> bad.keep
    array([ True, False,  True])
    >>> bad.to_table()
    Table: 1 row x 4 columns
         row  column  value  rule
       int64  str     str    str
    0      1  price   -1     must be positive
    """

    def __init__(self, table: str, *, drop: bool = False) -> None:
        self.table = table
        self.drop = drop
        self.mask = np.zeros(0, np.bool_)
        self._records: list[tuple[int, str, str, str]] = []

    def resize(self, num_rows: int) -> None:
        """Say how many rows the table has; forgets what was recorded."""
        self.mask = np.zeros(num_rows, np.bool_)
        self._records.clear()

    @property
    def keep(self) -> np.ndarray:
        """Mask of the rows that no rule refused."""
        return ~self.mask

    def where(self, column: str, rows: np.ndarray | None = None) -> Where:
        """A place for messages: `column`, of all rows or of those numbered `rows`."""
        return Where(self.table, column, rows, self)

    def record(self, rows: np.ndarray, column: str, values: Sequence[str], rule: str) -> None:
        """Add rows that failed `rule`."""
        self._records.extend((int(row), column, value, rule) for row, value in zip(rows, values, strict=True))
        self.mask[rows] = True

    def to_table(self) -> Table:
        """Return the dropped rows in order: row, column, value (as text), rule."""
        records = sorted(self._records)
        return Table(
            {
                "row": np.array([record[0] for record in records], np.int64),
                "column": np.array([record[1] for record in records], object),
                "value": np.array([record[2] for record in records], object),
                "rule": np.array([record[3] for record in records], object),
            }
        )


@dataclass(frozen=True, slots=True)
class Where:
    """A column of a table under conversion, or a single named value.

    Parameters
    ----------
    table, column : str
        Names for messages.
    rows : numpy.ndarray of int64, optional
        Row of the table behind each value, when only some rows are converted; None means all, in order.
    bad : BadRows, optional
        Where refused rows go; None always raises.
    scalar : bool
        The column is one value: messages give neither row nor count.
    """

    table: str
    column: str
    rows: np.ndarray | None = None
    bad: BadRows | None = None
    scalar: bool = False

    def good(self, num_values: int) -> np.ndarray:
        """Mask of the values whose row no rule has refused yet."""
        if self.bad is None or not self.bad.drop:
            return np.ones(num_values, np.bool_)
        return ~(self.bad.mask if self.rows is None else self.bad.mask[self.rows])

    def at(self, which: np.ndarray) -> Where:
        """The same place for some of its values only, by their numbers."""
        return replace(self, rows=which if self.rows is None else self.rows[which])

    @property
    def refused(self) -> np.ndarray | None:
        """Mask of the values whose row was refused before; None where none can have been."""
        if self.bad is None or not self.bad.drop or not self.bad.mask.any():
            return None
        return self.bad.mask if self.rows is None else self.bad.mask[self.rows]

    def refuse(self, bad: np.ndarray, values: Any, rule: str, error: type[CascadeError] = InputError) -> None:
        """Refuse the values under the mask `bad`: raise `error`, or record their rows.

        Rows that were refused before are passed over. Nothing happens when no value is left.
        """
        if not bad.any():
            return
        which = np.flatnonzero(bad & self.good(len(bad)))
        if not which.size:
            return
        rows = which if self.rows is None else self.rows[which]
        if self.bad is not None and self.bad.drop and not issubclass(error, TypeError):
            self.bad.record(rows, self.column, [show(values[i]) for i in which], rule)
            return
        raise error(self._message(int(rows[0]), values[which[0]], rule, which.size))

    def wrong_type(self, bad: np.ndarray, values: Any, rule: str) -> None:
        """Raise InputTypeError if a value under the mask `bad` is left, also when rows are dropped."""
        self.refuse(bad, values, rule, InputTypeError)

    def wrong_column(self, what: str, rule: str) -> NoReturn:
        """Raise InputTypeError about the column as a whole."""
        raise InputTypeError(f"{self.table}[{self.column!r}]: {what}: {rule}")

    def _message(self, row: int, value: Any, rule: str, count: int) -> str:
        place = f"{self.table}[{self.column!r}]"
        if self.scalar:
            return f"{place} = {show(value)}: {rule}"
        return f"{place}[{row}] = {show(value)}: {rule} ({count} bad row{'' if count == 1 else 's'})"


def show(value: Any) -> str:
    """Write a value for a message: short, on one line, in ASCII where it would not print."""
    if value is None:
        return "null"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        text = repr(value[: VALUE_WIDTH + 1])
    elif isinstance(value, Decimal | Fraction):
        try:
            text = str(value)
        except ValueError:
            text = f"a {type(value).__name__} of too many digits to write"
    else:
        try:
            text = repr(value)
        except ValueError:  # Python writes no integer of more than 4,300 digits
            integer = isinstance(value, int)
            text = f"an integer of {value.bit_length():,} bits" if integer else type(value).__name__
    if not text.isprintable():
        text = ascii(text)[1:-1]
    return text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 3] + "..."
