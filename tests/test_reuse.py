"""What shocks, markets and results keep from run to run is never another one's."""

from __future__ import annotations

import copy
import enum
import pickle
import threading
from fractions import Fraction

import numpy as np
import pytest
from twins import difference

import cascade as cs
from cascade._rundata import RunData
from cascade.sweep._run import Stop

pytestmark = pytest.mark.fast


def market(symbols="XY", lot=1, accounts=("a", "b"), taker_fee=0):
    instruments = [
        cs.Instrument(s, tick_size=1, lot_size=lot, tiers=0.01, taker_fee=taker_fee) for s in symbols
    ]
    made = cs.Market(instruments, fund=1_000)
    for s in symbols:
        bids = {"price": np.arange(1_000, 900, -1), "quantity": np.full(100, 10)}
        made.load_book(s, bids, {"price": [1_001], "quantity": [1_000]})
    made.load_accounts({"account": list(accounts), "balance": [40.0] * len(accounts)})
    n = len(accounts)
    longs = {"account": list(accounts), "instrument": [symbols[0]] * n, "size": [2] * n}
    made.load_positions({**longs, "entry_price": [1_000.0] * n})
    return made


def fresh(shock: cs.Shock) -> cs.Shock:
    """The same, never run."""
    return pickle.loads(pickle.dumps(shock))


SHOCKS = [
    cs.Shock(orders={"X": -200, "Y": 6}), cs.Shock(cash={"b": -30.0}),
    cs.Shock(price=-0.05) + cs.Shock(orders={"Y": -4}),
]  # fmt: skip


@pytest.mark.parametrize("shock", SHOCKS, ids=range(3))
def test_a_shock_hits_one_market_after_another(shock):
    """Instruments, lots and accounts of the same name have other numbers elsewhere."""
    markets = [
        market(), market("YX"), market(lot=2), market(accounts=("z", "b", "c")), market(), market("WXY"),
    ]  # fmt: skip
    for engine in ("core", "reference"):
        for m in [*markets, *markets[::-1]]:
            expected = m.run(fresh(shock), engine=engine)
            assert m.run(shock, engine=engine).digest == expected.digest
            assert m.run(shock, engine=engine, record="summary").summary == expected.summary


def test_a_shock_hits_a_market_that_has_changed():
    m, shock = market(), cs.Shock(cash={"b": -30.0}, orders={"X": -20})
    before = m.run(shock).digest
    m.load_accounts({"account": ["late"], "balance": [5.0]})
    m.load_orders("X", {"order_id": [1], "side": [1], "price": [1_000], "quantity": [3], "account": ["late"]})
    after = m.run(shock).digest
    assert after != before
    assert after == m.run(fresh(shock)).digest
    assert market().run(shock).digest == before


def test_a_shock_that_fits_under_some_rules_is_refused_under_others():
    m, shock = market(taker_fee=0.6), cs.Shock(orders={"X": -20})
    strict = cs.VenueRules(bankruptcy_fee="taker")
    for _ in range(2):
        m.run(shock)
        with pytest.raises(cs.RangeError, match="taker_fee"):
            m.run(shock, rules=strict)


def test_refused_rules_stay_refused():
    m = market()
    for _ in range(2):
        with pytest.raises(cs.InputError, match="unknown instrument"):
            m.run(rules=cs.VenueRules(breakers=(cs.VelocityLogic(1, 1, 1, ("Q",)),)))
    empty = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    rules = cs.VenueRules(mark="mid")
    for _ in range(2):
        with pytest.raises(cs.InputError, match="no mark"):
            empty.run(rules=rules)
    empty.load_book("X", {"price": [1], "quantity": [1]}, {"price": [3], "quantity": [1]})
    assert empty.run(rules=rules).status == "settled"


def test_rules_that_are_made_anew_for_every_run_share_engines():
    m = market()
    for k in range(200):
        m.run(SHOCKS[0], rules=cs.VenueRules(capacity=1 + k % 2), record="summary")
    assert sum(len(idle) for idle in m._derived.engines.values()) == 2
    assert len(m._derived.ready) <= 64


