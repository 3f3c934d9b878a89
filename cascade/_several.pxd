"""Accounts with several positions that nothing has touched, in runs that keep a summary alone: closed by one order a position that the
books fill whole, without a look at their orders, records or past.

In a large cascade under cross margin most accounts are closed this way. Their positions are read where they were loaded and never written:
a turn is arithmetic on a copy, with the same events as _liquidate would make, counted; what became of the account is noted in run_t.flats
until somebody else must know. Where an order would not be filled whole, or the account is healthy before all are closed, the copy is
written back and _liquidate goes on from there.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memset

from cascade._batch cimport place_at, place_several
from cascade._book cimport book_best, book_front, book_lots, book_t, book_take
from cascade._closing cimport count_wave
from cascade._funds cimport receiver
from cascade._ladder cimport ASK, BID
from cascade._ledger cimport add_overflow, audit_instrument, audit_money, changed, flats_add, planted
from cascade._liquidate cimport served_none, served_t, turn_rest
from cascade._margin cimport closing_value, magnitude, maintenance_at, mark_value, standing_t, standing_unhealthy, trade_value
from cascade._run cimport (
    COUNTED,
    DIRTY,
    MAINTENANCE_FEE_AT_BANKRUPTCY,
    ORDER_AT_BANKRUPTCY,
    RECORD_SUMMARY,
    SETTLEMENT,
    SEVERAL,
    SIZE_ALL,
    TAKE_LOSS,
    TAKE_MAINTENANCE,
    TAKE_NOTIONAL,
    TO_ACCOUNT,
    account_ahead,
    account_t,
    book_traded,
    case_t,
    instrument_t,
    liquidation_t,
    row_t,
    rows_ahead,
    run_room,
    run_t,
    terms_t,
    waiting_t,
)
from cascade._single cimport going_charged, going_fee, going_fill, going_owes, going_pays, going_served, going_t, takes_whole, within_limit
from cascade._trade cimport audit_book, shadow_update
from cascade._watch cimport SEVERAL_MOST, case_of
from cascade._wide cimport wide_add, wide_of, wide_sub, wide_t


cdef inline bint several_serve(const run_t* r) noexcept nogil:
    """Whether a turn of an account with several positions can be what this unit knows, where one of a single can be what _single knows."""
    return (
        r.record == RECORD_SUMMARY
        and not r.rules.offset_hedges
        and r.rules.maintenance_fee != MAINTENANCE_FEE_AT_BANKRUPTCY
    )


# A position whose turn comes: what it is worth and needs at the mark, and the rule's weight, the smallest of which is taken first.
ctypedef struct held_t:
    const row_t* row
    int64_t weight
    int64_t value
    int64_t needed


cdef inline int hold(const run_t* r, const account_t* account, held_t* held, standing_t* s) noexcept nogil:
    """An account's open positions in the order in which they are taken, and its standing; their number. Loaded rows are in order of
    instruments and slots, as ties are."""
    cdef const row_t* row = &r.rows[account.first_row]
    cdef const row_t* end = row + account.rows_n
    cdef held_t one
    cdef int n = 0, at
    s.equity = s.balance = account.balance
    s.maintenance = 0
    s.flat = False
    while row < end:
        if row.lots != 0:
            one.row = row
            one.value = mark_value(&r.terms[row.instrument], row.lots, r.instruments[row.instrument].mark)
            one.needed = maintenance_at(r, row, one.value, account.balance)
            s.equity += one.value - row.basis
            s.maintenance += one.needed
            one.weight = 0
            if r.rules.position_order == TAKE_MAINTENANCE:
                one.weight = -one.needed
            elif r.rules.position_order == TAKE_NOTIONAL:
                one.weight = -magnitude(one.value)
            elif r.rules.position_order == TAKE_LOSS:
                one.weight = one.value - row.basis
            at = n
            while at > 0 and one.weight < held[at - 1].weight:
                held[at] = held[at - 1]
                at -= 1
            held[at] = one
            n += 1
        row += 1
    return n


cdef inline int64_t worth_of(const run_t* r, const held_t* h, const standing_t* s) noexcept nogil:
    """The bankruptcy value of a position, of an account that stands like this."""
    return closing_value(r, &r.terms[h.row.instrument], s.equity - h.value)


cdef inline bint taken_whole(const run_t* r, const held_t* h, const standing_t* s) noexcept nogil:
    """Whether the book takes all of a position within its order's limit."""
    return takes_whole(r, h.row.instrument, 1 if h.row.lots < 0 else -1, magnitude(h.row.lots), worth_of(r, h, s))


