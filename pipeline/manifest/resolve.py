"""Entries -> rows: every name is looked for on disk, lines about the same video become one row."""

import os.path
from collections.abc import Iterator
from typing import NamedTuple

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest.classes import ClassMap, named, plain
from vstats.pipeline.manifest.model import Entry, Parsed
from vstats.pipeline.manifest.naming import counted, is_absolute, is_usable, key_of_path, printable
from vstats.pipeline.manifest.tree import Tree
from vstats.pipeline.records import ManifestRow


class Resolved(NamedTuple):
    """What came of all entries."""

    rows: tuple[ManifestRow, ...]
    missing: tuple[ManifestRow, ...]
    duplicates: int
    classes: tuple[str, ...]
    notes: list[str]


_Said = tuple[tuple[int, ...], str, tuple[int, ...] | None]  # labels, class name, first frames


class _Video:
    """Everything that the lines say about one video."""

    __slots__ = ("found", "said")

    def __init__(self, found: bool) -> None:
        self.found = found
        self.said: list[_Said] = []

    @property
    def labels(self) -> set[int]:
        return {label for labels, _, _ in self.said for label in labels}

    @property
    def names(self) -> set[str]:
        return {name for _, name, _ in self.said if name}

    @property
    def starts(self) -> set[int]:
        return {start for _, _, starts in self.said for start in starts or ()}

    @property
    def duplicates(self) -> int:
        """Repeated clips of explicit ones, and lines beyond the first that leave the clips open."""
        asked = sum(len(starts or ()) for _, _, starts in self.said)
        distinct = len(self.starts)
        open_lines = sum(starts is None for _, _, starts in self.said)
        return asked - distinct + max(open_lines - (distinct == 0), 0)

    def row(self, root: str, path: str) -> ManifestRow:
        if len(self.said) == 1:
            ((stated, name, starts),) = self.said
            labels, names = set(stated), {name} if name else set()
        else:
            labels, names, starts = self.labels, self.names, tuple(self.starts)
        return ManifestRow(
            key=key_of_path(path),
            path=f"{root}/{path}",
            label=min(labels) if len(labels) == 1 else -1,
            class_name=printable(min(names)) if len(labels) <= 1 and len(names) == 1 else "",
            start_frames=tuple(sorted(set(starts))) if starts else None,
        )


def resolve(parts: list[tuple[str, Parsed]], tree: Tree, given: ClassMap | None) -> Resolved:
    """Look for every entry under a root, and group them by video.

    Parameters
    ----------
    parts : list of (str, Parsed)
        Each input's name, and what its parser understood.
    tree : Tree
        Of the root.
    given : ClassMap or None
        Class list that the user gave; it goes before those that came with the inputs.

    Returns
    -------
    Resolved
    """
    tails = _Tails(tree)
    finder = _Finder(tree, tails)
    for source, parsed in parts:
        tails.learn(source, parsed.entries)
    labelling = _Labelling(parts, given)
    videos: dict[str, _Video] = {}
    for source, parsed in parts:
        class_map = given or parsed.classes
        for entry in parsed.entries:
            path, found = finder.locate(source, entry)
            video = videos.get(path)
            if video is None:
                video = videos[path] = _Video(found)
            video.said.append((*labelling.label(source, entry, path, class_map), entry.starts))
    rows: list[ManifestRow] = []
    missing: list[ManifestRow] = []
    root = tree.root.rstrip("/")
    for path, video in videos.items():
        (rows if video.found else missing).append(video.row(root, path))
    rows.sort(key=lambda row: row.key)  # by code point, which is the order of UTF-8 bytes
    missing.sort(key=lambda row: row.key)
    repeated = [video for video in videos.values() if len(video.said) > 1 or len(video.said[0][0]) > 1]
    several = sum(len(video.labels) > 1 for video in repeated)
    notes = [*finder.notes(), *tails.notes(), *labelling.notes()]
    if several:
        notes.append(
            f"{counted(several, 'video')} with more than one label: no single one is kept, the label is -1"
        )
    duplicates = sum(video.duplicates for video in repeated)
    return Resolved(tuple(rows), tuple(missing), duplicates, labelling.classes(rows, missing), notes)


