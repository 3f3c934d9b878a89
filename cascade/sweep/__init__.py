"""Sweeps: many scenarios over one loaded market. See `Market.sweep` and docs/sweeps.md."""

from ._sweep import Sweep, sweep

__all__ = ["Sweep", "sweep"]
