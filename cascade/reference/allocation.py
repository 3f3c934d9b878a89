"""How the orders of one level share a taker's lots: the steps of an allocation rule."""

from __future__ import annotations

from cascade.matching import Matching

from .levels import Order, Top


class Division:
    """A taker's lots divided among one level's orders, fewer lots than the orders would give.

    Parameters
    ----------
    matching : Matching
    orders : the level's orders, oldest first
    wanted : list of int, the most that each order may get
    lots : what there is to divide, less than the sum of `wanted`
    top : Top or None, the TOP place of the side
    percent : dict of owner -> percentage of the lead market makers

    After `run`, `given` is what each order gets and `left` what no step gave out.
    """

    def __init__(
        self,
        matching: Matching,
        orders: list[Order],
        wanted: list[int],
        lots: int,
        top: Top | None,
        percent: dict[int, int],
    ) -> None:
        self.rule = matching
        self.orders = orders
        self.wanted = wanted
        self.left = lots
        self.given = [0] * len(orders)
        self.place = top
        self.percent = percent
        self.by_pro_rata = [0] * len(orders)

    def run(self) -> None:
        for step in self.rule.steps:
            getattr(self, step)()

    def rest(self, k: int) -> int:
        """What order k may still get."""
        return self.wanted[k] - self.given[k]

    def give(self, k: int, lots: int) -> None:
        self.given[k] += lots
        self.left -= lots

    def oldest_first(self, some: list[int], lots: int) -> None:
        """Give up to `lots` to some of the orders."""
        for k in some:
            share = min(lots, self.left, self.rest(k))
            self.give(k, share)
            lots -= share

    def fifo(self) -> None:
        self.oldest_first(list(range(len(self.orders))), self.left)

    def split(self) -> None:
        """`fifo_percent` of what is left, rounded to the nearest lot, half a lot up."""
        lots = (self.left * self.rule.fifo_percent * 2 + 100) // 200
        self.oldest_first(list(range(len(self.orders))), lots)

    def top(self) -> None:
        if self.place is None or self.place.order not in self.orders:
            return
        k = self.orders.index(self.place.order)
        share = min(self.left, self.rest(k), self.place.allowed)
        self.place.allowed -= share
        self.give(k, share)

    def lmm(self) -> None:
        """Each lead market maker's percentage is of what was left when the step began."""
        start = self.left
        makers = dict.fromkeys(order.owner for order in self.orders if order.owner in self.percent)
        for owner in makers:
            own = [k for k, order in enumerate(self.orders) if order.owner == owner]
            self.oldest_first(own, start * self.percent[owner] // 100)

    def pro_rata(self) -> None:
        rests = [self.rest(k) for k in range(len(self.orders))]
        lots, whole = self.left, sum(rests)
        for k, rest in enumerate(rests):
            share = lots * rest // whole
            if share >= self.rule.pro_rata_min:
                self.by_pro_rata[k] = share
                self.give(k, share)

    def leveling(self) -> None:
        """A lot to each order that got nothing in `pro_rata`, largest rest first, then oldest."""
        without = [k for k in range(len(self.orders)) if self.by_pro_rata[k] == 0 and self.rest(k) > 0]
        for k in sorted(without, key=lambda k: (-self.rest(k), k)):
            if self.left > 0:
                self.give(k, 1)
