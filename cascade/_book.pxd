"""The order book: queues of orders on price levels, the orders' ids and owners, waiting stops. Primitives only; _match.pxd
trades.

A handle names an order: a cell of a chunk, or with STOP_BIT a stop's record. 0 is no order.
"""

from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from cascade._allocate cimport rule_t, share_t
from cascade._ids cimport (
    BUCKET_BITS,
    bucket_t,
    ids_clear,
    ids_copy,
    ids_copy_room,
    ids_dense,
    ids_expect,
    ids_free,
    ids_hash,
    ids_init,
    ids_keep_marked,
    ids_mark,
    ids_move,
    ids_place,
    ids_put,
    ids_put_sparse,
    ids_renew_sparse,
    ids_roomy,
    ids_t,
    ids_tag,
    tags_equal,
)
from cascade._ladder cimport (
    ASK,
    BID,
    ladder_below,
    ladder_clear,
    ladder_copy,
    ladder_copy_room,
    ladder_enter,
    ladder_find,
    ladder_free,
    ladder_init,
    ladder_remove,
    ladder_reserve,
    ladder_t,
    level_t,
    price_rank,
    unlikely,
)
from cascade._pool cimport (
    array_fit,
    idmap_clear,
    idmap_copy,
    idmap_copy_room,
    idmap_del,
    idmap_free,
    idmap_get,
    idmap_init,
    idmap_put,
    idmap_reserve,
    idmap_t,
    lines_fit,
    lines_free,
    lines_t,
)
from cascade._stops cimport (
    STOP_WAITING,
    stops_clear,
    stops_copy,
    stops_copy_room,
    stops_free,
    stops_init,
    stops_kill,
    stops_t,
)
from cascade._types cimport ERR_MEMORY, ERR_RANGE, FLAG_REDUCE_ONLY, OK, rare_t

cdef extern from *:
    int __builtin_ctz(unsigned int) noexcept nogil
    void __builtin_prefetch(const void* address, int write) noexcept nogil


cdef enum:
    ORDER_EXTERNAL = 1      # flag: an anonymous L2 level's order, without an id

cdef enum:
    CELLS = 7               # orders a chunk holds
    SLOT_BITS = 3
    SLOTS = 7               # mask of the slot in a handle
    STOP_BIT = 0x40000000   # in a handle: a stop
    MAX_CHUNKS = 0x07FFFFFF     # a handle stays below STOP_BIT


# What a fill looks at.
ctypedef struct cell_t:
    uint64_t id             # unique among live orders; 0 of an external one
    int64_t lots            # that show, 1..2**62


# A run of a level's queue, two cache lines. Invariant: a chunk in a queue has live cells; cells are used from the first
# on, older orders first, and the next chunk is taken when all have been: which is next, the level knows. A free chunk has no
# live cell and is linked by `next`.
ctypedef struct chunk_t:
    uint32_t level
    uint32_t next           # younger chunk, 0 at the end
    uint32_t prev           # older one, 0 at the front
    uint8_t live            # bit mask of the cells that hold an order
    uint8_t rare            # bit mask: the order has a rare_t
    uint8_t anon            # bit mask: the order is external
    uint8_t pad
    cell_t cells[CELLS]


# An iceberg's hidden part. A free record is linked by `hidden`.
ctypedef struct peak_t:
    int64_t hidden          # lots, 0 once the last slice shows
    int64_t display


# An owner: the live orders, oldest first, and what reduce-only needs. Exists while it says anything. A free record is
# linked by `head`.
ctypedef struct owner_t:
    int32_t owner
    int32_t lmm_percent
    int32_t holds           # > 0 while a taker of this owner acts
    uint32_t head
    uint32_t tail
    int32_t share           # where a level is divided: index of its last order that has been looked at, or anything
    int64_t position_high   # the net position, 128 bits in two's complement
    uint64_t position_low


# A book. Invariant: the best bid is below the best ask, once a message has been dealt with; the hints of `ids` lead to
# every live order that has an id.
ctypedef struct book_t:
    chunk_t* chunks
    ladder_t ladder
    ids_t ids
    int64_t room            # orders that can be added without asking for memory, beside all waiting stops
    int32_t orders[2]       # resting orders a side
    int32_t chunks_used     # chunks ever handed out, the first, which is never used, included
    uint32_t chunks_free
    lines_t chunks_mem
    rare_t* rares           # by handle; NULL until an order needs one
    int32_t rares_cap
    int32_t reducing        # resting orders that are reduce-only
    peak_t* peaks           # record 0 is never used
    int32_t peaks_cap
    int32_t peaks_used
    uint32_t peaks_free
    int32_t icebergs        # resting orders with a peak
    int32_t hidden_cap
    int64_t* hidden         # by level, of those marked `hides`: lots that do not show; NULL until there is an iceberg
    owner_t* owners         # record 0 is never used
    int32_t owners_cap
    int32_t owners_used
    uint32_t owners_free
    idmap_t owner_records   # owner -> record
    stops_t stops
    uint64_t last_id        # the largest id ever accepted, 0 at first
    int64_t last_ticks      # of the last trade, if has_last
    int64_t mark_ticks
    bint has_last
    bint has_mark
    rule_t rule             # how a level is divided among its orders
    share_t* shares         # scratch for it
    int32_t shares_cap
    uint32_t top[2]         # the TOP order of a side, which has a rare_t; 0 if there is none
    int64_t top_left[2]     # what it may still get as such
    void* scratch           # a book_t to try things on, NULL until needed


