"""The label stage in plain loops, written from its specification and from nothing else: slow, obvious, and the judge.

Pixels are numpy float32 scalars, so every line is one IEEE operation in the order it is written; sums are Python's
whole numbers. Nothing here is shared with the code it judges.
"""

from typing import Any

import numpy as np

f32 = np.float32
ONE = 65536  # magnitudes are counted in 1/65536 pixel
UNIT, HALF = f32(ONE), f32(0.5)

P1, P3, P5, P7 = (
    f32(c) * f32(57.29577951308232)
    for c in (0.9997878412794807, -0.3258083974640975, 0.1555786518463281, -0.04432655554792128)
)
BLUE, CYAN, MAGENTA, WHITE, BLACK, GREEN, RED, YELLOW = range(1, 9)


# Blocks: lists of (y, x).


def pattern_1(S: int) -> list[list[tuple[int, int]]]:
    side = S // 4
    return [
        [(y, x) for y in range(i * side, (i + 1) * side) for x in range(j * side, (j + 1) * side)]
        for i in range(4)
        for j in range(4)
    ]


def pattern_2(S: int) -> list[list[tuple[int, int]]]:
    blocks = []
    for k in range(1, 5):
        low, high = S // 2 - k * S // 8, S // 2 + k * S // 8
        inner_low, inner_high = S // 2 - (k - 1) * S // 8, S // 2 + (k - 1) * S // 8
        ring = []
        for y in range(low, high):
            for x in range(low, high):
                if not (inner_low <= y < inner_high and inner_low <= x < inner_high):
                    ring.append((y, x))
        blocks.append(ring)
    return blocks


def pattern_3(S: int) -> list[list[tuple[int, int]]]:
    half = S // 2
    blocks: list[list[tuple[int, int]]] = [[] for _ in range(8)]
    for r in range(half):
        for c in range(half):
            here = (
                ((0, r >= c), (1, r <= c), (r, c)),  # top left: the diagonal falls to the right
                ((3, r >= c), (2, r <= c), (r, S - 1 - c)),  # top right: its mirror image
                ((4, r >= c), (5, r <= c), (S - 1 - r, c)),  # bottom left: the top left upside down
                ((7, r >= c), (6, r <= c), (S - 1 - r, S - 1 - c)),  # bottom right: both
            )
            for first, second, pixel in here:
                for k, belongs in (first, second):
                    if belongs:
                        blocks[k].append(pixel)
    return [sorted(b) for b in blocks]


PATTERNS = {"pattern_1": (pattern_1, False), "pattern_2": (pattern_2, True), "pattern_3": (pattern_3, False)}


# Motion.


def limited(f: Any) -> Any:
    if f > 2048:
        return f32(2048)
    if f < -2048:
        return f32(-2048)
    return f


def eight_bits(f: Any) -> Any:
    """Flow as a grey level over -20..20 pixels, and back."""
    f = min(max(f, f32(-20)), f32(20))
    level = f32(round(float((f + f32(20)) * f32(255) / f32(40))))
    return level * f32(40) / f32(255) - f32(20)


def boundary(field: list[list[Any]]) -> tuple[list[list[Any]], list[list[Any]]]:
    """3 x 3 Prewitt differences bx, by with replicated border; the middle of three differences is added last."""
    H, W = len(field), len(field[0])
    rows = [[limited(f) for f in row] for row in field]
    rows = [[row[0], *row, row[-1]] for row in rows]
    f = [rows[0], *rows, rows[-1]]  # pixel (y, x) stands at [y + 1][x + 1]
    bx = [[f32(0)] * W for _ in range(H)]
    by = [[f32(0)] * W for _ in range(H)]
    for y in range(H):
        above, here, below = f[y], f[y + 1], f[y + 2]
        for x in range(W):
            bx[y][x] = ((above[x] - above[x + 2]) + (below[x] - below[x + 2])) + (here[x] - here[x + 2])
            by[y][x] = ((above[x] - below[x]) + (above[x + 2] - below[x + 2])) + (above[x + 1] - below[x + 1])
    return bx, by


def magnitude(mx: Any, my: Any) -> Any:
    return np.sqrt(mx * mx + my * my)


def whole(x: Any) -> int:
    return int(x * UNIT + HALF)


