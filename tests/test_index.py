"""The index by trigger price: its single passes against NumPy, which says the same column by column."""

import numpy as np
import pytest
import random_markets

import cascade as cs
from cascade import _bulk, _engine, _index
from cascade._state import ISOLATED, NEVER_LIQUIDATED, SYSTEM, aligned
from cascade.margin import (
    moving_terms,
    not_moving,
    notional_at_zero_excess,
    price_of_notional,
    rises,
)
from cascade.rules import as_rules

NEVER_FALLS, NEVER_RISES = 0, 2**63 - 1


def some_markets(seeds):
    for seed in seeds:
        market, _, run = random_markets.make(seed)
        yield market.state(), as_rules(run.get("rules"), market.rules)


def triggers_in_columns(state, rules, terms, under, row):
    """What `_index.trigger_prices` says."""
    lots, basis = state.row_lots[row], state.row_basis[row]
    balance = state.account_balance[state.row_account[row]]
    rest = balance - basis - not_moving(under, rules, lots, basis, balance)[0] - 4
    rising, falling = rises(terms, lots), lots > 0
    mark = price_of_notional(terms, lots, notional_at_zero_excess(terms, rising, rest, lots=lots)) * 1024
    bound = np.where(falling, mark * (1 + 1e-9) + 2, mark * (1 - 1e-9) - 2)
    usable = ~np.isnan(bound) & (bound < 2**62)
    trigger = np.where(usable, bound, 0).astype(np.int64)
    trigger[~usable] = np.where(falling[~usable], NEVER_RISES, NEVER_FALLS)
    safe = np.isnan(mark) & rising & (rest >= 0)
    trigger[safe] = np.where(falling[safe], NEVER_FALLS, NEVER_RISES)
    return trigger


def index_in_columns(state, rules):
    """What `_engine.triggers_of` says."""
    account, lots = state.row_account, state.row_lots
    row = np.flatnonzero(np.bincount(account, minlength=len(state.account_mode))[account] == 1)
    barred = _engine._barred(state, [moving_terms(t, rules) for t in state.terms_under(rules)])
    barred = np.zeros(len(lots), bool) if barred is None else barred != 0
    holders = state.holdings["account"]
    found = (lots[row] != 0) & ~barred[row] & ~np.isin(account[row], holders)
    others, row = np.setdiff1d(np.arange(len(account)), row[found]), row[found]
    several = np.flatnonzero(np.bincount(account) > 1)
    scanned = np.union1d(several, account[others[lots[others] != 0]])
    scanned = np.setdiff1d(scanned[state.account_flags[scanned] & NEVER_LIQUIDATED == 0], holders)
    owing = np.flatnonzero((state.account_balance < 0) & (state.account_mode != SYSTEM))
    owing = owing[~np.isin(owing, several) & ~np.isin(owing, account[lots != 0])]
    index = {"scanned": scanned, "debtors": np.union1d(owing, holders)}
    for name in ("long", "short"):
        for column in ("trigger", "account", "single"):
            index[f"{name}_{column}"] = []
    parent = state.account_parent
    busy = np.union1d(account, holders)
    for i, under in enumerate(state.terms_under(rules)):
        mine = row[state.row_instrument[row] == i]
        trigger = triggers_in_columns(state, rules, moving_terms(under, rules), under, mine)
        for name, side in (("long", lots[mine] > 0), ("short", lots[mine] < 0)):
            keep = np.flatnonzero(side & (trigger != (NEVER_FALLS if name == "long" else NEVER_RISES)))
            order = keep[np.argsort(-trigger[keep] if name == "long" else trigger[keep], kind="stable")]
            a = account[mine[order]]
            owner = np.maximum(parent[a], 0)
            idle = ~np.isin(owner, busy) & (state.account_balance[owner] >= 0)
            known = np.where(parent[a] < 0, ~np.isin(a, parent), idle) & (
                state.account_flags[a] & NEVER_LIQUIDATED == 0
            )
            slot = state.row_slot[mine[order]].astype(np.int64)
            single = np.column_stack([
                lots[mine[order]], state.row_basis[mine[order]], state.account_balance[a],
                (state.account_mode[a] == ISOLATED) | slot << 32,
            ])  # fmt: skip
            index[f"{name}_trigger"].append(trigger[order])
            index[f"{name}_account"].append(a)
            index[f"{name}_single"].append(single * known[:, None])
    return index


