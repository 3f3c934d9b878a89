"""The Engine class: one run_t over the columns of a loaded market, run, restored and run again. Included by _core.pyx."""

from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc
from libc.math cimport INFINITY
from libc.stdint cimport INT64_MIN, uint16_t
from libc.string cimport memcpy

from cascade._book cimport book_owner_append, book_place
from cascade._deleverage cimport ranking_build, ranking_drop_top
from cascade._breakers cimport FENCE_TOP_BITS, fence_of, fence_t
from cascade._margin cimport standing_of, standing_t, standing_unhealthy
from cascade._closing cimport wave_row
from cascade._marks cimport mark_value_of
from cascade._outside cimport apply_op, inputs_changed, op_t, pass_time, set_levels, submit_one
from cascade._pool cimport idmap_clear, idmap_free, idmap_init, idmap_put, idmap_reserve, large_pages
from cascade._run cimport (
    DEFICIT,
    EXTERNAL,
    COLLATERAL,
    FUND,
    HAS_EXTRA,
    HOLDS_COLLATERAL,
    INITIAL,
    IN_JOURNAL,
    IS_ISOLATED,
    MODE_ISOLATED,
    NEVER_LIQUIDATED,
    OWNS_ISOLATED,
    RECORD_ALL,
    RECORD_LIQUIDATIONS,
    RECORD_SUMMARY,
    RESTING,
    SETTLEMENT,
    VAULT,
    account_t,
    band_t,
    block_t,
    case_t,
    context_t,
    depth_t,
    event_t,
    growth_t,
    haircut_t,
    instant_t,
    instrument_t,
    journal_t,
    liquidation_t,
    loss_t,
    mark_change_t,
    mark_step_t,
    market_level_t,
    ranking_t,
    resting_t,
    row_t,
    rules_t,
    run_t,
    flat_t,
    single_t,
    sorted_t,
    safe_t,
    scan_group_t,
    terms_t,
    tier_t,
    waiting_t,
    watch,
    wave_t,
)
from cascade._ledger cimport flats_tell
from cascade._safe cimport ROOM32, exposure_of, exposure_t, loss_of, room_of, safe_move
from cascade._step cimport advance, count_left, finish, singles_end
from cascade._trade cimport mark_now
from cascade._types cimport ERR_AUDIT, ERR_CROSSES, ERR_MEMORY
from cascade._uneat cimport book_uneat
from cascade._wide cimport RATE_ONE, wide_add, wide_cmp, wide_high, wide_join, wide_low, wide_of, wide_sub, wide_t

from cascade.errors import AuditError

# Events between two looks for a signal: about a millisecond.
cdef enum:
    SLICE = 16384


cdef wide_t int_wide(object x) except *:
    """A Python int of at most 127 bits as a wide integer."""
    return wide_join(x >> 64, x & 0xFFFFFFFFFFFFFFFF)


cdef void* claim(size_t n, size_t size) except NULL:
    """Zeroed memory for n >= 0 items."""
    cdef void* memory = PyMem_RawCalloc(n if n > 0 else 1, size)
    if memory == NULL:
        raise CapacityError("engine: out of memory")
    large_pages(memory, n * size)
    return memory


cdef void* twin(const void* items, size_t n, size_t room, size_t size) except NULL:
    """A copy of n items in memory for `room`."""
    cdef void* memory = claim(room, size)
    if n > 0:
        memcpy(memory, items, n * size)
    return memory


cdef int begun_bug = 0
cdef int begun_look = 0


def begin_with(int planted_bug, int look):
    """Have runs that begin from now on carry a planted bug, which test builds alone know, and look for untouched accounts in one way, one of
    LOOK_...; what it was before."""
    global begun_bug, begun_look
    before = begun_bug, begun_look
    begun_bug, begun_look = planted_bug, look
    return before


