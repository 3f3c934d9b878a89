"""Hyperliquid: rules as its documentation describes them, margin tiers of January 2026."""

from __future__ import annotations

from functools import partial

from ..rules import Venue, VenueRules
from ._tiers import tiers_of

DATED = {"2026-01": "hyperliquid_202601.json"}

RULES = VenueRules(
    mark="index",
    trigger="lt",
    queue="ratio",
    size="whole",
    order_price="market",
    cancel_orders=True,
    surplus="account",
    fee_to="venue",
    residual=("vault", "adl"),
    shortfall=("vault",),
    adl_rank="hyperliquid",
    adl_price="previous_mark",
)

hyperliquid = Venue(
    name="Hyperliquid",
    rules=RULES,
    date="2026-01-01",
    sources=(
        "hyperliquid.gitbook.io/hyperliquid-docs/trading/liquidations",
        "hyperliquid.gitbook.io/hyperliquid-docs/trading/margin-tiers",
        "hyperliquid.gitbook.io/hyperliquid-docs/trading/auto-deleveraging",
        "hyperliquid.gitbook.io/hyperliquid-docs/trading/robust-price-indices",
        "Hyperliquid info metaAndAssetCtxs, captured in January 2026 (margin tiers; the day is not known)",
    ),
    notes=(
        "Mark: Hyperliquid takes the median of the oracle plus a 150 s mean of the basis, the book's own "
        "median, and other venues' prices; one of three follows the book, so 'index' is the nearest of the "
        "simple marks and mark='book_median' the other extreme. Deleveraging: the printed index is not "
        "side-aware (for a short, profit makes it smaller); the rules follow the print. A study of "
        "2025-10-10 finds 99.4% of those deleveraged in profit and no relation to leverage: do not take the "
        "queue for what happens. Execution is at the previous mark in the newest text and at the previous "
        "oracle price in older copies (variant oracle_price). Builders' markets (HIP-3) have no backstop "
        "vault (variant no_backstop). The order of accounts is not published; here lowest equity / "
        "maintenance first."
    ),
    variants={
        "oracle_price": RULES.replace(adl_price="index"),
        "mark_book": RULES.replace(mark="book_median"),
        "no_backstop": RULES.replace(residual=("adl",), shortfall=()),
    },
    tier_dates=tuple(DATED),
    _tiers=partial(tiers_of, DATED),
)
"""Hyperliquid perpetuals; `hyperliquid.notes` says what is approximate."""
