"""Frames to flow on the working frame, by our own kernel or, for comparison, by OpenCV's methods."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from vstats.kernels import ops
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


def resize_frame(
    rgb: U8, size: tuple[int, int], config: ExtractConfig, part: tuple[slice, slice] = ops.EVERYTHING
) -> U8:
    """Return uint8 [H, W, 3] resized to `size`, or a part of it: by area in `sts`, else bilinearly."""
    if rgb.shape[:2] == size:
        return rgb[part]
    return ops.resize_area(rgb, size, part) if config.profile == "sts" else ops.resize_linear(rgb, size)[part]


def flow_fields(gray: U8, config: ExtractConfig) -> F32:
    """Return the flow from each frame to the next, on the working frame.

    Parameters
    ----------
    gray : uint8 [T, h, w]
        Frames at the size at which flow is computed.
    config : ExtractConfig
        Method, parameters and profile.

    Returns
    -------
    float32 [T-1, H, W, 2]
        Pixels per frame step, x right, y down. In `sts` the unit is a pixel of the working frame; the released
        profiles keep the values of the size at which flow was computed, as the published code does.
    """
    flow = METHODS[config.flow](gray, config)
    height, width = config.working
    if flow.shape[1:3] == (height, width):
        return flow
    resized = ops.resize_linear(flow, (height, width))
    if config.profile == "sts":
        scale = np.array([width / gray.shape[2], height / gray.shape[1]], np.float32)
        resized = resized * scale
    return resized


def _tvl1(gray: U8, config: ExtractConfig) -> F32:
    return ops.tvl1(gray, config.tvl1)


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


METHODS: dict[str, Callable[[U8, ExtractConfig], F32]] = {
    "tvl1": _tvl1,
    "opencv-tvl1": _opencv_tvl1,
    "dis": _dis,
    "farneback": _farneback,
}
"""The flow methods, by the name that the configuration gives."""
