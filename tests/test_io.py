"""cs.io: recorded books and quotes come out right row by row, formats round-trip, bad input is refused."""

import csv
import doctest
import gzip
import importlib
import json
import os
import random
import re
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import cascade as cs
from cascade.io import MessageKind, Updates

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("CASCADE_SHARED") or ROOT.parent / "shared")
BINANCE = SHARED / "data" / "binance_l2_20240808"
BITMEX = SHARED / "data" / "bitmex_l2_20210722"
BEST = ("bid", "bid_quantity", "ask", "ask_quantity")

binance_data = pytest.mark.skipif(
    not BINANCE.exists(), reason=f"recorded data is not here ({BINANCE}); set CASCADE_SHARED"
)
bitmex_data = pytest.mark.skipif(
    not BITMEX.exists(), reason=f"recorded data is not here ({BITMEX}); set CASCADE_SHARED"
)
INSTRUMENTS = {
    name: cs.Instrument(name, tick_size=tick, lot_size=lot)
    for name, tick, lot in (
        ("usdm_btcusdt", "0.1", "0.001"),
        ("usdm_ethusdt", "0.01", "0.001"),
        ("spot_btcusdt", "0.01", "0.000001"),
        ("spot_ethusdt", "0.01", "0.00001"),
        ("cm_btcusd_perp", "0.1", 1),
        ("cm_ethusd_perp", "0.01", 1),
    )
}


# A book in plain Python, by the rules of `Updates`


class PlainBook:
    def __init__(self):
        self.levels = {1: {}, -1: {}}
        self.stale = []

    def best(self, side):
        prices = self.levels[side]
        return (max(prices) if side > 0 else min(prices)) if prices else None

    def state(self):
        result = []
        for side in (1, -1):
            price = self.best(side)
            result += [0, 0] if price is None else [price, self.levels[side][price]]
        return result

    def depth(self):
        return [
            (s, p, self.levels[s][p]) for s in (1, -1) for p in sorted(self.levels[s], key=lambda p: -s * p)
        ]

    def apply(self, number, kind, rows):
        if kind == MessageKind.SNAPSHOT:
            self.levels = {1: {}, -1: {}}
        last = {(s, p): k for k, (s, p, _) in enumerate(rows)}
        before = {s: dict(levels) for s, levels in self.levels.items()}
        crossed = []
        for k, (s, p, q) in enumerate(rows):
            if kind == MessageKind.QUOTE:
                better = [x for x in self.levels[s] if not q or s * x > s * p]
                for x in better:
                    del self.levels[s][x]
            if last[s, p] != k:
                continue
            if q:
                self.levels[s][p] = q
                for x in [x for x in self.levels[-s] if s * x <= s * p]:
                    del self.levels[-s][x]
                    if kind != MessageKind.QUOTE and (-s, x) not in last:
                        crossed.append((number, -s, x, before[-s][x]))
            else:
                self.levels[s].pop(p, None)
        self.stale += crossed


def random_updates(seed, quotes):
    rng = random.Random(seed)
    rows, kinds = [], []
    for _ in range(rng.randint(1, 60)):
        roll = rng.random()
        if quotes and roll < 0.3:
            bid = rng.randint(90, 110)
            kinds.append(MessageKind.QUOTE)
            ask = bid + rng.randint(1, 3)
            rows.append([(1, bid, rng.randint(1, 9)), (-1, ask, rng.randint(1, 9))])
            continue
        kinds.append(MessageKind.SNAPSHOT if roll > 0.95 else MessageKind.UPDATE)
        wide = rng.choice([2, 12])
        rows.append(
            [
                (s, (100 - s * rng.randint(1 if wide > 2 else -2, wide)), rng.choice([0, 1, 2, 5]))
                for s in rng.choices((1, -1), k=rng.randint(0, 6))
            ]
        )
    flat = [row for message in rows for row in message]
    updates = Updates.from_rows(
        message=np.repeat(np.arange(len(rows)), [len(message) for message in rows]),
        time_ns=np.arange(len(rows)),
        kind=np.array(kinds, np.int64),
        side=np.array([s for s, _, _ in flat], np.int64),
        price=np.array([p for _, p, _ in flat], np.int64),
        quantity=np.array([q for _, _, q in flat], np.int64),
    )
    return updates, kinds, rows


@pytest.mark.parametrize("quotes", [False, True])
def test_every_book_is_what_a_plain_book_gives(quotes):
    stale = 0
    for seed in range(400):
        updates, kinds, rows = random_updates(seed, quotes)
        plain = PlainBook()
        expected = []
        for i, (kind, message) in enumerate(zip(kinds, rows, strict=True)):
            plain.apply(i, kind, message)
            expected.append(plain.state())
            depth = updates.depth_after(i)
            assert list(zip(*(depth[c].tolist() for c in depth.columns), strict=True)) == plain.depth(), seed
        assert np.stack([updates.best[c] for c in BEST], axis=1).tolist() == expected, seed
        found = list(zip(*(updates.stale[c].tolist() for c in updates.stale.columns), strict=True))
        assert sorted(found) == sorted(plain.stale), seed
        stale += len(found)
        replayed = cs.io.replay(updates)
        for side in ("bid", "ask"):
            assert (replayed.best[side] == updates.best[side]).all()
            assert (replayed.best[f"has_{side}"] == (updates.best[f"{side}_quantity"] > 0)).all()
        mine, theirs = updates.depth_after(-1), replayed.book.depth()
        assert all((mine[c] == theirs[c]).all() for c in mine.columns)
        half = len(updates) // 2
        later = cs.io.replay(updates, start=half)
        assert later.best == replayed.best.rows(slice(half, None))
    assert stale > 100


