"""Small moving-pattern videos for `vstats extract --demo`: raw Y4M made with integers alone, so equal bytes everywhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vstats.pipeline.durable import disk_refused, write_durably
from vstats.pipeline.records import U8

HEIGHT, WIDTH, FRAMES, FPS = 128, 171, 34, 25
CLIPS_PER_VIDEO = 2
SAVE = ("clips", "flow", "statistics")

Planes = tuple[U8, U8, U8]


def make_videos(folder: Path) -> Path:
    """Write the demo's videos into `folder`, in one folder per class, and return it.

    Raises
    ------
    StoreError
        The disk refused.
    """
    for name, scene in SCENES.items():
        path = folder / f"{name}.y4m"
        content = _y4m([scene(t) for t in range(FRAMES)])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != content:
                write_durably(path, content)
        except OSError as error:
            raise disk_refused(path, error) from error
    return folder


def _y4m(frames: list[Planes]) -> bytes:
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C444\n".encode()
    return head + b"".join(b"FRAME\n" + b"".join(plane.tobytes() for plane in frame) for frame in frames)


def _texture(seed: int, height: int, width: int) -> U8:
    """Return smooth noise from 16 to 235, uint8 [height, width], from a linear congruential generator."""
    state = np.uint64(seed)
    noise = np.empty((height // 4 + 3, width // 4 + 3), np.int64)
    for position in np.ndindex(*noise.shape):
        state = np.uint64((int(state) * 6364136223846793005 + 1442695040888963407) % 2**64)
        noise[position] = int(state) >> 56
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    fy, fx, y0, x0 = y % 4, x % 4, y // 4, x // 4
    total = (
        noise[y0, x0] * (4 - fy) * (4 - fx)
        + noise[y0, x0 + 1] * (4 - fy) * fx
        + noise[y0 + 1, x0] * fy * (4 - fx)
        + noise[y0 + 1, x0 + 1] * fy * fx
    )
    texture: U8 = (16 + total * 219 // (255 * 16)).astype(np.uint8)
    return texture


def _scene(background: U8, blue: int, red: int) -> Planes:
    chroma = np.full_like(background, 128)
    return background.copy(), np.full_like(chroma, blue), np.full_like(chroma, red)


def _paste(planes: Planes, patch: U8, y: int, x: int, blue: int, red: int) -> None:
    window = slice(y, y + patch.shape[0]), slice(x, x + patch.shape[1])
    luma, blues, reds = planes
    luma[window], blues[window], reds[window] = patch, blue, red


_GROUND = _texture(1, HEIGHT, WIDTH) // 3 + 60
_PATCH = _texture(2, 26, 26)


def _moves_right(t: int) -> Planes:
    planes = _scene(_GROUND, 120, 120)
    _paste(planes, _PATCH, 88, 30 + t, 90, 200)
    return planes


def _moves_up(t: int) -> Planes:
    planes = _scene(_GROUND, 150, 110)
    _paste(planes, _PATCH, 60 - t, 110, 200, 90)
    return planes


def _two_squares(t: int) -> Planes:
    planes = _scene(_GROUND, 110, 140)
    _paste(planes, _PATCH[:18, :18], 20, 120 - t // 2, 80, 90)
    _paste(planes, _PATCH, 30 + 2 * t, 50, 180, 180)
    return planes


def _colour_changes(t: int) -> Planes:
    planes = _scene(_GROUND, 128, 128)
    _paste(planes, np.full((28, 28), 40 + 5 * t, np.uint8), 36, 113, 240 - 6 * t, 20 + 6 * t)
    return planes


def _still(t: int) -> Planes:
    return _scene(_GROUND, 140, 100)


SCENES: dict[str, Callable[[int], Planes]] = {
    "moving/square_right": _moves_right,
    "moving/square_up": _moves_up,
    "moving/two_squares": _two_squares,
    "resting/colour_change": _colour_changes,
    "resting/still": _still,
}
"""The demo's videos: path without suffix -> frame number -> Y, U and V planes."""
