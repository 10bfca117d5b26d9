"""The store: layout, shards, digests, commit. The only import of Zarr.

::

    NAME.vstats/
      plan.json            configuration, fingerprint, versions, rows, shard size: written last when planning
      videos.parquet       one line a video: id, key, size, sha256, frames, status, error
      labels.zarr/         Zarr v3: index/*, labels/<family>/<pattern>, and what --save adds
      ledger/NNNNNN.json   one receipt a shard
      failures.jsonl       every video or row without labels, and why
      manifest-sha256.txt  every file, in the form that `sha256sum -c` reads
      COMMIT.json          the digest: written last of all

It may stand on object storage as well (`vstats.pipeline.place`): the same names, the same bytes.

A task owns whole shards of every array and nobody else writes them. A shard counts once its receipt is there.
"""

import hashlib
import json
from array import array as compact_array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import zarr
import zarr.codecs
import zarr.storage

from vstats.pipeline import lock, status
from vstats.pipeline.config import ExtractConfig, canonical_json
from vstats.pipeline.durable import seal, unseal
from vstats.pipeline.errors import NotAStore, NotCommitted, StoreError, UsageError
from vstats.pipeline.place import LocalPlace, ObjectPlace, Place, each, open_place
from vstats.pipeline.records import ArrayRecord, Failure, PlannedRow, VideoRecord

FORMAT_VERSION = 2
PLAN, VIDEOS, ARRAYS, LEDGER = "plan.json", "videos.parquet", "labels.zarr", "ledger"
FAILURES, MANIFEST, COMMIT, PROBES = "failures.jsonl", "manifest-sha256.txt", "COMMIT.json", "probes"

PASSING = (status.NAME, lock.FOLDER)
"""What stands in a store only while someone writes it."""

STATUS_OK, STATUS_DECODE, STATUS_REFUSED, STATUS_PENDING = 0, 1, 2, 255
"""Values of index/status: labelled; the video failed; the profile has no label for it; not computed yet."""

Array = npt.NDArray[Any]


def _planned(name: str, dtype: str, meaning: str) -> ArrayRecord:
    return ArrayRecord(name=f"index/{name}", kind="index", shape=(), dtype=dtype, meaning=meaning)


INDEX = (
    _planned("video", "uint32", "the row's video, by its place in videos.parquet"),
    _planned("start_frame", "uint32", "first decoded frame of the clip, from 0"),
    _planned("stride", "uint16", "decoded frames from one frame of the clip to the next"),
    _planned("crop_y", "uint16", "first row of the crop, in pixels of the working frame"),
    _planned("crop_x", "uint16", "first column of the crop, in pixels of the working frame"),
    _planned("flip", "uint8", "1: mirrored left to right"),
)
INDEX_ROWS = 65536
"""Rows a chunk of the index, which the planner writes alone: it need not follow the shards that workers write."""

LEAF_ROWS = 4096
"""Rows of labels that are read at once for a digest."""

VIDEOS_BLOCK = 4096
"""Lines of videos.parquet that are written together, and made into records together."""

