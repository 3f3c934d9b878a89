"""The Arrow stream export: layout, life time and refusals, with and without a consumer."""

import ctypes
import gc
import sys
import threading

import numpy as np
import pytest

from cascade._arrow import export_stream
from cascade.errors import InputError, InputTypeError
from cascade.tables import Table

NUMERIC = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


class Schema(ctypes.Structure):
    pass


class Array(ctypes.Structure):
    pass


class Stream(ctypes.Structure):
    pass


def method(structure, *arguments):
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(structure), *arguments)


int64, pointer, text = ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
Schema._fields_ = [
    ("format", text), ("name", text), ("metadata", text), ("flags", int64), ("n_children", int64),
    ("children", ctypes.POINTER(ctypes.POINTER(Schema))), ("dictionary", pointer),
    ("release", method(Schema)), ("private_data", pointer),
]  # fmt: skip
Array._fields_ = [
    ("length", int64), ("null_count", int64), ("offset", int64), ("n_buffers", int64), ("n_children", int64),
    ("buffers", ctypes.POINTER(pointer)), ("children", ctypes.POINTER(ctypes.POINTER(Array))),
    ("dictionary", pointer), ("release", method(Array)), ("private_data", pointer),
]  # fmt: skip
Stream._fields_ = [
    ("get_schema", method(Stream, ctypes.POINTER(Schema))),
    ("get_next", method(Stream, ctypes.POINTER(Array))),
    ("get_last_error", ctypes.CFUNCTYPE(text, ctypes.POINTER(Stream))),
    ("release", method(Stream)),
    ("private_data", pointer),
]


def open_stream(capsule):
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = pointer, [ctypes.py_object, text]
    return Stream.from_address(address(capsule, b"arrow_array_stream"))


def column(kind, n=3):
    return np.arange(n).astype(kind)


@pytest.mark.fast
def test_the_structures_by_hand():
    numbers = np.array([1.5, 2.5])
    capsule = export_stream(
        {"n": numbers, "s": np.array(["a", None], object), "b": np.array([True, True])}, 2
    )
    stream = open_stream(capsule)
    schema, array, end = Schema(), Array(), Array()
    assert stream.get_schema(stream, schema) == 0
    assert (schema.format, schema.n_children) == (b"+s", 3)
    fields = [(schema.children[i].contents.name, schema.children[i].contents.format) for i in range(3)]
    assert fields == [(b"n", b"g"), (b"s", b"u"), (b"b", b"b")]
    assert stream.get_next(stream, array) == 0
    assert (array.length, array.n_buffers, array.n_children, array.offset) == (2, 1, 3, 0)
    assert array.buffers[0] is None
    first, second = array.children[0].contents, array.children[1].contents
    assert first.buffers[1] == numbers.ctypes.data
    assert (first.n_buffers, first.null_count) == (2, 0)
    assert (second.n_buffers, second.null_count) == (3, 1)
    assert ctypes.string_at(second.buffers[0], 1) == b"\x01"
    assert stream.get_next(stream, end) == 0
    assert not end.release  # the end of the stream
    assert stream.get_last_error(stream) is None
    # The consumer may release in any order, and the stream first.
    stream.release(stream)
    assert not stream.release
    del capsule
    array.release(array)
    schema.release(schema)
    assert not array.release
    assert not schema.release


@pytest.mark.fast
def test_a_moved_column_outlives_the_batch():
    numbers = np.arange(4.0)
    before = sys.getrefcount(numbers)
    capsule = export_stream({"a": numbers, "b": np.arange(4)}, 4)
    stream = open_stream(capsule)
    array, moved = Array(), Array()
    stream.get_next(stream, array)
    ctypes.memmove(
        ctypes.addressof(moved), ctypes.addressof(array.children[0].contents), ctypes.sizeof(Array)
    )
    ctypes.memset(ctypes.addressof(array.children[0].contents) + Array.release.offset, 0, 8)
    array.release(array)
    del capsule, stream
    gc.collect()
    assert sys.getrefcount(numbers) > before
    assert ctypes.string_at(moved.buffers[1], 32) == numbers.tobytes()
    moved.release(moved)
    assert sys.getrefcount(numbers) == before


@pytest.mark.fast
def test_an_unconsumed_capsule_gives_everything_back():
    numbers = np.arange(1000.0)
    before = sys.getrefcount(numbers)
    for _ in range(1000):
        export_stream({"a": numbers}, 1000)
        capsule = export_stream({"a": numbers}, 1000)
        stream = open_stream(capsule)
        schema = Schema()
        stream.get_schema(stream, schema)
        schema.release(schema)
        del capsule
    assert sys.getrefcount(numbers) == before


