"""Small markets worked out by hand, each about one rule, on both engines: exact to the last quantum.

Ticks, lots and the cash quantum are 1, so that a linear lot at price p is worth p quanta.
"""

from __future__ import annotations

import math

import pytest

import cascade as cs
from cascade.records import EventKind, Why

FUND, FEES, DEFICIT, VAULT, SETTLEMENT, FIRST = 1, 2, 4, 5, 6, 7
BY_INDEX = cs.VenueRules(mark="index")
TOP = 2**53 - 1


def build(
    *,
    bids=(),
    asks=(),
    complete=True,
    balances=None,
    positions=(),
    orders=(),
    last=100,
    index=100,
    fund=0,
    vault=0,
    rules=BY_INDEX,
    **instrument,
):
    """A market of one instrument "X".

    Levels are (price, lots), balances {account: balance}, positions (account, lots, entry[, margin]), orders
    (account, side, price, lots).
    """
    market = cs.Market(
        cs.Instrument("X", tick_size=1, lot_size=1, **instrument),
        rules=rules,
        fund=fund,
        vault=vault,
        cash_quantum=1,
    )
    market.load_book("X", levels(bids), levels(asks), complete=complete)
    if balances:
        market.load_accounts({"account": list(balances), "balance": list(balances.values())})
    if positions:
        market.load_positions(
            {
                "account": [p[0] for p in positions],
                "instrument": ["X"] * len(positions),
                "size": [float(p[1]) for p in positions],
                "entry_price": [float(p[2]) for p in positions],
                "margin": [float(p[3]) if len(p) > 3 else math.nan for p in positions],
            }
        )
    if orders:
        market.load_orders(
            "X",
            {
                "order_id": list(range(1, len(orders) + 1)),
                "account": [o[0] for o in orders],
                "side": [o[1] for o in orders],
                "price": [o[2] for o in orders],
                "quantity": [o[3] for o in orders],
            },
        )
    market.set_prices(index={"X": index}, last={"X": last})
    return market


def levels(rows):
    return {"price": [float(p) for p, _ in rows], "quantity": [float(q) for _, q in rows]}


def run(market, engine, shock=None, **options):
    return market.run(shock, engine=engine, audit="full", **options)


def events(result, kind, *fields):
    """The fields of all events of a kind."""
    found = result.events[result.events["kind"] == kind]
    return [tuple(int(e[f]) for f in fields) for e in found]


def transfers(result, why):
    """(from, to, amount) of the transfers for a reason."""
    found = result.events[(result.events["kind"] == EventKind.TRANSFER) & (result.events["flags"] == why)]
    return [(int(e["a"]), int(e["b"]), int(e["value"])) for e in found]


def row(result, k=0):
    """A row of the liquidations, by name."""
    return {name: column[k].item() for name, column in result.liquidations.to_dict().items()}


def balances_of(result):
    return dict(zip(result.accounts["account"].tolist(), result.accounts["balance"].tolist(), strict=True))


# Trades


@pytest.mark.fast
def test_a_maker_flips_under_an_inverse_contract(engine):
    market = build(
        contract="inverse",
        multiplier=1000,
        bids=[(90, 1)],
        balances={"m": 1000},
        positions=[("m", 3, 100)],
        orders=[("m", -1, 110, 5)],
    )
    sim = market.start(cs.Shock(orders={"X": 5}), engine=engine, audit="full")
    result = sim.result()
    # Buying 5 is worth -5000/110 = -45; the close of 3 is 3000/110 = 27 against -30, the open 45 - 27 = 18.
    assert events(result, EventKind.FILL, "a", "b", "quantity", "value") == [(0, FIRST, 5, -45)]
    assert transfers(result, Why.REALISED) == [(SETTLEMENT, FIRST, 3)]
    rows = result._final_rows()
    assert rows[["account", "lots", "basis"]].tolist() == [(FIRST, -2, 18)]
    assert balances_of(result) == {"m": 1003}


