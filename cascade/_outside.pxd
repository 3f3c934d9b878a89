"""What happens from outside the cascade: the parts of a shock, new external levels, and messages to the books."""

from libc.stdint cimport INT64_MAX, int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from cascade._book cimport (
    ORDER_EXTERNAL,
    book_add,
    book_behind,
    book_best,
    book_best_level,
    book_external_at,
    book_front,
    book_front_of,
    book_has,
    book_id,
    book_lots,
    book_next_level,
    book_owner,
    book_price,
    book_reduce,
    book_remove,
    book_side,
    book_t,
)
from cascade._breakers cimport begin_order, end_order, fence_allows, let_time_pass, rest_is_banded, watch_market
from cascade._match cimport match_prepare, plan_t
from cascade._sink cimport report_cancelled, sink_next, sink_t
from cascade._closing cimport count_wave, count_wave_wide, wave_row
from cascade._ladder cimport ASK, BID
from cascade._leap cimport walk_from_outside
from cascade._ledger cimport audit_money, book_money, journal, party_of, party_t, row_find, transfer
from cascade._margin cimport magnitude, mark_value
from cascade._run cimport (
    EVENT_CANCEL,
    EVENT_ORDER,
    EVENT_SHOCK,
    EXTERNAL,
    IS_ISOLATED,
    NO_INSTRUMENT,
    PART_CASH,
    PART_DEPTH,
    PART_FUNDING,
    PART_GAP,
    PART_HAIRCUT,
    PART_INDEX,
    PART_LEVELS,
    PART_ORDERS,
    SCRATCH_ITEM,
    STUCK,
    VAULT,
    WHY_FUNDING,
    context_begin,
    emit,
    haircut_t,
    instrument_t,
    run_room,
    run_t,
    wave_t,
)
from cascade._trade cimport (
    PRICE_LIMIT_BITS,
    cancel_order,
    fill,
    lots_within,
    mark_now,
    next_maker,
    shadow_update,
    walked_t,
    what_stops,
    widest_limit,
)
from cascade._types cimport (
    ACTION_CANCEL,
    ACTION_MODIFY,
    ACTION_NEW,
    ERR_CROSSES,
    REASON_BAD_FIELD,
    REASON_BAD_OWNER,
    REASON_BAD_PRICE,
    REASON_BAD_QUANTITY,
    REASON_BAD_SIDE,
    REASON_BANDED,
    REASON_BEYOND_DATA,
    REASON_FOK_UNFILLABLE,
    REASON_HALTED,
    REASON_IOC,
    REASON_NONE,
    REASON_UNSUPPORTED,
    REASON_USER,
    REPORT_ACK,
    REPORT_MODIFIED,
    REPORT_REJECTED,
    REPORT_TRADE,
    STP_NONE,
    TIF_FOK,
    TYPE_MARKET,
    order_msg_t,
    report_t,
)
from cascade._wide cimport (
    RATE_ONE,
    money_share_even,
    scaled_down,
    scaled_even,
    scaled_up,
    wide_add,
    wide_low,
    wide_of,
    wide_sign,
    wide_sub,
    within_distance,
)


cdef enum:
    SLOTS = 3               # a position's: both, long, short


# One operation of a shock: shocks.OP_DTYPE.
ctypedef packed struct op_t:
    int32_t part
    int32_t instrument
    int32_t account
    int32_t side
    int64_t rate            # 1e-9, of funding 1e-12
    int64_t low
    int64_t high
    int64_t quantity

# An external level on its way to another price.
ctypedef struct moved_t:
    int64_t price_ticks
    int64_t lots


cdef inline void outside(run_t* r) noexcept nogil:
    """What follows comes from outside the cascade: it is wave 0, and whoever was stuck may be served again."""
    cdef int32_t k
    r.wave = 0
    context_begin(r, r.seq + 1, 0, -1)
    if r.any_stuck:
        for k in range(r.cases_n):
            r.accounts[r.cases[k].account].state &= ~<uint8_t>STUCK
            r.cases[k].idle_changes = -1
        r.any_stuck = False


