"""Who is unhealthy, and since which event: the margin check over those whose health can have changed, and the search for causes.

Untouched accounts with one position wait in an index by trigger price until a mark comes near. Others wait in an index by the relative moves
that they stand, or, where marks have moved past many of those, are scanned: bounds of their losses are summed in memory order. Whoever was
touched is watched: looked at in every check, until a check finds the account healthy and lets it rest. All of this errs on the safe side, and
whoever it points at is examined exactly, so the accounts found are those that a full check would find.
"""

from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint16_t

from cascade._margin cimport (
    after_haircut,
    magnitude,
    mark_value,
    row_maintenance,
    standing_add,
    standing_of,
    standing_t,
    standing_unhealthy,
)
from cascade._breakers cimport account_waits
from cascade._queue cimport SORT_ITEM, queue_push, queue_sort, sorted_t
from cascade._rest cimport rest, rest_end, rest_over, travel
from cascade._run cimport (
    COLLATERAL,
    DIRTY,
    EVENT_QUEUED,
    HOLDS_COLLATERAL,
    INITIAL,
    LEFT_HALTED,
    LOOK_BY_COUNTS,
    LOOK_BY_INDEX,
    LOOK_BY_REST,
    LOOK_BY_SCAN,
    NEVER_LIQUIDATED,
    NO_INSTRUMENT,
    OVER,
    QUEUED,
    QUEUE_FIFO,
    QUEUE_FILLABLE,
    QUEUE_LARGEST,
    QUEUE_RATIO,
    RESTING,
    STUCK,
    TAKE_LOSS,
    TAKE_MAINTENANCE,
    TAKE_NOTIONAL,
    WATCHED,
    account_t,
    case_t,
    context_of,
    context_t,
    dirty_mark,
    emit,
    growth_t,
    instrument_t,
    journal_t,
    loss_t,
    mark_change_t,
    prefetch,
    row_t,
    run_room,
    run_t,
    single_t,
    safe_t,
    waiting_t,
    watch,
)
from cascade._sizes cimport fillable_loss


# -- positions in the order in which they are taken ------------------------------------------------------------------


cdef inline int64_t take_weight(const run_t* r, const row_t* row) noexcept nogil:
    """The rule's weight of a position; the smallest is taken first."""
    cdef int64_t mark = r.instruments[row.instrument].mark
    if r.rules.position_order == TAKE_MAINTENANCE:
        return -row_maintenance(r, row, mark)
    if r.rules.position_order == TAKE_NOTIONAL:
        return -magnitude(mark_value(&r.terms[row.instrument], row.lots, mark))
    if r.rules.position_order == TAKE_LOSS:
        return mark_value(&r.terms[row.instrument], row.lots, mark) - row.basis
    return 0


cdef inline bint take_before(const row_t* a, const row_t* b) noexcept nogil:
    """Order of two scratch rows, whose basis field holds their weight."""
    if a.basis != b.basis:
        return a.basis < b.basis
    if a.instrument != b.instrument:
        return a.instrument < b.instrument
    return a.slot < b.slot


cdef inline void gather_one(run_t* r, int32_t k) noexcept nogil:
    if run_room(r, <void**>&r.scratch, &r.scratch_cap, r.scratch_n + 1, sizeof(row_t)):
        r.scratch[r.scratch_n] = r.rows[k]
        r.scratch[r.scratch_n].next = k
        r.scratch_n += 1


cdef inline void gather_rows(run_t* r, int32_t a) noexcept nogil:
    """Copy an account's rows to scratch, each with its place in run_t.rows as `next`."""
    cdef int32_t k = r.accounts[a].first_row, end = r.accounts[a].first_row + r.accounts[a].rows_n
    r.scratch_n = 0
    while k < end:
        gather_one(r, k)
        k += 1
    k = r.accounts[a].extra_row
    while k >= 0:
        gather_one(r, k)
        k = r.rows[k].next


cdef inline int32_t gather_taken(run_t* r, int32_t a) noexcept nogil:
    """Copy an account's open positions to scratch in the order in which they are taken; their number."""
    cdef int32_t n = 0, k, at
    cdef row_t row
    gather_rows(r, a)
    for k in range(r.scratch_n):
        row = r.scratch[k]
        if row.lots == 0:
            continue
        row.basis = take_weight(r, &r.rows[row.next])
        at = n
        while at > 0 and take_before(&row, &r.scratch[at - 1]):
            r.scratch[at] = r.scratch[at - 1]
            at -= 1
        r.scratch[at] = row
        n += 1
    return n


