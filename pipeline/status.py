"""status.json: how far a run is, for monitors and for `vstats status`; it is gone when the store is finished."""

import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from vstats.pipeline.config import canonical_json
from vstats.pipeline.errors import StoreError
from vstats.pipeline.place import Place
from vstats.pipeline.progress import Progress

NAME = "status.json"
SECONDS_BETWEEN_WRITES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a stage is: units done of a total, failed among them, units a second in this run, seconds left."""

    stage: str
    unit: str
    total: int
    done: int
    failed: int
    per_second: float
    seconds_left: float | None
    host: str
    pid: int
    started_at: str
    updated_at: str


class StatusFile:
    """A progress that is passed on to another one, and written to status.json every few seconds."""

    def __init__(self, files: Place, inner: Progress) -> None:
        self._files = files
        self._inner = inner
        self._started_at = _now()

    def start(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a stage."""
        self._stage, self._unit, self._total = stage, unit, total
        self._done = self._earlier = done
        self._failed = 0
        self._began = time.monotonic()
        self._write()
        self._inner.start(stage, total, unit, done)

    def advance(self, done: int, failed: int) -> None:
        """Count."""
        self._done += done
        self._failed += failed
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self._write()
        self._inner.advance(done, failed)

    def finish(self) -> None:
        """End a stage."""
        self._write()
        self._inner.finish()

    def _write(self) -> None:
        self._written = time.monotonic()
        elapsed = self._written - self._began
        rate = (self._done - self._earlier) / elapsed if elapsed > 0 else 0.0
        status = Status(
            stage=self._stage,
            unit=self._unit,
            total=self._total,
            done=self._done,
            failed=self._failed,
            per_second=round(rate, 3),
            seconds_left=round((self._total - self._done) / rate, 1) if rate > 0 else None,
            host=platform.node(),
            pid=os.getpid(),
            started_at=self._started_at,
            updated_at=_now(),
        )
        self._files.write(NAME, (canonical_json(asdict(status)) + "\n").encode())


def read_status(files: Place) -> Status | None:
    """Return the status of a store that is being written, or None where there is none."""
    with suppress(StoreError, ValueError, TypeError):
        return Status(**json.loads(files.read(NAME)))
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
