"""Simulations: both engines under the same random actions, and what each method promises.

CASCADE_SEEDS / 10 random simulations (default 500), from CASCADE_FIRST_SEED on; for more:
`python tools/fuzz.py --simulations`.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import random_markets
from twins import ENGINES, difference, records_difference

import cascade as cs
from cascade.records import ORDER_DTYPE, Action, EventKind, OrderType, Reason, ReportKind, TimeInForce

SEEDS, FIRST = (
    int(os.environ.get("CASCADE_SEEDS", "5000")) // 10,
    int(os.environ.get("CASCADE_FIRST_SEED", "0")),
)
CHUNK = 50
BUY, SELL = 1, -1


class Twins:
    """One simulation in both engines; whatever is done is done to both, and must come to the same."""

    def __init__(self, sims):
        self.sims = sims

    @classmethod
    def start(cls, market, shock, **run):
        return cls([market.start(shock, engine=engine, audit="full", **run) for engine in ENGINES])

    def do(self, method, *args):
        outcomes = []
        for sim in self.sims:
            try:
                outcomes.append(getattr(sim, method)(*args))
            except cs.CascadeError as error:
                outcomes.append((type(error), str(error)))
        mine, theirs = outcomes
        if isinstance(mine, np.ndarray):
            text = records_difference("reports", mine, theirs)
            assert not text, f"{method}{args}: {text}"
        else:
            assert mine == theirs, f"{method}{args}: {mine} and {theirs}"
        return mine

    def copy(self):
        return Twins([sim.copy() for sim in self.sims])

    def compare(self):
        """What can be looked at is the same."""
        mine, theirs = self.sims
        looks = [("time_ns", mine.time_ns, theirs.time_ns)]
        looks += [(name, getattr(mine, name), getattr(theirs, name)) for name in ("accounts", "positions")]
        looks.append(("bands", mine.bands(), theirs.bands()))
        for instrument in mine._state.instruments:
            symbol = instrument.symbol
            books = mine.book(symbol), theirs.book(symbol)
            looks.append((f"mark of {symbol}", mine.mark(symbol), theirs.mark(symbol)))
            looks.append((f"depth of {symbol}", *(book.depth() for book in books)))
            looks.append((f"orders of {symbol}", *(book.orders() for book in books)))
            looks.append((f"book of {symbol}", *(book.digest for book in books)))
        for what, one, other in looks:
            assert one == other, f"{what}: {one} and {other}"

    def compare_results(self):
        text = difference(*(sim.result() for sim in self.sims))
        assert not text, text


def some_price(rng, mid):
    return rng.choice(
        (
            mid,
            mid - 1,
            mid + 1,
            mid + rng.randint(-5, 5),
            mid + rng.randint(-5, 5),
            max(1, mid + rng.randint(-50, 50)),
        )
        if rng.random() < 0.93
        else (0, -5, 1, 2**53, 2**62, 2 * mid)
    )


def some_orders(rng, market, mid, ids):
    """A table of messages, some of them bad."""
    users = [market.owner(a) for a in ids]
    orders = np.zeros(rng.choice((1, 1, 1, 2, 4)), ORDER_DTYPE)
    for order in orders:
        order["order_id"] = rng.randint(1, 25)
        order["action"] = rng.choice((0, 0, 0, 0, 1, 2)) if rng.random() < 0.98 else 9
        order["side"] = rng.choice((1, -1)) if rng.random() < 0.98 else rng.choice((0, 2))
        order["price"] = some_price(rng, mid)
        order["quantity"] = rng.choice((1, 2, 5, rng.randint(1, 40)))
        order["type"] = rng.choice((0, 0, 0, 1)) if rng.random() < 0.97 else rng.choice((2, 3, 7))
        order["tif"] = rng.choice((0, 0, 0, 1, 2, 3)) if rng.random() < 0.98 else 8
        order["owner"] = rng.choice((0, *users, *users))
        if rng.random() < 0.04:
            order["quantity"] = rng.choice((0, -3, 2**61, 2**62, 2**62 + 1, -(2**63)))
        if rng.random() < 0.04:
            order["owner"] = rng.choice(
                (-1, 1, 5, 6, 10**6, len(market._mode) - 1, len(market._mode), 2**31 - 1)
            )
        if rng.random() < 0.02:
            order[rng.choice(("stp", "flags", "display", "stop_price", "ts_ns"))] = 1
    return orders


def act(rng, twins, market, ids, mids) -> None:
    """One random action on both engines."""
    i = rng.randrange(len(mids))
    symbol, mid = f"I{i}", mids[i]
    what = rng.random()
    if what < 0.5:
        twins.do("submit", symbol, some_orders(rng, market, mid, ids))
    elif what < 0.62:
        side, n = rng.choice((1, -1)), rng.randint(1, 4)
        prices = [max(1, some_price(rng, mid - side * rng.choice((0, 2, 2, 4)))) for _ in range(n)]
        prices = [p if p < 2**53 else mid for p in prices]
        twins.do(
            "set_levels", symbol, side, prices, [rng.choice((0, 1, 5, rng.randint(1, 60))) for _ in range(n)]
        )
    elif what < 0.72:
        part = {
            "price": {symbol: round(rng.uniform(-0.1, 0.1), 3)},
            "orders": {symbol: rng.choice((-20, -4, 4, 20))},
            "depth": {symbol: rng.choice((0.5, 1.5, 0))},
            "index": {symbol: round(rng.uniform(-0.1, 0.1), 3)},
            "funding": {symbol: round(rng.uniform(-1, 1) * rng.choice((0.5, 0.01)), 6)},
            "cash": {rng.choice(ids): rng.choice((-5.0, 3.0, 50.0))},
        }
        names = rng.sample(sorted(part), rng.choice((1, 1, 2)))
        shock = cs.Shock(**{name: part[name] for name in names})
        twins.do("apply", shock)
    elif what < 0.79:
        twins.do("advance_ns", rng.choice((0, 1, 2, 5, 10**9, 10**10, 4 * 10**11, 5 * 3600 * 10**9)))
    elif what < 0.92:
        twins.do("step")
    else:
        twins.do("settle")


def drive(seed: int, actions: int = 25) -> None:
    """A random simulation in both engines."""
    try:
        rng = random.Random(-1 - seed)
        market, shock, run = random_markets.make(seed)
        s = random_markets.spec(seed)
        ids = [a for a, _ in s["accounts"]]
        mids = [max(4, round(prices[0])) for prices in s["prices"]]
        simulations = [Twins.start(market, shock, **run)]
        for _ in range(actions):
            twins = rng.choice(simulations)
            act(rng, twins, market, ids, mids)
            if rng.random() < 0.2:
                twins.compare()
            if rng.random() < 0.05:
                twins.compare_results()
            if rng.random() < 0.06 and len(simulations) < 4:
                simulations.append(twins.copy())
        for twins in simulations:
            twins.compare()
            twins.do("settle")
            twins.compare()
            twins.compare_results()
            for owner in [*(market.owner(a) for a in ids), 0, 10**6]:
                twins.do("position", owner)
    except AssertionError as error:
        raise AssertionError(f"simulation {seed}: {error}") from error


@pytest.mark.fast
def test_engines_agree_on_a_few_simulations():
    for seed in range(12):
        drive(seed)


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_engines_agree_on_random_simulations(first):
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        drive(seed)


# What each method promises


def small(**options):
    """Two users, one of them long; bids 99 to 97 and asks 101 to 103 of five lots each."""
    market = cs.Market(cs.Instrument("X", tick_size=0.5, lot_size=2, tiers=0.05), fund=10_000, **options)
    market.load_book(
        "X",
        {"price": [99, 98, 97], "quantity": [10, 10, 10]},
        {"price": [101, 102, 103], "quantity": [10, 10, 10]},
        complete=True,
    )
    market.load_accounts({"account": ["a", "b"], "balance": [500.0, 20.0]})
    market.load_positions({"account": ["b"], "instrument": ["X"], "size": [8.0], "entry_price": [100.0]})
    market.load_orders(
        "X", {"order_id": [5], "account": ["a"], "side": [1], "price": [98.5], "quantity": [4]}
    )
    return market


def message(**fields):
    return {name: [value] for name, value in {"order_id": 77, "quantity": 1, **fields}.items()}


@pytest.mark.fast
def test_submitting_reports_and_trades(engine):
    market = small()
    sim = market.start(engine=engine, audit="full")
    a = market.owner("a")
    reports = sim.submit("X", message(owner=a, side=SELL, price=197, quantity=7))  # ticks of 0.5, lots of 2
    assert [ReportKind(k) for k in reports["kind"]] == [ReportKind.ACK, ReportKind.TRADE, ReportKind.TRADE]
    assert reports["price"].tolist() == [197, 198, 197]
    assert reports["quantity"].tolist() == [7, 5, 2]
    assert reports["leaves"].tolist() == [0, 2, 0]
    assert reports["maker_owner"].tolist() == [0, 0, a]
    assert sim.mark("X") == 98.5
    assert sim.position(a) == {"X": -10.0}  # sold 14, of which 4 to itself
    assert sim.position(market.owner("b")) == {"X": 8.0}
    result = sim.result()
    assert result.audit["conserved"]
    assert result.summary["shock_notional"] == 10 * 99 + 4 * 98.5


@pytest.mark.fast
def test_a_modified_order_keeps_or_loses_its_place(engine):
    market = small()
    sim = market.start(engine=engine)
    b = market.owner("b")
    sim.submit("X", message(owner=b, side=BUY, price=197, quantity=3))
    sim.submit("X", message(order_id=5, action=Action.MODIFY, price=197, quantity=1))
    assert sim.book("X").queue_position(5) == 0
    reports = sim.submit("X", message(order_id=5, action=Action.MODIFY, price=197, quantity=2))
    assert [ReportKind(k) for k in reports["kind"]] == [ReportKind.MODIFIED]
    assert sim.book("X").queue_position(77) == 0
    reports = sim.submit("X", message(order_id=5, action=Action.CANCEL))
    assert reports[["kind", "quantity", "reason"]].tolist() == [(ReportKind.CANCELLED, 2, Reason.USER)]
    kinds = sim.result().events["kind"].tolist()
    assert kinds.count(EventKind.CANCEL) == 3


@pytest.mark.fast
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"owner": 1, "price": 190}, Reason.BAD_OWNER),
        ({"owner": 10**6, "price": 190}, Reason.BAD_OWNER),
        ({"owner": -1, "price": 190}, Reason.BAD_OWNER),
        ({"price": 0}, Reason.BAD_PRICE),
        ({"price": 2**53}, Reason.BAD_PRICE),
        ({"price": 190, "quantity": 0}, Reason.BAD_QUANTITY),
        ({"price": 190, "quantity": 2**61}, Reason.BAD_QUANTITY),
        ({"price": 190, "side": 0}, Reason.BAD_SIDE),
        ({"price": 190, "order_id": 5}, Reason.DUPLICATE_ID),
        ({"price": 202, "tif": TimeInForce.POST_ONLY}, Reason.WOULD_TAKE),
        ({"price": 203, "quantity": 6, "tif": TimeInForce.FOK}, Reason.FOK_UNFILLABLE),
        ({"price": 190, "type": OrderType.STOP}, Reason.UNSUPPORTED),
        ({"action": Action.CANCEL, "order_id": 6}, Reason.UNKNOWN_ID),
        ({"action": Action.MODIFY, "order_id": 6, "price": 190}, Reason.UNKNOWN_ID),
    ],
)
def test_a_refused_message_changes_nothing(engine, fields, reason):
    market = small()
    sim = market.start(engine=engine)
    before = sim.result().digest, sim.book("X").digest
    reports = sim.submit("X", message(**{"side": BUY, **fields}))
    assert reports[["kind", "reason"]].tolist() == [(ReportKind.REJECTED, reason)]
    assert (sim.result().digest, sim.book("X").digest) == before


@pytest.mark.fast
def test_orders_stop_where_the_knowledge_of_the_book_ends(engine):
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    market.load_book("X", {"price": [99], "quantity": [5]}, {"price": [101], "quantity": [5]})
    sim = market.start(engine=engine)
    reports = sim.submit("X", message(side=BUY, price=105, quantity=8))
    assert reports[["kind", "quantity", "reason"]].tolist()[-1] == (
        ReportKind.CANCELLED,
        3,
        Reason.BEYOND_DATA,
    )
    fok = message(side=SELL, price=90, quantity=6, tif=TimeInForce.FOK)
    assert sim.submit("X", fok)["reason"].tolist() == [Reason.FOK_UNFILLABLE]
    assert sim.result().known_until == {"X": 101}
    sim.set_levels("X", SELL, [104, 103], [1, 1])  # now it is known as far as 104
    assert sim.submit("X", message(side=BUY, price=104, quantity=3))["quantity"].tolist() == [3, 1, 1]


@pytest.mark.fast
def test_levels_are_set_absolutely_and_trade_with_users(engine):
    market = small()
    sim = market.start(engine=engine, audit="full")
    sim.set_levels("X", BUY, [198, 196, 195], [1, 0, 9])
    depth = sim.book("X").depth()
    bids = depth["side"] == BUY
    assert depth["price"][bids].tolist() == [198, 197, 195, 194]
    assert depth["quantity"][bids].tolist() == [1, 2, 9, 5]
    before = sim.result().digest
    with pytest.raises(cs.InputError, match=r"levels\['prices'\]\[1\] = 198: must not cross"):
        sim.set_levels("X", SELL, [250, 198], [1, 1])
    assert sim.result().digest == before
    sim.set_levels("X", BUY, [198], [0])
    sim.set_levels("X", SELL, [197], [3])
    assert sim.position(market.owner("a")) == {"X": 4.0}
    assert sim.book("X").best_ask == 197
    assert sim.mark("X") == 98.5
    for bad in ((0, [197], [1]), (BUY, [0], [1]), (BUY, [197], [-1]), (BUY, [197, 196], [1])):
        with pytest.raises(cs.InputError):
            sim.set_levels("X", *bad)
    with pytest.raises(cs.InputTypeError):
        sim.set_levels("X", BUY, [197.0], [1])


@pytest.mark.fast
def test_time_goes_forward_and_marks_events(engine):
    sim = small().start(engine=engine)
    assert sim.time_ns == 0
    assert sim.advance_ns(5) == 5
    sim.apply(cs.Shock(orders={"X": -2}))
    assert sim.advance_ns(0) == 5
    assert set(sim.result().events["time_ns"].tolist()) == {5}
    for bad in (-1, 2**63, 2**63 - 5):  # the last one would take the clock past 64 bits
        with pytest.raises(cs.RangeError):
            sim.advance_ns(bad)
    with pytest.raises(cs.InputTypeError):
        sim.advance_ns(1.5)
    assert sim.time_ns == 5


@pytest.mark.fast
def test_tables_are_read_only_and_do_not_move(engine):
    sim = small().start(engine=engine)
    accounts, positions, depth = sim.accounts, sim.positions, sim.book("X").depth()
    held = [table.copy() for table in (accounts, positions, depth)]
    for table in (accounts, positions, depth):
        with pytest.raises(ValueError, match="read-only"):
            table[table.columns[-1]][0] = 0
    sim.apply(cs.Shock(orders={"X": -24}))
    sim.settle()
    assert held == [accounts, positions, depth]
    assert sim.positions != positions
    book = sim.book("X")
    book.cancel_owner(sim._market.owner("a"))
    assert sim.book("X").digest != small().start(engine=engine).book("X").digest


@pytest.mark.fast
def test_a_copy_goes_its_own_way(engine):
    sim = small().start(cs.Shock(orders={"X": -4}), engine=engine)
    twin = sim.copy()
    before = sim.result().digest
    assert twin.result().digest == before
    twin.apply(cs.Shock(orders={"X": -20}))
    twin.advance_ns(3)
    twin.settle()
    assert sim.result().digest == before
    assert (sim.time_ns, twin.time_ns) == (0, 3)
    assert len(twin.result().liquidations) == 1
    sim.apply(cs.Shock(orders={"X": -20}))
    sim.advance_ns(3)
    sim.settle()
    assert sim.result().digest == twin.result().digest


@pytest.mark.fast
def test_looking_does_not_disturb(engine):
    def go(look):
        sim = small().start(cs.Shock(orders={"X": -22}), engine=engine)
        for _ in range(6):
            if look:
                assert sim.result().status in ("settled", "stranded")
                assert all(
                    x is not None
                    for x in (repr(sim), sim.accounts, sim.positions, sim.book("X"), sim.mark("X"))
                )
            if not sim.step():
                break
        return sim.result().digest

    assert go(True) == go(False)


@pytest.mark.fast
def test_a_simulation_leaves_the_market_alone(engine):
    market = small()
    expected, digest = small().run(cs.Shock(orders={"X": -22}), engine=engine).digest, market.digest
    sim = market.start(cs.Shock(orders={"X": -22}), engine=engine)
    sim.settle()
    assert market.digest == digest
    assert market.run(cs.Shock(orders={"X": -22}), engine=engine).digest == expected


@pytest.mark.fast
def test_bad_arguments_are_refused(engine):
    sim = small().start(engine=engine)
    with pytest.raises(cs.InputError, match="unknown instrument"):
        sim.submit("Y", message(side=BUY, price=1))
    with pytest.raises(cs.InputError, match="unknown instrument"):
        sim.apply(cs.Shock(orders={"Y": 1}))
    with pytest.raises(cs.InputTypeError, match="must be a Shock"):
        sim.apply({"X": 1})
    for bad in ("a", 1.0, True):
        with pytest.raises(cs.InputTypeError, match="owner = "):
            sim.position(bad)
    with pytest.raises(cs.InputError, match="owner number"):
        sim.position(10**6)


@pytest.mark.fast
def test_what_could_overflow_a_value_is_refused_before_anything_changes(engine):
    sim = small().start(engine=engine)
    a = sim._market.owner("a")
    before = sim.result().digest
    with pytest.raises(cs.RangeError, match="61 bits"):  # 20 lots at 2**52 ticks of 0.5, in quanta of 1e-6
        sim.submit("X", message(owner=a, side=SELL, price=2**52, quantity=20))
    with pytest.raises(cs.RangeError, match="61 bits"):
        sim.submit("X", message(owner=a, side=SELL, price=210, quantity=2**60))
    with pytest.raises(cs.RangeError, match="61 bits"):
        sim.submit("X", message(order_id=5, action=Action.MODIFY, price=197, quantity=2**60))
    with pytest.raises(cs.RangeError, match="61 bits"):
        sim.set_levels("X", SELL, [2**52], [20])
    assert sim.result().digest == before
    # A market order gets what there is.
    sim.submit("X", message(owner=a, side=BUY, type=OrderType.MARKET, quantity=2**60))
    for _ in range(40):  # each shock alone is small enough
        try:
            sim.apply(cs.Shock(price=9))
        except cs.RangeError:
            break
        sim.settle()
    else:
        raise AssertionError("prices grew without a bound")
    assert sim.result().audit["conserved"]
