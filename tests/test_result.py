# ruff: noqa: E501 - one case a line reads best

"""Result: its tables, what is recorded, what adds up, and that nobody can change it."""

import dataclasses
import math

import numpy as np
import pytest

import cascade as cs
from cascade._state import DEFICIT, FEES, FUND, SETTLEMENT

BTC = cs.Instrument(
    "BTC", tick_size="0.1", lot_size="0.001", tiers=[(0, 200, 0.02, 0.01), (200, None, 0.05, 0.02)], taker_fee="0.0005",
    maker_fee="-0.0001", liquidation_fee="0.005",
)  # fmt: skip
ETH = cs.Instrument("ETH", tick_size="0.01", lot_size="0.01", tiers=0.02)


def make_market():
    """Longs and shorts, cross, isolated and hedged, thin books and a small fund: a bit of everything happens."""
    rng = np.random.default_rng(7)
    n = 60
    market = cs.Market([BTC, ETH], fund=2, vault=10)
    for symbol, mid, tick, lot in (("BTC", 100.0, 0.1, 0.001), ("ETH", 10.0, 0.01, 0.01)):
        levels = np.arange(1, 120)
        for side in (1, -1):
            book = {"price": np.round(mid - side * levels * tick, 6), "quantity": np.round(rng.integers(20, 200, 119) * lot, 6)}
            empty = {"price": [], "quantity": []}
            market.load_book(symbol, *((book, empty) if side > 0 else (empty, book)), complete=True)
    ids = np.array([f"u{k}" for k in range(n)])
    market.load_accounts({"account": ids, "balance": np.round(rng.uniform(0.5, 6, n), 6)})
    for symbol, mid in (("BTC", 100.0), ("ETH", 10.0)):
        size = np.round(rng.uniform(0.05, 0.5, n) * rng.choice([1, 1, -1], n), 2)
        isolated = rng.random(n) < 0.4
        market.load_positions(
            {
                "account": ids, "instrument": [symbol] * n, "size": size, "entry_price": mid * rng.uniform(0.97, 1.03, n),
                "margin": np.where(isolated, np.abs(size) * mid * 0.05, np.nan),
                "position_side": np.where(rng.random(n) < 0.5, "both", np.where(size > 0, "long", "short")),
            }
        )  # fmt: skip
    market.load_orders(
        "BTC", {"order_id": [1, 2, 3], "side": ["buy", "buy", "sell"], "price": [97.0, 95.0, 104.0], "quantity": [0.3, 0.2, 0.1],
                "account": ["u1", "u2", None]}
    )  # fmt: skip
    return market


MARKET = make_market()
SHOCK = cs.Shock(price={"BTC": -0.03}, cash={"u3": 1.5, "u4": -0.5}) + cs.Shock(orders={"BTC": -3, "ETH": -20})
RULES = {
    "default": cs.VenueRules(),
    "socialised": cs.VenueRules(size="all", shortfall=("fund", "socialise")),
    "deleveraged": cs.VenueRules(order_price="bankruptcy", size="all", residual=("adl",)),
    "vault": cs.VenueRules(residual=("vault", "adl"), shortfall=("vault", "fund"), order_price="bankruptcy"),
    "continuous": cs.VenueRules(clearing="continuous", mark="mid", surplus="fund", fee_to="venue"),
}


@pytest.fixture(params=RULES)
def result(engine, request):
    return MARKET.run(SHOCK, engine=engine, rules=RULES[request.param])


COLUMNS = {
    "liquidations": "seq step time_ns wave cause account instrument position_side margin_mode side mark liquidation_price "
    "bankruptcy_price quantity filled average_price fee surplus shortfall fund adl socialised status",
    "waves": "wave instrument accounts quantity notional price",
    "fills": "seq wave instrument taker maker side price quantity",
    "adl": "seq wave instrument bankrupt counterparty quantity price",
    "prices": "seq wave instrument mark",
    "accounts": "account margin_mode instrument balance equity maintenance",
    "positions": "account instrument position_side margin_mode size entry_price",
    "flows": "seq from to amount why",
}
NUMBERS = {"seq", "step", "time_ns", "wave", "cause", "accounts"}
SUMMARY = (
    "status waves liquidated_accounts liquidated_notional first_order_notional higher_order_notional amplification price "
    "fund_start fund_end adl_notional socialised deficit initially_unhealthy known_until"
)


