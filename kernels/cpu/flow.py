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


def pyramid(frame: F32, sizes: list[tuple[int, int]], params: TVL1Params) -> list[F32]:
    """Each level is the one before, sampled every 1/scale_step pixels without blur."""
    levels = [frame]
    for size in sizes[1:]:
        level = np.empty((1, *size), np.float32)
        # Not the ratio of the sizes: a level whose size was rounded is still sampled in steps of 1/scale_step.
        resize.linear_f32(levels[-1][None], level, 1 / params.scale_step, 1 / params.scale_step)
        levels.append(level[0])
    return levels


class Workspace:
    """Everything one frame pair needs, made once for its largest level and cut to each level's size."""

    def __init__(self, height: int, width: int) -> None:
        pitch = self._pitch(width)
        self._planes = _aligned(11 * (height + 2 * solver.TOP) * pitch)
        self._image = _aligned((height + 2 * solver.RIM) * 4 * (width + 2 * solver.RIM) + solver.LANES)
        self._rows = _aligned((2 + 4 + 4 + 4 + 60) * pitch)
        self._corner = np.empty(2 * pitch, np.int32)

    @staticmethod
    def _pitch(width: int) -> int:
        return (width + solver.LANES - 1) // solver.LANES * solver.LANES + solver.LEFT

    def planes(self, height: int, width: int) -> list[F32]:
        """I0, u1, u2, p11, p12, p21, p22, gx, gy, rho_c and step: flow and dual field zero, the others any numbers."""
        shape = (11, height + 2 * solver.TOP, self._pitch(width))
        cut = self._planes[: np.prod(shape)].reshape(shape)
        cut[1:7] = 0
        return list(cut)

    def image(self, height: int, width: int) -> F32:
        """Where `solver.gradients` puts an image."""
        return _cut(self._image, (height + 2 * solver.RIM, 4 * (width + 2 * solver.RIM)))

    def rows(self, width: int, unit: np.float32, taut: np.float32) -> tuple[npt.NDArray[Any], ...]:
        """The rows `unit` and `edge` of the iteration, and room for those of the warp and of the median."""
        pitch = self._pitch(width)
        cut = _cut(self._rows, (2 + 4 + 4 + 4 + 60, pitch))
        left, right = solver.LEFT, solver.LEFT + width
        cut[0, left:right] = unit
        cut[1, left : right - 1] = taut
        corner = self._corner[: 2 * pitch].reshape(2, pitch)
        return cut[0:1], cut[1:2], corner, cut[2:6], cut[6:10], cut[10:14].reshape(1, -1), cut[14:]


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
        planes[0][inside] = I0
        u1, u2 = planes[1][inside], planes[2][inside]
        if flow is not None:
            finer = np.empty((2, height, width), np.float32)
            resize.linear_f32(flow, finer, flow.shape[1] / height, flow.shape[2] / width)
            finer *= np.float32(1 / params.scale_step)
            u1[:], u2[:] = finer
        solver.gradients(I1, image)
        rates = Rates.of(height, width, params)
        arguments: tuple[Any, ...] = (
            planes[0],
            image,
            *planes[1:],
            *work.rows(width, rates.unit, rates.taut),
            height,
            width,
            params.warps,
            params.outer_iterations,
            params.inner_iterations,
            params.median_filtering,
            rates.reach,
            rates.theta,
            rates.taut,
            rates.stop,
        )
        made += solver.solve_level(*arguments)
        flow = np.stack((u1, u2))
    out[:, :, 0], out[:, :, 1] = u1, u2
    return made


def tvl1(frames: npt.NDArray[Any], params: TVL1Params) -> F32:
    """Flow between consecutive frames [T, H, W] of grey values 0..255. A frame's pyramid serves both of its pairs."""
    count, height, width = frames.shape
    sizes = level_sizes(height, width, params)
    work = Workspace(height, width)
    out = np.empty((count - 1, height, width, 2), np.float32)
    previous = pyramid(frames[0].astype(np.float32, order="C"), sizes, params)
    for t in range(count - 1):
        current = pyramid(frames[t + 1].astype(np.float32, order="C"), sizes, params)
        solve_pair(previous, current, work, params, out[t])
        previous = current
    return out
