"""One account's turn: its orders, the book, then whoever stands behind it - fund, vault, deleveraging,
sharers, deficit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .._state import DEFICIT, EXTERNAL, FEES, FUND, ISOLATED, LINEAR, NEVER_DELEVERAGED, SYSTEM, VAULT
from ..errors import AuditError
from ..instruments import PRICE_LIMIT
from ..records import EventKind, LiquidationStatus, Reason, Why
from .breakers import Breakers
from .ledger import Account
from .money import (
    bankruptcy_limit,
    fee,
    implied_price_exists,
    sign,
    trade_value,
    value_at_mark,
)

LIQUIDATION_ORDER, FUND_WALK_ORDER = 1, 2
"""Flags of ORDER and FILL events."""
OPEN_STATUS = {
    Reason.NONE: LiquidationStatus.STRANDED,
    Reason.BEYOND_DATA: LiquidationStatus.BEYOND_DATA,
    Reason.BANDED: LiquidationStatus.BANDED,
    Reason.HALTED: LiquidationStatus.HALTED,
}
"""What becomes of lots that an order left, by what stopped it."""
WAITING = (LiquidationStatus.BANDED, LiquidationStatus.HALTED)
"""Lots that wait for a band to move or a halt to end."""


class Closing:
    """The bankruptcy value of one position, fixed when its order is sent and handed out lot by lot.

    The first k of its lots are worth floor(value * k / lots), so that any split over fills, gap walk, vault
    and deleveraging adds up to the same.
    """

    def __init__(self, lots: int, value: int):
        self.lots, self.value, self.done = abs(lots), value, 0

    def worth(self, k: int) -> int:
        """Value of the next k lots."""
        return self.value * (self.done + k) // self.lots - self.value * self.done // self.lots


class Waterfall(Breakers):
    """Turns and the waterfall behind them."""

    # -- trading ---------------------------------------------------------------------------------------------
    def fill(self, i, taker, slot, maker, signed, order, money_cause, flags=0, quiet=False) -> int:
        """Trade signed lots against the order `maker` at its price; the taker's signed value."""
        price, terms, owner = maker.price, self.terms[i], self.accounts[maker.owner]
        value = trade_value(terms, signed, price)
        seq = self.trade(
            EventKind.FILL, taker, (i, slot), owner, (i, 0), signed, value, price,
            event_cause=order, money_cause=money_cause, flags=flags,
        )  # fmt: skip
        self.taker_fees += self.charge(taker, terms.taker_fee, value, i, money_cause)
        self.charge(owner, terms.maker_fee, value, i, money_cause)
        self.books[i].take(maker, abs(signed))
        self.last[i] = price
        self.note_trade(i, price)
        if not quiet:
            self.audit_book(i)
            self.update_shadow(i, seq)
            self.watch_market(i, seq)
        return value

    def audit_book(self, i: int) -> None:
        """After trading: best bid below best ask."""
        bid, ask = self.books[i].best(1), self.books[i].best(-1)
        if bid is not None and ask is not None and bid >= ask:
            raise AuditError(f"event {self.seq}: the book of instrument {i} is crossed, {bid} >= {ask} ticks")

    def next_maker(self, i: int, side: int, limit: int):
        """The order that a taker on `side` meets next within its limit, what is known of the book, and the
        bands."""
        maker = self.books[i].front(-side)
        if maker is None or not self.allows(i, maker.price):
            return None
        return maker if side * (self.bound(i, side, limit) - maker.price) >= 0 else None

    def bound(self, i: int, side: int, limit: int) -> int:
        """The last price at which a taker may trade: its limit, or the end of knowledge."""
        return max(limit, self.known_bid[i]) if side < 0 else min(limit, self.known_ask[i])

    def meets_the_unknown(self, i: int, side: int, limit: int) -> bool:
        """Whether a taker that found no maker was stopped by the end of knowledge rather than by its
        limit."""
        edge = self.known_bid[i] if side < 0 else self.known_ask[i]
        if side * (limit - edge) <= 0:
            return False
        self.known_until.setdefault(i, edge)
        return True

    def walk(self, i, account, slot, signed, limit, order, money_cause, flags=0) -> tuple[int, int, Reason]:
        """Take up to `signed` lots within `limit` (None: any price): (lots left, signed value, what stopped
        it if not its limit or a lack of makers)."""
        self.begin_order(i)
        side, left, total = sign(signed), abs(signed), 0
        if limit is None:
            limit = PRICE_LIMIT - 1 if side > 0 else 1
        while left and (maker := self.next_maker(i, side, limit)):
            if self.gives_way(i, account, maker, order):
                continue
            k = min(left, maker.lots)
            total += self.fill(i, account, slot, maker, side * k, order, money_cause, flags)
            left -= k
        return left, total, self.what_stops(i, side, limit) if left else Reason.NONE

    def gives_way(self, i: int, account: Account, maker, order: int) -> bool:
        """A liquidation never trades with its owner's own orders: they are taken off as it meets them."""
        owner = account.parent if account.mode == ISOLATED else account.index
        if maker.owner != owner or owner == EXTERNAL:
            return False
        self.cancel(i, maker, order, Reason.STP)
        return True

    def cancel(self, i: int, order, cause: int, reason: Reason) -> None:
        """Take a resting order off its book."""
        side = order.side
        seq = self.emit(
            EventKind.CANCEL, instrument=i, a=order.owner, quantity=side * order.lots, cause=cause,
            flags=reason
        )
        self.books[i].remove(order)
        self.update_shadow(i, seq)

    # -- the turn --------------------------------------------------------------------------------------------
    def position_order(self, account: Account) -> list[tuple[int, int]]:
        """The open positions in the order in which they are taken."""
        rule = self.rules.position_order

        def weight(row):
            p = account.positions[row]
            value = value_at_mark(self.terms[row[0]], p.lots, self.marks[row[0]])
            if rule == "maintenance":
                return -self.row_maintenance(row, p, self.marks)
            if rule == "notional":
                return -abs(value)
            return value - p.basis if rule == "loss" else 0

        return sorted(account.open_rows(), key=lambda row: (weight(row), row))

    def turn(self, account: Account, queued_seq: int) -> bool:
        """Liquidate one account as far as the rules go; False when it has recovered meanwhile."""
        index, equity, changes = account.index, self.equity(account, self.marks), self.changes
        if not self.liquidatable(account, self.marks):
            self.emit(EventKind.RECOVERED, a=index, value=equity, cause=queued_seq)
            self.recovered += 1
            self.note_health(account)
            return False
        if self.waits(account):
            self.left[index] = LiquidationStatus.HALTED
            return False
        turn = self.emit(EventKind.TURN, a=index, value=equity, cause=queued_seq)
        self.contexts.append((turn, self.wave, len(self.liquidations)))
        if self.rules.cancel_orders:
            for i, book in enumerate(self.books):
                for order in book.owner_orders(index):
                    self.cancel(i, order, turn, Reason.OWNER)
        first_row, open_reasons = len(self.liquidations), []
        for row in self.position_order(account):
            if self.rules.size == "whole" and not self.liquidatable(account, self.marks):
                break
            if account.positions[row].lots and self.halted_until[row[0]]:
                open_reasons.append(LiquidationStatus.HALTED)
            elif account.positions[row].lots:
                record = self.close(account, row, turn)
                if record["left"]:
                    open_reasons.append(LiquidationStatus(record["status"]))
        if len(self.liquidations) == first_row:
            self.liquidations.append(self.new_record(account, turn, None))
            if not account.flat:
                self.liquidations[-1]["status"] = LiquidationStatus.HALTED
        if account.flat:
            self.settle_flat(account, turn, self.liquidations[-1])
        self.note_health(account)
        self.left.pop(index, None)
        if self.liquidatable(account, self.marks):
            if self.changes == changes:
                self.idle[index] = (changes, self.marks)
            if open_reasons:
                self.left[index] = min(open_reasons, key=lambda why: (why not in WAITING, why))
                if set(open_reasons) == {LiquidationStatus.BEYOND_DATA}:
                    self.stuck.add(index)
        return True

    def note_health(self, account: Account) -> None:
        """After its turn: the account is healthy again if it is so at the frozen marks and at the shadow
        marks, where causes are looked for; else it keeps its cause."""
        if not self.liquidatable(account, self.marks) and not self.liquidatable(account, self.shadow):
            self.healthy_at[account.index] = self.seq
            self.cause.pop(account.index, None)

    def new_record(self, account: Account, turn: int, row: tuple[int, int] | None) -> dict:
        """The row of `result.liquidations` for one position of a turn (or for a turn that finds none)."""
        cause = self.cause[account.index]
        record = {
            "seq": turn, "order_seq": -1, "step": self.step_number, "time_ns": self.time_ns,
            "wave": self.wave,
            "cause": cause, "cause_row": self.context_of(cause)[1] if cause >= 0 else -1,
            "account": account.index, "instrument": -1, "slot": 0,
            "equity": self.equity(account, self.marks),
            "maintenance": self.account_maintenance(account, self.marks),
            "mark": 0, "value": 0, "row_maintenance": 0, "bankruptcy_value": 0, "quantity": 0, "filled": 0,
            "filled_value": 0, "closed_value": 0, "fee": 0, "surplus": 0, "shortfall": 0, "fund": 0,
            "vault": 0, "adl": 0, "takeover": 0, "socialised": 0, "deficit": 0, "left": 0,
            "status": LiquidationStatus.FLAT,
        }  # fmt: skip
        if row is not None:
            p, (i, slot) = account.positions[row], row
            value = value_at_mark(self.terms[i], p.lots, self.marks[i])
            record |= {
                "instrument": i, "slot": slot, "mark": self.marks[i], "value": value,
                "row_maintenance": self.row_maintenance(row, p, self.marks), "quantity": -p.lots,
                "bankruptcy_value": record["equity"] - value,
            }  # fmt: skip
        return record

    def close(self, account: Account, row: tuple[int, int], turn: int) -> dict:
        """Send one order for a whole position; what the book does not take goes through the residual
        stages."""
        i, slot = row
        terms = self.terms[i]
        record = self.new_record(account, turn, row)
        signed = record["quantity"]
        closing = Closing(signed, record["bankruptcy_value"])
        has_price = implied_price_exists(terms, signed, closing.value)
        limit = None
        if self.rules.order_price == "bankruptcy":
            # Without a positive implied price the limit clamps to where it lies: at or below 0, or (inverse)
            # beyond infinity.
            edge = 1 if terms.contract == LINEAR else PRICE_LIMIT - 1
            limit = bankruptcy_limit(terms, signed, closing.value) if has_price else edge
        order = self.emit(
            EventKind.ORDER, instrument=i, a=account.index, quantity=signed, price_1024=(limit or 0) * 1024,
            cause=turn, flags=LIQUIDATION_ORDER,
        )  # fmt: skip
        self.contexts.append((order, self.wave, len(self.liquidations)))
        record["order_seq"] = order
        fees_before = self.taker_fees
        left, value, stop = self.walk(i, account, slot, signed, limit, order, turn, LIQUIDATION_ORDER)
        self.cancel_rest(i, account, signed, left, stop, order)
        closing.done = abs(signed) - left
        record["filled"], record["filled_value"], record["closed_value"] = closing.done, value, abs(value)
        for stage in self.rules.residual:
            if not left or stop:
                break
            if stage == "fund_walk":
                if limit is not None and has_price and self.accounts[FUND].balance:
                    left, stop = self.fund_walk(account, row, left, closing, record)
            elif stage == "vault":
                left = self.vault_takes(account, row, left, closing, record, has_price)
            else:
                left = self.deleverage(account, row, left, closing, record, has_price)
        record["fee"] = self.taker_fees - fees_before + self.liquidation_fee(account, i, record)
        record["left"] = left
        record["status"] = OPEN_STATUS[stop] if left else LiquidationStatus.CLOSED
        self.liquidations.append(record)
        self.count_liquidation(record)
        return record

    def cancel_rest(self, i: int, account: Account, signed: int, left: int, stop: Reason, order: int) -> None:
        """Record that the unfilled rest of a liquidation order is taken off."""
        if left:
            self.emit(
                EventKind.CANCEL, instrument=i, a=account.index, quantity=sign(signed) * left, cause=order,
                flags=stop or Reason.IOC
            )
        self.end_order(i, sign(signed), left, stop, order)

    def count_liquidation(self, record: dict) -> None:
        """Add one closing to the totals: first order is wave 1 but for who was unhealthy before the shock."""
        if record["left"] < abs(record["quantity"]):
            self.closed_accounts.add(record["account"])
        lots, notional = abs(record["quantity"]) - record["left"], record["closed_value"]
        self.count_wave(record["wave"], record["instrument"], lots, notional, accounts=int(lots > 0))
        self.totals["notional"] += notional
        order = "initial" if record["cause"] == -2 else "first" if record["wave"] == 1 else "higher"
        self.totals[order] += notional

    # -- residual lots ---------------------------------------------------------------------------------------
    def fund_walk(self, account, row, left, closing, record) -> tuple[int, Reason]:
        """Walk on below the bankruptcy price while the fund can pay each lot's gap whole."""
        i, slot = row
        side, turn = sign(record["quantity"]), record["seq"]
        limit = PRICE_LIMIT - 1 if side > 0 else 1
        order = self.emit(
            EventKind.ORDER, instrument=i, a=account.index, quantity=side * left, cause=turn,
            flags=FUND_WALK_ORDER
        )
        self.begin_order(i)
        stopped = False
        while left and not stopped and (maker := self.next_maker(i, side, limit)):
            if self.gives_way(i, account, maker, order):
                continue
            wanted = min(left, maker.lots)
            k = self.affordable(i, side, maker.price, wanted, closing)
            stopped = k < wanted
            if k:
                worth = closing.worth(k)
                value = self.fill(i, account, slot, maker, side * k, order, turn, flags=FUND_WALK_ORDER)
                gap = max(0, value - worth)
                self.transfer(FUND, account.index, gap, Why.GAP, turn, i)
                closing.done += k
                left -= k
                record["fund"] += gap
                record["filled"] += k
                record["filled_value"] += value
                record["closed_value"] += abs(value)
        stop = Reason.NONE
        if left and (not stopped or self.halted_until[i]):
            stop = self.what_stops(i, side, limit)
        self.cancel_rest(i, account, side, left, stop, order)
        return left, stop

    def affordable(self, i: int, side: int, price: int, lots: int, closing: Closing) -> int:
        """The most lots, up to `lots`, whose gap at this price the fund can pay."""
        fund = self.accounts[FUND].balance

        def pays(k: int) -> bool:
            return trade_value(self.terms[i], side * k, price) - closing.worth(k) <= fund

        if pays(lots):
            return lots
        yes, no = 0, lots
        while no - yes > 1:
            mid = (yes + no) // 2
            if pays(mid):
                yes = mid
            else:
                no = mid
        return yes

    def vault_takes(self, account, row, left, closing, record, has_price) -> int:
        """The vault takes all residual lots at their bankruptcy value if its equity at the marks stays
        positive."""
        i = row[0]
        side, turn = sign(record["quantity"]), record["seq"]
        vault, terms = self.accounts[VAULT], self.terms[i]
        value = closing.worth(left) if has_price else value_at_mark(terms, side * left, self.marks[i])
        held = vault.positions.get((i, 0))
        before = held.lots if held else 0
        change = (
            value_at_mark(terms, before - side * left, self.marks[i])
            - (value_at_mark(terms, before, self.marks[i]) if before else 0)
            + value
        )
        if self.equity(vault, self.marks) + change <= 0:
            return left
        self.trade(
            EventKind.TAKEOVER, account, row, vault, (i, 0), side * left, value, None, event_cause=turn,
            money_cause=turn
        )
        closing.done += left
        record["takeover"] += left
        record["closed_value"] += abs(value)
        self.totals["takeover"] += abs(value)
        return 0

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
        if rule == "hyperliquid":  # (mark / entry) x (notional / account value)
            over_entry = Fraction(size, basis) if terms.contract == LINEAR else Fraction(basis, size)
            return over_entry * Fraction(size, equity)
        if rule == "binance":  # PnL% x margin ratio
            wallet_and_profit = account.balance + profit
            if wallet_and_profit <= 0:
                return Fraction(0)
            needed = self.row_maintenance(row, p, self.marks)
            return Fraction(max(0, profit) * needed, max(1, account.balance) * wallet_and_profit)
        return Fraction(0)

    def counterparties(self, account: Account, row: tuple[int, int]) -> list[tuple[Account, tuple[int, int]]]:
        """Open positions on the other side of the same instrument, in deleveraging order, ties by account
        index and slot."""
        i, own = row[0], sign(account.positions[row].lots)
        found = []
        for other in self.accounts:
            if other.mode == SYSTEM or other is account or other.flags & NEVER_DELEVERAGED:
                continue
            for candidate, p in other.positions.items():
                if candidate[0] == i and sign(p.lots) == -own:
                    found.append((-self.rank(other, candidate, self.rules.adl_rank), other.index, candidate))
        return [(self.accounts[index], candidate) for _, index, candidate in sorted(found)]

    def deleverage(self, account, row, left, closing, record, has_price) -> int:
        """Close residual lots against the highest ranked accounts of the other side, by contracts."""
        i, terms = row[0], self.terms[row[0]]
        side, turn = sign(record["quantity"]), record["seq"]
        matched, need = [], left
        for other, candidate in self.counterparties(account, row):
            if not need:
                break
            k = min(need, abs(other.positions[candidate].lots))
            matched.append((other, candidate, k))
            need -= k
        total = left - need
        if not total:
            return left
        if self.rules.adl_price == "bankruptcy" and has_price:
            value = closing.worth(total)
        else:
            at: Any = {"index": self.index, "previous_mark": self.previous_marks}.get(
                self.rules.adl_price, self.marks
            )
            value = value_at_mark(terms, side * total, at[i] or self.marks[i])
        served = 0
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

    # -- money -----------------------------------------------------------------------------------------------
    def liquidation_fee(self, account: Account, i: int, record: dict) -> int:
        """min(rate * notional closed, what equity is left), to the fund or the venue."""
        rate = self.terms[i].liquidation_fee
        amount = min(fee(rate, record["closed_value"]), max(0, self.equity(account, self.marks)))
        target = FUND if self.rules.fee_to == "fund" else FEES
        self.transfer(account.index, target, amount, Why.LIQUIDATION_FEE, record["seq"], i)
        return amount

    def settle_flat(self, account: Account, turn: int, record: dict) -> None:
        """A flat account: serve what it owes, or hand on what it has left."""
        if account.balance < 0:
            self.serve_shortfall(account, turn, record)
        elif account.balance > 0:
            record["surplus"] = account.balance
            if self.rules.surplus == "fund":
                self.transfer(account.index, FUND, account.balance, Why.SURPLUS, turn)
        self.sweep(account, turn)

    def sweep(self, account: Account, turn: int) -> None:
        """An isolated account once flat goes to its owner; what it owes is served by a turn of its own, never
        by the owner."""
        if account.mode == ISOLATED and account.flat and account.balance > 0:
            self.transfer(account.index, account.parent, account.balance, Why.SWEEP, turn)

    def serve_shortfall(self, account: Account, turn: int, record: dict) -> None:
        """Bring a flat account's negative balance to zero: the stages in order, then the deficit."""
        record["shortfall"] = -account.balance
        for stage in self.rules.shortfall:
            owed = -account.balance
            if stage == "socialise":
                paid = self.socialise(account, owed, turn)
                record["socialised"] += paid
                self.totals["socialised"] += paid
            else:
                source = FUND if stage == "fund" else VAULT
                paid = min(owed, max(0, self.accounts[source].balance))
                self.transfer(source, account.index, paid, Why.SHORTFALL, turn)
                record[stage] += paid
        record["deficit"] = -account.balance
        self.transfer(DEFICIT, account.index, -account.balance, Why.SHORTFALL, turn)

    def socialise(self, account: Account, owed: int, turn: int) -> int:
        """Share a loss over all accounts in proportion to their positive equity, by largest remainder, ties
        by index."""
        shares = []
        for other in self.accounts:
            if other.mode != SYSTEM and other is not account:
                equity = self.equity(other, self.marks)
                if equity > 0:
                    shares.append((other.index, equity))
        whole = sum(equity for _, equity in shares)
        total = min(owed, whole)
        if not total:
            return 0
        parts = {index: total * equity // whole for index, equity in shares}
        remainders = sorted((-(total * equity % whole), index) for index, equity in shares)
        for _, index in remainders[: total - sum(parts.values())]:
            parts[index] += 1
        for index, part in parts.items():
            self.transfer(index, account.index, part, Why.SOCIALISED, turn)
        return total
