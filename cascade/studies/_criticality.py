"""Criticality of accounts and instruments: the damage that each one's liquidation caused downstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._badrows import show
from ..errors import InputError
from ..result import Result
from ..tables import Table
from ._forest import Forest, forest_of, who

AMOUNTS = ("liquidations", "notional", "shortfall", "deficit")
DRAWN = 12
"""Accounts in a picture."""


@dataclass(frozen=True, eq=False)
class Importance:
    """Systemic importance in one run, most harmful first.

    Every amount is of rows of `Result.liquidations`: their number, and in the settlement currency the
    notional that they closed, what the accounts owed beyond their equity (shortfall), and what of that nobody
    paid (deficit). A row counts once in a sum. Sums of different accounts overlap - what is below one is also
    below its causes - and must not be added up.

    Attributes
    ----------
    accounts : Table
        account, margin_mode, instrument and position_side (of an isolated position's account), the account's
        own liquidations, notional, shortfall, deficit; the same as direct_... (what it caused itself) and
        as downstream_... (what it caused, what that caused, and so on; without its own), and share:
        downstream_notional over all notional closed that was not unhealthy before the shock.
    instruments : Table
        instrument, and the same columns: own is what was closed in it, direct what its moves made unhealthy
        as it was being liquidated, downstream that and all below.
    by : str
        The amount that both are sorted by.
    """

    accounts: Table
    instruments: Table
    by: str

    def plot(self, ax: Any = None) -> Any:
        """Draw what the most important accounts closed themselves and what they caused downstream."""
        from ..plot._look import COLOURS, axes_of

        ax = axes_of(ax)
        top = self.accounts.rows(slice(0, DRAWN))
        place = np.arange(len(top))
        ax.barh(place, top[self.by], 0.7, color=COLOURS[0], label="own")
        ax.barh(
            place, top[f"downstream_{self.by}"], 0.7, left=top[self.by], color=COLOURS[1], label="downstream"
        )
        ax.set_yticks(place, [str(name) for name in top["account"]])
        ax.invert_yaxis()
        ax.set_xlabel(self.by)
        ax.legend(frameon=False)
        return ax


def criticality(result: Result, *, by: str = "notional") -> Importance:
    """Rank accounts and instruments by the damage that their liquidation caused.

    The forest of causes (`Result.network`) is summed from below: what stands below an account is what, as far
    as the run's causes say, its liquidation brought about. Accounts with equal downstream amounts stand in
    the order of their own, then of their index.

    Parameters
    ----------
    result : Result
        With record "liquidations" or "all".
    by : {"notional", "liquidations", "shortfall", "deficit"}
        The downstream amount to sort by.

    Returns
    -------
    Importance

    Raises
    ------
    InputError, InputTypeError
        Another amount, something that is no Result.
    EngineStateError
        A run that did not record its liquidations.

    Notes
    -----
    Causes are those of `docs/model.md`, section 7: the event before which an account was healthy and after
    which it was not. They say what happened in this run, not what would have happened without an account:
    for that, run the market without it (`mitigation`).

    Examples
    --------
    >>> import cascade as cs
    >>> result = cs.datasets.constant_depth().run(cs.Shock(orders={"X": -5}))
    >>> ranked = cs.studies.criticality(result)
    >>> ranked.instruments["downstream_liquidations"].tolist() == [len(result.network())]
    True
    """
    forest = forest_of(result, "criticality")
    if not isinstance(by, str) or by not in AMOUNTS:
        raise InputError(f"criticality.by = {show(by)}: must be one of {', '.join(AMOUNTS)}")
    found, label = np.unique(forest.account, return_inverse=True)
    label = label.ravel()
    n = len(found)
    own = forest.added(label, n)
    cause = np.where(forest.parent >= 0, label[forest.parent] if n else -1, -1)
    # A row that its own account caused is part of the account's own damage.
    direct = forest.added(np.where(cause == label, -1, cause), n)
    below = {
        name: [whole - mine for whole, mine in zip(sums, own[name], strict=True)]
        for name, sums in forest.within(label, n).items()
    }
    accounts = _ranked(result, forest, who(result, forest, found), (own, direct, below), by)
    k = len(result._state.instruments)
    moves = forest.added(forest.instrument, k), forest.added(forest.moved, k), forest.within(forest.moved, k)
    symbols = {"instrument": result._symbols(np.arange(k))}
    return Importance(accounts, _ranked(result, forest, symbols, moves, by), by)


def _ranked(
    result: Result, forest: Forest, names: dict[str, np.ndarray], sums: tuple[dict[str, list[int]], ...],
    by: str,
) -> Table:  # fmt: skip
    """Names and amounts as columns, by downstream amount, then own, descending, then as they were."""
    own, _, below = sums
    order = sorted(range(len(below[by])), key=lambda k: (-below[by][k], -own[by][k]))
    at = np.array(order, np.int64)
    columns = {name: values[at] for name, values in names.items()}
    for prefix, amounts in zip(("", "direct_", "downstream_"), sums, strict=True):
        for name in AMOUNTS:
            values = [amounts[name][k] for k in order]
            columns[prefix + name] = (
                np.array(values, np.int64)
                if name == "liquidations"
                else np.array([result._money(v) for v in values], np.float64)
            )
    whole = sum(forest.amounts["notional"][forest.known].tolist())
    shares = [below["notional"][k] / whole if whole else 0.0 for k in order]
    return Table({**columns, "share": np.array(shares, np.float64)})
