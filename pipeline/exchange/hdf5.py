"""HDF5: a whole store in one file, or flow of many clips in one. The only import of h5py.

A store's arrays lie under their own names (``labels/motion/pattern_1``, ``clips``), rows first; ``videos/key`` names the
video that ``index/video`` counts; the header is the text ``vstats``. Flow of a clip is a data set [F, H, W, 2] under the
clip's name. Nothing is lost: values keep their types.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from vstats.pipeline.config import canonical_json
from vstats.pipeline.durable import disk_refused
from vstats.pipeline.errors import UsageError
from vstats.pipeline.exchange.rows import Block, Blocks, Header
from vstats.pipeline.store import Array

CARRIES = ("clips", "flow", "statistics")
HEADER = "vstats"


def write(header: Header, blocks: Iterable[Block], output: Path) -> None:
    """Write a store's rows to one file."""
    plan = header.plan
    with _creating(output) as file:
        file[HEADER] = canonical_json(header.to_json())
        for name in ("key", "class_name"):
            file[f"videos/{name}"] = np.array([video[name] for video in header.videos], h5py.string_dtype())
        file["videos/label"] = np.array([video["label"] for video in header.videos], np.int64)
        for array in plan.arrays:
            chunk = (1 if array.kind == "pixels" else max(1, min(plan.shard_size, plan.rows)), *array.shape)
            packed: dict[str, Any] = (
                {} if array.kind == "pixels" else {"compression": "gzip", "shuffle": True}
            )
            file.create_dataset(
                array.name, (plan.rows, *array.shape), array.dtype, chunks=chunk, fletcher32=True, **packed
            )
        for start, values in blocks:
            for name, value in values.items():
                file[name][start : start + len(value)] = value


def holds_store(source: Path) -> bool:
    """Return whether a file is a store that `write` wrote, and not flow."""
    with _reading(source) as file:
        return HEADER in file


def read(source: Path) -> tuple[Header, Blocks]:
    """Return the header and the rows of a file that `write` wrote."""
    with _reading(source) as file:
        if not isinstance(file.get(HEADER), h5py.Dataset):
            raise UsageError(f"{source} was not written by vstats export: it has no text {HEADER!r}")
        header = Header.from_json(json.loads(file[HEADER][()]), str(source))

    def blocks(names: Collection[str]) -> Iterator[Block]:
        with _reading(source) as file:
            for shard in range(header.plan.shards):
                start, stop = header.plan.shard_rows(shard)
                yield start, {name: file[name][start:stop] for name in names}

    return header, blocks


def write_flows(flows: Iterable[tuple[str, Array]], output: Path) -> int:
    """Write flow of clips, each float16 or float32 [F, H, W, 2] under its name, and return how many there were."""
    count = 0
    with _creating(output) as file:
        file.attrs["what"] = "optical flow, pixels per frame step, x right, y down: [frame, y, x, (u, v)]"
        for name, flow in flows:
            file.create_dataset(name, data=flow, compression="gzip", shuffle=True, fletcher32=True)
            count += 1
    return count


def read_flows(source: Path) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield (name, float32 [F, H, W, 2]) of every clip in a file."""
    with _reading(source) as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            flow = file[name]
            if flow.ndim != 4 or flow.shape[-1] != 2 or flow.dtype.kind != "f":
                raise UsageError(
                    f"{source}: {name} is {flow.dtype} {list(flow.shape)}; flow is float [F, H, W, 2]"
                )
            yield name, flow[()].astype(np.float32)


@contextmanager
def _creating(path: Path) -> Iterator[Any]:
    """Open a new file that appears under its name once it is whole."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(aside, "w") as file:
            yield file
        aside.replace(path)
    except OSError as error:
        raise disk_refused(path, error) from error
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise UsageError(f"{path} cannot be read as HDF5 ({error})") from error
