"""What every form of a store carries: a header that says what it is, and its rows in blocks.

A header holds the plan, the videos, the failures and the digests, so a store can be made again from any form: the same
rows, the same digests.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vstats.pipeline import store as stores
from vstats.pipeline.errors import StoreError, UsageError
from vstats.pipeline.place import open_place
from vstats.pipeline.provenance import machine, versions
from vstats.pipeline.records import ArrayRecord, VideoRecord
from vstats.pipeline.store import Array, Plan, ShardReceipt, Store, failure_from_json, with_unproven

FORMAT, FORMAT_VERSION = "vstats-export", 1

Block = tuple[int, dict[str, Array]]
"""The first row, and by array name the values [n, ...] of n rows."""

Blocks = Callable[[Collection[str]], Iterator[Block]]
"""Yields the blocks of some arrays, by name, a shard of the plan at a time; may be called again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an export says of itself.

    Parameters
    ----------
    plan : Plan
        The store's plan, with the arrays that are exported.
    videos, failures : sequence of dict
        Lines of videos.parquet and failures.jsonl.
    roots : dict
        Digest of each exported array, and of the videos, as the store states them.
    facts : dict
        What else COMMIT.json says.
    """

    plan: Plan
    videos: Sequence[dict[str, Any]]
    failures: Sequence[dict[str, Any]]
    roots: dict[str, str]
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value that `from_json` reads back."""
        rest = {name: getattr(self, name) for name in self.__slots__ if name != "plan"}
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "plan": self.plan.to_json(), **rest}

    @classmethod
    def from_json(cls, record: Any, where: str) -> "Header":
        """Return the header that `to_json` wrote.

        Raises
        ------
        UsageError
            The record is no header, or of another version.
        """
        try:
            if record["format"] != FORMAT or record["format_version"] != FORMAT_VERSION:
                raise UsageError(
                    f"{where} is {record['format']} {record['format_version']}; this vstats reads {FORMAT} {FORMAT_VERSION}"
                )
            rest = {name: record[name] for name in cls.__slots__ if name != "plan"}
            return cls(plan=Plan.from_json(record["plan"]), **rest)
        except (KeyError, TypeError) as error:
            raise UsageError(f"{where} was not written by vstats export: its header lacks {error}") from error


def header_of(store: Store, arrays: Sequence[ArrayRecord]) -> Header:
    """Return the header of an export of some of a store's arrays."""
    assert store.committed is not None
    saved = {array.name.split("/")[0] for array in arrays}
    config = store.plan.config.to_json()
    config["save"] = [item for item in config["save"] if item in saved]
    plan = store.plan.to_json() | {
        "config": config,
        "arrays": [array.to_json() for array in arrays],
        "machine": with_unproven(store.plan.machine, store.unproven()),
    }
    roots: dict[str, str] = store.committed["roots"]
    names = {array.name for array in arrays} | {"videos"}
    own = {"format_version", "digest", "roots", "manifest_sha256", "sha256", "unproven"}
    return Header(
        plan=Plan.from_json(plan),
        videos=[asdict(video) for video in store.videos],
        failures=[{**asdict(f), "rows": list(f.rows)} for f in store.failures()],
        roots={name: root for name, root in roots.items() if name in names},
        facts={name: value for name, value in store.committed.items() if name not in own},
    )


def chosen_arrays(
    store: Store, save: Sequence[str] | None, carried: Sequence[str]
) -> tuple[ArrayRecord, ...]:
    """Return the arrays to export: index and labels, and of clips, flow and statistics those that are asked for.

    `save` None takes what the store has and the form carries.

    Raises
    ------
    UsageError
        Something is asked for that the store does not have or the form cannot carry.
    """
    has = store.plan.config.save
    wanted = [item for item in has if item in carried] if save is None else list(save)
    for item in wanted:
        if item not in has:
            raise UsageError(f"{store.place} keeps no {item}; it has {', '.join(has) or 'labels alone'}")
        if item not in carried:
            raise UsageError(f"this form carries no {item}; it carries {', '.join(carried)}")
    kinds = {"index", "labels", *wanted, *(["margins"] if "statistics" in wanted else [])}
    return tuple(array for array in store.plan.arrays if array.name.split("/")[0] in kinds)


