"""The main job, end to end, on real videos drawn here."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import videos
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.errors import ConfigMismatch, StoreError, UsageError
from vstats.pipeline.extract import ExtractReport, extract
from vstats.pipeline.failures import Tally
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify

pytestmark = [pytest.mark.long, pytest.mark.matrix]

DIS = ExtractConfig(flow="dis", clips_per_video=3, crops="five", flip="both", save=("statistics",))
"""Many rows, cheap flow: for tests of the engine rather than of labels."""


def run(source: Path, store: Path, config: ExtractConfig = DIS, **options: Any) -> ExtractReport:
    return extract([str(source)], store, config, RunConfig(**options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos in two class folders, one of them too short and one not a video."""
    root = tmp_path_factory.mktemp("videos")
    (root / "moving").mkdir()
    (root / "resting").mkdir()
    videos.write_video(root / "moving" / "right.mkv", videos.moving_square("right", 13, 20, size=8))
    videos.write_video(root / "moving" / "turning.mkv", videos.rotating(24))
    videos.write_video(root / "resting" / "still.mkv", videos.still(18))
    videos.write_video(root / "resting" / "short.mkv", videos.still(9))
    (root / "resting" / "text.mp4").write_text("not a video\n")
    return root


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("stores") / "finished.vstats"
    run(folder, store)
    return store


def snapshot(store: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(store.rglob("*")) if p.is_file()}


def test_every_video_is_labelled_or_named(folder: Path, finished: Path) -> None:
    store = Store.open(finished)
    assert {v.key: v.status for v in store.videos} == {
        "moving/right.mkv": "ok",
        "moving/turning.mkv": "ok",
        "resting/short.mkv": "skipped",
        "resting/still.mkv": "ok",
        "resting/text.mp4": "failed",
    }
    named = {f.key: f for f in store.failures()}
    assert set(named) == {"resting/short.mkv", "resting/text.mp4"}
    assert named["resting/short.mkv"].stage == "plan"
    assert "9 frames decode and a clip reads 16" in named["resting/short.mkv"].message
    assert named["resting/text.mp4"].stage == "open"
    assert str(folder) not in named["resting/text.mp4"].message
    assert store.rows == 3 * 3 * 5 * 2
    assert (store.read("index/status") == 0).all()


