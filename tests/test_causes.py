"""Causes: networks, contagion, branching ratios and criticality against markets that can be worked out on
paper."""

import numpy as np
import pytest

import cascade as cs

SYMBOLS = ("X", "Y", "Z")
HELD = np.array([3, 2, 1])
"""lots of X, Y, Z in every account"""
DEPTH = np.array([100, 200, 50])
"""lots a tick in each book"""
PRICE = 10_000
"""ticks, in every book"""
REACH = 2_000


def coupled(step, accounts):
    """Three books of constant depth, and accounts that all hold 3, 2, 1 lots of them.

    Account k can lose k steps (in ticks of one lot) before it goes, so that a tick of b takes
    HELD[b] / step accounts and K[a, b] = HELD[a] HELD[b] / (step DEPTH[a]): rank one,
    its spectral radius is sum(HELD**2 / DEPTH) / step.
    """
    market = cs.Market([cs.Instrument(s, tick_size=1, lot_size=1) for s in SYMBOLS])
    for symbol, depth in zip(SYMBOLS, DEPTH, strict=True):
        bids = PRICE - 1 - np.arange(REACH)
        market.load_book(
            symbol,
            {"price": bids, "quantity": np.full(REACH, depth)},
            {"price": [PRICE + 1], "quantity": [1]},
            complete=True,
        )
    market.set_prices(last=dict.fromkeys(SYMBOLS, PRICE), index=dict.fromkeys(SYMBOLS, PRICE))
    names = np.arange(1, accounts + 1)
    market.load_accounts({"account": names, "balance": (names - 0.5) * step})
    market.load_positions(
        {
            "account": np.repeat(names, 3),
            "instrument": np.tile(SYMBOLS, accounts),
            "size": np.tile(HELD, accounts),
            "entry_price": np.full(3 * accounts, PRICE),
        }
    )
    return market


def k_matrix(step):
    return np.outer(HELD / DEPTH, HELD) / step


RULES = cs.VenueRules(size="all")


@pytest.mark.parametrize("radius", [0.3, 0.8])
def test_a_subcritical_market_of_three_instruments(radius):
    """Drops come to (I - K)^-1 Q / D, whatever instrument is sold."""
    step = float(sum(HELD**2 / DEPTH) / radius)
    market, k = coupled(round(step, 6), accounts=12_000), k_matrix(step)
    assert np.abs(np.linalg.eigvals(k)).max() == pytest.approx(radius)
    seen = market.criticality(path=[0], window=0.01)
    assert seen.K[0] == pytest.approx(k, rel=0.02)
    assert seen.start == pytest.approx(radius, rel=0.02)
    for i, symbol in enumerate(SYMBOLS):
        sold = 100 * DEPTH * (np.arange(3) == i)
        result = market.run(cs.Shock(orders={symbol: -int(sold[i])}), rules=RULES, record="summary")
        expected = np.linalg.solve(np.eye(3) - k, sold / DEPTH)
        prices = result.summary["price"]
        drop = np.array([prices[s]["start"] - prices[s]["final"] for s in SYMBOLS])
        assert drop == pytest.approx(expected, rel=0.02, abs=2)
        assert result.audit["conserved"]


def test_a_supercritical_market_of_three_instruments_runs_to_its_end():
    step = float(sum(HELD**2 / DEPTH) / 1.25)
    market = coupled(round(step, 6), accounts=600)
    seen = market.criticality(path=np.linspace(0, 0.1, 11), window=0.001)
    assert seen.start == pytest.approx(1.25, rel=0.03)
    assert seen.tips_at == 0
    # Those who hold every lot that is about to go are gone further down.
    assert seen.spectral_radius[-1] == 0
    result = market.run(cs.Shock(orders={"X": -500}), rules=RULES)
    assert result.summary["liquidated_accounts"] == 600
    assert result.status == "settled"


def test_criticality_of_constant_depth_is_the_ratio_of_densities():
    for g, k in ((60, 0.6), (150, 1.5)):
        market = cs.datasets.constant_depth(d=100, g=g)
        seen = market.criticality(path=[0, 1e-4, 1e-3], window=1e-4)
        assert seen.spectral_radius[:2] == pytest.approx(k)
        assert seen.spectral_radius[2] == 0  # beyond the reach of the longs
        assert seen.density[0, 0, 0] / seen.depth[0, 0] == pytest.approx(k)
        assert seen.path["distance"].tolist() == [0, 1e-4, 1e-3]
        assert seen.matrix()["K"][0] == pytest.approx(k)


