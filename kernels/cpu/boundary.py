"""Motion boundaries: the 3 x 3 Prewitt difference of each flow component, and its sum over a clip.

Every operation is float32 and stands in the order written; pairs are added so that the mirrored field gives the same
bits. Flow is first limited to +-2048 pixels a frame step, so that nothing below overflows: a boundary is then at most
12288 a component, a magnitude at most 2^14.1, and 255 fields sum to less than 2^22.1.

Magnitudes leave in 1/65536 of a pixel, as whole numbers rounded half up, so that they can be added in any order.
"""

import numpy as np
import numpy.typing as npt

from vstats.kernels.cpu.jit import kernel

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

LIMIT = np.float32(2048)
UNIT = np.float32(65536)
HALF = np.float32(0.5)
EXPONENT = np.int32(0x7F800000)


@kernel
def all_finite(bits: I32) -> bool:
    """Tell whether no float32, seen as int32 [N], is an infinity or NaN (all bits of its exponent set)."""
    bad = np.int32(0)
    for i in range(bits.size):
        bad |= np.int32((bits[i] & EXPONENT) == EXPONENT)
    return bool(bad == 0)


@kernel
def quantise(flow: F32, out: F32) -> None:
    """Store flow [N] in 8 bits over -20..20 pixels and read it back; round half to even."""
    low, high, span, levels = np.float32(-20), np.float32(20), np.float32(40), np.float32(255)
    for i in range(flow.size):
        f = flow[i]
        f = low if f < low else f
        f = high if f > high else f
        q = np.rint((f + high) * levels / span)
        out[i] = q * span / levels - high


@kernel
def _sum_crop(magnitude: I32, y0: int, x0: int, size: int, out: I64) -> None:
    """Sum [H, 2 W] magnitudes over the crop of `size` at (y0, x0) into int64 [2]: whole numbers, in any order."""
    u = np.int64(0)
    v = np.int64(0)
    for y in range(y0, y0 + size):
        row = magnitude[y, 2 * x0 : 2 * (x0 + size)]
        for x in range(size):
            u += np.int64(row[2 * x])
            v += np.int64(row[2 * x + 1])
    out[0] = u
    out[1] = v


@kernel
def boundaries(flow: F32, corners: I64, size: int, summed: F32, frames: I64) -> None:
    """Sum a clip's boundaries as vectors, and the magnitudes of each field's own over some crops.

    `flow` is [F, H, 2 W], u and v side by side; `summed` [2, H, 2 W] receives d/dx and d/dy added over all F fields in
    their order; `frames` int64 [G, C, 2] receives, of each of the first G fields, the sum of sqrt(bx^2 + by^2) in
    1/65536 pixel over the crops of `size` at `corners` int64 [C, 2 (y, x)], for u and v.
    """
    F, H, W2 = flow.shape
    G, C = frames.shape[:2]
    padded = np.empty((H + 2, W2 + 4), np.float32)
    magnitude = np.empty((H, W2), np.int32)
    summed[:] = np.float32(0)
    for i in range(F):
        for y in range(H):
            source, row = flow[i, y], padded[y + 1]
            for j in range(W2):
                f = source[j]
                f = LIMIT if f > LIMIT else f
                row[j + 2] = -LIMIT if f < -LIMIT else f
            row[0], row[1] = row[2], row[3]
            row[W2 + 2], row[W2 + 3] = row[W2], row[W2 + 1]
        padded[0, :] = padded[1, :]
        padded[H + 1, :] = padded[H, :]
        for y in range(H):
            above, here, below = padded[y], padded[y + 1], padded[y + 2]
            sum_x, sum_y, out = summed[0, y], summed[1, y], magnitude[y]
            for j in range(W2):
                bx = ((above[j] - above[j + 4]) + (below[j] - below[j + 4])) + (here[j] - here[j + 4])
                by = ((above[j] - below[j]) + (above[j + 4] - below[j + 4])) + (above[j + 2] - below[j + 2])
                sum_x[j] += bx
                sum_y[j] += by
                out[j] = np.int32(np.sqrt(bx * bx + by * by) * UNIT + HALF)
        if i < G:
            for c in range(C):
                _sum_crop(magnitude, corners[c, 0], corners[c, 1], size, frames[i, c])
