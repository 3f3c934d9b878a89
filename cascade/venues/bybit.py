"""Bybit: classic (position margin on the value at entry) and unified accounts."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

from ..funding import Funding
from ..rules import Venue, VenueRules
from ._exactly import above, number, side_of


class OrderCost(NamedTuple):
    """What an order blocks, in the settlement currency."""

    initial_margin: Fraction
    open_fee: Fraction
    close_fee: Fraction
    order_cost: Fraction


def order_cost(*, side: Any = 1, entry: Any, qty: Any, leverage: Any, taker_fee: Any) -> OrderCost:
    """What an order of a linear contract blocks: initial margin, the fee of opening, and the fee of closing
    at the bankruptcy price, entry (1 - side / leverage).

    A formula, not a rule of a run.

    Parameters
    ----------
    side : {1, -1}
    entry, qty, leverage, taker_fee : number
    """
    price, size, times = above(entry, "entry"), above(qty, "qty"), above(leverage, "leverage")
    fee = number(taker_fee, "taker_fee")
    margin, opening = price * size / times, price * size * fee
    closing = size * price * (1 - side_of(side) / times) * fee
    return OrderCost(margin, opening, closing, margin + opening + closing)


FORMULAS = SimpleNamespace(order_cost=order_cost)

CLASSIC = VenueRules(
    mark="index",
    trigger="le",
    queue="ratio",
    maintenance_on="entry",
    size="step_down",
    size_steps=1,
    order_tif="fok",
    order_price="bankruptcy",
    cancel_orders=True,
    offset_hedges=True,
    surplus="fund",
    fee_to="fund",
    residual=("fund_walk", "adl"),
    shortfall=("fund",),
    fund_stop="0.3",
    fund_resume="0.25",
    fund_stop_at="lt",
    adl_rank="bybit",
    adl_price="bankruptcy",
    funding=Funding(interest="0.0001", clamp="0.0005", interval=8),
)

UNIFIED = CLASSIC.replace(maintenance_on="mark", maintenance_fee="taker", surplus="account")


def variants(rules: VenueRules) -> dict[str, VenueRules]:
    """The readings that both kinds of account share."""
    return {
        "adl_at_equality": rules.replace(fund_stop_at="le"),
        "adl_at_mark_beyond_5pct": rules.replace(adl_price_band="0.05"),
        "below": rules.replace(trigger="lt"),
    }


bybit = Venue(
    name="Bybit (classic account)",
    rules=CLASSIC,
    date="2021-01-01",
    sources=(
        "help.bybit.com 360039261334 (liquidation price of inverse contracts)",
        "help.bybit.com 900000031623 (auto-deleveraging)",
        "help.bybit.com 900000167723, 000001098 (liquidation process)",
        "bybit-exchange.github.io/docs/v5/market/adl-alert (triggers of deleveraging)",
    ),
    notes=(
        "Date: a guess, the pages carry none. Mark: 'index' stands for the venue's mark. Isolated positions "
        "are taken over when the mark reaches the liquidation price, at the bankruptcy price; what is "
        "filled better goes to the fund. Maintenance is on the value at entry (the newer text: the preset "
        "bybit_unified). In higher risk tiers a fill-or-kill order first takes the excess over the lower "
        "limit. The fund stops paying, and deleveraging begins, when it has fallen by more than 30% from "
        "its start - on the venue from its 8 h maximum - and pays again below 25%; the text says 'less "
        "than', an example triggers at exactly -30% (variant adl_at_equality). Deleveraging is at the mark "
        "where the bankruptcy price is more than 5% from it, in a secondary source (variant "
        "adl_at_mark_beyond_5pct)."
    ),
    variants={
        **variants(CLASSIC),
        "inverse_cross": CLASSIC.replace(maintenance_fee="taker_at_bankruptcy", bankruptcy_fee="taker"),
    },
    formulas=FORMULAS,
)
"""Bybit, classic accounts: USDT and inverse contracts; `bybit.notes` says what is approximate."""

bybit_unified = Venue(
    name="Bybit (unified trading account)",
    rules=UNIFIED,
    date="2026-05-27",
    sources=(
        "kbybit.com, article on isolated margin of the unified account (2026-05-27)",
        "bybit-exchange.github.io/docs/v5/market/adl-alert (triggers of deleveraging)",
        "help.bybit.com 900000031623 (auto-deleveraging)",
    ),
    notes=(
        "Initial and maintenance margin are on the value at the mark, both with the estimated fee of "
        "closing (the article of 2026; the older help pages say value at entry without a fee: variant "
        "entry_value). Liquidation when the account's maintenance rate reaches 100%. Hedged positions: only "
        "the net side is "
        "liquidated. " + bybit.notes
    ),
    variants={
        **variants(UNIFIED),
        "entry_value": UNIFIED.replace(maintenance_on="entry", maintenance_fee="none"),
    },
    formulas=FORMULAS,
)
"""Bybit, unified trading accounts; `bybit_unified.notes` says what is approximate."""
