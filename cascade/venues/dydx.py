"""dYdX v4: rules as the chain's code has them."""

from __future__ import annotations

from ..funding import Funding
from ..rules import Venue, VenueRules

RULES = VenueRules(
    mark="index",
    trigger="lt",
    queue="fillable",
    position_order="index",
    size="whole",
    order_price="fillable",
    fillable_adjustment=1,
    fillable_spread="0.1",
    bankruptcy_share="maintenance",
    cancel_orders=True,
    surplus="account",
    fee_cap="improvement",
    fee_to="fund",
    residual=("fund_walk", "adl"),
    shortfall=("fund",),
    adl_rank="none",
    adl_price="bankruptcy",
    adl_overlap=True,
    adl_negative_only=True,
    funding=Funding(interest=0, clamp=0, margin_cap=6, interval=1, divisor=1, price="index"),
)

dydx = Venue(
    name="dYdX v4",
    rules=RULES,
    date="2026-11-21",
    sources=(
        "github.com/dydxprotocol/v4-chain at 84d4664, protocol/x/clob/keeper/{liquidations,deleveraging}.go",
        "the same, protocol/lib/margin/risk.go, protocol/x/perpetuals/{lib/lib.go,types/liquidity_tier.go}",
    ),
    notes=(
        "Date: when the code was read. Only the oracle's price counts, here the index. Liquidatable if "
        "maintenance > net collateral. Orders are at the fillable price, the fund paying fills worse than "
        "the bankruptcy price while it can and taking up to the instrument's liquidation fee (0.5%) of what "
        "they are better; lots without takers are deleveraged if net collateral is below 0 and wait if "
        "not; accounts go by how far that price is from the oracle's. The chain takes positions "
        "and counterparties from random places on; here by index. Maintenance is rounded up once, on the "
        "chain twice (initial margin first). Mainnet's governance values (spread, parts of positions, "
        "limits a block) are not in the code: size_fraction, size_minimum, notional_per_step, fund_per_step "
        "and capacity say them."
    ),
    variants={
        "overlapping": RULES.replace(adl_overlap=False),
        "half_positions": RULES.replace(size="fraction", size_fraction="0.5"),
        "fund_pays_nothing": RULES.replace(residual=("adl",), shortfall=()),
    },
)
"""dYdX v4 perpetuals; `dydx.notes` says what is approximate."""
