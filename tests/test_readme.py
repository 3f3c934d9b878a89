"""The python examples of the README and of pages in docs/ run as they stand, in order, in one namespace."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

PAGES = ["README.md", "docs/sweeps.md", "docs/studies.md", "docs/reports.md", "docs/names.md"]


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, capsys, tmp_path, monkeypatch):
    path = ROOT / page
    if not path.exists():
        pytest.skip(f"{page} is not beside the tests")
    if page == "docs/studies.md":
        pytest.importorskip("scipy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    text = path.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert blocks, f"{page} has no python example"
    namespace: dict = {"__name__": "readme"}
    for block in blocks:
        # Blank lines in front keep the page's own line numbers in a traceback.
        source = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        exec(compile(source, str(path), "exec"), namespace)
    assert "Traceback" not in capsys.readouterr().out
