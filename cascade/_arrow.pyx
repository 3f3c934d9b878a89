"""Arrow C data interface: one table as a PyCapsule "arrow_array_stream", without pyarrow.

The stream has one record batch. Every exported structure owns a reference to the Python object that keeps its
memory alive, so a consumer may move a column out of the batch, release the rest and let the table go. The
callbacks take the GIL: consumers release from threads of their own.

Source: https://arrow.apache.org/docs/format/CDataInterface.html, CStreamInterface.html,
PyCapsuleInterface.html.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from cascade.errors import InputError, InputTypeError


cdef extern from *:
    """
    #ifndef ARROW_C_DATA_INTERFACE
    #define ARROW_C_DATA_INTERFACE
    #define ARROW_FLAG_DICTIONARY_ORDERED 1
    #define ARROW_FLAG_NULLABLE 2
    #define ARROW_FLAG_MAP_KEYS_SORTED 4
    struct ArrowSchema {
        const char* format;
        const char* name;
        const char* metadata;
        int64_t flags;
        int64_t n_children;
        struct ArrowSchema** children;
        struct ArrowSchema* dictionary;
        void (*release)(struct ArrowSchema*);
        void* private_data;
    };
    struct ArrowArray {
        int64_t length;
        int64_t null_count;
        int64_t offset;
        int64_t n_buffers;
        int64_t n_children;
        const void** buffers;
        struct ArrowArray** children;
        struct ArrowArray* dictionary;
        void (*release)(struct ArrowArray*);
        void* private_data;
    };
    #endif
    #ifndef ARROW_C_STREAM_INTERFACE
    #define ARROW_C_STREAM_INTERFACE
    struct ArrowArrayStream {
        int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema* out);
        int (*get_next)(struct ArrowArrayStream*, struct ArrowArray* out);
        const char* (*get_last_error)(struct ArrowArrayStream*);
        void (*release)(struct ArrowArrayStream*);
        void* private_data;
    };
    #endif
    """
    const int64_t ARROW_FLAG_NULLABLE

    cdef struct ArrowSchema:
        const char* format
        const char* name
        const char* metadata
        int64_t flags
        int64_t n_children
        ArrowSchema** children
        ArrowSchema* dictionary
        void (*release)(ArrowSchema*) noexcept nogil
        void* private_data

    cdef struct ArrowArray:
        int64_t length
        int64_t null_count
        int64_t offset
        int64_t n_buffers
        int64_t n_children
        const void** buffers
        ArrowArray** children
        ArrowArray* dictionary
        void (*release)(ArrowArray*) noexcept nogil
        void* private_data

    cdef struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream*, ArrowSchema*) noexcept nogil
        int (*get_next)(ArrowArrayStream*, ArrowArray*) noexcept nogil
        const char* (*get_last_error)(ArrowArrayStream*) noexcept nogil
        void (*release)(ArrowArrayStream*) noexcept nogil
        void* private_data

cdef extern from "Python.h":
    int Py_IsInitialized() nogil


cdef const char* STREAM_NAME = "arrow_array_stream"

FORMATS = {
    "i1": b"c", "u1": b"C", "i2": b"s", "u2": b"S", "i4": b"i", "u4": b"I", "i8": b"l", "u8": b"L",
    "f2": b"e", "f4": b"f", "f8": b"g",
}  # fmt: skip
"""Arrow format of each NumPy kind and width that is exported without a copy."""


@cython.final
cdef class Column:
    """One column in Arrow's layout; it owns the buffers that the exported structures point into."""

    cdef bytes name
    cdef bytes format
    cdef int64_t null_count
    cdef int64_t n_buffers
    cdef const void* buffers[3]    # validity (NULL: all valid), then data, or offsets and data
    cdef tuple owned               # the arrays behind the buffers, None for NULL

    def __cinit__(self, str name not None, bytes format not None, int64_t null_count, *owned):
        cdef Py_ssize_t i
        cdef size_t address
        self.name = name.encode()
        self.format = format
        self.null_count = null_count
        self.owned = owned
        self.n_buffers = len(owned)
        for i in range(len(owned)):
            self.buffers[i] = NULL
            if owned[i] is not None:
                address = owned[i].__array_interface__["data"][0]
                self.buffers[i] = <const void*>address


