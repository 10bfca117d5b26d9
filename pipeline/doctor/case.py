"""What is examined, and what a check says of it."""

from dataclasses import dataclass
from typing import Literal

from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.estimate import Estimate
from vstats.pipeline.manifest import Manifest

State = Literal["ok", "warn", "fail"]


@dataclass(slots=True, kw_only=True)
class Case:
    """A run as it was asked for: what it computes and how, over which videos, into which store.

    Checks settle `run`, and fill in `estimate` where there are videos.
    """

    config: ExtractConfig
    run: RunConfig
    manifest: Manifest | None = None
    output: str | None = None
    estimate: Estimate | None = None

    @property
    def workers(self) -> int:
        """Processes that compute on this machine, at least 1."""
        return max(1, self.run.workers or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a check says: how it is, what was found, and what to do unless all is well."""

    state: State
    found: str
    advice: str = ""


def ok(found: str) -> Answer:
    """All is well."""
    return Answer(state="ok", found=found)


def warn(found: str, advice: str) -> Answer:
    """A run works, but not as well as it could."""
    return Answer(state="warn", found=found, advice=advice)


def fail(found: str, advice: str) -> Answer:
    """A run does not work."""
    return Answer(state="fail", found=found, advice=advice)
