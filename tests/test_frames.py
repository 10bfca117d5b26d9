"""Every video decodes to the frames that it has everywhere: CRCs against those of tests/golden/frames.json."""

import json
import platform
import zlib
from pathlib import Path

import av
import pytest

from tests.golden.make_videos import FOLDER, KINDS
from tests.golden.renew_frames import FILE, checksums, real_videos
from vstats.pipeline import decode
from vstats.pipeline.demo import make_videos

pytestmark = pytest.mark.matrix

RECORD = json.loads(FILE.read_text())


def test_the_demo(tmp_path: Path) -> None:
    demo = make_videos(tmp_path)
    assert {str(p.relative_to(demo)): checksums(p) for p in demo.rglob("*.y4m")} == RECORD["demo"]


@pytest.mark.parametrize("name", KINDS)
def test_a_video_of_every_codec(name: str) -> None:
    assert checksums(FOLDER / name) == RECORD["made"][name]


def test_every_file_has_its_codec_and_its_frames() -> None:
    assert sorted(KINDS) == sorted(path.name for path in FOLDER.iterdir()) == sorted(RECORD["made"])


def test_real_videos(data_dir: Path) -> None:
    assert {path.name: checksums(path) for path in real_videos(data_dir)} == RECORD["real"]


# ------------------------------------------------------------------------------- which inverse transform a stream takes

PICTURE = b"\0\0\1\xb6"


def spliced(name: str, user_data: bytes, tag: str, to: Path) -> Path:
    """Copy the MPEG-4 stream of a golden video with `user_data` before its first picture, under other four letters."""
    with av.open(str(FOLDER / name)) as source, av.open(str(to), "w", options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.codec_context.codec_tag = tag
        first = True
        for packet in source.demux(video=0):
            if not packet.size:
                continue
            content = bytes(packet)
            if first and user_data:
                at = content.index(PICTURE)
                content = content[:at] + b"\0\0\1\xb2" + user_data + content[at:]
            copy = av.Packet(content)
            copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
            copy.is_keyframe = packet.is_keyframe
            out.mux(copy)
            first = False
    return to


def planes(path: Path, transform: str) -> str:
    """Return the CRC-32 of all decoded planes under one choice of FFmpeg's inverse transform."""
    total = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.options = {"idct": transform}
        for frame in container.decode(stream):
            for plane in frame.planes:
                total = zlib.crc32(bytes(plane), total)
    return f"{total:08x}"


HEADS = {
    "nothing": (b"", False),
    "XviD": (b"XviD0050", True),
    "XviD, released": (b"XviD0064C", True),
    "XviD without a number": (b"XviD", False),
    "DivX": (b"DivX503b1393p", False),
    "DivX, older": (b"DivX501Build413", False),
    "libavcodec": (b"Lavc57.64.101", False),
    "old libavcodec": (b"FFmpeg0.4.6b4620", False),
    "another encoder": (b"Ambarella", False),
    "XviD after DivX": (b"DivX503b1393p\0\0\1\xb2XviD0050", True),
}
"""User data -> whether it makes a stream XviD's, whatever its four letters are."""

NAMES_ANOTHER = ("DivX", "DivX, older", "libavcodec", "old libavcodec")


@pytest.mark.parametrize("tag", ["XVID", "DX50"])
@pytest.mark.parametrize("head", HEADS)
def test_streams_of_xvid_are_those_that_ffmpeg_takes_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, tag: str
) -> None:
    user_data, is_xvid = HEADS[head]
    is_xvid = is_xvid or (tag == "XVID" and head not in NAMES_ANOTHER)
    path = spliced("mpeg4_divx.avi", user_data, tag, tmp_path / "a.avi")
    ours = checksums(path)
    forced = {}
    for answer in (False, True):
        monkeypatch.setattr(decode, "_is_xvid", lambda tag, head, answer=answer: answer)
        forced[answer] = checksums(path)
    assert forced[False] != forced[True]
    assert ours == forced[is_xvid]
    if platform.machine() == "x86_64":  # where FFmpeg's own choice is one of the two
        assert planes(path, "auto") == planes(path, "xvid" if is_xvid else "simple")
        assert planes(path, "xvid") != planes(path, "simple")
