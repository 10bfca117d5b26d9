"""TV-L1: plain loops, known motion, OpenCV, ground truth, and the same bits whatever computes them."""

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import llvmlite.binding
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import naive_tvl1 as naive
from tests.kernels.clips import clip, same_bits, texture
from vstats.kernels import levels, ops
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cpu import flow, solver
from vstats.kernels.errors import InputError

pytestmark = pytest.mark.matrix

TRUTH = [  # name, frames, truth, the mean endpoint error of OpenCV 5.0
    ("RubberWhale", "opencv_RubberWhale{}.png", (1, 2), "opencv_RubberWhale.flo", 0.156),
    ("Dimetrodon", "middlebury_Dimetrodon_frame{}.png", (10, 11), "middlebury_Dimetrodon_flow10.flo", 0.180),
    ("Venus", "middlebury_Venus_frame{}.png", (10, 11), "middlebury_Venus_flow10.flo", 0.306),
    ("FlyingChairs", "flyingchairs_0000001-img{}.ppm", (0, 1), "flyingchairs_0000001-gt.flo", 1.17),
]


def within(a: Any, b: Any, distance: float = 0.1) -> float:
    return float((np.linalg.norm(a - b, axis=-1) < distance).mean())


def opencv(first: Any, second: Any) -> Any:
    cv2.setNumThreads(1)
    # A new object for each pair: it shrinks its own pyramid for good after a small picture.
    return cv2.optflow.createOptFlow_DualTVL1().calc(first, second, None)  # type: ignore[attr-defined]


# The definition.


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 36),
    seed=st.integers(0, 999),
    as_float=st.booleans(),
    params=st.builds(
        TVL1Params,
        tau=st.sampled_from([0.25, 0.1]),
        lambda_=st.sampled_from([0.15, 0.05]),
        theta=st.sampled_from([0.3, 0.5]),
        nscales=st.integers(1, 3),
        warps=st.integers(1, 2),
        epsilon=st.sampled_from([0.01, 0.1, 0.0]),
        inner_iterations=st.integers(1, 3),
        outer_iterations=st.integers(1, 2),
        scale_step=st.sampled_from([0.8, 0.5, 0.9]),
        median_filtering=st.sampled_from([1, 3, 5]),
    ),
)
def test_flow_has_the_bits_of_the_plain_loops(
    height: int, width: int, seed: int, as_float: bool, params: TVL1Params
) -> None:
    frames = clip(2, height, width, seed)
    frames = frames.astype(np.float32) + np.float32(0.25) if as_float else frames
    assert same_bits(ops.tvl1(frames, params)[0], naive.tvl1(frames[0], frames[1], params))


def test_far_motion_has_the_bits_of_the_plain_loops() -> None:
    # Two unlike pictures and a heavy data term drive positions beyond the picture on all sides.
    frames = np.random.default_rng(3).integers(0, 256, (2, 20, 19), np.uint8)
    params = TVL1Params(lambda_=9.0, warps=3, inner_iterations=4, outer_iterations=1, median_filtering=1)
    got = ops.tvl1(frames, params)[0]
    assert np.abs(got).max() > 20
    assert same_bits(got, naive.tvl1(frames[0], frames[1], params))


def test_the_stop_test_ends_a_warp_where_the_loops_do() -> None:
    frames = clip(2, 16, 18, 5)
    for epsilon in (0.02, 0.05):
        params = TVL1Params(nscales=1, warps=2, epsilon=epsilon)
        assert same_bits(ops.tvl1(frames, params)[0], naive.tvl1(frames[0], frames[1], params))


