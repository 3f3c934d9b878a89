"""A large market order from outside in runs that keep no events: where it meets nobody's orders alone, its end is searched for.

Between the external account and itself nothing but the book, the last price, the marks and counters change, and what stands before a level
of a loaded book does not either: it is added up once, as far as orders have come. The first order of the book and those of the last level
are left to _trade.walk, and so is everything that is not plain. A market order has no limit, and a book of external orders is known to its
end: neither stops it before.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t

from cascade._book cimport book_behind, book_best, book_best_level, book_front, book_front_of, book_has, book_lots, book_next_level, book_t
from cascade._ladder cimport ASK, BID, ladder_t
from cascade._ledger cimport audit_instrument, party_t
from cascade._margin cimport trade_value
from cascade._run cimport (
    EXTERNAL,
    MARK_INDEX,
    MARK_LAST,
    MARK_MID,
    MARK_TREE,
    RECORD_ALL,
    ahead_t,
    book_traded,
    depth_t,
    instrument_t,
    run_room,
    run_t,
    terms_t,
)
from cascade._trade cimport audit_book, shadow_move, shadow_update, walk, walked_t, widest_limit
from cascade._uneat cimport book_cut
from cascade._wide cimport wide_add, wide_of, wide_sub, wide_t


cdef enum:
    FEW_LEVELS = 12         # an order that ends within so many is walked


cdef inline bint leap_serves(const run_t* r, int i, int side, int64_t lots) noexcept nogil:
    """Whether an order of the external account goes far in a book that trades alone have changed."""
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const book_t* book = &r.books[i]
    cdef int far = BID if side < 0 else ASK
    cdef const depth_t* d = &r.depths[2 * i + far]
    cdef uint32_t level
    cdef int n = 0
    if r.record == RECORD_ALL or r.rules.breakers or not ins.book_external or ins.book_dirty:
        return False
    if not ins.book_eaten and d.n > FEW_LEVELS:     # an earlier run has summed them
        return d.levels[FEW_LEVELS].lots < lots
    level = book_best_level(book, far)
    while n < FEW_LEVELS:
        if level == 0 or book.ladder.levels[level].quantity_lots >= lots:
            return False
        lots -= book.ladder.levels[level].quantity_lots
        level = book_next_level(book, level)
        n += 1
    return True


cdef inline wide_t orders_value(const book_t* book, const terms_t* t, uint32_t level, int32_t* orders) noexcept nogil:
    """What a level's orders are worth, bought one by one; `orders` counts them."""
    cdef int64_t price = book.ladder.levels[level].price_ticks
    cdef uint32_t h = book_front_of(book, level)
    cdef wide_t value = wide_of(0)
    while h != 0:
        value = wide_add(value, wide_of(trade_value(t, book_lots(book, h), price)))
        orders[0] += 1
        h = book_behind(book, h)
    return value


cdef inline bint depth_more(run_t* r, int i, int side) noexcept nogil:
    """Go one level further; False at the end of the side, and where memory is short."""
    cdef depth_t* d = &r.depths[2 * i + side]
    cdef const book_t* loaded = &r.books_loaded[i]
    cdef const ahead_t* last
    cdef ahead_t* made
    if d.n > 0 and d.levels[d.n - 1].level == 0:
        return False
    if not run_room(r, <void**>&d.levels, &d.cap, d.n + 1, sizeof(ahead_t)):
        return False
    made = &d.levels[d.n]
    if d.n == 0:
        made.lots = made.orders = 0
        made.value = wide_of(0)
        made.level = book_best_level(loaded, side)
    else:
        last = made - 1
        made.lots = last.lots + loaded.ladder.levels[last.level].quantity_lots
        made.orders = last.orders
        made.value = wide_add(last.value, orders_value(loaded, &r.terms[i], last.level, &made.orders))
        made.level = book_next_level(loaded, last.level)
    made.price_ticks = loaded.ladder.levels[made.level].price_ticks
    d.n += 1
    return True


