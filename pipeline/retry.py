"""Failed videos computed again: what is mended takes its place in the store, everything else stays as it is.

Beside ``NAME.vstats`` works the folder ``NAME.vstats.retry``::

    videos.jsonl      the videos to compute again, as a list
    again.vstats      their extraction, resumable as any
    merged.vstats     the store without them, merged with their extraction: resumable too
    old.vstats        the store, moved aside

The exchange is two renames: the store to ``old.vstats``, ``merged.vstats`` to the store. Then the folder is renamed to
``NAME.vstats.retried`` and removed, so that a folder that is being removed is never taken for one at work. Whatever a
kill leaves behind, the names alone say how far it came, and the same command goes on from there.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vstats.pipeline import lock
from vstats.pipeline.config import RunConfig
from vstats.pipeline.durable import disk_refused, sync_folder
from vstats.pipeline.errors import ConfigMismatch, StoreError, UsageError
from vstats.pipeline.extract import extract
from vstats.pipeline.manifest import write_manifest
from vstats.pipeline.merge import manifest_of, merge
from vstats.pipeline.place import LocalPlace, open_place
from vstats.pipeline.progress import Progress
from vstats.pipeline.records import Failure, VideoRecord
from vstats.pipeline.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryReport:
    """What came of the videos that had failed.

    Parameters
    ----------
    store, digest : str
        The store, and its digest now.
    retried : int
        Videos computed again.
    mended : dict
        Key -> status of the videos among them that no longer fail.
    failing : tuple of Failure
        What still fails in the store.
    missing : int
        Listed videos that are still not on disk.
    """

    store: str
    digest: str
    retried: int
    mended: dict[str, str]
    failing: tuple[Failure, ...]
    missing: int


def retry_failed(
    store: str | Path, *, run: RunConfig, root: str | None = None, progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> RetryReport:  # fmt: skip
    """Compute again the videos of a finished store that failed, or were missing and are there now.

    The store ends with the digest of an extraction that found these videos whole from the start. Rows that the profile
    refuses to label are not tried again: they would be refused again.

    Parameters
    ----------
    store : path
        A finished store on a file system.
    run : RunConfig
        How to compute; the shard size stays the store's.
    root : str, optional
        Where the videos are now; default: where they were when planned.
    progress : Progress, optional
        Is told how far the work is.
    say : callable, optional
        Is told what a person would want to know, such as why a GPU is not used.

    Raises
    ------
    UsageError
        The store is on object storage, or the root is not there.
    NotAStore, NotCommitted
        There is no finished store.
    StoreBusy
        Another process retries the same store.
    StoreError
        The store is damaged, or the disk refused.
    """
    place = open_place(store)
    if not isinstance(place, LocalPlace):
        raise UsageError(
            f"{store} is on object storage, where a store cannot be renamed: copy it to a disk and retry there, or "
            "extract the failed videos to a store of their own"
        )
    work = _Workplace(place.path.resolve())  # a link to the store stays a link
    done = work.finish()
    if done is not None:
        return done
    before = Store.open(work.store)
    folder = root or before.plan.root
    if not Path(folder).is_dir():
        raise UsageError(f"{folder}, where the videos were, is not there; say with --root where they are now")
    chosen = _to_retry(before, folder)
    if not chosen:
        work.remove()
        return _report(before, [])
    with lock.held(LocalPlace(work.folder)):
        again = _extract_again(work, chosen, before, run, folder, progress, say)
        changed = _outcomes(chosen) != _outcomes(again.videos)
        if changed:
            _merge_again(work, before, folder, progress)
            if Store.open(work.store).digest != before.digest:
                raise StoreError(f"{work.store} has changed meanwhile; run the same command again")
            work.exchange()
    if not changed:
        work.remove()
        return _report(before, [video.key for video in chosen])
    done = work.finish()
    assert done is not None
    return done


def _to_retry(store: Store, folder: str) -> list[VideoRecord]:
    """Return the videos that failed or were missing, and that are there now."""
    wanted = {
        failure.key
        for failure in store.failures()
        if failure.status == "missing" or (failure.status == "failed" and failure.error != "RefusedRow")
    }
    videos = [video for video in store.videos if video.key in wanted]
    asked = manifest_of(videos, folder)
    there = {row.key for row in (*asked.rows, *asked.missing) if Path(row.path).is_file()}
    return [video for video in videos if video.key in there]


def _extract_again(
    work: "_Workplace", chosen: Sequence[VideoRecord], before: Store, run: RunConfig, folder: str,
    progress: Progress | None, say: Callable[[str], None],
) -> Store:  # fmt: skip
    # Each is asked for as found: a missing video is among them only if it has come back.
    listed = manifest_of([replace(video, status="planned") for video in chosen], folder)
    write_manifest(listed, work.listed)
    # These failed before: that they fail again says nothing of the installation.
    run = replace(run, shard_size=0, overwrite=False, max_failures="100%")
    for attempt in (run, replace(run, overwrite=True)):
        try:
            extract(
                [str(work.listed)], work.again, before.plan.config, attempt, root=folder, progress=progress, say=say
            )  # fmt: skip
            break
        except ConfigMismatch:  # left by a run that chose other videos
            if attempt.overwrite:
                raise
    return Store.open(work.again)


def _merge_again(work: "_Workplace", before: Store, folder: str, progress: Progress | None) -> None:
    for attempt in (1, 2):
        try:
            merge(
                [work.store, work.again], work.merged, shard_size=before.plan.shard_size, root=folder, mend=True,
                progress=progress,
            )  # fmt: skip
            return
        except ConfigMismatch:  # left by a run that chose other videos
            if attempt == 2:
                raise
            LocalPlace(work.merged).remove()


def _outcomes(videos: Sequence[VideoRecord]) -> dict[str, object]:
    """Return what a store says of videos without labels; None of one that has any."""
    return {v.key: (v.rows, v.sha256, v.frames, v.error) if v.status == "failed" else None for v in videos}


class _Workplace:
    """The store, the folder beside it, and the renames that exchange the old store for the new one."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.folder = store.with_name(f"{store.name}.retry")
        self.spent = store.with_name(f"{store.name}.retried")
        self.listed = self.folder / "videos.jsonl"
        self.again = self.folder / "again.vstats"
        self.merged = self.folder / "merged.vstats"
        self.old = self.folder / "old.vstats"

    def exchange(self) -> None:
        """Move the old store aside; from here on `finish` goes only forward."""
        self._rename(self.store, self.old)

    def finish(self) -> RetryReport | None:
        """Finish an exchange that has begun, and report it; None where none has."""
        self._remove_spent()
        if not self.old.exists():
            return None
        if not self.store.exists():
            self._rename(self.merged, self.store)
        retried = Store.open(self.again).keys()
        report = _report(Store.open(self.store), retried)
        self.remove()
        return report

    def remove(self) -> None:
        """Remove the folder, all at once to those who look."""
        if self.folder.exists():
            self._rename(self.folder, self.spent)
            self._remove_spent()

    def _remove_spent(self) -> None:
        try:
            with suppress(FileNotFoundError):
                shutil.rmtree(self.spent)
        except OSError as error:
            raise disk_refused(self.spent, error) from error

    def _rename(self, old: Path, new: Path) -> None:
        try:
            old.rename(new)
            for folder in {old.parent, new.parent}:
                sync_folder(folder)
        except OSError as error:
            raise disk_refused(old, error) from error


def _report(store: Store, retried: Sequence[str]) -> RetryReport:
    failures = store.failures()
    bad = {failure.key for failure in failures if failure.status in ("failed", "missing")}
    statuses = {video.key: video.status for video in store.videos}
    return RetryReport(
        store=str(store.place),
        digest=store.digest,
        retried=len(retried),
        mended={key: statuses[key] for key in retried if key not in bad},
        failing=tuple(failure for failure in failures if failure.status == "failed"),
        missing=sum(1 for status in statuses.values() if status == "missing"),
    )
