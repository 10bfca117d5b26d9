"""Rows of stored pixels: the same that Zarr reads, whatever wrote them; and damage is named."""

import os
import pickle
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.codecs

from vstats.kernels.errors import InputError
from vstats.pipeline import clip_reader
from vstats.pipeline.clip_reader import ClipReader
from vstats.pipeline.errors import StoreError

pytestmark = pytest.mark.matrix

ROWS, SHARD, SHAPE = 21, 4, (3, 6, 5, 3)
CHECKED = zarr.codecs.Crc32cCodec()
CODECS: dict[str, list[Any]] = {
    "as stores have it": [CHECKED],
    "unchecked": [],
}


def pixels(dtype: str = "uint8") -> Any:
    values = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (ROWS, *SHAPE))
    return values.astype(dtype)


def write(folder: Path, values: Any, codecs: list[Any], **options: Any) -> Path:
    array = zarr.create_array(
        folder, shape=values.shape, chunks=(1, *SHAPE), shards=(SHARD, *SHAPE), dtype=values.dtype,
        compressors=codecs, chunk_key_encoding={"name": "default", "separator": "."}, **options,
    )  # fmt: skip
    array[:] = values
    return folder


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return write(tmp_path / "clips", pixels(), [CHECKED])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("codecs", CODECS)
@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_rows_are_what_was_written(tmp_path: Path, codecs: str, dtype: str, threads: int) -> None:
    values = pixels(dtype)
    reader = ClipReader(write(tmp_path / "clips", values, CODECS[codecs]), threads=threads)
    rows = 4 * [20, 0, 7, 7, 19, 3]  # enough for three threads
    assert (reader.read(rows) == values[rows]).all()
    assert (reader.read(np.array(rows)) == values[rows]).all()
    assert reader.read([]).shape == (0, *SHAPE)


def test_an_index_at_the_start_and_other_separators_are_read(tmp_path: Path) -> None:
    values = pixels()
    array = zarr.create_array(
        tmp_path / "clips", shape=values.shape, dtype="uint8", chunks=(SHARD, *SHAPE), compressors=None, filters=None,
        serializer=zarr.codecs.ShardingCodec(chunk_shape=(1, *SHAPE), codecs=[zarr.codecs.BytesCodec()],
                                             index_location="start"),
    )  # fmt: skip
    array[:] = values
    assert (ClipReader(tmp_path / "clips").read([5, 20]) == values[[5, 20]]).all()


@pytest.mark.parametrize("codecs", CODECS)
def test_a_row_that_zarr_left_out_is_its_fill(tmp_path: Path, codecs: str) -> None:
    values = pixels()
    values[6] = 9
    folder = write(tmp_path / "clips", values, CODECS[codecs], fill_value=9)
    assert (ClipReader(folder).read([5, 6]) == values[[5, 6]]).all()


def test_a_buffer_of_another_kind_is_refused(stored: Path) -> None:
    reader = ClipReader(stored)
    with pytest.raises(ValueError, match=r"out is .*float32.* it must be C-contiguous"):
        reader.read_into([1], np.empty((1, *SHAPE), np.float32))
    with pytest.raises(ValueError, match="it must be C-contiguous"):
        reader.read_into([1, 2], np.empty((4, *SHAPE), np.uint8)[::2])
    with pytest.raises(IndexError, match=f"row {ROWS} is not in the array"):
        reader.read([ROWS])
    with pytest.raises(IndexError):
        reader.read([-1])
    with pytest.raises(InputError, match="check is 'sometimes'"):
        ClipReader(stored, check="sometimes")


def flip_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_flipped_bytes_are_found_wherever_they_are(stored: Path) -> None:
    shard = stored / "c.1.0.0.0.0"
    size = shard.stat().st_size
    for at in random.Random(0).sample(range(size), 40):
        flip_byte(shard, at)
        with pytest.raises(StoreError, match=r"c\.1\.0\.0\.0\.0, row \d+: .*`vstats verify`"):
            ClipReader(stored).read(range(SHARD, 2 * SHARD))
        flip_byte(shard, at)
    assert (ClipReader(stored).read(range(ROWS)) == pixels()).all()


