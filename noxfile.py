"""The cells of the matrix: other Pythons with the newest of every dependency, and the lowest versions that setup.cfg admits.

`nox -s cell-3.13` runs a cell, `nox -s lowest` the one of the lowest versions, and `nox -s constraints` runs a cell for
every Python that is here and pins in `constraints/` what it passed with. What no cell needs - PyTorch, a compiler of
CUDA, types and style - is tested on the default Python alone (`.ci/run`).
"""

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["cell", "lowest"]

NEEDS_MORE = (
    "tests/examples",
    "tests/kernels/cuda",
    "tests/pipeline/test_loader.py",
    "tests/pipeline/test_video_clips.py",
)
"""Tests that cannot be imported without PyTorch or a compiler of CUDA."""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@nox.session(python=PYTHONS)
def cell(session: nox.Session) -> None:
    """Test the newest versions on one Python. `-- STORES` names a folder of stores, one per cell, to verify."""
    if session.posargs and (Path(session.posargs[0]) / str(session.python)).exists():
        session.skip("the default Python: the whole suite has run there")
    check(session, str(session.python))


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Test the lowest versions that setup.cfg admits, on the lowest Python."""
    check(session, "lowest", "--resolution", "lowest-direct")


@nox.session(python=PYTHONS)
def constraints(session: nox.Session) -> None:
    """Run a cell, and pin what it passed with."""
    check(session, str(session.python))
    passed = Path(session.create_tmp()) / "passed.txt"
    installed = session.run("uv", "pip", "freeze", "--exclude", "vstats", silent=True)
    passed.write_text(str(installed))
    session.run(
        "uv", "pip", "compile", "--quiet", "setup.cfg", "--extra", "cloud", "--constraints", str(passed), "--no-annotate",
        "--custom-compile-command", "nox -s constraints", "--output-file", f"constraints/python{session.python}.txt",
    )  # fmt: skip


def check(session: nox.Session, name: str, *resolution: str) -> None:
    """Install, label the demo's videos, run the tests marked for it, and verify the stores of other cells."""
    shutil.rmtree("build", ignore_errors=True)  # a file that an earlier install left there would be installed
    session.install(".[matrix]", *resolution)
    session.run("uv", "pip", "list")
    stores = Path(session.posargs[0] if session.posargs else session.create_tmp()).absolute()
    shutil.rmtree(stores / name, ignore_errors=True)
    (stores / name).mkdir(parents=True)
    with session.chdir(stores / name):
        session.run("vstats", "extract", "--demo")
    session.run("pytest", "-m", "matrix and not soak", *(f"--ignore={path}" for path in NEEDS_MORE))
    for store in sorted(stores.glob("*/vstats-demo/demo.vstats")):
        session.run("vstats", "verify", str(store), "--recompute", "100")
