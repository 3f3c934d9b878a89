"""Seeded random markets, small and nasty: coarse ticks, thin books, poor accounts, odd rules.

`make(seed)` gives (market, shock, keyword arguments of `Market.run`). `spec(seed)` is the same as plain data,
which a test may change before `build(spec)`: how relations between two markets are tested.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np

import cascade as cs
from cascade import marks
from cascade.rules import CHOICES, STAGES

TICKS, LOTS = (1, 0.5), (1, 2)


OTHER_FIELDS = ("order_tif", "fee_cap", "fund_stop_at", "socialise_by", "collateral_sale")
"""Fields with choices that generators of their own draw."""
TURN_VALUES = {
    "queue": ("fillable",),
    "size": ("fraction", "restore", "step_down"),
    "order_price": ("fillable",),
    "surplus": ("vault",),
    "fee_to": ("vault",),
    "adl_rank": ("okx", "hyperliquid_signed"),
}
"""Fields and values of rules that `turn_rules` draws, in half of the markets."""


def make(
    seed: int, turns: bool = True, breakers: bool = True
) -> tuple[cs.Market, cs.Shock, dict[str, Any]]:
    """A market, a shock and the other arguments of its run (without `engine`). `turns=False` leaves out the
    rules about stages, parts of positions and limits, `breakers=False` bands and halts."""
    return build(spec(seed, turns, breakers))


def spec(seed: int, turns: bool = True, breakers: bool = True) -> dict[str, Any]:
    """A market as plain data: prices in ticks, sizes in lots, money in the settlement currency."""
    rng = random.Random(seed)
    contracts = rng.choice((("linear",), ("linear",), ("inverse",), ("linear", "inverse")))
    n = rng.choice((1, 1, 1, 2, 2, 3))
    scale = rng.choice(
        (rng.randint(6, 30), rng.randint(60, 300), rng.randint(60, 300), rng.randint(3_000, 20_000))
    )
    mids = [max(4, round(scale * rng.uniform(0.8, 1.2))) for _ in range(n)]
    risk = rng.choice((0.02, 0.05, 0.1, 0.3))
    instruments = [_instrument(rng, f"I{i}", rng.choice(contracts), mids[i], risk) for i in range(n)]
    worth = [mid * 1.5 for mid in mids]  # of a lot, roughly
    ids: list[Any] = [f"user {k}" for k in range(9)] if rng.random() < 0.25 else [k * 7 + 1 for k in range(9)]
    rng.shuffle(ids)
    ids = ids[: rng.randint(2, 9)]
    positions = _positions(rng, ids, mids, worth, risk)
    held = dict.fromkeys(ids, 0.0)
    for account, i, lots, _, margin, _ in positions:
        if margin is None:
            held[account] += abs(lots) * worth[i]
    accounts = []
    for account in ids:
        balance = held[account] * rng.choice(
            (rng.uniform(-0.1, 0.5), rng.uniform(0.5, 1.5), rng.uniform(1, 2))
        ) * risk + rng.choice((0, 0, 0.5, 1, 5)) * max(worth)
        if rng.random() < 0.05:
            balance = -rng.random() * max(worth) * 3
        accounts.append((account, round(balance, rng.choice((0, 2, 5)))))
    gap = [rng.choice((1, 1, 1, 2, 3)) for _ in range(n)]
    books, orders, prices = [], [], []
    for i, mid in enumerate(mids):
        books.append(_book(rng, mid, gap[i]))
        orders.append(_orders(rng, mid, ids, gap[i]))
        prices.append(_prices(rng, mid, risk))
    sided = all(
        (bids or any(o[1] > 0 for o in own)) and (asks or any(o[1] < 0 for o in own))
        for (bids, asks, _), own in zip(books, orders, strict=True)
    )
    rules: dict[str, Any] = {
        name: rng.choice([c for c in choices if c not in TURN_VALUES.get(name, ())])
        for name, choices in CHOICES.items()
        if name not in OTHER_FIELDS and rng.random() < 0.75
    }
    if rng.random() < 0.5:
        rules["order_price"] = "bankruptcy"
    if not sided and rules.get("mark") in ("mid", "book_median"):
        del rules["mark"]
    for name, stages in STAGES.items():
        if rng.random() < 0.8:
            rules[name] = tuple(rng.sample(stages, rng.randint(0, len(stages))))
    rules["cancel_orders"] = rng.random() < 0.7
    if rng.random() < 0.3:
        rules["capacity"] = rng.randint(1, 3)
    if turns:
        more = random.Random(f"turns {seed}")
        rules |= turn_rules(more, max(worth))
        if rules.get("offset_hedges"):
            positions += _hedges(more, positions, mids)
        if rules.get("size") == "step_down" and more.random() < 0.3:
            rules["first_tier_whole"] = True
        if rules.get("adl_overlap") and more.random() < 0.3:
            rules["adl_negative_only"] = True
    # Breakers come from a generator of their own, so that markets without them stay what they were.
    own = random.Random(f"{seed} breakers")
    if breakers and own.random() < 0.3:
        rules["breakers"] = _breakers(own, n, mids, [x["tick_size"] for x in instruments], risk)
    # So does collateral.
    own = random.Random(f"collateral {seed}")
    collateral: dict[str, Any] = {"assets": [], "held": []}
    if own.random() < 0.35:
        collateral, accounts = _collateral(own, instruments, accounts, worth)
        rules["collateral_sale"] = own.choice(CHOICES["collateral_sale"])
    run: dict[str, Any] = {}
    if rng.random() < 0.1:
        run["max_waves"] = rng.randint(0, 4)
    shocks = _shocks(rng, mids, accounts, worth, risk)
    own = random.Random(f"haircut {seed}")
    if collateral["assets"] and own.random() < 0.4:
        shocks = shocks or [{}]
        name, haircut = own.choice(collateral["assets"])[0], own.choice((0, 0.2, 0.5, 0.75, 1))
        own.choice(shocks)["haircut"] = own.choice(({name: haircut}, haircut))
    # What marks and funding need has numbers of its own: a seed's market stays as it was without them.
    own = random.Random(f"marks {seed}")
    feeds = [_feed(own, mid, risk) for mid in mids]
    if own.random() < 0.35:
        sure = sided and all(feed.get("basis", 0) is not None for feed in feeds)
        rules["mark"] = _tree(own, sure)
    if own.random() < 0.4:
        rules["funding"] = cs.Funding(price=own.choice(("mark", "index")))
    for instrument in instruments:
        instrument["funding_interval"] = own.choice((1, 8, 8))
    if own.random() < 0.25:
        symbol, rate = f"I{own.randrange(n)}", round(own.uniform(-1, 1) * own.choice((1, risk, 0.001)), 6)
        own.choice(shocks or [{}])["funding"] = {symbol: rate}
        shocks = shocks or [{"funding": {symbol: rate}}]
    return {
        "instruments": instruments,
        "quantum": rng.choice((None if scale < 1_000 else 0.0001, 0.5, 0.1, 0.01)),
        "books": books,
        "orders": orders,
        "prices": prices,
        "band_prices": _band_prices(own, mids),
        "accounts": accounts,
        "collateral": collateral,
        "positions": positions,
        "fund": round(rng.choice((0, 0.3, 1, 5, 1e4)) * max(worth) * rng.random() * 4, 2),
        "vault": round(rng.choice((0, 0, 0.3, 3, 1e4)) * max(worth) * rng.random() * 4, 2),
        "rules": rules,
        "feeds": feeds,
        "shock": shocks,
        "run": run,
    }


def turn_rules(rng: random.Random, worth: float) -> dict[str, Any]:
    """Rules about stages, parts of positions, limits and ranks: none in half of the markets. A lot is worth
    `worth`."""
    if rng.random() < 0.5:
        return {}

    def money(*lots: float) -> float:
        return round(rng.choice(lots) * worth * rng.uniform(0.5, 1.5), 2)

    rules: dict[str, Any] = {}
    if rng.random() < 0.75:
        rules["size"] = rng.choice(TURN_VALUES["size"])
        rules["order_tif"] = rng.choice(CHOICES["order_tif"])
        rules["size_fraction"] = rng.choice((0, 0.2, 0.125, 0.5, 1))
        rules["size_above"] = money(0, 0, 2, 8)
        rules["size_minimum"] = money(0, 0, 1, 4)
        rules["size_steps"] = rng.choice((1, 1, 2, 3))
        rules["size_buffer"] = rng.choice((0, 0, 0, 0.01, 0.1, 1))
        rules["then_whole"] = rng.random() < 0.5
        rules["cooldown_ns"] = rng.choice((0, 30 * 10**9))
    if rng.random() < 0.35:
        rules["order_price"] = "fillable"
        rules["fillable_adjustment"] = rng.choice((0, 0.5, 1, 4294.967295))
        rules["fillable_spread"] = rng.choice((0, 0.1, 0.333333333333, 1, 10))
    if rng.random() < 0.3:
        rules["queue"] = "fillable"
        rules.setdefault("fillable_spread", rng.choice((0.1, 1)))
    stages = 0.15 if rules.get("size") in ("restore", "step_down") else 0.4
    if rng.random() < stages:
        rules["vault_below"] = rng.choice((0.25, Fraction(2, 3), 2 / 3, 1))
        rules["adl_below"] = rng.choice((None, 0, 0, 0.5))
    elif rng.random() < stages:
        rules["adl_below"] = rng.choice((0, 0.5, 1))
    if rng.random() < 0.3:
        rules["vault_cap"] = rng.choice((0, 0.5, 1, 20))
    if rng.random() < 0.3:
        rules["fund_stop"] = rng.choice((0, 0.01, 0.3, 1))
        rules["fund_resume"] = rng.choice((None, 0, rules["fund_stop"], rules["fund_stop"] / 2))
        rules["fund_stop_amount"] = money(0, 0, 0.1, 1)
        rules["fund_stop_above"] = money(0, 0, 0.5)
        rules["fund_stop_at"] = rng.choice(CHOICES["fund_stop_at"])
    if rng.random() < 0.25:
        rules["fund_per_step"] = money(0, 0.01, 0.1, 1)
    if rng.random() < 0.25:
        rules["notional_per_step"] = money(0, 0.5, 2, 8)
    for field, chance in (("fee_cap", 0.4), ("surplus", 0.3), ("fee_to", 0.3), ("socialise_by", 0.4)):
        if rng.random() < chance:
            rules[field] = CHOICES[field][-1]
    if rng.random() < 0.4:
        rules["adl_rank"] = rng.choice(TURN_VALUES["adl_rank"])
    if rng.random() < 0.4:
        rules["adl_price_band"] = rng.choice((0, 0.01, 0.05))
    rules["adl_overlap"] = rng.random() < 0.4
    rules["offset_hedges"] = rng.random() < 0.4
    return rules


def _instrument(rng, symbol: str, contract: str, mid: int, risk: float) -> dict[str, Any]:
    tick, lot = rng.choice(TICKS), rng.choice(LOTS)
    kind = rng.random()
    notional = mid * 6.0
    if kind < 0.15:
        tiers: Any = None
    elif kind < 0.45:
        tiers = round(risk * rng.choice((0.05, 0.1, 0.3, 0.8)), 4)
    else:
        rates = sorted(round(risk * rng.choice((0, 0.05, 0.1, 0.2, 0.5, 1)), 4) for _ in range(3))
        floors = [0, round(notional * rng.uniform(0.2, 1), 1), round(notional * rng.uniform(1, 4), 1)]
        caps = [floors[1], floors[2], None]
        tiers = [(f, c, 0.5, r) for f, c, r in zip(floors, caps, rates, strict=True)]
        if rng.random() < 0.3:  # amounts that do not make it continuous
            tiers = [(*row, round(rng.random() * notional * 0.01 * k, 1)) for k, row in enumerate(tiers)]
    return {
        "symbol": symbol, "tick_size": tick, "lot_size": lot, "contract": contract,
        # An inverse lot is worth about as much as a linear one.
        "multiplier": 1 if contract == "linear" else max(1, round((mid * tick) ** 2 / rng.choice((1, 1, 3)))),
        "tiers": tiers,
        "taker_fee": rng.choice((0, 0, 0.0005, 0.003, 0.01, -0.001)),
        "maker_fee": rng.choice((0, 0, 0.0005, -0.0002, -0.003)),
        "liquidation_fee": rng.choice((0, 0, 0.001, 0.01, 0.05)),
        **_slopes(rng, contract, mid, risk),
    }  # fmt: skip


def _slopes(rng, contract: str, mid: int, risk: float) -> dict[str, Any]:
    """Margin rates that grow with size: by a part of the risk for some ten lots."""
    if rng.random() < 0.75:
        return {}
    size = rng.choice((3, 10, 100)) * (1 if contract == "linear" else mid)
    return {
        "initial_slope": min(1, round(risk / size, 6)),
        "maintenance_slope": min(1, round(risk * rng.choice((0.1, 0.5, 3)) / size, 6)),
    }


def _positions(rng, ids, mids, worth, risk) -> list[tuple]:
    """(account, instrument, lots, entry in ticks, margin or None, position_side)"""
    found = {}
    tilt = rng.choice((0.5, 0.5, 0.85, 0.15))
    for account in ids:
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 4))):
            i, side = rng.randrange(len(mids)), rng.choice(("both", "both", "both", "long", "short"))
            isolated = rng.random() < 0.3
            long = side == "long" or (side == "both" and rng.random() < tilt)
            lots = rng.choice((1, 2, rng.randint(1, 10), rng.randint(1, 40))) * (1 if long else -1)
            entry = round(mids[i] * (1 + rng.uniform(-0.5, 0.5) * risk), rng.choice((0, 1, 4))) or 1.0
            margin = round(abs(lots) * worth[i] * rng.uniform(0.1, 1.5) * risk, 2) if isolated else None
            found[account, i, side, isolated] = (account, i, lots, max(entry, 0.5), margin, side)
    return list(found.values())


def _collateral(rng, instruments, accounts, worth) -> tuple[dict[str, Any], list]:
    """Assets (name, instrument, haircut) and who holds lots of them; the accounts without the money that some
    put into them."""
    linear = [i for i, x in enumerate(instruments) if x["contract"] == "linear"]
    chosen = rng.sample(linear, rng.randint(min(1, len(linear)), len(linear)))
    assets = [(f"asset {i}", i, rng.choice((0, 0, 0.05, 0.1, 0.333333333333, 1))) for i in chosen]
    held, left = [], []
    for account, balance in accounts:
        for _, i, _ in assets:
            if rng.random() < 0.6:
                lots = rng.choice((1, 1, 2, rng.randint(1, 10), rng.randint(1, 40)))
                held.append((account, i, lots))
                balance = round(balance - lots * worth[i] * rng.choice((0, 0.3, rng.uniform(0, 1))), 2)
        left.append((account, balance))
    return {"assets": assets, "held": held}, left


def _hedges(rng, positions, mids) -> list[tuple]:
    """A position in the other slot for some of those in hedge mode."""
    keys = {(p[0], p[1], p[5]) for p in positions}
    found = []
    for account, i, lots, entry, margin, side in positions:
        other = {"long": "short", "short": "long"}.get(side)
        if other and margin is None and (account, i, other) not in keys:
            opposite = rng.randint(1, 40) * (-1 if lots > 0 else 1)
            found.append((account, i, opposite, max(entry + rng.randint(-1, 1), 0.5), None, other))
    return found


def _book(rng, mid: int, gap: int) -> tuple[list, list, bool]:
    """(bids, asks, complete): levels of (ticks, lots), best first; any side may be empty."""
    thick = rng.choice((3, 10, 10, 60))
    sides = []
    for side in (-1, 1):
        price, levels = mid + side * (gap - 1), []
        for _ in range(rng.choice((0, 1, 2, 4, 6, 8)) if rng.random() < 0.9 else 20):
            price += side * rng.choice((1, 1, 1, 2, max(1, mid // 20)))
            if price < 1:
                break
            levels.append((price, rng.randint(1, thick)))
        sides.append(levels)
    return sides[0], sides[1], rng.random() < 0.55


def _orders(rng, mid: int, ids, gap: int) -> list[tuple]:
    """(order_id, side, ticks, lots, account or None)"""
    found, order_id = [], rng.randint(1, 5)
    for _ in range(rng.choice((0, 0, 2, 5, 9))):
        side = rng.choice((1, -1))
        price = mid - side * (gap + rng.choice((0, 0, 1, 2, rng.randint(0, max(1, mid // 5)))))
        if price >= 1:
            found.append(
                (order_id, side, price, rng.choice((1, 3, rng.randint(1, 30))), rng.choice((*ids, None)))
            )
            order_id += rng.randint(1, 9)
    return found


def _prices(rng, mid: int, risk: float) -> tuple[float, int]:
    """(index, last) in ticks: at the mid or a bit off."""
    if rng.random() < 0.6:
        return float(mid), mid
    off = 1 + rng.uniform(-1, 1) * risk * 0.2
    return max(0.5, round(mid * off, 3)), max(1, mid + rng.randint(-2, 2))


def _breakers(rng, n: int, mids, ticks, risk) -> tuple:
    """Bands, velocity logics and market-wide halts, all of them tight and short."""

    def time(*more: int) -> int:
        return rng.choice((1, 2, 5, 10**9, *more))

    def width() -> Any:
        i = rng.randrange(n)
        rate = round(risk * rng.choice((0.1, 0.3, 1, 2)), 5)
        amount = round(rng.choice((0.5, 1, 2, mids[i] * risk * 0.3)) * ticks[i], 2) or None
        kind = rng.random()
        if kind < 0.5:
            return rate
        if kind < 0.65:
            return cs.Width(amount=amount or 1)
        if kind < 0.8:
            return cs.Width(rate, amount)
        floor = round(mids[i] * ticks[i] * rng.uniform(0.9, 1.1), 2)
        return (cs.Width(rate, above=floor), cs.Width(2 * rate, at_least=floor), cs.Width(3 * rate, amount))[
            : rng.choice((1, 2, 3))
        ]

    found: list[Any] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        symbols = None if rng.random() < 0.8 else (f"I{rng.randrange(n)}",)
        kind = rng.random()
        if kind < 0.5:
            reference = rng.choice(("fixed", "settle", "mean", "mean", "range", "range", "mark", "index"))
            halt_ns = rng.choice((None, None, time(), time(), 2**61))
            found.append(
                cs.PriceBand(
                    reference,
                    width(),
                    of=rng.choice(("reference", "reference", "settle")),
                    rounding=rng.choice(("nearest", "inside", "variant")),
                    side=rng.choice(("both", "both", "lower", "upper")),
                    window_ns=time(3, 7) if reference in ("mean", "range") else 0,
                    renew_ns=rng.choice((0, time())) if reference == "mean" else 0,
                    halt_ns=halt_ns,
                    limit_ns=rng.choice((0, time())) if halt_ns else 0,
                    recentre=rng.random() < 0.7,
                    symbols=symbols,
                )
            )
        elif kind < 0.65:
            most = rng.choice((1, 2, 5, max(1, round(mids[0] * risk))))
            found.append(cs.VelocityLogic(most, time(), rng.choice((time(), time(), None)), symbols))
        else:
            many = range(rng.choice((1, 2, 3)))
            rates = sorted({round(risk * rng.choice((0.05, 0.2, 0.5, 1, 2)), 5) for _ in many})
            levels = tuple((rate, rng.choice((time(), time(), None))) for rate in rates)
            symbol = rng.choice((None, f"I{rng.randrange(n)}"))
            found.append(cs.MarketHalt(symbol, rng.choice(("index", "last", "last")), levels))
    return tuple(found)


def _band_prices(rng, mids) -> dict[str, dict[int, float]]:
    """Reference and settlement prices in ticks by instrument, where they are given."""
    given: dict[str, dict[int, float]] = {"reference": {}, "settle": {}}
    for prices in given.values():
        for i, mid in enumerate(mids):
            if rng.random() < 0.2:
                prices[i] = max(0.5, round(mid * rng.uniform(0.97, 1.03), rng.choice((0, 0, 2))))
    return given


def _shocks(rng, mids, accounts, worth, risk) -> list[dict[str, Any]]:
    """Keyword arguments of `Shock`, to be added up."""
    shocks: list[dict[str, Any]] = []
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
        shock: dict[str, Any] = {}
        i = rng.randrange(len(mids))
        move = round(rng.uniform(-1, 1) * risk * rng.choice((1, 2, 4)), rng.choice((2, 9)))
        move = max(-0.9, move)
        if rng.random() < 0.35:
            shock["price"] = move if rng.random() < 0.3 else {f"I{i}": move}
        if rng.random() < 0.25:
            shock["index"] = {f"I{i}": move}
        if rng.random() < 0.25:
            rows = [("bid", 0, 0.1, 0.5), ("both", 0.01, None, rng.choice((0, 0.3, 1.5)))]
            shock["depth"] = rng.choice((rng.choice((0, 0.25, 0.9, 2)), {f"I{i}": rows}))
        if rng.random() < 0.2:
            account, _ = rng.choice(accounts)
            shock["cash"] = {account: round(rng.uniform(-3, 2) * worth[i], 2)}
        if rng.random() < 0.6:
            shock["orders"] = {f"I{i}": rng.choice((1, -1)) * rng.choice((2, 6, 20, 60))}
        shocks.append(shock)
    return shocks


def _feed(rng, mid: int, risk: float) -> dict[str, Any]:
    """What `Market.set_prices` takes besides index and last: prices in ticks, times in hours."""
    feed: dict[str, Any] = {
        "external": {
            name: max(0.01, round(mid * (1 + rng.uniform(-1, 1) * risk * 0.3), 3))
            for name in ("a", "b")
            if rng.random() < 0.7
        }
    }
    if rng.random() < 0.7:
        feed["funding_rate"] = round(rng.uniform(-1, 1) * rng.choice((1, 0.05, 0.001)), 8)
        feed["time_to_funding"] = round(rng.uniform(0, 1), 3)
    if rng.random() < 0.4:
        feed["basis"] = rng.choice((None, round(rng.uniform(-1, 1) * mid * risk * rng.choice((0.2, 5)), 3)))
    return feed


def _tree(rng, sure: bool) -> marks.Mark:
    """A mark of everything there is; where a book may be empty, one that exists without it."""
    tree = _part(rng, 3)
    while len(list(marks.nodes(tree))) > marks.MOST_NODES - 2:
        tree = _part(rng, 3)
    if sure and rng.random() < 0.5 and not any(isinstance(x, marks.External) for x in marks.nodes(tree)):
        return tree
    return marks.median(tree, marks.index(), missing="drop")


def _part(rng, depth: int) -> marks.Mark:
    kind = rng.random() if depth else 0
    if kind < 0.45:
        seconds = rng.choice((0.5, 30, 150))
        return rng.choice(
            (
                marks.last(), marks.last(), marks.bid(), marks.ask(), marks.mid(), marks.index(),
                marks.funded_index(), marks.external("a"), marks.external(rng.choice("bc")),
                marks.index_plus_basis(seconds), marks.index_plus_basis(seconds, average="exponential"),
            )
        )  # fmt: skip
    missing = rng.choice(("keep", "drop"))
    if kind < 0.55:
        return marks.ema(_part(rng, depth - 1), rng.choice((1, 30)))
    parts = [_part(rng, depth - 1) for _ in range(rng.choice((1, 2, 3, 3, 3, 4, 5)))]
    if kind < 0.75:
        return marks.weighted_median(*((x, rng.choice((1, 1, 2, 0.5, 3))) for x in parts), missing=missing)
    spare = _part(rng, depth - 1) if missing == "drop" and len(parts) == 3 and rng.random() < 0.7 else None
    return marks.median(*parts, missing=missing, spare=spare)


def build(s: dict[str, Any]) -> tuple[cs.Market, cs.Shock, dict[str, Any]]:
    """The market, shock and run arguments of a `spec`."""
    instruments = [cs.Instrument(**x) for x in s["instruments"]]
    symbols = [x.symbol for x in instruments]
    collateral = s["collateral"]
    assets = [cs.Collateral(name, symbols[i], haircut) for name, i, haircut in collateral["assets"]]
    market = cs.Market(
        instruments, fund=s["fund"], vault=s["vault"], cash_quantum=s["quantum"], collateral=assets
    )
    ticks = [x["tick_size"] for x in s["instruments"]]
    lots = [x["lot_size"] for x in s["instruments"]]
    if s["accounts"]:
        market.load_accounts(
            {"account": _ids(a for a, _ in s["accounts"]), "balance": [float(b) for _, b in s["accounts"]]}
        )
    if collateral["held"]:
        names = {i: name for name, i, _ in collateral["assets"]}
        market.load_accounts(
            {
                "account": _ids(a for a, _, _ in collateral["held"]),
                "balance": [
                    float(n * lots[i] * s["instruments"][i]["multiplier"]) for _, i, n in collateral["held"]
                ],
                "asset": [names[i] for _, i, _ in collateral["held"]],
            }
        )
    if s["positions"]:
        rows = s["positions"]
        market.load_positions(
            {
                "account": _ids(r[0] for r in rows),
                "instrument": [symbols[r[1]] for r in rows],
                "size": [float(r[2] * lots[r[1]]) for r in rows],
                "entry_price": [float(r[3] * ticks[r[1]]) for r in rows],
                "margin": [float("nan") if r[4] is None else float(r[4]) for r in rows],
                "position_side": [r[5] for r in rows],
            }
        )
    for i, (bids, asks, complete) in enumerate(s["books"]):
        market.load_book(
            symbols[i], _levels(bids, ticks[i], lots[i]), _levels(asks, ticks[i], lots[i]), complete=complete
        )
    for i, orders in enumerate(s["orders"]):
        # Orders with an owner and orders of the external account are tables of their own.
        for group in ([o for o in orders if o[4] is not None], [o for o in orders if o[4] is None]):
            if group:
                table = {
                    "order_id": [o[0] for o in group],
                    "side": [o[1] for o in group],
                    "price": [o[2] * ticks[i] for o in group],
                    "quantity": [o[3] * lots[i] for o in group],
                }
                if group[0][4] is not None:
                    table["account"] = _ids(o[4] for o in group)
                market.load_orders(symbols[i], table)
    market.set_prices(
        index={symbols[i]: index * ticks[i] for i, (index, _) in enumerate(s["prices"])},
        last={symbols[i]: last * ticks[i] for i, (_, last) in enumerate(s["prices"])},
        **{
            name: {symbols[i]: price * ticks[i] for i, price in given.items() if i < len(symbols)}
            for name, given in s["band_prices"].items()
        },
    )
    for symbol, tick, feed in zip(symbols, ticks, s["feeds"], strict=False):
        scaled = {
            "external": {name: price * tick for name, price in feed["external"].items()},
            **{name: feed[name] for name in ("funding_rate", "time_to_funding") if name in feed},
        }
        if "basis" in feed:
            scaled["basis"] = None if feed["basis"] is None else feed["basis"] * tick
        market.set_prices(**{name: {symbol: value} for name, value in scaled.items()})
    shock = cs.Shock()
    for part in s["shock"]:
        part = dict(part)
        if "orders" in part:
            part["orders"] = {k: n * lots[symbols.index(k)] for k, n in part["orders"].items()}
        shock = shock + cs.Shock(**part)
    return market, shock, {"rules": cs.VenueRules(**s["rules"]), **s["run"]}


def _ids(ids) -> Any:
    found = list(ids)
    return np.array(found, np.int64) if isinstance(found[0], int) else found


def _levels(levels: list, tick: float, lot: float) -> dict[str, Any]:
    return {
        "price": np.array([p * tick for p, _ in levels], np.float64),
        "quantity": np.array([q * lot for _, q in levels], np.float64),
    }
