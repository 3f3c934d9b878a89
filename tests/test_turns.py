"""The rules of a turn, field by field, on both engines: stages, parts of positions, limits of fund and vault,
ranks.

Ticks, lots and the cash quantum are 1 unless said otherwise, marks are the index.
"""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import random_markets
from test_named import build, run
from twins import ENGINES, difference, run_both

import cascade as cs
from cascade.records import EventKind, Reason, Why

FUND, FEES, DEFICIT, VAULT, SETTLEMENT, FIRST = 1, 2, 4, 5, 6, 7
S = 10**9


def rules(**fields):
    return cs.VenueRules(**{"mark": "index", "residual": (), **fields})


def orders(result):
    """Signed lots, limit in ticks and flags of every order of an account."""
    x = result.events[(result.events["kind"] == EventKind.ORDER) & (result.events["a"] >= FIRST)]
    return [(int(q), int(p) // 1024) for q, p in zip(x["quantity"], x["price_1024"], strict=True)]


def flows(result, why):
    x = result.events[(result.events["kind"] == EventKind.TRANSFER) & (result.events["flags"] == why)]
    return [(int(a), int(b), int(v)) for a, b, v in zip(x["a"], x["b"], x["value"], strict=True)]


def long_of(lots, equity, *, entry=100, **more):
    """A market in which "a" is long at the index of 100 with this equity, and "b" short as much and rich."""
    fields = {
        "bids": [(100, 10 * lots)],
        "asks": [(101, 10 * lots)],
        "balances": {"a": equity + lots * (entry - 100), "b": 100 * lots},
        "positions": [("a", lots, entry), ("b", -lots, 100)],
        "tiers": 0.1,
        **more,
    }
    return build(**fields)


# -- stages


def stage(result):
    """Which of Hyperliquid's stages the account "a" met."""
    x = result.liquidations
    if not len(x):
        return "none"
    return "adl" if x["adl"].any() else "backstop" if x["takeover"].any() else "market"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("equity", "lots", "expected"),
    [
        (100, 10, "none"),
        (99, 10, "market"),
        (67, 10, "market"),
        (66, 10, "backstop"),
        (0, 10, "backstop"),
        (-1, 10, "adl"),
        (100, 15, "market"),
        (99, 15, "backstop"),  # 100 of 150 is 2/3 exactly
    ],
)
def test_stages_below_maintenance(engine, equity, lots, expected):
    for two_thirds in (Fraction(2, 3), 2 / 3, "0.6666666666666666"):
        chosen = rules(vault_below=two_thirds, adl_below=0, adl_price="previous_mark")
        assert stage(run(long_of(lots, equity, vault=1000, rules=chosen), engine)) == expected


@pytest.mark.fast
def test_the_vault_takes_positions_at_the_mark_and_what_is_left(engine):
    result = run(
        long_of(10, 60, vault=1000, rules=rules(vault_below=Fraction(2, 3)), liquidation_fee=0.01), engine
    )
    assert result.liquidations["takeover"].tolist() == [10]
    assert result.liquidations["notional"].tolist() == [1000]
    assert result.liquidations["surplus"].tolist() == [60]
    assert result.liquidations["fee"].tolist() == [0]
    assert flows(result, Why.TAKEN) == [(FIRST, VAULT, 60)]
    assert not orders(result)
    held = zip(result.positions["margin_mode"], result.positions["size"], strict=True)
    assert [size for mode, size in held if mode == "system"] == [10]
    assert result.status == "settled"


@pytest.mark.fast
def test_the_vault_takes_all_or_none(engine):
    """Two positions of 1000 each would be twice its equity of 1000: under a cap of 1 both go to the book."""
    for cap, taken in ((1, 0), (2, 20)):
        market = cs.Market(
            [cs.Instrument(s, tick_size=1, lot_size=1, tiers=0.1) for s in "XY"],
            vault=1000,
            cash_quantum=1,
            rules=rules(vault_below=1, vault_cap=cap, size="all"),
        )
        for symbol in "XY":
            market.load_book(
                symbol,
                {"price": [100.0], "quantity": [10.0]},
                {"price": [101.0], "quantity": [9.0]},
                complete=True,
            )
        market.load_accounts({"account": ["a"], "balance": [100.0]})
        market.load_positions(
            {
                "account": ["a"] * 2,
                "instrument": ["X", "Y"],
                "size": [10.0, -10.0],
                "entry_price": [100.0] * 2,
            }
        )
        market.set_prices(index={"X": 100, "Y": 100})
        result = run(market, engine)
        assert result.liquidations["takeover"].sum() == taken
        assert len(orders(result)) == (0 if taken else 2)


@pytest.mark.fast
def test_an_isolated_position_is_taken_with_its_own_margin_only(engine):
    market = build(
        bids=[(100, 99)],
        asks=[(101, 99)],
        balances={"a": 5000},
        positions=[("a", 10, 100, 60)],
        tiers=0.1,
        vault=1000,
        rules=rules(vault_below=Fraction(2, 3)),
    )
    result = run(market, engine)
    assert flows(result, Why.TAKEN) == [(FIRST + 1, VAULT, 60)]
    assert result.accounts["balance"].tolist() == [5000, 0]


@pytest.mark.fast
def test_a_vault_without_room_leaves_the_account_to_the_orders(engine):
    result = run(long_of(10, 60, vault=0, rules=rules(vault_below=1)), engine)
    assert stage(result) == "market"
    assert orders(result) == [(-10, 0)]


@pytest.mark.fast
def test_an_account_below_zero_is_deleveraged_at_the_previous_mark(engine):
    """In the first step the mark before is the mark; the loss is the deficit."""
    result = run(long_of(10, -70, rules=rules(adl_below=0, adl_price="previous_mark")), engine)
    assert result.adl["price"].tolist() == [100]
    assert not orders(result)
    assert result.summary["deficit"] == 70
    x = result.liquidations
    assert (x["adl"].tolist(), x["left"].tolist(), x["status"].tolist()) == ([10], [0], ["closed"])


@pytest.mark.fast
def test_what_finds_no_counterparty_is_ordered(engine):
    market = long_of(
        10, -70, rules=rules(adl_below=0, adl_price="mark"), positions=[("a", 10, 100), ("b", -4, 100)]
    )
    result = run(market, engine)
    x = result.liquidations
    assert x["status"].tolist() == ["part", "closed"]
    assert (x["adl"].tolist(), x["left"].tolist(), x["filled"].tolist()) == ([4, 0], [6, 0], [0, 6])
    assert orders(result) == [(-6, 0)]


# -- parts of positions


HYPERLIQUID = {
    "size": "fraction",
    "size_fraction": 0.2,
    "size_above": 100_000,
    "then_whole": True,
    "cooldown_ns": 30 * S,
}


@pytest.mark.fast
@pytest.mark.parametrize(("lots", "ordered"), [(1000, 1000), (1001, 200), (5000, 1000), (999, 999)])
def test_a_fifth_of_a_large_position_is_ordered(engine, lots, ordered):
    result = run(long_of(lots, 1, rules=rules(**HYPERLIQUID)), engine)
    assert orders(result) == [(-ordered, 0)]
    assert result.status == ("settled" if ordered == lots else "horizon")


@pytest.mark.fast
def test_after_the_rest_the_whole_position_is_ordered(engine):
    sim = long_of(2000, 1, rules=rules(**HYPERLIQUID)).start(engine=engine)
    sim.settle()
    assert orders(sim.result()) == [(-400, 0)]
    assert sim.result().status == "horizon"
    sim.advance_ns(30 * S - 1)
    sim.settle()
    assert len(orders(sim.result())) == 1
    sim.advance_ns(1)
    sim.settle()
    result = sim.result()
    assert orders(result) == [(-400, 0), (-1600, 0)]
    assert result.status == "settled"
    x = result.liquidations
    assert x["time_ns"].tolist() == [0, 30 * S]
    assert x["cause"].tolist() == [-2, -2]  # as it was before the shock
    assert x["wave"][1] > x["wave"][0]


@pytest.mark.fast
def test_a_cascade_goes_on_after_a_rest(engine):
    """The second order belongs to the same cascade: its cause stays the mark that the shock moved."""
    market = long_of(2000, 20_500, rules=rules(mark="last", **HYPERLIQUID), bids=[(100, 1), (90, 90_000)])
    sim = market.start(cs.Shock(orders={"X": -2}), engine=engine)
    sim.settle()
    sim.advance_ns(30 * S)
    sim.settle()
    x = sim.result().liquidations
    assert orders(sim.result()) == [(-400, 0), (-1600, 0)]
    assert x["cause"].tolist() == [-1, -1]


@pytest.mark.fast
def test_fractions_follow_each_other_without_a_cooldown(engine):
    result = run(long_of(100, 1, rules=rules(size="fraction", size_fraction=0.5, size_minimum=700)), engine)
    assert orders(result) == [(-50, 0), (-25, 0), (-12, 0), (-7, 0), (-6, 0)]
    assert result.liquidations["step"].tolist() == [1, 2, 3, 4, 5]
    whole = rules(size="fraction", size_fraction=0.5, then_whole=True)
    assert orders(run(long_of(100, 1, rules=whole), engine)) == [(-50, 0), (-50, 0)]


@pytest.mark.fast
def test_a_fraction_stops_when_the_account_is_healthy(engine):
    """Maintenance is a tenth: 910 covers 91 of 100 lots."""
    result = run(long_of(100, 910, rules=rules(size="fraction", size_fraction=0.03)), engine)
    assert orders(result) == [(-3, 0)] + [(-2, 0)] * 3
    assert result.status == "settled"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("notional", "minimum", "portion", "least", "most"),
    [
        (50_000_000_000, 100, "0.5", 100, 25_000_000_000),  # dydx-size-2
        (5_000_000, 10_000_000, "1", 5_000_000, 5_000_000),  # dydx-size-3
        (5_000_009, 7, "0.1", 7, 500_000),  # the chain rounds parts down
        (5_000_009, 0, "0.0000001", 1, 1),  # but never to nothing
    ],
)
def test_dydx_sizes(engine, notional, minimum, portion, least, most):
    ordered = []
    for fraction in (0, portion):
        chosen = rules(size="fraction", size_fraction=fraction, size_minimum=minimum, cooldown_ns=1)
        market = build(
            bids=[(1, 10**11)],
            asks=[(2, 1)],
            balances={"a": 1},
            positions=[("a", notional, 1)],
            tiers=0.1,
            last=1,
            index=1,
            rules=chosen,
        )
        ordered.append(-orders(run(market, engine))[0][0])
    assert ordered == [least, most]


