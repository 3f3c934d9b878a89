"""The compiled engine behind the interface that `Market` and `Simulation` use; the reference's twin is
`reference/adapter.py`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _bulk, _core
from ._marks import Clock, Program, inputs_of, samples_of
from ._rundata import CoreRunData, RunData, RunTotals
from ._state import EXTERNAL, ISOLATED, LINEAR, NEVER_LIQUIDATED, SYSTEM, State, Terms
from .breakers import band_terms, level_terms
from .instruments import RATE_ONE
from .margin import (
    STEEP,
    grows_squared,
    maintenance_rates,
    moving_terms,
    not_moving,
    notional_at_zero_excess,
    price_of_notional,
    rises,
)
from .marks import Mark
from .records import ORDER_DTYPE
from .rules import VenueRules

MARK_ONE = 1024
MONEY_SLACK = 4
"""Quanta by which a trigger errs on the safe side: what rounding of value and maintenance can move."""
PRICE_SLACK = 1e-9
"""Relative slack of a trigger in float64."""
NEVER_FALLS, NEVER_RISES = 0, 2**63 - 1
"""Triggers of a long and of a short that no mark reaches; the other one's is reached by every mark."""
CUT_RATE = 0.5
"""The highest rate of maintenance for which cuts are marked."""
CHUNK = 32_768
"""Positions whose triggers are solved at a time: what it takes stays in the caches."""
RECORDS = {"summary": 0, "liquidations": 1, "all": 2}


class CoreEngine:
    """Arrays in, arrays out, around a `_core.Engine`.

    Engines are kept by the market and reused: a later run finds the columns loaded and costs what it touches.
    """

    planted_bug = 0
    """Of runs begun from now on; builds other than those for testing know no bug."""
    look = 0
    """How runs begun from now on find untouched accounts: LOOK_... of _run.pxd, for tests."""

    def __init__(
        self, idle: list[Any], state: State, rules: VenueRules, record: str, audit: str, max_waves: int | None
    ):
        self._idle = idle
        self.rules = rules
        self.record = record
        self.audit = audit
        self._state = state
        self._clock: Clock | None = None
        try:
            self.engine = idle.pop()
        except IndexError:
            self.engine = _core.Engine()
            self.engine.load(columns_of(state, rules))
        self.engine.cancelled = False
        self.engine.begin(RECORDS[record], max_waves, self.planted_bug, self.look)

    def apply(self, ops: np.ndarray) -> None:
        self.engine.apply(ops.view(np.uint8))

    def cancel(self) -> None:
        """From any thread: the run that goes on raises `Cancelled` within about a millisecond."""
        self.engine.cancelled = True

    def step(self) -> bool:
        return self.engine.advance(True)

    def run(self, ops: np.ndarray) -> None:
        self.engine.run(ops.tobytes(), self.audit == "full")

    def finish(self) -> None:
        self.engine.finish(self.audit == "full")

    def export_totals(self) -> RunTotals:
        return RunTotals(**self.engine.outcome().scalars())

    def export(self) -> RunData:
        return CoreRunData(self.engine.outcome())

    def release(self) -> None:
        """Put the engine back as loaded, for the next run."""
        if self.engine.reset():
            self._idle.append(self.engine)

    def submit(self, i: int, orders: np.ndarray) -> np.ndarray:
        return self.engine.submit(i, np.ascontiguousarray(orders, ORDER_DTYPE).view(np.uint8))

    def set_levels(self, i: int, side: int, prices: np.ndarray, lots: np.ndarray) -> None:
        self.engine.set_levels(i, side, prices, lots)

    def advance_ns(self, dt: int) -> None:
        self.engine.advance_ns(dt)
        if isinstance(self.rules.mark, Mark):
            self._clock = clock = self._clock or Clock(self._state, self.rules.mark)
            clock.advance(dt, samples_of(clock, self.engine.samples()))
            self.engine.set_inputs(inputs_of(clock, self.engine.external()))

    def fences(self) -> list[tuple[int, int, int]]:
        return self.engine.fences()

    def book(self, i: int) -> _core.OrderBook:
        return self.engine.book(i)

    def balances(self) -> np.ndarray:
        return self.engine.balances()

    def rows(self) -> np.ndarray:
        return self.engine.rows()

    def ranking(self, i: int, side: int) -> tuple[np.ndarray, ...]:
        """(account, slot, lots, score) of who holds a side of an instrument, in deleveraging order."""
        return self.engine.ranking(i, side)

    def marks(self) -> list[int]:
        return self.engine.marks()

    def haircuts(self) -> list[int]:
        return self.engine.haircuts()

    @property
    def time_ns(self) -> int:
        return self.engine.time_ns

    def copy(self) -> CoreEngine:
        twin = object.__new__(CoreEngine)
        twin.__dict__.update(self.__dict__)
        twin._idle = []
        twin._clock = None if self._clock is None else self._clock.copy()
        twin.engine = self.engine.copy()
        return twin


