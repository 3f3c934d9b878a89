"""The loaded market as exact integer columns: what both engines start from, frozen once built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from . import _bulk
from ._badrows import show
from .errors import InputError, RangeError
from .instruments import PRICE_LIMIT, RATE_ONE, Instrument, decimal_text
from .marks import Mark, uses_derived
from .records import ShockPart

LINEAR, INVERSE = 0, 1
EXTERNAL, FUND, FEES, DUST, DEFICIT, VAULT = range(6)
SETTLEMENT = 6
"""Account index of the first instrument's settlement account; the others follow, then the users' accounts."""
SYSTEM, CROSS, ISOLATED = range(3)
NEVER_LIQUIDATED, NEVER_DELEVERAGED = 1, 2
SLOTS = {"both": 0, "long": 1, "short": 2}
"""Position slots: one net position, or a long and a short side by side (hedge mode)."""
COLLATERAL = 3
"""The slot of lots that an account holds as collateral: no position."""

KNOWN_TO_ZERO, KNOWN_TO_INFINITY = 0, 2**63 - 1
"""known_bid and known_ask of a complete book: the liquidity at every price is known."""
MOST_CLOSING_FEE = Fraction(1, 2)
"""Bankruptcy prices can leave room for a closing fee of at most this part of the value."""
ACCOUNT_LIMIT = 2**60
"""No account's money, positions and orders may be able to exceed this many quanta: sums of a few stay below
2**63."""


@dataclass(frozen=True, slots=True)
class Terms:
    """One instrument as the engines see it: integers only.

    A linear lot is worth `coef_num` quanta a tick (`coef_den` is 1); an inverse lot is worth coef_num /
    coef_den / price quanta at a price in ticks. Tier t holds for notionals of at least floors[t]; maintenance
    there is rates[t] * notional - amounts[t], with the size rate added to rates[t]: `slope` (a fraction of
    1e-12) a lot of a linear contract, a quantum of notional of an inverse one, at most 1.
    """

    contract: int
    coef_num: int
    coef_den: int
    floors: tuple[int, ...]
    rates: tuple[int, ...]
    amounts: tuple[int, ...]
    taker_fee: int
    maker_fee: int
    liquidation_fee: int
    slope: tuple[int, int] = (0, 1)
    initial_rates: tuple[int, ...] = (0,)
    initial_slope: tuple[int, int] = (0, 1)
    open_interest: tuple[int, int] | None = None
    """quanta between which open interest raises the initial rates to 1"""

    @property
    def closing_fee(self) -> int:
        """The taker fee as rules about closing count it: a rebate counts for nothing."""
        return max(0, self.taker_fee)

    def under(self, rules: Any) -> Terms:
        """The terms with the closing fee in every tier's rate, where the rules have it there."""
        if rules.maintenance_fee != "taker" or not self.closing_fee:
            return self
        return replace(self, rates=tuple(rate + self.closing_fee for rate in self.rates))

    @property
    def continuous(self) -> bool:
        """Whether maintenance nowhere jumps by more than a quantum (it does where a venue has rates without
        amounts), nor is cut off at 0 by an amount that exceeds it."""
        tiers = zip(self.floors, self.rates, self.amounts, strict=True)
        return not self.jumps and all(
            amount * RATE_ONE - rate * floor <= RATE_ONE for floor, rate, amount in tiers
        )

    @property
    def jumps(self) -> bool:
        """Whether maintenance jumps by more than a quantum at the floor of a tier."""
        steps = zip(self.floors[1:], self.rates, self.rates[1:], self.amounts, self.amounts[1:], strict=False)
        return any(
            abs((r1 - r0) * floor - (a1 - a0) * RATE_ONE) > RATE_ONE for floor, r0, r1, a0, a1 in steps
        )


def pick_quantum(instruments: tuple[Instrument, ...]) -> Decimal:
    """The largest power of ten <= 1e-6 (coin-settled: 1e-10) that makes a linear lot's value a tick whole."""
    exponent = -10 if any(i.contract == "inverse" for i in instruments) else -6
    for instrument in instruments:
        if instrument.contract == "linear":
            step = instrument.tick_size * instrument.lot_size * instrument.multiplier
            while (step * Fraction(10) ** -exponent).denominator != 1:
                exponent -= 1
                if exponent < -18:
                    raise InputError(
                        f"instrument[{instrument.symbol!r}]: "
                        f"tick_size * lot_size * multiplier = {show(step)}: "
                        "must be a whole number of 1e-18"
                    )
    return Decimal(1).scaleb(exponent)


