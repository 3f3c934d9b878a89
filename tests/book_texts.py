"""What the tests of the order book share: messages as dicts, reports and levels as short texts."""

import numpy as np

import cascade as cs

BUY, SELL = int(cs.Side.BUY), int(cs.Side.SELL)
LIMIT, MARKET, STOP, STOP_LIMIT = (int(kind) for kind in cs.OrderType)
GTC, IOC, FOK, POST_ONLY = (int(tif) for tif in cs.TimeInForce)
LARGEST, LOW, HIGH = 2**62, -(2**63), 2**63 - 1


def new(order_id, side, price, quantity, **fields):
    return {"order_id": order_id, "side": side, "price": price, "quantity": quantity, **fields}


def market(order_id, side, quantity, **fields):
    return new(order_id, side, 0, quantity, type=MARKET, **fields)


def stop(order_id, side, stop_price, quantity, **fields):
    return new(order_id, side, 0, quantity, type=STOP, stop_price=stop_price, **fields)


def cancel(order_id):
    return {"order_id": order_id, "action": cs.Action.CANCEL}


def modify(order_id, price, quantity):
    return {"order_id": order_id, "price": price, "quantity": quantity, "action": cs.Action.MODIFY}


def as_array(*messages):
    """Messages as an array."""
    orders = np.zeros(len(messages), cs.ORDER_DTYPE)
    for row, message in enumerate(messages):
        for name, value in message.items():
            orders[name][row] = value
    return orders


def send(book, *messages):
    """The reports of messages, as texts."""
    reports = book.process(as_array(*messages))
    assert reports.dtype == cs.REPORT_DTYPE
    assert not any(reports["_pad"].tobytes())
    return texts(reports)


def texts(reports):
    return [text({name: int(report[name]) for name in report.dtype.names[:-1]}) for report in reports]


def text(r):
    """A report in a few words; what the words leave out must be 0."""
    kind = cs.ReportKind(r.pop("kind")).name
    order, owner, message = r.pop("order_id"), r.pop("owner"), r.pop("message")
    who = f"{order}" + (f" of {owner}" if owner else "")
    row = f" [{message}]" if message else ""
    side = {1: "buy", -1: "sell", 0: ""}[r.pop("side")]
    price, quantity, leaves = r.pop("price"), r.pop("quantity"), r.pop("leaves")
    reason = r.pop("reason")
    if kind == "ACK":
        words = f"ACK {who}: {side} {quantity} @ {price}"
    elif kind == "TRADE":
        maker, maker_owner = r.pop("maker_id"), r.pop("maker_owner")
        met = f"{maker}" + (f" of {maker_owner}" if maker_owner else "")
        words = f"TRADE {who}: {side} {quantity} @ {price} from {met}, {leaves} left"
    elif kind == "CANCELLED":
        rest = f", {leaves} left" if leaves else ""
        words = f"CANCELLED {who}: {side} {quantity} @ {price} {cs.Reason(reason).name}{rest}"
        leaves = reason = 0
    elif kind == "MODIFIED":
        words = f"MODIFIED {who}: {quantity} @ {price}"
    elif kind == "REJECTED":
        words = f"REJECTED {who}: {cs.Action(r.pop('action')).name} {cs.Reason(reason).name}"
        assert (price, quantity) == (0, 0)
        reason = 0
    else:
        words = f"TRIGGERED {who}: {side} {quantity} @ {price}"
    if kind != "TRADE":
        assert leaves == 0
    assert reason == 0
    assert not any(r.values()), r
    return words + row


def resting(book):
    """(id, lots, shown) of every resting order, bids first."""
    t = book.orders()
    return list(zip(t["order_id"].tolist(), t["quantity"].tolist(), t["shown"].tolist(), strict=True))


def levels(book):
    """Both sides, best price first: `lots(orders)@price` for each level. All other ways to ask
    say the same."""
    t = book.depth()
    columns = (t["side"].tolist(), t["price"].tolist(), t["quantity"].tolist(), t["orders"].tolist())
    depth = list(zip(*columns, strict=True))
    sums = {}
    o = book.orders()
    for side, price, shown in zip(o["side"].tolist(), o["price"].tolist(), o["shown"].tolist(), strict=True):
        lots, orders = sums.get((side, price), (0, 0))
        sums[side, price] = (lots + shown, orders + 1)
    assert [((side, price), (lots, orders)) for side, price, lots, orders in depth] == list(sums.items())
    for (side, price), level in sums.items():
        assert book.level(side, price) == level
        assert book.level(-side, price) == (0, 0)
    prices = [[price for side, price in sums if side == s] for s in (BUY, SELL)]
    assert [book.best_bid, book.best_ask] == [ps[0] if ps else None for ps in prices]
    assert prices == [sorted(prices[0], reverse=True), sorted(prices[1])]
    assert len(book) == len(o["side"])
    texts = [[f"{lots}({n})@{price}" for s, price, lots, n in depth if s == side] for side in (BUY, SELL)]
    return " | ".join(" ".join(side) or "-" for side in texts)


def filled_book():
    """A compiled book with seven orders, owners and anonymous levels among them."""
    book = cs.OrderBook()
    book.limit(BUY, 99, 4, owner=3)
    book.limit(BUY, 99, 6)
    book.limit(BUY, 98, 1, owner=3)
    book.limit(SELL, 101, 2)
    book.limit(SELL, 103, 7, owner=2)
    book.set_levels(SELL, [103, 104], [5, 6])
    book.modify(1, 99, 5)
    return book