@pytest.mark.fast
@pytest.mark.parametrize(
    ("lots", "entry", "prices", "realised"),
    [(3, 10 / 3, (5, 6, 7), (2, 2, 4)), (2, 2.5, (3, 3), (1, 0)), (2, 3.5, (4, 4), (0, 1))],
)
def test_partial_closes_release_basis_half_even(engine, lots, entry, prices, realised):
    # Basis 10: 3 (of 3.33), then 4 (of 3.5), then the rest; 5: 2 (of 2.5); 7: 4 (of 3.5).
    market = build(
        bids=[(1, 1)],
        balances={"m": 100},
        positions=[("m", lots, entry)],
        last=3,
        index=3,
        orders=[("m", -1, p, 1) for p in prices],
    )
    result = run(market, engine, cs.Shock(orders={"X": lots}))
    assert transfers(result, Why.REALISED) == [(SETTLEMENT, FIRST, r) for r in realised if r]
    assert balances_of(result) == {"m": 100 + sum(realised)}
    assert result._data.system_balances[SETTLEMENT] == -sum(realised)


@pytest.mark.fast
def test_a_gap_trades_with_the_internal_orders_that_it_crosses(engine):
    market = build(bids=[(100, 5)], asks=[(120, 1)], balances={"m": 1000}, orders=[("m", -1, 105, 3)])
    sim = market.start(cs.Shock(price=0.1), engine=engine, audit="full")
    result = sim.result()
    assert events(result, EventKind.SHOCK, "price_1024") == [(110 * 1024,)]
    assert events(result, EventKind.FILL, "a", "b", "quantity", "price_1024", "wave") == [
        (0, FIRST, 3, 105 * 1024, 0)
    ]
    depth = sim.book("X").depth()
    assert list(
        zip(depth["side"].tolist(), depth["price"].tolist(), depth["quantity"].tolist(), strict=True)
    ) == [
        (1, 110, 2),
        (-1, 132, 1),
    ]
    assert result._data.last == [105]
    assert result._data.index_1024 == [110 * 1024]


@pytest.mark.fast
def test_depth_factors_by_side_and_distance(engine):
    market = build(bids=[(100, 10), (90, 10)], asks=[(110, 10)])
    rows = [("bid", 0, 0.05, 0.5), ("ask", 0, None, 0.25)]  # distances from 105: 5/105 and 15/105
    depth = market.start(cs.Shock(depth={"X": rows}), engine=engine).book("X").depth()
    assert depth["quantity"].tolist() == [5, 10, 2]
    depth = market.start(cs.Shock(depth={"X": [("both", 5 / 105, 0.2, 0)]}), engine=engine).book("X").depth()
    assert depth["price"].tolist() == [
        100,
        110,
    ]  # 5/105 rounds up to 0.047619048: only 15/105 lies in the range


@pytest.mark.fast
def test_a_withdrawal_is_a_cause(engine):
    market = build(bids=[(100, 5)], balances={"a": 100}, positions=[("a", 5, 100)], tiers=0.1)
    assert len(run(market, engine).events) == 0
    result = run(market, engine, cs.Shock(cash={"a": -51}))
    assert events(result, EventKind.SHOCK, "a", "value") == [(FIRST, -51)]
    assert row(result)["cause"] == -1
    assert (row(result)["equity"], row(result)["maintenance"]) == (49, 50)
    assert result.audit["deposited"] == -51
    assert result.audit["conserved"]


# Who is liquidated


@pytest.mark.fast
def test_a_maker_is_harmed_while_the_mark_stands(engine):
    market = build(bids=[(105, 20)], asks=[(120, 20)], balances={"m": 1}, orders=[("m", 1, 110, 5)], fund=100)
    result = run(market, engine, cs.Shock(orders={"X": -5}))
    assert events(result, EventKind.MARK, "seq") == []
    assert events(result, EventKind.QUEUED, "a", "wave", "cause", "value") == [(FIRST, 1, -1, 1 - 50)]
    assert row(result)["average_price"] == 105
    assert transfers(result, Why.SHORTFALL) == [(FUND, FIRST, 24)]
    assert result.status == "settled"


