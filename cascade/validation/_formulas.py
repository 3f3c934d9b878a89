"""Venues that are other machines: their formulas, as `cs.venues` has them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .. import venues
from ..venues import drift, gmx, phemex, tradfi
from ._inputs import Inputs, Unknown


def drift_base(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "base": drift.liquidation_base(
            inputs.whole("shortage"),
            inputs.whole("margin_ratio"),
            inputs.whole("liq_fee", 0),
            inputs.whole("if_fee", 0),
            oracle=inputs.whole("oracle"),
            quote_oracle=inputs.whole("quote_oracle", drift.PRICE_ONE),
        )
    }


def drift_fee(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {"fee": drift.liquidation_fee(inputs.whole("base"), inputs.whole("max"), inputs.whole("elapsed"))}


def drift_perp_if_fee(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fee": drift.perp_if_fee(
            inputs.whole("shortage"),
            inputs.whole("base"),
            inputs.whole("margin_ratio"),
            inputs.whole("liq_fee", 0),
            oracle=inputs.whole("oracle"),
            quote_oracle=inputs.whole("quote_oracle", drift.PRICE_ONE),
            largest=inputs.whole("max_if_fee"),
        )
    }


def drift_spot_if_fee(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fee": drift.spot_if_fee(
            inputs.whole("shortage"),
            inputs.whole("token_amount"),
            inputs.whole("asset_weight"),
            inputs.whole("asset_mult"),
            inputs.whole("liability_weight"),
            inputs.whole("liab_mult"),
            decimals=inputs.whole("decimals"),
            price=inputs.whole("price"),
            largest=inputs.whole("max_if_fee"),
        )
    }


def drift_liability(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "transfer": drift.liability_transfer(
            inputs.whole("shortage"),
            inputs.whole("asset_weight"),
            inputs.whole("asset_mult"),
            inputs.whole("liability_weight"),
            inputs.whole("liab_mult"),
            decimals=inputs.whole("liability_decimals"),
            price=inputs.whole("liability_price"),
            if_fee=inputs.whole("if_fee", 0),
        )
    }


def drift_percent(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pct": drift.max_percent(
            inputs.whole("shortage"),
            inputs.whole("slots_elapsed"),
            inputs.whole("initial_pct"),
            inputs.whole("duration"),
            inputs.whole("already_freed", 0),
        )
    }


def drift_social(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "funding_delta": drift.socialised_funding(
            inputs.whole("loss"), inputs.whole("long_base"), inputs.whole("short_base")
        )
    }


def drift_step(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """One liquidation, from and to decimals of USD and base."""

    def scaled(name: str, one: int, default: Any = None) -> int:
        value = inputs.number(name, default) * one
        if value.denominator != 1:
            raise Unknown(f"{name} is not a whole number of 1/{one}")
        return int(value)

    done = drift.liquidate_perp(
        scaled("base", drift.BASE_ONE),
        scaled("quote", drift.QUOTE_ONE),
        scaled("collateral", drift.QUOTE_ONE),
        oracle=scaled("price", drift.PRICE_ONE),
        ratio=scaled("mm", drift.MARGIN_ONE),
        buffer=scaled("buffer", drift.MARGIN_ONE),
        fee=scaled("liq_fee", drift.FEE_ONE, 0),
        largest_if_fee=scaled("if_fee_max", drift.FEE_ONE, 0),
        step=scaled("step", drift.BASE_ONE),
    )
    return {
        "margin_shortage": Fraction(done.margin_shortage, drift.QUOTE_ONE),
        "liquidated_base": Fraction(done.base, drift.BASE_ONE),
        "user_base": Fraction(done.user_base, drift.BASE_ONE),
        "user_quote": Fraction(done.user_quote, drift.QUOTE_ONE),
        "if_fee": Fraction(done.if_fee, drift.QUOTE_ONE),
        "liquidator_quote": Fraction(done.liquidator_quote, drift.QUOTE_ONE),
    }


GMX_OPTIONAL = {
    "min_collateral_usd": ("min_collateral_usd",),
    "price_impact_usd": ("price_impact_usd", "price_impact"),
    "max_price_impact_factor": ("max_price_impact_factor", "max_impact_factor"),
    "closing_fees_usd": ("closing_fees_usd", "closing_fees", "fees_usd", "fees"),
    "liquidation_fee_factor": ("liquidation_fee_factor",),
}
"""What a position may have besides its size and collateral, under the names that it goes by."""


def gmx_liquidation(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    fields = (
        "size_usd",
        "size_tokens",
        "collateral",
        "collateral_price",
        "index_price",
        "min_collateral_factor",
    )
    given = {name: inputs.number(name) for name in fields}
    for name, spellings in GMX_OPTIONAL.items():
        for spelling in spellings:
            if spelling in inputs:
                given[name] = inputs.number(spelling)
    said = gmx.liquidation(side=inputs.side(), **given)
    return {"liquidatable": said.liquidatable, "returned": said.returned, "remaining": said.remaining_usd}


def gmx_adl(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("size_usd", "size_tokens", "index_price", "pool_usd", "max_pnl_factor")
    return {
        "enabled": gmx.adl_enabled(
            side=inputs.side("side", 1), **{name: inputs.number(name) for name in fields}
        )
    }


def okx_mr7(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    rows = [Inputs(dict(zip("abc", row, strict=True)), "inputs.tiers") for row in inputs.raw("tiers")]
    brackets = [
        (row.number("a"), None if row.raw("b", "") is None else row.number("b"), row.number("c"))
        for row in rows
    ]
    assert venues.okx.formulas is not None
    said = venues.okx.formulas.portfolio_margin(
        mr=inputs.number("mr"), mr7=inputs.number("mr7_raw"), brackets=brackets
    )
    return {"mr7_adj": said.mr7, "mmr": said.maintenance}


def span_future(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    risk = tradfi.span_scan_risk(inputs.number("price_scan_range"), inputs.number("contracts"))
    return {"scan_risk": risk}


def reg_t_long(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    shares = inputs.number("shares") if "shares" in inputs else None
    said = tradfi.call_of_long(debit=inputs.number("debit"), maintenance=inputs.number("mm"), shares=shares)
    return {"market_value": said.market_value, "per_share": said.per_share}


def reg_t_short(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    shares = inputs.number("shares") if "shares" in inputs else None
    said = tradfi.call_of_short(
        credit=inputs.number("credit"), maintenance=inputs.number("mm"), shares=shares
    )
    return {"market_value": said.market_value, "per_share": said.per_share}


def bybit_order_cost(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    assert venues.bybit.formulas is not None
    said = venues.bybit.formulas.order_cost(
        side=inputs.side("side", 1),
        entry=inputs.number("entry"),
        qty=inputs.number("qty"),
        leverage=inputs.number("leverage"),
        taker_fee=inputs.number("taker"),
    )
    return said._asdict()


def phemex_price(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    side, value, fee = inputs.side("side", 1), inputs.number("open_value"), inputs.number("taker")
    margin = phemex.assigned_margin(
        side=side, open_value=value, leverage=inputs.number("leverage"), taker_fee=fee
    )
    price = phemex.liquidation_price(
        side=side,
        size=inputs.number("size"),
        open_value=value,
        margin=margin,
        maintenance_rate=inputs.number("mmr"),
        taker_fee=fee,
        amount=inputs.number("mm_amount", 0),
    )
    return {"assigned": margin, "liquidation_price": price}


MODELS = {
    "drift_base": drift_base,
    "drift_liq_fee": drift_fee,
    "drift_perp_if_fee": drift_perp_if_fee,
    "drift_spot_if_fee": drift_spot_if_fee,
    "drift_liab": drift_liability,
    "drift_max_pct": drift_percent,
    "drift_social": drift_social,
    "drift_liq_step": drift_step,
    "gmx_liq": gmx_liquidation,
    "gmx_adl": gmx_adl,
    "okx_mr7": okx_mr7,
    "span_future_only": span_future,
    "regt_long": reg_t_long,
    "regt_short": reg_t_short,
    "bybit_order_cost": bybit_order_cost,
    "phemex": phemex_price,
}
