"""The index by trigger price: who of a market can be found by it, and in what order the mark reaches them.

Each function goes once through columns of `_state.State`, whose rows are sorted by account.
"""

from libc.math cimport INFINITY, NAN, fabs, isnan
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from cascade._blocks cimport blocks_sum
from cascade._cuts cimport cuts_mark, plain_t
from cascade._run cimport BLOCK, MODE_ISOLATED, NEVER_LIQUIDATED, block_t, prefetch, single_t

import numpy as np

cdef enum:
    MARK_ONE = 1024
    MONEY_SLACK = 4         # quanta by which a trigger errs on the safe side: what rounding of value and maintenance can move

cdef double ONE_RATE = 1e12
cdef double PRICE_SLACK = 1e-9  # relative slack of a trigger in float64
cdef double MOST_TRIGGER = 2.0**62
cdef uint64_t LOWER = 0xFFFFFFFF

# What an account is, in bits.
cdef enum:
    ONE = 1                 # it has one row
    MORE = 2                # it has several
    OPEN = 4                # its one row holds lots
    OWNS = 8                # isolated accounts are its
    HOLDS = 16              # it holds collateral


def kinds_of(
    const int32_t[::1] row_account not None, const int64_t[::1] row_lots not None, const int32_t[::1] parent not None,
    const int32_t[::1] holders not None
):
    """What every account is: uint8 by account, bits of this module. `holders` are the accounts with collateral."""
    cdef int64_t k, n = parent.shape[0], rows = row_account.shape[0]
    cdef int32_t a
    kinds = np.zeros(n, np.uint8)
    cdef uint8_t[::1] kind = kinds
    with nogil:
        for k in range(rows):
            a = row_account[k]
            if kind[a] & (ONE | MORE):
                kind[a] = MORE
            else:
                kind[a] = ONE | OPEN if row_lots[k] != 0 else ONE
        for k in range(n):
            if parent[k] >= 0:
                kind[parent[k]] |= OWNS
        for k in range(holders.shape[0]):
            kind[holders[k]] |= HOLDS
    return kinds


cdef inline bint by_trigger(uint8_t kind, bint barred) noexcept nogil:
    return kind & (ONE | OPEN | HOLDS) == ONE | OPEN and not barred


def rows_by_instrument(
    const uint8_t[::1] kind not None, const int32_t[::1] row_account not None, const uint16_t[::1] row_instrument not None,
    const uint8_t[::1] barred, int64_t instruments_n
):
    """The rows of accounts that one trigger price finds, in order of instruments and then as they are.

    Parameters
    ----------
    kind : see `kinds_of`
    barred : uint8 by row, not 0 for positions whose trigger price cannot be solved; None where there is none

    Returns
    -------
    (int32 numbers of rows; int64 of shape (instruments_n + 1,), where each instrument's begin)
    """
    cdef int64_t k, n = row_account.shape[0]
    starts = np.zeros(instruments_n + 1, np.int64)
    cdef int64_t[::1] start = starts
    cdef int32_t[::1] to
    with nogil:
        for k in range(n):
            if by_trigger(kind[row_account[k]], barred is not None and barred[k]):
                start[row_instrument[k] + 1] += 1
    starts = np.cumsum(starts)
    rows = np.empty(int(starts[instruments_n]), np.int32)
    to = rows
    start = starts.copy()
    with nogil:
        for k in range(n):
            if by_trigger(kind[row_account[k]], barred is not None and barred[k]):
                to[start[row_instrument[k]]] = <int32_t>k
                start[row_instrument[k]] += 1
    return rows, starts


def scanned_of(
    const uint8_t[::1] kind not None, const int32_t[::1] row_account not None, const uint8_t[::1] barred, const uint8_t[:] flags not None
):
    """Accounts with positions that no trigger price finds, int32, without those who hold collateral or are never liquidated."""
    cdef int64_t k, n = row_account.shape[0], found = 0
    cdef int32_t a
    cdef int64_t most = 0
    with nogil:
        for k in range(kind.shape[0]):
            most += kind[k] >> 1 & 1    # MORE
    if barred is not None:
        most = n
    scanned = np.empty(most, np.int32)
    cdef int32_t[::1] to = scanned
    with nogil:
        for k in range(n if most else 0):
            a = row_account[k]
            if k > 0 and row_account[k - 1] == a or kind[a] & HOLDS or flags[a] & NEVER_LIQUIDATED:
                continue
            if kind[a] & MORE or (kind[a] & OPEN and barred is not None and barred[k]):
                to[found] = a
                found += 1
    return scanned[:found].copy()


