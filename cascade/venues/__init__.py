"""Venues: rules and margin tiers of real exchanges, each as of a date and with its sources.

A preset is a `Venue` and is accepted wherever rules are; `venue.tiers(symbol)` gives what
`Instrument(tiers=...)` takes. What a preset cannot say yet stands in `venue.notes`. Exchanges change their
tiers and rules: compare the date with the day you study.

>>> import cascade as cs
>>> cs.venues.binance_usdm.tiers("BTCUSDT")[0]
[0.0, 50000.0, 0.008, 0.004, 0.0]
>>> cs.venues.binance_usdm.rules.adl_rank
'binance'
"""

from .binance import binance_usdm

__all__ = ["binance_usdm"]
