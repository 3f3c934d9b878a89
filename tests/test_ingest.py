"""Reading user tables: libraries, classes of bad input, exactness against Fractions, the form of messages."""

import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade._ingest import (
    NULLABLE,
    OPTIONAL,
    REQUIRED,
    BadRows,
    Where,
    basis_inverse,
    basis_linear,
    exact,
    read_columns,
    to_choice,
    to_ids,
    to_int,
    to_money,
    to_rounded,
    to_whole,
)
from cascade.errors import InputError, InputTypeError, RangeError
from cascade.tables import Table

SPEC = {"account": REQUIRED, "size": REQUIRED, "margin": NULLABLE, "side": OPTIONAL}
HERE = Where("positions", "entry_price")
TENTH = Fraction(1, 10)


def objects(*values):
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def read(table, **named):
    return read_columns(table, "positions", SPEC, **named)


def message(error, call, *arguments, **named):
    """The text of the one error of exactly this class that the call raises."""
    with pytest.raises(error) as caught:
        call(*arguments, **named)
    assert type(caught.value) is error
    return str(caught.value)


# Tables.


@pytest.mark.fast
def test_dict_structured_array_and_table_read_alike():
    columns = {"account": [7, 8], "size": [1.5, -2.0]}
    records = np.zeros(2, [("account", "i4"), ("_pad", "V4"), ("size", "f8")])
    records["account"], records["size"] = columns["account"], columns["size"]
    for table in (columns, records, Table(columns), {k: np.array(v) for k, v in columns.items()}):
        raw = read(table)
        assert list(raw) == list(SPEC)
        assert raw["margin"] is None
        assert raw["side"] is None
        assert raw["account"].tolist() == [7, 8]
        assert raw["size"].tolist() == [1.5, -2.0]
        assert raw["size"].flags.c_contiguous


@pytest.mark.fast
def test_the_result_never_shares_memory_with_the_input():
    size = np.array([1.0, 2.0])
    size.flags.writeable = False
    raw = read({"account": [1, 2], "size": size})
    assert not np.shares_memory(raw["size"], size)
    assert raw["size"].flags.writeable
    records = np.zeros(2, [("account", "i8"), ("size", "f8")])
    assert not np.shares_memory(read(records)["size"], records)


@pytest.mark.fast
def test_memory_layouts():
    wide = np.arange(12.0)
    raw_bytes = np.zeros(17, np.uint8)
    misaligned = raw_bytes[1:].view("<f8")
    misaligned[:] = [3, 4]
    fortran = np.asfortranarray(wide.reshape(2, 6))
    for size in (wide[::6], wide[6::-6][::-1], fortran[:, 0], wide.astype(">f8")[::6]):
        raw = read({"account": [1, 2], "size": size})["size"]
        assert raw.tolist() == [0.0, 6.0]
        assert raw.dtype == np.float64
        assert raw.flags.aligned
    assert read({"account": [1, 2], "size": misaligned})["size"].tolist() == [3, 4]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("table", "error", "text"),
    [
        (None, InputTypeError, "positions: None: must be a dict of arrays"),
        ([1], InputTypeError, "positions: a list: must be a dict"),
        (np.zeros(3), InputTypeError, "positions: an array without named fields"),
        (
            np.zeros((2, 2), [("account", "i8"), ("size", "f8")]),
            InputError,
            "positions has shape (2, 2): must be 1-D",
        ),
        (
            {"account": None, "size": [1]},
            InputTypeError,
            "positions['account']: None: must be a 1-D array or list",
        ),
        ({"account": 1, "size": [1]}, InputTypeError, "positions['account']: a int: must be a 1-D"),
        ({"account": "ab", "size": [1]}, InputTypeError, "positions['account']: a str: must be a 1-D"),
        ({"account": [1], "size": np.float64(1)}, InputTypeError, "positions['size']: a float64"),
        (
            {"account": [1], "size": np.zeros((1, 1))},
            InputError,
            "positions['size'] has shape (1, 1): must be 1-D",
        ),
        ({"account": [1], "size": np.array(1.0)}, InputError, "positions['size'] has shape (): must be 1-D"),
        (
            {"account": [1], "size": [[1], [2]]},
            InputError,
            "positions['size'] has elements that are sequences",
        ),
        ({"account": [1]}, InputError, "positions: missing column 'size' (it has 'account')"),
        ({}, InputError, "positions: missing columns 'account', 'size' (it has no columns)"),
        (
            {"account": [1], "size": [1], "sizee": [2]},
            InputError,
            "positions: unknown column 'sizee' (known: account, size, margin, side; columns={} ignores",
        ),
        (
            {"account": [1], "size": [1, 2]},
            InputError,
            "positions['size'] has 2 rows and positions['account'] 1: columns must be equally long",
        ),
    ],
)
def test_bad_tables(table, error, text):
    assert message(error, read, table).startswith(text)


