"""Video file -> RGB frames, the same bits on every machine. The only import of PyAV.

What every function here agrees on, because one generator of frames lies beneath them all:

File
    A regular file, known by its content alone: its name is no address, no pattern, and its suffix no hint. Pictures,
    cover art and playlists are not videos.
Frames
    Every frame that the decoder displays, in the order in which it displays them. Never sorted by time (AVI
    with B-frames states times that run backwards), never counted from the header (headers lie), never sought.
Stream
    The first video stream that is not a cover picture, as OpenCV takes it.
Damage
    A packet that the decoder refuses is counted and passed over; a frame that the decoder marks as damaged is
    counted and used. A container that breaks off ends the video there. What could be decoded is used: whether
    it is enough is for the caller to judge by `VideoProbe`. No frame at all is an error.
Colour
    RGB by the matrix and range that the frame states. No matrix stated: BT.601 at every size; no range stated:
    full for gray and ``yuvj*``, limited for other YUV (FFmpeg's defaults, and OpenCV's). Subsampled colour is
    interpolated from where the frame says that it lies (centred if it does not). 10 bits and more are rounded
    to 8. The transfer curve is left alone: HDR (PQ, HLG) is not tone-mapped, and looks flat. Alpha is ignored,
    not composited. Interlaced frames are taken as decoded, both fields woven together.
Geometry
    Turned and mirrored as the file says that it is displayed, to the nearest quarter turn. The sample aspect
    ratio is ignored: whoever resizes to a fixed size ignores it anyhow.
Exactness
    One thread, and FFmpeg's bit-exact paths in decoder and colour conversion: equal bits with any SIMD or none. The
    inverse transform of MPEG-1/2/4, H.263, MJPEG, DV and their kin is named, since FFmpeg's own choice differs between
    x86-64 and ARM: `simple`, and `xvid` for streams that the XviD encoder wrote.
"""

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from vstats.pipeline.errors import DecodeError
from vstats.pipeline.records import U8, VideoProbe

# Larger frames are more likely a damaged header than true, and a few of them would fill the memory.
MAX_SIDE = 16384
MAX_PIXELS = 8192 * 8192

# ACCURATE_RND and BITEXACT select the code whose rounding is the same with and without SIMD. FULL_CHR_H_INT
# interpolates colour to every pixel instead of sharing one sample between two.
_CONVERSION = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
)

# PyAV 18 refuses a file whose title is not UTF-8 unless told otherwise; from 19 on it cannot be told, and does not refuse.
_METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}

_OPTIONS = {"max_pixels": str(MAX_PIXELS)}


def _unknown_side_data(kind: type[SideDataType], value: Any) -> SideDataType:
    member = object.__new__(kind)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return member


# A frame with side data that FFmpeg knows and PyAV does not (Exif, in PyAV 18) must not hide its display matrix.
SideDataType._missing_ = classmethod(_unknown_side_data)  # type: ignore[assignment]

# AVColorSpace -> the matrix that swscale knows. 0 (RGB), 2 (unspecified) and 3 (reserved) name none.
_MATRIX = {
    0: Colorspace.ITU601,
    1: Colorspace.ITU709,
    2: Colorspace.ITU601,
    3: Colorspace.ITU601,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}


def _nothing() -> None:
    """Tell nobody."""


def probe_video(path: str, tick: Callable[[], None] = _nothing) -> VideoProbe:
    """Decode a whole video without converting colours, and say what is in it.

    Parameters
    ----------
    path : str
        A file on this machine. It is never read as an address or a pattern.
    tick : callable
        Is called after every piece that is read and every frame that is decoded, so that slow can be told from stuck.

    Returns
    -------
    VideoProbe
        `frames` is exactly the number of frames that `decode_frames` yields.

    Raises
    ------
    DecodeError
        No frame can be had; `stage` is "find", "open" or "decode".
    """
    with _open_file(path) as file:
        facts = os.fstat(file.fileno())
        try:
            sha256 = hashlib.sha256()
            while piece := file.read(1 << 20):
                sha256.update(piece)
                tick()
            file.seek(0)
        except OSError as error:
            raise DecodeError(f"{path}: {_unreadable(error)}", stage="open") from error
        with _open_video(path, file) as video:
            frames = corrupt = 0
            first: tuple[int, int, int, str] | None = None
            for frame in video.frames():
                if first is None:
                    turn, _, _ = _orientation(frame)
                    size = (frame.height, frame.width) if turn in (90, 270) else (frame.width, frame.height)
                    first = (*size, turn, frame.format.name)
                frames += 1
                corrupt += frame.is_corrupt
                tick()
            if first is None:
                raise video.nothing_decoded()
            width, height, rotation, pixel_format = first
            rate = video.stream.average_rate
            return VideoProbe(
                frames=frames,
                lost_packets=video.lost_packets,
                corrupt_frames=corrupt,
                header_frames=video.stream.frames,
                width=width,
                height=height,
                rotation=rotation,
                codec=video.stream.codec_context.name,
                pixel_format=pixel_format,
                fps=float(rate) if rate else 0.0,
                size_bytes=facts.st_size,
                mtime_ns=facts.st_mtime_ns,
                sha256=sha256.hexdigest(),
            )


