"""The examples: each says which question it answers, runs as it stands, and gives an answer that holds."""

import re
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NAMES = ["fund_at_999", "three_venues", "what_tips_btc", "what_var_misses", "which_accounts_matter"]
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the examples are not beside the tests")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def numbers(line):
    return [float(x.replace(",", "")) for x in re.findall(r"-?[\d,]*\d(?:\.\d+)?(?![\w])", line)]


def rows(text, pattern):
    return [line for line in text.splitlines() if re.match(pattern, line)]


def test_all_of_them_are_tested_and_say_their_question():
    scripts = sorted(FOLDER.glob("*.py"))
    assert [script.stem for script in scripts] == NAMES
    for script in scripts:
        first = script.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith('"""'), script.name
        assert first.endswith("?"), script.name


def test_what_tips_btc(run):
    text = run("what_tips_btc")
    tip, below = re.search(r"sale of ([\d,]+) BTC: 1 BTC less ends ([\d.]+)% lower", text).groups()
    above = re.search(r"this much ([\d.]+)% lower", text)[1]
    assert float(above) > 2 * float(below)
    table = {numbers(line)[0]: numbers(line)[1] for line in rows(text, r"\s+[\d,]+\s+-")}
    size = float(tip.replace(",", ""))
    assert table[size - 1] == -float(below)  # the table's own runs
    assert table[size] == -float(above)


def test_how_much_fund(run):
    text = run("fund_at_999")
    levels = [numbers(line)[-1] for line in rows(text, r"\s+9\d\.\d%")]
    assert len(levels) == 3
    assert 0 < levels[0] < levels[1] < levels[2]
    (quarter, often), (whole, seldom) = (numbers(line) for line in rows(text, r"\s+[\d,]+\s+[\d.]+%$"))
    assert whole == pytest.approx(levels[2])
    assert quarter == pytest.approx(whole / 4, abs=1)
    assert seldom < often
    assert seldom < 0.5  # percent of days that the answer was not made from


def test_what_var_misses(run):
    text = run("what_var_misses")
    drops = [numbers(line.replace("%", "")) for line in rows(text, "price_drop")]
    assert len(drops) == 2
    for _, es, low, high, static, missed in drops:
        assert low <= es <= high
        assert static < es
        assert missed == pytest.approx((1 - static / es) * 100, abs=1)


def test_which_accounts_matter(run):
    text = run("which_accounts_matter")
    shown = [numbers(line) for line in rows(text, r"\s+\d+\s+\d")]
    downstream = [row[3] for row in shown[:6]]
    assert downstream == sorted(downstream, reverse=True)
    assert downstream[-1] > 0
    assert [row[2] for row in shown[6:]] == sorted(row[2] for row in shown[6:])
    together = [numbers(line) for line in rows(text, "the 50 ")]
    whole = float(re.search(r"([\d.]+)M USDT liquidated", text)[1])
    assert len(together) == 2
    for _, left, _ in together:
        assert left < 0.9 * whole


def test_three_venues(run):
    text = run("three_venues")
    own = {line[:25].strip(): numbers(line[25:]) for line in rows(text, "(Binance|Hyperliquid|OKX)")}
    assert len(own) == 6
    for name in ("Binance USD-M", "Hyperliquid", "OKX"):
        held, moved = own[f"{name}, own mark"], own[f"{name}, own book"]
        assert held[1] <= moved[1]  # notional: an index that holds the mark can only help
        assert held[3] == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize(
    ("name", "arguments", "file"),
    [
        ("fund_at_999", ("--scenarios", 40, "--accounts", 200, "--report"), "a.html"),
        ("three_venues", ("--accounts", 200, "--report"), "a.html"),
        ("what_tips_btc", ("--accounts", 500, "--picture"), "a.png"),
        ("what_var_misses", ("--scenarios", 20, "--accounts", 200, "--report"), "a.html"),
        ("what_var_misses", ("--scenarios", 20, "--accounts", 200, "--picture"), "a.svg"),
        ("which_accounts_matter", ("--accounts", 500, "--picture"), "a.png"),
    ],
)
def test_files_only_when_asked_for(run, name, arguments, file, tmp_path):
    pytest.importorskip("matplotlib")
    run(name, *arguments[:-1])
    assert not list(tmp_path.iterdir())
    run(name, *arguments, file)
    assert [path.name for path in tmp_path.iterdir()] == [file]
    assert (tmp_path / file).stat().st_size > 5_000
