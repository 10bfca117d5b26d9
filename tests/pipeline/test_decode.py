"""Every video here is really encoded and really decoded; what is known of it comes from whoever drew it."""

import csv
import ctypes
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition
from av.video.frame import VideoFrame

from tests.videos import damage, enlarge, moving_square, still, texture, truncate, write_video
from vstats.pipeline import decode
from vstats.pipeline.decode import decode_frames, ffmpeg_versions, probe_video, wanted_frames
from vstats.pipeline.errors import DecodeError

pytestmark = [pytest.mark.long, pytest.mark.matrix]

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

SQUARE = moving_square("right", 6)[:, :, :170]  # even sides: most codecs ask for them


def decoded(path: Path) -> list[U8]:
    return [rgb for rgb, _ in decode_frames(str(path))]


def refusal(path: Path | str, does: Callable[[str], Any] = probe_video) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        does(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert "Errno" not in message, "an error number is no explanation"
    return caught.value


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mkv", SQUARE)


# ---------------------------------------------------------------- frames


def test_lossless_video_decodes_to_what_was_drawn(clip: Path) -> None:
    np.testing.assert_array_equal(decoded(clip), SQUARE)


def test_every_frame_is_a_contiguous_array_of_its_own(clip: Path) -> None:
    first, second, *_ = decoded(clip)
    assert first.flags.c_contiguous
    assert first.flags.writeable
    assert not np.shares_memory(first, second)


def test_times_are_seconds(tmp_path: Path) -> None:
    path = write_video(tmp_path / "t.mp4", SQUARE, "libx264", fps=Fraction(30000, 1001))
    times = [seconds for _, seconds in decode_frames(str(path))]
    np.testing.assert_allclose(times, np.arange(16) * 1001 / 30000, rtol=0, atol=1e-12)


def test_a_container_without_times_gives_nan(tmp_path: Path) -> None:
    path = write_video(tmp_path / "t.h264", SQUARE, "libx264", options={"bf": "2"}, container="h264")
    times = [seconds for _, seconds in decode_frames(str(path))]
    assert len(times) == 16
    assert all(math.isnan(t) for t in times)


def test_frames_come_in_the_decoders_order_even_where_times_run_backwards(tmp_path: Path) -> None:
    # Frame t shows a bar at column 8 t. AVI states B-frames' times in the order of storage.
    bars = np.zeros((16, 64, 160, 3), np.uint8)
    for t in range(16):
        bars[t, :, 8 * t : 8 * t + 8] = 255
    path = write_video(tmp_path / "b.avi", bars, "mpeg4", options={"bf": "2", "b_strategy": "0"})
    columns = [int(rgb[32, :, 1].astype(int).reshape(-1, 8).sum(1).argmax()) for rgb in decoded(path)]
    assert columns == list(range(16))


def test_a_video_may_change_its_size(tmp_path: Path) -> None:
    small = write_video(tmp_path / "a.h264", SQUARE, "libx264", container="h264")
    large = write_video(tmp_path / "b.h264", enlarge(SQUARE, 2), "libx264", container="h264")
    both = tmp_path / "c.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert [rgb.shape for rgb in decoded(both)] == [(128, 170, 3)] * 16 + [(256, 340, 3)] * 16
    probe = probe_video(str(both))
    assert (probe.frames, probe.width, probe.height) == (32, 170, 128)


def test_left_crop_is_exact(tmp_path: Path) -> None:
    # Decoders round a left crop down to an aligned address unless told otherwise.
    whole = write_video(
        tmp_path / "whole.mkv", SQUARE, "libx264", options={"crf": "0"}, pixel_format="yuv444p"
    )
    cropped = tmp_path / "cropped.mkv"
    with av.open(str(whole)) as source, av.open(str(cropped), "w") as out:
        stream = source.streams.video[0]
        to = out.add_stream_from_template(stream)
        crop = BitStreamFilterContext("h264_metadata=crop_left=6:crop_top=4:crop_right=8", stream, to)
        for packet in source.demux(stream):
            for changed in crop.filter(packet if packet.dts is not None else None):
                changed.stream = to
                out.mux(changed)
    np.testing.assert_array_equal(
        decoded(cropped), np.stack(decoded(whole))[:, 4:, 6:168]
    )  # of 176 coded columns


# ---------------------------------------------------------------- one count for all


def test_probe_says_what_is_in_the_file(clip: Path) -> None:
    probe = probe_video(str(clip))
    facts = clip.stat()
    assert (probe.frames, probe.lost_packets, probe.corrupt_frames) == (16, 0, 0)
    assert (probe.width, probe.height, probe.rotation) == (170, 128, 0)
    assert (probe.codec, probe.pixel_format, probe.fps) == ("ffv1", "bgr0", 25.0)
    assert (probe.size_bytes, probe.mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    printed = subprocess.run(["sha256sum", clip], capture_output=True, check=True).stdout.split()[0].decode()
    assert probe.sha256 == printed


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "libx264"])
@pytest.mark.parametrize("seed", range(4))
def test_counts_agree_on_damaged_videos(tmp_path: Path, codec: str, seed: int) -> None:
    good = write_video(tmp_path / "good.mkv", SQUARE, codec, options={"g": "8"})
    bad = damage(good, tmp_path / "bad.mkv", count=20, start=0.3, seed=seed)
    probe = probe_video(str(bad))
    everything = decoded(bad)
    assert probe.frames == len(everything)
    kept = dict(wanted_frames(str(bad), range(probe.frames)))
    np.testing.assert_array_equal([kept[i] for i in range(probe.frames)], everything)
    assert refusal(bad, lambda path: list(wanted_frames(path, [probe.frames]))).stage == "decode"


