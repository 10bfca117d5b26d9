"""How many videos failed so far, whether that is still tolerated, and whether they all fail in the same way."""

import re
from collections.abc import Iterable

from vstats.pipeline.errors import SystematicFailure, TooManyFailures

TRIED = 20
"""How many videos may fail in the same way, and none succeed, before the run stops."""

_OF_ONE_VIDEO = re.compile(r"""b'(?:\\.|[^'\\])*'|b"(?:\\.|[^"\\])*"|\w*\d\w*""")
"""What a message says of one video alone: bytes of it, and words with digits (numbers, sizes, checksums)."""


class Tally:
    """Counts failed videos.

    Parameters
    ----------
    tolerated : float
        How many may fail; one more raises `TooManyFailures`.
    """

    def __init__(self, tolerated: float) -> None:
        self._tolerated = tolerated
        self._failed: set[str] = set()

    def add(self, keys: Iterable[str]) -> None:
        """Count videos that failed; a video counts once.

        Raises
        ------
        TooManyFailures
            More failed than are tolerated.
        """
        self._failed.update(keys)
        if len(self._failed) > self._tolerated:
            raise TooManyFailures(
                f"{len(self._failed)} videos failed and --max-failures tolerates {self._tolerated:g}; is a disk or share "
                "missing? What was finished is kept: run the same command again to go on"
            )


class Trial:
    """Watches whether the videos that a stage tries first all fail, and in the same way: then it is hardly the videos.

    Ways are the same if stages are, and messages but for what `_OF_ONE_VIDEO` finds.

    Parameters
    ----------
    watching : bool
        False where it is known already that videos can be had, or was said how many may fail.
    """

    def __init__(self, *, watching: bool) -> None:
        self.watching = watching
        self._ways: set[tuple[str, str]] = set()
        self._failed: dict[str, str] = {}

    def add(self, failures: Iterable[tuple[str, str, str]], *, succeeded: bool) -> None:
        """Take the key, stage and message (without the video's path) of what failed, and whether anything did not."""
        if self.watching:
            for key, stage, message in failures:
                self._ways.add((stage, _OF_ONE_VIDEO.sub("", message)))
                self._failed.setdefault(key, f"[{stage}] {message}")
            self.watching = len(self._ways) < 2 and not succeeded

    @property
    def tried(self) -> int:
        """How many videos failed in the same way; 0 where one did otherwise, or is one alone."""
        return len(self._failed) if self.watching and len(self._failed) > 1 else 0

    def error(self) -> SystematicFailure:
        """Return what to raise, with what to do."""
        key, what = next(iter(self._failed.items()))
        return SystematicFailure(
            f"all {self.tried} videos that were tried fail in the same way, which looks systematic: {key}: {what}. Is a share "
            "not mounted, or the installation at fault (`vstats doctor`)? Nothing is committed: mend it and run the same "
            "command again. If it is the videos, say with --max-failures how many may fail, such as 100%"
        )
