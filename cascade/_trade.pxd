"""Trading in a running market: shadow marks, the taker's walk within what is known of a book, cancellations."""

from libc.stdint cimport int32_t, int64_t, uint32_t

from cascade._book cimport (
    book_best,
    book_best_level,
    book_front,
    book_has,
    book_lots,
    book_next_level,
    book_owner,
    book_owner_first,
    book_owner_next,
    book_price,
    book_remove,
    book_side,
    book_t,
    book_take,
)
from cascade._breakers cimport begin_order, fence_allows, note_trade, watch_market
from cascade._ladder cimport ASK, BID, level_t
from cascade._ledger cimport charge, party_of, party_t, trade
from cascade._margin cimport trade_value
from cascade._marks cimport mark_value_of
from cascade._run cimport (
    EVENT_CANCEL,
    EVENT_FILL,
    EVENT_MARK,
    EXTERNAL,
    IS_ISOLATED,
    MARK_INDEX,
    MARK_LAST,
    MARK_MID,
    MARK_TREE,
    book_traded,
    emit,
    instrument_t,
    mark_change_t,
    run_room,
    run_t,
    terms_t,
)
from cascade._types cimport ERR_AUDIT, REASON_BANDED, REASON_BEYOND_DATA, REASON_HALTED, REASON_NONE, REASON_STP
from cascade._wide cimport wide_add, wide_of, wide_t


cdef enum:
    PRICE_LIMIT_BITS = 53   # prices are in [1, 2**53 - 1] ticks


cdef inline int64_t widest_limit(int side) noexcept nogil:
    """The limit of an order at any price."""
    return (<int64_t>1 << PRICE_LIMIT_BITS) - 1 if side > 0 else 1


cdef inline int64_t mark_now(const run_t* r, int i) noexcept nogil:
    """The mark of an instrument as if set now, in 1/1024 ticks; 0 while an input is missing."""
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const book_t* book = &r.books[i]
    cdef int64_t bid, ask, last
    if r.rules.mark == MARK_LAST:
        return ins.last_ticks * 1024
    if r.rules.mark == MARK_INDEX:
        return ins.index_1024
    if r.rules.mark == MARK_TREE:
        return mark_value_of(r, i, 0, r.mark_steps)
    if not (book_has(book, BID) and book_has(book, ASK)):
        return 0
    bid = book_best(book, BID)
    ask = book_best(book, ASK)
    if r.rules.mark == MARK_MID:
        return (bid + ask) * 512
    last = ins.last_ticks
    if last == 0:
        return 0
    return (bid if last < bid else ask if last > ask else last) * 1024