def test_decimals_are_exact():
    from cascade.io._source import from_texts

    rng = random.Random(7)
    texts = [
        "",
        "-",
        ".",
        "1e5",
        "5.",
        ".5",
        "+3",
        "--1",
        "1.2.3",
        "1 2",
        "1/2",
        " 1",
        "é",
        "9" * 18,
        "9" * 19,
    ]
    for _ in range(20_000):
        whole, places = rng.randrange(10 ** rng.randint(1, 12)), rng.randint(0, 8)
        sign = rng.choice(["", "", "-"])
        texts.append(f"{sign}{whole}.{rng.randrange(10**places):0{places}d}" if places else f"{sign}{whole}")
    for step in ("1", "0.5", "0.01", "0.000001", "3", "0.25"):
        steps, sure = from_texts(texts, Fraction(step))
        for text, value, ok in zip(texts, steps.tolist(), sure.tolist(), strict=True):
            plain = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", text)
            if ok:
                assert plain
                assert Fraction(text) == value * Fraction(step)
            elif plain and len(text) < 18:
                assert Fraction(text) % Fraction(step) != 0


# Recorded data


@pytest.fixture(scope="module")
def recorded():
    """{instrument: (updates, quotes)}."""
    pytest.importorskip("pyarrow")
    return {
        name: (
            cs.io.read_binance_depth(
                BINANCE / f"{name}_events.parquet", instrument, messages=BINANCE / f"{name}_msgs.parquet"
            ),
            cs.io.read_binance_quotes(BINANCE / f"{name}_events.parquet", instrument),
        )
        for name, instrument in INSTRUMENTS.items()
    }


def merged(updates, quotes):
    """Spot quotes have a time of arrival only, up to 100 ms before the update that has them."""
    on_arrival = quotes["time_ns"].min() < 0
    return updates.with_quotes(quotes, slack_ns=100_000_000 if on_arrival else 0)


@binance_data
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_best_prices_are_right_at_every_quote(recorded, name):
    updates, quotes = recorded[name]
    both = merged(updates, quotes)
    at_quote = both.kind == MessageKind.QUOTE
    assert at_quote.sum() > 0.99 * len(quotes)  # the others came before the snapshot
    later = quotes.rows(slice(len(quotes) - int(at_quote.sum()), None))
    # The diffs alone know: each leaves the book at the very quote, price and quantity, that came before it.
    before_diff = np.flatnonzero(~at_quote)[1:] - 1
    for column in BEST:
        assert (both.best[column][at_quote] == later[column]).all()
        assert (both.best[column][~at_quote] == updates.best[column]).all()
        assert (both.best[column][before_diff] == updates.best[column][1:]).all()
    assert not len(updates.stale)
    assert not len(both.stale)
    # What quotes take off, the next diff has put back: the whole book is the diffs' own.
    positions = np.flatnonzero(~at_quote)
    for k in np.linspace(1, len(updates) - 1, 8).astype(int).tolist():
        assert both.depth_after(positions[k]) == updates.depth_after(k)


@binance_data
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_the_whole_book_is_right(recorded, name):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(BINANCE / "books_235800Z.parquet").to_pydict()
    mine = [k for k, label in enumerate(table["instrument"]) if label == name]
    mine.sort(key=lambda k: (-table["side"][k], table["level"][k]))
    depth = recorded[name][0].depth_at(table["t_ms"][mine[0]] * 10**6)
    assert depth["side"].tolist() == [table["side"][k] for k in mine]
    for column, theirs, convert in (
        ("price", "price", INSTRUMENTS[name].to_ticks),
        ("quantity", "qty", INSTRUMENTS[name].to_lots),
    ):
        assert (depth[column] == convert(np.array([table[theirs][k] for k in mine]))).all()


@binance_data
@pytest.mark.parametrize("name", ["spot_btcusdt", "usdm_ethusdt"])
def test_an_order_book_driven_by_them_agrees(recorded, name):
    updates, quotes = recorded[name]
    short = merged(updates, quotes) if name == "spot_btcusdt" else updates
    result = cs.io.replay(short, start=500, stop=12_000 if len(short) > 12_000 else None)
    span = slice(500, 500 + len(result.best))
    assert (result.best["bid"] == short.best["bid"][span]).all()
    assert (result.best["ask"] == short.best["ask"][span]).all()
    mine, theirs = short.depth_after(span.stop - 1), result.book.depth()
    assert all((mine[c] == theirs[c]).all() for c in mine.columns)


@binance_data
@pytest.mark.parametrize("name", ["usdm_btcusdt", "spot_ethusdt"])
def test_gaps(recorded, name):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert not len(recorded[name][0].gaps)
    messages = parquet.read_table(BINANCE / f"{name}_msgs.parquet").to_pandas()
    events = parquet.read_table(BINANCE / f"{name}_events.parquet").to_pandas()
    lost = messages["msg"].iloc[[1000, 2000, 2001]]
    rest = messages[~messages["msg"].isin(lost)]
    arguments = {
        "source": events[~events["msg"].isin(lost)],
        "messages": rest,
        "instrument": INSTRUMENTS[name],
    }
    with pytest.raises(cs.InputError, match=r"depth: message \d+ follows id .* \(2 gaps; on_gap='keep'"):
        cs.io.read_binance_depth(**arguments)
    kept = cs.io.read_binance_depth(**arguments, on_gap="keep")
    assert len(kept.gaps) == 2
    after = messages["u"].iloc[1001]
    assert kept.last_id[kept.gaps["message"][0]] == after


