"""Matching: the taker's walk over a book's primitives, and messages in, reports out.

A message is dealt with in three steps: prepare (every check, nothing changed), count (its reports, only when
the buffer might be too small), commit (cannot fail). So a message is never half done, and a buffer that is
full loses nothing.
"""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memset

from cascade._book cimport (
    ASK,
    BID,
    book_add,
    book_best,
    book_find,
    book_fits,
    book_front,
    book_has,
    book_owner_first,
    book_reduce,
    book_remove,
    book_reserve,
    book_t,
    book_take,
    level_t,
    order_t,
    side_t,
)
from cascade._types cimport (
    ACTION_CANCEL,
    ACTION_MODIFY,
    ACTION_NEW,
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
    REASON_UNKNOWN_ID,
    REASON_UNSUPPORTED,
    REASON_USER,
    REASON_WOULD_TAKE,
    REPORT_ACK,
    REPORT_CANCELLED,
    REPORT_MODIFIED,
    REPORT_REJECTED,
    REPORT_TRADE,
    SIDE_BUY,
    SIDE_SELL,
    STP_LAST,
    STP_NONE,
    TIF_FOK,
    TIF_GTC,
    TIF_POST_ONLY,
    TYPE_LIMIT,
    TYPE_MARKET,
    TYPE_STOP_LIMIT,
    order_msg_t,
    report_t,
)


# Which reports a caller wants.
cdef enum:
    SINK_ALL = 0
    SINK_TRADES = 1
    SINK_NONE = 2


# Where reports go. Invariant: n <= cap; nothing is written beyond reports[cap - 1].
ctypedef struct sink_t:
    report_t* reports       # not read when mode is SINK_NONE
    int64_t cap
    int64_t n               # written so far
    int mode


# A taker: what the walk needs of a NEW or of a MODIFY that leaves its place.
ctypedef struct taker_t:
    uint64_t id
    int64_t limit_ticks     # not read when any_price
    int64_t lots            # open, counts down
    int64_t message         # row for the reports
    int32_t owner
    int side                # BID or ASK: where it would rest
    bint any_price


# A checked message. Invariant: reason != REASON_NONE means that it is refused.
ctypedef struct plan_t:
    taker_t taker
    int reason
    int action
    int32_t handle          # the order that CANCEL and MODIFY name, else -1
    bint rests              # a remainder stays on the book
    bint in_place           # a MODIFY that keeps its place


cdef inline int8_t match_side_code(int side) noexcept nogil:
    """BID or ASK as the side code of the records."""
    return SIDE_BUY if side == BID else SIDE_SELL


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


cdef inline int64_t match_unfilled(const book_t* b, const taker_t* t) noexcept nogil:
    """The lots that would be left of the taker. Changes nothing. O(levels it would reach)."""
    cdef const side_t* s = &b.side[1 - t.side]
    cdef int64_t left = t.lots
    cdef int32_t i = s.n - 1
    while i >= 0 and left > 0 and match_crosses(t.side, t.any_price, t.limit_ticks, s.levels[i].price_ticks):
        if left <= s.levels[i].quantity_lots:
            return 0
        left -= s.levels[i].quantity_lots
        i -= 1
    return left


cdef inline int64_t match_trades(const book_t* b, const taker_t* t, int64_t* left) noexcept nogil:
    """How many trades the taker would do, and the lots that would be left of it. Changes nothing. O(levels it
    would empty + orders of the last one)."""
    cdef const side_t* s = &b.side[1 - t.side]
    cdef const level_t* v
    cdef int64_t n = 0
    cdef int32_t i = s.n - 1, h
    left[0] = t.lots
    while i >= 0 and left[0] > 0:
        v = &s.levels[i]
        if not match_crosses(t.side, t.any_price, t.limit_ticks, v.price_ticks):
            break
        if left[0] >= v.quantity_lots:
            left[0] -= v.quantity_lots
            n += v.count
        else:
            h = v.head
            while left[0] > 0:
                n += 1
                left[0] = left[0] - b.orders[h].quantity_lots if left[0] > b.orders[h].quantity_lots else 0
                h = b.orders[h].next
        i -= 1
    return n


cdef inline report_t* sink_next(
    sink_t* sink, int kind, uint64_t id, int32_t owner, int64_t message
) noexcept nogil:
    """The next report, zero but for what every kind has; the caller has made sure that it fits."""
    cdef report_t* r = &sink.reports[sink.n]
    sink.n += 1
    memset(r, 0, sizeof(report_t))
    r.kind = <uint8_t>kind
    r.order_id = id
    r.owner = owner
    r.message = message
    return r


