"""Collateral in several assets, worked out by hand on both engines: what counts, when it is sold, what is
left.

Ticks, lots and the cash quantum are 1, so that a lot at price p is worth p quanta. "C" is the coin that "c"
is sold as, "P" an instrument with positions.
"""

from __future__ import annotations

import copy
import csv
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import random_markets
from test_prices_act import PRICES, found_first
from test_prices_act import market as wide_market
from twins import ENGINES, difference, run_both

import cascade as cs
from cascade._cli import main
from cascade._scenario import load_scenario
from cascade.records import EventKind

EXTERNAL, VAULT = 0, 5
COLLATERAL = 3
RULES = cs.VenueRules(mark="last", residual=())


def build(
    *,
    balances,
    held,
    positions=(),
    haircut=0,
    coin=((100, 1000),),
    coin_complete=True,
    bids=((100, 1000),),
    rules=RULES,
    orders=(),
    coin_tiers=None,
    taker_fee=0,
    fund=0,
    vault=0,
    tiers=0.1,
):
    """Accounts {name: balance} that hold {name: lots of "c"} and positions (name, instrument, lots, entry);
    `coin` and `bids` are the levels of the two books' bids, asks lie at 101; all last prices are 100."""
    market = cs.Market(
        [
            cs.Instrument("C", tick_size=1, lot_size=1, tiers=coin_tiers, taker_fee=taker_fee),
            cs.Instrument("P", tick_size=1, lot_size=1, tiers=tiers),
        ],
        rules=rules,
        fund=fund,
        vault=vault,
        cash_quantum=1,
        settlement_asset="usd",
        collateral=cs.Collateral("c", "C", haircut),
    )
    for symbol, levels, complete in (("C", coin, coin_complete), ("P", bids, True)):
        table = {"price": [p for p, _ in levels], "quantity": [q for _, q in levels]}
        market.load_book(symbol, table, {"price": [101], "quantity": [10_000]}, complete=complete)
    market.set_prices(last={"C": 100, "P": 100}, index={"C": 100, "P": 100})
    market.load_accounts(
        {
            "account": [*balances, *held],
            "balance": [*balances.values(), *held.values()],
            "asset": ["usd"] * len(balances) + ["c"] * len(held),
        }
    )
    if positions:
        names = "account", "instrument", "size", "entry_price"
        market.load_positions(dict(zip(names, map(list, zip(*positions, strict=True)), strict=True)))
    for k, (account, symbol, side, price, quantity) in enumerate(orders):
        market.load_orders(
            symbol,
            {
                "order_id": [k + 1],
                "account": [account],
                "side": [side],
                "price": [price],
                "quantity": [quantity],
            },
        )
    return market


def run(market, engine, shock=None, **options):
    result = market.run(shock, engine=engine, audit="full", **options)
    assert result.audit["conserved"]
    return result


def sales(result):
    """(account, lots sold, average price, lots left, status) of every sale of collateral."""
    x = result.liquidations
    mine = x["position_side"] == "collateral"
    names = "account", "filled", "average_price", "left", "status"
    return list(zip(*(x[name][mine].tolist() for name in names), strict=True))


def one(table, account, column):
    (value,) = table[column][table["account"] == account].tolist()
    return value


def left_of(result, account):
    """Lots of "c" that an account holds at the end."""
    x = result.holdings
    return float(x["quantity"][x["account"] == account].sum())


# -- what counts -----------------------------------------------------------------------------------------


@pytest.mark.fast
@pytest.mark.parametrize(("haircut", "counts"), [(0, 700), ("0.05", 665), ("0.0001", 699), (1, 0)])
def test_equity_counts_collateral_after_its_haircut_rounded_down(haircut, counts):
    market = build(balances={"a": 11}, held={"a": 7}, haircut=haircut)
    assert one(market.margin(), "a", "equity") == 11 + counts
    assert one(market.margin(), "a", "collateral") == counts
    assert one(market.margin(), "a", "balance") == 11
    table = market.holdings()
    assert table["asset"].tolist() == ["c"]
    assert table["instrument"].tolist() == ["C"]
    assert table["quantity"].tolist() == [7]
    assert table["price"].tolist() == [100]
    assert table["value"].tolist() == [counts]
    assert table["haircut"].tolist() == [float(haircut)]


