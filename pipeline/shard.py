"""One shard: videos in, finished rows and a receipt out."""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise

import numpy as np

from vstats.kernels.backend import Native, load
from vstats.kernels.errors import DeviceFull, DeviceLost, InputError
from vstats.pipeline import clips, device, labels, masks, motion, store
from vstats.pipeline.clips import Clip, Item, Pair, Stopwatch
from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.decoder import Decoder, decoder_for
from vstats.pipeline.errors import DecodeError, VideoError, faults_on
from vstats.pipeline.place import open_place
from vstats.pipeline.plan import ShardTask, VideoRows
from vstats.pipeline.records import F32, U8, ArrayRecord, Failure, PlannedRow, without_path
from vstats.pipeline.store import Array, ShardReceipt


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


def row_arrays(config: ExtractConfig) -> tuple[ArrayRecord, ...]:
    """Return every array that computing fills, which is all but the planned index."""
    side, length, fields = config.crop_size, config.clip_length, config.frames_needed - 1
    pixels = {
        "clips": ArrayRecord(
            name="clips", kind="pixels", shape=(length, side, side, 3), dtype="uint8",
            meaning="RGB frames of the crop: frame, row, column, channel",
        ),
        "flow": ArrayRecord(
            name="flow", kind="pixels", shape=(fields, side, side, 2), dtype="float16",
            meaning="flow of the crop in pixels per step, x right, y down: field, row, column, (u, v)",
        ),
    }  # fmt: skip
    saved = (array for name, array in pixels.items() if name in config.save)
    return (store.STATUS, *labels.schema(label_config(config)), *saved)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedRows:
    """The values of consecutive rows, by array name, the rows among them without labels, and who computed them."""

    values: dict[str, Array]
    failures: tuple[Failure, ...]
    seconds: dict[str, float]
    versions: dict[str, str]
    machine: dict[str, str]


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
        versions=computed.versions,
        machine=computed.machine,
    )
    store.write_receipt(place, receipt)
    return receipt


def compute_rows(task: ShardTask) -> ComputedRows:
    """Decode, compute flow and label every row of a task. A video that fails costs its own rows and is named.

    Raises
    ------
    BackendUnavailable
        The task asks for a GPU, and there is none that computes here.
    WorkerError
        The GPU that the task asks for failed; under "auto" the task is computed again on the CPU instead.
    Unproven
        This process gives other bits than it must.
    """
    backend = device.resolve(task.device)
    try:
        return _compute_rows(task, backend)
    except DeviceLost as error:
        device.give_up(task.device, error)
    return _compute_rows(task, "cpu")


def _compute_rows(task: ShardTask, backend: str) -> ComputedRows:
    terms = device.Terms(
        device=task.device, decode=task.decode, flow=task.config.flow, opencv_flow=task.opencv_flow,
        unproven=task.unproven,
    )  # fmt: skip
    proven = terms.prove(backend)
    count = task.stop - task.start
    values = {
        array.name: np.full((count, *array.shape), array.fill, array.dtype)
        for array in row_arrays(task.config)
    }
    status = values[store.STATUS.name]
    failures: list[Failure] = []
    watch = Stopwatch()
    condemned = dict(task.condemned)
    ends = list(accumulate(len(video.rows) for video in task.videos))
    done = [end - len(video.rows) for end, video in zip(ends, task.videos, strict=True)]
    errors: dict[int, VideoError | InputError] = {
        number: DecodeError(condemned[video.record.key], stage="labels")
        for number, video in enumerate(task.videos)
        if video.record.key in condemned
    }
    labeller = Labeller(task.config, backend, watch)
    with closing(_batches(task, backend, watch, errors)) as batches:
        for batch in batches:
            todo = [(n, item) for n, item in batch if isinstance(item, Clip) and n not in errors]
            with faults_on(", ".join(dict.fromkeys(task.videos[n].path for n, _ in todo))):
                labelled = labeller.label(todo)
            for (n, _), found in zip(todo, labelled, strict=True):
                if n in errors:
                    continue
                if isinstance(found, InputError):
                    errors[n] = found
                    continue
                stop = done[n] + len(found.refusals)
                for name, value in found.values.items():
                    values[name][done[n] : stop] = value
                for position, refusal in enumerate(found.refusals, start=done[n]):
                    status[position] = store.STATUS_OK if refusal is None else store.STATUS_REFUSED
                    if refusal is not None:
                        _empty_row(values, position, task.config)
                        failures.append(
                            _failure(task.videos[n], [task.start + position], "labels", "RefusedRow", refusal)
                        )
                done[n] = stop
            for n, item in batch:
                if not isinstance(item, Clip):
                    errors.setdefault(n, item)
            labeller.forget(errors)
    for n, error in errors.items():
        video = task.videos[n]
        status[done[n] : ends[n]] = store.STATUS_DECODE
        stage = error.stage if isinstance(error, VideoError) else "labels"
        rows = range(task.start + done[n], task.start + ends[n])
        message = without_path(error, video.path)
        failures.append(_failure(video, rows, stage, type(error).__name__, message))
    failures.sort(key=lambda failure: failure.rows[:1])  # clips of several videos may have come in any order
    versions, machine = device.computed_by(backend, proven.unproven)
    return ComputedRows(
        values=values, failures=tuple(failures), seconds=watch.seconds, versions=versions, machine=machine
    )