def test_okx_goes_down_to_the_first_tier(engine):
    """okx-partial-1: 15,000 contracts, the first tier holds 2,000."""
    tiers = [(0, 2001, 1, 0.01), (2001, None, 1, 0.02)]
    market = build(
        bids=[(1, 10**6)],
        asks=[(2, 1)],
        balances={"a": 250},
        positions=[("a", 15_000, 1)],
        tiers=tiers,
        last=1,
        index=1,
        rules=rules(size="step_down"),
    )
    result = run(market, engine)
    assert orders(result) == [(-13_000, 0)]
    assert result.status == "settled"


TIERS = [(0, 1000, 1, 0.1), (1000, 2000, 1, 0.15), (2000, 3000, 1, 0.2), (3000, None, 1, 0.25)]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("equity", "trigger", "first"),
    [(399, "lt", 40), (400, "lt", 11), (400, "le", 40), (401, "le", 11), (699, "lt", 11)],
)
def test_who_fails_in_the_first_tier_too_is_ordered_whole(engine, equity, trigger, first):
    """4,000 need 700 where they are and 400 at the first tier's rate."""
    chosen = rules(size="step_down", first_tier_whole=True, trigger=trigger)
    result = run(long_of(40, equity, tiers=TIERS, rules=chosen), engine)
    assert orders(result)[0][0] == -first


