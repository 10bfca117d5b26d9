"""How fast clips come from a store, beside a plain copy of memory, zarr-python, tensorstore and bare PyAV.

    pip install '.[test,benchmark]'
    VSTATS_TEST_DATA=... python -m tests.benchmarks.loader          # from the folder that holds tests/

Random clips of 16 x 112 x 112 x 3 from a store of about 2,000 rows, warm cache, one process. Every round measures every reader
on the same rows, one after the other, and ratios are medians over rounds: other work on the machine then slows both.
CPU time, which other work hardly changes, is printed beside the clock's; it adds up over threads.
Without VSTATS_TEST_DATA the videos are drawn, and compress better than real ones.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import tensorstore
import zarr
import zarr.codecs
from av.codec.context import Flags
from av.video.reformatter import Interpolation, VideoReformatter

from tests import videos
from vstats.pipeline.clip_reader import ClipReader
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.extract import extract
from vstats.pipeline.loader import ClipDataset, ClipLoader
from vstats.pipeline.plan import clip_frames
from vstats.pipeline.store import ARRAYS, Store

Reader = Callable[[Sequence[int], Any], None]
Rates = dict[str, list[float]]
BATCH = 32
EXACT = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
)


def make_store(folder: Path) -> Store:
    """Label videos into a store of at least 2,000 rows with clips, and write the twins that others read."""
    data = os.environ.get("VSTATS_TEST_DATA")
    crops = "random:14" if data else "random:32"
    if data:
        sources = [
            str(p) for p in sorted((Path(data) / "videos").rglob("*")) if p.suffix in (".avi", ".mp4")
        ][:32]
    else:
        sources = [str(folder / f"{seed}.mp4") for seed in range(8)]
        for seed, name in enumerate(sources):
            noise = np.random.Generator(np.random.PCG64(seed)).integers(-6, 7, (40, 128, 171, 3))
            frames = (videos.rotating(40, seed=seed) + noise).clip(0, 255).astype(np.uint8)
            videos.write_video(name, videos.enlarge(frames, 2)[:, :, :340], "mpeg4")
    config = ExtractConfig(flow="dis", clips_per_video=4, crops=crops, flip="both", save=("clips",))
    path = folder / "store.vstats"
    extract(sources, path, config, RunConfig(shard_size=128))
    store = Store.open(path)
    assert store.rows >= 2000, f"{store.rows} rows of {len(sources)} videos; 2,000 are wanted"
    whole = np.lib.format.open_memmap(
        folder / "clips.npy", mode="w+", dtype=np.uint8, shape=(store.rows, 16, 112, 112, 3)
    )
    for start in range(0, store.rows, 128):
        whole[start : start + 128] = store.read("clips", start, start + 128)
    return store


def read_anew(folder: Path) -> None:
    """Fill the cache from the disk, as training does: pages left over from writing may lie in memory in small pieces."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with path.open("r+b") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.read(1 << 20):
                pass


def copy_memory(path: Path) -> Reader:
    clips = np.load(path, mmap_mode="r")
    for start in range(0, len(clips), BATCH):
        clips[start : start + BATCH].sum()  # pages in memory, as the other readers' are

    def read(rows: Sequence[int], out: Any) -> None:
        for place, row in enumerate(rows):
            out[place] = clips[row]

    return read


def zarr_python(path: Path) -> Reader:
    array = zarr.open_array(path, mode="r")

    def read(rows: Sequence[int], out: Any) -> None:
        for place, row in enumerate(rows):
            out[place] = array[row]

    return read


def tensor_store(path: Path) -> Reader:
    array = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}, open=True, read=True
    ).result()

    def read(rows: Sequence[int], out: Any) -> None:
        for place, clip in enumerate([array[row].read() for row in rows]):
            out[place] = clip.result()

    return read


def time_readers(readers: dict[str, Reader], rows: int, rounds: int) -> tuple[Rates, Rates]:
    """Return clips/s of each reader in each round: by the clock, and by the CPU time of all its threads."""
    random = np.random.Generator(np.random.PCG64(0))
    out = np.empty((BATCH, 16, 112, 112, 3), np.uint8)
    first = next(iter(readers.values()))
    expected = np.empty_like(out)
    by_clock: Rates = {name: [] for name in readers}
    by_cpu: Rates = {name: [] for name in readers}
    for number in range(rounds + 1):
        batches = random.permutation(rows)[: 4 * BATCH].reshape(4, BATCH).tolist()
        for name, read in readers.items():
            took, worked = [], []
            for batch in batches:
                began, idle = time.perf_counter(), time.process_time()
                read(batch, out)
                took.append(time.perf_counter() - began)
                worked.append(time.process_time() - idle)
            first(batches[-1], expected)
            assert (out == expected).all(), name
            if number:  # the first round fills caches
                by_clock[name].append(BATCH / min(took))
                by_cpu[name].append(BATCH / min(worked))
    return by_clock, by_cpu


