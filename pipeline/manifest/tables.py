"""Tables with named columns: csv, jsonl, json and parquet (pyarrow is imported only for the last)."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest.classes import ClassMap
from vstats.pipeline.manifest.model import Entry, Parsed
from vstats.pipeline.manifest.naming import counted, path_of_key
from vstats.pipeline.manifest.source import ListFile

# Of several columns that could name the video, the first listed here does.
PATH_COLUMNS = (
    "path",
    "video",
    "file",
    "video_path",
    "file_path",
    "filename",
    "file_name",
    "filepath",
    "key",
)
LABEL_COLUMNS = ("label", "label_id", "class_index", "class_id")
CLASS_COLUMNS = ("class", "class_name", "category")
START_COLUMNS = ("start_frames", "start_frame")
_ROWS = Iterable[tuple[int, Mapping[str, Any]]]
_NONE = (None, "", "nan", "NaN", "None", "null")


def _first(names: Iterable[str], wanted: Sequence[str]) -> str:
    present = set(names)
    return next((name for name in wanted if name in present), "")


def _delimiter(header: str) -> str:
    """Return what separates the columns of a header that names a video's path, or ""."""
    for delimiter in ",\t;":
        names = [name.strip("\"' ").casefold() for name in header.split(delimiter)]
        if _first(names, PATH_COLUMNS):
            return delimiter
    return ""


def is_csv(source: ListFile) -> bool:
    """The first line names a column for the path."""
    return _delimiter(source.lines[0][1]) != ""


def parse_csv(source: ListFile, _: ClassMap | None) -> Parsed:
    """A csv or tsv file with a header."""
    numbers = [number for number, _ in source.lines]
    delimiter = _delimiter(source.lines[0][1]) or ","
    reader = csv.reader((line for _, line in source.lines), delimiter=delimiter)
    header = [name.strip().casefold() for name in next(reader)]

    def rows() -> _ROWS:
        for cells in reader:
            if len(cells) > len(header):
                found, wanted = (
                    delimiter.join(cells),
                    f"{counted(len(header), 'column')} as in the header; quote a ",
                )
                raise source.error(
                    numbers[reader.line_num - 1], found, f"{wanted}cell that holds a {delimiter!r}"
                )
            yield numbers[reader.line_num - 1], dict(zip(header, cells, strict=False))

    return _parse(source, header, rows())


def is_jsonl(source: ListFile) -> bool:
    """The first line is a json object."""
    return source.lines[0][1].startswith("{") and source.lines[0][1].endswith("}")


def parse_jsonl(source: ListFile, _: ClassMap | None) -> Parsed:
    """A json object a line."""
    rows = []
    for number, line in source.lines:
        try:
            row = json.loads(line)
        except ValueError as err:
            raise source.error(number, line, f"no valid json ({err}); wanted one object a line") from err
        if not isinstance(row, dict):
            raise source.error(number, line, 'wanted one object a line, as {"path": "a.mp4", "label": 0}')
        rows.append((number, {key.casefold(): value for key, value in row.items()}))
    return _parse(source, dict.fromkeys(key for _, row in rows for key in row), rows)


def is_json(source: ListFile) -> bool:
    """The content begins with '['."""
    return source.lines[0][1].startswith("[")


def parse_json(source: ListFile, _: ClassMap | None) -> Parsed:
    """A json array of objects, as mmaction2's annotations."""
    try:
        items = json.loads(source.text)
    except ValueError as err:
        raise ManifestError(f"{source.name} is no valid json: {err}") from err
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ManifestError(
            f'{source.name}: wanted a json array of objects, as [{{"path": "a.mp4", "label": 0}}]'
        )
    rows: list[tuple[int, Mapping[str, Any]]] = []
    parts = 0
    for number, item in enumerate(items, start=1):
        row = {key.casefold(): value for key, value in item.items()}
        if "frame_dir" in row:
            raise source.error(
                number, json.dumps(item), "a folder of extracted frames; labels are computed from videos"
            )
        if "video_dir" in row and isinstance(row.get("num_clips"), int):
            # mmaction2's RawVideoDataset: a video cut into part_0.mp4, part_1.mp4, ...
            parts += row["num_clips"]
            rows += [
                (number, row | {"path": f"{row['video_dir']}/part_{i}.mp4"}) for i in range(row["num_clips"])
            ]
        else:
            rows.append((number, row))
    parsed = _parse(source, dict.fromkeys(key for _, row in rows for key in row), rows)
    if parts:
        parsed.notes.append(
            f"{source.name}: {counted(parts, 'clip')} of cut videos asked for as video_dir/part_N.mp4"
        )
    return parsed


