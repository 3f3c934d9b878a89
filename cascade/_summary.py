"""The scalars of a run, from the integers that an engine hands over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._rundata import RunData
from ._state import State
from .records import Status

SUMMARY_SCALARS = (
    "status", "waves", "steps", "events", "liquidated_accounts", "recovered_accounts", "liquidated_notional",
    "first_order_notional", "higher_order_notional", "initially_unhealthy_notional", "shock_notional",
    "amplification", "price", "fund_start", "fund_end", "adl_notional", "takeover_notional", "socialised",
    "deficit", "initially_unhealthy", "unfilled_accounts", "dropped_levels", "known_until",
)  # fmt: skip
"""The keys of `Result.summary`; price and known_until hold a value an instrument."""

STATUS_NAMES = {int(status): status.name.lower() for status in Status}


def money_of(state: State) -> Callable[[int], float]:
    """Whole quanta to the settlement currency, rounded once."""
    numerator, denominator = state.quantum.numerator, state.quantum.denominator
    return lambda quanta: quanta * numerator / denominator


def known_until_of(state: State, data: RunData) -> dict[str, float]:
    """See `Result.known_until`."""
    return {
        state.instruments[i].symbol: state.instruments[i].to_price(ticks)
        if 0 < ticks < 2**53 else float("nan")
        for i, ticks in data.known_until.items()
    }  # fmt: skip


def summary_of(state: State, data: RunData) -> dict[str, Any]:
    """See `Result.summary`; a new dict every time."""
    totals, money = data.totals, money_of(state)
    shocked = data.shock_notional
    caused = totals["first"] + totals["higher"]
    base, whole = (shocked, shocked + caused) if totals["shock_has_order"] else (totals["first"], caused)
    marks = zip(
        state.mark_units, data.start_marks, data.low_marks, data.high_marks, data.final_marks, strict=True
    )
    price = {
        symbol: {"start": start * a / b, "low": low * a / b, "high": high * a / b, "final": final * a / b}
        for (symbol, a, b), start, low, high, final in marks
    }
    return {
        "status": STATUS_NAMES[data.status],
        "waves": data.last_wave,
        "steps": data.steps,
        "events": data.seq,
        "liquidated_accounts": totals["accounts"],
        "recovered_accounts": totals["recovered"],
        "liquidated_notional": money(totals["notional"]),
        "first_order_notional": money(totals["first"]),
        "higher_order_notional": money(totals["higher"]),
        "initially_unhealthy_notional": money(totals["initial"]),
        "shock_notional": money(shocked),
        "amplification": whole / base if base else float("nan"),
        "price": price,
        "fund_start": money(state.fund),
        "fund_end": money(data.fund),
        "adl_notional": money(totals["adl"]),
        "takeover_notional": money(totals["takeover"]),
        "socialised": money(totals["socialised"]),
        "deficit": money(-data.deficit),
        "initially_unhealthy": totals["initially_unhealthy"],
        "unfilled_accounts": totals["left_accounts"],
        "dropped_levels": totals["dropped_levels"],
        "known_until": known_until_of(state, data),
    }
