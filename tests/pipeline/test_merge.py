"""Stores that were extracted in parts become the store that one extraction makes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests import videos
from vstats.pipeline import clips, device
from vstats.pipeline import config as configs
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.errors import (
    ConfigMismatch,
    DecodeError,
    NotCommitted,
    StoreBusy,
    StoreError,
    UsageError,
)
from vstats.pipeline.extract import extract
from vstats.pipeline.lock import held
from vstats.pipeline.manifest import read_manifest, write_manifest
from vstats.pipeline.merge import merge
from vstats.pipeline.parts import Part, select
from vstats.pipeline.place import LocalPlace
from vstats.pipeline.plan import VideoRows
from vstats.pipeline.records import Failure
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify

CONFIG = ExtractConfig(
    profile="mas-released",
    flow="dis",
    flow_size="working",
    clips_per_video=2,
    crops="corners",
    save=("clips",),
)
"""Cheap flow, several rows a video, pixels; and a profile that refuses rows without motion."""
OF = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that are labelled, refused, too short, broken and missing, with a list of them and of explicit clips."""
    root = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(["a.mkv", "d.mkv", "e.mkv", "f.mkv", "b/x.mkv", "ü y.mkv"]):
        (root / name).parent.mkdir(exist_ok=True)
        videos.write_video(root / name, videos.moving_square("right", 6, 17, seed=number))
    videos.write_video(root / "still.mkv", videos.still(18))
    videos.write_video(root / "short.mkv", videos.still(9))
    (root / "text.mp4").write_text("not a video\n")
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.m*"))
    (root / "list.txt").write_text("\n".join([*names, "gone.mp4", "b/gone.mp4"]) + "\n")
    return root


