"""Frames of the user's own videos are those that were labelled, or their being others is said."""

import pickle
import shutil
import warnings
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from tests import videos
from tests.training import make_store, make_videos
from vstats.kernels import ops
from vstats.pipeline import motion
from vstats.pipeline.errors import DecodeError, DifferentVideo
from vstats.pipeline.labels import label_rows
from vstats.pipeline.loader import ClipDataset, ClipLoader, collate
from vstats.pipeline.records import U8
from vstats.pipeline.shard import label_config
from vstats.pipeline.store import Store
from vstats.pipeline.video_clips import VideoClips

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def store(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """204 rows: 3 videos, their clips, 5 crops at random places and their mirror images."""
    path = tmp_path_factory.mktemp("stores") / "a.vstats"
    return make_store(source, path, shard_size=70, clips_per_video=7, crops="random:5")


def check_recomputed(store: Store, source: Path) -> None:
    """Compute labels again from what the loader gives, and compare every bit."""
    dataset = ClipDataset(store.path, root=source, source="videos")
    reader = dataset.sources[0]
    assert isinstance(reader, VideoClips)
    config = label_config(store.plan.config)
    rows = store.planned_rows(0, store.rows)
    chosen = sorted(np.random.Generator(np.random.PCG64(0)).permutation(store.rows)[:200].tolist())
    assert {rows[i].flip for i in chosen} == {False, True}
    assert len({(rows[i].crop_y, rows[i].crop_x) for i in chosen}) > 30
    frames = channels_last(dataset, chosen)
    assert (frames == channels_last(ClipDataset(store.path), chosen)).all()
    names = [name for name in store.names() if name.startswith(("labels/", "statistics/", "margins/"))]
    stored = {name: store.read(name) for name in names}
    for _, same_clip in groupby(chosen, key=lambda i: (rows[i].video, rows[i].start_frame)):
        mine = list(same_clip)
        working = reader.working_frames(rows[mine[0]])
        (flow,) = motion.flow_fields([ops.rgb_to_gray(working)], store.plan.config)
        crops = [(rows[i].crop_y, rows[i].crop_x, rows[i].flip) for i in mine]
        for i, (y, x, flip) in zip(mine, crops, strict=True):
            crop = working[:, y : y + 112, x : x + 112]
            assert (frames[chosen.index(i)] == (crop[:, :, ::-1] if flip else crop)).all()
        again, _ = label_rows(working, flow, crops, config)
        assert set(again) == set(stored)
        for name, values in again.items():
            assert values.tobytes() == stored[name][mine].tobytes(), (mine, name)


def channels_last(dataset: ClipDataset, items: list[int]) -> U8:
    frames: U8 = collate(dataset.__getitems__(items))["frames"].permute(0, 2, 3, 4, 1).numpy()
    return frames


def test_labels_of_200_rows_are_recomputed_from_the_loader_s_frames(store: Store, source: Path) -> None:
    assert store.rows >= 200
    check_recomputed(store, source)


@pytest.mark.soak
def test_and_with_the_flow_that_stores_have_by_default(source: Path, tmp_path: Path) -> None:
    check_recomputed(
        make_store(source, tmp_path / "b.vstats", clips_per_video=7, crops="random:5", flow="tvl1"), source
    )


def test_stored_clips_carry_the_appearance_labels(store: Store) -> None:
    # A stored clip is a crop: flow saw the whole frame, so appearance is what can be computed from the clip alone.
    dataset = ClipDataset(store.path)
    config = label_config(store.plan.config)
    still = np.zeros((15, 112, 112, 2), np.float32)
    alone = type(config)(clip_length=16, working=(112, 112), crop=112, families=("appearance",))
    for i in range(0, store.rows, 7):
        frames = np.ascontiguousarray(dataset[i]["frames"].permute(1, 2, 3, 0).numpy())
        again, _ = label_rows(frames, still, [(0, 0, False)], alone)
        for name, value in again.items():
            assert value[0].tolist() == store.read(name, i, i + 1)[0].tolist()


def test_looped_and_strided_clips_are_read_as_they_were_labelled(source: Path, tmp_path: Path) -> None:
    # 21 to 24 frames and a clip that reads every second one: the end of the clip is the video's beginning.
    store = make_store(
        source, tmp_path / "b.vstats", frame_stride=2, short="loop", clips_per_video=2, crops="five"
    )
    assert len(store.keys()) == 4
    clips = store.read("clips")
    dataset = ClipDataset(store.path, root=source, source="videos")
    assert (channels_last(dataset, list(range(store.rows))) == clips).all()


def test_workers_decode_too(store: Store, source: Path) -> None:
    dataset = ClipDataset(store.path, root=source, source="videos")
    plain = ClipDataset(store.path)
    loaders = [ClipLoader(d, 16, num_workers=n) for d, n in ((dataset, 2), (plain, 0))]
    for mine, theirs in zip(*loaders, strict=True):
        assert (mine["frames"] == theirs["frames"]).all()
        assert mine["row"].tolist() == theirs["row"].tolist()
    assert len(pickle.dumps(dataset)) < 200_000


# ------------------------------------------------------------------------------------------------------ other copies


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    shutil.copytree(source, tmp_path / "copy")  # other times of modification, the same bytes
    return tmp_path / "copy"


def read_all(store: Store, root: Path, mismatch: str = "error") -> None:
    dataset = ClipDataset(store.path, root=root, source="videos", mismatch=mismatch)
    dataset.__getitems__(range(0, len(dataset), 10))


def test_the_same_bytes_anywhere_are_the_same_video(store: Store, copy: Path) -> None:
    read_all(store, copy)


def test_a_missing_video_is_named(store: Store, copy: Path) -> None:
    (copy / "resting" / "colours.mkv").unlink()
    with pytest.raises(
        DecodeError, match=r"colours\.mkv: No such file or directory; its labels are in the store"
    ):
        read_all(store, copy)


def test_another_copy_is_refused_or_reported(store: Store, copy: Path) -> None:
    path = copy / "moving" / "right.mkv"
    videos.write_video(path, videos.moving_square("right", 13, 21, size=7), codec="mjpeg")
    with pytest.raises(
        DecodeError, match=r'right\.mkv: is another copy .*sha256 is [0-9a-f]{64}.*mismatch="warn"'
    ):
        read_all(store, copy)
    with pytest.warns(
        DifferentVideo, match=r"right\.mkv: is another copy .* it has as many frames and is used"
    ):
        read_all(store, copy, mismatch="warn")


def test_a_flipped_byte_makes_another_copy(store: Store, copy: Path) -> None:
    path = copy / "moving" / "right.mkv"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="is another copy"):
        read_all(store, copy)


def test_a_copy_with_other_frames_is_never_used(store: Store, copy: Path) -> None:
    videos.write_video(copy / "moving" / "right.mkv", videos.moving_square("right", 13, 20, size=7))
    with (
        warnings.catch_warnings(),
        pytest.raises(DecodeError, match="it has 20 frames, not 21, so clips would not be the same"),
    ):
        read_all(store, copy, mismatch="warn")