@pytest.mark.fast
def test_a_multiplier_says_how_much_of_the_asset_a_lot_is():
    ins = cs.Instrument("KC", tick_size="0.5", lot_size="0.1", multiplier=1000, tiers=0.1)
    market = cs.Market(ins, collateral=cs.Collateral("c", "KC", haircut="0.5"))
    market.set_prices(last={"KC": 3}, index={"KC": 3})
    market.load_accounts({"account": [1, 1], "balance": [2, 700], "asset": [None, "c"]})
    assert market.state().holdings["lots"].tolist() == [7]
    assert market.holdings()["quantity"].tolist() == [700]
    assert market.holdings()["price"].tolist() == [3]
    assert market.margin()["equity"].tolist() == [2 + 700 * 3 / 1000 * 1000 * 0.5]


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_a_falling_asset_makes_a_healthy_position_elsewhere_unhealthy(engine):
    # Equity 20 + 10 x 100 x 0.8 = 820 against maintenance 0.1 x 5,000. The coin falls to 59: 20 + 472 = 492.
    market = build(balances={"a": 20}, held={"a": 10}, haircut="0.2", positions=[("a", "P", 50, 100)])
    assert run(market, engine, cs.Shock(price={"C": -0.39})).summary["liquidated_accounts"] == 0
    result = run(market, engine, cs.Shock(price={"C": -0.41}))
    x = result.liquidations
    assert x["instrument"].tolist() == ["P"]
    assert x["equity"].tolist() == [492]
    assert x["maintenance"].tolist() == [500]
    assert result.summary["price"]["P"]["low"] == 100
    assert result.contagion()["instrument"].tolist() == ["P"]
    assert result.contagion()["moved"].tolist() == ["C"]
    assert result.contagion()["quantity"].tolist() == [50]
    # It closed at its entry and owes nothing: the collateral stays.
    assert sales(result) == []
    assert left_of(result, "a") == 10
    assert one(result.accounts, "a", "equity") == 492


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_a_raised_haircut_makes_accounts_unhealthy_and_the_shock_is_the_cause(engine):
    # Equity 10 x 100 x 0.8 = 800 against 500; at a haircut of 0.51 490.
    market = build(balances={"a": 0}, held={"a": 10}, haircut="0.2", positions=[("a", "P", 50, 100)])
    for shock, equity in ((cs.Shock(haircut={"c": "0.5"}), 500), (cs.Shock(haircut=0.51), 490)):
        result = run(market, engine, shock)
        assert one(result.accounts, "a", "equity") == equity
        assert result.liquidations["cause"].tolist() == [-1] * (equity < 500)
        assert result.holdings["haircut"].tolist() == [0.5 if equity == 500 else 0.51]
        assert result.holdings["value"].tolist() == [equity]
    # In a simulation it holds from then on, and can be lowered again.
    sim = market.start(engine=engine)
    sim.apply(cs.Shock(haircut={"c": 1}))
    assert one(sim.accounts, "a", "equity") == 0
    assert sim.holdings["haircut"].tolist() == [1]
    sim.apply(cs.Shock(haircut={"c": 0}))
    sim.settle()
    assert sim.result().summary["liquidated_accounts"] == 0
    assert one(sim.accounts, "a", "equity") == 1000
    assert market.holdings()["haircut"].tolist() == [0.2]


@pytest.mark.fast
def test_haircuts_in_words_and_refused():
    shock = cs.Shock(haircut={"c": "0.5"})
    assert repr(shock) == "Shock(haircut={'c': 0.5})"
    assert str(shock) == "haircut of c 0.5"
    assert str(cs.Shock(haircut=1)) == "all haircuts 1"
    with pytest.raises(cs.InputError, match=r"shock.haircut\['c'\] = 1.5: must be in \[0, 1\]"):
        cs.Shock(haircut={"c": 1.5})
    with pytest.raises(
        cs.InputError, match=r"shock.haircut = 'x': must be an asset of Market.collateral \(c\)"
    ):
        build(balances={"a": 0}, held={}).run(cs.Shock(haircut={"x": 1}))


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_collateral_in_the_positions_own_instrument_moves_with_it(engine):
    # Long 10 and 10 coins at 0.8: equity 10 (P - 100) + 8 P, maintenance P: liquidated at 1,000 / 17.
    market = build(
        balances={"a": 0},
        held={"a": 10},
        haircut="0.2",
        positions=[("a", "C", 10, 100)],
        coin_tiers=0.1,
        rules=RULES.replace(mark="index"),
    )
    table = market.liquidation_prices()
    assert table["liquidation_price"].tolist() == pytest.approx([1000 / 17], rel=1e-12)
    assert table["bankruptcy_price"].tolist() == pytest.approx([1000 / 18], rel=1e-12)
    for gap, taken in ((-0.41, False), (-0.42, True)):
        assert bool(found_first(run(market, engine, cs.Shock(index={"C": gap})))) == taken
    # Short as many: at a haircut of 0 nothing moves but maintenance, P <= 1,000.
    hedged = build(
        balances={"a": 0},
        held={"a": 10},
        positions=[("a", "C", -10, 100)],
        coin_tiers=0.1,
        rules=RULES.replace(mark="index"),
    )
    table = hedged.liquidation_prices()
    assert table["liquidation_price"].tolist() == pytest.approx([1000], rel=1e-12)
    assert np.isnan(table["bankruptcy_price"]).all()
    for gap, taken in ((8.99, False), (9.01, True), (-0.9, False)):
        assert bool(found_first(run(hedged, engine, cs.Shock(index={"C": gap})))) == taken