def decode_frames(path: str) -> Iterator[tuple[U8, float]]:
    """Yield every frame of a video, in decode order.

    Parameters
    ----------
    path : str
        A file on this machine.

    Yields
    ------
    rgb : uint8 [H, W, 3]
        As displayed, row 0 at the top. Each frame has its own size: a video may change it.
    pts_seconds : float
        Presentation time; NaN where the container states none. Not necessarily ascending.

    Raises
    ------
    DecodeError
        No frame can be had; `stage` is "find", "open" or "decode".
    """
    with _open_file(path) as file, _open_video(path, file) as video:
        to_rgb = _RgbConverter(path)
        empty = True
        for frame in video.frames():
            empty = False
            yield to_rgb(frame), video.seconds(frame)
        if empty:
            raise video.nothing_decoded()


def wanted_frames(
    path: str, wanted: Sequence[int], tick: Callable[[], None] = _nothing
) -> Generator[tuple[int, U8], None, None]:
    """Decode up to the last wanted frame, and convert and yield only the wanted ones.

    Parameters
    ----------
    path : str
        A file on this machine.
    wanted : sequence of int
        Positions in decode order, from 0; ascending, without repeats.
    tick : callable
        Is called after every decoded frame, wanted or not.

    Yields
    ------
    index : int
        The position: those of `wanted`, in turn.
    rgb : uint8 [H, W, 3]
        As `decode_frames` yields it.

    Raises
    ------
    DecodeError
        As `decode_frames`; and with `stage` "decode" if the video ends before a wanted frame.
    ValueError
        `wanted` is not ascending from 0.
    """
    if any(b <= a for a, b in pairwise([-1, *wanted])):
        raise ValueError(f"wanted frames must ascend from 0 without repeats; they are {list(wanted)}")
    if not wanted:
        return
    remaining = iter(wanted)
    target = next(remaining)
    count = 0
    with _open_file(path) as file, _open_video(path, file) as video:
        to_rgb = _RgbConverter(path)
        for count, frame in enumerate(video.frames(), start=1):
            tick()
            if count - 1 == target:
                yield target, to_rgb(frame)
                target = next(remaining, -1)
                if target < 0:
                    return
        if count == 0:
            raise video.nothing_decoded()
    raise DecodeError(
        f"{path}: {count} frames decoded, but {wanted[-1] + 1} were planned; the file has changed since then, or "
        "was cut short: plan again",
        stage="decode",
    )


def planes_sha256(path: str, tick: Callable[[], None] = _nothing) -> str:
    """Return the sha256 of a video's frames as the decoder gives them, before colours are converted.

    Raises
    ------
    DecodeError
        As `decode_frames`.
    ValueError
        The frames are of a format that NumPy has no shape for.
    """
    found = hashlib.sha256()
    with _open_file(path) as file, _open_video(path, file) as video:
        for frame in video.frames():
            found.update(np.ascontiguousarray(frame.to_ndarray()).data)
            tick()
    return found.hexdigest()


def ffmpeg_versions() -> dict[str, str]:
    """Return the versions of PyAV (``av``) and of the FFmpeg libraries that decide about pixels."""
    versions = {"av": av.__version__}
    for name in ("libavcodec", "libavformat", "libavutil", "libswscale"):
        versions[name] = ".".join(str(n) for n in av.library_versions[name])
    return versions


def has_decoder(name: str) -> bool:
    """Tell whether this FFmpeg has a decoder of this name."""
    try:
        av.codec.Codec(name, "r")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