STATUS = ArrayRecord(
    name="index/status", kind="index", shape=(), dtype="uint8", fill=STATUS_PENDING,
    meaning="0 labelled, 1 the video failed, 2 the profile has no label, 255 not computed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What plan.json says.

    Parameters
    ----------
    config : ExtractConfig
        Everything that decides the rows and their values.
    rows, shard_size : int
        Rows of the store, and rows a shard (the last may have fewer).
    root : str
        Folder that keys are relative to, on the machine that planned.
    source, kind : str
        The input as given, and what it was taken for.
    input_sha256 : str
        Digest of the input's keys, labels and explicit clips.
    arrays : tuple of ArrayRecord
        Every array of the store.
    versions, machine : dict
        Who planned.
    planned_at : str
        UTC time, ISO 8601.
    fingerprint : str
        Of the configuration and of the labels' version, as planned; by default those of this vstats.
    opencv_flow : str
        Where flow is OpenCV's, which depends on the CPU: the sha256 that it has of a known clip on the machines that
        compute the rows, several with " | " between. "" where flow is our own.
    """

    config: ExtractConfig
    rows: int
    shard_size: int
    root: str
    source: str
    kind: str
    input_sha256: str
    arrays: tuple[ArrayRecord, ...]
    versions: dict[str, str]
    machine: dict[str, str]
    planned_at: str
    fingerprint: str = ""
    opencv_flow: str = ""

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self.config.fingerprint())

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.rows // self.shard_size)

    def shard_rows(self, shard: int) -> tuple[int, int]:
        """Return the first row of `shard` and the row after its last."""
        return shard * self.shard_size, min(self.rows, (shard + 1) * self.shard_size)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value that `from_json` reads back."""
        record = {name: getattr(self, name) for name in self.__slots__ if name not in ("config", "arrays")}
        return {
            "format": "vstats-store",
            "format_version": FORMAT_VERSION,
            "config": self.config.to_json(),
            "arrays": [a.to_json() for a in self.arrays],
            **record,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Plan":
        """Return the plan that `to_json` wrote."""
        fields = dict(record)
        for name in ("format", "format_version"):
            del fields[name]
        fields["config"] = ExtractConfig.from_json(fields["config"])
        fields["arrays"] = tuple(ArrayRecord.from_json(array) for array in fields["arrays"])
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReceipt:
    """What one finished shard holds: its files' sha256 and sizes, counts, failures, times and who computed it.

    `row_sha256` is what `row_digests` gives.
    """

    shard: int
    start: int
    stop: int
    plan_sha256: str
    files: dict[str, tuple[str, int]]
    row_sha256: dict[str, tuple[str, ...]]
    labelled: int
    failures: tuple[Failure, ...]
    seconds: dict[str, float]
    versions: dict[str, str]
    machine: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value that `from_json` reads back."""
        record = {name: getattr(self, name) for name in self.__slots__}
        record["files"] = {name: list(entry) for name, entry in self.files.items()}
        record["failures"] = [{**asdict(f), "rows": list(f.rows)} for f in self.failures]
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "ShardReceipt":
        """Return the receipt that `to_json` wrote."""
        files = {name: (str(entry[0]), int(entry[1])) for name, entry in record["files"].items()}
        rows = {name: tuple(digests) for name, digests in record["row_sha256"].items()}
        failures = tuple(failure_from_json(f) for f in record["failures"])
        return cls(**{**record, "files": files, "row_sha256": rows, "failures": failures})


def unproven_in(machine: Mapping[str, str]) -> list[str]:
    """Return what a plan or receipt says is not proven of who made it."""
    return [one for one in machine.get("unproven", "").split(" | ") if one]


def with_unproven(machine: Mapping[str, str], unproven: Iterable[str]) -> dict[str, str]:
    """Return what a plan or receipt says of a machine, with what is not proven of it."""
    found = " | ".join(sorted({*unproven_in(machine), *unproven}))
    return {**machine, "unproven": found} if found else dict(machine)


def failure_from_json(record: Mapping[str, Any]) -> Failure:
    """Return the failure that one line of failures.jsonl states."""
    return Failure(**{**record, "rows": tuple(record["rows"])})


# ---------------------------------------------------------------------------------------------------- writing


def plan_store(
    place: Place,
    plan: Plan,
    index: Mapping[str, Array],
    videos: Sequence[VideoRecord],
    failures: Sequence[Failure],
) -> None:
    """Lay out a store: empty arrays, the index of every row, the videos, and plan.json last.

    Parameters
    ----------
    place : Place
        Where the store goes.
    plan : Plan
        What plan.json will say.
    index : dict of array
        By array name, [rows]: the arrays of `INDEX`.
    videos, failures
        Every video asked for, and those that planning leaves out.

    Raises
    ------
    StoreError
        The disk or server refused.
    """
    place.prepare()
    for folder in (ARRAYS, LEDGER):
        place.remove(folder)
    with place.refusals(ARRAYS):
        target, within = _zarr_target(place)
        group = zarr.create_group(target, path=within, zarr_format=3, attributes={"vstats_rows": plan.rows})
        for array in plan.arrays:
            _create_array(group, array, plan)
    if within:
        place.delete("zarr.json")  # Zarr also makes a group of the folder that labels.zarr is in

    def write_index(block: int) -> None:
        window = slice(block * INDEX_ROWS, (block + 1) * INDEX_ROWS)
        write_rows(place, block, window.start, {name: column[window] for name, column in index.items()})

    list(each(place, write_index, range(-(-plan.rows // INDEX_ROWS))))
    write_videos(place, videos)
    write_failures(place, failures)
    place.write(PLAN, seal(plan.to_json()))
    place.remove(PROBES)


class IndexColumns:
    """The index arrays of rows, as they are planned: a few bytes a row, for millions of them."""

    def __init__(self) -> None:
        self._names = [one.name.removeprefix("index/") for one in INDEX]
        self._flat = compact_array("I")

    def __len__(self) -> int:
        return len(self._flat) // len(self._names)

    def extend(self, rows: Iterable[PlannedRow]) -> int:
        """Add rows, and return how many they were."""
        before = len(self)
        for row in rows:
            self._flat.extend([getattr(row, name) for name in self._names])
        return len(self) - before

    def arrays(self) -> dict[str, Array]:
        """Return the arrays, by name."""
        table = np.frombuffer(self._flat, np.uint32).reshape(-1, len(self._names))
        return {one.name: table[:, k].astype(one.dtype) for k, one in enumerate(INDEX)}


def planned_rows(index: Mapping[str, Array]) -> list[PlannedRow]:
    """Return the rows that index arrays state."""
    names = [array.name.removeprefix("index/") for array in INDEX]
    columns = [index[array.name].tolist() for array in INDEX]
    rows = (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))
    return [PlannedRow(**{**row, "flip": bool(row["flip"])}) for row in rows]


def write_rows(
    place: Place, shard: int, start: int, values: Mapping[str, Array]
) -> dict[str, tuple[str, int]]:
    """Write whole shards durably, read them back, and return file -> (sha256, bytes), files relative to the store.

    A shard is encoded in memory and put in place as one file, whatever stands there: a worker that was given up, and still
    writes the same shard, does no harm.

    Parameters
    ----------
    place : Place
        Where the store is.
    shard, start : int
        The shard's number and its first row.
    values : dict of array
        By array name, [rows of the shard, ...], each of the stored dtype and shape.

    Raises
    ------
    StoreError
        The disk or server refused, or gives back other values than were written.
    """

    def write(name: str) -> tuple[str, tuple[str, int]]:
        key, content = _encoded(place, name, shard, start, values[name])
        file = f"{ARRAYS}/{name}/{key}"
        sha256 = hashlib.sha256(content).hexdigest()
        place.write(file, content)
        if place.sha256(file) != sha256:
            raise StoreError(
                f"{place.where(file)}: the disk gives back other bytes than were written; check the disk"
            )
        return file, (sha256, len(content))

    return dict(each(place, write, values))


def _encoded(place: Place, name: str, shard: int, start: int, value: Array) -> tuple[str, memoryview]:
    """Return the key and the content of one shard of an array, which holds `value` from row `start` on."""
    described = f"{ARRAYS}/{name}/zarr.json"
    files: dict[str, Any] = {}
    path = zarr.storage.StorePath(zarr.storage.MemoryStore(files), "array")
    try:
        metadata = json.loads(place.read(described))
        array = zarr.Array(zarr.AsyncArray(metadata, path, {"write_empty_chunks": True}))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{place.where(described)} is damaged, or the installed Zarr at fault ({type(error).__name__}: {error}); "
            "`vstats verify` tells whether the store is whole"
        ) from error
    array[start : start + len(value)] = value
    key = array.metadata.encode_chunk_key((shard,) + (0,) * (array.ndim - 1))
    return key, memoryview(files[f"array/{key}"].as_numpy_array())


def row_digests(values: Mapping[str, Array], arrays: Iterable[ArrayRecord]) -> dict[str, tuple[str, ...]]:
    """Return the sha256 of every row of arrays whose every row is a chunk: a receipt keeps them, for the digest.

    They are pixels, too many to read all of them once more when the store is finished.
    """
    return {
        array.name: tuple(hashlib.sha256(row).hexdigest() for row in _row_bytes(values[array.name], array))
        for array in arrays
        if array.kind == "pixels"
    }


def write_receipt(place: Place, receipt: ShardReceipt) -> None:
    """Write a shard's receipt: from now on the shard counts as done."""
    place.write(receipt_name(receipt.shard), seal(receipt.to_json()))


def receipt_name(shard: int) -> str:
    """Return the name of the receipt of `shard`."""
    return f"{LEDGER}/{shard:06d}.json"


def read_receipt(
    place: Place, shard: int, plan_sha256: str, sizes: Mapping[str, int] | None = None
) -> ShardReceipt | None:
    """Return the receipt of a finished shard; None if there is none that fits the plan and files of the right size.

    `sizes`, a listing of the whole store, saves a look at every file where many receipts are read.
    """
    name = receipt_name(shard)
    if name not in sizes if sizes is not None else not place.exists(name):
        return None
    content = place.read(name)
    try:
        receipt = ShardReceipt.from_json(unseal(content, place.where(name)))
    except (StoreError, KeyError, TypeError):
        return None
    if sizes is None:
        sizes = {file: place.size(file) for file in receipt.files if place.exists(file)}
    whole = all(sizes.get(file) == size for file, (_, size) in receipt.files.items())
    return receipt if whole and receipt.plan_sha256 == plan_sha256 and receipt.shard == shard else None


def file_digests(place: Place, names: Sequence[str]) -> dict[str, str]:
    """Return name -> sha256 of files."""
    return dict(zip(names, each(place, place.sha256, names), strict=True))


def write_videos(place: Place, videos: Sequence[VideoRecord]) -> None:
    """Write videos.parquet, one line a video in the order of their ids."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    columns = {
        name: types[getattr(kind, "__name__", str(kind))]
        for name, kind in VideoRecord.__annotations__.items()
    }
    schema = pa.schema([("id", pa.uint32()), *columns.items()])
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for start in range(0, len(videos), VIDEOS_BLOCK):
            block = videos[start : start + VIDEOS_BLOCK]
            values = {name: [getattr(video, name) for video in block] for name in columns}
            writer.write_table(pa.table({"id": range(start, start + len(block)), **values}, schema))
    place.write(VIDEOS, memoryview(sink.getvalue()))


class VideoTable(Sequence[VideoRecord]):
    """The lines of videos.parquet, made into records when they are looked at: there may be millions."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._block: tuple[int, list[VideoRecord]] = (-1, [])

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, item: int) -> VideoRecord: ...

    @overload
    def __getitem__(self, item: slice) -> list[VideoRecord]: ...

    def __getitem__(self, item: int | slice) -> VideoRecord | list[VideoRecord]:
        if isinstance(item, slice):
            return [self[position] for position in range(*item.indices(len(self)))]
        if not -len(self) <= item < len(self):
            raise IndexError(f"video {item} of {len(self)}")
        number, position = divmod(item % len(self), VIDEOS_BLOCK)
        found, block = self._block
        if found != number:
            columns = self._table.slice(number * VIDEOS_BLOCK, VIDEOS_BLOCK).to_pydict()
            lines = zip(*columns.values(), strict=True)
            block = [VideoRecord(**dict(zip(columns, line, strict=True))) for line in lines]
            self._block = number, block
        return block[position]


def write_failures(place: Place, failures: Iterable[Failure]) -> None:
    """Write failures.jsonl."""
    ordered = sorted(failures, key=lambda f: (f.key, f.rows, f.stage))
    text = "".join(canonical_json({**asdict(f), "rows": list(f.rows)}) + "\n" for f in ordered)
    place.write(FAILURES, text.encode())


def commit(
    store: "Store", videos: Sequence[VideoRecord], failures: Sequence[Failure], facts: dict[str, Any]
) -> str:
    """Finish a store whose every shard has its receipt, and return its digest.

    Raises
    ------
    StoreError
        An array cannot be read, or the disk refused.
    """
    place = store.place
    write_videos(place, videos)
    write_failures(place, failures)
    place.remove(PROBES)
    for name in place.sizes():
        if name.endswith(".partial"):  # a killed process was writing it
            place.delete(name)
    store = Store.open(place, incomplete=True)
    known: dict[str, str] = {}
    leaves: dict[str, list[str]] = {array.name: [] for array in store.plan.arrays if array.kind == "pixels"}
    unproven = set(unproven_in(store.plan.machine))
    for receipt in store.receipts():
        unproven.update(unproven_in(receipt.machine))
        known |= {name: sha256 for name, (sha256, _) in receipt.files.items()}
        for name, digests in receipt.row_sha256.items():
            leaves[name].extend(digests)
    roots = store.compute_roots(leaves)
    names = store.files()
    known |= file_digests(place, [name for name in names if name not in known])
    content = "".join(f"{known[name]}  {name}\n" for name in names).encode()
    place.write(MANIFEST, content)
    digest = root_of_roots(roots)
    record = {
        "format_version": FORMAT_VERSION,
        "digest": digest,
        "roots": roots,
        "manifest_sha256": hashlib.sha256(content).hexdigest(),
        **facts,
    }
    if unproven:
        record["unproven"] = sorted(unproven)
    place.write(COMMIT, seal(record))
    place.delete(status.NAME)
    return digest


# ---------------------------------------------------------------------------------------------------- digests


def array_root(name: str, dtype: str, shape: Sequence[int], leaves: Iterable[bytes]) -> str:
    """Return the digest of an array: sha256 over its name, dtype, shape and the sha256 of every row.

    Rows are little-endian, C order, in plan order. No chunking, codec, order of writing or number of workers enters.
    """
    head = canonical_json({"name": name, "dtype": dtype, "shape": list(shape)})
    total = hashlib.sha256(b"vstats-array-v1\0" + head.encode() + b"\0")
    for leaf in leaves:
        total.update(leaf)
    return total.hexdigest()


def root_of_roots(roots: Mapping[str, str]) -> str:
    """Return a store's digest: sha256 of the sorted lines ``root  name``, each with its line feed."""
    lines = sorted(f"{root}  {name}\n" for name, root in roots.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------------- reading


class Store:
    """A store, opened for reading.

    Examples
    --------
    >>> from vstats.pipeline.store import Store
    >>> store = Store.open("demo.vstats")
    >>> store.read("labels/motion/pattern_1")          # uint8 [rows, 4]
    >>> store.keys()[store.read("index/video")[0]]     # the video of row 0
    """

    def __init__(self, place: Place, plan: Plan, plan_sha256: str, committed: dict[str, Any] | None) -> None:
        self.place = place
        self.plan = plan
        self.plan_sha256 = plan_sha256
        self.committed = committed

    @classmethod
    def open(cls, path: str | Path | Place, *, incomplete: bool = False) -> "Store":
        """Open the store at `path`.

        Parameters
        ----------
        path : path or URL
            The store's folder, or where it is on object storage: s3://BUCKET/PATH, gs://..., az://...
        incomplete : bool
            Accept a store whose extraction has not finished.

        Raises
        ------
        NotAStore
            There is no plan.json, or it is of a newer format.
        NotCommitted
            The extraction has not finished and `incomplete` is False.
        StoreError
            plan.json or COMMIT.json is damaged or cannot be read, or the server cannot be reached.
        """
        place = open_place(path)
        entries = place.entries()
        if entries is None:
            raise NotAStore(f"{place} is not there; give the folder that `vstats extract -o` wrote")
        if PLAN not in entries:
            raise NotAStore(
                f"{place} holds no {PLAN}: it is not a vstats store, or its planning did not finish"
            )
        content = place.read(PLAN)
        record = unseal(content, place.where(PLAN))
        if record.get("format_version") != FORMAT_VERSION:
            raise NotAStore(
                f"{place} is of store format {record.get('format_version')}; "
                f"this vstats reads format {FORMAT_VERSION}"
            )
        committed = None
        if COMMIT in entries:
            committed = unseal(place.read(COMMIT), place.where(COMMIT))
        elif not incomplete:
            raise NotCommitted(
                f"{place} has no {COMMIT}: its extraction has not finished. "
                "Run the same `vstats extract` command again to finish it"
            )
        return cls(place, Plan.from_json(record), hashlib.sha256(content).hexdigest(), committed)

    @property
    def path(self) -> Path:
        """The store's folder.

        Raises
        ------
        UsageError
            The store is on object storage.
        """
        if isinstance(self.place, LocalPlace):
            return self.place.path
        raise UsageError(f"{self.place}: this needs a store on a file system; copy it to one first")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.plan.rows

    @property
    def digest(self) -> str:
        """The digest that COMMIT.json states."""
        if self.committed is None:
            raise NotCommitted(f"{self.place} has no digest yet: its extraction has not finished")
        return str(self.committed["digest"])

    @cached_property
    def group(self) -> zarr.Group:
        """The Zarr group labels.zarr."""
        return _open_arrays(self.place, mode="r")

    def names(self) -> tuple[str, ...]:
        """Return the names of all arrays."""
        return tuple(array.name for array in self.plan.arrays)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return rows `start` to `stop` (excluded) of an array.

        Raises
        ------
        StoreError
            There is no such array, or its files are missing or damaged.
        """
        if name not in self.names():
            raise StoreError(f"{self.place} has no array {name!r}; it has {', '.join(self.names())}")
        try:
            array = self.group[name]
            assert isinstance(array, zarr.Array)
            return np.asarray(array[start:stop])
        except (AttributeError, ImportError, AssertionError):
            raise  # no damage leads there
        except Exception as error:
            raise StoreError(
                f"{self.place}: array {name} cannot be read ({type(error).__name__}: {error}); `vstats verify` names the "
                "damaged file, or finds none: then the installed Zarr is at fault"
            ) from error

    @cached_property
    def videos(self) -> Sequence[VideoRecord]:
        """The videos, in the order of their ids."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        content = self.place.read(VIDEOS)
        try:
            # In this thread: one of Arrow's may let go of `content` while Python ends, and abort it.
            table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False).drop_columns("id")
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self.place.where(VIDEOS)} cannot be read ({error}); `vstats verify` checks it"
            ) from error
        return VideoTable(table)

    def keys(self) -> tuple[str, ...]:
        """Return the videos' keys, in the order of their ids."""
        return tuple(video.key for video in self.videos)

    def failures(self) -> list[Failure]:
        """Return the lines of failures.jsonl."""
        lines = self.place.read(FAILURES).decode().splitlines()
        return [failure_from_json(json.loads(line)) for line in lines]

    def receipts(self) -> Iterator[ShardReceipt]:
        """Yield the receipt of every finished shard."""
        sizes = self.place.sizes()

        def read(shard: int) -> ShardReceipt | None:
            return read_receipt(self.place, shard, self.plan_sha256, sizes)

        for receipt in each(self.place, read, range(self.plan.shards)):
            if receipt is not None:
                yield receipt

    def unproven(self) -> tuple[str, ...]:
        """Return where processes that made this store gave other bits than they must, each as "STAGE: LIBRARY VERSION".

        () where all was proven (`vstats.pipeline.proof`). Plan and receipts say so, and COMMIT.json for all of them.
        """
        if self.committed is not None:
            return tuple(self.committed.get("unproven", ()))
        made_by = (self.plan.machine, *(receipt.machine for receipt in self.receipts()))
        return tuple(sorted({one for machine in made_by for one in unproven_in(machine)}))

    def planned_rows(self, start: int, stop: int) -> list[PlannedRow]:
        """Return rows `start` to `stop` (excluded) of the index."""
        return planned_rows({array.name: self.read(array.name, start, stop) for array in INDEX})

    def files(self) -> list[str]:
        """Return every file that the manifest covers, relative to the store, sorted."""
        return sorted(self.file_sizes())

    def file_sizes(self) -> dict[str, int]:
        """Return name -> bytes of every file that the manifest covers."""
        sizes = self.place.sizes()
        return {
            name: size
            for name, size in sizes.items()
            if name.split("/")[0] not in {MANIFEST, COMMIT, *PASSING}
        }

    def compute_roots(self, leaves: Mapping[str, Sequence[str]] | None = None) -> dict[str, str]:
        """Return the digest of every array, and of the table of videos, from what stands on disk.

        `leaves` are the sha256 of every row of arrays that need not be read.
        """
        known = leaves or {}

        def root(array: ArrayRecord) -> str:
            rows = map(bytes.fromhex, known[array.name]) if array.name in known else self._leaves(array)
            return array_root(array.name, array.dtype, (self.rows, *array.shape), rows)

        roots = dict(zip(self.names(), each(self.place, root, self.plan.arrays), strict=True))
        lines = (
            canonical_json({"key": v.key, "sha256": v.sha256, "frames": v.frames, "status": v.status})
            for v in self.videos
        )
        digests = (hashlib.sha256(line.encode()).digest() for line in lines)
        roots["videos"] = array_root("videos", "json", (len(self.videos),), digests)
        return roots

    def _leaves(self, array: ArrayRecord) -> Iterator[bytes]:
        size = rows_a_file(array, self.plan)
        if array.kind != "pixels":  # Zarr reads many small files at once in less time than one by one
            size *= max(1, LEAF_ROWS // size)
        for start in range(0, self.rows, size):
            for row in _row_bytes(self.read(array.name, start, start + size), array):
                yield hashlib.sha256(row).digest()


def _row_bytes(values: Array, array: ArrayRecord) -> Iterator[bytes]:
    little = np.dtype(array.dtype).newbyteorder("<")
    for row in np.ascontiguousarray(values.astype(little, copy=False)):
        yield row.tobytes()


def _open_arrays(place: Place, *, mode: Any) -> zarr.Group:
    target, within = _zarr_target(place)
    with place.refusals(ARRAYS):
        try:
            return zarr.open_group(target, path=within, mode=mode, zarr_format=3)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"{place.where(ARRAYS)} cannot be opened ({error}); `vstats verify` checks the store"
            ) from error


