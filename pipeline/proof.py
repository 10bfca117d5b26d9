"""Does this process give the bits that every other gives? Known clips are labelled, stage by stage, before a run begins.

Three tiny videos of one scene ship with the package, in ``known/``: one of a lossless codec, and two whose decoders have
arithmetic of their own. Beside them stands the sha256 of what each stage must make of them, on any machine:

======  ======================================================  =======================================
decode  every video, as the decoder gives it                    libavcodec
colour  every video, as RGB                                     libswscale
resize  the lossless one, in other sizes, and grey              our kernels, compiled by Numba
flow    TV-L1 of that, in several sizes                         our kernels, or the GPU's; NumPy
labels  labels, statistics and margins of frames and flow       our kernels, or the GPU's; NumPy
======  ======================================================  =======================================

A stage takes what the one before it gave, so the first that differs is the one to look at. OpenCV's flow depends on the
CPU: it has no known digest, and one store takes the flow of one kind of CPU.

``python -m tests.golden.renew_proof`` makes the videos and the digests.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vstats.kernels import cache as caches
from vstats.pipeline.config import FLOWS, DecodeLimits, ExtractConfig, canonical_json
from vstats.pipeline.decoder import InProcess, decoder_for
from vstats.pipeline.durable import seal, unseal, write_durably
from vstats.pipeline.errors import DecodeError, StoreError, Unproven, faults_on
from vstats.pipeline.provenance import OPENCV, cpu, versions

FOLDER = Path(__file__).parent / "known"
DIGESTS = FOLDER / "digests.json"
CLIPS = {"FFV1": "ffv1.mkv", "MPEG-4": "mpeg4.mp4", "H.264": "h264.mkv"}
"""The known videos, by codec; the first is the one that is labelled."""

FRAMES = 4
"""Frames of each."""

SIZES = {"cpu": ((40, 52), (128, 171)), "cuda": ((40, 52), (128, 171), (256, 340))}
"""Height and width at which flow is computed: the GPU solves a level in one way or another, by its size."""

OPENCV_SIZE = (64, 86)
"""Where OpenCV's TV-L1 does not take long."""

SETTINGS = (
    "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT", "NUMBA_DISABLE_JIT", "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES", "OPENCV_CPU_DISABLE", "OPENCV_IPP", "PYTHONPATH", "LD_PRELOAD",
)  # fmt: skip
"""Environment variables by which the code that computes is chosen."""

WORDS = {"decode": "pixels", "colour": "colours", "resize": "frames", "flow": "flow", "labels": "labels"}
"""What each stage gives."""

Digests = dict[str, str]
"""What was computed -> its sha256, or why it could not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the proof.

    Parameters
    ----------
    name : str
        decode, colour, resize, flow or labels.
    library : str
        What computes it, with versions.
    digests : dict of str to str
        What was computed, such as "MPEG-4" or "128 x 171", and its sha256, or why it could not be computed.
    wrong : tuple of str
        Those of it that are not as known.
    seconds : float
        How long it took; 0 where it is remembered.
    """

    name: str
    library: str
    digests: Digests
    wrong: tuple[str, ...]
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether this process gives the known bits."""
        return not self.wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a process gives on the known clips, in the order of the stages; `remembered` from an earlier process or not."""

    stages: tuple[Stage, ...]
    remembered: bool = False

    @property
    def ok(self) -> bool:
        """Whether every stage gives the known bits."""
        return self.wrong is None

    @property
    def wrong(self) -> Stage | None:
        """The first stage that does not: those after it work on what it gave."""
        return next((stage for stage in self.stages if not stage.ok), None)

    @property
    def unproven(self) -> str:
        """The stage and library that a store names where this process computed it all the same; "" if all is well."""
        return f"{self.wrong.name}: {self.wrong.library}" if self.wrong else ""

    @property
    def opencv_flow(self) -> str:
        """The sha256 of OpenCV's flow; "" where flow is our own."""
        flow = next(stage.digests for stage in self.stages if stage.name == "flow")
        return next((digest for method, digest in flow.items() if method in FLOWS), "")

    def against(self, opencv_flow: str) -> "Proof":
        """Return this proof in a store whose OpenCV flow has this sha256: several with " | " between, or "" for any."""
        if not opencv_flow or self.opencv_flow in opencv_flow.split(" | "):
            return self
        stages = (
            replace(stage, wrong=(*stage.wrong, *(what for what in stage.digests if what in FLOWS)))
            for stage in self.stages
        )
        return replace(self, stages=tuple(stages))

    def check(self) -> None:
        """Raise `Unproven` unless every stage gives the known bits."""
        stage = self.wrong
        if stage and set(stage.wrong) <= set(FLOWS):
            raise Unproven(
                f"flow: OpenCV {versions()[OPENCV]} gives other flow ({stage.wrong[0]}) here than where the store was planned; "
                "it depends on the CPU. Go on on the machine that planned it or on its like, or with --unproven: the store "
                "then says so for ever"
            )
        if stage:
            raise Unproven(
                f"{stage.name}: {stage.library} gives other {WORDS[stage.name]} on known clips than it must "
                f"({', '.join(_named(what, stage.digests[what]) for what in stage.wrong)}), and labels would not be those "
                f"of other machines. {ADVICE}"
            )


