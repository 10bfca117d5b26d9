"""Who computed a label: versions of everything that touched it, and the machine."""

import functools
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "vstats",
    "numpy",
    "numba",
    "llvmlite",
    "av",
    "opencv-contrib-python-headless",
    "zarr",
    "dask",
    "pyarrow",
)


@functools.cache
def versions() -> dict[str, str]:
    """Return name -> version of Python, of the packages that labels or stores pass through, and of FFmpeg."""
    from vstats.pipeline.decode import ffmpeg_versions

    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found | ffmpeg_versions()


@functools.cache
def machine() -> dict[str, str]:
    """Return what computed: host, processor, cores that this process may use, operating system."""
    return {
        "host": platform.node(),
        "cpu": _cpu_name(),
        "cores": str(usable_cores()),
        "system": platform.platform(),
        "numba_cpu_name": os.environ.get("NUMBA_CPU_NAME", "host"),
    }


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