cdef inline void match_walk(book_t* b, taker_t* t, sink_t* sink) noexcept nogil:
    """Trade, best price first, then oldest, until the taker is filled or nothing crosses."""
    cdef const order_t* o
    cdef report_t* r
    cdef int32_t h
    cdef int64_t lots
    while t.lots > 0 and match_open(b, t):
        h = book_front(b, 1 - t.side)
        o = &b.orders[h]
        lots = t.lots if t.lots < o.quantity_lots else o.quantity_lots
        t.lots -= lots
        if sink.mode != SINK_NONE:
            r = sink_next(sink, REPORT_TRADE, t.id, t.owner, t.message)
            r.maker_id = o.id
            r.maker_owner = o.owner
            r.price = o.price_ticks
            r.quantity = lots
            r.leaves = t.lots
            r.side = match_side_code(t.side)
        book_take(b, h, lots)


cdef inline bint match_lots_valid(int64_t lots) noexcept nogil:
    """Quantities of orders are 1..2**62."""
    return 1 <= lots <= (<int64_t>1 << 62)


cdef inline int prepare_new(book_t* b, const order_msg_t* m, plan_t* p) noexcept nogil:
    """The checks of a NEW, in the order in which a reason wins: fields, then support, then the book's
    state."""
    cdef taker_t* t = &p.taker
    if m.type > TYPE_STOP_LIMIT or m.tif > TIF_POST_ONLY or m.stp > STP_LAST or m.flags & ~FLAGS_KNOWN:
        return REASON_BAD_FIELD
    if m.type == TYPE_MARKET and m.tif == TIF_POST_ONLY:
        return REASON_BAD_FIELD     # a market order cannot rest
    if m.side != SIDE_BUY and m.side != SIDE_SELL:
        return REASON_BAD_SIDE
    if not match_lots_valid(m.quantity):
        return REASON_BAD_QUANTITY
    if m.owner < 0:
        return REASON_BAD_OWNER
    if m.type > TYPE_MARKET or m.display != 0 or m.flags != 0 or m.stp != STP_NONE:
        return REASON_UNSUPPORTED
    if book_find(b, m.order_id) >= 0:
        return REASON_DUPLICATE_ID
    t.side = BID if m.side == SIDE_BUY else ASK
    t.any_price = m.type == TYPE_MARKET
    t.limit_ticks = m.price
    t.lots = m.quantity
    t.owner = m.owner
    p.rests = m.type == TYPE_LIMIT and (m.tif == TIF_GTC or m.tif == TIF_POST_ONLY)
    if m.tif == TIF_POST_ONLY and match_open(b, t):
        return REASON_WOULD_TAKE
    if m.tif == TIF_FOK and match_unfilled(b, t) > 0:
        return REASON_FOK_UNFILLABLE
    # Where its level exists already nothing crosses, so that the whole order would join it.
    if p.rests:
        if not book_fits(b, t.side, m.price, m.quantity) or book_reserve(b, t.side, 1, m.owner > 0) != OK:
            return REASON_CAPACITY
    return REASON_NONE


cdef inline int prepare_modify(book_t* b, const order_msg_t* m, plan_t* p) noexcept nogil:
    """The checks of a MODIFY."""
    cdef taker_t* t = &p.taker
    cdef const order_t* o
    cdef int64_t joins
    if not match_lots_valid(m.quantity):
        return REASON_BAD_QUANTITY
    p.handle = book_find(b, m.order_id)
    if p.handle < 0:
        return REASON_UNKNOWN_ID
    o = &b.orders[p.handle]
    t.side = o.side
    t.limit_ticks = m.price
    t.lots = m.quantity
    t.owner = o.owner
    p.rests = True
    p.in_place = m.price == o.price_ticks and m.quantity < o.quantity_lots
    # At its own price only what it gains joins the sum.
    joins = m.quantity - o.quantity_lots if m.price == o.price_ticks else m.quantity
    if not p.in_place:
        if not book_fits(b, t.side, m.price, joins) or book_reserve(b, t.side, 1, t.owner > 0) != OK:
            return REASON_CAPACITY
    return REASON_NONE


cdef inline void match_prepare(book_t* b, const order_msg_t* m, int64_t row, plan_t* p) noexcept nogil:
    """Check a message against the book and say what it will do. Only spare memory can grow."""
    memset(p, 0, sizeof(plan_t))
    p.handle = -1
    p.action = m.action
    p.taker.id = m.order_id
    p.taker.message = row
    if m.action == ACTION_NEW:
        p.reason = prepare_new(b, m, p)
    elif m.action == ACTION_CANCEL:
        p.handle = book_find(b, m.order_id)
        p.reason = REASON_NONE if p.handle >= 0 else REASON_UNKNOWN_ID
    elif m.action == ACTION_MODIFY:
        p.reason = prepare_modify(b, m, p)
    else:
        p.reason = REASON_BAD_FIELD


