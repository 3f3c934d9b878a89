"""One account's turn: its orders, the book, then whoever stands behind it - fund, vault, deleveraging, sharers, deficit."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport qsort
from libc.string cimport memset

from cascade._breakers cimport account_waits, begin_order, end_order
from cascade._book cimport book_lots, book_owner_first, book_owner_next, book_price
from cascade._deleverage cimport ranked_t, ranking_next, ranking_ready, ranking_t
from cascade._ledger cimport party_of, party_t, trade, transfer
from cascade._margin cimport (
    magnitude,
    mark_value,
    row_maintenance,
    standing_of,
    standing_shadow,
    standing_t,
    standing_unhealthy,
    trade_value,
)
from cascade._run cimport (
    ADL_AT_BANKRUPTCY,
    ADL_AT_INDEX,
    ADL_AT_PREVIOUS_MARK,
    DEFICIT,
    EVENT_ADL,
    EVENT_CANCEL,
    EVENT_ORDER,
    EVENT_RECOVERED,
    EVENT_TAKEOVER,
    EVENT_TURN,
    FEES,
    FUND,
    FUND_WALK_ORDER,
    LEFT_BANDED,
    LEFT_BEYOND_DATA,
    LEFT_CLOSED,
    LEFT_FLAT,
    LEFT_HALTED,
    LEFT_STRANDED,
    LIQUIDATION_ORDER,
    MODE_ISOLATED,
    NO_INSTRUMENT,
    PAYER_FUND,
    PAYER_SOCIALISE,
    RECORD_SUMMARY,
    SCRATCH_ITEM,
    STAGE_FUND_WALK,
    STAGE_VAULT,
    STUCK,
    VAULT,
    WHY_GAP,
    WHY_LIQUIDATION_FEE,
    WHY_SHORTFALL,
    WHY_SOCIALISED,
    WHY_SURPLUS,
    WHY_SWEEP,
    account_t,
    case_t,
    context_begin,
    emit,
    instrument_t,
    liquidation_t,
    row_t,
    run_room,
    run_t,
    terms_t,
    waiting_t,
    wave_t,
)
from cascade._pool cimport idmap_get, idmap_put, idmap_reserve
from cascade._trade cimport cancel_order, fill, gives_way, next_maker, walk, walked_t, what_stops, widest_limit
from cascade._types cimport (
    ERR_MEMORY,
    OK,
    REASON_BANDED,
    REASON_BEYOND_DATA,
    REASON_HALTED,
    REASON_IOC,
    REASON_NONE,
    REASON_OWNER,
)
from cascade._watch cimport gather_taken
from cascade._wide cimport (
    money_price,
    money_rate_up,
    money_share_floor,
    money_share_rest,
    wide_add,
    wide_cmp,
    wide_low,
    wide_of,
    wide_sign,
    wide_sub,
    wide_t,
)


# One position on its way out. The first k of its lots are worth floor(value * k / lots): its bankruptcy value, fixed when its order is
# sent, so that any split over fills, gap walk, vault and deleveraging adds up to the same.
ctypedef struct closing_t:
    liquidation_t* record
    party_t party
    int64_t lots            # all, positive
    int64_t value           # signed, of the closing trade that leaves equity 0
    int64_t done            # lots handed out
    int64_t left            # lots open
    int32_t instrument
    int side                # of the closing trade
    bint has_price          # a positive price implies `value`
    int stop                # REASON_...: what keeps the lots left from being served now, REASON_NONE if nothing does


cdef inline int64_t closing_worth(const closing_t* c, int64_t k) noexcept nogil:
    """Value of the next k lots."""
    return money_share_floor(c.value, c.done + k, c.lots) - money_share_floor(c.value, c.done, c.lots)


# -- counting --------------------------------------------------------------------------------------------------------


cdef inline wave_t* wave_row(run_t* r, int32_t wave, int i) noexcept nogil:
    """The totals of (wave, instrument), made if need be; NULL (and the run void) without memory."""
    cdef int32_t k = idmap_get(&r.wave_index, <int64_t>wave * 65536 + i)
    if k < 0:
        if not run_room(r, <void**>&r.waves, &r.waves_cap, r.waves_n + 1, sizeof(wave_t)):
            return NULL
        if idmap_reserve(&r.wave_index, r.waves_n + 1) != OK:
            r.error = ERR_MEMORY
            return NULL
        k = r.waves_n
        r.waves_n += 1
        idmap_put(&r.wave_index, <int64_t>wave * 65536 + i, k)
        memset(&r.waves[k], 0, sizeof(wave_t))
        r.waves[k].wave = wave
        r.waves[k].instrument = i
    return &r.waves[k]


cdef inline void count_wave(run_t* r, int32_t wave, int i, int64_t lots, int64_t notional, int accounts) noexcept nogil:
    """Add to the totals of (wave, instrument); its price is the mark after the last addition."""
    cdef wave_t* w = wave_row(r, wave, i)
    if w == NULL:
        return
    w.accounts += accounts
    w.lots += lots
    w.notional = wide_add(w.notional, wide_of(notional))
    w.mark = r.instruments[i].shadow


cdef inline void count_liquidation(run_t* r, const liquidation_t* l) noexcept nogil:
    """Add one closing to the totals: first order is wave 1 but for who was unhealthy before the shock."""
    cdef wide_t notional = wide_of(l.closed_value)
    cdef int64_t lots = magnitude(l.quantity) - l.left
    count_wave(r, l.wave, l.instrument, lots, l.closed_value, lots > 0)
    r.totals.notional = wide_add(r.totals.notional, notional)
    if l.cause == -2:
        r.totals.initial = wide_add(r.totals.initial, notional)
    elif l.wave == 1:
        r.totals.first = wide_add(r.totals.first, notional)
    else:
        r.totals.higher = wide_add(r.totals.higher, notional)


# -- money -----------------------------------------------------------------------------------------------------------


cdef inline bint account_flat(const run_t* r, int32_t a) noexcept nogil:
    cdef int32_t k = r.accounts[a].first_row, end = r.accounts[a].first_row + r.accounts[a].rows_n
    while k < end:
        if r.rows[k].lots != 0:
            return False
        k += 1
    k = r.accounts[a].extra_row
    while k >= 0:
        if r.rows[k].lots != 0:
            return False
        k = r.rows[k].next
    return True


cdef inline void sweep(run_t* r, int32_t a, int64_t turn) noexcept nogil:
    """An isolated account once flat goes to its owner; what it owes is served by a turn of its own, never by the owner."""
    if a >= r.first_user and r.accounts[a].mode == MODE_ISOLATED and r.accounts[a].balance > 0 and account_flat(r, a):
        transfer(r, a, r.accounts[a].parent, r.accounts[a].balance, WHY_SWEEP, turn, NO_INSTRUMENT)


# A share of a loss.
ctypedef struct share_t:
    wide_t rest             # remainder of the division
    int64_t equity
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
    """Share a loss over all accounts in proportion to their positive equity, by largest remainder; what was shared."""
    cdef share_t* shares
    cdef standing_t s
    cdef wide_t whole = wide_of(0)
    cdef int64_t total = owed, given = 0
    cdef int32_t a, n = 0, k
    for a in range(r.first_user, r.accounts_n):
        if a == debtor:
            continue
        s = standing_of(r, a)
        if s.equity <= 0:
            continue
        if not run_room(r, &r.shares, &r.shares_cap, n + 1, SCRATCH_ITEM):
            return 0
        shares = <share_t*>r.shares
        shares[n].account = a
        shares[n].equity = s.equity
        whole = wide_add(whole, wide_of(s.equity))
        n += 1
    if wide_cmp(whole, wide_of(total)) < 0:
        total = wide_low(whole)
    if total == 0:
        return 0
    shares = <share_t*>r.shares
    for k in range(n):
        shares[k].rest = money_share_rest(total, shares[k].equity, whole, &shares[k].part)
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
    """Bring a flat account's negative balance to zero: the stages in order, then the deficit."""
    cdef account_t* account = &r.accounts[a]
    cdef int k, source
    cdef int64_t owed, paid
    l.shortfall = -account.balance
    for k in range(r.rules.shortfall_n):
        owed = -account.balance
        if r.rules.shortfall[k] == PAYER_SOCIALISE:
            paid = socialise(r, a, owed, turn)
            l.socialised += paid
            r.totals.socialised = wide_add(r.totals.socialised, wide_of(paid))
            continue
        source = FUND if r.rules.shortfall[k] == PAYER_FUND else VAULT
        paid = owed
        if wide_cmp(r.system[source], wide_of(owed)) < 0:
            paid = wide_low(r.system[source]) if wide_sign(r.system[source]) > 0 else 0
        transfer(r, source, a, paid, WHY_SHORTFALL, turn, NO_INSTRUMENT)
        if source == FUND:
            l.fund += paid
        else:
            l.vault += paid
    l.deficit = -account.balance
    transfer(r, DEFICIT, a, -account.balance, WHY_SHORTFALL, turn, NO_INSTRUMENT)


