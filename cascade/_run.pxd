"""The run: everything that a cascade reads and changes, and the append-only logs that it writes. Other units work on a run_t*."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from cascade._book cimport book_t
from cascade._pool cimport array_fit, idmap_t
from cascade._types cimport ERR_MEMORY, OK
from cascade._wide cimport fraction_t, wide_t


cdef extern from *:
    """
    /* The empty statement keeps gcc from taking a function that does nothing else for one without effect, and leaving out its calls. */
    #define cascade_prefetch(p) do { __builtin_prefetch((p), 1); __asm__ volatile (""); } while (0)
    #define cascade_prefetch_shared(p) do { __builtin_prefetch((p), 0); __asm__ volatile (""); } while (0)
    """
    # Accounts are met in the order of triggers and queues, not of memory: at a million of them this halves a run.
    void prefetch "cascade_prefetch"(const void* p) noexcept nogil
    void prefetch_shared "cascade_prefetch_shared"(const void* p) noexcept nogil    # what other runs read meanwhile


cdef enum:
    EXTERNAL = 0
    FUND = 1
    FEES = 2
    DUST = 3
    DEFICIT = 4
    VAULT = 5
    SETTLEMENT = 6          # account index of the first instrument's settlement account

# Modes of accounts as they are loaded.
cdef enum:
    MODE_ISOLATED = 2

# Bits of account_t.flags.
cdef enum:
    NEVER_LIQUIDATED = 1
    NEVER_DELEVERAGED = 2
    HOLDS_COLLATERAL = 4    # it has holdings
    IS_ISOLATED = 8         # it belongs to an owner's account
    HAS_EXTRA = 16          # rows of it came to be in the run
    IN_JOURNAL = 32         # entries of the journal are about it
    OWNS_ISOLATED = 64      # isolated accounts are swept to it

cdef enum:
    COLLATERAL = 3          # slot of a holding

cdef enum:
    NO_INSTRUMENT = 0xFFFF

# Kinds of events, reasons of transfers, parts of shocks, ends: the numbers of records.py.
cdef enum:
    EVENT_SHOCK = 0
    EVENT_ORDER = 1
    EVENT_FILL = 2
    EVENT_CANCEL = 3
    EVENT_MARK = 4
    EVENT_QUEUED = 5
    EVENT_TURN = 6
    EVENT_RECOVERED = 7
    EVENT_ADL = 8
    EVENT_TRANSFER = 9
    EVENT_END = 10
    EVENT_TAKEOVER = 11
    EVENT_OFFSET = 12
    EVENT_HALT = 13
    EVENT_RESUME = 14

cdef enum:
    WHY_REALISED = 1
    WHY_FEE = 2
    WHY_LIQUIDATION_FEE = 3
    WHY_GAP = 4
    WHY_SHORTFALL = 5
    WHY_SOCIALISED = 6
    WHY_SURPLUS = 7
    WHY_SWEEP = 8
    WHY_TAKEN = 9
    WHY_FUNDING = 10

cdef enum:
    PART_GAP = 1
    PART_INDEX = 2
    PART_DEPTH = 3
    PART_HAIRCUT = 4
    PART_CASH = 5
    PART_ORDERS = 6
    PART_LEVELS = 7
    PART_FUNDING = 9

cdef enum:
    STATUS_SETTLED = 1
    STATUS_HALTED = 2
    STATUS_STRANDED = 3
    STATUS_OUT_OF_DATA = 4
    STATUS_HORIZON = 5
    STATUS_LIMIT = 6

cdef enum:
    LEFT_CLOSED = 0
    LEFT_BEYOND_DATA = 1
    LEFT_STRANDED = 2
    LEFT_FLAT = 3
    LEFT_PART = 4
    LEFT_OFFSET = 5
    LEFT_BANDED = 6
    LEFT_HALTED = 7

cdef enum:
    LIQUIDATION_ORDER = 1   # flags of ORDER and FILL events
    FUND_WALK_ORDER = 2
    COLLATERAL_ORDER = 3

# Where the flags of a trade's event hold the slots of its two sides.
cdef enum:
    TAKER_SLOT_SHIFT = 4
    MAKER_SLOT_SHIFT = 6

cdef enum:
    RECORD_SUMMARY = 0
    RECORD_LIQUIDATIONS = 1
    RECORD_ALL = 2

# Codes of rules: positions in rules.CHOICES and rules.STAGES.
cdef enum:
    MARK_LAST = 0
    MARK_MID = 1
    MARK_BOOK_MEDIAN = 2
    MARK_INDEX = 3
    MARK_TREE = 4           # run_t.program

cdef enum:
    QUEUE_RATIO = 0
    QUEUE_FIFO = 1
    QUEUE_LARGEST = 2
    QUEUE_TRIGGER_PRICE = 3
    QUEUE_FILLABLE = 4

cdef enum:
    TAKE_MAINTENANCE = 0
    TAKE_NOTIONAL = 1
    TAKE_LOSS = 2
    TAKE_INDEX = 3

cdef enum:
    MAINTENANCE_FEE_NONE = 0
    MAINTENANCE_FEE_TAKER = 1
    MAINTENANCE_FEE_AT_BANKRUPTCY = 2

cdef enum:
    SIZE_WHOLE = 0
    SIZE_ALL = 1
    SIZE_FRACTION = 2
    SIZE_RESTORE = 3
    SIZE_STEP_DOWN = 4

cdef enum:
    ORDER_AT_MARKET = 0
    ORDER_AT_BANKRUPTCY = 1
    ORDER_AT_FILLABLE = 2

cdef enum:
    TO_ACCOUNT = 0          # of a surplus; a fee goes to the venue instead
    TO_FUND = 1
    TO_VAULT = 2

cdef enum:
    STAGE_FUND_WALK = 0
    STAGE_VAULT = 1
    STAGE_ADL = 2

cdef enum:
    PAYER_FUND = 0
    PAYER_VAULT = 1
    PAYER_SOCIALISE = 2

cdef enum:
    RANK_BITMEX = 0
    RANK_BINANCE = 1
    RANK_BYBIT = 2
    RANK_HYPERLIQUID = 3
    RANK_NONE = 4
    RANK_OKX = 5
    RANK_HYPERLIQUID_SIGNED = 6

cdef enum:
    ADL_AT_BANKRUPTCY = 0
    ADL_AT_MARK = 1
    ADL_AT_PREVIOUS_MARK = 2
    ADL_AT_INDEX = 3

# What a band is around, and how its limits are rounded: the numbers of breakers.py.
cdef enum:
    BAND_FIXED = 0
    BAND_MEAN = 1
    BAND_RANGE = 2
    BAND_MARK = 3
    BAND_INDEX = 4

cdef enum:
    ROUND_NEAREST = 0
    ROUND_INSIDE = 1
    ROUND_VARIANT = 2

# Bits of account_t.state.
cdef enum:
    QUEUED = 1              # waits in the queue
    STUCK = 2               # every open lot is beyond known depth and nothing changed since: not queued again
    INITIAL = 4             # unhealthy before the shock
    WATCHED = 8             # in run_t.watched: looked at in every check
    RESTING = 16            # in run_t.resting: not looked at until marks have travelled far enough
    DIRTY = 32              # in run_t.dirty: state bits or case to be reset after the run
    OVER = 64               # its wave would exceed the caller's cap: not queued in this cascade
    COUNTED = 128           # among the liquidated accounts: some of its lots were closed


# How accounts that no event touched are found: the choice by counts, or (in tests) one of the ways always.
cdef enum:
    LOOK_BY_COUNTS = 0
    LOOK_BY_INDEX = 1
    LOOK_BY_SCAN = 2
    LOOK_BY_REST = 3        # a scan once, then they rest


cdef enum:
    SCRATCH_ITEM = 96       # bytes of an item of run_t.shares, whoever uses it


# VenueRules as numbers.
ctypedef struct rules_t:
    int mark, queue, position_order, adl_rank, adl_price
    bint funding_at_index
    bint continuous, trigger_le, cancel_orders
    int residual[3]
    int residual_n
    int shortfall[3]
    int shortfall_n
    int64_t capacity        # turns a step, INT64_MAX for no limit
    int64_t max_waves       # INT64_MAX for no limit
    # Margin; the taker fee of MAINTENANCE_FEE_TAKER is in the tiers' rates already.
    bint maintenance_on_entry, bankruptcy_fee, share_by_maintenance
    int maintenance_fee
    # Turns: rates in 1e-12, money in quanta, -1 for None.
    int size, order_price, surplus, fee_to
    bint order_fok, fee_on_improvement, socialise_by_profit, then_whole, adl_overlap, offset_hedges
    bint adl_negative_only, first_tier_whole, sell_collateral_first
    int64_t vault_below_num, vault_below_den    # part of maintenance; denominator 0 for None
    int64_t adl_below_num, adl_below_den
    int64_t size_fraction, size_above, size_minimum, size_steps, size_buffer
    int64_t cooldown_ns
    int64_t fillable_adjustment, fillable_spread
    int64_t fund_stop_above, fund_per_step, notional_per_step, vault_cap, adl_price_band
    bint fund_stops
    wide_t fund_stays       # the largest drawdown at which a fund that paid goes on
    wide_t fund_resumes     # the largest at which a stopped one pays again
    bint breakers           # there are some


# One instrument's terms (see _state.Terms); the tiers are rows [tier_first, tier_first + tiers_n) of run_t's tables.
ctypedef struct terms_t:
    int64_t coef_num
    int64_t coef_den
    int64_t taker_fee       # 1e-12
    int64_t maker_fee
    int64_t liquidation_fee
    int32_t tier_first
    int32_t tiers_n
    int contract            # 0 linear, 1 inverse
    int64_t slope_num       # 1e-12 that a lot (inverse: a quantum of notional) adds to the maintenance rate
    int64_t slope_den
    int64_t closing_fee     # the taker fee as rules about closing count it: 0 for a rebate
    double steepest         # the highest rate of a tier
    bint jumps              # maintenance jumps by more than a quantum somewhere

ctypedef struct tier_t:
    int64_t floor_quanta
    int64_t rate            # in parts of `one`
    int64_t one             # 1e12, or less where rate and 1e12 share a factor
    int64_t amount_quanta


# One step of the mark's program: see _marks.pxd.
ctypedef struct mark_step_t:
    int code
    int inputs              # prices it takes off the stack, not counting a spare
    int argument            # column of the inputs, or first of its weights
    int flags


# An account with one position as loaded; lots 0 where _single.pxd has nothing to do with it.
ctypedef struct single_t:
    int64_t lots
    int64_t basis
    int64_t balance
    uint8_t isolated        # 1: what is left goes to its owner's account
    uint8_t cuts            # _cuts.pxd: who stands before it in its list surely goes first
    uint16_t pad
    int32_t slot

# Of so many of them in a row.
cdef enum:
    BLOCK = 16

# What _blocks.pxd knows of a block: a cache line. `traded` is INT64_MAX where nothing is known.
ctypedef struct block_t:
    int32_t n               # singles
    int32_t isolated        # of them
    int64_t traded          # their lots, unsigned
    int64_t held            # the same, signed
    int64_t basis
    int64_t balance
    int64_t owe_above       # everybody owes for what was held where a lot trades above this value, signed
    int64_t stand_below     # everybody has something left
    int64_t fall_above      # everybody's account owes

# What became of such an account: it is flat, and `money` is what it has left, or an isolated one's owner got.
ctypedef struct flat_t:
    int64_t money
    int32_t account
    int32_t pad

# The same of all in a part of an index, whom one order has filled.
ctypedef struct span_t:
    const single_t* singles
    const int32_t* accounts
    int64_t n               # entries, of which those without lots are no singles
    int64_t lot_value       # a lot's of the trades, signed as they are
    bint kept               # what is left is the account's or its owner's

# An entry of the index of safe moves: smaller relative moves against an account's positions, all at once, leave it healthy.
ctypedef struct safe_t:
    float move
    int32_t account

# What a position loses its account at most by the parts of its notional that go (price of a linear contract down) or come.
ctypedef struct loss_t:
    float shrinks
    float grows
    uint16_t instrument
    uint16_t pad

# Accounts of the scan that have `rows` losses each.
ctypedef struct scan_group_t:
    int32_t rows
    int32_t accounts

# By what part an instrument's notionals have shrunk or grown since the start; `beyond` is infinite where bounds of losses do not reach.
ctypedef struct growth_t:
    double shrunk
    double grown
    double beyond

# An account that need not be looked at until run_t.travel reaches `until`. Stale when its version is not the account's.
ctypedef struct resting_t:
    double until
    int32_t account
    uint32_t version

# One instrument's changing state.
ctypedef struct instrument_t:
    int64_t last_ticks      # 0: none
    int64_t index_1024      # 0: none
    int64_t known_bid       # sells find known liquidity down to here
    int64_t known_ask       # buys find known liquidity up to here
    int64_t shadow          # the mark as if set now, 1/1024 ticks
    int64_t mark            # the mark in force
    int64_t previous_mark   # the one before it
    int64_t start_mark
    int64_t low_mark
    int64_t high_mark
    int64_t known_until     # price at which knowledge ended while lots were to be traded, -1: it did not
    bint book_dirty         # the book differs from the loaded one by more than
    bint book_eaten         # trades, which took external orders off a book that holds no others
    bint book_external      # that is what was loaded
    int64_t weight          # what the value of collateral in it counts for, 1e-12
    # The changes of its mark since the check before the latest: [window_first, window_last) of its history.
    int64_t window_check
    int32_t window_first, window_last
    # Positions of the system accounts, and what all positions sum to (always 0).
    wide_t external_lots
    wide_t external_basis
    wide_t settlement_basis
    int64_t vault_lots
    int64_t vault_basis
    wide_t sum_lots
    wide_t sum_basis
    # Untouched accounts with one position, by trigger price: falling marks reach longs from the front, rising ones shorts.
    const int64_t* long_trigger
    const int32_t* long_account
    const single_t* long_single
    const block_t* long_block       # NULL where no sums of them are made
    int32_t long_n, long_at
    int64_t long_stand              # the mark at which all who are still there were last found healthy
    const int64_t* short_trigger
    const int32_t* short_account
    const single_t* short_single
    const block_t* short_block
    int32_t short_n, short_at
    int64_t short_stand
    # Of both lists: the least lots of a single where cuts are marked, else 0; and how many entries are no singles.
    int64_t long_least, short_least
    int64_t long_others, short_others
    # Untouched accounts that no one trigger price holds, by the move of the mark from start_mark that they stand, smallest first.
    const safe_t* falls
    int32_t falls_n, falls_at
    const safe_t* rises
    int32_t rises_n, rises_at
    int64_t checked_mark    # the mark in force at the latest check
    # Breakers: its rows of run_t.bands, and what holds for the order that is being dealt with.
    int32_t bands_first, bands_n
    int32_t low_by, high_by         # the bands that set the limits
    int64_t low_fence, high_fence   # lowest and highest price in ticks
    int64_t halted_until            # 0: matching goes on
    int64_t halt_seq
    bint has_windows                # some band looks at past trades
    int32_t counted_wave, counted_row   # the wave counted last, and its row of run_t.waves; -1 before any


# A level of a loaded book of external orders: what stands before it on its side. The end of the side is a level 0 behind all others.
ctypedef struct ahead_t:
    int64_t price_ticks
    int64_t lots
    wide_t value            # of all their orders, bought one by one, in quanta
    uint32_t level
    int32_t orders

# One side of a loaded book, from its best level to as far as an order has asked for: see _leap.pxd.
ctypedef struct depth_t:
    ahead_t* levels
    int32_t n, cap


# One band of one instrument: breakers.BandTerms, then what changes in a run. Prices in 1/1024 tick.
ctypedef struct band_t:
    int64_t rate            # 1e-12, -1: none
    int64_t amount          # -1: none
    int64_t window
    int64_t renew
    int64_t limit
    int64_t halt            # -1: none, INT64_MAX: for good
    int kind, rounding, sides, breaker
    bint recentre
    int limit_side          # while a limit holds: -1 the lower, 1 the upper
    int32_t first           # instants before this one are not looked at
    int64_t anchor          # the price that counts as a trade at anchor_time
    int64_t anchor_time
    int64_t mean            # of a mean that is renewed now and then
    int64_t renewed
    int64_t limit_since
    int64_t limit_cause     # the order that it stopped

# One level of a market-wide halt: breakers.LevelTerms.
ctypedef struct market_level_t:
    int64_t threshold       # 1/1024 tick
    int64_t halt
    int32_t breaker
    int32_t instrument
    int kind                # 0 the index, 1 the last price
    bint acted

# The trades of one instrument at one time, in ticks.
ctypedef struct instant_t:
    int64_t time_ns
    int64_t low
    int64_t high
    int64_t last
    int64_t n
    wide_t sum


# A margin account, 24 bytes. Its loaded rows are [first_row, first_row + rows_n) of run_t.rows, in order of (instrument, slot); rows that
# came to be in the run are found by extra_of and row_after. Its holdings (flag HOLDS_COLLATERAL) are rows of their own, behind all loaded
# positions: lots >= 0 of collateral assets by instrument, [holding_first[a], holding_first[a + 1]), with a basis only between a sale's FILL
# and its TRANSFER.
ctypedef struct account_t:
    int64_t balance
    int32_t first_row
    int32_t turn_case       # its case_t, -1: never queued
    uint32_t version        # counts changes, for stale deleveraging ranks
    uint16_t rows_n
    uint8_t flags
    uint8_t state

# A position or a holding, 24 bytes.
ctypedef struct row_t:
    int64_t lots
    int64_t basis
    int32_t account
    uint16_t instrument
    uint8_t slot

# A copy of a row.
ctypedef struct gathered_t:
    row_t row
    int32_t at              # its place in run_t.rows


# What is remembered of an account that was ever queued in this run.
ctypedef struct case_t:
    int64_t cause
    int32_t cause_row       # row of the liquidations that the cause belongs to, -1
    int64_t healthy_at      # seq of the last time its own turn found it healthy
    int64_t idle_changes    # run_t.changes at its last turn if that left it unhealthy and changed nothing, else -1
    int64_t idle_marks      # run_t.marks_version at that turn
    int64_t rest_until      # time_ns before which it is not queued again
    int32_t account
    int32_t last_wave
    int32_t turn_step       # step of its last turn
    uint8_t open            # unhealthy ever since `cause`
    uint8_t parted          # a part was ordered of it since it became unhealthy: from now on whole
    uint8_t left            # LEFT_... while lots of its last turn are open, else 0


# An account before a change: undo, and the past that causes are looked for in.
ctypedef struct journal_t:
    int64_t seq             # the event that changed it
    int64_t balance
    int64_t lots
    int64_t basis
    int32_t account
    int32_t row             # -1: only the balance is meant
    int32_t previous        # the account's entry before, -1
    int32_t pad

ctypedef packed struct event_t:
    int64_t seq
    int64_t time_ns
    int64_t cause
    int64_t quantity
    int64_t price_1024
    int64_t value
    int32_t a
    int32_t b
    int32_t wave
    uint16_t instrument
    uint8_t kind
    uint8_t flags

ctypedef packed struct mark_change_t:
    int64_t seq
    int64_t time_ns
    int64_t mark
    int32_t wave
    int32_t instrument
    int32_t row             # of the liquidations: who was acting, -1
    int32_t rises           # how many of the instrument's changes so far were upwards

ctypedef packed struct liquidation_t:
    int64_t seq, time_ns, cause, quantity, filled, left, adl, takeover, mark, equity, maintenance, value, row_maintenance
    int64_t bankruptcy_value, filled_value, closed_value, fee, surplus, shortfall, fund, vault, socialised, deficit, held
    int32_t cause_row, account, instrument, step, wave, slot, status, pad

# A haircut that a shock has changed.
ctypedef struct haircut_t:
    int64_t seq
    int64_t before          # the weight before it
    int32_t instrument

# Who was acting from event `first` on.
ctypedef struct context_t:
    int64_t first
    int32_t wave
    int32_t row             # of the liquidations, -1

ctypedef struct wave_t:
    int64_t accounts
    int64_t lots
    int64_t mark
    wide_t notional
    int32_t wave
    int32_t instrument

# Of a waiting account that is not in a list of singles.
cdef enum:
    ORDINARY = -1           # it has a case, and is watched
    SEVERAL = -2            # _several.pxd deals with it


# One waiting account. Its key is num / den, the smallest goes first; what that is, is the rules' choice.
ctypedef struct waiting_t:
    double near             # num / den
    int64_t num             # equity, arrival, or negated: notional, distance past the trigger, concession
    int64_t den             # maintenance, 1, the mark, or a notional; > 0
    int64_t second          # the smallest goes first among equal keys; 0 where the rule has no second key
    int64_t seq             # its QUEUED event; before that its equity
    int64_t cause           # of a single: see case_t
    int32_t cause_row
    int32_t account
    int32_t wave
    int32_t single          # its place in its instrument's list of singles, or SEVERAL, or ORDINARY
    uint16_t instrument     # of a single
    uint8_t short           # a single: in the list of shorts
    uint8_t first           # maintenance 0: before all others

# Who waits, while that is being sorted: by item, or by a single's place (see _batch.pxd).
ctypedef union sorted_who_t:
    const waiting_t* item
    uint64_t place

ctypedef struct sorted_t:
    double near             # of its key; below all others for those without maintenance
    int64_t num             # the key, where it is a single's
    int64_t den
    sorted_who_t who

# A candidate of deleveraging.
ctypedef struct ranked_t:
    fraction_t rank
    int32_t account
    int32_t row
    uint32_t version

# Candidates of one instrument and side as a heap, highest rank first; `heard` is how much of run_t.touched it has taken in.
ctypedef struct ranking_t:
    ranked_t* items
    int32_t n, cap
    int64_t heard
    int64_t epoch           # run_t.mark_epoch that the ranks were computed at, -1: not built

ctypedef struct totals_t:
    wide_t notional, first, higher, initial, adl, socialised, takeover
    int64_t accounts, recovered, initially_unhealthy, dropped_levels


ctypedef struct run_t:
    # What the run is about.
    rules_t rules
    int record              # RECORD_*
    bint remember_marks     # causes are wanted: keep the history of marks
    int32_t instruments_n
    int32_t accounts_n      # all, system accounts first
    int32_t first_user      # SETTLEMENT + instruments_n
    terms_t* terms
    tier_t* tiers
    # State.
    instrument_t* instruments
    # The mark as a program, where it is a tree: [0, mark_steps) is the mark, what follows feeds its averages. Its inputs are `inputs_n`
    # integers an instrument: `externals_n` external prices first, then averages, then the funding premium.
    mark_step_t* program
    int32_t program_n, mark_steps
    int64_t* weights
    int32_t weights_n
    int64_t* inputs
    int32_t inputs_n, externals_n
    book_t* books
    const book_t* books_loaded
    depth_t* depths         # two an instrument, by side
    account_t* accounts     # by account index; only users' entries are used
    const int32_t* parents  # by account index: the cross account of an isolated one's owner, -1
    row_t* rows
    int32_t rows_n, rows_cap, rows_loaded
    int32_t* extra_first    # by account that HAS_EXTRA: its latest row behind the loaded ones; no memory before somebody has
    int32_t extra_first_cap
    int32_t* extra_next     # by row behind the loaded ones: its account's next one, -1
    int32_t extra_cap
    int32_t* holding_first  # by account, and an end; NULL where nobody holds collateral
    haircut_t* haircuts     # what shocks have changed, in order
    int32_t haircuts_n, haircuts_cap
    wide_t* system          # balances of accounts 0 .. first_user - 1
    wide_t deposits
    wide_t sum_money
    wide_t taker_fees       # charged so far: a record takes the difference
    wide_t fund_start       # the fund's balance at the start of the run
    bint fund_stopped       # by its drawdown
    wide_t turn_paid        # by the fund in the turn that goes on
    wide_t turn_closed      # notional that its orders closed
    int64_t time_ns
    # The loop.
    int64_t seq             # of the last event, -1
    int64_t check_seq       # last event before the latest check
    int64_t previous_check  # the same of the one before it
    int64_t changes
    int64_t step_changes    # `changes` when the step began
    int64_t budget          # turns left in this step
    int32_t step
    int32_t check_step      # step of the latest check
    int32_t step_wave
    int32_t wave
    int32_t acting                  # row of the liquidations that acts now, -1
    bint in_step, settled, limit_hit, waves_left
    bint any_stuck                  # some account has STUCK set or is idle
    int64_t marks_version           # counts changes of the marks in force
    bint shock_has_order            # wave 0 holds orders from outside
    int64_t depth_twice_mid         # of the depth rows being applied
    int shock_left          # reason of the shock's unfilled rest, 0
    int error               # sticky: ERR_*; the run is void
    bint broken             # the journal could not be kept: the state cannot be restored
    totals_t totals
    # Logs.
    event_t* events
    int32_t events_n, events_cap
    mark_change_t** history         # per instrument
    int32_t* history_n
    int32_t* history_cap
    liquidation_t* liquidations
    int32_t liquidations_n, liquidations_cap
    int32_t records_n               # liquidations counted, recorded or not
    context_t* contexts
    int32_t contexts_n, contexts_cap
    wave_t* waves                   # sorted by (wave, instrument) only when exported
    int32_t waves_n, waves_cap
    idmap_t wave_index              # wave * 65536 + instrument -> row of `waves`
    journal_t* journal
    int32_t journal_n, journal_cap
    int32_t* journalled             # by account IN_JOURNAL: its latest entry; NULL before a run that keeps a journal
    # Who is looked at.
    int look                # LOOK_...
    int32_t* watched
    int32_t watched_n, watched_cap
    int32_t* dirty
    int32_t dirty_n, dirty_cap
    int32_t initial_n               # accounts unhealthy as loaded
    int32_t* debtors                # flat accounts that owe money as loaded, and whoever holds collateral: watched from the start
    int32_t debtors_n
    double travel           # of marks over all checks: see _rest.pxd
    resting_t* resting      # a heap by `until`
    int32_t resting_n, resting_cap
    # The scan: untouched accounts in groups of equally many rows, their losses one after another in the same order.
    const scan_group_t* scan_groups
    int32_t scan_groups_n
    const float* scan_room          # the loss up to which the account is healthy
    const int32_t* scan_account
    const loss_t* scan_losses
    int32_t scan_n                  # accounts
    float* scan_until               # by place: its losses are not summed before scan_travel reaches this; SCAN_NEVER: found elsewhere
    double scan_travel              # of growths over all scans: see _watch.scan_block
    growth_t* growth                # by instrument, of the check that goes on
    int32_t scans                   # in this run
    int64_t looked_version          # run_t.marks_version at which untouched accounts were last looked for, -1
    bint all_rest                   # everybody of the scan is resting or watched
    case_t* cases
    int32_t cases_n, cases_cap
    # Accounts that _single.pxd and _several.pxd deal with.
    bint singles                    # in this step
    int64_t singles_n               # turns in this run
    int64_t batched_n, ranged_n     # of them: taken together in the order of their keys; without one
    int64_t summed_n                # of the latter: by blocks
    bint several                    # in this step
    int64_t several_n               # turns in this run
    int64_t leaps                   # in this run: see _leap.pxd
    bint disturbed                  # some account has changed in another's turn: whether a single has is to be seen from its record
    int32_t served                  # the account whose turn it is
    bint owing                      # somebody without positions owes money
    bint agents                     # accounts have sent orders in this run: any of them may hold something new
    # What became of them, one by one or in parts of an index, for who has not looked yet: accounts and rows are as loaded.
    flat_t* flats
    int32_t flats_n, flats_cap
    span_t* spans
    int32_t spans_n, spans_cap
    # The queue.
    waiting_t* found
    int32_t found_n, found_cap
    waiting_t* line                 # sorted; entries before line_at are done
    int32_t line_n, line_at, line_cap
    waiting_t* heap                 # what came while the line was not empty
    int32_t heap_n, heap_cap
    # Singles of one check whose turns are taken together (_together.pxd): some in the order of their keys, entries before batch_at are done;
    # behind them a range of one list.
    bint batching                   # in this step
    sorted_t* batch
    int32_t batch_n, batch_at, batch_cap
    int range_instrument
    bint range_short
    int range_level                 # CUT_...: cuts that hold
    int64_t range_sure              # a mark of this check's window so far past a trigger makes its single surely unhealthy; -1: none does
    int32_t range_at, range_end
    int32_t crossing                # place in the history of marks where the latest single became unhealthy
    # Deleveraging.
    ranking_t* rankings             # two an instrument: against longs, against shorts
    int32_t* touched                # accounts changed while a ranking stands
    int32_t touched_n, touched_cap
    bint ranking_stands
    int64_t mark_epoch
    # Breakers.
    band_t* bands                   # by instrument
    int32_t bands_n
    market_level_t* levels
    int32_t levels_n
    instant_t** instants            # per instrument
    int32_t* instants_n
    int32_t* instants_cap
    int stopped_side                # of the order that a band stopped last: -1 by the lower limit, 1 by the upper
    # Scratch.
    int32_t* taken          # positions of the account whose turn it is
    int32_t taken_cap
    gathered_t* scratch
    int32_t scratch_n, scratch_cap
    void* shares            # shares of a loss, matched counterparties, or levels being moved
    int32_t shares_cap
    int planted_bug                 # test builds only: 0 is none


cdef inline void book_traded(instrument_t* ins) noexcept nogil:
    """A trade has taken from the front of the best level of its book."""
    if ins.book_external:
        ins.book_eaten = True
    else:
        ins.book_dirty = True


cdef inline int32_t extra_of(const run_t* r, int32_t a) noexcept nogil:
    """The first row of an account that came to be in the run, -1."""
    return r.extra_first[a] if r.accounts[a].flags & HAS_EXTRA else -1


cdef inline int32_t journal_of(const run_t* r, int32_t a) noexcept nogil:
    """The latest entry about an account, -1."""
    return r.journalled[a] if r.accounts[a].flags & IN_JOURNAL else -1


cdef inline int32_t row_after(const run_t* r, int32_t k) noexcept nogil:
    """The row after an account's extra row k, -1 if that is its last one."""
    return r.extra_next[k - r.rows_loaded]