@binance_data
def test_recorded_trades(recorded):
    parquet = pytest.importorskip("pyarrow.parquet")
    name = "usdm_btcusdt"
    path = BINANCE / f"{name}_events.parquet"
    events = parquet.read_table(path).to_pandas()
    kinds = events["kind"].value_counts()
    trades = cs.io.read_binance_trades(path, INSTRUMENTS[name])
    assert len(trades) == kinds[2]
    everything = cs.io.read_binance_trades(path, INSTRUMENTS[name], non_market=True)
    assert len(everything) == kinds[2] + kinds.get(5, 0)
    theirs = events[events["kind"] == 2]
    assert (trades["side"] == theirs["side"]).all()
    assert (INSTRUMENTS[name].to_price(trades["price"]) == theirs["price"]).all()


BITMEX_TICKS = {
    "XBTUSD": "0.5", "ADAUSDT": "0.00001", "BCHUSD": "0.05", "EOSUSDT": "0.0005", "MATICUSDT": "0.0001",
    "SOLUSDT": "0.001", "TRXU21": "0.0000000001", "TRXUSDT": "0.00001", "UNIUSDT": "0.001",
    "XRPU21": "0.00000001",
}  # fmt: skip


@bitmex_data
@pytest.mark.parametrize("symbol", BITMEX_TICKS)
def test_bitmex_passes_through_every_quote_in_order(symbol):
    """Quotes are sent once a second, all those of the second: each is a state of the book, in their order."""
    pytest.importorskip("pyarrow")
    instrument = cs.Instrument(symbol, tick_size=BITMEX_TICKS[symbol], lot_size=1)
    updates = cs.io.read_bitmex_l2(
        BITMEX / "updates.parquet", instrument, snapshot=BITMEX / "snapshots.parquet", symbol=symbol
    )
    assert not len(updates.stale)
    states = list(zip(*(updates.best[c].tolist() for c in BEST), strict=True))
    with open(BITMEX / "quotes.csv") as file:
        quotes = [row for row in csv.DictReader(file) if row["symbol"] == symbol]
    at = 0
    for row in quotes:
        if Fraction(row["recv_unix_s"]) * 10**9 < int(updates.local_ns[0]):
            continue
        bid, ask = instrument.to_ticks(row["bid"]), instrument.to_ticks(row["ask"])
        at = states.index((bid, int(row["bid_size"]), ask, int(row["ask_size"])), at)


# Formats, from small files


def write(path, text):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", text)
    else:
        path.write_text(text, newline="")
    return path


UNITS = {"tick_size": "0.5", "lot_size": "0.1"}
TARDIS_BOOK = """exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount
deribit,BTC-PERPETUAL,1598918400000001,1598918400100000,false,bid,11600,5
deribit,BTC-PERPETUAL,1598918402355000,1598918402479000,true,bid,11657.0,2.5
deribit,BTC-PERPETUAL,1598918402355000,1598918402479000,true,ask,11657.5,1.1
deribit,BTC-PERPETUAL,1598918402355000,1598918402480000,true,ask,1.1658e4,0
deribit,BTC-PERPETUAL,1598918402355000,1598918402480000,true,ask,11658.50,7
deribit,BTC-PERPETUAL,1598918403000000,1598918403100000,false,ask,11657.5,0.0
deribit,BTC-PERPETUAL,1598918403000000,1598918403100000,false,bid,11657.5,0.3
deribit,BTC-PERPETUAL,1598918404000000,1598918404100000,true,bid,11000,1
deribit,BTC-PERPETUAL,1598918404000000,1598918404100000,true,ask,11001,1
"""


def same_updates(a, b):
    for name in (
        "time_ns",
        "local_ns",
        "kind",
        "first_row",
        "side",
        "price",
        "quantity",
        "first_id",
        "last_id",
    ):
        assert (getattr(a, name) == getattr(b, name)).all(), name
    assert a.dropped == b.dropped


def test_tardis_book(tmp_path):
    updates = cs.io.read_tardis_book(write(tmp_path / "a.csv", TARDIS_BOOK), **UNITS)
    assert updates.dropped == 1
    assert updates.kind.tolist() == [1, 0, 0, 1]
    assert updates.best["bid"].tolist() == [23314, 23314, 23315, 22000]
    assert updates.best["ask"].tolist() == [23315, 23315, 23317, 22002]
    assert updates.best["bid_quantity"].tolist() == [25, 25, 3, 10]
    assert updates.time_ns[0] == 1598918402355000_000
    assert updates.local_ns[0] == 1598918402479000_000
    assert updates.depth_at(1598918403100000_000, clock="local")["price"].tolist() == [23315, 23314, 23317]
    assert not len(updates.depth_at(0))
    assert repr(updates) == "Updates(2 updates, 2 snapshots, 8 rows, 1 dropped)"
    for name, text in (
        ("b.csv.gz", TARDIS_BOOK),
        ("c.zip", TARDIS_BOOK),
        ("d.csv", TARDIS_BOOK.replace("\n", "\r\n")),
        ("e.csv", "\ufeff" + TARDIS_BOOK.rstrip("\n")),
    ):
        same_updates(updates, cs.io.read_tardis_book(write(tmp_path / name, text), **UNITS))
    instrument = cs.Instrument("BTC-PERPETUAL", **UNITS)
    again = cs.io.read_tardis_book(tmp_path / "a.csv", instrument, symbol="BTC-PERPETUAL")
    same_updates(updates, again)