BATCH_CLIPS = 64
BATCH_BYTES = 256 << 20
"""How many clips a GPU is given at once, and how much their frames may take; as much again is decoded meanwhile."""


def batch_size(backend: str, videos: Sequence[VideoRows], config: ExtractConfig) -> int:
    """Return how many clips of these videos are computed at once: one on the CPU."""
    if backend == "cpu":
        return 1
    height, width = config.working
    sizes = [motion.flow_frame_size(config, v.record.height, v.record.width) for v in videos]
    frame = 3 * height * width + max((h * w for h, w in sizes), default=0)
    return max(1, min(BATCH_CLIPS, BATCH_BYTES // (config.frames_needed * frame)))


def _batches(
    task: ShardTask, backend: str, watch: Stopwatch, given_up: Mapping[int, object]
) -> Generator[list[Item], None, None]:
    """Yield the clips of a task's videos, as many at once as its backend computes, and what ended videos early."""
    videos = [(n, video) for n, video in enumerate(task.videos) if n not in given_up]
    size = batch_size(backend, task.videos, task.config)
    if backend == "cpu":
        items = clips.one_after_another(iter(videos), task.config, watch, decoder_for(task.decode), given_up)
    else:
        decoders = [
            decoder_for(task.decode, k) for k in range(device.videos_at_once(task.device, task.decoders))
        ]
        items = clips.several_at_once(videos, task.config, watch, decoders[: len(videos)], given_up, size)
    with closing(items):
        while batch := list(islice(items, size)):
            yield batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRows:
    """The values of one clip's rows, by array name, and for each row why it was refused, or None."""

    values: dict[str, Array]
    refusals: list[str | None]


class Labeller:
    """Labels clips of numbered videos, many at once. Overlapping clips of a video share flow."""

    def __init__(self, config: ExtractConfig, backend: str, watch: Stopwatch) -> None:
        self._config = config
        self._backend = backend
        self._watch = watch
        self._known: KnownFlow = {}

    def label(self, batch: Sequence[tuple[int, Clip]]) -> list[ClipRows | InputError]:
        """Return the rows of each clip, or why it has none; the clips of a video come in order, batch after batch.

        Raises
        ------
        DeviceFull
            The device has no memory for one clip alone.
        DeviceLost
            The device failed.
        """
        try:
            return self._label_at_once(batch)
        except DeviceFull:
            if len(batch) <= 1:
                raise
        half = len(batch) // 2  # out here, where the failed attempt's arrays are gone
        return [*self.label(batch[:half]), *self.label(batch[half:])]

    def forget(self, videos: Iterable[int]) -> None:
        """Drop the flow that is kept for clips of these videos."""
        for number in videos:
            self._known.pop(number, None)

    def _label_at_once(self, batch: Sequence[tuple[int, Clip]]) -> list[ClipRows | InputError]:
        now = time.perf_counter()
        flows, known = flow_of(batch, self._known, self._config, self._backend)
        load(self._backend).wait()
        now = self._watch.add("flow", now)
        found: list[ClipRows | InputError] = []
        for (_, clip), flow in zip(batch, flows, strict=True):
            try:
                found.append(_label_clip(clip.rgb, flow, clip.rows, self._config, self._backend))
            except InputError as error:
                found.append(error.with_traceback(None))  # which would keep the flow
        self._watch.add("labels", now)
        self._known = known
        return found


KnownFlow = dict[int, dict[Pair, Native]]
"""By video, the flow of those of its frame pairs that later clips share: native float32 [1, H, W, 2]."""


def flow_of(
    batch: Sequence[tuple[int, Clip]], known: KnownFlow, config: ExtractConfig, backend: str
) -> tuple[list[Native], KnownFlow]:
    """Return the flow of each clip of numbered videos, and what is known afterwards.

    Parameters
    ----------
    batch : sequence of (int, Clip)
        The clips of a video in order.
    known : KnownFlow
        What the last batch returned; it stays as it is.
    config, backend
        How flow is computed, and who does.

    Returns
    -------
    flows : list of native float32 [F, H, W, 2]
        On the working frame.
    known : KnownFlow
    """
    computed = iter(motion.flow_fields([gray for _, clip in batch for gray in clip.gray], config, backend))
    flows = []
    known = dict(known)
    for number, clip in batch:
        fresh = [next(computed) for _ in clip.runs]
        fields = dict(known.get(number, {}))
        for run, flow in zip(clip.runs, fresh, strict=True):
            fields.update((pair, flow[k : k + 1]) for k, pair in enumerate(pairwise(run)))
        whole = len(fresh) == 1 and len(fresh[0]) == len(clip.pairs)
        flows.append(fresh[0] if whole else load(backend).joined([fields[pair] for pair in clip.pairs]))
        known[number] = {pair: field for pair, field in fields.items() if clip.spent.isdisjoint(pair)}
        if not known[number]:
            del known[number]
    return flows, known


def read_clips(
    video: VideoRows, config: ExtractConfig, watch: Stopwatch, decoder: Decoder
) -> Iterator[tuple[U8, F32, tuple[PlannedRow, ...]]]:
    """Yield what each clip of one video is labelled from, and its rows.

    Frames are uint8 [T, H, W, 3] and flow float32 [F, H, W, 2], both on the working frame, not cropped or mirrored.

    Raises
    ------
    DecodeError
        The video cannot be read, or has changed since it was planned.
    """
    known: KnownFlow = {}
    for clip in clips.decode_clips(video, config, watch, decoder):
        (flow,), known = flow_of([(0, clip)], known, config, "cpu")
        yield clip.rgb, flow, clip.rows


def _label_clip(
    rgb: U8, flow: Native, rows: Sequence[PlannedRow], config: ExtractConfig, backend: str
) -> ClipRows:
    crops = [(row.crop_y, row.crop_x, row.flip) for row in rows]
    values, refusals = labels.label_rows(rgb, flow, crops, label_config(config), backend)
    side = config.crop_size
    windows = [(slice(None), slice(y, y + side), slice(x, x + side)) for y, x, _ in crops]
    if "clips" in config.save:
        values["clips"] = np.stack(
            [rgb[w][:, :, ::-1] if flip else rgb[w] for w, (_, _, flip) in zip(windows, crops, strict=True)]
        )
    if "flow" in config.save:
        half = np.clip(load(backend).give(flow), -65504, 65504).astype(np.float16)
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


def _empty_row(values: dict[str, Array], position: int, config: ExtractConfig) -> None:
    for array in row_arrays(config):
        if array is not store.STATUS and array.kind != "pixels":
            values[array.name][position] = array.fill


def _failure(video: VideoRows, rows: Sequence[int], stage: str, error: str, message: str) -> Failure:
    return Failure(
        key=video.record.key, status="failed", stage=stage, error=error, message=message, rows=tuple(rows)
    )
