"""Stored clips, read straight into the caller's buffer: a reader of Zarr v3 shards with NumPy and `os.preadv` alone.

A random clip costs one system call, and the first time one checksum. A shard's index is read once and kept; files are
opened when first needed, at most `OPEN_FILES` at a time, and anew in every process, so a reader may be forked and
pickled.
"""

import json
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

from vstats.kernels.errors import InputError
from vstats.pipeline.errors import StoreError
from vstats.pipeline.records import U8

OPEN_FILES = 64
"""Shards that a reader holds open: what is read repeatedly stays open, and no limit on open files is met. While it reads
there may be twice as many."""

ROWS_A_THREAD = 8
"""Rows for which it is worth waking another thread."""

MISSING = 2**64 - 1
"""Offset and length, in a shard's index, of a chunk that was never written."""

CHECKS = ("first", "always", "never")
"""When a row is compared with its CRC-32C: each time, never, or when a process reads it for the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How an array of pixels lies on disk: what its zarr.json says, as far as reading rows needs it.

    Parameters
    ----------
    rows, shard_rows : int
        Rows of the array, and rows a shard.
    shape : tuple of int
        Of one row, which is one chunk.
    dtype : str
        NumPy's name of the stored type, little-endian.
    separator : str
        Between the numbers of a shard's file name.
    index_at_end : bool
        Where a shard's index stands.
    index_checked, row_checked : bool
        Whether the index and every row carry a CRC-32C.
    fill : float
        What a row holds that was never written; Zarr leaves out rows of nothing else.
    """

    rows: int
    shard_rows: int
    shape: tuple[int, ...]
    dtype: str
    separator: str
    index_at_end: bool
    index_checked: bool
    row_checked: bool
    fill: float

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def index_bytes(self) -> int:
        """Bytes of a shard's index."""
        return 16 * self.shard_rows + (4 if self.index_checked else 0)

    def shard_name(self, folder: str | Path, shard: int) -> str:
        """Return the name of a shard's file in the array's folder."""
        return f"{folder}/{self.separator.join(['c', str(shard), *['0'] * len(self.shape)])}"

    def parse_index(self, content: bytes | bytearray) -> npt.NDArray[np.uint64]:
        """Return a shard's index, uint64 [shard_rows, 2]: offset and length of each row."""
        return np.frombuffer(content, "<u8", 2 * self.shard_rows).reshape(-1, 2)


def read_layout(folder: Path) -> Layout:
    """Return the layout of the array in `folder`.

    Raises
    ------
    StoreError
        zarr.json is missing or damaged, or describes an array that is not stored a row a chunk.
    """
    path = folder / "zarr.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_layout(content, path)


def parse_layout(content: bytes, path: str | Path) -> Layout:
    """Return the layout that the content of a zarr.json describes; `path` is what messages call it."""
    try:
        return _parse_layout(json.loads(content))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} does not describe an array of a row a chunk in shards ({error!r}); `vstats verify` checks it, "
            "Store.read reads any Zarr array"
        ) from error


def _parse_layout(record: Mapping[str, Any]) -> Layout:
    rows, *shape = record["shape"]
    shard_rows, *shard_shape = record["chunk_grid"]["configuration"]["chunk_shape"]
    (sharding,) = record["codecs"]
    inside = sharding["configuration"]
    names = [codec["name"] for codec in inside["codecs"]]
    if record["zarr_format"] != 3 or record["node_type"] != "array":
        raise ValueError("not a Zarr v3 array")
    if sharding["name"] != "sharding_indexed" or shard_shape != shape or inside["chunk_shape"] != [1, *shape]:
        raise ValueError("its chunks are not single rows in shards")
    checked = names[-1] == "crc32c"
    little = inside["codecs"][0].get("configuration", {}).get("endian", "little") == "little"
    if names not in (["bytes"], ["bytes", "crc32c"]) or not little:
        raise ValueError(f"its codecs are {names}; pixels are stored as they are, with or without a crc32c")
    return Layout(
        rows=int(rows),
        shard_rows=int(shard_rows),
        shape=tuple(int(n) for n in shape),
        dtype=np.dtype(record["data_type"]).newbyteorder("<").str,
        separator=record["chunk_key_encoding"]["configuration"]["separator"],
        index_at_end=inside.get("index_location", "end") == "end",
        index_checked=[codec["name"] for codec in inside["index_codecs"]] == ["bytes", "crc32c"],
        row_checked=checked,
        fill=float(record["fill_value"]),
    )


