"""The long soak: at least 100 processes killed at random moments, and every store ends with the same digest.

`pytest -m soak` runs it (about ten minutes); it prints what it killed. `VSTATS_SOAK_SEED` repeats a run's choices.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests import videos
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify

KILLS = int(os.environ.get("VSTATS_SOAK_KILLS", "100"))
SHARDS = 60
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


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        return subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_kill_anything_at_any_moment(folder: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("VSTATS_SOAK_SEED", str(time.time_ns() % 10**6)))
    draw = random.Random(seed)
    extract = [sys.executable, "-m", "vstats.cli", "extract", str(folder), *OPTIONS, "-o"]
    calm = tmp_path / "calm.vstats"
    done = subprocess.run([*extract, str(calm), "--workers", "2"], capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    digest = Store.open(calm).digest
    assert Store.open(calm).plan.shards >= SHARDS

    killed: Counter[str] = Counter()
    stores = runs = 0
    log = tmp_path / "log"
    while killed.total() < KILLS:
        store = tmp_path / f"{stores}.vstats"
        stores += 1
        code = -1
        while code not in (0, 1):
            runs += 1
            cluster = draw.random() < 0.3
            helpers: list[subprocess.Popen[bytes]] = []
            options = ["--workers", "2"]
            if cluster:
                file = tmp_path / f"scheduler-{runs}.json"
                helpers = [
                    start([sys.executable, "-m", "dask", "scheduler", "--port", "0", "--no-dashboard",
                           "--scheduler-file", str(file)], log),
                    *(start([sys.executable, "-m", "dask", "worker", "--scheduler-file", str(file), "--nthreads", "1",
                             "--no-dashboard", "--death-timeout", "20"], log) for _ in range(2)),
                ]  # fmt: skip
                deadline = time.monotonic() + 30
                while not file.exists() and time.monotonic() < deadline:
                    time.sleep(0.1)
                options = ["--scheduler-file", str(file)]
            client = start([*extract, str(store), *options], log)
            try:
                while client.poll() is None:
                    time.sleep(draw.uniform(0.1, 4.0))
                    if killed.total() >= KILLS + 10:
                        continue
                    groups = [client, *helpers]
                    victims = [
                        (pid, role) for p in groups for pid, role in members(p.pid).items() if role != "other"
                    ]
                    if victims and client.poll() is None:
                        role = draw.choice(sorted({role for _, role in victims}))
                        pid = draw.choice(sorted(pid for pid, r in victims if r == role))
                        try:
                            os.kill(pid, signal.SIGKILL)
                        except ProcessLookupError:
                            continue
                        killed[role] += 1
                        if role == "scheduler":
                            break
                code = client.wait(timeout=120)
            finally:
                for process in (client, *helpers):
                    end(process)
            deadline = time.monotonic() + 20
            groups = [p.pid for p in (client, *helpers)]
            while (left := [m for g in groups for m in members(g).items()]) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert left == [], f"stray processes after run {runs} (seed {seed}): {left}"
        assert Store.open(store).digest == digest, f"store {stores} (seed {seed})"
        assert verify(store).findings == ()
    print(
        f"\nseed {seed}: {killed.total()} kills {dict(killed)} in {runs} runs over {stores} stores, one digest {digest}"
    )
    assert killed.total() >= KILLS
