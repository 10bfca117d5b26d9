"""The house stands as its picture says: layers, packaging, who may import what, and how fast help comes."""

import ast
import configparser
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vstats.cli.main import COMMANDS

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
SOURCES = [p for room in ("kernels", "pipeline", "cli") for p in sorted((ROOT / room).rglob("*.py"))]
ONLY_IMPORT = {
    "av": "pipeline/decode.py",
    "cupy": "kernels/cuda/device.py",
    "obstore": "pipeline/place.py",
    "h5py": "pipeline/exchange/hdf5.py",
    "torch": "pipeline/loader.py",
    "zarr": "pipeline/store.py",
    "dask": "pipeline/execute.py",
    "distributed": "pipeline/execute.py",
    "tqdm": "cli/progress.py",
}
HEAVY = ("numpy", "numba", "cupy", "dask", "distributed", "zarr", "torch", "av", "cv2", "pyarrow", "h5py")


@cache
def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; write vstats.... in full"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_layers_are_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("package", sorted(ONLY_IMPORT))
def test_each_library_has_one_door(package: str) -> None:
    doors = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(name == package or name.startswith(package + ".") for name in imported(path))
    }
    assert doors == {ONLY_IMPORT[package]}


def test_numba_stays_among_the_cpu_kernels() -> None:
    # Beside the decorator only the solver, which teaches Numba a vector type.
    doors = {
        str(p.relative_to(ROOT)) for p in SOURCES if any(n.split(".")[0] == "numba" for n in imported(p))
    }
    assert doors == {"kernels/cpu/jit.py", "kernels/cpu/solver.py"}


def test_every_folder_with_code_is_packaged() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    folders = {f"vstats.{path.parent.relative_to(ROOT)}".replace("/", ".") for path in SOURCES}
    assert listed == folders


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda path: path.stem)
def test_constraints_pin_every_library_within_its_bounds(path: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.partition(";")[0].strip().split("==") for line in lines)
    for line in setup["options"]["install_requires"].strip().splitlines():
        wanted = Requirement(line)
        assert wanted.specifier.contains(pinned[wanted.name]), line


def test_every_python_that_is_named_has_its_constraints() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = [line.rpartition(" ")[2] for line in setup["metadata"]["classifiers"].strip().splitlines()]
    assert sorted(f"python{version}" for version in named) == sorted(
        p.stem for p in (ROOT / "constraints").iterdir()
    )


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys, json\n"
        "from vstats.cli.main import cli\n"
        "try: cli.main(['--help'], prog_name='vstats')\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "Commands:" in done.stdout
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_loads_nothing_heavy(command: str) -> None:
    script = (
        "import sys, json\n"
        "from vstats.cli.main import cli\n"
        f"try: cli.main([{command!r}, '--help'], prog_name='vstats')\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout.splitlines()[-1])) & set(HEAVY)


def test_no_drawer_without_an_owner() -> None:
    assert not [p for p in SOURCES if p.stem in ("utils", "helpers", "common", "misc")]


def test_style() -> None:
    for tool in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        done = subprocess.run(
            [sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_types(tmp_path: Path) -> None:
    # The folders under their package's name: mypy sees them as users import them, however vstats is installed.
    (tmp_path / "vstats").mkdir()
    for room in ("kernels", "pipeline", "cli"):
        (tmp_path / "vstats" / room).symlink_to(ROOT / room)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        ROOT / "pyproject.toml",
        "--explicit-package-bases",
    ]
    packages = ["-p", "vstats.kernels", "-p", "vstats.pipeline", "-p", "vstats.cli"]
    done = subprocess.run(
        [*command, *packages], cwd=tmp_path, env={**os.environ, "MYPYPATH": str(tmp_path)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
