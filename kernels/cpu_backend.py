"""The CPU as a backend: it allocates, and its kernels compute."""

import platform
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vstats.kernels.backend import F32, I64, U8
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cpu import blocks, boundary, colour, resize
from vstats.kernels.cpu import flow as tvl1
from vstats.kernels.patterns import Layout


class CPU:
    """See `vstats.kernels.backend.Backend`."""

    name = platform.machine()
    versions: ClassVar[dict[str, str]] = {}

    count = 1

    def wait(self) -> None:
        return

    def take(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        array = np.ascontiguousarray(array)
        # A kernel is compiled anew for read-only arrays.
        return array if array.flags.writeable else array.copy()

    def give(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array

    def tvl1(self, clips: Sequence[npt.NDArray[Any]], params: TVL1Params) -> list[F32]:
        return [tvl1.tvl1(frames, params) for frames in clips]

    def joined(self, parts: Sequence[F32]) -> F32:
        return np.concatenate(parts)

    def resized(self, flow: F32, size: tuple[int, int], scale: tuple[np.float32, np.float32] | None) -> F32:
        F, H, W, _ = flow.shape
        planes = np.ascontiguousarray(np.moveaxis(flow, 3, 1)).reshape(2 * F, H, W)
        out = np.empty((2 * F, *size), np.float32)
        resize.linear_f32(planes, out, H / size[0], W / size[1])
        resized = np.ascontiguousarray(np.moveaxis(out.reshape(F, 2, *size), 1, 3))
        return resized if scale is None else resized * np.array(scale, np.float32)

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
