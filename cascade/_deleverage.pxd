"""Auto-deleveraging: the other side's positions by rank, kept as a heap while marks are frozen, and closed by contracts.

A rank is computed when the heap is built and again for every account that changed since (run_t.touched), so that a turn costs what
changed and not what is held.
"""

from libc.stdint cimport int32_t, int64_t

from cascade._margin cimport magnitude, mark_value, row_maintenance, standing_of, standing_t
from cascade._run cimport (
    NEVER_DELEVERAGED,
    RANK_BINANCE,
    RANK_BITMEX,
    RANK_BYBIT,
    RANK_HYPERLIQUID,
    account_t,
    ranked_t,
    ranking_t,
    row_t,
    run_room,
    run_t,
    terms_t,
)
from cascade._wide cimport fraction_cmp, fraction_of, fraction_t, wide_mul, wide_of


cdef inline fraction_t rank_of(const run_t* r, const row_t* row) noexcept nogil:
    """Deleveraging rank of a position, the highest first: integers at the frozen marks and current balances."""
    cdef const terms_t* t = &r.terms[row.instrument]
    cdef int64_t mark = r.instruments[row.instrument].mark
    cdef int64_t value = mark_value(t, row.lots, mark), profit = value - row.basis, wallet
    cdef int64_t size = magnitude(value), basis = magnitude(row.basis), equity
    cdef standing_t s = standing_of(r, row.account)
    equity = s.equity if s.equity > 1 else 1
    size = size if size > 1 else 1
    basis = basis if basis > 1 else 1
    if r.rules.adl_rank == RANK_BITMEX:
        if profit > 0:
            return fraction_of(wide_mul(profit, size), wide_mul(basis, equity))
        return fraction_of(wide_mul(profit, equity), wide_mul(basis, size))
    if r.rules.adl_rank == RANK_BYBIT:
        return fraction_of(wide_mul(profit, size), wide_mul(basis, equity))
    if r.rules.adl_rank == RANK_HYPERLIQUID:
        if t.contract == 0:
            return fraction_of(wide_mul(size, size), wide_mul(basis, equity))
        return fraction_of(wide_of(basis), wide_of(equity))
    if r.rules.adl_rank == RANK_BINANCE:
        wallet = r.accounts[row.account].balance
        if wallet + profit <= 0 or profit <= 0:
            return fraction_of(wide_of(0), wide_of(1))
        return fraction_of(
            wide_mul(profit, row_maintenance(r, row, mark)),
            wide_mul(wallet if wallet > 1 else 1, wallet + profit),
        )
    return fraction_of(wide_of(0), wide_of(1))


cdef inline bint ranks_before(const run_t* r, const ranked_t* a, const ranked_t* b) noexcept nogil:
    """Higher rank first, ties by account index, then slot."""
    cdef int c = fraction_cmp(&a.rank, &b.rank)
    if c != 0:
        return c > 0
    if a.account != b.account:
        return a.account < b.account
    return r.rows[a.row].slot < r.rows[b.row].slot


cdef inline void ranking_sift(const run_t* r, ranking_t* g, int32_t k) noexcept nogil:
    """Let item k sink to its place."""
    cdef ranked_t item = g.items[k]
    cdef int32_t child
    while True:
        child = 2 * k + 1
        if child >= g.n:
            break
        if child + 1 < g.n and ranks_before(r, &g.items[child + 1], &g.items[child]):
            child += 1
        if not ranks_before(r, &g.items[child], &item):
            break
        g.items[k] = g.items[child]
        k = child
    g.items[k] = item


cdef inline void ranking_push(run_t* r, ranking_t* g, const ranked_t* item) noexcept nogil:
    cdef int32_t k = g.n, parent
    if not run_room(r, <void**>&g.items, &g.cap, g.n + 1, sizeof(ranked_t)):
        return
    g.n += 1
    while k > 0:
        parent = (k - 1) // 2
        if not ranks_before(r, item, &g.items[parent]):
            break
        g.items[k] = g.items[parent]
        k = parent
    g.items[k] = item[0]


