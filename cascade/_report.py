"""Reports to read: what `print(market)` and `print(result)` say, for a risk officer rather than a
programmer."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import InputError, RangeError

WIDTH = 78
MOST_WAVES = 8


def amount(x: float) -> str:
    """A large number in a few characters."""
    if x != x:
        return "n/a"
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= unit:
            return f"{x / unit:,.2f}{name}"
    return f"{x:,.2f}"


def price_text(x: float, tick: float) -> str:
    decimals = max(0, min(10, int(np.ceil(-np.log10(tick) - 1e-9))))
    return f"{x:,.{decimals}f}"


def report(result: Any) -> str:
    """A run in about twenty lines."""
    s = result.summary
    lines = [f"cascade: {s['status']} after {s['waves']} waves".ljust(WIDTH, " "), "=" * WIDTH]
    lines[0] = lines[0].rstrip()
    lines.append(f"shock        {result._shock}")
    meaning = {
        "settled": "nobody is left to liquidate",
        "stranded": "lots are left open that nobody could take",
        "out_of_data": "lots are left open where the loaded book ends: depth beyond is unknown",
        "limit": "stopped by the caller's cap on waves",
    }
    lines.append(f"end          {s['status']}: {meaning.get(s['status'], '')}")
    for ins in result._state.instruments:
        p, tick = s["price"][ins.symbol], float(ins.tick_size)
        change = p["final"] / p["start"] - 1
        lines.append(
            f"{ins.symbol:<12} {price_text(p['start'], tick)} -> {price_text(p['final'], tick)} "
            f"({change:+.2%}), low {price_text(p['low'], tick)}, high {price_text(p['high'], tick)}"
        )
        if ins.symbol in s["known_until"]:
            lines.append(f"{'':<12} the loaded book ends at {price_text(s['known_until'][ins.symbol], tick)}")
    lines.append("-" * WIDTH)
    higher = s["higher_order_notional"]
    lines.append(
        f"liquidated   {s['liquidated_accounts']:,} accounts, notional {amount(s['liquidated_notional'])} "
        f"(first order {amount(s['first_order_notional'])}, higher {amount(higher)})"
    )
    known = s["amplification"] == s["amplification"]
    lines.append(f"amplified    {s['amplification']:.3f} times" if known else "amplified    n/a")
    if s["initially_unhealthy"]:
        lines.append(
            f"beforehand   {s['initially_unhealthy']:,} accounts were unhealthy before the shock "
            f"(notional {amount(s['initially_unhealthy_notional'])}, counted apart)"
        )
    lines.append(
        f"fund         {amount(s['fund_start'])} -> {amount(s['fund_end'])} "
        f"({amount(s['fund_end'] - s['fund_start'])})"
    )
    lines.append(
        f"beyond fund  deleveraged {amount(s['adl_notional'])}, "
        f"taken by the vault {amount(s['takeover_notional'])}, "
        f"socialised {amount(s['socialised'])}, deficit {amount(s['deficit'])}"
    )
    if s["unfilled_accounts"]:
        lines.append(f"left open    {s['unfilled_accounts']:,} unhealthy accounts still hold lots")
    lines.append("-" * WIDTH)
    lines += wave_lines(result)
    audit = result.audit
    verdict = "contracts, basis and money conserved" if audit["conserved"] else "NOT CONSERVED"
    lines.append("-" * WIDTH)
    lines.append(
        f"audit        {verdict}: {s['events']:,} events in {s['steps']} steps, "
        f"quantum {audit['cash_quantum']:g}"
    )
    return "\n".join(lines)


def wave_lines(result: Any) -> list[str]:
    waves = result.waves
    lines = [
        f"{'wave':>4}  {'instrument':<12}{'accounts':>10}{'quantity':>16}{'notional':>12}{'mark after':>16}"
    ]
    shown = (waves["quantity"] > 0) | (waves["wave"] == 0)
    rows = np.flatnonzero(shown)
    hidden = 0
    if len(rows) > 2 * MOST_WAVES:
        hidden = len(rows) - 2 * MOST_WAVES
        rows = np.concatenate([rows[:MOST_WAVES], [-1], rows[-MOST_WAVES:]])
    ticks = {ins.symbol: float(ins.tick_size) for ins in result._state.instruments}
    for k in rows:
        if k < 0:
            lines.append(f"{'...':>4}  ({hidden} rows)")
            continue
        symbol = waves["instrument"][k]
        lines.append(
            f"{waves['wave'][k]:>4}  {symbol:<12}{waves['accounts'][k]:>10,}{waves['quantity'][k]:>16,.3f}"
            f"{amount(waves['notional'][k]):>12}{price_text(waves['price'][k], ticks[symbol]):>16}"
        )
    return lines


def market_report(market: Any) -> str:
    """What is loaded: open interest, who holds it, who is unhealthy already, how deep the books are."""
    state = market.state()
    lines = [
        f"Market: {len(market._ids):,} accounts, {len(market._rows):,} positions, "
        f"fund {amount(market.to_money(market._fund))}"
    ]
    for i, ins in enumerate(market.instruments):
        tick, lot = float(ins.tick_size), float(ins.lot_size)
        mine = state.row_instrument == i
        lots = state.row_lots[mine].astype(np.float64)  # a sum of int64 could wrap around
        longs, shorts = float(lots[lots > 0].sum()), float(np.abs(lots[lots < 0]).sum())
        interest = max(longs, shorts)
        external = abs(longs - shorts) / interest if interest else 0.0
        orders = state.orders[i]
        bids, asks = orders.prices(1), orders.prices(-1)
        lines.append(ins.symbol)
        mark = int(state.last[i]) * tick
        lines.append(
            f"  open interest {interest * lot:,.3f} (long {longs * lot:,.3f}, short {shorts * lot:,.3f}, "
            f"external holds {external:.1%} of it)"
        )
        if bids.size and asks.size:
            best_bid, best_ask = int(bids.max()), int(asks.min())
            mid = (best_bid + best_ask) / 2
            lines.append(
                f"  last {price_text(mark, tick)}, bid {price_text(best_bid * tick, tick)}, "
                f"ask {price_text(best_ask * tick, tick)}"
            )
            for side, prices, word in ((1, bids, "bids"), (-1, asks, "asks")):
                quantity = orders.lots[orders.side == side]
                within = [float(quantity[np.abs(prices / mid - 1) <= d].sum()) * lot for d in (0.01, 0.05)]
                worst = prices.min() if side > 0 else prices.max()
                known = state.known_bid[i] if side > 0 else state.known_ask[i]
                end = "complete" if known in (0, 2**63 - 1) else f"known to {price_text(worst * tick, tick)}"
                lines.append(
                    f"  {word}: {len(np.unique(prices)):,} levels, "
                    f"{float(quantity.sum()) * lot:,.3f} in all, {within[0]:,.3f} within 1%, "
                    f"{within[1]:,.3f} within 5%, {end}"
                )
        else:
            lines.append("  no two-sided book")
    try:
        margin = market.margin()
    except (InputError, RangeError) as error:  # no mark yet, or sums too large; the rest can be shown
        lines.append(f"margins not known: {error}")
    else:
        unhealthy = int(((margin["equity"] < margin["maintenance"])).sum())
        lines.append(f"unhealthy already: {unhealthy:,} accounts")
    return "\n".join(lines)
