"""How many videos failed so far, and whether that is still tolerated."""

from collections.abc import Iterable

from vstats.pipeline.errors import TooManyFailures


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