@pytest.mark.parametrize("venue", ["binance_usdm", "okx", "bitmex"])
def test_reported_prices_with_collateral_are_where_the_engine_acts(venue):
    rules = getattr(cs.venues, venue).rules.replace(mark="index")
    made = wide_market(rules, collateral=True)
    table, margin = made.liquidation_prices(), made.margin()
    assert (margin["collateral"] > 0).sum() > 20
    healthy = set(margin["account"][(margin["collateral"] > 0) & ~(margin["ratio"] <= 1)].tolist())
    looked_at = 0
    for k in np.random.default_rng(6).permutation(len(table)):
        account, symbol, price = (table[c][k] for c in ("account", "instrument", "liquidation_price"))
        if account not in healthy or not np.isfinite(price):
            continue
        way = 1 if price > PRICES[symbol] else -1
        for factor, taken in ((1 - way * 2e-5, False), (1 + way * 2e-5, True)):
            gap = price * factor / PRICES[symbol] - 1
            if -0.999 < gap < 50:
                result = made.run(cs.Shock(index={symbol: gap}))
                assert (account in found_first(result)) == taken, (account, symbol, price)
                looked_at += 1
    assert looked_at > 40


# -- the sale --------------------------------------------------------------------------------------------

LOSING = {"balances": {"a": 0}, "held": {"a": 10}, "haircut": "0.5", "positions": [("a", "P", 50, 112)]}
"""Equity 10 x 100 x 0.5 - 50 x 12 = -100: closed at 100 it owes 600."""


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_the_fewest_lots_that_cover_the_debt_are_sold_in_the_assets_own_book(engine):
    # 2 lots at 100 and 3 at 95 bring 485; of those at 58 two more bring 116, 601 in all.
    market = build(**LOSING, coin=[(100, 2), (95, 3), (58, 100)])
    result = run(market, engine)
    assert sales(result) == [("a", 7, pytest.approx(601 / 7), 0, "closed")]
    assert left_of(result, "a") == 3
    assert one(result.accounts, "a", "balance") == 1
    assert one(result.accounts, "a", "equity") == 1 + 3 * 58 // 2
    assert result.summary["price"]["C"]["final"] == 58
    fills = result.events[(result.events["kind"] == EventKind.FILL) & (result.events["instrument"] == 0)]
    assert (fills["flags"] >> 4 & 3).tolist() == [COLLATERAL] * 3
    assert (fills["flags"] & 15).tolist() == [3] * 3
    assert fills["quantity"].tolist() == [-2, -3, -2]
    assert fills["b"].tolist() == [EXTERNAL] * 3
    paid = result.flows
    into = (paid["to"] == "a") & (paid["why"] == "realised") & (paid["instrument"] == "C")
    assert paid["amount"][into].tolist() == [200, 285, 116]
    assert result.summary["deficit"] == 0


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_the_fee_of_the_sale_is_counted_in_its_lots(engine):
    # 600 are owed: 6 lots bring 600 less a fee of 6, so that a seventh is sold.
    result = run(build(**LOSING, taker_fee="0.01"), engine)
    assert sales(result) == [("a", 7, 100, 0, "closed")]
    assert one(result.accounts, "a", "balance") == 700 - 7 - 600
    assert result.liquidations["fee"].tolist() == [0, 7]


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_the_sale_moves_its_mark_and_hurts_others(engine):
    # "a" sells 7 coins down to 58; "b", long 10 at 100 with 250, has -170 there and is found next.
    more = {"balances": {"a": 0, "b": 250}, "positions": [("a", "P", 50, 112), ("b", "C", 10, 100)]}
    market = build(**{**LOSING, **more}, coin=[(100, 2), (95, 3), (58, 100)], coin_tiers=0.01)
    result = run(market, engine)
    x = result.liquidations
    assert list(zip(x["account"], x["instrument"], x["position_side"], x["wave"], strict=True)) == [
        ("a", "P", "both", 1),
        ("a", "C", "collateral", 1),
        ("b", "C", "both", 2),
    ]
    assert x["cause_liquidation"].tolist() == [-1, -1, 1]
    assert result.summary["higher_order_notional"] == 580
    assert result.network()["instrument"].tolist() == ["C"]


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_a_sale_that_does_not_cover_leaves_the_rest_to_the_fund(engine):
    market = build(**LOSING, coin=[(100, 2), (20, 100)], fund=150)
    result = run(market, engine)
    assert sales(result) == [("a", 10, 36, 0, "closed")]
    assert left_of(result, "a") == 0
    assert one(result.accounts, "a", "balance") == 0
    assert result.summary["fund_end"] == 0
    assert result.summary["deficit"] == 600 - 360 - 150
    assert result.liquidations["shortfall"].tolist() == [0, 240]


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("haircut", [0, 1])
def test_a_haircut_says_what_counts_and_not_what_a_sale_brings(engine, haircut):
    fields = {**LOSING, "haircut": haircut, "positions": [("a", "P", 50, 125)]}
    result = run(build(**fields), engine)
    if haircut == 0:  # 1,000 - 1,250 + 0: below 500
        assert result.liquidations["equity"].tolist() == [-250, -250]
    else:
        assert result.liquidations["equity"].tolist() == [-1250, -1250]
    assert sales(result) == [("a", 10, 100, 0, "closed")]
    assert result.summary["deficit"] == 250


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_collateral_that_counts_for_nothing_is_kept_when_nothing_is_owed(engine):
    result = run(
        build(balances={"a": 100}, held={"a": 10}, haircut=1, positions=[("a", "P", 50, 100)]), engine
    )
    assert result.summary["liquidated_accounts"] == 1
    assert sales(result) == []
    assert left_of(result, "a") == 10


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_a_debt_is_no_reason_while_collateral_stands_for_it(engine):
    # A loan of 300 against 8 coins at 0.5: healthy at 100, not at 74.
    market = build(balances={"a": -300}, held={"a": 8}, haircut="0.5")
    assert run(market, engine).status == "settled"
    assert len(run(market, engine).events) == 0
    result = run(market, engine, cs.Shock(price={"C": -0.26}))
    assert sales(result) == [("a", 5, 74, 0, "closed")]
    assert one(result.accounts, "a", "balance") == 70
    assert result.liquidations["cause"].tolist() == [-1]
    assert left_of(result, "a") == 3


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_sold_first_collateral_can_save_the_positions(engine):
    # Equity 1,500 x 0.6 - 400 = 500 against 505: unhealthy. First: 4 coins cover the loss of 400, and
    # equity is 11 x 60 + 0 = 660.
    fields = {"balances": {"a": 0}, "held": {"a": 15}, "haircut": "0.4", "positions": [("a", "P", 50, 108)]}
    last = run(build(**fields, tiers="0.101"), engine)
    assert last.liquidations["instrument"].tolist() == ["P", "C"]
    assert left_of(last, "a") == 11
    result = run(build(**fields, tiers="0.101", rules=RULES.replace(collateral_sale="first")), engine)
    assert result.liquidations["instrument"].tolist() == ["C"]
    assert left_of(result, "a") == 11
    assert one(result.accounts, "a", "balance") == 400
    assert one(result.accounts, "a", "equity") == 660
    assert result.positions["size"].tolist() == [50]


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_sold_first_and_again_once_the_positions_have_cost_more(engine):
    # The loss of 1,300 at the mark takes 13 coins; the bid of 90 takes 10 x 50 more, 5 coins.
    fields = {"balances": {"a": 0}, "held": {"a": 20}, "haircut": "0.5", "positions": [("a", "P", 50, 126)]}
    result = run(build(**fields, bids=[(90, 100)], rules=RULES.replace(collateral_sale="first")), engine)
    assert [row[:2] for row in sales(result)] == [("a", 13), ("a", 5)]
    assert result.liquidations["instrument"].tolist() == ["C", "P", "C"]
    assert left_of(result, "a") == 2


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_the_smallest_haircut_is_sold_first(engine):
    coins = [cs.Instrument(s, tick_size=1, lot_size=1) for s in "ABC"]
    haircuts = {"A": "0.3", "B": "0.1", "C": "0.1"}
    market = cs.Market(
        coins, cash_quantum=1, collateral=[cs.Collateral(s.lower(), s, x) for s, x in haircuts.items()]
    )
    for s in "ABC":
        market.load_book(
            s, {"price": [10], "quantity": [100]}, {"price": [11], "quantity": [100]}, complete=True
        )
    market.set_prices(last=dict.fromkeys("ABC", 10))
    market.load_accounts({"account": [1] * 4, "balance": [-251, 10, 10, 10], "asset": [None, "a", "b", "c"]})
    result = run(market, engine)
    assert result.status == "settled"
    assert result.liquidations["instrument"].tolist() == ["B", "C", "A"]
    assert result.liquidations["filled"].tolist() == [10, 10, 6]
    assert result.holdings["quantity"].tolist() == [4]


