"""A manifest in N parts, for sites that run many jobs and no cluster: each video belongs to one part, by its key alone.

A part depends neither on the order of the list nor on which videos are there, so a job that is sent again, or a list
that was sorted in between, labels the same videos.
"""

import hashlib
import re
from dataclasses import dataclass, replace

from vstats.kernels.errors import InputError
from vstats.pipeline.manifest import Manifest
from vstats.pipeline.records import ManifestRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of `of` parts, counted from 1."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise InputError(
                f"part {self.number}/{self.of} does not exist; parts are 1/{self.of} to {self.of}/{self.of}"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def holds(self, key: str) -> bool:
        """Whether the video `key` belongs to this part: sha256 of the key, as a big-endian number, modulo `of`."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest, "big") % self.of == self.number - 1


def parse_part(text: str) -> Part:
    """Return the part that a text such as "3/8" names.

    Raises
    ------
    InputError
        The text is of another form, or there is no such part.
    """
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text, re.ASCII)
    if found is None:
        raise InputError(f"part is {text!r}; it must be NUMBER/PARTS, such as 3/8, counted from 1")
    return Part(number=int(found[1]), of=int(found[2]))


def select(manifest: Manifest, part: Part) -> Manifest:
    """Return the part of a manifest: its videos, found and missing; what describes the whole input stays as it is."""

    def mine(rows: tuple[ManifestRow, ...]) -> tuple[ManifestRow, ...]:
        return tuple(row for row in rows if part.holds(row.key))

    return replace(
        manifest,
        source=f"{manifest.source} (part {part})",
        rows=mine(manifest.rows),
        missing=mine(manifest.missing),
    )