def row_buffers(
    layout: Layout, rows: Sequence[int] | npt.NDArray[np.integer[Any]], out: npt.NDArray[Any]
) -> U8:
    """Return the bytes of a buffer for rows, uint8 [n, bytes of a row].

    Raises
    ------
    ValueError
        The buffer is not C-contiguous, or of another dtype or shape than the rows.
    IndexError
        A row is not in the array.
    """
    if (
        out.shape != (len(rows), *layout.shape)
        or out.dtype != np.dtype(layout.dtype)
        or not out.flags.c_contiguous
    ):
        raise ValueError(
            f"out is {out.dtype} {list(out.shape)}; it must be C-contiguous {layout.dtype} "
            f"{[len(rows), *layout.shape]}"
        )
    for row in rows:
        if not 0 <= row < layout.rows:
            raise IndexError(f"row {row} is not in the array, which has {layout.rows}")
    return out.reshape(len(rows), math.prod(layout.shape)).view(np.uint8)


class _Stored(NamedTuple):
    row: int
    target: U8
    descriptor: int
    offset: int
    size: int


@dataclass(slots=True)
class _OpenFiles:
    """What belongs to one process: descriptors, a lock, which rows were found whole, threads that read."""

    pid: int
    checked: npt.NDArray[np.bool_]
    shards: OrderedDict[int, int] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: ThreadPoolExecutor | None = None

    def close(self) -> None:
        if self.threads is not None and self.pid == os.getpid():  # threads stay behind where a fork began
            self.threads.shutdown()
        self.threads = None
        while self.shards:
            os.close(self.shards.popitem()[1])