def aligned(column: np.ndarray) -> np.ndarray:
    """A contiguous column at an address that fits its type: that of a single packed record is contiguous but
    may stand anywhere."""
    return np.require(column, requirements=["C", "A"])


def columns_of(state: State, rules: VenueRules) -> dict[str, Any]:
    """A market as the arrays that the core takes in."""
    terms: list[tuple[int, ...]] = []
    tiers: list[tuple[int, ...]] = []
    for t in state.terms_under(rules):
        terms.append(
            (
                t.contract, t.coef_num, t.coef_den, t.taker_fee, t.maker_fee, t.liquidation_fee,
                len(tiers), len(t.floors), *t.slope, t.closing_fee,
            )
        )
        for floor, rate, amount in zip(t.floors, t.rates, t.amounts, strict=True):
            shared = math.gcd(rate, RATE_ONE)
            tiers.append((floor, rate // shared, RATE_ONE // shared, amount))
    rows = {
        "row_account": state.row_account, "row_instrument": state.row_instrument, "slot": state.row_slot,
        "lots": state.row_lots, "basis": state.row_basis,
    }  # fmt: skip
    if len(state.holdings):  # behind all positions
        for name, column in rows.items():
            held = state.holdings[name.removeprefix("row_")].astype(column.dtype)
            rows[name] = np.concatenate([column, held])
    prices = np.column_stack([state.last, state.index_1024, state.known_bid, state.known_ask])
    orders = []
    for book in state.orders:
        age = np.arange(len(book.price))
        by_price = np.lexsort((age, book.price * book.side))  # both sides from the worst price to the best
        owned = np.flatnonzero(book.owner != EXTERNAL)
        orders.append((*book.columns(), by_price.astype(np.int64), owned.astype(np.int64)))
    bands = band_terms(state, rules.breakers)
    return {
        "terms": np.array(terms, np.int64),
        "tiers": np.array(tiers, np.int64),
        "jumps": np.array([t.jumps for t in state.terms_under(rules)], np.uint8),
        "prices": np.ascontiguousarray(prices, np.int64),
        "mode": aligned(state.account_mode),
        "parent": aligned(state.account_parent),
        "flags": aligned(state.account_flags),
        "balance": aligned(state.account_balance),
        **{name: aligned(column) for name, column in rows.items()},
        "positions": len(state.row_lots),
        "weight": RATE_ONE - state.haircut,
        "fund": state.fund,
        "vault": state.vault,
        "orders": orders,
        **program_of(state, rules),
        "rules": rule_codes(rules) | turn_codes(rules, state),
        "residual": rules.stages("residual"),
        "shortfall": rules.stages("shortfall"),
        "bands": rows_of([(i, *band) for i, row in enumerate(bands) for band in row], 13),
        "levels": rows_of(level_terms(state, rules.breakers), 5),
        **triggers_of(state, rules),
    }


def program_of(state: State, rules: VenueRules) -> dict[str, Any]:
    """The mark's tree as the core runs it, and what it looks at to begin with; empty where it is a string."""
    if not isinstance(rules.mark, Mark):
        nothing = np.empty((len(state.instruments), 0), np.int64)
        return {
            "program": np.empty((0, 4), np.int64), "weights": np.empty(0, np.int64), "pieces": [],
            "inputs": nothing, "externals": 0,
        }  # fmt: skip
    program = Program.of(rules.mark, state.external_names)
    return {
        "program": program.steps,
        "weights": program.weights,
        "pieces": program.pieces,
        "inputs": inputs_of(Clock(state, rules.mark), state.external_1024),
        "externals": len(state.external_names),
    }


def rows_of(rows: list[Any], width: int) -> np.ndarray:
    """Tuples of integers as a table, also where there is none."""
    return np.array(rows, np.int64).reshape(len(rows), width)


def rule_codes(rules: VenueRules) -> dict[str, int]:
    """The rules as the numbers of the core's rules_t, by its names."""
    enumerations = "mark", "queue", "position_order", "adl_rank", "adl_price", "maintenance_fee"
    return {field: rules.code(field) for field in enumerations} | {
        "continuous": rules.clearing == "continuous",
        "trigger_le": rules.trigger == "le",
        "cancel_orders": rules.cancel_orders,
        "funding_at_index": rules.funding is not None and rules.funding.price == "index",
        "capacity": 2**63 - 1 if rules.capacity is None else rules.capacity,
        "maintenance_on_entry": rules.maintenance_on == "entry",
        "bankruptcy_fee": rules.bankruptcy_fee == "taker",
        "share_by_maintenance": rules.bankruptcy_share == "maintenance",
    }


TURN_NUMBERS = (
    "size_fraction", "size_above", "size_minimum", "size_steps", "size_buffer", "cooldown_ns",
    "fillable_adjustment", "fillable_spread", "fund_stop_above", "fund_per_step", "notional_per_step",
    "vault_cap", "adl_price_band",
)  # fmt: skip


def turn_codes(rules: VenueRules, state: State) -> dict[str, int]:
    """What the rules say about stages, parts of positions and limits; -1 stands for None."""
    receivers = {"account": 0, "venue": 0, "fund": 1, "vault": 2}
    numbers = {field: rules.integer(field, state.quantum) for field in TURN_NUMBERS}
    codes: dict[str, int] = {field: -1 if value is None else value for field, value in numbers.items()}
    for field in ("vault_below", "adl_below"):
        codes[f"{field}_num"], codes[f"{field}_den"] = rules.ratio(field)
    limits = rules.fund_limits(state.fund, state.quantum)
    codes["fund_stays"], codes["fund_resumes"] = limits or (0, 0)
    return codes | {
        "fund_stops": limits is not None,
        "size": rules.code("size"),
        "order_price": rules.code("order_price"),
        "surplus": receivers[rules.surplus],
        "fee_to": receivers[rules.fee_to],
        "order_fok": rules.order_tif == "fok",
        "fee_on_improvement": rules.fee_cap == "improvement",
        "socialise_by_profit": rules.socialise_by == "profit",
        "then_whole": rules.then_whole,
        "adl_overlap": rules.adl_overlap,
        "adl_negative_only": rules.adl_negative_only,
        "first_tier_whole": rules.first_tier_whole,
        "offset_hedges": rules.offset_hedges,
        "sell_collateral_first": rules.collateral_sale == "first",
    }


def triggers_of(state: State, rules: VenueRules) -> dict[str, Any]:
    """Who can be found by trigger price, and who cannot.

    An account with one position is indexed by the mark (1/1024 ticks) at which it can become unhealthy,
    erring on the safe side; accounts with several, and those under maintenance that jumps, or grows with the
    square of the notional, are `scanned`; flat accounts with debts, and whoever holds collateral, are
    `debtors`, looked at in every check.
    """
    # Rows go by account: an account with one row has other accounts beside it.
    account = state.row_account
    alone = np.ones(len(account), bool)
    same = account[1:] == account[:-1]
    alone[1:] &= ~same
    alone[:-1] &= ~same
    several = account[~alone]
    row = np.flatnonzero(alone)
    all_terms = [moving_terms(t, rules) for t in state.terms_under(rules)]
    holders = np.unique(state.holdings["account"])
    indexed = state.row_lots[row] != 0
    if len(holders):
        indexed &= ~np.isin(account[row], holders)
    for i, terms in enumerate(all_terms):
        steep = not terms.continuous or grows_squared(terms)
        if not steep and not terms.slope[0] and terms.rates[-1] <= STEEP:
            continue
        mine = np.flatnonzero(state.row_instrument[row] == i)
        if steep:
            indexed[mine] = False
        else:  # the highest rate that the position's size can lead to
            most = maintenance_rates(terms, np.full(len(mine), terms.floors[-1]), state.row_lots[row[mine]])
            indexed[mine[most > STEEP]] = False
    others = row[~indexed]
    flat = account[others[state.row_lots[others] == 0]]
    scanned = np.union1d(several, account[others[state.row_lots[others] != 0]])
    # Whom the core may settle without a look at more than this one position: owners hold nothing themselves,
    # and nobody's money comes to an account that holds something.
    holds = np.zeros(len(state.account_mode), bool)
    holds[account] = True
    holds[holders] = True
    owner = np.maximum(state.account_parent, 0)
    owns = np.zeros(len(state.account_mode), bool)
    owns[state.account_parent[state.account_parent >= 0]] = True
    single_ones = (state.account_flags & NEVER_LIQUIDATED == 0) & np.where(
        state.account_parent < 0, ~owns, ~holds[owner] & (state.account_balance[owner] >= 0)
    )
    del owner, owns, holds
    lists: dict[str, list[np.ndarray]] = {
        "long_trigger": [], "long_account": [], "long_single": [],
        "short_trigger": [], "short_account": [], "short_single": [],
    }  # fmt: skip
    for i, (terms, under) in enumerate(zip(all_terms, state.terms_under(rules), strict=True)):
        mine = row[indexed & (state.row_instrument[row] == i)]
        trigger = np.empty(len(mine), np.int64)
        for first in range(0, len(mine), CHUNK):
            part = slice(first, first + CHUNK)
            trigger[part] = _trigger_prices(state, rules, terms, under, mine[part])
        longs = state.row_lots[mine] > 0
        for name, side in (("long", longs), ("short", ~longs)):
            falling = name == "long"
            keep = np.flatnonzero(side & (trigger != (NEVER_FALLS if falling else NEVER_RISES)))
            # Accounts come in ascending order, and stay so among equal triggers.
            order = keep[_stable_order(-trigger[keep] if falling else trigger[keep])]
            del keep
            lists[f"{name}_trigger"].append(trigger[order])
            which = mine[order]
            lists[f"{name}_account"].append(account[which])
            lists[f"{name}_single"].append(_singles(state, which, single_ones[account[which]]))
    owing = np.flatnonzero((state.account_balance < 0) & (state.account_mode != SYSTEM))
    if owing.size:
        owing = owing[np.isin(owing, flat) | ~np.isin(owing, account)]
    if len(holders):
        scanned, owing = np.setdiff1d(scanned, holders), np.union1d(owing, holders)
    scanned = scanned[state.account_flags[scanned] & NEVER_LIQUIDATED == 0]
    return {
        **lists, **_cuts_of(lists, state.terms_under(rules), rules),
        "scanned": scanned.astype(np.int32), "debtors": owing.astype(np.int32),
    }  # fmt: skip


def _cuts_of(
    lists: dict[str, list[np.ndarray]], all_terms: tuple[Terms, ...], rules: VenueRules
) -> dict[str, Any]:
    """Mark where the order of singles is sure (_cuts.pxd); by list, the least lots of one (0: none are
    marked) and how many entries are no singles."""
    marked: dict[str, list[tuple[int, int]]] = {"long_plain": [], "short_plain": []}
    for i, terms in enumerate(all_terms):
        rate = terms.rates[0] / RATE_ONE
        plain = (
            rules.maintenance_on == "mark"
            and (rules.maintenance_fee != "taker_at_bankruptcy" or not terms.closing_fee)
            and terms.contract == LINEAR
            and not terms.slope[0]
            and terms.rates[0] > 0
            and rate <= CUT_RATE
            and len(terms.rates) == 1
            and terms.amounts[0] == 0
        )
        for name in ("long", "short"):
            singles = lists[f"{name}_single"][i]
            cuts = _bulk.mark_cuts(singles, terms.coef_num, rate, name == "long") if plain else (0, 0)
            marked[f"{name}_plain"].append(cuts)
    return marked


def _singles(state: State, row: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Positions as single_t: lots, basis, balance, isolated or not and the slot; zeros where not `known`."""
    account = state.row_account[row]
    table = np.empty((len(row), 4), np.int64)
    table[:, 0] = state.row_lots[row]
    table[:, 1] = state.row_basis[row]
    table[:, 2] = state.account_balance[account]
    table[:, 3] = (state.account_mode[account] == ISOLATED) | state.row_slot[row].astype(np.int64) << 32
    table *= known[:, None]
    return table


def _trigger_prices(
    state: State, rules: VenueRules, terms: Terms, under: Terms, row: np.ndarray
) -> np.ndarray:
    """Of positions that are alone in their accounts: int64 marks in 1/1024 ticks, NEVER_... where nothing is
    needed at any price."""
    lots, basis = state.row_lots[row], state.row_basis[row]
    balance = state.account_balance[state.row_account[row]]
    # What of maintenance does not move with the mark is the same at every mark.
    rest = balance - basis - not_moving(under, rules, lots, basis, balance)[0] - MONEY_SLACK
    # A position whose value rises with its notional is unhealthy below the crossing, the other kind above it.
    rising = rises(terms, lots)
    notional = notional_at_zero_excess(terms, rising, rest, lots=lots)
    mark = price_of_notional(terms, lots, notional) * MARK_ONE
    falling = lots > 0
    bound = np.where(falling, mark * (1 + PRICE_SLACK) + 2, mark * (1 - PRICE_SLACK) - 2)
    usable = ~np.isnan(bound) & (bound < 2**62)
    trigger = np.where(usable, bound, 0).astype(np.int64)
    trigger[~usable] = np.where(falling[~usable], NEVER_RISES, NEVER_FALLS)  # always found
    # Without a crossing only what can be proved is left out: a value that adds to a rest >= 0 covers its
    # own maintenance at every price. Everybody else is looked at in the first check.
    safe = np.isnan(mark) & rising & (rest >= 0)
    trigger[safe] = np.where(falling[safe], NEVER_FALLS, NEVER_RISES)
    return trigger


def _stable_order(keys: np.ndarray) -> np.ndarray:
    """np.argsort(keys, kind="stable"), by the faster sort: equal keys are put in order after it."""
    order = np.argsort(keys)
    ordered = keys[order]
    ties = ordered[1:] == ordered[:-1]
    if ties.any():
        tied = np.zeros(len(keys), bool)
        tied[1:] |= ties
        tied[:-1] |= ties
        group = np.zeros(len(keys), np.int64)
        np.cumsum(~ties, out=group[1:])
        among = (group[tied] << 32) | order[tied]  # fewer rows than 2**31
        among.sort()
        order[tied] = among & (2**32 - 1)
    return order
