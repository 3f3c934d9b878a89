"""The reference engine's outcome in the form that results are made from: the twin of the core's export."""

from __future__ import annotations

import numpy as np

from .._rundata import FLAT_DTYPE, LIQUIDATION_DTYPE, MARK_DTYPE, ROW_DTYPE, WAVE_DTYPE, RunData
from .._state import DEFICIT, FUND, SETTLEMENT, SYSTEM, VAULT
from ..instruments import RATE_ONE
from ..records import EVENT_DTYPE
from .engine import Engine


def export(engine: Engine, record: str) -> RunData:
    """Everything about a run, as integers."""
    state, n = engine.state, len(engine.terms)
    accounts = [a for a in engine.accounts if a.mode != SYSTEM]
    balances = [(a.index, a.balance) for a in accounts if a.balance != state.account_balance[a.index]]
    loaded = {
        (int(a), int(i), int(s)): (int(q), int(b))
        for a, i, s, q, b in zip(
            state.row_account, state.row_instrument, state.row_slot, state.row_lots, state.row_basis,
            strict=True
        )
    }
    loaded |= {(a, i, slot): (lots, basis) for a, i, slot, lots, basis in state.holdings.tolist()}
    rows = [
        (a.index, i, slot, p.lots, p.basis)
        for a in [engine.accounts[VAULT], *accounts]
        for (i, slot), p in sorted((a.positions | a.collateral).items())
        if loaded.get((a.index, i, slot), (0, 0) if a.index == VAULT else None) != (p.lots, p.basis)
    ]
    liquidations = np.zeros(len(engine.liquidations), LIQUIDATION_DTYPE)
    for k, row in enumerate(engine.liquidations):
        for name in LIQUIDATION_DTYPE.names or ():
            if name != "pad":
                liquidations[name][k] = row[name]
    waves = sorted(engine.waves.items())
    return RunData(
        status=int(engine.status),
        steps=engine.step_number,
        seq=engine.seq + 1,
        last_wave=max((w for (w, _), _ in waves), default=0),
        shock_notional=sum(row[2] for (w, _), row in waves if w == 0),
        fund=engine.accounts[FUND].balance,
        deficit=engine.accounts[DEFICIT].balance,
        time_ns=engine.time_ns,
        events=np.array(engine.events, EVENT_DTYPE) if record == "all" else None,
        liquidations=liquidations if record != "summary" else None,
        mark_changes=np.array(mark_changes(engine), MARK_DTYPE)
        if record != "summary"
        else None,
        waves=np.array([(w, i, row[0], row[1], row[3]) for (w, i), row in waves], WAVE_DTYPE),
        wave_notional=[row[2] for _, row in waves],
        start_marks=engine.start_marks,
        low_marks=engine.low_marks,
        high_marks=engine.high_marks,
        final_marks=engine.shadow,
        last=engine.last,
        index_1024=engine.index,
        known_until=dict(sorted(engine.known_until.items())),
        system_balances=[a.balance for a in engine.accounts[: SETTLEMENT + n]],
        external=[(p.lots, p.basis) for _, p in sorted(engine.accounts[0].positions.items())],
        settlement=[engine.accounts[SETTLEMENT + i].positions[i, 0].basis for i in range(n)],
        haircuts=[RATE_ONE - weight for weight in engine.weights],
        deposits=engine.deposits,
        totals={
            **engine.totals,
            "accounts": len(engine.closed_accounts),
            "recovered": engine.recovered,
            "initially_unhealthy": len(engine.initially_unhealthy),
            "left_accounts": sum(engine.liquidatable(engine.accounts[a], engine.shadow) for a in engine.left),
            "dropped_levels": engine.dropped_levels,
            "shock_has_order": int(engine.shock_has_order),
        },
        touched_accounts=np.array([a for a, _ in balances], np.int32),
        touched_balances=np.array([b for _, b in balances], np.int64),
        touched_rows=np.array(rows, ROW_DTYPE),
        flats=np.empty(0, FLAT_DTYPE),
    )


def mark_changes(engine: Engine) -> list[tuple[int, ...]]:
    """Every change of a mark, with who was acting and how many of the instrument's changes so far were
    upwards."""
    rows: list[tuple[int, ...]] = []
    marks, rises = list(engine.start_marks), [0] * len(engine.terms)
    for seq, time_ns, wave, i, mark in engine.mark_rows:
        rises[i] += mark > marks[i]
        marks[i] = mark
        rows.append((seq, time_ns, mark, wave, i, engine.context_of(seq)[1], rises[i]))
    return rows
