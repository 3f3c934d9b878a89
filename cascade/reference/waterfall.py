"""One account's turn: its orders, the book, then whoever stands behind it - fund, vault, deleveraging,
sharers, deficit."""

from __future__ import annotations

from .._state import COLLATERAL, EXTERNAL, ISOLATED, LINEAR
from ..errors import AuditError
from ..instruments import PRICE_LIMIT, RATE_ONE
from ..records import EventKind, LiquidationStatus, Reason, Why
from .breakers import Breakers
from .closing import Closing
from .collateral import CollateralSales
from .deleveraging import Deleveraging
from .funds import Funds
from .ledger import Account
from .money import bankruptcy_limit, implied_price_exists, sign, trade_value, value_at_mark
from .sizes import Sizes

LIQUIDATION_ORDER, FUND_WALK_ORDER = 1, 2
"""Flags of ORDER and FILL events."""
LONG, SHORT = 1, 2
"""Slots of hedge mode."""
OPEN_STATUS = {
    Reason.NONE: LiquidationStatus.STRANDED,
    Reason.BEYOND_DATA: LiquidationStatus.BEYOND_DATA,
    Reason.BANDED: LiquidationStatus.BANDED,
    Reason.HALTED: LiquidationStatus.HALTED,
}
"""What becomes of lots that an order left, by what stopped it."""
WAITING = (LiquidationStatus.BANDED, LiquidationStatus.HALTED)
"""Lots that wait for a band to move or a halt to end."""


