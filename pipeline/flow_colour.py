"""Flow as a picture, in the colour wheel of the Middlebury benchmark."""

import numpy as np
import numpy.typing as npt

from vstats.pipeline.records import F32, U8

UNKNOWN = 1e9
"""Flow beyond this, and NaN, means "not known" in Middlebury's files; it is drawn black."""

# Colours from one primary to the next, as perception wants them: red, yellow, green, cyan, blue, magenta, red.
_STEPS = (15, 6, 4, 11, 13, 6)
_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))


def colour_wheel() -> npt.NDArray[np.float64]:
    """Return the 55 colours of the wheel, float64 [55, 3] RGB from 0 to 1; the first points left, then towards up."""
    parts = []
    for steps, first, second in zip(_STEPS, _CORNERS[:-1], _CORNERS[1:], strict=True):
        along = np.floor(255 * np.arange(steps) / steps)[:, None] / 255
        parts.append(np.array(first) / 255 * (1 - along) + np.array(second) / 255 * along)
    return np.concatenate(parts)


def flow_to_rgb(flow: F32, max_magnitude: float | None = None) -> U8:
    """Colour a flow field: hue is its direction, saturation its magnitude, white is no motion.

    Parameters
    ----------
    flow : float32 [H, W, 2]
        Flow in pixels, x right, y down.
    max_magnitude : float, optional
        Magnitude of the fullest colour; larger ones are drawn darker. Default: the largest there is.

    Returns
    -------
    uint8 [H, W, 3]
        RGB; unknown flow is black.

    References
    ----------
    Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011; their ``colorcode.cpp``.
    """
    flow = np.asarray(flow, np.float64)
    known = (np.abs(flow[..., :1]) <= UNKNOWN) & (np.abs(flow[..., 1:]) <= UNKNOWN)
    u, v = np.moveaxis(np.where(known, flow, 0), -1, 0)
    magnitude = np.hypot(u, v)
    largest = float(magnitude.max(initial=0)) if max_magnitude is None else max_magnitude
    radius = magnitude / largest if largest > 0 else np.zeros_like(magnitude)
    wheel = colour_wheel()
    place = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = place.astype(np.intp)
    along = (place - below)[..., None]
    hue = (1 - along) * wheel[below] + along * wheel[(below + 1) % len(wheel)]
    radius = radius[..., None]
    colour = np.where(radius <= 1, 1 - radius * (1 - hue), hue * 0.75)
    rgb: U8 = np.where(known, colour * 255, 0).astype(np.uint8)
    return rgb
