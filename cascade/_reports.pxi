"""Memory for reports that arrays are returned on. Included by _core.pyx.

Memory fresh from the system costs as much as matching does, because the system clears it: of what arrays give back one
block is kept for the next call, whichever book's. It is memory alone; books share nothing else.
"""


cdef enum:
    KEPT_REPORTS = 0x800000     # a block of more, 512 MB, is not kept


# Before the reports of a block, a cache line long.
ctypedef struct block_head_t:
    int64_t cap             # reports
    int64_t pad[7]


@cython.final
cdef class ReportPool:
    """The block that is kept for the next call."""

    cdef void* spare

    def __dealloc__(self):
        PyMem_RawFree(self.spare)

    cdef ReportBlock take(self, int64_t least):
        """A block of at least `least` reports, the kept one if it is of that size: a few reports that somebody holds on
        to must not keep the memory of a million."""
        cdef ReportBlock block = ReportBlock.__new__(ReportBlock)
        cdef block_head_t* head = <block_head_t*>cascade_pointer_swap(&self.spare, NULL)
        if head != NULL and not least <= head.cap <= 8 * least + 4096:
            self.give(head)
            head = NULL
        if head == NULL:
            head = <block_head_t*>PyMem_RawMalloc(sizeof(block_head_t) + <size_t>least * sizeof(report_t))
            if head == NULL:
                raise CapacityError("reports: out of memory, nothing has been done")
            large_pages(head, sizeof(block_head_t) + <size_t>least * sizeof(report_t))
            head.cap = least
        block.head = head
        block.pool = self
        return block

    cdef void give(self, void* head) noexcept:
        """Keep the larger of a block and the one kept so far, unless it is huge."""
        cdef void* kept
        if (<block_head_t*>head).cap > KEPT_REPORTS:
            PyMem_RawFree(head)
            return
        kept = cascade_pointer_swap(&self.spare, NULL)
        if kept != NULL and (<block_head_t*>kept).cap > (<block_head_t*>head).cap:
            head, kept = kept, head
        PyMem_RawFree(kept)
        PyMem_RawFree(cascade_pointer_swap(&self.spare, head))


@cython.final
cdef class ReportBlock:
    """One block, which an array or a call that is under way uses."""

    cdef block_head_t* head
    cdef Py_ssize_t size[1]     # bytes of the array
    cdef ReportPool pool

    cdef void lend(self, sink_t* sink) noexcept:
        """Let a sink write to the block and enlarge it; nothing else may use it meanwhile."""
        sink_grow(sink, self.head, sizeof(block_head_t), self.head.cap)

    cdef void take_back(self, const sink_t* sink) noexcept:
        """The sink has finished."""
        self.head = <block_head_t*>sink.memory
        self.head.cap = sink.cap

    cdef object array(self, int64_t n):
        """The first `n` reports as an array on this block."""
        self.size[0] = n * <Py_ssize_t>sizeof(report_t)
        return np.frombuffer(self, REPORT_DTYPE)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.head + 1, self.size[0], 0, flags)

    def __dealloc__(self):
        if self.pool is not None:
            self.pool.give(self.head)
        else:
            PyMem_RawFree(self.head)


cdef ReportPool REPORTS = ReportPool()
