"""Which backend computes: the one that was asked for, or the best that is here and proves that it has the right bits."""

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vstats.kernels import backend
from vstats.kernels.contract import TVL1Params
from vstats.kernels.errors import BackendUnavailable, DeviceLost, NoDevice
from vstats.kernels.patterns import STANDARD, get, layout

DEVICES = ("auto", "cpu", "cuda")
"""What a user may ask for."""

KNOWN_DIGEST = "597ce05537f7c271bac51923d1f5983b9ef88afabdb79f1b0efbda66bdf6b86c"
"""What `digest` returns of every backend that has the right bits."""


@lru_cache(maxsize=8)
def choose(device: str) -> tuple[str, str]:
    """Return the backend for a device that a user names, and why it is not the GPU.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "auto" takes a GPU that is here and passes the test of its bits, else the CPU.

    Returns
    -------
    name : str
        "cpu" or "cuda".
    reason : str
        Why "auto" fell back on the CPU although there is a GPU; "" otherwise.

    Raises
    ------
    BackendUnavailable
        "cuda" was asked for, and CuPy, the driver or a device is missing, or the device gives other bits.
    """
    if device == "cpu":
        return "cpu", ""
    try:
        found = digest("cuda")
    except (BackendUnavailable, DeviceLost) as error:
        if device == "auto":
            return "cpu", "" if isinstance(error, NoDevice) else str(error)
        if isinstance(error, BackendUnavailable):
            raise
        raise BackendUnavailable(f"the GPU does not pass its test: {error}") from error
    if found == KNOWN_DIGEST:
        return "cuda", ""
    reason = (
        f"{backend.load('cuda').name} gives other bits than the CPU on a known clip ({found[:16]}, not "
        f"{KNOWN_DIGEST[:16]}); labels would differ. Its driver or memory may be at fault: compute with --device cpu"
    )
    if device == "auto":
        return "cpu", reason
    raise BackendUnavailable(reason)


def digest(name: str) -> str:
    """Return the sha256 of a backend's flow and statistics on known clips, small and large."""
    who = backend.load(name)
    found = hashlib.sha256()
    # The working frame, the papers' larger one and one that fits a single block: every way that a level is solved.
    for height, width in ((128, 171), (256, 340), (40, 48)):
        gray, rgb = _clip(height, width)
        flow = who.tvl1([gray, gray[:2]], TVL1Params(warps=2, outer_iterations=2))
        size = 32
        blocks = layout(tuple(get(pattern) for pattern in STANDARD), size)
        summed, frames = who.boundaries(flow[0], np.array([[4, 7]], np.int64), size, 2)
        for array in (
            *(who.give(native) for native in (*flow, who.quantised(flow[0]), summed)),
            *(frames, who.orientations(summed, 4, 7, blocks), *who.colours(who.take(rgb), 4, 7, blocks)),
        ):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _clip(height: int, width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Three frames of a pattern that slides and turns, in whole numbers: grey [T, H, W] and colour [T, H, W, 3]."""
    t, y, x = np.indices((3, height, width))
    x, y = 3 * x - 4 * t * (1 + y // 32), 3 * y + 2 * t * (1 + x // 48)
    waves = (x * x + 5 * y * y) // 97 % 256 + (x * y) // 61 % 128
    gray = (np.abs(waves - 192) * 255 // 192).astype(np.uint8)
    return gray, np.stack([gray, gray[::-1], 255 - gray], axis=-1)
