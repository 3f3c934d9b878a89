"""A seeded mixed flow for the order book: new orders, cancellations, changes, and takers."""

from __future__ import annotations

import numpy as np

import cascade as cs

MESSAGES = 200_000


def mixed_flow(n: int = MESSAGES, seed: int = 11) -> np.ndarray:
    """n messages (ORDER_DTYPE), about 10,000 orders live.

    Each is by chance a resting order (51%, all of them until 10,000 rest), a cancellation (44%), an
    immediate-or-cancel order for 1 to 200 lots (3%) or a change to half the quantity (2%). Resting orders are
    of 1 to 100 lots, on either side of tick 100,000 at a geometric distance of mean 50 ticks. Cancellations
    and changes name an order chosen evenly of those sent and not cancelled: some of these have been filled by
    then, and are refused.
    """
    rng = np.random.default_rng(seed)
    kind = rng.choice(4, n, p=[0.51, 0.44, 0.03, 0.02])
    side = rng.choice(np.array([1, -1], np.int8), n)
    distance = rng.geometric(1 / 50, n)
    small, large, pick = rng.integers(1, 101, n), rng.integers(1, 201, n), rng.random(n)
    orders = np.zeros(n, cs.ORDER_DTYPE)
    orders["order_id"] = np.arange(1, n + 1)
    orders["side"], orders["price"], orders["quantity"] = side, 100_000 - side * distance, small
    live: list[int] = []
    warm = False
    for k in range(n):
        warm = warm or len(live) >= 10_000
        if kind[k] == 0 or not warm or not live:
            live.append(k)
            continue
        if kind[k] == 2:
            orders["price"][k], orders["quantity"][k] = 100_000 + int(side[k]) * 1_000, large[k]
            orders["tif"][k] = cs.TimeInForce.IOC
            continue
        at = int(pick[k] * len(live))
        named = live[at]
        orders["order_id"][k] = named + 1
        orders["side"][k], orders["price"][k] = orders["side"][named], orders["price"][named]
        if kind[k] == 1:
            orders["action"][k], orders["quantity"][k] = cs.Action.CANCEL, 0
            live[at] = live[-1]
            live.pop()
        else:
            orders["action"][k] = cs.Action.MODIFY
            orders["quantity"][k] = max(1, orders["quantity"][named] // 2)
    return orders
