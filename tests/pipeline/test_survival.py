"""One of each kind of accident, each on a real run: the right message, the right exit code, and after a rerun the
digest of an undisturbed run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from tests import videos
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.execute import Fitness
from vstats.pipeline.extract import extract
from vstats.pipeline.provenance import versions
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify

pytestmark = [pytest.mark.long, pytest.mark.matrix]

OPTIONS = ["--flow", "farneback", "--clips-per-video", "2", "--flip", "both", "--shard-size", "2"]
CONFIG = ExtractConfig(flow="farneback", clips_per_video=2, flip="both")

POISON = '''
"""Makes processes die or hang on videos whose names say so: the decoding child, or the worker itself."""
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
            return function(path, *rest)
        return run

    decode.wanted_frames = poisoned(decode.wanted_frames)
elif any("spawn_main" in word for word in sys.orig_argv):
    import os
    import vstats.pipeline.clips as clips

    def deadly(video, *rest, real=clips.decode_clips):
        if "killer" in video.path:
            os._exit(9)
        return real(video, *rest)

    clips.decode_clips = deadly
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number in range(4):
        videos.write_video(root / f"{number}.mkv", videos.rotating(20, seed=number))
    return root


@pytest.fixture(scope="module")
def calm(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the digest of an undisturbed run."""
    return extract(
        [str(folder)], tmp_path_factory.mktemp("stores") / "calm.vstats", CONFIG, RunConfig()
    ).digest


def command(folder: Path, store: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "vstats.cli", "extract", str(folder), "-o", str(store), *OPTIONS, *options]