class _Finder:
    """Looks for one entry, and counts what had to be bent to find it."""

    def __init__(self, tree: Tree, tails: "_Tails") -> None:
        self.tree = tree
        self.tails = tails
        self.any_case = 0
        self._there_of: dict[tuple[str, ...], tuple[str, ...]] = {}

    def locate(self, source: str, entry: Entry) -> tuple[str, bool]:
        """Return the path of an entry relative to the root, and whether it is there."""
        if not is_usable(entry.name):
            raise ManifestError(
                f"{source}, line {entry.line}: found {entry.name!r}; no file can have this name: it holds "
                "a NUL or half a character"
            )
        for stem in entry.stems:
            for folder in self._there(entry.folders):
                if hit := self.tree.find_stem(folder, stem):
                    return hit, True
        if entry.stems:
            return entry.name, False
        name = entry.name
        if entry.literal or self._has_backslash_after_all(name):
            if name.startswith(("/", "../")) or os.path.normpath(name) != name:
                raise outside_root(f"{source}, line {entry.line}", name, self.tree.root)
        else:
            name = self.tails.relative(source, entry)
        if hit := self._find(name, entry):
            return hit, True
        return name, False

    def _there(self, folders: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of some folders that hold files: the same few are asked for again and again."""
        there = self._there_of.get(folders)
        if there is None:
            there = self._there_of[folders] = tuple(name for name in folders if self.tree.folder(name).files)
        return there

    def _has_backslash_after_all(self, name: str) -> bool:
        """Say whether a backslash is no separator of Windows here but part of the name of a file that is there."""
        return "\\" in name and os.path.normpath(name) == name and self.tree.find(name) is not None

    def _find(self, name: str, entry: Entry) -> str | None:
        if entry.any_extension:
            above, _, stem = name.rpartition("/")
            hit = self.tree.find_stem(above, stem)
        else:
            hit = self.tree.find(name)
        if hit is None and entry.any_case:
            hit = self.tree.find_any_case(name, any_extension=entry.any_extension)
            self.any_case += hit is not None
        return hit

    def notes(self) -> Iterator[str]:
        if self.any_case:
            yield f"{counted(self.any_case, 'name')} matched only without regard to case"
        if self.tree.ambiguous:
            yield (
                f"{counted(len(self.tree.ambiguous), 'name')} without extension fitted several videos: the first in "
                "order of their extensions was taken"
            )


def outside_root(where: str, name: str, root: str) -> ManifestError:
    """Return the error for a video that no key can be made for."""
    return ManifestError(
        f"{where}: {name!r} lies outside the root {root!r}; give a folder that holds all videos with --root"
    )


class _Tails:
    """Absolute paths, often of the machine that a list was made on: found again by their last parts.

    One number of leading folders is dropped from all absolute paths of a list, the smallest that leads to any file; at
    most those that the paths have in common, so that no two of them become one.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.prefixes = tuple(
            dict.fromkeys(f"{p.rstrip('/')}/" for p in (tree.root, os.path.realpath(tree.root)))
        )
        self.dropped: dict[str, int] = {}
        self.moved = 0

    def learn(self, source: str, entries: list[Entry]) -> None:
        """Find out how many leading folders to drop from the absolute paths of a list."""
        if any(entry.literal or entry.stems for entry in entries[:1]):
            return
        foreign = [
            (entry, name)
            for entry in entries
            if is_absolute(name := tidy(entry.name)) and not self._below(name)
        ]
        if not foreign:
            return
        common = _shared_folders([name for _, name in foreign])
        finder = _Finder(self.tree, self)
        for count in range(1, common + 1):
            if any(finder._find(_drop(name, count), entry) for entry, name in foreign):
                self.dropped[source] = count
                return

    def _below(self, name: str) -> str | None:
        return next((name[len(prefix) :] for prefix in self.prefixes if name.startswith(prefix)), None)

    def relative(self, source: str, entry: Entry) -> str:
        """Return the path of an entry relative to the root."""
        name = tidy(entry.name)
        if not is_absolute(name):
            if name.startswith("../") or name in ("..", "."):
                raise outside_root(f"{source}, line {entry.line}", entry.name, self.tree.root)
            return name
        if below := self._below(name):
            return below
        if source in self.dropped:
            self.moved += 1
            return _drop(name, self.dropped[source])
        above, _, stem = name.rpartition("/")
        if self.tree.find_stem(above, stem) if entry.any_extension else self.tree.find(name):
            raise outside_root(f"{source}, line {entry.line}", entry.name, self.tree.root)
        return _drop(name, 1)

    def notes(self) -> Iterator[str]:
        if self.moved:
            leading = ", ".join(map(str, sorted(set(self.dropped.values()))))
            yield (
                f"{counted(self.moved, 'absolute path')} looked for below the root, without the first {leading} of "
                "their folders"
            )


def tidy(name: str) -> str:
    """Return a path with '/' between folders and nothing superfluous."""
    name = name.replace("\\", "/")
    return os.path.normpath(name).replace("//", "/", 1) if name.startswith("//") else os.path.normpath(name)


def _drop(name: str, count: int) -> str:
    """Return a path without its first parts; the root or drive is the first."""
    return "/".join(name.split("/")[count:])


def _shared_folders(names: list[str]) -> int:
    """Return how many leading parts all paths share, their root or drive included."""
    # The first and the last in order differ as early as any two do.
    first, last = min(names).split("/")[:-1], max(names).split("/")[:-1]
    return next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )


