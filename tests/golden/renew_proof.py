"""Write pipeline/known anew: `python -m tests.golden.renew_proof`. Known videos, and what each stage must make of them.

The videos are kept where they are there, since encoders change from version to version and decoders must not; the
digests are written anew. Run it when a stored value changes on purpose, as `tests.golden.renew_checksums`.
"""

import json

import av
import numpy as np

from tests import videos
from vstats.pipeline import demo, proof
from vstats.pipeline.records import U8

HEIGHT, WIDTH = 40, 52
KINDS = {
    "FFV1": ("ffv1", "bgra", {"level": "3", "slices": "4"}),
    "MPEG-4": ("mpeg4", "yuv420p", {"bf": "1"}),
    "H.264": ("libx264", "yuv420p", {"bf": "1"}),
}
"""Encoder, pixel format and options of each known video."""


def scene() -> U8:
    """A ground of two colours that moves left and down, and a square before it that moves right and down."""
    ground = demo._texture(7, HEIGHT + 16, WIDTH + 16).astype(np.int64)
    square = demo._texture(9, 20, 20).astype(np.int64)[:, :, None] // 2 + np.array([110, 20, 60])
    frames = np.empty((proof.FRAMES, HEIGHT, WIDTH, 3), np.int64)
    for t, frame in enumerate(frames):
        frame[:] = ground[8 - t : 8 - t + HEIGHT, 4 + 2 * t : 4 + 2 * t + WIDTH, None] * 3 // 4 + 30
        frame[:, WIDTH // 2 :, 2] -= 40
        frame[6 + 2 * t :, 13 + 3 * t :][:20, :20] = square
    return np.clip(frames, 0, 255).astype(np.uint8)


def main() -> None:
    """Make the videos that are not there, and renew the digests."""
    av.logging.set_level(av.logging.PANIC)
    proof.FOLDER.mkdir(exist_ok=True)
    for name, (codec, pixel_format, options) in KINDS.items():
        path = proof.FOLDER / proof.CLIPS[name]
        if not path.exists():
            videos.write_video(path, scene(), codec, pixel_format=pixel_format, options=options)
        print(f"{path.stat().st_size:>6} {path.name}")
    proof.DIGESTS.write_text("{}")
    # The CPU's bits in all sizes, those too that only a GPU is asked for.
    proof.SIZES["cpu"] = proof.SIZES["cuda"]
    known = {stage.name: stage.digests for stage in proof.prove().stages}
    proof.DIGESTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
