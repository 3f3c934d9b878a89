"""Singles that one check found, in runs that keep summaries alone: their turns taken together, as far as one resting order fills them.

What such a turn reads is its single, its rules and the order in front of the book, and nothing of what it changes but that order's lots and
the fund concerns the next one. So the sums are kept in a loop over as many as the order fills, and booked and audited when it ends. What is
different about a turn (an order that it uses up, a shortfall that the fund does not cover) is left to _single.
"""

from libc.float cimport DBL_MAX
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from cascade._book cimport book_front, book_has, book_lots, book_t, book_take
from cascade._closing cimport count_wave
from cascade._funds cimport receiver
from cascade._ladder cimport ASK, BID
from cascade._ledger cimport add_overflow, audit_instrument, audit_money, planted
from cascade._margin cimport closing_value, magnitude, standing_single, standing_t, trade_value
from cascade._queue cimport BUCKET_LARGE, SORT_DEPTH, SORT_ITEM, queue_first, sort_spread, waiting_cmp
from cascade._run cimport (
    DIRTY,
    FEES,
    FUND,
    PAYER_FUND,
    QUEUE_RATIO,
    RECORD_SUMMARY,
    SETTLEMENT,
    TO_ACCOUNT,
    TO_FUND,
    book_traded,
    flat_t,
    instrument_t,
    run_room,
    run_t,
    single_t,
    sorted_t,
    terms_t,
    waiting_t,
)
from cascade._single cimport going_fee, within_limit
from cascade._trade cimport audit_book, shadow_update
from cascade._wide cimport money_rate_up, ratio_order, wide_add, wide_cmp, wide_of, wide_sub, wide_t


# -- places ----------------------------------------------------------------------------------------------------------


cdef enum:
    PLACE_SHORT = 32        # bit of a place that tells the list; the instrument lies above, the index in the list below


cdef inline int place_instrument(uint64_t place) noexcept nogil:
    return <int>(place >> (PLACE_SHORT + 1))


cdef inline bint place_short(uint64_t place) noexcept nogil:
    return (place >> PLACE_SHORT) & 1


cdef inline int32_t place_at(uint64_t place) noexcept nogil:
    return <int32_t>place     # its low bits


cdef inline const single_t* place_single(const run_t* r, uint64_t place) noexcept nogil:
    cdef const instrument_t* ins = &r.instruments[place_instrument(place)]
    return (ins.short_single if place_short(place) else ins.long_single) + place_at(place)


cdef inline int32_t place_account(const run_t* r, uint64_t place) noexcept nogil:
    cdef const instrument_t* ins = &r.instruments[place_instrument(place)]
    return (ins.short_account if place_short(place) else ins.long_account)[place_at(place)]


cdef inline waiting_t place_waiting(const run_t* r, uint64_t place) noexcept nogil:
    """Who waits there, as one of the queue."""
    cdef const single_t* single = place_single(r, place)
    cdef int i = place_instrument(place)
    cdef standing_t s = standing_single(r, single, i, r.instruments[i].mark)
    cdef waiting_t w
    w.account = place_account(r, place)
    w.instrument = i
    w.short = place_short(place)
    w.single = place_at(place)
    w.first = s.maintenance == 0
    w.num = 0 if w.first else s.equity
    w.den = 1 if w.first else s.maintenance
    w.near = <double>w.num / <double>w.den
    w.second = 0
    w.seq = r.seq
    w.cause = -1
    w.cause_row = -1
    w.wave = r.step_wave
    return w


# -- the check -------------------------------------------------------------------------------------------------------


cdef inline void batch_begin(run_t* r) noexcept nogil:
    """Before a check: whether this one's singles go into a batch."""
    r.batching = r.singles and r.record == RECORD_SUMMARY and not r.remember_marks and r.rules.queue == QUEUE_RATIO
    r.batch_n = r.batch_at = r.batch_sorted = 0


cdef inline bint batch_room(run_t* r, int32_t n) noexcept nogil:
    """Room for n more."""
    return run_room(r, <void**>&r.batch, &r.batch_cap, <int64_t>r.batch_n + n, sizeof(sorted_t))


