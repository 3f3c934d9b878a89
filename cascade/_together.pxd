"""Singles that one check found, in runs that keep no events: their turns taken together, as far as one resting order fills them.

What such a turn reads is its single, its rules and the order in front of the book, and nothing of what it changes but that order's lots and
the fund concerns the next one. So the sums are kept in a loop over as many as the order fills, and booked and audited when it ends. What is
different about a turn (an order that it uses up, a shortfall that the fund does not cover) is left to _single.
"""

from libc.float cimport DBL_MAX
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from cascade._batch cimport PLACE_SHORT, place_at, place_instrument, place_several, place_short, waiting_of
from cascade._book cimport book_take
from cascade._closing cimport count_wave
from cascade._funds cimport receiver
from cascade._ledger cimport add_overflow, audit_instrument, audit_money, planted
from cascade._margin cimport closing_value, magnitude, trade_value
from cascade._past cimport cause_of_mark, cause_t, crossing_near, single_cause
from cascade._queue cimport queue_first, waiting_cmp
from cascade._range cimport range_before, range_cut, range_window
from cascade._run cimport (
    DIRTY,
    FEES,
    FUND,
    LEFT_CLOSED,
    RECORD_SUMMARY,
    SETTLEMENT,
    SEVERAL,
    TO_ACCOUNT,
    TO_FUND,
    book_traded,
    context_begin,
    flat_t,
    instrument_t,
    liquidation_t,
    mark_change_t,
    prefetch,
    run_room,
    run_t,
    single_t,
    sorted_t,
    terms_t,
    waiting_t,
)
from cascade._single cimport going_fee, within_limit
from cascade._spans cimport front_of, front_t, plain_turns, range_reach, span_add, sums_t
from cascade._trade cimport audit_book, shadow_update
from cascade._wide cimport money_rate_up, wide_add, wide_cmp, wide_of, wide_sub, wide_t


cdef enum:
    WINDOW = 64             # of a range, how many are brought in order at a time
    AHEAD_BYTES = 2048      # how far ahead of the records memory is asked for


cdef inline void system_add(run_t* r, int account, int64_t amount) noexcept nogil:
    """Add to a system account's balance and to the audit's sum."""
    r.system[account] = wide_add(r.system[account], wide_of(amount))
    r.sum_money = wide_add(r.sum_money, wide_of(amount))


