"""The records of input understanding."""

from dataclasses import dataclass, field
from typing import NamedTuple

from vstats.pipeline.manifest.classes import ClassMap
from vstats.pipeline.records import ManifestRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Every video that was asked for, and whether it is there.

    Parameters
    ----------
    source : str
        The input as it was worded.
    kind : str
        What it was understood as.
    root : str
        Absolute path of the folder that keys are relative to.
    rows : tuple of ManifestRow
        Videos found on disk, sorted by the bytes of their keys.
    missing : tuple of ManifestRow
        Videos listed but not on disk, sorted likewise.
    duplicates : int
        Lines that asked for what another line had asked for already.
    classes : tuple of str
        Class names by index; () where none are known, "" where a single one is not.
    other_files : int
        Files that were passed over because they are no videos.
    notes : tuple of str
        What a reader should know about how the input was understood.
    """

    source: str
    kind: str
    root: str
    rows: tuple[ManifestRow, ...]
    missing: tuple[ManifestRow, ...] = ()
    duplicates: int = 0
    classes: tuple[str, ...] = ()
    other_files: int = 0
    notes: tuple[str, ...] = ()


class Entry(NamedTuple):
    """One line of a list as understood, before it is looked for on disk.

    A tuple, because a large list makes hundreds of thousands of them.

    Parameters
    ----------
    name : str
        Path as the list has it: relative to the root, or absolute.
    line : int
        Where it stands in its list, from 1.
    labels : tuple of int
        Class indices from 0.
    class_name : str
        Name of its class, or "".
    starts : tuple of int or None
        Explicit first frames, from 0.
    any_extension : bool
        The name is written without its extension.
    any_case : bool
        Upper and lower case in the name are not to be trusted.
    folders, stems : tuple of str
        Instead of `name`: a file with one of these stems in one of these folders, the first that is there.
    literal : bool
        The name is exactly the path relative to the root.
    settled : bool
        Label and class are final as they are: no class list is to be applied.
    """

    name: str
    line: int
    labels: tuple[int, ...] = ()
    class_name: str = ""
    starts: tuple[int, ...] | None = None
    any_extension: bool = False
    any_case: bool = False
    folders: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()
    literal: bool = False
    settled: bool = False


@dataclass(slots=True, kw_only=True)
class Parsed:
    """One input as its parser understood it.

    Parameters
    ----------
    entries : list of Entry
        What is asked for.
    classes : ClassMap or None
        Class list that belongs to the input.
    other_files : int
        Lines or files that name no video.
    notes : list of str
        What a reader should know.
    """

    entries: list[Entry]
    classes: ClassMap | None = None
    other_files: int = 0
    notes: list[str] = field(default_factory=list)
