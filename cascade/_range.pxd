"""The range: singles at the front of one index whose triggers the mark has surely passed, in an order that is sure at its cuts."""

from libc.stdint cimport INT64_MAX, int32_t, int64_t

from cascade._batch cimport batch_add, batch_room, batch_sort
from cascade._cuts cimport CUT_FAR, CUT_NEAR, FAR_RATIO, LEAST_MAINTENANCE, NEAR_RATIO, cut_width
from cascade._margin cimport standing_single, standing_t
from cascade._past cimport crossing_window, window_one_way
from cascade._run cimport QUEUE_RATIO, instrument_t, run_t, single_t, tier_t, waiting_t


cdef inline int32_t triggers_upto(const int64_t* trigger, int32_t first, int32_t n, bint short, int64_t mark) noexcept nogil:
    """The end of the triggers from `first` on that a mark has reached: by doubling strides, then by halving."""
    cdef int32_t stride = 1, last = first, mid
    while last < n and (trigger[last] <= mark if short else trigger[last] >= mark):
        first = last + 1
        last = n if stride > n - first else first + stride
        stride *= 2
    while first < last:
        mid = first + (last - first) // 2
        if trigger[mid] <= mark if short else trigger[mid] >= mark:
            first = mid + 1
        else:
            last = mid
    return first


cdef inline double range_slack(const run_t* r, int i, int level, int64_t least, double price) noexcept nogil:
    """How far from a price (1/1024 ticks) a trigger of the index must lie for rounding, its own too, to make no difference."""
    cdef const tier_t* tier = &r.tiers[r.terms[i].tier_first]
    cdef double width = cut_width(level, <double>r.terms[i].coef_num, <double>tier.rate / <double>tier.one, least)
    return 2 * width + 8 + 4e-9 * (-price if price < 0 else price)


cdef inline int64_t range_price(double price) noexcept nogil:
    """A price among triggers."""
    return 0 if price < 0 else INT64_MAX if price > 9e18 else <int64_t>price


cdef inline int range_level_of(const run_t* r, int i, bint short, int64_t trigger) noexcept nogil:
    """The cuts that hold while nobody's ratio is worse than with this trigger; 0 for none."""
    cdef const tier_t* tier = &r.tiers[r.terms[i].tier_first]
    cdef double rate = <double>tier.rate / <double>tier.one, mark = <double>r.instruments[i].mark, ratio
    cdef int64_t least = r.instruments[i].short_least if short else r.instruments[i].long_least
    if least == 0 or rate * <double>r.terms[i].coef_num * <double>least * mark < 1024 * (LEAST_MAINTENANCE + 1):
        return 0
    ratio = ((1 + rate) * <double>trigger / mark - 1) / rate if short else (1 - (1 - rate) * <double>trigger / mark) / rate
    return CUT_NEAR if ratio > -NEAR_RATIO + 0.01 else CUT_FAR if ratio > -FAR_RATIO + 0.01 else 0


cdef enum:
    LONG_LIST = 1
    SHORT_LIST = 2
    BOTH_LISTS = 3


cdef inline int list_reached(const instrument_t* ins) noexcept nogil:
    """Which of an instrument's lists have somebody whom the mark has reached, and who was not found healthy there."""
    cdef int which = 0
    if ins.long_at < ins.long_n and ins.long_trigger[ins.long_at] >= ins.mark and ins.long_stand != ins.mark:
        which |= LONG_LIST
    if ins.short_at < ins.short_n and ins.short_trigger[ins.short_at] <= ins.mark and ins.short_stand != ins.mark:
        which |= SHORT_LIST
    return which


