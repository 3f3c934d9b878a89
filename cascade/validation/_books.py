"""Order books: matching, icebergs, stops, self-trade prevention, allocations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from .._badrows import show
from .._core import OrderBook
from ..errors import InputError
from ..matching import Matching
from ..records import ORDER_DTYPE, REPORT_DTYPE, OrderType, Reason, ReportKind, Side, Stp, TimeInForce
from ._inputs import Inputs, Unknown

TAKER = 1_000_000
"""The incoming order's id; those of the book are below."""
STP_MODES = {
    "EXPIRE_TAKER": Stp.TAKER,
    "EXPIRE_MAKER": Stp.MAKER,
    "EXPIRE_BOTH": Stp.BOTH,
    "DECREMENT": Stp.DECREMENT,
    "NONE": Stp.NONE,
}
STEPS = {"prorata": "pro_rata", "split_fifo": "split"}


def _send(book: Any, **fields: Any) -> np.ndarray:
    message = np.zeros(1, ORDER_DTYPE)
    for name, value in fields.items():
        message[name][0] = value
    return book.process(message)


def _trades(reports: np.ndarray) -> np.ndarray:
    return reports[reports["kind"] == ReportKind.TRADE]


def _left(book: Any) -> dict[int, int]:
    """Lots of each resting order."""
    orders = book.orders()
    return dict(zip(orders["order_id"].tolist(), orders["quantity"].tolist(), strict=True))


def _member(kind: Any, name: Any) -> int:
    if not isinstance(name, str) or name not in kind.__members__:
        raise Unknown(f"no {kind.__name__} {name!r}")
    return int(kind[name])


def book(inputs: Inputs, expected: Mapping[str, Any], new: Callable[..., Any] = OrderBook) -> dict[str, Any]:
    """One order against a book: its trades, what rests, what is refused, what it costs."""
    made = new("fifo")
    names: dict[int, Any] = {}
    for at, rows in ((Side.BUY, inputs.raw("bids", [])), (Side.SELL, inputs.raw("asks", []))):
        for name, price, quantity in rows:
            names[len(names)] = name
            _send(made, order_id=len(names) - 1, side=at, price=price, quantity=quantity)
    order = Inputs(inputs.raw("order"), "inputs.order")
    side, quantity = _member(Side, order.raw("side")), order.whole("qty")
    kind, fields = order.text("type"), {"order_id": TAKER, "side": side, "quantity": quantity}
    sent = True
    if kind == "FOK_BUDGET":  # what the whole quantity costs, or brings, must be within the budget
        cost = made.cost(side, quantity)
        sent = cost is not None and side * (order.whole("price") - cost) >= 0
        fields |= {"type": OrderType.MARKET, "tif": TimeInForce.FOK}
    elif kind == "MARKET":
        fields |= {"type": OrderType.MARKET, "tif": TimeInForce.IOC}
    elif kind == "FAK":
        sent = made.quantity_to(side, order.whole("price")) >= order.whole("min_qty", 0)
        fields |= {"price": order.whole("price"), "tif": TimeInForce.IOC}
    else:
        fields |= {"price": order.whole("price"), "tif": _member(TimeInForce, kind)}
    reports = _send(made, **fields) if sent else np.zeros(0, REPORT_DTYPE)
    trades = [[names[int(t["maker_id"])], int(t["price"]), int(t["quantity"])] for t in _trades(reports)]
    resting = _left(made).get(TAKER, 0)
    traded = sum(lots for _, _, lots in trades)
    return {
        "trades": trades,
        "resting": resting,
        "rejected": quantity - resting - traded,
        "cost": sum(price * lots for _, price, lots in trades),
    }


