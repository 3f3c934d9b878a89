"""Venue rules: one record of enumerations and numbers. A venue is such a record with a date and sources,
never a branch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from . import breakers as _breakers
from ._badrows import show
from .errors import InputError, InputTypeError, RangeError
from .instruments import exact

CHOICES: dict[str, tuple[str, ...]] = {
    "mark": ("last", "mid", "book_median", "index"),
    "clearing": ("wave", "continuous"),
    "trigger": ("lt", "le"),
    "queue": ("ratio", "fifo", "largest", "trigger_price"),
    "position_order": ("maintenance", "notional", "loss", "index"),
    "size": ("whole", "all"),
    "order_price": ("market", "bankruptcy"),
    "surplus": ("account", "fund"),
    "fee_to": ("fund", "venue"),
    "adl_rank": ("bitmex", "binance", "bybit", "hyperliquid", "none"),
    "adl_price": ("bankruptcy", "mark", "previous_mark", "index"),
}
"""The strings that a field takes; the engines' codes are their positions."""

STAGES: dict[str, tuple[str, ...]] = {
    "residual": ("fund_walk", "vault", "adl"),
    "shortfall": ("fund", "vault", "socialise"),
}
"""The stages that a waterfall is made of; codes are positions."""


class Number(NamedTuple):
    """What a numeric field takes: numbers in [lowest, highest], whole ones only, and whether None too."""

    lowest: int
    highest: int
    whole: bool = False
    optional: bool = False
    unit: str = ""


NUMBERS: dict[str, Number] = {
    "capacity": Number(1, 2**31 - 1, whole=True, optional=True, unit="turns"),
}
"""The fields that are numbers. Engines take them exactly: whole ones as they are, others as integers of
1e-12."""

