"""The ledger: every change of an account is an event, journalled, booked on both sides and audited at once."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memset

from cascade._margin cimport magnitude, trade_value
from cascade._run cimport (
    COUNTED,
    EVENT_TRANSFER,
    EXTERNAL,
    FEES,
    FUND,
    HAS_EXTRA,
    IN_JOURNAL,
    IS_ISOLATED,
    MAKER_SLOT_SHIFT,
    SETTLEMENT,
    STUCK,
    TAKER_SLOT_SHIFT,
    VAULT,
    WHY_FEE,
    WHY_REALISED,
    account_t,
    dirty_mark,
    emit,
    extra_of,
    flat_t,
    instrument_t,
    journal_of,
    journal_t,
    row_after,
    row_t,
    run_room,
    run_t,
    single_t,
    span_t,
    watch,
)
from cascade._types cimport ERR_AUDIT, ERR_RANGE
from cascade._wide cimport (
    money_rate_up,
    money_share_even,
    money_share_floor,
    wide_add,
    wide_cmp,
    wide_of,
    wide_is_zero,
    wide_sign,
    wide_sub,
)


cdef extern from *:
    """
    /* A planted bug exists in test builds only; elsewhere the compiler sees a constant. */
    #ifdef CASCADE_TESTING
    #define CASCADE_PLANTED(run) ((run)->planted_bug)
    #else
    #define CASCADE_PLANTED(run) 0
    #endif
    """
    int planted "CASCADE_PLANTED"(const run_t* r) noexcept nogil
    bint add_overflow "__builtin_add_overflow"(int64_t a, int64_t b, int64_t* sum) noexcept nogil
    bint mul_overflow "__builtin_mul_overflow"(int64_t a, int64_t b, int64_t* product) noexcept nogil


# One side of a trade: an account and its row (-1 for system accounts).
ctypedef struct party_t:
    int32_t account
    int32_t row


cdef inline void audit_money(run_t* r) noexcept nogil:
    """After a transfer: balances sum to the deposits and the fund is not overdrawn."""
    if wide_cmp(r.sum_money, r.deposits) != 0 or wide_sign(r.system[FUND]) < 0:
        r.error = ERR_AUDIT


cdef inline void audit_instrument(run_t* r, int i) noexcept nogil:
    """After a trade: contracts and basis of the instrument sum to zero."""
    if not (wide_is_zero(r.instruments[i].sum_lots) and wide_is_zero(r.instruments[i].sum_basis)):
        r.error = ERR_AUDIT


cdef inline void changed(run_t* r, int32_t a) noexcept nogil:
    """An account changes: it is looked at in the next check, ranked anew, and put back after the run."""
    r.disturbed = r.disturbed or (a != r.served and r.accounts[a].rows_n > 0)
    r.accounts[a].version += 1
    r.accounts[a].state &= ~<uint8_t>STUCK
    dirty_mark(r, a)
    watch(r, a)
    if r.ranking_stands and run_room(r, <void**>&r.touched, &r.touched_cap, r.touched_n + 1, sizeof(int32_t)):
        r.touched[r.touched_n] = a
        r.touched_n += 1


cdef inline void journal(run_t* r, int32_t a, int32_t row) noexcept nogil:
    """Before the latest event changes an account (and one row): keep it as it is, where causes will be looked for in the past."""
    cdef account_t* account = &r.accounts[a]
    cdef journal_t* j
    changed(r, a)
    if not r.remember_marks:
        return
    if not run_room(r, <void**>&r.journal, &r.journal_cap, r.journal_n + 1, sizeof(journal_t)):
        return
    j = &r.journal[r.journal_n]
    j.seq = r.seq
    j.balance = account.balance
    j.account = a
    j.row = row
    j.previous = journal_of(r, a)
    j.lots = r.rows[row].lots if row >= 0 else 0
    j.basis = r.rows[row].basis if row >= 0 else 0
    r.journalled[a] = r.journal_n
    account.flags |= IN_JOURNAL
    r.journal_n += 1


cdef inline int32_t row_find(const run_t* r, int32_t a, int instrument, int slot) noexcept nogil:
    """The account's row in (instrument, slot), -1 if it has none."""
    cdef const account_t* account = &r.accounts[a]
    cdef int32_t k = account.first_row, end = account.first_row + account.rows_n
    while k < end:
        if r.rows[k].instrument == instrument and r.rows[k].slot == slot:
            return k
        k += 1
    k = extra_of(r, a)
    while k >= 0 and not (r.rows[k].instrument == instrument and r.rows[k].slot == slot):
        k = row_after(r, k)
    return k


