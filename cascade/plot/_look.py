"""One look for all pictures: colours, axes, names and units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputTypeError
from ..result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart by colour-blind readers, in print and on a dark page."""
BLUE, RED, GREEN = COLOURS[:3]
GREY = "#767676"
"""4.5 to 1 on white, 4.1 to 1 on a dark page."""
SMALL = "small"
LONGEST_NAME = 18
MOST_NAMED = len(COLOURS)
"""Of more instruments than colours the smallest are drawn together, in grey."""

STRIPS = 400
"""Strips of a line's width within which points cannot be told apart."""


def pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        message = "cascade.plot needs matplotlib: pip install 'liquidation-cascade[plot]'"
        raise ModuleNotFoundError(message, name="matplotlib") from error
    return plt


def axes_of(ax: Axes | None) -> Axes:
    return pyplot().gca() if ax is None else ax


def check_result(result: Any) -> None:
    if not isinstance(result, Result):
        raise InputTypeError(f"result = {type(result).__name__}: must be a Result")


def name(text: Any, longest: int = LONGEST_NAME) -> str:
    """What a user called something, printable and short. Draw it with parse_math=False: a dollar sign is no
    formula."""
    text = str(text)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= longest else text[: longest - 1] + "…"


def unit_of(largest: float) -> tuple[float, str]:
    """A divisor for an axis and what to call it."""
    for unit, word in ((1e9, ", billions"), (1e6, ", millions"), (1e3, ", thousands")):
        if largest >= unit:
            return unit, word
    return 1.0, ""


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An edge with no more points than can be seen: of each strip the first, lowest, highest and last."""
    if len(x) <= 4 * STRIPS:
        return x, y
    strip = np.floor((x - x[0]) / max(x[-1] - x[0], 1e-300) * STRIPS)
    first = np.flatnonzero(np.diff(strip, prepend=-1))
    last = np.append(first[1:], len(x)) - 1
    by_value = np.lexsort((y, strip))
    keep = np.unique(np.concatenate([first, last, by_value[first], by_value[last]]))
    return x[keep], y[keep]


def frame(ax: Axes) -> None:
    """A grid, no box."""
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0)


def title(ax: Axes, what: str, aside: str = "") -> None:
    """The panel's name, and below it what it says in numbers."""
    ax.set_title(what + ("\n" if aside else ""), loc="left", parse_math=False)
    if aside:
        ax.annotate(
            aside, (0, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points",
            fontsize=SMALL, color=GREY, va="bottom", ha="left", parse_math=False, annotation_clip=False,
        )  # fmt: skip


def nothing(ax: Axes, text: str) -> None:
    """Say on an empty panel why it is empty."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def colours_of(result: Result) -> dict[int, str]:
    """{instrument: colour}: all, or those with the largest notional; the same in every picture of a run."""
    waves, symbols = result.waves, [i.symbol for i in result._state.instruments]
    notional = [float(waves["notional"][waves["instrument"] == symbol].sum()) for symbol in symbols]
    largest = np.argsort(-np.array(notional), kind="stable")[:MOST_NAMED]
    return dict(zip(sorted(largest.tolist()), COLOURS, strict=False))


def legend(ax: Axes, handles: Sequence[Any], labels: Sequence[str], **options: Any) -> None:
    """A legend whose texts are taken literally."""
    from matplotlib.legend import Legend

    made = Legend(ax, handles, [" "] * len(labels), frameon=False, fontsize=SMALL, **options)
    for text, label in zip(made.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
    ax.legend_ = made


def end_labels(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Name lines at their right ends, joined to them by a stroke, moved apart where they would overlap.

    Parameters
    ----------
    ends : list of (value, text, colour)
    """
    if not ends:
        return
    low, high = ax.get_ylim()
    gap = (high - low) * min(0.17, 1 / len(ends))
    ends = sorted(ends)
    places: list[float] = []
    for y, _, _ in ends:
        places.append(max(y, places[-1] + gap) if places else max(y, low + gap / 2))
    over = places[-1] - (high - gap / 2)
    if over > 0:  # push down again from the top
        limit = high - gap / 2
        for k in range(len(places) - 1, -1, -1):
            places[k] = min(places[k], limit)
            limit = places[k] - gap
    for (y, text, colour), place in zip(ends, places, strict=True):
        x = ax.get_xlim()[1]
        ax.annotate(
            text, (x, y), xytext=(1.035, place), textcoords=("axes fraction", "data"),
            va="center", ha="left", fontsize=SMALL, annotation_clip=False, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 1.6, "shrinkA": 2, "shrinkB": 0,
                        "relpos": (0, 0.5)},
        )  # fmt: skip