# -- memory ------------------------------------------------------------------------------------------------------------


cdef inline bint book_alive(const book_t* b, uint32_t h) noexcept nogil:
    """Does a handle that may be stale name a live order with an id?"""
    cdef const chunk_t* c
    if h & STOP_BIT:
        return b.stops.records[h & ~<uint32_t>STOP_BIT].state == STOP_WAITING
    c = &b.chunks[h >> SLOT_BITS]
    return ((c.live & ~c.anon) >> (h & SLOTS)) & 1


cdef inline uint64_t book_id(const book_t* b, uint32_t h) noexcept nogil:
    """An order's id; 0 of an external one."""
    if h & STOP_BIT:
        return b.stops.records[h & ~<uint32_t>STOP_BIT].id
    return b.chunks[h >> SLOT_BITS].cells[h & SLOTS].id


cdef inline uint32_t book_find_sparse(const book_t* b, uint64_t id, int64_t* place) noexcept nogil:
    """book_find in the hash table's buckets, which must be there; `place` is where the hint stands, or would stand."""
    cdef uint64_t hash = ids_hash(id)
    cdef const bucket_t* k
    cdef unsigned int same
    cdef uint32_t h
    cdef int64_t i = ids_place(&b.ids, hash)
    while True:
        k = &b.ids.buckets[i]
        same = tags_equal(k.tags, ids_tag(hash))
        while same:
            h = k.handles[__builtin_ctz(same)]
            if book_id(b, h) == id and book_alive(b, h):
                place[0] = i << BUCKET_BITS | __builtin_ctz(same)
                return h
            same &= same - 1
        same = tags_equal(k.tags, 0)
        if same:
            place[0] = i << BUCKET_BITS | __builtin_ctz(same)
            return 0
        i = (i + 1) & (b.ids.cap - 1)


cdef inline uint32_t book_find(const book_t* b, uint64_t id) noexcept nogil:
    """The live order with this id, resting or waiting, or 0. External orders have no id. O(1)."""
    cdef uint32_t h = ids_dense(&b.ids, id)
    cdef int64_t place
    if h != 0 and book_id(b, h) == id and book_alive(b, h):
        return h
    if b.ids.used == 0:
        return 0
    return book_find_sparse(b, id, &place)


cdef inline int book_init(book_t* b) noexcept nogil:
    """An empty book with price-time priority."""
    memset(b, 0, sizeof(book_t))
    idmap_init(&b.owner_records)
    ids_init(&b.ids)
    stops_init(&b.stops)
    b.rule.fifo = True
    if ladder_init(&b.ladder) != OK:
        return ERR_MEMORY
    if lines_fit(&b.chunks_mem, 8, sizeof(chunk_t)) != OK:
        ladder_free(&b.ladder)
        return ERR_MEMORY
    b.chunks = <chunk_t*>b.chunks_mem.items
    memset(&b.chunks[0], 0, sizeof(chunk_t))
    b.chunks_used = 1
    b.owners_used = 1
    b.peaks_used = 1
    return OK


cdef inline void book_release(book_t* b) noexcept nogil:
    """Give back all memory but the scratch book's."""
    lines_free(&b.chunks_mem)
    ladder_free(&b.ladder)
    ids_free(&b.ids)
    stops_free(&b.stops)
    idmap_free(&b.owner_records)
    PyMem_RawFree(b.rares)
    PyMem_RawFree(b.peaks)
    PyMem_RawFree(b.hidden)
    PyMem_RawFree(b.owners)
    PyMem_RawFree(b.shares)


cdef inline void book_free(book_t* b) noexcept nogil:
    """Give all memory back; the book can only be made anew with book_init after it."""
    cdef book_t* scratch = <book_t*>b.scratch
    book_release(b)
    memset(b, 0, sizeof(book_t))
    if scratch != NULL:
        book_free(scratch)      # which may have one of its own
        PyMem_RawFree(scratch)


cdef inline void book_clear(book_t* b) noexcept nogil:
    """Make the book as book_init left it, with the same rule, in the memory that it has."""
    b.chunks_used = 1
    b.chunks_free = 0
    ladder_clear(&b.ladder)
    ids_clear(&b.ids)
    stops_clear(&b.stops)
    idmap_clear(&b.owner_records)
    b.orders[BID] = 0
    b.orders[ASK] = 0
    b.reducing = 0
    b.icebergs = 0
    b.peaks_used = 1
    b.peaks_free = 0
    b.owners_used = 1
    b.owners_free = 0
    b.top[BID] = 0
    b.top[ASK] = 0
    b.last_id = 0
    b.has_last = False
    b.has_mark = False
    b.room = 0


