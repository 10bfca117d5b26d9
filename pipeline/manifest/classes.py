"""Class names and their indices."""

import csv
import json
import re
from pathlib import Path

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest.naming import printable
from vstats.pipeline.manifest.source import ListFile

_NUMBERED = re.compile(r"(\d+)[\s,]+(\S.*)")


def plain(name: str) -> str:
    """Return a class name as it is compared: case, quotes and '_' for a space make no difference."""
    return name.strip("\"' ").replace("_", " ").casefold()


class ClassMap:
    """Class names by index, and back.

    Parameters
    ----------
    source : str
        Where they come from, for messages.
    names : tuple of str
        Names by index; "" for an index without one.
    """

    def __init__(self, source: str, names: tuple[str, ...]) -> None:
        self.source = source
        self.names = names
        self._exact = {name: index for index, name in reversed(list(enumerate(names))) if name}
        self._plain = {plain(name): index for name, index in self._exact.items()}

    def index(self, name: str) -> int | None:
        """Return the index of a name, or None."""
        index = self._exact.get(name)
        return self._plain.get(plain(name)) if index is None else index

    def index_of_folder(self, path: str) -> int | None:
        """Return the index of the nearest folder of a path that is named like a class."""
        for folder in reversed(path.split("/")[:-1]):
            if (index := self.index(folder)) is not None:
                return index
        return None


def read_classes(path: str) -> ClassMap:
    """Read a class list: names by line, ``index name`` lines (from 0 or 1), csv ``id,name``, or json.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    ClassMap

    Raises
    ------
    ManifestError
        If an index is missing or stands twice.
    """
    source = ListFile.from_path(path)
    if source.is_parquet:
        raise ManifestError(f"{source.name} is a parquet file; a class list is text or json")
    if source.text.lstrip().startswith(("{", "[")):
        numbered = _from_json(source)
    else:
        lines = [line for _, line in source.lines]
        if lines and lines[0].replace(" ", "").casefold() in {
            "id,name",
            "index,name",
            "label,name",
            "id,label",
        }:
            lines = [",".join(row) for row in csv.reader(lines[1:])]
        matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
        all_numbered = len(matches) == len(lines)
        numbered = (
            [(int(match[1]), match[2]) for match in matches] if all_numbered else list(enumerate(lines))
        )
    if not numbered:
        raise ManifestError(
            f"{source.name} holds no class names; give one name a line, or 'index name' lines"
        )
    first = 1 if min(index for index, _ in numbered) == 1 else 0
    names = {index - first: name.strip("\"' ") for index, name in numbered}
    if len(names) != len(numbered) or set(names) != set(range(len(names))):
        raise ManifestError(
            f"{source.name} numbers its {len(numbered)} classes with gaps or twice; indices must run from 0 or 1 "
            "without a gap"
        )
    seen: set[str] = set()
    for name in names.values():
        if plain(name) in seen:
            raise ManifestError(
                f"{source.name} names the class {name!r} twice; each class may have one index"
            )
        seen.add(plain(name))
    return ClassMap(source.name, tuple(names[index] for index in range(len(names))))


def _from_json(source: ListFile) -> list[tuple[int, str]]:
    try:
        value = json.loads(source.text)
        if isinstance(value, dict):  # {"name": 0} or {"0": "name"}
            items = [
                (int(key), val) if isinstance(val, str) else (int(val), key) for key, val in value.items()
            ]
        else:
            items = list(enumerate(value))
    except (ValueError, TypeError) as err:
        raise ManifestError(
            f'{source.name} is no class list in json ({err}); wanted ["name", ...] or {{"name": index, ...}}'
        ) from err
    return [(index, str(name)) for index, name in items]


def class_list_beside(folder: str) -> ClassMap | None:
    """Read the UCF101 class list (``classInd.txt``, whatever stands before it) in a folder, if there is one."""
    try:
        found = sorted(
            path for path in Path(folder).iterdir() if path.name.casefold().endswith("classind.txt")
        )
    except OSError:
        return None
    return read_classes(str(found[0])) if found else None


def named(class_map: ClassMap, index: int, where: str) -> str:
    """Return the name of an index, or say which list does not have it."""
    if index >= len(class_map.names):
        raise ManifestError(
            f"{printable(where)}: label {index}, but {class_map.source} has only {len(class_map.names)} classes, "
            f"0 to {len(class_map.names) - 1}; give the class list that belongs to this input with --classes"
        )
    return class_map.names[index]
