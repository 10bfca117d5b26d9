"""The canonical form of a manifest: written, read back, and digested.

pyarrow is imported where parquet is read or written, and only there: it is heavy, and few inputs need it.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest.classes import ClassMap
from vstats.pipeline.manifest.model import Entry, Manifest, Parsed
from vstats.pipeline.manifest.naming import extension_of, path_of_key, printable
from vstats.pipeline.manifest.source import ListFile
from vstats.pipeline.records import ManifestRow

FORMAT = "vstats-manifest-1"
COLUMNS = ("key", "label", "class", "start_frames")
SUFFIXES = (".jsonl", ".csv", ".parquet")
_Cells = tuple[Any, Any, Any, Any]


def manifest_digest(manifest: Manifest) -> str:
    """Return the sha256 of what a manifest asks for.

    Parameters
    ----------
    manifest : Manifest
        Any manifest.

    Returns
    -------
    str
        Hexadecimal; over the key, label and start frames of every video, found or missing, and which of the two it
        is. It depends neither on the order of the input nor on where the root lies.
    """
    digest = hashlib.sha256(f"{FORMAT}\n".encode())
    for found, rows in ((True, manifest.rows), (False, manifest.missing)):
        for row in sorted(rows, key=lambda row: row.key):
            record = {"found": found, "key": row.key, "label": row.label, "start_frames": row.start_frames}
            digest.update(json.dumps(record, separators=(",", ":"), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write the canonical form, as jsonl, csv or parquet by the suffix of `path`.

    Parameters
    ----------
    manifest : Manifest
        Any manifest; its missing videos are written too.
    path : str or Path
        A file that ends in .jsonl, .csv or .parquet; an existing one is replaced.

    Raises
    ------
    ManifestError
        If the suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    suffix = extension_of(path.name)
    if suffix not in SUFFIXES:
        raise ManifestError(
            f"cannot write a manifest to {printable(str(path))}: end its name in {', '.join(SUFFIXES)}"
        )
    rows = sorted([*manifest.rows, *manifest.missing], key=lambda row: row.key)
    header = json.dumps({"format": FORMAT, "classes": manifest.classes}, separators=(",", ":"))
    write = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}[suffix]
    data = write(header, rows)
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)  # a manifest is there whole or not at all
    except OSError as err:
        raise ManifestError(f"cannot write {printable(str(path))}: {err.strerror or err}") from err


def _jsonl(header: str, rows: Iterable[ManifestRow]) -> bytes:
    lines = (json.dumps(dict(zip(COLUMNS, _cells(row), strict=True)), separators=(",", ":")) for row in rows)
    return "".join(f"{line}\n" for line in (header, *lines)).encode("ascii")


def _csv(header: str, rows: Iterable[ManifestRow]) -> bytes:
    stream = io.StringIO(newline="")
    stream.write(f"# {header}\n")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        *cells, starts = _cells(row)
        writer.writerow([*cells, " ".join(map(str, starts or ()))])
    return stream.getvalue().encode()


def _parquet(header: str, rows: Iterable[ManifestRow]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    types = (pa.string(), pa.int64(), pa.string(), pa.list_(pa.int64()))
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)), metadata={FORMAT: header})
    columns = list(zip(*map(_cells, rows), strict=True)) or [()] * len(COLUMNS)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
    sink = io.BytesIO()
    parquet.write_table(pa.table(arrays, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def _cells(row: ManifestRow) -> _Cells:
    starts = None if row.start_frames is None else list(row.start_frames)
    return row.key, row.label, row.class_name, starts


def is_canonical(source: ListFile) -> bool:
    """A header of this module stands first."""
    if not source.is_parquet:
        return source.text.startswith((f'{{"format":"{FORMAT}"', f'# {{"format":"{FORMAT}"'))
    return _parquet_header(source) is not None


def _parquet_header(source: ListFile) -> bytes | None:
    from pyarrow import ArrowException, parquet

    try:
        header: bytes | None = (parquet.read_schema(io.BytesIO(source.data)).metadata or {}).get(
            FORMAT.encode()
        )
    except ArrowException:
        return None
    return header


def parse_canonical(source: ListFile, _: ClassMap | None) -> Parsed:
    """Read what `write_manifest` wrote; labels, classes and keys are final."""
    try:
        if source.is_parquet:
            header, rows = json.loads(_parquet_header(source) or b"null"), _parquet_rows(source)
        else:
            first, rest = (*source.text.split("\n", 1), "")[:2]
            header = json.loads(first.removeprefix("# "))
            rows = _csv_rows(rest) if first.startswith("# ") else _jsonl_rows(rest)
        names = tuple(header["classes"])
        entries = [
            Entry(
                path_of_key(key),
                line,
                (label,) if label >= 0 else (),
                name,
                tuple(starts) if starts else None,
            )._replace(literal=True, settled=True)
            for line, (key, label, name, starts) in enumerate(rows, start=2)
        ]
    except (ValueError, KeyError, TypeError, IndexError) as err:
        raise ManifestError(
            f"{source.name} says that it is a {FORMAT} but does not follow it ({type(err).__name__}: {err}); "
            "write it anew with vstats manifest INPUT -o"
        ) from err
    return Parsed(entries=entries, classes=ClassMap(source.name, names) if names else None)


def _jsonl_rows(text: str) -> Iterator[_Cells]:
    for line in text.splitlines():
        row = json.loads(line)
        yield row["key"], row["label"], row["class"], row["start_frames"]


def _csv_rows(text: str) -> Iterator[_Cells]:
    reader = csv.reader(io.StringIO(text, newline=""))
    if tuple(next(reader)) != COLUMNS:
        raise ValueError(f"its columns must be {', '.join(COLUMNS)}")
    for key, label, name, starts in reader:
        yield key, int(label), name, [int(start) for start in starts.split()]


def _parquet_rows(source: ListFile) -> Iterator[_Cells]:
    from pyarrow import parquet

    # In this thread: one of Arrow's may let go of the data while Python ends, and abort it.
    table = parquet.ParquetFile(io.BytesIO(source.data)).read(columns=list(COLUMNS), use_threads=False)
    yield from zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True)