cdef inline void settle_flat(run_t* r, int32_t a, int64_t turn, liquidation_t* l) noexcept nogil:
    """A flat account: serve what it owes, or hand on what it has left."""
    cdef account_t* account = &r.accounts[a]
    if account.balance < 0:
        serve_shortfall(r, a, turn, l)
    elif account.balance > 0:
        l.surplus = account.balance
        if r.rules.surplus_to_fund:
            transfer(r, a, FUND, account.balance, WHY_SURPLUS, turn, NO_INSTRUMENT)
    sweep(r, a, turn)


cdef inline int64_t liquidation_fee(run_t* r, int32_t a, const closing_t* c) noexcept nogil:
    """min(rate * notional closed, what equity is left), to the fund or the venue."""
    cdef int64_t rate = r.terms[c.instrument].liquidation_fee, amount
    cdef standing_t s
    if rate == 0:
        return 0
    amount = money_rate_up(rate, c.record.closed_value)
    s = standing_of(r, a)
    if amount > s.equity:
        amount = s.equity if s.equity > 0 else 0
    transfer(
        r, a, FEES if r.rules.fee_to_venue else FUND, amount, WHY_LIQUIDATION_FEE, c.record.seq, c.instrument
    )
    return amount


# -- residual lots ---------------------------------------------------------------------------------------------------


