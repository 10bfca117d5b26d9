"""`--device`: a GPU's rows are the CPU's in any batch, and whatever befalls it is said and costs nothing finished."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tests import videos
from tests.emulated.build import EmulatedDevice
from vstats.cli.main import main
from vstats.kernels import backend
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cpu_backend import CPU
from vstats.kernels.cuda_backend import CUDA
from vstats.kernels.errors import DeviceFull, DeviceLost, NoDevice
from vstats.pipeline import device, proof, shard, shards
from vstats.pipeline.config import DecodeLimits, ExtractConfig, RunConfig
from vstats.pipeline.errors import WorkerError
from vstats.pipeline.extract import extract
from vstats.pipeline.plan import ShardTask
from vstats.pipeline.report import inspect
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify

CONFIG = ExtractConfig(
    clip_length=4, working_height=32, working_width=40, crop_size=32, clips_per_video=2, crops="random:1", flip="both",
    flow_size="short:24", save=("clips", "flow", "statistics"), tvl1=TVL1Params(nscales=2, warps=1, outer_iterations=2),
)  # fmt: skip
"""Overlapping clips of videos of two shapes, with flow at another size than the working frame's: small, for the emulator."""


class Gpu(CPU):
    """A device that can be told to fail: `trouble` is called with the number of clips of every batch.

    It computes as the CPU does, for a failure has the same consequences on any device.
    """

    name = "a device"
    versions: ClassVar[dict[str, str]] = {"driver": "1"}

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.trouble: Callable[[int], None] = lambda _: None

    def tvl1(self, clips: Sequence[Any], params: TVL1Params) -> list[Any]:
        self.batches.append(len(clips))
        self.trouble(len(clips))
        return super().tvl1(clips, params)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[backend.Backend], None]]:
    """Return what makes a backend the one that is chosen for "cuda" and "auto", its self-test taken as passed."""

    def choose_it(who: backend.Backend) -> None:
        monkeypatch.setitem(backend._LOADED, "cuda", who)
        monkeypatch.setattr(proof, "arithmetic", lambda name, flow: on_cpu("cpu", flow))
        monkeypatch.setattr(device, "_given_up", [])
        device.choose.cache_clear()

    on_cpu = proof.arithmetic
    yield choose_it
    device.choose.cache_clear()
    proof.proven.cache_clear()


