"""Benchmarks of the engine and the order book: pytest benchmarks --benchmark-enable. See README.md."""

import numpy as np
import pytest
import workload
from baselines import compiled_walk, mask_per_wave, sorted_triggers
from flow import mixed_flow

import cascade as cs

RECORDS = ("summary", "liquidations", "all")


@pytest.fixture(scope="module")
def loaded():
    """Workload A, its market with the engine built, and what it comes to."""
    w = workload.build()
    market = w.market()
    return w, market, workload.outcome(market.run(workload.shock(), record="summary"))


@pytest.mark.benchmark(group="cascade")
@pytest.mark.parametrize("record", RECORDS)
def test_cascade_core(benchmark, loaded, record):
    _, market, expected = loaded
    shock = workload.shock()
    result = benchmark(lambda: market.run(shock, record=record))
    assert workload.outcome(result) == expected


@pytest.mark.benchmark(group="cascade")
@pytest.mark.parametrize("opponent", [mask_per_wave, sorted_triggers, compiled_walk])
def test_cascade_opponent(benchmark, loaded, opponent):
    if opponent is compiled_walk:
        pytest.importorskip("numba")
    w, _, expected = loaded
    assert benchmark(opponent(w)) == expected


@pytest.mark.benchmark(group="first run")
@pytest.mark.parametrize("record", RECORDS)
def test_cascade_first_run(benchmark, record):
    w, shock = workload.build(), workload.shock()

    def setup():
        return (w.market(),), {}

    result = benchmark.pedantic(lambda market: market.run(shock, record=record), setup=setup, rounds=5)
    assert result.status == "settled"


@pytest.mark.benchmark(group="load")
def test_load(benchmark):
    w = workload.build()
    columns = w.columns()

    def setup():
        return (workload.empty_market(),), {}

    benchmark.pedantic(lambda market: market.load_positions(columns), setup=setup, rounds=5)


@pytest.mark.benchmark(group="load")
def test_load_argsort(benchmark):
    trigger = workload.build().trigger()
    assert len(benchmark(lambda: np.argsort(trigger))) == workload.POSITIONS


@pytest.mark.benchmark(group="order book")
@pytest.mark.parametrize("reuse", [False, True], ids=["new-reports", "out"])
def test_order_book(benchmark, reuse):
    orders = mixed_flow()
    buffer = np.zeros(2 * len(orders), cs.REPORT_DTYPE)

    def setup():
        return (cs.OrderBook(reserve=len(orders)),), {}

    def process(book):
        if reuse:
            return book.process(orders, out=buffer)[0]
        return len(book.process(orders))

    assert benchmark.pedantic(process, setup=setup, rounds=5) >= len(orders)
