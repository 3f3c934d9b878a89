"""Pictures of markets, runs and studies.

Needs matplotlib (the `plot` extra).

Every function draws on `ax` (by default the current Axes) and returns it, so that pictures can be put
together; `overview` makes the three-panel figure of a run. Text, ticks and frames follow matplotlib's style:
`plt.style.context("dark_background")` makes pictures for a dark page. What is drawn is in colours that
colour-blind readers tell apart, on white and on black.
"""

from ._curves import curve, distributions, fragility
from ._fund import fund, waterfall
from ._map import liquidation_map
from ._network import contagion, network
from ._overview import overview
from ._waves import price_path, waves

__all__ = [
    "contagion", "curve", "distributions", "fragility", "fund", "liquidation_map", "network", "overview",
    "price_path", "waterfall", "waves",
]  # fmt: skip
