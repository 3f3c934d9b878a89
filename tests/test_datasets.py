"""Embedded books and the seeded population."""

import time

import numpy as np
import pytest

import cascade as cs

SYMBOLS = ["BTCUSDT", "ETHUSDT"]


@pytest.fixture(scope="module")
def books():
    return cs.datasets.binance_market()


# Books


@pytest.mark.parametrize(
    ("symbol", "levels", "best", "quantity"),
    [
        ("BTCUSDT", (4033, 3969), (61_628.1, 61_628.2), (7370.707, 8044.722)),
        ("ETHUSDT", (2543, 2765), (2677.92, 2677.93), (49_912.869, 29_472.692)),
    ],
)
def test_books(symbol, levels, best, quantity):
    bids, asks = cs.datasets.binance_books(symbol)
    for side, n, price, total, sign in zip((bids, asks), levels, best, quantity, (-1, 1), strict=True):
        assert side.columns == ("price", "quantity")
        assert len(side) == n
        assert side["price"][0] == price
        assert side["quantity"].sum() == pytest.approx(total)
        assert (np.diff(side["price"]) * sign > 0).all()
        assert (side["quantity"] > 0).all()


def test_books_are_on_the_instruments_grids():
    for instrument in cs.datasets.binance_instruments():
        for side in cs.datasets.binance_books(instrument.symbol):
            ticks = instrument.to_ticks(side["price"])
            lots = instrument.to_lots(side["quantity"])
            assert (instrument.to_price(ticks) == side["price"]).all()
            assert (instrument.to_size(lots) == side["quantity"]).all()


def test_books_say_where_they_come_from():
    about = cs.datasets.BINANCE_BOOKS
    assert about["symbols"] == tuple(SYMBOLS)
    assert np.datetime64(about["time_ms"], "ms") == np.datetime64("2024-08-08T23:58:00")
    assert "hftbacktest" in about["source"]


def test_books_of_unknown_symbols():
    with pytest.raises(cs.InputError, match="BTCUSDT, ETHUSDT"):
        cs.datasets.binance_books("XRPUSDT")
    with pytest.raises(cs.InputTypeError, match="string"):
        cs.datasets.binance_books(3)


def test_tables_cannot_be_changed():
    bids, _ = cs.datasets.binance_books("BTCUSDT")
    with pytest.raises(ValueError, match="read-only"):
        bids["price"][0] = 1


def test_market_without_people(books):
    assert len(books.margin()) == 0
    assert books.rules == cs.venues.binance_usdm.variants["simple"]
    assert cs.datasets.binance_market(cs.VenueRules(mark="mid"), fund=7).rules.mark == "mid"
    with pytest.raises(cs.InputError, match="open_interest needs accounts"):
        cs.datasets.binance_market(open_interest={"BTCUSDT": 10})


def test_a_walk_of_the_embedded_book(engine):
    """Selling 100 BTC takes the best bids in turn."""
    bids, _ = cs.datasets.binance_books("BTCUSDT")
    result = cs.datasets.binance_market().run(cs.Shock(orders={"BTCUSDT": -100}), engine=engine)
    deep = np.searchsorted(np.cumsum(bids["quantity"]), 100 - 1e-9)
    assert result.fills["price"].tolist() == bids["price"][: deep + 1].tolist()
    assert result.fills["quantity"].sum() == pytest.approx(100)


# Population


def drawn(n, rng=1, **options):
    market = cs.datasets.binance_market()
    return market, *cs.datasets.population(market, accounts=n, rng=rng, **options)


@pytest.mark.parametrize("n", [4, 10, 100, 3000])
def test_open_interest_comes_out_exactly(n):
    market, _, positions = drawn(n, open_interest={"BTCUSDT": 1234.567, "ETHUSDT": 9000})
    for symbol, target in (("BTCUSDT", 1_234_567), ("ETHUSDT", 9_000_000)):
        instrument = market.instruments[market.instrument_index(symbol)]
        lots = instrument.to_lots(positions["size"][positions["instrument"] == symbol])
        assert lots[lots > 0].sum() == target
        assert -lots[lots < 0].sum() == target - target // 10
        external = abs(lots.sum())
        assert external <= 0.2 * target


def test_default_open_interest_is_half_the_depth():
    _, _, positions = drawn(500)
    for symbol in SYMBOLS:
        size = positions["size"][positions["instrument"] == symbol]
        depth = sum(side["quantity"].sum() for side in cs.datasets.binance_books(symbol))
        assert size[size > 0].sum() == pytest.approx(depth / 2, abs=0.002)


@pytest.mark.parametrize("n", [4, 5, 7, 50, 2000, 50_000])
def test_everybody_is_healthy_by_the_stated_distance(n):
    market, people, _ = drawn(n)
    margin = market.margin()
    held = margin["maintenance"] > 0
    assert len(people) == n
    assert (margin["ratio"][held] >= 1.2 - 1e-4).all()
    assert (margin["equity"] >= 0).all()


def test_the_mix():
    n = 20_000
    _, people, positions = drawn(n)
    isolated = ~np.isnan(positions["margin"])
    owners, count = np.unique(positions["account"], return_counts=True)
    assert owners.tolist() == people["account"].tolist()
    assert isolated.sum() == pytest.approx(0.55 * n, abs=1)
    assert (count == 2).sum() == pytest.approx(0.18 * n, abs=2)
    assert count.max() == 2
    both = np.isin(positions["account"], owners[count == 2])
    assert not isolated[both].any()
    assert (positions["account"][both][0::2] == positions["account"][both][1::2]).all()
    side = np.sign(positions["size"][both])
    hedged = side[0::2] != side[1::2]
    assert hedged.sum() == pytest.approx(0.08 * n, abs=1)
    notional = np.abs(positions["size"][both]) * positions["entry_price"][both]
    legs = notional[0::2][hedged] / notional[1::2][hedged]
    assert np.median(np.abs(np.log(legs))) < 0.1


