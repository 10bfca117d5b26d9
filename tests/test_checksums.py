"""The same input gives the same labels here as everywhere: digests against those of manifests/checksums.json."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.renew_checksums import CONFIGS, FILE, demo_roots, roots
from vstats.pipeline.config import ExtractConfig

pytestmark = [pytest.mark.long, pytest.mark.matrix]

RECORD = json.loads(FILE.read_text())

PLAIN = {
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX512_COMMON,AVX2,FP16,AVX,SSE4_2,SSE4_1",
}
"""A processor without AVX-512, AVX2 or any other extension."""


@pytest.mark.parametrize("name", CONFIGS)
def test_demo(name: str, tmp_path: Path) -> None:
    assert demo_roots(name, tmp_path) == RECORD[f"demo {name}"]


def test_demo_on_a_plain_cpu(tmp_path: Path, kernel_cache: Path) -> None:
    script = (
        "import json, sys; from pathlib import Path; from tests.golden.renew_checksums import demo_roots\n"
        f"print(json.dumps(demo_roots('sts', Path({str(tmp_path)!r}))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent.parent,
        env={**os.environ, **PLAIN, "VSTATS_CACHE_DIR": str(kernel_cache)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == RECORD["demo sts"]


def test_real_clips(data_dir: Path, tmp_path: Path) -> None:
    found = roots(data_dir / "videos", tmp_path / "store", ExtractConfig(), workers=2)
    assert found == RECORD["real clips sts"]
