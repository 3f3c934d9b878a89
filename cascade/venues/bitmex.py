"""BitMEX: rules as its public pages describe them."""

from __future__ import annotations

from ..rules import Venue, VenueRules

RULES = VenueRules(
    mark="index",
    trigger="le",
    queue="ratio",
    size="whole",
    order_price="bankruptcy",
    cancel_orders=True,
    surplus="fund",
    fee_to="fund",
    residual=("fund_walk", "adl"),
    shortfall=("fund",),
    adl_rank="bitmex",
    adl_price="bankruptcy",
)

bitmex = Venue(
    name="BitMEX",
    rules=RULES,
    date="2021-07-22",
    sources=(
        "bitmex.com/app/liquidation, /liquidationExamples (steps, bankruptcy and liquidation price)",
        "bitmex.com/app/autoDeleveraging, /autoDeleveragingExamples (rank, execution at the bankruptcy "
        "price)",
        "bitmex.com/app/fairPriceMarking (mark)",
        "support.bitmex.com 18589621443357 (taker fee inside maintenance margin)",
        "api/v1/instrument/active of 2021-07-22 (risk limits: cs.io.read_tiers)",
    ),
    notes=(
        "Mark: the fair price is the index times 1 + the funding basis; 'index' leaves the basis out. "
        "Maintenance is charged on the value at entry and with the taker fee; rules of this record charge "
        "it at the mark, without. A better fill than the bankruptcy price goes to the fund. Risk limits are "
        "stepped down before a takeover on the venue; here whole positions, one after another. The order of "
        "accounts is not published; here lowest equity / maintenance first."
    ),
    variants={"below": RULES.replace(trigger="lt"), "mark_last": RULES.replace(mark="last")},
)
"""BitMEX futures, inverse ones included; `bitmex.notes` says what is approximate."""