@pytest.mark.fast
def test_names_are_mapped():
    table = {"user_id": [1], "size": [2], "noise": [None]}
    assert read(table, columns={"account": "user_id"})["account"].tolist() == [1]
    assert read({"account": [1], "size": [2], "noise": [0]}, columns={})["size"].tolist() == [2]
    assert message(InputError, read, table, columns={"acount": "user_id"}).startswith(
        "columns['acount']: positions"
    )
    assert "the table has no such column" in message(InputError, read, table, columns={"account": "x"})
    assert "missing column 'account'" in message(InputError, read, table, columns={})
    assert "a list" in message(InputTypeError, read, table, columns=["account"])


@pytest.mark.fast
def test_masked_arrays():
    account = [1, 2, 3]
    mask = [False, True, True]
    valid = read({"account": account, "size": np.ma.array([1.0, 2.0, 3.0], mask=False)})
    assert valid["size"].tolist() == [1, 2, 3]
    assert type(valid["size"]) is np.ndarray
    for values in ([1.0, 2.0, 3.0], [1, 2, 3], ["a", "b", "c"]):
        masked = np.ma.array(values, mask=mask)
        text = message(InputError, read, {"account": account, "size": masked})
        assert text == "positions['size'][1] = null: must not be missing (2 bad rows)"
    margin = read({"account": account, "size": account, "margin": np.ma.array([1.0, 2.0, 3.0], mask=mask)})[
        "margin"
    ]
    assert np.isnan(margin).tolist() == mask
    margin = read({"account": account, "size": account, "margin": np.ma.array([1, 2, 3], mask=mask)})[
        "margin"
    ]
    assert margin.tolist() == [1, None, None]


@pytest.mark.fast
def test_lists_are_not_coerced_as_numpy_would():
    def column(values):
        return read({"account": values, "size": np.zeros(len(values))})["account"]

    assert column([1, "2"]).tolist() == [1, "2"]  # NumPy: all strings
    assert column([1, 2.5]).dtype == object
    assert column([True, 2]).dtype == object  # NumPy: integers
    assert column([2**63, 1]).dtype == np.uint64
    assert column([2**63, -1]).dtype == object  # NumPy: floats
    assert column([np.int32(1), 2]).dtype == np.int64
    assert column([1.0, np.float64(2)]).dtype == np.float64
    assert column(["a", "b\0"]).tolist() == ["a", "b\0"]
    assert len(column([])) == 0


# Other libraries.


def frames(columns):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    arrow = pyarrow.table(columns)

    class Foreign:
        def __arrow_c_stream__(self, requested_schema=None):
            return arrow.__arrow_c_stream__(requested_schema)

    return [
        pandas.DataFrame(columns),
        pandas.DataFrame(columns).convert_dtypes(),
        arrow.to_pandas(types_mapper=pandas.ArrowDtype),
        polars.DataFrame(columns),
        arrow,
        arrow.combine_chunks().to_batches()[0],
        pyarrow.concat_tables([arrow.slice(0, 1), arrow.slice(1)]),
        Foreign(),
    ]


