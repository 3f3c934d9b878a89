"""Liquidation cascades on real order books."""

from cascade._core import OrderBook
from cascade.errors import (
    CapacityError,
    CascadeError,
    EngineStateError,
    InputError,
    InputTypeError,
    RangeError,
)
from cascade.records import (
    FORMAT_VERSION,
    ORDER_DTYPE,
    REPORT_DTYPE,
    Action,
    OrderFlags,
    OrderType,
    Reason,
    ReportKind,
    Side,
    Stp,
    TimeInForce,
)

__all__ = [
    "FORMAT_VERSION",
    "ORDER_DTYPE",
    "REPORT_DTYPE",
    "Action",
    "CapacityError",
    "CascadeError",
    "EngineStateError",
    "InputError",
    "InputTypeError",
    "OrderBook",
    "OrderFlags",
    "OrderType",
    "RangeError",
    "Reason",
    "ReportKind",
    "Side",
    "Stp",
    "TimeInForce",
]
