"""The compiled core: allocation, loading, the loops without the GIL, errors, export. The work is in the .pxd
units."""

from libc.stdint cimport INT64_MAX, int8_t, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memset

cimport cython

from cascade._book cimport (
    ASK,
    BID,
    ORDER_EXTERNAL,
    book_add,
    book_best,
    book_check,
    book_copy,
    book_external_at,
    book_find,
    book_fits,
    book_free,
    book_grow_orders,
    book_grow_owners,
    book_has,
    book_init,
    book_level_at,
    book_owner_append,
    book_owner_first,
    book_place,
    book_reduce,
    book_remove,
    book_reserve,
    book_t,
    level_t,
    order_t,
    side_t,
)
from cascade._match cimport (
    SINK_ALL,
    SINK_NONE,
    SINK_TRADES,
    book_process,
    match_cancel_owner,
    match_commit,
    match_crosses,
    match_prepare,
    match_side_code,
    plan_t,
    sink_t,
)
from cascade._pool cimport idmap_reserve
from cascade._types cimport (
    ACTION_CANCEL,
    ACTION_MODIFY,
    ERR_RANGE,
    MAX_HANDLES,
    OK,
    TYPE_LIMIT,
    TYPE_MARKET,
    order_msg_t,
    report_t,
)

import numpy as np

from cascade import _bookdump, _orders
from cascade.errors import CapacityError, EngineStateError, InputError, RangeError
from cascade.records import REPORT_DTYPE

cdef extern from *:
    """
    /* A flag that one thread holds; acquire and release, so that the next holder sees what this one wrote. */
    static inline int cascade_flag_take(int *flag) { return !__atomic_exchange_n(flag, 1, __ATOMIC_ACQUIRE); }
    static inline void cascade_flag_give(int *flag) { __atomic_store_n(flag, 0, __ATOMIC_RELEASE); }
    """
    bint cascade_flag_take(int* flag) noexcept nogil
    void cascade_flag_give(int* flag) noexcept nogil

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


include "_orderbook.pxi"
include "_engine.pxi"
