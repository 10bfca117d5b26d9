"""Who computed a label: versions of everything that touched it, and the machine."""

import functools
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OPENCV = "opencv-contrib-python-headless"
PACKAGES = (
    "vstats",
    "numpy",
    "numba",
    "llvmlite",
    "av",
    OPENCV,
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


@functools.cache
def cpu() -> dict[str, str]:
    """Return what this machine says of its first processor, such as "model name" and "flags"; empty if nothing."""
    facts: dict[str, str] = {"machine": platform.machine()}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        with info.open(errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if not name.strip():
                    break
                if name.strip() not in ("cpu MHz", "bogomips", "apicid", "initial apicid", "processor"):
                    facts[name.strip()] = value.strip()
    return facts


def _cpu_name() -> str:
    return cpu().get("model name", "") or platform.processor() or platform.machine()
