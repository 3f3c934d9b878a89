"""Mark trees over integer prices: what a tree is worth, the program that the core runs for it, and the
averages over time that both engines share."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any

import numpy as np

from .instruments import RATE_ONE
from .marks import (
    Basis,
    Ema,
    External,
    Mark,
    Median,
    Source,
    WeightedMedian,
    averages_of,
    span_ns,
)

NO_BASIS = -(2**63)
"""A basis that is not known, in integer columns (0 is a basis; as a price 0 is none)."""
DECAY_BITS = 64
_EXACTLY = Context(prec=60)


def half_even(a: int, b: int) -> int:
    """a / b rounded to nearest, ties to even, b > 0."""
    q, r = divmod(a, b)
    return q + (2 * r > b or (2 * r == b and q % 2 == 1))


# -- what a tree is worth ------------------------------------------------------------------------------------
@dataclass(slots=True)
class Prices:
    """The prices of one instrument at one moment: ticks, or 1/1024 ticks; None where there is none."""

    bid: int | None
    ask: int | None
    last: int | None
    index: int | None
    external: Mapping[str, int] = field(default_factory=dict)
    """1/1024 ticks"""
    premium: int = 0
    """funding rate * time to funding / interval, 1e-12"""
    averages: Mapping[Mark, int | None] = field(default_factory=dict)
    """of every Basis the average basis, of every Ema the average price"""


def value_of(tree: Mark, p: Prices) -> int | None:
    """A mark in 1/1024 ticks; None while it is missing."""
    if isinstance(tree, Source):
        return _source(tree.name, p)
    if isinstance(tree, External):
        return p.external.get(tree.name)
    if isinstance(tree, Basis):
        basis = p.averages[tree]
        return None if p.index is None or basis is None else near(p.index, p.index + basis)
    if isinstance(tree, Ema):
        return p.averages[tree]
    if isinstance(tree, WeightedMedian):
        pairs = [(value_of(x, p), weight) for (x, _), weight in zip(tree.inputs, tree.weights, strict=True)]
        there = sorted((value, weight) for value, weight in pairs if value is not None)
        if not there or (tree.missing == "keep" and len(there) < len(pairs)):
            return None
        half, total = sum(weight for _, weight in there), 0
        for value, weight in there:
            total += weight
            if 2 * total >= half:
                return value
    assert isinstance(tree, Median)
    found = [value for value in (value_of(x, p) for x in tree.inputs) if value is not None]
    if not found or (tree.missing == "keep" and len(found) < len(tree.inputs)):
        return None
    if tree.spare is not None and len(found) == 2:
        spare = value_of(tree.spare, p)
        found += [] if spare is None else [spare]
    found.sort()
    k = len(found) // 2
    return found[k] if len(found) % 2 else half_even(found[k - 1] + found[k], 2)


def _source(name: str, p: Prices) -> int | None:
    if name == "index":
        return p.index
    if name == "funded_index":
        if p.index is None:
            return None
        return near(p.index, half_even(p.index * (RATE_ONE + p.premium), RATE_ONE))
    if name == "mid":
        return None if p.bid is None or p.ask is None else (p.bid + p.ask) * 512
    ticks = {"last": p.last, "bid": p.bid, "ask": p.ask}[name]
    return None if ticks is None else ticks * 1024


def near(index: int, price: int) -> int:
    """A price derived from the index: kept from half to twice it."""
    return min(max(price, (index + 1) // 2), 2 * index)


def sample(average: Basis | Ema, p: Prices) -> int | None:
    """What an average is taken of, as it stands; None while it is missing."""
    if isinstance(average, Ema):
        return value_of(average.source, p)
    mid = _source("mid", p)
    return None if mid is None or p.index is None else mid - p.index


# -- averages over time --------------------------------------------------------------------------------------
class Window:
    """The mean over the last `span` nanoseconds of a value that is constant between calls."""

    def __init__(self, span: int, value: int | None):
        self.span = span
        self.pieces: deque[tuple[int, int]] = deque()  # (nanoseconds, value), oldest first
        self.length = self.total = 0
        if value is not None:
            self.add(span, value)

    def add(self, dt: int, value: int) -> None:
        """The value held for dt; what is older than the span falls out."""
        dt = min(dt, self.span)
        self.pieces.append((dt, value))
        self.length += dt
        self.total += dt * value
        while self.length > self.span:
            ns, oldest = self.pieces.popleft()
            out = min(ns, self.length - self.span)
            self.length -= out
            self.total -= out * oldest
            if out < ns:
                self.pieces.appendleft((ns - out, oldest))

    @property
    def value(self) -> int | None:
        return half_even(self.total, self.length) if self.length else None


class Exponential:
    """num / den, where num <- num e^(-dt/span) + x dt and den <- den e^(-dt/span) + dt, in parts of 2^-64 ns.

    A start value stands for a long past of it: then den is `span`.
    """

    def __init__(self, span: int, value: int | None):
        self.span = span
        self.den = 0 if value is None else span << DECAY_BITS
        self.num = 0 if value is None else value * self.den

    def add(self, dt: int, value: int) -> None:
        kept = decay(dt, self.span)
        fresh = dt << DECAY_BITS
        self.num = (self.num * kept >> DECAY_BITS) + value * fresh
        self.den = (self.den * kept >> DECAY_BITS) + fresh

    @property
    def value(self) -> int | None:
        return half_even(self.num, self.den) if self.den else None


Average = Window | Exponential


def decay(dt: int, span: int) -> int:
    """e^(-dt/span) in parts of 2^-64, rounded down from 60 correct digits: the same on every machine."""
    if dt > 64 * span:
        return 0
    power = _EXACTLY.exp(_EXACTLY.divide(Decimal(-dt), Decimal(span)))
    return int(_EXACTLY.multiply(power, Decimal(1 << DECAY_BITS)))


def start_of(state: Any, i: int, averages: tuple[Basis | Ema, ...]) -> tuple[dict[Mark, Average], Prices]:
    """The averages of an instrument as loaded, and its prices with them."""
    bid, ask = state.best[i]
    fed = zip(state.external_names, state.external_1024[i].tolist(), strict=True)
    clock = state.funding_rate, state.funding_left_ns, state.funding_interval_ns
    premium = premium_of(*(int(column[i]) for column in clock))
    held: dict[Mark, Average] = {}
    values: dict[Mark, int | None] = {}
    prices = Prices(
        bid, ask, int(state.last[i]) or None, int(state.index_1024[i]) or None,
        {name: price for name, price in fed if price}, premium, values,
    )  # fmt: skip
    for node in averages:  # parts first: what is averaged may hold an average itself
        if isinstance(node, Ema):
            start = value_of(node.source, prices)
        else:
            start = None if state.basis_1024[i] == NO_BASIS else int(state.basis_1024[i])
        window = isinstance(node, Basis) and node.average == "window"
        held[node] = (Window if window else Exponential)(span_ns(node), start)
        values[node] = held[node].value
    return held, prices


def premium_of(rate: int, left_ns: int, interval_ns: int) -> int:
    """Funding rate * time to funding / interval, 1e-12."""
    return half_even(rate * left_ns, interval_ns)


def loaded_value(state: Any, i: int, tree: Mark) -> int | None:
    """The mark of an instrument as loaded."""
    return value_of(tree, start_of(state, i, averages_of(tree))[1])


class Clock:
    """What time changes in the marks of a run: averages, and the way to the next funding. Both engines keep
    one and ask it for the same integers."""

    def __init__(self, state: Any, tree: Mark):
        self.averages = averages_of(tree)
        self.rate = state.funding_rate.tolist()
        self.left = state.funding_left_ns.tolist()
        self.interval = state.funding_interval_ns.tolist()
        self.held = [start_of(state, i, self.averages)[0] for i in range(len(state.instruments))]

    def premium(self, i: int) -> int:
        return premium_of(self.rate[i], self.left[i], self.interval[i])

    def prices(
        self, i: int, bid: int | None, ask: int | None, last: int | None, index: int | None,
        external: Mapping[str, int],
    ) -> Prices:  # fmt: skip
        """An instrument's prices, with what time made of them."""
        averages = {node: held.value for node, held in self.held[i].items()}
        return Prices(bid, ask, last, index, external, self.premium(i), averages)

    def advance(self, dt: int, samples: list[list[int | None]]) -> None:
        """`dt` nanoseconds pass; `samples` are what the averages of each instrument saw before."""
        for i, row in enumerate(samples):
            for node, value in zip(self.averages, row, strict=True):
                if value is not None:
                    self.held[i][node].add(dt, value)
            self.left[i] = (self.left[i] - dt) % self.interval[i]

    def copy(self) -> Clock:
        twin = copy.copy(self)
        twin.left = list(self.left)
        twin.held = [{node: copy.deepcopy(average) for node, average in held.items()} for held in self.held]
        return twin


