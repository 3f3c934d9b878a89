"""What is installed: the compiled package under test, with its data, stubs and licences."""

import shutil
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import pytest

import cascade as cs
from cascade import _core


@pytest.mark.fast
def test_the_compiled_package_is_under_test():
    package = Path(cs.__file__).parent
    assert Path(_core.__file__).parent == package
    tree = Path(__file__).resolve().parents[1] / "cascade"
    # From the tree itself only when it was built in place.
    assert package != tree or list(tree.glob("_core.*.so"))


def test_data_and_stubs_come_along():
    root = resources.files(cs)
    stubs = "_core.pyi", "_arrow.pyi", "_bulk.pyi", "_index.pyi"
    for name in ("py.typed", *stubs, "datasets/binance_books_20240808.npz"):
        assert root.joinpath(name).is_file(), name
    assert any(f.name.endswith(".json") for f in root.joinpath("venues").iterdir())


def test_metadata():
    try:
        found = metadata.metadata("liquidation-cascade")
    except metadata.PackageNotFoundError:
        pytest.skip("built in place, not installed")
    assert found["Version"] == cs.__version__
    assert found["License-Expression"] == "Apache-2.0"
    assert set(found.get_all("License-File") or ()) == {"LICENSE", "NOTICE"}
    assert [r for r in found.get_all("Requires-Dist") or () if "extra" not in r] == ["numpy>=1.26"]


def test_an_unbuilt_tree_says_what_to_do(tmp_path):
    tree = Path(cs.__file__).parent
    shutil.copytree(tree, tmp_path / "cascade", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    command = [sys.executable, "-c", "import cascade"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cascade is not built here" in done.stderr
