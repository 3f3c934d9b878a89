"""Messages: prepare (every check, nothing changed), count (the reports, only when the caller's buffer might be too small),
commit (cannot fail). So a message is never half done, and a buffer that is full loses nothing."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memset

from cascade._book cimport (
    ORDER_EXTERNAL,
    STOP_BIT,
    book_find,
    book_fits,
    book_lots,
    book_open,
    book_owner,
    book_owner_append,
    book_owner_find,
    book_owner_first,
    book_owner_unlink,
    book_place,
    book_price,
    book_rare,
    book_reduce,
    book_remove,
    book_reserve_rare,
    book_reserve_some,
    book_set_hidden,
    book_side,
    book_t,
)
from cascade._ids cimport ids_move, ids_put
from cascade._ladder cimport ASK, BID, unlikely
from cascade._sink cimport sink_count, sink_next, sink_t, sink_trades
from cascade._stops cimport MARK_SELLS, stop_t, stops_add, stops_kill, stops_reach, stops_reserve
from cascade._take cimport (
    match_betters,
    match_cancel,
    match_finish,
    match_hinders,
    match_hold,
    match_open,
    match_refusal,
    match_release,
    match_scratch,
    match_stop_acts,
    match_stops,
    match_trades,
    match_walk,
    taker_t,
)
from cascade._types cimport (
    ACTION_CANCEL,
    ACTION_MODIFY,
    ACTION_NEW,
    FLAGS_KNOWN,
    FLAG_MARK_TRIGGER,
    FLAG_REDUCE_ONLY,
    OK,
    REASON_BAD_FIELD,
    REASON_BAD_OWNER,
    REASON_BAD_QUANTITY,
    REASON_BAD_SIDE,
    REASON_CAPACITY,
    REASON_DUPLICATE_ID,
    REASON_NONE,
    REASON_OWNER,
    REASON_UNKNOWN_ID,
    REASON_USER,
    REPORT_ACK,
    REPORT_MODIFIED,
    REPORT_REJECTED,
    SIDE_BUY,
    SIDE_SELL,
    STP_LAST,
    STP_NONE,
    TIF_GTC,
    TIF_POST_ONLY,
    TYPE_MARKET,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    order_msg_t,
    rare_t,
    report_t,
)


# A checked message. Invariant: reason != REASON_NONE means that it is refused.
ctypedef struct plan_t:
    taker_t taker
    int reason
    int action
    uint32_t handle         # the order that CANCEL and MODIFY name, else 0
    bint in_place           # a MODIFY that keeps its place
    bint stop               # a NEW that is a stop
    bint rare               # the order has an owner, a peak or flags


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
    t.owner_record = book_owner_find(b, t.owner) if t.owner > 0 else 0
    if p.stop:
        return REASON_NONE if stops_reserve(&b.stops, 1) == OK else REASON_CAPACITY
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
        book_set_hidden(b, h, lots - shown if lots > shown else 0)
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
