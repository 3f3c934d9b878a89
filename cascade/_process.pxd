"""Many messages in turn. The most frequent ones take a short way that gives the same as prepare and commit."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from cascade._book cimport (
    SLOTS,
    SLOT_BITS,
    STOP_BIT,
    book_alive,
    book_append,
    book_count,
    book_drop,
    book_find,
    book_find_sparse,
    book_fits,
    book_id,
    book_t,
    chunk_t,
)
from cascade._ids cimport ids_dense, ids_far, ids_fetch, ids_first, ids_forget, ids_put_paged, ids_put_vacant, ids_slot
from cascade._ladder cimport ladder_enter, ladder_look, ladder_near, level_t, likely, price_rank, unlikely
from cascade._match cimport match_commit, match_lots_valid, match_prepare, match_reports, plan_t
from cascade._sink cimport SINK_FIXED, match_side_code, report_codes, report_put, sink_more, sink_t
from cascade._take cimport match_finish, match_hinders, match_walk_fifo, taker_t
from cascade._types cimport (
    ACTION_CANCEL,
    ACTION_NEW,
    REASON_NONE,
    REASON_USER,
    REPORT_ACK,
    REPORT_CANCELLED,
    REPORT_TRADE,
    SIDE_BUY,
    SIDE_SELL,
    TIF_GTC,
    TYPE_MARKET,
    order_msg_t,
    report_t,
)

cdef extern from *:
    """
    /* Bytes action, type, tif, flags, stp of a message (side and padding masked out): all zero is a plain limit order. */
    #define CASCADE_PLAIN 0x0000FFFFFFFF00FFULL
    /* Bits of these that a type of LIMIT or MARKET and a time in force of GTC or IOC use. */
    #define CASCADE_TAKES 0x0000000001010000ULL
    static inline uint64_t cascade_header(const void *m) {
        uint64_t h; __builtin_memcpy(&h, (const char *)m + 56, 8); return h;
    }
    """
    uint64_t PLAIN "CASCADE_PLAIN"
    uint64_t TAKES "CASCADE_TAKES"
    uint64_t message_header "cascade_header"(const void* m) noexcept nogil
    void __builtin_prefetch(const void* address) noexcept nogil


cdef inline bint plain_new(book_t* b, const order_msg_t* m, int64_t row, report_t* r) noexcept nogil:
    """A plain limit order that only rests; False, with nothing changed, if it is anything else."""
    cdef uint64_t id = m.order_id
    cdef int64_t price = m.price, lots = m.quantity
    cdef int sign = m.side
    cdef int side = sign < 0    # sides come at random: no branch depends on them
    cdef uint64_t rank = price_rank(side, price)
    # Bits that a plain order has not: an owner, a display, a side that is neither 1 nor -1, lots below 1 or above 2**62.
    cdef uint64_t odd = <uint64_t>(m.owner | m.display) | <uint64_t>((sign + 1) & ~2) | ((<uint64_t>lots - 1) >> 62)
    cdef level_t* v
    cdef uint32_t h, level
    cdef uint32_t* slot
    cdef int64_t vacant = 0
    if unlikely(rank >= b.ladder.crossing[side]):
        return False
    if unlikely(odd or b.room <= 0 or b.rule.has_top):
        return False
    slot = ids_slot(&b.ids, id)
    if slot == NULL or b.ids.used > 0:
        if book_find_sparse(b, id, &vacant) != 0:
            return False
    if slot != NULL and slot[0] != 0 and book_find(b, id) != 0:
        return False
    level = ladder_near(&b.ladder, side, rank)
    if unlikely(level == 0):
        level = ladder_enter(&b.ladder, side, rank, price)
    v = &b.ladder.levels[level]
    if unlikely(v.hides or lots > INT64_MAX - v.quantity_lots):
        return False        # of a level that was there: a new one has no flags and room for any order
    h = book_append(b, level, id, lots)
    if likely(slot != NULL):
        slot[0] = h
    elif ids_far(&b.ids, id) or not ids_put_paged(&b.ids, id, h):
        ids_put_vacant(&b.ids, id, h, vacant)
    b.orders[side] += 1
    b.room -= 1
    b.last_id = id if id > b.last_id else b.last_id
    report_put(r, id, 0, price, lots, 0, row, 0, report_codes(REPORT_ACK, sign, 0))
    return True


cdef inline bint plain_cancel(book_t* b, const order_msg_t* m, int64_t row, report_t* r) noexcept nogil:
    """The cancellation of a plain resting order; False, with nothing changed, if it is anything else."""
    cdef uint64_t id = m.order_id
    cdef int64_t place = -1
    cdef uint32_t h = ids_dense(&b.ids, id)
    cdef chunk_t* c
    cdef const level_t* v
    if h == 0 or book_id(b, h) != id or not book_alive(b, h):
        h = book_find_sparse(b, id, &place) if b.ids.used > 0 else 0
    if unlikely(h == 0 or h & STOP_BIT):
        return False
    c = &b.chunks[h >> SLOT_BITS]
    if unlikely((c.rare >> (h & SLOTS)) & 1):
        return False
    v = &b.ladder.levels[c.level]
    report_put(
        r, id, 0, v.price_ticks, c.cells[h & SLOTS].lots, 0, row, 0,
        report_codes(REPORT_CANCELLED, match_side_code(v.side), REASON_USER),
    )
    b.orders[v.side] -= 1
    book_drop(b, h)
    if place >= 0:
        ids_forget(&b.ids, place)
    return True


# What message_plain has dealt with.
cdef enum:
    PLAIN_NOTHING = 0
    PLAIN_NEW = 1
    PLAIN_CANCEL = 2


cdef inline int message_plain(book_t* b, const order_msg_t* m, int64_t row, report_t* r) noexcept nogil:
    """Deal with the most frequent messages, which have one report each: a plain limit order that only rests, and the
    cancellation of one. PLAIN_NOTHING, with nothing changed, leaves any other, and every refusal, to prepare and commit."""
    cdef uint64_t header = message_header(m)
    if header & PLAIN == 0:
        return PLAIN_NEW if plain_new(b, m, row, r) else PLAIN_NOTHING
    if header & 0xFF == ACTION_CANCEL:
        return PLAIN_CANCEL if plain_cancel(b, m, row, r) else PLAIN_NOTHING
    return PLAIN_NOTHING


cdef inline bint plain_take(book_t* b, const order_msg_t* m, int64_t row, sink_t* sink) noexcept nogil:
    """A limit order that crosses, GTC or IOC, or a market order, of nobody, in a book where only time decides and no stop
    waits; False, with nothing changed, if it is anything else or its reports might not fit."""
    cdef taker_t t
    cdef uint64_t id = m.order_id
    cdef uint64_t header = message_header(m) & PLAIN
    cdef int64_t most = 2 * book_count(b)   # each order may trade and, without room, be taken off
    if header & ~TAKES or m.owner | m.display or not match_lots_valid(m.quantity):
        return False
    if not b.rule.fifo or b.stops.live > 0 or b.icebergs > 0 or b.room <= 0:
        return False
    if b.reducing == 0 and m.quantity < most:
        most = m.quantity
    if sink.mode == SINK_FIXED and sink.cap - sink.n < most + 4:
        return False
    if (m.side != SIDE_BUY and m.side != SIDE_SELL) or book_find(b, id) != 0:
        return False
    memset(&t, 0, sizeof(taker_t))
    t.id = id
    t.limit_ticks = m.price
    t.price_sent = m.price
    t.lots = m.quantity
    t.message = row
    t.side = m.side < 0
    t.any_price = m.type == TYPE_MARKET
    t.rests = m.tif == TIF_GTC and not t.any_price
    if t.rests and not book_fits(b, t.side, m.price, m.quantity):
        return False
    report_put(
        &sink.reports[sink.n], id, 0, m.price, m.quantity, 0, row, 0, report_codes(REPORT_ACK, m.side, 0)
    )
    sink.n += 1
    b.last_id = id if id > b.last_id else b.last_id
    match_walk_fifo(b, &t, sink)
    match_finish(b, &t, sink)
    return True


cdef enum:
    LATER = 6               # messages from a cancellation on to the one whose order is asked for meanwhile
    LIKELY = 64             # messages after a cancellation among which another one is likely
    WIDE = 1024             # nodes from which a book's prices lie so far apart that searching them is worth preparing


cdef inline void message_ahead(book_t* b, const order_msg_t* m) noexcept nogil:
    """Ask for the memory that messages further on will touch, one step each: hint, chunk and level of an order; the path of
    a price."""
    cdef uint32_t* slot
    cdef const order_msg_t* later = m + 12
    cdef uint32_t h
    cdef int side
    if later.action != ACTION_NEW:
        slot = ids_slot(&b.ids, later.order_id)
        if slot != NULL:
            __builtin_prefetch(slot)
    later = m + 8
    if later.action != ACTION_NEW:
        __builtin_prefetch(&b.chunks[(ids_dense(&b.ids, later.order_id) & ~<uint32_t>STOP_BIT) >> SLOT_BITS])
    else:
        side = later.side < 0
        h = ladder_look(&b.ladder, side, price_rank(side, later.price))
        __builtin_prefetch(&b.ladder.levels[h])
    later = m + 4
    if later.action != ACTION_NEW:
        h = ids_dense(&b.ids, later.order_id)
        if not h & STOP_BIT:    # this one is read
            __builtin_prefetch(&b.ladder.levels[b.chunks[h >> SLOT_BITS].level])


cdef inline int64_t most_reports(const book_t* b, const plan_t* p) noexcept nogil:
    """At least as many reports as match_commit will write, quickly."""
    cdef int64_t orders = book_count(b)
    if p.reason != REASON_NONE or p.action == ACTION_CANCEL:
        return 1
    if b.stops.live > 0 or b.icebergs > 0:
        return INT64_MAX
    if match_hinders(b, &p.taker):
        return 2 * orders + 4
    return (orders if orders < p.taker.lots else p.taker.lots) + 4


cdef inline int64_t book_process(
    book_t* b, const order_msg_t* messages, int64_t n, int64_t first_row, sink_t* sink, int64_t* needed
) noexcept nogil:
    """Deal with messages in turn until the first whose reports do not all fit: the number of messages dealt with. `needed` is
    the number of reports of the message that did not fit, 0 if there was none, negative without the memory to count them."""
    cdef order_msg_t m
    cdef plan_t p
    cdef int64_t i, room, ahead = 0
    cdef uint32_t h
    cdef int plain = PLAIN_NOTHING
    cdef bint wide = b.ladder.nodes_used > WIDE
    cdef report_t* r = sink.reports + sink.n
    cdef report_t* end = sink.reports + sink.cap
    needed[0] = 0
    for i in range(n):
        __builtin_prefetch(&messages[i + 16])
        if wide and i + 12 < n:
            message_ahead(b, messages + i)
        if b.ids.used > 0:
            if i + 8 < n:
                # Hashed ids lie anywhere: first the hint is asked for, then the chunk that it leads to.
                ids_fetch(&b.ids, messages[i + 8].order_id)
                if messages[i + 4].action != ACTION_NEW:
                    h = ids_first(&b.ids, messages[i + 4].order_id) & ~<uint32_t>STOP_BIT
                    __builtin_prefetch(&b.chunks[h >> SLOT_BITS])
        elif i < ahead and i + LATER < n and not wide:
            # Of a cancellation the order; of a new order chunk 0, for want of a branch that could be mispredicted.
            h = ids_dense(&b.ids, messages[i + LATER].order_id) & ~<uint32_t>STOP_BIT
            __builtin_prefetch(&b.chunks[h >> SLOT_BITS])
            __builtin_prefetch(&b.chunks[h >> SLOT_BITS].cells[h & SLOTS])
        if likely(r != end):
            plain = message_plain(b, &messages[i], first_row + i, r)
            if plain == PLAIN_CANCEL:
                ahead = i + LIKELY
            if plain != PLAIN_NOTHING:
                r += 1
                continue
        sink.n = r - sink.reports
        m = messages[i]     # read once: the caller's array might change meanwhile
        if not (likely(sink.n < sink.cap) and plain_take(b, &m, first_row + i, sink)):
            match_prepare(b, &m, first_row + i, &p)
            if sink.mode == SINK_FIXED:
                room = sink.cap - sink.n
                if room < most_reports(b, &p):
                    needed[0] = match_reports(b, &m, &p, False)
                    if needed[0] > room or needed[0] < 0:
                        return i
                    needed[0] = 0
            match_commit(b, &m, &p, sink)
        if unlikely(sink.failed):
            return i + 1
        r = sink.reports + sink.n
        end = sink.reports + sink.cap
    sink.n = r - sink.reports
    return n


cdef inline int64_t book_process_trades(
    book_t* b, const order_msg_t* messages, int64_t n, int64_t first_row, sink_t* sink, sink_t* stage, int64_t* needed
) noexcept nogil:
    """book_process that reports trades only; `stage` grows and holds one message's reports."""
    cdef order_msg_t m
    cdef plan_t p
    cdef int64_t i, k
    needed[0] = 0
    for i in range(n):
        m = messages[i]
        match_prepare(b, &m, first_row + i, &p)
        if sink.mode == SINK_FIXED:
            needed[0] = match_reports(b, &m, &p, True)
            if needed[0] > sink.cap - sink.n or needed[0] < 0:
                return i
            needed[0] = 0
        stage.n = 0
        match_commit(b, &m, &p, stage)
        for k in range(stage.n):
            if stage.reports[k].kind == REPORT_TRADE:
                if sink.n == sink.cap:
                    sink_more(sink)
                sink.reports[sink.n] = stage.reports[k]
                sink.n += 1
        if unlikely(stage.failed or sink.failed):
            sink.failed = True
            return i + 1
    return n