cdef inline bint trade_in_front(run_t* r, const held_t* h, going_t* g, const standing_t* s, int64_t* traded) noexcept nogil:
    """Close all of a position against an order in front of its book that is larger, which _single.going_fill would do in as many steps as it
    has parts; the trade's signed value. False, with nothing changed, where there is no such order."""
    cdef int i = h.row.instrument
    cdef instrument_t* ins = &r.instruments[i]
    cdef const terms_t* t = &r.terms[i]
    cdef book_t* book = &r.books[i]
    cdef int side = 1 if h.row.lots < 0 else -1
    cdef int far = ASK if side > 0 else BID
    cdef int64_t lots = magnitude(h.row.lots), basis = h.row.basis, price = book_best(book, far), value, owed, balance
    cdef int64_t given = side * lots + (planted(r) == 3)
    cdef uint32_t maker = book_front(book, far)
    cdef wide_t paid
    if maker == 0 or book_lots(book, maker) <= lots or ((price < ins.known_bid) if side < 0 else (price > ins.known_ask)):
        return False
    if r.rules.order_price == ORDER_AT_BANKRUPTCY and not within_limit(r, t, side, lots, worth_of(r, h, s), price):
        return False
    value = trade_value(t, side * lots, price)
    # What closing costs the account beyond what it was paid for the position.
    if add_overflow(value, basis, &owed) or add_overflow(g.balance, -owed, &balance):
        return False
    traded[0] = value
    r.seq += 2 + (owed != 0)    # ORDER, FILL, TRANSFER
    r.changes += 1 + (owed != 0)
    ins.external_lots = wide_sub(ins.external_lots, wide_of(given))
    ins.external_basis = wide_sub(ins.external_basis, wide_of(value))
    ins.settlement_basis = wide_add(ins.settlement_basis, wide_of(owed))
    ins.sum_lots = wide_sub(ins.sum_lots, wide_of(h.row.lots + given))
    ins.sum_basis = wide_add(wide_sub(wide_sub(ins.sum_basis, wide_of(basis)), wide_of(value)), wide_of(owed))
    audit_instrument(r, i)
    paid = wide_sub(wide_of(balance), wide_of(g.balance))
    r.system[SETTLEMENT + i] = wide_add(r.system[SETTLEMENT + i], wide_of(owed))
    r.sum_money = wide_add(wide_add(r.sum_money, paid), wide_of(owed - (planted(r) == 1)))
    audit_money(r)
    g.balance = balance
    going_charged(r, t, g, value)
    ins.last_ticks = price
    book_traded(ins)
    book_take(book, maker, lots)
    audit_book(r, i)
    shadow_update(r, i, r.seq)
    return True


cdef inline int64_t trade_through(run_t* r, const held_t* h, going_t* g) noexcept nogil:
    """Close all of a position against orders of its book, as many as it takes; the trades' signed value."""
    cdef int i = h.row.instrument
    cdef book_t* book = &r.books[i]
    cdef int side = 1 if h.row.lots < 0 else -1
    cdef int far = ASK if side > 0 else BID
    cdef int64_t left = magnitude(h.row.lots), traded = 0, k, price
    cdef uint32_t maker
    g.lots = h.row.lots
    g.basis = h.row.basis
    r.seq += 1              # ORDER
    while left > 0 and r.error == 0:
        maker = book_front(book, far)
        price = book_best(book, far)
        k = book_lots(book, maker)
        if k > left:
            k = left
        traded += going_fill(r, i, g, side * k, price)
        left -= k
        book_take(book, maker, k)
        audit_book(r, i)
        shadow_update(r, i, r.seq)
    return traded


cdef inline bint close_whole(run_t* r, const held_t* h, going_t* g, standing_t* s, wide_t* closed) noexcept nogil:
    """One order for all of a position; the account's balance in `g`, its standing and the notional closed follow. False, with nothing
    changed, where the book does not take all."""
    cdef int i = h.row.instrument
    cdef int64_t before = g.balance, traded, fee, worth
    if not trade_in_front(r, h, g, s, &traded):
        if not taken_whole(r, h, s):
            return False
        traded = trade_through(r, h, g)
    if r.terms[i].liquidation_fee != 0:
        worth = worth_of(r, h, s)
        fee = going_fee(r, i, s.equity + h.row.basis - h.value + g.balance - before, worth, traded)
        if fee != 0:
            going_pays(r, g, receiver(r.rules.fee_to), fee)
    s.equity += h.row.basis - h.value + g.balance - before
    s.maintenance -= h.needed
    traded = magnitude(traded)
    r.records_n += 1
    count_wave(r, r.wave, i, magnitude(h.row.lots), traded, 1)
    closed[0] = wide_add(closed[0], wide_of(traded))
    return True


