"""Thin wrappers over the units, for tests: built with CASCADE_TESTING=1 only."""

from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from cascade._pool cimport (
    idmap_check,
    idmap_copy,
    idmap_copy_room,
    idmap_del,
    idmap_free,
    idmap_get,
    idmap_init,
    idmap_put,
    idmap_reserve,
    idmap_t,
)
from cascade._queue cimport queue_pop, queue_push, queue_sort, queue_waits
from cascade._run cimport run_t, waiting_t
from cascade._types cimport OK
from cascade._wide cimport (
    fraction_cmp,
    fraction_of,
    fraction_t,
    money_inverse,
    money_inverse_mark,
    money_linear,
    money_linear_mark,
    money_price,
    money_rate_up,
    money_share_even,
    money_share_floor,
    money_share_rest,
    scaled_down,
    scaled_even,
    scaled_up,
    wide_add,
    wide_cmp,
    wide_double,
    wide_high,
    wide_join,
    wide_low,
    wide_mul,
    wide_of,
    wide_sign,
    wide_sub,
    wide_t,
    within_distance,
)


cdef wide_t to_wide(object x) except *:
    """A Python int in [-2**127, 2**127)."""
    return wide_join(x >> 64, x & 0xFFFFFFFFFFFFFFFF)


cdef object from_wide(wide_t x):
    return (int(wide_high(x)) << 64) | <uint64_t>wide_low(x)


# Wide integers


def wide_identity(x):
    return from_wide(to_wide(x))


def wide_sum(x, y):
    return from_wide(wide_add(to_wide(x), to_wide(y)))


def wide_difference(x, y):
    return from_wide(wide_sub(to_wide(x), to_wide(y)))


def wide_product(int64_t x, int64_t y):
    return from_wide(wide_mul(x, y))


def wide_compare(x, y):
    return wide_cmp(to_wide(x), to_wide(y)), wide_sign(to_wide(x)), wide_sign(wide_of(0))


def wide_as_double(x):
    return wide_double(to_wide(x))


# Money


def linear(int64_t n, int64_t p, int64_t c):
    return money_linear(n, p, c)


def linear_mark(int64_t n, int64_t p, int64_t c):
    return money_linear_mark(n, p, c)


def inverse(int64_t n, int64_t a, int64_t p, int64_t b):
    return money_inverse(n, a, p, b)


def inverse_mark(int64_t n, int64_t a, int64_t p, int64_t b):
    return money_inverse_mark(n, a, p, b)


def rate_up(int64_t rate, int64_t amount):
    return money_rate_up(rate, amount)


def share_even(int64_t a, int64_t k, int64_t n):
    return money_share_even(a, k, n)


def share_floor(int64_t a, int64_t k, int64_t n):
    return money_share_floor(a, k, n)


def share_rest(int64_t total, int64_t part, whole):
    cdef int64_t share = 0
    rest = from_wide(money_share_rest(total, part, to_wide(whole), &share))
    return share, rest


def price(bint is_inverse, int64_t n, int64_t v, int64_t a, int64_t b, bint up):
    return money_price(is_inverse, n, v, a, b, up)


def scaled(int64_t a, int64_t f):
    """a * f / 1e9: nearest even, down, up."""
    return from_wide(scaled_even(a, f)), from_wide(scaled_down(a, f)), from_wide(scaled_up(a, f))


def is_within(int64_t p, int64_t t, int64_t low, int64_t high):
    return bool(within_distance(p, t, low, high))


def compare_fractions(num, den, other_num, other_den):
    cdef fraction_t x = fraction_of(to_wide(num), to_wide(den))
    cdef fraction_t y = fraction_of(to_wide(other_num), to_wide(other_den))
    return fraction_cmp(&x, &y)


# The hash map


cdef class IdMap:
    """An idmap_t as a mapping of uint64 to int32 >= 0."""

    cdef idmap_t m

    def __cinit__(self):
        idmap_init(&self.m)

    def __dealloc__(self):
        idmap_free(&self.m)

    def put(self, uint64_t key, int32_t value):
        if idmap_reserve(&self.m, self.m.n + 1) != OK:
            raise MemoryError
        idmap_put(&self.m, key, value)

    def get(self, uint64_t key):
        return idmap_get(&self.m, key)

    def delete(self, uint64_t key):
        idmap_del(&self.m, key)

    def copy(self):
        cdef IdMap made = IdMap()
        if idmap_copy_room(&made.m, &self.m) != OK:
            raise MemoryError
        idmap_copy(&made.m, &self.m)
        return made

    def check(self):
        return bool(idmap_check(&self.m))

    def __len__(self):
        return self.m.n


# The queue


cdef int fill_waiting(waiting_t* w, object item) except -1:
    """`item`: (numerator, denominator or 0 for "before all", account)."""
    num, den, account = item
    memset(w, 0, sizeof(waiting_t))
    w.account = account
    w.first = den == 0
    w.num = 0 if den == 0 else num
    w.den = den if den else 1
    w.near = <double>w.num / <double>w.den
    return 0


def sorted_accounts(items):
    """The accounts of items in the order of queue_sort."""
    cdef waiting_t rows[256]
    cdef int32_t n = len(items), k
    if n > 256:
        raise ValueError(n)
    for k in range(n):
        fill_waiting(&rows[k], items[k])
    queue_sort(rows, n)
    return [rows[k].account for k in range(n)]


def drained(script):
    """Push the items of a script and pop at each None; what came out, the rest at the end."""
    cdef run_t r
    cdef waiting_t w
    memset(&r, 0, sizeof(run_t))
    out = []
    try:
        for item in script:
            if item is not None:
                fill_waiting(&w, item)
                queue_push(&r, &w)
            elif queue_waits(&r):
                out.append(queue_pop(&r).account)
        while queue_waits(&r):
            out.append(queue_pop(&r).account)
        return out
    finally:
        PyMem_RawFree(r.line)
        PyMem_RawFree(r.heap)
