"""Margin tiers read from files: tables and formulas, every symbol, and what is wrong with a file."""

import copy
import itertools
import json
import os
import pickle
from fractions import Fraction
from pathlib import Path

import pytest

import cascade as cs

SHARED = Path(os.environ.get("CASCADE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
FILES = sorted((SHARED / "data" / "margin_tiers").glob("*.json"))
HEAD = {"exchange": "test", "as_of": "2026-01-01", "source": "made up", "unit": "USDT"}
ROWS = [[0, 100, 0.1, 0.05, 0], [100, 300, 0.2, 0.1, 5], [300, None, 0.5, 0.25, 50]]
BITMEX = {
    "initMargin": 0.01,
    "maintMargin": 0.0035,
    "riskLimit": 20_000_000_000,
    "riskStep": 10_000_000_000,
    "settlCurrency": "XBt",
}
GATE = {
    "maintenance_rate": "0.005",
    "leverage_max": "100",
    "risk_limit_base": "1000000",
    "risk_limit_step": "1000000",
    "risk_limit_max": "3000000",
}
DYDX = {
    "initialMarginFraction": "0.04",
    "maintenanceMarginFraction": "0.03",
    "baselinePositionSize": "9",
    "incrementalPositionSize": "1.5",
    "incrementalInitialMarginFraction": "0.01",
    "maxPositionSize": "170",
}
DELTA = {
    "initial_margin": "1",
    "maintenance_margin": "0.5",
    "initial_margin_scaling_factor": "0.1",
    "maintenance_margin_scaling_factor": "0.05",
    "max_leverage_notional": "5",
}


def written(tmp_path, **fields):
    path = tmp_path / "tiers.json"
    path.write_text(json.dumps(HEAD | fields))
    return path


def made(rows):
    return cs.Instrument("X", tick_size="0.1", lot_size="0.001", tiers=rows)


@pytest.mark.skipif(not FILES, reason=f"no tiers in {SHARED}; set CASCADE_SHARED")
def test_every_file_is_here():
    assert len(FILES) == 9


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_symbol_of_every_file_makes_an_instrument(file):
    given = json.loads(file.read_text())
    table = cs.io.read_tiers(file)
    assert list(table) == list(given.get("tiers") or given["formula"])
    assert (table.exchange, table.as_of, table.source) == tuple(
        given[name] for name in ("exchange", "as_of", "source")
    )
    for symbol, rows in table.items():
        tiers = made(rows).tiers
        assert tiers[0].floor == 0
        assert all(0 < tier.maintenance_rate <= tier.initial_rate <= 1 for tier in tiers)
        for below, tier in itertools.pairwise(tiers):
            assert below.cap == tier.floor
            jump = tier.amount - below.amount - tier.floor * (tier.maintenance_rate - below.maintenance_rate)
            if "tiers" in given:  # tables: continuous, up to what the file's digits leave
                assert abs(jump) <= Fraction(1, 10**6) * max(1, tier.amount)
            else:  # formulas hold for the whole position
                assert (below.amount, tier.amount) == (0, 0)
        assert made(table.at_price(symbol, 100)).tiers[0].maintenance_rate == tiers[0].maintenance_rate


@pytest.mark.parametrize(
    "file", [f for f in FILES if "tiers" in json.loads(f.read_text())], ids=lambda f: f.stem
)
def test_tables_are_the_files_numbers(file):
    given, table = json.loads(file.read_text())["tiers"], cs.io.read_tiers(file)
    for symbol, rows in given.items():
        for row, back in zip(rows, table[symbol], strict=True):
            assert back[:4] == row[:4]
            assert row[4] is None or back[4] == row[4]


def test_a_table(tmp_path):
    table = cs.io.read_tiers(written(tmp_path, tiers={"BTC/USDT:USDT": ROWS, "ETH/USDT:USDT-261225": ROWS}))
    assert table["BTC/USDT:USDT"] == table["BTCUSDT"] == table.rows("BTCUSDT")
    assert table["ETHUSDT_261225"] == ROWS
    assert "BTCUSDT" not in table
    assert table.symbol("BTCUSDT") == "BTC/USDT:USDT"
    table.rows("BTCUSDT")[0][0] = 7
    assert table["BTCUSDT"] == ROWS
    assert (table.measure, table.unit, table.slopes) == ("notional", "USDT", {})
    assert table.at_price("BTCUSDT", 50) == ROWS
    assert repr(table) == "<TierTable test 2026-01-01: 2 symbols, USDT>"
    again = pickle.loads(pickle.dumps(table))
    assert again == table == copy.deepcopy(table)
    assert again["BTCUSDT"] == ROWS
    with pytest.raises(cs.InputError, match=r"'BTCUSD': test \(2026-01-01\) has 2 symbols.*near it: BTCUSDT"):
        table["BTCUSD"]
    with pytest.raises(cs.InputError, match=r"not this one; near it: ETHUSDT_261225$"):
        table["ETH"]
    with pytest.raises(cs.InputError, match=r"not this one; the first: "):
        table["XX"]
    with pytest.raises(cs.InputTypeError, match="must be a string"):
        table[7]


def test_missing_amounts_follow_from_continuity(tmp_path):
    rows = [[*row[:4], None] for row in ROWS]
    assert cs.io.read_tiers(written(tmp_path, tiers={"X": rows}))["X"] == ROWS


def test_contracts_become_coin_at_a_price(tmp_path):
    path = written(tmp_path, tiers={"pi_xbtusd": ROWS}, unit="contracts (1 USD each for inverse)")
    table = cs.io.read_tiers(path)
    assert table.measure == "contracts"
    assert table.symbol("BTC/USD:BTC") == "pi_xbtusd"
    assert table.at_price("pi_xbtusd", 50)[1] == [2.0, 6.0, 0.2, 0.1, 0.1]
    with pytest.raises(cs.InputError, match="price = 0"):
        table.at_price("pi_xbtusd", 0)


def test_bitmex_steps_come_in_coin_and_for_the_whole_position(tmp_path):
    table = cs.io.read_tiers(written(tmp_path, formula={"XBTUSD": BITMEX}))
    rows = table["BTC/USD:BTC"]
    assert rows[0] == [0.0, 200.0, 0.01, 0.0035, 0.0]
    assert rows[1] == [200.0, 300.0, 0.0135, 0.007, 0.0]
    assert rows[-1][2] == 1
    assert len(rows) == 1 + 283  # until the initial rate is 1


def test_gate_steps_end_at_the_largest_limit(tmp_path):
    rows = cs.io.read_tiers(written(tmp_path, formula={"BTC_USDT": GATE}))["BTC/USDT:USDT"]
    assert rows == [
        [0.0, 1e6, 0.01, 0.005, 0.0],
        [1e6, 2e6, 0.015, 0.01, 0.0],
        [2e6, 3e6, 0.02, 0.015, 0.0],
    ]
    wide = GATE | {"maintenance_rate": "0.5", "leverage_max": "2"}
    assert [row[2:4] for row in cs.io.read_tiers(written(tmp_path, formula={"X": wide}))["X"]] == [
        [0.5, 0.5],
        [1.0, 1.0],
        [1.0, 1.0],
    ]


def test_dydx_counts_base_units(tmp_path):
    table = cs.io.read_tiers(written(tmp_path, formula={"BTC-USD": DYDX}))
    assert table["BTC-USD"][:2] == [[0.0, 9.0, 0.04, 0.03, 0.0], [9.0, 10.5, 0.05, 0.03, 0.0]]
    assert table["BTC-USD"][-1][:3] == [168.0, 170.0, 1.0] or table["BTC-USD"][-1][1] == 170.0
    assert table.measure == "base"
    assert table.at_price("BTC-USD", 60_000)[1][:3] == [540_000.0, 630_000.0, 0.05]


def test_delta_gives_base_rates_and_slopes(tmp_path):
    table = cs.io.read_tiers(written(tmp_path, formula={"BTCUSD": DELTA}))
    assert table["BTCUSD"] == [[0.0, None, 0.01, 0.005, 0.0]]
    assert table.slopes["BTCUSD"] == (5, Fraction(1, 1000), Fraction(1, 2000))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tiers": {"X": ROWS[1:]}}, r"tiers.json: X\[0\].floor = 100: the first tier must start at 0"),
        ({"tiers": {"X": [ROWS[0], ROWS[2]]}}, r"X\[1\].floor = 300: must start where the tier before ends"),
        ({"tiers": {"X": [[0, None, 0.1, 0.05, 0], ROWS[1]]}}, r"X\[1\].floor = 100"),
        ({"tiers": {"X": [[0, None, 0.1, 0.2, 0]]}}, r"X\[0\].maintenance_rate"),
        ({"tiers": {"X": [[0, None, 1.5, 0.2, 0]]}}, r"X\[0\].initial_rate = 1.5: must be in \[0, 1\]"),
        ({"tiers": {"X": [[0, None, 0.1, 0.05]]}}, r"X\[0\] = \[0, None.*must be \[floor, cap"),
        (
            {"tiers": {"X": [ROWS[0], [100, None, 0.2, 0.1, None]]}},
            r"X\[1\].amount: must be given in every row",
        ),
        ({"tiers": {"X": []}}, "X: must be a list of rows"),
        ({"tiers": {"X": 7}}, "X: must be a list of rows"),
        ({"tiers": {}}, "must have an object 'tiers' or an object 'formula'"),
        ({}, "must have an object 'tiers' or an object 'formula'"),
        ({"tiers": {"X": ROWS}, "unit": 7}, "unit = 7: must be a string"),
        ({"formula": {"X": {"a": 1}}}, "unknown fields a: must be those of BitMEX"),
        ({"formula": {"X": 1}}, "X: must be an object of fields"),
        ({"formula": {"X": BITMEX | {"riskStep": 0}}}, "X.riskStep = 0: must be > 0"),
        ({"formula": {"X": BITMEX | {"settlCurrency": "EUR"}}}, "X.settlCurrency = 'EUR'"),
        ({"formula": {"X": BITMEX, "Y": {}}}, "Y.settlCurrency = null"),
        ({"formula": {"X": BITMEX | {"maintMargin": 0.02}}}, r"X\[0\].maintenance_rate"),
        ({"formula": {"X": GATE | {"risk_limit_max": "5"}}}, "X.risk_limit_max = '5': must be >="),
        ({"formula": {"X": GATE | {"risk_limit_step": "0.001"}}}, "X: gives more than 100,000 tiers"),
        ({"formula": {"X": GATE | {"leverage_max": "x"}}}, "X.leverage_max = 'x': must be a number"),
        ({"formula": {"X": GATE, "Y": {"maintenance_rate": "0.1"}}}, "Y.risk_limit_base: missing"),
        ({"formula": {"X": DYDX | {"maxPositionSize": "-1"}}}, "X.maxPositionSize = '-1': must be > 0"),
        ({"formula": {"X": DELTA | {"maintenance_margin": "7"}}}, r"X\[0\].maintenance_rate"),
    ],
)
def test_bad_files(tmp_path, fields, text):
    with pytest.raises(cs.InputError, match=text):
        cs.io.read_tiers(written(tmp_path, **fields))


def test_files_that_are_none(tmp_path):
    path = tmp_path / "tiers.json"
    with pytest.raises(cs.InputError, match="no such file"):
        cs.io.read_tiers(path)
    for text, said in (("{", "not JSON"), ("[]", "must be an object"), ("[" * 10**5, "not JSON")):
        path.write_text(text)
        with pytest.raises(cs.InputError, match=said):
            cs.io.read_tiers(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(cs.InputError, match="cannot be read"):
        cs.io.read_tiers(path)
    with pytest.raises(cs.InputTypeError, match="must be a path"):
        cs.io.read_tiers(7)
