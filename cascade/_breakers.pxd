"""Price bands and circuit breakers: where an order must stop, and when matching halts and goes on."""

from libc.stdint cimport INT64_MAX, int32_t, int64_t

from cascade._run cimport (
    BAND_INDEX,
    BAND_MARK,
    BAND_MEAN,
    BAND_RANGE,
    EVENT_HALT,
    EVENT_RESUME,
    HOLDS_COLLATERAL,
    ROUND_NEAREST,
    ROUND_VARIANT,
    band_t,
    emit,
    extra_of,
    instant_t,
    instrument_t,
    market_level_t,
    row_after,
    run_room,
    run_t,
)
from cascade._types cimport REASON_BANDED, REASON_HALTED, REASON_NONE
from cascade._wide cimport half_up, money_share_floor, share_capped, wide_add, wide_mean, wide_of


cdef enum:
    FENCE_TOP_BITS = 53     # the highest price is 2**53 - 1 ticks

cdef enum:
    RATE_ONE = 1000000000000


# -- limits ----------------------------------------------------------------------------------------------------------


cdef inline int64_t band_reach(const band_t* b, int64_t reference, bint* by_rate) noexcept nogil:
    """How far a band reaches in 1/1024 tick, rounded down, and whether the rate decides it."""
    cdef int64_t reach
    by_rate[0] = False
    if b.rate >= 0:
        reach = share_capped(reference, b.rate, RATE_ONE)
        if b.amount < 0 or reach < b.amount:
            by_rate[0] = True
            return reach
    return b.amount


cdef inline int64_t lower_limit(const band_t* b, int64_t reference) noexcept nogil:
    """Lowest price in ticks that a band allows around a reference in 1/1024 tick; 0 where it sets none."""
    cdef bint by_rate
    cdef int64_t reach, limit
    if not b.sides & 1 or reference <= 0:
        return 0
    reach = band_reach(b, reference, &by_rate)
    if b.rounding == ROUND_VARIANT:
        limit = -((-reference) >> 10) - (reach >> 10)
    elif by_rate and b.rounding == ROUND_NEAREST:
        limit = half_up(reference, RATE_ONE - b.rate, 1024 * <int64_t>RATE_ONE)
    elif by_rate:
        limit = -money_share_floor(-reference, RATE_ONE - b.rate, 1024 * <int64_t>RATE_ONE)
    elif b.rounding == ROUND_NEAREST:
        limit = (reference - reach + 512) >> 10
    else:
        limit = -((reach - reference) >> 10)
    return limit if limit > 0 else 0


cdef inline int64_t upper_limit(const band_t* b, int64_t reference) noexcept nogil:
    """Highest price in ticks that a band allows; that of all prices where it sets none."""
    cdef bint by_rate
    cdef int64_t reach, limit, top = (<int64_t>1 << FENCE_TOP_BITS) - 1
    if not b.sides & 2 or reference <= 0:
        return top
    reach = band_reach(b, reference, &by_rate)
    if b.rounding == ROUND_VARIANT:
        limit = (reference >> 10) + (reach >> 10)
    elif by_rate and b.rounding == ROUND_NEAREST:
        limit = half_up(reference, RATE_ONE + b.rate, 1024 * <int64_t>RATE_ONE)
    elif by_rate:
        limit = money_share_floor(reference, RATE_ONE + b.rate, 1024 * <int64_t>RATE_ONE)
    elif b.rounding == ROUND_NEAREST:
        limit = (reference >> 10) + (((reference & 1023) + reach + 512) >> 10)    # the sum of both might not fit
    else:
        limit = (reference >> 10) + (((reference & 1023) + reach) >> 10)
    return limit if limit < top else top


# -- references ------------------------------------------------------------------------------------------------------


# The prices of a window in 1/1024 tick; 0 where nothing was traded yet.
ctypedef struct window_t:
    int64_t low
    int64_t high
    int64_t mean


cdef inline window_t band_window(const run_t* r, int i, const band_t* b) noexcept nogil:
    """A band's window: its anchor counts as a trade; an empty window holds the last trade before it."""
    cdef const instant_t* instants = r.instants[i]
    cdef int64_t after = r.time_ns - b.window, n = 0, extra = 0
    cdef int32_t k = r.instants_n[i]
    cdef window_t w
    sum_ticks = wide_of(0)
    w.low = INT64_MAX
    w.high = 0
    while k > b.first and instants[k - 1].time_ns > after:
        k -= 1
        if instants[k].low * 1024 < w.low:
            w.low = instants[k].low * 1024
        if instants[k].high * 1024 > w.high:
            w.high = instants[k].high * 1024
        sum_ticks = wide_add(sum_ticks, instants[k].sum)
        n += instants[k].n
    if b.anchor and b.anchor_time > after:
        if b.anchor < w.low:
            w.low = b.anchor
        if b.anchor > w.high:
            w.high = b.anchor
        extra = b.anchor
        n += 1
    if n == 0:
        w.low = instants[r.instants_n[i] - 1].last * 1024 if r.instants_n[i] > b.first else b.anchor
        w.high = w.mean = w.low
        return w
    w.mean = wide_mean(sum_ticks, extra, n)
    return w


