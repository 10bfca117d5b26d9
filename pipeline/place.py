"""Where a store's files are: a folder on this machine, or object storage. The only import of obstore.

Every name is relative to the store and uses "/". A file is there whole or not at all: on a disk it is written aside,
flushed and renamed; on object storage one put does as much.
"""

import contextlib
import functools
import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vstats.kernels.errors import BackendUnavailable
from vstats.pipeline.durable import (
    aside_of,
    disk_refused,
    file_sha256,
    sync_folder,
    write_durably,
    write_through,
)
from vstats.pipeline.errors import StoreError, UsageError

if TYPE_CHECKING:
    import obstore.store

T = TypeVar("T")
R = TypeVar("R")

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and AWS_ENDPOINT_URL for a server of your own",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "memory": "",
}
"""The schemes of remote stores, and the environment variables that each reads."""


class Place(Protocol):
    """Where a store's files are. `str()` gives the path or URL as it was given; `address` opens it in any process.

    Everything raises `StoreError` when the disk or server refuses.
    """

    @property
    def shared(self) -> bool:
        """Whether other processes see the same files."""
        ...

    @property
    def parallel(self) -> int:
        """How many requests are worth having under way: a few while a disk flushes, many where a server answers late."""
        ...

    @property
    def address(self) -> str:
        """What `open_place` opens again in another process, whose working directory may be another."""
        ...

    def where(self, name: str) -> str:
        """Return the path or URL of a file, for messages."""
        ...

    def entries(self) -> set[str] | None:
        """Return the names of the files and folders at the top; None where there is no such folder."""
        ...

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return name -> bytes of every file in `folder` and below, sorted by name, in one listing."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        ...

    def size(self, name: str) -> int:
        """Return a file's bytes."""
        ...

    def sha256(self, name: str) -> str:
        """Return the sha256 of a file's bytes, in hexadecimal."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        ...

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file durably: a crash leaves the old file or the new one, never a part."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one of this name, and return whether it was written.

        Of several that try at once, on one machine or many, one succeeds; whoever reads the file finds it whole.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def remove(self, folder: str = "") -> None:
        """Remove a folder and everything below it; by default the store itself."""
        ...

    def prepare(self) -> None:
        """Make the store's folder, where there are folders."""
        ...

    def refusals(self, name: str = "") -> AbstractContextManager[None]:
        """Turn what another library raises when the disk or server refuses into `StoreError`."""
        ...


