"""Taking: the walk over a book's primitives, what it leaves, and the stops that it sets off. docs/orderbook.md says what
each rule means."""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memset

from cascade._allocate cimport allocate, share_t
from cascade._book cimport (
    SLOTS,
    SLOT_BITS,
    STOP_BIT,
    book_behind,
    book_best,
    book_best_level,
    book_cell,
    book_copy,
    book_find,
    book_fits,
    book_front,
    book_front_of,
    book_has,
    book_hidden,
    book_hide,
    book_id,
    book_init,
    book_level_open,
    book_make_rare,
    book_next_level,
    book_open,
    book_owner,
    book_owner_append,
    book_owner_record,
    book_owner_settle,
    book_owner_unlink,
    book_price,
    book_rare,
    book_refill,
    book_remove,
    book_remove_stop,
    book_rest,
    book_side,
    book_t,
    book_take,
    cell_t,
    chunk_t,
    owner_t,
    position_add,
    position_room,
)
from cascade._ladder cimport ASK, BID, ladder_remove_best, level_t, price_rank, unlikely
from cascade._sink cimport (
    match_side_code,
    report_cancelled,
    report_codes,
    report_put,
    sink_count,
    sink_more,
    sink_next,
    sink_t,
)
from cascade._stops cimport LAST_SELLS, stop_release, stop_t, stops_next, stops_reach
from cascade._types cimport (
    FLAG_REDUCE_ONLY,
    OK,
    REASON_CAPACITY,
    REASON_FOK_UNFILLABLE,
    REASON_IOC,
    REASON_NONE,
    REASON_REDUCE_ONLY,
    REASON_STP,
    REASON_UNALLOCATED,
    REASON_WOULD_TAKE,
    REPORT_TRADE,
    REPORT_TRIGGERED,
    SIDE_BUY,
    STP_BOTH,
    STP_MAKER,
    STP_NONE,
    STP_TAKER,
    TIF_FOK,
    TIF_GTC,
    TIF_POST_ONLY,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    rare_t,
    report_t,
)

cdef extern from *:
    void __builtin_prefetch(const void* address) noexcept nogil
    int __builtin_ctz(unsigned int) noexcept nogil


# -- takers -----------------------------------------------------------------------------------------------------------


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


cdef inline bint match_itself(const book_t* b, const taker_t* t, uint32_t h) noexcept nogil:
    """Is the maker of the taker's owner? A trade of the two moves no position, so that no room limits it: else a room of
    1 would make a trade of every lot."""
    cdef const rare_t* rare
    if t.owner_record == 0:
        return False
    rare = book_rare(b, h)
    return rare != NULL and rare.owner_record == t.owner_record


cdef inline bint match_own(const book_t* b, const taker_t* t, uint32_t h) noexcept nogil:
    """Is self-trade prevention to keep the taker from this maker?"""
    return t.stp != STP_NONE and match_itself(b, t, h)


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
    cdef bint itself = match_itself(b, t, h)
    if itself and t.stp != STP_NONE:
        match_prevent(b, t, h, sink)
        return
    room = match_room(b, h, 1 - t.side)
    if room == 0:
        match_cancel(b, h, t.message, REASON_REDUCE_ONLY, sink)
        return
    if lots > room and not itself:
        lots = room
    room = taker_room(b, t)
    if room == 0:
        t.ended = REASON_REDUCE_ONLY
        return
    if lots > room and not itself:
        lots = room
    if lots > t.lots:
        lots = t.lots
    match_trade(b, t, h, lots, sink)


# -- the walk ----------------------------------------------------------------------------------------------------------


