"""Margin: what a position is worth and needs, and an account's equity; integers only, as in reference/money.py."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint8_t

from cascade._run cimport (
    HOLDS_COLLATERAL,
    MAINTENANCE_FEE_AT_BANKRUPTCY,
    account_t,
    extra_of,
    instrument_t,
    row_after,
    row_t,
    run_t,
    single_t,
    terms_t,
    tier_t,
)
from cascade._wide cimport (
    RATE_ONE,
    money_after_fee,
    money_inverse,
    money_inverse_mark,
    money_linear,
    money_linear_mark,
    money_part_up,
    money_rate_up,
    money_share_even,
    money_share_floor,
    money_size_rate,
)


# An account's standing at some marks.
ctypedef struct standing_t:
    int64_t equity
    int64_t maintenance
    int64_t balance
    bint flat               # no open position


cdef inline int64_t trade_value(const terms_t* t, int64_t lots, int64_t price) noexcept nogil:
    """Signed value in quanta of signed lots at a price in ticks. Odd in lots."""
    if t.contract == 0:
        return money_linear(lots, price, t.coef_num)
    return money_inverse(lots, t.coef_num, price, t.coef_den)


cdef inline int64_t mark_value(const terms_t* t, int64_t lots, int64_t mark) noexcept nogil:
    """Signed value in quanta at a mark of 1/1024 ticks, rounded down."""
    if t.contract == 0:
        return money_linear_mark(lots, mark, t.coef_num)
    return money_inverse_mark(lots, t.coef_num, mark, t.coef_den)


cdef inline int64_t magnitude(int64_t x) noexcept nogil:
    return -x if x < 0 else x


cdef inline int64_t maintenance_in(const terms_t* t, const tier_t* tier, int64_t notional, int64_t lots) noexcept nogil:
    """Maintenance of a position of this notional, as if a tier held for it: rounded up, never negative."""
    cdef int64_t needed, rate
    if t.slope_num != 0:
        rate = tier.rate * (<int64_t>1000000000000 // tier.one)
        rate += money_size_rate(magnitude(lots) if t.contract == 0 else notional, t.slope_num, t.slope_den)
        needed = money_rate_up(rate, notional) - tier.amount_quanta
    elif tier.rate == 0:
        return 0
    else:
        needed = money_part_up(tier.rate, notional, tier.one) - tier.amount_quanta
    return needed if needed > 0 else 0


cdef inline int64_t maintenance_of(const run_t* r, const terms_t* t, int64_t notional, int64_t lots) noexcept nogil:
    """Maintenance of a position of this notional: in the highest tier whose floor it reaches."""
    cdef const tier_t* tier = &r.tiers[t.tier_first]
    cdef const tier_t* last = tier + t.tiers_n - 1
    while tier < last and tier[1].floor_quanta <= notional:
        tier += 1
    return maintenance_in(t, tier, notional, lots)


cdef inline int64_t closing_value(const run_t* r, const terms_t* t, int64_t value) noexcept nogil:
    """The value at which a position can be closed when the account can spend `value` on it."""
    return money_after_fee(t.closing_fee, value) if r.rules.bankruptcy_fee else value


cdef inline int64_t maintenance_for(
    const run_t* r, const terms_t* t, int64_t lots, int64_t basis, int64_t value, int64_t balance
) noexcept nogil:
    """Maintenance of an open position worth `value` at the mark, in an account of this balance."""
    cdef int64_t needed = maintenance_of(r, t, magnitude(basis if r.rules.maintenance_on_entry else value), lots)
    if r.rules.maintenance_fee == MAINTENANCE_FEE_AT_BANKRUPTCY and t.closing_fee != 0:
        # As if the position were the account's only one: what the marks say of others does not matter.
        needed += money_rate_up(t.closing_fee, magnitude(closing_value(r, t, balance - basis)))
    return needed


cdef inline int64_t maintenance_at(const run_t* r, const row_t* row, int64_t value, int64_t balance) noexcept nogil:
    """The same of a row."""
    return maintenance_for(r, &r.terms[row.instrument], row.lots, row.basis, value, balance)


cdef inline int64_t row_maintenance(const run_t* r, const row_t* row, int64_t mark) noexcept nogil:
    """Maintenance of an open position, in its account as it is."""
    return maintenance_at(
        r, row, mark_value(&r.terms[row.instrument], row.lots, mark), r.accounts[row.account].balance
    )


# What a position on its way out is worth at its bankruptcy price: the account as it stood when the order was sent.
ctypedef struct bankrupt_t:
    row_t row
    standing_t standing
    int64_t mark
    int64_t value           # of the position at the mark
    int64_t needed          # maintenance of the position
    int64_t whole           # bankruptcy value: signed, of the trade that closes all lots
    int64_t lots            # all, positive
    bint shared             # the position's lots use up its share of the equity by maintenance


cdef inline int64_t bankrupt_first(const run_t* r, const bankrupt_t* b, int64_t k) noexcept nogil:
    """Value of the first k lots; however a closing is split, its parts add up to the same."""
    cdef const terms_t* t
    cdef row_t left
    cdef int64_t value, needed
    if not b.shared:
        return money_share_floor(b.whole, k, b.lots)
    t = &r.terms[b.row.instrument]
    value = b.value
    needed = b.needed
    if k < b.lots:
        left = b.row
        left.lots -= k if left.lots > 0 else -k
        left.basis -= money_share_even(left.basis, k, b.lots)
        value = mark_value(t, left.lots, b.mark)
        needed -= maintenance_at(r, &left, value, b.standing.balance)
        value = b.value - value
    return closing_value(r, t, money_share_floor(b.standing.equity, needed, b.standing.maintenance) - value)


cdef inline bankrupt_t bankrupt_begin(
    const run_t* r, const row_t* row, const standing_t* s, int64_t mark
) noexcept nogil:
    """The bankruptcy value of a position, fixed; with its closing fee, where the rules have it so."""
    cdef bankrupt_t b
    b.row = row[0]
    b.standing = s[0]
    b.mark = mark
    b.value = mark_value(&r.terms[row.instrument], row.lots, mark)
    b.needed = maintenance_at(r, row, b.value, s.balance)
    b.lots = magnitude(row.lots)
    b.shared = r.rules.share_by_maintenance and s.maintenance != 0
    b.whole = closing_value(r, &r.terms[row.instrument], s.equity - b.value)
    if b.shared:
        b.whole = bankrupt_first(r, &b, b.lots)
    return b


cdef inline void standing_add(const run_t* r, const row_t* row, int64_t mark, standing_t* s) noexcept nogil:
    """Add one position to a standing."""
    cdef const terms_t* t
    cdef int64_t value
    if row.lots == 0:
        # Between a closing FILL and its transfer the profit still sits in the flat row's basis.
        s.equity -= row.basis
        return
    t = &r.terms[row.instrument]
    value = mark_value(t, row.lots, mark)
    s.equity += value - row.basis
    s.maintenance += maintenance_at(r, row, value, s.balance)
    s.flat = False


cdef inline int64_t after_haircut(const run_t* r, int i, int64_t lots, int64_t mark, int64_t weight) noexcept nogil:
    """What lots of a collateral asset count for: a part (1e-12) of their value at a mark, both rounded down."""
    return money_share_floor(mark_value(&r.terms[i], lots, mark), weight, RATE_ONE)


cdef inline int64_t collateral_value(const run_t* r, int32_t a, bint shadow) noexcept nogil:
    """What an account's holdings count for, at the marks in force or at the shadow marks. What a sale has brought sits in their basis for a
    moment."""
    cdef int32_t k
    cdef int64_t value = 0
    cdef const instrument_t* ins
    if r.accounts[a].flags & HOLDS_COLLATERAL:
        for k in range(r.holding_first[a], r.holding_first[a + 1]):
            ins = &r.instruments[r.rows[k].instrument]
            value += after_haircut(r, r.rows[k].instrument, r.rows[k].lots, ins.shadow if shadow else ins.mark, ins.weight)
            value -= r.rows[k].basis
    return value


cdef inline row_t single_row(const single_t* single, int instrument) noexcept nogil:
    """The position of a single."""
    cdef row_t row
    row.lots = single.lots
    row.basis = single.basis
    row.account = -1
    row.instrument = <uint16_t>instrument
    row.slot = <uint8_t>single.slot
    return row


cdef inline standing_t standing_alone(const run_t* r, const row_t* row, int64_t balance, int64_t mark) noexcept nogil:
    """The standing of an account that has one position and nothing else."""
    cdef standing_t s
    s.equity = s.balance = balance
    s.maintenance = 0
    s.flat = True
    standing_add(r, row, mark, &s)
    return s


cdef inline standing_t standing_single(const run_t* r, const single_t* single, int instrument, int64_t mark) noexcept nogil:
    """The standing of a single."""
    cdef const terms_t* t = &r.terms[instrument]
    cdef int64_t value = mark_value(t, single.lots, mark)
    cdef standing_t s
    s.balance = single.balance
    s.equity = single.balance + value - single.basis
    s.maintenance = maintenance_for(r, t, single.lots, single.basis, value, single.balance)
    s.flat = False
    return s


cdef inline standing_t standing_of(const run_t* r, int32_t a) noexcept nogil:
    """An account's standing at the marks in force."""
    cdef const account_t* account = &r.accounts[a]
    cdef const row_t* row = &r.rows[account.first_row]
    cdef const row_t* end = row + account.rows_n
    cdef int32_t extra = extra_of(r, a)
    cdef standing_t s
    s.equity = s.balance = account.balance
    s.maintenance = 0
    s.flat = True
    while row < end:
        standing_add(r, row, r.instruments[row.instrument].mark, &s)
        row += 1
    while extra >= 0:
        standing_add(r, &r.rows[extra], r.instruments[r.rows[extra].instrument].mark, &s)
        extra = row_after(r, extra)
    if account.flags & HOLDS_COLLATERAL:
        s.equity += collateral_value(r, a, False)
    return s


cdef inline standing_t standing_shadow(const run_t* r, int32_t a) noexcept nogil:
    """An account's standing at the shadow marks."""
    cdef const account_t* account = &r.accounts[a]
    cdef int32_t k = account.first_row, end = account.first_row + account.rows_n
    cdef standing_t s
    s.equity = s.balance = account.balance
    s.maintenance = 0
    s.flat = True
    while k < end:
        standing_add(r, &r.rows[k], r.instruments[r.rows[k].instrument].shadow, &s)
        k += 1
    k = extra_of(r, a)
    while k >= 0:
        standing_add(r, &r.rows[k], r.instruments[r.rows[k].instrument].shadow, &s)
        k = row_after(r, k)
    if account.flags & HOLDS_COLLATERAL:
        s.equity += collateral_value(r, a, True)
    return s


cdef inline bint standing_unhealthy(const run_t* r, const standing_t* s) noexcept nogil:
    """Whether the venue may act: a flat account only when it owes money."""
    if s.flat:
        return s.equity < 0
    if r.rules.trigger_le:
        return s.equity <= s.maintenance
    return s.equity < s.maintenance
