"""What a run will take: hours and bytes, from a sample of its videos.

Time to probe and to decode grows with a video's bytes, flow with its frame pairs, labels with its rows.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vstats.pipeline import shard
from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.draft import write_plan
from vstats.pipeline.manifest import Manifest
from vstats.pipeline.place import LocalPlace
from vstats.pipeline.plan import automatic_shard_size
from vstats.pipeline.probe import videos_per_task
from vstats.pipeline.records import ManifestRow
from vstats.pipeline.sample import Sample, ratio, take_sample

PLANNING_SECONDS = 1e-4
COMMIT_SECONDS = 3e-5
"""What planning takes per video, and commit per row, beyond what a small store takes."""

VIDEO_BYTES = 80
RECEIPT_BYTES = 2000
LINE_BYTES = 110
"""What a video takes in videos.parquet, a shard in the ledger, and a file in manifest-sha256.txt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run will take.

    Parameters
    ----------
    videos, rows, shards : int
        Videos that are there, and the rows and shards that they make.
    workers : int
        Processes that compute at once.
    sampled : int
        Videos that the figures were taken from.
    seconds : dict of float
        Wall clock by stage, in a run's order: start, probing, planning, decoding, flow, labels, writing, commit.
    bytes : int
        What the store takes on disk.
    """

    videos: int
    rows: int
    shards: int
    workers: int
    sampled: int
    seconds: dict[str, float]
    bytes: int

    @property
    def total_seconds(self) -> float:
        """Wall clock of the whole run."""
        return sum(self.seconds.values())

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return (
            f"{in_words(self.total_seconds)} with {workers}, of which {in_words(self.seconds['probing'])} to probe; "
            f"{in_bytes(self.bytes)} (from {self.sampled} of {self.videos:,} videos)"
        )


def estimate(
    manifest: Manifest, config: ExtractConfig, run: RunConfig, say: Callable[[str], None] = lambda _: None
) -> Estimate:
    """Estimate what labelling the videos of a list takes with a settled run's workers, from at most 20 of them.

    Nothing is written where the store will be.

    Raises
    ------
    InputError
        The configuration's sizes or patterns do not fit.
    UsageError, WorkerError
        The run's workers cannot be had.
    Unproven
        A process gives other bits than it must, and the run does not go on all the same.
    """
    shard.label_config(config)
    sample = take_sample(manifest, config, run, say)
    sizes = _sizes(manifest.rows)

    def size_of(keys: Iterable[str]) -> int:
        return sum(sizes[key] for key in keys)

    def clips(videos: Sequence[ManifestRow]) -> int:
        """Return what the videos' number of clips grows with."""
        unlisted = [
            sizes[video.key] if config.clip_step else 1 for video in videos if video.start_frames is None
        ]
        return sum(unlisted) + sum(len(video.start_frames or ()) for video in videos)

    rows = round(sample.draft.rows * ratio(clips(manifest.rows), clips(sample.manifest.rows)))
    size = run.shard_size or automatic_shard_size(rows, config)
    shards = -(-rows // size)
    everything = sum(sizes.values())
    probed = size_of(video.key for video in sample.draft.videos)
    with_rows = size_of(video.key for video in sample.draft.videos if video.rows)
    labelled = size_of(key for some in sample.labelled for key in some.keys)
    per_row = ratio(rows, sum(some.rows for some in sample.labelled))
    grown = {
        "decoding": ratio(everything, labelled) * ratio(with_rows, probed),
        "flow": per_row,
        "labels": per_row,
    }
    # Of all the workers' time, that of the one that has most to do.
    probing = ratio(busiest(len(sizes), videos_per_task(len(sizes), run), sample.workers), len(sizes))
    labelling = ratio(busiest(rows, size, sample.workers), rows)
    small = _write(sample, config)
    pixels = any(array.kind == "pixels" for array in shard.row_arrays(config))
    writing = small.shard_seconds * (ratio(size, small.rows) if pixels else 1)
    return Estimate(
        videos=len(sizes),
        rows=rows,
        shards=shards,
        workers=sample.workers,
        sampled=len(sample.manifest.rows),
        seconds={
            "start": sample.start_seconds,
            "probing": sample.probe_seconds * ratio(everything, probed) * probing,
            "planning": small.plan_seconds + PLANNING_SECONDS * len(sizes),
            **{
                stage: sum(some.seconds[stage] for some in sample.labelled) * growth * labelling
                for stage, growth in grown.items()
            },
            "writing": writing * shards * labelling,
            "commit": small.plan_seconds + COMMIT_SECONDS * rows,
        },
        bytes=round(
            small.other_bytes
            + small.row_bytes * rows
            + (RECEIPT_BYTES + small.files * LINE_BYTES) * shards
            + VIDEO_BYTES * (len(sizes) + len(manifest.missing))
        ),
    )


def busiest(count: int, size: int, workers: int) -> int:
    """Return how many of `count` items the worker gets that gets most, where they are dealt out in lots of `size`."""
    lots, rest = divmod(count, size)
    all_get, some_get_more = divmod(lots, workers)
    return max((all_get + (some_get_more > 0)) * size, all_get * size + rest)


def in_words(seconds: float) -> str:
    """Return a time as a person says it: in hours from 1.5 hours on, in minutes from 1.5 minutes on."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} s"


def in_bytes(count: float) -> str:
    """Return an amount of bytes as a person says it."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallStore:
    """What writing a sample's rows as one shard took; `files` are the shard's, `other_bytes` those of all other files."""

    rows: int = 0
    files: int = 0
    plan_seconds: float = 0.0
    shard_seconds: float = 0.0
    row_bytes: float = 0.0
    other_bytes: int = 0


def _write(sample: Sample, config: ExtractConfig) -> SmallStore:
    if not sample.labelled:
        return SmallStore()
    names = sample.labelled[0].values
    values = {name: np.concatenate([some.values[name] for some in sample.labelled]) for name in names}
    rows = len(values[stores.STATUS.name])
    with tempfile.TemporaryDirectory() as folder:
        place = LocalPlace(Path(folder))
        began = time.perf_counter()
        write_plan(place, replace(sample.draft, shard_size=rows), sample.manifest, config, sample.proofs)
        planned = time.perf_counter()
        files = stores.write_rows(place, 0, 0, values)
        written = time.perf_counter()
        everything = sum(place.sizes().values())
    shard_bytes = sum(size for _, size in files.values())
    return SmallStore(
        rows=rows,
        files=len(files),
        plan_seconds=planned - began,
        shard_seconds=written - planned,
        row_bytes=shard_bytes / rows,
        other_bytes=everything - shard_bytes,
    )


def _sizes(videos: Sequence[ManifestRow]) -> dict[str, int]:
    """Return the bytes of every video by key, several asked for at once: a share answers late."""

    def size(video: ManifestRow) -> int:
        try:
            return Path(video.path).stat().st_size
        except OSError:
            return 0

    with ThreadPoolExecutor(16) as threads:
        return dict(zip((video.key for video in videos), threads.map(size, videos), strict=True))
