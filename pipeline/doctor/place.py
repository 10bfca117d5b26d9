"""What the videos take, and whether the store's place is fit for it."""

import contextlib
import os
import time
import uuid
from pathlib import Path

from vstats.pipeline import lock
from vstats.pipeline.doctor.case import Answer, Case, fail, ok
from vstats.pipeline.errors import StoreBusy, StoreError
from vstats.pipeline.estimate import estimate, in_bytes
from vstats.pipeline.place import LocalPlace, Place, open_place

FLOOR_BYTES = 100 << 20
FLOOR_FILES = 2000
"""What must be free for any store."""


def store(case: Case) -> Answer | None:
    """Do beside the store what a run does in it: write over, flush, create once, lock; and leave nothing behind."""
    if case.output is None:
        return None
    place = open_place(case.output)
    name = f"doctor-{uuid.uuid4().hex}.partial"
    if isinstance(place, LocalPlace):
        what, scratch = "renames, flushes and locks", open_place(_folder_of(place) / f".{name}")
    else:
        what, scratch = "the server, locks and conditional puts", open_place(f"{place.address}/{name}")
    began = time.perf_counter()
    try:
        place.entries()  # gives up soon where no server answers
        wrong = _try(scratch)
    except StoreError as error:
        return fail(str(error).replace(str(scratch), case.output), "mend that, or give another -o")
    finally:
        with contextlib.suppress(StoreError):
            scratch.remove()
    if wrong:
        return fail(f"{case.output}: {wrong}", "give an -o elsewhere")
    return ok(f"{case.output}: {what} work ({time.perf_counter() - began:.2f} s)")


def _try(place: Place) -> str:
    """Return what a place does otherwise than a store needs it; "" if nothing."""
    place.prepare()
    for content in (b"old", b"new"):
        place.write("file", content)
        if place.read("file") != content:
            return "what is written is not what is read"
    if not place.create("once", b"mine") or place.create("once", b"theirs") or place.read("once") != b"mine":
        return "a file can be created where there is one (no conditional puts): two runs would write the store at once"
    with lock.held(place):
        try:
            with lock.held(place):
                return "two processes can hold its lock"
        except StoreBusy:
            return ""


def estimated(case: Case) -> Answer | None:
    """Label a few of the videos."""
    if case.manifest is None:
        return None
    case.estimate = estimate(case.manifest, case.config, case.run)
    if case.estimate.rows:
        return ok(str(case.estimate))
    return fail(
        f"none of {case.estimate.sampled} videos that were tried has a row",
        "see why with vstats extract --dry-run",
    )


def disk(case: Case) -> Answer | None:
    """Compare the room for the store with what it takes."""
    place = open_place(case.output) if case.output is not None else None
    if not isinstance(place, LocalPlace):
        return None  # object storage has no end
    facts = os.statvfs(_folder_of(place))
    free = facts.f_bavail * facts.f_frsize
    wanted = max(FLOOR_BYTES, case.estimate.bytes if case.estimate is not None else 0)
    found = f"{in_bytes(free)} free; {in_bytes(wanted)} should be"
    if free < wanted:
        return fail(found, "free space, or give another -o")
    if facts.f_files and facts.f_favail < FLOOR_FILES:
        return fail(
            f"room for {facts.f_favail} files; {FLOOR_FILES} should be", "delete files, or give another -o"
        )
    return ok(found)


def _folder_of(place: LocalPlace) -> Path:
    """Return the store's folder, or the nearest above it that is there."""
    path = place.path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
