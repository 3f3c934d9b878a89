"""Reading a user's table into plain NumPy columns: whatever library it comes from, copied, without loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade._badrows import BadRows
from cascade.errors import InputError, InputTypeError

_TABLES = "a dict of arrays, structured array, pandas, polars or pyarrow table"
_COLUMNS = "must be a 1-D array or list"
_NOT_MISSING = "must not be missing"


@dataclass(frozen=True, slots=True)
class Field:
    """What a table may hold under one name.

    Parameters
    ----------
    required : bool
        False: the column may be absent.
    nullable : bool
        True: values may be missing (null, None, NaN or masked).
    """

    required: bool = True
    nullable: bool = False


REQUIRED = Field()
OPTIONAL = Field(required=False)
NULLABLE = Field(required=False, nullable=True)


def read_columns(
    table: Any,
    name: str,
    spec: Mapping[str, Field],
    columns: Mapping[str, str] | None = None,
    *,
    bad: BadRows | None = None,
    copy: bool = True,
) -> dict[str, Any]:
    """Read a table of any library into NumPy columns.

    Parameters
    ----------
    table : dict of arrays, structured array, pandas.DataFrame, polars.DataFrame, pyarrow.Table or
    RecordBatch, Table
        Or any other object with `__arrow_c_stream__`, if pyarrow or polars is installed to read it.
    name : str
        Name of the table, for messages.
    spec : mapping of str to Field
        The columns that are known.
    columns : mapping of str to str, optional
        Our name to the table's name, for those that differ. When it is given, even empty, columns of the
        table that are not asked for are ignored; otherwise they are an error.
    bad : BadRows, optional
        Where rows with missing values go. Made to measure (`bad.resize`).
    copy : bool
        False: native columns come as they are, for callers that only read them.

    Returns
    -------
    dict of str to numpy.ndarray or None
        Every name of `spec`, in its order; None for an optional column that is absent. Arrays are 1-D,
        contiguous, native, and share no memory with the input unless `copy` is False. dtypes: bool, integers,
        floats, 'U' or object (text, Decimal, integers beyond 64 bits, mixed numbers); anything else is left
        to the converters to refuse. A missing value of a nullable column is NaN in a float column and
        None in an object column.

    Raises
    ------
    InputTypeError
        `table` or a column of it is None or no table or column at all.
    InputError
        Missing, unknown or repeated columns, unequal lengths, not 1-D, missing values (with their number).
    """
    bad = BadRows(name) if bad is None else bad
    source = open_table(table, name)
    theirs = _resolve(source, name, spec, columns)
    found = {ours: read_column(source[their], name, ours, copy) for ours, their in theirs.items()}
    lengths = {ours: len(values) for ours, (values, _) in found.items()}
    for ours, length in lengths.items():
        first = next(iter(lengths))
        if length != lengths[first]:
            raise InputError(
                f"{name}[{ours!r}] has {length} rows and {name}[{first!r}] {lengths[first]}: "
                "columns must be equally long"
            )
    bad.resize(next(iter(lengths.values()), 0))
    for ours, (_, missing) in found.items():
        if missing is not None and not spec[ours].nullable:
            bad.where(ours).refuse(missing, np.full(len(missing), None, object), _NOT_MISSING)
    return {ours: found[ours][0] if ours in found else None for ours in spec}


def _resolve(
    source: Mapping[Any, Any], name: str, spec: Mapping[str, Field], columns: Mapping[str, str] | None
) -> dict[str, Any]:
    """Match our names with the table's: ours to theirs, for those that are there."""
    known = f"known: {', '.join(spec)}"
    if columns is not None:
        if not isinstance(columns, Mapping):
            raise InputTypeError(f"columns: a {type(columns).__name__}: must map our names to the table's")
        for ours, their in columns.items():
            if ours not in spec:
                raise InputError(f"columns[{ours!r}]: {name} has no such column ({known})")
            if their not in source:
                raise InputError(f"columns[{ours!r}] = {their!r}: the table has no such column")
    theirs = {ours: (columns or {}).get(ours, ours) for ours in spec}
    if columns is None:
        extra = [key for key in source if key not in spec]
        if extra:
            listing = ", ".join(repr(key) for key in extra[:5]) + (", ..." if len(extra) > 5 else "")
            raise InputError(
                f"{name}: unknown column{'s' if len(extra) > 1 else ''} {listing} ({known}; "
                "columns={} ignores the others)"
            )
    missing = [ours for ours, field in spec.items() if field.required and theirs[ours] not in source]
    if missing:
        listing = ", ".join(map(repr, missing))
        has = ", ".join(repr(key) for key in source) or "no columns"
        raise InputError(f"{name}: missing column{'s' if len(missing) > 1 else ''} {listing} (it has {has})")
    return {ours: their for ours, their in theirs.items() if their in source}


