"""The batch: accounts that one check found and that are closed the short way, in the order of the queue.

They are known by their places, in an index of singles or among accounts with several positions.
"""

from libc.float cimport DBL_MAX
from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t
from libc.string cimport memcpy

from cascade._margin cimport standing_t
from cascade._queue cimport BUCKET_LARGE, SORT_DEPTH, SORT_ITEM, sort_spread, waiting_cmp
from cascade._run cimport SEVERAL, instrument_t, run_room, run_t, single_t, sorted_t, waiting_t
from cascade._wide cimport ratio_order


cdef enum:
    PLACE_SHORT = 32        # bit of a place that tells the list; the instrument lies above, the index in the list below
    PLACE_SEVERAL = 63      # bit of a place that is none in a list: the account lies below

cdef enum:
    MOVES_MOST = 16         # of an insertion, by item, before merging is cheaper; BUCKET_LARGE items cannot need as many


cdef inline int place_instrument(uint64_t place) noexcept nogil:
    return <int>(place >> (PLACE_SHORT + 1))


cdef inline bint place_short(uint64_t place) noexcept nogil:
    return (place >> PLACE_SHORT) & 1


cdef inline int32_t place_at(uint64_t place) noexcept nogil:
    return <int32_t>place     # its low bits


cdef inline uint64_t place_of(int i, bint short, int32_t at) noexcept nogil:
    return <uint64_t>i << (PLACE_SHORT + 1) | <uint64_t>short << PLACE_SHORT | <uint64_t>at


cdef inline bint place_several(uint64_t place) noexcept nogil:
    """Whether it is an account that _several.pxd deals with."""
    return place >> PLACE_SEVERAL


cdef inline const single_t* place_single(const run_t* r, uint64_t place) noexcept nogil:
    cdef const instrument_t* ins = &r.instruments[place_instrument(place)]
    return (ins.short_single if place_short(place) else ins.long_single) + place_at(place)


cdef inline int32_t place_account(const run_t* r, uint64_t place) noexcept nogil:
    cdef const instrument_t* ins
    if place_several(place):
        return place_at(place)
    ins = &r.instruments[place_instrument(place)]
    return (ins.short_account if place_short(place) else ins.long_account)[place_at(place)]


cdef inline waiting_t waiting_of(const run_t* r, const sorted_t* item) noexcept nogil:
    """One of the batch as one of the queue."""
    cdef uint64_t place = item.who.place
    cdef waiting_t w
    w.account = place_account(r, place)
    w.instrument = 0
    w.short = False
    w.single = SEVERAL
    if not place_several(place):
        w.instrument = <uint16_t>place_instrument(place)
        w.short = place_short(place)
        w.single = place_at(place)
    w.first = item.near == -DBL_MAX
    w.num = item.num
    w.den = item.den
    w.near = 0 if w.first else item.near
    w.second = 0
    w.seq = r.seq
    w.cause = -1
    w.cause_row = -1
    w.wave = r.step_wave
    return w


cdef inline bint batch_room(run_t* r, int32_t n) noexcept nogil:
    """Room for n more."""
    return run_room(r, <void**>&r.batch, &r.batch_cap, <int64_t>r.batch_n + n, sizeof(sorted_t))


cdef inline void batch_put(run_t* r, uint64_t place, const standing_t* s) noexcept nogil:
    cdef sorted_t* item = &r.batch[r.batch_n]
    r.batch_n += 1
    item.num = s.equity
    item.den = s.maintenance
    item.near = <double>s.equity / <double>s.maintenance
    if s.maintenance == 0:      # before all others
        item.num = 0
        item.den = 1
        item.near = -DBL_MAX
    item.who.place = place


cdef inline void batch_add(run_t* r, int i, bint short, int32_t at, const standing_t* s) noexcept nogil:
    """Note an unhealthy single; batch_room has made the room."""
    batch_put(r, place_of(i, short, at), s)


cdef inline void batch_add_several(run_t* r, int32_t a, const standing_t* s) noexcept nogil:
    """Note an unhealthy account with several positions."""
    if batch_room(r, 1):
        batch_put(r, <uint64_t>1 << PLACE_SEVERAL | <uint64_t>a, s)


cdef inline bint batch_before(const run_t* r, const sorted_t* a, const sorted_t* b) noexcept nogil:
    """As waiting_cmp."""
    cdef int order = ratio_order(a.near, a.num, a.den, b.near, b.num, b.den)
    return order < 0 or (order == 0 and place_account(r, a.who.place) < place_account(r, b.who.place))


cdef inline void batch_merge(run_t* r, sorted_t* spare) noexcept nogil:
    """Bring the batch in order whatever its order is: runs of doubled lengths are merged, in place and in `spare` by turns."""
    cdef const sorted_t* a = r.batch
    cdef sorted_t* to = spare
    cdef int64_t width = 1
    cdef int32_t n = r.batch_n, first, middle, last, x, y, k
    while width < n:
        last = 0
        while last < n:
            first = last
            middle = <int32_t>(first + width) if width < n - first else n
            last = <int32_t>(middle + width) if width < n - middle else n
            x = first
            y = middle
            for k in range(first, last):
                if y == last or (x < middle and not batch_before(r, &a[y], &a[x])):
                    to[k] = a[x]
                    x += 1
                else:
                    to[k] = a[y]
                    y += 1
        a = to
        to = spare if a == r.batch else r.batch
        width *= 2
    if a != r.batch:
        memcpy(r.batch, a, n * sizeof(sorted_t))


cdef inline void batch_sort(run_t* r) noexcept nogil:
    """Bring the batch in order. Insertion ends it while few are out of place; many equal keys can be in any order of accounts."""
    cdef int32_t k, at
    cdef int64_t moves = <int64_t>MOVES_MOST * r.batch_n
    cdef sorted_t one
    if r.batch_n > BUCKET_LARGE:
        if not run_room(r, &r.shares, &r.shares_cap, r.batch_n, SORT_ITEM):
            return
        sort_spread(
            r.batch, <sorted_t*>r.shares, <int32_t*>(<sorted_t*>r.shares + r.batch_n), r.batch_n, SORT_DEPTH, False
        )
    for k in range(1, r.batch_n):
        if not batch_before(r, &r.batch[k], &r.batch[k - 1]):
            continue
        one = r.batch[k]
        at = k
        while at > 0 and batch_before(r, &one, &r.batch[at - 1]):
            r.batch[at] = r.batch[at - 1]
            at -= 1
        r.batch[at] = one
        moves -= k - at
        if moves < 0:       # never where there was no need of room
            batch_merge(r, <sorted_t*>r.shares)
            return


cdef inline void batch_ready(run_t* r) noexcept nogil:
    """After a check: whoever was found for the batch is queued."""
    r.seq += r.batch_n
    batch_sort(r)
