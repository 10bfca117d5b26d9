"""What is in a store, for people: `vstats inspect` prints it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vstats.pipeline import store as stores
from vstats.pipeline.store import Store
from vstats.pipeline.table import STATUS_WORDS, label_blocks, store_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Everything that a person asks of a store.

    `histograms` counts, for each label, how often each value occurs over labelled rows; `rows` counts rows by status
    in words; `seconds` is time spent in each stage, summed over workers.
    """

    path: str
    complete: bool
    digest: str
    bytes: int
    rows: dict[str, int]
    videos: dict[str, int]
    lost_packets: int
    corrupt_frames: int
    shards: int
    shards_done: int
    shard_size: int
    arrays: dict[str, str]
    config: dict[str, Any]
    fingerprint: str
    input: dict[str, str]
    versions: dict[str, str]
    machine: dict[str, str]
    planned_at: str
    committed_at: str
    seconds: dict[str, float]
    no_motion: float
    histograms: dict[str, dict[int, int]]
    failures: tuple[dict[str, Any], ...]


def inspect(store: Store) -> Inspection:
    """Gather the facts of a store, finished or not."""
    plan = store.plan
    committed = store.committed or {}
    receipts = list(store.receipts())
    seconds: dict[str, float] = {}
    for receipt in receipts:
        for stage, spent in receipt.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    counts = np.zeros(256, np.int64)
    columns = store_columns(store)
    histograms = {column.name: np.zeros(256, np.int64) for column in columns}
    if len(receipts) == plan.shards:
        for start in range(0, store.rows, 65536):
            stop = min(store.rows, start + 65536)
            status = store.read(stores.STATUS.name, start, stop)
            counts += np.bincount(status, minlength=256)
            for column in columns:
                values = store.read(column.array, start, stop)[status == stores.STATUS_OK, column.position]
                histograms[column.name] += np.bincount(values, minlength=256)
    labelled = int(counts[stores.STATUS_OK])
    still = [histograms[c.name][0] for c in columns if c.array == "labels/motion/global"]
    return Inspection(
        path=str(store.path),
        complete=store.committed is not None,
        digest=str(committed.get("digest", "")),
        bytes=sum((store.path / name).stat().st_size for name in store.files()),
        rows={STATUS_WORDS.get(s, str(s)): int(counts[s]) for s in np.flatnonzero(counts).tolist()},
        videos=_count(video.status for video in store.videos),
        lost_packets=sum(video.lost_packets for video in store.videos),
        corrupt_frames=sum(video.corrupt_frames for video in store.videos),
        shards=plan.shards,
        shards_done=len(receipts),
        shard_size=plan.shard_size,
        arrays={a.name: f"{a.dtype} {[store.rows, *a.shape]}" for a in plan.arrays},
        config=plan.config.to_json(),
        fingerprint=plan.config.fingerprint(),
        input={"source": plan.source, "kind": plan.kind, "root": plan.root},
        versions=plan.versions,
        machine=plan.machine,
        planned_at=plan.planned_at,
        committed_at=str(committed.get("committed_at", "")),
        seconds={stage: round(spent, 2) for stage, spent in seconds.items()},
        no_motion=float(max(still) / labelled) if labelled and still else 0.0,
        histograms={
            name: {int(value): int(count[value]) for value in np.flatnonzero(count)}
            for name, count in histograms.items()
        },
        failures=tuple(
            {"key": f.key, "status": f.status, "stage": f.stage, "message": f.message, "rows": len(f.rows)}
            for f in store.failures()
        ),
    )


def _count(words: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))


DIRECTIONS = ("", "right", "down right", "down", "down left", "left", "up left", "up", "up right")
COLOURS = ("", "blue", "cyan", "magenta", "white", "black", "green", "red", "yellow")


def label_words(store: Store) -> list[str]:
    """Return one line a row that says its main labels in words; for stores of the standard families."""
    lines = [
        f"{'video':<32} {'frame':>5}  {'motion boundary of u':<26} {'colours change most in':<24} {'least in':<10} mostly"
    ]
    for block in label_blocks(store):
        for k in range(len(block["row"])):
            row = {name: column[k] for name, column in block.items()}
            if row["status"] != "ok":
                lines.append(f"{row['key']:<32} {row['start_frame']:>5}  {row['status']}")
                continue
            cell, bin_ = int(row["motion_pattern_1_u_loc"]), int(row["motion_pattern_1_u_ori"])
            moves = f"cell {cell}, towards {DIRECTIONS[bin_]}" if cell else "nothing moves"
            lines.append(
                f"{row['key']:<32} {row['start_frame']:>5}  {moves:<26} "
                f"{'cell ' + str(row['appearance_pattern_1_div_loc']):<24} "
                f"{'cell ' + str(row['appearance_pattern_1_stable_loc']):<10} "
                f"{COLOURS[int(row['appearance_global_dominant_col'])]}"
            )
    return lines
