"""Orientation histograms of every region of a crop, and their sums over blocks.

The angle is taken inside its octant, 0 to 45 degrees from the nearest axis, by the odd polynomial of degree 7 of
OpenCV's fastAtan2. A vote is shared between that axis's bin and the octant's diagonal bin. Mirroring a field changes
signs only, never the octant's angle, so the votes of a mirrored crop are the same whole numbers in other bins.
"""

import numpy as np
import numpy.typing as npt

from vstats.kernels.cpu.jit import kernel

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U16 = npt.NDArray[np.uint16]

UNIT = np.float32(65536)
HALF = np.float32(0.5)
EIGHTH_TURN = np.float32(45)
TINY = np.float32(2.220446049250313e-16)  # keeps 0 / 0 out, as OpenCV's does
DEGREES = np.float32(57.29577951308232)
P1 = np.float32(0.9997878412794807) * DEGREES
P3 = np.float32(-0.3258083974640975) * DEGREES
P5 = np.float32(0.1555786518463281) * DEGREES
P7 = np.float32(-0.04432655554792128) * DEGREES

# Bins by octant: 1 where x points left, 2 where y points up, 4 where the vertical axis is the nearer one.
AXIS_BIN = np.array([0, 4, 0, 4, 2, 2, 6, 6])
DIAGONAL_BIN = np.array([1, 3, 7, 5, 1, 3, 7, 5])


@kernel
def orientations(summed: F32, y0: int, x0: int, region: U16, out: I64) -> None:
    """Add the votes of a crop's pixels to their regions' 8-bin histograms.

    `summed` is [2, H, 2 W] (d/dx and d/dy; u and v side by side), `region` [size, size]; `out` int64 [2, R, 8], zeroed
    by the caller, receives votes of u and of v in 1/65536 pixel. Bins are centred on 0, 45, ..., 315 degrees.
    """
    size = region.shape[0]
    votes = np.empty(2 * size, np.int64)
    diagonals = np.empty(2 * size, np.int64)
    octants = np.empty(2 * size, np.int64)
    for y in range(size):
        row_x = summed[0, y0 + y, 2 * x0 : 2 * (x0 + size)]
        row_y = summed[1, y0 + y, 2 * x0 : 2 * (x0 + size)]
        for j in range(2 * size):
            mx, my = row_x[j], row_y[j]
            ax, ay = np.abs(mx), np.abs(my)
            major = ax if ax >= ay else ay
            minor = ay if ax >= ay else ax
            c = minor / (major + TINY)
            c2 = c * c
            degrees = (((P7 * c2 + P5) * c2 + P3) * c2 + P1) * c
            magnitude = np.sqrt(mx * mx + my * my) * UNIT
            votes[j] = np.int64(magnitude + HALF)
            diagonals[j] = np.int64(magnitude * (degrees / EIGHTH_TURN) + HALF)
            # A number for the two signs and the nearer axis looks the bins up: branches would be guessed wrong here.
            octants[j] = np.int64(mx < 0) + 2 * np.int64(my < 0) + 4 * np.int64(ax < ay)
        regions = region[y]
        for x in range(size):
            for c in range(2):
                j = 2 * x + c
                bins = out[c, regions[x]]
                bins[AXIS_BIN[octants[j]]] += votes[j] - diagonals[j]
                bins[DIAGONAL_BIN[octants[j]]] += diagonals[j]


@kernel
def sum_regions(per_region: I64, block_start: I64, block_regions: I64, out: I64) -> None:
    """Sum int64 [R, n] over the regions of each block into int64 [B, n]."""
    for b in range(out.shape[0]):
        row = out[b]
        row[:] = 0
        for k in range(block_start[b], block_start[b + 1]):
            source = per_region[block_regions[k]]
            for j in range(out.shape[1]):
                row[j] += source[j]