@cython.final
cdef class Stream:
    """State of an exported stream: the columns, and whether the batch has been handed out."""

    cdef list columns
    cdef int64_t length
    cdef bint sent

    def __cinit__(self, list columns not None, int64_t length):
        self.columns = columns
        self.length = length
        self.sent = False


cdef inline int utf8_width(uint32_t c) noexcept nogil:
    """Bytes of code point `c` in UTF-8; 0 for what has no encoding (surrogates, beyond U+10FFFF)."""
    if c < 0x80:
        return 1
    if c < 0x800:
        return 2
    if 0xD800 <= c <= 0xDFFF or c > 0x10FFFF:
        return 0
    return 3 if c < 0x10000 else 4


cdef inline uint8_t* utf8_put(uint8_t* at, uint32_t c) noexcept nogil:
    """Write code point `c` at `at`; return the byte after it."""
    cdef int width = utf8_width(c), i
    if width == 1:
        at[0] = <uint8_t>c
        return at + 1
    for i in range(width - 1, 0, -1):
        at[i] = <uint8_t>(0x80 | (c & 0x3F))
        c >>= 6
    at[0] = <uint8_t>(c | (0xF00 >> width & 0xFF))
    return at + width


cdef tuple pack_offsets(int64_t[::1] offsets, object holder):
    """Narrow `offsets` to 32 bits where they fit: (Arrow format, offsets)."""
    if offsets[offsets.shape[0] - 1] < 2**31:
        return b"u", holder.astype(np.int32)
    return b"U", holder


cdef Column fixed_strings(str name, object array):
    """A NumPy 'U' array as utf8. O(code points), two passes, no Python string is made."""
    cdef Py_ssize_t n = array.shape[0], width = array.dtype.itemsize // 4, i, j, last
    offsets = np.zeros(n + 1, np.int64)
    cdef int64_t[::1] ends = offsets
    cdef const uint32_t[:, ::1] points
    cdef int64_t total = 0
    cdef Py_ssize_t bad = -1
    cdef int step
    cdef uint8_t* at
    cdef uint8_t[::1] out
    if width and n:
        points = np.ascontiguousarray(array).view(np.uint32).reshape(n, width)
        with nogil:
            for i in range(n):
                last = width
                while last and points[i, last - 1] == 0:    # NumPy pads with NUL
                    last -= 1
                for j in range(last):
                    step = utf8_width(points[i, j])
                    if step == 0 and bad < 0:
                        bad = i
                    total += step
                ends[i + 1] = total
    if bad >= 0:
        raise InputError(
            f"table[{name!r}][{bad}] = {ascii(str(array[bad]))}: must be text that UTF-8 can encode"
        )
    data = np.empty(max(total, 1), np.uint8)
    out = data
    if total:
        with nogil:
            at = &out[0]
            for i in range(n):
                for j in range(width):
                    if at == &out[0] + ends[i + 1]:
                        break
                    at = utf8_put(at, points[i, j])
    layout, offsets = pack_offsets(ends, offsets)
    return Column(name, layout, 0, None, offsets, data)


