"""Lists of one video a line: paths, UCF101, path and label, start frames, frame counts."""

import re
from collections import defaultdict

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest.classes import ClassMap, class_list_beside
from vstats.pipeline.manifest.model import Entry, Parsed
from vstats.pipeline.manifest.naming import counted, is_video_name
from vstats.pipeline.manifest.source import Columns, ListFile, unquoted

# UCF101 writes v_HandStandPushups in the folder HandstandPushups, and copies of the set do not agree on either.
_UCF101 = re.compile(r"(?:.*[/\\])?([^/\\]+)[/\\]v_[^/\\]+_g\d+_c\d+(\.avi)?[/\\]?")


def _entry(column: Columns, labels: tuple[int, ...], starts: tuple[int, ...] | None = None) -> Entry:
    """Return the entry of a list that may write its names without extension, and UCF101's in any case."""
    name = column.name.rstrip("/\\")
    any_case = _UCF101.fullmatch(name) is not None
    return Entry(
        name, column.line, labels, "", starts, any_extension=not is_video_name(name), any_case=any_case
    )


def _label(source: ListFile, column: Columns, label: int) -> tuple[int, ...]:
    """Return a label as a tuple, empty for -1, which many lists write where a label is unknown."""
    if label < -1:
        raise source.error(
            column.line, f"{column.name} {label}", "a label is a class index from 0, or -1 for none"
        )
    return () if label == -1 else (label,)


def _wanted(source: ListFile, column: Columns, form: str) -> ManifestError:
    found = " ".join([column.name, *map(str, column.numbers)])
    return source.error(
        column.line,
        found,
        f"this list was read as lines of '{form}'; mend the line, or name the list's kind (--kind)",
    )


# -- paths ------------------------------------------------------------------------------------------------------


def is_paths(source: ListFile) -> bool:
    """No line ends in numbers, and the first names a video."""
    columns = source.columns
    return any(is_video_name(c.name) for c in columns) and not any(c.numbers for c in columns)


def parse_paths(source: ListFile, _: ClassMap | None) -> Parsed:
    """One path a line; lines that name no video are passed over, as `find` prints them."""
    lines = [(number, unquoted(line)) for number, line in source.lines]
    names = [(number, line) for number, line in lines if is_video_name(line)]
    if not names:  # asked for by name: then these are names without extension
        return Parsed(entries=[Entry(line, number, any_extension=True) for number, line in lines])
    entries = [Entry(line, number, any_case=_UCF101.fullmatch(line) is not None) for number, line in names]
    return Parsed(entries=entries, other_files=len(lines) - len(names))


# -- UCF101 -----------------------------------------------------------------------------------------------------


def is_ucf101(source: ListFile) -> bool:
    """``Class/v_Class_g01_c01.avi`` on every line, with a label or without."""
    return all(
        len(c.numbers) <= 1 and is_video_name(c.name) and _UCF101.fullmatch(c.name) for c in source.columns
    )


def parse_ucf101(source: ListFile, classes: ClassMap | None) -> Parsed:
    """``trainlist0N.txt`` (labels from 1) and ``testlist0N.txt`` (none), with ``classInd.txt`` where there is one."""
    classes = classes or class_list_beside(source.folder)
    columns = source.columns
    labelled = bool(columns and columns[0].numbers)
    first = 0 if any(c.numbers == (0,) for c in columns) else 1
    parsed = Parsed(entries=[], classes=classes)
    for column in columns:
        folder = _UCF101.fullmatch(column.name)
        if folder is None or len(column.numbers) != labelled:
            raise _wanted(source, column, "Class/v_Class_g01_c01.avi" + " label" * labelled)
        labels = _label(source, column, column.numbers[0] - first) if labelled else ()
        # In a test list without a class list the folder is a name that no index is known for.
        name = folder[1] if labelled else ""
        parsed.entries.append(Entry(column.name, column.line, labels, name, any_case=True))
    if labelled and first == 0:
        parsed.notes.append(
            f"{source.name} holds label 0: its labels were taken as they are, not as counted from 1"
        )
    if not labelled and classes is None:
        parsed.notes.append(
            f"{source.name} has no labels and no classInd.txt lies beside it: give it with --classes"
        )
    return parsed


# -- path and label ---------------------------------------------------------------------------------------------


def is_path_label(source: ListFile) -> bool:
    """One number after the first name."""
    return len(source.columns[0].numbers) == 1