cdef inline void cancel_rest(run_t* r, const closing_t* c, int64_t order) noexcept nogil:
    """Record that the unfilled rest of a liquidation order is taken off."""
    if c.left > 0:
        emit(
            r, EVENT_CANCEL, c.instrument, c.party.account, -1, c.side * c.left, 0, 0, order,
            c.stop if c.stop != REASON_NONE else REASON_IOC,
        )
    end_order(r, c.instrument, c.side, c.left, c.stop, order)


cdef inline int left_status(const closing_t* c) noexcept nogil:
    """What became of the lots that are left."""
    if c.left == 0:
        return LEFT_CLOSED
    if c.stop == REASON_NONE:
        return LEFT_STRANDED
    return LEFT_BEYOND_DATA if c.stop == REASON_BEYOND_DATA else LEFT_BANDED if c.stop == REASON_BANDED else LEFT_HALTED


cdef inline int left_before(int status) noexcept nogil:
    """Which status names an account: lots that wait first, then by number."""
    return status - LEFT_HALTED - 1 if status == LEFT_BANDED or status == LEFT_HALTED else status


cdef inline bint fund_pays(const run_t* r, const closing_t* c, int64_t k, int64_t price) noexcept nogil:
    """Whether the fund can pay the gap of the next k lots at this price."""
    cdef int64_t gap = trade_value(&r.terms[c.instrument], c.side * k, price) - closing_worth(c, k)
    return wide_cmp(wide_of(gap), r.system[FUND]) <= 0


cdef inline int64_t affordable(const run_t* r, const closing_t* c, int64_t lots, int64_t price) noexcept nogil:
    """The most lots, up to `lots`, whose gap at this price the fund can pay."""
    cdef int64_t yes = 0, no = lots, mid
    if fund_pays(r, c, lots, price):
        return lots
    while no - yes > 1:
        mid = yes + (no - yes) // 2
        if fund_pays(r, c, mid, price):
            yes = mid
        else:
            no = mid
    return yes


