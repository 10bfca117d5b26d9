"""Labels of scenes whose motion is known, end to end with the default profile and flow: what a person would say.

What the definition makes of a flow component, u say: the boundary at a pixel points where u falls. A patch that moves
right (u = 1 inside, 0 around) therefore has vectors that point out of it on all four sides; one that moves left has
vectors that point into it.
"""

import pytest

from tests import videos
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.extract import extract
from vstats.pipeline.store import Array, Store

RIGHT, DOWN, LEFT, UP = 1, 3, 5, 7
RED = 7
CELL = 13  # the lower left cell
CHANGING = 7  # the cell whose colours change

Labels = dict[tuple[str, bool], dict[str, dict[str, int]]]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """Labels by (video, flipped), then by group ("motion/pattern_1") and name."""
    root = tmp_path_factory.mktemp("known")
    scenes = {
        "square": videos.moving_square("right", CELL),
        "turning": videos.rotating(),
        "still": videos.still(),
        "colours": videos.colour_change(CHANGING, colours=((230, 20, 20), (230, 20, 20), (20, 20, 230))),
    }
    for name, frames in scenes.items():
        videos.write_video(root / f"{name}.mkv", frames)
    path = root / "known.vstats"
    extract([str(root)], path, ExtractConfig(flip="both"), RunConfig())
    store = Store.open(path)
    assert not list(store.failures())
    return {
        (store.keys()[store.read("index/video")[row]].removesuffix(".mkv"), bool(flip)): _named(store, row)
        for row, flip in enumerate(store.read("index/flip"))
    }


def _named(store: Store, row: int) -> dict[str, dict[str, int]]:
    motion = ("u_loc", "u_ori", "v_loc", "v_ori")
    appearance = ("div_loc", "div_col", "stable_loc", "stable_col")
    columns: dict[str, tuple[str, ...]] = {f"motion/pattern_{k}": motion for k in (1, 2, 3)}
    columns |= {f"appearance/pattern_{k}": appearance for k in (1, 2, 3)}
    columns |= {"motion/global": ("u_frame", "v_frame"), "appearance/global": ("dominant_col",)}

    def values(group: str) -> Array:
        return store.read(f"labels/{group}", row, row + 1)[0]

    return {group: dict(zip(names, values(group).tolist(), strict=True)) for group, names in columns.items()}


def mirrored_cell(cell: int) -> int:
    """Return where a cell of 4 x 4 stands in the mirrored crop."""
    row, column = divmod(cell - 1, 4)
    return 4 * row + 3 - column + 1


@pytest.mark.parametrize("flip", [False, True])
def test_a_square_that_moves_right_is_found_where_it_is(labels: Labels, flip: bool) -> None:
    found = labels["square", flip]
    cells = found["motion/pattern_1"]
    assert cells["u_loc"] == (mirrored_cell(CELL) if flip else CELL)
    # Above and below the moving square its edges stay on the same two rows all the time, and their vectors add up.
    # Its leading and trailing edges sweep over the cell, and where the one came after the other they cancel out.
    # So u falls up or down: out of the square, or, in the mirrored scene, where u is -1 inside, into it.
    assert cells["u_ori"] in (UP, DOWN)
    # The lower left quadrant, of which either half may hold more of the square's edges.
    assert found["motion/pattern_3"]["u_loc"] in ((7, 8) if flip else (5, 6))
    assert found["motion/pattern_2"]["u_loc"] in (3, 4)
    assert found["appearance/pattern_1"]["div_loc"] == cells["u_loc"]
    assert 1 <= found["motion/global"]["u_frame"] <= 15


def test_the_mirrored_square_moves_left(labels: Labels) -> None:
    plain, mirrored = labels["square", False], labels["square", True]
    opposite = {UP: DOWN, DOWN: UP}
    # u changes sign, so what fell up now falls down.
    assert mirrored["motion/pattern_1"]["u_ori"] == opposite[plain["motion/pattern_1"]["u_ori"]]
    assert mirrored["motion/global"] == plain["motion/global"]


def test_a_turning_disc_is_a_ring_of_shear(labels: Labels) -> None:
    found = labels["turning", False]
    # Clockwise by w radians a frame about the centre: u = -w y and v = w x, y down. At its rim, 40 pixels out and so in
    # ring 3 all the way round, they drop to 0. u is positive above the centre and falls upwards out of the disc; below
    # it is negative, and falls upwards into the disc. v is positive to the right and falls rightwards out of it; on the
    # left it falls rightwards into it.
    rings = found["motion/pattern_2"]
    assert (rings["u_loc"], rings["u_ori"]) == (3, UP)
    assert (rings["v_loc"], rings["v_ori"]) == (3, RIGHT)
    # u is largest above and below the centre, v to its left and right.
    triangles = found["motion/pattern_3"]
    assert triangles["u_loc"] in (2, 3, 6, 7)
    assert triangles["v_loc"] in (1, 4, 5, 8)


def test_the_mirrored_disc_turns_the_other_way(labels: Labels) -> None:
    rings = labels["turning", True]["motion/pattern_2"]
    assert (rings["u_loc"], rings["u_ori"]) == (3, DOWN)
    assert (rings["v_loc"], rings["v_ori"]) == (3, LEFT)


@pytest.mark.parametrize("flip", [False, True])
def test_a_still_scene_has_no_motion_labels(labels: Labels, flip: bool) -> None:
    found = labels["still", flip]
    for k in (1, 2, 3):
        assert set(found[f"motion/pattern_{k}"].values()) == {0}
        # All blocks change alike, not at all: the lowest number wins both ways.
        assert found[f"appearance/pattern_{k}"]["div_loc"] == 1
        assert found[f"appearance/pattern_{k}"]["stable_loc"] == 1
    assert found["motion/global"] == {"u_frame": 0, "v_frame": 0}


@pytest.mark.parametrize("flip", [False, True])
def test_a_cell_that_changes_colour_is_the_most_diverse(labels: Labels, flip: bool) -> None:
    found = labels["colours", flip]
    cells = found["appearance/pattern_1"]
    assert cells["div_loc"] == (mirrored_cell(CHANGING) if flip else CHANGING)
    assert cells["div_col"] == RED  # two frames of three; the third is blue
    assert cells["stable_loc"] == 1  # of fifteen cells that do not change, the first
    # The cell touches the centre from above and the right: a diagonal halves it, and it is a quarter of rings 1 and 2.
    assert found["appearance/pattern_3"]["div_loc"] in ((1, 2) if flip else (3, 4))
    assert found["appearance/pattern_2"]["div_loc"] in (1, 2)
    assert found["appearance/pattern_2"]["stable_loc"] in (3, 4)


def test_a_mirrored_scene_has_the_same_colours(labels: Labels) -> None:
    for name in ("square", "turning", "still", "colours"):
        plain, mirrored = labels[name, False], labels[name, True]
        assert plain["appearance/global"] == mirrored["appearance/global"]
        assert (
            plain["appearance/pattern_2"] == mirrored["appearance/pattern_2"]
        )  # rings are their own mirror images
