"""Waiting stop orders: heaps by trigger, one for each side and trigger price, and the queue of those that have been
reached."""

from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cascade._pool cimport array_fit
from cascade._types cimport ERR_MEMORY, FLAG_MARK_TRIGGER, OK, SIDE_BUY, rare_t


# The heaps, in the order in which stops reached together act.
cdef enum:
    LAST_SELLS = 0
    LAST_BUYS = 1
    MARK_SELLS = 2
    MARK_BUYS = 3
    HEAPS = 4

cdef enum:
    STOP_FREE = 0
    STOP_WAITING = 1
    STOP_DEAD = 2           # cancelled; its heap still names it
    STOP_REACHED = 3        # in the queue


cdef enum:
    MOST_STOPS = 0x3FFFFFFF     # a record must leave room for the bit that tells a stop from an order


# A stop order. A free record is linked by rare.owner_next.
ctypedef struct stop_t:
    uint64_t id
    uint64_t arrival        # among all stops ever
    int64_t stop_ticks
    int64_t price_ticks     # the limit as sent; not read for STOP
    int64_t lots
    int64_t display
    rare_t rare
    int8_t side             # SIDE_BUY or SIDE_SELL
    uint8_t type
    uint8_t tif
    uint8_t state


# All stops of a book. Invariant: every record that waits is in the heap of its side and trigger, once; dead ones are
# counted. Record 0 is never used.
ctypedef struct stops_t:
    stop_t* records
    uint32_t* heaps[HEAPS]
    uint32_t* queue         # reached, first to act first; empty between messages
    int32_t heap_n[HEAPS]
    int32_t heap_cap[HEAPS]
    int32_t queue_cap
    int32_t queue_head
    int32_t queue_n         # its end
    int32_t cap
    int32_t used            # records ever handed out, the first included
    int32_t live            # waiting or reached
    int32_t dead
    uint32_t free
    uint64_t arrivals


cdef inline void stops_init(stops_t* s) noexcept nogil:
    """No stops, no memory."""
    memset(s, 0, sizeof(stops_t))


cdef inline void stops_free(stops_t* s) noexcept nogil:
    cdef int k
    PyMem_RawFree(s.records)
    PyMem_RawFree(s.queue)
    for k in range(HEAPS):
        PyMem_RawFree(s.heaps[k])
    stops_init(s)


cdef inline void stops_clear(stops_t* s) noexcept nogil:
    """No stops; the memory stays."""
    cdef int k
    for k in range(HEAPS):
        s.heap_n[k] = 0
    s.used = 0
    s.live = 0
    s.dead = 0
    s.free = 0
    s.arrivals = 0


cdef inline int stops_fit(stops_t* s, int64_t records) noexcept nogil:
    """Room for `records` records in all. ERR_MEMORY leaves the content as it was."""
    cdef int k
    if records > MOST_STOPS:
        return ERR_MEMORY
    if array_fit(<void**>&s.records, &s.cap, records, sizeof(stop_t)) != OK:
        return ERR_MEMORY
    if array_fit(<void**>&s.queue, &s.queue_cap, records, sizeof(uint32_t)) != OK:
        return ERR_MEMORY
    for k in range(HEAPS):
        if array_fit(<void**>&s.heaps[k], &s.heap_cap[k], records, sizeof(uint32_t)) != OK:
            return ERR_MEMORY
    return OK


cdef inline int stops_reserve(stops_t* s, int64_t more) noexcept nogil:
    """Room for `more` stops."""
    return stops_fit(s, more + (s.used if s.used > 0 else 1))


cdef inline int stop_heap(const stop_t* o) noexcept nogil:
    """The heap in which a stop waits."""
    return (MARK_SELLS if o.rare.flags & FLAG_MARK_TRIGGER else LAST_SELLS) + (o.side == SIDE_BUY)


cdef inline bint stop_before(const stop_t* a, const stop_t* b) noexcept nogil:
    """Does `a` act before `b` of the same heap?"""
    if a.stop_ticks != b.stop_ticks:
        return (a.stop_ticks < b.stop_ticks) == (a.side == SIDE_BUY)
    return a.arrival < b.arrival


cdef inline void heap_sink(stops_t* s, int k, int32_t i) noexcept nogil:
    """Let the entry at `i` sink to its place."""
    cdef uint32_t* heap = s.heaps[k]
    cdef uint32_t moving = heap[i]
    cdef int32_t child
    while True:
        child = 2 * i + 1
        if child >= s.heap_n[k]:
            break
        if child + 1 < s.heap_n[k] and stop_before(&s.records[heap[child + 1]], &s.records[heap[child]]):
            child += 1
        if not stop_before(&s.records[heap[child]], &s.records[moving]):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = moving


cdef inline void heap_push(stops_t* s, int k, uint32_t record) noexcept nogil:
    cdef uint32_t* heap = s.heaps[k]
    cdef int32_t i = s.heap_n[k], parent
    s.heap_n[k] += 1
    while i > 0:
        parent = (i - 1) // 2
        if not stop_before(&s.records[record], &s.records[heap[parent]]):
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = record


cdef inline uint32_t heap_pop(stops_t* s, int k) noexcept nogil:
    cdef uint32_t first = s.heaps[k][0]
    s.heap_n[k] -= 1
    if s.heap_n[k] > 0:
        s.heaps[k][0] = s.heaps[k][s.heap_n[k]]
        heap_sink(s, k, 0)
    return first


cdef inline void stop_release(stops_t* s, uint32_t record) noexcept nogil:
    """Give a record back that no heap names."""
    s.records[record].state = STOP_FREE
    s.records[record].rare.owner_next = s.free
    s.free = record


