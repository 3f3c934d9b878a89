"""Columns in bulk: floats and symbols that are plain are converted, other rows are named and left to the caller.

Results are those of Fraction arithmetic on the shortest decimals, as in `_exact`, where the bounds are explained.
"""

from libc.math cimport fabs, rint
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

import numpy as np


cdef extern from "math.h" nogil:
    long double rintl(long double)
    long double fabsl(long double)

# Decimals of at most 15 digits never share a float.
cdef double DIGITS = 1e15
cdef double HALF_ULP = 2.0**-53 * 1.0001
cdef double CLEAR = 0.5 - 1e-9
cdef double SMALLEST = 1e-290


def on_grid(const double[::1] values not None, double scale, int64_t unit):
    """Values that are whole multiples of unit / scale, scale a power of ten up to 1e22.

    Returns
    -------
    (whole multiples, int64 of shape (n,), 0 elsewhere; int64 numbers of the rows that are none or not surely so)
    """
    cdef int64_t k, m, n = values.shape[0], left = 0
    cdef double scaled
    wholes, others = np.zeros(n, np.int64), np.empty(n, np.int64)
    cdef int64_t[::1] out = wholes, other = others
    for k in range(n):
        scaled = rint(values[k] * scale)
        if fabs(scaled) < DIGITS and scaled / scale == values[k]:
            m = <int64_t>scaled
            if unit == 1:
                out[k] = m
                continue
            if m % unit == 0:
                out[k] = m // unit
                continue
        other[left] = k
        left += 1
    return wholes, others[:left].copy()


def times_on_grid(const double[::1] values not None, const int64_t[::1] lots not None, double scale, int64_t factor, int64_t limit):
    """lots * value * scale * factor of the values > 0 that are decimals of log10(scale) places, where that stays within `limit`.

    Returns as `on_grid`.
    """
    cdef int64_t k, n = values.shape[0], left = 0
    cdef double scaled, most = <double>limit / 1.001
    products, others = np.zeros(n, np.int64), np.empty(n, np.int64)
    cdef int64_t[::1] out = products, other = others
    for k in range(n):
        scaled = rint(values[k] * scale)
        if scaled > 0 and scaled < DIGITS and scaled / scale == values[k] and fabs(<double>lots[k] * scaled * <double>factor) < most:
            out[k] = lots[k] * <int64_t>scaled * factor
        else:
            other[left] = k
            left += 1
    return products, others[:left].copy()


def scaled(const double[::1] values not None, const int64_t[::1] lots, double high, double low, bint inverse, double epsilon):
    """lots * factor * value, or lots * factor / value, half-even; the factor is high + low, lots are 1 where None.

    Parameters
    ----------
    epsilon : the relative error of a rounding in long double

    Returns
    -------
    (int64 of shape (n,), 0 where it is not sure; float64 of shape (n,), what rounding took away; int64 numbers of the rows
    that are not sure, those with a value <= 0 among them where there are lots)
    """
    cdef int64_t k, n = values.shape[0], left = 0
    cdef long double factor = <long double>high + <long double>low, number, nearest
    cdef double distance, error, part, relative = (HALF_ULP + 8 * epsilon) * 1.0001
    wholes, rests, others = np.zeros(n, np.int64), np.zeros(n), np.empty(n, np.int64)
    cdef int64_t[::1] out = wholes, other = others
    cdef double[::1] rest = rests
    for k in range(n):
        if lots is None:
            number = <long double>values[k] * factor
        elif values[k] > 0:
            number = <long double>lots[k] * factor
            number = number / <long double>values[k] if inverse else number * <long double>values[k]
        else:
            other[left] = k
            left += 1
            continue
        nearest = rintl(number)
        distance = <double>fabsl(number - nearest)
        error = <double>fabsl(number) * relative
        if distance + error < CLEAR and fabs(values[k]) > SMALLEST and fabsl(nearest) < 2.0**61:
            out[k] = <int64_t>nearest
            part = <double>(number - nearest)
            rest[k] = min(max(part, -0.5), 0.5)
        elif values[k] != 0:
            other[left] = k
            left += 1
    return wholes, rests, others[:left].copy()


