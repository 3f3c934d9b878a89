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


# -- funds, maps, causes -------------------------------------------------------------------------------------
def test_waterfall(result, ax):
    assert cs.plot.waterfall(result, ax=ax) is ax
    s = result.summary
    unit = 1e6
    bars = {bars.get_label(): bars.patches[0] for bars in ax.containers}
    assert bars["fund at\nthe start"].get_height() * unit == pytest.approx(s["fund_start"])
    assert bars["fund at\nthe end"].get_height() * unit == pytest.approx(s["fund_end"])
    steps = [bar for label, bar in bars.items() if not label.startswith(("fund", "deficit", "losses"))]
    moved = sum(bar.get_height() for bar in steps) * unit
    assert moved == pytest.approx(s["fund_end"] - s["fund_start"])
    level = s["fund_start"] / unit
    for bar in steps:  # each stands where the one before it ended
        assert bar.get_y() == pytest.approx(level)
        level += bar.get_height()
    flows = result.flows
    gaps = flows["amount"][(flows["from"].astype(str) == "fund") & (flows["why"] == "gap")].sum()
    assert -bars["gaps to\nbankruptcy\nprices"].get_height() * unit == pytest.approx(gaps)
    ax.figure.canvas.draw()


def test_waterfall_beyond_the_fund(ax):
    result = cs.datasets.constant_depth().run(cs.Shock(orders={"X": -500}))
    assert result.summary["deficit"] > 0
    cs.plot.waterfall(result, ax=ax)
    bars = {bars.get_label(): bars.patches[0] for bars in ax.containers}
    assert bars["deficit,\nnobody paid"].get_height() * 1e3 == pytest.approx(result.summary["deficit"])
    assert "thousands" in ax.get_ylabel()
    market = cs.datasets.constant_depth()
    with pytest.raises(cs.EngineStateError, match="record='all'"):
        cs.plot.waterfall(market.run(None, record="summary"), ax=ax)


@pytest.mark.parametrize("of", ["market", "result"])
def test_liquidation_map(market, result, ax, of):
    subject = market if of == "market" else result
    assert cs.plot.liquidation_map(subject, "BTCUSDT", within=0.1, bins=40, ax=ax) is ax
    mark, table = market.mark("BTCUSDT"), market.liquidation_map("BTCUSDT")
    near = np.abs(table["price"] / mark - 1) < 0.1
    heights = [sum(bar.get_height() for bar in bars) for bars in ax.containers]
    unit = 1e3 if "thousands" in ax.get_ylabel() else 1
    for height, side in zip(heights, ("sell", "buy"), strict=True):
        assert height * unit == pytest.approx(table["quantity"][near & (table["side"] == side)].sum())
    bids, asks = cs.datasets.binance_books("BTCUSDT")
    book = sum(x["quantity"][np.abs(x["price"] / mark - 1) < 0.1].sum() for x in (bids, asks))
    x, y = ax.lines[0].get_data()
    assert y[::2].sum() * unit == pytest.approx(book)
    assert (x[0], x[-1]) == pytest.approx((-10, 10))
    assert "0.50%" in ax.get_ylabel()


def test_a_map_says_where_the_book_ends(ax):
    x = cs.Instrument("X", tick_size=1, lot_size=1)
    market = cs.Market(x)
    market.load_book("X", {"price": [999, 950], "quantity": [1, 1]}, {"price": [1_001], "quantity": [1]})
    market.set_prices(last={"X": 1_000})
    cs.plot.liquidation_map(market, "X", ax=ax)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["longs sold", "shorts bought back", "in the book", "book not known"]


@pytest.mark.parametrize(
    ("symbol", "options", "error", "words"),
    [
        ("XRPUSDT", {}, cs.InputError, "unknown instrument"),
        ("BTCUSDT", {"within": 1.0}, cs.InputError, r"liquidation_map\.within = 1\.0"),
        ("BTCUSDT", {"within": "a"}, cs.InputTypeError, r"liquidation_map\.within"),
        ("BTCUSDT", {"bins": 7}, cs.InputError, r"liquidation_map\.bins = 7"),
        ("BTCUSDT", {"bins": 2.5}, cs.InputTypeError, r"liquidation_map\.bins"),
    ],
)
def test_bad_maps(market, result, ax, symbol, options, error, words):
    with pytest.raises(error, match=words):
        cs.plot.liquidation_map(market, symbol, ax=ax, **options)
    with pytest.raises(cs.InputError, match=r"liquidation_map\.rules"):
        cs.plot.liquidation_map(result, "BTCUSDT", rules=cs.VenueRules(), ax=ax)
    with pytest.raises(cs.InputTypeError, match="must be a Market or a Result"):
        cs.plot.liquidation_map(3, "BTCUSDT", ax=ax)
    assert not ax.has_data()


