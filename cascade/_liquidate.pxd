"""One account's turn: stages, orders for positions or parts of them, then whoever stands behind them, then what is left or owed."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from cascade._breakers cimport account_waits, begin_order, end_order
from cascade._book cimport book_lots, book_owner_first, book_owner_next, book_price
from cascade._closing cimport (
    closing_begin,
    closing_t,
    closing_worth,
    count_liquidation,
    implied_price_exists,
    left_status,
    record_begin,
)
from cascade._collateral cimport lots_to_cover, sale_next, sell
from cascade._deleverage cimport deleverage
from cascade._funds cimport account_flat, fund_has, fund_pays, liquidation_fee, settle_flat, vault_takes, vault_takes_all
from cascade._ledger cimport party_t, row_find, trade
from cascade._margin cimport (
    collateral_value,
    magnitude,
    mark_value,
    standing_of,
    standing_shadow,
    standing_t,
    standing_unhealthy,
    trade_value,
)
from cascade._run cimport (
    EVENT_OFFSET,
    EVENT_ORDER,
    EVENT_CANCEL,
    EVENT_RECOVERED,
    EVENT_TURN,
    FUND_WALK_ORDER,
    HOLDS_COLLATERAL,
    LEFT_BANDED,
    LEFT_BEYOND_DATA,
    LEFT_CLOSED,
    LEFT_HALTED,
    LEFT_OFFSET,
    LEFT_PART,
    LIQUIDATION_ORDER,
    NO_INSTRUMENT,
    ORDER_AT_BANKRUPTCY,
    ORDER_AT_FILLABLE,
    ORDER_AT_MARKET,
    SIZE_ALL,
    SIZE_FRACTION,
    SIZE_STEP_DOWN,
    STAGE_FUND_WALK,
    STAGE_VAULT,
    STUCK,
    WHY_GAP,
    account_t,
    case_t,
    context_begin,
    emit,
    liquidation_t,
    row_t,
    run_room,
    run_t,
    terms_t,
    waiting_t,
)
from cascade._sizes cimport fillable_loss, lots_to_order, lots_within_step
from cascade._trade cimport (
    cancel_order,
    fill,
    fillable_whole,
    gives_way,
    next_maker,
    walk,
    walked_t,
    what_stops,
    what_would_stop,
    widest_limit,
)
from cascade._types cimport (
    REASON_FOK_UNFILLABLE,
    REASON_IOC,
    REASON_NONE,
    REASON_OWNER,
)
from cascade._gather cimport gather_taken
from cascade._wide cimport (
    money_price,
    wide_add,
    wide_cmp,
    wide_low,
    wide_mul,
    wide_of,
    wide_sign,
    wide_sub,
    wide_t,
)


cdef enum:
    LONG = 1    # slots of hedge mode
    SHORT = 2


# -- orders ----------------------------------------------------------------------------------------------------------


cdef inline int64_t order_limit(const run_t* r, const closing_t* c) noexcept nogil:
    """The limit of a liquidation order in ticks."""
    cdef const terms_t* t = &r.terms[c.instrument]
    cdef int64_t value = c.value
    cdef bint has_price = c.has_price
    if r.rules.order_price == ORDER_AT_MARKET:
        return widest_limit(c.side)
    if r.rules.order_price == ORDER_AT_FILLABLE:
        value = fillable_loss(r, c.party.account, &r.rows[c.party.row]) - c.record.value
        has_price = implied_price_exists(t.contract, c.side, value)
    if has_price:
        return money_price(t.contract, c.lots, magnitude(value), t.coef_num, t.coef_den, c.side < 0)
    # Without a positive implied price the limit clamps to where it lies: at or below 0, or (inverse) beyond infinity.
    return 1 if t.contract == 0 else widest_limit(1)


cdef inline void cancel_rest(run_t* r, const closing_t* c, int64_t order, int reason) noexcept nogil:
    """Record that the unfilled rest of a liquidation order is taken off."""
    if c.left > 0:
        emit(
            r, EVENT_CANCEL, c.instrument, c.party.account, -1, c.side * c.left, 0, 0, order,
            c.stop if c.stop != REASON_NONE else reason,
        )
    end_order(r, c.instrument, c.side, c.left, c.stop, order)


cdef inline int left_before(int status) noexcept nogil:
    """Which status names an account: lots that wait first, then by number."""
    return status - LEFT_HALTED - 1 if status == LEFT_BANDED or status == LEFT_HALTED else status


cdef inline int64_t affordable(run_t* r, const closing_t* c, int64_t lots, int64_t price) noexcept nogil:
    """The most lots, up to `lots`, whose gap at this price the fund can pay."""
    cdef int64_t yes = 0, no = lots, mid
    cdef wide_t has = fund_has(r)
    cdef const terms_t* t = &r.terms[c.instrument]
    if wide_cmp(wide_of(trade_value(t, c.side * lots, price) - closing_worth(r, c, lots)), has) <= 0:
        return lots
    while no - yes > 1:
        mid = yes + (no - yes) // 2
        if wide_cmp(wide_of(trade_value(t, c.side * mid, price) - closing_worth(r, c, mid)), has) <= 0:
            yes = mid
        else:
            no = mid
    return yes


cdef inline void backed_walk(run_t* r, closing_t* c, int64_t limit, int64_t order, int flags) noexcept nogil:
    """Take lots within a limit, the fund paying what each fill is worse than the bankruptcy value. It stops where the fund cannot pay a lot's
    gap whole."""
    cdef int i = c.instrument
    cdef int64_t wanted, k, worth, value, price
    cdef uint32_t maker
    cdef bint stopped = False
    begin_order(r, i)
    while c.left > 0 and not stopped and r.error == 0:
        maker = next_maker(r, i, c.side, limit)
        if maker == 0:
            break
        if gives_way(r, i, c.party.account, maker, order):
            continue
        wanted = book_lots(&r.books[i], maker)
        price = book_price(&r.books[i], maker)
        if wanted > c.left:
            wanted = c.left
        k = affordable(r, c, wanted, price)
        stopped = k < wanted
        if k == 0:
            break
        worth = closing_worth(r, c, k)
        value = fill(r, i, c.party, maker, c.side * k, order, c.record.seq, flags, False)
        fund_pays(r, c.party.account, value - worth if value > worth else 0, WHY_GAP, i, c.record)
        c.done += k
        c.left -= k
        c.worth_of_fills += worth
        c.record.filled += k
        c.record.filled_value += value
        c.record.closed_value += magnitude(value)
    c.stop = REASON_NONE
    if c.left > 0 and (not stopped or r.instruments[i].halted_until != 0):
        c.stop = what_stops(r, i, c.side, limit)


cdef inline void fund_walk(run_t* r, closing_t* c) noexcept nogil:
    """Walk on below the bankruptcy price while the fund can pay each lot's gap whole."""
    cdef int64_t order = emit(
        r, EVENT_ORDER, c.instrument, c.party.account, -1, c.side * c.left, 0, 0, c.record.seq, FUND_WALK_ORDER
    )
    backed_walk(r, c, widest_limit(c.side), order, FUND_WALK_ORDER)
    cancel_rest(r, c, order, REASON_IOC)