def parse_path_label(source: ListFile, _: ClassMap | None) -> Parsed:
    """``path label`` as mmaction2, PyTorchVideo and C3D-tensorflow write it, labels from 0."""
    entries = []
    for column in source.columns:
        if len(column.numbers) != 1:
            raise _wanted(source, column, "path label")
        entries.append(_entry(column, _label(source, column, column.numbers[0])))
    return Parsed(entries=entries)


def is_multi_label(source: ListFile) -> bool:
    """Several numbers after the names of videos: not equally many everywhere, or with a 0 where frames would stand."""
    columns = source.columns
    return all(is_video_name(c.name) and c.numbers for c in columns) and (
        len({len(c.numbers) for c in columns}) > 1
        or (len(columns[0].numbers) == 2 and _has_zero_but_no_repeat(columns))
    )


def parse_multi_label(source: ListFile, _: ClassMap | None) -> Parsed:
    """``path label label ...``: a video of several classes has no single label."""
    entries = []
    for column in source.columns:
        if not column.numbers or min(column.numbers) < 0:
            raise _wanted(source, column, "path label label ...")
        entries.append(_entry(column, column.numbers))
    return Parsed(entries=entries)


# -- two numbers: start frame or frame count, then label --------------------------------------------------------


def _second_columns(columns: list[Columns]) -> dict[str, set[int]]:
    values: dict[str, set[int]] = defaultdict(set)
    for column in columns:
        values[column.name].add(column.numbers[0])
    return values


def _has_zero_but_no_repeat(columns: list[Columns]) -> bool:
    values = _second_columns(columns)
    return any(0 in v for v in values.values()) and all(len(v) == 1 for v in values.values())


def is_start_frames(source: ListFile) -> bool:
    """``name start label``: names come again with other starts, end in '/', or all start at 1."""
    columns = source.columns
    if any(len(c.numbers) != 2 for c in columns):
        return False
    values = _second_columns(columns).values()
    return (
        any(len(v) > 1 for v in values)
        or all(v == {1} for v in values)
        or all(c.name.endswith(("/", "\\")) for c in columns)
    )


def parse_start_frames(source: ListFile, _: ClassMap | None) -> Parsed:
    """The lists of C3D and STS: a video's name, the first frame of a clip, a label; frames are counted from 1."""
    columns = source.columns
    for column in columns:
        if len(column.numbers) != 2 or column.numbers[0] < 0:
            raise _wanted(source, column, "name start_frame label")
    # C3D counts from 1 in folders of frames and from 0 in video files, and says which only by doing it.
    first = 0 if any(c.numbers[0] == 0 for c in columns) else 1
    entries = [_entry(c, _label(source, c, c.numbers[1]), starts=(c.numbers[0] - first,)) for c in columns]
    notes = (
        [f"{source.name} holds start frame 0: its frames were taken as counted from 0"] if first == 0 else []
    )
    return Parsed(entries=entries, notes=notes)


def is_frames_label(source: ListFile) -> bool:
    """``path frames label`` with the paths of videos."""
    return all(len(c.numbers) == 2 and is_video_name(c.name) for c in source.columns)


def parse_frames_label(source: ListFile, _: ClassMap | None) -> Parsed:
    """``path frames label`` as PaddleVideo writes it; the frames are counted by decoding instead."""
    entries = []
    for column in source.columns:
        if len(column.numbers) != 2:
            raise _wanted(source, column, "path frames label")
        entries.append(_entry(column, _label(source, column, column.numbers[1])))
    note = (
        f"{source.name}: the first of two numbers was read as a frame count (--kind multi-label: as a label)"
    )
    return Parsed(entries=entries, notes=[note])


def is_raw_frames(source: ListFile) -> bool:
    """``folder frames label`` or ``folder offset frames label`` with names that are no videos."""
    return all(len(c.numbers) in (2, 3) and not is_video_name(c.name) for c in source.columns)


def parse_raw_frames(source: ListFile, _: ClassMap | None) -> Parsed:
    """Refuse mmaction2's lists of folders of extracted frames."""
    column = source.columns[0]
    raise source.error(
        column.line,
        " ".join([column.name, *map(str, column.numbers)]),
        f"this looks like a list of folders of extracted frames ({counted(len(source.columns), 'line')}), but labels "
        "are computed from videos: give the list of the videos, or, if the second column is the first frame of a clip, "
        "--kind start-frames",
    )