def run(folder: Path, store: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(folder, store, *options), capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def begin(folder: Path, store: Path, *options: str) -> subprocess.Popen[str]:
    """Start a run, and return when its first shard is done."""
    process = subprocess.Popen(
        command(folder, store, *options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: list(store.glob("ledger/*.json")) or process.poll() is not None)
    return process


def wait_for(condition: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def session(group: int) -> dict[int, str]:
    """Return pid -> command line of the living processes of a session."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[3]) == group:
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except (OSError, IndexError):
            continue
    return found


def kill_one(group: int, form: str) -> None:
    pids = [pid for pid, line in session(group).items() if re.search(form, line)]
    assert pids, f"no process of the session looks like {form}: {session(group)}"
    os.kill(pids[0], signal.SIGKILL)


def ends_well(folder: Path, store: Path, calm: str) -> None:
    """Run again and expect the whole store: in this process, which is quicker than another command."""
    assert extract([str(folder)], store, CONFIG, RunConfig()).digest == calm
    assert verify(store).findings == ()


def test_the_client_is_killed(folder: Path, calm: str, tmp_path: Path) -> None:
    store = tmp_path / "a.vstats"
    process = begin(folder, store, "--workers", "2")
    process.kill()
    process.communicate()
    wait_for(lambda: not session(process.pid), seconds=15)
    ends_well(folder, store, calm)


@pytest.mark.parametrize("form", ["spawn_main|Dask Worker", r"decode_child"])
def test_a_worker_or_a_decoding_child_is_killed(folder: Path, calm: str, tmp_path: Path, form: str) -> None:
    store = tmp_path / "a.vstats"
    process = begin(folder, store, "--workers", "2")
    kill_one(process.pid, form)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    assert Store.open(store).digest == calm
    wait_for(lambda: not session(process.pid), seconds=15)
    ends_well(folder, store, calm)


@pytest.fixture
def other_machine() -> Iterator[list[str]]:
    """Yield the words that run a command in a network namespace of its own; none where this user may not make one."""
    name, near, far = (f"vstats{end}{os.getpid()}" for end in ("", "a", "b"))
    subnet = f"10.213.{os.getpid() % 250}"
    inside = ["ip", "netns", "exec", name]
    steps = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name],
        ["ip", "address", "add", f"{subnet}.1/30", "dev", near],
        ["ip", "link", "set", near, "up"],
        [*inside, "ip", "address", "add", f"{subnet}.2/30", "dev", far],
        [*inside, "ip", "link", "set", far, "up"],
        [*inside, "ip", "link", "set", "lo", "up"],
        [*inside, "ip", "route", "add", "default", "via", f"{subnet}.1"],
    ]
    made = shutil.which("ip") is not None and all(
        subprocess.run(step, capture_output=True, check=False).returncode == 0 for step in steps
    )
    yield inside if made else []
    if shutil.which("ip") is not None:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.fixture
def cluster(
    tmp_path: Path, other_machine: list[str]
) -> Iterator[tuple[Path, dict[str, subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each a process of its own, as the README starts them; one on another network."""
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    words = ["--scheduler-file", str(file), "--no-dashboard"]
    processes = {"scheduler": subprocess.Popen([*dask, "scheduler", *words, "--port", "0"], **quiet)}
    wait_for(file.exists)
    for name, where in (("worker", []), ("worker elsewhere", other_machine)):
        command = [*where, *dask, "worker", *words, "--nthreads", "1", "--death-timeout", "10"]
        processes[name] = subprocess.Popen(command, cwd=tmp_path, **quiet)
    with Client(scheduler_file=str(file)) as client:
        client.wait_for_workers(2, timeout=60)
        hosts = {address.rpartition(":")[0] for address in client.nthreads()}
        assert len(hosts) == (2 if other_machine else 1)
    yield file, processes
    for process in processes.values():
        for pid in session(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def test_a_cluster_by_hand_and_the_death_of_its_scheduler(
    folder: Path, calm: str, tmp_path: Path, cluster: tuple[Path, dict[str, subprocess.Popen[bytes]]]
) -> None:
    file, processes = cluster
    store = tmp_path / "a.vstats"
    done = run(
        folder, Path(os.path.relpath(store)), "--scheduler-file", str(file)
    )  # no folder of the workers'
    assert done.returncode == 0, done.stderr
    assert Store.open(store).digest == calm
    second = tmp_path / "b.vstats"
    process = begin(folder, second, "--scheduler-file", str(file))
    processes["scheduler"].kill()
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 4, errors
    assert errors.endswith("went away; what was finished is kept: run the same command again to go on\n")
    assert "Traceback" not in errors
    ends_well(folder, second, calm)


def test_a_worker_says_what_it_lacks(tmp_path: Path) -> None:
    assert Fitness(versions=versions(), paths=(str(tmp_path),)).missing() == ""
    assert "numpy" in Fitness(versions={**versions(), "numpy": "1.0"}, paths=()).missing()
    assert (
        "does not see /nowhere" in Fitness(versions=versions(), paths=(str(tmp_path), "/nowhere")).missing()
    )


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


@pytest.mark.usefixtures("poison")
def test_poison_videos_are_named_and_the_rest_is_labelled(folder: Path, calm: str, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    for name in ("1-segfault.mkv", "2-hang.mkv", "3-killer.mkv"):
        shutil.copy(folder / "0.mkv", mixed / name)
    store = tmp_path / "a.vstats"
    done = run(mixed, store, "--workers", "2", "--shard-size", "6", "--decode-timeout", "2")
    assert done.returncode == 1, done.stderr
    opened = Store.open(store)
    named = {failure.key: failure.message for failure in opened.failures()}
    assert set(named) == {"1-segfault.mkv", "2-hang.mkv", "3-killer.mkv"}
    assert "SIGSEGV" in named["1-segfault.mkv"]
    assert "--decode-timeout" in named["2-hang.mkv"]
    assert "worker" in named["3-killer.mkv"]
    fine = [video.key for video in opened.videos if video.status == "ok"]
    assert fine == [f"{number}.mkv" for number in range(4)]


def test_a_second_writer_is_refused_by_name(folder: Path, calm: str, tmp_path: Path) -> None:
    store = tmp_path / "a.vstats"
    process = begin(folder, store, "--workers", "1")
    process.send_signal(signal.SIGSTOP)  # it must not end before the second one looks
    done = run(folder, store, "--workers", "0")
    process.send_signal(signal.SIGCONT)
    assert done.returncode == 4
    assert f"is being written by process {process.pid} on" in done.stderr
    process.communicate(timeout=90)
    assert process.returncode == 0
    assert Store.open(store).digest == calm


def mounted(path: Path, options: str) -> bool:
    path.mkdir(exist_ok=True)
    return (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False
        ).returncode
        == 0
    )


def test_a_full_disk_and_one_that_turns_read_only(folder: Path, calm: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    if not mounted(disk, "size=400k"):
        pytest.skip("mounting a small tmpfs needs privileges that this user has not")
    store = disk / "a.vstats"
    try:
        done = run(folder, store, "--workers", "1", "--save", "flow")
        assert done.returncode == 4, done.stderr
        assert "No space left on device" in done.stderr
        assert "Free space" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        shutil.rmtree(store)
        process = begin(folder, store, "--workers", "1")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 4, errors
        assert "Read-only file system" in errors
        assert run(folder, store, "--workers", "1").returncode == 4
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        ends_well(folder, store, calm)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture(scope="module")
def unfinished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store whose extraction was killed after its first shards."""
    store = tmp_path_factory.mktemp("stores") / "unfinished.vstats"
    process = begin(folder, store, "--workers", "1")
    process.kill()
    process.communicate()
    return store


@pytest.mark.parametrize("accident", ["receipt", "truncated", "flipped"])
def test_damage_on_disk_is_mended_by_a_rerun(
    folder: Path, calm: str, unfinished: Path, tmp_path: Path, accident: str
) -> None:
    store = tmp_path / "a.vstats"
    shutil.copytree(unfinished, store)
    receipt = min(store.glob("ledger/*.json"))
    shard = store / "labels.zarr" / "labels" / "motion" / "pattern_1" / f"c.{int(receipt.stem)}.0"
    content = shard.read_bytes()
    if accident == "receipt":
        receipt.write_bytes(receipt.read_bytes()[:-20])
    elif accident == "truncated":
        shard.write_bytes(content[:-5])
    else:
        shard.write_bytes(bytes([content[0] ^ 16]) + content[1:])
    ends_well(folder, store, calm)


def test_a_video_that_changes_after_planning_is_named(folder: Path, unfinished: Path, tmp_path: Path) -> None:
    kept = (folder / "3.mkv").read_bytes()
    store = tmp_path / "a.vstats"
    shutil.copytree(unfinished, store)
    try:
        videos.write_video(folder / "3.mkv", videos.rotating(20, seed=77))
        report = extract([str(folder)], store, CONFIG, RunConfig())
    finally:
        (folder / "3.mkv").write_bytes(kept)
    assert {(f.key, f.stage) for f in report.failures} == {("3.mkv", "find")}
    assert "has changed since it was planned" in report.failures[0].message
