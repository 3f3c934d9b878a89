"""Reverse stress: the most plausible moves that cause a stated damage, by radial search over directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._badrows import show
from ..errors import InputError, InputTypeError
from ..instruments import exact
from ..result import Result
from ..shocks import RATE_ONE, Shock, _factors
from ..tables import Table
from ._outcome import as_outcome

SPREAD = 0.35
"""Size of a search's first simplex, in units of the tangent of an angle: about 20 degrees."""
SWEEPS = 50
"""Rounds over the instruments at most."""
TURNED = 2
"""Ends of relaxation from which directions are searched."""


@dataclass(frozen=True, eq=False)
class ReverseStress:
    """The nearest moves that cause the damage, and the runs that show it. n instruments.

    Attributes
    ----------
    distance : float
        Mahalanobis distance of the log returns under the covariance; NaN where no direction that was looked
        at reaches the damage, 0 where there is no need of a move.
    moves : dict of str to float
        Relative price moves at the answer, as the shock takes them.
    log_returns : (n,) float64
        The point itself, sqrt(x' C^-1 x) = distance.
    sigmas : (n,) float64
        `log_returns` in standard deviations of each instrument; NaN where the covariance has none.
    plausibility : float
        Chance that a normal draw with this covariance lies at this distance or beyond (chi-squared with as
        many degrees of freedom as the covariance has rank).
    damage : float
        The outcome of the run at the answer.
    inside : float
        The outcome of a run in the same direction at `inside_distance`, where there is not yet damage; NaN if
        the distance is 0.
    inside_distance : float
        At most `tolerance` less than `distance`.
    shock : Shock or None
        What was run at the answer.
    result : Result or None
        That run, record "summary".
    candidates : Table
        distance, and a column of log returns an instrument: where the searches ended, nearest first.
    runs : int
        Runs in all.
    """

    distance: float
    moves: dict[str, float]
    log_returns: np.ndarray
    sigmas: np.ndarray
    plausibility: float
    damage: float
    inside: float
    inside_distance: float
    shock: Shock | None
    result: Result | None
    candidates: Table
    runs: int

    def __bool__(self) -> bool:
        return bool(np.isfinite(self.distance))

    def plot(self, ax: Any = None) -> Any:
        """Draw the move of each instrument in its standard deviations."""
        from ..plot._look import COLOURS, GREY, axes_of

        ax = axes_of(ax)
        place = np.arange(len(self.moves))
        bars = ax.barh(place, np.nan_to_num(self.sigmas), 0.6, color=COLOURS[0])
        ax.bar_label(bars, [f"{move:+.2%}" for move in self.moves.values()], padding=4)
        ax.set_yticks(place, list(self.moves))
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.margins(x=0.18)
        ax.set_xlabel("move in standard deviations")
        ax.set_title(f"Mahalanobis distance {self.distance:.4g}", loc="left")
        return ax


