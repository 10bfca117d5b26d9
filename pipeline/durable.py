"""Files that are there whole or not at all: write aside, flush to disk, rename; and JSON that carries its own seal."""

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any, Literal

from vstats.pipeline.config import canonical_json
from vstats.pipeline.errors import StoreError


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path` so that a crash leaves the old file or the new one, never a part.

    Raises
    ------
    StoreError
        The disk refused (full, read-only, no permission).
    """
    aside = aside_of(path)
    try:
        write_through(aside, content)
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_refused(path, error) from error
    finally:
        with contextlib.suppress(
            OSError
        ):  # after a rename it is gone; a disk that refused may refuse this too
            aside.unlink()


def aside_of(path: Path) -> Path:
    """Return a name beside `path` that no other writer on any machine uses; what a kill leaves there is no file yet."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")


def write_through(path: Path, content: bytes | memoryview, mode: Literal["wb", "xb"] = "wb") -> None:
    """Write a file and flush it to disk; "xb" only if there is none."""
    with path.open(mode) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's list of names to disk, so that a rename survives a power cut."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_refused(path: str | Path, error: OSError) -> StoreError:
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


def unseal(content: bytes, where: str) -> dict[str, Any]:
    """Return the record that `seal` made; `where` names the file in the error.

    Raises
    ------
    StoreError
        `content` is not byte for byte what `seal` wrote.
    """
    try:
        record: dict[str, Any] = json.loads(content)
        del record["sha256"]
        whole = seal(record) == content
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise StoreError(f"{where} is damaged: it is not what vstats wrote")
    return record


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
