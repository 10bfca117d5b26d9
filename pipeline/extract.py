"""The main job: understand the input, plan, compute what is missing, commit."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.errors import ConfigMismatch, ManifestError, StoreError, UsageError
from vstats.pipeline.execute import Executor, open_executor
from vstats.pipeline.manifest import Manifest, manifest_digest, path_of_key, read_manifest
from vstats.pipeline.place import LocalPlace, Place, check_workers_see, open_place
from vstats.pipeline.plan import ShardTask, VideoRows, automatic_shard_size, clip_starts, video_rows
from vstats.pipeline.probe import ProbeResult, probe_all
from vstats.pipeline.progress import NoProgress, Progress
from vstats.pipeline.records import Failure, ManifestRow, PlannedRow, VideoRecord
from vstats.pipeline.store import Store, StoredArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractReport:
    """What a run did.

    `damaged` counts videos that have rows although packets were lost or frames are marked as damaged.
    `rows`, `labelled` and `videos` (status -> number) describe the whole store; `computed_rows` and `seconds` this
    run. `digest` is "" for a dry run.
    """

    store: str
    digest: str
    rows: int
    labelled: int
    shards: int
    shard_size: int
    videos: dict[str, int]
    failures: tuple[Failure, ...]
    damaged: int
    expected_bytes: int
    computed_rows: int
    seconds: float
    already_complete: bool = False

    @property
    def failed(self) -> int:
        """Videos and rows that failed, skipped and missing videos not counted."""
        return sum(1 for f in self.failures if f.status == "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan before it is written: rows fixed, nothing on disk."""

    index: dict[str, stores.Array]
    videos: tuple[VideoRecord, ...]
    failures: tuple[Failure, ...]
    shard_size: int

    @property
    def rows(self) -> int:
        """Number of planned rows."""
        return sum(video.rows for video in self.videos)


