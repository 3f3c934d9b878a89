"""Pictures: what is on the Axes is what the result says."""

import numpy as np
import pytest

import cascade as cs

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def market():
    return cs.datasets.binance_market(accounts=2_000, rng=1)


@pytest.fixture(scope="module")
def result(market):
    return market.run(cs.Shock(price=-0.08))


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_price_path(result, ax):
    assert cs.plot.price_path(result, ax=ax) is ax
    lines = {line.get_label(): line for line in ax.get_lines()}
    for symbol, price in result.summary["price"].items():
        x, y = lines[symbol].get_data()
        assert (np.diff(x) >= 0).all()
        assert y[0] == 0
        assert y[-1] == pytest.approx((price["final"] / price["start"] - 1) * 100)
        assert y.min() == pytest.approx((price["low"] / price["start"] - 1) * 100)
        assert len(x) == (result.prices["instrument"] == symbol).sum() + 2
    assert "%" in ax.get_ylabel()
    ax.figure.canvas.draw()


def test_price_path_of_one(result, ax):
    cs.plot.price_path(result, "ETHUSDT", ax=ax)
    labels = [line.get_label() for line in ax.get_lines()]
    assert "ETHUSDT" in labels
    assert "BTCUSDT" not in labels
    with pytest.raises(cs.InputError, match="unknown instrument"):
        cs.plot.price_path(result, "XRPUSDT", ax=ax)


def test_waves(result, ax):
    assert cs.plot.waves(result, ax=ax) is ax
    heights = sum(bar.get_height() for bars in ax.containers for bar in bars)
    assert heights * 1e6 == pytest.approx(result.waves["notional"].sum())
    assert "millions" in ax.get_ylabel()


def test_fund(result, ax):
    assert cs.plot.fund(result, ax=ax) is ax
    x, y = ax.get_lines()[0].get_data()
    assert (np.diff(x) >= 0).all()
    assert y[0] * 1e6 == pytest.approx(result.summary["fund_start"])
    assert y[-1] * 1e6 == pytest.approx(result.summary["fund_end"])


def test_fund_needs_the_payments(market, ax):
    result = market.run(cs.Shock(price=-0.08), record="liquidations")
    with pytest.raises(cs.EngineStateError, match="record='all'"):
        cs.plot.fund(result, ax=ax)


@pytest.mark.parametrize(("record", "panels"), [("all", 3), ("liquidations", 2), ("summary", 2)])
def test_overview(market, record, panels):
    figure = cs.plot.overview(market.run(cs.Shock(price=-0.08), record=record))
    assert len(figure.axes) == panels
    figure.canvas.draw()
    plt.close(figure)


@pytest.mark.parametrize("shock", [None, cs.Shock(orders={"X": -500})])
def test_textbook_markets(shock):
    figure = cs.plot.overview(cs.datasets.constant_depth().run(shock))
    figure.canvas.draw()
    plt.close(figure)


def test_only_results(ax):
    with pytest.raises(cs.InputTypeError, match="must be a Result"):
        cs.plot.waves({}, ax=ax)