def test_criticality_upwards_looks_at_shorts_and_asks():
    instrument = cs.Instrument("X", tick_size=1, lot_size=1)
    market = cs.Market(instrument)
    book = {"price": np.arange(1_001, 1_101), "quantity": np.full(100, 10)}
    market.load_book("X", {"price": [999], "quantity": [1]}, book, complete=True)
    market.set_prices(last={"X": 1_000})
    market.load_positions(
        {"account": np.arange(50), "instrument": ["X"] * 50, "size": np.full(50, -4),
         "entry_price": 1_000 + np.arange(50) + 0.5, "margin": np.zeros(50)}
    )  # fmt: skip
    assert market.criticality(path=[0], window=0.02).start == 0
    assert market.criticality(path=[0], window=0.02, direction="up").start == pytest.approx(0.4)
    assert market.criticality(path=[0], window=0.02, direction={"X": "up"}).start == pytest.approx(0.4)


def test_criticality_says_where_depth_is_not_known():
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    bids = {"price": np.arange(999, 989, -1), "quantity": np.full(10, 10)}
    market.load_book("X", bids, {"price": [1_001], "quantity": [1]})
    market.set_prices(last={"X": 1_000})
    market.load_positions(
        {"account": [1], "instrument": ["X"], "size": [1], "entry_price": [985], "margin": [0]}
    )
    seen = market.criticality(path=[0, 0.01], window=0.005)
    assert seen.depth[0, 0] == pytest.approx(10)
    assert np.isnan(seen.depth[1, 0])
    assert seen.spectral_radius[0] == 0
    assert seen.peak == 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"direction": "left"}, cs.InputError, "criticality.direction = 'left'"),
        ({"direction": {"Q": "up"}}, cs.InputError, "criticality.direction = 'Q'"),
        ({"path": [-0.1]}, cs.InputError, "criticality.path"),
        ({"path": "near"}, cs.InputTypeError, "criticality.path = 'near'"),
        ({"path": [0.999]}, cs.InputError, "must stay below 1"),
        ({"window": 0}, cs.InputError, "criticality.window = 0"),
        ({"window": "1%"}, cs.InputTypeError, "criticality.window = '1%'"),
    ],
)
@pytest.mark.fast
def test_bad_questions_about_criticality(call, error, words):
    with pytest.raises(error, match=words.replace(".", r"\.")):
        cs.datasets.constant_depth().criticality(**call)


# -- networks and branching ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["core", "reference"])
@pytest.mark.parametrize("clearing", ["wave", "continuous"])
def test_the_network_of_a_geometric_cascade(engine, clearing):
    market = cs.datasets.constant_depth(d=100, g=60, lot="0.1")
    rules = cs.VenueRules(clearing=clearing)
    result = market.run(cs.Shock(orders={"X": -120}), rules=rules, engine=engine)
    rows = result.liquidations
    network = result.network()
    assert len(network) == (rows["cause_liquidation"] >= 0).sum()
    caused = rows.rows(rows["cause_liquidation"] >= 0)
    assert network["effect"].tolist() == caused["account"].tolist()
    assert network["cause"].tolist() == rows["account"][caused["cause_liquidation"]].tolist()
    assert network["weight"].sum() == pytest.approx(caused["notional"].sum())
    assert set(network["instrument"]) == {"X"}
    everybody = result.network(roots=True)
    assert len(everybody) == len(rows)
    assert (everybody["cause"] == "shock").sum() == (rows["cause_liquidation"] < 0).sum()
    assert result.branching_ratio() == pytest.approx(0.6, abs=0.01)
    assert len(result.network(total=True)) == len(network)  # every account goes once


def test_a_network_can_be_summed():
    market = coupled(0.5, accounts=200)
    result = market.run(cs.Shock(orders={"X": -500}), rules=RULES)
    each, summed = result.network(), result.network(total=True)
    assert len(summed) < len(each)
    assert summed["liquidations"].sum() == len(each)
    assert summed["weight"].sum() == pytest.approx(each["weight"].sum())
    keys = list(zip(summed["cause"], summed["effect"], summed["instrument"], strict=True))
    assert len(set(keys)) == len(keys)


def test_few_liquidations_say_little():
    market = cs.datasets.cluster()
    result = market.run(cs.Shock(orders={"X": -800}))
    with pytest.warns(RuntimeWarning, match="1 liquidations are too few"):
        assert result.branching_ratio() == 0
    nothing = market.run(cs.Shock())
    with pytest.warns(RuntimeWarning):
        assert np.isnan(nothing.branching_ratio())
    assert len(nothing.network()) == len(nothing.network(roots=True)) == len(nothing.contagion()) == 0


