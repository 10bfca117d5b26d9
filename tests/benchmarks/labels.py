"""What the label stage costs, beside the authors' algorithm vectorised in NumPy and OpenCV.

    python tests/benchmarks/labels.py [ROUNDS]

One core, medians. The clip is made here: moving texture, 16 frames of 128 x 171, centre crop. The twin below does what
the authors' code does (their 27 labels and no statistics), block by block, with their histogram of the winning block
written without pixel loops; before it is timed it must print the labels of our `sts-released`.
"""

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np

from vstats.kernels import ops
from vstats.pipeline.labels import LabelConfig, label_rows

Y, X, SIZE = 8, 29, 112
SQUARES = [slice(56 - h, 56 + h) for h in (14, 28, 42, 56)]


def made_clip() -> tuple[Any, Any]:
    """Return rgb uint8 [17, 128, 171, 3] and flow float32 [16, 128, 171, 2]: smooth textures under smooth motion."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (160, 240, 3), np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    rgb = np.stack([texture[t : t + 128, 2 * t : 2 * t + 171] for t in range(17)])
    flow = np.stack(
        [cv2.GaussianBlur(f, (0, 0), 6) for f in rng.normal(0, 8, (16, 128, 171, 2)).astype(np.float32)]
    )
    return rgb, flow


# The authors' algorithm.


def directions(magnitude: Any, angle: Any) -> int:
    low = (angle // 45).astype(np.intp) % 8
    share = angle % 45 / 45
    bins = np.bincount(low, magnitude * (1 - share), 8) + np.bincount((low + 1) % 8, magnitude * share, 8)
    return int(bins.argmax()) + 1


def triangles(quadrants: list[Any]) -> list[Any]:
    """Split the four quadrants, [..., 56, 56] each, along the centre's diagonals."""
    lower, upper = np.tril_indices(56), np.triu_indices(56)
    top_left, top_right, bottom_left, bottom_right = quadrants
    top_right, bottom_left = top_right[..., ::-1], bottom_left[..., ::-1]
    parts = [(top_left, lower), (top_left, upper), (top_right, upper), (top_right, lower)]
    parts += [(bottom_left, upper), (bottom_left, lower), (bottom_right, lower), (bottom_right, upper)]
    return [q[..., i[0], i[1]] for q, i in parts]


def quarters(a: Any) -> list[Any]:
    return [a[..., y : y + 56, x : x + 56] for y in (0, 56) for x in (0, 56)]


def motion(fields: Any) -> list[int]:
    kernel = np.array([[1, 0, -1]] * 3, np.float32)
    bx = np.stack([cv2.filter2D(f, -1, kernel, borderType=cv2.BORDER_REPLICATE) for f in fields])
    by = np.stack([cv2.filter2D(f, -1, kernel.T, borderType=cv2.BORDER_REPLICATE) for f in fields])
    magnitude, angle = cv2.cartToPolar(bx.sum(axis=0), by.sum(axis=0), angleInDegrees=True)
    found = []
    cells = magnitude.reshape(4, 28, 4, 28).sum(axis=(1, 3))
    i, j = np.unravel_index(cells.argmax(), (4, 4))
    cell = np.s_[28 * i : 28 * i + 28, 28 * j : 28 * j + 28]
    found += [4 * int(i) + int(j) + 1, directions(magnitude[cell].ravel(), angle[cell].ravel())]
    sums = [0.0, *(float(magnitude[s, s].sum()) for s in SQUARES)]
    areas = [0, 28**2, 56**2, 84**2, 112**2]
    means = [(sums[k + 1] - sums[k]) / (areas[k + 1] - areas[k]) for k in range(4)]
    ring = int(np.argmax(means))
    outer = magnitude.copy()
    if ring:
        outer[SQUARES[ring - 1], SQUARES[ring - 1]] = 0
    square = np.s_[SQUARES[ring], SQUARES[ring]]
    found += [ring + 1, directions(outer[square].ravel(), angle[square].ravel())]
    parts = triangles(quarters(magnitude))
    best = int(np.argmax([p.sum() for p in parts]))
    found += [best + 1, directions(parts[best], triangles(quarters(angle))[best])]
    frames = [
        cv2.cartToPolar(x, y, angleInDegrees=True)[0].sum() for x, y in zip(bx[:15], by[:15], strict=True)
    ]
    return [*found, int(np.argmax(frames)) + 1]


def exact_colour(bgr: Any) -> int:
    b, g, r = bgr.reshape(-1, 3).T.astype(np.int64)
    code = int(np.bincount(b << 16 | g << 8 | r).argmax())
    blue, green, red = (bool(code >> shift & 128) for shift in (16, 8, 0))
    return 2 * red + green + (0 if blue else 4) + 1


def coarse_colour(bgr: Any) -> int:
    b, g, r = bgr.reshape(-1, 3).T >> 7
    return int(np.bincount(2 * r + g + 4 * (1 - b), minlength=8).argmax()) + 1


def overlap(block: Any, missing: int = 0) -> Any:
    ious = []
    for channel in (2, 1, 0):
        h = np.stack([cv2.calcHist([f], [channel], None, [256], [0, 256]).ravel() for f in block])
        h[:, 0] -= missing
        ious.append(h.min(axis=0).sum() / h.max(axis=0).sum())
    return (ious[0] + ious[1] + ious[2]) / np.float32(3)


