"""What labels are read from, measured once a clip and shared by all its crops and flips.

Boundaries are computed once, region sums once a crop; a flipped row takes the same whole numbers in mirrored blocks
and mirrored bins. See `vstats.kernels.patterns.Layout` for blocks and regions.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels import backend as _backend
from vstats.kernels.errors import InputError
from vstats.kernels.patterns import Layout, Pattern

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

PIXEL = np.float32(1 / 65536)
"""Magnitudes are counted in 1/65536 of a pixel; the product with a power of two is exact."""

# The 8 bins of a mirrored field: its d/dx alone changes sign where values only change place, its d/dy alone where they
# are negated as well.
_BINS_SAME = np.arange(8)
_BINS_DX_NEGATED = (4 - np.arange(8)) % 8
_BINS_DY_NEGATED = (-np.arange(8)) % 8


class Measurements:
    """The measured facts of some rows: crops, mirrored or not, of one clip.

    Parameters
    ----------
    rgb : uint8 [T, H, W, 3]
        Frames at the working size.
    flow : float32 [F, H, W, 2]
        Flow at the working size, pixels per frame step, x right, y down; finite. NumPy's, or an array of the backend.
    crops : sequence of (y, x, flip)
        The n rows: top left corner of the crop in the working frame, and whether it is mirrored left to right.
    layout : Layout
        Blocks of all patterns that will be asked for.
    frames_compared : int
        Leading flow fields that the frame label chooses from.
    boundary_on_crop : bool
        Take boundaries on the crop, as the authors' code does, and not on the working frame.
    negate_mirrored_u : bool
        Negate u in mirrored rows, as a mirrored scene would.
    backend : str
        Who computes; all give the same bits.

    Notes
    -----
    Arrays are taken as they are; `vstats.kernels.ops` and `vstats.pipeline.labels` check them. Motion boundaries are of
    MAS (CVPR 2019), section 3.2; overlap and dominant colour of STS (TPAMI 2021), section 3.3.
    """

    def __init__(
        self,
        rgb: U8,
        flow: F32,
        crops: Sequence[tuple[int, int, bool]],
        *,
        layout: Layout,
        frames_compared: int,
        boundary_on_crop: bool,
        negate_mirrored_u: bool,
        backend: str = "cpu",
    ) -> None:
        self._backend = _backend.load(backend)
        self._rgb = rgb
        self._flow = self._backend.take(flow)
        self.layout = layout
        self.rows = tuple((int(y), int(x), bool(flip)) for y, x, flip in crops)
        self.frames_compared = frames_compared
        self._boundary_on_crop = boundary_on_crop
        corners: dict[tuple[int, int], int] = {}
        for y, x, _ in self.rows:
            corners.setdefault((y, x), len(corners))
        self._corners = tuple(corners)
        self._corner = np.array([corners[y, x] for y, x, _ in self.rows], np.intp)
        self._flip = np.array([flip for _, _, flip in self.rows], np.intp)
        mirrored_u = _BINS_DY_NEGATED if negate_mirrored_u else _BINS_DX_NEGATED
        self._u_sign = np.float32(-1 if negate_mirrored_u else 1)
        self._bins = np.stack([np.stack([_BINS_SAME, _BINS_SAME]), np.stack([mirrored_u, _BINS_DX_NEGATED])])

    def masks(self, pattern: Pattern) -> npt.NDArray[np.bool_]:
        """Return the pattern's blocks, bool [K, size, size]."""
        return pattern.masks(self.layout.size)

    def rgb(self, row: int) -> U8:
        """Return the row's pixels, uint8 [T, size, size, 3], mirrored where the row is."""
        return self._cropped(self._rgb, row)

    def flow(self, row: int) -> F32:
        """Return the row's flow, float32 [F, size, size, 2], mirrored where the row is."""
        flow = self._cropped(self._host_flow, row)
        if self.rows[row][2] and self._u_sign < 0:
            flow = np.stack([-flow[..., 0], flow[..., 1]], axis=-1)
        return flow

    def orientation(self, pattern: Pattern) -> I64:
        """Return magnitudes by direction in 1/65536 pixel, int64 [n, 2 (u, v), K, 8]."""
        blocks_of_row = self.layout.columns[pattern.name][self._flip]
        votes: I64 = self._motion[0][
            self._corner[:, None, None, None],
            np.arange(2)[None, :, None, None],
            blocks_of_row[:, None, :, None],
            self._bins[self._flip][:, :, None, :],
        ]
        return votes

    def area(self, pattern: Pattern) -> I64:
        """Return the pixels of each block, int64 [K]."""
        area: I64 = self.layout.area[self.layout.columns[pattern.name][0]]
        return area

    def frames(self) -> I64:
        """Return each compared field's magnitude over the crop in 1/65536 pixel, int64 [n, 2 (u, v), G]."""
        return self._motion[1][self._corner]

    def overlap(self, pattern: Pattern) -> I64:
        """Return intersection and union of colour histograms over time, int64 [n, K, 3 (R, G, B), 2]."""
        return self._colour[0][self._corner[:, None], self.layout.columns[pattern.name][self._flip]]

    def colours(self, pattern: Pattern | None) -> I64:
        """Return pixels by colour class over all frames: int64 [n, K, 8], or [n, 8] of the whole crop."""
        counts = self._colour[1]
        found: I64
        if pattern is None:
            found = counts[self._corner, -1]
        else:
            found = counts[self._corner[:, None], self.layout.columns[pattern.name][self._flip]]
        return found

    @property
    def accumulated(self) -> F32:
        """Sum of the motion boundaries over the clip, float32 [2 (d/dx, d/dy), H, W, 2 (u, v)], working frame."""
        summed: F32 = self._backend.give(self._whole_frame[0])
        return summed

    @cached_property
    def _host_flow(self) -> F32:
        flow: F32 = self._backend.give(self._flow)
        return flow

    @cached_property
    def _whole_frame(self) -> tuple[_backend.Native, I64]:
        corners = np.array(self._corners, np.int64)
        return self._backend.boundaries(self._flow, corners, self.layout.size, self.frames_compared)

    @cached_property
    def _motion(self) -> tuple[I64, I64]:
        """Directions of every block, int64 [C, 2, B, 8], and magnitudes of every field, int64 [C, 2, G], per corner."""
        size = self.layout.size
        votes, frames = [], []
        for i, (y, x) in enumerate(self._corners):
            if self._boundary_on_crop:
                window = self._backend.take(self._flow[:, y : y + size, x : x + size])
                origin = np.zeros((1, 2), np.int64)
                summed, of_crop = self._backend.boundaries(window, origin, size, self.frames_compared)
                votes.append(self._backend.orientations(summed, 0, 0, self.layout))
                frames.append(of_crop[0])
            else:
                summed, of_crops = self._whole_frame
                votes.append(self._backend.orientations(summed, y, x, self.layout))
                frames.append(of_crops[i])
        return np.stack(votes), np.stack(frames)

    @cached_property
    def _colour(self) -> tuple[I64, I64]:
        """Overlap, int64 [C, B - 1, 3, 2], and colour counts, int64 [C, B, 8], per corner."""
        rgb = self._backend.take(self._rgb)
        found = [self._backend.colours(rgb, y, x, self.layout) for y, x in self._corners]
        return np.stack([overlap for overlap, _ in found]), np.stack([counts for _, counts in found])

    def _cropped(self, array: npt.NDArray[Any], row: int) -> npt.NDArray[Any]:
        y, x, flip = self.rows[row]
        window = array[:, y : y + self.layout.size, x : x + self.layout.size]
        return window[:, :, ::-1] if flip else window


def check_finite(flow: F32 | _backend.Native, backend: str = "cpu") -> None:
    """Raise `InputError` where flow holds an infinity or NaN."""
    who = _backend.load(backend)
    if not who.is_finite(who.take(flow)):
        found = who.give(flow)
        bad = np.argwhere(~np.isfinite(found))[0]
        raise InputError(
            f"flow holds {found[tuple(bad)]} at index {bad.tolist()}; every value must be finite"
        )


def quantised(flow: F32 | _backend.Native, backend: str = "cpu") -> _backend.Native:
    """Return flow stored in 8 bits over -20..20 pixels and read back, as the authors kept it."""
    who = _backend.load(backend)
    return who.quantised(who.take(flow))