cdef Column object_strings(str name, object array):
    """An object array of str, None for null, as utf8."""
    cdef Py_ssize_t n = array.shape[0], i, size
    cdef list values = array.tolist()
    offsets = np.zeros(n + 1, np.int64)
    valid = np.ones(n, np.bool_)
    cdef int64_t[::1] ends = offsets
    cdef int64_t total = 0, nulls = 0
    cdef const char* text
    cdef uint8_t[::1] out
    for i in range(n):
        value = values[i]
        if value is None:
            nulls += 1
            valid[i] = False
        elif isinstance(value, str):
            try:
                PyUnicode_AsUTF8AndSize(value, &size)
            except UnicodeEncodeError:
                raise InputError(
                    f"table[{name!r}][{i}] = {ascii(value)}: must be text that UTF-8 can encode"
                ) from None
            total += size
        else:
            raise InputTypeError(
                f"table[{name!r}][{i}] = {value!r}: an object column must hold str or None to be exported"
            )
        ends[i + 1] = total
    data = np.empty(max(total, 1), np.uint8)
    out = data
    for i in range(n):
        if values[i] is not None:
            text = PyUnicode_AsUTF8AndSize(values[i], &size)
            memcpy(&out[0] + ends[i], text, size)
    layout, offsets = pack_offsets(ends, offsets)
    validity = np.packbits(valid, bitorder="little") if nulls else None
    return Column(name, layout, nulls, validity, offsets, data)


cdef Column make_column(str name, object array):
    """Lay `array` out as Arrow does; numbers keep their memory."""
    kind = array.dtype.kind
    if kind == "b":
        return Column(name, b"b", 0, None, np.packbits(array, bitorder="little"))
    if kind == "U":
        return fixed_strings(name, array)
    if kind == "O":
        return object_strings(name, array)
    layout = FORMATS.get(f"{kind}{array.dtype.itemsize}")
    if layout is None:
        raise InputTypeError(f"table[{name!r}]: dtype {array.dtype} has no Arrow type here")
    # Arrow wants native, aligned, contiguous memory; a column that has it is not copied.
    return Column(name, layout, 0, None, np.require(array, array.dtype.newbyteorder("="), ["C", "A"]))


# Releasing. After the interpreter has gone, a reference can only be leaked.

cdef void drop(void* owner) noexcept nogil:
    """Give back one reference to `owner`."""
    if owner != NULL and Py_IsInitialized():
        with gil:
            Py_DECREF(<object><PyObject*>owner)


cdef void release_schema_column(ArrowSchema* schema) noexcept nogil:
    drop(schema.private_data)
    schema.release = NULL


cdef void release_array_column(ArrowArray* array) noexcept nogil:
    drop(array.private_data)
    array.release = NULL


cdef void release_schema(ArrowSchema* schema) noexcept nogil:
    """Release the struct and the children that the consumer has not moved away."""
    cdef int64_t i
    for i in range(schema.n_children):
        if schema.children[i].release != NULL:
            schema.children[i].release(schema.children[i])
    free(schema.private_data)
    schema.release = NULL


cdef void release_array(ArrowArray* array) noexcept nogil:
    """Release the batch and the children that the consumer has not moved away."""
    cdef int64_t i
    for i in range(array.n_children):
        if array.children[i].release != NULL:
            array.children[i].release(array.children[i])
    free(array.private_data)
    array.release = NULL


cdef int get_schema(ArrowArrayStream* stream, ArrowSchema* out) noexcept with gil:
    """Describe the columns: a struct of one child each. ENOMEM leaves `out` released."""
    cdef Stream state = <Stream><PyObject*>stream.private_data
    cdef Py_ssize_t n = len(state.columns), i
    cdef ArrowSchema** pointers
    cdef ArrowSchema* children
    cdef Column column
    memset(out, 0, sizeof(ArrowSchema))
    pointers = <ArrowSchema**>malloc(n * (sizeof(ArrowSchema*) + sizeof(ArrowSchema)) + 1)
    if pointers == NULL:
        return ENOMEM
    children = <ArrowSchema*>(pointers + n)
    memset(children, 0, n * sizeof(ArrowSchema))
    for i in range(n):
        column = state.columns[i]
        pointers[i] = &children[i]
        children[i].format = column.format
        children[i].name = column.name
        children[i].flags = ARROW_FLAG_NULLABLE
        children[i].release = release_schema_column
        Py_INCREF(column)
        children[i].private_data = <void*><PyObject*>column
    out.format = "+s"
    out.name = ""
    out.n_children = n
    out.children = pointers
    out.release = release_schema
    out.private_data = <void*>pointers
    return 0


