"""Matching: the taker's walk over a book's primitives, and messages in, reports out. docs/orderbook.md says what each
rule means.

A message is dealt with in three steps: prepare (every check, nothing changed), count (its reports, only when the
caller's buffer might be too small), commit (cannot fail). So a message is never half done, and a buffer that is full
loses nothing.
"""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.stdint cimport INT64_MAX, int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cascade._allocate cimport allocate, share_t
from cascade._book cimport (
    CELLS,
    ORDER_EXTERNAL,
    SLOT_BITS,
    SLOTS,
    STOP_BIT,
    book_append,
    book_behind,
    book_best,
    book_best_level,
    book_cell,
    book_copy,
    book_count,
    book_drop,
    book_external,
    book_find,
    book_find_sparse,
    book_fits,
    book_forget,
    book_free,
    book_front,
    book_front_of,
    book_has,
    book_hidden,
    book_hide,
    book_id,
    book_init,
    book_level_of,
    book_level_open,
    book_lots,
    book_make_rare,
    book_next_level,
    book_open,
    book_owner,
    book_owner_append,
    book_owner_find,
    book_owner_first,
    book_owner_record,
    book_owner_settle,
    book_owner_unlink,
    book_place,
    book_price,
    book_rare,
    book_reduce,
    book_refill,
    book_remove,
    book_remove_stop,
    book_reserve_rare,
    book_reserve_some,
    book_rest,
    book_side,
    book_t,
    book_take,
    cell_t,
    chunk_t,
    owner_t,
    peak_t,
    position_add,
    position_room,
)
from cascade._ids cimport ids_fetch, ids_first, ids_move, ids_put, ids_put_paged, ids_put_vacant, ids_slot
from cascade._ladder cimport ASK, BID, ladder_add, ladder_find, ladder_remove, level_t, likely, rank_of, unlikely
from cascade._pool cimport large_pages
from cascade._stops cimport (
    LAST_SELLS,
    MARK_SELLS,
    stop_release,
    stop_t,
    stops_add,
    stops_kill,
    stops_next,
    stops_reach,
    stops_reserve,
)
from cascade._types cimport (
    ACTION_CANCEL,
    ACTION_MODIFY,
    ACTION_NEW,
    ERR_MEMORY,
    FLAG_MARK_TRIGGER,
    FLAG_REDUCE_ONLY,
    FLAGS_KNOWN,
    OK,
    REASON_BAD_FIELD,
    REASON_BAD_OWNER,
    REASON_BAD_QUANTITY,
    REASON_BAD_SIDE,
    REASON_CAPACITY,
    REASON_DUPLICATE_ID,
    REASON_FOK_UNFILLABLE,
    REASON_IOC,
    REASON_NONE,
    REASON_OWNER,
    REASON_REDUCE_ONLY,
    REASON_STP,
    REASON_UNALLOCATED,
    REASON_UNKNOWN_ID,
    REASON_USER,
    REASON_WOULD_TAKE,
    REPORT_ACK,
    REPORT_CANCELLED,
    REPORT_MODIFIED,
    REPORT_REJECTED,
    REPORT_TRADE,
    REPORT_TRIGGERED,
    SIDE_BUY,
    SIDE_SELL,
    STP_BOTH,
    STP_DECREMENT,
    STP_LAST,
    STP_MAKER,
    STP_NONE,
    STP_TAKER,
    TIF_FOK,
    TIF_GTC,
    TIF_POST_ONLY,
    TYPE_LIMIT,
    TYPE_MARKET,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    order_msg_t,
    rare_t,
    report_t,
)

cdef extern from *:
    """
    /* Bytes action, type, tif, flags, stp of a message (side and padding masked out): all zero is a plain limit order. */
    #define CASCADE_PLAIN 0x0000FFFFFFFF00FFULL
    static inline uint64_t cascade_header(const void *m) {
        uint64_t h; __builtin_memcpy(&h, (const char *)m + 56, 8); return h;
    }
    """
    uint64_t PLAIN "CASCADE_PLAIN"
    uint64_t message_header "cascade_header"(const void* m) noexcept nogil
    void __builtin_prefetch(const void* address) noexcept nogil

cdef extern from *:
    """
    /* Bytes kind, side, action, reason of a report. */
    #define CASCADE_CODES(kind, side, reason) ((uint64_t)(kind) | (uint64_t)(uint8_t)(side) << 8 | (uint64_t)(reason) << 24)
    static inline void cascade_report(void *r, uint64_t id, uint64_t maker, int64_t price, int64_t quantity, int64_t leaves,
                                      int64_t message, uint64_t owners, uint64_t codes) {
        char *w = (char *)r;   /* words by memcpy: the records may start at any byte */
        __builtin_memcpy(w, &id, 8);
        __builtin_memcpy(w + 8, &maker, 8);
        __builtin_memcpy(w + 16, &price, 8);
        __builtin_memcpy(w + 24, &quantity, 8);
        __builtin_memcpy(w + 32, &leaves, 8);
        __builtin_memcpy(w + 40, &message, 8);
        __builtin_memcpy(w + 48, &owners, 8);
        __builtin_memcpy(w + 56, &codes, 8);
    }
    """
    uint64_t report_codes "CASCADE_CODES"(int kind, int side, int reason) noexcept nogil
    void report_put "cascade_report"(
        void* r, uint64_t id, uint64_t maker, int64_t price, int64_t quantity, int64_t leaves, int64_t message, uint64_t owners,
        uint64_t codes
    ) noexcept nogil
    int __builtin_ctz(unsigned int) noexcept nogil


# -- reports out -------------------------------------------------------------------------------------------------------


# What happens when the reports are full.
cdef enum:
    SINK_FIXED = 0          # cannot happen: the caller has counted
    SINK_GROWS = 1          # `memory` is the sink's own and made larger
    SINK_COUNTS = 2         # they are counted and thrown away


# Where reports go. Invariant: n <= cap; nothing is written beyond reports[cap - 1].
ctypedef struct sink_t:
    report_t* reports
    int64_t cap
    int64_t n               # written and still there
    int64_t gone            # thrown away
    int64_t trades_gone     # of these, trades
    int mode
    bint failed             # memory ran out: reports are missing
    void* memory            # of SINK_GROWS; `reports` lie `skip` bytes behind its start
    size_t skip
    report_t few[8]         # what SINK_COUNTS writes to


