"""The liquidation queue: waiting accounts by fixed keys - a sorted line for those found together, a heap for who comes later."""

from libc.stdint cimport int32_t
from libc.stdlib cimport qsort

from cascade._run cimport run_room, run_t, waiting_t
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


cdef inline int sort_cmp(const void* a, const void* b) noexcept nogil:
    return waiting_cmp(<const waiting_t*>a, <const waiting_t*>b)


cdef inline void queue_sort(waiting_t* items, int32_t n) noexcept nogil:
    """Sort by key. Keys are distinct by account, so that the order does not depend on the algorithm."""
    if n > 1:   # qsort must not be handed an array that does not exist
        qsort(items, n, sizeof(waiting_t), sort_cmp)


cdef inline bint queue_waits(const run_t* r) noexcept nogil:
    return r.line_at < r.line_n or r.heap_n > 0


cdef inline void queue_push(run_t* r, const waiting_t* w) noexcept nogil:
    """Add one account. Into the line while that stays sorted, else into the heap."""
    cdef int32_t k, parent
    cdef waiting_t swap
    if r.line_at == r.line_n:
        r.line_at = 0
        r.line_n = 0
    if r.line_n == 0 or waiting_cmp(&r.line[r.line_n - 1], w) < 0:
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
        if waiting_cmp(&r.heap[parent], &r.heap[k]) <= 0:
            break
        swap = r.heap[parent]
        r.heap[parent] = r.heap[k]
        r.heap[k] = swap
        k = parent


cdef inline waiting_t queue_pop(run_t* r) noexcept nogil:
    """Take the first of all who wait; somebody does."""
    cdef waiting_t top, swap
    cdef int32_t k = 0, child
    if r.heap_n == 0 or (r.line_at < r.line_n and waiting_cmp(&r.line[r.line_at], &r.heap[0]) < 0):
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
