"""How the lots of a taker are divided among the orders of one level: CME's steps. Pure arithmetic, no book."""

from libc.stdint cimport int32_t, int64_t, uint32_t


# The steps, with the codes of matching.py.
cdef enum:
    STEP_FIFO = 0
    STEP_PRO_RATA = 1
    STEP_TOP = 2
    STEP_LMM = 3
    STEP_SPLIT = 4
    STEP_LEVELING = 5
    STEPS = 6

cdef extern from *:
    """
    /* a * b / c and the nearest integer to a * percent / 100 (halves up), through 128 bits; the results fit. */
    static inline int64_t cascade_share(int64_t a, int64_t b, int64_t c) { return (int64_t)((__int128)a * b / c); }
    static inline int64_t cascade_percent(int64_t a, int percent) {
        return (int64_t)(((__int128)a * percent * 2 + 100) / 200);
    }
    """
    int64_t share_of "cascade_share"(int64_t a, int64_t b, int64_t c) noexcept nogil
    int64_t percent_of "cascade_percent"(int64_t a, int percent) noexcept nogil


# A rule. Invariant: `fifo` exactly when the only step is STEP_FIFO.
ctypedef struct rule_t:
    int steps[STEPS]
    int steps_n
    int fifo_percent
    bint fifo
    bint whole              # the last step is STEP_FIFO, which leaves nothing undivided
    bint has_top
    int64_t top_min
    int64_t top_max
    int64_t pro_rata_min


# One order of the level, oldest first.
ctypedef struct share_t:
    int64_t lots            # that may trade
    int64_t given           # so far
    uint32_t handle
    int64_t owner_lots      # lots that the owner's orders may trade, up to this one
    int32_t owner           # record, 0: nobody
    int32_t owner_next      # index of the owner's next order here, 0 if there is none
    int32_t lmm_percent     # of a lead market maker, else 0
    bint owner_first        # the owner has no older order here
    bint nothing            # 0 in pro_rata


cdef inline int64_t give(share_t* s, int64_t want, int64_t left) noexcept nogil:
    """Give an order what is wanted, what it can take and what is left; how much that was."""
    if want > s.lots - s.given:
        want = s.lots - s.given
    if want > left:
        want = left
    s.given += want
    return want


cdef inline int64_t give_fifo(share_t* s, int64_t n, int64_t lots) noexcept nogil:
    """Oldest first; what nobody could take."""
    cdef int64_t k
    for k in range(n):
        if lots == 0:
            break
        lots -= give(&s[k], lots, lots)
    return lots


cdef inline int64_t give_lmm(share_t* s, int64_t n, int64_t left) noexcept nogil:
    """Each lead market maker its percentage of what is left now; what is left then. O(n)."""
    cdef int64_t whole = left, part, k, j
    for k in range(n):
        if s[k].lmm_percent == 0 or not s[k].owner_first:
            continue
        part = share_of(whole, s[k].lmm_percent, 100)
        if part > left:
            part = left
        left -= part
        j = k
        while part > 0:
            part -= give(&s[j], part, part)
            j = s[j].owner_next
            if j == 0:
                break
        left += part
    return left


cdef inline int64_t give_pro_rata(share_t* s, int64_t n, int64_t left, int64_t least) noexcept nogil:
    """Each order its part of what is left now, by what it can still take; what is left then."""
    cdef int64_t whole = left, sum_lots = 0, part, k
    for k in range(n):
        sum_lots += s[k].lots - s[k].given
    for k in range(n):
        part = share_of(whole, s[k].lots - s[k].given, sum_lots) if sum_lots > 0 else 0
        s[k].nothing = part < least or part == 0
        if not s[k].nothing:
            left -= give(&s[k], part, left)
    return left


cdef inline int64_t unlevelled(const share_t* s, int64_t k) noexcept nogil:
    """What an order that got nothing in pro_rata can still take, 0 of any other."""
    return s[k].lots - s[k].given if s[k].nothing else 0


cdef inline int64_t levelled_from(const share_t* s, int64_t n, int64_t left) noexcept nogil:
    """The most lots x >= 1 such that `left` orders or more can be levelled that can still take x; 1 if there are not so many."""
    cdef int64_t low = 1, high = 1, middle, found, k
    for k in range(n):
        if unlevelled(s, k) > high:
            high = unlevelled(s, k)
    while low < high:
        middle = high - ((high - low) >> 1)
        found = 0
        for k in range(n):
            found += unlevelled(s, k) >= middle
        if found >= left:
            low = middle
        else:
            high = middle - 1
    return low


cdef inline int64_t give_leveling(share_t* s, int64_t n, int64_t left) noexcept nogil:
    """One lot to each order that got nothing in pro_rata, the largest first, then the oldest; what is left then. O(n * bits of
    the largest order): who is large enough is found by bisection, which needs no memory to sort in."""
    cdef int64_t least = levelled_from(s, n, left), k
    for k in range(n):
        if left > 0 and unlevelled(s, k) > least:
            s[k].nothing = False
            left -= give(&s[k], 1, left)
    for k in range(n):
        if left > 0 and unlevelled(s, k) == least:
            s[k].nothing = False
            left -= give(&s[k], 1, left)
    return left


cdef inline int64_t allocate(const rule_t* rule, share_t* s, int64_t n, int64_t lots, int64_t top, int64_t* top_left) noexcept nogil:
    """Divide `lots`, fewer than the orders have together. `top` is the index of the TOP order, -1 if it is not here, and
    top_left what it may still get. The lots that no step gave out."""
    cdef int64_t left = lots, part, want
    cdef int i
    for i in range(rule.steps_n):
        if left == 0:
            break
        if rule.steps[i] == STEP_TOP:
            if top >= 0:
                want = left if left < top_left[0] else top_left[0]
                part = give(&s[top], want, left)
                top_left[0] -= part
                left -= part
        elif rule.steps[i] == STEP_LMM:
            left = give_lmm(s, n, left)
        elif rule.steps[i] == STEP_SPLIT:
            part = percent_of(left, rule.fifo_percent)
            left = left - part + give_fifo(s, n, part)
        elif rule.steps[i] == STEP_PRO_RATA:
            left = give_pro_rata(s, n, left, rule.pro_rata_min)
        elif rule.steps[i] == STEP_LEVELING:
            left = give_leveling(s, n, left)
        else:
            left = give_fifo(s, n, left)
    return left
