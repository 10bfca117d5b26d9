"""The pipeline's errors, each with the exit code that the command line ends with.

.. code-block:: text

    PipelineError (VstatsError)
    ├── UsageError            2   a request that cannot be carried out as worded
    │   ├── ManifestError     2   an input list that cannot be understood
    │   └── ConfigMismatch    2   a store planned with another configuration or input
    ├── VideoError            1   one video, or one row of it, cannot be labelled (recorded, never fatal)
    │   ├── DecodeError
    │   └── RefusedRow
    ├── TooManyFailures       1   more videos failed than the run tolerates
    ├── SystematicFailure     4   every video that was tried fails in the same way: hardly a fault of the videos
    ├── StoreError            4   the store or its disk refused
    │   ├── StoreBusy         4   another process is writing the store
    │   ├── NotCommitted      4   the store is not finished
    │   └── NotAStore         4
    ├── WorkerError           4   the computation itself broke down: workers died, a task failed again and again
    ├── Unproven              4   a process gives other bits than it must, or cannot show that it does not
    └── InternalError         4   an exception that nobody foresaw: a fault of vstats or of an installed library
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from vstats.kernels.errors import VstatsError


class PipelineError(VstatsError):
    """Whatever goes wrong around the kernels."""

    exit_code: ClassVar[int] = 1


class UsageError(PipelineError):
    """What was asked for cannot be carried out as worded."""

    exit_code = 2


class ManifestError(UsageError):
    """An input list cannot be understood; the message names the file and the line."""


class ConfigMismatch(UsageError):
    """A store was planned with another configuration or another input; the message names every difference."""


class VideoError(PipelineError):
    """One video, or a row of it, cannot be labelled. `stage` says where: find, open, decode, plan, flow or labels."""

    def __init__(self, message: str, *, stage: str) -> None:
        super().__init__(message)
        self.stage = stage

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_video_error, (type(self), str(self), self.stage))


class DecodeError(VideoError):
    """A video cannot be opened or decoded."""


class RefusedRow(VideoError):
    """A profile has no label for this row (`mas-released` on a clip without motion)."""


class TooManyFailures(PipelineError):
    """More videos failed than the run tolerates."""

    exit_code = 1


class SystematicFailure(PipelineError):
    """Every video that was tried fails in the same way."""

    exit_code = 4


class StoreError(PipelineError):
    """The store, or the disk it is on, refused to be read or written."""

    exit_code = 4


class StoreBusy(StoreError):
    """Another process is writing the store."""


class NotAStore(StoreError):
    """A path does not hold a vstats store."""


class NotCommitted(StoreError):
    """A store has no COMMIT.json: its extraction did not finish."""


class WorkerError(PipelineError):
    """Workers died, or a task failed again and again."""

    exit_code = 4


class Unproven(PipelineError):
    """A process gives other bits on known clips than it must; the message names stage, library and version."""

    exit_code = 4


class InternalError(PipelineError):
    """A fault of vstats or of an installed library: an exception that nobody foresaw.

    It ends the run and is never recorded as a failure of a video. `details` is the traceback of that exception, as text
    that crosses processes.
    """

    exit_code = 4

    def __init__(self, message: str, *, details: str) -> None:
        super().__init__(message)
        self.details = details

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_internal_error, (str(self), self.details))

    @classmethod
    def of(cls, error: Exception, video: str = "") -> "InternalError":
        """Return what to raise in place of `error`, which arose while `video`, if given, was worked on."""
        import platform
        import traceback
        from importlib.metadata import distributions

        versions = {
            d.name: d.version for d in distributions() if d.name in ("vstats", "av", "numpy", "zarr", "dask")
        }
        named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        steps = traceback.extract_tb(error.__traceback__)
        last = steps[-1] if steps else None
        where = f" ({'/'.join(Path(last.filename).parts[-2:])}:{last.lineno}, in {last.name})" if last else ""
        said = str(error).strip().partition("\n")[0]
        blame = (
            "the system refused"
            if isinstance(error, OSError | MemoryError)
            else "a fault of vstats or of an installed library, not of your videos"
        )
        return cls(
            f"{blame}: {type(error).__name__}{said and ': '}{said}{where}{video and ', on '}{video}, with "
            f"Python {platform.python_version()}, {named}. What was finished is kept. "
            "--verbose shows the traceback, `vstats doctor` looks at the installation; report what it does not explain",
            details="".join(traceback.format_exception(error)),
        )


@contextmanager
def faults_on(video: str = "") -> Iterator[None]:
    """Raise what nobody foresaw as an `InternalError` that names `video`, if one is worked on."""
    try:
        yield
    except (VstatsError, OSError, MemoryError):
        raise
    except Exception as error:
        raise InternalError.of(error, video) from error


def _rebuild_internal_error(message: str, details: str) -> InternalError:
    return InternalError(message, details=details)


class DifferentVideo(UserWarning):
    """A video is another copy than the one that was labelled."""


def _rebuild_video_error(kind: type[VideoError], message: str, stage: str) -> VideoError:
    return kind(message, stage=stage)
