"""Seeded random commands for an order book: every type, rule and flag, few prices, owners and ids, so that
things collide.

`make(seed, messages)` gives an allocation rule and a list of commands; `play(book, commands)` gives what a
book, compiled or plain, answers. A command is a tuple: its name, then its arguments.

    ("process", array of ORDER_DTYPE), ("set_mark", price), ("cancel_owner", owner),
    ("set_levels", side, prices, quantities), ("set_position", owner, lots), ("set_lmm", owner, percent),
    ("copy",), which goes on with a copy of the book, and ("state",), which asks everything there is to ask.

`count(seed, messages)` counts the branches of the reference that the commands go through, `BRANCHES` names
them all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

import cascade as cs
from cascade.matching import STEPS, Matching
from cascade.records import Action, OrderType, Reason, ReportKind, Stp, TimeInForce
from cascade.reference.allocation import Division
from cascade.reference.book import Book

LOW, HIGH = -(2**63), 2**63 - 1
LARGEST = 2**62

NAMES = ("F", "F", "F", "C", "A", "K", "O", "Q", "S", "T")


def make(seed: int, messages: int = 400) -> tuple[Matching, list[tuple]]:
    """A rule and commands with so many messages in all."""
    rng = np.random.default_rng(seed)
    mood = Mood(rng, messages)
    orders = mood.orders(messages)
    commands: list[tuple] = [("set_position", owner, mood.lots()) for owner in range(1, mood.owners)]
    commands += [("set_lmm", owner, int(rng.integers(5, 70))) for owner in range(1, mood.owners, 2)]
    start = 0
    while start < messages:
        size = int(rng.choice([1, 4, 20, 60]))
        commands.append(("process", orders[start : start + size]))
        start += size
        for _ in range(int(rng.integers(0, 3))):
            commands.append(mood.command())
    return rule(rng), [*commands, ("state",)]


def rule(rng: np.random.Generator) -> Matching:
    """A named rule with small numbers in it, or any legal list of steps."""
    changes = {
        "top_min": int(rng.choice([1, 1, 3, 8])),
        "top_max": int(rng.choice([2, 6, LARGEST])),
        "pro_rata_min": int(rng.choice([1, 2, 4])),
        "fifo_percent": int(rng.choice([0, 20, 33, 50, 100])),
    }
    if rng.random() < 0.75:
        return Matching.preset(str(rng.choice(NAMES)), **changes)
    steps = [
        str(step) for step in rng.permutation(STEPS)[: rng.integers(1, len(STEPS) + 1)] if step != "fifo"
    ]
    if "leveling" in steps:
        steps = [step for step in steps if step not in ("leveling", "pro_rata")] + ["pro_rata", "leveling"]
    if not steps or rng.random() < 0.5:
        steps.append("fifo")
    return Matching(tuple(steps), **changes)


class Mood:
    """What one seed's messages are like."""

    def __init__(self, rng: np.random.Generator, messages: int) -> None:
        self.rng = rng
        self.ids = int(rng.integers(20, 60))
        self.owners = int(rng.integers(2, 6))
        self.width = int(rng.integers(2, 9))
        self.base = int(rng.choice([0, 0, 0, 0, 0, 0, LOW + 1, HIGH - self.width - 4]))
        self.huge = float(rng.choice([0, 0, 0, 0.02, 0.5]))
        self.largest = int(rng.choice([6, 20, 20, 60]))

    def prices(self, n: int, side: np.ndarray | int) -> np.ndarray:
        """Around one price, bids a little below asks, all of them legal int64."""
        lean = self.rng.integers(0, 3, n) * (np.asarray(side) < 0)
        prices = self.base + (self.rng.integers(0, self.width + 1, n) + lean)
        ends = self.rng.random(n) < 0.004
        prices[ends] = self.rng.choice([LOW, HIGH], int(ends.sum()))
        return prices

    def quantities(self, n: int) -> np.ndarray:
        quantities = self.rng.integers(1, self.largest + 1, n)
        many = self.rng.random(n) < 0.06
        quantities[many] *= 4
        huge = self.rng.random(n) < self.huge
        quantities[huge] = self.rng.choice([LARGEST, LARGEST - 1, 2**61, 2**61 + 1], int(huge.sum()))
        return quantities

    def lots(self) -> int:
        """A position."""
        if self.rng.random() < self.huge / 4:
            return int(self.rng.choice([LARGEST, -LARGEST]))
        return int(self.rng.integers(-2 * self.largest, 2 * self.largest + 1))

    def price(self) -> int:
        return int(self.prices(1, 1)[0])

    def owner(self) -> int:
        return int(self.rng.integers(1, self.owners + 1))

    def orders(self, n: int) -> np.ndarray:
        """Messages, about one of 50 with a field that is wrong."""
        rng = self.rng
        orders = np.zeros(n, cs.ORDER_DTYPE)
        side = rng.choice([1, -1], n)
        kind = rng.choice(4, n, p=[0.62, 0.08, 0.14, 0.16])
        orders["action"] = rng.choice(3, n, p=[0.72, 0.08, 0.2])
        # New ids go round, the others name one of the last few: most of them are alive.
        last = np.cumsum(orders["action"] == Action.NEW)
        back = rng.integers(0, max(4, self.ids // 2), n) * (orders["action"] != Action.NEW)
        orders["order_id"] = np.where(
            rng.random(n) < 0.03, rng.integers(0, self.ids, n), (last - back) % self.ids
        )
        orders["order_id"][orders["order_id"] == 1] = 2**64 - 1
        orders["side"] = side
        orders["type"] = kind
        orders["price"] = self.prices(n, side)
        # Stops wait on the far side more often than not: they are entered before they are reached.
        orders["stop_price"] = self.prices(n, -side)
        orders["quantity"] = self.quantities(n)
        # No peak, a small one, or one as large as the order. Where orders have 2**62 lots, a small one
        # would be a trade a lot.
        peaks = [1, 2, 3, 5, 100] if self.huge == 0 else [2**58, 2**60 + 1, 2**61, LARGEST]
        orders["display"] = rng.choice([0, 0, 0, 0, *peaks], n)
        orders["owner"] = rng.integers(0, self.owners + 1, n)
        no_price = (kind == OrderType.MARKET) | (kind == OrderType.STOP)
        orders["tif"] = np.where(
            no_price, rng.choice(3, n, p=[0.7, 0.15, 0.15]), rng.choice(4, n, p=[0.72, 0.08, 0.12, 0.08])
        )
        orders["stp"] = rng.choice(5, n, p=[0.4, 0.12, 0.16, 0.12, 0.2])
        orders["flags"] = (rng.random(n) < 0.2) & (orders["owner"] > 0)
        orders["flags"][(kind >= OrderType.STOP) & (rng.random(n) < 0.35)] += 2
        if self.huge > 0:
            # A trade with oneself moves no position: a reduce-only order would trade 2**62 lots with another
            # one of its owner in pieces of its room. So these seeds have the one or the other.
            if rng.random() < 0.5:
                orders["flags"] &= 2
            else:
                orders["stp"][orders["stp"] == Stp.NONE] = Stp.DECREMENT
        orders["ts_ns"] = rng.integers(-5, 5, n)
        self.spoil(orders)
        return orders

    def spoil(self, orders: np.ndarray) -> None:
        """Fields outside their lists, in a few rows."""
        wrong = {
            "action": [3, 255], "side": [0, 2, -128], "type": [4, 255], "tif": [3, 4, 255], "stp": [5, 255],
            "flags": [1, 2, 3, 4, 8, 255], "quantity": [0, -1, LOW, LARGEST + 1], "display": [-1, LOW],
            "owner": [-1, -(2**31), 2**31 - 1],
        }  # fmt: skip
        for name, values in wrong.items():
            rows = self.rng.random(len(orders)) < (0.01 if name == "quantity" else 0.003)
            orders[name][rows] = self.rng.choice(np.array(values, orders[name].dtype), int(rows.sum()))

    def command(self) -> tuple:
        """Anything but messages."""
        rng = self.rng
        name = str(
            rng.choice(
                ["set_mark", "set_position", "set_levels", "cancel_owner", "set_lmm", "copy", "state"],
                p=[0.38, 0.24, 0.22, 0.05, 0.05, 0.03, 0.03],
            )
        )
        if name == "set_mark":
            return name, self.price()
        if name == "set_position":
            return name, self.owner(), self.lots()
        if name == "set_lmm":
            return name, self.owner(), int(rng.integers(0, 101))
        if name == "cancel_owner":
            return name, self.owner()
        if name == "set_levels":
            side = int(rng.choice([1, -1]))
            # On the outer two prices of a side: most calls do not cross the book, and meet their own levels.
            outer = 0 if side == 1 else self.width
            prices = self.base + outer + rng.permutation([-1, 0, 1])[: rng.integers(1, 4)]
            if rng.random() < 0.1:
                prices[0] = self.price()
            lots = self.quantities(prices.size) * rng.choice([0, 0, 1, 1, 1], prices.size)
            return name, side, prices, lots
        return (name,)


# What a book answers


def play(book: Any, commands: list[tuple]) -> list[Any]:
    """The answers of a book, one a command; an exception of cascade's answers with its name."""
    answers = []
    for name, *arguments in commands:
        if name == "copy":
            book = book.copy()
            answers.append(None)
        elif name == "state":
            answers.append(state(book))
        else:
            try:
                answers.append(getattr(book, name)(*arguments))
            except cs.CascadeError as error:
                answers.append(type(error).__name__)
    return answers


def state(book: Any) -> dict[str, Any]:
    """Everything that can be asked of a book, as plain values."""
    orders = _columns(book.orders())
    ids = [k for k, external in zip(orders["order_id"], orders["external"], strict=True) if not external]
    prices = sorted(set(orders["price"]))[:20]
    lots = sorted({1, 2, 7, 50, 1000, LARGEST, *np.cumsum(orders["quantity"][:8], dtype=object).tolist()})
    lots = [quantity for quantity in lots if quantity <= HIGH]
    return {
        "best": (book.best_bid, book.best_ask, book.last, book.mark, len(book)),
        "orders": orders,
        "stops": _columns(book.stops()),
        "depth": _columns(book.depth()),
        "depth 2": _columns(book.depth(2)),
        "level": [tuple(book.level(side, price)) for side in (1, -1) for price in prices],
        "queue_position": [book.queue_position(order_id) for order_id in ids],
        "quantity_to": [book.quantity_to(side, price) for side in (1, -1) for price in prices],
        "price_to_fill": [book.price_to_fill(side, quantity) for side in (1, -1) for quantity in lots],
        "cost": [book.cost(side, quantity) for side in (1, -1) for quantity in lots],
        "position": [book.position(owner) for owner in range(1, 7)],
    }


def _columns(table: cs.Table) -> dict[str, list]:
    return {name: table[name].tolist() for name in table.columns}


def different(some: list[Any], others: list[Any]) -> str | None:
    """Where two lists of answers differ first, None if nowhere."""
    for k, (a, b) in enumerate(zip(some, others, strict=True)):
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            if a.tobytes() != b.tobytes():
                rows = min(len(a), len(b))
                row = int(np.argmax(a[:rows] != b[:rows])) if (a[:rows] != b[:rows]).any() else rows
                return f"command {k}, report {row}:\n{a[row : row + 1]}\n{b[row : row + 1]}"
        elif isinstance(a, dict) and isinstance(b, dict):
            for name in a:
                if a[name] != b[name]:
                    return f"command {k}, {name}:\n{a[name]}\n{b[name]}"
        elif isinstance(a, np.ndarray) or isinstance(b, np.ndarray) or a != b:
            return f"command {k}:\n{a}\n{b}"
    return None


# Which branches they go through

BRANCHES = (
    *(f"refused {reason.name}" for reason in (
        Reason.BAD_FIELD, Reason.BAD_SIDE, Reason.BAD_QUANTITY, Reason.BAD_OWNER, Reason.DUPLICATE_ID,
        Reason.UNKNOWN_ID, Reason.WOULD_TAKE, Reason.FOK_UNFILLABLE, Reason.CAPACITY,
    )),
    *(f"refused MODIFY {reason.name}" for reason in (
        Reason.BAD_QUANTITY, Reason.UNKNOWN_ID, Reason.CAPACITY,
    )),
    *(f"cancelled {reason.name}" for reason in (
        Reason.USER, Reason.IOC, Reason.STP, Reason.OWNER, Reason.REDUCE_ONLY, Reason.FOK_UNFILLABLE,
        Reason.WOULD_TAKE, Reason.CAPACITY, Reason.UNALLOCATED,
    )),
    *(f"stp {stp.name}" for stp in Stp),
    *(f"acts {kind.name} {tif.name}" for kind in (OrderType.LIMIT, OrderType.MARKET) for tif in TimeInForce
      if (kind, tif) != (OrderType.MARKET, TimeInForce.POST_ONLY)),
    "stp DECREMENT: maker gone", "stp DECREMENT: taker gone", "stp DECREMENT: both gone",
    "stp DECREMENT: iceberg refills", "stp by share",
    "FOK filled", "FOK filled by share", "FOK of a stop filled", "FOK fails by self-trade prevention",
    "refill", "refill loses TOP", "iceberg rests", "iceberg as taker", "display of a plain order",
    "reduce-only taker limited", "reduce-only taker ends", "reduce-only taker rests without room",
    "reduce-only taker limited by share",
    "roomless maker met", "room used up by a trade", "room used up by share", "room shared by orders",
    "stop waits", "stop reached when entered", "sell stop", "buy stop", "STOP acts", "STOP_LIMIT acts",
    "mark stop acts", "stop reached by a stop", "stops of both sides at once", "several stops at once",
    "stop rests", "reduce-only stop", "iceberg stop", "message of a stop's trade",
    "modify keeps place", "modify keeps place of an iceberg", "modify leaves place", "modify trades",
    "modify ends", "modify after DECREMENT to 0", "modify of a waiting stop keeps its arrival",
    "modify of a waiting stop arrives anew", "modify reaches a stop",
    "cancel of a waiting stop", "cancel_owner with stops",
    "level new", "level replaced", "level taken off", "level refused",
    "TOP won", "TOP nobody's", "TOP lost", "TOP capped",
    *(f"step {step}" for step in STEPS),
    "lmm: several orders", "lmm: floor 0", "pro_rata: below the minimum", "leveling: not all", "split: part",
    "whole level", "price at an end of int64", "position beyond 2**62",
)  # fmt: skip
"""Names of everything that `count` counts and that a good generator must reach."""


class CountingDivision(Division):
    """A division that notes which of its steps gave something."""

    def run(self) -> None:
        for step in self.rule.steps:
            before = self.left
            getattr(self, step)()
            if self.left < before:
                self.seen[f"step {step}"] += 1

    def top(self) -> None:
        super().top()
        if self.place and self.place.order in self.orders and self.place.allowed == 0:
            self.seen["TOP capped"] += 1

    def lmm(self) -> None:
        makers = Counter(order.owner for order in self.orders if order.owner in self.percent)
        self.seen["lmm: several orders"] += any(n > 1 for n in makers.values())
        self.seen["lmm: floor 0"] += any(self.left * self.percent[owner] < 100 for owner in makers)
        super().lmm()

    def split(self) -> None:
        super().split()
        self.seen["split: part"] += 0 < self.rule.fifo_percent < 100 and self.left > 0

    def pro_rata(self) -> None:
        whole = sum(self.wanted) - sum(self.given)
        shares = [self.left * self.rest(k) // whole for k in range(len(self.orders))]
        self.seen["pro_rata: below the minimum"] += any(
            0 < share < self.rule.pro_rata_min for share in shares
        )
        super().pro_rata()

    def leveling(self) -> None:
        super().leveling()
        without = [k for k in range(len(self.orders)) if not self.by_pro_rata[k] and self.rest(k)]
        self.seen["leveling: not all"] += any(self.given[k] == 0 for k in without)


class CountingBook(Book):
    """The reference, noting in `seen` what it goes through. The tries of a FOK order are not counted."""

    def __init__(self, matching: Matching | str = "fifo") -> None:
        super().__init__(matching)
        self.seen: Counter[str] = Counter()

    def _message(self, m, reports):
        start = len(reports)
        reason = self.refusal(m)
        waiting = m["order_id"] in self._waiting
        order = self._by_id.get(m["order_id"])
        lots, price, shown = (order.lots, order.price, order.shown) if order else (0, 0, 0)
        super()._message(m, reports)
        mine = reports[start:]
        if reason is not None:
            self.seen[f"refused {reason.name}"] += 1
            if m["action"] == Action.MODIFY:
                self.seen[f"refused MODIFY {reason.name}"] += 1
        elif m["action"] == Action.CANCEL:
            self.seen["cancel of a waiting stop"] += waiting
        elif m["action"] == Action.MODIFY and not waiting:
            kept = m["price"] == price and m["quantity"] < lots
            self.seen["modify keeps place" if kept else "modify leaves place"] += 1
            self.seen["modify keeps place of an iceberg"] += kept and shown < lots
            self.seen["modify trades"] += not kept and mine[0]["kind"] == ReportKind.TRADE
            at = [report["kind"] for report in mine].index(ReportKind.MODIFIED)
            after = mine[at + 1] if at + 1 < len(mine) else None
            self.seen["modify ends"] += bool(after) and after["kind"] == ReportKind.CANCELLED
            self.seen["modify reaches a stop"] += bool(after) and after["kind"] == ReportKind.TRIGGERED
            self.seen["modify after DECREMENT to 0"] += any(
                r["kind"] == ReportKind.CANCELLED and r["order_id"] == m["order_id"] and r["leaves"] == 0
                for r in mine[:at]
            )
        self.seen["message of a stop's trade"] += any(
            r["kind"] == ReportKind.TRADE and r["order_id"] != m["order_id"] for r in mine
        )
        for report in mine:
            if report["kind"] == ReportKind.CANCELLED:
                self.seen[f"cancelled {Reason(report['reason']).name}"] += 1

    def cancel_owner(self, owner):
        waiting = len(self._waiting)
        reports = super().cancel_owner(owner)
        self.seen["cancelled OWNER"] += len(reports)
        self.seen["cancel_owner with stops"] += len(self._waiting) < waiting < len(reports) + waiting
        return reports

    def set_levels(self, side, prices, quantities):
        before = [self._external_at(side, price) is not None for price in np.asarray(prices).tolist()]
        try:
            super().set_levels(side, prices, quantities)
        except cs.CascadeError:
            self.seen["level refused"] += 1
            raise
        for there, lots in zip(before, quantities, strict=True):
            self.seen["level new"] += not there and lots > 0
            self.seen["level replaced"] += there and lots > 0
            self.seen["level taken off"] += there and lots == 0

    def _act(self, order, reports):
        self.seen[f"acts {OrderType(order.type).name} {TimeInForce(order.tif).name}"] += 1
        self.seen["iceberg as taker"] += 0 < order.display < order.lots
        return super()._act(order, reports)

    def _modify_waiting(self, m, reports):
        stop = self._waiting[m["order_id"]]
        before = stop.arrival
        super()._modify_waiting(m, reports)
        kept = stop.arrival == before
        self.seen[f"modify of a waiting stop {'keeps its arrival' if kept else 'arrives anew'}"] += 1

    def _fills_whole(self, order):
        fills = super()._fills_whole(order)
        if fills:
            self.seen["FOK filled"] += 1
            self.seen["FOK filled by share"] += self.matching.steps != ("fifo",)
        elif order.stp != Stp.NONE and order.owner:
            twin = order.copy()
            twin.stp = Stp.NONE
            self.seen["FOK fails by self-trade prevention"] += super()._fills_whole(twin)
        return fills

    def _prevent(self, walk, maker, reports):
        taker = walk.taker
        stp, taken, shown, hidden = Stp(taker.stp), taker.lots, maker.shown, maker.lots - maker.shown
        super()._prevent(walk, maker, reports)
        self.seen[f"stp {stp.name}"] += 1
        self.seen["stp by share"] += self.matching.steps != ("fifo",)
        if stp == Stp.DECREMENT:
            self.seen["stp DECREMENT: maker gone"] += maker.lots == 0 and taker.lots > 0
            self.seen["stp DECREMENT: taker gone"] += taker.lots == 0 and maker.lots > 0
            self.seen["stp DECREMENT: both gone"] += taker.lots == 0 == maker.lots
            self.seen["stp DECREMENT: iceberg refills"] += hidden > 0 and taken >= shown

    def _walk(self, walk, reports):
        super()._walk(walk, reports)
        taker = walk.taker
        self.seen["reduce-only taker ends"] += walk.end == Reason.REDUCE_ONLY
        no_room = taker.reduce_only and taker.lots > 0 and self._room(taker) == 0
        self.seen["reduce-only taker rests without room"] += no_room and walk.end is None

    def _meet_oldest(self, walk, maker, reports):
        self._note_room(walk, [maker])
        super()._meet_oldest(walk, maker, reports)

    def _meet_level(self, walk, level, reports):
        self._note_room(walk, level)
        super()._meet_level(walk, level, reports)

    def _note_room(self, walk, makers):
        self.seen["roomless maker met"] += any(self._allowed(maker) == 0 for maker in makers)
        room = self._allowed(walk.taker)
        self.seen["reduce-only taker limited"] += 0 < room < walk.taker.lots

    def _wanted(self, taker, level):
        wanted = super()._wanted(taker, level)
        self.seen["room shared by orders"] += any(
            most < min(maker.shown, self._allowed(maker)) for maker, most in zip(level, wanted, strict=True)
        )
        return wanted

    def _share(self, walk, level, reports):
        lots, limited = self._allowed(walk.taker), self._allowed(walk.taker) < walk.taker.lots
        self.seen["whole level"] += lots >= sum(self._wanted(walk.taker, level))
        super()._share(walk, level, reports)
        self.seen["reduce-only taker limited by share"] += limited and walk.end == Reason.REDUCE_ONLY

    def _divide(self, level, wanted, lots):
        division = CountingDivision(self.matching, level, wanted, lots, self.top(level[0].side), self._lmm)
        division.seen = self.seen
        division.run()
        return division.given

    def _trade(self, walk, maker, lots, reports):
        self.seen["stp NONE"] += walk.taker.owner == maker.owner != 0
        super()._trade(walk, maker, lots, reports)
        if reports[-1]["kind"] == ReportKind.CANCELLED:
            by_time = self.matching.steps == ("fifo",)
            self.seen["room used up by a trade" if by_time else "room used up by share"] += 1
        self.seen["price at an end of int64"] += maker.price in (LOW, HIGH)
        owners = (walk.taker.owner, maker.owner)
        self.seen["position beyond 2**62"] += any(
            owner and abs(self.position(owner)) > LARGEST for owner in owners
        )

    def rest(self, order):
        top = self._top.get(order.side)
        betters = "top" in self.matching.steps and self._betters(order)
        self.seen["iceberg rests"] += 0 < order.display < order.lots
        self.seen["display of a plain order"] += 0 < order.lots <= order.display
        super().rest(order)
        if betters:
            self.seen["TOP nobody's" if self._top[order.side] is None else "TOP won"] += 1
            self.seen["TOP lost"] += top is not None

    def refill(self, order):
        top = self._top[order.side]
        self.seen["refill"] += 1
        self.seen["refill loses TOP"] += top is not None and top.order is order
        super().refill(order)

    def _trigger(self, stop, reports):
        self.seen[f"{OrderType(stop.type).name} acts"] += 1
        self.seen["sell stop" if stop.side < 0 else "buy stop"] += 1
        self.seen["mark stop acts"] += stop.on_mark
        self.seen["reduce-only stop"] += stop.reduce_only
        self.seen["iceberg stop"] += 0 < stop.display < stop.lots
        fills = self.seen["FOK filled"]
        prices = super()._trigger(stop, reports)
        self.seen["FOK of a stop filled"] += self.seen["FOK filled"] > fills
        self.seen["stop rests"] += self._by_id.get(stop.id) is stop
        return prices

    def _new(self, order, reports):
        waits, reached = order.waits, order.waits and self._is_reached(order)
        self.seen["stop reached when entered"] += reached
        self.seen["stop waits"] += waits and not reached
        return super()._new(order, reports)

    def _let_stops_act(self, queue, reports):
        self.seen["several stops at once"] += len(queue) > 1
        self.seen["stops of both sides at once"] += len({stop.side for stop in queue}) > 1
        first = len(queue)
        start = len(reports)
        super()._let_stops_act(queue, reports)
        acted = sum(report["kind"] == ReportKind.TRIGGERED for report in reports[start:])
        self.seen["stop reached by a stop"] += acted > first


def count(seed: int, messages: int = 400) -> Counter[str]:
    """How often the reference goes through each of BRANCHES in one seed's commands."""
    matching, commands = make(seed, messages)
    book = CountingBook(matching)
    # One book for all: a copy starts with nothing seen.
    play(book, [command for command in commands if command[0] not in ("copy", "state")])
    return +book.seen