@pytest.mark.fast
@pytest.mark.parametrize("first", range(0, 200, 50))
def test_the_index_of_random_markets(first):
    seen = dict.fromkeys(("long_single", "short_single", "scanned", "debtors"), 0)
    for state, rules in some_markets(range(first, first + 50)):
        ours, theirs = _engine.triggers_of(state, rules), index_in_columns(state, rules)
        for name, columns in ((name, ours[name]) for name in theirs):
            pairs = (
                zip(columns, theirs[name], strict=True)
                if isinstance(columns, list)
                else [(columns, theirs[name])]
            )
            for x, y in pairs:
                if name.endswith("trigger"):  # a compiler may multiply and add in one step
                    np.testing.assert_allclose(x, y, rtol=1e-12, atol=1)
                elif name.endswith("single"):  # but for the marks of cuts
                    np.testing.assert_array_equal(x & ~np.array([0, 0, 0, 0xFF00]), y)
                else:
                    np.testing.assert_array_equal(x, y)
                if name in seen:
                    seen[name] += len(x)
    assert min(seen.values()) > 0


def side_of(trigger, lots, falling):
    """The index of accounts 6, 7, ... with a position each and a trigger as given."""
    n = len(lots)
    account = np.arange(6, 6 + n, dtype=np.int32)
    mode, parent = np.ones(6 + n, np.uint8), np.full(6 + n, -1, np.int32)
    kind = _index.kinds_of(account, lots, parent, np.zeros(0, np.int32))
    return _index.side_of(
        np.arange(n, dtype=np.int32), trigger, falling, kind, account, np.zeros(n, np.uint8), lots, 10 * lots,
        mode, parent, np.zeros(6 + n, np.uint8), np.arange(6 + n),
    )  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize("n", [0, 1, 2, 50, 5_000])
@pytest.mark.parametrize(
    ("low", "high"),
    [(5, 5), (1, 3), (1, 1_000), (10**9, 10**9 + 2**32 - 3), (-3, 2**32), (1, 2**40), (0, 2**63 - 2)],
)
@pytest.mark.parametrize("falling", [True, False])
def test_triggers_are_sorted_as_numpy_sorts_them(n, low, high, falling):
    """Narrow and wide ranges (beyond 32 bits they are sorted in two halves), ties, who is always or never
    found."""
    rng = np.random.default_rng(n)
    trigger = rng.integers(low, high, n, endpoint=True)
    if n >= 50:
        trigger[:10] = low, high, low, high, NEVER_RISES, NEVER_FALLS, NEVER_RISES, NEVER_FALLS, 1, 2
    lots = rng.choice([-2, 3], n)
    found = np.flatnonzero(
        (lots > 0 if falling else lots < 0) & (trigger != (NEVER_FALLS if falling else NEVER_RISES))
    )
    order = found[np.argsort(-trigger[found] if falling else trigger[found], kind="stable")]
    triggers, accounts, singles = side_of(trigger, lots, falling)
    assert triggers.tolist() == trigger[order].tolist()
    assert accounts.tolist() == (6 + order).tolist()
    assert singles[:, :3].tolist() == np.column_stack([lots, 10 * lots, 6 + np.arange(n)])[order].tolist()


@pytest.mark.fast
@pytest.mark.parametrize("seed", range(20))
def test_exposures(seed):
    """The bounds of a run, in one pass, against the sums that are formed where that pass finds no room."""
    for state, _ in some_markets([seed]):
        largest, whole, wide = state._spare_exposure
        every = state._exposure(wide)
        assert largest == pytest.approx(every.max(), rel=1e-12)
        assert whole == pytest.approx(every.sum(), rel=1e-12)
        held = _bulk.lots_held(aligned(state.row_instrument), aligned(state.row_lots), len(state.instruments))
        for i, lots in enumerate(held.tolist()):
            assert lots == np.abs(state.row_lots[state.row_instrument == i]).sum()


@pytest.mark.fast
def test_a_market_without_positions():
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    market.load_book("X", {"price": [9], "quantity": [1]}, {"price": [11], "quantity": [1]})
    index = _engine.triggers_of(market.state(), market.rules)
    assert index.pop("long_plain") == index.pop("short_plain") == [(0, 0)]
    assert all(len(column[0] if isinstance(column, list) else column) == 0 for column in index.values())
    assert market.run(record="summary").summary["initially_unhealthy"] == 0
