"""Comparing two runs that must be the same, and counting what happened in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager

import numpy as np

import cascade as cs
from cascade import _engine
from cascade.records import EventKind, LiquidationStatus, Reason, ShockPart, Why

ENGINES = ("reference", "core")
FUND, FEES, DEFICIT, VAULT = 1, 2, 4, 5
FUND_WALK_ORDER = 2
TAKER_SLOT_SHIFT, MAKER_SLOT_SHIFT, SLOT_MASK = 4, 6, 3

BRANCHES = (
    "a maker flips",
    "a maker flips under an inverse contract",
    "fund walk",
    "fund walk pays a part of a level",
    "partial deleveraging",
    "deleveraging lacks counterparties",
    "sweep",
    "deficit",
    "recovered",
    "beyond data",
    "stranded",
    "socialise",
    "vault takeover",
    "vault serves a shortfall",
    "surplus to fund",
    "capacity leaves work",
    "continuous clearing goes on",
    "repeated liquidation",
    "initially unhealthy",
    "caused by a first wave",
    "caused by a later wave",
    "own orders taken off",
    "own order gives way",
    "gap crosses an internal order",
    "levels dropped by a gap",
    "liquidation fee",
    "rebate",
    "limit",
    "out_of_data",
    "settled",
    "hedge slot closed",
    "flat debtor",
    # breakers
    "halt by a band or a velocity logic",
    "market-wide halt",
    "halted",
    "lots wait for a band",
    "lots wait for the end of a halt",
    "shock stopped by a band",
    "external level kept out",
    "fund walk stopped by a band",
)
"""What random markets must make happen."""


def event_text(event) -> str:
    """One event in words."""
    fields = ", ".join(f"{name}={event[name]}" for name in event.dtype.names if name not in ("seq", "kind"))
    return f"#{event['seq']} {EventKind(int(event['kind'])).name} {fields}"


def events_difference(mine: np.ndarray, theirs: np.ndarray, names=ENGINES) -> str:
    """The first event in which two logs differ, with what came before it; "" if none."""
    n = min(len(mine), len(theirs))
    unequal = np.flatnonzero(mine[:n] != theirs[:n])
    if not unequal.size and len(mine) == len(theirs):
        return ""
    k = int(unequal[0]) if unequal.size else n
    lines = [f"event {k} of {len(mine)} and {len(theirs)}"]
    lines += [f"    {event_text(e)}" for e in mine[max(0, k - 4) : k]]
    lines += [
        f"{name}: {event_text(log[k]) if k < len(log) else 'no more events'}"
        for name, log in zip(names, (mine, theirs), strict=True)
    ]
    if unequal.size:
        fields = [f for f in mine.dtype.names if mine[k][f] != theirs[k][f]]
        lines.append(f"differ in {', '.join(fields)}")
    return "\n".join(lines)


def records_difference(what: str, mine: np.ndarray, theirs: np.ndarray) -> str:
    """The first field and row in which two structured arrays differ; "" if none."""
    if len(mine) != len(theirs):
        return f"{what}: {len(mine)} and {len(theirs)} rows"
    for field in mine.dtype.names:
        bad = np.flatnonzero(mine[field] != theirs[field])
        if field != "pad" and bad.size:
            k = bad[0]
            return f"{what}[{field!r}][{k}]: {mine[field][k]} and {theirs[field][k]} ({bad.size} rows)"
    return ""


SCALARS = (
    "status",
    "steps",
    "seq",
    "time_ns",
    "wave_notional",
    "start_marks",
    "low_marks",
    "high_marks",
    "final_marks",
    "last",
    "index_1024",
    "known_until",
    "system_balances",
    "external",
    "settlement",
    "deposits",
    "totals",
)


def difference(mine: cs.Result, theirs: cs.Result, names=ENGINES) -> str:
    """What two results differ in, as far as both have it; "" if nothing."""
    a, b = mine._data, theirs._data
    if a.events is not None and b.events is not None:
        text = events_difference(a.events, b.events, names)
        if text:
            return text
    for what in ("liquidations", "mark_changes", "waves"):
        x, y = getattr(a, what), getattr(b, what)
        if x is not None and y is not None:
            text = records_difference(what, x, y)
            if text:
                return text
    for what in SCALARS:
        if getattr(a, what) != getattr(b, what):
            return f"{what}: {getattr(a, what)} and {getattr(b, what)}"
    text = records_difference("rows", mine._final_rows(), theirs._final_rows())
    if text:
        return text
    if not np.array_equal(mine._final_balances(), theirs._final_balances()):
        return f"balances: {mine._final_balances()} and {theirs._final_balances()}"
    if repr(mine.summary) != repr(theirs.summary) or mine.audit != theirs.audit:
        return f"summary or audit: {mine.summary} {mine.audit} and {theirs.summary} {theirs.audit}"
    if a.events is not None and b.events is not None and mine.digest != theirs.digest:
        return f"digest: {mine.digest} and {theirs.digest}"
    return ""


def run_both(market, shock, run) -> list[cs.Result]:
    return [market.run(shock, engine=engine, audit="full", **run) for engine in ENGINES]


def count_branches(market, result, rules, found: Counter) -> None:
    """Add what happened in a run (record="all") to `found`: once a run, however often."""
    state, data = market.state(), result._data
    seen: set[str] = {result.status}
    rows, terms = data.liquidations, state.terms
    held: dict = defaultdict(int)
    for a, i, slot, lots in zip(
        state.row_account.tolist(),
        state.row_instrument.tolist(),
        state.row_slot.tolist(),
        state.row_lots.tolist(),
        strict=True,
    ):
        held[a, i, slot] = lots
    order_of: dict[int, tuple] = {}
    queued_wave: dict[int, int] = {}
    turned = False
    first_user = 6 + len(terms)
    for e in data.events.tolist():
        seq, _, cause, quantity, price, _, a, b, wave, i, kind, flags = e
        if kind in (EventKind.FILL, EventKind.ADL, EventKind.TAKEOVER):
            taker = (a, i, flags >> TAKER_SLOT_SHIFT & SLOT_MASK)
            maker = (b, i, flags >> MAKER_SLOT_SHIFT & SLOT_MASK)
            before = held[maker]
            held[taker] += quantity
            held[maker] -= quantity
            if b >= first_user and before * held[maker] < 0:
                seen.add("a maker flips")
                if terms[i].contract:
                    seen.add("a maker flips under an inverse contract")
            if kind == EventKind.TAKEOVER:
                seen.add("vault takeover")
            if kind == EventKind.FILL and a == 0 and b >= first_user and order_of[cause][1]:
                seen.add("gap crosses an internal order")
            if taker[2] and a >= first_user and not held[taker]:
                seen.add("hedge slot closed")
        elif kind == EventKind.ORDER:
            order_of[seq] = (quantity, price if a == 0 else 0, flags)
        elif kind == EventKind.SHOCK:
            if flags == ShockPart.GAP and quantity:
                seen.add("levels dropped by a gap")
        elif kind == EventKind.CANCEL:
            seen.add({Reason.OWNER: "own orders taken off", Reason.STP: "own order gives way"}.get(flags, ""))
            seen |= breaker_branches(a, flags, cause, order_of)
            if cause in order_of and order_of[cause][2] == FUND_WALK_ORDER and flags == Reason.IOC:
                seen.add("fund walk pays a part of a level")
        elif kind == EventKind.QUEUED:
            queued_wave[a] = wave
            if turned and rules.clearing == "continuous":
                seen.add("continuous clearing goes on")
        elif kind == EventKind.TURN:
            turned = True
            if rules.capacity is not None and rules.clearing == "wave" and queued_wave[a] < wave:
                seen.add("capacity leaves work")
        elif kind == EventKind.RECOVERED:
            seen.add("recovered")
        elif kind == EventKind.HALT:
            wide = isinstance(rules.breakers[flags], cs.MarketHalt)
            seen.add("market-wide halt" if wide else "halt by a band or a velocity logic")
        elif kind == EventKind.TRANSFER:
            seen.add(
                {
                    Why.GAP: "fund walk",
                    Why.SWEEP: "sweep",
                    Why.SOCIALISED: "socialise",
                    Why.SURPLUS: "surplus to fund",
                    Why.LIQUIDATION_FEE: "liquidation fee",
                }.get(flags, "")
            )
            if flags == Why.FEE and a == FEES:
                seen.add("rebate")
            if flags == Why.SHORTFALL:
                seen.add({DEFICIT: "deficit", VAULT: "vault serves a shortfall"}.get(a, ""))
    partial = (rows["adl"] > 0) & (rows["adl"] < abs(rows["quantity"])) & (rows["filled"] > 0)
    served: Counter = Counter()
    for account, seq, cause in {(int(r["account"]), int(r["seq"]), int(r["cause"])) for r in rows}:
        served[account, cause] += 1
        del seq
    for name, happened in (
        ("partial deleveraging", partial.any()),
        ("deleveraging lacks counterparties", ((rows["adl"] > 0) & (rows["left"] > 0)).any()),
        ("beyond data", (rows["status"] == LiquidationStatus.BEYOND_DATA).any()),
        ("stranded", (rows["status"] == LiquidationStatus.STRANDED).any()),
        ("lots wait for a band", (rows["status"] == LiquidationStatus.BANDED).any()),
        ("lots wait for the end of a halt", (rows["status"] == LiquidationStatus.HALTED).any()),
        ("flat debtor", (rows["status"] == LiquidationStatus.FLAT).any()),
        ("initially unhealthy", (rows["cause"] == -2).any()),
        ("caused by a first wave", (rows["wave"][rows["cause"] >= 0] == 2).any()),
        ("caused by a later wave", (rows["wave"][rows["cause"] >= 0] > 2).any()),
        ("repeated liquidation", any(n > 1 for n in served.values())),
    ):
        if happened:
            seen.add(name)
    found.update(name for name in seen if name in BRANCHES)


def breaker_branches(a, reason, cause, order_of) -> set[str]:
    """What the cancellation of an order's rest says about breakers."""
    if reason not in (Reason.BANDED, Reason.HALTED):
        return set()
    if cause not in order_of or order_of[cause][1]:
        return {"external level kept out"} if a == 0 else set()
    if order_of[cause][2] == FUND_WALK_ORDER:
        return {"fund walk stopped by a band"}
    return {"shock stopped by a band"} if a == 0 else set()


@contextmanager
def planted(bug: int):
    """Core engines started inside carry a planted bug; only test builds know any."""
    before = _engine.CoreEngine.planted_bug
    _engine.CoreEngine.planted_bug = bug
    try:
        yield
    finally:
        _engine.CoreEngine.planted_bug = before