# -- what cannot be sold ---------------------------------------------------------------------------------


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("complete", "status"), [(False, "out_of_data"), (True, "stranded")])
def test_while_collateral_finds_no_buyer_nobody_pays_the_debt(engine, complete, status):
    market = build(**{**LOSING, "haircut": 1}, coin=[(100, 2)], coin_complete=complete, fund=1000)
    result = run(market, engine)
    assert result.status == status
    word = "beyond_data" if status == "out_of_data" else "stranded"
    # Nothing more is sold: the second turn changes nothing and is not repeated.
    assert sales(result)[0] == ("a", 2, 100, 8, word)
    assert all(row[1] == 0 for row in sales(result)[1:])
    assert left_of(result, "a") == 8
    assert one(result.accounts, "a", "balance") == -400
    assert result.summary["fund_end"] == 1000
    assert result.summary["unfilled_accounts"] == 1
    assert ("C" in result.known_until) == (status == "out_of_data")


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_in_a_halt_the_sale_waits(engine):
    # The shock's order stops at 94 and halts the coin; after that the band is around 95.
    halt = cs.PriceBand("fixed", 0.06, halt_ns=10, symbols=("C",))
    levels = [(100, 2), (95, 2), (90, 100)]
    market = build(**{**LOSING, "haircut": 1}, coin=levels, rules=RULES.replace(breakers=(halt,)), fund=1000)
    sim = market.start(cs.Shock(orders={"C": -5}), engine=engine)
    sim.settle()
    assert sim.holdings["quantity"].tolist() == [10]
    assert sales(sim.result()) == []
    assert sim.result().status == "halted"
    assert one(sim.accounts, "a", "balance") == -600
    sim.advance_ns(11)
    sim.settle()
    assert sim.holdings["quantity"].tolist() == [3]
    assert sales(sim.result()) == [("a", 7, 90, 0, "closed")]
    assert sim.result().status == "settled"


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_a_sale_does_not_trade_with_its_owners_orders(engine):
    market = build(
        **LOSING,
        coin=[(99, 1000)],
        orders=[("a", "C", "buy", 100, 50)],
        rules=RULES.replace(cancel_orders=False),
    )
    result = run(market, engine)
    assert sales(result) == [("a", 7, 99, 0, "closed")]
    order = result.events[(result.events["kind"] == EventKind.ORDER) & (result.events["flags"] == 3)]
    assert order["quantity"].tolist() == [-7]


