"""TV-L1 beside OpenCV's, scikit-image's, DIS and Farneback: speed, fidelity to OpenCV, accuracy against ground truth.

    python -m tests.benchmarks.flow [--data DIR] [--pairs N] [--opencv4 PYTHON] [--picture FILE]

Times are CPU time of one thread, medians; ours and theirs take turns on the same pairs. `--data` is a folder with
`videos/` and `flow/` as tests use it (default: the environment's VSTATS_TEST_DATA). `--opencv4` is the Python of an
environment with OpenCV 4, whose flow is compared with OpenCV 5's as ours is. `--picture` only draws.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np

from vstats.kernels import ops
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cpu import flow, solver
from vstats.kernels.levels import Rates
from vstats.pipeline.decode import decode_frames
from vstats.pipeline.flow_colour import flow_to_rgb

SIZES = [(128, 171), (256, 340)]
CLIPS = [
    "ucf101_v_SoccerJuggling_g23_c01.avi",
    "ucf101_v_BaseballPitch_g01_c01.avi",
    "hmdb51_TrumanShow_wave.avi",
    "hmdb51_RATRACE_wave.avi",
    "k400_SOX5yA1l24A.mp4",
    "k400like_armwrestling.mp4",
    "carphone_pristine.mp4",
]
TRUTH = [
    ("RubberWhale", "opencv_RubberWhale{}.png", (1, 2), "opencv_RubberWhale.flo"),
    ("Dimetrodon", "middlebury_Dimetrodon_frame{}.png", (10, 11), "middlebury_Dimetrodon_flow10.flo"),
    ("Venus", "middlebury_Venus_frame{}.png", (10, 11), "middlebury_Venus_flow10.flo"),
    ("FlyingChairs 1", "flyingchairs_0000001-img{}.ppm", (0, 1), "flyingchairs_0000001-gt.flo"),
]
FIRST_FRAME = 20  # clips often begin with a title or a still
ROUNDS = 3

OPENCV_SCRIPT = """
import sys
import cv2, numpy as np
cv2.setNumThreads(1)
pairs = np.load(sys.argv[1])
flows = {}
for name in pairs.files:
    solver = cv2.optflow.createOptFlow_DualTVL1()
    flows[name] = solver.calc(pairs[name][0], pairs[name][1], None)
