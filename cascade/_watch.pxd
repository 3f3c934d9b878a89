"""Who is unhealthy: the margin check over those whose health can have changed.

Untouched accounts with one position wait in an index by trigger price until a mark comes near. Others wait in an index by the relative moves
that they stand, or, where marks have moved past many of those, are scanned: bounds of their losses are summed in memory order. Whoever was
touched is watched: looked at in every check, until a check finds the account healthy and lets it rest. All of this errs on the safe side, and
whoever it points at is examined exactly, so the accounts found are those that a full check would find.
"""

from libc.math cimport INFINITY, fabs
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint16_t, uint8_t

from cascade._batch cimport batch_add, batch_add_several, batch_ready, batch_room
from cascade._breakers cimport account_waits
from cascade._gather cimport gather_rows, gather_taken
from cascade._ledger cimport flats_tell
from cascade._margin cimport magnitude, mark_value, standing_of, standing_single, standing_t, standing_unhealthy
from cascade._past cimport cause_t, find_cause, single_cause
from cascade._queue cimport SORT_ITEM, queue_push, queue_sort
from cascade._range cimport batch_begin, triggers_upto
from cascade._rest cimport rest, rest_end, rest_over, travel
from cascade._run cimport (
    DIRTY,
    EVENT_QUEUED,
    HOLDS_COLLATERAL,
    INITIAL,
    IS_ISOLATED,
    LEFT_HALTED,
    LOOK_BY_COUNTS,
    LOOK_BY_INDEX,
    LOOK_BY_REST,
    LOOK_BY_SCAN,
    NEVER_LIQUIDATED,
    NO_INSTRUMENT,
    ORDINARY,
    OVER,
    OWNS_ISOLATED,
    QUEUED,
    QUEUE_FIFO,
    QUEUE_FILLABLE,
    QUEUE_LARGEST,
    QUEUE_RATIO,
    RESTING,
    SEVERAL,
    STUCK,
    WATCHED,
    account_ahead,
    account_t,
    case_t,
    dirty_mark,
    emit,
    growth_t,
    instrument_t,
    loss_t,
    prefetch,
    prefetch_shared,
    row_t,
    rows_ahead,
    run_room,
    run_t,
    safe_t,
    single_t,
    sorted_t,
    waiting_t,
    watch,
)
from cascade._sizes cimport fillable_loss


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
    ins = &r.instruments[r.scratch[0].row.instrument]
    mark = ins.mark
    unhealthy = mark
    # Half to twice the mark, which State.check_range covers, within the domain; the mean cannot overflow.
    healthy = mark // 2
    if r.scratch[0].row.lots > 0:
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
    row = &r.rows[r.scratch[0].at]
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
        row = &r.scratch[k].row
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
    w.single = ORDINARY
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
    STAY_MOST = 16          # of those at the end of an index whom a check may look at in vain

cdef enum:
    SCAN_BLOCK = 1024
    SCAN_FAR = 1 << 29      # growths do not travel further; a place that waits until then, or less, is summed
    SCAN_NEVER = 1 << 30


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


cdef inline bint is_single(const run_t* r, int i, bint short, int32_t at) noexcept nogil:
    """Whether an untouched account is what the index holds of it, for this check."""
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const single_t* single = (ins.short_single if short else ins.long_single) + at
    cdef int32_t a = ins.short_account[at] if short else ins.long_account[at]
    # An owner who owes money must hear of what a single leaves at once.
    return single.lots != 0 and not (single.isolated and r.owing) and not (
        (r.disturbed or r.initial_n > 0) and r.accounts[a].state & (DIRTY | INITIAL)
    )


cdef inline bint examine_single(run_t* r, int i, bint short, int32_t at, int64_t now) noexcept nogil:
    """Look at an untouched account by what the index holds of it; False if nothing was found that way."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef const single_t* single = (ins.short_single if short else ins.long_single) + at
    cdef int32_t a = ins.short_account[at] if short else ins.long_account[at]
    cdef standing_t s
    if not is_single(r, i, short, at):
        return False
    s = standing_single(r, single, i, ins.mark)
    if not standing_unhealthy(r, &s):
        return False
    if r.batching:
        batch_add(r, i, short, at, &s)
        return True
    found_add(r, a, &s, now)
    if r.error == 0:
        r.found[r.found_n - 1].single = at
        r.found[r.found_n - 1].instrument = <uint16_t>i
        r.found[r.found_n - 1].short = short
    return True


cdef inline void examine_list(run_t* r, int i, bint short, int32_t first, int32_t last, int64_t now) noexcept nogil:
    """Look at the untouched accounts in places [first, last) of an index of triggers; from now on they are watched or rest."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef const int32_t* accounts = ins.short_account if short else ins.long_account
    cdef const single_t* singles = ins.short_single if short else ins.long_single
    cdef int32_t k
    if r.batching and not batch_room(r, last - first):
        return
    for k in range(first, last):
        if r.singles:
            prefetch_shared(&singles[k + 24])
            if examine_single(r, i, short, k, now):
                continue
        elif k + 16 < last:
            prefetch(&r.accounts[accounts[k + 16]])
            prefetch(&r.rows[r.accounts[accounts[k + 8]].first_row])
        examine_fresh(r, accounts[k], now)


