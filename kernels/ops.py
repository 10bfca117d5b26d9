"""The public functions of the kernels: the only full docstrings and the only input checks.

>>> from vstats.kernels import ops
>>> flow = ops.tvl1(gray_frames)                      # uint8 [T, H, W] -> float32 [T-1, H, W, 2]
>>> labels = ops.clip_labels(rgb_frames, flow).values # uint8 [27]
"""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels import backend as _backend
from vstats.kernels import patterns as _patterns
from vstats.kernels import profiles as _profiles
from vstats.kernels import standard as _standard
from vstats.kernels.contract import TVL1Params
from vstats.kernels.cpu import resize as _resize
from vstats.kernels.errors import InputError, NoLabel
from vstats.kernels.measure import check_finite as _check_finite

EVERYTHING = (slice(None), slice(None))
"""All rows and columns."""

_GREATEST_GREY = 1e6  # float frames are meant to hold 0..255; beyond this the arithmetic leaves float32


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


def resize_area(
    frames: npt.NDArray[np.uint8], size: tuple[int, int], part: tuple[slice, slice] = EVERYTHING
) -> npt.NDArray[np.uint8]:
    """Resize by exact area averaging: each pixel is the mean of the source over its rectangle.

    Works in whole numbers and rounds half up, so the bits are the same everywhere. OpenCV's ``INTER_AREA`` means
    the same when it shrinks, in float32, and is at most one grey level away.

    Parameters
    ----------
    frames : uint8 [..., H, W, 3]
        One frame or many, at least 1 x 1.
    size : (int, int)
        Height and width of the result, larger or smaller than the source.
    part : (slice, slice)
        Rows and columns of the result to compute, in steps of 1; what is left out costs nothing.

    Returns
    -------
    uint8 [..., h, w, 3], or its `part`

    Raises
    ------
    InputError
        `frames` is not of that dtype and shape, or `size` holds anything but two positive whole numbers.
    """
    frames, (h, w) = np.asarray(frames), _size(size)
    if frames.dtype != np.uint8 or frames.ndim < 3 or frames.shape[-1] != 3 or 0 in frames.shape[-3:-1]:
        raise InputError(f"frames are {_kind(frames)}; expected uint8 [..., H, W, 3] of at least 1 x 1 pixel")
    rows, columns = (range(side)[chosen] for side, chosen in zip((h, w), part, strict=True))
    if rows.step != 1 or columns.step != 1:
        raise InputError(f"part is {part}; expected slices in steps of 1")
    out = np.empty((*frames.shape[:-3], len(rows), len(columns), 3), np.uint8)
    if out.size:
        _resize.area_u8(_as_4d(frames), h, w, rows.start, columns.start, out.reshape(-1, *out.shape[-3:]))
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


def tvl1(
    frames: npt.NDArray[Any], params: TVL1Params | None = None, backend: str = "cpu"
) -> npt.NDArray[np.float32]:
    """TV-L1 optical flow between consecutive frames, as OpenCV 5.0's ``DualTVL1OpticalFlow`` defines it.

    Strict float32 in a written order, with a stop test summed in whole numbers: the same frames give the same bits
    on every CPU, alone or in a clip.

    Parameters
    ----------
    frames : uint8 or float32 [T, H, W]
        Grey frames, at least two of at least 1 x 1 pixel; float32 counts grey levels from 0 to 255 too.
    params : TVL1Params, optional
        Parameters of the algorithm; OpenCV's defaults when left out. OpenCV's ``gamma``, the weight of an
        illumination term, is not among them: it is 0 by default, the papers do not have it, and no label uses it.
    backend : {"cpu", "cuda"}
        Who computes; all give the same bits.

    Returns
    -------
    float32 [T-1, H, W, 2]
        Flow from frame t to frame t+1 in pixels, (u, v) with x to the right and y down:
        ``frames[t][y, x]`` is found at ``frames[t+1][y + v, x + u]``.

    Raises
    ------
    InputError
        `frames` has another dtype or shape or holds NaN, infinity or values beyond 1e6, or `params` is no
        `TVL1Params`.
    BackendUnavailable
        The backend's library, driver or device is missing.

    References
    ----------
    Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007.
    Sanchez Perez, Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013.
    """
    frames = np.asarray(frames)
    params = TVL1Params() if params is None else params
    if not isinstance(params, TVL1Params):
        raise InputError(f"params is a {type(params).__name__}; expected a TVL1Params")
    if frames.dtype not in (np.uint8, np.float32) or frames.ndim != 3:
        raise InputError(f"frames are {_kind(frames)}; expected grey uint8 or float32 [T, H, W]")
    if frames.shape[0] < 2 or 0 in frames.shape:
        raise InputError(f"frames are {_kind(frames)}; expected at least two frames of at least 1 x 1 pixel")
    if frames.dtype == np.float32 and not (np.abs(frames) <= _GREATEST_GREY).all():
        raise InputError("frames hold NaN, infinity or values beyond 1e6; expected grey values from 0 to 255")
    who = _backend.load(backend)
    flow: npt.NDArray[np.float32] = who.give(who.tvl1([frames], params)[0])
    return flow


