"""Thin wrappers over the units, for tests: built with CASCADE_TESTING=1 only."""

from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from cascade._ids cimport (
    BUCKET,
    BUCKET_BITS,
    bucket_t,
    ids_clear,
    ids_copy,
    ids_copy_room,
    ids_dense,
    ids_forget,
    ids_free,
    ids_hash,
    ids_init,
    ids_keep_marked,
    ids_mark,
    ids_move,
    ids_place,
    ids_put,
    ids_put_sparse,
    ids_renew_sparse,
    ids_roomy,
    ids_t,
    ids_tag,
    tags_equal,
)
from cascade._ladder cimport (
    ladder_below,
    ladder_best,
    ladder_check,
    ladder_clear,
    ladder_copy,
    ladder_copy_room,
    ladder_enter,
    ladder_find,
    ladder_free,
    ladder_init,
    ladder_remove,
    ladder_reserve,
    ladder_t,
    price_rank,
)
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
from cascade._queue cimport queue_pop, queue_push, queue_sort, queue_waits, sorted_t
from cascade._run cimport run_t, waiting_t
from cascade._stops cimport (
    stop_release,
    stop_t,
    stops_add,
    stops_check,
    stops_clear,
    stops_copy,
    stops_copy_room,
    stops_free,
    stops_init,
    stops_kill,
    stops_next,
    stops_reach,
    stops_reserve,
    stops_t,
)
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
    cdef double scratch[256 * 8]    # 64 bytes each
    cdef const sorted_t* ordered
    cdef int32_t n = len(items), k
    if n > 256:
        raise ValueError(n)
    for k in range(n):
        fill_waiting(&rows[k], items[k])
    ordered = queue_sort(rows, n, scratch)
    return [ordered[k].who.item.account for k in range(n)]


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


# The order book's levels


cdef class Ladder:
    """A ladder_t as two sets of prices."""

    cdef ladder_t l

    def __cinit__(self):
        if ladder_init(&self.l) != OK:
            raise MemoryError

    def __dealloc__(self):
        ladder_free(&self.l)

    def add(self, int side, int64_t price):
        if ladder_reserve(&self.l, 1) != OK:
            raise MemoryError
        self.l.levels[ladder_enter(&self.l, side, price_rank(side, price), price)].count = 1

    def remove(self, int side, int64_t price):
        ladder_remove(&self.l, ladder_find(&self.l, side, price_rank(side, price), price))

    def has(self, int side, int64_t price):
        cdef uint32_t level = ladder_find(&self.l, side, price_rank(side, price), price)
        return level != 0 and self.l.levels[level].price_ticks == price and self.l.levels[level].side == side

    def below(self, int side, int64_t price):
        """The next price behind one that is there, or None."""
        cdef uint32_t level = ladder_below(&self.l, ladder_find(&self.l, side, price_rank(side, price), price))
        return self.l.levels[level].price_ticks if level != 0 else None

    def prices(self, int side):
        cdef uint32_t level = ladder_best(&self.l, side)
        out = []
        while level != 0:
            out.append(self.l.levels[level].price_ticks)
            level = ladder_below(&self.l, level)
        return out

    def copy(self):
        cdef Ladder made = Ladder()
        if ladder_copy_room(&made.l, &self.l, 0) != OK:
            raise MemoryError
        ladder_copy(&made.l, &self.l)
        return made

    def clear(self):
        ladder_clear(&self.l)

    def check(self):
        return bool(ladder_check(&self.l))


# The order book's ids


cdef class Ids:
    """An ids_t: hints by id, stale ones among them."""

    cdef ids_t x

    def __cinit__(self):
        ids_init(&self.x)

    def __dealloc__(self):
        ids_free(&self.x)

    def put(self, uint64_t id, uint32_t handle):
        """False, with nothing changed, without room: `renew` makes it."""
        if not ids_roomy(&self.x, 1):
            return False
        ids_put(&self.x, id, handle)
        return True

    def move(self, uint64_t id, uint32_t old, uint32_t handle):
        ids_move(&self.x, id, old, handle)

    def hints(self, uint64_t id):
        """Every handle that a search for the id looks at."""
        return {ids_dense(&self.x, id)} | {handle for handle, _place in self.hashed(id)}

    def hashed(self, uint64_t id):
        """(handle, place) of every hint that a search in the buckets looks at."""
        cdef uint64_t hash = ids_hash(id)
        cdef const bucket_t* k
        cdef int64_t i
        cdef int j
        found = []
        if self.x.used > 0:
            i = ids_place(&self.x, hash)
            while True:
                k = &self.x.buckets[i]
                for j in range(BUCKET):
                    if k.tags[j] == ids_tag(hash):
                        found.append((k.handles[j], i << BUCKET_BITS | j))
                if tags_equal(k.tags, 0):
                    break
                i = (i + 1) & (self.x.cap - 1)
        return found

    def forget(self, uint64_t id, uint32_t handle):
        """A hashed hint has become stale."""
        for found, place in self.hashed(id):
            if found == handle:
                ids_forget(&self.x, place)
                return

    def renew(self, live):
        """A hash table of the hints of `live`, a dict of id to handle, that no page has."""
        if ids_renew_sparse(&self.x, len(live) + 1) != OK:
            raise MemoryError
        for id, handle in live.items():
            if ids_dense(&self.x, id) != handle:
                ids_put_sparse(&self.x, id, handle)

    def collect(self, live):
        """Give up the pages without a live id."""
        for id in live:
            ids_mark(&self.x, id)
        ids_keep_marked(&self.x)

    def full(self):
        """Are there so many pages that they are looked through?"""
        return self.x.pages_n >= self.x.collect_at

    def copy(self):
        cdef Ids made = Ids()
        if ids_copy_room(&made.x, &self.x) != OK:
            raise MemoryError
        ids_copy(&made.x, &self.x)
        return made

    def clear(self):
        ids_clear(&self.x)

    def sizes(self):
        """Pages, directory entries, slots in use."""
        return self.x.pages_n, self.x.span, self.x.used


# The order book's stops


cdef class Stops:
    """A stops_t; stops are named by the numbers that `add` gives."""

    cdef stops_t s

    def __cinit__(self):
        stops_init(&self.s)

    def __dealloc__(self):
        stops_free(&self.s)

    def add(self, uint64_t id, int8_t side, int64_t stop_ticks, uint8_t flags):
        cdef stop_t stop
        memset(&stop, 0, sizeof(stop_t))
        stop.id = id
        stop.side = side
        stop.stop_ticks = stop_ticks
        stop.rare.flags = flags
        if stops_reserve(&self.s, 1) != OK:
            raise MemoryError
        return stops_add(&self.s, &stop)

    def kill(self, uint32_t record):
        stops_kill(&self.s, record)

    def reach(self, int first, int64_t low, int64_t high):
        """The ids of the stops reached, in the order in which they act."""
        cdef uint32_t record
        out = []
        stops_reach(&self.s, first, low, high)
        record = stops_next(&self.s)
        while record != 0:
            out.append(self.s.records[record].id)
            stop_release(&self.s, record)
            record = stops_next(&self.s)
        return out

    def copy(self):
        cdef Stops made = Stops()
        if stops_copy_room(&made.s, &self.s) != OK:
            raise MemoryError
        stops_copy(&made.s, &self.s)
        return made

    def clear(self):
        stops_clear(&self.s)

    def check(self):
        return bool(stops_check(&self.s))

    def __len__(self):
        return self.s.live
