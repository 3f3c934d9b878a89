"""Accounts with one position that nothing has touched, in runs that keep no events: closed by one order that the book fills whole,
without a look at their accounts.

Most of a large cascade is made of them. They come to the check in the order of their triggers, with what they hold beside them, and
their turn is arithmetic: the same events as _liquidate would make, counted; what became of them is noted in run_t.flats until somebody
else must know.
What does not fit (lots that the book does not take within the limit, several owners in a book, stages, parts) is left to _liquidate.
"""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t
from libc.string cimport memset

from cascade._book cimport book_best_level, book_front, book_lots, book_next_level, book_t, book_take
from cascade._closing cimport count_wave, implied_price_exists, record_new
from cascade._funds cimport receiver, settle_flat
from cascade._ladder cimport ASK, BID, level_t
from cascade._ledger cimport add_overflow, audit_instrument, audit_money, flat_tell, flats_add, planted
from cascade._margin cimport closing_value, magnitude, standing_single, standing_t, trade_value
from cascade._run cimport (
    DEFICIT,
    DIRTY,
    FEES,
    FUND,
    LEFT_CLOSED,
    ORDER_AT_BANKRUPTCY,
    ORDER_AT_FILLABLE,
    PAYER_FUND,
    RECORD_ALL,
    RECORD_SUMMARY,
    SETTLEMENT,
    SIZE_ALL,
    SIZE_WHOLE,
    TO_ACCOUNT,
    book_traded,
    context_begin,
    instrument_t,
    liquidation_t,
    prefetch,
    run_t,
    single_t,
    terms_t,
    waiting_t,
)
from cascade._trade cimport audit_book, shadow_update
from cascade._types cimport ERR_RANGE
from cascade._wide cimport (
    money_price,
    money_rate_up,
    money_share_even,
    wide_add,
    wide_cmp,
    wide_low,
    wide_of,
    wide_scale,
    wide_mul,
    wide_sub,
    wide_t,
)


cdef inline bint singles_serve(const run_t* r) noexcept nogil:
    """Whether the rules and the books let a turn be what this unit knows: one order for all lots, nobody's resting orders in the way."""
    cdef int i
    if (
        r.record == RECORD_ALL
        or r.rules.continuous
        or r.rules.breakers
        or r.rules.capacity != INT64_MAX
        or r.step_wave > r.rules.max_waves
        or (r.rules.size != SIZE_WHOLE and r.rules.size != SIZE_ALL)
        or r.rules.order_price == ORDER_AT_FILLABLE
        or r.rules.notional_per_step >= 0
        or r.rules.fund_per_step >= 0
        or r.agents
        or r.rules.share_by_maintenance
        or r.rules.adl_below_den != 0
        or r.rules.vault_below_den != 0
    ):
        return False
    for i in range(r.instruments_n):
        if r.books[i].owners_used > 1:
            return False
    return True


cdef inline bint within_limit(
    const run_t* r, const terms_t* t, int side, int64_t lots, int64_t value, int64_t price
) noexcept nogil:
    """Whether a liquidation order of a position with bankruptcy value `value` may trade at a price. False also where only _liquidate
    knows."""
    cdef int64_t limit
    cdef int order
    if r.rules.order_price != ORDER_AT_BANKRUPTCY:
        return True
    if not implied_price_exists(t.contract, side, value):
        return False
    if t.contract == 0:     # the limit is value / (lots * coefficient), rounded towards the account's good
        order = wide_cmp(wide_scale(wide_mul(price, lots), t.coef_num), wide_of(magnitude(value)))
        return order >= 0 if side < 0 else order <= 0
    limit = money_price(t.contract, lots, magnitude(value), t.coef_num, t.coef_den, side < 0)
    return price >= limit if side < 0 else price <= limit


cdef inline bint takes_whole(const run_t* r, int i, int side, int64_t lots, int64_t value) noexcept nogil:
    """Whether the book takes all lots within the order's limit and what is known."""
    cdef const book_t* book = &r.books[i]
    cdef const instrument_t* ins = &r.instruments[i]
    cdef uint32_t level = book_best_level(book, BID if side < 0 else ASK)
    cdef const level_t* v
    cdef int64_t left = lots
    while level != 0:
        v = &book.ladder.levels[level]
        if (v.price_ticks < ins.known_bid) if side < 0 else (v.price_ticks > ins.known_ask):
            return False
        if v.quantity_lots >= left:
            return within_limit(r, &r.terms[i], side, lots, value, v.price_ticks)
        left -= v.quantity_lots
        level = book_next_level(book, level)
    return False