def is_parquet(source: ListFile) -> bool:
    """The content says so."""
    return source.is_parquet


def parse_parquet(source: ListFile, _: ClassMap | None) -> Parsed:
    """A parquet file."""
    from pyarrow import ArrowException, parquet

    try:
        # In this thread: one of Arrow's may let go of the data while Python ends, and abort it.
        table = parquet.ParquetFile(io.BytesIO(source.data)).read(use_threads=False)
    except ArrowException as err:
        raise ManifestError(f"{source.name} is a damaged parquet file: {err}") from err
    names = {name.casefold(): name for name in table.column_names}
    used = [_first(names, group) for group in (PATH_COLUMNS, LABEL_COLUMNS, CLASS_COLUMNS, START_COLUMNS)]
    columns = {name: table.column(names[name]).to_pylist() for name in used if name}
    rows = enumerate(
        (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)), start=1
    )
    return _parse(source, names, rows)


def _parse(source: ListFile, names: Iterable[str], rows: _ROWS) -> Parsed:
    names = list(names)
    path_column = _first(names, PATH_COLUMNS)
    if not path_column:
        raise ManifestError(
            f"{source.name} has the columns {', '.join(names) or '(none)'}, none of which names the video; "
            f"call it one of {', '.join(PATH_COLUMNS)}"
        )
    label_column, class_column = _first(names, LABEL_COLUMNS), _first(names, CLASS_COLUMNS)
    start_column = _first(names, START_COLUMNS)
    entries = []
    for line, row in rows:
        name = row.get(path_column)
        if not isinstance(name, str) or not name:
            raise source.error(line, str(name), f"column {path_column!r} must hold the path of a video")
        labels, class_name = _labels(source, line, row.get(label_column))
        if (stated := row.get(class_column)) not in _NONE:
            class_name = str(stated)
        starts = _starts(source, line, row.get(start_column))
        if path_column == "key":
            entries.append(Entry(path_of_key(name), line, labels, class_name, starts, literal=True))
        else:
            entries.append(Entry(name, line, labels, class_name, starts))
    notes = []
    if "split" in names:
        notes.append(f"{source.name}: the column 'split' is not used: the rows of every split are taken")
    if path_column != "key" and "key" in names:
        notes.append(f"{source.name}: the column 'key' is not used: a key is the path relative to the root")
    return Parsed(entries=entries, notes=notes)


def _whole(value: Any) -> int | None:
    """Return a whole number that may be written as text or as a float (pandas does so beside gaps), or None."""
    try:
        number = float(value)
        return int(number) if number == int(number) and not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _is_none(value: Any) -> bool:
    return value in _NONE if isinstance(value, str | None) else value != value  # noqa: PLR0124


def _labels(source: ListFile, line: int, value: Any) -> tuple[tuple[int, ...], str]:
    """Return a label cell as class indices and a class name: it may hold either."""
    if _is_none(value):
        return (), ""
    if isinstance(value, str) and _whole(value) is None:
        return (), value.strip("\"' ")
    numbers = [_whole(item) for item in (value if isinstance(value, list) else [value])]
    if any(number is None or number < -1 for number in numbers):
        raise source.error(line, str(value), "a label is a class index from 0, -1 for none, or a class name")
    return tuple(number for number in numbers if number is not None and number >= 0), ""


def _starts(source: ListFile, line: int, value: Any) -> tuple[int, ...] | None:
    """Return a cell of first frames, counted from 0: a number, a list, or numbers with spaces between."""
    if _is_none(value):
        return None
    cells = value if isinstance(value, list) else str(value).replace(";", " ").split()
    numbers = [_whole(cell) for cell in cells]
    if any(number is None or number < 0 for number in numbers):
        raise source.error(line, str(value), "first frames are whole numbers from 0")
    return tuple(sorted({number for number in numbers if number is not None})) or None
