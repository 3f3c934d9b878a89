"""Reports out: where they go and how they are written."""

from cpython.mem cimport PyMem_RawRealloc
from libc.stdint cimport int32_t, int64_t, int8_t, uint64_t, uint8_t
from libc.string cimport memset

from cascade._ladder cimport unlikely
from cascade._pool cimport large_pages
from cascade._types cimport REPORT_CANCELLED, REPORT_TRADE, report_t

cdef extern from *:
    """
    /* Bytes kind, side, action, reason of a report. */
    #define CASCADE_CODES(kind, side, reason) ((uint64_t)(kind) | (uint64_t)(uint8_t)(side) << 8 | (uint64_t)(reason) << 24)
    static inline void cascade_report(void *r, uint64_t id, uint64_t maker, int64_t price, int64_t quantity, int64_t leaves,
                                      int64_t message, uint64_t owners, uint64_t codes) {
        char *w = (char *)r;   /* words by memcpy: the records may start at any byte */
        __builtin_memcpy(w, &id, 8);
        __builtin_memcpy(w + 8, &maker, 8);
        __builtin_memcpy(w + 16, &price, 8);
        __builtin_memcpy(w + 24, &quantity, 8);
        __builtin_memcpy(w + 32, &leaves, 8);
        __builtin_memcpy(w + 40, &message, 8);
        __builtin_memcpy(w + 48, &owners, 8);
        __builtin_memcpy(w + 56, &codes, 8);
    }
    """
    uint64_t report_codes "CASCADE_CODES"(int kind, int side, int reason) noexcept nogil
    void report_put "cascade_report"(
        void* r, uint64_t id, uint64_t maker, int64_t price, int64_t quantity, int64_t leaves, int64_t message, uint64_t owners,
        uint64_t codes
    ) noexcept nogil


# What happens when the reports are full.
cdef enum:
    SINK_FIXED = 0          # cannot happen: the caller has counted
    SINK_GROWS = 1          # `memory` is the sink's own and made larger
    SINK_COUNTS = 2         # they are counted and thrown away


# Where reports go. Invariant: n <= cap; nothing is written beyond reports[cap - 1].
ctypedef struct sink_t:
    report_t* reports
    int64_t cap
    int64_t n               # written and still there
    int64_t gone            # thrown away
    int64_t trades_gone     # of these, trades
    int mode
    bint failed             # memory ran out: reports are missing
    void* memory            # of SINK_GROWS; `reports` lie `skip` bytes behind its start
    size_t skip
    report_t few[8]         # what SINK_COUNTS writes to


cdef inline void sink_count(sink_t* sink) noexcept nogil:
    """Make a sink that only counts."""
    sink.reports = sink.few
    sink.cap = 8
    sink.n = 0
    sink.gone = 0
    sink.trades_gone = 0
    sink.mode = SINK_COUNTS
    sink.failed = False
    sink.memory = NULL
    sink.skip = 0


cdef inline void sink_grow(sink_t* sink, void* memory, size_t skip, int64_t cap) noexcept nogil:
    """Make a sink that writes to `memory`, which has room for `cap` reports behind `skip` bytes, and enlarges it."""
    sink_count(sink)
    sink.mode = SINK_GROWS
    sink.memory = memory
    sink.skip = skip
    sink.reports = <report_t*>(<char*>memory + skip)
    sink.cap = cap


cdef inline void sink_fix(sink_t* sink, report_t* reports, int64_t cap) noexcept nogil:
    """Make a sink that writes to a buffer; the caller sees to it that all fits."""
    sink_count(sink)
    sink.mode = SINK_FIXED
    sink.reports = reports
    sink.cap = cap


cdef inline int64_t sink_trades(const sink_t* sink, int64_t since) noexcept nogil:
    """The trades among the reports that are there."""
    cdef int64_t i, n = 0
    for i in range(since, sink.n):
        n += sink.reports[i].kind == REPORT_TRADE
    return n


cdef inline void sink_more(sink_t* sink) noexcept nogil:
    """The reports are full."""
    cdef int64_t cap = 2 * sink.cap if sink.cap > 0 else 16
    cdef void* grown = NULL
    if sink.mode == SINK_GROWS:
        grown = PyMem_RawRealloc(sink.memory, sink.skip + <size_t>cap * sizeof(report_t))
        if grown != NULL:
            large_pages(grown, sink.skip + <size_t>cap * sizeof(report_t))
            sink.memory = grown
            sink.reports = <report_t*>(<char*>grown + sink.skip)
            sink.cap = cap
            return
        sink.failed = True
        if sink.cap == 0:   # not even the first ones found memory
            sink.reports = sink.few
            sink.cap = 8
    sink.trades_gone += sink_trades(sink, 0)
    sink.gone += sink.n
    sink.n = 0


cdef inline report_t* sink_next(
    sink_t* sink, int kind, uint64_t id, int32_t owner, int64_t message
) noexcept nogil:
    """The next report, zero but for what every kind has."""
    cdef report_t* r
    if unlikely(sink.n == sink.cap):
        sink_more(sink)
    r = &sink.reports[sink.n]
    sink.n += 1
    memset(r, 0, sizeof(report_t))
    r.kind = <uint8_t>kind
    r.order_id = id
    r.owner = owner
    r.message = message
    return r


cdef inline int8_t match_side_code(int side) noexcept nogil:
    """BID or ASK as the side code of the records."""
    return <int8_t>(1 - 2 * side)


cdef inline void report_cancelled(
    sink_t* sink, uint64_t id, int32_t owner, int64_t message, int side, int64_t price, int64_t lots, int64_t leaves, int reason
) noexcept nogil:
    cdef report_t* r = sink_next(sink, REPORT_CANCELLED, id, owner, message)
    r.side = match_side_code(side)
    r.price = price
    r.quantity = lots
    r.leaves = leaves
    r.reason = <uint8_t>reason
