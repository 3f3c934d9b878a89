"""How many lots of a position are ordered - all, a fraction, as few as make the account healthy again, what brings it into a lower margin
tier - and what a limit of the fillable price concedes. The reference's twin is sizes.py."""

from libc.stdint cimport int32_t, int64_t

from cascade._margin cimport magnitude, maintenance_in, maintenance_of, mark_value, row_maintenance, standing_of, standing_t
from cascade._run cimport (
    SIZE_FRACTION,
    SIZE_RESTORE,
    SIZE_STEP_DOWN,
    account_t,
    extra_of,
    row_after,
    row_t,
    run_t,
    terms_t,
)
from cascade._wide cimport (
    RATE_ONE,
    money_concession,
    money_rate_up,
    money_share_floor,
    wide_low,
    wide_of,
    wide_sign,
    wide_sub,
    wide_t,
)


cdef inline int64_t notional_of(const run_t* r, int i, int64_t lots) noexcept nogil:
    """Notional of signed lots at the mark in force."""
    return magnitude(mark_value(&r.terms[i], lots, r.instruments[i].mark)) if lots != 0 else 0


cdef inline int64_t notional_asked_on(const run_t* r, const row_t* row, int64_t n) noexcept nogil:
    """The notional that maintenance is asked on, if n lots of a position were left: at the mark, or their share of it at entry."""
    if r.rules.maintenance_on_entry:
        return money_share_floor(magnitude(row.basis), n, magnitude(row.lots))
    return notional_of(r, row.instrument, n if row.lots > 0 else -n)


cdef inline int32_t tier_of(const run_t* r, int i, int64_t notional) noexcept nogil:
    """The highest tier whose floor a notional reaches, counted from 0."""
    cdef const terms_t* t = &r.terms[i]
    cdef int32_t k = t.tiers_n - 1
    while k > 0 and r.tiers[t.tier_first + k].floor_quanta > notional:
        k -= 1
    return k


cdef inline int64_t floor_of(const run_t* r, int i, int32_t tier) noexcept nogil:
    return r.tiers[r.terms[i].tier_first + tier].floor_quanta


cdef inline int64_t lots_reaching(const run_t* r, int i, int64_t lots, int64_t least) noexcept nogil:
    """The fewest of a position's lots that have a notional of at least `least`; all if none do."""
    cdef int64_t held = magnitude(lots), side = 1 if lots > 0 else -1, lo = 0, hi = held, mid
    while hi - lo > 1:
        mid = lo + (hi - lo) // 2
        if notional_of(r, i, side * mid) >= least:
            hi = mid
        else:
            lo = mid
    return hi


cdef inline int64_t lots_below(const run_t* r, const row_t* row, int64_t floor) noexcept nogil:
    """The fewest lots whose closing brings the position's notional below a floor; all if none do."""
    cdef int64_t held = magnitude(row.lots), lo = 0, hi = held, mid
    while hi - lo > 1:
        mid = lo + (hi - lo) // 2
        if notional_asked_on(r, row, held - mid) < floor:
            hi = mid
        else:
            lo = mid
    return hi


cdef inline int64_t fraction_of_lots(const run_t* r, int i, int64_t lots) noexcept nogil:
    """At most size_fraction of the lots, but lots for size_minimum, and one; all of them up to a notional of size_above."""
    cdef int64_t held = magnitude(lots), part, least
    if notional_of(r, i, lots) <= r.rules.size_above:
        return held
    least = lots_reaching(r, i, lots, r.rules.size_minimum)
    part = money_share_floor(r.rules.size_fraction, held, RATE_ONE)
    return part if part > least else least


cdef inline bint fails_in_first_tier(const run_t* r, const row_t* row) noexcept nogil:
    """Whether the account would be liquidatable with this position's maintenance at the first tier's rate."""
    cdef const terms_t* t = &r.terms[row.instrument]
    cdef standing_t s = standing_of(r, row.account)
    cdef int64_t asked = notional_asked_on(r, row, magnitude(row.lots)), saved
    saved = maintenance_of(r, t, asked, row.lots) - maintenance_in(t, &r.tiers[t.tier_first], asked, row.lots)
    return s.equity + saved <= s.maintenance if r.rules.trigger_le else s.equity + saved < s.maintenance


cdef inline int64_t lots_to_lower_tier(const run_t* r, const row_t* row) noexcept nogil:
    """Into the tier `size_steps` below, or all of a position that has not so many tiers below it, or that the first would not save."""
    cdef int i = row.instrument
    cdef int32_t tier = tier_of(r, i, notional_asked_on(r, row, magnitude(row.lots)))
    if tier < r.rules.size_steps or (r.rules.first_tier_whole and fails_in_first_tier(r, row)):
        return magnitude(row.lots)
    return lots_below(r, row, floor_of(r, i, tier - <int32_t>r.rules.size_steps + 1))


# What the search for health weighs lots with.
ctypedef struct weighed_t:
    int64_t equity          # of the account
    int64_t others          # maintenance of its other positions, rates raised by the buffer
    int64_t held
    const row_t* row


