"""Pictures of causes: whose move forced out what, and who pushed whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._badrows import show
from .._report import amount
from ..causes import downstream
from ..errors import EngineStateError, InputError, InputTypeError
from ..result import Result
from ._look import (
    BLUE,
    GREY,
    SMALL,
    axes_of,
    check_result,
    colours_of,
    legend,
    name,
    nothing,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CELLS = 12
"""With more instruments than this the cells of the matrix carry no numbers."""
MOST_LABELS = 16
"""Names that fit below one another."""


def contagion(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the matrix of what each instrument's moves forced out of each, by notional.

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
        The run did not record its events.
    """
    check_result(result)
    table = result.contagion()
    ax = axes_of(ax)
    symbols = [i.symbol for i in result._state.instruments]
    moved = [*symbols, ""] if (table["moved"] == "").any() else symbols
    notional = np.zeros((len(symbols), len(moved)))
    for a, b, x in zip(table["instrument"].tolist(), table["moved"].tolist(), table["notional"], strict=True):
        notional[symbols.index(a), moved.index(b)] = x
    largest, whole = notional.max(initial=0), notional.sum()
    cells = np.empty((*notional.shape, 4))
    cells[..., :3] = [int(BLUE[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    cells[..., 3] = 0.75 * notional / largest if largest else 0
    ax.imshow(cells, aspect="auto")
    if len(symbols) <= MOST_CELLS:
        for (a, b), x in np.ndenumerate(notional):
            text = f"{amount(x)}\n{x / whole:.0%}" if x else "·"
            ax.text(b, a, text, ha="center", va="center", fontsize=SMALL, color=None if x else GREY)
    ax.set_xticks(range(len(moved)), [name(s, 12) if s else "no move" for s in moved])
    ax.set_yticks(range(len(symbols)), [name(s, 12) for s in symbols])
    for tick in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        tick.set_parse_math(False)
    ax.set_xlabel("instrument whose price move took the equity")
    ax.set_ylabel("instrument liquidated")
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    apart = (
        notional.sum()
        - sum(notional[k, k] for k in range(len(symbols)))
        - (notional[:, -1].sum() if len(moved) > len(symbols) else 0)
    )
    share = (
        f"{apart / whole:.0%} of {amount(whole)} liquidated by moves of another instrument" if whole else ""
    )
    title(ax, "Contagion: liquidated notional by cause", share or "nothing was liquidated")
    return ax


def network(result: Result, *, most: int = 40, ax: Axes | None = None) -> Axes:
    """Draw who pushed whom: the trunk of the forest of causes, wave by wave.

    A circle is a liquidation, its area the notional closed; a line leads from the liquidation whose price
    move made an account unhealthy to that account's. Shown are those with the most notional downstream:
    closed by themselves and by everything that they caused.

    Parameters
    ----------
    result : Result
        Of a run with record="liquidations" or "all".
    most : int
        Liquidations shown, at least 1.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    EngineStateError
        The run did not record its liquidations.
    InputError, InputTypeError
        `most` is not a positive int.
    """
    check_result(result)
    if isinstance(most, bool) or not isinstance(most, int | np.integer):
        raise InputTypeError(f"network.most = {show(most)}: must be an int")
    if most < 1:
        raise InputError(f"network.most = {most}: must be at least 1")
    if result._record == "summary":
        raise EngineStateError(
            "plot.network: the run was made with record='summary'; needs all or liquidations"
        )
    x = result._data.liquidations
    assert x is not None
    ax = axes_of(ax)
    ax.set_axis_off()
    if not len(x):
        nothing(ax, "nobody was liquidated")
        title(ax, "Who pushed whom")
        return ax
    below = downstream(x)
    # What a liquidation caused is downstream of it: the largest are a forest with all its causes.
    shown = np.sort(np.argsort(-below, kind="stable")[:most])
    place = {int(row): k for k, row in enumerate(shown)}
    parent = [place.get(int(x["cause_row"][row]), -1) for row in shown]
    across, down = x["wave"][shown].astype(np.float64), _heights(parent, below[shown])
    own = np.abs(x["closed_value"][shown].astype(np.float64))
    across += _apart(across, parent)
    for k, p in enumerate(parent):
        if p >= 0:
            ax.annotate(
                "", (across[k], down[k]), (across[p], down[p]), zorder=1,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.8, "alpha": 0.7,
                            "connectionstyle": "arc3,rad=0.0"},
            )  # fmt: skip
    symbols = [i.symbol for i in result._state.instruments]
    instrument = x["instrument"][shown]
    colours = colours_of(result)
    area = 14 + 170 * own / max(own.max(), 1)
    handles, labels = [], []
    for i, colour in [*colours.items(), (-1, GREY)]:
        mine = instrument == i if i >= 0 else ~np.isin(instrument, list(colours))
        if mine.any():
            drawn = ax.scatter(across[mine], down[mine], area[mine], color=colour, linewidth=0, zorder=2)
            handles.append(drawn)
            labels.append(name(symbols[i]) if i >= 0 else "others")
    accounts, apart = result._accounts(x["account"][shown]), np.ptp(down) / MOST_LABELS
    roots = [k for k in np.argsort(-below[shown], kind="stable").tolist() if parent[k] < 0]
    labelled: list[int] = []
    for k in roots:
        if all(abs(down[k] - down[other]) >= apart for other in labelled) and len(labelled) < MOST_LABELS:
            labelled.append(k)
            ax.annotate(
                f"{name(accounts[k], 12)}: {amount(result._money(below[shown[k]].item()))}",
                (across[k], down[k]), xytext=(-6 - np.sqrt(area[k]) / 2, 0), textcoords="offset points",
                fontsize=SMALL, ha="right", va="center", zorder=4, parse_math=False, annotation_clip=False,
            )  # fmt: skip
    first, last = int(x["wave"][shown].min()), int(x["wave"][shown].max())
    for wave in range(first, last + 1):
        if last - first <= 20 or wave % 5 == 0:
            ax.annotate(
                f"wave {wave}" if wave == first else str(wave), (wave, 0), xycoords=("data", "axes fraction"),
                xytext=(0, -4), textcoords="offset points", ha="center", va="top", fontsize=SMALL, color=GREY,
                annotation_clip=False,
            )  # fmt: skip
    ax.set_xlim(first - 0.9, last + 0.6)
    ax.margins(y=0.12)
    if len(symbols) > 1:
        legend(ax, handles, labels, loc="lower right", markerscale=0.6)
    left = len(x) - len(shown)
    omitted = f"; {left:,} smaller ones left out" if left else ""
    title(ax, "Who pushed whom", f"circle: notional closed; name: account, notional downstream{omitted}")
    return ax


def _heights(parent: list[int], below: np.ndarray) -> np.ndarray:
    """Vertical places of a forest: leaves one below the other, a cause in the middle of what it caused, large
    trees first."""
    children: list[list[int]] = [[] for _ in parent]
    for k, p in enumerate(parent):
        if p >= 0:
            children[p].append(k)
    y, free = np.zeros(len(parent)), 0
    for root in sorted((k for k, p in enumerate(parent) if p < 0), key=lambda k: (-below[k], k)):
        order, stack = [], [root]
        while stack:
            k = stack.pop()
            order.append(k)
            stack += reversed(children[k])
        for k in order:
            if not children[k]:
                y[k], free = -free, free + 1
        for k in reversed(order):
            if children[k]:
                y[k] = (y[children[k][0]] + y[children[k][-1]]) / 2
    return y


def _apart(across: np.ndarray, parent: list[int]) -> np.ndarray:
    """A step to the right for causes within one wave, so that no line is vertical."""
    depth = np.zeros(len(parent))
    for k, p in enumerate(parent):
        if p >= 0 and across[p] == across[k]:
            depth[k] = depth[p] + 1
    return 0.6 * depth / (depth.max() + 1) if depth.any() else depth
