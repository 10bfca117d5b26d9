"""Grey conversion and resizing: plain loops, OpenCV, refusals."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import naive_tvl1 as naive
from vstats.kernels import ops
from vstats.kernels.errors import InputError

pytestmark = pytest.mark.matrix

SIDES = st.integers(1, 9)


def picture(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_gray_has_the_bits_of_opencv() -> None:
    levels = np.arange(0, 256, 5, np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 52, 3)
    assert np.array_equal(ops.rgb_to_gray(rgb), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("resize", [ops.resize_area, ops.resize_linear])
@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES, h=SIDES, w=SIDES, seed=st.integers(0, 99))
def test_resizes_are_exact(resize: Any, height: int, width: int, h: int, w: int, seed: int) -> None:
    twin = naive.resize_area if resize is ops.resize_area else naive.resize_linear_u8
    rgb = picture(height, width, seed)
    assert np.array_equal(resize(rgb, (h, w)), twin(rgb, (h, w)))


@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES, h=SIDES, w=SIDES, cuts=st.tuples(*[st.integers(-9, 9)] * 4))
def test_a_part_is_the_part_of_the_whole(height: int, width: int, h: int, w: int, cuts: Any) -> None:
    rgb, part = picture(height, width), (slice(*cuts[:2]), slice(*cuts[2:]))
    assert np.array_equal(ops.resize_area(rgb, (h, w), part), ops.resize_area(rgb, (h, w))[part])


@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES, h=SIDES, w=SIDES, seed=st.integers(0, 99))
def test_float_resize_has_the_bits_of_the_loops(height: int, width: int, h: int, w: int, seed: int) -> None:
    flow = np.random.default_rng(seed).standard_normal((1, height, width, 2)).astype(np.float32)
    got = ops.resize_linear(flow, (h, w))
    for n in range(2):
        plane = [list(row) for row in flow[0, :, :, n]]
        want = np.array(naive.resize_linear(plane, (h, w), height / h, width / w), np.float32)
        assert np.array_equal(got[0, :, :, n], want)


@pytest.mark.parametrize("size", [(128, 171), (64, 64), (33, 100)])
def test_area_is_opencvs_to_one_level_where_it_shrinks(size: tuple[int, int]) -> None:
    rgb = picture(240, 320)
    ours, theirs = ops.resize_area(rgb, size), cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("size", [(128, 171), (300, 500), (128, 400)])
def test_linear_is_opencvs_to_rounding(size: tuple[int, int]) -> None:
    rgb = picture(240, 320)
    ours, theirs = ops.resize_linear(rgb, size), cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    plane = rgb[:, :, 0].astype(np.float32)
    assert np.allclose(ops.resize_linear(plane, size), cv2.resize(plane, size[::-1]), atol=0.01)


def test_a_resize_to_the_same_size_changes_nothing() -> None:
    frames = np.stack([picture(7, 9, seed) for seed in range(3)])
    assert np.array_equal(ops.resize_area(frames, (7, 9)), frames)
    assert np.array_equal(ops.resize_linear(frames, (7, 9)), frames)
    planes = frames[..., 0].astype(np.float32)
    assert np.array_equal(ops.resize_linear(planes, (7, 9)), planes)


def test_axes_and_views_are_kept() -> None:
    frames = np.stack([picture(6, 8, seed) for seed in range(4)])
    assert ops.resize_area(frames.reshape(2, 2, 6, 8, 3), (3, 5)).shape == (2, 2, 3, 5, 3)
    flipped = frames[:, :, ::-1]
    assert np.array_equal(ops.resize_area(flipped, (3, 5)), ops.resize_area(flipped.copy(), (3, 5)))
    assert np.array_equal(ops.rgb_to_gray(flipped), ops.rgb_to_gray(flipped.copy()))


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.rgb_to_gray(np.zeros((4, 4), np.uint8)),
        lambda: ops.rgb_to_gray(np.zeros((4, 3), np.float32)),  # type: ignore[arg-type]
        lambda: ops.resize_area(np.zeros((4, 4, 4), np.uint8), (2, 2)),
        lambda: ops.resize_area(np.zeros((0, 4, 3), np.uint8), (2, 2)),
        lambda: ops.resize_area(np.zeros((4, 4, 3), np.uint8), (0, 2)),
        lambda: ops.resize_area(np.zeros((4, 4, 3), np.uint8), (2.5, 2)),  # type: ignore[arg-type]
        lambda: ops.resize_area(np.zeros((4, 4, 3), np.uint8), 3),  # type: ignore[arg-type]
        lambda: ops.resize_area(np.zeros((4, 4, 3), np.uint8), (2, 2), (slice(None, None, 2), slice(None))),
        lambda: ops.resize_linear(np.zeros((4, 4), np.float64), (2, 2)),
        lambda: ops.resize_linear(np.zeros((2, 4, 4, 3), np.float32), (2, 2)),
        lambda: ops.resize_linear(np.zeros((0, 4), np.float32), (2, 2)),
    ],
)
def test_wrong_input_is_refused(call: Any) -> None:
    with pytest.raises(InputError, match=r"expected|must"):
        call()
