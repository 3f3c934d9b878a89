"""What the scenarios of a sweep had in common, for whoever reports on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._state import State
from ..rules import VenueRules

MOST_INSTRUMENTS = 6


@dataclass(frozen=True, eq=False)
class Assumed:
    """The market as it was before every scenario, the rules, and the scenarios in words."""

    state: State
    rules: VenueRules
    scenarios: str
    shocks: Any
    """a list of Shocks or {symbol: moves}; None where a callable made them"""

    def money(self, quanta: int) -> float:
        q = self.state.quantum
        return int(quanta) * q.numerator / q.denominator

    def shock(self, k: int) -> str:
        """Scenario k in words."""
        if self.shocks is None:
            return "drawn"
        if isinstance(self.shocks, dict):
            return ", ".join(f"{symbol} {float(moves[k]):+.2%}" for symbol, moves in self.shocks.items())
        return str(self.shocks[k])


def assumed(state: State, rules: VenueRules, given: Any, count: int, max_waves: int | None) -> Assumed:
    """Of the scenarios as `read_scenarios` gives them."""
    if callable(given):
        name = getattr(given, "__qualname__", type(given).__name__)
        words, shocks = f"{count:,} shocks drawn by {name}.", None
    elif isinstance(given, dict):
        moves = [
            f"{symbol} {np.min(x):+.2%} to {np.max(x):+.2%}, standard deviation {np.std(x):.2%}"
            for symbol, x in list(given.items())[:MOST_INSTRUMENTS] if len(x)
        ]  # fmt: skip
        more = (
            f" and {len(given) - MOST_INSTRUMENTS} instruments more" if len(given) > MOST_INSTRUMENTS else ""
        )
        words, shocks = f"{count:,} rows of relative price moves: {'; '.join(moves) or 'none'}{more}.", given
    else:
        words, shocks = f"{count:,} shocks that were given one by one.", given
    if max_waves is not None:
        words += f" Runs were stopped after {max_waves} waves."
    return Assumed(state, rules, words, shocks)
