"""The page of a sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import plot
from .._report import amount, count
from ..errors import EngineStateError
from ..studies._tail import tail
from ._assumed import LEFT_OUT, market_table, rules_table
from ._html import NO_PICTURES, Pictures, escape, page, paragraph, section, table, tiles

LEVELS = (0.5, 0.95, 0.99, 0.999)
MOST_ROWS = 12
OUTCOMES = {
    "venue_loss": "loss of fund, sharers and venue",
    "fund_use": "insurance fund used",
    "deficit": "deficit nobody paid",
    "socialised": "losses shared",
    "adl_notional": "deleveraged notional",
    "liquidated_notional": "liquidated notional",
    "higher_order_notional": "of it caused by liquidations",
    "price_drop": "deepest fall of a mark",
}
"""What the page tells the distribution of, in a reader's words."""
DRAWN = ("venue_loss", "price_drop", "liquidated_notional")
STATIC = "_static"
MISSING = "Scenarios are missing: every part and tail below is of those with a result."
TAILS = (
    "Value at risk: what the worst part of the scenarios reaches. Expected shortfall: the mean of that part. "
    "Levels with less than one scenario beyond them are left out."
)


def sweep_page(sweep: Any, title: str = "", currency: str = "", static: Any = None) -> str:
    """A sweep as an HTML page: see `Sweep.report`. `static`: the outcomes of the same scenarios with books
    unable to move, as columns named outcome_static."""
    rows, pictures, assumed = _rows(sweep), Pictures(), sweep.assumed
    money = currency or "settlement currency"
    heading = title or f"{sweep.scenarios:,} scenarios of a liquidation cascade"
    ran = ~np.isin(rows["status"], ["failed", "not_run"])
    outcomes = {name: x[ran] for name, x in _outcomes(sweep, rows).items()}
    levels = [level for level in LEVELS if (1 - level) * int(ran.sum()) >= 1 - 1e-9]
    beside = {} if static is None else {x: static[x + STATIC][ran] for x in outcomes if x + STATIC in static}
    missing = sweep.failed + sweep.not_run
    counted = (
        f"{sweep.scenarios:,} scenarios, {int(ran.sum()):,} with a result, {sweep.failed:,} failed, "
        f"{sweep.not_run:,} not run."
    )
    reserves = (assumed.money(assumed.state.fund), assumed.money(assumed.state.vault))
    return page(
        heading,
        f"<h1>{escape(heading, 200)}</h1>",
        paragraph(counted),
        paragraph(MISSING, "bad") if missing else "",
        tiles(_headline(sweep, outcomes, levels, money)),
        paragraph(NO_PICTURES, "soft") if not pictures.possible else "",
        section(
            "What was assumed",
            paragraph(f"Scenarios: {assumed.scenarios} Each is a shock of its own to the same market."),
            market_table(assumed.state, assumed.rules),
            rules_table(assumed.rules, *reserves),
            paragraph(LEFT_OUT, "soft"),
        ),
        section(
            "How bad, and how often",
            paragraph(TAILS),
            _tail_table(outcomes, levels, money),
            _static_table(outcomes, beside, levels, money),
            *(_drawn(pictures, name, outcomes, beside, levels, money) for name in DRAWN if name in outcomes),
        ),
        section("How the runs ended", _end_table(rows)),
        section("The worst scenarios", _worst_table(sweep, rows, ran, outcomes, money)),
        section("Scenarios without a result", _failure_table(rows)) if missing else "",
        foot=f"Seed {sweep.seed}: the same scenarios and rng give the same rows.",
    )


def _drawn(
    pictures: Pictures,
    name: str,
    outcomes: dict[str, np.ndarray],
    beside: dict[str, np.ndarray],
    levels: list[float],
    money: str,
) -> str:
    """The distribution of an outcome, with and without the cascade where both are known."""
    if not len(outcomes[name]):
        return ""
    samples = {"with the cascade": outcomes[name]}
    if name in beside:
        samples["books unable to move"] = beside[name]
    unit = "" if name == "price_drop" else f", {money}"
    caption = f"{OUTCOMES[name].capitalize()}: how often a scenario reaches it{unit}"
    marked = [level for level in levels if level >= 0.9]
    return pictures.draw(caption, lambda ax: plot.distributions(samples, xlabel=name, levels=marked, ax=ax))


def _rows(sweep: Any) -> dict[str, np.ndarray]:
    """The rows, from memory or from where they were written to."""
    if len(sweep.table) or sweep.out is None:
        return dict(sweep.table)
    import pyarrow.parquet as pq

    path = sweep.out / "scenarios.parquet"
    if not path.exists():
        raise EngineStateError(f"sweep.report: the rows were written to {path}, which is not there any more")
    read = pq.read_table(path)
    return {name: read[name].to_numpy() for name in read.column_names}


