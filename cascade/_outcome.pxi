"""The Outcome class: what a run left, copied out of its engine and made into integers and arrays when asked for. Included by _core.pyx."""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.string cimport memcpy

from cascade._run cimport (
    DEFICIT,
    FUND,
    HOLDS_COLLATERAL,
    RECORD_ALL,
    RECORD_SUMMARY,
    VAULT,
    account_t,
    event_t,
    flat_t,
    instrument_t,
    liquidation_t,
    mark_change_t,
    row_t,
    run_t,
    span_t,
    wave_t,
)
from cascade._ledger cimport span_money
from cascade._step cimport count_left
from cascade._wide cimport RATE_ONE, wide_add, wide_high, wide_low, wide_of, wide_t

import weakref

from cascade._rundata import FLAT_DTYPE, LIQUIDATION_DTYPE, MARK_DTYPE, ROW_DTYPE, WAVE_DTYPE, RunData
from cascade.records import EVENT_DTYPE

# A record of ROW_DTYPE.
ctypedef packed struct row_record_t:
    int32_t account
    int32_t instrument
    int32_t slot
    int64_t lots
    int64_t basis


cdef object wide_int(wide_t x):
    """A wide integer as a Python int."""
    if wide_high(x) == (-1 if <int64_t>wide_low(x) < 0 else 0):
        return <int64_t>wide_low(x)
    return (int(wide_high(x)) << 64) | <uint64_t>wide_low(x)


cdef object table_of(const void* items, int64_t n, size_t size, object dtype):
    """A new structured array with a copy of n records."""
    out = np.empty(n, dtype)
    cdef uint8_t[::1] target
    if n > 0:
        target = out.view(np.uint8)
        memcpy(&target[0], items, <size_t>n * size)
    return out


cdef void row_tell(row_record_t* to, const row_t* row) noexcept nogil:
    """A position row as a record."""
    to.account = row.account
    to.instrument = row.instrument
    to.slot = row.slot
    to.lots = row.lots
    to.basis = row.basis


# The growable logs that an engine can give away.
cdef enum:
    LOG_EVENTS = 0
    LOG_LIQUIDATIONS = 1
    LOG_FLATS = 2
    LOGS = 3
    LOG_SMALL = 1 << 16     # bytes up to which a copy is as cheap


@cython.final
@cython.no_gc
cdef class Log:
    """A log of a run, given away by its engine, which gets the memory back, if it is still there, when nobody needs what it holds. A buffer
    of bytes."""

    cdef void* items
    cdef int32_t cap
    cdef int which
    cdef Py_ssize_t size
    cdef object engine      # weak

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.items, self.size, False, flags)

    def __dealloc__(self):
        cdef object engine = None if self.engine is None else self.engine()
        if engine is None or not (<Engine>engine).take_back(self.which, self.items, self.cap):
            PyMem_RawFree(self.items)


cdef object log_of(Engine engine, int which, void** items, int32_t* cap, int64_t n, size_t size):
    """The first n records of a growable log, which the engine gives away, or a copy where they are few; None for none."""
    cdef Log log
    cdef Py_ssize_t bytes = n * size
    if n == 0:
        return None
    log = Log.__new__(Log)
    log.size = bytes
    if bytes <= LOG_SMALL or n < cap[0] // 2:
        log.items = PyMem_RawMalloc(bytes)
        if log.items == NULL:
            raise CapacityError("engine: out of memory")
        memcpy(log.items, items[0], bytes)
        return log
    log.items = items[0]
    log.cap = cap[0]
    log.which = which
    log.engine = weakref.ref(engine)
    items[0] = NULL
    cap[0] = 0
    return log


cdef object records_of(object log, object dtype):
    """A log's records as an array that keeps it."""
    return np.empty(0, dtype) if log is None else np.frombuffer(log, dtype)


