"""Venue presets: rules, embedded tiers, and the numbers that a venue publishes about them."""

import copy
import itertools
import pickle
from fractions import Fraction

import numpy as np
import pytest

import cascade as cs

VENUES = [venue for venue in vars(cs.venues).values() if isinstance(venue, cs.Venue)]
DATED = [(venue, date) for venue in VENUES for date in venue.tier_dates]
OCTOBER = "2024-10-24"
ROWS = [[0, 500, "0.02", "0.01", 0], [500, None, "0.05", "0.02", 5]]


def test_every_venue_has_a_preset():
    names = {name for name, value in vars(cs.venues).items() if isinstance(value, cs.Venue)}
    assert names == {
        "binance_coinm",
        "binance_usdm",
        "bitmex",
        "bybit",
        "bybit_unified",
        "deribit",
        "dydx",
        "hyperliquid",
        "okx",
    }
    assert set(cs.venues.__all__) == names | {"drift", "gmx", "phemex", "tradfi"}


@pytest.mark.parametrize("venue", VENUES, ids=lambda v: v.name)
def test_a_preset_is_complete(venue):
    assert isinstance(venue.rules, cs.VenueRules)
    assert len(venue.date) == 10
    assert all(isinstance(source, str) for source in venue.sources)
    assert venue.sources
    assert venue.notes
    assert venue.variants
    assert all(isinstance(rules, cs.VenueRules) for rules in venue.variants.values())
    assert venue.rules not in venue.variants.values()
    assert pickle.loads(pickle.dumps(venue)) == venue
    assert copy.deepcopy(venue) == venue
    assert len({venue, copy.copy(venue)}) == 1


def small_market():
    """A linear and an inverse contract, 40 accounts, a fund and a vault that run out."""
    rng = np.random.default_rng(11)
    linear = cs.Instrument("L", tick_size="0.5", lot_size="0.01", tiers=ROWS, liquidation_fee="0.005")
    inverse = cs.Instrument(
        "I", tick_size="0.5", lot_size=1, contract="inverse", multiplier=100, tiers="0.01"
    )
    market = cs.Market([linear, inverse], fund=2, vault=300)
    for symbol, size in (("L", 1), ("I", 20)):
        steps = np.arange(1, 30) * 0.5
        market.load_book(
            symbol,
            {"price": 1000 - steps, "quantity": np.full(29, size)},
            {"price": 1000 + steps, "quantity": np.full(29, size)},
            complete=True,
        )
    accounts = np.arange(40)
    size = rng.choice([-0.5, 0.2, 0.5, 1.0, 1.5], 40)
    market.load_accounts({"account": accounts, "balance": np.abs(size) * rng.uniform(20, 90, 40)})
    entry = 1000 * rng.uniform(0.99, 1.01, 40)
    market.load_positions({"account": accounts, "instrument": ["L"] * 40, "size": size, "entry_price": entry})
    market.load_positions(
        {
            "account": accounts[:20],
            "instrument": ["I"] * 20,
            "size": rng.integers(1, 9, 20) * 5,
            "entry_price": entry[:20],
            "margin": rng.uniform(0.05, 0.3, 20),
        }
    )
    return market


@pytest.mark.parametrize("venue", VENUES, ids=lambda v: v.name)
def test_presets_and_their_variants_run_alike_in_both_engines(venue):
    market = small_market()
    for rules in (venue.rules, *venue.variants.values()):
        results = [
            market.run(cs.Shock(-0.06), rules=rules, engine=engine, audit="full")
            for engine in ("core", "reference")
        ]
        assert results[0].digest == results[1].digest
        assert results[0].audit["conserved"]
        assert results[0].summary["liquidated_accounts"] > 5


@pytest.mark.parametrize(("venue", "date"), DATED, ids=lambda x: getattr(x, "name", x))
def test_every_embedded_symbol_makes_an_instrument_with_continuous_maintenance(venue, date):
    """a_n = a_(n-1) + floor_n * (r_n - r_(n-1)) for every tier, as Binance and Hyperliquid state it."""
    from cascade.venues._tiers import embedded

    file = next(f for day, f in venue._tiers.args[0].items() if day == date)
    table = embedded(file)
    assert len(table) > 200
    for symbol in table:
        rows = venue.tiers(symbol, date)
        tiers = cs.Instrument(symbol, tick_size="0.1", lot_size="0.001", tiers=rows).tiers
        amount = 0
        for below, tier in itertools.pairwise(tiers):
            amount += tier.floor * (tier.maintenance_rate - below.maintenance_rate)
            assert tier.floor == below.cap
            assert tier.amount == amount


