"""Circuit breakers and price bands: rules that stop matching, as small records.

`PriceBand`, `VelocityLogic` and `MarketHalt` go into `VenueRules.breakers`; `luld`,
`dynamic_circuit_breaker`, `cme_price_limits`, `cme_velocity_logic`, `market_wide` and `order_price_limit`
make the known schemes of them. docs/model.md says what they mean in a run.

>>> import cascade as cs
>>> band = cs.breakers.luld(tier=1)
>>> band.band("0.01", 100)
Band(rate=Decimal('0.05'), variant=Decimal('5'), lower=Decimal('95'), upper=Decimal('105'))
>>> cs.VenueRules(breakers=[band, cs.breakers.market_wide("SPX")]).breakers[1].halt_at(93, 100).level
1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ._badrows import show
from .errors import InputError, InputTypeError, RangeError
from .instruments import PRICE_LIMIT, RATE_ONE, decimal_text, exact

MARK_ONE = 1024
"""Reference prices are integers of 1/1024 tick."""
FOREVER = 2**63 - 1
"""Until when a halt for good lasts."""
SECOND = 10**9
MINUTE = 60 * SECOND
LONGEST_TIME = 2**61
MOST_BREAKERS = 16
WIDEST = 10
"""A band reaches at most ten times its reference price."""

REFERENCES = ("fixed", "settle", "mean", "range", "mark", "index")
FIXED, MEAN, RANGE, MARK, INDEX = range(5)
_KINDS = {"fixed": FIXED, "settle": FIXED, "mean": MEAN, "range": RANGE, "mark": MARK, "index": INDEX}
ROUNDINGS = ("nearest", "inside", "variant")
NEAREST, INSIDE, VARIANT = range(3)
_SIDES = {"lower": 1, "upper": 2, "both": 3}
_PRICES = ("index", "last")


class Band(NamedTuple):
    """What a band is at one moment; prices as exact decimals."""

    rate: Decimal | None
    """the share of the reference price (or of the settlement price) that decides the width; None where an
    amount does"""
    variant: Decimal
    """how far the band reaches to either side, before its limits are rounded"""
    lower: Decimal
    """lowest price at which trading is allowed"""
    upper: Decimal
    """highest price at which trading is allowed"""

    @property
    def high_bid_limit(self) -> Decimal:
        """CME's name of `upper`."""
        return self.upper

    @property
    def low_ask_limit(self) -> Decimal:
        """CME's name of `lower`."""
        return self.lower


class Stop(NamedTuple):
    """Which level of a market-wide halt a price reaches."""

    level: int
    """1 for the first, 0 for none"""
    rate: Decimal
    """decline of that level"""
    price: Decimal | None
    """price at which it triggers; None for none"""
    halt_ns: int | None
    """how long trading stops; None for the rest of the day"""


class BandTerms(NamedTuple):
    """One band of one instrument as the engines see it: integers only. Prices in 1/1024 tick, times in ns."""

    breaker: int
    """place in `rules.breakers`"""
    kind: int
    rate: int
    """1e-12 of the reference; -1: none"""
    amount: int
    """the lesser of both decides; -1: none"""
    rounding: int
    sides: int
    """bit 1: it has a lower limit, bit 2: an upper one"""
    window: int
    renew: int
    limit: int
    halt: int
    """-1: none; FOREVER: for good"""
    recentre: int
    anchor: int
    """reference at the start; 0: none"""


class LevelTerms(NamedTuple):
    """One level of a market-wide halt: everything stops once the price is at or below `threshold`."""

    breaker: int
    instrument: int
    kind: int
    """0: the index, 1: the last price"""
    threshold: int
    """1/1024 tick; 0: never"""
    halt: int


# -- the arithmetic of both engines --------------------------------------------------------------------------