cdef inline void shadow_move(run_t* r, int i, int64_t mark, int64_t cause) noexcept nogil:
    """Record another shadow mark, moved by event `cause`."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef int64_t seq
    cdef mark_change_t* change
    cdef bint rise = mark > ins.shadow
    ins.shadow = mark
    if mark < ins.low_mark:
        ins.low_mark = mark
    if mark > ins.high_mark:
        ins.high_mark = mark
    seq = emit(r, EVENT_MARK, i, -1, -1, 0, mark, 0, cause, 0)
    r.changes += 1
    if r.remember_marks and run_room(
        r, <void**>&r.history[i], &r.history_cap[i], r.history_n[i] + 1, sizeof(mark_change_t)
    ):
        change = &r.history[i][r.history_n[i]]
        r.history_n[i] += 1
        change.seq = seq
        change.time_ns = r.time_ns
        change.mark = mark
        change.wave = r.wave
        change.instrument = i
        change.row = r.acting
        change.rises = rise + ((change - 1).rises if r.history_n[i] > 1 else 0)


cdef inline void shadow_update(run_t* r, int i, int64_t cause) noexcept nogil:
    """Record a changed shadow mark, moved by event `cause`."""
    cdef int64_t mark = mark_now(r, i)
    if mark != 0 and mark != r.instruments[i].shadow:
        shadow_move(r, i, mark, cause)


cdef inline void audit_book(run_t* r, int i) noexcept nogil:
    """After trading: best bid below best ask."""
    cdef const book_t* book = &r.books[i]
    if book_has(book, BID) and book_has(book, ASK) and book_best(book, BID) >= book_best(book, ASK):
        r.error = ERR_AUDIT


cdef inline int64_t walk_bound(const run_t* r, int i, int side, int64_t limit) noexcept nogil:
    """The last price at which a taker may trade: its limit, or the end of knowledge."""
    cdef const instrument_t* ins = &r.instruments[i]
    if side < 0:
        return limit if limit > ins.known_bid else ins.known_bid
    return limit if limit < ins.known_ask else ins.known_ask


cdef inline uint32_t next_maker(const run_t* r, int i, int side, int64_t limit) noexcept nogil:
    """The order that a taker on `side` meets next within its limit, what is known, and the bands; 0 if none."""
    cdef const book_t* book = &r.books[i]
    cdef const instrument_t* ins = &r.instruments[i]
    cdef int far = BID if side < 0 else ASK
    cdef int64_t best
    if not book_has(book, far):
        return 0
    best = book_best(book, far)
    if r.rules.breakers and (best < ins.low_fence or best > ins.high_fence):
        return 0
    if side < 0:
        return book_front(book, far) if best >= walk_bound(r, i, side, limit) else 0
    return book_front(book, far) if best <= walk_bound(r, i, side, limit) else 0


cdef inline int64_t lots_within(run_t* r, int i, int side, int64_t limit, int64_t most) noexcept nogil:
    """The lots that a taker could get within its limit, the knowledge of the book and the bands, counted up to `most`."""
    cdef const book_t* book = &r.books[i]
    cdef int far = ASK if side > 0 else BID
    cdef int64_t bound = walk_bound(r, i, side, limit), sum_lots = 0
    cdef uint32_t level = book_best_level(book, far)
    cdef const level_t* v
    begin_order(r, i)
    while level != 0 and sum_lots < most:
        v = &book.ladder.levels[level]
        if ((v.price_ticks > bound) if side > 0 else (v.price_ticks < bound)) or not fence_allows(r, i, v.price_ticks):
            break
        sum_lots = v.quantity_lots if sum_lots == 0 else sum_lots + (
            v.quantity_lots if v.quantity_lots < most - sum_lots else most - sum_lots
        )
        level = book_next_level(book, level)
    return sum_lots


cdef inline bint meets_the_unknown(run_t* r, int i, int side, int64_t limit) noexcept nogil:
    """Whether a taker that found no maker was stopped by the end of knowledge rather than by its limit."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef int64_t edge = ins.known_bid if side < 0 else ins.known_ask
    if (limit >= edge) if side < 0 else (limit <= edge):
        return False
    if ins.known_until < 0:
        ins.known_until = edge
    return True


cdef inline int what_stops_at(run_t* r, int i, int side, int64_t limit, int64_t price) noexcept nogil:
    """Why a taker with lots left goes no further than to makers at a price (0: to the end of the book): a halt, a band or the end of
    knowledge; REASON_NONE for its own limit and for a complete book without makers."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef int64_t bound
    if r.error != 0:        # the walk ended because the run is void: no limit need have stopped it
        return REASON_NONE
    if ins.halted_until != 0:
        return REASON_HALTED
    if r.rules.breakers:
        if price != 0:
            bound = walk_bound(r, i, side, limit)
            if (price >= bound) if side < 0 else (price <= bound):
                r.stopped_side = -1 if price < ins.low_fence else 1
                return REASON_BANDED
        if (limit < ins.known_bid < ins.low_fence) if side < 0 else (limit > ins.known_ask > ins.high_fence):
            r.stopped_side = side
            return REASON_BANDED
    return REASON_BEYOND_DATA if meets_the_unknown(r, i, side, limit) else REASON_NONE


cdef inline int what_stops(run_t* r, int i, int side, int64_t limit) noexcept nogil:
    """Why a taker that has lots left after its walk goes no further."""
    cdef const book_t* book = &r.books[i]
    cdef int far = BID if side < 0 else ASK
    return what_stops_at(r, i, side, limit, book_best(book, far) if book_has(book, far) else 0)


cdef inline int what_would_stop(run_t* r, int i, int side, int64_t limit) noexcept nogil:
    """Why a taker whose limits are set would go no further than its walk, with lots left."""
    cdef const book_t* book = &r.books[i]
    cdef int64_t bound = walk_bound(r, i, side, limit), price
    cdef uint32_t level = book_best_level(book, ASK if side > 0 else BID)
    while level != 0:
        price = book.ladder.levels[level].price_ticks
        if ((price > bound) if side > 0 else (price < bound)) or not fence_allows(r, i, price):
            return what_stops_at(r, i, side, limit, price)
        level = book_next_level(book, level)
    return what_stops_at(r, i, side, limit, 0)


cdef inline int64_t fill(
    run_t* r, int i, party_t taker, uint32_t maker, int64_t lots, int64_t order, int64_t money_cause, int flags, bint quiet
) noexcept nogil:
    """Trade signed lots against a resting order at its price; the taker's signed value. `quiet`: leave the marks for later."""
    cdef const terms_t* t = &r.terms[i]
    cdef int64_t price = book_price(&r.books[i], maker), value = trade_value(t, lots, price), seq
    cdef party_t owner = party_of(r, book_owner(&r.books[i], maker), i, 0)
    seq = trade(r, EVENT_FILL, taker, owner, i, lots, value, price, order, money_cause, flags)
    r.taker_fees = wide_add(r.taker_fees, wide_of(charge(r, taker.account, t.taker_fee, value, i, money_cause)))
    charge(r, owner.account, t.maker_fee, value, i, money_cause)
    book_take(&r.books[i], maker, -lots if lots < 0 else lots)
    r.instruments[i].last_ticks = price
    book_traded(&r.instruments[i])
    if r.rules.breakers:
        note_trade(r, i, price)
    if not quiet:
        audit_book(r, i)
        shadow_update(r, i, seq)
        if r.rules.breakers:
            watch_market(r, i, seq)
    return value


