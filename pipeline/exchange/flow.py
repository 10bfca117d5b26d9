"""Flow as files: denseflow's pairs of JPEGs, and Middlebury's .flo.

denseflow's form, which mmaction2 and many others read, is ``flow_x_00000.jpg`` and ``flow_y_00000.jpg``, counted from 0,
8 bits over -bound..bound: ``round((clip(v) + bound) * 255 / (2 * bound))``. What is lost is half a step,
``bound / 255`` pixels (0.08 for a bound of 20), everything beyond the bound, and what JPEG adds. A .flo file is float32
and loses nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vstats.kernels.errors import InputError
from vstats.pipeline.durable import disk_refused
from vstats.pipeline.errors import UsageError

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

FLO_TAG = 202021.25
"""The first four bytes of a .flo file, as float32: "PIEH"."""

JPEG_QUALITY = 95


def to_8_bits(flow: npt.NDArray[np.floating], bound: float) -> U8:
    """Return flow as denseflow's 8-bit numbers: 0 for -bound or less, 255 for bound or more; halves go to even."""
    if not bound > 0:
        raise InputError(f"bound is {bound}; it must be above 0 pixels")
    scaled = (np.clip(flow.astype(np.float64), -bound, bound) + bound) * (255 / (2 * bound))
    numbers: U8 = np.rint(scaled).astype(np.uint8)
    return numbers


def from_8_bits(numbers: U8, bound: float) -> F32:
    """Return the flow that 8-bit numbers stand for, float32, at most ``bound / 255`` pixels from what was clipped."""
    return (numbers * (2 * bound / 255) - bound).astype(np.float32)


def write_denseflow(flow: npt.NDArray[np.floating], folder: Path, bound: float) -> None:
    """Write flow [F, H, W, 2] as JPEG pairs into a folder."""
    import cv2

    numbers = to_8_bits(flow, bound)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, field in enumerate(numbers):
            for axis, plane in zip("xy", (field[..., 0], field[..., 1]), strict=True):
                _, jpeg = cv2.imencode(
                    ".jpg", np.ascontiguousarray(plane), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
                )
                (folder / f"flow_{axis}_{index:05d}.jpg").write_bytes(jpeg.tobytes())
    except OSError as error:
        raise disk_refused(folder, error) from error


def read_denseflow(folder: Path, bound: float) -> F32:
    """Return the flow in a folder of JPEG pairs, float32 [F, H, W, 2].

    Raises
    ------
    UsageError
        There is no pair, one of a pair is missing, or a picture cannot be read or has another size.
    """
    import cv2

    count = len(list(folder.glob("flow_x_*.jpg")))
    if not count:
        raise UsageError(f"{folder} holds no flow_x_00000.jpg")
    fields: list[U8] = []
    for index in range(count):
        planes = []
        for axis in "xy":
            path = folder / f"flow_{axis}_{index:05d}.jpg"
            if not path.is_file():
                raise UsageError(f"{path} is missing; denseflow counts from 0 and leaves none out")
            plane = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", np.uint8), cv2.IMREAD_GRAYSCALE)
            if plane is None or (fields and plane.shape != fields[0].shape[:2]):
                raise UsageError(f"{path} is no picture of the others' size")
            planes.append(plane)
        fields.append(np.stack(planes, axis=-1))
    return from_8_bits(np.stack(fields), bound)


def write_flo(flow: npt.NDArray[np.floating], folder: Path) -> None:
    """Write flow [F, H, W, 2] as ``flow_00000.flo`` and so on into a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, field in enumerate(flow.astype("<f4")):
            head = np.array([FLO_TAG], "<f4").tobytes() + np.array(field.shape[1::-1], "<i4").tobytes()
            (folder / f"flow_{index:05d}.flo").write_bytes(head + field.tobytes())
    except OSError as error:
        raise disk_refused(folder, error) from error


def read_flo(path: Path) -> F32:
    """Return the flow in one .flo file, float32 [H, W, 2]."""
    content = path.read_bytes()
    tag = np.frombuffer(content[:4].ljust(4, b"\0"), "<f4")[0]
    width, height = np.frombuffer(content[4:12].ljust(8, b"\0"), "<i4").tolist()
    if tag != np.float32(FLO_TAG) or width < 1 or height < 1 or len(content) != 12 + 8 * width * height:
        raise UsageError(f"{path} is no .flo file, or is cut short")
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)


def read_flo_folder(folder: Path) -> F32:
    """Return the flow in a folder of .flo files of one size, in the order of their names, float32 [F, H, W, 2]."""
    fields = [read_flo(path) for path in sorted(folder.glob("*.flo"))]
    if len({field.shape for field in fields}) != 1:
        raise UsageError(f"{folder} holds .flo files of several sizes: a clip has one")
    return np.stack(fields)


def folders_with(root: Path, pattern: str) -> Iterator[Path]:
    """Yield the folders at and below `root` that hold files of this pattern, sorted."""
    yield from sorted({path.parent for path in root.rglob(pattern)})
