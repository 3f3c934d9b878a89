"""The mark where it is a tree: a small postfix program over integer prices. `_marks.py` writes it and says what each step means."""

from libc.stdint cimport INT64_MIN, int32_t, int64_t

from cascade._book cimport book_best, book_has, book_t
from cascade._ladder cimport ASK, BID
from cascade._run cimport instrument_t, mark_step_t, run_t
from cascade._wide cimport money_share_even


# Codes and flags: those of _marks.OPS.
cdef enum:
    STEP_NONE = 0
    STEP_LAST = 1
    STEP_BID = 2
    STEP_ASK = 3
    STEP_MID = 4
    STEP_INDEX = 5
    STEP_FUNDED_INDEX = 6
    STEP_PRICE = 7          # an input: an external price, or the average of one
    STEP_BASIS = 8          # the index plus an input that may be negative, INT64_MIN where it is missing
    STEP_MEDIAN = 9
    STEP_WEIGHTED_MEDIAN = 10

cdef enum:
    STEP_DROP = 1
    STEP_SPARE = 2

cdef enum:
    MARK_STACK = 64         # a tree has no more parts (marks.MOST_NODES)


cdef inline int64_t near_index(int64_t index, int64_t basis) noexcept nogil:
    """A price derived from the index: index + basis, kept from half to twice the index, which State.check_range covers."""
    if basis < -(index // 2):
        return index - index // 2
    return index + basis if basis < index else 2 * index


cdef inline int64_t half_way(int64_t low, int64_t high) noexcept nogil:
    """(low + high) / 2, half-even."""
    cdef int64_t gap = high - low, middle = low + gap // 2
    return middle + (gap & middle & 1)


cdef inline int64_t median_of(int64_t* price, const mark_step_t* s) noexcept nogil:
    """The median of prices in place; 0 while it is missing. The spare, if there is one, stands last."""
    cdef int n = 0, k, at
    cdef int64_t x
    for k in range(s.inputs):
        x = price[k]
        if x == 0:
            continue
        at = n
        while at > 0 and price[at - 1] > x:
            price[at] = price[at - 1]
            at -= 1
        price[at] = x
        n += 1
    if n == 0 or (n < s.inputs and not s.flags & STEP_DROP):
        return 0
    if n == 2 and s.flags & STEP_SPARE and price[s.inputs] != 0:
        x = price[s.inputs]
        return price[0] if x < price[0] else price[1] if x > price[1] else x
    return price[n // 2] if n & 1 else half_way(price[n // 2 - 1], price[n // 2])


cdef inline int64_t weighted_median_of(const int64_t* price, const int64_t* weight, const mark_step_t* s) noexcept nogil:
    """The lowest price at which the weights of all prices up to it reach half of all; 0 while it is missing."""
    cdef int n = 0, k, j
    cdef int64_t total = 0, upto, found = 0
    for k in range(s.inputs):
        n += price[k] != 0
        total += weight[k] if price[k] != 0 else 0
    if n == 0 or (n < s.inputs and not s.flags & STEP_DROP):
        return 0
    for k in range(s.inputs):
        if price[k] == 0 or (found != 0 and price[k] >= found):
            continue
        upto = 0
        for j in range(s.inputs):
            if price[j] != 0 and price[j] <= price[k]:
                upto += weight[j]
        if 2 * upto >= total:
            found = price[k]
    return found


cdef inline int64_t source_of(const run_t* r, int i, const mark_step_t* s) noexcept nogil:
    """A price that an instrument has by itself, or an input; 0 while it is missing."""
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const book_t* book = &r.books[i]
    cdef const int64_t* inputs = r.inputs + <int64_t>i * r.inputs_n
    cdef int64_t one = 1000000000000
    if s.code == STEP_LAST:
        return ins.last_ticks * 1024
    if s.code == STEP_INDEX:
        return ins.index_1024
    if s.code == STEP_PRICE:
        return inputs[s.argument]
    if s.code == STEP_BID:
        return book_best(book, BID) * 1024 if book_has(book, BID) else 0
    if s.code == STEP_ASK:
        return book_best(book, ASK) * 1024 if book_has(book, ASK) else 0
    if s.code == STEP_MID:
        return (book_best(book, BID) + book_best(book, ASK)) * 512 if book_has(book, BID) and book_has(book, ASK) else 0
    if s.code == STEP_NONE or ins.index_1024 == 0:
        return 0
    if s.code == STEP_FUNDED_INDEX:
        return near_index(ins.index_1024, money_share_even(ins.index_1024, one + inputs[s.argument], one) - ins.index_1024)
    if inputs[s.argument] == INT64_MIN:
        return 0
    return near_index(ins.index_1024, inputs[s.argument])


cdef inline int64_t mark_value_of(const run_t* r, int i, int32_t first, int32_t last) noexcept nogil:
    """What steps [first, last) come to for an instrument, in 1/1024 ticks; 0 while it is missing."""
    cdef int64_t stack[MARK_STACK]
    cdef const mark_step_t* s
    cdef int32_t k
    cdef int n = 0
    for k in range(first, last):
        s = &r.program[k]
        if s.code == STEP_MEDIAN:
            n -= s.inputs + (1 if s.flags & STEP_SPARE else 0)
            stack[n] = median_of(&stack[n], s)
        elif s.code == STEP_WEIGHTED_MEDIAN:
            n -= s.inputs
            stack[n] = weighted_median_of(&stack[n], r.weights + s.argument, s)
        else:
            stack[n] = source_of(r, i, s)
        n += 1
    return stack[0]