def reverse_stress(
    market: Any, covariance: Any, symbols: Sequence[str] | None = None, *, outcome: Any = "fund_exhausted",
    limit: float | None = None, shock: Callable[[dict[str, float]], Shock] | None = None, rules: Any = None,
    reach: float = 8.0, points: int = 33, tolerance: float = 1e-4, directions: int = 64, starts: int = 8,
    rng: Any = 0,
) -> ReverseStress:  # fmt: skip
    """Find the most plausible combination of price moves that causes a damage.

    Whether there is damage is a step function of the moves, with no gradient, and need not grow with them. So
    for a direction the distances from 0 to `reach` are looked at in turn on a grid, and the first interval in
    which damage begins is halved down to `tolerance`: that is the direction's radius. Radii are taken of each
    instrument's likeliest way up and down, of all of them together, and of seeded random directions (half of
    them the likeliest way for some of the instruments to move together). From the best of these, one
    instrument after another moves towards its expectation given the others, as far as the damage stays: where
    each instrument has a threshold that is the way to a corner, the nearest one there. From the best ends
    SciPy's Nelder-Mead search makes the radius small over directions. Damage that begins and ends within one
    interval of the grid is not seen, and a search may end in a local optimum: raise `points`, `directions`
    and `starts` to look closer. All this takes thousands of runs, for five instruments tens of thousands.

    Parameters
    ----------
    market : Market
    covariance : (n, n) array_like
        Covariance of the log returns over the horizon in mind, as in `Shock.correlated`; positive
        semidefinite (moves are looked for where it allows them).
    symbols : sequence of str, length n, optional
        Default: the market's instruments, in order. Others do not move.
    outcome : str or callable
        "fund_exhausted" (nothing is left of the insurance fund; the outcome reported is what is left), a
        name as in `tipping_point`, or a function of a Result: with a limit a number, without one the damage
        itself, true or false.
    limit : number, optional
        The damage is an outcome > limit.
    shock : callable, optional
        The Shock of {symbol: relative move}. Default: `Shock(price=moves)`; another may take depth away too.
    rules : VenueRules or Venue, optional
    reach : number
        Largest distance looked at, in standard deviations.
    points : int
        Distances of the grid, without 0.
    tolerance : number
        To which radii are found.
    directions, starts : int
        Directions looked at first besides the instruments' own; searches from the best of all.
    rng : int, numpy.random.SeedSequence or numpy.random.Generator
        Of the random directions.

    Returns
    -------
    ReverseStress

    Raises
    ------
    InputError, InputTypeError
        A covariance that is not one, symbols that do not fit it, a name without a limit, sizes <= 0.
    ModuleNotFoundError
        Without SciPy (the `studies` extra).

    Notes
    -----
    T. Breuer, M. Jandacka, K. Rheinberger, M. Summer, "How to find plausible, severe, and useful stress
    scenarios", International Journal of Central Banking 5 (2009).

    Examples
    --------
    >>> import cascade as cs
    >>> found = cs.studies.reverse_stress(
    ...     cs.datasets.cluster(), [[0.01**2]], outcome="liquidated_accounts", limit=0, tolerance=1e-6
    ... )  # the long goes 8.00 below 100,000
    >>> round(found.distance, 4), found.damage, found.inside
    (0.008, 1.0, 0.0)
    """
    minimize, chi2_sf = _scipy()
    names = [i.symbol for i in market.instruments] if symbols is None else _symbols(market, symbols)
    root = _root(covariance, len(names))
    is_damage, measure = _damage(outcome, limit)
    for name, count in (("points", points), ("directions", directions), ("starts", starts)):
        if isinstance(count, bool) or not isinstance(count, int | np.integer):
            raise InputTypeError(f"reverse_stress.{name} = {show(count)}: must be an int")
        if count < 1:
            raise InputError(f"reverse_stress.{name} = {count}: must be at least 1")
    for name, value in (("reach", reach), ("tolerance", tolerance)):
        if exact(value, f"reverse_stress.{name}") <= 0:
            raise InputError(f"reverse_stress.{name} = {show(value)}: must be > 0")
    if shock is not None and not callable(shock):
        raise InputTypeError(f"reverse_stress.shock = {show(shock)}: must be a function of the moves")
    make = Shock if shock is None else shock
    try:
        generator = np.random.default_rng(rng)
    except (TypeError, ValueError):
        rule = "must be a seed, a SeedSequence or a Generator"
        raise InputTypeError(f"reverse_stress.rng = {show(rng)}: {rule}") from None
    search = _Radii(
        lambda z: market.run(make(_moves(names, root @ z)), rules=rules, record="summary"),
        is_damage, np.linspace(0, float(reach), int(points) + 1), float(tolerance),
    )  # fmt: skip
    ends = _searched(search, root, minimize, int(directions), int(starts), generator)
    near = [end for end in ends if np.isfinite(end[0])]
    table = Table(
        {
            "distance": np.array([r for r, _ in near], np.float64),
            **{s: np.array([(root @ z)[k] * r for r, z in near], np.float64) for k, s in enumerate(names)},
        }
    )
    deviation = np.sqrt((root**2).sum(axis=1))
    nan = float("nan")
    if not near:
        lost = np.full(len(names), nan)
        return ReverseStress(
            nan, dict.fromkeys(names, nan), lost, lost.copy(), nan, nan, nan, nan, None, None, table,
            search.runs,
        )  # fmt: skip
    radius, direction = near[0]
    inside_radius = search.last_below(direction)
    result = search.run(radius * direction)
    before = search.run(inside_radius * direction) if radius > 0 else None
    if not is_damage(result) or (before is not None and is_damage(before)):
        raise InputError("reverse_stress.outcome: gives different answers for equal runs: must not")
    point = radius * (root @ direction)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigmas = point / deviation
    moves = _moves(names, point)
    return ReverseStress(
        radius, moves, point, sigmas, float(chi2_sf(radius**2, root.shape[1])), measure(result),
        nan if before is None else measure(before), inside_radius, make(moves), result, table, search.runs,
    )  # fmt: skip


