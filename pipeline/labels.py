"""From a clip's frames and flow to the arrays of its rows: labels, and on request statistics and margins.

A store's arrays are named ``labels/FAMILY/PATTERN``, ``statistics/FAMILY/PATTERN/NAME`` and ``margins/FAMILY/PATTERN``,
with "global" for the whole crop in PATTERN's place.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels import measure as _measure
from vstats.kernels import patterns as _patterns
from vstats.kernels import profiles as _profiles
from vstats.kernels.backend import Native
from vstats.kernels.errors import InputError
from vstats.kernels.patterns import Pattern
from vstats.kernels.profiles import Profile
from vstats.kernels.rules import Decided, Family, Group, Statistic, decide
from vstats.pipeline import families as _families
from vstats.pipeline.records import ArrayRecord, LabelRecord

Array = npt.NDArray[Any]

UNLABELLED = 255
"""What stands in a label's place where a row was never computed; 0 means computed, and undefined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfig:
    """Everything that decides which labels a row gets.

    Parameters
    ----------
    profile : {"sts", "sts-released", "mas-released"}
        Definition of the labels.
    clip_length : int
        Frames a clip, T, 2 to 255.
    working : (int, int)
        Height and width of the working frame in pixels.
    crop : int
        Side of the square crop in pixels.
    families, patterns : tuple of str or None
        Which registered families and patterns; None: all of them, or the profile's own for the released ones. Names are
        filled in when the configuration is made.
    statistics : bool
        Whether rows carry statistics and margins beside labels.

    Raises
    ------
    InputError
        A name is unknown, a size does not divide into the patterns' blocks, the crop is larger than the frame, or the
        profile is not defined for these sizes.
    """

    profile: str = "sts"
    clip_length: int = 16
    working: tuple[int, int] = (128, 171)
    crop: int = 112
    families: tuple[str, ...] | None = None
    patterns: tuple[str, ...] | None = None
    statistics: bool = False

    def __post_init__(self) -> None:
        profile = _profiles.get(self.profile)
        families = self.families
        if families is None:
            families = profile.families if profile.released else _families.names()
        patterns = self.patterns
        if patterns is None:
            patterns = _patterns.STANDARD if profile.released else _patterns.names()
        for what, chosen in (("families", families), ("patterns", patterns)):
            if not chosen or len(set(chosen)) != len(chosen):
                raise InputError(f"{what} are {list(chosen)}; name at least one, and none twice")
        if profile.released and not set(families) <= set(profile.families):
            raise InputError(
                f"profile {self.profile!r} has the families {', '.join(profile.families)}, not {', '.join(families)}"
            )
        object.__setattr__(self, "families", tuple(families))
        object.__setattr__(self, "patterns", tuple(patterns))
        height, width = self.working
        if self.crop > min(height, width):
            raise InputError(
                f"a crop of {self.crop}x{self.crop} is larger than the working frame of {height}x{width}; "
                "choose a smaller crop or a larger frame"
            )
        profile.check(self.clip_length, self.crop, self._patterns)
        assert self._groups  # unknown families raise here

    @property
    def flows_needed(self) -> int:
        """Flow fields that a clip needs."""
        return flows_needed(self.profile, self.clip_length)

    @property
    def frames_needed(self) -> int:
        """Frames that those fields are computed from."""
        return frames_needed(self.profile, self.clip_length)

    def definition(self) -> dict[str, Any]:
        """Return what decides the labels, as JSON values: of the same definition, the same input has the same labels.

        Patterns stand with the checksum of their masks, so that a mask file that has changed is another definition.
        """
        return {
            "profile": self.profile,
            "clip_length": self.clip_length,
            "working": list(self.working),
            "crop": self.crop,
            "families": {f.name: f.version for f in self._families},
            "patterns": {p.name: [p.version, p.digest(self.crop)] for p in self._patterns},
        }

    @property
    def _profile(self) -> Profile:
        return _profiles.get(self.profile)

    @property
    def _patterns(self) -> tuple[Pattern, ...]:
        return tuple(_patterns.get(name) for name in self.patterns or ())

    @property
    def _families(self) -> tuple[Family, ...]:
        return tuple(_families.get(name) for name in self.families or ())

    @property
    def _groups(self) -> tuple[Group, ...]:
        return tuple(g for f in self._families for g in f.groups(self._patterns))