cdef inline bint run_room(run_t* r, void** items, int32_t* cap, int64_t want, size_t size) noexcept nogil:
    """Room for `want` items; without it the run is void."""
    if array_fit(items, cap, want, size) != OK:
        r.error = ERR_MEMORY
        return False
    return True


cdef inline int64_t emit(
    run_t* r, int kind, int instrument, int32_t a, int32_t b, int64_t quantity, int64_t price_1024, int64_t value, int64_t cause,
    int flags
) noexcept nogil:
    """Append an event; its sequence number. Every event is counted, recorded or not."""
    cdef event_t* e
    r.seq += 1
    if r.record == RECORD_ALL and run_room(r, <void**>&r.events, &r.events_cap, r.events_n + 1, sizeof(event_t)):
        e = &r.events[r.events_n]
        r.events_n += 1
        e.seq = r.seq
        e.time_ns = r.time_ns
        e.cause = cause
        e.quantity = quantity
        e.price_1024 = price_1024
        e.value = value
        e.a = a
        e.b = b
        e.wave = r.wave
        e.instrument = <uint16_t>instrument
        e.kind = <uint8_t>kind
        e.flags = <uint8_t>flags
    return r.seq


cdef inline void context_begin(run_t* r, int64_t first, int32_t wave, int32_t row) noexcept nogil:
    """From event `first` on, `row` of the liquidations (-1: the outside) acts, in `wave`."""
    r.acting = row
    if not r.remember_marks:
        return
    if run_room(r, <void**>&r.contexts, &r.contexts_cap, r.contexts_n + 1, sizeof(context_t)):
        r.contexts[r.contexts_n].first = first
        r.contexts[r.contexts_n].wave = wave
        r.contexts[r.contexts_n].row = row
        r.contexts_n += 1


