# ruff: noqa: E501 - one case a line reads best

"""Bad and unusual input, class by class: the right exception, a message that names the place, and nothing changed.

The numbers are those of the project's list of 84 classes of bad input. Not here:

- 34-35, 38-39 for messages to a book alone (duplicate, reused, unknown ids): `test_orderbook_input.py`; here through
  `Simulation.submit`.
- 68 for a leverage: instruments take rates, whose inverse it is; the rates' range is tested.
- 80 fork during a run: needs the sweep's workers.
- 81 damaged dumps: only an `OrderBook` has a dump so far (`test_book_dump.py`).
- 82 Ctrl-C, 83 failing allocation: need the compiled engine; a book's allocations are tested in `test_orderbook_input.py`.
- 84 deadlines: a run takes no deadline and no callback yet; caps on waves, and a callback of `settle`, are here.
"""

import gc
import pickle
import re
import threading
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import cascade as cs

BTC = cs.Instrument("BTC", tick_size="0.1", lot_size="0.001", tiers=0.01)
ETH = cs.Instrument("ETH", tick_size="0.01", lot_size="0.1", tiers=[(0, 500, 0.02, 0.01), (500, None, 0.05, 0.02)])
COIN = cs.Instrument("COIN", tick_size=1, lot_size=1, contract="inverse", multiplier=100)
NAN, INF = float("nan"), float("inf")
SHOCK = cs.Shock(price=-0.05) + cs.Shock(orders={"BTC": -1})

FORM = re.compile(r"(\w+)\['(\w+)'\]\[(\d+)\] = (.+?): (.+) \((\d+) bad rows?\)", re.DOTALL)


def make_market(ids=("alice", "bob")):
    market = cs.Market([BTC, ETH], fund=100)
    market.load_book("BTC", {"price": [100.0, 99.9], "quantity": [2, 3]}, {"price": [100.1], "quantity": [5]})
    market.load_book("ETH", {"price": [10.0, 9.0], "quantity": [20, 30]}, {"price": [10.1], "quantity": [50]})
    market.load_accounts({"account": list(ids), "balance": [4.0, 5.0]})
    market.load_positions({"account": [ids[0]], "instrument": ["BTC"], "size": [1.0], "entry_price": [100.0]})
    return market


def good(table, ids=("alice", "bob", "carol")):
    """Three good rows for every table that can be loaded."""
    return {
        "bids": {"price": [99.8, 99.7, 99.6], "quantity": [1.0, 2.0, 3.0]},
        "asks": {"price": [100.2, 100.3, 100.4], "quantity": [1.0, 2.0, 3.0]},
        "orders": {
            "order_id": [11, 12, 13], "side": [1, 1, -1], "price": [99.5, 99.4, 101.0], "quantity": [1.0, 2.0, 3.0],
            "account": [ids[0], ids[1], None],
        },
        "accounts": {"account": [f"{ids[2]}{k}" for k in range(3)], "balance": [1.0, -2.0, 3.0]},
        "positions": {
            "account": [ids[0], ids[1], ids[2]], "instrument": ["ETH", "ETH", "BTC"], "size": [1.0, -2.0, 3.0],
            "entry_price": [10.0, 9.876, 100.0], "margin": [NAN, NAN, 50.0],
        },
    }[table]  # fmt: skip


def load(market, table, values, **options):
    empty = {"price": [], "quantity": []}
    if table == "bids":
        return market.load_book("BTC", values, empty, **options)
    if table == "asks":
        return market.load_book("BTC", empty, values, **options)
    if table == "orders":
        return market.load_orders("BTC", values, **options)
    return getattr(market, f"load_{table}")(values, **options)


def run_digest(market):
    return market.run(SHOCK, engine="reference").digest


MARKET = make_market()
MARKET_DIGEST, RUN_DIGEST = MARKET.digest, run_digest(MARKET)


def unchanged(market=MARKET):
    assert market.digest == MARKET_DIGEST
    market._changed()  # what is kept must not hide a change
    assert market.digest == MARKET_DIGEST
    assert run_digest(market) == RUN_DIGEST


