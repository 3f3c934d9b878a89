"""The page of one run."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import plot
from .._report import ENDS, amount, change, count, price_text
from ..causes import downstream
from ._assumed import LEFT_OUT, market_table, rules_table
from ._html import NO_PICTURES, Pictures, escape, page, paragraph, section, table, tiles

MOST_ROWS = 12
MOST_WAVE_ROWS = 24
MOST_MAPS = 4
"""Instruments whose liquidation map is drawn."""
FUND_PICTURES = ("payments by reason", "balance by wave")
RECORDED = "The run was made with record={!r}; this part needs {}."


def run_page(result: Any, title: str = "", currency: str = "") -> str:
    """A run as an HTML page: see `Result.report`."""
    s, pictures = result.summary, Pictures()
    money = currency or "settlement currency"
    heading = title or f"Liquidation cascade: {result._shock}"
    return page(
        heading,
        f"<h1>{escape(heading, 200)}</h1>",
        paragraph(_verdict(result, s, money)),
        *(paragraph(text, "bad") for text in _warnings(result, s)),
        tiles(_headline(s, money)),
        paragraph(NO_PICTURES, "soft") if not pictures.possible else "",
        section(
            "What was assumed",
            paragraph(f"Shock: {result._shock}."),
            market_table(result._state, result._rules),
            rules_table(result._rules, s["fund_start"], result._money(result._state.vault)),
            paragraph(LEFT_OUT, "soft"),
        ),
        _prices(result, s, pictures),
        _liquidated(result, s, pictures, money),
        _paid(result, s, pictures, money),
        _spread(result, pictures, money),
        _waiting(result, pictures),
        foot=_foot(result, s),
    )


def _prices(result: Any, s: dict[str, Any], pictures: Pictures) -> str:
    caption = "Mark of each instrument by wave, percent of its start"
    picture = pictures.draw(caption, lambda ax: plot.price_path(result, ax=ax))
    return section("Prices", picture, _price_table(result, s))


def _liquidated(result: Any, s: dict[str, Any], pictures: Pictures, money: str) -> str:
    what = (
        "First order: accounts that the shock itself made unhealthy. Higher order: those that the price "
        "moves of earlier liquidations did. Amplification: all of it over the first."
    )
    caption = f"Liquidated notional by wave and instrument, {money}"
    recorded = result._record != "summary"
    return section(
        "Who was liquidated, and why",
        paragraph(what),
        pictures.draw(caption, lambda ax: plot.waves(result, ax=ax)),
        _totals_table(s, money),
        _wave_table(result, money),
        _largest_table(result, money)
        if recorded
        else paragraph(RECORDED.format(result._record, "'liquidations'")),
    )


def _paid(result: Any, s: dict[str, Any], pictures: Pictures, money: str) -> str:
    parts = [paragraph(RECORDED.format(result._record, "'all'"))]
    if result._record == "all":
        reasons, balance = (f"Insurance fund: {what}, {money}" for what in FUND_PICTURES)
        parts = [
            pictures.draw(reasons, lambda ax: plot.waterfall(result, ax=ax)),
            pictures.draw(balance, lambda ax: plot.fund(result, ax=ax), 2.6),
        ]
    return section("Who paid", *parts, _paid_table(s, money))


def _spread(result: Any, pictures: Pictures, money: str) -> str:
    if result._record == "summary":
        return ""
    matrix, n = "", len(result._state.instruments)
    if result._record == "all" and n > 1:
        caption = f"Liquidated notional by the instrument whose move took the equity, {money}"
        matrix = pictures.draw(caption, lambda ax: plot.contagion(result, ax=ax), 1.6 + 0.6 * min(n, 10))
    caption = f"The liquidations that caused most, wave by wave; notional in {money}"
    forest = pictures.draw(caption, lambda ax: plot.network(result, ax=ax), 4.6)
    return section("How it spread", matrix, forest, _causes_table(result, money))


def _waiting(result: Any, pictures: Pictures) -> str:
    if not (pictures.possible and len(result._state.row_lots)):
        return ""

    def drawn(symbol: str) -> str:
        caption = f"{symbol}: quantity liquidated by trigger price, against the book"
        return pictures.draw(caption, lambda ax: plot.liquidation_map(result, symbol, ax=ax))

    first = [ins.symbol for ins in result._state.instruments[:MOST_MAPS]]
    return section("Where liquidations waited before the shock", *(drawn(symbol) for symbol in first))


def _verdict(result: Any, s: dict[str, Any], money: str) -> str:
    who, waves = count(s["liquidated_accounts"], "account"), count(s["waves"], "wave")
    return (
        f"After the shock ({result._shock}) the venue liquidated {who} with a notional of "
        f"{amount(s['liquidated_notional'])} {money} in {waves}. The run ended "
        f"{s['status'].replace('_', ' ')}: {ENDS.get(s['status'], 'not finished')}."
    )


def _warnings(result: Any, s: dict[str, Any]) -> list[str]:
    """What a reader must know before the numbers."""
    found = []
    if not result.audit["conserved"]:
        found.append("The audit failed: contracts or money were not conserved. Do not use this page.")
    ticks = {i.symbol: float(i.tick_size) for i in result._state.instruments}
    for symbol, price in s["known_until"].items():
        where = "" if price != price else f" at {price_text(price, ticks[symbol])}"
        found.append(
            f"{symbol}: the loaded book ends{where}; what lies beyond, and the true mark, are unknown."
        )
    if s["unfilled_accounts"]:
        found.append(f"{count(s['unfilled_accounts'], 'unhealthy account')} still hold lots at the end.")
    return found


def _headline(s: dict[str, Any], money: str) -> list[tuple[str, str, str]]:
    worst = min((p["low"] / p["start"], symbol) for symbol, p in s["price"].items())
    caused = s["first_order_notional"] + s["higher_order_notional"]
    used = s["fund_start"] - s["fund_end"]
    amplified = s["amplification"]
    lost = s["socialised"] + s["deficit"]
    shared = f"{money}: {amount(s['socialised'])} shared, {amount(s['deficit'])} unpaid"
    return [
        ("accounts liquidated", f"{s['liquidated_accounts']:,}", f"in {count(s['waves'], 'wave')}"),
        ("notional liquidated", amount(s["liquidated_notional"]), money),
        (
            "of it by other liquidations",
            f"{s['higher_order_notional'] / caused:.0%}" if caused else "n/a",
            f"{amount(s['higher_order_notional'])} {money}",
        ),
        (
            "amplification",
            f"{amplified:.2f} times" if amplified == amplified else "n/a",
            "all over the first order",
        ),
        ("deepest fall of a mark", f"{worst[0] - 1:.2%}", worst[1]),
        (
            "insurance fund used" if used >= 0 else "insurance fund gained",
            amount(abs(used)),
            f"{money}, {abs(used) / s['fund_start']:.0%} of {amount(s['fund_start'])}"
            if s["fund_start"]
            else money,
        ),
        ("deleveraged", amount(s["adl_notional"]), f"notional, {money}"),
        ("loss beyond the fund", amount(lost), shared),
    ]


def _price_table(result: Any, s: dict[str, Any]) -> str:
    waves = result.waves
    rows = []
    for ins in result._state.instruments:
        p, tick = s["price"][ins.symbol], float(ins.tick_size)
        first = waves["price"][(waves["wave"] == 0) & (waves["instrument"] == ins.symbol)]
        shocked = float(first[0]) if len(first) else p["start"]
        cells = [price_text(p["start"], tick)]
        for x in (shocked, p["low"], p["high"], p["final"]):
            cells.append(f"{price_text(x, tick)} ({change(x / p['start'])})")
        rows.append((ins.symbol, *cells))
    return table("Marks", ("instrument", "start", "after the shock", "lowest", "highest", "end"), rows)


def _totals_table(s: dict[str, Any], money: str) -> str:
    rows = [
        ("first order", f"{s['first_order_notional']:,.0f}"),
        ("higher order", f"{s['higher_order_notional']:,.0f}"),
        ("unhealthy before the shock", f"{s['initially_unhealthy_notional']:,.0f}"),
        ("in all", f"{s['liquidated_notional']:,.0f}"),
    ]
    return table(f"Liquidated notional, {money}", ("", "notional"), rows)


def _wave_table(result: Any, money: str) -> str:
    waves = result.waves
    ticks = {i.symbol: float(i.tick_size) for i in result._state.instruments}
    start = {symbol: p["start"] for symbol, p in result.summary["price"].items()}
    at = np.flatnonzero((waves["quantity"] > 0) | (waves["wave"] == 0))
    hidden = max(0, len(at) - MOST_WAVE_ROWS)
    if hidden:
        half = MOST_WAVE_ROWS // 2
        at = np.concatenate([at[:half], at[-half:]])
    rows = []
    for n, k in enumerate(at.tolist()):
        if hidden and n == MOST_WAVE_ROWS // 2:
            rows.append(("…", f"({hidden} rows more)", "", "", "", "", ""))
        symbol, wave = str(waves["instrument"][k]), int(waves["wave"][k])
        rows.append(
            (
                str(wave) if wave else "shock",
                symbol,
                f"{waves['accounts'][k]:,}",
                f"{waves['quantity'][k]:,.6g}",
                f"{waves['notional'][k]:,.0f}",
                price_text(waves["price"][k], ticks[symbol]),
                change(waves["price"][k] / start[symbol]),
            )
        )
    header = (
        "wave",
        "instrument",
        "liquidations",
        "quantity",
        f"notional, {money}",
        "mark after",
        "from the start",
    )
    return table("By wave and instrument", header, rows, 2)


def _largest_table(result: Any, money: str) -> str:
    x = result.liquidations
    if not len(x):
        return ""
    rows = []
    ticks = {i.symbol: float(i.tick_size) for i in result._state.instruments}
    for k in np.argsort(-x["notional"], kind="stable")[:MOST_ROWS].tolist():
        symbol = str(x["instrument"][k])
        average = x["average_price"][k]
        rows.append(
            (
                x["account"][k],
                symbol,
                f"{x['wave'][k]}",
                x["side"][k],
                f"{x['quantity'][k]:,.6g}",
                f"{x['notional'][k]:,.0f}",
                price_text(average, ticks[symbol]) if average == average else "not traded",
                f"{x['fund'][k]:,.0f}",
                str(x["status"][k]).replace("_", " "),
            )
        )
    header = (
        "account",
        "instrument",
        "wave",
        "order",
        "quantity",
        f"notional, {money}",
        "average price",
        f"fund paid, {money}",
        "lots",
    )
    return table("The largest liquidations", header, rows, 2)


def _paid_table(s: dict[str, Any], money: str) -> str:
    rows = [
        (what, f"{s[key]:,.2f}")
        for what, key in (
            ("insurance fund at the start", "fund_start"),
            ("insurance fund at the end", "fund_end"),
            ("losses shared among accounts", "socialised"),
            ("deficit that nobody paid", "deficit"),
            ("notional closed by deleveraging", "adl_notional"),
            ("notional taken by the vault", "takeover_notional"),
        )
    ]
    return table(f"Who paid, {money}", ("", "amount"), rows)


def _causes_table(result: Any, money: str) -> str:
    """The accounts whose liquidations had most downstream of them."""
    x = result._data.liquidations
    if x is None or not len(x):
        return ""
    below = downstream(x)
    own = np.abs(x["closed_value"])
    caused = np.bincount(x["cause_row"][x["cause_row"] >= 0], minlength=len(x))
    order = np.argsort(-(below - own), kind="stable")[:MOST_ROWS]
    order = order[(below - own)[order] > 0]
    if not len(order):
        return paragraph("No liquidation caused another one.")
    names, money_of = result._accounts(x["account"][order]), result._money
    rows = [
        (
            who,
            f"{x['wave'][k]}",
            f"{money_of(own[k].item()):,.0f}",
            f"{caused[k]:,}",
            f"{money_of((below[k] - own[k]).item()):,.0f}",
        )
        for who, k in zip(names.tolist(), order.tolist(), strict=True)
    ]
    header = (
        "account",
        "wave",
        f"closed itself, {money}",
        "pushed directly",
        f"closed by what it caused, {money}",
    )
    return table("The liquidations that caused most", header, rows)


def _foot(result: Any, s: dict[str, Any]) -> str:
    verdict = "contracts, basis and money conserved" if result.audit["conserved"] else "NOT CONSERVED"
    digest = f" Digest {result.digest}." if result._record == "all" else ""
    return f"Audit: {verdict} over {count(s['events'], 'event')}.{digest}"