cdef inline void sink_count(sink_t* sink) noexcept nogil:
    """Make a sink that only counts."""
    sink.reports = sink.few
    sink.cap = 8
    sink.n = 0
    sink.gone = 0
    sink.trades_gone = 0
    sink.mode = SINK_COUNTS
    sink.failed = False
    sink.memory = NULL
    sink.skip = 0


cdef inline void sink_grow(sink_t* sink, void* memory, size_t skip, int64_t cap) noexcept nogil:
    """Make a sink that writes to `memory`, which has room for `cap` reports behind `skip` bytes, and enlarges it."""
    sink_count(sink)
    sink.mode = SINK_GROWS
    sink.memory = memory
    sink.skip = skip
    sink.reports = <report_t*>(<char*>memory + skip)
    sink.cap = cap


cdef inline void sink_fix(sink_t* sink, report_t* reports, int64_t cap) noexcept nogil:
    """Make a sink that writes to a buffer; the caller sees to it that all fits."""
    sink_count(sink)
    sink.mode = SINK_FIXED
    sink.reports = reports
    sink.cap = cap


cdef inline int64_t sink_trades(const sink_t* sink, int64_t since) noexcept nogil:
    """The trades among the reports that are there."""
    cdef int64_t i, n = 0
    for i in range(since, sink.n):
        n += sink.reports[i].kind == REPORT_TRADE
    return n


cdef inline void sink_more(sink_t* sink) noexcept nogil:
    """The reports are full."""
    cdef int64_t cap = 2 * sink.cap if sink.cap > 0 else 16
    cdef void* grown = NULL
    if sink.mode == SINK_GROWS:
        grown = PyMem_RawRealloc(sink.memory, sink.skip + <size_t>cap * sizeof(report_t))
        if grown != NULL:
            large_pages(grown, sink.skip + <size_t>cap * sizeof(report_t))
            sink.memory = grown
            sink.reports = <report_t*>(<char*>grown + sink.skip)
            sink.cap = cap
            return
        sink.failed = True
    sink.trades_gone += sink_trades(sink, 0)
    sink.gone += sink.n
    sink.n = 0


cdef inline report_t* sink_next(
    sink_t* sink, int kind, uint64_t id, int32_t owner, int64_t message
) noexcept nogil:
    """The next report, zero but for what every kind has."""
    cdef report_t* r
    if unlikely(sink.n == sink.cap):
        sink_more(sink)
    r = &sink.reports[sink.n]
    sink.n += 1
    memset(r, 0, sizeof(report_t))
    r.kind = <uint8_t>kind
    r.order_id = id
    r.owner = owner
    r.message = message
    return r


# -- takers ------------------------------------------------------------------------------------------------------------


# A taker: what the walk needs of a NEW, of a MODIFY that leaves its place, or of a stop that acts.
ctypedef struct taker_t:
    uint64_t id
    int64_t limit_ticks     # not read when any_price
    int64_t lots            # open, counts down
    int64_t message         # row for the reports
    int64_t price_sent      # for the reports
    int64_t display
    int64_t prevented       # lots that DECREMENT took away
    int64_t low_ticks       # the lowest and the highest price it traded at, if it did
    int64_t high_ticks
    int32_t owner
    int32_t owner_record    # 0: nobody
    int side                # BID or ASK: where it would rest
    int ended               # why it trades no more although something crosses, a reason
    uint8_t flags
    uint8_t stp
    bint any_price
    bint rests              # what is left stays on the book
    bint traded


# A checked message. Invariant: reason != REASON_NONE means that it is refused.
ctypedef struct plan_t:
    taker_t taker
    int reason
    int action
    uint32_t handle         # the order that CANCEL and MODIFY name, else 0
    bint in_place           # a MODIFY that keeps its place
    bint stop               # a NEW that is a stop
    bint rare               # the order has an owner, a peak or flags


cdef inline int8_t match_side_code(int side) noexcept nogil:
    """BID or ASK as the side code of the records."""
    return <int8_t>(1 - 2 * side)


cdef inline bint match_crosses(
    int side, bint any_price, int64_t limit_ticks, int64_t maker_ticks
) noexcept nogil:
    """Would a taker of `side` trade at a maker's price?"""
    if any_price:
        return True
    if side == BID:
        return maker_ticks <= limit_ticks
    return maker_ticks >= limit_ticks


cdef inline bint match_open(const book_t* b, const taker_t* t) noexcept nogil:
    """Is there something for the taker to trade with now?"""
    cdef int far = 1 - t.side
    return book_has(b, far) and match_crosses(t.side, t.any_price, t.limit_ticks, book_best(b, far))


cdef inline bint match_hinders(const book_t* b, const taker_t* t) noexcept nogil:
    """Can anything but the lots on the other side decide what the taker gets?"""
    return (
        b.reducing > 0
        or (t.stp != STP_NONE and t.owner_record > 0)
        or t.flags & FLAG_REDUCE_ONLY
        or not b.rule.whole
    )


cdef inline int64_t match_unfilled(const book_t* b, const taker_t* t) noexcept nogil:
    """The lots that would be left of a taker that nothing hinders. O(levels it would reach)."""
    cdef uint32_t level = book_best_level(b, 1 - t.side)
    cdef int64_t left = t.lots, lots
    while level != 0 and match_crosses(t.side, t.any_price, t.limit_ticks, b.ladder.levels[level].price_ticks):
        lots = book_level_open(b, level)
        if left <= lots:
            return 0
        left -= lots
        level = book_next_level(b, level)
    return left


cdef inline int64_t match_trades(const book_t* b, const taker_t* t, int64_t* left) noexcept nogil:
    """How many trades a taker would do that nothing hinders, in FIFO without icebergs, and the lots that would be left of it.
    O(levels it would empty + orders of the last one)."""
    cdef uint32_t level = book_best_level(b, 1 - t.side), h
    cdef const level_t* v
    cdef int64_t n = 0, lots
    left[0] = t.lots
    while level != 0 and left[0] > 0:
        v = &b.ladder.levels[level]
        if not match_crosses(t.side, t.any_price, t.limit_ticks, v.price_ticks):
            break
        if left[0] >= v.quantity_lots:
            left[0] -= v.quantity_lots
            n += v.count
        else:
            h = book_front_of(b, level)
            while left[0] > 0:
                n += 1
                lots = book_cell(b, h).lots
                left[0] = left[0] - lots if left[0] > lots else 0
                h = book_behind(b, h)
        level = book_next_level(b, level)
    return n