# -- shocks ----------------------------------------------------------------------------------------------------------


cdef inline int64_t at_least_one(int64_t x) noexcept nogil:
    return x if x > 1 else 1


cdef inline void rest_external(run_t* r, int i, int side, int64_t price, int64_t lots) noexcept nogil:
    """Rest an external level, anonymous."""
    cdef int64_t h = book_add(&r.books[i], side, price, lots, EXTERNAL, 0, ORDER_EXTERNAL)
    if h < 0:
        r.error = <int>h


cdef inline int64_t cross_external(run_t* r, int i, int side, int64_t price, int64_t lots) noexcept nogil:
    """Trade an external level with the internal orders that it crosses, marks set later; the lots left.

    Where a band or a halt forbids that trade, what is left of it does not enter.
    """
    cdef party_t external = party_of(r, EXTERNAL, i, 0)
    cdef int sign = 1 if side == BID else -1
    cdef int64_t order = -1, k, value, best
    cdef uint32_t maker
    begin_order(r, i)
    while lots > 0 and book_has(&r.books[i], 1 - side) and r.error == 0:
        best = book_best(&r.books[i], 1 - side)
        if (best > price) if side == BID else (best < price):
            break
        if not fence_allows(r, i, best):
            emit(
                r, EVENT_CANCEL, i, EXTERNAL, -1, sign * lots, 0, 0, order,
                REASON_HALTED if r.instruments[i].halted_until != 0 else REASON_BANDED,
            )
            return 0
        maker = book_front(&r.books[i], 1 - side)
        if order < 0:
            order = emit(r, EVENT_ORDER, i, EXTERNAL, -1, sign * lots, price * 1024, 0, -1, 0)
        k = book_lots(&r.books[i], maker)
        if k > lots:
            k = lots
        value = fill(r, i, external, maker, sign * k, order, -1, 0, True)
        count_wave(r, 0, i, k, magnitude(value), 0)
        lots -= k
    return lots


cdef inline int32_t lift_external(run_t* r, int i, int side, int64_t factor, int32_t n, int64_t* dropped) noexcept nogil:
    """Take the external orders of a side off into scratch (from item n on), moved to their new prices and merged; the new n.

    Best price first. `dropped` counts the orders that would fall to 0 or below.
    """
    cdef book_t* book = &r.books[i]
    cdef moved_t* moved
    cdef int32_t first = n
    cdef uint32_t level = book_best_level(book, side), next_level, h, following
    cdef int64_t price
    while level != 0:
        next_level = book_next_level(book, level)
        h = book_front_of(book, level)
        price = book.ladder.levels[level].price_ticks
        price = wide_low(scaled_down(price, factor) if side == BID else scaled_up(price, factor))
        while h != 0:
            following = book_behind(book, h)
            if book_owner(book, h) == EXTERNAL:
                if price < 1:
                    dropped[0] += 1
                elif n > first and (<moved_t*>r.shares)[n - 1].price_ticks == price:
                    (<moved_t*>r.shares)[n - 1].lots += book_lots(book, h)
                elif run_room(r, &r.shares, &r.shares_cap, n + 1, SCRATCH_ITEM):
                    moved = <moved_t*>r.shares + n
                    moved.price_ticks = price
                    moved.lots = book_lots(book, h)
                    n += 1
                book_remove(book, h)
            h = following
        level = next_level
    return n


