"""What the tests share: the path of their helper modules (this folder is no package), both engines and both
order books."""

import sys
from pathlib import Path

import pytest

import cascade as cs
from cascade.reference.book import Book

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["reference", "core"])
def engine(request):
    """Both engines; what is asserted holds for each."""
    return request.param


@pytest.fixture(params=["reference", "core"])
def orderbook(request):
    """Both order books, as factories that take the allocation rule."""
    return Book if request.param == "reference" else cs.OrderBook
