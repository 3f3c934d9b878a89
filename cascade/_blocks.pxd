"""Sums over blocks of an index of singles, made when it is loaded: what all of a block together have, and the prices of a lot on each side of
which all of them fare alike. A range that one order fills is summed by these, but for its ends and where it turns."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t

from cascade._margin cimport magnitude
from cascade._run cimport BLOCK, block_t, single_t

cdef inline int64_t block_bound(double x) noexcept nogil:
    """A value of a lot among those that int64 holds."""
    return INT64_MAX if x > 9.2e18 else INT64_MIN if x < -9.2e18 else <int64_t>x


cdef inline void block_sum(const single_t* singles, block_t* b) noexcept nogil:
    """Sum one block. Who trades lots at v each, signed, owes v lots + basis for what was held, and has balance - basis - v lots left. Bounds
    err on the safe side: 1e-15 is nine times 2**-53."""
    cdef const single_t* s
    cdef double part, cost, rest, slip
    cdef double owe = -1e300, stand = 1e300, fall = -1e300
    cdef int64_t large = 0
    cdef int k
    b.n = b.isolated = 0
    b.traded = b.held = b.basis = b.balance = 0
    for k in range(BLOCK):
        s = &singles[k]
        if s.lots == 0:
            continue
        large |= magnitude(s.lots) | magnitude(s.basis) | magnitude(s.balance)
        if large >> 58:         # sums could leave int64: nothing is known of this block
            b.traded = INT64_MAX
            return
        b.n += 1
        b.isolated += s.isolated
        b.traded += magnitude(s.lots)
        b.held += s.lots
        b.basis += s.basis
        b.balance += s.balance
        part = 1 / <double>magnitude(s.lots)
        cost = -<double>s.basis * part
        rest = (<double>s.balance - <double>s.basis) * part
        slip = 2 + 1e-15 * part * <double>(magnitude(s.basis) + magnitude(s.balance))
        owe = max(owe, cost + slip)
        stand = min(stand, rest - slip)
        fall = max(fall, rest + slip)
    b.owe_above = block_bound(owe)
    b.stand_below = block_bound(stand)
    b.fall_above = block_bound(fall)


cdef inline void blocks_sum(const single_t* singles, int64_t n, block_t* blocks) noexcept nogil:
    """Sum all full blocks of a list."""
    cdef int64_t k
    for k in range(n // BLOCK):
        block_sum(&singles[k * BLOCK], &blocks[k])


cdef inline bint block_known(const block_t* b) noexcept nogil:
    return b.traded != INT64_MAX


cdef inline const block_t* block_at(const block_t* blocks, int32_t k, int32_t end) noexcept nogil:
    """The block that begins at a place and ends before or at another; NULL for none."""
    if blocks == NULL or k % BLOCK != 0 or end - k < BLOCK or not block_known(&blocks[k // BLOCK]):
        return NULL
    return &blocks[k // BLOCK]