# -- health in the past ----------------------------------------------------------------------------------------------


cdef inline int64_t mark_after(const run_t* r, int i, int64_t seq) noexcept nogil:
    """The shadow mark of an instrument just after event `seq`."""
    cdef const mark_change_t* history = r.history[i]
    cdef int32_t lo = 0, hi = r.history_n[i], mid
    while lo < hi:
        mid = lo + (hi - lo) // 2
        if history[mid].seq <= seq:
            lo = mid + 1
        else:
            hi = mid
    return history[lo - 1].mark if lo > 0 else r.instruments[i].start_mark


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
    cdef int32_t k = r.accounts[a].journal, at
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
                if r.scratch[at].next == j.row:
                    r.scratch[at].lots = j.lots
                    r.scratch[at].basis = j.basis
        k = j.previous
    for at in range(r.scratch_n):
        row = &r.scratch[at]
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


cdef inline bint unhealthy_at(const run_t* r, const row_t* row, int64_t balance, int64_t mark) noexcept nogil:
    """Whether an account of one position is unhealthy at a mark."""
    cdef standing_t s
    s.equity = s.balance = balance
    s.maintenance = 0
    s.flat = True
    standing_add(r, row, mark, &s)
    return standing_unhealthy(r, &s)


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
    if ins.window_check != hi:      # once a check: everybody untouched was last healthy at the same event
        ins.window_check = hi
        ins.window_first = history_upto(history, r.history_n[i], lo)
        ins.window_last = r.history_n[i]
    # history[first - 1] holds after lo, history[last - 1] after hi.
    first = ins.window_first
    last = ins.window_last
    if first == last:
        return NULL
    at = history[last - 1].rises - (history[first - 1].rises if first > 0 else 0)
    if at == 0 or at == last - first:
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


# -- finding ---------------------------------------------------------------------------------------------------------


cdef inline void trigger_key(run_t* r, int32_t a, waiting_t* w) noexcept nogil:
    """How far the mark lies past the trigger price of the first position to be taken, relative to the mark, negated."""
    cdef int32_t n = gather_taken(r, a)
    cdef instrument_t* ins
    cdef int64_t mark, unhealthy, healthy, low
    cdef standing_t s
    w.num = 0
    w.den = 1
    if n == 0:
        return
    ins = &r.instruments[r.scratch[0].instrument]
    mark = ins.mark
    unhealthy = mark
    # Half to twice the mark, which State.check_range covers, within the domain; the mean cannot overflow.
    healthy = mark // 2
    if r.scratch[0].lots > 0:
        healthy = 2 * mark if mark <= INT64_MAX // 2 else INT64_MAX
    while magnitude(healthy - unhealthy) > 1:
        low = healthy if healthy < unhealthy else unhealthy
        ins.mark = low + magnitude(healthy - unhealthy) // 2
        s = standing_of(r, a)
        if standing_unhealthy(r, &s):
            unhealthy = ins.mark
        else:
            healthy = ins.mark
    ins.mark = mark
    w.num = -magnitude(unhealthy - mark)
    w.den = mark


cdef inline void concession_key(run_t* r, int32_t a, waiting_t* w) noexcept nogil:
    """What the account concedes of its first position's notional by the fillable price, and the notional, both negated."""
    cdef const row_t* row
    w.num = 0
    w.den = 1
    if gather_taken(r, a) == 0:
        return
    row = &r.rows[r.scratch[0].next]
    w.num = -fillable_loss(r, a, row)
    w.den = magnitude(mark_value(&r.terms[row.instrument], row.lots, r.instruments[row.instrument].mark))
    w.second = -w.den
    if w.den == 0:
        w.den = 1


cdef inline int64_t account_notional(run_t* r, int32_t a) noexcept nogil:
    """Notional of an account's positions at the marks in force."""
    cdef int64_t notional = 0
    cdef int32_t k
    cdef const row_t* row
    gather_rows(r, a)
    for k in range(r.scratch_n):
        row = &r.scratch[k]
        if row.lots != 0:
            notional += magnitude(mark_value(&r.terms[row.instrument], row.lots, r.instruments[row.instrument].mark))
    return notional


