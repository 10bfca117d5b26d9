"""Fixtures that every test may use.

`VSTATS_TEST_DATA` names a folder of real clips; tests that need it skip where it is unset, and fail where it is set
but missing, so that a machine which was meant to have the data cannot pass without it.
"""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real clips."""
    name = os.environ.get("VSTATS_TEST_DATA")
    if not name:
        pytest.skip("VSTATS_TEST_DATA is not set: real clips are not here")
    folder = Path(name)
    assert (folder / "MANIFEST.tsv").is_file(), f"VSTATS_TEST_DATA={name} has no MANIFEST.tsv"
    return folder


@pytest.fixture(scope="session")
def golden_dir(data_dir: Path) -> Path:
    """Return the folder of labels that the authors' code printed."""
    folder = data_dir.parent / "golden"
    assert (folder / "released_labels.npz").is_file(), f"{folder} has no released_labels.npz"
    return folder