ADVICE = "Install the versions that the constraints files pin, or go on with --unproven: the store then says so for ever"


def _named(what: str, digest: str) -> str:
    return f"{what}: {digest}" if " " in digest else what


@cache
def proven(backend: str = "cpu", limits: DecodeLimits | None = None, flow: str = "tvl1") -> Proof:
    """Return the proof of this process: its own, or that of an earlier one with the same versions on the same CPU.

    See `prove`. A GPU's proof is not remembered from process to process: it may have come out of order since.
    """
    if backend != "cpu":
        return prove(backend, limits, flow)
    folder = caches.folder()
    path = folder / f"proof-{_state(flow)}.json" if folder else None
    found = _recalled(path, flow) if path else None
    if found is None:
        found = prove(backend, limits, flow)
        if path and found.ok:
            with suppress(StoreError):  # a full disk: the next process computes again
                write_durably(path, seal({stage.name: stage.digests for stage in found.stages}))
    return found


def prove(backend: str = "cpu", limits: DecodeLimits | None = None, flow: str = "tvl1") -> Proof:
    """Label the known clips in this process and compare every stage with what is known.

    Parameters
    ----------
    backend : {"cpu", "cuda"}
        Who computes flow and labels.
    limits : DecodeLimits or None
        What a decoding child may take; None decodes in this process.
    flow : {"tvl1", "opencv-tvl1", "dis", "farneback"}
        OpenCV's methods are computed beside TV-L1 and compared with nothing.

    Raises
    ------
    Unproven
        The lossless clip cannot be decoded in this process, so that nothing more can be said.
    BackendUnavailable, DeviceLost
        There is no such device, or it fails.
    """
    return Proof(stages=(*_frames(limits), *arithmetic(backend, flow)))


def _frames(limits: DecodeLimits | None) -> tuple[Stage, ...]:
    decoder = decoder_for(limits)
    began = time.perf_counter()
    planes = {what: _tried(decoder.planes_sha256, file) for what, file in CLIPS.items()}
    decoded = time.perf_counter()
    colours = {
        what: _tried(lambda path: _digest(rgb for _, rgb in decoder.frames(path, range(FRAMES))), file)
        for what, file in CLIPS.items()
    }
    done = time.perf_counter()
    return _stage("decode", planes, decoded - began), _stage("colour", colours, done - decoded)


def _tried(give: Callable[[str], str], file: str) -> str:
    path = str(FOLDER / file)
    try:
        with faults_on(path):
            return give(path)
    except DecodeError as error:
        return str(error).removeprefix(f"{path}: ")


@cache
def arithmetic(backend: str, flow: str) -> tuple[Stage, ...]:
    """Return the stages that compute, on what this process decodes of the lossless clip; see `prove`."""
    from vstats.kernels import ops
    from vstats.kernels.backend import load
    from vstats.kernels.patterns import STANDARD
    from vstats.pipeline import labels, motion

    load(backend)  # before anything is compiled for a device that is not there
    config, released = ExtractConfig(), ExtractConfig(profile="sts-released")
    began = time.perf_counter()
    path = str(FOLDER / CLIPS["FFV1"])
    try:
        with faults_on(path):
            frames = [rgb for _, rgb in InProcess().frames(path, range(FRAMES))]
    except DecodeError as error:
        raise Unproven(
            f"decode: {_library('decode')} cannot decode a known clip ({error}). {ADVICE}"
        ) from error

    def resized(size: tuple[int, int], like: ExtractConfig) -> Any:
        return np.stack([motion.resize_frame(frame, size, like) for frame in frames])

    working = resized(config.working, config)
    grays = {size: ops.rgb_to_gray(resized(size, released)) for size in (*SIZES[backend], OPENCV_SIZE)}
    sizes = {
        "by area": _digest([working, resized((17, 19), config)]),
        "bilinearly": _digest([resized(config.working, released), resized((17, 19), released)]),
        "grey": _digest([grays[OPENCV_SIZE]]),
    }
    resize = _stage("resize", sizes, time.perf_counter() - began)

    began = time.perf_counter()
    flows = {}
    found = {}
    for size in SIZES[backend]:
        clips = [grays[size][:3], grays[size][:2]]  # a GPU takes many at once
        flows[size], beside = motion.flow_fields(clips, config, backend)
        found["{} x {}".format(*size)] = _digest(_given([flows[size], beside], backend))
    if flow != "tvl1":
        found[flow] = _digest([motion.OPENCV_METHODS[flow](grays[OPENCV_SIZE][:2], config)])
    moved = _stage("flow", found, time.perf_counter() - began, backend, flow)

    began = time.perf_counter()
    (field,) = _given([flows[config.working]], backend)
    labelled = {}
    for profile in (config, released):
        rows = labels.LabelConfig(
            profile=profile.profile, families=("motion", "appearance"), patterns=STANDARD, statistics=True
        )
        arrays, _ = labels.label_rows(
            working[np.arange(rows.clip_length) % FRAMES], field[np.arange(rows.flows_needed) % len(field)],
            [(8, 29, False), (0, 59, True)], rows, backend,
        )  # fmt: skip
        labelled[profile.profile] = _digest(arrays[name] for name in sorted(arrays))
    return resize, moved, _stage("labels", labelled, time.perf_counter() - began, backend)