def test_damage_is_counted_and_the_rest_is_used(tmp_path: Path) -> None:
    good = write_video(tmp_path / "good.avi", enlarge(SQUARE, 2), "mpeg4", options={"g": "4", "q": "2"})
    probe = probe_video(str(damage(good, tmp_path / "bad.avi", count=60, start=0.3, end=0.8)))
    assert 8 < probe.frames <= 16
    assert probe.corrupt_frames + probe.lost_packets > 0
    assert probe.header_frames == 16


def test_a_truncated_video_ends_where_it_breaks_off(tmp_path: Path, clip: Path) -> None:
    short = truncate(clip, tmp_path / "short.mkv", 0.6)
    frames = decoded(short)
    assert 8 <= len(frames) < 16
    np.testing.assert_array_equal(frames[:8], SQUARE[:8])
    assert probe_video(str(short)).frames == len(frames)


def test_wanted_frames_are_those(clip: Path) -> None:
    kept = dict(wanted_frames(str(clip), [0, 3, 11]))
    assert list(kept) == [0, 3, 11]
    np.testing.assert_array_equal(list(kept.values()), SQUARE[[0, 3, 11]])


def test_wanted_frames_stop_after_the_last(clip: Path) -> None:
    source = wanted_frames(str(clip), [2, 5])
    assert [index for index, _ in source] == [2, 5]
    assert list(wanted_frames(str(clip), [])) == []


