"""The price levels of both sides: records, and for each side a radix tree over its prices.

Prices are looked at as ranks, unsigned numbers that grow as a price gets better, so that both sides are searched by the
same code. A tree has 16-way nodes and no node where paths do not part; narrow books keep runs of 16 neighbouring prices
in one node, which a small table of hints reaches in one step.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cascade._pool cimport array_fit, lines_fit, lines_free, lines_t
from cascade._types cimport ERR_MEMORY, OK

from cpython.mem cimport PyMem_RawFree

cdef extern from *:
    int __builtin_ctz(unsigned int) noexcept nogil
    int __builtin_clz(unsigned int) noexcept nogil
    int __builtin_clzll(unsigned long long) noexcept nogil
    bint likely(bint) noexcept nogil
    bint unlikely(bint) noexcept nogil


cdef enum:
    BID = 0
    ASK = 1

cdef enum:
    CUTS = 4                # a side: how often its front may be cut off

cdef enum:
    LEAF = 0x80000000       # in a child: the rest is a level, not a node
    HINTS = 256             # a power of two
    NO_SHIFT = 0xFF         # of a node that is not in use
    NO_TAIL = 7             # of a level without orders: behind the cells of chunk 0, which is never used


cdef extern from *:
    """
    typedef struct {
        int64_t price_ticks, quantity_lots;
        uint32_t head, tail;
        int32_t count;
        uint32_t parent : 30, side : 1, hides : 1;
    } cascade_level_t;
    """
    # A price level, half a cache line. Invariant: never empty once an order has joined it; quantity_lots and count are the
    # sum of what its orders show and their number. A free cell has count 0 and is linked by `head`.
    ctypedef struct level_t "cascade_level_t":
        int64_t price_ticks
        int64_t quantity_lots   # <= INT64_MAX, hidden lots included, checked when an order joins
        uint32_t head           # oldest chunk of the queue
        uint32_t tail           # handle of the cell behind the youngest order's, of its chunk even where that is full
        int32_t count
        uint32_t parent         # 30 bits: the node that it hangs from, 0 if it is alone
        uint32_t side           # 1 bit: BID or ASK
        uint32_t hides          # 1 bit: an iceberg has rested here since the level began; the book knows the sum that it hides


# A node of a tree: the ranks below it agree in all bits from shift + 4 up and part at `shift`. Invariant: bits are the
# children that are there, one at least (two when it was made); a free node has NO_SHIFT and is linked by child[0]; a key is
# run_of() some prices at shift 0 alone, so that one compare tells whether a hint holds.
ctypedef struct node_t:
    uint64_t key            # the bits that agree, the others 0; at shift 0 run_of() its prices
    uint32_t child[16]      # by the four bits at `shift`; 0: none
    uint32_t parent         # 0 at the root
    uint16_t bits
    uint8_t shift           # 0, 4 .. 60


# Levels that were cut off at once: from `first`, then the best, up to `best`, the best from then on (0: none).
ctypedef struct cut_t:
    uint32_t first
    uint32_t best

# Both sides. Invariant: best and best_ticks name the best level (0: none); crossing[side] is the other side's best price
# as a rank of `side`, and the highest rank where there is none; a hint names a node or level or is out of
# date, which its content tells. Level 0 and node 0 are never used.
ctypedef struct ladder_t:
    uint32_t best[2]
    uint32_t root[2]        # a child
    int64_t best_ticks[2]
    uint64_t crossing[2]    # an order of lower rank cannot trade
    int32_t n[2]            # levels a side
    level_t* levels
    node_t* nodes
    lines_t levels_mem
    int32_t nodes_cap
    int32_t levels_used     # cells ever handed out, the first included
    int32_t nodes_used
    uint32_t levels_free    # first free cell, 0 if none
    uint32_t nodes_free
    int32_t cut             # levels that were cut off: neither in a tree nor free, nor are their nodes
    int32_t cuts_n[2]
    cut_t cuts[2][CUTS]     # a side's, in order
    uint32_t hints[2][HINTS]    # by the rank without its last four bits


cdef inline uint64_t price_rank(int side, int64_t price) noexcept nogil:
    """A number that grows as the price gets better."""
    return <uint64_t>price ^ ((<uint64_t>1 << 63) - <uint64_t>side)


cdef inline uint64_t run_of(int side, uint64_t rank) noexcept nogil:
    """A name of the run of 16 prices that a rank lies in; never 0."""
    return (rank & ~<uint64_t>15) | <uint64_t>(2 + side)


cdef inline void ladder_set_best(ladder_t* l, int side, uint32_t level, int64_t price) noexcept nogil:
    """Note a side's best level, 0 for none."""
    l.best[side] = level
    l.best_ticks[side] = price
    l.crossing[1 - side] = price_rank(1 - side, price) if level != 0 else ~<uint64_t>0