def extract(
    inputs: Sequence[str],
    output: str | Path,
    config: ExtractConfig,
    run: RunConfig,
    *,
    root: str | None = None,
    kind: str = "auto",
    classes: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ExtractReport:
    """Label every video of `inputs` into the store at `output`, continuing where an earlier run stopped.

    Parameters
    ----------
    inputs, root, kind, classes
        See `vstats.pipeline.manifest.read_manifest`.
    output : path or URL
        The store's folder, or where it goes on object storage.
    config : ExtractConfig
        What to compute.
    run : RunConfig
        How to compute it.
    dry_run : bool
        Plan only, and write nothing.
    progress : Progress, optional
        Is told how far the work is.

    Raises
    ------
    ManifestError
        The input cannot be understood.
    ConfigMismatch
        The store was planned with another configuration or input.
    StoreError
        The disk refused.
    WorkerError
        Workers broke down again and again.
    """
    began = time.perf_counter()
    progress = progress or NoProgress()
    place = open_place(output)
    check_workers_see(place, run.workers)
    manifest = read_manifest(inputs, root=root, kind=kind, classes=classes)
    if not manifest.rows:
        raise ManifestError(
            f"none of the {len(manifest.missing)} videos that {manifest.source} lists is under {manifest.root} "
            f"(first: {manifest.missing[0].key}); say with --root where they are"
        )
    if run.overwrite and not dry_run:
        _remove_store(place)
    existing = _existing(place)
    if existing == "planned":
        store = Store.open(place, incomplete=True)
        _check_same(store, config, manifest)
        if store.committed is not None and _all_files_there(store):
            return _report(store, began, already_complete=True)
        if dry_run:
            return _report(store, began)
    from vstats.pipeline import shard

    if run.workers:
        shard.warm_up(config)
    with open_executor(run.workers) as executor:
        if existing != "planned":
            if not dry_run:
                place.prepare()
            probes = probe_all(manifest.rows, executor, progress, None if dry_run else place)
            draft = draft_plan(manifest, probes, config, run)
            if dry_run:
                return _dry_report(place, draft, config, began)
            _write_plan(place, draft, manifest, config)
        computed = 0
        for _ in range(3):
            computed += _run_shards(place, executor, progress)
            damaged = _drop_damaged(place)
            if not damaged:
                break
        else:
            raise StoreError(f"{place}: shards {damaged} are damaged on disk again and again; check the disk")
    store = Store.open(place, incomplete=True)
    _commit(store, computed, began)
    return _report(Store.open(place), began, computed=computed)


# --------------------------------------------------------------------------------------------------- planning


def draft_plan(
    manifest: Manifest, probes: Mapping[str, ProbeResult], config: ExtractConfig, run: RunConfig
) -> Draft:
    """Fix every row: videos in the order of their keys, clips by first frame, crops and flips as configured."""
    videos: list[VideoRecord] = []
    failures: list[Failure] = []
    rows: list[PlannedRow] = []
    present = {row.key for row in manifest.rows}
    for asked in sorted((*manifest.rows, *manifest.missing), key=lambda row: row.key.encode()):
        record, failure = _plan_video(asked, probes.get(asked.key) if asked.key in present else None, config)
        if failure is not None:
            failures.append(failure)
        if record.status == "planned":
            mine = list(video_rows(len(videos), asked.key, record.frames, config, asked.start_frames))
            rows.extend(mine)
            record = replace(record, rows=len(mine))
        videos.append(record)
    return Draft(
        index=stores.index_columns(rows),
        videos=tuple(videos),
        failures=tuple(failures),
        shard_size=run.shard_size or automatic_shard_size(len(rows)),
    )


def _plan_video(
    asked: ManifestRow, found: ProbeResult | None, config: ExtractConfig
) -> tuple[VideoRecord, Failure | None]:
    record = VideoRecord(
        key=asked.key,
        label=asked.label,
        class_name=asked.class_name,
        start_frames=" ".join(map(str, asked.start_frames or ())),
        status="planned",
    )
    if found is None:
        message = f"{asked.path} is not there"
        failure = Failure(key=asked.key, status="missing", stage="find", error="Missing", message=message)
        return replace(record, status="missing", error=message), failure
    if found.probe is None:
        failure = Failure(
            key=asked.key, status="failed", stage=found.stage, error="DecodeError", message=found.message
        )
        return replace(record, status="failed", error=found.message), failure
    record = replace(record, **asdict(found.probe))
    frames = found.probe.frames
    damage = f"{found.probe.lost_packets} packets lost, {found.probe.corrupt_frames} frames damaged"
    if config.damaged == "skip" and (found.probe.lost_packets or found.probe.corrupt_frames):
        failure = Failure(
            key=asked.key, status="skipped", stage="decode", error="DamagedVideo", message=damage
        )
        return replace(record, status="skipped", error=damage), failure
    starts = clip_starts(frames, config, asked.start_frames)
    dropped = [s for s in asked.start_frames or () if s not in starts]
    short = f"{frames} frames decode and a clip reads {config.span}; --short loop would repeat the video"
    if not starts:
        failure = Failure(key=asked.key, status="skipped", stage="plan", error="ShortVideo", message=short)
        return replace(record, status="skipped", error=short), failure
    if dropped:
        listed = len(asked.start_frames or ())
        message = f"{len(dropped)} of {listed} listed clips run past the end, first at {dropped[0]}: {short}"
        failure = Failure(key=asked.key, status="skipped", stage="plan", error="ShortVideo", message=message)
        return replace(record, error=message), failure
    return record, None


def _write_plan(place: Place, draft: Draft, manifest: Manifest, config: ExtractConfig) -> None:
    from vstats.pipeline.provenance import machine, versions
    from vstats.pipeline.shard import row_arrays

    plan = stores.Plan(
        config=config,
        rows=draft.rows,
        shard_size=draft.shard_size,
        root=manifest.root,
        source=manifest.source,
        kind=manifest.kind,
        input_sha256=manifest_digest(manifest),
        arrays=(*stores.INDEX, *row_arrays(config)),
        versions=versions(),
        machine=machine(),
        planned_at=_now(),
    )
    stores.plan_store(place, plan, draft.index, draft.videos, draft.failures)


# ---------------------------------------------------------------------------------------------------- running


def shard_tasks(store: Store, shards: Sequence[int]) -> Iterator[ShardTask]:
    """Yield the tasks of `shards`, each with its rows grouped by video."""
    for shard in shards:
        start, stop = store.plan.shard_rows(shard)
        yield rows_task(store, shard, start, stop)


def rows_task(store: Store, shard: int, start: int, stop: int, *, root: str | None = None) -> ShardTask:
    """Return the task of rows `start` to `stop` (excluded), with videos under `root` or where they were planned."""
    folder = root or store.plan.root
    grouped: dict[int, list[PlannedRow]] = {}
    for row in store.planned_rows(start, stop):
        grouped.setdefault(row.video, []).append(row)
    videos = tuple(
        VideoRows(
            path=str(Path(folder) / path_of_key(store.videos[number].key)),
            record=store.videos[number],
            rows=tuple(rows),
        )
        for number, rows in grouped.items()
    )
    return ShardTask(
        store=str(store.place), shard=shard, start=start, stop=stop, videos=videos, config=store.plan.config,
        plan_sha256=store.plan_sha256,
    )  # fmt: skip


def _run_shards(place: Place, executor: Executor, progress: Progress) -> int:
    from vstats.pipeline.shard import run_shard

    store = Store.open(place, incomplete=True)
    finished = {receipt.shard for receipt in store.receipts()}
    todo = [shard for shard in range(store.plan.shards) if shard not in finished]
    if not todo:
        return 0
    left = sum(stop - start for start, stop in map(store.plan.shard_rows, todo))
    progress.start("labelling", store.rows, "clip", done=store.rows - left)
    for receipt in executor.run(run_shard, shard_tasks(store, todo)):
        rows = receipt.stop - receipt.start
        progress.advance(rows, rows - receipt.labelled)
    progress.finish()
    return left


def _drop_damaged(place: Place) -> list[int]:
    """Remove the receipts of shards whose files are not what was written, and return their numbers."""
    store = Store.open(place, incomplete=True)
    whole = {
        receipt.shard
        for receipt in store.receipts()
        if all(place.sha256(name) == sha for name, (sha, _) in receipt.files.items())
    }
    damaged = [shard for shard in range(store.plan.shards) if shard not in whole]
    for shard in damaged:
        place.delete(stores.receipt_name(shard))
    return damaged


def _commit(store: Store, computed: int, began: float) -> None:
    failures = [f for f in store.failures() if not f.rows]
    failed_rows: dict[str, int] = {}
    messages: dict[str, str] = {}
    labelled = 0
    totals: dict[str, float] = {}
    for receipt in store.receipts():
        labelled += receipt.labelled
        failures.extend(receipt.failures)
        for failure in receipt.failures:
            failed_rows[failure.key] = failed_rows.get(failure.key, 0) + len(failure.rows)
            messages.setdefault(failure.key, failure.message)
        for stage, seconds in receipt.seconds.items():
            totals[stage] = round(totals.get(stage, 0.0) + seconds, 3)
    videos = [
        _settled(video, failed_rows.get(video.key, 0), messages.get(video.key)) for video in store.videos
    ]
    facts = {
        "rows": store.rows,
        "labelled": labelled,
        "worker_seconds": totals,
        "last_run": {"rows": computed, "seconds": round(time.perf_counter() - began, 3)},
        "committed_at": _now(),
    }
    stores.commit(store, videos, failures, facts)


def _settled(video: VideoRecord, failed_rows: int, message: str | None) -> VideoRecord:
    if not video.rows:
        return video
    status = "ok" if failed_rows == 0 else "failed" if failed_rows == video.rows else "partial"
    return replace(video, status=status, error=message or video.error)


# ---------------------------------------------------------------------------------------------------- existing


def _existing(place: Place) -> str:
    """Return "planned", "none" or raise if something else stands at `place`."""
    if isinstance(place, LocalPlace) and place.path.is_file():
        raise UsageError(f"{place} is a file; -o takes the folder of a store, such as labels.vstats")
    names = place.entries() or set()
    if stores.PLAN in names:
        return "planned"
    ours = {stores.PROBES, stores.ARRAYS, stores.LEDGER, stores.VIDEOS, stores.FAILURES}
    strange = sorted(n for n in names - ours if not n.endswith(".partial"))
    if strange:
        raise UsageError(
            f"{place} is not a vstats store and not empty (it holds {strange[0]}); choose another folder"
        )
    return "none"


def _remove_store(place: Place) -> None:
    if _existing(place) == "planned":
        # The plan goes first: what a kill leaves behind is then an unplanned store, which the next run replaces.
        for name in (stores.COMMIT, stores.PLAN):
            place.delete(name)
        place.remove()


def _check_same(store: Store, config: ExtractConfig, manifest: Manifest) -> None:
    found = store.plan.config.differences(config)
    if store.plan.input_sha256 != manifest_digest(manifest):
        before = {video.key: video.status == "missing" for video in store.videos}
        now = {row.key: False for row in manifest.rows} | {row.key: True for row in manifest.missing}
        changes = {
            "are new": sorted(now.keys() - before.keys()),
            "are gone from the input": sorted(before.keys() - now.keys()),
            "were missing and are there now": sorted(k for k in before if before[k] and not now.get(k, True)),
            "were there and are missing now": sorted(
                k for k in before if not before[k] and now.get(k, False)
            ),
        }
        named = [
            f"input: {len(keys)} videos {what} (first: {keys[0]})" for what, keys in changes.items() if keys
        ]
        found += named or ["input: labels or listed clips of the videos differ"]
    if found:
        raise ConfigMismatch(
            f"{store.place} was planned differently:\n  " + "\n  ".join(found) + "\n"
            "Repeat the earlier options, choose another -o, or give --overwrite to start anew"
        )


def _all_files_there(store: Store) -> bool:
    try:
        lines = store.place.read(stores.MANIFEST).decode().splitlines()
    except StoreError:
        return False
    return {line.partition("  ")[2] for line in lines} <= store.place.sizes().keys()


# ---------------------------------------------------------------------------------------------------- reporting


def _report(
    store: Store, began: float, *, computed: int = 0, already_complete: bool = False
) -> ExtractReport:
    return ExtractReport(
        store=str(store.place),
        digest=store.digest if store.committed is not None else "",
        rows=store.rows,
        labelled=store.committed["labelled"] if store.committed is not None else 0,
        shards=store.plan.shards,
        shard_size=store.plan.shard_size,
        videos=_by_status(store.videos),
        failures=tuple(store.failures()),
        damaged=_damaged(store.videos),
        expected_bytes=_bytes(store.plan.arrays, store.rows),
        computed_rows=computed,
        seconds=time.perf_counter() - began,
        already_complete=already_complete,
    )


def _dry_report(place: Place, draft: Draft, config: ExtractConfig, began: float) -> ExtractReport:
    from vstats.pipeline.shard import row_arrays

    return ExtractReport(
        store=str(place),
        digest="",
        rows=draft.rows,
        labelled=0,
        shards=-(-draft.rows // draft.shard_size),
        shard_size=draft.shard_size,
        videos=_by_status(draft.videos),
        failures=draft.failures,
        damaged=_damaged(draft.videos),
        expected_bytes=_bytes((*stores.INDEX, *row_arrays(config)), draft.rows),
        computed_rows=0,
        seconds=time.perf_counter() - began,
    )


def _bytes(arrays: Sequence[StoredArray], rows: int) -> int:
    return rows * sum(int(np.prod(a.shape, dtype=np.int64)) * np.dtype(a.dtype).itemsize for a in arrays)


def _by_status(videos: Sequence[VideoRecord]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for video in videos:
        counts[video.status] = counts.get(video.status, 0) + 1
    return dict(sorted(counts.items()))


def _damaged(videos: Sequence[VideoRecord]) -> int:
    return sum(1 for video in videos if video.rows and (video.lost_packets or video.corrupt_frames))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
