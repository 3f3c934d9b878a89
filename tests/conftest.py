"""Fixtures shared by the tests."""

import importlib.util

import pytest


@pytest.fixture(params=["reference", "core"])
def engine(request):
    """Both engines; what is asserted holds for each."""
    if request.param == "core" and importlib.util.find_spec("cascade._engine") is None:
        pytest.skip("the compiled market engine is not built")
    return request.param