# -- the core's program --------------------------------------------------------------------------------------
OPS = (
    "none", "last", "bid", "ask", "mid", "index", "funded_index", "price", "basis", "median",
    "weighted_median",
)  # fmt: skip
"""Codes of the core's steps are positions: see _marks.pxd."""
DROP, SPARE = 1, 2
"""Flags of a median: leave out what is missing; the last input is the spare."""


@dataclass
class Program:
    """A mark tree in postfix: rows (code, inputs, argument, flags), over a stack of prices.

    The inputs of an instrument are one row of integers: external prices, the averages, the funding premium.
    Rows [pieces[0], pieces[1]) are the mark; then for each average what it is taken of, of a basis the mid,
    then the index.
    """

    steps: np.ndarray
    weights: np.ndarray
    pieces: list[tuple[int, int]]

    @classmethod
    def of(cls, tree: Mark, names: tuple[str, ...]) -> Program:
        averages = averages_of(tree)
        column = {node: len(names) + k for k, node in enumerate(averages)}
        steps: list[tuple[int, int, int, int]] = []
        weights: list[int] = []

        def put(code: str, inputs: int = 0, argument: int = 0, flags: int = 0) -> None:
            steps.append((OPS.index(code), inputs, argument, flags))

        def write(node: Mark) -> None:
            if isinstance(node, Source):
                put(node.name, 0, len(names) + len(averages))
            elif isinstance(node, External):
                put("price", 0, names.index(node.name)) if node.name in names else put("none")
            elif isinstance(node, Basis):
                put("basis", 0, column[node])
            elif isinstance(node, Ema):
                put("price", 0, column[node])
            elif isinstance(node, WeightedMedian):
                for x, _ in node.inputs:
                    write(x)
                put("weighted_median", len(node.inputs), len(weights), DROP * (node.missing == "drop"))
                weights.extend(node.weights)
            else:
                assert isinstance(node, Median)
                spare = () if node.spare is None else (node.spare,)
                for x in (*node.inputs, *spare):
                    write(x)
                put("median", len(node.inputs), 0, DROP * (node.missing == "drop") | SPARE * len(spare))

        pieces = []
        roots: list[Mark] = [tree]
        for average in averages:
            roots += [average.source] if isinstance(average, Ema) else [Source("mid"), Source("index")]
        for root in roots:
            first = len(steps)
            write(root)
            pieces.append((first, len(steps)))
        return cls(np.array(steps, np.int64), np.array(weights, np.int64), pieces)


def inputs_of(clock: Clock, external: np.ndarray) -> np.ndarray:
    """The inputs of every instrument's program, int64."""
    rows = []
    for i, prices in enumerate(external.tolist()):
        held = []
        for node in clock.averages:
            value = clock.held[i][node].value
            missing = NO_BASIS if isinstance(node, Basis) else 0
            held.append(missing if value is None else value)
        rows.append([*prices, *held, clock.premium(i)])
    return np.array(rows, np.int64)


def samples_of(clock: Clock, values: list[list[int]]) -> list[list[int | None]]:
    """What the averages see, from the values of the program's pieces after the first."""
    rows = []
    for found in values:
        row: list[int | None] = []
        rest = iter(found)
        for node in clock.averages:
            value = next(rest)
            if isinstance(node, Basis):
                index = next(rest)
                row.append(value - index if value and index else None)
            else:
                row.append(value or None)
        rows.append(row)
    return rows
