"""One shard: videos in, finished rows and a receipt out."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from vstats.kernels import ops
from vstats.kernels.errors import InputError, VstatsError
from vstats.pipeline import labels, masks, motion, store
from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.decoder import Decoder, decoder_for
from vstats.pipeline.durable import file_sha256
from vstats.pipeline.errors import DecodeError, VideoError
from vstats.pipeline.place import open_place
from vstats.pipeline.plan import ShardTask, VideoRows, clip_frames
from vstats.pipeline.provenance import machine, versions
from vstats.pipeline.records import F32, U8, Failure, PlannedRow, without_path
from vstats.pipeline.store import Array, ShardReceipt, StoredArray


def label_config(config: ExtractConfig) -> labels.LabelConfig:
    """Return the part of the configuration that the label stage reads."""
    return labels.LabelConfig(
        profile=config.profile,
        clip_length=config.clip_length,
        working=config.working,
        crop=config.crop_size,
        patterns=masks.use(config.patterns, standard_only=config.profile != "sts"),
        statistics="statistics" in config.save,
    )


def row_arrays(config: ExtractConfig) -> tuple[StoredArray, ...]:
    """Return every array that computing fills, which is all but the planned index."""
    arrays = [store.STATUS]
    for spec in labels.schema(label_config(config)):
        arrays.append(StoredArray(name=spec.name, shape=spec.shape, dtype=spec.dtype, fill=spec.fill))
    side, length = config.crop_size, config.clip_length
    if "clips" in config.save:
        arrays.append(
            StoredArray(name="clips", shape=(length, side, side, 3), dtype="uint8", chunk_rows=True)
        )
    if "flow" in config.save:
        fields = config.frames_needed - 1
        arrays.append(
            StoredArray(name="flow", shape=(fields, side, side, 2), dtype="float16", chunk_rows=True)
        )
    return tuple(arrays)


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Seconds spent in each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Book the time since `since` under `stage` and return the time now."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedRows:
    """The values of consecutive rows, by array name, and the rows among them without labels."""

    values: dict[str, Array]
    failures: tuple[Failure, ...]
    seconds: dict[str, float]


def run_shard(task: ShardTask) -> ShardReceipt:
    """Compute one shard and write it durably; a shard that already has its receipt is left alone.

    Running it twice writes the same arrays.

    Raises
    ------
    StoreError
        The disk refused.
    """
    place = open_place(task.store)
    done = store.read_receipt(place, task.shard, task.plan_sha256)
    if done is not None:
        return done
    began = time.perf_counter()
    computed = compute_rows(task)
    watch = Stopwatch(seconds=dict(computed.seconds))
    now = time.perf_counter()
    files = store.write_rows(place, task.shard, task.start, computed.values)
    watch.add("write", now)
    watch.add("total", began)
    receipt = ShardReceipt(
        shard=task.shard,
        start=task.start,
        stop=task.stop,
        plan_sha256=task.plan_sha256,
        files=files,
        row_sha256=store.row_digests(computed.values, row_arrays(task.config)),
        labelled=int((computed.values[store.STATUS.name] == store.STATUS_OK).sum()),
        failures=computed.failures,
        seconds={stage: round(seconds, 6) for stage, seconds in watch.seconds.items()},
        versions=versions(),
        machine=machine(),
    )
    store.write_receipt(place, receipt)
    return receipt


def compute_rows(task: ShardTask) -> ComputedRows:
    """Decode, compute flow and label every row of a task. A video that fails costs its own rows and is named."""
    count = task.stop - task.start
    values = {
        array.name: np.full((count, *array.shape), array.fill, array.dtype)
        for array in row_arrays(task.config)
    }
    status = values[store.STATUS.name]
    failures: list[Failure] = []
    watch = Stopwatch()
    decoder = decoder_for(task.decode)
    condemned = dict(task.condemned)
    at = 0
    for video in task.videos:
        done = at
        end = at + len(video.rows)
        try:
            if video.record.key in condemned:
                raise DecodeError(condemned[video.record.key], stage="labels")
            for clip in compute_clips(video, task.config, watch, decoder):
                stop = done + len(clip.refusals)
                for name, value in clip.values.items():
                    values[name][done:stop] = value
                for position, refusal in enumerate(clip.refusals, start=done):
                    status[position] = store.STATUS_OK if refusal is None else store.STATUS_REFUSED
                    if refusal is not None:
                        _empty_row(values, position, task.config)
                        failures.append(
                            _failure(video, [task.start + position], "labels", "RefusedRow", refusal)
                        )
                done = stop
        except (VideoError, InputError) as error:
            for position in range(done, end):
                status[position] = store.STATUS_DECODE
            stage = error.stage if isinstance(error, VideoError) else "labels"
            rows = range(task.start + done, task.start + end)
            failures.append(
                _failure(video, rows, stage, type(error).__name__, without_path(error, video.path))
            )
        at = end
    return ComputedRows(values=values, failures=tuple(failures), seconds=watch.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRows:
    """The values of one clip's rows, by array name, and for each row why it was refused, or None."""

    values: dict[str, Array]
    refusals: list[str | None]