def debtors_of(const uint8_t[::1] kind not None, const uint8_t[::1] mode not None, const int64_t[::1] balance not None):
    """Users' accounts, int32, that owe money and have no position, and those who hold collateral."""
    cdef int64_t k, n = kind.shape[0], most = 0, found = 0
    with nogil:
        for k in range(n):
            most += (balance[k] < 0) | (kind[k] & HOLDS)
    debtors = np.empty(min(most, n), np.int32)
    cdef int32_t[::1] to = debtors
    if most:
        for k in range(n):
            if kind[k] & HOLDS or (balance[k] < 0 and mode[k] != 0 and not kind[k] & (MORE | OPEN)):
                to[found] = <int32_t>k
                found += 1
    return debtors[:found].copy()


cdef double notional_at_zero(
    bint rising, int64_t rest, int64_t extra, const int64_t[::1] floors, const int64_t[::1] rates, const int64_t[::1] amounts
) noexcept nogil:
    """margin.notional_at_zero_excess of one position; `extra` is what its size adds to the rate."""
    cdef double answer = NAN, top, x, floor, roof, below, above, value
    cdef int64_t t, n = floors.shape[0]
    cdef int64_t one = <int64_t>ONE_RATE
    for t in range(n):
        top = <double>(rest + amounts[t]) * ONE_RATE
        x = -top / <double>(one - rates[t] - extra) if rising else top / <double>(one + rates[t] + extra)
        floor = <double>floors[t]
        roof = <double>floors[t + 1] * (1 + 1e-12) if t + 1 < n else INFINITY
        if x > 0 and x >= floor - 1e-12 * (1 + floor) and x <= roof and (isnan(answer) or (x > answer if rising else x < answer)):
            answer = x
    for t in range(1, n):
        if not isnan(answer):
            break
        floor = <double>floors[t]
        below = <double>(rates[t - 1] + extra) / ONE_RATE * floor - <double>amounts[t - 1]
        above = <double>(rates[t] + extra) / ONE_RATE * floor - <double>amounts[t]
        value = <double>rest + (floor if rising else -floor)
        if above - below > 2 and (value - below >= 0) != (value - above >= 0):
            answer = floor
    return answer


def trigger_prices(
    const int32_t[::1] row not None, const int32_t[::1] row_account not None, const int64_t[::1] row_lots not None,
    const int64_t[::1] row_basis not None, const int64_t[::1] balance not None, const int64_t[::1] fixed, const int64_t[::1] extra,
    bint linear, double coef_num, double coef_den, const int64_t[::1] floors not None, const int64_t[::1] rates not None,
    const int64_t[::1] amounts not None
):
    """Of positions that are alone in their accounts: marks in 1/1024 ticks at which these can become unhealthy, erring on the safe side.

    Parameters
    ----------
    row : int32, rows of one instrument
    row_account, row_lots, row_basis, balance : columns of the state
    fixed, extra : int64 by entry of `row`, what of maintenance does not move with the mark, and what size adds to the rates; None for 0
    linear, coef_num, coef_den, floors, rates, amounts : the instrument's terms

    Returns
    -------
    int64 of the shape of `row`; 0 and INT64_MAX where nothing is needed, or something always, at any price
    """
    cdef int64_t k, j, rest, n = row.shape[0]
    cdef double notional, size, mark, bound
    cdef bint rising, falling
    triggers = np.empty(n, np.int64)
    cdef int64_t[::1] trigger = triggers
    with nogil:
        for k in range(n):
            j = row[k]
            rest = balance[row_account[j]] - row_basis[j] - (0 if fixed is None else fixed[k]) - MONEY_SLACK
            falling = row_lots[j] > 0
            # A position whose value rises with its notional is unhealthy below the crossing, the other kind above it.
            rising = falling == linear
            notional = notional_at_zero(rising, rest, 0 if extra is None else extra[k], floors, rates, amounts)
            size = fabs(<double>row_lots[j]) * coef_num / coef_den
            mark = notional / size if linear else size / notional
            mark = mark * MARK_ONE if mark > 0 and mark < INFINITY else NAN
            bound = mark * (1 + PRICE_SLACK) + 2 if falling else mark * (1 - PRICE_SLACK) - 2
            if bound < MOST_TRIGGER:
                trigger[k] = <int64_t>bound
            elif isnan(mark) and rising and rest >= 0:
                # Without a crossing only what can be proved is left out: a value that adds to a rest >= 0 covers its own maintenance at
                # every price. Everybody else is looked at in the first check.
                trigger[k] = 0 if falling else INT64_MAX
            else:
                trigger[k] = INT64_MAX if falling else 0
    return triggers