cdef inline void band_limits(const run_t* r, int i, const band_t* b, int64_t* low, int64_t* high) noexcept nogil:
    """The limits of a band now, in ticks."""
    cdef window_t w
    cdef int64_t middle = b.anchor
    if b.kind == BAND_RANGE:
        w = band_window(r, i, b)
        low[0] = lower_limit(b, w.high)
        high[0] = upper_limit(b, w.low)
        return
    if b.kind == BAND_MEAN:
        middle = b.mean if b.renew else band_window(r, i, b).mean
    elif b.kind == BAND_MARK:
        middle = r.instruments[i].shadow
    elif b.kind == BAND_INDEX:
        middle = r.instruments[i].index_1024
    low[0] = lower_limit(b, middle)
    high[0] = upper_limit(b, middle)


# Lowest and highest price at which an order may trade, and the bands that say so (-1: none).
ctypedef struct fence_t:
    int64_t low
    int64_t high
    int32_t low_by
    int32_t high_by


cdef inline fence_t fence_of(const run_t* r, int i) noexcept nogil:
    """What an order that comes now may not pass."""
    cdef const instrument_t* ins = &r.instruments[i]
    cdef fence_t f
    cdef int64_t low, high
    cdef int32_t k
    f.low = 0
    f.high = (<int64_t>1 << FENCE_TOP_BITS) - 1
    f.low_by = -1
    f.high_by = -1
    if ins.halted_until != 0:
        f.low = <int64_t>1 << FENCE_TOP_BITS
        f.high = 0
        return f
    for k in range(ins.bands_first, ins.bands_first + ins.bands_n):
        band_limits(r, i, &r.bands[k], &low, &high)
        if low > f.low:
            f.low = low
            f.low_by = k
        if high < f.high:
            f.high = high
            f.high_by = k
    return f


# -- halts -----------------------------------------------------------------------------------------------------------


cdef inline void halt(run_t* r, int i, int breaker, int64_t halt_ns, int64_t price_1024, int64_t cause) noexcept nogil:
    """Stop matching in an instrument, unless it is stopped for as long already."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef int64_t until = INT64_MAX if halt_ns == INT64_MAX else r.time_ns + halt_ns
    cdef int32_t k
    if until <= ins.halted_until:
        return
    ins.halted_until = until
    ins.low_fence = <int64_t>1 << FENCE_TOP_BITS
    ins.high_fence = 0
    for k in range(ins.bands_first, ins.bands_first + ins.bands_n):
        r.bands[k].limit_side = 0
    ins.halt_seq = emit(
        r, EVENT_HALT, i, -1, -1, -1 if until == INT64_MAX else until, price_1024, 0, cause, breaker
    )


cdef inline void watch_market(run_t* r, int i, int64_t cause) noexcept nogil:
    """Market-wide halts: after event `cause`, which may have moved the last price or index of i."""
    cdef market_level_t* level
    cdef int32_t k
    cdef int j
    cdef int64_t price
    for k in range(r.levels_n):
        level = &r.levels[k]
        if level.instrument != i or level.acted:
            continue
        price = r.instruments[i].last_ticks * 1024 if level.kind else r.instruments[i].index_1024
        if 0 < price <= level.threshold:
            level.acted = True
            for j in range(r.instruments_n):
                halt(r, j, level.breaker, level.halt, level.threshold, cause)


cdef inline void resume(run_t* r, int i) noexcept nogil:
    """The end of a halt: bands are around the last price."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef band_t* b
    cdef int32_t k
    ins.halted_until = 0
    emit(r, EVENT_RESUME, i, -1, -1, 0, 0, 0, ins.halt_seq, 0)
    for k in range(ins.bands_first, ins.bands_first + ins.bands_n):
        b = &r.bands[k]
        if b.recentre and ins.last_ticks:
            b.anchor = b.mean = ins.last_ticks * 1024
            b.anchor_time = b.renewed = r.time_ns
            b.first = r.instants_n[i]


cdef inline bint account_waits(const run_t* r, int32_t a) noexcept nogil:
    """Whether the account can have no turn: it has positions, all of them in halted instruments; or none, and the same of its collateral."""
    cdef int32_t k, end
    cdef bint waits = False
    if not r.rules.breakers:
        return False
    k = r.accounts[a].first_row
    end = k + r.accounts[a].rows_n
    while k < end:
        if r.rows[k].lots != 0:
            if r.instruments[r.rows[k].instrument].halted_until == 0:
                return False
            waits = True
        k += 1
    k = extra_of(r, a)
    while k >= 0:
        if r.rows[k].lots != 0:
            if r.instruments[r.rows[k].instrument].halted_until == 0:
                return False
            waits = True
        k = row_after(r, k)
    if not waits and r.accounts[a].flags & HOLDS_COLLATERAL:
        for k in range(r.holding_first[a], r.holding_first[a + 1]):
            if r.rows[k].lots != 0:
                if r.instruments[r.rows[k].instrument].halted_until == 0:
                    return False
                waits = True
    return waits


