"""Relations between two runs: change the input in a way whose outcome is known, and compare.

Markets are drawn here, plainly, so that each relation can leave out what would break it; those that hold in
any market (nothing happens without a cause, names, flat accounts, idle instruments, larger sales, split
orders) are tried on the random markets of test_reference_invariants.py.
"""

import numpy as np
import pytest

import cascade as cs
from cascade.records import EventKind, Why
from cascade.sweep import _run, _sweep

SEEDS = range(200)
PRICE = 1_000


def draw(seed, **changes):
    """A market as plain numbers: whole ticks, lots and money. `changes` are put in before anything is
    drawn from them."""
    rng = np.random.default_rng([seed, 77])
    n = int(rng.integers(4, 15))
    size = rng.integers(1, 25, n) * np.where(rng.random(n) < 0.75, 1, -1)
    entry = PRICE + rng.integers(-15, 16, n)
    # The permutation: no two accounts are equally healthy.
    margin = np.abs(size) * rng.integers(22, 90, n) + rng.permutation(n) + 1
    sides = {}
    for name, way in (("bids", -1), ("asks", 1)):
        price = PRICE + way * np.cumsum(rng.integers(1, 4, 60))
        sides[name] = (price, rng.integers(1, 12, 60))
    choice = {
        "clearing": ("wave", "continuous")[rng.integers(2)],
        "mark": ("last", "mid")[rng.integers(2)],
        "order_price": ("market", "bankruptcy")[rng.integers(2)],
        "surplus": ("account", "fund")[rng.integers(2)],
    }
    s = {
        "size": size, "entry": entry, "margin": margin, **sides, "rules": choice,
        "fund": int(rng.integers(0, 300)),
        "tick": 1, "lot": 1, "multiplier": 1, "tiers": 0.02, "fees": (0, 0, 0), "complete": True,
        "names": [f"a{k}" for k in range(n)], "sold": int(rng.integers(40, 250)),
        "prices": PRICE, "isolated": bool(rng.random() < 0.5),
    }  # fmt: skip
    return {**s, **changes, "rules": {**choice, **changes.get("rules", {})}}


def build(s):
    """The market of `draw`."""
    taker, maker, liquidation = s["fees"]
    instrument = cs.Instrument(
        "X", tick_size=s["tick"], lot_size=s["lot"], multiplier=s["multiplier"], tiers=s["tiers"],
        taker_fee=taker, maker_fee=maker, liquidation_fee=liquidation,
    )  # fmt: skip
    market = cs.Market(instrument, rules=cs.VenueRules(**s["rules"]), fund=s["fund"], cash_quantum="0.000001")
    tables = [dict(zip(("price", "quantity"), s[side], strict=True)) for side in ("bids", "asks")]
    market.load_book("X", *tables, complete=s["complete"])
    market.set_prices(last={"X": s["prices"]}, index={"X": s["prices"]})
    positions = {
        "account": s["names"], "instrument": ["X"] * len(s["names"]), "size": s["size"],
        "entry_price": s["entry"],
    }  # fmt: skip
    if s["isolated"]:
        positions["margin"] = s["margin"]
    else:
        market.load_accounts({"account": s["names"], "balance": s["margin"]})
    market.load_positions(positions)
    return market


def run(s, shock=None, **options):
    shock = cs.Shock(orders={"X": -s["sold"]}) if shock is None else shock
    return build(s).run(shock, audit="full", **options)


def money(result):
    """{account: balance at the end, all its margin accounts together}."""
    table, found = result.accounts, {}
    for name, balance in zip(table["account"].tolist(), table["balance"].tolist(), strict=True):
        found[name] = found.get(name, 0.0) + balance
    return found


def closed(result):
    """[(wave, account, size)] of the liquidations, in order."""
    table = result.liquidations
    columns = (table[name].tolist() for name in ("wave", "account", "quantity"))
    return list(zip(*columns, strict=True))


class Counted:
    """Seeds that said something: a relation that nothing tests is none."""

    def __init__(self, least):
        self.least, self.n = least, 0

    def __enter__(self):
        return self

    def add(self, said):
        self.n += bool(said)

    def __exit__(self, kind, *_):
        if kind is None:
            assert self.n >= self.least, f"{self.n} markets of {len(SEEDS)} said something"


def test_m2_the_order_of_accounts_does_not_matter():
    with Counted(100) as counted:
        for seed in SEEDS:
            s = draw(seed)
            order = np.random.default_rng(seed).permutation(len(s["names"]))
            other = {**s, "names": [s["names"][k] for k in order]}
            other |= {name: s[name][order] for name in ("size", "entry", "margin")}
            one, two = run(s), run(other)
            assert closed(one) == closed(two)
            assert money(one) == pytest.approx(money(two), abs=1e-5)
            counted.add(len(closed(one)) > 1)


