"""Finished stores of one configuration become one store, with the rows and the digest of a one-piece extraction.

Rows are ordered by the bytes of their videos' keys, as a plan orders them, so the rows of a merged shard are one short
run of rows in each source: shards are made one after another, each in the memory of one. The protocol is that of an
extraction: ``parts.json`` and the plan first, then shards with receipts, the commit last; the same command goes on
after a kill. Every source file is compared with its store's manifest when it is read.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.durable import seal, unseal
from vstats.pipeline.errors import ConfigMismatch, StoreError, UsageError
from vstats.pipeline.lock import StoreLock, held
from vstats.pipeline.manifest import Manifest, manifest_digest, path_of_key
from vstats.pipeline.place import LocalPlace, Place, open_place
from vstats.pipeline.plan import automatic_shard_size
from vstats.pipeline.progress import NoProgress, Progress
from vstats.pipeline.provenance import machine, versions
from vstats.pipeline.records import ArrayRecord, Failure, ManifestRow, VideoRecord
from vstats.pipeline.shards import drop_damaged
from vstats.pipeline.status import StatusFile
from vstats.pipeline.store import Array, ShardReceipt, Store

PARTS = "parts.json"
"""What a merged store was made of, and who made each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """What a merge did.

    `videos` counts the store's videos by status, `failed` those that failed, whole or in some rows; `merged_rows` and
    `seconds` are of this run.
    `notes` are differences of the sources that change no value.
    """

    store: str
    digest: str
    sources: int
    rows: int
    labelled: int
    shards: int
    shard_size: int
    videos: dict[str, int]
    failed: int
    merged_rows: int
    seconds: float
    notes: tuple[str, ...]
    already_complete: bool = False


