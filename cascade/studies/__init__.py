"""Studies: the questions that people ask of many scenarios, as functions with small result objects.

Every study runs the engine as a caller would (`Market.run`, `Market.sweep`) and changes nothing.

>>> import cascade as cs
>>> def sale(q):
...     return cs.Shock(orders={"X": -q})
>>> cs.studies.tipping_point(cs.datasets.cluster(), sale, 1, 1000, step=1).at
800.0
"""

from ._criticality import Importance, criticality
from ._fire_sale import FireSale, fire_sale
from ._fragility import Fragility, fragility
from ._manipulation import ManipulationCost, manipulation_cost
from ._mitigation import Mitigation, mitigation
from ._network import Network, network
from ._reverse import ReverseStress, reverse_stress
from ._tail import TailRisk, tail_risk
from ._tipping import TippingPoint, tipping_point

__all__ = [
    "FireSale", "Fragility", "Importance", "ManipulationCost", "Mitigation", "Network", "ReverseStress",
    "TailRisk", "TippingPoint", "criticality", "fire_sale", "fragility", "manipulation_cost", "mitigation",
    "network", "reverse_stress", "tail_risk", "tipping_point",
]  # fmt: skip
