"""One position on its way out: its record, what it is worth at bankruptcy handed out lot by lot, and the counting."""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from cascade._ledger cimport party_t
from cascade._margin cimport bankrupt_begin, bankrupt_first, bankrupt_t, magnitude, mark_value, standing_t
from cascade._pool cimport idmap_get, idmap_put, idmap_reserve
from cascade._run cimport (
    COUNTED,
    LEFT_BANDED,
    LEFT_BEYOND_DATA,
    LEFT_CLOSED,
    LEFT_FLAT,
    LEFT_HALTED,
    LEFT_STRANDED,
    RECORD_SUMMARY,
    account_t,
    case_t,
    liquidation_t,
    row_t,
    run_room,
    run_t,
    wave_t,
)
from cascade._types cimport ERR_MEMORY, OK, REASON_BANDED, REASON_BEYOND_DATA, REASON_NONE
from cascade._wide cimport wide_add, wide_of, wide_t


# One position on its way out. Its bankruptcy value is fixed when its order is sent, so that any split over fills, gap walk, vault and
# deleveraging adds up to the same, for a part of it as for all of it.
ctypedef struct closing_t:
    liquidation_t* record
    party_t party
    int64_t lots            # all of the position, positive
    int64_t value           # signed, of the closing trade of all lots that leaves equity 0
    bankrupt_t bankrupt     # what parts of it are worth
    int64_t done            # lots handed out
    int64_t left            # lots open of those that the order is for
    int64_t worth_of_fills  # of the lots that were traded in the book
    int32_t instrument
    int side                # of the closing trade
    bint has_price          # a positive price implies `value`
    int stop                # REASON_...: what keeps the lots left from being served now, REASON_NONE if nothing does


cdef inline int64_t closing_worth(const run_t* r, const closing_t* c, int64_t k) noexcept nogil:
    """Value of the next k lots."""
    return bankrupt_first(r, &c.bankrupt, c.done + k) - bankrupt_first(r, &c.bankrupt, c.done)


cdef inline bint implied_price_exists(int contract, int side, int64_t value) noexcept nogil:
    """Whether some positive price gives a trade on `side` this signed value: of a linear contract a buy's is positive, of an inverse one
    negative."""
    return value != 0 and ((value > 0) == (side > 0)) == (contract == 0)


cdef inline closing_t closing_begin(const run_t* r, int32_t a, int32_t k, int64_t lots, liquidation_t* l) noexcept nogil:
    """Begin to close `lots` of row k, and say so in its record."""
    cdef const row_t* row = &r.rows[k]
    cdef standing_t s   # as the record has it: it was begun just now
    cdef closing_t c
    l.instrument = row.instrument
    l.slot = row.slot
    l.mark = r.instruments[row.instrument].mark
    s.equity = l.equity
    s.maintenance = l.maintenance
    s.balance = r.accounts[a].balance
    s.flat = False
    c.bankrupt = bankrupt_begin(r, row, &s, l.mark)
    l.value = c.bankrupt.value
    l.row_maintenance = c.bankrupt.needed
    l.held = row.lots
    l.quantity = -lots if row.lots > 0 else lots
    l.bankruptcy_value = c.bankrupt.whole
    c.record = l
    c.party.account = a
    c.party.row = k
    c.instrument = row.instrument
    c.side = 1 if row.lots < 0 else -1
    c.lots = magnitude(row.lots)
    c.value = l.bankruptcy_value
    c.done = 0
    c.left = lots
    c.worth_of_fills = 0
    c.has_price = implied_price_exists(r.terms[row.instrument].contract, c.side, c.value)
    c.stop = REASON_NONE
    return c


