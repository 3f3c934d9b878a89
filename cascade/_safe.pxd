"""How far marks may move before an account can be unhealthy: bounds in float64 that err on the safe side.

Equity and maintenance are piecewise linear in notionals. With N an open position's notional at its mark, c the most that maintenance takes
of a change in notional and e its slack, what rounding takes at most:

    a relative move of the mark by x <= MOST_MOVE changes the notional by at most k x N (k = 1; for an inverse contract 1 / (1 - MOST_MOVE)),
    the value by as much, maintenance by at most c of that.

So no move against the account by less than (excess - sum of e) / sum of k N (1 + c) can make it unhealthy. A move in its favour never does:
c <= 1, or it counts as a move against it. Slack is e <= 3 + 2 c + tiers: values are cut, maintenance is rounded up, the two notionals are
whole, and continuous tiers may step by a quantum. Where tiers jump by more, a move must stay within the tier.
"""

from libc.stdint cimport int32_t, int64_t

from cascade._margin cimport magnitude, mark_value, standing_t
from cascade._run cimport account_t, extra_of, loss_t, row_after, row_t, run_t, terms_t, tier_t
from cascade._wide cimport money_size_rate


cdef extern from *:
    """
    #define CASCADE_MOST_MOVE 0.25
    /* Relative room for the rounding of float64 sums and quotients, and of coefficients kept as float32. */
    #define CASCADE_ROOM64 1e-9
    #define CASCADE_ROOM32 1e-6
    """
    double MOST_MOVE "CASCADE_MOST_MOVE"
    double ROOM64 "CASCADE_ROOM64"
    double ROOM32 "CASCADE_ROOM32"


# What moves of its mark can cost an open position.
ctypedef struct exposure_t:
    double notional         # N
    double rate             # c, up to half as much notional again
    double slack            # e
    double most             # the move up to which this is proved, at most MOST_MOVE; 0: none
    double against          # k N (1 + c): what a move of 1 against it costs
    bint rises              # its value grows with its notional
    bint both               # moves both ways count as against it


cdef inline exposure_t exposure_of(const run_t* r, const row_t* row, int64_t mark) noexcept nogil:
    """The exposure of an open position at a mark."""
    cdef const terms_t* t = &r.terms[row.instrument]
    cdef const tier_t* tier = &r.tiers[t.tier_first]
    cdef const tier_t* last = tier + t.tiers_n - 1
    cdef int64_t notional = magnitude(mark_value(t, row.lots, mark)), top = notional + notional // 2 + 4, below, above
    cdef double k = 1 if t.contract == 0 else 1 / (1 - MOST_MOVE), extra = 0
    cdef exposure_t x
    x.notional = <double>notional
    x.rate = 0
    x.slack = 3
    x.most = MOST_MOVE
    x.rises = (row.lots > 0) == (t.contract == 0)
    x.both = False
    if not r.rules.maintenance_on_entry:
        x.both = t.jumps
        if t.jumps:
            while tier < last and tier[1].floor_quanta <= notional:
                tier += 1
            x.rate = <double>tier.rate / <double>tier.one
            below = notional - tier.floor_quanta if tier > &r.tiers[t.tier_first] else notional
            above = tier[1].floor_quanta - notional if tier < last else top
            below = (below if below < above else above) - 4
            if below < x.most * k * (x.notional + 1):
                x.most = <double>below / (k * (x.notional + 1)) if below > 0 else 0
        else:
            while tier <= last and tier.floor_quanta <= top:
                if <double>tier.rate > x.rate * <double>tier.one:
                    x.rate = <double>tier.rate / <double>tier.one
                tier += 1
        if t.slope_num != 0:
            # Of N min(1, s N), or of a rate that the lots fix; a rate rounded up adds 1e-12 of the notional.
            extra = <double>money_size_rate(magnitude(row.lots) if t.contract == 0 else top, t.slope_num, t.slope_den) / 1e12
            if t.contract != 0:
                extra *= 2
                x.both = True
            x.slack += 2e-12 * <double>top + 1
        x.both = x.both or t.steepest + extra > 1
        x.rate += extra
        x.slack += 2 * x.rate + t.tiers_n
    x.against = k * (x.notional + 1) * (1 if x.rises and not x.both else 1 + x.rate)
    return x


cdef inline double safe_move(const run_t* r, int32_t a, const standing_t* s) noexcept nogil:
    """No relative moves of marks by less than this, from those in force, can make the account unhealthy; 0 where none is proved."""
    cdef const account_t* account = &r.accounts[a]
    cdef int32_t k = account.first_row, end = account.first_row + account.rows_n
    cdef double cost = 0, slack = 1, most = MOST_MOVE, move
    cdef bint extra = False
    cdef const row_t* row
    cdef exposure_t x
    while True:
        if not extra and k >= end:
            extra = True
            k = extra_of(r, a)
        if extra and k < 0:
            break
        row = &r.rows[k]
        if row.lots != 0:
            x = exposure_of(r, row, r.instruments[row.instrument].mark)
            cost += x.against
            slack += x.slack
            most = x.most if x.most < most else most
        k = row_after(r, k) if extra else k + 1
    move = <double>(s.equity - s.maintenance) - slack
    if cost > 0:
        move /= cost
    move = move if move < most else most
    return move * (1 - ROOM64) if move > 0 else 0


cdef inline float up32(double x, double size) noexcept nogil:
    """x as float32, not below it; `size` is what its relative room is of."""
    return <float>(x + ROOM32 * (size + (x if x > 0 else -x)) + 1)


cdef inline loss_t loss_of(const exposure_t* x, int instrument) noexcept nogil:
    """What the account loses at most, beside slack, by the position's notional as it shrinks or (up to a half) grows.

    Not for tiers that jump. A negative loss is a gain that is sure.
    """
    cdef loss_t loss
    cdef double most = x.notional + 1, least = x.notional - 1 if x.notional > 1 else 0
    loss.instrument = <unsigned short>instrument
    loss.pad = 0
    loss.shrinks = up32(most if x.rises else -least, x.notional)
    loss.grows = up32(x.rate * most - least if x.rises else (1 + x.rate) * most, x.notional)
    return loss


cdef inline float room_of(const standing_t* s, double slack, double notional) noexcept nogil:
    """The loss up to which an account of this standing is healthy, as float32 that is not above it."""
    cdef double room = <double>(s.equity - s.maintenance) - slack - ROOM64 * notional
    return <float>(room - ROOM32 * (room if room > 0 else -room) - 1)
