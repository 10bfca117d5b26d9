"""The kinds of list: for each its recogniser and its parser, tried in this order."""

from collections.abc import Callable
from dataclasses import dataclass

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest import canonical, hmdb51, kinetics, tables, text_lists
from vstats.pipeline.manifest.classes import ClassMap
from vstats.pipeline.manifest.model import Parsed
from vstats.pipeline.manifest.source import ListFile


@dataclass(frozen=True, slots=True)
class ListKind:
    """A kind of list.

    Parameters
    ----------
    name : str
        What `--kind` calls it.
    recognises : callable
        Whether a list (of at least one line) is of this kind.
    parse : callable
        A list, and the class list if one was given, to entries.
    """

    name: str
    recognises: Callable[[ListFile], bool]
    parse: Callable[[ListFile, ClassMap | None], Parsed]


# The order matters: a form that says what it is comes before one that is only guessed from its columns.
_IN_ORDER = (
    ListKind("canonical", canonical.is_canonical, canonical.parse_canonical),
    ListKind("parquet", tables.is_parquet, tables.parse_parquet),
    ListKind("json", tables.is_json, tables.parse_json),
    ListKind("jsonl", tables.is_jsonl, tables.parse_jsonl),
    ListKind("kinetics", kinetics.is_kinetics, kinetics.parse_kinetics),
    ListKind("csv", tables.is_csv, tables.parse_csv),
    ListKind("ucf101", text_lists.is_ucf101, text_lists.parse_ucf101),
    ListKind("hmdb51", hmdb51.is_hmdb51, hmdb51.parse_hmdb51),
    ListKind("hmdb51-test", lambda _: False, hmdb51.parse_hmdb51_test),
    ListKind("paths", text_lists.is_paths, text_lists.parse_paths),
    ListKind("start-frames", text_lists.is_start_frames, text_lists.parse_start_frames),
    ListKind("multi-label", text_lists.is_multi_label, text_lists.parse_multi_label),
    ListKind("path-label", text_lists.is_path_label, text_lists.parse_path_label),
    ListKind("path-frames-label", text_lists.is_frames_label, text_lists.parse_frames_label),
    ListKind("raw-frames", text_lists.is_raw_frames, text_lists.parse_raw_frames),
)
LIST_KINDS = {kind.name: kind for kind in _IN_ORDER}


def recognise(source: ListFile) -> ListKind:
    """Return the kind of a list, or say why it is none."""
    if not source.is_parquet and not source.lines:
        raise ManifestError(f"{source.name} is empty: it holds no line that is neither blank nor a comment")
    for kind in _IN_ORDER:
        if kind.recognises(source):
            return kind
    line, text = source.lines[0]
    raise source.error(
        line,
        text,
        "no line names a video and no header names a column: give one path a line, a table with a header, or one of "
        f"the lists vstats knows (--kind {', '.join(LIST_KINDS)})",
    )