cdef inline void report_cancelled(
    sink_t* sink, uint64_t id, int32_t owner, int64_t message, int side, int64_t price, int64_t lots, int64_t leaves, int reason
) noexcept nogil:
    cdef report_t* r = sink_next(sink, REPORT_CANCELLED, id, owner, message)
    r.side = match_side_code(side)
    r.price = price
    r.quantity = lots
    r.leaves = leaves
    r.reason = <uint8_t>reason


cdef inline void match_cancel(book_t* b, uint32_t h, int64_t message, int reason, sink_t* sink) noexcept nogil:
    """Take a resting or waiting order off and report it."""
    cdef const stop_t* stop
    cdef int side
    if h & STOP_BIT:
        stop = &b.stops.records[h & ~<uint32_t>STOP_BIT]
        side = BID if stop.side == SIDE_BUY else ASK
        report_cancelled(sink, stop.id, book_owner(b, h), message, side, stop.price_ticks, stop.lots, 0, reason)
        book_remove_stop(b, h)
        return
    report_cancelled(
        sink, book_id(b, h), book_owner(b, h), message, book_side(b, h), book_price(b, h), book_open(b, h), 0, reason
    )
    book_remove(b, h)


cdef inline void match_took(book_t* b, uint32_t h, int64_t lots) noexcept nogil:
    """Take lots that show off an order; an iceberg's next slice shows."""
    if lots == book_cell(b, h).lots and book_hidden(b, h) > 0:
        book_refill(b, h)
    else:
        book_take(b, h, lots)


cdef inline void match_note(book_t* b, taker_t* t, int64_t price) noexcept nogil:
    """Note the price of a trade."""
    if not t.traded:
        t.low_ticks = price
        t.high_ticks = price
        t.traded = True
    elif price < t.low_ticks:
        t.low_ticks = price
    elif price > t.high_ticks:
        t.high_ticks = price
    b.has_last = True
    b.last_ticks = price


cdef inline void match_trade(book_t* b, taker_t* t, uint32_t h, int64_t lots, sink_t* sink) noexcept nogil:
    """One trade of `lots`, at most what shows, with everything that follows from it but stops."""
    cdef const rare_t* rare = book_rare(b, h)
    cdef int32_t record = rare.owner_record if rare != NULL else 0
    cdef bint reduces = rare != NULL and rare.flags & FLAG_REDUCE_ONLY
    cdef uint64_t id = book_id(b, h)
    cdef int64_t price = book_price(b, h)
    cdef int signed_side = 1 if t.side == BID else -1
    cdef report_t* r
    t.lots -= lots
    r = sink_next(sink, REPORT_TRADE, t.id, t.owner, t.message)
    r.maker_id = id
    r.maker_owner = b.owners[record].owner if record > 0 else 0
    r.price = price
    r.quantity = lots
    r.leaves = t.lots
    r.side = match_side_code(t.side)
    match_note(b, t, price)
    if t.owner_record > 0:
        position_add(&b.owners[t.owner_record], signed_side * lots)
    if record > 0:
        position_add(&b.owners[record], -signed_side * lots)
        b.owners[record].holds += 1
    match_took(b, h, lots)
    if reduces and position_room(&b.owners[record], 1 - t.side) == 0:
        h = book_find(b, id)
        if h != 0:
            match_cancel(b, h, t.message, REASON_REDUCE_ONLY, sink)
    if record > 0:
        b.owners[record].holds -= 1
        book_owner_settle(b, record)


cdef inline bint match_own(const book_t* b, const taker_t* t, uint32_t h) noexcept nogil:
    """Is self-trade prevention to keep the taker from this maker?"""
    cdef const rare_t* rare
    if t.stp == STP_NONE or t.owner_record == 0:
        return False
    rare = book_rare(b, h)
    return rare != NULL and rare.owner_record == t.owner_record


cdef inline void match_prevent(book_t* b, taker_t* t, uint32_t h, sink_t* sink) noexcept nogil:
    """Self-trade prevention between the taker and its owner's order."""
    cdef int64_t lots
    if t.stp == STP_TAKER:
        t.ended = REASON_STP
    elif t.stp == STP_MAKER:
        match_cancel(b, h, t.message, REASON_STP, sink)
    elif t.stp == STP_BOTH:
        match_cancel(b, h, t.message, REASON_STP, sink)
        t.ended = REASON_STP
    else:
        lots = book_cell(b, h).lots
        if lots > t.lots:
            lots = t.lots
        t.lots -= lots
        t.prevented += lots
        report_cancelled(
            sink, book_id(b, h), t.owner, t.message, 1 - t.side, book_price(b, h), lots, book_open(b, h) - lots, REASON_STP
        )
        report_cancelled(sink, t.id, t.owner, t.message, t.side, t.price_sent, lots, t.lots, REASON_STP)
        match_took(b, h, lots)


cdef inline int64_t match_room(const book_t* b, uint32_t h, int side) noexcept nogil:
    """What a resting order may still trade by its owner's position."""
    cdef const rare_t* rare = book_rare(b, h)
    if rare == NULL or not rare.flags & FLAG_REDUCE_ONLY:
        return INT64_MAX
    return position_room(&b.owners[rare.owner_record], side)


cdef inline int64_t taker_room(const book_t* b, const taker_t* t) noexcept nogil:
    """What the taker may still trade by its owner's position."""
    if not t.flags & FLAG_REDUCE_ONLY:
        return INT64_MAX
    return position_room(&b.owners[t.owner_record], t.side)


cdef inline void match_meet(book_t* b, taker_t* t, uint32_t h, sink_t* sink) noexcept nogil:
    """What happens between the taker and the next maker in turn: a trade, or something that keeps them apart."""
    cdef int64_t lots = book_cell(b, h).lots, room
    if match_own(b, t, h):
        match_prevent(b, t, h, sink)
        return
    room = match_room(b, h, 1 - t.side)
    if room == 0:
        match_cancel(b, h, t.message, REASON_REDUCE_ONLY, sink)
        return
    if lots > room:
        lots = room
    room = taker_room(b, t)
    if room == 0:
        t.ended = REASON_REDUCE_ONLY
        return
    if lots > room:
        lots = room
    if lots > t.lots:
        lots = t.lots
    match_trade(b, t, h, lots, sink)


