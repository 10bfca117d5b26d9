"""Configuration: `ExtractConfig` is whatever changes a stored value, `RunConfig` whatever does not."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from vstats.kernels.contract import TVL1Params
from vstats.kernels.errors import InputError
from vstats.pipeline.masks import MaskPattern

LABEL_VERSION = 1
"""Raised whenever any stored value may differ for the same input and options, so that old and new rows never mix."""

PROFILES = ("sts", "sts-released", "mas-released")
FLOWS = ("tvl1", "opencv-tvl1", "dis", "farneback")
DEVICES = ("auto", "cpu", "cuda")
SAVEABLE = ("clips", "flow", "statistics")


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    """Everything that decides which rows a store has and what stands in them.

    Parameters
    ----------
    profile : {"sts", "sts-released", "mas-released"}
        Definition of the labels.
    clip_length : int
        Frames a clip, T.
    frame_stride : int
        Step between a clip's frames, in decoded frames.
    clips_per_video : int
        Clips a video, the middles of equal parts; 0 when `clip_step` is used.
    clip_step : int
        Frames between the starts of clips; 0 when `clips_per_video` is used.
    crops : str
        "center", "corners", "five" or "random:K".
    flip : {"none", "both"}
        "both" adds the mirrored twin of every row.
    seed : int
        Seed of random crops; the same seed, video and clip give the same crops in any order.
    short : {"skip", "loop"}
        What becomes of a video with fewer frames than a clip: left out (and recorded), or repeated from its start.
    damaged : {"keep", "skip"}
        What becomes of a video of which packets were lost or frames are marked as damaged: labelled from what decodes
        (and counted), or left out (and recorded).
    flow : {"tvl1", "opencv-tvl1", "dis", "farneback"}
        Flow method; the last three are OpenCV's.
    flow_size : str
        Size at which flow is computed: "working", "source", "short:N" (short side at most N pixels) or "HxW".
        "auto" is "working" for `sts` and "short:256" for the released profiles.
    working_height, working_width : int
        Size of the working frame in pixels.
    crop_size : int
        Side of the square crop in pixels.
    save : tuple of str
        What is stored beside labels: "clips", "flow", "statistics".
    tvl1 : TVL1Params
        Parameters of `flow="tvl1"` and `flow="opencv-tvl1"`.
    patterns : tuple of MaskPattern
        Patterns of the user's own, beside the papers'.

    Raises
    ------
    InputError
        A value is not one of those above, or two contradict each other.
    """

    profile: str = "sts"
    clip_length: int = 16
    frame_stride: int = 1
    clips_per_video: int = 1
    clip_step: int = 0
    crops: str = "center"
    flip: str = "none"
    seed: int = 0
    short: str = "skip"
    damaged: str = "keep"
    flow: str = "tvl1"
    flow_size: str = "auto"
    working_height: int = 128
    working_width: int = 171
    crop_size: int = 112
    save: tuple[str, ...] = ()
    tvl1: TVL1Params = field(default_factory=TVL1Params)
    patterns: tuple[MaskPattern, ...] = ()

    def __post_init__(self) -> None:
        _check_choice("profile", self.profile, PROFILES)
        _check_choice("flip", self.flip, ("none", "both"))
        _check_choice("short", self.short, ("skip", "loop"))
        _check_choice("damaged", self.damaged, ("keep", "skip"))
        _check_choice("flow", self.flow, FLOWS)
        for item in self.save:
            _check_choice("save", item, SAVEABLE)
        object.__setattr__(self, "save", tuple(s for s in SAVEABLE if s in self.save))
        for name in ("clip_length", "frame_stride", "working_height", "working_width", "crop_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.clip_length < 2:
            raise InputError(f"clip_length is {self.clip_length}; flow needs at least 2 frames")
        if min(self.clips_per_video, self.clip_step) < 0 or (self.clips_per_video > 0) == (
            self.clip_step > 0
        ):
            raise InputError(
                f"clips_per_video is {self.clips_per_video} and clip_step is {self.clip_step}; "
                "exactly one must be above 0"
            )
        if not re.fullmatch(r"center|corners|five|random:[1-9][0-9]*", self.crops):
            raise InputError(
                f"crops is {self.crops!r}; it must be center, corners, five or random:K with K above 0"
            )
        if self.crop_size > min(self.working_height, self.working_width):
            raise InputError(
                f"crop_size is {self.crop_size}, larger than the working frame of "
                f"{self.working_height}x{self.working_width}; choose a smaller crop or a larger frame"
            )
        # In the order of their names, as JSON gives them back.
        object.__setattr__(self, "patterns", tuple(sorted(self.patterns, key=lambda pattern: pattern.name)))
        for pattern in self.patterns:
            pattern.masks(self.crop_size)  # raises where it was made for crops of another size
        if len({pattern.name for pattern in self.patterns}) != len(self.patterns):
            raise InputError(f"patterns are {[p.name for p in self.patterns]}; each needs a name of its own")
        if self.flow_size == "auto":
            object.__setattr__(self, "flow_size", "working" if self.profile == "sts" else "short:256")
        if not re.fullmatch(r"working|source|short:[1-9][0-9]*|[1-9][0-9]*x[1-9][0-9]*", self.flow_size):
            raise InputError(f"flow_size is {self.flow_size!r}; it must be working, source, short:N or HxW")

    @property
    def working(self) -> tuple[int, int]:
        """Height and width of the working frame in pixels."""
        return self.working_height, self.working_width

    @property
    def frames_needed(self) -> int:
        """Frames that one clip reads: T, and one more where the profile sums T flow fields."""
        return self.clip_length + (1 if self.profile == "sts-released" else 0)

    @property
    def span(self) -> int:
        """Decoded frames from the first to the last that a clip reads, both included."""
        return (self.frames_needed - 1) * self.frame_stride + 1

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value that `from_json` reads back."""
        record = asdict(self)
        record["save"] = list(self.save)
        # Left out where there are none: a configuration without them has the fingerprint that it always had.
        del record["patterns"]
        if self.patterns:
            record["patterns"] = {p.name: {**asdict(p), "sha256": p.sha256} for p in self.patterns}
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "ExtractConfig":
        """Return the configuration that `to_json` wrote."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(record) - known)
        if unknown:
            raise InputError(f"the configuration holds unknown options {unknown}; a newer vstats wrote it")
        patterns = tuple(
            MaskPattern(**{name: value for name, value in p.items() if name != "sha256"})
            for p in record.get("patterns", {}).values()
        )
        tvl1 = TVL1Params(**record["tvl1"])
        return cls(**{**record, "save": tuple(record["save"]), "tvl1": tvl1, "patterns": patterns})

    def fingerprint(self) -> str:
        """Return the sha256 of the configuration and of the definition's version, in hexadecimal."""
        text = canonical_json({"config": self.to_json(), "label_version": LABEL_VERSION})
        return hashlib.sha256(text.encode()).hexdigest()

    def differences(self, other: "ExtractConfig") -> list[str]:
        """Return one ``name: mine -> theirs`` text for every option in which `other` differs."""
        mine, theirs = self._options(), other._options()
        return [
            f"{name}: {mine.get(name)!r} -> {theirs.get(name)!r}"
            for name in {**mine, **theirs}
            if mine.get(name) != theirs.get(name)
        ]

    def _options(self) -> dict[str, Any]:
        """Return every option by its name, a pattern as its digest."""
        patterns = {p.name: f"sha256 {p.sha256}" for p in self.patterns}
        return _flat({**self.to_json(), "patterns": patterns})


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """What a decoding child process may take.

    Parameters
    ----------
    timeout_seconds : float
        Longest wait for the next frame; then the video is given up.
    memory_bytes : int
        Address space of the child.
    """

    timeout_seconds: float = 60.0
    memory_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        if not self.timeout_seconds > 0:
            raise InputError(f"decode timeout is {self.timeout_seconds} s; it must be above 0")
        if self.memory_bytes < 512 << 20:
            raise InputError(f"decode memory is {self.memory_bytes} bytes; a decoder needs 512 MiB at least")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How a run is carried out; nothing here changes a stored value.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        What flow and labels are computed on. "auto" takes a GPU that is there and gives the CPU's bits, else the CPU.
    workers : int or None
        Local worker processes, one thread each; 0 computes in this process; None: one a core, or one a GPU. Not used with
        a scheduler.
    worker_memory_bytes : int
        Memory of a local worker; one that takes more is ended and its task tried again. 0: its share of the machine.
    scheduler, scheduler_file : str
        Address of a running Dask scheduler, such as tcp://HOST:8786, or the file that it wrote; "" for none.
    dashboard : bool
        Serve Dask's dashboard, where its parts are installed, and say its address.
    decode : DecodeLimits
        What a decoder may take; with 0 workers videos are decoded in this process, without limits.
    shard_size : int
        Rows a shard when the store is planned; 0 chooses about 64 shards of 8 to 256 rows.
    overwrite : bool
        Start anew where a store with another configuration stands.
    max_failures : str
        How many failed videos are tolerated, "N" or "P%" of those found; beyond it the run stops. "" for any number, but
        then the run stops where the first 20 all fail in the same way.
    unproven : bool
        Go on where a process gives other bits on known clips than it must; the store says so.
    """

    device: str = "auto"
    workers: int | None = 0
    worker_memory_bytes: int = 0
    scheduler: str = ""
    scheduler_file: str = ""
    dashboard: bool = False
    decode: DecodeLimits = field(default_factory=DecodeLimits)
    shard_size: int = 0
    overwrite: bool = False
    max_failures: str = ""
    unproven: bool = False

    def __post_init__(self) -> None:
        _check_choice("device", self.device, DEVICES)
        if self.workers is not None and self.workers < 0:
            raise InputError(
                f"workers is {self.workers}; it must be 0 (this process) or a number of processes"
            )
        if self.shard_size < 0:
            raise InputError(f"shard_size is {self.shard_size}; it must be 0 (automatic) or a number of rows")
        if self.scheduler and self.scheduler_file:
            raise InputError("a scheduler's address and a scheduler file are given; one is enough")
        if not re.fullmatch(r"|[0-9]+|[0-9]+(\.[0-9]+)?%", self.max_failures):
            raise InputError(
                f"max_failures is {self.max_failures!r}; it must be a number of videos, or a share such as 1%"
            )

    @property
    def remote(self) -> bool:
        """Whether workers of a running scheduler compute."""
        return bool(self.scheduler or self.scheduler_file)

    @property
    def in_this_process(self) -> bool:
        """Whether nothing but this process computes."""
        return self.workers == 0 and not self.remote

    @property
    def decode_limits(self) -> DecodeLimits | None:
        """What decoding children may take; None where this process decodes."""
        return None if self.in_this_process else self.decode

    def tolerated(self, videos: int) -> float:
        """Return how many of `videos` may fail before the run stops."""
        if not self.max_failures:
            return math.inf
        if self.max_failures.endswith("%"):
            return videos * float(self.max_failures[:-1]) / 100
        return int(self.max_failures)


def parse_bytes(text: str) -> int:
    """Return the number of bytes that a text such as "2GiB", "500MB" or "4096" names.

    Raises
    ------
    InputError
        The text is of another form.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?)(i?)B?", text.strip(), re.ASCII | re.IGNORECASE)
    if found is None:
        raise InputError(f"{text!r} is no amount of memory; write it as 2GiB or 500MB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
