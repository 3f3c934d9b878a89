"""Sweeps: the same rows whatever runs them; failures, deadlines and interrupts; tables kept and written."""

import _thread
import concurrent.futures
import multiprocessing
import signal
import threading
import time

import numpy as np
import pytest

import cascade as cs
from cascade._summary import SUMMARY_SCALARS
from cascade.sweep import _elsewhere
from cascade.sweep._given import read_seed


@pytest.fixture(scope="module")
def market():
    return cs.datasets.constant_depth(d=100, g=60, lot="0.1")


def draw(rng, k):
    """A scenario of its seed and number alone."""
    return cs.Shock(orders={"X": -float(rng.integers(1, 400))})


def same(a, b):
    assert a.columns == b.columns
    for name in a.columns:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_row_is_what_a_run_says(market):
    shocks = [cs.Shock(orders={"X": -q}) for q in (0, 1, 50, 120)]
    table = market.sweep(shocks).table
    assert table["scenario"].tolist() == [0, 1, 2, 3]
    for k, shock in enumerate(shocks):
        summary = market.run(shock).summary
        assert tuple(summary) == SUMMARY_SCALARS
        for name, value in summary.items():
            if name == "price":
                for which, price in value["X"].items():
                    assert table[f"price_{which}[X]"][k] == price
            elif name == "known_until":
                assert np.isnan(table["known_until[X]"][k])
            else:
                np.testing.assert_equal(table[name].tolist()[k], value)
        assert table["error"][k] == ""


def test_rows_do_not_depend_on_who_runs_them(market):
    alone = market.sweep(draw, n=60, rng=11)
    for workers in (2, 3, -1, map):
        same(market.sweep(draw, n=60, rng=11, workers=workers).table, alone.table)
    first = market.sweep(draw, n=7, rng=11).table
    same(first, alone.table.rows(slice(0, 7)))
    assert market.sweep(draw, n=60, rng=12)["shock_notional"].tolist() != alone["shock_notional"].tolist()
    assert alone.seed == 11
    by_reference = market.sweep(draw, n=5, rng=11, engine="reference", workers=2).table
    same(by_reference, alone.table.rows(slice(0, 5)))


def test_a_process_pool_gives_the_same(market):
    context = multiprocessing.get_context("spawn")
    expected = market.sweep(draw, n=40, rng=5, keep=["deficit", "waves"])
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        seen = []
        there = market.sweep(
            draw, n=40, rng=5, keep=["deficit", "waves"], workers=pool.map, progress=lambda *x: seen.append(x)
        )
    same(there.table, expected.table)
    same(there.tables["waves"], expected.tables["waves"])
    assert seen[-1] == (40, 40)


def elsewhere(f, tasks):
    """A map whose processes are on another machine: they cannot read this one's files."""
    answers = []
    for task in tasks:
        hidden = task if task.market is not None else type(task)(**{**vars(task), "path": "/nowhere"})
        sent.append(task.market is not None)
        answers.append(f(hidden))
    return answers


sent: list[bool] = []


def test_a_market_is_sent_once_to_a_process_that_cannot_read_it(market):
    sent.clear()
    _elsewhere._market = None
    there = market.sweep(draw, n=50, rng=3, workers=elsewhere)
    same(there.table, market.sweep(draw, n=50, rng=3).table)
    assert sum(sent) == 1  # one process answered that it has no market
    sent.clear()
    shocks = [draw(np.random.default_rng(k), k) for k in range(20)]
    _elsewhere._market = None
    same(market.sweep(shocks, workers=elsewhere).table, market.sweep(shocks).table)
    assert sum(sent) == 1


def test_tables_of_moves():
    instruments = [cs.Instrument(s, tick_size=1, lot_size=1) for s in ("A", "B")]
    two = cs.Market(instruments)
    for s in ("A", "B"):
        two.load_book(s, {"price": [999], "quantity": [5]}, {"price": [1_001], "quantity": [5]})
    two.set_prices(last={"A": 1_000, "B": 1_000})
    moves = np.array([[-0.1, 0.05], [0.2, 0.0]])
    by_array = two.sweep(moves).table
    same(by_array, two.sweep([cs.Shock({"A": -0.1, "B": 0.05}), cs.Shock({"A": 0.2})]).table)
    same(by_array, two.sweep({"B": moves[:, 1], "A": moves[:, 0]}).table)
    pandas = pytest.importorskip("pandas")
    same(by_array, two.sweep(pandas.DataFrame(moves, columns=["A", "B"]), workers=2).table)
    only = two.sweep({"B": [0.05]}).table
    assert only["price_final[A]"][0] == 1_000
    assert only["price_final[B]"][0] == 1_050