@pytest.mark.fast
@pytest.mark.parametrize(("trigger", "hit"), [("lt", 0), ("le", 1)])
@pytest.mark.parametrize(
    ("tiers", "needed"),
    [
        ([(0, 1000, 0.1, 0.05), (1000, None, 0.1, 0.1)], 50),  # 0.1 * 1000 - 50, and 0.05 * 1000
        ([(0, 1001, 0.1, 0.05, 0), (1001, None, 0.1, 0.1, 0)], 50),
        ([(0, 1000, 0.1, 0.05, 0), (1000, None, 0.1, 0.1, 0)], 100),  # a notional of the floor is in the tier
    ],
)
def test_a_tier_holds_from_its_floor_and_the_trigger_is_strict(engine, tiers, needed, trigger, hit):
    market = build(
        bids=[(100, 10)],
        balances={"a": needed},
        positions=[("a", 10, 100)],
        tiers=tiers,
        rules=BY_INDEX.replace(trigger=trigger),
    )
    assert market.margin()["maintenance"].tolist() == [needed]
    assert len(run(market, engine).liquidations) == hit


@pytest.mark.fast
def test_nothing_happens_in_a_healthy_market(engine):
    market = build(bids=[(99, 5)], asks=[(101, 5)], balances={"a": 100}, positions=[("a", 5, 100)], tiers=0.1)
    result = run(market, engine)
    assert len(result.events) == 0
    assert result.status == "settled"
    assert math.isnan(result.summary["amplification"])


def two_instruments(size):
    market = cs.Market(
        [cs.Instrument(s, tick_size=1, lot_size=1, tiers=0.1) for s in "XY"],
        rules=BY_INDEX.replace(size=size),
        cash_quantum=1,
    )
    for symbol in "XY":
        market.load_book(symbol, levels([(100, 10)]), levels([(101, 10)]), complete=True)
    market.load_accounts({"account": ["a"], "balance": [50]})
    market.load_positions(
        {"account": ["a", "a"], "instrument": ["Y", "X"], "size": [1.0, 10.0], "entry_price": [100.0, 100.0]}
    )
    market.set_prices(index={"X": 100, "Y": 100})
    return market


@pytest.mark.fast
@pytest.mark.parametrize(("size", "taken"), [("whole", ["X"]), ("all", ["X", "Y"])])
def test_a_turn_stops_when_the_account_is_healthy_or_takes_all(engine, size, taken):
    # Equity 50 against 100 for X and 10 for Y: X goes first, and at 100 it costs nothing.
    result = run(two_instruments(size), engine)
    assert result.liquidations["instrument"].tolist() == taken
    assert result.positions["instrument"].tolist() == ([] if size == "all" else ["Y"])
    assert balances_of(result) == {"a": 50}


# Waves and causes


def falling(**rules):
    """A long of b goes when a's sale takes the last trade from 100 to 90."""
    return build(
        bids=[(99, 2), (90, 3), (85, 9)],
        balances={"a": 1, "b": 30},
        positions=[("a", 3, 100), ("b", 4, 100)],
        rules=cs.VenueRules(**rules),
        fund=1000,
    )


@pytest.mark.fast
@pytest.mark.parametrize(("clearing", "steps"), [("wave", [1, 2]), ("continuous", [1, 1])])
def test_causes_make_a_forest_under_either_clearing(engine, clearing, steps):
    result = run(falling(clearing=clearing), engine, cs.Shock(orders={"X": -2}))
    x = result.liquidations
    assert x["account"].tolist() == ["a", "b"]
    assert x["wave"].tolist() == [1, 2]
    assert x["step"].tolist() == steps
    assert x["cause_liquidation"].tolist() == [-1, 0]
    assert x["cause"][0] == -1
    cause = result.events[x["cause"][1]]
    assert (cause["kind"], cause["price_1024"]) == (EventKind.MARK, 90 * 1024)  # equity 30 - 40
    assert result.events[cause["cause"]]["kind"] == EventKind.FILL
    # Shock 2 * 99; a sells 3 at 90, b 4 at 85.
    assert result.summary["shock_notional"] == 198
    assert result.summary["first_order_notional"] == 270
    assert result.summary["higher_order_notional"] == 340
    assert result.summary["amplification"] == (198 + 270 + 340) / 198