cdef inline void fund_walk(run_t* r, closing_t* c) noexcept nogil:
    """Walk on below the bankruptcy price while the fund can pay each lot's gap whole."""
    cdef int i = c.instrument
    cdef int64_t limit = widest_limit(c.side), wanted, k, worth, value, gap, price
    cdef int64_t order = emit(
        r, EVENT_ORDER, i, c.party.account, -1, c.side * c.left, 0, 0, c.record.seq, FUND_WALK_ORDER
    )
    cdef uint32_t maker
    cdef bint stopped = False
    begin_order(r, i)
    while c.left > 0 and not stopped and r.error == 0:
        maker = next_maker(r, i, c.side, limit)
        if maker == 0:
            break
        if gives_way(r, i, c.party.account, maker, order):
            continue
        wanted = book_lots(&r.books[i], maker)
        price = book_price(&r.books[i], maker)
        if wanted > c.left:
            wanted = c.left
        k = affordable(r, c, wanted, price)
        stopped = k < wanted
        if k == 0:
            break
        worth = closing_worth(c, k)
        value = fill(r, i, c.party, maker, c.side * k, order, c.record.seq, FUND_WALK_ORDER, False)
        gap = value - worth if value > worth else 0
        transfer(r, FUND, c.party.account, gap, WHY_GAP, c.record.seq, i)
        c.done += k
        c.left -= k
        c.record.fund += gap
        c.record.filled += k
        c.record.filled_value += value
        c.record.closed_value += magnitude(value)
    c.stop = REASON_NONE
    if c.left > 0 and (not stopped or r.instruments[i].halted_until != 0):
        c.stop = what_stops(r, i, c.side, limit)
    cancel_rest(r, c, order)


cdef inline wide_t vault_equity(const run_t* r) noexcept nogil:
    """The vault's equity at the marks in force."""
    cdef wide_t equity = r.system[VAULT]
    cdef const instrument_t* ins
    cdef int i
    for i in range(r.instruments_n):
        ins = &r.instruments[i]
        if ins.vault_lots != 0:
            equity = wide_add(equity, wide_of(mark_value(&r.terms[i], ins.vault_lots, ins.mark) - ins.vault_basis))
    return equity


cdef inline void vault_takes(run_t* r, closing_t* c) noexcept nogil:
    """The vault takes all residual lots at their bankruptcy value if its equity at the marks stays positive."""
    cdef int i = c.instrument
    cdef instrument_t* ins = &r.instruments[i]
    cdef const terms_t* t = &r.terms[i]
    cdef int64_t lots = c.side * c.left
    cdef int64_t value = closing_worth(c, c.left) if c.has_price else mark_value(t, lots, ins.mark)
    cdef int64_t change = mark_value(t, ins.vault_lots - lots, ins.mark) + value
    if ins.vault_lots != 0:
        change -= mark_value(t, ins.vault_lots, ins.mark)
    if wide_sign(wide_add(vault_equity(r), wide_of(change))) <= 0:
        return
    trade(
        r, EVENT_TAKEOVER, c.party, party_of(r, VAULT, i, 0), i, lots, value, 0, c.record.seq, c.record.seq, 0
    )
    c.record.takeover += c.left
    c.record.closed_value += magnitude(value)
    r.totals.takeover = wide_add(r.totals.takeover, wide_of(magnitude(value)))
    c.done += c.left
    c.left = 0


cdef inline void deleverage(run_t* r, closing_t* c) noexcept nogil:
    """Close residual lots against the highest ranked accounts of the other side, by contracts."""
    cdef int i = c.instrument
    cdef instrument_t* ins = &r.instruments[i]
    cdef ranking_t* g = ranking_ready(r, i, c.side)
    cdef ranked_t item
    cdef ranked_t* matched
    cdef int64_t need = c.left, total, value, served = 0, part, k, at
    cdef int32_t n = 0, j, seen = -1
    cdef party_t other
    # All candidates are chosen, by rank as it stands, before the first of them is settled.
    while need > 0 and ranking_next(r, g, c.party.account, seen, &item):
        if not run_room(r, &r.shares, &r.shares_cap, n + 1, SCRATCH_ITEM):
            return
        matched = <ranked_t*>r.shares
        matched[n] = item
        n += 1
        seen = item.row
        need -= magnitude(r.rows[item.row].lots)
    if n == 0:
        return
    total = c.left - need if need > 0 else c.left
    if r.rules.adl_price == ADL_AT_BANKRUPTCY and c.has_price:
        value = closing_worth(c, total)
    else:
        at = ins.mark
        if r.rules.adl_price == ADL_AT_INDEX and ins.index_1024 > 0:
            at = ins.index_1024
        elif r.rules.adl_price == ADL_AT_PREVIOUS_MARK:
            at = ins.previous_mark
        value = mark_value(&r.terms[i], c.side * total, at)
    for j in range(n):
        matched = <ranked_t*>r.shares
        other.account = matched[j].account
        other.row = matched[j].row
        k = magnitude(r.rows[other.row].lots)
        if k > total - served:
            k = total - served
        part = money_share_floor(value, served + k, total) - money_share_floor(value, served, total)
        served += k
        trade(r, EVENT_ADL, c.party, other, i, c.side * k, part, 0, c.record.seq, c.record.seq, 0)
        sweep(r, other.account, c.record.seq)
        r.totals.adl = wide_add(r.totals.adl, wide_of(magnitude(part)))
        c.record.closed_value += magnitude(part)
    c.record.adl += total
    c.done += total
    c.left -= total


