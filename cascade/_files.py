"""Tables in a user's files: CSV read exactly, Parquet through whichever library is there, errors with file
and line.

CSV fields stay text until they are converted to ticks, lots and quanta, so "0.1" is one tenth and no float
comes between.
"""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CascadeError, InputError

MISSING = ("", "nan", "null", "none", "na")
"""What a field of the margin column may say instead of a number, in any case; elsewhere only an empty field
is missing."""
SIDES = {
    "bid": "buy", "bids": "buy", "buy": "buy", "b": "buy", "1": "buy", "+1": "buy",
    "ask": "sell", "asks": "sell", "sell": "sell", "s": "sell", "a": "sell", "-1": "sell",
}  # fmt: skip
_ROW = re.compile(r"(\w+)\['[^']*'\]\[(\d+)\]")


@dataclass(frozen=True)
class UserTable:
    """One table of a user, and where each of its rows stands."""

    path: Path
    columns: dict[str, Any]
    lines: np.ndarray | None = None
    """Line of the file behind each row; None for Parquet."""
    extra: Mapping[str, str] | None = field(default=None)
    """`columns=` of the loaders: our names to the file's."""

    def theirs(self, name: str) -> str:
        """The file's name of one of our columns."""
        return (self.extra or {}).get(name, name)

    def with_column(self, name: str, values: Any) -> UserTable:
        return UserTable(self.path, {**self.columns, self.theirs(name): values}, self.lines, self.extra)

    def rows(self, mask: np.ndarray) -> UserTable:
        columns = {name: np.asarray(values)[mask] for name, values in self.columns.items()}
        return UserTable(self.path, columns, None if self.lines is None else self.lines[mask], self.extra)

    def without(self, name: str) -> UserTable:
        columns = {key: values for key, values in self.columns.items() if key != self.theirs(name)}
        extra = None if self.extra is None else {k: v for k, v in self.extra.items() if k != name}
        return UserTable(self.path, columns, self.lines, extra)


def at(place: object, text: str, kind: type[CascadeError] = InputError) -> CascadeError:
    """An error that says where it is, to which `naming` adds nothing."""
    error = kind(f"{place}: {text}")
    error.placed = True  # type: ignore[attr-defined]
    return error


