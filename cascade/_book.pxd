"""The order book: price levels and their queues, the orders' ids and owners. Primitives only; _match.pxd
trades."""

from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from cascade._pool cimport (
    array_grow,
    idmap_check,
    idmap_copy,
    idmap_copy_room,
    idmap_del,
    idmap_free,
    idmap_get,
    idmap_init,
    idmap_put,
    idmap_reserve,
    idmap_t,
)
from cascade._types cimport ERR_MEMORY, ERR_RANGE, OK


cdef enum:
    BID = 0
    ASK = 1

cdef enum:
    ORDER_EXTERNAL = 1      # flag: an anonymous L2 level's order, not in the id map


# A resting order. Invariant: quantity_lots > 0 exactly while it rests (0 marks a cell of the free chain,
# linked by `next`); it is linked in the queue of the level (side, price_ticks) and, when owner > 0, in its
# owner's list.
ctypedef struct order_t:
    uint64_t id             # unique among the orders that are not external
    int64_t price_ticks     # any int64
    int64_t quantity_lots   # open, 1..2**62
    int32_t owner           # >= 0, 0 is nobody
    int32_t prev            # older neighbour in the level's queue, -1 at the front
    int32_t next            # younger neighbour, -1 at the end; of a free cell the next free one
    int32_t owner_prev      # older order of the same owner, -1 at the front; -1 when owner == 0
    int32_t owner_next      # younger one, -1 at the end; -1 when owner == 0
    uint8_t side            # BID or ASK
    uint8_t flags           # ORDER_EXTERNAL


# A price level. Invariant: never empty; quantity_lots and count are the sum and the number of its queue's
# orders.
ctypedef struct level_t:
    int64_t price_ticks
    int64_t quantity_lots   # <= INT64_MAX, checked when an order joins
    int32_t head            # oldest order
    int32_t tail            # youngest order
    int32_t count


# One side. Invariant: prices strictly better from one level to the next, so that the best is levels[n - 1]
# and an insertion near the best moves little.
ctypedef struct side_t:
    level_t* levels
    int32_t n
    int32_t cap
    int32_t orders          # orders on this side


# The orders of one owner, oldest first. Invariant: never empty while the owner is in the map; a free cell is
# linked by `head`.
ctypedef struct owner_list_t:
    int32_t head
    int32_t tail


# A book. Invariant: the best bid is below the best ask, once a message has been dealt with; every live order
# that is not external is in `ids` under its id, and nothing else is.
ctypedef struct book_t:
    side_t side[2]          # BID, ASK
    order_t* orders
    int32_t orders_cap
    int32_t orders_used     # cells ever handed out; those behind are untouched memory
    int32_t orders_free     # first cell of the free chain, -1 if none
    int32_t orders_live
    idmap_t ids             # id -> order
    owner_list_t* owners
    int32_t owners_cap
    int32_t owners_used
    int32_t owners_free     # first cell of the free chain, -1 if none
    idmap_t owner_lists     # owner -> its list
    uint64_t last_id        # the largest id ever accepted, 0 at first


cdef inline int book_init(book_t* b) noexcept nogil:
    """An empty book that owns no memory yet."""
    memset(b, 0, sizeof(book_t))
    idmap_init(&b.ids)
    idmap_init(&b.owner_lists)
    b.orders_free = -1
    b.owners_free = -1
    return OK


cdef inline void book_free(book_t* b) noexcept nogil:
    """Give all memory back; the book is empty and usable after it."""
    PyMem_RawFree(b.side[BID].levels)
    PyMem_RawFree(b.side[ASK].levels)
    PyMem_RawFree(b.orders)
    PyMem_RawFree(b.owners)
    idmap_free(&b.ids)
    idmap_free(&b.owner_lists)
    book_init(b)


cdef inline int book_grow_side(side_t* s, int64_t levels) noexcept nogil:
    """Room for `levels` levels in all."""
    cdef void* grown
    if levels <= s.cap:
        return OK
    grown = array_grow(s.levels, &s.cap, levels, sizeof(level_t))
    if grown == NULL:
        return ERR_MEMORY
    s.levels = <level_t*>grown
    return OK


