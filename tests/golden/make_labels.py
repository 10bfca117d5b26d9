"""Write `labels.json`: checksums of labels, margins and statistics of clips made of whole numbers.

    python tests/golden/make_labels.py

Run it only where a definition is meant to change, and say so in the commit. The clips need no random generator: every
value is a hash of its own position.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from vstats.pipeline.labels import LabelConfig, label_rows

STORED = Path(__file__).with_name("labels.json")

CASES: dict[str, tuple[dict[str, Any], list[tuple[int, int, bool]]]] = {
    "sts": (
        {"statistics": True},
        [(8, 29, False), (8, 29, True), (0, 0, False), (16, 59, True)],
    ),
    "sts, no motion and one colour": ({"statistics": True}, [(8, 29, False), (8, 29, True)]),
    "sts, 32 frames, 64 of 72x80": (
        {"statistics": True, "clip_length": 32, "working": (72, 80), "crop": 64},
        [(0, 16, True), (4, 3, False)],
    ),
    "sts-released": ({"profile": "sts-released", "statistics": True}, [(8, 29, False), (8, 29, True)]),
    "mas-released": ({"profile": "mas-released", "statistics": True}, [(8, 29, False), (8, 29, True)]),
}


def hashed(shape: tuple[int, ...], salt: int) -> Any:
    """Return a 16-bit hash of every index into an array of this shape, as int64."""
    n = np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(salt << 40)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        n = (n ^ (n >> np.uint64(shift))) * np.uint64(factor)
    return (n >> np.uint64(48)).astype(np.int64).reshape(shape)


def clip(frames: int, flows: int, height: int, width: int, salt: int) -> tuple[Any, Any]:
    """Return rgb uint8 [T, H, W, 3] and flow float32 [F, H, W, 2]: patches of 8 x 8 pixels with noise on them."""
    y, x = np.arange(height) // 8, np.arange(width) // 8
    patches = (hashed((frames, 32, 32, 3), salt) >> 8)[:, y][:, :, x]
    rgb = np.clip(patches + hashed((frames, height, width, 3), salt + 1) // 4096 - 8, 0, 255).astype(np.uint8)
    steps = (hashed((flows, 32, 32, 2), salt + 2) - 32768)[:, y][:, :, x]
    flow = (steps + hashed((flows, height, width, 2), salt + 3) // 16).astype(np.float32) / np.float32(8192)
    return rgb, flow


def digests(name: str) -> dict[str, str]:
    """Return the sha256 of every array of a case."""
    options, crops = CASES[name]
    config = LabelConfig(**options, families=None, patterns=("pattern_1", "pattern_2", "pattern_3"))
    height, width = config.working
    rgb, flow = clip(config.clip_length, config.flows_needed, height, width, len(name))
    if "no motion" in name:
        rgb[:], flow[:] = 77, 1.5
    arrays, refusals = label_rows(rgb, flow, crops, config)
    assert refusals == [None] * len(crops)
    return {
        key: hashlib.sha256(a.astype(a.dtype.newbyteorder("<")).tobytes()).hexdigest()
        for key, a in arrays.items()
    }


if __name__ == "__main__":
    STORED.write_text(json.dumps({name: digests(name) for name in CASES}, indent=1) + "\n")
