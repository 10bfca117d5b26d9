"""TV-L1 optical flow of many frame pairs at once, level by level: which kernel runs on what. See `solve.cu`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.bilinear import places
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cuda.device import Device, scalars
from vstats.kernels.cuda.geometry import THREADS, Limits, blocks, pairs_at_once, solve_launch
from vstats.kernels.errors import DeviceFull
from vstats.kernels.levels import Rates, level_sizes

RIM = 4  # of cubic.cuh


def tvl1(device: Device, clips: Sequence[npt.NDArray[Any]], params: TVL1Params) -> list[Any]:
    """Flow between consecutive frames of every clip.

    Parameters
    ----------
    device : Device
        Who computes.
    clips : sequence of uint8 or float32 [T, H, W]
        Grey frames; one dtype, height and width for all, any number of frames from 2.
    params : TVL1Params
        Parameters of the algorithm.

    Returns
    -------
    list of float32 [T-1, H, W, 2]
        One array of the device a clip.
    """
    height, width = clips[0].shape[1:]
    limits = device.limits
    at_once = pairs_at_once(height, width, params, limits)
    if at_once == 0:
        raise DeviceFull(
            f"the GPU has {limits.memory_bytes >> 20} MiB free, too little for a pair of {height} x {width} frames; "
            "end what else uses it (nvidia-smi)"
        )
    frames = np.concatenate(clips)
    starts = np.cumsum([0, *(len(clip) for clip in clips)])
    firsts = np.concatenate([np.arange(start, stop - 1) for start, stop in pairwise(starts)])
    out = device.empty((len(firsts), height, width, 2), np.float32)
    for begin in range(0, len(firsts), at_once):
        some = firsts[begin : begin + at_once]
        window = frames[some[0] : some[-1] + 2]
        solve_pairs(device, limits, window, some - some[0], params, out[begin : begin + len(some)])
    ends = np.cumsum([0, *(len(clip) - 1 for clip in clips)])
    return [out[start:stop] for start, stop in pairwise(ends)]


def resize_linear(
    device: Device, planes: Any, size: tuple[int, int], pace: tuple[float, float], scale: float
) -> Any:
    """Resize float32 [N, H, W] bilinearly to float32 [N, h, w] and multiply by `scale`.

    `pace` is source pixels an output pixel along y and x.
    """
    count, H, W = planes.shape
    h, w = size
    out = device.empty((count, h, w), np.float32)
    upper, under, down = _places(device, H, h, pace[0])
    left, right, across = _places(device, W, w, pace[1])
    device.launch(
        "resize_linear",
        (blocks(h * w), count),
        THREADS,
        (planes, out, upper, under, down, left, right, across, np.float32(scale), *scalars(H, W, h, w)),
    )
    return out


def _places(device: Device, source: int, target: int, pace: float) -> tuple[Any, Any, Any]:
    first, second, weight = places(source, target, pace)
    return (
        device.upload(first.astype(np.int32)),
        device.upload(second.astype(np.int32)),
        device.upload(weight),
    )


def solve_pairs(
    device: Device,
    limits: Limits,
    frames: npt.NDArray[Any],
    first: npt.NDArray[np.intp],
    params: TVL1Params,
    out: Any,
) -> None:
    """Flow from the frames `first` to the ones after them into float32 [pairs, H, W, 2].

    Returns the inner iterations that each pair took on all levels, int32 [pairs], an array of the device.
    """
    count, height, width = frames.shape
    pairs = len(first)
    sizes = level_sizes(height, width, params)
    pyramid = [_as_float(device, frames)]
    # Not the ratio of the sizes: a level whose size was rounded is still sampled in steps of 1/scale_step.
    pace = 1 / params.scale_step
    for size in sizes[1:]:
        pyramid.append(resize_linear(device, pyramid[-1], size, (pace, pace), 1.0))
    I0, I1 = device.upload(first.astype(np.int32)), device.upload((first + 1).astype(np.int32))
    made = device.zeros((pairs,), np.int32)
    flow = None
    for h, w in reversed(sizes):
        plane = pyramid.pop()
        if flow is None:
            flow = device.zeros((pairs, 2, h, w), np.float32)
        else:
            H, W = flow.shape[2:]
            finer = resize_linear(
                device, flow.reshape(2 * pairs, H, W), (h, w), (H / h, W / w), 1 / params.scale_step
            )
            flow = finer.reshape(pairs, 2, h, w)
        deep = device.empty((count, h + 2 * RIM, w + 2 * RIM, 4), np.float32)
        device.launch(
            "gradients",
            (blocks((h + 2 * RIM) * (w + 2 * RIM)), count),
            THREADS,
            (plane, deep, *scalars(h, w)),
        )
        how, rates = solve_launch(h, w, limits), Rates.of(h, w, params)
        state = device.empty((pairs, 8, h, w) if how.kernel == "solve_global" else (1,), np.float32)
        whole = device.empty((pairs, 2, h, w), np.float32)
        device.launch(
            how.kernel,
            (pairs * how.team, 1),
            limits.threads,
            (
                *(plane, deep, I0, I1, flow, whole, state, made),
                *scalars(h, w, how.band, params.warps, params.outer_iterations, params.inner_iterations),
                *scalars(params.median_filtering),
                *(rates.reach, rates.theta, rates.taut, rates.unit, np.int64(rates.stop)),
            ),
            shared=how.shared_bytes,
            team=how.team,
        )
    device.launch(
        "interleave", (blocks(height * width), pairs), THREADS, (flow, out, *scalars(height * width))
    )


def _as_float(device: Device, frames: npt.NDArray[Any]) -> Any:
    if frames.dtype == np.float32:
        return device.upload(frames)
    out = device.empty(frames.shape, np.float32)
    device.launch(
        "widen", (blocks(frames.size), 1), THREADS, (device.upload(frames), out, np.int64(frames.size))
    )
    return out
