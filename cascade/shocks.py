"""Shocks: what hits the market, as the user says it and as the engines' integer operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ._badrows import show
from .errors import InputError, InputTypeError, RangeError
from .instruments import RATE_ONE as FUNDING_ONE
from .instruments import exact, rate
from .records import ShockPart, Side

RATE_ONE = 10**9
"""Gaps, factors and distances are integers of 1e-9."""
LARGEST_FACTOR = 10**6

OP_DTYPE = np.dtype(
    [
        ("part", "<i4"), ("instrument", "<i4"), ("account", "<i4"), ("side", "<i4"), ("rate", "<i8"),
        ("low", "<i8"),
        ("high", "<i8"), ("quantity", "<i8"),
    ]
)  # fmt: skip
"""One operation of a shock, in the order in which it happens."""

_SIDES = {"both": 0, "bid": int(Side.BUY), "ask": int(Side.SELL)}
_EVERYWHERE = 2**62


class Shock:
    """What happens to the market at one instant, before anybody is liquidated.

    Within one shock the parts happen in this order: price, index, depth, haircut, cash, funding, orders.
    `a + b` is all of a, then all of b.

    Parameters
    ----------
    price : number or {symbol: number}
        Relative gap: last, index, external prices and the external orders' prices move by 1 + g (bids round
        down to a tick, asks up), as if market makers had re-quoted everywhere. A plain number moves every
        instrument.
    index : number or {symbol: number}
        Relative move of the index alone. The index of an instrument that neither this nor `price` names
        follows the one that its `Instrument(index_follows=)` names.
    depth : number or {symbol: number or rows}
        External orders keep floor(lots * factor). Rows (side, low, high, factor) restrict a factor to a side
        ("bid", "ask", "both") and to distances from the mid in [low, high), relative to it; high may be None.
    cash : {account: number}
        Deposits (positive) and withdrawals (negative), in the settlement currency.
    orders : {symbol: number}
        Signed quantities of market orders by the external account.
    haircut : number or {asset: number}
        New haircuts in [0, 1], to 1e-12, of assets of `Market.collateral`; a plain number is every asset's.
    funding : number or {symbol: number}
        Funding rates in [-1, 1], of 1e-12: every open position pays (where long) or receives notional * rate,
        the external account being the other side. The price is the rules' (`Funding.price`).

    Raises
    ------
    InputError, InputTypeError
        Here for a malformed value; when run for an unknown symbol or account.

    Examples
    --------
    >>> import cascade as cs
    >>> crash = cs.Shock(price={"BTCUSDT": -0.08}, depth={"BTCUSDT": 0.5})
    >>> shock = crash + cs.Shock(orders={"BTCUSDT": -100})
    >>> len(shock)
    2
    """

    __slots__ = ("_made", "_parts")

    def __init__(
        self, price: Any = None, *, index: Any = None, depth: Any = None, cash: Mapping | None = None,
        orders: Mapping | None = None, funding: Any = None, haircut: Any = None,
    ) -> None:  # fmt: skip
        part = {
            "price": _moves(price, "shock.price", -1, open_below=True),
            "index": _moves(index, "shock.index", -1, open_below=True),
            "depth": _depths(depth),
            "haircut": {
                k: int(rate(v, _place("shock.haircut", k), 0) * FUNDING_ONE)
                for k, v in _keyed(haircut, "shock.haircut").items()
            },
            "cash": _amounts(cash, "shock.cash"),
            "funding": {
                k: int(rate(v, _place("shock.funding", k)) * FUNDING_ONE)
                for k, v in _keyed(funding, "shock.funding").items()
            },
            "orders": _amounts(orders, "shock.orders"),
        }
        self._parts: tuple[dict[str, dict], ...] = (part,)
        self._made: tuple[object, np.ndarray, Any] | None = None
        """(State.token, operations, rules under which they fit) of the market that it hit last; its own"""

    @classmethod
    def correlated(
        cls, covariance: Any = None, symbols: Sequence[str] = (), *, rng: Any, loadings: Any = None,
        df: float | None = None,
    ) -> Shock:  # fmt: skip
        """Draw one vector of relative price moves.

        Parameters
        ----------
        covariance : (n, n) array_like, optional
            Covariance of the instruments' log returns; symmetric, positive semidefinite.
        symbols : sequence of str, length n
        rng : numpy.random.Generator
        loadings : (n, k) array_like, optional
            Instead of a covariance: log returns are loadings @ z for k independent standard normal factors z.
            A last column of idiosyncratic risks is as good as any other: write diagonal columns for it.
        df : number > 2, optional
            Student's t with so many degrees of freedom instead of the normal, scaled to the same covariance:
            all instruments share one tail.

        Returns
        -------
        Shock : price gaps exp(log return) - 1, each > -1.

        Raises
        ------
        InputError, InputTypeError
            Shapes that do not fit the symbols, a covariance that is not one, a generator that is not one.

        Examples
        --------
        >>> import cascade as cs, numpy as np
        >>> cov = np.array([[4e-4, 3e-4], [3e-4, 9e-4]])
        >>> cs.Shock.correlated(cov, ["BTCUSDT", "ETHUSDT"], rng=np.random.default_rng(1))
        Shock(price={'BTCUSDT': 0.006945229, 'ETHUSDT': 0.025743146})
        """
        symbols = list(symbols)
        factors = _factors(covariance, loadings, len(symbols))
        if not isinstance(rng, np.random.Generator):
            raise InputTypeError(f"shock.rng = {show(rng)}: must be a numpy.random.Generator")
        moves = factors @ rng.standard_normal(factors.shape[1])
        if df is not None:
            freedom = exact(df, "shock.df")
            if freedom <= 2:
                raise InputError(f"shock.df = {show(df)}: must be > 2, where a variance exists")
            moves *= np.sqrt((float(freedom) - 2) / rng.chisquare(float(freedom)))
        gaps = np.maximum(np.expm1(moves), -1 + 2 / RATE_ONE)
        return cls(price={s: round(g, 9) for s, g in zip(symbols, gaps.tolist(), strict=True)})

    def __add__(self, other: Shock) -> Shock:
        if not isinstance(other, Shock):
            return NotImplemented
        both = Shock()
        both._parts = self._parts + other._parts
        return both

    def __len__(self) -> int:
        return len(self._parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shock) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(repr(self._parts))

    def __repr__(self) -> str:
        texts = []
        for part in self._parts:
            fields = (f"{name}={_readable(name, value)}" for name, value in part.items() if value)
            texts.append(f"Shock({', '.join(fields)})")
        return " + ".join(texts)

    def __str__(self) -> str:
        """The shock in words: "all prices -8%, BTCUSDT depth x 0.5"."""
        texts = [
            ", ".join(_in_words(name, value) for name, value in part.items() if value) for part in self._parts
        ]
        return "; then ".join(text for text in texts if text) or "none"

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        return None, {"_parts": self._parts, "_made": None}

    def compile(self, market: Any) -> np.ndarray:
        """The shock as OP_DTYPE rows for a market (its `instrument_index`, `instruments`, `followers`,
        `asset_instruments`, `owner`, `to_quanta` and, for followers, `state`)."""
        ops: list[tuple] = []
        for part in self._parts:
            for name, kind in (("price", ShockPart.GAP), ("index", ShockPart.INDEX)):
                if not part[name]:
                    continue
                moves = dict(_by_instrument(part[name], market, f"shock.{name}"))
                ops += [(kind, i, -1, 0, g, 0, 0, 0) for i, g in moves.items() if g]
                for i, g in _following(moves, market, f"shock.{name}"):
                    ops.append((ShockPart.INDEX, i, -1, 0, g, 0, 0, 0))
            for i, rows in _by_instrument(part["depth"], market, "shock.depth"):
                for k, (side, low, high, factor) in enumerate(rows):
                    # k > 0: the mid of the first row
                    ops.append((ShockPart.DEPTH, i, -1, side, factor, low, high, k))
            for i, haircut in _by_asset(part["haircut"], market) if part["haircut"] else ():
                ops.append((ShockPart.HAIRCUT, i, -1, 0, haircut, 0, 0, 0))
            cash = [(market.owner(account), amount) for account, amount in part["cash"].items()]
            for owner, amount in sorted(cash, key=lambda pair: pair[0]):
                quanta = market.to_quanta(amount, f"shock.cash[{market.account_name(owner)!r}]")
                if quanta:
                    if abs(quanta) >= 2**60:
                        name = market.account_name(owner)
                        raise RangeError(
                            f"shock.cash[{name!r}] = {show(amount)}: must be below 2**60 cash quanta"
                        )
                    ops.append((ShockPart.CASH, -1, owner, 0, 0, 0, 0, quanta))
            for i, funding in _by_instrument(part["funding"], market, "shock.funding"):
                if funding:
                    ops.append((ShockPart.FUNDING, i, -1, 0, funding, 0, 0, 0))
            for i, size in _by_instrument(part["orders"], market, "shock.orders"):
                lots = market.instruments[i].to_lots(size)
                if abs(lots) >= 2**61:
                    raise RangeError(
                        f"shock.orders[{market.instruments[i].symbol!r}] = {size!r}: must be below 2**61 lots"
                    )
                if lots:
                    ops.append((ShockPart.ORDERS, i, -1, 0, 0, 0, 0, lots))
        return np.array(ops, OP_DTYPE)


def _factors(covariance: Any, loadings: Any, n: int) -> np.ndarray:
    """(n, k) loadings whose product with their transpose is the covariance."""
    if (covariance is None) == (loadings is None):
        raise InputError("shock: must be given a covariance or loadings, and not both")
    name, given = ("covariance", covariance) if loadings is None else ("loadings", loadings)
    try:
        matrix = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise InputTypeError(f"shock.{name} = {show(given)}: must be a matrix of numbers") from None
    fits = matrix.ndim == 2 and matrix.shape[0] == n and (loadings is not None or matrix.shape[1] == n)
    if not fits:
        raise InputError(f"shock.{name}: shape {matrix.shape}: must have one row for each of {n} symbols")
    if not np.isfinite(matrix).all():
        raise InputError(f"shock.{name}: must be finite")
    if loadings is not None:
        return matrix
    largest = np.abs(matrix).max(initial=0)
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-12 * largest):
        raise InputError("shock.covariance: must be symmetric")
    values, vectors = np.linalg.eigh(matrix)
    if values.min(initial=0) < -1e-9 * largest:
        raise InputError(f"shock.covariance: eigenvalue {values.min():.3g}: must be positive semidefinite")
    return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T


def as_shock(shock: Any) -> Shock:
    if shock is None:
        return Shock()
    if not isinstance(shock, Shock):
        raise InputTypeError(f"shock = {show(shock)}: must be a Shock")
    return shock


def _scaled(value: Any, what: str, lowest: int, *, open_below: bool = False) -> int:
    """A number as an integer of 1e-9, rounded half-even."""
    number = exact(value, what)
    scaled = round(number * RATE_ONE)
    if number > LARGEST_FACTOR or scaled < lowest * RATE_ONE or (open_below and scaled == lowest * RATE_ONE):
        raise InputError(
            f"{what} = {show(value)}: must be {'>' if open_below else '>='} {lowest} and <= {LARGEST_FACTOR}"
        )
    return scaled


def _keyed(value: Any, what: str) -> dict:
    """{symbol: value}; a plain number stands for every instrument under the key None."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | bytes):
        raise InputTypeError(f"{what} = {show(value)}: must be a number or a mapping of symbols to numbers")
    return {None: value}