cdef inline void residual_stages(run_t* r, closing_t* c) noexcept nogil:
    """What happens, in the order of the rules, to lots that the order did not fill."""
    cdef int stage
    for stage in range(r.rules.residual_n):
        if c.left == 0 or c.stop != REASON_NONE or r.error != 0:
            return
        if r.rules.residual[stage] == STAGE_FUND_WALK:
            if r.rules.order_price == ORDER_AT_BANKRUPTCY and c.has_price and wide_sign(fund_has(r)) != 0:
                fund_walk(r, c)
        elif r.rules.residual[stage] == STAGE_VAULT:
            vault_takes(r, c)
        elif not r.rules.adl_negative_only or c.record.equity < 0:
            deleverage(r, c)


cdef inline bint backed_by_fund(const run_t* r) noexcept nogil:
    """Whether the fund pays the gaps of the order itself: under a fillable price, if it walks at all."""
    cdef int stage
    if r.rules.order_price == ORDER_AT_FILLABLE:
        for stage in range(r.rules.residual_n):
            if r.rules.residual[stage] == STAGE_FUND_WALK:
                return True
    return False


cdef inline void finish_record(run_t* r, const closing_t* c, wide_t fees_before) noexcept nogil:
    """Take the liquidation fee, and count."""
    cdef int64_t fees = wide_low(wide_sub(r.taker_fees, fees_before))
    c.record.left = c.left
    c.record.fee = fees + liquidation_fee(r, c.party.account, c)
    count_liquidation(r, c.record)


