"""The CUDA sources: where they lie, how they are compiled, and the hash that names them."""

import hashlib
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent

KERNELS = {
    "pyramid.cu": ("widen", "resize_linear", "gradients", "interleave", "separate", "scale_flow"),
    "solve.cu": ("solve_shared", "solve_global"),
    "boundary.cu": ("find_not_finite", "quantise", "boundaries"),
    "blocks.cu": ("orientations",),
    "colour.cu": ("colours",),
}
"""The kernels of each source file."""

TEAMS = {"solve.cu": 8}
"""Sources that are compiled for teams of 1 to this many blocks; the others know no teams."""

# One IEEE operation at a time: nothing fused, nothing approximated, nothing flushed to zero.
EXACT = ("--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")


def file_of(kernel: str) -> str:
    """Return the name of the source file that holds a kernel."""
    return next(name for name, kernels in KERNELS.items() if kernel in kernels)


def options(team: int = 1) -> tuple[str, ...]:
    """Return the compiler's options for a team of this many blocks; the same for NVRTC and nvcc."""
    return (*EXACT, f"-I{FOLDER}", f"-DTEAM={team}", f"-DVSTATS_SOURCE={source_hash()}")


@lru_cache(maxsize=1)
def source_hash() -> str:
    """Return 16 hexadecimal digits of the sha256 of all sources, which compiled kernels and measurements are known by."""
    found = hashlib.sha256()
    for path in sorted((*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh"))):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]
