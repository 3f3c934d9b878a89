"""Pages that are written from the code stay in step with it."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_of_rules_is_what_the_record_says():
    page = runpy.run_path(str(ROOT / "tools" / "write_rules.py"))["page"]
    assert (ROOT / "docs" / "rules.md").read_text() == page()
