"""What the order in front of a book fills of a range: how far it reaches, and what the turns of all whom it reaches do together.

Where turns are plain, each of them is a line of arithmetic on its single, price and lots. Their sums are taken by blocks (_blocks.pxd) where
all of a block fare alike, else one by one; and what becomes of them is noted as a span of the index.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memset

from cascade._blocks cimport block_at
from cascade._book cimport book_front, book_has, book_lots, book_t
from cascade._funds cimport receiver
from cascade._ladder cimport ASK, BID
from cascade._ledger cimport add_overflow, mul_overflow
from cascade._margin cimport magnitude
from cascade._run cimport (
    BLOCK,
    FUND,
    ORDER_AT_BANKRUPTCY,
    PAYER_FUND,
    TO_ACCOUNT,
    block_t,
    instrument_t,
    prefetch_shared,
    run_room,
    run_t,
    single_t,
    span_t,
    terms_t,
)
from cascade._wide cimport wide_cmp, wide_of


# Of the turns that one order fills: how many, and the sums of what they did.
ctypedef struct sums_t:
    int64_t n
    int64_t lots            # traded, unsigned
    int64_t value           # of that, signed
    int64_t events
    int64_t changes
    int64_t held            # lots of the singles, signed
    int64_t basis           # of the singles
    int64_t owed            # for what they held: the profit, negated
    int64_t before          # their balances
    int64_t after
    int64_t fees            # trading fees
    int64_t liquidation_fees
    int64_t surplus         # that goes to a system account
    int64_t shortfall       # that the fund pays
    int64_t money           # of all that enters the sums of money, unsigned: while int64 holds it, it holds each of them


# The book in front of the singles of a list, and what the rules say of turns there.
ctypedef struct front_t:
    const terms_t* terms
    const int64_t* triggers
    const single_t* singles
    const block_t* blocks
    const int32_t* accounts
    int instrument
    int side                # of the orders
    uint32_t maker
    int64_t price
    int64_t room            # lots of the order there
    bint covered            # the fund pays what singles owe, as long as it can
    bint kept               # what is left stays where it is
    bint fees_to_fund       # liquidation fees


cdef inline bint front_of(const run_t* r, int i, bint short, front_t* f) noexcept nogil:
    """What singles of a list meet; False for nothing, where only the list is named."""
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const book_t* book = &r.books[i]
    cdef int far = ASK if short else BID
    f.instrument = i
    f.terms = &r.terms[i]
    f.side = 1 if short else -1
    f.triggers = ins.short_trigger if short else ins.long_trigger
    f.singles = ins.short_single if short else ins.long_single
    f.blocks = ins.short_block if short else ins.long_block
    f.accounts = ins.short_account if short else ins.long_account
    f.covered = r.rules.shortfall_n > 0 and r.rules.shortfall[0] == PAYER_FUND and not r.rules.fund_stops
    f.kept = r.rules.surplus == TO_ACCOUNT
    f.fees_to_fund = receiver(r.rules.fee_to) == FUND
    if not book_has(book, far):
        return False
    f.maker = book_front(book, far)
    f.price = book.ladder.best_ticks[far]
    f.room = book_lots(book, f.maker)
    return f.price <= ins.known_ask if short else f.price >= ins.known_bid


cdef inline int32_t range_reach(const run_t* r, const front_t* f, int32_t end) noexcept nogil:
    """How far, up to `end`, the order in front fills the range without being used up, whatever its order: to a cut."""
    cdef int32_t k = r.range_at
    cdef int64_t left = f.room
    cdef const block_t* b
    while k < end:
        b = block_at(f.blocks, k, end)
        if b != NULL and b.traded < left:
            left -= b.traded
            k += BLOCK
            continue
        left -= magnitude(f.singles[k].lots)
        if left <= 0:
            break
        k += 1
    while k > r.range_at and k != r.range_end and not f.singles[k].cuts & r.range_level:
        k -= 1
    return k


cdef inline bint plain_turns(const run_t* r, const front_t* f) noexcept nogil:
    """Whether nothing but price and lots decides what a usual turn does."""
    return (
        f.terms.contract == 0
        and f.terms.taker_fee == 0
        and f.terms.liquidation_fee == 0
        and r.rules.order_price != ORDER_AT_BANKRUPTCY
        and f.covered
        and not r.disturbed
    )


cdef inline bint block_add(const block_t* b, int64_t lot_value, bint kept, sums_t* part) noexcept nogil:
    """What the plain turns of a block do, where all of it owe for what they held, and either all have something left or no one has; else
    False."""
    cdef bint stand = lot_value < b.stand_below
    cdef int64_t left
    if lot_value <= b.owe_above or not (stand or lot_value > b.fall_above):
        return False
    if mul_overflow(b.traded, lot_value, &part.value) or add_overflow(part.value, b.basis, &part.owed):
        return False
    if add_overflow(b.balance, -part.owed, &left):
        return False
    part.n = b.n
    part.lots = b.traded
    part.held = b.held
    part.basis = b.basis
    part.before = b.balance
    part.shortfall = 0 if stand else -left
    part.after = left if stand and kept else 0
    part.surplus = 0 if kept or not stand else left
    part.changes = b.n + (b.isolated if stand and kept else b.n)
    return True


cdef inline bint singles_add(const single_t* s, const single_t* last, int64_t lot_value, bint kept, sums_t* part) noexcept nogil:
    """What the plain turns of some singles, no more than a block's, do; False where int64 might not hold it."""
    cdef int64_t large = 0, value, owed, left, debt
    memset(part, 0, sizeof(sums_t))
    while s < last:
        if s.lots != 0:
            if mul_overflow(magnitude(s.lots), lot_value, &value) or add_overflow(value, s.basis, &owed):
                return False
            if add_overflow(s.balance, -owed, &left):
                return False
            debt = -left if left < 0 else 0
            left += debt
            large |= magnitude(value) | magnitude(s.basis) | magnitude(s.balance) | magnitude(owed)
            part.n += 1
            part.lots += magnitude(s.lots)
            part.value += value
            part.held += s.lots
            part.basis += s.basis
            part.owed += owed
            part.before += s.balance
            part.shortfall += debt
            part.changes += (owed != 0) + (debt != 0) + ((left > 0) & (s.isolated | (not kept)))
            part.surplus += 0 if kept else left
            part.after += left if kept else 0
        s += 1
    return large >> 58 == 0


