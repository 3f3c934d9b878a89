"""Price bands and circuit breakers: named cases worked out by hand on both engines, the known schemes, and
what must hold in random markets.

Ticks, lots and the cash quantum are 1, so that a linear lot at price p is worth p quanta.
"""

from __future__ import annotations

import copy
import os
import pickle
import random
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import random_markets
from test_simulation import Twins, act
from twins import ENGINES, difference

import cascade as cs
from cascade.breakers import FOREVER, MINUTE, SECOND
from cascade.records import EventKind, Reason, ReportKind

SEEDS = int(os.environ.get("CASCADE_SEEDS", "5000")) // 5
TOP = 2**53 - 1
BUY, SELL = 1, -1


def levels(rows):
    return {"price": [float(p) for p, _ in rows], "quantity": [float(q) for _, q in rows]}


def build(bids, asks, balances, positions, *, symbols=("X",), complete=True, prices=None, **options):
    """A market of equal instruments; positions are (account, symbol, lots, entry)."""
    market = cs.Market(
        [cs.Instrument(s, tick_size=1, lot_size=1, tiers=0.05) for s in symbols], cash_quantum=1, **options
    )
    for symbol in symbols:
        market.load_book(symbol, levels(bids), levels(asks), complete=complete)
    market.load_accounts({"account": list(balances), "balance": [float(x) for x in balances.values()]})
    market.load_positions(
        {
            "account": [p[0] for p in positions],
            "instrument": [p[1] for p in positions],
            "size": [float(p[2]) for p in positions],
            "entry_price": [float(p[3]) for p in positions],
        }
    )
    market.set_prices(
        **(prices or {"last": dict.fromkeys(symbols, 100), "index": dict.fromkeys(symbols, 100)})
    )
    return market


def events(result, *kinds):
    return [e for e in result.events.tolist() if e[10] in kinds]