cdef enum:
    LEAST_DIGIT = 4
    MOST_DIGIT = 11         # bits: as many places are written to at a time as stay in the nearest cache
    AHEAD = 24              # how far ahead places are asked for
    HALF = 32               # an entry while it is sorted: this much of its key, over its number


cdef inline uint64_t key_of(int64_t trigger, bint falling, int64_t low, int64_t high) noexcept nogil:
    """Keys ascend in the order in which marks reach triggers; 0 for a long that every mark reaches, else trigger_of is the way back."""
    if trigger == INT64_MAX:
        return 0
    return 1 + <uint64_t>(high - trigger if falling else trigger - low)


cdef inline int64_t trigger_of(uint64_t key, bint falling, int64_t low, int64_t high) noexcept nogil:
    if key == 0:
        return INT64_MAX
    return high + 1 - <int64_t>key if falling else low - 1 + <int64_t>key


cdef uint64_t* halves_sort(uint64_t* items, uint64_t* spare, int64_t n, uint64_t most, uint32_t* count) noexcept nogil:
    """Sort entries by the key in their upper half, equal keys as they come; `most` is the largest key, `count` has room for 2 << MOST_DIGIT.
    Where they are then: in one of the two."""
    cdef int bits = 0, digit = LEAST_DIGIT, passes, shift = HALF, following, _turn
    cdef int64_t k, size
    cdef uint64_t mask, item
    cdef uint32_t sum, before
    cdef uint32_t* place = count + (1 << MOST_DIGIT)
    while most >> bits:
        bits += 1
    while digit < MOST_DIGIT and (<int64_t>1 << digit) < n:
        digit += 1
    passes = (bits + digit - 1) // digit
    if passes == 0:
        return items
    digit = (bits + passes - 1) // passes
    size = <int64_t>1 << digit
    mask = <uint64_t>size - 1
    memset(place, 0, size * sizeof(uint32_t))
    for k in range(n):
        place[items[k] >> shift & mask] += 1
    for _turn in range(passes):     # the least digits first; while these are written, the next ones are counted
        sum = 0
        for k in range(size):
            before = sum
            sum += place[k]
            place[k] = before
        memset(count, 0, size * sizeof(uint32_t))
        following = min(shift + digit, 63)
        for k in range(n):
            item = items[k]
            spare[place[item >> shift & mask]] = item
            place[item >> shift & mask] += 1
            count[item >> following & mask] += 1
        items, spare = spare, items
        place, count = count, place
        shift = following
    return items


