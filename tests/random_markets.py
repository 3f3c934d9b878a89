"""Seeded random markets, small and nasty: coarse ticks, thin books, poor accounts, odd rules.

`make(seed)` gives (market, shock, keyword arguments of `Market.run`). `spec(seed)` is the same as plain data,
which a test may change before `build(spec)`: how relations between two markets are tested.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

import cascade as cs
from cascade.rules import CHOICES, STAGES

TICKS, LOTS = (1, 0.5), (1, 2)


def make(seed: int, breakers: bool = True) -> tuple[cs.Market, cs.Shock, dict[str, Any]]:
    """A market, a shock and the other arguments of its run (without `engine`)."""
    return build(spec(seed, breakers))


def spec(seed: int, breakers: bool = True) -> dict[str, Any]:
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
        name: rng.choice(choices) for name, choices in CHOICES.items() if rng.random() < 0.75
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
    # Breakers come from a generator of their own, so that markets without them stay what they were.
    own = random.Random(f"{seed} breakers")
    if breakers and own.random() < 0.3:
        rules["breakers"] = _breakers(own, n, mids, [x["tick_size"] for x in instruments], risk)
    run: dict[str, Any] = {}
    if rng.random() < 0.1:
        run["max_waves"] = rng.randint(0, 4)
    return {
        "instruments": instruments,
        "quantum": rng.choice((None if scale < 1_000 else 0.0001, 0.5, 0.1, 0.01)),
        "books": books,
        "orders": orders,
        "prices": prices,
        "band_prices": _band_prices(own, mids),
        "accounts": accounts,
        "positions": positions,
        "fund": round(rng.choice((0, 0.3, 1, 5, 1e4)) * max(worth) * rng.random() * 4, 2),
        "vault": round(rng.choice((0, 0, 0.3, 3, 1e4)) * max(worth) * rng.random() * 4, 2),
        "rules": rules,
        "shock": _shocks(rng, mids, accounts, worth, risk),
        "run": run,
    }


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
    }  # fmt: skip


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


def build(s: dict[str, Any]) -> tuple[cs.Market, cs.Shock, dict[str, Any]]:
    """The market, shock and run arguments of a `spec`."""
    instruments = [cs.Instrument(**x) for x in s["instruments"]]
    market = cs.Market(instruments, fund=s["fund"], vault=s["vault"], cash_quantum=s["quantum"])
    symbols = [x.symbol for x in instruments]
    ticks = [x["tick_size"] for x in s["instruments"]]
    lots = [x["lot_size"] for x in s["instruments"]]
    if s["accounts"]:
        market.load_accounts(
            {"account": _ids(a for a, _ in s["accounts"]), "balance": [float(b) for _, b in s["accounts"]]}
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
