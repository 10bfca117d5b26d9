"""A list file: its bytes, lines and columns, and errors that name the line."""

import codecs
import re
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest.naming import VIDEO_EXTENSIONS, printable

_HEAD_BYTES = 65536
_PARQUET = b"PAR1"
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_EXTENSIONS = "|".join(sorted(ext[1:] for ext in VIDEO_EXTENSIONS))
# A video's name may hold spaces and numbers, so its extension ends it; any other name ends at the trailing numbers.
_VIDEO_LINE = re.compile(rf"(.*\.(?:{_EXTENSIONS}))((?:[\s,]+-?\d+)*)", re.IGNORECASE)
_NUMBERS_AT_END = re.compile(r"(?:[\s,]+-?\d+)+$")
_NUMBER = re.compile(r"-?\d+")


class Columns(NamedTuple):
    """A line split into a name and the whole numbers after it."""

    line: int
    name: str
    numbers: tuple[int, ...]


def unquoted(name: str) -> str:
    """Return a name without the quotes that some lists put round it."""
    return name[1:-1] if len(name) > 2 and name[0] == name[-1] and name[0] in "\"'" else name


class ListFile:
    """The bytes of a list, read as text or columns when somebody asks.

    Parameters
    ----------
    name : str
        What messages call it.
    folder : str
        Where it lies; class lists are looked for beside it.
    data : bytes
        Its content.
    """

    def __init__(self, name: str, folder: str, data: bytes) -> None:
        self.name = printable(name)
        self.folder = folder
        self.data = data
        head = data[:_HEAD_BYTES]
        if not self.is_parquet and not head.startswith(_UTF16) and _NOT_TEXT.search(head):
            raise ManifestError(
                f"{self.name} is neither a list nor a file with a known video extension: it begins with the bytes "
                f"{data[:8]!r}; give a text list, csv, json, jsonl or parquet, none of them compressed"
            )

    @classmethod
    def from_path(cls, path: str) -> "ListFile":
        """Read a list, stopping at its first kilobytes when they are no text."""
        try:
            with Path(path).open("rb") as stream:
                return cls.from_stream(path, str(Path(path).absolute().parent), stream)
        except OSError as err:
            raise ManifestError(f"cannot read {printable(path)}: {err.strerror or err}") from err

    @classmethod
    def from_stream(cls, name: str, folder: str, stream: BinaryIO) -> "ListFile":
        """Read a list from an open binary file."""
        head = stream.read(_HEAD_BYTES)
        cls(name, folder, head)  # refuses what is no text before gigabytes of it are read
        return cls(name, folder, head + stream.read())

    @property
    def is_parquet(self) -> bool:
        """Whether the content is a parquet file."""
        return self.data.startswith(_PARQUET)

    @cached_property
    def text(self) -> str:
        """The content as text, without a byte order mark; bytes that are not UTF-8 are kept as lone surrogates."""
        if self.data.startswith(_UTF16):
            return self.data.decode("utf-16", "replace")
        return self.data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")

    @cached_property
    def lines(self) -> list[tuple[int, str]]:
        """Line number from 1 and text of every line that is neither blank nor a comment (#)."""
        # Not splitlines(): it also cuts at characters that are legal in file names, such as U+0085 and U+2028.
        stripped = (
            (n, raw.strip(" \t\r\f\v")) for n, raw in enumerate(re.split(r"\r\n|\n|\r", self.text), start=1)
        )
        return [(number, line) for number, line in stripped if line and not line.startswith("#")]

    @cached_property
    def columns(self) -> list[Columns]:
        """Every line as a name and the numbers that follow it."""
        return [self._split(number, line) for number, line in self.lines]

    def _split(self, number: int, line: str) -> Columns:
        if match := _VIDEO_LINE.fullmatch(line):
            name, rest = match[1], match[2]
        else:
            # The search starts where only digits and separators follow: from the line's start it would be slow.
            tail = _NUMBERS_AT_END.search(line, len(line.rstrip("0123456789-, \t")))
            name, rest = (line[: tail.start()], tail[0]) if tail else (line, "")
        return Columns(number, unquoted(name), tuple(map(int, _NUMBER.findall(rest))) if rest else ())

    def error(self, line: int, found: str, wanted: str) -> ManifestError:
        """Return the error for one line: what it holds, and what was wanted instead."""
        shown = found if len(found) <= 120 else found[:117] + "..."
        return ManifestError(f"{self.name}, line {line}: found {shown!r}; {wanted}")