def _whole(name: str, values: Any, count: int) -> tuple[int, ...]:
    try:
        found = tuple(operator.index(v) for v in values)
    except TypeError:
        found = ()
    if len(found) != count:
        raise InputError(f"{name} is {values!r}; expected {count} whole number{'s' if count > 1 else ''}")
    return found


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLabels:
    """Labels of one clip.

    Parameters
    ----------
    values : uint8 [k]
        Labels from 1, in the order of `columns`; 0 is undefined.
    margins : float32 [k]
        By how much each label won, relative to the larger of winner and runner-up: 0 a tie (or undefined), 1 no rival.
    columns : tuple of str
        Names of the labels: "motion/pattern_1/u_loc", ...
    """

    values: npt.NDArray[np.uint8]
    margins: npt.NDArray[np.float32]
    columns: tuple[str, ...]


def clip_labels(
    rgb: npt.NDArray[np.uint8],
    flow: npt.NDArray[np.float32],
    profile: str = "sts",
    crop: tuple[int, int] | None = None,
    size: int = 112,
    flip: bool = False,
    backend: str = "cpu",
) -> ClipLabels:
    """Motion and appearance labels of one clip.

    MAS: Wang et al., CVPR 2019, arXiv 1904.03597 (motion, section 3.2). STS: Wang et al., TPAMI 2021, arXiv 2008.13426
    (appearance, section 3.3).

    Parameters
    ----------
    rgb : uint8 [T, H, W, 3]
        Frames. The `-released` profiles label 16 frames; a 17th may be given and is left out.
    flow : float32 [F, H, W, 2]
        Flow in pixels per frame step, x right, y down, from each frame to the next: T - 1 fields, or T, the last
        leading out of the clip. "sts-released" wants 16 and sums them all; the others leave the 16th out. Values beyond
        +-2048 count as that; the `-released` profiles keep flow in 8 bits over -20..20.
    profile : {"sts", "sts-released", "mas-released"}
        Definition of the labels: the papers', or what the authors' code for either of them prints.
    crop : (int, int) or None
        Top left corner (y, x) of the crop in the arrays; None where the arrays are the crop. "sts" takes motion
        boundaries before it crops.
    size : int
        Side of the crop in pixels.
    flip : bool
        Label the left-right mirror image of the crop; the arrays are given unmirrored. u is mirrored and negated by
        "sts", only mirrored by the others.
    backend : {"cpu", "cuda"}
        Who computes; all give the same bits.

    Returns
    -------
    ClipLabels
        27 labels, or 14 for "mas-released": pattern 1, 2, 3 and the whole crop, motion before appearance.

    Raises
    ------
    InputError
        A shape, dtype, value or option does not fit; the message says which.
    NoLabel
        The profile has no label for this clip: "mas-released" and no motion.
    BackendUnavailable
        The backend's library, driver or device is missing.
    """
    chosen = _profiles.get(profile)
    rgb, flow = np.asarray(rgb), np.asarray(flow)
    if rgb.dtype != np.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3:
        raise InputError(f"rgb is {_kind(rgb)}; expected uint8 [T, H, W, 3]")
    if flow.dtype != np.float32 or flow.ndim != 4 or flow.shape[3] != 2:
        raise InputError(f"flow is {_kind(flow)}; expected float32 [F, H, W, 2]")
    if flow.shape[1:3] != rgb.shape[1:3]:
        raise InputError(
            f"flow is {_kind(flow)} and rgb is {_kind(rgb)}; both must have one height and width"
        )
    length = len(rgb)
    if chosen.released and length == _profiles.RELEASED_LENGTH + 1:
        length -= 1
    patterns = tuple(_patterns.get(name) for name in _patterns.STANDARD)
    (size,) = _whole("size", (size,), 1)
    chosen.check(length, size, patterns)
    wanted = chosen.flows_needed(length)
    if not wanted <= len(flow) <= length:
        raise InputError(
            f"flow has {len(flow)} fields; profile {profile!r} needs {wanted} for {length} frames"
            + (" (one leads out of the last frame)" if chosen.extra_flow else "")
        )
    H, W = rgb.shape[1:3]
    if crop is None:
        if size not in (H, W) or H != W:
            raise InputError(f"frames are {H}x{W} and the crop is {size}x{size}; say where with crop=(y, x)")
        crop = (0, 0)
    y, x = _whole("crop", crop, 2)
    if not (0 <= y <= H - size and 0 <= x <= W - size):
        raise InputError(
            f"a crop of {size}x{size} at (y, x) = ({y}, {x}) does not lie inside frames of {H}x{W}"
        )
    flow = flow[:wanted]
    _check_finite(flow, backend)
    families = [_standard.FAMILIES[name] for name in chosen.families]
    m = _profiles.measure(
        rgb[:length],
        flow,
        [(y, x, bool(flip))],
        profile=chosen,
        patterns=patterns,
        size=size,
        backend=backend,
    )
    decided, refusals = _profiles.label(m, families, patterns, chosen)
    if refusals[0] is not None:
        raise NoLabel(refusals[0])
    groups = [g for f in families for g in f.groups(patterns)]
    return ClipLabels(
        values=np.concatenate([decided[g.name].labels[0] for g in groups]),
        margins=np.concatenate([decided[g.name].margins[0] for g in groups]),
        columns=tuple(f"{g.name}/{c.name}" for g in groups for c in g.columns),
    )