cdef inline bint sums_join(sums_t* sums, const sums_t* part) noexcept nogil:
    """Add a part's; False where int64 does not hold a sum."""
    cdef bint over = add_overflow(sums.held, part.held, &sums.held)
    over |= add_overflow(sums.lots, part.lots, &sums.lots)
    over |= add_overflow(sums.value, part.value, &sums.value)
    over |= add_overflow(sums.basis, part.basis, &sums.basis)
    over |= add_overflow(sums.owed, part.owed, &sums.owed)
    over |= add_overflow(sums.before, part.before, &sums.before)
    over |= add_overflow(sums.after, part.after, &sums.after)
    over |= add_overflow(sums.surplus, part.surplus, &sums.surplus)
    over |= add_overflow(sums.shortfall, part.shortfall, &sums.shortfall)
    sums.n += part.n
    sums.changes += part.changes
    return not over


cdef inline bint span_add(run_t* r, const front_t* f, int32_t end, sums_t* sums) noexcept nogil:
    """The plain turns of the whole range up to `end`, of which the order fills each: put them into the sums, which are empty, and note the
    span. False, with nothing of worth in the sums, if one is not usual or there is none."""
    cdef int64_t lot_value = f.side * f.price * f.terms.coef_num
    cdef int32_t k = r.range_at, last
    cdef const block_t* b
    cdef span_t* span
    cdef int64_t summed = 0
    cdef sums_t part
    if end - k < BLOCK:
        if not singles_add(&f.singles[k], &f.singles[end], lot_value, f.kept, sums):
            return False
        k = end
    while k < end:
        b = block_at(f.blocks, k, end)
        last = k + BLOCK - k % BLOCK
        last = last if last < end else end
        if b != NULL and block_add(b, lot_value, f.kept, &part):
            summed += part.n
        else:
            prefetch_shared(&f.singles[last])
            if not singles_add(&f.singles[k], &f.singles[last], lot_value, f.kept, &part):
                return False
        if not sums_join(sums, &part):
            return False
        k = last
    sums.changes += sums.n      # the trades themselves
    # The fund pays all, whatever their order.
    if sums.n == 0 or wide_cmp(r.system[FUND], wide_of(sums.shortfall)) < 0:
        return False
    if not run_room(r, <void**>&r.spans, &r.spans_cap, r.spans_n + 1, sizeof(span_t)):
        return False
    span = &r.spans[r.spans_n]
    span.singles = f.singles + r.range_at
    span.accounts = f.accounts + r.range_at
    span.n = end - r.range_at
    span.lot_value = lot_value
    span.kept = f.kept
    r.spans_n += 1
    r.summed_n += summed
    return True
