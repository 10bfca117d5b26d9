"""How long work tells whoever is watching how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Is told how far the work is."""

    def start(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a stage of `total` units, of which `done` were finished earlier."""

    def advance(self, done: int, failed: int) -> None:
        """`done` more units are through, `failed` of them without a result."""

    def finish(self) -> None:
        """The stage is over."""


class NoProgress:
    """Says nothing."""

    def start(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        """Ignore it."""

    def advance(self, done: int, failed: int) -> None:
        """Ignore it."""

    def finish(self) -> None:
        """Ignore it."""
