"""Whether this machine has a GPU that vstats computes on; where it must have one, its absence is a failure."""

import os

import pytest

from vstats.kernels import backend
from vstats.kernels.errors import BackendUnavailable


def require() -> None:
    """Skip the test on a machine without a GPU; fail it where VSTATS_REQUIRE_GPU=1."""
    try:
        backend.load("cuda")
    except BackendUnavailable as error:
        if os.environ.get("VSTATS_REQUIRE_GPU") == "1":
            pytest.fail(f"VSTATS_REQUIRE_GPU=1, and {error}")
        pytest.skip(f"no GPU: {error}")