cdef inline int book_grow_orders(book_t* b, int64_t orders) noexcept nogil:
    """Room for `orders` orders in all."""
    cdef void* grown
    if orders <= b.orders_cap:
        return OK
    grown = array_grow(b.orders, &b.orders_cap, orders, sizeof(order_t))
    if grown == NULL:
        return ERR_MEMORY
    b.orders = <order_t*>grown
    return OK


cdef inline int book_grow_owners(book_t* b, int64_t owners) noexcept nogil:
    """Room for `owners` owners' lists in all."""
    cdef void* grown
    if owners <= b.owners_cap:
        return OK
    grown = array_grow(b.owners, &b.owners_cap, owners, sizeof(owner_list_t))
    if grown == NULL:
        return ERR_MEMORY
    b.owners = <owner_list_t*>grown
    return OK


cdef inline int book_reserve(book_t* b, int side, int64_t orders, bint owned) noexcept nogil:
    """Room for `orders` more orders on `side`, each on a level (if `owned`: with an owner) of its own:
    book_add cannot lack memory for them. O(1) when the room is there. ERR_MEMORY leaves the content as it
    was."""
    if book_grow_orders(b, orders + b.orders_live) != OK:
        return ERR_MEMORY
    if book_grow_side(&b.side[side], orders + b.side[side].n) != OK:
        return ERR_MEMORY
    if idmap_reserve(&b.ids, orders + b.ids.n) != OK:
        return ERR_MEMORY
    if owned:
        if book_grow_owners(b, orders + b.owner_lists.n) != OK:
            return ERR_MEMORY
        if idmap_reserve(&b.owner_lists, orders + b.owner_lists.n) != OK:
            return ERR_MEMORY
    return OK


cdef inline int book_copy(book_t* dst, const book_t* src) noexcept nogil:
    """Make `dst` (initialised) equal to `src`, handles included. Reuses dst's memory where it is large
    enough; then it is a few memcpy. ERR_MEMORY leaves dst's content as it was."""
    cdef int k
    for k in range(2):
        if book_grow_side(&dst.side[k], src.side[k].n) != OK:
            return ERR_MEMORY
    if book_grow_orders(dst, src.orders_used) != OK or book_grow_owners(dst, src.owners_used) != OK:
        return ERR_MEMORY
    if idmap_copy_room(&dst.ids, &src.ids) != OK or idmap_copy_room(&dst.owner_lists, &src.owner_lists) != OK:
        return ERR_MEMORY
    for k in range(2):
        if src.side[k].n > 0:
            memcpy(dst.side[k].levels, src.side[k].levels, <size_t>src.side[k].n * sizeof(level_t))
        dst.side[k].n = src.side[k].n
        dst.side[k].orders = src.side[k].orders
    if src.orders_used > 0:
        memcpy(dst.orders, src.orders, <size_t>src.orders_used * sizeof(order_t))
    if src.owners_used > 0:
        memcpy(dst.owners, src.owners, <size_t>src.owners_used * sizeof(owner_list_t))
    idmap_copy(&dst.ids, &src.ids)
    idmap_copy(&dst.owner_lists, &src.owner_lists)
    dst.orders_used = src.orders_used
    dst.orders_free = src.orders_free
    dst.orders_live = src.orders_live
    dst.owners_used = src.owners_used
    dst.owners_free = src.owners_free
    dst.last_id = src.last_id
    return OK


cdef inline bint book_has(const book_t* b, int side) noexcept nogil:
    """Is there any order on `side`?"""
    return b.side[side].n > 0


cdef inline int64_t book_best(const book_t* b, int side) noexcept nogil:
    """The best price of a side that is not empty, in ticks."""
    return b.side[side].levels[b.side[side].n - 1].price_ticks


cdef inline int32_t book_front(const book_t* b, int side) noexcept nogil:
    """The oldest order of the best level, -1 if the side is empty."""
    cdef const side_t* s = &b.side[side]
    if s.n == 0:
        return -1
    return s.levels[s.n - 1].head


cdef inline int32_t book_find(const book_t* b, uint64_t id) noexcept nogil:
    """The live order with this id, or -1. External orders have no id."""
    return idmap_get(&b.ids, id)


