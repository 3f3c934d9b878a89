"""Fire sales of leveraged portfolios: the linear benchmark of Greenwood, Landier and Thesmar (2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._badrows import show
from ..errors import InputError, InputTypeError


@dataclass(frozen=True, eq=False)
class FireSale:
    """What one round of sales does. n banks, k assets; returns are fractions, money is in the caller's unit.

    Attributes
    ----------
    direct_return : (n,) float64
        Return on each bank's assets from the shock itself.
    sales : (n,) float64
        What each bank sells to return to its leverage.
    price_return : (k,) float64
        Second-round return of each asset: sales times price impact.
    loss : (n,) float64
        Second-round loss of each bank.
    aggregate_vulnerability : float
        Second-round losses over aggregate equity.
    systemicness : (n,) float64
        Each bank's contribution to it: the losses that its own sales cause, over aggregate equity.
    indirect_vulnerability : (n,) float64
        Each bank's second-round loss over its equity.
    """

    direct_return: np.ndarray
    sales: np.ndarray
    price_return: np.ndarray
    loss: np.ndarray
    aggregate_vulnerability: float
    systemicness: np.ndarray
    indirect_vulnerability: np.ndarray

    def plot(self, ax: Any = None) -> Any:
        """Draw for each bank the losses that it causes, of all equity, beside what it loses of its own."""
        from ..plot._look import COLOURS, axes_of, frame

        ax = axes_of(ax)
        place = np.arange(len(self.systemicness))
        ax.bar(place - 0.2, self.systemicness * 100, 0.4, color=COLOURS[0], label="causes, of all equity")
        lost = self.indirect_vulnerability * 100
        ax.bar(place + 0.2, lost, 0.4, color=COLOURS[1], label="loses, of its equity")
        ax.set_xticks(place, [str(k) for k in place])
        ax.set_xlabel("bank")
        ax.set_ylabel("second-round loss, percent")
        ax.legend(frameon=False)
        frame(ax)
        return ax


def fire_sale(assets: Any, weights: Any, equity: Any, debt: Any, impact: Any, shock: Any) -> FireSale:
    """One round of sales by banks that return to their leverage after a shock to asset prices.

    Bank i with assets A_i, debt D_i and equity E_i targets leverage D_i / E_i. A return R_i = (M f)_i on its
    assets makes it sell -A_i (D_i / E_i) R_i in proportion to its holdings - at most what it has left. The
    sales move prices by `impact` a unit of money, which costs every holder.

    Parameters
    ----------
    assets, equity, debt : (n,) array_like
        A, E > 0, D >= 0, in one unit of money.
    weights : (n, k) array_like
        M: the part of bank i's assets held in asset j; rows sum to 1.
    impact : (k,) array_like
        L: price return a unit of money sold, >= 0.
    shock : (k,) array_like
        f: returns of the assets, > -1.

    Returns
    -------
    FireSale

    Raises
    ------
    InputError, InputTypeError
        Naming the argument.

    Notes
    -----
    R. Greenwood, A. Landier, D. Thesmar, "Vulnerable banks", Journal of Financial Economics 115 (2015).

    Examples
    --------
    >>> import cascade as cs
    >>> sale = cs.studies.fire_sale(
    ...     (100, 200), [[0.5, 0.5], [0.2, 0.8]], (10, 10), (90, 190), (1e-3, 5e-4), (-0.05, 0)
    ... )
    >>> sale.sales.round(6), round(sale.aggregate_vulnerability, 7)
    (array([22.5, 38. ]), 0.3034875)
    """
    a, e, d = _vector(assets, "assets"), _vector(equity, "equity"), _vector(debt, "debt")
    m = _array(weights, "weights", 2)
    f, impacts = _vector(shock, "shock"), _vector(impact, "impact")
    n, k = m.shape
    for name, x, length in (
        ("assets", a, n),
        ("equity", e, n),
        ("debt", d, n),
        ("shock", f, k),
        ("impact", impacts, k),
    ):
        if len(x) != length:
            raise InputError(
                f"fire_sale.{name}: {len(x)} values: must be {length}, as weights has shape {m.shape}"
            )
    for name, x, bad, rule in (
        ("assets", a, a < 0, ">= 0"), ("equity", e, e <= 0, "> 0"), ("debt", d, d < 0, ">= 0"),
        ("impact", impacts, impacts < 0, ">= 0"), ("shock", f, f <= -1, "> -1"),
    ):  # fmt: skip
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise InputError(f"fire_sale.{name}[{i}] = {x[i]:g}: must be {rule}")
    rows = m.sum(axis=1)
    if (m < 0).any() or not np.allclose(rows, 1, rtol=0, atol=1e-9):
        i = int(np.argmax(np.abs(rows - 1)))
        raise InputError(f"fire_sale.weights[{i}]: sums to {rows[i]:g}: must be >= 0 and sum to 1")
    direct = m @ f
    left = a * (1 + direct)
    # Selling is bounded by what there is; after a gain there is nothing to sell.
    sales = np.clip(-a * (d / e) * direct, 0, np.maximum(left, 0))
    price_return = -impacts * (m.T @ sales)
    loss = -a * (m @ price_return)
    by_bank = (m * sales[:, None] * impacts) @ (m.T @ a)
    return FireSale(
        direct, sales, price_return, loss, float(loss.sum() / e.sum()), by_bank / e.sum(), loss / e
    )


def _array(x: Any, name: str, dimensions: int) -> np.ndarray:
    try:
        array = np.asarray(x, np.float64)
    except (TypeError, ValueError):
        raise InputTypeError(f"fire_sale.{name} = {show(x)}: must be numbers") from None
    if array.ndim != dimensions:
        raise InputError(f"fire_sale.{name}: shape {array.shape}: must have {dimensions} dimensions")
    if not np.isfinite(array).all():
        raise InputError(f"fire_sale.{name}: must be finite")
    return array


def _vector(x: Any, name: str) -> np.ndarray:
    return _array(x, name, 1)