cdef inline void found_add(run_t* r, int32_t a, const standing_t* s, int64_t now) noexcept nogil:
    """Note an unhealthy account with its key."""
    cdef waiting_t* w
    if not run_room(r, <void**>&r.found, &r.found_cap, r.found_n + 1, sizeof(waiting_t)):
        return
    w = &r.found[r.found_n]
    r.found_n += 1
    w.account = a
    w.single = -1
    w.seq = s.equity
    w.first = False
    w.den = 1
    w.second = 0
    if r.rules.queue == QUEUE_RATIO:
        w.first = s.maintenance == 0
        w.num = 0 if w.first else s.equity
        w.den = 1 if w.first else s.maintenance
    elif r.rules.queue == QUEUE_FIFO:
        w.num = now
    elif r.rules.queue == QUEUE_LARGEST:
        w.num = -account_notional(r, a)
    elif r.rules.queue == QUEUE_FILLABLE:
        concession_key(r, a, w)
    else:
        trigger_key(r, a, w)
    w.near = <double>w.num / <double>w.den


# What a look at an account came to.
cdef enum:
    SEEN_AGAIN = 0          # the next check must look again: unhealthy, or its turn was in this step
    SEEN_FLAT = 1           # only a change can make it matter again, and a change has it watched again
    SEEN_HEALTHY = 2

# For how many accounts of the scan the index may point at one: looking at an account by itself costs as much.
cdef enum:
    SCAN_FOR_ONE = 16

cdef enum:
    SCAN_BLOCK = 1024

# Scans in a run after which everybody is looked at once and then rests: about as much work.
cdef enum:
    SCANS_MOST = 24


cdef inline int examine(run_t* r, int32_t a, int64_t now, standing_t* s) noexcept nogil:
    """Look at one account; note it when it must be queued. SEEN_..., with its standing where that is SEEN_HEALTHY."""
    cdef account_t* account = &r.accounts[a]
    cdef case_t* case
    if account.state & QUEUED:
        return SEEN_AGAIN
    if account.turn_case >= 0 and r.cases[account.turn_case].turn_step == r.step:
        return SEEN_AGAIN
    s[0] = standing_of(r, a)
    if account.flags & NEVER_LIQUIDATED or not standing_unhealthy(r, s):
        if account.turn_case >= 0:
            case = &r.cases[account.turn_case]
            case.open = False
        if account.flags & HOLDS_COLLATERAL:
            return SEEN_AGAIN   # what marks can do to it is more than _safe knows
        return SEEN_FLAT if s.flat or account.flags & NEVER_LIQUIDATED else SEEN_HEALTHY
    r.owing = r.owing or s.flat
    if account.turn_case >= 0:
        case = &r.cases[account.turn_case]
        if case.idle_changes == r.changes and case.idle_marks == r.marks_version:
            return SEEN_AGAIN   # another turn would be the same again
        if case.rest_until > r.time_ns:
            return SEEN_AGAIN
    if not account.state & (STUCK | OVER):
        found_add(r, a, s, now)
    return SEEN_AGAIN


cdef inline void look_at(run_t* r, int32_t a, int64_t now) noexcept nogil:
    """Look at an account that is not watched; it will be, or rests."""
    cdef standing_t s
    cdef int seen = examine(r, a, now, &s)
    if seen == SEEN_AGAIN or (seen == SEEN_HEALTHY and not rest(r, a, &s)):
        watch(r, a)


cdef inline void look_at_watched(run_t* r, int64_t now) noexcept nogil:
    """Look at everybody who is watched; who need not be any more leaves."""
    cdef standing_t s
    cdef int32_t k = 0, a
    cdef int seen
    while k < r.watched_n:
        if k + 16 < r.watched_n:
            prefetch(&r.accounts[r.watched[k + 16]])
            prefetch(&r.rows[r.accounts[r.watched[k + 8]].first_row])
        a = r.watched[k]
        seen = examine(r, a, now, &s)
        if seen == SEEN_AGAIN or (seen == SEEN_HEALTHY and not rest(r, a, &s)):
            k += 1
        else:
            r.accounts[a].state &= ~<uint8_t>WATCHED
            r.watched_n -= 1
            r.watched[k] = r.watched[r.watched_n]


cdef inline void look_at_rested(run_t* r, int64_t now) noexcept nogil:
    """Look at everybody for whom marks have travelled far enough."""
    cdef int32_t a
    while rest_over(r):
        a = rest_end(r)
        if a >= 0:
            look_at(r, a, now)


