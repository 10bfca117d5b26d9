"""The main job: understand the input, plan, compute what is missing, commit."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vstats.pipeline import device
from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.draft import Draft, draft_plan, write_plan
from vstats.pipeline.errors import ConfigMismatch, ManifestError, StoreError, UsageError
from vstats.pipeline.estimate import Estimate, estimate, in_words
from vstats.pipeline.execute import open_executor
from vstats.pipeline.failures import Tally
from vstats.pipeline.lock import StoreLock, held
from vstats.pipeline.manifest import Manifest, manifest_digest, read_manifest
from vstats.pipeline.parts import Part, select
from vstats.pipeline.place import LocalPlace, Place, check_workers_see, open_place
from vstats.pipeline.probe import probe_all
from vstats.pipeline.progress import NoProgress, Progress
from vstats.pipeline.records import ArrayRecord, Failure, VideoRecord
from vstats.pipeline.status import StatusFile
from vstats.pipeline.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractReport:
    """What a run did.

    `rows`, `labelled` and `videos` (status -> number) describe the whole store; `computed_rows` and `seconds` this run.
    `notes` says what a reader should know about how the input was understood. `damaged` counts videos that have rows
    although packets were lost or frames are marked as damaged. For a dry run, `digest` is "" and `estimate` is what a run
    takes, unless an earlier one has planned the store already. `unproven` is what `Store.unproven` says.
    """

    store: str
    digest: str
    rows: int
    labelled: int
    shards: int
    shard_size: int
    videos: dict[str, int]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    damaged: int
    expected_bytes: int
    computed_rows: int
    seconds: float
    already_complete: bool = False
    unproven: tuple[str, ...] = ()
    estimate: Estimate | None = None

    @property
    def failed(self) -> int:
        """Videos and rows that failed, skipped and missing videos not counted."""
        return sum(1 for f in self.failures if f.status == "failed")


def extract(
    inputs: Sequence[str],
    output: str | Path,
    config: ExtractConfig,
    run: RunConfig,
    *,
    root: str | None = None,
    kind: str = "auto",
    classes: str | None = None,
    part: Part | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
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
    part : Part, optional
        Take only this part of the input's videos.
    dry_run : bool
        Plan only, and write nothing.
    progress : Progress, optional
        Is told how far the work is.
    say : callable, optional
        Is told what a person would want to know, such as the dashboard's address.

    Raises
    ------
    ManifestError
        The input cannot be understood.
    ConfigMismatch
        The store was planned with another configuration or input.
    StoreError
        The disk refused.
    StoreBusy
        Another process is writing the store.
    TooManyFailures
        More videos failed than `run` tolerates.
    SystematicFailure
        The first videos all fail in the same way, and `run` does not say how many may fail.
    InternalError
        Something was raised that nobody foresaw: a fault of vstats or of an installed library.
    Unproven
        A process gives other bits on known clips than it must, and `run` does not go on all the same.
    WorkerError
        Workers broke down again and again, or a GPU that was asked for did.
    BackendUnavailable
        A GPU is asked for, and there is none that computes.
    """
    began = time.perf_counter()
    progress = progress or NoProgress()
    place = open_place(output)
    check_workers_see(place, 1 if run.workers is None else run.workers)
    manifest = read_manifest(inputs, root=root, kind=kind, classes=classes)
    if not manifest.rows:
        raise ManifestError(
            f"none of the {len(manifest.missing)} videos that {manifest.source} lists is under {manifest.root} "
            + (f"(first: {manifest.missing[0].key})" if manifest.missing else "")
            + "; say with --root where they are"
        )
    if (
        part is not None
    ):  # a part without a video is a store without rows: one of many jobs must not fail for it
        manifest = select(manifest, part)
    if dry_run:
        return _dry_run(place, manifest, config, device.settle(run, config, say), progress, began, say)
    if _existing(place) == "planned" and not run.overwrite:
        store = Store.open(place, incomplete=True)
        _check_same(store, config, manifest)
        if store.committed is not None and _all_files_there(store):
            return _report(store, manifest, began, already_complete=True)
    from vstats.pipeline.shard import label_config

    label_config(config)  # sizes and patterns that do not fit are refused before anything is written
    run = device.settle(run, config, say)
    place.prepare()
    with held(place) as lock:
        computed = _compute(place, manifest, config, run, StatusFile(place, progress), lock, say)
        lock.check()
        _commit(Store.open(place, incomplete=True), computed, began)
    return _report(Store.open(place), manifest, began, computed=computed)


