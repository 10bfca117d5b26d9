"""Progress on stderr: a bar on a terminal, and a line now and then elsewhere."""

import sys
import time
from typing import Any

import click

SECONDS_BETWEEN_LINES = 30.0


class TerminalProgress:
    """A tqdm bar: units done, rate, ETA and failures so far."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._failed = 0

    def start(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        """Open a bar for one stage."""
        from tqdm import tqdm

        self._failed = 0
        self._bar = tqdm(
            desc=stage, total=total, initial=done, unit=unit, file=sys.stderr, dynamic_ncols=True, leave=True
        )

    def advance(self, done: int, failed: int) -> None:
        """Move the bar."""
        self._failed += failed
        self._bar.set_postfix_str(f"failed {self._failed}", refresh=False)
        self._bar.update(done)

    def finish(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class LineProgress:
    """The same facts as lines, for logs: at a stage's start and end and every half minute between."""

    def __init__(self) -> None:
        self._stage = ""
        self._unit = ""
        self._total = self._done = self._earlier = self._failed = 0
        self._began = self._said = 0.0

    def start(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        """Say that a stage begins."""
        self._stage, self._unit, self._total = stage, unit, total
        self._done = self._earlier = done
        self._failed = 0
        self._began = self._said = time.monotonic()
        earlier = f", {done} done earlier" if done else ""
        click.echo(f"{stage}: {total} {unit}s{earlier}", err=True)

    def advance(self, done: int, failed: int) -> None:
        """Count, and say so if it is time."""
        self._done += done
        self._failed += failed
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._say()

    def finish(self) -> None:
        """Say how the stage ended."""
        self._say()

    def _say(self) -> None:
        elapsed = time.monotonic() - self._began
        rate = (self._done - self._earlier) / elapsed if elapsed > 0 else 0.0
        left = (
            f", {(self._total - self._done) / rate:.0f} s left"
            if rate > 0 and self._done < self._total
            else ""
        )
        click.echo(
            f"{self._stage}: {self._done}/{self._total} {self._unit}s, {rate:.1f} {self._unit}s/s{left}, "
            f"failed {self._failed}",
            err=True,
        )


def progress_for_stderr() -> TerminalProgress | LineProgress:
    """Return the progress that suits where stderr goes."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()


def say(text: str) -> None:
    """Say on stderr what a person would want to know."""
    click.echo(text, err=True)