cdef inline context_t context_of(const run_t* r, int64_t seq) noexcept nogil:
    """Who was acting at event `seq`: the last context that begins at or before it."""
    cdef int32_t lo = 0, hi = r.contexts_n, mid
    cdef context_t none
    while lo < hi:
        mid = lo + (hi - lo) // 2
        if r.contexts[mid].first <= seq:
            lo = mid + 1
        else:
            hi = mid
    if lo == 0:
        none.first = -1
        none.wave = 0
        none.row = -1
        return none
    return r.contexts[lo - 1]


cdef inline void dirty_mark(run_t* r, int32_t a) noexcept nogil:
    """Remember that the account's state bits or case must be reset after the run."""
    if r.accounts[a].state & DIRTY:
        return
    if run_room(r, <void**>&r.dirty, &r.dirty_cap, r.dirty_n + 1, sizeof(int32_t)):
        r.dirty[r.dirty_n] = a
        r.dirty_n += 1
        r.accounts[a].state |= DIRTY
    else:
        r.broken = True


cdef inline void account_ahead(const run_t* r, int32_t a) noexcept nogil:
    """Ask for an account that will be read."""
    prefetch_shared(&r.accounts[a])
    prefetch_shared(&r.accounts[a].version)


cdef inline void rows_ahead(const run_t* r, int32_t a) noexcept nogil:
    """Ask for the loaded rows of an account that has come."""
    cdef const char* row = <const char*>&r.rows[r.accounts[a].first_row]
    cdef const char* end = row + r.accounts[a].rows_n * sizeof(row_t)
    while row < end:
        prefetch_shared(row)
        row += 64
    prefetch_shared(end - 1)


cdef inline void watch(run_t* r, int32_t a) noexcept nogil:
    """Look at the account in every check, until it is flat or may rest."""
    if r.accounts[a].state & WATCHED:
        return
    dirty_mark(r, a)
    if run_room(r, <void**>&r.watched, &r.watched_cap, r.watched_n + 1, sizeof(int32_t)):
        r.watched[r.watched_n] = a
        r.watched_n += 1
        r.accounts[a].state = r.accounts[a].state & ~<uint8_t>RESTING | WATCHED