def test_m4_money_times_k_gives_money_times_k():
    with Counted(100) as counted:
        for seed in SEEDS:
            s, k = draw(seed, fees=("0.0005", "-0.0001", "0.01")), 7
            one, two = run(s), run({**s, "multiplier": k, "margin": k * s["margin"], "fund": k * s["fund"]})
            assert closed(one) == closed(two)
            for name, balance in money(one).items():
                assert money(two)[name] == pytest.approx(k * balance, abs=1e-4)
            for name in ("fund_end", "deficit", "adl_notional", "liquidated_notional"):
                assert two.summary[name] == pytest.approx(k * one.summary[name], abs=1e-4)
            counted.add(len(closed(one)) > 1)


def test_m5_finer_lots_change_nothing():
    """The fund pays whole lots, so it is left out of the walk."""
    with Counted(100) as counted:
        for seed in SEEDS:
            s = draw(seed, rules={"residual": ("adl",)})
            one, two = run(s), run({**s, "lot": "0.125"})
            assert closed(one) == closed(two)
            assert money(one) == pytest.approx(money(two), abs=1e-5)
            assert one.summary["price"] == two.summary["price"]
            counted.add(len(closed(one)) > 1)


def test_m6_finer_ticks_change_nothing():
    """Bankruptcy prices round to a tick, so all orders are at market."""
    with Counted(100) as counted:
        for seed in SEEDS:
            s = draw(seed, rules={"order_price": "market"})
            one, two = run(s), run({**s, "tick": "0.25"})
            assert closed(one) == closed(two)
            prices = [x.liquidations["average_price"] for x in (one, two)]
            np.testing.assert_array_equal(*prices)  # NaN where nothing was filled
            assert money(one) == pytest.approx(money(two), abs=1e-5)
            assert one.summary["price"] == two.summary["price"]
            counted.add(len(closed(one)) > 1)