cdef inline bint untouched(const run_t* r, int32_t a) noexcept nogil:
    """Whether the account is still as loaded and nobody's concern but an index's or the scan's."""
    return not r.accounts[a].state & (DIRTY | RESTING)


cdef inline void examine_fresh(run_t* r, int32_t a, int64_t now) noexcept nogil:
    """Look at an account that leaves the index of triggers; from now on it is watched or rests."""
    if untouched(r, a):
        look_at(r, a, now)


cdef inline bint examine_single(run_t* r, int i, bint short, int32_t at, int64_t now) noexcept nogil:
    """Look at an untouched account by what the index holds of it; False if nothing was found that way."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef const single_t* single = (ins.short_single if short else ins.long_single) + at
    cdef int32_t a = ins.short_account[at] if short else ins.long_account[at]
    cdef standing_t s
    cdef row_t row
    # An owner who owes money must hear of what a single leaves at once.
    if single.lots == 0 or (single.isolated and r.owing) or ((r.disturbed or r.initial_n > 0) and r.accounts[a].state & (DIRTY | INITIAL)):
        return False
    row.lots = single.lots
    row.basis = single.basis
    row.instrument = <uint16_t>i
    s.equity = s.balance = single.balance
    s.maintenance = 0
    s.flat = True
    standing_add(r, &row, ins.mark, &s)
    if not standing_unhealthy(r, &s):
        return False
    found_add(r, a, &s, now)
    if r.error == 0:
        r.found[r.found_n - 1].single = at
        r.found[r.found_n - 1].instrument = <uint16_t>i
        r.found[r.found_n - 1].short = short
    return True


cdef inline void examine_index(run_t* r, int i, int64_t now) noexcept nogil:
    """Look at the untouched accounts of one position whose trigger the mark has reached; from now on they are watched or rest."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef int32_t a
    if r.singles:
        while ins.long_at < ins.long_n and ins.long_trigger[ins.long_at] >= ins.mark:
            ins.long_at += 1
            if not examine_single(r, i, False, ins.long_at - 1, now):
                examine_fresh(r, ins.long_account[ins.long_at - 1], now)
        while ins.short_at < ins.short_n and ins.short_trigger[ins.short_at] <= ins.mark:
            ins.short_at += 1
            if not examine_single(r, i, True, ins.short_at - 1, now):
                examine_fresh(r, ins.short_account[ins.short_at - 1], now)
        return
    while ins.long_at < ins.long_n and ins.long_trigger[ins.long_at] >= ins.mark:
        a = ins.long_account[ins.long_at]
        ins.long_at += 1
        if ins.long_at + 16 < ins.long_n:
            prefetch(&r.accounts[ins.long_account[ins.long_at + 16]])
            prefetch(&r.rows[r.accounts[ins.long_account[ins.long_at + 8]].first_row])
        examine_fresh(r, a, now)
    while ins.short_at < ins.short_n and ins.short_trigger[ins.short_at] <= ins.mark:
        a = ins.short_account[ins.short_at]
        ins.short_at += 1
        if ins.short_at + 16 < ins.short_n:
            prefetch(&r.accounts[ins.short_account[ins.short_at + 16]])
            prefetch(&r.rows[r.accounts[ins.short_account[ins.short_at + 8]].first_row])
        examine_fresh(r, a, now)


cdef inline double moved(int64_t start, int64_t change) noexcept nogil:
    """A change of the mark relative to the mark at the start, rounded up; at least 0, which reaches those for whom nothing is proved."""
    return <double>change / <double>start * (1 + 1e-12) if change > 0 else 0


cdef inline int32_t moves_upto(const safe_t* safe, int32_t first, int32_t last, double move) noexcept nogil:
    """The end of the entries [first, last) that stand no more than a move."""
    cdef int32_t mid
    if first == last or safe[first].move > move:
        return first
    while first < last:
        mid = first + (last - first) // 2
        if safe[mid].move <= move:
            first = mid + 1
        else:
            last = mid
    return first


cdef inline int64_t moves_waiting(const run_t* r) noexcept nogil:
    """How many entries of the index of safe moves the marks have reached that nobody has looked at."""
    cdef const instrument_t* ins
    cdef int64_t n = 0
    cdef int i
    for i in range(r.instruments_n):
        ins = &r.instruments[i]
        n += moves_upto(ins.falls, ins.falls_at, ins.falls_n, moved(ins.start_mark, ins.start_mark - ins.mark)) - ins.falls_at
        n += moves_upto(ins.rises, ins.rises_at, ins.rises_n, moved(ins.start_mark, ins.mark - ins.start_mark)) - ins.rises_at
    return n


