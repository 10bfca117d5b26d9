"""The papers' two families of labels, and what their labels are read from."""

from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.measure import PIXEL, Measurements
from vstats.kernels.patterns import Pattern
from vstats.kernels.rules import Column, Family, Statistic

Array = npt.NDArray[Any]


def motion(m: Measurements, pattern: Pattern | None) -> dict[str, Array]:
    """Where motion changes most over space, and in which direction; and when (MAS section 3.2).

    A block has the magnitude of the summed motion boundary, its sum or its mean, and its histogram over 8 directions,
    for u and v; the whole crop has the magnitude of every field.
    """
    if pattern is None:
        frames = m.frames().astype(np.float32) * PIXEL
        return {"u_frames": frames[:, 0], "v_frames": frames[:, 1]}
    votes = m.orientation(pattern)
    magnitude = votes.sum(axis=3).astype(np.float32) * PIXEL
    if pattern.compare == "mean":
        magnitude /= m.area(pattern).astype(np.float32)
    orientation = votes.astype(np.float32) * PIXEL
    return {
        "u_magnitude": magnitude[:, 0],
        "u_orientation": orientation[:, 0],
        "v_magnitude": magnitude[:, 1],
        "v_orientation": orientation[:, 1],
    }


def appearance(m: Measurements, pattern: Pattern | None) -> dict[str, Array]:
    """Where colours change most and least over time, and the dominant colour there (STS section 3.3).

    A block has the overlap of its colour histograms over the frames and its pixels by colour class; the whole crop has
    its pixels by colour class.
    """
    if pattern is None:
        return {"colours": m.colours(None).astype(np.uint32)}
    overlap = m.overlap(pattern).astype(np.float32)
    ratio = overlap[..., 0] / overlap[..., 1]
    iou = (ratio[..., 0] + ratio[..., 1] + ratio[..., 2]) / np.float32(3)
    return {"iou": iou, "colours": m.colours(pattern).astype(np.uint32)}


def _motion_columns() -> tuple[Column, ...]:
    columns = []
    for c, axis in (("u", "horizontal"), ("v", "vertical")):
        columns += [
            Column(
                name=f"{c}_loc",
                of=f"{c}_magnitude",
                zero_is_none=True,
                meaning=f"block where the {axis} motion changes most over space",
            ),
            Column(
                name=f"{c}_ori",
                of=f"{c}_orientation",
                within=f"{c}_loc",
                zero_is_none=True,
                meaning=f"its direction, 1..8 for 0, 45, ... 315 degrees from right towards down, of falling {c}",
            ),
        ]
    return tuple(columns)


_MOTION_COLUMNS = _motion_columns()
_MOTION_GLOBAL = tuple(
    Column(
        name=f"{c}_frame",
        of=f"{c}_frames",
        zero_is_none=True,
        meaning=f"flow field, from 1, whose {axis} motion changes most over space",
    )
    for c, axis in (("u", "horizontal"), ("v", "vertical"))
)
_MOTION_STATISTICS = tuple(
    s
    for c in "uv"
    for s in (
        Statistic(
            name=f"{c}_magnitude",
            shape=("blocks",),
            dtype="float32",
            meaning=f"magnitudes of the summed motion boundary of {c}, in pixels: a block's sum, "
            "or its mean where the pattern's blocks differ in area",
        ),
        Statistic(
            name=f"{c}_orientation",
            shape=("blocks", 8),
            dtype="float32",
            meaning=f"the same magnitudes of {c}, summed by direction, in pixels",
        ),
    )
)
_MOTION_GLOBAL_STATISTICS = tuple(
    Statistic(
        name=f"{c}_frames",
        shape=("flows",),
        dtype="float32",
        meaning=f"sum over the crop of each field's own motion boundary of {c}, in pixels",
    )
    for c in "uv"
)

_COLOURS = "1 blue, 2 cyan, 3 magenta, 4 white, 5 black, 6 green, 7 red, 8 yellow"
_APPEARANCE_COLUMNS = (
    Column(name="div_loc", of="iou", pick="smallest", meaning="block whose colours change most over time"),
    Column(name="div_col", of="colours", within="div_loc", meaning=f"its dominant colour: {_COLOURS}"),
    Column(name="stable_loc", of="iou", meaning="block whose colours change least over time"),
    Column(name="stable_col", of="colours", within="stable_loc", meaning=f"its dominant colour: {_COLOURS}"),
)
_APPEARANCE_GLOBAL = (
    Column(name="dominant_col", of="colours", meaning=f"dominant colour of the crop: {_COLOURS}"),
)
_APPEARANCE_STATISTICS = (
    Statistic(
        name="iou",
        shape=("blocks",),
        dtype="float32",
        meaning="overlap of a block's colour histograms over the frames: intersection over union, mean of R, G and B",
    ),
    Statistic(
        name="colours",
        shape=("blocks", 8),
        dtype="uint32",
        meaning=f"pixels of all frames by colour: {_COLOURS}",
    ),
)
_APPEARANCE_GLOBAL_STATISTICS = (
    Statistic(
        name="colours", shape=(8,), dtype="uint32", meaning=f"pixels of all frames by colour: {_COLOURS}"
    ),
)

MOTION = Family(
    name="motion",
    function=motion,
    columns=_MOTION_COLUMNS,
    statistics=_MOTION_STATISTICS,
    global_columns=_MOTION_GLOBAL,
    global_statistics=_MOTION_GLOBAL_STATISTICS,
)
APPEARANCE = Family(
    name="appearance",
    function=appearance,
    columns=_APPEARANCE_COLUMNS,
    statistics=_APPEARANCE_STATISTICS,
    global_columns=_APPEARANCE_GLOBAL,
    global_statistics=_APPEARANCE_GLOBAL_STATISTICS,
)

FAMILIES = {family.name: family for family in (MOTION, APPEARANCE)}
