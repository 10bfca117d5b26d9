"""A store's labels as a table: one line a row, joined with the video's key."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vstats.pipeline import store as stores
from vstats.pipeline.durable import disk_refused
from vstats.pipeline.store import Array, Store

STATUS_WORDS = {
    stores.STATUS_OK: "ok",
    stores.STATUS_DECODE: "failed",
    stores.STATUS_REFUSED: "refused",
    stores.STATUS_PENDING: "pending",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelColumn:
    """One label of a store: its name in tables, the array that it stands in, and its place there."""

    name: str
    array: str
    position: int


def store_columns(store: Store) -> tuple[LabelColumn, ...]:
    """Return every label of a store, in the order of its arrays; named family_pattern_label."""
    columns = []
    for array in store.plan.arrays:
        if array.kind == "label":
            prefix = array.group.replace("/", "_")
            columns += [
                LabelColumn(name=f"{prefix}_{label.name}", array=array.name, position=position)
                for position, label in enumerate(array.labels)
            ]
    return tuple(columns)


def label_blocks(store: Store, rows_a_block: int = 65536) -> Iterator[dict[str, Array]]:
    """Yield the table in blocks of rows, column by column.

    Columns are key, label and class_name of the video, the row's number, its index (start_frame, stride, crop_y,
    crop_x, flip), its status in words, and every label (uint8; 255 where the row has none, 0 undefined).
    """
    keys = np.array(store.keys(), object)
    labels = np.array([video.label for video in store.videos], np.int64)
    classes = np.array([video.class_name for video in store.videos], object)
    words = np.array([STATUS_WORDS.get(status, "unknown") for status in range(256)], object)
    columns = store_columns(store)
    index = [array.name for array in stores.INDEX if array.name != "index/video"]
    for start in range(
        0, max(store.rows, 1), rows_a_block
    ):  # no rows: one empty block, which still names columns
        stop = min(store.rows, start + rows_a_block)
        video = store.read("index/video", start, stop)
        block: dict[str, Array] = {
            "row": np.arange(start, stop),
            "key": keys[video],
            "label": labels[video],
            "class_name": classes[video],
        }
        block |= {name.removeprefix("index/"): store.read(name, start, stop) for name in index}
        block["status"] = words[store.read(stores.STATUS.name, start, stop)]
        values = {name: store.read(name, start, stop) for name in dict.fromkeys(c.array for c in columns)}
        block |= {column.name: values[column.array][:, column.position] for column in columns}
        yield block


def write_table(store: Store, form: str, target: str | BinaryIO) -> int:
    """Write the table as "csv", "jsonl" or "parquet" to a file name or an open binary stream; return its rows.

    A file appears under its name only when it is whole.

    Raises
    ------
    StoreError
        The disk refused.
    """
    if not isinstance(target, str):
        return WRITERS[form](store, target)
    aside = Path(f"{target}.{os.getpid()}.partial")
    try:
        with aside.open("wb") as sink:
            rows = WRITERS[form](store, sink)
        aside.replace(target)
    except OSError as error:
        raise disk_refused(Path(target), error) from error
    finally:
        aside.unlink(missing_ok=True)
    return rows


def _write_csv(store: Store, sink: BinaryIO) -> int:
    text = io.TextIOWrapper(sink, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    rows = 0
    for block in label_blocks(store):
        if not rows:
            writer.writerow(block)
        columns = [column.tolist() for column in block.values()]
        writer.writerows(zip(*columns, strict=True))
        rows += len(columns[0])
    text.detach()
    return rows


def _write_jsonl(store: Store, sink: BinaryIO) -> int:
    rows = 0
    for block in label_blocks(store):
        names = list(block)
        for values in zip(*(column.tolist() for column in block.values()), strict=True):
            sink.write(
                (json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False) + "\n").encode()
            )
            rows += 1
    return rows


def _write_parquet(store: Store, sink: BinaryIO) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    writer = None
    for block in label_blocks(store):
        table = pa.table({name: pa.array(column) for name, column in block.items()})
        writer = writer or pq.ParquetWriter(sink, table.schema, compression="zstd")
        writer.write_table(table)
        rows += table.num_rows
    if writer is not None:
        writer.close()
    return rows


WRITERS: dict[str, Callable[[Store, BinaryIO], int]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}
"""The forms of a table, by the name that --format gives."""
