"""How a label is read off its statistics: the winner's number, and the margin by which it won.

Every label is the number of the largest or smallest of some statistic, so a `Column` says which, and `decide` does the
rest for all rows at once. The stored statistics (float32, or uint32 counts) are what is compared, not the sums that
they were rounded from: labels and statistics can never disagree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.cpu import winners
from vstats.kernels.measure import Measurements
from vstats.kernels.patterns import Pattern, first_paragraph

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """An array that labels are the winners of.

    Parameters
    ----------
    name : str
        Its name among the statistics of its family and pattern.
    shape : tuple of int or str
        Of one row; "blocks" stands for the pattern's number of blocks and "flows" for the frames that are compared.
    dtype : {"float32", "uint32"}
        Type in a store.
    meaning : str
        What it is, with its unit.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One label.

    Parameters
    ----------
    name : str
        Its name among the labels of its family and pattern.
    of : str
        The statistic that is compared: the last axis, after `within` has chosen on the one before it.
    pick : {"largest", "smallest"}
        Which one wins; the lowest number of equals.
    within : str or None
        An earlier column of the same group whose label says in which block to look.
    zero_is_none : bool
        Whether the label is 0, "undefined", where the largest is 0.
    meaning : str
        What the label says.
    """

    name: str
    of: str
    pick: str = "largest"
    within: str | None = None
    zero_is_none: bool = False
    meaning: str


StatisticsFunction = Callable[[Measurements, Pattern | None], dict[str, Array]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """A kind of labels: what is measured, and which labels are read off it.

    Parameters
    ----------
    name : str
        Name in the registry, and of the family's groups in a store.
    function : callable
        ``(measurements, pattern) -> {statistic: array [n, ...]}`` for the blocks of a pattern, or for the whole crop
        where `pattern` is None.
    columns, statistics : tuple of Column, tuple of Statistic
        Labels of each pattern, and what `function` returns for a pattern.
    global_columns, global_statistics : tuple of Column, tuple of Statistic
        The same for the whole crop; empty where the family has no such labels.
    version : int
        Raised whenever a label may differ for the same input.
    """

    name: str
    function: StatisticsFunction
    columns: tuple[Column, ...]
    statistics: tuple[Statistic, ...]
    global_columns: tuple[Column, ...] = ()
    global_statistics: tuple[Statistic, ...] = ()
    version: int = 1

    @property
    def description(self) -> str:
        """First paragraph of the function's docstring, on one line."""
        return first_paragraph(self.function)

    def groups(self, patterns: Sequence[Pattern]) -> tuple["Group", ...]:
        """Return the family's groups of labels: one a pattern, in order, then the whole crop."""
        groups = [Group(self, p, self.columns, self.statistics) for p in patterns if self.columns]
        if self.global_columns:
            groups.append(Group(self, None, self.global_columns, self.global_statistics))
        return tuple(groups)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The labels of one family on one pattern, or on the whole crop where `pattern` is None."""

    family: Family
    pattern: Pattern | None
    columns: tuple[Column, ...]
    statistics: tuple[Statistic, ...]

    @property
    def name(self) -> str:
        """Path of the group in a store, without its root: "motion/pattern_1", "motion/global"."""
        return f"{self.family.name}/{'global' if self.pattern is None else self.pattern.name}"


@dataclass(slots=True)
class Decided:
    """Labels uint8 [n, k], margins float32 [n, k] and statistics of one group, for n rows."""

    labels: U8
    margins: F32
    statistics: dict[str, Array]


def decide(columns: Sequence[Column], statistics: Mapping[str, Array]) -> tuple[U8, F32]:
    """Read labels and margins off the statistics of one family and pattern.

    Parameters
    ----------
    columns : sequence of Column
        The k labels.
    statistics : mapping of str to array [n, ...]
        The statistics that the columns name, for n rows.

    Returns
    -------
    labels : uint8 [n, k]
        Numbers from 1; 0 is undefined.
    margins : float32 [n, k]
        The gap between the winner and the runner-up, relative to the larger of the two: 0 for a tie, 1 where only one
        has anything. 0 where the label is undefined or has nobody to win against.
    """
    n = len(next(iter(statistics.values())))
    labels = np.empty((len(columns), n), np.uint8)
    margins = np.empty((len(columns), n), np.float32)
    anywhere = np.ones(n, np.uint8)
    place = {column.name: k for k, column in enumerate(columns)}
    for k, column in enumerate(columns):
        values = np.ascontiguousarray(statistics[column.of])
        block = anywhere if column.within is None else labels[place[column.within]]
        winners.pick(
            values.reshape(n, -1, values.shape[-1]),
            block,
            column.pick == "smallest",
            column.zero_is_none,
            labels[k],
            margins[k],
        )
    return np.ascontiguousarray(labels.T), np.ascontiguousarray(margins.T)