cdef inline int32_t book_count(const book_t* b) noexcept nogil:
    """Resting orders."""
    return b.orders[BID] + b.orders[ASK]


cdef inline void book_collect_pages(book_t* b) noexcept nogil:
    """Give up the pages of hints that lead to no live order. O(orders)."""
    cdef int32_t i, k
    cdef const chunk_t* c
    for i in range(1, b.chunks_used):
        c = &b.chunks[i]
        for k in range(CELLS):
            if (c.live & ~c.anon) >> k & 1:
                ids_mark(&b.ids, c.cells[k].id)
    for i in range(1, b.stops.used):
        if b.stops.records[i].state == STOP_WAITING:
            ids_mark(&b.ids, b.stops.records[i].id)
    ids_keep_marked(&b.ids)
    b.ids.collect_at += book_count(b) >> 8     # so that looking through the orders stays a small part of the work


cdef inline int book_renew_hashed(book_t* b, int64_t more) noexcept nogil:
    """A hash table without stale hints, with room for `more`. O(orders)."""
    cdef int64_t hashed = book_count(b) + b.stops.live
    cdef int32_t i, k
    cdef uint32_t h
    cdef const chunk_t* c
    if hashed > b.ids.used:
        hashed = b.ids.used
    if ids_renew_sparse(&b.ids, hashed + more) != OK:
        return ERR_MEMORY
    if hashed == 0:
        return OK
    for i in range(1, b.chunks_used):
        c = &b.chunks[i]
        for k in range(CELLS):
            h = (<uint32_t>i << SLOT_BITS) | <uint32_t>k
            if (c.live & ~c.anon) >> k & 1 and ids_dense(&b.ids, c.cells[k].id) != h:
                ids_put_sparse(&b.ids, c.cells[k].id, h)
    for i in range(1, b.stops.used):
        h = <uint32_t>STOP_BIT | <uint32_t>i
        if b.stops.records[i].state == STOP_WAITING and ids_dense(&b.ids, b.stops.records[i].id) != h:
            ids_put_sparse(&b.ids, b.stops.records[i].id, h)
    return OK


cdef inline int book_fit_rares(book_t* b) noexcept nogil:
    """A rare_t for every cell. The new ones need no content: a chunk's mask says whose are in use."""
    return array_fit(<void**>&b.rares, &b.rares_cap, <int64_t>b.chunks_mem.cap << SLOT_BITS, sizeof(rare_t))


cdef inline int book_fit_hidden(book_t* b) noexcept nogil:
    """A sum of hidden lots for every level. Those of levels that are not marked need no content."""
    return array_fit(<void**>&b.hidden, &b.hidden_cap, b.ladder.levels_mem.cap, sizeof(int64_t))


cdef inline int book_reserve(book_t* b, int64_t more) noexcept nogil:
    """Room for `more` orders, each on a level of its own, and for every waiting stop. ERR_MEMORY leaves the content as it
    was."""
    cdef int64_t chunks = b.chunks_used
    cdef int64_t wanted = more
    more += b.stops.live
    # A refilled iceberg moves to another chunk; as no chunk is without an order, there are never more than orders.
    if (b.icebergs > 0 or b.stops.live > 0) and chunks < book_count(b) + 2:
        chunks = book_count(b) + 2
    if chunks + more > MAX_CHUNKS:
        return ERR_MEMORY
    if lines_fit(&b.chunks_mem, chunks + more, sizeof(chunk_t)) != OK:
        return ERR_MEMORY
    b.chunks = <chunk_t*>b.chunks_mem.items
    if b.rares != NULL and book_fit_rares(b) != OK:
        return ERR_MEMORY
    if ladder_reserve(&b.ladder, more) != OK:
        return ERR_MEMORY
    if b.hidden != NULL and book_fit_hidden(b) != OK:
        return ERR_MEMORY
    if not b.rule.fifo and array_fit(<void**>&b.shares, &b.shares_cap, book_count(b) + more, sizeof(share_t)) != OK:
        return ERR_MEMORY
    if b.ids.pages_n >= b.ids.collect_at:
        book_collect_pages(b)
    # A stop has one hint while it waits and another one when it rests.
    if not ids_roomy(&b.ids, wanted + more) and book_renew_hashed(b, wanted + more) != OK:
        return ERR_MEMORY
    b.room = wanted
    return OK