@pytest.fixture
def gpu(chosen: Callable[[backend.Backend], None]) -> Gpu:
    found = Gpu()
    chosen(found)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos, of which one is too short and one is none."""
    root = tmp_path_factory.mktemp("videos")
    videos.write_video(root / "a.mkv", videos.rotating(7, seed=1))
    videos.write_video(root / "b.mkv", videos.rotating(9, seed=2)[:, :, :128])
    videos.write_video(root / "c.mkv", videos.rotating(6, seed=3))
    videos.write_video(root / "short.mkv", videos.still(3))
    (root / "text.mp4").write_text("not a video\n")
    return root


@pytest.fixture(scope="module")
def on_cpu(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("stores") / "cpu.vstats"
    extract([str(folder)], path, CONFIG, RunConfig(device="cpu"))
    return Store.open(path)


def test_cuda_kernels_give_the_digest_of_the_cpu(
    folder: Path, on_cpu: Store, chosen: Callable[[backend.Backend], None], tmp_path: Path
) -> None:
    # The kernels themselves, on an emulated device: several clips of several videos in a launch.
    emulated = EmulatedDevice()
    chosen(CUDA(emulated))
    extract([str(folder)], tmp_path / "gpu.vstats", CONFIG, RunConfig(device="cuda", shard_size=64))
    store = Store.open(tmp_path / "gpu.vstats")
    assert store.digest == on_cpu.digest
    assert store.failures() == on_cpu.failures()
    flows = [kernel for kernel, _ in emulated.launches].count("widen")
    assert flows == 2, "one launch for the clips of each shape, not one a clip"


def test_who_computed_is_recorded(folder: Path, on_cpu: Store, gpu: Gpu, tmp_path: Path) -> None:
    extract([str(folder)], tmp_path / "gpu.vstats", CONFIG, RunConfig(device="auto"))
    store = Store.open(tmp_path / "gpu.vstats")
    assert store.digest == on_cpu.digest
    assert inspect(store).computed_by == {"cuda: a device": store.rows}
    assert {receipt.versions["driver"] for receipt in store.receipts()} == {"1"}
    assert "driver" not in store.plan.versions
    ((cpu, count),) = inspect(on_cpu).computed_by.items()
    assert cpu.startswith("cpu: ")
    assert count == store.rows
    before = len(gpu.batches)
    assert verify(store.place, recompute_percent=100, run=RunConfig(device="cuda")).findings == ()
    assert len(gpu.batches) > before


def broken_task(store: Store, limits: DecodeLimits | None) -> ShardTask:
    """Return all rows as one task: one video has gone, and the last clip of another lies behind its end."""
    task = shards.rows_task(store, -1, 0, store.rows)
    a, b, c = task.videos
    ends = replace(a, record=replace(a.record, frames=99), rows=(
        *a.rows[:-2], *(replace(row, start_frame=50) for row in a.rows[-2:])
    ))  # fmt: skip
    gone = replace(b, path=b.path + ".gone")
    return replace(task, videos=(ends, gone, c), decode=limits, decoders=2)


def test_rows_and_failures_do_not_depend_on_who_computes(on_cpu: Store, gpu: Gpu) -> None:
    want = shard.compute_rows(broken_task(on_cpu, None))
    assert [(f.key, f.stage, f.rows) for f in want.failures] == [
        ("a.mkv", "decode", (2, 3)),
        ("b.mkv", "find", (4, 5, 6, 7)),
    ]
    for task in (broken_task(on_cpu, None), broken_task(on_cpu, DecodeLimits())):
        got = shard.compute_rows(replace(task, device="cuda"))
        assert got.failures == want.failures
        assert got.values.keys() == want.values.keys()
        for name, value in want.values.items():
            assert np.array_equal(got.values[name].view(np.uint8), value.view(np.uint8)), name


def lost(after: int) -> Callable[[int], None]:
    """Return a trouble: the device answers `after` batches and no more."""
    left = [after]

    def trouble(clips: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise DeviceLost("a device failed while computing: fell off the bus")

    return trouble


OPTIONS = ["--clip-length", 4, "--frame-size", "32x40", "--crop-size", 32, "--workers", 0, "--shard-size", 3]


def vstats(*arguments: object) -> object:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return stop.value.code


@pytest.fixture
def small(folder: Path) -> list[object]:
    """Return the arguments of an extraction of five shards."""
    return ["extract", folder / "a.mkv", folder / "b.mkv", folder / "c.mkv", "--clip-step", 1, *OPTIONS]


def test_a_device_that_is_lost_ends_a_run_that_asked_for_it(
    small: list[object], gpu: Gpu, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.trouble = lost(after=1)
    store = tmp_path / "a.vstats"
    assert vstats(*small, "-o", store, "--device", "cuda") == 4
    said = capsys.readouterr().err
    assert "fell off the bus. What was finished is kept: run the same command again to go on, or with" in said
    assert len(list(Store.open(store, incomplete=True).receipts())) == 1
    assert vstats(*small, "-o", store, "--device", "cpu") == 0
    assert {who.partition(":")[0]: n for who, n in inspect(Store.open(store)).computed_by.items()} == {
        "cuda": 3,
        "cpu": 10,
    }
    gpu.trouble = lost(after=1)
    other = tmp_path / "b.vstats"
    assert vstats(*small, "-o", other) == 0
    said = capsys.readouterr().err
    assert said.count("the CPU computes from here on, not the GPU: a device failed") == 1
    receipts = list(Store.open(other).receipts())
    assert [receipt.machine["backend"].partition(":")[0] for receipt in receipts] == ["cuda", *["cpu"] * 4]
    assert "fell off the bus" in receipts[1].machine["not_cuda"]
    assert Store.open(other).digest == Store.open(store).digest


def test_a_device_that_is_full_is_given_less_at_a_time(on_cpu: Store, gpu: Gpu) -> None:
    def trouble(clips: int) -> None:
        if clips > 2:
            raise DeviceFull("a device has no memory left")

    gpu.trouble = trouble
    task = shards.rows_task(on_cpu, -1, 0, on_cpu.rows)
    want = shard.compute_rows(task)
    got = shard.compute_rows(replace(task, device="cuda"))
    assert all(got.values[name].tobytes() == value.tobytes() for name, value in want.values.items())
    assert max(gpu.batches) > 2
    gpu.trouble = lambda clips: trouble(9)
    with pytest.raises(WorkerError, match=r"no memory left\. What was finished is kept"):
        shard.compute_rows(replace(task, device="cuda"))


def test_batches_are_bounded_by_memory(on_cpu: Store) -> None:
    rows = shards.rows_task(on_cpu, -1, 0, on_cpu.rows).videos
    assert shard.batch_size("cpu", rows, CONFIG) == 1
    assert shard.batch_size("cuda", rows, CONFIG) == shard.BATCH_CLIPS
    large = replace(rows[0], record=replace(rows[0].record, height=2160, width=3840))
    config = replace(CONFIG, flow_size="source", clip_length=16)
    assert shard.batch_size("cuda", [*rows, large], config) == 2


def test_without_a_gpu(small: list[object], tmp_path: Path) -> None:
    store = tmp_path / "a.vstats"
    command = [sys.executable, "-m", "vstats.cli", *map(str, small), "-o", str(store), "--device", "cuda"]
    nothing = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    for workers in ("0", "2"):
        done = subprocess.run(
            [*command, "--workers", workers], capture_output=True, text=True, env=nothing, check=False
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("vstats: CU")
        assert "pip install 'vstats[cuda]'" in done.stderr or "nvidia-smi" in done.stderr
        assert not store.exists()


def test_auto_says_why_it_is_not_the_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    run = RunConfig(workers=None)
    for error, heard in (
        (NoDevice("none"), []),
        (DeviceLost("too hot"), ["the CPU computes, not the GPU: too hot"]),
    ):

        def fail(name: str, flow: str, error: Exception = error) -> tuple[proof.Stage, ...]:
            raise error

        monkeypatch.setattr(proof, "arithmetic", fail)
        device.choose.cache_clear()
        settled = device.settle(replace(run, workers=0), CONFIG, said.append)
        assert (settled.device, said) == ("cpu", heard)
    device.choose.cache_clear()
    # A process that tries the device and dies of it takes nobody along.
    monkeypatch.setattr(device, "is_installed", lambda: True)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    device._ask_child.cache_clear()
    settled = device.settle(run, CONFIG, said.append)
    assert (settled.device, settled.workers) == ("cpu", device.usable_cores())
    assert "a process that tried it ended with exit code 1" in said[-1]
    device._ask_child.cache_clear()
    assert device.settle(replace(run, scheduler="tcp://there:8786"), CONFIG, said.append).device == "auto"
    assert device.settle(run, replace(CONFIG, flow="dis"), said.append).device == "cpu"
    assert len(said) == 2