def refused(error, call, match=None):
    """The call raises `error` and leaves the market as it was; the message."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert isinstance(caught.value, cs.CascadeError)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400
    if match is not None:
        assert match in message
    unchanged()
    return message


@pytest.mark.fast
@pytest.mark.parametrize("table", ["bids", "asks", "orders", "accounts", "positions"])
def test_the_good_rows_are_good(table):
    market = make_market()
    assert load(market, table, good(table)) is None
    assert market.digest != MARKET_DIGEST


# 1-21: numbers

POSITIVE, FINITE, FITS = "must be positive", "must be finite", "the number of steps must fit int64"


@dataclass(frozen=True)
class Column:
    table: str
    name: str
    step: Fraction | None = None
    unit: str = ""

    @property
    def classes(self) -> list[tuple[Any, type, str]]:
        """(value, error, rule) of what the column refuses."""
        value, range_, step = cs.InputError, cs.RangeError, self.step
        cases = [(NAN, value, FINITE), (INF, value, FINITE), (-INF, value, FINITE)]
        cases += [("nan", value, FINITE), (Decimal("-Infinity"), value, FINITE), ("1e9999999", value, "must be a number")]
        cases += [(Decimal("1e999999"), value, "must have at most 400 digits"), ("ten", value, "must be a number")]
        if self.name == "margin":
            cases = [case for case in cases if str(case[0]) != "nan"]  # it means: cross
        if step:
            whole = f"must be a whole number of {self.unit}s of {float(step):g}"
            cases += [(1e308, range_, FITS), (float(step * 2**63), range_, FITS), (2**70, range_, FITS)]
            cases += [(float(step) * 1.5, value, whole), (str(float(step) * 1.001), value, whole)]
        if self.name in ("price", "quantity"):
            cases += [(x, value, POSITIVE) for x in (0, 0.0, -0.0, 5e-324, -1.0, np.float32(-1), Decimal(0), -5e-324)]
        if self.name == "size":
            cases += [(x, value, "must not be 0") for x in (0, -0.0, 5e-324, "0")]
        if self.name == "price":
            top = float((2**53 - 1) * step)
            cases += [(float(2**53 * step), value, f"must be at most {(2**53 - 1) * step:}")] if step == 1 else []
            assert top < 1e308
        if self.name == "entry_price":
            cases += [(x, value, POSITIVE) for x in (0, -0.0, -1.0, "-5e-324", Fraction(-1, 3))]
            cases += [(1e308, range_, "the value at entry must stay within 2**61 quanta")]
        if self.name in ("balance", "margin"):
            cases += [(1e308, range_, FITS), (2**70, range_, FITS), (1e12 + 2**41, value, "must be at most")]
        if self.name == "balance":
            cases += [(-1e308, range_, FITS), (-1e12 - 2**41, value, "must be at least")]
        if self.name == "margin":
            cases += [(-1.0, value, "must not be negative"), (-INF, value, FINITE)]
        return cases


NUMBER_COLUMNS = [
    Column("bids", "price", BTC.tick_size, "tick"), Column("asks", "price", BTC.tick_size, "tick"),
    Column("orders", "price", BTC.tick_size, "tick"), Column("bids", "quantity", BTC.lot_size, "lot"),
    Column("asks", "quantity", BTC.lot_size, "lot"), Column("orders", "quantity", BTC.lot_size, "lot"),
    Column("accounts", "balance"), Column("positions", "size", ETH.lot_size, "lot"),
    Column("positions", "entry_price"), Column("positions", "margin"),
]  # fmt: skip
NUMBER_CASES = [
    pytest.param(c, value, error, rule, id=f"{c.table}-{c.name}-{type(value).__name__}-{value}"[:60])
    for c in NUMBER_COLUMNS
    for value, error, rule in c.classes
]


def as_shown(value):
    return repr(value.item() if isinstance(value, np.generic) else value)


@pytest.mark.fast
@pytest.mark.parametrize(("column", "value", "error", "rule"), NUMBER_CASES)
def test_numbers_that_are_wrong(column, value, error, rule):
    """Classes 1-17: rows 0 and 1 hold the value; as a list, and as a float64 array where it is a float."""
    values = good(column.table)
    values[column.name] = [value, value, values[column.name][2]]
    forms = [values]
    if isinstance(value, float):
        forms.append({**values, column.name: np.array(values[column.name], np.float64)})
    for table in forms:
        message = refused(error, lambda table=table: load(MARKET, column.table, table))
        place = FORM.fullmatch(message)
        assert place, message
        assert place.group(1, 2, 3) == (column.table, column.name, "0")
        assert place[6] == "2"
        assert place[5].startswith(rule)
        if isinstance(value, float):
            assert place[4] == as_shown(value)
        # The same rows dropped: what is left is what loading the last row alone gives.
        left, alone = make_market(), make_market()
        dropped = load(left, column.table, table, on_bad="drop")
        assert isinstance(dropped, cs.Table)
        assert dropped.columns == ("table", "row", "column", "value", "rule")
        assert dropped["row"].tolist() == [0, 1]
        assert dropped["column"].tolist() == [column.name] * 2
        assert dropped["table"].tolist() == [column.table] * 2
        assert all(text.startswith(rule) for text in dropped["rule"].tolist())
        load(alone, column.table, {name: cells[2:] for name, cells in good(column.table).items()})
        assert left.digest == alone.digest


@pytest.mark.fast
def test_the_form_of_a_message():
    entry = np.full(40, 100.0)
    entry[[17, 20, 39]] = NAN
    table = {"account": [f"u{k}" for k in range(40)], "instrument": ["BTC"] * 40, "size": [1] * 40, "margin": [1.0] * 40}
    message = refused(cs.InputError, lambda: MARKET.load_positions({**table, "entry_price": entry}))
    assert message == "positions['entry_price'][17] = nan: must be finite (3 bad rows)"


@pytest.mark.fast
@pytest.mark.parametrize(("low", "value"), [(5, 5e-324), (5, 1e-310), (5, 1e-5)])
def test_small_entries_are_prices(low, value):
    market = make_market()
    table = good("positions") | {"entry_price": [value, 9.876, 100.0]}
    market.load_positions(table)
    assert market.run(engine="reference").audit["conserved"]


@pytest.mark.fast
@pytest.mark.parametrize(
    "value",
    [np.float32(99.8), np.float16(99.8).astype(np.float64).round(1), Decimal("99.8"), "99.8", " 99.80 ", Fraction(998, 10)],
)
def test_numbers_that_are_right(value):
    market, same = make_market(), make_market()
    load(market, "bids", {"price": [value, 99.7], "quantity": [1, 2]})
    load(same, "bids", {"price": [99.8, 99.7], "quantity": [1, 2]})
    assert market.digest == same.digest


def test_minus_zero_is_zero():
    market, same = make_market(), make_market()
    market.load_accounts({"account": ["z"], "balance": [-0.0]})
    same.load_accounts({"account": ["z"], "balance": [0]})
    assert market.digest == same.digest


INT64_MIN = -(2**63)
BIG = [
    # (table, changes, error, match); lots of 0.001 and 0.1
    ("bids", {"quantity": [float(2**61) / 1000, 2.0, 3.0]}, cs.InputError, "must be at most"),
    ("bids", {"quantity": np.array([INT64_MIN, 2, 3])}, cs.RangeError, "bids['quantity'][0] = -9223372036854775808"),
    ("orders", {"quantity": np.array([2**62, 2, 3])}, cs.RangeError, "orders['quantity'][0] = 4611686018427387904"),
    ("positions", {"size": np.array([INT64_MIN, 2, 3])}, cs.RangeError, "positions['size'][0] = -9223372036854775808"),
    ("positions", {"size": [float(2**61) / 10, 2.0, 3.0]}, cs.InputError, "must be at most"),
    ("positions", {"size": [1e14, 2.0, 3.0]}, cs.RangeError, "positions['entry_price'][0] = 10.0: the value at entry"),
    ("bids", {"price": [99.8, 99.7, float(2**53) / 10 + 0.1]}, cs.InputError, "must be at most"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("table", "changes", "error", "match"), BIG)
def test_numbers_that_are_too_big(table, changes, error, match):
    refused(error, lambda: load(MARKET, table, good(table) | changes), match)


def test_sums_that_are_too_big_are_found_before_the_run():
    """Classes 18-21: each row fits alone; the market says which account could overflow, and computes nothing with it."""
    market = cs.Market([BTC, ETH], fund=100)
    market.load_book("BTC", {"price": [100.0], "quantity": [1]}, {"price": [100.1], "quantity": [1]})
    market.load_book("ETH", {"price": [10.0], "quantity": [1]}, {"price": [10.1], "quantity": [1]})
    market.load_accounts({"account": ["whale"], "balance": [1e11]})
    assert market.margin()["equity"][0] == 1e11
    # 2**60 quanta of 1e-6 are 1.15e12: two positions of 6e11 each do not fit together.
    positions = {"account": ["whale"] * 2, "instrument": ["BTC", "ETH"], "size": [6e9, 6e10], "entry_price": [100.0, 10.0]}
    market.load_positions(positions)
    before = market.digest
    calls = (market.margin, market.liquidation_prices, lambda: market.liquidation_map("BTC"), run_digest)
    for call in calls:
        with pytest.raises(cs.RangeError, match=r"account 'whale' could reach .* cash quanta"):
            call(market) if call is run_digest else call()
    for start in (market.run, market.start):
        with pytest.raises(cs.RangeError, match="whale"):
            start(engine="reference")
    assert "whale" in str(market)
    assert market.digest == before


@pytest.mark.parametrize(
    ("contract", "size", "quantum", "said"),
    [
        ("inverse", 10**11, None, r"use Market\(cash_quantum=(0\.0+1)\)"),
        ("linear", 2 * 10**8, "0.0000005", r"use Market\(cash_quantum=(0\.0+5)\)"),
        ("linear", 4 * 10**10, "0.0005", "use larger ticks and lots, and with them a coarser cash_quantum()$"),
    ],
)
def test_what_a_vault_could_take_is_too_big_and_what_to_change(contract, size, quantum, said):
    """Each account fits; the vault could get all of them. Where a coarser quantum helps, the one named does."""
    lot = 1 if contract == "inverse" else "0.001"
    instrument = cs.Instrument("X", tick_size="0.5", lot_size=lot, contract=contract)
    rules = cs.VenueRules(mark="index", residual=("vault",))

    def market(quantum):
        made = cs.Market(instrument, rules=rules, vault=1, cash_quantum=quantum)
        made.set_prices(index={"X": 1000}, last={"X": 1000})
        made.load_accounts({"account": [*range(8)], "balance": [0] * 8})
        made.load_positions(
            {"account": [*range(8)], "instrument": ["X"] * 8, "size": [size, -size] * 4, "entry_price": [1000] * 8}
        )
        return made

    with pytest.raises(cs.RangeError, match=r"'vault' \(the rules may leave it every position\) could") as error:
        market(quantum).run()
    found = re.search(said, str(error.value))
    assert found, error.value
    if found[1]:
        market(found[1]).run()


@pytest.mark.parametrize(
    ("shock", "match"),
    [
        (cs.Shock(cash={"alice": 1e13}), r"shock.cash\['alice'\] = 10000000000000.0: must be below 2\*\*60"),
        (cs.Shock(cash={"alice": 1e300}), r"shock.cash\['alice'\] = 1e\+300"),
        (cs.Shock(cash={"alice": -1e12}) + cs.Shock(cash={"alice": -1e12}), "account 'alice' could reach"),
        (cs.Shock(orders={"BTC": 5e15}), "2\\*\\*61 lots"),
        (cs.Shock(orders={"BTC": -1e300}), "must fit int64"),
        (cs.Shock(orders={"BTC": 2e15}) + cs.Shock(orders={"BTC": 2e15}), "exceed 2\\*\\*61"),
        (cs.Shock(depth=1e6) + cs.Shock(depth=1e6) + cs.Shock(depth=1e6), "exceed 2\\*\\*61"),
        (cs.Shock(price=1e6) + cs.Shock(price=1e6), "must stay below 2|could reach"),
        (cs.Shock(index=1e6) + cs.Shock(index=1e6) + cs.Shock(index=1e6), "must stay below 2|could reach"),
    ],
)
def test_shocks_that_are_too_big(shock, match):
    for start in (MARKET.run, MARKET.start):
        with pytest.raises(cs.RangeError, match=match):
            start(shock, engine="reference")
    unchanged()


def test_shocks_that_add_up_in_a_simulation():
    sim = MARKET.start(cs.Shock(price=1e6), engine="reference")
    sim.apply(cs.Shock(cash={"alice": 1e12}))
    before = sim.result().digest
    for shock in (cs.Shock(price=1e6), cs.Shock(cash={"alice": 1e12})):
        with pytest.raises(cs.RangeError):
            sim.apply(shock)
    assert sim.result().digest == before
    unchanged()


def test_books_that_are_too_deep():
    market = make_market()
    before = market.digest
    quantity = [1.15e15] * 3
    with pytest.raises(cs.RangeError, match=r"book\['BTC'\]\['quantity'\]: the sum must be below 2\*\*61 lots"):
        market.load_book("BTC", {"price": [99.8, 99.7, 99.6], "quantity": quantity}, {"price": [], "quantity": []})
    assert market.digest == before


# 22-31, 41-47: types

NO_INTEGER = "must be an integer"
TYPE_CASES = [
    ("orders", "order_id", [11, 1.9, 13], f"orders['order_id'][1] = 1.9: {NO_INTEGER} (1 bad row)"),
    ("orders", "order_id", [11, np.float64(7.9), 13], f"orders['order_id'][1] = 7.9: {NO_INTEGER} (1 bad row)"),
    ("orders", "order_id", [11, True, 13], f"orders['order_id'][1] = True: {NO_INTEGER} (1 bad row)"),
    ("orders", "order_id", [11, "10", None], f"orders['order_id'][1] = '10': {NO_INTEGER} (2 bad rows)"),
    ("orders", "order_id", [11, 12, None], f"orders['order_id'][2] = null: {NO_INTEGER} (1 bad row)"),
    ("orders", "order_id", np.array([11.0, 12, 13]), "orders['order_id'][0] = 11.0: must be an integer (the column has"),
    ("orders", "order_id", np.array([11, 12, 13], "M8[ns]"), "the column has dtype datetime64[ns]"),
    ("orders", "order_id", np.array([11, 12, 13], complex), "the column has dtype complex128"),
    ("orders", "order_id", np.array([True, False, True]), "the column has dtype bool"),
    ("orders", "order_id", np.array([b"11", b"12", b"13"]), "the column has dtype |S2"),
    ("orders", "side", [1, True, -1], f"orders['side'][1] = True: {NO_INTEGER} (1 bad row)"),
    ("orders", "side", [1.0, 1.0, -1.0], "orders['side'][0] = 1.0: must be an integer"),
    ("orders", "side", ["buy", 1, "sell"], "orders['side'][1] = 1: must be one of 'buy', 'sell' (1 bad row)"),
    ("orders", "account", np.array([NAN, 1.0, 2.0]), "orders['account'][1] = 1.0: must be an integer or text"),
    ("orders", "account", ["alice", 5, None], "orders['account'][1] = 5: must be text, as other ids are (1 bad row)"),
    ("orders", "account", [1, 2, 3], "orders['account']: dtype int64: must be text, as the ids loaded before are"),
    ("accounts", "account", [1.0, 2.0, 3.0], "accounts['account'][0] = 1.0: must be an integer or text"),
    ("accounts", "account", ["c", True, "d"], "accounts['account'][1] = True: must be text"),
    ("accounts", "account", ["c", b"d", "e"], "accounts['account'][1] = b'd': must be text"),
    ("accounts", "account", ["c", None, "e"], "accounts['account'][1] = null: must be text"),
    ("accounts", "account", np.array([5, 6, 7]), "dtype int64: must be text, as the ids loaded before are"),
    ("accounts", "account", np.array([5, 6, 7], "M8[s]"), "the column has dtype datetime64[s]"),
    ("accounts", "balance", [1.0, True, 2.0], "accounts['balance'][1] = True: must be a number (1 bad row)"),
    ("accounts", "balance", [1.0, None, 2.0], "accounts['balance'][1] = null: must be a number (1 bad row)"),
    ("accounts", "balance", [1.0, 1j, 2.0], "accounts['balance'][1] = 1j: must be a number (1 bad row)"),
    ("accounts", "balance", np.array([1, 2, 3], complex), "accounts['balance']: dtype complex128"),
    ("accounts", "balance", np.array([1, 2, 3], "m8[s]"), "accounts['balance']: dtype timedelta64[s]"),
    ("accounts", "balance", np.array([True, False, True]), "accounts['balance']: dtype bool"),
    ("accounts", "balance", np.array([b"1", b"2", b"3"]), "accounts['balance']: dtype |S1"),
    ("accounts", "balance", np.array([1, 2, 3], np.longdouble), "must be numbers of at most 64 bits"),
    ("positions", "account", ["alice", 5, "bob"], "positions['account'][1] = 5: must be text"),
    ("positions", "instrument", ["ETH", 5, "BTC"], "positions['instrument'][1] = 5: must be a symbol (1 bad row)"),
    ("positions", "instrument", ["ETH", None, "BTC"], "positions['instrument'][1] = null: must be a symbol"),
    ("positions", "instrument", [0, 1, 0], "positions['instrument']: dtype int64: must be symbols"),
    ("positions", "size", [1, True, 3], "positions['size'][1] = True: must be a number"),
    ("positions", "size", np.array([True, True, True]), "positions['size']: dtype bool"),
    ("positions", "entry_price", [10.0, object(), 3.0], "positions['entry_price'][1] = <object"),
    ("positions", "margin", [NAN, "10", True], "positions['margin'][2] = True: must be a number"),
    ("positions", "position_side", [0, 1, 2], "positions['position_side'][0] = 0: must be one of 'both', 'long', 'short'"),
    ("positions", "margin_mode", [True, False, True], "must be one of 'cross', 'isolated'"),
    ("bids", "price", [99.8, False, 99.6], "bids['price'][1] = False: must be a number"),
    ("asks", "quantity", np.array(["2020-01-01"] * 3, "M8[D]"), "asks['quantity']: dtype datetime64[D]"),
    ("bids", "price", None, "bids['price']: None: must be a 1-D array or list"),
    ("bids", "price", 5.0, "bids['price']: a float: must be a 1-D array or list"),
    ("bids", "price", "99.8", "bids['price']: a str: must be a 1-D array or list"),
    ("bids", "price", np.float64(5), "bids['price']: a float64: must be a 1-D array or list"),
    ("bids", "price", {1: 2}, "bids['price']: a dict: must be a 1-D array or list"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("table", "column", "values", "match"), TYPE_CASES)
def test_types_that_are_wrong(table, column, values, match):
    """A wrong type is an error of the column, also where bad rows are dropped."""
    columns = good(table) | {column: values}
    for on_bad in ("raise", "drop"):
        refused(cs.InputTypeError, lambda on_bad=on_bad: load(MARKET, table, columns, on_bad=on_bad), match)


RIGHT_TYPES = [
    ("orders", "order_id", lambda x: np.array(x, np.int32)),
    ("orders", "order_id", lambda x: np.array(x, np.uint8)),
    ("orders", "order_id", lambda x: np.array(x, ">i8")),
    ("orders", "order_id", lambda x: np.array(x, object)),
    ("orders", "side", lambda x: np.array(x, np.int8)),
    ("orders", "side", lambda x: ["buy" if s > 0 else "sell" for s in x]),
    ("orders", "price", lambda x: np.array(x, ">f8")),
    ("orders", "quantity", lambda x: np.array(x, np.float32)),
    ("orders", "quantity", lambda x: np.array(x, np.int16)),
    ("orders", "price", lambda x: [Decimal(str(v)) for v in x]),
    ("orders", "price", lambda x: np.array([str(v) for v in x])),
    ("positions", "size", lambda x: np.array(x, ">i4")),
    ("positions", "margin", lambda x: [None, None, 50]),
    ("positions", "margin", lambda x: np.ma.MaskedArray([1.0, 2.0, 50.0], [True, True, False])),
    ("positions", "account", lambda x: np.array(x)),
    ("positions", "account", lambda x: np.array(x, object)),
    ("accounts", "account", lambda x: tuple(x)),
    ("accounts", "account", lambda x: [np.str_(v) for v in x]),
]


@pytest.mark.fast
@pytest.mark.parametrize(("table", "column", "convert"), RIGHT_TYPES)
def test_types_that_are_right(table, column, convert):
    market, same = make_market(), make_market()
    load(same, table, good(table))
    columns = good(table)
    columns[column] = convert(columns[column])
    load(market, table, columns)
    assert market.digest == same.digest


WORDS = [
    ("orders", "side", [1, 2, -1], cs.InputError, "orders['side'][1] = 2: must be 1 (buy) or -1 (sell) (1 bad row)"),
    ("orders", "side", [0, 0, -1], cs.InputError, "orders['side'][0] = 0: must be 1 (buy) or -1 (sell) (2 bad rows)"),
    ("orders", "side", ["buy", "B", "sell"], cs.InputError, "orders['side'][1] = 'B': must be one of 'buy', 'sell' (1"),
    ("orders", "side", ["BUY", "buy", "sell"], cs.InputError, "orders['side'][0] = 'BUY': must be one of"),
    ("positions", "position_side", ["both", "net", "long"], cs.InputError, "positions['position_side'][1] = 'net'"),
    ("positions", "margin_mode", ["cross", "CROSS", "isolated"], cs.InputError, "positions['margin_mode'][1] = 'CROSS'"),
    ("positions", "margin_mode", ["isolated", "cross", "isolated"], cs.InputError, "must have a margin (1 bad row)"),
    ("positions", "margin_mode", ["cross", "cross", "cross"], cs.InputError, "a cross position must not have a margin"),
    ("positions", "position_side", ["short", "short", "long"], cs.InputError, "positions['size'][0] = 1.0: must be pos"),
    ("orders", "order_id", [11, 11, 13], cs.InputError, "orders['order_id'][1] = 11: must not repeat an id (1 bad row)"),
    ("orders", "order_id", [0, 11, 13], cs.InputError, "orders['order_id'][0] = 0: must be from 1"),
    ("orders", "order_id", [-5, 11, 13], cs.RangeError, "orders['order_id'][0] = -5: must fit uint64 (1 bad row)"),
    ("orders", "order_id", [2**64, 11, 13], cs.RangeError, "orders['order_id'][0] = 18446744073709551616: must fit uint64"),
    ("orders", "account", ["alice", "nobody", "none"], cs.InputError, "orders['account'][1] = 'nobody': must be an account"),
    ("accounts", "account", ["c", "d", "c"], cs.InputError, "accounts['account'][2] = 'c': must not repeat an account"),
    ("accounts", "account", ["c", "bob", "d"], cs.InputError, "accounts['account'][1] = 'bob': must not be loaded before"),
    ("positions", "account", ["alice", "nobody", "bob"], cs.InputError, "positions['account'][1] = 'nobody': must be an"),
    ("positions", "account", ["alice", "alice", "bob"], cs.InputError, "positions['account'][1] = 'alice': must not repeat ("),
    ("positions", "instrument", ["BTC", "ETH", "BTC"], cs.InputError, "positions['account'][0] = 'alice': (account, instr"),
    ("positions", "instrument", ["ETH", "DOGE", "btc"], cs.InputError, "positions['instrument'][1] = 'DOGE': must be an"),
    ("bids", "price", [99.7, 99.8, 99.6], cs.InputError, "bids['price'][1] = 99.8: must be sorted, best price first (de"),
    ("bids", "price", [99.8, 99.8, 99.8], cs.InputError, "bids['price'][1] = 99.8: must not repeat a level (2 bad rows)"),
    ("asks", "price", [100.4, 100.3, 100.2], cs.InputError, "asks['price'][1] = 100.3: must be sorted, best price first (as"),
    ("asks", "price", [100.2, 100.2, 100.4], cs.InputError, "asks['price'][1] = 100.2: must not repeat a level (1 bad row)"),
    ("bids", "price", [100.1, 99.9, 99.8], cs.InputError, "book['BTC']: best bid 100.1 >= best ask 100.1: must not be crossed"),
    ("asks", "price", [99.0, 99.1, 99.2], cs.InputError, "book['BTC']: best bid 100.0 >= best ask 99.0: must not be crossed"),
    ("orders", "price", [105.0, 99.4, 110.0], cs.InputError, "orders['BTC']: best bid 105.0 >= best ask 100.1"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("table", "column", "values", "error", "match"), WORDS)
def test_values_that_are_wrong(table, column, values, error, match):
    """Classes 27-38 and 75-76."""
    refused(error, lambda: load(MARKET, table, good(table) | {column: values}), match)


def test_what_drop_drops_for_more_than_numbers():
    market, same = make_market(), make_market()
    dropped = market.load_positions(
        {
            "account": ["alice", "nobody", "bob", "bob", "alice", "new", "new"],
            "instrument": ["ETH", "ETH", "DOGE", "ETH", "BTC", "ETH", "ETH"],
            "size": [1.0, 1.0, 1.0, -2.0, 1.0, 0.05, 1.0], "entry_price": [10.0, 10.0, 10.0, 9.876, 10.0, 10.0, 10.0],
            "margin": [None, None, None, None, None, 5.0, None],
        },
        on_bad="drop",
    )  # fmt: skip
    assert dropped["row"].tolist() == [1, 2, 4, 5, 6]
    assert dropped["column"].tolist() == ["account", "instrument", "account", "size", "account"]
    assert dropped["value"].tolist() == ["'nobody'", "'DOGE'", "'alice'", "0.05", "'new'"]
    same.load_positions(
        {"account": ["alice", "bob"], "instrument": ["ETH"] * 2, "size": [1.0, -2.0], "entry_price": [10.0, 9.876]}
    )
    assert market.digest == same.digest
    with pytest.raises(cs.InputError, match="not loaded"):
        market.owner("new")
    dropped = market.load_book(
        "BTC", {"price": [99.8, 99.8, 99.9], "quantity": [1, 1, 1]}, {"price": [NAN, 101], "quantity": [1, 1]}, on_bad="drop"
    )
    assert list(zip(dropped["table"].tolist(), dropped["row"].tolist(), strict=True)) == [("bids", 1), ("bids", 2), ("asks", 0)]
    assert len(market.load_accounts({"account": ["q"], "balance": [1]}, on_bad="drop")) == 0


# 48-62: shapes, memory, libraries


def unaligned_view(values):
    array = np.array(values, np.float64)
    record = np.zeros(len(array), np.dtype([("pad", "i1"), ("x", "<f8")]))
    record["x"] = array
    assert not record["x"].flags.aligned
    return record["x"]


def read_only(values):
    array = np.array(values)
    array.flags.writeable = False
    return array


LAYOUTS = {
    "strided": lambda x: np.repeat(np.array(x), 3)[::3],
    "reversed": lambda x: np.array(x[::-1])[::-1],
    "column of a Fortran array": lambda x: np.asfortranarray(np.array([x, x]).T)[:, 0],
    "row of a Fortran array": lambda x: np.asfortranarray(np.array([x, x]))[0],
    "misaligned": unaligned_view,
    "read-only": read_only,
    "swapped": lambda x: np.array(x, ">f8"),
    "masked, nothing masked": lambda x: np.ma.MaskedArray(x),
    "list": list,
    "tuple": tuple,
    "memoryview": lambda x: np.asarray(memoryview(np.array(x))),
    "subclass": lambda x: np.array(x).view(np.recarray),
}


@pytest.mark.fast
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_memory(layout):
    market, same = make_market(), make_market()
    load(same, "accounts", good("accounts"))
    balance = LAYOUTS[layout]([1.0, -2.0, 3.0])
    before = list(balance)
    load(market, "accounts", good("accounts") | {"balance": balance})
    assert market.digest == same.digest
    assert list(balance) == before


SHAPES = [
    (np.ones((3, 1)), cs.InputError, "accounts['balance'] has shape (3, 1): must be 1-D"),
    (np.ones((1, 3)), cs.InputError, "accounts['balance'] has shape (1, 3): must be 1-D"),
    (np.array(5.0), cs.InputError, "accounts['balance'] has shape (): must be 1-D"),
    ([[1.0], [2.0], [3.0]], cs.InputError, "accounts['balance'] has elements that are sequences: must be 1-D"),
    ([1.0, 2.0], cs.InputError, "accounts['balance'] has 2 rows and accounts['account'] 3: columns must be equally long"),
    ([], cs.InputError, "columns must be equally long"),
    (np.zeros(3, [("a", "f8")]), cs.InputTypeError, "accounts['balance']: dtype [('a', '<f8')]"),
    (np.ma.MaskedArray([1.0, 2.0, 3.0], [0, 1, 1]), cs.InputError, "accounts['balance'][1] = null: must not be missing (2 bad"),
    (iter([1.0, 2.0, 3.0]), cs.InputTypeError, "accounts['balance']: a list_iterator: must be a 1-D array or list"),
    ({1.0, 2.0, 3.0}, cs.InputTypeError, "accounts['balance']: a set: must be a 1-D array or list"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("values", "error", "match"), SHAPES)
def test_shapes_that_are_wrong(values, error, match):
    refused(error, lambda: load(MARKET, "accounts", good("accounts") | {"balance": values}), match)


RECORDS = np.array([("carol", 1.0)], [("account", "U8"), ("balance", "f8")])
TABLES = [
    (None, cs.InputTypeError, "accounts: None: must be a dict of arrays"),
    (5, cs.InputTypeError, "accounts: a int: must be a dict of arrays"),
    ("accounts", cs.InputTypeError, "accounts: a str: must be"),
    ([("carol", 1.0)], cs.InputTypeError, "accounts: a list: must be"),
    (np.array([1.0, 2.0]), cs.InputTypeError, "accounts: an array without named fields"),
    (RECORDS.reshape(1, 1), cs.InputError, "accounts has shape (1, 1): must be 1-D"),
    ({"account": ["carol"]}, cs.InputError, "accounts: missing column 'balance' (it has 'account')"),
    ({}, cs.InputError, "accounts: missing columns 'account', 'balance' (it has no columns)"),
    (good("accounts") | {"size": [1, 2, 3]}, cs.InputError, "accounts: unknown column 'size' (known: account, balance, asset;"),
    (good("accounts") | {5: [1, 2, 3]}, cs.InputError, "accounts: unknown column 5"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("table", "error", "match"), TABLES)
def test_tables_that_are_wrong(table, error, match):
    refused(error, lambda: MARKET.load_accounts(table), match)


@pytest.mark.parametrize(
    ("columns", "error", "match"),
    [
        ({"account": "user"}, cs.InputError, "columns['account'] = 'user': the table has no such column"),
        ({"user": "account"}, cs.InputError, "columns['user']: accounts has no such column"),
        ("user", cs.InputTypeError, "columns: a str: must map"),
        ([("account", "id")], cs.InputTypeError, "columns: a list: must map"),
    ],
)
def test_column_names_that_are_wrong(columns, error, match):
    refused(error, lambda: MARKET.load_accounts(good("accounts"), columns=columns), match)


def test_column_names_that_are_mapped():
    market, same = make_market(), make_market()
    load(same, "accounts", good("accounts"))
    table = {"id": good("accounts")["account"], "usd": good("accounts")["balance"], "note": ["x"] * 3}
    market.load_accounts(table, columns={"account": "id", "balance": "usd"})
    assert market.digest == same.digest
    book = {"px": [99.8], "sz": [1.0], "count": [7]}
    market.load_book("BTC", book, {"px": [], "sz": []}, columns={"price": "px", "quantity": "sz"})
    same.load_book("BTC", {"price": [99.8], "quantity": [1.0]}, {"price": [], "quantity": []})
    assert market.digest == same.digest


@pytest.mark.fast
@pytest.mark.parametrize(("on_bad", "error"), [("ignore", cs.InputError), (None, cs.InputTypeError), (True, cs.InputTypeError)])
@pytest.mark.parametrize("table", ["bids", "orders", "accounts", "positions"])
def test_on_bad_that_is_wrong(table, on_bad, error):
    refused(error, lambda: load(MARKET, table, good(table), on_bad=on_bad), "must be 'raise' or 'drop'")


@pytest.mark.fast
def test_no_rows():
    market = make_market()
    for table in ("bids", "asks", "orders", "accounts", "positions"):
        empty = {name: [] for name in good(table)}
        assert load(market, table, empty) is None
        assert load(market, table, {name: np.zeros(0) for name in empty}) is None
        assert len(load(market, table, empty, on_bad="drop")) == 0
    assert market.digest == MARKET_DIGEST
    nothing = cs.Market(BTC)
    nothing.load_book("BTC", {"price": [], "quantity": []}, {"price": [], "quantity": []})
    nothing.load_accounts(np.zeros(0, [("account", "i8"), ("balance", "f8")]))
    with pytest.raises(cs.InputError, match="no mark"):
        nothing.run(engine="reference")
    nothing.set_prices(last={"BTC": 100})
    result = nothing.run(engine="reference")
    assert result.status == "settled"
    assert len(result.fills) == len(result.accounts) == len(result.liquidations) == len(result.flows) == 0
    assert len(nothing.margin()) == len(nothing.liquidation_prices()) == len(nothing.liquidation_map("BTC")) == 0


def frame_of(library, columns):
    module = pytest.importorskip(library)
    return module.table(columns) if library == "pyarrow" else module.DataFrame(columns)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("table", ["bids", "orders", "accounts", "positions"])
def test_libraries(library, table):
    market, same = make_market(), make_market()
    load(same, table, good(table))
    load(market, table, frame_of(library, good(table)))
    assert market.digest == same.digest
    refused(
        cs.InputError,
        lambda: load(MARKET, table, frame_of(library, good(table) | {"extra": [1, 2, 3]})),
        f"{table}: unknown column 'extra'",
    )


def test_arrow_columns():
    """Classes 59-61: nulls are counted, slices, dictionaries and chunks keep their values."""
    pa = pytest.importorskip("pyarrow")
    names, balance = good("accounts")["account"], good("accounts")["balance"]
    nulls = pa.table({"account": names, "balance": pa.array([None, 1.0, None])})
    message = refused(cs.InputError, lambda: MARKET.load_accounts(nulls))
    assert message == "accounts['balance'][0] = null: must not be missing (2 bad rows)"
    nulls = pa.table({"account": pa.array(["c", None, "d"]), "balance": balance})
    message = refused(cs.InputError, lambda: MARKET.load_accounts(nulls))
    assert message == "accounts['account'][1] = null: must not be missing (1 bad row)"
    integers = pa.table({"account": names, "balance": pa.array([1, None, 3])})
    message = refused(cs.InputError, lambda: MARKET.load_accounts(integers))
    assert message == "accounts['balance'][1] = null: must not be missing (1 bad row)"
    market = make_market()
    dropped = market.load_accounts(integers, on_bad="drop")
    assert dropped["row"].tolist() == [1]
    same = make_market()
    load(same, "accounts", good("accounts"))
    whole = pa.table({"account": ["-", *names, "-"], "balance": [9.0, *balance, 9.0]})
    forms = [
        whole.slice(1, 3),
        pa.table({"account": pa.array(names).dictionary_encode(), "balance": pa.array(balance).dictionary_encode()}),
        pa.concat_tables([whole.slice(1, 1), whole.slice(2, 2)]),
        pa.table({"account": pa.array(names, pa.large_string()), "balance": pa.array(balance, pa.float32())}),
        pa.table({"account": pa.array(names, pa.string_view()), "balance": [Decimal(str(x)) for x in balance]}),
        pa.table({"account": names, "balance": balance}).to_batches()[0],
        {"account": pa.array(names), "balance": pa.chunked_array([balance[:1], balance[1:]])},
    ]
    for form in forms:
        market = make_market()
        market.load_accounts(form)
        assert market.digest == same.digest


def test_pandas_and_polars_columns():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    names, balance = good("accounts")["account"], good("accounts")["balance"]
    same = make_market()
    load(same, "accounts", good("accounts"))
    forms = [
        pd.DataFrame({"account": pd.Categorical(names), "balance": balance}, index=[7, 7, 7]),
        pd.DataFrame({"account": pd.array(names, "string"), "balance": pd.array(balance, "Float64")}),
        pd.DataFrame({"account": pd.Series(names, dtype=object), "balance": pd.array([1, -2, 3], "Int64")}),
        pl.DataFrame({"account": pl.Series(names, dtype=pl.Categorical), "balance": pl.Series(balance, dtype=pl.Float32)}),
        pl.concat([pl.DataFrame({"account": names[:1], "balance": balance[:1]}), pl.DataFrame({"account": names[1:], "balance": balance[1:]})]),
    ]  # fmt: skip
    for form in forms:
        market = make_market()
        market.load_accounts(form)
        assert market.digest == same.digest
    for frame in (
        pd.DataFrame({"account": names, "balance": pd.array([1, None, 3], "Int64")}),
        pl.DataFrame({"account": names, "balance": [1, None, 3]}),
        pl.DataFrame({"account": names, "balance": [1.0, None, 3.0]}),
    ):
        message = refused(cs.InputError, lambda frame=frame: MARKET.load_accounts(frame))
        assert message == "accounts['balance'][1] = null: must not be missing (1 bad row)"
    frame = pd.DataFrame({"account": names, "balance": [1.0, None, 3.0]})
    refused(cs.InputError, lambda: MARKET.load_accounts(frame), "accounts['balance'][1] = nan: must be finite (1 bad row)")
    twice = pd.DataFrame([["c", 1.0, 2.0]], columns=["account", "balance", "balance"])
    refused(cs.InputError, lambda: MARKET.load_accounts(twice), "column 'balance' appears twice")
    refused(cs.InputTypeError, lambda: MARKET.load_accounts(pl.LazyFrame({"account": names, "balance": balance})), "collect()")


# 63-74: instruments, market, rules

STEP = {"tick_size": "0.1", "lot_size": "0.001"}
INSTRUMENTS = [
    ({"tick_size": 0}, cs.InputError, "instrument['X'].tick_size = 0: must be > 0"),
    ({"tick_size": -0.0}, cs.InputError, "tick_size = -0.0: must be > 0"),
    ({"tick_size": NAN}, cs.InputError, "instrument['X'].tick_size = nan: must be finite"),
    ({"tick_size": INF}, cs.InputError, "tick_size = inf: must be finite"),
    ({"tick_size": "abc"}, cs.InputError, "tick_size = 'abc': must be a number"),
    ({"tick_size": ""}, cs.InputError, "tick_size = '': must be a number"),
    ({"tick_size": "1e999999999"}, cs.InputError, "must be a number"),
    ({"tick_size": Decimal("1e999999999")}, cs.InputError, "must have at most 400 digits"),
    ({"tick_size": "1" * 500}, cs.InputError, "must have at most 400 digits"),
    ({"tick_size": 10**5000}, cs.InputError, "an integer of 16,610 bits: must have at most 400 digits"),
    ({"tick_size": Fraction(1, 10**500)}, cs.InputError, "must have at most 400 digits"),
    ({"tick_size": None}, cs.InputTypeError, "tick_size = null: must be a number"),
    ({"tick_size": True}, cs.InputTypeError, "tick_size = True: must be a number"),
    ({"tick_size": b"0.1"}, cs.InputTypeError, "tick_size = b'0.1': must be a number"),
    ({"tick_size": 1j}, cs.InputTypeError, "tick_size = 1j: must be a number"),
    ({"tick_size": np.array([0.1])}, cs.InputTypeError, "tick_size = array([0.1]): must be a number"),
    ({"lot_size": 0}, cs.InputError, "lot_size = 0: must be > 0"),
    ({"lot_size": -1}, cs.InputError, "lot_size = -1: must be > 0"),
    ({"multiplier": 0}, cs.InputError, "multiplier = 0: must be > 0"),
    ({"multiplier": np.ma.masked}, cs.InputTypeError, "must be a number"),
    ({"contract": "quanto"}, cs.InputError, "contract = 'quanto': must be 'linear' or 'inverse'"),
    ({"taker_fee": 1.5}, cs.InputError, "taker_fee = 1.5: must be in [-1, 1]"),
    ({"maker_fee": -2}, cs.InputError, "maker_fee = -2: must be in [-1, 1]"),
    ({"liquidation_fee": -0.001}, cs.InputError, "liquidation_fee = -0.001: must be in [0, 1]"),
    ({"taker_fee": NAN}, cs.InputError, "taker_fee = nan: must be finite"),
    ({"tiers": 1.5}, cs.InputError, "tiers = 1.5: must be in [0, 1]"),
    ({"tiers": -0.01}, cs.InputError, "tiers = -0.01: must be in [0, 1]"),
    ({"tiers": NAN}, cs.InputError, "tiers = nan: must be finite"),
    ({"tiers": True}, cs.InputTypeError, "tiers = True: must be a number"),
    ({"tiers": []}, cs.InputError, "tiers = []: must have at least one row"),
    ({"tiers": [0.01, 0.02]}, cs.InputTypeError, "tiers[0] = 0.01: must be (floor, cap, initial rate"),
    ({"tiers": b"0.01"}, cs.InputTypeError, "tiers[0] = 48: must be (floor, cap"),
    ({"tiers": ["0123"]}, cs.InputTypeError, "tiers[0] = '0123': must be (floor, cap"),
    ({"tiers": np.array(0.01)}, cs.InputTypeError, "tiers[0] = 0.01: must be"),
    ({"tiers": [(0, 10, 0.1)]}, cs.InputError, "tiers[0] = (0, 10, 0.1): must be (floor, cap"),
    ({"tiers": [(0, 10, 0.1, 0.05), (10, None, 0.1, 0.05, 0)]}, cs.InputError, "the amount in every row or in none"),
    ({"tiers": [(5, None, 0.1, 0.05)]}, cs.InputError, "tiers[0].floor = 5: the first tier must start at 0"),
    ({"tiers": [(0, 10, 0.1, 0.05), (11, None, 0.2, 0.1)]}, cs.InputError, "tiers[1].floor = 11: must start where the tier"),
    ({"tiers": [(0, 10, 0.1, 0.05), (9, None, 0.2, 0.1)]}, cs.InputError, "tiers[1].floor = 9: must start where the tier"),
    ({"tiers": [(0, INF, 0.1, 0.05), (10, None, 0.2, 0.1)]}, cs.InputError, "must start where the tier before ends (unbounded)"),
    ({"tiers": [(0, 0, 0.1, 0.05)]}, cs.InputError, "tiers[0].cap = 0: must exceed the floor 0"),
    ({"tiers": [(0, None, 0.1, 0.2)]}, cs.InputError, "maintenance_rate = 0.2: must not exceed the initial rate 0.1"),
    ({"tiers": [(0, None, 0, 0.01)]}, cs.InputError, "must not exceed the initial rate 0"),
    ({"tiers": [(0, None, 1.1, 0.01)]}, cs.InputError, "initial_rate = 1.1: must be in [0, 1]"),
    ({"tiers": [(0, 10, 0.1, 0.05), (10, None, 0.2, 0.04)]}, cs.InputError, "maintenance_rate = 0.04: must not fall"),
    ({"tiers": [(0, None, 0.1, 0.05, -1)]}, cs.InputError, "amount = -1: must be >= 0"),
    ({"tiers": [(0, None, 0.1, "x")]}, cs.InputError, "maintenance_rate = 'x': must be a number"),
    ({"tiers": [(0, NAN, 0.1, 0.05)]}, cs.InputError, "cap = nan: must be finite"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("changes", "error", "match"), INSTRUMENTS)
def test_instruments_that_are_wrong(changes, error, match):
    """Classes 63-74."""
    refused(error, lambda: cs.Instrument("X", **(STEP | changes)), match)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("symbol", "error"),
    [(None, cs.InputTypeError), (5, cs.InputTypeError), (b"X", cs.InputTypeError), ("", cs.InputError), ("X\0", cs.InputError),
     ("\ud800", cs.InputError), ("x" * (2**20 + 1), cs.InputError)],
)  # fmt: skip
def test_symbols_that_are_wrong(symbol, error):
    refused(error, lambda: cs.Instrument(symbol, **STEP), "instrument.symbol = ")


@pytest.mark.fast
def test_an_instrument_is_immutable_and_pickles():
    for instrument in (BTC, ETH, COIN):
        with pytest.raises(AttributeError, match="immutable"):
            instrument.tick_size = 5
        twin = pickle.loads(pickle.dumps(instrument))
        assert twin == instrument
        assert hash(twin) == hash(instrument)


CONVERSIONS = [
    (lambda: BTC.to_ticks(100.05), cs.InputError, "price = 100.05: must be a whole number of ticks of 0.1"),
    (lambda: BTC.to_ticks(1e300), cs.RangeError, "must fit int64"),
    (lambda: BTC.to_ticks(float(2**63)), cs.RangeError, "must fit int64"),
    (lambda: BTC.to_ticks(NAN), cs.InputError, "must be finite"),
    (lambda: BTC.to_ticks(None), cs.InputTypeError, "must be a number"),
    (lambda: BTC.to_ticks(True), cs.InputTypeError, "must be a number"),
    (lambda: BTC.to_ticks([100.0, 100.05, NAN]), cs.InputError, "instrument['BTC']['price'][2] = nan: must be finite (1 bad"),
    (lambda: BTC.to_lots([1, 0.0005]), cs.InputError, "instrument['BTC']['size'][1] = 0.0005: must be a whole number of lots"),
    (lambda: BTC.to_lots(np.ones((2, 2))), cs.InputError, "must be 1-D"),
    (lambda: BTC.to_ticks(np.ma.MaskedArray([1.0, 2.0], [0, 1])), cs.InputError, "must not be missing (1 bad row)"),
    (lambda: BTC.to_price("5"[:0]), cs.InputError, "must be a number"),
    (lambda: BTC.to_price(["5"]), cs.InputTypeError, "must be numbers"),
    (lambda: BTC.to_size(True), cs.InputTypeError, "must be a number"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("call", "error", "match"), CONVERSIONS)
def test_conversions_that_are_wrong(call, error, match):
    refused(error, call, match)


@pytest.mark.fast
def test_conversions_that_are_right():
    assert BTC.to_ticks(616.1) == 6161
    assert BTC.to_ticks(np.float32(616.1)) == 6161
    assert BTC.to_ticks([616.1, "0.1", Decimal(5)]).tolist() == [6161, 1, 50]
    assert BTC.to_lots(-0.25) == -250
    assert BTC.to_price(6161) == 616.1
    assert BTC.to_price(6161.5) == 616.15
    assert np.isnan(BTC.to_price(NAN))
    assert BTC.to_price(None) is None
    assert BTC.to_size(np.array([1, -2])).tolist() == [0.001, -0.002]
    assert BTC.to_price([]).size == 0


MARKETS = [
    (lambda: cs.Market(None), cs.InputTypeError, "market.instruments = null"),
    (lambda: cs.Market("BTC"), cs.InputTypeError, "market.instruments = 'BTC'"),
    (lambda: cs.Market({"BTC": BTC}), cs.InputTypeError, "market.instruments = "),
    (lambda: cs.Market([]), cs.InputError, "0 given"),
    (lambda: cs.Market(["BTC"]), cs.InputTypeError, "market.instruments[0] = 'BTC': must be an Instrument"),
    (lambda: cs.Market([BTC, BTC]), cs.InputError, "market.instruments[1] = 'BTC': must not stand twice"),
    (lambda: cs.Market(BTC, fund=-1), cs.InputError, "market.fund = -1: must be >= 0"),
    (lambda: cs.Market(BTC, fund=NAN), cs.InputError, "market.fund = nan: must be finite"),
    (lambda: cs.Market(BTC, fund="x"), cs.InputError, "market.fund = 'x': must be a number"),
    (lambda: cs.Market(BTC, fund=None), cs.InputTypeError, "market.fund = null"),
    (lambda: cs.Market(BTC, fund=1e308), cs.RangeError, "market.fund = 1e+308: must be below"),
    (lambda: cs.Market(BTC, vault=1e13), cs.RangeError, "market.vault = 10000000000000.0: must be below"),
    (lambda: cs.Market(BTC, vault=-1), cs.InputError, "market.vault = -1: must be >= 0"),
    (lambda: cs.Market(BTC, cash_quantum=0), cs.InputError, "market.cash_quantum = 0: must be > 0"),
    (lambda: cs.Market(BTC, cash_quantum=1), cs.InputError, "must be a whole number of cash quanta"),
    (lambda: cs.Market(BTC, cash_quantum=1e-300), cs.RangeError, "does not fit"),
    (lambda: cs.Market(BTC, cash_quantum=True), cs.InputTypeError, "market.cash_quantum = True"),
    (lambda: cs.Market(BTC, rules="binance"), cs.InputTypeError, "rules = 'binance': must be a VenueRules or a Venue"),
    (lambda: cs.Market(cs.Instrument("X", tick_size=5e-324, lot_size=1)), cs.InputError, "must be a whole number of 1e-18"),
    (lambda: cs.Market(cs.Instrument("X", tick_size=1e300, lot_size=1)), cs.RangeError, "does not fit"),
    (lambda: cs.Market(cs.Instrument("X", tick_size=Fraction(1, 3), lot_size=1)), cs.InputError, "must be a whole number"),
    (lambda: cs.Market(cs.Instrument("X", **STEP, tiers=[(0, 1e300, 1, 0.1), (1e300, None, 1, 1)])), cs.RangeError, "tiers"),
    (lambda: MARKET.owner("nobody"), cs.InputError, "account = 'nobody': not loaded"),
    (lambda: MARKET.owner(5), cs.InputError, "account = 5: not loaded"),
    (lambda: MARKET.owner(None), cs.InputTypeError, "account = null: must be an integer or text"),
    (lambda: MARKET.owner(1.5), cs.InputTypeError, "account = 1.5: must be an integer or text"),
    (lambda: MARKET.owner(True), cs.InputTypeError, "account = True: must be an integer or text"),
    (lambda: MARKET.owner("\ud800"), cs.InputError, "not loaded"),
    (lambda: MARKET.load_book("DOGE", {}, {}), cs.InputError, "unknown instrument; the market has BTC, ETH"),
    (lambda: MARKET.load_book(0, {}, {}), cs.InputTypeError, "instrument = 0: must be a symbol"),
    (lambda: MARKET.load_book("BTC", good("bids"), None), cs.InputTypeError, "asks: None"),
    (lambda: MARKET.load_book("BTC", good("bids"), good("asks"), complete="no"), cs.InputTypeError, "complete = 'no'"),
    (lambda: MARKET.load_orders(None, good("orders")), cs.InputTypeError, "instrument = null"),
    (lambda: MARKET.liquidation_map("DOGE"), cs.InputError, "unknown instrument"),
    (lambda: MARKET.margin(rules=5), cs.InputTypeError, "rules = 5"),
    (lambda: MARKET.liquidation_prices("last"), cs.InputTypeError, "rules = 'last'"),
    (lambda: MARKET.set_prices(index=5), cs.InputTypeError, "prices.index = 5: must map symbols to prices"),
    (lambda: MARKET.set_prices(last="BTC"), cs.InputTypeError, "prices.last = 'BTC': must map"),
    (lambda: MARKET.set_prices(index={"DOGE": 5}), cs.InputError, "prices.index = 'DOGE': unknown instrument"),
    (lambda: MARKET.set_prices(index={"BTC": NAN}), cs.InputError, "prices.index['BTC'] = nan: must be finite"),
    (lambda: MARKET.set_prices(index={"BTC": 0}), cs.InputError, "prices.index['BTC'] = 0: must be > 0"),
    (lambda: MARKET.set_prices(index={"BTC": 1e-9}), cs.RangeError, "must be at least 1/1024 tick and less than 2**53"),
    (lambda: MARKET.set_prices(index={"BTC": 1e300}), cs.RangeError, "prices.index['BTC'] = 1e+300"),
    (lambda: MARKET.set_prices(index={"BTC": None}), cs.InputTypeError, "prices.index['BTC'] = null"),
    (lambda: MARKET.set_prices(last={"BTC": 100.05}), cs.InputError, "must be a whole number of ticks of 0.1"),
    (lambda: MARKET.set_prices(last={"BTC": -100}), cs.InputError, "prices.last['BTC'] = -100: must be > 0"),
    (lambda: MARKET.set_prices(last={"BTC": 1e15}), cs.RangeError, "prices.last['BTC'] = 1000000000000000.0: must be at"),
    (lambda: MARKET.set_prices(index={"ETH": 11}, last={"BTC": "x"}), cs.InputError, "prices.last['BTC'] = 'x'"),
    (lambda: MARKET.run("crash"), cs.InputTypeError, "shock = 'crash': must be a Shock"),
    (lambda: MARKET.run(-0.05), cs.InputTypeError, "shock = -0.05: must be a Shock"),
    (lambda: MARKET.run(engine="fast"), cs.InputError, "run: engine = 'fast': must be one of core, reference"),
    (lambda: MARKET.run(engine=None), cs.InputTypeError, "run: engine = null"),
    (lambda: MARKET.run(engine=np.array(["core"])), cs.InputTypeError, "run: engine = array"),
    (lambda: MARKET.run(record="some"), cs.InputError, "run: record = 'some': must be one of summary, liquidations, all"),
    (lambda: MARKET.run(audit=True), cs.InputTypeError, "run: audit = True: must be one of delta, full"),
    (lambda: MARKET.run(max_waves=1.5), cs.InputTypeError, "run: max_waves = 1.5: must be an int or None"),
    (lambda: MARKET.run(max_waves=True), cs.InputTypeError, "run: max_waves = True"),
    (lambda: MARKET.run(max_waves=-1), cs.InputError, "run: max_waves = -1: must be >= 0"),
    (lambda: MARKET.run(rules={"mark": "mid"}), cs.InputTypeError, "must be a VenueRules or a Venue"),
    (lambda: MARKET.start(5), cs.InputTypeError, "shock = 5: must be a Shock"),
    (lambda: MARKET.start(engine="fast"), cs.InputError, "run: engine = 'fast'"),
    (lambda: MARKET.run(cs.Shock(price={"DOGE": -0.1}), engine="reference"), cs.InputError, "shock.price = 'DOGE': unknown"),
    (lambda: MARKET.run(cs.Shock(price={5: -0.1}), engine="reference"), cs.InputTypeError, "shock.price = 5: must be a symbol"),
    (lambda: MARKET.run(cs.Shock(orders={"BTC": 1, BTC: 2}), engine="reference"), cs.InputError, "must not name an instrument twice"),
    (lambda: MARKET.set_prices(last={"BTC": 1, BTC: 2}), cs.InputError, "prices.last = Instrument('BTC'"),
    (lambda: MARKET.set_prices(index={"BTC": 1, BTC: 2}), cs.InputError, "must not name an instrument twice"),
    (lambda: MARKET.run(cs.Shock(cash={"nobody": 5}), engine="reference"), cs.InputError, "account = 'nobody': not loaded"),
    (lambda: MARKET.run(cs.Shock(orders={"BTC": 0.0005}), engine="reference"), cs.InputError, "size = 0.0005: must be a whole"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("call", "error", "match"), MARKETS)
def test_calls_that_are_wrong(call, error, match):
    refused(error, call, match)


SHOCKS = [
    (lambda: cs.Shock(price=NAN), cs.InputError, "shock.price = nan: must be finite"),
    (lambda: cs.Shock(price=INF), cs.InputError, "shock.price = inf: must be finite"),
    (lambda: cs.Shock(price=-1), cs.InputError, "shock.price = -1: must be > -1 and <= 1000000"),
    (lambda: cs.Shock(price=-1.5), cs.InputError, "must be > -1"),
    (lambda: cs.Shock(price=1e300), cs.InputError, "must be > -1 and <= 1000000"),
    (lambda: cs.Shock(price={"BTC": "x"}), cs.InputError, "shock.price['BTC'] = 'x': must be a number"),
    (lambda: cs.Shock(price="-5%"), cs.InputTypeError, "must be a number or a mapping"),
    (lambda: cs.Shock(price=True), cs.InputTypeError, "shock.price = True: must be a number"),
    (lambda: cs.Shock(price=[-0.1]), cs.InputTypeError, "shock.price = [-0.1]: must be a number"),
    (lambda: cs.Shock(price={"BTC": None}), cs.InputTypeError, "shock.price['BTC'] = null"),
    (lambda: cs.Shock(index={"BTC": -1}), cs.InputError, "shock.index['BTC'] = -1: must be > -1"),
    (lambda: cs.Shock(depth=-0.1), cs.InputError, "shock.depth = -0.1: must be >= 0 and <= 1000000"),
    (lambda: cs.Shock(depth={"BTC": NAN}), cs.InputError, "shock.depth['BTC'] = nan: must be finite"),
    (lambda: cs.Shock(depth={"BTC": [("bid", 0, 0.1)]}), cs.InputError, "shock.depth['BTC'][0] = ('bid', 0, 0.1): must be (side"),
    (lambda: cs.Shock(depth={"BTC": [("left", 0, 0.1, 1)]}), cs.InputError, "[0].side = 'left': must be one of both, bid, ask"),
    (lambda: cs.Shock(depth={"BTC": [([], 0, 0.1, 1)]}), cs.InputError, "[0].side = []: must be one of"),
    (lambda: cs.Shock(depth={"BTC": [("bid", 0.1, 0.1, 1)]}), cs.InputError, "[0].high = 0.1: must exceed low = 0.1"),
    (lambda: cs.Shock(depth={"BTC": [("bid", -1, 0.1, 1)]}), cs.InputError, "[0].low = -1: must be >= 0"),
    (lambda: cs.Shock(cash=5), cs.InputTypeError, "shock.cash = 5: must be a mapping"),
    (lambda: cs.Shock(cash={"alice": NAN}), cs.InputError, "shock.cash['alice'] = nan: must be finite"),
    (lambda: cs.Shock(cash={"alice": None}), cs.InputTypeError, "shock.cash['alice'] = null"),
    (lambda: cs.Shock(orders=-5), cs.InputTypeError, "shock.orders = -5: must be a mapping"),
    (lambda: cs.Shock(orders={"BTC": INF}), cs.InputError, "shock.orders['BTC'] = inf: must be finite"),
    (lambda: cs.Shock(orders={"BTC": "1e9999999"}), cs.InputError, "must be a number"),
    (lambda: cs.VenueRules(mark="fair"), cs.InputError, "rules.mark = 'fair': must be one of last, mid"),
    (lambda: cs.VenueRules(mark=None), cs.InputTypeError, "rules.mark = null"),
    (lambda: cs.VenueRules(mark=0), cs.InputTypeError, "rules.mark = 0"),
    (lambda: cs.VenueRules(residual="adl"), cs.InputTypeError, "rules.residual = 'adl': must be a sequence"),
    (lambda: cs.VenueRules(residual=("adl", "adl")), cs.InputError, "a stage must not stand twice"),
    (lambda: cs.VenueRules(residual=("adl", 5)), cs.InputError, "unknown stage 5"),
    (lambda: cs.VenueRules(shortfall={"fund"}), cs.InputTypeError, "must be a sequence"),
    (lambda: cs.VenueRules(cancel_orders=1), cs.InputTypeError, "rules.cancel_orders = 1: must be True or False"),
    (lambda: cs.VenueRules(capacity=0), cs.InputError, "rules.capacity = 0: must be >= 1"),
    (lambda: cs.VenueRules(capacity=True), cs.InputTypeError, "rules.capacity = True"),
    (lambda: cs.VenueRules(capacity=1.5), cs.InputTypeError, "rules.capacity = 1.5: must be an int or None"),
    (lambda: cs.VenueRules(capacity=2**40), cs.RangeError, "must be <= 2147483647 or None"),
    (lambda: cs.VenueRules().replace(clearing="batch"), cs.InputError, "rules.clearing = 'batch'"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("call", "error", "match"), SHOCKS)
def test_shocks_and_rules_that_are_wrong(call, error, match):
    refused(error, call, match)


def test_rules_take_numpy_scalars():
    rules = cs.VenueRules(capacity=np.int64(3), cancel_orders=np.True_)
    assert rules == cs.VenueRules(capacity=3, cancel_orders=True)
    assert repr(rules) == repr(cs.VenueRules(capacity=3, cancel_orders=True))
    with pytest.raises(AttributeError):
        MARKET.rules = rules


# 77: odd ids

ODD_IDS = ["caf\u00e9", "cafe\u0301", "\u202eabc\u202c", " alice", "Alice", "5", "nan", "None", "\n", "\U0001f40b", "x" * 2**20]


def test_odd_ids_are_kept_apart(engine):
    market = make_market()
    market.load_accounts({"account": ODD_IDS, "balance": range_of(len(ODD_IDS))})
    assert [market.owner(name) for name in ODD_IDS] == sorted(market.owner(name) for name in ODD_IDS)
    table = market.margin()
    assert table["account"].tolist() == ["alice", "bob", *ODD_IDS]
    assert table["account"].dtype == object  # one long id does not make every row that wide
    result = market.run(SHOCK, engine=engine)
    assert result.accounts["account"].tolist() == ["alice", "bob", *ODD_IDS]
    assert len(result.fills["taker"])
    pa = pytest.importorskip("pyarrow")
    assert pa.table(result.accounts)["account"].to_pylist() == ["alice", "bob", *ODD_IDS]


def range_of(n):
    return [float(k) for k in range(n)]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("a\0b", "accounts['account'][1] = 'a\\x00b': must not contain NUL (1 bad row)"),
        ("\ud800", "accounts['account'][1] = '\\ud800': must be text that UTF-8 can encode (it has a lone surrogate) (1 bad row)"),
        ("y" * (2**20 + 1), "must be at most 1048576 bytes long (1 bad row)"),
        ("\u00e9" * (2**19 + 1), "must be at most 1048576 bytes long (1 bad row)"),
    ],
)
def test_odd_ids_that_are_wrong(name, rule):
    refused(cs.InputError, lambda: MARKET.load_accounts({"account": ["c", name], "balance": [1, 2]}), rule)


# 78-79, 84: changes and threads


def test_input_changed_after_loading(engine):
    """Class 78: the market keeps nothing of the caller's arrays."""
    tables = {name: {k: np.array(v) for k, v in good(name).items()} for name in ("bids", "accounts", "positions")}
    tables["positions"]["margin"] = np.array([NAN, NAN, 50.0])
    tables["orders"] = {k: np.array(v) for k, v in good("orders").items() if k != "account"}
    market = make_market()
    for name, table in tables.items():
        load(market, name, table)
    before, result = market.digest, market.run(SHOCK, engine=engine).digest
    for table in tables.values():
        for column in table.values():
            column[:] = column[::-1].copy()
            column[:1] = column[1:2]
    market._changed()
    assert market.digest == before
    assert market.run(SHOCK, engine=engine).digest == result


