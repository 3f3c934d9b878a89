"""Reports: a page parses, loads nothing, holds the run's numbers, and shows names as names."""

import pickle
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

import cascade as cs
from cascade._report import amount

VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = '<script>alert("1")</script>'
NAMES = (HOSTILE, "\"'><img src=x onerror=alert(1)>", "$\\frac{1}{2$", "]]>\x01&amp;", "a--><b>")


class Page(HTMLParser):
    """Tags must close in order; texts, tags and attributes are kept."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "\n".join(self.texts)


def read(path):
    """The page, checked for what every page keeps to."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", text)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    for tag, key, value in page.attributes:
        assert not key.startswith("on"), (tag, key)
        if key in ("src", "href"):
            assert value.startswith(("#", "data:image/png;")), (tag, key, value[:40])
    ids = [value for _, key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    for svg in re.findall(r"<svg .*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)
    return page


@pytest.fixture(scope="module")
def result():
    market = cs.datasets.binance_market(accounts=2_000, rng=1)
    return market.run(cs.Shock(price=-0.08, depth=0.6))


@pytest.fixture(scope="module")
def hostile():
    """Accounts and an instrument with names that are markup, formulas and control characters."""
    x = cs.Instrument("X<b>&$", tick_size=1, lot_size=1, tiers="0.005")
    market = cs.Market(x, fund=100)
    quantity = np.full(500, 2)
    market.load_book(
        x.symbol, {"price": np.arange(999, 499, -1), "quantity": quantity},
        {"price": np.arange(1_000, 1_500), "quantity": quantity}, complete=True,
    )  # fmt: skip
    market.set_prices(last={x.symbol: 1_000})
    n = len(NAMES)
    market.load_positions(
        {"account": list(NAMES), "instrument": [x.symbol] * n, "size": [30] * n, "entry_price": [1_000] * n,
         "margin": [600 + 300 * k for k in range(n)]}
    )  # fmt: skip
    return market


def test_a_run(result, tmp_path):
    pytest.importorskip("matplotlib")
    path = result.report(tmp_path / "run.html", currency="USDT")
    assert path == tmp_path / "run.html"
    page, s = read(path), result.summary
    btc = s["price"]["BTCUSDT"]
    for number in (
        f"{s['liquidated_accounts']:,}", amount(s["liquidated_notional"]), amount(s["higher_order_notional"]),
        f"{s['amplification']:.2f} times", f"{s['first_order_notional']:,.0f}", f"{s['deficit']:,.2f}",
        f"{s['adl_notional']:,.2f}", f"{btc['low'] / btc['start'] - 1:.2%}",
        f"{result.liquidations['notional'].max():,.0f}",
    ):  # fmt: skip
        assert any(number in text for text in page.texts), number
    for said in ("book_median", "BTCUSDT", "all prices -8%, depth of all books x 0.6", "USDT", result.digest):
        assert said in page.text, said
    assert page.tags.count("svg") == 8
    assert page.tags.count("figcaption") == 8
    for word in ("prefers-color-scheme: dark", "@media print", "Content-Security-Policy"):
        assert word in path.read_text(), word
    assert path.stat().st_size < 600_000


def test_equal_runs_make_equal_pages(tmp_path):
    pytest.importorskip("matplotlib")
    texts = []
    for name in ("a.html", "b.html"):
        result = cs.datasets.constant_depth().run(cs.Shock(orders={"X": -500}))
        texts.append(result.report(str(tmp_path / name)).read_bytes())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("record", ["liquidations", "summary"])
def test_what_was_not_recorded_is_named(record, tmp_path):
    market = cs.datasets.binance_market(accounts=500, rng=1)
    page = read(market.run(cs.Shock(price=-0.08), record=record).report(tmp_path / "run.html"))
    assert f"record={record!r}" in page.text
    assert ("The largest liquidations" in page.text) == (record == "liquidations")


@pytest.mark.parametrize("shock", [None, cs.Shock(orders={"X": -500})])
def test_quiet_and_textbook_runs(shock, tmp_path):
    page = read(cs.datasets.constant_depth().run(shock).report(tmp_path / "run.html"))
    assert "nobody is left to liquidate" in page.text


def test_a_reader_is_warned_where_the_book_ends(tmp_path):
    market = cs.datasets.binance_market(accounts=2_000, rng=1)
    result = market.run(cs.Shock(price=-0.08, depth=0.05))
    assert result.summary["known_until"]
    page = read(result.report(tmp_path / "run.html"))
    assert "the true mark, are unknown" in page.text


@pytest.mark.parametrize("pictures", [True, False])
def test_names_are_shown_as_names(hostile, pictures, tmp_path, monkeypatch):
    if pictures:
        pytest.importorskip("matplotlib")
    else:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = hostile.run(cs.Shock(orders={"X<b>&$": -140}))
    assert result.summary["liquidated_accounts"] == len(NAMES)
    path = result.report(tmp_path / "run.html", title=HOSTILE + "$x$", currency="<i>")
    page, text = read(path), path.read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "\x01" not in text
    for name in NAMES:
        assert name.replace("\x01", "\\x01") in page.text, name  # what the reader sees
    swept = hostile.sweep([cs.Shock(cash={HOSTILE: -1}), cs.Shock({HOSTILE: 0.1})])
    assert swept.failed == 1
    page = read(swept.report(tmp_path / "sweep.html", title=HOSTILE, currency=HOSTILE))
    assert HOSTILE in page.text


def test_without_matplotlib_the_page_says_so(result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = read(result.report(tmp_path / "run.html"))
    assert "no pictures" in page.text
    assert "matplotlib" in page.text
    assert "svg" not in page.tags
    assert f"{result.summary['first_order_notional']:,.0f}" in page.text


def test_the_callers_style_stays_and_is_not_used(result, tmp_path):
    mpl = pytest.importorskip("matplotlib")
    plain = result.report(tmp_path / "a.html").read_bytes()
    with mpl.rc_context({"text.color": "red", "font.size": 30}):
        styled = result.report(tmp_path / "b.html").read_bytes()
        assert mpl.rcParams["font.size"] == 30
    assert styled == plain


# -- sweeps --------------------------------------------------------------------------------------------------
def draw(rng, k):
    return cs.Shock(price=float(rng.normal(0, 0.05)))


def test_a_sweep(tmp_path):
    pytest.importorskip("matplotlib")
    market = cs.datasets.binance_market(accounts=500, rng=1)
    swept = market.sweep(draw, n=200, rng=3)
    page = read(swept.report(tmp_path / "sweep.html", currency="USDT"))
    loss = swept["fund_start"] - swept["fund_end"] + swept["socialised"] + swept["deficit"]
    worst = np.sort(loss)[::-1]
    for number in (amount(worst[2]), amount(worst[:2].mean()), amount(worst[0]), amount(loss.mean())):
        assert number in page.texts, number  # the 99% value at risk and shortfall of 200, the worst, the mean
    for said in ("200 shocks drawn by draw", "book_median", f"Seed {swept.seed}", "settled", "USDT"):
        assert said in page.text, said
    assert "99.9%" not in page.text  # a fifth of a scenario
    assert page.tags.count("svg") == 3
    assert str(int(np.argmax(loss))) in page.texts


def test_moves_and_shocks_in_words(tmp_path):
    market = cs.datasets.binance_market(accounts=200, rng=1)
    swept = market.sweep({"BTCUSDT": [-0.05, -0.1], "ETHUSDT": [0.0, -0.02]}, max_waves=3)
    page = read(swept.report(tmp_path / "a.html"))
    assert "BTCUSDT -10.00%, ETHUSDT -2.00%" in page.text
    assert "BTCUSDT -10.00% to -5.00%" in page.text
    assert "stopped after 3 waves" in page.text
    page = read(market.sweep([cs.Shock(price=-0.03)], rules=cs.venues.okx).report(tmp_path / "b.html"))
    assert "all prices -3%" in page.text
    assert "step_down" in page.text  # the rules of the sweep, not of the market


def test_what_was_not_kept_is_left_out(tmp_path):
    market = cs.datasets.constant_depth()
    shocks = [cs.Shock(orders={"X": -q}) for q in (100, 200)]
    page = read(market.sweep(shocks, keep=["deficit"]).report(tmp_path / "a.html"))
    assert "deficit nobody paid" in page.text
    assert "insurance fund used" not in page.text
    page = read(market.sweep(shocks, keep=["steps"]).report(tmp_path / "b.html"))
    assert "No column" in page.text


def test_scenarios_without_a_result_are_told(tmp_path):
    market = cs.datasets.constant_depth()
    swept = market.sweep([cs.Shock(orders={"X": -100}), cs.Shock({"nobody": 0.1})])
    page = read(swept.report(tmp_path / "a.html"))
    assert "Scenarios are missing" in page.text
    assert "unknown instrument" in page.text or "nobody" in page.text
    failed = market.sweep([cs.Shock({"nobody": 0.1})])
    assert "1 failed" in read(failed.report(tmp_path / "b.html")).text
    assert "0 scenarios" in read(market.sweep([]).report(tmp_path / "c.html")).text


def test_rows_on_disk_are_read_from_there(tmp_path):
    pytest.importorskip("pyarrow")
    market = cs.datasets.constant_depth()
    shocks = [cs.Shock(orders={"X": -q}) for q in (100, 200, 300)]
    there = market.sweep(shocks, out=tmp_path / "rows")
    here = market.sweep(shocks)
    there.report(tmp_path / "a.html")
    here.report(tmp_path / "b.html")
    seeds = re.compile(r"Seed \d+")
    assert seeds.sub("", (tmp_path / "a.html").read_text()) == seeds.sub(
        "", (tmp_path / "b.html").read_text()
    )
    (tmp_path / "rows" / "scenarios.parquet").unlink()
    with pytest.raises(cs.EngineStateError, match="not there any more"):
        there.report(tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()


def test_a_sweep_travels_with_what_it_assumed(tmp_path):
    swept = cs.datasets.constant_depth().sweep(lambda rng, k: cs.Shock(orders={"X": -5}), n=3, rng=1)
    again = pickle.loads(pickle.dumps(swept))
    assert again.report(tmp_path / "a.html").read_bytes() == swept.report(tmp_path / "b.html").read_bytes()


def test_tails_beside_a_static_view(tmp_path):
    market = cs.datasets.constant_depth(d=100, g=60, lot="0.1")

    def sale(rng, k):
        return cs.Shock(orders={"X": -float(rng.integers(1, 400))})

    tails = cs.studies.tail_risk(market, sale, n=100, rng=3, resamples=5)
    page = read(tails.report(tmp_path / "a.html"))
    assert "missed by the static view" in page.text
    k = np.flatnonzero((tails.table["outcome"] == "price_drop") & (tails.table["level"] == 0.95))[0]
    assert f"{tails.missed['missed'][k]:+.0%}" in page.texts


# -- bad input -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "options", "error", "words"),
    [
        (3, {}, cs.InputTypeError, r"report\.path = 3: must be a path"),
        ("no/such/folder.html", {}, cs.InputError, "must be a directory"),
        ("a.html", {"title": 3}, cs.InputTypeError, r"report\.title = 3"),
        ("a.html", {"currency": 5}, cs.InputTypeError, r"report\.currency = 5"),
    ],
)
def test_bad_reports(path, options, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    market = cs.datasets.constant_depth()
    for subject in (market.run(None), market.sweep([cs.Shock()])):
        with pytest.raises(error, match=words):
            subject.report(path, **options)
    assert not list(tmp_path.iterdir())
