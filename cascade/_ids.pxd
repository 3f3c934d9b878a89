"""From an order's id to its handle: hints that a fill does not erase, so that it touches nothing here.

Whoever asks checks the order behind the handle: a hint to one that has gone is simply wrong. Ids that follow one
another closely are kept in pages of a dense table, all others in buckets by hash. When a table is full of stale hints,
_book.pxd, which knows the live orders, makes it anew.
"""

from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cascade._pool cimport array_fit, lines_fit, lines_free, lines_t
from cascade._types cimport ERR_MEMORY, OK


cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif
    /* Which of eight tags are this one, as a bit mask: without branches, whose outcome nobody could predict. */
    static inline unsigned int cascade_tags_equal(const uint32_t *tags, uint32_t tag) {
    #if defined(__SSE2__)
        __m128i one = _mm_set1_epi32((int)tag);
        __m128i low = _mm_cmpeq_epi32(_mm_load_si128((const __m128i *)tags), one);
        __m128i high = _mm_cmpeq_epi32(_mm_load_si128((const __m128i *)tags + 1), one);
        return (unsigned int)(_mm_movemask_ps(_mm_castsi128_ps(low)) | _mm_movemask_ps(_mm_castsi128_ps(high)) << 4);
    #else
        unsigned int mask = 0;
        for (int i = 0; i < 8; i++) mask |= (unsigned int)(tags[i] == tag) << i;
        return mask;
    #endif
    }
    """
    unsigned int tags_equal "cascade_tags_equal"(const uint32_t* tags, uint32_t tag) noexcept nogil
    int __builtin_ctz(unsigned int) noexcept nogil
    void __builtin_prefetch(const void* address) noexcept nogil


cdef enum:
    PAGE_BITS = 9
    PAGE_IDS = 512          # ids a page covers
    PAGE_DENSE = 32         # hints that the last page must hold for the next one to be worth its memory
    SPAN_LIMIT = 64         # directory entries a page may cost

cdef extern from *:
    """
    #define CASCADE_PAGE_KEPT (1ULL << 63)
    """
    uint64_t PAGE_KEPT "CASCADE_PAGE_KEPT"     # in a page's number, while pages are collected

cdef enum:
    NO_ORDER = 0            # no handle: what a hint is before it is given


cdef enum:
    BUCKET_BITS = 3
    BUCKET = 8              # hints a bucket holds

# Hints of ids whose hashes begin alike: one cache line, so that all eight are compared at once.
ctypedef struct bucket_t:
    uint32_t tags[BUCKET]   # other bits of the id's hash, never 0; 0: the place is vacant
    uint32_t handles[BUCKET]


# The hints. Invariant: page 0 is all NO_ORDER and stands for every page that is not there; directory entries lie below
# pages_n; the buckets hold at most 6/10 of their room. A hint stands in the first bucket, from that of its hash on, that had
# a vacant place; a bucket that is full stays so, so that every hint is found without passing one that is not full.
ctypedef struct ids_t:
    uint32_t* directory     # page of the ids (first + i) * PAGE_IDS .., 0 if there is none
    uint32_t* pages         # PAGE_IDS handles each
    uint64_t* page_ids      # number of each page: its ids / PAGE_IDS
    bucket_t* buckets
    lines_t buckets_mem
    uint64_t first
    uint64_t span           # directory entries in use
    uint64_t last           # page number of the page opened last, which is always there
    uint64_t candidate      # page number of the last hint that had no page
    int32_t candidate_n     # hints in a row with that page number
    int64_t cap             # buckets, 0 or a power of two
    int64_t used            # hints in them
    int64_t collect_at      # pages at which stale ones are looked for
    int32_t directory_cap
    int32_t pages_n
    int32_t pages_cap
    int32_t page_ids_cap
    int shift               # 64 - log2(cap)


cdef inline void ids_init(ids_t* x) noexcept nogil:
    """No hints, no memory."""
    memset(x, 0, sizeof(ids_t))
    x.collect_at = 64


cdef inline void ids_free(ids_t* x) noexcept nogil:
    PyMem_RawFree(x.directory)
    PyMem_RawFree(x.pages)
    PyMem_RawFree(x.page_ids)
    lines_free(&x.buckets_mem)
    ids_init(x)


cdef inline void ids_clear(ids_t* x) noexcept nogil:
    """No hints; the memory stays."""
    x.span = 0
    x.pages_n = 0
    x.used = 0
    x.candidate_n = 0
    x.collect_at = 64
    if x.cap > 0:
        memset(x.buckets, 0, <size_t>x.cap * sizeof(bucket_t))


cdef inline uint32_t* ids_slot(const ids_t* x, uint64_t id) noexcept nogil:
    """Where the dense table keeps an id's hint, NULL where it has no page."""
    cdef uint64_t i = (id >> PAGE_BITS) - x.first
    if i >= x.span or x.directory[i] == 0:
        return NULL
    return x.pages + (<uint64_t>x.directory[i] << PAGE_BITS) + (id & (PAGE_IDS - 1))