def iceberg(
    inputs: Inputs, expected: Mapping[str, Any], new: Callable[..., Any] = OrderBook
) -> dict[str, Any]:
    """A resting iceberg hit by orders: what each got, and how many slices it showed."""
    made = new("fifo")
    _send(
        made,
        order_id=0,
        side=Side.SELL,
        price=5,
        quantity=inputs.whole("total"),
        display=inputs.whole("display"),
    )
    filled, slices, shown = [], 0, 0
    for k, hit in enumerate(inputs.numbers("hits")):
        if not shown and made.best_ask is not None:
            slices, shown = slices + 1, made.level(Side.SELL, 5).quantity
        reports = _send(made, order_id=k + 1, side=Side.BUY, price=5, quantity=int(hit), tif=TimeInForce.IOC)
        got = _trades(reports)["quantity"]
        filled.append(int(got.sum()))
        for lots in got.tolist():  # a fill reaches into the next slice where there is one
            while lots > 0:
                if not shown:
                    slices += 1
                    shown = inputs.whole("display")
                part = min(lots, shown)
                lots, shown = lots - part, shown - part
    return {"filled": filled, "slices": slices}


def stop_trigger(
    inputs: Inputs, expected: Mapping[str, Any], new: Callable[..., Any] = OrderBook
) -> dict[str, Any]:
    """Stops in a book, and a trade at the market's price: which of them fire."""
    made, names = new("fifo"), {}
    for k, row in enumerate(inputs.rows("stops")):
        names[10 + k] = row.raw("id")
        _send(
            made,
            order_id=10 + k,
            side=_member(Side, row.raw("side")),
            quantity=1,
            type=OrderType.STOP,
            stop_price=row.whole("stop"),
        )
    price = inputs.whole("market_price")
    _send(made, order_id=1, side=Side.SELL, price=price, quantity=1)
    reports = _send(made, order_id=2, side=Side.BUY, price=price, quantity=1)
    fired = reports[reports["kind"] == ReportKind.TRIGGERED]["order_id"].tolist()
    return {"triggered": [names[k] for k in fired]}


def _unit(*numbers: Fraction) -> int:
    """Lots (ticks) in one, so that all numbers are whole."""
    return lcm(*(x.denominator for x in numbers))


def stp(inputs: Inputs, expected: Mapping[str, Any], new: Callable[..., Any] = OrderBook) -> dict[str, Any]:
    """An order meets its owner's own: what is executed and what is prevented, on either side."""
    makers, taker = inputs.rows("makers"), Inputs(inputs.raw("taker"), "inputs.taker")
    mode = inputs.text("mode")
    if mode not in STP_MODES:
        raise Unknown(f"no self-trade prevention {mode!r}")
    limit = taker.text("type") != "MARKET"
    orders = [*makers, taker]
    lots = _unit(*(row.number("qty") for row in orders))
    priced = [*makers, taker] if limit else makers
    ticks = _unit(*(row.number("price") for row in priced))
    made = new("fifo")
    for k, row in enumerate(makers):
        _send(
            made,
            order_id=k,
            side=_member(Side, row.raw("side")),
            price=int(row.number("price") * ticks),
            quantity=int(row.number("qty") * lots),
            owner=1,
        )
    reports = _send(
        made,
        order_id=TAKER,
        side=_member(Side, taker.raw("side")),
        quantity=int(taker.number("qty") * lots),
        price=int(taker.number("price") * ticks) if limit else 0,
        type=_member(OrderType, taker.raw("type")),
        owner=1,
        stp=STP_MODES[mode],
    )
    prevented, off = _prevented(reports)
    left = _left(made)
    traded = _trades(reports)
    filled: Counter[int] = Counter()
    for trade in traded:
        filled[int(trade["maker_id"])] += int(trade["quantity"])
    ended = {Reason.STP: "EXPIRED_IN_MATCH", Reason.IOC: "EXPIRED"}
    mine = off[off["order_id"] == TAKER]
    status = ended.get(Reason(int(mine["reason"][-1])), "EXPIRED") if len(mine) else "FILLED"
    if TAKER in left:
        status = "PARTIALLY_FILLED" if len(traded) else "NEW"
    kept = [
        "EXPIRED_IN_MATCH"
        if k not in left and prevented[k]
        else "FILLED"
        if k not in left
        else "PARTIALLY_FILLED"
        if filled[k]
        else "NEW"
        for k in range(len(makers))
    ]
    return {
        "executed": Fraction(int(traded["quantity"].sum()), lots),
        "taker_status": status,
        "maker_status": kept,
        "taker_prevented": Fraction(prevented[TAKER], lots),
        "maker_prevented": [Fraction(prevented[k], lots) for k in range(len(makers))],
    }


