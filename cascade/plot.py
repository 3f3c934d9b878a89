"""Pictures of a run: the price by wave, what was liquidated, the insurance fund.

Needs matplotlib (the `plot` extra).

Every function draws on `ax` (by default the current Axes) and returns it, so that pictures can be put
together; `overview` makes the three-panel figure. The horizontal axis is the wave: 0 is the shock, and within
a wave events stand in order, evenly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._report import amount, price_text
from ._state import FUND
from .errors import EngineStateError, InputError, InputTypeError
from .records import EventKind
from .result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart by colour-blind readers, in print and on a dark page."""
FUND_COLOUR = "#009E73"
GREY = "#8A8A8A"
MOST_BANDS = 40
"""With more waves than this their boundaries would be a hatching."""


def price_path(result: Result, instrument: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the mark of every instrument, or of one, as percent of its start by wave.

    Parameters
    ----------
    result : Result
        With record "all" or "liquidations" every change of a mark is drawn; with "summary" the mark
        after each wave.
    instrument : str, optional
        Draw this one only.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        An unknown instrument.

    Examples
    --------
    >>> import cascade as cs
    >>> result = cs.datasets.constant_depth().run(cs.Shock(orders={"X": -500}))
    >>> ax = cs.plot.price_path(result)  # doctest: +SKIP
    """
    _check(result)
    symbols = [i.symbol for i in result._state.instruments]
    if instrument is not None and instrument not in symbols:
        raise InputError(
            f"instrument = {instrument!r}: unknown instrument; the result has {', '.join(symbols)}"
        )
    ax = _axes(ax)
    _bands(ax, result)
    ends = []
    for k, ins in enumerate(result._state.instruments):
        if instrument in (None, ins.symbol):
            x, mark = _marks(result, ins.symbol)
            percent = (mark / result.summary["price"][ins.symbol]["start"] - 1) * 100
            colour = COLOURS[k % len(COLOURS)]
            ax.plot(
                x, percent, drawstyle="steps-post", color=colour, linewidth=1.1, alpha=0.7, label=ins.symbol
            )
            x, mark = _wave_ends(result, ins.symbol)
            percent = (mark / result.summary["price"][ins.symbol]["start"] - 1) * 100
            size = 5 if len(x) <= MOST_BANDS else 0
            ax.plot(x, percent, "o", color=colour, markersize=size, clip_on=False, zorder=3)
            text = f"{ins.symbol} {percent[-1]:+.2f}%\n{price_text(mark[-1], float(ins.tick_size))}"
            ends.append((float(percent[-1]), text, colour))
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set_ylabel("mark, % of its start")
    ax.set_title("Price by wave", loc="left")
    _aside(ax, "line: every change of the mark, dot: the mark after the wave")
    ax.margins(y=0.08)
    _end_labels(ax, ends)
    return ax


def waves(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the liquidated notional of each wave, stacked by instrument; wave 0 is the shock's own trading.

    Parameters
    ----------
    result : Result
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    _check(result)
    ax = _axes(ax)
    _bands(ax, result)
    table, last = result.waves, _last_wave(result)
    unit, word = _unit(float(table["notional"].max(initial=0)))
    below = np.zeros(last + 1)
    for k, ins in enumerate(result._state.instruments):
        height = np.zeros(last + 1)
        mine = table["instrument"] == ins.symbol
        np.add.at(height, table["wave"][mine], table["notional"][mine] / unit)
        ax.bar(
            np.arange(last + 1), height, 0.72, bottom=below, color=COLOURS[k % len(COLOURS)], label=ins.symbol
        )
        below += height
    s = result.summary
    ax.set_ylabel(f"notional per wave{word}")
    ax.set_ylim(0, max(below.max() * 1.12, 1e-9))
    ax.set_title("Liquidated notional", loc="left")
    _aside(
        ax,
        f"first order {amount(s['first_order_notional'])}, higher order {amount(s['higher_order_notional'])}",
    )
    if len(result._state.instruments) > 1:
        ax.legend(frameon=False, loc="upper right", ncols=min(3, len(result._state.instruments)))
    return ax


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
    _check(result)
    if result._record != "all":
        raise EngineStateError(
            f"plot.fund: the run was made with record={result._record!r}; the payments need record='all'"
        )
    ax = _axes(ax)
    _bands(ax, result)
    x, balance = _balances(result)
    unit, word = _unit(float(np.abs(balance).max()))
    ax.plot(x, balance / unit, drawstyle="steps-post", color=FUND_COLOUR, linewidth=1.8)
    ax.fill_between(x, balance / unit, step="post", color=FUND_COLOUR, alpha=0.15, linewidth=0)
    s = result.summary
    ax.set_ylabel(f"balance{word}")
    ax.set_ylim(0, max(balance.max() / unit * 1.08, 1e-9))
    ax.set_title("Insurance fund", loc="left")
    beyond = [
        f"{what} {amount(s[name])}"
        for what, name in (
            ("deleveraged", "adl_notional"),
            ("socialised", "socialised"),
            ("deficit", "deficit"),
        )
        if s[name] > 0
    ]
    _aside(
        ax, f"{amount(s['fund_start'])} to {amount(s['fund_end'])}" + "".join(f", {text}" for text in beyond)
    )
    return ax


def overview(result: Result, *, figure: Figure | None = None) -> Figure:
    """Draw price by wave, liquidated notional by wave and the insurance fund, one below the other.

    Parameters
    ----------
    result : Result
        Without record="all" the fund is left out.
    figure : matplotlib Figure, optional
        An empty figure to draw on; by default a new one of pyplot's.

    Returns
    -------
    matplotlib Figure
    """
    _check(result)
    panels = 3 if result._record == "all" else 2
    if figure is None:
        figure = _pyplot().figure(figsize=(9, 3.1 * panels + 0.6), layout="constrained")
    ratios = [1.35, 1, 1][:panels]
    axes = figure.subplots(panels, 1, sharex=True, gridspec_kw={"height_ratios": ratios})
    price_path(result, ax=axes[0])
    waves(result, ax=axes[1])
    if panels == 3:
        fund(result, ax=axes[2])
    for ax in axes[:-1]:
        ax.set_xlabel("")
    s = result.summary
    count = f"{s['waves']} wave{'' if s['waves'] == 1 else 's'}"
    figure.suptitle(
        f"{result._shock}: {count}, {s['liquidated_accounts']:,} accounts liquidated, "
        f"{s['status'].replace('_', ' ')}",
        x=0.012, ha="left", fontsize="large", fontweight="bold",
    )  # fmt: skip
    return figure


# Data


def curve(
    x: Any,
    y: Any,
    *,
    marked: float = float("nan"),
    xlabel: str = "",
    ylabel: str = "outcome",
    ax: Axes | None = None,
) -> Axes:
    """Draw one quantity over another; `marked` is a place on the horizontal axis to point out.

    Parameters
    ----------
    x, y : (n,) array_like
    marked : float, optional
    xlabel, ylabel : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    ax = _axes(ax)
    ax.plot(x, y, "o-", color=COLOURS[0], markersize=3, linewidth=1.2)
    if np.isfinite(marked):
        ax.axvline(marked, color=COLOURS[1], linewidth=1.2, linestyle="--")
        ax.annotate(
            f"{marked:,.6g}", (marked, 1.0), xycoords=("data", "axes fraction"), xytext=(4, -12),
            textcoords="offset points", color=COLOURS[1],
        )  # fmt: skip
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def distributions(samples: dict[str, Any], *, xlabel: str = "", ax: Axes | None = None) -> Axes:
    """Draw how often each sample exceeds a value, on a logarithmic scale: what tails are read from.

    Parameters
    ----------
    samples : {label: (n,) array_like}
    xlabel : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    ax = _axes(ax)
    for k, (label, values) in enumerate(samples.items()):
        ordered = np.sort(np.asarray(values, np.float64))
        beyond = 1 - np.arange(len(ordered)) / max(1, len(ordered))
        ax.plot(ordered, beyond, drawstyle="steps-pre", color=COLOURS[k % len(COLOURS)], label=label)
    ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel("part of the scenarios beyond")
    ax.legend(frameon=False)
    return ax


def _last_wave(result: Result) -> int:
    return int(result.waves["wave"].max(initial=0))


def _places(wave: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Horizontal places of events: wave w fills [w - 0.5, w + 0.5), `order` in [0, 1) within."""
    return wave - 0.5 + order


def _order_within(wave: np.ndarray, seq: np.ndarray, all_wave: np.ndarray, all_seq: np.ndarray) -> np.ndarray:
    """How far through its wave each event is, in [0, 1), by the first and last number in the wave."""
    out = np.zeros(len(wave))
    for w in np.unique(wave).tolist():
        mine = wave == w
        span = all_seq[all_wave == w]
        first, last = int(span.min()), int(span.max())
        out[mine] = (seq[mine] - first) / (last - first + 1)
    return out


def _marks(result: Result, symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """(places, marks) of one instrument, from before the shock to the end of the last wave."""
    start, last = result.summary["price"][symbol]["start"], _last_wave(result)
    if result._record == "summary":
        table = result.waves
        mine = table["instrument"] == symbol
        wave, mark = table["wave"][mine], table["price"][mine]
        x = np.where(wave == 0, 0, wave + 0.5)  # a wave's change is known at its end only
    else:
        table = result.prices
        mine = table["instrument"] == symbol
        wave, seq = table["wave"][mine], table["seq"][mine]
        if result._record == "all":
            every = result.events
            order = _order_within(wave, seq, every["wave"], every["seq"])
        else:
            order = _order_within(wave, seq, table["wave"], table["seq"])
        x, mark = _places(wave, order), table["mark"][mine]
        if not result.summary["shock_notional"]:
            x = np.where(wave == 0, 0, x)  # a shock without trades is one instant for all instruments
    final = mark[-1] if len(mark) else start
    return np.concatenate([[-0.75], x, [last + 0.5]]), np.concatenate([[start], mark, [final]])


def _wave_ends(result: Result, symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """(places, marks) of one instrument after each wave."""
    table = result.waves
    mine = table["instrument"] == symbol
    return table["wave"][mine] + 0.5, table["price"][mine]


def _balances(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """(places, balances) of the insurance fund.

    From events and not from the flows table, where an account may be called "fund".
    """
    events, last = result.events, _last_wave(result)
    paid = events[(events["kind"] == EventKind.TRANSFER) & ((events["a"] == FUND) | (events["b"] == FUND))]
    change = np.where(paid["b"] == FUND, paid["value"], 0) - np.where(paid["a"] == FUND, paid["value"], 0)
    quantum = result._state.quantum
    quanta = np.concatenate([[0], np.cumsum(change)]) + result._state.fund
    balance = quanta.astype(np.float64) * quantum.numerator / quantum.denominator
    x = _places(paid["wave"], _order_within(paid["wave"], paid["seq"], events["wave"], events["seq"]))
    return np.concatenate([[-0.75], x, [last + 0.5]]), np.concatenate([balance, balance[-1:]])


def _unit(largest: float) -> tuple[float, str]:
    """A divisor for an axis and what to call it."""
    for unit, word in ((1e9, ", billions"), (1e6, ", millions"), (1e3, ", thousands")):
        if largest >= unit:
            return unit, word
    return 1.0, ""


# Drawing


def _check(result: Any) -> None:
    if not isinstance(result, Result):
        raise InputTypeError(f"result = {type(result).__name__}: must be a Result")


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        message = "cascade.plot needs matplotlib: pip install 'liquidation-cascade[plot]'"
        raise ModuleNotFoundError(message, name="matplotlib") from error
    return plt


def _axes(ax: Axes | None) -> Axes:
    return _pyplot().gca() if ax is None else ax


def _bands(ax: Axes, result: Result) -> None:
    """The horizontal axis in waves, every other wave shaded."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    last = _last_wave(result)
    if last <= MOST_BANDS:
        for wave in range(1, last + 1, 2):
            ax.axvspan(wave - 0.5, wave + 0.5, color=GREY, alpha=0.10, linewidth=0, zorder=0)
    ax.set_xlim(-0.75, last + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=20, integer=True, min_n_ticks=1))
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: "shock" if x == 0 else f"{x:.0f}" if x > 0 else "")
    )
    ax.set_xlabel("wave")
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0)


def _end_labels(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Name lines at their right ends, moved apart where they would overlap."""
    if not ends:
        return
    low, high = ax.get_ylim()
    gap = (high - low) * 0.15
    place = -np.inf
    for y, text, colour in sorted(ends):
        place = max(y, place + gap)
        ax.annotate(
            text, (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", color=colour,
            va="center", ha="left", fontsize="small", fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _aside(ax: Axes, text: str) -> None:
    """What the panel says in numbers, to the right of its title."""
    ax.set_title(text, loc="right", fontsize="small", color=GREY)


__all__ = ["fund", "overview", "price_path", "waves"]