cdef inline int ladder_reserve(ladder_t* l, int64_t levels) noexcept nogil:
    """Room for `levels` more levels. ERR_MEMORY leaves the content as it was."""
    # Every new level brings at most one new node.
    if lines_fit(&l.levels_mem, <int64_t>l.levels_used + levels, sizeof(level_t)) != OK:
        return ERR_MEMORY
    l.levels = <level_t*>l.levels_mem.items
    return array_fit(<void**>&l.nodes, &l.nodes_cap, <int64_t>l.nodes_used + levels, sizeof(node_t))


cdef inline int ladder_init(ladder_t* l) noexcept nogil:
    """No levels."""
    memset(l, 0, sizeof(ladder_t))
    if ladder_reserve(l, 8) != OK:
        lines_free(&l.levels_mem)
        memset(l, 0, sizeof(ladder_t))
        return ERR_MEMORY
    memset(&l.levels[0], 0, sizeof(level_t))
    memset(&l.nodes[0], 0, sizeof(node_t))
    l.nodes[0].shift = NO_SHIFT
    l.levels_used = 1
    l.nodes_used = 1
    ladder_set_best(l, BID, 0, 0)
    ladder_set_best(l, ASK, 0, 0)
    return OK


cdef inline void ladder_clear(ladder_t* l) noexcept nogil:
    """No levels; the memory stays."""
    memset(l.root, 0, sizeof(l.root))
    memset(l.n, 0, sizeof(l.n))
    memset(l.hints, 0, sizeof(l.hints))
    l.levels_used = 1
    l.nodes_used = 1
    l.levels_free = 0
    l.nodes_free = 0
    l.cut = 0
    memset(l.cuts_n, 0, sizeof(l.cuts_n))
    ladder_set_best(l, BID, 0, 0)
    ladder_set_best(l, ASK, 0, 0)


cdef inline void ladder_free(ladder_t* l) noexcept nogil:
    """Give all memory back."""
    lines_free(&l.levels_mem)
    PyMem_RawFree(l.nodes)
    memset(l, 0, sizeof(ladder_t))


cdef inline int ladder_copy_room(ladder_t* dst, const ladder_t* src, int64_t more) noexcept nogil:
    """Memory in `dst` for a copy of `src` and for `more` levels; its content stays."""
    if lines_fit(&dst.levels_mem, src.levels_used + more, sizeof(level_t)) != OK:
        return ERR_MEMORY
    dst.levels = <level_t*>dst.levels_mem.items
    return array_fit(<void**>&dst.nodes, &dst.nodes_cap, src.nodes_used + more, sizeof(node_t))


cdef inline void ladder_copy(ladder_t* dst, const ladder_t* src) noexcept nogil:
    """Make `dst` equal to `src`; ladder_copy_room has made the room."""
    cdef level_t* levels = dst.levels
    cdef node_t* nodes = dst.nodes
    cdef lines_t levels_mem = dst.levels_mem
    cdef int32_t nodes_cap = dst.nodes_cap
    memcpy(levels, src.levels, <size_t>src.levels_used * sizeof(level_t))
    memcpy(nodes, src.nodes, <size_t>src.nodes_used * sizeof(node_t))
    dst[0] = src[0]
    dst.levels = levels
    dst.nodes = nodes
    dst.levels_mem = levels_mem
    dst.nodes_cap = nodes_cap


cdef inline uint64_t key_mask(int shift) noexcept nogil:
    """The bits from shift + 4 up."""
    return (~<uint64_t>0 << shift) << 4


cdef inline uint32_t* ladder_hint(ladder_t* l, int side, uint64_t rank) noexcept nogil:
    return &l.hints[side][(rank >> 4) & (HINTS - 1)]


cdef inline uint32_t ladder_find_slow(ladder_t* l, int side, uint64_t rank, int64_t price) noexcept nogil:
    """ladder_find from the root down; leaves a hint."""
    cdef const node_t* n
    cdef uint32_t h = l.root[side]
    while h != 0 and not h & LEAF:
        n = &l.nodes[h]
        if (rank ^ n.key) & key_mask(n.shift):
            return 0
        if n.shift == 0:
            ladder_hint(l, side, rank)[0] = h
        h = n.child[(rank >> n.shift) & 15]
    h &= ~<uint32_t>LEAF
    if h == 0 or l.levels[h].price_ticks != price:
        return 0
    return h


