"""The long soak: at least 100 processes killed at random moments, and every store ends with the same digest.

`pytest -m soak -n 0 -s` runs it (ten minutes or more) and prints what it killed. `VSTATS_SOAK_SEED` repeats a run's
choices, `VSTATS_SOAK_KILLS` makes it shorter.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import videos
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify

KILLS = int(os.environ.get("VSTATS_SOAK_KILLS", "100"))
SHARDS = 60
WORKER = ["--nthreads", "1", "--death-timeout", "20"]
OPTIONS = ["--clips-per-video", "4", "--flip", "both", "--shard-size", "2", "--statistics"]

ROLES = {
    "decode child": re.compile(r"vstats\.pipeline\.decode_child"),
    "scheduler": re.compile(r"dask.* scheduler"),
    "nanny": re.compile(r"dask.* worker"),
    "worker": re.compile(r"multiprocessing.*spawn_main|Dask Worker"),
    "client": re.compile(r"vstats\.cli extract"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number in range(15):
        videos.write_video(root / f"{number:02d}.mkv", videos.rotating(24, seed=number))
    (root / "text.mp4").write_text("not a video")
    return root


def members(group: int) -> dict[int, str]:
    """Return pid -> role of the living processes of a session."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z" or int(fields[3]) != group:
                continue
            line = (entry / "cmdline").read_text().replace("\0", " ")
        except (OSError, IndexError):
            continue
        found[int(entry.name)] = next((role for role, form in ROLES.items() if form.search(line)), "other")
    return found


def strays(processes: list[subprocess.Popen[bytes]]) -> list[tuple[int, str]]:
    return [member for process in processes for member in members(process.pid).items()]


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        return subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


class Cluster:
    """A scheduler and two workers, each started by hand; `mend` starts again what was killed."""

    def __init__(self, file: Path, log: Path) -> None:
        self.file = file
        self.log = log
        self.started: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--port", "0")
        wait_for(file.exists, 60)
        self.workers = [self._start("worker", *WORKER) for _ in range(2)]

    def mend(self) -> None:
        for number, worker in enumerate(self.workers):
            if worker.poll() is not None and self.scheduler.poll() is None:
                self.workers[number] = self._start("worker", *WORKER)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(self.file), "--no-dashboard"]
        self.started.append(start(command, self.log))
        return self.started[-1]


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Killer:
    """Kills processes at random moments, every role about as often as the others."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.killed: Counter[str] = Counter()

    def disturb(self, client: subprocess.Popen[bytes], cluster: Cluster | None) -> None:
        """Kill one process after another until the client has ended."""
        while client.poll() is None:
            wanted = self._wanted(
                ["client", "worker", "decode child", *(["nanny", "scheduler"] if cluster else [])]
            )
            moment = time.monotonic() + self.draw.uniform(0.0, 3.0)
            wait_for(lambda at=moment: client.poll() is not None or time.monotonic() > at, 10)
            if self.killed.total() >= KILLS:
                client.wait(timeout=240)
                return
            groups = [client, *(cluster.started if cluster else [])]
            # A role that is not there yet may be in a moment: clients take longer to start than children live.
            if (
                wait_for(lambda g=groups, w=wanted: client.poll() is not None or self._kill(g, w), 4)
                and cluster
            ):
                cluster.mend()
            if cluster is not None and cluster.scheduler.poll() is not None:
                client.wait(timeout=120)  # it must notice by itself

    def _wanted(self, roles: list[str]) -> str:
        least = min(self.killed[role] for role in roles)
        return self.draw.choice([role for role in roles if self.killed[role] <= least + 3])

    def _kill(self, groups: list[subprocess.Popen[bytes]], role: str) -> bool:
        pids = [pid for group in groups for pid, is_a in members(group.pid).items() if is_a == role]
        if not pids:
            return False
        try:
            os.kill(self.draw.choice(sorted(pids)), signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.killed[role] += 1
        return True


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_kill_anything_at_any_moment(folder: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("VSTATS_SOAK_SEED", str(time.time_ns() % 10**6)))
    draw = random.Random(seed)
    killer = Killer(draw)
    extract = [sys.executable, "-m", "vstats.cli", "extract", str(folder), *OPTIONS, "-o"]
    calm = tmp_path / "calm.vstats"
    done = subprocess.run([*extract, str(calm), "--workers", "2"], capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    digest = Store.open(calm).digest
    assert Store.open(calm).plan.shards >= SHARDS

    stores, codes = 0, Counter[int]()
    log, said = tmp_path / "cluster.log", tmp_path / "client.log"
    while killer.killed.total() < KILLS:
        store = tmp_path / f"{stores}.vstats"
        stores += 1
        code = -1
        while code != 1:  # text.mp4 is no video: a run that finished says so
            cluster = None
            if draw.random() < 0.4:
                cluster = Cluster(tmp_path / f"scheduler-{codes.total()}.json", log)
            options = ["--scheduler-file", str(cluster.file)] if cluster else ["--workers", "2"]
            schedulers = killer.killed["scheduler"]
            client = start([*extract, str(store), *options], said)
            try:
                killer.disturb(client, cluster)
                code = client.wait(timeout=240)
            finally:
                processes = [client, *(cluster.started if cluster else [])]
                for process in processes:
                    end(process)
            codes[code] += 1
            wait_for(lambda p=processes: not strays(p), 20)
            assert not strays(processes), (
                f"stray processes after run {codes.total()}, seed {seed}: {strays(processes)}"
            )
            gone = cluster is not None and killer.killed["scheduler"] > schedulers
            assert code in (1, 4, -signal.SIGKILL, *([2] if gone else [])), (
                f"run {codes.total()}: {code}, seed {seed}"
            )
            assert "Traceback" not in said.read_text(), f"run {codes.total()}, seed {seed}"
        assert Store.open(store).digest == digest, f"store {stores} (seed {seed})"
        assert verify(store).findings == ()
    print(
        f"\nseed {seed}: {killer.killed.total()} kills {dict(killer.killed)} in {codes.total()} runs (exit codes "
        f"{dict(codes)}) over {stores} stores of {Store.open(calm).plan.shards} shards: one digest {digest}, 0 corrupt "
        "files, no stray process"
    )
