"""Orders from outside: messages of users and harnesses to the books of a running market, and new external
levels."""

from __future__ import annotations

from .._state import CROSS, EXTERNAL, KNOWN_TO_INFINITY, KNOWN_TO_ZERO
from ..errors import InputError
from ..instruments import PRICE_LIMIT
from ..records import (
    Action,
    EventKind,
    OrderType,
    Reason,
    ReportKind,
    ShockPart,
    TimeInForce,
)
from .book import bad_fields
from .money import MARK_ONE
from .waterfall import Waterfall


class OrderEntry(Waterfall):
    """The message interface of the books, with accounts behind the owners."""

    def submit(self, i: int, messages: list[dict[str, int]]) -> list[dict[str, int]]:
        """Deal with messages (fields of ORDER_DTYPE) to instrument i, in order; the reports (fields of
        REPORT_DTYPE)."""
        reports: list[dict[str, int]] = []
        for row, m in enumerate(messages):
            self.outside()
            start = len(reports)
            reason = self.refusal(i, m)
            if reason is not None:
                reports.append(
                    {"kind": ReportKind.REJECTED, "order_id": m["order_id"], "action": m["action"],
                    "reason": reason}
                )
            elif m["action"] == Action.NEW:
                self.new_order(i, m, reports)
            elif m["action"] == Action.CANCEL:
                order = self.books[i].find(m["order_id"])
                reports.append(
                    {
                        "kind": ReportKind.CANCELLED, "order_id": order.id, "owner": order.owner,
                        "side": order.side,
                        "price": order.price, "quantity": order.lots, "reason": Reason.USER,
                    }
                )  # fmt: skip
                self.cancel(i, order, -1, Reason.USER)
            else:
                self.modify_order(i, m, reports)
            for report in reports[start:]:
                report["message"] = row
        return reports

    def refusal(self, i: int, m: dict[str, int]) -> Reason | None:
        """Why a message is refused: fields, what a market's books do not do, what the book alone would say,
        then owner and price, then what is known of the book."""
        if m["action"] == Action.NEW:
            reason = bad_fields(m)
            if reason is None and not is_plain(m):
                reason = Reason.UNSUPPORTED
            if reason is not None:
                return reason
        reason = self.books[i].refusal(m)
        if reason is not None or m["action"] == Action.CANCEL:
            return reason
        new = m["action"] == Action.NEW
        owner = m["owner"]
        known = 0 <= owner < len(self.accounts) and self.accounts[owner].mode == CROSS
        if new and owner != EXTERNAL and not known:
            return Reason.BAD_OWNER
        market_order = new and m["type"] == OrderType.MARKET
        if not market_order and not 1 <= m["price"] < PRICE_LIMIT:
            return Reason.BAD_PRICE
        if m["quantity"] >= 2**61:
            return Reason.BAD_QUANTITY
        if self.halted_until[i] and (new or not self.stays_in_place(i, m)):
            return Reason.HALTED
        if not new or m["tif"] != TimeInForce.FOK:
            return None
        enough = self.lots_within(i, m["side"], self.limit_of(m)) >= m["quantity"]
        return None if enough else Reason.FOK_UNFILLABLE

    def stays_in_place(self, i: int, m: dict[str, int]) -> bool:
        """Whether a MODIFY only takes lots off."""
        resting = self.books[i].find(m["order_id"])
        return m["price"] == resting.price and m["quantity"] < resting.lots

    def lots_within(self, i: int, side: int, limit: int) -> int:
        """The lots that a taker could get within its limit, the knowledge of the book, and the bands."""
        self.begin_order(i)
        bound, lots = self.bound(i, side, limit), 0
        for order in self.books[i].side_orders(-side):
            if side * (bound - order.price) < 0 or not self.allows(i, order.price):
                break
            lots += order.lots
        return lots

    def limit_of(self, m: dict[str, int]) -> int:
        if m["type"] == OrderType.MARKET:
            return PRICE_LIMIT - 1 if m["side"] > 0 else 1
        return m["price"]

    def new_order(self, i: int, m: dict[str, int], reports: list[dict[str, int]]) -> None:
        """Acknowledge, trade, then rest or take off what is left."""
        side, limit = m["side"], self.limit_of(m)
        sent = {"order_id": m["order_id"], "owner": m["owner"], "side": side, "price": m["price"]}
        reports.append({"kind": ReportKind.ACK, "quantity": m["quantity"], **sent})
        shown = 0 if m["type"] == OrderType.MARKET else limit * MARK_ONE
        order = self.emit(
            EventKind.ORDER, instrument=i, a=m["owner"], quantity=side * m["quantity"], price_1024=shown
        )
        left = self.take_from_book(i, m["owner"], m["order_id"], side, limit, m["quantity"], order, reports)
        rests = m["type"] == OrderType.LIMIT and m["tif"] in (TimeInForce.GTC, TimeInForce.POST_ONLY)
        stop = self.what_stops(i, side, limit) if left else Reason.NONE
        reason = stop
        if rests and not stop and self.rest_is_banded(i, side, limit):
            reason = Reason.BANDED
        if left and rests and not reason:
            self.books[i].add(side, limit, left, m["owner"], m["order_id"])
            self.update_shadow(i, order)
        elif left:
            reason = reason or Reason.IOC
            self.emit(
                EventKind.CANCEL, instrument=i, a=m["owner"], quantity=side * left, cause=order, flags=reason
            )
            reports.append({"kind": ReportKind.CANCELLED, "quantity": left, "reason": reason, **sent})
        self.end_order(i, side, left, stop, order)

    def modify_order(self, i: int, m: dict[str, int], reports: list[dict[str, int]]) -> None:
        """Less at the same price keeps its place; anything else leaves it, trades as a taker and rests
        last."""
        resting = self.books[i].find(m["order_id"])
        side, owner, order_id = resting.side, resting.owner, resting.id
        if self.stays_in_place(i, m):
            self.emit(
                EventKind.CANCEL, instrument=i, a=owner, quantity=side * (resting.lots - m["quantity"]),
                flags=Reason.USER
            )
            self.books[i].reduce(resting, m["quantity"])
        else:
            self.cancel(i, resting, -1, Reason.USER)
            order = self.emit(
                EventKind.ORDER, instrument=i, a=owner, quantity=side * m["quantity"],
                price_1024=m["price"] * MARK_ONE
            )
            left = self.take_from_book(i, owner, order_id, side, m["price"], m["quantity"], order, reports)
            stop = self.what_stops(i, side, m["price"]) if left else Reason.NONE
            reason = stop
            if not stop and self.rest_is_banded(i, side, m["price"]):
                reason = Reason.BANDED
            if left and reason:
                self.emit(
                    EventKind.CANCEL, instrument=i, a=owner, quantity=side * left, cause=order, flags=reason
                )
                reports.append(
                    {
                        "kind": ReportKind.CANCELLED, "order_id": order_id, "owner": owner, "side": side,
                        "price": m["price"], "quantity": left, "reason": reason,
                    }
                )  # fmt: skip
            elif left:
                self.books[i].add(side, m["price"], left, owner, order_id)
                self.update_shadow(i, order)
            self.end_order(i, side, left, stop, order)
        reports.append(
            {
                "kind": ReportKind.MODIFIED, "order_id": order_id, "owner": owner, "price": m["price"],
                "quantity": m["quantity"],
            }
        )  # fmt: skip

    def take_from_book(self, i, owner, order_id, side, limit, lots, order, reports) -> int:
        """Trade within the limit, the knowledge of the book and the bands, a report a fill; the lots left."""
        self.begin_order(i)
        while lots and (maker := self.next_maker(i, side, limit)):
            k = min(lots, maker.lots)
            lots -= k
            reports.append(
                {
                    "kind": ReportKind.TRADE, "order_id": order_id, "owner": owner, "maker_id": maker.id,
                    "maker_owner": maker.owner, "side": side, "price": maker.price, "quantity": k,
                    "leaves": lots,
                }
            )  # fmt: skip
            value = self.fill(i, self.accounts[owner], 0, maker, side * k, order, -1)
            self.shock_has_order = True
            self.count_wave(0, i, k, abs(value), accounts=0)
        return lots

    def set_levels(self, i: int, side: int, levels: list[tuple[int, int]]) -> None:
        """Set external levels (price, lots) absolutely; 0 lots take one off. A level that stays keeps its
        place.

        A new level trades with the internal orders that it crosses. What is known of the book grows with it.
        """
        book = self.books[i]
        facing = [o.price for o in book.side_orders(-side) if o.owner == EXTERNAL]
        for k, (price, lots) in enumerate(levels):
            if lots and facing and side * (price - facing[0]) >= 0:
                raise InputError(
                    f"levels['prices'][{k}] = {price}: must not cross the external levels of the other side"
                )
        self.outside()
        shock = self.emit(EventKind.SHOCK, instrument=i, flags=ShockPart.LEVELS)
        for price, lots in levels:
            resting = next((o for o in book.side_orders(side) if o.external and o.price == price), None)
            if resting is not None and lots:
                book.reduce(resting, lots)
            elif resting is not None:
                book.remove(resting)
            elif lots:
                self.enter_external(i, side, price, lots)
            if lots and side > 0 and self.known_bid[i] != KNOWN_TO_ZERO:
                self.known_bid[i] = min(self.known_bid[i], price)
            if lots and side < 0 and self.known_ask[i] != KNOWN_TO_INFINITY:
                self.known_ask[i] = max(self.known_ask[i], price)
        self.update_shadow(i, shock)
        self.watch_market(i, shock)


def is_plain(m: dict[str, int]) -> bool:
    """Has a NEW nothing of what a book does alone, but not yet with accounts behind its owners: stops,
    icebergs, reduce-only and self-trade prevention?"""
    return m["type"] <= OrderType.MARKET and not (m["display"] or m["flags"] or m["stp"])