cdef inline uint32_t ladder_find(ladder_t* l, int side, uint64_t rank, int64_t price) noexcept nogil:
    """The level of a price and its rank, 0 if there is none. O(1) near where levels were found before, else O(log levels)."""
    cdef uint32_t h = ladder_hint(l, side, rank)[0]
    cdef const node_t* n = &l.nodes[h]
    if likely(n.key == run_of(side, rank)):
        return n.child[rank & 15] & ~<uint32_t>LEAF
    return ladder_find_slow(l, side, rank, price)


cdef inline uint32_t node_new(ladder_t* l, int side, uint64_t rank, int shift) noexcept nogil:
    """A node without children whose ranks agree with `rank` above `shift`."""
    cdef uint32_t h = l.nodes_free
    cdef node_t* n
    if h != 0:
        l.nodes_free = l.nodes[h].child[0]
    else:
        h = <uint32_t>l.nodes_used
        l.nodes_used += 1
    n = &l.nodes[h]
    memset(n, 0, sizeof(node_t))
    n.key = run_of(side, rank) if shift == 0 else rank & key_mask(shift)
    n.shift = <uint8_t>shift
    return h


cdef inline void node_set(ladder_t* l, uint32_t node, uint64_t rank, uint32_t child) noexcept nogil:
    """Hang a child where a rank belongs."""
    cdef node_t* n = &l.nodes[node]
    cdef int i = (rank >> n.shift) & 15
    n.child[i] = child
    n.bits |= <uint16_t>(1 << i)
    if child & LEAF:
        l.levels[child & ~<uint32_t>LEAF].parent = node
    else:
        l.nodes[child].parent = node


cdef inline uint32_t level_new(ladder_t* l, int side, uint64_t rank, int64_t price) noexcept nogil:
    """A level's cell, empty; the caller enters it in the tree."""
    cdef uint32_t made = l.levels_free
    cdef level_t* v
    if made != 0:
        l.levels_free = l.levels[made].head
    else:
        made = <uint32_t>l.levels_used
        l.levels_used += 1
    v = &l.levels[made]
    memset(v, 0, sizeof(level_t))
    v.price_ticks = price
    v.side = <uint32_t>side
    v.tail = NO_TAIL
    l.n[side] += 1
    if l.best[side] == 0 or rank > price_rank(side, l.best_ticks[side]):
        ladder_set_best(l, side, made, price)
    return made


cdef inline uint32_t ladder_enter_slow(ladder_t* l, int side, uint64_t rank, int64_t price) noexcept nogil:
    """ladder_enter from the root down."""
    cdef uint32_t made, h, node = 0
    cdef uint64_t key
    cdef uint32_t* p = &l.root[side]
    cdef node_t* n
    while True:
        h = p[0]
        if h == 0:
            break
        if h & LEAF:
            key = price_rank(side, l.levels[h & ~<uint32_t>LEAF].price_ticks)
            if key == rank:
                return h & ~<uint32_t>LEAF
        else:
            n = &l.nodes[h]
            key = n.key
            if not (rank ^ key) & key_mask(n.shift):
                node = h
                if n.shift == 0:
                    ladder_hint(l, side, rank)[0] = h
                p = &n.child[(rank >> n.shift) & 15]
                continue
        # The paths part above h: a new node takes its place.
        made = node_new(l, side, rank, (63 - __builtin_clzll(rank ^ key)) & ~3)
        l.nodes[made].parent = node
        p[0] = made
        node = made
        node_set(l, node, key, h)
        break
    made = level_new(l, side, rank, price)
    if node != 0:
        node_set(l, node, rank, LEAF | made)
    else:
        p[0] = LEAF | made
    return made


cdef inline uint32_t ladder_near(const ladder_t* l, int side, uint64_t rank) noexcept nogil:
    """The level of a rank where a hint leads to it, else 0: most often what a search would find."""
    cdef const node_t* n = &l.nodes[l.hints[side][(rank >> 4) & (HINTS - 1)]]
    return n.child[rank & 15] & ~<uint32_t>LEAF if likely(n.key == run_of(side, rank)) else 0