cdef inline bint ranking_admits(const run_t* r, int i, int side, const row_t* row) noexcept nogil:
    """Whether a row can be closed against: open on `side` of the instrument, and not exempt."""
    return (
        row.instrument == i
        and ((row.lots > 0) if side > 0 else (row.lots < 0))
        and not r.accounts[row.account].flags & NEVER_DELEVERAGED
    )


cdef inline ranked_t ranked_of(const run_t* r, int32_t k) noexcept nogil:
    cdef ranked_t item
    item.rank = rank_of(r, &r.rows[k])
    item.account = r.rows[k].account
    item.row = k
    item.version = r.accounts[item.account].version
    return item


cdef inline void ranking_build(run_t* r, ranking_t* g, int i, int side) noexcept nogil:
    """Rank every candidate at the marks in force. O(rows)."""
    cdef int32_t k
    g.n = 0
    for k in range(r.rows_n):
        if ranking_admits(r, i, side, &r.rows[k]):
            if not run_room(r, <void**>&g.items, &g.cap, g.n + 1, sizeof(ranked_t)):
                return
            g.items[g.n] = ranked_of(r, k)
            g.n += 1
    for k in range(g.n // 2 - 1, -1, -1):
        ranking_sift(r, g, k)
    g.epoch = r.mark_epoch
    g.heard = r.touched_n
    r.ranking_stands = True


cdef inline void ranking_hear(run_t* r, ranking_t* g, int i, int side) noexcept nogil:
    """Enter anew the accounts that changed; their old entries are known by their version."""
    cdef int32_t a, k
    cdef ranked_t item
    cdef const account_t* account
    while g.heard < r.touched_n:
        a = r.touched[g.heard]
        g.heard += 1
        account = &r.accounts[a]
        k = account.first_row
        while k < account.first_row + account.rows_n:
            if ranking_admits(r, i, side, &r.rows[k]):
                item = ranked_of(r, k)
                ranking_push(r, g, &item)
            k += 1
        k = account.extra_row
        while k >= 0:
            if ranking_admits(r, i, side, &r.rows[k]):
                item = ranked_of(r, k)
                ranking_push(r, g, &item)
            k = r.rows[k].next


cdef inline void ranking_drop_top(const run_t* r, ranking_t* g) noexcept nogil:
    g.n -= 1
    if g.n > 0:
        g.items[0] = g.items[g.n]
        ranking_sift(r, g, 0)


cdef inline ranking_t* ranking_ready(run_t* r, int i, int side) noexcept nogil:
    """The heap of those who hold `side` of the instrument, up to date."""
    cdef ranking_t* g = &r.rankings[2 * i + (1 if side > 0 else 0)]
    if g.epoch != r.mark_epoch:
        ranking_build(r, g, i, side)
    else:
        ranking_hear(r, g, i, side)
    return g


cdef inline void rankings_forget(run_t* r) noexcept nogil:
    """Marks change: every rank is void."""
    r.mark_epoch += 1
    r.touched_n = 0
    r.ranking_stands = False


cdef inline bint ranking_next(run_t* r, ranking_t* g, int32_t bankrupt, int32_t seen, ranked_t* out) noexcept nogil:
    """Take the highest ranked candidate that is up to date, not the bankrupt itself and not just taken; False if none is left.

    An account that changed several times may have equal entries: `seen` is the row taken last.
    """
    while g.n > 0:
        out[0] = g.items[0]
        ranking_drop_top(r, g)
        if out.version != r.accounts[out.account].version or out.row == seen:
            continue
        if out.account != bankrupt:
            return True
        # Its other slot may serve the next bankrupt: the account is entered again when the heap is next asked for.
        if run_room(r, <void**>&r.touched, &r.touched_cap, r.touched_n + 1, sizeof(int32_t)):
            r.touched[r.touched_n] = bankrupt
            r.touched_n += 1
    return False
