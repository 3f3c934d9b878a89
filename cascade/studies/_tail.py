"""Tail risk: value at risk and expected shortfall, with the cascade and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._badrows import show
from .._standing import Sums
from .._state import SYSTEM
from ..errors import InputError, InputTypeError
from ..sweep import Sweep
from ..tables import Table

OUTCOMES = ("venue_loss", "fund_use", "price_drop")


@dataclass(frozen=True, eq=False)
class TailRisk:
    """Tails of loss distributions.

    Attributes
    ----------
    table : Table
        outcome (venue_loss, fund_use, price_drop), level, and for each of var (value at risk) and es
        (expected shortfall) the value with the cascade, its bootstrap interval (_low, _high), and the value
        without (_static): the same shocks with everything closed at the shocked marks, the book unable to
        move.
    draws : Table
        scenario, and every outcome with the cascade and without (_static).
    sweep : Sweep
    """

    table: Table
    draws: Table
    sweep: Sweep

    @property
    def missed(self) -> Table:
        """outcome, level, missed: the part of the expected shortfall that a static view misses."""
        es, static = self.table["es"], self.table["es_static"]
        with np.errstate(divide="ignore", invalid="ignore"):
            missed = np.where(es > 0, 1 - static / es, 0.0)
        return Table({"outcome": self.table["outcome"], "level": self.table["level"], "missed": missed})

    def plot(self, outcome: str = "venue_loss", ax: Any = None) -> Any:
        """Draw the distribution of an outcome with and without the cascade."""
        from ..plot import distributions

        return distributions(
            {"with the cascade": self.draws[outcome], "book unable to move": self.draws[f"{outcome}_static"]},
            xlabel=outcome, levels=np.unique(self.table["level"]).tolist(), ax=ax,
        )  # fmt: skip

    def report(self, path: Any, *, title: str = "", currency: str = "") -> Path:
        """Write the page of `Sweep.report`, with the outcomes of books unable to move beside."""
        from ..pages import sweep_page, write

        return write(
            path, "tail_risk.report", title, currency,
            lambda: sweep_page(self.sweep, title, currency, self.draws),
        )  # fmt: skip


def static_outcomes(result: Any) -> tuple[float, float, float]:
    """(venue loss, fund use, price drop) of a run without waves: every account below zero is closed at the
    shocked marks."""
    state, data = result._state, result._data
    rows, balances = result._final_rows(), result._final_balances()
    equity = Sums(state, result._rules, balances, rows, data.final_marks).equity
    users = state.account_mode != SYSTEM
    owed = -int(np.minimum(equity[users], 0).sum(dtype=object) or 0)
    drop = max(
        1 - final / start if start else 0.0
        for start, final in zip(data.start_marks, data.final_marks, strict=True)
    )
    return result._money(owed), result._money(min(owed, state.fund)), max(0.0, drop)


def tail_risk(
    market: Any, scenarios: Any, *, n: int | None = None, rng: Any = None,
    levels: Sequence[float] = (0.95, 0.99), workers: Any = 1, rules: Any = None, resamples: int = 1_000,
    confidence: float = 0.95,
) -> TailRisk:  # fmt: skip
    """How bad it can get, and how much of that is second order.

    Parameters
    ----------
    market, scenarios, n, rng, workers, rules
        As in `Market.sweep`.
    levels : sequence of float
        In (0, 1).
    resamples : int
        Bootstrap resamples of the scenarios.
    confidence : float
        Of the percentile intervals.

    Returns
    -------
    TailRisk

    Raises
    ------
    InputError, InputTypeError
        Levels outside (0, 1), or a scenario that failed: tails must not leave scenarios out.
    """
    for name, values in (("levels", levels), ("confidence", (confidence,))):
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
                raise InputTypeError(f"tail_risk.{name}: {show(value)}: must be a number")
            if not 0 < value < 1:
                raise InputError(f"tail_risk.{name}: {show(value)}: must be in (0, 1)")
    seed = np.random.SeedSequence() if rng is None else rng
    draw = market.sweep(scenarios, n=n, rng=seed, workers=workers, rules=rules)
    if draw.failed or draw.not_run:
        raise InputError(
            f"tail_risk: scenario {draw.failures['scenario'][0]} failed: {draw.failures['error'][0]}"
        )
    still = market.sweep(
        scenarios,
        n=n,
        rng=draw.seed,
        workers=workers,
        rules=rules,
        max_waves=0,
        keep={"static": static_outcomes},
    )
    columns = {"scenario": draw["scenario"], **_dynamic(draw, market)}
    fixed = np.array(still.values["static"], np.float64).reshape(-1, 3)
    for k, name in enumerate(OUTCOMES):
        columns[f"{name}_static"] = fixed[:, k]
    draws = Table(columns)
    bootstrap = np.random.default_rng(np.random.SeedSequence(draw.seed, spawn_key=(2**31,)))
    rows = []
    for name in OUTCOMES:
        x, without = draws[name], draws[f"{name}_static"]
        for level in levels:
            now = tail(x, level)
            resampled = np.array(
                [tail(x[bootstrap.integers(len(x), size=len(x))], level) for _ in range(resamples)]
            ).reshape(-1, 2)
            ends = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
            rows.append(
                (name, float(level), *np.ravel(np.column_stack([now, *ends, tail(without, level)])))
            )
    names = ["outcome", "level"] + [
        f"{m}{part}" for m in ("var", "es") for part in ("", "_low", "_high", "_static")
    ]
    table = {c: np.array(x) for c, x in zip(names, zip(*rows, strict=True), strict=True)}
    return TailRisk(Table(table), draws, draw)


def _dynamic(draw: Sweep, market: Any) -> dict[str, np.ndarray]:
    """The outcomes of a sweep with the cascade, as columns."""
    fund = draw["fund_start"] - draw["fund_end"]
    drops = [
        1 - draw[f"price_low[{i.symbol}]"] / draw[f"price_start[{i.symbol}]"] for i in market.instruments
    ]
    return {
        "venue_loss": fund + draw["socialised"] + draw["deficit"],
        "fund_use": fund,
        "price_drop": np.max(drops, axis=0),
    }


def tail(x: np.ndarray, level: float) -> tuple[float, float]:
    """(value at risk, expected shortfall): the quantile, and the mean of the worst 1 - level of all, where
    the quantile stands for the part that does not fill a scenario (Acerbi and Tasche, 2002)."""
    ordered = np.sort(x)[::-1]
    part = (1 - level) * len(x)
    whole = int(np.floor(part + 1e-9))
    edge = min(whole, len(x) - 1)
    var = float(ordered[edge])
    rest = max(0.0, part - whole)
    total = float(ordered[:whole].sum()) + rest * var
    return var, total / part if part > 0 else var
