"""The front of a book of external orders taken off at once, and what trades took put back: memory as it was, from the loaded book."""

from libc.stdint cimport int32_t, uint32_t

from cascade._book cimport book_best_level, book_next_level, book_t
from cascade._ladder cimport ladder_cut, ladder_t


cdef inline bint book_cut(book_t* b, int side, uint32_t level, int32_t levels, int32_t orders) noexcept nogil:
    """Take all that stands before a level (0: all of the side) off at once: so many levels and orders, all external. O(log levels).

    Their memory is not used again before the book is copied or put back. False, with nothing changed, after too many cuts.
    """
    if not ladder_cut(&b.ladder, side, level, levels):
        return False
    b.orders[side] -= orders
    return True


cdef inline void level_uneat(book_t* b, const book_t* loaded, uint32_t level) noexcept nogil:
    """A level and its queue, of one that is still there as far as it was eaten."""
    cdef uint32_t chunk = loaded.ladder.levels[level].head
    cdef uint32_t last = b.ladder.levels[level].head if level == b.ladder.best[loaded.ladder.levels[level].side] else 0
    b.ladder.levels[level] = loaded.ladder.levels[level]
    while chunk != 0:
        b.chunks[chunk] = loaded.chunks[chunk]
        chunk = loaded.chunks[chunk].next if chunk != last else 0


cdef inline void nodes_uneat(book_t* b, const book_t* loaded, uint32_t node) noexcept nogil:
    """A node and all above it."""
    while node != 0:
        b.ladder.nodes[node] = loaded.ladder.nodes[node]
        node = loaded.ladder.nodes[node].parent


cdef inline void side_uneat(book_t* b, const book_t* loaded, int side) noexcept nogil:
    """The levels of one side that trades reached, but for those cut off, which are as they were."""
    cdef const ladder_t* l = &b.ladder
    cdef uint32_t level = book_best_level(loaded, side), now = l.best[side], node = 0
    cdef int k = 0
    while level != 0:
        level_uneat(b, loaded, level)
        if loaded.ladder.levels[level].parent != node:
            node = loaded.ladder.levels[level].parent
            nodes_uneat(b, loaded, node)
        if level == now:
            break
        if k < l.cuts_n[side] and level == l.cuts[side][k].first:
            level = l.cuts[side][k].best
            k += 1
        else:
            level = book_next_level(loaded, level)


cdef inline void book_uneat(book_t* b, const book_t* loaded) noexcept nogil:
    """Make `b`, a copy of a book of external orders that trades alone have changed, equal to it again, handles included. O(levels that
    trades reached and that were not cut off): faster than a copy even if that is all of a side."""
    cdef int side
    for side in range(2):
        side_uneat(b, loaded, side)
        b.ladder.best[side] = loaded.ladder.best[side]
        b.ladder.root[side] = loaded.ladder.root[side]
        b.ladder.best_ticks[side] = loaded.ladder.best_ticks[side]
        b.ladder.crossing[side] = loaded.ladder.crossing[side]
        b.ladder.n[side] = loaded.ladder.n[side]
        b.ladder.cuts_n[side] = 0
        b.orders[side] = loaded.orders[side]
    b.ladder.cut = 0
    b.ladder.levels_free = loaded.ladder.levels_free
    b.ladder.nodes_free = loaded.ladder.nodes_free
    b.chunks_free = loaded.chunks_free