class ClipReader:
    """Random access to the rows of one array of pixels: a store's ``clips`` or ``flow``.

    Parameters
    ----------
    folder : path
        The array's folder, such as ``NAME.vstats/labels.zarr/clips``.
    check : {"first", "always", "never"}
        When a row is compared with its CRC-32C: when this process first reads it, every time (which costs a third of
        the speed), or never. A shard's index always is.
    threads : int
        Rows read at the same time, where a batch is large enough. One thread copies at less than half the speed of memory.

    Raises
    ------
    StoreError
        There is no such array, or it is not stored a row a chunk.
    InputError
        `check` is none of the three.
    """

    def __init__(self, folder: str | Path, *, check: str = "first", threads: int = 1) -> None:
        if check not in CHECKS:
            raise InputError(f"check is {check!r}; it must be one of {', '.join(CHECKS)}")
        self.folder = Path(folder)
        self.check = check
        self.threads = threads
        self.layout = read_layout(self.folder)
        self._indexes: dict[int, npt.NDArray[np.uint64]] = {}
        self._open = self._nothing_open()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open = self._nothing_open()

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self._open.close()

    def close(self) -> None:
        """Close every file; reading opens them again."""
        self._open.close()

    def read(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        """Return rows as a new array [n, ...] of the stored dtype; see `read_into`."""
        out = np.empty((len(rows), *self.layout.shape), self.layout.dtype)
        self.read_into(rows, out)
        return out

    def read_into(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]], out: npt.NDArray[Any]) -> None:
        """Read rows into a buffer.

        Parameters
        ----------
        rows : sequence of int [n]
            Rows of the array, in any order, repeats allowed.
        out : array [n, ...]
            C-contiguous, of the stored dtype and row shape: ``out[i]`` becomes row ``rows[i]``.

        Raises
        ------
        IndexError
            A row is not in the array.
        StoreError
            A shard is missing, ends early, or holds other bytes than were written; the message names it.
        """
        buffers = row_buffers(self.layout, rows, out)
        if self._open.pid != os.getpid():  # after a fork: the parent's descriptors are closed in this process
            self._open.close()
            self._open = self._nothing_open()
        numbers = [int(row) for row in rows]
        with self._open.lock:
            # In the order of the disk, and no more at once than may lie in as many shards.
            places = sorted(range(len(numbers)), key=numbers.__getitem__)
            for start in range(0, len(places), OPEN_FILES):
                self._read_part([(numbers[k], buffers[k]) for k in places[start : start + OPEN_FILES]])

    def _nothing_open(self) -> _OpenFiles:
        return _OpenFiles(os.getpid(), np.zeros(self.layout.rows, bool))

    def _read_part(self, wanted: Sequence[tuple[int, U8]]) -> None:
        there = []
        for row, target in wanted:
            found = self._locate(row)
            if found is None:
                target.view(self.layout.dtype)[:] = self.layout.fill
            else:
                there.append(_Stored(row, target, *found))
        share = max(ROWS_A_THREAD, -(-len(there) // self.threads))
        mine, *others = [there[k : k + share] for k in range(0, len(there), share)] or [[]]
        if others and self._open.threads is None:
            self._open.threads = ThreadPoolExecutor(self.threads - 1, "vstats-clips")
        jobs = (
            [self._open.threads.submit(self._read_rows, part) for part in others]
            if self._open.threads
            else []
        )
        try:
            self._read_rows(mine)
        finally:
            wait(jobs)  # nobody may still use files and buffers that are let go of
        for job in jobs:
            job.result()
        while len(self._open.shards) > OPEN_FILES:
            os.close(self._open.shards.popitem(last=False)[1])

    def _read_rows(self, wanted: Sequence["_Stored"]) -> None:
        checked = 4 if self.layout.row_checked else 0
        for row, target, descriptor, offset, size in wanted:
            if size != len(target) + checked:
                raise self._damaged(row, f"is {size} bytes long and should be {len(target) + checked}")
            if self._trusted(row):
                self._pread(row, descriptor, [target.data], offset)
            else:
                footer = np.empty(4, np.uint8)
                self._pread(row, descriptor, [target.data, footer.data], offset)
                self._compare(row, target, footer.tobytes())
                self._open.checked[row] = True

    def _trusted(self, row: int) -> bool:
        """Return whether a row need not be compared with its checksum, or has none."""
        if self.check == "first" and self.layout.row_checked:
            return bool(self._open.checked[row])
        return self.check == "never" or not self.layout.row_checked

    def _locate(self, row: int) -> tuple[int, int, int] | None:
        """Return the descriptor of a row's shard, and the row's offset and length in it; None: it is all fill."""
        shard, position = divmod(row, self.layout.shard_rows)
        descriptor = self._descriptor(shard)
        index = self._indexes.get(shard)
        if index is None:
            index = self._indexes[shard] = self._read_index(shard, descriptor)
        offset, size = index[position].tolist()
        return None if offset == MISSING else (descriptor, offset, size)

    def _descriptor(self, shard: int) -> int:
        files = self._open.shards
        descriptor = files.get(shard)
        if descriptor is not None:
            files.move_to_end(shard)
            return descriptor
        path = self.layout.shard_name(self.folder, shard)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be opened: {error.strerror}; `vstats verify` checks the store"
            ) from error
        files[shard] = descriptor
        return descriptor

    def _read_index(self, shard: int, descriptor: int) -> npt.NDArray[np.uint64]:
        first = shard * self.layout.shard_rows
        size = self.layout.index_bytes
        at = os.fstat(descriptor).st_size - size if self.layout.index_at_end else 0
        content = bytearray(size)
        if at < 0:
            raise self._damaged(first, "is cut short")
        self._pread(first, descriptor, [memoryview(content)], at)
        if self.layout.index_checked:
            self._compare(first, np.frombuffer(content, np.uint8, size - 4), content[-4:])
        return self.layout.parse_index(content)

    def _pread(self, row: int, descriptor: int, buffers: list[memoryview], offset: int) -> None:
        left = sum(map(len, buffers))
        while left:
            try:
                got = os.preadv(descriptor, buffers, offset)
            except OSError as error:
                raise StoreError(f"{self._file(row)} cannot be read: {error.strerror}") from error
            if got == 0:
                raise self._damaged(row, "is cut short")
            left -= got
            if not left:
                return
            offset += got
            while got >= len(buffers[0]):
                got -= len(buffers.pop(0))
            buffers[0] = buffers[0][got:]

    def _compare(self, row: int, content: U8, checksum: bytes | bytearray) -> None:
        if google_crc32c.value(content) != int.from_bytes(checksum, "little"):
            raise self._damaged(row, "holds other bytes than were written")

    def _file(self, row: int) -> str:
        return self.layout.shard_name(self.folder, row // self.layout.shard_rows)

    def _damaged(self, row: int, what: str) -> StoreError:
        return StoreError(f"{self._file(row)}, row {row}: {what}; `vstats verify` checks the store")
