"""Both engines over random markets: every event, table, total and digest is the same.

CASCADE_SEEDS sets how many markets (default 5,000, about a minute on one core), CASCADE_FIRST_SEED where they
start. For long runs on several cores: `python tools/fuzz.py --help`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import random_markets
from twins import BRANCHES, ENGINES, count_branches, difference, run_both

import cascade as cs

SEEDS, FIRST = int(os.environ.get("CASCADE_SEEDS", "5000")), int(os.environ.get("CASCADE_FIRST_SEED", "0"))
CHUNK = 250
ENOUGH = 2_000
"""Markets after which every branch must have occurred."""

branches: Counter = Counter()
markets_seen: set[int] = set()


def check(seed: int, found: Counter | None = None) -> None:
    """One market through both engines, under every `record`."""
    market, shock, run = random_markets.make(seed)
    reference, core = run_both(market, shock, run)
    text = difference(reference, core)
    assert not text, f"seed {seed}: {text}"
    assert core.audit["conserved"], f"seed {seed}"
    for record in ("liquidations", "summary"):
        for engine in ENGINES if seed % 10 == 0 else ENGINES[1:]:
            part = market.run(shock, engine=engine, record=record, **run)
            text = difference(core, part, ("all", f"{engine}, {record}"))
            assert not text, f"seed {seed}: {text}"
            assert part._data.events is None
    if seed % 25 == 0:
        for name in ("liquidations", "waves", "fills", "adl", "flows", "prices", "accounts", "positions"):
            assert getattr(reference, name) == getattr(core, name), f"seed {seed}: {name}"
    if found is not None:
        count_branches(market, core, run["rules"], found)


@pytest.mark.fast
@pytest.mark.parametrize("chunk", range(2))
def test_engines_agree_on_a_few(chunk):
    for seed in range(chunk * 30, (chunk + 1) * 30):
        check(seed)


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_engines_agree(first):
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        check(seed, branches)
        markets_seen.add(seed)


def test_everything_occurred():
    """The markets of the test above went through every branch."""
    if len(markets_seen) < ENOUGH:
        pytest.skip(f"needs {ENOUGH} markets in this process, saw {len(markets_seen)}")
    missing = [name for name in BRANCHES if not branches[name]]
    assert not missing, f"never occurred in {len(markets_seen)} markets: {missing}"


# Determinism


def variants(seed):
    """A market and several ways to run it, among them some that share an engine."""
    market, shock, run = random_markets.make(seed)
    rules = run["rules"]
    other_shock = cs.Shock(price=-0.07) + cs.Shock(orders={"I0": -12}) + cs.Shock(depth=0.4)
    other_rules = random_markets.make(seed + 1)[2]["rules"]
    if other_rules.mark not in ("last", "index"):
        other_rules = other_rules.replace(mark="last")
    # Breakers that name an instrument of the other market are left behind.
    named = [getattr(b, "symbol", None) or getattr(b, "symbols", None) for b in other_rules.breakers]
    unnamed = [b for b, name in zip(other_rules.breakers, named, strict=True) if name is None]
    other_rules = other_rules.replace(breakers=unnamed)
    return market, [
        (shock, {"rules": rules}),
        (other_shock, {"rules": rules}),
        (None, {"rules": rules}),
        (shock, {"rules": rules, "max_waves": 1}),
        (other_shock, {"rules": other_rules}),
        (shock, {"rules": rules, "record": "summary"}),
        (other_shock, {"rules": rules, "record": "liquidations"}),
        (other_shock + shock, {"rules": rules}),
    ]


def reused(seed):
    market, ways = variants(seed)
    fresh = [variants(seed)[0].run(shock, engine="core", **run) for shock, run in ways]
    n = len(ways)
    for k in [k for i in range(n) for k in (0, i, 0, (i * 3 + 1) % n)]:
        shock, run = ways[k]
        text = difference(
            fresh[k], market.run(shock, engine="core", audit="full", **run), ("fresh", "reused")
        )
        assert not text, f"seed {seed}, way {k}: {text}"
    assert sum(len(idle) for idle in market._derived.engines.values()) <= 2, "engines are reused"


@pytest.mark.fast
def test_an_engine_is_as_good_as_new_on_a_few():
    for seed in range(4):
        reused(seed)


@pytest.mark.parametrize("first", range(0, 300, 100))
def test_an_engine_is_as_good_as_new(first):
    for seed in range(first, first + 100):
        reused(seed)


def test_an_engine_is_as_good_as_new_after_a_simulation():
    for seed in range(60):
        market, ways = variants(seed)
        shock, run = ways[0]
        fresh = variants(seed)[0].run(shock, **run)
        sim = market.start(shock, **run)
        more = sim.step()
        twin = sim.copy()
        assert not difference(fresh, market.run(shock, **run), ("fresh", "beside a simulation"))
        if more:
            sim.settle()
            twin.settle()
        assert not difference(fresh, sim.result(), ("fresh", "simulated")), seed
        assert not difference(fresh, twin.result(), ("fresh", "copied")), seed


DIGESTS = """
import sys
sys.path.insert(0, sys.argv[1])
import random_markets
for seed in range(60):
    market, shock, run = random_markets.make(seed)
    digests = [market.run(shock, engine=engine, **run).digest for engine in ("core", "reference")]
    print(market.digest, *digests)
"""


def test_digests_do_not_depend_on_the_hash_seed():
    outputs = []
    for hash_seed in ("1", "77"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        env["PYTHONPATH"] = os.pathsep.join([str(Path(cs.__file__).parents[1]), env.get("PYTHONPATH", "")])
        args = [sys.executable, "-P", "-c", DIGESTS, str(Path(__file__).parent)]
        outputs.append(subprocess.run(args, env=env, capture_output=True, text=True, check=True).stdout)
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0].split())) > 100


@pytest.mark.fast
def test_threads_do_not_disturb_each_other():
    for seed in range(8):
        market, shock, run = random_markets.make(seed)
        expected = market.run(shock, **run).digest
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(market.run, shock, **run) for _ in range(24)]
            assert {future.result().digest for future in futures} == {expected}


def test_threads_on_a_longer_run():
    market, shock = cs.datasets.constant_depth(reach=15), cs.Shock(orders={"X": -500})
    expected = market.run(shock).digest
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(market.run, shock, record="all") for _ in range(16)]
        assert {future.result().digest for future in futures} == {expected}
