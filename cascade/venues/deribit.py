"""Deribit, standard margin: rules as its support pages describe them."""

from __future__ import annotations

from ..funding import Funding
from ..rules import Venue, VenueRules

RULES = VenueRules(
    mark="index",
    trigger="lt",
    queue="ratio",
    size="fraction",
    size_fraction="0.125",
    cooldown_ns=10**9,
    order_price="market",
    cancel_orders=True,
    surplus="account",
    fee_to="fund",
    residual=(),
    shortfall=("fund", "socialise"),
    socialise_by="profit",
    adl_rank="none",
    adl_price="bankruptcy",
    funding=Funding(damper="0.00025", cap="0.005", interval=8),
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
        "Date: when the pages were collected. Margins rise with size without brackets: initial 2% + 0.005% "
        "a BTC, maintenance 1% + 0.005% a BTC (SOL 4% and 2% + 0.0005% a SOL): Instrument(tiers=[[0, None, "
        "0.02, 0.01]], initial_slope=0.00005, maintenance_slope=0.00005). Liquidation is by parts, a round "
        "a second, until maintenance is met; no size is published, 12.5% a round is one user's report. The "
        "liquidation fee (BTC 0.75%, ETH 0.9%: Instrument(liquidation_fee=)) goes to the fund. The fund "
        "pays negative equity, and where it is empty the loss is shared by the day's winners, here in "
        "proportion to open profit. No deleveraging in the sources read. Mark: 'index' stands for the "
        "venue's mark."
    ),
    variants={
        "whole_positions": RULES.replace(size="whole", cooldown_ns=0),
        "mark_last": RULES.replace(mark="last"),
    },
)
"""Deribit under standard margin; `deribit.notes` says what is approximate."""