@pytest.mark.fast
def test_who_was_unhealthy_before_the_shock_stands_apart(engine):
    market = build(
        bids=[(90, 9)],
        balances={"a": 1, "b": 45},
        positions=[("a", 3, 100), ("b", 4, 100)],
        last=99,
        fund=1000,
        rules=cs.VenueRules(),
    )
    result = run(market, engine)
    assert result.liquidations["account"].tolist() == ["a"]  # equity 1 - 3; b keeps 45 - 40 at the end
    assert result.liquidations["cause"].tolist() == [-2]
    assert result.summary["initially_unhealthy"] == 1
    assert result.summary["initially_unhealthy_notional"] == 270
    assert result.summary["first_order_notional"] == 0
    assert math.isnan(result.summary["amplification"])


@pytest.mark.fast
def test_a_capacity_leaves_work_for_the_next_step(engine):
    market = build(
        bids=[(90, 20)],
        balances={"a": 1, "b": 2, "c": 3},
        positions=[(k, 1, 100) for k in "abc"],
        index=90,
        fund=100,
        rules=BY_INDEX.replace(capacity=2),
    )
    result = run(market, engine)
    assert events(result, EventKind.QUEUED, "a", "wave") == [(FIRST, 1), (FIRST + 1, 1), (FIRST + 2, 1)]
    assert events(result, EventKind.TURN, "a", "wave") == [(FIRST, 1), (FIRST + 1, 1), (FIRST + 2, 2)]
    assert result.status == "settled"


@pytest.mark.fast
@pytest.mark.parametrize("clearing", ["wave", "continuous"])
def test_a_cap_on_waves_ends_with_limit(engine, clearing):
    market = falling(clearing=clearing)
    result = run(market, engine, cs.Shock(orders={"X": -2}), max_waves=1)
    assert result.status == "limit"
    assert result.liquidations["account"].tolist() == ["a"]
    assert run(market, engine, cs.Shock(orders={"X": -2}), max_waves=2).status == "settled"
    nobody = run(market, engine, cs.Shock(orders={"X": -2}), max_waves=0)
    assert nobody.status == "limit"
    assert len(nobody.liquidations) == 0


@pytest.mark.fast
def test_whom_a_cap_kept_waiting_was_unhealthy_before_the_next_cascade(engine):
    sim = falling(clearing="continuous").start(
        cs.Shock(orders={"X": -2}), engine=engine, audit="full", max_waves=1
    )
    sim.settle()
    assert sim.result().status == "limit"
    sim.apply(cs.Shock(index=0.01))  # nothing to do with it
    sim.settle()
    result = sim.result()
    assert result.liquidations["account"].tolist() == ["a", "b"]
    assert result.liquidations["cause"].tolist() == [-1, -2]
    assert result.liquidations["wave"].tolist() == [1, 1]


def test_a_supercritical_market_ends(engine):
    result = cs.datasets.constant_depth(d=100, g=150, reach=10).run(
        cs.Shock(orders={"X": -100}), engine=engine
    )
    assert result.status == "stranded"
    assert result.summary["steps"] < 1100


# The waterfall


@pytest.mark.fast
def test_deleveraging_after_fills_uses_the_value_fixed_when_the_order_went_out(engine):
    market = build(
        bids=[(92, 4)],
        balances={"long": 50, "short": 1000},
        positions=[("long", 10, 100), ("short", -8, 100)],
        index=90,
        fund=100,
        rules=BY_INDEX.replace(residual=("adl",)),
    )
    result = run(market, engine)
    # Equity 50 - 100: all ten are worth 950, 95 a lot, whatever the four in the book fetched.
    assert events(result, EventKind.FILL, "quantity", "value") == [(-4, -368)]
    assert events(result, EventKind.ADL, "a", "b", "quantity", "value") == [(FIRST, FIRST + 1, -6, -570)]
    assert result._data.liquidations["bankruptcy_value"].tolist() == [-950]
    # Fills cost 8 a lot, deleveraging 5: 50 - 32 - 30 = -12, the 3 a lot that the fills were short of 95.
    assert transfers(result, Why.REALISED) == [
        (FIRST, SETTLEMENT, 32),
        (FIRST, SETTLEMENT, 30),
        (SETTLEMENT, FIRST + 1, 30),
    ]
    assert transfers(result, Why.SHORTFALL) == [(FUND, FIRST, 12)]
    assert balances_of(result) == {"long": 0, "short": 1030}