def test_frames_of_all_libraries():
    for frame in frames({"account": ["é", "b", "é"], "size": [1.5, -2.0, 2.25], "side": [1, 2, 2**62 + 1]}):
        raw = read(frame)
        assert raw["account"].tolist() == ["é", "b", "é"]
        assert to_ids(raw["account"], HERE).tolist() == ["é", "b", "é"]
        assert raw["size"].tolist() == [1.5, -2.0, 2.25]
        assert to_int(raw["side"], HERE).tolist() == [1, 2, 2**62 + 1]


def test_nulls_of_all_libraries():
    values = {"account": ["a", None, None], "size": [1.5, 2.0, 3.5]}
    for frame in frames(values)[1:]:
        text = message(InputError, read, frame)
        assert text == "positions['account'][1] = null: must not be missing (2 bad rows)"
        bad = BadRows("positions", drop=True)
        raw = read(frame, bad=bad)
        assert bad.mask.tolist() == [False, True, True]
        assert to_ids(raw["account"], bad.where("account")).tolist() == ["a", "", ""]
    holes = {"account": [1, 2, 3], "size": [1, 2, 3], "margin": [2**62 + 1, None, 5]}
    for frame in frames(holes)[1:]:
        raw = read(frame)
        money, missing = to_money(raw["margin"], Decimal(1), HERE, allow_missing=True)
        assert missing.tolist() == [False, True, False]
        if not type(frame).__module__.startswith("pandas"):
            assert money.tolist() == [2**62 + 1, 0, 5]
    whole = {"account": [1, 2, 3], "size": [1.5, None, 3.5], "margin": [1.5, None, 2.5]}
    for frame in frames(whole)[3:]:
        assert (
            message(InputError, read, frame) == "positions['size'][1] = null: must not be missing (1 bad row)"
        )


def test_arrow_slices_dictionaries_and_decimals():
    pyarrow = pytest.importorskip("pyarrow")
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    words = pyarrow.array(["x", "long", "short", "long", "y"]).dictionary_encode().slice(1, 3)
    prices = pyarrow.array([Decimal("0.00"), Decimal("0.10"), Decimal("2.30"), Decimal("4.50"), None]).slice(
        1, 3
    )
    flags = pyarrow.array([True] * 9 + [False, True, False, True]).slice(9, 3)
    table = pyarrow.table({"account": words, "size": prices, "side": flags})
    for frame in (
        table,
        table.to_pandas(),
        polars.DataFrame(table),
        pyarrow.concat_tables([table, table]).slice(3),
    ):
        raw = read(frame)
        assert to_choice(raw["account"], {"long": 1, "short": 2}, HERE).tolist() == [1, 2, 1]
        assert to_whole(raw["size"], TENTH, HERE).tolist() == [1, 23, 45]
        assert raw["side"].tolist() == [False, True, False]
    assert read(pandas.DataFrame({"account": pandas.Categorical([3, 1, 3]), "size": [1, 2, 3]}))[
        "account"
    ].tolist() == [3, 1, 3]
    by_column = {"account": table["account"], "size": polars.Series([1.0, 2.0, 3.0])}
    by_column["side"] = pandas.Series([1, 2, 3])
    assert read(by_column)["account"].tolist() == ["long", "short", "long"]


def test_text_beyond_one_arrow_chunk():
    pyarrow = pytest.importorskip("pyarrow")

    class ChunkedArray:
        """Stands for text beyond 2 GiB, which stays in chunks when it is combined."""

        __module__ = "pyarrow.lib"

        def __init__(self, parts):
            self.chunks = parts

        def combine_chunks(self):
            return self

    parts = [pyarrow.array(["a", None]), pyarrow.array(["b"])]
    assert message(InputError, read, {"account": ChunkedArray(parts), "size": [1, 2, 3]}).startswith(
        "positions['account'][1] = null: must not be missing (1 bad row)"
    )


