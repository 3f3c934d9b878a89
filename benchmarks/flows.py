"""Seeded order flows with the fills that they must give: normal, cascade and wide. See README.md.

    python benchmarks/flows.py FOLDER [--quick] [--seed N]      writes flow_normal.bin and the others there

A file is a 128-byte header, then messages of 16 bytes, little endian (the format LOBFLOW1, which drivers of
other engines read):

    header   8s magic | u64 messages | u64 warm (an untimed prefix) | i32 lowest, i32 highest price |
             u32 largest id | u32 most orders live | u64 fills, lots, hash (of the whole file) |
             u64 fills, lots after the prefix | u64 orders live at the end | zeros
    message  u32 id | i32 price | u32 quantity | u8 kind | u8 side | u16 0
    kind     0 ADD (limit, may trade, the rest rests)  1 CANCEL  2 IOC  3 MODIFY (cancel and add anew
             under its id: the place is always lost)  4 MARKET (its price is the worst there is)
    side     0 buys, 1 sells
    hash     h = (h + maker * K1 + (price << 20) + quantity) * K2 mod 2**64 over the fills in order, from 0
"""

from __future__ import annotations

import argparse
import heapq
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import cascade as cs

MAGIC = b"LOBFLOW1"
HEADER = struct.Struct("<8sQQiiIIQQQQQQ")
HEADER_BYTES = 128
MESSAGE_DTYPE = np.dtype(
    [("id", "<u4"), ("price", "<i4"), ("quantity", "<u4"), ("kind", "u1"), ("side", "u1"), ("zero", "<u2")]
)
ADD, CANCEL, IOC, MODIFY, MARKET = range(5)
K1, K2, MASK = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, (1 << 64) - 1
NAMES = ("normal", "cascade", "wide")
TOP = 2**31 - 1
"""The wide flow's highest price; the lowest is 1."""


@dataclass(frozen=True)
class Totals:
    """What a book's fills come to: their number, the lots traded, a hash that sees their order."""

    fills: int
    lots: int
    hash: int

    def __str__(self) -> str:
        return f"{self.fills:,} fills, {self.lots:,} lots, hash {self.hash:016x}"


def totals(maker: np.ndarray, price: np.ndarray, lots: np.ndarray) -> Totals:
    """The totals of columns of fills, in the order in which they happened."""
    n = len(maker)
    with np.errstate(over="ignore"):
        word = maker.astype(np.uint64) * np.uint64(K1) + (
            price.astype(np.int64).view(np.uint64) << np.uint64(20)
        )
        word += lots.astype(np.uint64)
        # Horner's rule unrolled: fill i is multiplied by K2 once for itself and once for each later one.
        power = np.cumprod(np.full(n, K2, np.uint64), dtype=np.uint64)[::-1]
        return Totals(n, int(lots.sum()), int((word * power).sum(dtype=np.uint64)))


@dataclass(frozen=True, eq=False)
class Orders:
    """A flow as `OrderBook.process` takes it: ORDER_DTYPE rows, of which the first `warm` are not timed."""

    rows: np.ndarray
    warm: int
    key: int | None
    """of the bijection that made the ids sparse"""

    def totals(self, reports: np.ndarray) -> Totals:
        """Of the trades among a book's reports, by the ids that the flow has."""
        trades = reports[reports["kind"] == cs.ReportKind.TRADE]
        maker = trades["maker_id"] if self.key is None else dense(trades["maker_id"], self.key)
        return totals(maker, trades["price"], trades["quantity"])