# -- the walk ----------------------------------------------------------------------------------------------------------


cdef inline void match_run(book_t* b, taker_t* t, uint32_t level, sink_t* sink) noexcept nogil:
    """Trade with a level's plain orders, oldest first, up to the first that is not. The taker is not reduce-only."""
    cdef level_t* v = &b.ladder.levels[level]
    cdef uint32_t chunk = v.head, next_chunk, run, live
    cdef int64_t price = v.price_ticks, lots, left = t.lots, message = t.message
    cdef uint64_t id = t.id, owner = <uint32_t>t.owner
    cdef uint64_t codes = report_codes(REPORT_TRADE, match_side_code(t.side), 0)
    cdef int far = v.side
    cdef int32_t filled = 0
    cdef chunk_t* c
    cdef cell_t* cell
    cdef int64_t n = sink.n
    while left > 0 and chunk != 0:
        c = &b.chunks[chunk]
        next_chunk = c.next
        __builtin_prefetch(&b.chunks[next_chunk])
        live = c.live
        run = live
        if unlikely(c.rare):
            run &= (c.rare & -<uint32_t>c.rare) - 1     # those before the first that is not plain
        while run != 0:
            cell = &c.cells[__builtin_ctz(run)]
            lots = cell.lots
            if unlikely(n == sink.cap):
                sink.n = n
                sink_more(sink)
                n = sink.n
            if lots > left:
                report_put(&sink.reports[n], id, cell.id, price, left, 0, message, owner, codes)
                n += 1
                cell.lots = lots - left
                left = 0
                break
            left -= lots
            report_put(&sink.reports[n], id, cell.id, price, lots, left, message, owner, codes)
            n += 1
            filled += 1
            live &= live - 1
            run &= run - 1
            if left == 0:
                break
        c.live = <uint8_t>live
        if live != 0:
            break
        c.next = b.chunks_free
        b.chunks_free = chunk
        chunk = next_chunk
    sink.n = n
    lots = t.lots - left
    t.lots = left
    match_note(b, t, price)
    if t.owner_record > 0:
        position_add(&b.owners[t.owner_record], lots if t.side == BID else -lots)
    b.orders[far] -= filled
    v.count -= filled
    v.quantity_lots -= lots
    v.head = chunk
    if chunk != 0:
        b.chunks[chunk].prev = 0
    else:
        ladder_remove(&b.ladder, level)


cdef inline void match_walk_fifo(book_t* b, taker_t* t, sink_t* sink) noexcept nogil:
    """Trade, best price first, then oldest, until the taker is filled or ended or nothing crosses."""
    cdef bint runs = not t.flags & FLAG_REDUCE_ONLY
    cdef uint32_t h
    while t.lots > 0 and t.ended == REASON_NONE and match_open(b, t):
        h = book_front(b, 1 - t.side)
        if runs and not (b.chunks[h >> SLOT_BITS].rare >> (h & SLOTS)) & 1:
            match_run(b, t, book_best_level(b, 1 - t.side), sink)
        else:
            match_meet(b, t, h, sink)


cdef inline uint32_t match_first_own(const book_t* b, const taker_t* t, uint32_t level) noexcept nogil:
    """The oldest order of a level that self-trade prevention keeps from the taker, 0 if none."""
    cdef uint32_t h = book_front_of(b, level)
    while h != 0 and not match_own(b, t, h):
        h = book_behind(b, h)
    return h


cdef inline uint32_t match_first_roomless(const book_t* b, uint32_t level) noexcept nogil:
    """The oldest reduce-only order of a level whose owner has nothing to close, 0 if none."""
    cdef uint32_t h = book_front_of(b, level) if b.reducing > 0 else 0
    while h != 0 and match_room(b, h, b.ladder.levels[level].side) > 0:
        h = book_behind(b, h)
    return h


cdef inline int64_t match_gather(book_t* b, uint32_t level, int64_t* sum_lots, int64_t* top) noexcept nogil:
    """The orders of a level, oldest first, with what each may trade, into b.shares; their number."""
    cdef share_t* s = b.shares
    cdef uint32_t h = book_front_of(b, level)
    cdef int side = b.ladder.levels[level].side
    cdef int64_t n = 0, k, room
    cdef const rare_t* rare
    sum_lots[0] = 0
    top[0] = -1
    while h != 0:
        rare = book_rare(b, h)
        memset(&s[n], 0, sizeof(share_t))
        s[n].handle = h
        s[n].lots = book_cell(b, h).lots
        if rare != NULL and rare.owner_record > 0:
            s[n].owner = rare.owner_record
            s[n].lmm_percent = b.owners[rare.owner_record].lmm_percent
            if rare.flags & FLAG_REDUCE_ONLY:
                # What earlier orders of the owner here may trade comes first.
                room = position_room(&b.owners[rare.owner_record], side)
                for k in range(n):
                    if s[k].owner == s[n].owner:
                        room = room - s[k].lots if room > s[k].lots else 0
                if s[n].lots > room:
                    s[n].lots = room
        if h == b.top[side]:
            top[0] = n
        sum_lots[0] += s[n].lots
        n += 1
        h = book_behind(b, h)
    return n


cdef inline void match_divide(book_t* b, taker_t* t, uint32_t level, sink_t* sink) noexcept nogil:
    """One round at a level by the book's rule, once own and roomless orders are out of the way."""
    cdef int side = 1 - t.side
    cdef int64_t sum_lots, top, n, k, lots = t.lots, room = taker_room(b, t)
    cdef bint limited = room < lots
    if room == 0:
        t.ended = REASON_REDUCE_ONLY
        return
    if lots > room:
        lots = room
    n = match_gather(b, level, &sum_lots, &top)
    if lots >= sum_lots:
        for k in range(n):
            b.shares[k].given = b.shares[k].lots
    else:
        allocate(&b.rule, b.shares, n, lots, top, &b.top_left[side])
    for k in range(n):
        if b.shares[k].given > 0:
            match_trade(b, t, b.shares[k].handle, b.shares[k].given, sink)
    if lots < sum_lots and t.lots > 0:
        t.ended = REASON_REDUCE_ONLY if limited else REASON_UNALLOCATED


