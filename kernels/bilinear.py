"""Where a bilinear resize of float32 planes takes its samples, whoever computes it."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]


@lru_cache(maxsize=256)
def places(source: int, target: int, scale: float) -> tuple[I64, I64, F32]:
    """Return, per output index, its two source indices and the weight of the second.

    `scale` is source pixels an output pixel; centres of pixels lie at halves, and the border is replicated.
    """
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    weight = position - first.astype(np.float32)
    # Outside the centres of the border pixels both are the border pixel, whatever the weight.
    upper, lower = np.clip(first, 0, source - 1), np.clip(first + 1, 0, source - 1)
    return upper, lower, weight
