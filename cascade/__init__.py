"""Liquidation cascades on real order books: given these positions and these books, what happens when the
price is hit?

>>> import cascade as cs

`cs.Market` loads instruments, books, accounts and positions; `market.run(cs.Shock(...))` gives a `Result`.
`cs.OrderBook` is the matching engine alone. See the README for a first example.
"""

try:
    from . import _core  # noqa: F401
except ImportError as error:  # the source tree before it is built
    if "_core" not in str(error):
        raise
    raise ImportError(
        "cascade is not built here: run `pip install .`, and start Python outside the source tree "
        "(or build in place with `python setup.py build_ext --inplace`)"
    ) from error

from . import breakers, datasets, io, marks, plot, reference, studies, venues
from ._core import OrderBook
from .breakers import MarketHalt, PriceBand, VelocityLogic, Width
from .collateral import Collateral
from .criticality import Criticality
from .errors import (
    AuditError,
    Cancelled,
    CapacityError,
    CascadeError,
    EngineStateError,
    InputError,
    InputTypeError,
    RangeError,
)
from .funding import Funding
from .instruments import Instrument, Tier
from .market import Market
from .matching import Matching
from .records import (
    EVENT_DTYPE,
    FORMAT_VERSION,
    NO_INSTRUMENT,
    ORDER_DTYPE,
    REPORT_DTYPE,
    Action,
    EventKind,
    LiquidationStatus,
    OrderFlags,
    OrderType,
    Reason,
    ReportKind,
    ShockPart,
    Side,
    Status,
    Stp,
    TimeInForce,
    Why,
)
from .result import Result
from .rules import Venue, VenueRules
from .shocks import Shock
from .simulation import Simulation
from .sweep import Sweep
from .tables import Table

__version__ = "0.1.0"

__all__ = [
    "EVENT_DTYPE",
    "FORMAT_VERSION",
    "NO_INSTRUMENT",
    "ORDER_DTYPE",
    "REPORT_DTYPE",
    "Action",
    "AuditError",
    "Cancelled",
    "CapacityError",
    "CascadeError",
    "Collateral",
    "Criticality",
    "EngineStateError",
    "EventKind",
    "Funding",
    "InputError",
    "InputTypeError",
    "Instrument",
    "LiquidationStatus",
    "Market",
    "MarketHalt",
    "Matching",
    "OrderBook",
    "OrderFlags",
    "OrderType",
    "PriceBand",
    "RangeError",
    "Reason",
    "ReportKind",
    "Result",
    "Shock",
    "ShockPart",
    "Side",
    "Simulation",
    "Status",
    "Stp",
    "Sweep",
    "Table",
    "Tier",
    "TimeInForce",
    "VelocityLogic",
    "Venue",
    "VenueRules",
    "Why",
    "Width",
    "breakers",
    "datasets",
    "io",
    "marks",
    "plot",
    "reference",
    "studies",
    "venues",
]
