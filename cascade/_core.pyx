"""The compiled core: allocation, loading, the loops without the GIL, errors, export. The work is in the .pxd
units."""

from libc.stdint cimport INT64_MAX, int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cimport cython

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc

from cascade._allocate cimport STEP_FIFO, STEP_TOP, rule_t
from cascade._book cimport (
    ORDER_EXTERNAL,
    SLOT_BITS,
    STOP_BIT,
    book_behind,
    book_best,
    book_best_level,
    book_clear,
    book_copy,
    book_count,
    book_expect,
    book_external,
    book_external_at,
    book_find,
    book_fits,
    book_free,
    book_front_of,
    book_has,
    book_hide,
    book_id,
    book_init,
    book_level_at,
    book_level_open,
    book_lots,
    book_make_rare,
    book_next_level,
    book_open,
    book_owner,
    book_owner_append,
    book_owner_find,
    book_owner_first,
    book_owner_next,
    book_owner_record,
    book_owner_settle,
    book_place,
    book_rare,
    book_reduce,
    book_remove,
    book_reserve,
    book_reserve_rare,
    book_t,
    owner_t,
)
from cascade._bookcheck cimport book_check
from cascade._match cimport (
    match_cancel_owner,
    match_commit,
    match_join_external,
    match_prepare,
    match_set_mark,
    plan_t,
)
from cascade._process cimport book_process, book_process_trades, message_plain
from cascade._sink cimport match_side_code, sink_count, sink_fix, sink_grow, sink_t
from cascade._take cimport match_crosses
from cascade._ids cimport ids_put
from cascade._ladder cimport ASK, BID, level_t
from cascade._pool cimport large_pages
from cascade._stops cimport STOP_WAITING, stop_heap, stop_t, stops_add, stops_reserve
from cascade._types cimport (
    ACTION_CANCEL,
    ACTION_MODIFY,
    ERR_RANGE,
    FLAG_MARK_TRIGGER,
    FLAG_REDUCE_ONLY,
    MAX_HANDLES,
    OK,
    REASON_FOK_UNFILLABLE,
    SIDE_BUY,
    TIF_IOC,
    TYPE_MARKET,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    order_msg_t,
    rare_t,
    report_t,
)

import numpy as np

from cascade import _bookdump, _orders
from cascade.errors import Cancelled, CapacityError, EngineStateError, InputError, RangeError
from cascade.matching import as_matching
from cascade.records import REPORT_DTYPE

cdef extern from *:
    """
    /* A flag that one thread holds; acquire and release, so that the next holder sees what this one wrote. */
    static inline int cascade_flag_take(int *flag) { return !__atomic_exchange_n(flag, 1, __ATOMIC_ACQUIRE); }
    static inline void cascade_flag_give(int *flag) { __atomic_store_n(flag, 0, __ATOMIC_RELEASE); }
    static inline void *cascade_pointer_swap(void **p, void *v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }
    """
    bint cascade_flag_take(int* flag) noexcept nogil
    void cascade_flag_give(int* flag) noexcept nogil
    void* cascade_pointer_swap(void** p, void* v) noexcept nogil

cdef extern from *:
    """
    #ifdef CASCADE_TESTING
    #define CASCADE_IS_TESTING 1
    #else
    #define CASCADE_IS_TESTING 0
    #endif
    """
    bint CASCADE_IS_TESTING

TESTING = bool(CASCADE_IS_TESTING)
"""Whether this is a test build, in which bugs can be planted (`Engine.begin`)."""


cdef int raise_status(int status) except -1:
    """The exception of an order book's status; OK returns."""
    if status == OK:
        return 0
    if status == ERR_RANGE:
        raise RangeError("order book: the sum of a level's quantities does not fit 64 bits")
    raise CapacityError("order book: out of memory")


# A record of _bookdump.RESTING_DTYPE.
ctypedef packed struct _resting_t:
    uint64_t order_id
    int64_t price
    int64_t quantity
    int64_t shown
    int64_t display
    int32_t owner
    int32_t owner_rank
    int8_t side
    uint8_t external
    uint8_t flags
    uint8_t stp
    uint8_t top
    uint8_t pad[3]


include "_reports.pxi"
include "_orderbook.pxi"
include "_outcome.pxi"
include "_engine.pxi"
include "_ready.pxi"