def _outcomes(sweep: Any, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outcomes that the kept columns allow, in the order of OUTCOMES."""
    found = {name: rows[name] for name in OUTCOMES if name in rows}
    if {"fund_start", "fund_end"} <= set(rows):
        found["fund_use"] = rows["fund_start"] - rows["fund_end"]
        if {"socialised", "deficit"} <= set(rows):
            found["venue_loss"] = found["fund_use"] + rows["socialised"] + rows["deficit"]
    symbols = [i.symbol for i in sweep.assumed.state.instruments]
    if all({f"price_low[{s}]", f"price_start[{s}]"} <= set(rows) for s in symbols):
        falls = [1 - rows[f"price_low[{s}]"] / rows[f"price_start[{s}]"] for s in symbols]
        found["price_drop"] = np.max(falls, axis=0)
    return {name: np.asarray(found[name], np.float64) for name in OUTCOMES if name in found}


def _shown(name: str, x: float) -> str:
    return f"{x:.2%}" if name == "price_drop" else amount(x)


def _headline(
    sweep: Any, outcomes: dict[str, np.ndarray], levels: list[float], money: str
) -> list[tuple[str, str, str]]:
    found = []
    worst = levels[-1] if levels else None
    for name in ("venue_loss", "price_drop", "liquidated_notional"):
        x = outcomes.get(name)
        if x is not None and len(x) and worst is not None:
            var, es = tail(x, worst)
            unit = "of the start" if name == "price_drop" else money
            found.append(
                (
                    f"{OUTCOMES[name]}, {worst * 100:.6g}% value at risk",
                    _shown(name, var),
                    f"{unit}; shortfall {_shown(name, es)}",
                )
            )
    for name, what in (
        ("deficit", "scenarios with a deficit"),
        ("adl_notional", "scenarios with deleveraging"),
    ):
        if name in outcomes and len(outcomes[name]):
            hit = int((outcomes[name] > 0).sum())
            found.append((what, f"{hit / len(outcomes[name]):.2%}", f"{hit:,} of {len(outcomes[name]):,}"))
    use, fund = outcomes.get("fund_use"), sweep.assumed.money(sweep.assumed.state.fund)
    if use is not None and len(use) and fund:
        found.append(
            ("most of the fund used in one", f"{use.max() / fund:.1%}", f"of {amount(fund)} {money}")
        )
    return found


def _tail_table(outcomes: dict[str, np.ndarray], levels: list[float], money: str) -> str:
    if not outcomes or not levels:
        return paragraph("No column that this page knows was kept, or no scenario has a result.")
    header = ["outcome", "unit", "mean"]
    for level in levels:
        header += [f"{level * 100:.6g}%"] + ([f"shortfall {level * 100:.6g}%"] if level > 0.5 else [])
    header.append("worst")
    rows = []
    for name, x in outcomes.items():
        cells = [_shown(name, float(x.mean()))]
        for level in levels:
            var, es = tail(x, level)
            cells += [_shown(name, var)] + ([_shown(name, es)] if level > 0.5 else [])
        rows.append(
            (
                OUTCOMES[name],
                "of the start" if name == "price_drop" else money,
                *cells,
                _shown(name, float(x.max())),
            )
        )
    return table("Outcomes over the scenarios", header, rows, 2)


def _static_table(
    outcomes: dict[str, np.ndarray], beside: dict[str, np.ndarray], levels: list[float], money: str
) -> str:
    """What a static view misses."""
    rows = []
    for name, still in beside.items():
        for level in (x for x in levels if x > 0.5):
            (var, es), (var_still, es_still) = tail(outcomes[name], level), tail(still, level)
            rows.append(
                (
                    OUTCOMES[name],
                    "of the start" if name == "price_drop" else money,
                    f"{level * 100:.6g}%",
                    *(_shown(name, x) for x in (var, var_still, es, es_still)),
                    f"{1 - es_still / es:+.0%}" if es > 0 else "n/a",
                )
            )
    if not rows:
        return ""
    header = (
        "outcome",
        "unit",
        "level",
        "value at risk",
        "static",
        "shortfall",
        "static",
        "missed by the static view",
    )
    return table(
        "With the cascade, and static: the same shocks with everything closed at the shocked marks",
        header,
        rows,
        2,
    )


def _end_table(rows: dict[str, np.ndarray]) -> str:
    names, counts = np.unique(rows["status"], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    whole = counts.sum()
    lines = [
        (str(names[k]).replace("_", " "), f"{counts[k]:,}", f"{counts[k] / whole:.1%}")
        for k in order.tolist()
    ]
    return table("Scenarios by their end", ("end", "scenarios", "part"), lines)


def _worst_table(
    sweep: Any, rows: dict[str, np.ndarray], ran: np.ndarray, outcomes: dict[str, np.ndarray], money: str
) -> str:
    by = next(
        (name for name in ("venue_loss", "liquidated_notional", "price_drop") if name in outcomes), None
    )
    if by is None or not ran.any():
        return paragraph("No column to rank scenarios by was kept.")
    numbers = np.asarray(rows["scenario"])[ran]
    shown = [
        name for name in ("venue_loss", "price_drop", "liquidated_notional", "deficit") if name in outcomes
    ]
    lines = []
    for k in np.argsort(-outcomes[by], kind="stable")[:MOST_ROWS].tolist():
        shock = sweep.assumed.shock(int(numbers[k]))
        lines.append((f"{numbers[k]}", shock, *(_shown(name, float(outcomes[name][k])) for name in shown)))
    header = ["scenario", "shock"] + [
        OUTCOMES[name] + ("" if name == "price_drop" else f", {money}") for name in shown
    ]
    return table(f"By {OUTCOMES[by]}", header, lines, 2)


def _failure_table(rows: dict[str, np.ndarray]) -> str:
    bad = np.flatnonzero(np.isin(rows["status"], ["failed", "not_run"]))
    lines = [
        (f"{rows['scenario'][k]}", rows["status"][k], str(rows["error"][k])[:300])
        for k in bad[:MOST_ROWS].tolist()
    ]
    return table(
        f"{count(len(bad), 'scenario')}, the first {len(lines)}", ("scenario", "status", "why"), lines, 3
    )