@pytest.fixture(scope="module")
def stores(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The list in one piece and in three parts; d.mkv vanishes after planning."""
    out = tmp_path_factory.mktemp("stores")
    check = clips.check_unchanged

    def vanished(video: VideoRows) -> None:
        check(video)
        if video.record.key == "d.mkv":
            raise DecodeError(f"{video.path}: No such file or directory", stage="find")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "check_unchanged", vanished)
        extract([str(folder / "list.txt")], out / "whole.vstats", CONFIG, RunConfig(shard_size=8))
        manifest = read_manifest([str(folder / "list.txt")])
        for number in range(1, OF + 1):
            listed = out / f"part-{number}.jsonl"
            write_manifest(select(manifest, Part(number=number, of=OF)), listed)
            patch.setattr(device, "machine", lambda n=number: {"host": f"node {n}", "cpu": "one"})
            run = RunConfig(shard_size=8 - number)
            extract([str(listed)], out / f"{number}.vstats", CONFIG, run, root=str(folder))
    return out


@pytest.fixture(scope="module")
def merged(stores: Path) -> Path:
    merge(parts(stores), stores / "merged.vstats", shard_size=10)
    return stores / "merged.vstats"


def parts(stores: Path) -> list[Path]:
    return [stores / f"{number}.vstats" for number in range(1, OF + 1)]


def snapshot(store: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(store.rglob("*")) if p.is_file()}


def row_failures(failures: list[Failure]) -> dict[tuple[str, int], tuple[str, str, str, str]]:
    return {(f.key, row): (f.status, f.stage, f.error, f.message) for f in failures for row in f.rows}


def test_the_parts_hold_something_to_merge(stores: Path) -> None:
    held = [[video.key for video in Store.open(part).videos] for part in parts(stores)]
    assert all(len(keys) > 1 for keys in held)
    assert {v.status for v in Store.open(stores / "whole.vstats").videos} == {
        "ok",
        "skipped",
        "failed",
        "missing",
    }


def test_merged_parts_are_the_one_piece(stores: Path, merged: Path, folder: Path) -> None:
    whole, joined = Store.open(stores / "whole.vstats"), Store.open(merged)
    assert joined.digest == whole.digest
    assert joined.plan.input_sha256 == whole.plan.input_sha256
    assert joined.videos == whole.videos
    assert (joined.planned_rows(0, joined.rows)) == whole.planned_rows(0, whole.rows)
    for name in whole.names():
        assert joined.read(name).tobytes() == whole.read(name).tobytes(), name
    assert row_failures(joined.failures()) == row_failures(whole.failures())
    assert len(row_failures(whole.failures())) == 16
    without_rows = [f for f in whole.failures() if not f.rows]
    assert [f for f in joined.failures() if not f.rows] == without_rows
    assert len(without_rows) == 4
    assert joined.committed is not None
    assert whole.committed is not None
    assert joined.committed["labelled"] == whole.committed["labelled"]
    assert verify(merged).findings == ()


def test_a_receipt_names_the_failures_of_its_own_rows(merged: Path) -> None:
    store = Store.open(merged)
    status = store.read("index/status")
    for receipt in store.receipts():
        named = {row for failure in receipt.failures for row in failure.rows}
        bad = {row for row in range(receipt.start, receipt.stop) if status[row] != 0}
        assert named == bad
        assert receipt.labelled == receipt.stop - receipt.start - len(bad)


def test_an_extraction_of_the_whole_input_finds_the_merged_store_complete(folder: Path, merged: Path) -> None:
    before = snapshot(merged)
    report = extract([str(folder / "list.txt")], merged, CONFIG, RunConfig())
    assert report.already_complete
    assert snapshot(merged) == before


def test_explicit_clips_are_kept(tmp_path: Path, folder: Path) -> None:
    listed = tmp_path / "clips.lst"
    listed.write_text("a.mkv 1 0\na.mkv 2 0\na.mkv 40 0\nf.mkv 2 1\n")
    config = ExtractConfig(flow="dis")
    extract([str(listed)], tmp_path / "clips", config, RunConfig(), root=str(folder))
    manifest = read_manifest([str(listed)], root=str(folder))
    for number in (1, 3):
        part = tmp_path / f"{number}.jsonl"
        write_manifest(select(manifest, Part(number=number, of=OF)), part)
        extract([str(part)], tmp_path / str(number), config, RunConfig(), root=str(folder))
    report = merge([tmp_path / "3", tmp_path / "1"], tmp_path / "merged")
    whole = Store.open(tmp_path / "clips")
    assert report.digest == whole.digest
    assert Store.open(tmp_path / "merged").plan.input_sha256 == whole.plan.input_sha256
    assert [video.start_frames for video in whole.videos] == ["0 1 39", "1"]


def test_neither_order_nor_shards_nor_steps_matter(stores: Path, merged: Path, tmp_path: Path) -> None:
    digest = Store.open(merged).digest
    one, two, three = parts(stores)
    merge([two, three], tmp_path / "c.vstats", shard_size=64)
    assert merge([tmp_path / "c.vstats", one], tmp_path / "d.vstats", shard_size=16).digest == digest
    made_of = json.loads((tmp_path / "d.vstats" / "parts.json").read_text())
    assert [part["store"] for part in made_of["parts"]] == ["2.vstats", "3.vstats", "1.vstats"]
    assert made_of["sources"] == sorted([Store.open(tmp_path / "c.vstats").digest, Store.open(one).digest])


def test_who_made_which_part_is_kept(stores: Path, merged: Path) -> None:
    listed = json.loads((merged / "parts.json").read_text())["parts"]
    assert [(p["store"], p["rows"], p["digest"]) for p in listed] == [
        (path.name, Store.open(path).rows, Store.open(path).digest) for path in parts(stores)
    ]
    assert all(part["versions"]["numpy"] and part["worker_seconds"]["total"] > 0 for part in listed)
    hosts = {receipt.machine["host"] for receipt in Store.open(merged).receipts()}
    assert any(" | " in host for host in hosts)
    assert {name for host in hosts for name in host.split(" | ")} == {"node 1", "node 2", "node 3"}


def test_a_second_run_writes_nothing(stores: Path, merged: Path) -> None:
    before = snapshot(merged)
    report = merge(parts(stores), merged)
    assert report.already_complete
    assert report.digest == Store.open(merged).digest
    assert snapshot(merged) == before


def test_a_killed_merge_goes_on(stores: Path, merged: Path, tmp_path: Path) -> None:
    store = tmp_path / "killed.vstats"
    command = [
        sys.executable, "-m", "vstats.cli", "merge", *map(str, parts(stores)), "-o", str(store), "--shard-size", "4"
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while (
        len(list(store.glob("ledger/[0-9]*.json"))) < 2
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (store / "COMMIT.json").exists()
    receipts = {p.name: p.stat().st_mtime_ns for p in store.glob("ledger/[0-9]*.json")}
    assert len(receipts) >= 2
    report = merge(parts(stores), store)
    assert report.digest == Store.open(merged).digest
    assert report.merged_rows == report.rows - 4 * len(receipts)
    assert all((store / "ledger" / name).stat().st_mtime_ns == written for name, written in receipts.items())
    assert verify(store).findings == ()


def test_a_merge_killed_while_planning_starts_over(stores: Path, merged: Path, tmp_path: Path) -> None:
    store = tmp_path / "b.vstats"
    shutil.copytree(merged, store)
    for name in ("plan.json", "COMMIT.json", "manifest-sha256.txt"):
        (store / name).unlink()
    shutil.rmtree(store / "ledger")
    assert merge(parts(stores), store, shard_size=64).digest == Store.open(merged).digest


def test_a_damaged_shard_of_an_unfinished_merge_is_made_anew(
    stores: Path, merged: Path, tmp_path: Path
) -> None:
    store = tmp_path / "b.vstats"
    shutil.copytree(merged, store)
    (store / "COMMIT.json").unlink()
    shard = store / "labels.zarr" / "clips" / "c.1.0.0.0.0"
    content = shard.read_bytes()
    shard.write_bytes(content[:-30] + bytes([content[-30] ^ 4]) + content[-29:])
    report = merge(parts(stores), store)
    assert report.merged_rows == 10
    assert report.digest == Store.open(merged).digest
    assert verify(store).findings == ()


@pytest.mark.parametrize(
    "name",
    [
        "labels.zarr/clips/c.0.0.0.0.0",
        "labels.zarr/index/start_frame/c.0",
        "labels.zarr/index/status/c.0",
        "labels.zarr/index/status/zarr.json",
        "videos.parquet",
        "failures.jsonl",
        "ledger/000000.json",
        "manifest-sha256.txt",
        "plan.json",
        "COMMIT.json",
    ],
)
def test_a_flipped_byte_of_a_part_is_named(stores: Path, tmp_path: Path, name: str) -> None:
    part = tmp_path / "part.vstats"
    shutil.copytree(stores / "1.vstats", part)
    content = (part / name).read_bytes()
    middle = len(content) // 2
    (part / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(StoreError) as refused:
        merge([part, stores / "2.vstats"], tmp_path / "b.vstats", shard_size=64)
    assert str(part / name) in str(refused.value)
    assert not (tmp_path / "b.vstats" / "COMMIT.json").exists()


def test_parts_of_other_configurations_are_refused(stores: Path, folder: Path, tmp_path: Path) -> None:
    other = replace(CONFIG, crops="center", tvl1=replace(CONFIG.tvl1, tau=0.1))
    extract([str(folder / "b")], tmp_path / "other.vstats", other, RunConfig())
    with pytest.raises(ConfigMismatch) as refused:
        merge([stores / "1.vstats", tmp_path / "other.vstats"], tmp_path / "b.vstats")
    assert "crops: 'corners' -> 'center'" in str(refused.value)
    assert "tvl1.tau: 0.25 -> 0.1" in str(refused.value)
    assert not (tmp_path / "b.vstats").exists()


def test_parts_of_another_label_version_are_refused(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "LABEL_VERSION", 1000)
    with pytest.raises(ConfigMismatch, match="labels of another version"):
        merge(parts(stores), tmp_path / "b.vstats")


def test_overlapping_parts_are_refused_unless_the_later_one_mends(
    stores: Path, merged: Path, tmp_path: Path
) -> None:
    second = Store.open(stores / "2.vstats")
    with pytest.raises(UsageError) as refused:
        merge([stores / "2.vstats", merged], tmp_path / "b.vstats")
    assert f"both hold {len(second.videos)} videos (first: {second.keys()[0]})" in str(refused.value)
    report = merge([merged, stores / "2.vstats"], tmp_path / "b.vstats", shard_size=64, mend=True)
    assert report.digest == Store.open(merged).digest


def test_what_cannot_be_merged_or_written_to_is_said(stores: Path, merged: Path, tmp_path: Path) -> None:
    one, two, _ = parts(stores)
    unfinished = tmp_path / "unfinished.vstats"
    shutil.copytree(one, unfinished)
    (unfinished / "COMMIT.json").unlink()
    with pytest.raises(NotCommitted, match="unfinished"):
        merge([unfinished, two], tmp_path / "b.vstats")
    with pytest.raises(UsageError, match="one of the stores"):
        merge([one, two], one)
    with pytest.raises(ConfigMismatch, match="it is no merge"):
        merge([one, two], stores / "whole.vstats")
    with pytest.raises(ConfigMismatch, match="1 of its 3 are not among these"):
        merge([one, two], merged)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        merge([one, two], tmp_path / "thesis")
    with pytest.raises(UsageError, match="is a file"):
        merge([one, two], tmp_path / "thesis" / "thesis.tex")
    assert not (tmp_path / "b.vstats").exists()


def test_parts_without_rows_or_videos_are_whole_parts(
    folder: Path, stores: Path, merged: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "zzz.mp4").write_text("not a video\n")
    extract([str(tmp_path / "texts")], tmp_path / "texts.vstats", CONFIG, RunConfig())
    report = merge([*parts(stores), tmp_path / "texts.vstats"], tmp_path / "b.vstats", shard_size=64)
    whole = Store.open(merged)
    failed = {failure.key for failure in whole.failures() if failure.status == "failed"}
    assert (report.rows, report.failed) == (whole.rows, len(failed) + 1)
    assert any("2 roots" in note for note in report.notes)
    assert Store.open(tmp_path / "b.vstats").plan.root == str(folder)
    alone = merge([tmp_path / "texts.vstats"], tmp_path / "c.vstats")
    assert alone.digest == Store.open(tmp_path / "texts.vstats").digest


def test_two_merges_into_one_store_are_refused(stores: Path, tmp_path: Path) -> None:
    (tmp_path / "b.vstats").mkdir()
    with held(LocalPlace(tmp_path / "b.vstats")), pytest.raises(StoreBusy, match=f"process {os.getpid()}"):
        merge(parts(stores), tmp_path / "b.vstats")


def test_stores_on_object_storage_are_merged(stores: Path, merged: Path) -> None:
    pytest.importorskip("obstore")
    digest = Store.open(merged).digest
    report = merge(parts(stores), "memory://merged.vstats", shard_size=64)
    assert report.digest == digest
    assert merge(["memory://merged.vstats"], "memory://again.vstats", shard_size=64).digest == digest
    assert verify("memory://again.vstats").findings == ()
