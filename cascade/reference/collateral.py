"""The sale of collateral: as few lots of other assets as cover what an account owes in the settlement
asset."""

from __future__ import annotations

from ..records import EventKind, LiquidationStatus
from .ledger import Account, Ledger
from .money import fee, trade_value
from .sizes import first

COLLATERAL_ORDER = 3
"""Flag of ORDER and FILL events."""


class CollateralSales(Ledger):
    """Orders that turn collateral into the settlement asset."""

    def sale_order(self, account: Account) -> list[tuple[int, int]]:
        """The assets held, in the order in which they are sold: smallest haircut first, then by
        instrument."""
        return sorted(account.collateral_rows(), key=lambda row: (-self.weights[row[0]], row))

    def sell_collateral(self, account: Account, turn: int, statuses: list) -> None:
        """Sell asset after asset, each in its own book, while the account owes in the settlement asset,
        unrealised loss at the marks counted. Adds to `statuses` what became of lots that found no buyer."""
        for row in self.sale_order(account):
            owed = -self.settlement_equity(account, self.marks)
            if owed <= 0:
                return
            if self.halted_until[row[0]]:
                statuses.append(LiquidationStatus.HALTED)
                continue
            record = self.sell(account, row, self.lots_to_cover(account, row, owed), turn)
            if record["left"]:
                statuses.append(LiquidationStatus(record["status"]))

    def lots_to_cover(self, account: Account, row: tuple[int, int], owed: int) -> int:
        """The fewest lots whose sale brings as much as is owed, fees taken off: into the book as it stands
        and is known, within the bands, the owner's own orders left out. All lots if no number does."""
        i, held = row[0], account.collateral[row].lots
        terms, owner, bound, lots = self.terms[i], self.owner_of(account), self.bound(i, -1, 1), 0
        self.begin_order(i)

        def proceeds(price: int, k: int) -> int:
            value = trade_value(terms, k, price)
            return value - fee(terms.taker_fee, value)

        def fewest(price: int, k: int, need: int) -> int:
            return first(lambda n: proceeds(price, n) >= need, 0, k)

        for order in self.books[i].side_orders(1):
            if lots == held or order.price < bound or not self.allows(i, order.price):
                break
            if order.owner == owner:
                continue
            k = min(order.lots, held - lots)
            if proceeds(order.price, k) >= owed:
                return lots + fewest(order.price, k, owed)
            owed -= proceeds(order.price, k)
            lots += k
        return held

    def sell(self, account: Account, row: tuple[int, int], n: int, turn: int) -> dict:
        """One market order for n lots, with its record; what it brings goes to the balance."""
        i, slot = row
        record = self.new_record(account, turn, row)
        record["quantity"] = -n
        order = self.emit(
            EventKind.ORDER, instrument=i, a=account.index, quantity=-n, cause=turn, flags=COLLATERAL_ORDER
        )
        self.contexts.append((order, self.wave, len(self.liquidations)))
        record["order_seq"], fees = order, self.taker_fees
        left, value, stop = self.walk(i, account, slot, -n, None, order, turn, COLLATERAL_ORDER)
        self.cancel_rest(i, account, -n, left, stop, order)
        record["filled"], record["filled_value"], record["closed_value"] = n - left, value, abs(value)
        record["left"], record["fee"] = left, self.taker_fees - fees
        record["status"] = self.status_of(left, stop)
        self.liquidations.append(record)
        self.count_liquidation(record)
        return record