cdef inline uint32_t ladder_enter_run(ladder_t* l, int side, uint64_t rank, int64_t price, uint32_t node) noexcept nogil:
    """ladder_enter where `node` names the run of 16 prices, without a level of this one: nothing else changes."""
    cdef uint32_t made = level_new(l, side, rank, price)
    node_set(l, node, rank, LEAF | made)
    return made


cdef inline uint32_t ladder_enter(ladder_t* l, int side, uint64_t rank, int64_t price) noexcept nogil:
    """The level of a price, made if there is none: then it is empty, and an order must join. ladder_reserve has made the
    room."""
    cdef uint32_t h, node = ladder_hint(l, side, rank)[0]
    if unlikely(l.nodes[node].key != run_of(side, rank)):
        return ladder_enter_slow(l, side, rank, price)
    h = l.nodes[node].child[rank & 15] & ~<uint32_t>LEAF
    if unlikely(h == 0):
        return ladder_enter_run(l, side, rank, price, node)
    return h


cdef inline uint32_t ladder_top(const ladder_t* l, uint32_t h) noexcept nogil:
    """The best level below a child."""
    while h != 0 and not h & LEAF:
        h = l.nodes[h].child[31 - __builtin_clz(l.nodes[h].bits)]
    return h & ~<uint32_t>LEAF


cdef inline uint32_t ladder_below(const ladder_t* l, uint32_t level) noexcept nogil:
    """The next level behind one, 0 at the end."""
    cdef const level_t* v = &l.levels[level]
    cdef uint64_t rank = price_rank(v.side, v.price_ticks)
    cdef uint32_t node = v.parent, lower
    cdef const node_t* n
    while node != 0:
        n = &l.nodes[node]
        lower = n.bits & ((<uint32_t>1 << ((rank >> n.shift) & 15)) - 1)
        if lower:
            return ladder_top(l, n.child[31 - __builtin_clz(lower)])
        node = n.parent
    return 0


cdef inline uint32_t ladder_look(const ladder_t* l, int side, uint64_t rank) noexcept nogil:
    """A level that is on the way of a rank, 0 if none: what a search will touch has been touched."""
    cdef uint32_t h = l.root[side]
    while h != 0 and not h & LEAF:
        h = l.nodes[h].child[(rank >> l.nodes[h].shift) & 15]
    return h & ~<uint32_t>LEAF


cdef inline uint32_t ladder_best(const ladder_t* l, int side) noexcept nogil:
    """The best level, 0 if the side is empty; ladder_below leads on."""
    return l.best[side]


cdef inline void node_free(ladder_t* l, uint32_t node) noexcept nogil:
    """Give a node without children back."""
    cdef node_t* n = &l.nodes[node]
    n.shift = NO_SHIFT
    n.key = 0
    n.child[0] = l.nodes_free
    l.nodes_free = node


cdef inline void level_free(ladder_t* l, uint32_t level) noexcept nogil:
    """Give an empty level's cell back."""
    l.levels[level].count = 0
    l.levels[level].head = l.levels_free
    l.levels_free = level


cdef inline void ladder_remove_best(ladder_t* l, int side) noexcept nogil:
    """ladder_remove of a side's best level: what is best of the first node that has other children is the next one."""
    cdef uint32_t level = l.best[side], below = 0
    cdef uint32_t node = l.levels[level].parent
    cdef node_t* n
    cdef int i
    while node != 0:
        n = &l.nodes[node]
        i = 31 - __builtin_clz(n.bits)
        n.child[i] = 0
        n.bits ^= <uint16_t>(1 << i)
        if n.bits:
            below = ladder_top(l, n.child[31 - __builtin_clz(n.bits)])
            break
        below = n.parent
        node_free(l, node)
        node = below
    if node == 0:
        l.root[side] = 0
    l.n[side] -= 1
    level_free(l, level)
    ladder_set_best(l, side, below, l.levels[below].price_ticks)


cdef inline void ladder_remove(ladder_t* l, uint32_t level) noexcept nogil:
    """Take an empty level off, and every node that this leaves without children. Nodes with one child stay: the next level
    near by is soon there again."""
    cdef level_t* v = &l.levels[level]
    cdef int side = v.side, i
    cdef uint64_t rank = price_rank(side, v.price_ticks)
    cdef uint32_t node = v.parent, above
    cdef node_t* n
    if l.best[side] == level:
        ladder_remove_best(l, side)
        return
    l.n[side] -= 1
    while node != 0:
        n = &l.nodes[node]
        i = (rank >> n.shift) & 15
        n.child[i] = 0
        n.bits &= ~<uint16_t>(1 << i)
        if n.bits:
            break
        above = n.parent
        node_free(l, node)
        node = above
    level_free(l, level)