cdef inline void batch_add(run_t* r, int i, bint short, int32_t at, const standing_t* s) noexcept nogil:
    """Note an unhealthy single; batch_room has made the room."""
    cdef sorted_t* item = &r.batch[r.batch_n]
    r.batch_n += 1
    item.num = s.equity
    item.den = s.maintenance
    item.near = <double>s.equity / <double>s.maintenance
    if s.maintenance == 0:      # before all others
        item.num = 0
        item.den = 1
        item.near = -DBL_MAX
    item.who.place = <uint64_t>i << (PLACE_SHORT + 1) | <uint64_t>short << PLACE_SHORT | <uint64_t>at


cdef inline bint batch_before(const run_t* r, const sorted_t* a, const sorted_t* b) noexcept nogil:
    """As waiting_cmp."""
    cdef int order = ratio_order(a.near, a.num, a.den, b.near, b.num, b.den)
    return order < 0 or (order == 0 and place_account(r, a.who.place) < place_account(r, b.who.place))


cdef inline bint surely_before(double a, double b) noexcept nogil:
    """Whether the doubles of two keys tell that one comes before another."""
    return b - a > 1e-14 * ((-a if a < 0 else a) + (-b if b < 0 else b))


cdef inline void batch_sort(run_t* r, int32_t end) noexcept nogil:
    """Bring the entries from batch_at on in order, to where nobody behind comes before any of them: at least to `end`."""
    cdef int32_t first = r.batch_at, n, k, at
    cdef sorted_t* items = r.batch + first
    cdef double most = -DBL_MAX
    cdef sorted_t one
    for k in range(first, r.batch_n):
        if k >= end and surely_before(most, r.batch_least[k]):
            end = k
            break
        most = r.batch[k].near if r.batch[k].near > most else most
        end = k + 1 if k >= end else end
    r.batch_sorted = end
    n = end - first
    if n > BUCKET_LARGE and run_room(r, &r.shares, &r.shares_cap, n, SORT_ITEM):
        sort_spread(items, <sorted_t*>r.shares, <int32_t*>(<sorted_t*>r.shares + n), n, SORT_DEPTH, False)
    for k in range(1, n):
        one = items[k]
        at = k
        while at > 0 and batch_before(r, &one, &items[at - 1]):
            items[at] = items[at - 1]
            at -= 1
        items[at] = one


cdef inline void batch_ready(run_t* r) noexcept nogil:
    """After a check: each of the batch is queued. An index of triggers gives its singles nearly in the order of their keys where one rate of
    maintenance holds for all; several lists are merged by sorting."""
    cdef double least = DBL_MAX
    cdef int32_t k = r.batch_n
    if k == 0 or not run_room(r, <void**>&r.batch_least, &r.batch_least_cap, k, sizeof(double)):
        return
    r.seq += k
    while k > 0:
        k -= 1
        least = r.batch[k].near if r.batch[k].near < least else least
        r.batch_least[k] = least
    if r.batch[0].who.place >> PLACE_SHORT != r.batch[r.batch_n - 1].who.place >> PLACE_SHORT:
        batch_sort(r, r.batch_n)


# -- turns -----------------------------------------------------------------------------------------------------------


cdef inline bint batch_first(const run_t* r) noexcept nogil:
    """Whether the next turn is that of the batch's first."""
    cdef const waiting_t* other = queue_first(r)
    cdef waiting_t own
    if r.batch_at == r.batch_n:
        return False
    if other == NULL:
        return True
    own = place_waiting(r, r.batch[r.batch_at].who.place)
    return waiting_cmp(&own, other) < 0


cdef inline waiting_t batch_pop(run_t* r) noexcept nogil:
    """Take the batch's first, as one of the queue; there is one."""
    r.batch_at += 1
    return place_waiting(r, r.batch[r.batch_at - 1].who.place)


# Of the turns that one order fills: how many, and the sums of what they did.
ctypedef struct sums_t:
    int64_t n
    int64_t lots            # traded, unsigned
    int64_t value           # of that, signed
    int64_t events
    int64_t changes
    int64_t held            # lots of the singles, signed
    int64_t basis           # of the singles
    int64_t owed            # for what they held: the profit, negated
    int64_t before          # their balances
    int64_t after
    int64_t fees            # trading fees
    int64_t liquidation_fees
    int64_t surplus         # that goes to a system account
    int64_t shortfall       # that the fund pays
    bint over               # a sum has left int64


