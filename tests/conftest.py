"""Lets tests import their helper modules (`import random_markets`): the tests folder is no package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