@pytest.mark.parametrize("library", ["dict", "text", "pandas", "polars", "pyarrow", "structured", "parquet"])
def test_tables_of_any_library(tmp_path, library):
    expected = cs.io.read_tardis_book(write(tmp_path / "a.csv", TARDIS_BOOK), **UNITS)
    header, *lines = [line.split(",") for line in TARDIS_BOOK.split()]
    table = {name: [line[k] for line in lines] for k, name in enumerate(header)}
    if library != "text":
        for name in ("timestamp", "local_timestamp"):
            table[name] = np.array(table[name], np.int64)
        for name in ("price", "amount"):
            table[name] = np.array(table[name], np.float64)
        table["is_snapshot"] = np.array([word == "true" for word in table["is_snapshot"]])
    if library in ("pandas", "polars"):
        table = pytest.importorskip(library).DataFrame(table)
    elif library == "pyarrow":
        table = pytest.importorskip("pyarrow").table(table)
    elif library == "structured":
        table = np.asarray(cs.Table(table))
    elif library == "parquet":
        pytest.importorskip("pyarrow")
        cs.Table(table).write_parquet(tmp_path / "a.parquet")
        table = tmp_path / "a.parquet"
    same_updates(expected, cs.io.read_tardis_book(table, **UNITS))


def test_files_after_one_another(tmp_path):
    lines = TARDIS_BOOK.splitlines(keepends=True)
    parts = [
        write(tmp_path / f"{k}.csv", lines[0] + "".join(lines[a:b]))
        for k, (a, b) in enumerate([(1, 6), (6, 10)])
    ]
    whole = write(tmp_path / "whole.csv", TARDIS_BOOK)
    same_updates(cs.io.read_tardis_book(whole, **UNITS), cs.io.read_tardis_book(parts, **UNITS))


def test_long_files_cross_blocks(tmp_path, monkeypatch):
    from cascade.io import _source

    whole = cs.io.read_tardis_book(write(tmp_path / "a.csv", TARDIS_BOOK), **UNITS)
    for size in (64, 100, 333):
        monkeypatch.setattr(_source, "BLOCK", size)
        same_updates(whole, cs.io.read_tardis_book(tmp_path / "a.csv", **UNITS))
    text = TARDIS_BOOK.replace("11001,1", "11001,x").replace("7\n", "y\n")
    with pytest.raises(cs.InputError, match=re.escape("['amount'][4] = 'y': must be a number (2 bad rows)")):
        cs.io.read_tardis_book(write(tmp_path / "b.csv", text), **UNITS)


def test_tardis_snapshots_and_trades(tmp_path):
    names = [f"{s}[{k}].{p}" for k in range(2) for s in ("asks", "bids") for p in ("price", "amount")]
    text = (
        f"exchange,symbol,timestamp,local_timestamp,{','.join(names)}\n"
        "ftx,BTC,1000,1500,101,1,100,2,102.5,3,99.5,4\n"
        "ftx,BTC,2000,2500,101,1,100,2,,,99,4\n"
    )
    updates = cs.io.read_tardis_snapshots(write(tmp_path / "s.csv", text), **UNITS)
    assert updates.kind.tolist() == [1, 1]
    assert updates.depth_after(0)["price"].tolist() == [200, 199, 202, 205]
    assert updates.depth_after(1)["price"].tolist() == [200, 198, 202]
    pandas = pytest.importorskip("pandas")
    same_updates(updates, cs.io.read_tardis_snapshots(pandas.read_csv(tmp_path / "s.csv"), **UNITS))

    text = (
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
        "ftx,BTC,1000,1500,abc,buy,100.5,0.1\nftx,ETH,1000,1501,,sell,7,1\nftx,BTC,1001,1502,,unknown,100,3.0\n"
    )
    path = write(tmp_path / "t.csv", text)
    trades = cs.io.read_tardis_trades(path, symbol="BTC", **UNITS)
    assert trades["side"].tolist() == [1, 0]
    assert trades["price"].tolist() == [201, 200]
    assert trades["quantity"].tolist() == [1, 30]
    assert trades["local_ns"].tolist() == [1_500_000, 1_502_000]
    with pytest.raises(cs.InputError, match=re.escape("t.csv['symbol']: several ('BTC', 'ETH')")):
        cs.io.read_tardis_trades(path, **UNITS)
    with pytest.raises(cs.InputError, match=re.escape("t.csv['symbol']: no row is 'XRP' (there are 'BTC')")):
        cs.io.read_tardis_trades(path, symbol="XRP", **UNITS)


TRADE_FILES = {
    "spot trades": (
        "11,100.5,0.3,30.15,1608872400000,True,True\n12,100.00000000,1.0,100,1608872400001,False,True\n"
    ),
    "spot trades, microseconds": (
        "11,100.5,0.3,30.15,1608872400000000,True,True\n12,100,1.0,100,1608872400001000,False,True\n"
    ),
    "futures trades": (
        "id,price,qty,quote_qty,time,is_buyer_maker\n11,100.5,0.3,30.15,1608872400000,true\n"
        "12,100,1.0,100,1608872400001,false\n"
    ),
    "futures trades, no header": (
        "11,100.5,0.3,30.15,1608872400000,true\n12,100,1.0,100,1608872400001,false\n"
    ),
    "spot aggTrades": "11,100.5,0.3,1,2,1608872400000,True,True\n12,100,1.0,3,3,1608872400001,False,True\n",
    "futures aggTrades": (
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
        "11,100.5,0.3,1,2,1608872400000,true\n12,100,1.0,3,3,1608872400001,false\n"
    ),
    "futures aggTrades, no header": (
        "11,100.5,0.3,1,2,1608872400000,true\n12,100,1.0,3,3,1608872400001,false\n"
    ),
}