@cython.final
cdef class Outcome:
    """What a run left; later runs do not change it. Its attributes are the fields of `RunData`, made when first asked for.

    Balances and rows that differ from the loaded ones are copied at once, as are marks where they are kept; events, liquidations and flats
    are taken over. Of what the run_t points to only instruments, system, waves and spans are there, in memory of the Outcome's own; what the
    spans point to is kept beside them.
    """

    cdef run_t r
    cdef void* memory
    cdef int status
    cdef int64_t left_accounts
    cdef int32_t* account
    cdef int64_t* balance
    cdef row_record_t* row
    cdef int64_t accounts_n, rows_n
    cdef object events, liquidations, flats, marks, index
    cdef dict fields        # None: not asked yet
    cdef int readers        # threads in `rest`

    def __dealloc__(self):
        PyMem_RawFree(self.memory)

    cdef int take(self, Engine engine, run_t* r, int status, const int64_t* balance, const int64_t* lots, const int64_t* basis) except -1:
        """Take it out of a run's state; the columns are the loaded ones."""
        cdef size_t instruments = r.instruments_n * sizeof(instrument_t), system = r.first_user * sizeof(wide_t)
        cdef size_t waves = r.waves_n * sizeof(wave_t), spans = r.spans_n * sizeof(span_t)
        cdef int64_t rows = self.rows_at_most(r)
        cdef char* at
        self.memory = at = <char*>PyMem_RawMalloc(
            system + instruments + waves + spans + r.dirty_n * (sizeof(int64_t) + sizeof(int32_t)) + rows * sizeof(row_record_t)
        )
        if at == NULL:
            raise CapacityError("engine: out of memory")
        self.r = r[0]
        self.status = status
        self.left_accounts = count_left(r)
        # What needs the widest alignment comes first.
        self.r.system = <wide_t*>memcpy(at, r.system, system)
        at += system
        self.r.waves = <wave_t*>at
        if waves > 0:
            memcpy(at, r.waves, waves)
        at += waves
        self.r.instruments = <instrument_t*>memcpy(at, r.instruments, instruments)
        at += instruments
        self.r.spans = <span_t*>at
        if spans > 0:
            memcpy(at, r.spans, spans)
            self.index = engine.index
        at += spans
        self.balance = <int64_t*>at
        at += r.dirty_n * sizeof(int64_t)
        self.account = <int32_t*>at
        at += r.dirty_n * sizeof(int32_t)
        self.row = <row_record_t*>at
        self.take_touched(r, balance, lots, basis)
        self.events = log_of(engine, LOG_EVENTS, <void**>&r.events, &r.events_cap, r.events_n, sizeof(event_t))
        self.liquidations = log_of(
            engine, LOG_LIQUIDATIONS, <void**>&r.liquidations, &r.liquidations_cap, r.liquidations_n, sizeof(liquidation_t)
        )
        self.flats = log_of(engine, LOG_FLATS, <void**>&r.flats, &r.flats_cap, r.flats_n, sizeof(flat_t))
        r.events_n = r.liquidations_n = r.flats_n = r.spans_n = 0
        self.marks = mark_changes(r) if r.record != RECORD_SUMMARY else None
        return 0

    cdef int64_t rows_at_most(self, const run_t* r) noexcept:
        """As many rows as can differ from the loaded ones, the vault's among them."""
        cdef int64_t rows = r.rows_n - r.rows_loaded + r.instruments_n
        cdef int32_t k
        for k in range(r.dirty_n):
            rows += r.accounts[r.dirty[k]].rows_n
            if r.accounts[r.dirty[k]].flags & HOLDS_COLLATERAL:
                rows += r.holding_first[r.dirty[k] + 1] - r.holding_first[r.dirty[k]]
        return rows

    cdef void take_touched(self, const run_t* r, const int64_t* balance, const int64_t* lots, const int64_t* basis) noexcept:
        """Balances and rows that differ from the loaded ones, then rows that came to be, then the vault's."""
        cdef const account_t* account
        cdef int32_t k, a, j
        cdef int i
        cdef row_record_t* to = self.row
        for k in range(r.dirty_n):
            a = r.dirty[k]
            account = &r.accounts[a]
            if account.balance != balance[a]:
                self.account[self.accounts_n] = a
                self.balance[self.accounts_n] = account.balance
                self.accounts_n += 1
            for j in range(account.first_row, account.first_row + account.rows_n):
                if r.rows[j].lots != lots[j] or r.rows[j].basis != basis[j]:
                    row_tell(to, &r.rows[j])
                    to += 1
            if account.flags & HOLDS_COLLATERAL:
                for j in range(r.holding_first[a], r.holding_first[a + 1]):
                    if r.rows[j].lots != lots[j]:
                        row_tell(to, &r.rows[j])
                        to += 1
        for j in range(r.rows_loaded, r.rows_n):
            row_tell(to, &r.rows[j])
            to += 1
        for i in range(r.instruments_n):
            if r.instruments[i].vault_lots != 0 or r.instruments[i].vault_basis != 0:
                to.account = VAULT
                to.instrument = i
                to.slot = 0
                to.lots = r.instruments[i].vault_lots
                to.basis = r.instruments[i].vault_basis
                to += 1
        self.rows_n = to - self.row

    def __getattr__(self, str name):
        """A field of RunData."""
        cdef dict rest
        if name not in RunData.__dataclass_fields__:
            raise AttributeError(name)
        if self.fields is None:
            self.fields = self.scalars()
        if name not in self.fields:
            self.readers += 1
            try:
                rest = self.rest()
            finally:
                self.readers -= 1
            self.fields.update(rest)
            if self.readers == 0:       # all of it has been copied
                self.forget()
        return self.fields[name]

    def __reduce__(self):
        return RunData, tuple([getattr(self, name) for name in RunData.__dataclass_fields__])

    cdef void forget(self) noexcept:
        """Give up what the fields are made from."""
        PyMem_RawFree(self.memory)
        self.memory = NULL
        self.events = self.liquidations = self.flats = self.marks = self.index = None

    cdef dict scalars(self):
        """The fields that RunTotals has."""
        cdef const run_t* r = &self.r
        cdef const instrument_t* ins
        cdef int i
        cdef int32_t k, last_wave = 0
        cdef wide_t shocked = wide_of(0)
        for k in range(r.waves_n):
            if r.waves[k].wave == 0:
                shocked = wide_add(shocked, r.waves[k].notional)
            elif r.waves[k].wave > last_wave:
                last_wave = r.waves[k].wave
        start, low, high, final, known = [], [], [], [], {}
        for i in range(r.instruments_n):
            ins = &r.instruments[i]
            start.append(ins.start_mark)
            low.append(ins.low_mark)
            high.append(ins.high_mark)
            final.append(ins.shadow)
            if ins.known_until >= 0:
                known[i] = ins.known_until
        return {
            "status": self.status,
            "steps": r.step,
            "seq": r.seq + 1,
            "last_wave": last_wave,
            "shock_notional": wide_int(shocked),
            "start_marks": start,
            "low_marks": low,
            "high_marks": high,
            "final_marks": final,
            "known_until": known,
            "fund": wide_int(r.system[FUND]),
            "deficit": wide_int(r.system[DEFICIT]),
            "totals": {
                "notional": wide_int(r.totals.notional),
                "first": wide_int(r.totals.first),
                "higher": wide_int(r.totals.higher),
                "initial": wide_int(r.totals.initial),
                "adl": wide_int(r.totals.adl),
                "socialised": wide_int(r.totals.socialised),
                "takeover": wide_int(r.totals.takeover),
                "accounts": r.totals.accounts,
                "recovered": r.totals.recovered,
                "initially_unhealthy": r.totals.initially_unhealthy,
                "left_accounts": self.left_accounts,
                "dropped_levels": r.totals.dropped_levels,
                "shock_has_order": int(r.shock_has_order),
            },
        }

    cdef dict rest(self):
        """The others."""
        cdef const run_t* r = &self.r
        cdef int i
        cdef int32_t k
        cdef object waves = np.empty(r.waves_n, WAVE_DTYPE)
        notional = []
        for k in range(r.waves_n):
            waves[k] = (r.waves[k].wave, r.waves[k].instrument, r.waves[k].accounts, r.waves[k].lots, r.waves[k].mark)
            notional.append(wide_int(r.waves[k].notional))
        order = np.lexsort((waves["instrument"], waves["wave"])) if r.waves_n > 1 else np.zeros(r.waves_n, np.int64)
        return {
            "time_ns": r.time_ns,
            "events": records_of(self.events, EVENT_DTYPE) if r.record == RECORD_ALL else None,
            "liquidations": records_of(self.liquidations, LIQUIDATION_DTYPE) if r.record != RECORD_SUMMARY else None,
            "mark_changes": self.marks,
            "waves": waves[order],
            "wave_notional": [notional[k] for k in order.tolist()],
            "last": [r.instruments[i].last_ticks for i in range(r.instruments_n)],
            "index_1024": [r.instruments[i].index_1024 for i in range(r.instruments_n)],
            "system_balances": [wide_int(r.system[k]) for k in range(r.first_user)],
            "external": [
                (wide_int(r.instruments[i].external_lots), wide_int(r.instruments[i].external_basis))
                for i in range(r.instruments_n)
            ],
            "settlement": [wide_int(r.instruments[i].settlement_basis) for i in range(r.instruments_n)],
            "haircuts": [RATE_ONE - r.instruments[i].weight for i in range(r.instruments_n)],
            "deposits": wide_int(r.deposits),
            "touched_accounts": table_of(self.account, self.accounts_n, sizeof(int32_t), np.int32),
            "touched_balances": table_of(self.balance, self.accounts_n, sizeof(int64_t), np.int64),
            "touched_rows": table_of(self.row, self.rows_n, sizeof(row_record_t), ROW_DTYPE),
            "flats": self.all_flats(),
        }

    cdef object all_flats(self):
        """Those that were noted one by one, and then the spans'."""
        cdef const run_t* r = &self.r
        cdef const span_t* span
        cdef flat_t* to
        cdef uint8_t[::1] target
        cdef int64_t n = 0, j
        cdef int32_t k
        noted = records_of(self.flats, FLAT_DTYPE)
        for k in range(r.spans_n):
            for j in range(r.spans[k].n):
                n += r.spans[k].singles[j].lots != 0
        if n == 0:
            return noted
        out = np.empty(n, FLAT_DTYPE)
        target = out.view(np.uint8)
        to = <flat_t*>&target[0]
        for k in range(r.spans_n):
            span = &r.spans[k]
            for j in range(span.n):
                if span.singles[j].lots != 0:
                    to.account = span.accounts[j]
                    to.money = span_money(span, &span.singles[j])
                    to.pad = 0
                    to += 1
        return np.concatenate([noted, out])


cdef object mark_changes(const run_t* r):
    """Changes of all marks in order of events."""
    cdef int i
    parts = [table_of(r.history[i], r.history_n[i], sizeof(mark_change_t), MARK_DTYPE) for i in range(r.instruments_n)]
    if len(parts) == 1:
        return parts[0]
    changes = np.concatenate(parts)
    return changes[np.argsort(changes["seq"])]