cdef inline void shock_gap(run_t* r, const op_t* op) noexcept nogil:
    """Market makers re-quote everywhere: last, index, external prices, knowledge and external levels move by 1 + g; what then crosses
    trades."""
    cdef int i = op.instrument
    cdef instrument_t* ins = &r.instruments[i]
    cdef int64_t factor = 1000000000 + op.rate, dropped = 0, shock, lots, top = <int64_t>1 << PRICE_LIMIT_BITS
    cdef int32_t bids, n, k, kept, first
    cdef int side
    cdef moved_t* moved
    cdef int64_t* external
    if ins.last_ticks:
        ins.last_ticks = at_least_one(wide_low(scaled_even(ins.last_ticks, factor)))
    if ins.index_1024:
        ins.index_1024 = at_least_one(wide_low(scaled_even(ins.index_1024, factor)))
    external = r.inputs + <int64_t>i * r.inputs_n
    for k in range(r.externals_n):
        if external[k] != 0:
            external[k] = at_least_one(wide_low(scaled_even(external[k], factor)))
    ins.book_dirty = True
    bids = lift_external(r, i, BID, factor, 0, &dropped)
    n = lift_external(r, i, ASK, factor, bids, &dropped)
    if ins.known_bid != 0 and ins.known_bid != top:
        ins.known_bid = at_least_one(wide_low(scaled_down(ins.known_bid, factor)))
    if ins.known_ask != INT64_MAX and ins.known_ask != 0:
        ins.known_ask = wide_low(scaled_up(ins.known_ask, factor))
    r.totals.dropped_levels += dropped
    shock = emit(r, EVENT_SHOCK, i, -1, -1, dropped, ins.last_ticks * 1024, 0, -1, PART_GAP)
    moved = <moved_t*>r.shares
    for side in range(2):
        first = 0 if side == BID else bids
        k = first
        kept = bids if side == BID else n
        # Best first while they cross; those behind rest, the worst first, which moves least in the book's arrays.
        while k < kept:
            lots = cross_external(r, i, side, moved[k].price_ticks, moved[k].lots)
            if lots == moved[k].lots:
                break
            if lots > 0:
                rest_external(r, i, side, moved[k].price_ticks, lots)
            k += 1
        while kept > k:
            kept -= 1
            rest_external(r, i, side, moved[kept].price_ticks, moved[kept].lots)
    shadow_update(r, i, shock)
    if r.rules.breakers:
        watch_market(r, i, shock)


cdef inline void shock_depth(run_t* r, const op_t* op) noexcept nogil:
    """External levels of a side, within a range of distances from the mid, keep floor(lots * factor)."""
    cdef int i = op.instrument, side
    cdef book_t* book = &r.books[i]
    cdef int64_t lots, shock
    cdef int64_t bid = book_best(book, BID) if book_has(book, BID) else 0
    cdef int64_t ask = book_best(book, ASK) if book_has(book, ASK) else 0
    cdef uint32_t level, next_level, h, following
    if op.quantity == 0:    # the first of an instrument's rows: all of them measure from the mid before any
        r.depth_twice_mid = (bid if bid else ask) + (ask if ask else bid)
    shock = emit(r, EVENT_SHOCK, i, -1, -1, 0, 0, 0, -1, PART_DEPTH)
    r.instruments[i].book_dirty = True
    for side in range(2):
        if op.side != 0 and (op.side > 0) != (side == BID):
            continue
        level = book_best_level(book, side)
        while level != 0:
            next_level = book_next_level(book, level)
            if within_distance(book.ladder.levels[level].price_ticks, r.depth_twice_mid, op.low, op.high):
                h = book_front_of(book, level)
                while h != 0:
                    following = book_behind(book, h)
                    if book_owner(book, h) == EXTERNAL:
                        lots = wide_low(scaled_down(book_lots(book, h), op.rate))
                        if lots > 0:
                            book_reduce(book, h, lots)
                        else:
                            book_remove(book, h)
                    h = following
            level = next_level
    shadow_update(r, i, shock)


cdef inline void shock_haircut(run_t* r, const op_t* op) noexcept nogil:
    """A new haircut of the asset that an instrument prices."""
    cdef int64_t shock = emit(r, EVENT_SHOCK, op.instrument, -1, -1, op.rate, 0, 0, -1, PART_HAIRCUT)
    cdef haircut_t* h
    if run_room(r, <void**>&r.haircuts, &r.haircuts_cap, r.haircuts_n + 1, sizeof(haircut_t)):
        h = &r.haircuts[r.haircuts_n]
        r.haircuts_n += 1
        h.seq = shock
        h.instrument = op.instrument
        h.before = r.instruments[op.instrument].weight
        r.instruments[op.instrument].weight = RATE_ONE - op.rate
        r.changes += 1


