"""Three instruments coupled by accounts that hold two of them each: runs on both sides of a spectral radius
of 1, against what is known by hand.

Books of constant depth D lots a tick. Three groups of accounts; those of group g hold P lots of instrument g
and Q of instrument g + 1 (of three, in a circle), without maintenance, and one of each group goes for every
`step` that its positions have lost. A tick of b takes (lots of b) / step accounts of a group, so that

    K[a, b] = sum over groups (lots of a) (lots of b) / (step D):

(P^2 + Q^2) / (step D) on the diagonal, P Q / (step D) elsewhere. It is a circulant; its eigenvalues are
(P + Q)^2 / (step D), for all three prices falling alike, and twice (P^2 + Q^2 - P Q) / (step D).
"""

import time

import numpy as np
import pytest

import cascade as cs

SYMBOLS = ("X", "Y", "Z")
P, Q, DEPTH = 2, 1, 12
START, REACH = 1_000_000, 20_000
RULES = cs.VenueRules(size="all")


def coupled(radius, accounts, reach=REACH, depth=DEPTH, unit=1):
    """The market; `unit` multiplies all lots, and the money with them."""
    step = (P + Q) ** 2 / (radius * DEPTH) * unit
    market = cs.Market([cs.Instrument(s, tick_size=1, lot_size=1) for s in SYMBOLS], cash_quantum="0.0001")
    bids = {"price": START - 1 - np.arange(reach), "quantity": np.full(reach, depth * unit)}
    for symbol in SYMBOLS:
        market.load_book(symbol, bids, {"price": [START + 1], "quantity": [1]}, complete=True)
    market.set_prices(last=dict.fromkeys(SYMBOLS, START), index=dict.fromkeys(SYMBOLS, START))
    names = np.arange(3 * accounts)
    group, place = names % 3, names // 3
    market.load_accounts({"account": names, "balance": ((place + 0.5) * step).round(4)})
    market.load_positions(
        {
            "account": np.repeat(names, 2),
            "instrument": np.array(SYMBOLS)[np.stack([group, (group + 1) % 3], 1).ravel()],
            "size": np.tile([P * unit, Q * unit], len(names)),
            "entry_price": np.full(2 * len(names), START),
        }
    )
    return market


def k_matrix(radius):
    """K by hand."""
    held = np.array([[P, Q, 0], [0, P, Q], [Q, 0, P]])
    return held.T @ held * radius / (P + Q) ** 2


@pytest.mark.parametrize("radius", [0.2, 0.6, 0.9, 1.1, 1.6])
def test_criticality_is_the_matrix_and_the_radius_by_hand(radius):
    k = k_matrix(radius)
    assert np.sort(np.abs(np.linalg.eigvals(k)))[-1] == pytest.approx(radius)
    assert np.sort(np.linalg.eigvalsh(k)) == pytest.approx(np.array([1 / 3, 1 / 3, 1]) * radius)
    seen = coupled(radius, 8_000).criticality(path=[0, 1e-4], window=1e-3)
    assert seen.K[0] == pytest.approx(k, rel=1e-2)
    assert seen.spectral_radius == pytest.approx(radius, rel=1e-2)
    assert (seen.tips_at == 0) == (radius > 1)


@pytest.mark.parametrize("clearing", ["wave", "continuous"])
@pytest.mark.parametrize("radius", [0.2, 0.6, 0.9])
def test_below_one_it_dies_out_near_the_first_order_times_one_over_one_less_the_radius(radius, clearing):
    """All three are sold alike, the eigenvector of the radius: each wave is the one before times it."""
    fall = 60
    accounts = round(1.1 * fall / (1 - radius) * DEPTH * radius / (P + Q))
    market = coupled(radius, accounts)
    shock = cs.Shock(orders=dict.fromkeys(SYMBOLS, -fall * DEPTH))
    s = market.run(shock, rules=RULES.replace(clearing=clearing), record="summary").summary
    assert s["status"] == "settled"
    assert s["amplification"] == pytest.approx(1 / (1 - radius), rel=3e-3)
    for price in s["price"].values():
        assert price["start"] - price["final"] == pytest.approx(fall / (1 - radius), rel=3e-3)
    assert s["liquidated_accounts"] < 3 * accounts
    if clearing == "wave":
        damage = s["first_order_notional"] + s["higher_order_notional"]
        assert damage / s["first_order_notional"] == pytest.approx(1 / (1 - radius), rel=5e-3)