cdef inline void range_others(run_t* r, int64_t now) noexcept nogil:
    """Look at accounts in the batch's range that are no singles."""
    cdef const instrument_t* ins = &r.instruments[r.range_instrument]
    cdef const single_t* singles = ins.short_single if r.range_short else ins.long_single
    cdef int32_t k
    if r.range_at == r.range_end or (ins.short_others if r.range_short else ins.long_others) == 0:
        return
    for k in range(r.range_at, r.range_end):
        if singles[k].lots == 0:
            r.seq -= 1      # it is not queued yet
            examine_fresh(r, (ins.short_account if r.range_short else ins.long_account)[k], now)


cdef inline int32_t standing_last(const run_t* r, int i, bint short, int32_t first, int32_t last) noexcept nogil:
    """The end of the places [first, last) of an index without a few healthy singles behind, whom the mark has just not reached: they stay
    in the index."""
    cdef const instrument_t* ins = &r.instruments[i]
    cdef const single_t* singles = ins.short_single if short else ins.long_single
    cdef int32_t end = last
    cdef standing_t s
    while end > first and last - end < STAY_MOST and r.singles and is_single(r, i, short, end - 1):
        s = standing_single(r, &singles[end - 1], i, ins.mark)
        if standing_unhealthy(r, &s):
            break
        end -= 1
    return end


cdef inline void examine_index(run_t* r, int i, int64_t now) noexcept nogil:
    """Look at the untouched accounts of one position whose trigger the mark has reached."""
    cdef instrument_t* ins = &r.instruments[i]
    cdef int32_t at = ins.long_at
    if ins.long_stand != ins.mark:
        ins.long_at = standing_last(r, i, False, at, triggers_upto(ins.long_trigger, at, ins.long_n, False, ins.mark))
        ins.long_stand = ins.mark
        examine_list(r, i, False, at, ins.long_at, now)
    if ins.short_stand != ins.mark:
        at = ins.short_at
        ins.short_at = standing_last(r, i, True, at, triggers_upto(ins.short_trigger, at, ins.short_n, True, ins.mark))
        ins.short_stand = ins.mark
        examine_list(r, i, True, at, ins.short_at, now)


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


cdef inline double growth_since(const instrument_t* ins, bint inverse, growth_t* g) noexcept nogil:
    """By what part notionals of an instrument have changed since the start; by how much that differs from the latest scan's."""
    cdef growth_t before = g[0]
    cdef double change = <double>(ins.mark - ins.start_mark) / <double>ins.start_mark
    if inverse:
        change = <double>(ins.start_mark - ins.mark) / <double>ins.mark
    g.shrunk = -change if change < 0 else 0
    g.grown = change if 0 < change <= 0.5 else 0
    g.beyond = 0 if change <= 0.5 else INFINITY
    if g.beyond != before.beyond:
        return SCAN_FAR
    return fabs(g.shrunk - before.shrunk) + fabs(g.grown - before.grown)


cdef enum:
    SEVERAL_MOST = 16       # positions of an account that _several.pxd deals with


cdef inline bint for_several(const run_t* r, const account_t* account) noexcept nogil:
    """Whether _several.pxd may deal with an untouched account that the scan has come to, should it be unhealthy."""
    return (
        r.several
        and not account.flags & (IS_ISOLATED | OWNS_ISOLATED | HOLDS_COLLATERAL | NEVER_LIQUIDATED)
        and not account.state
        and account.rows_n <= SEVERAL_MOST
    )


cdef inline void several_found(run_t* r, int32_t a, const standing_t* s, int64_t now) noexcept nogil:
    """Note such an account, found unhealthy."""
    if r.batching:
        batch_add_several(r, a, s)
        return
    found_add(r, a, s, now)
    if r.error == 0:
        r.found[r.found_n - 1].single = SEVERAL
        r.found[r.found_n - 1].cause = r.found[r.found_n - 1].cause_row = -1


cdef inline void scan_hit(run_t* r, int32_t k, int64_t now) noexcept nogil:
    """Look at the account at place k of the scan, unless it is found elsewhere."""
    cdef int32_t a = r.scan_account[k]
    cdef standing_t s
    if not untouched(r, a):
        r.scan_until[k] = SCAN_NEVER
    elif for_several(r, &r.accounts[a]):
        s = standing_of(r, a)
        if standing_unhealthy(r, &s):
            r.scan_until[k] = SCAN_NEVER
            several_found(r, a, &s, now)
    elif examine(r, a, now, &s) == SEEN_AGAIN:
        r.scan_until[k] = SCAN_NEVER
        watch(r, a)


