"""The picture of where liquidations wait: lots by trigger price, against what the book takes there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._badrows import show
from .._report import amount, price_text
from .._standing import Standing, loaded_mark, map_table
from .._state import KNOWN_TO_INFINITY, KNOWN_TO_ZERO, State
from ..errors import InputError, InputTypeError
from ..instruments import PRICE_LIMIT
from ..result import Result
from ..rules import as_rules
from ._look import BLUE, GREY, RED, axes_of, frame, legend, name, title, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def liquidation_map(
    market: Any, instrument: str, *, within: float = 0.2, bins: int = 80, rules: Any = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the quantity that would be liquidated by trigger price, against the book's quantity at these
    prices.

    Where the bars stand out above the book, a price that falls (or rises) so far forces out more than the
    book takes on the way.

    Parameters
    ----------
    market : Market or Result
        A result's market is drawn as it was before its shock, under the rules of the run.
    instrument : str
    within : float
        Largest distance from the mark that is drawn, relative to it, in (0, 1).
    bins : int
        Number of price ranges, even.
    rules : VenueRules or Venue, optional
        Of a market; default its own.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError, InputTypeError
        An unknown instrument, a distance outside (0, 1), an odd number of bins, rules for a result.
    """
    if isinstance(within, bool) or not isinstance(within, int | float | np.floating):
        raise InputTypeError(f"liquidation_map.within = {show(within)}: must be a number")
    if not 0 < within < 1:
        raise InputError(f"liquidation_map.within = {show(within)}: must be in (0, 1)")
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer):
        raise InputTypeError(f"liquidation_map.bins = {show(bins)}: must be an int")
    if bins < 2 or bins % 2:
        raise InputError(f"liquidation_map.bins = {bins}: must be even and at least 2")
    state, names, chosen = _subject(market, rules)
    symbols = [i.symbol for i in state.instruments]
    if instrument not in symbols:
        raise InputError(
            f"instrument = {show(instrument)}: unknown instrument; there are {', '.join(symbols)}"
        )
    i = symbols.index(instrument)
    marks = [loaded_mark(state, k, chosen.mark) for k in range(len(symbols))]
    missing = [s for s, mark in zip(symbols, marks, strict=True) if mark is None]
    if missing:
        raise InputError(f"liquidation_map: {missing[0]!r} has no mark under rules.mark={chosen.mark!r}")
    ins = state.instruments[i]
    mark = int(marks[i] or 0) / 1024 * float(ins.tick_size)
    triggers = map_table(
        Standing(state, chosen, [int(m or 0) for m in marks]).prices_table(names), instrument
    )

    ax = axes_of(ax)
    edges = np.linspace(1 - within, 1 + within, bins + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2 - 1, 2 * within / bins
    sells = np.histogram(triggers["price"] / mark, edges, weights=_of(triggers, "sell"))[0]
    buys = np.histogram(triggers["price"] / mark, edges, weights=_of(triggers, "buy"))[0]
    orders = state.orders[i]
    lots = np.asarray(ins.to_size(orders.lots), np.float64)
    depth = np.histogram(np.asarray(ins.to_price(orders.price), np.float64) / mark, edges, weights=lots)[0]
    unit, word = unit_of(float(max(sells.max(), buys.max(), depth.max())))
    drawn: list[Any] = [
        ax.bar(middles * 100, sells / unit, width * 86, color=RED),
        ax.bar(middles * 100, buys / unit, width * 86, bottom=sells / unit, color=BLUE),
    ]
    drawn += ax.plot(
        np.repeat(edges - 1, 2)[1:-1] * 100, np.repeat(depth / unit, 2), color=GREY, linewidth=1.5, zorder=3
    )
    ax.fill_between(
        np.repeat(edges - 1, 2)[1:-1] * 100, np.repeat(depth / unit, 2), color=GREY, alpha=0.25, linewidth=0,
        zorder=0,
    )  # fmt: skip
    labels = ["longs sold", "shorts bought back", "in the book"]
    for low, high in _unknown(state, i, mark, within):
        shade = ax.axvspan(
            low * 100, high * 100, facecolor="none", edgecolor=GREY, alpha=0.5, hatch="//", lw=0
        )
        if len(drawn) == 3:
            drawn.append(shade)
            labels.append("book not known")
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    ax.set_xlim(-within * 100, within * 100)
    ax.set_ylim(bottom=0)
    ax.margins(y=0.12)
    ax.set_xlabel("price, % from the mark")
    ax.set_ylabel(f"quantity per {width:.2%}{word}")
    frame(ax)
    legend(ax, drawn, labels, loc="best")
    inside = f"{amount(sells.sum())} to be sold, {amount(buys.sum())} to be bought back within {within:.0%}"
    title(
        ax, f"{name(instrument)}: liquidations by trigger price",
        f"{inside} of the mark {price_text(mark, float(ins.tick_size))}; in the book {amount(depth.sum())}",
    )  # fmt: skip
    return ax


def _subject(market: Any, rules: Any) -> tuple[State, Any, Any]:
    """(what was loaded, who knows the accounts' names, the rules)."""
    if isinstance(market, Result):
        if rules is not None:
            raise InputError("liquidation_map.rules: must be left out for a result, which has its own")
        return market._state, market._market, market._rules
    if not hasattr(market, "load_positions"):
        raise InputTypeError(
            f"liquidation_map.market = {type(market).__name__}: must be a Market or a Result"
        )
    return market.state(), market, as_rules(rules, market.rules)


def _of(triggers: Any, side: str) -> np.ndarray:
    return np.where(triggers["side"] == side, triggers["quantity"], 0.0)


def _unknown(state: State, i: int, mark: float, within: float) -> list[tuple[float, float]]:
    """Ranges, relative to the mark, in which the book was not loaded."""
    tick = float(state.instruments[i].tick_size)
    found = []
    bid, ask = int(state.known_bid[i]), int(state.known_ask[i])
    if bid not in (KNOWN_TO_ZERO, KNOWN_TO_INFINITY, PRICE_LIMIT) and bid * tick / mark - 1 > -within:
        found.append((-within, bid * tick / mark - 1))
    if ask not in (KNOWN_TO_ZERO, KNOWN_TO_INFINITY, PRICE_LIMIT) and ask * tick / mark - 1 < within:
        found.append((ask * tick / mark - 1, within))
    return found
