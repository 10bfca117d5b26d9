"""All the shards of a store: their tasks, running those that are missing, and what becomes of the lost and the damaged."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vstats.pipeline import store as stores
from vstats.pipeline.config import RunConfig
from vstats.pipeline.device import decoders
from vstats.pipeline.errors import WorkerError
from vstats.pipeline.execute import Executor, Lost
from vstats.pipeline.failures import TRIED, Tally, Trial
from vstats.pipeline.lock import StoreLock
from vstats.pipeline.manifest import path_of_key
from vstats.pipeline.place import Place, each
from vstats.pipeline.plan import ShardTask, VideoRows
from vstats.pipeline.progress import Progress
from vstats.pipeline.records import PlannedRow
from vstats.pipeline.shard import compute_rows, run_shard
from vstats.pipeline.store import ShardReceipt, Store


def run_shards(
    place: Place, executor: Executor, progress: Progress, run: RunConfig, lock: StoreLock, tally: Tally
) -> int:
    """Compute shards that have no receipt yet, as a rule all, and return the number of their rows.

    Raises
    ------
    StoreError
        The disk refused, or another process took the store over.
    WorkerError
        Workers die on a shard and no video of it is to blame.
    TooManyFailures
        More videos failed than the run tolerates.
    SystematicFailure
        The first `TRIED` videos fail in the same way (all, if they are fewer; two at least): their shards stay to be
        computed. Not where an earlier run could label some, nor where `run` says how many may fail.
    """
    store = Store.open(place, incomplete=True)
    finished = set()
    fine = False
    for receipt in store.receipts():
        finished.add(receipt.shard)
        tally.add(failure.key for failure in receipt.failures)
        fine |= _could_label(receipt)
    trial = Trial(watching=not fine and not run.max_failures)
    todo = [shard for shard in range(store.plan.shards) if shard not in finished]
    if not todo:
        return 0
    left = sum(stop - start for start, stop in map(store.plan.shard_rows, todo))
    progress.start("labelling", store.rows, "clip", done=store.rows - left)

    def count(receipt: ShardReceipt) -> None:
        rows = receipt.stop - receipt.start
        progress.advance(rows, rows - receipt.labelled)
        trial.add(((f.key, f.stage, f.message) for f in receipt.failures), succeeded=_could_label(receipt))
        tally.add(failure.key for failure in receipt.failures)
        computed[receipt.shard] = rows

    computed: dict[int, int] = {}
    lost: list[Lost[ShardTask]] = []
    tasks = itertools.takewhile(lambda _: trial.tried < TRIED, shard_tasks(store, todo, run))
    for outcome in executor.run(run_shard, tasks):
        lock.check()
        if isinstance(outcome, Lost):
            lost.append(outcome)
        else:
            count(outcome)
    for outcome in executor.run(run_shard, [_without_culprits(one, executor) for one in lost]):
        lock.check()
        if isinstance(outcome, Lost):
            task = outcome.task
            raise WorkerError(
                f"workers die on rows {task.start} to {task.stop - 1} (videos {', '.join(v.record.key for v in task.videos)}) "
                "and no single video is to blame; give workers more memory, or smaller shards, and run again"
            )
        count(outcome)
    progress.finish()
    if trial.tried:
        for shard in computed:  # it is still to be computed
            place.delete(stores.receipt_name(shard))
        raise trial.error()
    return sum(computed.values())


def _could_label(receipt: ShardReceipt) -> bool:
    """Return whether a shard has a row that was labelled, or could have been but for its profile."""
    return bool(receipt.labelled) or any(failure.error == "RefusedRow" for failure in receipt.failures)


def _without_culprits(lost: Lost[ShardTask], executor: Executor) -> ShardTask:
    """Compute the videos of a lost shard one by one, and return its task with those condemned that kill workers."""
    task = lost.task
    trials = []
    start = task.start
    for video in task.videos:
        stop = start + len(video.rows)
        trials.append(replace(task, start=start, stop=stop, videos=(video,)))
        start = stop
    culprits = [
        each.task.videos[0].record.key for each in executor.run(_try, trials) if isinstance(each, Lost)
    ]
    why = f"workers died on it {lost.deaths} times; it may need more memory than --worker-memory allows"
    return replace(task, condemned=tuple((key, why) for key in culprits))


def _try(task: ShardTask) -> None:
    compute_rows(task)


def shard_tasks(store: Store, shards: Sequence[int], run: RunConfig) -> Iterator[ShardTask]:
    """Yield the tasks of `shards`, each with its rows grouped by video."""
    index = {array.name: store.read(array.name) for array in stores.INDEX}
    for shard in shards:
        start, stop = store.plan.shard_rows(shard)
        rows = stores.planned_rows({name: column[start:stop] for name, column in index.items()})
        yield for_run(_task(store, shard, start, stop, rows, store.plan.root), run)


def for_run(task: ShardTask, run: RunConfig) -> ShardTask:
    """Return the task with what its worker needs to know of a settled run."""
    return replace(
        task, decode=run.decode_limits, device=run.device, decoders=decoders(run), unproven=run.unproven
    )


def rows_task(store: Store, shard: int, start: int, stop: int, *, root: str | None = None) -> ShardTask:
    """Return the task of rows `start` to `stop` (excluded), with videos under `root` or where they were planned."""
    return _task(store, shard, start, stop, store.planned_rows(start, stop), root or store.plan.root)


def _task(
    store: Store, shard: int, start: int, stop: int, rows: Sequence[PlannedRow], root: str
) -> ShardTask:
    grouped: dict[int, list[PlannedRow]] = {}
    for row in rows:
        grouped.setdefault(row.video, []).append(row)
    videos = tuple(
        VideoRows(
            path=str(Path(root) / path_of_key(store.videos[number].key)),
            record=store.videos[number],
            rows=tuple(mine),
        )
        for number, mine in grouped.items()
    )
    return ShardTask(
        store=store.place.address, shard=shard, start=start, stop=stop, videos=videos, config=store.plan.config,
        plan_sha256=store.plan_sha256, opencv_flow=store.plan.opencv_flow,
    )  # fmt: skip


def drop_damaged(store: Store, progress: Progress) -> None:
    """Remove the receipts of shards that earlier runs finished and whose files are no longer what was written.

    A shard that this run writes was read back by whoever wrote it.
    """
    place = store.place
    owners = {
        name: (receipt.shard, sha256)
        for receipt in store.receipts()
        for name, (sha256, _) in receipt.files.items()
    }
    if not owners:
        return
    progress.start("checking", len(owners), "file")
    damaged = set()
    for found, (shard, sha256) in zip(each(place, place.sha256, owners), owners.values(), strict=True):
        if found != sha256:
            damaged.add(shard)
        progress.advance(1, found != sha256)
    progress.finish()
    for shard in damaged:
        place.delete(stores.receipt_name(shard))