@dataclass(slots=True)
class _Video:
    """An open video stream, and what went wrong in it so far."""

    path: str
    container: InputContainer
    stream: VideoStream
    lost_packets: int = 0
    last_error: str = ""

    def frames(self) -> Generator[VideoFrame, None, None]:
        """Yield every displayed frame, counting the packets that are lost on the way."""
        try:
            for packet in self._packets():
                try:
                    yield from packet.decode()
                except av.error.FFmpegError as error:
                    self._lose(error)
            return
        except av.error.FFmpegError as error:
            self._lose(error)  # the container breaks off here; the decoder still holds frames
        except OSError as error:
            raise DecodeError(f"{self.path}: {_unreadable(error)}", stage="decode") from error
        try:
            yield from self.stream.decode(None)
        except av.error.FFmpegError as error:
            self._lose(error)

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        """Name the inverse transform, and yield every packet; the last one is empty and flushes the decoder."""
        packets = self.container.demux(self.stream)
        context = self.stream.codec_context
        xvid = False
        first: list[Packet[VideoStream]] = []
        if context.name == "mpeg4":
            # Who encoded it stands before the first picture: in the container's header, or in the stream itself.
            head = context.extradata or b""
            for packet in packets:
                first.append(packet)
                head += bytes(packet)
                if _PICTURE in head or len(head) > _LONGEST_HEAD:
                    break
            xvid = _is_xvid(context.codec_tag, head.partition(_PICTURE)[0])
        context.options = {**_OPTIONS, "idct": "xvid" if xvid else "simple"}
        return chain(first, packets)

    def _lose(self, error: av.error.FFmpegError) -> None:
        if isinstance(error, MemoryError):
            raise DecodeError(
                f"{self.path}: not enough memory to decode {self.stream.width}x{self.stream.height} frames",
                stage="decode",
            ) from error
        self.lost_packets += 1
        self.last_error = error.strerror or type(error).__name__

    def seconds(self, frame: VideoFrame) -> float:
        base = self.stream.time_base
        if frame.pts is None or not base:  # PyAV 18 has None where none is stated, 19 a zero
            return float("nan")
        return frame.pts * base.numerator / base.denominator

    def nothing_decoded(self) -> DecodeError:
        codec = self.stream.codec_context.name
        if self.lost_packets:
            found = f"none of its {self.lost_packets} packets of {codec} video decodes ({self.last_error})"
        else:
            found = f"it announces {codec} video but holds no frame"
        return DecodeError(f"{self.path}: {found}; fetch the file again or leave it out", stage="decode")


class _RgbConverter:
    """Decoded frames -> uint8 [H, W, 3] as displayed; swscale's tables are kept from frame to frame."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> U8:
        _check_size(self._path, frame.width, frame.height, stage="decode")
        name = frame.format.name
        if frame.colorspace not in _MATRIX and not frame.format.is_rgb:
            raise DecodeError(
                f"{self._path}: its colours cannot be converted exactly (matrix {frame.colorspace} of ITU-T H.273); "
                "convert the video to BT.709 or BT.601 first",
                stage="decode",
            )
        full = name.startswith(("gray", "yuvj", "ya")) if not frame.color_range else frame.color_range == 2
        try:
            rgb = self._reformatter.reformat(
                frame,
                format="rgb24",
                src_colorspace=_MATRIX.get(frame.colorspace, Colorspace.ITU601),
                src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
                dst_color_range=ColorRange.JPEG,
                interpolation=_CONVERSION,
                threads=1,
            )
        except av.error.FFmpegError as error:
            raise DecodeError(
                f"{self._path}: pixels of format {name} cannot be converted to RGB ({_reason(error)}); "
                "convert the video to yuv420p first",
                stage="decode",
            ) from error
        turn, flip_x, flip_y = _orientation(frame)
        image = cast(U8, rgb.to_ndarray())
        if turn in (90, 270):
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        return np.ascontiguousarray(image)


def _orientation(frame: VideoFrame) -> tuple[int, bool, bool]:
    """Return the clockwise turn of a frame's display matrix, and how to get there.

    The matrix says that pixel (x, y) is shown at (a x + c y, b x + d y). Turns of 90 and 270 degrees exchange
    rows and columns first; then the axes are reversed as the two flags say: (turn, reverse x, reverse y).
    """
    side_data = cast(Mapping[str, bytes], frame.side_data)  # PyAV's stubs know only one of its keys
    if "DISPLAYMATRIX" not in side_data:
        return 0, False, False
    matrix = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return (90 if b > 0 else 270), c < 0, b < 0
    return (180 if a < 0 else 0), a < 0, d < 0


@contextmanager
def _open_file(path: str) -> Iterator[io.FileIO]:
    """Open a regular file; folders, pipes and devices are refused before anything waits for them."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise DecodeError(f"{path}: is {what}, not a video file", stage="find")
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise DecodeError(f"{path}: there is no such file", stage="find") from error
        raise DecodeError(f"{path}: cannot be read ({_reason(error)})", stage="find") from error
    with file:
        yield file