@pytest.mark.fast
def test_tables(result):
    for name, columns in COLUMNS.items():
        table = getattr(result, name)
        assert isinstance(table, cs.Table)
        assert set(columns.split()) <= set(table.columns), name
        for column, values in table.items():
            assert values.ndim == 1
            assert not values.flags.writeable
            if column in NUMBERS:
                assert values.dtype.kind == "i", (name, column)
        assert getattr(result, name) is table
    assert len(result.liquidations) > 5
    assert result.events.dtype == cs.EVENT_DTYPE
    assert result.events["seq"].tolist() == list(range(result.summary["events"]))


@pytest.mark.fast
def test_summary(result):
    summary = result.summary
    assert set(SUMMARY.split()) <= set(summary)
    assert summary["status"] == result.status
    assert set(summary["price"]) == {"BTC", "ETH"}
    for prices in summary["price"].values():
        assert prices["low"] <= min(prices["start"], prices["final"])
        assert prices["high"] >= max(prices["start"], prices["final"])
    for name, value in summary.items():
        assert isinstance(value, int | float | str | dict), name
    assert summary["fund_start"] == 2
    assert summary["liquidated_accounts"] > 0


@pytest.mark.fast
def test_a_result_is_frozen(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.status = "settled"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result._record = "all"
    before = result.digest
    for changeable in (result.summary, result.summary["price"], result.audit, result.known_until):
        changeable.clear()
    assert result.summary["price"]["BTC"]["start"] == 100.0
    assert result.audit["conserved"]
    with pytest.raises(ValueError, match="read-only"):
        result.events["a"] = 5
    with pytest.raises(ValueError, match="read-only"):
        result.accounts["balance"][0] = 5
    with pytest.raises(cs.InputTypeError, match="read-only"):
        result.accounts["balance"] = [5]
    assert result.digest == before


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_tables_go_into_libraries(library):
    module = pytest.importorskip(library)
    result = MARKET.run(SHOCK, engine="reference")
    for name in COLUMNS:
        table = getattr(result, name)
        assert hasattr(table, "__arrow_c_stream__")
        frame = module.table(table) if library == "pyarrow" else module.DataFrame(table)
        assert len(frame) == len(table)
        back = frame.to_pydict() if library == "pyarrow" else frame.to_dict("list") if library == "pandas" else frame.to_dict(as_series=False)
        for column, values in table.items():
            theirs = np.array(back[column], values.dtype)
            assert np.array_equal(theirs, values, equal_nan=values.dtype.kind == "f"), (name, column)
        again = cs.Table({column: np.array(values, table[column].dtype) for column, values in back.items()})
        assert again == table


def test_a_result_loads_as_a_market(engine):
    """accounts and positions of a result are tables that a market takes."""
    result = MARKET.run(cs.Shock(), engine=engine)
    market = make_market()
    twin = cs.Market([BTC, ETH], fund=30)
    accounts, positions = result.accounts, result.positions
    twin.load_accounts(accounts.rows(accounts["margin_mode"] == "cross"), columns={})
    cross = positions.rows(positions["margin_mode"] == "cross")
    twin.load_positions(cross, columns={})
    assert len(twin.state().row_lots) == len(cross)
    assert market.digest == MARKET.digest


RECORDED = {
    "all": {"liquidations", "prices", "fills", "adl", "flows", "events", "digest"},
    "liquidations": {"liquidations", "prices"},
    "summary": set(),
}


@pytest.mark.fast
@pytest.mark.parametrize("record", RECORDED)
def test_what_is_recorded(engine, record):
    whole = MARKET.run(SHOCK, engine=engine)
    result = MARKET.run(SHOCK, engine=engine, record=record)
    for name in RECORDED["all"]:
        if name in RECORDED[record]:
            same = getattr(result, name), getattr(whole, name)
            assert np.array_equal(*same) if name == "events" else same[0] == same[1]
            continue
        with pytest.raises(cs.EngineStateError) as caught:
            getattr(result, name)
        what = "events" if name == "digest" else name
        assert str(caught.value).startswith(f"result.{what}: the run was made with record={record!r}; needs ")
        assert "all" in str(caught.value)
    for name in ("waves", "accounts", "positions", "audit", "status"):
        assert getattr(result, name) == getattr(whole, name)
    assert repr(result.summary) == repr(whole.summary)
    assert str(result) == str(whole)


# What adds up


@pytest.mark.fast
def test_waves_add_up(result):
    summary, waves, turns = result.summary, result.waves, result.liquidations
    caused = waves["wave"] > 0
    assert waves["notional"][~caused].sum() == pytest.approx(summary["shock_notional"], rel=1e-12)
    assert waves["notional"][caused].sum() == pytest.approx(summary["liquidated_notional"], rel=1e-12)
    parts = [summary[f"{part}_notional"] for part in ("first_order", "higher_order", "initially_unhealthy")]
    assert math.fsum(parts) == pytest.approx(summary["liquidated_notional"], rel=1e-12)
    assert turns["notional"].sum() == pytest.approx(summary["liquidated_notional"], rel=1e-12)
    assert waves["wave"].max() == summary["waves"] == turns["wave"].max(initial=0)
    for symbol in ("BTC", "ETH"):
        lots = waves["quantity"][caused & (waves["instrument"] == symbol)].sum()
        mine = turns["instrument"] == symbol
        closed = sum(turns[name][mine].sum() for name in ("filled", "adl", "takeover"))
        assert lots == pytest.approx(closed, rel=1e-9, abs=1e-9)
    left = turns["quantity"] - turns["filled"] - turns["adl"] - turns["takeover"]
    assert left == pytest.approx(turns["left"], abs=1e-9)
    assert len(np.unique(turns["account"])) <= summary["liquidated_accounts"]
    for name in ("socialised", "deficit"):
        assert turns[name].sum() == pytest.approx(summary[name], abs=1e-6)


@pytest.mark.fast
def test_fills_and_deleveraging_belong_to_liquidations(result):
    turns, fills, adl = result.liquidations, result.fills, result.adl
    assert (fills["quantity"] > 0).all()
    assert fills["notional"] == pytest.approx(fills["price"] * fills["quantity"], rel=1e-9)
    assert fills["quantity"][fills["wave"] > 0].sum() == pytest.approx(turns["filled"].sum(), abs=1e-9)
    assert adl["quantity"].sum() == pytest.approx(turns["adl"].sum(), abs=1e-9)
    assert set(adl["counterparty"].tolist()).isdisjoint({"external", "fund"})
    known = (turns["cause_liquidation"] >= 0).nonzero()[0]
    assert (turns["cause_liquidation"][known] < known).all()
    assert set(turns["cause"][turns["cause"] < 0].tolist()) <= {-1, -2}
    assert set(turns["status"].tolist()) <= {"closed", "beyond_data", "stranded", "flat"}
    assert set(turns["side"].tolist()) <= {"buy", "sell", ""}


@pytest.mark.fast
def test_flows_are_all_that_changes_balances(result):
    """To the quantum, account by account; and in money by name."""
    events, state, data = result.events, result._state, result._data
    balances = state.account_balance.copy()
    balances[FUND] = state.fund
    balances[FUND + 4] = state.vault
    transfers = events[events["kind"] == cs.EventKind.TRANSFER]
    assert (transfers["value"] > 0).all()
    np.subtract.at(balances, transfers["a"], transfers["value"])
    np.add.at(balances, transfers["b"], transfers["value"])
    cash = events[(events["kind"] == cs.EventKind.SHOCK) & (events["flags"] == cs.ShockPart.CASH)]
    assert len(cash) == 2
    np.add.at(balances, cash["a"], cash["value"])
    users = SETTLEMENT + 2
    assert balances[users:].tolist() == result._final_balances()[users:].tolist()
    assert balances[:users].tolist() == data.system_balances
    assert data.system_balances[DEFICIT] <= 0
    flows = result.flows
    assert len(flows) == len(transfers)
    into, out = flows["to"] == "fund", flows["from"] == "fund"
    change = flows["amount"][into].sum() - flows["amount"][out].sum()
    assert change == pytest.approx(result.summary["fund_end"] - result.summary["fund_start"], abs=1e-6)
    assert set(flows["why"].tolist()) <= {w.name.lower() for w in cs.Why}
    assert (flows["from_margin_mode"][out] == "system").all()
    fees = flows["amount"][flows["to"] == "fees"].sum() - flows["amount"][flows["from"] == "fees"].sum()
    assert fees == pytest.approx(data.system_balances[FEES] * 1e-6, abs=1e-6)


@pytest.mark.fast
def test_accounts_and_positions_agree(result):
    audit = result.audit
    assert audit["conserved"]
    assert set(audit["contracts"].values()) == set(audit["basis"].values()) == {0}
    assert audit["money_after"] == audit["money_before"] + audit["deposited"]
    assert audit["deposited"] == 1_000_000
    accounts, positions = result.accounts, result.positions
    assert (positions["size"] != 0).all()
    assert (positions["entry_price"] > 0).all()
    marks = {symbol: p["final"] for symbol, p in result.summary["price"].items()}
    mark = np.array([marks[symbol] for symbol in positions["instrument"]])
    profit = positions["size"] * (mark - positions["entry_price"])
    profit = profit[positions["margin_mode"] != "system"]  # the vault's account is the venue's
    total = accounts["balance"].sum() + profit.sum()
    assert accounts["equity"].sum() == pytest.approx(total, abs=1e-3)
    isolated = accounts["margin_mode"] == "isolated"
    assert (accounts["instrument"][~isolated] == "").all()
    assert set(accounts["instrument"][isolated].tolist()) <= {"BTC", "ETH"}


def test_the_report_can_be_read(result):
    text = str(result)
    lines = text.splitlines()
    assert len(lines) < 40
    assert all(len(line) <= 120 for line in lines)
    assert lines[0] == f"cascade: {result.status} after {result.summary['waves']} waves"
    for word in ("shock", "liquidated", "amplification", "beyond the fund", "contracts, basis and money conserved", "wave"):
        assert word in text
    assert repr(result).startswith(f"<cascade.Result {result.status}: ")


def test_nothing_happens(engine):
    market = cs.Market(BTC)
    market.load_book("BTC", {"price": [99.9], "quantity": [1]}, {"price": [100.1], "quantity": [1]})
    result = market.run(engine=engine)
    assert result.status == "settled"
    assert math.isnan(result.summary["amplification"])
    assert "nan" not in str(result)
    for name in COLUMNS:
        assert len(getattr(result, name)) == (1 if name == "waves" else 0)
    assert result.audit["conserved"]


def test_a_book_that_ends(engine):
    market = cs.Market(BTC)
    market.load_book("BTC", {"price": [99.9], "quantity": [1]}, {"price": [100.1], "quantity": [1]})
    result = market.run(cs.Shock(orders={"BTC": -5}), engine=engine)
    assert result.status == "out_of_data"
    assert result.known_until == {"BTC": 99.9}
    assert "the loaded book ends at 99.9" in str(result)


def test_the_runs_above_take_every_way_out():
    """Each stage of the waterfall has happened in one of the runs whose sums are tested."""
    runs = {name: MARKET.run(SHOCK, engine="reference", rules=rules) for name, rules in RULES.items()}
    assert runs["default"].summary["deficit"] > 0
    assert runs["socialised"].summary["socialised"] > 0
    assert runs["deleveraged"].summary["adl_notional"] > 0
    assert runs["vault"].summary["takeover_notional"] > 0
    assert len(runs["deleveraged"].adl) > 1
    why = {reason for run in runs.values() for reason in run.flows["why"].tolist()}
    assert {"fee", "realised", "sweep", "shortfall", "socialised", "surplus", "liquidation_fee"} <= why
