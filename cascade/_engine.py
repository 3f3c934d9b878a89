"""The compiled engine with the interface that `Market` and `Simulation` use; the reference's twin is
`reference/adapter.py`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _core, _index
from ._marks import Clock, Program, inputs_of, samples_of
from ._state import EXTERNAL, LINEAR, State, Terms, aligned
from .breakers import band_terms, level_terms
from .instruments import RATE_ONE
from .margin import STEEP, grows_squared, maintenance_rates, moving_terms, not_moving, size_rate
from .marks import Mark
from .records import ORDER_DTYPE
from .rules import VenueRules

CUT_RATE = 0.5
"""The highest rate of maintenance for which cuts are marked."""
CHUNK = 32_768
"""Positions whose triggers are solved at a time: what that takes beside them stays small."""


class CoreEngine(_core.Engine):
    """Arrays in, arrays out. Made by `start`; engines are reused, and a later run costs what it touches."""

    def __init__(self, state: State, rules: VenueRules):
        self.rules = rules
        self._state = state
        self.load(columns_of(state, rules))

    def apply(self, ops: np.ndarray) -> None:
        super().apply(ops.view(np.uint8))

    def cancel(self) -> None:
        """From any thread: the run that goes on raises `Cancelled` within about a millisecond."""
        self.cancelled = True

    def step(self) -> bool:
        return self.advance(True)

    def submit(self, i: int, orders: np.ndarray) -> np.ndarray:
        return super().submit(i, np.ascontiguousarray(orders, ORDER_DTYPE).view(np.uint8))

    def advance_ns(self, dt: int) -> None:
        super().advance_ns(dt)
        if isinstance(self.rules.mark, Mark):
            self.clock = clock = self.clock or Clock(self._state, self.rules.mark)
            clock.advance(dt, samples_of(clock, self.samples()))
            self.set_inputs(inputs_of(clock, self.external()))

    def copy(self) -> CoreEngine:
        twin = super().copy()
        twin.__dict__.update(self.__dict__)
        twin.clock = None if self.clock is None else self.clock.copy()
        return twin


def start(
    idle: list[Any], state: State, rules: VenueRules, record: str, audit: str, max_waves: int | None
) -> CoreEngine:
    """An engine of a market at the start of a run: an idle one, which is loaded, or a new one."""
    try:
        engine = idle.pop()
    except IndexError:
        engine = CoreEngine(state, rules)
    engine.begin(idle, record, audit, max_waves)
    return engine


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
        "flags": state.account_flags,
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
    account, instrument, slot, lots, basis = map(
        aligned, (state.row_account, state.row_instrument, state.row_slot, state.row_lots, state.row_basis)
    )
    mode, parent, balance = map(aligned, (state.account_mode, state.account_parent, state.account_balance))
    all_terms = [moving_terms(t, rules) for t in state.terms_under(rules)]
    kind = _index.kinds_of(account, lots, parent, aligned(state.holdings["account"]))
    barred = _barred(state, all_terms)
    rows, starts = _index.rows_by_instrument(kind, account, instrument, barred, len(all_terms))
    lists: dict[str, list[np.ndarray]] = {
        "long_trigger": [], "long_account": [], "long_single": [],
        "short_trigger": [], "short_account": [], "short_single": [],
    }  # fmt: skip
    for i, (terms, under) in enumerate(zip(all_terms, state.terms_under(rules), strict=True)):
        mine = rows[starts[i] : starts[i + 1]]
        trigger = np.empty(len(mine), np.int64)
        tiers = [np.array(column, np.int64) for column in (terms.floors, terms.rates, terms.amounts)]
        for first in range(0, len(mine), CHUNK):
            part = mine[first : first + CHUNK]
            trigger[first : first + CHUNK] = _index.trigger_prices(
                part, account, lots, basis, balance, *_margin_beside(state, rules, terms, under, part),
                terms.contract == LINEAR, terms.coef_num, terms.coef_den, *tiers,
            )  # fmt: skip
        for name in ("long", "short"):
            side = _index.side_of(
                mine, trigger, name == "long", kind, account, slot, lots, basis, mode, parent,
                state.account_flags, balance,
            )  # fmt: skip
            for column, values in zip(("trigger", "account", "single"), side, strict=True):
                lists[f"{name}_{column}"].append(values)
    return {
        **lists,
        **_cuts_of(lists, state.terms_under(rules), rules),
        "scanned": _index.scanned_of(kind, account, barred, state.account_flags),
        "debtors": _index.debtors_of(kind, mode, balance),
    }


def _cuts_of(
    lists: dict[str, list[np.ndarray]], all_terms: tuple[Terms, ...], rules: VenueRules
) -> dict[str, Any]:
    """Mark where the order of singles is sure (_cuts.pxd); by list, the least lots of one (0: none are
    marked) and how many entries are no singles, and sums over its blocks."""
    marked: dict[str, list[Any]] = {
        name: [] for name in ("long_plain", "long_block", "short_plain", "short_block")
    }
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
            cuts = _index.mark_cuts(singles, terms.coef_num, rate, name == "long") if plain else (0, 0)
            marked[f"{name}_plain"].append(cuts)
            marked[f"{name}_block"].append(_index.sum_blocks(singles[: len(singles) if cuts[0] else 0]))
    return marked


def _barred(state: State, all_terms: list[Terms]) -> np.ndarray | None:
    """Rows whose trigger prices cannot be solved, as uint8: their maintenance jumps, grows with the square of
    the notional, or takes nearly all of a rise in value. None where there is none."""
    barred = None
    for i, terms in enumerate(all_terms):
        steep = not terms.continuous or grows_squared(terms)
        if not steep and not terms.slope[0] and terms.rates[-1] <= STEEP:
            continue
        if barred is None:
            barred = np.zeros(len(state.row_lots), np.uint8)
        mine = np.flatnonzero(state.row_instrument == i)
        if steep:
            barred[mine] = 1
        else:  # the highest rate that the position's size can lead to
            most = maintenance_rates(terms, np.full(len(mine), terms.floors[-1]), state.row_lots[mine])
            barred[mine] = most > STEEP
    return barred


def _margin_beside(
    state: State, rules: VenueRules, terms: Terms, under: Terms, row: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(what of positions' maintenance does not move with the mark, int64 quanta; what their size adds to the
    rates, int64 of 1e-12), None where rules and terms know no such thing."""
    fixed = extra = None
    if rules.maintenance_on == "entry" or rules.maintenance_fee == "taker_at_bankruptcy":
        balance = state.account_balance[state.row_account[row]]
        fixed = not_moving(under, rules, state.row_lots[row], state.row_basis[row], balance)[0]
    if terms.slope[0]:  # of inverse contracts these are barred
        extra = size_rate(terms, terms.slope, np.zeros(len(row), np.int64), state.row_lots[row])
    return fixed, extra
