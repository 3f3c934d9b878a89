"""OKX: rules as its help pages describe them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

from ..errors import InputError
from ..rules import Venue, VenueRules
from ._exactly import number


class PortfolioMargin(NamedTuple):
    """The minimum charge after scaling, and the maintenance margin."""

    mr7: Fraction
    maintenance: Fraction


def portfolio_margin(*, mr: Any, mr7: Any, brackets: Iterable[tuple[Any, Any, Any]]) -> PortfolioMargin:
    """Maintenance margin of a portfolio account: its risk `mr` or the minimum charge MR7, whichever is more,
    MR7 scaled bracket by bracket.

    A formula, not a rule of a run.

    Parameters
    ----------
    mr, mr7 : number
        The stress tests' result, and the minimum charge before scaling.
    brackets : rows (from, to, factor)
        Each factor scales the part of MR7 inside its bracket; from 0, without gaps. A last `to` of None is
        infinity; what is beyond the last bracket takes its factor.
    """
    charge, floor, scaled, factor = number(mr7, "mr7", 0), Fraction(0), Fraction(0), Fraction(1)
    for k, (low, high, times) in enumerate(brackets):
        if number(low, f"brackets[{k}].from") != floor:
            raise InputError(f"brackets[{k}].from = {low!r}: must be where the bracket before ends, {floor}")
        factor = number(times, f"brackets[{k}].factor", 0)
        top = charge if high is None else number(high, f"brackets[{k}].to")
        if high is not None and top <= floor:
            raise InputError(f"brackets[{k}].to = {high!r}: must exceed {low!r}")
        scaled += max(Fraction(0), min(charge, top) - floor) * factor
        floor = max(floor, top)
    scaled += max(Fraction(0), charge - floor) * factor
    return PortfolioMargin(scaled, max(number(mr, "mr", 0), scaled))


RULES = VenueRules(
    mark="index",
    trigger="le",
    queue="ratio",
    maintenance_fee="taker",
    size="step_down",
    size_steps=2,
    first_tier_whole=True,
    cooldown_ns=60 * 10**9,
    order_price="bankruptcy",
    cancel_orders=True,
    offset_hedges=True,
    surplus="fund",
    fee_to="fund",
    residual=("fund_walk", "adl"),
    shortfall=("fund",),
    fund_stop="0.3",
    fund_stop_amount=50_000,
    adl_rank="okx",
    adl_price="mark",
)

okx = Venue(
    name="OKX",
    rules=RULES,
    date="2026-11-21",
    sources=(
        "okx.com/help/iv-introduction-to-auto-deleveraging-adl",
        "okx.com/help/v-tiered-maintenance-margin-ratio-rules",
        "okx.com/help/introduction-to-clearing-mechanism",
        "okx support 4417291853837 (scaling of MR7 under portfolio margin)",
    ),
    notes=(
        "Date: when the pages were collected; they carry none. Mark: 'index' stands for the venue's mark. "
        "Liquidation at a margin ratio of 100% or less, the fee of closing in the ratio's denominator. From "
        "tier 3 on an order reduces two tiers, and the account rests a minute; below, and where the first "
        "tier's rate would not save the account either, whole positions at the bankruptcy price (the "
        "old rule went to tier 1 at once). The fund stops paying when it has "
        "fallen by the larger of 30% and 50,000 of the settlement currency from its start - on the venue "
        "from its 8 h average. Rank and execution price of deleveraging are from secondary sources: at the "
        "mark in the newer text, at the bankruptcy price in the older one (variant adl_at_bankruptcy). The "
        "clawback of losses is history (variant clawback)."
    ),
    variants={
        "adl_at_bankruptcy": RULES.replace(adl_price="bankruptcy"),
        "one_tier_a_step": RULES.replace(size_steps=1),
        "clawback": RULES.replace(
            residual=("fund_walk",), shortfall=("fund", "socialise"), fund_stop=None, socialise_by="profit"
        ),
    },
    formulas=SimpleNamespace(portfolio_margin=portfolio_margin),
)
"""OKX perpetuals and futures; `okx.notes` says what is approximate."""
