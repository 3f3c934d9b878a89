"""The inputs of a vector, asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .._badrows import show
from ..errors import InputError
from ._numbers import number


class Unknown(Exception):
    """A vector that its handler does not compute; the text says why."""


class Inputs:
    """A vector's inputs. What is missing or of the wrong kind is an InputError that names it."""

    def __init__(self, values: Mapping[str, Any], where: str = "inputs") -> None:
        self._values, self._where = values, where

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def raw(self, name: str, default: Any = None) -> Any:
        """As it stands in the vector."""
        if name not in self._values and default is None:
            raise InputError(f"{self._where}.{name}: missing")
        return self._values.get(name, default)

    def number(self, name: str, default: Any = None) -> Fraction:
        """An exact rational; expressions are worked out."""
        return number(self.raw(name, default), f"{self._where}.{name}")

    def whole(self, name: str, default: int | None = None) -> int:
        """An integer."""
        value = self.number(name, default)
        if value.denominator != 1:
            raise InputError(f"{self._where}.{name} = {show(self.raw(name, default))}: must be an integer")
        return int(value)

    def side(self, name: str = "side", default: int | None = None) -> int:
        """+1 or -1."""
        value = self.number(name, default)
        if value not in (1, -1):
            raise InputError(f"{self._where}.{name} = {show(self.raw(name, default))}: must be 1 or -1")
        return int(value)

    def text(self, name: str) -> str:
        value = self.raw(name)
        if not isinstance(value, str):
            raise InputError(f"{self._where}.{name} = {show(value)}: must be a string")
        return value

    def numbers(self, name: str) -> list[Fraction]:
        """A list of numbers."""
        return [number(x, f"{self._where}.{name}[{k}]") for k, x in enumerate(self._list(name))]

    def rows(self, name: str) -> list[Inputs]:
        """A list of objects."""
        found = []
        for k, row in enumerate(self._list(name)):
            if not isinstance(row, Mapping):
                raise InputError(f"{self._where}.{name}[{k}] = {show(row)}: must be an object")
            found.append(Inputs(row, f"{self._where}.{name}[{k}]"))
        return found

    def _list(self, name: str) -> list[Any]:
        values = self.raw(name)
        if not isinstance(values, list):
            raise InputError(f"{self._where}.{name} = {show(values)}: must be a list")
        return values
