"""The six recorded Binance books of 2024-08-08: loaded whole, shocked from -1% to -30%."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import cascade as cs

SHARED = Path(os.environ.get("CASCADE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
BOOKS = SHARED / "data" / "binance_l2_20240808" / "books_235800Z.parquet"

pytestmark = pytest.mark.skipif(
    not BOOKS.exists(),
    reason=f"recorded books are not here ({BOOKS}); set CASCADE_SHARED to the folder that has data/",
)

TIERS = partial(cs.venues.binance_usdm.tiers, date="2024-10-24")
INSTRUMENTS = {
    "usdm_btcusdt": {"tick_size": "0.1", "lot_size": "0.001", "tiers": TIERS("BTCUSDT")},
    "usdm_ethusdt": {"tick_size": "0.01", "lot_size": "0.001", "tiers": TIERS("ETHUSDT")},
    "spot_btcusdt": {"tick_size": "0.01", "lot_size": "0.000001", "tiers": 0.1},
    "spot_ethusdt": {"tick_size": "0.01", "lot_size": "0.00001", "tiers": 0.1},
    "cm_btcusd_perp": {
        "tick_size": "0.1",
        "lot_size": 1,
        "contract": "inverse",
        "multiplier": 100,
        "tiers": 0.004,
    },
    "cm_ethusd_perp": {
        "tick_size": "0.01",
        "lot_size": 1,
        "contract": "inverse",
        "multiplier": 10,
        "tiers": 0.005,
    },
}
MARKETS = {
    "usdm": ["usdm_btcusdt", "usdm_ethusdt"],
    "spot": ["spot_btcusdt", "spot_ethusdt"],
    "cm_btc": ["cm_btcusd_perp"],
    "cm_eth": ["cm_ethusd_perp"],
}
"""One market a settlement currency; spot stands for itself, as margin trading on it would."""
GAPS = [-0.01, -0.02, -0.05, -0.08, -0.12, -0.20, -0.30]


@pytest.fixture(scope="module")
def recorded():
    """{instrument: (bids, asks)} as pyarrow tables, best price first."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(BOOKS).rename_columns(
        {
            "price": "price",
            "qty": "quantity",
            "instrument": "instrument",
            "t_ms": "t_ms",
            "side": "side",
            "level": "level",
        }
    )
    label, side = np.array(table["instrument"].to_pylist()), np.array(table["side"])
    price = np.array(table["price"])
    books = {}
    for name in INSTRUMENTS:
        books[name] = tuple(
            table.take(mine[np.argsort(-s * price[mine])]).select(["price", "quantity"])
            for s in (1, -1)
            for mine in [np.flatnonzero((label == name) & (side == s))]
        )
    return books


def market_of(recorded, name, rules=cs.venues.binance_usdm, fund=0):
    market = cs.Market([cs.Instrument(i, **INSTRUMENTS[i]) for i in MARKETS[name]], rules=rules, fund=fund)
    for i in MARKETS[name]:
        market.load_book(i, *recorded[i])
    return market


def peopled(recorded, name, n):
    market = market_of(recorded, name, fund=25_000_000 if name in ("usdm", "spot") else 100)
    cs.datasets.population(market, accounts=n, rng=20240808)
    return market


@pytest.mark.parametrize("name", MARKETS)
def test_books_load_whole(recorded, name):
    market = market_of(recorded, name)
    for i in MARKETS[name]:
        book = market.start(engine="reference").book(i)
        instrument = market.instruments[market.instrument_index(i)]
        bids, asks = recorded[i]
        assert instrument.to_price(book.best_bid) == bids["price"][0].as_py()
        assert instrument.to_price(book.best_ask) == asks["price"][0].as_py()
        depth = book.depth()
        for side, table in ((1, bids), (-1, asks)):
            mine = depth["side"] == side
            assert instrument.to_price(depth["price"][mine]) == pytest.approx(
                np.array(table["price"]), rel=1e-12
            )
            assert instrument.to_size(depth["quantity"][mine]) == pytest.approx(
                np.array(table["quantity"]), rel=1e-12
            )