def test_frames_that_are_refused():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    twice = pandas.DataFrame([[1, 2, 3]], columns=["account", "size", "size"])
    assert message(InputError, read, twice) == "positions: column 'size' appears twice"
    twice = pyarrow.Table.from_arrays([pyarrow.array([1])] * 2, names=["size", "size"])
    assert message(InputError, read, twice) == "positions: column 'size' appears twice"
    assert "collect() it first" in message(InputTypeError, read, polars.LazyFrame({"account": [1]}))
    dates = polars.DataFrame({"account": [1], "size": ["2024-01-01"]}).with_columns(
        polars.col("size").str.to_date()
    )
    message(InputTypeError, to_whole, read(dates)["size"], TENTH, HERE)
    dates = pandas.DataFrame({"account": [1], "size": pandas.to_datetime(["2024-01-01"], utc=True)})
    message(InputTypeError, to_whole, read(dates)["size"], TENTH, HERE)
    assert "unknown column" in message(
        InputError, read, pandas.DataFrame({"account": [1], "size": [1], 0: [2]})
    )
    lists = pyarrow.table({"account": [1], "size": [[1]]})
    assert "must be 1-D" in message(InputError, read, lists)


def test_a_foreign_stream_without_a_reader(monkeypatch):
    class Foreign:
        def __arrow_c_stream__(self, requested_schema=None):
            raise AssertionError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    assert "reading it needs pyarrow or polars" in message(InputTypeError, read, Foreign())


# Whole numbers of ticks and lots.


@pytest.mark.fast
def test_to_whole():
    values = np.array([61628.1, 0.1, -0.0, 0.30000000000000004, 900719925474099.1, -5.5])
    whole = to_whole(values, TENTH, HERE)
    assert whole.dtype == np.int64
    assert whole.tolist() == [616281, 1, 0, 3, 9007199254740991, -55]
    mixed = objects("61628.1", Decimal("1e2"), Fraction(1, 2), 3, 0.2, " 7. ")
    assert to_whole(mixed, TENTH, HERE).tolist() == [
        616281, 1000, 5, 30, 2, 70,
    ]  # fmt: skip
    assert to_whole(np.array(["1.5", "2"]), TENTH, HERE).tolist() == [15, 20]
    assert to_whole(np.array([61628.1, 0.1], np.float32), TENTH, HERE).tolist() == [616281, 1]
    assert to_whole(np.array([2**60 + 1, -3]), Fraction(1), HERE).tolist() == [2**60 + 1, -3]
    assert to_whole(np.array([2**63 - 1], np.uint64), Fraction(1), HERE).tolist() == [2**63 - 1]
    assert to_whole(np.array([7, 14], np.int8), Fraction(7, 2), HERE).tolist() == [2, 4]
    assert to_whole(np.zeros(0, bool), TENTH, HERE).tolist() == []


OFF = "must be a whole number of ticks of 0.1"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ([1.0, np.nan, np.nan], InputError, "[1] = nan: must be finite (2 bad rows)"),
        ([np.inf], InputError, "[0] = inf: must be finite (1 bad row)"),
        ([-np.inf], InputError, "[0] = -inf: must be finite (1 bad row)"),
        ([1.0, 1.05], InputError, f"[1] = 1.05: {OFF} (1 bad row)"),
        ([5e-324], InputError, "[0] = 5e-324: must be positive (1 bad row)"),
        ([0.1000002], InputError, f"[0] = 0.1000002: {OFF} (1 bad row)"),
        ([1e308], RangeError, "[0] = 1e+308: the number of steps must fit int64 (1 bad row)"),
        (
            [0.1 * 2**63],
            RangeError,
            "[0] = 9.223372036854776e+17: the number of steps must fit int64 (1 bad row)",
        ),
        ([0.0], InputError, "[0] = 0.0: must be positive (1 bad row)"),
        ([1.0, -0.1], InputError, "[1] = -0.1: must be positive (1 bad row)"),
        ([101.0], InputError, "[0] = 101.0: must be at most 100 (1 bad row)"),
        (objects("1.05"), InputError, f"[0] = '1.05': {OFF} (1 bad row)"),
        (objects(Decimal("0.10000001")), InputError, f"[0] = 0.10000001: {OFF} (1 bad row)"),
        (objects("nan"), InputError, "[0] = 'nan': must be finite (1 bad row)"),
        (objects(Decimal("Infinity")), InputError, "[0] = Infinity: must be finite (1 bad row)"),
        (objects("1_0"), InputError, "[0] = '1_0': must be a number (1 bad row)"),
        (objects("١"), InputError, "[0] = '١': must be a number (1 bad row)"),
        (objects(""), InputError, "[0] = '': must be a number (1 bad row)"),
        (
            objects(Decimal("1e999999")),
            InputError,
            "[0] = 1E+999999: must have at most 400 digits (1 bad row)",
        ),
        (objects("1e9999"), InputError, "[0] = '1e9999': must have at most 400 digits (1 bad row)"),
        (objects(1, True), InputTypeError, "[1] = True: must be a number (1 bad row)"),
        (objects(1, None), InputTypeError, "[1] = null: must be a number (1 bad row)"),
        (objects(1, b"1"), InputTypeError, "[1] = b'1': must be a number (1 bad row)"),
        (objects(1j), InputTypeError, "[0] = 1j: must be a number (1 bad row)"),
    ],
)
def test_to_whole_refuses(values, error, text):
    values = np.asarray(values)
    before = values.copy()
    text = "positions['entry_price']" + text
    assert message(error, to_whole, values, TENTH, HERE, lowest=1, highest=1000, what="tick") == text
    assert np.array_equal(values, before, equal_nan=values.dtype.kind == "f")