# -- others ----------------------------------------------------------------------------------------------


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_an_isolated_position_does_not_touch_its_owners_collateral(engine):
    market = build(balances={"a": 0}, held={"a": 10})
    market.load_positions(
        {"account": ["a"], "instrument": ["P"], "size": [50], "entry_price": [112], "margin": [40.0]}
    )
    result = run(market, engine)
    assert sales(result) == []
    assert left_of(result, "a") == 10
    assert result.summary["deficit"] == 560


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_the_vault_takes_collateral_for_what_it_counts_for(engine):
    # Equity 10 x 80 - 600 = 200 < 2/3 of 500. The vault gets the position at 100, ten coins for 800, 200.
    rules = RULES.replace(vault_below=2 / 3)
    market = build(**{**LOSING, "haircut": "0.2"}, vault=10_000, rules=rules)
    result = run(market, engine)
    assert sales(result) == [("a", 0, pytest.approx(np.nan, nan_ok=True), 0, "closed")]
    assert result.liquidations["takeover"].tolist() == [50, 10]
    assert result.liquidations["surplus"].tolist() == [0, 200]
    assert one(result.accounts, "a", "balance") == 0
    assert left_of(result, "a") == 0
    vault = result.positions
    assert vault["size"].tolist() == [10, 50]
    assert vault["entry_price"].tolist() == [80, 100]
    # Its equity grew by the account's, and by the haircut on the coins.
    assert result._data.system_balances[VAULT] == 10_000 + 200


@pytest.mark.fast
@pytest.mark.parametrize("engine", ENGINES)
def test_an_account_that_buys_collateral_gets_a_position(engine):
    market = build(
        **{**LOSING, "balances": {"a": 0, "b": 5000}}, coin=[(50, 1000)], orders=[("b", "C", "buy", 100, 4)]
    )
    result = run(market, engine)
    assert sales(result) == [("a", 8, 75, 0, "closed")]
    assert result.positions["account"].tolist() == ["b"]
    assert result.positions["size"].tolist() == [4]
    assert result.positions["entry_price"].tolist() == [100]


