"""A decoder that crashes, hangs or eats memory costs one video; otherwise a child decodes what this process would."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import videos
from vstats.pipeline import decode
from vstats.pipeline.config import DecodeLimits
from vstats.pipeline.decoder import DEATHS, Child, InProcess, decoder_for
from vstats.pipeline.errors import DecodeError, InternalError, WorkerError

pytestmark = pytest.mark.matrix

POISON = '''
"""Makes the decoding child crash, hang or eat memory on videos whose names say so."""
import sys
if "vstats.pipeline.decode_child" in sys.orig_argv:
    import ctypes, time
    from vstats.pipeline import decode

    def poisoned(function):
        def run(path, *rest):
            if "segfault" in path:
                ctypes.string_at(0)
            if "hang" in path:
                time.sleep(600)
            if "bomb" in path:
                kept = []
                while True:
                    kept.append(bytearray(1 << 24))
            if "fault" in path:
                raise TypeError("open() got an unexpected keyword argument 'metadata_errors'")
            return function(path, *rest)
        return run

    decode.probe_video = poisoned(decode.probe_video)
    decode.wanted_frames = poisoned(decode.wanted_frames)
'''

LINE_OF_FAULT = next(n for n, line in enumerate(POISON.splitlines(), start=1) if "TypeError" in line)


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start Python processes with a sitecustomize that poisons the decoding child, and nothing else."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "fine.mkv"
    videos.write_video(path, videos.rotating(20))
    return path


def test_a_child_gives_the_frames_that_this_process_gives(video: Path) -> None:
    child = Child(DecodeLimits())
    assert child.probe(str(video)) == decode.probe_video(str(video))
    wanted = [0, 3, 4, 19]
    mine = list(decode.wanted_frames(str(video), wanted))
    theirs = list(child.frames(str(video), wanted))
    assert [index for index, _ in theirs] == wanted
    assert all((a == b).all() for (_, a), (_, b) in zip(mine, theirs, strict=True))
    assert list(child.frames(str(video), [])) == []
    child.stop()


def test_real_clips_come_out_equal(data_dir: Path) -> None:
    child = Child(DecodeLimits())
    for path in sorted([*(data_dir / "videos").iterdir(), *(data_dir / "broken").iterdir()]):
        outcomes = []
        for decoder in (child, InProcess()):
            try:
                probe = decoder.probe(str(path))
                frames = [
                    rgb.tobytes() for _, rgb in decoder.frames(str(path), range(0, min(20, probe.frames), 5))
                ]
                outcomes.append((probe, frames))
            except DecodeError as error:
                outcomes.append((error.stage, str(error)))
        assert outcomes[0] == outcomes[1], path
    child.stop()


def test_errors_come_through(tmp_path: Path) -> None:
    child = Child(DecodeLimits())
    (tmp_path / "text.mp4").write_text("no video")
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"text\.mp4.*not a video that FFmpeg recognises") as caught:
            child.probe(str(tmp_path / "text.mp4"))
        assert caught.value.stage == "open"
    child.stop()


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("segfault", r"crashed on it 3 times \(ended by SIGSEGV\)"),
        ("hang", r"no frame came for 1 s \(--decode-timeout\)"),
        ("bomb", r"needs more than the 1024 MiB that --decode-memory allows"),
    ],
)
def test_a_poison_video_costs_itself(video: Path, name: str, words: str) -> None:
    child = Child(DecodeLimits(timeout_seconds=1 if name == "hang" else 60, memory_bytes=1 << 30))
    bad = video.with_name(f"{name}.mkv")
    bad.write_bytes(video.read_bytes())
    with pytest.raises(DecodeError, match=words) as caught:
        child.probe(str(bad))
    assert caught.value.stage == "decode"
    with pytest.raises(DecodeError, match=words):
        next(child.frames(str(bad), [0]))
    assert child.probe(str(video)).frames == 20
    child.stop()


@pytest.mark.usefixtures("poison")
def test_a_fault_that_is_no_decoding_error_comes_through_as_what_it_is(video: Path) -> None:
    child = Child(DecodeLimits())
    bad = video.with_name("fault.mkv")
    bad.write_bytes(video.read_bytes())
    for ask in (lambda: child.probe(str(bad)), lambda: next(child.frames(str(bad), [0]))):
        with pytest.raises(InternalError, match=r"TypeError: open\(\) got an unexpected keyword") as caught:
            ask()
        assert f"sitecustomize.py:{LINE_OF_FAULT}, in run), on {bad}, with" in str(caught.value)
        assert caught.value.details.startswith("Traceback (most recent call last):\n")
    assert child.probe(str(video)).frames == 20
    child.stop()


def test_a_video_left_in_the_middle_does_not_disturb_the_next(video: Path) -> None:
    child = Child(DecodeLimits())
    frames = child.frames(str(video), range(20))
    next(frames)
    frames.close()
    assert [index for index, _ in child.frames(str(video), [5])] == [5]
    first = child._process
    assert [index for index, _ in child.frames(str(video), [0, 7])] == [0, 7]
    assert child._process is first, "a child that finished its request is kept"
    child.stop()


def kill(child: Child) -> None:
    assert child._process is not None
    os.kill(child._process.pid, signal.SIGKILL)
    time.sleep(0.1)


def test_a_child_that_is_killed_is_replaced_and_costs_nothing(video: Path) -> None:
    child = Child(DecodeLimits())
    child.probe(str(video))
    kill(child)
    assert child.probe(str(video)).frames == 20
    frames = child.frames(str(video), range(20))
    found = [next(frames)]
    for _ in range(DEATHS - 1):
        kill(child)
        found.append(next(frames))
    found += frames
    expected = list(decode.wanted_frames(str(video), range(20)))
    assert [(index, rgb.tobytes()) for index, rgb in found] == [(i, rgb.tobytes()) for i, rgb in expected]
    child.stop()


def test_a_video_on_which_child_after_child_dies_is_given_up(video: Path) -> None:
    child = Child(DecodeLimits())
    frames = child.frames(str(video), range(20))
    for _ in range(DEATHS):
        next(frames)
        kill(child)
    with pytest.raises(DecodeError, match=r"crashed on it 3 times \(ended by SIGKILL\)"):
        next(frames)
    assert child.probe(str(video)).frames == 20
    child.stop()


def test_that_a_child_starts_late_or_not_at_all_is_no_videos_fault(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "sitecustomize.py"
    when = "import os, sys, time\nif 'vstats.pipeline.decode_child' in sys.orig_argv:"
    site.write_text(f"{when} time.sleep(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = Child(DecodeLimits(timeout_seconds=0.5))
    assert child.probe(str(video)).frames == 20
    child.stop()
    site.write_text(f"{when} os._exit(1)")
    with pytest.raises(WorkerError, match="a decoding process does not start"):
        child.probe(str(video))
    site.write_text(f"{when} sys.modules['av'] = None")
    with pytest.raises(WorkerError, match=r"ends at once: (ModuleNotFound|Import)Error: import of av halted"):
        child.probe(str(video))


@pytest.mark.usefixtures("poison")
def test_a_child_does_not_outlive_its_worker(video: Path) -> None:
    bad = video.with_name("hang.mkv")
    bad.write_bytes(video.read_bytes())
    script = (
        "import sys, threading\n"
        "from vstats.pipeline.config import DecodeLimits\n"
        "from vstats.pipeline.decoder import Child\n"
        "child = Child(DecodeLimits())\n"
        "threading.Timer(1.0, lambda: print(child._process.pid, flush=True)).start()\n"
        "child.probe(sys.argv[1])\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", script, str(bad)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    os.kill(pid, 0)
    worker.kill()
    worker.communicate()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_one_child_a_thread_is_kept() -> None:
    limits = DecodeLimits()
    assert decoder_for(limits) is decoder_for(limits)
    assert isinstance(decoder_for(None), InProcess)