cdef inline int32_t row_make(run_t* r, int32_t a, int instrument, int slot) noexcept nogil:
    """The same, made if need be; -1 (and the run void) without memory."""
    cdef int32_t k = row_find(r, a, instrument, slot)
    if k >= 0 or not run_room(r, <void**>&r.rows, &r.rows_cap, r.rows_n + 1, sizeof(row_t)):
        return k
    k = r.rows_n
    if not run_room(r, <void**>&r.extra_next, &r.extra_cap, k + 1 - r.rows_loaded, sizeof(int32_t)):
        return -1
    if not run_room(r, <void**>&r.extra_first, &r.extra_first_cap, r.accounts_n, sizeof(int32_t)):
        return -1
    r.rows_n += 1
    memset(&r.rows[k], 0, sizeof(row_t))
    r.rows[k].account = a
    r.rows[k].instrument = <uint16_t>instrument
    r.rows[k].slot = <uint8_t>slot
    r.extra_next[k - r.rows_loaded] = extra_of(r, a)
    r.extra_first[a] = k
    r.accounts[a].flags |= HAS_EXTRA
    return k


cdef inline party_t party_of(run_t* r, int32_t a, int instrument, int slot) noexcept nogil:
    """An account as a side of a trade."""
    cdef party_t p
    p.account = a
    p.row = row_make(r, a, instrument, slot) if a >= r.first_user else -1
    return p


cdef inline int party_slot(const run_t* r, party_t p) noexcept nogil:
    return r.rows[p.row].slot if p.row >= 0 else 0


cdef inline int64_t party_lots(const run_t* r, party_t p, int i) noexcept nogil:
    """What the party holds; 0 for those who never realise."""
    if p.row >= 0:
        return r.rows[p.row].lots
    return r.instruments[i].vault_lots if p.account == VAULT else 0


cdef inline int64_t party_basis(const run_t* r, party_t p, int i) noexcept nogil:
    return r.rows[p.row].basis if p.row >= 0 else r.instruments[i].vault_basis


cdef inline void book_position(run_t* r, party_t p, int i, int64_t lots, int64_t value) noexcept nogil:
    """Add signed lots and signed value to a party's position, and what was really added to the audit's sums."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef int64_t* to_lots
    cdef int64_t* to_basis
    cdef int64_t lots_before, basis_before
    if p.row >= 0 or p.account == VAULT:
        to_lots = &r.rows[p.row].lots if p.row >= 0 else &ins.vault_lots
        to_basis = &r.rows[p.row].basis if p.row >= 0 else &ins.vault_basis
        lots_before = to_lots[0]
        basis_before = to_basis[0]
        if add_overflow(lots_before, lots, to_lots) or add_overflow(basis_before, value, to_basis):
            r.error = ERR_RANGE
            to_lots[0] = lots_before
            to_basis[0] = basis_before
        ins.sum_lots = wide_add(ins.sum_lots, wide_of(to_lots[0] - lots_before))
        ins.sum_basis = wide_add(ins.sum_basis, wide_of(to_basis[0] - basis_before))
    else:
        lots -= planted(r) == 3 and lots != 0
        ins.external_lots = wide_add(ins.external_lots, wide_of(lots))
        ins.external_basis = wide_add(ins.external_basis, wide_of(value))
        ins.sum_lots = wide_add(ins.sum_lots, wide_of(lots))
        ins.sum_basis = wide_add(ins.sum_basis, wide_of(value))


cdef inline void book_money(run_t* r, int32_t a, int64_t amount) noexcept nogil:
    """Add to a balance, and what was really added to the audit's sum."""
    cdef int64_t before
    if a < r.first_user:
        r.system[a] = wide_add(r.system[a], wide_of(amount))
        r.sum_money = wide_add(r.sum_money, wide_of(amount))
        return
    before = r.accounts[a].balance
    if add_overflow(before, amount, &r.accounts[a].balance):
        r.error = ERR_RANGE
        r.accounts[a].balance = before
    r.sum_money = wide_add(r.sum_money, wide_of(r.accounts[a].balance - before))


cdef inline void transfer(
    run_t* r, int32_t source, int32_t target, int64_t amount, int why, int64_t cause, int instrument
) noexcept nogil:
    """Move amount >= 0 quanta; nothing else changes a balance inside a run."""
    if amount == 0:
        return
    emit(r, EVENT_TRANSFER, instrument, source, target, 0, 0, amount, cause, why)
    if source >= r.first_user:
        journal(r, source, -1)
    if target >= r.first_user:
        journal(r, target, -1)
    book_money(r, source, -amount)
    book_money(r, target, amount - (planted(r) == 1 and why == WHY_REALISED))
    r.changes += 1
    audit_money(r)


cdef inline int64_t realised_profit(
    const run_t* r, party_t p, int i, int64_t lots, int64_t value, int64_t price
) noexcept nogil:
    """Profit that a trade of signed lots and value realises; 0 where it only adds.

    A flip is a close, then an open: at a price (> 0) the close is worth its value there, without one its share of `value`.
    """
    cdef int64_t held = party_lots(r, p, i), closed
    if held == 0 or (held > 0) == (lots > 0):
        return 0
    closed = magnitude(held)
    if magnitude(lots) <= closed:
        closed = magnitude(lots)
    elif price > 0:
        value = trade_value(&r.terms[i], closed if lots > 0 else -closed, price)
    else:
        value = money_share_floor(value, closed, magnitude(lots))
    return -(value + money_share_even(party_basis(r, p, i), closed, magnitude(held)))