@pytest.mark.fast
@pytest.mark.parametrize("kind", ["?", "c16", "M8[s]", "m8[s]", "S3"])
def test_columns_that_are_no_numbers(kind):
    text = message(InputTypeError, to_whole, np.zeros(2, kind), TENTH, HERE)
    assert text.startswith("positions['entry_price']: dtype ")


def whole_reference(value, step):
    quotient = exact(value) / step
    nearest = round(quotient)
    tolerance = Fraction(1, 10**6) if isinstance(value, float) else 0
    return nearest if abs(quotient - nearest) <= tolerance and abs(nearest) < 2**63 else None


STEPS = [
    Fraction(1),
    TENTH,
    Fraction(1, 10**8),
    Fraction(5, 2),
    Fraction(1, 3),
    Fraction(25, 1000),
    Fraction(100),
]
FLOATS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(FLOATS | st.integers(-(10**9), 10**9).map(lambda k: k / 10), min_size=1), st.sampled_from(STEPS)
)
def test_whole_floats_agree_with_fractions(values, step):
    near = [round(exact(value) / step) * step for value in values]
    near = [float(value) * (1 + shift) for value in near for shift in (0, 2e-16, 1e-12, 1e-6 * 1e-6)]
    agree_whole(np.array(values + near), step)


def agree_whole(values, step):
    expected = [whole_reference(value, step) for value in values.tolist()]
    bad = BadRows("t", drop=True)
    bad.resize(len(values))
    found = to_whole(values, step, bad.where("c"))
    assert bad.mask.tolist() == [value is None for value in expected]
    assert found.tolist() == [value or 0 for value in expected]


@pytest.mark.fast
@pytest.mark.parametrize("step", STEPS)
def test_random_prices_agree_with_fractions(step):
    rng = np.random.default_rng(5)
    steps = np.floor(10.0 ** rng.uniform(0, 16, 2000)) * float(step)
    edge = (rng.integers(1, 1000, 500) + rng.choice([1e-6, -1e-6], 500)) * float(step)
    agree_whole(np.concatenate([steps, np.nextafter(steps, np.inf), edge, np.nextafter(edge, 0)]), step)


# Rounded numbers and money.


