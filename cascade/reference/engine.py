"""The reference engine's loop: shock, marks, margin check, queue, turn - one step after another until nothing
changes."""

from __future__ import annotations

from fractions import Fraction

from .._marks import Clock, Prices, sample, value_of
from .._state import EXTERNAL, KNOWN_TO_INFINITY, KNOWN_TO_ZERO, NEVER_LIQUIDATED, SYSTEM, VAULT
from ..instruments import PRICE_LIMIT, RATE_ONE
from ..marks import Mark
from ..records import EventKind, LiquidationStatus, Reason, ShockPart, Status, Why
from ..rules import NUMBERS
from .book import Book
from .ledger import Account
from .money import MARK_ONE, half_even, value_at_mark
from .orders import OrderEntry
from .waterfall import WAITING, Waterfall

BUY, SELL = 1, -1
SHOCK_LEFT = (Reason.NONE, Reason.IOC, Reason.BANDED, Reason.HALTED, Reason.BEYOND_DATA)
"""Why a shock's order left lots, the last of them the one that is remembered."""
GAP_ONE = 10**9
"""Gaps, factors and distances of shocks are integers of 1e-9."""


class Engine(OrderEntry, Waterfall):
    """Run one market in plain Python.

    Subclass it to try rules that the core does not have: `queue_key`, `mark_of`, `position_order` and the
    waterfall's stages are methods of their own.

    Parameters
    ----------
    state : the exact columns of a loaded market (`Market` builds them)
    rules : VenueRules
    max_waves : int or None, the caller's cap on waves
    """

    def __init__(self, state, rules, max_waves: int | None = None):
        super().__init__(state, rules)
        self.max_waves = max_waves
        n = len(self.terms)
        self.books = [Book() for _ in range(n)]
        for i in range(n):
            for order_id, side, price, lots, owner, external in state.resting_orders(i):
                self.books[i].add(side, price, lots, owner, order_id, external=external)
        self.last = [int(x) for x in state.last]
        self.index = [int(x) for x in state.index_1024]
        self.external = [
            {name: int(price) for name, price in zip(state.external_names, row, strict=True) if price}
            for row in state.external_1024
        ]
        self.clock = Clock(state, rules.mark) if isinstance(rules.mark, Mark) else None
        self.known_bid = [int(x) for x in state.known_bid]
        self.known_ask = [int(x) for x in state.known_ask]
        self.known_until: dict[int, int] = {}
        self.shadow = [self.mark_of(i) or 0 for i in range(n)]
        self.marks = list(self.shadow)
        self.previous_marks = list(self.shadow)
        self.mark_history: list[list[tuple[int, int]]] = [[(-1, m)] for m in self.shadow]
        self.mark_rows: list[tuple] = []
        self.start_marks = list(self.shadow)
        self.low_marks = list(self.shadow)
        self.high_marks = list(self.shadow)

        # The rules' numbers as integers: money in quanta, rates in 1e-12; parts of maintenance as ratios.
        self.numbers = {field: rules.integer(field, state.quantum) for field in NUMBERS}
        self.ratios = {field: rules.ratio(field) for field in ("vault_below", "adl_below")}
        self.fund_limits = rules.fund_limits(state.fund, state.quantum)
        self.fund_stopped = False
        self.turn_paid = 0  # by the fund in the turn that goes on
        self.turn_closed = 0  # notional that its orders closed
        self.parted: set[int] = set()  # accounts that a part was ordered of since they became unhealthy
        self.rest_until: dict[int, int] = {}  # when an account may be queued again
        self.step_number = 0
        self.step_wave = 0
        self.settled = True
        self.queue: list[tuple] = []  # (key, account, sequence number of QUEUED, wave)
        self.queued: set[int] = set()
        self.turned: set[int] = set()
        # Accounts whose last turn left lots: what kept them open, and who need not be queued again until
        # touched.
        self.left: dict[int, LiquidationStatus] = {}
        self.stuck: set[int] = set()
        # Of accounts unhealthy since that cause, whether or not liquidated since then. then.
        self.cause: dict[int, int] = {}
        self.last_wave: dict[int, int] = {}
        # Accounts whose last turn left them unhealthy and changed nothing: `changes` and the marks that it
        # saw.
        self.idle: dict[int, tuple[int, list[int]]] = {}
        self.healthy_at = [-1] * len(self.accounts)  # seq of the last check that found the account healthy
        # (first seq, wave, row of liquidations): who was acting when
        self.contexts: list[tuple[int, int, int]] = []
        self.limit_hit = False
        self.over: set[int] = set()  # accounts whose wave would exceed the cap
        self.shock_left = Reason.NONE
        self.shock_has_order = False
        self.dropped_levels = 0
        self.liquidations: list[dict] = []
        self.waves: dict[tuple[int, int], list[int]] = {
            (0, i): [0, 0, 0, m] for i, m in enumerate(self.shadow)
        }
        self.initially_unhealthy = {a.index for a in self.accounts if self.liquidatable(a, self.shadow)}
        self.totals = {
            "notional": 0, "first": 0, "higher": 0, "initial": 0, "adl": 0, "socialised": 0, "takeover": 0
        }
        self.closed_accounts: set[int] = set()
        self.recovered = 0
        self.status = Status.RUNNING
        self.arm()

    # -- marks -----------------------------------------------------------------------------------------------
    def mark_of(self, i: int) -> int | None:
        """The mark of instrument i as if set now, in 1/1024 ticks; None while an input is missing."""
        if self.clock is not None:
            return value_of(self.rules.mark, self.prices_of(i))
        bid, ask = self.books[i].best(BUY), self.books[i].best(SELL)
        last = self.last[i] or None
        if self.rules.mark == "last":
            return None if last is None else last * MARK_ONE
        if self.rules.mark == "index":
            return self.index[i] or None
        if bid is None or ask is None:
            return None
        if self.rules.mark == "mid":
            return (bid + ask) * MARK_ONE // 2
        return None if last is None else sorted((bid, ask, last))[1] * MARK_ONE  # book_median

    def prices_of(self, i: int) -> Prices:
        """What a mark tree looks at."""
        assert self.clock is not None
        return self.clock.prices(
            i, self.books[i].best(BUY), self.books[i].best(SELL), self.last[i] or None,
            self.index[i] or None, self.external[i],
        )  # fmt: skip

    def update_shadow(self, i: int, cause: int) -> None:
        """Record a changed shadow mark, moved by event `cause`."""
        mark = self.mark_of(i)
        if mark is None or mark == self.shadow[i]:
            return
        self.shadow[i] = mark
        self.low_marks[i] = min(self.low_marks[i], mark)
        self.high_marks[i] = max(self.high_marks[i], mark)
        seq = self.emit(EventKind.MARK, instrument=i, price_1024=mark, cause=cause)
        self.mark_history[i].append((seq, mark))
        self.mark_rows.append((seq, self.time_ns, self.wave, i, mark))
        self.changes += 1

    # -- what happens from outside ---------------------------------------------------------------------------
    def outside(self) -> None:
        """What follows comes from outside the cascade: it is wave 0."""
        self.wave = 0
        self.contexts.append((self.seq + 1, 0, -1))
        self.stuck.clear()
        self.idle.clear()

    def apply(self, ops) -> None:
        """Apply the compiled operations of a shock, in order."""
        for op in ops:
            self.outside()
            getattr(self, "shock_" + ShockPart(int(op["part"])).name.lower())(op)
            for i, mark in enumerate(self.shadow):
                self.waves[0, i][3] = mark

    def shock_gap(self, op) -> None:
        """Market makers re-quote everywhere: last, index, external prices, knowledge and external levels move
        by 1 + g; what then crosses trades."""
        i, factor = int(op["instrument"]), GAP_ONE + int(op["rate"])
        if self.last[i]:
            self.last[i] = max(1, half_even(self.last[i] * factor, GAP_ONE))
        if self.index[i]:
            self.index[i] = max(1, half_even(self.index[i] * factor, GAP_ONE))
        for name, price in self.external[i].items():
            self.external[i][name] = max(1, half_even(price * factor, GAP_ONE))
        levels, dropped = [], 0
        for side in (BUY, SELL):
            moved: dict[int, int] = {}
            for order in [o for o in self.books[i].side_orders(side) if o.owner == EXTERNAL]:
                self.books[i].remove(order)
                scaled = order.price * factor
                price = scaled // GAP_ONE if side == BUY else -(-scaled // GAP_ONE)
                if price >= 1:
                    moved[price] = moved.get(price, 0) + order.lots
                else:
                    dropped += 1
            levels += [(side, price, lots) for price, lots in moved.items()]
        if self.known_bid[i] not in (KNOWN_TO_ZERO, PRICE_LIMIT):
            self.known_bid[i] = max(1, self.known_bid[i] * factor // GAP_ONE)
        if self.known_ask[i] not in (KNOWN_TO_INFINITY, 0):
            self.known_ask[i] = -(-self.known_ask[i] * factor // GAP_ONE)
        self.dropped_levels += dropped
        shock = self.emit(
            EventKind.SHOCK, instrument=i, price_1024=self.last[i] * MARK_ONE, quantity=dropped,
            flags=ShockPart.GAP
        )
        for side, price, lots in levels:
            self.enter_external(i, side, price, lots)
        self.update_shadow(i, shock)
        self.watch_market(i, shock)

    def enter_external(self, i: int, side: int, price: int, lots: int) -> None:
        """Enter one external level; it trades with the internal orders that it crosses, marks set when all
        are in. Where a band or a halt forbids that trade, what is left of it does not enter."""
        book, order_seq = self.books[i], -1
        self.begin_order(i)
        while lots and (maker := book.front(-side)) and side * (price - maker.price) >= 0:
            if not self.allows(i, maker.price):
                self.emit(
                    EventKind.CANCEL, instrument=i, a=EXTERNAL, quantity=side * lots, cause=order_seq,
                    flags=Reason.HALTED if self.halted_until[i] else Reason.BANDED
                )
                return
            if order_seq < 0:
                order_seq = self.emit(
                    EventKind.ORDER, instrument=i, a=EXTERNAL, quantity=side * lots,
                    price_1024=price * MARK_ONE
                )
            k = min(lots, maker.lots)
            value = self.fill(i, self.accounts[EXTERNAL], 0, maker, side * k, order_seq, -1, quiet=True)
            self.count_wave(0, i, k, abs(value), accounts=0)
            lots -= k
        if lots:
            book.add(side, price, lots, EXTERNAL, 0, external=True)

    def shock_index(self, op) -> None:
        """The index alone moves by 1 + g."""
        i = int(op["instrument"])
        self.index[i] = max(1, half_even(self.index[i] * (GAP_ONE + int(op["rate"])), GAP_ONE))
        shock = self.emit(EventKind.SHOCK, instrument=i, price_1024=self.index[i], flags=ShockPart.INDEX)
        self.update_shadow(i, shock)
        self.watch_market(i, shock)

    def shock_depth(self, op) -> None:
        """External levels of a side, within a range of distances from the mid, keep floor(lots * factor)."""
        i, only, factor = int(op["instrument"]), int(op["side"]), int(op["rate"])
        book = self.books[i]
        # At the first of an instrument's rows: all of them measure from the mid before any.
        if not op["quantity"]:
            bid, ask = book.best(BUY), book.best(SELL)
            self.depth_twice_mid = (bid or ask or 0) + (ask or bid or 0)
        twice = self.depth_twice_mid
        shock = self.emit(EventKind.SHOCK, instrument=i, flags=ShockPart.DEPTH)
        for side in (BUY, SELL) if only == 0 else (only,):
            for order in [o for o in book.side_orders(side) if o.owner == EXTERNAL]:
                distance = abs(2 * order.price - twice) * GAP_ONE
                if int(op["low"]) * twice <= distance < int(op["high"]) * twice:
                    lots = order.lots * factor // GAP_ONE
                    if lots:
                        book.reduce(order, lots)
                    else:
                        book.remove(order)
        self.update_shadow(i, shock)

    def shock_haircut(self, op) -> None:
        """A new haircut of the asset that an instrument prices."""
        i, haircut = int(op["instrument"]), int(op["rate"])
        shock = self.emit(EventKind.SHOCK, instrument=i, quantity=haircut, flags=ShockPart.HAIRCUT)
        self.weight_history.append((shock, list(self.weights)))
        self.weights[i] = RATE_ONE - haircut
        self.changes += 1

    def shock_cash(self, op) -> None:
        """A deposit or withdrawal."""
        account, amount = self.accounts[int(op["account"])], int(op["quantity"])
        self.touch(account)
        self.emit(EventKind.SHOCK, a=account.index, value=amount, flags=ShockPart.CASH)
        account.balance += amount
        self.sum_money += amount
        self.deposits += amount
        self.changes += 1
        self.remember(account)
        self.audit()

    def shock_funding(self, op) -> None:
        """Every open position pays its notional * rate to the external account, or receives it from there;
        longs pay a positive rate."""
        i, rate = int(op["instrument"]), int(op["rate"])
        price = self.marks[i]
        if self.rules.funding is not None and self.rules.funding.price == "index":
            price = self.index[i] or price
        self.emit(EventKind.SHOCK, instrument=i, price_1024=price, quantity=rate, flags=ShockPart.FUNDING)
        for account in self.accounts:
            if account.mode == SYSTEM and account.index != VAULT:
                continue
            for (j, _), p in sorted(account.positions.items()):
                if j == i and p.lots:
                    notional = abs(value_at_mark(self.terms[i], p.lots, price))
                    paid = half_even((notional if p.lots > 0 else -notional) * rate, RATE_ONE)
                    ends = (account.index, EXTERNAL) if paid > 0 else (EXTERNAL, account.index)
                    self.transfer(*ends, abs(paid), Why.FUNDING, -1, i)

    def shock_orders(self, op) -> None:
        """A market order of the external account."""
        i, signed = int(op["instrument"]), int(op["quantity"])
        order = self.emit(EventKind.ORDER, instrument=i, a=EXTERNAL, quantity=signed)
        self.shock_has_order = True
        left, value, stop = self.walk(i, self.accounts[EXTERNAL], 0, signed, None, order, -1)
        self.count_wave(0, i, abs(signed) - left, abs(value), accounts=0)
        if left:
            reason = stop or Reason.IOC
            self.emit(
                EventKind.CANCEL, instrument=i, a=EXTERNAL, quantity=left if signed > 0 else -left,
                cause=order, flags=reason
            )
            self.shock_left = max(self.shock_left, reason, key=SHOCK_LEFT.index)
        self.end_order(i, 1 if signed > 0 else -1, left, stop, order)

    def advance_ns(self, dt: int) -> None:
        """Let time pass: halts begin and end, averages of marks move; nothing else happens by itself."""
        until = self.time_ns + dt
        if dt and self.rules.breakers:
            self.outside()
            self.let_time_pass(until)
        self.time_ns = until
        if self.clock is None:
            return
        instruments = range(len(self.terms))
        seen = [[sample(node, self.prices_of(i)) for node in self.clock.averages] for i in instruments]
        self.clock.advance(dt, seen)
        moved = [i for i in instruments if self.mark_of(i) not in (None, self.shadow[i])]
        if moved:
            self.outside()
        for i in moved:
            self.update_shadow(i, -1)

    def remember(self, account: Account) -> None:
        super().remember(account)
        self.stuck.discard(account.index)

    # -- health ----------------------------------------------------------------------------------------------
    def liquidatable(self, account: Account, marks: list[int]) -> bool:
        """Whether the venue may act on the account: a flat one only when it owes money."""
        if account.mode == SYSTEM or account.flags & NEVER_LIQUIDATED:
            return False
        if account.flat:
            return self.equity(account, marks) < 0
        equity, needed = self.equity(account, marks), self.account_maintenance(account, marks)
        return equity <= needed if self.rules.trigger == "le" else equity < needed

    def liquidatable_after(self, index: int, seq: int) -> bool:
        """The same just after event `seq`, at the shadow marks and haircuts of that moment."""
        marks = []
        for past in self.mark_history:
            marks.append(next(mark for when, mark in reversed(past) if when <= seq))
        now = self.weights
        self.weights = next((weights for when, weights in self.weight_history if when > seq), now)
        found = self.liquidatable(self.account_after(index, seq), marks)
        self.weights = now
        return found

    def crossing_event(self, index: int, lo: int, hi: int) -> int:
        """The event after which the account is unhealthy and before which it was not, by bisection over (lo,
        hi]."""
        while hi - lo > 1:
            mid = (lo + hi) // 2
            if self.liquidatable_after(index, mid):
                hi = mid
            else:
                lo = mid
        return hi

    def context_of(self, seq: int) -> tuple[int, int]:
        """(wave, row of liquidations) of whoever was acting at event `seq`."""
        wave, row = 0, -1
        for first, w, r in self.contexts:
            if first > seq:
                break
            wave, row = w, r
        return wave, row

    # -- queue -----------------------------------------------------------------------------------------------
    def queue_key(self, account: Account, arrival: int):
        """Sort key of an unhealthy account, fixed on entry; the smallest goes first, ties by account
        index."""
        equity = self.equity(account, self.marks)
        needed = self.account_maintenance(account, self.marks)
        if self.rules.queue == "fifo":
            return (arrival, account.index)
        if self.rules.queue == "largest":
            notional = sum(
                abs(value_at_mark(self.terms[i], p.lots, self.marks[i]))
                for (i, _), p in account.positions.items()
            )
            return (-notional, account.index)
        if self.rules.queue == "fillable":
            return (*self.concession(account), account.index)
        if self.rules.queue == "trigger_price":
            return (-self.distance_past_trigger(account), account.index)
        if needed == 0:
            return (0, 0, account.index)
        return (1, Fraction(equity, needed), account.index)

    def concession(self, account: Account) -> tuple[Fraction, int]:
        """What the account concedes of its first position's notional by the fillable price, and the notional,
        both negated; 0 for an account without positions."""
        rows = self.position_order(account)
        if not rows:
            return Fraction(0), 0
        notional = self.notional(rows[0][0], account.positions[rows[0]].lots)
        return -Fraction(self.fillable_loss(account, rows[0]), max(1, notional)), -notional

    def distance_past_trigger(self, account: Account) -> Fraction:
        """How far the mark lies past the trigger price of the first position to be taken, relative to the
        mark.

        All else fixed, on the grid of 1/1024 tick, looking from half to twice the mark;
        0 for an account without positions.
        """
        rows = self.position_order(account)
        if not rows:
            return Fraction(0)
        i, slot = rows[0]
        mark = self.marks[i]
        unhealthy, healthy = mark, mark // 2
        if account.positions[i, slot].lots > 0:
            healthy = min(2 * mark, PRICE_LIMIT * MARK_ONE - 1)
        marks = list(self.marks)
        while abs(healthy - unhealthy) > 1:
            marks[i] = (healthy + unhealthy) // 2
            if self.liquidatable(account, marks):
                unhealthy = marks[i]
            else:
                healthy = marks[i]
        return Fraction(abs(unhealthy - mark), mark)

    def check(self) -> None:
        """Find every account that is unhealthy and not yet served in this step, and queue it."""
        now, found = self.seq, []
        for account in self.accounts:
            index = account.index
            if index in self.queued or index in self.turned:
                continue
            if not self.liquidatable(account, self.marks):
                self.healthy_at[index] = now
                self.cause.pop(index, None)
            elif (
                index in self.stuck
                or index in self.over
                or self.rests(account)
                or self.idle.get(index) == (self.changes, self.marks)
            ):
                continue  # another turn would be the same again, or must wait
            else:
                found.append((self.queue_key(account, now), index))
        for key, index in sorted(found):
            if index in self.cause:
                cause, generation = self.cause[index], self.last_wave[index] + 1
            else:
                cause, generation = self.find_cause(index, now)
                self.parted.discard(index)
            wave = self.step_wave if self.rules.clearing == "wave" else generation
            self.cause[index] = cause
            if self.waits(self.accounts[index]):
                self.last_wave[index] = generation - 1
                self.left[index] = LiquidationStatus.HALTED
                continue
            if self.max_waves is not None and wave > self.max_waves:
                self.limit_hit = True
                self.last_wave[index] = generation - 1
                self.over.add(index)
                continue
            self.wave = wave
            seq = self.emit(
                EventKind.QUEUED, a=index, value=self.equity(self.accounts[index], self.marks), cause=cause
            )
            self.queued.add(index)
            self.queue.append((key, index, seq, wave))
        self.queue.sort()

    def find_cause(self, index: int, now: int) -> tuple[int, int]:
        """(cause, generation) of an account that the check after event `now` found unhealthy."""
        if self.healthy_at[index] == -1 and index in self.initially_unhealthy:
            return -2, 1
        event = self.crossing_event(index, self.healthy_at[index], now)
        wave, _ = self.context_of(event)
        return (event if wave else -1), wave + 1

    # -- steps -----------------------------------------------------------------------------------------------
    def step(self) -> bool:
        """One step: marks, check, queue, turns. False when it changed nothing and left nobody waiting."""
        self.step_number += 1
        self.turned.clear()
        before = self.changes
        if self.settled:  # a new cascade begins: whoever is unhealthy still was so before it
            self.step_wave = 0
            self.cause = dict.fromkeys(self.cause, -2)
            self.over.clear()
            self.limit_hit = False
            self.last_wave = dict.fromkeys(self.cause, 0)
        self.step_wave += 1
        self.set_marks()
        self.check()
        continuous = self.rules.clearing == "continuous"
        waves_left = self.max_waves is None or self.step_wave <= self.max_waves or continuous
        if self.queue and not waves_left:
            self.limit_hit = True
        budget = len(self.accounts) + 1 if self.rules.capacity is None else self.rules.capacity
        while self.queue and budget and waves_left:
            _, index, seq, wave = self.queue.pop(0)
            self.queued.discard(index)
            self.turned.add(index)
            self.wave = self.step_wave if self.rules.clearing == "wave" else wave
            self.last_wave[index] = self.wave
            budget -= self.turn(self.accounts[index], seq)
            if self.rules.clearing == "continuous":
                self.set_marks()
                self.check()
        more = waves_left and (self.changes != before or bool(self.queue))
        # A cascade in which somebody rests, or waits for a halt or a band, goes on when time has passed.
        self.settled = not more and not self.somebody_rests() and not self.work_waits()
        return more

    def rests(self, account: Account) -> bool:
        """Whether the account must let time pass before its next turn."""
        return self.rest_until.get(account.index, 0) > self.time_ns

    def somebody_rests(self) -> bool:
        """Whether an unhealthy account waits for time to pass: the cascade is not over."""
        waiting = (self.accounts[index] for index in self.rest_until)
        return any(self.rests(a) and self.liquidatable(a, self.shadow) for a in waiting)

    def work_waits(self) -> bool:
        """Whether lots of unhealthy accounts wait for a halt to end or a band to move."""
        waiting = [a for a, why in self.left.items() if why in WAITING]
        return any(self.liquidatable(self.accounts[a], self.shadow) for a in waiting)

    def set_marks(self) -> None:
        self.previous_marks, self.marks = self.marks, list(self.shadow)

    def run(self) -> Status:
        """Step until nothing changes; name the end."""
        while self.step():
            pass
        return self.finish()

    def finish(self) -> Status:
        """Name how it stands now, and record it as the last event."""
        left = {
            why
            for a, why in self.left.items()
            if not self.rests(self.accounts[a]) and self.liquidatable(self.accounts[a], self.shadow)
        }
        if self.limit_hit:
            self.status = Status.LIMIT
        elif self.work_waits() or self.shock_left in (Reason.BANDED, Reason.HALTED):
            self.status = Status.HALTED
        elif LiquidationStatus.BEYOND_DATA in left or self.shock_left == Reason.BEYOND_DATA:
            self.status = Status.OUT_OF_DATA
        elif left or self.shock_left:
            self.status = Status.STRANDED
        elif self.somebody_rests():
            self.status = Status.HORIZON
        else:
            self.status = Status.SETTLED
        if self.seq >= 0:
            self.emit(EventKind.END, flags=self.status)
        self.recount()
        return self.status

    # -- counting --------------------------------------------------------------------------------------------
    def count_wave(self, wave: int, i: int, lots: int, notional: int, *, accounts: int) -> None:
        """Add to the totals of (wave, instrument); its price is the mark after the last addition."""
        row = self.waves.setdefault((wave, i), [0, 0, 0, 0])
        row[0] += accounts
        row[1] += lots
        row[2] += notional
        row[3] = self.shadow[i]