cdef inline bint scan_sum(run_t* r, const loss_t* loss, int32_t rows, int32_t k) noexcept nogil:
    """Whether the losses of the account at place k can exceed its room; if not, until when that is sure.

    A loss changes by no more than its larger coefficient times the change of its instrument's growth, up or down.
    """
    cdef double sum = 0, cost = 0, one, other, room = r.scan_room[k]
    cdef const growth_t* grown
    for _ in range(rows):
        grown = &r.growth[loss.instrument]
        sum += loss.shrinks * grown.shrunk + loss.grows * grown.grown + grown.beyond
        one = fabs(loss.shrinks)
        other = fabs(loss.grows)
        cost += one if one > other else other
        loss += 1
    if not sum < room:
        return True
    room -= sum
    # Rounded down, by more than float32 and the sums can be wrong.
    room = (r.scan_travel + room / cost) * (1 - 1e-6) if room < cost * SCAN_FAR else SCAN_FAR
    r.scan_until[k] = <float>room
    return False


cdef inline void scan_block(run_t* r, const loss_t* loss, int32_t rows, int32_t first, int32_t end, int64_t now) noexcept nogil:
    """Scan places [first, end) of accounts of `rows` losses each, SCAN_BLOCK at most; `loss` is the first of them.

    Places are collected before anybody is looked at: a branch at each account would be mispredicted for as many as go in the run.
    """
    cdef int32_t hits[SCAN_BLOCK]
    cdef float now_at = <float>r.scan_travel * <float>(1 + 1e-6)
    cdef int32_t k, j, due = 0, n = 0
    for k in range(first, end):
        hits[due] = k
        due += r.scan_until[k] <= now_at
    for j in range(due):
        k = hits[j]
        hits[n] = k
        n += scan_sum(r, loss + <int64_t>(k - first) * rows, rows, k)
    for j in range(n):
        if j + 24 < n:
            account_ahead(r, r.scan_account[hits[j + 24]])
        if j + 12 < n:
            rows_ahead(r, r.scan_account[hits[j + 12]])
        scan_hit(r, hits[j], now)


cdef inline void scan(run_t* r, int64_t now) noexcept nogil:
    """Look at the untouched accounts whose losses since the start can exceed their room; they are watched if unhealthy."""
    cdef const loss_t* loss = r.scan_losses
    cdef int32_t g, k = 0, last, end
    cdef double most = 0, change
    cdef int i
    for i in range(r.instruments_n):
        change = growth_since(&r.instruments[i], r.terms[i].contract != 0, &r.growth[i])
        most = change if change > most else most
    r.scan_travel = (r.scan_travel + most) * (1 + 4.5e-16)
    if r.scan_travel > SCAN_FAR:
        r.scan_travel = SCAN_FAR
    for g in range(r.scan_groups_n):
        last = k + r.scan_groups[g].accounts
        while k < last:
            end = k + SCAN_BLOCK if last - k > SCAN_BLOCK else last
            scan_block(r, loss, r.scan_groups[g].rows, k, end, now)
            loss += <int64_t>(end - k) * r.scan_groups[g].rows
            k = end
    r.scans += 1


cdef inline void all_to_rest(run_t* r, int64_t now) noexcept nogil:
    """Look at everybody who was left to the index or the scan; from now on they are watched or rest."""
    cdef int32_t k
    for k in range(r.scan_n):
        if r.scan_until[k] != SCAN_NEVER and untouched(r, r.scan_account[k]):
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
    if r.several_n > 0:     # the others look at accounts that a scan has found before
        flats_tell(r)
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
    batch_begin(r, previous_check, now)     # who owes, and who has changed, is known now
    range_others(r, now)
    for i in range(r.instruments_n):
        examine_index(r, i, now)
    look_at_untouched(r, now)
    r.check_seq = now
    r.previous_check = previous_check
    r.check_step = r.step
    batch_ready(r)
    if r.found_n == 0 or not run_room(r, &r.shares, &r.shares_cap, r.found_n, SORT_ITEM):
        return
    ordered = queue_sort(r.found, r.found_n, r.shares)
    for k in range(r.found_n):
        w = <waiting_t*>ordered[k].who.item
        a = w.account
        if k + 8 < r.found_n:
            prefetch(ordered[k + 8].who.item)
        if w.single != ORDINARY:
            if w.single == SEVERAL or single_cause(r, w, previous_check, now):
                r.wave = r.step_wave
                w.wave = r.step_wave
                w.seq = emit(r, EVENT_QUEUED, NO_INSTRUMENT, a, -1, 0, 0, w.seq, w.cause, 0)
                queue_push(r, w)
                continue
            w.single = ORDINARY
            watch(r, a)
        if k + 4 < r.found_n:
            prefetch(&r.accounts[ordered[k + 4].who.item.account])
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
