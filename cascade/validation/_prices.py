"""Liquidation and bankruptcy prices, profit of inverse contracts: read off a market."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ..market import Market
from ..records import EventKind
from ..rules import VenueRules
from ._inputs import Inputs, Unknown
from ._markets import Contract, market

AT_MARK = VenueRules(mark="index")
TRIES = 400


def one_tier(rate: Fraction, amount: Fraction = Fraction(0)) -> list[list[Any]]:
    """One rate for every size, with a maintenance amount."""
    return [[0, None, rate, rate, amount]]


def prices(made: Market, row: int = 0) -> dict[str, Any]:
    """A position's liquidation and bankruptcy price."""
    table = made.liquidation_prices()
    return {
        "liquidation_price": float(table["liquidation_price"][row]),
        "bankruptcy_price": float(table["bankruptcy_price"][row]),
    }


def isolated(
    side: int,
    size: Fraction,
    entry: Fraction,
    margin: Fraction,
    tiers: Any,
    rules: VenueRules = AT_MARK,
    **terms: Any,
) -> Market:
    """One isolated position, marked at its entry."""
    contract = Contract("X", tiers, price=entry, sizes=[size], **terms)
    position = {
        "account": "a",
        "instrument": "X",
        "size": side * size,
        "entry_price": entry,
        "margin": margin,
    }
    return market([contract], rules=rules, money=[margin], positions=[position])