np.savez(sys.argv[2], **flows)
print(cv2.__version__)
"""


# The methods.


def opencv_tvl1(first: Any, second: Any) -> Any:
    # A new object for each pair: it shrinks its own pyramid for good after a small picture.
    return cv2.optflow.createOptFlow_DualTVL1().calc(first, second, None)  # type: ignore[attr-defined]


def dis(first: Any, second: Any) -> Any:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)  # type: ignore[call-overload]


def farneback(first: Any, second: Any) -> Any:
    return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]


def scikit_image(first: Any, second: Any) -> Any:
    from skimage.registration import optical_flow_tvl1

    v, u = optical_flow_tvl1(first / np.float32(255), second / np.float32(255), dtype=np.float32)
    return np.stack((u, v), axis=-1)


# Reading.


def read_clip(path: Path, count: int) -> Any:
    """Return `count` frames, uint8 [T, H, W, 3]."""
    frames = islice(decode_frames(str(path)), FIRST_FRAME, FIRST_FRAME + count)
    return np.stack([rgb for rgb, _ in frames])


def read_gray(path: Path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def read_flo(path: Path) -> Any:
    raw = path.read_bytes()
    width, height = np.frombuffer(raw, np.int32, 2, 4)
    return np.frombuffer(raw, np.float32, offset=12).reshape(height, width, 2)


# Measuring.


def seconds(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.thread_time()
    result = call(*arguments)
    return time.thread_time() - start, result


def agreement(a: Any, b: Any) -> tuple[float, float, float]:
    """Return the per cent of pixels within 0.1 px, the mean distance and the largest."""
    distance = np.linalg.norm(a - b, axis=-1)
    return 100 * float((distance < 0.1).mean()), float(distance.mean()), float(distance.max())


@numba.njit(error_model="numpy")
def _roots_and_quotients(both: Any, rounds: int) -> None:
    one = solver.spread(np.float32(1))
    for _ in range(rounds):
        for x in range(0, both.shape[2], solver.LANES):
            for n in range(2):
                solver.store(both, n, 0, x, one / (one + solver.root(solver.load(both, n, 0, x))))


def ns_per_pixel_bound() -> float:
    """Return the time of two float32 square roots and two divisions, from the first-level cache."""
    both = np.random.default_rng(0).random((2, 1, 1024), np.float32)
    _roots_and_quotients(both, 1)
    return min(seconds(_roots_and_quotients, both, 2000)[0] for _ in range(9)) / 2000 / 1024 * 1e9


def ns_per_pixel_iteration(height: int, width: int) -> float:
    """Return the time of the inner iteration alone."""
    work, rates = flow.Workspace(height, width), Rates.of(height, width, TVL1Params())
    planes, rows = work.planes(height, width), work.rows(width, rates)
    inside = planes[:, solver.TOP : -solver.TOP, solver.LEFT : solver.LEFT + width]
    shape = (3, height, width)
    rng = np.random.default_rng(0)
    inside[solver.U1 : solver.P11] = rng.normal(0, 10, shape)[:2]
    inside[solver.GX : solver.STEP] = rng.normal(0, 10, shape)
    inside[solver.STEP] = -1 / (inside[solver.GX] ** 2 + inside[solver.GY] ** 2)
    rounds = 4_000_000 // (height * width)

    def run() -> None:
        solver.iterate(planes, rows, height, width, rates.reach, rates.theta, rates.taut, -1, rounds)

    run()
    return min(seconds(run)[0] for _ in range(9)) / rounds / (height * width) * 1e9


def opencv_elsewhere(python: str, pairs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the version and the TV-L1 flows of another environment's OpenCV."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "pairs.npz", Path(folder) / "flows.npz"
        np.savez(source, **pairs)
        run = subprocess.run(
            [python, "-c", OPENCV_SCRIPT, source, result], capture_output=True, text=True, check=True
        )
        with np.load(result) as flows:
            return run.stdout.strip(), dict(flows)


# Reporting.


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor()


def speed_and_fidelity(data: Path, pairs: int, opencv4: str | None) -> None:
    clips = {name: read_clip(data / "videos" / name, pairs + 1) for name in CLIPS}
    for size in SIZES:
        print(f"\n## {size[0]} x {size[1]}, {len(clips)} clips, {pairs} pairs each\n")
        print(
            "| clip | OpenCV TV-L1 | ours | ratio | scikit-image | DIS | Farneback | within 0.1 px | mean EPE | max |"
        )
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
        table, kept, pictures = [], {}, {}
        for name, rgb in clips.items():
            gray = ops.rgb_to_gray(ops.resize_area(rgb, size))
            ours: list[float] = []
            theirs: list[float] = []
            flows = []
            for first, second in pairwise(gray):
                taken, found = seconds(opencv_tvl1, first, second)
                theirs.append(taken)
                flows.append(found)
                ours += [seconds(ops.tvl1, gray)[0] / pairs for _ in range(ROUNDS)]
            others = [
                np.median([seconds(method, gray[0], gray[1])[0] for _ in range(rounds)])
                for method, rounds in ((scikit_image, 1), (dis, 5), (farneback, 5))
            ]
            share, mean, largest = agreement(ops.tvl1(gray), np.stack(flows))
            a, b = float(np.mean(theirs)), float(np.median(ours))
            table.append((a, b, a / b, *others, share, mean, largest))
            pictures[name], kept[name] = gray[:2], flows[0]
            cells = [f"{1000 * s:.1f} ms" for s in (a, b)] + [f"{a / b:.1f}"]
            cells += [f"{1000 * s:.1f} ms" for s in others] + [
                f"{share:.2f} %",
                f"{mean:.4f}",
                f"{largest:.1f}",
            ]
            print(f"| {Path(name).stem} | {' | '.join(cells)} |", flush=True)
        middle = np.median(np.array(table), axis=0)
        rates = [f"{1 / s:.1f}/s" for s in middle[:2]] + [f"**{middle[2]:.1f}**"]
        rates += [f"{1 / s:.1f}/s" for s in middle[3:6]] + [f"{middle[6]:.2f} %", f"{middle[7]:.4f}", ""]
        print(f"| **median** (pairs a second) | {' | '.join(rates)} |")
        if opencv4:
            version, elsewhere = opencv_elsewhere(opencv4, pictures)
            for name, found in elsewhere.items():
                there, here = agreement(found, kept[name]), agreement(ops.tvl1(pictures[name])[0], kept[name])
                print(
                    f"{Path(name).stem}, first pair against OpenCV {cv2.__version__}: OpenCV {version} "
                    f"{there[0]:.2f} % within 0.1 px, mean {there[1]:.4f}, max {there[2]:.1f}; "
                    f"ours {here[0]:.2f} %, {here[1]:.4f}, {here[2]:.1f}"
                )


def accuracy(data: Path) -> None:
    print("\n## Mean endpoint error against ground truth (unknown pixels left out)\n")
    print(
        "| pair | OpenCV | ours | ours/OpenCV | within 0.1 px of OpenCV | mean EPE to OpenCV | ms, OpenCV | ms, ours |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, frames, numbers, truth in TRUTH:
        first, second = (read_gray(data / "flow" / frames.format(n)) for n in numbers)
        real = read_flo(data / "flow" / truth)
        known = (np.abs(real) < 1e9).all(axis=-1)
        their_time, theirs = seconds(opencv_tvl1, first, second)
        our_time, ours = seconds(ops.tvl1, np.stack((first, second)))
        errors = [float(np.linalg.norm(f - real, axis=-1)[known].mean()) for f in (theirs, ours[0])]
        share, mean, _ = agreement(ours[0], theirs)
        print(
            f"| {name} | {errors[0]:.4f} | {errors[1]:.4f} | {errors[1] / errors[0]:.4f} | {share:.2f} % | {mean:.4f} "
            f"| {1000 * their_time:.0f} | {1000 * our_time:.0f} |"
        )
        if name == "RubberWhale":
            gold = read_flo(data / "flow" / "opencv_tvl1_flow.flo")
            stored = f"OpenCV {agreement(theirs, gold)[0]:.2f} %, ours {agreement(ours[0], gold)[0]:.2f} %"
    print(f"\nWithin 0.1 px of the flow that OpenCV stored in 2013 for its own test (RubberWhale): {stored}")


def picture(data: Path, target: Path) -> None:
    """Draw a real pair, both flows and their difference."""
    name, size, scale = "k400like_armwrestling.mp4", (256, 340), 2
    rgb = ops.resize_area(read_clip(data / "videos" / name, 2), size)
    gray = ops.rgb_to_gray(rgb)
    ours, theirs = ops.tvl1(gray)[0], opencv_tvl1(gray[0], gray[1])
    far = float(np.percentile(np.linalg.norm(theirs, axis=-1), 99.5))
    share, mean, _ = agreement(ours, theirs)
    side = 60
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2), axis=-1)
    wheel = flow_to_rgb(grid, 1.0)
    wheel[np.linalg.norm(grid, axis=-1) > 1] = 255

    panels = [
        (rgb[0], "frame t", ""),
        (rgb[1], "frame t + 1", ""),
        (flow_to_rgb(theirs, far), f"OpenCV {cv2.__version__}", f"full colour: {far:.1f} px"),
        (flow_to_rgb(ours, far), "vstats", f"full colour: {far:.1f} px"),
        (flow_to_rgb(ours - theirs, far), "difference", f"full colour: {far:.1f} px"),
        (
            flow_to_rgb(ours - theirs, 0.5),
            "difference, magnified",
            f"full colour: 0.5 px; {share:.1f} % under 0.1 px",
        ),
    ]
    height, width, title, gap = size[0] * scale, size[1] * scale, 44, 16
    sheet = np.full((2 * (height + title) + 3 * gap, 3 * width + 4 * gap, 3), 255, np.uint8)
    for n, (image, text, note) in enumerate(panels):
        # Columns: the frames, the flows, the differences.
        top, left = gap + n % 2 * (height + title + gap), gap + n // 2 * (width + gap)
        shown = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
        sheet[top + title : top + title + height, left : left + width] = shown
        cv2.rectangle(
            sheet, (left, top + title), (left + width - 1, top + title + height - 1), (190, 190, 190), 1
        )
        font, thin = cv2.FONT_HERSHEY_SIMPLEX, cv2.LINE_AA
        cv2.putText(sheet, text, (left, top + 30), font, 0.95, (20, 20, 20), 2, thin)
        reach = cv2.getTextSize(note, font, 0.6, 1)[0][0]
        cv2.putText(sheet, note, (left + width - reach, top + 30), font, 0.6, (90, 90, 90), 1, thin)
        if n in (2, 3):
            big = cv2.resize(wheel, (96, 96), interpolation=cv2.INTER_LINEAR)
            disc = np.hypot(*np.mgrid[-47.5:48:1, -47.5:48:1]) < 46
            corner = sheet[top + title + height - 106 : top + title + height - 10, left + 10 : left + 106]
            corner[disc] = big[disc]
    cv2.imwrite(str(target), sheet[:, :, ::-1])
    print(f"{target}: {name}, {share:.2f} % within 0.1 px, mean EPE {mean:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("VSTATS_TEST_DATA"))
    parser.add_argument("--pairs", type=int, default=3, help="pairs of each clip")
    parser.add_argument("--opencv4", help="the Python of an environment with OpenCV 4")
    parser.add_argument(
        "--picture", type=Path, help="draw a pair and both flows into this file, and do nothing else"
    )
    options = parser.parse_args()
    if options.data is None:
        sys.exit("--data or VSTATS_TEST_DATA must name the folder with videos/ and flow/")
    cv2.setNumThreads(1)
    if options.picture:
        picture(options.data, options.picture)
        return
    import skimage

    print(
        f"{cpu_name()}; Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}, "
        f"OpenCV {cv2.__version__}, scikit-image {skimage.__version__}; one thread; {TVL1Params()}"
    )
    ops.tvl1(np.zeros((2, 20, 20), np.uint8))  # compiled here
    scikit_image(np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8))
    speed_and_fidelity(options.data, options.pairs, options.opencv4)
    accuracy(options.data)
    print("\n## One inner iteration\n")
    for size in SIZES:
        print(f"{size[0]} x {size[1]}: {ns_per_pixel_iteration(*size):.2f} ns a pixel")
    print(f"two square roots and two divisions alone: {ns_per_pixel_bound():.2f} ns")


if __name__ == "__main__":
    main()