cdef inline void sums_book(run_t* r, int i, int side, const sums_t* sums) noexcept nogil:
    """Book what the turns did, as _ledger would one by one, audit it, and count it."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef wide_t value = wide_of(sums.value), owed = wide_of(sums.owed), traded = wide_of(side * sums.lots + (planted(r) == 3))
    cdef wide_t notional = wide_of(magnitude(sums.value)), money
    # The trades: the singles' positions, all gone, and their counterparts'; then what they realised.
    ins.external_lots = wide_sub(ins.external_lots, traded)
    ins.external_basis = wide_sub(ins.external_basis, value)
    ins.sum_lots = wide_sub(wide_sub(ins.sum_lots, wide_of(sums.held)), traded)
    ins.settlement_basis = wide_add(ins.settlement_basis, owed)
    ins.sum_basis = wide_add(wide_sub(wide_sub(ins.sum_basis, wide_of(sums.basis)), value), owed)
    audit_instrument(r, i)
    # Money: what the singles' balances lost, and where it went.
    system_add(r, SETTLEMENT + i, sums.owed)
    system_add(r, FEES, sums.fees)
    system_add(r, FUND, -sums.shortfall)
    system_add(r, receiver(r.rules.fee_to), sums.liquidation_fees)
    system_add(r, receiver(r.rules.surplus), sums.surplus)
    money = wide_sub(wide_of(sums.after), wide_of(sums.before))
    r.sum_money = wide_add(r.sum_money, wide_sub(money, wide_of(planted(r) == 1)))
    audit_money(r)
    r.taker_fees = wide_add(r.taker_fees, wide_of(sums.fees))
    r.seq += sums.events
    r.changes += sums.changes
    r.singles_n += sums.n
    r.records_n += <int32_t>sums.n
    r.totals.accounts += sums.n
    r.totals.notional = wide_add(r.totals.notional, notional)
    if r.wave == 1:
        r.totals.first = wide_add(r.totals.first, notional)
    else:
        r.totals.higher = wide_add(r.totals.higher, notional)


cdef inline bint batch_sure(const sorted_t* item, const waiting_t* other) noexcept nogil:
    """Whether the doubles tell that one of the batch comes before another of the queue."""
    cdef double a = item.near, b = other.near
    return not other.first and b - a > 1e-14 * ((-a if a < 0 else a) + (-b if b < 0 else b))


cdef inline bint turn_add(
    run_t* r, const front_t* f, const single_t* s, int32_t account, bint in_order, wide_t* fund, sums_t* sums, liquidation_t* l
) noexcept nogil:
    """Add one turn to the sums, and note in `l` what its record says of it; False if it does not end in a way that this unit knows. Where the
    order is open, the fund must do without what it gets meanwhile."""
    cdef const terms_t* t = f.terms
    cdef int64_t lots = magnitude(s.lots), value, owed, balance, closing, money, fee = 0, extra = 0, events
    if sums.lots + lots >= f.room or (r.disturbed and r.accounts[account].state & DIRTY):
        return False
    value = trade_value(t, f.side * lots, f.price)
    closing = closing_value(r, t, s.balance - s.basis)
    if not within_limit(r, t, f.side, lots, closing, f.price):
        return False
    if add_overflow(value, s.basis, &owed) or add_overflow(s.balance, -owed, &balance):
        return False
    events = 1 + (owed != 0)
    if t.taker_fee != 0:
        fee = money_rate_up(t.taker_fee, magnitude(value))
        if add_overflow(balance, -fee, &balance):
            return False
        events += fee != 0
    if t.liquidation_fee != 0:
        extra = going_fee(r, f.instrument, balance, closing, value)
        if add_overflow(balance, -extra, &balance):
            return False
        events += extra != 0
        if f.fees_to_fund and in_order:
            fund[0] = wide_add(fund[0], wide_of(extra))
    if (
        add_overflow(sums.money, magnitude(s.basis), &money)
        or add_overflow(money, magnitude(s.balance), &money)
        or add_overflow(money, magnitude(owed), &money)
        or add_overflow(money, magnitude(fee) + magnitude(extra), &money)
    ):
        return False
    l.surplus = balance if balance > 0 else 0
    l.shortfall = l.fund = -balance if balance < 0 else 0
    l.bankruptcy_value = closing
    l.filled_value = value
    l.fee = fee + extra
    if balance < 0:
        if not f.covered or wide_cmp(fund[0], wide_of(-balance)) < 0:
            return False
        fund[0] = wide_add(fund[0], wide_of(balance))
        sums.shortfall -= balance
        balance = 0
        events += 1
    elif balance > 0 and not f.kept:
        if r.rules.surplus == TO_FUND and in_order:
            fund[0] = wide_add(fund[0], wide_of(balance))
        sums.surplus += balance
        balance = 0
        events += 1
    elif balance > 0 and s.isolated:
        events += 1             # to the account's owner, when flats_tell comes
    sums.n += 1
    sums.lots += lots
    sums.value += value
    sums.changes += events
    sums.held += s.lots
    sums.money = money
    sums.basis += s.basis
    sums.owed += owed
    sums.before += s.balance
    sums.after += balance
    sums.fees += fee
    sums.liquidation_fees += extra
    r.flats[r.flats_n].account = account
    r.flats[r.flats_n].money = balance
    r.flats_n += 1
    return True


cdef inline void turns_end(run_t* r, const front_t* f, sums_t* sums) noexcept nogil:
    """What the turns did comes true."""
    cdef int i = f.instrument
    book_take(&r.books[i], f.maker, sums.lots)
    r.instruments[i].last_ticks = f.price
    book_traded(&r.instruments[i])
    sums.events = sums.changes + 2 * sums.n     # TURN, ORDER
    sums_book(r, i, f.side, sums)
    audit_book(r, i)
    shadow_update(r, i, r.seq)
    count_wave(r, r.wave, i, sums.lots, magnitude(sums.value), <int>sums.n)


cdef inline bint range_turns(run_t* r, const waiting_t* other) noexcept nogil:
    """Serve as many of the range as one order fills whole before somebody else's turn; where there is none, its first go into the batch."""
    cdef int32_t flats = r.flats_n, end = r.range_end, reach, k
    cdef bint usual = True
    cdef wide_t fund = r.system[FUND]
    cdef front_t f
    cdef sums_t sums
    cdef liquidation_t spare
    reach = r.range_at
    if front_of(r, r.range_instrument, r.range_short, &f):
        if other != NULL:
            end = range_before(r, other, end)
        reach = range_reach(r, &f, end)
        memset(&sums, 0, sizeof(sums_t))
        k = r.range_at
        if reach > k and plain_turns(r, &f):
            usual = span_add(r, &f, reach, &sums)
            k = reach
        elif not run_room(r, <void**>&r.flats, &r.flats_cap, <int64_t>flats + reach - k, sizeof(flat_t)):
            return False
        while usual and k < reach:
            if f.singles[k].lots != 0:
                usual = turn_add(r, &f, &f.singles[k], f.accounts[k], False, &fund, &sums, &spare)
            k += 1
        if usual and sums.n > 0:
            r.range_at = reach
            r.ranged_n += sums.n
            turns_end(r, &f, &sums)
            return True
    # Here it matters who comes first.
    r.flats_n = flats
    range_window(r, reach if reach > r.range_at else range_cut(r, f.singles, r.range_at + 1))
    return False


