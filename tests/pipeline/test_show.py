"""Pictures of rows: what is drawn follows the labels, whatever the profile, the pattern and the state of the row."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests import videos
from vstats.kernels import patterns
from vstats.kernels.patterns import Mask
from vstats.pipeline import drawing, show
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.drawing import Band, Mark, Panel, Words, draw_panel, draw_picture, draw_sheet
from vstats.pipeline.errors import DecodeError, UsageError
from vstats.pipeline.extract import extract
from vstats.pipeline.flow_colour import colour_wheel, flow_to_rgb
from vstats.pipeline.labels import LabelConfig
from vstats.pipeline.shard import label_config
from vstats.pipeline.show import Scene, Unlabelled, rows_of_video, scenes
from vstats.pipeline.store import Store

DIS = ExtractConfig(flow="dis", flip="both", save=("statistics",))


def label(folder: Path, store: Path, config: ExtractConfig = DIS) -> Store:
    extract([str(folder)], store, config, RunConfig())
    return Store.open(store)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    (root / "moving").mkdir()
    videos.write_video(root / "moving" / "square.mkv", videos.moving_square("right", 13, 17))
    videos.write_video(root / "still.mkv", videos.still(17))
    return root


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return label(folder, tmp_path_factory.mktemp("stores") / "a.vstats")


def first_scene(store: Store, row: int = 0) -> Scene:
    (scene,) = scenes(store, range(row, row + 1))
    assert isinstance(scene, Scene)
    return scene


def drawn(scene: Scene, store: Store) -> Any:
    return draw_picture(show._head(scene, store), show._bands(scene, label_config(store.plan.config)))


def words(scene: Scene, store: Store) -> str:
    bands = show._bands(scene, label_config(store.plan.config))
    return "\n".join(w.text for band in bands for w in band.words)


@pytest.mark.parametrize("row", [0, 1])
def test_a_scene_is_what_the_row_was_labelled_from(folder: Path, store: Store, row: int) -> None:
    scene = first_scene(store, row)
    frames = videos.moving_square("right", 13, 17)[1:]  # the one clip lies in the middle
    y, x = videos.CROP_Y, videos.CROP_X
    crop = frames[:, y : y + 112, x : x + 112]
    np.testing.assert_array_equal(scene.rgb, crop[:, :, ::-1] if row else crop)
    assert scene.differences == ()
    assert (scene.key, scene.row, scene.planned.flip) == ("moving/square.mkv", row, bool(row))
    # The square moves right, and in the mirrored row left.
    cell = scene.flow[:, 84:, 84:] if row else scene.flow[:, 84:, :28]
    assert (cell[..., 0].mean() < 0) == bool(row)
    for c, name in enumerate("uv"):
        # The boundaries that are drawn are those that were compared: their magnitudes add up to the statistics.
        blocks = patterns.get("pattern_1").masks(112)
        sums = [np.hypot(*scene.boundaries[c][mask].T.astype(float)).sum() for mask in blocks]
        stored = store.read(f"statistics/motion/pattern_1/{name}_magnitude", row, row + 1)[0]
        np.testing.assert_allclose(sums, stored, rtol=1e-3, atol=0.05)
        frames_stored = store.read(f"statistics/motion/global/{name}_frames", row, row + 1)[0]
        np.testing.assert_allclose(scene.frame_sums[c], frames_stored, rtol=1e-6)


def test_the_picture_follows_the_label(store: Store) -> None:
    scene = first_scene(store)
    before = drawn(scene, store)
    assert before.dtype == np.uint8
    assert before.shape[2] == 3
    assert 900 < before.shape[0] < 1100
    assert before.shape[1] == 4 * 234 + 2 * 10 + 350
    stored = {name: values.copy() for name, values in scene.stored.items()}
    stored["labels/motion/pattern_1"][0] = 4  # u_loc: the upper right cell
    after = drawn(replace(scene, stored=stored), store)
    changed = np.argwhere((before != after).any(axis=2))
    left = 10 + 234
    panel = changed[(changed[:, 1] >= left) & (changed[:, 1] < left + 224)]
    top, bottom = panel[:, 0].min(), panel[:, 0].max()
    # Two cells of one panel: the mark leaves the lower left one and appears in the upper right one.
    assert 224 - 12 < bottom - top < 224
    upper = panel[panel[:, 0] < (top + bottom) // 2]
    lower = panel[panel[:, 0] > (top + bottom) // 2]
    assert upper[:, 1].min() >= left + 3 * 56 - 6
    assert lower[:, 1].max() <= left + 56 + 6
    # All else that changed is the words beside it.
    elsewhere = changed[(changed[:, 1] < left) | (changed[:, 1] >= left + 224)]
    assert (elsewhere[:, 1] > 4 * 234).all()


def test_the_labels_stand_in_words(store: Store) -> None:
    text = words(first_scene(store), store)
    u = store.read("labels/motion/pattern_1", 0, 1)[0]
    assert f"pattern 1: cell {u[0]} of 16 (+" in text
    assert f"towards {45 * (int(u[1]) - 1)} degrees" in text
    frame = store.read("labels/motion/global", 0, 1)[0, 0]
    assert f"u changes most in frame {frame} (+" in text
    assert "whole crop: mostly" in text


def test_without_motion_nothing_is_marked_and_it_is_said(store: Store) -> None:
    scene = first_scene(store, 2)
    config = label_config(store.plan.config)
    text = words(scene, store)
    assert text.count("no motion, label 0") == 6
    assert "no motion in u\n" in text
    for band in show._bands(scene, config)[1:3]:
        assert all(panel.marks == () for panel in band.panels)
    drawn(scene, store)


def test_released_profiles_and_their_stillness(folder: Path, tmp_path: Path) -> None:
    config = ExtractConfig(flow="dis", flow_size="working", profile="sts-released", flip="both")
    store = label(folder, tmp_path / "a.vstats", config)
    for row in (0, 1):
        assert first_scene(store, row).differences == ()
    still = first_scene(store, 2)
    text = words(still, store)
    assert "pattern 2: no motion, label 1" in text
    assert "no motion in v\n" in text
    assert "(+" not in text  # this store has no margins
    mas = label(folder, tmp_path / "b.vstats", replace(config, profile="mas-released"))
    found = list(scenes(mas, range(4)))
    assert [type(scene) for scene in found] == [Scene, Scene, Unlabelled, Unlabelled]
    drawn(found[0], mas)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"row 2 \(still.mkv\) has no labels: .labels. no motion in u"):
        show.show(mas, tmp_path / "x.png", range(2, 3))
    show.show(mas, tmp_path / "x.png", range(4), sheet=True)
    assert cv2.imread(str(tmp_path / "x.png")).shape[1] == 2 * (3 * 144 - 4) + 40


@pytest.fixture
def thirds() -> Iterator[str]:
    @patterns.pattern("thirds")
    def thirds(size: int) -> Mask:
        """3 x 3 cells, row by row."""
        y, x = np.indices((size, size)) * 3 // size
        return np.stack([(y == k // 3) & (x == k % 3) for k in range(9)])

    yield "thirds"
    patterns.unregister("thirds")


def test_a_registered_pattern_is_drawn_like_the_others(folder: Path, tmp_path: Path, thirds: str) -> None:
    store = label(folder, tmp_path / "a.vstats", replace(DIS, crop_size=96))
    scene = first_scene(store)
    assert drawn(scene, store).shape[1] == 5 * 234 + 2 * 10 + 350
    assert "thirds: block 7 of 9 (+" in words(scene, store)


def test_labels_that_are_stored_otherwise_are_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Store.read

    def other(self: Store, name: str, start: int = 0, stop: int | None = None) -> Any:
        values = read(self, name, start, stop)
        if name == "labels/appearance/global":
            values = np.where(values == 1, 2, 1).astype(np.uint8)
        return values

    monkeypatch.setattr(Store, "read", other)
    scene = first_scene(store)
    (difference,) = scene.differences
    assert difference.startswith("appearance/global/dominant_col is stored as ")
    assert show._head(scene, store)[-1].colour == drawing.ALARM


def test_rows_of_a_video(store: Store) -> None:
    assert rows_of_video(store, "moving/square.mkv") == range(2)
    assert rows_of_video(store, "still.mkv") == range(2, 4)
    with pytest.raises(UsageError, match=r"did you mean moving/square\.mkv\?"):
        rows_of_video(store, "moving/sqare.mkv")
    with pytest.raises(UsageError, match=r"did you mean moving/square\.mkv\?"):
        rows_of_video(store, "Square")
    with pytest.raises(UsageError, match="it has 2, such as"):
        rows_of_video(store, "zzz")


def test_a_video_that_moved_or_changed(folder: Path, tmp_path: Path) -> None:
    there, now = tmp_path / "there", tmp_path / "now"
    there.mkdir()
    videos.write_video(there / "a.mkv", videos.still(16))
    store = label(there, tmp_path / "a.vstats", replace(DIS, flip="none"))
    there.rename(now)
    with pytest.raises(DecodeError, match="--root"):
        show.show(store, tmp_path / "a.png", range(1))
    assert not (tmp_path / "a.png").exists()
    assert show.show(store, tmp_path / "a.png", range(1), root=str(now)).differences == ()
    videos.write_video(now / "a.mkv", videos.still(16, seed=1))
    with pytest.raises(DecodeError, match="has changed since it was planned"):
        show.show(store, tmp_path / "a.png", range(1), root=str(now))


def test_a_picture_is_written_whole_under_a_name_that_says_its_form(store: Store, tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "c.JPEG"):
        shown = show.show(store, tmp_path / name, range(1))
        assert shown.rows == (0,)
        assert cv2.imread(str(tmp_path / name)).shape[2] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.jpg", "c.JPEG"]
    with pytest.raises(UsageError, match=r"\.png or \.jpg"):
        show.show(store, tmp_path / "a.gif", range(1))
    with pytest.raises(UsageError, match="make the folder first"):
        show.show(store, tmp_path / "no" / "a.png", range(1))
    with pytest.raises(UsageError, match="the store has rows 0 to 3"):
        show.show(store, tmp_path / "a.png", range(4, 5))
    with pytest.raises(UsageError, match="hold no row"):
        show.show(store, tmp_path / "a.png", range(2, 2))


@pytest.mark.parametrize(
    ("frames", "wanted", "strip"),
    [
        (16, [7, 15], [1, 3, 5, 7, 10, 12, 15, 16]),
        (16, [1, 16], [1, 3, 5, 7, 10, 12, 14, 16]),
        (16, [2, 1], [1, 2, 5, 7, 10, 12, 14, 16]),
        (16, [0, 0], [1, 3, 5, 7, 10, 12, 14, 16]),
        (3, [2], [1, 2, 3]),
        (2, [1, 1], [1, 2]),
    ],
)
def test_the_strip_shows_the_frames_that_won(frames: int, wanted: list[int], strip: list[int]) -> None:
    assert show._strip(wanted, frames) == strip


# ------------------------------------------------------------------------------------------------ drawing alone


def panel(**options: Any) -> Panel:
    return Panel(image=np.full((112, 112, 3), 200, np.uint8), **options)


@pytest.mark.parametrize("name", patterns.STANDARD)
def test_marks_stay_within_reach_of_their_block(name: str) -> None:
    blocks = patterns.get(name).masks(112)
    plain = draw_panel(panel(blocks=blocks), 224)
    for k, block in enumerate(blocks):
        marked = draw_panel(panel(blocks=blocks, marks=(Mark(block=k, colour=(255, 0, 0)),)), 224)
        changed = (plain != marked).any(axis=2)
        assert changed.any()
        near = cv2.dilate(block.astype(np.uint8).repeat(2, 0).repeat(2, 1), np.ones((9, 9), np.uint8))
        assert near[changed].all()
        x, y = drawing._middle(block)
        assert block[y, x]


def test_arrows_point_where_they_should() -> None:
    blocks = patterns.get("pattern_1").masks(112)
    plain = draw_panel(panel(blocks=blocks, marks=(Mark(block=5),)), 224)
    for towards, way in ((0, (0, 1)), (90, (1, 0)), (180, (0, -1)), (270, (-1, 0)), (45, (1, 1))):
        marked = draw_panel(panel(blocks=blocks, marks=(Mark(block=5, towards=float(towards)),)), 224)
        centre = np.argwhere((plain != marked).any(axis=2)).mean(axis=0) - 84
        assert np.sign(np.where(np.abs(centre) < 1.5, 0, centre)).tolist() == list(way), towards


def test_text_is_wrapped_to_its_column_and_nothing_is_too_long() -> None:
    text = "a few words and averyveryverylongnameofavideothatfitsnowhere" + "x" * 200
    lines = drawing._wrapped(Words(text=text), 120, drawing.TEXT)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(drawing._text_width(line, drawing.TEXT, bold=False) <= 120 for line in lines)
    assert drawing._wrapped(Words(text=""), 120, drawing.TEXT) == [""]


@pytest.mark.parametrize("side", [1, 7, 64, 224, 500])
def test_images_of_any_size_are_drawn(side: int) -> None:
    image = np.full((side, side, 3), 9, np.uint8)
    blocks = np.ones((1, side, side), bool)
    one = Panel(image=image, blocks=blocks, marks=(Mark(block=0, towards=0.0, word="x"),), caption="c")
    assert draw_picture([Words(text="t")], [Band(panels=(one,), words=())]).ndim == 3
    sheet = draw_sheet([Band(panels=(one, one), words=(Words(text="t"),))] * 3)
    assert sheet.shape[1] == 2 * 284 + 40


def test_vectors_beyond_the_fullest_colour_are_drawn_in_it() -> None:
    vectors = np.array([[[1, 0], [2, 0], [100, 0], [0, 0]]], np.float32)
    colours = drawing.vectors_to_rgb(vectors, 2.0)
    assert colours[0, 1, 1] < 2  # nearly full red
    assert abs(int(colours[0, 2, 0]) - int(colours[0, 1, 0])) <= 1
    assert colours[0, 3].tolist() == [255, 255, 255]
    assert (drawing.vectors_to_rgb(np.zeros((2, 2, 2), np.float32), 0.0) == 255).all()


def test_the_wheel_is_middleburys() -> None:
    wheel = colour_wheel()
    assert wheel.shape == (55, 3)
    assert wheel[0].tolist() == [1, 0, 0]
    flow = np.array([[[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0], [3, 0], [np.nan, 0], [0, 1e10]]], np.float32)
    # As their colorcode.cpp prints it for the four directions at full radius, outside it, and where flow is unknown.
    assert flow_to_rgb(flow, 1.0)[0].tolist() == [
        [255, 0, 0],
        [0, 209, 255],
        [255, 229, 0],
        [88, 0, 255],
        [255, 255, 255],
        [191, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]
    assert (flow_to_rgb(np.zeros((2, 3, 2), np.float32)) == 255).all()


def test_configurations_without_a_family_are_drawn(store: Store) -> None:
    scene = first_scene(store)
    only = LabelConfig(families=("appearance",), statistics=True)
    bands = show._bands(replace(scene, stored={k: v for k, v in scene.stored.items() if "appear" in k}), only)
    assert len(bands) == 2
    draw_picture([], bands)