def terms_of(instrument: Instrument, quantum: Fraction) -> Terms:
    """An instrument's terms in quanta."""
    name = f"instrument[{instrument.symbol!r}]"
    if instrument.contract == "linear":
        coefficient = instrument.tick_size * instrument.lot_size * instrument.multiplier / quantum
        if coefficient.denominator != 1:
            raise InputError(
                f"{name}: tick_size * lot_size * multiplier must be a whole number of cash quanta "
                f"({decimal_text(quantum)})"
            )
    else:
        coefficient = instrument.lot_size * instrument.multiplier / instrument.tick_size / quantum
    if max(coefficient.numerator, coefficient.denominator) >= 2**62:
        raise RangeError(f"{name}: one lot's value of {show(coefficient)} quanta does not fit")
    tiers = instrument.tiers
    money = [(round(t.floor / quantum), round(t.amount / quantum)) for t in tiers] or [(0, 0)]
    if max(max(pair) for pair in money) >= ACCOUNT_LIMIT:
        raise RangeError(f"{name}.tiers: a floor or amount does not fit in {ACCOUNT_LIMIT} cash quanta")
    # A position's size in coin is lots * lot_size * multiplier, or its notional.
    size_unit = instrument.lot_size * instrument.multiplier if instrument.contract == "linear" else quantum
    slopes = []
    for field in ("maintenance_slope", "initial_slope"):
        slope = getattr(instrument, field) * size_unit * RATE_ONE
        if max(slope.numerator, slope.denominator) >= 2**62:
            raise RangeError(f"{name}.{field}: {show(slope)} of 1e-12 a lot or quantum does not fit")
        slopes.append((slope.numerator, slope.denominator))
    open_interest = None
    if instrument.open_interest_floor is not None and instrument.open_interest_cap is not None:
        open_interest = (
            round(instrument.open_interest_floor / quantum), round(instrument.open_interest_cap / quantum)
        )  # fmt: skip
        if open_interest[0] == open_interest[1]:
            raise InputError(f"{name}.open_interest_cap: must exceed open_interest_floor by a cash quantum")
    return Terms(
        contract=LINEAR if instrument.contract == "linear" else INVERSE,
        coef_num=coefficient.numerator,
        coef_den=coefficient.denominator,
        floors=tuple(floor for floor, _ in money),
        rates=tuple(int(t.maintenance_rate * RATE_ONE) for t in tiers) or (0,),
        amounts=tuple(amount for _, amount in money),
        taker_fee=int(instrument.taker_fee * RATE_ONE),
        maker_fee=int(instrument.maker_fee * RATE_ONE),
        liquidation_fee=int(instrument.liquidation_fee * RATE_ONE),
        slope=slopes[0],
        initial_rates=tuple(int(t.initial_rate * RATE_ONE) for t in tiers) or (0,),
        initial_slope=slopes[1],
        open_interest=open_interest,
    )


def aligned(column: np.ndarray) -> np.ndarray:
    """A contiguous column at an address that fits its type: that of a single packed record is contiguous but
    may stand anywhere."""
    return np.require(column, requirements=["C", "A"])


def lowest_price(rules: Any) -> float:
    """The lowest price, in ticks, that a position may be valued at: trees know prices below one tick."""
    return 1 / 1024 if isinstance(rules.mark, Mark) else 1.0


@dataclass(frozen=True)
class Orders:
    """Resting orders of one instrument, in the order in which they were loaded: columns of equal length."""

    order_id: np.ndarray
    """uint64; 0 for an external order, which nobody can name"""
    side: np.ndarray
    """int8, +1 or -1"""
    price: np.ndarray
    """int64 ticks"""
    lots: np.ndarray
    """int64"""
    owner: np.ndarray
    """int32 account index; EXTERNAL for external orders"""

    @classmethod
    def empty(cls) -> Orders:
        return cls(*(np.empty(0, t) for t in (np.uint64, np.int8, np.int64, np.int64, np.int32)))

    def columns(self) -> tuple[np.ndarray, ...]:
        return self.order_id, self.side, self.price, self.lots, self.owner

    def extended(self, other: Orders) -> Orders:
        return Orders(*(np.concatenate(pair) for pair in zip(self.columns(), other.columns(), strict=True)))

    def prices(self, side: int) -> np.ndarray:
        return self.price[self.side == side]