@pytest.mark.fast
def test_a_sharer_by_profit_does_not_pay_with_its_collateral():
    rules = RULES.replace(shortfall=("socialise",), socialise_by="profit")
    held = {"a": 1, "b": 50, "c": 50}
    positions = [("a", "P", 50, 112), ("b", "P", -50, 110), ("c", "P", 10, 100)]
    market = build(balances={"a": 0, "b": 0, "c": 0}, held=held, positions=positions, rules=rules)
    for result in run_both(market, None, {}):
        paid = result.flows
        shared = paid["why"] == "socialised"
        assert paid["from"][shared].tolist() == ["b"]
        assert paid["amount"][shared].tolist() == [500]


# -- conservation ----------------------------------------------------------------------------------------


def replayed(market, result):
    """Lots of collateral by (account, instrument) after every event, from the log alone."""
    held = {(a, i): n for a, i, _, n, _ in market.state().holdings.tolist()}
    gone = dict.fromkeys(range(len(market.instruments)), 0)
    for e in result.events.tolist():
        _, _, _, quantity, _, _, a, _, _, i, kind, flags = e
        if kind in (EventKind.FILL, EventKind.TAKEOVER, EventKind.ADL) and flags >> 4 & 3 == COLLATERAL:
            assert quantity < 0
            assert flags >> 6 & 3 != COLLATERAL
            held[a, i] += quantity
            gone[i] -= quantity
            assert held[a, i] >= 0
    return held, gone


@pytest.mark.fast
def test_every_lot_of_every_asset_is_accounted_for():
    sold = 0
    for seed in range(400):
        market, shock, options = random_markets.make(seed)
        loaded = market.state().holdings
        if not len(loaded):
            continue
        result = market.run(shock, audit="full", **options)
        held, gone = replayed(market, result)
        rows = result._final_rows()
        rows = rows[rows["slot"] == COLLATERAL]
        assert {(a, i): n for a, i, _, n, _ in rows.tolist()} == held
        for i, lots in gone.items():
            before = loaded["lots"][loaded["instrument"] == i].sum()
            assert rows["lots"][rows["instrument"] == i].sum() + lots == before
            sold += lots
        assert result.audit["contracts"] == dict.fromkeys(result.audit["contracts"], 0)
    assert sold > 100


def test_a_simulation_a_copy_and_a_pickle_hold_the_same():
    looked_at = 0
    for seed in range(300):
        market, shock, options = random_markets.make(seed)
        if not len(market.state().holdings):
            continue
        looked_at += 1
        fresh = market.run(shock, **options)
        for twin in (copy.copy(market), copy.deepcopy(market), pickle.loads(pickle.dumps(market))):
            assert twin.digest == market.digest
            assert twin.run(shock, **options).digest == fresh.digest
            assert twin.holdings(options["rules"]) == market.holdings(options["rules"])
        results = []
        for engine in ENGINES:
            sim = market.start(shock, engine=engine, **options)
            while sim.step():
                sim = sim.copy()
            results.append(sim.result())
            assert sim.holdings == results[-1].holdings == fresh.holdings
            assert sim.accounts == results[-1].accounts == fresh.accounts
        assert not difference(*results)
        assert results[1].digest == fresh.digest
    assert looked_at > 50


def test_haircuts_that_change_between_steps_are_the_same_in_both_engines():
    caused = 0
    for seed in range(400):
        market, shock, options = random_markets.make(seed)
        if not len(market.state().holdings):
            continue
        results = []
        for engine in ENGINES:
            sim = market.start(shock, engine=engine, **options)
            for haircut in (0.3, 1, 0.1, 0.95):
                sim.step()
                sim.apply(cs.Shock(haircut=haircut))
                sim.apply(cs.Shock(orders={"I0": -4}))
                sim.step()
            sim.settle()
            results.append(sim.result())
        assert not difference(*results), seed
        caused += int((results[0].liquidations["cause"] == -1).sum())
    assert caused > 50


@pytest.mark.fast
def test_a_market_without_holdings_runs_as_one_without_assets():
    kinds = {"balances": {"a": 100}, "held": {}, "positions": [("a", "P", 50, 112)]}
    with_asset = build(**kinds)
    plain = cs.Market(with_asset.instruments, rules=RULES, cash_quantum=1)
    for symbol, bids in (("C", 1000), ("P", 1000)):
        plain.load_book(
            symbol,
            {"price": [100], "quantity": [bids]},
            {"price": [101], "quantity": [10_000]},
            complete=True,
        )
    plain.set_prices(last={"C": 100, "P": 100}, index={"C": 100, "P": 100})
    plain.load_accounts({"account": ["a"], "balance": [100]})
    plain.load_positions({"account": ["a"], "instrument": ["P"], "size": [50], "entry_price": [112]})
    assert plain.run().digest == with_asset.run().digest
    assert plain.digest != with_asset.digest


