"""Table: read-only columns, and the libraries that take them."""

import copy
import csv
import pickle

import numpy as np
import pytest

from cascade.errors import InputError, InputTypeError
from cascade.records import REPORT_DTYPE
from cascade.tables import Table


@pytest.fixture
def table():
    return Table(
        {
            "price": np.array([100, 101, 103], np.int64),
            "quantity": [5.0, 0.1, np.nan],
            "maker": [True, False, True],
            "account": np.array(["a", "é😀", 'b,"c"']),
            "owner": np.array(["x", None, ""], object),
        }
    )


@pytest.mark.fast
def test_a_table_is_a_dict_that_counts_rows(table):
    assert isinstance(table, dict)
    assert len(table) == table.num_rows == 3
    assert list(table) == list(table.columns) == ["price", "quantity", "maker", "account", "owner"]
    assert len(table.keys()) == 5
    assert "price" in table
    assert "nothing" not in table
    assert dict(table).keys() == table.to_dict().keys()
    assert type(table.to_dict()) is dict
    assert table[["price", "maker"]].columns == ("price", "maker")
    assert table.get("nothing") is None


@pytest.mark.fast
def test_a_table_is_read_only(table):
    with pytest.raises(ValueError, match="read-only"):
        table["price"][0] = 1
    with pytest.raises(InputTypeError, match="read-only"):
        table["price"] = np.zeros(3)
    with pytest.raises(InputTypeError, match="read-only"):
        del table["price"]
    for change in (table.clear, table.popitem, table.update):
        with pytest.raises(InputTypeError, match="read-only"):
            change()
    mine = np.arange(3)
    taken = Table({"a": mine})
    assert mine.flags.writeable
    assert np.shares_memory(taken["a"], mine)


@pytest.mark.fast
def test_unknown_columns_and_keys(table):
    with pytest.raises(KeyError, match="the columns are price, quantity"):
        table["prize"]
    with pytest.raises(InputTypeError, match=r"table\.rows"):
        table[0]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("columns", "error", "text"),
    [
        ({"a": [1, 2], "b": [1]}, InputError, "unequal lengths: a 2, b 1"),
        ({"a": [[1, 2]]}, InputError, r"table\['a'\] has shape \(1, 2\): must be 1-D"),
        ({"a": 1}, InputError, r"shape \(\)"),
        ({"a": np.zeros(1, "M8[s]")}, InputTypeError, "dtype datetime64"),
        ({"a": np.zeros(1, complex)}, InputTypeError, "dtype complex128"),
        ({1: [1]}, InputTypeError, "a column name is 1"),
        ([1, 2], InputTypeError, "a list; must be a mapping"),
        (np.zeros(3), InputTypeError, "must be 1-D with named fields"),
    ],
)
def test_what_is_no_table(columns, error, text):
    with pytest.raises(error, match=text):
        Table(columns)


@pytest.mark.fast
def test_structured_arrays_lose_their_padding():
    table = Table(np.zeros(2, REPORT_DTYPE))
    assert "_pad" not in table
    assert table["price"].dtype == np.int64
    assert table["price"].flags.c_contiguous


@pytest.mark.fast
def test_rows(table):
    assert table.rows(slice(1, None))["price"].tolist() == [101, 103]
    assert table.rows(table["maker"])["price"].tolist() == [100, 103]
    assert table.rows([2, 0, -1])["price"].tolist() == [103, 100, 103]
    assert len(table.rows([])) == 0
    assert len(table[[]].rows(slice(0, 2))) == 2
    with pytest.raises(InputError, match=r"rows\[1\] = 3: must be a row of a table of 3 \(1 bad rows\)"):
        table.rows([0, 3])
    with pytest.raises(InputError, match="a mask of 1 rows"):
        table.rows([True])
    with pytest.raises(InputTypeError, match="must be a slice"):
        table.rows(["a"])


@pytest.mark.fast
def test_equality(table):
    assert table == table.rows(slice(None))
    assert table != table.rows(slice(2))
    assert table != table[["price"]]
    assert table != {"price": 1}
    assert Table({"a": np.array(["x"])}) == Table({"a": np.array(["x"], object)})
    assert Table({"a": np.zeros(1, "i4")}) != Table({"a": np.zeros(1, "i8")})
    with pytest.raises(TypeError, match="unhashable"):
        hash(table)


