"""Who rests: accounts found healthy that need no look until marks have travelled far enough to hurt them."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from cascade._margin cimport standing_t
from cascade._run cimport RESTING, WATCHED, instrument_t, resting_t, run_room, run_t
from cascade._safe cimport safe_move


cdef inline void travel(run_t* r) noexcept nogil:
    """Add the largest relative change of a mark since the latest check to run_t.travel.

    |a - b| / min(a, b) is at least |log(a / b)|, so that the logarithm of no mark has moved by more than the travel between two checks. The
    sum is rounded up.
    """
    cdef double most = 0, change
    cdef instrument_t* ins
    cdef int64_t low, high
    cdef int i
    for i in range(r.instruments_n):
        ins = &r.instruments[i]
        if ins.mark == ins.checked_mark:
            continue
        low = ins.mark if ins.mark < ins.checked_mark else ins.checked_mark
        high = ins.mark if ins.mark > ins.checked_mark else ins.checked_mark
        change = <double>(high - low) / <double>low
        most = change if change > most else most
        ins.checked_mark = ins.mark
    if most > 0:
        r.travel = (r.travel + most * (1 + 1e-12)) * (1 + 4.5e-16)


cdef inline bint rest(run_t* r, int32_t a, const standing_t* s) noexcept nogil:
    """Let a healthy account rest; False (and nothing done) when the next check must look at it.

    A move of the logarithm by x / (1 + x) is one of the mark by at most x.
    """
    cdef double move = safe_move(r, a, s)
    cdef resting_t one
    cdef int32_t k, parent
    one.until = (r.travel + move / (1 + move)) * (1 - 1e-15)
    if one.until <= r.travel:
        return False
    if not run_room(r, <void**>&r.resting, &r.resting_cap, r.resting_n + 1, sizeof(resting_t)):
        return False
    one.account = a
    one.version = r.accounts[a].version
    k = r.resting_n
    r.resting_n += 1
    while k > 0:
        parent = (k - 1) // 2
        if r.resting[parent].until <= one.until:
            break
        r.resting[k] = r.resting[parent]
        k = parent
    r.resting[k] = one
    r.accounts[a].state = r.accounts[a].state & ~<uint8_t>WATCHED | RESTING
    return True


cdef inline bint rest_over(const run_t* r) noexcept nogil:
    """Whether somebody must be looked at again."""
    return r.resting_n > 0 and r.resting[0].until <= r.travel


cdef inline int32_t rest_end(run_t* r) noexcept nogil:
    """Take who must be looked at first; -1 if that account was touched since, and is watched or flat."""
    cdef resting_t first = r.resting[0], last
    cdef int32_t k = 0, child
    r.resting_n -= 1
    last = r.resting[r.resting_n]
    while True:
        child = 2 * k + 1
        if child >= r.resting_n:
            break
        if child + 1 < r.resting_n and r.resting[child + 1].until < r.resting[child].until:
            child += 1
        if last.until <= r.resting[child].until:
            break
        r.resting[k] = r.resting[child]
        k = child
    r.resting[k] = last
    if not r.accounts[first.account].state & RESTING or r.accounts[first.account].version != first.version:
        return -1
    r.accounts[first.account].state &= ~<uint8_t>RESTING
    return first.account