cdef inline int32_t book_owner_first(const book_t* b, int32_t owner) noexcept nogil:
    """The oldest resting order of an owner > 0, -1 if there is none; owner_next leads on."""
    cdef int32_t k = idmap_get(&b.owner_lists, <uint64_t>owner)
    if k < 0:
        return -1
    return b.owners[k].head


cdef inline int64_t book_rank(int side, int64_t price) noexcept nogil:
    """A number that grows as the price gets better for `side`: ~price reverses int64 without overflow."""
    return ~price if side == ASK else price


cdef inline int32_t book_seat(const book_t* b, int side, int64_t price) noexcept nogil:
    """Where the level of `price` is, or would have to be inserted: the first one not worse. O(1) at or above
    the best."""
    cdef const side_t* s = &b.side[side]
    cdef int64_t rank = book_rank(side, price)
    cdef int32_t low = 0, high = s.n, middle
    if s.n > 0:
        if book_rank(side, s.levels[s.n - 1].price_ticks) < rank:
            return s.n
        if s.levels[s.n - 1].price_ticks == price:
            return s.n - 1
    while low < high:
        middle = low + (high - low) // 2
        if book_rank(side, s.levels[middle].price_ticks) < rank:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline int32_t book_level_at(const book_t* b, int side, int64_t price) noexcept nogil:
    """The index of a price's level in side.levels, or -1. O(log levels), O(1) at the best."""
    cdef int32_t i = book_seat(b, side, price)
    if i < b.side[side].n and b.side[side].levels[i].price_ticks == price:
        return i
    return -1


cdef inline void book_owner_append(book_t* b, int32_t h) noexcept nogil:
    """Put an order with an owner > 0 at the end of its owner's list; book_reserve has made the room."""
    cdef order_t* o = &b.orders[h]
    cdef owner_list_t* own
    cdef int32_t k = idmap_get(&b.owner_lists, <uint64_t>o.owner)
    if k < 0:
        if b.owners_free >= 0:
            k = b.owners_free
            b.owners_free = b.owners[k].head
        else:
            k = b.owners_used
            b.owners_used += 1
        b.owners[k].head = h
        b.owners[k].tail = h
        idmap_put(&b.owner_lists, <uint64_t>o.owner, k)
        return
    own = &b.owners[k]
    o.owner_prev = own.tail
    b.orders[own.tail].owner_next = h
    own.tail = h


cdef inline void book_owner_unlink(book_t* b, int32_t h) noexcept nogil:
    """Take an order with an owner > 0 out of its owner's list."""
    cdef order_t* o = &b.orders[h]
    cdef int32_t k
    if o.owner_prev >= 0 and o.owner_next >= 0:
        b.orders[o.owner_prev].owner_next = o.owner_next
        b.orders[o.owner_next].owner_prev = o.owner_prev
        return
    k = idmap_get(&b.owner_lists, <uint64_t>o.owner)
    if o.owner_prev >= 0:
        b.orders[o.owner_prev].owner_next = -1
        b.owners[k].tail = o.owner_prev
    elif o.owner_next >= 0:
        b.orders[o.owner_next].owner_prev = -1
        b.owners[k].head = o.owner_next
    else:
        idmap_del(&b.owner_lists, <uint64_t>o.owner)
        b.owners[k].head = b.owners_free
        b.owners_free = k


cdef inline bint book_fits(const book_t* b, int side, int64_t price, int64_t lots) noexcept nogil:
    """Would the level's sum stay an int64 if `lots` joined it?"""
    cdef int32_t i = book_level_at(b, side, price)
    return i < 0 or lots <= INT64_MAX - b.side[side].levels[i].quantity_lots


