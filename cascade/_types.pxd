"""Records, codes and status values that the units share; records.py holds the same numbers for Python."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t


# What a fallible unit function returns: OK, or a negative status with nothing changed.
cdef enum:
    OK = 0
    ERR_MEMORY = -2     # the allocator failed, or 2**31 - 1 handles are in use
    ERR_RANGE = -3      # a sum would leave int64
    ERR_AUDIT = -4      # conservation is violated: a defect
    ERR_CROSSES = -5    # external levels would cross the other side's

cdef enum:
    MAX_HANDLES = 0x7FFFFFFF

cdef enum:
    ACTION_NEW = 0
    ACTION_CANCEL = 1
    ACTION_MODIFY = 2

cdef enum:
    SIDE_BUY = 1
    SIDE_SELL = -1

cdef enum:
    TYPE_LIMIT = 0
    TYPE_MARKET = 1
    TYPE_STOP = 2
    TYPE_STOP_LIMIT = 3

cdef enum:
    TIF_GTC = 0
    TIF_IOC = 1
    TIF_FOK = 2
    TIF_POST_ONLY = 3

cdef enum:
    FLAG_REDUCE_ONLY = 1
    FLAG_MARK_TRIGGER = 2
    FLAGS_KNOWN = 3

cdef enum:
    STP_NONE = 0
    STP_TAKER = 1
    STP_MAKER = 2
    STP_BOTH = 3
    STP_DECREMENT = 4
    STP_LAST = 4

cdef enum:
    REPORT_ACK = 0
    REPORT_TRADE = 1
    REPORT_CANCELLED = 2
    REPORT_MODIFIED = 3
    REPORT_REJECTED = 4
    REPORT_TRIGGERED = 5

cdef enum:
    REASON_NONE = 0
    REASON_USER = 1
    REASON_IOC = 2
    REASON_STP = 3
    REASON_OWNER = 4
    REASON_REDUCE_ONLY = 5
    REASON_DUPLICATE_ID = 6
    REASON_UNKNOWN_ID = 7
    REASON_BAD_QUANTITY = 8
    REASON_BAD_PRICE = 9
    REASON_BAD_SIDE = 10
    REASON_BAD_FIELD = 11
    REASON_FOK_UNFILLABLE = 12
    REASON_WOULD_TAKE = 13
    REASON_UNSUPPORTED = 14
    REASON_BAD_OWNER = 15
    REASON_BEYOND_DATA = 16
    REASON_CAPACITY = 17
    REASON_UNALLOCATED = 18
    REASON_BANDED = 19
    REASON_HALTED = 20


# ORDER_DTYPE: one message. Packed, because a caller's array may start at any byte.
ctypedef packed struct order_msg_t:
    uint64_t order_id
    int64_t price           # ticks, any int64; not read for a market order, only repeated in its reports
    int64_t quantity        # lots, 1..2**62; of a MODIFY the new open quantity
    int64_t stop_price      # ticks, read by stops only
    int64_t display         # lots shown, 0 shows all
    int64_t ts_ns           # not read here
    int32_t owner           # >= 0, 0 is nobody
    int32_t instrument      # not read here
    uint8_t action
    int8_t side             # SIDE_BUY or SIDE_SELL
    uint8_t type
    uint8_t tif
    uint8_t flags
    uint8_t stp
    uint8_t pad[2]


# REPORT_DTYPE: one report. A field that its kind does not name is 0.
ctypedef packed struct report_t:
    uint64_t order_id       # the subject; of a trade the taker
    uint64_t maker_id       # trades only
    int64_t price           # ticks
    int64_t quantity        # lots
    int64_t leaves          # lots the taker has left; trades only
    int64_t message         # row of the call's array that caused it
    int32_t owner           # of order_id; 0 in a rejection
    int32_t maker_owner     # trades only
    uint8_t kind
    int8_t side
    uint8_t action          # rejections only
    uint8_t reason
    uint8_t pad[4]


# What few orders have, beside their id and lots. Invariant: an order with owner_record > 0 is linked in that owner's list.
ctypedef struct rare_t:
    int32_t owner_record    # 0: the order is nobody's
    uint32_t owner_prev     # handle of the owner's earlier order, 0 at the front
    uint32_t owner_next     # of the later one, 0 at the end
    uint32_t peak           # record of an iceberg, 0: all of it shows
    uint8_t flags           # FLAG_...
    uint8_t stp
    uint8_t pad[2]
