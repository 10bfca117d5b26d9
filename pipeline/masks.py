"""Patterns of a user's own, given as a file of block masks.

The configuration carries the masks themselves, so a store, and every worker, knows them without the file.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels import patterns
from vstats.kernels.errors import InputError
from vstats.kernels.patterns import Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPattern:
    """Blocks of one crop size, under a name.

    Parameters
    ----------
    name : str
        A lower-case identifier: the pattern's name in the store.
    size : int
        Side of the square crop in pixels.
    blocks : int
        Number of blocks, K.
    runs : str
        The masks, bool [K, size, size] in C order, as lengths of alternating runs, the first of them False.

    Raises
    ------
    InputError
        The runs do not make up K masks of that size.
    """

    name: str
    size: int
    blocks: int
    runs: str

    def __post_init__(self) -> None:
        lengths = self.runs.split()
        whole = all(n.isdigit() for n in lengths)
        if not whole or sum(map(int, lengths)) != self.blocks * self.size**2:
            raise InputError(f"pattern {self.name!r} is damaged: its runs are not {self.blocks} masks")

    @classmethod
    def from_masks(cls, name: str, masks: npt.NDArray[Any]) -> "MaskPattern":
        """Return the pattern of masks bool [K, size, size], or of numbers [size, size]: k in block k, 0 in none.

        Raises
        ------
        InputError
            The array is of neither kind, or a block has no pixel.
        """
        if masks.ndim == 2 and masks.dtype.kind in "iu":
            masks = np.stack([masks == k for k in range(1, max(int(masks.max(initial=0)), 1) + 1)])
        if masks.dtype != np.bool_ or masks.ndim != 3 or masks.shape[1] != masks.shape[2] or 0 in masks.shape:
            raise InputError(
                f"the masks of pattern {name!r} are {masks.dtype} {list(masks.shape)}; expected bool [K, crop, crop], "
                "or whole numbers [crop, crop] that say which block a pixel is in (0: none)"
            )
        empty = [k + 1 for k, mask in enumerate(masks) if not mask.any()]
        if empty:
            raise InputError(f"pattern {name!r} has no pixel in its blocks {empty}")
        flat = masks.ravel()
        changes = np.flatnonzero(np.diff(flat, prepend=False))
        lengths = np.diff(changes, prepend=0, append=flat.size)
        runs = " ".join(map(str, lengths.tolist()))
        return cls(name=name, size=masks.shape[1], blocks=len(masks), runs=runs)

    @classmethod
    def from_file(cls, text: str) -> "MaskPattern":
        """Return the pattern that ``NAME=FILE`` asks for; FILE is a .npy file of what `from_masks` takes.

        Raises
        ------
        InputError
            The text is not of this form, or the file cannot be read or holds something else.
        """
        name, equals, file = text.partition("=")
        if not (equals and name and file):
            raise InputError(f"a pattern is given as NAME=MASKS.npy, not {text!r}")
        try:
            masks = np.load(Path(file), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"pattern {name!r}: {file} cannot be read as a .npy file ({error})") from error
        if not isinstance(masks, np.ndarray):
            raise InputError(
                f"pattern {name!r}: {file} holds several arrays; save the masks alone with numpy.save"
            )
        return cls.from_masks(name, masks)

    @property
    def sha256(self) -> str:
        """Digest of the masks, hexadecimal."""
        return hashlib.sha256(f"{self.blocks} {self.size} {self.runs}".encode()).hexdigest()

    def masks(self, size: int) -> Mask:
        """Return the blocks, bool [K, size, size]; `InputError` unless `size` is the one that they were made for."""
        if size != self.size:
            raise InputError(
                f"pattern {self.name!r} was made for crops of {self.size} pixels and cannot cut one of {size}; "
                f"give masks of that size, or --crop-size {self.size}"
            )
        lengths = np.array([int(n) for n in self.runs.split()])
        values = np.arange(len(lengths)) % 2 == 1
        return np.repeat(values, lengths).reshape(self.blocks, size, size)


_FROM_FILES: dict[str, MaskPattern] = {}


def use(own: Sequence[MaskPattern], *, standard_only: bool = False) -> tuple[str, ...]:
    """Register patterns of a user's own, and return the names of all that a store with them has.

    These are the registered patterns (or the papers' alone), those from other stores' files left out, and then `own`.
    Blocks of masks may differ in area, so they are compared by their means.

    Raises
    ------
    InputError
        A name is taken by a pattern that is no mask file's, or is no lower-case identifier.
    """
    for p in own:
        if _FROM_FILES.get(p.name) == p:
            continue
        if p.name in _FROM_FILES:
            patterns.unregister(p.name)
            del _FROM_FILES[p.name]

        def blocks(size: int, p: MaskPattern = p) -> Mask:
            """Blocks of a mask file."""
            return p.masks(size)

        patterns.pattern(p.name, compare="mean")(blocks)
        _FROM_FILES[p.name] = p
    base = patterns.STANDARD if standard_only else patterns.names()
    return (*(name for name in base if name not in _FROM_FILES), *(p.name for p in own))