@dataclass(frozen=True)
class State:
    """Everything an engine starts from. Arrays are never written to."""

    instruments: tuple[Instrument, ...]
    quantum: Fraction
    fund: int
    vault: int
    last: np.ndarray
    """int64 ticks per instrument, 0 where none"""
    index_1024: np.ndarray
    """int64 1/1024 ticks per instrument, 0 where none"""
    external_names: tuple[str, ...]
    """names of the external prices that were fed, sorted"""
    external_1024: np.ndarray
    """int64 1/1024 ticks per instrument and name, 0 where none"""
    basis_1024: np.ndarray
    """int64 1/1024 ticks per instrument: average of mid - index so far, NO_BASIS where there is none"""
    funding_rate: np.ndarray
    """int64 per instrument, 1e-12"""
    funding_left_ns: np.ndarray
    """int64 nanoseconds to the next funding, at most the interval"""
    funding_interval_ns: np.ndarray
    """int64"""
    orders: tuple[Orders, ...]
    known_bid: np.ndarray
    """int64 ticks: sells find known liquidity down to here; KNOWN_TO_ZERO for a complete book"""
    known_ask: np.ndarray
    """int64 ticks: buys find known liquidity up to here; KNOWN_TO_INFINITY for a complete book"""
    account_mode: np.ndarray
    """uint8: SYSTEM, CROSS, ISOLATED"""
    account_parent: np.ndarray
    """int32: the owner's cross account of an isolated one, -1 otherwise"""
    account_flags: np.ndarray
    """uint8: bits NEVER_LIQUIDATED, NEVER_DELEVERAGED"""
    account_balance: np.ndarray
    """int64 quanta; 0 for system accounts"""
    row_account: np.ndarray
    """int32; rows are sorted by account, instrument, slot"""
    row_instrument: np.ndarray
    """uint16"""
    row_slot: np.ndarray
    """uint8: SLOTS"""
    row_lots: np.ndarray
    """int64, signed"""
    row_basis: np.ndarray
    """int64 quanta, signed"""
    balance_rest: np.ndarray
    """float64 quanta an account: what rounding took from its balance as given; for reported prices"""
    row_basis_rest: np.ndarray
    """float64 quanta a row: the same of its basis"""
    haircut: np.ndarray
    """int64 per instrument, 1e-12: of the collateral asset that it prices; 0 where there is none"""
    holdings: np.ndarray
    """ROW_DTYPE, sorted by account and instrument: collateral that cross accounts hold, slot COLLATERAL, lots
    > 0, basis 0"""
    reference_1024: np.ndarray
    """int64 1/1024 ticks per instrument: the reference price of bands, 0 where none was given"""
    settle_1024: np.ndarray
    """int64 1/1024 ticks per instrument: the settlement price (previous close), 0 where none was given"""

    def with_haircuts(self, haircuts: list[int]) -> State:
        """The same under other haircuts."""
        same = haircuts == self.haircut.tolist()
        return self if same else replace(self, haircut=np.array(haircuts, np.int64))

    def band_prices(self, i: int) -> tuple[int, int]:
        """(reference at the start, settlement price) of an instrument in 1/1024 ticks, 0 where none: by
        default the last price, and that."""
        reference = int(self.reference_1024[i]) or int(self.last[i]) * 1024
        return reference, int(self.settle_1024[i]) or reference

    @cached_property
    def token(self) -> object:
        """Stands for this state where something made from it is kept, without keeping it."""
        return object()

    @cached_property
    def mark_units(self) -> tuple[tuple[str, int, int], ...]:
        """Per instrument (symbol, a, b): a price of 1/1024 ticks in the settlement currency is a / b."""
        return tuple(
            (i.symbol, i.tick_size.numerator, i.tick_size.denominator * 1024) for i in self.instruments
        )

    @cached_property
    def terms(self) -> tuple[Terms, ...]:
        return tuple(terms_of(i, self.quantum) for i in self.instruments)

    @cached_property
    def best(self) -> list[tuple[int | None, int | None]]:
        """Best bid and ask per instrument in ticks, None where a side is empty."""
        sides = [(orders.prices(1), orders.prices(-1)) for orders in self.orders]
        return [
            (int(bids.max()) if bids.size else None, int(asks.min()) if asks.size else None)
            for bids, asks in sides
        ]

    def terms_under(self, rules: Any) -> tuple[Terms, ...]:
        """The terms as maintenance under these rules needs them."""
        return tuple(terms.under(rules) for terms in self.terms)

    def resting_orders(self, i: int) -> Iterator[tuple[int, int, int, int, int, bool]]:
        """(id, side, price, lots, owner, external) of every order, oldest first."""
        for order_id, side, price, lots, owner in zip(
            *(c.tolist() for c in self.orders[i].columns()), strict=True
        ):
            yield order_id, side, price, lots, owner, owner == EXTERNAL

    # -- bounds ----------------------------------------------------------------------------------------------
    def check_range(self, ops: np.ndarray, rules: Any, name: Callable[[int], Any] = str) -> None:
        """Refuse, before a run, whatever could overflow in it.

        With the shock's gaps applied, no account's money plus its positions and orders at the highest prices
        they can be valued or traded at may reach ACCOUNT_LIMIT; lots of an instrument stay below 2**61;
        prices below PRICE_LIMIT.
        `name` gives the name of an account, for the message.
        """
        rows = ops.tolist()
        ordered: dict[int, float] = {}
        deepened: dict[int, float] = {}
        deposits, paid = 0.0, 1.0
        for part, i, _, _, rate, _, _, quantity in rows:
            if part == ShockPart.ORDERS:
                ordered[i] = ordered.get(i, 0.0) + abs(quantity)
            elif part == ShockPart.DEPTH:
                deepened[i] = deepened.get(i, 1.0) * max(1.0, rate / 1e9)
            elif part == ShockPart.CASH:
                deposits += abs(quantity)
            elif part == ShockPart.FUNDING:
                # A payment of funding is at most this part of what a position can be worth.
                paid += abs(rate) / RATE_ONE
        moved = self._moved(rows)
        reach = self._reach(moved, rules)
        assert self._loaded_lots_fit
        for i in {**ordered, **deepened}:
            self._lots_fit(i, deepened.get(i, 1.0), ordered.get(i, 0.0))
            largest = self._largest_order[i] * deepened.get(i, 1.0)
            self._fill_fits(i, min(ordered.get(i, 0.0), largest), reach[i])
        if self.fund >= 2**120 or self.vault >= ACCOUNT_LIMIT:
            raise RangeError("market: fund or vault does not fit")
        if rules.bankruptcy_fee == "taker":
            for instrument in self.instruments:
                fee = instrument.taker_fee
                if fee > MOST_CLOSING_FEE:
                    raise RangeError(
                        f"instrument[{instrument.symbol!r}].taker_fee = {decimal_text(fee)}: "
                        f"must be <= {decimal_text(MOST_CLOSING_FEE)} under bankruptcy_fee='taker'"
                    )
        limit = self.account_limit(rules)
        # It may end up with every position.
        with_vault = "vault" in rules.residual or rules.vault_below is not None
        # Nearly always there is room to spare, known without looking at every account again.
        largest, whole, wide = self._spare_exposure
        inside = self._outside_reach(rules).issubset(moved) and all(
            reach[i][0] >= wide[i][0] and reach[i][1] <= wide[i][1] for i in moved
        )
        room = paid * (whole if with_vault else largest) + self.vault + deposits
        if inside and room < limit:
            return
        exposure = paid * self._exposure(reach)
        cash = ops[ops["part"] == ShockPart.CASH]
        np.add.at(exposure, cash["account"], np.abs(cash["quantity"].astype(np.float64)))
        if with_vault:
            exposure[VAULT] += exposure.sum() + self.vault
        worst = int(np.argmax(exposure))
        if exposure[worst] >= limit:
            every = " (the rules may leave it every position)" if with_vault and worst == VAULT else ""
            raise RangeError(
                f"market: account {name(worst)!r}{every} could reach {exposure[worst]:.3g} cash quanta of "
                f"{decimal_text(self.quantum)}, "
                f"more than {limit:.3g}; {self._room_for(exposure[worst] / limit)}"
            )

    def _room_for(self, factor: float) -> str:
        """What makes room for this many times as many quanta: a coarser quantum, where the ticks are whole
        numbers of it."""
        quantum = self.quantum
        while quantum < self.quantum * Fraction(factor):
            quantum *= 10
        steps = [terms.coef_num * self.quantum for terms in self.terms if terms.contract == LINEAR]
        if any((step / quantum).denominator != 1 for step in steps):
            return "use larger ticks and lots, and with them a coarser cash_quantum"
        return f"use Market(cash_quantum={decimal_text(quantum)}) or a coarser one"

    def account_limit(self, rules: Any) -> float:
        """How many quanta an account may be able to reach: where every position's maintenance holds a fee on
        the account's money, as much less as keeps their sum within 63 bits."""
        if rules.maintenance_fee != "taker_at_bankruptcy":
            return float(ACCOUNT_LIMIT)
        fees = sum(terms.closing_fee for terms in self.terms) / RATE_ONE
        return ACCOUNT_LIMIT / (1 + 2 * fees * len(SLOTS))

    def _exposure(self, reach: list[tuple[float, float]]) -> np.ndarray:
        """Per account the most quanta that its money, positions and orders can amount to within a range of
        prices, float64."""
        exposure = np.abs(self.account_balance.astype(np.float64))
        for i in range(len(self.instruments)):
            rows = self.row_instrument == i
            worst = self.worst_value_of_a_lot(i, reach[i])
            np.add.at(
                exposure, self.row_account[rows], np.abs(self.row_lots[rows].astype(np.float64)) * worst
            )
            np.add.at(exposure, self.row_account[rows], np.abs(self.row_basis[rows].astype(np.float64)))
        self._add_exposure_beside(exposure, reach)
        return exposure

    def _add_exposure_beside(self, exposure: np.ndarray, reach: list[tuple[float, float]]) -> None:
        """Add to each account's exposure what its orders and its collateral can amount to."""
        for i, orders in enumerate(self.orders):
            worst = self.worst_value_of_a_lot(i, reach[i])
            mine = orders.owner != EXTERNAL
            np.add.at(exposure, orders.owner[mine], 2 * orders.lots[mine].astype(np.float64) * worst)
            held = self.holdings[self.holdings["instrument"] == i]
            np.add.at(exposure, held["account"], held["lots"].astype(np.float64) * worst)

    @cached_property
    def _spare_exposure(self) -> tuple[float, float, list[tuple[float, float]]]:
        """The largest exposure within a wide range of prices, the sum of all, and that range: whatever stays
        inside needs no second look."""
        wide = [(max(1.0, min(low, fine) / 16), high * 16) for low, fine, high in self._loaded_reach]
        beside = None
        if len(self.holdings) or any((orders.owner != EXTERNAL).any() for orders in self.orders):
            beside = np.zeros(len(self.account_balance))
            self._add_exposure_beside(beside, wide)
        largest, whole = _bulk.exposures(
            aligned(self.row_account),
            aligned(self.row_instrument),
            aligned(self.row_lots),
            aligned(self.row_basis),
            aligned(self.account_balance),
            np.array([self.worst_value_of_a_lot(i, reach) for i, reach in enumerate(wide)], np.float64),
            beside,
        )
        return largest, whole, wide

    @cached_property
    def _lots(self) -> list[tuple[float, float]]:
        """Per instrument the lots of all orders and of all positions."""
        n = len(self.instruments)
        held = _bulk.lots_held(aligned(self.row_instrument), aligned(self.row_lots), n) + np.bincount(
            self.holdings["instrument"], self.holdings["lots"].astype(np.float64), minlength=n
        )
        return [
            (float(o.lots.astype(np.float64).sum()), float(h)) for o, h in zip(self.orders, held, strict=True)
        ]

    @cached_property
    def _loaded_reach(self) -> list[tuple[float, float, float]]:
        """Per instrument, in ticks: the lowest price loaded of those in whole ticks and of the finer ones
        (index, external), and the highest of all."""
        reach = []
        for i, orders in enumerate(self.orders):
            whole = [float(self.last[i])] if self.last[i] > 0 else []
            if orders.price.size:
                whole += [float(orders.price.min()), float(orders.price.max())]
            fine = [float(p) / 1024 for p in (self.index_1024[i], *self.external_1024[i]) if p > 0]
            low = min(whole, default=min(fine, default=1.0))
            reach.append((low, min(fine, default=low), max(whole + fine, default=1.0)))
        return reach

    def price_reach(self, ops: np.ndarray, rules: Any) -> list[tuple[float, float]]:
        """Per instrument the lowest and highest price, in ticks, that anything can be valued or traded at."""
        return self._reach(self._moved(ops.tolist()), rules)

    @staticmethod
    def _moved(rows: Iterable[tuple[int, ...]]) -> dict[int, tuple[float, float]]:
        """{instrument: the factors by which prices can fall and rise} of rows of OP_DTYPE."""
        moved: dict[int, tuple[float, float]] = {}
        for part, i, _, _, rate, _, _, _ in rows:
            if part in (ShockPart.GAP, ShockPart.INDEX):
                fall, rise = moved.get(i, (1.0, 1.0))
                factor = 1 + rate / 1e9
                moved[i] = fall * min(factor, 1.0), rise * max(factor, 1.0)
        return moved

    def _reach(self, moved: dict[int, tuple[float, float]], rules: Any) -> list[tuple[float, float]]:
        """`price_reach` from the instruments that move."""
        still = self._still_reach(rules)
        if not moved:
            return still
        reach = list(still)
        for i, factors in moved.items():
            reach[i] = self._reach_of(i, rules, *factors)
        return reach

    def _reach_of(self, i: int, rules: Any, fall: float = 1.0, rise: float = 1.0) -> tuple[float, float]:
        # Prices derived from the index stay from half to twice it.
        beyond = 2 if isinstance(rules.mark, Mark) and uses_derived(rules.mark) else 1
        low, fine, high = self._loaded_reach[i]
        # Whole ticks stay whole; an index and what is derived from it can fall below one.
        low = min(max(1.0, low * fall - 1), fine * fall / beyond - 1)
        high *= rise * beyond
        if high + 1 >= PRICE_LIMIT:
            raise RangeError(
                f"market[{self.instruments[i].symbol!r}]: "
                f"prices, with the shock, reach {high:.3g} ticks: must stay below 2**53"
            )
        return max(lowest_price(rules), low), high + 1

    @cached_property
    def _still(self) -> dict[Any, list[tuple[float, float]]]:
        """`price_reach` without a shock, by the mark that the rules have; filled as it is asked for."""
        return {}

    def _still_reach(self, rules: Any) -> list[tuple[float, float]]:
        if rules.mark not in self._still:
            self._still[rules.mark] = [self._reach_of(i, rules) for i in range(len(self.instruments))]
        return self._still[rules.mark]

    @cached_property
    def _outside(self) -> dict[Any, frozenset[int]]:
        """Instruments whose prices are, without a shock, beyond the range of `_spare_exposure`; as
        `_still`."""
        return {}

    def _outside_reach(self, rules: Any) -> frozenset[int]:
        if rules.mark not in self._outside:
            pairs = enumerate(zip(self._still_reach(rules), self._spare_exposure[2], strict=True))
            self._outside[rules.mark] = frozenset(
                i for i, ((low, high), wide) in pairs if low < wide[0] or high > wide[1]
            )
        return self._outside[rules.mark]

    def _lots_fit(self, i: int, depth: float = 1.0, wanted: float = 0.0) -> None:
        """Refuse sums of lots that could overflow."""
        traded, held = self._lots[i]
        lots, terms, symbol = traded * depth + wanted + held, self.terms[i], self.instruments[i].symbol
        if lots >= 2**61:
            raise RangeError(f"market[{symbol!r}]: the lots of book, positions and shock exceed 2**61")
        if terms.contract != LINEAR and lots * terms.coef_num * 1024 >= 2**126:
            raise RangeError(
                f"market[{symbol!r}]: {lots:.3g} lots of an inverse contract exceed 128 bits; use larger lots"
            )

    def _fill_fits(self, i: int, lots: float, reach: tuple[float, float]) -> None:
        """Refuse a trade of a shock's order that int64 quanta might not hold."""
        worth = lots * self.worst_value_of_a_lot(i, reach) / 2  # nobody trades at twice the highest price
        if worth >= 2**63:
            raise RangeError(
                f"shock.orders[{self.instruments[i].symbol!r}]: one trade could be worth {worth:.3g} cash "
                f"quanta of {decimal_text(self.quantum)}, more than 2**63; {self._room_for(worth / 2**63)}"
            )

    @cached_property
    def _largest_order(self) -> list[float]:
        """Per instrument the lots of the largest resting order."""
        return [float(orders.lots.max(initial=0)) for orders in self.orders]

    @cached_property
    def _loaded_lots_fit(self) -> bool:
        """True; refuses what `_lots_fit` does."""
        for i in range(len(self.instruments)):
            self._lots_fit(i)
        return True

    def worst_value_of_a_lot(self, i: int, reach: tuple[float, float]) -> float:
        """The most that one lot can be worth in quanta within a range of prices (marks may be looked at up to
        twice as high)."""
        terms = self.terms[i]
        if terms.contract == LINEAR:
            return 2 * reach[1] * terms.coef_num
        return 2 * terms.coef_num / terms.coef_den / reach[0]