cdef inline uint32_t ids_dense(const ids_t* x, uint64_t id) noexcept nogil:
    """The dense table's hint."""
    cdef uint64_t i = (id >> PAGE_BITS) - x.first
    if i >= x.span:
        return NO_ORDER
    return x.pages[(<uint64_t>x.directory[i] << PAGE_BITS) + (id & (PAGE_IDS - 1))]


cdef inline uint64_t ids_hash(uint64_t id) noexcept nogil:
    """The id times 2**64 over the golden ratio: ids in strides are spread evenly. The high bits choose the bucket, middle
    ones are the tag."""
    return id * <uint64_t>0x9E3779B97F4A7C15


cdef inline uint32_t ids_tag(uint64_t hash) noexcept nogil:
    return <uint32_t>(hash >> 8) | 1


cdef inline int64_t ids_place(const ids_t* x, uint64_t hash) noexcept nogil:
    """The bucket in which the search for a hash begins."""
    return <int64_t>(hash >> x.shift)


cdef inline void ids_fetch(const ids_t* x, uint64_t id) noexcept nogil:
    """Ask for the bucket in which the search for an id begins."""
    __builtin_prefetch(&x.buckets[ids_place(x, ids_hash(id))])


cdef inline uint32_t ids_first(const ids_t* x, uint64_t id) noexcept nogil:
    """A hint for an id from its first bucket, most often the right one; any other handle where there is none."""
    cdef uint64_t hash = ids_hash(id)
    cdef const bucket_t* k = &x.buckets[ids_place(x, hash)]
    return k.handles[__builtin_ctz(tags_equal(k.tags, ids_tag(hash)) | 1 << (BUCKET - 1))]


cdef inline bint ids_put_dense(ids_t* x, uint64_t id, uint32_t handle) noexcept nogil:
    """Give a hint where its page is there."""
    cdef uint32_t* slot = ids_slot(x, id)
    if slot == NULL:
        return False
    slot[0] = handle
    return True


cdef inline void ids_put_vacant(ids_t* x, uint64_t id, uint32_t handle, int64_t place) noexcept nogil:
    """ids_put_sparse where the search has ended: in place `place` of all buckets'."""
    cdef bucket_t* k = &x.buckets[place >> BUCKET_BITS]
    k.tags[place & (BUCKET - 1)] = ids_tag(ids_hash(id))
    k.handles[place & (BUCKET - 1)] = handle
    x.used += 1


cdef inline void ids_put_sparse(ids_t* x, uint64_t id, uint32_t handle) noexcept nogil:
    """Give a hint in the buckets, which have room."""
    cdef uint64_t hash = ids_hash(id)
    cdef int64_t i = ids_place(x, hash)
    cdef unsigned int vacant = tags_equal(x.buckets[i].tags, 0)
    while vacant == 0:
        i = (i + 1) & (x.cap - 1)
        vacant = tags_equal(x.buckets[i].tags, 0)
    ids_put_vacant(x, id, handle, i << BUCKET_BITS | __builtin_ctz(vacant))


cdef inline void ids_forget(ids_t* x, int64_t place) noexcept nogil:
    """A hint has become stale while its bucket is at hand: make its place vacant, unless the bucket is full."""
    cdef bucket_t* k = &x.buckets[place >> BUCKET_BITS]
    if tags_equal(k.tags, 0):
        k.tags[place & (BUCKET - 1)] = 0
        x.used -= 1


cdef inline int ids_expect(ids_t* x, int64_t ids) noexcept nogil:
    """Memory for the pages of so many ids that follow one another."""
    cdef int64_t pages = 2 * ids // PAGE_IDS + 64
    if array_fit(<void**>&x.directory, &x.directory_cap, pages, sizeof(uint32_t)) != OK:
        return ERR_MEMORY
    if array_fit(<void**>&x.pages, &x.pages_cap, pages, PAGE_IDS * sizeof(uint32_t)) != OK:
        return ERR_MEMORY
    return array_fit(<void**>&x.page_ids, &x.page_ids_cap, pages, sizeof(uint64_t))


