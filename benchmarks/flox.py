"""FLOX (PyPI: lrvx) on isolated longs whose mark falls once, beside cascade on the same. See README.md.

Asked of both: of `n` positions of workload A's draws, who is liquidated at the mark at which 5% of them are
unhealthy. FLOX closes each at the mark without an order; cascade sends its orders through the book, which
moves the last price but, under mark "index", no further mark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import workload

import cascade as cs

try:
    import lrvx  # at once: after others that are compiled there may be no room for it
except ImportError:
    lrvx = None

SHARE = 0.05
FUND = 1e9


@dataclass(frozen=True)
class Flox:
    """One run of it: how many went, and the money it had before and has after."""

    seconds: float
    liquidated: int
    missing: float
    """what positions, fund and market together should have after it, less what they have"""
    deficit: float
    """what liquidated positions owed beyond their margin"""


def fall(w: workload.Workload) -> float:
    """The mark in USDT: with 5% of the trigger prices above it, give or take a fiftieth of them, in the
    widest gap there, so that rounding it decides nothing."""
    trigger = np.sort(w.trigger() / 10)[::-1]
    k = round(SHARE * len(trigger))
    near = trigger[k - k // 50 - 1 : k + k // 50 + 1]
    widest = int(np.argmax(near[:-1] - near[1:]))
    return float(near[widest] + near[widest + 1]) / 2


def flox_run(w: workload.Workload, clock: Callable[[], float]) -> Flox:
    """Load and run FLOX; only `on_mark` is timed."""
    size, entry, mark = w.lots / 1_000, w.entry / 10, fall(w)
    engine = lrvx.LiquidationEngine()
    engine.add_tier(0.0, workload.MAINTENANCE)
    engine.set_adl_enabled(False)
    engine.set_liquidation_slippage_bps(0)
    engine.set_insurance_fund_capital(FUND)
    for k, (q, p, m) in enumerate(zip(size.tolist(), entry.tolist(), w.margin.tolist(), strict=True)):
        engine.open_position(k + 1, 1, q, p, m)
    start = clock()
    found = engine.on_mark(1, mark)
    taken = clock() - start
    gone = np.array(found["liquidated"], np.int64) - 1
    left = w.margin[gone] + size[gone] * (mark - entry[gone])
    # Closed at the mark: what is left of their margins must be somewhere, what they owe come from the fund.
    paid = engine.insurance_fund_balance() - FUND
    return Flox(taken, len(gone), float(left.sum() - paid), float(-left[left < 0].sum()))


def cascade_run(w: workload.Workload) -> Callable[[], cs.Result]:
    """The same question to cascade: the index falls to that mark."""
    market = workload.empty_market()
    market.load_positions(w.columns())
    rules = cs.VenueRules(mark="index")
    shock = cs.Shock(index=fall(w) / market.mark("BTCUSDT", rules=rules) - 1)
    return lambda: market.run(shock, rules=rules, record="summary")
