"""Lets tests import their helper modules (`import random_markets`): the tests folder is no package."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["reference", "core"])
def engine(request):
    """Both engines: behaviour is tested on each."""
    return request.param
