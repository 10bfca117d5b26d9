"""The whole way from the words on a command line to a manifest."""

import gc
import glob
import os.path
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest.classes import ClassMap, read_classes
from vstats.pipeline.manifest.kinds import LIST_KINDS, recognise
from vstats.pipeline.manifest.model import Entry, Manifest, Parsed
from vstats.pipeline.manifest.naming import VIDEO_EXTENSIONS, counted, is_video_name, printable
from vstats.pipeline.manifest.resolve import outside_root, resolve
from vstats.pipeline.manifest.source import ListFile
from vstats.pipeline.manifest.tree import Tree

KIND_NAMES = ("auto", *LIST_KINDS)


def read_manifest(
    inputs: Sequence[str],
    *,
    root: str | None = None,
    kind: str = "auto",
    classes: str | None = None,
    stdin: TextIO | None = None,
) -> Manifest:
    """Understand an input and look for its videos.

    Parameters
    ----------
    inputs : sequence of str
        Folders (searched through), globs, videos, lists, or ``-`` for a list on standard input.
    root : str, optional
        Folder that paths are relative to, and keys too. By default the folder itself, the folder of the list or of the
        video, the working directory for standard input; for several inputs the folder that holds all of these.
    kind : str, optional
        One of `KIND_NAMES`, when a list is not what it looks like.
    classes : str, optional
        A class list: names by line, or ``index name`` lines.
    stdin : text stream, optional
        Instead of the process's standard input.

    Returns
    -------
    Manifest
        Videos found and videos missing, each under its key.

    Raises
    ------
    ManifestError
        If an input is not there, is no list, is empty, or has a line that cannot be understood.
    """
    if not inputs:
        raise ManifestError(
            "no input: give a folder, a glob, a video, a list, or - for paths on standard input"
        )
    if kind not in KIND_NAMES:
        raise ManifestError(f"unknown kind {kind!r}; the kinds of list are {', '.join(KIND_NAMES)}")
    if root is not None and not Path(root).is_dir():
        raise ManifestError(f"the root {root!r} is not a folder; give the folder that holds the videos")
    class_map = read_classes(classes) if classes else None

    with _collector_paused():
        opened = [_open(text, kind, stdin) for text in inputs]
        base = (
            _absolute(root) if root is not None else os.path.commonpath([folder for _, folder, _ in opened])
        )
        tree = Tree(base)
        kinds: list[str] = []
        parts: list[tuple[str, Parsed]] = []
        for text, (what, _, content) in zip(inputs, opened, strict=True):
            if isinstance(content, ListFile):
                list_kind = recognise(content).name if kind == "auto" else kind
                kinds.append(list_kind)
                parts.append((content.name, _parse(list_kind, content, class_map)))
            else:
                kinds.append(what)
                parts.append((printable(text), _videos(text, content, tree)))
        resolved = resolve(parts, tree, class_map)
    notes = [note for _, parsed in parts for note in parsed.notes] + resolved.notes
    if not resolved.rows:
        notes.append(
            f"none of the videos is there: are their paths relative to {printable(base)}? If not, give --root"
        )
    if tree.unreadable:
        notes.append(
            f"{counted(len(tree.unreadable), 'folder')} could not be read, {tree.unreadable[0]!r} for one"
        )
    return Manifest(
        source=_worded(inputs),
        kind="+".join(dict.fromkeys(kinds)),
        root=base,
        rows=resolved.rows,
        missing=resolved.missing,
        duplicates=resolved.duplicates,
        classes=resolved.classes,
        other_files=sum(parsed.other_files for _, parsed in parts),
        notes=tuple(dict.fromkeys(notes)),
    )


def _worded(inputs: Sequence[str]) -> str:
    """Return the inputs as one text; of many, as a shell makes them from a pattern, the first."""
    if len(inputs) <= 3:
        return ", ".join(map(printable, inputs))
    return f"{printable(inputs[0])} and {len(inputs) - 1} more"


@contextmanager
def _collector_paused() -> Iterator[None]:
    # All that is made here is kept: the cyclic collector finds nothing, and takes 40 % of a large list's time to.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _open(text: str, kind: str, stdin: TextIO | None) -> tuple[str, str, ListFile | list[str]]:
    """Return what an input is, the folder it lies in, and its list or the files and folders that it names."""
    if text == "-":
        stream = stdin or sys.stdin
        here = _absolute(".")
        if hasattr(stream, "buffer"):  # bytes: a path need not be valid text
            return "list", here, ListFile.from_stream("standard input", here, stream.buffer)
        return (
            "list",
            here,
            ListFile("standard input", here, stream.read().encode("utf-8", "surrogateescape")),
        )
    path = Path(text)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as err:
        raise ManifestError(f"cannot look at {text!r}: {err.strerror or err}") from err
    if is_folder:
        return "folder", _absolute(text), [_absolute(text)]
    if is_there:
        folder = (
            str(Path(_absolute(text)).parent) if path.is_file() else _absolute(".")
        )  # a pipe lies nowhere
        if is_video_name(text) and kind == "auto":
            return "video", folder, [_absolute(text)]
        return "list", folder, ListFile.from_path(text)
    if glob.has_magic(text):
        found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
        if not found:
            raise ManifestError(f"nothing matches {text!r}; is the working directory the right one?")
        parts = text.split("/")
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        return "glob", _absolute("/".join(parts[:fixed]) or ("/" if text.startswith("/") else ".")), found
    raise ManifestError(f"{text!r} is not there; give a folder, a glob, a video, a list, or -")


def _parse(kind: str, source: ListFile, class_map: ClassMap | None) -> Parsed:
    if source.is_parquet and kind not in ("canonical", "parquet"):
        raise ManifestError(f"{source.name} is a parquet file and cannot be read as {kind}")
    parsed = (
        LIST_KINDS[kind].parse(source, class_map) if source.is_parquet or source.lines else Parsed(entries=[])
    )
    if not parsed.entries:
        raise ManifestError(f"{source.name} is empty: it lists no video")
    return parsed


def _videos(text: str, paths: list[str], tree: Tree) -> Parsed:
    """Return the videos among files and below folders."""
    videos: list[str] = []
    others = 0
    for path in map(_absolute, paths):
        if Path(path).is_dir():
            below, passed = tree.walk(path)
            videos += below
            others += passed
        elif is_video_name(path):
            videos.append(path)
        else:
            others += 1
    if not videos:
        raise ManifestError(
            f"no video in {text!r} ({counted(others, 'other file')}); known extensions: "
            f"{' '.join(sorted(VIDEO_EXTENSIONS))}"
        )
    prefix = f"{tree.root.rstrip('/')}/"
    for video in videos:
        if not video.startswith(prefix):
            raise outside_root(printable(text), video, tree.root)
    entries = [Entry(video[len(prefix) :], 0, literal=True) for video in videos]
    return Parsed(entries=entries, other_files=others)


def _absolute(path: str) -> str:
    # Links stay as they are: a key is named after the path that was given.
    return os.path.normpath(Path(path).absolute())
