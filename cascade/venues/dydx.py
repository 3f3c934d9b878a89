"""dYdX v4: rules as the chain's code has them."""

from __future__ import annotations

from ..rules import Venue, VenueRules

RULES = VenueRules(
    mark="index",
    trigger="lt",
    queue="ratio",
    position_order="index",
    size="whole",
    order_price="bankruptcy",
    cancel_orders=True,
    surplus="account",
    fee_to="fund",
    residual=("fund_walk", "adl"),
    shortfall=("fund",),
    adl_rank="none",
    adl_price="bankruptcy",
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
        "maintenance > net collateral. The chain sends orders at the fillable price, beyond the bankruptcy "
        "price for accounts that are not bankrupt; here at the bankruptcy price. Accounts and positions are "
        "taken at random there; here lowest equity / maintenance first, positions by index. With several "
        "positions the chain shares net collateral among them by maintenance; here the first takes it all. "
        "Who is deleveraged is random on the chain; here by account index. Mainnet's governance values are "
        "not in the code."
    ),
    variants={"fund_pays_nothing": RULES.replace(residual=("adl",), shortfall=())},
)
"""dYdX v4 perpetuals; `dydx.notes` says what is approximate."""
