"""Overlap of histograms over time and the 8 dominant colours: known colours and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests import naive
from vstats.kernels import patterns
from vstats.kernels.cpu import blocks, colour
from vstats.kernels.profiles import most_frequent_colour

pytestmark = pytest.mark.matrix

EDGES = st.sampled_from([0, 1, 126, 127, 128, 129, 255])


def run(
    rgb: np.ndarray, y: int, x: int, layout: patterns.Layout, dtype: type = np.uint16
) -> tuple[np.ndarray, np.ndarray]:
    overlap = np.empty((layout.blocks, 3, 2), np.int64)
    classes = np.zeros((layout.regions, 8), np.int64)
    colour.colours(
        rgb, y, x, layout.size, layout.region_start, layout.region_pixels, layout.block_start, layout.block_regions,
        np.empty((layout.regions, 768), dtype), overlap, classes,
    )  # fmt: skip
    counts = np.empty((layout.blocks, 8), np.int64)
    blocks.sum_regions(classes, layout.block_start, layout.block_regions, counts)
    return overlap, counts


def standard(size: int) -> patterns.Layout:
    return patterns.layout(tuple(patterns.get(name) for name in patterns.STANDARD), size)


@pytest.mark.parametrize(
    ("rgb", "label"),
    [
        ((0, 127, 128), 1), ((127, 128, 255), 2), ((128, 0, 128), 3), ((255, 128, 200), 4),
        ((127, 127, 127), 5), ((0, 128, 127), 6), ((128, 127, 0), 7), ((255, 255, 0), 8),
    ],
)  # fmt: skip
def test_the_eight_colours(rgb: tuple[int, int, int], label: int) -> None:
    _, counts = run(np.full((1, 8, 8, 3), rgb, np.uint8), 0, 0, standard(8))
    assert counts[-1].tolist() == [64 if k == label - 1 else 0 for k in range(8)]
    assert most_frequent_colour(np.full((3, 3), rgb, np.uint8)) == (label, 1)
    assert naive.colour_class(*rgb) == label


def test_overlap_by_hand() -> None:
    rgb = np.zeros((2, 8, 8, 3), np.uint8)
    rgb[1, :, :4, 0] = 9  # half of the red changes
    overlap, _ = run(rgb, 0, 0, standard(8))
    assert overlap[-1].tolist() == [[32, 96], [64, 64], [64, 64]]


@settings(max_examples=25, deadline=None)
@given(
    rgb=st.one_of(
        hnp.arrays(np.uint8, (3, 10, 11, 3), elements=EDGES),
        hnp.arrays(np.uint8, (1, 8, 9, 3)),
        hnp.arrays(np.uint8, (2, 8, 8, 3), elements=st.just(200)),
    ),
    data=st.data(),
)
def test_counts_equal_the_plain_loops(rgb: np.ndarray, data: st.DataObject) -> None:
    y = data.draw(st.integers(0, rgb.shape[1] - 8))
    x = data.draw(st.integers(0, rgb.shape[2] - 8))
    layout = standard(8)
    overlap, counts = run(rgb, y, x, layout, data.draw(st.sampled_from([np.uint16, np.uint32])))
    frames = [[[tuple(map(int, p)) for p in row[x : x + 8]] for row in frame[y : y + 8]] for frame in rgb]
    for name in patterns.STANDARD:
        for block, pixels in zip(layout.columns[name][0], naive.PATTERNS[name][0](8), strict=True):
            ratio = overlap[block, :, 0].astype(np.float32) / overlap[block, :, 1].astype(np.float32)
            assert (ratio[0] + ratio[1] + ratio[2]) / np.float32(3) == naive.overlap(frames, pixels)
            wanted = [0] * 8
            for frame in frames:
                for py, px in pixels:
                    wanted[naive.colour_class(*frame[py][px]) - 1] += 1
            assert counts[block].tolist() == wanted


@settings(max_examples=60, deadline=None)
@given(pixels=hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.just(3)), elements=EDGES))
def test_the_most_frequent_exact_colour_equals_the_plain_loops(pixels: np.ndarray) -> None:
    label, margin = most_frequent_colour(pixels)
    assert label == naive.most_frequent([tuple(map(int, p)) for p in pixels])
    assert 0 <= margin <= 1


def test_of_equally_frequent_colours_the_lowest_code_counts() -> None:
    # Blue is the highest byte: red beats blue, though it comes later in the list and among the eight.
    assert most_frequent_colour(np.array([[0, 0, 255], [255, 0, 0]], np.uint8)) == (7, 0)