cdef inline bint range_begin(run_t* r) noexcept nogil:
    """Take those whose triggers the mark has surely passed off their index, to a cut; False where the order of many is not
    sure, as among several lists. They count as queued."""
    cdef instrument_t* ins
    cdef int lists = 0, i, level
    cdef bint short = False
    cdef const int64_t* trigger
    cdef const single_t* singles
    cdef int32_t at, end, n
    cdef int64_t before
    cdef double slack
    if r.owing or r.disturbed or r.initial_n > 0:
        return False
    for i in range(r.instruments_n):
        ins = &r.instruments[i]
        if list_reached(ins) != 0:
            lists += 2 if list_reached(ins) == BOTH_LISTS else 1
            r.range_instrument = i
            r.range_short = list_reached(ins) == SHORT_LIST
    if lists != 1:
        return False
    i = r.range_instrument
    short = r.range_short
    ins = &r.instruments[i]
    trigger = ins.short_trigger if short else ins.long_trigger
    singles = ins.short_single if short else ins.long_single
    at = ins.short_at if short else ins.long_at
    n = ins.short_n if short else ins.long_n
    if trigger[at] == (0 if short else INT64_MAX):
        return False        # no price, but whom every mark reaches
    level = range_level_of(r, i, short, trigger[at])
    if level == 0:
        return False
    slack = range_slack(r, i, level, ins.short_least if short else ins.long_least, <double>ins.mark)
    end = triggers_upto(trigger, at, n, short, range_price(<double>ins.mark - slack if short else <double>ins.mark + slack))
    while at < end < n and not singles[end].cuts & level:
        end -= 1
    if end <= at:
        return False
    if r.remember_marks:    # rounding reaches farthest from the window's highest mark, which is its first or its last
        before = r.history[i][ins.window_first].mark
        r.range_sure = range_price(range_slack(r, i, level, ins.short_least if short else ins.long_least, <double>max(before, ins.mark)) + 1)
    r.range_level = level
    r.range_at = at
    r.range_end = end
    r.seq += end - at
    if short:
        ins.short_at = end
    else:
        ins.long_at = end
    return True


cdef inline void batch_begin(run_t* r, int64_t previous_check, int64_t now) noexcept nogil:
    """In a check after event `now`: whether this one's singles go into a batch, and who of them is a range. Where causes are wanted all
    marks must have gone one way."""
    cdef int i
    r.batching = r.singles and r.rules.queue == QUEUE_RATIO
    r.batch_n = r.batch_at = r.range_at = r.range_end = 0
    r.range_sure = -1
    if r.batching and r.remember_marks:
        for i in range(r.instruments_n):
            crossing_window(r, i, previous_check, now)
            if list_reached(&r.instruments[i]) and not window_one_way(r, i):
                r.batching = False
    if r.batching and range_begin(r):
        r.batching = False      # who is left goes through the queue


cdef inline int32_t range_cut(const run_t* r, const single_t* singles, int32_t at) noexcept nogil:
    """The first cut of the range from a place on."""
    while at < r.range_end and not singles[at].cuts & r.range_level:
        at += 1
    return at


cdef inline int32_t range_before(const run_t* r, const waiting_t* other, int32_t end) noexcept nogil:
    """How far the range, up to `end`, surely comes before another one of the queue."""
    cdef int i = r.range_instrument
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const tier_t* tier = &r.tiers[r.terms[i].tier_first]
    cdef const int64_t* trigger = ins.short_trigger if r.range_short else ins.long_trigger
    cdef double rate = <double>tier.rate / <double>tier.one, price, slack
    if other.first:
        return r.range_at
    # The trigger price of a single with that key.
    price = (1 + rate * other.near) / (1 + rate) if r.range_short else (1 - rate * other.near) / (1 - rate)
    price *= <double>ins.mark
    slack = range_slack(r, i, r.range_level, ins.short_least if r.range_short else ins.long_least, price)
    return triggers_upto(
        trigger, r.range_at, end, r.range_short, range_price(price - slack if r.range_short else price + slack)
    )


cdef inline void range_window(run_t* r, int32_t end) noexcept nogil:
    """Move the range up to `end`, a cut, into the batch, which is empty."""
    cdef int i = r.range_instrument
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const single_t* singles = ins.short_single if r.range_short else ins.long_single
    cdef standing_t s
    cdef int32_t k
    r.batch_n = r.batch_at = 0
    if not batch_room(r, end - r.range_at):
        return
    for k in range(r.range_at, end):
        if singles[k].lots != 0:
            s = standing_single(r, &singles[k], i, ins.mark)
            batch_add(r, i, r.range_short, k, &s)
    r.range_at = end
    batch_sort(r)
