"""Pages that are written from the code stay in step with it."""

import os
import re
import runpy
from pathlib import Path

import pytest

import cascade as cs

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


def test_the_page_of_names_has_every_public_name():
    page = (ROOT / "docs" / "names.md").read_text()
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]*)`", page))))
    public = set(cs.__all__)
    for kind in (cs.Market, cs.Result, cs.Sweep, cs.Simulation):
        public |= {name for name in dir(kind) if not name.startswith("_")}
    assert public - named == set()


def test_no_name_on_the_page_of_names_is_gone():
    page = (ROOT / "docs" / "names.md").read_text()
    market = cs.datasets.constant_depth()
    for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|(?! \|)", page, re.M):
        for name in re.findall(r"\w+", row):
            assert hasattr(market, name) or hasattr(cs.Result, name), name
