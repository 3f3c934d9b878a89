"""The OrderBook class: one book and its messages, behind Python arguments. Included by _core.pyx."""


cdef int64_t exact_i64(object value, str name) except? -1:
    """A Python integer as int64; everything else is an error that names it."""
    cdef int overflow = 0
    cdef int64_t number
    if PyLong_CheckExact(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow == 0:
            return number
    return _orders.exact_int(value, name)


cdef object ZERO = 0     # the default of optional codes: CPython has one


cdef int64_t exact_code(object value, str name, int64_t high) except? -1:
    """A Python integer in 0..high."""
    cdef int64_t number
    if value is ZERO:
        return 0
    number = exact_i64(value, name)
    if not 0 <= number <= high:
        _orders.exact_int(value, name, 0, high)
    return number


cdef uint64_t exact_id(object value) except? 0:
    """A Python integer as an order's id."""
    cdef int overflow = 0
    cdef int64_t number
    if PyLong_CheckExact(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow == 0 and number >= 0:
            return <uint64_t>number
    return _orders.exact_int(value, "order_id", 0, 2**64 - 1)


cdef int side_code(object value) except 0:
    """SIDE_BUY or SIDE_SELL of a side code."""
    cdef int64_t number
    if PyLong_CheckExact(value):
        number = exact_i64(value, "side")
        if number == 1 or number == -1:
            return <int>number
    return _orders.exact_side(value)


cdef int side_index(object value) except -1:
    """BID or ASK of a side code."""
    return BID if side_code(value) == SIDE_BUY else ASK


cdef object wide_position(const owner_t* own):
    """A net position as a Python integer."""
    return (<object>own.position_high << 64) + <object>own.position_low


cdef OrderBook orderbook_from(const book_t* source, object matching):
    """A new OrderBook with a copy of `source`."""
    cdef OrderBook book = OrderBook(matching)
    raise_status(book_copy(&book.book, source))
    return book


@cython.final
cdef class OrderBook:
    """A limit order book in integer ticks and lots.

    `docs/orderbook.md` has the meaning of every message, flag and report.

    Parameters
    ----------
    matching : str or Matching, optional
        How a level is divided among its orders: ``"fifo"`` is price, then time; ``"pro_rata"`` and CME's letters
        ``"A"``, ``"C"``, ``"F"``, ``"K"``, ``"O"``, ``"Q"``, ``"S"``, ``"T"`` are presets of `Matching`.
    reserve : int, optional
        Number of resting orders to take memory for at once.

    Raises
    ------
    InputError
        If `matching` is not known.
    CapacityError
        If there is no memory for `reserve` orders.

    Notes
    -----
    One thread at a time: a second concurrent caller gets an EngineStateError at once. `process` releases the
    GIL.

    Examples
    --------
    >>> import cascade as cs
    >>> book = cs.OrderBook()
    >>> book.limit(cs.Side.BUY, 99, 4)
    1
    >>> book.best_bid, book.best_ask
    (99, None)
    """

    cdef book_t book
    cdef int busy           # 1 while a thread is inside
    cdef readonly object matching
    """The allocation rule, a `Matching`."""

    def __cinit__(self, matching="fifo", reserve=0):
        raise_status(book_init(&self.book))
        self.matching = as_matching(matching)
        cdef int64_t orders = _orders.exact_int(reserve, "reserve", 0, MAX_HANDLES)
        cdef rule_t* rule = &self.book.rule
        cdef int k
        codes = self.matching.codes
        rule.steps_n = <int>len(codes)
        for k in range(rule.steps_n):
            rule.steps[k] = codes[k]
        rule.top_min = self.matching.top_min
        rule.top_max = self.matching.top_max
        rule.pro_rata_min = self.matching.pro_rata_min
        rule.fifo_percent = self.matching.fifo_percent
        rule.fifo = rule.steps_n == 1 and rule.steps[0] == STEP_FIFO
        rule.whole = rule.steps[rule.steps_n - 1] == STEP_FIFO
        for k in range(rule.steps_n):
            rule.has_top = rule.has_top or rule.steps[k] == STEP_TOP
        if orders > 0:
            raise_status(book_expect(&self.book, orders))

    def __dealloc__(self):
        book_free(&self.book)

    cdef int enter(self) except -1:
        if not cascade_flag_take(&self.busy):
            raise EngineStateError("order book: busy in another thread")
        return 0

    cdef void leave(self) noexcept:
        cascade_flag_give(&self.busy)

    # Messages

    def process(self, orders, *, out=None, reports="all"):
        """Deal with a table of messages, in order.

        Parameters
        ----------
        orders : table
            Array of ORDER_DTYPE, or any table (dict of arrays, structured array, data frame) with `order_id`
            and a subset of the other fields; what is missing is 0.
        out : ndarray of REPORT_DTYPE, optional
            A buffer to write the reports to.
        reports : {"all", "trades", "none"}, optional
            Which reports to give.

        Returns
        -------
        ndarray of REPORT_DTYPE, shape (reports,)
            The reports in event order; `message` is the row that caused it. Without `out` only. Once the
            array is gone, its memory is kept for the next call (one block, at most 512 MB).
        tuple of int
            (reports written, rows dealt with), with `out`. A message is dealt with only when all its reports
            fit the rest of the buffer: go on with ``orders[rows:]`` and nothing is lost.

        Raises
        ------
        InputError, InputTypeError, RangeError
            If `orders` is no table of integers, or `out` no such buffer. A bad *row* raises nothing: it is
            refused with a REJECTED report.
        CapacityError
            If the first row alone has more reports than `out` holds (the message says how many; nothing has
            changed), or if memory for the reports runs out (the message says how many rows have been dealt
            with).
        EngineStateError
            If another thread is inside.
        """
        cdef bint trades
        cdef bint none = reports == "none"
        if reports != "all" and reports != "trades" and not none:
            raise InputError(f"reports = {reports!r}: must be 'all', 'trades' or 'none'")
        trades = reports == "trades"
        table = _orders.as_orders(orders)
        cdef int64_t n = table.shape[0]
        cdef const uint8_t[::1] source = table.view(np.uint8)
        cdef uint8_t[::1] target
        cdef const order_msg_t* messages = <const order_msg_t*>&source[0] if n > 0 else NULL
        cdef int64_t needed = 0, done = 0
        cdef sink_t sink, stage
        cdef ReportBlock block = None
        if out is not None:
            _orders.check_out(out, table)
        if none:
            sink_count(&sink)
        elif out is not None:
            target = out.view(np.uint8)
            sink_fix(&sink, <report_t*>&target[0] if out.shape[0] > 0 else NULL, out.shape[0])
        else:
            block = REPORTS.take(16 if trades else 2 * n + min(<int64_t>book_count(&self.book), n) + 16)
            block.lend(&sink)
        self.enter()
        try:
            with nogil:
                if trades:
                    sink_grow(&stage, NULL, 0, 0)
                    done = book_process_trades(&self.book, messages, n, 0, &sink, &stage, &needed)
                    PyMem_RawFree(stage.memory)
                else:
                    done = book_process(&self.book, messages, n, 0, &sink, &needed)
        finally:
            self.leave()
            if block is not None:
                block.take_back(&sink)
        if sink.failed:
            raise CapacityError(f"reports: out of memory, rows before {done} are dealt with")
        if out is None:
            return np.empty(0, REPORT_DTYPE) if none or sink.n == 0 else block.array(sink.n)
        if needed < 0:
            raise CapacityError(f"order book: out of memory, rows before {done} are dealt with")
        if n > 0 and done == 0:
            raise CapacityError(f"out: holds {sink.cap} reports, row 0 alone gives {needed}")
        return (0 if none else sink.n), done

    cdef int one(self, order_msg_t* m) except -1:
        """Deal with one message inside `enter`; a refusal is an InputError."""
        cdef plan_t plan
        cdef sink_t sink
        cdef report_t report
        if message_plain(&self.book, m, 0, &report):
            return 0
        sink_count(&sink)
        match_prepare(&self.book, m, 0, &plan)
        if plan.reason != 0:
            raise _orders.rejection(m.order_id, plan.reason)
        match_commit(&self.book, m, &plan, &sink)
        return 0

    cdef object submit(self, order_msg_t* m, object order_id, object least, object budget):
        """Deal with one NEW; its id."""
        cdef plan_t plan
        if order_id is not None:
            m.order_id = exact_id(order_id)
        self.enter()
        try:
            if order_id is None:
                if self.book.last_id == <uint64_t>-1:
                    raise RangeError("order_id: the largest one has been used, none can follow")
                m.order_id = self.book.last_id + 1
            if least is not None or budget is not None:
                # What the book refuses anyway it refuses for its own reason.
                match_prepare(&self.book, m, 0, &plan)
                if plan.reason != 0:
                    raise _orders.rejection(m.order_id, plan.reason)
            if least is not None and self.reach(m.side, m.price) < least:
                raise _orders.rejection(m.order_id, REASON_FOK_UNFILLABLE)
            if budget is not None:
                cost = self.walk_cost(m.side, m.quantity)
                if cost is None or (cost > budget if m.side == SIDE_BUY else cost < budget):
                    raise _orders.rejection(m.order_id, REASON_FOK_UNFILLABLE)
            self.one(m)
        finally:
            self.leave()
        return m.order_id

    def limit(
        self, side, price, quantity, *, order_id=None, owner=0, tif=0, display=0, reduce_only=False, stp=0,
        min_quantity=None,
    ):
        """Send one limit order.

        Parameters
        ----------
        side : Side
            1 buys, -1 sells.
        price : int
            Ticks, any int64.
        quantity : int
            Lots, 1 to 2**62.
        order_id : int, optional
            An id that is not live; by default the largest id accepted so far plus one.
        owner : int, optional
            >= 0; 0 is nobody.
        tif : TimeInForce, optional
            GTC, IOC, FOK or POST_ONLY.
        display : int, optional
            Lots that an iceberg shows at a time; 0 shows all.
        reduce_only : bool, optional
            Trade only what brings the owner's position (`set_position`) nearer to 0.
        stp : Stp, optional
            What happens when it meets an order of the same owner.
        min_quantity : int, optional
            Of an IOC order: lots that must be there to trade at once, else it is refused.

        Returns
        -------
        int
            The order's id.

        Raises
        ------
        InputError
            If the book refuses the order; the message names the Reason. Nothing has changed.
        """
        cdef order_msg_t m
        memset(&m, 0, sizeof(order_msg_t))
        m.side = <int8_t>side_code(side)
        m.price = exact_i64(price, "price")
        m.quantity = exact_i64(quantity, "quantity")
        m.owner = <int32_t>exact_code(owner, "owner", MAX_HANDLES)
        m.tif = <uint8_t>exact_code(tif, "tif", 255)
        m.display = exact_code(display, "display", INT64_MAX)
        m.stp = <uint8_t>exact_code(stp, "stp", 255)
        if reduce_only:
            m.flags = FLAG_REDUCE_ONLY
        if min_quantity is not None:
            _orders.exact_int(min_quantity, "min_quantity", 0)
            if m.tif != TIF_IOC:
                raise InputError(f"min_quantity = {min_quantity}: is for orders with tif IOC")
        return self.submit(&m, order_id, min_quantity, None)

    def market(self, side, quantity, *, order_id=None, owner=0, tif=0, reduce_only=False, stp=0, budget=None):
        """Send one market order; what the book cannot fill is cancelled.

        Parameters
        ----------
        side : Side
            1 buys, -1 sells.
        quantity : int
            Lots, 1 to 2**62.
        tif : TimeInForce, optional
            GTC and IOC are the same here; FOK is refused unless the book fills it whole.
        budget : int, optional
            Ticks times lots: a buy is refused unless the whole quantity costs at most this, a sell unless it
            brings at least this.
        order_id, owner, reduce_only, stp : optional
            As in `limit`.

        Returns
        -------
        int
            The order's id.

        Raises
        ------
        InputError
            If the book refuses the order.
        """
        cdef order_msg_t m
        memset(&m, 0, sizeof(order_msg_t))
        m.side = <int8_t>side_code(side)
        m.type = TYPE_MARKET
        m.quantity = exact_i64(quantity, "quantity")
        m.owner = <int32_t>exact_code(owner, "owner", MAX_HANDLES)
        m.tif = <uint8_t>exact_code(tif, "tif", 255)
        m.stp = <uint8_t>exact_code(stp, "stp", 255)
        if reduce_only:
            m.flags = FLAG_REDUCE_ONLY
        if budget is not None:
            _orders.exact_int(budget, "budget", -(2**127), 2**127)
        return self.submit(&m, order_id, None, budget)

    def stop(
        self, side, stop_price, quantity, *, price=None, on_mark=False, order_id=None, owner=0, tif=0, display=0,
        reduce_only=False, stp=0,
    ):
        """Send one stop order: it acts once the last price or the mark reaches its stop price.

        Parameters
        ----------
        side : Side
            1 acts at or above `stop_price`, -1 at or below.
        stop_price : int
            Ticks, any int64.
        quantity : int
            Lots, 1 to 2**62.
        price : int, optional
            The limit of the order that it becomes (STOP_LIMIT); a market order (STOP) without it.
        on_mark : bool, optional
            Trigger on the mark (`set_mark`) instead of the last price.
        order_id, owner, tif, display, reduce_only, stp : optional
            As in `limit`.

        Returns
        -------
        int
            The order's id.

        Raises
        ------
        InputError
            If the book refuses the order.
        """
        cdef order_msg_t m
        memset(&m, 0, sizeof(order_msg_t))
        m.side = <int8_t>side_code(side)
        m.stop_price = exact_i64(stop_price, "stop_price")
        m.quantity = exact_i64(quantity, "quantity")
        m.type = TYPE_STOP
        if price is not None:
            m.type = TYPE_STOP_LIMIT
            m.price = exact_i64(price, "price")
        m.owner = <int32_t>exact_code(owner, "owner", MAX_HANDLES)
        m.tif = <uint8_t>exact_code(tif, "tif", 255)
        m.display = exact_code(display, "display", INT64_MAX)
        m.stp = <uint8_t>exact_code(stp, "stp", 255)
        m.flags = (FLAG_REDUCE_ONLY if reduce_only else 0) | (FLAG_MARK_TRIGGER if on_mark else 0)
        return self.submit(&m, order_id, None, None)

    def cancel(self, order_id):
        """Take one resting order or waiting stop off.

        Parameters
        ----------
        order_id : int

        Raises
        ------
        InputError
            If no live order has this id.
        """
        cdef order_msg_t m
        memset(&m, 0, sizeof(order_msg_t))
        m.action = ACTION_CANCEL
        m.order_id = exact_id(order_id)
        self.enter()
        try:
            self.one(&m)
        finally:
            self.leave()

    def modify(self, order_id, price, quantity):
        """Change one resting order or waiting stop. Less at the same price keeps its place; anything else
        leaves it, trades if it crosses and rests last.

        Parameters
        ----------
        order_id : int
        price : int
            New (limit) price, ticks.
        quantity : int
            New open quantity, lots, hidden ones included, whatever was filled before.

        Raises
        ------
        InputError
            If no live order has this id, or the quantity is not 1 to 2**62.
        """
        cdef order_msg_t m
        memset(&m, 0, sizeof(order_msg_t))
        m.action = ACTION_MODIFY
        m.order_id = exact_id(order_id)
        m.price = exact_i64(price, "price")
        m.quantity = exact_i64(quantity, "quantity")
        self.enter()
        try:
            self.one(&m)
        finally:
            self.leave()

    def cancel_owner(self, owner):
        """Take all resting orders and waiting stops of an owner off, oldest first.

        Parameters
        ----------
        owner : int
            > 0.

        Returns
        -------
        ndarray of REPORT_DTYPE
            One CANCELLED each, reason OWNER.
        """
        cdef int32_t number = self.owner_number(owner)
        cdef int64_t n = 0
        cdef uint32_t h
        cdef sink_t sink
        cdef uint8_t[::1] target
        self.enter()
        try:
            h = book_owner_first(&self.book, number)
            while h != 0:
                n += 1
                h = book_owner_next(&self.book, h)
            buffer = np.empty(n, REPORT_DTYPE)
            if n > 0:
                target = buffer.view(np.uint8)
                sink_fix(&sink, <report_t*>&target[0], n)
                match_cancel_owner(&self.book, number, &sink)
        finally:
            self.leave()
        return buffer

    cdef int32_t owner_number(self, object owner) except -1:
        """An owner > 0."""
        cdef int64_t number = _orders.exact_int(owner, "owner", 0, MAX_HANDLES)
        if number == 0:
            raise InputError("owner = 0: is nobody, must be > 0")
        return <int32_t>number

    def set_mark(self, price):
        """Set the mark, the trigger price of stops with the flag MARK_TRIGGER; those that it reaches act.

        Parameters
        ----------
        price : int
            Ticks, any int64.

        Returns
        -------
        ndarray of REPORT_DTYPE
            What the stops did; `message` is 0.
        """
        cdef int64_t ticks = exact_i64(price, "price")
        cdef sink_t sink
        cdef ReportBlock block = REPORTS.take(16)
        block.lend(&sink)
        self.enter()
        try:
            with nogil:
                match_set_mark(&self.book, ticks, &sink)
        finally:
            self.leave()
            block.take_back(&sink)
        if sink.failed:
            raise CapacityError("reports: out of memory, the mark is set and its stops have acted")
        return block.array(sink.n) if sink.n > 0 else np.empty(0, REPORT_DTYPE)

    def set_position(self, owner, lots):
        """State an owner's net position, which reduce-only orders bring nearer to 0. Trades move it from there.

        Parameters
        ----------
        owner : int
            > 0.
        lots : int
            Signed, -2**62 to 2**62.
        """
        cdef int32_t number = self.owner_number(owner)
        cdef int64_t position = _orders.exact_int(lots, "lots", -(2**62), 2**62)
        cdef int32_t k
        self.enter()
        try:
            raise_status(book_reserve_rare(&self.book, True, False))
            k = book_owner_record(&self.book, number)
            self.book.owners[k].position_high = -1 if position < 0 else 0
            self.book.owners[k].position_low = <uint64_t>position
            book_owner_settle(&self.book, k)
        finally:
            self.leave()

    def position(self, owner):
        """An owner's net position: what `set_position` stated, and the owner's trades in this book since.

        Parameters
        ----------
        owner : int
            > 0.

        Returns
        -------
        int
            Lots, signed.
        """
        cdef int32_t number = self.owner_number(owner)
        cdef int32_t k
        self.enter()
        try:
            k = book_owner_find(&self.book, number)
            return wide_position(&self.book.owners[k]) if k > 0 else 0
        finally:
            self.leave()

    def set_lmm(self, owner, percent):
        """Name an owner lead market maker, for allocation rules with an ``"lmm"`` step.

        Parameters
        ----------
        owner : int
            > 0.
        percent : int
            Its share, 0 to 100; 0 takes the role away.
        """
        cdef int32_t number = self.owner_number(owner)
        cdef int32_t share = <int32_t><int64_t>_orders.exact_int(percent, "percent", 0, 100)
        cdef int32_t k
        self.enter()
        try:
            raise_status(book_reserve_rare(&self.book, True, False))
            k = book_owner_record(&self.book, number)
            self.book.owners[k].lmm_percent = share
            book_owner_settle(&self.book, k)
        finally:
            self.leave()

    def set_levels(self, side, prices, quantities):
        """Set anonymous (L2) levels absolutely, as a market-data update does.

        Parameters
        ----------
        side : Side
            1 sets bids, -1 asks.
        prices : array of int, shape (n,)
            Ticks, each price once.
        quantities : array of int, shape (n,)
            Lots of the external order at that price: 0 takes it off, another quantity replaces it in its
            place in the queue, and a new one joins at the end. Other orders at the price are not touched.

        Raises
        ------
        InputError
            For unequal lengths, a repeated price, a quantity outside 0..2**62, or a price at or through the
            other side's best. Nothing has changed.
        RangeError
            If a level's sum would not fit 64 bits.
        """
        cdef int s = side_index(side)
        # Copies: what has been checked must not change before it is set.
        price_column = _orders.integer_column(prices, np.dtype(np.int64), "prices").copy()
        lots_column = _orders.integer_column(quantities, np.dtype(np.int64), "quantities").copy()
        _orders.check_levels(price_column, lots_column)
        if self.book.rule.has_top:
            # Worst first: the order decides which of the levels better the market.
            worst_first = np.argsort(price_column if s == BID else ~price_column)
            price_column, lots_column = price_column[worst_first], lots_column[worst_first]
        cdef const int64_t[::1] price = price_column
        cdef const int64_t[::1] lots = lots_column
        cdef int64_t i, n = price.shape[0]
        cdef uint32_t h
        self.enter()
        try:
            if book_has(&self.book, 1 - s):
                far = book_best(&self.book, 1 - s)
                _orders.check_uncrossed(price_column, lots_column, s == BID, far)
            self.check_levels(s, price, lots)
            raise_status(book_reserve(&self.book, n + 1))
            for i in range(n):
                h = book_external_at(&self.book, s, price[i])
                if h != 0 and lots[i] == 0:
                    book_remove(&self.book, h)
                elif h != 0:
                    book_reduce(&self.book, h, lots[i])
                elif lots[i] > 0:
                    raise_status(match_join_external(&self.book, s, price[i], lots[i]))
        finally:
            self.leave()

    cdef int check_levels(self, int s, const int64_t[::1] price, const int64_t[::1] lots) except -1:
        """Would the sums of these levels stay 64-bit integers?"""
        cdef int64_t i, more
        cdef uint32_t h
        for i in range(price.shape[0]):
            h = book_external_at(&self.book, s, price[i])
            more = lots[i] - book_lots(&self.book, h) if h != 0 else lots[i]
            if more > 0 and not book_fits(&self.book, s, price[i], more):
                raise RangeError(f"quantities: the sum of the level {price[i]} does not fit 64 bits")
        return 0

    def clear(self):
        """Take everything off: the book is as it was made, and keeps its memory for what comes next."""
        self.enter()
        try:
            book_clear(&self.book)
        finally:
            self.leave()

    # What the book holds

    cdef object best(self, int side):
        self.enter()
        try:
            return book_best(&self.book, side) if book_has(&self.book, side) else None
        finally:
            self.leave()

    @property
    def best_bid(self):
        """The highest bid in ticks, or None."""
        return self.best(BID)

    @property
    def best_ask(self):
        """The lowest ask in ticks, or None."""
        return self.best(ASK)

    @property
    def last(self):
        """The price of the last trade in ticks, or None."""
        self.enter()
        try:
            return self.book.last_ticks if self.book.has_last else None
        finally:
            self.leave()

    @property
    def mark(self):
        """The mark that `set_mark` set, in ticks, or None."""
        self.enter()
        try:
            return self.book.mark_ticks if self.book.has_mark else None
        finally:
            self.leave()

    def __len__(self):
        self.enter()
        try:
            return book_count(&self.book)
        finally:
            self.leave()

    def __repr__(self):
        return f"OrderBook({len(self)} orders, best_bid={self.best_bid}, best_ask={self.best_ask})"

    def depth(self, n=None):
        """The best levels of both sides.

        Parameters
        ----------
        n : int, optional
            At most so many levels a side; all by default.

        Returns
        -------
        Table
            side (int8), price (ticks), quantity (lots that show), orders; bids first, best price first.
        """
        from cascade.tables import Table

        cdef int64_t most = INT64_MAX if n is None else _orders.exact_int(n, "n", 0)
        cdef int64_t counts[2]
        cdef int64_t k, row = 0
        cdef int s
        cdef uint32_t level
        cdef const level_t* v
        cdef int8_t[::1] side
        cdef int64_t[::1] price, quantity, orders
        self.enter()
        try:
            for s in range(2):
                counts[s] = min(most, <int64_t>self.book.ladder.n[s])
            columns = {"side": np.empty(counts[0] + counts[1], np.int8)}
            for name in ("price", "quantity", "orders"):
                columns[name] = np.empty(counts[0] + counts[1], np.int64)
            side, price, quantity, orders = columns.values()
            for s in range(2):
                level = book_best_level(&self.book, s)
                for k in range(counts[s]):
                    v = &self.book.ladder.levels[level]
                    side[row] = match_side_code(s)
                    price[row] = v.price_ticks
                    quantity[row] = v.quantity_lots
                    orders[row] = v.count
                    row += 1
                    level = book_next_level(&self.book, level)
        finally:
            self.leave()
        return Table(columns)

    def level(self, side, price):
        """One level.

        Parameters
        ----------
        side : Side
        price : int
            Ticks.

        Returns
        -------
        Level
            A named tuple (quantity, orders): the sum of the lots that show and the number of orders, zeros
            where there is no level.
        """
        cdef int s = side_index(side)
        cdef int64_t ticks = exact_i64(price, "price")
        cdef uint32_t level
        self.enter()
        try:
            level = book_level_at(&self.book, s, ticks)
            if level == 0:
                return _orders.Level(0, 0)
            return _orders.Level(self.book.ladder.levels[level].quantity_lots, self.book.ladder.levels[level].count)
        finally:
            self.leave()

    def queue_position(self, order_id):
        """How many orders are ahead of an order at its price; 0 is the front.

        Parameters
        ----------
        order_id : int

        Returns
        -------
        int

        Raises
        ------
        InputError
            If no resting order has this id.
        """
        cdef uint64_t wanted = exact_id(order_id)
        cdef int64_t ahead = 0
        cdef uint32_t h, at
        self.enter()
        try:
            h = book_find(&self.book, wanted)
            if h == 0 or h & STOP_BIT:
                raise InputError(f"order_id = {wanted}: no resting order has this id")
            at = book_front_of(&self.book, self.book.chunks[h >> SLOT_BITS].level)
            while at != h:
                ahead += 1
                at = book_behind(&self.book, at)
            return ahead
        finally:
            self.leave()

    def orders(self):
        """All resting orders.

        Returns
        -------
        Table
            order_id, owner, side (int8), price (ticks), quantity (open lots, hidden ones included), shown
            (lots), display (lots, 0: all), flags (`OrderFlags`), stp, external (bool: an anonymous level's);
            bids first, best price first, oldest first.
        """
        from cascade.tables import Table

        records = self.state()["orders"]
        names = ("order_id", "owner", "side", "price", "quantity", "shown", "display", "flags", "stp")
        columns = {name: records[name].copy() for name in names}
        columns["external"] = records["external"].astype(bool)
        return Table(columns)

    def stops(self):
        """All waiting stop orders.

        Returns
        -------
        Table
            order_id, owner, side (int8), type, tif, stop_price (ticks), price (ticks), quantity (lots),
            display, flags, stp; those on the last price first, sells before buys, in the order in which
            they would be reached.
        """
        from cascade.tables import Table

        records = self.state()["stops"]
        names = ("order_id", "owner", "side", "type", "tif", "stop_price", "price", "quantity", "display", "flags", "stp")
        return Table({name: records[name].copy() for name in names})

    def price_to_fill(self, side, quantity):
        """The worst price that a market order would pay now.

        Parameters
        ----------
        side : Side
            The taker's side: 1 looks at the asks.
        quantity : int
            Lots, > 0.

        Returns
        -------
        int or None
            Ticks; None if the book cannot fill `quantity`.
        """
        cdef int s = side_index(side)
        cdef int64_t left = _orders.exact_int(quantity, "quantity")
        cdef int64_t lots
        cdef uint32_t level
        if left < 1:
            raise InputError(f"quantity = {left}: must be > 0")
        self.enter()
        try:
            level = book_best_level(&self.book, 1 - s)
            while level != 0:
                lots = book_level_open(&self.book, level)
                if left <= lots:
                    return self.book.ladder.levels[level].price_ticks
                left -= lots
                level = book_next_level(&self.book, level)
            return None
        finally:
            self.leave()

    cdef object reach(self, int sign, int64_t limit_ticks):
        """The lots within a limit, inside `enter`."""
        cdef int s = BID if sign == SIDE_BUY else ASK
        cdef uint32_t level = book_best_level(&self.book, 1 - s)
        total = 0       # a Python integer: sums of levels may pass 64 bits
        while level != 0 and match_crosses(s, False, limit_ticks, self.book.ladder.levels[level].price_ticks):
            total += book_level_open(&self.book, level)
            level = book_next_level(&self.book, level)
        return total

    def quantity_to(self, side, price):
        """The lots that an order with a limit would fill now.

        Parameters
        ----------
        side : Side
            The taker's side: 1 looks at the asks.
        price : int
            The limit, ticks; its own level is included.

        Returns
        -------
        int
            Lots, hidden ones included.
        """
        cdef int sign = side_code(side)
        cdef int64_t limit_ticks = exact_i64(price, "price")
        self.enter()
        try:
            return self.reach(sign, limit_ticks)
        finally:
            self.leave()

    cdef object walk_cost(self, int sign, int64_t left):
        """Ticks times lots of a market order, None if the book cannot fill it; inside `enter`."""
        cdef uint32_t level = book_best_level(&self.book, ASK if sign == SIDE_BUY else BID)
        cdef int64_t lots
        total = 0
        while level != 0:
            lots = book_level_open(&self.book, level)
            if lots > left:
                lots = left
            total += <object>lots * <object>self.book.ladder.levels[level].price_ticks
            left -= lots
            if left == 0:
                return total
            level = book_next_level(&self.book, level)
        return None

    def cost(self, side, quantity):
        """What a market order would pay or bring now.

        Parameters
        ----------
        side : Side
            The taker's side: 1 looks at the asks.
        quantity : int
            Lots, > 0.

        Returns
        -------
        int or None
            Ticks times lots; None if the book cannot fill `quantity`.
        """
        cdef int sign = side_code(side)
        cdef int64_t lots = _orders.exact_int(quantity, "quantity")
        if lots < 1:
            raise InputError(f"quantity = {lots}: must be > 0")
        self.enter()
        try:
            return self.walk_cost(sign, lots)
        finally:
            self.leave()

    # The whole

    cdef object owner_ranks(self):
        """For every order with an owner, by handle: how many of the owner's are older. Inside `enter`."""
        cdef int32_t[::1] rank
        cdef int32_t[::1] stop_rank
        cdef int32_t at
        cdef int64_t i
        cdef uint32_t h
        ranks = np.zeros((self.book.chunks_used << SLOT_BITS) if self.book.rares != NULL else 0, np.int32)
        stop_ranks = np.zeros(self.book.stops.used, np.int32)
        rank = ranks
        stop_rank = stop_ranks
        for i in range(1, self.book.owners_used):
            if self.book.owners[i].owner == 0:
                continue
            at = 0
            h = self.book.owners[i].head
            while h != 0:
                if h & STOP_BIT:
                    stop_rank[h & ~<uint32_t>STOP_BIT] = at
                else:
                    rank[h] = at
                at += 1
                h = book_owner_next(&self.book, h)
        return ranks, stop_ranks

    cdef object resting_records(self, const int32_t[::1] rank):
        """All resting orders as RESTING_DTYPE, in canonical order. Inside `enter`."""
        records = np.zeros(book_count(&self.book), _bookdump.RESTING_DTYPE)
        cdef const rare_t* rare
        cdef uint8_t[::1] target
        cdef _resting_t* o
        cdef uint32_t level, h
        cdef int s
        if records.size == 0:
            return records
        target = records.view(np.uint8)
        o = <_resting_t*>&target[0]
        for s in range(2):
            level = book_best_level(&self.book, s)
            while level != 0:
                h = book_front_of(&self.book, level)
                while h != 0:
                    rare = book_rare(&self.book, h)
                    o.order_id = book_id(&self.book, h)
                    o.price = self.book.ladder.levels[level].price_ticks
                    o.shown = book_lots(&self.book, h)
                    o.quantity = book_open(&self.book, h)
                    o.side = match_side_code(s)
                    o.external = book_external(&self.book, h)
                    if rare != NULL:
                        o.owner = book_owner(&self.book, h)
                        o.owner_rank = rank[h] if o.owner > 0 else 0
                        o.flags = rare.flags
                        o.stp = rare.stp
                        o.display = self.book.peaks[rare.peak].display if rare.peak != 0 else 0
                    if h == self.book.top[s]:
                        o.top = 1
                    o += 1
                    h = book_behind(&self.book, h)
                level = book_next_level(&self.book, level)
        return records

    cdef object stop_records(self, const int32_t[::1] rank):
        """All waiting stops as STOP_DTYPE, in canonical order. Inside `enter`."""
        cdef const stop_t* stop
        cdef int32_t i
        rows = []
        for i in range(1, self.book.stops.used):
            stop = &self.book.stops.records[i]
            if stop.state == STOP_WAITING:
                key = (stop_heap(stop), stop.stop_ticks if stop.side == SIDE_BUY else ~stop.stop_ticks, stop.arrival)
                rows.append((key, (
                    stop.id, stop.stop_ticks, stop.price_ticks, stop.lots, stop.display,
                    book_owner(&self.book, <uint32_t>STOP_BIT | <uint32_t>i), rank[i] if stop.rare.owner_record > 0 else 0,
                    stop.side, stop.type, stop.tif, stop.rare.flags, stop.rare.stp,
                )))
        rows.sort()
        records = np.zeros(len(rows), _bookdump.STOP_DTYPE)
        for at, (_, values) in enumerate(rows):
            for name, value in zip(_bookdump.STOP_FIELDS, values, strict=True):
                records[name][at] = value
        return records

    cdef object owner_states(self):
        """What is known of owners beside their orders, as OWNER_DTYPE. Inside `enter`."""
        cdef const owner_t* own
        cdef int32_t i
        rows = []
        for i in range(1, self.book.owners_used):
            own = &self.book.owners[i]
            if own.owner > 0 and (own.position_high != 0 or own.position_low != 0 or own.lmm_percent != 0):
                rows.append((own.owner, own.lmm_percent, own.position_high, own.position_low))
        return np.array(sorted(rows), _bookdump.OWNER_DTYPE)

    cdef object state(self):
        """Everything that decides what the book does next, in canonical order."""
        self.enter()
        try:
            ranks, stop_ranks = self.owner_ranks()
            return {
                "matching": self.matching,
                "orders": self.resting_records(ranks),
                "stops": self.stop_records(stop_ranks),
                "owners": self.owner_states(),
                "last": self.book.last_ticks if self.book.has_last else None,
                "mark": self.book.mark_ticks if self.book.has_mark else None,
                "top_left": tuple(self.book.top_left[s] if self.book.top[s] != 0 else 0 for s in range(2)),
                "last_id": self.book.last_id,
            }
        finally:
            self.leave()

    def dump(self):
        """The book as bytes: equal books give equal bytes.

        Returns
        -------
        bytes
            Checksummed, with FORMAT_VERSION; `OrderBook.load` reads them.
        """
        return _bookdump.pack(self.state())

    @staticmethod
    def load(blob):
        """The book of a dump.

        Parameters
        ----------
        blob : bytes

        Returns
        -------
        OrderBook

        Raises
        ------
        InputError
            For bytes that are not an unchanged dump of this format version.
        """
        state = _bookdump.unpack(blob)
        cdef OrderBook made = OrderBook(state["matching"])
        made.restore(state)
        # Sorting, ranks and padding are right exactly when the book gives these bytes again.
        if not book_check(&made.book) or made.dump() != bytes(blob):
            raise InputError("dump: holds what no book can hold")
        return made

    cdef int restore(self, object state) except -1:
        """Make an empty book hold a state of `_bookdump.unpack`."""
        cdef book_t* b = &self.book
        cdef const _resting_t* o
        cdef const uint8_t[::1] source
        cdef const int64_t[::1] placed, linked
        cdef int64_t[::1] handle
        cdef int64_t i, h, n = state["orders"].size
        cdef rare_t* rare
        cdef stop_t stop
        cdef int s
        b.last_id = state["last_id"]
        b.has_last = state["last"] is not None
        b.last_ticks = state["last"] or 0
        b.has_mark = state["mark"] is not None
        b.mark_ticks = state["mark"] or 0
        raise_status(book_reserve(b, n + <int64_t>state["stops"].size + 1))
        place, owned = _bookdump.load_order(state)
        placed = place
        linked = owned
        handles = np.zeros(n + state["stops"].size, np.int64)
        handle = handles
        if n > 0:
            source = state["orders"].view(np.uint8)
        for i in range(n):
            o = <const _resting_t*>&source[0] + placed[i]
            s = BID if o.side == SIDE_BUY else ASK
            # Of the lots that show book_place makes sure itself.
            if not book_fits(b, s, o.price, o.quantity):
                raise InputError("dump: holds what no book can hold")
            raise_status(book_reserve_rare(b, o.owner > 0, o.display > 0))
            h = book_place(b, s, o.price, o.shown, o.owner, o.order_id, ORDER_EXTERNAL if o.external else 0)
            if h < 0:
                raise InputError("dump: holds what no book can hold")
            handle[placed[i]] = h
            if (o.display > 0 or o.top) and o.owner == 0:
                book_make_rare(b, <uint32_t>h)
            rare = book_rare(b, <uint32_t>h)
            if rare != NULL:
                rare.flags = o.flags
                rare.stp = o.stp
                b.reducing += (o.flags & FLAG_REDUCE_ONLY) != 0
            if o.display > 0:
                book_hide(b, <uint32_t>h, o.quantity - o.shown, o.display)
            if o.top:
                b.top[s] = <uint32_t>h
                b.top_left[s] = state["top_left"][s]
        for i, record in enumerate(state["stops"]):
            memset(&stop, 0, sizeof(stop_t))
            stop.id = record["order_id"]
            stop.stop_ticks = record["stop_price"]
            stop.price_ticks = record["price"]
            stop.lots = record["quantity"]
            stop.display = record["display"]
            stop.side = record["side"]
            stop.type = record["type"]
            stop.tif = record["tif"]
            stop.rare.flags = record["flags"]
            stop.rare.stp = record["stp"]
            raise_status(book_reserve_rare(b, record["owner"] > 0, record["display"] > 0))
            raise_status(stops_reserve(&b.stops, 1))
            if record["owner"] > 0:
                stop.rare.owner_record = book_owner_record(b, record["owner"])
            handle[n + i] = <int64_t>(<uint32_t>STOP_BIT | stops_add(&b.stops, &stop))
            ids_put(&b.ids, stop.id, <uint32_t>handle[n + i])
            b.room -= 1
        for i in range(linked.shape[0]):
            book_owner_append(b, <uint32_t>handle[linked[i]])
        for record in state["owners"]:
            raise_status(book_reserve_rare(b, True, False))
            i = book_owner_record(b, record["owner"])
            b.owners[i].lmm_percent = record["lmm_percent"]
            b.owners[i].position_high = record["position_high"]
            b.owners[i].position_low = record["position_low"]
        return 0

    def copy(self):
        """An independent copy, made with a few block copies.

        Returns
        -------
        OrderBook
        """
        self.enter()
        try:
            return orderbook_from(&self.book, self.matching)
        finally:
            self.leave()

    @property
    def digest(self):
        """32 hex digits: BLAKE2b-128 over all that decides what the book does next. Books that behave alike have
        equal digests; the ids that automatic numbering would give next are not part of it."""
        return _bookdump.digest(self.state())

    def _check(self):
        """Is every invariant of the book's inner state true? For tests; it looks at everything."""
        self.enter()
        try:
            return book_check(&self.book)
        finally:
            self.leave()