cdef int get_next(ArrowArrayStream* stream, ArrowArray* out) noexcept with gil:
    """Hand out the one batch, then the end of the stream (a released array). ENOMEM may be tried again."""
    cdef Stream state = <Stream><PyObject*>stream.private_data
    cdef Py_ssize_t n = len(state.columns), i
    cdef ArrowArray** pointers
    cdef ArrowArray* children
    cdef Column column
    memset(out, 0, sizeof(ArrowArray))
    if state.sent:
        return 0
    # One block: n pointers, n structures, and the struct's own (absent) validity buffer.
    pointers = <ArrowArray**>malloc(n * (sizeof(ArrowArray*) + sizeof(ArrowArray)) + sizeof(void*))
    if pointers == NULL:
        return ENOMEM
    children = <ArrowArray*>(pointers + n)
    memset(children, 0, n * sizeof(ArrowArray) + sizeof(void*))
    for i in range(n):
        column = state.columns[i]
        pointers[i] = &children[i]
        children[i].length = state.length
        children[i].null_count = column.null_count
        children[i].n_buffers = column.n_buffers
        children[i].buffers = column.buffers
        children[i].release = release_array_column
        Py_INCREF(column)
        children[i].private_data = <void*><PyObject*>column
    out.length = state.length
    out.n_buffers = 1
    out.buffers = <const void**>(children + n)
    out.n_children = n
    out.children = pointers
    out.release = release_array
    out.private_data = <void*>pointers
    state.sent = True
    return 0


cdef const char* get_last_error(ArrowArrayStream* stream) noexcept nogil:
    """No text: the only failure is ENOMEM, which the error number says."""
    return NULL


cdef void release_stream(ArrowArrayStream* stream) noexcept nogil:
    drop(stream.private_data)
    stream.private_data = NULL
    stream.release = NULL


cdef void destroy_capsule(object capsule) noexcept:
    """Release a stream that nobody consumed, and the structure itself."""
    cdef ArrowArrayStream* stream = <ArrowArrayStream*>PyCapsule_GetPointer(capsule, STREAM_NAME)
    if stream.release != NULL:
        stream.release(stream)
    free(stream)


def export_stream(dict columns not None, int64_t length):
    """Export columns as an Arrow stream of one record batch.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray
        1-D arrays of `length` rows: bool, integers, floats (16, 32, 64 bits), 'U' strings, or objects that
        are str or None. Numeric arrays that are native, aligned and contiguous are shared, not copied: do not
        write to them afterwards.
    length : int
        Number of rows.

    Returns
    -------
    capsule
        A PyCapsule named "arrow_array_stream".

    Raises
    ------
    InputTypeError
        A dtype that has no Arrow type here, or an object that is not str or None.
    InputError
        A string that UTF-8 cannot encode, or a column of another length.
    """
    cdef list prepared = []
    cdef Stream state
    cdef ArrowArrayStream* stream
    for name, array in columns.items():
        if array.ndim != 1 or array.shape[0] != length:
            raise InputError(f"table[{name!r}] has shape {array.shape}: must be ({length},)")
        prepared.append(make_column(name, array))
    state = Stream(prepared, length)
    stream = <ArrowArrayStream*>malloc(sizeof(ArrowArrayStream))
    if stream == NULL:
        raise MemoryError
    stream.get_schema = get_schema
    stream.get_next = get_next
    stream.get_last_error = get_last_error
    stream.release = release_stream
    Py_INCREF(state)
    stream.private_data = <void*><PyObject*>state
    try:
        return PyCapsule_New(stream, STREAM_NAME, destroy_capsule)
    except BaseException:
        stream.release(stream)
        free(stream)
        raise