cdef inline void record_end(run_t* r, const front_t* f, const sorted_t* item, int32_t account, int64_t turn, liquidation_t* l) noexcept nogil:
    """Fill in the rest of a usual turn's record, all of it, which lies where it belongs."""
    cdef const single_t* s = f.singles + place_at(item.who.place)
    cdef const mark_change_t* change = crossing_near(r, s, f.instrument, f.side > 0, f.triggers[place_at(item.who.place)])
    cdef cause_t cause = cause_of_mark(change)
    l.seq = turn
    l.time_ns = r.time_ns
    l.cause = cause.event
    l.cause_row = cause.row if cause.event >= 0 else -1
    l.account = account
    l.instrument = f.instrument
    l.slot = s.slot
    l.step = r.step
    l.wave = r.wave
    l.status = LEFT_CLOSED
    l.mark = r.instruments[f.instrument].mark
    l.equity = item.num
    l.maintenance = l.row_maintenance = item.den
    l.value = item.num + s.basis - s.balance
    l.held = s.lots
    l.quantity = -s.lots
    l.filled = magnitude(s.lots)
    l.closed_value = magnitude(l.filled_value)
    l.left = l.adl = l.takeover = l.vault = l.socialised = l.deficit = 0
    l.pad = 0
    r.liquidations_n += 1


# Whose turn it is.
cdef enum:
    BATCH_SERVED = 0        # those of the batch that were have been served
    BATCH_ONE = 1           # that of the batch's first, by itself
    BATCH_OTHER = 2         # that of the queue's first, if there is one


cdef inline bint range_next(run_t* r, const waiting_t* other) noexcept nogil:
    """Serve from the range, or put some of it into the batch, which is empty; whether somebody was served."""
    cdef const instrument_t* ins = &r.instruments[r.range_instrument]
    cdef const single_t* singles = ins.short_single if r.range_short else ins.long_single
    cdef int32_t window
    if r.record == RECORD_SUMMARY:
        return range_turns(r, other)
    window = r.range_end - r.range_at
    range_window(r, range_cut(r, singles, r.range_at + (WINDOW if WINDOW < window else window)))
    return False