def read_table(path: Path, columns: Mapping[str, str] | None = None) -> UserTable:
    """Read a CSV or Parquet file, by its suffix.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str, optional
        Our column names to the file's.

    Raises
    ------
    InputError
        Neither suffix, no such file, not CSV, not UTF-8, rows of unequal length, a repeated column; Parquet
        with no library.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".txt"):
            found, lines = _read_csv(path)
        elif suffix in (".parquet", ".pq"):
            found, lines = _read_parquet(path), None
        else:
            raise at(path, "must be a .csv or .parquet file")
    except OSError as error:
        raise at(path, error.strerror or str(error)) from None
    return UserTable(path, found, lines, columns)


def _read_csv(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """(columns of text, line numbers). Fields are stripped of blanks; empty ones are None; blank lines are
    passed over."""
    rows, lines = [], []
    header: list[str] | None = None
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if not any(text.strip() for text in row) and len(row) <= 1:
                    continue
                if header is None:
                    header = [name.strip() for name in row]
                    _check_header(path, header)
                elif len(row) != len(header):
                    raise at(
                        f"{path}, line {reader.line_num}",
                        f"{len(row)} fields where the header has {len(header)}",
                    )
                else:
                    rows.append(row)
                    lines.append(reader.line_num)
        except csv.Error as error:
            raise at(f"{path}, line {reader.line_num}", str(error)) from None
        except UnicodeDecodeError:
            raise at(path, "must be UTF-8 text") from None
    if header is None:
        raise at(path, "empty; must start with a line of column names")
    columns = {}
    for k, name in enumerate(header):
        values = np.empty(len(rows), object)
        values[:] = [row[k].strip() or None for row in rows]
        columns[name] = values
    return columns, np.array(lines, np.int64)


def _check_header(path: Path, header: list[str]) -> None:
    for k, name in enumerate(header):
        if not name:
            raise at(path, f"column {k + 1} has no name")
        if name in header[:k]:
            raise at(path, f"column {name!r} appears twice")


def _read_parquet(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise at(path, "No such file or directory")
    readers = (
        ("pyarrow.parquet", lambda m: (t := m.read_table(path), {n: t.column(n) for n in t.schema.names})[1]),
        ("polars", lambda m: {c.name: c for c in m.read_parquet(path).get_columns()}),
        ("pandas", lambda m: dict(m.read_parquet(path).items())),
    )
    for name, read in readers:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return read(module)
        except ImportError:  # pandas without an engine
            continue
        except Exception as error:  # each library has exceptions of its own for a file that is no Parquet
            raise at(path, f"not readable as Parquet: {str(error).splitlines()[0]}") from None
    raise at(path, "reading Parquet needs pyarrow or polars: pip install pyarrow (or use CSV)")


# What the loaders take


def _texts(values: Any) -> list[str | None]:
    """Elements as text: ids are text whatever the file, so that 7 in one file is "7" in another."""
    if hasattr(values, "to_pylist"):
        values = values.to_pylist()
    out: list[str | None] = []
    for value in values:
        if value is None or value != value:
            out.append(None)
        elif isinstance(value, float) and value.is_integer():
            out.append(str(int(value)))  # integers with nulls among them come as floats from some libraries
        else:
            out.append(str(value))
    return out


def with_text_ids(table: UserTable, column: str = "account") -> UserTable:
    """The table with its ids as text."""
    theirs = table.theirs(column)
    if theirs not in table.columns:
        return table
    return table.with_column(column, _texts(table.columns[theirs]))


def with_missing(table: UserTable, column: str) -> UserTable:
    """Words for a missing value of a column as missing."""
    theirs = table.theirs(column)
    values = table.columns.get(theirs)
    if table.lines is None or values is None:
        return table
    return table.with_column(column, [None if v is None or v.lower() in MISSING else v for v in values])


def with_order_ids(table: UserTable) -> UserTable:
    """Order ids of a CSV file as integers, where they are."""
    values = table.columns.get(table.theirs("order_id"))
    if table.lines is None or values is None:
        return table
    return table.with_column(
        "order_id", [int(v) if v and v.isdecimal() and v.isascii() else v for v in values]
    )


def sides(table: UserTable, name: str) -> np.ndarray:
    """The side column as "buy" and "sell"."""
    theirs = table.theirs("side")
    if theirs not in table.columns:
        raise InputError(f"{name}: missing column {theirs!r} (it has {', '.join(map(repr, table.columns))})")
    texts = _texts(table.columns[theirs])
    out = np.empty(len(texts), object)
    for row, text in enumerate(texts):
        side = SIDES.get((text or "").lower())
        if side is None:
            raise InputError(f"{name}['side'][{row}] = {text!r}: must be one of bid, buy, 1 or ask, sell, -1")
        out[row] = side
    return out


def both_sides(table: UserTable) -> tuple[UserTable, UserTable]:
    """(bids, asks) of a book in one file, each in the file's order."""
    with naming({"book": table}, table.path):
        side = sides(table, "book")
    plain = table.without("side")
    return plain.rows(side == "buy"), plain.rows(side == "sell")


@contextmanager
def naming(tables: Mapping[str, UserTable], default: Path) -> Iterator[None]:
    """Put the file, and the line where a row is named, before the message of an error.

    Parameters
    ----------
    tables : mapping of str to UserTable
        By the name that messages give the table.
    default : Path
        File of a message that names none of them.
    """
    try:
        yield
    except CascadeError as error:
        if getattr(error, "placed", False):
            raise
        text = str(error)
        found = _ROW.match(text)
        table = tables.get(found[1]) if found else None
        if table is None:
            word = re.match(r"\w+", text)
            table = tables.get(word[0]) if word else None
            place = str(table.path if table else default)
        else:
            row = int(found[2]) if found else 0
            lines = table.lines
            place = (
                f"{table.path}, line {lines[row]}"
                if lines is not None and row < len(lines)
                else str(table.path)
            )
        raise at(place, text, type(error)) from error
