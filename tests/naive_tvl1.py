"""TV-L1 and the resizes in plain loops, written from their definitions: slow, obvious, and the judge.

Pixels are numpy float32 scalars, so every line is one IEEE operation in the order it is written; the stop test sums
Python's whole numbers, and exact resizes count in fractions. Nothing here is shared with the code it judges.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np

f32 = np.float32
Plane = list[list[Any]]


def plane(height: int, width: int) -> Plane:
    return [[f32(0)] * width for _ in range(height)]


# Resizing.


def round_half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def resize_area(picture: Any, size: tuple[int, int]) -> Any:
    """Mean of each channel over the output pixel's rectangle: uint8 [H, W, 3]."""
    H, W, C = picture.shape
    h, w = size
    out = np.zeros((h, w, C), np.uint8)
    for y in range(h):
        top, bottom = Fraction(y * H, h), Fraction((y + 1) * H, h)
        for x in range(w):
            left, right = Fraction(x * W, w), Fraction((x + 1) * W, w)
            for c in range(C):
                total = Fraction(0)
                for sy in range(H):
                    tall = max(Fraction(0), min(bottom, Fraction(sy + 1)) - max(top, Fraction(sy)))
                    for sx in range(W):
                        wide = max(Fraction(0), min(right, Fraction(sx + 1)) - max(left, Fraction(sx)))
                        total += tall * wide * int(picture[sy, sx, c])
                out[y, x, c] = round_half_up(total / ((bottom - top) * (right - left)))
    return out


def resize_linear_u8(picture: Any, size: tuple[int, int]) -> Any:
    """Bilinear, half-pixel centres, replicated border, exact, rounded half up: uint8 [H, W, 3]."""
    H, W, C = picture.shape
    h, w = size
    out = np.zeros((h, w, C), np.uint8)
    for y in range(h):
        at_y = min(max(Fraction(2 * y + 1, 2) * H / h - Fraction(1, 2), Fraction(0)), Fraction(H - 1))
        y0 = math.floor(at_y)
        y1 = min(y0 + 1, H - 1)
        for x in range(w):
            at_x = min(max(Fraction(2 * x + 1, 2) * W / w - Fraction(1, 2), Fraction(0)), Fraction(W - 1))
            x0 = math.floor(at_x)
            x1 = min(x0 + 1, W - 1)
            fy, fx = at_y - y0, at_x - x0
            for c in range(C):
                a, b = int(picture[y0, x0, c]), int(picture[y0, x1, c])
                d, e = int(picture[y1, x0, c]), int(picture[y1, x1, c])
                out[y, x, c] = round_half_up(
                    (1 - fy) * ((1 - fx) * a + fx * b) + fy * ((1 - fx) * d + fx * e)
                )
    return out


def place(i: int, scale: float, source: int) -> tuple[int, int, Any]:
    position = f32((i + 0.5) * scale - 0.5)
    first = math.floor(position)
    return min(max(first, 0), source - 1), min(max(first + 1, 0), source - 1), position - f32(first)


def resize_linear(image: Plane, size: tuple[int, int], scale_y: float, scale_x: float) -> Plane:
    """Bilinear in float32, along x and then along y; `scale` is source pixels an output pixel."""
    H, W = len(image), len(image[0])
    h, w = size
    one = f32(1)
    out = plane(h, w)
    for y in range(h):
        y0, y1, fy = place(y, scale_y, H)
        for x in range(w):
            x0, x1, fx = place(x, scale_x, W)
            upper = image[y0][x0] * (one - fx) + image[y0][x1] * fx
            lower = image[y1][x0] * (one - fx) + image[y1][x1] * fx
            out[y][x] = upper * (one - fy) + lower * fy
    return out


# TV-L1.


