"""How true the estimate is: `python -m tests.benchmarks.estimate [--number 1500] [--clips 2] [--workers 2] [--videos FOLDER]`.

`vstats doctor` estimates a run over made-up videos, and `vstats extract` makes it: both by stage, and the ratio of the two.
With the numbers that it takes by itself the run takes some six minutes on two cores. What others took of the cores is said too:
a run of which they take more than of the estimate takes longer.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests import videos
from tests.benchmarks.engine import busy_seconds, own_seconds
from vstats.pipeline.store import Store

SCENES = 40


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--number", type=int, default=1500, help="videos to make")
    options.add_argument("--clips", type=int, default=2, help="clips per video")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--videos", type=Path, help="take these videos; made if not there")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.videos or Path(name, "videos")
        if not folder.exists():
            make(folder, chosen.number)
        store = Path(name, "a.vstats")
        asked = [str(folder), "-o", str(store), "--workers", str(chosen.workers)]
        asked += ["--clips-per-video", str(chosen.clips), "--json"]
        told, _ = vstats("doctor", *asked)
        expected = told["estimate"]
        report, real = vstats("extract", *asked)
        print(
            "estimate  "
            + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in expected["seconds"].items())
        )
        spent: dict[str, float] = {}
        for receipt in Store.open(store).receipts():
            for stage, seconds in receipt.seconds.items():
                spent[stage] = spent.get(stage, 0.0) + seconds / chosen.workers
        print("real      " + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in spent.items()))
        total = sum(expected["seconds"].values())
        written = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        print(f"rows      {expected['rows']} for {report['rows']}: {expected['rows'] / report['rows']:.3f}")
        print(f"bytes     {expected['bytes']:,} for {written:,}: {expected['bytes'] / written:.2f}")
        print(f"seconds   {total:.1f} for {real:.1f}: {total / real:.2f}", flush=True)


def make(folder: Path, number: int) -> None:
    """Make videos as Kinetics' are when scaled down: 256 x 342, 60 to 300 frames, still, turning and shaking."""
    folder.mkdir()
    scenes = [
        videos.write_video(folder / f"scene {seed:02d}.mp4", scene(seed), "libx264", options={"crf": "23"})
        for seed in range(SCENES)
    ]
    random = np.random.default_rng(0)
    for k in range(number):
        shutil.copyfile(scenes[random.integers(SCENES)], folder / f"{k:06d}.mp4")
    for path in scenes:
        path.unlink()


def scene(seed: int) -> videos.U8:
    """Return uint8 [60..300, 256, 342, 3]: a disc that turns before a background that stands still or shakes."""
    random = np.random.default_rng(seed)
    clip = videos.rotating(int(random.integers(60, 301)), degrees=random.uniform(0.5, 8), seed=seed)
    shake = int(random.integers(0, 6))
    for frame in clip:
        frame[:] = np.roll(frame, random.integers(-shake, shake + 1, 2), axis=(0, 1))
    return videos.enlarge(clip, 2)


def vstats(*arguments: str) -> tuple[dict[str, Any], float]:
    """Run a command, print what others took of the cores meanwhile, and return what it says as JSON, and its seconds."""
    began, ours, everybody = time.perf_counter(), own_seconds(), busy_seconds()
    command = [sys.executable, "-m", "vstats.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    seconds = time.perf_counter() - began
    others = (busy_seconds() - everybody - own_seconds() + ours) / (seconds * (os.cpu_count() or 1))
    print(f"{arguments[0]:<9} {seconds:.1f} s; others took {others:.0%} of the cores", flush=True)
    return json.loads(done.stdout), seconds


if __name__ == "__main__":
    main()
