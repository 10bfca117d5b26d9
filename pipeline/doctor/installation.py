"""What is installed: Python, packages, FFmpeg's decoders, compiled kernels."""

import platform
import sys
import tempfile
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from vstats.kernels import cache
from vstats.kernels.cpu import jit
from vstats.pipeline.decode import ffmpeg_versions, has_decoder
from vstats.pipeline.doctor.case import Answer, Case, fail, ok, warn
from vstats.pipeline.proof import ADVICE, prove

PYTHON = "Programming Language :: Python :: "
"""What a tested version follows in a package's metadata."""

EXTRAS = ("", "cloud", "torch", "cuda")
"""Whose packages are held to their bounds: everybody's, and where they are installed those of these extras."""

COMMON = ("h264", "hevc", "vp8", "vp9", "libdav1d", "mpeg4")
OTHERS = (
    *(
        "mpeg1video",
        "mpeg2video",
        "mjpeg",
        "msmpeg4v2",
        "msmpeg4v3",
        "wmv1",
        "wmv2",
        "wmv3",
        "vc1",
        "h263",
        "flv",
    ),
    *("prores", "dnxhd", "ffv1", "rawvideo", "theora", "dvvideo", "huffyuv"),
)
"""FFmpeg's decoders of the codecs that most videos have, and of those that data sets have too."""


def python(case: Case) -> Answer:
    """Compare with what vstats was tested with, as its metadata says."""
    version = platform.python_version()
    facts = metadata.metadata("vstats")
    wanted = facts["Requires-Python"]
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        return fail(f"{version}; vstats needs {wanted}", f"make an environment with Python {wanted}")
    classifiers = [
        text.removeprefix(PYTHON) for text in facts.get_all("Classifier", []) if text.startswith(PYTHON)
    ]
    if classifiers and version.rpartition(".")[0] not in classifiers:
        return warn(
            f"{version}; tested were {', '.join(classifiers)}",
            "look at the proof below, or take one of those",
        )
    return ok(f"{version} in {sys.prefix}")


def packages(case: Case) -> Answer:
    """Compare with the bounds of what was tested, which an installed vstats knows."""
    installed, outside = [], []
    for wanted in map(Requirement, metadata.requires("vstats") or []):
        needing = [
            extra for extra in EXTRAS if wanted.marker is None or wanted.marker.evaluate({"extra": extra})
        ]
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            version = ""
        if not needing or (not version and "" not in needing):
            continue
        installed.append(wanted.name)
        if not version or not wanted.specifier.contains(version, prereleases=True):
            outside.append((f"{wanted.name} is {version or 'missing'}", wanted))
    if outside:
        bounds = " ".join(f"'{wanted.name}{wanted.specifier}'" for _, wanted in outside)
        return fail(
            f"other versions than were tested: {', '.join(found for found, _ in outside)}",
            f"pip install {bounds}",
        )
    return ok(
        f"vstats {metadata.version('vstats')}, and all {len(installed)} packages that it uses are as tested"
    )


def decoders(case: Case) -> Answer:
    """Look for the decoders that videos of data sets need."""
    version = f"libavcodec {ffmpeg_versions()['libavcodec']}"
    missing = [name for name in (*COMMON, *OTHERS) if not has_decoder(name)]
    if not missing:
        return ok(f"{version} has all {len(COMMON) + len(OTHERS)} that were looked for")
    found = f"{version} lacks {', '.join(missing)}: such videos fail"
    advice = "pip install --force-reinstall --only-binary av av, or convert such videos"
    return fail(found, advice) if set(missing) & set(COMMON) else warn(found, advice)


def proven(case: Case) -> Answer:
    """Compute known clips, and compare every stage with what it must give on any machine."""
    found = prove(limits=case.run.decode_limits, flow=case.config.flow)
    if found.ok:
        names = ", ".join(stage.name for stage in found.stages)
        return ok(f"{names}: the known bits, within {sum(stage.seconds for stage in found.stages):.2f} s")
    wrong = [f"{stage.name} ({stage.library})" for stage in found.stages if not stage.ok]
    return fail(f"other bits on known clips than on any machine: {', '.join(wrong)}", ADVICE)


def kernels(case: Case) -> Answer:
    """See where compiled kernels are kept."""
    folder = cache.folder()
    advice = "set VSTATS_CACHE_DIR to a folder of your own, with room"
    if folder is None:
        return warn(
            "nowhere to keep compiled kernels: every process compiles them, for half a minute", advice
        )
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
    except OSError as error:
        return warn(f"{folder}: {error.strerror}; every process compiles kernels, for half a minute", advice)
    others = [path for path in folder.glob("kernels-*") if path != jit.compiled_folder()]
    stale = f"; {len(others)} folders there are of other versions, and may be deleted" if others else ""
    return ok(f"{'compiled' if jit.is_compiled() else 'compiled by the first run'}, kept in {folder}{stale}")
