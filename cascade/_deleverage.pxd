"""Auto-deleveraging: the other side's positions by rank, kept as a heap while marks are frozen, and closed by contracts at one price.

A rank is computed when the heap is built and again for every account that changed since (run_t.touched), so that a turn costs what
changed and not what is held.
"""

from libc.stdint cimport int32_t, int64_t

from cascade._closing cimport closing_t, closing_worth
from cascade._funds cimport sweep
from cascade._ledger cimport flats_tell, party_t, trade
from cascade._margin cimport bankrupt_first, magnitude, mark_value, row_maintenance, standing_of, standing_t
from cascade._run cimport (
    ADL_AT_BANKRUPTCY,
    ADL_AT_INDEX,
    ADL_AT_PREVIOUS_MARK,
    COLLATERAL,
    EVENT_ADL,
    NEVER_DELEVERAGED,
    RANK_BINANCE,
    RANK_BITMEX,
    RANK_BYBIT,
    RANK_HYPERLIQUID,
    RANK_HYPERLIQUID_SIGNED,
    RANK_OKX,
    SCRATCH_ITEM,
    account_t,
    extra_of,
    instrument_t,
    ranked_t,
    ranking_t,
    row_after,
    row_t,
    run_room,
    run_t,
    terms_t,
)
from cascade._wide cimport (
    RATE_ONE,
    fraction_cmp,
    fraction_of,
    fraction_t,
    money_share_floor,
    wide_add,
    wide_cmp,
    wide_mul,
    wide_of,
    wide_sign,
)


cdef inline fraction_t rank_of(const run_t* r, const row_t* row) noexcept nogil:
    """Deleveraging rank of a position, the highest first: integers at the frozen marks and current balances."""
    cdef const terms_t* t = &r.terms[row.instrument]
    cdef int64_t mark = r.instruments[row.instrument].mark
    cdef int64_t value = mark_value(t, row.lots, mark), profit = value - row.basis, wallet
    cdef int64_t size = magnitude(value), basis = magnitude(row.basis), equity, needed
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
    if r.rules.adl_rank == RANK_OKX:
        needed = s.maintenance if s.maintenance > 1 else 1
        if profit > 0:
            return fraction_of(wide_mul(profit, needed), wide_mul(basis, equity))
        return fraction_of(wide_mul(profit, equity), wide_mul(basis, needed))
    if r.rules.adl_rank == RANK_HYPERLIQUID or r.rules.adl_rank == RANK_HYPERLIQUID_SIGNED:
        # Under the signed reading a short counts entry / mark.
        if (t.contract == 0) != (r.rules.adl_rank == RANK_HYPERLIQUID_SIGNED and row.lots < 0):
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
        and row.slot != COLLATERAL
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
        k = extra_of(r, a)
        while k >= 0:
            if ranking_admits(r, i, side, &r.rows[k]):
                item = ranked_of(r, k)
                ranking_push(r, g, &item)
            k = row_after(r, k)


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


cdef inline void ranking_enter_again(run_t* r, int32_t a) noexcept nogil:
    """An account that was passed over may serve the next bankrupt: it is entered again when the heap is next asked for."""
    if run_room(r, <void**>&r.touched, &r.touched_cap, r.touched_n + 1, sizeof(int32_t)):
        r.touched[r.touched_n] = a
        r.touched_n += 1


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
        ranking_enter_again(r, bankrupt)
    return False


# -- closing against them --------------------------------------------------------------------------------------------


cdef inline bint far_from_mark(const run_t* r, const closing_t* c) noexcept nogil:
    """Whether the bankruptcy price is further from the mark than `adl_price_band`, relative to the mark."""
    cdef const terms_t* t = &r.terms[c.instrument]
    cdef int64_t value = magnitude(c.value)
    cdef int64_t at_mark = magnitude(mark_value(t, c.side * c.lots, r.instruments[c.instrument].mark))
    if r.rules.adl_price_band < 0:
        return False
    return (
        wide_cmp(
            wide_mul(magnitude(value - at_mark), RATE_ONE), wide_mul(r.rules.adl_price_band, at_mark if t.contract == 0 else value)
        )
        > 0
    )


cdef inline int64_t adl_value(const run_t* r, const closing_t* c, int64_t k, bint alone) noexcept nogil:
    """Signed value of the next k lots in deleveraging; `alone`: as if they were the position's first."""
    cdef const instrument_t* ins = &r.instruments[c.instrument]
    cdef int64_t at = ins.mark
    if r.rules.adl_price == ADL_AT_BANKRUPTCY and c.has_price and not far_from_mark(r, c):
        return bankrupt_first(r, &c.bankrupt, k) if alone else closing_worth(r, c, k)
    if r.rules.adl_price == ADL_AT_INDEX and ins.index_1024 > 0:
        at = ins.index_1024
    elif r.rules.adl_price == ADL_AT_PREVIOUS_MARK:
        at = ins.previous_mark
    return mark_value(&r.terms[c.instrument], c.side * k, at)


cdef inline bint overlaps(const run_t* r, const closing_t* c, const row_t* row, int64_t k) noexcept nogil:
    """Whether a counterparty would keep equity >= 0 after giving up k lots."""
    cdef const terms_t* t = &r.terms[row.instrument]
    cdef int64_t mark = r.instruments[row.instrument].mark, after = row.lots - k if row.lots > 0 else row.lots + k
    cdef standing_t s = standing_of(r, row.account)
    cdef int64_t change = (mark_value(t, after, mark) if after != 0 else 0) - mark_value(t, row.lots, mark)
    return wide_sign(wide_add(wide_add(wide_of(s.equity), wide_of(change)), wide_of(adl_value(r, c, k, True)))) >= 0


cdef inline void deleverage(run_t* r, closing_t* c) noexcept nogil:
    """Close lots against the highest ranked accounts of the other side, by contracts."""
    cdef int i = c.instrument
    cdef ranking_t* g
    cdef ranked_t item
    cdef ranked_t* matched
    cdef int64_t need = c.left, total, value, served = 0, part, k
    cdef int32_t n = 0, j, seen = -1
    cdef party_t other
    flats_tell(r)
    g = ranking_ready(r, i, c.side)
    # All candidates are chosen, by rank as it stands, before the first of them is settled.
    while need > 0 and ranking_next(r, g, c.party.account, seen, &item):
        seen = item.row
        k = magnitude(r.rows[item.row].lots)
        if k > need:
            k = need
        if r.rules.adl_overlap and not overlaps(r, c, &r.rows[item.row], k):
            ranking_enter_again(r, item.account)
            continue
        if not run_room(r, &r.shares, &r.shares_cap, n + 1, SCRATCH_ITEM):
            return
        matched = <ranked_t*>r.shares
        matched[n] = item
        n += 1
        need -= k
    if n == 0:
        return
    total = c.left - need
    value = adl_value(r, c, total, False)
    for j in range(n):
        matched = <ranked_t*>r.shares
        other.account = matched[j].account
        other.row = matched[j].row
        k = magnitude(r.rows[other.row].lots)
        if k > total - served:
            k = total - served
        part = money_share_floor(value, served + k, total) - money_share_floor(value, served, total)
        served += k
        trade(r, EVENT_ADL, c.party, other, i, c.side * k, part, 0, c.record.seq, c.record.seq, 0)
        sweep(r, other.account, c.record.seq)
        r.totals.adl = wide_add(r.totals.adl, wide_of(magnitude(part)))
        c.record.closed_value += magnitude(part)
    c.record.adl += total
    c.done += total
    c.left -= total
