"""What the tests share: the path of their helper modules (this folder is no package), and both engines."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["reference", "core"])
def engine(request):
<<<<<<< HEAD
    """Both engines: behaviour is tested on each."""
=======
    """Both engines; what is asserted holds for each."""
>>>>>>> wt-api
    return request.param
