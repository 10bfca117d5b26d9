"""Motion boundaries, directions and colours of a clip on a device. See `boundary.cu`, `blocks.cu` and `colour.cu`."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.cuda.device import Device, scalars
from vstats.kernels.cuda.geometry import THREADS, blocks
from vstats.kernels.patterns import Layout

I64 = npt.NDArray[np.int64]

BINS_BYTES = 3 * 256 * 4  # of colour.cu


def is_finite(device: Device, flow: Any) -> bool:
    """Tell whether no value of float32 `flow` is an infinity or NaN."""
    bad = device.zeros((1,), np.int32)
    device.launch("find_not_finite", (blocks(flow.size), 1), THREADS, (flow, bad, np.int64(flow.size)))
    return not device.download(bad)[0]


def quantised(device: Device, flow: Any) -> Any:
    """Return flow stored in 8 bits over -20..20 pixels and read back."""
    out = device.empty(flow.shape, np.float32)
    device.launch("quantise", (blocks(flow.size), 1), THREADS, (flow, out, np.int64(flow.size)))
    return out


def boundaries(device: Device, flow: Any, corners: I64, size: int, frames_compared: int) -> tuple[Any, I64]:
    """Return boundaries summed over [F, H, W, 2], and magnitudes int64 [C, 2, G]; see `vstats.kernels.backend`."""
    F, H, W, _ = flow.shape
    summed = device.empty((2, H, W, 2), np.float32)
    frames = device.zeros((len(corners), 2, frames_compared), np.int64)
    device.launch(
        "boundaries",
        (blocks(H * W), 1),
        THREADS,
        (
            flow,
            device.upload(corners),
            summed,
            frames,
            *scalars(F, H, W, len(corners), frames_compared, size),
        ),
    )
    return summed, device.download(frames)


def orientations(device: Device, summed: Any, y: int, x: int, layout: Layout) -> I64:
    """Return the votes of the crop at (y, x), int64 [2 (u, v), B, 8]."""
    _, H, W, _ = summed.shape
    start, pixels = _pixels(device, layout)
    out = device.zeros((2, layout.blocks, 8), np.int64)
    device.launch(
        "orientations",
        (layout.blocks, 2),
        THREADS,
        (summed, start, pixels, out, *scalars(y, x, layout.size, H, W, layout.blocks)),
    )
    return device.download(out)


def colours(device: Device, rgb: Any, y: int, x: int, layout: Layout) -> tuple[I64, I64]:
    """Return overlap int64 [B - 1, 3, 2] and classes int64 [B, 8] of the crop at (y, x) of uint8 [T, H, W, 3]."""
    T, H, W, _ = rgb.shape
    start, pixels = _pixels(device, layout)
    overlap = device.zeros((layout.blocks, 3, 2), np.int64)
    classes = device.zeros((layout.blocks, 8), np.int64)
    device.launch(
        "colours",
        (layout.blocks, 1),
        THREADS,
        (rgb, start, pixels, overlap, classes, *scalars(y, x, layout.size, T, H, W)),
        shared=BINS_BYTES,
    )
    return device.download(overlap)[:-1], device.download(classes)


@lru_cache(maxsize=32)
def _pixels(device: Device, layout: Layout) -> tuple[Any, Any]:
    """Block b is the pixels ``pixels[start[b] : start[b + 1]]``, as y * size + x."""
    inside = [np.flatnonzero(mask) for mask in layout.masks]
    start = np.cumsum([0, *(len(found) for found in inside)])
    return device.upload(start.astype(np.int32)), device.upload(np.concatenate(inside).astype(np.int32))
