# ruff: noqa: E501 - one case a line reads best

"""Market: loading, marks, margin, liquidation prices by substitution, digests, reports."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest

import cascade as cs
from cascade._state import ISOLATED, LINEAR
from cascade.instruments import RATE_ONE

TIERS = [(0, 1_000, 0.02, 0.01), (1_000, 20_000, 0.05, 0.025), (20_000, 300_000, 0.1, 0.05), (300_000, None, 0.25, 0.125)]
COIN_TIERS = [(0, 0.5, 0.01, 0.005), (0.5, 10, 0.02, 0.01), (10, None, 0.1, 0.05)]
BTC = cs.Instrument("BTC", tick_size="0.1", lot_size="0.001", tiers=TIERS)
ETH = cs.Instrument("ETH", tick_size="0.01", lot_size="0.01", tiers=0.02, multiplier=2)
COIN = cs.Instrument("COIN", tick_size="0.5", lot_size=1, contract="inverse", multiplier=100, tiers=COIN_TIERS)
BIDS, ASKS = {"price": [100.0, 99.9], "quantity": [2, 3]}, {"price": [100.1], "quantity": [5]}
NOTHING = {"price": [], "quantity": []}
SHOCK = cs.Shock(price=-0.1)


def loaded(instruments=BTC, **options):
    market = cs.Market(instruments, **options)
    market.load_book("BTC", BIDS, ASKS)
    market.load_accounts({"account": ["alice", "bob"], "balance": [10.0, 20.0]})
    market.load_positions(
        {"account": ["alice", "bob"], "instrument": ["BTC"] * 2, "size": [1.0, -0.5], "entry_price": [101.0, 99.0]}
    )
    return market


# Loading

ACCOUNTS = {"account": ["a", "b", "c"], "balance": [10.0, -0.25, 3.0]}
POSITIONS = {
    "account": ["a", "b", "d"], "instrument": ["BTC"] * 3, "size": [1.0, -0.5, 0.001], "entry_price": [101.0, 99.123456, 50.0],
    "margin": [np.nan, np.nan, 5.0], "position_side": ["both", "short", "long"],
}  # fmt: skip
ORDERS = {
    "order_id": [7, 8], "side": [1, -1], "price": [99.8, 100.2], "quantity": [1.0, 2.0], "account": ["a", "c"],
}  # fmt: skip


def as_records(table):
    return np.rec.fromarrays([np.array(v) for v in table.values()], names=list(table)).view(np.ndarray)


def as_library(library):
    def make(table):
        module = pytest.importorskip(library)
        return module.table(table) if library == "pyarrow" else module.DataFrame(table)

    return make


FORMS = {
    "dict": dict, "records": as_records, "table": lambda t: cs.Table({k: np.array(v) for k, v in t.items()}),
    "pandas": as_library("pandas"), "polars": as_library("polars"), "pyarrow": as_library("pyarrow"),
}  # fmt: skip


def loaded_as(form):
    make = FORMS[form]
    market = cs.Market(BTC, fund=10)
    market.load_book("BTC", make(BIDS), make(ASKS))
    market.load_accounts(make(ACCOUNTS))
    market.load_positions(make(POSITIONS))
    market.load_orders("BTC", make(ORDERS))
    return market


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_table_loads_the_same(form, engine):
    market, plain = loaded_as(form), loaded_as("dict")
    assert market.digest == plain.digest
    assert market.run(SHOCK, engine=engine).digest == plain.run(SHOCK, engine=engine).digest


@pytest.mark.fast
def test_loads_add():
    whole, parts = cs.Market(BTC), cs.Market(BTC)
    bids = {"price": [100.0, 99.9, 99.0], "quantity": [2, 3, 4]}
    whole.load_book("BTC", bids, ASKS)
    parts.load_book("BTC", {k: v[:1] for k, v in bids.items()}, NOTHING)
    parts.load_book("BTC", {k: v[1:] for k, v in bids.items()}, NOTHING)
    parts.load_book("BTC", NOTHING, ASKS)
    whole.load_accounts(ACCOUNTS)
    for k in range(3):
        parts.load_accounts({name: values[k : k + 1] for name, values in ACCOUNTS.items()})
    whole.load_positions(POSITIONS)
    for k in range(3):
        parts.load_positions({name: values[k : k + 1] for name, values in POSITIONS.items()})
    assert whole.digest == parts.digest
    assert whole.run(SHOCK, engine="reference").digest == parts.run(SHOCK, engine="reference").digest


@pytest.mark.fast
def test_every_load_changes_the_digest_and_a_run_does_not(engine):
    market, seen = cs.Market([BTC, ETH]), []
    steps = [
        lambda: None,
        lambda: market.load_book("BTC", BIDS, ASKS),
        lambda: market.load_book("BTC", NOTHING, NOTHING, complete=True),
        lambda: market.load_book("ETH", BIDS, ASKS),
        lambda: market.load_accounts({"account": ["a"], "balance": [0.0]}),
        lambda: market.load_accounts({"account": ["b", "c"], "balance": [0.0, 10.0]}),
        lambda: market.load_positions(POSITIONS),
        lambda: market.load_positions({**POSITIONS, "instrument": ["ETH"] * 3, "size": [1.0, -0.5, 0.01]}),
        lambda: market.load_orders("BTC", ORDERS),
        lambda: market.load_orders("ETH", ORDERS),
        lambda: market.load_orders("ETH", {**{k: v for k, v in ORDERS.items() if k != "account"}, "order_id": [1, 2]}),
        lambda: market.set_prices(last={"BTC": 100.0}),
        lambda: market.set_prices(index={"BTC": 100.05}),
        lambda: market.set_prices(index={"BTC": 100.06}),
    ]
    for step in steps:
        step()
        seen.append(market.digest)
    assert len(set(seen)) == len(seen)
    for call in (
        lambda: market.run(SHOCK, engine=engine), lambda: market.start(SHOCK, engine=engine).settle(), market.margin,
        market.liquidation_prices, lambda: market.liquidation_map("BTC"), lambda: str(market), lambda: repr(market),
    ):  # fmt: skip
        call()
        market._changed()
        assert market.digest == seen[-1]
    markets = [cs.Market(BTC), cs.Market(BTC, fund=1), cs.Market(BTC, vault=1), cs.Market(ETH), cs.Market(BTC, cash_quantum="1e-7")]
    markets += [cs.Market(BTC, rules=cs.VenueRules(mark="mid")), cs.Market([BTC, ETH]), cs.Market([ETH, BTC])]
    markets += [cs.Market(cs.Instrument("BTC", tick_size="0.1", lot_size="0.001", tiers=TIERS, **{f: 0.001})) for f in
                ("taker_fee", "maker_fee", "liquidation_fee")]  # fmt: skip
    assert len({m.digest for m in markets}) == len(markets)


@pytest.mark.fast
def test_account_order_is_creation_order():
    market = cs.Market(BTC)
    market.load_book("BTC", BIDS, ASKS)
    market.load_accounts({"account": ["z", "a"], "balance": [1, 1]})
    market.load_positions(
        {"account": ["n", "a", "m", "n"], "instrument": ["BTC"] * 4, "size": [1, 1, 1, -1], "entry_price": [100] * 4,
         "margin": [5, None, 5, 5], "position_side": ["long", "both", "both", "short"]}
    )  # fmt: skip
    table = market.margin()
    assert table["account"].tolist() == ["z", "a", "n", "n", "m", "m", "n"]
    assert table["margin_mode"].tolist() == ["cross", "cross", "cross", "isolated", "cross", "isolated", "isolated"]
    assert table["position_side"].tolist() == ["", "", "", "long", "", "both", "short"]
    assert [market.owner(x) for x in "zanm"] == sorted(market.owner(x) for x in "zanm")


@pytest.mark.fast
@pytest.mark.parametrize(
    "ids",
    [
        np.array([5, -3, 2**40]), np.array([5, 6, 7], np.uint8), np.array([2**64 - 1, 2**63, 3], np.uint64),
        np.array(["x", "yy", ""]), np.array(["5", "6", "7"], object),
    ],
    ids=["int64", "uint8", "uint64", "text", "digits"],
)  # fmt: skip
def test_ids(ids):
    market = cs.Market(BTC)
    market.load_book("BTC", BIDS, ASKS)
    for k in range(3):
        market.load_accounts({"account": ids[k : k + 1], "balance": [float(k)]})
    assert market.margin()["account"].tolist() == ids.tolist()
    for k, name in enumerate(ids.tolist()):
        assert market.margin()["balance"][market.owner(name) - market.owner(ids[0])] == k
        assert market.account_name(market.owner(name)) == name
    twin = cs.Market(BTC)
    twin.load_book("BTC", BIDS, ASKS)
    twin.load_accounts({"account": ids, "balance": [0.0, 1.0, 2.0]})
    assert twin.digest == market.digest
    with pytest.raises(cs.InputError, match="must not be loaded before"):
        market.load_accounts({"account": ids[1:2], "balance": [1.0]})


@pytest.mark.fast
def test_ids_that_differ_in_their_last_bit():
    """As float64 all of these would be one."""
    market = cs.Market(BTC)
    market.load_book("BTC", BIDS, ASKS)
    market.load_accounts({"account": np.array([2**62, 2**62 + 1]), "balance": [1, 2]})
    market.load_accounts({"account": np.array([2**63 + 1, 2**63], np.uint64), "balance": [3, 4]})
    market.load_accounts({"account": np.array([2**62 + 2]), "balance": [5]})
    names = [2**62, 2**62 + 1, 2**63 + 1, 2**63, 2**62 + 2]
    assert market.margin()["account"].tolist() == names
    assert [market.owner(name) - market.owner(2**62) for name in names] == [0, 1, 2, 3, 4]
    before = market.digest
    with pytest.raises(cs.RangeError, match=r"accounts\['account'\]\[1\] = -1: must fit one integer type"):
        market.load_accounts({"account": np.array([1, -1]), "balance": [5, 5]})
    for absent in (-1, 2**62 + 3, 2**63 + 2, 2**70, -(2**70), "a"):
        with pytest.raises(cs.InputError, match="not loaded"):
            market.owner(absent)
    assert market.digest == before
    market = cs.Market(BTC)
    market.load_accounts({"account": [-1], "balance": [0]})
    with pytest.raises(cs.RangeError, match=r"accounts\['account'\]\[0\] = 9223372036854775808: must fit one"):
        market.load_accounts({"account": np.array([2**63], np.uint64), "balance": [0]})


# Marks and prices


@pytest.mark.fast
@pytest.mark.parametrize(
    ("bid", "ask", "last", "index"),
    [(100.0, 100.1, 100.0, 100.05), (100.1, 100.2, 100.2, 100.15), (100.0, 100.2, 100.1, 100.1), (0.1, 0.2, 0.2, 0.15)],
)
def test_default_prices(bid, ask, last, index):
    """Last is the mid, half-even to a tick; index the mid itself."""
    market = cs.Market(BTC)
    market.load_book("BTC", {"price": [bid], "quantity": [1]}, {"price": [ask], "quantity": [1]})
    for rule, expected in (("last", last), ("index", index), ("mid", index)):
        (mark,) = market.marks(cs.VenueRules(mark=rule))
        assert mark * BTC.tick_size / 1024 == Fraction(str(expected))


@pytest.mark.fast
def test_set_prices():
    market = loaded()
    market.set_prices(last={"BTC": 105.0})
    assert market.marks() == [1050 * 1024]
    assert market.marks(cs.VenueRules(mark="index")) == [2001 * 512]
    market.set_prices(index={BTC: "77.77"})
    assert market.marks(cs.VenueRules(mark="index")) == [round(Fraction("777.7") * 1024)]
    assert market.marks(cs.VenueRules(mark="book_median")) == [1001 * 1024]
    market.load_book("BTC", {"price": [99.0], "quantity": [1]}, NOTHING)
    assert market.marks() == [1050 * 1024]
    bare = cs.Market(BTC)
    with pytest.raises(cs.InputError, match=r"market\['BTC'\]: no mark under rules.mark='last'"):
        bare.marks()
    bare.set_prices(last={"BTC": 5})
    assert bare.marks() == [50 * 1024]
    with pytest.raises(cs.InputError, match=r"no mark under rules\.mark='mid'"):
        bare.margin(cs.VenueRules(mark="mid"))


# Margin and liquidation prices


@pytest.mark.fast
def test_margin():
    table = loaded().margin()
    assert table.columns == (
        "account", "margin_mode", "instrument", "position_side", "balance", "equity", "maintenance", "ratio",
        "initial", "collateral",
    )  # fmt: skip
    assert table["balance"].tolist() == [10.0, 20.0]
    assert table["equity"].tolist() == [9.0, 19.5]
    assert table["maintenance"].tolist() == [1.0, 0.5]
    assert table["ratio"].tolist() == [9.0, 39.0]


def unit_value(terms, lots, price):
    """Signed value in quanta, unrounded."""
    if terms.contract == LINEAR:
        return lots * price * terms.coef_num
    return -Fraction(lots * terms.coef_num) / (price * terms.coef_den)


def unrounded_maintenance(terms, notional):
    t = max(k for k, floor in enumerate(terms.floors) if floor <= notional)
    return max(Fraction(0), Fraction(terms.rates[t], RATE_ONE) * notional - terms.amounts[t])


class Substitution:
    """Equity and maintenance of an account with one instrument's price moved, in exact fractions of a quantum: of
    balances and entry prices as they were given, before they were rounded to quanta."""

    def __init__(self, market):
        self.state = s = market.state()
        self.marks = market.marks()
        held = s.row_lots != 0
        columns = (s.row_account, s.row_instrument, s.row_lots, s.row_basis, s.row_basis_rest)
        self.rows = [
            (a, i, lots, basis + Fraction(rest))
            for a, i, lots, basis, rest in zip(*(c[held].tolist() for c in columns), strict=True)
        ]

    def __call__(self, account, instrument, ticks):
        equity = int(self.state.account_balance[account]) + Fraction(float(self.state.balance_rest[account]))
        needed, scale = Fraction(0), Fraction(1)
        for a, i, lots, basis in self.rows:
            if a != account:
                continue
            terms = self.state.terms[i]
            value = unit_value(terms, lots, ticks if i == instrument else Fraction(self.marks[i], 1024))
            need = unrounded_maintenance(terms, abs(value))
            equity += value - basis
            needed += need
            scale += abs(value) + abs(basis)
        return equity, needed, scale + abs(int(self.state.account_balance[account]))


def check_by_substitution(market):
    """Every price solves its equation within 1e-9; where there is none, no price on a wide grid does."""
    table, substitute = market.liquidation_prices(), Substitution(market)
    found = {"liquidation": 0, "bankruptcy": 0, "none": 0}
    symbols = [i.symbol for i in market.instruments]
    ticks_of = [i.tick_size for i in market.instruments]
    for k, (account, i, lots, _) in enumerate(substitute.rows):
        assert table["instrument"][k] == symbols[i]
        assert table["size"][k] == market.instruments[i].to_size(lots)
        solved = table["liquidation_price"][k], table["bankruptcy_price"][k]
        for kind, price, weight in zip(("liquidation", "bankruptcy"), solved, (1, 0), strict=True):
            if not np.isnan(price):
                equity, needed, scale = substitute(account, i, Fraction(float(price)) / ticks_of[i])
                assert abs(equity - weight * needed) <= Fraction(1, 10**9) * scale
                found[kind] += 1
                continue
            signs = set()
            for step in range(-60, 61, 3):
                ticks = Fraction(substitute.marks[i], 1024) * Fraction(2) ** step
                equity, needed, _ = substitute(account, i, ticks)
                signs.add(equity >= weight * needed)
            assert len(signs) == 1
            found["none"] += 1
    return found


def random_market(seed, instruments, prices, *, hedged=False):
    rng = np.random.default_rng(seed)
    market = cs.Market(instruments)
    market.set_prices(last=prices, index=prices)
    n = 40
    inverse = instruments[0].contract == "inverse"
    market.load_accounts({"account": np.arange(n), "balance": np.round(rng.normal(0, 1, n) * 10 ** rng.uniform(-2, 5, n) / (1e4 if inverse else 1), 6)})
    for instrument in instruments:
        for side in ("long", "short") if hedged else ("both",):
            price = prices[instrument.symbol]
            lots = np.ceil(10 ** rng.uniform(0, 6, n)) * (rng.choice([-1, 1], n) if not hedged else 1 if side == "long" else -1)
            entry = price * rng.uniform(0.7, 1.3, n)
            isolated = rng.random(n) < 0.3
            margin = np.where(isolated, np.round(10 ** rng.uniform(-3, 3, n), 6), np.nan)
            step = float(instrument.lot_size)
            some = rng.random(n) < 0.8
            columns = {"account": np.arange(n), "instrument": np.full(n, instrument.symbol), "size": np.round(lots * step, 9),
                       "entry_price": entry, "margin": margin, "position_side": np.full(n, side)}  # fmt: skip
            market.load_positions({name: values[some] for name, values in columns.items()})
    return market


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_liquidation_prices_by_substitution(seed, hedged):
    """Linear and inverse; cross with several positions, isolated, hedge mode; longs and shorts; tiers."""
    linear = random_market(seed, [BTC, ETH], {"BTC": 100.1, "ETH": 12.34}, hedged=hedged)
    inverse = random_market(seed, [COIN], {"COIN": 61_628.5}, hedged=hedged)
    for market in (linear, inverse):
        found = check_by_substitution(market)
        assert min(found.values()) > 0 or hedged
        assert found["liquidation"] > 10
        assert (market.state().account_mode == ISOLATED).any()


@pytest.mark.fast
def test_liquidation_prices_in_closed_form():
    """Long: (entry * q - balance) / (q * (1 - r)); short: (entry * q + balance) / (q * (1 + r))."""
    market = cs.Market(ETH)
    market.set_prices(last={"ETH": 10})
    market.load_accounts({"account": ["l", "s", "rich", "flat"], "balance": [4.0, 4.0, 1e6, 5.0]})
    market.load_positions({"account": ["l", "s", "rich"], "instrument": ["ETH"] * 3, "size": [1, -1, 1], "entry_price": [10] * 3})
    table = market.liquidation_prices()
    assert table["liquidation_price"][:2] == pytest.approx([16 / 2 / 0.98, 24 / 2 / 1.02], rel=1e-12)
    assert table["bankruptcy_price"][:2] == pytest.approx([8, 12], rel=1e-12)
    assert np.isnan([table["liquidation_price"][2], table["bankruptcy_price"][2]]).all()
    assert len(table) == 3


def test_a_first_tier_with_an_amount_starts_free():
    tiers = [(0, 100, 0.2, 0.1, 5), (100, None, 0.4, 0.2, 15)]
    market = cs.Market(cs.Instrument("X", tick_size="0.01", lot_size=1, tiers=tiers))
    market.set_prices(last={"X": 40})
    market.load_accounts({"account": ["a", "b", "c"], "balance": [0.0, -70.0, 120.0]})
    market.load_positions({"account": ["a", "b", "c"], "instrument": ["X"] * 3, "size": [1, 1, -2], "entry_price": [30] * 3})
    assert check_by_substitution(market) == {"liquidation": 3, "bankruptcy": 3, "none": 0}


@pytest.mark.fast
def test_liquidation_map():
    market = cs.Market([BTC, ETH])
    market.set_prices(last={"BTC": 100, "ETH": 10})
    market.load_accounts({"account": list("abcde"), "balance": [4.0, 4.0, 4.0, 1e6, 1e6]})
    market.load_positions(
        {"account": list("abcde"), "instrument": ["ETH"] * 4 + ["BTC"], "size": [1, 1, -1, 1, 1], "entry_price": [10] * 5}
    )
    table = market.liquidation_map("ETH")
    assert table.columns == ("price", "quantity", "side")
    assert table["price"] == pytest.approx([16 / 2 / 0.98, 24 / 2 / 1.02])
    assert table["quantity"].tolist() == [2.0, 1.0]
    assert table["side"].tolist() == ["sell", "buy"]
    assert len(market.liquidation_map("BTC")) == 0


def test_hedge_mode_slots(engine):
    market = cs.Market(BTC, fund=100)
    market.load_book("BTC", BIDS, ASKS)
    market.load_accounts({"account": ["h"], "balance": [3.0]})
    key = {"account": ["h"] * 4, "instrument": ["BTC"] * 4, "entry_price": [100.0] * 4}
    sides = {"position_side": ["both", "long", "short", "short"], "margin": [None, None, None, 1.0]}
    market.load_positions({**key, **sides, "size": [0.2, 1.0, -0.7, -0.1]})
    table = market.liquidation_prices()
    assert table["position_side"].tolist() == ["both", "long", "short", "short"]
    assert table["margin_mode"].tolist() == ["cross", "cross", "cross", "isolated"]
    assert len(set(table["liquidation_price"][:3].tolist())) == 1
    check_by_substitution(market)
    with pytest.raises(cs.InputError, match="must not be loaded before"):
        market.load_positions({k: v[:1] for k, v in {**key, **sides, "size": [0.2]}.items()})
    result = market.run(cs.Shock(price=-0.07), engine=engine)
    assert result.audit["conserved"]
    assert result.summary["liquidated_accounts"] == 1
    assert set(result.positions["position_side"].tolist()) <= {"both", "long", "short"}


# Reports


@pytest.mark.fast
def test_reports():
    market = loaded(fund=1234)
    text = str(market)
    assert "2 accounts, 2 positions, insurance fund 1.23k" in text
    assert "open interest 1.000: long 1.000, short 0.500, external short 0.500 (50.0%)" in text
    assert "unhealthy now   0 of 2 margin accounts" in text
    assert "99.9" in text
    assert repr(market) == "<cascade.Market BTC: 2 accounts, 2 positions>"
    market.load_book("BTC", NOTHING, NOTHING, complete=True)
    assert "its end" in str(market)
    empty = cs.Market([BTC, ETH])
    assert "no two-sided book" in str(empty)
    assert "unknown: market['BTC']: no mark" in str(empty)
    assert max(map(len, text.splitlines())) < 110


@pytest.mark.fast
def test_owner_and_position(engine):
    market = loaded()
    sim = market.start(engine=engine)
    assert sim.position(market.owner("alice")) == {"BTC": 1.0}
    assert sim.position(market.owner("bob")) == {"BTC": -0.5}
    assert sim.book("BTC").best_bid == 1000
    sim.submit("BTC", {"order_id": [1], "side": [1], "price": [1001], "quantity": [500], "owner": [market.owner("bob")]})
    assert sim.position(market.owner("bob")) == {}
    assert market.start(engine=engine).position(market.owner("bob")) == {"BTC": -0.5}


def test_a_market_that_ran_can_be_pickled_and_copied():
    market, shock = loaded(), cs.Shock(price=-0.02)
    expected = market.run(shock).digest
    for twin in (pickle.loads(pickle.dumps(market)), copy.deepcopy(market), copy.copy(market)):
        assert twin.digest == market.digest
        assert twin.run(shock).digest == expected
        twin.load_book("BTC", {"price": [50.0], "quantity": [1]}, {"price": [], "quantity": []})
        assert twin.digest != market.digest
    assert market.run(shock).digest == expected