def _place(what: str, symbol: Any) -> str:
    return what if symbol is None else f"{what}[{show(symbol)}]"


def _moves(value: Any, what: str, lowest: int, *, open_below: bool) -> dict:
    return {
        k: _scaled(v, _place(what, k), lowest, open_below=open_below) for k, v in _keyed(value, what).items()
    }


def _depths(value: Any) -> dict:
    read = {}
    for symbol, rows in _keyed(value, "shock.depth").items():
        where = _place("shock.depth", symbol)
        if isinstance(rows, str) or not isinstance(rows, Sequence):
            read[symbol] = [(0, 0, _EVERYWHERE, _scaled(rows, where, 0))]
            continue
        read[symbol] = []
        for k, row in enumerate(rows):
            if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != 4:
                raise InputError(f"{where}[{k}] = {show(row)}: must be (side, low, high, factor)")
            side, low, high, factor = row
            if not isinstance(side, str) or side not in _SIDES:
                raise InputError(f"{where}[{k}].side = {show(side)}: must be one of {', '.join(_SIDES)}")
            low = _scaled(low, f"{where}[{k}].low", 0)
            high = _EVERYWHERE if high is None else _scaled(high, f"{where}[{k}].high", 0)
            if high <= low:
                raise InputError(f"{where}[{k}].high = {row[2]!r}: must exceed low = {row[1]!r}")
            read[symbol].append((_SIDES[side], low, high, _scaled(factor, f"{where}[{k}].factor", 0)))
    return read


