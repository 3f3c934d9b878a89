"""Opening what a user has - CSV (plain, gzip, zip), Parquet, a table of any library - as exact columns."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from cascade._badrows import Where
from cascade._columns import Field, open_table, read_columns
from cascade._exact import missing_values, to_whole
from cascade._files import read_table
from cascade.errors import InputError, InputTypeError
from cascade.instruments import Instrument, positive
from cascade.io._decimal import PADDING, Words, to_steps

BLOCK = 2**20
"""Bytes of text dealt with at a time: what is computed from a block stays in the processor's cache."""
LARGEST = 2**62 - 1
"""Largest price in ticks and quantity in lots."""

Names = Callable[[list[str]], tuple[Sequence[str], bool]]
"""From the fields of a first line to the names of the columns, and whether that line is a header."""


@dataclass(frozen=True)
class Steps:
    """A column of numbers, as whole numbers of `step`.

    Parameters
    ----------
    step : Fraction
    what : str
        Name of the step in messages.
    lowest, highest : int
        Range, in steps.
    missing : int, optional
        What a missing number is; without it they are errors.
    required : bool
        False: the column may be absent.
    """

    step: Fraction = Fraction(1)
    what: str = "unit"
    lowest: int = -LARGEST
    highest: int = LARGEST
    missing: int | None = None
    required: bool = True


@dataclass(frozen=True)
class Choice:
    """A column of words, or of the numbers that they stand for, as codes."""

    codes: Mapping[str, int]
    required: bool = True


@dataclass(frozen=True)
class Label:
    """A column of text that must say one thing: `only`, or where that is None the same in every row."""

    only: str | None = None
    required: bool = True


@dataclass(frozen=True)
class Pick:
    """A column of small whole numbers that chooses the rows: those with one of `values`."""

    values: tuple[int, ...]
    required: bool = True


Kind = Steps | Choice | Label | Pick


# Units


def units(instrument: Instrument | None, tick_size: Any, lot_size: Any) -> tuple[Fraction, Fraction]:
    """Tick and lot from an instrument, or from both sizes."""
    if instrument is not None:
        if not isinstance(instrument, Instrument):
            raise InputTypeError(f"instrument: a {type(instrument).__name__}: must be an Instrument")
        if tick_size is not None or lot_size is not None:
            raise InputError("tick_size and lot_size: must not be given along with an instrument")
        return instrument.tick_size, instrument.lot_size
    if tick_size is None or lot_size is None:
        raise InputError("units: give an instrument, or both tick_size and lot_size")
    return positive(tick_size, "tick_size"), positive(lot_size, "lot_size")


def prices(tick: Fraction, **named: Any) -> Steps:
    return Steps(tick, "tick", **named)


def quantities(lot: Fraction, **named: Any) -> Steps:
    return Steps(lot, "lot", **{"lowest": 0, **named})


# Reading


def is_path(source: Any) -> bool:
    return isinstance(source, str | PathLike)


def read(source: Any, name: str, spec: Mapping[str, Kind], names: Names | None = None) -> dict[str, Any]:
    """Read columns from a file, a table, or a list of them, one after the other.

    Parameters
    ----------
    source : path, table, or list of these
    name : str
        Name of a table, for messages; a file goes by its own.
    spec : mapping of str to Steps, Choice or Label
    names : callable, optional
        For CSV without a header; see `Names`. Without it the first line is the header.

    Returns
    -------
    dict of str to numpy.ndarray or None
        int64 for Steps, int8 for Choice; None for an optional column that is absent. Label columns are left
        out: they choose the rows.
    """
    if isinstance(source, list | tuple):
        if not source:
            raise InputError(f"{name}: an empty list: must hold a file or a table")
        parts = [read(part, name, spec, names) for part in source]
        absent = {column for part in parts for column, values in part.items() if values is None}
        return {c: None if c in absent else np.concatenate([part[c] for part in parts]) for c in parts[0]}
    if not is_path(source):
        return _read_columns(source, name, spec)
    path = Path(source)
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_columns(read_table(path).columns, path.name, spec)
    return _Csv(path, spec, names).read()