cdef inline int32_t examine_moves(
    run_t* r, const safe_t* safe, int32_t at, int32_t n, double move, int64_t now
) noexcept nogil:
    """Look at the untouched accounts of one list that stand no more than a move; from now on they are watched or rest. Its new beginning."""
    while at < n and safe[at].move <= move:
        if at + 16 < n:
            prefetch(&r.accounts[safe[at + 16].account])
            prefetch(&r.rows[r.accounts[safe[at + 8].account].first_row])
        if untouched(r, safe[at].account):
            look_at(r, safe[at].account, now)
        at += 1
    return at


cdef inline void growth_since(const instrument_t* ins, bint inverse, growth_t* g) noexcept nogil:
    """By what part notionals of an instrument have changed since the start."""
    cdef double change = <double>(ins.mark - ins.start_mark) / <double>ins.start_mark
    if inverse:
        change = <double>(ins.start_mark - ins.mark) / <double>ins.mark
    g.shrunk = -change if change < 0 else 0
    g.grown = change if 0 < change <= 0.5 else 0
    g.beyond = 0 if change <= 0.5 else INFINITY


cdef inline void scan_hit(run_t* r, int32_t k, int64_t now) noexcept nogil:
    """Look at the account at place k of the scan, unless it is found elsewhere."""
    cdef int32_t a = r.scan_account[k]
    cdef standing_t s
    if not untouched(r, a):
        r.scan_done[k] = True
    elif examine(r, a, now, &s) == SEEN_AGAIN:
        r.scan_done[k] = True
        watch(r, a)


cdef inline const loss_t* scan_block(
    run_t* r, const loss_t* loss, int32_t rows, int32_t first, int32_t end, int64_t now
) noexcept nogil:
    """Scan places [first, end) of accounts of `rows` losses each, SCAN_BLOCK at most; the first loss behind them.

    Places are collected before anybody is looked at: a branch at each account would be mispredicted for as many as go in the run.
    """
    cdef int32_t hits[SCAN_BLOCK]
    cdef int32_t k, j, n = 0
    cdef const growth_t* grown
    cdef double sum
    for k in range(first, end):
        sum = 0
        for _ in range(rows):
            grown = &r.growth[loss.instrument]
            sum += loss.shrinks * grown.shrunk + loss.grows * grown.grown + grown.beyond
            loss += 1
        hits[n] = k
        n += <int>(not sum < r.scan_room[k]) & <int>(r.scan_done[k] == 0)
    for j in range(n):
        if j + 8 < n:
            prefetch(&r.accounts[r.scan_account[hits[j + 8]]])
        if j + 4 < n:
            prefetch(&r.rows[r.accounts[r.scan_account[hits[j + 4]]].first_row])
        scan_hit(r, hits[j], now)
    return loss


cdef inline void scan(run_t* r, int64_t now) noexcept nogil:
    """Look at the untouched accounts whose losses since the start can exceed their room; they are watched if unhealthy."""
    cdef const loss_t* loss = r.scan_losses
    cdef int32_t g, k = 0, last, end
    cdef int i
    for i in range(r.instruments_n):
        growth_since(&r.instruments[i], r.terms[i].contract != 0, &r.growth[i])
    for g in range(r.scan_groups_n):
        last = k + r.scan_groups[g].accounts
        while k < last:
            end = k + SCAN_BLOCK if last - k > SCAN_BLOCK else last
            loss = scan_block(r, loss, r.scan_groups[g].rows, k, end, now)
            k = end
    r.scans += 1


cdef inline void all_to_rest(run_t* r, int64_t now) noexcept nogil:
    """Look at everybody who was left to the index or the scan; from now on they are watched or rest."""
    cdef int32_t k
    for k in range(r.scan_n):
        if not r.scan_done[k] and untouched(r, r.scan_account[k]):
            look_at(r, r.scan_account[k], now)
    r.all_rest = True


