"""The reference engine against an independent replay of its event log, over random markets.

The replay keeps balances, positions and books of its own, from `Market.state()` and the events alone, and
recomputes what each event should say: fees, realised profit, marks, health, bankruptcy values, shares.
Numbers in names are those of the invariants in the project's list.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
import random_markets

import cascade as cs
from cascade import marks
from cascade.records import EventKind, LiquidationStatus, Reason, ShockPart, Why

EXTERNAL, FUND, FEES, DUST, DEFICIT, VAULT, SETTLEMENT = range(7)
COLLATERAL = 3
KIND = {int(k): k for k in EventKind}
CHANGES = (EventKind.FILL, EventKind.ADL, EventKind.TAKEOVER, EventKind.TRANSFER, EventKind.MARK)
FIELDS = (
    "seq",
    "time_ns",
    "cause",
    "quantity",
    "price_1024",
    "value",
    "a",
    "b",
    "wave",
    "instrument",
    "kind",
    "flags",
)
SEEDS, CHUNK = 2_000, 100


def rounded(x: Fraction) -> int:
    return round(x)  # half-even


def sign(x: int) -> int:
    return (x > 0) - (x < 0)


class Event:
    __slots__ = FIELDS

    def __init__(self, row):
        for name, value in zip(FIELDS, row, strict=True):
            setattr(self, name, value)
        self.kind = KIND[self.kind]


class Replay:
    """Everything that the events of one run imply, checked on the way."""

    def __init__(self, market, result, rules, max_waves=None):
        self.state, self.rules, self.max_waves = market.state(), rules, max_waves
        self.result = result
        self.terms = self.state.terms
        self.events = [Event(row) for row in result.events.tolist()]
        s, n = self.state, len(self.terms)
        self.n_accounts = len(s.account_mode)
        self.users = range(SETTLEMENT + n, self.n_accounts)
        self.balance = [int(b) for b in s.account_balance]
        self.balance[FUND], self.balance[VAULT] = s.fund, s.vault
        self.deposits = sum(self.balance)
        self.lots, self.basis = defaultdict(int), defaultdict(int)  # by (account, instrument, slot)
        for a, i, slot, q, b in zip(
            s.row_account, s.row_instrument, s.row_slot, s.row_lots, s.row_basis, strict=True
        ):
            self.lots[int(a), int(i), int(slot)] = int(q)
            self.basis[int(a), int(i), int(slot)] = int(b)
            self.lots[0, int(i), 0] -= int(q)
            self.basis[0, int(i), 0] -= int(b)
        for a, i, slot, q, _ in s.holdings.tolist():
            self.lots[a, i, slot] = q
            self.lots[0, i, 0] -= q
        self.haircut = [Fraction(int(h), 10**12) for h in s.haircut]
        self.last, self.index = [int(x) for x in s.last], [int(x) for x in s.index_1024]
        self.known = [[int(b), int(a)] for b, a in zip(s.known_bid, s.known_ask, strict=True)]
        # Orders as [price, lots, owner], by side, in priority order.
        self.books = [{1: [], -1: []} for _ in range(n)]
        for i in range(n):
            for _, side, price, lots, owner, _ in s.resting_orders(i):
                self.rest(i, side, price, lots, owner)
        self.external = [
            {name: int(p) for name, p in zip(s.external_names, row, strict=True) if p}
            for row in s.external_1024
        ]
        self.averages = {}
        self.shadow = [0] * n
        self.shadow = [self.mark(i) for i in range(n)]
        self.marks, self.previous = list(self.shadow), list(self.shadow)
        self.step_wave = 0
        self.unhealthy_after = []  # the set of unhealthy accounts, after each event, at the shadow marks
        self.unhealthy_before = self.unhealthy(self.shadow)
        self.expected = []  # transfers that must follow the last trade
        self.crossing = []  # fills that the levels of a gap must make
        self.slot_of_trade = {}
        self.orders_of_turn = {}
        self.closing = None
        self.turn_account = None
        self.stuck, self.queue, self.queued_now, self.found = set(), {}, set(), set()
        self.recovered = set()
        self.changes, self.idle = 0, {}  # account: (changes, marks) of a last turn that changed nothing
        self.lots_per_wave = defaultdict(int)
        x = result._data.liquidations
        self.rows = [r for r in x if r["instrument"] >= 0]
        self.row_number = 0

    # -- arithmetic of its own ---------------------------------------------------------------------------
    def worth(self, i: int, lots: int, price: Fraction) -> Fraction:
        """Value of signed lots at a price in ticks, in quanta, unrounded."""
        t = self.terms[i]
        return (
            lots * price * t.coef_num if t.contract == 0 else Fraction(-lots * t.coef_num, t.coef_den) / price
        )

    def at_mark(self, i: int, lots: int, mark: int) -> int:
        x = self.worth(i, lots, Fraction(mark, 1024)) if lots else Fraction(0)
        return x.numerator // x.denominator

    def maintenance(self, key: tuple[int, int, int], lots: int, mark: int, basis=None, balance=None) -> int:
        """Maintenance of a position, with the closing fee that the rules put in."""
        a, i, _ = key
        basis = self.basis[key] if basis is None else basis
        balance = self.balance[a] if balance is None else balance
        t, ins = self.terms[i], self.state.instruments[i]
        on_entry = self.rules.maintenance_on == "entry"
        notional = abs(basis if on_entry else self.at_mark(i, lots, mark))
        k = max(k for k, floor in enumerate(t.floors) if floor <= notional or k == 0)
        coins = abs(lots) * ins.lot_size * ins.multiplier
        if ins.contract == "inverse":
            coins = notional * self.state.quantum
        by_size = Fraction(min(10**12, (ins.maintenance_slope * coins * 10**12).__ceil__()), 10**12)
        closing_fee = max(Fraction(0), ins.taker_fee)
        rate = Fraction(t.rates[k], 10**12) + by_size
        if self.rules.maintenance_fee == "taker":
            rate += closing_fee
        needed = max(0, (rate * notional).__ceil__() - t.amounts[k])
        if self.rules.maintenance_fee == "taker_at_bankruptcy":
            needed += (closing_fee * abs(self.after_fee(i, balance - basis))).__ceil__()
        return needed

    def after_fee(self, i: int, value: int) -> int:
        """The closing value that leaves nothing of `value`, its fee paid where the rules say so."""
        fee = self.state.instruments[i].taker_fee
        if self.rules.bankruptcy_fee == "none" or fee <= 0:
            return value
        closing = (Fraction(value) / (1 + (fee if value >= 0 else -fee))).__floor__()
        assert closing + (fee * abs(closing)).__ceil__() <= value
        assert closing + 1 + (fee * abs(closing + 1)).__ceil__() > value
        return closing

    def bankruptcy_values(self, key: tuple[int, int, int], held: int):
        """Value of the first k lots of a position, as things stand now."""
        a, i, _ = key
        equity, mark = self.equity(a, self.marks), self.marks[i]
        balance, basis = self.balance[a], self.basis[key]
        value, n = self.at_mark(i, held, mark), abs(held)
        needs = {k: self.maintenance(k, q, self.marks[k[1]]) for k, q in self.rows_of(a)}
        whole = sum(needs.values())
        if self.rules.bankruptcy_share == "whole" or not whole:
            all_of_it = self.after_fee(i, equity - value)
            return lambda k: Fraction(all_of_it * k, n).__floor__()

        def first(k):
            left, rest = held * (n - k) // n, basis - rounded(Fraction(basis * k, n))
            freed = needs[key] - (self.maintenance(key, left, mark, rest, balance) if left else 0)
            share = Fraction(equity * freed, whole).__floor__()
            return self.after_fee(i, share - value + self.at_mark(i, left, mark))

        return first

    def rows_of(self, a: int):
        return [(key, q) for key, q in self.lots.items() if key[0] == a and q and key[2] != COLLATERAL]

    def held_by(self, a: int):
        """Collateral by instrument."""
        return {key[1]: q for key, q in self.lots.items() if key[0] == a and q and key[2] == COLLATERAL}

    def equity(self, a: int, marks) -> int:
        pending = sum(b for key, b in self.basis.items() if key[0] == a)
        value = sum(self.at_mark(k[1], q, marks[k[1]]) for k, q in self.rows_of(a))
        return self.balance[a] + value + self.collateral(a, marks) - pending

    def collateral(self, a: int, marks) -> int:
        """What other assets count for."""
        held = self.held_by(a).items()
        return sum((self.at_mark(i, q, marks[i]) * (1 - self.haircut[i])).__floor__() for i, q in held)

    def is_unhealthy(self, a: int, marks) -> bool:
        rows, equity = self.rows_of(a), self.equity(a, marks)
        if not rows:
            return equity < 0
        needed = sum(self.maintenance(k, q, marks[k[1]]) for k, q in rows)
        return equity <= needed if self.rules.trigger == "le" else equity < needed

    def unhealthy(self, marks) -> set[int]:
        return {a for a in self.users if self.is_unhealthy(a, marks)}

    def mark(self, i: int) -> int | None:
        bids, asks = self.books[i][1], self.books[i][-1]
        kind = self.rules.mark
        if isinstance(kind, marks.Mark):
            return self.tree(kind, i) or self.shadow[i]
        if kind == "index":
            return self.index[i]
        if kind == "last":
            return self.last[i] * 1024
        if not bids or not asks:
            return self.shadow[i]
        bid, ask = bids[0][0], asks[0][0]
        return (bid + ask) * 512 if kind == "mid" else sorted((bid, ask, self.last[i]))[1] * 1024

    def tree(self, x, i: int) -> int | None:
        """A mark tree's value; no time passes in a run, averages stay what they were."""
        index, prices = self.index[i], {1: None, -1: None}
        for side in prices:
            if self.books[i][side]:
                prices[side] = self.books[i][side][0][0] * 1024
        if isinstance(x, marks.Source):
            bid, ask = prices[1], prices[-1]
            rate = Fraction(int(self.state.funding_rate[i]) * int(self.state.funding_left_ns[i]))
            premium = Fraction(rounded(rate / int(self.state.funding_interval_ns[i])), 10**12)
            return {
                "last": self.last[i] * 1024,
                "bid": bid,
                "ask": ask,
                "mid": bid and ask and (bid + ask) // 2,
                "index": index,
                "funded_index": self.by_index(index, rounded(index * (1 + premium))),
            }[x.name]
        if isinstance(x, marks.External):
            return self.external[i].get(x.name)
        if isinstance(x, marks.Basis):
            basis = int(self.state.basis_1024[i])
            return None if basis == -(2**63) else self.by_index(index, index + basis)
        if isinstance(x, marks.Ema):
            if (i, x) not in self.averages:
                self.averages[i, x] = self.tree(x.source, i)
            return self.averages[i, x]
        weights = [1] * len(x.inputs)
        inputs = x.inputs
        if isinstance(x, marks.WeightedMedian):
            inputs, weights = zip(*x.inputs, strict=True)
        found = [(self.tree(y, i), Fraction(str(w))) for y, w in zip(inputs, weights, strict=True)]
        there = sorted((v, w) for v, w in found if v is not None)
        if not there or (len(there) < len(found) and x.missing == "keep"):
            return None
        if isinstance(x, marks.WeightedMedian):
            whole = sum(w for _, w in there)
            return next(
                v for k, (v, _) in enumerate(there) if 2 * sum(w for _, w in there[: k + 1]) >= whole
            )
        if x.spare is not None and len(there) == 2 and self.tree(x.spare, i) is not None:
            there.append((self.tree(x.spare, i), 1))
        return rounded(Fraction(statistics.median(Fraction(v) for v, _ in there)))

    def by_index(self, index: int, price: int) -> int:
        return sorted((price, Fraction(index, 2).__ceil__(), 2 * index))[1]

    # -- books -------------------------------------------------------------------------------------------
    def rest(self, i, side, price, lots, owner):
        book, k = self.books[i][side], 0
        while k < len(book) and side * (book[k][0] - price) >= 0:
            k += 1
        book.insert(k, [price, lots, owner])

    def front(self, i, side):
        """The order that a taker on `side` meets next within what is known."""
        book = self.books[i][-side]
        if not book:
            return None
        edge = self.known[i][1] if side > 0 else self.known[i][0]
        return book[0] if side * (edge - book[0][0]) >= 0 else None

    def take(self, i, side, order, lots):
        order[1] -= lots
        assert order[1] >= 0
        if order[1] == 0:
            self.books[i][-side].remove(order)

    def gap(self, i, rate):
        f = 10**9 + rate
        self.last[i] = max(1, rounded(Fraction(self.last[i] * f, 10**9)))
        self.index[i] = max(1, rounded(Fraction(self.index[i] * f, 10**9)))
        self.external[i] = {
            name: max(1, rounded(Fraction(p * f, 10**9))) for name, p in self.external[i].items()
        }
        levels = []
        for side in (1, -1):
            moved = defaultdict(int)
            for price, lots, owner in self.books[i][side]:
                if owner == EXTERNAL:
                    x = Fraction(price * f, 10**9)
                    moved[x.__floor__() if side > 0 else x.__ceil__()] += lots
            self.books[i][side] = [o for o in self.books[i][side] if o[2] != EXTERNAL]
            levels += [(side, price, lots) for price, lots in moved.items() if price >= 1]
        if 0 < self.known[i][0] < 2**53:
            self.known[i][0] = max(1, Fraction(self.known[i][0] * f, 10**9).__floor__())
        if 0 < self.known[i][1] < 2**63 - 1:
            self.known[i][1] = Fraction(self.known[i][1] * f, 10**9).__ceil__()
        for side, price, lots in levels:
            while lots and self.books[i][-side] and side * (price - self.books[i][-side][0][0]) >= 0:
                maker = self.books[i][-side][0]
                k = min(lots, maker[1])
                self.crossing.append((i, side * k, maker[0], maker[2]))
                self.take(i, side, maker, k)
                lots -= k
            if lots:
                self.rest(i, side, price, lots, EXTERNAL)

    def depth(self, op):
        i, rate = int(op["instrument"]), int(op["rate"])
        bids, asks = self.books[i][1], self.books[i][-1]
        prices = [book[0][0] for book in (bids, asks) if book]
        if op["quantity"] == 0:  # the rows of one shock measure from the same mid
            self.mid = Fraction(sum(prices), max(1, len(prices)))
        mid = self.mid
        for side, book in ((1, bids), (-1, asks)):
            if int(op["side"]) in (0, side):
                for order in [o for o in book if o[2] == EXTERNAL]:
                    if int(op["low"]) * mid <= abs(order[0] - mid) * 10**9 < int(op["high"]) * mid:
                        order[1] = order[1] * rate // 10**9
                book[:] = [o for o in book if o[1]]

    # -- events ------------------------------------------------------------------------------------------
    def play(self, ops):
        self.ops = list(ops)
        for number, e in enumerate(self.events):
            assert e.seq == number  # 38
            assert e.time_ns >= (self.events[number - 1].time_ns if number else 0)  # 38
            assert -2 <= e.cause < e.seq  # 35
            if e.kind != EventKind.TRANSFER:  # the fund pays a gap after the mark has moved
                gap = e.kind == EventKind.MARK and [x[3] for x in self.expected] == [Why.GAP]
                assert gap or not self.expected, f"event {e.seq}: missing transfers {self.expected}"
            if e.kind in (EventKind.QUEUED, EventKind.TURN, EventKind.RECOVERED):
                self.step_begins(e)
            if e.kind in (EventKind.QUEUED, EventKind.TURN, EventKind.RECOVERED, EventKind.END):
                self.turn_ends()
            getattr(self, "on_" + e.kind.name.lower())(e)
            self.changes += e.kind in CHANGES or (e.kind == EventKind.SHOCK and e.flags == ShockPart.HAIRCUT)
            self.check_totals(e)
            self.unhealthy_after.append(self.unhealthy(self.shadow))
        assert not self.expected

    def check_totals(self, e):
        assert sum(self.balance) == self.deposits  # 1
        assert self.balance[FUND] >= 0
        assert self.balance[DUST] == 0
        assert self.balance[DEFICIT] <= 0
        for i, book in enumerate(self.books):
            assert sum(q for k, q in self.lots.items() if k[1] == i) == 0  # 9
            assert sum(b for k, b in self.basis.items() if k[1] == i) == 0  # 11
            if book[1] and book[-1] and not self.crossing:
                assert book[1][0][0] < book[-1][0][0]  # 13
        if not self.expected:
            for k, q in self.lots.items():
                assert q or k[0] < SETTLEMENT + len(self.terms) or not self.basis[k]  # 11

    def step_begins(self, e):
        """Frozen marks: those at the first event of a step, or now under continuous clearing."""
        if self.rules.clearing == "continuous":
            self.turn_ends()
            self.marks = list(self.shadow)
            return
        if e.wave != self.step_wave:
            self.turn_ends()
            self.everybody_found()
            assert e.wave > self.step_wave
            self.step_wave = e.wave
            self.previous, self.marks = self.marks, list(self.shadow)
            idle = {a for a, seen in self.idle.items() if seen == (self.changes, self.marks)}
            self.found = self.unhealthy(self.marks) - set(self.queue) - idle - self.stuck
            self.queued_now = set()

    def everybody_found(self):
        """24: who is unhealthy at the step's marks was queued in it, or is kept open beyond the data, or had
        a turn in vain."""
        if self.max_waves is None:
            assert self.found <= self.queued_now, f"not queued: {self.found - self.queued_now}"

    def on_queued(self, e):
        assert self.is_unhealthy(e.a, self.marks)
        assert e.value == self.equity(e.a, self.marks)
        assert e.a not in self.queue  # 27
        self.queue[e.a] = e.seq
        self.queued_now.add(e.a)
        if e.cause >= 0:  # 35: the crossing event
            before = self.unhealthy_after[e.cause - 1] if e.cause else self.unhealthy_before
            crossed = e.a not in before and e.a in self.unhealthy_after[e.cause]
            self.on_cause(e, crossed)

    def on_cause(self, e, crossed):
        assert crossed, f"event {e.seq}: cause {e.cause} did not make account {e.a} unhealthy"

    def on_recovered(self, e):
        assert not self.is_unhealthy(e.a, self.marks)
        assert e.value == self.equity(e.a, self.marks)
        assert self.queue.pop(e.a) == e.cause
        self.recovered.add(e.a)

    def on_turn(self, e):
        assert self.is_unhealthy(e.a, self.marks)
        assert e.value == self.equity(e.a, self.marks)
        assert self.queue.pop(e.a) == e.cause  # 27
        self.turn_account, self.turn = e.a, e
        self.turn_start = self.changes
        self.stuck.discard(e.a)
        self.left_reasons = set()
        self.social, self.social_owed = [], None

    def turn_ends(self):
        if self.turn_account is None:
            return
        a, self.turn_account = self.turn_account, None
        self.closing_ends()
        if not self.rows_of(a):
            assert self.balance[a] >= 0 or self.held_by(a)  # 34
            assert self.balance[a] <= 0 or (
                self.rules.surplus == "account" and self.state.account_mode[a] != 2
            )
        if self.changes == self.turn_start:
            self.idle[a] = (self.changes, list(self.marks))
        if self.left_reasons == {LiquidationStatus.BEYOND_DATA}:
            self.stuck.add(a)
        self.check_socialised(a)

    def on_order(self, e):
        self.closing_ends(e)
        self.order = e
        if e.flags == 1:  # a liquidation order
            row = self.rows[self.row_number]
            self.row_number += 1
            assert row["account"] == e.a == self.turn_account
            assert row["instrument"] == e.instrument
            slot = int(row["slot"])
            held = self.lots[e.a, e.instrument, slot]
            assert e.quantity == -held != 0  # 25
            if self.rules.size == "whole":
                assert self.is_unhealthy(e.a, self.marks)
            first = self.bankruptcy_values((e.a, e.instrument, slot), held)
            self.closing = {
                "order": e, "slot": slot, "lots": abs(held), "value": first(abs(held)), "first": first,
                "done": 0,
                "adl": [], "row": row, "notional": 0,
            }  # fmt: skip
            self.check_limit(e)
        elif e.flags == 3:
            self.sale_begins(e)
        elif e.flags == 2:
            self.adl_ends()
            assert "fund_walk" in self.rules.residual
            assert self.rules.order_price == "bankruptcy"
            assert abs(e.quantity) == self.closing["lots"] - self.closing["done"]

    def sale_begins(self, e):
        """Collateral is sold for a debt alone, the smallest haircut first, and no lot too many."""
        row = self.rows[self.row_number]
        self.row_number += 1
        i, held = e.instrument, self.held_by(e.a)
        assert row["account"] == e.a == self.turn_account
        assert (row["instrument"], row["slot"]) == (i, COLLATERAL)
        assert e.price_1024 == 0
        owed = self.collateral(e.a, self.marks) - self.equity(e.a, self.marks)
        assert owed > 0
        assert self.rules.collateral_sale == "first" or not self.rows_of(e.a)
        others = {j for j in held if (self.haircut[j], j) < (self.haircut[i], i)}
        # What comes before it in the order was offered in this turn, and lots of it are left.
        mine = [r for r in self.rows[: self.row_number] if r["seq"] == self.turn.seq]
        assert others <= {int(r["instrument"]) for r in mine}
        enough = [n for n in range(1, held[i] + 1) if self.brings(e.a, i, n) >= owed]
        assert -e.quantity == min(enough, default=held[i])
        self.closing = {
            "order": e, "slot": COLLATERAL, "lots": -e.quantity, "value": 0, "first": lambda k: 0,
            "done": 0, "adl": [], "row": row, "notional": 0,
        }  # fmt: skip

    def brings(self, a, i, lots):
        """What selling some lots into the book would bring, fees taken off; 0 if they are too many for it."""
        parent = self.state.account_parent[a]
        total = 0
        for price, quantity, owner in self.books[i][1]:
            if price < self.known[i][0] or not lots:
                break
            if owner != (a if parent < 0 else parent):
                k = min(lots, quantity)
                value = k * price * self.terms[i].coef_num
                total += value - Fraction(self.terms[i].taker_fee * value, 10**12).__ceil__()
                lots -= k
        return 0 if lots else total

    def check_limit(self, e):
        """28: the limit is the tick at which the account is left with 0, rounded in its favour."""
        if self.rules.order_price == "market":
            assert e.price_1024 == 0
            return
        i, value, price = e.instrument, self.closing["value"], e.price_1024 // 1024
        if not 1 < price < 2**53 - 1:
            return
        at, further = (self.worth(i, e.quantity, Fraction(p)) for p in (price, price + sign(e.quantity)))
        assert at <= value < further

    def share(self, k):
        c = self.closing
        return c["first"](c["done"] + k) - c["first"](c["done"])

    def on_fill(self, e):
        i, side = e.instrument, sign(e.quantity)
        order = self.order
        assert e.cause == order.seq
        assert e.a == order.a
        assert side == sign(order.quantity)
        price = e.price_1024 // 1024
        if order.price_1024:
            assert side * (order.price_1024 - e.price_1024) >= 0  # 14
        if self.crossing:
            assert self.crossing.pop(0) == (i, e.quantity, price, e.b)
        else:
            maker = self.front(i, side)
            assert maker is not None
            assert maker[0] == price
            assert maker[2] == e.b
            assert e.b != e.a or e.a == EXTERNAL  # 21
            self.take(i, side, maker, abs(e.quantity))
        assert e.value == rounded(self.worth(i, e.quantity, Fraction(price)))
        slot = 0
        if order.flags:
            slot = self.closing["slot"]
            assert e.a == self.turn_account
            self.gap_due = self.share(abs(e.quantity))
            if order.flags == 2:
                self.gap_due = max(0, e.value - self.gap_due)
            self.closing["done"] += abs(e.quantity)
            self.closing["notional"] += abs(e.value)
        assert e.flags == order.flags | slot << 4
        self.last[i] = price
        rates = (self.terms[i].taker_fee, self.terms[i].maker_fee)
        self.trade(e, slot, 0, price, rates)
        if order.flags == 2:
            self.must(FUND, e.a, self.gap_due, Why.GAP)

    def trade(self, e, slot, maker_slot, price, rates=None):
        i = e.instrument
        for a, s, lots, value in ((e.a, slot, e.quantity, e.value), (e.b, maker_slot, -e.quantity, -e.value)):
            held, basis = self.lots[a, i, s], self.basis[a, i, s]
            self.lots[a, i, s] += lots
            self.basis[a, i, s] += value
            self.stuck.discard(a)
            if held * lots < 0 and a != EXTERNAL:
                k = min(abs(held), abs(lots))
                closed = value
                if k < abs(lots):
                    closed = (
                        value * k // abs(lots)
                        if price is None
                        else rounded(self.worth(i, sign(lots) * k, Fraction(price)))
                    )
                profit = -(closed + rounded(Fraction(basis * k, abs(held))))
                ends = (SETTLEMENT + i, a) if profit > 0 else (a, SETTLEMENT + i)
                self.must(*ends, abs(profit), Why.REALISED, (a, i, s))
        if e.wave:
            self.lots_per_wave[e.wave, i] += abs(e.quantity)
        for a, rate in zip((e.a, e.b), rates or (), strict=False):
            if a != EXTERNAL:
                x = Fraction(rate * abs(e.value), 10**12)
                amount = x.__ceil__()
                self.must(*((a, FEES) if amount > 0 else (FEES, a)), abs(amount), Why.FEE)  # 3

    def must(self, source, target, amount, why, row=None):
        if amount:
            self.expected.append((source, target, amount, int(why), row))

    def on_transfer(self, e):
        assert 0 <= e.a < self.n_accounts
        assert 0 <= e.b < self.n_accounts
        assert e.a != e.b
        assert e.value > 0
        why = Why(e.flags)
        if self.expected:
            source, target, amount, expected_why, row = self.expected.pop(0)
            assert (e.a, e.b, e.value, e.flags) == (source, target, amount, expected_why), (
                e.seq,
                source,
                target,
                amount,
            )  # 3, 29
            if row is not None:
                profit = amount if target == row[0] else -amount
                self.basis[row] += profit
                self.basis[SETTLEMENT + row[1], row[1], 0] -= profit
        else:
            assert why not in (Why.REALISED, Why.FEE, Why.GAP)
            self.check_transfer(e, why)
        self.balance[e.a] -= e.value
        self.balance[e.b] += e.value
        for a in (e.a, e.b):
            self.stuck.discard(a)

    def check_transfer(self, e, why):
        a = self.turn_account
        assert e.cause == self.turn.seq
        if why == Why.LIQUIDATION_FEE:
            self.adl_ends()
            rate = self.terms[e.instrument].liquidation_fee
            due = Fraction(rate * self.closing["notional"], 10**12).__ceil__()
            assert e.a == a
            assert e.value == min(due, self.equity(a, self.marks))
            assert e.b == (FUND if self.rules.fee_to == "fund" else FEES)
            return
        if why == Why.SWEEP:
            assert self.state.account_mode[e.a] == 2
            assert e.b == self.state.account_parent[e.a]
            assert not self.rows_of(e.a)
            assert e.value == self.balance[e.a]
            return
        self.closing_ends()
        assert not self.rows_of(a)
        if why == Why.SURPLUS:
            assert (e.a, e.b) == (a, FUND)
            assert e.value == self.balance[a]
            assert self.rules.surplus == "fund"
            return
        assert e.b == a
        assert self.balance[a] < 0
        assert not self.held_by(a)
        if why == Why.SOCIALISED:
            if not self.social:
                self.social_owed = -self.balance[a]
                self.social_equity = {
                    o: x for o in self.users if o != a and (x := self.equity(o, self.marks)) > 0
                }
            self.social.append((e.a, e.value))
            return
        assert why == Why.SHORTFALL
        assert (
            e.value == min(-self.balance[a], self.balance[e.a])
            if e.a != DEFICIT
            else e.value == -self.balance[a]
        )
        if e.a == DEFICIT:
            if "fund" in self.rules.shortfall:
                assert self.balance[FUND] == 0
            if "vault" in self.rules.shortfall:
                assert self.balance[VAULT] <= 0

    def check_socialised(self, a):
        """6: shares by largest remainder, none above its equity."""
        if not self.social:
            return
        whole = sum(self.social_equity.values())
        total = min(self.social_owed, whole)
        exact = {o: Fraction(total * x, whole) for o, x in self.social_equity.items()}
        parts = {o: x.__floor__() for o, x in exact.items()}
        order = sorted(exact, key=lambda o: (parts[o] - exact[o], o))
        for o in order[: total - sum(parts.values())]:
            parts[o] += 1
        assert self.social == [(o, x) for o, x in sorted(parts.items()) if x]
        assert all(x <= self.social_equity[o] for o, x in self.social)
        assert sum(x for _, x in self.social) == total
        self.social = []

    def on_adl(self, e):
        c, i = self.closing, e.instrument
        assert e.a == self.turn_account
        assert "adl" in self.rules.residual
        assert self.state.account_mode[e.b] != 0
        if not c["adl"]:
            c["ranked"] = self.ranking(e.a, i, sign(c["order"].quantity))
            if c["order"].price_1024 == 0:
                assert self.front(i, sign(e.quantity)) is None  # 32
        slot = e.flags >> 6
        held = self.lots[e.b, i, slot]
        assert held * e.quantity > 0
        assert abs(held) >= abs(e.quantity)
        assert e.flags >> 4 & 3 == c["slot"]
        if c["ranked"] is not None:  # 33
            expected = c["ranked"][len(c["adl"])]
            assert expected[:2] == (e.b, slot)
            left = c["lots"] - c["done"] - sum(k for k, _ in c["adl"])
            assert abs(e.quantity) == min(left, expected[2])
        c["adl"].append((abs(e.quantity), e.value))
        self.trade(e, c["slot"], slot, None)

    def ranking(self, account, i, side):
        """[(account, slot, lots)] in deleveraging order; None for ranks that are not recomputed here."""
        if self.rules.adl_rank not in ("bitmex", "none"):
            return None
        found = []
        for (a, j, s), q in self.lots.items():
            if j != i or q * side <= 0 or a == account or self.state.account_mode[a] == 0 or s == COLLATERAL:
                continue
            value = self.at_mark(i, q, self.marks[i])
            u, v = value - self.basis[a, j, s], abs(value)
            e, b = max(1, self.equity(a, self.marks)), max(1, abs(self.basis[a, j, s]))
            rank = Fraction(u * v, b * e) if u > 0 else Fraction(u * e, b * max(1, v))
            found.append((-rank if self.rules.adl_rank == "bitmex" else 0, a, s, abs(q)))
        return [(a, s, k) for _, a, s, k in sorted(found)]

    def adl_ends(self):
        """31: the total is the bankruptcy value of the lots matched (or theirs at the mark), shares by
        cumulative floor."""
        c = self.closing
        if not c or not c["adl"]:
            return
        i, side = c["order"].instrument, sign(c["order"].quantity)
        total = sum(k for k, _ in c["adl"])
        has_price = sign(c["value"]) == (side if self.terms[i].contract == 0 else -side)
        marks = {"index": self.index, "previous_mark": self.previous}.get(self.rules.adl_price, self.marks)
        if self.rules.adl_price == "bankruptcy" and has_price:
            value = self.share(total)
        elif self.rules.adl_price == "previous_mark" and self.rules.clearing == "continuous":
            value = sum(v for _, v in c["adl"])
        else:
            marks = self.marks if self.rules.adl_price == "bankruptcy" else marks
            value = self.at_mark(i, side * total, marks[i])
        done = 0
        for k, part in c["adl"]:
            assert part == value * (done + k) // total - value * done // total
            done += k
        c["done"] += total
        c["notional"] += sum(abs(v) for _, v in c["adl"])
        c["adl"] = []

    def on_takeover(self, e):
        c, i = self.closing, e.instrument
        assert e.b == VAULT
        assert e.a == self.turn_account
        assert "vault" in self.rules.residual
        self.adl_ends()
        side = sign(e.quantity)
        has_price = sign(c["value"]) == (side if self.terms[i].contract == 0 else -side)
        assert abs(e.quantity) == c["lots"] - c["done"]
        assert e.value == (
            self.share(abs(e.quantity)) if has_price else self.at_mark(i, e.quantity, self.marks[i])
        )
        self.trade(e, c["slot"], 0, None)
        c["done"] += abs(e.quantity)
        c["notional"] += abs(e.value)
        assert self.equity(VAULT, self.marks) > 0

    def closing_ends(self, e=None):
        c = self.closing
        if c is None or (e is not None and e.flags == 2):
            return
        self.adl_ends()
        row, left = c["row"], c["lots"] - c["done"]
        assert row["left"] == left
        assert row["closed_value"] == c["notional"]
        if left:
            self.left_reasons.add(LiquidationStatus(int(row["status"])))
        else:
            assert row["status"] == LiquidationStatus.CLOSED
        self.closing = None

    def on_cancel(self, e):
        side = sign(e.quantity)
        if e.flags == Reason.STP:  # 21: an own order gives way to the liquidation that meets it
            maker = self.front(e.instrument, -side)
            parent = self.state.account_parent[self.turn_account]
            owner = self.turn_account if parent < 0 else parent
            assert maker[1:] == [abs(e.quantity), e.a]
            assert e.a == owner
            assert self.order.a == self.turn_account
            self.take(e.instrument, -side, maker, maker[1])
            return
        if e.flags != Reason.OWNER:
            return
        assert self.rules.cancel_orders
        assert e.a == self.turn_account
        own = [o for o in self.books[e.instrument][side] if o[2] == e.a and o[1] == abs(e.quantity)]
        assert own
        self.books[e.instrument][side].remove(own[0])

    def on_mark(self, e):
        assert e.price_1024 == self.mark(e.instrument) != self.shadow[e.instrument]
        self.shadow[e.instrument] = e.price_1024

    def on_shock(self, e):
        part = ShockPart(e.flags)
        while self.ops[0]["part"] == ShockPart.ORDERS:
            self.ops.pop(0)
        op = self.ops.pop(0)
        assert op["part"] == part
        assert e.wave == 0
        assert e.cause == -1
        i = int(op["instrument"])
        if part == ShockPart.GAP:
            self.gap(i, int(op["rate"]))
            assert e.price_1024 == self.last[i] * 1024
        elif part == ShockPart.INDEX:
            self.index[i] = max(1, rounded(Fraction(self.index[i] * (10**9 + int(op["rate"])), 10**9)))
            assert e.price_1024 == self.index[i]
        elif part == ShockPart.DEPTH:
            self.depth(op)
        elif part == ShockPart.FUNDING:
            self.funding(e, int(op["rate"]))
        elif part == ShockPart.HAIRCUT:
            assert e.quantity == op["rate"]
            self.haircut[i] = Fraction(e.quantity, 10**12)
        else:
            assert part == ShockPart.CASH
            assert e.value == op["quantity"]
            assert e.a == op["account"]
            self.balance[e.a] += e.value
            self.deposits += e.value

    def funding(self, e, rate):
        at_index = self.rules.funding is not None and self.rules.funding.price == "index"
        assert e.price_1024 == (self.index if at_index else self.marks)[e.instrument]
        assert e.quantity == rate
        for a, i, slot in sorted(k for k, q in self.lots.items() if q and k[0] != EXTERNAL):
            if i == e.instrument and slot != COLLATERAL:
                lots = self.lots[a, i, slot]
                paid = rounded(Fraction(abs(self.at_mark(i, lots, e.price_1024)) * rate * sign(lots), 10**12))
                if paid:
                    ends = (a, EXTERNAL) if paid > 0 else (EXTERNAL, a)
                    self.expected.append((*ends, abs(paid), Why.FUNDING, None))

    def on_end(self, e):
        if self.rules.clearing == "wave":
            self.everybody_found()
            self.last_step()
        for i in range(len(self.terms)):
            assert self.mark(i) == self.shadow[i]
        if self.result.status == "settled":
            assert not self.unhealthy(self.shadow)

    def last_step(self):
        """24: at the marks of the end nobody is left whose turn could still do something."""
        if self.max_waves is None:
            idle = {a for a, seen in self.idle.items() if seen == (self.changes, self.shadow)}
            assert self.unhealthy(self.shadow) <= idle | self.stuck, "somebody was not looked at again"

    # -- the end -----------------------------------------------------------------------------------------
    def check_tables(self):
        """5, 8, 12, 36: the final tables are what the log says."""
        data = self.result._data
        assert data.system_balances == self.balance[: SETTLEMENT + len(self.terms)]
        assert self.result._final_balances().tolist()[self.users.start :] == self.balance[self.users.start :]
        assert [x for pair in data.external for x in pair] == [
            x for i in range(len(self.terms)) for x in (self.lots[0, i, 0], self.basis[0, i, 0])
        ]
        assert data.settlement == [self.basis[SETTLEMENT + i, i, 0] for i in range(len(self.terms))]
        rows = {
            (int(r["account"]), int(r["instrument"]), int(r["slot"])): r for r in self.result._final_rows()
        }
        for key in {*rows, *(k for k in self.lots if k[0] >= self.users.start or k[0] == VAULT)}:
            row = rows.get(key)
            held = (int(row["lots"]), int(row["basis"])) if row is not None else (0, 0)
            assert (self.lots[key], self.basis[key]) == held
        assert data.final_marks == self.shadow
        assert data.last == self.last
        assert data.index_1024 == self.index
        assert self.row_number == len(self.rows)
        waves = {(w, i): n for w, i, n in data.waves[["wave", "instrument", "lots"]].tolist() if w and n}
        assert waves == {k: n for k, n in self.lots_per_wave.items() if n}  # 36
        assert self.result.audit["conserved"]
        x = data.liquidations  # 35: a forest, in time and in waves
        seen = set()
        for r in x:
            if r["cause"] >= 0:
                row = x[r["cause_row"]]
                assert row["seq"] <= r["cause"] < r["seq"]
                assert row["wave"] < r["wave"]
                # An account that recovered at the frozen marks only keeps its cause: its first turn then
                # comes later.
                first = (int(r["account"]), int(r["cause"])) not in seen and int(
                    r["account"]
                ) not in self.recovered
                if first and self.rules.clearing == "wave" and self.rules.capacity is None:
                    assert r["wave"] == row["wave"] + 1
            seen.add((int(r["account"]), int(r["cause"])))


