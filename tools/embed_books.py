"""Embed the two USD-M perpetual books of `cascade.datasets` from the recorded ones.

    python tools/embed_books.py ../shared/data/binance_l2_20240808/books_235800Z.parquet

The Parquet file has columns instrument, t_ms, side (+1 bid, -1 ask), level, price, qty: full books of one
moment. Writes `cascade/datasets/binance_books_20240808.npz`: per symbol and side int32 ticks and int64 lots,
best price first. The file is the same, byte for byte, whenever it is made from the same books with the same
NumPy.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet

TARGET = Path(__file__).resolve().parents[1] / "cascade" / "datasets" / "binance_books_20240808.npz"
BOOKS = {"BTCUSDT": ("usdm_btcusdt", 10, 1000), "ETHUSDT": ("usdm_ethusdt", 100, 1000)}
"""Label in the recording, ticks a USDT, lots a coin."""


def whole(values: np.ndarray, per_unit: int, dtype: type) -> np.ndarray:
    """Values as whole steps; refuses what is off the grid."""
    steps = np.rint(values * per_unit)
    if np.abs(steps - values * per_unit).max() > 1e-6 or steps.min() < 1 or steps.max() > np.iinfo(dtype).max:
        raise ValueError("a price or quantity is not a whole number of steps that fits")
    return steps.astype(dtype)


def main(source: str) -> None:
    rows = pyarrow.parquet.read_table(source).to_pydict()
    columns = {name: np.array(values) for name, values in rows.items()}
    arrays = {}
    for symbol, (label, ticks, lots) in BOOKS.items():
        for side, name in ((1, "bid"), (-1, "ask")):
            mine = np.flatnonzero((columns["instrument"] == label) & (columns["side"] == side))
            mine = mine[np.argsort(columns["price"][mine] * -side, kind="stable")]
            arrays[f"{symbol}_{name}_ticks"] = whole(columns["price"][mine], ticks, np.int32)
            arrays[f"{symbol}_{name}_lots"] = whole(columns["qty"][mine], lots, np.int64)
    np.savez_compressed(TARGET, **arrays)
    levels = sum(len(a) for name, a in arrays.items() if name.endswith("ticks"))
    print(f"{TARGET.name}: {levels} levels, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
