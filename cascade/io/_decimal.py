"""Decimal text in bulk: the bytes of many fields to exact integers of a tick or a lot, without floats.

Eight characters at a time are loaded as one 64-bit word and turned into digits by three multiplications (as
JSON parsers do). Fields that are no plain decimal of at most 18 digits are left to `cascade._exact`, which
reads exponents and long numbers and writes the messages.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

PADDING = bytes(24)
"""What must stand before and after the bytes: fields are read in words that reach beyond them."""
MOST_DIGITS = 18

_POWERS = 10 ** np.arange(MOST_DIGITS + 1, dtype=np.int64)
_POINT, _MINUS, _PLUS = b".-+"


def _u8(value: int) -> np.uint64:
    return np.uint64(value)


_ZEROS, _HIGH, _SIX = _u8(0x3030303030303030), _u8(0xF0F0F0F0F0F0F0F0), _u8(0x0606060606060606)
_PAIRS, _FOURS, _EIGHT = _u8(0x00FF00FF00FF00FF), _u8(0x0000FFFF0000FFFF), _u8(0xFFFFFFFF)
_ONES = _u8(0xFFFFFFFFFFFFFFFF)


class Words:
    """The bytes of a block as overlapping 64-bit words, one at every offset.

    Parameters
    ----------
    block : numpy.ndarray of uint8, shape (n,)
        Contiguous, with `PADDING` at both ends.
    """

    def __init__(self, block: np.ndarray) -> None:
        self.block = block
        # Items of kind V need no alignment, so NumPy gathers them at any offset without a copy of the block.
        self._words: np.ndarray = np.ndarray((block.size - 7,), "V8", buffer=block, strides=(1,))
        self._points: np.ndarray | None = None

    def word(self, at: np.ndarray) -> np.ndarray:
        """The eight bytes from each offset, the first one lowest."""
        return self._words[at].view("<u8")

    def next_point(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Offset of the first "." of each field, or its end."""
        if self._points is None:
            points = np.flatnonzero(self.block == _POINT)
            self._points = np.append(points, self.block.size)
        found = self._points[np.searchsorted(self._points, start)]
        return np.minimum(found, end)

    def digits(self, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whole numbers of the fields [start, end): (int64, mask of the fields that are digits alone).

        An empty field is 0 and counts as digits.
        """
        length = end - start
        value, good = self._eight(end - 8, length)
        longest = int(length.max(initial=0))
        for back in (8, 16):
            if longest > back:
                more, fine = self._eight(end - 8 - back, length - back)
                with np.errstate(over="ignore"):
                    value = value + more * _u8(10**back)
                good &= fine
        return value.astype(np.int64), good & (length <= MOST_DIGITS)

    def _eight(self, at: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Digits in the last `length` of the eight bytes from each offset."""
        before = (8 * (8 - np.clip(length, 0, 8))).astype(np.uint64)
        none = before == _u8(64)
        keep = _ONES << np.minimum(before, _u8(63))
        word = (self.word(at) ^ _ZEROS) & np.where(none, _u8(0), keep)
        good = ((word | (word + _SIX)) & _HIGH) == 0
        word = (word * _u8(10) + (word >> _u8(8))) & _PAIRS
        word = (word * _u8(100) + (word >> _u8(16))) & _FOURS
        return (word * _u8(10_000) + (word >> _u8(32))) & _EIGHT, good


def to_steps(
    words: Words, start: np.ndarray, end: np.ndarray, step: Fraction
) -> tuple[np.ndarray, np.ndarray]:
    """Fields as whole numbers of `step`.

    Parameters
    ----------
    words : Words
        The block that the fields stand in.
    start, end : numpy.ndarray of int64, shape (n,)
        Offsets of the fields.
    step : Fraction
        The tick, lot or unit of time, > 0.

    Returns
    -------
    steps : numpy.ndarray of int64, shape (n,)
    sure : numpy.ndarray of bool, shape (n,)
        False where a field is no plain decimal, no whole number of steps or too long: `steps` is 0 there.
    """
    first = words.block[start]
    negative = (first == _MINUS) & (start < end)
    start = start + (negative | ((first == _PLUS) & (start < end)))
    point = words.next_point(start, end)
    whole, sure = words.digits(start, point)
    places = np.maximum(end - point - 1, 0)
    if places.any():
        fraction, fine = words.digits(np.minimum(point + 1, end), end)
        sure &= fine & (point - start + places <= MOST_DIGITS)
        places = np.where(sure, places, 0)
        whole = whole * _POWERS[places] + fraction
    sure &= (point > start) | (places > 0)
    steps = np.zeros(len(start), np.int64)
    for count in np.flatnonzero(np.bincount(places)).tolist():
        ratio = Fraction(1, 10**count) / step
        if max(ratio.numerator, ratio.denominator) >= 2**62:
            sure &= places != count
            continue
        mine = slice(None) if places.min() == places.max() else places == count
        value = whole[mine]
        fits = (value <= 2**62 // ratio.numerator) & (value % ratio.denominator == 0)
        value = np.where(fits, value, 0) // ratio.denominator * ratio.numerator
        sure[mine] &= fits
        steps[mine] = value
    return np.where(sure, np.where(negative, -steps, steps), 0), sure
