"""A run leaves the engine as it found it: what trades took off a book is put back."""

import numpy as np
import pytest

import cascade as cs

pytestmark = pytest.mark.fast
LEVELS = 60


def market(rng, owned=False, doubled=False, complete=True):
    """One instrument with 60 levels a side of random distance and size, and a few isolated positions."""
    m = cs.Market(cs.Instrument("X", tick_size=1, lot_size=1, tiers=0.01), fund=1_000)
    sides = {}
    for name, way in (("bids", -1), ("asks", 1)):
        price = 10_000 + way * np.cumsum(rng.integers(1, 5, LEVELS))
        sides[name] = {"price": price, "quantity": rng.integers(1, 20, LEVELS)}
    m.load_book("X", sides["bids"], sides["asks"], complete=complete)
    m.load_accounts({"account": ["maker"], "balance": [1e6]})
    added = {"order_id": [1, 2, 3], "side": [1, 1, -1], "price": sides["bids"]["price"][[0, 3]].tolist()}
    added["price"].append(int(sides["asks"]["price"][1]))
    if doubled:
        m.load_orders("X", {**added, "quantity": [3, 2, 4]})
    if owned:
        m.load_orders("X", {**added, "quantity": [3, 2, 4], "account": ["maker"] * 3})
    size = rng.integers(1, 30, 12) * rng.choice([-1, 1], 12)
    m.load_positions(
        {
            "account": [f"a{k}" for k in range(12)], "instrument": ["X"] * 12, "size": size,
            "entry_price": [10_000.0] * 12, "margin": np.abs(size) * rng.integers(102, 400, 12),
        }
    )  # fmt: skip
    return m


def shocks(rng):
    """Sales and purchases from one lot to more than there is, cut depth, gaps."""
    sizes = [1, 2, 5, 15, 40, 80, 150, 400, 2_000]
    made = [cs.Shock(orders={"X": int(way * size)}) for size in sizes for way in (-1, 1)]
    made += [cs.Shock(price=-0.01), cs.Shock(depth=0.5)]
    made += [cs.Shock(orders={"X": -30}) + cs.Shock(orders={"X": 20})]
    return [made[k] for k in rng.permutation(len(made))]


KINDS = [{}, {"owned": True}, {"doubled": True}, {"complete": False}]


@pytest.mark.parametrize("kind", KINDS, ids=["plain", "owned", "doubled", "incomplete"])
@pytest.mark.parametrize("seed", range(4))
def test_a_run_after_others_is_the_first_one(kind, seed):
    rng = np.random.default_rng(seed)
    used = market(np.random.default_rng(seed), **kind)
    loaded = used.start().book("X").digest
    for shock in shocks(rng):
        record = ("all", "summary")[rng.integers(2)]
        result = used.run(shock, record=record, audit=("delta", "full")[rng.integers(2)])
        fresh = market(np.random.default_rng(seed), **kind).run(shock, record="all")
        np.testing.assert_equal(result.summary, fresh.summary)
        if record == "all":
            assert result.digest == fresh.digest
        if rng.random() < 0.2:  # a simulation takes the engine that the runs so far have used
            book = used.start().book("X")
            assert book.digest == loaded
            assert book._check()


def test_a_simulation_and_a_run_leave_each_other_nothing():
    used = market(np.random.default_rng(9))
    loaded, shock = used.start().book("X").digest, cs.Shock(orders={"X": -25})
    expected = used.run(shock).digest
    for _ in range(3):
        sim = used.start(shock)
        sim.settle()
        assert sim.book("X").digest != loaded
        assert used.run(shock).digest == expected
        assert sim.result().digest == expected
        assert used.start().book("X").digest == loaded


def test_rows_of_a_sweep_are_those_of_runs_on_a_new_market():
    used, drawn = market(np.random.default_rng(3)), shocks(np.random.default_rng(4))
    swept = used.sweep(drawn, workers=2)
    for k, shock in enumerate(drawn):
        s = market(np.random.default_rng(3)).run(shock).summary
        assert swept["events"][k] == s["events"]
        assert swept["price_final[X]"][k] == s["price"]["X"]["final"]
        assert swept["liquidated_notional"][k] == s["liquidated_notional"]
        np.testing.assert_equal(swept["amplification"][k], s["amplification"])
