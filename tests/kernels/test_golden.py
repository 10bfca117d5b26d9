"""What the authors' code printed, and checksums of our own that need no data: the same bits on every machine."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests import naive
from vstats.kernels import ops
from vstats.kernels.errors import NoLabel

pytestmark = pytest.mark.matrix

GOLDEN = Path(__file__).parent.parent / "golden"
Golden = dict[str, Any]


@pytest.fixture(scope="module")
def released(golden_dir: Path) -> Golden:
    with np.load(golden_dir / "released_labels.npz") as stored:
        golden = dict(stored)
    levels = np.stack([golden.pop("u_q8"), golden.pop("v_q8")], axis=-1)
    return {**golden, "flow": (levels * 40.0 / 255 - 20).astype(np.float32)}


@pytest.fixture(scope="module")
def own() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_labels", GOLDEN / "make_labels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("row", range(14))
def test_sts_released_prints_what_the_authors_code_prints(released: Golden, row: int) -> None:
    labels = ops.clip_labels(released["clips_rgb"][row], released["flow"][row], "sts-released")
    assert labels.values.tolist() == released["labels_sts_released"][row].tolist(), released["names"][row]


@pytest.mark.parametrize("row", range(14))
def test_mas_released_prints_what_the_authors_code_prints(released: Golden, row: int) -> None:
    rgb, flow = released["clips_rgb"][row], released["flow"][row]
    wanted = released["labels_mas_released"][row]
    for fields in (15, 16):
        if wanted[0] < 0:
            with pytest.raises(NoLabel, match="no motion in u"):
                ops.clip_labels(rgb, flow[:fields], "mas-released")
        else:
            assert ops.clip_labels(rgb, flow[:fields], "mas-released").values.tolist() == wanted.tolist()


@pytest.mark.parametrize("row", [1, 4, 8])
def test_golden_rows_also_come_from_a_frame_that_is_cropped_and_mirrored(released: Golden, row: int) -> None:
    rgb = np.random.default_rng(row).integers(0, 256, (17, 128, 171, 3), np.uint8)
    flow = np.full((16, 128, 171, 2), np.float32(7))
    rgb[:16, 5:117, 40:152] = released["clips_rgb"][row][:, :, ::-1]
    flow[:, 5:117, 40:152] = released["flow"][row][:, :, ::-1]
    labels = ops.clip_labels(rgb, flow, "sts-released", crop=(5, 40), flip=True)
    assert labels.values.tolist() == released["labels_sts_released"][row].tolist()


@pytest.mark.parametrize("row", [6])
def test_the_plain_loops_print_it_too(released: Golden, row: int) -> None:
    labels, _, _ = naive.clip(
        released["clips_rgb"][row], released["flow"][row], (0, 0), 112, profile="sts-released"
    )
    assert [label for group in labels.values() for label in group] == released["labels_sts_released"][
        row
    ].tolist()


@pytest.mark.parametrize("name", sorted(json.loads((GOLDEN / "labels.json").read_text())))
def test_our_own_checksums(own: ModuleType, name: str) -> None:
    assert own.digests(name) == json.loads((GOLDEN / "labels.json").read_text())[name]


def test_a_cpu_without_vector_extensions_gives_the_same_bits(kernel_cache: Path) -> None:
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import make_labels as m;"
        "print(json.dumps({name: m.digests(name) for name in m.CASES}))"
    )
    umath = np._core._multiarray_umath  # type: ignore[attr-defined]
    dispatched = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]
    plain = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "VSTATS_CACHE_DIR": str(kernel_cache),
        "NPY_DISABLE_CPU_FEATURES": " ".join(dispatched),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(GOLDEN)],
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == json.loads((GOLDEN / "labels.json").read_text())
