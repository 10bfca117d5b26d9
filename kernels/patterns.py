"""Patterns: how a crop is cut into numbered blocks, and the registry that they live in.

A pattern is one function from the crop's side to block masks, bool [K, H, W]:

    >>> @pattern("thirds")
    ... def thirds(size):
    ...     "3 x 3 cells, row by row."
    ...     if size % 3:
    ...         raise InputError(f"a crop of {size} pixels has no 3 x 3 cells; choose a multiple of 3")
    ...     return np.kron(np.eye(9).reshape(9, 3, 3), np.ones((size // 3, size // 3))).astype(bool)

Blocks may overlap and may leave pixels out. Everything else follows from the masks: which block is which in a
mirrored crop, the store's arrays, the tests.
"""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.errors import InputError

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]
MaskFunction = Callable[[int], Mask]

MAX_BLOCKS = 254
"""Labels are uint8: 0 is "undefined" and 255 is a store's fill."""

STANDARD = ("pattern_1", "pattern_2", "pattern_3")
"""The patterns of the papers, in the order of the labels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pattern:
    """One way to cut a crop into blocks.

    Parameters
    ----------
    name : str
        Name in the registry, and of the pattern's groups in a store.
    function : callable
        Side of the crop in pixels -> bool [K, size, size].
    compare : {"sum", "mean"}
        What blocks are compared by: the sum of magnitudes, or the mean where blocks differ in area.
    version : int
        Raised whenever the blocks change.
    """

    name: str
    function: MaskFunction
    compare: str = "sum"
    version: int = 1

    @property
    def description(self) -> str:
        """First paragraph of the function's docstring, on one line."""
        return first_paragraph(self.function)

    def masks(self, size: int) -> Mask:
        """Return the block masks of a crop of this side.

        Parameters
        ----------
        size : int
            Side of the square crop in pixels.

        Returns
        -------
        bool [K, size, size]
            Read-only; block k + 1 is ``masks[k]``.

        Raises
        ------
        InputError
            The side does not divide into these blocks, or the function returned something that is not block masks.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"the crop's side is {size!r}; it must be a whole number of pixels above 0")
        return _checked_masks(self, size)

    def digest(self, size: int) -> str:
        """Return a sha256 of the masks: two patterns of one name and digest give the same labels."""
        masks = self.masks(size)
        text = f"{self.compare} {list(masks.shape)} ".encode()
        return hashlib.sha256(text + np.packbits(masks).tobytes()).hexdigest()


_REGISTRY: dict[str, Pattern] = {}


def pattern(name: str, *, compare: str = "sum", version: int = 1) -> Callable[[MaskFunction], MaskFunction]:
    """Register a function from crop side to block masks as the pattern `name`.

    Parameters
    ----------
    name : str
        A lower-case identifier, not in use.
    compare : {"sum", "mean"}
        What a block's motion is compared by; "mean" where the blocks differ in area.
    version : int
        Raised whenever the blocks change.

    Raises
    ------
    InputError
        The name is taken or is not a lower-case identifier, or `compare` is neither of the two.
    """
    if not name.isidentifier() or name != name.lower() or name == "global":
        raise InputError(f"pattern name {name!r}: it must be a lower-case identifier other than 'global'")
    if name in _REGISTRY:
        raise InputError(f"pattern {name!r} is registered already, by {_REGISTRY[name].function!r}")
    if compare not in ("sum", "mean"):
        raise InputError(f"pattern {name!r} compares by {compare!r}; it must be sum or mean")

    def register(function: MaskFunction) -> MaskFunction:
        _REGISTRY[name] = Pattern(name=name, function=function, compare=compare, version=version)
        return function

    return register


def unregister(name: str) -> None:
    """Forget a pattern that was added; the three of the papers stay."""
    if name in STANDARD:
        raise InputError(f"{name} is one of the papers' patterns and stays")
    _REGISTRY.pop(name, None)


def names() -> tuple[str, ...]:
    """Return the registered names, in the order of registration."""
    return tuple(_REGISTRY)


def get(name: str) -> Pattern:
    """Return the pattern of this name; `InputError` names the known ones."""
    try:
        return _REGISTRY[name]
    except KeyError:
        raise InputError(f"no pattern is called {name!r}; known: {', '.join(_REGISTRY)}") from None


@pattern("pattern_1")
def cells(size: int) -> Mask:
    """4 x 4 square cells, row by row (MAS section 3.2, pattern 1)."""
    _check_divides(size, 4, "4 x 4 cells")
    y, x = np.indices((size, size)) * 4 // size
    return np.stack([(y == k // 4) & (x == k % 4) for k in range(16)])


@pattern("pattern_2", compare="mean")
def rings(size: int) -> Mask:
    """4 square rings about the centre, from the centre square to the outermost (MAS section 3.2, pattern 2)."""
    _check_divides(size, 8, "rings an eighth of it wide")
    # Twice the distance of a pixel's centre from the crop's centre is odd, so it never lies on a ring's edge.
    twice = np.abs(2 * np.arange(size) + 1 - size)
    ring = np.maximum(twice[:, None], twice[None, :]) * 4 // size
    return np.stack([ring == k for k in range(4)])


@pattern("pattern_3")
def triangles(size: int) -> Mask:
    """Quadrants split along the diagonals through the centre; a diagonal belongs to both halves (MAS, pattern 3).

    1 left-upper, 2 top-left, 3 top-right, 4 right-upper, 5 left-lower, 6 bottom-left, 7 bottom-right, 8 right-lower.
    """
    _check_divides(size, 2, "quadrants")
    y, x = np.indices((size, size))
    falling, rising = y - x, y + x - (size - 1)  # 0 on the diagonals
    top, left = y < size // 2, x < size // 2
    return np.stack(
        [
            top & left & (falling >= 0),
            top & left & (falling <= 0),
            top & ~left & (rising <= 0),
            top & ~left & (rising >= 0),
            ~top & left & (rising <= 0),
            ~top & left & (rising >= 0),
            ~top & ~left & (falling >= 0),
            ~top & ~left & (falling <= 0),
        ]
    )


@dataclass(frozen=True, eq=False)
class Layout:
    """All blocks of several patterns, and the regions that they are unions of.

    Two pixels lie in one region when every block holds both or neither. Kernels add up regions once, and each block,
    of each pattern, mirrored or not, is a sum of whole regions.

    Parameters
    ----------
    size : int
        Side of the crop in pixels.
    masks : bool [B, size, size]
        Distinct blocks of all patterns and their mirror images; the last is the whole crop.
    region : uint16 [size, size]
        Region of each pixel, from 0.
    block_start : int64 [B + 1], block_regions : int64 [...]
        Block b is the regions ``block_regions[block_start[b] : block_start[b + 1]]``.
    region_start : int64 [R + 1], region_pixels : int64 [size * size]
        Region r is the pixels ``region_pixels[region_start[r] : region_start[r + 1]]``, as y * size + x.
    area : int64 [B]
        Pixels of each block.
    columns : dict of str to int64 [2, K]
        Per pattern, the rows of `masks` that are its blocks: in the crop as it is, and in the mirrored crop.
    """

    size: int
    masks: Mask
    region: npt.NDArray[np.uint16]
    block_start: Index
    block_regions: Index
    region_start: Index
    region_pixels: Index
    area: Index
    columns: dict[str, Index] = field(default_factory=dict)

    @property
    def blocks(self) -> int:
        """Number of distinct blocks, B."""
        return len(self.masks)

    @property
    def regions(self) -> int:
        """Number of regions, R."""
        return len(self.region_start) - 1


@lru_cache(maxsize=32)
def layout(patterns: tuple[Pattern, ...], size: int) -> Layout:
    """Return the blocks and regions of several patterns on a crop of this side."""
    found: dict[bytes, int] = {}
    blocks: list[Mask] = []

    def number(mask: Mask) -> int:
        key = np.packbits(mask).tobytes()
        if key not in found:
            found[key] = len(blocks)
            blocks.append(mask)
        return found[key]

    columns = {}
    for p in patterns:
        masks = p.masks(size)
        columns[p.name] = np.array(
            [[number(m) for m in masks], [number(m[:, ::-1]) for m in masks]], np.int64
        )
    whole = np.ones((size, size), bool)
    # The whole crop may be a pattern's block as well; it stands last all the same, and is its own mirror image.
    all_masks = np.stack([*blocks, whole])
    signature = np.ascontiguousarray(np.packbits(all_masks.reshape(len(all_masks), -1), axis=0).T)
    _, region = np.unique(signature, axis=0, return_inverse=True)
    region = region.reshape(-1)
    regions = int(region.max()) + 1
    if regions > np.iinfo(np.uint16).max:
        raise InputError(
            f"the patterns cut a crop of {size} pixels into {regions} pieces; at most 65535 are possible"
        )
    order = np.argsort(region, kind="stable").astype(np.int64)
    region_start = np.zeros(regions + 1, np.int64)
    np.cumsum(np.bincount(region, minlength=regions), out=region_start[1:])
    member = all_masks.reshape(len(all_masks), -1)[:, order[region_start[:-1]]]
    block_start = np.zeros(len(all_masks) + 1, np.int64)
    np.cumsum(member.sum(axis=1), out=block_start[1:])
    return Layout(
        size=size,
        masks=all_masks,
        region=np.ascontiguousarray(region.reshape(size, size).astype(np.uint16)),
        block_start=block_start,
        block_regions=np.ascontiguousarray(np.nonzero(member)[1].astype(np.int64)),
        region_start=region_start,
        region_pixels=np.ascontiguousarray(order),
        area=all_masks.sum(axis=(1, 2)).astype(np.int64),
        columns=columns,
    )


def first_paragraph(function: Callable[..., Any]) -> str:
    """First paragraph of a docstring on one line, or "" where there is none."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


@lru_cache(maxsize=64)
def _checked_masks(p: Pattern, size: int) -> Mask:
    masks = np.asarray(p.function(size))
    if masks.dtype != np.bool_ or masks.ndim != 3 or masks.shape[1:] != (size, size):
        raise InputError(
            f"pattern {p.name!r} returned {masks.dtype} {list(masks.shape)} for a crop of {size} pixels; "
            f"it must be bool [K, {size}, {size}]"
        )
    if not 1 <= len(masks) <= MAX_BLOCKS:
        raise InputError(
            f"pattern {p.name!r} has {len(masks)} blocks; between 1 and {MAX_BLOCKS} fit a label"
        )
    empty = [k + 1 for k, m in enumerate(masks) if not m.any()]
    if empty:
        raise InputError(f"pattern {p.name!r} has no pixel in its blocks {empty} on a crop of {size} pixels")
    masks = np.array(masks, order="C")
    masks.flags.writeable = False
    return masks


def _check_divides(size: int, parts: int, what: str) -> None:
    if size % parts or size < parts:
        raise InputError(f"a crop of {size} pixels does not divide into {what}; choose a multiple of {parts}")