# Opening a table: a mapping from column name to something that read_column understands.


def open_table(table: Any, name: str) -> Mapping[Any, Any]:
    """A table of any library as a mapping from its column names to its columns."""
    library = _library(table, ("DataFrame", "Table", "RecordBatch", "LazyFrame"))
    if isinstance(table, Mapping):
        return table
    if isinstance(table, np.ndarray):
        if table.dtype.names is None:
            raise InputTypeError(f"{name}: an array without named fields: must be {_TABLES}")
        if table.ndim != 1:
            raise InputError(f"{name} has shape {table.shape}: must be 1-D")
        return {field: table[field] for field in table.dtype.names if not field.startswith("_")}
    if library == "polars" and hasattr(table, "collect"):
        raise InputTypeError(f"{name}: a LazyFrame: must be {_TABLES}; collect() it first")
    if library == "pandas":
        return _unique(list(table.columns), lambda i: table.iloc[:, i], name)
    if library == "polars":
        return {column.name: column for column in table.get_columns()}
    if library == "pyarrow":
        return _unique(list(table.schema.names), table.column, name)
    if hasattr(table, "__arrow_c_stream__"):
        return open_table(_import_stream(table, name), name)
    raise InputTypeError(f"{name}: {_kind_of(table)}: must be {_TABLES}")


def _unique(names: list, column: Any, name: str) -> dict[Any, Any]:
    for i, key in enumerate(names):
        if key in names[:i]:
            raise InputError(f"{name}: column {key!r} appears twice")
    return {key: column(i) for i, key in enumerate(names)}


def _import_stream(table: Any, name: str) -> Any:
    """Read a foreign Arrow stream with whichever library is there."""
    try:
        import pyarrow

        return pyarrow.RecordBatchReader.from_stream(table).read_all()
    except ImportError:
        pass
    try:
        import polars

        return polars.DataFrame(table)
    except ImportError:
        raise InputTypeError(
            f"{name}: {_kind_of(table)}: reading it needs pyarrow or polars; or pass {_TABLES}"
        ) from None


def _library(value: Any, names: tuple[str, ...]) -> str | None:
    """pandas, polars or pyarrow, if `value` is an instance of one of its classes; nothing is imported."""
    for cls in type(value).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ("pandas", "polars", "pyarrow") and cls.__name__ in names:
            return root
    return None