@pytest.mark.fast
@pytest.mark.parametrize("venue", ["okx", "dydx"])
def test_presets_that_ask_before_they_take_all(venue):
    chosen = getattr(cs.venues, venue).rules
    assert (chosen.first_tier_whole, chosen.adl_negative_only) == (venue == "okx", venue == "dydx")


@pytest.mark.fast
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [-11, -10, -10, -9]),  # from 4000 below 3000, 2000, 1000, then the rest
        (2, [-21, -19]),  # below 2000 at once; its tier 1 is too low for two more steps
        (3, [-31, -9]),
        (4, [-40]),
    ],
)
def test_steps_down(engine, steps, expected):
    result = run(long_of(40, 1, tiers=TIERS, rules=rules(size="step_down", size_steps=steps)), engine)
    assert [q for q, _ in orders(result)] == expected
    assert set(result.liquidations["step"].tolist()) == {1}


@pytest.mark.fast
def test_a_step_down_that_is_not_filled_is_followed_by_the_whole_position(engine):
    for tif, expected in (("fok", [(-11, 0), (-40, 0)]), ("ioc", [(-11, 0), (-35, 0)])):
        chosen = rules(size="step_down", order_tif=tif, residual=("adl",), adl_price="mark")
        result = run(long_of(40, 1, bids=[(100, 5)], tiers=TIERS, rules=chosen), engine)
        assert orders(result) == expected
        x = result.liquidations
        assert x["status"].tolist() == ["part", "closed"]
        assert x["adl"].tolist() == [0, 35]
        cancels = result.events[result.events["kind"] == EventKind.CANCEL]
        assert cancels["flags"][0] == (Reason.FOK_UNFILLABLE if tif == "fok" else Reason.IOC)


@pytest.mark.fast
def test_fill_or_kill_looks_at_limit_and_knowledge(engine):
    """The bankruptcy price is 100: of the 11 lots wanted 5 lie there. Beyond known depth nothing is there to
    fill."""
    chosen = rules(size="step_down", order_tif="fok", order_price="bankruptcy")
    result = run(long_of(40, 0, bids=[(100, 5), (99, 99)], tiers=TIERS, rules=chosen), engine)
    assert result.liquidations["filled"].tolist()[:2] == [0, 5]
    unknown = {"bids": [(100, 5)], "complete": False}
    market = long_of(40, 1, **unknown, tiers=TIERS, rules=rules(size="step_down", order_tif="fok"))
    result = run(market, engine)
    assert result.liquidations["filled"].tolist() == [0, 5]
    assert result.status == "out_of_data"


@pytest.mark.fast
def test_an_own_order_does_not_fill_a_fill_or_kill_order(engine):
    market = long_of(
        40,
        1,
        bids=[(100, 6)],
        orders=[("a", "buy", 100, 5)],
        tiers=TIERS,
        rules=rules(size="step_down", order_tif="fok", cancel_orders=False),
    )
    assert run(market, engine).liquidations["filled"].tolist()[:2] == [0, 6]


@pytest.mark.fast
def test_steps_rest_under_a_cooldown(engine):
    chosen = rules(size="step_down", cooldown_ns=60 * S)
    sim = long_of(40, 1, tiers=TIERS, rules=chosen).start(engine=engine)
    lots = []
    for _ in range(4):
        sim.settle()
        lots.append([q for q, _ in orders(sim.result())])
        sim.advance_ns(60 * S)
    assert lots == [[-11], [-11, -10], [-11, -10, -10], [-11, -10, -10, -9]]
    assert sim.result().status == "settled"


@pytest.mark.fast
def test_as_little_as_restores_health(engine):
    """A tenth of 10,000 is needed and 905 there: 90 lots can stay. With fees of 1% a lot closed costs 1 and
    frees 10, so that 11 lots are closed, which leaves 894 for 890."""
    assert orders(run(long_of(100, 905, rules=rules(size="restore")), engine)) == [(-10, 0)]
    with_fee = long_of(100, 905, rules=rules(size="restore"), taker_fee=0.01)
    assert orders(run(with_fee, engine)) == [(-11, 0)]
    split = long_of(100, 905, rules=rules(size="restore"), taker_fee=0.005, liquidation_fee=0.005)
    assert orders(run(split, engine)) == [(-11, 0)]
    # Drift: with 2% more maintenance only 75 of 100 lots can stay.
    assert orders(run(long_of(100, 905, rules=rules(size="restore", size_buffer=0.02)), engine)) == [(-25, 0)]
    # No number of lots helps where fees are as high as maintenance.
    assert orders(run(long_of(100, 905, rules=rules(size="restore"), taker_fee=0.1), engine)) == [(-100, 0)]


@pytest.mark.fast
def test_the_rest_goes_to_the_bankruptcy_price_if_restoring_was_not_enough(engine):
    """Binance: the book takes 4 of the 10 lots within the bankruptcy price; the fund's walk takes the other
    96."""
    chosen = rules(size="restore", order_price="bankruptcy", residual=("fund_walk", "adl"))
    market = long_of(100, 905, bids=[(100, 4), (85, 200)], fund=10_000, rules=chosen)
    result = run(market, engine)
    x = result.liquidations
    assert x["status"].tolist() == ["part", "closed"]
    assert (x["quantity"].tolist(), x["filled"].tolist(), x["left"].tolist()) == ([10, 96], [4, 96], [6, 0])
    assert [q for q, _ in orders(result)] == [-10, -96, -96]
    assert x["fund"][1] == 96 * 15 - 905


