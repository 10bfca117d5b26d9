"""Made clips for tests of flow, and how flows are compared."""

from typing import Any

import cv2
import numpy as np


def texture(height: int, width: int, seed: int = 0, smooth: float = 1.5) -> Any:
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), smooth)
    return (soft - soft.min()) / (soft.max() - soft.min()) * np.float32(255)


def clip(count: int, height: int, width: int, seed: int = 0) -> Any:
    """Windows of a texture that slides by (1.5, 0.75) pixels a frame, with a little noise."""
    field = texture(height + 40, width + 40, seed)
    rng = np.random.default_rng(seed)
    frames = []
    for t in range(count):
        move = np.array([[1, 0, 1.5 * t - 20], [0, 1, 0.75 * t - 20]], np.float32)
        frames.append(cv2.warpAffine(field, move, (width, height)) + rng.normal(0, 1, (height, width)))
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def same_bits(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a.view(np.uint32), b.view(np.uint32)))
