"""What lies on disk under a root: each folder is listed once, when it is first asked for."""

import contextlib
import os
from functools import cached_property
from pathlib import Path

from vstats.pipeline.manifest.naming import VIDEO_EXTENSIONS, extension_of, is_video_name


class Folder:
    """The names in one folder."""

    def __init__(self, files: set[str], folders: dict[str, tuple[int, int]]) -> None:
        self.files = files
        self.folders = folders  # name -> (device, inode), by which a link that leads back up is known

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """Names of videos by stem, sorted."""
        groups: dict[str, list[str]] = {}
        for name in sorted(self.files):
            extension = extension_of(name)
            if extension in VIDEO_EXTENSIONS:
                groups.setdefault(name[: -len(extension)], []).append(name)
        return groups

    @cached_property
    def by_folded_name(self) -> dict[str, str]:
        """The first name of files and folders by their name without regard to case."""
        return {name.casefold(): name for name in sorted([*self.files, *self.folders], reverse=True)}

    @cached_property
    def by_folded_stem(self) -> dict[str, list[str]]:
        """Names of videos by stem without regard to case."""
        groups: dict[str, list[str]] = {}
        for stem, names in sorted(self.by_stem.items()):
            groups.setdefault(stem.casefold(), []).extend(names)
        return groups


_NOWHERE = Folder(set(), {})


class Tree:
    """The folders below a root, or anywhere: a name is looked for without one system call per name.

    Parameters
    ----------
    root : str
        Absolute path that relative names start from.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.unreadable: list[str] = []
        self.ambiguous: set[str] = set()
        self._folders: dict[str, Folder] = {}

    def folder(self, path: str) -> Folder:
        """Return what is in a folder, by its path relative to the root or absolute; nothing when it is not there."""
        known = self._folders.get(path)
        if known is None:
            known = self._folders[path] = self._list(path)
        return known

    def _list(self, path: str) -> Folder:
        try:
            with os.scandir(path if path.startswith("/") else f"{self.root}/{path}") as entries:
                found = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return _NOWHERE
        except OSError:
            self.unreadable.append(path)
            return _NOWHERE
        files: set[str] = set()
        folders: dict[str, tuple[int, int]] = {}
        for entry in found:
            with contextlib.suppress(OSError):  # a link that leads to itself is neither
                if entry.is_file():
                    files.add(entry.name)
                elif entry.is_dir():
                    facts = entry.stat()
                    folders[entry.name] = (facts.st_dev, facts.st_ino)
        return Folder(files, folders)

    def find(self, path: str) -> str | None:
        """Return the path if a file is there."""
        above, _, name = path.rpartition("/")
        return path if name in self.folder(above or ("/" if path.startswith("/") else "")).files else None

    def find_stem(self, above: str, stem: str) -> str | None:
        """Return the path of the video with this stem in a folder."""
        names = self.folder(above).by_stem.get(stem)
        return self._choose(above, names) if names else None

    def find_any_case(self, path: str, *, any_extension: bool) -> str | None:
        """Return the path of the file whose name, and whose folders' names, differ in case at most."""
        above = ""
        *parents, last = path.split("/")
        for part in parents:
            folder = self.folder(above)
            name = part if part in folder.folders else folder.by_folded_name.get(part.casefold())
            if name is None:
                return None
            above = f"{above}/{name}" if above else name
        if any_extension:
            names = self.folder(above).by_folded_stem.get(last.casefold())
            return self._choose(above, names) if names else None
        found = self.folder(above).by_folded_name.get(last.casefold())
        return self.find(f"{above}/{found}" if above else found) if found else None

    def _choose(self, above: str, names: list[str]) -> str:
        path = f"{above}/{names[0]}" if above else names[0]
        if len(names) > 1:
            self.ambiguous.add(path)
        return path

    def walk(self, start: str) -> tuple[list[str], int]:
        """Return every video below a folder, and how many other files there are; hidden ones are left out.

        Links to folders are followed, except back to a folder that the link itself lies in.
        """
        videos: list[str] = []
        others = 0
        facts = Path(self.root, start).stat()
        waiting = [(start, frozenset([(facts.st_dev, facts.st_ino)]))]
        while waiting:
            path, above = waiting.pop()
            folder = self.folder(path)
            prefix = f"{path.rstrip('/')}/" if path else ""
            for name in folder.files:
                if name.startswith("."):
                    continue
                if is_video_name(name):
                    videos.append(prefix + name)
                else:
                    others += 1
            for name, identity in folder.folders.items():
                if not name.startswith(".") and identity not in above:
                    waiting.append((prefix + name, above | {identity}))
        return videos, others
