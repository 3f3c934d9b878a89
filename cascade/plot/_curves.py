"""Pictures of many runs: an outcome over the size of a shock, and how often losses exceed a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._badrows import show
from .._report import amount
from ..errors import InputError, InputTypeError
from ._look import BLUE, COLOURS, GREY, RED, SMALL, axes_of, frame, legend, name, nothing, title, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RELATIVE = ("price_drop",)
"""Outcomes that are parts of 1; others whose names say so are counts, the rest is money."""
COUNTED = ("waves", "steps", "events", "_accounts", "initially_unhealthy", "dropped_levels")


def quantity_of(outcome: str, values: np.ndarray) -> tuple[float, str]:
    """(factor to draw values with, what to write at the axis) of an outcome of a run."""
    words = name(outcome.replace("_", " "), 40)
    if outcome in RELATIVE:
        return 100.0, f"{words}, %"
    if outcome.endswith(COUNTED):
        return 1.0, words
    if outcome == "amplification":
        return 1.0, f"{words}, times"
    finite = np.abs(values[np.isfinite(values)])
    unit, word = unit_of(float(finite.max(initial=0)))
    return 1 / unit, f"{words}{word}"


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
        What the axes are, with units. Where ylabel names an outcome of a run (as in
        `studies.tipping_point`) values are drawn in its unit.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    ax = axes_of(ax)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    factor, label = quantity_of(ylabel, y) if ylabel != "outcome" else (1.0, ylabel)
    ax.plot(x, y * factor, "o-", color=BLUE, markersize=3, linewidth=1.2)
    frame(ax)
    if np.isfinite(marked):
        ax.axvline(marked, color=RED, linewidth=1.2, linestyle="--")
        _beside(ax, marked, f"{marked:,.6g}")
    ax.set_xlabel(xlabel, parse_math=False)
    ax.set_ylabel(label, parse_math=False)
    return ax


def fragility(found: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the damage over the size of a shock, its steepest rise pointed out.

    Parameters
    ----------
    found : studies.Fragility
        Sizes whose run did not end settled are hollow: the book ended, or lots were left.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    ax = axes_of(ax)
    table = found.curve
    size, y = table["size"], table["outcome"]
    factor, label = quantity_of(found.outcome, y)
    frame(ax)
    ax.set_xlabel("size of the shock")
    ax.set_ylabel(label, parse_math=False)
    aside = ""
    if not len(table):
        nothing(ax, "no sizes")
    else:
        settled = table["status"] == "settled"
        ax.plot(size, y * factor, color=BLUE, linewidth=1.4)
        handles = [ax.plot(size[settled], (y * factor)[settled], "o", color=BLUE, markersize=4)[0]]
        names = ["settled"]
        if not settled.all():
            hollow = ax.plot(
                size[~settled], (y * factor)[~settled], "o", markerfacecolor="none", color=BLUE, markersize=5
            )
            handles.append(hollow[0])
            names.append(", ".join(sorted({s.replace("_", " ") for s in table["status"][~settled].tolist()})))
            legend(ax, handles, names, loc="best")
        k = int(np.argmax(np.diff(y) / np.diff(size))) if len(table) > 1 else -1
        if k >= 0 and y[k + 1] > y[k]:
            ax.plot(size[k : k + 2], y[k : k + 2] * factor, color=RED, linewidth=2.4, zorder=3)
            aside = f"steepest between {size[k]:,.6g} and {size[k + 1]:,.6g} (red)"
    title(ax, "Damage by size of the shock", aside)
    return ax


def distributions(
    samples: dict[str, Any],
    *,
    xlabel: str = "",
    levels: Sequence[float] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw how often each sample reaches a value, on a logarithmic scale: what tails are read from.

    Parameters
    ----------
    samples : {label: (n,) array_like}
    xlabel : str
        What was sampled. Where it names an outcome of a run, values are drawn in its unit.
    levels : sequence of float
        In (0, 1): value at risk is marked on every curve, and its values stand in the legend.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError, InputTypeError
        A level outside (0, 1).
    """
    for level in levels:
        if isinstance(level, bool) or not isinstance(level, int | float | np.floating):
            raise InputTypeError(f"distributions.levels: {show(level)}: must be a number")
        if not 0 < level < 1:
            raise InputError(f"distributions.levels: {show(level)}: must be in (0, 1)")
    ax = axes_of(ax)
    columns = {label: np.sort(np.asarray(values, np.float64)) for label, values in samples.items()}
    every = np.concatenate([np.zeros(0), *columns.values()])
    factor, words = quantity_of(xlabel, every)
    handles, labels = [], []
    for k, (label, ordered) in enumerate(columns.items()):
        n = max(1, len(ordered))
        beyond = 1 - np.arange(len(ordered)) / n
        colour = COLOURS[k % len(COLOURS)]
        handles += ax.plot(
            ordered * factor,
            beyond,
            drawstyle="steps-pre",
            linewidth=1.6,
            color=colour,
            linestyle=("-", "--", ":")[k % 3],
        )
        told = []
        for level in levels:
            # As studies.tail_risk: the worst value that is not in the tail.
            at = n - 1 - min(int((1 - level) * n + 1e-9), n - 1)
            if len(ordered):
                value = float(ordered[at])
                ax.plot([value * factor], [1 - level], "o", color=colour, markersize=5, zorder=3)
                shown = f"{value:.2%}" if xlabel in RELATIVE else amount(value)
                told.append(f"{level * 100:.6g}%: {shown}")
        labels.append(name(label, 40) + (f" (value at risk {', '.join(told)})" if told else ""))
    frame(ax)
    ax.set_yscale("log")
    for level in levels:
        ax.axhline(1 - level, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xlabel(words, parse_math=False)
    ax.set_ylabel("part of the scenarios that reach it")
    if handles:
        legend(ax, handles, labels, loc="best")
    return ax


def _beside(ax: Axes, x: float, text: str) -> None:
    """A text at the top, on the side of x that has room."""
    low, high = ax.get_xlim()
    left = x > (low + high) / 2
    ax.annotate(
        text, (x, 1.0), xycoords=("data", "axes fraction"), xytext=(-4 if left else 4, -12),
        textcoords="offset points", ha="right" if left else "left", fontsize=SMALL, parse_math=False,
    )  # fmt: skip