class _Radii:
    """The distance at which damage begins, direction by direction."""

    def __init__(
        self, run: Callable[[np.ndarray], Result], is_damage: Callable[[Result], bool], grid: np.ndarray,
        tolerance: float,
    ) -> None:  # fmt: skip
        self._run, self._is_damage, self.grid, self.tolerance = run, is_damage, grid, tolerance
        self._below: dict[bytes, float] = {}
        self.runs = 0

    def run(self, z: np.ndarray) -> Result:
        self.runs += 1
        return self._run(z)

    def damaged(self, z: np.ndarray) -> bool:
        return self._is_damage(self.run(z))

    def __call__(self, direction: np.ndarray) -> float:
        """The radius of a direction of length 1; infinite where no distance of the grid has damage."""
        for low, high in zip(self.grid[:-1], self.grid[1:], strict=True):
            if self.damaged(high * direction):
                no, yes = float(low), float(high)
                while yes - no > self.tolerance:
                    middle = (no + yes) / 2
                    if self.damaged(middle * direction):
                        yes = middle
                    else:
                        no = middle
                self._below[direction.tobytes()] = no
                return yes
        return float("inf")

    def last_below(self, direction: np.ndarray) -> float:
        """The distance nearest below a direction's radius that was found without damage."""
        return self._below.get(direction.tobytes(), 0.0)


def _searched(
    search: _Radii, root: np.ndarray, minimize: Any, directions: int, starts: int, rng: np.random.Generator
) -> list[tuple[float, np.ndarray]]:
    """(radius, direction) where the searches ended, nearest first."""
    rank = root.shape[1]
    if search.damaged(np.zeros(rank)):
        return [(0.0, np.eye(rank)[0])]
    # Moving instrument i alone by a given amount is nearest along its own row of the root.
    first = [*root, -root.sum(axis=0), root.sum(axis=0), *(-root)]
    if rank > 1:
        first += [_drawn(root, k, rng) for k in range(directions)]
    lengths = [np.linalg.norm(d) for d in first]
    first = [d / length for d, length in zip(first, lengths, strict=True) if length > 0]
    ends = sorted(((search(d), k) for k, d in enumerate(first)))
    found = [(radius, first[k]) for radius, k in ends if np.isfinite(radius)][:starts]
    if rank > 1:
        found = sorted((_relaxed(search, root, *start) for start in found), key=lambda end: end[0])
        for k, start in enumerate(found[:TURNED]):
            found[k] = _relaxed(search, root, *_turned(search, minimize, *start))
    return sorted(found, key=lambda end: end[0])


