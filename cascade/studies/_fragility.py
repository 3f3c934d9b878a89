"""Fragility: the damage over the size of a shock, beside the liquidation map and the books' depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..shocks import Shock
from ..tables import Table
from ._outcome import as_outcome, name_of


@dataclass(frozen=True, eq=False)
class Fragility:
    """Damage by size of the shock.

    Attributes
    ----------
    curve : Table
        size, outcome, first_order_notional, higher_order_notional, amplification, status.
    steepest : float
        The size before the steepest rise of the outcome.
    maps : dict of str to Table
        `liquidation_map` of each instrument.
    outcome : str
        What was measured.
    """

    curve: Table
    maps: dict[str, Table]
    outcome: str = "outcome"

    @property
    def steepest(self) -> float:
        rise = np.diff(self.curve["outcome"]) / np.diff(self.curve["size"])
        return float(self.curve["size"][int(np.argmax(rise))]) if rise.size else float("nan")

    def plot(self, ax: Any = None) -> Any:
        """Draw the outcome over the size of the shock."""
        from ..plot import fragility

        return fragility(self, ax=ax)


def fragility(
    market: Any, shock: Callable[[float], Shock], sizes: Sequence[float], *, outcome: Any = "venue_loss",
    rules: Any = None,
) -> Fragility:  # fmt: skip
    """Run a shock in growing sizes.

    Parameters
    ----------
    market : Market
    shock : callable
        The Shock of a size.
    sizes : sequence of number
    outcome : str or callable
        As in `tipping_point`.
    rules : VenueRules or Venue, optional

    Examples
    --------
    >>> import cascade as cs
    >>> found = cs.studies.fragility(
    ...     cs.datasets.cluster(),
    ...     lambda q: cs.Shock(orders={"X": -q}),
    ...     range(700, 901, 50),
    ...     outcome="price_drop",
    ... )
    >>> found.steepest
    750.0
    """
    measure = as_outcome(outcome, "fragility.outcome")
    rows = []
    for size in sizes:
        result = market.run(shock(size), rules=rules, record="summary")
        s = result._summary
        rows.append(
            (
                float(size), float(measure(result)), s["first_order_notional"], s["higher_order_notional"],
                s["amplification"], s["status"],
            )
        )  # fmt: skip
    names = "size", "outcome", "first_order_notional", "higher_order_notional", "amplification", "status"
    kinds = (np.float64,) * 5 + (np.str_,)
    columns = zip(*rows, strict=True) if rows else ((),) * 6
    curve = Table({name: np.array(c, kind) for name, c, kind in zip(names, columns, kinds, strict=True)})
    maps = {i.symbol: market.liquidation_map(i.symbol, rules=rules) for i in market.instruments}
    return Fragility(curve, maps, name_of(outcome))