def blocks_of(store: Store, arrays: Sequence[ArrayRecord]) -> Iterator[Block]:
    """Yield a store's rows, a shard at a time."""
    for shard in range(store.plan.shards):
        start, stop = store.plan.shard_rows(shard)
        yield start, {array.name: store.read(array.name, start, stop) for array in arrays}


def rebuild(header: Header, blocks: Blocks, output: str | Path) -> str:
    """Make a store of an export, and return its digest.

    Parameters
    ----------
    header : Header
        What the store was.
    blocks : Blocks
        Its rows.
    output : path
        The new store's folder.

    Raises
    ------
    UsageError
        There is something at `output` already.
    StoreError
        The rows are not those that the header tells of, or the disk refused.
    """
    plan = header.plan
    place = open_place(output if isinstance(output, str) else str(output))
    if place.entries():
        raise UsageError(f"{output} is there already and not empty; choose another folder")
    videos = [VideoRecord(**line) for line in header.videos]
    failures = [failure_from_json(line) for line in header.failures]
    planned = tuple(array for array in plan.arrays if array in stores.INDEX)
    computed = tuple(array for array in plan.arrays if array not in stores.INDEX)
    parts = [values for _, values in _checked(plan, planned, blocks)]
    empty = {array.name: np.empty((0, *array.shape), array.dtype) for array in planned}
    index = {name: np.concatenate([none, *(part[name] for part in parts)]) for name, none in empty.items()}
    stores.plan_store(place, plan, index, videos, [f for f in failures if not f.rows])
    plan_sha256 = Store.open(place, incomplete=True).plan_sha256
    for shard, (start, values) in enumerate(_checked(plan, computed, blocks)):
        stop = start + len(values[stores.STATUS.name])
        files = stores.write_rows(place, shard, start, values)
        receipt = ShardReceipt(
            shard=shard, start=start, stop=stop, plan_sha256=plan_sha256, files=files,
            row_sha256=stores.row_digests(values, plan.arrays),
            labelled=int((values[stores.STATUS.name] == stores.STATUS_OK).sum()),
            failures=tuple(f for f in failures if f.rows and start <= f.rows[0] < stop),
            seconds={}, versions=versions(), machine=machine(),
        )  # fmt: skip
        stores.write_receipt(place, receipt)
    digest = stores.commit(Store.open(place, incomplete=True), videos, failures, dict(header.facts))
    made = Store.open(place).committed
    assert made is not None
    wrong = sorted(name for name, root in header.roots.items() if made["roots"].get(name) != root)
    if wrong:
        place.delete(stores.COMMIT)
        raise StoreError(f"{output}: the values of {wrong[0]} are not those that were exported; export again")
    return digest


def _checked(plan: Plan, arrays: Sequence[ArrayRecord], blocks: Blocks) -> Iterator[Block]:
    wanted = {array.name: array for array in arrays}
    count = 0
    for shard, (start, values) in enumerate(blocks(wanted)):
        first, stop = plan.shard_rows(shard)
        for name, array in wanted.items():
            value = values.get(name)
            if (
                start != first
                or value is None
                or value.shape != (stop - first, *array.shape)
                or value.dtype != array.dtype
            ):
                found = "missing" if value is None else f"{value.dtype} {list(value.shape)} from row {start}"
                raise StoreError(
                    f"{name} is {found}; it must be {array.dtype} {[stop - first, *array.shape]} from row {first}: "
                    "the export is damaged or incomplete"
                )
        count += 1
        yield start, values
    if count != plan.shards:
        raise StoreError(
            f"{count} of {plan.shards} blocks of rows are there: the export is damaged or incomplete"
        )
