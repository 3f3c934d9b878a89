"""The picture of a run: price, liquidations and the insurance fund, one below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..result import Result
from ._fund import fund
from ._look import check_result, pyplot
from ._waves import price_path, waves

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overview(result: Result, *, figure: Figure | None = None) -> Figure:
    """Draw price by wave, liquidated notional by wave and the insurance fund, one below the other.

    Parameters
    ----------
    result : Result
        Without record="all" the fund is left out.
    figure : matplotlib Figure, optional
        An empty figure to draw on; by default a new one of pyplot's.

    Returns
    -------
    matplotlib Figure
    """
    check_result(result)
    panels = 3 if result._record == "all" else 2
    if figure is None:
        figure = pyplot().figure(figsize=(9, 3.1 * panels + 0.6), layout="constrained")
    ratios = [1.35, 1, 1][:panels]
    axes = figure.subplots(panels, 1, sharex=True, gridspec_kw={"height_ratios": ratios})
    price_path(result, ax=axes[0])
    waves(result, ax=axes[1])
    if panels == 3:
        fund(result, ax=axes[2])
    for ax in axes[:-1]:
        ax.set_xlabel("")
    s = result._summary
    count = f"{s['waves']} wave{'' if s['waves'] == 1 else 's'}"
    figure.suptitle(
        f"{result._shock}: {count}, {s['liquidated_accounts']:,} accounts liquidated, "
        f"{s['status'].replace('_', ' ')}",
        x=0.012, ha="left", fontsize="large", fontweight="bold", parse_math=False,
    )  # fmt: skip
    return figure
