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


cdef inline double cut_width(int level, double coef, double rate, int64_t lots) noexcept nogil:
    """By how much rounding can move the trigger (1/1024 ticks) of so many lots, where a lot gains `coef` quanta a tick."""
    cdef double quanta = 2 + (1 + rate) * (NEAR_RATIO if level == CUT_NEAR else FAR_RATIO)
    # A hundredth for maintenance of LEAST_MAINTENANCE that is itself rounded, the rest for float64.
    return 1 + 1.05 * quanta * 1024 / ((1 - rate) * coef * <double>(-lots if lots < 0 else lots))


cdef inline double cut_trigger(const single_t* s, double coef, double rate) noexcept nogil:
    """The trigger price in 1/1024 ticks, without rounding. A long's value falls to what it costs, a short's rises to what it brought."""
    cdef double gap = (<double>s.basis - <double>s.balance) * 1024 / (coef * <double>s.lots)
    return gap / (1 - rate) if s.lots > 0 else gap / (1 + rate)


cdef inline void cuts_mark(single_t* singles, int64_t n, int level, double coef, double rate, bint falling, double* bound) noexcept nogil:
    """Mark the cuts of one list, longs or shorts in the order in which marks reach them. `bound` has room for n."""
    cdef double sign = 1 if falling else -1, most = -1e300, least = 1e300, x, w
    cdef int64_t k = n
    while k > 0:
        k -= 1
        if singles[k].lots != 0:
            x = sign * cut_trigger(&singles[k], coef, rate)
            w = cut_width(level, coef, rate, singles[k].lots)
            most = x + w if x + w > most else most
        bound[k] = most
    for k in range(n):
        if least > bound[k]:
            singles[k].cuts |= level
        if singles[k].lots != 0:
            x = sign * cut_trigger(&singles[k], coef, rate)
            w = cut_width(level, coef, rate, singles[k].lots)
            least = x - w if x - w < least else least
