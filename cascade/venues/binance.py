"""Binance USD-M futures: leverage brackets of 2024-10-24, rules as its support pages describe them."""

from __future__ import annotations

from functools import partial

from ..rules import Venue, VenueRules
from ._tiers import tiers_of

binance_usdm = Venue(
    name="Binance USD-M",
    rules=VenueRules(
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
    ),
    date="2024-10-24",
    sources=(
        "binance.com/en/support/faq/b3c689c1f50a44cabb3a84e663b81d93 (liquidation price)",
        "binance.com/en/support/faq/360033525271 (liquidation protocol, insurance fund)",
        "binance.com/en/support/faq/360033525471 (auto-deleveraging)",
        "binance.com/en/support/faq/360033525071 (mark price)",
        "freqtrade, binance_leverage_tiers.json at 3d9514d26 (leverage brackets)",
    ),
    notes=(
        "Mark: Binance takes the median of the index with funding, the index plus the 30 s mean basis, "
        "and the last price. 'book_median' (bid, ask, last) is the nearest that follows the contract's "
        "own trades - while nobody quotes anew it nearly always equals the last price - and overstates "
        "the feedback at one instant: there the venue's mark stays near the "
        "index, and the basis and the index follow within seconds to minutes. rules.replace(mark='index') "
        "is the other extreme, where trades move no mark at all; the truth lies between. Size: Binance "
        "closes what brings the account back to compliance (the rule is not published); here whole "
        "positions, one after another, until it is healthy. Orders are immediate-or-cancel at the "
        "bankruptcy price. What they leave Binance's fund takes over as a position up to a limit, and the "
        "rest is deleveraged; here the fund pays for closing it in the book below the bankruptcy price "
        "while it can ('fund_walk'). The liquidation fee is the instrument's. The order of accounts is "
        "not published; here lowest equity / maintenance first."
    ),
    _tiers=partial(tiers_of, "binance_usdm_20241024.json"),
)
"""Binance USD-M perpetuals as of 2024-10-24; `binance_usdm.notes` says what is approximate."""
