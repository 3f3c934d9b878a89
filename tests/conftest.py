"""What the tests share: the path of their helper modules (this folder is no package), and both engines."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["reference", "core"])
def engine(request):
    """Both engines; what is asserted holds for each."""
    return request.param
