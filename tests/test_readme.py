"""The README's python examples run as they stand, in order, in one namespace."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_examples_run(capsys, tmp_path, monkeypatch):
    if not README.exists():
        pytest.skip("README.md is not beside the tests")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    text = README.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert blocks, "README.md has no python example"
    namespace: dict = {"__name__": "readme"}
    for block in blocks:
        # Blank lines in front keep the README's own line numbers in a traceback.
        source = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        exec(compile(source, str(README), "exec"), namespace)
    assert "Traceback" not in capsys.readouterr().out
