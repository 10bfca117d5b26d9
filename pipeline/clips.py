"""From videos to what their clips are computed from: frames, resized and grey. Beside a GPU, several videos at once."""

import queue
import threading
import time
from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from vstats.kernels import ops
from vstats.kernels.errors import InputError
from vstats.pipeline import motion
from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.decoder import Decoder
from vstats.pipeline.durable import file_sha256
from vstats.pipeline.errors import DecodeError, VideoError, faults_on
from vstats.pipeline.plan import VideoRows, clip_frames
from vstats.pipeline.records import U8, PlannedRow

Pair = tuple[int, int]
"""Two frames of a video, by number: flow goes from the first to the second."""


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Seconds spent in each stage, summed over threads."""

    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, stage: str, since: float) -> float:
        """Book the time since `since` under `stage` and return the time now."""
        now = time.perf_counter()
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """What the flow and labels of one clip are computed from.

    Parameters
    ----------
    rows : tuple of PlannedRow
        Its rows.
    rgb : uint8 [T, H, W, 3]
        Frames on the working frame, not cropped or mirrored.
    pairs : tuple of Pair
        The flow fields that it takes, in order.
    runs : tuple of list of int
        Frames whose consecutive pairs no earlier clip of its video takes: flow that is still to be computed.
    gray : tuple of uint8 [t, h, w]
        The grey frames of each run, at the size at which flow is computed.
    spent : frozenset of int
        Frames that no later clip of its video reads.
    """

    rows: tuple[PlannedRow, ...]
    rgb: U8
    pairs: tuple[Pair, ...]
    runs: tuple[list[int], ...]
    gray: tuple[U8, ...]
    spent: frozenset[int]


def decode_clips(
    video: VideoRows, config: ExtractConfig, watch: Stopwatch, decoder: Decoder
) -> Generator[Clip, None, None]:
    """Yield every clip of one video, from one pass over its frames.

    Overlapping clips share frames; a frame is dropped after the last clip that reads it, so memory grows with the clips
    in flight and not with the video.

    Raises
    ------
    DecodeError
        The video cannot be read, or has changed since it was planned.
    """
    check_unchanged(video)
    clips: list[tuple[list[int], list[PlannedRow]]] = []
    for row in video.rows:
        if clips and clips[-1][1][0].start_frame == row.start_frame:
            clips[-1][1].append(row)
        else:
            clips.append((clip_frames(row.start_frame, video.record.frames, config), [row]))
    last_use = {frame: number for number, (frames, _) in enumerate(clips) for frame in frames}
    source = decoder.frames(video.path, sorted(last_use))
    flow_size = motion.flow_frame_size(config, video.record.height, video.record.width)
    rgb: dict[int, U8] = {}
    gray: dict[int, U8] = {}
    known: set[Pair] = set()
    try:
        for number, (frames, rows) in enumerate(clips):
            now = time.perf_counter()
            missing = set(frames) - rgb.keys()
            while missing:
                index, frame = next(source)
                rgb[index] = motion.resize_frame(frame, config.working, config)
                at_flow_size = (
                    rgb[index]
                    if flow_size == config.working
                    else motion.resize_frame(frame, flow_size, config)
                )
                gray[index] = ops.rgb_to_gray(at_flow_size)
                missing.discard(index)
            pairs = tuple(pairwise(frames))
            runs = unknown_runs(pairs, known)
            spent = frozenset(index for index in rgb if last_use[index] <= number)
            clip = Clip(
                rows=tuple(rows),
                rgb=np.stack([rgb[frame] for frame in frames[: config.clip_length]]),
                pairs=pairs,
                runs=tuple(runs),
                gray=tuple(np.stack([gray[frame] for frame in run]) for run in runs),
                spent=spent,
            )
            known = {pair for pair in known.union(pairs) if spent.isdisjoint(pair)}
            for index in spent:
                del rgb[index], gray[index]
            watch.add("decode", now)
            yield clip
    finally:
        source.close()


def unknown_runs(pairs: Sequence[Pair], known: Container[Pair]) -> list[list[int]]:
    """Return runs of frames whose consecutive pairs are exactly the pairs not yet known, in order."""
    runs: list[list[int]] = []
    open_run = False
    seen: set[Pair] = set()
    for pair in pairs:
        if pair in known or pair in seen:
            open_run = False
            continue
        seen.add(pair)
        if open_run:
            runs[-1].append(pair[1])
        else:
            runs.append([*pair])
            open_run = True
    return runs


def check_unchanged(video: VideoRows) -> None:
    """Raise `DecodeError` unless the file is the one that was planned: same size and time, or same sha256."""
    path = Path(video.path)
    try:
        facts = path.stat()
        same = (facts.st_size, facts.st_mtime_ns) == (video.record.size_bytes, video.record.mtime_ns)
        if same or file_sha256(path) == video.record.sha256:
            return
    except OSError as error:
        raise DecodeError(
            f"{video.path}: {error.strerror or error}; it was there when planned. Put it back and run again",
            stage="find",
        ) from error
    raise DecodeError(
        f"{video.path}: has changed since it was planned: its sha256 is not {video.record.sha256}. "
        "Put the planned file back, or plan anew with --overwrite",
        stage="find",
    )


# -------------------------------------------------------------------------------------------------- many videos

Item = tuple[int, Clip | VideoError | InputError]
"""The number of a video, and its next clip, or what ended it early."""


def one_after_another(
    videos: Iterator[tuple[int, VideoRows]], config: ExtractConfig, watch: Stopwatch, decoder: Decoder,
    given_up: Container[int],
) -> Generator[Item, None, None]:  # fmt: skip
    """Yield the clips of numbered videos, those of a video in order; a video that is given up meanwhile ends there."""
    for number, video in videos:
        try:
            with faults_on(video.path), closing(decode_clips(video, config, watch, decoder)) as decoded:
                for clip in decoded:
                    yield number, clip
                    if number in given_up:
                        break
        except (VideoError, InputError) as error:
            yield number, error


def several_at_once(
    videos: Sequence[tuple[int, VideoRows]], config: ExtractConfig, watch: Stopwatch, decoders: Sequence[Decoder],
    given_up: Container[int], ahead: int,
) -> Generator[Item, None, None]:  # fmt: skip
    """Yield what `one_after_another` yields, from a thread for each decoder that runs up to `ahead` clips ahead.

    The clips of a video come in order, those of several videos as they are ready.
    """
    waiting: queue.SimpleQueue[tuple[int, VideoRows]] = queue.SimpleQueue()
    for each in videos:
        waiting.put(each)
    found: queue.Queue[Item | BaseException | None] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def take() -> Iterator[tuple[int, VideoRows]]:
        with suppress(queue.Empty):
            while not stopped.is_set():
                yield waiting.get_nowait()

    def put(item: Item | BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                found.put(item, timeout=0.1)
                return

    def work(decoder: Decoder) -> None:
        try:
            for item in one_after_another(take(), config, watch, decoder, given_up):
                put(item)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    threads = [threading.Thread(target=work, args=(decoder,), daemon=True) for decoder in decoders]
    for thread in threads:
        thread.start()
    working = len(threads)
    try:
        while working:
            now = time.perf_counter()
            item = found.get()
            watch.add("wait", now)
            if item is None:
                working -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        stopped.set()
        for thread in threads:  # a decoder must be idle before it is used again
            thread.join()
