"""Grey conversion and resizing. The uint8 kernels are exact integer arithmetic: no machine changes their bits."""

import numpy as np
import numpy.typing as npt

from vstats.kernels.bilinear import places
from vstats.kernels.cpu.jit import kernel

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

ONE = np.float32(1)


@kernel
def rgb_to_gray(rgb: U8, out: U8) -> None:
    """Rec. 601 luma of uint8 [N, 3] in 15-bit weights (they sum to 2^15), rounded half up, into uint8 [N]."""
    for i in range(out.shape[0]):
        r, g, b = np.uint32(rgb[i, 0]), np.uint32(rgb[i, 1]), np.uint32(rgb[i, 2])
        total = np.uint32(9798) * r + np.uint32(19235) * g + np.uint32(3735) * b + np.uint32(16384)
        out[i] = np.uint8(total >> np.uint32(15))


@kernel
def area_u8(frames: U8, h: int, w: int, top: int, left: int, out: U8) -> None:
    """Mean over each output pixel's rectangle: uint8 [T, H, W, 3] resized to h x w.

    `out`, uint8 [T, rows, columns, 3], is the part of the result that begins at row `top` and column `left`.

    Lengths are counted in 1/(h*H) and 1/(w*W) of the picture's sides: a source pixel is h by w of them and an
    output pixel H by W, so every overlap is a whole number.
    """
    T, H, W, C = frames.shape
    rows, columns = out.shape[1], out.shape[2]
    area = np.uint64(H * W)
    # Division by multiplication, exact: quotients below 256 of whole numbers lie at least 1/(2 area) from where the
    # half that is added to the numerator would carry them over, and float64 errs by far less.
    unit = 0.5 / float(H * W)
    begin, end = left * W // w, ((left + columns) * W - 1) // w + 1  # the source columns that are needed
    taps = np.empty(
        (columns, 2), np.int64
    )  # an output column's first one, counted from `begin`, and how many
    widths = np.zeros((columns, (W - 1) // w + 2), np.uint64)  # by how much it overlaps each
    for i in range(columns):
        before, after = (left + i) * W, (left + i + 1) * W
        first, last = before // w, (after - 1) // w
        taps[i, 0], taps[i, 1] = first - begin, last - first + 1
        for k in range(last - first + 1):
            widths[i, k] = np.uint64(min(after, (first + k + 1) * w) - max(before, (first + k) * w))
    column = np.empty((end - begin) * C, np.uint32)  # at most 255 * H
    for t in range(T):
        for j in range(rows):
            column[:] = np.uint32(0)
            above, below = (top + j) * H, (top + j + 1) * H
            for sy in range(above // h, (below - 1) // h + 1):
                height = np.uint32(min(below, (sy + 1) * h) - max(above, sy * h))
                source = frames[t, sy, begin:end].reshape((end - begin) * C)
                for i in range(source.shape[0]):
                    column[i] += height * np.uint32(source[i])
            for i in range(columns):
                r = g = b = np.uint64(0)
                at = 3 * taps[i, 0]
                for k in range(taps[i, 1]):
                    width = widths[i, k]
                    r += width * np.uint64(column[at])
                    g += width * np.uint64(column[at + 1])
                    b += width * np.uint64(column[at + 2])
                    at += 3
                out[t, j, i, 0] = np.uint8((np.float64(np.uint64(2) * r + area) + 0.5) * unit)
                out[t, j, i, 1] = np.uint8((np.float64(np.uint64(2) * g + area) + 0.5) * unit)
                out[t, j, i, 2] = np.uint8((np.float64(np.uint64(2) * b + area) + 0.5) * unit)


@kernel
def _taps(source: int, target: int) -> I64:
    """Per output index: the two source indices and the weight of the second, in 1/(2*target) of a pixel."""
    taps = np.empty((target, 3), np.int64)
    for i in range(target):
        # The centre of output pixel i lies at (i + 1/2) * source/target - 1/2 of the source.
        position = (2 * i + 1) * source - target
        first = position // (2 * target)
        taps[i, 0] = max(first, 0)
        taps[i, 1] = min(first + 1, source - 1)
        taps[i, 2] = position - first * 2 * target
    return taps


@kernel
def linear_u8(frames: U8, out: U8) -> None:
    """Bilinear, half-pixel centres, replicated border, exact: uint8 [T, H, W, 3] into uint8 [T, h, w, 3]."""
    T, H, W, C = frames.shape
    h, w = out.shape[1], out.shape[2]
    rows, columns = _taps(H, h), _taps(W, w)
    unit_y, unit_x = np.int64(2 * h), np.int64(2 * w)
    one = unit_y * unit_x
    blended = np.empty((W, C), np.int64)
    for t in range(T):
        for y in range(h):
            y0, y1, fy = rows[y, 0], rows[y, 1], rows[y, 2]
            for sx in range(W):
                for c in range(C):
                    blended[sx, c] = (unit_y - fy) * frames[t, y0, sx, c] + fy * frames[t, y1, sx, c]
            for x in range(w):
                x0, x1, fx = columns[x, 0], columns[x, 1], columns[x, 2]
                for c in range(C):
                    total = (unit_x - fx) * blended[x0, c] + fx * blended[x1, c]
                    out[t, y, x, c] = (2 * total + one) // (2 * one)


def linear_f32(planes: F32, out: F32, scale_y: float, scale_x: float, room: F32 | None = None) -> None:
    """Bilinear with half-pixel centres and replicated border: float32 [N, H, W] into float32 [N, h, w].

    `scale_y`, `scale_x` are source pixels an output pixel. Columns are blended first, then rows, as OpenCV does. `room`
    is for what lies between, float32 [2, at least N max(H, h) w]: fresh memory takes longer than the arithmetic.
    """
    (N, H, W), (h, w) = planes.shape, out.shape[1:]
    room = np.empty((2, N * max(H, h) * w), np.float32) if room is None else room
    tops, bottoms, down = places(H, h, scale_y)
    lefts, rights, across = places(W, w, scale_x)
    # Plain NumPy: one operation a pass gives the bits of a written loop, and a kernel would take longer to compile than
    # it saves in hours. No index is outside; mode="clip" spares NumPy a copy.
    blended, other = (part[: N * H * w].reshape(N, H, w) for part in room)
    np.take(planes, lefts, axis=2, out=blended, mode="clip")
    blended *= ONE - across
    np.take(planes, rights, axis=2, out=other, mode="clip")
    other *= across
    blended += other
    other = room[1, : N * h * w].reshape(N, h, w)
    np.take(blended, tops, axis=1, out=out, mode="clip")
    out *= ONE - down[:, None]
    np.take(blended, bottoms, axis=1, out=other, mode="clip")
    other *= down[:, None]
    out += other