@pytest.mark.parametrize("wanted", [[3, 3], [4, 2], [-1, 2]])
def test_wanted_frames_must_ascend(clip: Path, wanted: list[int]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        list(wanted_frames(str(clip), wanted))


def test_too_few_frames_says_both_numbers(clip: Path) -> None:
    error = refusal(clip, lambda path: list(wanted_frames(path, [4, 99])))
    assert error.stage == "decode"
    assert "16 frames decoded" in str(error)
    assert "100 were planned" in str(error)


def test_files_are_closed_also_when_left_in_the_middle(tmp_path: Path, clip: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("open files cannot be counted here")
    before = len(list(fds.iterdir()))
    for _ in range(70):
        frames: Iterator[Any] = decode_frames(str(clip))
        next(frames)
        del frames
        wanted = wanted_frames(str(clip), [1, 2])
        next(wanted)
        wanted.close()
        refusal(broken)
    assert len(list(fds.iterdir())) == before


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [(False, False), (True, False), (False, True)])
def test_frames_are_turned_and_mirrored_as_displayed(
    tmp_path: Path, degrees: int, mirror: tuple[bool, bool]
) -> None:
    path = write_video(
        tmp_path / "r.mp4",
        SQUARE[:3],
        "libx264rgb",
        pixel_format="rgb24",
        display=(degrees, *mirror),
        options={"crf": "0"},
    )
    shown = np.rot90(SQUARE[:3], degrees // 90, axes=(1, 2))  # counter-clockwise, as `display`
    shown = shown[:, :, ::-1] if mirror[0] else shown
    shown = shown[:, ::-1] if mirror[1] else shown
    np.testing.assert_array_equal(decoded(path), shown)
    probe = probe_video(str(path))
    assert (probe.height, probe.width) == shown.shape[1:3]
    if not any(mirror):
        assert probe.rotation == -degrees % 360


def test_a_crooked_angle_goes_to_the_nearest_quarter_turn(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "r.mp4",
        SQUARE[:2],
        "libx264rgb",
        pixel_format="rgb24",
        display=(-80, False, False),
        options={"crf": "0"},
    )
    np.testing.assert_array_equal(decoded(path), np.rot90(SQUARE[:2], -1, axes=(1, 2)))


# ---------------------------------------------------------------- colour

BARS = np.zeros((32, 128, 3), np.uint8)
for _i, _colour in enumerate(
    [
        (0, 0, 0),
        (255, 255, 255),
        (128, 128, 128),
        (200, 30, 30),
        (30, 200, 30),
        (30, 30, 200),
        (250, 240, 10),
        (9, 99, 9),
    ]
):
    BARS[:, _i * 16 : (_i + 1) * 16] = _colour
MIDDLES = BARS[16, 8::16].astype(int)


def bar_error(path: Path) -> int:
    return int(np.abs(decoded(path)[0][16, 8::16].astype(int) - MIDDLES).max())


@pytest.mark.parametrize(
    "pixel_format",
    [
        "yuv420p",
        "yuv444p",
        "yuv410p",
        "yuv422p10le",
        "yuv444p12le",
        "yuva420p",
        "bgra",
        "gbrp10le",
        "gbrp16le",
    ],
)
def test_pixel_formats(tmp_path: Path, pixel_format: str) -> None:
    assert bar_error(write_video(tmp_path / "p.mkv", [BARS] * 2, pixel_format=pixel_format)) <= 2


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("colour_range", [1, 2])
def test_stated_matrix_and_range_are_used(tmp_path: Path, matrix: int, colour_range: int) -> None:
    path = write_video(tmp_path / "c.mkv", [BARS] * 2, pixel_format="yuv444p", colour=(matrix, colour_range))
    assert bar_error(path) <= 2


def test_unstated_matrix_is_bt601_and_limited_at_every_size(tmp_path: Path) -> None:
    large = enlarge(np.stack([BARS] * 2), 12)  # 1536 pixels wide: players would guess BT.709
    path = write_video(tmp_path / "c.mkv", large, pixel_format="yuv444p")
    middles = decoded(path)[0][192, 96::192].astype(int)
    assert np.abs(middles - MIDDLES).max() <= 2


def test_an_unknown_matrix_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "c.mkv", [BARS] * 2, pixel_format="yuv444p", colour=(8, 1))
    assert refusal(path, lambda p: list(decode_frames(p))).stage == "decode"


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("ffv1", "gray"), ("ffv1", "gray10le"), ("mjpeg", "yuvj420p")]
)
def test_gray_and_jpeg_are_full_range(tmp_path: Path, codec: str, pixel_format: str) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 32, 0).repeat(3, 2)
    path = write_video(
        tmp_path / "g.mkv", [ramp] * 2, codec, pixel_format=pixel_format, options={"qscale": "1"}
    )
    found = decoded(path)[0].astype(int)
    assert np.abs(found - ramp).max() <= 3
    assert found.max() - found.min() == 255


def test_alpha_is_ignored(tmp_path: Path) -> None:
    pixels = np.dstack([texture(64, 64), np.arange(64 * 64).reshape(64, 64).astype(np.uint8)])
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgra"
        out.mux(stream.encode(VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="bgra")))
        out.mux(stream.encode(None))
    np.testing.assert_array_equal(decoded(path)[0], pixels[..., :3])


