"""Bybit: classic (position margin on the value at entry) and unified accounts."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

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
    size="whole",
    order_price="bankruptcy",
    cancel_orders=True,
    surplus="fund",
    fee_to="fund",
    residual=("fund_walk", "adl"),
    shortfall=("fund",),
    adl_rank="bybit",
    adl_price="bankruptcy",
)

UNIFIED = CLASSIC.replace(surplus="account")

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
        "Mark: 'index' stands for the venue's mark. Isolated positions are taken over when the mark reaches "
        "the liquidation price, at the bankruptcy price; what is filled better goes to the fund. "
        "Maintenance is on the value at entry; rules of this record charge it at the mark. Risk limits are "
        "stepped down before a takeover on the venue; here whole positions. Deleveraging begins on the "
        "venue when the pool has fallen by 30% from its 8 h maximum; here where the fund cannot pay. "
        "Deleveraging is at the mark where the bankruptcy price is more than 5% from it, in a secondary "
        "source."
    ),
    variants={"below": CLASSIC.replace(trigger="lt"), "adl_at_mark": CLASSIC.replace(adl_price="mark")},
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
        "Initial and maintenance margin are on the value at the mark, both with the estimated fee of closing "
        "(the article of 2026; the older help pages say value at entry without a fee: that is the preset "
        "bybit). Liquidation when the account's maintenance rate reaches 100%. Hedged positions: only the "
        "net "
        "side is liquidated on the venue; here both, whole. " + bybit.notes
    ),
    variants={"below": UNIFIED.replace(trigger="lt"), "adl_at_mark": UNIFIED.replace(adl_price="mark")},
    formulas=FORMULAS,
)
"""Bybit, unified trading accounts; `bybit_unified.notes` says what is approximate."""
