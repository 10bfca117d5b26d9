"""What the engine costs: `python -m tests.benchmarks.engine [--runs 3] [--clips 3] [--videos FOLDER]`.

`vstats extract` with one worker and with two, in turn: clips a second, and the engine's overhead, which is the share of
the workers' time that is neither decoding nor flow nor labels. Both are said of the labelling stage alone and of the whole
command: with its start, planning and commit. Videos are made up unless a folder is given that holds some; by default
enough for the 64 shards that the planner aims at. What others took of the cores meanwhile is said too: a line with more
than a few percent of it says nothing of the engine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from tests import videos
from vstats.pipeline.store import Store

WORK = ("decode", "flow", "labels")


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--clips", type=int, default=3, help="clips a video")
    options.add_argument("--number", type=int, default=340, help="videos to make")
    options.add_argument("--videos", type=Path, help="take these videos; made if not there")
    chosen = options.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.videos or Path(name, "videos")
        if not folder.exists():
            make(folder, chosen.number)
        rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for number in range(chosen.runs):
            for workers in (1, 2):
                store = Path(name, f"{number}-{workers}.vstats")
                rates[workers].append(one(folder, store, workers, chosen.clips))
    for part, what in enumerate(("labelling stage", "whole command")):
        medians = [statistics.median(rate[part] for rate in rates[workers]) for workers in (1, 2)]
        print(
            f"{what}: median {medians[0]:.2f} clips/s with 1 worker, {medians[1]:.2f} with 2: {medians[1] / medians[0]:.2f}x"
        )


def make(folder: Path, number: int) -> None:
    """Make videos of 64 frames at 256 x 342, as Kinetics' are when scaled down."""
    folder.mkdir()
    for seed in range(number):
        clip = videos.enlarge(videos.rotating(64, seed=seed), 2)
        videos.write_video(folder / f"{seed:03d}.mp4", clip, "libx264", options={"crf": "23"})


def one(folder: Path, store: Path, workers: int, clips: int) -> tuple[float, float]:
    """Run once, print a line, and return clips a second of the labelling stage and of the whole command."""
    command = [sys.executable, "-m", "vstats.cli", "extract", str(folder), "-o", str(store), "--json"]
    began, ours, everybody = time.perf_counter(), own_seconds(), busy_seconds()
    process = subprocess.Popen(
        [*command, "--workers", str(workers), "--clips-per-video", str(clips)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stages: dict[str, float] = {}
    line = ""
    assert process.stderr is not None
    for line in process.stderr:  # "probing: ...", "labelling: ..." when a stage begins, and when it has ended
        stages.setdefault(f"{line.partition(':')[0]} began", time.perf_counter())
        stages[f"{line.partition(':')[0]} ended"] = time.perf_counter()
    assert process.stdout is not None
    result = process.stdout.read()
    whole = time.perf_counter() - began
    assert process.wait() == 0, line
    report = json.loads(result)
    used = own_seconds() - ours
    others = (busy_seconds() - everybody - used) / (whole * (os.cpu_count() or 1))
    moments = [
        began,
        *(stages[f"{stage} {what}"] for stage in ("probing", "labelling") for what in ("began", "ended")),
    ]
    start, probing, planning, labelling = (later - earlier for earlier, later in pairwise(moments))
    seconds: dict[str, float] = {}
    for receipt in Store.open(store).receipts():
        for stage, spent in receipt.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    work = sum(seconds[stage] for stage in WORK)
    rows = report["rows"]
    overhead = 1 - work / (labelling * workers)
    overall = 1 - (work + probing * workers) / (whole * workers)
    print(
        f"{workers} workers (others took {others:.0%}): {rows} clips, {report['shards']} shards of {report['shard_size']}; "
        f"labelling {labelling:.1f} s "
        f"({rows / labelling:.2f} clips/s), overhead {overhead:.1%}; whole {whole:.1f} s, overhead {overall:.1%}, for a "
        f"start of {start:.1f} s, probing {probing:.1f}, planning {planning:.1f}, committing {began + whole - moments[-1]:.1f}; "
        f"{used / rows:.3f} s of processor a clip; worker seconds "
        + ", ".join(f"{stage} {seconds[stage]:.1f}" for stage in (*WORK, "write", "total")),
        flush=True,
    )
    return rows / labelling, rows / whole


def busy_seconds() -> float:
    """Return the seconds that all cores together have worked since the machine started."""
    user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the seconds of processor time that this process and those it waited for have used."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


if __name__ == "__main__":
    main()