cdef inline void cancel_order(run_t* r, int i, uint32_t h, int64_t cause, int reason) noexcept nogil:
    """Take a resting order off its book."""
    cdef const book_t* book = &r.books[i]
    cdef int64_t lots = book_lots(book, h) if book_side(book, h) == BID else -book_lots(book, h)
    cdef int64_t seq = emit(r, EVENT_CANCEL, i, book_owner(book, h), -1, lots, 0, 0, cause, reason)
    book_remove(&r.books[i], h)
    r.instruments[i].book_dirty = True
    shadow_update(r, i, seq)


cdef inline int32_t owner_of(const run_t* r, int32_t a) noexcept nogil:
    """The account that a liquidated one's resting orders belong to."""
    return r.parents[a] if a != EXTERNAL and r.accounts[a].flags & IS_ISOLATED else a


cdef inline bint fillable_whole(run_t* r, int i, int32_t a, int side, int64_t limit, int64_t lots) noexcept nogil:
    """Whether a taker could trade this many lots within its limit, what is known and the bands, its owner's own orders left out."""
    cdef const book_t* book = &r.books[i]
    cdef int64_t own = 0, bound = walk_bound(r, i, side, limit), price
    cdef uint32_t h = book_owner_first(book, owner_of(r, a))
    begin_order(r, i)
    while h != 0:
        price = book_price(book, h)
        if (
            book_side(book, h) == (ASK if side > 0 else BID)
            and (price <= bound if side > 0 else price >= bound)
            and fence_allows(r, i, price)
        ):
            own += book_lots(book, h)
        h = book_owner_next(book, h)
    return lots_within(r, i, side, limit, lots + own) - own >= lots


cdef inline bint gives_way(run_t* r, int i, int32_t taker, uint32_t maker, int64_t order) noexcept nogil:
    """A liquidation never trades with its owner's own orders: they are taken off as it meets them."""
    cdef int32_t owner = owner_of(r, taker)
    if owner == EXTERNAL or book_owner(&r.books[i], maker) != owner:
        return False
    cancel_order(r, i, maker, order, REASON_STP)
    return True


# What a walk left and did.
ctypedef struct walked_t:
    int64_t left            # lots
    wide_t value            # signed, the taker's
    int stop                # REASON_...: what stopped it, if not its limit or a lack of makers


cdef inline walked_t walk(
    run_t* r, int i, party_t taker, int64_t lots, int64_t limit, int64_t order, int64_t money_cause, int flags
) noexcept nogil:
    """Take up to `lots` (signed) within `limit`."""
    cdef int side = 1 if lots > 0 else -1
    cdef walked_t w
    cdef uint32_t maker
    cdef int64_t k
    begin_order(r, i)
    w.left = lots if lots > 0 else -lots
    w.value = wide_of(0)
    while w.left > 0 and r.error == 0:
        maker = next_maker(r, i, side, limit)
        if maker == 0:
            break
        if gives_way(r, i, taker.account, maker, order):
            continue
        k = book_lots(&r.books[i], maker)
        if k > w.left:
            k = w.left
        w.value = wide_add(w.value, wide_of(fill(r, i, taker, maker, side * k, order, money_cause, flags, False)))
        w.left -= k
    w.stop = what_stops(r, i, side, limit) if w.left > 0 else REASON_NONE
    return w