FLAGS: tuple[str, ...] = ("cancel_orders",)
"""The fields that are True or False."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueRules:
    """How a venue marks, liquidates and covers losses.

    Parameters
    ----------
    mark : {"last", "mid", "book_median", "index"}
        What positions are valued at: last trade, mid of the book, median of bid, ask and last, or the index.
    clearing : {"wave", "continuous"}
        "wave": marks are frozen until everybody found unhealthy has had a turn. "continuous": marks and
        margins are looked at after every turn.
    trigger : {"lt", "le"}
        Liquidate when equity < maintenance, or <=.
    queue : {"ratio", "fifo", "largest", "trigger_price"}
        Who goes first: lowest equity / maintenance; who was found first; largest notional; who is furthest
        past its trigger.
    position_order : {"maintenance", "notional", "loss", "index"}
        Which position of an account goes first: largest maintenance, largest notional, largest loss, or by
        index.
    size : {"whole", "all"}
        Whole positions one after another until the account is healthy, or all of them.
    order_price : {"market", "bankruptcy"}
        Limit of the liquidation order.
    cancel_orders : bool
        Cancel the account's resting orders first.
    surplus : {"account", "fund"}
        Who keeps what a liquidated account has left once flat.
    fee_to : {"fund", "venue"}
        Who receives the liquidation fee.
    residual : sequence of {"fund_walk", "vault", "adl"}
        What happens, in this order, to lots that the order did not fill. "fund_walk" is for bankruptcy-price
        orders.
    shortfall : sequence of {"fund", "vault", "socialise"}
        Who pays, in this order, a flat account's negative balance; what is left is deficit.
    adl_rank : {"bitmex", "binance", "bybit", "hyperliquid", "none"}
        Ranking of auto-deleveraging; "none" is by account index.
    adl_price : {"bankruptcy", "mark", "previous_mark", "index"}
        Price of auto-deleveraging.
    capacity : int or None
        Turns a step; None for no limit.
    breakers : sequence of PriceBand, VelocityLogic, MarketHalt
        Price bands and circuit breakers (`cs.breakers`), at most 16.

    Raises
    ------
    InputError, InputTypeError
        Naming the field.

    Examples
    --------
    >>> import cascade as cs
    >>> rules = cs.VenueRules(mark="mid", order_price="bankruptcy")
    >>> rules.replace(size="all").size
    'all'
    """

    mark: str = "last"
    clearing: str = "wave"
    trigger: str = "lt"
    queue: str = "ratio"
    position_order: str = "maintenance"
    size: str = "whole"
    order_price: str = "market"
    cancel_orders: bool = True
    surplus: str = "account"
    fee_to: str = "fund"
    residual: tuple[str, ...] = ("fund_walk", "adl")
    shortfall: tuple[str, ...] = ("fund",)
    adl_rank: str = "bitmex"
    adl_price: str = "bankruptcy"
    capacity: int | None = None
    breakers: tuple[_breakers.Breaker, ...] = ()

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if not isinstance(value, str):
                raise InputTypeError(f"rules.{field} = {show(value)}: must be one of {', '.join(choices)}")
            if value not in choices:
                raise InputError(f"rules.{field} = {value!r}: must be one of {', '.join(choices)}")
        for field, stages in STAGES.items():
            value = getattr(self, field)
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise InputTypeError(f"rules.{field} = {value!r}: must be a sequence of {', '.join(stages)}")
            for stage in value:
                if stage not in stages:
                    raise InputError(
                        f"rules.{field} = {value!r}: unknown stage {stage!r}, must be of {', '.join(stages)}"
                    )
            if len(set(value)) != len(value):
                raise InputError(f"rules.{field} = {value!r}: a stage must not stand twice")
            object.__setattr__(self, field, tuple(value))
        for field in FLAGS:
            value = getattr(self, field)
            if not isinstance(value, bool | np.bool_):
                raise InputTypeError(f"rules.{field} = {show(value)}: must be True or False")
            object.__setattr__(self, field, bool(value))
        for field, number in NUMBERS.items():
            object.__setattr__(self, field, _checked(field, getattr(self, field), number))
        object.__setattr__(self, "breakers", _breakers.checked(self.breakers))

    def replace(self, **changes: Any) -> VenueRules:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def code(self, field: str) -> int:
        """The engines' code of a field."""
        return CHOICES[field].index(getattr(self, field))

    def exact(self, field: str) -> Fraction | None:
        """A numeric field as the rational number that it was written as; None stays None."""
        value = getattr(self, field)
        return None if value is None else exact(value, f"rules.{field}")

    def stages(self, field: str) -> list[int]:
        """The engines' codes of a waterfall."""
        return [STAGES[field].index(stage) for stage in getattr(self, field)]


def _checked(field: str, value: Any, number: Number) -> Any:
    """A numeric field's value, refused if it is not what `number` allows."""
    none = " or None" if number.optional else ""
    if value is None and number.optional:
        return None
    if number.whole:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputTypeError(f"rules.{field} = {show(value)}: must be an int{none}")
        value = int(value)
    elif value is None:
        raise InputTypeError(f"rules.{field} = None: must be a number")
    amount = exact(value, f"rules.{field}")
    if amount < number.lowest:
        raise InputError(f"rules.{field} = {show(value)}: must be >= {number.lowest}")
    if amount > number.highest:
        raise RangeError(f"rules.{field} = {show(value)}: must be <= {number.highest}{none}")
    return value


@dataclass(frozen=True, slots=True)
class Venue:
    """Rules and margin tiers of one venue, as of a date.

    Accepted wherever rules are.
    """

    name: str
    rules: VenueRules
    date: str
    sources: tuple[str, ...]
    notes: str
    _tiers: Callable[[str], list[list[float]]]

    def tiers(self, symbol: str) -> list[list[float]]:
        """Margin tiers of a symbol: rows (floor, cap, initial rate, maintenance rate, maintenance amount).

        Raises InputError for a symbol that is not embedded.
        """
        return self._tiers(symbol)


def as_rules(rules: VenueRules | Venue | None, default: VenueRules | None = None) -> VenueRules:
    """Rules from what a caller passed."""
    if rules is None:
        return default or VenueRules()
    if isinstance(rules, Venue):
        return rules.rules
    if isinstance(rules, VenueRules):
        return rules
    raise InputTypeError(f"rules = {show(rules)}: must be a VenueRules or a Venue")