def flows_needed(profile: str, clip_length: int) -> int:
    """Flow fields that a clip of `clip_length` frames needs in this profile: T - 1, or T for "sts-released"."""
    return _profiles.get(profile).flows_needed(clip_length)


def frames_needed(profile: str, clip_length: int) -> int:
    """Frames that a clip of `clip_length` frames reads in this profile: T, or T + 1 for "sts-released"."""
    return _profiles.get(profile).frames_needed(clip_length)


def schema(config: LabelConfig) -> tuple[ArrayRecord, ...]:
    """Return the arrays that `label_rows` fills, in canonical order: labels, then statistics and margins."""
    return _schema(config, config._families, config._patterns)


@lru_cache(maxsize=32)
def _schema(
    config: LabelConfig, families: tuple[Family, ...], patterns: tuple[Pattern, ...]
) -> tuple[ArrayRecord, ...]:
    labels, statistics, margins = [], [], []
    for g in (g for f in families for g in f.groups(patterns)):
        shapes = {s.name: _row_shape(s, g, config) for s in g.statistics}
        place = {column.name: k for k, column in enumerate(g.columns)}
        records = tuple(
            LabelRecord(
                name=c.name,
                meaning=c.meaning,
                classes=shapes[c.of][-1],
                statistic=f"statistics/{g.name}/{c.of}",
                smallest=c.pick == "smallest",
                within=None if c.within is None else place[c.within],
            )
            for c in g.columns
        )
        where = "the whole crop" if g.pattern is None else g.pattern.name
        labels.append(
            ArrayRecord(
                name=f"labels/{g.name}",
                kind="label",
                shape=(len(records),),
                dtype="uint8",
                fill=UNLABELLED,
                labels=records,
                meaning=f"labels of {where}, from 1; 0 is undefined",
            )
        )
        margins.append(
            ArrayRecord(
                name=f"margins/{g.name}",
                kind="margin",
                shape=(len(records),),
                dtype="float32",
                fill=math.nan,
                labels=records,
                meaning="gap between the label's winner and its runner-up, relative to the larger of the two, 0 to 1",
            )
        )
        for s in g.statistics:
            statistics.append(
                ArrayRecord(
                    name=f"statistics/{g.name}/{s.name}",
                    kind="statistic",
                    shape=shapes[s.name],
                    dtype=s.dtype,
                    fill=math.nan if s.dtype == "float32" else float(np.iinfo(np.uint32).max),
                    meaning=s.meaning,
                )
            )
    return tuple(labels + statistics + margins) if config.statistics else tuple(labels)


