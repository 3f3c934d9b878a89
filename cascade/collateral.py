"""Collateral assets: what counts beside the settlement currency, how much of it, and where it is sold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ._badrows import show
from ._texts import text_fault
from .errors import InputError, InputTypeError
from .instruments import Instrument, rate


@dataclass(frozen=True, slots=True)
class Collateral:
    """An asset that margin accounts may hold beside the settlement currency.

    Parameters
    ----------
    asset : str
        Its name in the `asset` column of `Market.load_accounts`.
    instrument : str
        The linear instrument whose mark values it and whose book it is sold on.
    haircut : number
        The part of its value at the mark that does not count, in [0, 1], to 1e-12.

    Raises
    ------
    InputError, InputTypeError
        Naming the field, its value and the rule.

    Examples
    --------
    >>> import cascade as cs
    >>> btc = cs.Instrument("BTCUSDT", tick_size="0.1", lot_size="0.001", tiers=0.005)
    >>> market = cs.Market(btc, collateral=cs.Collateral("BTC", "BTCUSDT", haircut="0.05"))
    >>> market.load_accounts({"account": [1, 1], "balance": [500, 0.25], "asset": [None, "BTC"]})
    """

    asset: str
    instrument: str
    haircut: Any

    def __post_init__(self) -> None:
        for field in ("asset", "instrument"):
            value = getattr(self, field)
            if field == "instrument" and isinstance(value, Instrument):
                value = value.symbol
                object.__setattr__(self, field, value)
            if not isinstance(value, str):
                raise InputTypeError(f"collateral.{field} = {show(value)}: must be a string")
            if not value:
                raise InputError(f"collateral.{field} = '': must not be empty")
            if fault := text_fault(value):
                raise InputError(f"collateral.{field} = {show(value)}: {fault}")
        object.__setattr__(self, "haircut", rate(self.haircut, f"collateral[{self.asset!r}].haircut", 0))


def read_collateral(
    collateral: Any, settlement_asset: Any, instruments: tuple[Instrument, ...]
) -> tuple[tuple[Collateral, ...], dict[int, Fraction]]:
    """The assets of a market, and the haircut of each by the index of its instrument."""
    if settlement_asset is not None and not isinstance(settlement_asset, str):
        raise InputTypeError(f"market.settlement_asset = {show(settlement_asset)}: must be a string or None")
    if settlement_asset == "":
        raise InputError("market.settlement_asset = '': must not be empty")
    if collateral is None:
        return (), {}
    if isinstance(collateral, Collateral):
        collateral = (collateral,)
    if isinstance(collateral, str | bytes) or not isinstance(collateral, Iterable):
        raise InputTypeError(f"market.collateral = {show(collateral)}: must be Collateral assets")
    assets, haircuts = tuple(collateral), {}
    index = {instrument.symbol: i for i, instrument in enumerate(instruments)}
    for k, asset in enumerate(assets):
        what = f"market.collateral[{k}]"
        if not isinstance(asset, Collateral):
            raise InputTypeError(f"{what} = {show(asset)}: must be a Collateral")
        if asset.asset == settlement_asset:
            raise InputError(f"{what}.asset = {asset.asset!r}: must not be the settlement asset")
        if any(asset.asset == other.asset for other in assets[:k]):
            raise InputError(f"{what}.asset = {asset.asset!r}: must not stand twice")
        i = index.get(asset.instrument)
        if i is None:
            raise InputError(
                f"{what}.instrument = {asset.instrument!r}: must be an instrument of the market "
                f"({', '.join(list(index)[:8])})"
            )
        if instruments[i].contract != "linear":
            raise InputError(f"{what}.instrument = {asset.instrument!r}: must be linear")
        if i in haircuts:
            raise InputError(f"{what}.instrument = {asset.instrument!r}: must not price two assets")
        haircuts[i] = asset.haircut
    return assets, haircuts
