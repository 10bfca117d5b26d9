"""One writer a store: refusals name the holder, the dead are succeeded, the living never are."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vstats.pipeline import lock
from vstats.pipeline.errors import StoreBusy, StoreError
from vstats.pipeline.place import LocalPlace


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "WATCH_SECONDS", 0.6)


HOLD = """
import sys, time
from pathlib import Path
from vstats.pipeline import lock
from vstats.pipeline.place import LocalPlace
lock.BEAT_SECONDS = 0.1
with lock.held(LocalPlace(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def holder_process(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def finish(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def elsewhere(folder: Path) -> Path:
    """Make the holder look like one on another machine, whose process we cannot see."""
    (path,) = (folder / "lock").glob("*.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "machine": "another", "host": "node17"}))
    return path


def test_the_second_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    process = holder_process(tmp_path)
    with (
        pytest.raises(StoreBusy, match=rf"process {process.pid} on .* since 20"),
        lock.held(LocalPlace(tmp_path)),
    ):
        pass
    finish(process)


def test_a_killed_holder_is_succeeded_at_once(tmp_path: Path) -> None:
    finish(holder_process(tmp_path))
    assert list((tmp_path / "lock").iterdir())
    began = time.monotonic()
    with lock.held(LocalPlace(tmp_path)) as mine:
        assert time.monotonic() - began < 0.5
        time.sleep(0.3)
        mine.check()
    assert not list((tmp_path / "lock").glob("*"))


def test_a_reused_pid_is_not_taken_for_the_holder(tmp_path: Path) -> None:
    finish(holder_process(tmp_path))
    (path,) = (tmp_path / "lock").glob("*.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "pid": os.getpid()}))
    with lock.held(LocalPlace(tmp_path)):
        pass


def test_a_holder_elsewhere_counts_as_dead_only_when_its_beat_stands_still(tmp_path: Path) -> None:
    finish(holder_process(tmp_path))
    path = elsewhere(tmp_path)
    began = time.monotonic()
    with lock.held(LocalPlace(tmp_path)):
        assert time.monotonic() - began >= 0.6
    assert not path.exists()


def test_a_beating_holder_elsewhere_is_never_succeeded(tmp_path: Path) -> None:
    finish(holder_process(tmp_path))
    path = elsewhere(tmp_path)
    beater = multiprocessing.get_context("spawn").Process(target=beat, args=(str(path),))
    beater.start()
    deadline = time.monotonic() + 60
    while json.loads(path.read_text())["beats"] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        with pytest.raises(StoreBusy, match="on node17"), lock.held(LocalPlace(tmp_path)):
            pass
    finally:
        beater.kill()
        beater.join()


def beat(path: str) -> None:
    for beats in range(600):
        record = json.loads(Path(path).read_text())
        aside = Path(path).with_suffix(".new")
        aside.write_text(json.dumps({**record, "beats": beats + 1}))
        aside.replace(path)
        time.sleep(0.1)


def test_a_process_that_could_not_let_go_can_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the disk refused")

    with monkeypatch.context() as broken:
        broken.setattr(LocalPlace, "delete", refuse)
        with lock.held(LocalPlace(tmp_path)):
            pass
    assert len(list((tmp_path / "lock").iterdir())) == 1
    with lock.held(LocalPlace(tmp_path)), pytest.raises(StoreBusy), lock.held(LocalPlace(tmp_path)):
        pass


def test_a_suspended_holder_notices_that_it_was_succeeded(tmp_path: Path) -> None:
    with lock.held(LocalPlace(tmp_path)) as mine:
        (path,) = (tmp_path / "lock").glob("*.json")
        successor = {**json.loads(path.read_text()), "token": "other", "host": "node18"}
        (tmp_path / "lock" / "000002.json").write_text(json.dumps(successor))
        time.sleep(0.5)
        with pytest.raises(StoreBusy, match=r"taken over by process .* on node18"):
            mine.check()
    assert [p.name for p in (tmp_path / "lock").iterdir()] != []


def test_of_many_that_want_a_dead_holders_store_one_gets_it(tmp_path: Path) -> None:
    finish(holder_process(tmp_path))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    deadline = time.monotonic() + 30
    while sum(p.poll() is None for p in processes) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    alive = [p for p in processes if p.poll() is None]
    assert len(alive) == 1
    for process in processes:
        if process is not alive[0]:
            _, errors = process.communicate()
            assert b"StoreBusy" in errors
    alive[0].send_signal(signal.SIGKILL)
    alive[0].communicate()
