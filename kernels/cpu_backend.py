"""The CPU as a backend of the label stage: it allocates, and its kernels compute."""

import numpy as np

from vstats.kernels.backend import F32, I64, U8
from vstats.kernels.cpu import blocks, boundary, colour
from vstats.kernels.patterns import Layout


class CPU:
    """See `vstats.kernels.backend.LabelBackend`."""

    def is_finite(self, flow: F32) -> bool:
        return bool(boundary.all_finite(flow.reshape(-1).view(np.int32)))

    def quantised(self, flow: F32) -> F32:
        out = np.empty_like(flow)
        boundary.quantise(flow.reshape(-1), out.reshape(-1))
        return out

    def boundaries(self, flow: F32, corners: I64, size: int, frames_compared: int) -> tuple[F32, I64]:
        F, H, W, _ = flow.shape
        summed = np.empty((2, H, 2 * W), np.float32)
        frames = np.empty((frames_compared, len(corners), 2), np.int64)
        boundary.boundaries(flow.reshape(F, H, 2 * W), corners, size, summed, frames)
        return summed.reshape(2, H, W, 2), np.ascontiguousarray(frames.transpose(1, 2, 0))

    def orientations(self, summed: F32, y: int, x: int, layout: Layout) -> I64:
        _, H, W, _ = summed.shape
        votes = np.zeros((2, layout.regions, 8), np.int64)
        blocks.orientations(summed.reshape(2, H, 2 * W), y, x, layout.region, votes)
        sums = np.empty((2, layout.blocks, 8), np.int64)
        for c in range(2):
            blocks.sum_regions(votes[c], layout.block_start, layout.block_regions, sums[c])
        return sums

    def colours(self, rgb: U8, y: int, x: int, layout: Layout) -> tuple[I64, I64]:
        overlap = np.empty((layout.blocks - 1, 3, 2), np.int64)
        per_region = np.zeros((layout.regions, 8), np.int64)
        colour.colours(
            rgb,
            y,
            x,
            layout.size,
            layout.region_start,
            layout.region_pixels,
            layout.block_start[:-1],
            layout.block_regions,
            np.empty((layout.regions, 768), np.uint16 if layout.size < 256 else np.uint32),
            overlap,
            per_region,
        )
        counts = np.empty((layout.blocks, 8), np.int64)
        blocks.sum_regions(per_region, layout.block_start, layout.block_regions, counts)
        return overlap, counts
