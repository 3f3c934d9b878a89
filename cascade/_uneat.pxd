"""Putting back what trades took off a book: as long as nothing else has changed it, how far it has been eaten says it all."""

from libc.stdint cimport uint32_t

from cascade._book cimport (
    ORDER_EXTERNAL,
    book_behind,
    book_best_level,
    book_front_of,
    book_lots,
    book_next_level,
    book_place,
    book_reduce,
    book_t,
)
from cascade._ladder cimport ASK, BID, level_t, price_rank


cdef enum:
    MOST_LEVELS = 2048      # a side: beyond, a copy of the book is no slower
    COPY_SHARE = 3          # as is one of an eighth of the levels and more


cdef inline bint side_uneat(book_t* b, const book_t* loaded, int side) noexcept nogil:
    """One side of book_uneat. O(levels that trades reached)."""
    cdef uint32_t gone[MOST_LEVELS]
    cdef uint32_t level = book_best_level(loaded, side), now = book_best_level(b, side), h
    cdef const level_t* v
    cdef const level_t* first = &b.ladder.levels[now]
    cdef int n = 0, most = loaded.ladder.n[side] >> COPY_SHARE
    most = 8 if most < 8 else MOST_LEVELS if most > MOST_LEVELS else most
    while level != 0:
        v = &loaded.ladder.levels[level]
        if now != 0 and price_rank(side, v.price_ticks) <= price_rank(side, first.price_ticks):
            break
        if n == most:
            return False
        gone[n] = level
        n += 1
        level = book_next_level(loaded, level)
    if now != 0:
        # The level that trading stopped at: its oldest order may have been filled in part.
        v = &loaded.ladder.levels[level]
        if level == 0 or v.price_ticks != first.price_ticks or v.count != first.count:
            return False
        book_reduce(b, book_front_of(b, now), book_lots(loaded, book_front_of(loaded, level)))
    while n > 0:    # the worst first: it gets the memory that it had
        n -= 1
        v = &loaded.ladder.levels[gone[n]]
        h = book_front_of(loaded, gone[n])
        while h != 0:
            if book_place(b, side, v.price_ticks, book_lots(loaded, h), 0, 0, ORDER_EXTERNAL) < 0:
                return False
            h = book_behind(loaded, h)
    return True


cdef inline bint book_uneat(book_t* b, const book_t* loaded) noexcept nogil:
    """Make `b`, a copy of a book of external orders that trades alone have changed, hold the same orders again.

    False, with `b` to be copied anew, where that is no faster, memory is short or an order in the middle of a level has gone.
    """
    return side_uneat(b, loaded, BID) and side_uneat(b, loaded, ASK)
