"""Published cases of matching, icebergs, stops, self-trade prevention and CME's allocations, on both order
books."""

import json
import os
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from book_texts import (
    BUY,
    FOK,
    IOC,
    SELL,
    as_array,
    market,
    new,
    send,
    stop,
)

import cascade as cs

SHARED = Path(os.environ.get("CASCADE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
VECTORS = SHARED / "rules" / "vectors.json"


def cases(*kinds):
    if not VECTORS.exists():
        return [pytest.param(None, marks=pytest.mark.skip(f"no {VECTORS}; set CASCADE_SHARED"))]
    vectors = [vector for vector in json.loads(VECTORS.read_text()) if vector["kind"] in kinds]
    return [pytest.param(vector, id=vector["id"]) for vector in vectors]


@pytest.mark.parametrize("case", cases("fifo_match"))
def test_published_fifo(orderbook, case):
    inputs, expected = case["inputs"], case["expected"]
    book, names = orderbook("fifo"), {}
    for side, rows in ((BUY, inputs["bids"]), (SELL, inputs["asks"])):
        for name, price, quantity in rows:
            names[len(names) + 1] = name
            send(book, new(len(names), side, price, quantity))
    order = inputs["order"]
    side, quantity, price = int(cs.Side[order["side"]]), order["qty"], order["price"]
    kind, taker = order["type"], None
    if kind == "FOK_BUDGET":
        cost = book.cost(side, quantity)
        if cost is not None and side * (price - cost) >= 0:
            taker = market(99, side, quantity, tif=FOK)
    elif kind == "FAK":
        if book.quantity_to(side, price) >= order["min_qty"]:
            taker = new(99, side, price, quantity, tif=IOC)
    else:
        taker = new(99, side, price, quantity, tif=int(cs.TimeInForce[kind]))
    reports = np.zeros(0, cs.REPORT_DTYPE)
    if taker is not None:
        reports = book.process(as_array(taker))
    trades = reports[reports["kind"] == cs.ReportKind.TRADE]
    got = [[names[int(t["maker_id"])], int(t["price"]), int(t["quantity"])] for t in trades]
    rests = dict(zip(*(book.orders()[c].tolist() for c in ("order_id", "quantity")), strict=True)).get(99, 0)
    assert got == expected["trades"]
    assert rests == expected["resting"]
    assert quantity - rests - int(trades["quantity"].sum()) == expected["rejected"]
    if "cost" in expected:
        assert sum(price * lots for _, price, lots in got) == expected["cost"]


@pytest.mark.parametrize("case", cases("iceberg"))
def test_published_iceberg(orderbook, case):
    inputs, expected = case["inputs"], case["expected"]
    book = orderbook("fifo")
    send(book, new(1, SELL, 5, inputs["total"], display=inputs["display"]))
    filled = []
    for k, hit in enumerate(inputs["hits"]):
        trades = [line for line in send(book, new(10 + k, BUY, 5, hit, tif=IOC)) if line.startswith("TRADE")]
        assert len(trades) == 1
        filled.append(hit)
    assert filled == expected["filled"]
    assert len(filled) == expected["slices"]
    assert len(book) == 0


@pytest.mark.parametrize("case", cases("stop_order"))
def test_published_stops(orderbook, case):
    inputs, expected = case["inputs"], case["expected"]
    book, names = orderbook("fifo"), {}
    for k, row in enumerate(inputs["stops"]):
        names[10 + k] = row["id"]
        send(book, stop(10 + k, int(cs.Side[row["side"]]), row["stop"], 1))
    price = inputs["market_price"]
    lines = send(book, new(1, SELL, price, 1), new(2, BUY, price, 1))
    triggered = [int(line.split()[1].rstrip(":")) for line in lines if line.startswith("TRIGGERED")]
    assert [names[order_id] for order_id in triggered] == expected["triggered"]


STP_MODES = {
    "EXPIRE_TAKER": cs.Stp.TAKER,
    "EXPIRE_MAKER": cs.Stp.MAKER,
    "EXPIRE_BOTH": cs.Stp.BOTH,
    "DECREMENT": cs.Stp.DECREMENT,
}


def tenths(value):
    number = Decimal(value or 0) * 10
    assert number == int(number)
    return int(number)


@pytest.mark.parametrize("case", cases("stp"))
def test_published_self_trade_prevention(orderbook, case):
    inputs, expected = case["inputs"], case["expected"]
    if case["model"] == "stp_transfer":
        # What moves between the accounts of one owner is none of a book's business: lots and what stays only.
        price = tenths(inputs["price"])
        makers = [(BUY, tenths(inputs["maker_qty"]), price)]
        taker = new(99, SELL, price, tenths(inputs["taker_qty"]), owner=1, stp=cs.Stp.DECREMENT)
    else:
        makers = [(int(cs.Side[m["side"]]), tenths(m["qty"]), tenths(m["price"])) for m in inputs["makers"]]
        t = inputs["taker"]
        kind, mode = int(cs.OrderType[t["type"]]), STP_MODES[inputs["mode"]]
        price, lots, side = tenths(t["price"]), tenths(t["qty"]), int(cs.Side[t["side"]])
        taker = new(99, side, price, lots, owner=1, type=kind, stp=mode)
    book = orderbook("fifo")
    for k, (side, lots, price) in enumerate(makers):
        send(book, new(k, side, price, lots, owner=1))
    reports = book.process(as_array(taker))
    off = reports[reports["kind"] == cs.ReportKind.CANCELLED]
    prevented = Counter()
    for report in off[off["reason"] == cs.Reason.STP]:
        prevented[int(report["order_id"])] += int(report["quantity"])
    left = dict(zip(*(book.orders()[c].tolist() for c in ("order_id", "quantity")), strict=True))
    if case["model"] == "stp_transfer":
        assert prevented == {0: tenths(expected["prevented"]), 99: tenths(expected["prevented"])}
        assert left == {0: makers[0][1] - prevented[0]}
        assert left[0] * makers[0][2] == Decimal(expected["maker_locked"]) * 100
        return
    traded = reports[reports["kind"] == cs.ReportKind.TRADE]["quantity"].sum()
    assert traded == tenths(expected["executed"])
    assert prevented[99] == tenths(expected["taker_prevented"])
    assert [prevented[k] for k in range(len(makers))] == [tenths(q) for q in expected["maker_prevented"]]
    assert ["NEW" if k in left else "EXPIRED_IN_MATCH" for k in range(len(makers))] == expected[
        "maker_status"
    ]
    status = {cs.Reason.STP: "EXPIRED_IN_MATCH", cs.Reason.IOC: "EXPIRED"}
    assert status[int(off[off["order_id"] == 99]["reason"][-1])] == expected["taker_status"]


CME_STEPS = {"prorata": "pro_rata", "split_fifo": "split"}


@pytest.mark.parametrize("case", cases("pro_rata_allocation", "lmm_allocation"))
def test_published_allocations(orderbook, case):
    inputs = case["inputs"]
    params = dict(inputs["params"])
    params.pop("top", None)
    if "split_pct" in params:
        params["fifo_percent"] = params.pop("split_pct")
    steps = [CME_STEPS.get(step, step) for step in inputs["algorithm"]]
    book = orderbook(cs.Matching(steps, **params))
    for k, (quantity, percent) in enumerate(inputs["orders"]):
        book.set_lmm(k + 1, percent)
        send(book, new(k, SELL, 5, quantity, owner=k + 1))
    lines = send(book, new(99, BUY, 5, inputs["aggressor"], owner=50))
    fills = [0] * len(inputs["orders"])
    for line in lines:
        if line.startswith("TRADE"):
            words = line.split()
            fills[int(words[words.index("from") + 1])] += int(words[5])
    assert fills == case["expected"]["fills"]
    unallocated = inputs["aggressor"] - sum(fills)
    assert [line for line in lines if "UNALLOCATED" in line] == (
        [f"CANCELLED 99 of 50: buy {unallocated} @ 5 UNALLOCATED"] if unallocated else []
    )
