"""Hyperliquid: rules as its documentation describes them, margin tiers of January 2026."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from .. import marks as m
from ..funding import Funding
from ..rules import Venue, VenueRules
from ._tiers import tiers_of

DATED = {"2026-01": "hyperliquid_202601.json"}

BOOK = m.median(m.bid(), m.ask(), m.last())


def mark(*others: tuple[m.Mark, int]) -> m.Mark:
    """The mark with these prices of other venues and their weights."""
    return m.median(
        m.index_plus_basis(150, "exponential"),
        BOOK,
        m.weighted_median(*others, missing="drop"),
        missing="drop",
        spare=m.ema(BOOK, 30),
    )


OTHERS = ((m.external("binance"), 3), (m.external("okx"), 2), (m.external("bybit"), 2))

RULES = VenueRules(
    mark=mark(*OTHERS, (m.external("gate"), 1), (m.external("mexc"), 1)),
    trigger="lt",
    queue="ratio",
    size="fraction",
    size_fraction="0.2",
    size_above=100_000,
    then_whole=True,
    cooldown_ns=30 * 10**9,
    order_price="market",
    cancel_orders=True,
    vault_below=Fraction(2, 3),
    adl_below=0,
    residual=(),
    shortfall=("vault",),
    surplus="account",
    fee_to="vault",
    adl_rank="hyperliquid",
    adl_price="previous_mark",
    funding=Funding(interest="0.0001", clamp="0.0005", cap="0.04", interval=1, price="index"),
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
        "Mark: the median of the oracle plus a 150 s mean of the basis, the book's own median, and the "
        "weighted median of other venues' prices, which market.set_prices(external=) feeds by name "
        "(binance, okx, bybit, gate, mexc); where none is fed the 30 s mean of the book's median takes its "
        "place. Orders: positions above 100,000 USDC are ordered by a fifth first, whole 30 s later; what "
        "the book does not take waits for the next check. Below 2/3 of maintenance the vault takes "
        "everything, if the market is given one; below 0 positions are deleveraged. The printed index of "
        "deleveraging is not side-aware (for a short, profit makes it smaller); the rules follow the print, "
        "variant side_aware does not. A study of 2025-10-10 finds 99.4% of those deleveraged in profit and "
        "no relation to leverage: do not take the queue for what happens. Execution is at the previous mark "
        "in the newest text and at the oracle price in older copies (variant oracle_price). Builders' "
        "markets (HIP-3) have no backstop vault (variant no_backstop). The order of accounts is not "
        "published; here lowest equity / maintenance first."
    ),
    variants={
        "side_aware": RULES.replace(adl_rank="hyperliquid_signed"),
        "oracle_price": RULES.replace(adl_price="index"),
        "side_aware_oracle_price": RULES.replace(adl_rank="hyperliquid_signed", adl_price="index"),
        "no_backstop": RULES.replace(vault_below=None, shortfall=()),
        "testnet": RULES.replace(size_above=10_000),
        "three_venues": RULES.replace(mark=mark(*OTHERS)),
        "mark_index": RULES.replace(mark="index"),
        "mark_book": RULES.replace(mark="book_median"),
        "funding_undivided": RULES.replace(
            funding=Funding(
                interest="0.0001", clamp="0.0005", cap="0.04", interval=1, divisor=1, price="index"
            )
        ),
    },
    tier_dates=tuple(DATED),
    _tiers=partial(tiers_of, DATED),
)
"""Hyperliquid perpetuals; `hyperliquid.notes` says what is approximate."""
