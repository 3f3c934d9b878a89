"""Health in the past, and causes: the event after which an account was unhealthy and before which it was not."""

from libc.stdint cimport int32_t, int64_t

from cascade._gather cimport gather_one, gather_rows
from cascade._margin cimport after_haircut, single_row, standing_add, standing_alone, standing_single, standing_t, standing_unhealthy
from cascade._run cimport (
    COLLATERAL,
    HOLDS_COLLATERAL,
    IN_JOURNAL,
    INITIAL,
    account_t,
    case_t,
    context_of,
    context_t,
    instrument_t,
    journal_of,
    journal_t,
    mark_change_t,
    row_t,
    run_t,
    single_t,
    waiting_t,
)


cdef inline int32_t history_upto(const mark_change_t* history, int32_t n, int64_t seq) noexcept nogil:
    """How many of n changes came at or before event `seq`."""
    cdef int32_t lo = 0, mid
    while lo < n:
        mid = lo + (n - lo) // 2
        if history[mid].seq <= seq:
            lo = mid + 1
        else:
            n = mid
    return lo


cdef inline int64_t mark_after(const run_t* r, int i, int64_t seq) noexcept nogil:
    """The shadow mark of an instrument just after event `seq`."""
    cdef const mark_change_t* history = r.history[i]
    cdef int32_t n = history_upto(history, r.history_n[i], seq)
    return history[n - 1].mark if n > 0 else r.instruments[i].start_mark


cdef inline int64_t weight_after(const run_t* r, int i, int64_t seq) noexcept nogil:
    """What the value of collateral in an instrument counted for just after event `seq`."""
    cdef int64_t weight = r.instruments[i].weight
    cdef int32_t k = r.haircuts_n - 1
    while k >= 0 and r.haircuts[k].seq > seq:
        if r.haircuts[k].instrument == i:
            weight = r.haircuts[k].before
        k -= 1
    return weight


cdef inline bint unhealthy_after(run_t* r, int32_t a, int64_t seq) noexcept nogil:
    """Whether the account was unhealthy just after event `seq`, at the shadow marks of that moment."""
    cdef standing_t s
    cdef int32_t k = journal_of(r, a), at
    cdef int64_t mark
    cdef const row_t* row
    cdef const journal_t* j
    s.equity = s.balance = r.accounts[a].balance
    s.maintenance = 0
    s.flat = True
    gather_rows(r, a)
    if r.accounts[a].flags & HOLDS_COLLATERAL:
        for at in range(r.holding_first[a], r.holding_first[a + 1]):
            gather_one(r, at)
    while k >= 0 and r.journal[k].seq > seq:
        j = &r.journal[k]
        s.equity = s.balance = j.balance
        if j.row >= 0:
            for at in range(r.scratch_n):
                if r.scratch[at].at == j.row:
                    r.scratch[at].row.lots = j.lots
                    r.scratch[at].row.basis = j.basis
        k = j.previous
    for at in range(r.scratch_n):
        row = &r.scratch[at].row
        mark = mark_after(r, row.instrument, seq)
        if row.slot == COLLATERAL:
            s.equity += after_haircut(r, row.instrument, row.lots, mark, weight_after(r, row.instrument, seq)) - row.basis
        else:
            standing_add(r, row, mark, &s)
    return standing_unhealthy(r, &s)


cdef inline int64_t crossing_event(run_t* r, int32_t a, int64_t lo, int64_t hi) noexcept nogil:
    """The event after which the account is unhealthy and before which it was not, by bisection over (lo, hi]."""
    cdef int64_t mid
    while hi - lo > 1:
        mid = lo + (hi - lo) // 2
        if unhealthy_after(r, a, mid):
            hi = mid
        else:
            lo = mid
    return hi


cdef inline bint unhealthy_at(const run_t* r, const row_t* row, int64_t balance, int64_t mark) noexcept nogil:
    """Whether an account of one position is unhealthy at a mark."""
    cdef standing_t s = standing_alone(r, row, balance, mark)
    return standing_unhealthy(r, &s)


cdef inline void crossing_window(run_t* r, int i, int64_t lo, int64_t hi) noexcept nogil:
    """Find an instrument's changes of the mark in (lo, hi], once a check: everybody untouched was last healthy at the same event."""
    cdef instrument_t* ins = &r.instruments[i]
    if ins.window_check != hi:
        ins.window_check = hi
        ins.window_first = history_upto(r.history[i], r.history_n[i], lo)
        ins.window_last = r.history_n[i]


cdef inline bint window_one_way(const run_t* r, int i) noexcept nogil:
    """Whether the mark went one way in the window, and went somewhere."""
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const mark_change_t* history = r.history[i]
    cdef int32_t first = ins.window_first, last = ins.window_last, rises
    if first == last:
        return False
    rises = history[last - 1].rises - (history[first - 1].rises if first > 0 else 0)
    return rises == 0 or rises == last - first


