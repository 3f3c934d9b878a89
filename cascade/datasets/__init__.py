"""Datasets: real order books to start from, a seeded population to put on them, and textbook markets with
known answers.

`binance_books`, `binance_instruments` and `binance_market` give the Binance USD-M perpetual books of
2024-08-08; `population` draws accounts and positions for any market; `constant_depth`, `linear_depth` and
`cluster` are markets whose cascades have closed forms.
"""

from ._binance import BINANCE_BOOKS, binance_books, binance_instruments, binance_market
from ._population import population
from ._textbook import cluster, constant_depth, linear_depth

__all__ = [
    "BINANCE_BOOKS",
    "binance_books",
    "binance_instruments",
    "binance_market",
    "cluster",
    "constant_depth",
    "linear_depth",
    "population",
]