def test_m7_a_mirrored_market_makes_the_mirrored_fills():
    """Sides swapped, p -> 2,000 - p. Without maintenance and ranks, which look at notionals."""
    with Counted(80) as counted:
        for seed in SEEDS:
            s = draw(seed, tiers=None, rules={"adl_rank": "none", "queue": "fifo"}, fund=10_000)
            s["margin"] = np.maximum(1, s["margin"] // 4)
            other = {**s, "size": -s["size"], "entry": 2 * PRICE - s["entry"], "sold": -s["sold"]}
            other["bids"], other["asks"] = ((2 * PRICE - p, q) for p, q in (s["asks"], s["bids"]))
            one, two = run(s), run(other)
            mine, theirs = one.fills, two.fills
            assert mine["quantity"].tolist() == theirs["quantity"].tolist()
            assert mine["price"].tolist() == (2 * PRICE - theirs["price"]).tolist()
            assert mine["taker"].tolist() == theirs["taker"].tolist()
            assert money(one) == pytest.approx(money(two), abs=1e-5)
            counted.add(len(closed(one)) > 1)


def test_m8_an_account_split_in_halves_closes_as_much():
    """At market and without reduced parts; what the halves have left differs, as their fills do."""
    with Counted(100) as counted:
        for seed in SEEDS:
            s = draw(seed, rules={"order_price": "market", "clearing": "wave", "residual": ()}, isolated=True)
            s["size"], s["margin"] = 2 * s["size"], 2 * s["margin"]
            k = int(np.argmax(np.abs(s["size"])))
            other = dict(s, names=[*s["names"], "other half"])
            for name in ("size", "entry", "margin"):
                whole = s[name].copy()
                if name != "entry":
                    whole[k] //= 2
                other[name] = np.append(whole, whole[k])
            one, two = run(s), run(other)
            assert one.waves["quantity"].tolist() == two.waves["quantity"].tolist()
            assert one.summary["price"] == two.summary["price"]
            counted.add(any(name == s["names"][k] for _, name, _ in closed(one)))


def test_m12_more_collateral_never_liquidates_an_account():
    """The path is the same under an index mark."""
    with Counted(60) as counted:
        for seed in SEEDS:
            s = draw(seed, rules={"mark": "index"}, fund=10**6)
            shock = cs.Shock(index=-0.06)
            before = {name for _, name, _ in closed(run(s, shock))}
            for k, name in enumerate(s["names"]):
                more = s["margin"].copy()
                more[k] += 200
                after = {x for _, x, _ in closed(run({**s, "margin": more}, shock, record="liquidations"))}
                assert after - {name} == before - {name}
                assert name in before or name not in after
                counted.add(name in before and name not in after)


def test_m13_a_larger_fund_deleverages_no_more():
    """One account that is bankrupt: a fund that walks further leaves less of the book to the next one."""
    with Counted(100) as counted:
        for seed in SEEDS:
            s = draw(seed, rules={"mark": "index", "order_price": "bankruptcy"}, tiers=None)
            s |= {
                "size": np.array([150, -150]),
                "entry": np.array([PRICE, PRICE]),
                "names": ["long", "short"],
            }
            s |= {"margin": np.array([1_500, 90_000])}
            found = [
                run({**s, "fund": fund}, cs.Shock(index=-0.05)).summary for fund in (0, 200, 2_000, 10**6)
            ]
            lots = [x["adl_notional"] for x in found]
            assert lots == sorted(lots, reverse=True)
            counted.add(lots[0] > lots[-1])


def test_m14_a_deeper_book_fills_the_first_order_no_worse():
    with Counted(100) as counted:
        for seed in SEEDS:
            s = draw(seed, rules={"mark": "index", "order_price": "market"}, fund=10**6)
            deep = {side: (s[side][0], 3 * s[side][1]) for side in ("bids", "asks")}
            one, two = (run(x, cs.Shock(index=-0.06)).liquidations for x in (s, {**s, **deep}))
            if len(one):
                assert one["account"][0] == two["account"][0]
                way = 1 if one["side"][0] == "sell" else -1
                assert way * two["average_price"][0] >= way * one["average_price"][0]
                counted.add(two["average_price"][0] != one["average_price"][0])


def test_m16_an_order_added_and_cancelled_leaves_the_market_as_it_was(engine):
    with Counted(20) as counted:
        for seed in list(SEEDS)[:60]:
            s = draw(seed, isolated=False)
            shock, outcomes = cs.Shock(orders={"X": -s["sold"]}), []
            for added in (False, True):
                sim = build(s).start(engine=engine)
                if added:
                    orders = np.zeros(2, cs.ORDER_DTYPE)
                    orders["order_id"], orders["action"] = 5, (cs.Action.NEW, cs.Action.CANCEL)
                    orders["side"], orders["price"], orders["quantity"] = cs.Side.BUY, s["bids"][0][0], 9
                    reports = sim.submit("X", orders)
                    assert [r["kind"] for r in reports] == [cs.ReportKind.ACK, cs.ReportKind.CANCELLED]
                sim.apply(shock)
                sim.settle()
                outcomes.append(sim.result())
            assert closed(outcomes[0]) == closed(outcomes[1])
            assert money(outcomes[0]) == money(outcomes[1])
            counted.add(len(closed(outcomes[0])) > 1)


def test_m17_one_shock_after_another_is_their_sum(engine):
    with Counted(20) as counted:
        for seed in list(SEEDS)[:60]:
            s = draw(seed)
            first = cs.Shock(price=-0.01, orders={"X": -s["sold"]})
            second = cs.Shock(orders={"X": s["sold"] // 2}, depth=0.8)
            market = build(s)
            together = market.run(first + second, engine=engine)
            sim = market.start(first, engine=engine)
            sim.apply(second)
            sim.settle()
            assert sim.result().digest == together.digest
            counted.add(len(together.liquidations) > 0)


def test_m18_fees_change_nothing_before_the_first_is_paid():
    with Counted(100) as counted:
        for seed in SEEDS:
            s = draw(seed, isolated=False)
            free, paying = run(s).events, run({**s, "fees": ("0.001", "0.0002", "0.01")}).events
            paid = (paying["kind"] == EventKind.TRANSFER) & np.isin(
                paying["flags"], [Why.FEE, Why.LIQUIDATION_FEE]
            )
            first = int(np.flatnonzero(paid)[0]) if paid.any() else len(paying)
            assert np.array_equal(free[:first], paying[:first])
            counted.add(first > 5 and paid.any())


def test_m19_endless_depth_at_the_mark_costs_the_fund_nothing():
    """Whoever still has equity at the mark is closed there."""
    with Counted(60) as counted:
        for seed in SEEDS:
            s = draw(seed, rules={"mark": "last", "surplus": "account"}, sold=0)
            s["bids"], s["asks"] = ([PRICE], [10**9]), ([PRICE + 1], [10**9])
            shock = cs.Shock(price=-0.03)  # 970 to the tick: bids and mark stay the same price
            # Longs are sold at 970, shorts bought back a tick higher.
            if (s["margin"] + s["size"] * (np.where(s["size"] > 0, 970, 971) - s["entry"]) < 0).any():
                continue
            summary = run(s, shock).summary
            assert summary["fund_end"] == summary["fund_start"]
            assert summary["deficit"] == summary["socialised"] == summary["adl_notional"] == 0
            counted.add(summary["liquidated_accounts"])


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_m20_rows_do_not_depend_on_workers_and_chunks(workers, monkeypatch):
    market, n = build(draw(3)), 50

    def shock(rng, k):
        return cs.Shock(orders={"X": -int(rng.integers(1, 150))}, price=float(rng.normal(0, 0.01)))

    expected = market.sweep(shock, n=n, rng=4, keep=["liquidations", "events"])
    assert expected["events"].std() > 0
    for size in (1, 7, n):
        spans = [(first, min(first + size, n)) for first in range(0, n, size)]
        monkeypatch.setattr(_sweep, "chunks", lambda count, threads, spans=spans: spans)
        found = market.sweep(shock, n=n, rng=4, keep=["liquidations", "events"], workers=workers)
        for name in expected.table.columns:
            np.testing.assert_array_equal(found[name], expected[name])
        for name in expected.tables["liquidations"].columns:
            np.testing.assert_array_equal(
                found.tables["liquidations"][name], expected.tables["liquidations"][name]
            )
    assert _run.chunks(n, 2)[-1][1] == n