def compute_clips(
    video: VideoRows, config: ExtractConfig, watch: Stopwatch, decoder: Decoder
) -> Iterator[ClipRows]:
    """Yield the labelled rows of each clip of one video; raises what `read_clips` raises."""
    for rgb, flow, rows in read_clips(video, config, watch, decoder):
        yield _label_clip(rgb, flow, rows, config)


def read_clips(
    video: VideoRows, config: ExtractConfig, watch: Stopwatch, decoder: Decoder
) -> Iterator[tuple[U8, F32, list[PlannedRow]]]:
    """Yield what each clip of one video is labelled from, and its rows, from one pass over the video's frames.

    Frames are uint8 [T, H, W, 3] and flow float32 [F, H, W, 2], both on the working frame, not cropped or mirrored.

    Overlapping clips share frames and flow; a frame is dropped after the last clip that reads it, so memory grows
    with the clips in flight and not with the video.

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
    flow: dict[tuple[int, int], F32] = {}
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
            now = watch.add("decode", now)
            pairs = list(pairwise(frames))
            for run in _unknown_runs(pairs, flow):
                fields = motion.flow_fields(np.stack([gray[frame] for frame in run]), config)
                flow.update(zip(pairwise(run), fields, strict=True))
            now = watch.add("flow", now)
            yield (
                np.stack([rgb[frame] for frame in frames[: config.clip_length]]),
                np.stack([flow[pair] for pair in pairs]),
                rows,
            )
            watch.add("labels", now)
            for spent in [f for f in rgb if last_use[f] <= number]:
                del rgb[spent], gray[spent]
            for pair in [p for p in flow if p[0] not in rgb or p[1] not in rgb]:
                del flow[pair]
    finally:
        source.close()


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


def _label_clip(rgb: U8, flow: F32, rows: Sequence[PlannedRow], config: ExtractConfig) -> ClipRows:
    crops = [(row.crop_y, row.crop_x, row.flip) for row in rows]
    values, refusals = labels.label_rows(rgb, flow, crops, label_config(config))
    side = config.crop_size
    windows = [(slice(None), slice(y, y + side), slice(x, x + side)) for y, x, _ in crops]
    if "clips" in config.save:
        values["clips"] = np.stack(
            [rgb[w][:, :, ::-1] if flip else rgb[w] for w, (_, _, flip) in zip(windows, crops, strict=True)]
        )
    if "flow" in config.save:
        half = np.clip(flow, -65504, 65504).astype(np.float16)
        values["flow"] = np.stack(
            [
                _flip_flow(half[w], config) if flip else half[w]
                for w, (_, _, flip) in zip(windows, crops, strict=True)
            ]
        )
    return ClipRows(values=values, refusals=refusals)


def _flip_flow(flow: Array, config: ExtractConfig) -> Array:
    mirrored = flow[:, :, ::-1].copy()
    if config.profile == "sts":
        mirrored[..., 0] = -mirrored[..., 0]
    return mirrored


def _unknown_runs(pairs: Sequence[tuple[int, int]], known: dict[tuple[int, int], F32]) -> list[list[int]]:
    """Return runs of frames whose consecutive pairs are exactly the pairs not yet known, in order."""
    runs: list[list[int]] = []
    open_run = False
    seen: set[tuple[int, int]] = set()
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


def _empty_row(values: dict[str, Array], position: int, config: ExtractConfig) -> None:
    for array in row_arrays(config):
        if array is not store.STATUS and not array.chunk_rows:
            values[array.name][position] = array.fill


def _failure(video: VideoRows, rows: Sequence[int], stage: str, error: str, message: str) -> Failure:
    return Failure(
        key=video.record.key, status="failed", stage=stage, error=error, message=message, rows=tuple(rows)
    )


def warm_up(config: ExtractConfig) -> None:
    """Compile every kernel that `config` uses, so that other processes find them in the cache."""
    height, width = config.working
    frames = np.zeros((config.frames_needed, height, width, 3), np.uint8)
    frames[:, ::2] = 255
    small = frames[:2, :, :, 0]
    try:
        ops.rgb_to_gray(motion.resize_frame(frames[0, : height - 1], config.working, config))
        motion.flow_fields(
            ops.rgb_to_gray(motion.resize_frame(frames[0], (17, 19), config))[None].repeat(2, 0), config
        )
        field = np.zeros((1, *small.shape[1:], 2), np.float32)
        fields = field.repeat(config.frames_needed - 1, 0)
        _label_clip(frames[: config.clip_length], fields, [_CENTER], config)
    except VstatsError:
        return  # compiling was the point; the run itself reports what is wrong


_CENTER = PlannedRow(video=0, start_frame=0, stride=1, crop_y=0, crop_x=0, flip=True)