def _compute(
    place: Place, manifest: Manifest, config: ExtractConfig, run: RunConfig, progress: Progress, lock: StoreLock,
    say: Callable[[str], None],
) -> int:  # fmt: skip
    """Plan what is not planned, compute what is not computed, and return how many rows were."""
    from vstats.pipeline import shards

    tally = Tally(run.tolerated(len(manifest.rows)))
    paths = [manifest.root, *([place.address] if isinstance(place, LocalPlace) else [])]
    planned = (
        Store.open(place, incomplete=True).plan
        if _existing(place) == "planned" and not run.overwrite
        else None
    )
    terms = device.terms_of(run, config.flow, planned.opencv_flow if planned else "")
    with open_executor(run, paths=paths, terms=terms, say=say) as executor:
        if run.overwrite:  # now that there is somebody to compute anew
            _remove_store(place)
        place.delete(stores.COMMIT)  # what was finished and is no longer whole is not finished
        if _existing(place) != "planned":
            # One expression: what probing found is not kept while shards are computed.
            write_plan(
                place,
                draft_plan(
                    manifest,
                    probe_all(manifest.rows, executor, progress, place, run, tally),
                    config,
                    run,
                ),
                manifest,
                config,
                executor.proofs,
            )
        else:
            store = Store.open(place, incomplete=True)
            _check_same(store, config, manifest)  # another run may have planned it before we held the lock
            tally.add(f.key for f in store.failures() if f.status == "failed" and not f.rows)
        shards.drop_damaged(Store.open(place, incomplete=True), progress)
        computed = 0
        for _ in range(3):
            now = shards.run_shards(place, executor, progress, run, lock, tally)
            if not now:  # looked through once more, and every shard's files are there
                return computed
            computed += now
    raise StoreError(f"{place}: shards that were written are gone again and again; check the disk")


def _dry_run(
    place: Place, manifest: Manifest, config: ExtractConfig, run: RunConfig, progress: Progress, began: float,
    say: Callable[[str], None],
) -> ExtractReport:  # fmt: skip
    """Estimate from a few videos, which takes seconds, then probe all of them as a run does, which may take hours."""
    if _existing(place) == "planned" and not run.overwrite:
        store = Store.open(place, incomplete=True)
        _check_same(store, config, manifest)
        return _report(store, manifest, began)
    expected = estimate(manifest, config, run, say)
    say(f"estimate: {expected}")
    say(
        f"now every video is decoded once, to count its rows: about {in_words(expected.seconds['probing'])}; "
        "`vstats doctor` with the same options ends with the estimate"
    )
    with open_executor(run, paths=[manifest.root]) as executor:
        tally = Tally(math.inf)
        probes = probe_all(manifest.rows, executor, progress, None, run, tally)
    return _dry_report(place, draft_plan(manifest, probes, config, run), manifest, config, expected, began)


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
    ours = {
        *(stores.PROBES, stores.ARRAYS, stores.LEDGER, stores.VIDEOS, stores.FAILURES, stores.MANIFEST),
        *stores.PASSING,
    }
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
        for folder in (stores.ARRAYS, stores.LEDGER, stores.PROBES):
            place.remove(folder)
        for name in (stores.VIDEOS, stores.FAILURES, stores.MANIFEST):
            place.delete(name)


def _check_same(store: Store, config: ExtractConfig, manifest: Manifest) -> None:
    found = store.plan.config.differences(config)
    if not found and store.plan.fingerprint != config.fingerprint():
        made = store.plan.versions.get("vstats", "?")
        found.append(f"labels: vstats {made} planned it, and this one defines some label otherwise")
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
    store: Store, manifest: Manifest, began: float, *, computed: int = 0, already_complete: bool = False
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
        notes=manifest.notes,
        damaged=_damaged(store.videos),
        expected_bytes=_bytes(store.plan.arrays, store.rows),
        computed_rows=computed,
        seconds=time.perf_counter() - began,
        already_complete=already_complete,
        unproven=store.unproven(),
    )


def _dry_report(
    place: Place, draft: Draft, manifest: Manifest, config: ExtractConfig, expected: Estimate, began: float
) -> ExtractReport:
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
        notes=manifest.notes,
        damaged=_damaged(draft.videos),
        expected_bytes=_bytes((*stores.INDEX, *row_arrays(config)), draft.rows),
        computed_rows=0,
        seconds=time.perf_counter() - began,
        estimate=expected,
    )


def _bytes(arrays: Sequence[ArrayRecord], rows: int) -> int:
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
