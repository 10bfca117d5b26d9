"""Motion boundaries: a field done by hand, plain loops, mirror images, and values at the edge of float32."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests import naive
from vstats.kernels.cpu import boundary
from vstats.kernels.errors import InputError
from vstats.kernels.measure import check_finite, quantised

pytestmark = pytest.mark.matrix

FLOATS = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 1.0, -1.0, 0.5, 2048.0, -2049.0, 1e30, -1e30, 3.4e38, 1e-40, -1e-45, 2.0**-17, 20.0]
    ),
    st.floats(-25, 25, width=32),
)


def fields(draw_shape: tuple[int, int, int]) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (*draw_shape, 2), elements=FLOATS)


def run(flow: np.ndarray, compared: int | None = None, size: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes over every crop of `size` [G, H - size + 1, W - size + 1, 2], and the summed boundary [2, H, W, 2]."""
    F, H, W, _ = flow.shape
    G, h, w = F if compared is None else compared, H - size + 1, W - size + 1
    corners = np.array([(y, x) for y in range(h) for x in range(w)], np.int64)
    frames = np.empty((G, h * w, 2), np.int64)
    summed = np.empty((2, H, 2 * W), np.float32)
    boundary.boundaries(flow.reshape(F, H, 2 * W), corners, size, summed, frames)
    return frames.reshape(G, h, w, 2), summed.reshape(2, H, W, 2)


def test_a_square_by_hand() -> None:
    u = np.zeros((1, 4, 4, 2), np.float32)
    u[0, 1:, 2:, 0] = 1  # the lower right part moves right by one pixel
    _, summed = run(u)
    # Motion falls towards the left and the top: d/dx and d/dy carry the released code's sign.
    assert summed[0, ..., 0].tolist() == [[0, -1, -1, 0], [0, -2, -2, 0], [0, -3, -3, 0], [0, -3, -3, 0]]
    assert summed[1, ..., 0].tolist() == [[0, -1, -2, -3], [0, -1, -2, -3], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not summed[..., 1].any()


def test_camera_motion_has_no_boundary() -> None:
    magnitude, summed = run(np.full((3, 5, 6, 2), np.float32(1.7)))
    assert not magnitude.any()
    assert not summed.any()


@settings(max_examples=40, deadline=None)
@given(flow=fields((2, 4, 5)), compared=st.integers(0, 2))
def test_boundaries_equal_the_plain_loops(flow: np.ndarray, compared: int) -> None:
    magnitude, summed = run(flow, compared)
    for k in range(2):
        sums = None
        for i in range(2):
            bx, by = (
                np.array(b, np.float32) for b in naive.boundary([list(row) for row in flow[i, :, :, k]])
            )
            if i < compared:
                pixels = zip(bx.reshape(-1), by.reshape(-1), strict=True)
                wanted = [naive.whole(naive.magnitude(x, y)) for x, y in pixels]
                assert magnitude[i, :, :, k].reshape(-1).tolist() == wanted
            zero = np.zeros_like(bx)
            sums = (zero + bx, zero + by) if sums is None else (sums[0] + bx, sums[1] + by)
        assert sums is not None
        np.testing.assert_array_equal(summed[0, :, :, k], sums[0])
        np.testing.assert_array_equal(summed[1, :, :, k], sums[1])


@settings(max_examples=40, deadline=None)
@given(flow=fields((2, 3, 6)))
def test_a_mirrored_field_has_the_same_boundary_but_for_signs(flow: np.ndarray) -> None:
    mirror = flow[:, :, ::-1] * np.array([-1, 1], np.float32)
    magnitude, summed = run(flow)
    magnitude_there, summed_there = run(mirror)
    np.testing.assert_array_equal(magnitude_there[:, :, ::-1], magnitude)
    signs = np.array([[1, -1], [-1, 1]], np.float32)  # of d/dx, d/dy of u, v
    np.testing.assert_array_equal(summed_there[:, :, ::-1] * signs[:, None, None, :], summed)


def test_the_largest_values_do_not_overflow() -> None:
    flow = np.full((255, 2, 6, 2), np.float32(3e38))
    flow[:, :, ::2] = -3e38
    flow[:, :, 3:] = 3e38
    magnitude, summed = run(flow)
    assert magnitude.max() == 12288 * 65536
    assert summed.min() == -255 * 12288
    frames, _ = run(flow, size=2)
    assert frames.max() <= 4 * 12288 * 65536
    assert frames[0, 0, 2, 0] == magnitude[0, :2, 2:4, 0].sum()


@settings(max_examples=30, deadline=None)
@given(flow=fields((2, 5, 6)), size=st.integers(1, 5), compared=st.integers(0, 2))
def test_frame_sums_are_sums(flow: np.ndarray, size: int, compared: int) -> None:
    magnitude, _ = run(flow)
    frames, _ = run(flow, compared, size)
    assert len(frames) == compared
    for y in range(6 - size):
        for x in range(7 - size):
            wanted = magnitude[:compared, y : y + size, x : x + size].sum(axis=(1, 2))
            np.testing.assert_array_equal(frames[:, y, x], wanted)


@settings(max_examples=50, deadline=None)
@given(flow=fields((1, 2, 3)))
def test_eight_bits_equal_the_plain_loops_and_hold_still(flow: np.ndarray) -> None:
    once = quantised(flow)
    np.testing.assert_array_equal(
        once.reshape(-1), np.array([naive.eight_bits(f) for f in flow.reshape(-1)], np.float32)
    )
    np.testing.assert_array_equal(quantised(once), once)


def test_every_level_of_eight_bits_holds_still() -> None:
    levels = (np.arange(256) * 40 / 255 - 20).astype(np.float32).reshape(1, 16, 8, 2)
    np.testing.assert_array_equal(
        np.rint((quantised(levels) + 20) * 6.375), np.arange(256).reshape(1, 16, 8, 2)
    )
    np.testing.assert_allclose(quantised(levels), levels, atol=2e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found(value: float) -> None:
    flow = np.full((2, 3, 4, 2), np.float32(3e38))
    check_finite(flow)
    flow[1, 2, 3, 1] = value
    with pytest.raises(
        InputError, match=rf"flow holds {value} at index \[1, 2, 3, 1\]; every value must be finite"
    ):
        check_finite(flow)
