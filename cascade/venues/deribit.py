"""Deribit, standard margin: rules as its support pages describe them."""

from __future__ import annotations

from ..rules import Venue, VenueRules

RULES = VenueRules(
    mark="index",
    trigger="lt",
    queue="ratio",
    size="whole",
    order_price="market",
    cancel_orders=True,
    surplus="account",
    fee_to="fund",
    residual=(),
    shortfall=("fund", "socialise"),
    adl_rank="none",
    adl_price="bankruptcy",
)

deribit = Venue(
    name="Deribit (standard margin)",
    rules=RULES,
    date="2026-11-21",
    sources=(
        "support.deribit.com 25944738177565 (linear perpetual: margins)",
        "support.deribit.com 25944826427293 (liquidation fees of 2022-01-11)",
        "support.deribit.com 31424939178397 (funding)",
        "deribit.com/docs/auto-liquidation",
    ),
    notes=(
        "Date: when the pages were collected. Margins rise with size without brackets: initial 2% + 0.005% a "
        "BTC, maintenance 1% + 0.005% a BTC (SOL 4% and 2% + 0.0005% a SOL). Liquidation is by parts, a "
        "round a second, until maintenance is met (a user reports 12.5% a round; no size is published); "
        "here whole positions. The liquidation fee (BTC 0.75%, ETH 0.9%) goes to the fund. The fund pays "
        "negative equity, and where it is empty the loss is shared by the day's winners, here by everybody "
        "with positive equity. No deleveraging in the sources read. Mark: 'index' stands for the venue's "
        "mark."
    ),
    variants={"mark_last": RULES.replace(mark="last")},
)
"""Deribit under standard margin; `deribit.notes` says what is approximate."""