@pytest.mark.fast
def test_refusals():
    with pytest.raises(
        InputError, match=r"table\['s'\]\[1\] = '\\ud800': must be text that UTF-8 can encode"
    ):
        export_stream({"s": np.array(["a", "\ud800"])}, 2)
    with pytest.raises(
        InputError, match=r"table\['s'\]\[1\] = '\\ud800': must be text that UTF-8 can encode"
    ):
        export_stream({"s": np.array(["a", "\ud800"], object)}, 2)
    with pytest.raises(
        InputTypeError, match=r"table\['o'\]\[0\] = 1: an object column must hold str or None"
    ):
        export_stream({"o": np.array([1], object)}, 1)
    with pytest.raises(InputTypeError, match="has no Arrow type"):
        export_stream({"c": np.zeros(1, complex)}, 1)
    with pytest.raises(InputError, match=r"must be \(2,\)"):
        export_stream({"a": np.zeros(1)}, 2)


@pytest.mark.parametrize("kind", NUMERIC)
@pytest.mark.parametrize("n", [0, 1, 1000])
def test_pyarrow_reads_every_width(kind, n):
    pyarrow = pytest.importorskip("pyarrow")
    table = Table({"x": column(kind, n)})
    read = pyarrow.RecordBatchReader.from_stream(table).read_all()
    read.validate(full=True)
    assert read["x"].to_pylist() == table["x"].tolist()
    assert read["x"].to_numpy().dtype == np.dtype(kind)
    if n:
        assert np.shares_memory(read["x"].chunk(0).to_numpy(), table["x"])


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_bool_and_strings_of_all_widths(n):
    pyarrow = pytest.importorskip("pyarrow")
    rng = np.random.default_rng(n)
    alphabet = ["a", "é", "中", "😀", "\x7f", "\x80", "߿", "ࠀ", "\uffff", "\U00010000", "\U0010ffff", "\0x"]
    words = ["".join(rng.choice(alphabet, rng.integers(0, 6))) for _ in range(n)]
    holes = [None if rng.random() < 0.3 else word for word in words]
    table = Table(
        {
            "b": rng.random(n) < 0.5,
            "u": np.array(words, "U12"),
            "o": np.array([*words, None], object)[:-1],
            "h": np.array([*holes, None], object)[:-1],
        }
    )
    read = pyarrow.RecordBatchReader.from_stream(table).read_all()
    read.validate(full=True)
    assert read["b"].to_pylist() == table["b"].tolist()
    assert read["u"].to_pylist() == table["u"].tolist()
    assert read["o"].to_pylist() == words
    assert read["h"].to_pylist() == holes
    assert read["h"].null_count == holes.count(None)


def test_strided_swapped_and_misaligned_columns():
    pyarrow = pytest.importorskip("pyarrow")
    raw = np.zeros(3 * 9 + 1, np.uint8)
    misaligned = raw[1 : 1 + 24].view("<i8")
    misaligned[:] = [1, 2, 3]
    columns = {
        "s": np.arange(6)[::2],
        "r": np.arange(3)[::-1],
        "big": np.array([1, 2, 3], ">i8"),
        "m": misaligned,
    }
    columns["u"] = np.array(["a", "b", "c", "d"])[::-2].repeat(2)[:3]
    read = pyarrow.RecordBatchReader.from_stream(Table(columns)).read_all()
    read.validate(full=True)
    assert read.to_pydict() == {name: values.tolist() for name, values in columns.items()}


def test_pandas_and_polars_read_the_stream():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    table = Table({"x": [1.0, 2.0], "b": [True, False], "s": ["a", "é"]})

    class Foreign:
        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    assert polars.DataFrame(Foreign()).to_dict(as_series=False) == {k: v.tolist() for k, v in table.items()}
    if hasattr(pandas.DataFrame, "from_arrow"):
        pytest.importorskip("pyarrow")
        assert pandas.DataFrame.from_arrow(Foreign()).to_dict("list") == {
            k: v.tolist() for k, v in table.items()
        }


def test_consumers_release_from_other_threads():
    pyarrow = pytest.importorskip("pyarrow")
    numbers = np.arange(1000.0)
    before = sys.getrefcount(numbers)

    def consume():
        for _ in range(200):
            table = Table({"a": numbers, "s": np.array(["x"] * 1000)})
            pyarrow.RecordBatchReader.from_stream(table).read_all()

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert sys.getrefcount(numbers) == before