cdef inline bint ladder_cut(ladder_t* l, int side, uint32_t level, int32_t gone) noexcept nogil:
    """Make a level (0: none) a side's best at once: the `gone` better ones stay as they are, but nothing leads to them. O(log levels).

    False, with nothing changed, where that has been done too often.
    """
    cdef uint64_t rank = price_rank(side, l.levels[level].price_ticks)
    cdef uint32_t node = l.levels[level].parent, above
    cdef node_t* n
    if l.cuts_n[side] == CUTS:
        return False
    l.cuts[side][l.cuts_n[side]].first = l.best[side]
    l.cuts[side][l.cuts_n[side]].best = level
    l.cuts_n[side] += 1
    if level == 0:
        l.root[side] = 0
    while node != 0:
        n = &l.nodes[node]
        above = n.bits & ~((<uint32_t>2 << ((rank >> n.shift) & 15)) - 1)
        n.bits ^= <uint16_t>above
        while above:
            n.child[__builtin_ctz(above)] = 0
            above &= above - 1
        node = n.parent
    memset(l.hints[side], 0, sizeof(l.hints[side]))     # some name nodes that hang nowhere now
    l.n[side] -= gone
    l.cut += gone
    ladder_set_best(l, side, level, l.levels[level].price_ticks)
    return True


cdef inline int32_t ladder_check_child(
    const ladder_t* l, int side, uint32_t h, uint32_t parent, uint64_t key, uint64_t mask, int depth
) noexcept nogil:
    """The levels below a child, whose ranks must agree with `key` in `mask`; negative if anything is wrong."""
    cdef const node_t* n
    cdef const level_t* v
    cdef uint64_t rank
    cdef int32_t sum_levels = 0, below
    cdef int i
    if h & LEAF:
        h &= ~<uint32_t>LEAF
        if h == 0 or h >= <uint32_t>l.levels_used:
            return -1
        v = &l.levels[h]
        rank = price_rank(side, v.price_ticks)
        return 1 if v.side == side and v.count > 0 and v.parent == parent and not (rank ^ key) & mask else -1
    if h == 0 or h >= <uint32_t>l.nodes_used or depth > 16:
        return -1
    n = &l.nodes[h]
    if n.parent != parent or n.shift > 60 or n.shift & 3 or n.bits == 0:
        return -1
    rank = n.key & key_mask(n.shift)
    if n.key != (run_of(side, rank) if n.shift == 0 else rank) or (rank ^ key) & mask:
        return -1
    for i in range(16):
        if (n.child[i] != 0) != ((n.bits >> i) & 1):
            return -1
        if n.child[i] != 0:
            below = ladder_check_child(
                l, side, n.child[i], h, rank | <uint64_t>i << n.shift, key_mask(n.shift) | <uint64_t>15 << n.shift, depth + 1
            )
            if below < 0:
                return -1
            sum_levels += below
    return sum_levels


cdef inline bint ladder_check(const ladder_t* l) noexcept nogil:
    """Re-derive the trees: is every invariant of this file true? O(levels)."""
    cdef int side
    cdef int32_t n, i, live = 0, spare = 0
    cdef uint32_t h
    for side in range(2):
        n = 0 if l.root[side] == 0 else ladder_check_child(l, side, l.root[side], 0, 0, 0, 0)
        if n != l.n[side] or (l.best[side] == 0) != (n == 0):
            return False
        if n > 0 and (ladder_top(l, l.root[side]) != l.best[side] or l.levels[l.best[side]].price_ticks != l.best_ticks[side]):
            return False
        if l.crossing[1 - side] != (price_rank(1 - side, l.best_ticks[side]) if n > 0 else ~<uint64_t>0):
            return False
        live += n
    h = l.levels_free
    while h != 0 and spare <= l.levels_used:
        if h >= <uint32_t>l.levels_used or l.levels[h].count != 0:
            return False
        spare += 1
        h = l.levels[h].head
    if live + spare + l.cut + 1 != l.levels_used:
        return False
    for i in range(l.nodes_used):
        if l.nodes[i].shift != NO_SHIFT and l.nodes[i].bits == 0:
            return False
    return l.levels[0].count == 0 and l.nodes[0].shift == NO_SHIFT
