"""The three definitions of the labels, and the authors' departures from their papers that two of them keep.

`sts` follows the papers. The released profiles print what the authors' code prints, slips included; they know the
papers' three patterns, 16 frames and crops of 112 pixels, as that code does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels import patterns as _patterns
from vstats.kernels.errors import InputError
from vstats.kernels.measure import Measurements, quantised
from vstats.kernels.patterns import Pattern
from vstats.kernels.rules import Decided, Family, Group, decide

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

RELEASED_LENGTH = 16
RELEASED_CROP = 112


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One definition of the labels.

    Parameters
    ----------
    name : str
        "sts", "sts-released" or "mas-released".
    families : tuple of str
        Families that it labels.
    released : bool
        Whether it prints what the authors' code prints: flow kept in 8 bits, boundaries taken on the crop, u mirrored
        but not negated.
    extra_flow : bool
        Whether the flow out of the clip's last frame is summed as well (a 17th frame).
    exact_colours : bool
        Whether the dominant colour is the class of the most frequent exact colour.
    refuses_stillness : bool
        Whether a clip without motion has no label at all.
    """

    name: str
    families: tuple[str, ...]
    released: bool = False
    extra_flow: bool = False
    exact_colours: bool = False
    refuses_stillness: bool = False

    def flows_needed(self, clip_length: int) -> int:
        """Flow fields that a clip of this many frames needs."""
        return clip_length if self.extra_flow else clip_length - 1

    def frames_needed(self, clip_length: int) -> int:
        """Frames that those fields are computed from."""
        return self.flows_needed(clip_length) + 1

    def check(self, clip_length: int, size: int, chosen: Sequence[Pattern]) -> None:
        """Raise `InputError` where this profile has no labels for such clips, crops or patterns."""
        if not 2 <= clip_length <= 255:
            raise InputError(
                f"a clip of {clip_length} frames: between 2 and 255 are possible, as labels are uint8"
            )
        if size > 4096:
            raise InputError(f"a crop of {size} pixels: at most 4096 are possible")
        for p in chosen:
            p.masks(size)
        if not self.released:
            return
        if clip_length != RELEASED_LENGTH or size != RELEASED_CROP:
            raise InputError(
                f"profile {self.name!r} is defined for clips of {RELEASED_LENGTH} frames and crops of {RELEASED_CROP} "
                f"pixels, as its code is written; {clip_length} frames and {size} pixels need profile 'sts'"
            )
        if tuple(p.name for p in chosen) != _patterns.STANDARD:
            raise InputError(
                f"profile {self.name!r} has exactly the patterns {', '.join(_patterns.STANDARD)}"
            )