# -- orders ----------------------------------------------------------------------------------------------------------


cdef inline void begin_order(run_t* r, int i) noexcept nogil:
    """The limits for the order that comes now: they do not move while it trades."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef fence_t f
    if r.rules.breakers:
        f = fence_of(r, i)
        ins.low_fence = f.low
        ins.high_fence = f.high
        ins.low_by = f.low_by
        ins.high_by = f.high_by


cdef inline bint fence_allows(const run_t* r, int i, int64_t price) noexcept nogil:
    """Whether the order that is being dealt with may trade at a price."""
    return not r.rules.breakers or r.instruments[i].low_fence <= price <= r.instruments[i].high_fence


cdef inline bint rest_is_banded(const run_t* r, int i, int side, int64_t limit) noexcept nogil:
    """Whether an order may not rest: at its limit it would trade beyond the band."""
    if not r.rules.breakers:
        return False
    return limit > r.instruments[i].high_fence if side > 0 else limit < r.instruments[i].low_fence


cdef inline void end_order(run_t* r, int i, int side, int64_t left, int reason, int64_t order) noexcept nogil:
    """After an order: a limit that stopped it holds, or halts matching; one that did not holds no more."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef bint lower = r.stopped_side < 0
    cdef band_t* b
    cdef int32_t k
    if not r.rules.breakers or r.error != 0:
        return
    if reason == REASON_BANDED:
        b = &r.bands[ins.low_by if lower else ins.high_by]
        if b.halt < 0:
            return
        if b.limit == 0:
            halt(r, i, b.breaker, b.halt, (ins.low_fence if lower else ins.high_fence) * 1024, order)
        elif b.limit_side == 0:
            b.limit_side = r.stopped_side
            b.limit_since = r.time_ns
            b.limit_cause = order
    elif left == 0:
        for k in range(ins.bands_first, ins.bands_first + ins.bands_n):
            if r.bands[k].limit_side == side:
                r.bands[k].limit_side = 0


cdef inline void note_trade(run_t* r, int i, int64_t price) noexcept nogil:
    """Keep a trade for the windows."""
    cdef instant_t* x
    cdef int32_t n = r.instants_n[i]
    if not r.instruments[i].has_windows:
        return
    if n > 0 and r.instants[i][n - 1].time_ns == r.time_ns:
        x = &r.instants[i][n - 1]
        x.last = price
        if price < x.low:
            x.low = price
        if price > x.high:
            x.high = price
        x.sum = wide_add(x.sum, wide_of(price))
        x.n += 1
        return
    if not run_room(r, <void**>&r.instants[i], &r.instants_cap[i], n + 1, sizeof(instant_t)):
        return
    x = &r.instants[i][n]
    r.instants_n[i] += 1
    x.time_ns = r.time_ns
    x.low = x.high = x.last = price
    x.sum = wide_of(price)
    x.n = 1


# -- time ------------------------------------------------------------------------------------------------------------


cdef inline void let_time_pass(run_t* r, int64_t until) noexcept nogil:
    """What the breakers do up to a time, in its order, then by instrument: halts end, limits have held long enough."""
    cdef instrument_t* ins
    cdef band_t* b
    cdef int i, at
    cdef int32_t k, band
    cdef int64_t due, low, high
    while r.error == 0:
        due = INT64_MAX
        at = -1
        band = -1
        for i in range(r.instruments_n):
            ins = &r.instruments[i]
            if ins.halted_until != 0 and ins.halted_until <= until and ins.halted_until < due:
                due = ins.halted_until
                at = i
                band = -1
            for k in range(ins.bands_first, ins.bands_first + ins.bands_n):
                b = &r.bands[k]
                if b.limit_side != 0 and b.limit_since + b.limit <= until and b.limit_since + b.limit < due:
                    due = b.limit_since + b.limit
                    at = i
                    band = k
        if at < 0:
            break
        r.time_ns = due
        if band < 0:
            resume(r, at)
            continue
        b = &r.bands[band]
        band_limits(r, at, b, &low, &high)
        halt(r, at, b.breaker, b.halt, (low if b.limit_side < 0 else high) * 1024, b.limit_cause)
    r.time_ns = until
    for i in range(r.instruments_n):
        ins = &r.instruments[i]
        for k in range(ins.bands_first, ins.bands_first + ins.bands_n):
            b = &r.bands[k]
            if b.renew and until - b.renewed >= b.renew:
                b.mean = band_window(r, i, b).mean
                b.renewed = until
    if r.shock_left == REASON_BANDED or r.shock_left == REASON_HALTED:
        r.shock_left = REASON_NONE
