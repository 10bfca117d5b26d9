"""Fixtures that every test may use.

`VSTATS_TEST_DATA` names a folder of real clips; tests that need it skip where it is unset, and fail where it is set
but missing, so that a machine which was meant to have the data cannot pass without it.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import s3


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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Return the address of an S3 server with an empty bucket."""
    with s3.server() as address:
        yield address


@pytest.fixture
def s3_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a store that is not there yet, in the environment that reaches it."""
    s3.reach(s3_server, monkeypatch)
    return f"s3://{s3.BUCKET}/{uuid.uuid4().hex}/a.vstats"