cdef inline void shock_cash(run_t* r, const op_t* op) noexcept nogil:
    """A deposit or withdrawal."""
    emit(r, EVENT_SHOCK, NO_INSTRUMENT, op.account, -1, 0, 0, op.quantity, -1, PART_CASH)
    journal(r, op.account, -1)
    book_money(r, op.account, op.quantity)
    r.deposits = wide_add(r.deposits, wide_of(op.quantity))
    r.changes += 1
    audit_money(r)


cdef inline int shock_left_rank(int reason) noexcept nogil:
    """Why a shock's order left lots: the highest is the one that is remembered."""
    if reason == REASON_BEYOND_DATA:
        return 4
    if reason == REASON_HALTED or reason == REASON_BANDED:
        return 3 if reason == REASON_HALTED else 2
    return 1 if reason == REASON_IOC else 0


cdef inline void shock_orders(run_t* r, const op_t* op) noexcept nogil:
    """A market order of the external account."""
    cdef int i = op.instrument, side = 1 if op.quantity > 0 else -1
    cdef int reason
    cdef int64_t order = emit(r, EVENT_ORDER, i, EXTERNAL, -1, op.quantity, 0, 0, -1, 0)
    cdef walked_t w
    r.shock_has_order = True
    w = walk_from_outside(r, i, op.quantity, order)
    if wide_sign(w.value) < 0:
        w.value = wide_sub(wide_of(0), w.value)
    count_wave_wide(r, 0, i, magnitude(op.quantity) - w.left, w.value, 0)
    if w.left > 0:
        reason = w.stop if w.stop != REASON_NONE else REASON_IOC
        emit(r, EVENT_CANCEL, i, EXTERNAL, -1, side * w.left, 0, 0, order, reason)
        if shock_left_rank(reason) > shock_left_rank(r.shock_left):
            r.shock_left = reason
    end_order(r, i, side, w.left, w.stop, order)


cdef inline void pay_funding(run_t* r, int i, int32_t a, int64_t lots, int64_t price, int64_t rate) noexcept nogil:
    """One position pays notional * rate to the external account; a negative payment comes from there."""
    cdef int64_t notional = magnitude(mark_value(&r.terms[i], lots, price))
    cdef int64_t paid = money_share_even(notional if lots > 0 else -notional, rate, 1000000000000)
    if paid > 0:
        transfer(r, a, EXTERNAL, paid, WHY_FUNDING, -1, i)
    else:
        transfer(r, EXTERNAL, a, -paid, WHY_FUNDING, -1, i)


cdef inline void shock_funding(run_t* r, const op_t* op) noexcept nogil:
    """Every open position pays its notional * rate to the external account, or receives it from there."""
    cdef const instrument_t* ins = &r.instruments[op.instrument]
    cdef int64_t price = ins.mark
    cdef int32_t a, k
    cdef int slot
    if r.rules.funding_at_index and ins.index_1024 > 0:
        price = ins.index_1024
    emit(r, EVENT_SHOCK, op.instrument, -1, -1, op.rate, price, 0, -1, PART_FUNDING)
    if ins.vault_lots != 0:
        pay_funding(r, op.instrument, VAULT, ins.vault_lots, price, op.rate)
    for a in range(r.first_user, r.accounts_n):
        for slot in range(SLOTS):
            k = row_find(r, a, op.instrument, slot)
            if k >= 0 and r.rows[k].lots != 0:
                pay_funding(r, op.instrument, a, r.rows[k].lots, price, op.rate)