cdef inline int64_t match_reports(const book_t* b, const plan_t* p, int mode) noexcept nogil:
    """How many reports match_commit will write."""
    cdef int64_t trades = 0, left = 0
    if mode == SINK_NONE:
        return 0
    if p.reason == REASON_NONE and p.action != ACTION_CANCEL and not p.in_place:
        trades = match_trades(b, &p.taker, &left)
    if mode == SINK_TRADES:
        return trades
    return 1 + trades + (left > 0 and not p.rests)


cdef inline void match_commit(book_t* b, const order_msg_t* m, plan_t* p, sink_t* sink) noexcept nogil:
    """Do what was planned and report it. Cannot fail: memory and room in the sink are there."""
    cdef taker_t* t = &p.taker
    cdef report_t* r
    cdef bint tell = sink.mode == SINK_ALL
    if p.reason != REASON_NONE:
        if tell:
            r = sink_next(sink, REPORT_REJECTED, t.id, 0, t.message)
            r.action = <uint8_t>p.action
            r.reason = <uint8_t>p.reason
    elif p.action == ACTION_NEW:
        if t.id > b.last_id:
            b.last_id = t.id
        if tell:
            r = sink_next(sink, REPORT_ACK, t.id, t.owner, t.message)
            r.side = m.side
            r.price = m.price
            r.quantity = m.quantity
        match_walk(b, t, sink)
        if t.lots > 0 and p.rests:
            book_add(b, t.side, t.limit_ticks, t.lots, t.owner, t.id, 0)
        elif t.lots > 0 and tell:
            r = sink_next(sink, REPORT_CANCELLED, t.id, t.owner, t.message)
            r.side = m.side
            r.price = m.price
            r.quantity = t.lots
            r.reason = REASON_IOC
    elif p.action == ACTION_CANCEL:
        match_cancel(b, p.handle, t.message, REASON_USER, sink)
    else:
        if p.in_place:
            book_reduce(b, p.handle, t.lots)
        else:
            book_remove(b, p.handle)
            match_walk(b, t, sink)
            if t.lots > 0:
                book_add(b, t.side, t.limit_ticks, t.lots, t.owner, t.id, 0)
        if tell:
            r = sink_next(sink, REPORT_MODIFIED, t.id, t.owner, t.message)
            r.price = m.price
            r.quantity = m.quantity


cdef inline void match_cancel(book_t* b, int32_t h, int64_t message, int reason, sink_t* sink) noexcept nogil:
    """Take a resting order off and report it."""
    cdef const order_t* o = &b.orders[h]
    cdef report_t* r
    if sink.mode == SINK_ALL:
        r = sink_next(sink, REPORT_CANCELLED, o.id, o.owner, message)
        r.side = match_side_code(o.side)
        r.price = o.price_ticks
        r.quantity = o.quantity_lots
        r.reason = <uint8_t>reason
    book_remove(b, h)


cdef inline int64_t match_cancel_owner(book_t* b, int32_t owner, sink_t* sink) noexcept nogil:
    """Take all orders of an owner > 0 off, oldest first. The sink has room for them."""
    cdef int64_t n = 0
    cdef int32_t h = book_owner_first(b, owner)
    while h >= 0:
        match_cancel(b, h, 0, REASON_OWNER, sink)
        n += 1
        h = book_owner_first(b, owner)
    return n


cdef inline int64_t book_process(
    book_t* b, const order_msg_t* messages, int64_t n, int64_t first_row, sink_t* sink, int64_t* needed
) noexcept nogil:
    """Deal with messages in turn until the first whose reports do not all fit: the number of messages dealt
    with. `needed` is the number of reports of the message that did not fit, 0 if there was none."""
    cdef order_msg_t m
    cdef plan_t p
    cdef int64_t i, room
    needed[0] = 0
    for i in range(n):
        m = messages[i]     # read once: the caller's array might change meanwhile
        match_prepare(b, &m, first_row + i, &p)
        if sink.mode != SINK_NONE:
            room = sink.cap - sink.n
            # Every maker on the far side, an ACK and a CANCELLED is the most there can be; count only when
            # that is too much.
            if room < <int64_t>b.side[1 - p.taker.side].orders + 2:
                needed[0] = match_reports(b, &p, sink.mode)
                if needed[0] > room:
                    return i
                needed[0] = 0
        match_commit(b, &m, &p, sink)
    return n