@pytest.mark.fast
def test_to_money():
    quantum = Decimal("0.01")
    values = objects("0.005", "0.015", Decimal("-0.025"), 0.035, 1, Fraction(1, 3), np.float32(0.1))
    money, missing = to_money(values, quantum, HERE)
    assert money.tolist() == [0, 2, -2, 4, 100, 33, 10]
    assert not missing.any()
    money, missing = to_money(np.array([0.005, 0.015, np.nan]), quantum, HERE, allow_missing=True)
    assert (money.tolist(), missing.tolist()) == ([0, 2, 0], [False, False, True])
    assert to_money(objects(None, 1), quantum, HERE, allow_missing=True)[0].tolist() == [0, 100]
    assert to_rounded(np.array([100.25]), Fraction(1, 10240), HERE).tolist() == [1026560]
    text = message(InputError, to_money, np.array([1.0, np.nan]), quantum, HERE)
    assert text == "positions['entry_price'][1] = nan: must be finite (1 bad row)"
    text = message(InputError, to_money, np.array([-1.0]), quantum, HERE, lowest=0)
    assert text == "positions['entry_price'][0] = -1.0: must not be negative (1 bad row)"
    message(RangeError, to_money, np.array([1e17]), quantum, HERE)


@settings(max_examples=300, deadline=None)
@given(st.lists(FLOATS | FLOATS.map(lambda x: round(x, 3) + 0.0005), min_size=1), st.integers(0, 10))
def test_money_agrees_with_fractions(values, places):
    quantum = Decimal(1).scaleb(-places)
    values = [value for value in values if abs(value) * 10**places < 2**62] or [0.0]
    expected = [round(exact(value) / Fraction(quantum)) for value in values]
    assert to_money(np.array(values), quantum, HERE)[0].tolist() == expected


# Basis.

ENTRIES = st.floats(1e-9, 1e9) | st.integers(1, 10**7).map(lambda k: k / 100) | st.just(5e-324)
LOTS = st.integers(-(10**7), 10**7)
UNITS = st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1000), Fraction(1, 8), Fraction(10**6, 3)])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(LOTS, ENTRIES), min_size=1), UNITS, st.booleans())
def test_basis_agrees_with_fractions(pairs, unit, inverse):
    expected = []
    for lots, entry in pairs:
        value = exact(entry)
        expected.append(-round(lots * unit / value) if inverse else round(lots * unit * value))
    lots = np.array([lots for lots, _ in pairs], np.int64)
    entry = np.array([entry for _, entry in pairs])
    basis = basis_inverse if inverse else basis_linear
    if max(map(abs, expected)) > 2**61:
        message(RangeError, basis, lots, entry, unit, HERE)
        return
    assert basis(lots, entry, unit, HERE).tolist() == expected
    assert basis(lots, entry.astype(str).astype(object), unit, HERE).tolist() == expected


@pytest.mark.fast
def test_random_bases_agree_with_fractions():
    rng = np.random.default_rng(6)
    lots = rng.integers(-(10**6), 10**6, 5000)
    entry = np.concatenate([rng.uniform(1e-4, 1e5, 2500), np.round(rng.uniform(1e-4, 1e5, 2500), 2)])
    for unit in (Fraction(1, 2), Fraction(10**3), Fraction(10**7, 7), Fraction(1, 1000)):
        linear = [round(int(k) * unit * exact(float(x))) for k, x in zip(lots, entry, strict=True)]
        inverse = [-round(int(k) * unit / exact(float(x))) for k, x in zip(lots, entry, strict=True)]
        assert basis_linear(lots, entry, unit, HERE).tolist() == linear
        assert basis_inverse(lots, entry, unit, HERE).tolist() == inverse


@pytest.mark.fast
def test_basis_refuses():
    lots = np.array([1, 2, 3])
    text = message(InputError, basis_linear, lots, np.array([1.0, 0.0, -1.0]), Fraction(1), HERE)
    assert text == "positions['entry_price'][1] = 0.0: must be positive (2 bad rows)"
    text = message(InputError, basis_inverse, lots, objects("1", "0", Decimal(-1)), Fraction(1), HERE)
    assert text == "positions['entry_price'][1] = '0': must be positive (2 bad rows)"
    message(InputError, basis_linear, lots, np.array([1.0, np.nan, np.inf]), Fraction(1), HERE)
    for big in (np.array([1.0, 1e19, 1e308]), objects(1, 10**19, 10**399)):
        text = message(RangeError, basis_linear, lots, big, Fraction(1), HERE)
        assert text.endswith("the value at entry must stay within 2**61 quanta (2 bad rows)")
    bad = BadRows("t", drop=True)
    bad.resize(3)
    found = basis_inverse(lots, np.array([2.0, np.nan, 0.0]), Fraction(3), bad.where("c"))
    assert found.tolist() == [-2, 0, 0]
    assert (
        basis_linear(lots[:2], np.array([2**61, 2**60], np.uint64), Fraction(1), HERE).tolist() == [2**61] * 2
    )


