"""The loop: steps made of marks, check, queue and turns, one after another until nothing changes."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from cascade._deleverage cimport rankings_forget
from cascade._ledger cimport flats_tell
from cascade._liquidate cimport turn
from cascade._margin cimport standing_shadow, standing_t, standing_unhealthy
from cascade._queue cimport batch_waits, queue_first, queue_pop, queue_push, queue_waits
from cascade._run cimport (
    EVENT_END,
    LEFT_BANDED,
    LEFT_BEYOND_DATA,
    LEFT_HALTED,
    NO_INSTRUMENT,
    ORDINARY,
    OVER,
    QUEUED,
    SEVERAL,
    STATUS_HALTED,
    STATUS_HORIZON,
    STATUS_LIMIT,
    STATUS_OUT_OF_DATA,
    STATUS_SETTLED,
    STATUS_STRANDED,
    case_t,
    emit,
    prefetch,
    run_t,
    waiting_t,
    watch,
)
from cascade._several cimport several_ahead, several_serve, several_turn
from cascade._single cimport single_turn, singles_serve
from cascade._together cimport BATCH_ONE, BATCH_OTHER, BATCH_SERVED, batch_all, batch_pop, batch_turns
from cascade._types cimport REASON_BANDED, REASON_BEYOND_DATA, REASON_HALTED
from cascade._watch cimport case_of, check


cdef inline void marks_set(run_t* r) noexcept nogil:
    """The shadow marks come into force."""
    cdef int i
    for i in range(r.instruments_n):
        r.instruments[i].previous_mark = r.instruments[i].mark
        r.marks_version += r.instruments[i].mark != r.instruments[i].shadow
        r.instruments[i].mark = r.instruments[i].shadow
    rankings_forget(r)


cdef inline void step_begin(run_t* r) noexcept nogil:
    """Marks, check, queue."""
    cdef int32_t k
    r.step += 1
    r.step_changes = r.changes
    if r.settled:   # a new cascade begins: whoever is unhealthy still was so before it
        r.step_wave = 0
        r.limit_hit = False
        for k in range(r.cases_n):
            if r.cases[k].open:
                r.cases[k].cause = -2
                r.cases[k].cause_row = -1
                r.cases[k].last_wave = 0
        for k in range(r.dirty_n):
            r.accounts[r.dirty[k]].state &= ~<uint8_t>OVER
    r.step_wave += 1
    marks_set(r)
    r.singles = singles_serve(r)
    r.several = r.singles and several_serve(r)
    check(r)
    r.waves_left = r.rules.continuous or r.step_wave <= r.rules.max_waves
    if queue_waits(r) and not r.waves_left:
        r.limit_hit = True
    r.budget = r.rules.capacity
    r.in_step = True


cdef inline void single_queue(run_t* r, const waiting_t* w) noexcept nogil:
    """An account whose turn is none for _single or _several after all: what a check does for anybody whom it queues."""
    cdef case_t* case = case_of(r, w.account)
    watch(r, w.account)
    if case != NULL:
        case.cause = w.cause
        case.cause_row = w.cause_row
        case.open = True


cdef inline void single_waits(run_t* r, waiting_t* w) noexcept nogil:
    """The same of one that still waits."""
    if w.single != ORDINARY:
        single_queue(r, w)
        r.accounts[w.account].state |= QUEUED
        w.single = ORDINARY


cdef inline void singles_end(run_t* r) noexcept nogil:
    """Before anything comes from outside: accounts as they are. In the middle of a step, where an interrupt has stopped it, no single
    knows what is to come."""
    cdef waiting_t next_one
    cdef int32_t k
    flats_tell(r)
    if not r.in_step:
        return
    while batch_all(r):
        next_one = batch_pop(r)
        queue_push(r, &next_one)
    for k in range(r.line_at, r.line_n):
        single_waits(r, &r.line[k])
    for k in range(r.heap_n):
        single_waits(r, &r.heap[k])


cdef inline bint step_turn(run_t* r) noexcept nogil:
    """The next turn of the step; False when there is none."""
    cdef waiting_t next_one
    cdef int32_t ahead
    cdef int whose
    if not r.waves_left or r.budget <= 0 or r.error != 0 or not queue_waits(r):
        return False
    whose = BATCH_OTHER
    if batch_waits(r):
        r.wave = r.step_wave
        whose = batch_turns(r)
        if whose == BATCH_SERVED:
            return True
        if whose == BATCH_OTHER and queue_first(r) == NULL:
            return False
    next_one = batch_pop(r) if whose == BATCH_ONE else queue_pop(r)
    if r.several:
        several_ahead(r)
    if next_one.single != ORDINARY:
        r.wave = r.step_wave
        if several_turn(r, &next_one) if next_one.single == SEVERAL else single_turn(r, &next_one):
            return True
        single_queue(r, &next_one)
        if r.error != 0:
            return False
    r.served = next_one.account
    if r.line_at + 8 < r.line_n:
        ahead = r.line[r.line_at + 8].account
        prefetch(&r.accounts[ahead])
        prefetch(<void*>&r.parents[ahead])
        if r.journalled != NULL:
            prefetch(&r.journalled[ahead])
    if r.line_at + 4 < r.line_n and r.line[r.line_at + 4].single == ORDINARY:
        ahead = r.line[r.line_at + 4].account
        prefetch(&r.rows[r.accounts[ahead].first_row])
        prefetch(&r.rows[r.accounts[ahead].first_row + 2])  # a line of memory holds two
        prefetch(&r.accounts[r.parents[ahead] if r.parents[ahead] >= 0 else ahead])
        prefetch(&r.cases[r.accounts[ahead].turn_case])
    r.accounts[next_one.account].state &= ~<uint8_t>QUEUED
    r.wave = next_one.wave if r.rules.continuous else r.step_wave
    if turn(r, &next_one):
        r.budget -= 1
    if r.rules.continuous:
        marks_set(r)
        check(r)
    return True


cdef inline bint rests(const run_t* r, const case_t* case) noexcept nogil:
    """Whether an account is unhealthy and must let time pass before its next turn."""
    cdef standing_t s
    if case.rest_until <= r.time_ns:
        return False
    s = standing_shadow(r, case.account)
    return standing_unhealthy(r, &s)


cdef inline bint somebody_rests(const run_t* r) noexcept nogil:
    """Whether an unhealthy account waits for time to pass: the cascade is not over."""
    cdef int32_t k
    if r.rules.cooldown_ns > 0:
        for k in range(r.cases_n):
            if rests(r, &r.cases[k]):
                return True
    return False


cdef inline bint work_waits(const run_t* r) noexcept nogil:
    """Whether lots of unhealthy accounts wait for a halt to end or a band to move."""
    cdef int32_t k
    cdef standing_t s
    if not r.rules.breakers:
        return False
    for k in range(r.cases_n):
        if r.cases[k].left == LEFT_BANDED or r.cases[k].left == LEFT_HALTED:
            s = standing_shadow(r, r.cases[k].account)
            if standing_unhealthy(r, &s):
                return True
    return False


cdef inline bint step_end(run_t* r) noexcept nogil:
    """Whether another step could change something."""
    cdef bint more = r.waves_left and (r.changes != r.step_changes or queue_waits(r)) and r.error == 0
    r.in_step = False
    # A cascade in which somebody rests, or waits for a halt or a band, goes on when time has passed.
    r.settled = not more and not somebody_rests(r) and not work_waits(r)
    return more


cdef inline bint advance(run_t* r, int64_t events, bint one_step) noexcept nogil:
    """Go on until about `events` more events have happened, or to the end of the step (`one_step`), or to the end.

    True while there is more to do, inside this step or after it; run_t.in_step tells which.
    """
    cdef int64_t stop = r.seq + events
    while r.error == 0:
        if not r.in_step:
            step_begin(r)
        while step_turn(r):
            if r.seq >= stop:
                return True
        if not step_end(r):
            return False
        if one_step or r.seq >= stop:
            return True
    return False


cdef inline int64_t count_left(const run_t* r) noexcept nogil:
    """Unhealthy accounts whose last turn left lots open."""
    cdef int32_t k
    cdef int64_t n = 0
    cdef standing_t s
    for k in range(r.cases_n):
        if r.cases[k].left:
            s = standing_shadow(r, r.cases[k].account)
            n += standing_unhealthy(r, &s)
    return n


cdef inline int finish(run_t* r) noexcept nogil:
    """Name how it stands now, and record it as the last event."""
    cdef int32_t k
    cdef standing_t s
    cdef bint stranded = r.shock_left != 0, beyond = r.shock_left == REASON_BEYOND_DATA
    cdef bint waiting = r.shock_left == REASON_BANDED or r.shock_left == REASON_HALTED or work_waits(r)
    cdef int status = STATUS_SETTLED
    for k in range(r.cases_n):
        if r.cases[k].left and r.cases[k].rest_until <= r.time_ns:
            s = standing_shadow(r, r.cases[k].account)
            if standing_unhealthy(r, &s):
                stranded = True
                beyond = beyond or r.cases[k].left == LEFT_BEYOND_DATA
    if r.limit_hit:
        status = STATUS_LIMIT
    elif waiting:
        status = STATUS_HALTED
    elif beyond:
        status = STATUS_OUT_OF_DATA
    elif stranded:
        status = STATUS_STRANDED
    elif somebody_rests(r):
        status = STATUS_HORIZON
    if r.seq >= 0:
        emit(r, EVENT_END, NO_INSTRUMENT, -1, -1, 0, 0, 0, -1, status)
    return status
