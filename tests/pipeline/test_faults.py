"""A fault of our own, or of what is installed, ends the run as what it is; what fails everywhere is not told video by video."""

import math
import os
import pickle
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from tests import videos
from vstats.cli.main import main
from vstats.pipeline import clips, decode, demo
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.errors import InternalError, SystematicFailure, TooManyFailures, WorkerError
from vstats.pipeline.execute import open_executor
from vstats.pipeline.extract import ExtractReport, extract
from vstats.pipeline.failures import TRIED, Tally, Trial
from vstats.pipeline.manifest import read_manifest
from vstats.pipeline.place import LocalPlace
from vstats.pipeline.probe import ProbeCache, probe_all
from vstats.pipeline.progress import NoProgress
from vstats.pipeline.retry import retry_failed
from vstats.pipeline.store import Store

pytestmark = pytest.mark.long

SHORT = ExtractConfig(flow="dis", clip_length=2)

BROKEN = '''
"""Breaks PyAV's open in decoding children."""
import os, sys
if "vstats.pipeline.decode_child" in sys.orig_argv:
    import av

    def broken(file, *rest, **options):
        with open(os.environ["TRIED"], "a") as log:
            log.write("one\\n")
        raise TypeError("open() got an unexpected keyword argument 'metadata_errors'")

    av.open = broken
'''


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Break PyAV's open in children; return the file that gets a line each time one calls it."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("TRIED", str(tmp_path / "tried"))
    return tmp_path / "tried"


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 100 names of one video."""
    root = tmp_path_factory.mktemp("hundred")
    videos.write_video(root / "000.mkv", videos.still(3))
    for number in range(1, 100):
        os.link(root / "000.mkv", root / f"{number:03}.mkv")
    return root


def vstats(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code, capsys.readouterr().err


def run(source: Path, store: Path, config: ExtractConfig = SHORT, **options: str) -> ExtractReport:
    return extract([str(source)], store, config, RunConfig(**options))


# ---------------------------------------------------------------------------------------------------- our own faults


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_call_of_the_decoder_ends_the_run_as_what_it_is(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    hundred: Path,
    tried: Path,
    tmp_path: Path,
    workers: int,
) -> None:
    def broken(*_: object, **__: object) -> None:
        with tried.open("a") as log:
            log.write("one\n")
        raise TypeError("open() got an unexpected keyword argument 'metadata_errors'")

    if not workers:
        monkeypatch.setattr(av, "open", broken)
    store = tmp_path / "a.vstats"
    code, said = vstats(
        capsys, "extract", hundred, "-o", store, "--flow", "dis", "--workers", workers, "--verbose"
    )
    assert code == 4
    traceback, _, last = said.rpartition("\nvstats: ")
    assert "a fault of vstats or of an installed library, not of your videos" in last
    assert "TypeError: open() got an unexpected keyword argument 'metadata_errors' (" in last
    assert ", in broken), " in last  # on a video, or on a known clip where this process is not proven yet
    assert f"av {av.__version__}" in last
    assert "--verbose" in last
    assert "Traceback (most recent call last)" in traceback
    assert "_open_video" in traceback
    assert len(tried.read_text().splitlines()) <= TRIED
    assert not (store / "plan.json").exists()
    assert not (store / "COMMIT.json").exists()


def test_a_fault_while_clips_are_cut_or_labelled_names_the_video(
    monkeypatch: pytest.MonkeyPatch, hundred: Path, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise AttributeError("module 'numpy' has no attribute 'bool8'")

    for where in ("clips.unknown_runs", "labels.label_rows"):
        with monkeypatch.context() as patch:
            patch.setattr(f"vstats.pipeline.{where}", broken)
            with pytest.raises(InternalError, match="AttributeError: module 'numpy' has") as caught:
                run(hundred / "007.mkv", tmp_path / "a.vstats")
        assert f", in broken), on {hundred / '007.mkv'}, with" in str(caught.value)
        assert not (tmp_path / "a.vstats" / "COMMIT.json").exists()


def test_a_fault_crosses_processes_whole() -> None:
    try:
        np.zeros(3).reshape(2)
    except ValueError as error:
        fault = InternalError.of(error, "a.mp4")
    again = pickle.loads(pickle.dumps(fault))
    assert (str(again), again.details, type(again)) == (str(fault), fault.details, InternalError)
    assert "ValueError: cannot reshape" in str(fault)
    assert "test_faults.py:" in str(fault)


def misspell(text: str) -> None:
    text.upcase()  # type: ignore[attr-defined]


def overflow(_: str) -> None:
    raise OSError(28, "No space left on device")


def test_workers_hand_on_what_went_wrong_and_stop_in_time(tmp_path: Path) -> None:
    rows = read_manifest([str(broken_downloads(tmp_path / "videos", 60))]).rows
    options = RunConfig(workers=2)
    with open_executor(options) as executor:
        with pytest.raises(
            InternalError, match="AttributeError: 'str' object has no attribute 'upcase'"
        ) as caught:
            list(executor.run(misspell, ["a"]))
        assert "text.upcase()" in caught.value.details
        with pytest.raises(WorkerError, match=r"a task failed 3 times \(OSError: .* No space left"):
            list(executor.run(overflow, ["a"]))
        place = LocalPlace(tmp_path / "a.vstats")
        with pytest.raises(SystematicFailure, match="all 20 videos"):
            probe_all(rows, executor, NoProgress(), place, options, Tally(math.inf))
    assert len(ProbeCache(place).read()) == TRIED


def test_what_the_system_refuses_is_no_fault_of_ours() -> None:
    assert str(InternalError.of(OSError(28, "No space left"))).startswith("the system refused: OSError: ")


def test_an_exception_that_no_command_foresaw_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise KeyError("families")

    monkeypatch.setattr("vstats.pipeline.place.open_place", lambda _: broken())
    code, said = vstats(capsys, "status", "a.vstats")
    assert code == 4
    assert len(said.splitlines()) == 1
    assert said.startswith(
        "vstats: a fault of vstats or of an installed library, not of your videos: KeyError: 'families' ("
    )
    code, said = vstats(capsys, "status", "a.vstats", "--verbose")
    assert code == 4
    assert said.startswith("Traceback (most recent call last):\n")


# ---------------------------------------------------------------------------------------------------- systematic failures


def broken_downloads(folder: Path, count: int) -> Path:
    """Make files that fail in the same way, though each begins with other bytes."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.mp4").write_bytes(f"<html>{number}'</html>".encode())
    return folder