cdef inline bint reached(const ahead_t* a, int side, int64_t price) noexcept nogil:
    """Whether a level is at a price, or behind it, or the end."""
    return a.level == 0 or (a.price_ticks <= price if side == BID else a.price_ticks >= price)


cdef inline int32_t depth_find(run_t* r, int i, int side) noexcept nogil:
    """The place of the best level that is left, with the place behind it made as well; -1 where it is unknown."""
    cdef depth_t* d = &r.depths[2 * i + side]
    cdef uint32_t level = book_best_level(&r.books[i], side)
    cdef int64_t price = book_best(&r.books[i], side)
    cdef int32_t lo = 0, hi, mid
    while (d.n == 0 or not reached(&d.levels[d.n - 1], side, price)) and depth_more(r, i, side):
        pass
    hi = d.n - 1
    while lo < hi:
        mid = lo + (hi - lo) // 2
        if reached(&d.levels[mid], side, price):
            hi = mid
        else:
            lo = mid + 1
    if r.error != 0 or d.levels[lo].level != level or (lo == d.n - 1 and not depth_more(r, i, side)):
        return -1
    return lo


cdef inline int32_t depth_search(run_t* r, int i, int side, int32_t first, int64_t lots) noexcept nogil:
    """The place behind the last level that an order empties which begins with all of level `first` and has `lots` for those behind it."""
    cdef depth_t* d = &r.depths[2 * i + side]
    cdef int32_t lo = first + 1, hi, mid
    lots += d.levels[lo].lots
    while d.levels[d.n - 1].lots <= lots and depth_more(r, i, side):
        pass
    hi = d.n - 1
    while lo < hi:
        mid = hi - (hi - lo) // 2
        if d.levels[mid].lots <= lots:
            lo = mid
        else:
            hi = mid - 1
    return lo


# A leap, while it is made: from the best level, which may be a part of what was loaded, up to that at place `end`.
ctypedef struct leap_t:
    const ahead_t* levels
    int32_t first, end
    int32_t orders          # of the best level
    int64_t last_ticks      # before it
    int64_t facing          # best price of the other side, 0 for none


cdef inline int32_t orders_at(const leap_t* l, int32_t k) noexcept nogil:
    """The orders of a level that are met."""
    return l.orders if k == l.first else l.levels[k + 1].orders - l.levels[k].orders


cdef inline int64_t mark_at(const run_t* r, const leap_t* l, int32_t k) noexcept nogil:
    """The mark that the trades of a level set, 0 if they move none: by its first trade, or under MARK_MID by its last one."""
    cdef const ahead_t* a = &l.levels[k]
    cdef bint ends = (a + 1).level == 0
    if r.rules.mark == MARK_INDEX or (r.rules.mark != MARK_LAST and l.facing == 0):
        return 0
    if r.rules.mark == MARK_MID:
        return 0 if ends else ((a + 1).price_ticks + l.facing) * 512
    if a.price_ticks == l.last_ticks or (r.rules.mark != MARK_LAST and ends and orders_at(l, k) == 1):
        return 0
    return a.price_ticks * 1024


