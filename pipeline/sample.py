"""A few videos of a list, probed and labelled as a run would do it, and what that took.

They stand evenly over the list, and as many processes work on them at once as in the run: they share memory and clock.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TypeVar

from vstats.pipeline import device, proof, shard
from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.draft import Draft, draft_plan
from vstats.pipeline.execute import Executor, Lost, open_executor
from vstats.pipeline.manifest import Manifest
from vstats.pipeline.plan import ShardTask, VideoRows, clip_frames
from vstats.pipeline.probe import ProbeResult, ProbeTask, probe_videos
from vstats.pipeline.proof import Proof
from vstats.pipeline.records import ManifestRow, PlannedRow
from vstats.pipeline.shards import for_run

T = TypeVar("T")

VIDEOS = 20
CLIPS = 4
"""How many videos are tried, and how many clips of each are labelled."""

WRITTEN_ROWS = 2
"""Of how many rows of a task the values are kept: pixels are large."""

PATIENCE_SECONDS = 30.0
"""After this long no further video is probed, or labelled: there are lists of films."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What labelling some videos takes one worker.

    Parameters
    ----------
    keys : tuple of str
        The videos.
    rows : int
        All their rows.
    seconds : dict of float
        For all rows, by stage: decoding, flow, labels.
    values : dict of array
        By array name, of a few rows.
    """

    keys: tuple[str, ...]
    rows: int
    seconds: dict[str, float]
    values: dict[str, stores.Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was tried.

    Parameters
    ----------
    workers : int
        Processes that worked at once.
    start_seconds : float
        Wall clock until they were ready.
    proofs : tuple of Proof
        What they proved first.
    manifest : Manifest
        The videos that were probed.
    probe_seconds : float
        What probing them took, summed over workers.
    draft : Draft
        The plan that they make.
    labelled : list of Labelled
        What became of those that have rows.
    """

    workers: int
    start_seconds: float
    proofs: tuple[Proof, ...]
    manifest: Manifest
    probe_seconds: float
    draft: Draft
    labelled: list[Labelled]