@dataclass(frozen=True, eq=False)
class Flow:
    """Messages, and the totals that a right book gives."""

    name: str
    messages: np.ndarray
    """MESSAGE_DTYPE"""
    warm: int
    totals: Totals
    """of the whole flow"""
    timed: tuple[int, int]
    """fills and lots after the warm prefix"""
    most_live: int
    live_end: int
    _orders: dict[int | None, Orders] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.messages)

    def orders(self, sparse: int | None = None) -> Orders:
        """The flow as ORDER_DTYPE; `sparse` is the seed of a bijection that spreads the ids over 64 bits.

        A MODIFY of the format loses its place always, ours keeps it for less at the same price: one at the
        same price becomes a CANCEL and a NEW (flows made here have none; a few in ten thousand of others).
        """
        if sparse not in self._orders:
            self._orders[sparse] = self._convert(sparse)
        return self._orders[sparse]

    def _convert(self, sparse: int | None) -> Orders:
        m = self.messages
        same = same_price(m)
        count = 1 + same.astype(np.int64)
        at = np.cumsum(count) - count  # row of each message
        source = np.repeat(np.arange(len(m)), count)
        rows = np.zeros(len(source), cs.ORDER_DTYPE)
        kind = m["kind"][source]
        second = np.zeros(len(source), bool)
        second[at[same] + 1] = True
        first = np.zeros(len(source), bool)
        first[at[same]] = True
        kind[first], kind[second] = CANCEL, ADD
        ids = m["id"][source].astype(np.uint64)
        rows["order_id"] = ids if sparse is None else spread(ids, sparse)
        action = np.array([cs.Action.NEW, cs.Action.CANCEL, cs.Action.NEW, cs.Action.MODIFY, cs.Action.NEW])
        rows["action"] = action[kind]
        new, cancel = rows["action"] == cs.Action.NEW, kind == CANCEL
        rows["side"][new] = np.where(m["side"][source][new] == 0, cs.Side.BUY, cs.Side.SELL)
        rows["price"] = np.where(cancel | (kind == MARKET), 0, m["price"][source])
        rows["quantity"] = np.where(cancel, 0, m["quantity"][source])
        rows["type"] = np.where(kind == MARKET, cs.OrderType.MARKET, cs.OrderType.LIMIT)
        rows["tif"] = np.where(kind == IOC, cs.TimeInForce.IOC, cs.TimeInForce.GTC)
        warm = int(at[self.warm]) if self.warm < len(m) else len(rows)
        return Orders(rows, warm, sparse)

    def write(self, path: Path) -> None:
        """As a LOBFLOW1 file."""
        m = self.messages
        price = m["price"][(m["kind"] == ADD) | (m["kind"] == MODIFY)]
        head = HEADER.pack(
            MAGIC, len(m), self.warm, int(price.min()), int(price.max()), int(m["id"].max()), self.most_live,
            self.totals.fills, self.totals.lots, self.totals.hash, *self.timed, self.live_end,
        )  # fmt: skip
        Path(path).write_bytes(head.ljust(HEADER_BYTES, b"\0") + m.tobytes())


def read(path: Path, name: str = "") -> Flow:
    """A LOBFLOW1 file."""
    path = Path(path)
    with path.open("rb") as f:
        head = f.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES or head[:8] != MAGIC:
            raise ValueError(f"{path}: no LOBFLOW1 file")
        messages = np.frombuffer(f.read(), MESSAGE_DTYPE)
    _, n, warm, _, _, _, most_live, fills, lots, hashed, *timed, live_end = HEADER.unpack(head[: HEADER.size])
    if len(messages) != n:
        raise ValueError(f"{path}: {len(messages)} messages, the header says {n}")
    return Flow(
        name or path.stem,
        messages,
        warm,
        Totals(fills, lots, hashed),
        (timed[0], timed[1]),
        most_live,
        live_end,
    )


def same_price(m: np.ndarray) -> np.ndarray:
    """Which messages are MODIFYs at the price that their order has already."""
    prices = np.flatnonzero((m["kind"] == ADD) | (m["kind"] == MODIFY))
    order = prices[np.argsort(m["id"][prices], kind="stable")]  # by id, then time
    same = np.zeros(len(m), bool)
    ids, price = m["id"][order], m["price"][order]
    same[order[1:]] = (ids[1:] == ids[:-1]) & (price[1:] == price[:-1])
    return same & (m["kind"] == MODIFY)


# Sparse ids: a bijection of 64-bit integers (the finaliser of splitmix64, from a seeded start)

_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


def _start(seed: int) -> np.uint64:
    return np.random.default_rng(seed).integers(1 << 63, dtype=np.uint64)


