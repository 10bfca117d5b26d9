"""Parquet: one table of labels and statistics, a line a row, for whoever analyses rather than trains.

Labels are columns of their own, named as `vstats labels` names them; a statistic is a column of lists, its values in
C order. The header is the key ``vstats`` of the table's metadata. Values keep their types; pixels are not carried.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vstats.pipeline.config import canonical_json
from vstats.pipeline.durable import disk_refused
from vstats.pipeline.errors import UsageError
from vstats.pipeline.exchange.rows import Block, Blocks, Header

CARRIES = ("statistics",)
HEADER = b"vstats"


def _columns(header: Header) -> dict[str, list[str] | None]:
    """Return by array name the columns of its entries; None: one column, under the array's name."""
    columns: dict[str, list[str] | None] = {}
    for array in header.plan.arrays:
        prefix = array.group.replace("/", "_")
        names = [f"{prefix}_{label.name}" for label in array.labels]
        columns[array.name] = names if array.kind == "label" else None
    return columns


def write(header: Header, blocks: Iterable[Block], output: Path) -> None:
    """Write a store's rows to one file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = np.array([video["key"] for video in header.videos], object)
    layout = _columns(header)
    aside = output.with_name(f".{output.name}.partial")
    writer = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for _, values in blocks:
            table: dict[str, Any] = {"key": pa.array(keys[values["index/video"]], pa.string())}
            for name, names in layout.items():
                value = values[name]
                if names is not None:
                    table |= {column: pa.array(value[:, k]) for k, column in enumerate(names)}
                elif value.ndim == 1:
                    table[name] = pa.array(value)
                else:
                    size = int(np.prod(value.shape[1:]))
                    table[name] = pa.FixedSizeListArray.from_arrays(
                        pa.array(np.ascontiguousarray(value).ravel()), size
                    )
            block = pa.table(table).replace_schema_metadata({HEADER: canonical_json(header.to_json())})
            writer = writer or pq.ParquetWriter(aside, block.schema, compression="zstd")
            writer.write_table(block)
        if writer is None:
            raise UsageError("a store without rows has no table; export it as hdf5")
        writer.close()
        aside.replace(output)
    except OSError as error:
        raise disk_refused(output, error) from error
    finally:
        aside.unlink(missing_ok=True)


def read(source: Path) -> tuple[Header, Blocks]:
    """Return the header and the rows of a file that `write` wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            metadata = file.schema_arrow.metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{source} cannot be read as Parquet ({error})") from error
    if HEADER not in metadata:
        raise UsageError(
            f"{source} was not written by vstats export: its metadata has no {HEADER.decode()!r}"
        )
    header = Header.from_json(json.loads(metadata[HEADER]), str(source))
    layout = _columns(header)
    shapes = {array.name: (array.shape, array.dtype) for array in header.plan.arrays}

    def blocks(names: Collection[str]) -> Iterator[Block]:
        with pq.ParquetFile(source) as rows:
            for number in range(rows.num_row_groups):
                wanted = [column for name in names for column in layout[name] or [name]]
                table = rows.read_row_group(number, wanted)
                values = {}
                for name in names:
                    shape, dtype = shapes[name]
                    columns = layout[name]
                    if columns is not None:
                        value = np.stack([table[column].to_numpy() for column in columns], axis=1)
                    elif shape == ():
                        value = table[name].to_numpy()
                    else:
                        value = table[name].combine_chunks().flatten().to_numpy().reshape(-1, *shape)
                    values[name] = value.astype(dtype, copy=False)
                yield header.plan.shard_rows(number)[0], values

    return header, blocks
