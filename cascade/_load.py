"""Loading: user tables of accounts, positions, levels and orders as exact columns, every row checked before
anything changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from . import _bulk
from ._badrows import show
from ._ingest import (
    NULLABLE,
    OPTIONAL,
    REQUIRED,
    BadRows,
    Where,
    basis_inverse,
    basis_linear,
    missing_values,
    read_columns,
    to_choice,
    to_ids,
    to_int,
    to_money,
    to_whole,
)
from ._rundata import ROW_DTYPE
from ._state import ACCOUNT_LIMIT, CROSS, ISOLATED, LINEAR, SLOTS, Terms
from .errors import InputError, InputTypeError, RangeError
from .instruments import PRICE_LIMIT, Instrument
from .records import Side
from .tables import Table

LOTS_LIMIT = 2**60
WIDEST_TEXT = 256
MODES = {"cross": CROSS, "isolated": ISOLATED}
SIDES = {"buy": int(Side.BUY), "sell": int(Side.SELL)}


class Ids:
    """Account ids in the order in which their accounts were created: all integers, or all text. Never changed
    once made."""

    def __init__(self, ids: np.ndarray | None = None):
        ids = np.zeros(0, np.int64) if ids is None else ids
        self._n, self._dtype = len(ids), ids.dtype
        # Consecutive integers in order are known by the first and the last one.
        self._ends = (ids[0], ids[-1]) if _consecutive(ids) else None
        self._given = None if self._ends else ids
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None
        self._by_text: dict[str, int] | None = None

    def __len__(self) -> int:
        return self._n

    @property
    def _array(self) -> np.ndarray:
        return self.values(np.arange(self._n)) if self._given is None else self._given

    @property
    def is_text(self) -> bool:
        return self._dtype.kind == "O"

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Ids by row, as integers or strings."""
        if self._ends:
            found = np.array(rows, self._dtype)
            found += self._ends[0]
            return found
        picked = self._array[rows]
        return text_array(picked) if self.is_text and len(picked) else picked

    def check_kind(self, ids: np.ndarray, where: Where) -> None:
        """Refuse text where the market's ids are integers, and the other way round."""
        if not len(self) or not len(ids):
            return
        if (ids.dtype == object) != self.is_text:
            kind = "text" if self.is_text else "integers"
            where.wrong_column(f"dtype {ids.dtype}", f"must be {kind}, as the ids loaded before are")
        if {ids.dtype, self._dtype} == {np.dtype(np.int64), np.dtype(np.uint64)}:
            # One dtype holds all ids, or NumPy would meet in float64 and take neighbours for each other.
            rule = "must fit one integer type with the ids loaded before"
            where.refuse(self._misfits(ids), ids, rule, RangeError)

    def _misfits(self, ids: np.ndarray) -> np.ndarray:
        """Which ids no integer type can hold together with those loaded before, of the other signedness."""
        if ids.dtype == np.int64:
            return ids < 0
        return (ids >= 2**63) & bool((self._array < 0).any())

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Row of each id, -1 where it is not loaded."""
        if not len(self) or not len(ids):
            return np.full(len(ids), -1, np.int64)
        if self.is_text:
            if self._by_text is None:
                self._by_text = {text: k for k, text in enumerate(self._array.tolist())}
            return np.array([self._by_text.get(text, -1) for text in ids.tolist()], np.int64)
        if ids.dtype != self._dtype:
            return self._find_other_dtype(ids)
        if self._ends:  # their place is how far they are from the first
            first, last = self._ends
            found = (ids - first).astype(np.int64, copy=False)
            found[(ids < first) | (ids > last)] = -1
            return found
        if self._sorted is None:
            order = np.argsort(self._array)
            self._sorted = self._array[order], order
        keys, order = self._sorted
        at = np.minimum(np.searchsorted(keys, ids), len(keys) - 1)
        return np.where(keys[at] == ids, order[at], -1)

    def _find_other_dtype(self, ids: np.ndarray) -> np.ndarray:
        """`find` for int64 ids among uint64 ones or the reverse; what one type alone holds is not there."""
        fits = ids >= 0 if ids.dtype == np.int64 else ids < 2**63
        found = self.find(np.where(fits, ids, ids.dtype.type(0)).astype(self._dtype))
        return np.where(fits, found, -1)

    def find_one(self, account: Any) -> int:
        """Row of one id, -1 if it is not loaded."""
        if isinstance(account, bool) or not isinstance(account, int | str | np.integer | np.str_):
            raise InputTypeError(f"account = {show(account)}: must be an integer or text")
        if len(self) and isinstance(account, str) != self.is_text:
            return -1
        if isinstance(account, str):
            return int(self.find(np.array([account], object))[0])
        if not -(2**63) <= int(account) < 2**64:
            return -1
        return int(self.find(np.array([int(account)]))[0])

    def extended(self, ids: np.ndarray) -> Ids:
        if not len(ids):
            return self
        if not len(self):
            return Ids(ids)
        if ids.dtype != self._dtype:  # `check_kind` has seen that all are >= 0
            return Ids(np.concatenate([self._array.astype(np.uint64), ids.astype(np.uint64)]))
        return Ids(np.concatenate([self._array, ids]))

    def digest_bytes(self) -> bytes:
        if self.is_text:
            return "\0".join(self._array.tolist()).encode()
        return self._dtype.str.encode() + self._array.tobytes()


def _consecutive(ids: np.ndarray) -> bool:
    """Whether ids are integers that follow each other in order."""
    if not len(ids) or ids.dtype == object:
        return False
    return int(ids[-1]) - int(ids[0]) == len(ids) - 1 and ascending(ids)


def text_array(texts: np.ndarray) -> np.ndarray:
    """Texts as NumPy strings, or as objects where one long text would make every row that wide."""
    narrow = max(map(len, texts.tolist()), default=0) <= WIDEST_TEXT
    return texts.astype(str) if narrow else texts


def bad_rows(table: str, on_bad: str) -> BadRows:
    if not isinstance(on_bad, str):
        raise InputTypeError(f"on_bad = {show(on_bad)}: must be 'raise' or 'drop'")
    if on_bad not in ("raise", "drop"):
        raise InputError(f"on_bad = {show(on_bad)}: must be 'raise' or 'drop'")
    return BadRows(table, drop=on_bad == "drop")


def dropped(*bad: BadRows) -> Table | None:
    """What was dropped, when rows may be: table, row, column, value, rule."""
    if not bad[0].drop:
        return None
    tables = [(b.table, b.to_table()) for b in bad]
    columns = {
        name: np.concatenate([t[name] for _, t in tables]) for name in ("row", "column", "value", "rule")
    }
    return Table({"table": np.array([name for name, t in tables for _ in range(len(t))], object), **columns})


def ascending(keys: np.ndarray) -> bool:
    """Whether each key is greater than the one before it."""
    return bool((keys[1:] > keys[:-1]).all())


def repeats(keys: np.ndarray) -> bool:
    """Whether some keys stand more than once."""
    if keys.dtype == object:
        return len(set(keys.tolist())) < len(keys)
    if ascending(keys):
        return False
    ordered = np.sort(keys)
    return bool((ordered[1:] == ordered[:-1]).any())


def repeated(keys: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Mask of the good rows whose key stood in an earlier good row."""
    if not repeats(keys):
        return np.zeros(len(keys), bool)
    rows = np.flatnonzero(good)
    mask = np.zeros(len(keys), bool)
    if rows.size:
        _, inverse = np.unique(keys[rows], return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        again = np.zeros(len(rows), bool)
        again[order[1:]] = inverse[order[1:]] == inverse[order[:-1]]
        mask[rows[again]] = True
    return mask


def levels(
    table: Any, ins: Instrument, side: int, columns: Mapping[str, str] | None, bad: BadRows
) -> tuple[np.ndarray, np.ndarray]:
    """(ticks, lots) of one side of an L2 book, best price first."""
    raw = read_columns(table, bad.table, {"price": REQUIRED, "quantity": REQUIRED}, columns, bad=bad)
    price = to_whole(
        raw["price"], ins.tick_size, bad.where("price"), lowest=1, highest=PRICE_LIMIT - 1, what="tick"
    )
    lots = to_whole(
        raw["quantity"], ins.lot_size, bad.where("quantity"), lowest=1, highest=LOTS_LIMIT, what="lot"
    )
    rows = np.flatnonzero(bad.keep)
    step = np.diff(price[rows]) * -side
    where = bad.where("price", rows[1:])
    where.refuse(step == 0, raw["price"][rows[1:]], "must not repeat a level")
    rows = np.flatnonzero(bad.keep)
    step = np.diff(price[rows]) * -side
    order = "descending" if side > 0 else "ascending"
    bad.where("price", rows[1:]).refuse(
        step < 0, raw["price"][rows[1:]], f"must be sorted, best price first ({order})"
    )
    keep = bad.keep
    return price[keep], lots[keep]


def orders(
    table: Any, ins: Instrument, ids: Ids, taken: np.ndarray, columns: Mapping[str, str] | None, bad: BadRows
) -> tuple[np.ndarray, ...]:
    """(order_id, side, ticks, lots, row of the account or -1) of resting orders."""
    spec = {
        "order_id": REQUIRED, "side": REQUIRED, "price": REQUIRED, "quantity": REQUIRED, "account": NULLABLE
    }
    raw = read_columns(table, bad.table, spec, columns, bad=bad)
    order_id = to_int(raw["order_id"], bad.where("order_id"), lowest=1, highest=2**64 - 1, dtype=np.uint64)
    side = _sides(raw["side"], bad.where("side"))
    price = to_whole(
        raw["price"], ins.tick_size, bad.where("price"), lowest=1, highest=PRICE_LIMIT - 1, what="tick"
    )
    lots = to_whole(
        raw["quantity"], ins.lot_size, bad.where("quantity"), lowest=1, highest=LOTS_LIMIT, what="lot"
    )
    owner = np.full(len(order_id), -1, np.int64)
    if raw["account"] is not None:
        named = np.flatnonzero(~missing_values(raw["account"]))
        where = bad.where("account", named)
        owner_ids = to_ids(raw["account"][named], where)
        ids.check_kind(owner_ids, where)
        owner[named] = ids.find(owner_ids)
        where.refuse(owner[named] < 0, raw["account"][named], "must be an account loaded before")
    where = bad.where("order_id")
    where.refuse(
        np.isin(order_id, taken), raw["order_id"], "must not repeat the id of an order loaded before"
    )
    where.refuse(repeated(order_id, bad.keep), raw["order_id"], "must not repeat an id")
    keep = bad.keep
    return order_id[keep], side[keep], price[keep], lots[keep], owner[keep]


def _sides(values: np.ndarray, where: Where) -> np.ndarray:
    if values.dtype.kind == "U" or (
        values.dtype.kind == "O" and any(isinstance(x, str) for x in values.tolist())
    ):
        return to_choice(values, SIDES, where)
    sides = to_int(values, where, dtype=np.int64)
    where.refuse((sides != 1) & (sides != -1), values, "must be 1 (buy) or -1 (sell)")
    return sides.astype(np.int8)


@dataclass(frozen=True)
class Accounts:
    """New cross accounts, and collateral of new and old ones; `owner_row` counts on from the ids loaded
    before."""

    new_ids: np.ndarray
    balance: np.ndarray
    """int64 quanta, as many as `new_ids`"""
    balance_rest: np.ndarray
    """float64 quanta: what rounding took away"""
    owner_row: np.ndarray
    instrument: np.ndarray
    """of the collateral asset"""
    lots: np.ndarray
    """int64, > 0"""


@dataclass(frozen=True)
class Assets:
    """What an account may hold: the settlement asset's name, if it has one, and the instruments of the
    others."""

    settlement: str | None
    instrument: dict[str, int]
    steps: dict[int, Fraction]
    """how much of the asset a lot of the instrument is"""


def accounts(
    table: Any, ids: Ids, quantum: Fraction, assets: Assets, held: np.ndarray,
    columns: Mapping[str, str] | None, bad: BadRows,
) -> Accounts:  # fmt: skip
    """Read accounts; `held` are the `holding_keys` loaded before."""
    spec = {"account": REQUIRED, "balance": REQUIRED, "asset": NULLABLE}
    raw = read_columns(table, bad.table, spec, columns, bad=bad, copy=False)
    where = bad.where("account")
    new = to_ids(raw["account"], where)
    ids.check_kind(new, where)
    if raw["asset"] is not None:
        return _accounts_in_assets(raw, new, ids, quantum, assets, held, bad)
    balance, rest = _balances(raw["balance"], quantum, bad.where("balance"))
    where.refuse(ids.find(new) >= 0, raw["account"], "must not be loaded before")
    where.refuse(repeated(new, bad.keep), raw["account"], "must not repeat an account")
    keep, none = bad.keep, np.zeros(0, np.int64)
    return Accounts(new[keep], balance[keep], rest[keep], none, none, none)


def _balances(values: np.ndarray, quantum: Fraction, where: Where) -> tuple[np.ndarray, np.ndarray]:
    """(quanta, what rounding took away)"""
    rest = np.zeros(len(values))
    amounts, _ = to_money(
        values, quantum, where, lowest=-ACCOUNT_LIMIT, highest=ACCOUNT_LIMIT, rest=rest
    )
    return amounts, rest


def holding_keys(owner: np.ndarray, instrument: np.ndarray) -> np.ndarray:
    """One int64 per (account, collateral asset)."""
    return owner.astype(np.int64) * 2**15 + instrument


def _accounts_in_assets(
    raw: dict, new: np.ndarray, ids: Ids, quantum: Fraction, assets: Assets, held: np.ndarray, bad: BadRows
) -> Accounts:
    """Accounts of a table with a row for each (account, asset)."""
    n = len(new)
    instrument = _assets(raw["asset"], assets, bad.where("asset"))
    cash = np.flatnonzero(instrument < 0)
    balance, rest, lots = np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.int64)
    balance[cash], rest[cash] = _balances(raw["balance"][cash], quantum, bad.where("balance", cash))
    for i, step in assets.steps.items():
        mine = np.flatnonzero((instrument == i) & bad.keep)
        lots[mine] = to_whole(
            raw["balance"][mine], step, bad.where("balance", mine), lowest=0, highest=LOTS_LIMIT, what="lot"
        )
    row = ids.find(new)
    where = bad.where("account")
    where.refuse((row >= 0) & (instrument < 0), raw["account"], "must not be loaded before")
    _, inverse = np.unique(new, return_inverse=True)
    key = holding_keys(np.where(row >= 0, row, len(ids) + inverse), instrument)
    where.refuse(
        np.isin(key, held) & (row >= 0) & (instrument >= 0), raw["account"],
        "(account, asset) must not be loaded before"
    )
    where.refuse(repeated(key, bad.keep), raw["account"], "must not repeat (account, asset)")
    # New accounts in the order in which they first stand.
    fresh = np.flatnonzero(bad.keep & (row < 0))
    new_ids, first, inverse = np.unique(new[fresh], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    row[fresh] = len(ids) + rank[inverse]
    of_new, rest_of_new = np.zeros(len(order), np.int64), np.zeros(len(order))
    paid = fresh[instrument[fresh] < 0]
    of_new[row[paid] - len(ids)], rest_of_new[row[paid] - len(ids)] = balance[paid], rest[paid]
    kept = np.flatnonzero(bad.keep & (instrument >= 0) & (lots > 0))
    return Accounts(new_ids[order], of_new, rest_of_new, row[kept], instrument[kept], lots[kept])


def _assets(values: np.ndarray, assets: Assets, where: Where) -> np.ndarray:
    """Instrument index of each row's asset; -1 for the settlement asset, which a missing one stands for."""
    codes = dict(assets.instrument)
    if assets.settlement is not None:
        codes[assets.settlement] = -1
    missing = missing_values(values)
    texts = values.tolist()
    no_text = np.array([not isinstance(x, str) for x in texts], bool) & ~missing
    where.wrong_type(no_text, texts, "must be the name of an asset, or missing for the settlement asset")
    found = np.array(
        [-1 if gone else codes.get(x, -2) for x, gone in zip(texts, missing.tolist(), strict=True)], np.int64
    )
    named = ", ".join(list(codes)[:8]) or "it has none: Market(collateral=...)"
    rule = f"must be an asset of the market ({named}), or missing for the settlement asset"
    where.refuse(found == -2, texts, rule)
    return found


@dataclass(frozen=True)
class Rows:
    """Position rows as loaded, in columns of their own: never written to, and shared with the state where
    they are in its order."""

    account: np.ndarray
    """int32"""
    instrument: np.ndarray
    """uint16"""
    slot: np.ndarray
    """uint8"""
    lots: np.ndarray
    """int64"""
    basis: np.ndarray
    """int64"""

    @classmethod
    def empty(cls) -> Rows:
        return cls(*(np.empty(0, t) for t in (np.int32, np.uint16, np.uint8, np.int64, np.int64)))

    def __len__(self) -> int:
        return len(self.account)

    def columns(self) -> tuple[np.ndarray, ...]:
        return self.account, self.instrument, self.slot, self.lots, self.basis

    def extended(self, other: Rows) -> Rows:
        return Rows(*map(extended, self.columns(), other.columns()))

    def records(self, chunk: int = 65_536) -> Iterator[np.ndarray]:
        """The same as ROW_DTYPE, some rows at a time."""
        for first in range(0, len(self), chunk):
            parts = [column[first : first + chunk] for column in self.columns()]
            table = np.empty(len(parts[0]), ROW_DTYPE)
            for name, part in zip(ROW_DTYPE.names or (), parts, strict=True):
                table[name] = part
            yield table

    def in_order(self) -> bool:
        """Whether they go by account, instrument, slot."""
        a = self.account
        if ascending(a):
            return True
        key = (a.astype(np.int64) << 18) + self.instrument * 4 + self.slot
        return bool((key[1:] >= key[:-1]).all())

    def sorted_by(self, order: np.ndarray) -> Rows:
        return Rows(*(column[order] for column in self.columns()))


def extended(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """One column after the other; the new one itself where there was none."""
    return np.concatenate([old, new]) if len(old) else new


def rests(rest: np.ndarray) -> np.ndarray:
    """What rounding took away: most often nothing, which takes no memory."""
    return rest if rest.any() else nothing(len(rest))


def nothing(n: int) -> np.ndarray:
    """n times 0.0."""
    return np.broadcast_to(np.float64(0), (n,))


@dataclass(frozen=True)
class Positions:
    """New positions as columns; `owner_row` counts on from the ids loaded before into `new_ids`."""

    owner_row: np.ndarray
    new_ids: np.ndarray
    instrument: np.ndarray
    slot: np.ndarray
    lots: np.ndarray
    basis: np.ndarray
    basis_rest: np.ndarray
    """float64 quanta: what rounding took away"""
    isolated: np.ndarray
    margin: np.ndarray
    margin_rest: np.ndarray


def position_keys(
    owner: np.ndarray, instrument: np.ndarray, slot: np.ndarray, isolated: np.ndarray
) -> np.ndarray:
    """One int64 per (account, instrument, position_side, margin_mode)."""
    key = owner.astype(np.int64)
    for scale, part in ((2**15, instrument), (4, slot), (2, isolated)):
        key *= scale
        key += part
    return key


def positions(
    table: Any, instruments: tuple[Instrument, ...], terms: tuple[Terms, ...], ids: Ids, quantum: Fraction,
    held: np.ndarray,
    columns: Mapping[str, str] | None, bad: BadRows,
) -> Positions:  # fmt: skip
    """Read open positions; `held` are the `position_keys` loaded before."""
    spec = {
        "account": REQUIRED, "instrument": REQUIRED, "size": REQUIRED, "entry_price": REQUIRED,
        "margin": NULLABLE,
        "position_side": OPTIONAL, "margin_mode": OPTIONAL,
    }  # fmt: skip
    raw = read_columns(table, bad.table, spec, columns, bad=bad, copy=False)
    n = len(bad.mask)
    account_ids = to_ids(raw["account"], bad.where("account"))
    ids.check_kind(account_ids, bad.where("account"))
    instrument = _instruments(raw["instrument"], instruments, bad.where("instrument"))
    slot = np.zeros(n, np.int8)
    if raw["position_side"] is not None:
        slot = to_choice(raw["position_side"], SLOTS, bad.where("position_side"))
    isolated, margin, margin_rest = _margins(raw, quantum, bad, n)
    lots, basis, basis_rest = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    for i, mine in _by_instrument(instrument, bad):
        ins = instruments[i]
        which = slice(None) if mine is None else mine
        size, entry = raw["size"][which], raw["entry_price"][which]
        size_where, entry_where = bad.where("size", mine), bad.where("entry_price", mine)
        held_lots = to_whole(
            size, ins.lot_size, size_where, lowest=-LOTS_LIMIT, highest=LOTS_LIMIT, what="lot"
        )
        size_where.refuse(held_lots == 0, size, "must not be 0")
        per_lot = ins.lot_size * ins.multiplier / quantum
        basis_of = basis_linear if terms[i].contract == LINEAR else basis_inverse
        rest = np.zeros(len(size))
        value = basis_of(held_lots, entry, per_lot, entry_where, rest)
        if mine is None:
            lots, basis, basis_rest = held_lots, value, rest
        else:
            lots[mine], basis[mine], basis_rest[mine] = held_lots, value, rest
    if raw["position_side"] is not None:
        wrong_side = ((slot == SLOTS["long"]) & (lots < 0)) | ((slot == SLOTS["short"]) & (lots > 0))
        bad.where("size").refuse(
            wrong_side, raw["size"], "must be positive on position_side 'long', negative on 'short'"
        )
    row = ids.find(account_ids)
    bad.where("account").refuse(
        (row < 0) & ~isolated, raw["account"],
        "must be an account loaded before (a position with margin creates its own)"
    )
    row, new_ids = _with_new(row, account_ids, bad.keep, len(ids))
    if held.size or not ascending(row):  # otherwise every account stands once, and is new or holds nothing
        key = position_keys(row, instrument, slot, isolated)
        where = bad.where("account")
        rule = "(account, instrument, position_side, margin_mode) must not be loaded before"
        where.refuse(np.isin(key, held) & (row < len(ids)), raw["account"], rule)
        rule = "must not repeat (account, instrument, position_side, margin_mode)"
        where.refuse(repeated(key, bad.keep), raw["account"], rule)
    positions = Positions(
        row, new_ids, instrument, slot, lots, basis, basis_rest, isolated, margin, margin_rest
    )  # fmt: skip
    return _compacted(positions, bad.keep, len(ids))


def _by_instrument(instrument: np.ndarray, bad: BadRows) -> Iterator[tuple[int, np.ndarray | None]]:
    """(instrument, its good rows) of those that have some; None for all rows of the table."""
    if not len(instrument):
        return
    if not bad.mask.any() and (instrument == instrument[0]).all():
        yield int(instrument[0]), None
        return
    rows = np.argsort(instrument, kind="stable")
    rows = rows[bad.keep[rows]]
    present, starts = np.unique(instrument[rows], return_index=True)
    yield from zip(present.tolist(), np.split(rows, starts[1:]), strict=True)


def _with_new(
    row: np.ndarray, account_ids: np.ndarray, keep: np.ndarray, loaded: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids, those that are not loaded counted on in order of their first appearance; the new ids."""
    wanted = (row < 0) & keep
    if wanted.all() and account_ids.dtype != object and ascending(account_ids):
        return np.arange(loaded, loaded + len(row)), account_ids
    absent = np.flatnonzero(wanted)
    ids = account_ids[absent]
    if ids.dtype != object and ascending(ids):
        row[absent] = np.arange(loaded, loaded + len(ids))
        return row, ids
    new_ids, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(new_ids), np.int64)
    rank[order] = np.arange(len(new_ids))
    row[absent] = loaded + rank[inverse]
    return row, new_ids[order]


def _compacted(x: Positions, keep: np.ndarray, loaded: int) -> Positions:
    """The kept rows only; a new owner all of whose rows were dropped is not created."""
    if keep.all():
        return x
    row = x.owner_row[keep].copy()
    fresh = row >= loaded
    wanted = np.zeros(len(x.new_ids), bool)
    wanted[row[fresh] - loaded] = True
    used = np.flatnonzero(wanted)
    renumbered = np.cumsum(wanted) - 1
    row[fresh] = loaded + renumbered[row[fresh] - loaded]
    rest = (
        x.instrument, x.slot, x.lots, x.basis, x.basis_rest, x.isolated, x.margin, x.margin_rest
    )  # fmt: skip
    return Positions(row, x.new_ids[used], *(column[keep] for column in rest))


def _instruments(values: np.ndarray, instruments: tuple[Instrument, ...], where: Where) -> np.ndarray:
    """Instrument index per row; 0 where refused."""
    if not len(values):
        return np.zeros(0, np.int16)
    if values.dtype.kind not in "UO":
        where.wrong_column(f"dtype {values.dtype}", "must be symbols")
    symbols = [ins.symbol for ins in instruments]
    rule = f"must be an instrument of the market ({', '.join(symbols[:8])})"
    if values.dtype.kind == "U":
        found = _codes(values, symbols)
    else:
        elements = values.tolist()
        no_text = np.array([not isinstance(symbol, str) for symbol in elements])
        where.wrong_type(no_text, elements, "must be a symbol")
        index = {symbol: i for i, symbol in enumerate(symbols)}
        codes = (index.get(symbol, -1) if isinstance(symbol, str) else -1 for symbol in elements)
        found = np.fromiter(codes, np.int16, len(elements))
    where.refuse(found < 0, values, rule)
    return np.maximum(found, 0)


def _codes(values: np.ndarray, symbols: list[str]) -> np.ndarray:
    """Which of the symbols each 'U' string is, int16; -1 for none."""
    width = values.dtype.itemsize // 4
    if not width:
        return np.full(len(values), -1, np.int16)
    known = [k for k, symbol in enumerate(symbols) if len(symbol) <= width]
    texts = np.ascontiguousarray(values).view(np.uint32).reshape(len(values), width)
    short = np.array([symbols[k] for k in known], f"U{width}").view(np.uint32).reshape(len(known), width)
    found = _bulk.codes_of(texts, short)
    if len(known) == len(symbols):
        return found
    return np.array([*known, -1], np.int16)[found]


def _margins(
    raw: dict, quantum: Fraction, bad: BadRows, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(isolated, posted margin in quanta, what rounding took away from it) per row."""
    rest = np.zeros(n)
    if raw["margin"] is None:
        margin, missing = np.zeros(n, np.int64), np.ones(n, bool)
    else:
        margin, missing = to_money(
            raw["margin"], quantum, bad.where("margin"), lowest=0, highest=ACCOUNT_LIMIT, allow_missing=True,
            rest=rest,
        )
    if raw["margin_mode"] is not None:
        mode = to_choice(raw["margin_mode"], MODES, bad.where("margin_mode"))
        where = bad.where("margin_mode")
        where.refuse(
            (mode == ISOLATED) & missing, raw["margin_mode"], "an isolated position must have a margin"
        )
        where.refuse(
            (mode == CROSS) & ~missing, raw["margin_mode"], "a cross position must not have a margin"
        )
    return ~missing, margin, rest