class LocalPlace:
    """A folder on a file system.

    Parameters
    ----------
    path : Path
        The folder; it need not be there yet.
    """

    shared = True
    parallel = 4

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def address(self) -> str:
        """The absolute path."""
        return str(self.path.absolute())

    def where(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.path / name)

    def entries(self) -> set[str] | None:
        """Return the names in the folder; None where it is not there."""
        try:
            return {entry.name for entry in self.path.iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise disk_refused(self.path, error) from error

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return name -> bytes of every file in `folder` and below."""
        found: dict[str, int] = {}
        with self.refusals(folder):
            for parent, _, names in os.walk(self.path / folder, onerror=_raise_unless_missing):
                within = Path(parent).relative_to(self.path).as_posix()
                for name in names:
                    with contextlib.suppress(FileNotFoundError):  # a writer renamed it while we looked
                        size = Path(parent, name).stat().st_size
                        found[name if within == "." else f"{within}/{name}"] = size
        return dict(sorted(found.items()))

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return (self.path / name).is_file()

    def size(self, name: str) -> int:
        """Return a file's bytes."""
        with self.refusals(name):
            return (self.path / name).stat().st_size

    def sha256(self, name: str) -> str:
        """Return the sha256 of a file's bytes."""
        with self.refusals(name):
            return file_sha256(self.path / name)

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        with self.refusals(name):
            return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write aside, flush, rename."""
        path = self.path / name
        with self.refusals(name):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write aside, flush, and link to the name, which fails where it is taken."""
        path = self.path / name
        aside = aside_of(path)
        with self.refusals(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_through(aside, content)
                _link(aside, path, content)
                sync_folder(path.parent)
            except FileExistsError:
                return False
            finally:
                with contextlib.suppress(OSError):
                    aside.unlink()
        return True

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self.refusals(name):
            (self.path / name).unlink(missing_ok=True)

    def remove(self, folder: str = "") -> None:
        """Remove a folder and everything below it, if it is there."""
        import shutil

        with self.refusals(folder), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path / folder)

    def prepare(self) -> None:
        """Make the folder."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror or error}") from error

    @contextmanager
    def refusals(self, name: str = "") -> Iterator[None]:
        """Turn `OSError` into `StoreError`."""
        try:
            yield
        except OSError as error:
            raise disk_refused(self.path / name, error) from error


class ObjectPlace:
    """A prefix of a bucket on object storage, or of this process's memory.

    Parameters
    ----------
    url : str
        What messages call it, and what `open_place` opens again.
    store : obstore store
        Reads and writes below the prefix; patient with a server that stumbles.
    hasty : obstore store, optional
        The same, for the first request: it gives up within seconds, so that a mistyped address shows at once.
    """

    parallel = 16

    def __init__(
        self, url: str, store: "obstore.store.ObjectStore", hasty: "obstore.store.ObjectStore | None" = None
    ) -> None:
        self.url = url
        self.store = store
        self._hasty = hasty or store

    def __str__(self) -> str:
        return self.url

    @property
    def shared(self) -> bool:
        """Whether other processes see the same objects."""
        return not self.url.startswith("memory:")

    @property
    def address(self) -> str:
        """The URL."""
        return self.url

    def where(self, name: str) -> str:
        """Return the URL of an object."""
        return f"{self.url}/{name}" if name else self.url

    def entries(self) -> set[str] | None:
        """Return the first parts of all names; None where there is no object."""
        import obstore

        with self.refusals():
            found = obstore.list_with_delimiter(self._hasty)
            names = {*found["common_prefixes"], *(entry["path"] for entry in found["objects"])}
        return names or None

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return name -> bytes of every object below `folder`."""
        import obstore

        with self.refusals(folder):
            batches = obstore.list(self.store, prefix=folder or None)
            return dict(sorted((entry["path"], entry["size"]) for batch in batches for entry in batch))

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        import obstore

        with self.refusals(name):
            try:
                obstore.head(self.store, name)
            except FileNotFoundError:
                return False
            return True

    def size(self, name: str) -> int:
        """Return an object's bytes."""
        import obstore

        with self.refusals(name):
            return obstore.head(self.store, name)["size"]

    def sha256(self, name: str) -> str:
        """Return the sha256 of an object's bytes, read piece by piece."""
        import obstore

        digest = hashlib.sha256()
        with self.refusals(name):
            for piece in obstore.get(self.store, name).stream():
                digest.update(piece)
        return digest.hexdigest()

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        import obstore

        with self.refusals(name):
            return bytes(obstore.get(self.store, name).bytes())

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object, each given by its offset and length; neighbours come in one request."""
        import obstore

        with self.refusals(name):
            starts, lengths = [start for start, _ in ranges], [length for _, length in ranges]
            return [
                bytes(part) for part in obstore.get_ranges(self.store, name, starts=starts, lengths=lengths)
            ]

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Put an object: readers see the old one or the new one."""
        import obstore

        with self.refusals(name):
            obstore.put(self.store, name, bytes(content))

    def create(self, name: str, content: bytes) -> bool:
        """Put an object on condition that there is none of this name."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self.refusals(name):
            try:
                obstore.put(self.store, name, content, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        import obstore

        with self.refusals(name), contextlib.suppress(FileNotFoundError):
            obstore.delete(self.store, name)

    def remove(self, folder: str = "") -> None:
        """Remove every object below `folder`."""
        import obstore

        with self.refusals(folder):
            names = list(self.sizes(folder))
            if names:
                obstore.delete(self.store, names)

    def prepare(self) -> None:
        """There are no folders to make."""

    @contextmanager
    def refusals(self, name: str = "") -> Iterator[None]:
        """Turn obstore's errors into `StoreError` with what to do."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise _server_refused(self.where(name), error) from error


def open_place(where: str | Path | Place) -> Place:
    """Return the place that a path or URL names; nothing is read yet.

    Parameters
    ----------
    where : str or Path
        A path, file://, s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, or memory://NAME, which lives as long
        as this process. A place is returned as it is.

    Raises
    ------
    UsageError
        The URL is of another kind or incomplete.
    BackendUnavailable
        The library for object storage is not installed.
    """
    if isinstance(where, Path):
        return LocalPlace(where)
    if not isinstance(where, str):
        return where
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", where)
    if scheme is None:
        return LocalPlace(Path(where))
    kind = scheme[1].lower()
    parts = urlsplit(where)
    if kind == "file":
        return LocalPlace(Path(url2pathname(parts.netloc + parts.path)))
    if kind not in CREDENTIALS:
        known = ", ".join(f"{name}://" for name in CREDENTIALS)
        raise UsageError(f"{where}: stores are on a path, file://, {known}; {kind}:// is none of them")
    if kind != "memory" and not (parts.netloc and parts.path.strip("/")):
        raise UsageError(f"{where}: give a bucket and a path in it, such as {kind}://bucket/labels.vstats")
    try:
        import obstore.store
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise BackendUnavailable(
            f"{where}: stores on object storage need obstore: pip install 'vstats[cloud]'"
        ) from error
    url = where.rstrip("/")
    if kind == "memory":
        return ObjectPlace(url, _memory(url))
    options: Any = {}
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["allow_http"] = True  # whoever wrote http:// meant it
    quick: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
    try:
        patient = obstore.store.from_url(url, client_options=options)
        hasty = obstore.store.from_url(url, client_options=options, retry_config=quick)
    except (BaseError, ValueError) as error:
        raise UsageError(f"{where}: {_first_line(error)}; it is set up by {CREDENTIALS[kind]}") from error
    return ObjectPlace(url, patient, hasty)


def each(place: Place, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `function(item)` of every item in order, with as many under way as `place` is worth, and few more waiting."""
    waiting = iter(items)
    with ThreadPoolExecutor(place.parallel) as threads:
        flying = deque(threads.submit(function, item) for item in islice(waiting, 2 * place.parallel))
        try:
            while flying:
                result = flying.popleft().result()
                flying.extend(threads.submit(function, item) for item in islice(waiting, 1))
                yield result
        finally:
            for future in flying:
                future.cancel()


def check_workers_see(place: Place, workers: int) -> None:
    """Raise `UsageError` if worker processes are asked for that do not see the files of `place`."""
    if workers and not place.shared:
        raise UsageError(
            f"{place} is in the memory of one process, where {workers} workers do not see it: give --workers 0, "
            "or a store on a path or on object storage"
        )


@functools.cache
def _memory(url: str) -> "obstore.store.MemoryStore":
    import obstore.store

    return obstore.store.MemoryStore()


def _server_refused(where: str, error: Exception) -> StoreError:
    """Return the error for a server that refused, with what to do."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    variables = CREDENTIALS.get(where.partition(":")[0], "")
    text = str(error).partition("\n\nDebug source")[0]
    said = re.search(r"<Message>(.*?)</Message>", text)
    reason = said[1] if said else _first_line(error)
    again = "Then run the same command again: what was finished is kept"
    # Where machines in a cloud hand out credentials: asked when nothing else gives any.
    if re.search(r"169\.254\.169\.254|/latest/api/token|/computeMetadata/|/metadata/identity", text):
        return StoreError(f"{where}: no credentials found. Set {variables}. {again}")
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    if denied or re.search(r"40[13] (Forbidden|Unauthorized)", text):
        return StoreError(
            f"{where}: access denied ({reason.rstrip('.')}). Check {variables}, and that they allow to list, read, write and "
            f"delete there. {again}"
        )
    if re.search(r"NoSuchBucket|ContainerNotFound|bucket does not exist", text):
        return StoreError(f"{where}: the bucket is not there. Make it, or mend the URL. {again}")
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{where} is not there")
    if re.search(r"error sending request|timed out|retries", text):
        address = re.search(r"https?://[^/\s]+", text)
        server = f"the server {address[0]}" if address else "the server"
        return StoreError(f"{where}: {server} cannot be reached. Check {variables}. {again}")
    return StoreError(f"{where}: {reason.rstrip('.')}. {again}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].strip()


def _link(aside: Path, path: Path, content: bytes) -> None:
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        write_through(path, content, mode="xb")


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
