"""Comparing two runs that must be the same, and counting what happened in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager

import numpy as np

import cascade as cs
from cascade import _core
from cascade.marks import External, Mark, Median, WeightedMedian, nodes, uses_derived
from cascade.records import EventKind, LiquidationStatus, Reason, ShockPart, Why

ENGINES = ("reference", "core")
FUND, FEES, DEFICIT, VAULT = 1, 2, 4, 5
FUND_WALK_ORDER = 2
COLLATERAL = 3
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
    "a mark tree moves",
    "a median with a spare moves",
    "a weighted median moves",
    "external prices move a mark",
    "a derived index moves a mark",
    "funding paid",
    "funding received",
    "maintenance on entry",
    "closing fee in maintenance",
    "closing fee at bankruptcy in maintenance",
    "maintenance grows with size",
    "bankruptcy value leaves its fee",
    "equity shared by maintenance",
    # Turns.
    "hedges offset",
    "offsetting was enough",
    "the vault takes an account",
    "deleveraged without an order",
    "no counterparty without an order",
    "a fraction ordered",
    "as little as restores health",
    "restoring was enough",
    "a step down",
    "two steps in one turn",
    "the rest follows a part",
    "a part is killed",
    "horizon",
    "whole after a part",
    "cut by the step's limit",
    "the fund is stopped",
    "the fund waits for the next step",
    "the fund backs a fillable order",
    "a fee on the improvement",
    "surplus to the vault",
    "liquidation fee to the vault",
    "shared value handed out in parts",
    # breakers
    "halt by a band or a velocity logic",
    "market-wide halt",
    "halted",
    "lots wait for a band",
    "lots wait for the end of a halt",
    "shock stopped by a band",
    "external level kept out",
    "fund walk stopped by a band",
    # collateral
    "collateral sold",
    "collateral sold before positions",
    "collateral sold in part",
    "two assets sold in one turn",
    "collateral finds no buyer",
    "collateral beyond data",
    "collateral waits for a band or a halt",
    "collateral sold does not cover",
    "collateral sold to an account",
    "collateral sold in the position's own book",
    "the vault takes collateral",
    "a flat account's collateral sold",
    "a haircut changed",
    "a holder's liquidation caused by a later wave",
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
    fund = state.fund
    first_user = 6 + len(terms)
    for e in data.events.tolist():
        seq, _, cause, quantity, price, value, a, b, wave, i, kind, flags = e
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
            if taker[2] == COLLATERAL:
                seen.add("the vault takes collateral" if b == VAULT else "collateral sold")
                if kind == EventKind.FILL and b >= first_user:
                    seen.add("collateral sold to an account")
            elif taker[2] and a >= first_user and not held[taker]:
                seen.add("hedge slot closed")
        elif kind == EventKind.OFFSET:
            seen.add("hedges offset")
        elif kind == EventKind.ORDER:
            order_of[seq] = (quantity, price if a == 0 else 0, flags)
        elif kind == EventKind.SHOCK:
            if flags == ShockPart.GAP and quantity:
                seen.add("levels dropped by a gap")
            if flags == ShockPart.HAIRCUT:
                seen.add("a haircut changed")
        elif kind == EventKind.CANCEL:
            seen.add({Reason.OWNER: "own orders taken off", Reason.STP: "own order gives way"}.get(flags, ""))
            if flags == Reason.FOK_UNFILLABLE:
                seen.add("a part is killed")
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
                    Why.FUNDING: "funding paid" if b == 0 else "funding received",
                }.get(flags, "")
            )
            fund += value * ((b == FUND) - (a == FUND))
            if flags == Why.TAKEN:
                seen.add("the vault takes an account")
            if flags == Why.GAP and rules.order_price == "fillable":
                seen.add("the fund backs a fillable order")
            if b == VAULT and flags in (Why.SURPLUS, Why.LIQUIDATION_FEE):
                seen.add(f"{'surplus' if flags == Why.SURPLUS else 'liquidation fee'} to the vault")
            if flags == Why.LIQUIDATION_FEE and rules.fee_cap == "improvement":
                seen.add("a fee on the improvement")
            if flags == Why.SHORTFALL and a == DEFICIT and fund and "fund" in rules.shortfall:
                seen.add("the fund is stopped")
            if flags == Why.FEE and a == FEES:
                seen.add("rebate")
            if flags == Why.SHORTFALL:
                seen.add({DEFICIT: "deficit", VAULT: "vault serves a shortfall"}.get(a, ""))
    if isinstance(rules.mark, Mark) and (data.events["kind"] == EventKind.MARK).any():
        parts = tuple(nodes(rules.mark))
        seen.add("a mark tree moves")
        for name, there in (
            ("a median with a spare moves", any(isinstance(x, Median) and x.spare for x in parts)),
            ("a weighted median moves", any(isinstance(x, WeightedMedian) for x in parts)),
            ("external prices move a mark", any(isinstance(x, External) for x in parts)),
            ("a derived index moves a mark", uses_derived(rules.mark)),
        ):
            if there:
                seen.add(name)
    partial = (rows["adl"] > 0) & (rows["adl"] < abs(rows["quantity"])) & (rows["filled"] > 0)
    served: Counter = Counter()
    held_rows = rows[rows["instrument"] >= 0]
    spent = held_rows["equity"] - held_rows["value"]
    fees = np.array([t.closing_fee for t in terms])[held_rows["instrument"]]
    slopes = np.array([t.slope[0] for t in terms])[held_rows["instrument"]]
    with_fee = (fees > 0) & (held_rows["row_maintenance"] > 0)
    shared = rules.bankruptcy_share == "maintenance"
    partly = held_rows["row_maintenance"] < held_rows["maintenance"]
    differs = held_rows["bankruptcy_value"] != spent
    in_parts = (held_rows["filled"] > 0) & (held_rows["adl"] + held_rows["takeover"] > 0)
    for account, seq, cause in {(int(r["account"]), int(r["seq"]), int(r["cause"])) for r in rows}:
        served[account, cause] += 1
        del seq
    count_turns(rows, order_of, rules, seen)
    count_sales(rows, state, rules, seen)
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
        ("maintenance on entry", rules.maintenance_on == "entry" and held_rows["row_maintenance"].any()),
        ("closing fee in maintenance", rules.maintenance_fee == "taker" and with_fee.any()),
        (
            "closing fee at bankruptcy in maintenance",
            rules.maintenance_fee == "taker_at_bankruptcy" and with_fee.any(),
        ),
        ("maintenance grows with size", (slopes > 0).any()),
        ("bankruptcy value leaves its fee", not shared and differs.any()),
        ("equity shared by maintenance", shared and (differs & partly).any()),
        ("shared value handed out in parts", shared and (partly & in_parts).any()),
        ("repeated liquidation", any(n > 1 for n in served.values())),
    ):
        if happened:
            seen.add(name)
    found.update(name for name in seen if name in BRANCHES)


def count_sales(rows, state, rules, seen: set[str]) -> None:
    """What the rows of the liquidations tell about sales of collateral."""
    turns: dict = defaultdict(list)
    for row in rows:
        turns[int(row["seq"])].append(row)
    names = {
        LiquidationStatus.STRANDED: "collateral finds no buyer",
        LiquidationStatus.BEYOND_DATA: "collateral beyond data",
        LiquidationStatus.BANDED: "collateral waits for a band or a halt",
        LiquidationStatus.HALTED: "collateral waits for a band or a halt",
    }
    holders = set(state.holdings["account"].tolist())
    if any(row["cause"] >= 0 and row["wave"] > 2 and int(row["account"]) in holders for row in rows):
        seen.add("a holder's liquidation caused by a later wave")
    for turn in turns.values():
        sold = [row["slot"] == COLLATERAL and not row["takeover"] for row in turn]
        sales = [row for row, is_sale in zip(turn, sold, strict=True) if is_sale]
        seen |= {names[status] for row in sales if (status := int(row["status"])) in names}
        if not sales:
            continue
        if any(sold[k] and not sold[k + 1] for k in range(len(turn) - 1)):
            seen.add("collateral sold before positions")
        if len({int(row["instrument"]) for row in sales}) > 1:
            seen.add("two assets sold in one turn")
        if any(row["filled"] < row["held"] and not row["left"] for row in sales):
            seen.add("collateral sold in part")
        if turn[-1]["shortfall"]:
            seen.add("collateral sold does not cover")
        if all(sold) and rules.collateral_sale == "last":
            seen.add("a flat account's collateral sold")
        positions = {int(row["instrument"]) for row, is_sale in zip(turn, sold, strict=True) if not is_sale}
        if positions & {int(row["instrument"]) for row in sales}:
            seen.add("collateral sold in the position's own book")


def count_turns(rows, order_of, rules, seen: set[str]) -> None:
    """What the rows of the liquidations tell about stages and parts of positions."""
    part = (abs(rows["quantity"]) < abs(rows["held"])) & (rows["instrument"] >= 0)
    if rules.notional_per_step is None:
        names = {"fraction": "a fraction ordered", "restore": "as little as restores health"}
        name = names.get(rules.size, "a step down")
        if part.any():
            seen.add(name)
    elif part.any() and rules.size in ("whole", "all"):
        seen.add("cut by the step's limit")
    turns: dict = defaultdict(list)
    for r, is_part in zip(rows, part, strict=True):
        turns[int(r["seq"])].append((int(r["instrument"]), int(r["slot"]), bool(is_part), int(r["status"]),
        r))
    parted: set[int] = set()
    for turn in turns.values():
        account = int(turn[0][4]["account"])
        if any(status == LiquidationStatus.OFFSET for *_, status, _ in turn):
            seen.add("offsetting was enough")
        if rules.size == "fraction" and rules.then_whole and rules.notional_per_step is None:
            if account in parted and not any(is_part for _, _, is_part, _, _ in turn):
                seen.add("whole after a part")
            if any(is_part for _, _, is_part, _, _ in turn):
                parted.add(account)
        for k, (i, slot, is_part, status, row) in enumerate(turn):
            follows = k + 1 < len(turn) and turn[k + 1][:2] == (i, slot)
            if status == LiquidationStatus.PART and is_part:
                seen.add("the rest follows a part")
            elif status == LiquidationStatus.PART and not is_part:
                seen.add("no counterparty without an order")
            if is_part and follows and turn[k + 1][2] and rules.size == "step_down":
                seen.add("two steps in one turn")
            if is_part and not follows and rules.size == "restore" and rules.notional_per_step is None:
                seen.add("restoring was enough")
            if row["adl"] and "adl" not in rules.residual:
                seen.add("deleveraged without an order")
        last = turn[-1][4]
        served = sum(int(last[name]) for name in ("fund", "vault", "socialised", "deficit"))
        if rules.fund_per_step and last["shortfall"] > served:
            seen.add("the fund waits for the next step")
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
def begun(*, planted_bug: int = 0, look: int = 0):
    """Core engines started inside carry a planted bug, and find untouched accounts in one way."""
    before = _core.begin_with(planted_bug, look)
    try:
        yield
    finally:
        _core.begin_with(*before)


def planted(bug: int):
    """Core engines started inside carry a planted bug; only test builds know any."""
    return begun(planted_bug=bug)


def looking(way: int):
    """Core engines started inside find untouched accounts in one way."""
    return begun(look=way)
