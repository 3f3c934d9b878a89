"""The OrderBook class: one book and its messages, behind Python arguments. Included by _core.pyx."""


cdef int64_t exact_i64(object value, str name) except? -1:
    """A Python integer as int64; everything else is an error that names it."""
    return _orders.exact_int(value, name)


cdef int side_index(object value) except -1:
    """BID or ASK of a side code."""
    return BID if _orders.exact_side(value) == 1 else ASK


cdef OrderBook orderbook_from(const book_t* source):
    """A new OrderBook with a copy of `source`."""
    cdef OrderBook book = OrderBook()
    raise_status(book_copy(&book.book, source))
    return book


@cython.final
cdef class OrderBook:
    """A limit order book with price-time priority, in integer ticks and lots.

    Parameters
    ----------
    matching : str, optional
        The allocation rule; ``"fifo"`` is price, then time.
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

    def __cinit__(self, matching="fifo", reserve=0):
        book_init(&self.book)
        if matching != "fifo":
            raise InputError(f"matching = {matching!r}: must be 'fifo'")
        cdef int64_t orders = _orders.exact_int(reserve, "reserve", 0, MAX_HANDLES)
        raise_status(book_grow_orders(&self.book, orders))
        raise_status(idmap_reserve(&self.book.ids, orders))

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
            The reports in event order; `message` is the row that caused it. Without `out` only.
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
        cdef int mode = self.report_mode(reports)
        table = _orders.as_orders(orders)
        cdef int64_t n = table.shape[0]
        cdef const uint8_t[::1] source = table.view(np.uint8)
        cdef const order_msg_t* messages = NULL
        cdef int64_t needed = 0, done = 0
        cdef sink_t sink
        if n > 0:
            messages = <const order_msg_t*>&source[0]
        if out is not None:
            _orders.check_out(out, table)
            self.bind(&sink, out, mode)
            self.enter()
            try:
                with nogil:
                    done = book_process(&self.book, messages, n, 0, &sink, &needed)
            finally:
                self.leave()
            if n > 0 and done == 0:
                raise CapacityError(f"out: holds {sink.cap} reports, row 0 alone gives {needed}")
            return sink.n, done
        buffer = np.empty(0 if mode == SINK_NONE else 2 * n + 16, REPORT_DTYPE)
        self.bind(&sink, buffer, mode)
        sink.n = 0
        self.enter()
        try:
            while True:
                with nogil:
                    done += book_process(&self.book, messages + done, n - done, done, &sink, &needed)
                if done == n:
                    break
                try:
                    buffer.resize(2 * sink.cap + needed, refcheck=False)
                except MemoryError:
                    message = f"reports: out of memory, rows before {done} are dealt with"
                    raise CapacityError(message) from None
                self.rebind(&sink, buffer)
        finally:
            self.leave()
        # A view would keep the whole buffer alive.
        buffer.resize(sink.n, refcheck=False)
        return buffer

    cdef int report_mode(self, object reports) except -1:
        if reports == "all":
            return SINK_ALL
        if reports == "trades":
            return SINK_TRADES
        if reports == "none":
            return SINK_NONE
        raise InputError(f"reports = {reports!r}: must be 'all', 'trades' or 'none'")

    cdef int bind(self, sink_t* sink, object buffer, int mode) except -1:
        """Make `sink` write to `buffer` (REPORT_DTYPE, contiguous) from its start."""
        sink.n = 0
        sink.mode = mode
        return self.rebind(sink, buffer)

    cdef int rebind(self, sink_t* sink, object buffer) except -1:
        """Make `sink` go on in `buffer`, which holds what it has written."""
        cdef uint8_t[::1] target = buffer.view(np.uint8)
        sink.cap = buffer.shape[0]
        sink.reports = <report_t*>&target[0] if sink.cap > 0 else NULL
        return 0

    cdef int one(self, order_msg_t* m) except -1:
        """Deal with one message inside `enter`; a refusal is an InputError."""
        cdef plan_t plan
        cdef sink_t sink
        memset(&sink, 0, sizeof(sink_t))
        sink.mode = SINK_NONE
        match_prepare(&self.book, m, 0, &plan)
        if plan.reason != 0:
            raise _orders.rejection(m.order_id, plan.reason)
        match_commit(&self.book, m, &plan, &sink)
        return 0

    cdef object submit(self, order_msg_t* m, object order_id):
        """Deal with one NEW; its id."""
        if order_id is not None:
            m.order_id = _orders.exact_int(order_id, "order_id", 0, 2**64 - 1)
        self.enter()
        try:
            if order_id is None:
                if self.book.last_id == <uint64_t>-1:
                    raise RangeError("order_id: the largest one has been used, none can follow")
                m.order_id = self.book.last_id + 1
            self.one(m)
        finally:
            self.leave()
        return m.order_id

    def limit(self, side, price, quantity, *, order_id=None, owner=0, tif=0):
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
        m.side = match_side_code(side_index(side))
        m.type = TYPE_LIMIT
        m.price = exact_i64(price, "price")
        m.quantity = exact_i64(quantity, "quantity")
        m.owner = <int32_t><int64_t>_orders.exact_int(owner, "owner", 0, MAX_HANDLES)
        m.tif = <uint8_t><int64_t>_orders.exact_int(tif, "tif", 0, 255)
        return self.submit(&m, order_id)

    def market(self, side, quantity, *, order_id=None, owner=0):
        """Send one market order; what the book cannot fill is cancelled.

        Parameters
        ----------
        side : Side
            1 buys, -1 sells.
        quantity : int
            Lots, 1 to 2**62.
        order_id, owner : int, optional
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
        m.side = match_side_code(side_index(side))
        m.type = TYPE_MARKET
        m.quantity = exact_i64(quantity, "quantity")
        m.owner = <int32_t><int64_t>_orders.exact_int(owner, "owner", 0, MAX_HANDLES)
        return self.submit(&m, order_id)

    def cancel(self, order_id):
        """Take one resting order off.

        Parameters
        ----------
        order_id : int

        Raises
        ------
        InputError
            If no resting order has this id.
        """
        cdef order_msg_t m
        memset(&m, 0, sizeof(order_msg_t))
        m.action = ACTION_CANCEL
        m.order_id = _orders.exact_int(order_id, "order_id", 0, 2**64 - 1)
        self.enter()
        try:
            self.one(&m)
        finally:
            self.leave()

    def modify(self, order_id, price, quantity):
        """Change one resting order. Less at the same price keeps its place; anything else leaves it, trades
        if it crosses and rests last.

        Parameters
        ----------
        order_id : int
        price : int
            New price, ticks.
        quantity : int
            New open quantity, lots, whatever was filled before.

        Raises
        ------
        InputError
            If no resting order has this id, or the quantity is not 1 to 2**62.
        """
        cdef order_msg_t m
        memset(&m, 0, sizeof(order_msg_t))
        m.action = ACTION_MODIFY
        m.order_id = _orders.exact_int(order_id, "order_id", 0, 2**64 - 1)
        m.price = exact_i64(price, "price")
        m.quantity = exact_i64(quantity, "quantity")
        self.enter()
        try:
            self.one(&m)
        finally:
            self.leave()

    def cancel_owner(self, owner):
        """Take all resting orders of an owner off, oldest first.

        Parameters
        ----------
        owner : int
            > 0.

        Returns
        -------
        ndarray of REPORT_DTYPE
            One CANCELLED each, reason OWNER.
        """
        cdef int64_t number = _orders.exact_int(owner, "owner", 0, MAX_HANDLES)
        cdef int64_t n = 0
        cdef int32_t h
        cdef sink_t sink
        if number == 0:
            raise InputError("owner = 0: is nobody, must be > 0")
        self.enter()
        try:
            h = book_owner_first(&self.book, <int32_t>number)
            while h >= 0:
                n += 1
                h = self.book.orders[h].owner_next
            buffer = np.empty(n, REPORT_DTYPE)
            self.bind(&sink, buffer, SINK_ALL)
            match_cancel_owner(&self.book, <int32_t>number, &sink)
        finally:
            self.leave()
        return buffer

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
        price_column = _orders.integer_column(prices, np.dtype(np.int64), "prices")
        lots_column = _orders.integer_column(quantities, np.dtype(np.int64), "quantities")
        _orders.check_levels(price_column, lots_column)
        # Worst first, so that every new level is the best one so far.
        worst_first = np.argsort(price_column if s == BID else ~price_column)
        cdef const int64_t[::1] price = price_column[worst_first]
        cdef const int64_t[::1] lots = lots_column[worst_first]
        cdef int64_t i, n = price.shape[0]
        cdef int32_t h
        self.enter()
        try:
            if book_has(&self.book, 1 - s):
                far = book_best(&self.book, 1 - s)
                _orders.check_uncrossed(price_column, lots_column, s == BID, far)
            self.check_levels(s, price, lots)
            raise_status(book_reserve(&self.book, s, n, False))
            for i in range(n):
                h = book_external_at(&self.book, s, price[i])
                if h >= 0 and lots[i] == 0:
                    book_remove(&self.book, h)
                elif h >= 0:
                    book_reduce(&self.book, h, lots[i])
                elif lots[i] > 0:
                    book_add(&self.book, s, price[i], lots[i], 0, 0, ORDER_EXTERNAL)
        finally:
            self.leave()

    cdef int check_levels(self, int s, const int64_t[::1] price, const int64_t[::1] lots) except -1:
        """Would the sums of these levels stay 64-bit integers?"""
        cdef int64_t i, more
        cdef int32_t h
        for i in range(price.shape[0]):
            h = book_external_at(&self.book, s, price[i])
            more = lots[i] - self.book.orders[h].quantity_lots if h >= 0 else lots[i]
            if more > 0 and not book_fits(&self.book, s, price[i], more):
                raise RangeError(f"quantities: the sum of the level {price[i]} does not fit 64 bits")
        return 0

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

    def __len__(self):
        self.enter()
        try:
            return self.book.orders_live
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
            side (int8), price (ticks), quantity (lots), orders; bids first, best price first.
        """
        from cascade.tables import Table

        cdef int64_t most = INT64_MAX if n is None else _orders.exact_int(n, "n", 0)
        cdef int64_t counts[2]
        cdef int64_t k, row = 0
        cdef int s
        cdef const level_t* v
        cdef int8_t[::1] side
        cdef int64_t[::1] price, quantity, orders
        self.enter()
        try:
            for s in range(2):
                counts[s] = min(most, <int64_t>self.book.side[s].n)
            columns = {"side": np.empty(counts[0] + counts[1], np.int8)}
            for name in ("price", "quantity", "orders"):
                columns[name] = np.empty(counts[0] + counts[1], np.int64)
            side, price, quantity, orders = columns.values()
            for s in range(2):
                for k in range(counts[s]):
                    v = &self.book.side[s].levels[self.book.side[s].n - 1 - k]
                    side[row] = match_side_code(s)
                    price[row] = v.price_ticks
                    quantity[row] = v.quantity_lots
                    orders[row] = v.count
                    row += 1
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
            A named tuple (quantity, orders): the sum of the open lots and the number of orders, zeros where
            there is no level.
        """
        cdef int s = side_index(side)
        cdef int64_t ticks = exact_i64(price, "price")
        cdef int32_t i
        self.enter()
        try:
            i = book_level_at(&self.book, s, ticks)
            if i < 0:
                return _orders.Level(0, 0)
            return _orders.Level(self.book.side[s].levels[i].quantity_lots, self.book.side[s].levels[i].count)
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
        cdef uint64_t wanted = _orders.exact_int(order_id, "order_id", 0, 2**64 - 1)
        cdef int64_t ahead = 0
        cdef int32_t h
        self.enter()
        try:
            h = book_find(&self.book, wanted)
            if h < 0:
                raise InputError(f"order_id = {wanted}: no resting order has this id")
            h = self.book.orders[h].prev
            while h >= 0:
                ahead += 1
                h = self.book.orders[h].prev
            return ahead
        finally:
            self.leave()

    def orders(self):
        """All resting orders.

        Returns
        -------
        Table
            order_id, owner, side (int8), price (ticks), quantity (open lots), external (bool: an anonymous
            level's); bids first, best price first, oldest first.
        """
        from cascade.tables import Table

        records, _ = self.resting()
        columns = {name: records[name].copy() for name in ("order_id", "owner", "side", "price", "quantity")}
        columns["external"] = records["external"].astype(bool)
        return Table(columns)

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
        cdef const side_t* far = &self.book.side[1 - s]
        cdef int32_t i
        if left < 1:
            raise InputError(f"quantity = {left}: must be > 0")
        self.enter()
        try:
            for i in range(far.n - 1, -1, -1):
                if left <= far.levels[i].quantity_lots:
                    return far.levels[i].price_ticks
                left -= far.levels[i].quantity_lots
            return None
        finally:
            self.leave()

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
            Lots.
        """
        cdef int s = side_index(side)
        cdef int64_t limit_ticks = exact_i64(price, "price")
        cdef const side_t* far = &self.book.side[1 - s]
        cdef int32_t i
        total = 0       # a Python integer: sums of levels may pass 64 bits
        self.enter()
        try:
            for i in range(far.n - 1, -1, -1):
                if not match_crosses(s, False, limit_ticks, far.levels[i].price_ticks):
                    break
                total += far.levels[i].quantity_lots
            return total
        finally:
            self.leave()

    # The whole

    cdef object resting(self):
        """All resting orders as RESTING_DTYPE, in canonical order, and the largest id accepted."""
        cdef const order_t* o
        cdef int32_t[::1] rank
        cdef int32_t h, k, at
        cdef int64_t i, row = 0
        cdef int s
        cdef uint64_t[::1] ids
        cdef int64_t[::1] price, quantity
        cdef int32_t[::1] owner, owner_rank
        cdef int8_t[::1] side
        cdef uint8_t[::1] external
        self.enter()
        try:
            n = self.book.orders_live
            last_id = self.book.last_id
            ids = np.empty(n, np.uint64)
            price = np.empty(n, np.int64)
            quantity = np.empty(n, np.int64)
            owner = np.empty(n, np.int32)
            owner_rank = np.empty(n, np.int32)
            side = np.empty(n, np.int8)
            external = np.empty(n, np.uint8)
            rank = np.zeros(self.book.orders_used, np.int32)
            with nogil:
                for i in range(self.book.owner_lists.cap):
                    k = self.book.owner_lists.slots[i].value
                    if k >= 0:
                        at = 0
                        h = self.book.owners[k].head
                        while h >= 0:
                            rank[h] = at
                            at += 1
                            h = self.book.orders[h].owner_next
                for s in range(2):
                    for i in range(self.book.side[s].n - 1, -1, -1):
                        h = self.book.side[s].levels[i].head
                        while h >= 0:
                            o = &self.book.orders[h]
                            ids[row] = o.id
                            price[row] = o.price_ticks
                            quantity[row] = o.quantity_lots
                            owner[row] = o.owner
                            owner_rank[row] = rank[h]
                            side[row] = match_side_code(s)
                            external[row] = o.flags & ORDER_EXTERNAL
                            row += 1
                            h = o.next
        finally:
            self.leave()
        records = np.zeros(n, _bookdump.RESTING_DTYPE)
        records["order_id"] = ids
        records["price"] = price
        records["quantity"] = quantity
        records["owner"] = owner
        records["owner_rank"] = owner_rank
        records["side"] = side
        records["external"] = external
        return records, last_id

    def dump(self):
        """The book as bytes: equal books give equal bytes.

        Returns
        -------
        bytes
            Checksummed, with FORMAT_VERSION; `OrderBook.load` reads them.
        """
        return _bookdump.pack(*self.resting())

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
        cdef OrderBook made = OrderBook()
        cdef int32_t h
        cdef int64_t i, row
        cdef int s
        records, last_id = _bookdump.unpack(blob)
        place, owned = _bookdump.load_order(records)
        cdef int64_t n = records.size
        cdef const uint64_t[::1] ids = records["order_id"].copy()
        cdef const int64_t[::1] price = records["price"].copy()
        cdef const int64_t[::1] quantity = records["quantity"].copy()
        cdef const int32_t[::1] owner = records["owner"].copy()
        cdef const int8_t[::1] side = records["side"].copy()
        cdef const uint8_t[::1] external = records["external"].copy()
        cdef const int64_t[::1] placed = place
        cdef const int64_t[::1] linked = owned
        cdef int32_t[::1] handle = np.empty(n, np.int32)
        for i in range(n):
            row = placed[i]
            s = BID if side[row] == 1 else ASK
            raise_status(book_reserve(&made.book, s, 1, owner[row] > 0))
            h = book_place(&made.book, s, price[row], quantity[row], owner[row], ids[row], external[row])
            if h < 0:
                raise InputError("dump: holds what no book can hold")
            handle[row] = h
        for i in range(linked.shape[0]):
            raise_status(book_reserve(&made.book, BID, 1, True))
            book_owner_append(&made.book, handle[linked[i]])
        made.book.last_id = last_id
        # Sorting, ranks and padding are right exactly when the book gives these bytes again.
        if not book_check(&made.book) or made.dump() != bytes(blob):
            raise InputError("dump: holds what no book can hold")
        return made

    def copy(self):
        """An independent copy, made with a few block copies.

        Returns
        -------
        OrderBook
        """
        self.enter()
        try:
            return orderbook_from(&self.book)
        finally:
            self.leave()

    @property
    def digest(self):
        """32 hex digits: BLAKE2b-128 over the resting orders in canonical order. Books that behave alike have
        equal digests; the ids that automatic numbering would give next are not part of it."""
        return _bookdump.digest(self.resting()[0])

    def _check(self):
        """Is every invariant of the book's inner state true? For tests; it looks at everything."""
        self.enter()
        try:
            return book_check(&self.book)
        finally:
            self.leave()
