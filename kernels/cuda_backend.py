"""A GPU as a backend: many frame pairs at a time, and the bits of the CPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.backend import I64, Native
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cuda import flow as _flow
from vstats.kernels.cuda import statistics
from vstats.kernels.cuda.device import CudaDevice, Device, scalars
from vstats.kernels.cuda.geometry import THREADS, blocks
from vstats.kernels.patterns import Layout


class CUDA:
    """See `vstats.kernels.backend.Backend`.

    Raises
    ------
    BackendUnavailable
        CuPy, the driver or a fitting GPU is missing.
    DeviceLost
        From every method: the GPU failed or has no memory left.
    """

    def __init__(self, device: Device | None = None) -> None:
        self._device = device or CudaDevice()
        self.name = self._device.name
        self.versions = self._device.versions
        self.count = self._device.count

    def wait(self) -> None:
        self._device.wait()

    def take(self, array: npt.NDArray[Any] | Native) -> Native:
        return self._device.upload(array) if isinstance(array, np.ndarray) else self._device.contiguous(array)

    def give(self, array: Native) -> npt.NDArray[Any]:
        return self._device.download(array)

    def tvl1(self, clips: Sequence[npt.NDArray[Any]], params: TVL1Params) -> list[Native]:
        return _flow.tvl1(self._device, clips, params)

    def joined(self, parts: Sequence[Native]) -> Native:
        return self._device.joined(parts)

    def resized(
        self, flow: Native, size: tuple[int, int], scale: tuple[np.float32, np.float32] | None
    ) -> Native:
        device, (F, H, W, _) = self._device, flow.shape
        h, w = size
        planes = device.empty((F, 2, H, W), np.float32)
        device.launch("separate", (blocks(H * W), F), THREADS, (flow, planes, *scalars(H * W)))
        resized = _flow.resize_linear(device, planes.reshape(2 * F, H, W), size, (H / h, W / w), 1.0)
        out = device.empty((F, h, w, 2), np.float32)
        device.launch("interleave", (blocks(h * w), F), THREADS, (resized, out, *scalars(h * w)))
        if scale is not None:
            device.launch("scale_flow", (blocks(F * h * w), 1), THREADS, (out, *scale, np.int64(F * h * w)))
        return out

    def is_finite(self, flow: Native) -> bool:
        return statistics.is_finite(self._device, flow)

    def quantised(self, flow: Native) -> Native:
        return statistics.quantised(self._device, flow)

    def boundaries(self, flow: Native, corners: I64, size: int, frames_compared: int) -> tuple[Native, I64]:
        return statistics.boundaries(self._device, flow, corners, size, frames_compared)

    def orientations(self, summed: Native, y: int, x: int, layout: Layout) -> I64:
        return statistics.orientations(self._device, summed, y, x, layout)

    def colours(self, rgb: Native, y: int, x: int, layout: Layout) -> tuple[I64, I64]:
        return statistics.colours(self._device, rgb, y, x, layout)