def test_a_run_stops_where_the_first_videos_fail_in_the_same_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    probed: list[str] = []
    real = decode.probe_video
    monkeypatch.setattr(
        decode, "probe_video", lambda path, *rest: (probed.append(path), real(path, *rest))[1]
    )
    folder, store = broken_downloads(tmp_path / "videos", 50), tmp_path / "a.vstats"
    command = ["extract", folder, "-o", store, "--flow", "dis", "--workers", 0]
    for _ in range(2):  # the same command again tries again
        probed.clear()
        code, said = vstats(capsys, *command)
        assert code == 4
        assert len(probed) == len(set(probed)) == TRIED
        assert "all 20 videos that were tried fail in the same way" in said
        assert "[open] is not a video that FFmpeg recognises" in said
        assert "--max-failures" in said
        assert not (store / "plan.json").exists()
    code, said = vstats(capsys, *command, "--max-failures", "100%")
    assert code == 0
    assert Store.open(store).failures()[49].key == "049.mp4"
    assert len(retry_failed(store, run=RunConfig()).failing) == 50
    assert vstats(capsys, *command)[0] == 1, "it is complete, and nothing is tried again"


def test_one_good_video_or_another_way_to_fail_is_enough_to_go_on(hundred: Path, tmp_path: Path) -> None:
    folder = broken_downloads(tmp_path / "videos", 24)
    (folder / "012.mp4").write_bytes(b"")
    assert run(folder, tmp_path / "a.vstats").videos == {"failed": 24}
    with pytest.raises(TooManyFailures):
        run(folder, tmp_path / "b.vstats", max_failures="3")
    few = broken_downloads(tmp_path / "few", 2)
    with pytest.raises(SystematicFailure, match="all 2 videos"):
        run(few, tmp_path / "c.vstats")
    os.link(hundred / "000.mkv", few / "fine.mkv")
    assert run(few, tmp_path / "c.vstats").videos == {"failed": 2, "ok": 1}
    assert run(broken_downloads(tmp_path / "one", 1), tmp_path / "d.vstats").videos == {"failed": 1}


