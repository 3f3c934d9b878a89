"""Binance USD-M and COIN-M futures: rules as the support pages describe them, leverage brackets of USD-M."""

from __future__ import annotations

from functools import partial

from ..rules import Venue, VenueRules
from ._tiers import tiers_of

DATED = {"2024-10-24": "binance_usdm_20241024.json", "2026-09": "binance_usdm_202609.json"}

RULES = VenueRules(
    mark="book_median",
    trigger="lt",
    queue="ratio",
    size="whole",
    order_price="bankruptcy",
    cancel_orders=True,
    surplus="account",
    fee_to="fund",
    residual=("fund_walk", "adl"),
    shortfall=("fund",),
    adl_rank="binance",
    adl_price="bankruptcy",
)

SOURCES = (
    "binance.com/en/support/faq/b3c689c1f50a44cabb3a84e663b81d93 (liquidation price)",
    "binance.com/en/support/faq/360033525271 (liquidation protocol, insurance fund)",
    "binance.com/en/support/faq/360033525471 (auto-deleveraging)",
    "binance.com/en/support/faq/detail/360033525071 (mark price)",
)

NOTES = (
    "Mark: Binance takes the median of the index with funding, the index plus the 30 s mean basis (60 s "
    "before 2025-09-18), and the last price. 'book_median' (bid, ask, last) is the nearest that follows the "
    "contract's own trades - while nobody quotes anew it nearly always equals the last price - and "
    "overstates the feedback at one instant: there the venue's mark stays near the "
    "index, and the basis and the index follow within seconds to minutes. rules.replace(mark='index') "
    "is the other extreme, where trades move no mark at all; the truth lies between. Size: Binance "
    "closes what brings the account back to compliance (the rule is not published); here whole "
    "positions, one after another, until it is healthy. Orders are immediate-or-cancel at the "
    "bankruptcy price. What they leave Binance's fund takes over as a position up to a limit, and the "
    "rest is deleveraged; here the fund pays for closing it in the book below the bankruptcy price "
    "while it can ('fund_walk'). The liquidation fee is the instrument's. The order of accounts is "
    "not published; here lowest equity / maintenance first. Trigger: 'below' in the text; 'when the mark "
    "hits the liquidation price' on the screen is the variant at_equality."
)

VARIANTS = {
    "at_equality": RULES.replace(trigger="le"),
    "mark_last": RULES.replace(mark="last"),
    "mark_index": RULES.replace(mark="index"),
}

binance_usdm = Venue(
    name="Binance USD-M",
    rules=RULES,
    date="2025-09-18",
    sources=(
        *SOURCES,
        "freqtrade, binance_leverage_tiers.json at 3d9514d26 (leverage brackets of 2024-10-24)",
        "freqtrade 2026.9, binance_leverage_tiers.json (leverage brackets of 2026-09)",
    ),
    notes=NOTES,
    variants=VARIANTS,
    tier_dates=tuple(DATED),
    _tiers=partial(tiers_of, DATED),
)
"""Binance USD-M futures; `binance_usdm.notes` says what is approximate."""

binance_coinm = Venue(
    name="Binance COIN-M",
    rules=RULES,
    date="2025-09-18",
    sources=(*SOURCES, "binance.com/en/support/faq/ceccfcfb4e3a45e3b48b0b1bb1a8ae46 (COIN-M brackets)"),
    notes=(
        "As USD-M, on inverse contracts: brackets are by notional in coin, amounts and balances in coin. The "
        "published liquidation price is an image; it was derived again from balance = maintenance at the "
        "mark. " + NOTES
    ),
    variants=VARIANTS,
)
"""Binance COIN-M futures; brackets are not embedded."""
