"""Videos that failed are mended in place, and a kill at any step costs nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import videos
from vstats.pipeline import clips
from vstats.pipeline import retry as engine
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.errors import DecodeError, NotAStore, NotCommitted, StoreBusy, StoreError, UsageError
from vstats.pipeline.extract import extract
from vstats.pipeline.lock import held
from vstats.pipeline.place import LocalPlace
from vstats.pipeline.plan import VideoRows
from vstats.pipeline.retry import RetryReport, retry_failed
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify

CONFIG = ExtractConfig(flow="dis")
LIST = "b.mkv 1 0\nb.mkv 2 0\na.mkv 2 1\nbroken.mkv 1 2\nbroken.mkv 3 2\nmissing.mkv 2 3\nrows.mkv 1 0\ntext.mp4 1 1\n"
"""Explicit clips, so that those of a video that failed have to be known when it is tried again."""


def draw(path: Path, seed: int) -> Path:
    return videos.write_video(path, videos.moving_square("right", 6, 17, seed=seed))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Return a folder of videos, its store, and the digest of an undisturbed run on good inputs.

    text.mp4 stays no video in both; broken.mkv is cut short, missing.mkv is not there, and rows.mkv cannot be read when
    its rows are computed.
    """
    base = tmp_path_factory.mktemp("retry")
    bad, good = base / "bad", base / "good"
    good.mkdir()
    for seed, name in enumerate(["a.mkv", "b.mkv", "broken.mkv", "missing.mkv", "rows.mkv"]):
        draw(good / name, seed)
    (good / "text.mp4").write_text("not a video\n")
    (good / "list.lst").write_text(LIST)
    shutil.copytree(good, bad)
    (bad / "missing.mkv").unlink()
    (bad / "broken.mkv").write_bytes(b"\0" * 100)
    digest = extract([str(good / "list.lst")], base / "good.vstats", CONFIG, RunConfig()).digest
    check = clips.check_unchanged

    def unreadable(video: VideoRows) -> None:
        check(video)
        if video.record.key == "rows.mkv":
            raise DecodeError(f"{video.path}: Input/output error", stage="decode")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "check_unchanged", unreadable)
        extract([str(bad / "list.lst")], base / "bad.vstats", CONFIG, RunConfig(shard_size=3))
    assert Store.open(base / "bad.vstats").digest != digest
    return bad, base / "bad.vstats", digest


@pytest.fixture
def case(originals: tuple[Path, Path, str], tmp_path: Path) -> tuple[Path, Path, str]:
    """Return the store and its videos in a folder of their own, where the videos can be mended, and the good digest."""
    folder, store, digest = originals
    shutil.copytree(folder, tmp_path / "videos")
    shutil.copytree(store, tmp_path / "s.vstats")
    return tmp_path / "videos", tmp_path / "s.vstats", digest


def mend(folder: Path) -> None:
    draw(folder / "broken.mkv", 2)
    draw(folder / "missing.mkv", 3)


def retry(store: Path, folder: Path) -> RetryReport:
    return retry_failed(store, run=RunConfig(), root=str(folder))


def snapshot(store: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(store.rglob("*")) if p.is_file()}


def beside(store: Path) -> set[str]:
    return {entry.name for entry in store.parent.iterdir()} - {"videos"}


def test_what_was_mended_takes_its_place(case: tuple[Path, Path, str]) -> None:
    folder, store, digest = case
    mend(folder)
    report = retry(store, folder)
    assert report.mended == {"broken.mkv": "ok", "missing.mkv": "ok", "rows.mkv": "ok"}
    assert [failure.key for failure in report.failing] == ["text.mp4"]
    assert (report.retried, report.missing, report.digest) == (4, 0, digest)
    assert beside(store) == {"s.vstats"}
    assert Store.open(store).plan.shard_size == 3
    assert verify(store).findings == ()
    assert extract([str(folder / "list.lst")], store, CONFIG, RunConfig()).already_complete


def test_videos_that_come_back_one_by_one_end_at_the_same_digest(case: tuple[Path, Path, str]) -> None:
    folder, store, digest = case
    first = retry(store, folder)
    assert first.mended == {"rows.mkv": "ok"}
    assert {failure.key for failure in first.failing} == {"broken.mkv", "text.mp4"}
    assert first.missing == 1
    assert verify(store).findings == ()
    mend(folder)
    assert retry(store, folder).digest == digest
    before = snapshot(store)
    again = retry(store, folder)
    assert (again.retried, again.mended) == (1, {})
    assert snapshot(store) == before
    assert beside(store) == {"s.vstats"}


def test_a_store_without_failures_is_left_alone(tmp_path: Path, case: tuple[Path, Path, str]) -> None:
    folder, _, _ = case
    extract([str(folder / "a.mkv")], tmp_path / "whole.vstats", CONFIG, RunConfig())
    before = snapshot(tmp_path / "whole.vstats")
    report = retry_failed(tmp_path / "whole.vstats", run=RunConfig())
    assert (report.retried, report.mended, report.failing) == (0, {}, ())
    assert snapshot(tmp_path / "whole.vstats") == before