def ended(market, shock, run):
    """The result of a run that must end in a sane number of steps."""
    simulation = market.start(shock, engine="reference", audit="full", **run)
    for _ in range(500):
        if not simulation.step():
            return simulation.result()
    raise AssertionError("endless run")


# Breakers have invariants of their own: tests/test_breakers.py.
def replayed(seed, market, shock, run, replay=Replay):
    result = ended(market, shock, run)
    twin = replay(market, result, run["rules"], run.get("max_waves"))
    twin.play(shock.compile(market))
    twin.check_tables()
    return result


@pytest.mark.parametrize("chunk", range(SEEDS // CHUNK))
def test_invariants(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        try:
            replayed(seed, *random_markets.make(seed, turns=False, breakers=False))
        except cs.CascadeError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def run_spec(s, **changes):
    market, shock, run = random_markets.build({**s, **changes})
    return market, ended(market, shock, run)


def test_m1_nothing_happens_in_a_healthy_market():
    quiet = 0
    for seed in range(300):
        s = random_markets.spec(seed, breakers=False)
        _market, result = run_spec(s, shock=[])
        if not result.summary["initially_unhealthy"]:
            quiet += 1
            assert len(result.events) == 0
            assert result.status == "settled"
    assert quiet > 30


def test_m3_names_do_not_matter():
    for seed in range(150):
        s = random_markets.spec(seed, breakers=False)
        ids = {a: f"zz{k}" for k, (a, _) in enumerate(reversed(s["accounts"]))}
        ids[None] = None
        shock = [
            {**part, "cash": {ids[a]: x for a, x in part.get("cash", {}).items()}} for part in s["shock"]
        ]
        held = [(ids[a], i, n) for a, i, n in s["collateral"]["held"]]
        _, other = run_spec(
            s, shock=shock, accounts=[(ids[a], b) for a, b in s["accounts"]],
            collateral={**s["collateral"], "held": held},
            positions=[(ids[p[0]], *p[1:]) for p in s["positions"]],
            orders=[[(*o[:4], ids[o[4]]) for o in orders] for orders in s["orders"]],
        )  # fmt: skip
        _, result = run_spec(s)
        assert np.array_equal(result.events, other.events)
        assert result.digest == other.digest


def test_m9_a_flat_account_changes_nothing():
    for seed in range(150):
        market, shock, run = random_markets.make(seed, breakers=False)
        result = ended(market, shock, run)
        market.load_accounts(
            {
                "account": ["x" if isinstance(market.account_name(len(market._mode) - 1), str) else 999],
                "balance": [0.0],
            }
        )
        assert np.array_equal(result.events, ended(market, shock, run).events)


def test_m10_an_untouched_instrument_changes_nothing():
    for seed in range(150):
        s = random_markets.spec(seed, breakers=False)
        if any(
            not isinstance(part.get(name, {}), dict) for part in s["shock"] for name in ("price", "depth")
        ):
            continue
        quantum = s["quantum"] or (
            1e-10 if any(x["contract"] == "inverse" for x in s["instruments"]) else 1e-6
        )
        s["quantum"] = quantum
        _, result = run_spec(s)
        _, other = run_spec(
            s, instruments=[*s["instruments"], {"symbol": "extra", "tick_size": 1, "lot_size": 1}],
            books=[*s["books"], ([(99, 5)], [(101, 5)], True)], orders=[*s["orders"], []],
            prices=[*s["prices"], (100.0, 100)],
        )  # fmt: skip
        first = SETTLEMENT + len(s["instruments"])
        assert len(result.events) == len(other.events)
        for mine, theirs in zip(result.events.tolist(), other.events.tolist(), strict=True):
            theirs = list(theirs)
            for k in (6, 7):
                theirs[k] -= theirs[k] >= first
            assert list(mine) == theirs


def test_m11_a_larger_sale_reaches_everybody_that_a_smaller_one_does():
    checked = 0
    for seed in range(300):
        s = random_markets.spec(seed, breakers=False)
        s["instruments"], s["books"], s["orders"], s["prices"] = (
            s["instruments"][:1],
            s["books"][:1],
            [[]],
            s["prices"][:1],
        )
        s["collateral"] = {name: [x for x in rows if x[1] == 0] for name, rows in s["collateral"].items()}
        s["positions"] = [
            (a, i, abs(lots), entry, margin, "both" if side == "short" else side)
            for a, i, lots, entry, margin, side in {
                (p[0], p[5], p[4] is None): p for p in s["positions"] if p[1] == 0
            }.values()
        ]
        unique = {(p[0], p[5], p[4] is None): p for p in s["positions"]}
        s["positions"] = list(unique.values())
        s["rules"] = {**s["rules"], "mark": "last", "clearing": "wave"}
        s["run"] = {}
        s["rules"].pop("capacity", None)
        waves = []
        for n in (5, 20):
            _, result = run_spec(s, shock=[{"orders": {"I0": -n}}])
            e = result.events
            waves.append({int(a) for a in e["a"][(e["kind"] == EventKind.QUEUED) & (e["wave"] == 1)]})
        assert waves[0] <= waves[1]
        checked += len(waves[0]) > 0
    assert checked > 20


def test_m15_an_order_split_in_two_makes_the_same_fills():
    for seed in range(150):
        s = random_markets.spec(seed, breakers=False)
        together, apart = ([{"orders": {"I0": n}} for n in sizes] for sizes in ((-17,), (-6, -11)))
        fills = []
        for shock in (together, apart):
            e = run_spec(s, shock=shock)[1].events
            e = e[(e["kind"] == EventKind.FILL) & (e["wave"] == 0)]
            total = defaultdict(int)
            for b, price, lots in e[["b", "price_1024", "quantity"]].tolist():
                total[b, price] += lots
            fills.append(dict(total))
        assert fills[0] == fills[1]


def _off_by_one(function):
    return lambda *args: function(*args) + 1


def _planted(name, monkeypatch):
    """Plant one bug in the engine."""
    from cascade.reference import closing, engine, ledger, money, waterfall

    if name == "fees rounded down":
        monkeypatch.setattr(ledger, "fee", lambda rate, notional: rate * notional // 10**12)
    elif name == "maintenance rounded down":
        monkeypatch.setattr(money, "ceil_div", lambda a, b: a // b)
    elif name == "released basis off by one":
        monkeypatch.setattr(ledger, "released_basis", _off_by_one(ledger.released_basis))
    elif name == "trade value rounded down":
        whole = money.trade_value
        monkeypatch.setattr(
            waterfall, "trade_value",
            lambda t, n, p: whole(t, n, p) if t.contract == 0 else -n * t.coef_num // (p * t.coef_den),
        )  # fmt: skip
    elif name == "youngest order first":
        from cascade.reference.book import Book

        def youngest(self, side):
            price = self.best(side)
            return None if price is None else self._levels[side][price][-1]

        monkeypatch.setattr(Book, "front", youngest)
    elif name == "bankruptcy value not cumulative":
        monkeypatch.setattr(closing.Closing, "worth", lambda self, k: self.value * k // self.lots)
    elif name == "bankruptcy price rounded against the account":
        limit = waterfall.bankruptcy_limit
        monkeypatch.setattr(waterfall, "bankruptcy_limit", lambda t, n, v: limit(t, n, v) + money.sign(n))
    elif name == "deleveraging in account order":
        monkeypatch.setattr(waterfall.Waterfall, "rank", lambda self, account, row, rule: 0)
    elif name == "deleveraging at the mark":
        monkeypatch.setattr(closing, "implied_price_exists", lambda *args: False)
    elif name == "no sweep":
        monkeypatch.setattr(waterfall.Waterfall, "sweep", lambda *args: None)
    elif name == "deficit forgotten":
        monkeypatch.setattr(waterfall.Waterfall, "serve_shortfall", lambda *args: None)
    elif name == "the fund pays a quantum too much":
        move = ledger.Ledger.transfer

        def generous(self, source, target, amount, why, *rest):
            more = why == Why.GAP and 0 < amount < self.accounts[FUND].balance
            move(self, source, target, amount + more, why, *rest)

        monkeypatch.setattr(ledger.Ledger, "transfer", generous)
    elif name == "thirsty sharers":
        monkeypatch.setattr(
            waterfall.Waterfall, "equity", lambda self, a, m: max(0, a.balance) if a.mode else a.balance
        )
    elif name == "healthy accounts liquidated":
        honest = engine.Engine.liquidatable
        monkeypatch.setattr(
            engine.Engine, "liquidatable",
            lambda self, a, m: honest(self, a, m) or (a.mode != 0 and not a.flat and a.balance == 0),
        )  # fmt: skip
    elif name == "one unhealthy account overlooked":
        honest = engine.Engine.liquidatable
        monkeypatch.setattr(
            engine.Engine, "liquidatable", lambda self, a, m: a.index % 5 != 0 and honest(self, a, m)
        )
    elif name == "marks not frozen":
        update = engine.Engine.update_shadow

        def leaking(self, i, cause):
            update(self, i, cause)
            self.marks = list(self.shadow)

        monkeypatch.setattr(engine.Engine, "update_shadow", leaking)
    elif name == "mark not updated by cancels":
        monkeypatch.setattr(
            waterfall.Waterfall, "cancel", lambda self, i, order, cause, reason: (
                self.emit(EventKind.CANCEL, instrument=i, a=order.owner, quantity=order.side * order.lots,
                cause=cause, flags=reason),
                self.books[i].remove(order),
            ),
        )  # fmt: skip
    elif name == "first event blamed":
        monkeypatch.setattr(engine.Engine, "crossing_event", lambda self, index, lo, hi: lo + 1)
    elif name == "walks into the unknown":
        monkeypatch.setattr(waterfall.Waterfall, "bound", lambda self, i, side, limit: limit)
    elif name == "a partial position closed":
        new = waterfall.Waterfall.new_record

        def less(self, account, turn, row):
            record = new(self, account, turn, row)
            return record | {
                "quantity": record["quantity"]
                - money.sign(record["quantity"]) * (abs(record["quantity"]) > 1)
            }

        monkeypatch.setattr(waterfall.Waterfall, "new_record", less)
    elif name == "event lost":
        monkeypatch.setattr(
            waterfall.Waterfall,
            "settle_realised",
            lambda self, account, row, profit, cause: self.move_position(account, row, 0, 0),
        )
    else:
        raise KeyError(name)


PLANTED = (
    "fees rounded down", "maintenance rounded down", "released basis off by one", "trade value rounded down",
    "youngest order first", "bankruptcy value not cumulative", "bankruptcy price rounded against the account",
    "deleveraging in account order", "deleveraging at the mark", "no sweep", "deficit forgotten",
    "the fund pays a quantum too much", "thirsty sharers", "healthy accounts liquidated",
    "one unhealthy account overlooked",
    "marks not frozen", "mark not updated by cancels", "first event blamed", "walks into the unknown",
    "a partial position closed", "event lost",
)  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_are_found(name, monkeypatch):
    """A checker counts only once a bug has made it fire."""
    _planted(name, monkeypatch)
    for seed in range(400):
        try:
            replayed(seed, *random_markets.make(seed, turns=False, breakers=False))
        except Exception:
            return
    raise AssertionError("not found in 400 markets")