@pytest.mark.parametrize("side", [3, 5])
def test_the_median_is_opencvs_and_the_network_sorts_every_order(side: int) -> None:
    """A network that selects right from zeros and ones selects right from anything (Knuth, 5.3.4)."""
    filtered = solver.median3 if side == 3 else solver.median5

    def median(image: Any) -> Any:
        height, width = image.shape
        work = flow.Workspace(height, width)
        planes = work.planes(height, width)
        inside = planes[:, solver.TOP : -solver.TOP, solver.LEFT : solver.LEFT + width]
        inside[solver.U1], inside[solver.U2] = image, -image
        filtered(planes, work.rows(width, levels.Rates.of(height, width, TVL1Params())), height, width)
        assert np.array_equal(inside[solver.U1], -inside[solver.U2])
        return inside[solver.U1].copy()

    rng = np.random.default_rng(side)
    for height, width in ((1, 1), (1, 9), (6, 1), (2, 2), (5, 16), (12, 33)):
        image = rng.integers(-4, 5, (height, width)).astype(np.float32)
        assert np.array_equal(median(image), cv2.medianBlur(image, side))
    # Sorted rows of zeros and ones are counts of ones: every combination of them, as windows side by side.
    windows = np.array(list(product(*[range(side + 1)] * side)))
    for start in range(0, len(windows), 100):
        part = windows[start : start + 100]
        image = np.concatenate([(np.arange(side) < ones[:, None]) for ones in part], axis=1).astype(
            np.float32
        )
        for rows in (image, np.concatenate((image[:1], image))):  # the first and the second of two medians
            centre = median(rows)[side // 2 + len(rows) - side, side // 2 :: side]
            assert np.array_equal(centre, part.sum(axis=1) > side * side // 2)


# What it finds.


@pytest.mark.parametrize("shift", [(3, 0), (0, -2), (2, 3)])
def test_a_shifted_texture_gives_its_shift(shift: tuple[int, int]) -> None:
    field = texture(100, 120, 1, 2.5)
    dx, dy = shift
    frames = np.stack((field[20:80, 20:100], field[20 - dy : 80 - dy, 20 - dx : 100 - dx]))
    found = ops.tvl1(frames)[0]
    assert within(found[8:-8, 8:-8], np.array(shift, np.float32), 0.15) > 0.95


def test_nothing_moves_in_equal_frames() -> None:
    assert not ops.tvl1(np.stack([texture(40, 50)] * 3)).any()
    assert not ops.tvl1(np.full((2, 40, 50), 77, np.uint8)).any()


def test_live_opencv_agrees() -> None:
    # Noise makes the iteration wander; on real pairs nearly all clips have 98 % within 0.1 px.
    frames = clip(2, 60, 80, 2)
    ours, theirs = ops.tvl1(frames)[0], opencv(frames[0], frames[1])
    assert within(ours, theirs) > 0.93
    assert np.linalg.norm(ours - theirs, axis=-1).mean() < 0.04


def test_float_frames_count_grey_levels_like_uint8() -> None:
    frames = clip(2, 30, 40)
    assert same_bits(ops.tvl1(frames), ops.tvl1(frames.astype(np.float32)))


# The same bits.


def test_a_pair_alone_is_the_pair_in_a_clip() -> None:
    frames = clip(5, 40, 53, 4)
    whole = ops.tvl1(frames)
    assert whole.shape == (4, 40, 53, 2)
    assert whole.dtype == np.float32
    for t in range(4):
        assert same_bits(ops.tvl1(frames[t : t + 2])[0], whole[t])
    assert same_bits(ops.tvl1(frames), whole)


def test_views_are_read_as_what_they_show() -> None:
    frames = clip(4, 30, 40, 6)
    for view in (frames[::2], frames[:, ::-1, ::-1], frames.transpose(0, 2, 1)):
        assert same_bits(ops.tvl1(view), ops.tvl1(np.ascontiguousarray(view)))


BITS = """
import hashlib, json, sys
import numpy as np
from vstats.kernels import ops
frames = np.load(sys.argv[1])
print(json.dumps([hashlib.sha256(ops.tvl1(f).tobytes()).hexdigest() for f in (frames, frames[:, :33, :21])]))
"""


def host_features(*without: str) -> str:
    names = llvmlite.binding.get_host_cpu_features()
    return ",".join(
        ("+" if on and not name.startswith(without) else "-") + name for name, on in sorted(names.items())
    )


@pytest.mark.parametrize(
    "machine",
    [
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        {"NUMBA_CPU_FEATURES": host_features("avx512", "avx10", "evex512")},
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": host_features("avx", "evex512", "fma")},
    ],
    ids=["generic", "no AVX-512", "generic without AVX"],
)
def test_bits_do_not_depend_on_the_cpu(machine: dict[str, str], tmp_path: Path, kernel_cache: Path) -> None:
    frames = clip(2, 64, 85, 7)
    np.save(tmp_path / "frames.npy", frames)
    run = subprocess.run(
        [sys.executable, "-c", BITS, str(tmp_path / "frames.npy")],
        env={**os.environ, "VSTATS_CACHE_DIR": str(kernel_cache), **machine},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [hashlib.sha256(ops.tvl1(part).tobytes()).hexdigest() for part in (frames, frames[:, :33, :21])]
    assert json.loads(run.stdout) == here


# What it takes.


def test_memory_grows_with_a_pair_and_not_with_the_clip() -> None:
    def working_memory(count: int) -> int:
        frames = np.zeros((count, 96, 128), np.uint8)
        tracemalloc.start()
        found = ops.tvl1(frames)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - found.nbytes

    working_memory(2)
    assert working_memory(20) < 1.2 * working_memory(3)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (2, 3), (15, 17), (16, 16), (17, 33)])
def test_any_size_works(size: tuple[int, int]) -> None:
    found = ops.tvl1(clip(2, *size))
    assert found.shape == (1, *size, 2)
    assert np.isfinite(found).all()


def test_the_bounds_of_the_parameters_give_numbers() -> None:
    frames = np.random.default_rng(0).choice(np.array([-1e6, 1e6], np.float32), (2, 20, 24))
    few = {"warps": 2, "outer_iterations": 2, "inner_iterations": 5}
    for tau, lambda_, theta, epsilon in product((1e-6, 1e6), (1e-6, 1e6), (1e-6, 1e6), (0.0, 1e6)):
        params = TVL1Params(tau=tau, lambda_=lambda_, theta=theta, epsilon=epsilon, **few)
        assert np.isfinite(ops.tvl1(frames, params)).all()


def test_the_pyramid_ends_before_a_side_under_sixteen() -> None:
    assert levels.level_sizes(128, 171, TVL1Params()) == [
        (128, 171),
        (102, 137),
        (82, 110),
        (66, 88),
        (53, 70),
    ]
    assert levels.level_sizes(20, 171, TVL1Params()) == [(20, 171), (16, 137)]
    assert levels.level_sizes(3, 3, TVL1Params()) == [(3, 3)]


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 8, 8), np.float64),
        np.zeros((2, 8, 8), np.int16),
        np.zeros((8, 8), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((1, 8, 8), np.uint8),
        np.zeros((0, 8, 8), np.uint8),
        np.zeros((2, 0, 8), np.uint8),
        np.full((2, 8, 8), np.nan, np.float32),
        np.full((2, 8, 8), -np.inf, np.float32),
        np.full((2, 8, 8), 1e7, np.float32),
    ],
)
def test_wrong_frames_are_refused(frames: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        ops.tvl1(frames)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tau": 0.0},
        {"lambda_": -1.0},
        {"theta": float("nan")},
        {"epsilon": -0.1},
        {"tau": float("inf")},
        {"theta": 1e-9},
        {"nscales": 0},
        {"warps": 1.5},
        {"inner_iterations": True},
        {"outer_iterations": 0},
        {"scale_step": 1.0},
        {"median_filtering": 4},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"TVL1Params\.{next(iter(wrong))} is"):
        TVL1Params(**wrong)
    with pytest.raises(InputError, match="expected a TVL1Params"):
        ops.tvl1(clip(2, 8, 8), wrong)  # type: ignore[arg-type]


