"""Tables: what cascade hands out, as named columns that NumPy, pandas, polars and pyarrow take directly."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from os import PathLike
from types import ModuleType
from typing import Any, NoReturn, overload

import numpy as np

from cascade._arrow import export_stream
from cascade.errors import InputError, InputTypeError

PREVIEW_ROWS = 10
PREVIEW_WIDTH = 110
CSV_CHUNK = 65_536

_EXPORTED_KINDS = "biufUO"


class Table(dict[str, np.ndarray]):
    """A read-only table: a dict of column name to 1-D NumPy array, in order, all equally long.

    It behaves as a DataFrame does: `len(table)` is the number of *rows*, iteration and `in` go over the
    column names, `table["price"]` is an array, `table[["price", "quantity"]]` a table of these columns.
    `pandas.DataFrame(table)`, `polars.DataFrame(table)`, `pyarrow.table(table)` and `numpy.asarray(table)`
    (a structured array) work as they are, and so does anything that reads `__arrow_c_stream__`. A table that
    has columns is true even without rows: libraries ask that of a dict.

    Parameters
    ----------
    columns : mapping of str to array-like, or numpy.ndarray with named fields
        1-D arrays of equal length: bool, integers, floats, strings ('U'), or objects that are str or None.
        Arrays that are native, aligned and contiguous are taken without a copy, through a read-only view.
        Fields of a structured array whose name starts with an underscore are padding and left out.

    Raises
    ------
    InputTypeError
        A name that is not a str, or an array of another kind (datetime64, complex, bytes).
    InputError
        A column that is not 1-D, or columns of different lengths.

    Examples
    --------
    >>> table = Table({"price": [100, 101, 103], "quantity": [5.0, 2.5, 1.0]})
    >>> len(table), table.columns
    (3, ('price', 'quantity'))
    >>> table
    Table: 3 rows x 2 columns
       price  quantity
       int64   float64
    0    100       5.0
    1    101       2.5
    2    103       1.0
    >>> table.rows(table["quantity"] > 2)["price"]
    array([100, 101])
    """

    __slots__ = ("_num_rows",)

    __hash__ = None

    def __init__(self, columns: Mapping[str, Any] | np.ndarray) -> None:
        if isinstance(columns, np.ndarray):
            if columns.dtype.names is None or columns.ndim != 1:
                shape = f"shape {columns.shape} and dtype {columns.dtype}"
                raise InputTypeError(f"table: an array of {shape}: must be 1-D with named fields")
            fields = [name for name in columns.dtype.names if not name.startswith("_")]
            columns = {name: columns[name] for name in fields}
        elif not isinstance(columns, Mapping):
            raise InputTypeError(f"table: a {type(columns).__name__}; must be a mapping of names to arrays")
        frozen = {name: _frozen(name, values) for name, values in columns.items()}
        lengths = {name: len(array) for name, array in frozen.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"table: columns of unequal lengths: {_listing(lengths)}")
        super().__init__(frozen)
        self._num_rows = next(iter(lengths.values()), 0)

    @overload
    def __getitem__(self, key: str) -> np.ndarray: ...
    @overload
    def __getitem__(self, key: list[str]) -> Table: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                return super().__getitem__(key)
            except KeyError:
                raise KeyError(f"{key!r}: the columns are {', '.join(self)}") from None
        if isinstance(key, list) and all(isinstance(name, str) for name in key):
            return self._like({name: self[name] for name in key})
        raise InputTypeError(
            f"table[{key!r}]: must be a column name or a list of them (rows: table.rows(slice(5)))"
        )

    def __len__(self) -> int:
        return self._num_rows

    def __bool__(self) -> bool:
        return bool(self.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(self)

    @property
    def num_rows(self) -> int:
        """The number of rows, as `len(table)`."""
        return self._num_rows

    def rows(self, which: slice | np.ndarray | list) -> Table:
        """Return a table of some of the rows.

        Parameters
        ----------
        which : slice, or 1-D array of bool (a mask as long as the table) or of int (row numbers)
            A slice with step 1 shares memory, anything else copies.

        Returns
        -------
        Table

        Raises
        ------
        InputError
            A mask of another length, or a row number outside the table.
        InputTypeError
            Anything else.
        """
        if not isinstance(which, slice):
            which = np.asarray(which)
            if which.size == 0 and which.ndim == 1 and which.dtype.kind == "f":
                which = which.astype(np.intp)  # an empty list
            if which.ndim != 1 or which.dtype.kind not in "biu":
                raise InputTypeError(
                    "rows: must be a slice, a mask or a 1-D array of row numbers, as rows(slice(5))"
                )
            if which.dtype.kind == "b" and which.size != self._num_rows:
                raise InputError(f"rows: a mask of {which.size} rows for a table of {self._num_rows}")
            if which.dtype.kind != "b" and which.size:
                bad = np.flatnonzero((which < -self._num_rows) | (which >= self._num_rows))
                if bad.size:
                    raise InputError(
                        f"rows[{bad[0]}] = {which[bad[0]]}: must be a row of a table of {self._num_rows} "
                        f"({bad.size} bad rows)"
                    )
        return self._like({name: array[which] for name, array in self.items()}, which)

    def _like(self, columns: dict[str, np.ndarray], which: slice | np.ndarray = slice(None)) -> Table:
        """A table that keeps its number of rows where it has no columns to count by."""
        table = Table(columns)
        if not columns:
            table._num_rows = len(np.arange(self._num_rows)[which])
        return table

    def __eq__(self, other: object) -> bool:
        """Whether both have the same columns in the same order, types and values; NaN equals NaN."""
        if not isinstance(other, Table):
            return False
        if self.columns != other.columns or len(self) != len(other):
            return False
        return all(_same(mine, theirs) for mine, theirs in zip(self.values(), other.values(), strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __reduce__(self) -> tuple:
        return _restore, (dict(self), self._num_rows)

    def copy(self) -> Table:
        """Return the table itself, which nobody can change."""
        return self

    def _refuse(self, *args: object, **named: object) -> NoReturn:
        raise InputTypeError("a table is read-only: change a copy, dict(table)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    # Ways out.

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return a plain dict of the (read-only) arrays."""
        return dict(self)

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`, a copy; needs pandas."""
        return _require("pandas", "to_pandas").DataFrame(dict(self), index=range(self._num_rows))

    def to_polars(self) -> Any:
        """Return a `polars.DataFrame`; numeric columns share memory. Needs polars."""
        return _require("polars", "to_polars").DataFrame(self)

    def to_arrow(self) -> Any:
        """Return a `pyarrow.Table`; numeric columns share memory. Needs pyarrow."""
        return _require("pyarrow", "to_arrow").RecordBatchReader.from_stream(self).read_all()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        """Export as an Arrow stream of one record batch (the Arrow PyCapsule interface).

        Numeric columns share memory, bool is bit-packed, strings are utf8 and None in them null. A requested
        schema is left to the consumer, as the interface allows.
        """
        return export_stream(dict(self), self._num_rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return a structured array, one field a column; always a copy."""
        if copy is False:
            raise ValueError("a table is columns: making one structured array of them copies")
        layout = np.dtype([(name, array.dtype) for name, array in self.items()])
        records = np.empty(self._num_rows, layout)
        for name, array in self.items():
            records[name] = array
        return records if dtype is None else records.astype(dtype)

    def write_csv(self, path: str | PathLike[str]) -> None:
        """Write a CSV file: a header, then one line a row.

        Every number is written so that it reads back exactly (floats as their shortest decimal, NaN as
        `nan`), text is quoted where it must be; UTF-8, lines end in a line feed. None is an empty field.

        Parameters
        ----------
        path : str or path-like
            File to write; an existing one is replaced.
        """
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            for start in range(0, self._num_rows, CSV_CHUNK):
                chunk = [array[start : start + CSV_CHUNK].tolist() for array in self.values()]
                writer.writerows(zip(*chunk, strict=True))

    def write_parquet(self, path: str | PathLike[str]) -> None:
        """Write a Parquet file with pyarrow's default settings; needs pyarrow.

        Parameters
        ----------
        path : str or path-like
            File to write; an existing one is replaced.

        Raises
        ------
        ModuleNotFoundError
            pyarrow is not installed.
        """
        table = self.to_arrow()
        _require("pyarrow.parquet", "write_parquet").write_table(table, path)

    def __repr__(self) -> str:
        title = f"Table: {_count(self._num_rows, 'row')} x {_count(len(self.columns), 'column')}"
        if not self:
            return title
        half = PREVIEW_ROWS // 2
        everything = self._num_rows <= PREVIEW_ROWS
        shown = [*range(self._num_rows)] if everything else [*range(half), *range(-half, 0)]
        numbers = ["", "", *(str(row % self._num_rows) for row in shown)]
        lines = [number.ljust(max(map(len, numbers))) for number in numbers]
        hidden: list[str] = []
        for name, array in self.items():
            cells = [_clip(name), _type_name(array), *(_cell(array[row]) for row in shown)]
            width = max(map(len, cells))
            if hidden or len(lines[0]) + 2 + width > PREVIEW_WIDTH:
                hidden.append(name)
                continue
            side = str.ljust if array.dtype.kind in "UO" else str.rjust
            lines = [f"{line}  {side(cell, width)}" for line, cell in zip(lines, cells, strict=True)]
        lines = [line.rstrip() for line in lines]
        if not everything:
            lines.insert(2 + half, "...")
        if hidden:
            lines.append(f"({_count(len(hidden), 'more column')}: {', '.join(hidden)})")
        return "\n".join([title, *lines])


def _restore(columns: dict[str, np.ndarray], num_rows: int) -> Table:
    """Unpickle; arrays come back read-only again."""
    table = Table(columns)
    table._num_rows = num_rows
    return table


def _frozen(name: object, values: Any) -> np.ndarray:
    """A read-only 1-D native contiguous view of one column."""
    if not isinstance(name, str):
        raise InputTypeError(f"table: a column name is {name!r}; must be a str")
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"table[{name!r}] has shape {array.shape}: must be 1-D")
    if array.dtype.kind not in _EXPORTED_KINDS or (array.dtype.itemsize > 8 and array.dtype.kind == "f"):
        raise InputTypeError(f"table[{name!r}] has dtype {array.dtype}: must be bool, integer, float or str")
    if array.dtype.kind == "O" and not array.size:
        array = np.zeros(0, "U1")  # an empty object column would tell nobody that it is text
    frozen = np.require(array, array.dtype.newbyteorder("="), ["C", "A"]).view()
    frozen.flags.writeable = False
    return frozen


def _same(mine: np.ndarray, theirs: np.ndarray) -> bool:
    text = mine.dtype.kind in "UO" and theirs.dtype.kind in "UO"
    if not text and mine.dtype != theirs.dtype:
        return False
    return bool(np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"))


def _require(module: str, method: str) -> ModuleType:
    """Import an optional library, or say which method needs it."""
    import importlib

    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        message = f"Table.{method} needs {package}: pip install {package}"
        raise ModuleNotFoundError(message, name=package) from error


def _listing(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {length}" for name, length in lengths.items())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _type_name(array: np.ndarray) -> str:
    return "str" if array.dtype.kind in "UO" else str(array.dtype)


def _cell(value: Any) -> str:
    if isinstance(value, np.floating):
        return str(value) if abs(value) < 1e-3 else repr(float(f"{float(value):.12g}"))
    return _clip(str(value))


def _clip(text: str, width: int = 32) -> str:
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= width else text[: width - 3] + "..."