cdef inline void apply_op(run_t* r, const op_t* op) noexcept nogil:
    """One operation of a shock."""
    cdef int i
    cdef int64_t shock
    cdef instrument_t* ins
    cdef wave_t* w
    outside(r)
    if op.part == PART_GAP:
        shock_gap(r, op)
    elif op.part == PART_INDEX:
        ins = &r.instruments[op.instrument]
        ins.index_1024 = at_least_one(wide_low(scaled_even(ins.index_1024, 1000000000 + op.rate)))
        shock = emit(r, EVENT_SHOCK, op.instrument, -1, -1, 0, ins.index_1024, 0, -1, PART_INDEX)
        shadow_update(r, op.instrument, shock)
        if r.rules.breakers:
            watch_market(r, op.instrument, shock)
    elif op.part == PART_DEPTH:
        shock_depth(r, op)
    elif op.part == PART_HAIRCUT:
        shock_haircut(r, op)
    elif op.part == PART_CASH:
        shock_cash(r, op)
    elif op.part == PART_FUNDING:
        shock_funding(r, op)
    elif op.part == PART_ORDERS:
        shock_orders(r, op)
    for i in range(r.instruments_n):
        w = wave_row(r, 0, i)
        if w != NULL:
            w.mark = r.instruments[i].shadow


cdef inline void inputs_changed(run_t* r) noexcept nogil:
    """Time has moved what the mark's program looks at."""
    cdef int i
    cdef int64_t mark
    cdef bint moved = False
    for i in range(r.instruments_n):
        mark = mark_now(r, i)
        if mark == 0 or mark == r.instruments[i].shadow:
            continue
        if not moved:
            outside(r)
            moved = True
        shadow_update(r, i, -1)


# -- external levels from market data --------------------------------------------------------------------------------


cdef inline int64_t best_external(const run_t* r, int i, int side) noexcept nogil:
    """The best price at which the external account rests on a side; 0 if nowhere."""
    cdef const book_t* book = &r.books[i]
    cdef uint32_t level = book_best_level(book, side), h
    while level != 0:
        h = book_front_of(book, level)
        while h != 0:
            if book_owner(book, h) == EXTERNAL:
                return book.ladder.levels[level].price_ticks
            h = book_behind(book, h)
        level = book_next_level(book, level)
    return 0


cdef inline int set_levels(
    run_t* r, int i, int side, const int64_t* prices, const int64_t* lots, int64_t n, int64_t* bad
) noexcept nogil:
    """Set external levels absolutely; 0 lots take one off. A level that stays keeps its place. What is known grows with them.

    ERR_CROSSES, with nothing changed and the row in `bad`, if one would cross the external levels of the other side.
    """
    cdef instrument_t* ins = &r.instruments[i]
    cdef book_t* book = &r.books[i]
    cdef int64_t facing = best_external(r, i, 1 - side), shock, k, left
    cdef uint32_t h
    for k in range(n):
        if lots[k] > 0 and facing > 0 and ((prices[k] >= facing) if side == BID else (prices[k] <= facing)):
            bad[0] = k
            return ERR_CROSSES
    outside(r)
    ins.book_dirty = True
    shock = emit(r, EVENT_SHOCK, i, -1, -1, 0, 0, 0, -1, PART_LEVELS)
    for k in range(n):
        h = book_external_at(book, side, prices[k])
        if h != 0 and lots[k] > 0:
            book_reduce(book, h, lots[k])
        elif h != 0:
            book_remove(book, h)
        elif lots[k] > 0:
            left = cross_external(r, i, side, prices[k], lots[k])
            if left > 0:
                rest_external(r, i, side, prices[k], left)
        if lots[k] > 0 and side == BID and ins.known_bid != 0 and prices[k] < ins.known_bid:
            ins.known_bid = prices[k]
        if lots[k] > 0 and side == ASK and ins.known_ask != INT64_MAX and prices[k] > ins.known_ask:
            ins.known_ask = prices[k]
    shadow_update(r, i, shock)
    if r.rules.breakers:
        watch_market(r, i, shock)
    return r.error


# -- time ------------------------------------------------------------------------------------------------------------


cdef inline void pass_time(run_t* r, int64_t dt) noexcept nogil:
    """Let time pass: halts begin and end."""
    cdef int64_t until = r.time_ns + dt
    if dt > 0 and r.rules.breakers:
        outside(r)
        let_time_pass(r, until)
    r.time_ns = until


# -- messages --------------------------------------------------------------------------------------------------------