cdef class Engine:
    """The compiled engine over one market under one set of rules.

    `begin` puts it at the start of a run, `release` puts everything that a run changed back; in between it is one state that `apply`,
    `advance`, `submit` and `set_levels` drive. Made by `cascade._engine`, which says what the columns are.
    """

    cdef run_t r
    cdef instrument_t* instruments_loaded
    cdef wide_t* system_loaded
    cdef int64_t* inputs_loaded
    cdef wide_t deposits_loaded
    cdef book_t* books_loaded
    cdef band_t* bands_loaded
    cdef report_t* reports
    cdef int64_t reports_cap
    cdef object __weakref__
    cdef void* spare[LOGS]          # logs that came back from outcomes
    cdef int32_t spare_cap[LOGS]
    cdef object index       # of these, keeps the lists of singles and their accounts
    cdef object columns     # keeps the arrays that run_t and these point into
    cdef const int64_t* balance
    cdef const int64_t* lots
    cdef const int64_t* basis
    cdef object safe        # the same of the index of safe moves and the scan, which copies share
    cdef bint books_stand   # as loaded, or as the run that goes on has made them
    cdef int busy
    cdef bint recounts
    cdef readonly int status
    cdef list idle          # who waits for runs, among whom this one belongs after the run that goes on
    cdef public object clock    # of marks with averages
    cdef public bint cancelled  # from any thread: the run that goes on raises Cancelled, the next one begins without it

    def __dealloc__(self):
        cdef run_t* r = &self.r
        cdef int i
        for i in range(r.instruments_n):
            if r.books != NULL:
                book_free(&r.books[i])
            if self.books_loaded != NULL:
                book_free(&self.books_loaded[i])
            if r.history != NULL:
                PyMem_RawFree(r.history[i])
            if r.instants != NULL:
                PyMem_RawFree(r.instants[i])
            if r.rankings != NULL:
                PyMem_RawFree(r.rankings[2 * i].items)
                PyMem_RawFree(r.rankings[2 * i + 1].items)
            if r.depths != NULL:
                PyMem_RawFree(r.depths[2 * i].levels)
                PyMem_RawFree(r.depths[2 * i + 1].levels)
        for memory in (
            <size_t>r.terms, <size_t>r.tiers, <size_t>r.instruments, <size_t>r.books, <size_t>r.accounts, <size_t>r.rows,
            <size_t>r.system, <size_t>r.events, <size_t>r.history, <size_t>r.history_n,
            <size_t>r.history_cap, <size_t>r.liquidations, <size_t>r.contexts, <size_t>r.waves, <size_t>r.journal,
            <size_t>r.resting, <size_t>r.scan_until, <size_t>r.growth, <size_t>r.watched, <size_t>r.dirty, <size_t>r.debtors, <size_t>r.cases,
            <size_t>r.found, <size_t>r.line, <size_t>r.heap, <size_t>r.rankings, <size_t>r.touched, <size_t>r.taken,
            <size_t>r.scratch, <size_t>r.shares, <size_t>self.instruments_loaded, <size_t>self.system_loaded,
            <size_t>self.books_loaded, <size_t>self.reports, <size_t>r.program, <size_t>r.weights, <size_t>r.inputs,
            <size_t>self.inputs_loaded, <size_t>r.bands, <size_t>self.bands_loaded, <size_t>r.levels,
            <size_t>r.instants, <size_t>r.instants_n, <size_t>r.instants_cap, <size_t>r.holding_first,
            <size_t>r.haircuts, <size_t>r.flats, <size_t>r.spans, <size_t>r.batch, <size_t>r.depths, <size_t>r.extra_first,
            <size_t>r.extra_next, <size_t>r.journalled,
            <size_t>self.spare[LOG_EVENTS], <size_t>self.spare[LOG_LIQUIDATIONS], <size_t>self.spare[LOG_FLATS],
        ):
            PyMem_RawFree(<void*><size_t>memory)
        idmap_free(&r.wave_index)

    # -- loading -----------------------------------------------------------------------------------------------------
    def load(self, columns):
        """Take in a market: see `cascade._engine.columns_of` for the names and dtypes."""
        self.columns = columns
        self.load_instruments()
        self.load_accounts()
        self.load_rules(columns["rules"], columns["residual"], columns["shortfall"])
        self.load_breakers(columns["bands"], columns["levels"])
        for i, (order_id, side, price, lots, owner, worst_first, owned) in enumerate(columns["orders"]):
            self.load_orders(i, order_id, side, price, lots, owner, worst_first, owned)
        self.load_program()
        self.load_triggers()
        self.load_standing()

    cdef int load_instruments(self) except -1:
        cdef run_t* r = &self.r
        cdef const int64_t[:, ::1] terms = self.columns["terms"], tiers = self.columns["tiers"], prices = self.columns["prices"]
        cdef const uint8_t[::1] jumps = self.columns["jumps"]
        cdef int i, n = <int>terms.shape[0]
        cdef int64_t k
        r.terms = <terms_t*>claim(n, sizeof(terms_t))
        r.tiers = <tier_t*>claim(tiers.shape[0], sizeof(tier_t))
        r.instruments = <instrument_t*>claim(n, sizeof(instrument_t))
        r.books = <book_t*>claim(n, sizeof(book_t))
        r.books_loaded = self.books_loaded = <book_t*>claim(n, sizeof(book_t))
        r.depths = <depth_t*>claim(2 * n, sizeof(depth_t))
        r.history = <mark_change_t**>claim(n, sizeof(void*))
        r.history_n = <int32_t*>claim(n, sizeof(int32_t))
        r.history_cap = <int32_t*>claim(n, sizeof(int32_t))
        r.rankings = <ranking_t*>claim(2 * n, sizeof(ranking_t))
        self.instruments_loaded = <instrument_t*>claim(n, sizeof(instrument_t))
        r.system = <wide_t*>claim(SETTLEMENT + n, sizeof(wide_t))
        self.system_loaded = <wide_t*>claim(SETTLEMENT + n, sizeof(wide_t))
        idmap_init(&r.wave_index)
        r.instruments_n = n
        r.first_user = SETTLEMENT + n
        for i in range(n):
            book_init(&r.books[i])
            book_init(&self.books_loaded[i])
            r.terms[i].contract = <int>terms[i, 0]
            r.terms[i].coef_num = terms[i, 1]
            r.terms[i].coef_den = terms[i, 2]
            r.terms[i].taker_fee = terms[i, 3]
            r.terms[i].maker_fee = terms[i, 4]
            r.terms[i].liquidation_fee = terms[i, 5]
            r.terms[i].tier_first = <int32_t>terms[i, 6]
            r.terms[i].tiers_n = <int32_t>terms[i, 7]
            r.terms[i].slope_num = terms[i, 8]
            r.terms[i].slope_den = terms[i, 9]
            r.terms[i].closing_fee = terms[i, 10]
            r.terms[i].jumps = jumps[i]
            for k in range(r.terms[i].tier_first, r.terms[i].tier_first + r.terms[i].tiers_n):
                r.terms[i].steepest = max(r.terms[i].steepest, <double>tiers[k, 1] / <double>tiers[k, 2])
            r.instruments[i].last_ticks = prices[i, 0]
            r.instruments[i].index_1024 = prices[i, 1]
            r.instruments[i].known_bid = prices[i, 2]
            r.instruments[i].known_ask = prices[i, 3]
            r.instruments[i].known_until = -1
            r.instruments[i].window_check = -2
            r.instruments[i].counted_wave = -1
        for k in range(tiers.shape[0]):
            r.tiers[k].floor_quanta = tiers[k, 0]
            r.tiers[k].rate = tiers[k, 1]
            r.tiers[k].one = tiers[k, 2]
            r.tiers[k].amount_quanta = tiers[k, 3]
        return 0

    cdef int load_accounts(self) except -1:
        """Accounts, rows, the external account as their counterparty, fund and vault."""
        cdef run_t* r = &self.r
        cdef const uint8_t[::1] mode = self.columns["mode"], slot = self.columns["slot"]
        cdef const uint8_t[:] flags = self.columns["flags"]
        cdef const int32_t[::1] parent = self.columns["parent"], row_account = self.columns["row_account"]
        cdef const int64_t[::1] balance = self.columns["balance"], lots = self.columns["lots"], basis = self.columns["basis"]
        cdef const uint16_t[::1] instrument = self.columns["row_instrument"]
        cdef const int64_t[::1] weight = self.columns["weight"]
        cdef int64_t a, k, n = mode.shape[0], rows = lots.shape[0], positions = self.columns["positions"]
        cdef account_t* account
        cdef instrument_t* ins
        self.balance = &balance[0]
        if rows > 0:
            self.lots = &lots[0]
            self.basis = &basis[0]
        r.accounts_n = <int32_t>n
        r.accounts = <account_t*>claim(n, sizeof(account_t))
        r.parents = &parent[0]
        r.rows = <row_t*>claim(rows, sizeof(row_t))
        r.rows_n = r.rows_loaded = r.rows_cap = <int32_t>rows
        r.deposits = wide_of(0)
        k = 0
        for a in range(n):
            account = &r.accounts[a]
            account.flags = flags[a] | (IS_ISOLATED if mode[a] == MODE_ISOLATED else 0)
            account.balance = balance[a]
            account.turn_case = -1
            r.deposits = wide_add(r.deposits, wide_of(balance[a]))
            if k < positions and row_account[k] == a:   # rows go by account
                account.first_row = <int32_t>k
                while k < positions and row_account[k] == a:
                    k += 1
                account.rows_n = <uint16_t>(k - account.first_row)
        for a in range(n):
            if parent[a] >= 0:
                r.accounts[parent[a]].flags |= OWNS_ISOLATED
        for k in range(rows):
            r.rows[k].account = row_account[k]
            r.rows[k].instrument = instrument[k]
            r.rows[k].slot = slot[k]
            r.rows[k].lots = lots[k]
            r.rows[k].basis = basis[k]
            if k >= positions:
                r.accounts[row_account[k]].flags |= HOLDS_COLLATERAL
            ins = &r.instruments[instrument[k]]
            ins.external_lots = wide_sub(ins.external_lots, wide_of(lots[k]))
            ins.external_basis = wide_sub(ins.external_basis, wide_of(basis[k]))
        if positions < rows:
            r.holding_first = <int32_t*>claim(n + 1, sizeof(int32_t))
            k = positions
            for a in range(n + 1):
                while k < rows and row_account[k] < a:
                    k += 1
                r.holding_first[a] = <int32_t>k
        for k in range(r.instruments_n):
            r.instruments[k].weight = weight[k]
        r.system[FUND] = r.fund_start = int_wide(self.columns["fund"])
        r.system[VAULT] = int_wide(self.columns["vault"])
        r.deposits = wide_add(r.deposits, wide_add(r.system[FUND], r.system[VAULT]))
        r.sum_money = r.deposits
        return 0

    cdef int load_rules(self, object rules, object residual, object shortfall) except -1:
        """`rules`: the codes by the names of rules_t."""
        cdef rules_t* to = &self.r.rules
        cdef int k
        to.mark = rules["mark"]
        to.queue = rules["queue"]
        to.position_order = rules["position_order"]
        to.adl_rank = rules["adl_rank"]
        to.adl_price = rules["adl_price"]
        to.continuous = rules["continuous"]
        to.trigger_le = rules["trigger_le"]
        to.cancel_orders = rules["cancel_orders"]
        to.funding_at_index = rules["funding_at_index"]
        to.capacity = rules["capacity"]
        to.maintenance_on_entry = rules["maintenance_on_entry"]
        to.maintenance_fee = rules["maintenance_fee"]
        to.bankruptcy_fee = rules["bankruptcy_fee"]
        to.share_by_maintenance = rules["share_by_maintenance"]
        self.load_turns(rules)
        for k in range(len(residual)):
            to.residual[k] = residual[k]
        to.residual_n = len(residual)
        for k in range(len(shortfall)):
            to.shortfall[k] = shortfall[k]
        to.shortfall_n = len(shortfall)
        return 0

    cdef int load_turns(self, object rules) except -1:
        """Stages, parts of positions, limits."""
        cdef rules_t* to = &self.r.rules
        to.size = rules["size"]
        to.order_price = rules["order_price"]
        to.surplus = rules["surplus"]
        to.fee_to = rules["fee_to"]
        to.order_fok = rules["order_fok"]
        to.fee_on_improvement = rules["fee_on_improvement"]
        to.socialise_by_profit = rules["socialise_by_profit"]
        to.then_whole = rules["then_whole"]
        to.adl_overlap = rules["adl_overlap"]
        to.adl_negative_only = rules["adl_negative_only"]
        to.first_tier_whole = rules["first_tier_whole"]
        to.offset_hedges = rules["offset_hedges"]
        to.sell_collateral_first = rules["sell_collateral_first"]
        to.vault_below_num = rules["vault_below_num"]
        to.vault_below_den = rules["vault_below_den"]
        to.adl_below_num = rules["adl_below_num"]
        to.adl_below_den = rules["adl_below_den"]
        to.size_fraction = rules["size_fraction"]
        to.size_above = rules["size_above"]
        to.size_minimum = rules["size_minimum"]
        to.size_steps = rules["size_steps"]
        to.size_buffer = rules["size_buffer"]
        to.cooldown_ns = rules["cooldown_ns"]
        to.fillable_adjustment = rules["fillable_adjustment"]
        to.fillable_spread = rules["fillable_spread"]
        to.fund_stop_above = rules["fund_stop_above"]
        to.fund_per_step = rules["fund_per_step"]
        to.notional_per_step = rules["notional_per_step"]
        to.vault_cap = rules["vault_cap"]
        to.adl_price_band = rules["adl_price_band"]
        to.fund_stops = rules["fund_stops"]
        to.fund_stays = int_wide(rules["fund_stays"])
        to.fund_resumes = int_wide(rules["fund_resumes"])
        return 0

    cdef int load_breakers(self, const int64_t[:, ::1] bands, const int64_t[:, ::1] levels) except -1:
        """Rows of breakers.BandTerms behind their instrument, in order of instruments; rows of breakers.LevelTerms."""
        cdef run_t* r = &self.r
        cdef band_t* b
        cdef instrument_t* ins
        cdef int64_t k, bands_n = bands.shape[0], n = r.instruments_n
        r.bands = <band_t*>claim(bands_n, sizeof(band_t))
        r.levels = <market_level_t*>claim(levels.shape[0], sizeof(market_level_t))
        r.instants = <instant_t**>claim(n, sizeof(void*))
        r.instants_n = <int32_t*>claim(n, sizeof(int32_t))
        r.instants_cap = <int32_t*>claim(n, sizeof(int32_t))
        r.bands_n = <int32_t>bands_n
        r.levels_n = <int32_t>levels.shape[0]
        r.rules.breakers = bands_n + levels.shape[0] > 0
        for k in range(n):
            r.instruments[k].high_fence = (<int64_t>1 << FENCE_TOP_BITS) - 1
            r.instruments[k].low_by = r.instruments[k].high_by = -1
            r.instruments[k].halt_seq = -1
        for k in range(bands_n):
            b = &r.bands[k]
            ins = &r.instruments[bands[k, 0]]
            if ins.bands_n == 0:
                ins.bands_first = <int32_t>k
            ins.bands_n += 1
            b.breaker = <int>bands[k, 1]
            b.kind = <int>bands[k, 2]
            b.rate = bands[k, 3]
            b.amount = bands[k, 4]
            b.rounding = <int>bands[k, 5]
            b.sides = <int>bands[k, 6]
            b.window = bands[k, 7]
            b.renew = bands[k, 8]
            b.limit = bands[k, 9]
            b.halt = bands[k, 10]
            b.recentre = bands[k, 11]
            b.anchor = b.mean = bands[k, 12]
            b.limit_cause = -1
            ins.has_windows = ins.has_windows or b.window > 0
        for k in range(levels.shape[0]):
            r.levels[k].breaker = <int32_t>levels[k, 0]
            r.levels[k].instrument = <int32_t>levels[k, 1]
            r.levels[k].kind = <int>levels[k, 2]
            r.levels[k].threshold = levels[k, 3]
            r.levels[k].halt = levels[k, 4]
        self.bands_loaded = <band_t*>twin(r.bands, bands_n, bands_n, sizeof(band_t))
        return 0

    cdef int load_orders(
        self, int i, const uint64_t[::1] order_id, const int8_t[::1] side, const int64_t[::1] price, const int64_t[::1] lots,
        const int32_t[::1] owner, const int64_t[::1] worst_first, const int64_t[::1] owned
    ) except -1:
        """Rest the orders of one instrument. `worst_first` goes by price (which moves least in the book's arrays) and age, `owned` names
        the accounts' orders by age."""
        cdef book_t* book = &self.books_loaded[i]
        cdef int64_t k, n = order_id.shape[0], j
        cdef int64_t h
        cdef int64_t[::1] handle = np.empty(n, np.int64)
        raise_status(book_reserve(book, n))
        for j in range(n):
            k = worst_first[j]
            h = book_place(
                book, BID if side[k] > 0 else ASK, price[k], lots[k], owner[k], order_id[k],
                ORDER_EXTERNAL if owner[k] == EXTERNAL else 0,
            )
            if h < 0:
                raise_status(<int>h)
            handle[k] = h
        for j in range(owned.shape[0]):
            book_owner_append(book, <uint32_t>handle[owned[j]])
        raise_status(book_copy(&self.r.books[i], book))
        self.r.instruments[i].book_external = owned.shape[0] == 0
        return 0

    cdef int load_program(self) except -1:
        """The mark as a program, and what it looks at."""
        cdef run_t* r = &self.r
        cdef const int64_t[:, ::1] program = self.columns["program"], inputs = self.columns["inputs"]
        cdef const int64_t[::1] weights = self.columns["weights"]
        cdef int64_t k, n = inputs.shape[0] * inputs.shape[1]
        r.program_n = <int32_t>program.shape[0]
        r.mark_steps = self.columns["pieces"][0][1] if r.program_n else 0
        r.program = <mark_step_t*>claim(r.program_n, sizeof(mark_step_t))
        for k in range(r.program_n):
            r.program[k].code = <int>program[k, 0]
            r.program[k].inputs = <int>program[k, 1]
            r.program[k].argument = <int>program[k, 2]
            r.program[k].flags = <int>program[k, 3]
        r.weights_n = <int32_t>weights.shape[0]
        r.weights = <int64_t*>claim(r.weights_n, sizeof(int64_t))
        for k in range(r.weights_n):
            r.weights[k] = weights[k]
        r.inputs_n = <int32_t>inputs.shape[1]
        r.externals_n = self.columns["externals"]
        r.inputs = <int64_t*>claim(n, sizeof(int64_t))
        if n > 0:
            memcpy(r.inputs, &inputs[0, 0], n * sizeof(int64_t))
        self.inputs_loaded = <int64_t*>twin(r.inputs, n, n, sizeof(int64_t))
        return 0

    cdef int load_triggers(self) except -1:
        """Who waits in the index by trigger price, and who owes money."""
        cdef run_t* r = &self.r
        cdef const int64_t[::1] trigger
        cdef const int32_t[::1] account
        cdef const int64_t[:, ::1] single, block
        cdef int i
        cdef int64_t k
        for i in range(r.instruments_n):
            trigger, account = self.columns["long_trigger"][i], self.columns["long_account"][i]
            single = self.columns["long_single"][i]
            r.instruments[i].long_n = <int32_t>trigger.shape[0]
            if trigger.shape[0]:
                r.instruments[i].long_trigger = &trigger[0]
                r.instruments[i].long_account = &account[0]
                r.instruments[i].long_single = <const single_t*>&single[0, 0]
            block = self.columns["long_block"][i]
            if block.shape[0]:
                r.instruments[i].long_block = <const block_t*>&block[0, 0]
            trigger, account = self.columns["short_trigger"][i], self.columns["short_account"][i]
            single = self.columns["short_single"][i]
            r.instruments[i].short_n = <int32_t>trigger.shape[0]
            if trigger.shape[0]:
                r.instruments[i].short_trigger = &trigger[0]
                r.instruments[i].short_account = &account[0]
                r.instruments[i].short_single = <const single_t*>&single[0, 0]
            block = self.columns["short_block"][i]
            if block.shape[0]:
                r.instruments[i].short_block = <const block_t*>&block[0, 0]
            r.instruments[i].long_least, r.instruments[i].long_others = self.columns["long_plain"][i]
            r.instruments[i].short_least, r.instruments[i].short_others = self.columns["short_plain"][i]
        self.index = tuple([self.columns[name] for name in ("long_single", "long_account", "short_single", "short_account")])
        account = self.columns["debtors"]
        r.debtors = <int32_t*>claim(account.shape[0], sizeof(int32_t))
        r.debtors_n = <int32_t>account.shape[0]
        for k in range(account.shape[0]):
            r.debtors[k] = account[k]
        return 0

    cdef int load_standing(self) except -1:
        """Marks as loaded, who is unhealthy at them, and a copy of all that `reset` needs."""
        cdef run_t* r = &self.r
        cdef int32_t k
        cdef int64_t unhealthy
        cdef int i
        cdef instrument_t* ins
        for i in range(r.instruments_n):
            ins = &r.instruments[i]
            ins.shadow = ins.mark = ins.previous_mark = ins.start_mark = ins.low_mark = ins.high_mark = mark_now(r, i)
            ins.checked_mark = ins.mark
            ins.long_stand = ins.short_stand = INT64_MIN
            r.rankings[2 * i].epoch = r.rankings[2 * i + 1].epoch = -1
        for i in range(r.instruments_n):
            ins = &r.instruments[i]
            unhealthy = r.totals.initially_unhealthy
            for k in range(ins.long_n):
                if ins.long_trigger[k] < ins.mark:
                    break
                self.note_initial(ins.long_account[k])
            if r.totals.initially_unhealthy == unhealthy:
                ins.long_stand = ins.mark
            unhealthy = r.totals.initially_unhealthy
            for k in range(ins.short_n):
                if ins.short_trigger[k] > ins.mark:
                    break
                self.note_initial(ins.short_account[k])
            if r.totals.initially_unhealthy == unhealthy:
                ins.short_stand = ins.mark
        for k in range(r.debtors_n):
            self.note_initial(r.debtors[k])
        self.load_safe()
        r.initial_n = <int32_t>r.totals.initially_unhealthy
        memcpy(self.instruments_loaded, r.instruments, r.instruments_n * sizeof(instrument_t))
        memcpy(self.system_loaded, r.system, r.first_user * sizeof(wide_t))
        self.deposits_loaded = r.deposits
        self.books_stand = True
        return 0

    cdef standing_t note_initial(self, int32_t a) noexcept:
        """The standing, as loaded, of somebody whom a check would look at; whether that is unhealthy is noted."""
        cdef run_t* r = &self.r
        cdef standing_t s = standing_of(r, a)
        if standing_unhealthy(r, &s) and not r.accounts[a].flags & NEVER_LIQUIDATED:
            r.accounts[a].state |= INITIAL
            r.totals.initially_unhealthy += 1
        return s

    cdef int load_safe(self) except -1:
        """Of those whom no one trigger price holds: who is unhealthy as loaded, the scan's bounds of losses, the index of safe moves."""
        cdef run_t* r = &self.r
        loaded = np.asarray(self.columns["scanned"])
        cdef const int32_t[::1] account = loaded
        cdef int64_t k, n = account.shape[0], j, e = 0
        cdef int32_t a
        r.scan_until = <float*>claim(n, sizeof(float))
        r.growth = <growth_t*>claim(r.instruments_n, sizeof(growth_t))
        if n == 0:
            return 0
        rows_n = np.empty(n, np.uint16)
        cdef uint16_t[::1] rows = rows_n
        for k in range(n):
            rows[k] = r.accounts[account[k]].rows_n
        sizes, counts = np.unique(rows_n, return_counts=True)
        groups = np.ascontiguousarray(np.column_stack([sizes, counts]), np.int32)
        account = loaded = np.ascontiguousarray(loaded[np.argsort(rows_n, kind="stable")])
        losses = np.empty(int(sizes.astype(np.int64) @ counts) * sizeof(loss_t), np.uint8)
        rooms, moves, sides = np.empty(n, np.float32), np.empty(n, np.float32), np.zeros(r.rows_n, np.uint8)
        cdef const int32_t[:, ::1] group = groups
        cdef uint8_t[::1] loss_bytes = losses, side = sides
        cdef float[::1] room = rooms, move = moves
        cdef loss_t* loss = <loss_t*>&loss_bytes[0]
        cdef standing_t s
        cdef exposure_t x
        cdef double slack, notional
        cdef row_t* row
        for k in range(n):
            a = account[k]
            s = self.note_initial(a)
            slack = 1
            notional = 0
            for j in range(r.accounts[a].first_row, r.accounts[a].first_row + r.accounts[a].rows_n):
                row = &r.rows[j]
                x = exposure_of(r, row, r.instruments[row.instrument].mark)
                loss[e] = loss_of(&x, row.instrument)
                if row.lots == 0:
                    loss[e].shrinks = loss[e].grows = 0
                else:
                    side[j] = 3 if x.both else 1 if row.lots > 0 else 2
                    slack += x.slack
                    notional += x.notional
                    if r.terms[row.instrument].jumps and not r.rules.maintenance_on_entry:
                        slack = INFINITY
                e += 1
            if s.flat:  # whoever it is has to be reached somehow
                side[r.accounts[a].first_row] = 1
            room[k] = room_of(&s, slack, notional)
            move[k] = <float>(safe_move(r, a, &s) * (1 - ROOM32)) if not s.flat else 0
        r.scan_n = <int32_t>n
        r.scan_groups_n = <int32_t>len(sizes)
        r.scan_groups = <const scan_group_t*>&group[0, 0]
        r.scan_room = &room[0]
        r.scan_account = &account[0]
        r.scan_losses = loss
        self.safe = groups, rooms, loaded, losses, self.load_moves(loaded, moves, sides)
        return 0

    cdef object load_moves(self, const int32_t[::1] account, object moves, const uint8_t[::1] side):
        """The index: for each instrument and side its accounts, those first that stand the smallest moves. What holds it."""
        cdef run_t* r = &self.r
        cdef const float[::1] move = moves
        cdef const int64_t[::1] order = np.argsort(moves, kind="stable").astype(np.int64, copy=False)
        cdef int64_t k, j, at
        cdef int32_t a
        cdef int i
        at_first = np.zeros(2 * r.instruments_n + 1, np.int64)
        cdef int64_t[::1] first = at_first
        for j in range(r.rows_n):
            first[2 * r.rows[j].instrument + 1] += side[j] & 1
            first[2 * r.rows[j].instrument + 2] += side[j] >> 1
        at_first = np.cumsum(at_first)
        entries = np.empty(int(at_first[2 * r.instruments_n]) * sizeof(safe_t), np.uint8)
        cdef uint8_t[::1] entry_bytes = entries
        cdef safe_t* entry = <safe_t*>&entry_bytes[0]
        first = at_first
        for i in range(r.instruments_n):
            r.instruments[i].falls = entry + first[2 * i]
            r.instruments[i].falls_n = <int32_t>(first[2 * i + 1] - first[2 * i])
            r.instruments[i].rises = entry + first[2 * i + 1]
            r.instruments[i].rises_n = <int32_t>(first[2 * i + 2] - first[2 * i + 1])
        for k in range(order.shape[0]):
            a = account[order[k]]
            for j in range(r.accounts[a].first_row, r.accounts[a].first_row + r.accounts[a].rows_n):
                for i in range(2 * r.rows[j].instrument, 2 * r.rows[j].instrument + 2):
                    if side[j] >> (i & 1) & 1:
                        at = first[i]
                        entry[at].move = move[order[k]]
                        entry[at].account = a
                        first[i] = at + 1
        return entries

    # -- a run -------------------------------------------------------------------------------------------------------
    def begin(self, list idle, str record not None, str audit not None, max_waves):
        """At the start of a run, with arguments of `Market.run`; the engine belongs into `idle` after it."""
        self.start(idle, record, audit, max_waves)

    cdef int start(self, list idle, str record, str audit, max_waves) except -1:
        cdef run_t* r = &self.r
        cdef int32_t k
        self.idle = idle
        self.cancelled = False
        self.clock = None
        self.recounts = audit == "full"
        r.record = RECORD_SUMMARY if record == "summary" else RECORD_ALL if record == "all" else RECORD_LIQUIDATIONS
        r.rules.max_waves = INT64_MAX if max_waves is None else max_waves
        r.remember_marks = r.record != RECORD_SUMMARY or r.rules.continuous
        if r.remember_marks and r.journalled == NULL:
            r.journalled = <int32_t*>claim(r.accounts_n, sizeof(int32_t))
        r.planted_bug = begun_bug
        r.look = begun_look
        if r.record == RECORD_ALL:
            self.take_spare(LOG_EVENTS, <void**>&r.events, &r.events_cap)
        if r.record != RECORD_SUMMARY:
            self.take_spare(LOG_LIQUIDATIONS, <void**>&r.liquidations, &r.liquidations_cap)
        self.take_spare(LOG_FLATS, <void**>&r.flats, &r.flats_cap)
        r.seq = r.check_seq = r.looked_version = -1
        r.served = -1
        r.singles_n = r.batched_n = r.ranged_n = r.summed_n = r.several_n = r.leaps = 0
        r.settled = True
        self.status = 0
        for k in range(r.instruments_n):
            self.wave_zero(k)
        for k in range(r.debtors_n):
            watch(r, r.debtors[k])
        self.check_error()
        return 0

    cdef bint take_back(self, int which, void* items, int32_t cap) noexcept:
        """Memory of a log, for the run after the next `begin`; False if there is some already. Another run may go on meanwhile."""
        if self.spare[which] != NULL:
            return False
        self.spare[which] = items
        self.spare_cap[which] = cap
        return True

    cdef void take_spare(self, int which, void** items, int32_t* cap) noexcept:
        """Before a run: memory that came back."""
        if items[0] == NULL and self.spare[which] != NULL:
            items[0] = self.spare[which]
            cap[0] = self.spare_cap[which]
            self.spare[which] = NULL

    cdef int wave_zero(self, int i) except -1:
        cdef wave_t* w = wave_row(&self.r, 0, i)
        if w != NULL:
            w.mark = self.r.instruments[i].shadow
        return 0

    def apply(self, const uint8_t[::1] ops not None):
        """Apply the compiled operations of a shock (shocks.OP_DTYPE as bytes)."""
        cdef const op_t* op
        cdef int64_t k, n = ops.shape[0] // sizeof(op_t)
        self.enter()
        try:
            if n:
                op = <const op_t*>&ops[0]
                with nogil:
                    singles_end(&self.r)
                    for k in range(n):
                        apply_op(&self.r, &op[k])
            self.check_error()
        finally:
            self.leave()

    def advance(self, bint one_step):
        """To the end of the run, or of one step. True while another step could change something."""
        cdef bint more
        self.enter()
        try:
            while True:
                with nogil:
                    more = advance(&self.r, SLICE, one_step)
                self.check_error()
                PyErr_CheckSignals()
                if self.cancelled:
                    raise Cancelled("run: cancelled")
                if not more or (one_step and not self.r.in_step):
                    return more
        finally:
            self.leave()

    cdef int run(self, ops) except -1:
        """`apply`, `advance` to the end and `finish`: one stay outside the GIL where the run is short."""
        cdef run_t* r = &self.r
        cdef bytes packed = ops.tobytes()
        cdef const op_t* op = <const op_t*><const char*>packed  # which is packed
        cdef int64_t k = 0, n = len(packed) // sizeof(op_t)
        cdef bint more = True
        if not cascade_flag_take(&self.busy):
            raise EngineStateError("engine: another thread is inside; copy the simulation to run it twice")
        try:
            while more:
                with nogil:
                    if not self.books_stand and self.restore_books() != OK:
                        r.error = ERR_MEMORY
                    while k < n and r.error == 0:
                        apply_op(r, &op[k])
                        k += 1
                    more = advance(r, SLICE, False)
                    if not more and r.error == 0:
                        self.status = finish(r)
                self.check_error()
                PyErr_CheckSignals()
                if self.cancelled:
                    raise Cancelled("run: cancelled")
            self.recount()
            return 0
        finally:
            self.leave()

    def finish(self):
        """Name the end and record it."""
        self.enter()
        try:
            with nogil:
                self.status = finish(&self.r)
            self.check_error()
            self.recount()
        finally:
            self.leave()

    cdef int recount(self) except -1:
        """The audit over every account and row, where it is wanted."""
        cdef run_t* r = &self.r
        cdef wide_t money = wide_of(0)
        cdef int32_t k
        cdef int i
        if not self.recounts:
            return 0
        flats_tell(r)
        lots = [wide_int(r.instruments[i].external_lots) + r.instruments[i].vault_lots for i in range(r.instruments_n)]
        basis = [
            wide_int(r.instruments[i].external_basis)
            + wide_int(r.instruments[i].settlement_basis)
            + r.instruments[i].vault_basis
            for i in range(r.instruments_n)
        ]
        for k in range(r.rows_n):
            lots[r.rows[k].instrument] += r.rows[k].lots
            basis[r.rows[k].instrument] += r.rows[k].basis
            if r.rows[k].lots == 0 and r.rows[k].basis != 0:
                raise AuditError(f"account {r.rows[k].account} is flat with a basis of {r.rows[k].basis} quanta")
            if r.rows[k].slot == COLLATERAL and (r.rows[k].lots < 0 or r.rows[k].basis != 0):
                raise AuditError(f"account {r.rows[k].account} owes collateral, or has a basis in it")
        for k in range(r.first_user):
            money = wide_add(money, r.system[k])
        for k in range(r.first_user, r.accounts_n):
            money = wide_add(money, wide_of(r.accounts[k].balance))
        if any(lots) or any(basis) or wide_cmp(money, r.deposits) != 0:
            raise AuditError(f"recount: lots {lots}, basis {basis}, money {wide_int(money)} of {wide_int(r.deposits)}")
        for i in range(r.instruments_n):
            if not book_check(&r.books[i]):
                raise AuditError(f"the book of instrument {i} is inconsistent")
        return 0

    def submit(self, int i, const uint8_t[::1] orders not None):
        """Deal with messages (ORDER_DTYPE as bytes) to one book; the reports."""
        cdef run_t* r = &self.r
        cdef const order_msg_t* m
        cdef int64_t k, n = orders.shape[0] // sizeof(order_msg_t), want
        cdef sink_t sink
        cdef void* grown
        cdef order_msg_t one
        self.enter()
        try:
            singles_end(r)
            sink_fix(&sink, self.reports, self.reports_cap)
            for k in range(n):
                m = <const order_msg_t*>&orders[0] + k
                one = m[0]
                # An ACK or MODIFIED, a TRADE with every resting order, a CANCELLED.
                want = sink.n + book_count(&r.books[i]) + 3
                if want > sink.cap:
                    grown = PyMem_RawRealloc(self.reports, <size_t>(2 * want) * sizeof(report_t))
                    if grown == NULL:
                        raise CapacityError(f"submit: no memory for the reports of message {k}")
                    self.reports = <report_t*>grown
                    self.reports_cap = 2 * want
                    sink.reports = self.reports
                    sink.cap = self.reports_cap
                submit_one(r, i, &one, k, &sink)
                self.check_error()
            return table_of(self.reports, sink.n, sizeof(report_t), REPORT_DTYPE)
        finally:
            self.leave()

    def set_levels(self, int i, int side, const int64_t[::1] prices not None, const int64_t[::1] lots not None):
        """Set external levels of one side absolutely."""
        cdef int64_t bad = -1, n = prices.shape[0]
        cdef int status
        self.enter()
        try:
            if n == 0:
                return
            singles_end(&self.r)
            status = set_levels(&self.r, i, BID if side > 0 else ASK, &prices[0], &lots[0], n, &bad)
            if status == ERR_CROSSES:
                raise InputError(
                    f"levels['prices'][{bad}] = {prices[bad]}: must not cross the external levels of the other side"
                )
            self.check_error()
        finally:
            self.leave()

    def advance_ns(self, int64_t dt):
        """Let time pass: halts begin and end."""
        self.enter()
        try:
            with nogil:
                singles_end(&self.r)
                pass_time(&self.r, dt)
            self.check_error()
        finally:
            self.leave()

    def samples(self):
        """What the mark's averages look at: for each instrument the values of the program's pieces after the first, 0 where missing."""
        cdef int i
        return [
            [mark_value_of(&self.r, i, first, last) for first, last in self.columns["pieces"][1:]]
            for i in range(self.r.instruments_n)
        ]

    def external(self):
        """External prices as they stand, 1/1024 ticks by instrument and name."""
        cdef run_t* r = &self.r
        cdef int i, k
        out = np.empty((r.instruments_n, r.externals_n), np.int64)
        cdef int64_t[:, ::1] to = out
        for i in range(r.instruments_n):
            for k in range(r.externals_n):
                to[i, k] = r.inputs[i * r.inputs_n + k]
        return out

    def set_inputs(self, const int64_t[:, ::1] inputs not None):
        """Time has changed what the mark looks at; the shadow marks follow."""
        cdef run_t* r = &self.r
        self.enter()
        try:
            memcpy(r.inputs, &inputs[0, 0], <size_t>r.instruments_n * r.inputs_n * sizeof(int64_t))
            with nogil:
                singles_end(r)
                inputs_changed(r)
            self.check_error()
        finally:
            self.leave()

    cdef int enter(self) except -1:
        if not cascade_flag_take(&self.busy):
            raise EngineStateError("engine: another thread is inside; copy the simulation to run it twice")
        if not self.books_stand and self.restore_books() != OK:
            self.leave()
            raise CapacityError("engine: out of memory")
        return 0

    cdef void leave(self) noexcept:
        cascade_flag_give(&self.busy)

    cdef int check_error(self) except -1:
        """The exception of a void run."""
        cdef run_t* r = &self.r
        if r.error == 0:
            return 0
        if r.error == ERR_AUDIT:
            raise AuditError(f"event {r.seq}: contracts, basis or money are not conserved, or a book is crossed")
        if r.error == ERR_RANGE:
            raise RangeError(f"event {r.seq}: a balance or position exceeds 64 bits")
        raise CapacityError(f"event {r.seq}: out of memory")

    cdef int restore_books(self) noexcept nogil:
        """Books as loaded again, where the run before changed them."""
        cdef run_t* r = &self.r
        cdef instrument_t* ins
        cdef int i
        for i in range(r.instruments_n):
            ins = &r.instruments[i]
            if ins.book_dirty:
                if book_copy(&r.books[i], &self.books_loaded[i]) != OK:
                    return ERR_MEMORY
            elif ins.book_eaten:
                book_uneat(&r.books[i], &self.books_loaded[i])
            ins.book_dirty = ins.book_eaten = False
        self.books_stand = True
        return OK

    def through(self, ops):
        """A whole run from `begin` on: `apply`, steps to the end, `finish`, `outcome`."""
        return self.whole(ops)

    cdef Outcome whole(self, ops):
        cdef Outcome out = Outcome.__new__(Outcome)
        self.run(ops)
        out.take(self, &self.r, self.status, self.balance, self.lots, self.basis)
        return out

    # -- after a run -------------------------------------------------------------------------------------------------
    def release(self):
        """Put the engine back as loaded, and where it came from, for the next run."""
        self.put_back()

    cdef int put_back(self) except -1:
        cdef list idle = self.idle
        self.idle = None
        if self.reset() and idle is not None:
            idle.append(self)
        return 0

    cdef bint reset(self) except -1:
        """Put everything back as loaded. False if that is impossible: the journal could not be kept, make a new engine."""
        cdef run_t* r = &self.r
        cdef int32_t k
        cdef int i
        cdef account_t* account
        cdef int32_t j
        if r.broken:
            return False
        for k in range(r.dirty_n):
            account = &r.accounts[r.dirty[k]]
            account.state &= INITIAL
            account.turn_case = -1
            account.flags &= ~<uint8_t>(HAS_EXTRA | IN_JOURNAL)
            account.balance = self.balance[r.dirty[k]]
            for j in range(account.first_row, account.first_row + account.rows_n):
                r.rows[j].lots = self.lots[j]
                r.rows[j].basis = self.basis[j]
            if account.flags & HOLDS_COLLATERAL:
                for j in range(r.holding_first[r.dirty[k]], r.holding_first[r.dirty[k] + 1]):
                    r.rows[j].lots = self.lots[j]
                    r.rows[j].basis = self.basis[j]
        r.rows_n = r.rows_loaded
        for k in range(r.resting_n):
            r.accounts[r.resting[k].account].state &= ~<uint8_t>RESTING
        if r.scans > 0:
            memset(r.scan_until, 0, r.scan_n * sizeof(float))
            memset(r.growth, 0, r.instruments_n * sizeof(growth_t))
        for i in range(r.instruments_n):
            # The next run puts the books back, when it has left the GIL.
            self.instruments_loaded[i].book_dirty = r.instruments[i].book_dirty
            self.instruments_loaded[i].book_eaten = r.instruments[i].book_eaten
            self.books_stand = self.books_stand and not (r.instruments[i].book_dirty or r.instruments[i].book_eaten)
            r.history_n[i] = 0
            r.instants_n[i] = 0
            r.rankings[2 * i].n = r.rankings[2 * i + 1].n = 0
            r.rankings[2 * i].epoch = r.rankings[2 * i + 1].epoch = -1
        memcpy(r.instruments, self.instruments_loaded, r.instruments_n * sizeof(instrument_t))
        memcpy(r.system, self.system_loaded, r.first_user * sizeof(wide_t))
        memcpy(r.inputs, self.inputs_loaded, <size_t>r.instruments_n * r.inputs_n * sizeof(int64_t))
        if r.bands_n > 0:
            memcpy(r.bands, self.bands_loaded, r.bands_n * sizeof(band_t))
        for k in range(r.levels_n):
            r.levels[k].acted = False
        r.stopped_side = 0
        r.deposits = r.sum_money = self.deposits_loaded
        r.taker_fees = r.turn_paid = r.turn_closed = wide_of(0)
        r.fund_stopped = False
        memset(&r.totals, 0, sizeof(r.totals))
        r.totals.initially_unhealthy = r.initial_n
        r.time_ns = r.changes = r.step_changes = r.mark_epoch = 0
        r.marks_version = 0
        r.step = r.check_step = r.step_wave = r.wave = 0
        r.in_step = r.limit_hit = r.any_stuck = r.shock_has_order = r.ranking_stands = False
        r.singles = r.several = r.batching = r.disturbed = r.owing = r.agents = False
        r.flats_n = r.spans_n = r.journal_n = 0
        r.shock_left = r.error = 0
        r.events_n = r.liquidations_n = r.records_n = r.contexts_n = r.waves_n = r.cases_n = 0
        r.travel = r.scan_travel = 0
        r.resting_n = r.scans = 0
        r.all_rest = False
        r.haircuts_n = 0
        r.dirty_n = r.watched_n = r.found_n = r.line_n = r.line_at = r.heap_n = r.touched_n = 0
        r.batch_n = r.batch_at = r.range_at = r.range_end = 0
        if r.wave_index.cap > 1024:
            idmap_free(&r.wave_index)
        else:
            idmap_clear(&r.wave_index)
        return True

    def outcome(self):
        """What the run left. The engine has given its logs away, and is good for a reset alone."""
        cdef Outcome out = Outcome.__new__(Outcome)
        out.take(self, &self.r, self.status, self.balance, self.lots, self.basis)
        return out

    cdef object rows_of(self, const int32_t[::1] which):
        """Position rows as ROW_DTYPE, whose records are packed: fields need not be aligned."""
        cdef int64_t j, n = which.shape[0]
        cdef row_record_t* to
        cdef uint8_t[::1] target
        table = np.empty(n, ROW_DTYPE)
        if n == 0:
            return table
        target = table.view(np.uint8)
        to = <row_record_t*>&target[0]
        for j in range(n):
            row_tell(&to[j], &self.r.rows[which[j]])
        return table

    # -- looking -----------------------------------------------------------------------------------------------------
    def ranking(self, int i, int side):
        """Who holds `side` of an instrument, in deleveraging order: account, slot, lots, score. Of an engine that has not run."""
        cdef run_t* r = &self.r
        cdef ranking_t* g = &r.rankings[2 * i + (1 if side > 0 else 0)]
        cdef int32_t k
        ranking_build(r, g, i, side)
        self.check_error()
        cdef int32_t[::1] account = np.empty(g.n, np.int32), slot = np.empty(g.n, np.int32)
        cdef int64_t[::1] lots = np.empty(g.n, np.int64)
        cdef double[::1] score = np.empty(g.n, np.float64)
        for k in range(g.n):
            account[k] = g.items[0].account
            slot[k] = r.rows[g.items[0].row].slot
            lots[k] = r.rows[g.items[0].row].lots
            score[k] = g.items[0].rank.near
            ranking_drop_top(r, g)
        g.epoch = -1
        r.ranking_stands = False
        return np.asarray(account), np.asarray(slot), np.asarray(lots), np.asarray(score)

    def looks(self):
        """How accounts that no one trigger price holds were found so far: how many there are, scans, and entries of the index reached;
        who rests or is watched now."""
        cdef run_t* r = &self.r
        cdef int i
        return {
            "scanned": r.scan_n,
            "scans": r.scans,
            "reached": sum([r.instruments[i].falls_at + r.instruments[i].rises_at for i in range(r.instruments_n)]),
            "resting": r.resting_n,
            "watched": r.watched_n,
        }

    def marks(self):
        """Shadow marks in 1/1024 ticks."""
        return [self.r.instruments[i].shadow for i in range(self.r.instruments_n)]

    def haircuts(self):
        """Haircuts in 1e-12, as the last shock left them."""
        return [RATE_ONE - self.r.instruments[i].weight for i in range(self.r.instruments_n)]

    def fences(self):
        """(lowest, highest price in ticks, halted until) per instrument, as for an order that would come now."""
        cdef int i
        cdef fence_t f
        found = []
        for i in range(self.r.instruments_n):
            f = fence_of(&self.r, i)
            found.append((f.low, f.high, self.r.instruments[i].halted_until))
        return found

    @property
    def singles_served(self):
        """Turns of the latest run that took the short way; of them, those taken together in order, and those taken without one."""
        return self.r.singles_n, self.r.batched_n, self.r.ranged_n

    @property
    def blocks_served(self):
        """Turns of the latest run that were summed by blocks."""
        return self.r.summed_n

    @property
    def several_served(self):
        """Turns of the latest run of accounts with several positions that took the short way."""
        return self.r.several_n

    @property
    def leaps(self):
        """Orders from outside in the latest run whose end was searched for."""
        return self.r.leaps

    @property
    def time_ns(self):
        return self.r.time_ns

    def book(self, int i):
        """A copy of an instrument's book."""
        return orderbook_from(&self.r.books[i], "fifo")

    def balances(self):
        """Balances of the users' accounts in quanta, 0 for system accounts."""
        out = np.empty(self.r.accounts_n, np.int64)
        cdef int64_t[::1] to = out
        cdef int32_t k
        flats_tell(&self.r)
        for k in range(self.r.accounts_n):
            to[k] = self.r.accounts[k].balance if k >= self.r.first_user else 0
        return out

    def rows(self):
        """Position rows and holdings of the users' accounts, sorted by account, instrument, slot."""
        flats_tell(&self.r)
        table = self.rows_of(np.arange(self.r.rows_n, dtype=np.int32))
        if self.r.rows_n == self.r.rows_loaded and self.r.holding_first == NULL:
            return table
        return table[np.lexsort((table["slot"], table["instrument"], table["account"]))]

    def copy(self):
        """An independent engine in the same state, without the logs' spare room."""
        cdef Engine made = <Engine>type(self).__new__(type(self))
        cdef run_t* r = &self.r
        cdef run_t* to = &made.r
        cdef int i, n = r.instruments_n
        self.enter()
        try:
            flats_tell(r)
            made.columns = self.columns
            made.index = self.index
            made.balance = self.balance
            made.lots = self.lots
            made.basis = self.basis
            made.status = self.status
            made.recounts = self.recounts
            made.books_stand = True
            made.deposits_loaded = self.deposits_loaded
            # Everything that is a number; the pointers are replaced before anything can fail.
            to[0] = r[0]
            made.forget_pointers()
            to.terms = <terms_t*>twin(r.terms, n, n, sizeof(terms_t))
            to.tiers = <tier_t*>twin(r.tiers, len(self.columns["tiers"]), len(self.columns["tiers"]), sizeof(tier_t))
            to.program = <mark_step_t*>twin(r.program, r.program_n, r.program_n, sizeof(mark_step_t))
            to.weights = <int64_t*>twin(r.weights, r.weights_n, r.weights_n, sizeof(int64_t))
            to.inputs = <int64_t*>twin(r.inputs, n * r.inputs_n, n * r.inputs_n, sizeof(int64_t))
            made.inputs_loaded = <int64_t*>twin(self.inputs_loaded, n * r.inputs_n, n * r.inputs_n, sizeof(int64_t))
            to.instruments = <instrument_t*>twin(r.instruments, n, n, sizeof(instrument_t))
            made.instruments_loaded = <instrument_t*>twin(self.instruments_loaded, n, n, sizeof(instrument_t))
            to.system = <wide_t*>twin(r.system, r.first_user, r.first_user, sizeof(wide_t))
            made.system_loaded = <wide_t*>twin(self.system_loaded, r.first_user, r.first_user, sizeof(wide_t))
            to.books = <book_t*>claim(n, sizeof(book_t))
            to.books_loaded = made.books_loaded = <book_t*>claim(n, sizeof(book_t))
            to.depths = <depth_t*>claim(2 * n, sizeof(depth_t))     # made when next asked for
            to.history = <mark_change_t**>claim(n, sizeof(void*))
            to.history_n = <int32_t*>twin(r.history_n, n, n, sizeof(int32_t))
            to.history_cap = <int32_t*>twin(r.history_n, n, n, sizeof(int32_t))
            to.bands = <band_t*>twin(r.bands, r.bands_n, r.bands_n, sizeof(band_t))
            made.bands_loaded = <band_t*>twin(self.bands_loaded, r.bands_n, r.bands_n, sizeof(band_t))
            to.levels = <market_level_t*>twin(r.levels, r.levels_n, r.levels_n, sizeof(market_level_t))
            to.instants = <instant_t**>claim(n, sizeof(void*))
            to.instants_n = <int32_t*>twin(r.instants_n, n, n, sizeof(int32_t))
            to.instants_cap = <int32_t*>claim(n, sizeof(int32_t))
            to.rankings = <ranking_t*>claim(2 * n, sizeof(ranking_t))
            for i in range(2 * n):
                to.rankings[i].epoch = -1   # built anew when next asked for
            for i in range(n):
                book_init(&to.books[i])
                book_init(&made.books_loaded[i])
            for i in range(n):
                raise_status(book_copy(&to.books[i], &r.books[i]))
                raise_status(book_copy(&made.books_loaded[i], &self.books_loaded[i]))
                to.history[i] = <mark_change_t*>twin(r.history[i], r.history_n[i], r.history_n[i], sizeof(mark_change_t))
                to.instants[i] = <instant_t*>twin(r.instants[i], r.instants_n[i], r.instants_n[i], sizeof(instant_t))
                to.instants_cap[i] = r.instants_n[i]
            to.accounts = <account_t*>twin(r.accounts, r.accounts_n, r.accounts_n, sizeof(account_t))
            to.rows = <row_t*>twin(r.rows, r.rows_n, r.rows_n, sizeof(row_t))
            to.rows_cap = r.rows_n
            to.extra_next = <int32_t*>twin(
                r.extra_next, r.rows_n - r.rows_loaded, r.rows_n - r.rows_loaded, sizeof(int32_t)
            )
            to.extra_cap = r.rows_n - r.rows_loaded
            if r.extra_first != NULL:
                to.extra_first = <int32_t*>twin(r.extra_first, r.accounts_n, r.accounts_n, sizeof(int32_t))
                to.extra_first_cap = r.accounts_n
            if r.holding_first != NULL:
                to.holding_first = <int32_t*>twin(r.holding_first, r.accounts_n + 1, r.accounts_n + 1, sizeof(int32_t))
            to.haircuts = <haircut_t*>twin(r.haircuts, r.haircuts_n, r.haircuts_n, sizeof(haircut_t))
            to.haircuts_cap = r.haircuts_n
            to.events = <event_t*>twin(r.events, r.events_n, r.events_n, sizeof(event_t))
            to.events_cap = r.events_n
            to.liquidations = <liquidation_t*>twin(r.liquidations, r.liquidations_n, r.liquidations_n, sizeof(liquidation_t))
            to.liquidations_cap = r.liquidations_n
            to.contexts = <context_t*>twin(r.contexts, r.contexts_n, r.contexts_n, sizeof(context_t))
            to.contexts_cap = r.contexts_n
            to.waves = <wave_t*>twin(r.waves, r.waves_n, r.waves_n, sizeof(wave_t))
            to.waves_cap = r.waves_n
            to.journal = <journal_t*>twin(r.journal, r.journal_n, r.journal_n, sizeof(journal_t))
            to.journal_cap = r.journal_n
            if r.journalled != NULL:
                to.journalled = <int32_t*>twin(r.journalled, r.accounts_n, r.accounts_n, sizeof(int32_t))
            made.safe = self.safe
            to.resting = <resting_t*>twin(r.resting, r.resting_n, r.resting_n, sizeof(resting_t))
            to.resting_cap = r.resting_n
            to.scan_until = <float*>twin(r.scan_until, r.scan_n, r.scan_n, sizeof(float))
            to.growth = <growth_t*>twin(r.growth, n, n, sizeof(growth_t))
            to.watched = <int32_t*>twin(r.watched, r.watched_n, r.watched_n, sizeof(int32_t))
            to.watched_cap = r.watched_n
            to.dirty = <int32_t*>twin(r.dirty, r.dirty_n, r.dirty_n, sizeof(int32_t))
            to.dirty_cap = r.dirty_n
            to.debtors = <int32_t*>twin(r.debtors, r.debtors_n, r.debtors_n, sizeof(int32_t))
            to.cases = <case_t*>twin(r.cases, r.cases_n, r.cases_n, sizeof(case_t))
            to.cases_cap = r.cases_n
            to.line = <waiting_t*>twin(r.line, r.line_n, r.line_n, sizeof(waiting_t))
            to.line_cap = r.line_n
            to.heap = <waiting_t*>twin(r.heap, r.heap_n, r.heap_n, sizeof(waiting_t))
            to.heap_cap = r.heap_n
            to.batch = <sorted_t*>twin(r.batch, r.batch_n, r.batch_n, sizeof(sorted_t))
            to.batch_cap = r.batch_n
            to.touched_n = 0
            to.ranking_stands = False
            for i in range(r.waves_n):
                if idmap_reserve(&to.wave_index, i + 1) != OK:
                    raise CapacityError("engine: out of memory")
                idmap_put(&to.wave_index, <int64_t>r.waves[i].wave * 65536 + r.waves[i].instrument, i)
            return made
        finally:
            self.leave()

    cdef void forget_pointers(self) noexcept:
        """After a bitwise copy: own nothing of the original's."""
        cdef run_t* r = &self.r
        r.terms = NULL
        r.tiers = NULL
        r.instruments = NULL
        r.program = NULL
        r.weights = NULL
        r.inputs = NULL
        r.books = NULL
        r.books_loaded = NULL
        r.depths = NULL
        r.accounts = NULL
        r.rows = NULL
        r.extra_first = NULL
        r.extra_next = NULL
        r.extra_first_cap = 0
        r.holding_first = NULL
        r.haircuts = NULL
        r.system = NULL
        r.events = NULL
        r.history = NULL
        r.history_n = NULL
        r.history_cap = NULL
        r.liquidations = NULL
        r.contexts = NULL
        r.waves = NULL
        r.journal = NULL
        r.journalled = NULL
        r.resting = NULL
        r.scan_until = NULL
        r.growth = NULL
        r.watched = NULL
        r.dirty = NULL
        r.debtors = NULL
        r.cases = NULL
        r.found = NULL
        r.line = NULL
        r.heap = NULL
        r.batch = NULL
        r.rankings = NULL
        r.touched = NULL
        r.taken = NULL
        r.scratch = NULL
        r.shares = NULL
        r.bands = NULL
        r.levels = NULL
        r.instants = NULL
        r.instants_n = NULL
        r.instants_cap = NULL
        r.flats = NULL
        r.spans = NULL
        r.flats_cap = r.spans_cap = 0
        r.events_cap = r.found_cap = r.touched_cap = r.taken_cap = r.scratch_cap = r.shares_cap = 0
        idmap_init(&r.wave_index)