def test_kept_columns_and_tables(market):
    shocks = [cs.Shock(orders={"X": -q}) for q in (40, 90)]
    kept = market.sweep(shocks, keep=["amplification", "price_final[X]", "liquidations", "flows", "network"])
    assert kept.table.columns == ("scenario", "status", "amplification", "price_final[X]", "error")
    for name in ("liquidations", "flows", "network"):
        table = kept.tables[name]
        assert table.columns[0] == "scenario"
        for k, shock in enumerate(shocks):
            result = market.run(shock)
            own = result.network() if name == "network" else getattr(result, name)
            mine = table.rows(table["scenario"] == k)
            same(mine[list(own.columns)], own)


def test_written_to_parquet(market, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    expected = market.sweep(draw, n=30, rng=1, keep=["deficit", "liquidations"])
    keep = ["deficit", "liquidations"]
    written = market.sweep(draw, n=30, rng=1, keep=keep, out=tmp_path / "rows", workers=2)
    assert len(written.table) == 0
    assert len(written) == 30
    assert written.out == tmp_path / "rows"
    rows = pq.read_table(tmp_path / "rows" / "scenarios.parquet")
    assert rows.column_names == list(expected.table.columns)
    for name in expected.table.columns:
        assert rows[name].to_pylist() == expected.table[name].tolist()
    liquidations = pq.read_table(tmp_path / "rows" / "liquidations.parquet")
    assert liquidations["scenario"].to_pylist() == expected.tables["liquidations"]["scenario"].tolist()


def sometimes(rng, k):
    if k == 3:
        raise ValueError("no such day")
    return "nothing" if k == 5 else cs.Shock({"Y": 0.1}) if k == 6 else draw(rng, k)


@pytest.mark.parametrize("workers", [1, 2, map])
def test_an_error_stops_one_scenario(market, workers):
    swept = market.sweep(sometimes, n=10, rng=0, workers=workers)
    assert swept.failed == 3
    assert swept.failures["scenario"].tolist() == [3, 5, 6]
    assert swept.failures["error"][0] == "ValueError: no such day"
    assert "scenario 5 = 'nothing': must be a Shock" in swept.failures["error"][1]
    assert "'Y'" in swept.failures["error"][2]
    fine = swept["status"] != "failed"
    same(swept.table.rows(fine), market.sweep(draw, n=10, rng=0).table.rows(fine))
    assert np.isnan(swept["deficit"][3])
    assert swept["waves"][3] == 0


def heavy():
    """A market whose run takes seconds: 400,000 waves of one account."""
    count = 200_000
    market = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1))
    ticks = np.arange(2_000_000, 2_000_000 - 300_000, -1)
    market.load_book(
        "X", {"price": ticks, "quantity": np.ones(len(ticks), np.int64)},
        {"price": [2_000_001], "quantity": [1]}, complete=True,
    )
    market.load_positions(
        {
            "account": np.arange(count), "instrument": np.full(count, "X"), "size": np.ones(count, np.int64),
            "entry_price": 2_000_000 - np.arange(count) - 0.5, "margin": np.zeros(count),
        }
    )  # fmt: skip
    return market


def test_a_deadline_leaves_the_rest():
    market = heavy()
    shocks = [cs.Shock(orders={"X": -1})] * 2 + [cs.Shock(orders={"X": -2})] * 400
    market.run(shocks[-1], max_waves=50, record="summary")  # the engine is built
    begun = time.monotonic()
    swept = market.sweep(shocks, workers=2, deadline=0.5)
    assert time.monotonic() - begun < 10
    assert swept.not_run > 0
    assert (swept["status"] == "not_run").sum() == swept.not_run == len(swept.failures)
    assert swept["error"][swept["status"] == "not_run"][0] == "past the deadline"
    nothing = market.sweep(shocks, deadline=0)
    assert nothing.not_run == len(shocks)
    assert market.run(shocks[0], max_waves=50).status == "settled"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_stops_a_sweep_within_a_scenario(workers):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        market = heavy()
        shock = cs.Shock(orders={"X": -2})
        digest = market.digest
        market.sweep([shock] * workers, max_waves=50, workers=workers)
        threads = threading.active_count()
        timer = threading.Timer(0.2, _thread.interrupt_main)
        timer.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            market.sweep([shock] * 200, workers=workers)
        assert time.monotonic() - begun < 10
        timer.join()
        assert threading.active_count() <= threads
        assert market.digest == digest
        assert market.run(shock, max_waves=50).status == "limit"
    finally:
        signal.signal(signal.SIGINT, before)


