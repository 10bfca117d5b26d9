"""Files that are there whole or not at all: write aside, flush to disk, rename; and JSON that carries its own seal."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from vstats.pipeline.config import canonical_json
from vstats.pipeline.errors import StoreError


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a crash leaves the old file or the new one, never a part.

    Raises
    ------
    StoreError
        The disk refused (full, read-only, no permission).
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise disk_refused(path, error) from error


def sync_file(path: Path) -> None:
    """Flush a file that another library wrote to disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Flush a folder's list of names to disk, so that a rename survives a power cut."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_refused(path: Path, error: OSError) -> StoreError:
    """Return the error for a disk that refused to read or write `path`, with what to do."""
    return StoreError(
        f"{path}: {error.strerror or error}. Free space or mend permissions, then run the same command again: "
        "what was finished is kept"
    )


def seal(record: dict[str, Any]) -> bytes:
    """Return `record` as canonical JSON with a sha256 of itself added, so that any flipped byte shows."""
    body = canonical_json(record)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return (canonical_json({**record, "sha256": digest}) + "\n").encode()


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the record that `seal` made.

    Raises
    ------
    StoreError
        The file cannot be read, or is not byte for byte what `seal` wrote.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise disk_refused(path, error) from error
    try:
        record: dict[str, Any] = json.loads(content)
        del record["sha256"]
        whole = seal(record) == content
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise StoreError(f"{path} is damaged: it is not what vstats wrote")
    return record


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
