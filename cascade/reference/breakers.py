"""Price bands and circuit breakers: where an order must stop, and when matching halts and goes on."""

from __future__ import annotations

from typing import Any

from ..breakers import (
    FOREVER,
    INDEX,
    MARK,
    MARK_ONE,
    MEAN,
    RANGE,
    BandTerms,
    LevelTerms,
    band_terms,
    level_terms,
    lower_limit,
    upper_limit,
)
from ..instruments import PRICE_LIMIT
from ..records import EventKind, Reason
from .ledger import Account, Ledger
from .money import half_even

OPEN = (0, PRICE_LIMIT - 1)
"""Lowest and highest price at which trading is allowed where no band is."""
CLOSED = (PRICE_LIMIT, 0)
"""The same while matching is halted."""


class RunningBand:
    """One band of one instrument in a run."""

    def __init__(self, terms: BandTerms):
        self.terms = terms
        # The price that counts as a trade at that time, and how many instants before it are not looked at.
        self.anchor = terms.anchor
        self.anchor_time = 0
        self.first = 0
        self.mean = terms.anchor  # of a mean that is renewed now and then
        self.renewed = 0
        # While a limit holds: since when, which (-1 the lower, 1 the upper), and the order that it stopped.
        self.limit_side = 0
        self.limit_since = 0
        self.limit_cause = -1


class Instant:
    """The trades of one instrument at one time."""

    def __init__(self, time: int, price: int):
        self.time, self.low, self.high, self.last, self.sum, self.n = time, price, price, price, price, 1

    def add(self, price: int) -> None:
        self.low, self.high, self.last = min(self.low, price), max(self.high, price), price
        self.sum += price
        self.n += 1