def test_progress_counts_up(market):
    for workers in (1, 2, map):
        seen = []
        market.sweep(draw, n=30, rng=1, workers=workers, progress=lambda *x, seen=seen: seen.append(x))
        assert [total for _, total in seen] == [30] * len(seen)
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1] == (30, 30)


@pytest.mark.fast
def test_no_scenarios(market):
    swept = market.sweep([])
    assert len(swept) == len(swept.table) == swept.failed == 0
    assert swept.table.columns[:2] == ("scenario", "status")


@pytest.mark.fast
def test_seeds():
    assert read_seed(7) == read_seed(np.int64(7)) == 7
    assert read_seed(np.random.default_rng(1)) == read_seed(np.random.default_rng(1))
    assert read_seed(np.random.SeedSequence(1)) == read_seed(np.random.SeedSequence(1))
    assert read_seed(None) != read_seed(None)


BAD = [
    ({"scenarios": 5}, cs.InputTypeError, "sweep.scenarios = 5"),
    ({"scenarios": [5]}, cs.InputTypeError, r"sweep.scenarios\[0\] = 5: must be a Shock"),
    ({"scenarios": draw}, cs.InputTypeError, "sweep.n: must be given with a callable"),
    ({"scenarios": draw, "n": -1}, cs.InputError, "sweep.n = -1"),
    ({"scenarios": [], "n": 2}, cs.InputError, "sweep.n = 2: 0 scenarios"),
    ({"scenarios": np.zeros((3, 2))}, cs.InputError, r"shape \(3, 2\): must be \(n, 1\)"),
    ({"scenarios": {"X": [-1.0]}}, cs.InputError, r"sweep.scenarios\['X'\]\[0\] = -1.0"),
    ({"scenarios": {"X": ["a"]}}, cs.InputTypeError, "must be numbers"),
    ({"scenarios": {"Q": [0.1]}}, cs.InputError, "'Q'"),
    ({"keep": ["profits"]}, cs.InputError, "sweep.keep = 'profits'"),
    ({"keep": "waves"}, cs.InputTypeError, "sweep.keep = 'waves'"),
    ({"workers": 0}, cs.InputError, "sweep.workers = 0"),
    ({"workers": 1.5}, cs.InputTypeError, "sweep.workers = 1.5"),
    ({"rng": "seven"}, cs.InputTypeError, "sweep.rng = 'seven'"),
    ({"rng": -1}, cs.InputError, "sweep.rng = -1"),
    ({"deadline": -1}, cs.InputError, "sweep.deadline = -1"),
    ({"deadline": "soon"}, cs.InputTypeError, "sweep.deadline = 'soon'"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD)
@pytest.mark.fast
def test_bad_sweeps(market, change, error, words):
    with pytest.raises(error, match=words):
        market.sweep(**{"scenarios": [], **change})


def test_a_worker_runs_many_markets_in_turn(market):
    other = cs.datasets.cluster()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for one in (market, other, market):
            same(one.sweep(draw, n=4, rng=2, workers=pool.map).table, one.sweep(draw, n=4, rng=2).table)


def test_dask(market):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        there = market.sweep(draw, n=30, rng=4, workers=executor.map)
    same(there.table, market.sweep(draw, n=30, rng=4).table)


def test_ray(market):
    pool = pytest.importorskip("ray.util.multiprocessing")
    with pool.Pool(2) as workers:
        there = market.sweep(draw, n=30, rng=4, workers=workers.map)
    same(there.table, market.sweep(draw, n=30, rng=4).table)


def test_joblib(market):
    joblib = pytest.importorskip("joblib")

    def parallel(f, tasks):
        return joblib.Parallel(n_jobs=2)(joblib.delayed(f)(task) for task in tasks)

    same(market.sweep(draw, n=12, rng=4, workers=parallel).table, market.sweep(draw, n=12, rng=4).table)
