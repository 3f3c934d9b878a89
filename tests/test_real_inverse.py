"""XBTUSD's 9,346 real levels of 2021-07-22, an inverse contract with its risk limits, under several venues'
rules."""

import os
from pathlib import Path

import numpy as np
import pytest

import cascade as cs

SHARED = Path(os.environ.get("CASCADE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
BOOKS = SHARED / "data" / "bitmex_l2_20210722" / "snapshots.parquet"
TIERS = SHARED / "data" / "margin_tiers" / "bitmex_2021.json"

pytestmark = pytest.mark.skipif(
    not BOOKS.exists(),
    reason=f"recorded books are not here ({BOOKS}); set CASCADE_SHARED to the folder that has data/",
)

VENUES = ("bitmex", "binance_coinm", "bybit", "deribit")


@pytest.fixture(scope="module")
def book():
    """(bids, asks) of XBTUSD, best first: USD and contracts of 1 USD."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(BOOKS)
    mine = np.array(table["symbol"].to_pylist()) == "XBTUSD"
    side, price, size = (np.array(table[name])[mine] for name in ("side", "price", "size"))
    assert len(side) == 9_346
    sides = []
    for s in (1, -1):
        order = np.flatnonzero(side == s)
        order = order[np.argsort(-s * price[order])]
        sides.append({"price": price[order], "quantity": size[order]})
    return sides


def market(book, venue, n):
    """n isolated positions, longs and shorts at 5 to 100 times leverage, entered within 3% of the mid."""
    rows = cs.io.read_tiers(TIERS).rows("XBTUSD")
    instrument = cs.Instrument(
        "XBTUSD", tick_size="0.5", lot_size=1, contract="inverse", tiers=rows, taker_fee="0.00075",
        maker_fee="-0.00025",
    )  # fmt: skip
    made = cs.Market(instrument, rules=getattr(cs.venues, venue), fund=30_000, cash_quantum="1e-8")
    made.load_book("XBTUSD", *book)
    made.set_prices(funding_rate={"XBTUSD": "0.0001"}, time_to_funding={"XBTUSD": 4})
    rng = np.random.default_rng(20210722)
    size = rng.choice([-1, 1], n) * np.ceil(np.exp(rng.normal(9, 1.5, n)))
    entry = 32_180 * (1 + rng.uniform(-0.03, 0.03, n))
    leverage = rng.choice([5, 10, 25, 50, 100], n)
    made.load_positions(
        {
            "account": np.arange(1, n + 1), "instrument": ["XBTUSD"] * n, "size": size, "entry_price": entry,
            "margin": np.round(np.abs(size) / entry / leverage, 8),
        }
    )  # fmt: skip
    return made


def test_the_book_loads_whole(book):
    depth = market(book, "bitmex", 1).start(engine="reference").book("XBTUSD").depth()
    assert len(depth["price"]) == 9_346
    for side, table in zip((1, -1), book, strict=True):
        mine = depth["side"] == side
        assert (depth["price"][mine] * 0.5 == table["price"]).all()
        assert (depth["quantity"][mine] == table["quantity"]).all()


@pytest.mark.parametrize("venue", VENUES)
def test_both_engines_give_the_same_events(book, venue):
    made = market(book, venue, 120)
    for gap in (-0.01, -0.04, -0.15, 0.05):
        core = made.run(cs.Shock(gap), audit="full")
        assert core.digest == made.run(cs.Shock(gap), engine="reference", audit="full").digest
        assert core.audit["conserved"]
        assert core.summary["liquidated_accounts"] > 0


@pytest.mark.parametrize("venue", VENUES)
def test_many_positions(book, venue):
    made = market(book, venue, 20_000)
    results = [made.run(cs.Shock(gap), audit="full") for gap in (-0.02, -0.1)]
    liquidated = [result.summary["liquidated_accounts"] for result in results]
    assert 0 < liquidated[0] < liquidated[1] < 20_000


def test_the_liquidation_price_is_where_the_account_is_taken(book):
    """BitMEX: maintenance at entry with the taker fee, in the risk limit that holds."""
    made = market(book, "bitmex", 300)
    prices = made.liquidation_prices()
    mark = float(prices["mark"][0])
    longs = (prices["size"] > 0) & (prices["liquidation_price"] < mark)
    for price in np.sort(prices["liquidation_price"][longs])[::50]:
        for factor, taken in ((1.0001, False), (0.9999, True)):
            result = made.run(cs.Shock(index={"XBTUSD": price * factor / mark - 1}), record="liquidations")
            mine = prices["account"][prices["liquidation_price"] == price][0]
            assert (mine in result.liquidations["account"].tolist()) == taken
