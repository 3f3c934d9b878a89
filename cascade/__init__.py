"""Liquidation cascades on real order books: exact, audited, fast."""

from cascade.tables import Table

__all__ = ["Table"]