def _amounts(value: Any, what: str) -> dict:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputTypeError(f"{what} = {show(value)}: must be a mapping")
    for key, amount in value.items():
        exact(amount, _place(what, key))
    return dict(value)


def _by_instrument(values: dict, market: Any, what: str) -> Iterator[tuple[int, Any]]:
    """(instrument index, value) in instrument order; None stands for all that are not named."""
    if not values:
        return
    named: dict[int, Any] = {}
    for symbol, value in values.items():
        if symbol is None:
            continue
        i = market.instrument_index(symbol, what)
        if i in named:  # once by its symbol, once as an Instrument
            raise InputError(f"{what} = {show(symbol)}: must not name an instrument twice")
        named[i] = value
    for i in range(len(market.instruments)):
        if i in named:
            yield i, named[i]
        elif None in values:
            yield i, values[None]


def _following(moves: dict[int, int], market: Any, what: str) -> Iterator[tuple[int, int]]:
    """(instrument index, relative move of 1e-9) of the indices that follow those of a shock's moves, in
    instrument order."""
    instruments = market.instruments
    for i in market.followers:
        if i in moves:
            continue
        beta, k = Fraction(1), i
        while k not in moves and instruments[k].index_follows is not None:
            followed, factor = instruments[k].index_follows
            beta, k = beta * factor, market.instrument_index(followed)
        g = round(beta * moves.get(k, 0))
        if g <= -RATE_ONE or g > LARGEST_FACTOR * RATE_ONE:
            raise InputError(
                f"{what}[{instruments[k].symbol!r}] = {moves[k] / RATE_ONE:g}: moves the index of "
                f"{instruments[i].symbol!r}, which follows it, by {g / RATE_ONE:g}: "
                f"must be > -1 and <= {LARGEST_FACTOR}"
            )
        if g and market.state().index_1024[i] > 0:
            yield i, g


