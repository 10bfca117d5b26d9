"""What a GPU makes of vstats, in one JSON: equal bits, speed, and what the sanitizer says. Runs where there is a GPU:

    pip install '.[cuda,test]' && python -m tests.gpu_report [--data DIR]

`--data` is a folder with `videos/` as the tests use it (default: the environment's VSTATS_TEST_DATA; without it made clips
stand in). The report goes to docs/gpu-report.json; the README's figures come from it, and the tests say when the kernels have
changed since. `compute-sanitizer`, where it is installed, checks a small run with each of its tools.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tests.kernels.clips import clip, same_bits
from vstats.kernels import backend, ops
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cuda import flow, source
from vstats.kernels.errors import InputError, VstatsError
from vstats.pipeline import proof

TARGET = Path(__file__).parent.parent / "docs" / "gpu-report.json"
SIZES = [(128, 171), (256, 340)]
BATCHES = [15, 60, 240, 960]
ROUNDS = 5
BYTES_PER_PIXEL = 64  # read and written by an inner iteration that keeps nothing: ten planes in, six out
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")


def real_clips(data: Path | None) -> dict[str, Any]:
    """Return 17 frames of every video that has them, uint8 [17, 128, 171, 3]."""
    if data is None:
        gray = clip(17, 128, 171, 1)
        return {"made": np.stack([gray, gray[:, ::-1], 255 - gray], axis=-1)}
    from vstats.pipeline.decode import decode_frames

    found = {}
    for path in sorted((data / "videos").iterdir()):
        try:
            frames = [frame for frame, _ in islice(decode_frames(str(path)), 17)]
        except VstatsError:
            continue
        if len(frames) == 17:
            found[path.name] = ops.resize_area(np.stack(frames), (128, 171))
    return found


def equal_bits(clips: dict[str, Any]) -> dict[str, Any]:
    """Compare flow, labels and margins of every clip with the CPU's."""
    different: list[str] = []
    for name, rgb in clips.items():
        gray = ops.rgb_to_gray(rgb)
        ours, theirs = (ops.tvl1(gray, backend=who) for who in ("cuda", "cpu"))
        if not same_bits(ours, theirs):
            different.append(f"{name}: flow")
        for profile in ("sts", "sts-released", "mas-released"):
            for flip in (False, True):
                answers = []
                for who in ("cuda", "cpu"):
                    try:
                        got = ops.clip_labels(rgb[:16], theirs, profile, crop=(8, 29), flip=flip, backend=who)
                        answers.append(got.values.tobytes() + got.margins.tobytes())
                    except InputError as refusal:
                        answers.append(str(refusal).encode())
                if answers[0] != answers[1]:
                    different.append(f"{name}: {profile}, flip {flip}")
    return {
        "clips": len(clips),
        "different": different,
        "proven": all(stage.ok for stage in proof.arithmetic("cuda", "tvl1")),
    }


def seconds(run: Callable[[], Any]) -> float:
    """Return the median time of a call that ends when its result is on the host."""
    run()
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def speed(clips: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure flow by size and batch: pairs a second from frames on the host to flow on the device."""
    device: Any = backend.load("cuda")._device  # type: ignore[attr-defined]
    params, found = TVL1Params(), []
    for size in SIZES:
        grays = [ops.rgb_to_gray(ops.resize_area(rgb, size))[:16] for rgb in clips.values()]
        for pairs in BATCHES:
            batch = [grays[n % len(grays)] for n in range(pairs // 15)]
            frames = np.concatenate(batch)
            first = np.concatenate([np.arange(15) + 16 * n for n in range(len(batch))])
            out = device.empty((pairs, *size, 2), np.float32)

            def run(frames: Any = frames, first: Any = first, out: Any = out) -> Any:
                return device.download(flow.solve_pairs(device, device.limits, frames, first, params, out))

            taken = seconds(run)
            iterations = float(run().mean())
            found.append(
                {
                    "height": size[0],
                    "width": size[1],
                    "pairs": pairs,
                    "pairs_per_second": round(pairs / taken, 1),
                    "iterations_per_pair": round(iterations, 1),
                    # As if every iteration were one of the finest level, which it is not: an upper bound.
                    "gigabytes_per_second_at_most": round(
                        BYTES_PER_PIXEL * size[0] * size[1] * iterations * pairs / taken / 1e9, 1
                    ),
                }
            )
            print(found[-1], flush=True)
    return found


def whole_run(data: Path | None) -> dict[str, Any]:
    """Measure `vstats extract` from videos to a store, on the GPU and on the CPU, and compare digests."""
    from vstats.pipeline.store import Store

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            from vstats.pipeline.demo import make_videos

            inputs = make_videos(Path(folder) / "videos")
        else:
            inputs = data / "videos"
        for device in ("cuda", "cpu"):
            store = Path(folder) / f"{device}.vstats"
            command = [
                *(sys.executable, "-m", "vstats.cli", "extract", str(inputs), "-o", str(store)),
                *("--device", device, "--clips-per-video", "8", "--short", "loop"),
            ]
            begin = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            taken = time.perf_counter() - begin
            assert done.returncode in (0, 1), done.stderr
            made = Store.open(store)
            found[device] = {
                "clips": made.rows,
                "seconds": round(taken, 2),
                "clips_per_second": round(made.rows / taken, 2),
                "digest": made.digest,
            }
            print(device, found[device], flush=True)
    return {**found, "same_digest": found["cuda"]["digest"] == found["cpu"]["digest"]}


def sanitized() -> dict[str, str]:
    """Return the last line of each of the sanitizer's tools over a small run, or why there is none."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return dict.fromkeys(SANITIZERS, "compute-sanitizer is not installed")
    found = {}
    for name in SANITIZERS:
        done = subprocess.run(
            [tool, "--tool", name, sys.executable, "-m", "tests.gpu_report", "--small"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if "SUMMARY" in line]
        found[name] = lines[-1].strip("= ") if lines else f"exit {done.returncode}: {done.stderr[-200:]}"
        print(name, found[name], flush=True)
    return found


def small() -> None:
    """Run every kernel once: levels in teams and alone, in shared and in global memory, and the statistics."""
    gray = clip(3, 128, 171, 1)
    params = TVL1Params(warps=1, outer_iterations=1, inner_iterations=3)
    field = ops.tvl1(gray, params, backend="cuda")
    ops.tvl1(clip(2, 256, 340, 1), params, backend="cuda")
    who = backend.load("cuda")
    who.give(who.resized(who.take(field), (64, 80), (np.float32(0.5), np.float32(0.5))))
    rgb = np.stack([gray] * 3, axis=-1)
    ops.clip_labels(rgb, field, crop=(8, 29), backend="cuda")
    who.give(who.quantised(who.take(field)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("VSTATS_TEST_DATA"))
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--small", action="store_true", help="run every kernel once and report nothing")
    options = parser.parse_args()
    if options.small:
        small()
        return
    who = backend.load("cuda")
    clips = real_clips(options.data)
    report = {
        "kernels": source.source_hash(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": who.name,
        "cpu": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("vstats", "numpy", "numba", "cupy-cuda13x")},
        "equal_bits": equal_bits(clips),
        "flow": speed(clips),
        "extract": whole_run(options.data),
        "compute_sanitizer": sanitized(),
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{options.output}: {json.dumps(report['equal_bits'])}")


if __name__ == "__main__":
    main()
