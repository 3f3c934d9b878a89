"""The benchmarks' own correctness: flows, the books they are checked with, what compare.py notices."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cascade as cs
from cascade.reference.book import Book

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import baselines  # noqa: E402
import compare  # noqa: E402
import contagion  # noqa: E402
import flows  # noqa: E402
import instructions  # noqa: E402
import orderbook  # noqa: E402
import workload  # noqa: E402


def small(name):
    if name == "cascade":
        return flows.cascade(levels=40, per=5, rounds=60)
    return getattr(flows, name)(n=4_000, warm=1_500)


@pytest.fixture(scope="module", params=flows.NAMES)
def flow(request):
    return small(request.param)


@pytest.mark.fast
@pytest.mark.parametrize("sparse", [None, 5], ids=["dense", "sparse"])
def test_books_give_the_fills_of_the_flows(flow, sparse):
    orders = flow.orders(sparse)
    reports = cs.OrderBook().process(orders.rows)
    assert flow.totals.fills > 100
    assert orders.totals(reports) == flow.totals
    assert not (reports["kind"] == cs.ReportKind.REJECTED).any()
    assert Book().process(orders.rows).tobytes() == reports.tobytes()


@pytest.mark.fast
def test_flows_are_seeded(flow):
    again = small(flow.name)
    assert again.messages.tobytes() == flow.messages.tobytes()
    assert again.totals == flow.totals
    maker = {"cascade": flows.cascade, "normal": flows.normal, "wide": flows.wide}[flow.name]
    size = {"levels": 40, "per": 5, "rounds": 60} if flow.name == "cascade" else {"n": 4_000, "warm": 1_500}
    assert maker(**size, seed=99).totals != flow.totals


@pytest.mark.fast
def test_wide_prices_are_spread_over_31_bits():
    price = small("wide").messages["price"]
    assert price.min() < 2**27
    assert price.max() > 2**31 - 2**27
    assert len(np.unique(price)) > len(price) / 3


@pytest.mark.fast
def test_flow_files_are_read_as_written(flow, tmp_path):
    path = tmp_path / "flow.bin"
    flow.write(path)
    head = path.read_bytes()[: flows.HEADER_BYTES]
    assert head[:8] == b"LOBFLOW1"
    assert path.stat().st_size == 128 + 16 * len(flow)
    found = flows.read(path, flow.name)
    assert (found.messages == flow.messages).all()
    assert (found.warm, found.totals, found.timed) == (flow.warm, flow.totals, flow.timed)
    assert (found.most_live, found.live_end) == (flow.most_live, flow.live_end)
    path.write_bytes(path.read_bytes()[:-16])
    with pytest.raises(ValueError, match="the header says"):
        flows.read(path)


@pytest.mark.fast
def test_hash_is_the_one_of_the_format():
    fills = [(7, -3, 5), (2**32 - 1, 2**31 - 1, 9), (1, 0, 1)]
    h = 0
    for maker, price, lots in fills:
        h = (h + maker * flows.K1 + (price << 20) + lots) * flows.K2 & flows.MASK
    maker, price, lots = np.array(fills).T
    assert flows.totals(maker, price, lots) == flows.Totals(3, 15, h)
    assert flows.totals(maker[::-1], price[::-1], lots[::-1]).hash != h


@pytest.mark.fast
def test_sparse_ids_are_a_bijection():
    ids = np.concatenate([np.arange(1, 2_000), [2**32 - 1]]).astype(np.uint64)
    spread = flows.spread(ids, 3)
    assert len(np.unique(spread)) == len(ids)
    assert (spread > 2**60).mean() > 0.9
    assert (flows.dense(spread, 3) == ids).all()
    assert (flows.spread(ids, 4) != spread).all()


@pytest.mark.fast
def test_a_change_at_the_same_price_loses_its_place():
    """Orders 1 and 2 at 10; 1 is changed to less, and 2 trades first: in the format, not by our MODIFY."""
    sent = [(1, 10, 5, flows.ADD, 0), (2, 10, 5, flows.ADD, 0), (1, 10, 3, flows.MODIFY, 0)]
    writer = flows.Writer("same")
    for message in [*sent, (3, 10, 6, flows.IOC, 1)]:
        writer.send(*message)
    flow = writer.flow()
    assert flow.totals.lots == 6
    orders = flow.orders()
    assert orders.rows["action"].tolist() == [0, 0, cs.Action.CANCEL, cs.Action.NEW, 0]
    reports = cs.OrderBook().process(orders.rows)
    assert reports["maker_id"][reports["kind"] == cs.ReportKind.TRADE].tolist() == [2, 1]
    assert orders.totals(reports) == flow.totals
    job = compare.Job(flow)
    assert compare.one_pass(Toy, job, 10).check == "exact"


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_map_book_gives_the_same_reports(flow, tmp_path):
    program = orderbook.compiled(tmp_path, BENCHMARKS / "mapbook.cpp", "-std=c++17", "-Wall", "-Werror")
    flow.write(tmp_path / "flow.bin")
    command = [str(program), str(tmp_path / "flow.bin"), "1"]
    subprocess.run([*command, str(tmp_path / "reports")], check=True)
    found = np.fromfile(tmp_path / "reports", cs.REPORT_DTYPE)
    assert found.tobytes() == cs.OrderBook().process(flow.orders().rows).tobytes()
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(out)["check"] == "exact"


@pytest.mark.fast
def test_a_timed_pass_is_of_a_checked_book():
    flow = small("normal")
    passes = orderbook.Passes(flow)
    assert passes.in_batches() > 0
    assert passes.whole() > 0
    passes.out = passes.out[:300]  # full again and again
    passes.in_batches()
    passes.digest = "other"
    with pytest.raises(AssertionError, match="differs"):
        passes.whole()
    wrong = flows.Flow(
        flow.name, flow.messages, flow.warm, flows.Totals(1, 1, 1), flow.timed, flow.most_live, flow.live_end
    )
    with pytest.raises(AssertionError, match="the book gives"):
        orderbook.Passes(wrong)


# compare.py


class Toy:
    """The plain book behind the smallest protocol: add and cancel, which return their fills."""

    def __init__(self):
        self.book = flows.PlainBook()

    def send(self, order_id, price, quantity, kind, side):
        before = len(self.book.fills)
        self.book.apply(order_id, price, quantity, kind, 0 if side == 1 else 1)
        return self.book.fills[before:]

    def add(self, order_id, side, price, quantity):
        return self.send(order_id, price, quantity, flows.ADD, side)

    def cancel(self, order_id):
        self.book.cancel(order_id)


class Whole(Toy):
    """All methods, and the fills at the end."""

    def add(self, order_id, side, price, quantity):
        self.send(order_id, price, quantity, flows.ADD, side)

    def ioc(self, order_id, side, price, quantity):
        self.send(order_id, price, quantity, flows.IOC, side)

    def market(self, order_id, side, quantity):
        self.send(order_id, 0, quantity, flows.MARKET, side)

    def modify(self, order_id, price, quantity):
        self.send(order_id, price, quantity, flows.MODIFY, 1)

    @property
    def fills(self):
        return self.book.fills


class Rests(Toy):
    """Gives no fills, only the levels that it ends with."""

    def add(self, *order):
        super().add(*order)

    @property
    def levels(self):
        for side in (0, 1):
            for price, level in self.book.levels[side].items():
                yield 1 - 2 * side, price, sum(level.values())


class LastFirst(Toy):
    """Wrong: the newest order of a level trades first."""

    def add(self, order_id, side, price, quantity):
        found = super().add(order_id, side, price, quantity)
        if order_id in self.book.at:
            level = self.book.levels[0 if side == 1 else 1][price]
            level = {order_id: level.pop(order_id), **level}
            self.book.levels[0 if side == 1 else 1][price] = level
        return found


class WrongPrice(Whole):
    @property
    def fills(self):
        return [(maker, price + (k == 50), lots) for k, (maker, price, lots) in enumerate(self.book.fills)]


class Silent(Whole):
    """Wrong: it forgets the last fill."""

    @property
    def fills(self):
        return self.book.fills[:-1]


class Keeps(Rests):
    """Wrong: cancellations do nothing after a while."""

    def cancel(self, order_id):
        if len(self.book.fills) < 100:
            self.book.cancel(order_id)


class Raises(Toy):
    def cancel(self, order_id):
        raise KeyError(order_id)


@pytest.mark.fast
@pytest.mark.parametrize("make", [Toy, Whole, Rests])
def test_compare_takes_right_engines(flow, make):
    run = compare.one_pass(make, compare.Job(flow), 60)
    assert run.right
    assert run.check == ("levels at the end" if make is Rests else "exact")
    assert run.ns > 0


@pytest.mark.fast
@pytest.mark.parametrize("make", [LastFirst, WrongPrice, Silent, Keeps, Raises])
def test_compare_finds_wrong_engines(make):
    run = compare.one_pass(make, compare.Job(small("normal")), 60)
    assert not run.right
    assert run.check.startswith("WRONG: ")
    if make is WrongPrice:
        assert "fill 50 is" in run.check
    if make is Raises:
        assert "KeyError" in run.check


@pytest.mark.fast
@pytest.mark.parametrize("spec", compare.OURS)
def test_compare_takes_our_book(flow, spec):
    run = compare.one_pass(compare.engine(spec), compare.Job(flow), 60)
    assert run.right, run.check


@pytest.mark.parametrize("package", sorted(compare.PYPI))
def test_adapters_of_installed_packages(package):
    pytest.importorskip(package)
    run = compare.one_pass(compare.engine(compare.PYPI[package]), compare.Job(small("cascade")), 60)
    assert run.right, run.check


@pytest.mark.fast
def test_compare_cuts_slow_engines():
    job = compare.Job(flows.normal(n=5_000, warm=100))
    run = compare.one_pass(Toy, job, 0.0)
    assert run.right
    assert run.check.startswith("exact, cut") or run.check.startswith("too slow")


@pytest.mark.fast
def test_head_of_a_flow():
    flow = small("normal")
    head = compare.head(flow, 1_000)
    assert len(head) == flow.warm + 1_000
    assert head.orders().totals(cs.OrderBook().process(head.orders().rows)) == head.totals


@pytest.mark.parametrize(("name", "code"), [("Toy", 0), ("LastFirst", 1)])
def test_compare_as_a_command(tmp_path, name, code):
    flow = small("normal")
    flow.write(tmp_path / "f.bin")
    command = [sys.executable, str(BENCHMARKS / "compare.py"), "--engine", f"test_benchmarks:{name}"]
    run = subprocess.run(
        [*command, "--flow", str(tmp_path / "f.bin"), "--rounds", "1"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == code, run.stdout + run.stderr
    line = next(line for line in run.stdout.splitlines() if name in line)
    assert line.endswith("exact") if code == 0 else "WRONG: " in line and "fill " in line


# instructions.py


@pytest.mark.fast
def test_counts_fail_at_five_percent_of_the_same_compiler(tmp_path, monkeypatch, capsys):
    built = instructions.built_by()
    assert set(built) == {"compiler", "cython", "python", "machine"}
    record = tmp_path / "record.json"
    monkeypatch.setattr(instructions, "RECORD", record)
    assert instructions.check({"normal": 100.0}, built) == 0
    assert "nothing is recorded" in capsys.readouterr().out
    record.write_text(json.dumps({"built": built, "instructions": {"normal": 100.0}}))
    assert instructions.check({"normal": 104.9}, built) == 0
    assert instructions.check({"normal": 105.1}, built) == 1
    assert "TOO MANY" in capsys.readouterr().out
    assert instructions.check({"normal": 200.0}, {**built, "compiler": "GCC: other 1.0"}) == 0
    assert "skipped: compiler" in capsys.readouterr().out


@pytest.mark.fast
def test_record_has_all_flows_and_runs():
    record = json.loads((BENCHMARKS / "instructions.json").read_text())
    assert set(record["instructions"]) == {*flows.NAMES, *instructions.RUNS}
    assert set(record["built"]) == {"compiler", "cython", "python", "machine"}
    assert record["flags"]


# contagion.py


@pytest.mark.fast
def test_the_c_sweep_and_every_baseline_agree_with_the_core(tmp_path):
    for w, sale in ((workload.half(3_000), workload.HALF_LOTS), (workload.build(2_000), workload.SALE_LOTS)):
        expected = workload.outcome(w.market().run(contagion.sell(sale), record="summary"))
        assert 0 < expected[1] < len(w.lots)
        calls = [baselines.mask_per_wave(w, sale), baselines.sorted_triggers(w, sale)]
        sweep = baselines.c_sweep(w, tmp_path, sale)
        for call in [*calls, *([sweep] if sweep else [])]:
            assert call() == expected
            assert call() == expected  # nothing is left over from the first


def test_contagion_in_its_quickest_form(capsys):
    """Every section but the one that builds the core twice."""
    sections = [name for name in contagion.SECTIONS if name != "audit"]
    table = contagion.main(["--positions", "20000", "--rounds", "1", "--only", *sections])
    out = capsys.readouterr().out
    for words in ("x C sweep", "x the smaller", "x argsort", "traced", "cascade demo"):
        assert words in out or (words == "x C sweep" and shutil.which("gcc") is None)
    assert f"{len(table.missed)} targets missed" in out
    assert out.count(" NOT\n") == len(table.missed)


def test_the_audit_is_found_in_the_sources():
    taken = 0
    for path in (BENCHMARKS.parent / "cascade").glob("*.pxd"):
        taken += sum(len(p.findall(path.read_text())) for p in (contagion.AUDIT_CALL, contagion.AUDIT_SUM))
    assert taken >= 10
