"""Binance USD-M and COIN-M futures: rules as the support pages describe them, leverage brackets of USD-M."""

from __future__ import annotations

from functools import partial

from .. import marks as m
from ..funding import Funding
from ..rules import Venue, VenueRules
from ._tiers import tiers_of

DATED = {"2024-10-24": "binance_usdm_20241024.json", "2026-09": "binance_usdm_202609.json"}

SIMPLE = VenueRules(
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
"""Marks and sizes that need nothing but a book: what studies of one instant compare with."""

RULES = SIMPLE.replace(
    mark=m.median(m.funded_index(), m.index_plus_basis(30), m.last()),
    size="restore",
    order_tif="ioc",
    residual=("fund_walk", "vault", "adl"),
    vault_cap=1,
    funding=Funding(interest="0.0001", clamp="0.0005", interval=8),
)

SOURCES = (
    "binance.com/en/support/faq/b3c689c1f50a44cabb3a84e663b81d93 (liquidation price)",
    "binance.com/en/support/faq/360033525271 (liquidation protocol, insurance fund)",
    "binance.com/en/support/faq/360033525471 (auto-deleveraging)",
    "binance.com/en/support/faq/detail/360033525071 (mark price)",
)

NOTES = (
    "Mark: the median of the index with funding, the index plus the 30 s mean basis (60 s before "
    "2025-09-18: variant basis_60s), and the last price; market.set_prices feeds funding rate and basis. At "
    "one instant neither index nor averages move, so that trades move the mark only as far as the other two "
    "let them. Variant simple marks by the book's median (bid, ask, last) instead, which follows the "
    "contract's own trades and overstates the feedback; mark_index is the other extreme. Size: Binance "
    "closes what brings the account back to compliance; the rule is not published, here the fewest lots "
    "that do at the mark, then the rest at the bankruptcy price. What orders leave Binance's fund takes "
    "over as a position up to a limit, and the rest is deleveraged; here the fund pays for closing it in "
    "the book below the bankruptcy price while it can ('fund_walk'), then a vault, if the market is given "
    "one, takes positions up to its own size. The liquidation fee is the instrument's. The order of "
    "accounts is not published; here lowest equity / maintenance first. Trigger: 'below' in the text; 'when "
    "the mark hits the liquidation price' on the screen is the variant at_equality."
)

VARIANTS = {
    "at_equality": RULES.replace(trigger="le"),
    "basis_60s": RULES.replace(mark=m.median(m.funded_index(), m.index_plus_basis(60), m.last())),
    "mark_last": RULES.replace(mark="last"),
    "mark_index": RULES.replace(mark="index"),
    "whole_positions": RULES.replace(size="whole"),
    "simple": SIMPLE,
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