cdef inline void look_at_untouched(run_t* r, int64_t now) noexcept nogil:
    """Find who can be unhealthy among the untouched accounts that no one trigger price holds, by the way that their counts make cheapest."""
    cdef instrument_t* ins
    cdef bint many
    cdef int i
    if r.all_rest or r.scan_n == 0 or r.looked_version == r.marks_version:
        return
    r.looked_version = r.marks_version
    many = moves_waiting(r) * SCAN_FOR_ONE > r.scan_n if r.look == LOOK_BY_COUNTS else r.look != LOOK_BY_INDEX
    if many and (r.look == LOOK_BY_SCAN or r.scans < (1 if r.look == LOOK_BY_REST else SCANS_MOST)):
        scan(r, now)
        return
    if many:
        all_to_rest(r, now)
        return
    for i in range(r.instruments_n):
        ins = &r.instruments[i]
        ins.falls_at = examine_moves(
            r, ins.falls, ins.falls_at, ins.falls_n, moved(ins.start_mark, ins.start_mark - ins.mark), now
        )
        ins.rises_at = examine_moves(
            r, ins.rises, ins.rises_at, ins.rises_n, moved(ins.start_mark, ins.mark - ins.start_mark), now
        )


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
    row.lots = single.lots
    row.basis = single.basis
    row.instrument = w.instrument
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
    cdef bint untouched = account.journal < 0 and account.rows_n == 1 and not account.flags & HOLDS_COLLATERAL
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


cdef inline case_t* case_of(run_t* r, int32_t a) noexcept nogil:
    """The account's case, made if need be; NULL (and the run void) without memory."""
    cdef case_t* case
    if r.accounts[a].turn_case < 0:
        if not run_room(r, <void**>&r.cases, &r.cases_cap, r.cases_n + 1, sizeof(case_t)):
            return NULL
        case = &r.cases[r.cases_n]
        case.account = a
        case.healthy_at = -1
        case.idle_changes = -1
        case.idle_marks = -1
        case.last_wave = 0
        case.turn_step = -1
        case.rest_until = 0
        case.open = False
        case.parted = False
        case.left = 0
        dirty_mark(r, a)
        r.accounts[a].turn_case = r.cases_n
        r.cases_n += 1
    return &r.cases[r.accounts[a].turn_case]


cdef inline void check(run_t* r) noexcept nogil:
    """Find every account that is unhealthy and not yet served in this step, and queue it, smallest key first."""
    cdef int64_t now = r.seq, previous_check = r.check_seq
    cdef int32_t previous_step = r.check_step, k, a, wave
    cdef cause_t cause
    cdef int i
    cdef waiting_t* w
    cdef const sorted_t* ordered
    cdef case_t* case
    r.found_n = 0
    travel(r)
    look_at_watched(r, now)
    look_at_rested(r, now)
    for i in range(r.instruments_n):
        examine_index(r, i, now)
    look_at_untouched(r, now)
    r.check_seq = now
    r.check_step = r.step
    if r.found_n == 0 or not run_room(r, &r.shares, &r.shares_cap, r.found_n, SORT_ITEM):
        return
    ordered = queue_sort(r.found, r.found_n, r.shares)
    for k in range(r.found_n):
        w = <waiting_t*>ordered[k].item
        a = w.account
        if k + 8 < r.found_n:
            prefetch(ordered[k + 8].item)
        if w.single >= 0:
            if single_cause(r, w, previous_check, now):
                r.wave = r.step_wave
                w.wave = r.step_wave
                w.seq = emit(r, EVENT_QUEUED, NO_INSTRUMENT, a, -1, 0, 0, w.seq, w.cause, 0)
                queue_push(r, w)
                continue
            w.single = -1
            watch(r, a)
        if k + 4 < r.found_n:
            prefetch(&r.accounts[ordered[k + 4].item.account])
        cause = find_cause(r, a, previous_check, previous_step, now)
        wave = cause.generation if r.rules.continuous else r.step_wave
        case = case_of(r, a)
        if case == NULL:
            return
        case.cause = cause.event
        case.cause_row = cause.row
        case.parted = case.parted and case.open
        case.open = True
        if account_waits(r, a):
            case.last_wave = cause.generation - 1
            case.left = LEFT_HALTED
            continue
        if wave > r.rules.max_waves:
            r.limit_hit = True
            case.last_wave = cause.generation - 1
            r.accounts[a].state |= OVER
            continue
        r.wave = wave
        w.wave = wave
        w.seq = emit(r, EVENT_QUEUED, NO_INSTRUMENT, a, -1, 0, 0, w.seq, cause.event, 0)
        r.accounts[a].state |= QUEUED
        queue_push(r, w)