@pytest.mark.fast
def test_questions_that_need_a_record():
    market = cs.datasets.constant_depth()
    totals = market.run(cs.Shock(orders={"X": -100}), record="summary")
    rows = market.run(cs.Shock(orders={"X": -100}), record="liquidations")
    for ask in (totals.network, totals.branching_ratio, totals.contagion, rows.contagion):
        with pytest.raises(cs.EngineStateError, match="record="):
            ask()
    assert rows.network()["weight"].sum() > 0


# -- contagion ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["core", "reference"])
def test_contagion_shares_by_exposure_times_move(engine):
    """One account long 3 X and 2 Y; X falls by 40, Y by 20: X took 120, Y took 40."""
    market = coupled(1, accounts=1)
    shock = cs.Shock(price={"X": -0.004, "Y": -0.002})
    result = market.run(shock, rules=RULES, engine=engine)
    table = result.contagion()
    got = {(a, b): q for a, b, q in zip(table["instrument"], table["moved"], table["quantity"], strict=True)}
    for a, lots in zip(SYMBOLS, HELD, strict=True):
        assert got[a, "X"] == pytest.approx(lots * 0.75)
        assert got[a, "Y"] == pytest.approx(lots * 0.25)
    assert table["notional"].sum() == pytest.approx(result.liquidations["notional"].sum())


@pytest.mark.parametrize("clearing", ["wave", "continuous"])
def test_contagion_adds_up(clearing):
    market = coupled(1.0, accounts=300)
    result = market.run(cs.Shock(orders={"X": -2_000}), rules=RULES.replace(clearing=clearing))
    table, rows = result.contagion(), result.liquidations
    for a in SYMBOLS:
        mine = table["instrument"] == a
        closed = rows["quantity"] - rows["left"]
        assert table["quantity"][mine].sum() == pytest.approx(closed[rows["instrument"] == a].sum())
    assert table["notional"].sum() == pytest.approx(rows["notional"].sum())
    assert {"X", "Y", "Z"} <= set(table["moved"])


def test_withdrawn_money_is_nobodys_move():
    market = coupled(1, accounts=2)
    result = market.run(cs.Shock(cash={2: -100}), rules=RULES)
    table = result.contagion()
    own = table["moved"] == ""
    assert table["quantity"][own].sum() == HELD.sum()


# -- correlated shocks --------------------------------------------------------------------------------------


def gaps(shock, symbols):
    return np.array([shock._parts[0]["price"][s] / 1e9 for s in symbols])


def test_correlated_shocks_have_the_covariance():
    covariance = np.array([[4.0, 3.0, 0.0], [3.0, 9.0, 0.0], [0.0, 0.0, 0.0]]) * 1e-4
    rng = np.random.default_rng(3)
    for df in (None, 8):
        draws = np.array(
            [gaps(cs.Shock.correlated(covariance, SYMBOLS, rng=rng, df=df), SYMBOLS) for _ in range(20_000)]
        )
        assert np.cov(np.log1p(draws).T) == pytest.approx(covariance, abs=6e-5 if df else 2e-5)
    loadings = np.array([[2.0, 0.0], [1.0, 3.0]]) * 1e-2
    draws = np.array(
        [gaps(cs.Shock.correlated(loadings=loadings, symbols="XY", rng=rng), "XY") for _ in range(20_000)]
    )
    assert np.cov(np.log1p(draws).T) == pytest.approx(loadings @ loadings.T, abs=3e-5)


@pytest.mark.fast
def test_a_correlated_shock_repeats_with_its_seed():
    one, two = (cs.Shock.correlated(np.eye(2) * 1e-4, "XY", rng=np.random.default_rng(5)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({}, cs.InputError, "a covariance or loadings"),
        ({"covariance": np.eye(3)}, cs.InputError, r"shape \(3, 3\)"),
        ({"covariance": [[1, 2], [0, 1]]}, cs.InputError, "must be symmetric"),
        ({"covariance": [[1, 2], [2, 1]]}, cs.InputError, "positive semidefinite"),
        ({"covariance": [[np.nan, 0], [0, 1]]}, cs.InputError, "must be finite"),
        ({"covariance": "wide"}, cs.InputTypeError, "a matrix of numbers"),
        ({"loadings": np.eye(2), "rng": 7}, cs.InputTypeError, "shock.rng = 7"),
        ({"loadings": np.eye(2), "df": 2}, cs.InputError, "shock.df = 2"),
    ],
)
@pytest.mark.fast
def test_bad_correlated_shocks(call, error, words):
    with pytest.raises(error, match=words):
        cs.Shock.correlated(**{"symbols": "XY", "rng": np.random.default_rng(), **call})