def linear_at_mark(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """An isolated linear position with maintenance on the value at the mark."""
    tiers = one_tier(inputs.number("mmr"), inputs.number("mm_deduction", 0))
    made = isolated(
        inputs.side(), inputs.number("size"), inputs.number("entry_price"), inputs.number("margin"), tiers
    )
    return prices(made)


def elsewhere(needed: Fraction, profit: Fraction) -> tuple[list[Contract], list[dict[str, Any]]]:
    """A position of account "a" in another contract that needs this maintenance and has this profit."""
    if not needed and not profit:
        return [], []
    value = max(4 * needed, 4 * abs(profit), Fraction(1))
    other = Contract(
        "OTHER", one_tier(needed / value), price=value, sizes=[Fraction(1)], prices=[value - profit]
    )
    return [other], [{"account": "a", "instrument": "OTHER", "size": 1, "entry_price": value - profit}]


def binance_linear(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """A cross account with one contract, and what all others need and gain."""
    entry, size = inputs.number("entry"), inputs.number("size")
    tiers = one_tier(inputs.number("mmr"), inputs.number("cum", 0))
    others, held = elsewhere(inputs.number("tmm", 0), inputs.number("upnl", 0))
    made = market(
        [Contract("X", tiers, price=entry, sizes=[size]), *others],
        rules=AT_MARK,
        balances={"a": inputs.number("wb")},
        positions=[
            {"account": "a", "instrument": "X", "size": inputs.side() * size, "entry_price": entry},
            *held,
        ],
    )
    return prices(made)


def binance_cross(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """A cross account with positions in several contracts: the price of one, all others at their marks."""
    contracts, positions = [], []
    for row in inputs.rows("positions"):
        symbol, size, entry = row.text("sym"), row.number("size"), row.number("entry")
        tiers = one_tier(row.number("mmr"), row.number("cum", 0))
        contracts.append(Contract(symbol, tiers, price=row.number("mark", entry), sizes=[size]))
        positions.append(
            {"account": "a", "instrument": symbol, "size": row.side() * size, "entry_price": entry}
        )
    made = market(contracts, rules=AT_MARK, balances={"a": inputs.number("wb")}, positions=positions)
    table = made.liquidation_prices()
    wanted = positions[inputs.whole("target")]["instrument"]
    return prices(made, table["instrument"].tolist().index(wanted))


def binance_hedge(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Long and short of one contract under cross margin, each in its own tier: they share the price.

    The legs' tiers come from one table, whose boundary lies between the legs' notionals at the answer. No
    mark is given: mark and boundary are moved until they are next to it, so that no leg changes its tier on
    the way.
    """
    legs = sorted(inputs.rows("legs"), key=lambda leg: leg.number("size"))
    if not 1 <= len(legs) <= 2:
        raise Unknown("one table of tiers for more than two legs")
    rates = [leg.number("mmr") for leg in legs]
    amounts = [leg.number("cum", 0) for leg in legs]
    sizes = [leg.number("size") for leg in legs]
    same = rates[0] == rates[-1] and amounts[0] == amounts[-1]
    if not same and (sizes[0] == sizes[-1] or rates[0] > rates[-1]):
        raise Unknown("no table has both tiers: the larger leg needs the higher rate")
    others, held = elsewhere(inputs.number("tmm", 0), inputs.number("upnl", 0))
    entries = [leg.number("entry") for leg in legs]
    positions = [
        {
            "account": "a",
            "instrument": "X",
            "size": leg.side() * size,
            "entry_price": entry,
            "position_side": "long" if leg.side() == 1 else "short",
        }
        for leg, size, entry in zip(legs, sizes, entries, strict=True)
    ]
    held = [{**row, "position_side": "both"} for row in held]
    price = entries[0]
    for _ in range(TRIES):
        tiers = one_tier(rates[0], amounts[0])
        if not same:
            floor = price * (sizes[0] + sizes[-1]) / 2
            tiers = [
                [0, floor, rates[0], rates[0], amounts[0]],
                [floor, None, rates[1], rates[1], amounts[1]],
            ]
        contract = Contract("X", tiers, price=price, sizes=sizes, prices=entries)
        made = market(
            [contract, *others],
            rules=AT_MARK,
            balances={"a": inputs.number("wb")},
            positions=[*positions, *held],
        )
        answer = prices(made)
        found = answer["liquidation_price"]
        if same or found != found:
            return answer
        # The boundary is half of the legs' difference away from either.
        if 8 * abs(Fraction(found) - price) < price * (1 - sizes[0] / sizes[-1]):
            return answer
        price = Fraction(f"{found:.9g}")
    raise Unknown("no boundary between the legs' notionals holds at the answer")


def inverse_at_mark(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """An isolated inverse position with maintenance on the value at the mark."""
    made = isolated(
        inputs.side(),
        inputs.number("contracts"),
        inputs.number("entry"),
        inputs.number("margin_coin"),
        one_tier(inputs.number("mmr"), inputs.number("cum_coin", 0)),
        contract="inverse",
        multiplier=inputs.number("multiplier", 1),
    )
    return prices(made)


def inverse_pnl(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """An inverse position's profit at another mark, and its margin at entry: value / leverage."""
    size, entry, leave = inputs.number("contracts"), inputs.number("entry"), inputs.number("exit")
    said = []
    for price in (entry, leave):
        contract = Contract(
            "X",
            1 / inputs.number("leverage", 1),
            price=price,
            sizes=[size],
            contract="inverse",
            multiplier=inputs.number("multiplier", 1),
        )
        made = market(
            [contract],
            rules=AT_MARK,
            balances={"a": Fraction(0)},
            positions=[
                {"account": "a", "instrument": "X", "size": inputs.side() * size, "entry_price": entry}
            ],
        )
        said.append(made.margin())
    return {"margin": float(said[0]["maintenance"][0]), "pnl": float(said[1]["equity"][0])}


def linear_bankruptcy(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Where an isolated linear position's margin is gone."""
    margin = inputs.number("margin") + inputs.number("extra", 0)
    made = isolated(inputs.side(), inputs.number("size"), inputs.number("entry"), margin, Fraction(1, 100))
    return {"bankruptcy_price": prices(made)["bankruptcy_price"]}


def inverse_bankruptcy(inputs: Inputs, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Where an inverse position with margin value / leverage has none left, and the limit of the order that
    liquidates it there."""
    size, entry, tick = Fraction(10**6), inputs.number("entry"), inputs.number("tick")
    rules = AT_MARK.replace(order_price="bankruptcy")
    made = isolated(
        inputs.side(),
        size,
        entry,
        size / entry / inputs.number("leverage"),
        Fraction(1),
        rules,
        tick=tick,
        contract="inverse",
    )
    events = made.run().events
    order = events[events["kind"] == EventKind.ORDER][0]
    return {
        "bankruptcy_price": prices(made)["bankruptcy_price"],
        "rounded": int(order["price_1024"]) * tick / 1024,
    }


MODELS = {
    "linear_iso_mark_mm": linear_at_mark,
    "binance_linear": binance_linear,
    "binance_cross": binance_cross,
    "binance_hedge": binance_hedge,
    "inverse_iso_mark_mm": inverse_at_mark,
    "inverse_pnl": inverse_pnl,
    "linear_bankruptcy_margin": linear_bankruptcy,
    "inverse_bankruptcy": inverse_bankruptcy,
}
