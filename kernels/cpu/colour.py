"""Colour of every block of a crop: how much its histograms overlap over time, and counts of the 8 dominant colours.

Everything here is a count: whole numbers, the same in any order and on any machine.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.cpu.jit import kernel

U8 = npt.NDArray[np.uint8]
Counts = npt.NDArray[Any]
I64 = npt.NDArray[np.int64]


@kernel
def colours(
    rgb: U8,
    y0: int,
    x0: int,
    size: int,
    region_start: I64,
    region_pixels: I64,
    block_start: I64,
    block_regions: I64,
    per_region: Counts,
    overlap: I64,
    classes: I64,
) -> None:
    """Count what colour labels are decided by, over the crop of `size` at (y0, x0) of uint8 [T, H, W, 3].

    `overlap` int64 [B, 3, 2] receives per block and channel (red, green, blue) the sums over the 256 bins of the
    smallest and of the largest count among the T frames; `classes` int64 [R, 8], zeroed by the caller, the pixels of
    each region in the 8 colour classes, over all frames. `per_region` [R, 768] is scratch, uint16 or uint32: wide
    enough to count the largest block's pixels, and the type that histograms are compared in.
    """
    T, H, W, _ = rgb.shape
    R = region_start.size - 1
    B = block_start.size - 1
    offset = np.empty(region_pixels.size, np.uint64)
    for p in range(region_pixels.size):
        y, x = region_pixels[p] // size, region_pixels[p] % size
        offset[p] = np.uint64(((y0 + y) * W + x0 + x) * 3)
    count = np.empty(768, per_region.dtype)
    low = np.empty((B, 768), per_region.dtype)
    high = np.empty((B, 768), per_region.dtype)
    for t in range(T):
        frame = rgb[t].reshape(H * W * 3)
        for r in range(R):
            bins = per_region[r]
            bins[:] = 0
            kinds = classes[r]
            for p in range(region_start[r], region_start[r + 1]):
                o = offset[p]
                red, green, blue = np.uint64(frame[o]), np.uint64(frame[o + 1]), np.uint64(frame[o + 2])
                bins[red] += 1
                bins[green + np.uint64(256)] += 1
                bins[blue + np.uint64(512)] += 1
                # 0 blue, 1 cyan, 2 magenta, 3 white, 4 black, 5 green, 6 red, 7 yellow
                kind = ((red >> 7) << 1) + (green >> 7) + ((blue >> 7) ^ 1) * 4
                kinds[kind] += 1
        for b in range(B):
            count[:] = 0
            for k in range(block_start[b], block_start[b + 1]):
                source = per_region[block_regions[k]]
                for j in range(768):
                    count[j] += source[j]
            lowest, highest = low[b], high[b]
            if t == 0:
                lowest[:] = count
                highest[:] = count
            else:
                for j in range(768):
                    lowest[j] = min(lowest[j], count[j])
                    highest[j] = max(highest[j], count[j])
    for b in range(B):
        for c in range(3):
            smallest = np.int64(0)
            largest = np.int64(0)
            for j in range(256 * c, 256 * (c + 1)):
                smallest += np.int64(low[b, j])
                largest += np.int64(high[b, j])
            overlap[b, c, 0] = smallest
            overlap[b, c, 1] = largest