# Real pictures.


def read_flo(path: Path) -> Any:
    raw = path.read_bytes()
    width, height = np.frombuffer(raw, np.int32, 2, 4)
    return np.frombuffer(raw, np.float32, offset=12).reshape(height, width, 2)


@pytest.fixture(scope="module")
def rubber_whale(data_dir: Path) -> Any:
    names = (str(data_dir / "flow" / f"opencv_RubberWhale{n}.png") for n in (1, 2))
    return ops.tvl1(np.stack([cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in names]))[0]


@pytest.mark.parametrize(
    ("name", "frames", "numbers", "truth", "theirs"), TRUTH, ids=[row[0] for row in TRUTH]
)
def test_the_error_is_opencvs(
    data_dir: Path, name: str, frames: str, numbers: tuple[int, int], truth: str, theirs: float
) -> None:
    paths = [str(data_dir / "flow" / frames.format(n)) for n in numbers]
    found = ops.tvl1(np.stack([cv2.imread(path, cv2.IMREAD_GRAYSCALE) for path in paths]))[0]
    real = read_flo(data_dir / "flow" / truth)
    known = (np.abs(real) < 1e9).all(axis=-1)
    assert np.linalg.norm(found - real, axis=-1)[known].mean() <= theirs * 1.02


def test_opencvs_stored_flow_is_met_as_well_as_opencv_meets_it(data_dir: Path, rubber_whale: Any) -> None:
    stored = read_flo(data_dir / "flow" / "opencv_tvl1_flow.flo")
    assert within(rubber_whale, stored) > 0.945  # OpenCV 5.0 itself: 0.950
