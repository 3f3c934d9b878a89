"""An account's positions, gathered in scratch in the order in which they are taken."""

from libc.stdint cimport int32_t, int64_t

from cascade._margin cimport magnitude, mark_value, row_maintenance
from cascade._run cimport TAKE_LOSS, TAKE_MAINTENANCE, TAKE_NOTIONAL, row_t, run_room, run_t


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
    if run_room(r, <void**>&r.scratch, &r.scratch_cap, r.scratch_n + 1, sizeof(row_t)):
        r.scratch[r.scratch_n] = r.rows[k]
        r.scratch[r.scratch_n].next = k
        r.scratch_n += 1


cdef inline void gather_rows(run_t* r, int32_t a) noexcept nogil:
    """Copy an account's rows to scratch, each with its place in run_t.rows as `next`."""
    cdef int32_t k = r.accounts[a].first_row, end = r.accounts[a].first_row + r.accounts[a].rows_n
    r.scratch_n = 0
    while k < end:
        gather_one(r, k)
        k += 1
    k = r.accounts[a].extra_row
    while k >= 0:
        gather_one(r, k)
        k = r.rows[k].next


cdef inline int32_t gather_taken(run_t* r, int32_t a) noexcept nogil:
    """Copy an account's open positions to scratch in the order in which they are taken; their number."""
    cdef int32_t n = 0, k, at
    cdef row_t row
    gather_rows(r, a)
    for k in range(r.scratch_n):
        row = r.scratch[k]
        if row.lots == 0:
            continue
        row.basis = take_weight(r, &r.rows[row.next])
        at = n
        while at > 0 and take_before(&row, &r.scratch[at - 1]):
            r.scratch[at] = r.scratch[at - 1]
            at -= 1
        r.scratch[at] = row
        n += 1
    return n