def label_rows(
    rgb: npt.NDArray[np.uint8],
    flow: npt.NDArray[np.float32] | Native,
    crops: Sequence[tuple[int, int, bool]],
    config: LabelConfig,
    backend: str = "cpu",
) -> tuple[dict[str, Array], list[str | None]]:
    """Label crops and flips of one clip.

    Parameters
    ----------
    rgb : uint8 [T, H, W, 3]
        Frames at the working size; a frame more than the clip length, as flow may have needed, is left out.
    flow : float32 [F, H, W, 2]
        Flow at the working size, pixels per frame step, x right, y down; `config.flows_needed` fields. NumPy's, or an
        array of the backend.
    crops : sequence of (y, x, flip)
        The n rows.
    config : LabelConfig
        What is wanted.
    backend : str
        Who computes; all give the same bits.

    Returns
    -------
    arrays : dict of str to array [n, ...]
        As `schema` describes them; row i belongs to ``crops[i]``.
    refusals : list of str or None
        Per row None, or why the profile has no label for it; the labels of a refused row are 0.

    Raises
    ------
    InputError
        A shape, dtype or value does not fit the configuration; the message says which.
    """
    T, F, size = config.clip_length, config.flows_needed, config.crop
    height, width = config.working
    rgb = np.asarray(rgb)
    if rgb.dtype != np.uint8 or rgb.shape not in ((n, height, width, 3) for n in (T, config.frames_needed)):
        raise InputError(f"rgb is {rgb.dtype} {list(rgb.shape)}; expected uint8 {[T, height, width, 3]}")
    if flow.dtype != np.float32 or flow.shape != (F, height, width, 2):
        raise InputError(f"flow is {flow.dtype} {list(flow.shape)}; expected float32 {[F, height, width, 2]}")
    for y, x, _ in crops:
        if not (0 <= y <= height - size and 0 <= x <= width - size):
            raise InputError(
                f"a crop of {size}x{size} at (y, x) = ({y}, {x}) does not lie in the working frame of {height}x{width}"
            )
    specs = schema(config)
    if not crops:
        return {s.name: np.empty((0, *s.shape), s.dtype) for s in specs}, []
    _measure.check_finite(flow, backend)
    m = _profiles.measure(
        rgb[:T], flow, crops, profile=config._profile, patterns=config._patterns, size=size, backend=backend
    )
    decided, refusals = _profiles.label(m, config._families, config._patterns, config._profile)
    arrays = _named(decided)
    for spec in specs:
        if spec.name not in arrays:
            raise InputError(f"the family of {spec.name} did not return this statistic")
        got = arrays[spec.name]
        if got.shape != (len(crops), *spec.shape) or got.dtype != spec.dtype:
            raise InputError(
                f"{spec.name} is {got.dtype} {list(got.shape)}; its family declares "
                f"{spec.dtype} {[len(crops), *spec.shape]}"
            )
    return {spec.name: np.ascontiguousarray(arrays[spec.name]) for spec in specs}, refusals


def rebuild_labels(statistics: Mapping[str, Array], config: LabelConfig) -> dict[str, Array]:
    """Decide labels and margins again, from stored statistics alone.

    Parameters
    ----------
    statistics : mapping of str to array [n, ...]
        A store's ``statistics/...`` arrays, under their names in `schema`.
    config : LabelConfig
        What the store was made with.

    Returns
    -------
    dict of str to array [n, k]
        ``labels/...`` uint8 and ``margins/...`` float32, the bits that `label_rows` returned.

    Raises
    ------
    InputError
        A statistic is missing, or the profile is a released one: its dominant colours are not those of the 8 counts.
    """
    if config._profile.released:
        raise InputError(
            f"labels of profile {config.profile!r} cannot be rebuilt: it takes the most frequent exact colour, which "
            "is not among the statistics"
        )
    decided = {}
    for g in config._groups:
        found = {}
        for s in g.statistics:
            name = f"statistics/{g.name}/{s.name}"
            if name not in statistics:
                raise InputError(f"{name} is missing; labels of {g.name} cannot be rebuilt without it")
            found[s.name] = np.asarray(statistics[name])
        decided[g.name] = Decided(*decide(g.columns, found), found)
    return {name: array for name, array in _named(decided).items() if not name.startswith("statistics/")}


def _named(decided: Mapping[str, Decided]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, group in decided.items():
        arrays[f"labels/{name}"] = group.labels
        arrays[f"margins/{name}"] = group.margins
        for statistic, values in group.statistics.items():
            arrays[f"statistics/{name}/{statistic}"] = values
    return arrays


def _row_shape(s: Statistic, g: Group, config: LabelConfig) -> tuple[int, ...]:
    lengths = {"flows": config.clip_length - 1}
    if g.pattern is not None:
        lengths["blocks"] = len(g.pattern.masks(config.crop))
    return tuple(lengths[n] if isinstance(n, str) else n for n in s.shape)