def test_conversion_is_the_standards_formula_correctly_rounded(tmp_path: Path) -> None:
    """BT.601 in double precision, chroma interpolated from its sites (left, between the rows): within rounding."""
    path = write_video(tmp_path / "f.mkv", [texture(96, 128)] * 2, "libx264", options={"crf": "0"})
    with av.open(str(path)) as source:
        planes = next(source.decode(video=0)).to_ndarray().astype(np.float64)
    luma = (planes[:96] - 16) * 255 / 219
    blue, red = (
        _upsample((planes[start : start + 24].reshape(48, 64) - 128) * 255 / 224, 96, 128)
        for start in (96, 120)
    )
    kr, kb = 0.299, 0.114
    kg = 1 - kr - kb
    exact = np.dstack(
        [
            luma + 2 * (1 - kr) * red,
            luma - 2 * (1 - kb) * kb / kg * blue - 2 * (1 - kr) * kr / kg * red,
            luma + 2 * (1 - kb) * blue,
        ]
    )
    assert np.abs(decoded(path)[0] - exact.clip(0, 255)).max() < 0.52


def _upsample(chroma: F64, height: int, width: int) -> F64:
    rows, columns = chroma.shape
    y = np.clip((np.arange(height) + 0.5) / 2 - 0.5, 0, rows - 1)
    x = np.clip(np.arange(width) / 2, 0, columns - 1)
    tall = np.stack([np.interp(y, np.arange(rows), column) for column in chroma.T], 1)
    return np.stack([np.interp(x, np.arange(columns), row) for row in tall])


# ---------------------------------------------------------------- what is not a video


