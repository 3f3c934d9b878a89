"""Venues: rules and margin tiers of real exchanges, each as of a date and with its sources.

A preset is a `Venue` and is accepted wherever rules are; `venue.tiers(symbol)` gives what
`Instrument(tiers=...)` takes where tiers are embedded, `cs.io.read_tiers(path)` the others. Where sources
contradict each other the preset follows the venue's newest own document, and `venue.variants` holds the other
readings. What a preset cannot say stands in `venue.notes`; what a venue computes and no engine does, in
`venue.formulas`. Exchanges change their tiers and rules: compare the date with the day you study.

`drift`, `gmx`, `phemex` and `tradfi` are formulas alone: machines other than the engines'.

>>> import cascade as cs
>>> cs.venues.binance_usdm.tiers("BTCUSDT", "2024-10-24")[0]
[0.0, 50000.0, 0.008, 0.004, 0.0]
>>> cs.venues.binance_usdm.rules.adl_rank
'binance'
>>> cs.venues.hyperliquid.variants["oracle_price"].adl_price
'index'
"""

from . import drift, gmx, phemex, tradfi
from .binance import binance_coinm, binance_usdm
from .bitmex import bitmex
from .bybit import bybit, bybit_unified
from .deribit import deribit
from .dydx import dydx
from .hyperliquid import hyperliquid
from .okx import okx

__all__ = [
    "binance_coinm",
    "binance_usdm",
    "bitmex",
    "bybit",
    "bybit_unified",
    "deribit",
    "drift",
    "dydx",
    "gmx",
    "hyperliquid",
    "okx",
    "phemex",
    "tradfi",
]
