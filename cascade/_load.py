"""Loading: user tables of accounts, positions, levels and orders as exact columns, every row checked before
anything changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

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
        self._array = np.zeros(0, np.int64) if ids is None else ids
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None
        self._by_text: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self._array)

    @property
    def is_text(self) -> bool:
        return self._array.dtype == object

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Ids by row, as integers or strings."""
        picked = self._array[rows]
        return text_array(picked) if self.is_text and len(picked) else picked

    def check_kind(self, ids: np.ndarray, where: Where) -> None:
        """Refuse text where the market's ids are integers, and the other way round."""
        if not len(self) or not len(ids):
            return
        if (ids.dtype == object) != self.is_text:
            kind = "text" if self.is_text else "integers"
            where.wrong_column(f"dtype {ids.dtype}", f"must be {kind}, as the ids loaded before are")
        if {ids.dtype, self._array.dtype} == {np.dtype(np.int64), np.dtype(np.uint64)}:
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
        if ids.dtype != self._array.dtype:
            return self._find_other_dtype(ids)
        if self._sorted is None:
            order = np.argsort(self._array, kind="stable")
            self._sorted = self._array[order], order
        keys, order = self._sorted
        at = np.minimum(np.searchsorted(keys, ids), len(keys) - 1)
        return np.where(keys[at] == ids, order[at], -1)

    def _find_other_dtype(self, ids: np.ndarray) -> np.ndarray:
        """`find` for int64 ids among uint64 ones or the reverse; what one type alone holds is not there."""
        fits = ids >= 0 if ids.dtype == np.int64 else ids < 2**63
        found = self.find(np.where(fits, ids, ids.dtype.type(0)).astype(self._array.dtype))
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
        if ids.dtype != self._array.dtype:  # `check_kind` has seen that all are >= 0
            return Ids(np.concatenate([self._array.astype(np.uint64), ids.astype(np.uint64)]))
        return Ids(np.concatenate([self._array, ids]))

    def digest_bytes(self) -> bytes:
        if self.is_text:
            return "\0".join(self._array.tolist()).encode()
        return self._array.dtype.str.encode() + self._array.tobytes()


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


def repeated(keys: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Mask of the good rows whose key stood in an earlier good row."""
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


def accounts(
    table: Any, ids: Ids, quantum: Fraction, columns: Mapping[str, str] | None, bad: BadRows
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, balances in quanta, what rounding took away from them) of new cross accounts."""
    raw = read_columns(table, bad.table, {"account": REQUIRED, "balance": REQUIRED}, columns, bad=bad)
    where = bad.where("account")
    new = to_ids(raw["account"], where)
    ids.check_kind(new, where)
    rest = np.zeros(len(new))
    balance, _ = to_money(
        raw["balance"], quantum, bad.where("balance"), lowest=-ACCOUNT_LIMIT, highest=ACCOUNT_LIMIT, rest=rest
    )
    where.refuse(ids.find(new) >= 0, raw["account"], "must not be loaded before")
    where.refuse(repeated(new, bad.keep), raw["account"], "must not repeat an account")
    keep = bad.keep
    return new[keep], balance[keep], rest[keep]


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
    return ((owner.astype(np.int64) * 2**15 + instrument) * 4 + slot) * 2 + isolated


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
    raw = read_columns(table, bad.table, spec, columns, bad=bad)
    n = len(bad.mask)
    account_ids = to_ids(raw["account"], bad.where("account"))
    ids.check_kind(account_ids, bad.where("account"))
    instrument = _instruments(raw["instrument"], instruments, bad.where("instrument"))
    slot = np.zeros(n, np.int8)
    if raw["position_side"] is not None:
        slot = to_choice(raw["position_side"], SLOTS, bad.where("position_side"))
    isolated, margin, margin_rest = _margins(raw, quantum, bad, n)
    lots, basis, basis_rest = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    for i, (ins, t) in enumerate(zip(instruments, terms, strict=True)):
        mine = np.flatnonzero((instrument == i) & bad.keep)
        if not mine.size:
            continue
        size_where, entry_where = bad.where("size", mine), bad.where("entry_price", mine)
        lots[mine] = to_whole(
            raw["size"][mine], ins.lot_size, size_where, lowest=-LOTS_LIMIT, highest=LOTS_LIMIT, what="lot"
        )
        size_where.refuse(lots[mine] == 0, raw["size"][mine], "must not be 0")
        per_lot = ins.lot_size * ins.multiplier / quantum
        basis_of = basis_linear if t.contract == LINEAR else basis_inverse
        rest = np.zeros(len(mine))
        basis[mine] = basis_of(lots[mine], raw["entry_price"][mine], per_lot, entry_where, rest)
        basis_rest[mine] = rest
    wrong_side = ((slot == SLOTS["long"]) & (lots < 0)) | ((slot == SLOTS["short"]) & (lots > 0))
    bad.where("size").refuse(
        wrong_side, raw["size"], "must be positive on position_side 'long', negative on 'short'"
    )
    row = ids.find(account_ids)
    bad.where("account").refuse(
        (row < 0) & ~isolated, raw["account"],
        "must be an account loaded before (a position with margin creates its own)"
    )
    absent = np.flatnonzero((row < 0) & bad.keep)
    new_ids, first, inverse = np.unique(account_ids[absent], return_index=True, return_inverse=True)
    rank = np.empty(len(new_ids), np.int64)
    rank[np.argsort(first)] = np.arange(len(new_ids))
    row[absent] = len(ids) + rank[inverse]
    key = position_keys(row, instrument, slot, isolated)
    where = bad.where("account")
    rule = "(account, instrument, position_side, margin_mode) must not be loaded before"
    where.refuse(np.isin(key, held) & (row < len(ids)), raw["account"], rule)
    rule = "must not repeat (account, instrument, position_side, margin_mode)"
    where.refuse(repeated(key, bad.keep), raw["account"], rule)
    keep = bad.keep
    positions = Positions(
        row, new_ids[np.argsort(rank)], instrument, slot, lots, basis, basis_rest, isolated, margin,
        margin_rest,
    )  # fmt: skip
    return _compacted(positions, keep, len(ids))


def _compacted(x: Positions, keep: np.ndarray, loaded: int) -> Positions:
    """The kept rows only; a new owner all of whose rows were dropped is not created."""
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
        return np.zeros(0, np.int64)
    if values.dtype.kind not in "UO":
        where.wrong_column(f"dtype {values.dtype}", "must be symbols")
    symbols = values.tolist()
    if values.dtype.kind == "O":
        no_text = np.array([not isinstance(symbol, str) for symbol in symbols])
        where.wrong_type(no_text, symbols, "must be a symbol")
    index = {ins.symbol: i for i, ins in enumerate(instruments)}
    codes = (index.get(symbol, -1) if isinstance(symbol, str) else -1 for symbol in symbols)
    found = np.fromiter(codes, np.int64, len(symbols))
    where.refuse(found < 0, values, f"must be an instrument of the market ({', '.join(list(index)[:8])})")
    return np.maximum(found, 0)


def _margins(
    raw: dict, quantum: Fraction, bad: BadRows, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(isolated, posted margin in quanta, what rounding took away from it) per row."""
    margin, missing, rest = np.zeros(n, np.int64), np.ones(n, bool), np.zeros(n)
    if raw["margin"] is not None:
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