@pytest.mark.fast
def test_deleveraging_that_lacks_counterparties_covers_the_lots_matched(engine):
    market = build(
        balances={"long": 50, "short": 1000},
        positions=[("long", 10, 100), ("short", -3, 100)],
        index=90,
        rules=BY_INDEX.replace(residual=("adl",)),
    )
    result = run(market, engine)
    assert events(result, EventKind.ADL, "quantity", "value") == [(-3, -285)]
    assert row(result)["left"] == 7
    assert row(result)["status"] == "stranded"
    assert result.status == "stranded"


@pytest.mark.fast
def test_lots_that_meet_unknown_depth_are_not_residual(engine):
    for order_price in ("market", "bankruptcy"):
        market = build(
            bids=[(99, 2), (97, 2)],
            complete=False,
            balances={"long": 10, "short": 1000},
            positions=[("long", 10, 100), ("short", -10, 100)],
            index=90,
            fund=1000,
            rules=BY_INDEX.replace(order_price=order_price, residual=("fund_walk", "vault", "adl")),
        )
        result = run(market, engine)
        kinds = set(result.events["kind"].tolist())
        if order_price == "market":
            assert result.status == "out_of_data"
            assert result.known_until == {"X": 97}
            assert row(result)["left"] == 6
            assert row(result)["status"] == "beyond_data"
            assert not transfers(result, Why.GAP)
            assert EventKind.ADL not in kinds
            assert EventKind.TAKEOVER not in kinds
        else:  # knowledge goes beyond the bankruptcy price, 99: what is left is residual, until it ends
            assert transfers(result, Why.GAP) == [(FUND, FIRST, 4)]
            assert result.status == "out_of_data"


@pytest.mark.fast
def test_ranks_are_compared_exactly(engine):
    # Equal but for the equity, 10**17 and one more: the same in float64, yet the second account is ahead.
    market = build(
        balances={"long": 0, "first": 10**17 + 1, "second": 10**17},
        positions=[("long", 3, 100), ("first", -3, 110), ("second", -3, 110)],
        index=90,
        rules=BY_INDEX.replace(residual=("adl",)),
    )
    equity = 10**17 + 60
    assert float(60 * 270 / (330 * equity)) == float(60 * 270 / (330 * (equity + 1)))
    result = run(market, engine)
    assert events(result, EventKind.ADL, "b", "quantity") == [(FIRST + 2, -3)]


@pytest.mark.fast
def test_the_fund_pays_whole_lots_only(engine):
    market = build(
        bids=[(95, 9)],
        balances={"a": 10},
        positions=[("a", 5, 100)],
        index=95,
        fund=7,
        rules=BY_INDEX.replace(order_price="bankruptcy", residual=("fund_walk",)),
    )
    result = run(market, engine)
    # Equity 10 - 25: bankrupt at 98; a lot at 95 costs the fund 3, so it pays for two and keeps 1.
    assert events(result, EventKind.ORDER, "quantity", "price_1024", "flags")[:2] == [
        (-5, 98 * 1024, 1),
        (-3 - 2, 0, 2),
    ]
    assert events(result, EventKind.FILL, "quantity", "value") == [(-2, -190)]
    assert transfers(result, Why.GAP) == [(FUND, FIRST, 6)]
    assert result.summary["fund_end"] == 1
    assert row(result)["filled"] == 2
    assert row(result)["left"] == 3
    assert result.status == "stranded"