cdef inline void settle_realised(run_t* r, party_t p, int i, int64_t profit, int64_t cause) noexcept nogil:
    """Move realised profit between the party and the instrument's settlement account, basis with it."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef int32_t settlement = SETTLEMENT + i
    if profit == 0:
        return
    if profit > 0:
        emit(r, EVENT_TRANSFER, i, settlement, p.account, 0, 0, profit, cause, WHY_REALISED)
    else:
        emit(r, EVENT_TRANSFER, i, p.account, settlement, 0, 0, -profit, cause, WHY_REALISED)
    if p.row >= 0:
        journal(r, p.account, p.row)
    book_position(r, p, i, 0, profit)
    ins.settlement_basis = wide_sub(ins.settlement_basis, wide_of(profit))
    ins.sum_basis = wide_sub(ins.sum_basis, wide_of(profit))
    book_money(r, p.account, profit - (planted(r) == 1))
    book_money(r, settlement, -profit)
    r.changes += 1
    audit_money(r)
    audit_instrument(r, i)


cdef inline int64_t trade(
    run_t* r, int kind, party_t taker, party_t maker, int i, int64_t lots, int64_t value, int64_t price, int64_t event_cause,
    int64_t money_cause, int flags
) noexcept nogil:
    """Exchange lots (the taker's, signed) at signed `value` between two parties, then settle what each realised.

    `price` is 0 where the value was agreed as a whole. Returns the trade's sequence number.
    """
    cdef int slots = party_slot(r, taker) << TAKER_SLOT_SHIFT | party_slot(r, maker) << MAKER_SLOT_SHIFT
    cdef int64_t seq = emit(
        r, kind, i, taker.account, maker.account, lots, price * 1024, value, event_cause, flags | slots
    )
    cdef int64_t taker_profit, maker_profit
    if taker.row >= 0:
        journal(r, taker.account, taker.row)
    if maker.row >= 0:
        journal(r, maker.account, maker.row)
    taker_profit = realised_profit(r, taker, i, lots, value, price)
    book_position(r, taker, i, lots, value)
    maker_profit = realised_profit(r, maker, i, -lots, -value, price)
    book_position(r, maker, i, -lots, -value)
    r.changes += 1
    audit_instrument(r, i)
    settle_realised(r, taker, i, taker_profit, money_cause)
    settle_realised(r, maker, i, maker_profit, money_cause)
    return seq


cdef inline int64_t charge(run_t* r, int32_t a, int64_t rate, int64_t value, int i, int64_t cause) noexcept nogil:
    """Charge (or rebate) a trading fee, rounded up; the external account pays none. The fee."""
    cdef int64_t amount
    if a == EXTERNAL or rate == 0:
        return 0
    amount = money_rate_up(rate, magnitude(value)) + (planted(r) == 2)
    if amount > 0:
        transfer(r, a, FEES, amount, WHY_FEE, cause, i)
    else:
        transfer(r, FEES, a, -amount, WHY_FEE, cause, i)
    return amount


cdef inline void flats_add(run_t* r, int32_t a, int64_t money) noexcept nogil:
    """Note what became of an account that _single.pxd or _several.pxd has closed: it is flat; its money, or what its owner gets of it."""
    if run_room(r, <void**>&r.flats, &r.flats_cap, r.flats_n + 1, sizeof(flat_t)):
        r.flats[r.flats_n].account = a
        r.flats[r.flats_n].money = money
        r.flats_n += 1


cdef inline void flat_tell(run_t* r, int32_t a, int64_t money) noexcept nogil:
    """Write the same into accounts and rows."""
    cdef account_t* account = &r.accounts[a]
    cdef int32_t k
    changed(r, a)
    account.state |= COUNTED
    for k in range(account.first_row, account.first_row + account.rows_n):
        r.rows[k].lots = 0
        r.rows[k].basis = 0
    account.balance = money
    if account.flags & IS_ISOLATED and money > 0:
        account.balance = 0
        changed(r, r.parents[a])
        if add_overflow(r.accounts[r.parents[a]].balance, money, &r.accounts[r.parents[a]].balance):
            r.error = ERR_RANGE


cdef inline int64_t span_money(const span_t* span, const single_t* s) noexcept nogil:
    """What the turn of a span's single left."""
    cdef int64_t left = s.balance - (magnitude(s.lots) * span.lot_value + s.basis)
    return left if span.kept and left > 0 else 0


cdef inline void flats_tell(run_t* r) noexcept nogil:
    """Write all that was noted, for whoever looks at accounts at large."""
    cdef int32_t k
    cdef const span_t* span
    cdef int64_t j
    for k in range(r.flats_n):
        flat_tell(r, r.flats[k].account, r.flats[k].money)
    for k in range(r.spans_n):
        span = &r.spans[k]
        for j in range(span.n):
            if span.singles[j].lots != 0:
                flat_tell(r, span.accounts[j], span_money(span, &span.singles[j]))
    r.flats_n = r.spans_n = 0
