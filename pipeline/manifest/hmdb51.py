"""The split files of HMDB51: one a class, ``brush_hair_test_split1.txt``, whose lines say what each video is for."""

import re

from vstats.pipeline.manifest.classes import ClassMap
from vstats.pipeline.manifest.model import Entry, Parsed
from vstats.pipeline.manifest.source import ListFile

_NAME = re.compile(r"(?:.*[/\\])?([^/\\]+)_test_split\d\.txt")
_UNUSED, _TRAIN, _TEST = 0, 1, 2


def is_hmdb51(source: ListFile) -> bool:
    """The file is named as HMDB51 names its splits, and every line is a video and 0, 1 or 2."""
    return _NAME.fullmatch(source.name) is not None and all(
        c.numbers in ((_UNUSED,), (_TRAIN,), (_TEST,)) for c in source.columns
    )


def parse_hmdb51(source: ListFile, _: ClassMap | None) -> Parsed:
    """The training videos: those with a 1. The number is no label; the class is in the file's name."""
    return _parse(
        source,
        _TRAIN,
        "HMDB51: videos marked 1 (training) were taken; --kind hmdb51-test takes the test videos",
    )


def parse_hmdb51_test(source: ListFile, _: ClassMap | None) -> Parsed:
    """The test videos: those with a 2."""
    return _parse(
        source, _TEST, "HMDB51: videos marked 2 (test) were taken; --kind hmdb51 takes the training videos"
    )


def _parse(source: ListFile, wanted: int, note: str) -> Parsed:
    named = _NAME.fullmatch(source.name)
    line, text = source.lines[0]
    if named is None:
        raise source.error(line, text, "a split of HMDB51 is in a file such as brush_hair_test_split1.txt")
    chosen = []
    for column in source.columns:
        if column.numbers not in ((_UNUSED,), (_TRAIN,), (_TEST,)):
            raise source.error(
                column.line,
                column.name,
                "a line of an HMDB51 split is a video and 0 (unused), 1 (training) or 2 (test)",
            )
        if column.numbers == (wanted,):
            chosen.append(Entry(f"{named[1]}/{column.name}", column.line, (), named[1]))
    return Parsed(entries=chosen, notes=[note])
