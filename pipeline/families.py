"""The registry of label families: each is one function from measurements to statistics, and columns that name winners.

    >>> @family(
    ...     "brightness",
    ...     columns=(Column(name="bright_loc", of="mean", meaning="brightest block"),),
    ...     statistics=(Statistic(name="mean", shape=("blocks",), dtype="float32", meaning="mean grey level"),),
    ... )
    ... def brightness(m, pattern):
    ...     "Which block is brightest."
    ...     return {"mean": np.stack([[m.rgb(i)[:, b].mean() for b in m.masks(pattern)] for i in range(len(m.rows))])}

`Measurements` (`vstats.kernels.measure`) offers every row's pixels and flow, and the sums that all families share. The
store's arrays, `label_rows` and the tests follow.
"""

from collections.abc import Callable, Sequence

from vstats.kernels import standard
from vstats.kernels.errors import InputError
from vstats.kernels.rules import Column, Family, Statistic, StatisticsFunction

_REGISTRY: dict[str, Family] = dict(standard.FAMILIES)


def family(
    name: str,
    *,
    columns: Sequence[Column] = (),
    statistics: Sequence[Statistic] = (),
    global_columns: Sequence[Column] = (),
    global_statistics: Sequence[Statistic] = (),
    version: int = 1,
) -> Callable[[StatisticsFunction], StatisticsFunction]:
    """Register a function from measurements to statistics as the label family `name`.

    Parameters
    ----------
    name : str
        A lower-case identifier, not in use.
    columns, statistics : sequence of Column, sequence of Statistic
        Labels of each pattern, and what the function returns for a pattern: arrays [n, ...], float32 or uint32.
    global_columns, global_statistics : sequence of Column, sequence of Statistic
        The same for the whole crop, for which the function gets None as its pattern.
    version : int
        Raised whenever a label may differ for the same input.

    Raises
    ------
    InputError
        The name is taken or no lower-case identifier, there is no column, or a column names a statistic or an earlier
        column that is not there.
    """
    if not name.isidentifier() or name != name.lower():
        raise InputError(f"family name {name!r}: it must be a lower-case identifier")
    if name in _REGISTRY:
        raise InputError(f"family {name!r} is registered already")
    if not columns and not global_columns:
        raise InputError(f"family {name!r} has no columns")
    _check_columns(name, columns, statistics)
    _check_columns(name, global_columns, global_statistics)

    def register(function: StatisticsFunction) -> StatisticsFunction:
        _REGISTRY[name] = Family(
            name=name,
            function=function,
            columns=tuple(columns),
            statistics=tuple(statistics),
            global_columns=tuple(global_columns),
            global_statistics=tuple(global_statistics),
            version=version,
        )
        return function

    return register


def unregister(name: str) -> None:
    """Forget a family that was added; the two of the papers stay."""
    if name in standard.FAMILIES:
        raise InputError(f"{name} is one of the papers' families and stays")
    _REGISTRY.pop(name, None)


def names() -> tuple[str, ...]:
    """Return the registered names, in the order of registration."""
    return tuple(_REGISTRY)


def get(name: str) -> Family:
    """Return the family of this name; `InputError` names the known ones."""
    try:
        return _REGISTRY[name]
    except KeyError:
        raise InputError(f"no family is called {name!r}; known: {', '.join(_REGISTRY)}") from None


def _check_columns(name: str, columns: Sequence[Column], statistics: Sequence[Statistic]) -> None:
    known = {s.name for s in statistics}
    earlier: set[str] = set()
    for s in statistics:
        if s.dtype not in ("float32", "uint32"):
            raise InputError(
                f"family {name!r}: statistic {s.name!r} is {s.dtype}; it must be float32 or uint32"
            )
    for column in columns:
        if column.of not in known:
            raise InputError(
                f"family {name!r}: column {column.name!r} is of {column.of!r}, which is no statistic"
            )
        if column.within is not None and column.within not in earlier:
            raise InputError(
                f"family {name!r}: column {column.name!r} is within {column.within!r}, no earlier column"
            )
        if column.pick not in ("largest", "smallest"):
            raise InputError(
                f"family {name!r}: column {column.name!r} picks {column.pick!r}; largest or smallest"
            )
        if column.name in earlier:
            raise InputError(f"family {name!r}: two columns are called {column.name!r}")
        earlier.add(column.name)
