"""Cuts in an index of singles: places where everybody in front surely waits in the queue before everybody behind.

The queue takes the smallest ratio of equity to maintenance first. Of a linear contract with one rate r of maintenance and nothing else the
ratio of a position with trigger price T at mark M is (1 - (1 - r) T / M) / r for a long and ((1 + r) T / M - 1) / r for a short, but for
what rounding to quanta does to equity (less than 1) and maintenance (less than 1 + r). That moves the ratio by less than
1 + (1 + r) |ratio| quanta of maintenance, and the trigger by no more than so many quanta of value. Between two triggers that lie further
apart than both can move the order is sure at every mark; and where the mark lies further than that past a trigger, the account is surely
unhealthy.
"""

from libc.stdint cimport int64_t

from cascade._run cimport single_t


cdef enum:
    CUT_NEAR = 1            # while no ratio is below -NEAR_RATIO
    CUT_FAR = 2             # -FAR_RATIO
    NEAR_RATIO = 2
    FAR_RATIO = 48

cdef enum:
    LEAST_MAINTENANCE = 100     # quanta that everybody must need for the bound to hold


cdef inline double cut_factor(int level, double coef, double rate) noexcept nogil:
    """By how much rounding to quanta can move the trigger (1/1024 ticks) of one lot, which gains `coef` quanta a tick."""
    cdef double quanta = 2 + (1 + rate) * (NEAR_RATIO if level == CUT_NEAR else FAR_RATIO)
    # A hundredth for maintenance of LEAST_MAINTENANCE that is itself rounded.
    return 1.05 * quanta * 1024 / ((1 - rate) * coef)


cdef inline double cut_width(int level, double coef, double rate, int64_t lots) noexcept nogil:
    """The same of so many lots."""
    return 1 + cut_factor(level, coef, rate) / <double>(-lots if lots < 0 else lots)


cdef inline double cut_slip(const single_t* s, double factor, double part) noexcept nogil:
    """By how much float64 can: basis and balance may lie beyond 2**53. What enters and each operation is right to 2**-53 of both together;
    1e-15 is nine times that."""
    cdef double basis = <double>s.basis, balance = <double>s.balance, scale = factor * part
    return 1 + 1e-15 * ((-basis if basis < 0 else basis) + (-balance if balance < 0 else balance)) * (-scale if scale < 0 else scale)


# What is known of a list of singles under one rate of maintenance.
ctypedef struct plain_t:
    int64_t least           # lots of the smallest, 0 where there is none
    int64_t others          # entries that are no singles


cdef inline plain_t cuts_mark(single_t* singles, int64_t n, double coef, double rate, bint falling, double* bound) noexcept nogil:
    """Mark the cuts of one list, longs or shorts in the order in which marks reach them. `bound` has room for 2 n."""
    cdef double near = cut_factor(CUT_NEAR, coef, rate), far = cut_factor(CUT_FAR, coef, rate), x, slip, part
    # The trigger price in 1/1024 ticks, without rounding: a long's value falls to what it costs, a short's rises to what it brought.
    cdef double factor = 1024 / (coef * (1 - rate)) if falling else -1024 / (coef * (1 + rate))
    cdef double most_near = -1e300, most_far = -1e300, least_near = 1e300, least_far = 1e300
    cdef int64_t k = n, lots
    cdef plain_t p
    p.least = p.others = 0
    while k > 0:
        k -= 1
        lots = singles[k].lots
        if lots != 0:
            part = 1 / <double>lots
            x = (<double>singles[k].basis - <double>singles[k].balance) * factor * part
            slip = cut_slip(&singles[k], factor, part)
            part = part if falling else -part
            most_near = max(most_near, x + slip + near * part)
            most_far = max(most_far, x + slip + far * part)
            lots = lots if falling else -lots
            p.least = lots if p.least == 0 or lots < p.least else p.least
        else:
            p.others += 1
        bound[2 * k] = most_near
        bound[2 * k + 1] = most_far
    for k in range(n):
        singles[k].cuts |= (CUT_NEAR if least_near > bound[2 * k] else 0) | (CUT_FAR if least_far > bound[2 * k + 1] else 0)
        if singles[k].lots != 0:
            part = 1 / <double>singles[k].lots
            x = (<double>singles[k].basis - <double>singles[k].balance) * factor * part
            slip = cut_slip(&singles[k], factor, part)
            part = part if falling else -part
            least_near = min(least_near, x - slip - near * part)
            least_far = min(least_far, x - slip - far * part)
    return p
