"""The exceptions cascade raises: one tree, so that `except cs.CascadeError` catches everything that is
ours."""

from __future__ import annotations


class CascadeError(Exception):
    """Base class of every exception that cascade raises on purpose."""


class InputError(CascadeError, ValueError):
    """A value is wrong: the message names table, column, first bad row, value, rule and the number of bad
    rows."""


class InputTypeError(CascadeError, TypeError):
    """A value has the wrong type (a float where an integer id belongs, None for an array, a masked
    array...)."""


class RangeError(CascadeError, OverflowError):
    """A value, or a sum over the values, does not fit the integers that the engine computes in."""


class CapacityError(CascadeError, MemoryError):
    """Memory, or a fixed index space such as 2**31 - 1 orders, is exhausted."""


class EngineStateError(CascadeError, RuntimeError):
    """The call is not possible now: the engine is busy in another thread, has ended, or did not record what
    is asked."""


class Cancelled(CascadeError):
    """A run was stopped from another thread: by an interrupt or the deadline of the sweep that it is part
    of."""


class AuditError(CascadeError):
    """Contracts, basis or money are not conserved, or a book is crossed: a defect of the engine, never of the
    input."""