# -- loading ---------------------------------------------------------------------------------------------

COINS = [cs.Instrument("C", tick_size=1, lot_size="0.5"), cs.Instrument("D", tick_size=1, lot_size=1)]


def assets(**fields):
    return cs.Market(COINS, collateral=[cs.Collateral("c", "C", 0), cs.Collateral("d", "D", "0.1")], **fields)


@pytest.mark.fast
def test_accounts_come_in_the_order_in_which_they_first_stand():
    market = assets(settlement_asset="usd")
    market.load_accounts(
        {"account": [7, 3, 7, 5, 5], "balance": [1.5, 10, 4, 2, 2], "asset": ["c", "usd", None, "c", "d"]}
    )
    assert [market.owner(x) for x in (7, 3, 5)] == [8, 9, 10]
    market.set_prices(last={"C": 10, "D": 10})
    assert market.margin(cs.VenueRules())["balance"].tolist() == [4, 10, 0]
    assert market.holdings()["account"].tolist() == [7, 5, 5]
    assert market.holdings()["quantity"].tolist() == [1.5, 2, 2]
    market.load_accounts({"account": [3, 9], "balance": [1, 1], "asset": ["d", "d"]})
    assert market.holdings()["account"].tolist() == [7, 3, 5, 5, 9]
    assert [a.asset for a in market.collateral] == ["c", "d"]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (
            {"account": [1], "balance": [1], "asset": ["e"]},
            cs.InputError,
            "accounts['asset'][0] = 'e': must be an asset of the market (c, d), or missing",
        ),
        ({"account": [1], "balance": [1], "asset": [4]}, cs.InputTypeError, "must be the name of an asset"),
        (
            {"account": [1], "balance": [-1], "asset": ["c"]},
            cs.InputError,
            "accounts['balance'][0] = -1: must not be negative",
        ),
        ({"account": [1], "balance": [0.3], "asset": ["c"]}, cs.InputError, "accounts['balance'][0] = 0.3"),
        (
            {"account": [1], "balance": [float("nan")], "asset": ["c"]},
            cs.InputError,
            "accounts['balance'][0] = nan",
        ),
        (
            {"account": [1, 1], "balance": [1, 2], "asset": ["c", "c"]},
            cs.InputError,
            "must not repeat (account, asset)",
        ),
        (
            {"account": [1, 1], "balance": [1, 2], "asset": [None, None]},
            cs.InputError,
            "must not repeat (account, asset)",
        ),
        (
            {"account": [2], "balance": [1], "asset": ["c"]},
            cs.InputError,
            "(account, asset) must not be loaded before",
        ),
        ({"account": [2], "balance": [1], "asset": [None]}, cs.InputError, "must not be loaded before"),
    ],
)
def test_bad_tables(table, error, message):
    market = assets()
    market.load_accounts({"account": [2], "balance": [1], "asset": ["c"]})
    before = market.digest
    with pytest.raises(error) as caught:
        market.load_accounts(table)
    assert message in str(caught.value)
    assert market.digest == before


