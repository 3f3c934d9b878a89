"""The tipping point: the smallest shock past which the outcome jumps, or a limit is crossed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from .._badrows import show
from ..errors import InputError, InputTypeError
from ..instruments import exact
from ..shocks import Shock
from ..tables import Table
from ._outcome import as_outcome, name_of


@dataclass(frozen=True, eq=False)
class TippingPoint:
    """Where the outcome tips.

    Attributes
    ----------
    at : float
        The smallest size, to `step`, beyond the jump or the limit; NaN where there is none.
    below, above : float
        The outcome one step below, and at `at`.
    points : Table
        size, outcome: every size looked at, ascending.
    outcome : str
        What was measured.
    """

    at: float
    below: float
    above: float
    points: Table
    outcome: str = "outcome"

    def __bool__(self) -> bool:
        return bool(np.isfinite(self.at))

    def plot(self, ax: Any = None) -> Any:
        """Draw the outcome over the size of the shock, the tipping point marked."""
        from ..plot import curve

        return curve(
            self.points["size"], self.points["outcome"], marked=self.at, xlabel="size of the shock",
            ylabel=self.outcome, ax=ax,
        )  # fmt: skip


def tipping_point(
    market: Any, shock: Callable[[float], Shock], low: Any, high: Any, *, step: Any,
    outcome: Any = "price_drop", jump: float | None = None, limit: float | None = None, points: int = 33,
    rules: Any = None,
) -> TippingPoint:  # fmt: skip
    """Find the smallest size of a shock at which the outcome jumps by `jump` within one step, or passes
    `limit`.

    Outcomes of cascades jump, and need not grow with the shock. So sizes from low to high are looked at on a
    grid first; then every interval across which the outcome changes enough is halved, leftmost first, until
    it is a step wide. What happens between two points of the grid and undoes itself there is not seen.

    Parameters
    ----------
    market : Market
    shock : callable
        The Shock of a size: `lambda q: cs.Shock(orders={"X": -q})`.
    low, high, step : number
        Sizes low, low + step, ... up to high are candidates.
    outcome : str or callable
        A scalar of `Result.summary`, "price_drop" (relative, the worst instrument), "fund_use",
        "venue_loss", or a function of a Result.
    jump : number, optional
        Smallest change within one step that counts as a jump. Default, without a limit: a quarter of
        the range that the outcome covers.
    limit : number, optional
        Instead: find where the outcome first exceeds this.
    points : int
        Points of the grid.
    rules : VenueRules or Venue, optional

    Returns
    -------
    TippingPoint

    Raises
    ------
    InputError, InputTypeError
        Sizes that are no range, both a jump and a limit, an outcome that is not known.

    Examples
    --------
    >>> import cascade as cs
    >>> tip = cs.studies.tipping_point(
    ...     cs.datasets.cluster(), lambda q: cs.Shock(orders={"X": -q}), 1, 1000, step=1, jump=1e-5
    ... )
    >>> tip.at
    800.0
    """
    first, last, width = (
        exact(x, f"tipping_point.{n}") for n, x in (("low", low), ("high", high), ("step", step))
    )
    if width <= 0:
        raise InputError(f"tipping_point.step = {show(step)}: must be > 0")
    if last <= first:
        raise InputError(f"tipping_point.high = {show(high)}: must exceed low = {show(low)}")
    if jump is not None and limit is not None:
        raise InputError("tipping_point: must be given a jump or a limit, not both")
    if isinstance(points, bool) or not isinstance(points, int | np.integer):
        raise InputTypeError(f"tipping_point.points = {show(points)}: must be an int")
    if points < 2:
        raise InputError(f"tipping_point.points = {points}: must be at least 2")
    measure = as_outcome(outcome, "tipping_point.outcome")
    count = int((last - first) / width)
    seen: dict[int, float] = {}

    def at(k: int) -> float:
        if k not in seen:
            seen[k] = float(
                measure(market.run(shock(_number(first + k * width)), rules=rules, record="summary"))
            )
        return seen[k]

    grid = sorted({round(Fraction(k * count, points - 1)) for k in range(points)})
    values = [at(k) for k in grid]
    if limit is not None:
        found = _first_beyond(at, grid, float(limit))
    else:
        needed = float(jump) if jump is not None else (max(values) - min(values)) / 4
        jumps = (_jump_within(at, a, b, needed) for a, b in pairwise(grid))
        found = next((k for k in jumps if k is not None), None)
    sizes = sorted(seen)
    table = Table(
        {
            "size": np.array([float(first + k * width) for k in sizes]),
            "outcome": np.array([seen[k] for k in sizes]),
        }
    )
    if found is None:
        return TippingPoint(float("nan"), float("nan"), float("nan"), table, name_of(outcome))
    below = at(found - 1) if found else float("nan")
    return TippingPoint(float(first + found * width), below, at(found), table, name_of(outcome))


def _number(x: Fraction) -> float | int:
    """A size as the caller would write it."""
    return int(x) if x.denominator == 1 else float(x)


def _first_beyond(at: Callable[[int], float], grid: list[int], limit: float) -> int | None:
    """The first k, as far as the grid shows, at which the outcome exceeds a limit."""
    for n, k in enumerate(grid):
        if at(k) > limit:
            yes, no = k, grid[n - 1] if n else -1
            while yes - no > 1:
                middle = (yes + no) // 2
                if at(middle) > limit:
                    yes = middle
                else:
                    no = middle
            return yes
    return None


def _jump_within(at: Callable[[int], float], a: int, b: int, needed: float) -> int | None:
    """The first k in (a, b] at which the outcome differs by `needed` or more from that at k - 1; None if the
    halves show none."""
    if needed <= 0 or abs(at(b) - at(a)) < needed:
        return None
    if b - a == 1:
        return b
    middle = (a + b) // 2
    left = _jump_within(at, a, middle, needed)
    return left if left is not None else _jump_within(at, middle, b, needed)
