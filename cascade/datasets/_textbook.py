"""Textbook markets: one instrument "X" whose cascade can be worked out on paper.

All are built alike. The price starts at P0, with 100 ticks a price unit; bids stand from one tick below P0
downwards, one ask that nothing reaches one tick above it; both sides are complete, so a walk never meets the
unknown. u is the distance below P0 in price units. Liquidations come from isolated longs without posted
margin in an instrument without maintenance margin: a long goes as soon as the mark is below its entry, and
its entry is half a tick above the price at which it must go. The mark is the last trade.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import InputError
from ..instruments import Instrument, positive
from ..market import Market
from ..rules import Venue, VenueRules

TICKS_PER_UNIT = 100
SYMBOL = "X"


def _per_tick(rate: Any, lot: Fraction, what: str) -> int:
    """A rate a price unit as whole lots a tick."""
    lots = positive(rate, what) / TICKS_PER_UNIT / lot
    if lots.denominator != 1:
        raise InputError(
            f"{what} = {rate!r}: {what}/{TICKS_PER_UNIT} must be a whole number of lots of {float(lot):g}"
        )
    return int(lots)


def _ticks(distance: Any, what: str) -> int:
    ticks = positive(distance, what) * TICKS_PER_UNIT
    if ticks.denominator != 1:
        raise InputError(f"{what} = {distance!r}: must be a whole number of ticks of {1 / TICKS_PER_UNIT}")
    return int(ticks)


def _market(
    bid_lots: np.ndarray,
    ticks_down: np.ndarray,
    long_lots: np.ndarray,
    *,
    lot: Fraction,
    start: Any,
    rules: Any,
) -> Market:
    """Bids from a tick below the start downwards, longs of `long_lots` that go `ticks_down` below it."""
    instrument = Instrument(SYMBOL, tick_size=Fraction(1, TICKS_PER_UNIT), lot_size=lot)
    first = _ticks(start, "start")
    if first <= len(bid_lots):
        raise InputError(f"start = {start!r}: must exceed the reach of the book")
    market = Market(instrument, rules=rules)
    bid_ticks = first - 1 - np.arange(len(bid_lots))
    market.load_book(
        SYMBOL,
        {"price": instrument.to_price(bid_ticks), "quantity": instrument.to_size(bid_lots)},
        {"price": [instrument.to_price(first + 1)], "quantity": [instrument.to_size(int(bid_lots.sum()))]},
        complete=True,
    )
    market.set_prices(last={SYMBOL: start}, index={SYMBOL: start})
    n = len(long_lots)
    if n:
        market.load_positions(
            {
                "account": np.arange(1, n + 1),
                "instrument": np.full(n, SYMBOL),
                "size": instrument.to_size(long_lots),
                "entry_price": (first - ticks_down + 0.5) / TICKS_PER_UNIT,
                "margin": np.zeros(n),
            }
        )
    return market


def constant_depth(
    d: Any = 100, g: Any = 60, *, lot: Any = "0.01", reach: Any = 40, start: Any = 100_000,
    rules: VenueRules | Venue | None = None,
) -> Market:  # fmt: skip
    """A book of constant depth and longs spread evenly below the price: a geometric cascade.

    Selling Q lowers the price by Q / d, which takes out longs of g * Q / d: each wave is r = g / d times the
    one before. A shock of Q0 ends, for r < 1, with Q0 / (1 - r) sold, the price Q0 / (d - g) lower, and an
    amplification of 1 / (1 - r). With d = 100, g = 60, Q0 = 500: waves 500, 300, 180, 108, 64.8, ...; 1,250
    sold; down 12.5; amplified 2.5 times. At r >= 1 it runs until longs or bids end. Under mark="mid", with
    the asks untouched, the mark falls half as far and g acts as g / 2: 714.29 sold.

    Parameters
    ----------
    d : number
        Bids a price unit; d / 100 a tick must be whole lots.
    g : number
        Longs a price unit that must go, likewise; 0 for none.
    lot : number
        Lot size.
    reach : number
        Price units below the start down to which there are bids and longs.
    start : number
        P0.
    rules : VenueRules or Venue, optional
        Default: `VenueRules()`, whose mark is the last trade.

    Returns
    -------
    Market : one linear instrument "X", tick 0.01, one account a tick.

    Raises
    ------
    InputError
        A depth that is not whole lots a tick, a reach beyond the price.

    Notes
    -----
    Levels are whole ticks, so numbers come out to about a tick in the drop: 1e-3 of the values above.

    Examples
    --------
    >>> import cascade as cs
    >>> result = cs.datasets.constant_depth().run(cs.Shock(orders={"X": -500}))
    >>> [float(q) for q in result.waves["quantity"][:5]]
    [500.0, 300.0, 180.0, 108.0, 64.8]
    >>> round(result.summary["price"]["X"]["final"], 2)
    99987.5
    """
    size, n = positive(lot, "lot"), _ticks(reach, "reach")
    down = np.arange(1, n + 1)
    longs = np.full(n, _per_tick(g, size, "g")) if g else np.zeros(0, np.int64)
    return _market(
        np.full(n, _per_tick(d, size, "d")), down[: len(longs)], longs, lot=size, start=start, rules=rules
    )


def linear_depth(
    slope: Any = 2, g: Any = 30, *, lot: Any = "0.0001", reach: Any = 60, start: Any = 100_000,
    rules: VenueRules | Venue | None = None,
) -> Market:  # fmt: skip
    """A book whose depth grows with distance, slope * u a price unit, and longs spread evenly below the
    price.

    Down to u there are slope * u**2 / 2 of bids and g * u of longs, so a shock of Q0 comes to rest where
    slope * u**2 / 2 = Q0 + g * u: at u = (g + sqrt(g**2 + 2 * slope * Q0)) / slope. With slope = 2, g = 30,
    Q0 = 500 that is 41.925824, and sqrt(2 * Q0 / slope) = 22.360680 with no liquidations. Such a book always
    holds: depth wins in the end.

    Parameters
    ----------
    slope : number
        Bids a price unit, a price unit of distance; slope / 10,000 must be whole lots.
    g : number
        Longs a price unit that must go; g / 100 must be whole lots. 0 for none.
    lot, reach, start, rules
        As in `constant_depth`.

    Returns
    -------
    Market : one linear instrument "X", tick 0.01, one account a tick.

    Raises
    ------
    InputError
        As `constant_depth`.

    Examples
    --------
    >>> import cascade as cs
    >>> price = cs.datasets.linear_depth(g=0).run(cs.Shock(orders={"X": -500})).summary["price"]["X"]
    >>> round(price["start"] - price["final"], 2)
    22.36
    """
    size, n = positive(lot, "lot"), _ticks(reach, "reach")
    down = np.arange(1, n + 1)
    steps = positive(slope, "slope") / TICKS_PER_UNIT**2 / size
    if steps.denominator != 1:
        raise InputError(
            f"slope = {slope!r}: slope/{TICKS_PER_UNIT**2} must be a whole number of lots of {float(size):g}"
        )
    longs = np.full(n, _per_tick(g, size, "g")) if g else np.zeros(0, np.int64)
    return _market(int(steps) * down, down[: len(longs)], longs, lot=size, start=start, rules=rules)


def cluster(
    size: Any = 700, u: Any = 8, d: Any = 100, *, lot: Any = 1, reach: Any = 40, start: Any = 100_000,
    rules: VenueRules | Venue | None = None,
) -> Market:  # fmt: skip
    """A book of constant depth and one large long: a cascade that tips.

    The long goes when the price is u lower, which takes a sale of d * u; then it sells its own size. A shock
    of Q0 lowers the price by Q0 / d if Q0 < d * u, and by (Q0 + size) / d from there on. With size = 700, u =
    8, d = 100: down 7.99 after 799, down 15.00 after 800.

    Parameters
    ----------
    size : number
        The long, whole lots.
    u : number
        How far below the start it goes, whole ticks.
    d : number
        Bids a price unit; d / 100 a tick must be whole lots.
    lot, reach, start, rules
        As in `constant_depth`; the long is not limited by `reach`.

    Returns
    -------
    Market : one linear instrument "X", tick 0.01, one account.

    Raises
    ------
    InputError
        As `constant_depth`.

    Examples
    --------
    >>> import cascade as cs
    >>> market = cs.datasets.cluster()
    >>> for quantity in (799, 800):
    ...     price = market.run(cs.Shock(orders={"X": -quantity})).summary["price"]["X"]
    ...     print(round(price["start"] - price["final"], 2))
    7.99
    15.0
    """
    lot_size, n = positive(lot, "lot"), _ticks(reach, "reach")
    lots = positive(size, "size") / lot_size
    if lots.denominator != 1:
        raise InputError(f"size = {size!r}: must be a whole number of lots of {float(lot_size):g}")
    book = np.full(n, _per_tick(d, lot_size, "d"))
    return _market(
        book, np.array([_ticks(u, "u")]), np.array([int(lots)]), lot=lot_size, start=start, rules=rules
    )
