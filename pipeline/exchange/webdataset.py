"""WebDataset: tar shards, a sample a row, that stream into training from anywhere.

::

    OUTPUT/
      vstats.json              the header
      labelled-000000.tar      samples: 000000012.json, 000000012.clips.npy, ...
      unlabelled-000000.tar    rows without labels, where a shard has any

``.json`` holds the row's key, class, index and labels by name; ``.clips.npy`` and ``.flow.npy`` the pixels;
``.statistics.npz`` the statistics and margins, "." for "/" in their names. Values keep their types. A shard of the store
is a pair of tars, and the same store gives the same bytes.
"""

import io
import json
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vstats.pipeline import store as stores
from vstats.pipeline.config import canonical_json
from vstats.pipeline.durable import disk_refused, write_durably
from vstats.pipeline.errors import UsageError
from vstats.pipeline.exchange.rows import Block, Blocks, Header
from vstats.pipeline.records import ArrayRecord
from vstats.pipeline.store import Array

CARRIES = ("clips", "flow", "statistics")
HEADER = "vstats.json"
CARRIED_BY = {
    "clips.npy": ("clips",),
    "flow.npy": ("flow",),
    "statistics.npz": ("statistics/", "margins/"),
}
"""The arrays that each kind of file in a sample holds, beside .json."""


def write(header: Header, blocks: Iterable[Block], output: Path) -> None:
    """Write a store's rows into a folder of tars."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        left = [path.name for path in output.iterdir()]  # a killed export leaves tars, and no header
        if any(re.fullmatch(r"(un)?labelled-\d+\.(tar|partial)", name) is None for name in left):
            raise UsageError(f"{output} is not empty; choose another folder")
        for name in left:
            (output / name).unlink()
        names = {
            array.name: tuple(label.name for label in array.labels)
            for array in header.plan.arrays
            if array.kind == "label"
        }
        for shard, (start, values) in enumerate(blocks):
            status = values[stores.STATUS.name]
            for kind, chosen in (
                ("labelled", status == stores.STATUS_OK),
                ("unlabelled", status != stores.STATUS_OK),
            ):
                if kind == "unlabelled" and not chosen.any():
                    continue
                path = output / f"{kind}-{shard:06d}.tar"
                aside = path.with_suffix(".partial")
                with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
                    for place in np.flatnonzero(chosen).tolist():
                        row = {name: value[place] for name, value in values.items()}
                        _add_row(tar, start + place, row, header, names)
                aside.replace(path)
        write_durably(output / HEADER, canonical_json(header.to_json()).encode())
    except OSError as error:
        raise disk_refused(output, error) from error


def _add_row(
    tar: tarfile.TarFile,
    number: int,
    row: Mapping[str, Array],
    header: Header,
    names: Mapping[str, tuple[str, ...]],
) -> None:
    video = header.videos[int(row["index/video"])]
    record: dict[str, Any] = {name: video[name] for name in ("key", "label", "class_name")} | {"row": number}
    record |= {name.removeprefix("index/"): v.item() for name, v in row.items() if name.startswith("index/")}
    labels = {name: value.tolist() for name, value in row.items() if name.startswith("labels/")}
    record["labels"] = {
        name.removeprefix("labels/"): dict(zip(names[name], values, strict=True))
        for name, values in labels.items()
    }
    _add(tar, f"{number:09d}.json", json.dumps(record).encode())
    for name in ("clips", "flow"):
        if name in row:
            sink = io.BytesIO()
            np.save(sink, row[name], allow_pickle=False)
            _add(tar, f"{number:09d}.{name}.npy", sink.getvalue())
    floats = {
        name.replace("/", "."): v for name, v in row.items() if name.startswith(("statistics/", "margins/"))
    }
    if floats:
        sink = io.BytesIO()
        np.savez(sink, **floats)  # type: ignore[arg-type] # taken for its option allow_pickle
        _add(tar, f"{number:09d}.statistics.npz", sink.getvalue())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    facts = tarfile.TarInfo(name)  # no times, no owners: the same store gives the same bytes
    facts.size = len(content)
    tar.addfile(facts, io.BytesIO(content))


def read(source: Path) -> tuple[Header, Blocks]:
    """Return the header and the rows of a folder that `write` wrote."""
    try:
        record = json.loads((source / HEADER).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{source} was not written by vstats export: {HEADER} cannot be read ({error})"
        ) from error
    header = Header.from_json(record, str(source))

    def blocks(names: Collection[str]) -> Iterator[Block]:
        for shard in range(header.plan.shards):
            start, stop = header.plan.shard_rows(shard)
            wanted = [array for array in header.plan.arrays if array.name in names]
            yield start, _read_shard(source, shard, start, stop, wanted)

    return header, blocks


def _read_shard(
    source: Path, shard: int, start: int, stop: int, arrays: Sequence[ArrayRecord]
) -> dict[str, Array]:
    values = {array.name: np.full((stop - start, *array.shape), array.fill, array.dtype) for array in arrays}
    seen = set()
    for path in (source / f"{kind}-{shard:06d}.tar" for kind in ("labelled", "unlabelled")):
        if not path.exists():
            continue
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    number, _, kind = member.name.partition(".")
                    if kind != "json" and not any(name.startswith(CARRIED_BY[kind]) for name in values):
                        continue
                    file = tar.extractfile(member)
                    assert file is not None
                    place = int(number) - start
                    seen.add((place, kind == "json"))
                    _read_member(kind, file.read(), place, values)
        except (OSError, tarfile.TarError, ValueError, KeyError, IndexError) as error:
            raise UsageError(f"{path} is damaged ({error}); export again") from error
    missing = [start + place for place in range(stop - start) if (place, True) not in seen]
    if missing:
        raise UsageError(f"{source}: row {missing[0]} is in no tar of shard {shard}; export again")
    return values


def _read_member(kind: str, content: bytes, place: int, values: dict[str, Array]) -> None:
    if kind == "json":
        record = json.loads(content)
        for name, value in values.items():
            if name.startswith("index/"):
                value[place] = record[name.removeprefix("index/")]
            elif name.startswith("labels/"):
                value[place] = list(record["labels"][name.removeprefix("labels/")].values())
    elif kind == "statistics.npz":
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for name in arrays.files:
                values[name.replace(".", "/")][place] = arrays[name]
    else:
        values[kind.removesuffix(".npy")][place] = np.load(io.BytesIO(content), allow_pickle=False)
