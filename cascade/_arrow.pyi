"""Arrow C data interface: one table as a PyCapsule "arrow_array_stream", without pyarrow."""

from typing import Any

import numpy as np

FORMATS: dict[str, bytes]

def export_stream(columns: dict[str, np.ndarray], length: int) -> Any:
    """Export columns as an Arrow stream of one record batch (a PyCapsule)."""
