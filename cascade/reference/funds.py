"""Who stands behind a liquidation with money: the insurance fund and its limits, the vault, sharers, the
deficit."""

from __future__ import annotations

from .._state import DEFICIT, FEES, FUND, ISOLATED, SYSTEM, VAULT
from ..instruments import RATE_ONE
from ..records import EventKind, LiquidationStatus, Why
from .closing import Closing
from .ledger import Account, Ledger
from .money import fee, sign, value_at_mark

TAKERS = {"fund": FUND, "venue": FEES, "vault": VAULT}
"""Whose account a surplus or a liquidation fee goes to."""


class Funds(Ledger):
    """Payments that are not trades."""

    fund_stopped: bool

    # -- the fund --------------------------------------------------------------------------------------------
    def watch_fund(self) -> None:
        """Stop the fund, or let it pay again, by its drawdown since the start of the run.

        Only payments deepen a drawdown, so that looking before and after each of them misses nothing.
        """
        if self.fund_limits is None:
            return
        balance = self.accounts[FUND].balance
        drawdown = self.state.fund - balance
        stays, resumes = self.fund_limits
        if self.fund_stopped:
            self.fund_stopped = drawdown > resumes
        else:
            self.fund_stopped = drawdown > stays and balance > self.numbers["fund_stop_above"]

    def fund_has(self) -> int:
        """What the fund can pay now: nothing while it is stopped, never more than its limit a step."""
        self.watch_fund()
        balance, limit = self.accounts[FUND].balance, self.numbers["fund_per_step"]
        if self.fund_stopped:
            return 0
        return balance if limit is None else min(balance, max(0, limit - self.turn_paid))

    def fund_pays(self, account: Account, amount: int, why: Why, record: dict, **instrument) -> None:
        """A payment of the fund to an account in its turn."""
        self.transfer(FUND, account.index, amount, why, record["seq"], **instrument)
        self.turn_paid += amount
        record["fund"] += amount
        self.watch_fund()

    # -- the vault -------------------------------------------------------------------------------------------
    def vault_has_room(self, taken: list[tuple[int, int, int]]) -> bool:
        """Whether the vault may take lots: (instrument, signed lots of the closing trade, its signed value)
        each.

        Its equity at the marks must stay positive, and the notional of what it then holds, instrument by
        instrument, must not exceed `vault_cap` times its equity.
        """
        vault, notional = self.accounts[VAULT], 0
        equity = vault.balance - sum(p.basis for p in vault.positions.values())
        for i, terms in enumerate(self.terms):
            held = vault.positions.get((i, 0))
            lots = (held.lots if held else 0) - sum(lots for j, lots, _ in taken if j == i)
            value = value_at_mark(terms, lots, self.marks[i]) if lots else 0
            equity += value + sum(value for j, _, value in taken if j == i)
            notional += abs(value)
        cap = self.numbers["vault_cap"]
        return equity > 0 and (cap is None or notional * RATE_ONE <= cap * equity)

    def take_over(self, account: Account, row: tuple[int, int], lots: int, value: int, record: dict) -> None:
        """The vault takes signed lots at a signed value."""
        self.trade(
            EventKind.TAKEOVER, account, row, self.accounts[VAULT], (row[0], 0), lots, value, None,
            event_cause=record["seq"], money_cause=record["seq"]
        )
        record["takeover"] += abs(lots)
        record["closed_value"] += abs(value)
        self.totals["takeover"] += abs(value)

    def vault_takes(self, account, row, left: int, closing: Closing, record: dict) -> int:
        """The vault takes all residual lots at their bankruptcy value, or at the mark where no price implies
        it."""
        i, lots = row[0], sign(closing.signed) * left
        value = value_at_mark(self.terms[i], lots, self.marks[i])
        if closing.has_price:
            value = closing.worth(left)
        if not self.vault_has_room([(i, lots, value)]):
            return left
        self.take_over(account, row, lots, value, record)
        closing.done += left
        return 0

    def vault_takes_all(self, account: Account, rows: list[tuple[int, int]], turn: int) -> bool:
        """The vault takes all positions of an account at their value at mark, its collateral for what that
        counts for, and its positive balance; False if it has no room for all of them."""
        taken = []
        for i, slot in rows:
            lots = -account.positions[i, slot].lots
            taken.append((i, lots, value_at_mark(self.terms[i], lots, self.marks[i])))
        for (i, slot), p in sorted(account.collateral.items()):
            if p.lots:
                rows = [*rows, (i, slot)]
                taken.append((i, -p.lots, -self.after_haircut(i, p.lots, self.marks[i])))
        if not self.vault_has_room(taken):
            return False
        for row, (_, lots, value) in zip(rows, taken, strict=True):
            record = self.new_record(account, turn, row)
            self.contexts.append((self.seq + 1, self.wave, len(self.liquidations)))
            self.take_over(account, row, lots, value, record)
            record["status"] = LiquidationStatus.CLOSED
            self.liquidations.append(record)
            self.count_liquidation(record)
        record["surplus"] = max(0, account.balance)
        self.transfer(account.index, VAULT, record["surplus"], Why.TAKEN, turn)
        return True

    # -- fees and what is left or owed -----------------------------------------------------------------------
    def liquidation_fee(self, account: Account, i: int, record: dict, closing: Closing) -> int:
        """The rate on the notional closed, at most the equity left; or on what was traded in the book, at
        most what the fills were better than the bankruptcy value."""
        rate = self.terms[i].liquidation_fee
        if self.rules.fee_cap == "equity":
            amount = min(fee(rate, record["closed_value"]), max(0, self.equity(account, self.marks)))
        else:
            better = closing.worth_of_fills - record["filled_value"] + record["fund"]
            amount = min(fee(rate, abs(record["filled_value"])), max(0, better))
        self.transfer(
            account.index, TAKERS[self.rules.fee_to], amount, Why.LIQUIDATION_FEE, record["seq"], i
        )
        return amount

    def settle_flat(self, account: Account, turn: int, record: dict) -> None:
        """A flat account: serve what it owes, or hand on what it has left."""
        if account.balance < 0:
            if not account.holds_collateral:  # what could not be sold still stands for the debt
                self.serve_shortfall(account, turn, record)
        elif account.balance > 0:
            record["surplus"] = account.balance
            if self.rules.surplus != "account":
                self.transfer(
                    account.index, TAKERS[self.rules.surplus], account.balance, Why.SURPLUS, turn
                )
        self.sweep(account, turn)

    def sweep(self, account: Account, turn: int) -> None:
        """An isolated account once flat goes to its owner; what it owes is served by a turn of its own, never
        by the owner."""
        if account.mode == ISOLATED and account.flat and account.balance > 0:
            self.transfer(account.index, account.parent, account.balance, Why.SWEEP, turn)

    def serve_shortfall(self, account: Account, turn: int, record: dict) -> None:
        """Bring a flat account's negative balance to zero: the stages in order, then the deficit. What the
        fund may not pay before the next step is left for it."""
        record["shortfall"] = -account.balance
        for stage in self.rules.shortfall:
            owed = -account.balance
            if stage == "socialise":
                paid = self.socialise(account, owed, turn)
                record["socialised"] += paid
                self.totals["socialised"] += paid
            elif stage == "vault":
                paid = min(owed, max(0, self.accounts[VAULT].balance))
                self.transfer(VAULT, account.index, paid, Why.SHORTFALL, turn)
                record["vault"] += paid
            else:
                paid = min(owed, self.fund_has())
                self.fund_pays(account, paid, Why.SHORTFALL, record)
                if paid < owed and self.fund_waits():
                    return
        record["deficit"] = -account.balance
        self.transfer(DEFICIT, account.index, -account.balance, Why.SHORTFALL, turn)

    def fund_waits(self) -> bool:
        """Whether it is its limit a step alone that keeps the fund from paying more."""
        limit = self.numbers["fund_per_step"]
        if not limit or self.fund_stopped or not self.accounts[FUND].balance:
            return False
        return self.turn_paid >= limit

    def socialise(self, account: Account, owed: int, turn: int) -> int:
        """Share a loss over all accounts in proportion to their positive equity, or unrealised profit, by
        largest remainder, ties by index."""
        shares = []
        for other in self.accounts:
            if other.mode != SYSTEM and other is not account:
                weight = self.equity(other, self.marks)
                if self.rules.socialise_by == "profit":
                    weight -= other.balance + self.collateral_value(other, self.marks)
                if weight > 0:
                    shares.append((other.index, weight))
        whole = sum(weight for _, weight in shares)
        total = min(owed, whole)
        if not total:
            return 0
        parts = {index: total * weight // whole for index, weight in shares}
        remainders = sorted((-(total * weight % whole), index) for index, weight in shares)
        for _, index in remainders[: total - sum(parts.values())]:
            parts[index] += 1
        for index, part in parts.items():
            self.transfer(index, account.index, part, Why.SOCIALISED, turn)
        return total
