"""How many lots of a position are ordered: all of them, a fraction, as few as make the account healthy again,
or what brings the position into a lower margin tier."""

from __future__ import annotations

from collections.abc import Callable

from ..instruments import RATE_ONE
from .ledger import Account, Ledger
from .money import fee, maintenance, maintenance_in, sign, tier_of, value_at_mark


def first(holds: Callable[[int], bool], lo: int, hi: int) -> int:
    """By bisection the number after which `holds` begins to hold: it does not at lo and does at hi, or both
    are taken as given."""
    while hi - lo > 1:
        mid = (lo + hi) // 2
        if holds(mid):
            hi = mid
        else:
            lo = mid
    return hi


class Sizes(Ledger):
    """The sizes of liquidation orders. Notionals are at the marks in force."""

    def lots_to_order(self, account: Account, row: tuple[int, int]) -> int:
        """Lots of a position, 1 to all, that the next order is for."""
        rule, lots = self.rules.size, account.positions[row].lots
        if rule == "fraction" and account.index not in self.parted:
            return self.fraction_of(row[0], lots)
        if rule == "restore":
            return self.lots_to_health(account, row)
        if rule == "step_down":
            return self.lots_to_lower_tier(account, row)
        return abs(lots)

    def notional(self, i: int, lots: int) -> int:
        return abs(value_at_mark(self.terms[i], lots, self.marks[i]))

    def fraction_of(self, i: int, lots: int) -> int:
        """At most size_fraction of the lots, but lots for size_minimum, and one; all of them up to a notional
        of size_above."""
        held, side = abs(lots), sign(lots)
        if self.notional(i, lots) <= self.numbers["size_above"]:
            return held
        least = first(lambda n: self.notional(i, side * n) >= self.numbers["size_minimum"], 0, held)
        return max(self.numbers["size_fraction"] * held // RATE_ONE, least)

    def notional_asked_on(self, account: Account, row: tuple[int, int], n: int) -> int:
        """The notional that maintenance is asked on, if n lots of a position were left: at the mark, or their
        share of it at entry."""
        p = account.positions[row]
        if self.rules.maintenance_on == "entry":
            return abs(p.basis) * n // abs(p.lots)
        return self.notional(row[0], sign(p.lots) * n)

    def lots_below(self, account: Account, row: tuple[int, int], floor: int) -> int:
        """The fewest lots whose closing brings the position's notional below a floor; all if none do."""
        held = abs(account.positions[row].lots)
        return first(lambda n: self.notional_asked_on(account, row, held - n) < floor, 0, held)

    def lots_to_lower_tier(self, account: Account, row: tuple[int, int]) -> int:
        """Into the tier `size_steps` below, or all of a position that has not so many tiers below it, or
        that the first of them would not save."""
        terms, held, steps = self.terms[row[0]], abs(account.positions[row].lots), self.rules.size_steps
        tier = tier_of(terms, self.notional_asked_on(account, row, held))
        if tier < steps or (self.rules.first_tier_whole and self.fails_in_first_tier(account, row)):
            return held
        return self.lots_below(account, row, terms.floors[tier - steps + 1])

    def fails_in_first_tier(self, account: Account, row: tuple[int, int]) -> bool:
        """Whether the account would be liquidatable with this position's maintenance at the first tier's
        rate."""
        terms, lots = self.terms[row[0]], account.positions[row].lots
        asked = self.notional_asked_on(account, row, abs(lots))
        needed = self.account_maintenance(account, self.marks)
        needed += maintenance_in(terms, 0, asked, lots) - maintenance(terms, asked, lots)
        equity = self.equity(account, self.marks)
        return equity <= needed if self.rules.trigger == "le" else equity < needed

    def lots_to_health(self, account: Account, row: tuple[int, int]) -> int:
        """The fewest lots whose closing at the mark makes the account healthy with rates raised by
        `size_buffer`; all of them if no number does.

        Tier by tier, from the one that holds now to the lowest: if the first number of lots that leaves the
        position in the tier does it, it is the answer; else, if the last one does, bisection between the two.
        """
        i, lots = row[0], account.positions[row].lots
        terms, held, side = self.terms[i], abs(lots), sign(lots)
        equity = self.equity(account, self.marks)
        others = sum(
            self.buffered(account, r, abs(account.positions[r].lots))
            for r in account.open_rows()
            if r != row
        )

        def healthy(n: int) -> bool:
            closed = self.notional(i, side * n)
            after = equity - fee(terms.taker_fee, closed) - fee(terms.liquidation_fee, closed)
            needed = others + self.buffered(account, row, held - n)
            return after > needed if self.rules.trigger == "le" else after >= needed

        start = 1
        for tier in range(tier_of(terms, self.notional_asked_on(account, row, held)), -1, -1):
            following = self.lots_below(account, row, terms.floors[tier]) if tier else held
            end = min(following, held) - 1
            if start <= end:
                if healthy(start):
                    return start
                if healthy(end):
                    return first(healthy, start, end)
            start = max(start, following)
        return held

    def buffered(self, account: Account, row: tuple[int, int], n: int) -> int:
        """Maintenance of n lots of a position with its rate raised by `size_buffer`; without the fee at
        bankruptcy."""
        needed = maintenance(self.terms[row[0]], self.notional_asked_on(account, row, n), n)
        lots = sign(account.positions[row].lots) * n
        return needed + fee(self.numbers["size_buffer"], self.notional(row[0], lots))

    def within_step(self, i: int, lots: int, n: int) -> int:
        """How many of n lots an order may be for under `notional_per_step`: one at least for an account that
        has closed nothing yet in this step, 0 when the rest must wait."""
        if self.numbers["notional_per_step"] is None:
            return n
        room, side = self.numbers["notional_per_step"] - self.turn_closed, sign(lots)
        if room <= 0 < self.turn_closed:
            return 0
        if self.notional(i, side * n) > room:
            n = first(lambda k: self.notional(i, side * k) > room, 0, n) - 1
        return n or int(self.turn_closed == 0)
