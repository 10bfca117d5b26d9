"""Small real videos, made on the spot: what a test needs to know of a video, it decides itself.

Scenes are drawn in the working frame's own pixels (128 x 171) with NumPy alone; `write_video` encodes them. FFV1 in
Matroska as ``bgr0`` is lossless RGB: what is drawn is what decodes. Everything is the same on every run.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

U8 = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 128, 171
CROP, CELL = 112, 28
CROP_Y, CROP_X = (HEIGHT - CROP) // 2, (WIDTH - CROP) // 2
STEPS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0), "still": (0, 0)}

_PIXEL_FORMATS = {"ffv1": "bgr0", "rawvideo": "bgr24", "mjpeg": "yuvj420p", "png": "rgb24", "qtrle": "rgb24"}


def write_video(
    path: Path | str,
    frames: Iterable[U8],
    codec: str = "ffv1",
    *,
    fps: int | Fraction = 25,
    pixel_format: str | None = None,
    options: Mapping[str, str] | None = None,
    display: tuple[float, bool, bool] | None = None,
    colour: tuple[int, int] | None = None,
    tag: str | None = None,
    container: str | None = None,
) -> Path:
    """Encode frames, uint8 [T, H, W, 3] or a sequence of [H, W, 3], and return the path.

    The container follows the file's suffix unless `container` names one. `display` is a counter-clockwise angle in
    degrees, then mirrored left-right and top-bottom; `colour` is the matrix and range to encode with and to state
    (numbers of ``AVColorSpace`` and ``AVColorRange``); `tag` is the codec's four letters: "XVID", say.
    """
    images = iter(frames)
    first = next(images)
    with av.open(str(path), "w", format=container, options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream(codec, rate=fps, options=dict(options or {}))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pixel_format or _PIXEL_FORMATS.get(codec, "yuv420p")
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT: no encoder version in the stream
        if tag:
            stream.codec_context.codec_tag = tag
        if display:
            stream.set_display_rotation(display[0], hflip=display[1], vflip=display[2])
        if colour:
            stream.codec_context.colorspace, stream.codec_context.color_range = colour
        for index, image in enumerate([first, *images]):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if colour:
                frame = frame.reformat(
                    format=stream.pix_fmt, dst_colorspace=colour[0], dst_color_range=colour[1]
                )
            frame.pts = index
            frame.time_base = 1 / Fraction(fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return Path(path)


def truncate(path: Path, to: Path, keep: float) -> Path:
    """Copy the first `keep` (0..1) of a file's bytes."""
    data = path.read_bytes()
    to.write_bytes(data[: int(len(data) * keep)])
    return to


def damage(
    path: Path, to: Path, *, count: int = 50, start: float = 0.2, end: float = 1.0, seed: int = 0
) -> Path:
    """Copy a file with `count` bytes overwritten, spread at random over the part from `start` to `end` (0..1)."""
    data = bytearray(path.read_bytes())
    random = _random(seed)
    for at in random.integers(int(len(data) * start), int(len(data) * end), count):
        data[at] = random.integers(256)
    to.write_bytes(data)
    return to


def cell_corner(cell: int) -> tuple[int, int]:
    """Return (y, x) of the upper left pixel, in the working frame, of cell 1..16 of the centre crop."""
    row, column = divmod(cell - 1, 4)
    return CROP_Y + row * CELL, CROP_X + column * CELL


def texture(height: int, width: int, seed: int = 0, *, low: int = 0, high: int = 256) -> U8:
    """Return random colours, uint8 [height, width, 3], smooth over a few pixels so that flow has something to hold."""
    noise = _random(seed).integers(0, 256, (height + 4, width + 4, 3)).astype(np.float64)
    for axis in (0, 1):  # a binomial blur of five taps
        n = noise.shape[axis] - 4
        parts = [np.take(noise, range(k, k + n), axis) for k in range(5)]
        noise = (parts[0] + 4 * parts[1] + 6 * parts[2] + 4 * parts[3] + parts[4]) / 16
    stretched = (noise - noise.min()) / (noise.max() - noise.min())
    colours: U8 = (low + stretched * (high - 1 - low)).astype(np.uint8)
    return colours


def still(frames: int = 16, *, seed: int = 0) -> U8:
    """A textured frame that does not change."""
    return np.repeat(texture(HEIGHT, WIDTH, seed)[None], frames, axis=0)


def moving_square(
    direction: str, cell: int, frames: int = 16, *, size: int = 12, flat: bool = False, seed: int = 0
) -> U8:
    """A textured square that moves one pixel a frame within one cell of the centre crop; all else is still.

    Parameters
    ----------
    direction : str
        right, left, down, up or still.
    cell : int
        1..16, row by row.
    frames : int
        At most ``28 - size + 1``: then the square would leave its cell.
    size : int
        Side of the square, in pixels.
    flat : bool
        Background of one gray, or textured.

    Returns
    -------
    uint8 [frames, 128, 171, 3]
    """
    room = CELL - size
    if frames - 1 > room:
        raise ValueError(f"{frames} frames of one pixel each leave a cell of {CELL} with a square of {size}")
    dy, dx = STEPS[direction]
    clip = still(frames, seed=seed) // 4 + 96  # low contrast, so that the square stands out
    if flat:
        clip[:] = 128
    square = texture(size, size, seed + 1)
    y, x = cell_corner(cell)
    for t in range(frames):
        along = (room - (frames - 1)) // 2 + t  # centred in the cell at half time
        top = y + (along if dy > 0 else room - along if dy < 0 else room // 2)
        left = x + (along if dx > 0 else room - along if dx < 0 else room // 2)
        clip[t, top : top + size, left : left + size] = square
    return clip


def rotating(frames: int = 16, *, degrees: float = 4.0, radius: float = 40.0, seed: int = 0) -> U8:
    """A textured disc about the centre of the crop that turns clockwise by `degrees` a frame; all else is still."""
    background = still(1, seed=seed)[0] // 4 + 96
    side = 2 * int(radius) + 9
    disc = texture(side, side, seed + 1).astype(np.float64)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    y -= CROP_Y + CROP / 2 - 0.5
    x -= CROP_X + CROP / 2 - 0.5
    inside = np.hypot(y, x) <= radius
    clip = np.repeat(background[None], frames, axis=0)
    for t in range(frames):
        turn = np.deg2rad(t * degrees)  # y points down: a positive angle looks clockwise
        source_y = (np.cos(turn) * y - np.sin(turn) * x)[inside] + side / 2
        source_x = (np.sin(turn) * y + np.cos(turn) * x)[inside] + side / 2
        clip[t][inside] = _bilinear(disc, source_y, source_x)
    return clip


def colour_change(
    cell: int, frames: int = 16, *, colours: Sequence[tuple[int, int, int]] = (), seed: int = 0
) -> U8:
    """A still scene with one cell of the centre crop that takes another plain colour in every frame."""
    cycle = colours or ((230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 20), (20, 230, 230))
    clip = still(frames, seed=seed)
    y, x = cell_corner(cell)
    for t in range(frames):
        clip[t, y : y + CELL, x : x + CELL] = cycle[t % len(cycle)]
    return clip


def enlarge(clip: U8, factor: int) -> U8:
    """Repeat every pixel `factor` times both ways: averaging over areas gives the clip back exactly."""
    return clip.repeat(factor, axis=1).repeat(factor, axis=2)


def _bilinear(image: npt.NDArray[np.float64], y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> U8:
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = (y - y0)[:, None], (x - x0)[:, None]
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    bottom = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    colours: U8 = np.rint(top * (1 - fy) + bottom * fy).astype(np.uint8)
    return colours


def _random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