class Breakers(Ledger):
    """Bands and halts. Without breakers nothing here does anything."""

    def arm(self) -> None:
        """Set up what the rules ask for."""
        breakers, n = self.rules.breakers, len(self.terms)
        self.bands: list[list[RunningBand]] = [[] for _ in range(n)]
        self.levels: list[LevelTerms] = []  # of market-wide halts, those that have not acted
        if breakers:
            self.bands = [[RunningBand(terms) for terms in row] for row in band_terms(self.state, breakers)]
            self.levels = level_terms(self.state, breakers)
        self.instants: list[list[Instant]] = [[] for _ in range(n)]
        # What holds for the order that is being dealt with: limits in ticks, and the bands that set them.
        self.low, self.high = [OPEN[0]] * n, [OPEN[1]] * n
        self.low_by, self.high_by = [-1] * n, [-1] * n
        self.halted_until = [0] * n  # 0: not halted
        self.halt_seq = [-1] * n
        self.stopped_side = 0  # of the order that a band stopped last: -1 by the lower limit, 1 by the upper

    # -- references ------------------------------------------------------------------------------------------
    def window(self, i: int, band: RunningBand) -> tuple[int, int, int]:
        """(lowest, highest, mean) price of a band's window in 1/1024 tick; 0 where nothing was traded yet.

        The anchor counts as a trade. An empty window holds the last trade before it.
        """
        after = self.time_ns - band.terms.window
        seen = self.instants[i][band.first :]
        inside = [x for x in seen if x.time > after]
        lows, highs = [x.low * MARK_ONE for x in inside], [x.high * MARK_ONE for x in inside]
        total, n = sum(x.sum for x in inside) * MARK_ONE, sum(x.n for x in inside)
        if band.anchor and band.anchor_time > after:
            lows.append(band.anchor)
            highs.append(band.anchor)
            total, n = total + band.anchor, n + 1
        if not n:
            only = seen[-1].last * MARK_ONE if seen else band.anchor
            return only, only, only
        return min(lows), max(highs), half_even(total, n)

    def references(self, i: int, band: RunningBand) -> tuple[int, int]:
        """What the upper limit and what the lower limit of a band is measured from, 1/1024 tick."""
        kind = band.terms.kind
        if kind == RANGE:
            low, high, _ = self.window(i, band)
            return low, high
        if kind == MEAN:
            middle = band.mean if band.terms.renew else self.window(i, band)[2]
        elif kind == MARK:
            middle = self.shadow[i]
        elif kind == INDEX:
            middle = self.index[i]
        else:
            middle = band.anchor
        return middle, middle

    def fence(self, i: int) -> tuple[int, int, int, int]:
        """Lowest and highest price at which an order may trade now, and the bands that say so (-1: none)."""
        if self.halted_until[i]:
            return (*CLOSED, -1, -1)
        (low, high), low_by, high_by = OPEN, -1, -1
        for k, band in enumerate(self.bands[i]):
            from_low, from_high = self.references(i, band)
            lower, upper = lower_limit(band.terms, from_high), upper_limit(band.terms, from_low)
            if lower > low:
                low, low_by = lower, k
            if upper < high:
                high, high_by = upper, k
        return low, high, low_by, high_by

    # -- orders ----------------------------------------------------------------------------------------------
    def begin_order(self, i: int) -> None:
        """The limits for the order that comes now: they do not move while it trades."""
        if self.rules.breakers:
            self.low[i], self.high[i], self.low_by[i], self.high_by[i] = self.fence(i)

    def allows(self, i: int, price: int) -> bool:
        """Whether the order that is being dealt with may trade at a price."""
        return not self.rules.breakers or self.low[i] <= price <= self.high[i]

    def what_stops(self, i: int, side: int, limit: int) -> Reason:
        """Why a taker that has lots left after its walk goes no further."""
        return self.what_stops_at(i, side, limit, self.books[i].front(-side))

    def what_stops_at(self, i: int, side: int, limit: int, maker: Any) -> Reason:
        """Why a taker with lots left goes no further than to this maker (None: to the end of the book): a
        halt, a band or the end of knowledge; NONE for its own limit and for a complete book without
        makers."""
        if self.halted_until[i]:
            return Reason.HALTED
        if self.rules.breakers:
            if maker is not None and side * (self.bound(i, side, limit) - maker.price) >= 0:
                self.stopped_side = -1 if maker.price < self.low[i] else 1
                return Reason.BANDED
            edge, fence = (self.known_bid[i], self.low[i]) if side < 0 else (self.known_ask[i], self.high[i])
            if side * (limit - edge) > 0 and side * (edge - fence) > 0:
                self.stopped_side = side
                return Reason.BANDED
        return Reason.BEYOND_DATA if self.meets_the_unknown(i, side, limit) else Reason.NONE

    def rest_is_banded(self, i: int, side: int, limit: int) -> bool:
        """Whether an order may not rest: at its limit it would trade beyond the band."""
        return bool(self.rules.breakers) and (limit > self.high[i] if side > 0 else limit < self.low[i])

    def end_order(self, i: int, side: int, left: int, reason: Reason, order: int) -> None:
        """After an order: a limit that stopped it holds, or halts matching; one that did not
        holds no more."""
        if reason == Reason.BANDED:
            lower = self.stopped_side < 0
            band = self.bands[i][self.low_by[i] if lower else self.high_by[i]]
            price = self.low[i] if lower else self.high[i]
            if band.terms.halt < 0:
                return
            if not band.terms.limit:
                self.halt(i, band.terms.breaker, band.terms.halt, price * MARK_ONE, order)
            elif not band.limit_side:
                band.limit_side, band.limit_since, band.limit_cause = self.stopped_side, self.time_ns, order
        elif not left:
            for band in self.bands[i]:
                if band.limit_side == side:
                    band.limit_side = 0

    def note_trade(self, i: int, price: int) -> None:
        """Keep a trade for the windows."""
        if not any(band.terms.window for band in self.bands[i]):
            return
        instants = self.instants[i]
        if instants and instants[-1].time == self.time_ns:
            instants[-1].add(price)
        else:
            instants.append(Instant(self.time_ns, price))

    # -- halts -----------------------------------------------------------------------------------------------
    def halt(self, i: int, breaker: int, halt_ns: int, price_1024: int, cause: int) -> None:
        """Stop matching in an instrument, unless it is stopped for as long already."""
        until = FOREVER if halt_ns == FOREVER else self.time_ns + halt_ns
        if until <= self.halted_until[i]:
            return
        self.halted_until[i] = until
        self.low[i], self.high[i] = CLOSED
        for band in self.bands[i]:
            band.limit_side = 0
        self.halt_seq[i] = self.emit(
            EventKind.HALT, instrument=i, quantity=-1 if until == FOREVER else until, price_1024=price_1024,
            cause=cause, flags=breaker,
        )  # fmt: skip

    def watch_market(self, i: int, cause: int) -> None:
        """Market-wide halts: after event `cause`, which may have moved the last price or index of i."""
        for level in [x for x in self.levels if x.instrument == i]:
            price = self.last[i] * MARK_ONE if level.kind else self.index[i]
            if 0 < price <= level.threshold:
                self.levels.remove(level)
                for j in range(len(self.terms)):
                    self.halt(j, level.breaker, level.halt, level.threshold, cause)

    def resume(self, i: int) -> None:
        """The end of a halt: bands are around the last price."""
        self.halted_until[i] = 0
        self.emit(EventKind.RESUME, instrument=i, cause=self.halt_seq[i])
        for band in self.bands[i]:
            if band.terms.recentre and self.last[i]:
                band.anchor = band.mean = self.last[i] * MARK_ONE
                band.anchor_time = band.renewed = self.time_ns
                band.first = len(self.instants[i])

    def waits(self, account: Account) -> bool:
        """Whether the account can have no turn: it has positions, all of them in halted instruments; or none,
        and the same of its collateral."""
        rows = account.open_rows() or account.collateral_rows() if self.rules.breakers else []
        return bool(rows) and all(self.halted_until[i] for i, _ in rows)

    def next_due(self, until: int) -> tuple[int, int, int] | None:
        """(time, instrument, -1 or band) of what time brings first, up to `until`: the end of a halt, or of
        the time that a limit must hold."""
        due: list[tuple[int, int, int]] = []
        for i, bands in enumerate(self.bands):
            if 0 < self.halted_until[i] <= until:
                due.append((self.halted_until[i], i, -1))
            for k, band in enumerate(bands):
                end = band.limit_since + band.terms.limit
                if band.limit_side and end <= until:
                    due.append((end, i, k))
        return min(due, default=None)

    def let_time_pass(self, until: int) -> None:
        """What the breakers do up to a time, in its order, then by instrument."""
        while (due := self.next_due(until)) is not None:
            self.time_ns, i, k = due
            if k < 0:
                self.resume(i)
                continue
            band = self.bands[i][k]
            from_low, from_high = self.references(i, band)
            lower = band.limit_side < 0
            price = lower_limit(band.terms, from_high) if lower else upper_limit(band.terms, from_low)
            self.halt(i, band.terms.breaker, band.terms.halt, price * MARK_ONE, band.limit_cause)
        self.time_ns = until
        for i, bands in enumerate(self.bands):
            for band in bands:
                if band.terms.renew and until - band.renewed >= band.terms.renew:
                    band.mean, band.renewed = self.window(i, band)[2], until
        if self.shock_left in (Reason.BANDED, Reason.HALTED):
            self.shock_left = Reason.NONE

    def fences(self) -> list[tuple[int, int, int]]:
        """(lowest, highest price in ticks, halted until) per instrument, as for an order that would come
        now."""
        return [(*self.fence(i)[:2], self.halted_until[i]) for i in range(len(self.terms))]

    # What the classes below bring: books, prices and rules of a run.
    rules: Any
    books: list
    shadow: list[int]
    index: list[int]
    last: list[int]
    known_bid: list[int]
    known_ask: list[int]
    shock_left: Reason
