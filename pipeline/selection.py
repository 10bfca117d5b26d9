"""Which rows of a store are trained on, and what stands in them: filters over labels, statistics and videos."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.pipeline import store as stores
from vstats.pipeline.encodings import Target, targets
from vstats.pipeline.errors import UsageError
from vstats.pipeline.manifest import read_manifest
from vstats.pipeline.store import Store

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which rows to keep. Rows without labels are never among them.

    Parameters
    ----------
    min_motion : float
        Least `motion_amount` of a row, in pixels; 0 keeps all. Needs statistics.
    min_margin : float
        A label that won by less than this (0 to 1) counts as undefined; a row with none left is dropped. Needs
        statistics.
    classes : collection of str or int, optional
        Names or indices of the videos' own classes.
    keys : collection of str, optional
        Keys of videos: a split, as `split_keys` reads it.
    """

    min_motion: float = 0.0
    min_margin: float = 0.0
    classes: Collection[str | int] | None = None
    keys: Collection[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The rows of one store that were kept.

    `rows` int64 [n] ascends; `video` int64 [n] is each row's position in ``store.videos``. `labels`, `margins` and
    `statistics` hold arrays [n, ...] by their names in the store, the last two only where they were read. `motion`
    float32 [n] is None without statistics.
    """

    rows: I64
    video: I64
    targets: tuple[Target, ...]
    labels: dict[str, U8]
    margins: dict[str, F32]
    statistics: dict[str, Array]
    motion: F32 | None


def select(
    store: Store,
    wanted: Filter,
    *,
    families: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    statistics: bool = False,
) -> Selection:
    """Read the labels of a store's labelled rows, and keep the rows that pass a filter.

    Parameters
    ----------
    store : Store
        Where rows come from.
    wanted : Filter
        What passes.
    families, groups : sequence of str, optional
        Label families, and patterns or "global", to read; None: all.
    statistics : bool
        Read the statistics behind those labels too; they take about 3 KB a row of memory.

    Raises
    ------
    UsageError
        A family, group or class is unknown, or the filter needs statistics that the store does not keep.
    StoreError
        The store's files are missing or damaged.
    """
    known = targets(store.plan.arrays)
    _check_known("label family", families, {t.family for t in known})
    _check_known("pattern", groups, {t.group for t in known})
    chosen = targets(store.plan.arrays, families, groups)
    kept = "statistics" in store.plan.config.save
    if not kept and (statistics or wanted.min_motion > 0 or wanted.min_margin > 0):
        raise UsageError(
            f"{store.place} keeps no statistics, which soft labels, min_motion and min_margin are read from; "
            "extract with --statistics"
        )
    video = store.read("index/video").astype(np.int64)
    keep = store.read(stores.STATUS.name) == stores.STATUS_OK
    keep &= _allowed_videos(store, wanted)[video]
    motion = motion_amount(store) if kept else None
    if motion is not None and wanted.min_motion > 0:
        keep &= motion >= wanted.min_motion
    names = dict.fromkeys(t.array for t in chosen)
    labels = {name: store.read(name) for name in names}
    margins = {name: store.read(_margin(name)) for name in names} if kept else {}
    if wanted.min_margin > 0:
        labels = {name: np.where(margins[name] < wanted.min_margin, 0, labels[name]) for name in names}
        keep &= np.any([(values > 0).any(axis=1) for values in labels.values()], axis=0)
    rows = np.flatnonzero(keep)
    read = dict.fromkeys(t.statistic for t in chosen) if statistics else {}
    return Selection(
        rows=rows,
        video=video[rows],
        targets=chosen,
        labels={name: values[rows] for name, values in labels.items()},
        margins={_margin(name): values[rows] for name, values in margins.items()},
        statistics={name: store.read(name)[rows] for name in read},
        motion=None if motion is None else motion[rows],
    )


def motion_amount(store: Store) -> F32:
    """Return how much each row of a store moves, float32 [rows]: pixels of motion boundary, mean over crop and time.

    It is the mean over flow fields of what `u_frame` and `v_frame` are the winners of, both axes added, for each pixel
    of the crop. What moves evenly, as under a panning camera, does not count.
    """
    area = store.plan.config.crop_size**2
    u, v = (store.read(f"statistics/motion/global/{axis}_frames").mean(axis=1) for axis in "uv")
    amount: F32 = (u + v) / np.float32(area)
    return amount


def split_keys(listed: str, *, root: str | None = None, kind: str = "auto") -> frozenset[str]:
    """Return the keys of the videos that a data set's list names, on disk or not.

    Parameters
    ----------
    listed, root, kind
        See `vstats.pipeline.manifest.read_manifest`; `root` as it was when the store was extracted.
    """
    manifest = read_manifest([listed], root=root, kind=kind, classes=None)
    return frozenset(row.key for row in (*manifest.rows, *manifest.missing))


def _allowed_videos(store: Store, wanted: Filter) -> npt.NDArray[np.bool_]:
    videos = store.videos
    allowed = np.ones(len(videos), bool)
    if wanted.classes is not None:
        named = {v.class_name for v in videos} | {v.label for v in videos}
        _check_known("class", wanted.classes, named)
        allowed &= [v.class_name in wanted.classes or v.label in wanted.classes for v in videos]
    if wanted.keys is not None:
        allowed &= [v.key in wanted.keys for v in videos]
    return allowed


def _check_known(what: str, asked: Collection[Any] | None, known: Collection[Any]) -> None:
    strange = [name for name in asked or () if name not in known]
    if strange or (asked is not None and not asked):
        some = ", ".join(str(name) for name in sorted(known, key=str)[:20] if name not in ("", -1))
        found = f"{strange[0]!r} is no {what} of this store" if strange else f"no {what} is named"
        raise UsageError(f"{found}; it has {some or 'none'}")


def _margin(labels: str) -> str:
    return "margins/" + labels.removeprefix("labels/")