cdef inline void close_position(run_t* r, int32_t a, int32_t k, int64_t lots, bint follows, liquidation_t* l) noexcept nogil:
    """Send one order for lots of a position; what the book does not take goes through the residual stages, or is left to the order that
    follows."""
    cdef closing_t c = closing_begin(r, a, k, lots, l)
    cdef int64_t limit = order_limit(r, &c), order
    cdef wide_t fees = r.taker_fees
    cdef walked_t w
    cdef bint fok = r.rules.order_fok and lots < c.lots
    cdef int reason = REASON_IOC
    order = emit(
        r, EVENT_ORDER, c.instrument, a, -1, l.quantity, limit * 1024 if r.rules.order_price != ORDER_AT_MARKET else 0, 0, l.seq,
        LIQUIDATION_ORDER,
    )
    context_begin(r, order, r.wave, r.records_n - 1)
    if fok and not fillable_whole(r, c.instrument, a, c.side, limit, lots):
        reason = REASON_FOK_UNFILLABLE
        c.stop = what_would_stop(r, c.instrument, c.side, limit)
    elif not fok and backed_by_fund(r):
        backed_walk(r, &c, limit, order, LIQUIDATION_ORDER)
    else:
        w = walk(r, c.instrument, c.party, l.quantity, limit, order, l.seq, LIQUIDATION_ORDER)
        c.left = w.left
        c.stop = w.stop
        c.worth_of_fills = closing_worth(r, &c, lots - w.left)
        c.done = lots - w.left
        l.filled = c.done
        l.filled_value = <int64_t>wide_low(w.value)
        l.closed_value = magnitude(l.filled_value)
    cancel_rest(r, &c, order, reason)
    if not follows:
        residual_stages(r, &c)
    if c.left == 0:
        l.status = LEFT_CLOSED
    elif follows:
        l.status = LEFT_PART
    else:
        l.status = left_status(&c)
    finish_record(r, &c, fees)
    r.turn_closed = wide_add(r.turn_closed, wide_of(l.closed_value))


cdef inline void deleverage_position(run_t* r, int32_t a, int32_t k, liquidation_t* l) noexcept nogil:
    """Deleverage a position without an order; what finds no counterparty is for the orders that follow."""
    cdef closing_t c = closing_begin(r, a, k, magnitude(r.rows[k].lots), l)
    context_begin(r, r.seq + 1, r.wave, r.records_n - 1)
    deleverage(r, &c)
    l.status = LEFT_PART if c.left > 0 else LEFT_CLOSED
    finish_record(r, &c, r.taker_fees)


# -- the turn --------------------------------------------------------------------------------------------------------


cdef inline void cancel_all(run_t* r, int32_t a, int64_t turn) noexcept nogil:
    """Take the account's resting orders off, instrument by instrument, oldest first."""
    cdef int i
    cdef uint32_t h, following
    for i in range(r.instruments_n):
        h = book_owner_first(&r.books[i], a)
        while h != 0:
            following = book_owner_next(&r.books[i], h)
            cancel_order(r, i, h, turn, REASON_OWNER)
            h = following


cdef inline bint account_is_below(const standing_t* s, int64_t num, int64_t den) noexcept nogil:
    """Whether an account with open positions has less equity than this part of its maintenance; never under den 0."""
    return den != 0 and not s.flat and wide_cmp(wide_mul(s.equity, den), wide_mul(num, s.maintenance)) < 0


cdef inline bint offset_hedges(run_t* r, int32_t a, int64_t turn) noexcept nogil:
    """Close long against short slots at the mark, instrument by instrument; whether there were any."""
    cdef int32_t k = r.accounts[a].first_row, end = k + r.accounts[a].rows_n
    cdef int64_t lots
    cdef party_t long_side, short_side
    cdef bint found = False
    cdef int i
    long_side.account = a
    short_side.account = a
    while k < end:      # rows are in order of instruments; those made in a run are in the slot of one-way mode
        i = r.rows[k].instrument
        long_side.row = k
        short_side.row = row_find(r, a, i, SHORT) if r.rows[k].slot == LONG and r.rows[k].lots != 0 else -1
        if short_side.row >= 0 and r.rows[short_side.row].lots != 0:
            lots = magnitude(r.rows[k].lots)
            if magnitude(r.rows[short_side.row].lots) < lots:
                lots = magnitude(r.rows[short_side.row].lots)
            trade(
                r, EVENT_OFFSET, long_side, short_side, i, -lots, mark_value(&r.terms[i], -lots, r.instruments[i].mark), 0, turn, turn, 0
            )
            found = True
        k += 1
    return found


# What became of the orders of a turn.
ctypedef struct served_t:
    liquidation_t* record   # the latest, NULL before any
    liquidation_t spare     # for runs that keep no records
    int worst               # LEFT_* of lots that were ordered last and stay open, 0: none
    bint all_beyond         # all of what stays open does so where knowledge ends
    bint parted             # a part was ordered for which the account rests