cdef inline void match_walk_rule(book_t* b, taker_t* t, sink_t* sink) noexcept nogil:
    """match_walk_fifo by the book's rule."""
    cdef uint32_t level, h
    while t.lots > 0 and t.ended == REASON_NONE and match_open(b, t):
        level = book_best_level(b, 1 - t.side)
        h = match_first_own(b, t, level) if t.stp != STP_NONE and t.owner_record > 0 else 0
        if h != 0:
            match_prevent(b, t, h, sink)
            continue
        h = match_first_roomless(b, level)
        if h != 0:
            match_cancel(b, h, t.message, REASON_REDUCE_ONLY, sink)
            continue
        match_divide(b, t, level, sink)


cdef inline void match_walk(book_t* b, taker_t* t, sink_t* sink) noexcept nogil:
    """Trade until the taker is filled or ended or nothing crosses."""
    if b.rule.fifo:
        match_walk_fifo(b, t, sink)
    else:
        match_walk_rule(b, t, sink)


cdef inline int match_scratch(book_t* b) noexcept nogil:
    """Make b.scratch a copy of the book."""
    cdef book_t* made
    if b.scratch == NULL:
        made = <book_t*>PyMem_RawMalloc(sizeof(book_t))
        if made == NULL:
            return -1
        if book_init(made) != OK:
            PyMem_RawFree(made)
            return -1
        b.scratch = made
    return book_copy(<book_t*>b.scratch, b)


cdef inline int match_fillable(book_t* b, const taker_t* t) noexcept nogil:
    """REASON_NONE if the taker would be filled whole at once, else why not."""
    cdef taker_t probe = t[0]
    cdef book_t* scratch
    cdef sink_t sink
    if not match_hinders(b, t):
        return REASON_NONE if match_unfilled(b, t) == 0 else REASON_FOK_UNFILLABLE
    if match_scratch(b) != OK:
        return REASON_CAPACITY
    scratch = <book_t*>b.scratch
    sink_count(&sink)
    # The record of an owner without orders may go while the probe acts.
    if probe.owner_record > 0:
        scratch.owners[probe.owner_record].holds += 1
    match_walk(scratch, &probe, &sink)
    return REASON_NONE if probe.lots == 0 and probe.prevented == 0 else REASON_FOK_UNFILLABLE


# -- what a taker leaves, and stops ------------------------------------------------------------------------------------


cdef inline bint match_betters(const book_t* b, int side, int64_t price) noexcept nogil:
    """Is a price better than its side's best?"""
    if not book_has(b, side):
        return True
    return price > book_best(b, side) if side == BID else price < book_best(b, side)


cdef inline void match_rest(book_t* b, const taker_t* t) noexcept nogil:
    """Rest what a taker has left; book_reserve and book_reserve_rare have made the room."""
    cdef int64_t shown = t.display if 0 < t.display < t.lots else t.lots
    cdef bint betters = match_betters(b, t.side, t.limit_ticks)
    cdef uint32_t h
    cdef rare_t* rare
    h = book_rest(b, t.side, t.limit_ticks, t.id, shown)
    if t.owner_record > 0 or t.display > 0 or (b.rule.has_top and betters):
        rare = book_make_rare(b, h)
        rare.flags = t.flags
        rare.stp = t.stp
        rare.owner_record = t.owner_record
        if t.flags & FLAG_REDUCE_ONLY:
            b.reducing += 1
        if t.display > 0:
            book_hide(b, h, t.lots - shown, t.display)
        if t.owner_record > 0:
            book_owner_append(b, h)
    if b.rule.has_top and betters:
        b.top[t.side] = h if shown >= b.rule.top_min else 0
        b.top_left[t.side] = b.rule.top_max


cdef inline void match_finish(book_t* b, taker_t* t, sink_t* sink) noexcept nogil:
    """Rest what is left of a taker, or take it off."""
    if t.lots == 0:
        return
    if t.rests and t.ended == REASON_NONE:
        match_rest(b, t)
    else:
        report_cancelled(
            sink, t.id, t.owner, t.message, t.side, t.price_sent, t.lots, 0, t.ended if t.ended != REASON_NONE else REASON_IOC
        )


cdef inline int match_refusal(book_t* b, const taker_t* t, int tif) noexcept nogil:
    """Why the book refuses a taker that is new to it, REASON_NONE if it does not."""
    cdef int reason
    if tif == TIF_POST_ONLY and match_open(b, t):
        return REASON_WOULD_TAKE
    if tif == TIF_FOK:
        reason = match_fillable(b, t)
        if reason != REASON_NONE:
            return reason
    if t.rests and not book_fits(b, t.side, t.limit_ticks, t.lots):
        return REASON_CAPACITY
    return REASON_NONE


cdef inline void match_hold(book_t* b, taker_t* t) noexcept nogil:
    """Keep the record of a taker's owner while it acts, made if need be."""
    t.owner_record = 0
    if t.owner > 0:
        t.owner_record = book_owner_record(b, t.owner)
        b.owners[t.owner_record].holds += 1


cdef inline void match_release(book_t* b, const taker_t* t) noexcept nogil:
    """Undo match_hold."""
    if t.owner_record > 0:
        b.owners[t.owner_record].holds -= 1
        book_owner_settle(b, t.owner_record)


cdef inline void match_stop_acts(book_t* b, taker_t* t, int type, int tif, int64_t stop_ticks, sink_t* sink) noexcept nogil:
    """A stop that has been reached becomes a market or limit order."""
    cdef report_t* r = sink_next(sink, REPORT_TRIGGERED, t.id, t.owner, t.message)
    cdef int reason
    r.side = match_side_code(t.side)
    r.price = stop_ticks
    r.quantity = t.lots
    t.any_price = type == TYPE_STOP
    t.rests = type == TYPE_STOP_LIMIT and (tif == TIF_GTC or tif == TIF_POST_ONLY)
    if t.any_price:
        t.display = 0
    reason = match_refusal(b, t, tif)
    if reason != REASON_NONE:
        report_cancelled(sink, t.id, t.owner, t.message, t.side, t.price_sent, t.lots, 0, reason)
        return
    match_walk(b, t, sink)
    match_finish(b, t, sink)


