"""Directions and block sums: known vectors, OpenCV's angles, plain loops."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests import naive
from vstats.kernels.cpu import blocks

pytestmark = pytest.mark.matrix

VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 3.0, 1e-6, -1e-30, 1e-45, 3133440.0, -3133440.0]),
    st.floats(-100, 100, width=32),
)


def bins_of(mx: float, my: float) -> list[int]:
    """Votes of one vector, by the kernel."""
    summed = np.zeros((2, 1, 2), np.float32)
    summed[0, 0, 0], summed[1, 0, 0] = mx, my
    out = np.zeros((2, 1, 8), np.int64)
    blocks.orientations(summed, 0, 0, np.zeros((1, 1), np.uint16), out)
    assert not out[1].any()
    return out[0, 0].tolist()


@pytest.mark.parametrize(("mx", "my", "number"), [(2, 0, 0), (0, 2, 2), (-2, 0, 4), (0, -2, 6)])
def test_a_vector_along_an_axis_votes_for_it_alone(mx: float, my: float, number: int) -> None:
    assert bins_of(mx, my) == [2 * 65536 if k == number else 0 for k in range(8)]


@pytest.mark.parametrize(("mx", "my", "number"), [(1, 1, 1), (-1, 1, 3), (-1, -1, 5), (1, -1, 7)])
def test_a_diagonal_vector_votes_for_its_diagonal(mx: float, my: float, number: int) -> None:
    bins = bins_of(mx, my)
    assert sum(bins) == round(math.sqrt(2) * 65536)
    assert bins[number] > 0.999 * sum(bins)


def test_no_vector_has_no_vote() -> None:
    assert bins_of(0.0, -0.0) == [0] * 8


def test_votes_have_the_angle_of_opencv() -> None:
    degrees = np.arange(0, 360, 0.7)
    mx, my = (100 * f(np.radians(degrees)).astype(np.float32) for f in (np.cos, np.sin))
    _, angle = cv2.cartToPolar(mx, my, angleInDegrees=True)
    for x, y, a in zip(mx, my, angle.reshape(-1), strict=True):
        bins = np.array(bins_of(x, y)) / 65536 / 100
        low = int(a // 45) % 8
        share = a % 45 / 45
        wanted = np.zeros(8)
        wanted[low], wanted[(low + 1) % 8] = 1 - share, share
        np.testing.assert_allclose(bins, wanted, atol=3e-4)


@settings(max_examples=200, deadline=None)
@given(mx=VALUES, my=VALUES)
def test_votes_equal_the_plain_loops_and_mirror(mx: float, my: float) -> None:
    x, y = np.float32(mx), np.float32(my)
    bins = bins_of(x, y)
    assert bins == naive.votes(x, y)
    assert sum(bins) == naive.whole(naive.magnitude(x, y))
    assert bins_of(-x, y) == [bins[(4 - k) % 8] for k in range(8)]
    assert bins_of(x, -y) == [bins[-k % 8] for k in range(8)]


@settings(max_examples=30, deadline=None)
@given(
    summed=hnp.arrays(np.float32, (2, 4, 12), elements=VALUES),
    region=hnp.arrays(np.uint16, (3, 3), elements=st.integers(0, 4)),
    y0=st.integers(0, 1),
    x0=st.integers(0, 3),
)
def test_histograms_of_regions_equal_the_plain_loops(
    summed: np.ndarray, region: np.ndarray, y0: int, x0: int
) -> None:
    out = np.zeros((2, 5, 8), np.int64)
    blocks.orientations(summed, y0, x0, region, out)
    wanted = np.zeros_like(out)
    for y in range(3):
        for x in range(3):
            for c in range(2):
                mx, my = summed[:, y0 + y, 2 * (x0 + x) + c]
                wanted[c, region[y, x]] += naive.votes(mx, my)
    np.testing.assert_array_equal(out, wanted)


def test_a_block_is_the_sum_of_its_regions() -> None:
    per_region = np.array([[1, 10], [2, 20], [4, 40], [8, 80]], np.int64)
    out = np.full((3, 2), -1, np.int64)
    blocks.sum_regions(per_region, np.array([0, 2, 3, 7]), np.array([0, 3, 1, 0, 1, 2, 3]), out)
    assert out.tolist() == [[9, 90], [2, 20], [15, 150]]