# -- the turn --------------------------------------------------------------------------------------------------------


cdef inline liquidation_t* record_begin(
    run_t* r, int32_t a, int64_t turn, const case_t* case, const standing_t* s, liquidation_t* spare
) noexcept nogil:
    """A new row of the liquidations, with the account's standing; in a summary run the caller's spare one."""
    cdef liquidation_t* l = spare
    r.records_n += 1
    if r.record != RECORD_SUMMARY and run_room(
        r, <void**>&r.liquidations, &r.liquidations_cap, r.liquidations_n + 1, sizeof(liquidation_t)
    ):
        l = &r.liquidations[r.liquidations_n]
        r.liquidations_n += 1
    memset(l, 0, sizeof(liquidation_t))
    l.seq = turn
    l.time_ns = r.time_ns
    l.cause = case.cause
    l.cause_row = case.cause_row if case.cause >= 0 else -1
    l.account = a
    l.instrument = -1
    l.step = r.step
    l.wave = r.wave
    l.equity = s.equity
    l.maintenance = s.maintenance
    l.status = LEFT_FLAT
    return l


cdef inline void close_position(run_t* r, int32_t a, int32_t k, liquidation_t* l) noexcept nogil:
    """Send one order for a whole position; what the book does not take goes through the residual stages."""
    cdef row_t* row = &r.rows[k]
    cdef int i = row.instrument, stage
    cdef const terms_t* t = &r.terms[i]
    cdef closing_t c
    cdef int64_t limit, order, turn = l.seq
    cdef wide_t fees = r.taker_fees
    cdef walked_t w
    cdef bint limited = r.rules.bankruptcy_price
    l.instrument = i
    l.slot = row.slot
    l.mark = r.instruments[i].mark
    l.value = mark_value(t, row.lots, l.mark)
    l.row_maintenance = row_maintenance(r, row, l.mark)
    l.quantity = -row.lots
    l.bankruptcy_value = l.equity - l.value
    c.record = l
    c.party.account = a
    c.party.row = k
    c.instrument = i
    c.side = 1 if row.lots < 0 else -1
    c.lots = magnitude(row.lots)
    c.value = l.bankruptcy_value
    c.done = 0
    # A buy of a linear contract has positive value, of an inverse one negative.
    c.has_price = c.value != 0 and ((c.value > 0) == (c.side > 0)) == (t.contract == 0)
    limit = widest_limit(c.side)
    if limited and c.has_price:
        limit = money_price(t.contract, c.lots, magnitude(c.value), t.coef_num, t.coef_den, c.side < 0)
    elif limited:
        # Without a positive implied price the limit clamps to where it lies: at or below 0, or (inverse) beyond infinity.
        limit = 1 if t.contract == 0 else widest_limit(1)
    order = emit(
        r, EVENT_ORDER, i, a, -1, l.quantity, limit * 1024 if limited else 0, 0, turn, LIQUIDATION_ORDER
    )
    context_begin(r, order, r.wave, r.records_n - 1)
    w = walk(r, i, c.party, l.quantity, limit, order, turn, LIQUIDATION_ORDER)
    c.left = w.left
    c.stop = w.stop
    c.done = c.lots - w.left
    cancel_rest(r, &c, order)
    l.filled = c.done
    l.filled_value = w.value
    l.closed_value = magnitude(w.value)
    for stage in range(r.rules.residual_n):
        if c.left == 0 or c.stop != REASON_NONE or r.error != 0:
            break
        if r.rules.residual[stage] == STAGE_FUND_WALK:
            if limited and c.has_price and wide_sign(r.system[FUND]) != 0:
                fund_walk(r, &c)
        elif r.rules.residual[stage] == STAGE_VAULT:
            vault_takes(r, &c)
        else:
            deleverage(r, &c)
    l.fee = wide_low(wide_sub(r.taker_fees, fees)) + liquidation_fee(r, a, &c)
    l.left = c.left
    l.status = left_status(&c)
    count_liquidation(r, l)


