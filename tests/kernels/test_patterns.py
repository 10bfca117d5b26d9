"""Blocks: what they look like, that a mirrored crop has the right ones, and what a new pattern brings by itself."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests import naive
from vstats.kernels import patterns
from vstats.kernels.errors import InputError
from vstats.kernels.patterns import Layout, Mask

pytestmark = pytest.mark.matrix


def drawn(masks: Mask) -> list[str]:
    """One character a pixel: the block's number, or + where blocks overlap."""
    return [
        "".join("+" if m.sum() > 1 else str(int(m.argmax()) + 1) for m in row.T)
        for row in masks.swapaxes(0, 1)
    ]


def layout_of(*names: str, size: int = 16) -> Layout:
    return patterns.layout(tuple(patterns.get(name) for name in names), size)


@pytest.fixture
def corner() -> Iterator[None]:
    """A pattern that overlaps itself, leaves pixels out and is not its own mirror image."""

    @patterns.pattern("corner", compare="mean")
    def corner(size: int) -> Mask:
        """The top left quarter, and the top left sixteenth."""
        masks = np.zeros((2, size, size), bool)
        masks[0, : size // 2, : size // 2] = True
        masks[1, : size // 4, : size // 4] = True
        return masks

    yield
    patterns.unregister("corner")


def test_rings_by_eye() -> None:
    assert drawn(patterns.get("pattern_2").masks(8)) == [
        "44444444",
        "43333334",
        "43222234",
        "43211234",
        "43211234",
        "43222234",
        "43333334",
        "44444444",
    ]


def test_triangles_by_eye() -> None:
    assert drawn(patterns.get("pattern_3").masks(8)) == [
        "+222333+",
        "1+2233+4",
        "11+23+44",
        "111++444",
        "555++888",
        "55+67+88",
        "5+6677+8",
        "+666777+",
    ]


@pytest.mark.parametrize(
    ("name", "areas"),
    [("pattern_1", [784] * 16), ("pattern_2", [784, 2352, 3920, 5488]), ("pattern_3", [1596] * 8)],
)
def test_areas_are_those_of_the_papers(name: str, areas: list[int]) -> None:
    assert patterns.get(name).masks(112).sum(axis=(1, 2)).tolist() == areas


@pytest.mark.parametrize("name", patterns.STANDARD)
@pytest.mark.parametrize("size", [8, 24, 112])
def test_blocks_equal_the_plain_loops(name: str, size: int) -> None:
    masks = patterns.get(name).masks(size)
    wanted = naive.PATTERNS[name][0](size)
    assert [sorted(map(tuple, np.argwhere(m).tolist())) for m in masks] == [sorted(b) for b in wanted]


@pytest.mark.parametrize("name", [*patterns.names(), "corner"])
@pytest.mark.usefixtures("corner")
def test_blocks_are_unions_of_regions_also_mirrored(name: str) -> None:
    layout = layout_of("pattern_1", "pattern_2", *({name} - {"pattern_1", "pattern_2"}))
    masks = patterns.get(name).masks(16)
    for flip in (0, 1):
        for k, block in enumerate(layout.columns[name][flip]):
            regions = layout.block_regions[layout.block_start[block] : layout.block_start[block + 1]]
            wanted = masks[k][:, ::-1] if flip else masks[k]
            np.testing.assert_array_equal(np.isin(layout.region, regions), wanted)
            assert layout.area[block] == wanted.sum()
    assert layout.masks[-1].all()
    for r in range(layout.regions):
        pixels = layout.region_pixels[layout.region_start[r] : layout.region_start[r + 1]]
        np.testing.assert_array_equal(np.sort(pixels), np.flatnonzero(layout.region == r))


@pytest.mark.parametrize("name", patterns.names())
def test_the_papers_patterns_are_their_own_mirror_image(name: str) -> None:
    here, there = layout_of(name).columns[name]
    assert sorted(here) == sorted(there)
    np.testing.assert_array_equal(here[np.argsort(here)][np.searchsorted(np.sort(here), there)], there)


@pytest.mark.usefixtures("corner")
def test_a_pattern_that_mirrors_into_something_else_gets_extra_blocks() -> None:
    layout = layout_of("corner")
    assert layout.columns["corner"].tolist() == [[0, 1], [2, 3]]
    assert layout.blocks == 5


@pytest.mark.usefixtures("corner")
def test_a_pattern_describes_itself() -> None:
    p = patterns.get("corner")
    assert p.description == "The top left quarter, and the top left sixteenth."
    assert p.digest(8) != p.digest(16)
    assert p.digest(8) != patterns.get("pattern_1").digest(8)
    with pytest.raises(ValueError, match="read-only"):
        p.masks(8)[0] = True


@pytest.mark.parametrize(
    ("name", "size", "multiple"), [("pattern_1", 30, 4), ("pattern_2", 12, 8), ("pattern_3", 7, 2)]
)
def test_a_side_that_does_not_divide_is_refused(name: str, size: int, multiple: int) -> None:
    with pytest.raises(
        InputError, match=f"a crop of {size} pixels does not divide into .*multiple of {multiple}"
    ):
        patterns.get(name).masks(size)


@pytest.mark.parametrize("size", [0, -8, 8.0, True, "8"])
def test_a_side_is_a_number_of_pixels(size: object) -> None:
    with pytest.raises(InputError, match="whole number of pixels"):
        patterns.get("pattern_1").masks(size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.ones((2, 8, 8), np.uint8), r"returned uint8 \[2, 8, 8\].*must be bool \[K, 8, 8\]"),
        (np.ones((8, 8), bool), r"returned bool \[8, 8\]"),
        (np.ones((2, 8, 7), bool), r"returned bool \[2, 8, 7\]"),
        (np.zeros((2, 8, 8), bool), r"no pixel in its blocks \[1, 2\]"),
        (np.ones((255, 8, 8), bool), "255 blocks"),
        (np.ones((0, 8, 8), bool), "0 blocks"),
    ],
)
def test_what_is_not_block_masks_is_refused(result: Mask, message: str) -> None:
    patterns.pattern("wrong")(lambda size: result)
    try:
        with pytest.raises(InputError, match=message):
            patterns.get("wrong").masks(8)
    finally:
        patterns.unregister("wrong")


def test_the_registry_refuses_what_it_cannot_keep() -> None:
    for name, message in (
        ("pattern_1", "registered already"),
        ("Cells", "lower-case"),
        ("a b", "lower-case"),
        ("global", "other"),
    ):
        with pytest.raises(InputError, match=message):
            patterns.pattern(name)
    with pytest.raises(InputError, match="sum or mean"):
        patterns.pattern("new", compare="median")
    with pytest.raises(InputError, match="stays"):
        patterns.unregister("pattern_1")
    with pytest.raises(InputError, match="known: pattern_1, pattern_2, pattern_3"):
        patterns.get("pattern_9")
