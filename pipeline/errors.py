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
    ├── StoreError            4   the store or its disk refused
    │   ├── StoreBusy         4   another process is writing the store
    │   ├── NotCommitted      4   the store is not finished
    │   └── NotAStore         4
    └── WorkerError           4   the computation itself broke down: workers died, a task failed again and again
"""

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


def _rebuild_video_error(kind: type[VideoError], message: str, stage: str) -> VideoError:
    return kind(message, stage=stage)