cdef inline void count_closed(run_t* r, wide_t closed) noexcept nogil:
    """Add the notional that an account's turn has closed to the totals."""
    r.totals.notional = wide_add(r.totals.notional, closed)
    if r.wave == 1:
        r.totals.first = wide_add(r.totals.first, closed)
    else:
        r.totals.higher = wide_add(r.totals.higher, closed)


cdef inline void several_goes_on(
    run_t* r, int32_t a, const held_t* held, int first, int n, const going_t* g, standing_t* s, int64_t turn, int64_t changes
) noexcept nogil:
    """The rest of a turn, from position `first` on, as of any account: what became of it so far is written into it."""
    cdef account_t* account = &r.accounts[a]
    cdef case_t* case
    cdef served_t out
    cdef int k
    r.served = a
    changed(r, a)
    account.state |= COUNTED
    account.balance = g.balance
    case = case_of(r, a)
    if case == NULL or not run_room(r, <void**>&r.taken, &r.taken_cap, n, sizeof(int32_t)):
        return
    for k in range(n):
        r.taken[k] = <int32_t>(held[k].row - r.rows)
        if k < first:
            r.rows[r.taken[k]].lots = 0
            r.rows[r.taken[k]].basis = 0
    case.cause = case.cause_row = -1
    case.open = True
    case.turn_step = r.step
    case.last_wave = r.wave
    served_none(&out)
    memset(&out.spare, 0, sizeof(liquidation_t))
    out.record = &out.spare
    r.turn_paid = r.turn_closed = wide_of(0)
    turn_rest(r, a, first, n, turn, changes, True, False, False, case, s, &out)


cdef inline int32_t several_waiting(const run_t* r, int32_t ahead) noexcept nogil:
    """The account with several positions that comes so many turns from now; -1 if it is not known to be one."""
    cdef int32_t k = r.batch_at + ahead
    if k < r.batch_n:
        return place_at(r.batch[k].who.place) if place_several(r.batch[k].who.place) else -1
    k = r.line_at + ahead
    return r.line[k].account if k < r.line_n and r.line[k].single == SEVERAL else -1


cdef inline void several_ahead(const run_t* r) noexcept nogil:
    """Turns come by key, accounts lie by number: ask for what the next ones will read, each thing when what leads to it has come."""
    cdef int32_t a = several_waiting(r, 24)
    if a >= 0:
        account_ahead(r, a)
    a = several_waiting(r, 12)
    if a >= 0:
        rows_ahead(r, a)


cdef inline bint several_turn(run_t* r, const waiting_t* w) noexcept nogil:
    """The turn of an account with several positions; False, with nothing changed, where _liquidate must see to all of it."""
    cdef int32_t a = w.account
    cdef const account_t* account = &r.accounts[a]
    cdef held_t held[SEVERAL_MOST]
    cdef standing_t s
    cdef going_t g
    cdef liquidation_t spare
    cdef int64_t turn = r.seq + 1, changes = r.changes
    cdef wide_t closed = wide_of(0)
    cdef int n, k = 0
    if r.disturbed and account.state & DIRTY:
        return False
    n = hold(r, account, held, &s)
    g.balance = account.balance
    r.seq += 1              # TURN
    while k < n and r.error == 0:
        if (k > 0 and r.rules.size != SIZE_ALL and not standing_unhealthy(r, &s)) or not close_whole(r, &held[k], &g, &s, &closed):
            break
        k += 1
    if k == 0:
        r.seq -= 1
        return False
    r.several_n += 1
    r.totals.accounts += 1
    count_closed(r, closed)
    if k < n:
        several_goes_on(r, a, held, k, n, &g, &s, turn, changes)
        return True
    if g.balance < 0 and not going_served(r, &g, &spare):
        going_owes(r, a, &g, turn, &spare)
        return True
    if g.balance > 0 and r.rules.surplus != TO_ACCOUNT:
        going_pays(r, &g, receiver(r.rules.surplus), g.balance)
    flats_add(r, a, g.balance)
    return True
