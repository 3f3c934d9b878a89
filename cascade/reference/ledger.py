"""The ledger: accounts, positions, the event log, every movement of money and contracts, and the audit that
watches them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .._state import COLLATERAL, EXTERNAL, FEES, FUND, SETTLEMENT, SYSTEM, VAULT, Terms
from ..errors import AuditError
from ..instruments import RATE_ONE
from ..records import MAKER_SLOT_SHIFT, NO_INSTRUMENT, TAKER_SLOT_SHIFT, EventKind, Why
from .money import (
    MARK_ONE,
    fee,
    maintenance,
    released_basis,
    sign,
    trade_value,
    value_after_fee,
    value_at_mark,
)


@dataclass(slots=True)
class Position:
    """Signed lots and signed basis (quanta) of one account in one instrument and slot."""

    lots: int = 0
    basis: int = 0


@dataclass(slots=True)
class Account:
    """A margin account: its balance in quanta, its positions by (instrument, slot), and the lots of other
    assets that it holds as collateral by (instrument, COLLATERAL)."""

    index: int
    mode: int
    parent: int
    flags: int
    balance: int
    positions: dict[tuple[int, int], Position] = field(default_factory=dict)
    collateral: dict[tuple[int, int], Position] = field(default_factory=dict)

    def open_rows(self) -> list[tuple[int, int]]:
        return [row for row, p in sorted(self.positions.items()) if p.lots]

    @property
    def flat(self) -> bool:
        return not any(p.lots for p in self.positions.values())

    def collateral_rows(self) -> list[tuple[int, int]]:
        return [row for row, p in sorted(self.collateral.items()) if p.lots]

    @property
    def holds_collateral(self) -> bool:
        return bool(self.collateral_rows())

    def rows_like(self, row: tuple[int, int]) -> dict[tuple[int, int], Position]:
        """The positions or the collateral, whichever a row belongs to."""
        return self.collateral if row[1] == COLLATERAL else self.positions

    def copy(self) -> Account:
        rows, held = (
            {row: Position(p.lots, p.basis) for row, p in table.items()}
            for table in (self.positions, self.collateral)
        )
        return Account(self.index, self.mode, self.parent, self.flags, self.balance, rows, held)


class Ledger:
    """Accounts and positions under double entry: a change is an event, and every event leaves the totals as
    they were.

    Contracts (and collateral) and basis of each instrument sum to zero over all accounts; balances sum to
    `deposits`.
    """

    def __init__(self, state, rules):
        self.state = state
        self.rules = rules
        self.terms = state.terms_under(rules)
        n = len(self.terms)
        self.accounts = [
            Account(i, int(mode), int(parent), int(flags), int(balance))
            for i, (mode, parent, flags, balance) in enumerate(
                zip(
                    state.account_mode, state.account_parent, state.account_flags, state.account_balance,
                    strict=True,
                )
            )
        ]
        self.accounts[FUND].balance = state.fund
        self.accounts[VAULT].balance = state.vault
        external = self.accounts[EXTERNAL].positions
        for i in range(n):
            external[i, 0] = Position()
        columns = state.row_account, state.row_instrument, state.row_slot, state.row_lots, state.row_basis
        rows = zip(*columns, strict=True)
        for a, i, slot, lots, basis in rows:
            self.accounts[a].positions[int(i), int(slot)] = Position(int(lots), int(basis))
            external[int(i), 0].lots -= int(lots)
            external[int(i), 0].basis -= int(basis)
        for a, i, slot, lots, _ in state.holdings.tolist():
            self.accounts[a].collateral[i, slot] = Position(lots, 0)
            external[i, 0].lots -= lots
        # What a collateral asset's value counts for, 1e-12.
        self.weights = [RATE_ONE - int(haircut) for haircut in state.haircut]
        self.weight_history: list[tuple[int, list[int]]] = []  # (event, weights before it)
        for i in range(n):
            self.accounts[SETTLEMENT + i].positions[i, 0] = Position()
        self.deposits = sum(a.balance for a in self.accounts)
        self.seq = -1
        self.wave = 0
        self.time_ns = 0
        self.events: list[tuple] = []
        self.sum_lots = [0] * n
        self.sum_basis = [0] * n
        self.sum_money = self.deposits
        self.changes = 0
        # What every account was after each event that touched it, oldest first: the cause of a liquidation is
        # found in it.
        self.history: dict[int, list[tuple[int, Account]]] = {}
        self.original: dict[int, Account] = {}
        self.taker_fees = 0

    # -- events ----------------------------------------------------------------------------------------------
    def emit(
        self, kind, *, instrument=NO_INSTRUMENT, a=-1, b=-1, quantity=0, price_1024=0, value=0, cause=-1,
        flags=0,
    ):
        """Append an event and return its sequence number."""
        self.seq += 1
        self.events.append(
            (
                self.seq, self.time_ns, cause, quantity, price_1024, value, a, b, self.wave, instrument,
                int(kind), int(flags),
            )
        )
        return self.seq

    def remember(self, account: Account) -> None:
        """Record the account as it is now, after the latest event."""
        if account.mode == SYSTEM:
            return
        self.history.setdefault(account.index, []).append((self.seq, account.copy()))

    def touch(self, account: Account) -> None:
        """Keep the account as it was before its first change."""
        if account.index not in self.original:
            self.original[account.index] = account.copy()

    def account_after(self, index: int, seq: int) -> Account:
        """The account as it was just after event `seq` (-1: before any)."""
        past = self.original.get(index, self.accounts[index])
        for when, snapshot in self.history.get(index, ()):
            if when > seq:
                break
            past = snapshot
        return past

    # -- movements -------------------------------------------------------------------------------------------
    def move_position(self, account: Account, row: tuple[int, int], lots: int, value: int) -> None:
        """Add signed lots and signed value to a position."""
        p = account.rows_like(row).setdefault(row, Position())
        p.lots += lots
        p.basis += value
        self.sum_lots[row[0]] += lots
        self.sum_basis[row[0]] += value

    def transfer(
        self, source: int, target: int, amount: int, why: Why, cause: int, instrument: int = NO_INSTRUMENT
    ) -> None:
        """Move `amount` > 0 quanta between two accounts; nothing else ever changes a balance inside a run."""
        if amount == 0:
            return
        assert amount > 0
        payer, payee = self.accounts[source], self.accounts[target]
        self.touch(payer)
        self.touch(payee)
        self.emit(
            EventKind.TRANSFER, a=source, b=target, value=amount, cause=cause, flags=why,
            instrument=instrument
        )
        before = payer.balance + payee.balance
        payer.balance -= amount
        payee.balance += amount
        self.sum_money += payer.balance + payee.balance - before
        self.changes += 1
        self.remember(payer)
        self.remember(payee)
        self.audit()

    def realised(
        self, account: Account, row: tuple[int, int], lots: int, value: int, price: int | None
    ) -> int:
        """Profit that a trade of signed lots and value realises; 0 where it only adds.

        A flip is a close, then an open: at a price the close is worth its value there, without one its share
        of `value`.
        """
        p = account.rows_like(row).get(row)
        realises = account.mode != SYSTEM or account.index == VAULT
        if not realises or p is None or sign(p.lots) * sign(lots) >= 0:
            return 0
        closed = min(abs(lots), abs(p.lots))
        if closed < abs(lots):
            if price is None:
                value = value * closed // abs(lots)
            else:
                value = trade_value(self.terms[row[0]], sign(lots) * closed, price)
        return -(value + released_basis(p.basis, closed, abs(p.lots)))

    def settle_realised(self, account: Account, row: tuple[int, int], profit: int, cause: int) -> None:
        """Move realised profit between the account and the instrument's settlement account, basis with it."""
        if profit == 0:
            return
        i = row[0]
        settlement = SETTLEMENT + i
        self.move_position(account, row, 0, profit)
        self.move_position(self.accounts[settlement], (i, 0), 0, -profit)
        ends = (settlement, account.index) if profit > 0 else (account.index, settlement)
        self.transfer(*ends, abs(profit), Why.REALISED, cause, i)

    def trade(
        self, kind, taker, row, maker, maker_row, lots, value, price, *, event_cause, money_cause, flags=0
    ) -> int:
        """Exchange `lots` (the taker's, signed) at signed `value` between two accounts, then settle what each
        realised.

        Returns the sequence number of the trade's event. `price` is None where the value was agreed as a
        whole.
        """
        i = row[0]
        self.touch(taker)
        self.touch(maker)
        price_1024 = 0 if price is None else price * MARK_ONE
        seq = self.emit(
            kind, instrument=i, a=taker.index, b=maker.index, quantity=lots, price_1024=price_1024,
            value=value,
            cause=event_cause, flags=flags | row[1] << TAKER_SLOT_SHIFT | maker_row[1] << MAKER_SLOT_SHIFT,
        )  # fmt: skip
        taker_profit = self.realised(taker, row, lots, value, price)
        self.move_position(taker, row, lots, value)
        maker_profit = self.realised(maker, maker_row, -lots, -value, price)
        self.move_position(maker, maker_row, -lots, -value)
        self.changes += 1
        self.remember(taker)
        self.remember(maker)
        self.audit()
        self.settle_realised(taker, row, taker_profit, money_cause)
        self.settle_realised(maker, maker_row, maker_profit, money_cause)
        return seq

    def charge(self, account: Account, rate: int, value: int, instrument: int, cause: int) -> int:
        """Charge (or rebate) a trading fee on a trade of this value; the external account pays none."""
        if account.index == EXTERNAL:
            return 0
        amount = fee(rate, abs(value))
        ends = (account.index, FEES) if amount > 0 else (FEES, account.index)
        self.transfer(*ends, abs(amount), Why.FEE, cause, instrument)
        return amount

    # -- valuation -------------------------------------------------------------------------------------------
    def equity(self, account: Account, marks: list[int]) -> int:
        """Balance, unrealised profit and collateral. Between a closing FILL and its transfer the profit still
        sits in a flat row's basis."""
        return self.settlement_equity(account, marks) + self.collateral_value(account, marks)

    def settlement_equity(self, account: Account, marks: list[int]) -> int:
        """Balance and unrealised profit: what the account has in the settlement asset alone."""
        return account.balance + sum(
            (value_at_mark(self.terms[i], p.lots, marks[i]) if p.lots else 0) - p.basis
            for (i, _), p in account.positions.items()
        )

    def collateral_value(self, account: Account, marks: list[int]) -> int:
        """What collateral in other assets counts for; what a sale has brought sits in its basis for a
        moment."""
        return sum(
            self.after_haircut(i, p.lots, marks[i]) - p.basis for (i, _), p in account.collateral.items()
        )

    def after_haircut(self, i: int, lots: int, mark: int) -> int:
        """What lots of a collateral asset count for: its part of their value at the mark, both rounded
        down."""
        return value_at_mark(self.terms[i], lots, mark) * self.weights[i] // RATE_ONE

    def row_maintenance(self, account: Account, row: tuple[int, int], marks: list[int]) -> int:
        """Maintenance of an open position: on its notional at the mark or at entry, and a closing fee where
        the rules have one."""
        return self.maintenance_of(row[0], account.positions[row], account.balance, marks)

    def maintenance_of(self, i: int, p: Position, balance: int, marks: list[int]) -> int:
        """Maintenance of an open position in instrument i, in an account of this balance."""
        terms, on_entry = self.terms[i], self.rules.maintenance_on == "entry"
        value = p.basis if on_entry else value_at_mark(terms, p.lots, marks[i])
        needed = maintenance(terms, abs(value), p.lots)
        if self.rules.maintenance_fee == "taker_at_bankruptcy":
            # As if the position were the account's only one: what the marks say of others does not matter.
            closing = self.closing_value(terms, balance - p.basis)
            needed += fee(terms.closing_fee, abs(closing))
        return needed

    def account_maintenance(self, account: Account, marks: list[int]) -> int:
        return sum(self.row_maintenance(account, row, marks) for row in account.open_rows())

    def closing_value(self, terms: Terms, value: int) -> int:
        """The value at which a position can be closed when the account can spend `value` on it."""
        if self.rules.bankruptcy_fee == "none":
            return value
        return value_after_fee(terms.closing_fee, value)

    def bankruptcy_value(self, account: Account, row: tuple[int, int], marks: list[int]) -> int:
        """The signed value of the closing trade, of the whole position, that uses up the account's equity, or
        the position's share of it by maintenance; with its fee, where the rules have it so."""
        return self.bankruptcy_values(account, row, marks)(abs(account.positions[row].lots))

    def bankruptcy_values(
        self, account: Account, row: tuple[int, int], marks: list[int]
    ) -> Callable[[int], int]:
        """What the first k lots of a position are worth at its bankruptcy price, as the account stands now.

        They add up to the same however a closing is split: over fills, gap walk, vault and deleveraging.
        """
        i, p, balance = row[0], account.positions[row], account.balance
        terms, held, equity = self.terms[i], Position(p.lots, p.basis), self.equity(account, marks)
        value, lots = value_at_mark(terms, p.lots, marks[i]), abs(p.lots)
        whole = self.account_maintenance(account, marks)
        if self.rules.bankruptcy_share == "whole" or not whole:
            total = self.closing_value(terms, equity - value)
            return lambda k: total * k // lots
        needed = self.row_maintenance(account, row, marks)

        def first(k: int) -> int:
            left = Position(held.lots - sign(held.lots) * k, held.basis - released_basis(held.basis, k, lots))
            needed_left = self.maintenance_of(i, left, balance, marks) if left.lots else 0
            value_left = value_at_mark(terms, left.lots, marks[i]) if left.lots else 0
            share = equity * (needed - needed_left) // whole
            return self.closing_value(terms, share - (value - value_left))

        return first

    # -- audit -----------------------------------------------------------------------------------------------
    def audit(self) -> None:
        """After every event: contracts and basis sum to zero, money to what was put in, the fund is not
        overdrawn."""
        unbalanced = any(self.sum_lots) or any(self.sum_basis) or self.sum_money != self.deposits
        if unbalanced or self.accounts[FUND].balance < 0:
            raise AuditError(
                f"event {self.seq}: lots {self.sum_lots}, basis {self.sum_basis}, "
                f"money {self.sum_money} of {self.deposits}, fund {self.accounts[FUND].balance}"
            )

    def recount(self) -> None:
        """The same from scratch, over every account."""
        for i in range(len(self.terms)):
            rows = [
                p for a in self.accounts for table in (a.positions, a.collateral)
                for (j, _), p in table.items() if j == i
            ]  # fmt: skip
            if sum(p.lots for p in rows) or sum(p.basis for p in rows):
                raise AuditError(f"event {self.seq}: instrument {i} does not sum to zero")
        if sum(a.balance for a in self.accounts) != self.deposits:
            raise AuditError(f"event {self.seq}: balances do not sum to the deposits")
        for a in self.accounts[SETTLEMENT + len(self.terms) :]:
            if any(p.lots == 0 and p.basis for p in a.positions.values()):
                raise AuditError(f"event {self.seq}: account {a.index} is flat with a basis")
            if any(p.lots < 0 or p.basis for p in a.collateral.values()):
                raise AuditError(f"event {self.seq}: account {a.index} owes collateral, or has a basis in it")