cdef inline closing_t holding_begin(const run_t* r, int32_t a, int32_t k, int64_t lots, liquidation_t* l) noexcept nogil:
    """Begin to give up `lots` of the collateral in row k, and say so in its record. It has no bankruptcy value."""
    cdef const row_t* row = &r.rows[k]
    cdef closing_t c
    memset(&c, 0, sizeof(closing_t))
    l.instrument = row.instrument
    l.slot = row.slot
    l.mark = r.instruments[row.instrument].mark
    l.value = mark_value(&r.terms[row.instrument], row.lots, l.mark)
    l.held = row.lots
    l.quantity = -lots
    c.record = l
    c.party.account = a
    c.party.row = k
    c.instrument = row.instrument
    c.side = -1
    c.lots = row.lots
    c.left = lots
    c.stop = REASON_NONE
    return c


cdef inline int left_status(const closing_t* c) noexcept nogil:
    """What became of the lots that are left."""
    if c.left == 0:
        return LEFT_CLOSED
    if c.stop == REASON_NONE:
        return LEFT_STRANDED
    return LEFT_BEYOND_DATA if c.stop == REASON_BEYOND_DATA else LEFT_BANDED if c.stop == REASON_BANDED else LEFT_HALTED


cdef inline liquidation_t* record_new(
    run_t* r, int32_t a, int64_t turn, int64_t cause, int32_t cause_row, const standing_t* s, liquidation_t* spare
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
    l.cause = cause
    l.cause_row = cause_row if cause >= 0 else -1
    l.account = a
    l.instrument = -1
    l.step = r.step
    l.wave = r.wave
    l.equity = s.equity
    l.maintenance = s.maintenance
    l.status = LEFT_FLAT
    return l


cdef inline liquidation_t* record_begin(
    run_t* r, int32_t a, int64_t turn, const case_t* case, const standing_t* s, liquidation_t* spare
) noexcept nogil:
    """The same, for an account with a case."""
    return record_new(r, a, turn, case.cause, case.cause_row, s, spare)


# -- counting --------------------------------------------------------------------------------------------------------


cdef inline wave_t* wave_row(run_t* r, int32_t wave, int i) noexcept nogil:
    """The totals of (wave, instrument), made if need be; NULL (and the run void) without memory."""
    cdef int32_t k
    if r.instruments[i].counted_wave == wave:
        return &r.waves[r.instruments[i].counted_row]
    k = idmap_get(&r.wave_index, <int64_t>wave * 65536 + i)
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
    r.instruments[i].counted_wave = wave
    r.instruments[i].counted_row = k
    return &r.waves[k]


cdef inline void count_wave_wide(run_t* r, int32_t wave, int i, int64_t lots, wide_t notional, int accounts) noexcept nogil:
    """Add to the totals of (wave, instrument); its price is the mark after the last addition."""
    cdef wave_t* w = wave_row(r, wave, i)
    if w == NULL:
        return
    w.accounts += accounts
    w.lots += lots
    w.notional = wide_add(w.notional, notional)
    w.mark = r.instruments[i].shadow


cdef inline void count_wave(run_t* r, int32_t wave, int i, int64_t lots, int64_t notional, int accounts) noexcept nogil:
    """The same of what one account closed."""
    count_wave_wide(r, wave, i, lots, wide_of(notional), accounts)


cdef inline void count_liquidation(run_t* r, const liquidation_t* l) noexcept nogil:
    """Add one closing to the totals: first order is wave 1 but for who was unhealthy before the shock."""
    cdef wide_t notional = wide_of(l.closed_value)
    cdef int64_t lots = magnitude(l.quantity) - l.left
    cdef account_t* account = &r.accounts[l.account]
    if lots > 0 and not account.state & COUNTED:
        account.state |= COUNTED
        r.totals.accounts += 1
    count_wave(r, l.wave, l.instrument, lots, l.closed_value, lots > 0)
    r.totals.notional = wide_add(r.totals.notional, notional)
    if l.cause == -2:
        r.totals.initial = wide_add(r.totals.initial, notional)
    elif l.wave == 1:
        r.totals.first = wide_add(r.totals.first, notional)
    else:
        r.totals.higher = wide_add(r.totals.higher, notional)
