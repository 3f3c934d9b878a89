"""Mitigation: the same shocks under several rule sets, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._badrows import show
from ..errors import InputError, InputTypeError
from ..shocks import Shock
from ..tables import Table
from ._outcome import NAMED

COLUMNS = (
    "liquidated_notional", "first_order_notional", "higher_order_notional", "amplification", "adl_notional",
    "takeover_notional", "socialised", "deficit", "liquidated_accounts",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mitigation:
    """Outcomes by shock and rule set.

    Attributes
    ----------
    table : Table
        shock, rules, status, waves, price_drop, fund_use, venue_loss and the totals of `Result.summary`: one
        row a shock and rule set, shocks in turn.
    """

    table: Table

    def column(self, name: str) -> Table:
        """One outcome: a row a shock, a column a rule set."""
        labels = list(dict.fromkeys(self.table["rules"].tolist()))
        shocks = list(dict.fromkeys(self.table["shock"].tolist()))
        values = self.table[name].reshape(len(shocks), len(labels)) if len(labels) else self.table[name]
        return Table({"shock": np.array(shocks), **{label: values[:, k] for k, label in enumerate(labels)}})

    def plot(self, outcome: str = "venue_loss", ax: Any = None) -> Any:
        """Draw one outcome: a group of bars a shock, a bar a rule set."""
        from ..plot._curves import quantity_of
        from ..plot._look import COLOURS, axes_of, frame, name

        ax = axes_of(ax)
        table = self.column(outcome)
        shocks, *labels = table
        place, width = np.arange(len(table[shocks])), 0.8 / max(len(labels), 1)
        factor, label = quantity_of(outcome, self.table[outcome])
        for k, rules in enumerate(labels):
            at = place + (k - (len(labels) - 1) / 2) * width
            ax.bar(at, table[rules] * factor, width, color=COLOURS[k % len(COLOURS)], label=name(rules))
        ax.set_xticks(place, [name(shock) for shock in table[shocks]], parse_math=False)
        ax.set_ylabel(label)
        ax.legend(frameon=False)
        frame(ax)
        return ax


def mitigation(market: Any, shocks: Any, changes: Mapping[str, Any]) -> Mitigation:
    """What would have prevented it: the same shocks under several rules, or in several markets.

    Parameters
    ----------
    market : Market
    shocks : Shock, iterable of Shock, or {name: Shock}
    changes : {name: VenueRules, Venue, Market or (Market, rules)}
        What is compared: other rules for this market, or a market loaded otherwise (a larger fund, other
        margin tiers, position limits), with rules of its own or given ones.

    Examples
    --------
    >>> import cascade as cs
    >>> market, rules = cs.datasets.constant_depth(), cs.VenueRules()
    >>> table = cs.studies.mitigation(
    ...     market, cs.Shock(orders={"X": -500}), {"last": rules, "mid": rules.replace(mark="mid")}
    ... ).table
    >>> table["liquidated_notional"][1] < table["liquidated_notional"][0]
    np.True_
    """
    if isinstance(shocks, Shock):
        shocks = [shocks]
    if isinstance(shocks, str) or not isinstance(shocks, Iterable):
        raise InputTypeError(f"mitigation.shocks = {show(shocks)}: must be Shocks")
    named = dict(shocks) if isinstance(shocks, Mapping) else {f"{k}: {s}": s for k, s in enumerate(shocks)}
    if not isinstance(changes, Mapping) or not changes:
        raise InputError(f"mitigation.changes = {show(changes)}: must name at least one rule set or market")
    rows: list[dict[str, Any]] = []
    for name, shock in named.items():
        for label, change in changes.items():
            subject, rules = change if isinstance(change, tuple) else (change, None)
            if not hasattr(subject, "load_positions"):
                subject, rules = market, subject
            result = subject.run(shock, rules=rules, record="summary")
            s = result._summary
            outcomes = {outcome: measure(result) for outcome, measure in NAMED.items()}
            rows.append(
                {
                    "shock": str(name),
                    "rules": str(label),
                    "status": s["status"],
                    "waves": s["waves"],
                    **outcomes,
                }
                | {column: s[column] for column in COLUMNS}
            )
    keys = ("shock", "rules", "status", "waves", *NAMED, *COLUMNS)
    return Mitigation(Table({key: np.array([row[key] for row in rows]) for key in keys}))
