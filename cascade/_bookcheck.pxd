"""A book's state re-derived from its orders: is every invariant true? For tests and for what comes from outside."""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t

from cascade._book cimport (
    CELLS,
    SLOTS,
    SLOT_BITS,
    STOP_BIT,
    book_alive,
    book_best,
    book_best_level,
    book_cell,
    book_external,
    book_find,
    book_has,
    book_hidden,
    book_id,
    book_next_level,
    book_open,
    book_rare,
    book_side,
    book_t,
    chunk_t,
)
from cascade._ladder cimport ASK, BID, ladder_check, level_t
from cascade._pool cimport idmap_check
from cascade._stops cimport STOP_WAITING, stop_t, stops_check
from cascade._types cimport FLAG_REDUCE_ONLY, rare_t


cdef inline bint book_check_order(book_t* b, uint32_t h, int32_t* owned, int32_t* reducing, int32_t* icebergs) noexcept nogil:
    """One resting order's own fields; counts what it is."""
    cdef const rare_t* rare = book_rare(b, h)
    cdef int64_t hidden = book_hidden(b, h)
    if book_cell(b, h).lots <= 0 or hidden < 0:
        return False
    if book_external(b, h):
        return rare == NULL and book_id(b, h) == 0
    if book_find(b, book_id(b, h)) != h or book_id(b, h) > b.last_id:
        return False
    if rare == NULL:
        return True
    if b.rares == NULL or rare.owner_record < 0 or rare.owner_record >= b.owners_used:
        return False
    if rare.peak >= <uint32_t>b.peaks_used:
        return False
    owned[0] += rare.owner_record > 0
    reducing[0] += (rare.flags & FLAG_REDUCE_ONLY) != 0
    icebergs[0] += rare.peak != 0
    return rare.owner_record == 0 or b.owners[rare.owner_record].owner > 0


cdef inline bint book_check_level(book_t* b, uint32_t level, int32_t* owned, int32_t* reducing, int32_t* icebergs) noexcept nogil:
    """One level's queue: links, sum, count, masks, and every order's own fields."""
    cdef const level_t* v = &b.ladder.levels[level]
    cdef const chunk_t* c
    cdef int64_t shown = 0, open_lots = 0, lots
    cdef uint32_t chunk = v.head, before = 0, h
    cdef int32_t n = 0, k
    while chunk != 0:
        if chunk >= <uint32_t>b.chunks_used or n >= v.count:
            return False
        c = &b.chunks[chunk]
        if c.level != level or c.prev != before or c.live == 0 or c.live >> CELLS:
            return False
        if (c.next == 0 and c.live >> (v.tail & SLOTS)) or c.rare & ~c.live or c.anon & c.live & c.rare:
            return False
        for k in range(CELLS):
            if (c.live >> k) & 1:
                h = (chunk << SLOT_BITS) | <uint32_t>k
                if not book_check_order(b, h, owned, reducing, icebergs):
                    return False
                lots = book_open(b, h)
                if lots > INT64_MAX - open_lots:
                    return False
                open_lots += lots
                shown += c.cells[k].lots
                n += 1
        before = chunk
        chunk = c.next
    if open_lots != shown + (b.hidden[level] if v.hides else 0):
        return False
    return n > 0 and n == v.count and shown == v.quantity_lots and v.tail >> SLOT_BITS == before


cdef inline bint book_check_owners(book_t* b, int32_t owned) noexcept nogil:
    """The owners' lists: links, members, `owned` orders in all; the free chain."""
    cdef int64_t i
    cdef int32_t k, n = 0, records = 0, spare = 0
    cdef uint32_t h, before
    if not idmap_check(&b.owner_records):
        return False
    for i in range(b.owner_records.cap):
        k = b.owner_records.slots[i].value
        if k < 0:
            continue
        records += 1
        if k == 0 or k >= b.owners_used or <uint64_t>b.owners[k].owner != b.owner_records.slots[i].key:
            return False
        if b.owners[k].head == 0 and b.owners[k].position_high == 0 and b.owners[k].position_low == 0 and b.owners[k].lmm_percent == 0:
            return False
        before = 0
        h = b.owners[k].head
        while h != 0:
            n += 1
            if n > owned or not book_alive(b, h) or book_rare(b, h) == NULL:
                return False
            if book_rare(b, h).owner_record != k or book_rare(b, h).owner_prev != before:
                return False
            before = h
            h = book_rare(b, h).owner_next
        if b.owners[k].tail != before:
            return False
    h = b.owners_free
    while h != 0 and spare <= b.owners_used:
        spare += 1
        h = b.owners[h].head
    return n == owned and records + spare + 1 == b.owners_used


cdef inline bint book_check(book_t* b) noexcept nogil:
    """Re-derive every level, link, count, index and id from the orders: is every invariant of the book's files true?
    O(book)."""
    cdef int32_t owned = 0, reducing = 0, icebergs = 0, on_side, used = 0, spare = 0, i
    cdef uint32_t level, h
    cdef int side
    cdef const stop_t* stop
    if not ladder_check(&b.ladder) or not stops_check(&b.stops) or b.chunks[0].live != 0:
        return False
    for side in range(2):
        on_side = 0
        level = book_best_level(b, side)
        while level != 0:
            if not book_check_level(b, level, &owned, &reducing, &icebergs):
                return False
            on_side += b.ladder.levels[level].count
            level = book_next_level(b, level)
        if on_side != b.orders[side]:
            return False
        if b.top[side] != 0 and (not book_alive(b, b.top[side]) or book_side(b, b.top[side]) != side):
            return False
    if book_has(b, BID) and book_has(b, ASK) and book_best(b, BID) >= book_best(b, ASK):
        return False
    for i in range(1, b.chunks_used):
        used += b.chunks[i].live != 0
    h = b.chunks_free
    while h != 0 and spare <= b.chunks_used:
        if h >= <uint32_t>b.chunks_used or b.chunks[h].live != 0:
            return False
        spare += 1
        h = b.chunks[h].next
    if used + spare + 1 != b.chunks_used or reducing != b.reducing or icebergs != b.icebergs:
        return False
    for i in range(1, b.stops.used):
        stop = &b.stops.records[i]
        if stop.state == STOP_WAITING:
            owned += stop.rare.owner_record > 0
            if book_find(b, stop.id) != (<uint32_t>STOP_BIT | <uint32_t>i) or stop.id > b.last_id:
                return False
    spare = 0
    h = b.peaks_free
    while h != 0 and spare <= b.peaks_used:
        spare += 1
        h = <uint32_t>b.peaks[h].hidden
    if spare + icebergs + 1 != b.peaks_used:
        return False
    return book_check_owners(b, owned) and b.room >= 0
