"""Resting orders of many owners: every count around the owner table's first sizes."""

import numpy as np
import pytest

import cascade as cs


@pytest.mark.parametrize("n", [1, 8, 9, 16, 17, 33, 200])
def test_orders_of_many_owners(n, engine):
    market = cs.Market(cs.Instrument("X", tick_size="0.1", lot_size=1))
    market.load_book(
        "X", {"price": [100.0], "quantity": [1]}, {"price": [101.0], "quantity": [1]}, complete=True
    )
    ids = np.arange(1, n + 1)
    market.load_accounts({"account": ids, "balance": np.full(n, 1_000.0)})
    orders = {
        "order_id": ids,
        "account": ids,
        "side": ["buy"] * n,
        "price": 100 - ids / 10,
        "quantity": [1] * n,
    }
    market.load_orders("X", orders)
    assert market.run(cs.Shock(orders={"X": -n}), engine=engine).status == "settled"