cdef inline void match_stops(book_t* b, const taker_t* cause, sink_t* sink) noexcept nogil:
    """Let the stops act that a taker's trades have reached, or that wait in the queue already, and those that they reach."""
    cdef taker_t t
    cdef stop_t stop
    cdef uint32_t record
    if b.stops.live == 0:
        return
    if cause.traded:
        stops_reach(&b.stops, LAST_SELLS, cause.low_ticks, cause.high_ticks)
    while True:
        record = stops_next(&b.stops)
        if record == 0:
            break
        stop = b.stops.records[record]
        memset(&t, 0, sizeof(taker_t))
        t.id = stop.id
        t.message = cause.message
        t.side = BID if stop.side == SIDE_BUY else ASK
        t.limit_ticks = stop.price_ticks
        t.price_sent = stop.price_ticks
        t.lots = stop.lots
        t.display = stop.display
        t.flags = stop.rare.flags & <uint8_t>FLAG_REDUCE_ONLY
        t.stp = stop.rare.stp
        if stop.rare.owner_record > 0:
            t.owner = b.owners[stop.rare.owner_record].owner
            match_hold(b, &t)
            book_owner_unlink(b, &stop.rare)
        stop_release(&b.stops, record)
        b.room += 1     # the stop's own
        match_stop_acts(b, &t, stop.type, stop.tif, stop.stop_ticks, sink)
        match_release(b, &t)
        if t.traded:
            stops_reach(&b.stops, LAST_SELLS, t.low_ticks, t.high_ticks)


# -- messages ----------------------------------------------------------------------------------------------------------


cdef inline bint match_lots_valid(int64_t lots) noexcept nogil:
    """Quantities of orders are 1..2**62."""
    return <uint64_t>lots - 1 < <uint64_t>1 << 62


cdef inline bint too_many_slices(int64_t lots, int64_t display) noexcept nogil:
    """Would an iceberg have more than 2**16 slices? One taker could keep the book busy for hours with it."""
    return display > 0 and (lots - 1) >> 16 >= display


cdef inline bint stop_acts_at_once(const book_t* b, const order_msg_t* m) noexcept nogil:
    """Is a new stop already reached?"""
    cdef bint on_mark = m.flags & FLAG_MARK_TRIGGER
    cdef int64_t now = b.mark_ticks if on_mark else b.last_ticks
    if not (b.has_mark if on_mark else b.has_last):
        return False
    return m.stop_price <= now if m.side == SIDE_BUY else m.stop_price >= now


cdef inline int match_room_for(book_t* b, bint rare, bint owned, bint peaked) noexcept nogil:
    """Memory for one more order."""
    if unlikely(b.room <= 0) and book_reserve_some(b, 1) != OK:
        return REASON_CAPACITY
    if rare and book_reserve_rare(b, owned, peaked) != OK:
        return REASON_CAPACITY
    return REASON_NONE


cdef inline int prepare_new(book_t* b, const order_msg_t* m, plan_t* p) noexcept nogil:
    """The checks of a NEW, in the order in which a reason wins: fields, then the book's state."""
    cdef taker_t* t = &p.taker
    p.stop = m.type >= TYPE_STOP
    if m.type > TYPE_STOP_LIMIT or m.tif > TIF_POST_ONLY or m.stp > STP_LAST or m.flags & ~FLAGS_KNOWN:
        return REASON_BAD_FIELD
    if m.tif == TIF_POST_ONLY and (m.type == TYPE_MARKET or m.type == TYPE_STOP):
        return REASON_BAD_FIELD     # a market order cannot rest
    if m.flags & FLAG_MARK_TRIGGER and not p.stop:
        return REASON_BAD_FIELD
    if m.side != SIDE_BUY and m.side != SIDE_SELL:
        return REASON_BAD_SIDE
    if not match_lots_valid(m.quantity) or m.display < 0 or too_many_slices(m.quantity, m.display):
        return REASON_BAD_QUANTITY
    if m.owner < 0 or (m.owner == 0 and m.flags & FLAG_REDUCE_ONLY):
        return REASON_BAD_OWNER
    if book_find(b, m.order_id) != 0:
        return REASON_DUPLICATE_ID
    t.side = BID if m.side == SIDE_BUY else ASK
    t.any_price = m.type == TYPE_MARKET or m.type == TYPE_STOP
    t.limit_ticks = m.price
    t.price_sent = m.price
    t.lots = m.quantity
    t.display = 0 if t.any_price else m.display
    t.owner = m.owner
    t.flags = m.flags & <uint8_t>FLAG_REDUCE_ONLY
    t.stp = m.stp if m.owner > 0 else <uint8_t>STP_NONE
    t.rests = not t.any_price and (m.tif == TIF_GTC or m.tif == TIF_POST_ONLY)
    if match_room_for(b, t.owner > 0 or t.display > 0 or b.rule.has_top, t.owner > 0, t.display > 0) != REASON_NONE:
        return REASON_CAPACITY
    if p.stop:
        return REASON_NONE if stops_reserve(&b.stops, 1) == OK else REASON_CAPACITY
    t.owner_record = book_owner_find(b, t.owner) if t.owner > 0 else 0
    return match_refusal(b, t, m.tif)


cdef inline int prepare_modify_stop(book_t* b, const order_msg_t* m, plan_t* p) noexcept nogil:
    """The checks of a MODIFY of a waiting stop."""
    cdef const stop_t* stop = &b.stops.records[p.handle & ~<uint32_t>STOP_BIT]
    p.taker.owner = book_owner(b, p.handle)
    p.in_place = m.price == stop.price_ticks and m.quantity < stop.lots
    if too_many_slices(m.quantity, stop.display):
        return REASON_BAD_QUANTITY
    return REASON_NONE if p.in_place or stops_reserve(&b.stops, 1) == OK else REASON_CAPACITY


cdef inline int prepare_modify(book_t* b, const order_msg_t* m, plan_t* p) noexcept nogil:
    """The checks of a MODIFY."""
    cdef taker_t* t = &p.taker
    cdef const rare_t* rare
    cdef int64_t joins, now
    if not match_lots_valid(m.quantity):
        return REASON_BAD_QUANTITY
    p.handle = book_find(b, m.order_id)
    if p.handle == 0:
        return REASON_UNKNOWN_ID
    if p.handle & STOP_BIT:
        return prepare_modify_stop(b, m, p)
    rare = book_rare(b, p.handle)
    now = book_open(b, p.handle)
    t.side = book_side(b, p.handle)
    t.limit_ticks = m.price
    t.price_sent = m.price
    t.lots = m.quantity
    t.rests = True
    if rare != NULL and rare.peak != 0 and too_many_slices(m.quantity, b.peaks[rare.peak].display):
        return REASON_BAD_QUANTITY
    if rare != NULL:
        t.owner = book_owner(b, p.handle)
        t.owner_record = rare.owner_record
        t.flags = rare.flags
        t.stp = rare.stp
        t.display = b.peaks[rare.peak].display if rare.peak != 0 else 0
    p.in_place = m.price == book_price(b, p.handle) and m.quantity < now
    if p.in_place:
        return REASON_NONE
    # At its own price only what it gains joins the sum.
    joins = m.quantity - now if m.price == book_price(b, p.handle) else m.quantity
    if not book_fits(b, t.side, m.price, joins):
        return REASON_CAPACITY
    return match_room_for(b, rare != NULL or b.rule.has_top, t.owner > 0, t.display > 0)


