"""The examples of the public interface run as they are written."""

import numpy as np
import pytest

import cascade as cs


@pytest.mark.fast
def test_the_matching_engine_alone():
    book = cs.OrderBook(matching="fifo", reserve=0)    # integer ticks and lots, any int64 price; both arguments optional
    orders = np.zeros(2, cs.ORDER_DTYPE)
    orders["order_id"] = [1, 2]; orders["side"] = [cs.Side.BUY, cs.Side.SELL]      # noqa: E702
    orders["price"] = [100, 100]; orders["quantity"] = [5, 3]                      # noqa: E702
    reports = book.process(orders)                   # cs.REPORT_DTYPE, in event order
    assert reports.dtype == cs.REPORT_DTYPE
    assert [cs.ReportKind(k) for k in reports["kind"]] == [cs.ReportKind.ACK, cs.ReportKind.ACK, cs.ReportKind.TRADE]
    assert (book.best_bid, book.best_ask) == (100, None)
    assert book.depth(10).columns == ("side", "price", "quantity", "orders")
    assert book.level(cs.Side.BUY, 100).quantity == 2
    assert book.queue_position(1) == 0
    assert len(book.orders()) == len(book) == 1
    blob = book.dump()
    assert cs.OrderBook.load(blob).digest == book.copy().digest == book.digest
    order_id = book.limit(cs.Side.BUY, 99, 4)        # one at a time: limit, market, cancel, modify
    assert book.queue_position(order_id) == 0


def test_the_market(capsys):
    bids, asks = cs.datasets.binance_books("BTCUSDT")
    orders = {"order_id": [1], "side": ["buy"], "price": [61_000.0], "quantity": [0.5], "account": ["mm1"]}
    accounts = {"account": ["mm1", "alice"], "balance": [100_000.0, 5_000.0]}
    positions = {
        "account": ["alice", "bob"], "instrument": ["BTCUSDT", "ETHUSDT"], "size": [1.5, -3.0],
        "entry_price": [62_000.0, 2_700.5], "margin": [np.nan, 900.0],
    }  # fmt: skip
    other = cs.VenueRules(mark="mid")
    eth = cs.datasets.binance_instruments()[1]

    btc = cs.Instrument("BTCUSDT", tick_size="0.1", lot_size="0.001", tiers=cs.venues.binance_usdm.tiers("BTCUSDT"))
    market = cs.Market([btc, eth], rules=cs.venues.binance_usdm, fund=25e6)
    market.load_book("BTCUSDT", bids, asks)         # tables with price, quantity; either may be empty; complete=False
    market.load_book("ETHUSDT", *cs.datasets.binance_books("ETHUSDT"))
    market.load_accounts(accounts)                  # account, balance, [asset]
    market.load_orders("BTCUSDT", orders)           # L3, optional
    market.load_positions(positions)                # account, instrument, size (signed), entry_price, [margin -> isolated]
    market.set_prices(index={"BTCUSDT": 61_628.1}, last=None)
    print(market)                                   # open interest, long/short, external share, already unhealthy, depth

    result = market.run(cs.Shock(price={"BTCUSDT": -0.08}, depth={"BTCUSDT": 0.5}))
    assert result.audit["conserved"]
    result = market.run(cs.Shock(orders={"BTCUSDT": -1_500}), rules=other)      # a market sell of 1,500 BTC, under other rules
    assert result.summary["shock_notional"] > 0
    assert "open interest" in capsys.readouterr().out

    assert market.owner("mm1") > 0
    assert btc.to_price(btc.to_ticks(61_628.1)) == 61_628.1
    assert btc.to_size(btc.to_lots(0.25)) == 0.25
    simulation = market.start(cs.Shock(price=-0.01))
    assert simulation.advance_ns(1_000) == 1_000


def test_rules_of_a_users_own():
    """`cs.reference.Engine` can be subclassed, and run as an engine."""

    class Patient(cs.reference.Engine):
        def liquidatable(self, account, marks):
            return super().liquidatable(account, marks) and account.balance < 0

    market = cs.datasets.constant_depth(reach=50)
    shock = cs.Shock(orders={"X": -10})
    assert market.run(shock).summary["liquidated_accounts"] > 0
    assert market.run(shock, engine=Patient).summary["liquidated_accounts"] == 0