class _Labelling:
    """Class indices and names: as stated, from a class list, or from the sorted names."""

    def __init__(self, parts: list[tuple[str, Parsed]], given: ClassMap | None) -> None:
        self.maps = {map_.names: map_ for _, parsed in parts if (map_ := given or parsed.classes)}
        self.derives = not all(entry.settled for _, parsed in parts for entry in parsed.entries)
        self.unknown = 0
        names: set[str] = set()
        stated: dict[str, int] = {}
        for _, parsed in parts:
            for entry in parsed.entries:
                if given or parsed.classes or entry.settled or not entry.class_name:
                    continue
                if len(entry.labels) == 1:
                    stated[entry.class_name] = entry.labels[0]
                else:
                    names.add(entry.class_name)
        self.by_name = stated or {name: index for index, name in enumerate(sorted(names))}
        self.sorted_names = bool(names) and not stated

    def label(
        self, source: str, entry: Entry, path: str, classes: ClassMap | None
    ) -> tuple[tuple[int, ...], str]:
        """Return the labels and the class name of an entry."""
        if entry.settled:
            return entry.labels, entry.class_name
        if len(entry.labels) == 1 and classes:
            name = named(classes, entry.labels[0], f"{source}, line {entry.line}")
            if entry.class_name and plain(entry.class_name) != plain(name):
                raise ManifestError(
                    f"{source}, line {entry.line}: the class is {entry.class_name!r}, but label "
                    f"{entry.labels[0]} is {name!r} in {classes.source}; give the class list that belongs to this "
                    "input with --classes"
                )
            return entry.labels, name
        if entry.labels:
            return entry.labels, entry.class_name
        if entry.class_name:
            return self._by_name(source, entry, classes)
        if classes and (index := classes.index_of_folder(path)) is not None:
            return (index,), classes.names[index]
        self.unknown += classes is not None
        return (), ""

    def _by_name(self, source: str, entry: Entry, classes: ClassMap | None) -> tuple[tuple[int, ...], str]:
        if classes is None:
            index = self.by_name.get(entry.class_name)
            return () if index is None else (index,), entry.class_name
        index = classes.index(entry.class_name)
        if index is None:
            raise ManifestError(
                f"{source}, line {entry.line}: the class {entry.class_name!r} is not in {classes.source}; "
                "give the class list that belongs to this input with --classes"
            )
        return (index,), classes.names[index]

    def classes(self, *rows: list[ManifestRow]) -> tuple[str, ...]:
        """Return the class names by index, from a class list or from rows that carry both."""
        if len(self.maps) == 1:
            return next(iter(self.maps))
        pairs = {
            (row.label, row.class_name) for part in rows for row in part if row.label >= 0 and row.class_name
        }
        names = dict(pairs)
        if not self.derives or not names or len(names) != len(pairs) or len(self.maps) > 1:
            return ()  # nothing is known, or an index has two names
        return tuple(names.get(index, "") for index in range(max(names) + 1))

    def notes(self) -> Iterator[str]:
        if self.sorted_names:
            yield (
                f"class indices are the places of the {counted(len(self.by_name), 'class name')} of this input in "
                "sorted order; give the data set's class list with --classes"
            )
        if self.unknown:
            yield f"{counted(self.unknown, 'line')} in no folder that is named like a class: the label is -1"
        if len(self.maps) > 1:
            yield "the inputs come with different class lists: no class names are kept; give one with --classes"
