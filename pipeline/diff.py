"""Two stores, row by row: which labels differ, how many, where."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vstats.pipeline import store as stores
from vstats.pipeline.errors import UsageError
from vstats.pipeline.store import Array, Store
from vstats.pipeline.table import LabelColumn, store_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDiff:
    """How one label compares over the rows that both stores labelled."""

    name: str
    compared: int
    different: int

    @property
    def rate(self) -> float:
        """Share of compared rows that differ, 0 to 1."""
        return self.different / self.compared if self.compared else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One label of one row that differs."""

    row_a: int
    row_b: int
    key: str
    start_frame: int
    crop_y: int
    crop_x: int
    flip: int
    column: str
    a: int
    b: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffReport:
    """What two stores have in common and where they differ.

    Rows are the same when video key, start frame, stride, crop and flip are. `options` are the configuration options
    that differ, `unproven_a` and `unproven_b` what `Store.unproven` says; `other_flow` tells whether both have OpenCV's
    flow, of CPUs where it has other bits. `only_a` and `only_b` count rows of one store alone, `one_sided` rows that
    one store labelled and the other could not.
    """

    options: tuple[str, ...]
    unproven_a: tuple[str, ...]
    unproven_b: tuple[str, ...]
    other_flow: bool
    common_rows: int
    only_a: int
    only_b: int
    one_sided: int
    rows_that_differ: int
    columns: tuple[ColumnDiff, ...]
    columns_only_a: tuple[str, ...]
    columns_only_b: tuple[str, ...]
    first: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether both stores hold the same rows with the same labels."""
        return not (
            self.only_a
            or self.only_b
            or self.one_sided
            or self.rows_that_differ
            or self.columns_only_a
            or self.columns_only_b
        )


def diff(a: Store, b: Store, *, first: int = 10) -> DiffReport:
    """Compare the labels of two stores.

    Parameters
    ----------
    a, b : Store
        The stores; of any configuration.
    first : int
        How many differences to list.

    Raises
    ------
    UsageError
        The stores have no row in common.
    """
    ids = {key: number for number, key in enumerate(sorted({*a.keys(), *b.keys()}))}
    names = list(ids)
    rows_a, rows_b = _identities(a, ids), _identities(b, ids)
    _, at_a, at_b = np.intersect1d(_packed(rows_a), _packed(rows_b), return_indices=True)
    if not len(at_a):
        raise UsageError(
            f"{a.place} and {b.place} have no row in common (same key, start frame, stride, crop and flip); "
            "extract both with the same clips and crops, and keys relative to the same root"
        )
    order = np.argsort(at_a)
    at_a, at_b = at_a[order], at_b[order]
    ok_a = a.read(stores.STATUS.name)[at_a] == stores.STATUS_OK
    ok_b = b.read(stores.STATUS.name)[at_b] == stores.STATUS_OK
    both = ok_a & ok_b
    left, right = at_a[both], at_b[both]
    columns_a = {column.name: column for column in store_columns(a)}
    columns_b = {column.name: column for column in store_columns(b)}
    any_different = np.zeros(len(left), bool)
    columns: list[ColumnDiff] = []
    found: list[Difference] = []
    for name in [name for name in columns_a if name in columns_b]:
        values_a, values_b = _column(a, columns_a[name])[left], _column(b, columns_b[name])[right]
        different = values_a != values_b
        any_different |= different
        columns.append(ColumnDiff(name=name, compared=len(left), different=int(different.sum())))
        for where in np.flatnonzero(different)[:first].tolist():
            _, start, _, y, x, flip = rows_a[left[where]].tolist()
            found.append(
                Difference(
                    row_a=int(left[where]), row_b=int(right[where]), key=names[rows_a[left[where], 0]],
                    start_frame=start, crop_y=y, crop_x=x, flip=flip, column=name,
                    a=int(values_a[where]), b=int(values_b[where]),
                )
            )  # fmt: skip
    found.sort(key=lambda d: d.row_a)
    return DiffReport(
        options=tuple(a.plan.config.differences(b.plan.config)),
        unproven_a=a.unproven(),
        unproven_b=b.unproven(),
        other_flow=len({a.plan.opencv_flow, b.plan.opencv_flow} - {""}) > 1,
        common_rows=len(at_a),
        only_a=a.rows - len(at_a),
        only_b=b.rows - len(at_b),
        one_sided=int((ok_a != ok_b).sum()),
        rows_that_differ=int(any_different.sum()),
        columns=tuple(columns),
        columns_only_a=tuple(n for n in columns_a if n not in columns_b),
        columns_only_b=tuple(n for n in columns_b if n not in columns_a),
        first=tuple(found[:first]),
    )


def _identities(store: Store, ids: dict[str, int]) -> Array:
    columns = [store.read(array.name).astype(np.int64) for array in stores.INDEX]
    columns[0] = np.array([ids[key] for key in store.keys()], np.int64)[columns[0]]  # noqa: SIM118
    return np.ascontiguousarray(np.stack(columns, axis=1))


def _packed(rows: Array) -> Array:
    names: Any = [(f"f{k}", np.int64) for k in range(rows.shape[1])]
    packed: Array = rows.view(names).reshape(-1)
    return packed


def _column(store: Store, column: LabelColumn) -> Array:
    values: Array = store.read(column.array)[:, column.position]
    return values
