"""What text can be an id or a symbol."""

from __future__ import annotations

ID_BYTES = 2**20
"""Longest id, in bytes of UTF-8."""
NO_NUL = "must not contain NUL"
NO_SURROGATE = "must be text that UTF-8 can encode (it has a lone surrogate)"
NOT_LONG = f"must be at most {ID_BYTES} bytes long"


def text_fault(text: str) -> str | None:
    """The rule that a text breaks as an id, or None. NumPy cannot keep a trailing NUL, Arrow no lone
    surrogate."""
    if "\0" in text:
        return NO_NUL
    size = utf8_size(text)
    if size is None:
        return NO_SURROGATE
    return NOT_LONG if size > ID_BYTES else None


def utf8_size(text: str) -> int | None:
    """Bytes of a text in UTF-8, None where that cannot encode it."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None
