"""Mark prices as trees: sources, averages over time, medians (`cs.marks`).

A mark is a tree of small frozen records, made by the functions here and given to `VenueRules(mark=...)`,
which refuses a malformed one. All prices are integers of 1/1024 tick; a source without a price is missing.

Examples
--------
>>> import cascade as cs
>>> from cascade import marks
>>> binance = marks.median(marks.funded_index(), marks.index_plus_basis(30), marks.last())
>>> cs.VenueRules(mark=binance).mark
median(funded_index(), index_plus_basis(30), last())
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ._badrows import show
from ._texts import text_fault
from .errors import InputError, InputTypeError
from .instruments import exact

__all__ = [
    "Mark", "ask", "bid", "ema", "external", "funded_index", "index", "index_plus_basis", "last", "median",
    "mid", "weighted_median",
]  # fmt: skip

SOURCES = ("last", "bid", "ask", "mid", "index", "funded_index")
"""Prices that an instrument has by itself."""
AVERAGES = ("window", "exponential")
MISSING = ("keep", "drop")
MOST_NODES = 64
LONGEST_AVERAGE = 10**6
"""Seconds of an average: 11 days."""
WEIGHT_LIMIT = 2**40


class Mark:
    """A mark price, or a part of one. Made by the functions of `cs.marks`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False)
class Source(Mark):
    """One of SOURCES."""

    name: str

    def __repr__(self) -> str:
        return f"{self.name}()"


@dataclass(frozen=True, slots=True, repr=False)
class External(Mark):
    """A price that the caller feeds, by its name."""

    name: str

    def __repr__(self) -> str:
        return f"external({self.name!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Basis(Mark):
    """The index plus an average of (mid - index)."""

    seconds: Any
    average: str

    def __repr__(self) -> str:
        kind = "" if self.average == AVERAGES[0] else f", average={self.average!r}"
        return f"index_plus_basis({self.seconds!r}{kind})"