class Waterfall(Breakers, Sizes, Deleveraging, CollateralSales, Funds):
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

    def fillable_whole(
        self, i: int, account: Account, side: int, limit: int, lots: int
    ) -> tuple[bool, Reason]:
        """Whether a taker could trade this many lots within its limit, what is known and the bands, its
        owner's own orders left out; and what would stop it if not its limit or a lack of makers."""
        owner, bound = self.owner_of(account), self.bound(i, side, limit)
        self.begin_order(i)
        beyond = None
        for order in self.books[i].side_orders(-side):
            if lots <= 0 or side * (bound - order.price) < 0 or not self.allows(i, order.price):
                beyond = order
                break
            lots -= order.lots if order.owner != owner else 0
        if lots <= 0:
            return True, Reason.NONE
        return False, self.what_stops_at(i, side, limit, beyond)

    def owner_of(self, account: Account) -> int:
        """The account that a liquidated one's resting orders belong to."""
        return account.parent if account.mode == ISOLATED else account.index

    def gives_way(self, i: int, account: Account, maker, order: int) -> bool:
        """A liquidation never trades with its owner's own orders: they are taken off as it meets them."""
        owner = self.owner_of(account)
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
                return -self.row_maintenance(account, row, self.marks)
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
        self.turn_paid = self.turn_closed = 0
        if self.rules.cancel_orders:
            for i, book in enumerate(self.books):
                for order in book.owner_orders(index):
                    self.cancel(i, order, turn, Reason.OWNER)
        offset = self.rules.offset_hedges and self.offset_hedges(account, turn)
        first_row = len(self.liquidations)
        statuses: list[LiquidationStatus] = []
        parted = False
        if self.rules.collateral_sale == "first":
            self.sell_collateral(account, turn, statuses)
        unsold = bool(statuses)
        rows = self.position_order(account)
        if self.is_below(account, "adl_below"):
            for row in rows:
                self.deleverage_row(account, row, turn)
        elif self.is_below(account, "vault_below"):
            self.vault_takes_all(account, rows, turn)
        for row in rows:
            if self.rules.size != "all" and not self.liquidatable(account, self.marks):
                break
            if account.positions[row].lots:
                parted |= self.take(account, row, turn, statuses)
        if account.flat and not unsold:
            self.sell_collateral(account, turn, statuses)
        if len(self.liquidations) == first_row:
            self.liquidations.append(self.new_record(account, turn, None))
            if LiquidationStatus.HALTED in statuses:
                self.liquidations[-1]["status"] = LiquidationStatus.HALTED
            elif offset:
                self.liquidations[-1]["status"] = LiquidationStatus.OFFSET
        if account.flat:
            self.settle_flat(account, turn, self.liquidations[-1])
        self.note_health(account)
        self.left.pop(index, None)
        if parted and self.rules.size == "fraction" and self.rules.then_whole and index not in self.parted:
            self.parted.add(index)
            self.changes += 1  # its next turn is another one, even if this one traded nothing
        if self.liquidatable(account, self.marks):
            if self.changes == changes:
                self.idle[index] = (changes, self.marks)
            open_reasons = [s for s in statuses if s != LiquidationStatus.PART]
            if open_reasons:
                self.left[index] = min(open_reasons, key=lambda why: (why not in WAITING, why))
            if set(statuses) == {LiquidationStatus.BEYOND_DATA}:
                self.stuck.add(index)
            elif parted and self.changes != changes:
                self.rest_until[index] = self.time_ns + self.rules.cooldown_ns
        return True

    def note_health(self, account: Account) -> None:
        """After its turn: the account is healthy again if it is so at the frozen marks and at the shadow
        marks, where causes are looked for; else it keeps its cause."""
        if not self.liquidatable(account, self.marks) and not self.liquidatable(account, self.shadow):
            self.healthy_at[account.index] = self.seq
            self.cause.pop(account.index, None)

    def is_below(self, account: Account, field: str) -> bool:
        """Whether an account with open positions has less equity than this part of its maintenance."""
        numerator, denominator = self.ratios[field]
        if not denominator or account.flat:
            return False
        needed = self.account_maintenance(account, self.marks)
        return self.equity(account, self.marks) * denominator < numerator * needed

    def offset_hedges(self, account: Account, turn: int) -> bool:
        """Close long against short slots at the mark, instrument by instrument; whether there were any."""
        found = False
        for i, slot in account.open_rows():
            other = account.positions.get((i, SHORT))
            if slot == LONG and other is not None and other.lots:
                k = min(abs(account.positions[i, LONG].lots), abs(other.lots))
                found = True
                self.trade(
                    EventKind.OFFSET, account, (i, LONG), account, (i, SHORT), -k,
                    value_at_mark(self.terms[i], -k, self.marks[i]), None, event_cause=turn, money_cause=turn
                )
        return found

    def take(self, account: Account, row: tuple[int, int], turn: int, statuses: list) -> bool:
        """The orders of one position in one turn; whether a part of it was ordered for which the account then
        rests.

        Adds to `statuses` what became of the lots ordered last: PART where more of the position was not
        ordered.
        """
        while True:
            if self.halted_until[row[0]]:
                statuses.append(LiquidationStatus.HALTED)
                return False
            held = abs(account.positions[row].lots)
            wanted = self.lots_to_order(account, row)
            n = self.within_step(row[0], account.positions[row].lots, wanted)
            if not n:  # the rest of what this step may close is for the next one
                statuses.append(LiquidationStatus.PART)
                return False
            follows = wanted < held and self.rules.size != "fraction"
            record = self.close(account, row, turn, n, follows=follows and n == wanted)
            if n < wanted:
                statuses.append(self.status_of_cut(record))
                return False
            if follows:
                if not self.liquidatable(account, self.marks):
                    return False
                if self.rules.size == "step_down" and not record["left"]:
                    if self.rules.cooldown_ns:
                        statuses.append(LiquidationStatus.PART)
                        return True
                    continue
                if self.halted_until[row[0]]:
                    statuses.append(LiquidationStatus.HALTED)
                    return False
                held = abs(account.positions[row].lots)
                n = self.within_step(row[0], account.positions[row].lots, held)
                if n:
                    record = self.close(account, row, turn, n)
                if n < held:
                    statuses.append(self.status_of_cut(record) if n else LiquidationStatus.PART)
                    return False
            if record["left"]:
                statuses.append(LiquidationStatus(record["status"]))
            elif n < held:
                statuses.append(LiquidationStatus.PART)
            return n < held

    @staticmethod
    def status_of_cut(record: dict) -> LiquidationStatus:
        """What becomes of a position whose order the step's limit cut: the rest waits for the next step, but
        for what stopped the order itself."""
        return LiquidationStatus(record["status"]) if record["left"] else LiquidationStatus.PART

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
            "vault": 0, "adl": 0, "takeover": 0, "socialised": 0, "deficit": 0, "left": 0, "held": 0,
            "status": LiquidationStatus.FLAT,
        }  # fmt: skip
        if row is not None:
            p, (i, slot) = account.rows_like(row)[row], row
            value = value_at_mark(self.terms[i], p.lots, self.marks[i])
            record |= {
                "instrument": i, "slot": slot, "mark": self.marks[i], "value": value, "quantity": -p.lots,
                "held": p.lots,
            }  # fmt: skip
        if row is not None and row[1] != COLLATERAL:
            record["row_maintenance"] = self.row_maintenance(account, row, self.marks)
            record["bankruptcy_value"] = self.bankruptcy_value(account, row, self.marks)
        return record

    def close(self, account: Account, row, turn: int, n: int, *, follows: bool = False) -> dict:
        """Send one order for n lots of a position; what the book does not take goes through the residual
        stages, or is left to the order that follows."""
        i, slot = row
        record = self.new_record(account, turn, row)
        closing = Closing(self.terms[i], record["quantity"], self.bankruptcy_values(account, row, self.marks))
        side = sign(closing.signed)
        signed = record["quantity"] = side * n
        limit = self.order_limit(account, row, closing)
        order = self.emit(
            EventKind.ORDER, instrument=i, a=account.index, quantity=signed, price_1024=(limit or 0) * 1024,
            cause=turn, flags=LIQUIDATION_ORDER,
        )  # fmt: skip
        self.contexts.append((order, self.wave, len(self.liquidations)))
        record["order_seq"] = order
        fees_before, stop, reason = self.taker_fees, Reason.NONE, Reason.NONE
        widest = PRICE_LIMIT - 1 if side > 0 else 1
        fok, fits = self.rules.order_tif == "fok" and n < closing.lots, True
        if fok:
            fits, stop = self.fillable_whole(i, account, side, limit or widest, n)
        if not fits:
            left, reason = n, Reason.FOK_UNFILLABLE
        elif self.rules.order_price == "fillable" and "fund_walk" in self.rules.residual and not fok:
            left, stop = self.backed_walk(account, row, n, limit, closing, record, order, LIQUIDATION_ORDER)
        else:
            left, value, stop = self.walk(i, account, slot, signed, limit, order, turn, LIQUIDATION_ORDER)
            closing.worth_of_fills = closing.worth(n - left)
            closing.done = record["filled"] = n - left
            record["filled_value"], record["closed_value"] = value, abs(value)
        self.cancel_rest(i, account, signed, left, stop, order, reason)
        for stage in () if follows else self.rules.residual:
            if not left or stop:
                break
            if stage == "fund_walk":
                if self.rules.order_price == "bankruptcy" and closing.has_price and self.fund_has():
                    left, stop = self.fund_walk(account, row, left, closing, record)
            elif stage == "vault":
                left = self.vault_takes(account, row, left, closing, record)
            elif not self.rules.adl_negative_only or record["equity"] < 0:
                left = self.deleverage(account, row, left, closing, record)
        record["left"] = left
        record["status"] = self.status_of(left, stop)
        if left and follows:
            record["status"] = LiquidationStatus.PART
        self.finish_record(account, record, closing, fees_before)
        self.turn_closed += record["closed_value"]
        return record

    def status_of(self, left: int, stop: Reason) -> LiquidationStatus:
        """What became of an order of which lots are left, by what stopped it."""
        return OPEN_STATUS[stop] if left else LiquidationStatus.CLOSED

    def deleverage_row(self, account: Account, row: tuple[int, int], turn: int) -> None:
        """Deleverage a position without an order; what finds no counterparty is for the orders that
        follow."""
        record = self.new_record(account, turn, row)
        closing = Closing(
            self.terms[row[0]], record["quantity"], self.bankruptcy_values(account, row, self.marks)
        )
        self.contexts.append((self.seq + 1, self.wave, len(self.liquidations)))
        record["left"] = self.deleverage(account, row, closing.lots, closing, record)
        record["status"] = LiquidationStatus.PART if record["left"] else LiquidationStatus.CLOSED
        self.finish_record(account, record, closing, self.taker_fees)

    def finish_record(self, account: Account, record: dict, closing: Closing, fees_before: int) -> None:
        """Take the liquidation fee, and count."""
        fees = self.taker_fees - fees_before
        record["fee"] = fees + self.liquidation_fee(account, record["instrument"], record, closing)
        self.liquidations.append(record)
        self.count_liquidation(record)

    # -- limits ----------------------------------------------------------------------------------------------
    def order_limit(self, account: Account, row: tuple[int, int], closing: Closing) -> int | None:
        """The limit of a liquidation order in ticks, None for any price."""
        if self.rules.order_price == "market":
            return None
        terms, value, has_price = self.terms[row[0]], closing.value, closing.has_price
        if self.rules.order_price == "fillable":
            p = account.positions[row]
            value = self.fillable_loss(account, row) - value_at_mark(terms, p.lots, self.marks[row[0]])
            has_price = implied_price_exists(terms, closing.signed, value)
        if has_price:
            return bankruptcy_limit(terms, closing.signed, value)
        # Without a positive implied price the limit clamps to where it lies: at or below 0, or (inverse)
        # beyond infinity.
        return 1 if terms.contract == LINEAR else PRICE_LIMIT - 1

    def fillable_loss(self, account: Account, row: tuple[int, int]) -> int:
        """What an account concedes of a position's value at mark: spread * maintenance * clamp(adjustment *
        (1 - equity / maintenance of all), 0, 1), rounded down."""
        needed = self.account_maintenance(account, self.marks)
        short = needed - self.equity(account, self.marks)
        most = self.numbers["fillable_spread"] * self.row_maintenance(account, row, self.marks)
        part = self.numbers["fillable_adjustment"] * short
        if short <= 0 or not needed:
            return 0
        if part >= RATE_ONE * needed:
            return most // RATE_ONE
        return part * most // (RATE_ONE * RATE_ONE * needed)

    def cancel_rest(
        self, i, account, signed, left, stop: Reason, order: int, reason: Reason = Reason.NONE
    ) -> None:
        """Record that the unfilled rest of a liquidation order is taken off."""
        if left:
            reason = stop or reason or Reason.IOC
            self.emit(
                EventKind.CANCEL, instrument=i, a=account.index, quantity=sign(signed) * left, cause=order,
                flags=reason
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
        side = sign(closing.signed)
        order = self.emit(
            EventKind.ORDER, instrument=row[0], a=account.index, quantity=side * left, cause=record["seq"],
            flags=FUND_WALK_ORDER
        )
        limit = PRICE_LIMIT - 1 if side > 0 else 1
        left, stop = self.backed_walk(account, row, left, limit, closing, record, order, FUND_WALK_ORDER)
        self.cancel_rest(row[0], account, side, left, stop, order)
        return left, stop

    def backed_walk(
        self, account, row, left, limit, closing, record, order, flags
    ) -> tuple[int, Reason]:
        """Take lots within a limit, the fund paying what each fill is worse than the bankruptcy value: (lots
        left, what stopped it if not its limit, a lack of makers or the fund). It stops where the fund cannot
        pay a lot's gap whole."""
        i, slot = row
        side, turn = sign(closing.signed), record["seq"]
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
                value = self.fill(i, account, slot, maker, side * k, order, turn, flags=flags)
                self.fund_pays(account, max(0, value - worth), Why.GAP, record, instrument=i)
                closing.done += k
                closing.worth_of_fills += worth
                left -= k
                record["filled"] += k
                record["filled_value"] += value
                record["closed_value"] += abs(value)
        stop = Reason.NONE
        if left and (not stopped or self.halted_until[i]):
            stop = self.what_stops(i, side, limit)
        return left, stop

    def affordable(self, i: int, side: int, price: int, lots: int, closing: Closing) -> int:
        """The most lots, up to `lots`, whose gap at this price the fund can pay."""
        fund = self.fund_has()

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