def test_one_instrument_alone_takes_the_others_along():
    radius, fall = 0.75, 300
    result = coupled(radius, 4_000).run(cs.Shock(orders={"Y": -fall * DEPTH}), rules=RULES, record="summary")
    expected = np.linalg.solve(np.eye(3) - k_matrix(radius), [0, fall, 0])
    prices = result.summary["price"]
    drops = [prices[s]["start"] - prices[s]["final"] for s in SYMBOLS]
    assert drops == pytest.approx(expected, rel=3e-3)
    assert result.audit["conserved"]


def test_the_branching_ratio_is_the_radius_below_one_and_what_the_shock_did_not_do_above(recwarn):
    below = coupled(0.6, 1_500).run(cs.Shock(orders=dict.fromkeys(SYMBOLS, -200 * DEPTH)), rules=RULES)
    assert below.branching_ratio() == pytest.approx(0.6, abs=0.01)
    above = coupled(1.5, 2_000).run(cs.Shock(orders=dict.fromkeys(SYMBOLS, -20 * DEPTH)), rules=RULES)
    by_the_shock = 20 * (P + Q) / ((P + Q) ** 2 / (1.5 * DEPTH))  # accounts of a group
    assert above.branching_ratio() == pytest.approx(1 - by_the_shock / 2_000, abs=2e-3)
    assert not recwarn.list
    few = coupled(0.6, 1_500).run(cs.Shock(orders={"X": -DEPTH}), rules=RULES, record="liquidations")
    with pytest.warns(RuntimeWarning, match="too few to say"):
        few.branching_ratio()
    none = coupled(1.5, 1).run(None, rules=RULES, record="liquidations")
    with pytest.warns(RuntimeWarning, match="0 liquidations are too few"):
        assert np.isnan(none.branching_ratio())
    totals = coupled(1.5, 100).run(cs.Shock(price=-0.01), rules=RULES, record="summary")
    for ask in ("branching_ratio", "network", "contagion"):
        words = rf"result.{ask}: the run was made with record='summary'; needs"
        with pytest.raises(cs.EngineStateError, match=words):
            getattr(totals, ask)()


@pytest.mark.parametrize("clearing", ["wave", "continuous"])
@pytest.mark.parametrize("radius", [1.1, 1.6, 5])
def test_above_one_it_runs_on_to_the_last_account(radius, clearing):
    accounts = 1_500
    market = coupled(radius, accounts)
    begun = time.perf_counter()
    result = market.run(
        cs.Shock(orders=dict.fromkeys(SYMBOLS, -20 * DEPTH)), rules=RULES.replace(clearing=clearing),
        record="summary", audit="full",
    )  # fmt: skip
    assert time.perf_counter() - begun < 20
    s = result.summary
    assert s["status"] == "settled"
    assert s["liquidated_accounts"] == 3 * accounts
    # Everything that was held has been sold: the sum is known.
    for price in s["price"].values():
        assert price["start"] - price["final"] == pytest.approx(20 + accounts * (P + Q) / DEPTH, abs=1)
    assert s["waves"] < 3 * accounts
    assert result.audit["conserved"]


@pytest.mark.parametrize("engine", ["core", "reference"])
def test_above_one_the_end_of_the_books_is_an_end_too(engine):
    """Depth for a part of what is held, in lots of which no more would be let in: nothing overflows."""
    market = coupled(3, 200, reach=2, unit=5 * 10**6)
    result = market.run(
        cs.Shock(orders=dict.fromkeys(SYMBOLS, -50 * 10**6)), rules=RULES, engine=engine, audit="full"
    )
    s = result.summary
    assert s["status"] == "stranded"
    assert s["liquidated_notional"] < 3 * 200 * (P + Q) * 5 * 10**6 * START
    assert result.audit["conserved"]
    assert sum(result.audit["contracts"].values()) == 0


def test_both_engines_agree_on_both_sides():
    for radius in (0.7, 1.4):
        market = coupled(radius, 60)
        shock = cs.Shock(orders=dict.fromkeys(SYMBOLS, -2 * DEPTH))
        for clearing in ("wave", "continuous"):
            rules = RULES.replace(clearing=clearing)
            results = [market.run(shock, rules=rules, engine=name) for name in ("core", "reference")]
            assert results[0].digest == results[1].digest
            assert results[0].summary["liquidated_accounts"] > 10