@pytest.mark.parametrize("shard", [0, 2, 4])
def test_damage_is_named_from_any_thread(stored: Path, shard: int) -> None:
    flip_byte(stored / f"c.{shard}.0.0.0.0", 3)
    reader = ClipReader(stored, threads=3)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"row {shard * SHARD}: holds other bytes"):
            reader.read(range(ROWS))
        assert (reader.read([9, 13, 18]) == pixels()[[9, 13, 18]]).all()


def test_nobody_writes_into_a_batch_that_was_given_up(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, ended = ClipReader._read_rows, []

    def slow_but_for_the_first(self: ClipReader, wanted: Any) -> None:
        if wanted[0].row:
            time.sleep(0.2)
        read(self, wanted)
        ended.append(wanted[0].row)

    flip_byte(stored / "c.0.0.0.0.0", 3)
    monkeypatch.setattr(ClipReader, "_read_rows", slow_but_for_the_first)
    with pytest.raises(StoreError, match="row 0: holds other bytes"):
        ClipReader(stored, threads=3).read(range(ROWS))
    assert sorted(ended) == [8, 16]


def test_first_checks_once_always_each_time_never_not_at_all(stored: Path) -> None:
    readers = {check: ClipReader(stored, check=check) for check in clip_reader.CHECKS}
    for reader in readers.values():
        reader.read([4])
    flip_byte(stored / "c.1.0.0.0.0", 0)  # the same file: no reader has to open it again
    readers["first"].read([4])
    readers["never"].read([4])
    with pytest.raises(StoreError, match="holds other bytes than were written"):
        readers["always"].read([4])


def test_shards_that_are_gone_or_cut_short_are_named(stored: Path) -> None:
    shard = stored / "c.2.0.0.0.0"
    whole = shard.read_bytes()
    for length in (0, 5, 64, len(whole) - 1, len(whole) // 2):
        shard.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"c\.2\.0\.0\.0\.0, row \d+: (is cut short|holds other bytes)"):
            ClipReader(stored).read([8])
    shard.unlink()
    with pytest.raises(StoreError, match=r"c\.2\.0\.0\.0\.0 cannot be opened: No such file"):
        ClipReader(stored).read([8])
    assert (ClipReader(stored).read([0]) == pixels()[[0]]).all()


def test_a_shard_that_shrinks_under_an_open_reader_is_named(stored: Path) -> None:
    reader = ClipReader(stored)
    reader.read([4])
    os.truncate(stored / "c.1.0.0.0.0", 10)
    with pytest.raises(StoreError, match="is cut short"):
        reader.read([4])


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (2, *SHAPE), "shards": (4, *SHAPE)},
        {"chunks": (1, *SHAPE)},
        {"zarr_format": 2, "chunks": (1, *SHAPE)},
        {"chunks": (1, *SHAPE), "shards": (4, *SHAPE), "compressors": [zarr.codecs.ZstdCodec()]},
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    zarr.create_array(tmp_path / "clips", shape=(ROWS, *SHAPE), dtype="uint8", **options)
    with pytest.raises(StoreError, match=r"zarr\.json"):
        ClipReader(tmp_path / "clips")


def test_damaged_metadata_is_refused(stored: Path) -> None:
    for content in (b"", b"{}", b"[1]", b"\xff", (stored / "zarr.json").read_bytes()[:-30]):
        (stored / "zarr.json").write_bytes(content)
        with pytest.raises(StoreError, match=r"zarr\.json does not describe"):
            ClipReader(stored)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_files_are_open_at_a_time(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_reader, "OPEN_FILES", 2)
    reader = ClipReader(stored)
    before = open_files()
    for _ in range(3):
        assert (reader.read(range(ROWS)) == pixels()).all()
        assert open_files() <= before + 2
    reader.close()
    assert open_files() == before
    assert (reader.read([1]) == pixels()[[1]]).all()
    del reader
    assert open_files() == before


def test_a_reader_crosses_into_other_processes(stored: Path) -> None:
    reader = ClipReader(stored)
    reader.read(range(ROWS))
    copy = pickle.loads(pickle.dumps(reader))
    assert (copy.read([9]) == pixels()[[9]]).all()
    child = os.fork()
    if child == 0:
        mine = open_files()
        good = bool((reader.read([3, 20]) == pixels()[[3, 20]]).all())
        os._exit(0 if good and open_files() <= mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (reader.read([2]) == pixels()[[2]]).all()
