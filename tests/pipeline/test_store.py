"""Digests, seals and shards of a store."""

import hashlib
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.durable import seal, unseal, write_durably
from vstats.pipeline.errors import NotAStore, NotCommitted, StoreError
from vstats.pipeline.place import LocalPlace
from vstats.pipeline.plan import video_rows
from vstats.pipeline.records import ArrayRecord, VideoRecord
from vstats.pipeline.store import Plan, ShardReceipt, Store

pytestmark = pytest.mark.matrix

VALUES = ArrayRecord(
    name="labels/some/thing",
    kind="statistic",
    shape=(3,),
    dtype="float32",
    fill=float("nan"),
    meaning="?",
)
PIXELS = ArrayRecord(name="clips", kind="pixels", shape=(2, 4, 4, 3), dtype="uint8", meaning="?")


def planned(path: Path, rows: int, shard_size: int) -> Plan:
    config = ExtractConfig(clips_per_video=0, clip_step=1)
    planned_rows = list(video_rows(0, "a.mp4", rows + 15, config)) if rows else []
    plan = Plan(
        config=config, rows=len(planned_rows), shard_size=shard_size, root="/data", source="list", kind="folder",
        input_sha256="0" * 64, arrays=(*stores.INDEX, stores.STATUS, VALUES, PIXELS), versions={"vstats": "0"},
        machine={"host": "here"}, planned_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    video = VideoRecord(key="a.mp4", status="planned", rows=rows, sha256="ab", frames=rows + 15)
    index = stores.IndexColumns()
    assert index.extend(planned_rows) == len(index) == len(planned_rows)
    stores.plan_store(LocalPlace(path), plan, index.arrays(), [video], [])
    return plan


def filled(path: Path, rows: int, shard_size: int, values: Any, pixels: Any) -> str:
    plan = planned(path, rows, shard_size)
    opened = Store.open(path, incomplete=True)
    for shard in range(plan.shards):
        start, stop = plan.shard_rows(shard)
        block = {
            "index/status": np.zeros(stop - start, np.uint8),
            VALUES.name: values[start:stop],
            PIXELS.name: pixels[start:stop],
        }
        files = stores.write_rows(opened.place, shard, start, block)
        receipt = ShardReceipt(
            shard=shard, start=start, stop=stop, plan_sha256=opened.plan_sha256, files=files,
            row_sha256=stores.row_digests(block, plan.arrays), labelled=stop - start,
            failures=(), seconds={"total": 1.5}, versions={}, machine={},
        )  # fmt: skip
        stores.write_receipt(opened.place, receipt)
        assert stores.read_receipt(opened.place, shard, opened.plan_sha256) == receipt
    return stores.commit(opened, opened.videos, [], {"rows": rows, "labelled": rows})


@settings(deadline=None, max_examples=8)
@given(data=st.data(), rows=st.integers(1, 40), sizes=st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_what_is_written_is_read_and_the_digest_knows_no_shards(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: int, sizes: tuple[int, int]
) -> None:
    values = data.draw(hnp.arrays(np.float32, (rows, 3), elements=st.floats(width=32)))
    pixels = np.random.default_rng(rows).integers(0, 256, (rows, 2, 4, 4, 3), dtype=np.uint8)
    digests = set()
    for size, at_once in zip(sizes, (stores.LEAF_ROWS, 8), strict=True):
        path = tmp_path_factory.mktemp("s") / "a.vstats"
        with mock.patch.object(stores, "LEAF_ROWS", at_once):
            digests.add(filled(path, rows, size, values, pixels))
        store = Store.open(path)
        assert store.read(VALUES.name).tobytes() == values.tobytes()
        assert (store.read(PIXELS.name) == pixels).all()
        assert [r.start_frame for r in store.planned_rows(0, rows)] == list(range(rows))
    assert len(digests) == 1


def test_the_digest_is_what_the_documentation_says(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "a.vstats"
    filled(path, 2, 8, values, np.zeros((2, 2, 4, 4, 3), np.uint8))
    head = b'vstats-array-v1\0{"dtype":"float32","name":"labels/some/thing","shape":[2,3]}\0'
    leaves = b"".join(hashlib.sha256(row.astype("<f4").tobytes()).digest() for row in values)
    store = Store.open(path)
    roots = store.compute_roots()
    assert store.committed is not None
    assert roots == store.committed["roots"], "pixels are not read again when committing"
    assert roots[VALUES.name] == hashlib.sha256(head + leaves).hexdigest()
    lines = sorted(f"{root}  {name}\n" for name, root in roots.items())
    assert Store.open(path).digest == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_any_one_value_changes_the_digest(tmp_path: Path) -> None:
    values = np.zeros((5, 3), np.float32)
    pixels = np.zeros((5, 2, 4, 4, 3), np.uint8)
    first = filled(tmp_path / "a.vstats", 5, 8, values, pixels)
    values[4, 2] = -0.0
    assert filled(tmp_path / "b.vstats", 5, 8, values, pixels) != first


def test_plain_zarr_reads_a_store(tmp_path: Path) -> None:
    values = np.arange(15, dtype=np.float32).reshape(5, 3)
    filled(tmp_path / "a.vstats", 5, 2, values, np.ones((5, 2, 4, 4, 3), np.uint8))
    group = zarr.open_group(tmp_path / "a.vstats" / "labels.zarr", mode="r")
    assert (np.asarray(group["labels/some/thing"]) == values).all()
    assert group["clips"].shape == (5, 2, 4, 4, 3)


def test_an_all_fill_shard_is_a_file_all_the_same(tmp_path: Path) -> None:
    nothing = np.full((4, 3), np.nan, np.float32)
    filled(tmp_path / "a.vstats", 4, 2, nothing, np.zeros((4, 2, 4, 4, 3), np.uint8))
    shards = sorted((tmp_path / "a.vstats" / "labels.zarr" / "clips").glob("c.*"))
    assert [p.name for p in shards] == ["c.0.0.0.0.0", "c.1.0.0.0.0"]


def test_a_disk_that_gives_back_other_bytes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = LocalPlace(tmp_path / "a.vstats")
    planned(place.path, 4, 4)

    def flip(place: LocalPlace, name: str, content: bytes) -> None:
        flipped = bytearray(content)
        flipped[4] ^= 1
        (place.path / name).parent.mkdir(parents=True, exist_ok=True)
        (place.path / name).write_bytes(flipped)

    monkeypatch.setattr(LocalPlace, "write", flip)
    with pytest.raises(StoreError, match="gives back other bytes"):
        stores.write_rows(place, 0, 0, {VALUES.name: np.zeros((4, 3), np.float32)})


def test_opening_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="is not there"):
        Store.open(tmp_path / "nowhere")
    with pytest.raises(NotAStore, match=r"holds no plan\.json"):
        Store.open(tmp_path)
    planned(tmp_path / "a.vstats", 4, 4)
    with pytest.raises(NotCommitted, match="has not finished"):
        Store.open(tmp_path / "a.vstats")
    plan = tmp_path / "a.vstats" / "plan.json"
    record = unseal(plan.read_bytes(), str(plan))
    write_durably(plan, seal({**record, "format_version": 99}))
    with pytest.raises(NotAStore, match="format 99"):
        Store.open(tmp_path / "a.vstats")


def test_a_receipt_counts_only_for_its_plan_and_its_files(tmp_path: Path) -> None:
    path = tmp_path / "a.vstats"
    filled(path, 4, 4, np.zeros((4, 3), np.float32), np.zeros((4, 2, 4, 4, 3), np.uint8))
    store = Store.open(path)
    assert stores.read_receipt(store.place, 0, store.plan_sha256) is not None
    assert stores.read_receipt(store.place, 0, "0" * 64) is None
    shard = path / "labels.zarr" / "labels" / "some" / "thing" / "c.0.0"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    assert stores.read_receipt(store.place, 0, store.plan_sha256) is None
    shard.write_bytes(content)
    receipt = path / stores.receipt_name(0)
    receipt.write_bytes(receipt.read_bytes().replace(b'"labelled":4', b'"labelled":3'))
    assert stores.read_receipt(store.place, 0, store.plan_sha256) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    record=st.dictionaries(st.text().filter(lambda name: name != "sha256"), json_values), flips=st.randoms()
)
def test_a_seal_shows_any_flipped_bit(record: Any, flips: Any) -> None:
    content = seal(record)
    assert unseal(content, "record.json") == json.loads(json.dumps(record))
    position = flips.randrange(len(content))
    flipped = content[position] ^ (1 << flips.randrange(8))
    with pytest.raises(StoreError, match=r"record\.json is damaged"):
        unseal(content[:position] + bytes([flipped]) + content[position + 1 :], "record.json")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(StoreError, match=r"Is a directory|exists|not empty"):
        write_durably(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    write_durably(tmp_path / "file", b"old")
    write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
