"""The liquidation queue: waiting accounts by fixed keys - a sorted line for those found together, a heap for who comes later."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport qsort

from cascade._run cimport QUEUE_LARGEST, QUEUE_RATIO, QUEUE_TRIGGER_PRICE, run_room, run_t, waiting_t
from cascade._types cimport ERR_MEMORY
from cascade._wide cimport fraction_cmp, wide_cmp


cdef inline int ratio_cmp(const waiting_t* a, const waiting_t* b) noexcept nogil:
    """Lowest equity / maintenance first; no maintenance before all; then account index."""
    cdef int c
    if a.first != b.first:
        return -1 if a.first else 1
    if not a.first:
        c = fraction_cmp(&a.key, &b.key)
        if c != 0:
            return c
    return -1 if a.account < b.account else 1 if a.account > b.account else 0


cdef inline int size_cmp(const waiting_t* a, const waiting_t* b) noexcept nogil:
    """Smallest `size` first (arrival, or the negated notional), then account index."""
    cdef int c = wide_cmp(a.size, b.size)
    if c != 0:
        return c
    return -1 if a.account < b.account else 1 if a.account > b.account else 0


cdef inline int key_cmp(const waiting_t* a, const waiting_t* b) noexcept nogil:
    """Smallest key first, then account index."""
    cdef int c = fraction_cmp(&a.key, &b.key)
    if c != 0:
        return c
    return -1 if a.account < b.account else 1 if a.account > b.account else 0


cdef inline int waiting_cmp(int rule, const waiting_t* a, const waiting_t* b) noexcept nogil:
    if rule == QUEUE_RATIO:
        return ratio_cmp(a, b)
    if rule == QUEUE_TRIGGER_PRICE:
        return key_cmp(a, b)
    return size_cmp(a, b)


cdef inline int sort_by_ratio(const void* a, const void* b) noexcept nogil:
    return ratio_cmp(<const waiting_t*>a, <const waiting_t*>b)


cdef inline int sort_by_size(const void* a, const void* b) noexcept nogil:
    return size_cmp(<const waiting_t*>a, <const waiting_t*>b)


cdef inline int sort_by_key(const void* a, const void* b) noexcept nogil:
    return key_cmp(<const waiting_t*>a, <const waiting_t*>b)


cdef inline void queue_sort(int rule, waiting_t* items, int32_t n) noexcept nogil:
    """Sort by the rule's key. Keys are distinct by account, so that the order does not depend on the algorithm."""
    if n == 0:
        return      # there may be no array yet
    if rule == QUEUE_RATIO:
        qsort(items, n, sizeof(waiting_t), sort_by_ratio)
    elif rule == QUEUE_TRIGGER_PRICE:
        qsort(items, n, sizeof(waiting_t), sort_by_key)
    else:
        qsort(items, n, sizeof(waiting_t), sort_by_size)


cdef inline bint queue_waits(const run_t* r) noexcept nogil:
    return r.line_at < r.line_n or r.heap_n > 0


cdef inline void queue_push(run_t* r, const waiting_t* w) noexcept nogil:
    """Add one account. Into the line while that stays sorted, else into the heap."""
    cdef int rule = r.rules.queue
    cdef int32_t k, parent
    cdef waiting_t swap
    if r.line_at == r.line_n:
        r.line_at = 0
        r.line_n = 0
    if r.line_n == 0 or waiting_cmp(rule, &r.line[r.line_n - 1], w) < 0:
        if run_room(r, <void**>&r.line, &r.line_cap, r.line_n + 1, sizeof(waiting_t)):
            r.line[r.line_n] = w[0]
            r.line_n += 1
        return
    if not run_room(r, <void**>&r.heap, &r.heap_cap, r.heap_n + 1, sizeof(waiting_t)):
        return
    k = r.heap_n
    r.heap_n += 1
    r.heap[k] = w[0]
    while k > 0:
        parent = (k - 1) // 2
        if waiting_cmp(rule, &r.heap[parent], &r.heap[k]) <= 0:
            break
        swap = r.heap[parent]
        r.heap[parent] = r.heap[k]
        r.heap[k] = swap
        k = parent


cdef inline waiting_t queue_pop(run_t* r) noexcept nogil:
    """Take the first of all who wait; somebody does."""
    cdef int rule = r.rules.queue
    cdef waiting_t top, swap
    cdef int32_t k = 0, child
    if r.heap_n == 0 or (r.line_at < r.line_n and waiting_cmp(rule, &r.line[r.line_at], &r.heap[0]) < 0):
        r.line_at += 1
        return r.line[r.line_at - 1]
    top = r.heap[0]
    r.heap_n -= 1
    r.heap[0] = r.heap[r.heap_n]
    while True:
        child = 2 * k + 1
        if child >= r.heap_n:
            break
        if child + 1 < r.heap_n and waiting_cmp(rule, &r.heap[child + 1], &r.heap[child]) < 0:
            child += 1
        if waiting_cmp(rule, &r.heap[k], &r.heap[child]) <= 0:
            break
        swap = r.heap[k]
        r.heap[k] = r.heap[child]
        r.heap[child] = swap
        k = child
    return top
