"""The pyramid of TV-L1, whoever computes it: sizes of the levels, and the numbers that a level is solved with."""

from dataclasses import dataclass

import numpy as np

from vstats.kernels.contract import TVL1Params

STOP_UNITS = 2**29  # the summed change at which a warp stops, in the whole numbers that changes are summed in
MOST_UNITS = 2.0**100  # to a squared pixel; float32 ends at 2^128


def level_sizes(height: int, width: int, params: TVL1Params) -> list[tuple[int, int]]:
    """Sizes of the pyramid's levels, finest first; no level but the first has a side under 16."""
    sizes = [(height, width)]
    while len(sizes) < params.nscales:
        # round() is to even, like OpenCV's.
        height, width = round(height * params.scale_step), round(width * params.scale_step)
        if height < 16 or width < 16:
            break
        sizes.append((height, width))
    return sizes


@dataclass(frozen=True, slots=True)
class Rates:
    """The numbers of a level, float32.

    `reach` is lambda * theta, the farthest that thresholding moves u; `taut` is tau / theta; `unit` turns a squared change
    into the whole numbers that the stop test sums, and `stop` (int) is the sum at which a warp ends.
    """

    reach: np.float32
    theta: np.float32
    taut: np.float32
    unit: np.float32
    stop: int

    @classmethod
    def of(cls, height: int, width: int, params: TVL1Params) -> "Rates":
        """Return the numbers for a level of this size."""
        threshold = params.epsilon * params.epsilon * height * width
        # About 2^29 units to the threshold, or the least change at all where it is 0.
        unit = min(STOP_UNITS / threshold, MOST_UNITS) if threshold > 0 else MOST_UNITS
        return cls(
            reach=np.float32(params.lambda_ * params.theta),
            theta=np.float32(params.theta),
            taut=np.float32(params.tau / params.theta),
            unit=np.float32(unit),
            stop=int(threshold * unit),
        )