def column_names(source: Any, name: str) -> list[str]:
    """The columns of a file with a header, or of a table; of the first one of a list."""
    if isinstance(source, list | tuple) and source:
        source = source[0]
    if not is_path(source):
        return [key for key in open_table(source, name) if isinstance(key, str)]
    path = Path(source)
    if path.suffix.lower() in (".parquet", ".pq"):
        return list(read_table(path).columns)
    with open_bytes(path) as file:
        return first_fields(path, file.readline())


def first_fields(path: Path, line: bytes) -> list[str]:
    """The fields of a first line."""
    try:
        return [field.strip() for field in line.decode("utf-8-sig").split(",")]
    except UnicodeDecodeError:
        raise InputError(f"{path}, line 1: must be UTF-8 text") from None


def _read_columns(table: Any, name: str, spec: Mapping[str, Kind]) -> dict[str, Any]:
    """Columns of a table of any library."""
    fields = {
        column: Field(kind.required, isinstance(kind, Steps) and kind.missing is not None)
        for column, kind in spec.items()
    }
    raw = read_columns(table, name, fields, {})
    rows = np.arange(len(next(values for values in raw.values() if values is not None)))
    num_rows = len(rows)
    for column, kind in spec.items():
        if isinstance(kind, Label) and raw[column] is not None:
            rows = rows[_labelled(raw[column][rows], kind, name, column)]
        elif isinstance(kind, Pick) and raw[column] is not None:
            rows = rows[np.isin(raw[column][rows], kind.values)]
    whole = len(rows) == num_rows
    result: dict[str, Any] = {}
    for column, kind in spec.items():
        values = raw[column]
        if isinstance(kind, Label):
            continue
        if values is None:
            result[column] = None
            continue
        where = Where(name, column, None if whole else rows)
        values = values if whole else values[rows]
        if isinstance(kind, Steps):
            result[column] = read_steps(values, kind, where)
        elif isinstance(kind, Choice):
            result[column] = _read_choice(values, kind, where)
        else:
            result[column] = read_steps(values, Steps(), where).astype(np.int8)
    return result


def read_steps(values: np.ndarray, kind: Steps, where: Where) -> np.ndarray:
    """Numbers, or text of them, as whole numbers of steps."""
    missing = missing_values(values) if kind.missing is not None else None
    if missing is not None and missing.any():
        values = values.copy()
        values[missing] = 0
    if values.dtype.kind in "UO":
        elements = values.tolist()
        if set(map(type, elements)) == {str}:
            result, sure = from_texts(elements, kind.step)
            result = _finish_steps(result, ~sure, values, kind, where)
        else:
            result = to_whole(
                values, kind.step, where, lowest=kind.lowest, highest=kind.highest, what=kind.what
            )
    elif values.dtype.kind in "iu":
        result, sure = _from_integers(values, kind.step)
        result = _finish_steps(result, ~sure, values, kind, where)
    elif values.dtype == np.float64 and _is_fine(values, kind.step):
        # Seconds in nanoseconds: float arithmetic would decide few of them, their shortest decimals do.
        result, sure = from_texts(values.astype("U32").tolist(), kind.step)
        result = _finish_steps(result, ~sure, values, kind, where)
    else:
        result = to_whole(values, kind.step, where, lowest=kind.lowest, highest=kind.highest, what=kind.what)
    if missing is not None and kind.missing is not None:
        result[missing] = kind.missing
    return result


def _is_fine(values: np.ndarray, step: Fraction) -> bool:
    """Whether steps are so fine against the values that a float hardly tells them apart."""
    return bool((np.abs(values) > 2**50 * float(step)).any())


