"""From videos and a configuration to the rows of a store: which clips, which crops, which shard.

Everything here is a pure function of its arguments: the plan is the same whoever makes it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vstats.pipeline.config import DecodeLimits, ExtractConfig
from vstats.pipeline.records import PlannedRow, VideoRecord

MOST_PIXEL_BYTES = 64 << 20


def clip_starts(frames: int, config: ExtractConfig, explicit: Sequence[int] | None = None) -> list[int]:
    """Return the first frames of a video's clips, ascending.

    `clips_per_video` takes the middles of equal parts of the possible starts, as mmaction2's ``SampleFrames`` does
    when testing; a video with fewer possible starts than clips gives each start once. Explicit starts are kept
    where the clip fits, or all of them when short videos are looped.

    Parameters
    ----------
    frames : int
        Decoded frames of the video.
    config : ExtractConfig
        Clip length, stride, number and policy for short videos.
    explicit : sequence of int, optional
        First frames stated by the input list, counted from 0.
    """
    if frames < 1:
        return []
    last = frames - config.span
    if explicit is not None:
        looped = config.short == "loop"
        return sorted({s for s in explicit if s <= last or (looped and s < frames)})
    if last < 0:
        return [0] if config.short == "loop" else []
    if config.clip_step:
        return list(range(0, last + 1, config.clip_step))
    count = config.clips_per_video
    return sorted({(last + 1) * (2 * k + 1) // (2 * count) for k in range(count)})


def clip_frames(start: int, frames: int, config: ExtractConfig) -> list[int]:
    """Return the decoded frames that the clip at `start` reads, in order; past the end a short video starts over."""
    return [(start + k * config.frame_stride) % frames for k in range(config.frames_needed)]


def crop_positions(config: ExtractConfig, key: str, start: int) -> list[tuple[int, int]]:
    """Return (y, x) in working-frame pixels of each crop of one clip.

    Random crops are drawn from sha256 of (seed, key, start, number), so they depend on no order and no library.
    """
    height, width = (side - config.crop_size for side in config.working)
    corners = [(0, 0), (0, width), (height, 0), (height, width)]
    center = (height // 2, width // 2)
    if config.crops == "center":
        return [center]
    if config.crops == "corners":
        return corners
    if config.crops == "five":
        return [*corners, center]
    positions = []
    for number in range(int(config.crops.removeprefix("random:"))):
        text = f"{config.seed}\0{key}\0{start}\0{number}".encode("utf-8", "surrogateescape")
        drawn = hashlib.sha256(text).digest()
        y = int.from_bytes(drawn[:8], "big") % (height + 1)
        x = int.from_bytes(drawn[8:16], "big") % (width + 1)
        positions.append((y, x))
    return positions


def video_rows(
    video: int, key: str, frames: int, config: ExtractConfig, explicit: Sequence[int] | None = None
) -> Iterator[PlannedRow]:
    """Yield the rows of one video: clips, within a clip crops, within a crop the flip."""
    flips = (False, True) if config.flip == "both" else (False,)
    for start in clip_starts(frames, config, explicit):
        for y, x in crop_positions(config, key, start):
            for flip in flips:
                yield PlannedRow(
                    video=video, start_frame=start, stride=config.frame_stride, crop_y=y, crop_x=x, flip=flip
                )


def automatic_shard_size(rows: int, config: ExtractConfig) -> int:
    """Return rows a shard for about 64 shards: a power of two from 8 to 256.

    Where clips or flow are saved, it stops growing at `MOST_PIXEL_BYTES` of them, which bounds a worker's memory.
    """
    frame = config.crop_size**2
    clip_bytes = 3 * config.clip_length * frame if "clips" in config.save else 0
    flow_bytes = 4 * (config.frames_needed - 1) * frame if "flow" in config.save else 0
    size = 8
    while size < 256 and size * 64 < rows and 2 * size * (clip_bytes + flow_bytes) <= MOST_PIXEL_BYTES:
        size *= 2
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRows:
    """The rows of one video that a task computes: where it is, what it was when planned, and the rows."""

    path: str
    record: VideoRecord
    rows: tuple[PlannedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """Rows `start` to `stop` (excluded) of the store at `store`: one shard of every array.

    `decode` limits the decoding child; None decodes in the worker itself. `condemned` are (key, why) of videos that
    are not to be computed, because workers died on them. `device` is what a user names ("auto", "cpu", "cuda"); beside a
    GPU, `decoders` videos are decoded at once (0: as many as the worker finds fit). `opencv_flow` and `unproven` say what a
    process must prove (`vstats.pipeline.device.Terms`).
    """

    store: str
    shard: int
    start: int
    stop: int
    videos: tuple[VideoRows, ...]
    config: ExtractConfig
    plan_sha256: str
    decode: DecodeLimits | None = None
    device: str = "cpu"
    decoders: int = 0
    condemned: tuple[tuple[str, str], ...] = ()
    opencv_flow: str = ""
    unproven: bool = False
