"""Venue presets: rules, embedded tiers, and the numbers that a venue publishes about them."""

import copy
import itertools
import pickle

import pytest

import cascade as cs

VENUES = [cs.venues.binance_usdm]


@pytest.mark.parametrize("venue", VENUES, ids=lambda v: v.name)
def test_a_preset_is_complete(venue):
    assert isinstance(venue, cs.Venue)
    assert isinstance(venue.rules, cs.VenueRules)
    assert len(venue.date) == 10
    assert venue.sources
    assert venue.notes
    assert pickle.loads(pickle.dumps(venue)).name == venue.name
    assert copy.deepcopy(venue).rules == venue.rules


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_binance_amounts_make_maintenance_continuous(symbol):
    """a_n = a_(n-1) + floor_n * (r_n - r_(n-1)) for every tier, as Binance states it."""
    rows = cs.venues.binance_usdm.tiers(symbol)
    assert len(rows) == 12
    amount = 0.0
    for below, row in itertools.pairwise(rows):
        amount += row[0] * (row[3] - below[3])
        assert row[0] == below[1]
        assert row[4] == pytest.approx(amount)
    cs.Instrument(symbol, tick_size="0.1", lot_size="0.001", tiers=rows)


def test_tiers_are_the_callers_own():
    rows = cs.venues.binance_usdm.tiers("BTCUSDT")
    rows[0][3] = 1.0
    assert cs.venues.binance_usdm.tiers("BTCUSDT")[0] == [0.0, 50_000.0, 0.008, 0.004, 0.0]


@pytest.mark.parametrize("symbol", ["XRPUSDT", "btcusdt", "BTC/USDT:USDT", ""])
def test_unknown_symbols_are_refused(symbol):
    with pytest.raises(cs.InputError, match="BTCUSDT, ETHUSDT"):
        cs.venues.binance_usdm.tiers(symbol)


def test_symbols_are_text():
    with pytest.raises(cs.InputTypeError, match="string"):
        cs.venues.binance_usdm.tiers(7)


def test_binance_isolated_liquidation_price():
    """(WB + cum - s q E) / (q r - s q): wallet 1,000, long 1 BTC at 61,000, so in tier 2."""
    tiers = cs.venues.binance_usdm.tiers("BTCUSDT")
    btc = cs.Instrument("BTCUSDT", tick_size="0.1", lot_size="0.001", tiers=tiers)
    market = cs.Market(btc, rules=cs.venues.binance_usdm)
    market.load_book(
        "BTCUSDT", {"price": [60_999.9], "quantity": [5]}, {"price": [61_000.1], "quantity": [5]}
    )
    market.load_positions(
        {
            "account": [1, 2],
            "instrument": ["BTCUSDT"] * 2,
            "size": [1, -1],
            "entry_price": [61_000] * 2,
            "margin": [1000] * 2,
        }
    )
    price = market.liquidation_prices()["liquidation_price"]
    assert price[0] == pytest.approx((1000 + 50 - 61_000) / (0.005 - 1))
    assert price[1] == pytest.approx((1000 + 50 + 61_000) / (0.005 + 1))


def test_binance_rules_run(engine):
    market = cs.datasets.binance_market(accounts=100, rng=1)
    assert market.rules == cs.venues.binance_usdm.rules
    result = market.run(cs.Shock(-0.05), rules=cs.venues.binance_usdm, engine=engine)
    assert result.audit["conserved"]
    assert result.summary["liquidated_accounts"] > 0
    by_index = market.run(cs.Shock(-0.05), rules=market.rules.replace(mark="index"), engine=engine)
    assert by_index.summary["higher_order_notional"] <= result.summary["higher_order_notional"]
