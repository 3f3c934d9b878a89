"""The liquidation queue: waiting accounts by fixed keys - a sorted line for those found together, a heap for who comes later."""

from libc.float cimport DBL_MAX
from libc.stdint cimport int32_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memset

from cascade._run cimport run_room, run_t, sorted_t, waiting_t
from cascade._wide cimport ratio_order


cdef inline int waiting_cmp(const waiting_t* a, const waiting_t* b) noexcept nogil:
    """Those without maintenance first, then the smallest key, then the smallest second key, then account index."""
    cdef int c
    if a.first != b.first:
        return -1 if a.first else 1
    c = ratio_order(a.near, a.num, a.den, b.near, b.num, b.den)
    if c != 0:
        return c
    if a.second != b.second:
        return -1 if a.second < b.second else 1
    return -1 if a.account < b.account else 1 if a.account > b.account else 0


cdef enum:
    SORT_ITEM = 96          # bytes of scratch an account: two sorted_t, and counters at each depth
    SORT_DEPTH = 3
    BUCKET_LARGE = 24       # more accounts than this are not worth sorting by insertion


cdef inline int sort_cmp(const void* a, const void* b) noexcept nogil:
    """As waiting_cmp, without a look at the items where the doubles are not close."""
    cdef double x = (<const sorted_t*>a).near, y = (<const sorted_t*>b).near
    cdef double size = (-x if x < 0 else x) + (-y if y < 0 else y)
    if x - y > 1e-14 * size:
        return 1
    if y - x > 1e-14 * size:
        return -1
    return waiting_cmp((<const sorted_t*>a).who.item, (<const sorted_t*>b).who.item)


cdef inline int32_t bucket_of(const sorted_t* s, double low, double scale) noexcept nogil:
    """Buckets ascend with the keys: subtraction, scaling and truncation never reverse an order."""
    return 0 if s.near < low else 1 + <int32_t>((s.near - low) * scale)


cdef inline void sort_spread(sorted_t* items, sorted_t* spare, int32_t* first, int32_t n, int depth, bint by_item) noexcept nogil:
    """Bring items nearly in order: over as many buckets as there are items by their doubles, large buckets once more. `first` has room for
    n + 3 counters at each depth. What that leaves is sorted `by_item`, or left."""
    cdef double low = DBL_MAX, high = -DBL_MAX, scale
    cdef int32_t k, at
    for k in range(n):
        if items[k].near > -DBL_MAX:
            low = items[k].near if items[k].near < low else low
            high = items[k].near if items[k].near > high else high
    if depth == 0 or not high > low:
        if by_item:
            qsort(items, n, sizeof(sorted_t), sort_cmp)
        return
    scale = (n - 1) / (high - low)
    memset(first, 0, (n + 3) * sizeof(int32_t))
    for k in range(n):
        first[bucket_of(&items[k], low, scale) + 1] += 1
    for k in range(n + 1):
        first[k + 1] += first[k]
    for k in range(n):
        at = bucket_of(&items[k], low, scale)
        spare[first[at]] = items[k]
        first[at] += 1
    memcpy(items, spare, n * sizeof(sorted_t))
    at = 0
    for k in range(n + 1):      # first[k] is the end of bucket k now
        if first[k] - at > BUCKET_LARGE:
            sort_spread(items + at, spare, first + n + 3, first[k] - at, depth - 1, by_item)
        at = first[k]


cdef inline const sorted_t* queue_sort(const waiting_t* items, int32_t n, void* scratch) noexcept nogil:
    """The items by key, in scratch of SORT_ITEM bytes each. Keys are distinct by account: the order does not depend on the algorithm.

    Their doubles, which are right but for the last digits, bring them nearly in order; an insertion sort by the exact keys ends it.
    """
    cdef sorted_t* sorted_items = <sorted_t*>scratch
    cdef int32_t k, at
    cdef sorted_t one
    for k in range(n):
        sorted_items[k].who.item = &items[k]
        sorted_items[k].near = -DBL_MAX if items[k].first else items[k].near
    if n > BUCKET_LARGE:
        sort_spread(sorted_items, sorted_items + n, <int32_t*>(sorted_items + 2 * n), n, SORT_DEPTH, True)
    for k in range(1, n):
        one = sorted_items[k]
        at = k
        while at > 0 and sort_cmp(&one, &sorted_items[at - 1]) < 0:
            sorted_items[at] = sorted_items[at - 1]
            at -= 1
        sorted_items[at] = one
    return sorted_items


cdef inline bint batch_waits(const run_t* r) noexcept nogil:
    return r.batch_at < r.batch_n or r.range_at < r.range_end


cdef inline bint queue_waits(const run_t* r) noexcept nogil:
    return r.line_at < r.line_n or r.heap_n > 0 or batch_waits(r)


cdef inline const waiting_t* queue_first(const run_t* r) noexcept nogil:
    """The first of all who wait, but for the batch; NULL for nobody."""
    if r.line_at < r.line_n and (r.heap_n == 0 or waiting_cmp(&r.line[r.line_at], &r.heap[0]) < 0):
        return &r.line[r.line_at]
    return &r.heap[0] if r.heap_n > 0 else NULL


cdef inline void queue_line(run_t* r, const waiting_t* w) noexcept nogil:
    """Add one account behind all that wait in the line."""
    if run_room(r, <void**>&r.line, &r.line_cap, r.line_n + 1, sizeof(waiting_t)):
        r.line[r.line_n] = w[0]
        r.line_n += 1


cdef inline void queue_push(run_t* r, const waiting_t* w) noexcept nogil:
    """Add one account. Into the line while that stays sorted, else into the heap."""
    cdef int32_t k, parent
    cdef waiting_t swap
    if r.line_at == r.line_n:
        r.line_at = 0
        r.line_n = 0
    if r.line_n == 0 or waiting_cmp(&r.line[r.line_n - 1], w) < 0:
        queue_line(r, w)
        return
    if not run_room(r, <void**>&r.heap, &r.heap_cap, r.heap_n + 1, sizeof(waiting_t)):
        return
    k = r.heap_n
    r.heap_n += 1
    r.heap[k] = w[0]
    while k > 0:
        parent = (k - 1) // 2
        if waiting_cmp(&r.heap[parent], &r.heap[k]) <= 0:
            break
        swap = r.heap[parent]
        r.heap[parent] = r.heap[k]
        r.heap[k] = swap
        k = parent


cdef inline waiting_t queue_pop(run_t* r) noexcept nogil:
    """Take the first of all who wait, but for the batch; somebody does."""
    cdef waiting_t top, swap
    cdef int32_t k = 0, child
    if queue_first(r) != &r.heap[0]:
        r.line_at += 1
        return r.line[r.line_at - 1]
    top = r.heap[0]
    r.heap_n -= 1
    r.heap[0] = r.heap[r.heap_n]
    while True:
        child = 2 * k + 1
        if child >= r.heap_n:
            break
        if child + 1 < r.heap_n and waiting_cmp(&r.heap[child + 1], &r.heap[child]) < 0:
            child += 1
        if waiting_cmp(&r.heap[k], &r.heap[child]) <= 0:
            break
        swap = r.heap[k]
        r.heap[k] = r.heap[child]
        r.heap[child] = swap
        k = child
    return top