_PROFILES = {
    p.name: p
    for p in (
        Profile(name="sts", families=("motion", "appearance")),
        Profile(
            name="sts-released",
            families=("motion", "appearance"),
            released=True,
            extra_flow=True,
            exact_colours=True,
        ),
        Profile(name="mas-released", families=("motion",), released=True, refuses_stillness=True),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of the profiles."""
    return tuple(_PROFILES)


def get(name: str) -> Profile:
    """Return the profile of this name; `InputError` names the known ones."""
    try:
        return _PROFILES[name]
    except KeyError:
        raise InputError(f"no profile is called {name!r}; known: {', '.join(_PROFILES)}") from None


def measure(
    rgb: U8,
    flow: F32,
    crops: Sequence[tuple[int, int, bool]],
    *,
    profile: Profile,
    patterns: Sequence[Pattern],
    size: int,
    backend: str = "cpu",
) -> Measurements:
    """Measure rows of a clip of uint8 [T, H, W, 3] and finite float32 [F, H, W, 2] as the profile wants it."""
    return Measurements(
        rgb,
        quantised(flow, backend) if profile.released else flow,
        crops,
        layout=_patterns.layout(tuple(patterns), size),
        frames_compared=len(rgb) - 1,
        boundary_on_crop=profile.released,
        negate_mirrored_u=not profile.released,
        backend=backend,
    )


def label(
    m: Measurements, families: Sequence[Family], patterns: Sequence[Pattern], profile: Profile
) -> tuple[dict[str, Decided], list[str | None]]:
    """Decide every group of labels of the measured rows, and say per row why it has none (None: it has)."""
    decided = {}
    refusals: list[str | None] = [None] * len(m.rows)
    for group in (g for f in families for g in f.groups(patterns)):
        statistics = group.family.function(m, group.pattern)
        labels, margins = decide(group.columns, statistics)
        decided[group.name] = Decided(labels, margins, statistics)
        if profile.exact_colours:
            _exact_colours(m, group, decided[group.name])
    if profile.released:
        _stillness(decided, profile, refusals)
    return decided, refusals


def _stillness(decided: Mapping[str, Decided], profile: Profile, refusals: list[str | None]) -> None:
    """Label clips without motion as the authors' code does: only its pattern 1 knows of them, and only in STS."""
    first = decided.get("motion/pattern_1")
    if first is None:
        return
    if profile.refuses_stillness:
        for row, (u, v) in enumerate(first.labels[:, [0, 2]]):
            if u == 0 or v == 0:
                refusals[row] = (
                    f"no motion in {'u' if u == 0 else 'v'} anywhere in the crop; {profile.name} has no label for it"
                )
        still = [row for row, refusal in enumerate(refusals) if refusal]
        for group in decided.values():
            group.labels[still] = 0
            group.margins[still] = 0
    else:
        for name in ("motion/pattern_2", "motion/pattern_3", "motion/global"):
            np.maximum(decided[name].labels, 1, out=decided[name].labels)


def _exact_colours(m: Measurements, group: Group, decided: Decided) -> None:
    """Replace dominant colours by the class of the most frequent exact colour."""
    place = {column.name: k for k, column in enumerate(group.columns)}
    for k, column in enumerate(group.columns):
        if column.of != "colours":
            continue
        for row in range(len(m.rows)):
            rgb = m.rgb(row)
            if column.within is None or group.pattern is None:
                pixels = rgb.reshape(-1, 3)
            else:
                block = int(decided.labels[row, place[column.within]])
                if group.pattern.name == "pattern_2" and block == 2:
                    pixels = _slipped_ring(rgb)
                else:
                    pixels = rgb[:, m.masks(group.pattern)[block - 1]].reshape(-1, 3)
            decided.labels[row, k], decided.margins[row, k] = most_frequent_colour(pixels)


def most_frequent_colour(pixels: U8) -> tuple[int, np.float32]:
    """Class, 1..8, of the most frequent exact colour of uint8 [N, 3] RGB, and its margin over the other classes.

    Of equally frequent colours the one with the lowest B * 65536 + G * 256 + R counts.
    """
    r, g, b = (pixels[:, c].astype(np.uint32) for c in range(3))
    colours, counts = np.unique(b << 16 | g << 8 | r, return_counts=True)
    kinds = (colours >> 7 & 1) * 2 + (colours >> 15 & 1) + np.where(colours >> 23, 0, 4)
    winner = int(counts.argmax())
    others = counts[kinds != kinds[winner]]
    best, second = np.float32(counts[winner]), np.float32(others.max() if others.size else 0)
    return int(kinds[winner]) + 1, (best - second) / best


def _slipped_ring(rgb: U8) -> npt.NDArray[Any]:
    """Pixels that the authors' code counts for pattern 2's block 2, from uint8 [16, 112, 112, 3].

    Where the bottom band was meant stands a slice of the clip: the first two frames of the whole square, the inner
    square of which is black.
    """
    ring = rgb[:, 28:84, 28:84].copy()
    ring[:, 14:42, 14:42] = 0
    parts = (ring[:, :14], ring[:, 14:42, :14], ring[:, 14:42, -14:], ring[:-14])
    return np.concatenate([part.reshape(-1, 3) for part in parts])
