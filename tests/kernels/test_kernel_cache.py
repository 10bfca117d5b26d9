"""Compiled kernels: kept for this user alone, outside of the package, and never taken for those of other sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.matrix

ROOT = Path(__file__).parent.parent.parent
SCRIPT = (
    "import numpy as np\n"
    "from vstats.kernels import ops\n"
    "from vstats.kernels.cpu import jit\n"
    "before = jit.is_compiled()\n"
    "gray = ops.rgb_to_gray(np.full((2, 2, 3), 100, np.uint8))\n"
    "print(before, jit.is_compiled(), int(gray[0, 0]), jit.compiled_folder())\n"
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package: its sources may be changed."""
    folder = tmp_path / "site" / "vstats"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "kernels", folder / "kernels", ignore=ignored)
    return folder


def run(package: Path, cache: Path) -> tuple[str, str, str, str]:
    """Return whether kernels were compiled before and after a first call, what it gave, and where they are kept."""
    environment = {**os.environ, "VSTATS_CACHE_DIR": str(cache)}
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r})\n{SCRIPT}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after, gray, folder = done.stdout.split(maxsplit=3)
    return before, after, gray, folder.strip()


def test_kernels_are_kept_outside_of_the_package_and_found_again(package: Path, tmp_path: Path) -> None:
    before, after, gray, folder = run(package, tmp_path / "cache")
    assert (before, after, gray) == ("False", "True", "100")
    assert Path(folder).parent == tmp_path / "cache"
    assert list(package.rglob("*.nb?")) == []
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
    kept = sorted((p.name, p.stat().st_mtime_ns) for p in Path(folder).iterdir())
    assert run(package, tmp_path / "cache") == ("True", "True", "100", folder)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in Path(folder).iterdir()) == kept


def test_kernels_of_an_older_source_are_never_loaded(package: Path, tmp_path: Path) -> None:
    folder = run(package, tmp_path / "cache")[3]
    # A file that the grey conversion does not stand in: what it calls and the constants that it takes may.
    path = package / "kernels" / "bilinear.py"
    path.write_text(path.read_text() + "\n# changed\n")
    before, after, gray, other = run(package, tmp_path / "cache")
    assert (before, after, gray) == ("False", "True", "100")
    assert other != folder


def test_without_a_folder_of_ones_own_kernels_are_compiled_anew(package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert run(package, tmp_path / "file") == ("False", "False", "100", "None")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert run(package, shared) == ("False", "False", "100", "None")
    assert list(shared.iterdir()) == []