def test_embedded_books_are_the_recorded_ones(recorded):
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for embedded, table in zip(
            cs.datasets.binance_books(symbol), recorded[f"usdm_{symbol.lower()}"], strict=True
        ):
            assert (embedded["price"] == np.array(table["price"])).all()
            assert (embedded["quantity"] == np.array(table["quantity"])).all()


@pytest.mark.parametrize("name", MARKETS)
def test_gaps(recorded, name, engine):
    market = peopled(recorded, name, 150 if engine == "reference" else 3000)
    for gap in GAPS:
        result = market.run(cs.Shock(gap), engine=engine, audit="full")
        assert result.audit["conserved"]
        assert result.status in ("settled", "stranded", "out_of_data")
        assert (result.status == "out_of_data") <= bool(result.known_until)


@pytest.mark.parametrize("name", MARKETS)
def test_both_engines_give_the_same_events(recorded, name):
    market = peopled(recorded, name, 150)
    for gap in GAPS:
        assert market.run(cs.Shock(gap)).digest == market.run(cs.Shock(gap), engine="reference").digest


@pytest.mark.parametrize("name", MARKETS)
def test_a_larger_gap_takes_whom_a_smaller_one_takes(recorded, name, engine):
    """Longs only: who is liquidated in wave 1 of a gap is so in that of a larger one."""
    market = market_of(recorded, name)
    people, positions = cs.datasets.population(
        market, accounts=150 if engine == "reference" else 3000, rng=7, load=False
    )
    market.load_accounts(people)
    market.load_positions(positions.rows(positions["size"] > 0))
    before = set()
    for gap in GAPS:
        rows = market.run(cs.Shock(gap), engine=engine).liquidations
        taken = set(rows["account"][rows["wave"] == 1].tolist())
        assert before <= taken
        before = taken
    assert before


@pytest.mark.parametrize("name", MARKETS)
def test_a_sale_beyond_the_known_depth_says_so(recorded, name, engine):
    market = market_of(recorded, name)
    i = MARKETS[name][0]
    prices, quantities = (np.array(recorded[i][0][column]) for column in ("price", "quantity"))
    instrument = market.instruments[0]
    lots = int(instrument.to_lots(quantities).sum())
    enough = market.run(cs.Shock(orders={i: -instrument.to_size(lots)}), engine=engine)
    assert enough.status == "settled"
    assert enough.known_until == {}
    beyond = market.run(cs.Shock(orders={i: -instrument.to_size(lots + 1)}), engine=engine)
    assert beyond.status == "out_of_data"
    assert beyond.known_until == {i: pytest.approx(prices[-1])}
    assert beyond.fills["quantity"].sum() == pytest.approx(quantities.sum())


@pytest.mark.parametrize("name", MARKETS)
def test_liquidations_beyond_the_known_depth_stay_open(recorded, name, engine):
    """More longs than bids: what no known bid can take stays open, flagged; nobody is deleveraged."""
    market = market_of(recorded, name, rules=cs.VenueRules())
    depth = {i: float(np.array(recorded[i][0]["quantity"]).sum()) for i in MARKETS[name]}
    people, positions = cs.datasets.population(
        market, accounts=150, rng=7, load=False,
        open_interest={i: round(6 * total) for i, total in depth.items()},
    )  # fmt: skip
    market.load_accounts(people)
    market.load_positions(positions.rows(positions["size"] > 0))
    result = market.run(cs.Shock(-0.3), engine=engine)
    rows = result.liquidations
    assert result.status == "out_of_data"
    assert result.audit["conserved"]
    for i in MARKETS[name]:
        mine = (rows["instrument"] == i) & (rows["left"] > 0)
        assert set(rows["status"][mine].tolist()) <= {"beyond_data"}
        lowest = float(np.array(recorded[i][0]["price"]).min())
        if mine.any():
            assert result.known_until[i] == pytest.approx(lowest * 0.7, rel=1e-3)
            assert rows["filled"][rows["instrument"] == i].sum() == pytest.approx(depth[i])
    assert result.summary["unfilled_accounts"] > 0
    assert len(result.adl) == 0