cdef inline uint32_t stops_first(stops_t* s, int k) noexcept nogil:
    """The next stop of a heap, 0 if none; dead ones on the way are given back."""
    while s.heap_n[k] > 0 and s.records[s.heaps[k][0]].state == STOP_DEAD:
        stop_release(s, heap_pop(s, k))
        s.dead -= 1
    return s.heaps[k][0] if s.heap_n[k] > 0 else 0


cdef inline void stops_sweep(stops_t* s) noexcept nogil:
    """Give all dead records back."""
    cdef int k
    cdef int32_t i, n
    for k in range(HEAPS):
        n = 0
        for i in range(s.heap_n[k]):
            if s.records[s.heaps[k][i]].state == STOP_DEAD:
                stop_release(s, s.heaps[k][i])
            else:
                s.heaps[k][n] = s.heaps[k][i]
                n += 1
        s.heap_n[k] = n
        for i in range(n // 2 - 1, -1, -1):
            heap_sink(s, k, i)
    s.dead = 0


cdef inline uint32_t stops_add(stops_t* s, const stop_t* stop) noexcept nogil:
    """A waiting copy of `stop`, the last to arrive; stops_reserve has made the room."""
    cdef uint32_t record
    if s.dead > s.live + 16:
        stops_sweep(s)
    record = s.free
    if record != 0:
        s.free = s.records[record].rare.owner_next
    else:
        if s.used == 0:
            memset(&s.records[0], 0, sizeof(stop_t))
            s.used = 1
        record = <uint32_t>s.used
        s.used += 1
    s.records[record] = stop[0]
    s.records[record].state = STOP_WAITING
    s.arrivals += 1
    s.records[record].arrival = s.arrivals
    s.live += 1
    heap_push(s, stop_heap(stop), record)
    return record


cdef inline void stops_kill(stops_t* s, uint32_t record) noexcept nogil:
    """Take a waiting stop off. Its heap names it a while longer."""
    s.records[record].state = STOP_DEAD
    s.live -= 1
    s.dead += 1


cdef inline bint stop_reached(const stop_t* o, int64_t low, int64_t high) noexcept nogil:
    """Has the trigger price, between `low` and `high`, reached the stop?"""
    return o.stop_ticks <= high if o.side == SIDE_BUY else o.stop_ticks >= low


cdef inline void stops_reach(stops_t* s, int first, int64_t low, int64_t high) noexcept nogil:
    """Move the stops of the heaps `first` (sells) and `first` + 1 (buys) that are reached to the end of the queue."""
    cdef int k
    cdef uint32_t record
    for k in range(first, first + 2):
        record = stops_first(s, k)
        while record != 0 and stop_reached(&s.records[record], low, high):
            heap_pop(s, k)
            s.records[record].state = STOP_REACHED
            s.queue[s.queue_n] = record
            s.queue_n += 1
            record = stops_first(s, k)


cdef inline uint32_t stops_next(stops_t* s) noexcept nogil:
    """The next one to act, 0 if the queue is empty. The caller reads the record and gives it back with stop_release."""
    if s.queue_head == s.queue_n:
        s.queue_head = 0
        s.queue_n = 0
        return 0
    s.queue_head += 1
    s.live -= 1
    return s.queue[s.queue_head - 1]


cdef inline int stops_copy_room(stops_t* dst, const stops_t* src) noexcept nogil:
    """Memory in `dst` for a copy of `src`; its content stays."""
    return stops_fit(dst, src.used) if src.used > 0 else OK


cdef inline void stops_copy(stops_t* dst, const stops_t* src) noexcept nogil:
    """Make `dst` equal to `src`; stops_copy_room has made the room. The queue, empty between messages, is left out."""
    cdef int k
    if src.used > 0:
        memcpy(dst.records, src.records, <size_t>src.used * sizeof(stop_t))
    for k in range(HEAPS):
        if src.heap_n[k] > 0:
            memcpy(dst.heaps[k], src.heaps[k], <size_t>src.heap_n[k] * sizeof(uint32_t))
        dst.heap_n[k] = src.heap_n[k]
    dst.queue_head = 0
    dst.queue_n = 0
    dst.used = src.used
    dst.live = src.live
    dst.dead = src.dead
    dst.free = src.free
    dst.arrivals = src.arrivals


cdef inline bint stops_check(const stops_t* s) noexcept nogil:
    """Re-derive the heaps and counts. O(stops)."""
    cdef int k
    cdef int32_t i, waiting = 0, dead = 0, named = 0, spare = 0
    cdef const stop_t* o
    cdef uint32_t record
    if s.queue_n != 0 or s.queue_head != 0:
        return False
    for k in range(HEAPS):
        for i in range(s.heap_n[k]):
            record = s.heaps[k][i]
            if record == 0 or record >= <uint32_t>s.used:
                return False
            o = &s.records[record]
            if o.state != STOP_WAITING and o.state != STOP_DEAD or stop_heap(o) != k or o.arrival > s.arrivals:
                return False
            if i > 0 and stop_before(o, &s.records[s.heaps[k][(i - 1) // 2]]):
                return False
            named += 1
    for i in range(1, s.used):
        waiting += s.records[i].state == STOP_WAITING
        dead += s.records[i].state == STOP_DEAD
    record = s.free
    while record != 0 and spare <= s.used:
        if record >= <uint32_t>s.used or s.records[record].state != STOP_FREE:
            return False
        spare += 1
        record = s.records[record].rare.owner_next
    if s.used > 0 and waiting + dead + spare + 1 != s.used:
        return False
    return waiting == s.live and dead == s.dead and named == waiting + dead
