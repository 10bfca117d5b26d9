"""The public functions of the kernels: the only full docstrings and the only input checks.

    >>> from vstats.kernels import ops
    >>> flow = ops.tvl1(gray_frames)                      # uint8 [T, H, W] -> float32 [T-1, H, W, 2]
    >>> labels = ops.clip_labels(rgb_frames, flow).values # uint8 [27]
"""

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.cpu import resize as _resize
from vstats.kernels.errors import InputError


def rgb_to_gray(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey value of RGB pixels: Rec. 601 luma in 15-bit weights, the bits of OpenCV's ``COLOR_RGB2GRAY``.

    Parameters
    ----------
    rgb : uint8 [..., 3]
        Pixels in the order red, green, blue.

    Returns
    -------
    uint8 [...]
        ``(9798 R + 19235 G + 3735 B + 2^14) >> 15``.

    Raises
    ------
    InputError
        `rgb` is not uint8 or its last axis is not 3 long.
    """
    rgb = np.asarray(rgb)
    if rgb.dtype != np.uint8 or rgb.ndim < 1 or rgb.shape[-1] != 3:
        raise InputError(f"rgb is {_kind(rgb)}; expected uint8 [..., 3]")
    out = np.empty(rgb.shape[:-1], np.uint8)
    _resize.rgb_to_gray(np.ascontiguousarray(rgb).reshape(-1, 3), out.reshape(-1))
    return out


def resize_area(frames: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize by exact area averaging: each pixel is the mean of the source over its rectangle.

    Works in whole numbers and rounds half up, so the bits are the same everywhere. OpenCV's ``INTER_AREA`` means
    the same when it shrinks, in float32, and is at most one grey level away.

    Parameters
    ----------
    frames : uint8 [..., H, W, 3]
        One frame or many, at least 1 x 1.
    size : (int, int)
        Height and width of the result, larger or smaller than the source.

    Returns
    -------
    uint8 [..., h, w, 3]

    Raises
    ------
    InputError
        `frames` is not of that dtype and shape, or `size` holds anything but two positive whole numbers.
    """
    frames, (h, w) = np.asarray(frames), _size(size)
    if frames.dtype != np.uint8 or frames.ndim < 3 or frames.shape[-1] != 3 or 0 in frames.shape[-3:-1]:
        raise InputError(f"frames are {_kind(frames)}; expected uint8 [..., H, W, 3] of at least 1 x 1 pixel")
    out = np.empty((*frames.shape[:-3], h, w, 3), np.uint8)
    _resize.area_u8(_as_4d(frames), out.reshape(-1, h, w, 3))
    return out


def resize_linear(frames: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Resize bilinearly, with half-pixel centres and replicated border, like OpenCV's ``INTER_LINEAR``.

    Frames are blended in whole numbers and rounded half up (within one grey level of OpenCV). Planes and flow
    are blended in float32, along x and then along y. Flow values are **not** rescaled with the picture.

    Parameters
    ----------
    frames : uint8 [..., H, W, 3] or float32 [H, W], [N, H, W] or [F, H, W, 2]
        Frames, planes or flow fields, at least 1 x 1.
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    the dtype and axes of `frames`, resized

    Raises
    ------
    InputError
        `frames` is of none of these kinds, or `size` holds anything but two positive whole numbers.
    """
    frames, (h, w) = np.asarray(frames), _size(size)
    is_rgb = frames.dtype == np.uint8 and frames.ndim >= 3 and frames.shape[-1] == 3
    if is_rgb and 0 not in frames.shape[-3:-1]:
        pixels = np.empty((*frames.shape[:-3], h, w, 3), np.uint8)
        _resize.linear_u8(_as_4d(frames), pixels.reshape(-1, h, w, 3))
        return pixels
    is_flow = frames.ndim == 4 and frames.shape[-1] == 2
    if frames.dtype != np.float32 or not (is_flow or frames.ndim in (2, 3)):
        raise InputError(
            f"frames are {_kind(frames)}; "
            "expected uint8 [..., H, W, 3] or float32 [H, W], [N, H, W] or [F, H, W, 2]"
        )
    planes = np.moveaxis(frames, 3, 1) if is_flow else frames
    H, W = planes.shape[-2:]
    if H == 0 or W == 0:
        raise InputError(f"frames are {_kind(frames)}; expected at least 1 x 1 pixel")
    out = np.empty((*planes.shape[:-2], h, w), np.float32)
    _resize.linear_f32(np.ascontiguousarray(planes).reshape(-1, H, W), out.reshape(-1, h, w), H / h, W / w)
    return np.ascontiguousarray(np.moveaxis(out, 1, 3)) if is_flow else out


def _kind(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _size(size: tuple[int, int]) -> tuple[int, int]:
    try:
        h, w = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        raise InputError(f"size is {size!r}; expected two whole numbers, (height, width)") from None
    if h < 1 or w < 1:
        raise InputError(f"size is {size!r}; both sides must be at least 1")
    return h, w


def _as_4d(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(frames).reshape(-1, *frames.shape[-3:])
