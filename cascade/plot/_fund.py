"""Pictures of who paid: the insurance fund by wave, and its waterfall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._report import amount
from .._state import FUND
from ..errors import EngineStateError
from ..records import EventKind, Why
from ..result import Result
from ._look import BLUE, GREEN, GREY, RED, SMALL, axes_of, check_result, frame, thinned, title, unit_of
from ._waves import _last_wave, order_within, places, wave_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = {
    "liquidation_fee": "liquidation\nfees", "surplus": "surplus of\naccounts", "fee": "trading\nfees",
    "taken": "accounts\ntaken over", "gap": "gaps to\nbankruptcy\nprices",
    "shortfall": "accounts\nbelow zero",
}  # fmt: skip
"""Why money came to the fund or left it, in a reader's words; other reasons go by their own names."""


def fund(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the balance of the insurance fund, payment by payment.

    Parameters
    ----------
    result : Result
        Of a run with record="all".
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    EngineStateError
        The run did not record its transfers.
    """
    _need_transfers(result, "fund")
    ax = axes_of(ax)
    wave_axis(ax, result)
    x, balance = _balances(result)
    unit, word = unit_of(float(np.abs(balance).max()))
    ax.plot(x, balance / unit, drawstyle="steps-post", color=GREEN, linewidth=1.8)
    ax.fill_between(*thinned(x, balance / unit), step="post", color=GREEN, alpha=0.15, linewidth=0)
    s = result._summary
    ax.set_ylabel(f"balance{word}")
    ax.set_ylim(0, max(balance.max() / unit * 1.08, 1e-9))
    beyond = [
        f"{what} {amount(s[key])}"
        for what, key in (
            ("deleveraged", "adl_notional"),
            ("socialised", "socialised"),
            ("deficit", "deficit"),
        )
        if s[key] > 0
    ]
    span = f"{amount(s['fund_start'])} to {amount(s['fund_end'])}"
    title(ax, "Insurance fund by wave", ", ".join([span, *beyond]))
    return ax


def waterfall(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw what the insurance fund took in and paid out, by reason, and the losses that it did not carry.

    Parameters
    ----------
    result : Result
        Of a run with record="all".
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    EngineStateError
        The run did not record its transfers.
    """
    _need_transfers(result, "waterfall")
    ax = axes_of(ax)
    s = result._summary
    steps = _by_reason(result)
    beyond = [("losses\nshared", s["socialised"]), ("deficit,\nnobody paid", s["deficit"])]
    beyond = [(label, value) for label, value in beyond if value]
    bars = [("fund at\nthe start", 0.0, s["fund_start"], GREEN)]
    level = s["fund_start"]
    for label, change in steps:
        bars.append((label, level, change, BLUE if change > 0 else RED))
        level += change
    bars.append(("fund at\nthe end", 0.0, s["fund_end"], GREEN))
    bars += [(label, 0.0, value, GREY) for label, value in beyond]
    tops = [max(base, base + height) for _, base, height, _ in bars]
    lows = [min(base, base + height) for _, base, height, _ in bars]
    reach = max(max(tops) - min(0.0, *lows), 1e-9)
    unit, word = unit_of(max(abs(x) for x in (*tops, *lows)))
    for k, (label, base, height, colour) in enumerate(bars):
        ax.bar(k, height / unit, 0.66, bottom=base / unit, color=colour, label=label)
        whole = label.startswith("fund") or colour == GREY
        ax.annotate(
            amount(height) if whole else f"{'+' if height > 0 else '−'}{amount(abs(height))}",
            (k, tops[k] / unit), xytext=(0, 3), textcoords="offset points", ha="center", va="bottom",
            fontsize=SMALL,
        )  # fmt: skip
        if k + 1 < len(bars) - len(beyond):  # up to the bar of the end
            y = (base + height) / unit
            ax.plot([k + 0.33, k + 0.67], [y, y], color=GREY, linewidth=0.8)
    ax.set_xticks(range(len(bars)), [label for label, _, _, _ in bars], fontsize=SMALL)
    ax.set_xlim(-0.6, len(bars) - 0.4)
    ax.set_ylim(min(0.0, *lows) / unit, (max(tops) + 0.12 * reach) / unit)
    ax.set_ylabel(f"settlement currency{word}")
    frame(ax)
    taken = [
        f"{what} {amount(s[key])} notional"
        for what, key in (("deleveraged", "adl_notional"), ("taken by the vault", "takeover_notional"))
        if s[key]
    ]
    title(ax, "Insurance fund: what came in and what went out", ", ".join(taken) or "nobody was deleveraged")
    return ax


# Data


def _need_transfers(result: Result, what: str) -> None:
    check_result(result)
    if result._record != "all":
        raise EngineStateError(
            f"plot.{what}: the run was made with record={result._record!r}; the payments need record='all'"
        )


def _payments(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """(events, signed quanta) of every transfer that touched the fund.

    From events and not from the flows table, where an account may be called "fund".
    """
    events = result.events
    paid = events[(events["kind"] == EventKind.TRANSFER) & ((events["a"] == FUND) | (events["b"] == FUND))]
    change = np.where(paid["b"] == FUND, paid["value"], 0) - np.where(paid["a"] == FUND, paid["value"], 0)
    return paid, change


def _by_reason(result: Result) -> list[tuple[str, float]]:
    """(reason, signed money) of the fund's payments: what came in first, each by size."""
    paid, change = _payments(result)
    found = []
    for why in Why:
        mine = paid["flags"] == why
        total = result._money(int(change[mine].sum(dtype=object) or 0))
        if total:
            word = why.name.lower()
            found.append((STEPS.get(word, word.replace("_", "\n")), total))
    return sorted(found, key=lambda step: (step[1] < 0, -abs(step[1])))


def _balances(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """(places, balances) of the insurance fund."""
    events, last = result.events, _last_wave(result)
    paid, change = _payments(result)
    quanta = np.concatenate([[0], np.cumsum(change)]) + result._state.fund
    balance = result._money(quanta)
    x = places(paid["wave"], order_within(paid["wave"], paid["seq"], events["wave"], events["seq"]))
    return np.concatenate([[-0.75], x, [last + 0.5]]), np.concatenate([balance, balance[-1:]])
