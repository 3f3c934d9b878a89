"""Venue rules: one record of enumerations and numbers. A venue is such a record with a date and sources,
never a branch."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from . import breakers as _breakers
from ._badrows import show
from .errors import InputError, InputTypeError, RangeError
from .funding import Funding
from .instruments import RATE_ONE, exact
from .marks import Mark, check_mark

CHOICES: dict[str, tuple[str, ...]] = {
    "mark": ("last", "mid", "book_median", "index"),
    "clearing": ("wave", "continuous"),
    "trigger": ("lt", "le"),
    "queue": ("ratio", "fifo", "largest", "trigger_price", "fillable"),
    "position_order": ("maintenance", "notional", "loss", "index"),
    "size": ("whole", "all", "fraction", "restore", "step_down"),
    "order_price": ("market", "bankruptcy", "fillable"),
    "surplus": ("account", "fund", "vault"),
    "fee_to": ("fund", "venue", "vault"),
    "adl_rank": ("bitmex", "binance", "bybit", "hyperliquid", "none", "okx", "hyperliquid_signed"),
    "adl_price": ("bankruptcy", "mark", "previous_mark", "index"),
    # Margin.
    "maintenance_on": ("mark", "entry"),
    "maintenance_fee": ("none", "taker", "taker_at_bankruptcy"),
    "bankruptcy_fee": ("none", "taker"),
    "bankruptcy_share": ("whole", "maintenance"),
    # Turns.
    "order_tif": ("ioc", "fok"),
    "fee_cap": ("equity", "improvement"),
    "fund_stop_at": ("lt", "le"),
    "socialise_by": ("equity", "profit"),
    "collateral_sale": ("last", "first"),
}
"""The strings that a field takes; the engines' codes are their positions."""

STAGES: dict[str, tuple[str, ...]] = {
    "residual": ("fund_walk", "vault", "adl"),
    "shortfall": ("fund", "vault", "socialise"),
}
"""The stages that a waterfall is made of; codes are positions."""


MONEY_MOST = 10**30
"""What a rule may name as money; whether it fits the cash quantum is known when it is used in a market."""


class Number(NamedTuple):
    """What a numeric field takes: numbers in [lowest, highest], whole ones only, and whether None too."""

    lowest: int
    highest: int
    whole: bool = False
    optional: bool = False
    unit: str = ""


NUMBERS: dict[str, Number] = {
    "capacity": Number(1, 2**31 - 1, whole=True, optional=True, unit="turns"),
    # Turns.
    "vault_below": Number(0, 1, optional=True, unit="of maintenance"),
    "adl_below": Number(0, 1, optional=True, unit="of maintenance"),
    "size_fraction": Number(0, 1),
    "size_above": Number(0, MONEY_MOST, unit="money"),
    "size_minimum": Number(0, MONEY_MOST, unit="money"),
    "size_steps": Number(1, 2**31 - 1, whole=True, unit="tiers"),
    "size_buffer": Number(0, 1),
    "cooldown_ns": Number(0, 2**62, whole=True, unit="ns"),
    "fillable_adjustment": Number(0, 10**6),
    "fillable_spread": Number(0, 10),
    "fund_stop": Number(0, 1, optional=True),
    "fund_resume": Number(0, 1, optional=True),
    "fund_stop_amount": Number(0, MONEY_MOST, unit="money"),
    "fund_stop_above": Number(0, MONEY_MOST, unit="money"),
    "fund_per_step": Number(0, MONEY_MOST, optional=True, unit="money"),
    "notional_per_step": Number(0, MONEY_MOST, optional=True, unit="money"),
    "vault_cap": Number(0, 10**3, optional=True, unit="of the vault's equity"),
    "adl_price_band": Number(0, 10**6, optional=True),
}
"""The fields that are numbers. Engines take them exactly: whole ones as they are, money in quanta
(half-even), others as integers of 1e-12."""

FLAGS: tuple[str, ...] = (
    "cancel_orders", "first_tier_whole", "then_whole", "adl_overlap", "adl_negative_only", "offset_hedges",
)  # fmt: skip
"""The fields that are True or False."""