def left_of_group(group: int, seconds: float = 5.0) -> list[str]:
    """Return the command lines of a process group's members that are still there after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        left = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    left.append((folder / "cmdline").read_text().replace("\0", " "))
            except (OSError, IndexError):
                continue  # it ended while we looked
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def test_a_second_run_writes_nothing(folder: Path, finished: Path) -> None:
    before = snapshot(finished)
    report = run(folder, finished)
    assert report.already_complete
    assert report.digest == Store.open(finished).digest
    assert snapshot(finished) == before


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2, "shard_size": 8}, {"shard_size": 64}])
def test_the_digest_depends_on_no_workers_and_no_shard_size(
    folder: Path, finished: Path, tmp_path: Path, options: dict[str, int]
) -> None:
    report = run(folder, tmp_path / "b.vstats", **options)
    assert report.digest == Store.open(finished).digest


def test_the_digest_depends_on_no_order_of_the_input(folder: Path, finished: Path, tmp_path: Path) -> None:
    names = [str(p.relative_to(folder)) for p in folder.rglob("*.m*")]
    random.Random(3).shuffle(names)
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(names) + "\n")
    report = extract([str(listed)], tmp_path / "b.vstats", DIS, RunConfig(shard_size=8), root=str(folder))
    assert report.digest == Store.open(finished).digest


def test_a_killed_run_goes_on_and_ends_with_the_same_digest(
    folder: Path, finished: Path, tmp_path: Path
) -> None:
    store = tmp_path / "killed.vstats"
    command = [
        sys.executable, "-m", "vstats.cli", "extract", str(folder), "-o", str(store), "--flow", "dis",
        "--clips-per-video", "3", "--crops", "five", "--flip", "both", "--statistics", "--shard-size", "8",
        "--workers", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(store.glob("ledger/*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (store / "COMMIT.json").exists()
    assert (store / "plan.json").exists()
    receipts = {p.name: p.stat().st_mtime_ns for p in store.glob("ledger/*.json")}
    report = run(folder, store)
    assert report.digest == Store.open(finished).digest
    assert report.computed_rows < report.rows
    assert all((store / "ledger" / name).stat().st_mtime_ns == written for name, written in receipts.items())
    assert verify(store).findings == ()


def test_sigint_ends_with_130_and_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "interrupted.vstats"
    command = [
        sys.executable, "-m", "vstats.cli", "extract", str(folder), "-o", str(store), "--clip-step", "1",
        "--flow", "farneback", "--workers", "1", "--shard-size", "1",
    ]  # fmt: skip
    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would not
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(signal.SIGINT, heeded)
    deadline = time.monotonic() + 60
    while not list(store.glob("ledger/*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: the workers get it too
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert left_of_group(process.pid) == []


def test_another_configuration_is_refused_with_what_differs(folder: Path, finished: Path) -> None:
    before = snapshot(finished)
    with pytest.raises(ConfigMismatch, match=r"flip: 'both' -> 'none'"):
        run(
            folder, finished, ExtractConfig(flow="dis", clips_per_video=3, crops="five", save=("statistics",))
        )
    assert snapshot(finished) == before


def test_another_input_is_refused_with_what_differs(folder: Path, finished: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    names = [
        "moving/right.mkv",
        "moving/turning.mkv",
        "moving/new.mkv",
        "resting/still.mkv",
        "resting/text.mp4",
    ]
    listed.write_text("\n".join(names) + "\n")
    with pytest.raises(ConfigMismatch) as refused:
        extract([str(listed)], finished, DIS, RunConfig(), root=str(folder))
    assert "1 videos are new (first: moving/new.mkv)" in str(refused.value)
    assert "1 videos are gone from the input (first: resting/short.mkv)" in str(refused.value)


def test_overwrite_starts_anew(folder: Path, finished: Path, tmp_path: Path) -> None:
    store = tmp_path / "b.vstats"
    shutil.copytree(finished, store)
    config = ExtractConfig(flow="dis")
    report = run(folder, store, config, overwrite=True)
    assert report.rows == 3
    assert verify(store).findings == ()


def test_a_folder_of_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"not a vstats store and not empty \(it holds thesis.tex\)"):
            run(folder, tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    report = extract([str(folder)], tmp_path / "b.vstats", DIS, RunConfig(), dry_run=True)
    assert report.rows == 90
    assert report.expected_bytes > 90 * 27
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_byte_in_any_file_is_found_and_named(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "b.vstats"
    run(folder, store, ExtractConfig(flow="dis", save=("clips",)))
    assert verify(store).findings == ()
    for path in sorted(p for p in store.rglob("*") if p.is_file()):
        content = path.read_bytes()
        for position in {len(content) // 3, len(content) - 1}:
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            findings = verify(store).findings
            assert findings, f"{path}: byte {position} of {len(content)} flipped, and nothing was found"
            assert any(path.name in f.where + f.message for f in findings), (path, findings)
        path.write_bytes(content)
    assert verify(store).findings == ()


def test_missing_and_foreign_files_are_named(finished: Path, tmp_path: Path) -> None:
    store = tmp_path / "b.vstats"
    shutil.copytree(finished, store)
    (store / "ledger" / "000001.json").unlink()
    (store / "labels.zarr" / "stray").write_text("?")
    found = {f.where: f.message for f in verify(store).findings}
    assert found == {"ledger/000001.json": "is missing", "labels.zarr/stray": "does not belong to the store"}


def test_a_damaged_shard_is_computed_anew_where_commit_is_removed(
    folder: Path, finished: Path, tmp_path: Path
) -> None:
    store = tmp_path / "b.vstats"
    shutil.copytree(finished, store)
    shard = store / "labels.zarr" / "labels" / "motion" / "pattern_1" / "c.1.0"
    content = shard.read_bytes()
    shard.write_bytes(content[:-3] + bytes([content[-3] ^ 4]) + content[-2:])
    (store / "COMMIT.json").unlink()
    report = run(folder, store)
    assert report.computed_rows == 8
    assert report.digest == Store.open(finished).digest
    assert verify(store).findings == ()


def test_recomputing_gives_the_same_bits_and_notices_another_video(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(folder, copy)
    store = tmp_path / "b.vstats"
    run(copy, store, ExtractConfig(flow="dis", flip="both"))
    report = verify(store, recompute_percent=100)
    assert report.findings == ()
    assert (report.rows_recomputed, report.videos_recomputed) == (6, 3)
    assert verify(store, recompute_percent=100, root=str(folder)).findings == ()
    videos.write_video(copy / "moving" / "right.mkv", videos.moving_square("left", 13, 20, size=8))
    findings = verify(store, recompute_percent=100).findings
    assert findings
    assert all("moving/right.mkv" in f.where for f in findings)
    assert any("has changed since it was planned" in f.message for f in findings)


def test_labels_that_were_tampered_with_are_found_by_recomputing(folder: Path, tmp_path: Path) -> None:
    # Someone edits a label and seals the store again: files and digests agree, only computing again can tell.
    from vstats.pipeline import store as stores

    path = tmp_path / "b.vstats"
    run(folder, path, ExtractConfig(flow="dis"))
    opened = Store.open(path)
    labels = opened.read("labels/motion/pattern_1")
    labels[1, 2] ^= 7
    place = opened.place
    stores.write_rows(place, 0, 0, {"labels/motion/pattern_1": labels})
    receipt = next(iter(opened.receipts()))
    name = "labels.zarr/labels/motion/pattern_1/c.0.0"
    entry = (place.sha256(name), place.size(name))
    stores.write_receipt(
        place, stores.ShardReceipt.from_json({**receipt.to_json(), "files": {**receipt.files, name: entry}})
    )
    stores.commit(opened, opened.videos, opened.failures(), {"rows": 3, "labelled": 3})
    assert verify(path).findings == ()
    (finding,) = verify(path, recompute_percent=100).findings
    assert finding.where == "row 1 (moving/turning.mkv)"
    assert "labels/motion/pattern_1" in finding.message


def test_saved_pixels_and_flow_belong_to_their_rows(folder: Path, tmp_path: Path) -> None:
    config = ExtractConfig(flow="dis", crops="corners", flip="both", save=("clips", "flow"))
    run(folder, tmp_path / "b.vstats", config)
    store = Store.open(tmp_path / "b.vstats")
    drawn = videos.moving_square("right", 13, 20, size=8)
    row = store.planned_rows(0, 2)
    assert [r.flip for r in row] == [False, True]
    clips, flow = store.read("clips", 0, 2), store.read("flow", 0, 2)
    start = row[0].start_frame
    expected = drawn[start : start + 16, :112, :112]
    assert np.abs(clips[0].astype(int) - expected).max() <= 3  # RGB -> YUV -> RGB
    assert (clips[1] == clips[0][:, :, ::-1]).all()
    assert flow.dtype == np.float16
    assert (flow[1, ..., 0] == -flow[0, :, :, ::-1, 0]).all()
    assert (flow[1, ..., 1] == flow[0, :, :, ::-1, 1]).all()


def test_a_looped_short_video_is_labelled(folder: Path, tmp_path: Path) -> None:
    report = run(folder, tmp_path / "b.vstats", ExtractConfig(flow="dis", short="loop"))
    assert report.videos == {"failed": 1, "ok": 4}


def test_listed_clips_past_the_end_are_named(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "clips.lst"
    listed.write_text(
        "moving/right.mkv 1 0\nmoving/right.mkv 5 0\nmoving/right.mkv 17 0\nmoving/gone.mkv 1 1\n"
    )
    report = extract(
        [str(listed)], tmp_path / "b.vstats", ExtractConfig(flow="dis"), RunConfig(), root=str(folder)
    )
    store = Store.open(tmp_path / "b.vstats")
    assert store.read("index/start_frame").tolist() == [0, 4]
    assert report.videos == {"missing": 1, "ok": 1}
    messages = {f.key: f.message for f in report.failures}
    assert "1 of 3 listed clips run past the end, first at 16" in messages["moving/right.mkv"]
    assert report.failed == 0


def test_overlapping_clips_share_frames_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    dense = ExtractConfig(flow="dis", clips_per_video=0, clip_step=1)
    run(folder / "moving", tmp_path / "dense.vstats", dense)
    dense_store = Store.open(tmp_path / "dense.vstats")
    assert dense_store.rows == 5 + 9
    sparse = ExtractConfig(flow="dis", clips_per_video=0, clip_step=4)
    run(folder / "moving", tmp_path / "sparse.vstats", sparse)
    sparse_store = Store.open(tmp_path / "sparse.vstats")
    rows = [(r.video, r.start_frame) for r in dense_store.planned_rows(0, 14)]
    chosen = [rows.index((r.video, r.start_frame)) for r in sparse_store.planned_rows(0, sparse_store.rows)]
    for name in ("labels/motion/pattern_1", "labels/appearance/pattern_3"):
        assert (dense_store.read(name)[chosen] == sparse_store.read(name)).all()


def test_an_unwritable_store_is_said_so(folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        run(folder, blocked / "b.vstats")


def test_a_store_of_nothing_but_failures_is_whole(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"")
    report = run(tmp_path / "videos", tmp_path / "b.vstats")
    assert (report.rows, report.failed) == (0, 1)
    assert verify(tmp_path / "b.vstats", recompute_percent=100).findings == ()
    assert run(tmp_path / "videos", tmp_path / "b.vstats").already_complete


def test_probing_goes_on_where_it_was_killed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vstats.pipeline import probe
    from vstats.pipeline.execute import SerialExecutor
    from vstats.pipeline.manifest import read_manifest
    from vstats.pipeline.place import LocalPlace
    from vstats.pipeline.progress import NoProgress

    monkeypatch.setattr(probe, "FLUSH_SECONDS", 0.0)
    probed: list[str] = []

    class Spy(SerialExecutor):
        def run(self, function: Any, tasks: Any) -> Any:
            tasks = list(tasks)
            probed.extend(key for task in tasks for key, _ in task.videos)
            return super().run(function, tasks)

    store = tmp_path / "b.vstats"
    rows = read_manifest([str(folder)]).rows
    first = probe.probe_all(
        rows, Spy(), NoProgress(), LocalPlace(store), RunConfig(device="cpu"), Tally(math.inf)
    )
    assert len(probed) == len(rows) == 5
    files = sorted((store / "probes").iterdir())
    assert [file.name for file in files] == [f"{number:06d}.jsonl" for number in range(5)]
    lost = json.loads(files[3].read_text())["key"]
    files[3].unlink()
    probed.clear()
    assert (
        probe.probe_all(
            rows, Spy(), NoProgress(), LocalPlace(store), RunConfig(device="cpu"), Tally(math.inf)
        )
        == first
    )
    # What failed is looked at again; of what did not, the one that the kill cost.
    assert set(probed) == {lost, "resting/text.mp4"}
    run(folder, store, ExtractConfig(flow="dis"))
    assert not (store / "probes").exists()


def test_what_a_kill_leaves_half_written_is_no_part_of_the_store(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "b.vstats"
    run(folder, store, ExtractConfig(flow="dis"))
    (store / "COMMIT.json").unlink()
    (store / "ledger" / ".000000.json.4321.partial").write_text("half")
    (store / "labels.zarr" / "index" / "video" / "c.1234.partial").write_text("half")
    run(folder, store, ExtractConfig(flow="dis"))
    assert not list(store.rglob("*.partial"))
    assert verify(store).findings == ()