@pytest.mark.fast
def test_pickle_and_copy(table):
    for again in (pickle.loads(pickle.dumps(table)), copy.copy(table), copy.deepcopy(table), table.copy()):
        assert again == table
        assert not again["price"].flags.writeable


@pytest.mark.fast
def test_empty_tables():
    empty = Table({"price": np.zeros(0, np.int64), "name": np.zeros(0, "U3")})
    assert len(empty) == 0
    assert empty  # it has columns
    assert not Table({})
    assert repr(empty).startswith("Table: 0 rows x 2 columns")
    assert repr(Table({})) == "Table: 0 rows x 0 columns"


@pytest.mark.fast
def test_repr():
    table = Table({"price": np.arange(1000), "name": np.full(1000, "ab\ncd"), "value": np.full(1000, 0.1)})
    lines = repr(table).splitlines()
    assert lines[0] == "Table: 1,000 rows x 3 columns"
    assert lines[3] == "0        0  ab\\ncd      0.1"
    assert lines[8] == "..."
    assert lines[-1] == "999    999  ab\\ncd      0.1"
    wide = repr(Table({f"column_{i}": np.zeros(1) for i in range(20)}))
    assert max(map(len, wide.splitlines()[:-1])) <= 110
    assert "more columns: column_" in wide


@pytest.mark.fast
def test_asarray(table):
    records = np.asarray(table)
    assert records.dtype.names == table.columns
    assert records["price"].tolist() == [100, 101, 103]
    assert Table(records) == table


@pytest.mark.fast
def test_csv_reads_back_exactly(table, tmp_path):
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.standard_normal(1000) * 10.0 ** rng.integers(-300, 300, 1000), [-0.0, np.inf]]
    )
    path = tmp_path / "t.csv"
    Table({"v": values, "i": np.full(1002, 2**63 - 1)}).write_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert np.array([float(row["v"]) for row in rows]).tobytes() == values.tobytes()
    assert {int(row["i"]) for row in rows} == {2**63 - 1}
    table.write_csv(path)
    assert path.read_bytes().decode().splitlines() == [
        "price,quantity,maker,account,owner",
        "100,5.0,True,a,x",
        "101,0.1,False,é😀,",
        '103,nan,True,"b,""c""",',
    ]


def test_pandas(table):
    pandas = pytest.importorskip("pandas")
    for frame in (table.to_pandas(), pandas.DataFrame(table)):
        assert list(frame.columns) == list(table)
        assert len(frame) == 3
        assert frame["price"].tolist() == [100, 101, 103]
        assert frame["price"].dtype == np.int64
        assert frame["maker"].dtype == np.bool_
        assert frame["account"].tolist() == ["a", "é😀", 'b,"c"']
    assert list(table.rows([]).to_pandas().columns) == list(table)
    assert len(table[[]].to_pandas()) == 3


def test_polars(table):
    polars = pytest.importorskip("polars")
    for frame in (table.to_polars(), polars.DataFrame(table)):
        assert frame.schema == {
            "price": polars.Int64,
            "quantity": polars.Float64,
            "maker": polars.Boolean,
            "account": polars.String,
            "owner": polars.String,
        }
        assert frame["owner"].to_list() == ["x", None, ""]
    assert polars.DataFrame(table.rows([])).schema == table.to_polars().schema


def test_pyarrow_and_parquet(table, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    for arrow in (table.to_arrow(), pyarrow.table(table)):
        arrow.validate(full=True)
        assert arrow["account"].to_pylist() == ["a", "é😀", 'b,"c"']
        assert arrow["owner"].to_pylist() == ["x", None, ""]
        assert np.shares_memory(arrow["price"].chunk(0).to_numpy(), table["price"])
    table.write_parquet(tmp_path / "t.parquet")
    again = parquet.read_table(tmp_path / "t.parquet")
    assert again["price"].to_pylist() == [100, 101, 103]


@pytest.mark.fast
def test_a_missing_library_is_named(table, monkeypatch):
    import sys

    for name, method in (
        ("pandas", table.to_pandas),
        ("polars", table.to_polars),
        ("pyarrow", table.to_arrow),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ModuleNotFoundError, match=f"needs {name}: pip install {name}"):
            method()