@pytest.mark.parametrize("record", ["summary", "liquidations", "all"])
def test_a_result_is_not_touched_by_what_comes_after(record):
    m = market()
    results, expected = [], []
    for shock in SHOCKS * 2:
        results.append(m.run(shock, record=record))
        expected.append(market().run(shock, record=record))
    m.load_accounts({"account": ["late"], "balance": [5.0]})
    m.run(SHOCKS[0])
    for a, b in zip(results, expected, strict=True):
        assert not difference(a, b, ("early", "alone"))
        np.testing.assert_equal(a.accounts["equity"], b.accounts["equity"])
        assert a.accounts["account"].tolist() == b.accounts["account"].tolist()


def test_a_result_can_be_copied_before_and_after_it_was_looked_at():
    m = market()
    for look in (False, True):
        result = m.run(SHOCKS[2], record="liquidations")
        if look:
            assert result.summary["status"]
        for twin in (pickle.loads(pickle.dumps(result)), copy.copy(result), copy.deepcopy(result)):
            assert not difference(result, twin, ("it", "its copy"))
    data = m.run(SHOCKS[2])._data
    assert isinstance(pickle.loads(pickle.dumps(data)), RunData)
    with pytest.raises(AttributeError):
        data.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"record": "nothing"}, cs.InputError), ({"record": ["all"]}, cs.InputTypeError),
        ({"record": np.array(["all"])}, cs.InputTypeError), ({"audit": "none"}, cs.InputError),
        ({"audit": None}, cs.InputTypeError), ({"engine": "cpu"}, cs.InputError),
        ({"engine": int}, cs.InputTypeError), ({"max_waves": True}, cs.InputTypeError),
        ({"max_waves": -1}, cs.InputError),
        ({"rules": "all"}, cs.InputTypeError), ({"rules": []}, cs.InputTypeError),
    ],
)  # fmt: skip
def test_options_are_refused_of_later_runs_too(options, error):
    m = market()
    for _ in range(2):
        m.run(SHOCKS[1])
    with pytest.raises(error):
        m.run(SHOCKS[1], **options)
    with pytest.raises(cs.InputTypeError, match="must be a Shock"):
        m.run("-5%")
    assert m.run(SHOCKS[1]).digest == m.run(SHOCKS[1], engine="reference").digest


@pytest.mark.parametrize("engine", ["core", "reference"])
def test_options_of_later_runs_count(engine):
    m = market()
    m.run(SHOCKS[1], record="summary")
    assert m.run(SHOCKS[1], record="summary", engine=engine, max_waves=0).status == "limit"
    assert m.run(SHOCKS[1], engine=engine).events_array().size > 0
    rules = cs.VenueRules(mark="index")
    for _ in range(2):
        assert m.run(SHOCKS[1], rules=rules, engine=engine)._rules is rules
    assert m.run(SHOCKS[1], rules=cs.venues.binance_usdm)._rules is cs.venues.binance_usdm.rules
    assert m.run(SHOCKS[1], rules=cs.venues.binance_usdm)._rules is cs.venues.binance_usdm.rules
    assert m.run(None).summary["shock_notional"] == 0


def test_rules_of_one_run_are_not_taken_for_those_of_another():
    """An object's id may be another's after it."""
    m, waves = market(), {}
    for k in range(300):
        mark = ("index", "last", "mid")[k % 3]
        digest = m.run(SHOCKS[1], rules=cs.VenueRules(mark=mark)).digest
        assert waves.setdefault(mark, digest) == digest


