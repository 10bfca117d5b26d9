"""Stored clips on object storage: of each shard that a batch needs, its rows in one go, several shards at a time.

Shards lie as `clip_reader` says. A shard's index is fetched once and kept; `by_shard` of `ClipLoader` keeps few in use.
"""

import os
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from vstats.pipeline.clip_reader import MISSING, parse_layout, row_buffers
from vstats.pipeline.errors import StoreError, UsageError
from vstats.pipeline.place import ObjectPlace, each, open_place


class RemoteClips:
    """Random access to the rows of one array of pixels of a store on object storage.

    Every row is compared with its CRC-32C.

    Parameters
    ----------
    place : ObjectPlace
        Where the store is.
    array : str
        The array's name in it, such as ``labels.zarr/clips``.

    Raises
    ------
    StoreError
        There is no such array, or it is not stored one row per chunk with checksums.
    """

    def __init__(self, place: ObjectPlace, array: str) -> None:
        self.array = array
        where = place.where(f"{array}/zarr.json")
        self.layout = parse_layout(place.read(f"{array}/zarr.json"), where)
        if not self.layout.row_checked:
            raise StoreError(f"{where}: rows on object storage must have a CRC-32C each")
        self._indexes: dict[int, npt.NDArray[np.uint64]] = {}
        self._open(place)

    def _open(self, place: ObjectPlace) -> None:
        self._place, self._pid = place, os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "_url": str(self._place),
            **{n: v for n, v in self.__dict__.items() if n not in ("_place", "_pid")},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        place = open_place(state.pop("_url"))
        assert isinstance(place, ObjectPlace)
        self.__dict__.update(state)
        self._open(place)

    def read_into(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]], out: npt.NDArray[Any]) -> None:
        """Read rows into a C-contiguous buffer of the stored dtype: ``out[i]`` becomes row ``rows[i]``.

        Raises
        ------
        IndexError
            A row is not in the array.
        StoreError
            A shard is missing, ends early, or holds other bytes than were written, or the server cannot be reached.
        UsageError
            The process was forked: connections do not live on in it.
        """
        buffers = row_buffers(self.layout, rows, out)
        if self._pid != os.getpid():
            raise UsageError(
                f"{self._place}: a forked process cannot read object storage; "
                'give the loader multiprocessing_context="forkserver" or "spawn"'
            )
        shards: dict[int, list[int]] = {}
        for at, row in enumerate(rows):
            shards.setdefault(int(row) // self.layout.shard_rows, []).append(at)

        def read(shard: int) -> None:
            name = self.layout.shard_name(self.array, shard)
            mine = {at: int(rows[at]) for at in shards[shard]}
            places = self._index(shard, name)[
                [row % self.layout.shard_rows for row in mine.values()]
            ].tolist()
            stored = {at: tuple(place) for at, place in zip(mine, places, strict=True) if place[0] != MISSING}
            contents = dict(zip(stored, self._place.read_ranges(name, list(stored.values())), strict=True))
            for at, row in mine.items():
                if at not in contents:
                    buffers[at].view(self.layout.dtype)[:] = self.layout.fill
                    continue
                content, checksum = contents[at][:-4], contents[at][-4:]
                if len(content) != buffers.shape[1] or not _fits(content, checksum):
                    raise self._damaged(name, f"row {row} holds other bytes than were written")
                buffers[at] = np.frombuffer(content, np.uint8)

        list(each(self._place, read, shards))

    def _index(self, shard: int, name: str) -> npt.NDArray[np.uint64]:
        if shard not in self._indexes:
            size = self.layout.index_bytes
            at = self._place.size(name) - size if self.layout.index_at_end else 0
            if at < 0:
                raise self._damaged(name, "is cut short")
            (content,) = self._place.read_ranges(name, [(at, size)])
            if self.layout.index_checked and not _fits(content[:-4], content[-4:]):
                raise self._damaged(name, "its index holds other bytes than were written")
            self._indexes[shard] = self.layout.parse_index(content)
        return self._indexes[shard]

    def _damaged(self, name: str, what: str) -> StoreError:
        return StoreError(f"{self._place.where(name)}: {what}; `vstats verify` checks the store")


def _fits(content: bytes, checksum: bytes) -> bool:
    return bool(google_crc32c.value(content) == int.from_bytes(checksum, "little"))