cdef inline bint ids_worth_a_page(const ids_t* x, uint64_t number) noexcept nogil:
    """Do ids come closely enough for a page? The first one is given in advance."""
    cdef const uint32_t* page
    cdef int32_t n = 0, i
    if x.pages_n <= 1:
        return True
    if number == x.candidate and x.candidate_n >= PAGE_DENSE:
        return True
    if number - x.last > 2:     # unsigned: an earlier one is far away too
        return False
    i = x.directory[x.last - x.first]
    page = x.pages + (<uint64_t>i << PAGE_BITS)
    for i in range(PAGE_IDS):
        n += page[i] != NO_ORDER
    return n >= PAGE_DENSE


cdef inline bint ids_open_page(ids_t* x, uint64_t number) noexcept nogil:
    """Make the page of a number that lies at or behind `first`; False, with nothing changed, without memory."""
    cdef uint64_t i
    cdef int32_t n = x.pages_n if x.pages_n > 0 else 1
    if x.span == 0:
        x.first = number
    i = number - x.first
    if i >= <uint64_t>SPAN_LIMIT * (<uint64_t>n + 64):
        return False
    if array_fit(<void**>&x.directory, &x.directory_cap, <int64_t>i + 1, sizeof(uint32_t)) != OK:
        return False
    if array_fit(<void**>&x.pages, &x.pages_cap, n + 1, PAGE_IDS * sizeof(uint32_t)) != OK:
        return False
    if array_fit(<void**>&x.page_ids, &x.page_ids_cap, n + 1, sizeof(uint64_t)) != OK:
        return False
    if x.pages_n == 0:
        memset(x.pages, 0, PAGE_IDS * sizeof(uint32_t))
    if i >= x.span:
        memset(x.directory + x.span, 0, <size_t>(i + 1 - x.span) * sizeof(uint32_t))
        x.span = i + 1
    memset(x.pages + (<uint64_t>n << PAGE_BITS), 0, PAGE_IDS * sizeof(uint32_t))
    x.page_ids[n] = number
    x.directory[i] = <uint32_t>n
    x.pages_n = n + 1
    x.last = number
    return True


cdef inline bint ids_far(ids_t* x, uint64_t id) noexcept nogil:
    """Is an id that has no page far from all that might be worth one? Then it is counted as the first of its page."""
    cdef uint64_t number = id >> PAGE_BITS
    if x.pages_n <= 1 or number - x.last <= 2 or number == x.candidate:
        return False
    x.candidate = number
    x.candidate_n = 1
    return True


cdef inline bint ids_put_paged(ids_t* x, uint64_t id, uint32_t handle) noexcept nogil:
    """Give a hint in a page, which may be a new one; False, with the id's page counted, if it is to be hashed."""
    if ids_put_dense(x, id, handle):
        return True
    if ids_worth_a_page(x, id >> PAGE_BITS) and ids_open_page(x, id >> PAGE_BITS):
        return ids_put_dense(x, id, handle)
    if x.candidate != id >> PAGE_BITS:
        x.candidate = id >> PAGE_BITS
        x.candidate_n = 0
    x.candidate_n += 1
    return False


cdef inline void ids_put(ids_t* x, uint64_t id, uint32_t handle) noexcept nogil:
    """Give a hint. Cannot fail: ids_roomy was true, and pages are opened only as memory allows."""
    if not ids_put_paged(x, id, handle):
        ids_put_sparse(x, id, handle)


cdef inline void ids_move(ids_t* x, uint64_t id, uint32_t old, uint32_t handle) noexcept nogil:
    """Change the hint that leads to `old`, which must be there."""
    cdef uint64_t hash = ids_hash(id)
    cdef int64_t i
    cdef unsigned int same
    if ids_dense(x, id) == old:
        ids_put_dense(x, id, handle)
        return
    i = ids_place(x, hash)
    while True:
        same = tags_equal(x.buckets[i].tags, ids_tag(hash))
        while same:
            if x.buckets[i].handles[__builtin_ctz(same)] == old:
                x.buckets[i].handles[__builtin_ctz(same)] = handle
                return
            same &= same - 1
        i = (i + 1) & (x.cap - 1)


cdef inline bint ids_roomy(const ids_t* x, int64_t n) noexcept nogil:
    """Have the buckets room for `n` more hints?"""
    return 10 * (x.used + n) <= 6 * BUCKET * x.cap


