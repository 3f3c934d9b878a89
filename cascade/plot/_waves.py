"""Pictures with the wave across: the price, and what was liquidated.

0 is the shock; within a wave events stand in order, evenly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._report import amount, price_text
from ..errors import InputError
from ..result import Result
from ._look import (
    BLUE,
    GREY,
    axes_of,
    check_result,
    colours_of,
    end_labels,
    frame,
    legend,
    name,
    title,
    unit_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        Draw this one only. Of more than six those with the largest notional
        are named, the others grey.
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
    check_result(result)
    instruments = result._state.instruments
    symbols = [i.symbol for i in instruments]
    if instrument is not None and instrument not in symbols:
        raise InputError(
            f"instrument = {instrument!r}: unknown instrument; the result has {', '.join(symbols)}"
        )
    ax = axes_of(ax)
    wave_axis(ax, result)
    colours = colours_of(result)
    if instrument is None:
        drawn = [*(k for k in range(len(symbols)) if k not in colours), *colours]
    else:
        drawn = [symbols.index(instrument)]
        colours = {drawn[0]: colours.get(drawn[0], BLUE)}
    ends = []
    for k in drawn:
        ins, start = instruments[k], result._summary["price"][symbols[k]]["start"]
        x, mark = _marks(result, ins.symbol)
        colour, strength = (colours[k], 1.2) if k in colours else (GREY, 0.6)
        ax.plot(
            x, (mark / start - 1) * 100, drawstyle="steps-post", color=colour, linewidth=strength,
            alpha=0.75, label=ins.symbol,
        )  # fmt: skip
        if k not in colours:
            continue
        x, mark = _wave_ends(result, ins.symbol)
        percent = (mark / start - 1) * 100
        size = 5 if len(x) <= MOST_BANDS else 0
        ax.plot(x, percent, "o", color=colour, markersize=size, clip_on=False, zorder=3)
        text = f"{name(ins.symbol)} {percent[-1]:+.2f}%\n{price_text(mark[-1], float(ins.tick_size))}"
        ends.append((float(percent[-1]), text, colour))
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set_ylabel("mark, % of its start")
    others = len(drawn) - len(colours)
    grey = f"; grey: {others} others" if others else ""
    title(ax, "Price by wave", f"line: every change of the mark, dot: the mark after the wave{grey}")
    ax.margins(y=0.08)
    end_labels(ax, ends)
    return ax


def waves(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the liquidated notional of each wave, stacked by instrument; wave 0 is the shock's own trading.

    Parameters
    ----------
    result : Result
        Of more than six instruments the six with the largest notional are named, the others grey.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    check_result(result)
    ax = axes_of(ax)
    wave_axis(ax, result)
    table, last = result.waves, _last_wave(result)
    symbols = [i.symbol for i in result._state.instruments]
    heights = np.zeros((len(symbols), last + 1))
    for k, symbol in enumerate(symbols):
        mine = table["instrument"] == symbol
        np.add.at(heights[k], table["wave"][mine], table["notional"][mine])
    unit, word = unit_of(float(heights.sum(axis=0).max(initial=0)))
    heights /= unit
    colours = colours_of(result)
    layers = [(name(symbols[k]), heights[k], colour) for k, colour in colours.items()]
    rest = [k for k in range(len(symbols)) if k not in colours]
    if rest:
        layers.append((f"{len(rest)} others", heights[rest].sum(axis=0), GREY))
    below, bars = np.zeros(last + 1), []
    for label, height, colour in layers:
        bars.append(ax.bar(np.arange(last + 1), height, 0.72, bottom=below, color=colour, label=label))
        below += height
    s = result._summary
    ax.set_ylabel(f"notional per wave{word}")
    ax.set_ylim(0, max(below.max() * 1.12, 1e-9))
    aside = (
        f"first order {amount(s['first_order_notional'])}, higher order {amount(s['higher_order_notional'])}"
    )
    title(ax, "Liquidated notional by wave", aside)
    if len(layers) > 1:
        legend(ax, bars, [label for label, _, _ in layers], loc="upper right", ncols=min(3, len(layers)))
    return ax


# Data


def _last_wave(result: Result) -> int:
    return int(result.waves["wave"].max(initial=0))


def places(wave: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Horizontal places of events: wave w fills [w - 0.5, w + 0.5), `order` in [0, 1) within."""
    return wave - 0.5 + order


def order_within(wave: np.ndarray, seq: np.ndarray, all_wave: np.ndarray, all_seq: np.ndarray) -> np.ndarray:
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
    start, last = result._summary["price"][symbol]["start"], _last_wave(result)
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
            order = order_within(wave, seq, every["wave"], every["seq"])
        else:
            order = order_within(wave, seq, table["wave"], table["seq"])
        x, mark = places(wave, order), table["mark"][mine]
        if not result._summary["shock_notional"]:
            x = np.where(wave == 0, 0, x)  # a shock without trades is one instant for all instruments
    final = mark[-1] if len(mark) else start
    return np.concatenate([[-0.75], x, [last + 0.5]]), np.concatenate([[start], mark, [final]])


def _wave_ends(result: Result, symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """(places, marks) of one instrument after each wave."""
    table = result.waves
    mine = table["instrument"] == symbol
    return table["wave"][mine] + 0.5, table["price"][mine]


# Drawing


def wave_axis(ax: Axes, result: Result) -> None:
    """The horizontal axis in waves, every other wave shaded."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    last = _last_wave(result)
    if last <= MOST_BANDS:
        for wave in range(1, last + 1, 2):
            ax.axvspan(wave - 0.5, wave + 0.5, color=GREY, alpha=0.10, linewidth=0, zorder=0)
    ax.set_xlim(-0.75, last + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: "shock" if x == 0 else f"{x:.0f}" if x > 0 else "")
    )
    ax.set_xlabel("wave")
    frame(ax)