@pytest.mark.parametrize("form", TRADE_FILES)
def test_binance_trade_dumps(tmp_path, form):
    trades = cs.io.read_binance_trades(write(tmp_path / "t.zip", TRADE_FILES[form]), **UNITS)
    assert trades["id"].tolist() == [11, 12]
    assert trades["side"].tolist() == [-1, 1]
    assert trades["price"].tolist() == [201, 200]
    assert trades["quantity"].tolist() == [3, 10]
    assert trades["time_ns"].tolist() == [1608872400000_000_000, 1608872400001_000_000]
    if form.startswith("futures") and "no header" not in form:
        pandas = pytest.importorskip("pandas")
        path = write(tmp_path / "t.csv", TRADE_FILES[form])
        assert cs.io.read_binance_trades(pandas.read_csv(path), **UNITS) == trades
        assert len(cs.io.read_binance_trades([path, path], **UNITS)) == 4


def event(first, last, before, bids, asks, at=1000, **more):
    ids = {"U": first, "u": last} | ({} if before is None else {"pu": before})
    return {"e": "depthUpdate", "E": at + 5, "T": at, **ids, "b": bids, "a": asks} | more


BOOK = {"lastUpdateId": 10, "E": 990, "T": 985, "bids": [["100.0", "1.0"]], "asks": [["101.0", "2.0"]]}
FUTURES = [
    event(1, 5, 0, [["99", "9"]], []),
    event(6, 11, 5, [["100.5", "0.3"]], [["101.0", "0.0"], ["102", "1"]], 1050),
    BOOK,
    event(12, 20, 11, [], [["101.5", "1.50"]], 1100),
]


def test_binance_stream(tmp_path):
    updates = cs.io.read_binance_depth(FUTURES, **UNITS)
    assert updates.dropped == 1  # ended before the snapshot
    assert updates.kind.tolist() == [1, 0, 0]  # the second event waited for the snapshot
    assert updates.time_ns.tolist() == [985_000_000, 1050_000_000, 1100_000_000]
    assert updates.best["bid"].tolist() == [200, 201, 201]
    assert updates.best["ask"].tolist() == [202, 204, 203]
    assert updates.first_id.tolist() == [10, 6, 12]
    lines = [f"{k} " * (k % 2) + json.dumps({"stream": "x@depth", "data": e}) for k, e in enumerate(FUTURES)]
    lines.insert(2, json.dumps({"e": "bookTicker", "u": 1, "b": "1", "B": "1", "a": "2", "A": "1"}))
    for name in ("d.jsonl", "d.gz"):
        again = cs.io.read_binance_depth(write(tmp_path / name, "\n".join(lines) + "\n"), **UNITS)
        assert again.local_ns.tolist() == [-1, 1, 3]
        assert again.rows == updates.rows
    with_rest = cs.io.read_binance_depth([e for e in FUTURES if e is not BOOK], snapshot=BOOK, **UNITS)
    same_updates(updates, with_rest)
    # JSON numbers keep their digits too.
    line = json.dumps(event(12, 20, 11, [[100.5, 0.3]], [])).replace("0.3", "0.30000000000000000000")
    numbers = cs.io.read_binance_depth(write(tmp_path / "n.json", line), incomplete=True, **UNITS)
    assert numbers.rows["quantity"].tolist() == [3]


def test_binance_sequence():
    spot = [
        BOOK,
        event(9, 11, None, [["100.5", "1"]], []),
        event(12, 12, None, [], []),
        event(13, 15, None, [], []),
    ]
    assert not len(cs.io.read_binance_depth(spot, **UNITS).gaps)
    for stream, gap in (
        ([*spot[:2], spot[3]], (2, 12, 13)),
        ([spot[0], *spot[2:]], (1, 11, 12)),  # the event that holds the snapshot's id is missing
        ([FUTURES[2], FUTURES[3]], (1, 10, 11)),
        ([*FUTURES, event(21, 22, 19, [], [])], (3, 20, 19)),
    ):
        with pytest.raises(
            cs.InputError, match=f"message {gap[0]} follows id {gap[2]}, must follow {gap[1]}"
        ):
            cs.io.read_binance_depth(stream, **UNITS)
        gaps = cs.io.read_binance_depth(stream, on_gap="keep", **UNITS).gaps
        assert [(int(gaps["message"][0]), int(gaps["expected"][0]), int(gaps["found"][0]))] == [gap]
    # A second snapshot mends a gap.
    again = BOOK | {"lastUpdateId": 40}
    mended = [*FUTURES, event(30, 39, 29, [], []), again, event(40, 44, 39, [], [])]
    assert len(cs.io.read_binance_depth(mended, on_gap="keep", **UNITS).gaps) == 1


def test_quotes_are_placed_by_id():
    quotes = cs.io.read_binance_quotes(
        [
            {"u": 8, "b": "100", "B": "9", "a": "101", "A": "9"},
            {"u": 11, "b": "100.5", "B": "0.3", "a": "102", "A": "1"},
            {"u": 14, "b": "101", "B": "4", "a": "102", "A": "1"},
        ],
        **UNITS,
    )
    both = cs.io.read_binance_depth(FUTURES, **UNITS).with_quotes(quotes)
    assert both.kind.tolist() == [1, 0, 2, 2, 0]
    assert both.best["bid"].tolist() == [200, 201, 201, 202, 202]
    assert both.first_row[-1] == len(both.rows)
    with pytest.raises(cs.InputError, match="quotes already"):
        both.with_quotes(quotes)