def merge(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    shard_size: int = 0,
    root: str | None = None,
    mend: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Join finished stores into the store at `output`, continuing where an earlier run stopped.

    Parameters
    ----------
    sources : sequence of path or URL
        Finished stores of one configuration that have no video in common.
    output : path or URL
        The new store's folder, or where it goes on object storage.
    shard_size : int
        Rows a shard; 0 chooses as `extract` does.
    root : str, optional
        What the new store states as the folder that keys are relative to; default: the first source's.
    mend : bool
        Where two sources hold a video, take it from the later one instead of refusing; the new store is said to come
        from the first one's input.
    progress : Progress, optional
        Is told how far the work is.

    Raises
    ------
    NotAStore, NotCommitted
        A source is not there, or not finished.
    ConfigMismatch
        The sources have different configurations, or `output` was planned from other sources.
    UsageError
        The sources overlap, or something else stands at `output`.
    StoreBusy
        Another process is writing the store at `output`.
    StoreError
        A source is damaged, or the disk refused.
    """
    began = time.perf_counter()
    progress = progress or NoProgress()
    place = open_place(output)
    if _identity(place) in [_identity(open_place(source)) for source in sources]:
        raise UsageError(f"{place} is one of the stores to merge; -o takes a new folder")
    opened = [Source(source) for source in sources]
    _check_alike(opened)
    layout = Layout(opened, mend=mend)
    plan = _plan(opened, layout, shard_size, root, mend=mend)
    notes = _notes(opened, root)
    if _is_planned(place, plan, opened, chosen_size=bool(shard_size)):
        store = Store.open(place, incomplete=True)
        if store.committed is not None:
            return _report(store, opened, began, notes, already_complete=True)
    place.prepare()
    with held(place) as lock:
        if not _is_planned(place, plan, opened, chosen_size=bool(shard_size)):
            _write_plan(place, plan, opened, layout)
        store = Store.open(place, incomplete=True)
        merged = _merge_shards(store, opened, layout, StatusFile(place, progress), lock)
        lock.check()
        _commit(store, layout, merged, began)
    return _report(Store.open(place), opened, began, notes, merged=merged)


def _identity(place: Place) -> str:
    return str(place.path.resolve()) if isinstance(place, LocalPlace) else str(place)


# ---------------------------------------------------------------------------------------------------- sources


class Source:
    """A finished store to read from: a file is compared with the store's manifest before it is first used."""

    def __init__(self, path: str | Path) -> None:
        self.store = Store.open(path)
        self.name = str(self.store.place)
        self._checked: set[str] = set()
        self._sha256 = self._manifest()
        # Of each array the last shard that was read: the next merged shard goes on in the same one.
        self._blocks: dict[str, tuple[int, Array]] = {}
        self._receipt: ShardReceipt | None = None
        for name in self._sha256:
            if not name.startswith((f"{stores.LEDGER}/", f"{stores.ARRAYS}/")) or name.endswith("zarr.json"):
                self._check(name)

    @property
    def facts(self) -> dict[str, Any]:
        """What there is to say about this store as a part of another."""
        plan, committed = self.store.plan, self.store.committed or {}
        names = ("rows", "root", "source", "kind", "input_sha256", "versions", "machine", "planned_at")
        kept = ("labelled", "worker_seconds", "committed_at")
        return {
            "store": self.name.rpartition("/")[2],
            "digest": self.store.digest,
            "videos": len(self.store.videos),
            **{name: getattr(plan, name) for name in names},
            **{name: committed[name] for name in kept if name in committed},
        }

    def parts(self) -> list[dict[str, Any]]:
        """Return the facts of what this store was merged from, or its own."""
        if PARTS not in self._sha256:
            return [self.facts]
        parts: list[dict[str, Any]] = self._unsealed(PARTS)["parts"]
        return parts

    def read(self, array: ArrayRecord, rows: Array) -> Array:
        """Return the values of `rows`, ascending."""
        plan = self.store.plan
        pieces = [np.empty((0, *array.shape), array.dtype)]
        size = stores.rows_a_file(array, plan)
        files, firsts = np.unique(rows // size, return_index=True)
        for file, mine in zip(files.tolist(), np.split(rows, firsts[1:]), strict=False):
            if array.kind == "pixels":  # pixels: a row is a chunk, and a shard of them is large
                self._check_file(array, file)
                start = int(mine[0])
                block = self.store.read(array.name, start, int(mine[-1]) + 1)
            else:
                start = file * size
                block = self._block(array, file, start, min(plan.rows, start + size))
            pieces.append(block[mine - start])
        return np.concatenate(pieces)

    def receipts(self, rows: Array) -> Iterator[ShardReceipt]:
        """Yield the receipts of the shards that `rows` are in."""
        for shard in np.unique(rows // self.store.plan.shard_size).tolist():
            if self._receipt is None or self._receipt.shard != shard:
                name = stores.receipt_name(shard)
                self._check(name)
                self._receipt = ShardReceipt.from_json(self._unsealed(name))
            yield self._receipt

    def _block(self, array: ArrayRecord, file: int, start: int, stop: int) -> Array:
        last, block = self._blocks.get(array.name, (-1, np.empty(0)))
        if last != file:
            self._check_file(array, file)
            block = self.store.read(array.name, start, stop)
            self._blocks[array.name] = (file, block)
        return block

    def _check_file(self, array: ArrayRecord, file: int) -> None:
        self._check(f"{stores.ARRAYS}/{array.name}/c.{file}" + ".0" * len(array.shape))

    def _check(self, name: str) -> None:
        if name in self._checked:
            return
        if self.store.place.sha256(name) != self._sha256.get(name):
            where = self.store.place.where(name)
            raise StoreError(f"{where} is damaged: its bytes are not those that were written{_MEND}")
        self._checked.add(name)

    def _unsealed(self, name: str) -> dict[str, Any]:
        return unseal(self.store.place.read(name), self.store.place.where(name))

    def _manifest(self) -> dict[str, str]:
        content = self.store.place.read(stores.MANIFEST)
        assert self.store.committed is not None
        if hashlib.sha256(content).hexdigest() != self.store.committed["manifest_sha256"]:
            where = self.store.place.where(stores.MANIFEST)
            raise StoreError(f"{where} is damaged: its sha256 is not the one in {stores.COMMIT}{_MEND}")
        lines = (line.partition("  ") for line in content.decode().splitlines())
        return {name: sha256 for sha256, _, name in lines}


_MEND = "; `vstats verify` names all that is, and says how to mend it"


def _check_alike(opened: Sequence[Source]) -> None:
    first = opened[0]
    for other in opened[1:]:
        plans = first.store.plan, other.store.plan
        found = plans[0].config.differences(plans[1].config)
        mine, theirs = ({array.name: array for array in plan.arrays} for plan in plans)
        odd = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        if odd and not found:
            found.append(f"arrays: {', '.join(odd)}")
        if found:
            raise ConfigMismatch(
                f"{first.name} and {other.name} cannot be merged: they were extracted differently:\n  "
                + "\n  ".join(found)
            )
    for source in opened:
        config: ExtractConfig = source.store.plan.config
        if source.store.plan.fingerprint != config.fingerprint():
            raise ConfigMismatch(
                f"{source.name} holds labels of another version: vstats "
                f"{source.store.plan.versions.get('vstats', '?')} made it, and this one defines some label otherwise. "
                "Merge with the vstats that extracted the parts, or extract them anew"
            )


def _notes(opened: Sequence[Source], root: str | None) -> tuple[str, ...]:
    plans = [source.store.plan for source in opened]
    notes = []
    if len({plan.root for plan in plans}) > 1:
        notes.append(
            f"the parts were extracted under {len({plan.root for plan in plans})} roots; the store states "
            f"{root or plans[0].root} (verify --root takes another)"
        )
    for name in sorted({name for plan in plans for name in plan.versions}):
        found = sorted({plan.versions.get(name, "none") for plan in plans})
        if len(found) > 1:
            notes.append(f"the parts were planned with different versions of {name}: {', '.join(found)}")
    if len({plan.opencv_flow for plan in plans}) > 1:
        notes.append("the parts were computed on CPUs of several kinds, and OpenCV's flow depends on the CPU")
    return tuple(notes)


# --------------------------------------------------------------------------------------------------- planning


class Layout:
    """Where the videos and rows of the merged store stand in its sources."""

    def __init__(self, opened: Sequence[Source], *, mend: bool) -> None:
        chosen: dict[str, tuple[int, int]] = {}
        overlaps: dict[tuple[int, int], list[str]] = {}
        for number, source in enumerate(opened):
            for video, key in enumerate(source.store.keys()):
                if key in chosen and not mend:
                    overlaps.setdefault((chosen[key][0], number), []).append(key)
                chosen[key] = number, video
        for (a, b), keys in overlaps.items():
            raise UsageError(
                f"{opened[a].name} and {opened[b].name} cannot be merged: both hold {len(keys)} videos "
                f"(first: {keys[0]})"
            )
        ids = [np.full(len(source.store.videos), -1, np.int64) for source in opened]
        self.videos: list[VideoRecord] = []
        for key in sorted(chosen, key=lambda key: key.encode()):
            number, video = chosen[key]
            ids[number][video] = len(self.videos)
            self.videos.append(opened[number].store.videos[video])
        self.kept = [
            {source.store.videos[video].key for video in np.flatnonzero(mine >= 0).tolist()}
            for source, mine in zip(opened, ids, strict=True)
        ]
        counts = [np.array([video.rows for video in source.store.videos], np.int64) for source in opened]
        owners = [np.repeat(mine, count) for mine, count in zip(ids, counts, strict=True)]
        self._starts = np.cumsum([0, *(len(mine) for mine in owners)])
        owner = np.concatenate(owners)
        kept = np.flatnonzero(owner >= 0)
        self._order = kept[np.argsort(owner[kept], kind="stable")]
        self._owner = owner[self._order]

    @property
    def rows(self) -> int:
        """Rows of the merged store."""
        return len(self._order)

    def origin(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return for merged rows `start` to `stop` (excluded) the source of each, and its row there."""
        order = self._order[start:stop]
        source = np.searchsorted(self._starts, order, side="right") - 1
        return source, order - self._starts[source]

    def index(self, opened: Sequence[Source]) -> dict[str, Array]:
        """Return the merged index arrays."""
        columns: dict[str, Array] = {}
        for array in stores.INDEX:
            whole = [source.read(array, np.arange(source.store.rows)) for source in opened]
            columns[array.name] = np.concatenate(whole)[self._order]
        columns["index/video"] = self._owner.astype(columns["index/video"].dtype)
        return columns


def _plan(
    opened: Sequence[Source], layout: Layout, shard_size: int, root: str | None, *, mend: bool
) -> stores.Plan:
    first = opened[0].store.plan
    asked = opened[:1] if mend else opened
    base = root or first.root
    return stores.Plan(
        config=first.config,
        rows=layout.rows,
        shard_size=shard_size or automatic_shard_size(layout.rows, first.config),
        root=base,
        source=", ".join(dict.fromkeys(source.store.plan.source for source in asked)),
        kind="+".join(dict.fromkeys(source.store.plan.kind for source in asked)),
        input_sha256=manifest_digest(manifest_of(layout.videos, base)),
        arrays=first.arrays,
        versions=versions(),
        machine=stores.with_unproven(
            machine(), (one for source in opened for one in source.store.unproven())
        ),
        planned_at=_now(),
        opencv_flow=" | ".join(dict.fromkeys(_opencv_flows(opened))),
    )


def _opencv_flows(opened: Sequence[Source]) -> list[str]:
    stated = (source.store.plan.opencv_flow for source in opened)
    return [one for flows in stated for one in flows.split(" | ") if one]


def manifest_of(videos: Sequence[VideoRecord], root: str) -> Manifest:
    """Return the manifest that asks for these videos, as it was when they were planned."""
    found: list[ManifestRow] = []
    missing: list[ManifestRow] = []
    for video in videos:
        row = ManifestRow(
            key=video.key,
            path=str(Path(root) / path_of_key(video.key)),
            label=video.label,
            class_name=video.class_name,
            start_frames=tuple(map(int, video.start_frames.split())) or None,
        )
        (missing if video.status == "missing" else found).append(row)
    return Manifest(source="", kind="store", root=root, rows=tuple(found), missing=tuple(missing))


def _is_planned(place: Place, plan: stores.Plan, opened: Sequence[Source], *, chosen_size: bool) -> bool:
    """Say whether this merge is planned at `place` already; raise if something else stands there."""
    if isinstance(place, LocalPlace) and place.path.is_file():
        raise UsageError(f"{place} is a file; -o takes the folder of a store, such as all.vstats")
    names = {name for name in place.entries() or () if not name.endswith(".partial")}
    if stores.PLAN not in names:
        # parts.json is written first: files of a store without it are somebody's extraction.
        ours = {*stores.PASSING}
        if PARTS in names:
            ours |= {PARTS, stores.ARRAYS, stores.LEDGER, stores.VIDEOS, stores.FAILURES}
        if names - ours:
            raise UsageError(
                f"{place} is not empty and no merge of these stores (it holds {min(names - ours)}); "
                "choose another folder"
            )
        return False
    there = Store.open(place, incomplete=True).plan
    made_of = unseal(place.read(PARTS), place.where(PARTS))["sources"] if PARTS in names else None
    found = there.config.differences(plan.config)
    if made_of is None:
        found.append("it is no merge")
    elif made_of != _digests(opened):
        found.append(
            f"sources: {len(set(made_of) - set(_digests(opened)))} of its {len(made_of)} are not among these"
        )
    if (there.rows, there.input_sha256) != (plan.rows, plan.input_sha256):
        found.append(f"rows or videos: {there.rows} rows -> {plan.rows}")
    if chosen_size and there.shard_size != plan.shard_size:
        found.append(f"shard size: {there.shard_size} -> {plan.shard_size}")
    if found:
        raise ConfigMismatch(
            f"{place} holds another store:\n  "
            + "\n  ".join(found)
            + "\nChoose another -o, or remove it first"
        )
    return True


def _write_plan(place: Place, plan: stores.Plan, opened: Sequence[Source], layout: Layout) -> None:
    place.prepare()
    parts = [part for source in opened for part in source.parts()]
    place.write(PARTS, seal({"format": "vstats-parts", "sources": _digests(opened), "parts": parts}))
    stores.plan_store(place, plan, layout.index(opened), layout.videos, _without_rows(opened, layout))


def _digests(opened: Sequence[Source]) -> list[str]:
    return sorted(source.store.digest for source in opened)


def _without_rows(opened: Sequence[Source], layout: Layout) -> list[Failure]:
    return [
        failure
        for source, kept in zip(opened, layout.kept, strict=True)
        for failure in source.store.failures()
        if not failure.rows and failure.key in kept
    ]


# ----------------------------------------------------------------------------------------------------- shards


def _merge_shards(
    store: Store, opened: Sequence[Source], layout: Layout, progress: Progress, lock: StoreLock
) -> int:
    plan = store.plan
    drop_damaged(store, progress)
    finished = {receipt.shard for receipt in store.receipts()}
    todo = [shard for shard in range(plan.shards) if shard not in finished]
    left = sum(stop - start for start, stop in map(plan.shard_rows, todo))
    progress.start("merging", plan.rows, "row", done=plan.rows - left)
    for shard in todo:
        receipt = _merge_shard(store, shard, opened, layout)
        lock.check()
        progress.advance(receipt.stop - receipt.start, receipt.stop - receipt.start - receipt.labelled)
    progress.finish()
    return left


def _merge_shard(store: Store, shard: int, opened: Sequence[Source], layout: Layout) -> ShardReceipt:
    began = time.perf_counter()
    start, stop = store.plan.shard_rows(shard)
    origin, rows = layout.origin(start, stop)
    used = np.unique(origin).tolist()
    files: dict[str, tuple[str, int]] = {}
    row_sha256: dict[str, tuple[str, ...]] = {}
    small: dict[str, Array] = {}
    for array in store.plan.arrays:
        if array in stores.INDEX:
            continue
        value = np.empty((stop - start, *array.shape), array.dtype)
        for number in used:
            value[origin == number] = opened[number].read(array, rows[origin == number])
        if array.kind == "pixels":  # pixels, of which one array at a time is enough in memory
            files |= stores.write_rows(store.place, shard, start, {array.name: value})
            row_sha256 |= stores.row_digests({array.name: value}, [array])
        else:
            small[array.name] = value
    files |= stores.write_rows(store.place, shard, start, small)
    failures: list[Failure] = []
    made_by: list[ShardReceipt] = []
    for number in used:
        mine = np.flatnonzero(origin == number)
        renumbered = dict(zip(rows[mine].tolist(), (start + mine).tolist(), strict=True))
        for receipt in opened[number].receipts(rows[mine]):
            made_by.append(receipt)
            for failure in receipt.failures:
                here = tuple(renumbered[row] for row in failure.rows if row in renumbered)
                if here:
                    failures.append(replace(failure, rows=here))
    merged = ShardReceipt(
        shard=shard,
        start=start,
        stop=stop,
        plan_sha256=store.plan_sha256,
        files=files,
        row_sha256=row_sha256,
        labelled=int((small[stores.STATUS.name] == stores.STATUS_OK).sum()),
        failures=tuple(failures),
        seconds={"merge": round(time.perf_counter() - began, 6)},
        versions=_joined(receipt.versions for receipt in made_by),
        machine=_joined(receipt.machine for receipt in made_by),
    )
    stores.write_receipt(store.place, merged)
    return merged


def _joined(facts: Iterator[dict[str, str]]) -> dict[str, str]:
    """Return who computed a shard's rows; where several did, their values with a bar between."""
    found: dict[str, dict[str, None]] = {}
    for one in facts:
        for name, value in one.items():
            found.setdefault(name, {}).update(dict.fromkeys(value.split(" | ")))
    return {name: " | ".join(values) for name, values in found.items()}


def _commit(store: Store, layout: Layout, merged: int, began: float) -> None:
    failures = [failure for failure in store.failures() if not failure.rows]
    labelled = 0
    seconds = 0.0
    for receipt in store.receipts():
        labelled += receipt.labelled
        failures.extend(receipt.failures)
        seconds += receipt.seconds["merge"]
    facts = {
        "rows": store.rows,
        "labelled": labelled,
        "worker_seconds": {"merge": round(seconds, 3)},
        "last_run": {"rows": merged, "seconds": round(time.perf_counter() - began, 3)},
        "committed_at": _now(),
    }
    stores.commit(store, layout.videos, failures, facts)


def _report(
    store: Store, opened: Sequence[Source], began: float, notes: tuple[str, ...], *, merged: int = 0,
    already_complete: bool = False,
) -> MergeReport:  # fmt: skip
    assert store.committed is not None
    statuses = [video.status for video in store.videos]
    return MergeReport(
        store=str(store.place),
        digest=store.digest,
        sources=len(opened),
        rows=store.rows,
        labelled=int(store.committed["labelled"]),
        shards=store.plan.shards,
        shard_size=store.plan.shard_size,
        videos={status: statuses.count(status) for status in sorted(set(statuses))},
        failed=len({failure.key for failure in store.failures() if failure.status == "failed"}),
        merged_rows=merged,
        seconds=time.perf_counter() - began,
        notes=notes,
        already_complete=already_complete,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