cdef inline bint bad_fields(int reason) noexcept nogil:
    """Is a message refused for what it says, whatever the book holds?"""
    return reason == REASON_BAD_FIELD or reason == REASON_BAD_SIDE or reason == REASON_BAD_QUANTITY or reason == REASON_BAD_OWNER


cdef inline int message_refusal(run_t* r, int i, const order_msg_t* m, plan_t* p) noexcept nogil:
    """Why a message is refused beyond what the book alone says: owner and price, then what is known of the book."""
    cdef bint is_new = m.action == ACTION_NEW
    cdef bint at_market = is_new and m.type == TYPE_MARKET
    # Stops, icebergs, reduce-only and self-trade prevention are for books alone; a market has rules of its own for these.
    if is_new and (m.type > TYPE_MARKET or m.display != 0 or m.flags != 0 or m.stp != STP_NONE) and not bad_fields(p.reason):
        return REASON_UNSUPPORTED
    if p.reason != REASON_NONE or m.action == ACTION_CANCEL:
        return p.reason
    if is_new and m.owner != EXTERNAL:
        if m.owner < r.first_user or m.owner >= r.accounts_n or r.accounts[m.owner].flags & IS_ISOLATED:
            return REASON_BAD_OWNER
    if not at_market and not 1 <= m.price < <int64_t>1 << PRICE_LIMIT_BITS:
        return REASON_BAD_PRICE
    if m.quantity >= <int64_t>1 << 61:
        return REASON_BAD_QUANTITY
    if r.instruments[i].halted_until != 0 and (is_new or not p.in_place):
        return REASON_HALTED
    if is_new and m.tif == TIF_FOK:
        if lots_within(r, i, m.side, widest_limit(m.side) if at_market else m.price, m.quantity) < m.quantity:
            return REASON_FOK_UNFILLABLE
    return REASON_NONE


cdef inline int64_t take_from_book(
    run_t* r, int i, int32_t owner, uint64_t id, int side, int64_t limit, int64_t lots, int64_t order, int64_t row, sink_t* sink
) noexcept nogil:
    """Trade within the limit, the knowledge of the book and the bands, a report a fill; the lots left."""
    cdef party_t party
    cdef uint32_t maker
    cdef const book_t* book = &r.books[i]
    cdef report_t* report
    cdef int64_t k, value
    begin_order(r, i)
    while lots > 0 and r.error == 0:
        maker = next_maker(r, i, side, limit)
        if maker == 0:
            break
        party = party_of(r, owner, i, 0)    # only now: who does not trade gets no row
        k = lots if lots < book_lots(book, maker) else book_lots(book, maker)
        lots -= k
        report = sink_next(sink, REPORT_TRADE, id, owner, row)
        report.maker_id = book_id(book, maker)
        report.maker_owner = book_owner(book, maker)
        report.side = <int8_t>side
        report.price = book_price(book, maker)
        report.quantity = k
        report.leaves = lots
        value = fill(r, i, party, maker, side * k, order, -1, 0, False)
        r.shock_has_order = True
        count_wave(r, 0, i, k, magnitude(value), 0)
    return lots


cdef inline void rest_order(run_t* r, int i, int side, int64_t price, int64_t lots, int32_t owner, uint64_t id, int64_t order) noexcept nogil:
    """Rest what is left of an order."""
    cdef int64_t h = book_add(&r.books[i], BID if side > 0 else ASK, price, lots, owner, id, 0)
    if h < 0:
        r.error = <int>h
        return
    shadow_update(r, i, order)