cdef inline void match_sweep(book_t* b, taker_t* t, uint64_t reach, sink_t* sink) noexcept nogil:
    """Trade with plain orders, best level first and the oldest first, up to the first that is not plain; there is one that is,
    and it crosses. The taker is not reduce-only, and `reach` is the worst rank that it trades at."""
    cdef int far = 1 - t.side
    cdef uint32_t level = book_best_level(b, far), chunk, next_chunk, live, run
    cdef int64_t left = t.lots, message = t.message, price, lots, level_left
    cdef uint64_t id = t.id, owner = <uint32_t>t.owner
    cdef uint64_t codes = report_codes(REPORT_TRADE, match_side_code(t.side), 0)
    cdef int32_t filled = 0, level_filled
    cdef level_t* v
    cdef chunk_t* c
    cdef cell_t* cell
    cdef report_t* r = sink.reports + sink.n
    cdef report_t* end = sink.reports + sink.cap
    match_note(b, t, b.ladder.levels[level].price_ticks)
    while True:
        v = &b.ladder.levels[level]
        price = v.price_ticks
        chunk = v.head
        level_left = left
        level_filled = filled
        while True:
            c = &b.chunks[chunk]
            next_chunk = c.next
            __builtin_prefetch(&b.chunks[next_chunk])
            live = c.live
            run = live
            if unlikely(c.rare):
                run &= (c.rare & -<uint32_t>c.rare) - 1     # those before the first that is not plain
            live &= ~run
            while run != 0:
                cell = &c.cells[__builtin_ctz(run)]
                lots = cell.lots
                if unlikely(r == end):
                    sink.n = sink.cap
                    sink_more(sink)
                    r = sink.reports + sink.n
                    end = sink.reports + sink.cap
                if lots >= left:
                    report_put(r, id, cell.id, price, left, 0, message, owner, codes)
                    r += 1
                    if lots == left:
                        run &= run - 1
                        filled += 1
                    else:
                        cell.lots = lots - left
                    left = 0
                    break
                left -= lots
                report_put(r, id, cell.id, price, lots, left, message, owner, codes)
                r += 1
                filled += 1
                run &= run - 1
            live |= run
            c.live = <uint8_t>live
            if live != 0:
                break
            c.next = b.chunks_free
            b.chunks_free = chunk
            chunk = next_chunk
            if chunk == 0 or left == 0:
                break
        if chunk != 0:
            b.chunks[chunk].prev = 0
            v.head = chunk
            v.count -= filled - level_filled
            v.quantity_lots -= level_left - left
            break
        ladder_remove_best(&b.ladder, far)
        level = book_best_level(b, far)
        if left == 0 or level == 0 or reach < b.ladder.crossing[t.side]:
            break
        c = &b.chunks[b.ladder.levels[level].head]
        if unlikely(c.rare & c.live & -<uint32_t>c.live):
            break
    sink.n = r - sink.reports
    if t.owner_record > 0:
        position_add(&b.owners[t.owner_record], t.lots - left if t.side == BID else left - t.lots)
    t.lots = left
    b.orders[far] -= filled
    match_note(b, t, price)


cdef inline void match_walk_fifo(book_t* b, taker_t* t, sink_t* sink) noexcept nogil:
    """Trade, best price first, then oldest, until the taker is filled or ended or nothing crosses."""
    cdef bint runs = not t.flags & FLAG_REDUCE_ONLY
    cdef uint64_t reach = ~<uint64_t>0 if t.any_price else price_rank(t.side, t.limit_ticks)
    cdef uint32_t h
    while t.lots > 0 and t.ended == REASON_NONE and match_open(b, t):
        h = book_front(b, 1 - t.side)
        if runs and not (b.chunks[h >> SLOT_BITS].rare >> (h & SLOTS)) & 1:
            match_sweep(b, t, reach, sink)
        else:
            match_meet(b, t, h, sink)


cdef inline uint32_t match_behind(const book_t* b, uint32_t level, uint32_t h) noexcept nogil:
    """book_behind; of no order the level's oldest."""
    return book_behind(b, h) if h != 0 else book_front_of(b, level)


