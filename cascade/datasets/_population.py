"""A seeded population of accounts and positions for any market.

Invented, not measured: no venue publishes its accounts. Every distribution is a choice that is stated in
`population` and can be replaced by loading one's own tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._state import SYSTEM
from ..errors import InputError, InputTypeError
from ..instruments import Instrument, exact
from ..market import Market
from ..tables import Table

LEVERAGE = (1, 2, 3, 5, 10, 20, 25, 50, 75, 100, 125)
LEVERAGE_SHARE = (0.04, 0.08, 0.12, 0.18, 0.24, 0.17, 0.05, 0.07, 0.02, 0.02, 0.01)
"""Shares of accounts that choose a leverage, before it is capped."""
ISOLATED_SHARE, DIRECTIONAL_PAIR_SHARE, HEDGED_SHARE = 0.55, 0.10, 0.08
"""Shares of accounts; the rest hold one cross position. Pairs need two instruments."""
SIZE_SIGMA = 1.8
"""Standard deviation of the logarithm of a position's notional."""
DAILY_VOLATILITY, MEAN_AGE_DAYS = 0.03, 2.0
"""Of the random walk that the price has taken since entry, and the mean of that exponential age."""
HEALTH = 1.2
"""Least equity / maintenance of a margin account at the start."""
LARGEST_EXCURSION = 0.5
"""Largest logarithmic price change since entry."""
EXTERNAL_SHARE = 0.1
"""Share of the open interest that the external account is short."""
OPEN_INTEREST_IN_DEPTHS = 0.5
"""Default open interest: this many times everything that the loaded book shows, both sides."""
INITIAL_PER_MAINTENANCE = 2
"""Leverage is at most 1 / (this * maintenance rate): what venues' initial margins are about."""


class Draws:
    """Random numbers from a generator's uniforms alone, the stream that NumPy keeps most stable."""

    def __init__(self, rng: Any):
        if rng is None or isinstance(rng, bool):
            raise InputTypeError(f"population: rng = {rng!r}: must be a numpy Generator or an int seed")
        try:
            self.rng = np.random.default_rng(rng)
        except (TypeError, ValueError) as error:
            raise InputTypeError(
                f"population: rng = {rng!r}: must be a numpy Generator or an int seed"
            ) from error

    def uniform(self, n: int) -> np.ndarray:
        """In (0, 1]."""
        return 1.0 - self.rng.random(n)

    def normal(self, n: int) -> np.ndarray:
        return np.sqrt(-2.0 * np.log(self.uniform(n))) * np.cos(2.0 * np.pi * self.uniform(n))

    def shuffled(self, values: np.ndarray) -> np.ndarray:
        return values[np.argsort(self.uniform(len(values)), kind="stable")]

    def laplace_within(self, low: np.ndarray, high: float, scale: float) -> np.ndarray:
        """Laplace of this scale, conditioned on [low, high] with low <= 0 <= high."""
        below, above = 0.5 * np.exp(low / scale), 1.0 - 0.5 * np.exp(-high / scale)
        p = below + (above - below) * self.uniform(len(low))
        x = np.where(p < 0.5, np.log(2.0 * p), -np.log(2.0 * (1.0 - p))) * scale
        return np.clip(x, low, high)


def shares_of(n: int, shares: np.ndarray, least: int) -> np.ndarray:
    """n split in proportion, each part at least `least`: whole numbers, largest remainder."""
    shares = np.asarray(shares, np.float64) / np.sum(shares)
    free = n - least * len(shares)
    ideal = shares * free
    parts = np.floor(ideal).astype(np.int64)
    parts[np.argsort(-(ideal - parts), kind="stable")[: free - parts.sum()]] += 1
    return parts + least


def split_exactly(total: int, weights: np.ndarray) -> np.ndarray:
    """`total` lots in proportion to weights, at least one each: int64 that sum to `total`."""
    up_to = np.rint(np.cumsum(weights) / weights.sum() * (total - len(weights))).astype(np.int64)
    return np.diff(up_to, prepend=0) + 1