def test_loads_after_a_run_do_not_reach_its_result(engine):
    market = make_market()
    result, sim = market.run(SHOCK, engine=engine), market.start(engine=engine)
    accounts, digest = len(result.accounts), result.digest
    early = market.run(SHOCK, engine=engine)
    load(market, "accounts", good("accounts"))
    load(market, "positions", good("positions"))
    assert len(result.accounts) == accounts == len(early.accounts)
    assert early.digest == digest
    assert len(sim.accounts) == accounts
    with pytest.raises(cs.InputError, match="loaded after the simulation started"):
        sim.apply(cs.Shock(cash={"carol0": 5}))
    sim.settle()
    assert sim.result().audit["conserved"]


def test_two_threads_on_one_market(engine):
    """Class 79: the same result in each, or a refusal."""
    market = make_market()
    expected = market.run(SHOCK, engine=engine).digest
    barrier, seen = threading.Barrier(4), []

    def work():
        barrier.wait()
        for _ in range(5):
            try:
                seen.append(market.run(SHOCK, engine=engine).digest)
            except cs.EngineStateError:
                seen.append(expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [expected] * 20


def test_a_simulation_lets_in_one_call_at_a_time(engine):
    """Class 79, and a callback that re-enters."""
    sim = make_market().start(SHOCK, engine=engine)
    before = sim.result().digest
    calls = [
        sim.step, sim.settle, sim.result, sim.copy, lambda: sim.apply(cs.Shock(price=-0.01)), lambda: sim.advance_ns(1),
        lambda: sim.submit("BTC", {"order_id": [1], "side": [1], "price": [1], "quantity": [1]}),
        lambda: sim.set_levels("BTC", 1, [1], [1]), lambda: sim.accounts, lambda: sim.positions, lambda: sim.book("BTC"),
        lambda: sim.mark("BTC"), lambda: sim.position(sim_owner),
    ]  # fmt: skip
    sim_owner = MARKET.owner("alice")
    with sim._busy:
        for call in calls:
            with pytest.raises(cs.EngineStateError, match="busy"):
                call()
    assert sim.result().digest == before
    twin = sim.copy()
    with sim._busy:
        twin.step()  # a copy has its own turn


def test_a_callback_that_raises(engine):
    sim = make_market().start(SHOCK, engine=engine)

    def stop(steps):
        raise KeyError(steps)

    with pytest.raises(KeyError):
        sim.settle(stop)
    sim.settle()
    assert sim.result().audit["conserved"]


def test_a_cap_on_waves(engine):
    market = make_market()
    assert market.run(SHOCK, engine=engine, max_waves=0).status == "limit"
    whole = market.run(SHOCK, engine=engine)
    for cap in (2**31, 2**70, np.int64(1000)):
        assert market.run(SHOCK, engine=engine, max_waves=cap).digest == whole.digest


# Simulation

ORDER = {"order_id": [1], "side": [1], "price": [990], "quantity": [5]}
SIMULATION = [
    (lambda s: s.submit("DOGE", ORDER), cs.InputError, "unknown instrument"),
    (lambda s: s.submit("BTC", None), cs.InputTypeError, "orders: must be"),
    (lambda s: s.submit("BTC", ORDER | {"price": [99.5]}), cs.InputTypeError, "orders['price'][0] = 99.5"),
    (lambda s: s.submit("BTC", ORDER | {"side": ["B"]}), cs.InputTypeError, "orders['side'][0] = 'B'"),
    (lambda s: s.submit("BTC", ORDER | {"quantity": [2**63]}), cs.RangeError, "orders['quantity'][0] = 9223372036854775808"),
    (lambda s: s.submit("BTC", ORDER | {"type": [256]}), cs.RangeError, "orders['type'][0] = 256"),
    (lambda s: s.submit("BTC", ORDER | {"size": [1]}), cs.InputError, "orders['size']: unknown column"),
    (lambda s: s.set_levels("DOGE", 1, [1], [1]), cs.InputError, "unknown instrument"),
    (lambda s: s.set_levels("BTC", 0, [1], [1]), cs.InputError, "side = 0"),
    (lambda s: s.set_levels("BTC", True, [1], [1]), cs.InputTypeError, "side = True"),
    (lambda s: s.set_levels("BTC", 1.0, [1], [1]), cs.InputTypeError, "side = 1.0"),
    (lambda s: s.set_levels("BTC", "buy", [1], [1]), cs.InputTypeError, "side = 'buy'"),
    (lambda s: s.set_levels("BTC", 1, [1.5], [1]), cs.InputTypeError, "levels['prices'][0] = 1.5"),
    (lambda s: s.set_levels("BTC", 1, 1.5, 1), cs.InputTypeError, "levels['prices']: must be a 1-D array of integers"),
    (lambda s: s.set_levels("BTC", 1, [1, True], [1, 1]), cs.InputTypeError, "levels['prices'][1] = True"),
    (lambda s: s.set_levels("BTC", 1, None, [1]), cs.InputTypeError, "levels['prices'] = None"),
    (lambda s: s.set_levels("BTC", 1, [1], np.array([NAN])), cs.InputTypeError, "levels['quantities']: must be integers"),
    (lambda s: s.set_levels("BTC", 1, np.array([2**63], np.uint64), [1]), cs.RangeError, "levels['prices'][0] = 92233720"),
    (lambda s: s.set_levels("BTC", 1, [0], [1]), cs.InputError, "levels['prices'][0] = 0: must be in [1, "),
    (lambda s: s.set_levels("BTC", 1, [2**53], [1]), cs.InputError, "levels['prices'][0] = 9007199254740992: must be in"),
    (lambda s: s.set_levels("BTC", 1, [5], [-1]), cs.InputError, "quantities[0] = -1"),
    (lambda s: s.set_levels("BTC", 1, [5], [2**61]), cs.InputError, "levels['quantities'][0] = 2305843009213693952"),
    (lambda s: s.set_levels("BTC", 1, [5, 6], [1]), cs.InputError, "has 1 rows, prices has 2"),
    (lambda s: s.set_levels("BTC", 1, [5, 5], [1, 2]), cs.InputError, "prices[1] = 5: each price once (1 bad rows)"),
    (lambda s: s.set_levels("BTC", 1, [[5]], [[1]]), cs.InputError, "must be 1-D"),
    (lambda s: s.set_levels("BTC", 1, np.ma.MaskedArray([5], [True]), [1]), cs.InputTypeError, "masked"),
    (lambda s: s.set_levels("BTC", 1, [1001], [1]), cs.InputError, "must not cross the external levels of the other side"),
    (lambda s: s.set_levels("BTC", 1, [5, 1001], [1, 1]), cs.InputError, "must not cross the external levels"),
    (lambda s: s.advance_ns(-1), cs.RangeError, "dt = -1"),
    (lambda s: s.advance_ns(1.5), cs.InputTypeError, "dt = 1.5"),
    (lambda s: s.advance_ns(2**62 + 1), cs.RangeError, "dt = "),
    (lambda s: s.apply("crash"), cs.InputTypeError, "shock = 'crash'"),
    (lambda s: s.apply(cs.Shock(price={"DOGE": 1})), cs.InputError, "unknown instrument"),
    (lambda s: s.mark("DOGE"), cs.InputError, "unknown instrument"),
    (lambda s: s.book(None), cs.InputTypeError, "must be a symbol"),
    (lambda s: s.position("alice"), cs.InputTypeError, "owner = 'alice'"),
    (lambda s: s.position(True), cs.InputTypeError, "owner = True"),
    (lambda s: s.position(0), cs.InputError, "owner = 0: must be an owner number"),
    (lambda s: s.position(10**6), cs.InputError, "owner = 1000000: must be an owner number"),
]  # fmt: skip


@pytest.fixture
def sim(engine):
    return MARKET.start(engine=engine)


@pytest.mark.fast
@pytest.mark.parametrize(("call", "error", "match"), SIMULATION)
def test_simulation_calls_that_are_wrong(sim, call, error, match):
    before = sim.result().digest
    with pytest.raises(error) as caught:
        call(sim)
    assert type(caught.value) is error
    assert match in str(caught.value)
    assert sim.result().digest == before
    unchanged()


REJECTED = [
    ({"side": [2]}, "BAD_SIDE"), ({"side": [0]}, "BAD_SIDE"), ({"type": [9]}, "BAD_FIELD"), ({"tif": [9]}, "BAD_FIELD"),
    ({"action": [9]}, "BAD_FIELD"), ({"quantity": [0]}, "BAD_QUANTITY"), ({"quantity": [-5]}, "BAD_QUANTITY"),
    ({"quantity": [INT64_MIN]}, "BAD_QUANTITY"), ({"quantity": [2**62]}, "BAD_QUANTITY"), ({"price": [0]}, "BAD_PRICE"),
    ({"price": [-5]}, "BAD_PRICE"), ({"price": [2**53]}, "BAD_PRICE"), ({"owner": [1]}, "BAD_OWNER"),
    ({"owner": [10**6]}, "BAD_OWNER"), ({"owner": [-1]}, "BAD_OWNER"), ({"action": [1]}, "UNKNOWN_ID"),
    ({"action": [2]}, "UNKNOWN_ID"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("changes", "reason"), REJECTED)
def test_messages_that_are_rejected(sim, changes, reason):
    before = sim.result().digest
    report = sim.submit("BTC", {name: np.array(values) for name, values in (ORDER | changes).items()})
    assert report["kind"].tolist() == [int(cs.ReportKind.REJECTED)]
    assert cs.Reason(int(report["reason"][0])).name == reason
    assert sim.result().digest == before


def test_ids_of_messages(sim):
    """Classes 32-33 and 38-39: a live id twice, a dead id again, cancelled twice."""
    owner = MARKET.owner("bob")
    order = {**ORDER, "owner": [owner]}
    kinds = [sim.submit("BTC", order)["kind"].tolist(), sim.submit("BTC", order)["kind"].tolist()]
    cancel = {**order, "action": [int(cs.Action.CANCEL)]}
    kinds += [sim.submit("BTC", cancel)["kind"].tolist(), sim.submit("BTC", cancel)["kind"].tolist()]
    kinds += [sim.submit("BTC", order)["kind"].tolist()]
    names = [[cs.ReportKind(k).name for k in some] for some in kinds]
    assert names == [["ACK"], ["REJECTED"], ["CANCELLED"], ["REJECTED"], ["ACK"]]
    sim.settle()
    assert sim.result().audit["conserved"]
    assert len(sim.submit("BTC", np.zeros(0, cs.ORDER_DTYPE))) == 0


def test_time_has_an_end(sim):
    assert sim.advance_ns(2**62) == 2**62
    with pytest.raises(cs.RangeError):
        sim.advance_ns(1)
    assert sim.advance_ns(0) == 2**62


def test_nothing_is_kept_of_a_refused_table():
    gc.collect()
    array = np.array([1.0, NAN, 3.0])
    with pytest.raises(cs.InputError):
        MARKET.load_accounts({"account": ["c", "d", "e"], "balance": array})
    array[1] = 2.0
    unchanged()