@pytest.mark.fast
def test_bad_rows_are_dropped_and_create_nobody():
    market = assets()
    dropped = market.load_accounts(
        {"account": [1, 2, 3, 3], "balance": [1, -1, 5, 2], "asset": ["e", "c", None, "d"]}, on_bad="drop"
    )
    assert dropped["row"].tolist() == [0, 1]
    assert market.state().holdings["lots"].tolist() == [2]
    assert market.owner(3) == 8
    for account in (1, 2):
        with pytest.raises(cs.InputError, match="not loaded"):
            market.owner(account)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: cs.Collateral("c", "C", "1.1"),
            cs.InputError,
            "collateral['c'].haircut = '1.1': must be in [0, 1]",
        ),
        (
            lambda: cs.Collateral("c", "C", -0.1),
            cs.InputError,
            "collateral['c'].haircut = -0.1: must be in [0, 1]",
        ),
        (
            lambda: cs.Collateral("c", "C", None),
            cs.InputTypeError,
            "collateral['c'].haircut = null: must be a number",
        ),
        (lambda: cs.Collateral("", "C", 0), cs.InputError, "collateral.asset = '': must not be empty"),
        (lambda: cs.Collateral("c", 3, 0), cs.InputTypeError, "collateral.instrument = 3: must be a string"),
        (
            lambda: cs.Market(COINS, collateral=cs.Collateral("c", "E", 0)),
            cs.InputError,
            "market.collateral[0].instrument = 'E': must be an instrument of the market (C, D)",
        ),
        (
            lambda: cs.Market(COINS, collateral="c"),
            cs.InputTypeError,
            "market.collateral = 'c': must be Collateral assets",
        ),
        (
            lambda: cs.Market(COINS, collateral=["c"]),
            cs.InputTypeError,
            "market.collateral[0] = 'c': must be a Collateral",
        ),
        (
            lambda: assets(settlement_asset="d"),
            cs.InputError,
            "market.collateral[1].asset = 'd': must not be the settlement asset",
        ),
        (
            lambda: cs.Market(COINS, collateral=[cs.Collateral("c", "C", 0)] * 2),
            cs.InputError,
            "market.collateral[1].asset = 'c': must not stand twice",
        ),
        (
            lambda: cs.Market(COINS, collateral=[cs.Collateral(s, "C", 0) for s in "cd"]),
            cs.InputError,
            "must not price two assets",
        ),
        (
            lambda: cs.Market(
                cs.Instrument("I", tick_size=1, lot_size=1, contract="inverse"),
                collateral=cs.Collateral("c", "I", 0),
            ),
            cs.InputError,
            "instrument = 'I': must be linear",
        ),
        (
            lambda: cs.Market(COINS, settlement_asset=3),
            cs.InputTypeError,
            "market.settlement_asset = 3: must be a string or None",
        ),
        (
            lambda: cs.Market(COINS).load_accounts({"account": [1], "balance": [1], "asset": ["c"]}),
            cs.InputError,
            "it has none: Market(collateral=...)",
        ),
    ],
)
def test_bad_assets(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.fast
def test_holdings_that_could_overflow_are_refused_before_a_run():
    market = cs.Market(COINS, collateral=cs.Collateral("d", "D", 0), cash_quantum="1e-6")
    market.set_prices(last={"C": 100, "D": 10**6})
    market.load_accounts({"account": [1], "balance": [10**9], "asset": ["d"]})
    with pytest.raises(cs.RangeError, match="account 1 could reach"):
        market.run()


def test_a_scenario_file_with_collateral(tmp_path):
    source = Path(__file__).resolve().parents[1] / "examples" / "scenario"
    folder, out = tmp_path / "scenario", tmp_path / "out"
    shutil.copytree(source, folder)
    path = folder / "scenario.toml"
    tables = '\n[[collateral]]\nasset = "AC"\ninstrument = "ALPHA"\nhaircut = 0.1\n'
    path.write_text(
        'settlement_asset = "USD"\n' + path.read_text(encoding="utf-8") + tables, encoding="utf-8"
    )
    with open(folder / "accounts.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    rows = [{**row, "asset": "USD" if k % 2 else ""} for k, row in enumerate(rows)]
    rows.append({**first, "balance": "1.5", "asset": "AC"})
    with open(folder / "accounts.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    market = load_scenario(path).market
    assert market.holdings()["quantity"].tolist() == [1.5]
    assert market.holdings()["account"].tolist() == [first["user_id"]]
    assert market.collateral == (cs.Collateral("AC", "ALPHA", "0.1"),)
    assert main(["run", str(path), "--quiet", "--format", "csv", "--out", str(out)]) == 0
    with open(out / "holdings.csv", encoding="utf-8", newline="") as file:
        assert [row["asset"] for row in csv.DictReader(file)] == ["AC"]
    for wrong, message in (
        ("haircut = 2", "collateral['AC'].haircut = 2: must be in [0, 1]"),
        ("hair = 0.1", "collateral[0]: unknown key 'hair'"),
        ("", "collateral[0]: missing key 'haircut'"),
    ):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("haircut = 0.1", wrong), encoding="utf-8")
        with pytest.raises(cs.InputError) as caught:
            load_scenario(path)
        assert message in str(caught.value)
        path.write_text(text, encoding="utf-8")


@pytest.mark.fast
def test_criticality_knows_that_collateral_falls():
    # The position in P goes when the coin alone falls by 41%: its 50 lots, a tick of C.
    market = build(balances={"a": 20}, held={"a": 10}, haircut="0.2", positions=[("a", "P", 50, 100)])
    table = market.criticality(path=[0], window=0.41, rules=RULES.replace(mark="index")).matrix()
    forced = dict(zip(zip(table["instrument"], table["moved"], strict=True), table["density"], strict=True))
    assert forced["P", "C"] == pytest.approx(50 / 41)
    assert forced["C", "C"] == forced["C", "P"] == 0
    table = market.criticality(path=[0], window=0.39, rules=RULES.replace(mark="index")).matrix()
    assert table["density"][(table["instrument"] == "P") & (table["moved"] == "C")].tolist() == [0]
