"""The reference engine: the same model in plain Python, written to be read. It is how we know that the core
is right."""

from .book import Book
from .engine import Engine

__all__ = ["Book", "Engine"]