def _zarr_target(place: Place) -> tuple[Any, str]:
    """Return what Zarr opens, and the path of labels.zarr in it."""
    if isinstance(place, LocalPlace):
        return place.path / ARRAYS, ""
    assert isinstance(place, ObjectPlace)
    return zarr.storage.ObjectStore(place.store), ARRAYS


def rows_a_file(array: ArrayRecord, plan: Plan) -> int:
    """Return how many rows of an array stand in one file."""
    return min(INDEX_ROWS, max(1, plan.rows)) if array in INDEX else plan.shard_size


def _create_array(group: zarr.Group, array: ArrayRecord, plan: Plan) -> None:
    shape = (plan.rows, *array.shape)
    shard = (rows_a_file(array, plan), *array.shape)
    if array.kind == "pixels":
        chunk: tuple[int, ...] = (1, *array.shape)
        codecs: list[Any] = [zarr.codecs.Crc32cCodec()]
    else:
        chunk, codecs = shard, [zarr.codecs.ZstdCodec(level=3, checksum=True)]
    group.create_array(
        array.name,
        shape=shape,
        chunks=chunk,
        shards=shard,
        dtype=array.dtype,
        fill_value=array.fill,
        compressors=codecs,
        chunk_key_encoding={"name": "default", "separator": "."},
    )