def _kind_of(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


# Reading a column: (values, mask of missing values or None).


def read_column(
    column: Any, name: str, ours: str, copy: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read one column of any library: (values, mask of missing ones or None), with `copy` one of its own."""
    place = f"{name}[{ours!r}]"
    library = _library(column, ("Series", "Index", "Array", "ChunkedArray"))
    missing = None
    if library == "pandas":
        values, missing = _read_pandas(column)
    elif library == "polars":
        values, missing = _read_polars(column)
    elif library == "pyarrow":
        values, missing = _read_arrow(column)
    elif isinstance(column, np.ma.MaskedArray):
        values, missing = _read_masked(column, place)
    elif isinstance(column, np.ndarray):
        values = column
    elif isinstance(column, list | tuple):
        values = _objects(column)
    elif hasattr(column, "__array__") and not isinstance(column, np.generic):
        values = np.asarray(column)
    else:
        raise InputTypeError(f"{place}: {_kind_of(column)}: {_COLUMNS}")
    if values.ndim != 1:
        raise InputError(f"{place} has shape {values.shape}: must be 1-D")
    if values.dtype.kind == "T":
        values = values.astype(object)
    if values.dtype.kind == "O":
        values = _infer(values, place)
    elif values.dtype.kind == "V":
        raise InputTypeError(f"{place}: dtype {values.dtype}: {_COLUMNS}")
    else:
        native = values.dtype.newbyteorder("=")
        if copy:
            values = np.array(values, native, order="C", subok=False)
        else:
            values = np.require(np.asarray(values, native), requirements=["C", "A"])
    if missing is not None and not missing.any():
        missing = None
    return values, missing


def _objects(values: list | tuple) -> np.ndarray:
    """A 1-D object array of the elements, whatever they are."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def _infer(values: np.ndarray, place: str) -> np.ndarray:
    """Give an object array a native dtype where that loses nothing; never mixes types, as NumPy would."""
    elements = values.tolist()
    kinds = set(map(type, elements))
    if kinds and all(issubclass(kind, list | tuple | np.ndarray) for kind in kinds):
        raise InputError(f"{place} has elements that are sequences: must be 1-D")
    if kinds and all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
        lowest, highest = int(min(elements)), int(max(elements))
        if lowest >= -(2**63) and highest < 2**63:
            return np.array(elements, np.int64)
        if lowest >= 0 and highest < 2**64:
            return np.array(elements, np.uint64)
    elif kinds and all(issubclass(kind, float) for kind in kinds):
        return np.array(elements, np.float64)
    elif kinds and all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return np.array(elements, np.bool_)
    elif not elements:
        return np.zeros(0, np.float64)
    return _objects(elements)


def _with_none(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """A copy as objects, None where a value is missing."""
    values = values.astype(object)
    values[missing] = None
    return values


def _read_masked(column: np.ma.MaskedArray, place: str) -> tuple[np.ndarray, np.ndarray]:
    missing = np.ma.getmaskarray(column)
    if missing.ndim != 1 or not missing.any():
        return column.data, missing
    if column.dtype.kind == "f":
        return np.ma.filled(column, np.nan), missing
    return _with_none(column.data, missing), missing


def _read_pandas(column: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy(), None  # NaN is a value of a float column
    missing = np.asarray(column.isna())
    if missing.any():
        if getattr(column.dtype, "kind", "O") == "f":
            return column.to_numpy(np.float64, na_value=np.nan), missing
        return _with_none(column.to_numpy(object), missing), missing
    if getattr(column.dtype, "kind", "O") in "biuf":
        return column.to_numpy(column.dtype.numpy_dtype), None
    return np.asarray(column), None


def _read_polars(column: Any) -> tuple[np.ndarray, np.ndarray | None]:
    missing = column.is_null().to_numpy() if column.null_count() else None
    kind = str(column.dtype)
    if kind.startswith("Float") or (missing is None and kind.startswith(("Int", "UInt", "Bool", "Date"))):
        return column.to_numpy(), missing  # a null in a float column comes as NaN
    return _objects(column.to_list()), missing


def _read_arrow(column: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    if hasattr(column, "chunks"):  # strings beyond 2 GiB
        parts = [_read_arrow(chunk) for chunk in column.chunks]
        if not parts:
            return np.zeros(0), None
        masks = [np.zeros(len(v), np.bool_) if m is None else m for v, m in parts]
        return np.concatenate([v for v, _ in parts]), np.concatenate(masks)
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    kind = str(column.type)
    whole = missing is None and kind.startswith(("int", "uint", "bool"))
    if whole or kind in ("halffloat", "float", "double"):
        return column.to_numpy(zero_copy_only=False), missing  # a null in a float column comes as NaN
    return _objects(column.to_pylist()), missing