def fills(result):
    """(price, lots) of every fill."""
    return [(e[4] // 1024, abs(e[3])) for e in events(result, EventKind.FILL)]


def rows(result):
    return [(r["account"], r["filled"], r["left"], r["status"]) for r in table_rows(result.liquidations)]


def table_rows(table):
    return [{name: table[name][k] for name in table} for k in range(len(table))]


def message(**fields):
    return {name: [value] for name, value in {"order_id": 77, "quantity": 1, **fields}.items()}


BIDS = [(99, 10), (98, 10), (96, 10), (94, 10), (92, 10), (90, 10), (80, 10), (60, 100)]
ASKS = [(101, 10), (105, 10), (110, 50)]
MARK_LAST = cs.VenueRules(mark="last", order_price="market", residual=("adl",), adl_price="mark")


# -- bands ---------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_a_band_keeps_a_liquidation_from_trading_through_a_hole(engine):
    """Bids end at 96, then nothing until 60: the band's limit at 95 keeps the rest from being sold there."""
    bids = [(99, 10), (96, 10), (60, 100)]
    balances, held = {"a": 250, "b": 10_000}, [("a", "X", 30, 108), ("b", "X", -30, 100)]
    free = build(bids, ASKS, balances, held).run(rules=MARK_LAST, engine=engine)
    assert fills(free) == [(99, 10), (96, 10), (60, 10)]
    rules = MARK_LAST.replace(breakers=[cs.PriceBand("fixed", 0.05)])
    result = build(bids, ASKS, balances, held).run(rules=rules, engine=engine, audit="full")
    assert fills(result) == [(99, 10), (96, 10)]
    assert rows(result)[0][1:] == (20.0, 10.0, "banded")
    assert result.status == "halted"
    assert result.known_until == {}
    assert not events(
        result, EventKind.ADL, EventKind.HALT
    )  # it waits: no deleveraging, and no halt asked for
    assert [e[11] for e in events(result, EventKind.CANCEL)] == [Reason.BANDED] * len(
        events(result, EventKind.CANCEL)
    )


@pytest.mark.fast
def test_lots_that_wait_for_a_band_go_on_when_the_book_comes_back(engine):
    bids = [(99, 10), (96, 10), (60, 100)]
    rules = MARK_LAST.replace(breakers=[cs.PriceBand("fixed", 0.05)])
    market = build(bids, ASKS, {"a": 250, "b": 10_000}, [("a", "X", 30, 108), ("b", "X", -30, 100)])
    sim = market.start(rules=rules, engine=engine, audit="full")
    sim.settle()
    assert sim.result().status == "halted"
    sim.set_levels("X", BUY, 95, 50)
    sim.settle()
    result = sim.result()
    assert fills(result) == [(99, 10), (96, 10), (95, 10)]
    assert result.status == "settled"
    assert set(result.liquidations["cause"].tolist()) == {-2}  # the cause stays the cause


@pytest.mark.fast
def test_a_band_around_the_end_of_knowledge(engine):
    """What stops first counts: the band above the known edge waits, the edge above the band is unknown."""
    held, balances = [("a", "X", 30, 108)], {"a": 250}
    for width, status in ((0.02, "halted"), (0.2, "out_of_data")):
        rules = MARK_LAST.replace(breakers=[cs.PriceBand("fixed", width)])
        market = build([(99, 5), (97, 5)], ASKS, balances, held, complete=False)
        result = market.run(rules=rules, engine=engine, audit="full")
        assert result.status == status
        assert (result.known_until == {}) == (status == "halted")


@pytest.mark.fast
@pytest.mark.parametrize(
    ("width", "complete", "status"),
    [(0.02, True, "banded"), (0.05, False, "beyond_data"), (0.05, True, "closed")],
)
def test_a_part_that_is_killed_waits_for_what_stopped_it(engine, width, complete, status):
    """Half of 30 lots, fill or kill, with 10 at 99: a band or the end of knowledge hides the rest, which is
    then not residual; where the book is complete it is."""
    rules = MARK_LAST.replace(
        size="fraction", size_fraction=0.5, order_tif="fok", breakers=[cs.PriceBand("fixed", width)]
    )
    bids = [(99, 10), (96, 10)] if width == 0.02 else [(99, 10)]
    market = build(
        bids, ASKS, {"a": 250, "b": 10_000}, [("a", "X", 30, 108), ("b", "X", -30, 100)], complete=complete
    )
    result = market.run(rules=rules, engine=engine, audit="full")
    first = rows(result)[0]
    cancelled = events(result, EventKind.CANCEL)[0][11]
    assert first[1] == 0.0
    assert first[3] == status
    assert bool(events(result, EventKind.ADL)) == (status == "closed")
    if status == "banded":
        assert (result.status, cancelled, result.known_until) == ("halted", Reason.BANDED, {})
    elif status == "beyond_data":
        assert (result.status, cancelled) == ("out_of_data", Reason.BEYOND_DATA)
        assert result.known_until == {"X": 99.0}
    else:
        assert cancelled == Reason.FOK_UNFILLABLE


@pytest.mark.fast
def test_a_killed_part_halts_as_any_order_that_a_band_stops(engine):
    rules = MARK_LAST.replace(
        size="fraction", size_fraction=0.5, order_tif="fok",
        breakers=[cs.PriceBand("fixed", 0.02, halt_ns=5)],
    )  # fmt: skip
    market = build([(99, 10), (96, 10)], ASKS, {"a": 250}, [("a", "X", 30, 108)])
    result = market.run(rules=rules, engine=engine, audit="full")
    assert [e[4] // 1024 for e in events(result, EventKind.HALT)] == [98]
    assert not fills(result)


@pytest.mark.fast
@pytest.mark.parametrize("size", ["whole", "step_down"])
def test_an_order_that_the_step_cut_waits_for_the_band_that_stopped_it(engine, size):
    """20 of 30 lots may be closed in the step, none lie within the band."""
    rules = MARK_LAST.replace(size=size, notional_per_step=2_000, breakers=[cs.PriceBand("fixed", 0.02)])
    market = build([(96, 50)], ASKS, {"a": 250}, [("a", "X", 30, 108)])
    sim = market.start(rules=rules, engine=engine, audit="full")
    sim.settle()
    result = sim.result()
    assert rows(result)[0][1:] == (0.0, 20.0, "banded")
    assert result.status == "halted"
    sim.set_levels("X", BUY, 98, 50)
    sim.settle()
    assert sim.result().status == "settled"


@pytest.mark.fast
def test_a_bankruptcy_order_stopped_by_its_own_limit_is_not_stopped_by_the_band(engine):
    """Limit 99, band to 95: the vault takes what the limit leaves, as without a band."""
    rules = cs.VenueRules(
        mark="index", order_price="bankruptcy", residual=("vault",), breakers=[cs.PriceBand("fixed", 0.05)]
    )
    market = build(BIDS, ASKS, {"a": 90}, [("a", "X", 10, 108)], vault=10_000)
    market.load_orders("X", {"order_id": [1], "side": [BUY], "price": [99.0], "quantity": [3.0]})
    result = market.run(cs.Shock(depth=0.2), rules=rules, engine=engine, audit="full")
    assert fills(result) == [(99, 2)]
    assert rows(result)[0][3] == "closed"
    assert result.liquidations["takeover"].tolist() == [8.0]


@pytest.mark.fast
def test_the_fund_walk_obeys_the_band(engine):
    rules = cs.VenueRules(
        mark="index", order_price="bankruptcy", residual=("fund_walk", "adl"),
        breakers=[cs.PriceBand("index", 0.05)],
    )  # fmt: skip
    market = build(BIDS, ASKS, {"a": 90}, [("a", "X", 50, 101)], fund=10**6)
    result = market.run(rules=rules, engine=engine, audit="full")
    assert [p for p, _ in fills(result)] == [99, 98, 96]
    assert rows(result)[0][1:] == (30.0, 20.0, "banded")
    assert not events(result, EventKind.ADL)


@pytest.mark.fast
def test_users_orders_obey_the_band(engine):
    rules = cs.VenueRules(breakers=[cs.PriceBand("fixed", 0.05)])
    market = build(BIDS, ASKS, {"a": 10_000}, [])
    sim = market.start(rules=rules, engine=engine)
    a = market.owner("a")

    def send(**fields):
        reports = sim.submit("X", message(owner=a, **fields))
        return [
            (ReportKind(r["kind"]).name, int(r["price"]), int(r["quantity"]), int(r["reason"]))
            for r in reports
        ]

    # A limit beyond the band trades up to it; its rest is cancelled, not rested.
    assert send(order_id=1, side=BUY, price=110, quantity=25) == [
        ("ACK", 110, 25, 0),
        ("TRADE", 101, 10, 0),
        ("TRADE", 105, 10, 0),
        ("CANCELLED", 110, 5, Reason.BANDED),
    ]  # fmt: skip
    # So is one that finds nobody, where it would trade beyond the band later.
    assert send(order_id=2, side=BUY, price=106, quantity=5)[-1] == ("CANCELLED", 106, 5, Reason.BANDED)
    # At the limit it rests; far from the market on its own side too.
    assert [r[0] for r in send(order_id=3, side=BUY, price=100, quantity=5)] == ["ACK"]
    assert [r[0] for r in send(order_id=4, side=BUY, price=50, quantity=5)] == ["ACK"]
    # Fill-or-kill counts what the band allows.
    assert send(order_id=5, side=SELL, price=90, quantity=40, tif=2) == [
        ("REJECTED", 0, 0, Reason.FOK_UNFILLABLE)
    ]
    assert len(send(order_id=5, side=SELL, price=90, quantity=30, tif=2)) == 5
    # A modified order as well.
    assert [r[0] for r in send(order_id=4, action=2, price=107, quantity=5)] == ["CANCELLED", "MODIFIED"]


@pytest.mark.fast
def test_bids_above_the_band_are_not_traded_with(engine):
    """Market makers requote 10% higher; nobody may sell to them above the upper limit."""
    rules = cs.VenueRules(breakers=[cs.PriceBand("fixed", 0.05)])
    result = build(BIDS, ASKS, {"a": 1}, []).run(
        cs.Shock(price=0.1, orders={"X": -5}), rules=rules, engine=engine, audit="full"
    )
    assert not fills(result)
    assert result.status == "halted"


@pytest.mark.fast
def test_the_tightest_band_counts_and_only_it_halts(engine):
    wide = cs.PriceBand("fixed", 0.09, halt_ns=SECOND)
    tight = cs.PriceBand("fixed", 0.05)
    sell = cs.Shock(orders={"X": -60})
    for breakers, halts, lowest in (([wide, tight], 0, 96), ([wide], 1, 92)):
        rules = cs.VenueRules(breakers=breakers)
        result = build(BIDS, ASKS, {"a": 1}, []).run(sell, rules=rules, engine=engine, audit="full")
        assert len(events(result, EventKind.HALT)) == halts
        assert min(p for p, _ in fills(result)) == lowest


@pytest.mark.fast
def test_a_band_around_the_mark_follows_from_order_to_order_not_within_one(engine):
    rules = cs.VenueRules(mark="last", breakers=[cs.PriceBand("mark", 0.03)])
    market = build(BIDS, ASKS, {"a": 1}, [])
    sim = market.start(rules=rules, engine=engine)
    # 3% below 100, 98, 96 and 94: 97, 95.06, 93.12, 91.18
    for expected in ([(99, 10), (98, 10)], [(96, 10)], [(94, 10)], [(92, 10)]):
        before = len(fills(sim.result()))
        sim.apply(cs.Shock(orders={"X": -60}))
        assert fills(sim.result())[before:] == expected


@pytest.mark.fast
def test_rounding_and_sides(engine):
    for rounding, lower, upper in (("inside", 94, 108), ("nearest", 93, 109), ("variant", 94, 108)):
        band = cs.PriceBand("fixed", 0.075, rounding=rounding)
        assert band.band(1, 101)[2:] == (lower, upper)
        market = build(BIDS, ASKS, {"a": 1}, [], prices={"last": {"X": 101}})
        sim = market.start(rules=cs.VenueRules(breakers=[band]), engine=engine)
        assert (sim.bands()["lower"][0], sim.bands()["upper"][0]) == (lower, upper)
    one = cs.PriceBand("fixed", 0.05, side="lower")
    sim = build(BIDS, ASKS, {"a": 1}, []).start(rules=cs.VenueRules(breakers=[one]), engine=engine)
    assert (sim.bands()["lower"][0], sim.bands()["upper"][0]) == (95, np.inf)


# -- halts ---------------------------------------------------------------------------------------------------


def cascade_market(symbols=("X",), **options):
    """a is unhealthy after the first sale, b after a's."""
    held = [("a", symbols[0], 20, 100), ("b", symbols[0], 10, 100), ("c", symbols[-1], -40, 100)]
    return build(BIDS, ASKS, {"a": 100, "b": 100, "c": 10**5}, held, symbols=symbols, **options)


@pytest.mark.fast
def test_a_cascade_stopped_by_luld_and_resumed_after_it(engine):
    rules = MARK_LAST.replace(residual=(), breakers=[cs.breakers.luld(1)])
    market = cascade_market()
    sim = market.start(cs.Shock(orders={"X": -25}), rules=rules, engine=engine, audit="full")
    sim.settle()
    # Sold to 96, the last price within 5% of 100; a's liquidation has sold the rest of that level and waits.
    assert fills(sim.result()) == [(99, 10), (98, 10), (96, 5), (96, 5)]
    assert sim.result().status == "halted"
    assert rows(sim.result()) == [("a", 5.0, 15.0, "banded"), ("a", 0.0, 15.0, "banded")]
    assert not sim.bands()["halted"][0]
    sim.advance_ns(15 * SECOND - 1)
    assert not sim.bands()["halted"][0]  # the limit must hold for 15 s
    sim.advance_ns(1)
    assert sim.bands()["halted_until_ns"].tolist() == [(15 + 300) * SECOND]
    sim.settle()
    assert len(fills(sim.result())) == 4  # nobody has a turn while it is halted
    assert not sim.step()
    sim.advance_ns(300 * SECOND - 1)
    sim.settle()
    assert len(fills(sim.result())) == 4
    sim.advance_ns(1)
    assert not sim.bands()["halted"][0]
    assert (sim.bands()["lower"][0], sim.bands()["upper"][0]) == (91, 101)  # around 96 now
    sim.settle()
    result = sim.result()
    assert fills(result)[4:] == [(94, 10), (92, 5), (92, 5)]
    halt, resume = events(result, EventKind.HALT, EventKind.RESUME)
    assert (halt[1], halt[3], halt[4]) == (15 * SECOND, 315 * SECOND, 95 * 1024)
    assert (resume[1], resume[2]) == (315 * SECOND, halt[0])
    # It is one cascade: b's cause is an event of a's turn, and waves go on counting.
    b = next(r for r in table_rows(result.liquidations) if r["account"] == "b")
    assert b["cause"] > 0
    assert b["wave"] >= 2
    assert result.status == "halted"  # b waits at the new limit of 91.2


@pytest.mark.fast
def test_an_order_filled_whole_ends_the_time_at_the_limit(engine):
    rules = cs.VenueRules(breakers=[cs.breakers.luld(1)])
    sim = build(BIDS, ASKS, {"a": 1}, []).start(cs.Shock(orders={"X": -50}), rules=rules, engine=engine)
    sim.advance_ns(10 * SECOND)
    sim.set_levels("X", BUY, 97, 10)
    sim.apply(cs.Shock(orders={"X": -3}))
    sim.advance_ns(10 * SECOND)
    assert not events(sim.result(), EventKind.HALT)
    sim.apply(cs.Shock(orders={"X": -50}))
    sim.advance_ns(15 * SECOND)
    assert len(events(sim.result(), EventKind.HALT)) == 1


@pytest.mark.fast
def test_a_market_wide_halt_over_two_instruments(engine):
    """X's last price falls 7%: both stop in the middle of the order, and wait 15 minutes."""
    rules = MARK_LAST.replace(breakers=[cs.MarketHalt("X", "last")])
    market = cascade_market(symbols=("X", "Y"))
    sim = market.start(cs.Shock(orders={"X": -60}), rules=rules, engine=engine, audit="full")
    result = sim.result()
    assert fills(result) == [(99, 10), (98, 10), (96, 10), (94, 10), (92, 10)]
    halts = events(result, EventKind.HALT)
    assert [(e[9], e[3], e[11]) for e in halts] == [(0, 15 * MINUTE, 0), (1, 15 * MINUTE, 0)]
    assert halts[0][2] == events(result, EventKind.FILL)[-1][0]  # caused by the fill that reached the level
    assert sim.bands()["halted"].tolist() == [True, True]
    sim.settle()
    assert len(fills(sim.result())) == 5
    assert sim.result().status == "halted"
    reports = sim.submit("Y", message(owner=market.owner("c"), side=BUY, price=90))
    assert reports["reason"].tolist() == [Reason.HALTED]
    sim.advance_ns(15 * MINUTE)
    assert len(events(sim.result(), EventKind.RESUME)) == 2
    assert len(sim.submit("Y", message(owner=market.owner("c"), side=BUY, price=90))) == 1
    sim.settle()
    # A liquidation goes through 13% (87) to 20% (80), for good (-1); the first level does not act again.
    result = sim.result()
    assert [p for p, _ in fills(result)[5:]] == [90, 80]
    until = 30 * MINUTE
    assert [(e[9], e[3]) for e in events(result, EventKind.HALT)[2:]] == [
        (0, until),
        (1, until),
        (0, -1),
        (1, -1),
    ]


@pytest.mark.fast
def test_a_market_wide_halt_on_an_index_shock_and_for_good(engine):
    rules = cs.VenueRules(mark="index", breakers=[cs.breakers.market_wide()])
    held = [("a", "X", 20, 100)]
    market = build(BIDS, ASKS, {"a": 50}, held)
    for move, levels_reached, until in (
        (-0.06, 0, 0),
        (-0.07, 1, 15 * MINUTE),
        (-0.14, 2, 15 * MINUTE),
        (-0.2, 3, FOREVER),
    ):
        sim = market.start(cs.Shock(index=move), rules=rules, engine=engine, audit="full")
        sim.settle()
        assert sim.bands()["halted_until_ns"].tolist() == [until], levels_reached
        assert (sim.result().status == "halted") == (until > 0)
    sim.advance_ns(10**18)
    sim.settle()
    assert sim.result().status == "halted"  # for good
    assert not fills(sim.result())


@pytest.mark.fast
def test_with_some_positions_halted_the_others_are_taken(engine):
    """Only X has a velocity logic; the account's position in Y is liquidated while X waits."""
    rules = cs.VenueRules(
        mark="index", size="all", breakers=[cs.VelocityLogic(3, SECOND, 5 * SECOND, symbols=["X"])]
    )
    held = [("a", "X", 10, 120), ("a", "Y", 10, 120)]
    market = build(BIDS, ASKS, {"a": 300}, held, symbols=("X", "Y"))
    sim = market.start(cs.Shock(orders={"X": -30}), rules=rules, engine=engine, audit="full")
    sim.settle()
    result = sim.result()
    assert fills(result) == [(99, 10), (98, 10), (99, 10)]  # 97 would be a move of 3 ticks; then Y's
    assert [r["instrument"] for r in table_rows(result.liquidations)] == ["Y"]
    assert result.status == "halted"
    sim.advance_ns(5 * SECOND)
    sim.settle()
    assert fills(sim.result())[3:] == [(96, 10)]  # the window begins anew at 98
    assert sim.result().status == "settled"


@pytest.mark.fast
def test_velocity_looks_at_its_window_only(engine):
    """98 is sold at a time, then 96: a move of 4 ticks from the start at 100 unless a second has passed."""
    rules = cs.VenueRules(breakers=[cs.VelocityLogic(4, SECOND, 5 * SECOND)])
    for pause, prices in ((SECOND - 1, [99, 98]), (SECOND, [99, 98, 96])):
        sim = build(BIDS, ASKS, {"a": 1}, []).start(cs.Shock(orders={"X": -20}), rules=rules, engine=engine)
        sim.advance_ns(pause)
        sim.apply(cs.Shock(orders={"X": -1}))
        assert [p for p, _ in fills(sim.result())] == prices
        assert len(events(sim.result(), EventKind.HALT)) == 3 - len(prices)


@pytest.mark.fast
def test_dynamic_circuit_breaker(engine):
    """Settlement 98: variant 3 (3.5% is 3.43). The limits are the window's extremes, crosswise."""
    rules = cs.VenueRules(breakers=[cs.breakers.dynamic_circuit_breaker(0.035)])
    prices = {"last": {"X": 100}, "index": {"X": 100}, "settle": {"X": 98}}
    sim = build(BIDS, ASKS, {"a": 1}, [], prices=prices).start(rules=rules, engine=engine, audit="full")

    def limits():
        return [float(sim.bands()[name][0]) for name in ("lower", "upper")]

    assert limits() == [97, 103]
    sim.apply(cs.Shock(orders={"X": -5}))
    assert limits() == [97, 102]  # low 99, high 100
    sim.apply(cs.Shock(orders={"X": 5}))
    assert limits() == [98, 102]  # high 101
    sim.advance_ns(60 * MINUTE)
    assert limits() == [98, 104]  # an empty window holds the last trade before it
    sim.apply(cs.Shock(orders={"X": -30}))
    assert fills(sim.result())[-2:] == [(99, 5), (98, 10)]
    halt = events(sim.result(), EventKind.HALT)[0]
    assert halt[3] - halt[1] == 2 * MINUTE
    assert np.isnan(limits()).all()
    sim.advance_ns(2 * MINUTE)
    assert limits() == [95, 101]  # begins anew at 98


@pytest.mark.fast
def test_a_mean_is_renewed_now_and_then(engine):
    band = cs.PriceBand("mean", 0.05, window_ns=10, renew_ns=5, rounding="nearest")
    sim = build(BIDS, ASKS, {"a": 1}, []).start(rules=cs.VenueRules(breakers=[band]), engine=engine)
    sim.apply(cs.Shock(orders={"X": -20}))
    assert sim.bands()["lower"][0] == 95
    sim.advance_ns(4)
    assert sim.bands()["lower"][0] == 95
    sim.advance_ns(1)
    assert sim.bands()["lower"][0] == 94  # (100 + 99 + 98) / 3 = 99, less 5%: 94.05
    sim.advance_ns(4)
    sim.apply(cs.Shock(orders={"X": -10}))  # at 96, at time 9
    sim.advance_ns(1)
    assert sim.bands()["lower"][0] == 91  # at 10 only 96 is in (0, 10]
    own = cs.PriceBand("mean", 0.05, window_ns=10, rounding="nearest")
    sim = build(BIDS, ASKS, {"a": 1}, []).start(rules=cs.VenueRules(breakers=[own]), engine=engine)
    sim.apply(cs.Shock(orders={"X": -20}))
    assert sim.bands()["lower"][0] == 94  # for every order


@pytest.mark.fast
def test_limits_without_halts_and_the_reference_that_a_caller_gives(engine):
    band = cs.breakers.cme_price_limits(0.07)
    prices = {"last": {"X": 100}, "index": {"X": 100}, "settle": {"X": 103}, "reference": {"X": 50}}
    sim = build(BIDS, ASKS, {"a": 1}, [], prices=prices).start(
        rules=cs.VenueRules(breakers=[band]), engine=engine
    )
    assert (sim.bands()["lower"][0], sim.bands()["upper"][0]) == (96, 110)
    sim.apply(cs.Shock(orders={"X": -60}))
    sim.advance_ns(10**15)
    assert not events(sim.result(), EventKind.HALT)
    fixed = cs.PriceBand("fixed", 0.1)
    sim = build(BIDS, ASKS, {"a": 1}, [], prices=prices).start(
        rules=cs.VenueRules(breakers=[fixed]), engine=engine
    )
    assert (sim.bands()["lower"][0], sim.bands()["upper"][0]) == (45, 55)


@pytest.mark.fast
def test_external_levels_that_may_not_trade_do_not_enter(engine):
    """Requoted asks at 90 would cross a's bid at 97, which is halted: they stay out, and the book is sane."""
    rules = cs.VenueRules(mark="index", breakers=[cs.MarketHalt()])
    market = build(BIDS, ASKS, {"a": 10_000}, [])
    market.load_orders(
        "X", {"order_id": [1], "account": ["a"], "side": [BUY], "price": [97.0], "quantity": [4.0]}
    )
    sim = market.start(cs.Shock(index=-0.1), rules=rules, engine=engine, audit="full")
    sim.apply(cs.Shock(price=-0.1))
    result = sim.result()
    assert not fills(result)
    kept_out = [e for e in events(result, EventKind.CANCEL) if e[6] == 0]
    assert [(e[3], e[11]) for e in kept_out] == [(-10, Reason.HALTED), (-10, Reason.HALTED)]
    assert sim.book("X").best_bid == 97


@pytest.mark.fast
def test_cancelling_and_shrinking_work_in_a_halt(engine):
    rules = cs.VenueRules(mark="index", breakers=[cs.MarketHalt()])
    market = build(BIDS, ASKS, {"a": 10_000}, [])
    market.load_orders(
        "X",
        {
            "order_id": [1, 2],
            "account": ["a", "a"],
            "side": [BUY, BUY],
            "price": [97.0, 95.0],
            "quantity": [4.0, 4.0],
        },
    )
    sim = market.start(cs.Shock(index=-0.1), rules=rules, engine=engine, audit="full")
    assert sim.submit("X", message(order_id=1, action=2, price=97, quantity=2))["kind"].tolist() == [
        ReportKind.MODIFIED
    ]
    assert sim.submit("X", message(order_id=1, action=2, price=98, quantity=2))["reason"].tolist() == [
        Reason.HALTED
    ]
    assert sim.submit("X", message(order_id=1, action=1))["kind"].tolist() == [ReportKind.CANCELLED]
    assert sim.submit("X", message(order_id=9, side=SELL, price=200))["reason"].tolist() == [Reason.HALTED]


# -- schemes and records -------------------------------------------------------------------------------------


@pytest.mark.fast
def test_luld_bands():
    def band(tier, price, **options):
        found = cs.breakers.luld(tier, **options).band("0.01", price)
        return found.rate, found.lower, found.upper

    cents = Decimal
    assert band(1, "3.01", doubled=True) == (cents("0.1"), cents("2.71"), cents("3.31"))
    assert band(2, "0.50") == (None, cents("0.35"), cents("0.65"))
    assert band(1, "100") == (cents("0.05"), 95, 105)
    assert band(2, "100") == (cents("0.1"), 90, 110)
    assert band(1, "3.00") == band(2, "3.00") == (cents("0.2"), cents("2.40"), cents("3.60"))
    assert band(2, "0.75") == (cents("0.2"), cents("0.60"), cents("0.90"))
    assert band(1, "0.10") == (cents("0.75"), cents("0.03"), cents("0.18"))  # 0.025 and 0.175: halves up
    assert band(2, "0.50", doubled=True) == (None, cents("0.20"), cents("0.80"))
    assert band(2, "0.10", doubled=True) == (cents("1.5"), 0, cents("0.25"))
    assert band(2, "10", doubled=True) == (cents("0.2"), 8, 12)
    assert band(2, "10", doubled=True, doubling="limited") == (cents("0.1"), 9, 11)
    assert band(2, "3", doubled=True, doubling="limited") == band(1, "3", doubled=True)
    assert band(1, "10", doubled=True, doubling="limited") == (cents("0.1"), 9, 11)
    # The tier comes from the previous close, the width from the reference.
    close = cs.breakers.luld(1).band("0.01", "3.20", settle="2.90")
    assert (close.lower, close.upper) == (cents("2.56"), cents("3.84"))


@pytest.mark.fast
def test_dynamic_circuit_breaker_variant():
    band = cs.breakers.dynamic_circuit_breaker("0.10").band("0.1", settle="2734.3", low=2700, high=2750)
    assert (band.variant, band.high_bid_limit, band.low_ask_limit) == (
        Decimal("273.4"), Decimal("2973.4"), Decimal("2476.6")
    )  # fmt: skip


@pytest.mark.fast
def test_market_wide_levels():
    halt = cs.breakers.market_wide("SPX")
    assert halt.triggers("2972.37", "0.01") == [Decimal("2764.30"), Decimal("2585.96"), Decimal("2377.90")]
    found = [halt.halt_at(p, 1000)[::3] for p in (931, 930, 871, 870, 801, 800, 1)]
    assert found == [
        (0, 0), (1, 15 * MINUTE), (1, 15 * MINUTE), (2, 15 * MINUTE), (2, 15 * MINUTE), (3, None), (3, None)
    ]  # fmt: skip
    assert cs.breakers.market_wide(last_minutes=True).halt_at(850, 1000).level == 0


@pytest.mark.fast
def test_tables_before_a_run():
    rules = cs.VenueRules(
        breakers=[cs.breakers.luld(1), cs.breakers.market_wide("Y"), cs.PriceBand("mark", 0.1, symbols="X")]
    )
    market = build(BIDS, ASKS, {"a": 1}, [], symbols=("X", "Y"), rules=rules)
    bands = market.bands()
    assert bands["instrument"].tolist() == ["X", "X", "Y"]
    assert bands["breaker"].tolist() == [0, 2, 0]
    assert bands["rate"].tolist() == [0.05, 0.1, 0.05]
    assert bands["lower"].tolist() == [95, 90, 95]
    assert bands["upper"].tolist() == [105, 110, 105]
    halts = market.halts()
    assert halts["price"].tolist() == pytest.approx([93, 87, 80], abs=1e-3)
    assert halts["halt_ns"].tolist() == [15 * MINUTE, 15 * MINUTE, FOREVER]
    assert len(market.bands(cs.VenueRules())) == len(market.halts(cs.VenueRules())) == 0


@pytest.mark.fast
def test_records_copy_pickle_compare_and_print():
    found = (
        cs.breakers.luld(2, doubled=True, symbols=["X"]),
        cs.breakers.dynamic_circuit_breaker("0.07"),
        cs.breakers.cme_price_limits(0.07, side="lower"),
        cs.breakers.cme_velocity_logic(24),
        cs.breakers.market_wide("X"),
        cs.breakers.order_price_limit(0.05, reference="index"),
    )
    rules = cs.VenueRules(breakers=found)
    names = {n: getattr(cs, n) for n in ("PriceBand", "VelocityLogic", "MarketHalt", "Width", "VenueRules")}
    assert eval(repr(rules), names) == rules
    assert hash(eval(repr(rules), names)) == hash(rules)
    assert pickle.loads(pickle.dumps(rules)) == copy.deepcopy(rules) == rules
    assert repr(cs.PriceBand("mark", 0.05)) == "PriceBand(reference='mark', width=(Width(rate=0.05),))"
    market = build(BIDS, ASKS, {"a": 1}, [], rules=rules, prices={"last": {"X": 100}, "settle": {"X": 99}})
    twin = pickle.loads(pickle.dumps(market))
    assert twin.digest == market.digest == copy.copy(market).digest
    assert market.run(cs.Shock(orders={"X": -60})).digest == twin.run(cs.Shock(orders={"X": -60})).digest
    before = market.digest
    market.set_prices(settle={"X": 98})
    assert market.digest != before


BAD = [
    (lambda: cs.PriceBand("fixd", 0.1), cs.InputError, "PriceBand.reference = 'fixd'"),
    (lambda: cs.PriceBand(3, 0.1), cs.InputTypeError, "PriceBand.reference = 3"),
    (lambda: cs.PriceBand("fixed"), cs.InputError, "PriceBand.width = null"),
    (lambda: cs.PriceBand("fixed", 0), cs.InputError, "PriceBand.width = 0"),
    (lambda: cs.PriceBand("fixed", 11), cs.RangeError, "PriceBand.width = 11"),
    (lambda: cs.PriceBand("fixed", "x"), cs.InputError, "PriceBand.width = 'x'"),
    (lambda: cs.PriceBand("fixed", [0.1]), cs.InputTypeError, "PriceBand.width\\[0\\]"),
    (lambda: cs.PriceBand("fixed", []), cs.InputError, "PriceBand.width"),
    (lambda: cs.PriceBand("fixed", [cs.Width(0.1), cs.Width(0.2)]), cs.InputError, "must not stand twice"),
    (lambda: cs.PriceBand("mean", 0.1), cs.InputError, "PriceBand.window_ns = 0"),
    (lambda: cs.PriceBand("mark", 0.1, window_ns=5), cs.InputError, "PriceBand.window_ns = 5"),
    (lambda: cs.PriceBand("mark", 0.1, renew_ns=5), cs.InputError, "PriceBand.renew_ns = 5"),
    (lambda: cs.PriceBand("mark", 0.1, halt_ns=0), cs.InputError, "PriceBand.halt_ns = 0"),
    (lambda: cs.PriceBand("mark", 0.1, halt_ns=1.5), cs.InputTypeError, "PriceBand.halt_ns = 1.5"),
    (lambda: cs.PriceBand("mark", 0.1, limit_ns=5), cs.InputError, "PriceBand.limit_ns = 5"),
    (lambda: cs.PriceBand("mark", 0.1, recentre=1), cs.InputTypeError, "PriceBand.recentre = 1"),
    (lambda: cs.PriceBand("mark", 0.1, symbols=3), cs.InputTypeError, "PriceBand.symbols = 3"),
    (lambda: cs.Width(), cs.InputError, "Width.rate"),
    (lambda: cs.Width(amount=-1), cs.InputError, "Width.amount = -1"),
    (lambda: cs.Width(0.1, above=1, at_least=1), cs.InputError, "Width.above = 1"),
    (lambda: cs.VelocityLogic(0, 1, 1), cs.InputError, "VelocityLogic.ticks = 0"),
    (lambda: cs.VelocityLogic(1.5, 1, 1), cs.InputTypeError, "VelocityLogic.ticks = 1.5"),
    (lambda: cs.VelocityLogic(1, 0, 1), cs.InputError, "VelocityLogic.window_ns = 0"),
    (lambda: cs.MarketHalt(3), cs.InputTypeError, "MarketHalt.symbol = 3"),
    (lambda: cs.MarketHalt(price="mark"), cs.InputError, "MarketHalt.price = 'mark'"),
    (lambda: cs.MarketHalt(levels=()), cs.InputTypeError, "MarketHalt.levels"),
    (lambda: cs.MarketHalt(levels=(0.1,)), cs.InputTypeError, "MarketHalt.levels\\[0\\]"),
    (lambda: cs.MarketHalt(levels=((0.1, 5), (0.1, 5))), cs.InputError, "MarketHalt.levels\\[1\\].rate"),
    (lambda: cs.MarketHalt(levels=((1.1, 5),)), cs.RangeError, "MarketHalt.levels\\[0\\].rate"),
    (lambda: cs.VenueRules(breakers="luld"), cs.InputTypeError, "rules.breakers = 'luld'"),
    (lambda: cs.VenueRules(breakers=[0.05]), cs.InputTypeError, "rules.breakers\\[0\\] = 0.05"),
    (lambda: cs.VenueRules(breakers=[cs.MarketHalt()] * 17), cs.InputError, "rules.breakers: 17"),
    (lambda: cs.breakers.luld(3), cs.InputError, "luld: tier = 3"),
    (lambda: cs.breakers.luld(1, doubling="no"), cs.InputError, "luld: doubling"),
    (
        lambda: build(BIDS, ASKS, {"a": 1}, []).run(rules=cs.VenueRules(breakers=[cs.MarketHalt("Z")])),
        cs.InputError,
        "rules.breakers\\[0\\]: 'Z': unknown instrument",
    ),
    (
        lambda: build(BIDS, ASKS, {"a": 1}, []).bands(
            cs.VenueRules(breakers=[cs.VelocityLogic(1, 1, 1, ["Z"])])
        ),
        cs.InputError,
        "rules.breakers\\[0\\]: 'Z': unknown instrument",
    ),
    (
        lambda: build(BIDS, ASKS, {"a": 1}, []).set_prices(settle={"X": 0}),
        cs.InputError,
        "prices.settle\\['X'\\]",
    ),
    (
        lambda: build(BIDS, ASKS, {"a": 1}, []).set_prices(reference=3),
        cs.InputTypeError,
        "prices.reference = 3",
    ),
]


@pytest.mark.fast
@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_breakers_are_refused_with_their_field(case):
    make, error, text = BAD[case]
    with pytest.raises(error, match=text):
        make()


@pytest.mark.fast
def test_limits_at_the_edge_of_the_domain(engine):
    """Prices near 2**53 ticks and bands of ten times them: nothing wraps around."""
    top = TOP - 5
    for width in (10, 1, 0.3, cs.Width(amount=2**52), cs.Width(amount=10**30), cs.Width(10, 2**51)):
        for rounding in ("nearest", "inside", "variant"):
            band = cs.PriceBand("fixed", width, rounding=rounding)
            market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1), cash_quantum=1)
            market.set_prices(last={"X": top}, index={"X": 100})
            sim = market.start(rules=cs.VenueRules(mark="index", breakers=[band]), engine=engine)
            found = band.band(1, top)
            assert sim.bands()["lower"][0] == float(found.lower)
            assert sim.bands()["upper"][0] == np.inf
            assert found.upper == TOP


# -- random markets ------------------------------------------------------------------------------------------


class Watch:
    """Replays a log: what breakers forbid does not happen. Limits are worked out anew, with fractions."""

    def __init__(self, market, rules, symbols):
        self.rules, self.symbols = rules, symbols
        state = market.state()
        self.ticks = [i.tick_size for i in state.instruments]
        self.halted: dict[int, int] = {}
        self.start, self.settle = [], []
        for i in range(len(symbols)):
            reference = Fraction(int(state.reference_1024[i]), 1024) or Fraction(int(state.last[i]))
            self.start.append(reference)
            self.settle.append(Fraction(int(state.settle_1024[i]), 1024) or reference)
        self.last = [Fraction(int(x)) for x in state.last]
        self.index = [Fraction(int(x), 1024) for x in state.index_1024]
        self.mark = [Fraction(int(m), 1024) for m in market.marks(rules)]
        self.trades = [[] for _ in symbols]
        self.anchors = {}
        self.limits = [(0, TOP)] * len(symbols)
        self.orders = {}
        self.checked = 0

    def play(self, log):
        for e in log.tolist():
            seq, time, cause, quantity, price, _, _, _, _, i, kind, flags = e
            if kind == EventKind.ORDER:
                self.limits[i] = self.limits_now(i, time)
                self.orders[seq] = self.limits[i]
            elif kind == EventKind.FILL:
                assert i not in self.halted, f"event {seq}: a trade in a halt"
                low, high = self.orders[cause]
                assert low <= price // 1024 <= high, f"event {seq}: {price // 1024} not in [{low}, {high}]"
                self.checked += low > 0 or high < TOP
                self.trades[i].append((time, price // 1024))
                self.last[i] = Fraction(price // 1024)
            elif kind in (EventKind.ADL, EventKind.TAKEOVER):
                assert i not in self.halted, f"event {seq}: {kind} in a halt"
            elif kind == EventKind.MARK:
                self.mark[i] = Fraction(price, 1024)
            elif kind == EventKind.SHOCK and flags == 1:
                # A gap moves the index too, which its event does not tell.
                self.index[i] = None
                self.last[i] = Fraction(price, 1024)
            elif kind == EventKind.SHOCK and flags == 2:
                self.index[i] = Fraction(price, 1024)
            elif kind == EventKind.HALT:
                assert quantity == -1 or quantity > max(time, self.halted.get(i, 0)), f"event {seq}"
                assert self.halted.get(i) != -1
                self.halted[i] = quantity
            elif kind == EventKind.RESUME:
                assert self.halted.pop(i) == time, f"event {seq}"
                for k, breaker in enumerate(self.rules.breakers):
                    if getattr(breaker, "recentre", True) and self.last[i]:
                        self.anchors[i, k] = (time, self.last[i], len(self.trades[i]))

    def limits_now(self, i, time):
        low, high = 0, TOP
        for k, breaker in enumerate(self.rules.breakers):
            if isinstance(breaker, cs.MarketHalt) or not breaker.holds_for(self.symbols[i]):
                continue
            lower, upper = self.limits_of(i, k, breaker, time)
            low, high = max(low, lower), min(high, upper)
        return low, high

    def limits_of(self, i, k, breaker, time):
        velocity = isinstance(breaker, cs.VelocityLogic)
        reference = "range" if velocity else breaker.reference
        when, anchor, first = self.anchors.get((i, k), (0, self.start[i], 0))
        if reference == "settle" and (i, k) not in self.anchors:
            anchor = self.settle[i]
        if reference in ("fixed", "settle"):
            bottom = top = anchor
        elif reference == "mark":
            bottom = top = self.mark[i]
        elif reference == "index":
            bottom = top = self.index[i]
        else:
            seen = self.trades[i][first:]
            inside = [Fraction(p) for t, p in seen if t > time - breaker.window_ns]
            if anchor and when > time - breaker.window_ns:
                inside.append(anchor)
            if not inside:
                inside = [Fraction(seen[-1][1]) if seen else anchor]
            bottom, top = min(inside), max(inside)
            if reference == "mean":
                if breaker.renew_ns:
                    return 0, TOP  # when it was renewed is not in the log
                bottom = top = Fraction(round(sum(inside) / len(inside) * 1024), 1024)
        if not bottom:
            return 0, TOP
        if velocity:
            return top - breaker.ticks + 1, bottom + breaker.ticks - 1
        return self.rounded(i, breaker, bottom, top)

    def rounded(self, i, breaker, bottom, top):
        settle = self.settle[i] * self.ticks[i]
        reached = [w for w in breaker.width if w.reached_by(settle)]
        if not reached:
            return 0, TOP
        width = max(reached, key=lambda w: w.floor)
        amount = None if width.amount is None else Fraction(width.amount) / self.ticks[i]

        def reach(reference):
            rates = [] if width.rate is None else [Fraction(width.rate) * reference]
            return min(rates + ([] if amount is None else [amount]))

        slack = Fraction(1, 512) if breaker.of == "settle" or amount is not None else 0
        base = [self.settle[i]] * 2 if breaker.of == "settle" else [top, bottom]
        below, above = top - reach(base[0]) - slack, bottom + reach(base[1]) + slack
        half = Fraction(1, 2) if breaker.rounding == "nearest" else 0
        lower, upper = below - half, above + half
        return (lower if breaker.side != "upper" else 0, upper if breaker.side != "lower" else TOP)


def watched(seed, engine):
    """One random market with breakers under the watch; how many trades were looked at, None without
    breakers."""
    market, shock, run = random_markets.make(seed)
    rules = run["rules"]
    if not rules.breakers or shock_moves_index(rules, shock):
        return None
    rng = random.Random(seed)
    sim = market.start(shock, engine=engine, audit="full", **run)
    for _ in range(12):
        sim.settle()
        sim.advance_ns(rng.choice((0, 1, 2, 5, 10**9)))
        if rng.random() < 0.5:
            sim.apply(cs.Shock(orders={"I0": rng.choice((-20, -4, 4, 20))}))
    result = sim.result()
    watch = Watch(market, rules, [i.symbol for i in market.instruments])
    watch.play(result.events)
    assert result.audit["conserved"]
    return watch.checked, len(result.events)


def shock_moves_index(rules, shock):
    """Whether an index that a band looks at moves where the log does not say so."""
    indexed = any(getattr(b, "reference", "") == "index" for b in rules.breakers)
    return indexed and "price" in str(shock)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_breakers_forbid_does_not_happen(engine):
    checked = markets = 0
    for seed in range(SEEDS if engine == "core" else SEEDS // 4):
        try:
            found = watched(seed, engine)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        if found is not None:
            markets += 1
            checked += found[0]
    assert checked > markets > SEEDS // 25


def drive(seed, actions=30):
    """A random simulation with breakers in both engines, mostly letting time pass."""
    market, shock, run = random_markets.make(seed)
    if not run["rules"].breakers:
        return 0
    s, rng = random_markets.spec(seed), random.Random(-7 - seed)
    ids, mids = [a for a, _ in s["accounts"]], [max(4, round(p[0])) for p in s["prices"]]
    twins = Twins.start(market, shock, **run)
    copies = []
    for k in range(actions):
        if rng.random() < 0.5:
            act(rng, twins, market, ids, mids)
        else:
            twins.do("advance_ns", rng.choice((1, 1, 2, 3, 5, 10**9)))
            twins.do("settle")
        twins.compare()
        if k in (10, 20):
            copies.append(twins.copy())
    for one in [twins, *copies]:
        one.do("advance_ns", 2 * 10**9)
        one.do("settle")
        one.compare()
        one.compare_results()
    return 1


def test_engines_agree_on_simulations_with_breakers():
    found = 0
    for seed in range(SEEDS):
        try:
            found += drive(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert found > SEEDS // 5


@pytest.mark.fast
def test_engines_agree_on_a_few_simulations_with_breakers():
    assert sum(drive(seed, 15) for seed in range(40)) > 5


@pytest.mark.fast
def test_a_run_leaves_nothing_behind():
    """The same engine again gives the same run: levels, windows, limits and halts are put back."""
    rules = MARK_LAST.replace(
        breakers=[cs.breakers.luld(1), cs.MarketHalt("X", "last"), cs.VelocityLogic(5, SECOND, SECOND)]
    )
    market = cascade_market(symbols=("X", "Y"))
    shocks = [cs.Shock(orders={"X": -60}), cs.Shock(orders={"X": -15}), cs.Shock(price=-0.1), cs.Shock()]
    fresh = [cascade_market(symbols=("X", "Y")).run(shock, rules=rules) for shock in shocks]
    for k in (0, 1, 0, 2, 3, 1, 0, 3, 2):
        assert not difference(fresh[k], market.run(shocks[k], rules=rules), ("fresh", "again"))
    assert market._derived.engines


@pytest.mark.parametrize("size", ["fraction", "step_down"])
def test_accounts_that_rest_and_wait_for_a_band(size):
    """Both at once: whoever waits makes a run halted, whether it rests as well or not, in both engines."""
    statuses = []
    for seed in range(700):
        s = random_markets.spec(seed)
        if "breakers" not in s["rules"]:
            continue
        s["rules"] |= {"size": size, "cooldown_ns": 10**9, "size_fraction": 0.4}
        try:
            market, shock, run = random_markets.build(s)
            results = [market.run(shock, engine=engine, **run) for engine in ("core", "reference")]
        except cs.CascadeError:
            continue
        assert results[0].digest == results[1].digest, f"seed {seed}"
        statuses.append(results[0].status)
    assert statuses.count("halted") > 5
    assert statuses.count("horizon") > 0
