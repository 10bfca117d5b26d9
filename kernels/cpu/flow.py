"""TV-L1 optical flow from coarse to fine: pyramids, the planes of a frame pair, and the order of the levels.

The algorithm is that of OpenCV 5.0's ``DualTVL1OpticalFlow``: Zach, Pock, Bischof, "A Duality Based Approach for
Realtime TV-L1 Optical Flow", DAGM 2007, as Sanchez Perez, Meinhardt-Llopis and Facciolo wrote it down ("TV-L1 Optical
Flow Estimation", IPOL 2013), with a median filter between rounds of iterations. `solver` has what happens on a level.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.contract import TVL1Params
from vstats.kernels.cpu import resize, solver
from vstats.kernels.levels import Rates, level_sizes

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]


def pyramid(frame: F32, sizes: list[tuple[int, int]], work: "Workspace", params: TVL1Params) -> list[F32]:
    """Each level is the one before, sampled every 1/scale_step pixels without blur."""
    levels = [frame]
    for size in sizes[1:]:
        level = np.empty((1, *size), np.float32)
        # Not the ratio of the sizes: a level whose size was rounded is still sampled in steps of 1/scale_step.
        scale = 1 / params.scale_step
        resize.linear_f32(levels[-1][None], level, scale, scale, work.between)
        levels.append(level[0])
    return levels


class Workspace:
    """Everything one frame pair needs, made once for its largest level and cut to each level's size."""

    def __init__(self, height: int, width: int) -> None:
        pitch = self._pitch(width)
        self._planes = _aligned(solver.PLANES * (height + 2 * solver.TOP) * pitch)
        self._image = _aligned((height + 2 * solver.RIM) * 4 * (width + 2 * solver.RIM) + solver.LANES)
        self._rows = _aligned(solver.ROWS * pitch)
        self._corner = np.empty(2 * pitch, np.int32)
        self.between = np.empty((2, 2 * height * width), np.float32)  # for resizes

    @staticmethod
    def _pitch(width: int) -> int:
        return (width + solver.LANES - 1) // solver.LANES * solver.LANES + solver.LEFT

    def planes(self, height: int, width: int) -> F32:
        """The level's planes: flow and dual field zero, the others any numbers."""
        shape = (solver.PLANES, height + 2 * solver.TOP, self._pitch(width))
        cut = self._planes[: np.prod(shape)].reshape(shape)
        cut[solver.U1 : solver.GX] = 0
        return cut

    def image(self, height: int, width: int) -> F32:
        """Where `solver.gradients` puts an image."""
        return _cut(self._image, (height + 2 * solver.RIM, 4 * (width + 2 * solver.RIM)))

    def rows(self, width: int, rates: Rates) -> F32:
        """The level's rows: `UNIT` and `EDGE` of the iteration, and room for those of the warp and of the median."""
        cut = _cut(self._rows, (solver.ROWS, self._pitch(width)))
        left, right = solver.LEFT, solver.LEFT + width
        cut[solver.UNIT, left:right] = rates.unit
        cut[solver.EDGE, left : right - 1] = rates.taut
        return cut

    def corner(self, width: int) -> I32:
        """Room for the warp: where the taps of a row's pixels begin."""
        pitch = self._pitch(width)
        return self._corner[: 2 * pitch].reshape(2, pitch)


def _aligned(length: int) -> F32:
    """Zeros that begin at a multiple of 64 bytes."""
    raw = np.zeros(length + solver.LANES, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + length]


def _cut(buffer: F32, shape: tuple[int, ...]) -> F32:
    cut = buffer[: np.prod(shape)]
    cut[:] = 0
    return cut.reshape(shape)


def solve_pair(first: list[F32], second: list[F32], work: Workspace, params: TVL1Params, out: F32) -> int:
    """Flow between two pyramids into float32 [H, W, 2], coarse to fine. Returns the inner iterations made."""
    flow: F32 | None = None
    made = 0
    for I0, I1 in zip(reversed(first), reversed(second), strict=True):
        height, width = I0.shape
        planes, image = work.planes(height, width), work.image(height, width)
        inside = np.s_[solver.TOP : solver.TOP + height, solver.LEFT : solver.LEFT + width]
        planes[solver.I0][inside] = I0
        u1, u2 = planes[solver.U1][inside], planes[solver.U2][inside]
        if flow is not None:
            finer = np.empty((2, height, width), np.float32)
            resize.linear_f32(flow, finer, flow.shape[1] / height, flow.shape[2] / width, work.between)
            finer *= np.float32(1 / params.scale_step)
            u1[:], u2[:] = finer
        solver.gradients(I1, image)
        made += _solve_level(planes, image, work, height, width, params)
        flow = np.stack((u1, u2))
    out[:, :, 0], out[:, :, 1] = u1, u2
    return made


def _solve_level(
    planes: F32, image: F32, work: Workspace, height: int, width: int, params: TVL1Params
) -> int:
    """All warps of a level, in place on the planes of u. Returns the inner iterations made."""
    rates = Rates.of(height, width, params)
    rows, corner = work.rows(width, rates), work.corner(width)
    median = {3: solver.median3, 5: solver.median5}.get(params.median_filtering)
    made = 0
    for _ in range(params.warps):
        solver.warp(planes, image, rows, corner, height, width)
        for _ in range(params.outer_iterations):
            if median is not None:
                median(planes, rows, height, width)
            inner, change = solver.iterate(
                planes,
                rows,
                height,
                width,
                rates.reach,
                rates.theta,
                rates.taut,
                rates.stop,
                params.inner_iterations,
            )
            made += inner
            if change <= rates.stop:
                break
    return made


def tvl1(frames: npt.NDArray[Any], params: TVL1Params) -> F32:
    """Flow between consecutive frames [T, H, W] of grey values 0..255. A frame's pyramid serves both of its pairs."""
    count, height, width = frames.shape
    sizes = level_sizes(height, width, params)
    work = Workspace(height, width)
    out = np.empty((count - 1, height, width, 2), np.float32)
    previous = pyramid(frames[0].astype(np.float32, order="C"), sizes, work, params)
    for t in range(count - 1):
        current = pyramid(frames[t + 1].astype(np.float32, order="C"), sizes, work, params)
        solve_pair(previous, current, work, params, out[t])
        previous = current
    return out