cdef inline void match_own_first(book_t* b, taker_t* t, uint32_t level, sink_t* sink) noexcept nogil:
    """Self-trade prevention between the taker and its owner's orders at the best level, oldest first, until the taker is ended or
    they or the level have gone. O(orders of the level + refills)."""
    cdef uint32_t passed = 0, h = book_front_of(b, level)
    while h != 0:
        if match_own(b, t, h):
            match_prevent(b, t, h, sink)
            if t.lots == 0 or t.ended != REASON_NONE or book_best_level(b, 1 - t.side) != level:
                return
        else:
            passed = h
        h = match_behind(b, level, passed)


cdef inline void match_roomless_first(book_t* b, const taker_t* t, uint32_t level, sink_t* sink) noexcept nogil:
    """Take the reduce-only orders of the best level whose owners have nothing to close off, oldest first, until they or the
    level have gone. O(orders of the level)."""
    cdef uint32_t passed = 0, h = book_front_of(b, level)
    while h != 0:
        if match_room(b, h, 1 - t.side) == 0:
            match_cancel(b, h, t.message, REASON_REDUCE_ONLY, sink)
            if book_best_level(b, 1 - t.side) != level:
                return
        else:
            passed = h
        h = match_behind(b, level, passed)


cdef inline int64_t match_gather(
    book_t* b, const taker_t* t, uint32_t level, int64_t* sum_lots, int64_t* top
) noexcept nogil:
    """The orders of a level, oldest first, with what each may trade, into b.shares; their number. O(orders of the level)."""
    cdef share_t* s = b.shares
    cdef uint32_t h = book_front_of(b, level)
    cdef int side = b.ladder.levels[level].side
    cdef int64_t n = 0, room
    cdef int32_t before
    cdef const rare_t* rare
    cdef owner_t* own
    sum_lots[0] = 0
    top[0] = -1
    while h != 0:
        rare = book_rare(b, h)
        memset(&s[n], 0, sizeof(share_t))
        s[n].handle = h
        s[n].lots = book_cell(b, h).lots
        if rare != NULL and rare.owner_record > 0:
            own = &b.owners[rare.owner_record]
            s[n].owner = rare.owner_record
            s[n].lmm_percent = own.lmm_percent
            # The owner's last order here, if there is one: what an earlier level left in own.share does not lead back.
            before = own.share
            s[n].owner_first = before >= n or s[before].owner != rare.owner_record
            own.share = <int32_t>n
            if not s[n].owner_first:
                s[before].owner_next = <int32_t>n
                s[n].owner_lots = s[before].owner_lots
            if rare.flags & FLAG_REDUCE_ONLY and not match_itself(b, t, h):
                # What earlier orders of the owner here may trade comes first.
                room = position_room(own, side)
                room = room - s[n].owner_lots if room > s[n].owner_lots else 0
                if s[n].lots > room:
                    s[n].lots = room
            s[n].owner_lots += s[n].lots
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
    n = match_gather(b, t, level, &sum_lots, &top)
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
    cdef uint32_t level
    while t.lots > 0 and t.ended == REASON_NONE and match_open(b, t):
        level = book_best_level(b, 1 - t.side)
        if t.stp != STP_NONE and t.owner_record > 0:
            match_own_first(b, t, level, sink)
            if t.lots == 0 or t.ended != REASON_NONE or book_best_level(b, 1 - t.side) != level:
                continue
        if b.reducing > 0:
            match_roomless_first(b, t, level, sink)
            if book_best_level(b, 1 - t.side) != level:
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
    cdef int64_t room
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
        room = b.room
        b.room += 1     # the stop's own
        match_stop_acts(b, &t, stop.type, stop.tif, stop.stop_ticks, sink)
        b.room = room   # used or not: the hint that it had while it waited is not given back
        match_release(b, &t)
        if t.traded:
            stops_reach(&b.stops, LAST_SELLS, t.low_ticks, t.high_ticks)
