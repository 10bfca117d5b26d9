"""Frames to flow on the working frame, by our own kernel or, for comparison, by OpenCV's methods."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from vstats.kernels import ops
from vstats.kernels.backend import Backend, Native, load
from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.records import F32, U8


def flow_frame_size(config: ExtractConfig, height: int, width: int) -> tuple[int, int]:
    """Return (height, width) in pixels at which flow of `height` x `width` frames is computed."""
    choice = config.flow_size
    if choice == "working":
        return config.working
    if choice == "source":
        return height, width
    if choice.startswith("short:"):
        short = int(choice.removeprefix("short:"))
        if min(height, width) <= short:
            return height, width
        if height <= width:
            return short, max(1, (2 * width * short + height) // (2 * height))
        return max(1, (2 * height * short + width) // (2 * width)), short
    wanted_height, wanted_width = choice.split("x")
    return int(wanted_height), int(wanted_width)


def resize_frame(rgb: U8, size: tuple[int, int], config: ExtractConfig) -> U8:
    """Return uint8 [H, W, 3] resized to `size`: by area in `sts`, bilinearly in the released profiles."""
    if rgb.shape[:2] == size:
        return rgb
    return ops.resize_area(rgb, size) if config.profile == "sts" else ops.resize_linear(rgb, size)


def flow_fields(grays: Sequence[U8], config: ExtractConfig, backend: str = "cpu") -> list[Native]:
    """Return the flow from each frame to the next, on the working frame.

    Parameters
    ----------
    grays : sequence of uint8 [T, h, w]
        Runs of frames, each at the size at which its flow is computed. Many at once is what a GPU wants.
    config : ExtractConfig
        Method, parameters and profile.
    backend : str
        Who computes our own method, and resizes; OpenCV's methods run on the CPU.

    Returns
    -------
    list of float32 [T-1, H, W, 2]
        Arrays of the backend. Pixels per frame step, x right, y down. In `sts` the unit is a pixel of the working frame;
        the released profiles keep the values of the size at which flow was computed, as the published code does.
    """
    who = load(backend)
    if config.flow == "tvl1":
        flows = _tvl1(grays, config, who)
    else:
        flows = [who.take(OPENCV_METHODS[config.flow](gray, config)) for gray in grays]
    return [_on_working_frame(flow, config, who) for flow in flows]


def _on_working_frame(flow: Native, config: ExtractConfig, who: Backend) -> Native:
    _, height, width, _ = flow.shape
    if (height, width) == config.working:
        return flow
    scale = np.float32(config.working_width / width), np.float32(config.working_height / height)
    return who.resized(flow, config.working, scale if config.profile == "sts" else None)


def _tvl1(grays: Sequence[U8], config: ExtractConfig, who: Backend) -> list[Native]:
    """Compute runs of one size together: a backend takes no others."""
    of_size: dict[tuple[int, ...], list[int]] = {}
    for place, gray in enumerate(grays):
        of_size.setdefault(gray.shape[1:], []).append(place)
    found: dict[int, Native] = {}
    for places in of_size.values():
        found.update(zip(places, who.tvl1([grays[place] for place in places], config.tvl1), strict=True))
    return [found[place] for place in range(len(grays))]


def _opencv_tvl1(gray: U8, config: ExtractConfig) -> F32:
    import cv2

    p = config.tvl1
    method = cv2.optflow.DualTVL1OpticalFlow_create(
        tau=p.tau, theta=p.theta, nscales=p.nscales, warps=p.warps, epsilon=p.epsilon,
        innnerIterations=p.inner_iterations, outerIterations=p.outer_iterations, scaleStep=p.scale_step,
        medianFiltering=p.median_filtering, lambda_=p.lambda_,
    )  # fmt: skip
    return _pairwise(gray, method.calc)


def _dis(gray: U8, config: ExtractConfig) -> F32:
    import cv2

    return _pairwise(gray, cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc)


def _farneback(gray: U8, config: ExtractConfig) -> F32:
    import cv2

    return _pairwise(
        gray,
        lambda first, second, start: cv2.calcOpticalFlowFarneback(
            first, second, start, 0.5, 3, 15, 3, 5, 1.2, 0
        ),
    )


def _pairwise(gray: U8, calc: Callable[[U8, U8, None], F32]) -> F32:
    return np.stack([calc(first, second, None) for first, second in pairwise(gray)]).astype(
        np.float32, copy=False
    )


OPENCV_METHODS: dict[str, Callable[[U8, ExtractConfig], F32]] = {
    "opencv-tvl1": _opencv_tvl1,
    "dis": _dis,
    "farneback": _farneback,
}
"""OpenCV's flow methods, by the name that the configuration gives."""