cdef inline int ids_renew_sparse(ids_t* x, int64_t hints) noexcept nogil:
    """Empty buckets with room for `hints`, and for more where the old ones were full of stale ones: they are to last a
    while. ERR_MEMORY leaves the old ones."""
    cdef int64_t cap = 4, wanted = 4 * hints if 4 * hints < 3 * x.used else 2 * hints
    cdef int bits = 2
    cdef lines_t memory
    while BUCKET * cap < wanted:
        cap *= 2
        bits += 1
    if cap != x.cap:
        memset(&memory, 0, sizeof(lines_t))
        if lines_fit(&memory, cap, sizeof(bucket_t)) != OK:
            return ERR_MEMORY
        lines_free(&x.buckets_mem)
        x.buckets_mem = memory
        x.buckets = <bucket_t*>memory.items
        x.cap = cap
        x.shift = 64 - bits
    memset(x.buckets, 0, <size_t>cap * sizeof(bucket_t))
    x.used = 0
    return OK


cdef inline void ids_mark(ids_t* x, uint64_t id) noexcept nogil:
    """While pages are collected: this id's page is needed."""
    cdef uint64_t i = (id >> PAGE_BITS) - x.first
    if i < x.span:
        x.page_ids[x.directory[i]] |= PAGE_KEPT


cdef inline void ids_keep_marked(ids_t* x) noexcept nogil:
    """Give up every page that is not marked, and directory entries before the first that is."""
    cdef int32_t from_, to = 1
    cdef uint64_t i, lead
    x.page_ids[x.directory[x.last - x.first]] |= PAGE_KEPT
    for from_ in range(1, x.pages_n):
        i = (x.page_ids[from_] & ~PAGE_KEPT) - x.first
        if not x.page_ids[from_] & PAGE_KEPT:
            x.directory[i] = 0
            continue
        x.page_ids[from_] &= ~PAGE_KEPT
        if from_ != to:
            memcpy(x.pages + (<uint64_t>to << PAGE_BITS), x.pages + (<uint64_t>from_ << PAGE_BITS), PAGE_IDS * sizeof(uint32_t))
            x.page_ids[to] = x.page_ids[from_]
        x.directory[i] = <uint32_t>to
        to += 1
    x.pages_n = to
    lead = 0
    while lead < x.span and x.directory[lead] == 0:
        lead += 1
    for i in range(lead, x.span):
        x.directory[i - lead] = x.directory[i]
    x.first += lead
    x.span -= lead
    x.collect_at = 64 + 2 * <int64_t>to


cdef inline int ids_copy_room(ids_t* dst, const ids_t* src) noexcept nogil:
    """Memory in `dst` for a copy of `src`, which must follow when this is OK. ERR_MEMORY leaves dst as it was."""
    cdef lines_t memory
    if src.span > 0:
        if array_fit(<void**>&dst.directory, &dst.directory_cap, <int64_t>src.span, sizeof(uint32_t)) != OK:
            return ERR_MEMORY
    if src.pages_n > 0:
        if array_fit(<void**>&dst.pages, &dst.pages_cap, src.pages_n, PAGE_IDS * sizeof(uint32_t)) != OK:
            return ERR_MEMORY
        if array_fit(<void**>&dst.page_ids, &dst.page_ids_cap, src.pages_n, sizeof(uint64_t)) != OK:
            return ERR_MEMORY
    if src.cap > 0 and src.cap != dst.cap:
        memset(&memory, 0, sizeof(lines_t))
        if lines_fit(&memory, src.cap, sizeof(bucket_t)) != OK:
            return ERR_MEMORY
        lines_free(&dst.buckets_mem)
        dst.buckets_mem = memory
        dst.buckets = <bucket_t*>memory.items
        dst.cap = src.cap
    return OK


cdef inline void ids_copy(ids_t* dst, const ids_t* src) noexcept nogil:
    """Make `dst` equal to `src`; ids_copy_room has made the room."""
    if src.span > 0:
        memcpy(dst.directory, src.directory, <size_t>src.span * sizeof(uint32_t))
    if src.pages_n > 0:
        memcpy(dst.pages, src.pages, <size_t>src.pages_n * PAGE_IDS * sizeof(uint32_t))
        memcpy(dst.page_ids, src.page_ids, <size_t>src.pages_n * sizeof(uint64_t))
    if src.cap > 0:
        memcpy(dst.buckets, src.buckets, <size_t>src.cap * sizeof(bucket_t))
    elif dst.cap > 0:
        memset(dst.buckets, 0, <size_t>dst.cap * sizeof(bucket_t))
    dst.first = src.first
    dst.span = src.span
    dst.last = src.last
    dst.candidate = src.candidate
    dst.candidate_n = src.candidate_n
    dst.pages_n = src.pages_n
    dst.collect_at = src.collect_at
    dst.used = src.used
    if src.cap > 0:
        dst.shift = src.shift