def test_contagion(result, ax):
    assert cs.plot.contagion(result, ax=ax) is ax
    table, cells = result.contagion(), ax.images[0].get_array()
    k = int(np.argmax(table["notional"]))
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["BTCUSDT", "ETHUSDT"]
    strongest = np.unravel_index(np.argmax(cells[..., 3]), cells.shape[:2])
    assert names[strongest[0]] == table["instrument"][k]
    assert ax.get_xticklabels()[strongest[1]].get_text() == table["moved"][k]
    assert sum("%" in text.get_text() and "\n" in text.get_text() for text in ax.texts) == len(table)


def test_network(result, ax):
    assert cs.plot.network(result, most=30, ax=ax) is ax
    assert sum(len(points.get_offsets()) for points in ax.collections) == 30
    ax.figure.canvas.draw()
    for most, error in ((0, cs.InputError), (2.5, cs.InputTypeError), (True, cs.InputTypeError)):
        with pytest.raises(error, match=r"network\.most"):
            cs.plot.network(result, most=most, ax=ax)
    with pytest.raises(cs.EngineStateError, match="record='summary'"):
        cs.plot.network(cs.datasets.constant_depth().run(None, record="summary"), ax=ax)


def test_downstream_is_what_the_recorded_causes_say(result):
    from cascade.causes import downstream

    x = result.liquidations
    below = downstream(result._data.liquidations)
    parent = x["cause_liquidation"].tolist()
    for row in np.argsort(-below)[:20].tolist():
        members, found = {row}, [row]
        for child in range(row + 1, len(x)):  # a cause stands before what it caused
            if parent[child] in members:
                members.add(child)
                found.append(child)
        assert result._money(below[row].item()) == pytest.approx(x["notional"][found].sum())


# -- studies -------------------------------------------------------------------------------------------------
def test_fragility_and_tails(ax):
    market = cs.datasets.cluster()
    found = cs.studies.fragility(
        market, lambda q: cs.Shock(orders={"X": -q}), range(700, 901, 20), outcome="price_drop"
    )
    assert found.plot(ax=ax) is ax
    assert ax.get_ylabel() == "price drop, %"
    y = ax.lines[0].get_ydata()
    np.testing.assert_allclose(y, found.curve["outcome"] * 100)
    rise = ax.lines[-1].get_xdata()
    assert rise.tolist() == [found.steepest, 800]


def test_distributions(ax):
    losses = {"with": np.arange(1, 101) * 1e6, "without": np.arange(1, 101) * 5e5}
    cs.plot.distributions(losses, xlabel="venue_loss", levels=(0.95,), ax=ax)
    assert ax.get_xlabel() == "venue loss, millions"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["with (value at risk 95%: 95.00M)", "without (value at risk 95%: 47.50M)"]
    for level, error in ((1.5, cs.InputError), ("a", cs.InputTypeError)):
        with pytest.raises(error, match=r"distributions\.levels"):
            cs.plot.distributions(losses, levels=(level,), ax=ax)


# -- names and numbers of instruments ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def many():
    """Nine instruments, some with names that matplotlib would read as formulas or leave out of a legend."""
    symbols = ["$a_{", "_hidden", "c\nd", "<e>", *(f"S{k}" for k in range(5))]
    market = cs.Market([cs.Instrument(s, tick_size=1, lot_size=1, tiers="0.01") for s in symbols])
    for s in symbols:
        market.load_book(
            s, {"price": [999, 990, 900], "quantity": [50, 50, 5_000]},
            {"price": [1_001], "quantity": [5_000]},
        )  # fmt: skip
        market.set_prices(last={s: 1_000})
    n = len(symbols)
    market.load_positions(
        {"account": [f"$u{k}_" for k in range(n)], "instrument": symbols, "size": [60 + k for k in range(n)],
         "entry_price": [1_000] * n, "margin": [1_500 + 100 * k for k in range(n)]}
    )  # fmt: skip
    return market.run(cs.Shock(orders={s: -120 - k for k, s in enumerate(symbols)}))


def test_more_instruments_than_colours(many, ax):
    assert many.summary["liquidated_accounts"] > 0
    cs.plot.waves(many, ax=ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(labels) == 7
    assert labels[-1] == "3 others"
    heights = sum(bar.get_height() for bars in ax.containers for bar in bars)
    assert heights * 1e6 == pytest.approx(many.waves["notional"].sum())
    ax.figure.canvas.draw()


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_every_picture_takes_every_name(many, style):
    with plt.style.context(style):
        for draw in (
            cs.plot.price_path, cs.plot.waves, cs.plot.fund, cs.plot.waterfall, cs.plot.contagion,
            cs.plot.network,
            lambda result, ax: cs.plot.liquidation_map(result, "$a_{", ax=ax),
        ):  # fmt: skip
            figure, ax = plt.subplots()
            draw(many, ax=ax)
            figure.canvas.draw()
            plt.close(figure)
