"""When each level of a book lives: from rows of absolute quantities to intervals of messages, in bulk.

Every row that sets a level to a quantity > 0 lives from its message to the one that ends it: the next row of
its level, a snapshot, a newer price of the other side that crosses it, or a best bid/ask that says that
nothing better exists. With these intervals the book after any message, and the best prices after every
message, follow without replaying anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEVER = np.iinfo(np.int64).max
UPDATE, SNAPSHOT, QUOTE = 0, 1, 2


@dataclass(frozen=True)
class Lives:
    """Rows > 0 with a life of at least one message, sorted by side, price and time.

    Parameters
    ----------
    row : numpy.ndarray of int64
        Number of the row.
    begin, end : numpy.ndarray of int64
        First message with the level, first without it.
    side, price, quantity : numpy.ndarray
        Of the row.
    pure : numpy.ndarray of bool
        The end leaves the level empty: no other life of it begins there.
    crossed : numpy.ndarray of bool
        The end is a newer price of the other side, and no row of the same message speaks of the level.
    """

    row: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    side: np.ndarray
    price: np.ndarray
    quantity: np.ndarray
    pure: np.ndarray
    crossed: np.ndarray


def lives(kind: np.ndarray, first_row: np.ndarray, side: np.ndarray, price: np.ndarray,
          quantity: np.ndarray) -> Lives:  # fmt: skip
    """Find the lives of all rows.

    Parameters
    ----------
    kind : numpy.ndarray of int8, shape (m,)
        Of each message: UPDATE, SNAPSHOT or QUOTE.
    first_row : numpy.ndarray of int64, shape (m + 1,)
        Where the rows of each message start; the last element is n.
    side, price, quantity : numpy.ndarray, shape (n,)
        Rows in order; |price| < 2**62.
    """
    num_messages, num_rows = len(kind), len(side)
    message = np.repeat(np.arange(num_messages), np.diff(first_row))
    order = np.lexsort((price, side))  # stable: rows of a level stay in order
    same = np.zeros(num_rows, np.bool_)
    same[:-1] = (side[order[1:]] == side[order[:-1]]) & (price[order[1:]] == price[order[:-1]])
    next_own = np.full(num_rows, num_rows)
    next_own[order[:-1][same[:-1]]] = order[1:][same[:-1]]
    snapshots = np.append(np.flatnonzero(kind == SNAPSHOT), num_messages)
    next_snapshot = snapshots[np.searchsorted(snapshots, message, "right")]
    own = np.append(message, num_messages)[next_own]
    end = np.minimum(own, next_snapshot)
    alive = (quantity > 0) & (end > message)
    last = own > message  # not overwritten within its own message
    crossed = np.zeros(num_rows, np.bool_)

    quoted = kind[message] == QUOTE
    which = alive if quoted.any() else alive & _near_crossings(message, end, alive, side, price, num_messages)
    if which.any():
        stop = np.minimum(next_own, first_row[end])
        for s in (1, -1):
            mine = np.flatnonzero(which & (side == s))
            key = price if s > 0 else ~price  # a bid is killed by prices at or below it, an ask mirrored
            limit = np.full(num_rows, NEVER)
            other = (side == -s) & (quantity > 0) & last
            limit[other] = key[other]
            same_side = (side == s) & quoted
            limit[same_side] = np.where(quantity[same_side] > 0, key[same_side] + 1, -NEVER)
            killer = _first_at_most(limit, mine + 1, key[mine], stop[mine])
            killed = killer < stop[mine]
            rows, by = mine[killed], killer[killed]
            crossed[rows] = ~quoted[by] & (own[rows] != message[by])
            end[rows] = message[by]
        alive &= end > message
    rows = order[alive[order]]
    result_side, result_price = side[rows], price[rows]
    pure = np.ones(len(rows), np.bool_)
    pure[:-1] = (
        (result_side[1:] != result_side[:-1])
        | (result_price[1:] != result_price[:-1])
        | (message[rows[1:]] != end[rows[:-1]])
    )
    pure &= end[rows] < num_messages
    return Lives(
        rows, message[rows], end[rows], result_side, result_price, quantity[rows], pure,
        crossed[rows] & pure,
    )  # fmt: skip


def best(begin: np.ndarray, end: np.ndarray, key: np.ndarray, num_messages: int) -> np.ndarray:
    """Index of the life with the largest key at every message, -1 where there is none.

    An interval is covered by two blocks of the largest power of two that fits it; blocks of one size are
    then handed down to halves, size by size: O(n + m log m).
    """
    if not len(begin):
        return np.full(num_messages, -1)
    order = np.argsort(key, kind="stable")
    begin, end = begin[order], end[order]
    size = np.frexp((end - begin).astype(np.float64))[1] - 1
    by_size = np.argsort(size, kind="stable")  # of one size, still by key
    bounds = np.searchsorted(size[by_size], np.arange(size.max() + 2))
    top = np.full(num_messages, -1)
    for j in range(int(size.max()), -1, -1):
        mine = by_size[bounds[j] : bounds[j + 1]]
        for at in (begin[mine], end[mine] - (1 << j)):
            here = np.full(num_messages, -1)
            here[at] = mine  # of several writes to one place the last, the largest key, stays
            np.maximum(top, here, out=top)
        if j:
            half = 1 << (j - 1)
            down = top.copy()
            np.maximum(down[half:], top[:-half], out=down[half:])
            top = down
    return np.where(top >= 0, order[top], -1)


def _near_crossings(message: np.ndarray, end: np.ndarray, alive: np.ndarray, side: np.ndarray,
                    price: np.ndarray, num_messages: int) -> np.ndarray:  # fmt: skip
    """Mask of the rows that live through a message after which best bid >= best ask."""
    tops = []
    for s in (1, -1):
        mine = np.flatnonzero(alive & (side == s))
        key = price[mine] if s > 0 else ~price[mine]
        top = best(message[mine], end[mine], key, num_messages)
        tops.append(np.where(top >= 0, price[mine][top] if len(mine) else 0, -s * NEVER))
    crossed = np.concatenate([[0], np.cumsum(tops[0] >= tops[1])])
    return crossed[end] > crossed[message]


def _first_at_most(values: np.ndarray, start: np.ndarray, limit: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """First position j in [start, stop) with values[j] <= limit, else a position >= stop; per query.

    A tree of minima is climbed to the right from each start, then descended; all queries move together, and
    those that have passed their stop leave.
    """
    size = 1 << max(len(values).bit_length(), 1)
    tree = np.full(2 * size, NEVER)
    tree[size : size + len(values)] = values
    level = size
    while level > 1:
        half = level // 2
        tree[half:level] = np.minimum(tree[level : 2 * level : 2], tree[level + 1 : 2 * level : 2])
        level = half
    tree[2 * size - 1] = -NEVER  # beyond every stop: each climb ends
    for k in _ancestors(2 * size - 1):
        tree[k] = -NEVER
    result = stop.copy()
    active = np.flatnonzero(start < stop)
    node = start[active] + size
    height = np.zeros(len(active), np.int64)
    limit, stop = limit[active], stop[active]
    rising = np.ones(len(active), np.bool_)
    while len(active):
        hit = tree[node] <= limit
        # Found: go down, to the left child first. Not found while rising: on to the next node, and up.
        # Not found while falling: the right sibling.
        done = hit & (height == 0)
        result[active[done]] = node[done] - size
        down = hit & (height > 0)
        node[down] *= 2
        height[down] -= 1
        rising &= ~hit
        on = ~hit
        node[on] += 1
        up = on & rising & (node % 2 == 0)
        node[up] //= 2
        height[up] += 1
        keep = ~done & (((node << height) - size) < stop)
        active, node, height = active[keep], node[keep], height[keep]
        limit, stop, rising = limit[keep], stop[keep], rising[keep]
    return result


def _ancestors(node: int) -> list[int]:
    result = []
    while node > 1:
        node //= 2
        result.append(node)
    return result