cdef inline int book_expect(book_t* b, int64_t orders) noexcept nogil:
    """Memory for so many orders in queues of usual length, in one piece each."""
    if lines_fit(&b.chunks_mem, orders // 4 + 64, sizeof(chunk_t)) != OK:
        return ERR_MEMORY
    b.chunks = <chunk_t*>b.chunks_mem.items
    if ladder_reserve(&b.ladder, orders // 16 + 64) != OK:
        return ERR_MEMORY
    return ids_expect(&b.ids, orders)


cdef inline int book_reserve_some(book_t* b, int64_t least) noexcept nogil:
    """Room for `least` orders or, so that this is rare, for more."""
    cdef int64_t more = book_count(b) >> 3
    return book_reserve(b, least + (8 if more < 8 else more if more < 1024 else 1024))


cdef inline int book_reserve_rare(book_t* b, bint owned, bint peaked) noexcept nogil:
    """Room for one more order with an owner or a peak."""
    cdef int status
    if b.rares == NULL and book_fit_rares(b) != OK:
        return ERR_MEMORY
    if owned:
        if array_fit(<void**>&b.owners, &b.owners_cap, <int64_t>b.owners_used + 1, sizeof(owner_t)) != OK:
            return ERR_MEMORY
        if b.owners_used == 1:
            memset(&b.owners[0], 0, sizeof(owner_t))
        if idmap_reserve(&b.owner_records, b.owner_records.n + 1) != OK:
            return ERR_MEMORY
    if peaked:
        if b.hidden == NULL and book_fit_hidden(b) != OK:
            return ERR_MEMORY
        # Every waiting stop may turn into an iceberg.
        if array_fit(<void**>&b.peaks, &b.peaks_cap, <int64_t>b.peaks_used + b.stops.live + 1, sizeof(peak_t)) != OK:
            return ERR_MEMORY
        # From the first iceberg on the chunks are counted another way.
        if b.icebergs == 0:
            b.icebergs = 1
            status = book_reserve(b, b.room)
            b.icebergs = 0
            return status
    return OK


cdef inline int book_copy(book_t* dst, const book_t* src) noexcept nogil:
    """Make `dst` (initialised) equal to `src`, handles included. Reuses dst's memory where it is large
    enough; then it is a few memcpy. ERR_MEMORY leaves dst's content as it was."""
    cdef book_t old
    # Beside what is there: a refilled iceberg moves, and every waiting stop may rest, as an iceberg, before book_reserve is
    # asked again.
    cdef int64_t live = src.stops.live, chunks = src.chunks_used
    if (src.icebergs > 0 or live > 0) and chunks < book_count(src) + 2:
        chunks = book_count(src) + 2
    if lines_fit(&dst.chunks_mem, chunks + live, sizeof(chunk_t)) != OK:
        return ERR_MEMORY
    dst.chunks = <chunk_t*>dst.chunks_mem.items
    if (src.rares != NULL or dst.rares != NULL) and book_fit_rares(dst) != OK:
        return ERR_MEMORY
    if src.peaks != NULL and array_fit(<void**>&dst.peaks, &dst.peaks_cap, src.peaks_used + live, sizeof(peak_t)) != OK:
        return ERR_MEMORY
    if src.owners != NULL and array_fit(<void**>&dst.owners, &dst.owners_cap, src.owners_used, sizeof(owner_t)) != OK:
        return ERR_MEMORY
    if idmap_copy_room(&dst.owner_records, &src.owner_records) != OK:
        return ERR_MEMORY
    if not src.rule.fifo and array_fit(<void**>&dst.shares, &dst.shares_cap, book_count(src) + live + 1, sizeof(share_t)) != OK:
        return ERR_MEMORY
    if ladder_copy_room(&dst.ladder, &src.ladder, live) != OK or stops_copy_room(&dst.stops, &src.stops) != OK:
        return ERR_MEMORY
    if (src.hidden != NULL or dst.hidden != NULL) and book_fit_hidden(dst) != OK:
        return ERR_MEMORY
    if ids_copy_room(&dst.ids, &src.ids) != OK:
        return ERR_MEMORY
    memcpy(dst.chunks, src.chunks, <size_t>src.chunks_used * sizeof(chunk_t))
    if src.rares != NULL:
        memcpy(dst.rares, src.rares, (<size_t>src.chunks_used << SLOT_BITS) * sizeof(rare_t))
    if src.peaks != NULL:
        memcpy(dst.peaks, src.peaks, <size_t>src.peaks_used * sizeof(peak_t))
    if src.hidden != NULL:
        memcpy(dst.hidden, src.hidden, <size_t>src.ladder.levels_used * sizeof(int64_t))
    if src.owners != NULL:
        memcpy(dst.owners, src.owners, <size_t>src.owners_used * sizeof(owner_t))
    ladder_copy(&dst.ladder, &src.ladder)
    stops_copy(&dst.stops, &src.stops)
    ids_copy(&dst.ids, &src.ids)
    idmap_copy(&dst.owner_records, &src.owner_records)
    old = dst[0]
    dst[0] = src[0]
    # What names dst's own memory stays.
    dst.chunks = old.chunks
    dst.chunks_mem = old.chunks_mem
    dst.ladder = old.ladder
    dst.ids = old.ids
    dst.rares = old.rares
    dst.rares_cap = old.rares_cap
    dst.peaks = old.peaks
    dst.peaks_cap = old.peaks_cap
    dst.hidden = old.hidden
    dst.hidden_cap = old.hidden_cap
    dst.owners = old.owners
    dst.owners_cap = old.owners_cap
    dst.owner_records = old.owner_records
    dst.stops = old.stops
    dst.shares = old.shares
    dst.shares_cap = old.shares_cap
    dst.scratch = old.scratch
    dst.room = 0
    return OK


# -- levels ------------------------------------------------------------------------------------------------------------


cdef inline bint book_has(const book_t* b, int side) noexcept nogil:
    """Is there any order on `side`?"""
    return b.ladder.best[side] != 0


cdef inline int64_t book_best(const book_t* b, int side) noexcept nogil:
    """The best price of a side that is not empty, in ticks."""
    return b.ladder.best_ticks[side]


cdef inline uint32_t book_best_level(const book_t* b, int side) noexcept nogil:
    """The best level, 0 if the side is empty."""
    return b.ladder.best[side]


cdef inline uint32_t book_next_level(const book_t* b, uint32_t level) noexcept nogil:
    """The next level behind one, 0 at the end. O(log levels)."""
    return ladder_below(&b.ladder, level)


cdef inline uint32_t book_level_at(book_t* b, int side, int64_t price) noexcept nogil:
    """The level of a price, 0 if there is none."""
    return ladder_find(&b.ladder, side, price_rank(side, price), price)


cdef inline uint32_t chunk_first(const chunk_t* c, uint32_t chunk) noexcept nogil:
    """The oldest order of a chunk that has one."""
    return (chunk << SLOT_BITS) | <uint32_t>__builtin_ctz(c.live)


cdef inline uint32_t book_front_of(const book_t* b, uint32_t level) noexcept nogil:
    """The oldest order of a level."""
    cdef uint32_t chunk = b.ladder.levels[level].head
    return chunk_first(&b.chunks[chunk], chunk)


cdef inline uint32_t book_front(const book_t* b, int side) noexcept nogil:
    """The oldest order of the best level, 0 if the side is empty."""
    return book_front_of(b, b.ladder.best[side]) if b.ladder.best[side] != 0 else 0


cdef inline uint32_t book_behind(const book_t* b, uint32_t h) noexcept nogil:
    """The next younger order of the same level, 0 at the end."""
    cdef const chunk_t* c = &b.chunks[h >> SLOT_BITS]
    cdef uint32_t later = c.live & (<uint32_t>0xFE << (h & SLOTS))
    if later:
        return (h & ~<uint32_t>SLOTS) | <uint32_t>__builtin_ctz(later)
    if c.next == 0:
        return 0
    return chunk_first(&b.chunks[c.next], c.next)


# -- one order ---------------------------------------------------------------------------------------------------------


cdef inline cell_t* book_cell(const book_t* b, uint32_t h) noexcept nogil:
    return &b.chunks[h >> SLOT_BITS].cells[h & SLOTS]


cdef inline rare_t* book_rare(const book_t* b, uint32_t h) noexcept nogil:
    """What few orders have; NULL if this one has nothing of it."""
    if h & STOP_BIT:
        return &b.stops.records[h & ~<uint32_t>STOP_BIT].rare
    if (b.chunks[h >> SLOT_BITS].rare >> (h & SLOTS)) & 1:
        return &b.rares[h]
    return NULL


cdef inline level_t* book_level_of(const book_t* b, uint32_t h) noexcept nogil:
    """The level of a resting order."""
    return &b.ladder.levels[b.chunks[h >> SLOT_BITS].level]


cdef inline int64_t book_lots(const book_t* b, uint32_t h) noexcept nogil:
    """The lots of a resting order that show."""
    return book_cell(b, h).lots


cdef inline int64_t book_price(const book_t* b, uint32_t h) noexcept nogil:
    """The price of a resting order, in ticks."""
    return book_level_of(b, h).price_ticks


cdef inline int book_side(const book_t* b, uint32_t h) noexcept nogil:
    """BID or ASK of a resting order."""
    return book_level_of(b, h).side


cdef inline bint book_external(const book_t* b, uint32_t h) noexcept nogil:
    """Is it an anonymous level's order?"""
    return (b.chunks[h >> SLOT_BITS].anon >> (h & SLOTS)) & 1


cdef inline int32_t book_owner(const book_t* b, uint32_t h) noexcept nogil:
    """An order's owner, 0 if it is nobody's."""
    cdef const rare_t* rare = book_rare(b, h)
    return b.owners[rare.owner_record].owner if rare != NULL and rare.owner_record > 0 else 0


cdef inline int64_t book_hidden(const book_t* b, uint32_t h) noexcept nogil:
    """The lots of a resting order that do not show."""
    cdef const rare_t* rare = book_rare(b, h)
    return b.peaks[rare.peak].hidden if rare != NULL and rare.peak != 0 else 0


cdef inline int64_t book_open(const book_t* b, uint32_t h) noexcept nogil:
    """All lots of a resting order."""
    return book_cell(b, h).lots + book_hidden(b, h)


cdef inline int64_t book_level_open(const book_t* b, uint32_t level) noexcept nogil:
    """All lots of a level, hidden ones included."""
    cdef const level_t* v = &b.ladder.levels[level]
    return v.quantity_lots + (b.hidden[level] if v.hides else 0)


cdef inline bint book_fits(book_t* b, int side, int64_t price, int64_t lots) noexcept nogil:
    """Would the level's sum stay an int64 if `lots` joined it?"""
    cdef uint32_t level = book_level_at(b, side, price)
    return level == 0 or lots <= INT64_MAX - book_level_open(b, level)


# -- owners ------------------------------------------------------------------------------------------------------------


cdef inline int32_t book_owner_find(const book_t* b, int32_t owner) noexcept nogil:
    """The record of an owner > 0, 0 if there is none."""
    cdef int32_t k = idmap_get(&b.owner_records, <uint64_t>owner)
    return k if k > 0 else 0


cdef inline int32_t book_owner_record(book_t* b, int32_t owner) noexcept nogil:
    """The record of an owner > 0, made if there is none; book_reserve_rare has made the room."""
    cdef int32_t k = book_owner_find(b, owner)
    if k > 0:
        return k
    if b.owners_free != 0:
        k = <int32_t>b.owners_free
        b.owners_free = b.owners[k].head
    else:
        k = b.owners_used
        b.owners_used += 1
    memset(&b.owners[k], 0, sizeof(owner_t))
    b.owners[k].owner = owner
    idmap_put(&b.owner_records, <uint64_t>owner, k)
    return k


cdef inline void book_owner_settle(book_t* b, int32_t record) noexcept nogil:
    """Give an owner's record back if it says nothing any more."""
    cdef owner_t* own = &b.owners[record]
    if own.head != 0 or own.position_high != 0 or own.position_low != 0 or own.lmm_percent != 0 or own.holds > 0:
        return
    idmap_del(&b.owner_records, <uint64_t>own.owner)
    own.owner = 0
    own.head = b.owners_free
    b.owners_free = <uint32_t>record


cdef inline uint32_t book_owner_first(const book_t* b, int32_t owner) noexcept nogil:
    """The oldest live order of an owner > 0, 0 if there is none."""
    return b.owners[book_owner_find(b, owner)].head if book_owner_find(b, owner) > 0 else 0


cdef inline uint32_t book_owner_next(const book_t* b, uint32_t h) noexcept nogil:
    """The same owner's next younger live order, 0 at the end."""
    return book_rare(b, h).owner_next


cdef inline void book_owner_append(book_t* b, uint32_t h) noexcept nogil:
    """Put an order with an owner at the end of its owner's list."""
    cdef rare_t* rare = book_rare(b, h)
    cdef owner_t* own = &b.owners[rare.owner_record]
    rare.owner_prev = own.tail
    rare.owner_next = 0
    if own.tail != 0:
        book_rare(b, own.tail).owner_next = h
    else:
        own.head = h
    own.tail = h


cdef inline void book_owner_unlink(book_t* b, const rare_t* rare) noexcept nogil:
    """Take an order with an owner out of its owner's list; the owner's record stays."""
    cdef owner_t* own = &b.owners[rare.owner_record]
    if rare.owner_prev != 0:
        book_rare(b, rare.owner_prev).owner_next = rare.owner_next
    else:
        own.head = rare.owner_next
    if rare.owner_next != 0:
        book_rare(b, rare.owner_next).owner_prev = rare.owner_prev
    else:
        own.tail = rare.owner_prev


cdef inline void position_add(owner_t* own, int64_t lots) noexcept nogil:
    """Move a net position."""
    cdef uint64_t low = own.position_low + <uint64_t>lots
    own.position_high += (-1 if lots < 0 else 0) + (1 if low < own.position_low else 0)
    own.position_low = low


cdef inline int64_t position_room(const owner_t* own, int side) noexcept nogil:
    """What an order on `side` (BID or ASK) could close of a position, at most INT64_MAX."""
    cdef int64_t high = own.position_high
    cdef uint64_t low = own.position_low
    if side == BID:
        # The negative of it.
        low = ~low + 1
        high = ~high + (1 if low == 0 else 0)
    if high < 0:
        return 0
    return <int64_t>low if high == 0 and low <= <uint64_t>INT64_MAX else INT64_MAX


# -- orders come and go ------------------------------------------------------------------------------------------------


cdef inline uint32_t book_new_chunk(book_t* b, uint32_t level, level_t* v) noexcept nogil:
    """A chunk at the end of a level's queue: its first cell, for an order to follow at once."""
    cdef uint32_t chunk = b.chunks_free, last = v.tail >> SLOT_BITS
    cdef chunk_t* c
    if chunk != 0:
        c = &b.chunks[chunk]
        b.chunks_free = c.next
        __builtin_prefetch(&b.chunks[c.next], 1)
    else:
        chunk = <uint32_t>b.chunks_used
        c = &b.chunks[chunk]
        b.chunks_used += 1
    c.level = level
    c.next = 0
    c.prev = last
    c.live = 0
    c.rare = 0
    c.anon = 0
    if last != 0:
        b.chunks[last].next = chunk
    else:
        v.head = chunk
    return chunk << SLOT_BITS


cdef inline uint32_t book_append(book_t* b, uint32_t level, uint64_t id, int64_t lots) noexcept nogil:
    """Append a plain order at the end of a level's queue: its handle. The caller counts it in the side, gives the hint
    and has made sure of the room and of the sum."""
    cdef level_t* v = &b.ladder.levels[level]
    cdef uint32_t h = v.tail
    cdef chunk_t* c
    # The level says whether its last chunk is full: that one itself need not be at hand yet.
    if h & SLOTS == CELLS:
        h = book_new_chunk(b, level, v)
    c = &b.chunks[h >> SLOT_BITS]
    c.live |= <uint8_t>(1 << (h & SLOTS))
    c.cells[h & SLOTS].id = id
    c.cells[h & SLOTS].lots = lots
    v.tail = h + 1
    v.count += 1
    v.quantity_lots += lots
    return h


cdef inline uint32_t book_rest(book_t* b, int side, int64_t price, uint64_t id, int64_t lots) noexcept nogil:
    """book_append where the price's level may be new, with hint and count. The room is there."""
    cdef uint32_t level = ladder_enter(&b.ladder, side, price_rank(side, price), price)
    cdef uint32_t h = book_append(b, level, id, lots)
    ids_put(&b.ids, id, h)
    b.orders[side] += 1
    b.room -= 1
    return h


cdef inline rare_t* book_make_rare(book_t* b, uint32_t h) noexcept nogil:
    """Give a resting order a rare_t, all zero."""
    cdef rare_t* rare = &b.rares[h]
    b.chunks[h >> SLOT_BITS].rare |= <uint8_t>(1 << (h & SLOTS))
    memset(rare, 0, sizeof(rare_t))
    return rare


cdef inline void book_hide(book_t* b, uint32_t h, int64_t hidden, int64_t display) noexcept nogil:
    """Make a resting order with a rare_t an iceberg."""
    cdef uint32_t peak = b.peaks_free, level = b.chunks[h >> SLOT_BITS].level
    if peak != 0:
        b.peaks_free = <uint32_t>b.peaks[peak].hidden
    else:
        peak = <uint32_t>b.peaks_used
        b.peaks_used += 1
    b.peaks[peak].hidden = hidden
    b.peaks[peak].display = display
    b.rares[h].peak = peak
    b.icebergs += 1
    if not b.ladder.levels[level].hides:
        b.ladder.levels[level].hides = 1
        b.hidden[level] = 0
    b.hidden[level] += hidden


cdef inline void chunk_release(book_t* b, uint32_t chunk) noexcept nogil:
    """Take a chunk without orders out of its level's queue."""
    cdef chunk_t* c = &b.chunks[chunk]
    cdef level_t* v = &b.ladder.levels[c.level]
    if c.prev != 0:
        b.chunks[c.prev].next = c.next
    else:
        v.head = c.next
    if c.next != 0:
        b.chunks[c.next].prev = c.prev
    else:
        v.tail = (c.prev << SLOT_BITS) | CELLS
    c.next = b.chunks_free
    b.chunks_free = chunk


cdef inline void book_forget(book_t* b, int side, uint32_t h) noexcept nogil:
    """Undo what an order with a rare_t is known by: owner, peak, counts, the TOP place."""
    cdef rare_t* rare = &b.rares[h]
    if b.top[side] == h:
        b.top[side] = 0
    if rare.owner_record > 0:
        book_owner_unlink(b, rare)
        book_owner_settle(b, rare.owner_record)
    if rare.flags & FLAG_REDUCE_ONLY:
        b.reducing -= 1
    if rare.peak != 0:
        b.hidden[b.chunks[h >> SLOT_BITS].level] -= b.peaks[rare.peak].hidden
        b.peaks[rare.peak].hidden = b.peaks_free
        b.peaks_free = rare.peak
        b.icebergs -= 1
    b.chunks[h >> SLOT_BITS].rare &= ~<uint8_t>(1 << (h & SLOTS))


cdef inline void book_drop(book_t* b, uint32_t h) noexcept nogil:
    """Take the cell of an order, whatever it shows, off its level, and a level left empty off the book."""
    cdef uint32_t chunk = h >> SLOT_BITS
    cdef chunk_t* c = &b.chunks[chunk]
    cdef level_t* v = &b.ladder.levels[c.level]
    c.live &= ~<uint8_t>(1 << (h & SLOTS))
    v.quantity_lots -= c.cells[h & SLOTS].lots
    v.count -= 1
    if v.count == 0:
        c.next = b.chunks_free
        b.chunks_free = chunk
        ladder_remove(&b.ladder, c.level)
    elif c.live == 0:
        chunk_release(b, chunk)


cdef inline void book_remove(book_t* b, uint32_t h) noexcept nogil:
    """Take a resting order off the book, whatever is left of it."""
    cdef int side = book_side(b, h)
    if unlikely((b.chunks[h >> SLOT_BITS].rare >> (h & SLOTS)) & 1):
        book_forget(b, side, h)
    b.orders[side] -= 1
    book_drop(b, h)


cdef inline void book_take(book_t* b, uint32_t h, int64_t lots) noexcept nogil:
    """A fill of `lots` <= what shows; at 0 the order is gone: an iceberg's next slice is the caller's to show before."""
    cdef cell_t* cell = book_cell(b, h)
    if lots == cell.lots:
        book_remove(b, h)
    else:
        cell.lots -= lots
        book_level_of(b, h).quantity_lots -= lots


cdef inline void book_refill(book_t* b, uint32_t h) noexcept nogil:
    """Show the next slice of an iceberg whose shown lots have all been taken: at the end of its level's queue. The owner's
    list keeps its order."""
    cdef chunk_t* c = &b.chunks[h >> SLOT_BITS]
    cdef uint32_t level = c.level, moved
    cdef uint64_t id = c.cells[h & SLOTS].id
    cdef rare_t* rare = &b.rares[h]
    cdef rare_t* now
    cdef peak_t* peak = &b.peaks[rare.peak]
    cdef int64_t lots = peak.display if peak.display < peak.hidden else peak.hidden
    peak.hidden -= lots
    b.hidden[level] -= lots
    moved = book_append(b, level, id, lots)
    now = book_make_rare(b, moved)
    now[0] = rare[0]
    if now.owner_record > 0:
        if now.owner_prev != 0:
            book_rare(b, now.owner_prev).owner_next = moved
        else:
            b.owners[now.owner_record].head = moved
        if now.owner_next != 0:
            book_rare(b, now.owner_next).owner_prev = moved
        else:
            b.owners[now.owner_record].tail = moved
    b.chunks[h >> SLOT_BITS].rare &= ~<uint8_t>(1 << (h & SLOTS))
    if b.top[b.ladder.levels[level].side] == h:
        b.top[b.ladder.levels[level].side] = 0
    book_drop(b, h)
    ids_move(&b.ids, id, h, moved)


cdef inline void book_set_hidden(book_t* b, uint32_t h, int64_t hidden) noexcept nogil:
    """Set the lots of a resting iceberg that do not show, to no more than there are."""
    cdef peak_t* peak = &b.peaks[b.rares[h].peak]
    b.hidden[b.chunks[h >> SLOT_BITS].level] -= peak.hidden - hidden
    peak.hidden = hidden


cdef inline void book_reduce(book_t* b, uint32_t h, int64_t new_lots) noexcept nogil:
    """Set the lots that show to `new_lots` >= 1 and keep the place. More is for external levels; the caller has made sure
    that the level's sum stays an int64."""
    cdef cell_t* cell = book_cell(b, h)
    book_level_of(b, h).quantity_lots += new_lots - cell.lots
    cell.lots = new_lots


cdef inline int64_t book_place(
    book_t* b, int side, int64_t price, int64_t lots, int32_t owner, uint64_t id, uint8_t flags
) noexcept nogil:
    """Append an order at its level's tail: its handle, or a negative status with the book unchanged. `lots` is in 1..2**62;
    an id that is not external is not live. The owner's list is left to the caller (book_owner_append)."""
    cdef uint32_t level, h
    cdef rare_t* rare
    if b.room == 0 and book_reserve_some(b, 1) != OK:
        return ERR_MEMORY
    if owner > 0 and book_reserve_rare(b, True, False) != OK:
        return ERR_MEMORY
    if not book_fits(b, side, price, lots):
        return ERR_RANGE
    if flags & ORDER_EXTERNAL:
        level = ladder_enter(&b.ladder, side, price_rank(side, price), price)
        h = book_append(b, level, 0, lots)
        b.chunks[h >> SLOT_BITS].anon |= <uint8_t>(1 << (h & SLOTS))
        b.orders[side] += 1
        b.room -= 1
        return h
    h = book_rest(b, side, price, id, lots)
    if id > b.last_id:
        b.last_id = id
    if owner > 0:
        rare = book_make_rare(b, h)
        rare.owner_record = book_owner_record(b, owner)
    return h


cdef inline int64_t book_add(
    book_t* b, int side, int64_t price, int64_t lots, int32_t owner, uint64_t id, uint8_t flags
) noexcept nogil:
    """book_place, and the order is the youngest of its owner."""
    cdef int64_t h = book_place(b, side, price, lots, owner, id, flags)
    if h > 0 and owner > 0:
        book_owner_append(b, <uint32_t>h)
    return h


cdef inline uint32_t book_external_at(book_t* b, int side, int64_t price) noexcept nogil:
    """The external order at a price, 0 if there is none. O(orders of the level)."""
    cdef uint32_t level = book_level_at(b, side, price)
    cdef uint32_t h = book_front_of(b, level) if level != 0 else 0
    while h != 0 and not book_external(b, h):
        h = book_behind(b, h)
    return h


cdef inline void book_remove_stop(book_t* b, uint32_t h) noexcept nogil:
    """Take a waiting stop off."""
    cdef rare_t* rare = book_rare(b, h)
    if rare.owner_record > 0:
        book_owner_unlink(b, rare)
        book_owner_settle(b, rare.owner_record)
    stops_kill(&b.stops, h & ~<uint32_t>STOP_BIT)
