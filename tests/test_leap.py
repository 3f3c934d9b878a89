"""Large orders from outside, in runs that keep no events: a searched end gives what a walk gives."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from twins import difference

import cascade as cs
from cascade import marks

MARKS = ("last", "mid", "book_median", "index")
TREE = marks.median(marks.last(), marks.index(), marks.bid(), missing="drop")


def leaps(market: cs.Market) -> int:
    """Orders of the latest run whose end was searched for."""
    return sum(engine.leaps for idle in market._derived.engines.values() for engine in idle)


def deep(seed: int) -> tuple[cs.Market, cs.VenueRules, list[cs.Shock]]:
    """A market of long books with some accounts, rules, and shocks of large orders."""
    rng = random.Random(f"leap {seed}")
    n = rng.choice((1, 1, 2))
    instruments, books = [], []
    for i in range(n):
        contract = rng.choice(("linear", "linear", "inverse"))
        instruments.append(
            cs.Instrument(f"I{i}", tick_size=1, lot_size=1, contract=contract, tiers=0.01, taker_fee=0.0005)
        )
        mid, sides = rng.choice((500, 20_000, 3_000_000)), []
        for way in (-1, 1):
            price, levels = mid, []
            for _ in range(rng.choice((3, 13, 14, 40, 120, 400))):
                price += way * rng.choice((1, 1, 1, 2, 5, max(1, mid // 2_000)))
                levels += [(price, rng.choice((1, 2, rng.randint(1, 60))))] if price > 0 else []
            sides.append(levels)
        books.append((mid, sides))
    market = cs.Market(instruments, fund=rng.choice((0, 1_000)))
    for i, (mid, sides) in enumerate(books):
        tables = [{"price": [p for p, _ in s], "quantity": [q for _, q in s]} for s in sides]
        if rng.random() < 0.1:
            tables[rng.randrange(2)] = {"price": [], "quantity": []}
        market.load_book(f"I{i}", *tables, complete=rng.random() < 0.5)
        if rng.random() < 0.4:  # several orders of nobody on a level
            where = [(side, p) for side, s in zip((1, -1), sides, strict=True) for p, _ in s]
            where = rng.choices(where, k=rng.choice((1, 20, 200)))
            market.load_orders(
                f"I{i}",
                {
                    "order_id": list(range(1, len(where) + 1)), "side": [side for side, _ in where],
                    "price": [p for _, p in where], "quantity": [rng.randint(1, 30) for _ in where],
                },
            )  # fmt: skip
        off = rng.choice((0, 0, 3, -3))
        market.set_prices(last={f"I{i}": mid + off}, index={f"I{i}": mid})
    rows = []
    for k in range(rng.choice((0, 5, 40))):
        i = rng.randrange(n)
        mid, lots = books[i][0], rng.choice((1, 2, 9)) * rng.choice((1, -1))
        worth = abs(lots) / mid if instruments[i].contract == "inverse" else abs(lots) * mid
        entry = mid + rng.randint(-2, 2)
        rows.append((f"a{k}", f"I{i}", lots, entry, worth * rng.uniform(0.012, 0.06)))
    if rows:
        names = ("account", "instrument", "size", "entry_price", "margin")
        market.load_positions(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    if rng.random() < 0.15:
        market.load_accounts({"account": ["maker"], "balance": [1e6]})
        side, (p, _) = rng.choice([(1, rng.choice(books[0][1][0])), (-1, rng.choice(books[0][1][1]))])
        order = {"order_id": [9_999], "side": [side], "price": [p], "quantity": [5], "account": ["maker"]}
        market.load_orders("I0", order)
    rules = {
        "mark": rng.choice((*MARKS, TREE)),
        "clearing": rng.choice(("wave", "wave", "continuous")),
        "order_price": rng.choice(("market", "bankruptcy")),
    }
    if rng.random() < 0.1:
        rules["breakers"] = (cs.PriceBand("fixed", rng.choice((0.01, 0.2, 0.9)), halt_ns=5),)
    if rng.random() < 0.1 and n == 1:
        rules["breakers"] = (cs.MarketHalt("I0", "last", ((0.02, 5),)),)
    return market, cs.VenueRules(**rules), [shock(rng, books) for _ in range(4)]


def shock(rng: random.Random, books: list) -> cs.Shock:
    """One to three orders, and sometimes something else before or between them."""
    made = cs.Shock()
    for _ in range(rng.choice((1, 1, 2, 3))):
        i, way = rng.randrange(len(books)), rng.choice((1, -1))
        lots = [q for _, q in books[i][1][0 if way < 0 else 1]]
        upto = sum(lots[: rng.randint(0, len(lots))])  # to the end of a level, if this is the first order
        size = max(1, upto + rng.choice((0, 0, 0, 1, -1, rng.randint(0, 30), 10_000)))
        other = rng.random()
        if other < 0.05:
            made += cs.Shock(price=rng.choice((0.01, -0.01)))
        elif other < 0.1:
            made += cs.Shock(depth=0.5)
        made += cs.Shock(orders={f"I{i}": way * size})
    return made


def check(seed: int, found: Counter) -> None:
    market, rules, shocks = deep(seed)
    n = len(market.instruments)
    try:
        loaded = [market.start(rules=rules).book(f"I{i}").digest for i in range(n)]
    except cs.InputError:  # no mark where a side is empty
        return
    for k, s in enumerate(shocks):
        whole = market.run(s, rules=rules, record="all")
        assert leaps(market) == 0
        for record, audit in (("summary", "full"), ("liquidations", "full"), ("summary", "delta")):
            part = market.run(s, rules=rules, record=record, audit=audit)
            text = difference(whole, part, ("all", record))
            assert not text, f"seed {seed}, shock {k}: {text}"
        if leaps(market):
            found["inverse" if market.instruments[0].contract == "inverse" else "linear"] += n == 1
            found["leaps"] += 1
            found["two in a run"] += leaps(market) > 1
            found["tree" if rules.mark is TREE else rules.mark] += 1
            found[rules.clearing] += 1
            found[whole.status] += 1
            found["liquidations"] += len(whole.liquidations) > 0
            orders = whole.fills
            found["sale"] += bool((orders["side"][orders["taker"] == "external"] == "sell").any())
            found["purchase"] += bool((orders["side"][orders["taker"] == "external"] == "buy").any())
        elif len(whole.fills) > 100:
            found["walked although long"] += 1
        if k % 2:
            for i in range(n):
                book = market.start(rules=rules, record="summary").book(f"I{i}")
                assert book.digest == loaded[i]
                assert book._check()
    if seed % 10 == 0:
        reference = market.run(shocks[-1], rules=rules, record="summary", engine="reference")
        text = difference(whole, reference, ("core", "reference"))
        assert not text, f"seed {seed}: {text}"


@pytest.mark.fast
def test_a_few_markets():
    for seed in range(25):
        check(seed, Counter())


def test_many_markets_and_every_case_occurs():
    found: Counter = Counter()
    for seed in range(100, 700):
        check(seed, found)
    assert all(found[name] >= 10 for name in (
        "leaps", "two in a run", *MARKS, "tree", "wave", "continuous", "settled", "stranded", "out_of_data",
        "liquidations", "sale", "purchase", "linear", "inverse", "walked although long",
    )), found  # fmt: skip


def drive(market: cs.Market, rules: cs.VenueRules, record: str, seed: int) -> tuple[list, int]:
    """A simulation's books on its way, its result and a copy's, and how often an end was searched for."""
    rng = random.Random(f"drive {seed}")
    sim, seen, found = market.start(rules=rules, record=record), [], 0
    prices = [p for i in market.instruments for p in best_prices(market, i.symbol)]
    for turn in range(6):
        symbol = rng.choice(market.instruments).symbol
        kind = rng.random()
        if kind < 0.6:
            sim.apply(cs.Shock(orders={symbol: rng.choice((1, -1)) * rng.randint(1, 3_000)}))
        elif kind < 0.8:  # an order among the levels that are gone, which then trades or is in the way
            order = np.zeros(1, cs.ORDER_DTYPE)
            order["order_id"], order["side"], order["quantity"] = 10_000 + turn, rng.choice((1, -1)), 7
            order["price"] = max(1, rng.choice(prices) + rng.randint(-20, 20))
            order["owner"] = rng.choice((0, market.owner("late")))
            seen.append(sim.submit(symbol, order).tolist())
        elif kind < 0.9:
            price = max(1, rng.choice(prices) + rng.randint(-20, 20))
            try:
                sim.set_levels(symbol, rng.choice((1, -1)), price, rng.choice((0, 5, 500)))
            except cs.InputError as e:
                seen.append(str(e))
        else:
            sim.advance_ns(1)
        if rng.random() < 0.7:
            sim.settle()
        if turn == 2:
            twin = sim.copy()
        for i in market.instruments:
            book = sim.book(i.symbol)
            assert book._check()
            seen.append(book.digest)
        found += sim._engine.leaps
    twin.apply(cs.Shock(orders={market.instruments[0].symbol: -2_000}))
    twin.settle()
    return [seen, sim.result(), twin.result()], found


def best_prices(market: cs.Market, symbol: str) -> list[int]:
    """Prices of the first levels of both sides, in ticks."""
    return market.start(record="summary").book(symbol).depth(30)["price"].tolist() or [1]


@pytest.mark.fast
def test_simulations_go_on_from_a_leap():
    found = 0
    for seed in range(60):
        market, rules, _ = deep(seed)
        market.load_accounts({"account": ["late"], "balance": [1e5]})
        try:
            (seen, *whole), none = drive(market, rules, "all", seed)
        except cs.CascadeError:  # no mark, or more than integers hold
            continue
        assert none == 0
        for record in ("summary", "liquidations"):
            (same, *part), leapt = drive(market, rules, record, seed)
            assert seen == same, f"seed {seed}"
            for a, b in zip(whole, part, strict=True):
                text = difference(a, b, ("all", record))
                assert not text, f"seed {seed}: {text}"
            found += leapt
    assert found > 100
