"""What a network is asked to predict: labels as class indices, as the papers' numbers, or as distributions.

========  =====================================  ==================================================================
encoding  one label                              undefined (0 in the store), or won by less than the wanted margin
========  =====================================  ==================================================================
index     int64, from 0                          `IGNORE`, -1: ``cross_entropy(..., ignore_index=-1)`` leaves it out
number    float32, from 1, as stored             0, as the papers' code has it; mask it with ``target > 0``
soft      float32 [classes], sums to 1           zeros: it adds nothing to a cross-entropy
========  =====================================  ==================================================================

"number" is what the papers regress, with a mean squared error over the 14 and the 13 labels, weighted 1 and 0.1 (MAS
section 3.4; ``train.py`` of laura-wang/video_repres_sts).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.pipeline.records import ArrayRecord

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

ENCODINGS = ("index", "number", "soft")
IGNORE = -1
"""Class index of a label that is undefined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One label that can be predicted.

    Parameters
    ----------
    name : str
        family_pattern_label, as in `vstats labels`.
    family, group : str
        "motion", and the pattern or "global".
    array, position
        Where it stands in a store: ``labels/motion/pattern_1``, and its place there.
    classes : int
        Values that it can take, 1 to `classes` in the store.
    statistic : str
        The array that the label is the winner of.
    smallest : bool
        Whether the smallest wins.
    within : int or None
        Position of the label that says in which block to look.
    """

    name: str
    family: str
    group: str
    array: str
    position: int
    classes: int
    statistic: str
    smallest: bool
    within: int | None


def targets(
    arrays: Iterable[ArrayRecord], wanted: Sequence[str] | None = None, groups: Sequence[str] | None = None
) -> tuple[Target, ...]:
    """Return the labels of some families (None: all) and groups (patterns and "global"; None: all), in stored order."""
    found = []
    for array in arrays:
        family, _, group = array.group.partition("/")
        if (
            array.kind != "label"
            or (wanted is not None and family not in wanted)
            or (groups is not None and group not in groups)
        ):
            continue
        for position, label in enumerate(array.labels):
            found.append(
                Target(
                    name=f"{family}_{group}_{label.name}",
                    family=family,
                    group=group,
                    array=array.name,
                    position=position,
                    classes=label.classes,
                    statistic=label.statistic,
                    smallest=label.smallest,
                    within=label.within,
                )
            )
    return tuple(found)


def class_indices(labels: U8) -> I64:
    """Return labels, from 1 with 0 undefined, as class indices from 0 with -1 (`IGNORE`) undefined."""
    return labels.astype(np.int64) - 1


def regression_targets(labels: U8) -> F32:
    """Return labels as the numbers that the papers regress: from 1, 0 undefined."""
    return labels.astype(np.float32)


def distribution(target: Target, labels: U8, statistics: Mapping[str, Array], within: U8 | None) -> F32:
    """Return how the classes of one label share the statistic that it is the winner of.

    Where the largest wins, a class has its share of the sum. Where the smallest wins, values are mirrored first
    (largest + smallest - value), so that the winner has the largest share again.

    Parameters
    ----------
    target : Target
        The label.
    labels : uint8 [n]
        Its values; rows where it is 0 become zeros.
    statistics : mapping of str to array [n, ...]
        Must hold ``target.statistic``.
    within : uint8 [n] or None
        Values of the label that says in which block to look.

    Returns
    -------
    float32 [n, classes]
        Each row sums to 1, or is all zeros.
    """
    values = statistics[target.statistic]
    if within is not None:
        values = values[np.arange(len(values)), np.maximum(within, 1).astype(np.intp) - 1]
    shares = values.astype(np.float64)
    if target.smallest:
        shares = shares.max(axis=1, keepdims=True) + shares.min(axis=1, keepdims=True) - shares
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    shares[labels == 0] = 0
    soft: F32 = shares.astype(np.float32)
    return soft