def test_leverage_stays_within_the_tiers():
    _, _, positions = drawn(20_000)
    isolated = ~np.isnan(positions["margin"])
    notional = np.abs(positions["size"]) * positions["entry_price"]
    leverage = notional[isolated] / positions["margin"][isolated]
    assert leverage.max() <= 125 + 1e-6
    assert len(np.unique(np.round(leverage[notional[isolated] > 1e4]))) >= 10
    large = notional[isolated] > 5e6
    assert large.any()
    assert leverage[large].max() <= 50 + 1e-6


def test_sizes_are_heavy_tailed_whole_lots():
    market, _, positions = drawn(20_000)
    size = np.sort(np.abs(positions["size"][positions["instrument"] == "BTCUSDT"]))
    assert 0.2 < size[-len(size) // 100 :].sum() / size.sum() < 0.5
    market.instruments[0].to_lots(size)


def test_the_same_seed_gives_the_same_people():
    first, second = drawn(300, rng=5), drawn(300, rng=np.random.default_rng(5))
    assert first[1] == second[1]
    assert first[2] == second[2]
    assert first[0].digest == second[0].digest
    assert drawn(300, rng=6)[0].digest != first[0].digest


def test_a_generator_goes_on():
    rng = np.random.default_rng(5)
    assert drawn(50, rng=rng)[2] != drawn(50, rng=rng)[2]


def test_not_loading():
    market = cs.datasets.binance_market()
    people, positions = cs.datasets.population(market, accounts=20, rng=1, load=False)
    assert len(market.margin()) == 0
    market.load_accounts(people)
    market.load_positions(positions)
    assert market.digest == drawn(20)[0].digest


@pytest.mark.parametrize(("held", "first"), [([7, 41], 42), (["p1", "bob"], "p2")])
def test_ids_of_accounts_loaded_before_are_left_alone(held, first):
    market = cs.datasets.binance_market()
    market.load_accounts({"account": held, "balance": [1.0, 2.0]})
    people, _ = cs.datasets.population(market, accounts=10, rng=1)
    assert people["account"][0] == first
    again, _ = cs.datasets.population(market, accounts=10, rng=2)
    assert not np.isin(again["account"], people["account"]).any()


def test_inverse_contracts_and_one_instrument():
    btc = cs.Instrument(
        "BTCUSD", tick_size="0.1", lot_size=1, contract="inverse", multiplier=100, tiers=0.004
    )
    market = cs.Market(btc)
    market.load_book(
        "BTCUSD", {"price": [59_999.9], "quantity": [50_000]}, {"price": [60_000.1], "quantity": [50_000]}
    )
    _, positions = cs.datasets.population(market, accounts=3000, rng=3)
    assert len(positions) == 3000
    assert positions["size"][positions["size"] > 0].sum() == 50_000
    margin = market.margin()
    assert np.nanmin(margin["ratio"]) >= 1.2 - 1e-4
    leverage = np.abs(positions["size"]) * 100 / positions["entry_price"] / positions["margin"]
    assert np.nanmax(leverage) <= 125 + 1e-6


def test_a_market_without_tiers():
    market = cs.datasets.constant_depth(g=0)
    cs.datasets.population(market, accounts=50, rng=1)
    assert (market.margin()["equity"] > 0).all()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"accounts": 3, "rng": 1}, cs.InputError, "at least two an instrument"),
        ({"accounts": 10.0, "rng": 1}, cs.InputTypeError, "must be an int"),
        ({"accounts": True, "rng": 1}, cs.InputTypeError, "must be an int"),
        ({"accounts": 10, "rng": None}, cs.InputTypeError, "Generator or an int seed"),
        ({"accounts": 10, "rng": "seed"}, cs.InputTypeError, "Generator or an int seed"),
        ({"accounts": 10, "rng": 1, "open_interest": 5}, cs.InputTypeError, "mapping"),
        ({"accounts": 10, "rng": 1, "open_interest": {"BTCUSDT": 0}}, cs.InputError, "at least one"),
        ({"accounts": 10, "rng": 1, "open_interest": {"XRPUSDT": 1}}, cs.InputError, "unknown instrument"),
        ({"accounts": 1000, "rng": 1, "open_interest": {"BTCUSDT": 0.02}}, cs.InputError, "at least a lot"),
    ],
)
def test_what_is_refused(options, error, match):
    market = cs.datasets.binance_market()
    before = market.digest
    with pytest.raises(error, match=match):
        cs.datasets.population(market, **options)
    assert market.digest == before


def test_no_book_no_default():
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    market.set_prices(last={"X": 100}, index={"X": 100})
    with pytest.raises(cs.InputError, match="no book"):
        cs.datasets.population(market, accounts=10, rng=1)


def test_a_hundred_thousand_accounts_take_a_moment():
    market = cs.datasets.binance_market()
    market.state()
    start = time.perf_counter()
    cs.datasets.population(market, accounts=100_000, rng=1)
    assert time.perf_counter() - start < 2  # 0.11 s where it was written


def test_the_population_cascades(engine):
    """A gap of 8% finds several waves, uses the fund, and stays within what is known."""
    market = cs.datasets.binance_market(accounts=400 if engine == "reference" else 20_000, rng=1)
    result = market.run(cs.Shock(-0.08), engine=engine)
    summary = result.summary
    assert result.status == "settled"
    assert summary["waves"] >= 2
    assert summary["higher_order_notional"] > 0
    assert 0 < summary["fund_end"] < summary["fund_start"]
    assert result.audit["conserved"]
