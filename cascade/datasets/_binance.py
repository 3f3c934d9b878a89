"""The BTCUSDT and ETHUSDT perpetual books of Binance USD-M at 2024-08-08 23:58:00 UTC."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from ..errors import InputError, InputTypeError
from ..instruments import Instrument
from ..market import Market
from ..rules import Venue, VenueRules
from ..tables import Table
from ..venues import binance_usdm
from ._population import population

BINANCE_BOOKS = {
    "moment": "2024-08-08 23:58:00 UTC",
    "time_ms": 1_723_161_480_000,
    "venue": "Binance USD-M futures",
    "symbols": ("BTCUSDT", "ETHUSDT"),
    "source": "hftbacktest, examples/usdm (https://github.com/nkaz001/hftbacktest), MIT licence, see NOTICE",
    "caveat": (
        "Snapshots of 1,000 levels a side kept up to date by the venue's updates. Beyond the first 1,000 "
        "levels only prices that an update touched are present: depth there is understated, and beyond the "
        "last level it is unknown, not zero."
    ),
}
"""Moment, source and caveat of the embedded books."""

_TERMS = {
    "BTCUSDT": {"tick_size": "0.1", "lot_size": "0.001", "liquidation_fee": "0.0125"},
    "ETHUSDT": {"tick_size": "0.01", "lot_size": "0.001", "liquidation_fee": "0.0125"},
}
TIERS_OF = "2024-10-24"
"""The embedded margin tiers next to the books' day."""
_FILE = "binance_books_20240808.npz"


@cache
def _instruments() -> tuple[Instrument, ...]:
    return tuple(
        Instrument(symbol, tiers=binance_usdm.tiers(symbol, TIERS_OF), **terms)
        for symbol, terms in _TERMS.items()
    )


@cache
def _arrays() -> dict[str, np.ndarray]:
    with (files(__package__) / _FILE).open("rb") as file, np.load(file, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def binance_instruments() -> tuple[Instrument, ...]:
    """The two perpetuals: BTCUSDT (tick 0.1 USDT, lot 0.001 BTC) and ETHUSDT (tick 0.01 USDT, lot 0.001 ETH).

    Margin tiers are those of 2024-10-24 (`cs.venues.binance_usdm.tiers(symbol, "2024-10-24")`), eleven weeks
    after the books. The liquidation fee is 1.25% of notional, as the venue's exchange information gave it for
    BTCUSDT (`liquidationFee` 0.012500) and taken to be the same for ETHUSDT. Trading fees are left at zero.

    Returns
    -------
    tuple of Instrument

    Examples
    --------
    >>> import cascade as cs
    >>> btc, eth = cs.datasets.binance_instruments()
    >>> btc.symbol, float(btc.tick_size), len(btc.tiers)
    ('BTCUSDT', 0.1, 12)
    """
    return _instruments()


def binance_books(symbol: str) -> tuple[Table, Table]:
    """Every known level of one book at 2024-08-08 23:58:00 UTC, as `Market.load_book` takes them.

    Beyond the first 1,000 levels a side only prices that an update touched are present: the far tail
    understates depth, and what lies beyond the last level is unknown, not zero. Source: hftbacktest's
    examples, MIT licence.

    Parameters
    ----------
    symbol : {"BTCUSDT", "ETHUSDT"}

    Returns
    -------
    (bids, asks) : two Tables with float64 columns price (USDT) and quantity (coins), best price first

    Raises
    ------
    InputError
        Another symbol.

    Examples
    --------
    >>> import cascade as cs
    >>> bids, asks = cs.datasets.binance_books("BTCUSDT")
    >>> float(bids["price"][0]), float(asks["price"][0]), len(bids), len(asks)
    (61628.1, 61628.2, 4033, 3969)
    """
    if not isinstance(symbol, str):
        raise InputTypeError(f"binance_books: symbol = {symbol!r}: must be a string")
    if symbol not in _TERMS:
        raise InputError(f"binance_books: symbol = {symbol!r}: must be one of {', '.join(_TERMS)}")
    instrument = next(i for i in _instruments() if i.symbol == symbol)
    arrays = _arrays()

    def side(name: str) -> Table:
        return Table(
            {
                "price": instrument.to_price(arrays[f"{symbol}_{name}_ticks"]),
                "quantity": instrument.to_size(arrays[f"{symbol}_{name}_lots"]),
            }
        )

    return side("bid"), side("ask")


def binance_market(
    rules: VenueRules | Venue | None = None, *, fund: Any = 25_000_000, accounts: int | None = None,
    open_interest: Any = None, rng: Any = None,
) -> Market:  # fmt: skip
    """BTCUSDT and ETHUSDT with their real books, and a seeded population if asked for.

    Parameters
    ----------
    rules : VenueRules or Venue, optional
        Default: `cs.venues.binance_usdm.variants["simple"]`: its mark needs the book alone.
    fund : number
        Insurance fund in USDT. The default is a choice, sized to the default open interest and not the
        venue's fund.
    accounts : int, optional
        Load this many accounts; None leaves the market without any.
    open_interest : {symbol: number}, optional
        As in `population`.
    rng : numpy.random.Generator or int
        Needed with `accounts`.

    Returns
    -------
    Market

    Raises
    ------
    InputError, InputTypeError
        As `population`.

    Examples
    --------
    >>> import cascade as cs
    >>> market = cs.datasets.binance_market(accounts=1_000, rng=1)
    >>> market
    <cascade.Market BTCUSDT, ETHUSDT: 1,000 accounts, 1,180 positions>
    """
    chosen = binance_usdm.variants["simple"] if rules is None else rules
    market = Market(_instruments(), rules=chosen, fund=fund)
    for symbol in _TERMS:
        market.load_book(symbol, *binance_books(symbol))
    if accounts is not None:
        population(market, accounts=accounts, open_interest=open_interest, rng=rng)
    elif open_interest is not None:
        raise InputError("binance_market: open_interest needs accounts")
    return market