def lower_limit(band: BandTerms, reference: int) -> int:
    """Lowest price in ticks that a band allows around a reference in 1/1024 tick; 0 where it sets none."""
    if not band.sides & 1 or reference <= 0:
        return 0
    by_rate, reach = reach_of(band, reference)
    if band.rounding == VARIANT:
        return max(0, -(-reference // MARK_ONE) - reach // MARK_ONE)
    if by_rate:
        num, den = reference * (RATE_ONE - band.rate), MARK_ONE * RATE_ONE
    else:
        num, den = reference - reach, MARK_ONE
    return max(0, (2 * num + den) // (2 * den) if band.rounding == NEAREST else -(-num // den))


def upper_limit(band: BandTerms, reference: int) -> int:
    """Highest price in ticks that a band allows; PRICE_LIMIT - 1 where it sets none."""
    if not band.sides & 2 or reference <= 0:
        return PRICE_LIMIT - 1
    by_rate, reach = reach_of(band, reference)
    if band.rounding == VARIANT:
        return min(PRICE_LIMIT - 1, reference // MARK_ONE + reach // MARK_ONE)
    if by_rate:
        num, den = reference * (RATE_ONE + band.rate), MARK_ONE * RATE_ONE
    else:
        num, den = reference + reach, MARK_ONE
    return min(PRICE_LIMIT - 1, (2 * num + den) // (2 * den) if band.rounding == NEAREST else num // den)


def reach_of(band: BandTerms, reference: int) -> tuple[bool, int]:
    """(whether the rate decides, how far the band reaches in 1/1024 tick, rounded down)."""
    if band.rate >= 0:
        reach = reference * band.rate // RATE_ONE
        if band.amount < 0 or reach < band.amount:
            return True, reach
    return False, band.amount


# -- records -------------------------------------------------------------------------------------------------


class _Record:
    """What the records share: a short repr that builds the same record again."""

    __slots__ = ()

    def __repr__(self) -> str:
        told = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value != field.default:
                told.append(f"{field.name}={_text(value)}")
        return f"{type(self).__name__}({', '.join(told)})"

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _where(self, name: str) -> str:
        return f"{type(self).__name__}.{name}"

    def _price(self, name: str) -> Decimal | None:
        """A price > 0, or None."""
        value = getattr(self, name)
        return None if value is None else _positive(value, self._where(name))

    def _time(self, name: str, lowest: int, optional: bool = False) -> int | None:
        value = getattr(self, name)
        return None if value is None and optional else _nanoseconds(value, self._where(name), lowest)

    def _choice(self, name: str, choices: Sequence[str]) -> None:
        value = getattr(self, name)
        if not isinstance(value, str) or value not in choices:
            kind = InputError if isinstance(value, str) else InputTypeError
            raise kind(f"{self._where(name)} = {show(value)}: must be one of {', '.join(choices)}")

    def _symbols(self, name: str = "symbols") -> None:
        value = getattr(self, name)
        if value is None:
            return
        if isinstance(value, str):
            value = (value,)
        if not isinstance(value, Sequence) or not all(isinstance(s, str) for s in value) or not value:
            raise InputTypeError(f"{self._where(name)} = {show(value)}: must be symbols, or None for all")
        self._set(**{name: tuple(value)})

    def holds_for(self, symbol: str) -> bool:
        """Whether the rule is about an instrument."""
        symbols = getattr(self, "symbols", None)
        return symbols is None or symbol in symbols


@dataclass(frozen=True, slots=True, repr=False)
class Width(_Record):
    """How far a band reaches to either side, for instruments whose settlement price is high enough.

    Parameters
    ----------
    rate : number, optional
        Share of the reference price, in (0, 10].
    amount : number, optional
        A price. With both the lesser of the two counts; one of them must be given.
    above, at_least : number, optional
        The row is for instruments whose settlement price (`Market.set_prices(settle=)`) is > `above`, or >=
        `at_least`; of several rows the highest that is reached counts. At most one of them.
    """

    rate: Any = None
    amount: Any = None
    above: Any = None
    at_least: Any = None

    def __post_init__(self) -> None:
        if self.rate is not None:
            self._set(rate=_share(self.rate, self._where("rate"), WIDEST))
        self._set(amount=self._price("amount"), above=self._price("above"), at_least=self._price("at_least"))
        if self.rate is None and self.amount is None:
            raise InputError("Width.rate = null: must be given, or Width.amount")
        if self.above is not None and self.at_least is not None:
            raise InputError(f"Width.above = {self.above}: must not stand beside at_least = {self.at_least}")

    @property
    def floor(self) -> tuple[Fraction, bool]:
        """What the settlement price must reach, and whether it must exceed it."""
        floor = self.above if self.above is not None else self.at_least
        return Fraction(floor or 0), self.above is not None

    def reached_by(self, settle: Fraction) -> bool:
        floor, exceed = self.floor
        return settle > floor if exceed else settle >= floor


@dataclass(frozen=True, slots=True, repr=False)
class PriceBand(_Record):
    """Trading is allowed within a band around a reference price, and stops at its limits.

    Parameters
    ----------
    reference : {"fixed", "settle", "mean", "range", "mark", "index"}
        What the band is around: the price given by `Market.set_prices(reference=)` (without one, the last
        price at the start of the run); the settlement price (`set_prices(settle=)`, without one the fixed
        price); the mean of the trades of the last `window_ns`; their lowest price for the upper limit and
        their highest for the lower limit (the price at the start counts as a trade at the start); the mark as
        if set now; the index.
    width : number, Width or sequence of Width
        How far it reaches: a rate, or rows that depend on the settlement price.
    of : {"reference", "settle"}
        The price that rates are shares of. A share of the settlement price is the same all day: a variant.
    rounding : {"nearest", "inside", "variant"}
        Limits are rounded to the nearest tick (halves up), to the tick inside the band, or the width is
        rounded down to a tick before it is added and taken off.
    side : {"both", "lower", "upper"}
        Which limits it has.
    window_ns : int
        Of "mean" and "range".
    renew_ns : int
        A mean is renewed at most this often, when time passes; 0: for every order.
    halt_ns : int or None
        How long matching stops once the limit stops an order; None: trading goes on at the limit.
    limit_ns : int
        How long the limit must hold before that. It holds until an order of that side is filled whole.
    recentre : bool
        After a halt the band is around the last price: the window begins anew, and so does a fixed reference.
    symbols : sequence of str, optional
        The instruments it is about; None: all.

    Raises
    ------
    InputError, InputTypeError, RangeError
        Naming the field.

    Examples
    --------
    >>> import cascade as cs
    >>> cs.PriceBand("mark", 0.05).band("0.1", 200).lower
    Decimal('190')
    """

    reference: str = "fixed"
    width: Any = None
    of: str = "reference"
    rounding: str = "inside"
    side: str = "both"
    window_ns: int = 0
    renew_ns: int = 0
    halt_ns: int | None = None
    limit_ns: int = 0
    recentre: bool = True
    symbols: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._choice("reference", REFERENCES)
        self._choice("of", ("reference", "settle"))
        self._choice("rounding", ROUNDINGS)
        self._choice("side", tuple(_SIDES))
        self._set(width=_widths(self.width))
        windowed = self.reference in ("mean", "range")
        self._set(
            window_ns=self._time("window_ns", 1 if windowed else 0), renew_ns=self._time("renew_ns", 0),
            halt_ns=self._time("halt_ns", 1, optional=True), limit_ns=self._time("limit_ns", 0),
        )  # fmt: skip
        if self.window_ns and not windowed:
            raise InputError(f"PriceBand.window_ns = {self.window_ns}: is for 'mean' and 'range' only")
        if self.renew_ns and self.reference != "mean":
            raise InputError(f"PriceBand.renew_ns = {self.renew_ns}: is for 'mean' only")
        if self.limit_ns and self.halt_ns is None:
            raise InputError(f"PriceBand.limit_ns = {self.limit_ns}: needs a halt_ns")
        if not isinstance(self.recentre, bool | np.bool_):
            raise InputTypeError(f"PriceBand.recentre = {show(self.recentre)}: must be True or False")
        self._set(recentre=bool(self.recentre))
        self._symbols()

    def row(self, settle: Fraction) -> Width | None:
        """The row of `width` for a settlement price."""
        reached = [row for row in self.width if row.reached_by(settle)]
        return max(reached, key=lambda row: row.floor, default=None)

    def terms(self, breaker: int, tick: Fraction, reference: int, settle: int) -> BandTerms:
        """The band of an instrument as integers; `reference` (at the start) and `settle` in 1/1024 tick."""
        row = self.row(settle * tick / MARK_ONE)
        rate = amount = -1
        if row is not None:
            rate = int(Fraction(row.rate) * RATE_ONE) if row.rate is not None else -1
            amount = min(round(Fraction(row.amount) / tick * MARK_ONE), FOREVER >> 1) if row.amount else -1
        if self.of == "settle" and rate >= 0:
            variant = Fraction(settle * rate, RATE_ONE)
            whole = int(variant) // MARK_ONE * MARK_ONE if self.rounding == "variant" else round(variant)
            rate, amount = -1, whole if amount < 0 else min(whole, amount)
        return BandTerms(
            breaker=breaker, kind=_KINDS[self.reference], rate=rate, amount=amount,
            rounding=ROUNDINGS.index(self.rounding), sides=0 if row is None else _SIDES[self.side],
            window=self.window_ns, renew=self.renew_ns, limit=self.limit_ns,
            halt=-1 if self.halt_ns is None else self.halt_ns, recentre=int(self.recentre),
            anchor=settle if self.reference == "settle" else reference,
        )  # fmt: skip

    def band(
        self, tick: Any, reference: Any = None, *, settle: Any = None, low: Any = None, high: Any = None
    ) -> Band:
        """The band around a reference price, as the engines compute it.

        Parameters
        ----------
        tick : number
            Tick size.
        reference : number
            Reference price; of a "range" give `low` and `high`, the lowest and highest price of its window.
        settle : number, optional
            Settlement price (previous close); default: the reference price.
        """
        step = _step(tick)
        given = [x for x in (reference, low, high, settle) if x is not None]
        if not given:
            raise InputError("band: must be given a reference, low and high, or settle")
        reference = given[0] if reference is None else reference
        points = {
            name: _units(reference if value is None else value, step, f"band.{name}")
            for name, value in (("reference", reference), ("low", low), ("high", high), ("settle", settle))
        }
        terms = self.terms(0, step, points["reference"], points["settle"])
        if self.reference == "settle":
            points["low"] = points["high"] = points["settle"]
        return band_of(self, terms, step, points["settle"], points["low"], points["high"])


@dataclass(frozen=True, slots=True, repr=False)
class VelocityLogic(_Record):
    """A move of `ticks` or more within a time stops matching for a while.

    An order does not trade at a price that lies `ticks` or more from the lowest or highest price of the last
    `window_ns`: it stops there and matching halts. After the halt the window begins anew at the last price.

    Parameters
    ----------
    ticks : int
    window_ns, halt_ns : int
        `halt_ns` None: for good.
    symbols : sequence of str, optional
        The instruments it is about; None: all.
    """

    ticks: int
    window_ns: int
    halt_ns: int | None
    symbols: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ticks, bool) or not isinstance(self.ticks, int | np.integer):
            raise InputTypeError(f"VelocityLogic.ticks = {show(self.ticks)}: must be an int")
        if not 1 <= self.ticks < PRICE_LIMIT:
            raise InputError(f"VelocityLogic.ticks = {show(self.ticks)}: must be >= 1 and < 2**53")
        self._set(ticks=int(self.ticks), window_ns=self._time("window_ns", 1))
        self._set(halt_ns=self._time("halt_ns", 1, optional=True))
        self._symbols()

    def terms(self, breaker: int, tick: Fraction, reference: int, settle: int) -> BandTerms:
        """The limits of an instrument as integers."""
        return BandTerms(
            breaker=breaker, kind=RANGE, rate=-1, amount=(self.ticks - 1) * MARK_ONE, rounding=VARIANT,
            sides=3, window=self.window_ns, renew=0, limit=0,
            halt=FOREVER if self.halt_ns is None else self.halt_ns, recentre=1, anchor=reference,
        )  # fmt: skip

    def band(self, tick: Any, reference: Any = None, *, low: Any = None, high: Any = None) -> Band:
        """The prices at which trading is allowed, around a window's lowest and highest price."""
        step = _step(tick)
        low, high = (reference if x is None else x for x in (low, high))
        bottom, top = _units(low, step, "band.low"), _units(high, step, "band.high")
        return band_of(self, self.terms(0, step, bottom, bottom), step, bottom, bottom, top)


@dataclass(frozen=True, slots=True, repr=False)
class MarketHalt(_Record):
    """All instruments stop when one price has fallen far enough below its settlement price.

    Parameters
    ----------
    symbol : str or None
        The instrument whose price decides; None: the market's first.
    price : {"index", "last"}
        Which price of it. What it is compared with is its settlement price (`Market.set_prices(settle=)`),
        without one this price at the start of the run.
    levels : sequence of (rate, halt_ns)
        Declines in (0, 1), rising, and how long each stops trading; None: for the rest of the day. Each acts
        once a run.
    """

    symbol: str | None = None
    price: str = "index"
    levels: tuple[tuple[Any, int | None], ...] = ((0.07, 15 * MINUTE), (0.13, 15 * MINUTE), (0.20, None))

    def __post_init__(self) -> None:
        if self.symbol is not None and not isinstance(self.symbol, str):
            raise InputTypeError(f"MarketHalt.symbol = {show(self.symbol)}: must be a symbol or None")
        self._choice("price", _PRICES)
        if isinstance(self.levels, str) or not isinstance(self.levels, Sequence) or not self.levels:
            raise InputTypeError(f"MarketHalt.levels = {show(self.levels)}: must be rows (rate, halt_ns)")
        rows: list[tuple[Decimal, int | None]] = []
        for k, row in enumerate(self.levels):
            where = f"MarketHalt.levels[{k}]"
            if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != 2:
                raise InputTypeError(f"{where} = {show(row)}: must be (rate, halt_ns)")
            rate = _share(row[0], f"{where}.rate", 1)
            if rows and rate <= rows[-1][0]:
                raise InputError(f"{where}.rate = {show(row[0])}: must be > {rows[-1][0]}, the one before")
            halt = None if row[1] is None else _nanoseconds(row[1], f"{where}.halt_ns", 1)
            rows.append((rate, halt))
        self._set(levels=tuple(rows))

    def terms(self, breaker: int, instrument: int, reference: int) -> list[LevelTerms]:
        """The levels as integers; `reference` in 1/1024 tick."""
        return [
            LevelTerms(
                breaker, instrument, _PRICES.index(self.price),
                reference * (RATE_ONE - int(Fraction(rate) * RATE_ONE)) // RATE_ONE,
                FOREVER if halt is None else halt,
            )
            for rate, halt in self.levels
        ]  # fmt: skip

    def triggers(self, reference: Any, tick: Any = None) -> list[Decimal]:
        """The prices at which the levels act, rounded to the nearest `tick` (halves up) if one is given."""
        close = Fraction(_positive(reference, "triggers.reference"))
        prices = [close * (1 - Fraction(rate)) for rate, _ in self.levels]
        if tick is not None:
            step = _step(tick)
            prices = [(2 * price + step) // (2 * step) * step for price in prices]
        return [_decimal(price) for price in prices]

    def halt_at(self, price: Any, reference: Any) -> Stop:
        """The highest level that a price reaches, and what it means."""
        now = Fraction(_positive(price, "halt_at.price"))
        found = Stop(0, Decimal(0), None, 0)
        for k, (limit, (rate, halt)) in enumerate(zip(self.triggers(reference), self.levels, strict=True)):
            if now <= Fraction(limit):
                found = Stop(k + 1, rate, limit, halt)
        return found


Breaker = PriceBand | VelocityLogic | MarketHalt


# -- the known schemes ---------------------------------------------------------------------------------------


def luld(
    tier: int, *, doubled: bool = False, doubling: str = "all", symbols: Sequence[str] | None = None
) -> PriceBand:
    """Limit up - limit down (US equities).

    Bands around the mean of the trades of the last 5 minutes, renewed every 30 s, by the previous close:
    5% (tier 1) or 10% (tier 2) above 3.00; 20% from 0.75 to 3.00; below it the lesser of 0.15 and 75%.
    An order stopped at the band for 15 s pauses trading for 5 minutes.

    Parameters
    ----------
    tier : {1, 2}
    doubled : bool
        Whether it is 9:30 to 9:45 or the last 25 minutes.
    doubling : {"all", "limited"}
        What doubles: all bands, or (as the plan was amended for the close) those of tier 1 and of prices up
        to 3.00.
    """
    if isinstance(tier, bool) or tier not in (1, 2):
        raise InputError(f"luld: tier = {show(tier)}: must be 1 or 2")
    if doubling not in ("all", "limited"):
        raise InputError(f"luld: doubling = {show(doubling)}: must be all or limited")
    times = 2 if doubled else 1
    above = 1 if tier == 2 and doubling == "limited" else times
    rows = (
        Width(Decimal("0.75") * times, Decimal("0.15") * times),
        Width(Decimal("0.20") * times, at_least=Decimal("0.75")),
        Width(Decimal("0.05") * tier * above, above=3),
    )
    return PriceBand(
        "mean", rows, rounding="nearest", window_ns=5 * MINUTE, renew_ns=30 * SECOND, limit_ns=15 * SECOND,
        halt_ns=5 * MINUTE, symbols=None if symbols is None else tuple(symbols),
    )  # fmt: skip


def dynamic_circuit_breaker(
    rate: Any, *, last_minutes: bool = False, symbols: Sequence[str] | None = None
) -> PriceBand:
    """CME's dynamic circuit breaker.

    The variant is a share of the settlement price, rounded down to a tick; limits are the lowest price of
    the last 60 minutes plus it, and the highest minus it. At a limit matching stops for 2 minutes (5 s in the
    last 5 minutes of the day), then the window begins anew.
    """
    return PriceBand(
        "range", rate, of="settle", rounding="variant", window_ns=60 * MINUTE,
        halt_ns=5 * SECOND if last_minutes else 2 * MINUTE,
        symbols=None if symbols is None else tuple(symbols),
    )  # fmt: skip


def cme_price_limits(rate: Any, *, side: str = "both", symbols: Sequence[str] | None = None) -> PriceBand:
    """CME's price limits: a share of the settlement price, rounded down to a tick; trading goes on at the
    limit."""
    return PriceBand(
        "settle", rate, of="settle", rounding="variant", side=side, recentre=False,
        symbols=None if symbols is None else tuple(symbols),
    )  # fmt: skip


def cme_velocity_logic(
    ticks: int, window_ns: int = SECOND, halt_ns: int = 5 * SECOND, *, symbols: Sequence[str] | None = None
) -> VelocityLogic:
    """CME's velocity logic; the numbers of each product stand in CME's tables."""
    return VelocityLogic(ticks, window_ns, halt_ns, None if symbols is None else tuple(symbols))


def market_wide(symbol: str | None = None, *, last_minutes: bool = False) -> MarketHalt:
    """US market-wide halts: 15 minutes at declines of 7% and 13% of the index, the rest of the day at 20%.

    From 15:25 on (`last_minutes`) only the last of them acts.
    """
    return MarketHalt(symbol, levels=((0.2, None),)) if last_minutes else MarketHalt(symbol)


def order_price_limit(
    rate: Any, *, reference: str = "mark", symbols: Sequence[str] | None = None
) -> PriceBand:
    """A crypto venue's band: no order trades further than a share of the mark (or index) from it."""
    return PriceBand(reference, rate, symbols=None if symbols is None else tuple(symbols))


# -- rules to integers ---------------------------------------------------------------------------------------


def checked(value: Any) -> tuple[Breaker, ...]:
    """`rules.breakers` as a tuple, refused if it holds anything else."""
    kinds = (PriceBand, VelocityLogic, MarketHalt)
    if isinstance(value, kinds):
        value = (value,)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputTypeError(f"rules.breakers = {show(value)}: must be a sequence of PriceBand, ...")
    for k, breaker in enumerate(value):
        if not isinstance(breaker, kinds):
            raise InputTypeError(
                f"rules.breakers[{k}] = {show(breaker)}: must be a PriceBand, VelocityLogic or MarketHalt"
            )
    if len(value) > MOST_BREAKERS:
        raise InputError(f"rules.breakers: {len(value)} given, must be at most {MOST_BREAKERS}")
    return tuple(value)


def check_symbols(breakers: tuple[Breaker, ...], symbols: Sequence[str]) -> None:
    """Refuse breakers about instruments that a market does not have."""
    for k, breaker in enumerate(breakers):
        own = breaker.symbol if isinstance(breaker, MarketHalt) else breaker.symbols
        for symbol in (own,) if isinstance(own, str) else own or ():
            if symbol not in symbols:
                raise InputError(f"rules.breakers[{k}]: {show(symbol)}: unknown instrument")


def band_terms(state: Any, breakers: tuple[Breaker, ...]) -> list[list[BandTerms]]:
    """The bands of each instrument of a loaded market."""
    found: list[list[BandTerms]] = []
    for i, instrument in enumerate(state.instruments):
        reference, settle = state.band_prices(i)
        found.append(
            [
                breaker.terms(k, instrument.tick_size, reference, settle)
                for k, breaker in enumerate(breakers)
                if not isinstance(breaker, MarketHalt) and breaker.holds_for(instrument.symbol)
            ]
        )
    return found


def level_terms(state: Any, breakers: tuple[Breaker, ...]) -> list[LevelTerms]:
    """The levels of all market-wide halts."""
    symbols = [instrument.symbol for instrument in state.instruments]
    found = []
    for k, breaker in enumerate(breakers):
        if isinstance(breaker, MarketHalt):
            i = 0 if breaker.symbol is None else symbols.index(breaker.symbol)
            now = int(state.index_1024[i]) if breaker.price == "index" else int(state.last[i]) * MARK_ONE
            found += breaker.terms(k, i, int(state.settle_1024[i]) or now)
    return found


def band_of(rule: Any, terms: BandTerms, tick: Fraction, settle: int, low: int, high: int) -> Band:
    """The limits of `terms` for people: above `low` and below `high` (1/1024 tick), as prices."""
    rate, variant = None, Fraction(max(terms.amount, 0), MARK_ONE) * tick
    row = rule.row(settle * tick / MARK_ONE) if isinstance(rule, PriceBand) else None
    if row is not None and row.rate is not None:
        share = Fraction(settle if rule.of == "settle" else high, MARK_ONE) * tick * Fraction(row.rate)
        if row.amount is None or share < row.amount:
            rate, variant = row.rate, share
    if terms.rounding == VARIANT:
        variant = Fraction(reach_of(terms, high)[1] // MARK_ONE) * tick
    return Band(
        rate,
        _decimal(variant),
        _decimal(lower_limit(terms, high) * tick),
        _decimal(upper_limit(terms, low) * tick),
    )


# -- reading values ------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    """A field as a caller would write it."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, tuple):
        inner = ", ".join(_text(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _decimal(x: Fraction) -> Decimal:
    return Decimal(decimal_text(Fraction(x)))


def _share(value: Any, what: str, highest: int) -> Decimal:
    """A rate in (0, highest], to 1e-12."""
    number = Fraction(round(exact(value, what) * RATE_ONE), RATE_ONE)
    if number <= 0:
        raise InputError(f"{what} = {show(value)}: must be > 0 (at least 1e-12)")
    if number > highest:
        raise RangeError(f"{what} = {show(value)}: must be <= {highest}")
    return _decimal(number)


def _positive(value: Any, what: str) -> Decimal:
    number = exact(value, what)
    if number <= 0:
        raise InputError(f"{what} = {show(value)}: must be > 0")
    return _decimal(number)


def _nanoseconds(value: Any, what: str, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"{what} = {show(value)}: must be an int (nanoseconds)")
    if not lowest <= value <= LONGEST_TIME:
        raise InputError(f"{what} = {show(value)}: must be in [{lowest}, 2**61]")
    return int(value)


def _widths(value: Any) -> tuple[Width, ...]:
    if value is None:
        raise InputError("PriceBand.width = null: must be a rate, a Width or a sequence of Width")
    if isinstance(value, Width):
        return (value,)
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (Width(_share(value, "PriceBand.width", WIDEST)),)
    rows = tuple(value)
    for k, row in enumerate(rows):
        if not isinstance(row, Width):
            raise InputTypeError(f"PriceBand.width[{k}] = {show(row)}: must be a Width")
        if any(row.floor == other.floor for other in rows[:k]):
            raise InputError(f"PriceBand.width[{k}]: {row.floor[0]} must not stand twice")
    if not rows:
        raise InputError("PriceBand.width = (): must have a row")
    return rows


def _step(tick: Any) -> Fraction:
    return Fraction(_positive(tick, "band.tick"))


def _units(price: Any, tick: Fraction, what: str) -> int:
    """A price in 1/1024 tick."""
    return round(Fraction(_positive(price, what)) / tick * MARK_ONE)