def _drawn(root: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Direction k of the random ones: by turns any, and the likeliest way in which some of the instruments
    fall, or rise, together."""
    n, rank = root.shape
    if k % 2 or n == 1:
        return np.asarray(rng.standard_normal(rank))
    some = rng.permutation(n)[: rng.integers(2, n + 1)]
    sign = 1.0 if k % 4 else -1.0
    far = sign * rng.uniform(0.5, 1.5, len(some)) * np.sqrt((root[some] ** 2).sum(axis=1))
    return np.linalg.pinv(root[some]) @ far


def _relaxed(
    search: _Radii, root: np.ndarray, radius: float, direction: np.ndarray
) -> tuple[float, np.ndarray]:
    """Move one instrument at a time towards where the distance is least, as far as the damage stays."""
    z = radius * direction
    for _ in range(SWEEPS):
        before = float(np.linalg.norm(z))
        for step in np.linalg.pinv(root).T:  # moves one instrument by 1
            length = float(np.linalg.norm(step))
            if length == 0:
                continue
            way = step / length
            no, yes = -float(z @ way), 0.0
            if before - float(np.linalg.norm(z + no * way)) < search.tolerance / 4:
                continue
            if search.damaged(z + no * way):
                z = z + no * way
                continue
            while abs(yes - no) > search.tolerance:
                middle = (no + yes) / 2
                if search.damaged(z + middle * way):
                    yes = middle
                else:
                    no = middle
            z = z + yes * way
        if before - float(np.linalg.norm(z)) < search.tolerance:
            break
    reached = float(np.linalg.norm(z))
    if reached == 0:
        return radius, direction
    found = search(z / reached)
    return (found, z / reached) if found < radius else (radius, direction)


def _turned(
    search: _Radii, minimize: Any, radius: float, direction: np.ndarray
) -> tuple[float, np.ndarray]:
    """The best of a search that begins at a direction, by steps in the plane that touches the sphere
    there."""
    best = radius, direction
    far = 2 * float(search.grid[-1])
    plane = np.linalg.svd(direction[None, :])[2][1:]  # (rank - 1, rank): orthogonal to it

    def radius_of(t: np.ndarray) -> float:
        nonlocal best
        d = direction + t @ plane
        d /= np.linalg.norm(d)
        r = search(d)
        if r < best[0]:
            best = r, d
        return min(r, far)

    k = len(plane)
    minimize(
        radius_of, np.zeros(k), method="Nelder-Mead",
        options={
            "initial_simplex": np.vstack([np.zeros(k), SPREAD * np.eye(k)]), "xatol": 1e-3,
            "fatol": search.tolerance, "maxfev": 60 * k, "adaptive": k > 2,
        },
    )  # fmt: skip
    return best


def _moves(names: list[str], log_returns: np.ndarray) -> dict[str, float]:
    """Relative moves as a shock takes them: of 1e-9, above -1."""
    gaps = np.maximum(np.expm1(log_returns), -1 + 2 / RATE_ONE)
    return {s: round(g, 9) for s, g in zip(names, gaps.tolist(), strict=True)}


def _symbols(market: Any, symbols: Any) -> list[str]:
    if isinstance(symbols, str) or not isinstance(symbols, Sequence):
        raise InputTypeError(f"reverse_stress.symbols = {show(symbols)}: must be a sequence of symbols")
    names = [market.instruments[market.instrument_index(s, "reverse_stress.symbols")].symbol for s in symbols]
    if len(set(names)) != len(names):
        raise InputError(f"reverse_stress.symbols = {show(symbols)}: must not name an instrument twice")
    return names


def _root(covariance: Any, n: int) -> np.ndarray:
    """(n, rank) matrix whose product with its transpose is the covariance."""
    left, values, _ = np.linalg.svd(_factors(covariance, None, n))
    kept = values > 1e-9 * values.max(initial=0)
    if not kept.any():
        raise InputError("reverse_stress.covariance: must allow at least one move")
    return left[:, kept] * values[kept]


def _damage(outcome: Any, limit: Any) -> tuple[Callable[[Result], bool], Callable[[Result], float]]:
    """(whether a run has the damage, the number that is reported of it)."""
    if limit is not None:
        beyond = float(exact(limit, "reverse_stress.limit"))
        if isinstance(outcome, str) and outcome == "fund_exhausted":
            raise InputError("reverse_stress.limit: must not be given with fund_exhausted")
        measure = as_outcome(outcome, "reverse_stress.outcome")
        return lambda result: float(measure(result)) > beyond, lambda result: float(measure(result))
    if isinstance(outcome, str) and outcome == "fund_exhausted":
        return lambda result: result._summary["fund_end"] <= 0, lambda result: result._summary["fund_end"]
    if callable(outcome):
        return lambda result: bool(outcome(result)), lambda result: float(outcome(result))
    as_outcome(outcome, "reverse_stress.outcome")
    raise InputError(f"reverse_stress.limit: must be given with outcome = {outcome!r}")


def _scipy() -> tuple[Any, Callable[[float, int], float]]:
    """(scipy.optimize.minimize, survival function of chi-squared)."""
    try:
        from scipy.optimize import minimize
        from scipy.special import gammaincc
    except ModuleNotFoundError as error:
        message = "reverse_stress needs SciPy: pip install 'liquidation-cascade[studies]'"
        raise ModuleNotFoundError(message, name="scipy") from error
    return minimize, lambda x, freedom: float(gammaincc(freedom / 2, x / 2))
