"""Small markets from exact numbers: grids and a cash quantum on which everything given is as good as
exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import Any

from ..errors import InputError
from ..instruments import Instrument
from ..market import Market
from ..rules import Venue, VenueRules

FINE = 2**48
"""Quanta that the largest amount of a market should be about: far inside the engines' 2**60, and relative
1e-14."""

MANY = 2**32
"""Ticks in a price, if its own grid is finer."""
FINEST = 2**30
LARGEST_COEFFICIENT = 2**60
ROOM = 2**56
"""Quanta that all amounts of a market may be together; floors of tiers may be `MOST`."""
MOST = 2**59


def grid(numbers: Iterable[Fraction]) -> Fraction:
    """The largest step of which all numbers are whole multiples; 1 where all are 0."""
    found = [abs(x) for x in numbers if x]
    if not found:
        return Fraction(1)
    below = lcm(*(x.denominator for x in found))
    return Fraction(gcd(*(int(x * below) for x in found)), below)


class Contract:
    """What one instrument of a small market is, and the prices it stands at.

    Parameters
    ----------
    symbol : str
    tiers
        As `Instrument(tiers=...)` takes them.
    price : Fraction
        Index and last price.
    sizes : iterable of Fraction
        Quantities that must be whole lots.
    prices : iterable of Fraction
        Prices, besides `price`, that must be whole ticks.
    tick : Fraction, optional
        Where the venue's own matters; prices need not lie on it then.
    """

    def __init__(
        self,
        symbol: str,
        tiers: Any,
        *,
        price: Fraction,
        sizes: Iterable[Fraction],
        prices: Iterable[Fraction] = (),
        tick: Fraction | None = None,
        contract: str = "linear",
        multiplier: Fraction = Fraction(1),
        **terms: Any,
    ) -> None:
        if price <= 0:
            raise InputError(f"price = {price}: must be > 0")
        sizes = [abs(x) for x in sizes]
        self.price, self.largest = price, max(sizes, default=Fraction(1))
        self.tick = tick or grid([price, *prices])
        if tick is None and price / self.tick > MANY:  # numbers of very many digits: marks to 1e-13 instead
            self.tick = price / MANY
        self._terms = {
            "lot_size": grid(sizes), "contract": contract, "multiplier": multiplier, "tiers": tiers, **terms,
        }  # fmt: skip
        self.instrument = Instrument(symbol, tick_size=self.tick, **self._terms)

    def coarsen(self, quantum: Fraction) -> None:
        """Take a tick that makes a lot's value a whole number of quanta, where the prices' own grid does not
        go with other contracts'; the price is then held to 1e-12."""
        if self.step is not None:
            worth = self.instrument.lot_size * self.instrument.multiplier
            self.tick = max(1, self.price * worth / quantum // FINEST) * quantum / worth
            self.instrument = Instrument(self.instrument.symbol, tick_size=self.tick, **self._terms)

    @property
    def notional(self) -> Fraction:
        """The most that a position is worth at the price."""
        size = self.largest * self.instrument.multiplier
        return size * self.price if self.instrument.contract == "linear" else size / self.price

    def fits(self, quantum: Fraction) -> bool:
        """Whether one lot's value at one tick is a number of quanta that a market can hold."""
        made = self.instrument
        lot = made.lot_size * made.multiplier
        value = (lot * self.tick if made.contract == "linear" else lot / self.tick) / quantum
        return max(value.numerator, value.denominator) < LARGEST_COEFFICIENT

    @property
    def step(self) -> Fraction | None:
        """What the cash quantum must divide."""
        if self.instrument.contract == "linear":
            return self.tick * self.instrument.lot_size * self.instrument.multiplier
        return None


def quantum_of(contracts: Sequence[Contract], amounts: Sequence[Fraction]) -> Fraction:
    """The cash quantum of a market: where the engines have room, one of which all that is given is a whole
    number; else one that goes with the contracts' ticks; else a decimal one, and ticks that go with it."""
    steps = [c.step for c in contracts if c.step is not None]
    borders = [abs(x) for c in contracts for tier in c.instrument.tiers for x in (tier.floor, tier.amount)]
    finest = max(max(amounts) / FINE, max(borders, default=Fraction(0)) / MOST)
    coarsest = max(sum(amounts) / ROOM, max(borders, default=Fraction(0)) / MOST)
    own = grid(steps) if steps else max(c.notional for c in contracts)
    while not steps and own < coarsest:
        own *= 10
    for quantum in (grid([*steps, *amounts, *borders]), own):
        if quantum >= coarsest and all(c.fits(quantum) for c in contracts):
            while quantum / 10 >= finest and all(c.fits(quantum / 10) for c in contracts):
                quantum /= 10
            return quantum
    quantum = Fraction(1)
    while quantum < finest:
        quantum *= 10
    while quantum / 10 >= finest:
        quantum /= 10
    for contract in contracts:
        contract.coarsen(quantum)
    return quantum


def market(
    contracts: Sequence[Contract],
    *,
    rules: VenueRules | Venue,
    money: Iterable[Fraction] = (),
    fund: Fraction = Fraction(0),
    vault: Fraction = Fraction(0),
    balances: Mapping[str, Fraction] | None = None,
    positions: Sequence[Mapping[str, Any]] = (),
) -> Market:
    """A market of these contracts with index and last prices set.

    Parameters
    ----------
    money : iterable of Fraction
        Further amounts that must be represented well.
    balances : dict of account to Fraction
        Cross accounts.
    positions : rows of account, instrument, size, entry_price and optionally margin, position_side
    """
    given = dict(balances or {})
    amounts = [abs(x) for x in (*money, fund, vault, *given.values(), *(c.notional for c in contracts))]
    quantum = quantum_of(contracts, amounts)
    made = Market(
        [c.instrument for c in contracts], rules=rules, fund=fund, vault=vault, cash_quantum=quantum
    )
    made.set_prices(
        index={c.instrument.symbol: c.price for c in contracts},
        last={c.instrument.symbol: c.price for c in contracts if (c.price / c.tick).denominator == 1},
    )
    if given:
        made.load_accounts({"account": list(given), "balance": list(given.values())})
    columns: dict[str, list[Any]] = {}
    for name in ("account", "instrument", "size", "entry_price", "margin", "position_side"):
        if any(name in row for row in positions):
            columns[name] = [row.get(name) for row in positions]
    if columns:
        made.load_positions(columns)
    return made
