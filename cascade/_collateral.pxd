"""The sale of collateral: as few lots of another asset as cover what an account owes. The reference's twin is collateral.py."""

from libc.stdint cimport int32_t, int64_t, uint32_t

from cascade._book cimport book_behind, book_best_level, book_front_of, book_lots, book_next_level, book_owner, book_t
from cascade._breakers cimport begin_order, end_order, fence_allows
from cascade._closing cimport closing_t, count_liquidation, holding_begin, left_status
from cascade._ladder cimport BID
from cascade._margin cimport magnitude, trade_value
from cascade._run cimport (
    COLLATERAL_ORDER,
    EVENT_CANCEL,
    EVENT_ORDER,
    context_begin,
    emit,
    liquidation_t,
    row_t,
    run_t,
)
from cascade._trade cimport owner_of, walk, walk_bound, walked_t, widest_limit
from cascade._types cimport REASON_IOC, REASON_NONE
from cascade._wide cimport money_rate_up, wide_low, wide_sub, wide_t


cdef inline bint sold_before(const run_t* r, const row_t* x, const row_t* y) noexcept nogil:
    """Whether an asset is sold before another one: smallest haircut first, then by instrument."""
    cdef int64_t a = r.instruments[x.instrument].weight, b = r.instruments[y.instrument].weight
    return a > b if a != b else x.instrument < y.instrument


cdef inline int32_t sale_next(const run_t* r, int32_t a, int32_t after) noexcept nogil:
    """The holding of an account (with HOLDS_COLLATERAL) to be sold after row `after` (-1: the first one); -1 if there is none."""
    cdef int32_t k, found = -1
    for k in range(r.holding_first[a], r.holding_first[a + 1]):
        if r.rows[k].lots == 0 or (after >= 0 and not sold_before(r, &r.rows[after], &r.rows[k])):
            continue
        if found < 0 or sold_before(r, &r.rows[k], &r.rows[found]):
            found = k
    return found


cdef inline int64_t proceeds(const run_t* r, int i, int64_t price, int64_t lots) noexcept nogil:
    """What selling lots at a price brings, the fee taken off."""
    cdef int64_t value = trade_value(&r.terms[i], lots, price)
    return value - money_rate_up(r.terms[i].taker_fee, value)


cdef inline int64_t lots_to_cover(run_t* r, int32_t a, const row_t* row, int64_t owed) noexcept nogil:
    """The fewest lots of a holding whose sale brings as much as is owed, fees taken off: into the book as it stands and is known, within the
    bands, the owner's own orders left out. All lots if no number does."""
    cdef int i = row.instrument
    cdef const book_t* book = &r.books[i]
    cdef int64_t bound = walk_bound(r, i, -1, widest_limit(-1)), lots = 0, held = row.lots, price, k, lo, mid
    cdef int32_t owner = owner_of(r, a)
    cdef uint32_t level = book_best_level(book, BID), h
    begin_order(r, i)
    while level != 0:
        price = book.ladder.levels[level].price_ticks
        if price < bound or not fence_allows(r, i, price):
            break
        h = book_front_of(book, level)
        while h != 0:
            if book_owner(book, h) != owner:
                k = book_lots(book, h)
                if k > held - lots:
                    k = held - lots
                if proceeds(r, i, price, k) >= owed:
                    lo = 0
                    while k - lo > 1:
                        mid = lo + (k - lo) // 2
                        if proceeds(r, i, price, mid) >= owed:
                            k = mid
                        else:
                            lo = mid
                    return lots + k
                owed -= proceeds(r, i, price, k)
                lots += k
                if lots == held:
                    return held
            h = book_behind(book, h)
        level = book_next_level(book, level)
    return held


cdef inline void sell(run_t* r, int32_t a, int32_t k, int64_t lots, liquidation_t* l) noexcept nogil:
    """One market order for lots of a holding, in the record begun for it; what it brings goes to the balance."""
    cdef closing_t c = holding_begin(r, a, k, lots, l)
    cdef wide_t fees = r.taker_fees
    cdef int64_t order = emit(r, EVENT_ORDER, c.instrument, a, -1, -lots, 0, 0, l.seq, COLLATERAL_ORDER)
    cdef walked_t w
    context_begin(r, order, r.wave, r.records_n - 1)
    w = walk(r, c.instrument, c.party, -lots, widest_limit(-1), order, l.seq, COLLATERAL_ORDER)
    c.left = w.left
    c.stop = w.stop
    if c.left > 0:
        emit(r, EVENT_CANCEL, c.instrument, a, -1, -c.left, 0, 0, order, c.stop if c.stop != REASON_NONE else REASON_IOC)
    end_order(r, c.instrument, -1, c.left, c.stop, order)
    l.filled = lots - c.left
    l.filled_value = <int64_t>wide_low(w.value)
    l.closed_value = magnitude(l.filled_value)
    l.left = c.left
    l.fee = wide_low(wide_sub(r.taker_fees, fees))
    l.status = left_status(&c)
    count_liquidation(r, l)
