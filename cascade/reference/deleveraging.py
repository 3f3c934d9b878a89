"""Auto-deleveraging: who is closed against, in which order, at which price."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .._state import LINEAR, NEVER_DELEVERAGED, SYSTEM
from ..instruments import RATE_ONE
from ..records import EventKind
from .closing import Closing
from .ledger import Account, Ledger
from .money import sign, value_at_mark


class Deleveraging(Ledger):
    """The other side's positions by rank, closed by contracts."""

    def rank(self, account: Account, row: tuple[int, int], rule: str) -> Fraction:
        """Deleveraging rank, the highest first: integers at the frozen marks and current balances, compared
        exactly."""
        p, terms = account.positions[row], self.terms[row[0]]
        value = value_at_mark(terms, p.lots, self.marks[row[0]])
        profit, size = value - p.basis, max(abs(value), 1)
        equity, basis = max(self.equity(account, self.marks), 1), max(abs(p.basis), 1)
        if rule == "bitmex":  # return x leverage for winners, return / leverage for losers
            if profit > 0:
                return Fraction(profit * size, basis * equity)
            return Fraction(profit * equity, basis * size)
        if rule == "bybit":
            return Fraction(profit * size, basis * equity)
        if rule == "okx":  # return / margin ratio for winners, return x margin ratio for losers
            needed = max(self.account_maintenance(account, self.marks), 1)
            if profit > 0:
                return Fraction(profit * needed, basis * equity)
            return Fraction(profit * equity, basis * needed)
        if rule in ("hyperliquid", "hyperliquid_signed"):  # (mark / entry) x (notional / account value)
            over_entry = Fraction(size, basis) if terms.contract == LINEAR else Fraction(basis, size)
            if rule == "hyperliquid_signed" and p.lots < 0:
                over_entry = 1 / over_entry
            return over_entry * Fraction(size, equity)
        if rule == "binance":  # PnL% x margin ratio
            wallet_and_profit = account.balance + profit
            if wallet_and_profit <= 0:
                return Fraction(0)
            needed = self.row_maintenance(account, row, self.marks)
            return Fraction(max(0, profit) * needed, max(1, account.balance) * wallet_and_profit)
        return Fraction(0)

    def ranking(self, i: int, side: int) -> list[tuple[Fraction, int, tuple[int, int]]]:
        """(rank, account, row) of every position on `side` of an instrument, in deleveraging order: ties by
        account index and slot."""
        found = []
        for other in self.accounts:
            if other.mode == SYSTEM or other.flags & NEVER_DELEVERAGED:
                continue
            for candidate, p in other.positions.items():
                if candidate[0] == i and sign(p.lots) == side:
                    found.append((-self.rank(other, candidate, self.rules.adl_rank), other.index, candidate))
        return [(-rank, index, candidate) for rank, index, candidate in sorted(found)]

    def far_from_mark(self, i: int, closing: Closing) -> bool:
        """Whether the bankruptcy price is further from the mark than `adl_price_band`, relative to the
        mark."""
        band = self.numbers["adl_price_band"]
        if band is None:
            return False
        at_mark, value = abs(value_at_mark(self.terms[i], closing.signed, self.marks[i])), abs(closing.value)
        base = at_mark if self.terms[i].contract == LINEAR else value
        return abs(value - at_mark) * RATE_ONE > band * base

    def adl_value(self, i: int, closing: Closing, k: int, alone: bool = False) -> int:
        """Signed value of the next k lots in deleveraging; `alone`: as if they were the position's first."""
        if self.rules.adl_price == "bankruptcy" and closing.has_price and not self.far_from_mark(i, closing):
            return closing.first(k) if alone else closing.worth(k)
        others: Any = {"index": self.index, "previous_mark": self.previous_marks}
        at = others.get(self.rules.adl_price, self.marks)
        return value_at_mark(self.terms[i], sign(closing.signed) * k, at[i] or self.marks[i])

    def overlaps(self, account: Account, row: tuple[int, int], closing: Closing, k: int) -> bool:
        """Whether a counterparty would keep equity >= 0 after giving up k lots."""
        terms, mark, held = self.terms[row[0]], self.marks[row[0]], account.positions[row].lots
        change = value_at_mark(terms, held - sign(held) * k, mark) - value_at_mark(terms, held, mark)
        return self.equity(account, self.marks) + change + self.adl_value(row[0], closing, k, alone=True) >= 0

    def deleverage(self, account: Account, row, left: int, closing: Closing, record: dict) -> int:
        """Close lots against the highest ranked accounts of the other side, by contracts; the lots left."""
        i, side, turn = row[0], sign(closing.signed), record["seq"]
        matched, need = [], left
        for _, index, candidate in self.ranking(i, side):
            if not need:
                break
            other = self.accounts[index]
            k = min(need, abs(other.positions[candidate].lots))
            if other is account:
                continue
            if self.rules.adl_overlap and not self.overlaps(other, candidate, closing, k):
                continue
            matched.append((other, candidate, k))
            need -= k
        total = left - need
        if not total:
            return left
        value, served = self.adl_value(i, closing, total), 0
        for other, candidate, k in matched:
            part = value * (served + k) // total - value * served // total
            served += k
            self.trade(
                EventKind.ADL, account, row, other, candidate, side * k, part, None, event_cause=turn,
                money_cause=turn
            )
            self.sweep(other, turn)
            self.totals["adl"] += abs(part)
            record["closed_value"] += abs(part)
        closing.done += total
        record["adl"] += total
        return need