class FundGuard(NamedTuple):
    """Where an insurance fund stands on its way to being stopped; exact, in the settlement currency."""

    drawdown: Fraction
    """what it has lost since its peak"""
    ratio: Fraction
    """-drawdown / peak; 0 without a peak"""
    allowed: Fraction | None
    """the drawdown at which it stops paying; None where the rules stop it at none"""
    threshold: Fraction | None
    """the balance that is left then: peak - allowed"""
    triggered: bool
    """whether it is stopped, so that deleveraging takes its place"""
    overshoot: Fraction
    """drawdown beyond `allowed`, 0 before"""
    resumed: bool
    """whether a fund that was stopped pays again"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueRules:
    """How a venue marks, liquidates and covers losses.

    Parameters
    ----------
    mark : {"last", "mid", "book_median", "index"} or a tree of cs.marks
        What positions are valued at: last trade, mid of the book, median of bid, ask and last, or the index;
        or whatever a tree of `cs.marks` says.
    clearing : {"wave", "continuous"}
        "wave": marks are frozen until everybody found unhealthy has had a turn. "continuous": marks and
        margins are looked at after every turn.
    trigger : {"lt", "le"}
        Liquidate when equity < maintenance, or <=.
    queue : {"ratio", "fifo", "largest", "trigger_price", "fillable"}
        Who goes first: lowest equity / maintenance; who was found first; largest notional; who is furthest
        past its trigger; whose first position concedes most by its fillable price (dYdX).
    position_order : {"maintenance", "notional", "loss", "index"}
        Which position of an account goes first: largest maintenance, largest notional, largest loss, or by
        index.
    size : {"whole", "all", "fraction", "restore", "step_down"}
        Whole positions one after another until the account is healthy, or all of them. Or parts of positions,
        one after another until the account is healthy: a fraction of a large one (Hyperliquid, Deribit,
        dYdX); as little as makes the account healthy again (Binance, Drift); what brings it into a lower
        margin tier
        (BitMEX, Bybit, OKX).
    order_price : {"market", "bankruptcy", "fillable"}
        Limit of the liquidation order: none, the bankruptcy price, or the mark less a part of maintenance
        that grows as equity goes (dYdX).
    cancel_orders : bool
        Cancel the account's resting orders first.
    surplus : {"account", "fund", "vault"}
        Who keeps what a liquidated account has left once flat.
    fee_to : {"fund", "venue", "vault"}
        Who receives the liquidation fee.
    residual : sequence of {"fund_walk", "vault", "adl"}
        What happens, in this order, to lots that the order did not fill. "fund_walk" is for bankruptcy-price
        orders.
    shortfall : sequence of {"fund", "vault", "socialise"}
        Who pays, in this order, a flat account's negative balance; what is left is deficit.
    adl_rank : {"bitmex", "binance", "bybit", "hyperliquid", "none", "okx", "hyperliquid_signed"}
        Ranking of auto-deleveraging; "none" is by account index. "hyperliquid" is the printed formula,
        "hyperliquid_signed" its reading that knows longs from shorts.
    adl_price : {"bankruptcy", "mark", "previous_mark", "index"}
        Price of auto-deleveraging.
    capacity : int or None
        Turns a step; None for no limit.
    funding : Funding or None
        How a premium becomes a funding rate (`cs.Funding`), and at which price a shock's funding is paid;
        None: at the mark.
    maintenance_on : {"mark", "entry"}
        Notional that maintenance (and initial margin) is asked on, and that its tier is chosen by: at the
        mark, or at entry, where it does not move with the mark.
    maintenance_fee : {"none", "taker", "taker_at_bankruptcy"}
        Closing fee that maintenance includes: "taker" adds the instrument's taker fee to every tier's rate;
        "taker_at_bankruptcy" adds the taker fee on the bankruptcy value that the position would have if it
        were the account's only one. A rebate adds nothing.
    bankruptcy_fee : {"none", "taker"}
        Whether bankruptcy prices leave room for the taker fee on closing there. A rebate changes nothing.
    bankruptcy_share : {"whole", "maintenance"}
        Equity that closing a position at its bankruptcy price uses up: all of the account's, or the share
        that its maintenance has in the account's.
    vault_below : number or None
        At a turn that finds equity < vault_below * maintenance the vault takes all positions at their value
        at mark, and what equity is left, without an order. Hyperliquid: 2/3.
    adl_below : number or None
        At a turn that finds equity < adl_below * maintenance all positions are deleveraged at once, without
        an order. Hyperliquid: 0.
    size_fraction : number
        size="fraction": the part of a position that one order is for, rounded down to lots.
    size_above : number
        size="fraction": positions of at most this notional are ordered whole; in the settlement currency.
    size_minimum : number
        size="fraction": the least notional that an order is for; in the settlement currency.
    size_steps : int
        size="step_down": tiers that one order goes down; a position in a tier below this number is ordered
        whole. BitMEX, Bybit: 1. OKX: 2.
    first_tier_whole : bool
        size="step_down": order all of a position if its account would have to be liquidated even with the
        position's maintenance at the first tier's rate (OKX).
    size_buffer : number
        size="restore": what maintenance rates are raised by when the order is sized. Drift: 0.02.
    then_whole : bool
        size="fraction": an account that a part was ordered of is ordered whole from its next turn on, until
        it is healthy.
    cooldown_ns : int
        size="fraction", "step_down": nanoseconds that an account rests after a turn that ordered a part and
        left it unhealthy.
    order_tif : {"ioc", "fok"}
        Orders for a part of a position: immediate or cancel, fill or kill. Orders for all of it are
        immediate-or-cancel.
    fillable_adjustment : number
        order_price="fillable": how fast the concession grows as equity goes (dYdX: bankruptcy adjustment).
    fillable_spread : number
        order_price="fillable": its largest part of maintenance (dYdX: spread to maintenance margin ratio).
    fee_cap : {"equity", "improvement"}
        The liquidation fee is at most the equity left, or at most what the fills were worth over the
        bankruptcy value (dYdX).
    fund_stop : number or None
        Drawdown of the fund, as a part of its balance at the start of the run, past which it stops paying and
        deleveraging takes its place. Bybit, OKX: 0.3.
    fund_resume : number or None
        Drawdown below which a stopped fund pays again; None: as soon as it is not past `fund_stop`. Bybit:
        0.25.
    fund_stop_amount : number
        The least drawdown that stops the fund; in the settlement currency. OKX: 50,000.
    fund_stop_above : number
        A balance up to this one is not stopped by its drawdown (an empty fund pays nothing anyway); in the
        settlement currency.
    fund_stop_at : {"lt", "le"}
        Whether the fund is stopped when its balance is below the threshold, or at it too.
    socialise_by : {"equity", "profit"}
        What the shares of a socialised loss are in proportion to: positive equity, or unrealised profit at
        the marks (OKX until 2019, Deribit: the winners pay).
    fund_per_step : number or None
        What the fund pays for one account in one step; what is left waits for the next step. In the
        settlement currency.
    notional_per_step : number or None
        The notional that one account's orders may close in one step; what is left waits for the next step. In
        the settlement currency.
    vault_cap : number or None
        Net notional that the vault may hold after a takeover, as a multiple of its equity. Binance: 1.
    adl_price_band : number or None
        adl_price="bankruptcy": at the mark where the bankruptcy price is further from it than this part.
        Bybit: 0.05.
    adl_overlap : bool
        Deleverage nobody who would be left with negative equity by the trade (dYdX).
    adl_negative_only : bool
        Residual lots are deleveraged only if the account's equity was negative when their order was sent;
        else they wait (dYdX).
    offset_hedges : bool
        First close long against short slots of one instrument at the mark (Bybit, OKX).
    collateral_sale : {"last", "first"}
        When collateral in other assets is sold for what an account owes in the settlement asset: once its
        positions are closed; or before they are taken as well, unrealised loss counted.
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

    mark: str | Mark = "last"
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
    funding: Funding | None = None
    maintenance_on: str = "mark"
    maintenance_fee: str = "none"
    bankruptcy_fee: str = "none"
    bankruptcy_share: str = "whole"
    # Turns.
    vault_below: Any = None
    adl_below: Any = None
    size_fraction: Any = 1
    size_above: Any = 0
    size_minimum: Any = 0
    size_steps: int = 1
    first_tier_whole: bool = False
    size_buffer: Any = 0
    then_whole: bool = False
    cooldown_ns: int = 0
    order_tif: str = "ioc"
    fillable_adjustment: Any = 1
    fillable_spread: Any = 0.1
    fee_cap: str = "equity"
    fund_stop: Any = None
    fund_resume: Any = None
    fund_stop_amount: Any = 0
    fund_stop_above: Any = 0
    fund_stop_at: str = "lt"
    socialise_by: str = "equity"
    fund_per_step: Any = None
    notional_per_step: Any = None
    vault_cap: Any = None
    adl_price_band: Any = None
    adl_overlap: bool = False
    adl_negative_only: bool = False
    offset_hedges: bool = False
    collateral_sale: str = "last"
    breakers: tuple[_breakers.Breaker, ...] = ()

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if field == "mark" and isinstance(value, Mark):
                check_mark(value, "rules.mark")
                continue
            if not isinstance(value, str):
                tree = ", or a mark of cs.marks" if field == "mark" else ""
                raise InputTypeError(
                    f"rules.{field} = {show(value)}: must be one of {', '.join(choices)}{tree}"
                )
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
        if self.funding is not None and not isinstance(self.funding, Funding):
            raise InputTypeError(f"rules.funding = {show(self.funding)}: must be a cs.Funding or None")
        if self.fund_resume is not None:
            stop, resume = self.exact("fund_stop"), self.exact("fund_resume")
            if stop is None or resume is None or resume > stop:
                raise InputError(
                    f"rules.fund_resume = {show(self.fund_resume)}: must be <= rules.fund_stop = "
                    f"{show(self.fund_stop)}"
                )
        object.__setattr__(self, "breakers", _breakers.checked(self.breakers))

    def replace(self, **changes: Any) -> VenueRules:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def code(self, field: str) -> int:
        """The engines' code of a field; that of a mark tree is the one after the last."""
        value = getattr(self, field)
        return len(CHOICES[field]) if isinstance(value, Mark) else CHOICES[field].index(value)

    def exact(self, field: str) -> Fraction | None:
        """A numeric field as the rational number that it was written as; None stays None."""
        value = getattr(self, field)
        return None if value is None else exact(value, f"rules.{field}")

    def integer(self, field: str, quantum: Fraction) -> int | None:
        """A numeric field as the engines take it: whole ones as they are, money in quanta, others in 1e-12.

        Raises RangeError for money that does not fit 62 bits.
        """
        value, number = self.exact(field), NUMBERS[field]
        if value is None or number.whole:
            return None if value is None else int(value)
        if number.unit != "money":
            return round(value * RATE_ONE)
        quanta = round(value / quantum)
        if quanta >= 2**62:
            most, shown = f"2**62 cash quanta of {float(quantum):g}", show(getattr(self, field))
            raise RangeError(f"rules.{field} = {shown}: must be below {most}")
        return quanta

    def ratio(self, field: str) -> tuple[int, int]:
        """A number as the whole numbers (numerator, denominator) that comparisons multiply with: as it was
        written where both have at most 62 bits, else to 1e-12. None is (0, 0)."""
        value = self.exact(field)
        if value is None:
            return 0, 0
        if value.denominator >= 2**62:
            value = Fraction(round(value * RATE_ONE), RATE_ONE)
        return value.numerator, value.denominator

    def fund_guard(self, balance: Any, peak: Any, *, pnl: Any = None, max_pnl: Any = None) -> FundGuard:
        """Whether an insurance fund would be stopped.

        Parameters
        ----------
        balance, peak : number
            What it holds, and what its drawdown is measured against (in a run: its balance at the start).
        pnl, max_pnl : number, optional
            The profit so far and at its highest, where the drawdown is theirs and not the balance's (Bybit,
            whose pools serve many symbols).

        Returns
        -------
        FundGuard : drawdown, ratio, allowed, threshold, triggered, overshoot, resumed.
        """
        held, top = exact(balance, "fund_guard: balance"), exact(peak, "fund_guard: peak")
        drawdown = top - held
        if pnl is not None or max_pnl is not None:
            drawdown = exact(max_pnl, "fund_guard: max_pnl") - exact(pnl, "fund_guard: pnl")
        stop, resume = self.exact("fund_stop"), self.exact("fund_resume")
        least, above = self.exact("fund_stop_amount"), self.exact("fund_stop_above")
        assert least is not None
        assert above is not None
        ratio = -drawdown / top if top else Fraction(0)
        if stop is None:
            return FundGuard(drawdown, ratio, None, None, held <= 0, Fraction(0), held > 0)
        allowed = max(stop * top, least)
        past = drawdown >= allowed if self.fund_stop_at == "le" else drawdown > allowed
        triggered = held <= 0 or (held > above and past)
        resumed = held > 0 and (not past if resume is None else drawdown < resume * top)
        overshoot = max(Fraction(0), drawdown - allowed)
        return FundGuard(drawdown, ratio, allowed, top - allowed, triggered, overshoot, resumed)

    def fund_limits(self, fund: int, quantum: Fraction) -> tuple[int, int] | None:
        """The largest drawdowns, in quanta, at which a fund that paid and one that was stopped pay (again);
        None where the rules never stop it."""
        allowed = self.fund_guard(fund * quantum, fund * quantum).allowed
        if allowed is None:
            return None
        resume = self.exact("fund_resume")
        stop = allowed / quantum
        stays = ceil(stop) - 1 if self.fund_stop_at == "le" else floor(stop)
        return stays, stays if resume is None else ceil(resume * fund) - 1

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

    Parameters
    ----------
    name : str
    rules : VenueRules
        What the venue does, as its newest own document says.
    date : str
        The day that the rules are of, YYYY-MM-DD.
    sources : tuple of str
        Where the rules are from.
    notes : str
        What is approximate, and what the rules cannot say.
    variants : dict of str to VenueRules
        Where sources contradict each other or a choice is the user's: the other readings, by name.
    formulas : namespace of functions, or None
        What the venue computes and the engines do not, as functions of numbers.
    tier_dates : tuple of str
        Dates of the embedded margin tiers, the newest last; empty where none are embedded.
    """

    name: str
    rules: VenueRules
    date: str
    sources: tuple[str, ...]
    notes: str
    variants: dict[str, VenueRules] = dataclasses.field(default_factory=dict, hash=False)
    formulas: SimpleNamespace | None = dataclasses.field(default=None, hash=False)
    tier_dates: tuple[str, ...] = ()
    _tiers: Callable[[str, str | None], list[list[Any]]] | None = dataclasses.field(
        default=None, compare=False
    )

    def __post_init__(self) -> None:
        for name in ("name", "date", "notes"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InputTypeError(f"venue.{name} = {show(value)}: must be a string")
        try:
            datetime.date.fromisoformat(self.date)
        except ValueError:
            raise InputError(f"venue.date = {self.date!r}: must be a date, YYYY-MM-DD") from None
        if isinstance(self.sources, str) or not isinstance(self.sources, Sequence):
            raise InputTypeError(f"venue.sources = {show(self.sources)}: must be a sequence of strings")
        if not isinstance(self.variants, Mapping):
            raise InputTypeError(f"venue.variants = {show(self.variants)}: must map names to VenueRules")
        for name, rules in {"rules": self.rules, **self.variants}.items():
            if not isinstance(rules, VenueRules):
                which = "rules" if name == "rules" else f"variants[{name!r}]"
                raise InputTypeError(f"venue.{which} = {show(rules)}: must be a VenueRules")
        object.__setattr__(self, "sources", tuple(self.sources))
        object.__setattr__(self, "variants", dict(self.variants))

    def __repr__(self) -> str:
        parts = [f"rules of {self.date}"]
        if self.variants:
            parts.append(f"variants {', '.join(self.variants)}")
        if self.tier_dates:
            parts.append(f"tiers of {', '.join(self.tier_dates)}")
        return f"<cascade.Venue {self.name}: {'; '.join(parts)}>"

    def tiers(self, symbol: str, date: str | None = None) -> list[list[Any]]:
        """Margin tiers of a symbol: rows (floor, cap, initial rate, maintenance rate, maintenance amount).

        Parameters
        ----------
        symbol : str
            The venue's own name ("BTCUSDT"), or BASE/QUOTE:SETTLE ("BTC/USDT:USDT").
        date : str, optional
            One of `tier_dates`; by default the newest.

        Raises
        ------
        InputError
            A symbol or a date that is not embedded, or a venue whose tiers are not: `cs.io.read_tiers` reads
            them from a file.
        """
        if self._tiers is None:
            raise InputError(
                f"tiers: {self.name} has no embedded tiers; cs.io.read_tiers(path)[{symbol!r}] takes them "
                "from a file"
            )
        return self._tiers(symbol, date)


def as_rules(rules: VenueRules | Venue | None, default: VenueRules | None = None) -> VenueRules:
    """Rules from what a caller passed."""
    if rules is None:
        return default or VenueRules()
    if isinstance(rules, Venue):
        return rules.rules
    if isinstance(rules, VenueRules):
        return rules
    raise InputTypeError(
        f"rules = {show(rules)}: must be a VenueRules or a Venue, as cs.venues.binance_usdm is"
    )
