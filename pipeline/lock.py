"""One writer a store: who holds it, whether they are alive, and taking over from the dead.

Holders are numbered files ``lock/000001.json``, each made by an exclusive create, so of two processes that want the
same number one wins; the highest number holds the store. Nobody deletes a living holder's file: a successor of a dead
one takes the next number. A holder writes a beat into its file every few seconds. On the same machine a holder is dead
when its process is gone; from another machine (a shared file system, object storage) when its beat stands still while
we watch, so no clocks are compared.
"""

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from vstats.pipeline.config import canonical_json
from vstats.pipeline.errors import StoreBusy, StoreError
from vstats.pipeline.place import Place

FOLDER = "lock"
BEAT_SECONDS = 5.0
WATCH_SECONDS = 20.0
"""How long a foreign holder's beat must stand still before it counts as dead: several beats, for slow file systems."""


_held_here: set[str] = set()
"""Tokens of the locks that this process holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a store: machine (host, boot, process namespace), process and its start, since when, beats so far."""

    token: str
    host: str
    machine: str
    pid: int
    started: str
    since: str
    beats: int = 0

    @classmethod
    def myself(cls) -> "Holder":
        """Return this process as a holder."""
        return cls(
            token=uuid.uuid4().hex,
            host=platform.node(),
            machine=_machine(),
            pid=os.getpid(),
            started=_start_of(os.getpid()),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class StoreLock:
    """A lock that is held; `check` says so again whenever it matters."""

    def __init__(self, files: Place, name: str, me: Holder) -> None:
        self._files = files
        self._name = name
        self._me = me
        self._lost = ""
        self._over = threading.Event()
        _held_here.add(me.token)
        self._beating = threading.Thread(target=self._beat, daemon=True, name="vstats-lock")
        self._beating.start()

    def check(self) -> None:
        """Raise `StoreBusy` if another process has taken the store over, which it may after a long suspension of ours."""
        if self._lost:
            raise StoreBusy(
                f"the store was taken over {self._lost}; this run stops here and has written nothing since"
            )

    def release(self) -> None:
        """Let go."""
        self._over.set()
        self._beating.join()
        _held_here.discard(self._me.token)
        if not self._lost:
            with suppress(StoreError):  # whoever comes next finds that this process is gone, or has let go
                self._files.delete(self._name)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with suppress(
                StoreError
            ):  # a disk that refuses a beat will refuse the run itself, and be reported there
                later = [name for name in self._files.sizes(FOLDER) if name > self._name]
                mine = _read(self._files, self._name)
                if later or mine is None or mine.token != self._me.token:
                    successor = _read(self._files, later[-1]) if later else None
                    self._lost = f"by {successor}" if successor else "by another process"
                    return
                self._me = replace(self._me, beats=self._me.beats + 1)
                self._files.write(self._name, _content(self._me))


@contextmanager
def held(files: Place) -> Iterator[StoreLock]:
    """Hold the store at `files` while the context lasts.

    Parameters
    ----------
    files : Place
        Where the store is.

    Raises
    ------
    StoreBusy
        Another process holds it; the message says who and since when.
    """
    lock = _acquire(files)
    try:
        yield lock
    finally:
        lock.release()


def is_held(files: Place) -> bool | None:
    """Say whether a process holds the store at `files`; None where only watching would tell: it is on another machine."""
    names = sorted(files.sizes(FOLDER))
    holder = _read(files, names[-1]) if names else None
    if holder is None:
        return False
    if holder.machine != _machine():
        return None
    return _alive(files, names[-1], holder)


def _acquire(files: Place) -> StoreLock:
    me = Holder.myself()
    for _ in range(10):
        names = sorted(files.sizes(FOLDER))
        holder = _read(files, names[-1]) if names else None
        if holder is not None and _alive(files, names[-1], holder):
            raise StoreBusy(f"{files} is being written by {holder}; wait for it, or stop it, and run again")
        number = int(Path(names[-1]).stem) + 1 if names else 1
        name = f"{FOLDER}/{number:06d}.json"
        if not files.create(name, _content(me)):
            continue  # another process was faster: look again who it is
        others = (_read(files, other) for other in files.sizes(FOLDER) if other != name)
        if any(other is not None and other != holder for other in others):
            files.delete(name)  # a whole run began, or began and ended, between our look and our create
            continue
        for dead in names:
            files.delete(dead)
        return StoreLock(files, name, me)
    raise StoreBusy(f"{files} is wanted by several processes at once; run again in a moment")


def _alive(files: Place, name: str, holder: Holder) -> bool:
    if holder.machine == _machine():
        if holder.pid == os.getpid():  # an earlier run of this process, which may have failed to let go
            return holder.token in _held_here
        return _start_of(holder.pid) == holder.started
    deadline = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < deadline:
        time.sleep(min(1.0, WATCH_SECONDS / 10))
        now = _read(files, name)
        if now is None:
            return False
        if now.beats != holder.beats or now.token != holder.token:
            return True
    return False


def _read(files: Place, name: str) -> Holder | None:
    with suppress(StoreError, ValueError, TypeError):
        return Holder(**json.loads(files.read(name)))
    return None


def _content(holder: Holder) -> bytes:
    return (canonical_json(asdict(holder)) + "\n").encode()


def _machine() -> str:
    """Return what tells two machines, two boots and two process namespaces apart: where a pid means the same process."""
    facts = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        with suppress(OSError):
            facts.append(Path(path).read_text().strip())
    with suppress(OSError):
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(facts)


def _start_of(pid: int) -> str:
    """Return when a process started, as its kernel counts; "" if there is no such process, or it is a zombie."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    with suppress(OSError):
        os.kill(pid, 0)
        return "running"
    return ""