cdef inline int32_t book_place(
    book_t* b, int side, int64_t price, int64_t lots, int32_t owner, uint64_t id, uint8_t flags
) noexcept nogil:
    """book_add without the owner's list and the allocation: the caller has reserved, and appends to the list
    itself."""
    cdef side_t* s = &b.side[side]
    cdef int32_t i = book_seat(b, side, price)
    cdef int32_t h
    cdef order_t* o
    cdef level_t* v
    if i < s.n and s.levels[i].price_ticks == price:
        if lots > INT64_MAX - s.levels[i].quantity_lots:
            return ERR_RANGE
        v = &s.levels[i]
    else:
        v = &s.levels[i]
        memmove(v + 1, v, <size_t>(s.n - i) * sizeof(level_t))
        s.n += 1
        v.price_ticks = price
        v.quantity_lots = 0
        v.head = -1
        v.tail = -1
        v.count = 0
    if b.orders_free >= 0:
        h = b.orders_free
        b.orders_free = b.orders[h].next
    else:
        h = b.orders_used
        b.orders_used += 1
    b.orders_live += 1
    o = &b.orders[h]
    o.id = id
    o.price_ticks = price
    o.quantity_lots = lots
    o.owner = owner
    o.prev = v.tail
    o.next = -1
    o.owner_prev = -1
    o.owner_next = -1
    o.side = <uint8_t>side
    o.flags = flags
    if v.tail >= 0:
        b.orders[v.tail].next = h
    else:
        v.head = h
    v.tail = h
    v.count += 1
    v.quantity_lots += lots
    s.orders += 1
    if not flags & ORDER_EXTERNAL:
        idmap_put(&b.ids, id, h)
        if id > b.last_id:
            b.last_id = id
    return h


cdef inline int32_t book_add(
    book_t* b, int side, int64_t price, int64_t lots, int32_t owner, uint64_t id, uint8_t flags
) noexcept nogil:
    """Append an order at its level's tail: its handle, or a negative status with the book unchanged. `lots`
    is in 1..2**62; an id that is not external is not live. O(log levels) to find the level, and a new level
    moves the better ones."""
    cdef int32_t h
    if book_reserve(b, side, 1, owner > 0) != OK:
        return ERR_MEMORY
    h = book_place(b, side, price, lots, owner, id, flags)
    if h >= 0 and owner > 0:
        book_owner_append(b, h)
    return h


cdef inline void book_erase(book_t* b, int32_t h, int32_t i) noexcept nogil:
    """Take order `h`, whose open quantity has left the sum already, out of level `i` and free its cell."""
    cdef order_t* o = &b.orders[h]
    cdef side_t* s = &b.side[o.side]
    cdef level_t* v = &s.levels[i]
    if o.prev >= 0:
        b.orders[o.prev].next = o.next
    else:
        v.head = o.next
    if o.next >= 0:
        b.orders[o.next].prev = o.prev
    else:
        v.tail = o.prev
    v.count -= 1
    if v.count == 0:
        s.n -= 1
        memmove(v, v + 1, <size_t>(s.n - i) * sizeof(level_t))
    s.orders -= 1
    if o.owner > 0:
        book_owner_unlink(b, h)
    if not o.flags & ORDER_EXTERNAL:
        idmap_del(&b.ids, o.id)
    o.quantity_lots = 0
    o.next = b.orders_free
    b.orders_free = h
    b.orders_live -= 1


cdef inline void book_take(book_t* b, int32_t h, int64_t lots) noexcept nogil:
    """A fill of `lots` <= the open quantity; at 0 the order, and a level left empty, are gone."""
    cdef order_t* o = &b.orders[h]
    cdef int32_t i = book_level_at(b, o.side, o.price_ticks)
    b.side[o.side].levels[i].quantity_lots -= lots
    o.quantity_lots -= lots
    if o.quantity_lots == 0:
        book_erase(b, h, i)


cdef inline void book_remove(book_t* b, int32_t h) noexcept nogil:
    """Take an order off the book, whatever is left of it."""
    book_take(b, h, b.orders[h].quantity_lots)


cdef inline void book_reduce(book_t* b, int32_t h, int64_t new_lots) noexcept nogil:
    """Set the open quantity to `new_lots` >= 1 and keep the place. A larger one is for external levels; the
    caller has made sure that the level's sum stays an int64."""
    cdef order_t* o = &b.orders[h]
    cdef int32_t i = book_level_at(b, o.side, o.price_ticks)
    b.side[o.side].levels[i].quantity_lots += new_lots - o.quantity_lots
    o.quantity_lots = new_lots