cdef inline void order_lots(
    run_t* r, int32_t a, int32_t k, int64_t lots, bint follows, int64_t turn, const case_t* case, const standing_t* s, served_t* out
) noexcept nogil:
    """One order, with its record."""
    out.record = record_begin(r, a, turn, case, s, &out.spare)
    close_position(r, a, k, lots, follows, out.record)


cdef inline void served_add(served_t* out, int status) noexcept nogil:
    """Lots that stay open, and why."""
    out.worst = status if out.worst == 0 or left_before(status) < left_before(out.worst) else out.worst
    out.all_beyond = out.all_beyond and status == LEFT_BEYOND_DATA


cdef inline void cut_add(served_t* out, int64_t lots) noexcept nogil:
    """An order that the step's limit cut to these lots: the rest waits for the next step, but for what stopped the order itself."""
    if lots > 0 and out.record.left > 0:
        served_add(out, out.record.status)
    else:
        out.all_beyond = False


cdef inline void take_position(
    run_t* r, int32_t a, int32_t k, int64_t turn, const case_t* case, const standing_t* now, served_t* out
) noexcept nogil:
    """The orders of one position in one turn."""
    cdef int i = r.rows[k].instrument
    cdef int64_t held, wanted, n
    cdef bint follows
    cdef standing_t s = now[0]
    while r.error == 0:
        if r.instruments[i].halted_until != 0:
            served_add(out, LEFT_HALTED)
            return
        held = magnitude(r.rows[k].lots)
        wanted = lots_to_order(r, a, k, case.parted)
        n = lots_within_step(r, i, r.rows[k].lots, wanted)
        follows = wanted < held and r.rules.size != SIZE_FRACTION
        if n > 0:
            order_lots(r, a, k, n, follows and n == wanted, turn, case, &s, out)
        if n < wanted:      # the rest of what this step may close is for the next one
            cut_add(out, n)
            return
        if follows:
            s = standing_of(r, a)
            if not standing_unhealthy(r, &s):
                return
            if r.rules.size == SIZE_STEP_DOWN and out.record.left == 0:
                if r.rules.cooldown_ns > 0:
                    out.all_beyond = False
                    out.parted = True
                    return
                continue
            if r.instruments[i].halted_until != 0:
                served_add(out, LEFT_HALTED)
                return
            held = magnitude(r.rows[k].lots)
            n = lots_within_step(r, i, r.rows[k].lots, held)
            if n > 0:
                order_lots(r, a, k, n, False, turn, case, &s, out)
            if n < held:
                cut_add(out, n)
                return
        if out.record.left > 0:
            served_add(out, out.record.status)
        elif n < held:
            out.all_beyond = False
        out.parted = out.parted or n < held
        return


cdef inline void sell_collateral(run_t* r, int32_t a, int64_t turn, const case_t* case, served_t* out) noexcept nogil:
    """Sell asset after asset, each in its own book, while the account (with HOLDS_COLLATERAL) owes in the settlement asset, unrealised
    loss at the marks counted."""
    cdef int32_t k = -1
    cdef int64_t owed
    cdef standing_t s
    while r.error == 0:
        s = standing_of(r, a)
        owed = collateral_value(r, a, False) - s.equity
        if owed <= 0:
            return
        k = sale_next(r, a, k)
        if k < 0:
            return
        if r.instruments[r.rows[k].instrument].halted_until != 0:
            served_add(out, LEFT_HALTED)
            continue
        out.record = record_begin(r, a, turn, case, &s, &out.spare)
        sell(r, a, k, lots_to_cover(r, a, &r.rows[k], owed), out.record)
        if out.record.left > 0:
            served_add(out, out.record.status)


cdef inline void note_health(run_t* r, int32_t a, const standing_t* now, case_t* case) noexcept nogil:
    """After its turn: the account is healthy again if it is so at the frozen marks and at the shadow marks, where causes are looked
    for; else it keeps its cause."""
    cdef standing_t s
    if standing_unhealthy(r, now):
        return
    s = standing_shadow(r, a)
    if not standing_unhealthy(r, &s):
        case.healthy_at = r.seq
        case.open = False


cdef inline void served_none(served_t* out) noexcept nogil:
    """Before any order of a turn."""
    out.record = NULL
    out.worst = 0
    out.all_beyond = True
    out.parted = False


