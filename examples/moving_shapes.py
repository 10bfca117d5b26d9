"""Videos whose motion is known: a textured shape moves in one direction over a background that moves in another.

The folder of a video is the direction of its shape, one of the four diagonals. Where it is, how fast it goes and when it goes
fastest, its form, size and texture, and what the background does are drawn at random, the same for the same seed.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH, FRAMES = 64, 64, 16
DIRECTIONS = {"right-down": (1, 1), "left-down": (1, -1), "right-up": (-1, 1), "left-up": (-1, -1)}
"""Rows down and columns to the right that a shape moves at once."""

Planes = npt.NDArray[np.float32]


def make_videos(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Write `count` videos, raw 4:4:4 in YUV4MPEG2, and return their names relative to the folder."""
    names = []
    for number in range(count):
        direction = list(DIRECTIONS)[number % len(DIRECTIONS)]
        name = f"{direction}/{seed}_{number:05d}.y4m"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.Generator(np.random.PCG64([seed, number]))
        head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C444\n".encode()
        frames = draw(random, DIRECTIONS[direction])
        path.write_bytes(head + b"".join(b"FRAME\n" + frame.tobytes() for frame in frames))
        names.append(name)
    return names


def draw(random: np.random.Generator, direction: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the Y, U and V planes of a video, uint8 [FRAMES, 3, HEIGHT, WIDTH]."""
    size = int(random.integers(18, 29))
    y, x = np.mgrid[0:size, 0:size] - (size - 1) / 2
    disc = np.hypot(y, x) <= size / 2
    shape = disc if random.random() < 0.5 else np.ones((size, size), bool)
    patch = texture(random, size, size, 1.0)
    ground = texture(random, HEIGHT + 40, WIDTH + 40, 0.5)
    # Pixels from frame to frame: an even pace, and a jump about one moment.
    steps = np.arange(FRAMES - 1)
    jump = np.exp(-(((steps - random.integers(FRAMES - 1)) / 1.5) ** 2))
    speed = random.uniform(0.1, 0.2) + random.uniform(1.2, 2.0) * jump
    way = np.concatenate([[0.0], np.cumsum(speed)])
    angle, slow = random.uniform(0, 2 * np.pi), float(random.uniform(0.0, 0.5))
    # The shape's way is centred on a place that is drawn over the whole frame, every cell alike.
    centre = random.uniform([size / 2, size / 2], [HEIGHT - size / 2, WIDTH - size / 2])
    frames = np.empty((FRAMES, 3, HEIGHT, WIDTH), np.uint8)
    for t in range(FRAMES):
        gone = way[t] - way[-1] / 2
        frame = window(ground, 20 + slow * t * np.sin(angle), 20 + slow * t * np.cos(angle), HEIGHT, WIDTH)
        top = centre[0] - size / 2 + direction[0] * gone
        left = centre[1] - size / 2 + direction[1] * gone
        paste(frame, patch, shape, top, left)
        frames[t] = np.clip(np.rint(frame), 16, 235)
    return frames


def texture(random: np.random.Generator, height: int, width: int, contrast: float) -> Planes:
    """Return smooth coloured noise about a random colour, float32 [3, height, width]."""
    noise = random.normal(0, 1, (3, height + 6, width + 6))
    for axis in (1, 2):
        noise = (noise + 2 * np.roll(noise, 1, axis) + np.roll(noise, 2, axis)) / 4
    noise = noise[:, 3:-3, 3:-3] * np.array([90, 25, 25])[:, None, None] * contrast
    colour = random.uniform([80, 60, 60], [170, 196, 196])[:, None, None]
    return (noise + colour).astype(np.float32)


def window(planes: Planes, y: float, x: float, height: int, width: int) -> Planes:
    """Return the part of `planes` at a place between pixels, interpolated."""
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    fy, fx = np.float32(y - y0), np.float32(x - x0)
    part = planes[:, y0 : y0 + height + 1, x0 : x0 + width + 1]
    rows = part[:, :-1] * (1 - fy) + part[:, 1:] * fy
    return rows[..., :-1] * (1 - fx) + rows[..., 1:] * fx


def paste(frame: Planes, patch: Planes, shape: npt.NDArray[np.bool_], top: float, left: float) -> None:
    """Put a shape into a frame at a place between pixels; what leaves the frame is cut off."""
    size = len(shape)
    y0, x0 = int(np.floor(top)), int(np.floor(left))
    around = np.zeros((4, size + 2, size + 2), np.float32)
    around[:3, 1:-1, 1:-1] = patch * shape
    around[3, 1:-1, 1:-1] = shape
    moved = window(around, 1 - (top - y0), 1 - (left - x0), size + 1, size + 1)
    ys, xs = np.arange(y0, y0 + size + 1), np.arange(x0, x0 + size + 1)
    inside_y, inside_x = (ys >= 0) & (ys < HEIGHT), (xs >= 0) & (xs < WIDTH)
    target = np.ix_(range(3), ys[inside_y], xs[inside_x])
    seen = moved[:, inside_y][:, :, inside_x]
    frame[target] = frame[target] * (1 - seen[3]) + seen[:3]