@pytest.mark.fast
def test_a_socialised_loss_adds_up_by_largest_remainder(engine):
    market = build(
        balances={"debtor": -10, "a": 5, "b": 5, "c": 5, "poor": 0},
        rules=BY_INDEX.replace(shortfall=("socialise",)),
    )
    result = run(market, engine)
    assert transfers(result, Why.SOCIALISED) == [
        (FIRST + 1, FIRST, 4),
        (FIRST + 2, FIRST, 3),
        (FIRST + 3, FIRST, 3),
    ]
    assert row(result)["status"] == "flat"
    market = build(
        balances={"debtor": -10, "a": 1, "b": 9, "c": 3}, rules=BY_INDEX.replace(shortfall=("socialise",))
    )
    # 10/13, 90/13 and 30/13: 0, 6 and 2 whole, remainders 10, 12 and 4: b and a get one more.
    assert transfers(run(market, engine), Why.SOCIALISED) == [
        (FIRST + 1, FIRST, 1),
        (FIRST + 2, FIRST, 7),
        (FIRST + 3, FIRST, 2),
    ]
    market = build(balances={"debtor": -10, "a": 4}, rules=BY_INDEX.replace(shortfall=("socialise",)))
    result = run(market, engine)
    assert transfers(result, Why.SOCIALISED) == [(FIRST + 1, FIRST, 4)]
    assert transfers(result, Why.SHORTFALL) == [(DEFICIT, FIRST, 6)]
    assert result.summary["deficit"] == 6


@pytest.mark.fast
@pytest.mark.parametrize("stages", [("fund", "vault"), ("vault", "fund")])
def test_a_shortfall_is_served_in_the_order_of_the_stages(engine, stages):
    market = build(balances={"debtor": -10}, fund=4, vault=3, rules=BY_INDEX.replace(shortfall=stages))
    result = run(market, engine)
    assert transfers(result, Why.SHORTFALL) == [
        *((FUND, FIRST, 4) if stage == "fund" else (VAULT, FIRST, 3) for stage in stages),
        (DEFICIT, FIRST, 3),
    ]


@pytest.mark.fast
@pytest.mark.parametrize("surplus", ["account", "fund"])
def test_an_isolated_account_is_swept_to_its_owner(engine, surplus):
    market = build(
        bids=[(98, 9)],
        balances={"a": 7},
        positions=[("a", 5, 100, 100)],
        tiers=0.3,
        rules=BY_INDEX.replace(surplus=surplus),
    )
    result = run(market, engine)  # 100 against 150; five at 98 cost 10
    if surplus == "account":
        assert transfers(result, Why.SWEEP) == [(FIRST + 1, FIRST, 90)]
        assert result.accounts["balance"].tolist() == [97, 0]
    else:
        assert transfers(result, Why.SURPLUS) == [(FIRST + 1, FUND, 90)]
        assert not transfers(result, Why.SWEEP)
        assert result.accounts["balance"].tolist() == [7, 0]
    assert row(result)["surplus"] == 90


@pytest.mark.fast
def test_the_owner_of_an_isolated_account_owes_nothing_more(engine):
    market = build(bids=[(90, 9)], balances={"a": 1000}, positions=[("a", 5, 100, 20)], index=90, fund=10)
    result = run(market, engine)
    assert transfers(result, Why.SHORTFALL) == [(FUND, FIRST + 1, 10), (DEFICIT, FIRST + 1, 20)]
    assert result.accounts["balance"].tolist() == [1000, 0]


@pytest.mark.fast
@pytest.mark.parametrize(("rate", "amount"), [(0.01, 5), (0.5, 90), (0, 0)])
@pytest.mark.parametrize(("fee_to", "target"), [("fund", FUND), ("venue", FEES)])
def test_a_liquidation_fee_is_at_most_what_is_left(engine, rate, amount, fee_to, target):
    market = build(
        bids=[(98, 9)],
        balances={"a": 100},
        positions=[("a", 5, 100)],
        tiers=0.3,
        liquidation_fee=rate,
        rules=BY_INDEX.replace(fee_to=fee_to),
    )
    result = run(market, engine)  # notional 490: 4.9 is rounded up to 5; 245 is more than the 90 left
    assert transfers(result, Why.LIQUIDATION_FEE) == ([(FIRST, target, amount)] if amount else [])
    assert row(result)["fee"] == amount
    assert balances_of(result) == {"a": 90 - amount}


@pytest.mark.fast
def test_the_vault_takes_lots_at_their_bankruptcy_value(engine):
    market = build(
        bids=[(99, 2)],
        balances={"a": 10},
        positions=[("a", 5, 100)],
        index=95,
        vault=100,
        rules=BY_INDEX.replace(residual=("vault",)),
    )
    result = run(market, engine)  # bankrupt at 98: 490 for five, 294 for three
    assert events(result, EventKind.TAKEOVER, "a", "b", "quantity", "value") == [(FIRST, VAULT, -3, -294)]
    assert row(result)["takeover"] == 3
    assert balances_of(result) == {"a": 2}  # two sold one above
    assert result.summary["takeover_notional"] == 294


