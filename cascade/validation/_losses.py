"""Who pays: fees, the fund's side of a fill, socialised losses, ranks of deleveraging - from runs."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .. import venues
from ..reference.engine import Engine
from ..rules import VenueRules
from ._inputs import Inputs, Unknown
from ._markets import Contract, market

BOOK: dict[str, list[Any]] = {"price": [], "quantity": []}


def flows(result: Any, why: str) -> Fraction:
    """What was transferred for a reason, in all."""
    table = result.flows
    return sum(
        (
            Fraction(x)
            for x, w in zip(table["amount"].tolist(), table["why"].tolist(), strict=True)
            if w == why
        ),
        Fraction(0),
    )


def liquidation_fee(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The fee of liquidating a notional: a position of that size at price 1 that is closed in the book."""
    size, rate = inputs.number("notional"), inputs.number("rate")
    contract = Contract("X", 1, price=Fraction(1), sizes=[size], liquidation_fee=rate)
    made = market(
        [contract],
        rules=VenueRules(mark="index"),
        balances={"a": size * 9 / 10},
        positions=[{"account": "a", "instrument": "X", "size": size, "entry_price": 1}],
    )
    made.load_book("X", {"price": [1], "quantity": [size]}, BOOK)
    return {"fee": float(flows(made.run(), "liquidation_fee"))}