def population(
    market: Market,
    *,
    accounts: int,
    open_interest: Mapping[str, Any] | None = None,
    rng: Any,
    load: bool = True,
) -> tuple[Table, Table]:
    """Draw accounts and positions for a market, and load them into it.

    Invented, not measured: no venue publishes its accounts. What is drawn:

    - **Accounts**: 55% hold one isolated position, 27% one cross position, 10% a cross position in each of
      two instruments in the same direction, 8% hedged cross positions, long one and short the other (with one
      instrument these two hold one cross position). Instruments are chosen by the notional of their open
      interest, long and short in turn.
    - **Sizes**: notionals are log-normal (the logarithm's standard deviation is 1.8: the largest 1% hold a
      third), scaled to the open interest, in whole lots. The two legs of a hedge have equal notionals to a
      lot.
    - **Leverage**: 1x (4% of accounts), 2x (8), 3x (12), 5x (18), 10x (24), 20x (17), 25x (5), 50x (7), 75x
      (2), 100x (2), 125x (1), lowered to what the initial margin of the position's tier allows, and to half
      of 1 / maintenance rate.
    - **Entries**: the price has done a random walk of 3% a day since entry, for an exponential age of 2 days
      in the mean; that makes its logarithm Laplace. Conditioned on survival: nobody holds a position that
      would have been liquidated.
    - **Margin**: notional at entry / leverage, posted for an isolated position. A cross account has the sum
      over its positions times 1 + an exponential of mean 0.5; the owner of an isolated position has an
      exponential of its posted margin beside it.
    - **Health**: every margin account starts with equity of at least 1.2 times its maintenance margin at the
      marks.

    Parameters
    ----------
    market : Market
        With a book or prices for every instrument. Accounts loaded before stay; with integer ids the new ones
        count on from the largest, with text ids they are "p1", "p2", ...
    accounts : int
        Number of owners, at least two an instrument.
    open_interest : {symbol: quantity}, optional
        The longs, equal to all shorts with the external account's. By default half of what the loaded book
        shows, both sides together, so that the known depth can answer for it; for the embedded books that is
        about 7,700 BTC and 39,700 ETH, a small part of what was open on the venue. Internal shorts are 90% of
        it, the external account is short 10%.
    rng : numpy.random.Generator or int
        The same seed gives the same population.
    load : bool
        False only returns the tables.

    Returns
    -------
    accounts : Table (account, balance), one row an owner
    positions : Table (account, instrument, size, entry_price, margin), margin NaN for cross positions

    Raises
    ------
    InputError
        Too few accounts, too little open interest for a lot each, no depth to take a default from.
    InputTypeError
        accounts not an integer, rng missing.

    Examples
    --------
    >>> import cascade as cs
    >>> market = cs.datasets.binance_market()
    >>> people, positions = cs.datasets.population(market, accounts=500, rng=7)
    >>> longs = positions["size"][(positions["instrument"] == "BTCUSDT") & (positions["size"] > 0)]
    >>> len(people), round(float(longs.sum()), 3)
    (500, 7707.714)
    """
    if isinstance(accounts, bool) or not isinstance(accounts, int | np.integer):
        raise InputTypeError(f"population: accounts = {accounts!r}: must be an int")
    n, n_instruments = int(accounts), len(market.instruments)
    if n < 2 * n_instruments:
        raise InputError(
            f"population: accounts = {n}: must be at least two an instrument, {2 * n_instruments}"
        )
    draws = Draws(rng)
    longs = _open_lots(market, open_interest)
    shorts = longs - np.floor(longs * EXTERNAL_SHARE).astype(np.int64)
    marks = [
        mark / 1024 * float(ins.tick_size)
        for mark, ins in zip(market.marks(), market.instruments, strict=True)
    ]
    lot_value = np.array(
        [_notional(i, float(i.lot_size), mark) for i, mark in zip(market.instruments, marks, strict=True)]
    )

    owner, instrument, sign, lots, isolated = _positions(draws, n, longs, shorts, lot_value, market)
    notional = lots * lot_value[instrument]
    leverage = draws.shuffled(
        np.repeat(np.array(LEVERAGE, np.float64), shares_of(n, np.array(LEVERAGE_SHARE), 0))
    )[owner]
    entry, margin = np.empty(len(owner)), np.empty(len(owner))
    unit = float(market.quantum) * 10_000  # money in hundredths of a coin or finer
    for i, ins in enumerate(market.instruments):
        mine = np.flatnonzero(instrument == i)
        entry[mine], margin[mine] = _entries(
            draws, ins, marks[i], sign[mine], lots[mine], notional[mine], leverage[mine], unit
        )

    spare = -np.log(draws.uniform(n))
    posted = np.bincount(owner, margin, n)
    alone = np.zeros(n, bool)
    alone[owner[isolated]] = True
    balance = np.ceil(posted * np.where(alone, spare, 1.0 + 0.5 * spare) / unit) * unit
    ids = _new_ids(market, n)
    order = np.argsort(owner, kind="stable")
    symbols = np.array([i.symbol for i in market.instruments])
    size = np.empty(len(owner))
    for i, ins in enumerate(market.instruments):
        mine = instrument == i
        size[mine] = ins.to_size((sign * lots)[mine])
    people = Table({"account": ids, "balance": balance})
    positions = Table(
        {
            "account": ids[owner][order], "instrument": symbols[instrument][order], "size": size[order],
            "entry_price": entry[order], "margin": np.where(isolated, margin, np.nan)[order],
        }
    )  # fmt: skip
    if load:
        market.load_accounts(people)
        market.load_positions(positions)
    return people, positions