def take_sample(
    manifest: Manifest, config: ExtractConfig, run: RunConfig, say: Callable[[str], None] = lambda _: None
) -> Sample:
    """Probe and label at most 20 videos of a list with a settled run's workers.

    Raises
    ------
    UsageError, WorkerError
        The workers cannot be had.
    Unproven
        A process gives other bits than it must, and the run does not go on all the same.
    """
    videos = spread(manifest.rows, VIDEOS)
    began = time.perf_counter()
    terms = device.terms_of(run, config.flow)
    with open_executor(run, paths=[manifest.root], terms=terms, say=say) as executor:
        for _ in executor.run(partial(_get_ready, config.flow), [run] * executor.workers):
            pass
        start_seconds = time.perf_counter() - began
        probe_seconds, probes = _probe(executor, videos, run)
        videos = [video for video in videos if video.key in probes]
        probed = replace(manifest, rows=tuple(videos), missing=())
        draft = draft_plan(probed, probes, config, run)
        return Sample(
            workers=executor.workers,
            start_seconds=start_seconds,
            proofs=executor.proofs,
            manifest=probed,
            probe_seconds=probe_seconds,
            draft=draft,
            labelled=_label(executor, draft, videos, config, run),
        )


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items from the middles of equal parts, in such an order that the first few are spread too."""
    count = min(count, len(items))
    order = sorted(range(count), key=lambda k: f"{k:016b}"[::-1])
    return [items[(2 * k + 1) * len(items) // (2 * count)] for k in order]


def ratio(whole: float, part: float) -> float:
    """Return how many times as much the whole is; 0 where there is no part to judge by."""
    return whole / part if part else 0.0


def _probe(
    executor: Executor, videos: Sequence[ManifestRow], run: RunConfig
) -> tuple[float, dict[str, ProbeResult]]:
    what = ProbeTask(videos=(), decode=run.decode_limits, device=run.device, decoders=device.decoders(run))
    tasks = [
        replace(what, videos=tuple((video.key, video.path) for video in some))
        for some in _lots(videos, executor, run)
    ]
    seconds = 0.0
    probes: dict[str, ProbeResult] = {}
    for outcome in executor.run(_timed_probe, _in_time(tasks)):
        if not isinstance(outcome, Lost):
            results, spent = outcome
            probes.update((result.key, result) for result in results)
            seconds += spent
    return seconds, probes


def _label(
    executor: Executor, draft: Draft, videos: Sequence[ManifestRow], config: ExtractConfig, run: RunConfig
) -> list[Labelled]:
    rows: dict[int, list[PlannedRow]] = {}
    for row in stores.planned_rows(draft.index):
        rows.setdefault(row.video, []).append(row)
    planned = {draft.videos[number].key: (draft.videos[number], tuple(mine)) for number, mine in rows.items()}
    with_rows = [
        VideoRows(path=video.path, record=planned[video.key][0], rows=planned[video.key][1])
        for video in videos
        if video.key in planned
    ]
    tasks = [
        ShardTask(
            store="", shard=0, start=0, stop=sum(len(video.rows) for video in some), videos=tuple(some),
            config=config, plan_sha256="",
        )
        for some in _lots(with_rows, executor, run)
    ]  # fmt: skip
    outcomes = executor.run(_timed_rows, _in_time([for_run(task, run) for task in tasks]))
    return [outcome for outcome in outcomes if not isinstance(outcome, Lost)]


def _lots(items: Sequence[T], executor: Executor, run: RunConfig) -> list[Sequence[T]]:
    """Return what each task takes: one video on the CPU; beside a GPU, which has many at once, a worker's share."""
    size = 1 if run.device == "cpu" else max(1, -(-len(items) // executor.workers))
    return [items[k : k + size] for k in range(0, len(items), size)]


def _in_time(tasks: Iterable[T]) -> Iterator[T]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    for task in tasks:
        yield task
        if time.monotonic() > deadline:
            return


# ---------------------------------------------------------------------------------------------------- on a worker


def _get_ready(flow: str, run: RunConfig) -> None:
    """Load what a process loads once, kernels and a decoder, though its proof may be remembered."""
    proof.prove(device.resolve(run.device), run.decode_limits, flow)


def _timed_probe(task: ProbeTask) -> tuple[list[ProbeResult], float]:
    began = time.perf_counter()
    results = probe_videos(task)
    return results, time.perf_counter() - began


def _timed_rows(task: ShardTask) -> Labelled:
    """Label the first clips of each video, and say what all of them take."""
    first = [replace(video, rows=_first_clips(video.rows)) for video in task.videos]
    part = replace(task, stop=sum(len(video.rows) for video in first), videos=tuple(first))
    began = time.perf_counter()
    computed = shard.compute_rows(part)
    wall = time.perf_counter() - began
    spent = [computed.seconds.get(stage, 0.0) for stage in ("decode", "flow", "labels")]
    # A little of the time is none of these stages; beside a GPU they go on at the same time.
    factor = ratio(wall, sum(spent))
    parts = zip(spent, _work(task), _work(part), strict=True)
    scaled = [seconds * factor * ratio(whole, done) for seconds, whole, done in parts]
    return Labelled(
        keys=tuple(video.record.key for video in task.videos),
        rows=task.stop,
        seconds=dict(zip(("decoding", "flow", "labels"), scaled, strict=True)),
        values={name: value[:WRITTEN_ROWS] for name, value in computed.values.items()},
    )


def _first_clips(rows: Sequence[PlannedRow]) -> tuple[PlannedRow, ...]:
    starts = sorted({row.start_frame for row in rows})[:CLIPS]
    return tuple(row for row in rows if row.start_frame in starts)


def _work(task: ShardTask) -> tuple[int, int, int]:
    """Return how many frames a task decodes, of how many pairs it computes flow, and how many rows it labels."""
    frames = pairs = 0
    for video in task.videos:
        starts = {row.start_frame for row in video.rows}
        clips = [clip_frames(start, video.record.frames, task.config) for start in starts]
        frames += 1 + max(max(clip) for clip in clips)
        pairs += len({pair for clip in clips for pair in pairwise(clip)})
    return frames, pairs, task.stop
