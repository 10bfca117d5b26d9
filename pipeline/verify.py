"""Is a store what was committed, and does the same input still give the same labels?"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vstats.pipeline import device
from vstats.pipeline import store as stores
from vstats.pipeline.config import RunConfig
from vstats.pipeline.errors import NotAStore, NotCommitted, StoreError, WorkerError
from vstats.pipeline.execute import Lost, open_executor
from vstats.pipeline.place import Place, check_workers_see, open_place
from vstats.pipeline.plan import ShardTask
from vstats.pipeline.progress import NoProgress, Progress
from vstats.pipeline.shards import for_run, rows_task
from vstats.pipeline.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as committed: where (a file, an array or a row), and what is wrong with it."""

    where: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was checked, and what was found; no finding means that the store is whole.

    `unproven` is what `Store.unproven` says of those who made it.
    """

    store: str
    digest: str
    files: int
    bytes: int
    rows_recomputed: int
    videos_recomputed: int
    findings: tuple[Finding, ...]
    unproven: tuple[str, ...] = ()


def verify(
    path: str | Path,
    *,
    recompute_percent: float = 0.0,
    root: str | None = None,
    run: RunConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> VerifyReport:
    """Check every file and digest of a store; decode and compute part of it again and compare bits.

    Parameters
    ----------
    path : path or URL
        A finished store.
    recompute_percent : float
        Share of the videos to compute again, 0 to 100; at least one when above 0.
    root : str, optional
        Where the videos are now; default: where they were when planned.
    run : RunConfig, optional
        How to compute; by default in this process.
    seed : int
        Chooses which videos are computed again.
    progress : Progress, optional
        Is told how far the work is.
    say : callable, optional
        Is told what a person would want to know, such as why a GPU is not used.

    Raises
    ------
    BackendUnavailable
        A GPU is asked for, and there is none that computes.
    NotAStore, NotCommitted
        There is no finished store at `path`.
    Unproven
        A process that computes gives other bits on known clips than it must, and `run` does not go on all the same.
    """
    run = run or RunConfig()
    place = open_place(path)
    check_workers_see(place, 1 if run.workers is None else run.workers)
    progress = progress or NoProgress()
    try:
        store = Store.open(place)
    except (NotAStore, NotCommitted):
        raise
    except StoreError as error:
        return _report(place, "", 0, 0, [Finding(where=str(place), message=str(error))])
    if recompute_percent > 0:
        run = device.settle(run, store.plan.config, say)
    findings, files, size = _check_files(store)
    if not findings:
        findings = _check_roots(store)
    rows = videos = 0
    if recompute_percent > 0 and not findings:
        tasks = list(_recompute_tasks(store, recompute_percent, seed, root))
        videos = len({video.record.key for task in tasks for video in task.videos})
        progress.start("recomputing", sum(t.stop - t.start for t in tasks), "clip")
        tasks = [for_run(task, run) for task in tasks]
        terms = device.terms_of(run, store.plan.config.flow, store.plan.opencv_flow)
        with open_executor(run, terms=terms, say=say) as executor:
            for outcome in executor.run(recompute, tasks):
                if isinstance(outcome, Lost):
                    raise WorkerError(
                        f"workers die on {outcome.task.videos[0].record.key}; verify it with --workers 0 to see why"
                    )
                task_rows, found = outcome
                rows += task_rows
                findings.extend(found)
                progress.advance(task_rows, len(found))
        progress.finish()
    return _report(place, store.digest, files, size, findings, rows, videos, store.unproven())


def recompute(task: ShardTask) -> tuple[int, list[Finding]]:
    """Compute rows again, and return their number and every array of every row that comes out otherwise."""
    from vstats.pipeline.shard import compute_rows

    store = Store.open(task.store)
    computed = compute_rows(task)
    reasons = {row: failure.message for failure in computed.failures for row in failure.rows}
    findings = []
    for name, value in computed.values.items():
        stored = store.read(name, task.start, task.stop)
        same = (_row_bits(stored) == _row_bits(value)).all(axis=1)
        for offset in np.flatnonzero(~same).tolist():
            row = task.start + offset
            was, now = _brief(stored[offset]), _brief(value[offset])
            message = f"{name}: the store holds {was}, computing again gives {now}"
            reason = reasons.get(row)
            findings.append(
                Finding(
                    where=f"row {row} ({_key_of(task, row)})",
                    message=f"{message}: {reason}" if reason else message,
                )
            )
    return task.stop - task.start, findings


def _check_files(store: Store) -> tuple[list[Finding], int, int]:
    assert store.committed is not None
    try:
        content = store.place.read(stores.MANIFEST)
    except StoreError as error:
        return [Finding(where=stores.MANIFEST, message=f"cannot be read: {error}")], 0, 0
    if hashlib.sha256(content).hexdigest() != store.committed["manifest_sha256"]:
        return (
            [Finding(where=stores.MANIFEST, message="is damaged: its sha256 is not the one in COMMIT.json")],
            0,
            0,
        )
    findings: list[Finding] = []
    pairs = (line.partition("  ") for line in content.decode().splitlines())
    listed = {name: sha256 for sha256, _, name in pairs}
    sizes = store.file_sizes()
    size = 0
    there = stores.file_digests(store.place, [name for name in listed if name in sizes])
    for name, sha256 in listed.items():
        if name not in there:
            findings.append(Finding(where=name, message="is missing"))
        elif there[name] != sha256:
            findings.append(
                Finding(where=name, message="is damaged: its bytes are not those that were written")
            )
        else:
            size += sizes[name]
    for name in sorted(sizes.keys() - listed.keys()):
        findings.append(Finding(where=name, message="does not belong to the store"))
    return findings, len(listed), size


def _check_roots(store: Store) -> list[Finding]:
    assert store.committed is not None
    committed: dict[str, str] = store.committed["roots"]
    computed = store.compute_roots()
    names = sorted({*committed, *computed})
    findings = [
        Finding(where=name, message="its digest is not the one in COMMIT.json")
        for name in names
        if committed.get(name) != computed.get(name)
    ]
    if not findings and stores.root_of_roots(computed) != store.digest:
        findings.append(Finding(where=stores.COMMIT, message="its digest is not that of its arrays"))
    return findings


def _recompute_tasks(store: Store, percent: float, seed: int, root: str | None) -> Iterator[ShardTask]:
    owners = store.read("index/video")
    with_rows = np.unique(owners).tolist()
    wanted = min(len(with_rows), math.ceil(len(with_rows) * percent / 100))

    def draw(video: int) -> bytes:
        return hashlib.sha256(f"{seed}\0{store.videos[video].key}".encode()).digest()

    for video in sorted(sorted(with_rows, key=draw)[:wanted]):
        first, last = np.searchsorted(owners, [video, video + 1]).tolist()
        for start in range(first, last, store.plan.shard_size):
            yield rows_task(store, -1, start, min(last, start + store.plan.shard_size), root=root)


def _row_bits(value: stores.Array) -> stores.Array:
    return np.ascontiguousarray(value).reshape(len(value), -1).view(np.uint8)


def _brief(value: stores.Array) -> str:
    flat = np.asarray(value).ravel().tolist()
    return str(flat if len(flat) <= 8 else f"{flat[:8]} ...")


def _key_of(task: ShardTask, row: int) -> str:
    position = row - task.start
    for video in task.videos:
        if position < len(video.rows):
            return video.record.key
        position -= len(video.rows)
    return "?"


def _report(
    place: Place, digest: str, files: int, size: int, findings: list[Finding], rows: int = 0, videos: int = 0,
    unproven: tuple[str, ...] = (),
) -> VerifyReport:  # fmt: skip
    return VerifyReport(
        store=str(place),
        digest=digest,
        files=files,
        bytes=size,
        rows_recomputed=rows,
        videos_recomputed=videos,
        findings=tuple(findings),
        unproven=unproven,
    )