# Edges of the domain


@pytest.mark.fast
def test_without_an_implied_price_the_limit_is_the_edge_and_deleveraging_settles_at_mark(engine):
    market = build(
        balances={"long": 200, "short": 1000},
        positions=[("long", 2, 100), ("short", -2, 100)],
        tiers=1,
        rules=BY_INDEX.replace(trigger="le", order_price="bankruptcy", residual=("adl",)),
    )
    result = run(market, engine)  # equity 200 = value: a bankruptcy value of 0
    assert events(result, EventKind.ORDER, "quantity", "price_1024") == [(-2, 1024)]
    assert events(result, EventKind.ADL, "quantity", "value") == [(-2, -200)]


@pytest.mark.fast
def test_under_an_inverse_contract_the_edge_lies_at_the_top(engine):
    market = build(
        contract="inverse",
        multiplier=1000,
        balances={"long": -20},
        positions=[("long", 1, 100)],
        rules=BY_INDEX.replace(order_price="bankruptcy", residual=()),
    )
    result = run(market, engine)  # value -10, equity -20: no price makes a sale worth 10 to pay
    assert events(result, EventKind.ORDER, "quantity", "price_1024") == [(-1, TOP * 1024)]


@pytest.mark.fast
def test_prices_of_orders_stop_at_the_edge_of_the_domain(engine):
    sim = build(bids=[(99, 1)], asks=[(TOP - 2, 1)], balances={"a": 1}).start(engine=engine)
    owner = sim._market.owner("a")
    reports = sim.submit(
        "X",
        {
            "order_id": [1, 2, 3, 4],
            "owner": [owner] * 4,
            "side": [-1, -1, -1, 1],
            "price": [TOP, TOP + 1, 0, 1],
            "quantity": [1, 1, 1, 1],
        },
    )
    assert reports["kind"].tolist() == [0, 4, 4, 0]
    assert sim.book("X").depth()["price"].tolist() == [99, 1, TOP - 2, TOP]
    with pytest.raises(cs.InputError, match="must be in"):
        sim.set_levels("X", -1, [TOP + 1], [1])
    with pytest.raises(cs.RangeError, match=r"2\*\*53"):
        build(bids=[(99, 1)], asks=[(TOP - 2, 1)]).run(cs.Shock(price=1), engine=engine)


def test_a_fall_below_the_lowest_price_drops_levels(engine):
    market = build(bids=[(3, 1), (1, 4)], asks=[(5, 2)], last=4, index=4)
    sim = market.start(cs.Shock(price=-0.5), engine=engine)
    assert sim.book("X").depth()["price"].tolist() == [1, 3]
    assert sim.result().summary["dropped_levels"] == 1


@pytest.mark.fast
@pytest.mark.parametrize("size", ["whole", "all"])
def test_a_bankrupt_own_other_slot_serves_the_next_bankrupt(size):
    """Its first turn changes nothing and must not take its other slot out of the deleveraging ranks."""
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, tiers=0.01))
    market.load_book("X", {"price": [90], "quantity": [50]}, {"price": [], "quantity": []})
    market.load_accounts({"account": ["x", "y"], "balance": [5.0, 5.0]})
    market.load_positions(
        {
            "account": ["x", "x", "y"], "instrument": ["X"] * 3, "size": [10, -1, 1],
            "entry_price": [100] * 3, "position_side": ["long", "short", "both"],
        }
    )  # fmt: skip
    market.set_prices(index={"X": 100}, last={"X": 100})
    rules = cs.VenueRules(mark="index", order_price="bankruptcy", residual=("adl",), size=size)
    results = [
        market.run(cs.Shock(index=-0.1), rules=rules, engine=engine, audit="full")
        for engine in ("reference", "core")
    ]
    assert results[0].digest == results[1].digest
    assert len(results[1].adl) == 1