cdef inline void leap_by_level(run_t* r, int i, int side, const leap_t* l) noexcept nogil:
    """Every trade counted and every mark looked at: after the first and the last order of a level, as no other one moves a mark."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef ladder_t* ladder = &r.books[i].ladder
    cdef int32_t k, n
    for k in range(l.first, l.end):
        n = orders_at(l, k)
        ins.last_ticks = l.levels[k].price_ticks
        if n > 1:
            ladder.best[side] = l.levels[k].level
            ladder.best_ticks[side] = l.levels[k].price_ticks
            r.seq += 1
            shadow_update(r, i, r.seq)
            r.seq += n - 2
        ladder.best[side] = l.levels[k + 1].level
        ladder.best_ticks[side] = l.levels[k + 1].price_ticks
        r.seq += 1
        shadow_update(r, i, r.seq)


cdef inline void leap_counted(run_t* r, int i, const leap_t* l, int64_t orders) noexcept nogil:
    """The same at once where the mark is no tree: marks go one way, and of all levels the first and the last one alone may set none."""
    cdef int64_t from_mark = mark_at(r, l, l.first), to_mark = mark_at(r, l, l.end - 1)
    cdef int32_t n = l.end - l.first
    cdef int64_t silent = 0
    r.seq += orders
    if n > 1 and from_mark == 0:
        from_mark = mark_at(r, l, l.first + 1)
        silent = 1
    if n > 1 and to_mark == 0:
        to_mark = mark_at(r, l, l.end - 2)
        silent += 1
    n -= <int32_t>silent
    if from_mark == 0 or to_mark == 0 or n <= 0:
        return
    shadow_move(r, i, from_mark, r.seq)
    if n > 1:
        shadow_move(r, i, to_mark, r.seq)
        r.seq += n - 2
        r.changes += n - 2


cdef inline int64_t leap(run_t* r, int i, int side, int64_t lots, wide_t* value) noexcept nogil:
    """Empty as many levels as an order of the external account empties, after a trade of that order: the lots; `value` takes their value.

    0, with nothing changed, where it empties none, or where this unit cannot tell.
    """
    cdef instrument_t* ins = &r.instruments[i]
    cdef book_t* book = &r.books[i]
    cdef int far = BID if side < 0 else ASK
    cdef uint32_t level = book_best_level(book, far)
    cdef int64_t front, orders
    cdef wide_t worth
    cdef leap_t l
    if level == 0 or book.ladder.levels[level].quantity_lots > lots:
        return 0
    audit_book(r, i)        # and taking from one side leaves it so
    l.first = depth_find(r, i, far)
    if l.first < 0 or r.error != 0:
        return 0
    front = book.ladder.levels[level].quantity_lots
    l.end = depth_search(r, i, far, l.first, lots - front)
    l.levels = r.depths[2 * i + far].levels
    l.orders = 0
    worth = orders_value(book, &r.terms[i], level, &l.orders)
    worth = wide_add(worth, wide_sub(l.levels[l.end].value, l.levels[l.first + 1].value))
    orders = l.orders + l.levels[l.end].orders - l.levels[l.first + 1].orders
    lots = front + l.levels[l.end].lots - l.levels[l.first + 1].lots
    l.last_ticks = ins.last_ticks
    l.facing = book_best(book, 1 - far) if book_has(book, 1 - far) else 0
    if r.error != 0 or not book_cut(book, far, l.levels[l.end].level, l.end - l.first, <int32_t>orders):
        return 0
    if r.remember_marks or r.rules.mark == MARK_TREE:
        leap_by_level(r, i, far, &l)
    else:
        leap_counted(r, i, &l, orders)
    r.changes += orders
    ins.last_ticks = l.levels[l.end - 1].price_ticks
    book_traded(ins)
    audit_instrument(r, i)
    r.leaps += 1
    value[0] = wide_add(value[0], worth) if side > 0 else wide_sub(value[0], worth)
    return lots


cdef inline walked_t walk_from_outside(run_t* r, int i, int64_t lots, int64_t order) noexcept nogil:
    """_trade.walk for a market order of the external account."""
    cdef int side = 1 if lots > 0 else -1
    cdef party_t external
    cdef walked_t w
    cdef int64_t limit = widest_limit(side), left = lots if lots > 0 else -lots, first
    cdef wide_t value = wide_of(0)
    external.account = EXTERNAL
    external.row = -1
    if leap_serves(r, i, side, left):
        first = book_lots(&r.books[i], book_front(&r.books[i], BID if side < 0 else ASK))
        w = walk(r, i, external, side * first, limit, order, -1, 0)
        left -= first - w.left
        value = w.value
        if w.left == 0 and r.error == 0:
            left -= leap(r, i, side, left, &value)
        if left == 0:
            w.value = value
            return w
    w = walk(r, i, external, side * left, limit, order, -1, 0)
    w.value = wide_add(w.value, value)
    return w