def test_quote_dumps(tmp_path):
    text = (
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
        "7,100.5,0.3,101,2,1608872400000,1608872400003\n"
    )
    quotes = cs.io.read_binance_quotes(write(tmp_path / "q.zip", text), **UNITS)
    assert quotes.rows(slice(1)).to_dict() == {
        "time_ns": [1608872400000_000_000], "local_ns": [-1], "id": [7], "bid": [201], "bid_quantity": [3],
        "ask": [202], "ask_quantity": [20],
    }  # fmt: skip


BITMEX_ROWS = """recv_unix_s,symbol,action,side,price,size,id
1626993370.5,XBTUSD,update,Buy,,7,1
1626993371.0327702,XBTUSD,partial,Buy,100.0,10,1
1626993371.0327702,XBTUSD,partial,Sell,101.0,20,2
1626993371.2,XBTUSD,update,Buy,,30,1
1626993371.3,XBTUSD,delete,Sell,,,2
1626993371.3,XBTUSD,insert,Sell,100.5,5,3
1626993371.4,XBTUSD,delete,Buy,,,1
1626993371.4,XBTUSD,update,Buy,,6,3
"""


def test_bitmex_by_id(tmp_path):
    units = {"tick_size": "0.5", "lot_size": 1}
    updates = cs.io.read_bitmex_l2(write(tmp_path / "b.csv", BITMEX_ROWS), **units)
    assert updates.dropped == 1
    assert updates.local_ns[0] == 1626993371032770200
    assert updates.best["bid"].tolist() == [200, 200, 200, 200, 0, 201]
    assert updates.best["ask"].tolist() == [202, 202, 0, 201, 201, 0]
    assert not len(updates.stale)  # the id that changed sides was taken off the other one
    for old, new, message in (
        ("update,Buy,,30,1", "update,Buy,,30,9", "['id'][3] = 9: must have a price"),
        ("update,Buy,,30,1", "update,Buy,102.0,30,9", "['id'][3] = 9: must be an id in the book"),
        ("update,Buy,,30,1", "update,Buy,102.0,30,1", "['id'][3] = 1: must keep its price"),
        ("update,Buy,,6,3", "update,Buy,,6,2", "['id'][7] = 2: must be an id in the book"),
        ("insert", "add", "['action'][5] = 'add': must be one of 'partial', 'insert', 'update', 'delete'"),
    ):
        with pytest.raises(cs.InputError, match=re.escape(message)):
            cs.io.read_bitmex_l2(write(tmp_path / "c.csv", BITMEX_ROWS.replace(old, new)), **units)


# Made by hand from LOBSTER's documentation: order 101 (100 shares, of which the file cancels 40) and 102
# stood before; one level, 99900, has no messages.
LOBSTER_MESSAGES = """34200.000000001,1,201,50,100100,1
34200.5,4,102,60,100200,-1
34201,5,0,30,100150,1
34202.25,2,101,40,100000,1
34203,4,201,50,100100,1
34204,7,0,0,-1,-1
34205,3,102,140,100200,-1
34206,1,202,25,100250,-1
"""
NONE = "9999999999,0"
LOBSTER_BOOK = f"""100200,200,100100,50,100300,80,100000,100,{NONE},99900,50
100200,140,100100,50,100300,80,100000,100,{NONE},99900,50
100200,140,100100,50,100300,80,100000,100,{NONE},99900,50
100200,140,100100,50,100300,80,100000,60,{NONE},99900,50
100200,140,100000,60,100300,80,99900,50,{NONE},-9999999999,0
100200,140,100000,60,100300,80,99900,50,{NONE},-9999999999,0
100300,80,100000,60,{NONE},99900,50,{NONE},-9999999999,0
100250,25,100000,60,100300,80,99900,50,{NONE},-9999999999,0
"""


@pytest.mark.parametrize("executions", ["reduce", "take"])
@pytest.mark.parametrize("tick", ["0.0001", "0.005"])
def test_lobster(tmp_path, executions, tick):
    messages = write(tmp_path / "message.csv", LOBSTER_MESSAGES)
    orderbook = write(tmp_path / "orderbook.csv", LOBSTER_BOOK)
    day = cs.io.read_lobster(messages, orderbook, tick_size=tick, executions=executions)
    shown = cs.io.read_lobster_orderbook(orderbook, day.time_ns, tick_size=tick)
    assert day.opening["order_id"].tolist() == [101, 102, 0, 0, 0]
    book = day.opening_book()
    for row in range(len(day.time_ns)):
        reports = book.process(day.orders[day.row == row])
        assert not (reports["kind"] == cs.ReportKind.REJECTED).any()
        mine, theirs = book.depth(), shown.depth_after(row)
        assert all((mine[c] == theirs[c]).all() and len(mine) == len(theirs) for c in theirs.columns), row
        if executions == "take" and row in (1, 4):
            trade = reports[reports["kind"] == cs.ReportKind.TRADE]
            assert trade["maker_id"].tolist() == [102 if row == 1 else 201]
    assert day.time_ns[:2].tolist() == [34200_000_000_001, 34200_500_000_000]
    assert shown.time_ns[-1] == 34206_000_000_000
    assert day.trades["side"].tolist() == [1, -1, -1]
    assert day.trades["id"].tolist() == [102, 0, 201]
    assert day.halts["state"].tolist() == [-1]