cdef inline int batch_turns(run_t* r) noexcept nogil:
    """Serve those whose turn it is, as far as the order in front of their book fills them without being used up."""
    cdef const waiting_t* other = queue_first(r)
    cdef bint records = r.record != RECORD_SUMMARY
    cdef int32_t left, account
    cdef uint64_t in_list
    cdef int64_t turn
    cdef wide_t fund = r.system[FUND]
    cdef waiting_t own
    cdef sorted_t* item
    cdef front_t f
    cdef sums_t sums
    cdef liquidation_t spare
    cdef liquidation_t* l = &spare
    while r.batch_at == r.batch_n and r.range_at < r.range_end and r.error == 0:
        if range_next(r, other):
            return BATCH_SERVED
    if r.batch_at == r.batch_n:
        return BATCH_OTHER
    item = &r.batch[r.batch_at]
    if other != NULL:
        own = waiting_of(r, item)
        if waiting_cmp(&own, other) > 0:
            return BATCH_OTHER
    if place_several(item.who.place):
        return BATCH_ONE
    in_list = item.who.place >> PLACE_SHORT
    left = r.batch_n - r.batch_at
    if (
        not front_of(r, place_instrument(item.who.place), place_short(item.who.place), &f)
        or not run_room(r, <void**>&r.flats, &r.flats_cap, <int64_t>r.flats_n + left, sizeof(flat_t))
    ):
        return BATCH_ONE
    if records and (
        # A mark that the first trade at a price moves belongs into the middle of its turn.
        r.instruments[f.instrument].last_ticks != f.price
        or not run_room(r, <void**>&r.liquidations, &r.liquidations_cap, <int64_t>r.liquidations_n + left, sizeof(liquidation_t))
    ):
        return BATCH_ONE
    memset(&sums, 0, sizeof(sums_t))
    while r.batch_at + sums.n < r.batch_n:
        item = &r.batch[r.batch_at + sums.n]
        if item.who.place >> PLACE_SHORT != in_list or (other != NULL and sums.n > 0 and not batch_sure(item, other)):
            break
        account = f.accounts[place_at(item.who.place)]
        turn = r.seq + sums.changes + 2 * sums.n + 1
        if records:
            l = &r.liquidations[r.liquidations_n]
            prefetch(<const char*>l + AHEAD_BYTES)
            prefetch(<const char*>l + AHEAD_BYTES + 64)
            prefetch(<const char*>l + AHEAD_BYTES + 128)
            prefetch(<const char*>l + AHEAD_BYTES + 192)
        if (
            (records and item.near == -DBL_MAX)
            or not turn_add(r, &f, &f.singles[place_at(item.who.place)], account, True, &fund, &sums, l)
        ):
            break
        if records:
            context_begin(r, turn, r.wave, r.records_n + <int32_t>sums.n - 1)
            record_end(r, &f, item, account, turn, l)
    if sums.n == 0:
        return BATCH_ONE
    r.batch_at += <int32_t>sums.n
    r.batched_n += sums.n
    turns_end(r, &f, &sums)
    return BATCH_SERVED


cdef inline waiting_t batch_pop(run_t* r) noexcept nogil:
    """Take the batch's first, as one of the queue; there is one."""
    cdef waiting_t w = waiting_of(r, &r.batch[r.batch_at])
    if w.single != SEVERAL:
        single_cause(r, &w, r.previous_check, r.check_seq)
    r.batch_at += 1
    return w


cdef inline bint batch_all(run_t* r) noexcept nogil:
    """Whether the batch holds somebody, who is left of the range among them."""
    if r.batch_at == r.batch_n and r.range_at < r.range_end:
        range_window(r, r.range_end)
    return r.batch_at < r.batch_n
