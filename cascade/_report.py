"""Reports to read: what `print(market)` and `print(result)` say, for a risk officer rather than a
programmer."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import numpy as np

from .errors import InputError, RangeError

WIDTH = 78
MOST_WAVES = 8
"""Rows of the wave table shown at its start and at its end."""


def amount(x: float) -> str:
    """A large number in a few characters."""
    if x != x:
        return "n/a"
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= unit:
            return f"{x / unit:,.2f}{name}"
    return f"{x:,.2f}" if x else "0"


def price_text(x: float, tick: float) -> str:
    decimals = max(0, min(10, int(np.ceil(-np.log10(tick) - 1e-9))))
    return f"{x:,.{decimals}f}"


ENDS = {
    "settled": "nobody is left to liquidate",
    "halted": "lots wait for the end of a halt, or for a price band to move",
    "stranded": "lots stay open that nobody could take",
    "out_of_data": "lots stay open where the loaded book ends; depth beyond is unknown",
    "limit": "stopped by the caller's cap on waves",
}


def change(ratio: float) -> str:
    return f"{ratio - 1:+.2%}"


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def report(result: Any) -> str:
    """A run on one page."""
    s, rules = result.summary, result._rules
    lines = [
        f"cascade: {s['status']} after {count(s['waves'], 'wave')}",
        "=" * WIDTH,
        *wrap(f"{'shock':<16}{result._shock}", WIDTH, subsequent_indent=" " * 16),
        f"{'end':<16}{ENDS.get(s['status'], 'not finished')}",
        *wrap(
            f"{'rules':<16}mark {rules.mark}, clearing by {rules.clearing}, "
            f"liquidation orders at {rules.order_price}",
            WIDTH, subsequent_indent=" " * 16,
        ),
    ]
    lines += [
        "-" * WIDTH,
        *price_lines(result),
        "-" * WIDTH,
        *loss_lines(result),
        "-" * WIDTH,
        *wave_lines(result),
    ]
    audit = result.audit
    verdict = (
        "contracts, basis and money conserved"
        if audit["conserved"]
        else "NOT CONSERVED: do not use this result"
    )
    lines.append("-" * WIDTH)
    lines.append(f"{'audit':<16}{verdict}; {count(s['events'], 'event')}")
    return "\n".join(lines)


def price_lines(result: Any) -> list[str]:
    """The mark of each instrument before, after the shock alone, at its worst and at the end."""
    s, waves = result.summary, result.waves
    lines = [f"{'mark':<16}{'start':>12}{'after shock':>15}{'lowest':>12}{'end':>12}"]
    for ins in result._state.instruments:
        p, tick = s["price"][ins.symbol], float(ins.tick_size)
        first = waves["price"][(waves["wave"] == 0) & (waves["instrument"] == ins.symbol)]
        shocked = float(first[0]) if len(first) else p["start"]
        cells = [price_text(x, tick) for x in (p["start"], shocked, p["low"], p["final"])]
        moves = ["", *(change(x / p["start"]) for x in (shocked, p["low"], p["final"]))]
        for name, row in ((ins.symbol, cells), ("", moves)):
            lines.append(f"{name:<15} {row[0]:>12}{row[1]:>15}{row[2]:>12}{row[3]:>12}")
        if p["high"] > p["start"]:
            lines.append(f"{'':<16}highest {price_text(p['high'], tick)} ({change(p['high'] / p['start'])})")
        if ins.symbol in s["known_until"]:
            end = price_text(s["known_until"][ins.symbol], tick)
            lines.append(f"{'':<16}OUT OF DATA: the loaded book ends at {end}; the true mark is unknown")
    return lines


def loss_lines(result: Any) -> list[str]:
    """Who was liquidated and why, and who paid."""
    s = result.summary
    caused = s["first_order_notional"] + s["higher_order_notional"]
    lines = [
        f"{'liquidated':<16}{count(s['liquidated_accounts'], 'account')}, "
        f"notional {amount(s['liquidated_notional'])}"
    ]
    if s["initially_unhealthy"]:
        lines.append(
            f"{'  beforehand':<16}{amount(s['initially_unhealthy_notional']):>10}  of it from "
            f"{count(s['initially_unhealthy'], 'account')} unhealthy before the shock"
        )
    for name, key, why in (
        ("  first order", "first_order_notional", "by the shock itself"),
        ("  higher order", "higher_order_notional", "by price moves of earlier liquidations"),
    ):
        share = f" ({s[key] / caused:.0%})" if caused else ""
        lines.append(f"{name:<16}{amount(s[key]):>10}  {why}{share}")
    if s["amplification"] == s["amplification"]:
        of = (
            "(shock's trades + caused) / shock's trades"
            if result._data.totals["shock_has_order"]
            else "caused / first order"
        )
        lines.append(f"{'amplification':<16}{s['amplification']:>10.3f}  {of}")
    else:
        lines.append(f"{'amplification':<16}{'n/a':>10}  nothing was caused")
    used = s["fund_end"] - s["fund_start"]
    share = f", {used / s['fund_start']:+.0%}" if s["fund_start"] else ""
    lines.append(
        f"{'insurance fund':<16}{amount(s['fund_start'])} -> {amount(s['fund_end'])} ({amount(used)}{share})"
    )
    beyond = [
        f"{what} {amount(s[key])}"
        for what, key in (
            ("deleveraged", "adl_notional"), ("taken by the vault", "takeover_notional"),
            ("socialised", "socialised"),
            ("deficit nobody paid", "deficit"),
        )
        if s[key]
    ]  # fmt: skip
    lines.append(
        f"{'beyond the fund':<16}"
        + (", ".join(beyond) or "nothing: no deleveraging, no loss shared, no deficit")
    )
    if s["unfilled_accounts"]:
        lines.append(
            f"{'left open':<16}{count(s['unfilled_accounts'], 'unhealthy account')} still holding lots"
        )
    return lines


def wave_lines(result: Any) -> list[str]:
    """What each wave traded and where it left the mark."""
    waves = result.waves
    start = {symbol: p["start"] for symbol, p in result.summary["price"].items()}
    header = (
        f"{'wave':<6}{'instrument':<12}{'turns':>8}{'quantity':>15}{'notional':>11}"
        f"{'mark after':>15}{'change':>10}"
    )
    shown = (waves["quantity"] > 0) | (waves["wave"] == 0)
    rows = np.flatnonzero(shown)
    hidden = 0
    if len(rows) > 2 * MOST_WAVES + 4:
        hidden = len(rows) - 2 * MOST_WAVES
        rows = np.concatenate([rows[:MOST_WAVES], [-1], rows[-MOST_WAVES:]])
    ticks = {ins.symbol: float(ins.tick_size) for ins in result._state.instruments}
    lines, previous = [header], -1
    for k in rows:
        if k < 0:
            lines.append(f"{'...':<6}({hidden} rows more: result.waves)")
            continue
        symbol, wave = waves["instrument"][k], int(waves["wave"][k])
        name = "" if wave == previous else "shock" if wave == 0 else str(wave)
        previous = wave
        lines.append(
            f"{name:<6}{symbol:<12}{waves['accounts'][k]:>8,}{waves['quantity'][k]:>15,.3f}"
            f"{amount(waves['notional'][k]):>11}{price_text(waves['price'][k], ticks[symbol]):>15}"
            f"{change(waves['price'][k] / start[symbol]):>10}"
        )
    lines.append(
        "turn: a liquidation that closed lots; mark after: the mark that the next wave is judged by;"
    )
    lines.append("change: from the start. Waves without trades are left out.")
    return lines


def market_report(market: Any) -> str:
    """What is loaded: open interest, who holds it, who is unhealthy already, how deep the books are."""
    state = market.state()
    lines = [
        f"Market: {count(len(market._ids), 'account')}, {count(len(market._rows), 'position')}, "
        f"insurance fund {amount(market.to_money(market._fund))}",
        "=" * WIDTH,
    ]
    for i in range(len(market.instruments)):
        lines += [*instrument_lines(market, state, i), "-" * WIDTH]
    try:
        margin = market.margin()
    except (InputError, RangeError) as error:
        return "\n".join([*lines, f"{'unhealthy now':<16}unknown: {error}"])
    needs = margin["maintenance"] > 0
    unhealthy = int((margin["equity"] < margin["maintenance"]).sum())
    near = int((needs & (margin["equity"] < 2 * margin["maintenance"])).sum())
    lines.append(
        f"{'unhealthy now':<16}{unhealthy:,} of {count(len(margin), 'margin account')}; "
        f"{near:,} with equity below twice their maintenance margin"
    )
    return "\n".join(lines)


def instrument_lines(market: Any, state: Any, i: int) -> list[str]:
    """One instrument: prices, open interest, and each side of its book by distance from the mid."""
    ins = market.instruments[i]
    tick, lot = float(ins.tick_size), float(ins.lot_size)
    lots = state.row_lots[state.row_instrument == i].astype(np.float64)  # a sum of int64 could wrap around
    longs, shorts = float(lots[lots > 0].sum()), float(np.abs(lots[lots < 0]).sum())
    interest = max(longs, shorts)
    orders = state.orders[i]
    bids, asks = orders.prices(1), orders.prices(-1)
    last = f"last {price_text(int(state.last[i]) * tick, tick)}" if state.last[i] else "no last price"
    if not (bids.size and asks.size):
        lines = [f"{ins.symbol:<16}{last}, no two-sided book"]
    else:
        best_bid, best_ask = int(bids.max()), int(asks.min())
        quotes = f"bid {price_text(best_bid * tick, tick)}, ask {price_text(best_ask * tick, tick)}"
        lines = [f"{ins.symbol:<16}{last}, {quotes}"]
    held = f"{interest * lot:,.3f}: long {longs * lot:,.3f}, short {shorts * lot:,.3f}"
    if longs != shorts:
        net = "short" if longs > shorts else "long"
        gap = abs(longs - shorts)
        held += f", external {net} {gap * lot:,.3f} ({gap / interest:.1%})"
    lines.append(f"{'  open interest':<16}{held}")
    if bids.size and asks.size:
        mid = (best_bid + best_ask) / 2
        lines.append(f"{'  book':<10}{'levels':>9}{'within 1%':>13}{'within 5%':>13}{'in all':>13}  known to")
        for side, prices, word, until in (
            (1, bids, "bids", state.known_bid[i]),
            (-1, asks, "asks", state.known_ask[i]),
        ):
            quantity = orders.lots[orders.side == side]
            within = [float(quantity[np.abs(prices / mid - 1) <= d].sum()) * lot for d in (0.01, 0.05)]
            worst = prices.min() if side > 0 else prices.max()
            end = "its end" if until in (0, 2**63 - 1) else price_text(worst * tick, tick)
            lines.append(
                f"    {word:<6}{len(np.unique(prices)):>9,}{within[0]:>13,.3f}{within[1]:>13,.3f}"
                f"{float(quantity.sum()) * lot:>13,.3f}  {end}"
            )
    return lines