@contextmanager
def _open_video(path: str, file: io.FileIO) -> Iterator[_Video]:
    """Open the container in `file` and set up its decoder."""
    try:
        # Known by its content alone: from a name FFmpeg would guess the container, or open an address or a pattern.
        file.name = "video"
        # The whitelist matches no protocol: it keeps playlists from opening further files.
        container = av.open(
            file,
            "r",
            options=_OPTIONS,
            container_options={"protocol_whitelist": "none"},
            buffer_size=1 << 18,
            **_METADATA,
        )
    except (av.error.FFmpegError, OSError, UnicodeDecodeError) as error:
        raise DecodeError(f"{path}: {_why_not_opened(file, error)}", stage="open") from error
    with container:
        try:
            yield _Video(path, container, _choose_stream(path, container))
        except (
            av.error.FFmpegError
        ) as error:  # where nobody looks for one: still the video's, and no fault of ours
            raise DecodeError(
                f"{path}: cannot be decoded ({_reason(error)}); leave it out", stage="decode"
            ) from error


def _choose_stream(path: str, container: InputContainer) -> VideoStream:
    kind = container.format.name
    if kind.endswith("_pipe") or kind == "ico":  # demuxers that make a video of one frame out of a picture
        raise DecodeError(f"{path}: is a picture ({kind.removesuffix('_pipe')}), not a video", stage="open")
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        others = sorted({"a cover picture" if s.type == "video" else s.type for s in container.streams})
        found = f"only {' and '.join(others)}" if others else "no stream at all"
        raise DecodeError(
            f"{path}: holds no video ({found}, in a {kind.split(',')[0]} container)", stage="open"
        )
    stream = videos[0]
    context = stream.codec_context
    if context is None:
        raise DecodeError(
            f"{path}: this FFmpeg has no decoder for its video codec; convert it first", stage="open"
        )
    _check_size(path, context.width, context.height, stage="open")
    context.thread_type = "NONE"
    context.thread_count = 1
    context.flags |= Flags.bitexact | Flags.unaligned  # unaligned: crop exactly where the stream says
    return stream


_PICTURE = b"\0\0\1\xb6"
"""Begins a picture in MPEG-4 part 2."""

_LONGEST_HEAD = 1 << 20
"""Bytes to look for the first picture in: a stream without one must not be kept in memory."""

_XVID_TAGS = ("XVID", "XVIX", "RMP4", "ZMP4", "SIPP")


def _is_xvid(tag: str, head: bytes) -> bool:
    """Tell whether FFmpeg takes an MPEG-4 part 2 stream for one of the XviD encoder.

    As its decoder does (libavcodec/mpeg4videodec.c, decode_user_data and ff_mpeg4_workaround_bugs): the stream says so
    in user data, or its container's four letters do and user data name no other encoder.

    Parameters
    ----------
    tag : str
        The container's four letters.
    head : bytes
        The stream up to its first picture.
    """
    texts = [text.partition(b"\0\0")[0] for text in head.split(b"\0\0\1\xb2")[1:]]
    if any(re.match(rb"XviD\s*\+?\d", text) for text in texts):
        return True
    others = rb"DivX\s*[+-]?\d+(Build|b)\s*[+-]?\d|FFmpe[^b]+b\s*[+-]?\d|Lavc\d+\.\d+\.\d|ffmpeg$"
    return tag.upper() in _XVID_TAGS and not any(re.match(others, text) for text in texts)


def _check_size(path: str, width: int, height: int, *, stage: str) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise DecodeError(
            f"{path}: claims frames of {width}x{height}; the limit is {MAX_SIDE} a side and {MAX_PIXELS} pixels: "
            "scale it down first",
            stage=stage,
        )


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _unreadable(error: OSError) -> str:
    return f"reading stopped ({_reason(error)}); check the disk or the network share and try again"


def _why_not_opened(file: io.FileIO, error: BaseException) -> str:
    """Say why FFmpeg does not open a file, by its first bytes: FFmpeg calls everything "invalid data"."""
    if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
        return _unreadable(error)
    file.seek(0)
    head = file.read(16)
    if not head:
        return "is empty (0 bytes); fetch it again"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
        return (
            "is an MP4 or MOV file whose index (moov) is missing or damaged, as when a download breaks off; "
            "fetch it again"
        )
    return f"is not a video that FFmpeg recognises (it begins with {head!r}); leave it out or convert it"