def median(image: Plane, side: int) -> Plane:
    H, W, r = len(image), len(image[0]), side // 2
    out = plane(H, W)
    for y in range(H):
        for x in range(W):
            window = [
                image[min(max(y + j, 0), H - 1)][min(max(x + i, 0), W - 1)]
                for j in range(-r, r + 1)
                for i in range(-r, r + 1)
            ]
            out[y][x] = sorted(window)[side * side // 2]
    return out


def gradients(image: Plane) -> tuple[Plane, Plane]:
    H, W = len(image), len(image[0])
    across, down = plane(H, W), plane(H, W)
    for y in range(H):
        for x in range(W):
            across[y][x] = f32(0.5) * (image[y][min(x + 1, W - 1)] - image[y][max(x - 1, 0)])
            down[y][x] = f32(0.5) * (image[min(y + 1, H - 1)][x] - image[max(y - 1, 0)][x])
    return across, down


def cubic_weights(t: Any) -> list[Any]:
    """Cubic convolution with A = -0.75: weights of the pixels at -1, 0, 1 and 2 for a position t of a pixel past 0."""
    A, one = f32(-0.75), f32(1)
    s, r = t + one, one - t
    w0 = ((A * s - f32(5) * A) * s + f32(8) * A) * s - f32(4) * A
    w1 = ((A + f32(2)) * t - (A + f32(3))) * t * t + one
    w2 = ((A + f32(2)) * r - (A + f32(3))) * r * r + one
    return [w0, w1, w2, one - w0 - w1 - w2]


def cubic(image: Plane, px: Any, py: Any) -> Any:
    """The image at (px, py), 0 outside: the four rows are blended first, then the four columns."""
    H, W = len(image), len(image[0])
    left, top = math.floor(px), math.floor(py)
    across, down = cubic_weights(px - f32(left)), cubic_weights(py - f32(top))

    def pixel(y: int, x: int) -> Any:
        return image[y][x] if 0 <= y < H and 0 <= x < W else f32(0)

    columns = []
    for i in range(4):
        taps = [pixel(top - 1 + j, left - 1 + i) for j in range(4)]
        columns.append(((down[0] * taps[0] + down[1] * taps[1]) + down[2] * taps[2]) + down[3] * taps[3])
    return ((across[0] * columns[0] + across[1] * columns[1]) + across[2] * columns[2]) + across[3] * columns[
        3
    ]


def clamp(value: Any, low: Any, high: Any) -> Any:
    return low if value < low else high if value > high else value


def solve_level(I0: Plane, I1: Plane, u1: Plane, u2: Plane, params: Any) -> tuple[Plane, Plane]:
    H, W = len(I0), len(I0[0])
    one, zero = f32(1), f32(0)
    reach, theta, taut = f32(params.lambda_ * params.theta), f32(params.theta), f32(params.tau / params.theta)
    threshold = params.epsilon * params.epsilon * H * W
    unit = min(2**29 / threshold, 2.0**100) if threshold > 0 else 2.0**100
    stop, unit = int(threshold * unit), f32(unit)
    I1x, I1y = gradients(I1)
    p11, p12, p21, p22 = (plane(H, W) for _ in range(4))
    gx, gy, rho_c, step = (plane(H, W) for _ in range(4))
    for _ in range(params.warps):
        for y in range(H):
            for x in range(W):
                px = clamp(f32(x) + u1[y][x], f32(-3), f32(W + 1))
                py = clamp(f32(y) + u2[y][x], f32(-3), f32(H + 1))
                ix, iy = cubic(I1x, px, py), cubic(I1y, px, py)
                gx[y][x], gy[y][x] = ix, iy
                rho_c[y][x] = ((cubic(I1, px, py) - ix * u1[y][x]) - iy * u2[y][x]) - I0[y][x]
                grad = ix * ix + iy * iy
                step[y][x] = -one / grad if grad > np.finfo(np.float32).eps else zero
        change = stop + 1
        for _ in range(params.outer_iterations):
            if change <= stop:
                break
            u1, u2 = median(u1, params.median_filtering), median(u2, params.median_filtering)
            for _ in range(params.inner_iterations):
                if change <= stop:
                    break
                change = 0
                for y in range(H):
                    for x in range(W):
                        a, b, ix, iy = u1[y][x], u2[y][x], gx[y][x], gy[y][x]
                        along = clamp((rho_c[y][x] + (ix * a + iy * b)) * step[y][x], -reach, reach)
                        div1 = (p11[y][x] - (p11[y][x - 1] if x else zero)) + (
                            p12[y][x] - (p12[y - 1][x] if y else zero)
                        )
                        div2 = (p21[y][x] - (p21[y][x - 1] if x else zero)) + (
                            p22[y][x] - (p22[y - 1][x] if y else zero)
                        )
                        u1[y][x] = (a + along * ix) + theta * div1
                        u2[y][x] = (b + along * iy) + theta * div2
                        da, db = u1[y][x] - a, u2[y][x] - b
                        change += int(min((da * da + db * db) * unit + f32(0.5), f32(2**30)))
                for u, p, q in ((u1, p11, p12), (u2, p21, p22)):
                    for y in range(H):
                        for x in range(W):
                            across = taut * (u[y][x + 1] - u[y][x]) if x < W - 1 else zero
                            down = taut * (u[y + 1][x] - u[y][x]) if y < H - 1 else zero
                            shrink = one / (one + np.sqrt(across * across + down * down))
                            p[y][x] = (p[y][x] + across) * shrink
                            q[y][x] = (q[y][x] + down) * shrink
    return u1, u2


def tvl1(first: Any, second: Any, params: Any) -> Any:
    """Flow between two grey frames [H, W], float32 [H, W, 2]."""
    levels = [tuple([[f32(value) for value in row] for row in frame.tolist()] for frame in (first, second))]
    while len(levels) < params.nscales:
        H, W = len(levels[-1][0]), len(levels[-1][0][0])
        size = round(H * params.scale_step), round(W * params.scale_step)
        if min(size) < 16:
            break
        pace = 1 / params.scale_step
        levels.append(tuple(resize_linear(image, size, pace, pace) for image in levels[-1]))
    flow: tuple[Plane, Plane] | None = None
    for I0, I1 in reversed(levels):
        H, W = len(I0), len(I0[0])
        if flow is None:
            flow = plane(H, W), plane(H, W)
        else:
            scales = len(flow[0]) / H, len(flow[0][0]) / W
            u1, u2 = (resize_linear(u, (H, W), *scales) for u in flow)
            grow = f32(1 / params.scale_step)
            flow = [[v * grow for v in row] for row in u1], [[v * grow for v in row] for row in u2]
        flow = solve_level(I0, I1, *flow, params)
    assert flow is not None
    return np.stack([np.array(flow[0], np.float32), np.array(flow[1], np.float32)], axis=-1)