# Bad input


def bad(old, new):
    return TARDIS_BOOK.replace(old, new, 1)


CATALOGUE = {
    "no number": (bad("11657.5", "abc"), "a.csv['price'][2] = 'abc': must be a number (1 bad row)"),
    "off tick": (
        bad("11657.5", "11657.3"),
        "a.csv['price'][2] = '11657.3': must be a whole number of ticks of 0.5",
    ),
    "off lot": (bad("1.1\n", "1.15\n"), "a.csv['amount'][2] = '1.15': must be a whole number of lots of 0.1"),
    "negative": (bad("1.1\n", "-1.1\n"), "a.csv['amount'][2] = '-1.1': must not be negative"),
    "nan": (bad("1.1\n", "nan\n"), "a.csv['amount'][2] = 'nan': must be finite"),
    "infinite": (bad("11657.5", "inf"), "a.csv['price'][2] = 'inf': must be finite"),
    "empty": (bad("11657.5", ""), "a.csv['price'][2] = null: must not be missing"),
    "huge": (
        bad("11657.5", "1" * 30),
        "a.csv['price'][2] = '111111111111111111111111111111': the number of steps",
    ),
    "large": (bad("1.1\n", "4e18\n"), "a.csv['amount'][2] = '4e18': "),
    "half a time": (bad("1598918402479000", "1598918402479000.0001"), "a.csv['local_timestamp'][1] = "),
    "a word": (bad("true", "yes"), "a.csv['is_snapshot'][1] = 'yes': must be one of 'true', 'false'"),
    "a side": (bad("bid", "BID"), "a.csv['side'][0] = 'BID': must be one of 'bid', 'ask' (1 bad row)"),
    "a long word": (bad("bid", "bidbidbidbid"), "a.csv['side'][0] = 'bidbidbidbid'"),
    "a short line": (bad(",bid", ""), "a.csv, line 2: 7 fields where the first line has 8"),
    "a long line": (bad("ask,", "ask,,"), "a.csv, line 4: 9 fields where the first line has 8"),
    "a blank line": (bad("\nderibit", "\n\nderibit"), "a.csv, line 2: 1 field where the first line has 8"),
    "quotes": (bad("ask", '"ask"'), "a.csv, line 4: a quoted field"),
    "no column": (bad("amount", "size"), "a.csv: missing column 'amount' (it has 'exchange', "),
    "a column twice": (bad("exchange", "price"), "a.csv: column 'price' appears twice"),
    "no header": (TARDIS_BOOK.split("\n", 1)[1], "a.csv: missing columns 'timestamp', "),
    "nothing": ("", "a.csv: empty"),
    "no snapshot": (TARDIS_BOOK.replace("true", "false"), "book: no snapshot"),
    "two symbols": (bad("BTC-PERPETUAL,1598918404", "ETH,1598918404"), "a.csv['symbol']: several ("),
}


@pytest.mark.parametrize("case", CATALOGUE)
def test_bad_files(tmp_path, case):
    text, message = CATALOGUE[case]
    with pytest.raises(cs.CascadeError) as caught:
        cs.io.read_tardis_book(write(tmp_path / "a.csv", text), **UNITS)
    assert message in str(caught.value)