cdef inline const mark_change_t* crossing_mark(run_t* r, const row_t* row, int64_t balance, int64_t lo, int64_t hi) noexcept nogil:
    """The same for an account with one position that no event touched: only its instrument's marks matter.

    Where the marks went one way the first change that makes it unhealthy is the answer; else the bisection is over sequence numbers, as
    everywhere. NULL if there was no change.
    """
    cdef int i = row.instrument
    cdef instrument_t* ins = &r.instruments[i]
    cdef const mark_change_t* history = r.history[i]
    cdef int32_t first, last, at
    cdef int64_t mid
    crossing_window(r, i, lo, hi)
    # history[first - 1] holds after lo, history[last - 1] after hi.
    first = ins.window_first
    last = ins.window_last
    if first == last:
        return NULL
    if window_one_way(r, i):
        last -= 1
        while first < last:
            at = first + (last - first) // 2
            if unhealthy_at(r, row, balance, history[at].mark):
                last = at
            else:
                first = at + 1
        return &history[first]
    while hi - lo > 1 and last - first > 1:
        mid = lo + (hi - lo) // 2
        at = first + history_upto(history + first, last - first, mid)
        if at == first:
            lo = mid
        elif at == last:
            hi = mid
        elif unhealthy_at(r, row, balance, history[at - 1].mark):
            hi = mid
            last = at
        else:
            lo = mid
            first = at
    return &history[first]


cdef inline bint crossed(const run_t* r, const single_t* single, int i, bint short, int64_t trigger, int32_t at) noexcept nogil:
    """Whether a single is unhealthy after a change of its instrument's mark."""
    cdef int64_t mark = r.history[i][at].mark, past = mark - trigger if short else trigger - mark
    cdef standing_t s
    if past < 0:
        return False
    if r.range_sure >= 0 and past >= r.range_sure:
        return True
    s = standing_single(r, single, i, mark)
    return standing_unhealthy(r, &s)


cdef inline const mark_change_t* crossing_near(run_t* r, const single_t* s, int i, bint short, int64_t trigger) noexcept nogil:
    """crossing_mark of a single whose instrument's mark went one way in the window of this check, looked for from where the latest one
    crossed: in the order of the queue it is mostly the same change."""
    cdef int32_t first = r.instruments[i].window_first, last = r.instruments[i].window_last - 1, at = r.crossing, mid
    at = first if at < first else last if at > last else at
    if at < last and not crossed(r, s, i, short, trigger, at):
        first = at + 1
        if first < last and crossed(r, s, i, short, trigger, first):
            last = first
    else:
        last = at
        if first < last and not crossed(r, s, i, short, trigger, last - 1):
            first = last
    while first < last:
        mid = first + (last - first) // 2
        if crossed(r, s, i, short, trigger, mid):
            last = mid
        else:
            first = mid + 1
    r.crossing = first
    return &r.history[i][first]


# Why an account is unhealthy.
ctypedef struct cause_t:
    int64_t event           # -1 the outside, -2 before it
    int32_t generation      # wave of that event, plus one
    int32_t row             # of the liquidations that it belongs to, -1


cdef inline cause_t cause_of_mark(const mark_change_t* change) noexcept nogil:
    """A mark as a cause; the outside where that moved it."""
    cdef cause_t c
    c.event = -1
    c.generation = 1
    c.row = -1
    if change.wave > 0:
        c.event = change.seq
        c.generation = change.wave + 1
        c.row = change.row
    return c


cdef inline bint single_cause(run_t* r, waiting_t* w, int64_t previous_check, int64_t now) noexcept nogil:
    """Name the cause of a single that was found; False if it is not for its instrument's marks."""
    cdef const single_t* single = r.instruments[w.instrument].short_single if w.short else r.instruments[w.instrument].long_single
    cdef const mark_change_t* change
    cdef row_t row
    cdef cause_t c
    w.cause = -1
    w.cause_row = -1
    if not r.remember_marks:
        return True
    single += w.single
    row = single_row(single, w.instrument)
    change = crossing_mark(r, &row, single.balance, previous_check, now)
    if change == NULL:
        return False
    c = cause_of_mark(change)
    w.cause = c.event
    w.cause_row = c.row if c.event >= 0 else -1
    return True


cdef inline cause_t find_cause(
    run_t* r, int32_t a, int64_t previous_check, int32_t previous_step, int64_t now
) noexcept nogil:
    """The cause of an account found unhealthy after event `now`."""
    cdef account_t* account = &r.accounts[a]
    cdef const case_t* case
    cdef const mark_change_t* change
    cdef context_t context
    cdef int64_t lo = previous_check
    cdef bint untouched = account.rows_n == 1 and not account.flags & (HOLDS_COLLATERAL | IN_JOURNAL)
    cdef cause_t c
    c.event = -1
    c.generation = 1
    c.row = -1
    if account.turn_case >= 0:
        case = &r.cases[account.turn_case]
        if case.open:
            c.event = case.cause
            c.generation = case.last_wave + 1
            c.row = case.cause_row
            return c
        untouched = False
        if case.turn_step == previous_step:
            lo = case.healthy_at
    if lo == -1 and account.state & INITIAL:
        c.event = -2
        return c
    if not r.remember_marks:
        return c
    if untouched:
        change = crossing_mark(r, &r.rows[account.first_row], account.balance, lo, now)
        if change != NULL:
            return cause_of_mark(change)
    c.event = crossing_event(r, a, lo, now)
    context = context_of(r, c.event)
    c.generation = context.wave + 1
    c.row = context.row
    if context.wave == 0:
        c.event = -1
    return c