def spread(ids: np.ndarray, seed: int) -> np.ndarray:
    """uint64 ids spread over all 64 bits; `dense` takes them back."""
    with np.errstate(over="ignore"):
        z = ids.astype(np.uint64) + _start(seed)
        for shift, factor in _MIX:
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z


def dense(ids: np.ndarray, seed: int) -> np.ndarray:
    """The inverse of `spread`."""
    z = ids.astype(np.uint64)
    with np.errstate(over="ignore"):
        for shift, factor in reversed(_MIX):
            z = z * np.uint64(pow(factor, -1, 1 << 64))
            back = z
            for _ in range(64 // shift):
                back = z ^ (back >> np.uint64(shift))
            z = back
        return z - _start(seed)


# The book that says what is right: slow and obvious


class PlainBook:
    """Price levels as dicts of id -> open lots, oldest first; the levels' prices in heaps with stale entries.

    `fills` has (maker, price, lots), in order.
    """

    def __init__(self) -> None:
        self.levels: tuple[dict[int, dict[int, int]], ...] = ({}, {})
        self.heaps: tuple[list[int], ...] = ([], [])  # bids negated
        self.at: dict[int, tuple[int, int]] = {}  # id -> side, price
        self.live: list[int] = []
        self.place: dict[int, int] = {}  # id -> index in `live`
        self.most_live = 0
        self.fills: list[tuple[int, int, int]] = []

    def best(self, side: int) -> int | None:
        """The best price of side 0 (bids) or 1 (asks)."""
        heap, levels = self.heaps[side], self.levels[side]
        while heap:
            price = -heap[0] if side == 0 else heap[0]
            if price in levels:
                return price
            heapq.heappop(heap)
        return None

    def rest(self, order_id: int, side: int, price: int, lots: int) -> None:
        level = self.levels[side].get(price)
        if level is None:
            level = self.levels[side][price] = {}
            heapq.heappush(self.heaps[side], -price if side == 0 else price)
        level[order_id] = lots
        self.at[order_id] = side, price
        self.place[order_id] = len(self.live)
        self.live.append(order_id)
        self.most_live = max(self.most_live, len(self.live))

    def cancel(self, order_id: int) -> None:
        side, price = self.at.pop(order_id)
        level = self.levels[side][price]
        del level[order_id]
        if not level:
            del self.levels[side][price]
        last, hole = self.live.pop(), self.place.pop(order_id)
        if last != order_id:
            self.live[hole] = last
            self.place[last] = hole

    def take(self, side: int, price: int | None, lots: int) -> int:
        """Trade as far as `price` (None: whatever it is); the lots that are left."""
        while lots:
            best = self.best(1 - side)
            if best is None or (price is not None and (best > price if side == 0 else best < price)):
                break
            level = self.levels[1 - side][best]
            for maker in list(level):
                traded = min(lots, level[maker])
                self.fills.append((maker, best, traded))
                lots -= traded
                if traded == level[maker]:
                    self.cancel(maker)
                else:
                    level[maker] -= traded
                if not lots:
                    break
        return lots

    def apply(self, order_id: int, price: int, lots: int, kind: int, side: int) -> int:
        """One message of the format; the lots of a new order that did not trade."""
        if kind == CANCEL:
            if order_id in self.at:
                self.cancel(order_id)
            return 0
        if kind == MODIFY:
            if order_id not in self.at:
                return 0
            side = self.at[order_id][0]
            self.cancel(order_id)
        left = self.take(side, None if kind == MARKET else price, lots)
        if left and kind in (ADD, MODIFY):
            self.rest(order_id, side, price, left)
        return left

    def totals(self) -> Totals:
        if not self.fills:
            return Totals(0, 0, 0)
        maker, price, lots = np.array(self.fills, np.int64).T
        return totals(maker, price, lots)


class Writer:
    """Messages that are sent to a plain book as they are written down."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.book = PlainBook()
        self.sent: list[tuple[int, int, int, int, int]] = []
        self.warm = self.warm_fills = 0

    def send(self, order_id: int, price: int, lots: int, kind: int, side: int) -> None:
        self.sent.append((order_id, price, lots, kind, side))
        self.book.apply(order_id, price, lots, kind, side)

    def end_warm(self) -> None:
        """What was sent so far is the untimed prefix."""
        self.warm, self.warm_fills = len(self.sent), len(self.book.fills)

    def flow(self) -> Flow:
        messages = np.zeros(len(self.sent), MESSAGE_DTYPE)
        for name, column in zip(MESSAGE_DTYPE.names or (), np.array(self.sent, np.int64).T, strict=False):
            messages[name] = column
        timed = self.book.fills[self.warm_fills :]
        lots = sum(f[2] for f in timed)
        return Flow(
            self.name, messages, self.warm, self.book.totals(), (len(timed), lots), self.book.most_live,
            len(self.book.live),
        )  # fmt: skip


# The flows


def normal(n: int = 2_200_000, warm: int = 200_000, seed: int = 1) -> Flow:
    """A market's everyday: about 10,000 orders live, prices near the touch.

    51% new orders, 44% cancellations of an order chosen evenly, 3% immediate-or-cancel orders and 3% limit
    orders through the other side's best (by 0 to 7 ticks), 1.5% changes of price and quantity that do not
    trade. A new price is 1 + floor(5 (u^(-1/1.2) - 1)) ticks, at most 4,000, behind the other side's best.
    Lots are geometric of mean 50, of takers 22, and of one taker in 33 300.
    """
    rng = np.random.default_rng(seed)
    far = np.minimum(1 + np.floor(5 * (rng.random(n) ** (-1 / 1.2) - 1)), 4_000).astype(np.int64).tolist()
    slip = rng.integers(0, 8, n).tolist()
    middle, top = 65_536, 131_072

    def behind(side: int, bid: int, ask: int, k: int) -> int:
        return max(1, ask - far[k]) if side == 0 else min(top, bid + far[k])

    def through(side: int, bid: int, ask: int, k: int) -> int:
        return min(top, ask + slip[k]) if side == 0 else max(1, bid - slip[k])

    return _mixed("normal", rng, n, warm, middle, behind, through)


def wide(n: int = 2_200_000, warm: int = 200_000, seed: int = 3) -> Flow:
    """The same mix with prices all over 1..2^31 - 1, so that about every order has a level of its own.

    A new price is even between the end of the range and the other side's best. Takers go through the best by
    up to eight times the mean distance of levels.
    """
    rng = np.random.default_rng(seed)
    where = rng.random(n).tolist()
    slip = rng.integers(0, 8 * TOP // 10_000, n).tolist()

    def behind(side: int, bid: int, ask: int, k: int) -> int:
        return 1 + int(where[k] * (ask - 1)) if side == 0 else bid + 1 + int(where[k] * (TOP - bid))

    def through(side: int, bid: int, ask: int, k: int) -> int:
        return min(TOP, ask + slip[k]) if side == 0 else max(1, bid - slip[k])

    return _mixed("wide", rng, n, warm, (TOP + 1) // 2, behind, through)


Place = Callable[[int, int, int, int], int]


def _mixed(
    name: str, rng: np.random.Generator, n: int, warm: int, middle: int, behind: Place, through: Place
) -> Flow:
    """`behind` and `through` say where message k's price is: of (side, best bid, best ask, k)."""
    target, changes, takers = 10_000, 0.015, 0.06
    what, pick, side = rng.random(n).tolist(), rng.random(n).tolist(), rng.integers(0, 2, n).tolist()
    lots = rng.geometric(1 / 50, n).tolist()
    taken = np.where(rng.random(n) < 0.03, rng.geometric(1 / 300, n), rng.geometric(1 / 22, n)).tolist()
    writer = Writer(name)
    book, live, at, send = writer.book, writer.book.live, writer.book.at, writer.send
    filling, next_id = True, 1
    for k in range(n):
        if k == warm:
            writer.end_warm()
        filling = filling and len(live) < target
        # A pull towards the target.
        cancels = 0.02 if filling else 0.452 + max(-0.02, min(0.02, (len(live) - target) * 4e-5))
        x, s = what[k] if len(live) > 100 else 1.0, side[k]
        bid, ask = book.best(0), book.best(1)
        bid = middle - 1 if bid is None else bid
        ask = max(bid + 1, middle + 1) if ask is None else ask
        if x < cancels + changes:
            named = live[int(pick[k] * len(live))]
            s, price = at[named]
            if x < cancels:
                send(named, price, 0, CANCEL, s)
                continue
            new = behind(s, bid, ask, k)
            # Never the same price, where books differ on who keeps its place.
            send(named, new if new != price else max(1, new - 1) if s == 0 else new + 1, lots[k], MODIFY, s)
        elif x < cancels + changes + takers:
            send(next_id, through(s, bid, ask, k), taken[k], IOC if pick[k] < 0.5 else ADD, s)
            next_id += 1
        else:
            send(next_id, behind(s, bid, ask, k), lots[k], ADD, s)
            next_id += 1
    return writer.flow()


def cascade(levels: int = 5_000, per: int = 20, rounds: int = 6_000, seed: int = 2) -> Flow:
    """A full book swept by large market sells, between refills.

    `levels` levels a side of `per` orders each rest beforehand (not timed). Each round sells the lots of as
    many orders as a lognormal of median 90 and sigma 0.8 says, every 250th round of 10,000. Then up to 60 to
    340 new bids, of the number that is missing, come in from 20 ticks below the best bid to the first price.
    """
    rng = np.random.default_rng(seed)
    top = 65_536
    side = np.repeat([0, 1], levels * per)
    away = np.tile(np.repeat(np.arange(levels), per), 2)
    price = np.where(side == 0, top - away, top + 1 + away)
    order = rng.permutation(len(price))
    lots = rng.geometric(1 / 50, len(price))
    writer = Writer("cascade")
    book, send = writer.book, writer.send
    for k, (p, s, q) in enumerate(
        zip(price[order].tolist(), side[order].tolist(), lots.tolist(), strict=True)
    ):
        send(k + 1, p, q, ADD, s)
    writer.end_warm()
    next_id, missing = len(price) + 1, 0
    for k in range(rounds):
        size = 10_000 if k % 250 == 249 else float(rng.lognormal(np.log(90), 0.8))
        before = len(book.fills)
        send(next_id, 1, max(1, int(size * 50)), MARKET, 1)
        next_id += 1
        missing += len(book.fills) - before
        more = int(min(missing, 60 + 280 * rng.random()))
        missing -= more
        bid = book.best(0)
        low = max(1, (top if bid is None else bid) - 20)
        for p, q in zip(
            rng.integers(low, top + 1, more).tolist(), rng.geometric(1 / 50, more).tolist(), strict=True
        ):
            send(next_id, p, q, ADD, 0)
            next_id += 1
    return writer.flow()


def make(name: str, quick: bool = False, seed: int | None = None) -> Flow:
    """One of NAMES; `quick` makes about a tenth of it."""
    makers: dict[str, Callable[..., Flow]] = {"normal": normal, "cascade": cascade, "wide": wide}
    size = (
        {"levels": 1_000, "per": 10, "rounds": 600} if name == "cascade" else {"n": 220_000, "warm": 20_000}
    )
    arguments = size if quick else {}
    return makers[name](**arguments) if seed is None else makers[name](**arguments, seed=seed)


def replay(messages: np.ndarray) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """For each message the lots that did not trade, and its fills (maker, price, lots)."""
    book = PlainBook()
    for row in messages.tolist():
        before = len(book.fills)
        left = book.apply(*row[:5])
        yield left, book.fills[before:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--quick", action="store_true", help="about a tenth of each")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        flow = make(name, args.quick, args.seed)
        path = args.folder / f"flow_{name}{'_small' if args.quick else ''}.bin"
        flow.write(path)
        share = np.bincount(flow.messages["kind"][flow.warm :], minlength=5) / (len(flow) - flow.warm)
        mix = ", ".join(
            f"{k} {x:.1%}" for k, x in zip(("add", "cancel", "ioc", "modify", "market"), share, strict=True)
        )
        print(
            f"{path}: {len(flow):,} messages ({mix}), {flow.totals}, at most {flow.most_live:,} orders live"
        )


if __name__ == "__main__":
    main()