def show(by_clock: Rates, by_cpu: Rates) -> None:
    print(f"  {'':34} {'by clock':>10} {'by CPU':>10}   clips/s")
    for name, values in by_clock.items():
        print(f"  {name:34} {statistics.median(values):10.0f} {statistics.median(by_cpu[name]):10.0f}")


def ratio(rates: Rates, mine: str, theirs: Sequence[str]) -> float:
    """Return the median over rounds of my rate relative to the fastest of theirs."""
    fastest = [max(values) for values in zip(*(rates[name] for name in theirs), strict=True)]
    return statistics.median(a / b for a, b in zip(rates[mine], fastest, strict=True))


def stored_clips(folder: Path, store: Store, rounds: int) -> None:
    clips = store.path / ARRAYS / "clips"
    cores = len(os.sched_getaffinity(0))
    first, always = (ClipReader(clips, check=check, threads=cores) for check in ("first", "always"))
    for start in range(0, store.rows, BATCH):  # a first visit checks checksums: done before the clock runs
        first.read(range(start, min(start + BATCH, store.rows)))
    both = time_readers(
        {
            "NumPy memmap copy": copy_memory(folder / "clips.npy"),
            "vstats": first.read_into,
            "vstats, checked each time": always.read_into,
            "tensorstore": tensor_store(clips),
            "zarr-python": zarr_python(clips),
        },
        store.rows,
        rounds,
    )
    show(*both)
    for what, mine, theirs, note in (
        ("vstats / memmap copy", "vstats", ["NumPy memmap copy"], "at least 0.6"),
        ("checked each time / memmap copy", "vstats, checked each time", ["NumPy memmap copy"], ""),
        ("vstats / zarr-python", "vstats", ["zarr-python"], "at least 10"),
        ("vstats / tensorstore", "vstats", ["tensorstore"], ""),
    ):
        by_clock, by_cpu = (ratio(rates, mine, theirs) for rates in both)
        print(f"  {what:34} {by_clock:10.2f} {by_cpu:10.2f}   {note}")


def training_loop(store: Store) -> None:
    dataset = ClipDataset(store.path)
    for workers in (0, 1, 2):
        loader = ClipLoader(dataset, BATCH, num_workers=workers, persistent_workers=workers > 0)
        rates = []
        for epoch in range(4):
            loader.set_epoch(epoch)
            seen, began = 0, 0.0
            for batch in loader:
                began = began or time.perf_counter()  # workers have started
                seen += len(batch["row"]) if began else 0
                assert batch["frames"][:, 0, 0, 0, 0].shape == (len(batch["row"]),)
            rates.append((seen - BATCH) / (time.perf_counter() - began))
        print(
            f"  DataLoader, {workers} workers            {statistics.median(rates[1:]):8.0f} clips/s into the loop"
        )


def decoded_videos(store: Store, rounds: int) -> None:
    dataset = ClipDataset(store.path, root=store.plan.root, source="videos")
    rows = store.planned_rows(0, store.rows)
    random = np.random.Generator(np.random.PCG64(1))
    wanted = sorted(random.permutation(store.rows)[:12].tolist())

    def bare(number: int, exact: bool) -> None:
        row = rows[number]
        frames = set(clip_frames(row.start_frame, store.videos[row.video].frames, store.plan.config))
        convert = VideoReformatter()
        with av.open(str(Path(store.plan.root) / store.videos[row.video].key)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            if exact:
                stream.codec_context.flags |= Flags.bitexact | Flags.unaligned
            for index, frame in enumerate(container.decode(stream)):
                if index in frames:
                    how = EXACT if exact else Interpolation.BILINEAR
                    convert.reformat(frame, format="rgb24", interpolation=how, threads=1).to_ndarray()
                if index == max(frames):
                    break

    ways: dict[str, Callable[[int], object]] = {
        "vstats": dataset.__getitem__,
        "PyAV, the same pixels": lambda number: bare(number, True),
        "PyAV, its own conversion": lambda number: bare(number, False),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        total = dict.fromkeys(ways, 0.0)
        order = (
            list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        )  # nobody always comes first
        for row in wanted:
            for name, way in ((name, ways[name]) for name in order):
                began = time.process_time()
                way(row)
                total[name] += time.process_time() - began
        if number:
            for name, seconds in total.items():
                spent[name].append(seconds)
    for name, values in spent.items():
        print(f"  {name:34} {1000 * statistics.median(values) / len(wanted):8.1f} ms of CPU a clip")
    for name, note in (("PyAV, the same pixels", "(at most 1.2)"), ("PyAV, its own conversion", "")):
        times = [a / b for a, b in zip(spent["vstats"], spent[name], strict=True)]
        print(f"  vstats / {name:25} {statistics.median(times):8.2f}   {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="keep the store here, and take it from here next time")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="vstats-benchmark-"))
    folder.mkdir(exist_ok=True)
    try:
        kept = (folder / "clips.npy").exists()
        store = Store.open(folder / "store.vstats") if kept else make_store(folder)
        print(f"{store.rows} clips, {len(os.sched_getaffinity(0))} cores")
        read_anew(folder)
        stored_clips(folder, store, options.rounds)
        training_loop(store)
        decoded_videos(store, options.rounds)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
