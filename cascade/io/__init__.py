"""Readers of recorded market data: exact integer ticks and lots, ready for `cascade.OrderBook`.

Order books become `Updates`: messages that set levels absolutely, whatever the venue. `Updates.best` and
`Updates.depth_at` answer for every message at once; `replay` and `stream` drive an `OrderBook`. Trades and
quotes become tables, margin tiers a `TierTable`. Sources are paths (CSV, plain, gzip or zip; Parquet with
pyarrow or polars; JSON for tiers) or tables of any library.
"""

from cascade.io._replay import Replay, replay, stream
from cascade.io._updates import MessageKind, Updates
from cascade.io.binance import read_binance_depth, read_binance_quotes, read_binance_trades
from cascade.io.bitmex import read_bitmex_l2
from cascade.io.lobster import Lobster, read_lobster, read_lobster_orderbook
from cascade.io.tardis import read_tardis_book, read_tardis_snapshots, read_tardis_trades
from cascade.tiers import TierTable, read_tiers

__all__ = [
    "Lobster",
    "MessageKind",
    "Replay",
    "TierTable",
    "Updates",
    "read_binance_depth",
    "read_binance_quotes",
    "read_binance_trades",
    "read_bitmex_l2",
    "read_lobster",
    "read_lobster_orderbook",
    "read_tardis_book",
    "read_tardis_snapshots",
    "read_tardis_trades",
    "read_tiers",
    "replay",
    "stream",
]