def side_of(
    const int32_t[::1] row not None, const int64_t[::1] trigger not None, bint falling, const uint8_t[::1] kind not None,
    const int32_t[::1] row_account not None, const uint8_t[::1] row_slot not None, const int64_t[::1] row_lots not None,
    const int64_t[::1] row_basis not None, const uint8_t[::1] mode not None, const int32_t[::1] parent not None,
    const uint8_t[:] flags not None, const int64_t[::1] balance not None
):
    """One side of an instrument's index: the longs, highest trigger first (which `falling` marks reach), or the shorts, lowest first.

    Parameters
    ----------
    row, trigger : rows of one instrument, int32 ascending, and their triggers: 0 and INT64_MAX are those that no falling and no rising
        mark reaches; who waits for a mark that never comes is left out, who is reached by every mark stands first
    kind : see `kinds_of`
    others : columns of the state

    Returns
    -------
    (triggers, int64; accounts, int32, equal triggers in order of rows; what they hold as single_t, int64 of shape (n, 4), zeros for those
    whom more than their one position concerns)
    """
    cdef int64_t k, n = 0, low = INT64_MAX, high = INT64_MIN, never = 0 if falling else INT64_MAX
    cdef int64_t count_n = row.shape[0]
    cdef uint64_t most, key
    cdef int32_t a, p
    cdef bint alone
    cdef uint64_t* items
    cdef uint64_t* spare
    cdef uint64_t* sorted_items
    cdef single_t* single
    cdef single_t* s
    with nogil:
        for k in range(count_n):
            if (row_lots[row[k]] > 0) == falling and trigger[k] != never:
                n += 1
                if trigger[k] != INT64_MAX:
                    low = min(low, trigger[k])
                    high = max(high, trigger[k])
    triggers, accounts, singles = np.empty(n, np.int64), np.empty(n, np.int32), np.empty((n, 4), np.int64)
    if n == 0:
        return triggers, accounts, singles
    ranks, counters = np.empty(count_n, np.int32), np.empty(2 << MOST_DIGIT, np.uint32)
    cdef int64_t[::1] to_trigger = triggers
    cdef int32_t[::1] to_account = accounts, rank = ranks
    cdef int64_t[:, ::1] to_single = singles
    cdef uint32_t[::1] count = counters
    single = <single_t*>&to_single[0, 0]
    # They are sorted where the singles will be.
    items = <uint64_t*>single
    spare = items + n
    most = 1 + <uint64_t>(high - low) if high >= low else 0
    with nogil:
        n = 0
        for k in range(count_n):
            rank[k] = -1
            if (row_lots[row[k]] > 0) == falling and trigger[k] != never:
                items[n] = key_of(trigger[k], falling, low, high) << HALF | <uint64_t>k
                n += 1
        sorted_items = halves_sort(items, spare, n, min(most, LOWER), &count[0])
        if most > LOWER:
            for k in range(n):
                key = key_of(trigger[sorted_items[k] & LOWER], falling, low, high)
                sorted_items[k] = key & ~LOWER | (sorted_items[k] & LOWER)
            sorted_items = halves_sort(sorted_items, spare if sorted_items == items else items, n, most >> HALF, &count[0])
        for k in range(n):
            rank[sorted_items[k] & LOWER] = <int32_t>k
            if most > LOWER:
                to_trigger[k] = trigger[sorted_items[k] & LOWER]
            else:
                to_trigger[k] = trigger_of(sorted_items[k] >> HALF, falling, low, high)
        for k in range(count_n):
            if k + AHEAD < count_n and rank[k + AHEAD] >= 0:
                prefetch(&single[rank[k + AHEAD]])
                prefetch(&single[rank[k + AHEAD]].slot)
                prefetch(&to_account[rank[k + AHEAD]])
            if rank[k] < 0:
                continue
            a = row_account[row[k]]
            p = parent[a]
            to_account[rank[k]] = a
            s = &single[rank[k]]
            # Owners hold nothing themselves, and nobody's money comes to an account that holds something.
            if p < 0:
                alone = not kind[a] & OWNS
            else:
                alone = not kind[p] & (ONE | MORE | HOLDS) and balance[p] >= 0
            if not alone or flags[a] & NEVER_LIQUIDATED:
                memset(s, 0, sizeof(single_t))
                continue
            s.lots = row_lots[row[k]]
            s.basis = row_basis[row[k]]
            s.balance = balance[a]
            s.isolated = mode[a] == MODE_ISOLATED
            s.cuts = 0
            s.pad = 0
            s.slot = row_slot[row[k]]
    return triggers, accounts, singles


def mark_cuts(int64_t[:, ::1] singles not None, double coef, double rate, bint falling):
    """Mark the cuts (_cuts.pxd) of a list of singles under one rate of maintenance, in place; (the least lots of one, how many entries are
    none)."""
    cdef int64_t n = singles.shape[0]
    cdef double[::1] bound = np.empty(2 * n, np.float64)
    cdef plain_t p
    if n == 0:
        return 0, 0
    with nogil:
        p = cuts_mark(<single_t*>&singles[0, 0], n, coef, rate, falling, &bound[0])
    return p.least, p.others


def sum_blocks(const int64_t[:, ::1] singles not None):
    """Sums over the full blocks of a list of singles (_blocks.pxd): int64 of shape (len(singles) // BLOCK, 8)."""
    cdef int64_t n = singles.shape[0]
    sums = np.empty((n // BLOCK, 8), np.int64)
    cdef int64_t[:, ::1] to = sums
    if n >= BLOCK:
        with nogil:
            blocks_sum(<const single_t*>&singles[0, 0], n, <block_t*>&to[0, 0])
    return sums