def fund_sign(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the fund gains or pays where a position is closed at another price than its bankruptcy
    price."""
    side, broke, at = inputs.side(), inputs.number("bankruptcy"), inputs.number("exec")
    contract = Contract("X", 1, price=at, sizes=[Fraction(1)], prices=[broke])
    fund = 10 * max(broke, at)
    made = market(
        [contract],
        rules=venues.bybit.rules.replace(
            order_price="market",
            residual=(),
            size="whole",
            maintenance_on="mark",
            fund_stop=None,
            fund_resume=None,
        ),
        fund=fund,
        balances={"a": Fraction(0)},
        positions=[{"account": "a", "instrument": "X", "size": side, "entry_price": broke}],
    )
    level = {"price": [at], "quantity": [1]}
    made.load_book("X", level if side == 1 else BOOK, BOOK if side == 1 else level)
    change = made.run().summary["fund_end"] - float(fund)
    return {"sign": (change > 0) - (change < 0)}


def clawback(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """An account that owes more than the fund has, and others with profits: what each is docked."""
    gains = inputs.numbers("profits")
    contract = Contract("X", None, price=Fraction(2), sizes=gains, prices=[Fraction(1)])
    names = [f"winner {k}" for k in range(len(gains))]
    made = market(
        [contract],
        rules=venues.okx.variants["clawback"],
        fund=inputs.number("fund"),
        balances={"loser": -inputs.number("overloss"), **dict.fromkeys(names, Fraction(0))},
        positions=[
            {"account": name, "instrument": "X", "size": gain, "entry_price": 1}
            for name, gain in zip(names, gains, strict=True)
        ],
    )
    table = made.run().flows
    docked = dict.fromkeys(names, 0.0)
    for name, amount, why in zip(
        table["from"].tolist(), table["amount"].tolist(), table["why"].tolist(), strict=True
    ):
        if why == "socialised":
            docked[name] += amount
    deductions = [docked[name] for name in names]
    return {"ratio": sum(deductions) / float(sum(gains)), "deductions": deductions}


def ranks(
    rows: list[dict[str, Any]], rules: VenueRules, *, inverse: bool, mark: Fraction, tiers: Any = None
) -> tuple[list[Fraction], list[Any]]:
    """The engine's rank of each position, and the order in which one bankrupt account meets them all.

    Parameters
    ----------
    rows : dicts of id, side, size, entry, balance
    """
    said: dict[Any, Fraction] = {}

    class Listening(Engine):
        """The engine, with its ranks written down."""

        def rank(self, account: Any, row: Any, rule: str) -> Fraction:
            found = super().rank(account, row, rule)
            said[account.index] = found
            return found

    side = rows[0]["side"]
    if any(row["side"] != side for row in rows):
        raise Unknown("positions of both sides are never deleveraged against one account")
    total = sum(row["size"] for row in rows)
    contract = Contract(
        "X",
        tiers,
        price=mark,
        sizes=[row["size"] for row in rows],
        prices=[row["entry"] for row in rows],
        contract="inverse" if inverse else "linear",
    )
    worth = total / mark if inverse else total * mark
    # The bankrupt account owes twice what it holds: no price saves it, and the book is empty.
    made = market(
        [contract],
        rules=rules,
        balances={row["id"]: row["balance"] for row in rows} | {"bankrupt": -2 * worth},
        positions=[
            {"account": row["id"], "instrument": "X", "size": side * row["size"], "entry_price": row["entry"]}
            for row in rows
        ]
        + [{"account": "bankrupt", "instrument": "X", "size": -side * total, "entry_price": mark}],
    )
    made.load_book("X", BOOK, BOOK, complete=True)
    adl = made.run(engine=Listening).adl
    order = adl["counterparty"].tolist()
    return [said[made.owner(row["id"])] for row in rows], order


def adl_bitmex(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """BitMEX: return x effective leverage, from entry, mark and bankruptcy price of each position."""
    inverse = bool(inputs.raw("inverse", False))
    rows, mark = [], None
    for row in inputs.rows("positions"):
        side, size, entry = row.side(), row.number("qty"), row.number("entry")
        broke, at = row.number("bankrupt"), row.number("mark")
        mark = at if mark is None else mark
        if at != mark:
            raise Unknown("one market has one mark")
        loss = (1 / entry - 1 / broke) if inverse else (broke - entry)
        rows.append(
            {"id": row.raw("id"), "side": side, "size": size, "entry": entry, "balance": -side * size * loss}
        )
    if mark is None:
        raise Unknown("no positions")
    # The published bankruptcy prices hold no fees.
    rules = venues.bitmex.rules.replace(
        mark="index", residual=("adl",), shortfall=(), maintenance_on="mark", maintenance_fee="none",
        bankruptcy_fee="none", size="whole",
    )  # fmt: skip
    scores, order = ranks(rows, rules, inverse=inverse, mark=mark)
    return {"scores": [float(x) for x in scores], "order": order}


def adl_hyperliquid(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperliquid's index: (mark / entry) (notional / account value) as it is printed, or side-aware."""
    rank = "hyperliquid" if inputs.raw("literal") else "hyperliquid_signed"
    rows, mark = [], None
    for row in inputs.rows("positions"):
        at, entry = row.number("mark"), row.number("entry")
        mark = at if mark is None else mark
        if at != mark:
            raise Unknown("one market has one mark")
        size, side = row.number("notional") / at, row.side()
        balance = row.number("account_value") - side * size * (at - entry)
        rows.append({"id": row.raw("id"), "side": side, "size": size, "entry": entry, "balance": balance})
    if mark is None:
        raise Unknown("no positions")
    rules = venues.hyperliquid.variants["no_backstop"].replace(
        mark="index", adl_rank=rank, residual=("adl",), adl_below=None, size="whole"
    )
    scores, order = ranks(rows, rules, inverse=False, mark=mark)
    return {"scores": [float(x) for x in scores], "order": order}


def adl_binance(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Binance: max(0, profit) / max(1, wallet) x maintenance / (wallet + profit), and each one's place among
    all.

    Positions stand at a mark of 1: the size gives the maintenance, the entry price the profit.
    """
    told = [
        (row.raw("id"), row.side("side", 1), row.number("upnl"), row.number("wb"), row.number("mm"))
        for row in inputs.rows("positions")
    ]
    if not told or any(needed <= 0 for *_, needed in told):
        raise Unknown("a position that needs no maintenance has no size")
    rate = Fraction(1, 10)
    while any(2 * abs(profit) * rate > needed for _, _, profit, _, needed in told):
        rate /= 10
    rows = [
        {
            "id": name,
            "side": side,
            "size": needed / rate,
            "entry": 1 - side * profit * rate / needed,
            "balance": wallet,
        }
        for name, side, profit, wallet, needed in told
    ]
    rules = venues.binance_usdm.rules.replace(mark="index", residual=("adl",), shortfall=(), size="whole")
    scores, order = ranks(rows, rules, inverse=False, mark=Fraction(1), tiers=rate)
    places = [Fraction(order.index(row["id"]) + 1, len(rows)) for row in rows]
    return {"scores": [float(x) for x in scores], "order": order, "quantiles": places}


MODELS = {
    "adl_binance": adl_binance,
    "pct": liquidation_fee,
    "if_sign": fund_sign,
    "clawback": clawback,
    "adl_bitmex": adl_bitmex,
    "adl_hl": adl_hyperliquid,
}
