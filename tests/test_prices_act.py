"""Reported liquidation prices are where the engine acts: cross accounts of several positions, every venue."""

import numpy as np
import pytest

import cascade as cs
from cascade.records import EventKind

LOTS = {"BTCUSDT": "0.001", "ETHUSDT": "0.001", "SOLUSDT": "1", "XRPUSDT": "0.1"}
TICKS = {"BTCUSDT": "0.1", "ETHUSDT": "0.01", "SOLUSDT": "0.001", "XRPUSDT": "0.0001"}
PRICES = {"BTCUSDT": 61_628.1, "ETHUSDT": 2_677.92, "SOLUSDT": 160.0, "XRPUSDT": 0.61}
VENUES = [name for name in cs.venues.__all__ if isinstance(getattr(cs.venues, name), cs.Venue)]
NEAR = 2e-5
ACCOUNTS = 60


def market(rules, collateral=False):
    """60 cross accounts with one to four positions each, books that are empty: index moves alone act. With
    collateral two of three have a part of their money in coins."""
    rng = np.random.default_rng(5)
    tiers = cs.venues.binance_usdm.tiers
    made = cs.Market(
        [
            cs.Instrument(s, tick_size=TICKS[s], lot_size=LOTS[s], tiers=tiers(s), taker_fee="0.0005")
            for s in PRICES
        ],
        rules=rules,
        collateral=[cs.Collateral(s, s, x) for s, x in (("BTCUSDT", "0.05"), ("SOLUSDT", "0.3"))],
    )
    for symbol in PRICES:
        empty = {"price": [], "quantity": []}
        made.load_book(symbol, empty, empty, complete=True)
    made.set_prices(index=PRICES, last=PRICES)
    balance = np.round(10 ** rng.uniform(2.5, 6, ACCOUNTS), 2)
    made.load_accounts({"account": np.arange(ACCOUNTS), "balance": balance})
    if collateral:
        load_coins(made, balance)
    rows = []
    for account in range(ACCOUNTS):
        for symbol in rng.permutation(list(PRICES))[: rng.integers(1, 5)]:
            lot = float(LOTS[symbol])
            worth = balance[account] * rng.uniform(1, 15) / 2 * rng.choice([-1, 1])
            size = round(worth / PRICES[symbol] / lot) * lot
            if size:
                rows.append((account, symbol, round(size, 3), PRICES[symbol] * rng.uniform(0.97, 1.03)))
    columns = zip(*rows, strict=True)
    made.load_positions(
        dict(zip(("account", "instrument", "size", "entry_price"), map(list, columns), strict=True))
    )
    return made


def load_coins(made, balance):
    """Coins worth a third of what accounts have, of one kind or two."""
    rows = []
    for account in range(ACCOUNTS):
        for asset in (("BTCUSDT",), ("BTCUSDT", "SOLUSDT"), ())[account % 3]:
            lots = round(balance[account] / 3 / PRICES[asset] / float(LOTS[asset]))
            rows.append((account, asset, round(lots * float(LOTS[asset]), 3)))
    columns = map(list, zip(*rows, strict=True))
    made.load_accounts(dict(zip(("account", "asset", "balance"), columns, strict=True)))


def found_first(result):
    """The accounts that the first check found unhealthy, before anybody had a turn."""
    events = result.events
    turns = events["seq"][events["kind"] == EventKind.TURN]
    before = events["seq"] < (turns[0] if len(turns) else len(events))
    return set(result._accounts(events["a"][(events["kind"] == EventKind.QUEUED) & before]).tolist())


@pytest.mark.parametrize("venue", VENUES)
def test_an_account_is_taken_just_beyond_its_price(venue):
    rules = getattr(cs.venues, venue).rules.replace(mark="index")
    made = market(rules)
    table, margin = made.liquidation_prices(), made.margin()
    healthy = set(margin["account"][~(margin["ratio"] <= 1)].tolist())
    looked_at = 0
    for k in np.random.default_rng(6).permutation(len(table))[:40]:
        account, symbol, price = (table[c][k] for c in ("account", "instrument", "liquidation_price"))
        if account not in healthy or not np.isfinite(price):
            continue
        way = 1 if price > PRICES[symbol] else -1
        for factor, taken in ((1 - way * NEAR, False), (1 + way * NEAR, True)):
            gap = price * factor / PRICES[symbol] - 1
            if -0.999 < gap < 50:
                result = made.run(cs.Shock(index={symbol: gap}))
                assert (account in found_first(result)) == taken, (account, symbol, price)
                looked_at += 1
    assert looked_at > 40
