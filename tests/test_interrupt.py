"""Ctrl-C stops a run inside its loop, and the market is as it was."""

import _thread
import signal
import threading

import numpy as np
import pytest

import cascade as cs


@pytest.fixture(autouse=True)
def _interrupts_raise():
    """Python's own handler, whoever started us: a shell's background job ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_stops_the_loop_and_changes_nothing():
    count = 300_000
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    ticks = np.arange(2_000_000, 2_000_000 - 400_000, -1)
    market.load_book(
        "X", {"price": ticks, "quantity": np.ones(len(ticks), np.int64)},
        {"price": [2_000_001], "quantity": [1]}, complete=True
    )
    # Each long goes when the mark falls below its entry, one wave after another: several seconds of work.
    market.load_positions(
        {
            "account": np.arange(count), "instrument": np.full(count, "X"), "size": np.ones(count, np.int64),
            "entry_price": 2_000_000 - np.arange(count) - 0.5, "margin": np.zeros(count),
        }
    )  # fmt: skip
    shock = cs.Shock(orders={"X": -2})
    before = market.digest
    assert market.run(shock, max_waves=50).summary["liquidated_accounts"] > 0  # the engine is built
    timer = threading.Timer(0.05, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        for _ in range(50):
            market.run(shock)
    timer.join()
    assert market.digest == before
    again = market.run(shock, max_waves=50)
    assert again.digest == cs_fresh(market, shock).digest


def cs_fresh(market, shock):
    """The same run on an engine that was never interrupted."""
    market._derived.engines.clear()
    return market.run(shock, max_waves=50)