def appearance(bgr: Any, dominant: Callable[[Any], int]) -> list[int]:
    blocks = [bgr[:, y : y + 28, x : x + 28] for y in range(0, 112, 28) for x in range(0, 112, 28)]
    found = pick([overlap(np.ascontiguousarray(b)) for b in blocks], lambda k: dominant(blocks[k]))
    rings, ious = [], []
    for k, s in enumerate(SQUARES):
        ring = bgr[:, s, s].copy()
        n = 28 * k
        if k:
            ring[:, 14 : 14 + n, 14 : 14 + n] = 0
        rings.append(ring)
        ious.append(overlap(ring, n * n))

    def ring_colour(k: int) -> int:
        ring, n = rings[k], 28 * k
        if k == 0:
            return dominant(ring)
        inner = slice(14, 14 + n)
        bottom = ring[:-14] if k == 1 else ring[:, -14:]
        parts = [ring[:, :14], ring[:, inner, :14], ring[:, inner, -14:], bottom]
        return dominant(np.concatenate([p.reshape(-1, 3) for p in parts]))

    found += pick(ious, ring_colour)
    parts = [np.moveaxis(p, 1, 2) for p in triangles(quarters(np.moveaxis(bgr, 3, 1)))]
    found += pick([overlap(np.ascontiguousarray(p)[:, None]) for p in parts], lambda k: dominant(parts[k]))
    return [*found, dominant(bgr)]


def pick(ious: list[Any], colour: Callable[[int], int]) -> list[int]:
    diverse, stable = int(np.argmin(ious)), int(np.argmax(ious))
    return [diverse + 1, colour(diverse), stable + 1, colour(stable)]


def authors(rgb: Any, flow: Any, dominant: Callable[[Any], int] = exact_colour) -> list[int]:
    """Return the 27 labels of `sts-released`, of a crop."""
    u, v = motion(np.ascontiguousarray(flow[..., 0])), motion(np.ascontiguousarray(flow[..., 1]))
    found = [*u[:2], *v[:2], *u[2:4], *v[2:4], *u[4:6], *v[4:6], u[6], v[6]]
    return found + appearance(np.ascontiguousarray(rgb[..., ::-1]), dominant)


def cpu() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


def timed(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Time the tasks in turn, so that a busy spell touches all of them; milliseconds, an array of rounds each."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(rounds):
        for name, task in tasks.items():
            begin = time.perf_counter()
            task()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: np.array(t) for name, t in times.items()}


def main(rounds: int) -> None:
    cv2.setNumThreads(1)
    rgb, flow = made_clip()
    level = np.rint((np.clip(flow, -20, 20) + 20) * 6.375)
    stored = (level * 40 / 255 - 20).astype(np.float32)
    crop = np.s_[:16, Y : Y + SIZE, X : X + SIZE]
    rgb_crop, flow_crop = np.ascontiguousarray(rgb[crop]), np.ascontiguousarray(stored[crop])
    ours = ops.clip_labels(rgb_crop, flow_crop, "sts-released").values.tolist()
    assert authors(rgb_crop, flow_crop) == ours, (authors(rgb_crop, flow_crop), ours)

    config, bare = LabelConfig(statistics=True), LabelConfig()
    released = LabelConfig(profile="sts-released", statistics=True)
    frames, fields = rgb[:16], flow[:15]
    corners = [(0, 0), (0, 59), (16, 0), (16, 59), (4, 10), (4, 40), (10, 10), (10, 40)]
    one = [(Y, X, False)]
    flips = [*one, *[(Y, X, True)] * 8]

    def rows(crops: list[tuple[int, int, bool]], of: LabelConfig = config) -> Callable[[], object]:
        return lambda: label_rows(frames, fields, crops, of)

    t = timed(
        {
            "authors": lambda: authors(rgb_crop, flow_crop),
            "coarse": lambda: authors(rgb_crop, flow_crop, coarse_colour),
            "one": rows(one),
            "bare": rows(one, bare),
            "crops": rows([*one, *[(y, x, False) for y, x in corners]]),
            "flips": rows(flips),
            "released": lambda: label_rows(frames, flow, one, released),
        },
        rounds,
    )
    print(
        f"{cpu()}; Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}, ",
        end="",
    )
    print(f"OpenCV {cv2.__version__}; one core, median of {rounds}")
    table = [
        ("authors' algorithm in NumPy and OpenCV: 27 labels", t["authors"], "", ""),
        ("the same with 8 colours for their 2^24", t["coarse"], "", ""),
        ("sts: 27 labels, statistics, margins", t["one"], "4", "25"),
        ("sts: 27 labels", t["bare"], "", ""),
        ("sts: each further crop of the clip", (t["crops"] - t["one"]) / 8, "1.5", ""),
        ("sts: each flip", (t["flips"] - t["one"]) / 8, "0.2", ""),
        ("sts-released: 27 labels, statistics, margins", t["released"], "", ""),
    ]
    print(f"{'':52}{'ms':>8}{'at most':>9}{'ratio':>8}{'at least':>10}")
    theirs = float(np.median(t["authors"]))
    for name, times, most, least in table:
        ms = float(np.median(times))
        ratio = f"{theirs / ms:.0f}" if ms > 0.1 else "-"
        print(f"{name:52}{ms:8.2f}{most:>9}{ratio:>8}{least:>10}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