def _open_lots(market: Market, open_interest: Mapping[str, Any] | None) -> np.ndarray:
    """Open interest per instrument, in lots."""
    given = {}
    if open_interest is not None:
        if not isinstance(open_interest, Mapping):
            raise InputTypeError(
                f"population: open_interest = {open_interest!r}: must be a mapping of symbols to quantities"
            )
        for symbol, size in open_interest.items():
            i = market.instrument_index(symbol, "open_interest")
            given[i] = round(exact(size, f"open_interest[{symbol!r}]") / market.instruments[i].lot_size)
    lots = np.zeros(len(market.instruments), np.int64)
    for i, orders in enumerate(market.state().orders):
        lots[i] = given.get(i, int(orders.lots.sum() * OPEN_INTEREST_IN_DEPTHS))
        if lots[i] < 1:
            what = f"open_interest[{market.instruments[i].symbol!r}]"
            raise InputError(
                f"population: {what} = {lots[i]} lots: must be at least one (no book to take a default from)"
            )
    return lots


def _notional(ins: Instrument, size: float, price: float) -> float:
    """What a quantity is worth in the settlement currency, unsigned."""
    worth = size * float(ins.multiplier)
    return worth * price if ins.contract == "linear" else worth / price


def _positions(
    draws: Draws, n: int, longs: np.ndarray, shorts: np.ndarray, lot_value: np.ndarray, market: Market
) -> tuple[np.ndarray, ...]:
    """(owner, instrument, sign, lots, isolated) of every position."""
    m = len(longs)
    pairs = m > 1
    two, hedge = DIRECTIONAL_PAIR_SHARE * pairs, HEDGED_SHARE * pairs
    shares = np.array([ISOLATED_SHARE, two, hedge, 1 - ISOLATED_SHARE - two - hedge])
    first = np.repeat(np.arange(m), shares_of(n, longs * lot_value, 2))
    turn = np.arange(n) - np.searchsorted(first, first)  # long, short, long, ... in each instrument
    shuffle = np.argsort(draws.uniform(n), kind="stable")
    first, direction = first[shuffle], np.where(turn % 2 == 0, 1, -1)[shuffle]
    # 0 isolated, 1 two of one direction, 2 hedged, 3 one cross position. The first long and short of each
    # instrument are not hedged: they can take what open interest the hedges leave.
    count = shares_of(n, shares, 0)
    count[2:] += np.array([-1, 1]) * max(0, count[2] - (n - 2 * m))
    kind = np.full(n, 2)
    rest = np.argsort(draws.uniform(n) + (turn < 2)[shuffle], kind="stable")[count[2] :]
    kind[rest] = draws.shuffled(np.repeat([0, 1, 3], count[[0, 1, 3]]))
    weight = np.exp(SIZE_SIGMA * draws.normal(n))
    other = (first + 1 + np.floor((1 - draws.uniform(n)) * max(m - 1, 1)).astype(np.int64)) % m

    hedged = np.flatnonzero(kind == 2)
    legs = _hedges(hedged, first, other, direction, weight, longs, shorts, lot_value, n)
    single = np.flatnonzero(kind != 2)
    double = np.flatnonzero(kind == 1)
    owner = np.concatenate([single, double])
    instrument = np.concatenate([first[single], other[double]])
    sign = np.concatenate([direction[single], direction[double]])
    wanted = np.concatenate([weight[single], weight[double]])
    lots = np.zeros(len(owner), np.int64)
    for i in range(m):
        symbol = market.instruments[i].symbol
        for side, total in ((1, longs), (-1, shorts)):
            mine = np.flatnonzero((instrument == i) & (sign == side))
            left = int(total[i] - legs[3][(legs[1] == i) & (legs[2] == side)].sum())
            if not mine.size and left:
                raise InputError(f"population: accounts = {n}: too few to hold both sides of {symbol}")
            if left < len(mine):
                raise InputError(
                    f"population: open_interest[{symbol!r}] = {total[i]} lots: must be at least a lot in "
                    f"each of {len(mine)} positions"
                )
            lots[mine] = split_exactly(left, wanted[mine]) if mine.size else 0
    isolated = np.concatenate([kind[owner] == 0, np.zeros(len(legs[0]), bool)])
    joined = (np.concatenate(pair) for pair in zip((owner, instrument, sign, lots), legs, strict=True))
    return *joined, isolated