def test_what_is_not_there(tmp_path: Path, clip: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (
        tmp_path / "none.mp4",
        tmp_path,
        tmp_path / "pipe.mp4",
        f"concat:{clip}",
        "http://127.0.0.1/a.mp4",
    ):
        assert refusal(path).stage == "find"
        assert refusal(path, lambda p: next(decode_frames(p))).stage == "find"


@pytest.mark.parametrize(
    "name",
    [
        "a:b.mkv",
        "-i.mkv",
        "%d.mkv",
        "frame%03d.png",
        "*.mkv",
        "é ü.mkv",
        "http:x.mkv",
        "no suffix",
        "x.txt",
        "x.mp4",
    ],
)
def test_names_mean_nothing(tmp_path: Path, clip: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    assert probe_video(str(path)).frames == 16


def test_names_need_not_be_utf8(tmp_path: Path, clip: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9\xff.mkv")
    Path(name).write_bytes(clip.read_bytes())
    assert probe_video(name).frames == 16


def test_playlists_open_no_other_file(tmp_path: Path, clip: Path) -> None:
    for text in (
        f"ffconcat version 1.0\nfile {clip.name}\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n",
    ):
        path = tmp_path / "list.mp4"
        path.write_text(text)
        assert refusal(path).stage == "open"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"just some text\n" * 50, "not a video that FFmpeg recognises"),
        (bytes(10000), "not a video that FFmpeg recognises"),
        (b"\0\0\0\x1cftypisom\0\0\2\0" + bytes(500), "index (moov) is missing"),
    ],
)
def test_what_is_not_a_video(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    error = refusal(path)
    assert error.stage == "open"
    assert says in str(error)


def test_a_picture_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write_video(path, still(1), "png", container="image2pipe")
    assert "is a picture (png)" in str(refusal(path))


def test_a_cover_is_not_a_video(tmp_path: Path) -> None:
    song, film = tmp_path / "song.m4a", tmp_path / "film.mp4"
    _write_with_cover(song, with_video=False)
    _write_with_cover(film, with_video=True)
    assert "only a cover picture and audio" in str(refusal(song))
    assert (probe_video(str(film)).codec, probe_video(str(film)).frames) == ("mpeg4", 16)


def _write_with_cover(path: Path, *, with_video: bool) -> None:
    with av.open(str(path), "w", format="mp4") as out:
        cover: Any = out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 170, 128, "rgb24"
        cover.disposition = Disposition.attached_pic
        audio: Any = out.add_stream("aac", rate=44100)
        video: Any = out.add_stream("mpeg4", rate=25) if with_video else None
        if video:
            video.width, video.height, video.pix_fmt = 170, 128, "yuv420p"
        out.mux(cover.encode(VideoFrame.from_ndarray(np.ascontiguousarray(SQUARE[0]))) + cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        out.mux(audio.encode(silence) + audio.encode(None))
        if video:
            for index, image in enumerate(SQUARE):
                frame = VideoFrame.from_ndarray(np.ascontiguousarray(image))
                frame.pts = index
                out.mux(video.encode(frame))
            out.mux(video.encode(None))


def test_the_first_of_two_videos_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams: list[Any] = [out.add_stream("ffv1", rate=25) for _ in range(2)]
        images = [np.ascontiguousarray(SQUARE[0]), enlarge(SQUARE[:1], 2)[0]]
        for stream, image in zip(streams, images, strict=True):
            stream.height, stream.width = image.shape[:2]
            stream.pix_fmt = "bgr0"
        for stream, image in reversed(list(zip(streams, images, strict=True))):
            out.mux(stream.encode(VideoFrame.from_ndarray(image)) + stream.encode(None))
    np.testing.assert_array_equal(decoded(path), SQUARE[:1])


def test_metadata_need_not_be_utf8(tmp_path: Path) -> None:
    path = write_video(tmp_path / "m.avi", SQUARE, "mpeg4")
    with (
        av.open(str(path)) as source,
        av.open(str(tmp_path / "n.avi"), "w") as out,
    ):
        out.metadata["title"] = "Am?lie"
        stream = source.streams.video[0]
        to = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = to
                out.mux(packet)
    utf8 = (tmp_path / "n.avi").read_bytes()
    assert utf8.count(b"Am?lie") == 1
    (tmp_path / "n.avi").write_bytes(utf8.replace(b"Am?lie", b"Am\xe9lie"))
    assert probe_video(str(tmp_path / "n.avi")).frames == 16


def test_absurd_sizes_are_refused(tmp_path: Path) -> None:
    wide = np.zeros((1, 2, decode.MAX_SIDE + 2, 3), np.uint8)
    error = refusal(write_video(tmp_path / "wide.avi", wide, "rawvideo"))
    assert error.stage == "open"
    assert f"{decode.MAX_SIDE + 2}x2" in str(error)


def test_no_frame_at_all(tmp_path: Path) -> None:
    good = write_video(tmp_path / "good.avi", SQUARE, "mpeg4")
    data = bytearray(good.read_bytes())
    start = data.index(b"movi") + 4
    end = data.index(b"idx1")
    for at in range(start + 8, end):  # the first chunk's name and size stay
        data[at] = 0xFF
    bad = tmp_path / "bad.avi"
    bad.write_bytes(data)
    assert refusal(bad).stage == "decode"
    assert refusal(bad, lambda path: list(decode_frames(path))).stage == "decode"


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = write_video(tmp_path / "good.avi", SQUARE, "mpeg4")
    capfd.readouterr()
    decoded(damage(good, tmp_path / "bad.avi", seed=3))
    refusal(truncate(good, tmp_path / "short.avi", 0.01))
    assert capfd.readouterr() == ("", "")


def test_versions_are_numbers() -> None:
    versions = ffmpeg_versions()
    assert set(versions) == {"av", "libavcodec", "libavformat", "libavutil", "libswscale"}
    assert all(re.fullmatch(r"\d+(\.\d+)+", v) for v in versions.values())


# ---------------------------------------------------------------- the same bits with and without SIMD

CODECS = {
    "mpeg4.avi": {"codec": "mpeg4", "options": {"flags": "+mv4+qpel", "bf": "2"}},
    "xvid.avi": {
        "codec": "mpeg4",
        "options": {"mpeg_quant": "1"},
        "tag": "XVID",
    },  # another inverse transform
    "msmpeg4v3.avi": {"codec": "msmpeg4v3"},
    "h263p.avi": {"codec": "h263p"},
    "flv.flv": {"codec": "flv"},
    "wmv2.avi": {"codec": "wmv2"},
    "mpeg1.mpg": {"codec": "mpeg1video"},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "flags": "+ildct+ilme"}},
    "mjpeg.avi": {"codec": "mjpeg"},
    "h264.mp4": {"codec": "libx264"},
    "h264_10.mp4": {"codec": "libx264", "pixel_format": "yuv422p10le"},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "av1.mkv": {"codec": "libsvtav1"},
    "ffv1.mkv": {"codec": "ffv1", "pixel_format": "yuv420p"},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
}