@dataclass(frozen=True, slots=True, repr=False)
class Ema(Mark):
    """An exponential average of another mark."""

    source: Mark
    seconds: Any

    def __repr__(self) -> str:
        return f"ema({self.source!r}, {self.seconds!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Median(Mark):
    """The median of its inputs."""

    inputs: tuple[Mark, ...]
    missing: str
    spare: Mark | None

    def __repr__(self) -> str:
        parts = [repr(x) for x in self.inputs]
        if self.missing != MISSING[0]:
            parts.append(f"missing={self.missing!r}")
        if self.spare is not None:
            parts.append(f"spare={self.spare!r}")
        return f"median({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class WeightedMedian(Mark):
    """The lower weighted median of its inputs, each with its weight."""

    inputs: tuple[tuple[Mark, Any], ...]
    missing: str

    def __repr__(self) -> str:
        parts = [repr(x) for x in self.inputs]
        if self.missing != MISSING[0]:
            parts.append(f"missing={self.missing!r}")
        return f"weighted_median({', '.join(parts)})"

    @property
    def weights(self) -> tuple[int, ...]:
        """The weights as whole numbers in the same proportions."""
        exactly = [exact(weight, "weight") for _, weight in self.inputs]
        scale = math.lcm(*(weight.denominator for weight in exactly))
        whole = [int(weight * scale) for weight in exactly]
        shared = math.gcd(*whole)
        return tuple(weight // shared for weight in whole)


# -- sources -------------------------------------------------------------------------------------------------
def last() -> Mark:
    """The price of the last trade."""
    return Source("last")


def bid() -> Mark:
    """The best bid; missing while there is none."""
    return Source("bid")


def ask() -> Mark:
    """The best ask; missing while there is none."""
    return Source("ask")


def mid() -> Mark:
    """(best bid + best ask) / 2; missing while a side is empty."""
    return Source("mid")


def index() -> Mark:
    """The index price, which venues also call oracle or spot price."""
    return Source("index")


def funded_index() -> Mark:
    """index * (1 + funding rate * time to funding / funding interval).

    Binance's Price 1 with the last funding rate, BitMEX's fair price with the present one;
    `Market.set_prices` feeds rate and time. The factor is rounded to 1e-12, and the price lies from half to
    twice the index.
    """
    return Source("funded_index")


def external(name: str) -> Mark:
    """A price that the caller feeds by this name (`Market.set_prices(external=)`): another venue's, an
    oracle's. Missing where nothing is fed."""
    return External(name)


# -- averages over time --------------------------------------------------------------------------------------
def index_plus_basis(seconds: Any, average: str = "window") -> Mark:
    """index + average of (mid - index) over `seconds`, from half to twice the index.

    Time passes in `Simulation.advance_ns(dt)` alone: what holds when it is called has held for dt. While mid
    or index is missing nothing enters. Averages start from what `Market.set_prices(basis=)` feeds.

    Parameters
    ----------
    seconds : number > 0
    average : {"window", "exponential"}
        "window": the mean over the last `seconds` (Binance's Price 2). "exponential": num / den, where
        num <- num e^(-dt/seconds) + x dt and den <- den e^(-dt/seconds) + dt (Hyperliquid).
    """
    return Basis(seconds, average)


def ema(source: Mark, seconds: Any) -> Mark:
    """An exponential average of another mark, as that of `index_plus_basis`; it starts from the source's
    present value."""
    return Ema(source, seconds)


# -- combinations --------------------------------------------------------------------------------------------
def median(*inputs: Mark, missing: str = "keep", spare: Mark | None = None) -> Mark:
    """The median; of an even number the mean of the middle two, half-even.

    Parameters
    ----------
    *inputs : marks
    missing : {"keep", "drop"}
        "keep": while an input is missing the median is (a missing mark keeps its value). "drop": the median
        of those that exist.
    spare : mark, optional
        Added when exactly two of three inputs exist (Hyperliquid); needs missing="drop".
    """
    return Median(inputs, missing, spare)


def weighted_median(*inputs: tuple[Mark, Any], missing: str = "keep") -> Mark:
    """The lower weighted median: of the inputs in order of price the first at which the sum of weights
    reaches half of all.

    Parameters
    ----------
    *inputs : (mark, weight) pairs, weights > 0
    missing : {"keep", "drop"}
        As for `median`.
    """
    return WeightedMedian(inputs, missing)


# -- looking at trees ----------------------------------------------------------------------------------------
def children(tree: Mark) -> tuple[Mark, ...]:
    """The marks that a mark is made of."""
    if isinstance(tree, Ema):
        return (tree.source,)
    if isinstance(tree, WeightedMedian):
        return tuple(mark for mark, _ in tree.inputs)
    if isinstance(tree, Median):
        return tree.inputs if tree.spare is None else (*tree.inputs, tree.spare)
    return ()


def nodes(tree: Mark) -> Iterator[Mark]:
    """All marks of a tree, parts before what is made of them."""
    for child in children(tree):
        yield from nodes(child)
    yield tree


def averages_of(tree: Mark) -> tuple[Basis | Ema, ...]:
    """The averages of a tree, parts first; equal ones are one."""
    return tuple(dict.fromkeys(x for x in nodes(tree) if isinstance(x, Basis | Ema)))


def span_ns(average: Basis | Ema) -> int:
    """The length of an average in nanoseconds."""
    return round(exact(average.seconds, "seconds") * 10**9)


def uses_derived(tree: Mark) -> bool:
    """Whether a price of the tree may lie beyond all that is loaded."""
    return any(isinstance(x, Basis) or x == Source("funded_index") for x in nodes(tree))


def check_mark(tree: Any, where: str) -> None:
    """Refuse what is no mark, naming the field."""
    _check(tree, where, MOST_NODES)


def _check(tree: Any, where: str, room: int) -> int:
    """Check a tree of at most `room` nodes; the room left."""
    if not isinstance(tree, Mark):
        raise InputTypeError(f"{where} = {show(tree)}: must be a mark of cs.marks")
    if room <= 0:
        raise InputError(f"{where}: a mark must have at most {MOST_NODES} parts")
    room -= 1
    if isinstance(tree, Source):
        if tree.name not in SOURCES:
            raise InputError(f"{where} = {show(tree.name)}: must be one of {', '.join(SOURCES)}")
    elif isinstance(tree, External):
        check_name(tree.name, f"{where}.name")
    elif isinstance(tree, Basis):
        _choice(tree.average, f"{where}.average", AVERAGES)
        _seconds(tree.seconds, f"{where}.seconds")
    elif isinstance(tree, Ema):
        _seconds(tree.seconds, f"{where}.seconds")
        room = _check(tree.source, f"{where}.source", room)
    elif isinstance(tree, Median):
        room = _check_inputs(tree.inputs, tree.missing, where, room)
        if tree.spare is not None:
            if len(tree.inputs) != 3 or tree.missing != "drop":
                raise InputError(
                    f"{where}.spare = {tree.spare!r}: must go with three inputs and missing='drop'"
                )
            room = _check(tree.spare, f"{where}.spare", room)
    elif isinstance(tree, WeightedMedian):
        for k, pair in enumerate(tree.inputs):
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise InputTypeError(f"{where}.inputs[{k}] = {show(pair)}: must be (mark, weight)")
            if exact(pair[1], f"{where}.inputs[{k}].weight") <= 0:
                raise InputError(f"{where}.inputs[{k}].weight = {show(pair[1])}: must be > 0")
        room = _check_inputs(tuple(mark for mark, _ in tree.inputs), tree.missing, where, room)
        if sum(tree.weights) >= WEIGHT_LIMIT:
            raise InputError(f"{where}.inputs: weights must be whole in a common unit, their sum below 2**40")
    else:
        raise InputError(f"{where} = {show(tree)}: unknown kind of mark")
    return room


def _check_inputs(inputs: tuple[Any, ...], missing: Any, where: str, room: int) -> int:
    _choice(missing, f"{where}.missing", MISSING)
    if not inputs:
        raise InputError(f"{where}.inputs = (): must have at least one, a mark needs a source")
    for k, mark in enumerate(inputs):
        room = _check(mark, f"{where}.inputs[{k}]", room)
    return room


def check_name(name: Any, where: str) -> None:
    """Refuse what is no name of an external price."""
    if not isinstance(name, str):
        raise InputTypeError(f"{where} = {show(name)}: must be a string")
    if not name or (fault := text_fault(name)):
        raise InputError(f"{where} = {show(name)}: {fault if name else 'must not be empty'}")


def _choice(value: Any, where: str, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise InputTypeError(f"{where} = {show(value)}: must be one of {', '.join(choices)}")
    if value not in choices:
        raise InputError(f"{where} = {value!r}: must be one of {', '.join(choices)}")


def _seconds(value: Any, where: str) -> None:
    number = exact(value, where)
    if number <= 0:
        raise InputError(f"{where} = {show(value)}: must be > 0")
    if not Fraction(1, 10**9) <= number <= LONGEST_AVERAGE:
        raise InputError(f"{where} = {show(value)}: must be from 1e-9 to {LONGEST_AVERAGE}")