def votes(mx: Any, my: Any) -> list[int]:
    """Share a vector's magnitude between the two nearest of the directions 0, 45, ..., 315 degrees."""
    bins = [0] * 8
    m = magnitude(mx, my)
    ax, ay = abs(mx), abs(my)
    minor, major = (ay, ax) if ax >= ay else (ax, ay)
    c = minor / (major + f32(2.220446049250313e-16))
    c2 = c * c
    degrees = (((P7 * c2 + P5) * c2 + P3) * c2 + P1) * c  # from the nearest axis
    total = whole(m)
    diagonal = int(m * f32(ONE) * (degrees / f32(45)) + f32(0.5))
    if ax >= ay:
        axis_bin = 0 if mx >= 0 else 4
    else:
        axis_bin = 2 if my >= 0 else 6
    diagonal_bin = {(True, True): 1, (False, True): 3, (False, False): 5, (True, False): 7}[
        bool(mx >= 0), bool(my >= 0)
    ]
    bins[axis_bin] += total - diagonal
    bins[diagonal_bin] += diagonal
    return bins


def stored(count: int) -> Any:
    """A sum of 1/65536 pixels as the float32 that is compared and stored."""
    return f32(np.int64(count)) * f32(1 / ONE)


# Appearance.


CLASSES = {
    (False, False, True): BLUE,
    (False, True, True): CYAN,
    (True, False, True): MAGENTA,
    (True, True, True): WHITE,
    (False, False, False): BLACK,
    (False, True, False): GREEN,
    (True, False, False): RED,
    (True, True, False): YELLOW,
}


def colour_class(r: int, g: int, b: int) -> int:
    return CLASSES[r >= 128, g >= 128, b >= 128]


def overlap(frames: list[list[list[tuple[int, int, int]]]], block: list[tuple[int, int]]) -> Any:
    total = f32(0)
    for channel in range(3):
        histograms = []
        for frame in frames:
            h = [0] * 256
            for y, x in block:
                h[frame[y][x][channel]] += 1
            histograms.append(h)
        smallest = sum(min(column) for column in zip(*histograms, strict=True))
        largest = sum(max(column) for column in zip(*histograms, strict=True))
        iou = f32(smallest) / f32(largest)
        total = iou if channel == 0 else total + iou
    return total / f32(3)


