"""Which rows a video gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.plan import automatic_shard_size, clip_frames, clip_starts, crop_positions, video_rows

configs = st.builds(
    lambda length, stride, count, step, profile: ExtractConfig(
        clip_length=length,
        frame_stride=stride,
        clips_per_video=count if step == 0 else 0,
        clip_step=step,
        profile=profile,
    ),
    st.integers(2, 32),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 40),
    st.sampled_from(["sts", "sts-released"]),
)


@given(frames=st.integers(1, 400), config=configs)
def test_every_clip_lies_within_its_video(frames: int, config: ExtractConfig) -> None:
    starts = clip_starts(frames, config)
    assert starts == sorted(set(starts))
    for start in starts:
        read = clip_frames(start, frames, config)
        assert len(read) == config.frames_needed
        assert read == list(range(start, start + config.span, config.frame_stride))
        assert read[-1] < frames
    assert bool(starts) == (frames >= config.span)


@given(frames=st.integers(1, 400), config=configs)
def test_clips_per_video_is_kept_where_there_is_room(frames: int, config: ExtractConfig) -> None:
    if config.clips_per_video:
        room = max(0, frames - config.span + 1)
        assert len(clip_starts(frames, config)) == min(config.clips_per_video, room)


def test_one_clip_is_the_middle_one_and_three_are_spread() -> None:
    assert clip_starts(116, ExtractConfig()) == [50]
    assert clip_starts(316, ExtractConfig(clips_per_video=3)) == [50, 150, 250]
    assert clip_starts(48, ExtractConfig(clips_per_video=0, clip_step=16)) == [0, 16, 32]


def test_a_seventeenth_frame_is_needed_only_by_sts_released() -> None:
    assert clip_starts(16, ExtractConfig()) == [0]
    assert clip_starts(16, ExtractConfig(profile="sts-released")) == []
    assert clip_starts(17, ExtractConfig(profile="sts-released")) == [0]


def test_a_short_video_is_skipped_or_starts_over() -> None:
    assert clip_starts(10, ExtractConfig()) == []
    loop = ExtractConfig(short="loop")
    assert clip_starts(10, loop) == [0]
    assert clip_frames(0, 10, loop) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5]
    assert clip_starts(0, loop) == []


def test_explicit_clips_are_kept_where_they_fit() -> None:
    assert clip_starts(40, ExtractConfig(), (0, 16, 24, 25, 100)) == [0, 16, 24]
    assert clip_starts(40, ExtractConfig(short="loop"), (0, 25, 100)) == [0, 25]


def test_crops_of_the_working_frame() -> None:
    assert crop_positions(ExtractConfig(), "v", 0) == [(8, 29)]
    assert crop_positions(ExtractConfig(crops="corners"), "v", 0) == [(0, 0), (0, 59), (16, 0), (16, 59)]
    assert crop_positions(ExtractConfig(crops="five"), "v", 0)[-1] == (8, 29)


@given(
    seed=st.integers(0, 2**31), key=st.text(min_size=1), start=st.integers(0, 10**6), number=st.integers(1, 8)
)
def test_random_crops_depend_on_nothing_but_seed_video_clip_and_number(
    seed: int, key: str, start: int, number: int
) -> None:
    config = ExtractConfig(crops=f"random:{number}", seed=seed)
    drawn = crop_positions(config, key, start)
    assert len(drawn) == number
    assert all(0 <= y <= 16 and 0 <= x <= 59 for y, x in drawn)
    assert drawn == crop_positions(ExtractConfig(crops="random:8", seed=seed), key, start)[:number]


def test_random_crops_are_these_forever() -> None:
    # A change of these numbers would silently change every data set made with --crops random.
    assert crop_positions(ExtractConfig(crops="random:3", seed=7), "a/b.mp4", 12) == [
        (4, 1),
        (12, 13),
        (4, 39),
    ]


def test_rows_of_a_video_go_clip_by_clip_crop_by_crop_flip_last() -> None:
    config = ExtractConfig(clips_per_video=2, crops="five", flip="both")
    rows = list(video_rows(3, "v", 100, config))
    assert len(rows) == 20
    assert {row.video for row in rows} == {3}
    assert [row.flip for row in rows[:4]] == [False, True, False, True]
    assert rows[0].start_frame < rows[10].start_frame
    assert len({(r.start_frame, r.crop_y, r.crop_x, r.flip) for r in rows}) == 20


@pytest.mark.parametrize(("rows", "size"), [(0, 8), (100, 8), (1000, 16), (16384, 256), (5_000_000, 256)])
def test_automatic_shard_size(rows: int, size: int) -> None:
    assert automatic_shard_size(rows, ExtractConfig()) == size


def test_shards_of_pixels_are_smaller() -> None:
    assert automatic_shard_size(5_000_000, ExtractConfig(save=("clips", "flow"))) == 32
