"""Fixtures that every test may use.

`VSTATS_TEST_DATA` names a folder of real clips; tests that need it skip where it is unset, and fail where it is set
but missing, so that a machine which was meant to have the data cannot pass without it.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

# The tests share the cores among several processes: one thread each, here and in those that they start, before libraries look.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

from tests import s3  # noqa: E402


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Take one process more than there are cores: tests wait for disks, clusters and timeouts too."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for kernels compiled for other CPUs than this one, shared by all tests of this run."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kernels"


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