def test_threads_that_share_shocks_and_rules():
    m, expected = market(), [market().run(shock, record="summary").summary for shock in SHOCKS]
    wrong = []

    def work():
        for k in range(300):
            if m.run(SHOCKS[k % 3], record="summary").summary != expected[k % 3]:
                wrong.append(k)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "size", [0.3, 0.1 + 0.2, 1e-9, 123456.7, 5e-324, 1e300, 0.30000000000000004, 2**53 / 10, -0.7, 99999999.9]
)
@pytest.mark.parametrize("lot", ["0.1", "0.001", "1/3", "7", 1e-9])
def test_floats_come_to_the_lots_that_their_decimals_are(size, lot):
    instrument = cs.Instrument("X", tick_size=1, lot_size=Fraction(lot) if isinstance(lot, str) else lot)
    exact = Fraction(repr(size)) / instrument.lot_size
    if abs(exact - round(exact)) > Fraction(1, 10**6):
        with pytest.raises(cs.InputError, match="whole number"):
            instrument.to_lots(size)
    elif abs(round(exact)) >= 2**63:
        with pytest.raises(cs.RangeError):
            instrument.to_lots(size)
    else:
        assert instrument.to_lots(size) == round(exact)


class Record(enum.StrEnum):
    SUMMARY = "summary"


@pytest.mark.parametrize("engine", ["core", "reference"])
@pytest.mark.parametrize(
    "option", [{"record": np.str_("summary")}, {"record": Record.SUMMARY}, {"audit": np.str_("full")}]
)
def test_strings_of_other_kinds_are_options(option, engine):
    m = market()
    for _ in range(2):
        assert m.run(SHOCKS[1], engine=engine, **option).summary == m.run(SHOCKS[1]).summary
        assert m.start(SHOCKS[1], engine=engine, **option).settle() > 0


def test_an_engine_waits_again_when_its_scenario_is_off_the_list_of_a_sweep():
    """Else a sweep that is stopped would stop whoever has taken the engine meanwhile."""
    m, seen = market(), []

    class Watched(Stop):
        def ended(self, engine):
            seen.append(sum(len(idle) for idle in m._derived.engines.values()))
            super().ended(engine)

    options = {"rules": None, "engine": "core", "max_waves": None}
    for _ in range(2):
        m._scenario(SHOCKS[1], Watched(), "summary", False, options)
    stopped = Watched()
    stopped.now()
    with pytest.raises(cs.Cancelled):
        m._scenario(SHOCKS[1], stopped, "summary", False, options)
    assert seen == [0, 0, 0]
    assert sum(len(idle) for idle in m._derived.engines.values()) == 1


def test_what_is_made_while_another_thread_loads_is_not_for_later_runs(monkeypatch):
    m = market()
    late = {"account": ["late"], "instrument": ["X"], "size": [2], "entry_price": [1_000.0]}

    def compile_then_load(make=m._compile):
        state = make()
        monkeypatch.undo()
        m.load_accounts({"account": ["late"], "balance": [40.0]})
        m.load_positions(late)
        return state

    monkeypatch.setattr(m, "_compile", compile_then_load)
    assert len(m.run(SHOCKS[2]).accounts["account"]) == 2
    for _ in range(2):
        assert len(m.run(SHOCKS[2]).accounts["account"]) == 3


def test_engines_of_a_few_rules_are_kept():
    m = market()
    for k in range(40):
        m.run(SHOCKS[1], rules=cs.VenueRules(cooldown_ns=k), record="summary")
    assert len(m._derived.engines) <= 16
    assert m.run(SHOCKS[1]).digest == m.run(SHOCKS[1], engine="reference").digest


@pytest.mark.parametrize("engine", ["core", "reference"])
def test_trades_worth_more_than_int64_are_refused(engine):
    m = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, tiers=0.01), cash_quantum="1e-12")
    m.load_book("X", {"price": [99], "quantity": [1]}, {"price": [100], "quantity": [200_000]})
    with pytest.raises(cs.RangeError, match=r"shock.orders\['X'\]: one trade could be worth"):
        m.run(cs.Shock(orders={"X": 150_000}), engine=engine)
    assert m.run(cs.Shock(orders={"X": 15_000}), engine=engine).summary["shock_notional"] == 1_500_000