def test_the_newest_tiers_are_given_unless_a_date_is():
    tiers = cs.venues.binance_usdm.tiers
    assert cs.venues.binance_usdm.tier_dates == (OCTOBER, "2026-09")
    assert tiers("BTCUSDT")[0] == [0.0, 300_000.0, 0.006667, 0.004, 0.0]
    assert tiers("BTCUSDT") == tiers("BTC/USDT:USDT") == tiers("BTCUSDT", "2026-09")
    assert tiers("BTCUSDT", OCTOBER)[0] == [0.0, 50_000.0, 0.008, 0.004, 0.0]
    assert tiers("BTCUSDT_241227", OCTOBER) == tiers("BTC/USDT:USDT-241227", OCTOBER)
    with pytest.raises(cs.InputError, match="2024-10-24, 2026-09"):
        tiers("BTCUSDT", "2020-01-01")
    with pytest.raises(cs.InputTypeError, match="date"):
        tiers("BTCUSDT", 2024)


def test_hyperliquid_rates_are_half_of_one_over_the_leverage():
    """r = 1 / (2 x max leverage) of the tier: ETH 25x up to 100M, then 15x."""
    tiers = cs.venues.hyperliquid.tiers
    assert tiers("BTC") == [[0.0, 150e6, 0.025, 0.0125, 0.0], [150e6, None, 0.05, 0.025, 1_875_000.0]]
    assert tiers("ETH")[1][3] == pytest.approx(1 / 30, rel=1e-10)
    assert tiers("ETH")[1][4] == pytest.approx(100e6 * (1 / 30 - 1 / 50), rel=1e-9)
    assert tiers("BTC/USDC:USDC") == tiers("BTC")
    assert tiers("kPEPE") == tiers("KPEPE/USDC:USDC")


def test_tiers_are_the_callers_own():
    rows = cs.venues.binance_usdm.tiers("BTCUSDT", OCTOBER)
    rows[0][3] = 1.0
    assert cs.venues.binance_usdm.tiers("BTCUSDT", OCTOBER)[0] == [0.0, 50_000.0, 0.008, 0.004, 0.0]


@pytest.mark.parametrize("symbol", ["XRP", "btcusdt", "BTC/USDT:BTC", "BTC/EUR:EUR", ""])
def test_unknown_symbols_are_refused(symbol):
    with pytest.raises(cs.InputError, match=r"907 symbols.*(near it|the first): "):
        cs.venues.binance_usdm.tiers(symbol)


def test_a_venue_without_embedded_tiers_says_where_they_come_from():
    with pytest.raises(cs.InputError, match=r"read_tiers\(path\)\['XBTUSD'\]"):
        cs.venues.bitmex.tiers("XBTUSD")


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"rules": 7}, cs.InputTypeError, "venue.rules = 7"),
        ({"date": "today"}, cs.InputError, "venue.date = 'today'"),
        ({"name": None}, cs.InputTypeError, "venue.name"),
        ({"sources": "a page"}, cs.InputTypeError, "venue.sources"),
        ({"variants": {"x": 1}}, cs.InputTypeError, r"venue.variants\['x'\] = 1"),
        ({"variants": [1]}, cs.InputTypeError, "venue.variants"),
    ],
)
def test_a_users_venue_is_checked(fields, error, text):
    mine = {"name": "Mine", "rules": cs.VenueRules(), "date": "2026-01-01", "sources": ["me"], "notes": ""}
    assert cs.Venue(**mine).sources == ("me",)
    with pytest.raises(error, match=text):
        cs.Venue(**(mine | fields))


def test_symbols_are_text():
    with pytest.raises(cs.InputTypeError, match="string"):
        cs.venues.binance_usdm.tiers(7)


def test_binance_isolated_liquidation_price():
    """(WB + cum - s q E) / (q r - s q): wallet 1,000, long 1 BTC at 61,000, so in tier 2."""
    tiers = cs.venues.binance_usdm.tiers("BTCUSDT", OCTOBER)
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
    assert market.rules == cs.venues.binance_usdm.variants["simple"]
    result = market.run(cs.Shock(-0.05), rules=cs.venues.binance_usdm, engine=engine)
    assert result.audit["conserved"]
    assert result.summary["liquidated_accounts"] > 0
    by_index = market.run(cs.Shock(-0.05), rules=market.rules.replace(mark="index"), engine=engine)
    assert by_index.summary["higher_order_notional"] <= result.summary["higher_order_notional"]