def test_rows_that_a_profile_refuses_are_not_tried_again(tmp_path: Path) -> None:
    videos.write_video(tmp_path / "still.mkv", videos.still(17))
    config = ExtractConfig(profile="mas-released", flow="dis", flow_size="working")
    extract([str(tmp_path / "still.mkv")], tmp_path / "s.vstats", config, RunConfig())
    report = retry_failed(tmp_path / "s.vstats", run=RunConfig())
    assert report.retried == 0
    assert [failure.error for failure in report.failing] == ["RefusedRow"]


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


def killed(self: object) -> None:
    raise Killed


@pytest.fixture(scope="module")
def ready(originals: tuple[Path, Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the mended videos, the store, and everything beside it that the exchange needs."""
    base = tmp_path_factory.mktemp("ready")
    shutil.copytree(originals[0], base / "videos")
    shutil.copytree(originals[1], base / "s.vstats")
    mend(base / "videos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine._Workplace, "exchange", killed)
        with pytest.raises(Killed):
            retry(base / "s.vstats", base / "videos")
    return base


STEPS = 6


@pytest.mark.parametrize("step", range(STEPS))
def test_a_kill_between_any_two_steps_of_the_exchange_is_mended(
    ready: Path, originals: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    shutil.copytree(ready, tmp_path, dirs_exist_ok=True)
    folder, store, digest = tmp_path / "videos", tmp_path / "s.vstats", originals[2]
    steps = 0

    def count() -> None:
        nonlocal steps
        if steps == step:
            raise Killed
        steps += 1

    rename, remove = engine._Workplace._rename, shutil.rmtree

    def counted_rename(self: engine._Workplace, old: Path, new: Path) -> None:
        count()
        rename(self, old, new)

    def counted_remove(path: Path) -> None:
        if not path.exists():
            return
        count()
        remove(path / "again.vstats")  # a removal that is cut short leaves some of it
        count()
        remove(path)

    monkeypatch.setattr(engine._Workplace, "_rename", counted_rename)
    monkeypatch.setattr(engine.shutil, "rmtree", counted_remove)
    try:
        report = retry(store, folder)
        assert step == STEPS - 1
        assert steps == STEPS - 1
    except Killed:
        monkeypatch.undo()
        report = retry(store, folder)
    assert report.digest == digest
    assert {failure.key for failure in report.failing} == {"text.mp4"}
    if step < 3:  # later, the first run was through but for cleaning up
        assert set(report.mended) == {"broken.mkv", "missing.mkv", "rows.mkv"}
    assert beside(store) == {"s.vstats"}
    assert verify(store).findings == ()


@pytest.mark.parametrize("sign", ["again.vstats/ledger/*.json", "merged.vstats/ledger/*.json"])
def test_a_killed_retry_goes_on(case: tuple[Path, Path, str], sign: str) -> None:
    folder, store, digest = case
    mend(folder)
    command = [
        sys.executable,
        "-m",
        "vstats.cli",
        "retry-failed",
        str(store),
        "--root",
        str(folder),
        "--workers",
        "0",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    work = store.with_name("s.vstats.retry")
    deadline = time.monotonic() + 60
    while not list(work.glob(sign)) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert Store.open(store).digest != digest  # as it was, and whole
    assert verify(store).findings == ()
    assert retry(store, folder).digest == digest
    assert beside(store) == {"s.vstats"}


def test_leftovers_of_another_choice_of_videos_are_made_anew(case: tuple[Path, Path, str]) -> None:
    folder, store, digest = case
    draw(folder / "broken.mkv", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine._Workplace, "exchange", killed)
        with pytest.raises(Killed):
            retry(store, folder)
    draw(folder / "missing.mkv", 3)
    assert retry(store, folder).digest == digest


def test_a_damaged_store_stays_as_it_is(case: tuple[Path, Path, str]) -> None:
    folder, store, _ = case
    mend(folder)
    shard = store / "labels.zarr" / "labels" / "motion" / "global" / "c.0.0"
    content = shard.read_bytes()
    shard.write_bytes(content[:-3] + bytes([content[-3] ^ 4]) + content[-2:])
    before = snapshot(store)
    with pytest.raises(StoreError, match=r"c\.0\.0 is damaged"):
        retry(store, folder)
    assert snapshot(store) == before


def test_two_retries_of_one_store_are_refused(case: tuple[Path, Path, str]) -> None:
    folder, store, _ = case
    with held(LocalPlace(store.with_name("s.vstats.retry"))), pytest.raises(StoreBusy):
        retry(store, folder)
    assert retry(store, folder).mended == {"rows.mkv": "ok"}


def test_what_cannot_be_retried_is_said(case: tuple[Path, Path, str], tmp_path: Path) -> None:
    folder, store, _ = case
    with pytest.raises(NotAStore):
        retry(tmp_path / "nowhere.vstats", folder)
    with pytest.raises(UsageError, match="--root"):
        retry(store, tmp_path / "nowhere")
    (store / "COMMIT.json").unlink()
    with pytest.raises(NotCommitted):
        retry(store, folder)


def test_a_store_on_object_storage_is_refused() -> None:
    pytest.importorskip("obstore")
    with pytest.raises(UsageError, match="copy it to a disk"):
        retry_failed("memory://labels.vstats", run=RunConfig())