# Integers, ids, words.


@pytest.mark.fast
def test_to_int():
    for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i8"):
        found = to_int(np.array([0, 100], kind), HERE)
        assert found.dtype == np.int64
        assert found.tolist() == [0, 100]
    assert to_int(np.array([2**64 - 1], np.uint64), HERE, highest=2**64 - 1, dtype=np.uint64)[0] == 2**64 - 1
    assert to_int(np.zeros(0), HERE, dtype=np.uint8).dtype == np.uint8


@pytest.mark.fast
@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        (
            np.array([1.9]),
            InputTypeError,
            "[0] = 1.9: must be an integer (the column has dtype float64) (1 bad row)",
        ),
        (
            np.array([7.0]),
            InputTypeError,
            "[0] = 7.0: must be an integer (the column has dtype float64) (1 bad row)",
        ),
        (
            np.array([True]),
            InputTypeError,
            "[0] = True: must be an integer (the column has dtype bool) (1 bad row)",
        ),
        (np.array(["10"]), InputTypeError, "[0] = '10': must be an integer (1 bad row)"),
        (objects(1, "10"), InputTypeError, "[1] = '10': must be an integer (1 bad row)"),
        (objects(1, None, 1.5), InputTypeError, "[1] = null: must be an integer (2 bad rows)"),
        (objects(np.float64(7.9)), InputTypeError, "[0] = 7.9: must be an integer (1 bad row)"),
        (objects(1, True), InputTypeError, "[1] = True: must be an integer (1 bad row)"),
        (
            np.array([1j]),
            InputTypeError,
            "[0] = 1j: must be an integer (the column has dtype complex128) (1 bad row)",
        ),
        (np.array([1, 2**63], np.uint64), RangeError, f"[1] = {2**63}: must fit int64 (1 bad row)"),
        (objects(2**63, -1), RangeError, f"[0] = {2**63}: must fit int64 (1 bad row)"),
        (np.array([11, 5, -1, 0]), InputError, "[0] = 11: must be from 0 to 10 (2 bad rows)"),
    ],
)
def test_to_int_refuses(values, error, text):
    if values.dtype.kind == "U":
        values = values.astype(object)
    assert message(error, to_int, values, HERE, lowest=0, highest=10) == "positions['entry_price']" + text


@pytest.mark.fast
def test_to_ids():
    assert to_ids(np.array([3, -1], np.int32), HERE).dtype == np.int64
    assert to_ids(np.array([3], np.uint64), HERE).dtype == np.int64
    assert to_ids(np.array([2**63], np.uint64), HERE).tolist() == [2**63]
    odd = ["e\u0301", "\u00e9", "\u202eabc", "x" * 2**20, ""]  # NFD, NFC, right-to-left, 1 MiB
    assert to_ids(np.array(odd, object), HERE).tolist() == odd
    assert to_ids(np.array(["a", "b"]), HERE).tolist() == ["a", "b"]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        (objects("a", "b\0"), InputError, "[1] = 'b\\x00': must not contain NUL (1 bad row)"),
        (
            objects("a", "\ud800", "\udfff"),
            InputError,
            "[1] = '\\ud800': must be text that UTF-8 can encode (it has a lone surrogate) (2 bad rows)",
        ),
        (
            objects("x" * (2**20 + 1)),
            InputError,
            f"[0] = '{'x' * 56}...: must be at most 1048576 bytes long (1 bad row)",
        ),
        (objects("a", 1), InputTypeError, "[1] = 1: must be text, as other ids are (1 bad row)"),
        (objects("a", None), InputTypeError, "[1] = null: must be text, as other ids are (1 bad row)"),
        (objects(1, None), InputTypeError, "[0] = 1: must be an integer or text (2 bad rows)"),
        (objects(1, True), InputTypeError, "[0] = 1: must be an integer or text (2 bad rows)"),
        (objects(b"a"), InputTypeError, "[0] = b'a': must be an integer or text (1 bad row)"),
        (objects(2**64), RangeError, f"[0] = {2**64}: must fit int64 (1 bad row)"),
        (
            np.array([1.0]),
            InputTypeError,
            "[0] = 1.0: must be an integer or text (the column has dtype float64) (1 bad row)",
        ),
    ],
)
def test_to_ids_refuses(values, error, text):
    assert message(error, to_ids, values, HERE) == "positions['entry_price']" + text


