"""Reading vectors, finding their handlers, judging the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from .._badrows import show
from ..errors import CascadeError, InputError, InputTypeError
from . import (
    _books,
    _breakers,
    _formulas,
    _losses,
    _margins,
    _marks,
    _prices,
    _tiers,
    _turns,
)
from ._inputs import Inputs, Unknown
from ._numbers import agrees, tolerance

Handler = Callable[[Inputs, Mapping[str, Any]], Mapping[str, Any]]

MODELS: dict[str, Handler] = {
    **_books.MODELS,
    **_tiers.MODELS,
    **_prices.MODELS,
    **_losses.MODELS,
    **_formulas.MODELS,
    **_margins.MODELS,
    **_marks.MODELS,
    **_turns.MODELS,
    **_breakers.MODELS,
}
"""The handler of each model: inputs and what is asked for, to the answers."""

TEXTS = ("id", "venue", "kind", "model", "source")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out of one vector.

    Attributes
    ----------
    id, venue, kind, model, source : str
        The vector's.
    verdict : {"passed", "failed", "unknown"}
        Unknown: no handler computes this model, or it does not compute what is expected.
    expected, computed : dict
        Computed is empty where nothing was.
    reason : str
        Why it is unknown, or could not be computed.
    """

    id: str
    venue: str
    kind: str
    model: str
    source: str
    verdict: str
    expected: Mapping[str, Any]
    computed: Mapping[str, Any]
    reason: str = ""

    def lines(self) -> list[str]:
        """What is expected and what was computed, field by field."""
        head = f"{self.verdict:<8}{self.id} ({self.venue}, {self.model})"
        if self.reason:
            return [f"{head}: {self.reason}"]
        fields = [
            f"{key}: expected {plain(self.expected[key])}, computed {plain(self.computed[key])}"
            for key in self.expected
        ]
        return [f"{head}: {fields[0]}", *(" " * 8 + field for field in fields[1:])]


def plain(value: Any) -> str:
    """A value as a vector would write it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def read_vectors(path: str | PathLike[str]) -> list[dict[str, Any]]:
    """The vectors of a JSON file: a list of objects, each checked.

    Raises
    ------
    InputError
        Naming the file, the vector, the field and the rule.
    """
    if not isinstance(path, str | PathLike):
        raise InputTypeError(f"validate: path = {show(path)}: must be a path")
    name = Path(path).name
    try:
        read = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"validate: {str(path)!r}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"validate: {str(path)!r}: cannot be read: {error}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"validate: {name}: not JSON: {error}") from error
    return _checked(read, name)


def _checked(read: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(read, list):
        raise InputError(f"validate: {name}: must be a list of vectors")
    seen: set[str] = set()
    for k, vector in enumerate(read):
        where = f"validate: {name}[{k}]"
        if not isinstance(vector, dict):
            raise InputError(f"{where} = {show(vector)}: must be an object")
        for field in TEXTS:
            if not isinstance(vector.get(field), str):
                raise InputError(f"{where}.{field} = {show(vector.get(field))}: must be a string")
        where = f"{where} ({vector['id']})"
        if vector["id"] in seen:
            raise InputError(f"{where}.id: must not stand twice")
        seen.add(vector["id"])
        for field in ("inputs", "expected"):
            if not isinstance(vector.get(field), dict):
                raise InputError(f"{where}.{field} = {show(vector.get(field))}: must be an object")
        if not vector["expected"]:
            raise InputError(f"{where}.expected: must not be empty")
        tolerance(vector.get("tolerance"), where)
    return read


def evaluate(vectors: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """The verdict on each vector, in their order.

    Raises
    ------
    InputError
        A vector that is none; what is wrong with the numbers of one vector is that one's failure.
    """
    return [_verdict(vector) for vector in _checked([dict(vector) for vector in vectors], "vectors")]


def _verdict(vector: Mapping[str, Any]) -> Verdict:
    expected, model = vector["expected"], vector["model"]
    told = {field: vector[field] for field in TEXTS}
    if model not in MODELS:
        return Verdict(
            **told, verdict="unknown", expected=expected, computed={}, reason=f"no model {model!r}"
        )
    try:
        computed = MODELS[model](Inputs(vector["inputs"]), expected)
    except Unknown as why:
        return Verdict(**told, verdict="unknown", expected=expected, computed={}, reason=str(why))
    except CascadeError as error:
        return Verdict(**told, verdict="failed", expected=expected, computed={}, reason=str(error))
    missing = [key for key in expected if key not in computed]
    if missing:
        reason = f"{model} does not give {', '.join(missing)}"
        return Verdict(**told, verdict="unknown", expected=expected, computed=computed, reason=reason)
    allowed = tolerance(vector["tolerance"], vector["id"])
    fits = all(agrees(computed[key], expected[key], allowed) for key in expected)
    shown = {key: computed[key] for key in expected}
    return Verdict(**told, verdict="passed" if fits else "failed", expected=expected, computed=shown)