def add_accounts(
    const int64_t[::1] owner not None, const uint8_t[::1] isolated not None, const int64_t[::1] margin not None, int32_t[::1] cross not None,
    uint8_t[::1] mode not None, int32_t[::1] parent not None, int64_t[::1] balance not None, int32_t[::1] owner_row not None,
    int64_t first, uint8_t cross_mode, uint8_t isolated_mode
):
    """Make the accounts of new positions, in order of rows: an isolated position is one, an owner that is new comes just before it.

    Parameters
    ----------
    owner, isolated, margin : (n,) row of the owner's id; whether the position is isolated; the account's balance, in quanta
    cross : by row of ids, the owner's account; -1 for a new owner, and set
    mode, parent, balance, owner_row : by account; filled from `first` on

    Returns
    -------
    int32 of shape (n,), each position's account
    """
    cdef int64_t k, o, n = owner.shape[0], at = first
    accounts = np.empty(n, np.int32)
    cdef int32_t[::1] account = accounts
    for k in range(n):
        o = owner[k]
        if cross[o] < 0:
            cross[o] = <int32_t>at
            mode[at] = cross_mode
            parent[at] = -1
            balance[at] = 0
            owner_row[at] = <int32_t>o
            at += 1
        account[k] = cross[o]
        if isolated[k]:
            mode[at] = isolated_mode
            parent[at] = cross[o]
            balance[at] = margin[k]
            owner_row[at] = <int32_t>o
            account[k] = <int32_t>at
            at += 1
    return accounts


def lots_held(const uint16_t[::1] instrument not None, const int64_t[::1] lots not None, int64_t n):
    """How many lots positions are about, whatever their sides: float64 by instrument, of shape (n,)."""
    cdef int64_t k
    held = np.zeros(n)
    cdef double[::1] out = held
    with nogil:
        for k in range(lots.shape[0]):
            out[instrument[k]] += fabs(<double>lots[k])
    return held


def exposures(
    const int32_t[::1] account not None, const uint16_t[::1] instrument not None, const int64_t[::1] lots not None,
    const int64_t[::1] basis not None, const int64_t[::1] balance not None, const double[::1] worst not None, const double[::1] beside
):
    """What accounts can amount to: their money, the worst of their positions, and `beside` where it is not None.

    Parameters
    ----------
    account, instrument, lots, basis : by position, ascending by account
    balance, beside : by account
    worst : by instrument, what one lot can be worth

    Returns
    -------
    (the largest, the sum of all)
    """
    cdef int64_t a, k = 0, n = balance.shape[0], rows = account.shape[0]
    cdef double one, largest = 0, whole = 0
    with nogil:
        for a in range(n):
            one = fabs(<double>balance[a])
            if beside is not None:
                one += beside[a]
            while k < rows and account[k] == a:
                one += fabs(<double>lots[k]) * worst[instrument[k]] + fabs(<double>basis[k])
                k += 1
            largest = max(largest, one)
            whole += one
    return largest, whole


def codes_of(const uint32_t[:, ::1] texts not None, const uint32_t[:, ::1] symbols not None):
    """Which of the symbols each text is, -1 for none: (n,) int16. Both as UCS-4 of one width, padded with zeros."""
    cdef int64_t n = texts.shape[0], k, j, slot, latest = 0
    cdef int64_t count = symbols.shape[0], size = 16
    cdef size_t width = <size_t>texts.shape[1] * sizeof(uint32_t)
    while size < 4 * count:
        size *= 2
    found, places = np.full(n, -1, np.int16), np.full(size, -1, np.int16)
    if not width or not count:
        return found
    cdef int16_t[::1] out = found, place = places
    for k in range(count):
        slot = hash_of(&symbols[k, 0], texts.shape[1]) & (size - 1)
        while place[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        place[slot] = <int16_t>k
    for k in range(n):
        if memcmp(&texts[k, 0], &symbols[latest, 0], width) == 0:  # columns often repeat themselves
            out[k] = <int16_t>latest
            continue
        slot = hash_of(&texts[k, 0], texts.shape[1]) & (size - 1)
        while place[slot] >= 0:
            j = place[slot]
            if memcmp(&texts[k, 0], &symbols[j, 0], width) == 0:
                out[k] = <int16_t>j
                latest = j
                break
            slot = (slot + 1) & (size - 1)
    return found


cdef inline int64_t hash_of(const uint32_t* text, int64_t width) noexcept nogil:
    cdef uint64_t h = 14695981039346656037ULL
    cdef int64_t k
    for k in range(width):
        h = (h ^ text[k]) * 1099511628211ULL
    return <int64_t>((h ^ (h >> 32)) & 0x7FFFFFFF)