cdef inline void turn_rest(
    run_t* r, int32_t a, int32_t first, int32_t n, int64_t turn, int64_t changes, bint changed, bint offset, bint sells, case_t* case,
    standing_t* s, served_t* out
) noexcept nogil:
    """Positions [first, n) of run_t.taken in a turn that began at `changes`, and all that follows them. `changed`: the account's standing
    is no longer `s`."""
    cdef int32_t k
    for k in range(first, n):
        if r.error != 0:
            break
        if k > 0 or changed:
            s[0] = standing_of(r, a)
            if r.rules.size != SIZE_ALL and not standing_unhealthy(r, s):
                break
        if r.rows[r.taken[k]].lots != 0:
            take_position(r, a, r.taken[k], turn, case, s, out)
    if sells and account_flat(r, a):
        sell_collateral(r, a, turn, case, out)
    if out.record == NULL:
        s[0] = standing_of(r, a)
        out.record = record_begin(r, a, turn, case, s, &out.spare)
        if out.worst == LEFT_HALTED:
            out.record.status = LEFT_HALTED
        elif offset:
            out.record.status = LEFT_OFFSET
    case.left = 0
    if account_flat(r, a):
        settle_flat(r, a, turn, out.record)
        if r.accounts[a].balance >= 0:      # owes nothing any more: healthy at any mark
            case.healthy_at = r.seq
            case.open = False
            return
    s[0] = standing_of(r, a)
    note_health(r, a, s, case)
    if out.parted and r.rules.size == SIZE_FRACTION and r.rules.then_whole and not case.parted:
        case.parted = True
        r.changes += 1      # its next turn is another one, even if this one traded nothing
    if standing_unhealthy(r, s):
        if r.changes == changes:
            case.idle_changes = changes
            case.idle_marks = r.marks_version
            r.any_stuck = True
        case.left = <uint8_t>out.worst
        if out.worst != 0 and out.all_beyond:
            r.accounts[a].state |= STUCK
            r.any_stuck = True
        elif out.parted and r.changes != changes:
            case.rest_until = r.time_ns + r.rules.cooldown_ns


cdef inline bint turn(run_t* r, const waiting_t* waiting) noexcept nogil:
    """Liquidate one account as far as the rules go; False when it has recovered meanwhile."""
    cdef int32_t a = waiting.account, n, k
    cdef case_t* case = &r.cases[r.accounts[a].turn_case]
    cdef standing_t s = standing_of(r, a)
    cdef served_t out
    cdef int64_t seq, changes = r.changes
    cdef bint offset = False, changed = False, sells = r.accounts[a].flags & HOLDS_COLLATERAL != 0
    case.turn_step = r.step
    case.last_wave = r.wave
    if not standing_unhealthy(r, &s):
        emit(r, EVENT_RECOVERED, NO_INSTRUMENT, a, -1, 0, 0, s.equity, waiting.seq, 0)
        r.totals.recovered += 1
        note_health(r, a, &s, case)
        return False
    if account_waits(r, a):
        case.left = LEFT_HALTED
        return False
    seq = emit(r, EVENT_TURN, NO_INSTRUMENT, a, -1, 0, 0, s.equity, waiting.seq, 0)
    context_begin(r, seq, r.wave, r.records_n)
    served_none(&out)
    r.turn_paid = r.turn_closed = wide_of(0)
    if r.rules.cancel_orders:
        cancel_all(r, a, seq)
    if r.rules.offset_hedges:
        offset = offset_hedges(r, a, seq)
        s = standing_of(r, a)
        changed = True
    if sells and r.rules.sell_collateral_first:
        sell_collateral(r, a, seq, case, &out)
        sells = out.worst == 0
        s = standing_of(r, a)
        changed = True
    n = gather_taken(r, a)
    for k in range(n):
        # Scratch is used again below only by those who fill it themselves; the order of positions is kept in `taken`.
        if not run_room(r, <void**>&r.taken, &r.taken_cap, n, sizeof(int32_t)):
            return True
        r.taken[k] = r.scratch[k].at
    if account_is_below(&s, r.rules.adl_below_num, r.rules.adl_below_den):
        for k in range(n):
            s = standing_of(r, a)
            out.record = record_begin(r, a, seq, case, &s, &out.spare)
            deleverage_position(r, a, r.taken[k], out.record)
        changed = True
    elif account_is_below(&s, r.rules.vault_below_num, r.rules.vault_below_den):
        out.record = vault_takes_all(r, a, n, seq, case, &out.spare)
        changed = True
    turn_rest(r, a, 0, n, seq, changes, changed, offset, sells, case, &s, &out)
    return True