def most_frequent(pixels: list[tuple[int, int, int]]) -> int:
    counts: dict[int, int] = {}
    for r, g, b in pixels:
        code = b * 65536 + g * 256 + r
        counts[code] = counts.get(code, 0) + 1
    most = max(counts.values())
    code = min(c for c, n in counts.items() if n == most)
    return colour_class(code % 256, code // 256 % 256, code // 65536)


# Labels.


def winner(values: list[Any]) -> int:
    """The number, from 1, of the largest; the lowest of equals; 0 where nothing is above 0."""
    best = max(values)
    return values.index(best) + 1 if best > 0 else 0


def margin(values: list[Any], label: int) -> Any:
    """The gap between winner and runner-up, relative to the larger of them."""
    rest = [v for i, v in enumerate(values) if i != label - 1]
    if label == 0 or not rest:
        return f32(0)
    best = f32(values[label - 1])
    second = f32(min(rest, key=lambda v: abs(float(v) - float(best))))
    larger = max(best, second)
    return abs(best - second) / larger if larger > 0 else f32(0)


def mirrored(rows: list[list[Any]]) -> list[list[Any]]:
    return [row[::-1] for row in rows]


def clip(
    rgb: Any,
    flow: Any,
    crop: tuple[int, int],
    size: int,
    flip: bool = False,
    profile: str = "sts",
    patterns: dict[str, tuple[Any, bool]] = PATTERNS,
) -> tuple[dict[str, list[int]], dict[str, Any], dict[str, list[Any]]]:
    """Labels by "family/pattern", statistics by "family/pattern/name" and margins by "family/pattern"."""
    released = profile != "sts"
    length = min(len(rgb), 16) if released else len(rgb)
    summed = length if profile == "sts-released" else length - 1
    y0, x0 = crop
    labels: dict[str, list[int]] = {}
    statistics: dict[str, Any] = {}
    margins: dict[str, list[Any]] = {}
    blocks_of = {name: function(size) for name, (function, _) in patterns.items()}
    W = rgb.shape[2]
    x_there = W - size - x0 if flip and not released else x0  # where the crop lies in the mirrored frame

    for k, c in enumerate("uv"):
        Mx: list[list[Any]] = []
        My: list[list[Any]] = []
        frames = []
        for i in range(summed):
            field = [list(row) for row in flow[i, :, :, k]]
            if released:
                field = [[eight_bits(f) for f in row[x0 : x0 + size]] for row in field[y0 : y0 + size]]
            if flip:
                field = mirrored(field)
                if not released and c == "u":
                    field = [[-f for f in row] for row in field]
            bx, by = boundary(field)
            if not released:
                bx, by = ([row[x_there : x_there + size] for row in b[y0 : y0 + size]] for b in (bx, by))
            if i < length - 1:
                total = 0
                for row_x, row_y in zip(bx, by, strict=True):
                    for dx, dy in zip(row_x, row_y, strict=True):
                        total += whole(magnitude(dx, dy))
                frames.append(total)
            if i == 0:
                Mx, My = [[f32(0)] * size for _ in range(size)], [[f32(0)] * size for _ in range(size)]
            for y in range(size):
                for x in range(size):
                    Mx[y][x] = Mx[y][x] + bx[y][x]
                    My[y][x] = My[y][x] + by[y][x]
        voted = [[votes(Mx[y][x], My[y][x]) for x in range(size)] for y in range(size)]
        for name, (_, by_mean) in patterns.items():
            magnitudes, orientations = [], []
            for block in blocks_of[name]:
                bins = [0] * 8
                for y, x in block:
                    for b, vote in enumerate(voted[y][x]):
                        bins[b] += vote
                value = stored(sum(bins))
                magnitudes.append(value / f32(len(block)) if by_mean else value)
                orientations.append([stored(b) for b in bins])
            location = winner(magnitudes)
            orientation = winner(orientations[location - 1]) if location else 0
            group = f"motion/{name}"
            margins.setdefault(group, []).extend(
                [
                    margin(magnitudes, location),
                    margin(orientations[location - 1], orientation) if location else f32(0),
                ]
            )
            if profile == "sts-released" and name != "pattern_1":
                location, orientation = max(location, 1), max(orientation, 1)
            labels.setdefault(group, []).extend([location, orientation])
            statistics[f"{group}/{c}_magnitude"] = magnitudes
            statistics[f"{group}/{c}_orientation"] = orientations
        values = [stored(n) for n in frames]
        frame = winner(values)
        margins.setdefault("motion/global", []).append(margin(values, frame))
        labels.setdefault("motion/global", []).append(max(frame, 1) if released else frame)
        statistics[f"motion/global/{c}_frames"] = values
    if profile == "mas-released":
        return labels, statistics, margins

    pixels = []
    for frame in rgb[:length]:
        rows = [
            [(int(p[0]), int(p[1]), int(p[2])) for p in row[x0 : x0 + size]] for row in frame[y0 : y0 + size]
        ]
        pixels.append(mirrored(rows) if flip else rows)

    def counts(block: list[tuple[int, int]]) -> list[int]:
        n = [0] * 8
        for frame in pixels:
            for y, x in block:
                n[colour_class(*frame[y][x]) - 1] += 1
        return n

    def dominant(name: str, k: int) -> int:
        if profile == "sts":
            return winner(counts(blocks_of[name][k]))
        if name == "pattern_2" and k == 1:
            return most_frequent(slip(pixels, size))
        return most_frequent([frame[y][x] for frame in pixels for y, x in blocks_of[name][k]])

    for name, blocks in blocks_of.items():
        ious = [overlap(pixels, block) for block in blocks]
        diverse, stable = ious.index(min(ious)), ious.index(max(ious))
        group = f"appearance/{name}"
        colours = [counts(block) for block in blocks]
        labels[group] = [diverse + 1, dominant(name, diverse), stable + 1, dominant(name, stable)]
        if profile == "sts":
            margins[group] = [
                margin(ious, diverse + 1),
                margin(colours[diverse], labels[group][1]),
                margin(ious, stable + 1),
                margin(colours[stable], labels[group][3]),
            ]
        statistics[f"{group}/iou"] = ious
        statistics[f"{group}/colours"] = colours
    everything = [(y, x) for y in range(size) for x in range(size)]
    all_counts = counts(everything)
    statistics["appearance/global/colours"] = all_counts
    if profile == "sts":
        labels["appearance/global"] = [winner(all_counts)]
        margins["appearance/global"] = [margin(all_counts, winner(all_counts))]
    else:
        labels["appearance/global"] = [
            most_frequent([frame[y][x] for frame in pixels for y, x in everything])
        ]
    return labels, statistics, margins


def slip(frames: list[list[list[tuple[int, int, int]]]], size: int) -> list[tuple[int, int, int]]:
    """The pixels that the released code counts for block 2 of pattern 2."""
    band, low, high = size // 8, size // 4, 3 * size // 4
    pixels = []
    for t, frame in enumerate(frames):
        for y in range(low, high):
            for x in range(low, high):
                inner = low + band <= y < high - band and low + band <= x < high - band
                in_top = y < low + band
                in_side = low + band <= y < high - band and not inner
                if in_top or in_side:
                    pixels.append(frame[y][x])
                if t < 2:
                    pixels.append((0, 0, 0) if inner else frame[y][x])
    return pixels
