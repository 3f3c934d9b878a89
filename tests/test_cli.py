"""The `cascade` command: the demonstration, scenarios of one's own files, and errors."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cascade as cs
from cascade import _cli
from cascade._cli import main
from cascade._scenario import load_scenario

EXAMPLE = Path(__file__).parent.parent / "examples" / "scenario"


@pytest.fixture
def scenario(tmp_path):
    """A copy of the example, to spoil."""
    folder = tmp_path / "scenario"
    shutil.copytree(EXAMPLE, folder)
    return folder / "scenario.toml"


def spoil(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def error_of(capsys, *arguments):
    """The one line of a refused command."""
    assert main([str(a) for a in arguments]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert err[0].startswith("cascade: error: ")
    return err[0]


# The demonstration


def test_demo(capsys):
    assert main(["demo", "--accounts", "400"]) == 0
    out, err = capsys.readouterr()
    assert "all prices -8%" in out
    assert "higher order" in out
    assert "thinner books" in out
    assert "cs.datasets.binance_market(accounts=400, rng=1)" in out
    assert "in all" in err
    assert max(map(len, out.splitlines())) <= 110


def test_demo_is_what_it_says_in_python(capsys):
    assert (
        main(["demo", "--accounts", "400", "--seed", "5", "--price", "-0.1", "--depth", "0.9", "--quiet"])
        == 0
    )
    out, err = capsys.readouterr()
    market = cs.datasets.binance_market(accounts=400, rng=5)
    assert out == f"{market.run(cs.Shock(price=-0.1, depth=0.9))}\n"
    assert err == ""


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_demo_writes(tmp_path, capsys, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "a" / "b"
    assert main(["demo", "--accounts", "400", "--quiet", "--format", form, "--out", str(out)]) == 0
    market = cs.datasets.binance_market(accounts=400, rng=1)
    result = market.run(cs.Shock(price=-0.08))
    for name in _cli.TABLES:
        assert (out / f"{name}.{form}").stat().st_size > 0
    if form == "csv":
        with open(out / "waves.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [float(row["notional"]) for row in rows] == result.waves["notional"].tolist()
    said = json.loads((out / "summary.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert said["result_digest"] == result.digest
    assert said["summary"]["liquidated_accounts"] == result.summary["liquidated_accounts"]
    assert (out / "report.txt").read_text(encoding="utf-8") == f"{market}\n\n{result}\n"


def test_picture_needs_matplotlib(tmp_path, capsys, monkeypatch):
    find = _cli.importlib.util.find_spec
    monkeypatch.setattr(
        _cli.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    assert main(["demo", "--accounts", "400", "--out", str(tmp_path)]) == 0
    assert "no cascade.png: it needs matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "cascade.png").exists()


def test_nothing_that_json_cannot_say():
    assert _cli._strict({"a": [float("nan"), float("inf"), 1.5], "b": None}) == {
        "a": [None, None, 1.5],
        "b": None,
    }


# Scenarios


def test_example(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", str(EXAMPLE / "scenario.toml"), "--format", "csv", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "ALPHA falls 6%" in text
    assert "market sell of 100 ALPHA" in text
    said = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert said["rules"]["surplus"] == "fund"
    assert said["summary"]["liquidated_accounts"] > 0
    assert said["audit"]["conserved"]


def test_example_on_both_engines():
    scenario = load_scenario(EXAMPLE / "scenario.toml")
    digests = {scenario.market.run(scenario.shock, engine=name).digest for name in ("core", "reference")}
    assert len(digests) == 1


def test_parquet_is_the_same_market(scenario):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    digest = load_scenario(scenario).market.digest
    for name in ("accounts", "positions", "beta_book", "alpha_orders", "tiers"):
        path = scenario.parent / f"{name}.csv"
        pandas.read_csv(path).to_parquet(path.with_suffix(".parquet"))
        spoil(scenario, f'"{name}.csv"', f'"{name}.parquet"')
    assert load_scenario(scenario).market.digest == digest


def test_numbers_are_exact(scenario):
    market = load_scenario(scenario).market
    bases = set(market.state().row_basis.tolist())
    with open(scenario.parent / "positions.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            value = cs.instruments.exact(row["size"], "size") * cs.instruments.exact(
                row["entry_price"], "entry"
            )
            assert round(value / market.quantum) in bases


def test_less_recorded_fewer_tables(scenario, tmp_path, capsys):
    spoil(scenario, 'record = "all"', 'record = "summary"')
    assert main(["run", str(scenario), "--quiet", "--format", "csv", "--out", str(tmp_path / "out")]) == 0
    found = {path.stem for path in (tmp_path / "out").glob("*.csv")}
    assert found == {"waves", "accounts", "positions"}


# What is wrong


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "positions.csv",
            "676.4",
            "676.45",
            "positions.csv, line 2: positions['size'][0] = '676.45': must be a whole",
        ),
        (
            "positions.csv",
            "user-002,ALPHA",
            "user-002,GAMMA",
            "positions.csv, line 3: positions['instrument'][1]",
        ),
        (
            "accounts.csv",
            "8.47",
            "much",
            "accounts.csv, line 3: accounts['balance'][1] = 'much': must be a number",
        ),
        ("accounts.csv", "8.47,-", "8.47", "accounts.csv, line 3: 2 fields where the header has 3"),
        (
            "accounts.csv",
            "user_id",
            "user",
            "accounts.csv: columns['account'] = 'user_id': the table has no such",
        ),
        (
            "beta_book.csv",
            "bid,39.96",
            "both,39.96",
            "beta_book.csv, line 3: book['side'][1] = 'both': must be one",
        ),
        (
            "beta_book.csv",
            "bid,39.96",
            "bid,39.98",
            "beta_book.csv, line 3: bids['price'][1] = '39.98': must be sorted",
        ),
        ("alpha_bids.csv", "499.75", "600", "alpha_bids.csv: book['ALPHA']: best bid 600.0 >= best ask"),
        (
            "alpha_orders.csv",
            "1,user-043",
            "1,nobody",
            "alpha_orders.csv, line 2: orders['account'][0] = 'nobody'",
        ),
        (
            "alpha_orders.csv",
            "user-043,buy",
            "user-043,up",
            "alpha_orders.csv, line 2: orders['side'][0] = 'up'",
        ),
        ("tiers.csv", "0,100000", "5,100000", "tiers.csv: instrument['ALPHA'].tiers[0].floor = '5'"),
        (
            "scenario.toml",
            "lot_size",
            "lot",
            "scenario.toml: instrument[0]: unknown key 'lot' (known: symbol",
        ),
        ("scenario.toml", "accounts.csv", "none.csv", "none.csv: No such file or directory"),
        (
            "scenario.toml",
            '"binance_usdm"',
            '"nowhere"',
            "scenario.toml: rules.venue = 'nowhere': must be a venue",
        ),
        (
            "scenario.toml",
            'surplus = "fund"',
            'surplus = "me"',
            "scenario.toml: rules.surplus = 'me': must be one of",
        ),
        (
            "scenario.toml",
            'surplus = "fund"',
            'breakers = ["luld"]',
            "scenario.toml: rules.breakers: a scenario file cannot have price bands and circuit breakers",
        ),
        ("scenario.toml", "depth = 0.75", 'depth = "x"', "scenario.toml: shock.depth"),
        ("scenario.toml", "fund = 20_000", "fund = -1", "scenario.toml: market.fund"),
        ("scenario.toml", "fund = 20_000", "fund = ", "scenario.toml: not TOML: "),
        ("scenario.toml", 'record = "all"', 'record = "most"', "run: record = 'most': must be one of"),
    ],
)
def test_errors_say_where(scenario, capsys, file, old, new, said):
    spoil(scenario.parent / file, old, new)
    assert said in error_of(capsys, "run", scenario, "--quiet")


def test_no_such_scenario(capsys, tmp_path):
    assert "nothing.toml: No such file" in error_of(capsys, "run", tmp_path / "nothing.toml")


def test_out_is_a_file(capsys, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("")
    assert "taken" in error_of(capsys, "demo", "--accounts", "400", "--quiet", "--out", taken)


def test_too_few_accounts(capsys):
    assert "accounts = 1" in error_of(capsys, "demo", "--accounts", "1", "--quiet")


def test_interrupted(capsys, monkeypatch):
    def interrupt(*args, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(_cli.datasets, "binance_market", interrupt)
    assert main(["demo", "--quiet"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [[], ["demo", "--price", "x"], ["run"], ["walk"]])
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: cascade" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["run", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    assert "--" in capsys.readouterr().out


def test_as_a_module(tmp_path):
    """From outside the tree, as a user runs it."""
    root = str(Path(cs.__file__).parent.parent)
    code = f"import sys, runpy; sys.path.insert(0, {root!r}); sys.argv = ['cascade', '--version']; " + (
        "runpy.run_module('cascade', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"cascade {cs.__version__}\n"


def test_importing_does_not_import_matplotlib(tmp_path):
    root = str(Path(cs.__file__).parent.parent)
    code = f"import sys; sys.path.insert(0, {root!r}); import cascade; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
