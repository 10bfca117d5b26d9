"""What a plan costs: `python -m tests.benchmarks.planning [--videos 240000] [--clips 1]`.

Videos are made up, and so is what probing them found; everything after that is what `vstats extract` does: drafting every
row, laying the store out, opening it and making every shard's task.
"""

import argparse
import pickle
import resource
import tempfile
import time
from pathlib import Path

from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.draft import draft_plan, write_plan
from vstats.pipeline.manifest import Manifest
from vstats.pipeline.place import LocalPlace
from vstats.pipeline.probe import ProbeResult
from vstats.pipeline.records import ManifestRow, VideoProbe
from vstats.pipeline.shards import shard_tasks


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--videos", type=int, default=240_000)
    options.add_argument("--clips", type=int, default=1)
    chosen = options.parse_args()
    config, run = ExtractConfig(clips_per_video=chosen.clips), RunConfig()
    began = now = time.perf_counter()
    manifest = made_up(chosen.videos)
    now = step("list", now)
    with tempfile.TemporaryDirectory() as folder:
        place = LocalPlace(Path(folder) / "a.vstats")
        # As in extract: neither what probing found nor the draft outlives the writing of the plan.
        write_plan(place, draft_plan(manifest, probed(manifest), config, run), manifest, config, ())
        now = step("plan", now)
        store = stores.Store.open(place, incomplete=True)
        assert len(store.videos) == chosen.videos
        now = step("open", now)
        tasks = largest = 0
        for task in shard_tasks(store, range(store.plan.shards), run):
            tasks += 1
            if tasks % 100 == 1:
                largest = max(largest, len(pickle.dumps(task)))
        now = step("tasks", now)
        print(
            f"{chosen.videos:,} videos, {store.rows:,} rows, {tasks:,} shard tasks of {store.plan.shard_size} rows, at most "
            f"{largest / 1000:.0f} kB each: {now - began:.1f} s, peak {peak():.0f} MB"
        )


def made_up(videos: int) -> Manifest:
    """Return a list as large as Kinetics."""
    rows = tuple(
        ManifestRow(
            key=f"class {n % 400:03d}/{n:011d}_000000_000010.mp4",
            path=f"/data/class {n % 400:03d}/{n:011d}_000000_000010.mp4",
            label=n % 400,
            class_name="class",
        )
        for n in range(videos)
    )
    return Manifest(source="made up", kind="kinetics", root="/data", rows=rows)


def probed(manifest: Manifest) -> dict[str, ProbeResult]:
    """Return what probing such videos would find."""
    return {
        row.key: ProbeResult(
            key=row.key,
            probe=VideoProbe(
                frames=250 + n % 60, lost_packets=0, corrupt_frames=0, header_frames=300, width=340, height=256,
                rotation=0, codec="h264", pixel_format="yuv420p", fps=30.0, size_bytes=1000 + n, mtime_ns=n,
                sha256=f"{n:064x}",
            ),
        )
        for n, row in enumerate(manifest.rows)
    }  # fmt: skip


def step(name: str, since: float) -> float:
    """Print what a step took and return the time."""
    now = time.perf_counter()
    print(f"  {name:<6} {now - since:6.1f} s   peak {peak():.0f} MB")
    return now


def peak() -> float:
    """Return this process's peak memory in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