# -- formulas ----------------------------------------------------------------------------------------------


def test_drift_frees_what_is_short():
    """What a liquidation frees, ratio less both fees, covers the shortage, and one unit less does not."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        ratio, fee, insurance = (int(rng.integers(*ends)) for ends in ((300, 2_000), (0, 9_000), (0, 9_000)))
        shortage, oracle = int(rng.integers(1, 10**12)), int(rng.integers(10**4, 10**11))
        base = cs.venues.drift.liquidation_base(shortage, ratio, fee, insurance, oracle=oracle)
        freed = Fraction(oracle, 10**6) * (Fraction(ratio, 10**4) - Fraction(fee + insurance, 10**6))
        # What a unit frees is rounded to a millionth of a USD.
        assert base <= Fraction(shortage, 10**6) / (freed - Fraction(1, 10**6)) * 10**9
        assert base + 1 > Fraction(shortage, 10**6) / (freed + Fraction(1, 10**6)) * 10**9


def test_drift_ends_a_step_at_the_buffer():
    """A long and a short of the same size lose the same; afterwards collateral meets ratio and buffer."""
    drift = cs.venues.drift
    for side in (1, -1):
        done = drift.liquidate_perp(
            side * 2 * 10**9,
            -side * 200 * 10**6,
            5 * 10**6,
            oracle=100 * 10**6,
            ratio=500,
            buffer=200,
            fee=10_000,
            largest_if_fee=10_000,
            step=10**7,
        )
        assert (done.margin_shortage, done.base, done.if_fee) == (9 * 10**6, 18 * 10**8, 18 * 10**5)
        left = 5 * 10**6 - done.if_fee - 180 * 10**6 // 100
        assert left == abs(done.user_base) * 100 // 1000 * 7 // 100
        assert done.user_base == side * 2 * 10**8
        assert done.liquidator_quote == -side * 180 * 10**6 * (100 - side) // 100
    assert drift.liquidate_perp(
        10**9, 0, 10**9, oracle=10**6, ratio=500, buffer=200, fee=0, largest_if_fee=0, step=1
    ) == drift.Step(0, 0, 0, 10**9, 0, 0)


def test_drift_sizes_and_percentages():
    drift = cs.venues.drift
    assert drift.margin_ratio(500, 10**9, 0) == 500
    assert drift.margin_ratio(500, 10**6 * 10**9, 1_000) == 400 + 10**8 * 1_000 // 10**7
    assert drift.margin_ratio(500, 1, 1) == 500
    assert not drift.is_liquidatable(5, 5)
    assert drift.is_liquidatable(4, 5)
    assert drift.may_exit(6, 6)
    assert [drift.max_percent(60 * 10**6, s, 1_000, 10) for s in (0, 1, 9, 50)] == [
        1_000,
        2_000,
        10_000,
        10_000,
    ]
    assert drift.max_percent(60 * 10**6, 1, 1_000, 10, freed=40 * 10**6) == 0
    assert drift.max_percent(60 * 10**6, 5, 1_000, 10, freed=20 * 10**6) == 28 * 10_000 // 60
    assert drift.max_percent(60 * 10**6, 1, 0, 0) == 10_000
    # 100 USD over 11 base, rounded up before three digits are added
    assert drift.socialised_funding(-100 * 10**6, 7 * 10**9, -4 * 10**9) == 9_090_910_000
    # the program's own tests: 1% insurance fee, without and with 10% multipliers
    assert (
        drift.liability_transfer(10**7, 8_000, 10**6, 12_000, 10**6, decimals=9, price=10**8, if_fee=10_000)
        == 257_731_958
    )
    assert (
        drift.liability_transfer(
            10**7, 8_000, 1_100_000, 12_000, 900_000, decimals=9, price=10**8, if_fee=10_000
        )
        == 475_669_504
    )
    assert drift.liquidation_fee(20_000, 50_000, 1_499) == 20_000
    assert drift.liquidation_fee(20_000, 50_000, 1_500) == 21_500
    with pytest.raises(cs.InputError, match="both be 0"):
        drift.socialised_funding(-1, 0, 0)
    with pytest.raises(cs.InputTypeError, match="shortage"):
        drift.liquidation_base(1.5, 500, oracle=1)


def test_gmx_counts_impact_up_to_its_cap_and_fees():
    gmx = cs.venues.gmx
    position = {
        "side": 1,
        "size_usd": 100_000,
        "size_tokens": 50,
        "collateral": 2_000,
        "collateral_price": 1,
        "index_price": 2_000,
        "min_collateral_factor": "0.01",
    }
    assert gmx.liquidation(**position) == (False, 2_000, None)
    assert not gmx.liquidation(**position, price_impact_usd=500).liquidatable
    assert gmx.liquidation(**position, price_impact_usd=-1_001).liquidatable
    capped = gmx.liquidation(**position, price_impact_usd=-5_000, max_price_impact_factor="0.005")
    assert (capped.liquidatable, capped.remaining_usd) == (False, 1_500)
    assert gmx.liquidation(**position, closing_fees_usd=1_000) == (False, 1_000, None)
    assert gmx.liquidation(**position, closing_fees_usd=1_001).liquidatable
    assert gmx.liquidation(**position, min_collateral_usd=2_001).returned == 2_000
    fee = gmx.liquidation(**position, closing_fees_usd="1200", liquidation_fee_factor="0.002")
    assert fee.returned == 600
    assert gmx.liquidation(**(position | {"index_price": 1_900})).returned == 0
    assert gmx.adl_enabled(
        side=-1, size_usd=100, size_tokens=1, index_price=40, pool_usd=100, max_pnl_factor="0.5"
    )
    assert not gmx.adl_enabled(
        side=-1, size_usd=100, size_tokens=1, index_price=50, pool_usd=100, max_pnl_factor="0.5"
    )


def test_okx_scales_the_minimum_charge_bracket_by_bracket():
    margin = cs.venues.okx.formulas.portfolio_margin
    brackets = [(0, 10_000, 1), (10_000, 70_000, 2), (70_000, None, 3)]
    assert margin(mr=40_000, mr7=30_000, brackets=brackets) == (50_000, 50_000)
    assert margin(mr=60_000, mr7=30_000, brackets=brackets) == (50_000, 60_000)
    assert margin(mr=0, mr7=80_000, brackets=brackets).mr7 == 10_000 + 120_000 + 30_000
    assert margin(mr=0, mr7=80_000, brackets=brackets[:2]).mr7 == 10_000 + 140_000
    assert margin(mr=0, mr7=5_000, brackets=brackets).mr7 == 5_000
    with pytest.raises(cs.InputError, match=r"brackets\[1\].from"):
        margin(mr=0, mr7=1, brackets=[(0, 1, 1), (2, 3, 1)])


def test_span_and_regulation_t():
    tradfi = cs.venues.tradfi
    assert len(tradfi.span_scenarios(30_000, 1)) == 16
    assert tradfi.span_scan_risk(30_000, -2) == 60_000
    assert tradfi.span_requirement(30_000, [2, -2], spread_charge=500) == 1_000
    assert tradfi.span_requirement(30_000, [3, -2], spread_charge=500, intercommodity_credit=100) == 30_900
    assert tradfi.span_requirement(30_000, [], short_option_minimum=50) == 50
    assert tradfi.call_of_long(debit=6_000).market_value == 8_000
    assert tradfi.call_of_short(credit=13_000, shares=100) == (10_000, 100)


def test_costs_that_count_the_fee_of_closing():
    """Long and short mirror each other around the entry."""
    cost = cs.venues.bybit.formulas.order_cost
    assert cost(entry=10_000, qty=1, leverage=50, taker_fee="0.00075")[-1] == Fraction("214.85")
    assert cost(side=-1, entry=10_000, qty=1, leverage=50, taker_fee="0.00075").close_fee == Fraction("7.65")
    phemex = cs.venues.phemex
    for side in (1, -1):
        margin = phemex.assigned_margin(side=side, open_value=200, leverage=5, taker_fee="0.0006")
        price = phemex.liquidation_price(
            side=side,
            size=500,
            open_value=200,
            margin=margin,
            maintenance_rate="0.01",
            taker_fee="0.0006",
            amount=1,
        )
        assert margin + side * (500 * price - 200) == 500 * price * Fraction("0.0106") - 1


def test_a_venue_is_written_in_one_line():
    venue = cs.venues.binance_usdm
    assert repr(venue) == str(venue)
    assert repr(venue).startswith("<cascade.Venue Binance USD-M: rules of 2025-09-18; variants at_equality, ")
    assert repr(venue).endswith("; tiers of 2024-10-24, 2026-09>")
    bare = cs.Venue("A", cs.VenueRules(), "2026-01-01", (), "")
    assert repr(bare) == "<cascade.Venue A: rules of 2026-01-01>"
