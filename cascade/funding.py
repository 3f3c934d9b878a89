"""Funding: the rate that a premium comes to. The payment itself is part of a shock, `cs.Shock(funding=)`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ._badrows import show
from .errors import InputError, InputTypeError
from .instruments import Instrument, Tier, exact

PPM = 10**6
PRICES = ("mark", "index")
LONGEST_INTERVAL = 24 * 366
"""Hours between two fundings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """How a venue makes a funding rate from a premium, and at which price it is paid. Numbers are exact: 0.1
    is one tenth.

    Parameters
    ----------
    interest, clamp : number
        rate = (P + clamp(interest - P, -clamp, clamp)) / divisor, of the premium P (Binance, BitMEX,
        Hyperliquid).
    damper : number, optional
        Instead of interest and clamp: rate = (max(damper, P) + min(-damper, P)) / divisor (Deribit).
    cap : number, optional
        The rate lies in [-cap, cap].
    margin_cap : number, optional
        The rate's magnitude is at most margin_cap * (initial - maintenance margin rate) of the instrument's
        first tier, in whole millionths rounded down at every step (dYdX).
    interval : number
        Hours between two payments.
    divisor : number, optional
        Default 8 / interval: premium and interest are meant for 8 hours.
    price : {"mark", "index"}
        A payment is position * price * rate at the mark in force, or at the index.

    Raises
    ------
    InputError, InputTypeError
        Naming the field.

    Examples
    --------
    >>> import cascade as cs
    >>> hourly = cs.Funding(interest="0.0001", clamp="0.0005", cap="0.04", interval=1, price="index")
    >>> float(hourly.rate("0.01"))
    0.0011875
    """

    interest: Any = "0.0001"
    clamp: Any = "0.0005"
    damper: Any = None
    cap: Any = None
    margin_cap: Any = None
    interval: Any = 8
    divisor: Any = None
    price: str = "mark"

    def __post_init__(self) -> None:
        if abs(exact(self.interest, "funding.interest")) > 1:
            raise InputError(f"funding.interest = {show(self.interest)}: must be in [-1, 1]")
        for name in ("clamp", "damper", "cap", "margin_cap"):
            value = getattr(self, name)
            if value is None and name != "clamp":
                continue
            if exact(value, f"funding.{name}") < 0:
                raise InputError(f"funding.{name} = {show(value)}: must be >= 0")
        for name in ("interval", "divisor"):
            value = getattr(self, name)
            if value is None and name == "divisor":
                continue
            if exact(value, f"funding.{name}") <= 0:
                raise InputError(f"funding.{name} = {show(value)}: must be > 0")
        if exact(self.interval, "funding.interval") > LONGEST_INTERVAL:
            raise InputError(
                f"funding.interval = {show(self.interval)}: must be at most {LONGEST_INTERVAL} hours"
            )
        if not isinstance(self.price, str):
            raise InputTypeError(f"funding.price = {show(self.price)}: must be one of {', '.join(PRICES)}")
        if self.price not in PRICES:
            raise InputError(f"funding.price = {self.price!r}: must be one of {', '.join(PRICES)}")

    def _number(self, name: str) -> Fraction:
        return exact(getattr(self, name), f"funding.{name}")

    def limit(self, instrument: Instrument | None = None) -> Fraction | None:
        """The largest magnitude of a rate; None where nothing limits it.

        Raises InputError where `margin_cap` needs an instrument with tiers and there is none.
        """
        limits = [] if self.cap is None else [self._number("cap")]
        if self.margin_cap is not None:
            if instrument is None or not instrument.tiers:
                raise InputError(
                    "funding.margin_cap: needs the instrument whose margin rates limit the rate"
                )
            limits.append(self._margin_limit(instrument.tiers[0]))
        return min(limits, default=None)

    def _margin_limit(self, tier: Tier) -> Fraction:
        initial, maintenance = int(tier.initial_rate * PPM), int(tier.maintenance_rate * PPM)
        return Fraction(int(self._number("margin_cap") * PPM) * (initial - maintenance) // PPM, PPM)

    def rate(self, premium: Any, instrument: Instrument | None = None) -> Fraction:
        """The funding rate of one payment that a premium comes to, exactly.

        Parameters
        ----------
        premium : number
        instrument : Instrument, optional
            Needed with `margin_cap`.
        """
        p = exact(premium, "premium")
        if self.damper is not None:
            d = self._number("damper")
            whole = max(d, p) + min(-d, p)
        else:
            c = self._number("clamp")
            whole = p + min(max(self._number("interest") - p, -c), c)
        divisor = 8 / self._number("interval") if self.divisor is None else self._number("divisor")
        rate, limit = whole / divisor, self.limit(instrument)
        return rate if limit is None else min(max(rate, -limit), limit)