HASH_FRAMES = """
import ctypes, hashlib, itertools, json, sys
avutil, dav1d, *paths = sys.argv[1:]
if avutil:
    import av
    ctypes.CDLL(avutil).av_force_cpu_flags(0)
    assert ctypes.CDLL(avutil).av_get_cpu_flags() == 0
    if dav1d:
        ctypes.CDLL(dav1d).dav1d_set_cpu_flags_mask(0)
from vstats.pipeline.decode import decode_frames
from vstats.pipeline.errors import DecodeError
hashes = {}
for path in paths:
    digest = hashlib.sha256()
    count = 0
    try:
        for count, (rgb, seconds) in enumerate(itertools.islice(decode_frames(path), 30), start=1):
            digest.update(repr((rgb.shape, seconds)).encode())
            digest.update(rgb)
    except DecodeError as error:
        digest.update(str(error).encode())
    hashes[path] = (count, digest.hexdigest())
print(json.dumps(hashes))
"""


def bundled(name: str) -> str:
    """Path of a library in PyAV's wheel."""
    folder = Path(av.__file__).parent.parent / "av.libs"
    return next((str(path) for path in folder.glob(f"{name}-*")), "")


def assert_same_without_simd(paths: list[Path]) -> None:
    avutil = bundled("libavutil")
    if not avutil:
        pytest.skip("this PyAV does not bring its own FFmpeg: its CPU features cannot be switched off")
    if not ctypes.CDLL(avutil).av_get_cpu_flags():
        pytest.skip("FFmpeg knows no SIMD for this processor")
    plain, fast = (
        subprocess.Popen(
            [sys.executable, "-c", HASH_FRAMES, *libraries, *map(str, paths)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for libraries in ((avutil, bundled("libdav1d")), ("", ""))
    )
    without, with_simd = (json.loads(process.communicate()[0]) for process in (plain, fast))
    assert plain.returncode == fast.returncode == 0
    assert without == with_simd
    assert len(without) == len(paths)


def test_bits_do_not_depend_on_simd(tmp_path: Path) -> None:
    scene = enlarge(SQUARE, 2)[:, 3:, 5:-2][:, :-1, :-1]  # sides that are no multiple of a block
    scene = scene[:, : scene.shape[1] // 2 * 2, : scene.shape[2] // 2 * 2]
    paths = [write_video(tmp_path / name, scene, **how) for name, how in CODECS.items()]  # type: ignore[arg-type]
    assert all(len(decoded(path)) == 16 for path in paths)
    assert_same_without_simd(paths)


def test_bits_of_real_videos_do_not_depend_on_simd(data_dir: Path) -> None:
    assert_same_without_simd(sorted([*(data_dir / "videos").iterdir(), *(data_dir / "broken").iterdir()]))


# ---------------------------------------------------------------- real videos


def test_real_videos_have_the_frames_that_are_known(data_dir: Path) -> None:
    wrong = []
    messages = []
    with (data_dir / "MANIFEST.tsv").open() as manifest:
        rows = [
            r
            for r in csv.DictReader(manifest, delimiter="\t")
            if r["file"].startswith(("videos/", "broken/"))
        ]
    for row in rows:
        known = re.search(r"decoded=(\d+)", row["facts"])
        wanted = int(known[1]) if known and "container=png_pipe" not in row["facts"] else 0
        try:
            probe = probe_video(str(data_dir / row["file"]))
        except DecodeError as error:
            found, damage_found = 0, (0, 0)
            messages.append(str(error))
        else:
            found, damage_found = probe.frames, (probe.lost_packets, probe.corrupt_frames)
            assert probe.sha256 == row["sha256"]
        errors = re.search(r"errors=(\d+)", row["facts"])
        if found != wanted or damage_found[0] != (int(errors[1]) if errors else 0):
            wrong.append((row["file"], wanted, found, damage_found))
    assert not wrong
    assert not [message for message in messages if "Errno" in message]
    assert len(rows) > 50


@pytest.mark.parametrize(
    "name", ["rotated_minus90_3frames.mov", "rotated_180_3frames.mov", "ucf101_v_BaseballPitch_g01_c01.avi"]
)
def test_real_videos_look_as_opencv_shows_them(data_dir: Path, name: str) -> None:
    cv2 = pytest.importorskip("cv2")
    path = str(data_dir / "videos" / name)
    capture = cv2.VideoCapture(path)
    shown, bgr = capture.read()
    capture.release()
    assert shown
    ours = next(iter(decode_frames(path)))[0].astype(int)
    assert np.abs(ours - bgr[..., ::-1]).mean() < 2  # OpenCV rounds down, and does not interpolate colour
