"""Write tests/golden/frames.json anew: `python -m tests.golden.renew_frames` (with VSTATS_TEST_DATA for its part).

The file says which CRC-32 each decoded RGB frame must have, on any machine and with any version of FFmpeg, as FFmpeg's own
FATE does for planes: a change of FFmpeg is told apart from one of our kernels. `tests/test_frames.py` compares.
"""

import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.golden.make_videos import FOLDER
from vstats.pipeline.decode import decode_frames
from vstats.pipeline.demo import make_videos
from vstats.pipeline.errors import DecodeError

FILE = Path(__file__).parent / "frames.json"


def checksums(path: Path) -> str:
    """Return the CRC-32 of every frame of a video, eight hexadecimal digits each, with spaces between."""
    return " ".join(f"{zlib.crc32(rgb):08x}" for rgb, _ in decode_frames(str(path)))


def real_videos(data: Path) -> Iterator[Path]:
    """Yield the real clips, and of the broken ones those that decode."""
    for path in sorted([*(data / "videos").iterdir(), *(data / "broken").iterdir()]):
        try:
            next(decode_frames(str(path)))
        except DecodeError:
            continue
        yield path


def main() -> None:
    """Renew the file; what is not here stays as it is."""
    record = json.loads(FILE.read_text()) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        demo = make_videos(Path(folder))
        record["demo"] = {str(p.relative_to(demo)): checksums(p) for p in sorted(demo.rglob("*.y4m"))}
    record["made"] = {path.name: checksums(path) for path in sorted(FOLDER.iterdir())}
    data = os.environ.get("VSTATS_TEST_DATA")
    if data:
        record["real"] = {path.name: checksums(path) for path in real_videos(Path(data))}
    FILE.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
