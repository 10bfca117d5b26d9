"""The CUDA kernels, run on the CPU in shuffled order, give the bits of the Numba kernels; spoilt ones do not."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.emulated.build import EmulatedDevice
from tests.kernels.clips import clip, same_bits
from vstats.kernels import backend, ops, patterns
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cpu_backend import CPU
from vstats.kernels.cuda import flow, source
from vstats.kernels.cuda_backend import CUDA
from vstats.kernels.errors import DeviceLost
from vstats.pipeline.decode import decode_frames

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator is compiled with g++")

QUICK = TVL1Params(warps=2, outer_iterations=2, inner_iterations=6)
ONE_LEVEL = TVL1Params(nscales=1, warps=2, outer_iterations=2, inner_iterations=6)

# What a device offers, and which kernel and team then solve each level of a 33 x 41 picture, coarse to fine.
DEVICES: dict[str, tuple[dict[str, int], list[tuple[str, int]]]] = {
    "a block on shared memory": ({}, [("solve_shared", 1)] * 4),
    "teams on shared memory": (
        {"largest_team": 8, "shared_bytes": 13000},
        [("solve_shared", 2), ("solve_shared", 3), ("solve_shared", 4), ("solve_shared", 6)],
    ),
    "a block on global memory": ({"shared_bytes": 1000}, [("solve_global", 1)] * 4),
    "teams on global memory": ({"largest_team": 3, "shared_bytes": 1000}, [("solve_global", 3)] * 4),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", DEVICES)
def test_flow_has_the_bits_of_the_cpu(name: str, seed: int) -> None:
    offered, solved = DEVICES[name]
    device = EmulatedDevice(seed, **offered)
    frames = clip(3, 33, 41, seed)
    found = flow.tvl1(device, [frames, frames[1:]], QUICK)
    assert [launch for launch in device.launches if launch[0].startswith("solve")] == solved
    wanted = ops.tvl1(frames, QUICK)
    assert same_bits(found[0], wanted)
    assert same_bits(found[1], wanted[1:])


@pytest.mark.parametrize(
    "params",
    [
        TVL1Params(median_filtering=1, warps=2, outer_iterations=1, inner_iterations=5),
        TVL1Params(median_filtering=3, warps=1, nscales=2, scale_step=0.5),
        TVL1Params(epsilon=0.0, warps=1, nscales=1, outer_iterations=2, inner_iterations=3),
        TVL1Params(tau=0.1, lambda_=9.0, theta=0.5, warps=3, outer_iterations=1, inner_iterations=4),
        TVL1Params(epsilon=0.2, warps=3),  # the stop test ends every warp
    ],
)
@pytest.mark.parametrize("size", [(20, 19), (1, 7), (5, 1), (2, 2)])
def test_every_parameter_and_small_pictures(params: TVL1Params, size: tuple[int, int]) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (2, *size), np.uint8).astype(np.float32)
    for offered in ({}, {"largest_team": 3, "shared_bytes": 3500}):
        found = flow.tvl1(EmulatedDevice(4, **offered), [frames], params)[0]
        assert same_bits(found, ops.tvl1(frames, params))


def test_a_real_pair_in_the_teams_of_an_h100(data_dir: Path) -> None:
    video = data_dir / "videos" / "k400like_armwrestling.mp4"
    rgb = np.stack([frame for frame, _ in islice(decode_frames(str(video)), 20, 22)])
    gray = ops.rgb_to_gray(ops.resize_area(rgb, (128, 171)))
    device = EmulatedDevice(6, largest_team=8, shared_bytes=227 << 10)
    assert same_bits(flow.tvl1(device, [gray], TVL1Params())[0], ops.tvl1(gray))
    assert [team for name, team in device.launches if name == "solve_shared"] == [1, 2, 2, 3, 4]


def test_a_batch_is_cut_where_memory_ends() -> None:
    frames = clip(5, 16, 17, 1)
    one, many = EmulatedDevice(5, memory_bytes=100_000), EmulatedDevice(5)
    assert same_bits(flow.tvl1(one, [frames[:3], frames], QUICK)[1], flow.tvl1(many, [frames], QUICK)[0])
    solves = [sum(name.startswith("solve") for name, _ in d.launches) for d in (one, many)]
    assert solves[0] > solves[1] == 1
    with pytest.raises(DeviceLost, match=r"0 MiB free, too little for a pair of 16 x 17 frames"):
        flow.tvl1(EmulatedDevice(memory_bytes=9_000), [frames], QUICK)


@pytest.fixture
def emulated() -> Iterator[str]:
    backend.register("emulated", "nowhere:Made")
    backend._LOADED["emulated"] = CUDA(EmulatedDevice(7, shared_bytes=30_000, largest_team=4))
    yield "emulated"
    backend.unregister("emulated")


def test_statistics_have_the_bits_of_the_cpu(emulated: str) -> None:
    rng = np.random.default_rng(5)
    field = (rng.integers(-999, 999, (3, 21, 26, 2)) / np.float32(7)).astype(np.float32)
    field[0, :4, :5] = 0
    field[1, 5:9, 5:9] = 3000  # beyond the limit
    rgb = rng.integers(0, 256, (4, 21, 26, 3), np.uint8)
    rgb[:, :, 13:] = rgb[0, 0, 0]
    corners = np.array([(1, 2), (0, 0), (5, 10)], np.int64)
    blocks = patterns.layout(tuple(patterns.get(name) for name in patterns.STANDARD), 16)
    found, wanted = [], []
    for who, into in ((backend.load(emulated), found), (CPU(), wanted)):
        summed, frames = who.boundaries(who.take(field), corners, 16, 2)
        into += [who.give(summed), frames, who.give(who.quantised(who.take(field / np.float32(20))))]
        for y, x in corners.tolist():
            into += [who.orientations(summed, y, x, blocks), *who.colours(who.take(rgb), y, x, blocks)]
        scale = np.float32(0.7), np.float32(1.3)
        into += [who.give(who.resized(who.take(field), (9, 31), s)) for s in (None, scale)]
        assert who.is_finite(who.take(field))
        for bad in (np.nan, np.inf, -np.inf):
            spoilt = field.copy()
            spoilt[2, 20, 25, 1] = bad
            assert not who.is_finite(who.take(spoilt))
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
        assert mine.tobytes() == np.ascontiguousarray(theirs).tobytes()


def test_labels_and_flow_of_the_public_functions(emulated: str) -> None:
    gray = clip(4, 40, 48, 2)
    rgb = np.stack([gray, gray[:, ::-1], 255 - gray], axis=-1)
    field = ops.tvl1(gray, QUICK, backend=emulated)
    assert same_bits(field, ops.tvl1(gray, QUICK))
    for flip in (False, True):
        found, wanted = (
            ops.clip_labels(rgb, field, crop=(3, 5), size=32, flip=flip, backend=who)
            for who in (emulated, "cpu")
        )
        assert found.values.tobytes() == wanted.values.tobytes()
        assert found.margins.tobytes() == wanted.margins.tobytes()


def test_golden_labels_by_way_of_cuda(golden_dir: Path, emulated: str) -> None:
    with np.load(golden_dir / "released_labels.npz") as golden:
        for n in (7,):
            u, v = (
                golden[name][n].astype(np.float32) * np.float32(40 / 255) - np.float32(20)
                for name in ("u_q8", "v_q8")
            )
            found = ops.clip_labels(
                golden["clips_rgb"][n], np.stack([u, v], axis=-1), "sts-released", backend=emulated
            )
            assert found.values.tolist() == golden["labels_sts_released"][n].tolist()


# Spoilt kernels: what the comparison above must notice. Each is what stands in a source, what is put there, and parameters and
# device under which it matters.
TEAMS = {"largest_team": 8, "shared_bytes": 13000}
NO_MEDIAN = TVL1Params(nscales=1, median_filtering=1, warps=2, outer_iterations=1, inner_iterations=5)
SYNC = "team_sync();"
SPOILT: dict[str, tuple[str, int, str, TVL1Params, dict[str, int]]] = {
    "no barrier between copying for the median and the median": (SYNC, 0, "", ONE_LEVEL, {}),
    "no barrier after the median": (SYNC, 1, "", ONE_LEVEL, TEAMS),
    "no barrier between u and p": (SYNC, 2, "", ONE_LEVEL, {}),
    "no barrier between p and the next u": (SYNC, 3, "", ONE_LEVEL, {}),
    "no barrier before the first iteration": (SYNC, 4, "", NO_MEDIAN, {}),
    "u's halo a row too small": (
        "b.height * b.W : nullptr;",
        0,
        "(b.height - 1) * b.W : nullptr;",
        ONE_LEVEL,
        TEAMS,
    ),
    "the median's halo a row too small": (
        "b.height * b.W : nullptr;",
        1,
        "(b.height - 1) * b.W : nullptr;",
        ONE_LEVEL,
        TEAMS,
    ),
    "p's halo a row too small": ("b.next_p - b.W : nullptr;", 0, "b.next_p : nullptr;", ONE_LEVEL, TEAMS),
    "one block's part of the stop test left out": (
        "block < TEAM; block++",
        0,
        "block < TEAM - 1; block++",
        TVL1Params(nscales=1, epsilon=0.2),
        TEAMS,
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_kernel_is_noticed(name: str, tmp_path: Path) -> None:
    what, which, instead, params, offered = SPOILT[name]
    folder = shutil.copytree(
        source.FOLDER, tmp_path / "cuda", ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    text = (folder / "solve.cu").read_text()
    parts = text.split(what)
    assert len(parts) > which + 1, f"solve.cu no longer has {what!r}"
    (folder / "solve.cu").write_text(what.join(parts[: which + 1]) + instead + what.join(parts[which + 1 :]))
    frames = clip(2, 33, 41, 1)
    wanted = ops.tvl1(frames, params)
    device = EmulatedDevice(1, folder=folder, **offered)

    def compare() -> None:
        assert same_bits(flow.tvl1(device, [frames], params)[0], wanted), "other bits"

    with pytest.raises(AssertionError, match=r"barrier|other bits"):
        compare()


def test_fused_multiplications_are_noticed() -> None:
    if "fma" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor fuses nothing")
    frames = clip(2, 33, 41, 1)
    fused = EmulatedDevice(1, flags=("-O2", "-ffp-contract=fast", "-mfma"))
    assert not same_bits(flow.tvl1(fused, [frames], QUICK)[0], ops.tvl1(frames, QUICK))


def test_a_barrier_that_some_miss_is_reported(tmp_path: Path) -> None:
    folder = shutil.copytree(
        source.FOLDER, tmp_path / "cuda", ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    text = (folder / "solve.cu").read_text()
    (folder / "solve.cu").write_text(text.replace(SYNC, "if (threadIdx.x < 40) team_sync();", 1))
    with pytest.raises(AssertionError, match="threads wait at a barrier that others never reach"):
        flow.tvl1(EmulatedDevice(1, folder=folder), [clip(2, 20, 21, 1)], ONE_LEVEL)


UNDER_ASAN = """
import numpy as np
from tests.emulated.build import EXACT, EmulatedDevice
from tests.kernels.clips import clip, same_bits
from tests.kernels.cuda.test_emulated import ONE_LEVEL
from vstats.kernels import patterns
from vstats.kernels.cuda import flow
from vstats.kernels.cuda_backend import CUDA
flags = (*EXACT, "-fsanitize=address")
frames = clip(2, 18, 21, 1)
for offered in ({"largest_team": 3, "shared_bytes": 9000}, {"largest_team": 3, "shared_bytes": 1000}):
    flow.tvl1(EmulatedDevice(1, flags=flags, **offered), [frames], ONE_LEVEL)
who = CUDA(EmulatedDevice(2, flags=flags))
field, rgb = who.take(np.ones((2, 17, 18, 2), np.float32)), who.take(np.full((3, 17, 18, 3), 200, np.uint8))
blocks = patterns.layout(tuple(patterns.get(name) for name in patterns.STANDARD), 16)
summed, _ = who.boundaries(field, np.array([(1, 2)], np.int64), 16, 2)
who.orientations(summed, 1, 2, blocks), who.colours(rgb, 1, 2, blocks), who.quantised(field), who.is_finite(field)
who.resized(field, (9, 31), (np.float32(1), np.float32(2)))
print("clean")
"""


def test_no_access_out_of_bounds() -> None:
    asan = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(asan).is_absolute():
        pytest.skip("g++ came without AddressSanitizer")
    done = subprocess.run(
        [sys.executable, "-c", UNDER_ASAN], capture_output=True, text=True, check=False,
        env={**os.environ, "LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0"},
    )  # fmt: skip
    assert done.stdout == "clean\n", done.stderr[-3000:]