def _from_integers(values: np.ndarray, step: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Integers as whole numbers of `step`, and where that is sure."""
    ratio = 1 / step
    if max(ratio.numerator, ratio.denominator) > LARGEST:
        return np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
    most = LARGEST // ratio.numerator
    sure = (values <= most) & (values >= -most if values.dtype.kind == "i" else True)
    whole = np.where(sure, values, 0).astype(np.int64)
    sure &= whole % ratio.denominator == 0
    return np.where(sure, whole // ratio.denominator * ratio.numerator, 0), sure


def from_texts(texts: list[str], step: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Texts as whole numbers of `step`, and where that is sure."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    text = "".join(texts).encode("latin-1", "replace")
    words = Words(np.frombuffer(PADDING + text + PADDING, np.uint8))
    end = np.cumsum(lengths) + len(PADDING)
    return to_steps(words, end - lengths, end, step)


def _finish_steps(
    result: np.ndarray, left: np.ndarray, texts: np.ndarray, kind: Steps, where: Where
) -> np.ndarray:
    """Convert what the bulk did not, one by one, and check the range."""
    left |= (result < kind.lowest) | (result > kind.highest)
    rest = np.flatnonzero(left)
    if rest.size:
        rows = rest if where.rows is None else where.rows[rest]
        place = Where(where.table, where.column, rows)
        result[rest] = to_whole(
            texts[rest], kind.step, place, lowest=kind.lowest, highest=kind.highest, what=kind.what
        )
    return result


def _read_choice(values: np.ndarray, kind: Choice, where: Where) -> np.ndarray:
    codes = kind.codes
    rule = f"must be one of {', '.join(map(repr, codes))}"
    if values.dtype.kind == "b":
        values = np.where(values, "true", "false")
    if values.dtype.kind in "iu":
        where.refuse(~np.isin(values, list(codes.values())), values, rule)
        return values.astype(np.int8)
    if values.dtype.kind not in "UO":
        where.wrong_column(f"dtype {values.dtype}", rule)
    elements = values.tolist()
    result = np.fromiter((codes.get(value, -128) for value in elements), np.int8, len(elements))
    where.refuse(result == -128, elements, rule)
    return result


def _labelled(values: np.ndarray, kind: Label, table: str, column: str) -> np.ndarray:
    """Mask of the rows that the label chooses."""
    if kind.only is not None:
        mask = np.asarray(values == kind.only)
        if not mask.any():
            _no_label(table, column, kind.only, values)
        return mask
    if len(values) and not (values == values[0]).all():
        _many_labels(table, column, dict.fromkeys(values.tolist()))
    return np.ones(len(values), np.bool_)


def _no_label(table: str, column: str, only: str, values: Any) -> None:
    seen = ", ".join(map(repr, list(dict.fromkeys(values.tolist()))[:5]))
    raise InputError(f"{table}[{column!r}]: no row is {only!r} (there are {seen or 'no rows'})")


def _many_labels(table: str, column: str, seen: Any) -> None:
    listing = ", ".join(map(repr, list(seen)[:5])) + (", ..." if len(seen) > 5 else "")
    raise InputError(f"{table}[{column!r}]: several ({listing}): say which by {column}=")


# CSV


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked where it is gzip or a zip archive of one file."""
    try:
        with open(path, "rb") as raw:
            magic = raw.read(4)
            raw.seek(0)
            if magic[:2] == b"\x1f\x8b":
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            elif magic == b"PK\x03\x04":
                with zipfile.ZipFile(raw) as archive:
                    inside = archive.namelist()
                    if len(inside) != 1:
                        raise InputError(f"{path}: an archive of {len(inside)} files: must hold one")
                    with archive.open(inside[0]) as unpacked:
                        yield unpacked
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not readable: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


class _Csv:
    """One CSV file being read: comma, line feed (or CR LF), no quoting, as exchanges write them."""

    def __init__(self, path: Path, spec: Mapping[str, Kind], names: Names | None) -> None:
        self.path, self.table, self.spec = path, path.name, spec
        self.names: Names = names or (lambda fields: (fields, True))
        self.columns: dict[str, int] = {}
        self.num_columns = 0
        self.line = 1  # of the file, where the next block starts
        self.row = 0
        self.header = False
        self.seen: dict[str, str] = {}
        self.chosen = 0
        self.parts: dict[str, list[np.ndarray]] = {}
        self.left: dict[str, list[tuple[np.ndarray, np.ndarray, list[str]]]] = {}

    def read(self) -> dict[str, Any]:
        with open_bytes(self.path) as file:
            rest = b""
            while True:
                more = file.read(BLOCK)
                text = rest + more
                if self.line == 1 and text.startswith(b"\xef\xbb\xbf"):
                    text = text[3:]
                cut = text.rfind(b"\n") + 1
                if not more:
                    text = text.rstrip(b"\r\n")
                    text, cut = (text + b"\n", len(text) + 1) if text else (b"", 0)
                if cut:
                    self._block(text[:cut])
                rest = text[cut:]
                if not more:
                    break
        if not self.num_columns:
            raise InputError(f"{self.path}: empty: must have a line at least")
        return self._finish()

    def _start(self, first: bytes) -> None:
        """Learn the columns from the first line."""
        fields = first_fields(self.path, first)
        names, self.header = self.names(fields)
        for k, field in enumerate(names):
            if field in names[:k]:
                raise InputError(f"{self.table}: column {field!r} appears twice")
        absent = [c for c, kind in self.spec.items() if kind.required and c not in names]
        if absent:
            listing = ", ".join(map(repr, absent))
            has = ", ".join(map(repr, names))
            raise InputError(f"{self.table}: missing column{'s'[: len(absent) > 1]} {listing} (it has {has})")
        self.num_columns = len(fields)
        self.columns = {c: list(names).index(c) for c in self.spec if c in names}
        self.parts = {c: [] for c, kind in self.spec.items() if c in names and not isinstance(kind, Label)}
        self.left = {c: [] for c in self.parts}

    def _block(self, text: bytes) -> None:
        if b'"' in text:
            line = self.line + text[: text.index(b'"')].count(b"\n")
            raise InputError(f"{self.path}, line {line}: a quoted field: fields must be plain")
        if not self.num_columns:
            self._start(text[: text.index(b"\n")].rstrip(b"\r"))
        block = np.frombuffer(PADDING + text + PADDING, np.uint8)
        separators = np.flatnonzero((block == 44) | (block == 10))
        is_line = block[separators] == 10
        num_lines = int(np.count_nonzero(is_line))
        even = separators.size == num_lines * self.num_columns
        if not even or not is_line[self.num_columns - 1 :: self.num_columns].all():
            self._uneven(is_line)
        ends = separators.reshape(num_lines, self.num_columns)
        begin = np.empty_like(ends)
        begin[:, 1:] = ends[:, :-1] + 1
        begin[1:, 0] = ends[:-1, -1] + 1
        begin[0, 0] = len(PADDING)
        last = ends[:, -1]
        last -= (block[last - 1] == 13) & (last > begin[:, -1])
        if self.line == 1 and self.header:
            begin, ends = begin[1:], ends[1:]
        self.line += num_lines
        self._take(Words(block), begin, ends)

    def _uneven(self, is_line: np.ndarray) -> None:
        at = np.flatnonzero(is_line)
        counts = np.diff(at, prepend=-1)
        bad = int(np.flatnonzero(counts != self.num_columns)[0])
        count = int(counts[bad])
        raise InputError(
            f"{self.path}, line {self.line + bad}: {count} field{'s'[: count > 1]} "
            f"where the first line has {self.num_columns}"
        )

    def _take(self, words: Words, begin: np.ndarray, ends: np.ndarray) -> None:
        """Convert the columns of one block."""
        rows = np.arange(self.row, self.row + len(begin))
        self.row += len(begin)
        for column, kind in self.spec.items():
            if isinstance(kind, Label) and column in self.columns and len(rows):
                k = self.columns[column]
                mask = self._labels(words, begin[:, k], ends[:, k], column, kind)
            elif isinstance(kind, Pick) and column in self.columns and len(rows):
                k = self.columns[column]
                numbers, sure = to_steps(words, begin[:, k], ends[:, k], Fraction(1))
                mask = np.isin(numbers, kind.values) | ~sure
            else:
                continue
            rows, begin, ends = rows[mask], begin[mask], ends[mask]
        self.chosen += len(rows)
        for column in self.parts:
            kind, k = self.spec[column], self.columns[column]
            start, end = np.ascontiguousarray(begin[:, k]), np.ascontiguousarray(ends[:, k])
            if isinstance(kind, Steps | Pick):
                number = kind if isinstance(kind, Steps) else Steps()
                values, sure = to_steps(words, start, end, number.step)
                sure &= (values >= number.lowest) & (values <= number.highest)
                if isinstance(kind, Steps) and kind.missing is not None:
                    empty = start == end
                    values[empty] = kind.missing
                    sure |= empty
            elif isinstance(kind, Choice):
                values = np.full(len(rows), -128, np.int8)
                for word, code in kind.codes.items():
                    values[_says(words, start, end, word)] = code
                sure = values != -128
            if not sure.all():
                where = np.flatnonzero(~sure)
                texts = [_text(words, start[i], end[i]) for i in where.tolist()]
                at = where + sum(map(len, self.parts[column]))
                self.left[column].append((at, rows[where], texts))
            self.parts[column].append(values)

    def _labels(
        self, words: Words, start: np.ndarray, end: np.ndarray, column: str, kind: Label
    ) -> np.ndarray:
        if kind.only is not None:
            self.seen.setdefault(column, _text(words, start[0], end[0]))
            return _says(words, start, end, kind.only)
        first = self.seen.setdefault(column, _text(words, start[0], end[0]))
        same = _says(words, start, end, first)
        if not same.all():
            i = int(np.flatnonzero(~same)[0])
            _many_labels(self.table, column, [first, _text(words, start[i], end[i])])
        return same

    def _finish(self) -> dict[str, Any]:
        for column, kind in self.spec.items():
            if isinstance(kind, Label) and kind.only is not None and not self.chosen:
                _no_label(self.table, column, kind.only, np.array(list(self.seen.values()), object))
        result: dict[str, Any] = {}
        for column, kind in self.spec.items():
            if isinstance(kind, Label):
                continue
            if column not in self.parts:
                result[column] = None
                continue
            empty = np.zeros(0, np.int8 if isinstance(kind, Choice) else np.int64)
            values = np.concatenate([empty, *self.parts[column]])
            if self.left[column]:
                at = np.concatenate([at for at, _, _ in self.left[column]])
                rows = np.concatenate([rows for _, rows, _ in self.left[column]])
                texts = np.array([text or None for _, _, part in self.left[column] for text in part], object)
                where = Where(self.table, column, rows)
                absent = np.array([text is None for text in texts], np.bool_)
                where.refuse(absent, texts, "must not be missing")
                if isinstance(kind, Choice):
                    rule = f"must be one of {', '.join(map(repr, kind.codes))}"
                    where.refuse(np.ones(len(texts), np.bool_), texts, rule)
                else:
                    number = kind if isinstance(kind, Steps) else Steps()
                    values[at] = to_whole(
                        texts, number.step, where,
                        lowest=number.lowest, highest=number.highest, what=number.what,
                    )  # fmt: skip
            result[column] = values
        return result


def _text(words: Words, start: int, end: int) -> str:
    return words.block[start:end].tobytes().decode("utf-8", "replace").strip()


def _says(words: Words, start: np.ndarray, end: np.ndarray, word: str) -> np.ndarray:
    """Mask of the fields that are `word`."""
    text = word.encode()
    same = end - start == len(text)
    for k in range(0, len(text), 8):
        part = text[k : k + 8]
        mask = np.uint64(2 ** (8 * len(part)) - 1)
        at = np.minimum(start + k, words.block.size - 8)
        same &= (words.word(at) & mask) == np.uint64(int.from_bytes(part, "little"))
    return same
