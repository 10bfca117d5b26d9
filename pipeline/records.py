"""Every record that passes between stages: frozen, keyword-only, and checked when made."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vstats.kernels.errors import InputError

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One video that was asked for.

    Parameters
    ----------
    key : str
        The video's path relative to the root, with ``/`` between folders: its name in the store.
    path : str
        Where the file is on this machine.
    label : int
        Class index from 0, or -1 where the input states none.
    class_name : str
        Name of the class, or "" where the input states none.
    start_frames : tuple of int or None
        Explicit clips, as first frames counted from 0; None: the configuration chooses.
    """

    key: str
    path: str
    label: int = -1
    class_name: str = ""
    start_frames: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.key:
            raise InputError("ManifestRow.key is empty; it must be the video's path relative to the root")
        if self.label < -1:
            raise InputError(
                f"ManifestRow.label is {self.label} for {self.key!r}; it must be -1 (none) or a class index"
            )
        if self.start_frames is not None and any(s < 0 for s in self.start_frames):
            raise InputError(
                f"ManifestRow.start_frames of {self.key!r} holds a negative frame: {self.start_frames}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoProbe:
    """What one pass over a whole video found.

    Parameters
    ----------
    frames : int
        Frames that decode, in decode order.
    lost_packets : int
        Packets that the decoder refused; the frames around them are used.
    corrupt_frames : int
        Frames that the decoder returned but marked as damaged; they are used and counted.
    header_frames : int
        What the container claims (0: nothing).
    width, height : int
        Size as displayed, rotation applied, in pixels.
    rotation : int
        Clockwise quarter turns applied for display, in degrees: 0, 90, 180 or 270.
    codec, pixel_format : str
        As FFmpeg names them.
    fps : float
        Average frame rate that the container states, or 0.
    size_bytes, mtime_ns : int
        The file's size and modification time when it was read.
    sha256 : str
        Of the file's bytes, hexadecimal.
    """

    frames: int
    lost_packets: int
    corrupt_frames: int
    header_frames: int
    width: int
    height: int
    rotation: int
    codec: str
    pixel_format: str
    fps: float
    size_bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One row of a store: a clip, a crop and a flip of a video.

    `video` is the position of its video in the plan; `start_frame` counts decoded frames from 0; `crop_y` and `crop_x`
    are pixels of the working frame.
    """

    video: int
    start_frame: int
    stride: int
    crop_y: int
    crop_x: int
    flip: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A video or a row without labels, and why.

    Parameters
    ----------
    key : str
        The video.
    rows : tuple of int
        Rows of the store concerned; empty when the video has none.
    status : str
        "failed", "skipped" (the configuration says so: too short) or "missing" (listed, but not on disk).
    stage : str
        find, open, decode, plan, flow or labels.
    error : str
        The kind of error.
    message : str
        What was found, what was wanted, what to do.
    attempts : int
        How often it was tried.
    """

    key: str
    status: str
    stage: str
    error: str
    message: str
    rows: tuple[int, ...] = field(default=())
    attempts: int = 1


ArrayKind = Literal["index", "label", "statistic", "margin", "pixels"]
"""What an array of a store is: planned, or computed for its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRecord:
    """One label: an entry along the last axis of a label array.

    Parameters
    ----------
    name : str
        Its name in the array: "u_loc".
    meaning : str
        What it says, in words.
    classes : int
        Values that it can take, 1 to `classes`; 0 is undefined.
    statistic : str
        The array that it is the winner of, whether the store keeps it or not.
    smallest : bool
        Whether the smallest wins.
    within : int or None
        Position of the label that says in which block to look.
    """

    name: str
    meaning: str
    classes: int
    statistic: str
    smallest: bool
    within: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayRecord:
    """One array of a store: all that a reader needs to know of it.

    Parameters
    ----------
    name : str
        Its path in labels.zarr: "labels/motion/pattern_1".
    kind : ArrayKind
        What it is. Every row of "pixels" is a chunk of its own, so that a reader fetches just that row; other arrays have
        one compressed chunk per shard.
    shape : tuple of int
        Of one row.
    dtype : str
        NumPy's name of it.
    fill : float
        What stands in rows that were never computed.
    labels : tuple of LabelRecord
        The labels along the last axis, of kind "label"; those whose margins stand there, of kind "margin".
    meaning : str
        What a row holds, in words.
    """

    name: str
    kind: ArrayKind
    shape: tuple[int, ...]
    dtype: str
    fill: float = 0
    labels: tuple[LabelRecord, ...] = ()
    meaning: str

    @property
    def group(self) -> str:
        """Family and pattern of a label, statistic or margin: "motion/pattern_1"; "" for the rest."""
        return "/".join(self.name.split("/")[1:3]) if self.kind in ("label", "statistic", "margin") else ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value that `from_json` reads back; NaN is written as Zarr writes it."""
        fill = "NaN" if math.isnan(self.fill) else self.fill
        return {
            **asdict(self),
            "shape": list(self.shape),
            "fill": fill,
            "labels": [asdict(c) for c in self.labels],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "ArrayRecord":
        """Return the array that `to_json` wrote."""
        fill = math.nan if record["fill"] == "NaN" else record["fill"]
        labels = tuple(LabelRecord(**label) for label in record["labels"])
        return cls(**{**record, "shape": tuple(record["shape"]), "fill": fill, "labels": labels})


def without_path(error: Exception, path: str) -> str:
    """Return the error's message without the path it begins with: the record's key names the video on any machine."""
    return str(error).removeprefix(path).removeprefix(": ")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRecord:
    """One line of videos.parquet: a video that was asked for, what it is, and what became of it.

    `status` is "planned" until its rows are computed, then "ok" (every row labelled), "partial" or "failed"; "skipped"
    (too short) and "missing" (not on disk) videos have no rows. `error` says why, in words; "" where all is well.
    `start_frames` are the clips that the input lists, as numbers between spaces; "" where the configuration chooses.
    """

    key: str
    label: int = -1
    class_name: str = ""
    start_frames: str = ""
    status: str
    rows: int = 0
    error: str = ""
    size_bytes: int = 0
    sha256: str = ""
    frames: int = 0
    header_frames: int = 0
    lost_packets: int = 0
    corrupt_frames: int = 0
    width: int = 0
    height: int = 0
    rotation: int = 0
    fps: float = 0.0
    codec: str = ""
    pixel_format: str = ""
    mtime_ns: int = 0