# A single on its way out.
ctypedef struct going_t:
    int64_t lots            # signed
    int64_t basis
    int64_t balance


cdef inline void going_pays(run_t* r, going_t* g, int32_t account, int64_t amount) noexcept nogil:
    """Move a signed amount of quanta to a system account: one TRANSFER."""
    cdef int64_t before = g.balance
    r.seq += 1
    r.changes += 1
    if add_overflow(before, -amount, &g.balance):
        r.error = ERR_RANGE
        g.balance = before
    r.system[account] = wide_add(r.system[account], wide_of(amount))
    r.sum_money = wide_add(r.sum_money, wide_of(amount + g.balance - before - (planted(r) == 1)))
    audit_money(r)


cdef inline void going_charged(run_t* r, const terms_t* t, going_t* g, int64_t value) noexcept nogil:
    """Charge the fee of a trade of this value."""
    cdef int64_t fee
    if t.taker_fee != 0:
        fee = money_rate_up(t.taker_fee, magnitude(value))
        if fee != 0:
            going_pays(r, g, FEES, fee)
            r.taker_fees = wide_add(r.taker_fees, wide_of(fee))


cdef inline int64_t going_fill(run_t* r, int i, going_t* g, int64_t lots, int64_t price) noexcept nogil:
    """A FILL of signed lots against an external order, what it realises, and its fee; the signed value."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef const terms_t* t = &r.terms[i]
    cdef int64_t value = trade_value(t, lots, price), given = lots + (planted(r) == 3)
    cdef int64_t share = money_share_even(g.basis, magnitude(lots), magnitude(g.lots)), profit = -(value + share)
    cdef int64_t lots_before = g.lots, basis_before = g.basis
    r.seq += 1
    r.changes += 1
    # The trade and what it realises, as _ledger books them: the position, then its counterparts.
    g.lots += lots
    if add_overflow(g.basis, value, &g.basis):
        r.error = ERR_RANGE
        g.basis = basis_before
    ins.external_lots = wide_sub(ins.external_lots, wide_of(given))
    ins.external_basis = wide_sub(ins.external_basis, wide_of(value))
    g.basis += profit
    ins.settlement_basis = wide_sub(ins.settlement_basis, wide_of(profit))
    ins.sum_lots = wide_add(ins.sum_lots, wide_of(g.lots - lots_before - given))
    ins.sum_basis = wide_add(ins.sum_basis, wide_of(g.basis - basis_before - value - profit))
    audit_instrument(r, i)
    if profit != 0:
        going_pays(r, g, SETTLEMENT + i, -profit)
    going_charged(r, t, g, value)
    ins.last_ticks = price
    book_traded(ins)
    return value


cdef inline int64_t going_fee(const run_t* r, int i, int64_t balance, int64_t value, int64_t traded) noexcept nogil:
    """The liquidation fee of a position of this bankruptcy value that traded at that value and left its account a balance: see
    _funds.liquidation_fee."""
    cdef int64_t most = value - traded if r.rules.fee_on_improvement else balance, amount
    amount = money_rate_up(r.terms[i].liquidation_fee, magnitude(traded))
    return amount if amount <= most else most if most > 0 else 0


cdef inline liquidation_t* single_record(
    run_t* r, const waiting_t* w, const single_t* s, int64_t value, int64_t turn, liquidation_t* spare
) noexcept nogil:
    """Its row of the liquidations, with what is known before the order trades."""
    cdef instrument_t* ins = &r.instruments[w.instrument]
    cdef liquidation_t* l
    cdef standing_t now
    if r.record == RECORD_SUMMARY:
        r.records_n += 1
        return spare
    now = standing_single(r, s, w.instrument, ins.mark)
    context_begin(r, turn, r.wave, r.records_n)
    l = record_new(r, w.account, turn, w.cause, w.cause_row, &now, spare)
    l.instrument = w.instrument
    l.slot = s.slot
    l.mark = ins.mark
    l.value = now.equity + s.basis - s.balance
    l.row_maintenance = now.maintenance
    l.held = s.lots
    l.quantity = -s.lots
    l.bankruptcy_value = value
    l.status = LEFT_CLOSED
    return l


cdef inline bint going_served(run_t* r, going_t* g, liquidation_t* l) noexcept nogil:
    """Serve what a closed account owes, where nobody but the fund, first of all and without a limit, and the deficit have to do with it;
    False, with nothing changed, where others have."""
    cdef bint fund = r.rules.shortfall_n > 0 and r.rules.shortfall[0] == PAYER_FUND and not r.rules.fund_stops
    cdef int64_t owed = -g.balance, paid = 0
    if fund and wide_cmp(r.system[FUND], wide_of(owed)) >= 0:
        paid = owed
    elif fund and r.rules.shortfall_n == 1:
        paid = wide_low(r.system[FUND])
    elif r.rules.shortfall_n > 0:
        return False
    l.shortfall = owed
    l.fund = paid
    l.deficit = owed - paid
    if paid != 0:
        going_pays(r, g, FUND, -paid)
    if paid != owed:
        going_pays(r, g, DEFICIT, paid - owed)
    return True


cdef inline void going_owes(run_t* r, int32_t a, const going_t* g, int64_t turn, liquidation_t* l) noexcept nogil:
    """Serve what a closed account owes, as of any."""
    if r.record == RECORD_SUMMARY:
        memset(l, 0, sizeof(liquidation_t))
    r.served = a
    flat_tell(r, a, g.balance)
    settle_flat(r, a, turn, l)


cdef inline void fetch_ahead(const run_t* r) noexcept nogil:
    """Turns come by key, what they need lies by trigger and by account."""
    cdef const waiting_t* w
    if r.line_at + 8 < r.line_n:
        w = &r.line[r.line_at + 8]
        if w.single >= 0:
            prefetch((r.instruments[w.instrument].short_single if w.short else r.instruments[w.instrument].long_single) + w.single)


cdef inline bint single_turn(run_t* r, const waiting_t* w) noexcept nogil:
    """The turn of a single; False, with nothing changed, where _liquidate must see to it."""
    cdef int i = w.instrument
    cdef const single_t* s = r.instruments[i].short_single if w.short else r.instruments[i].long_single
    cdef book_t* book = &r.books[i]
    cdef int64_t lots, left, k, value, traded = 0, price, fee, turn
    cdef int side, far
    cdef uint32_t maker
    cdef going_t g
    cdef wide_t fees = r.taker_fees
    cdef liquidation_t spare
    cdef liquidation_t* l
    fetch_ahead(r)
    if r.disturbed and r.accounts[w.account].state & DIRTY:
        return False
    s += w.single
    side = 1 if s.lots < 0 else -1
    far = ASK if side > 0 else BID
    lots = left = magnitude(s.lots)
    value = closing_value(r, &r.terms[i], s.balance - s.basis)
    if not takes_whole(r, i, side, lots, value):
        return False
    g.lots = s.lots
    g.basis = s.basis
    g.balance = s.balance
    r.seq += 2              # TURN, ORDER
    turn = r.seq - 1
    r.singles_n += 1
    l = single_record(r, w, s, value, turn, &spare)
    while left > 0 and r.error == 0:
        maker = book_front(book, far)
        price = book.ladder.best_ticks[far]
        k = book_lots(book, maker)
        if k > left:
            k = left
        traded += going_fill(r, i, &g, side * k, price)
        left -= k
        book_take(book, maker, k)
        audit_book(r, i)
        shadow_update(r, i, r.seq)
    l.filled = lots
    l.filled_value = traded
    l.closed_value = magnitude(traded)
    l.fee = wide_low(wide_sub(r.taker_fees, fees))
    if r.terms[i].liquidation_fee != 0:
        fee = going_fee(r, i, g.balance, value, traded)
        if fee != 0:
            going_pays(r, &g, receiver(r.rules.fee_to), fee)
            l.fee += fee
    r.totals.accounts += 1
    r.totals.notional = wide_add(r.totals.notional, wide_of(magnitude(traded)))
    if r.wave == 1:
        r.totals.first = wide_add(r.totals.first, wide_of(magnitude(traded)))
    else:
        r.totals.higher = wide_add(r.totals.higher, wide_of(magnitude(traded)))
    count_wave(r, r.wave, i, lots, magnitude(traded), 1)
    if g.balance < 0 and not going_served(r, &g, l):
        going_owes(r, w.account, &g, turn, l)
        return True
    l.surplus = g.balance
    if g.balance > 0 and r.rules.surplus != TO_ACCOUNT:
        going_pays(r, &g, receiver(r.rules.surplus), g.balance)
    if g.balance > 0 and s.isolated:
        r.seq += 1          # to the account's owner, when flats_tell comes
        r.changes += 1
    flats_add(r, w.account, g.balance)
    return True