cdef inline void match_prepare(book_t* b, const order_msg_t* m, int64_t row, plan_t* p) noexcept nogil:
    """Check a message against the book and say what it will do. Only spare memory can grow."""
    memset(p, 0, sizeof(plan_t))
    p.action = m.action
    p.taker.id = m.order_id
    p.taker.message = row
    if m.action == ACTION_NEW:
        p.reason = prepare_new(b, m, p)
    elif m.action == ACTION_CANCEL:
        p.handle = book_find(b, m.order_id)
        p.reason = REASON_NONE if p.handle != 0 else REASON_UNKNOWN_ID
    elif m.action == ACTION_MODIFY:
        p.reason = prepare_modify(b, m, p)
    else:
        p.reason = REASON_BAD_FIELD


cdef inline void commit_stop(book_t* b, const order_msg_t* m, taker_t* t, sink_t* sink) noexcept nogil:
    """A new stop acts at once or waits."""
    cdef stop_t stop
    cdef uint32_t h
    if stop_acts_at_once(b, m):
        match_stop_acts(b, t, m.type, m.tif, m.stop_price, sink)
        return
    memset(&stop, 0, sizeof(stop_t))
    stop.id = m.order_id
    stop.stop_ticks = m.stop_price
    stop.price_ticks = m.price
    stop.lots = m.quantity
    stop.display = m.display
    stop.side = m.side
    stop.type = m.type
    stop.tif = m.tif
    stop.rare.flags = m.flags
    stop.rare.stp = t.stp
    stop.rare.owner_record = t.owner_record
    h = <uint32_t>STOP_BIT | stops_add(&b.stops, &stop)
    if t.owner_record > 0:
        book_owner_append(b, h)
    ids_put(&b.ids, m.order_id, h)
    b.room -= 1


cdef inline void commit_new(book_t* b, const order_msg_t* m, plan_t* p, sink_t* sink) noexcept nogil:
    """Do a NEW."""
    cdef taker_t* t = &p.taker
    cdef report_t* r = sink_next(sink, REPORT_ACK, t.id, t.owner, t.message)
    r.side = m.side
    r.price = m.price
    r.quantity = m.quantity
    if t.id > b.last_id:
        b.last_id = t.id
    match_hold(b, t)
    if p.stop:
        commit_stop(b, m, t, sink)
    else:
        match_walk(b, t, sink)
        match_finish(b, t, sink)
    match_release(b, t)
    match_stops(b, t, sink)


cdef inline void commit_modify_stop(book_t* b, const order_msg_t* m, const plan_t* p) noexcept nogil:
    """A waiting stop gets another price and quantity; what is no mere decrease arrives anew."""
    cdef stop_t* now = &b.stops.records[p.handle & ~<uint32_t>STOP_BIT]
    cdef stop_t stop = now[0]
    cdef uint32_t h
    now.lots = m.quantity
    if p.in_place:
        return
    stop.lots = m.quantity
    stop.price_ticks = m.price
    if stop.rare.owner_record > 0:
        book_owner_unlink(b, &stop.rare)
    stops_kill(&b.stops, p.handle & ~<uint32_t>STOP_BIT)
    h = <uint32_t>STOP_BIT | stops_add(&b.stops, &stop)
    if stop.rare.owner_record > 0:
        book_owner_append(b, h)
    ids_move(&b.ids, stop.id, p.handle, h)


cdef inline void commit_shrink(book_t* b, uint32_t h, int64_t lots) noexcept nogil:
    """Less at the same price: hidden lots go first."""
    cdef int64_t shown = book_lots(b, h)
    if book_rare(b, h) != NULL and book_rare(b, h).peak != 0:
        b.peaks[book_rare(b, h).peak].hidden = lots - shown if lots > shown else 0
    if lots < shown:
        book_reduce(b, h, lots)


cdef inline void commit_modify(book_t* b, const order_msg_t* m, plan_t* p, sink_t* sink) noexcept nogil:
    """Do a MODIFY."""
    cdef taker_t* t = &p.taker
    cdef report_t* r
    cdef bint taker = not p.in_place and not p.handle & STOP_BIT
    if p.handle & STOP_BIT:
        commit_modify_stop(b, m, p)
    elif p.in_place:
        commit_shrink(b, p.handle, m.quantity)
    else:
        match_hold(b, t)
        book_remove(b, p.handle)
        match_walk(b, t, sink)
    r = sink_next(sink, REPORT_MODIFIED, t.id, t.owner, t.message)
    r.price = m.price
    r.quantity = m.quantity
    if taker:
        match_finish(b, t, sink)
        match_release(b, t)
        match_stops(b, t, sink)


cdef inline void match_commit(book_t* b, const order_msg_t* m, plan_t* p, sink_t* sink) noexcept nogil:
    """Do what was planned and report it. Cannot fail: memory and room in the sink are there."""
    cdef report_t* r
    if p.reason != REASON_NONE:
        r = sink_next(sink, REPORT_REJECTED, p.taker.id, 0, p.taker.message)
        r.action = <uint8_t>p.action
        r.reason = <uint8_t>p.reason
    elif p.action == ACTION_NEW:
        commit_new(b, m, p, sink)
    elif p.action == ACTION_CANCEL:
        match_cancel(b, p.handle, p.taker.message, REASON_USER, sink)
    else:
        commit_modify(b, m, p, sink)


cdef inline int64_t match_cancel_owner(book_t* b, int32_t owner, sink_t* sink) noexcept nogil:
    """Take all orders of an owner > 0 off, oldest first."""
    cdef int64_t n = 0
    cdef uint32_t h = book_owner_first(b, owner)
    while h != 0:
        match_cancel(b, h, 0, REASON_OWNER, sink)
        n += 1
        h = book_owner_first(b, owner)
    return n


