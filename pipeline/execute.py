"""Where tasks run: in this process, or on worker processes through Dask. The only import of Dask.

Both give the same results for the same tasks; only the order in which results arrive differs.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from vstats.kernels.errors import VstatsError
from vstats.pipeline.errors import WorkerError

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3
"""How often a task is tried when its worker dies or it breaks in a way that no stage foresaw."""

ONE_THREAD = dict.fromkeys(
    [
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "BLOSC_NTHREADS",
        "OPENCV_FOR_THREADS_NUM",
    ],
    "1",
)


class Executor(Protocol):
    """Runs a function over tasks."""

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield `function(task)` for every task, in any order."""
        ...


class SerialExecutor:
    """Runs tasks one after another in this process."""

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield `function(task)` for every task, in order."""
        for task in tasks:
            yield function(task)


class DaskExecutor:
    """Runs tasks on the workers of a Dask client, with a bounded number in flight."""

    def __init__(self, client: Any, slots: int) -> None:
        self.client = client
        self.window = 2 * slots

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield `function(task)` for every task, as they finish.

        A task whose worker dies is tried again elsewhere. What the function raises on purpose is raised here.

        Raises
        ------
        WorkerError
            A task broke, or killed its worker, `ATTEMPTS` times.
        """
        from distributed import as_completed

        waiting = iter(tasks)
        flying: dict[Any, tuple[T, int]] = {}
        results = as_completed()

        def launch(task: T, attempt: int) -> None:
            future = self.client.submit(_held_to_one_thread, function, task, pure=False, retries=0)
            flying[future] = (task, attempt)
            results.add(future)

        try:
            for task in itertools.islice(waiting, self.window):
                launch(task, 1)
            while flying:
                future = next(results)
                task, attempt = flying.pop(future)
                error = future.exception()
                if error is None:
                    result = future.result()
                    future.release()
                    for following in itertools.islice(waiting, 1):
                        launch(following, 1)
                    yield result
                elif isinstance(error, VstatsError):
                    raise error
                elif attempt < ATTEMPTS:
                    launch(task, attempt + 1)
                else:
                    raise WorkerError(
                        f"a task failed {ATTEMPTS} times ({type(error).__name__}: {error}). What was finished is kept; "
                        "run the same command with --workers 0 to see where it breaks"
                    ) from error
        finally:
            for future in list(flying):
                future.cancel()


@contextmanager
def open_executor(workers: int) -> Iterator[Executor]:
    """Yield an executor: this process for 0 workers, else that many local processes of one thread each."""
    if workers == 0:
        yield SerialExecutor()
        return
    import dask
    from distributed import Client, LocalCluster

    # Dask's own default adds MALLOC_TRIM_THRESHOLD_, which makes copies of large arrays many times slower.
    settings = {
        "distributed.nanny.pre-spawn-environ": ONE_THREAD,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.admin.tick.limit": "1h",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs="ERROR",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield DaskExecutor(client, workers)


def _held_to_one_thread(function: Callable[[T], R], task: T) -> R:
    import cv2

    cv2.setNumThreads(1)
    os.environ.update(ONE_THREAD)
    return function(task)