@pytest.mark.fast
def test_to_choice():
    sides = {"both": 0, "long": 1, "short": 2}
    assert to_choice(np.array(["long", "both"]), sides, HERE).tolist() == [1, 0]
    assert to_choice(objects("long", None, np.nan), sides, HERE, missing=0).tolist() == [1, 0, 0]
    assert to_choice(np.full(2, np.nan), sides, HERE, missing=2).tolist() == [2, 2]
    text = message(InputError, to_choice, objects("long", "LONG"), sides, HERE)
    assert text == "positions['entry_price'][1] = 'LONG': must be one of 'both', 'long', 'short' (1 bad row)"
    message(InputTypeError, to_choice, objects("long", 1), sides, HERE)
    message(InputTypeError, to_choice, objects("long", []), sides, HERE)
    message(InputTypeError, to_choice, np.array([1, 2]), sides, HERE)


# Dropping.


@pytest.mark.fast
def test_dropped_rows_are_told_with_their_first_rule():
    bad = BadRows("positions", drop=True)
    raw = read(
        {
            "account": ["a", "b\0", "c", "d"],
            "size": [1.0, np.nan, 0.05, -3.0],
            "side": ["buy", "?", "?", "buy"],
        },
        bad=bad,
    )
    assert to_ids(raw["account"], bad.where("account")).tolist() == ["a", "", "c", "d"]
    assert to_whole(raw["size"], TENTH, bad.where("size"), lowest=1, what="lot").tolist() == [10, 0, 0, 0]
    assert to_choice(raw["side"], {"buy": 1}, bad.where("side")).tolist() == [1, 0, 0, 1]
    assert bad.keep.tolist() == [True, False, False, False]
    dropped = bad.to_table()
    assert isinstance(dropped, Table)
    assert dropped["row"].tolist() == [1, 2, 3]
    assert dropped["column"].tolist() == ["account", "size", "size"]
    assert dropped["value"].tolist() == ["'b\\x00'", "0.05", "-3.0"]
    assert dropped["rule"][1] == "must be a whole number of lots of 0.1"
    # A wrong type concerns the column: it raises all the same.
    message(InputTypeError, to_int, np.zeros(4), bad.where("margin"))


@pytest.mark.fast
def test_rows_of_a_part_keep_their_numbers():
    bad = BadRows("positions")
    bad.resize(10)
    where = bad.where("size", np.array([4, 8]))
    text = message(InputError, to_whole, np.array([1.0, 0.01]), TENTH, where, what="lot")
    assert text == "positions['size'][8] = 0.01: must be a whole number of lots of 0.1 (1 bad row)"
    bad = BadRows("positions", drop=True)
    bad.resize(10)
    to_whole(np.array([1.0, 0.01]), TENTH, bad.where("size", np.array([4, 8])), what="lot")
    assert np.flatnonzero(bad.mask).tolist() == [8]


@pytest.mark.fast
def test_a_single_value_has_no_row():
    where = Where("index", "BTCUSDT", scalar=True)
    text = message(InputError, to_rounded, np.array([np.nan]), TENTH, where)
    assert text == "index['BTCUSDT'] = nan: must be finite"
