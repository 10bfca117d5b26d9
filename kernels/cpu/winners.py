"""The winner among some numbers, and by how much it won."""

from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.cpu.jit import kernel

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


@kernel
def pick(
    values: npt.NDArray[Any], block: U8, smallest: bool, zero_is_none: bool, labels: U8, margins: F32
) -> None:
    """Number the largest (or smallest) of each row of [n, B, m] in the block that `block` uint8 [n] numbers from 1.

    `labels` uint8 [n] receives the number, from 1, of the lowest of equals; 0 where the block is 0, or where the winner
    is 0 and `zero_is_none`. `margins` float32 [n] receives the gap to the runner-up relative to the larger of the two.
    """
    for i in range(values.shape[0]):
        labels[i] = 0
        margins[i] = np.float32(0)
        if block[i] == 0:
            continue
        row = values[i, block[i] - 1]
        best = 0
        for j in range(1, row.size):
            if (row[j] < row[best]) if smallest else (row[j] > row[best]):
                best = j
        if zero_is_none and row[best] == 0:
            continue
        labels[i] = best + 1
        if row.size == 1:
            continue
        second = 1 if best == 0 else 0
        for j in range(second + 1, row.size):
            if j != best and ((row[j] < row[second]) if smallest else (row[j] > row[second])):
                second = j
        larger, lesser = np.float32(row[best]), np.float32(row[second])
        if smallest:
            larger, lesser = lesser, larger
        if larger > 0:
            margins[i] = (larger - lesser) / larger
