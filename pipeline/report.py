"""What is in a store, for people: `vstats inspect` prints it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.pipeline import store as stores
from vstats.pipeline.store import Array, Store
from vstats.pipeline.table import STATUS_WORDS, LabelColumn, label_blocks, store_columns

CLOSE = (0.01, 0.05, 0.1)
"""Margins below which a race is called close."""

MARGIN_BINS = 1000
"""Margins are counted in steps of a tenth of a percent, however many rows there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """By how much labels won against their runners-up: 0 a tie, 1 no rival; undefined labels (0) are left out.

    `count` labels; `below` is the share of them under each margin of `CLOSE`; `quartiles` are the margins that 25, 50
    and 75 % stay below, to a tenth of a percent. Shares and quartiles are 0 where nothing is counted.
    """

    count: int
    below: dict[str, float]
    quartiles: tuple[float, float, float]

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int64]) -> "Margins":
        """Return the distribution of counts, int64 [MARGIN_BINS + 1], of margins by tenths of a percent."""
        total = int(counts.sum())
        cumulated = np.cumsum(counts)
        shares = {f"{c:.0%}": float(cumulated[round(c * MARGIN_BINS) - 1]) / max(total, 1) for c in CLOSE}
        q1, q2, q3 = (
            int(np.searchsorted(cumulated, total * q, side="left")) / MARGIN_BINS for q in (0.25, 0.5, 0.75)
        )
        return cls(count=total, below=shares, quartiles=(q1, q2, q3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Everything that a person asks of a store.

    `histograms` counts, for each label, how often each value occurs over labelled rows; `rows` counts rows by status
    in words; `seconds` is time spent in each stage, summed over workers; `computed_by` counts rows by backend and device
    ("" where that is not recorded). `no_motion` is the share, among rows whose video decoded, of those in which nothing
    moves: labelled as such in u and in v, or refused for that by the profile
    (`mas-released`, which refuses a row where either stands still). `unproven` is what `Store.unproven` says, and `opencv_flow`
    the plan's. `margins` holds one entry a label and one for all
    together, "all"; it is empty where the store has none.
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
    unproven: tuple[str, ...]
    opencv_flow: str
    planned_at: str
    committed_at: str
    seconds: dict[str, float]
    computed_by: dict[str, int]
    no_motion: float
    histograms: dict[str, dict[int, int]]
    margins: dict[str, Margins]
    failures: tuple[dict[str, Any], ...]


def inspect(store: Store) -> Inspection:
    """Gather the facts of a store, finished or not."""
    plan = store.plan
    committed = store.committed or {}
    receipts = list(store.receipts())
    seconds: dict[str, float] = {}
    computed_by: dict[str, int] = {}
    for receipt in receipts:
        who = receipt.machine.get("backend", "")
        computed_by[who] = computed_by.get(who, 0) + receipt.stop - receipt.start
        for stage, spent in receipt.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    counts = np.zeros(256, np.int64)
    columns = store_columns(store)
    histograms = {column.name: np.zeros(256, np.int64) for column in columns}
    margins = {c.name: np.zeros(MARGIN_BINS + 1, np.int64) for c in columns if _margins(c) in store.names()}
    still = 0
    if len(receipts) == plan.shards:
        for start in range(0, store.rows, 65536):
            stop = min(store.rows, start + 65536)
            status = store.read(stores.STATUS.name, start, stop)
            counts += np.bincount(status, minlength=256)
            ok = status == stores.STATUS_OK
            arrays = dict.fromkeys(
                [c.array for c in columns] + [_margins(c) for c in columns if c.name in margins]
            )
            blocks = {name: store.read(name, start, stop)[ok] for name in arrays}
            for column in columns:
                values = blocks[column.array][:, column.position]
                histograms[column.name] += np.bincount(values, minlength=256)
                if column.name in margins:
                    won = blocks[_margins(column)][values > 0, column.position]
                    bins = (won.astype(np.float64) * MARGIN_BINS).astype(np.int64)
                    margins[column.name] += np.bincount(bins, minlength=MARGIN_BINS + 1)
            still += _without_motion(columns, blocks)
    # A profile refuses a row for one reason only: nothing moves in it.
    refused = int(counts[stores.STATUS_REFUSED])
    decoded = int(counts[stores.STATUS_OK]) + refused
    if margins:
        margins["all"] = np.sum(list(margins.values()), axis=0)
    return Inspection(
        path=str(store.place),
        complete=store.committed is not None,
        digest=str(committed.get("digest", "")),
        bytes=sum(store.file_sizes().values()),
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
        unproven=store.unproven(),
        opencv_flow=plan.opencv_flow,
        planned_at=plan.planned_at,
        committed_at=str(committed.get("committed_at", "")),
        seconds={stage: round(spent, 2) for stage, spent in seconds.items()},
        computed_by=computed_by,
        no_motion=(still + refused) / decoded if decoded else 0.0,
        histograms={
            name: {int(value): int(count[value]) for value in np.flatnonzero(count)}
            for name, count in histograms.items()
        },
        margins={name: Margins.from_counts(count) for name, count in margins.items()},
        failures=tuple(
            {"key": f.key, "status": f.status, "stage": f.stage, "message": f.message, "rows": len(f.rows)}
            for f in store.failures()
        ),
    )


def _margins(column: LabelColumn) -> str:
    """Return the array that holds a label's margins."""
    return column.array.replace("labels/", "margins/", 1)


def _without_motion(columns: Sequence[LabelColumn], blocks: Mapping[str, Array]) -> int:
    """Count rows in which neither u nor v has a block; the released code knows of that in its first pattern alone."""
    found = [c for c in columns if c.array == "labels/motion/pattern_1" and c.name.endswith("_loc")]
    if not found:
        return 0
    where = np.stack([blocks[c.array][:, c.position] for c in found])
    return int((where == 0).all(axis=0).sum())


def _count(words: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))


DIRECTIONS = ("", "right", "down right", "down", "down left", "left", "up left", "up", "up right")
COLOURS = ("", "blue", "cyan", "magenta", "white", "black", "green", "red", "yellow")


def label_words(store: Store) -> list[str]:
    """Return one line a row that says its main labels in words; for stores of the standard families.

    Cells are those of pattern 1: 4 x 4, row by row, from 1.
    """
    head = (
        "video",
        "frame",
        "u changes most in",
        "v changes most in",
        "colours change most in",
        "least in",
        "mostly",
    )
    lines = [_WORDS.format(*head)]
    for block in label_blocks(store):
        for k in range(len(block["row"])):
            row = {name: column[k] for name, column in block.items()}
            cells = [
                f"cell {row[name]}" if row[name] else "nowhere: it is still"
                for name in (
                    "motion_pattern_1_u_loc",
                    "motion_pattern_1_v_loc",
                    "appearance_pattern_1_div_loc",
                    "appearance_pattern_1_stable_loc",
                )
            ]
            words = [*cells, COLOURS[int(row["appearance_global_dominant_col"])]]
            if row["status"] != "ok":
                words = [row["status"], "", "", "", ""]
            lines.append(_WORDS.format(row["key"], row["start_frame"], *words).rstrip())
    return lines


_WORDS = "{:<26} {:>5}  {:<20}  {:<20}  {:<22}  {:<8}  {}"