cdef inline int64_t buffered(const run_t* r, const row_t* row, int64_t n) noexcept nogil:
    """Maintenance of n lots of a position with its rate raised by `size_buffer`; without the fee at bankruptcy."""
    cdef int64_t needed = maintenance_of(r, &r.terms[row.instrument], notional_asked_on(r, row, n), n)
    return needed + money_rate_up(r.rules.size_buffer, notional_of(r, row.instrument, n if row.lots > 0 else -n))


cdef inline bint healthy_without(const run_t* r, const weighed_t* w, int64_t n) noexcept nogil:
    """Whether closing n lots at the mark makes the account healthy with rates raised by the buffer, fees counted."""
    cdef const terms_t* t = &r.terms[w.row.instrument]
    cdef int64_t closed = notional_of(r, w.row.instrument, n if w.row.lots > 0 else -n)
    cdef int64_t after = w.equity - money_rate_up(t.taker_fee, closed) - money_rate_up(t.liquidation_fee, closed)
    cdef int64_t needed = w.others + buffered(r, w.row, w.held - n)
    return after > needed if r.rules.trigger_le else after >= needed


cdef inline int64_t lots_to_health(const run_t* r, int32_t a, int32_t at) noexcept nogil:
    """The fewest lots whose closing at the mark makes the account healthy with rates raised by `size_buffer`; all if no number does.

    Tier by tier, from the one that holds now to the lowest: if the first number of lots that leaves the position in the tier does it, it is
    the answer; else, if the last one does, bisection between the two.
    """
    cdef const account_t* account = &r.accounts[a]
    cdef const row_t* row = &r.rows[at]
    cdef int64_t start = 1, following, end, mid
    cdef int i = row.instrument
    cdef int32_t k = account.first_row, tier
    cdef standing_t s = standing_of(r, a)
    cdef weighed_t w
    w.equity = s.equity
    w.others = 0
    w.held = magnitude(row.lots)
    w.row = row
    while k < account.first_row + account.rows_n:
        if k != at and r.rows[k].lots != 0:
            w.others += buffered(r, &r.rows[k], magnitude(r.rows[k].lots))
        k += 1
    k = extra_of(r, a)
    while k >= 0:
        if k != at and r.rows[k].lots != 0:
            w.others += buffered(r, &r.rows[k], magnitude(r.rows[k].lots))
        k = row_after(r, k)
    tier = tier_of(r, i, notional_asked_on(r, row, w.held))
    while tier >= 0:
        following = lots_below(r, row, floor_of(r, i, tier)) if tier > 0 else w.held
        end = (following if following < w.held else w.held) - 1
        if start <= end:
            if healthy_without(r, &w, start):
                return start
            if healthy_without(r, &w, end):
                while end - start > 1:
                    mid = start + (end - start) // 2
                    if healthy_without(r, &w, mid):
                        end = mid
                    else:
                        start = mid
                return end
        if following > start:
            start = following
        tier -= 1
    return w.held


cdef inline int64_t lots_to_order(const run_t* r, int32_t a, int32_t at, bint parted) noexcept nogil:
    """Lots of a position, 1 to all, that the next order is for."""
    cdef const row_t* row = &r.rows[at]
    if r.rules.size == SIZE_FRACTION and not parted:
        return fraction_of_lots(r, row.instrument, row.lots)
    if r.rules.size == SIZE_RESTORE:
        return lots_to_health(r, a, at)
    if r.rules.size == SIZE_STEP_DOWN:
        return lots_to_lower_tier(r, row)
    return magnitude(row.lots)


cdef inline int64_t lots_within_step(const run_t* r, int i, int64_t lots, int64_t n) noexcept nogil:
    """How many of n lots an order may be for under `notional_per_step`: one at least for an account that has closed nothing yet in this
    step, 0 when the rest must wait."""
    cdef wide_t room
    cdef int64_t most, side = 1 if lots > 0 else -1, lo = 0, hi = n, mid
    if r.rules.notional_per_step < 0:
        return n
    room = wide_sub(wide_of(r.rules.notional_per_step), r.turn_closed)
    if wide_sign(room) <= 0 and wide_sign(r.turn_closed) > 0:
        return 0
    most = wide_low(room)
    if notional_of(r, i, side * n) > most:
        while hi - lo > 1:
            mid = lo + (hi - lo) // 2
            if notional_of(r, i, side * mid) > most:
                hi = mid
            else:
                lo = mid
        n = hi - 1
    if n > 0:
        return n
    return 1 if wide_sign(r.turn_closed) == 0 else 0


cdef inline int64_t fillable_loss(const run_t* r, int32_t a, const row_t* row) noexcept nogil:
    """What an account concedes of a position's value at mark: spread * maintenance * clamp(adjustment * (1 - equity / maintenance of all),
    0, 1), rounded down."""
    cdef standing_t s = standing_of(r, a)
    return money_concession(
        r.rules.fillable_adjustment, s.maintenance - s.equity, s.maintenance, r.rules.fillable_spread,
        row_maintenance(r, row, r.instruments[row.instrument].mark),
    )
