"""Make tests/golden/videos anew: `python -m tests.golden.make_videos`. A tiny video of every codec whose decoder could differ.

The files are kept, since encoders change from version to version and decoders must not; so run this only to add one, and
then `python -m tests.golden.renew_frames`.
"""

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np

from tests import videos

FOLDER = Path(__file__).parent / "videos"
FRAMES = 6

# File name -> encoder, pixel format, size (height, width), encoder's options, the container's four letters.
Kind = tuple[str, str, tuple[int, int], Mapping[str, str], str | None]
SMALL, QCIF = (48, 64), (144, 176)
INTERLACED = {"flags": "+ildct+ilme", "bf": "2"}
KINDS: dict[str, Kind] = {
    "amv.avi": ("amv", "yuvj420p", SMALL, {}, None),
    "asv1.avi": ("asv1", "yuv420p", SMALL, {}, None),
    "asv2.avi": ("asv2", "yuv420p", SMALL, {}, None),
    "av1.mkv": ("libsvtav1", "yuv420p", (64, 64), {"svtav1-params": "lp=1"}, None),
    "dnxhd.mov": ("dnxhd", "yuv422p", (128, 256), {"profile": "dnxhr_lb"}, None),
    "exr.mov": ("exr", "gbrpf32le", (16, 16), {}, None),
    "flv1.flv": ("flv", "yuv420p", SMALL, {}, None),
    "h261.avi": ("h261", "yuv420p", QCIF, {"qscale": "20"}, None),
    "h263.3gp": ("h263", "yuv420p", (96, 128), {}, None),
    "h263p.avi": ("h263p", "yuv420p", SMALL, {"flags": "+aic"}, None),
    "h264.mp4": ("libx264", "yuv420p", SMALL, {"bf": "2"}, None),
    "h264_10bit.mp4": ("libx264", "yuv422p10le", SMALL, {}, None),
    "hevc.mp4": ("libx265", "yuv420p", (64, 64), {"x265-params": "log-level=none:pools=1"}, None),
    "jpeg2000.avi": ("jpeg2000", "yuv420p", SMALL, {"pred": "dwt97int"}, None),
    "mjpeg.avi": ("mjpeg", "yuvj420p", SMALL, {}, None),
    "mjpeg_444.avi": ("mjpeg", "yuvj444p", SMALL, {}, None),
    "mpeg1.mpg": ("mpeg1video", "yuv420p", SMALL, {"bf": "2"}, None),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", SMALL, {"bf": "2"}, None),
    "mpeg2_422_interlaced.avi": ("mpeg2video", "yuv422p", SMALL, INTERLACED, None),
    "mpeg4.mp4": ("mpeg4", "yuv420p", SMALL, {"bf": "2"}, None),
    "mpeg4_divx.avi": ("mpeg4", "yuv420p", SMALL, {"flags": "+mv4+aic"}, "DX50"),
    "mpeg4_xvid.avi": ("mpeg4", "yuv420p", SMALL, {"flags": "+qpel+mv4", "bf": "2"}, "XVID"),
    "mpeg4_xvid_interlaced.avi": ("mpeg4", "yuv420p", SMALL, INTERLACED, "XVID"),
    "msmpeg4v2.avi": ("msmpeg4v2", "yuv420p", SMALL, {}, None),
    "msmpeg4v3.avi": ("msmpeg4", "yuv420p", SMALL, {}, None),
    "prores.mov": ("prores_ks", "yuv422p10le", SMALL, {}, None),
    "prores_4444.mov": ("prores_ks", "yuv444p10le", SMALL, {"profile": "4444"}, None),
    "rv10.rm": ("rv10", "yuv420p", SMALL, {}, None),
    "rv20.rm": ("rv20", "yuv420p", SMALL, {}, None),
    "snow.avi": ("snow", "yuv420p", SMALL, {"pred": "dwt97"}, None),
    "speedhq.avi": ("speedhq", "yuv420p", SMALL, {}, None),
    "svq1.mov": ("svq1", "yuv410p", SMALL, {}, None),
    "tiff_exif.mov": ("tiff", "rgb24", (16, 16), {"compression_algo": "deflate"}, None),
    "vp8.webm": ("libvpx", "yuv420p", SMALL, {}, None),
    "vp9.webm": ("libvpx-vp9", "yuv420p", SMALL, {}, None),
    "wmv1.asf": ("wmv1", "yuv420p", SMALL, {}, None),
    "wmv2.asf": ("wmv2", "yuv420p", SMALL, {}, None),
}


def main() -> None:
    """Write the files that are not there."""
    av.logging.set_level(av.logging.PANIC)
    FOLDER.mkdir(exist_ok=True)
    for name, (codec, pixel_format, (height, width), options, tag) in KINDS.items():
        if not (FOLDER / name).exists():
            y, x = np.arange(height) * 96 // height + 16, np.arange(width) * 128 // width + 20
            clip = videos.rotating(FRAMES, degrees=6)[:, y[:, None], x[None, :]]
            videos.write_video(
                FOLDER / name, clip, codec, pixel_format=pixel_format, tag=tag, options={"strict": "-2", **options}
            )  # fmt: skip
        print(f"{(FOLDER / name).stat().st_size:>7} {name}")


if __name__ == "__main__":
    main()