cdef inline void new_order(run_t* r, int i, const order_msg_t* m, const plan_t* p, int64_t row, sink_t* sink) noexcept nogil:
    """Acknowledge, trade, then rest or take off what is left."""
    cdef int64_t limit = widest_limit(m.side) if m.type == TYPE_MARKET else m.price
    cdef int64_t shown = 0 if m.type == TYPE_MARKET else limit * 1024, order, left
    cdef report_t* report = sink_next(sink, REPORT_ACK, m.order_id, m.owner, row)
    cdef int reason, stop
    report.side = m.side
    report.price = m.price
    report.quantity = m.quantity
    if m.order_id > r.books[i].last_id:
        r.books[i].last_id = m.order_id
    order = emit(r, EVENT_ORDER, i, m.owner, -1, m.side * m.quantity, shown, 0, -1, 0)
    left = take_from_book(r, i, m.owner, m.order_id, m.side, limit, m.quantity, order, row, sink)
    stop = what_stops(r, i, m.side, limit) if left > 0 else REASON_NONE
    reason = stop
    if p.taker.rests and stop == REASON_NONE and rest_is_banded(r, i, m.side, limit):
        reason = REASON_BANDED
    if left > 0 and p.taker.rests and reason == REASON_NONE:
        rest_order(r, i, m.side, limit, left, m.owner, m.order_id, order)
    elif left > 0:
        reason = reason if reason != REASON_NONE else REASON_IOC
        emit(r, EVENT_CANCEL, i, m.owner, -1, m.side * left, 0, 0, order, reason)
        report_cancelled(sink, m.order_id, m.owner, row, p.taker.side, m.price, left, 0, reason)
    end_order(r, i, m.side, left, stop, order)


cdef inline void modify_order(run_t* r, int i, const order_msg_t* m, const plan_t* p, int64_t row, sink_t* sink) noexcept nogil:
    """Less at the same price keeps its place; anything else leaves it, trades as a taker and rests last."""
    cdef const book_t* book = &r.books[i]
    cdef int side = 1 if p.taker.side == BID else -1
    cdef int32_t owner = p.taker.owner
    cdef int64_t order, left
    cdef int reason, stop
    cdef report_t* report
    if p.in_place:
        emit(r, EVENT_CANCEL, i, owner, -1, side * (book_lots(book, p.handle) - m.quantity), 0, 0, -1, REASON_USER)
        book_reduce(&r.books[i], p.handle, m.quantity)
    else:
        cancel_order(r, i, p.handle, -1, REASON_USER)
        order = emit(r, EVENT_ORDER, i, owner, -1, side * m.quantity, m.price * 1024, 0, -1, 0)
        left = take_from_book(r, i, owner, m.order_id, side, m.price, m.quantity, order, row, sink)
        stop = what_stops(r, i, side, m.price) if left > 0 else REASON_NONE
        reason = stop
        if stop == REASON_NONE and rest_is_banded(r, i, side, m.price):
            reason = REASON_BANDED
        if left > 0 and reason != REASON_NONE:
            emit(r, EVENT_CANCEL, i, owner, -1, side * left, 0, 0, order, reason)
            report_cancelled(sink, m.order_id, owner, row, p.taker.side, m.price, left, 0, reason)
        elif left > 0:
            rest_order(r, i, side, m.price, left, owner, m.order_id, order)
        end_order(r, i, side, left, stop, order)
    report = sink_next(sink, REPORT_MODIFIED, m.order_id, owner, row)
    report.price = m.price
    report.quantity = m.quantity


cdef inline void submit_one(run_t* r, int i, const order_msg_t* m, int64_t row, sink_t* sink) noexcept nogil:
    """Deal with one message; the sink has room for a report of every resting order and three more."""
    cdef plan_t p
    cdef report_t* report
    cdef const book_t* book = &r.books[i]
    outside(r)
    match_prepare(&r.books[i], m, row, &p)
    p.reason = message_refusal(r, i, m, &p)
    if p.reason != REASON_NONE:
        report = sink_next(sink, REPORT_REJECTED, m.order_id, 0, row)
        report.action = m.action
        report.reason = <uint8_t>p.reason
        return
    r.instruments[i].book_dirty = True
    r.agents = r.agents or m.owner != EXTERNAL
    if m.action == ACTION_NEW:
        new_order(r, i, m, &p, row, sink)
    elif m.action == ACTION_MODIFY:
        modify_order(r, i, m, &p, row, sink)
    else:
        report_cancelled(
            sink, m.order_id, book_owner(book, p.handle), row, book_side(book, p.handle), book_price(book, p.handle),
            book_lots(book, p.handle), 0, REASON_USER
        )
        cancel_order(r, i, p.handle, -1, REASON_USER)