cdef inline void match_set_mark(book_t* b, int64_t mark, sink_t* sink) noexcept nogil:
    """Set the mark; the stops that it reaches act."""
    cdef taker_t nobody
    memset(&nobody, 0, sizeof(taker_t))
    b.has_mark = True
    b.mark_ticks = mark
    stops_reach(&b.stops, MARK_SELLS, mark, mark)
    match_stops(b, &nobody, sink)


cdef inline int match_join_external(book_t* b, int side, int64_t price, int64_t lots) noexcept nogil:
    """A new external order; book_reserve and book_fits have been asked."""
    cdef bint betters = match_betters(b, side, price)
    cdef int64_t h = book_place(b, side, price, lots, 0, 0, ORDER_EXTERNAL)
    if h < 0:
        return <int>h
    if betters:
        b.top[side] = 0
    return OK


cdef inline int64_t match_reports(book_t* b, const order_msg_t* m, const plan_t* p, bint trades_only) noexcept nogil:
    """How many reports match_commit will write; negative without the memory to find out."""
    cdef const taker_t* t = &p.taker
    cdef plan_t probe
    cdef sink_t sink
    cdef int64_t trades, left = 0
    if p.reason != REASON_NONE or p.action == ACTION_CANCEL or p.in_place or p.handle & STOP_BIT:
        return 0 if trades_only else 1
    if p.stop and not stop_acts_at_once(b, m):
        return 0 if trades_only else 1
    if not p.stop and not match_open(b, t):
        return 0 if trades_only else 1 if t.rests else 2
    if not p.stop and b.rule.fifo and b.icebergs == 0 and b.stops.live == 0 and not match_hinders(b, t):
        trades = match_trades(b, t, &left)
        return trades if trades_only else 1 + trades + (left > 0 and not t.rests)
    if match_scratch(b) != OK:
        return -1
    probe = p[0]
    sink_count(&sink)
    if match_room_for(<book_t*>b.scratch, True, t.owner > 0, t.display > 0) != REASON_NONE:
        return -1
    match_commit(<book_t*>b.scratch, m, &probe, &sink)
    trades = sink.trades_gone + sink_trades(&sink, 0)
    return trades if trades_only else sink.gone + sink.n


cdef inline bint plain_new(book_t* b, const order_msg_t* m, int64_t row, report_t* r) noexcept nogil:
    """A plain limit order that only rests; False, with nothing changed, if it is anything else."""
    cdef uint64_t id = m.order_id
    cdef int64_t price = m.price, lots = m.quantity
    cdef int sign = m.side
    cdef int side = sign < 0    # sides come at random: no branch depends on them
    cdef uint64_t rank = rank_of(side, price)
    cdef uint32_t h, level
    cdef uint32_t* slot
    cdef int64_t vacant = 0
    if unlikely(rank >= b.ladder.crossing[side]):
        return False
    if unlikely(m.owner | m.display or sign != 1 - 2 * side or b.room <= 0 or b.rule.has_top or not match_lots_valid(lots)):
        return False
    slot = ids_slot(&b.ids, id)
    if slot == NULL or b.ids.used > 0:
        if book_find_sparse(b, id, &vacant) != 0:
            return False
    if slot != NULL and slot[0] != 0 and book_find(b, id) != 0:
        return False
    level = ladder_find(&b.ladder, side, rank, price)
    if level == 0:
        level = ladder_add(&b.ladder, side, price)
    elif unlikely(b.ladder.levels[level].flags or lots > INT64_MAX - b.ladder.levels[level].quantity_lots):
        return False
    h = book_append(b, level, id, lots)
    if likely(slot != NULL):
        slot[0] = h
    elif not ids_put_paged(&b.ids, id, h):
        ids_put_vacant(&b.ids, id, h, vacant)
    b.orders[side] += 1
    b.room -= 1
    b.last_id = id if id > b.last_id else b.last_id
    report_put(r, id, 0, price, lots, 0, row, 0, report_codes(REPORT_ACK, sign, 0))
    return True


cdef inline bint plain_cancel(book_t* b, const order_msg_t* m, int64_t row, report_t* r) noexcept nogil:
    """The cancellation of a plain resting order; False, with nothing changed, if it is anything else."""
    cdef uint64_t id = m.order_id
    cdef uint32_t h = book_find(b, id)
    cdef chunk_t* c = &b.chunks[h >> SLOT_BITS]
    cdef const level_t* v
    if unlikely(h == 0 or h & STOP_BIT):
        return False
    if unlikely((c.rare >> (h & SLOTS)) & 1):
        return False
    v = &b.ladder.levels[c.level]
    report_put(
        r, id, 0, v.price_ticks, c.cells[h & SLOTS].lots, 0, row, 0,
        report_codes(REPORT_CANCELLED, match_side_code(v.side), REASON_USER),
    )
    b.orders[v.side] -= 1
    book_drop(b, h)
    return True


cdef inline bint message_plain(book_t* b, const order_msg_t* m, int64_t row, report_t* r) noexcept nogil:
    """Deal with the most frequent messages, which have one report each: a plain limit order that only rests, and the
    cancellation of one. False, with nothing changed, leaves any other, and every refusal, to prepare and commit."""
    cdef uint64_t header = message_header(m)
    if header & PLAIN == 0:
        return plain_new(b, m, row, r)
    if header & 0xFF == ACTION_CANCEL:
        return plain_cancel(b, m, row, r)
    return False


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
    cdef int64_t i, room
    needed[0] = 0
    for i in range(n):
        __builtin_prefetch(&messages[i + 16])
        if b.ids.used > 0 and i + 8 < n:
            # Hashed ids lie anywhere: first the hint is asked for, then the chunk that it leads to.
            ids_fetch(&b.ids, messages[i + 8].order_id)
            if messages[i + 4].action != ACTION_NEW:
                __builtin_prefetch(&b.chunks[(ids_first(&b.ids, messages[i + 4].order_id) & ~<uint32_t>STOP_BIT) >> SLOT_BITS])
        if likely(sink.n < sink.cap) and message_plain(b, &messages[i], first_row + i, &sink.reports[sink.n]):
            sink.n += 1
            continue
        m = messages[i]     # read once: the caller's array might change meanwhile
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
