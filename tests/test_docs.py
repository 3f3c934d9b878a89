"""Pages that are written from the code stay in step with it."""

import os
import runpy
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CASCADE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
VECTORS = SHARED / "rules" / "vectors.json"
ROOT = Path(__file__).resolve().parents[1]


def test_the_page_of_rules_is_what_the_record_says():
    page = runpy.run_path(str(ROOT / "tools" / "write_rules.py"))["page"]
    assert (ROOT / "docs" / "rules.md").read_text() == page()


@pytest.mark.skipif(not VECTORS.exists(), reason=f"no {VECTORS}; set CASCADE_SHARED")
def test_the_page_of_examples_is_what_their_evaluation_says():
    page = runpy.run_path(str(ROOT / "tools" / "write_validation.py"))["page"]
    assert (ROOT / "docs" / "validation.md").read_text() == page(VECTORS)
