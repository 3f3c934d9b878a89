"""The cost of manipulation: what a push into a cluster of liquidations costs, and what a position gains from
it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .._badrows import show
from .._state import LINEAR
from ..errors import InputError, InputTypeError
from ..instruments import RATE_ONE, exact
from ..margin import MARK_ONE
from ..rules import as_rules
from ..shocks import LARGEST_FACTOR, Shock
from ..tables import Table

SIDES = {"sell": -1, "buy": 1}
UNWINDS = ("book", "mark")


@dataclass(frozen=True)
class Push:
    """One push, exact: lots, ticks, 1/1024 ticks (marks), quanta (money)."""

    lots: int
    price: int
    """ticks of the last level that is taken from"""
    walked: int
    """what the market order pays (buy) or brings (sell)"""
    unwound: int | None
    """what the order back brings or pays; None where the book cannot fill it"""
    fees: int
    pushed: int
    """mark after the push alone"""
    final: int
    """mark after the cascade"""
    cost: int | None
    liquidated: float
    status: str


@dataclass(frozen=True, eq=False)
class ManipulationCost:
    """What pushes cost and bring, and what would keep them from paying.

    Money is in the settlement currency, made once from exact quanta.

    Attributes
    ----------
    pushes : Table
        One row a push, ascending: quantity (the market order), price (the last level that it takes from),
        walk (what it pays or brings), unwind (what trading it back brings or pays; NaN where the book cannot
        fill that), fees, cost (what the round trip loses, fees included), mark_pushed and mark_final (after
        the push alone and after the cascade), liquidated_notional, gain_pushed and gain (of the position, at
        these two marks), profit (gain - cost), within_budget, status (of the run).
    start : float
        The mark before.
    position : float
        The position's size; short where the push sells, long where it buys.
    best : dict or None
        The row of `pushes` with the largest profit within the budget; None without a row within it.
    pays : bool
        Whether that profit is > 0.
    position_limit : float
        The largest position, in whole lots, with which no push within the budget pays; inf where none moves
        the mark its way.
    depths : Table
        factor, best_profit (within the budget; NaN without a push within it), pays: the same with the
        external orders of both sides scaled.
    depth_limit : float
        The smallest of the factors from which on no push pays, all larger ones given included; NaN where the
        largest does not do.
    margins : Table
        rate, deposited (what accounts add in all), best_profit, pays: the same where every account holds
        equity of at least this part of its positions' notional.
    margin_limit : float
        As `depth_limit`, of the rates.
    """

    pushes: Table
    start: float
    position: float
    best: dict[str, Any] | None
    pays: bool
    position_limit: float
    depths: Table
    depth_limit: float
    margins: Table
    margin_limit: float

    def plot(self, ax: Any = None) -> Any:
        """Draw the cost of a push and what the position gains, with the cascade and without it."""
        from ..plot._look import COLOURS, GREY, axes_of

        ax = axes_of(ax)
        x = self.pushes["quantity"]
        curves = {
            "cost": "cost of the push", "gain": "gain of the position", "gain_pushed": "gain, push alone"
        }  # fmt: skip
        for k, (column, label) in enumerate(curves.items()):
            style = "--" if column == "gain_pushed" else "-"
            ax.plot(x, self.pushes[column], style, marker="o", markersize=3, color=COLOURS[k], label=label)
        outside = np.flatnonzero(~self.pushes["within_budget"])
        if outside.size:
            ax.axvspan(x[outside[0]], x[-1], color=GREY, alpha=0.12, linewidth=0)
        ax.set_xlabel("size of the push")
        ax.set_ylabel("settlement currency")
        ax.legend(frameon=False)
        return ax


def manipulation_cost(
    market: Any, instrument: str, *, position: Any, side: str = "sell", budget: Any = None,
    pushes: Iterable[Any] | None = None, points: int = 33, unwind: str = "book",
    depths: Sequence[Any] = (), margins: Sequence[Any] = (), rules: Any = None,
) -> ManipulationCost:  # fmt: skip
    """What it costs to push a price into liquidations, whom it pays, and which parameters of a venue stop it.

    A market order walks the book, the cascade runs to its end, and the order is traded back. The loss on the
    round trip is the cost. A position on the other side of the push, held where the push does not touch it
    and valued at this venue's mark, gains by the mark's move.

    Parameters
    ----------
    market : Market
    instrument : str
        A linear one.
    position : number
        Size of the position that gains, > 0, whole lots.
    side : {"sell", "buy"}
        Of the push.
    budget : number, optional
        Pushes that cost more are left out of every "pays" and limit. Default: none are.
    pushes : iterable of number, optional
        Sizes to look at. Default: into every cluster, that is the smallest that trades at a level of the book
        at which a price of `Market.liquidation_map` has been passed: a lot more than what stands before it.
        With another mark than the last price it takes more, and sizes must be given.
    points : int
        Clusters looked at; of more than these, evenly spread ones.
    unwind : {"book", "mark"}
        How the order is traded back: through the other side of the book as the cascade leaves it; or at the
        final mark, as if makers had come back around it by then, which is cheaper - it can bring money.
    depths : sequence of number, optional
        Factors on the depth of external orders to look at, in ascending order.
    margins : sequence of number, optional
        Parts of notional that every account must hold as equity, in (0, 1], ascending: those below add what
        lacks to their balance. Like a higher initial margin, not like other maintenance.
    rules : VenueRules or Venue, optional

    Returns
    -------
    ManipulationCost

    Raises
    ------
    InputError, InputTypeError
        Naming the argument.

    Notes
    -----
    Walks are `OrderBook.cost`: ticks times lots. The fees are the instrument's taker fee on both legs,
    rounded up; a rebate counts for nothing. Every "pays" and every limit is said of the pushes looked at. A
    position gains from a push that liquidates nobody as well (`gain_pushed`): with a thin spread the smallest
    pushes pay for all but small positions, whatever the margins.

    Examples
    --------
    >>> import cascade as cs
    >>> found = cs.studies.manipulation_cost(cs.datasets.cluster(), "X", position=500, pushes=[799, 800])
    >>> found.pushes["cost"].tolist(), found.pushes["gain"].tolist()
    ([3203.99, 3212.0], [3995.0, 7500.0])
    >>> found.position_limit
    214.0
    """
    i = market.instrument_index(instrument, "manipulation_cost.instrument")
    ins, terms = market.instruments[i], market.state().terms[i]
    if terms.contract != LINEAR:
        raise InputError(f"manipulation_cost.instrument = {instrument!r}: must be linear")
    for name, word, choices in (("side", side, tuple(SIDES)), ("unwind", unwind, UNWINDS)):
        if not isinstance(word, str) or word not in choices:
            raise InputError(f"manipulation_cost.{name} = {show(word)}: must be one of {', '.join(choices)}")
    held = _lots(ins, position, "position")
    if isinstance(points, bool) or not isinstance(points, int | np.integer):
        raise InputTypeError(f"manipulation_cost.points = {show(points)}: must be an int")
    if points < 1:
        raise InputError(f"manipulation_cost.points = {points}: must be at least 1")
    most = None
    if budget is not None:
        most = market.to_quanta(budget, "manipulation_cost.budget")
        if most < 0:
            raise InputError(f"manipulation_cost.budget = {show(budget)}: must be >= 0")
    factors, rates = _ascending(depths, "depths", 0, LARGEST_FACTOR), _ascending(margins, "margins", 0, 1)
    given = None
    if pushes is not None:
        if isinstance(pushes, str) or not isinstance(pushes, Iterable):
            raise InputTypeError(f"manipulation_cost.pushes = {show(pushes)}: must be sizes")
        given = sorted({_lots(ins, size, f"pushes[{k}]") for k, size in enumerate(pushes)})
    case = _Case(i, SIDES[side], held, most, unwind, rules, given, int(points), market.marks(rules)[i], terms)
    found = case.pushes(market)
    deeper = [(float(factor), case.pushes(market, factor)) for factor in factors]
    topped = [_topped_up(market, part, rules) for part in rates]
    safer = [(float(part), case.pushes(other)) for part, (other, _) in zip(rates, topped, strict=True)]
    table, k = _table(market, case, found), case.best(found)
    limit = case.position_limit(found)
    return ManipulationCost(
        pushes=table,
        start=float(case.start * ins.tick_size / MARK_ONE),
        position=ins.to_size(held),
        best=None if k is None else {name: table[name][k].item() for name in table.columns},
        pays=case.pays(found),
        position_limit=float("inf") if limit is None else ins.to_size(limit),
        depths=Table({"factor": _floats(x for x, _ in deeper), **_profits(market, case, deeper)}),
        depth_limit=_from_which_on(case, deeper),
        margins=Table(
            {
                "rate": _floats(x for x, _ in safer),
                "deposited": _floats(market.to_money(quanta) for _, quanta in topped),
                **_profits(market, case, safer),
            }
        ),
        margin_limit=_from_which_on(case, safer),
    )


@dataclass(frozen=True)
class _Case:
    """One question: what is pushed which way, for which position, within which budget."""

    i: int
    way: int
    held: int
    budget: int | None
    unwind: str
    rules: Any
    given: list[int] | None
    points: int
    start: int
    terms: Any

    def pushes(self, market: Any, factor: Fraction | None = None) -> list[Push]:
        """Every push at a market, its books scaled by a factor; those that the book cannot fill left out."""
        symbol = market.instruments[self.i].symbol
        scaled = Shock() if factor is None else Shock(depth={symbol: factor})
        book = market.start(scaled, rules=self.rules, record="summary").book(symbol)
        level = book.depth()
        mine = level["side"] == -self.way
        prices, behind = level["price"][mine].tolist(), np.cumsum(level["quantity"][mine]).tolist()
        whole = behind[-1] if behind else 0
        sizes = self.given
        if sizes is None:
            sizes = self._into_clusters(market, prices, behind)
        elif factor is None and sizes and sizes[-1] > whole:
            size = market.instruments[self.i].to_size(sizes[-1])
            filled = market.instruments[self.i].to_size(whole)
            raise InputError(f"manipulation_cost.pushes = {size:g}: the book fills {filled:g} at most")
        return [
            self._push(market, scaled, book, lots, prices[int(np.searchsorted(behind, lots))])
            for lots in sizes
            if lots <= whole
        ]

    def _into_clusters(self, market: Any, prices: list[int], behind: list[int]) -> list[int]:
        """The smallest sizes that trade at levels (best first; the lots down to each) beyond triggers."""
        ins = market.instruments[self.i]
        table = market.liquidation_map(ins.symbol, self.rules)
        ticks = table["price"][table["side"] == ("sell" if self.way < 0 else "buy")] / float(ins.tick_size)
        whole = np.rint(ticks)
        ticks = np.where(np.abs(ticks - whole) < 1e-6, whole, ticks)
        ahead = self.way * (ticks - self.start / MARK_ONE) >= 0
        reach = self.way * np.array(prices, np.float64)
        # A price that is only reached is passed where the trigger is "le".
        exactly = as_rules(self.rules, market.rules).trigger == "le"
        goal = self.way * ticks[ahead]
        at = np.unique(np.searchsorted(reach, goal, "left" if exactly else "right"))
        at = at[at < len(prices)]
        if len(at) > self.points:
            at = at[np.unique(np.rint(np.linspace(0, len(at) - 1, self.points)).astype(np.int64))]
        return [(behind[k - 1] if k else 0) + 1 for k in at.tolist()]

    def _push(self, market: Any, scaled: Shock, book: Any, lots: int, price: int) -> Push:
        symbol, coef = market.instruments[self.i].symbol, self.terms.coef_num
        walked = book.cost(self.way, lots) * coef
        size = self.way * lots * market.instruments[self.i].lot_size
        shock = scaled + Shock(orders={symbol: size})
        simulation = market.start(shock, rules=self.rules, record="summary")
        pushed = simulation._engine.marks()[self.i]
        simulation.settle()
        result = simulation.result()
        final = result._data.final_marks[self.i]
        if self.unwind == "mark":
            # Rounded against the one who trades.
            unwound = self.way * (self.way * lots * final * coef // MARK_ONE)
        else:
            ticks = simulation.book(symbol).cost(-self.way, lots)
            unwound = None if ticks is None else ticks * coef
        fees = sum(-(-self.terms.closing_fee * x // RATE_ONE) for x in (walked, unwound or 0))
        cost = None if unwound is None else self.way * (walked - unwound) + fees
        s = result._summary
        return Push(
            lots, price, walked, unwound, fees, pushed, final, cost, s["liquidated_notional"], s["status"]
        )

    def gain(self, mark: int) -> int:
        """What the position gains at a mark, in quanta, rounded down."""
        return self.way * self.held * (mark - self.start) * self.terms.coef_num // MARK_ONE

    def profit(self, push: Push) -> int | None:
        return None if push.cost is None else self.gain(push.final) - push.cost

    def within(self, push: Push) -> bool:
        return push.cost is not None and (self.budget is None or push.cost <= self.budget)

    def best(self, pushes: list[Push]) -> int | None:
        """The place of the first push with the largest profit within the budget."""
        within = [k for k, push in enumerate(pushes) if self.within(push)]
        return max(within, key=lambda k: self.profit(pushes[k]) or 0, default=None)

    def pays(self, pushes: list[Push]) -> bool:
        return any((self.profit(push) or 0) > 0 for push in pushes if self.within(push))

    def position_limit(self, pushes: list[Push]) -> int | None:
        """The most lots whose gain exceeds no push's cost; None where no push moves the mark their way."""
        limits = []
        for push in pushes:
            lot_gain = self.way * (push.final - self.start) * self.terms.coef_num  # quanta, times 1024
            if self.within(push) and push.cost is not None and (lot_gain > 0 or push.cost < 0):
                limits.append(max(0, -(-(push.cost + 1) * MARK_ONE // lot_gain) - 1) if lot_gain > 0 else 0)
        return min(limits, default=None)


def _table(market: Any, case: _Case, pushes: list[Push]) -> Table:
    ins = market.instruments[case.i]

    def money(quanta: Iterable[int | None]) -> np.ndarray:
        return _floats(float("nan") if q is None else market.to_money(q) for q in quanta)

    def marks(of: Iterable[int]) -> np.ndarray:
        return _floats(float(mark * ins.tick_size / MARK_ONE) for mark in of)

    return Table(
        {
            "quantity": _floats(ins.to_size(p.lots) for p in pushes),
            "price": _floats(ins.to_price(p.price) for p in pushes),
            "walk": money(p.walked for p in pushes),
            "unwind": money(p.unwound for p in pushes),
            "fees": money(p.fees for p in pushes),
            "cost": money(p.cost for p in pushes),
            "mark_pushed": marks(p.pushed for p in pushes),
            "mark_final": marks(p.final for p in pushes),
            "liquidated_notional": _floats(p.liquidated for p in pushes),
            "gain_pushed": money(case.gain(p.pushed) for p in pushes),
            "gain": money(case.gain(p.final) for p in pushes),
            "profit": money(case.profit(p) for p in pushes),
            "within_budget": np.array([case.within(p) for p in pushes], bool),
            "status": np.array([p.status for p in pushes], np.str_),
        }
    )


def _profits(market: Any, case: _Case, looked: list[tuple[float, list[Push]]]) -> dict[str, np.ndarray]:
    """best_profit and pays of each list of pushes."""
    best = []
    for _, pushes in looked:
        k = case.best(pushes)
        profit = None if k is None else case.profit(pushes[k])
        best.append(float("nan") if profit is None else market.to_money(profit))
    return {
        "best_profit": _floats(best), "pays": np.array([case.pays(pushes) for _, pushes in looked], bool)
    }  # fmt: skip


def _from_which_on(case: _Case, looked: list[tuple[float, list[Push]]]) -> float:
    """The first value with which, and with all after it, no push pays; NaN where the last one's do."""
    limit = float("nan")
    for value, pushes in reversed(looked):
        if case.pays(pushes):
            break
        limit = value
    return limit


def _topped_up(market: Any, part: Fraction, rules: Any) -> tuple[Any, int]:
    """(a market in which every account with positions has equity of at least this part of their notional,
    what was added in quanta)."""
    standing = market._valued(rules)
    notional = [0] * len(market._balance)
    rows = zip(standing.rows["account"].tolist(), standing.sums.value.tolist(), strict=True)
    for account, value in rows:
        notional[account] += abs(value)
    balance, added = market._balance.copy(), 0
    for account in np.unique(standing.rows["account"]).tolist():
        needed = -(-part.numerator * notional[account] // part.denominator)
        lacks = needed - int(standing.sums.equity[account])
        if lacks > 0:
            balance[account] += lacks
            added += lacks
    topped = copy.copy(market)
    topped._balance = balance
    topped._changed()
    return topped, added


def _lots(ins: Any, size: Any, name: str) -> int:
    lots = ins.to_lots(exact(size, f"manipulation_cost.{name}"))
    if lots < 1:
        raise InputError(f"manipulation_cost.{name} = {show(size)}: must be > 0")
    return lots


def _ascending(values: Any, name: str, lowest: int, highest: int | None) -> list[Fraction]:
    """Numbers > lowest, up to highest, ascending."""
    where = f"manipulation_cost.{name}"
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputTypeError(f"{where} = {show(values)}: must be numbers")
    found: list[Fraction] = []
    for k, value in enumerate(values):
        number = exact(value, f"{where}[{k}]")
        if number <= lowest or (highest is not None and number > highest):
            rule = f"> {lowest}" if highest is None else f"in ({lowest}, {highest}]"
            raise InputError(f"{where}[{k}] = {show(value)}: must be {rule}")
        if found and number <= found[-1]:
            raise InputError(f"{where}[{k}] = {show(value)}: must ascend")
        found.append(number)
    return found


def _floats(values: Iterable[float]) -> np.ndarray:
    return np.array(list(values), np.float64)