def _hedges(
    hedged: Any, first: Any, other: Any, direction: Any, weight: Any, longs: Any, shorts: Any, lot_value: Any,
    n: int
) -> tuple[np.ndarray, ...]:
    """(owner, instrument, sign, lots) of both legs of every hedge: equal notionals."""
    if not len(hedged):
        return (np.zeros(0, np.int64),) * 4
    budget = HEDGED_SHARE * float((np.minimum(longs, shorts) * lot_value).min())
    notional = weight[hedged] / weight[hedged].sum() * budget
    owner, instrument = np.concatenate([hedged, hedged]), np.concatenate([first[hedged], other[hedged]])
    sign = np.concatenate([direction[hedged], -direction[hedged]])
    lots = np.maximum(
        1, np.rint(np.concatenate([notional, notional]) / lot_value[instrument]).astype(np.int64)
    )
    return owner, instrument, sign, lots


def _entries(
    draws: Draws, ins: Instrument, mark: float, sign: Any, lots: Any, notional: Any, leverage: Any,
    unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """(entry prices, margins) with which every position is healthy on its own."""
    floors = np.array([float(t.floor) for t in ins.tiers] or [0.0])
    initial = np.array([float(t.initial_rate) for t in ins.tiers] or [0.0])
    rate = np.array([float(t.maintenance_rate) for t in ins.tiers] or [0.0])
    amount = np.array([float(t.amount) for t in ins.tiers] or [0.0])
    tier = np.searchsorted(floors, notional, side="right") - 1
    least = np.maximum(initial, INITIAL_PER_MAINTENANCE * rate)[tier]
    leverage = np.maximum(1.0, np.minimum(leverage, 1.0 / np.maximum(least, 1e-3)))
    needed = HEALTH * np.maximum(0.0, rate[tier] - amount[tier] / notional)
    # x is value at entry / value at mark. A position whose value falls with profit (a short, or an inverse
    # long) has equity x / leverage + x - 1 of its value at mark, any other x / leverage + 1 - x; `needed` is
    # the least.
    falling = (sign > 0) != (ins.contract == "linear")
    with np.errstate(divide="ignore"):
        bound = np.where(
            falling, (1 + needed) / (1 + 1 / leverage), (1 - needed) / np.maximum(1 - 1 / leverage, 1e-9)
        )
    room = np.clip(np.log(bound) * np.where(falling, 1.0, -1.0), -LARGEST_EXCURSION, 0.0)
    scale = DAILY_VOLATILITY * np.sqrt(MEAN_AGE_DAYS / 2)
    gain = draws.laplace_within(room, LARGEST_EXCURSION, scale)  # logarithm, in the position's favour
    entry = mark * np.exp(-sign * gain)
    step = float(ins.tick_size) / 100
    entry = np.where(sign > 0, np.floor(entry / step), np.ceil(entry / step))  # to the healthy side
    entry = entry * ins.tick_size.numerator / (100 * ins.tick_size.denominator)
    size = lots * float(ins.lot_size)
    worth = size * float(ins.multiplier)
    at_entry = worth * entry if ins.contract == "linear" else worth / entry
    return entry, np.ceil(at_entry / leverage / unit) * unit


def _new_ids(market: Market, n: int) -> np.ndarray:
    """Ids that no loaded account has."""
    held = np.asarray(market.account_names(np.flatnonzero(market.state().account_mode != SYSTEM)))
    if not len(held):
        return np.arange(1, n + 1)
    if held.dtype.kind in "iu":
        return np.arange(n) + max(0, int(held.max())) + 1
    taken = set(held.tolist())
    ids: list[str] = []
    k = 1
    while len(ids) < n:
        if f"p{k}" not in taken:
            ids.append(f"p{k}")
        k += 1
    return np.array(ids)
