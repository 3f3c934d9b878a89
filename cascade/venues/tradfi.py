"""Margins outside crypto: SPAN's scan risk of futures, and the margin call of Regulation T accounts.

Formulas, not rules of a run. Sources: CME/ASX descriptions of SPAN; FINRA rule 4210.

>>> import cascade as cs
>>> [float(x) for x in cs.venues.tradfi.call_of_long(debit=5_000, maintenance="0.25", shares=100)]
[6666.666666666667, 66.66666666666667]
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from ._exactly import above, number

EXTREME, COVER = 3, Fraction(33, 100)
"""The two extreme scenarios move the price by three ranges and count a third of the loss."""


class Call(NamedTuple):
    """Where an account is called: the market value of its shares, and that of one."""

    market_value: Fraction
    per_share: Fraction | None


def span_scenarios(scan_range: Any, contracts: Any) -> list[Fraction]:
    """Losses of a net futures position under the 16 scenarios: price moves of 0, 1/3, 2/3 and 3/3 of the
    range either way, each with volatility up and down (which moves no future), then the two extreme ones.

    Parameters
    ----------
    scan_range : number, in money a contract
    contracts : number, signed
    """
    span, net = number(scan_range, "scan_range", 0), number(contracts, "contracts")
    moves = [Fraction(k, 3) for k in (0, 1, -1, 2, -2, 3, -3) for _ in ("up", "down")]
    return [-net * span * move for move in (*moves, EXTREME * COVER, -EXTREME * COVER)]


def span_scan_risk(scan_range: Any, contracts: Any) -> Fraction:
    """The worst of the 16 scenarios; a lone future's is its whole range."""
    return max(Fraction(0), *span_scenarios(scan_range, contracts))


def span_requirement(
    scan_range: Any,
    contracts: Iterable[Any],
    *,
    spread_charge: Any = 0,
    delivery: Any = 0,
    intercommodity_credit: Any = 0,
    short_option_minimum: Any = 0,
) -> Fraction:
    """What a portfolio of futures on one commodity needs.

    Parameters
    ----------
    scan_range : number
    contracts : iterable of numbers
        Signed contracts a delivery month: they offset each other in the scan.
    spread_charge : number
        The charge for each pair of contracts that offset each other between months.
    delivery, intercommodity_credit : number
    short_option_minimum : number
        The floor of the whole.
    """
    months = [number(n, "contracts") for n in contracts]
    long, short = sum(n for n in months if n > 0), -sum(n for n in months if n < 0)
    needed = span_scan_risk(scan_range, long - short) + min(long, short) * number(
        spread_charge, "spread_charge", 0
    )
    needed += number(delivery, "delivery", 0) - number(intercommodity_credit, "intercommodity_credit", 0)
    return max(needed, number(short_option_minimum, "short_option_minimum", 0))


def call_of_long(*, debit: Any, maintenance: Any = "0.25", shares: Any = None) -> Call:
    """Where a long account with borrowed money is called: equity / value below maintenance, so value = debit
    / (1 - maintenance)."""
    owed, rate = number(debit, "debit", 0), number(maintenance, "maintenance", 0)
    value = owed / above(1 - rate, "1 - maintenance")
    return Call(value, None if shares is None else value / above(shares, "shares"))


def call_of_short(*, credit: Any, maintenance: Any = "0.30", shares: Any = None) -> Call:
    """Where a short account is called: value = credit / (1 + maintenance), credit being proceeds and
    deposit."""
    held, rate = number(credit, "credit", 0), number(maintenance, "maintenance", 0)
    value = held / (1 + rate)
    return Call(value, None if shares is None else value / above(shares, "shares"))
