"""Allocation rules: how the orders of one price level share what a taker takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._badrows import show
from ._orders import exact_int
from .errors import InputError, InputTypeError

STEPS = ("fifo", "pro_rata", "top", "lmm", "split", "leveling")
"""The steps that a rule is made of; the engines' codes are their positions."""

LARGEST = 2**62
"""No order has more lots."""

_RANGES = {
    "top_min": (1, LARGEST),
    "top_max": (1, LARGEST),
    "pro_rata_min": (1, LARGEST),
    "fifo_percent": (0, 100),
}

_PRESETS: dict[str, tuple[str, ...]] = {
    "fifo": ("fifo",),
    "F": ("fifo",),
    "pro_rata": ("pro_rata", "fifo"),
    "C": ("pro_rata", "fifo"),
    "A": ("top", "pro_rata", "fifo"),
    "K": ("top", "lmm", "split", "pro_rata", "leveling", "fifo"),
    "O": ("top", "pro_rata", "fifo"),
    "Q": ("top", "lmm", "pro_rata", "fifo"),
    "S": ("top", "lmm", "fifo"),
    "T": ("lmm", "fifo"),
}


@dataclass(frozen=True, slots=True)
class Matching:
    """An allocation rule: the steps that divide a taker's lots among the orders of one level.

    Parameters
    ----------
    steps : sequence of {"fifo", "pro_rata", "top", "lmm", "split", "leveling"}
        Taken one after another, each with what the ones before have left. "fifo": oldest first. "pro_rata":
        in proportion to the shown lots, rounded down. "top": the order that bettered the market first. "lmm":
        lead market makers (`OrderBook.set_lmm`) get their percentage. "split": `fifo_percent` of what is left
        goes oldest first. "leveling": one lot to each order that got nothing in "pro_rata". No step stands
        twice, "leveling" comes after "pro_rata" and nothing after "fifo", which leaves no lots.
    top_min : int
        Shown lots that an order needs to become TOP, 1 to 2**62.
    top_max : int
        Lots that the "top" step gives one order while it is TOP, 1 to 2**62.
    pro_rata_min : int
        A share of "pro_rata" below this is 0; 1 to 2**62 lots.
    fifo_percent : int
        The percentage that "split" gives oldest first, 0 to 100.

    Raises
    ------
    InputError, InputTypeError, RangeError
        Naming the field.

    Notes
    -----
    A taker that could have all shown lots of a level takes them whatever the rule. What each step does, lot
    by lot, is in ``docs/orderbook.md``. The steps are those of CME Globex: "Supported Matching Algorithms",
    https://cmegroupclientsite.atlassian.net/wiki/spaces/EPICSANDBOX/pages/457218521

    Examples
    --------
    >>> import cascade as cs
    >>> cs.Matching.preset("K", fifo_percent=40)  # doctest: +NORMALIZE_WHITESPACE
    Matching(steps=('top', 'lmm', 'split', 'pro_rata', 'leveling', 'fifo'), top_min=1,
             top_max=4611686018427387904, pro_rata_min=1, fifo_percent=40)
    >>> cs.Matching(("pro_rata", "fifo")) == cs.Matching.preset("pro_rata")
    True
    """

    steps: tuple[str, ...]
    top_min: int = 1
    top_max: int = LARGEST
    pro_rata_min: int = 1
    fifo_percent: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", _checked_steps(self.steps))
        for field, (low, high) in _RANGES.items():
            number = exact_int(getattr(self, field), f"matching.{field}", low, high)
            object.__setattr__(self, field, number)

    @staticmethod
    def preset(name: str, **changes: Any) -> Matching:
        """A rule by its name, with some fields changed.

        Parameters
        ----------
        name : {"fifo", "pro_rata", "F", "C", "A", "K", "O", "Q", "S", "T"}
            "fifo" is "F", "pro_rata" is "C"; the letters are CME's. "A" has `pro_rata_min` 2.
        **changes
            Fields of `Matching`.

        Returns
        -------
        Matching

        Raises
        ------
        InputError, InputTypeError, RangeError
            For a name or a field that is not known, or a bad value.

        Examples
        --------
        >>> import cascade as cs
        >>> cs.Matching.preset("A").pro_rata_min
        2
        """
        if not isinstance(name, str):
            raise InputTypeError(f"matching = {show(name)}: must be one of {', '.join(_PRESETS)}")
        if name not in _PRESETS:
            raise InputError(f"matching = {name!r}: must be one of {', '.join(_PRESETS)}")
        known = [field.name for field in dataclasses.fields(Matching)]
        for field in changes:
            if field not in known:
                raise InputError(f"matching.{field}: unknown field, known are {', '.join(known)}")
        fields: dict[str, Any] = {"steps": _PRESETS[name]}
        if name == "A":
            fields["pro_rata_min"] = 2
        return Matching(**(fields | changes))

    @property
    def codes(self) -> tuple[int, ...]:
        """The engines' codes of the steps."""
        return tuple(STEPS.index(step) for step in self.steps)


def as_matching(matching: Any) -> Matching:
    """An allocation rule from what a caller passed: a name or a Matching."""
    if isinstance(matching, Matching):
        return matching
    if isinstance(matching, str):
        return Matching.preset(matching)
    raise InputTypeError(f"matching = {show(matching)}: must be a Matching or one of {', '.join(_PRESETS)}")


def _checked_steps(steps: Any) -> tuple[str, ...]:
    if isinstance(steps, str) or not isinstance(steps, Sequence):
        raise InputTypeError(f"matching.steps = {show(steps)}: must be a sequence of {', '.join(STEPS)}")
    steps = tuple(steps)
    for step in steps:
        if step not in STEPS:
            raise InputError(f"matching.steps: unknown step {step!r}, must be of {', '.join(STEPS)}")
    if not steps:
        raise InputError("matching.steps: must have at least one step")
    if len(set(steps)) != len(steps):
        raise InputError(f"matching.steps = {steps!r}: a step must not stand twice")
    if "fifo" in steps[:-1]:
        raise InputError(f"matching.steps = {steps!r}: 'fifo' must be the last step, it leaves no lots")
    if "leveling" in steps and "pro_rata" not in steps[: steps.index("leveling")]:
        raise InputError(f"matching.steps = {steps!r}: 'leveling' must come after 'pro_rata'")
    return steps