def _given(arrays: Iterable[Any], backend: str) -> list[Any]:
    from vstats.kernels.backend import load

    return [load(backend).give(array) for array in arrays]


def _digest(arrays: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


# ---------------------------------------------------------------------------------------------------- known


def _stage(
    name: str, digests: Digests, seconds: float = 0.0, backend: str = "cpu", flow: str = "tvl1"
) -> Stage:
    known = _known().get(name, {})
    wrong = tuple(what for what, digest in digests.items() if what not in FLOWS and known.get(what) != digest)
    return Stage(
        name=name, library=_library(name, backend, flow), digests=digests, wrong=wrong, seconds=seconds
    )


@cache
def _known() -> dict[str, Digests]:
    known: dict[str, Digests] = json.loads(DIGESTS.read_bytes())
    return known


def _library(name: str, backend: str = "cpu", flow: str = "tvl1") -> str:
    have = versions()
    if name in ("decode", "colour"):
        library = {"decode": "libavcodec", "colour": "libswscale"}[name]
        return f"{library} {have[library]} (PyAV {have['av']})"
    if backend != "cpu" and name != "resize":
        from vstats.kernels.backend import load

        who = load(backend)
        return (
            f"{who.name} ({', '.join(f'{library} {version}' for library, version in who.versions.items())})"
        )
    ours = f"vstats {have['vstats']} with NumPy {have['numpy']} and Numba {have['numba']}"
    opencv = f" and OpenCV {have[OPENCV]}" if flow != "tvl1" else ""
    return ours + opencv


# ---------------------------------------------------------------------------------------------------- memory


def _state(flow: str) -> str:
    """Return what stands for all that decides the bits here: versions, libraries, sources, processor, settings."""
    what = {
        "versions": versions(),
        "cpu": cpu(),
        "libraries": _libraries(),
        "sources": _sources(),
        "at start": _run_at_start(),
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "flow": flow,
    }
    return hashlib.sha256(canonical_json(what).encode()).hexdigest()[:32]


def _libraries() -> list[tuple[str, int, int]]:
    """Return path, size and time of FFmpeg's and NumPy's libraries: one of the same version may be built otherwise."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text(errors="replace").splitlines() if maps.exists() else []
    # OpenCV's wheels bring an FFmpeg of their own, which decodes nothing here.
    paths = {Path(line.split(maxsplit=5)[5]) for line in lines if "/" in line and "opencv" not in line}
    found = []
    for path in sorted(
        path for path in paths if path.name.startswith(("libav", "libsw", "_multiarray_umath"))
    ):
        with suppress(OSError):
            facts = path.stat()
            found.append((str(path), facts.st_size, facts.st_mtime_ns))
    return found


def _sources() -> str:
    found = hashlib.sha256()
    for room in (Path(__file__).parent, Path(caches.__file__).parent):
        for path in sorted(p for p in room.rglob("*") if p.is_file() and p.suffix != ".pyc"):
            found.update(f"\0{path.relative_to(room)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def _run_at_start() -> dict[str, str]:
    """Return the sha256 of the files that Python ran before anything else: they may have changed any library."""
    found = {}
    for name in ("sitecustomize", "usercustomize"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file:
            with suppress(OSError):
                found[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return found


def _recalled(path: Path, flow: str) -> Proof | None:
    """Return the proof that an earlier process kept, if it is whole and all is well in it."""
    try:
        kept: Mapping[str, Any] = unseal(path.read_bytes(), str(path))
        stages = tuple(_stage(name, kept[name], flow=flow if name == "flow" else "tvl1") for name in WORDS)
    except (OSError, StoreError, KeyError):
        return None
    found = Proof(stages=stages, remembered=True)
    return found if found.ok else None