def test_what_an_earlier_run_could_read_counts(
    hundred: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = broken_downloads(tmp_path / "videos", 30)
    os.link(hundred / "000.mkv", folder / "000-fine.mkv")
    store = tmp_path / "a.vstats"
    monkeypatch.setattr("vstats.pipeline.extract.draft_plan", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(folder, store)
    monkeypatch.undo()
    monkeypatch.setattr("vstats.pipeline.failures.Trial.error", lambda _: AssertionError("it was stopped"))
    assert run(folder, store).videos == {"failed": 30, "ok": 1}


def test_a_run_stops_where_the_first_videos_cannot_be_labelled(hundred: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(32):
        shutil.copy(hundred / "000.mkv", folder / f"{number:03}.mkv")
    store = tmp_path / "a.vstats"
    calm = run(folder, store).digest
    (store / "COMMIT.json").unlink()
    shutil.rmtree(store / "ledger")
    aside = folder.rename(tmp_path / "aside")
    folder.mkdir()
    videos.write_video(tmp_path / "other.mkv", videos.rotating(3))
    for number in range(32):
        shutil.copy(tmp_path / "other.mkv", folder / f"{number:03}.mkv")
    for _ in range(2):
        with pytest.raises(
            SystematicFailure, match=r"all 24 videos .* \[find\] has changed since it was planned"
        ):
            run(folder, store)
        assert not list(store.glob("ledger/*.json")), "shards that failed so are still to be computed"
    shutil.rmtree(folder)
    aside.rename(folder)
    assert run(folder, store).digest == calm


def test_rows_that_a_profile_refuses_are_no_failure_of_the_run(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.mkv"):
        videos.write_video(tmp_path / name, videos.still(17))
    report = run(tmp_path, tmp_path / "a.vstats", ExtractConfig(flow="dis", profile="mas-released"))
    assert [failure.error for failure in report.failures] == ["RefusedRow"] * 2


def test_ways_to_fail_are_told_apart_by_stage_and_words() -> None:
    def tried(*ways: tuple[str, str]) -> int:
        trial = Trial(watching=True)
        for number, (stage, message) in enumerate(ways):
            trial.add([(str(number), stage, message)], succeeded=False)
        return trial.tried

    assert (
        tried(("decode", "none of its 3 packets decodes"), ("decode", "none of its 40 packets decodes")) == 2
    )
    assert tried(("open", r"begins with b'a\'b c'"), ("open", 'begins with b"it\'s"')) == 2
    assert (
        tried(
            ("find", "its sha256 is not 0a1b"),
            ("find", "its sha256 is not ffe9"),
            ("find", "its sha256 is not 12"),
        )
        == 3
    )
    assert tried(("open", "is empty"), ("find", "is empty")) == 0
    assert tried(("open", "is empty"), ("open", "is a picture")) == 0
    assert tried(("open", "is empty")) == 0


# ---------------------------------------------------------------------------------------------------- the demo


def test_a_demo_that_labels_nothing_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = vstats(
        capsys, "extract", "--demo", "--flow", "dis", "--workers", 0, "--clip-length", demo.FRAMES + 1
    )
    assert code == 1
    assert "the demo labelled nothing" in said
    monkeypatch.setattr(clips, "check_unchanged", lambda video: 1 / 0)
    code, said = vstats(capsys, "extract", "--demo", "--flow", "dis", "--workers", 0, "--overwrite")
    assert code == 4
    assert "ZeroDivisionError" in said
