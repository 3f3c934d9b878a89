"""Seeded random markets of cross margin: many accounts with several positions each, some of them hedged.

`make(seed)` gives (market, shock, keyword arguments of `Market.run`), as `random_markets.make` does.
"""

from __future__ import annotations

import random
from typing import Any

import random_markets as small

import cascade as cs


def make(seed: int) -> tuple[cs.Market, cs.Shock, dict[str, Any]]:
    """A market, a shock and the other arguments of its run (without `engine`)."""
    return small.build(spec(seed))


def spec(seed: int) -> dict[str, Any]:
    """A market as plain data, as in `random_markets.spec`; with the rules of that seed's small market."""
    s = small.spec(seed)
    rng = random.Random(f"cross {seed}")
    n = rng.randint(3, 8)
    contracts = rng.choice((("linear",), ("linear",), ("linear", "inverse")))
    scale = rng.choice((rng.randint(60, 300), rng.randint(1_000, 5_000), rng.randint(50_000, 200_000)))
    mids = [round(scale * rng.uniform(0.8, 1.2)) for _ in range(n)]
    risk = rng.choice((0.05, 0.1, 0.3))
    worth = [mid * 1.5 for mid in mids]
    instruments = [small._instrument(rng, f"I{i}", rng.choice(contracts), mids[i], risk) for i in range(n)]
    for instrument in instruments:
        instrument["funding_interval"] = rng.choice((1, 8, 8))
    ids = [k * 3 + 1 for k in range(rng.randint(5, 50))]
    positions = _positions(rng, ids, mids, risk)
    held = dict.fromkeys(ids, 0.0)
    lots = [0] * n
    for account, i, size, *_ in positions:
        held[account] += abs(size) * worth[i]
        lots[i] += abs(size)
    # From those under water to those whom no shock reaches.
    accounts = [(a, round(held[a] * risk * rng.choice((0.2, 1, 1, 2)) * rng.uniform(0, 2), 2)) for a in ids]
    feeds = [small._feed(rng, mid, risk) for mid in mids]
    if isinstance(s["rules"].get("mark"), cs.marks.Mark):
        s["rules"]["mark"] = small._tree(rng, all(feed.get("basis", 0) is not None for feed in feeds))
    shocks = small._shocks(rng, mids, accounts, worth, risk)
    for shock in shocks:
        if "orders" in shock:
            i = rng.randrange(n)
            shock["orders"] = {f"I{i}": rng.choice((1, -1)) * max(1, round(lots[i] * rng.uniform(0.02, 0.5)))}
    own = random.Random(f"cross collateral {seed}")
    collateral: dict[str, Any] = {"assets": [], "held": []}
    if own.random() < 0.4:
        collateral, accounts = small._collateral(own, instruments, accounts, worth)
        s["rules"]["collateral_sale"] = own.choice(("last", "first"))
    quantum = s["quantum"] if scale < 1_000 else 0.0001
    return s | {
        "instruments": instruments, "books": [_book(rng, mids[i], lots[i], risk) for i in range(n)],
        "orders": [small._orders(rng, mid, ids, 2) for mid in mids],
        "prices": [small._prices(rng, mid, risk) for mid in mids],
        "band_prices": {"reference": {}, "settle": {}},
        "accounts": accounts, "collateral": collateral, "positions": positions,
        "feeds": feeds, "shock": shocks, "quantum": quantum,
    }  # fmt: skip


def _positions(rng: random.Random, ids: list[int], mids: list[int], risk: float) -> list[tuple]:
    """Two to six positions an account; a pair in hedge mode counts as two."""
    tilt = rng.choice((0.5, 0.8, 0.2))
    found: list[tuple] = []
    for account in ids:
        wanted, free = rng.randint(2, 6), rng.sample(range(len(mids)), len(mids))
        while wanted > 0 and free:
            i, hedged = free.pop(), wanted > 1 and rng.random() < 0.2
            for side in ("long", "short") if hedged else ("both",):
                long = rng.random() < tilt if side == "both" else side == "long"
                lots = rng.choice((1, 2, rng.randint(1, 10), rng.randint(1, 40))) * (1 if long else -1)
                entry = max(0.5, round(mids[i] * (1 + rng.uniform(-0.2, 0.2) * risk), rng.choice((0, 1, 4))))
                found.append((account, i, lots, entry, None, side))
                wanted -= 1
    return found


def _book(rng: random.Random, mid: int, lots: int, risk: float) -> tuple[list, list, bool]:
    """Both sides deep enough for cascades of several waves; a part of what is held lies within the risk."""
    levels, share = rng.randint(8, 40), rng.choice((0.2, 1, 3))
    sides = []
    for side in (-1, 1):
        price, found = mid, []
        for _ in range(levels):
            price += side * max(1, round(mid * risk * rng.uniform(0, 4) / levels))
            if price < 1:
                break
            found.append((price, max(1, round(lots * share * rng.uniform(0, 4) / levels))))
        sides.append(found or [(max(1, mid - 1) if side < 0 else mid + 1, 5)])
    return sides[0], sides[1], rng.random() < 0.7
