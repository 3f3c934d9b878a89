"""Who stands behind a liquidation with money: the insurance fund and its limits, the vault, sharers, the deficit."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport qsort

from cascade._closing cimport (
    closing_begin,
    closing_t,
    closing_worth,
    count_liquidation,
    holding_begin,
    record_begin,
)
from cascade._ledger cimport flats_tell, party_of, trade, transfer
from cascade._margin cimport after_haircut, collateral_value, magnitude, mark_value, standing_of, standing_t
from cascade._run cimport (
    DEFICIT,
    EVENT_TAKEOVER,
    FEES,
    FUND,
    HOLDS_COLLATERAL,
    IS_ISOLATED,
    LEFT_CLOSED,
    NO_INSTRUMENT,
    PAYER_FUND,
    PAYER_SOCIALISE,
    SCRATCH_ITEM,
    TO_ACCOUNT,
    TO_FUND,
    TO_VAULT,
    VAULT,
    WHY_LIQUIDATION_FEE,
    WHY_SHORTFALL,
    WHY_SOCIALISED,
    WHY_SURPLUS,
    WHY_SWEEP,
    WHY_TAKEN,
    account_t,
    case_t,
    context_begin,
    extra_of,
    instrument_t,
    liquidation_t,
    row_after,
    row_t,
    run_room,
    run_t,
)
from cascade._wide cimport (
    RATE_ONE,
    money_rate_up,
    money_share_rest,
    wide_add,
    wide_cmp,
    wide_low,
    wide_mul,
    wide_of,
    wide_scale,
    wide_sign,
    wide_sub,
    wide_t,
)


# -- the fund --------------------------------------------------------------------------------------------------------


cdef inline void watch_fund(run_t* r) noexcept nogil:
    """Stop the fund, or let it pay again, by its drawdown since the start of the run.

    Only payments deepen a drawdown, so that looking before and after each of them misses nothing.
    """
    cdef wide_t drawdown
    if not r.rules.fund_stops:
        return
    drawdown = wide_sub(r.fund_start, r.system[FUND])
    if r.fund_stopped:
        r.fund_stopped = wide_cmp(drawdown, r.rules.fund_resumes) > 0
    else:
        r.fund_stopped = (
            wide_cmp(drawdown, r.rules.fund_stays) > 0
            and wide_cmp(r.system[FUND], wide_of(r.rules.fund_stop_above)) > 0
        )


cdef inline wide_t fund_has(run_t* r) noexcept nogil:
    """What the fund can pay now: nothing while it is stopped, never more than its limit a step."""
    cdef wide_t room
    watch_fund(r)
    if r.fund_stopped:
        return wide_of(0)
    if r.rules.fund_per_step < 0:
        return r.system[FUND]
    room = wide_sub(wide_of(r.rules.fund_per_step), r.turn_paid)
    if wide_cmp(r.system[FUND], room) < 0:
        return r.system[FUND]
    return room if wide_sign(room) > 0 else wide_of(0)


cdef inline void fund_pays(run_t* r, int32_t a, int64_t amount, int why, int i, liquidation_t* l) noexcept nogil:
    """A payment of the fund to an account in its turn."""
    transfer(r, FUND, a, amount, why, l.seq, i)
    r.turn_paid = wide_add(r.turn_paid, wide_of(amount))
    l.fund += amount
    watch_fund(r)


cdef inline bint fund_waits(const run_t* r) noexcept nogil:
    """Whether it is its limit a step alone that keeps the fund from paying more."""
    return (
        r.rules.fund_per_step > 0
        and not r.fund_stopped
        and wide_sign(r.system[FUND]) > 0
        and wide_cmp(r.turn_paid, wide_of(r.rules.fund_per_step)) >= 0
    )


# -- the vault -------------------------------------------------------------------------------------------------------


cdef inline bint vault_has_room(const run_t* r, int instrument, int64_t lots, int64_t value, int32_t a, int32_t n) noexcept nogil:
    """Whether the vault may take signed lots (the closing trade's) of an instrument at a signed value; or, for instrument -1, the first n
    rows of run_t.taken at their value at mark and the collateral of account a for what it counts for.

    Its equity at the marks must stay positive, and the notional of what it then holds, instrument by instrument, must not exceed
    `vault_cap` times its equity.
    """
    cdef wide_t equity = r.system[VAULT], notional = wide_of(0)
    cdef const instrument_t* ins
    cdef const row_t* row
    cdef int64_t held, worth
    cdef int32_t k
    cdef int i
    for i in range(r.instruments_n):
        ins = &r.instruments[i]
        held = ins.vault_lots
        if instrument == i:
            held -= lots
            equity = wide_add(equity, wide_of(value))
        elif instrument < 0:
            for k in range(n):
                row = &r.rows[r.taken[k]]
                if row.instrument == i:
                    held += row.lots
                    equity = wide_add(equity, wide_of(mark_value(&r.terms[i], -row.lots, ins.mark)))
            if r.accounts[a].flags & HOLDS_COLLATERAL:
                for k in range(r.holding_first[a], r.holding_first[a + 1]):
                    if r.rows[k].instrument == i:
                        held += r.rows[k].lots
                        equity = wide_sub(equity, wide_of(after_haircut(r, i, r.rows[k].lots, ins.mark, ins.weight)))
        worth = mark_value(&r.terms[i], held, ins.mark) if held != 0 else 0
        equity = wide_add(equity, wide_sub(wide_of(worth), wide_of(ins.vault_basis)))
        notional = wide_add(notional, wide_of(magnitude(worth)))
    if wide_sign(equity) <= 0:
        return False
    return r.rules.vault_cap < 0 or wide_cmp(wide_scale(notional, RATE_ONE), wide_scale(equity, r.rules.vault_cap)) <= 0


cdef inline void take_over(run_t* r, closing_t* c, int64_t value) noexcept nogil:
    """The vault takes the open lots at a signed value."""
    cdef int i = c.instrument
    trade(
        r, EVENT_TAKEOVER, c.party, party_of(r, VAULT, i, 0), i, c.side * c.left, value, 0, c.record.seq, c.record.seq, 0
    )
    c.record.takeover += c.left
    c.record.closed_value += magnitude(value)
    r.totals.takeover = wide_add(r.totals.takeover, wide_of(magnitude(value)))
    c.done += c.left
    c.left = 0


cdef inline void vault_takes(run_t* r, closing_t* c) noexcept nogil:
    """The vault takes all residual lots at their bankruptcy value, or at the mark where no price implies it."""
    cdef int i = c.instrument
    cdef int64_t lots = c.side * c.left
    cdef int64_t value = closing_worth(r, c, c.left) if c.has_price else mark_value(&r.terms[i], lots, r.instruments[i].mark)
    if vault_has_room(r, i, lots, value, c.party.account, 0):
        take_over(r, c, value)


cdef inline liquidation_t* vault_takes_all(
    run_t* r, int32_t a, int32_t n, int64_t turn, const case_t* case, liquidation_t* spare
) noexcept nogil:
    """The vault takes all n positions of an account (run_t.taken) at their value at mark, its collateral for what that counts for, and its
    positive balance; the last record, NULL if it has no room for all of them."""
    cdef liquidation_t* l = NULL
    cdef standing_t s
    cdef closing_t c
    cdef int32_t k
    if not vault_has_room(r, -1, 0, 0, a, n):
        return NULL
    for k in range(n):
        s = standing_of(r, a)
        l = record_begin(r, a, turn, case, &s, spare)
        c = closing_begin(r, a, r.taken[k], magnitude(r.rows[r.taken[k]].lots), l)
        context_begin(r, r.seq + 1, r.wave, r.records_n - 1)
        take_over(r, &c, mark_value(&r.terms[c.instrument], c.side * c.lots, l.mark))
        l.status = LEFT_CLOSED
        count_liquidation(r, l)
    if r.accounts[a].flags & HOLDS_COLLATERAL:
        for k in range(r.holding_first[a], r.holding_first[a + 1]):
            if r.rows[k].lots == 0:
                continue
            s = standing_of(r, a)
            l = record_begin(r, a, turn, case, &s, spare)
            c = holding_begin(r, a, k, r.rows[k].lots, l)
            context_begin(r, r.seq + 1, r.wave, r.records_n - 1)
            take_over(r, &c, -after_haircut(r, c.instrument, c.lots, l.mark, r.instruments[c.instrument].weight))
            l.status = LEFT_CLOSED
            count_liquidation(r, l)
    l.surplus = r.accounts[a].balance if r.accounts[a].balance > 0 else 0
    transfer(r, a, VAULT, l.surplus, WHY_TAKEN, turn, NO_INSTRUMENT)
    return l


# -- fees, and what is left or owed ----------------------------------------------------------------------------------


cdef inline int32_t receiver(int to) noexcept nogil:
    """The account that a surplus or a liquidation fee goes to."""
    return FUND if to == TO_FUND else VAULT if to == TO_VAULT else FEES


cdef inline int64_t liquidation_fee(run_t* r, int32_t a, const closing_t* c) noexcept nogil:
    """The rate on the notional closed, at most the equity left; or on what was traded in the book, at most what the fills were better than
    the bankruptcy value."""
    cdef int64_t rate = r.terms[c.instrument].liquidation_fee, amount, most
    cdef standing_t s
    if rate == 0:
        return 0
    if r.rules.fee_on_improvement:
        amount = money_rate_up(rate, magnitude(c.record.filled_value))
        most = c.worth_of_fills - c.record.filled_value + c.record.fund
    else:
        amount = money_rate_up(rate, c.record.closed_value)
        s = standing_of(r, a)
        most = s.equity
    if amount > most:
        amount = most if most > 0 else 0
    transfer(r, a, receiver(r.rules.fee_to), amount, WHY_LIQUIDATION_FEE, c.record.seq, c.instrument)
    return amount


cdef inline bint account_flat(const run_t* r, int32_t a) noexcept nogil:
    cdef int32_t k = r.accounts[a].first_row, end = r.accounts[a].first_row + r.accounts[a].rows_n
    while k < end:
        if r.rows[k].lots != 0:
            return False
        k += 1
    k = extra_of(r, a)
    while k >= 0:
        if r.rows[k].lots != 0:
            return False
        k = row_after(r, k)
    return True


cdef inline bint holds_collateral(const run_t* r, int32_t a) noexcept nogil:
    cdef int32_t k
    if r.accounts[a].flags & HOLDS_COLLATERAL:
        for k in range(r.holding_first[a], r.holding_first[a + 1]):
            if r.rows[k].lots != 0:
                return True
    return False


cdef inline void sweep(run_t* r, int32_t a, int64_t turn) noexcept nogil:
    """An isolated account once flat goes to its owner; what it owes is served by a turn of its own, never by the owner."""
    if a >= r.first_user and r.accounts[a].flags & IS_ISOLATED and r.accounts[a].balance > 0 and account_flat(r, a):
        transfer(r, a, r.parents[a], r.accounts[a].balance, WHY_SWEEP, turn, NO_INSTRUMENT)


# A share of a loss.
ctypedef struct share_t:
    wide_t rest             # remainder of the division
    int64_t weight
    int64_t part
    int32_t account


cdef inline int larger_rest(const void* x, const void* y) noexcept nogil:
    """Largest remainder first, ties by account index."""
    cdef const share_t* a = <const share_t*>x
    cdef const share_t* b = <const share_t*>y
    cdef int c = wide_cmp(b.rest, a.rest)
    if c != 0:
        return c
    return -1 if a.account < b.account else 1


cdef inline int by_account(const void* x, const void* y) noexcept nogil:
    cdef const share_t* a = <const share_t*>x
    cdef const share_t* b = <const share_t*>y
    return -1 if a.account < b.account else 1


cdef inline int64_t socialise(run_t* r, int32_t debtor, int64_t owed, int64_t turn) noexcept nogil:
    """Share a loss over all accounts in proportion to their positive equity, or unrealised profit, by largest remainder; what was
    shared."""
    cdef share_t* shares
    cdef standing_t s
    cdef wide_t whole = wide_of(0)
    cdef int64_t total = owed, given = 0, weight
    cdef int32_t a, n = 0, k
    flats_tell(r)
    for a in range(r.first_user, r.accounts_n):
        if a == debtor:
            continue
        s = standing_of(r, a)
        weight = s.equity
        if r.rules.socialise_by_profit:
            weight -= r.accounts[a].balance + collateral_value(r, a, False)
        if weight <= 0:
            continue
        if not run_room(r, &r.shares, &r.shares_cap, n + 1, SCRATCH_ITEM):
            return 0
        shares = <share_t*>r.shares
        shares[n].account = a
        shares[n].weight = weight
        whole = wide_add(whole, wide_of(weight))
        n += 1
    if wide_cmp(whole, wide_of(total)) < 0:
        total = wide_low(whole)
    if total == 0:
        return 0
    shares = <share_t*>r.shares
    for k in range(n):
        shares[k].rest = money_share_rest(total, shares[k].weight, whole, &shares[k].part)
        given += shares[k].part
    qsort(shares, n, sizeof(share_t), larger_rest)
    k = 0
    while given < total:
        shares[k].part += 1
        given += 1
        k += 1
    qsort(shares, n, sizeof(share_t), by_account)
    for k in range(n):
        transfer(r, shares[k].account, debtor, shares[k].part, WHY_SOCIALISED, turn, NO_INSTRUMENT)
    return total


cdef inline void serve_shortfall(run_t* r, int32_t a, int64_t turn, liquidation_t* l) noexcept nogil:
    """Bring a flat account's negative balance to zero: the stages in order, then the deficit. What the fund may not pay before the next
    step is left for it."""
    cdef account_t* account = &r.accounts[a]
    cdef wide_t has
    cdef int64_t owed, paid
    cdef int k
    l.shortfall = -account.balance
    for k in range(r.rules.shortfall_n):
        owed = -account.balance
        if r.rules.shortfall[k] == PAYER_SOCIALISE:
            paid = socialise(r, a, owed, turn)
            l.socialised += paid
            r.totals.socialised = wide_add(r.totals.socialised, wide_of(paid))
            continue
        has = fund_has(r) if r.rules.shortfall[k] == PAYER_FUND else r.system[VAULT]
        paid = owed
        if wide_cmp(has, wide_of(owed)) < 0:
            paid = wide_low(has) if wide_sign(has) > 0 else 0
        if r.rules.shortfall[k] != PAYER_FUND:
            transfer(r, VAULT, a, paid, WHY_SHORTFALL, turn, NO_INSTRUMENT)
            l.vault += paid
            continue
        fund_pays(r, a, paid, WHY_SHORTFALL, NO_INSTRUMENT, l)
        if paid < owed and fund_waits(r):
            return
    l.deficit = -account.balance
    transfer(r, DEFICIT, a, -account.balance, WHY_SHORTFALL, turn, NO_INSTRUMENT)


cdef inline void settle_flat(run_t* r, int32_t a, int64_t turn, liquidation_t* l) noexcept nogil:
    """A flat account: serve what it owes, or hand on what it has left."""
    cdef account_t* account = &r.accounts[a]
    if account.balance < 0:
        if not holds_collateral(r, a):      # what could not be sold still stands for the debt
            serve_shortfall(r, a, turn, l)
    elif account.balance > 0:
        l.surplus = account.balance
        if r.rules.surplus != TO_ACCOUNT:
            transfer(r, a, receiver(r.rules.surplus), account.balance, WHY_SURPLUS, turn, NO_INSTRUMENT)
    sweep(r, a, turn)