cdef inline int32_t book_external_at(const book_t* b, int side, int64_t price) noexcept nogil:
    """The external order at a price, or -1. O(orders of the level)."""
    cdef int32_t i = book_level_at(b, side, price)
    cdef int32_t h
    if i < 0:
        return -1
    h = b.side[side].levels[i].head
    while h >= 0 and not b.orders[h].flags & ORDER_EXTERNAL:
        h = b.orders[h].next
    return h


cdef inline bint book_check_level(const book_t* b, int side, int32_t i) noexcept nogil:
    """One level's queue: links, sum, count, and every order's own fields."""
    cdef const level_t* v = &b.side[side].levels[i]
    cdef const order_t* o
    cdef int64_t sum_lots = 0
    cdef int32_t n = 0, before = -1, h = v.head
    while h >= 0:
        if h >= b.orders_used or n >= v.count:
            return False
        o = &b.orders[h]
        if o.quantity_lots <= 0 or o.quantity_lots > INT64_MAX - sum_lots:
            return False
        if o.prev != before or o.side != side or o.price_ticks != v.price_ticks or o.owner < 0:
            return False
        if not o.flags & ORDER_EXTERNAL and idmap_get(&b.ids, o.id) != h:
            return False
        if o.owner == 0 and (o.owner_prev != -1 or o.owner_next != -1):
            return False
        sum_lots += o.quantity_lots
        n += 1
        before = h
        h = o.next
    return n > 0 and n == v.count and sum_lots == v.quantity_lots and v.tail == before


cdef inline bint book_check_owners(const book_t* b, int32_t owned) noexcept nogil:
    """The owners' lists hold `owned` orders, each under its owner and linked both ways; none is empty."""
    cdef int64_t i
    cdef int32_t n = 0, before, h, k
    for i in range(b.owner_lists.cap):
        k = b.owner_lists.slots[i].value
        if k < 0:
            continue
        if k >= b.owners_used or b.owners[k].head < 0:
            return False
        before = -1
        h = b.owners[k].head
        while h >= 0:
            if h >= b.orders_used or n >= owned:
                return False
            if b.orders[h].quantity_lots <= 0 or b.orders[h].owner_prev != before:
                return False
            if <uint64_t>b.orders[h].owner != b.owner_lists.slots[i].key:
                return False
            n += 1
            before = h
            h = b.orders[h].owner_next
        if b.owners[k].tail != before:
            return False
    return n == owned


cdef inline bint book_check_free(const book_t* b) noexcept nogil:
    """The free chains hold exactly the cells that are not in use."""
    cdef int32_t n = 0, h = b.orders_free
    while h >= 0:
        if h >= b.orders_used or n >= b.orders_used or b.orders[h].quantity_lots != 0:
            return False
        n += 1
        h = b.orders[h].next
    if n != b.orders_used - b.orders_live:
        return False
    n = 0
    h = b.owners_free
    while h >= 0:
        if h >= b.owners_used or n >= b.owners_used:
            return False
        n += 1
        h = b.owners[h].head
    return n == b.owners_used - b.owner_lists.n


cdef inline bint book_check(const book_t* b) noexcept nogil:
    """Re-derive every level, link, count, index and id from the orders: is every invariant of this file true?
    O(book)."""
    cdef const side_t* s
    cdef int32_t i, h, live = 0, named = 0, owned = 0, on_side
    cdef int64_t rank, before = 0
    cdef int side
    for side in range(2):
        s = &b.side[side]
        on_side = 0
        for i in range(s.n):
            rank = book_rank(side, s.levels[i].price_ticks)
            if i > 0 and before >= rank:
                return False
            before = rank
            if not book_check_level(b, side, i):
                return False
            on_side += s.levels[i].count
        if on_side != s.orders:
            return False
        live += on_side
    if live != b.orders_live:
        return False
    if book_has(b, BID) and book_has(b, ASK) and book_best(b, BID) >= book_best(b, ASK):
        return False
    for h in range(b.orders_used):
        if b.orders[h].quantity_lots > 0:
            owned += b.orders[h].owner > 0
            if not b.orders[h].flags & ORDER_EXTERNAL:
                named += 1
                if b.orders[h].id > b.last_id:
                    return False
    if named != b.ids.n or not idmap_check(&b.ids) or not idmap_check(&b.owner_lists):
        return False
    return book_check_owners(b, owned) and book_check_free(b)
