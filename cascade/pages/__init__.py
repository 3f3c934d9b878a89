"""Pages: a run or a sweep as one self-contained HTML file. See `Result.report` and `Sweep.report`."""

from ._html import write
from ._run import run_page
from ._sweep import sweep_page

__all__ = ["run_page", "sweep_page", "write"]
