"""Growable arrays addressed by int32 handles, and a hash map from uint64 to a handle."""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from cascade._types cimport ERR_MEMORY, MAX_HANDLES, OK


cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    /* Large memory in large pages: fewer faults while it is filled, fewer misses of the address cache after. */
    static inline void cascade_large_pages(void *p, size_t n) {
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        uintptr_t start = ((uintptr_t)p + 4095) & ~(uintptr_t)4095;
        if (n >= 4u << 20) madvise((void *)start, ((uintptr_t)p + n - start) & ~(uintptr_t)4095, MADV_HUGEPAGE);
    #endif
    }
    """
    void large_pages "cascade_large_pages"(void* memory, size_t bytes) noexcept nogil


cdef enum:
    ARRAY_LARGE = 0x100000  # bytes from which an array grows by an eighth instead of doubling
    ARRAY_HUGE = 0x1000000  # bytes from which it grows by a 32nd: the system moves its pages without copying them


cdef inline int64_t array_step(int64_t cap, size_t size) noexcept nogil:
    """By how many items of `size` bytes an array of `cap` grows at least."""
    if <size_t>cap * size > <size_t>ARRAY_HUGE:
        return cap >> 5
    return cap >> 3 if <size_t>cap * size > <size_t>ARRAY_LARGE else cap


cdef inline int64_t array_room(int64_t cap, int64_t want, size_t size) noexcept nogil:
    """The capacity to which an array grows for `want` > cap items of `size` bytes; 0 beyond the handles."""
    cdef int64_t room = cap + array_step(cap, size)
    if want > MAX_HANDLES:
        return 0
    if room < 16:
        room = 16
    if room < want:
        room = want
    return room if room < MAX_HANDLES else MAX_HANDLES


cdef inline int array_fit(void** items, int32_t* cap, int64_t want, size_t size) noexcept nogil:
    """Room for `want` items of `size` bytes in all. ERR_MEMORY leaves the array as it was."""
    cdef int64_t room
    cdef void* grown
    if want <= cap[0]:
        return OK
    room = array_room(cap[0], want, size)
    grown = PyMem_RawRealloc(items[0], <size_t>room * size) if room > 0 else NULL
    if grown == NULL:
        return ERR_MEMORY
    if cap[0] < room >> 2:
        large_pages(grown, <size_t>room * size)     # not as it grows: the system moves small pages faster
    items[0] = grown
    cap[0] = <int32_t>room
    return OK


# Memory whose start lies on a cache line. Invariant: items == raw rounded up to LINE bytes.
ctypedef struct lines_t:
    void* raw
    void* items
    int32_t cap             # items of the size that every call names


cdef enum:
    LINE = 64


cdef inline int lines_fit(lines_t* a, int64_t want, size_t size) noexcept nogil:
    """array_fit for aligned memory."""
    cdef size_t offset = <size_t>a.items - <size_t>a.raw, moved
    cdef int64_t room
    cdef void* grown
    if want <= a.cap:
        return OK
    room = array_room(a.cap, want, size)
    grown = PyMem_RawRealloc(a.raw, <size_t>room * size + LINE) if room > 0 else NULL
    if grown == NULL:
        return ERR_MEMORY
    if a.cap < room >> 2:
        large_pages(grown, <size_t>room * size + LINE)
    moved = (<size_t>LINE - <size_t>grown % <size_t>LINE) % <size_t>LINE
    if moved != offset and a.cap > 0:
        memmove(<char*>grown + moved, <char*>grown + offset, <size_t>a.cap * size)
    a.raw = grown
    a.items = <char*>grown + moved
    a.cap = <int32_t>room
    return OK


cdef inline void lines_free(lines_t* a) noexcept nogil:
    PyMem_RawFree(a.raw)
    memset(a, 0, sizeof(lines_t))


ctypedef struct idslot_t:
    uint64_t key
    int32_t value           # a handle >= 0; -1: the slot is empty


# Open addressing, linear probing, no tombstones. Invariant: 2 * n <= cap, so that a probe always meets an
# empty slot, and every key is found from its home slot without crossing an empty one.
ctypedef struct idmap_t:
    idslot_t* slots
    int64_t cap             # slots in use as table, 0 or a power of two
    int64_t room            # slots allocated, >= cap
    int64_t n               # keys


cdef inline uint64_t idmap_home(const idmap_t* m, uint64_t key) noexcept nogil:
    """The slot where `key` would like to be. Mixes all bits: ids often come in strides."""
    key ^= key >> 32
    key *= <uint64_t>0x9E3779B97F4A7C15
    key ^= key >> 29
    key *= <uint64_t>0xBF58476D1CE4E5B9
    key ^= key >> 32
    return key & <uint64_t>(m.cap - 1)


cdef inline void idmap_init(idmap_t* m) noexcept nogil:
    """An empty map that owns no memory."""
    memset(m, 0, sizeof(idmap_t))


cdef inline void idmap_free(idmap_t* m) noexcept nogil:
    """Give the memory back; the map is empty and usable after it."""
    PyMem_RawFree(m.slots)
    idmap_init(m)


cdef inline void idmap_clear(idmap_t* m) noexcept nogil:
    """Take every key out; the memory stays."""
    if m.cap > 0:
        memset(m.slots, 0xFF, <size_t>m.cap * sizeof(idslot_t))     # every value -1
    m.n = 0


cdef inline int32_t idmap_get(const idmap_t* m, uint64_t key) noexcept nogil:
    """The handle of `key`, or -1. O(1)."""
    cdef uint64_t i, mask
    if m.n == 0:
        return -1
    mask = <uint64_t>(m.cap - 1)
    i = idmap_home(m, key)
    while m.slots[i].value >= 0:
        if m.slots[i].key == key:
            return m.slots[i].value
        i = (i + 1) & mask
    return -1


cdef inline void idmap_put(idmap_t* m, uint64_t key, int32_t value) noexcept nogil:
    """Enter an absent `key`; idmap_reserve has made the room."""
    cdef uint64_t mask = <uint64_t>(m.cap - 1)
    cdef uint64_t i = idmap_home(m, key)
    while m.slots[i].value >= 0:
        i = (i + 1) & mask
    m.slots[i].key = key
    m.slots[i].value = value
    m.n += 1


cdef inline void idmap_del(idmap_t* m, uint64_t key) noexcept nogil:
    """Take a present `key` out; later keys of its run move back, so that no tombstone is needed."""
    cdef uint64_t mask = <uint64_t>(m.cap - 1)
    cdef uint64_t hole = idmap_home(m, key)
    cdef uint64_t i
    while m.slots[hole].key != key or m.slots[hole].value < 0:
        hole = (hole + 1) & mask
    i = hole
    while True:
        i = (i + 1) & mask
        if m.slots[i].value < 0:
            break
        # The key at i may fill the hole unless its home lies after the hole: its distance to i decides.
        if ((i - idmap_home(m, m.slots[i].key)) & mask) >= ((i - hole) & mask):
            m.slots[hole] = m.slots[i]
            hole = i
    m.slots[hole].value = -1
    m.n -= 1


cdef inline int idmap_reserve(idmap_t* m, int64_t n) noexcept nogil:
    """Room for `n` keys in all. ERR_MEMORY leaves the map as it was."""
    cdef idmap_t grown
    cdef int64_t i
    if 2 * n <= m.cap:
        return OK
    if n > MAX_HANDLES:
        return ERR_MEMORY
    grown.cap = 16
    while grown.cap < 2 * n:
        grown.cap *= 2
    grown.room = grown.cap
    grown.n = 0
    grown.slots = <idslot_t*>PyMem_RawMalloc(<size_t>grown.cap * sizeof(idslot_t))
    if grown.slots == NULL:
        return ERR_MEMORY
    memset(grown.slots, 0xFF, <size_t>grown.cap * sizeof(idslot_t))     # every value -1
    for i in range(m.cap):
        if m.slots[i].value >= 0:
            idmap_put(&grown, m.slots[i].key, m.slots[i].value)
    PyMem_RawFree(m.slots)
    m[0] = grown
    return OK


cdef inline int idmap_copy_room(idmap_t* dst, const idmap_t* src) noexcept nogil:
    """Memory in `dst` for a copy of `src`; its content stays."""
    cdef void* grown
    if src.cap <= dst.room:
        return OK
    grown = PyMem_RawRealloc(dst.slots, <size_t>src.cap * sizeof(idslot_t))
    if grown == NULL:
        return ERR_MEMORY
    dst.slots = <idslot_t*>grown
    dst.room = src.cap
    return OK


cdef inline void idmap_copy(idmap_t* dst, const idmap_t* src) noexcept nogil:
    """Make `dst` equal to `src`; idmap_copy_room has made the room."""
    if src.cap > 0:
        memcpy(dst.slots, src.slots, <size_t>src.cap * sizeof(idslot_t))
    dst.cap = src.cap
    dst.n = src.n


cdef inline bint idmap_check(const idmap_t* m) noexcept nogil:
    """The map's invariant, recounted."""
    cdef int64_t i, n = 0
    if m.cap > m.room or 2 * m.n > m.cap:
        return False
    for i in range(m.cap):
        if m.slots[i].value >= 0:
            n += 1
            if idmap_get(m, m.slots[i].key) != m.slots[i].value:
                return False
    return n == m.n