def test_bad_arguments(tmp_path):
    path = write(tmp_path / "a.csv", TARDIS_BOOK)
    read, depth, unit = cs.io.read_tardis_book, cs.io.read_binance_depth, cs.Instrument("X", **UNITS)
    for error, message, call in (
        (cs.InputError, "give an instrument, or both", lambda: read(path)),
        (cs.InputError, "give an instrument, or both", lambda: read(path, tick_size=1)),
        (cs.InputError, "along with an instrument", lambda: read(path, unit, tick_size=1)),
        (cs.InputTypeError, "instrument: a str", lambda: read(path, "X")),
        (cs.InputError, "tick_size = 0: must be > 0", lambda: read(path, tick_size=0, lot_size=1)),
        (cs.InputError, "No such file", lambda: read(tmp_path / "none.csv", **UNITS)),
        (cs.InputError, "Is a directory", lambda: read(tmp_path, **UNITS)),
        (cs.InputError, "No such file", lambda: read(tmp_path / "none.parquet", **UNITS)),
        (cs.InputError, "not readable", lambda: read(tmp_path / "cut.gz", **UNITS)),
        (cs.InputError, "not readable as Parquet",
         lambda: read(write(tmp_path / "p.parquet", "no"), **UNITS)),
        (cs.InputError, "an empty list", lambda: read([], **UNITS)),
        (cs.InputTypeError, "book: None", lambda: read(None, **UNITS)),
        (cs.InputError, "missing column", lambda: read({"price": [1.0]}, **UNITS)),
        (cs.InputError, "must be 'raise' or 'keep'", lambda: depth([BOOK], on_gap="x", **UNITS)),
        (cs.InputError, "depth: an event without 'u'",
         lambda: depth([{"e": "depthUpdate", "b": [], "a": [], "U": 1}], **UNITS)),
        (cs.InputError, "depth['u'][1] = 'x': must be a number",
         lambda: depth([BOOK, event(1, "x", 0, [], [])], **UNITS)),
        (cs.InputTypeError, "depth['U'][1] = null: must be a number",
         lambda: depth([BOOK, event(None, 3, 0, [], [])], **UNITS)),
        (cs.InputError, "depth: a level that is no list of price and quantity",
         lambda: depth([BOOK, event(1, 2, 0, [["1"]], [])], **UNITS)),
        (cs.InputError, "depth: a level that is no list of price and quantity",
         lambda: depth([BOOK, event(1, 2, 0, [7], 3)], **UNITS)),
        (cs.InputError, "trades: an event without 'q'",
         lambda: cs.io.read_binance_trades([{"e": "trade", "m": True, "p": "1", "t": 1}], **UNITS)),
        (cs.InputError, "snapshot: must have lastUpdateId",
         lambda: depth([BOOK], snapshot={"bids": []}, **UNITS)),
        (cs.InputError, "['price'][0] = 'x': must be a number",
         lambda: depth([BOOK | {"bids": [["x", "1"]]}], **UNITS)),
        (cs.InputError, "line 1: '{\"e\": 1': must be JSON",
         lambda: cs.io.read_binance_depth(write(tmp_path / "j.json", '{"e": 1'), **UNITS)),
        (cs.InputError, "5 columns without a header",
         lambda: cs.io.read_binance_trades(write(tmp_path / "t.csv", "1,2,3,4,true\n"), **UNITS)),
        (cs.InputError, "updates['recv_unix_s'][1] = nan: must be finite",
         lambda: cs.io.read_bitmex_l2(
             {"recv_unix_s": [1626993371.25, float("nan")], "action": ["partial", "insert"], "side": [1, -1],
              "price": [1.0, 2.0], "size": [1, 1], "id": [1, 2]}, **UNITS)),
        (cs.InputError, "clock = 'x'", lambda: read(path, **UNITS).depth_at(0, clock="x")),
        (cs.InputError, "try 'venue'",
         lambda: cs.io.read_binance_depth([BOOK], **UNITS).depth_at(0, clock="local")),
        (cs.InputError, "message = 9: must be from 0 to 3", lambda: read(path, **UNITS).depth_after(9)),
        (cs.InputTypeError, "updates: a list", lambda: cs.io.replay([])),
        (cs.InputError, "start, stop", lambda: cs.io.replay(read(path, **UNITS), start=9)),
        (cs.InputError, "must be 'reduce' or 'take'", lambda: cs.io.read_lobster({}, executions="x")),
        (cs.InputError, "message.csv['type'][0] = '8': must be at most 7",
         lambda: cs.io.read_lobster(write(tmp_path / "message.csv", "1,8,1,1,100,1\n"))),
        (cs.InputError, "messages['order_id'][1] = 7: must be submitted once",
         lambda: cs.io.read_lobster(write(tmp_path / "m.csv", "1,1,7,1,100,1\n2,1,7,1,100,1\n"))),
        (cs.InputError, "messages['size'][1] = 2: must not be more than the order has left",
         lambda: cs.io.read_lobster(write(tmp_path / "m.csv", "1,1,7,1,100,1\n2,2,7,2,100,1\n"))),
        (cs.InputError, "messages['price'][0] = 150: must be a whole number of ticks of 100",
         lambda: cs.io.read_lobster(write(tmp_path / "m.csv", "1,1,7,1,150,1\n"), tick_size="0.01")),
        (cs.InputError, "must be 4 a level",
         lambda: cs.io.read_lobster_orderbook(write(tmp_path / "o.csv", "1,2,3\n"))),
    ):  # fmt: skip
        (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a,b\n" * 99)[:20])
        with pytest.raises(error) as caught:
            call()
        assert message in str(caught.value)


def test_bad_updates():
    good = {"message": [0, 1], "time_ns": [5, 6], "side": [1, -1], "price": [9, 10], "quantity": [1, 0]}
    Updates.from_rows(**good)
    for change, message in (
        ({"message": [1, 0]}, "must never fall"),
        ({"message": [0, 2]}, "from 0 to 1"),
        ({"side": [1, 0]}, "must be 1 or -1"),
        ({"side": [1]}, "has 1 rows"),
        ({"price": [9.5, 10]}, "must be 1-D integers"),
        ({"price": [2**62, 10]}, "within 2**62"),
        ({"quantity": [-1, 0]}, "from 0 to 2**62 - 1"),
        ({"kind": [0, 7]}, "must be a MessageKind"),
        ({"local_ns": [0]}, "has 1 messages"),
    ):
        with pytest.raises(cs.CascadeError, match=re.escape(message)):
            Updates.from_rows(**(good | change))


def test_updates_cannot_be_changed():
    updates = Updates.from_rows(message=[0], time_ns=[5], side=[1], price=[9], quantity=[1])
    with pytest.raises(ValueError, match="read-only"):
        updates.price[0] = 1
    with pytest.raises(AttributeError):
        updates.price = None


def test_orders_of_others_are_not_crossed():
    updates = Updates.from_rows(message=[0], time_ns=[5], side=[1], price=[100], quantity=[1])
    book = cs.OrderBook()
    book.limit(cs.Side.SELL, 100, 5)
    with pytest.raises(cs.InputError):
        cs.io.replay(updates, book)


@pytest.mark.parametrize("module", ["_updates", "_replay", "binance", "bitmex", "lobster", "tardis"])
def test_docstrings(module):
    assert not doctest.testmod(importlib.import_module(f"cascade.io.{module}")).failed


def test_the_page_runs():
    page = (ROOT / "docs" / "io.md").read_text()
    for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S):
        exec(compile(code, "docs/io.md", "exec"), {})
