"""BitMEX: rules as its public pages describe them."""

from __future__ import annotations

from .. import marks as m
from ..funding import Funding
from ..rules import Venue, VenueRules

RULES = VenueRules(
    mark=m.funded_index(),
    trigger="le",
    queue="ratio",
    maintenance_on="entry",
    maintenance_fee="taker",
    bankruptcy_fee="taker",
    size="step_down",
    size_steps=1,
    order_tif="fok",
    order_price="bankruptcy",
    cancel_orders=True,
    surplus="fund",
    fee_to="fund",
    residual=("fund_walk", "adl"),
    shortfall=("fund",),
    adl_rank="bitmex",
    adl_price="bankruptcy",
    funding=Funding(interest="0.0001", clamp="0.0005", interval=8),
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
        "Mark: the fair price, index times 1 + the funding basis. Maintenance is charged on the value at "
        "entry, with the taker fee (a support answer; the examples leave fees out: variant as_in_examples); "
        "bankruptcy prices leave room for the fee of closing. In higher risk tiers a fill-or-kill order "
        "first takes the value below the lower limit; then the rest goes at the bankruptcy price. A better "
        "fill than that goes to the fund. The order of accounts is not published; here lowest equity / "
        "maintenance first."
    ),
    variants={
        "as_in_examples": RULES.replace(maintenance_fee="none", bankruptcy_fee="none"),
        "below": RULES.replace(trigger="lt"),
        "mark_last": RULES.replace(mark="last"),
    },
)
"""BitMEX futures, inverse ones included; `bitmex.notes` says what is approximate."""