cdef inline void system_add(run_t* r, int account, int64_t amount) noexcept nogil:
    """Add to a system account's balance and to the audit's sum."""
    r.system[account] = wide_add(r.system[account], wide_of(amount))
    r.sum_money = wide_add(r.sum_money, wide_of(amount))


cdef inline void sums_book(run_t* r, int i, int side, const sums_t* sums) noexcept nogil:
    """Book what the turns did, as _ledger would one by one, audit it, and count it."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef wide_t value = wide_of(sums.value), owed = wide_of(sums.owed), traded = wide_of(side * sums.lots)
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


cdef inline bint batch_fund_pays(const run_t* r) noexcept nogil:
    """Whether the fund, before all others and without a limit, pays what singles owe as long as it can."""
    return r.rules.shortfall_n > 0 and r.rules.shortfall[0] == PAYER_FUND and not r.rules.fund_stops


cdef inline double batch_upto(const waiting_t* other) noexcept nogil:
    """A key up to which the batch is surely before another one."""
    return -DBL_MAX if other.first else other.near - 2e-14 * (-other.near if other.near < 0 else other.near)


# The book in front of the batch's first, and what the rules say of turns there.
ctypedef struct front_t:
    const terms_t* terms
    const single_t* singles
    const int32_t* accounts
    int instrument
    int side                # of the orders
    uint32_t maker
    int64_t price
    int64_t room            # lots of the order there
    bint covered            # the fund pays what singles owe, as long as it can
    bint kept               # what is left stays where it is
    bint fees_to_fund       # liquidation fees


cdef inline bint front_of(const run_t* r, front_t* f) noexcept nogil:
    """What the batch's first meets; False for nothing."""
    cdef uint64_t place = r.batch[r.batch_at].who.place
    cdef int i = place_instrument(place)
    cdef bint short = place_short(place)
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const book_t* book = &r.books[i]
    cdef int far = ASK if short else BID
    f.instrument = i
    f.terms = &r.terms[i]
    f.side = 1 if short else -1
    f.singles = ins.short_single if short else ins.long_single
    f.accounts = ins.short_account if short else ins.long_account
    f.covered = r.rules.shortfall_n > 0 and r.rules.shortfall[0] == PAYER_FUND and not r.rules.fund_stops
    f.kept = r.rules.surplus == TO_ACCOUNT
    f.fees_to_fund = receiver(r.rules.fee_to) == FUND
    if not book_has(book, far):
        return False
    f.maker = book_front(book, far)
    f.price = book.ladder.best_ticks[far]
    f.room = book_lots(book, f.maker)
    return f.price <= ins.known_ask if short else f.price >= ins.known_bid


cdef inline int32_t batch_reach(const run_t* r, const front_t* f, double last) noexcept nogil:
    """How far the order in front fills the entries from batch_at on without being used up, whatever their order, none of them later than
    `last`: to an entry that nobody behind comes before."""
    cdef int32_t k = r.batch_at, reach = k
    cdef double most = -DBL_MAX, near
    cdef int64_t left = f.room
    while k < r.batch_n:
        near = r.batch[k].near
        most = near if near > most else most
        left -= magnitude(f.singles[place_at(r.batch[k].who.place)].lots)
        k += 1
        if left <= 0 or most > last:
            break
        if k == r.batch_n or surely_before(most, r.batch_least[k]):
            reach = k
    return reach


