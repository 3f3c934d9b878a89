"""An account's positions, gathered in scratch in the order in which they are taken."""

from libc.stdint cimport int32_t, int64_t

from cascade._margin cimport magnitude, mark_value, row_maintenance
from cascade._run cimport TAKE_LOSS, TAKE_MAINTENANCE, TAKE_NOTIONAL, extra_of, gathered_t, row_after, row_t, run_room, run_t


cdef inline int64_t take_weight(const run_t* r, const row_t* row) noexcept nogil:
    """The rule's weight of a position; the smallest is taken first."""
    cdef int64_t mark = r.instruments[row.instrument].mark
    if r.rules.position_order == TAKE_MAINTENANCE:
        return -row_maintenance(r, row, mark)
    if r.rules.position_order == TAKE_NOTIONAL:
        return -magnitude(mark_value(&r.terms[row.instrument], row.lots, mark))
    if r.rules.position_order == TAKE_LOSS:
        return mark_value(&r.terms[row.instrument], row.lots, mark) - row.basis
    return 0


cdef inline bint take_before(const row_t* a, const row_t* b) noexcept nogil:
    """Order of two scratch rows, whose basis field holds their weight."""
    if a.basis != b.basis:
        return a.basis < b.basis
    if a.instrument != b.instrument:
        return a.instrument < b.instrument
    return a.slot < b.slot


cdef inline void gather_one(run_t* r, int32_t k) noexcept nogil:
    if run_room(r, <void**>&r.scratch, &r.scratch_cap, r.scratch_n + 1, sizeof(gathered_t)):
        r.scratch[r.scratch_n].row = r.rows[k]
        r.scratch[r.scratch_n].at = k
        r.scratch_n += 1


cdef inline void gather_rows(run_t* r, int32_t a) noexcept nogil:
    """Copy an account's rows to scratch, each with its place in run_t.rows."""
    cdef int32_t k = r.accounts[a].first_row, end = r.accounts[a].first_row + r.accounts[a].rows_n
    r.scratch_n = 0
    while k < end:
        gather_one(r, k)
        k += 1
    k = extra_of(r, a)
    while k >= 0:
        gather_one(r, k)
        k = row_after(r, k)


cdef inline int32_t gather_taken(run_t* r, int32_t a) noexcept nogil:
    """Copy an account's open positions to scratch in the order in which they are taken; their number."""
    cdef int32_t n = 0, k, at
    cdef gathered_t one
    gather_rows(r, a)
    for k in range(r.scratch_n):
        one = r.scratch[k]
        if one.row.lots == 0:
            continue
        one.row.basis = take_weight(r, &r.rows[one.at])
        at = n
        while at > 0 and take_before(&one.row, &r.scratch[at - 1].row):
            r.scratch[at] = r.scratch[at - 1]
            at -= 1
        r.scratch[at] = one
        n += 1
    return n
