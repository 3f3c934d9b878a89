"""Numbers as vectors write them, and when an answer counts as equal."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from .._badrows import show
from ..errors import InputError, InputTypeError
from ..instruments import exact

TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([-+*/()]))")
SOLVED = Fraction(1, 10**9)
"""How near a solved price, which is a float, comes to the exact one."""
DEEPEST = 50


def parse(text: str) -> Fraction:
    """The rational number of an expression of decimals, + - * / and parentheses: "10*2/5", "23000/3".

    Raises
    ------
    InputError
        No such expression, or a division by zero.
    """
    tokens, at = [], 0
    while at < len(text.rstrip()):
        found = TOKEN.match(text, at)
        if not found:
            raise InputError(f"{show(text)}: must be a number or an expression of numbers")
        tokens.append(found[1] or found[2])
        at = found.end()
    value, rest = _sum(tokens, 0, text, 0)
    if rest != len(tokens):
        raise InputError(f"{show(text)}: must be a number or an expression of numbers")
    return value


def _sum(tokens: list[str], at: int, text: str, depth: int) -> tuple[Fraction, int]:
    value, at = _product(tokens, at, text, depth)
    while at < len(tokens) and tokens[at] in "+-":
        sign = 1 if tokens[at] == "+" else -1
        more, at = _product(tokens, at + 1, text, depth)
        value += sign * more
    return value, at


def _product(tokens: list[str], at: int, text: str, depth: int) -> tuple[Fraction, int]:
    value, at = _factor(tokens, at, text, depth)
    while at < len(tokens) and tokens[at] in "*/":
        times, more = tokens[at] == "*", at + 1
        factor, at = _factor(tokens, more, text, depth)
        if not times and factor == 0:
            raise InputError(f"{show(text)}: must not divide by zero")
        value = value * factor if times else value / factor
    return value, at


def _factor(tokens: list[str], at: int, text: str, depth: int) -> tuple[Fraction, int]:
    if at >= len(tokens) or tokens[at] in "*/)" or depth > DEEPEST:
        raise InputError(f"{show(text)}: must be a number or an expression of numbers")
    if tokens[at] in "+-":
        value, after = _factor(tokens, at + 1, text, depth + 1)
        return (value if tokens[at] == "+" else -value), after
    if tokens[at] == "(":
        value, after = _sum(tokens, at + 1, text, depth + 1)
        if after >= len(tokens) or tokens[after] != ")":
            raise InputError(f"{show(text)}: a parenthesis is not closed")
        return value, after + 1
    return exact(tokens[at], show(text)), at + 1


def number(value: Any, name: str) -> Fraction:
    """A number of a vector: a JSON number, or an expression."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise InputTypeError(f"{name} = {show(value)}: must be a number or an expression of numbers")
    if isinstance(value, str):
        try:
            return parse(value)
        except InputError as error:
            raise InputError(f"{name} = {error}") from None
    return exact(value, name)


def tolerance(given: Any, where: str) -> tuple[str, Fraction]:
    """("exact", 0), ("abs", x) or ("rel", x)."""
    if given == "exact":
        return "exact", Fraction(0)
    if isinstance(given, Mapping) and len(given) == 1:
        [(kind, size)] = given.items()
        if kind in ("abs", "rel"):
            limit = number(size, f"{where}.tolerance.{kind}")
            if limit >= 0:
                return kind, limit
    raise InputError(f'{where}.tolerance = {show(given)}: must be "exact", {{"abs": x}} or {{"rel": x}}')


def agrees(computed: Any, expected: Any, allowed: tuple[str, Fraction]) -> bool:
    """Whether an answer is the expected one.

    Exact means equal, for booleans, texts, integers and exact fractions; solved prices, which are floats, may
    be 1e-9 of their size away.
    """
    if isinstance(expected, Mapping):
        return (
            isinstance(computed, Mapping)
            and set(computed) == set(expected)
            and all(agrees(computed[key], expected[key], allowed) for key in expected)
        )
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        return (
            isinstance(computed, Sequence)
            and not isinstance(computed, str)
            and len(computed) == len(expected)
            and all(agrees(a, b, allowed) for a, b in zip(computed, expected, strict=True))
        )
    if isinstance(computed, float | np.floating) and not math.isfinite(computed):
        computed = None
    if expected is None or computed is None or isinstance(expected, bool) or isinstance(computed, bool):
        return expected is computed
    if isinstance(computed, str):
        return str(expected) == computed
    try:
        wanted = number(expected, "expected")
    except InputError:
        return False
    kind, limit = allowed
    if kind == "exact" and isinstance(computed, float | np.floating):
        kind, limit = "rel", SOLVED
    got = Fraction(computed)
    return abs(got - wanted) <= (limit * abs(wanted) if kind == "rel" else limit)