@pytest.mark.fast
def test_parts_keep_the_bankruptcy_price_of_the_whole(engine):
    chosen = rules(size="fraction", size_fraction=0.5, order_price="bankruptcy", cooldown_ns=1)
    result = run(long_of(100, 305, rules=chosen), engine)
    assert orders(result) == [(-50, 97)]
    assert result.liquidations["bankruptcy_price"].tolist() == [96.95]


def lots_to_health(lots, equity, tiers, taker, buffer, le):
    """By trying every number: what `restore` must find where maintenance is continuous."""

    def needed(n):
        k = max(k for k, t in enumerate(tiers) if t[0] <= 100 * n)
        amounts = [0]
        for before, after in pairwise(tiers):
            amounts.append(amounts[-1] + after[0] * (after[3] - before[3]))
        margin = -((-100 * n * tiers[k][3]) // 1) - round(amounts[k])
        return max(0, margin) + -((-100 * n * buffer) // 1)

    for n in range(1, lots):
        after = equity - -((-100 * n * taker) // 1)
        if after > needed(lots - n) if le else after >= needed(lots - n):
            return n
    return lots


def sized(seed):
    """A position in some tier, somewhat short of maintenance, under sizes of parts."""
    rng = random.Random(f"sized {seed}")
    rates = sorted(rng.sample(range(2, 40), 4))
    floors = [0, *sorted(rng.sample(range(5, 60), 3))]
    tiers = [
        (f * 100, c, 1, Fraction(r, 100))
        for f, c, r in zip(floors, [*(f * 100 for f in floors[1:]), None], rates, strict=True)
    ]
    lots = rng.randint(2, 80)
    margin = int(
        sum(
            max(0, min(100 * lots, tiers[k + 1][0] if k < 3 else 10**9) - t[0]) * t[3]
            for k, t in enumerate(tiers)
        )
    )
    fields = {
        "size": rng.choice(("restore", "restore", "step_down", "fraction")),
        "size_fraction": rng.random(),
        "size_steps": rng.randint(1, 3),
        "size_buffer": rng.choice((0, 0, Fraction(1, 50))),
        "order_tif": rng.choice(("ioc", "fok")),
        "cooldown_ns": rng.choice((0, 5)),
        "trigger": rng.choice(("lt", "le")),
        "residual": rng.choice(((), ("adl",))),
        "order_price": rng.choice(("market", "bankruptcy", "fillable")),
        "then_whole": rng.random() < 0.5,
    }
    equity = max(0, margin - rng.randint(1, 1 + margin // 2))
    taker = rng.choice((0, 0, Fraction(1, 100), Fraction(1, 20)))
    side = rng.choice((1, -1))
    depth = [(100, rng.randint(1, 2 * lots)), (90, rng.randint(1, 50))]
    market = (
        build(
            bids=depth,
            asks=[(101, 5)] if side > 0 else [(110, 5)],
            balances={"a": equity, "b": 10**5},
            positions=[("a", side * lots, 100), ("b", -side * lots, 100)],
            tiers=tiers,
            taker_fee=taker,
            rules=rules(**fields),
        )
        if side > 0
        else build(
            bids=[(90, 5)],
            asks=[(100, depth[0][1]), (110, depth[1][1])],
            balances={"a": equity, "b": 10**5},
            positions=[("a", -lots, 100), ("b", lots, 100)],
            tiers=tiers,
            taker_fee=taker,
            rules=rules(**fields),
        )
    )
    return market, lots, equity, tiers, taker, fields


def test_sizes_over_random_tiers():
    """Both engines agree, and the first order of `restore` is what trying every number finds."""
    restored = 0
    for seed in range(400):
        market, lots, equity, tiers, taker, fields = sized(seed)
        reference, core = run_both(market, None, {})
        text = difference(reference, core)
        assert not text, f"seed {seed}: {text}"
        if fields["size"] == "restore" and orders(core):
            found = lots_to_health(
                lots, equity, tiers, taker, fields["size_buffer"], fields["trigger"] == "le"
            )
            assert abs(orders(core)[0][0]) == found, seed
            restored += found < lots
    assert restored > 50


def in_time(seed, engine):
    """A simulation in which time passes and prices fall again."""
    market, shock, run_ = random_markets.make(seed)
    sim = market.start(shock, engine=engine, audit="full", **run_)
    for _ in range(4):
        for _ in range(400):
            if not sim.step():
                break
        else:
            raise AssertionError(f"seed {seed}: endless")
        sim.advance_ns(10 * S)
    sim.apply(cs.Shock(price=-0.03))
    sim.settle()
    return sim.result()


@pytest.mark.parametrize("chunk", range(4))
def test_engines_agree_while_time_passes(chunk):
    for seed in range(chunk * 100, (chunk + 1) * 100):
        text = difference(*(in_time(seed, engine) for engine in ENGINES))
        assert not text, f"seed {seed}: {text}"


# -- fund, vault and fees


@pytest.mark.fast
def test_bybit_and_okx_fund_guards():
    bybit = cs.VenueRules(fund_stop=0.3, fund_resume=0.25, fund_stop_above=1)
    guard = bybit.fund_guard(1_000_000, 1_000_000, pnl=-350_000, max_pnl=0)  # bb-adl-1
    assert (guard.ratio, guard.triggered, guard.overshoot) == (Fraction("-0.35"), True, 50_000)
    for at, triggered in (("le", True), ("lt", False)):  # bb-adl-2, whose text and numbers disagree
        guard = bybit.replace(fund_stop_at=at).fund_guard(
            2_000_000, 2_000_000, pnl=400_000, max_pnl=1_000_000
        )
        assert (guard.ratio, guard.triggered, guard.overshoot) == (Fraction("-0.3"), triggered, 0)
    assert not bybit.fund_guard(100, 100, pnl=-25, max_pnl=0).resumed
    assert bybit.fund_guard(100, 100, pnl=-24, max_pnl=0).resumed
    assert bybit.fund_guard(0, 100, pnl=0, max_pnl=0).triggered  # an empty pool
    assert not bybit.fund_guard(1, 100).triggered  # not above 1
    okx = cs.VenueRules(fund_stop="0.30", fund_stop_amount=50_000)
    guard = okx.fund_guard(200_000, 400_000)  # okx-adl-1
    assert (guard.threshold, guard.triggered) == (280_000, True)
    assert okx.fund_guard(100_000, 100_000).threshold == 50_000
    assert not cs.VenueRules().fund_guard(1, 10**6).triggered


def debtors(n, **fields):
    """n accounts of 10 lots each that owe 30 once closed at 100."""
    return build(
        bids=[(100, 1000)],
        asks=[(101, 1)],
        balances={f"a{k}": -30 for k in range(n)},
        positions=[(f"a{k}", 10, 100) for k in range(n)],
        tiers=0.1,
        **fields,
    )


@pytest.mark.fast
def test_the_fund_stops_at_its_drawdown(engine):
    """Of 100 it may lose 30 (lt: before more is gone it pays 60)."""
    for at, paid in (("le", 30), ("lt", 60)):
        result = run(debtors(4, fund=100, rules=rules(fund_stop=0.3, fund_stop_at=at)), engine)
        assert result.summary["fund_end"] == 100 - paid
        assert result.summary["deficit"] == 120 - paid
    least = rules(fund_stop=0.3, fund_stop_amount=80)
    assert run(debtors(4, fund=100, rules=least), engine).summary["fund_end"] == 10
    above = rules(fund_stop=0.3, fund_stop_at="le", fund_stop_above=70)
    assert run(debtors(4, fund=100, rules=above), engine).summary["fund_end"] == 0


@pytest.mark.fast
def test_a_stopped_fund_pays_again(engine):
    """a0's 30 stop it; the surplus of the third account, 40, brings it back to 110."""
    for resume, fund in ((0.1, 80), (None, 80), (0, 80)):
        market = build(
            bids=[(100, 1000)],
            asks=[(101, 1)],
            balances={"a": -30, "b": -30, "c": 40, "d": -30},
            positions=[(x, 10, 100) for x in "abcd"],
            tiers=0.1,
            fund=100,
            rules=rules(fund_stop=0.3, fund_resume=resume, fund_stop_at="le", surplus="fund", queue="fifo"),
        )
        result = run(market, engine)
        assert flows(result, Why.SURPLUS) == [(FIRST + 2, FUND, 40)]
        assert result.summary["fund_end"] == fund
        assert result.summary["deficit"] == 30


@pytest.mark.fast
def test_deleveraging_begins_where_the_fund_stops(engine):
    chosen = rules(order_price="bankruptcy", residual=("fund_walk", "adl"), fund_stop=0, fund_stop_at="le")
    market = long_of(10, 50, bids=[(90, 99)], fund=1000, rules=chosen)
    result = run(market, engine)
    assert result.liquidations["fund"].tolist() == [0]
    assert result.liquidations["adl"].tolist() == [10]
    paying = run(market, engine, rules=chosen.replace(fund_stop=None))
    assert (paying.liquidations["fund"].tolist(), paying.liquidations["adl"].tolist()) == ([50], [0])


@pytest.mark.fast
def test_the_fund_pays_so_much_a_step(engine):
    result = run(debtors(1, fund=100, rules=rules(fund_per_step=12)), engine)
    assert flows(result, Why.SHORTFALL) == [(FUND, FIRST, 12), (FUND, FIRST, 12), (FUND, FIRST, 6)]
    assert result.liquidations["step"].tolist() == [1, 2, 3]
    assert result.summary["deficit"] == 0
    assert run(debtors(1, fund=100, rules=rules(fund_per_step=0)), engine).summary["deficit"] == 30


@pytest.mark.fast
def test_orders_close_so_much_a_step(engine):
    result = run(long_of(10, 1, rules=rules(notional_per_step=450)), engine)
    assert orders(result) == [(-4, 0), (-4, 0), (-2, 0)]
    assert result.liquidations["step"].tolist() == [1, 2, 3]
    assert orders(run(long_of(3, 1, rules=rules(notional_per_step=99)), engine)) == [(-1, 0)] * 3


@pytest.mark.fast
def test_winners_share_a_loss_by_profit(engine):
    """okx-clawback-1: 100 lost, 40 in the fund, profits of 300 and 100: 3/20 of them are taken."""
    market = build(
        bids=[(100, 99)],
        asks=[(101, 1)],
        balances={"a": -100, "x": 0, "y": 900, "z": 5000},
        positions=[("a", 10, 100), ("x", 10, 70), ("y", 10, 90), ("z", 10, 101)],
        fund=40,
        rules=rules(shortfall=("fund", "socialise"), socialise_by="profit"),
    )
    result = run(market, engine)
    assert flows(result, Why.SOCIALISED) == [(FIRST + 1, FIRST, 45), (FIRST + 2, FIRST, 15)]
    by_equity = run(market, engine, rules=rules(shortfall=("fund", "socialise")))
    assert len(flows(by_equity, Why.SOCIALISED)) == 3


@pytest.mark.fast
@pytest.mark.parametrize(
    ("bankruptcy", "price", "sign"), [(8730, 8700, -1), (8680, 8700, 1), (6950, 6980, 1), (8700, 8700, 0)]
)
def test_the_fund_gets_what_is_better_than_bankruptcy_and_pays_what_is_worse(
    engine, bankruptcy, price, sign
):
    """bb-if-1 to 3, a long."""
    market = build(
        bids=[(price, 1)],
        asks=[(price + 5, 1)],
        balances={"a": bankruptcy * -1 + 9000},
        positions=[("a", 1, 9000)],
        index=bankruptcy + 1,
        last=price,
        fund=100,
        tiers=0.01,
        rules=rules(order_price="bankruptcy", residual=("fund_walk", "adl"), surplus="fund"),
    )
    result = run(market, engine)
    assert result.liquidations["filled"].tolist() == [1]
    assert np.sign(result.summary["fund_end"] - 100) == sign


@pytest.mark.fast
def test_fees_and_surplus_to_the_vault(engine):
    chosen = rules(surplus="vault", fee_to="vault")
    result = run(long_of(10, 90, vault=5, rules=chosen, liquidation_fee=0.02), engine)
    assert flows(result, Why.LIQUIDATION_FEE) == [(FIRST, VAULT, 20)]
    assert flows(result, Why.SURPLUS) == [(FIRST, VAULT, 70)]


DYDX = {
    "order_price": "fillable",
    "fee_cap": "improvement",
    "residual": ("fund_walk", "adl"),
    "adl_overlap": True,
}


def dydx_account(quote, size, mark, fee, fill_price, fund=10**6):
    """A dYdX account: its quote balance and a position of 0.1 BTC (in lots of 1e-8) against a book at one
    price."""
    market = cs.Market(
        cs.Instrument("BTC", tick_size=1, lot_size="0.00000001", tiers="0.1", liquidation_fee=fee),
        fund=fund,
        cash_quantum="0.00000001",
        rules=rules(**DYDX),
    )
    level = {"price": [float(fill_price)], "quantity": [1.0]}
    nothing = {"price": [], "quantity": []}
    market.load_book("BTC", *((level, nothing) if size > 0 else (nothing, level)), complete=True)
    market.load_accounts({"account": ["a"], "balance": [float(quote + size * mark)]})
    market.load_positions(
        {"account": ["a"], "instrument": ["BTC"], "size": [size], "entry_price": [float(mark)]}
    )
    market.set_prices(index={"BTC": mark}, last={"BTC": fill_price})
    return market


@pytest.mark.fast
@pytest.mark.parametrize(
    ("quote", "size", "fill_price", "fee", "delta"),
    [
        (-5100, 0.1, 56100, "0.005", 28.05),
        (-5100, 0.1, 56100, "0.025", 140.25),  # dydx-if-01, 02
        (4900, -0.1, 44100, "0.005", 22.05),
        (4900, -0.1, 44100, "1", 490),  # 04, 06
        (-5100, 0.1, 51051, "0.005", 5.1),
        (-5100, 0.1, 51000, "0.005", 0),  # 07, 09
        (4900, -0.1, 49000, "0.005", 0),
        (-5100, 0.1, 50490, "0.005", -51),  # 10, 11
    ],
)
def test_dydx_insurance_fund(engine, quote, size, fill_price, fee, delta):
    result = run(dydx_account(quote, size, 50000, fee, fill_price), engine)
    assert result.liquidations["filled"].tolist() == [0.1]
    assert round(result.summary["fund_end"] - result.summary["fund_start"], 8) == delta
    assert result.summary["deficit"] == 0


@pytest.mark.fast
def test_a_fillable_order_stops_where_the_fund_cannot_pay(engine):
    result = run(dydx_account(-5100, 0.1, 50000, 0, 50490, fund=10), engine)
    x = result.liquidations
    assert round(float(x["fund"][0]), 2) == 10
    assert 0 < x["left"][0] < 0.1
    assert result.status == "stranded"


# -- the fillable price


@pytest.mark.fast
@pytest.mark.parametrize(
    ("quote", "size", "adjustment", "spread", "expected"),
    [
        (-4501, 0.1, 1, "0.2", 49998),
        (5499, -0.1, 1, "0.1", 50001),
        (5499, -0.1, 2, "0.1", 50002),  # 03, 04, 05
        (5499, -0.1, 1, "0.2", 50002),
        (5000, -0.1, 1, "0.1", 50500),
        (-5500, 0.1, 1, "0.1", 49500),  # 06, 08, 09
        (-4501, 0.1, "4294.967295", "0.1", 49500),
        (-4501, 0.1, 1, "0.000001", 49999.99999),  # 12, 13
    ],
)
def test_dydx_fillable_prices(engine, quote, size, adjustment, spread, expected):
    chosen = rules(**DYDX, fillable_adjustment=adjustment, fillable_spread=spread)
    market = dydx_account(quote, size, 50000, 0, 50000)
    assert market.fillable_prices(chosen)["fillable_price"].tolist() == [expected]
    (order,) = orders(run(market, engine, rules=chosen))
    assert order[1] == (-(-expected // 1) if size > 0 else expected // 1)


@pytest.mark.fast
def test_a_fillable_price_shares_the_shortage_of_the_account():
    """dydx-fill-11: two longs, 0.004 BTC and 0.1 ETH, with 10 of 25 left: 3,000 less 0.6 * 0.1 * 15 / 0.1...
    = 2,976."""
    market = cs.Market(
        [
            cs.Instrument("BTC", tick_size=1, lot_size="0.001", tiers="0.1"),
            cs.Instrument("ETH", tick_size="0.1", lot_size="0.01", tiers="0.1"),
        ],
        rules=rules(order_price="fillable"),
    )
    market.load_accounts({"account": ["a"], "balance": [10.0]})
    market.load_positions(
        {
            "account": ["a"] * 2,
            "instrument": ["BTC", "ETH"],
            "size": [0.004, 0.1],
            "entry_price": [50000.0, 3000.0],
        }
    )
    market.set_prices(index={"BTC": 50000, "ETH": 3000})
    assert market.fillable_prices()["fillable_price"].tolist() == [49600, 2976]


def test_limits_at_the_fillable_price_over_random_accounts(engine):
    """The limit is the exact fillable price, rounded to the tick that favours the account."""
    seen = 0
    for seed in range(150):
        rng = random.Random(f"fillable {seed}")
        lots, equity = rng.choice((1, -1)) * rng.randint(1, 10**6), rng.randint(-(10**7), 10**7)
        rate = Fraction(rng.randint(1, 200), 1000)
        adjustment, spread = (
            Fraction(rng.randint(0, 10**12), 10**12) * 9,
            Fraction(rng.randint(0, 10**12), 10**12),
        )
        market = build(
            balances={"a": equity},
            positions=[("a", lots, 100)],
            tiers=rate,
            rules=rules(order_price="fillable", fillable_adjustment=adjustment, fillable_spread=spread),
        )
        result = run(market, engine)
        if not orders(result):
            continue
        needed = -((-100 * abs(lots) * rate) // 1)
        part = min(max(adjustment * Fraction(needed - equity, needed), 0), 1)
        price = (100 * lots - part * spread * needed) / lots
        seen += price.denominator > 1
        expected = max(1, -((-price) // 1) if lots > 0 else price // 1)
        assert orders(result) == [(-lots, expected)], seed
    assert seen > 50


@pytest.mark.fast
def test_the_queue_by_fillable_price(engine):
    """Who concedes the larger part goes first, then the larger notional, then the earlier account."""
    market = build(
        bids=[(100, 999)],
        asks=[(101, 1)],
        balances={"a": 90, "b": 80, "c": 180, "d": 90},
        positions=[("a", 10, 100), ("b", 10, 100), ("c", 20, 100), ("d", 10, 100)],
        tiers=0.1,
        rules=rules(queue="fillable"),
    )
    assert run(market, engine).liquidations["account"].tolist() == ["b", "c", "a", "d"]


# -- deleveraging


def delev(liquidated, offsetting, **fields):
    """A dYdX short of 1 at 50,000 against a long of 1, by their quote balances."""
    chosen = rules(residual=("adl",), adl_rank="none", trigger="le", **{"adl_overlap": True, **fields})
    return build(
        balances={"short": liquidated - 50_000, "long": offsetting + 50_000},
        tiers=0.1,
        last=50_000,
        index=50_000,
        positions=[("short", -1, 50_000), ("long", 1, 50_000)],
        rules=chosen,
    )


@pytest.mark.fast
@pytest.mark.parametrize(
    ("liquidated", "offsetting", "after"),
    [
        (54_999, 50_000, 104_999),
        (54_999, -45_001, 9_998),
        (50_000, 50_000, 100_000),
        (50_000, -50_000, 0),
        (50_000, -50_001, None),
    ],
)
def test_dydx_deleveraging(engine, liquidated, offsetting, after):
    """dydx-delev-1, 2, 4, 5, 6: at the short's bankruptcy price, refused where the long would end below
    zero."""
    result = run(delev(liquidated, offsetting), engine)
    closed = [b == "long" for b in result.adl["counterparty"].tolist()]
    assert closed == ([] if after is None else [True])
    if after is not None:
        moved = result.accounts["balance"][result.accounts["account"] == "long"]
        assert moved.tolist() == [after]
    if after is None:
        assert len(run(delev(liquidated, offsetting, adl_overlap=False), engine).adl) == 1


@pytest.mark.fast
@pytest.mark.parametrize(("liquidated", "closed"), [(54_999, 0), (50_000, 0), (49_999, 1)])
def test_only_who_owes_is_deleveraged(engine, liquidated, closed):
    """The chain deleverages where net collateral is below 0; above, an order without takers waits."""
    result = run(delev(liquidated, 60_000, adl_negative_only=True), engine)
    assert len(result.adl) == closed
    assert result.liquidations["status"].tolist() == (["closed"] if closed else ["stranded"])


@pytest.mark.fast
def test_a_refused_counterparty_is_asked_again(engine):
    """The long "x" cannot take the first short's price of 90, but the second's of 100."""
    market = build(
        balances={"s": -10, "t": 0, "x": 5, "y": 1000},
        tiers=0.1,
        last=100,
        index=100,
        positions=[("s", -1, 100), ("t", -1, 100), ("x", 1, 100), ("y", 1, 100)],
        rules=rules(residual=("adl",), adl_rank="none", adl_overlap=True),
    )
    result = run(market, engine)
    pairs = dict(zip(result.adl["bankrupt"].tolist(), result.adl["counterparty"].tolist(), strict=True))
    assert pairs == {"s": "y", "t": "x"}


@pytest.mark.fast
def test_far_bankruptcy_prices_give_way_to_the_mark(engine):
    for equity, band, price in ((-60, 0.05, 100), (-50, 0.05, 105), (-60, None, 106)):
        chosen = rules(residual=("adl",), adl_price_band=band, adl_rank="none")
        market = build(
            balances={"long": equity, "short": 10_000},
            positions=[("long", 10, 100), ("short", -10, 100)],
            tiers=0.1,
            rules=chosen,
        )
        assert run(market, engine).adl["price"].tolist() == [price]


@pytest.mark.fast
def test_bitmex_and_hyperliquid_ranks_can_be_read():
    market = cs.Market(
        cs.Instrument("X", tick_size=1, lot_size="0.5"), rules=rules(adl_rank="hyperliquid_signed")
    )
    # hl-adl-02: account values 2,000, 5,000 and 10,000 at a mark of 80.
    market.load_accounts({"account": ["a", "b", "c"], "balance": [0.0, 3000.0, 9000.0]})
    market.load_positions(
        {
            "account": ["a", "b", "c"],
            "instrument": ["X"] * 3,
            "size": [-100.0, -1000.0, -12.5],
            "entry_price": [100.0, 82.0, 160.0],
        }
    )
    market.set_prices(index={"X": 80})
    ranks = market.adl_ranks("X")
    assert ranks["account"].tolist() == ["b", "a", "c"]
    assert ranks["score"].tolist() == [16.4, 5, 0.2]
    assert ranks["rank"].tolist() == [1, 2, 3]
    assert ranks["size"].tolist() == [-1000, -100, -12.5]
    literal = market.adl_ranks("X", rules(adl_rank="hyperliquid"))
    assert literal["account"].tolist() == ["b", "a", "c"]
    assert np.allclose(literal["score"], [80 / 82 * 16, 80 / 100 * 4, 80 / 160 * 0.1])


@pytest.mark.fast
def test_bitmex_ranks_of_inverse_contracts():
    """bm-adl-2: margins that make the bankruptcy prices 7,500, 9,400 and 9,000."""
    market = cs.Market(
        cs.Instrument("XBT", tick_size=1, lot_size=1, contract="inverse"),
        cash_quantum="0.000000000001",
        rules=rules(adl_rank="bitmex"),
    )
    entries, bankrupt = [8000, 9500, 11000], [7500, 9400, 9000]
    margins = [
        float(Fraction(10_000, b) - Fraction(10_000, e)) for e, b in zip(entries, bankrupt, strict=True)
    ]
    market.load_accounts({"account": [1, 2, 3], "balance": [round(m, 12) for m in margins]})
    market.load_positions(
        {"account": [1, 2, 3], "instrument": ["XBT"] * 3, "size": [10_000.0] * 3, "entry_price": entries}
    )
    market.set_prices(index={"XBT": 10_000})
    ranks = market.adl_ranks("XBT")
    assert ranks["account"].tolist() == [2, 1, 3]
    assert np.allclose(ranks["score"], [47 / 60, 3 / 5, -1 / 90], rtol=1e-9)


@pytest.mark.fast
def test_okx_ranks_by_return_and_margin_ratio():
    """Winners: return / (equity / maintenance); losers: return times it. Maintenance is a tenth of 1,000."""
    market = build(
        balances={"a": 100, "b": 300, "c": 400},
        tiers=0.1,
        rules=rules(adl_rank="okx"),
        positions=[("a", 10, 80), ("b", 10, 80), ("c", 10, 125)],
    )
    ranks = market.adl_ranks("X")
    assert ranks["account"].tolist() == ["a", "b", "c"]
    assert np.allclose(ranks["score"], [0.25 / 3, 0.25 / 5, -0.2 * 1.5])


def test_both_engines_rank_alike():
    for seed in range(100):
        market, _, run_ = random_markets.make(seed)
        core = market.adl_ranks("I0", run_["rules"])
        from cascade._indicators import ranks_table
        from cascade.reference.adapter import ReferenceEngine

        state = market.state()
        reference = ranks_table(market, state, 0, ReferenceEngine(state, run_["rules"], "all", "delta", None))
        for name in ("account", "position_side", "size", "rank"):
            assert core[name].tolist() == reference[name].tolist(), seed
        assert np.allclose(core["score"], reference["score"], rtol=1e-14, atol=0), seed


@pytest.mark.fast
def test_hedges_are_offset_first(engine):
    """10 long and 6 short need 160; 6 of each go at the mark and 4 are left, which need 40."""
    market = cs.Market(
        cs.Instrument("X", tick_size=1, lot_size=1, tiers=0.1),
        cash_quantum=1,
        rules=rules(offset_hedges=True),
    )
    market.load_accounts({"account": ["a"], "balance": [50.0]})
    market.load_positions(
        {
            "account": ["a"] * 2,
            "instrument": ["X"] * 2,
            "size": [10.0, -6.0],
            "entry_price": [100.0, 90.0],
            "position_side": ["long", "short"],
        }
    )
    market.set_prices(index={"X": 100}, last={"X": 100})
    market.load_accounts({"account": ["b"], "balance": [1.0]})
    result = run(market, engine, cs.Shock(cash={"a": 55}))
    e = result.events[result.events["kind"] == EventKind.OFFSET]
    assert (e["quantity"].tolist(), e["value"].tolist(), (e["a"] == e["b"]).tolist()) == (
        [-6],
        [-600],
        [True],
    )
    assert result.positions["size"].tolist() == [4]
    assert result.liquidations["status"].tolist() == ["offset"]
    assert flows(result, Why.REALISED) == [(FIRST, SETTLEMENT, 60)]
    assert result.status == "settled"
    assert not orders(result)


# -- refused


@pytest.mark.fast
@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"vault_below": 1.5}, cs.RangeError, "rules.vault_below = 1.5: must be <= 1 or None"),
        ({"adl_below": -0.1}, cs.InputError, "rules.adl_below = -0.1: must be >= 0"),
        ({"size_fraction": None}, cs.InputTypeError, "rules.size_fraction = None: must be a number"),
        ({"size_fraction": float("nan")}, cs.InputError, "rules.size_fraction"),
        ({"size_steps": 0}, cs.InputError, "rules.size_steps = 0: must be >= 1"),
        ({"size": "half"}, cs.InputError, "rules.size = 'half'"),
        ({"order_tif": "gtc"}, cs.InputError, "rules.order_tif = 'gtc': must be one of ioc, fok"),
        ({"then_whole": 1}, cs.InputTypeError, "rules.then_whole = 1: must be True or False"),
        ({"cooldown_ns": 1.5}, cs.InputTypeError, "rules.cooldown_ns = 1.5: must be an int"),
        ({"cooldown_ns": -1}, cs.InputError, "rules.cooldown_ns = -1: must be >= 0"),
        ({"fund_resume": 0.2}, cs.InputError, "rules.fund_resume = 0.2: must be <= rules.fund_stop"),
        ({"fund_stop": 0.1, "fund_resume": 0.2}, cs.InputError, "rules.fund_resume = 0.2"),
        ({"fillable_spread": 11}, cs.RangeError, "rules.fillable_spread = 11: must be <= 10"),
        ({"vault_cap": "x"}, cs.InputError, "rules.vault_cap"),
    ],
)
def test_bad_rules_are_refused(fields, error, text):
    with pytest.raises(error) as caught:
        cs.VenueRules(**fields)
    assert text in str(caught.value)


@pytest.mark.fast
def test_money_that_does_not_fit_is_refused_before_a_run(engine):
    with pytest.raises(cs.RangeError, match=r"rules.size_above = .*: must be below 2\*\*62 cash quanta of 1"):
        run(long_of(10, 1, rules=rules(size="fraction", size_above=10**20)), engine)