cdef inline int32_t batch_serve(run_t* r, const front_t* f, int32_t end, bint in_order, double last, sums_t* sums) noexcept nogil:
    """Sum up the turns of entries from batch_at to `end`, none of them later than `last`, as far as they go the usual way; where that ends.
    Out of order, the fund must cover all of them without what it gets from them."""
    cdef const terms_t* t = f.terms
    cdef const single_t* s
    cdef wide_t fund = r.system[FUND]
    cdef int64_t room = f.room, lots, value, owed, balance, closing, fee, extra, events
    cdef int32_t k = r.batch_at, account
    cdef uint64_t in_list = r.batch[k].who.place >> PLACE_SHORT
    memset(sums, 0, sizeof(sums_t))
    while k < end and r.batch[k].who.place >> PLACE_SHORT == in_list and r.batch[k].near <= last:
        s = f.singles + place_at(r.batch[k].who.place)
        account = f.accounts[place_at(r.batch[k].who.place)]
        lots = magnitude(s.lots)
        room -= lots
        if room <= 0 or (r.disturbed and r.accounts[account].state & DIRTY):
            break
        value = trade_value(t, f.side * lots, f.price)
        closing = closing_value(r, t, s.balance - s.basis)
        if not within_limit(r, t, f.side, lots, closing, f.price):
            break
        if add_overflow(value, s.basis, &owed) or add_overflow(s.balance, -owed, &balance):
            break
        events = 1 + (owed != 0)
        fee = extra = 0
        if t.taker_fee != 0:
            fee = money_rate_up(t.taker_fee, magnitude(value))
            if add_overflow(balance, -fee, &balance):
                break
            events += fee != 0
        if t.liquidation_fee != 0:
            extra = going_fee(r, f.instrument, balance, closing, value)
            if add_overflow(balance, -extra, &balance):
                break
            events += extra != 0
            if f.fees_to_fund and in_order:
                fund = wide_add(fund, wide_of(extra))
        if balance < 0:
            if not f.covered or wide_cmp(fund, wide_of(-balance)) < 0:
                break
            fund = wide_add(fund, wide_of(balance))
            sums.over |= add_overflow(sums.shortfall, -balance, &sums.shortfall)
            balance = 0
            events += 1
        elif balance > 0 and not f.kept:
            if r.rules.surplus == TO_FUND and in_order:
                fund = wide_add(fund, wide_of(balance))
            sums.over |= add_overflow(sums.surplus, balance, &sums.surplus)
            balance = 0
            events += 1
        elif balance > 0 and s.isolated:
            events += 1         # to the account's owner, when flats_tell comes
        sums.n += 1
        sums.lots += lots
        sums.value += value
        sums.changes += events
        sums.held += s.lots
        sums.over |= add_overflow(sums.basis, s.basis, &sums.basis)
        sums.over |= add_overflow(sums.owed, owed, &sums.owed)
        sums.over |= add_overflow(sums.before, s.balance, &sums.before)
        sums.over |= add_overflow(sums.after, balance, &sums.after)
        sums.over |= add_overflow(sums.fees, fee, &sums.fees)
        sums.over |= add_overflow(sums.liquidation_fees, extra, &sums.liquidation_fees)
        r.flats[r.flats_n].account = account
        r.flats[r.flats_n].money = balance
        r.flats_n += 1
        k += 1
    sums.events = sums.changes + 2 * sums.n     # TURN, ORDER
    return k


cdef inline bint batch_turns(run_t* r) noexcept nogil:
    """Serve the batch's first, and those behind it, whom the order in front of their book fills without being used up. False for none."""
    cdef const waiting_t* other = queue_first(r)
    cdef double last = DBL_MAX if other == NULL else batch_upto(other)
    cdef int32_t flats = r.flats_n, end, n
    cdef front_t f
    cdef sums_t sums
    if not front_of(r, &f) or not run_room(r, <void**>&r.flats, &r.flats_cap, <int64_t>flats + r.batch_n - r.batch_at, sizeof(flat_t)):
        return False
    if r.batch_at >= r.batch_sorted:
        end = batch_reach(r, &f, last)
        n = batch_serve(r, &f, end, False, last, &sums)
        if n == r.batch_at or n < end or sums.over:     # here it matters who comes first
            r.flats_n = flats
            batch_sort(r, end if end > r.batch_at else end + 1)
    if r.flats_n == flats:
        n = batch_serve(r, &f, r.batch_sorted, True, last, &sums)
        if sums.n == 0 or sums.over:
            r.flats_n = flats
            return False
    r.batch_at = n
    book_take(&r.books[f.instrument], f.maker, sums.lots)
    r.instruments[f.instrument].last_ticks = f.price
    book_traded(&r.instruments[f.instrument])
    sums_book(r, f.instrument, f.side, &sums)
    audit_book(r, f.instrument)
    shadow_update(r, f.instrument, r.seq)
    count_wave(r, r.wave, f.instrument, sums.lots, magnitude(sums.value), <int>sums.n)
    return True