cdef inline void cancel_all(run_t* r, int32_t a, int64_t turn) noexcept nogil:
    """Take the account's resting orders off, instrument by instrument, oldest first."""
    cdef int i
    cdef uint32_t h, following
    for i in range(r.instruments_n):
        h = book_owner_first(&r.books[i], a)
        while h != 0:
            following = book_owner_next(&r.books[i], h)
            cancel_order(r, i, h, turn, REASON_OWNER)
            h = following


cdef inline void note_health(run_t* r, int32_t a, case_t* case) noexcept nogil:
    """After its turn: the account is healthy again if it is so at the frozen marks and at the shadow marks, where causes are looked
    for; else it keeps its cause."""
    cdef standing_t s = standing_of(r, a)
    if standing_unhealthy(r, &s):
        return
    s = standing_shadow(r, a)
    if not standing_unhealthy(r, &s):
        case.healthy_at = r.seq
        case.open = False


cdef inline bint turn(run_t* r, const waiting_t* waiting) noexcept nogil:
    """Liquidate one account as far as the rules go; False when it has recovered meanwhile."""
    cdef int32_t a = waiting.account, n, k
    cdef case_t* case = &r.cases[r.accounts[a].turn_case]
    cdef standing_t s = standing_of(r, a)
    cdef liquidation_t spare
    cdef liquidation_t* l = NULL
    cdef int64_t seq, changes = r.changes
    cdef int worst = 0
    cdef bint all_beyond = True
    case.turn_step = r.step
    case.last_wave = r.wave
    if not standing_unhealthy(r, &s):
        emit(r, EVENT_RECOVERED, NO_INSTRUMENT, a, -1, 0, 0, s.equity, waiting.seq, 0)
        r.totals.recovered += 1
        note_health(r, a, case)
        return False
    if account_waits(r, a):
        case.left = LEFT_HALTED
        return False
    seq = emit(r, EVENT_TURN, NO_INSTRUMENT, a, -1, 0, 0, s.equity, waiting.seq, 0)
    context_begin(r, seq, r.wave, r.records_n)
    if r.rules.cancel_orders:
        cancel_all(r, a, seq)
    n = gather_taken(r, a)
    for k in range(n):
        # Scratch is used again below only by those who fill it themselves; the order of positions is kept in `taken`.
        if not run_room(r, <void**>&r.taken, &r.taken_cap, n, sizeof(int32_t)):
            return True
        r.taken[k] = r.scratch[k].next
    for k in range(n):
        if k > 0:
            s = standing_of(r, a)
            if not r.rules.size_all and not standing_unhealthy(r, &s):
                break
        if r.rows[r.taken[k]].lots == 0 or r.error != 0:
            continue
        if r.instruments[r.rows[r.taken[k]].instrument].halted_until != 0:
            worst = LEFT_HALTED if worst == 0 or left_before(LEFT_HALTED) < left_before(worst) else worst
            all_beyond = False
            continue
        l = record_begin(r, a, seq, case, &s, &spare)
        close_position(r, a, r.taken[k], l)
        if not case.counted and l.left < magnitude(l.quantity):
            case.counted = True
            r.totals.accounts += 1
        if l.left > 0:
            worst = l.status if worst == 0 or left_before(l.status) < left_before(worst) else worst
            all_beyond = all_beyond and l.status == LEFT_BEYOND_DATA
    if l == NULL:
        l = record_begin(r, a, seq, case, &s, &spare)
        if not account_flat(r, a):
            l.status = LEFT_HALTED
    case.left = 0
    if account_flat(r, a):
        settle_flat(r, a, seq, l)   # owes nothing any more: healthy at any mark
        case.healthy_at = r.seq
        case.open = False
        return True
    note_health(r, a, case)
    s = standing_of(r, a)
    if standing_unhealthy(r, &s):
        if r.changes == changes:
            case.idle_changes = changes
            case.idle_marks = r.marks_version
            r.any_stuck = True
        case.left = <uint8_t>worst
        if worst != 0 and all_beyond:
            r.accounts[a].state |= STUCK
            r.any_stuck = True
    return True