def _by_asset(values: dict, market: Any) -> list[tuple[int, int]]:
    """(index of the instrument that prices an asset, haircut) in instrument order; None stands for all that
    are not named."""
    found: dict[int, int] = {}
    assets: dict[str, int] = market.asset_instruments
    for asset, haircut in values.items():
        if asset is not None and asset not in assets:
            rule = f"must be an asset of Market.collateral ({', '.join(list(assets)[:8])})"
            raise InputError(f"shock.haircut = {show(asset)}: {rule}")
        if asset is not None:
            found[assets[asset]] = haircut
    if None in values:
        found = dict.fromkeys(assets.values(), values[None]) | found
    return sorted(found.items())


def _readable(name: str, values: dict) -> str:
    """A part as the user would write it."""

    def one(value: Any) -> Any:
        if name in ("cash", "orders"):
            return value
        if name in ("funding", "haircut"):
            return value / FUNDING_ONE
        if isinstance(value, list):
            if len(value) == 1 and value[0][:3] == (0, 0, _EVERYWHERE):
                return value[0][3] / RATE_ONE
            words = {code: word for word, code in _SIDES.items()}
            return [
                (
                    words[side],
                    low / RATE_ONE,
                    None if high == _EVERYWHERE else high / RATE_ONE,
                    factor / RATE_ONE,
                )
                for side, low, high, factor in value
            ]
        return value / RATE_ONE

    if set(values) == {None}:
        return repr(one(values[None]))
    return "{" + ", ".join(f"{k!r}: {one(v)!r}" for k, v in values.items()) + "}"


MOST_NAMED = 3


def _in_words(name: str, values: dict) -> str:
    """A part as a reader would say it; long mappings are cut short."""

    def percent(rate: int) -> str:
        return f"{rate / RATE_ONE * 100:+.6g}%"

    def factor(rows: list) -> str:
        if len(rows) == 1 and rows[0][:3] == (0, 0, _EVERYWHERE):
            return f"x {rows[0][3] / RATE_ONE:.6g}"
        return f"changed in {len(rows)} bands"

    texts = []
    for key, value in list(values.items())[:MOST_NAMED]:
        if name in ("price", "index"):
            plural = {"price": "prices", "index": "indices"}[name]
            texts.append(f"{f'all {plural}' if key is None else f'{key} {name}'} {percent(value)}")
        elif name == "funding":
            whose = "all funding" if key is None else f"{key} funding"
            texts.append(f"{whose} {value / FUNDING_ONE * 100:+.6g}%")
        elif name == "haircut":
            whose = "all haircuts" if key is None else f"haircut of {key}"
            texts.append(f"{whose} {value / FUNDING_ONE:.6g}")
        elif name == "depth":
            texts.append(f"{'depth of all books' if key is None else f'{key} depth'} {factor(value)}")
        elif name == "orders":
            size = float(exact(value, "orders"))
            texts.append(f"market {'sell' if size < 0 else 'buy'} of {abs(size):,.10g} {key}")
        else:
            texts.append(f"cash of {key} {float(exact(value, 'cash')):+,.10g}")
    hidden = len(values) - MOST_NAMED
    return ", ".join(texts) + (f" and {hidden} more" if hidden > 0 else "")
