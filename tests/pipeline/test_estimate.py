"""What a run will take: the sample is spread and small, rows and bytes come true, and nothing is left behind."""

from itertools import product
from pathlib import Path

import pytest

from tests import videos
from vstats.pipeline import sample
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.estimate import Estimate, busiest, estimate, in_bytes, in_words
from vstats.pipeline.extract import extract
from vstats.pipeline.manifest import read_manifest
from vstats.pipeline.plan import ShardTask, VideoRows, video_rows
from vstats.pipeline.records import VideoRecord
from vstats.pipeline.sample import spread, take_sample

RUN = RunConfig(workers=0, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four videos: 22 of 18 frames, one that is too short and one that is none."""
    root = tmp_path_factory.mktemp("videos")
    scene = videos.write_video(root / "00.mkv", videos.rotating(18), "mpeg4")
    for number in range(1, 22):
        (root / f"{number:02d}.mkv").write_bytes(scene.read_bytes())
    videos.write_video(root / "22 short.mkv", videos.still(3))
    (root / "23 text.mkv").write_text("not a video\n" * 20)
    return root


def of(folder: Path, config: ExtractConfig, run: RunConfig = RUN) -> Estimate:
    return estimate(read_manifest([str(folder)]), config, run)


def test_the_sample_is_the_same_every_time_and_spread_however_soon_it_ends() -> None:
    items = list(range(240_000))
    chosen = spread(items, 20)
    assert chosen == spread(items, 20)
    assert sorted(chosen) == list(range(6_000, 240_000, 12_000))
    assert {position * 4 // 240_000 for position in chosen[:5]} == {0, 1, 2, 3}
    assert sorted(spread([1, 2, 3], 20)) == [1, 2, 3]
    assert spread([], 20) == []


def test_the_busiest_worker_is_the_one_that_ends_last() -> None:
    for count, size, workers in product((0, 1, 7, 36, 100, 512), (1, 8, 16), (1, 2, 3, 64)):
        load = [0] * workers
        for lot in range(0, count, size):
            load[load.index(min(load))] += min(size, count - lot)
        assert busiest(count, size, workers) == max(load), (count, size, workers)


def test_times_and_bytes_are_told_in_their_unit() -> None:
    assert [in_words(seconds) for seconds in (8.4, 150, 9000)] == ["8 s", "2.5 minutes", "2.5 hours"]
    assert [in_bytes(count) for count in (1234, 5e6, 2.34e12)] == ["1 kB", "5.0 MB", "2.3 TB"]


@pytest.mark.parametrize(
    "config",
    [
        ExtractConfig(flow="dis", clip_length=4),
        ExtractConfig(flow="dis", clip_length=4, crops="random:2", save=("clips", "statistics")),
    ],
    ids=["labels", "pixels"],
)
def test_rows_and_bytes_come_true(folder: Path, tmp_path: Path, config: ExtractConfig) -> None:
    expected = of(folder, config)
    report = extract([str(folder)], tmp_path / "a.vstats", config, RUN)
    written = sum(path.stat().st_size for path in (tmp_path / "a.vstats").rglob("*") if path.is_file())
    assert expected.videos == 24
    assert expected.sampled == 20
    assert expected.rows == pytest.approx(report.rows, rel=0.1)
    assert expected.bytes == pytest.approx(written, rel=0.3)
    assert list(expected.seconds) == [
        "start", "probing", "planning", "decoding", "flow", "labels", "writing", "commit"
    ]  # fmt: skip
    assert min(expected.seconds.values()) >= 0
    assert expected.total_seconds == sum(expected.seconds.values())


def test_listed_clips_are_counted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text(
        "".join(f'{{"key": "{n:02d}.mkv", "start_frames": [0, 1, {n % 3}, 90]}}\n' for n in range(22))
    )
    config = ExtractConfig(flow="dis", clip_length=4)
    listed = read_manifest([str(tmp_path / "list.jsonl")], root=str(folder))
    report = extract([str(tmp_path / "list.jsonl")], tmp_path / "a.vstats", config, RUN, root=str(folder))
    assert estimate(listed, config, RUN).rows == pytest.approx(report.rows, rel=0.1)


def test_a_list_without_a_video_that_decodes(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n")
    expected = of(tmp_path, ExtractConfig())
    assert (expected.rows, expected.shards, expected.bytes) == (0, 0, 80)


def test_of_many_clips_only_the_first_are_labelled_and_all_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "CLIPS", 2)
    config = ExtractConfig(flow="dis", clip_length=4, clips_per_video=0, clip_step=2, crops="corners")
    taken = take_sample(read_manifest([str(folder / "00.mkv")]), config, RUN)
    (labelled,) = taken.labelled
    assert taken.draft.rows == labelled.rows == 4 * 8
    assert len(labelled.values["index/status"]) == sample.WRITTEN_ROWS
    record = VideoRecord(key="a", status="planned", frames=18)
    rows = tuple(video_rows(0, "a", 18, config))

    def task(count: int) -> ShardTask:
        video = VideoRows(path="a", record=record, rows=rows[:count])
        return ShardTask(
            store="", shard=0, start=0, stop=count, videos=(video,), config=config, plan_sha256=""
        )

    assert sample._work(task(8)) == (6, 5, 8)  # clips at 0 and 2 share a pair
    assert sample._work(task(32)) == (18, 17, 32)
    assert sample._first_clips(rows) == rows[:8]


def test_it_ends_soon_in_a_list_of_films(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "PATIENCE_SECONDS", 0.0)
    config = ExtractConfig(flow="dis", clip_length=4)
    taken = take_sample(read_manifest([str(folder)]), config, RUN)
    assert len(taken.manifest.rows) == len(taken.labelled) == 1
    assert of(folder, config).rows == 24


def test_a_dry_run_begins_with_the_estimate_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.iterdir())
    said: list[str] = []
    report = extract(
        [str(folder)], tmp_path / "a.vstats", ExtractConfig(flow="dis", clip_length=4), RUN, dry_run=True,
        say=said.append,
    )  # fmt: skip
    assert report.estimate is not None
    assert said[0] == f"estimate: {report.estimate}"
    assert "every video is decoded once" in said[1]
    assert report.rows == 22
    assert not list(tmp_path.iterdir())
    assert sorted(folder.iterdir()) == before


def test_clips_at_steps_grow_with_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "VIDEOS", 1)
    videos.write_video(tmp_path / "a.mkv", videos.rotating(72))
    videos.write_video(tmp_path / "b.mkv", videos.rotating(18))
    config = ExtractConfig(flow="dis", clip_length=4, clips_per_video=0, clip_step=2)
    assert take_sample(read_manifest([str(tmp_path)]), config, RUN).draft.rows == 8
    assert of(tmp_path, config).rows == pytest.approx(8 + 35, rel=0.25)