def _prevented(reports: np.ndarray) -> tuple[Counter[int], np.ndarray]:
    """Lots taken off to prevent self-trades, by order, and the reports of whatever was taken off."""
    off = reports[reports["kind"] == ReportKind.CANCELLED]
    lots: Counter[int] = Counter()
    for report in off[off["reason"] == Reason.STP]:
        lots[int(report["order_id"])] += int(report["quantity"])
    return lots, off


def stp_transfer(
    inputs: Inputs, expected: Mapping[str, Any], new: Callable[..., Any] = OrderBook
) -> dict[str, Any]:
    """Transfer between accounts of one owner: the book decrements both orders by what would have traded; what
    was prevented moves at the maker's price from the seller, the taker, to the buyer."""
    quantities = [inputs.number("maker_qty"), inputs.number("taker_qty")]
    lots, ticks = _unit(*quantities), _unit(inputs.number("price"))
    price = int(inputs.number("price") * ticks)
    made = new("fifo")
    _send(made, order_id=0, side=Side.BUY, price=price, quantity=int(quantities[0] * lots), owner=1)
    reports = _send(
        made,
        order_id=TAKER,
        side=Side.SELL,
        price=price,
        quantity=int(quantities[1] * lots),
        owner=1,
        stp=Stp.DECREMENT,
    )
    prevented, _ = _prevented(reports)
    moved, at = Fraction(prevented[0], lots), Fraction(price, ticks)
    return {
        "prevented": moved,
        "maker_base": inputs.number("maker_base") + moved,
        "maker_quote_total": inputs.number("maker_quote") - moved * at,
        "taker_base": inputs.number("taker_base") - moved,
        "taker_quote": inputs.number("taker_quote") + moved * at,
        "maker_locked": Fraction(_left(made).get(0, 0), lots) * at,
    }


def allocation(
    inputs: Inputs, expected: Mapping[str, Any], new: Callable[..., Any] = OrderBook
) -> dict[str, Any]:
    """Orders at one price, and one that takes from them: the lots that each gets."""
    params = dict(inputs.raw("params", {}))
    params.pop("top", None)  # the step says so
    if "split_pct" in params:
        params["fifo_percent"] = params.pop("split_pct")
    made = new(Matching(tuple(STEPS.get(step, step) for step in inputs.raw("algorithm")), **params))
    orders = inputs.raw("orders")
    for k, (quantity, percent) in enumerate(orders):
        made.set_lmm(k + 1, percent)
        _send(made, order_id=k, side=Side.SELL, price=5, quantity=quantity, owner=k + 1)
    reports = _send(
        made,
        order_id=TAKER,
        side=Side.BUY,
        price=5,
        quantity=inputs.whole("aggressor"),
        owner=len(orders) + 1,
    )
    fills = [0] * len(orders)
    for trade in _trades(reports):
        fills[int(trade["maker_id"])] += int(trade["quantity"])
    off = reports[(reports["kind"] == ReportKind.CANCELLED) & (reports["reason"] == Reason.UNALLOCATED)]
    if int(off["quantity"].sum()) + sum(fills) > inputs.whole("aggressor"):
        raise InputError(f"orders = {show(orders)}: more was served than asked for")
    return {"fills": fills}


MODELS = {
    "book": book,
    "iceberg_rest": iceberg,
    "stop_trigger": stop_trigger,
    "stp": stp,
    "stp_transfer": stp_transfer,
    "cme_alloc": allocation,
}
