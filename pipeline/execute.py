"""Where tasks run: in this process, or on worker processes through Dask. The only import of Dask.

Both give the same results for the same tasks; only the order in which results arrive differs.
"""

import asyncio
import concurrent.futures
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from vstats.kernels.cuda.device import CHOICE as GPU
from vstats.kernels.errors import VstatsError
from vstats.pipeline.config import RunConfig
from vstats.pipeline.device import resolve
from vstats.pipeline.errors import UsageError, WorkerError
from vstats.pipeline.provenance import versions

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3
"""How often a task is tried that breaks in a way no stage foresaw."""

DEATHS = 2
"""How many workers a task may kill before it is handed back."""

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


BY_NUMBER = "by number"
"""Worker n of a local cluster takes GPU n. Elsewhere workers see what their environment shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(Generic[T]):
    """A task whose workers died on it, again and again."""

    task: T
    deaths: int


class Executor(Protocol):
    """Runs a function over tasks."""

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | Lost[T]]:
        """Yield `function(task)` for every task, in any order, or the task where workers died on it."""
        ...


class SerialExecutor:
    """Runs tasks one after another in this process."""

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | Lost[T]]:
        """Yield `function(task)` for every task, in order."""
        for task in tasks:
            yield function(task)


class DaskExecutor:
    """Runs tasks on the workers of a Dask client, with a bounded number in flight."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | Lost[T]]:
        """Yield `function(task)` for every task, as they finish.

        A task whose worker dies is tried again elsewhere, and handed back as `Lost` when it has cost `DEATHS` workers.
        What the function raises on purpose is raised here.

        Raises
        ------
        WorkerError
            A task broke `ATTEMPTS` times, or there is no worker left.
        """
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        waiting = iter(tasks)
        flying: dict[Any, tuple[T, int, int]] = {}
        results = as_completed()

        def launch(task: T, failures: int = 0, deaths: int = 0) -> None:
            future = self._client.submit(_held_to_one_thread, function, task, pure=False, retries=0)
            flying[future] = (task, failures, deaths)
            results.add(future)

        def refill() -> None:
            # About twice the slots: workers never wait for us, and the scheduler never holds more than it needs.
            room = 2 * max(1, len(self._client.nthreads())) - len(flying)
            for task in itertools.islice(waiting, max(0, room)):
                launch(task)

        try:
            refill()
            while flying:
                try:
                    future = next(results)
                    cancelled, error = future.cancelled(), None
                    if not cancelled:
                        error = future.exception()
                except (OSError, asyncio.CancelledError, concurrent.futures.CancelledError):
                    cancelled = True
                if cancelled:
                    raise WorkerError(
                        "the Dask scheduler went away; what was finished is kept: run the same command again to go on"
                    )
                task, failures, deaths = flying.pop(future)
                if error is None:
                    result = future.result()
                    future.release()
                    refill()
                    yield result
                elif isinstance(error, KilledWorker):
                    # Our own scheduler gives up at the first death; another one may have tried several times already.
                    deaths += 1 + _allowed_failures(error)
                    if deaths < DEATHS:
                        launch(task, failures, deaths)
                    else:
                        refill()
                        yield Lost(task=task, deaths=deaths)
                elif isinstance(error, VstatsError):
                    raise error
                elif failures + 1 < ATTEMPTS:
                    launch(task, failures + 1, deaths)
                else:
                    raise WorkerError(
                        f"a task failed {ATTEMPTS} times ({type(error).__name__}: {error}). What was finished is kept; "
                        "run the same command with --workers 0 to see where it breaks"
                    ) from error
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, VstatsError) or self._client.status == "running":
                raise
            raise WorkerError(
                "the Dask scheduler went away; what was finished is kept: run the same command again to go on"
            ) from error
        finally:
            with suppress(Exception):  # a scheduler that is gone has nothing left to cancel
                for future in flying:
                    future.cancel()


@contextmanager
def open_executor(
    run: RunConfig, *, paths: Sequence[str] = (), say: Callable[[str], None] = lambda _: None
) -> Iterator[Executor]:
    """Yield an executor as `run` says.

    Parameters
    ----------
    run : RunConfig
        Which workers.
    paths : sequence of str
        Folders that workers elsewhere must see.
    say : callable
        Is told what a person would want to know, such as the dashboard's address.

    Raises
    ------
    UsageError
        A scheduler cannot be reached, its workers have other versions than this process, or do not see `paths`.
    """
    if run.in_this_process:
        yield SerialExecutor()
        return
    import dask
    import distributed  # noqa: F401  before its settings change: setting them first would drop its defaults afterwards

    # Dask's own default adds MALLOC_TRIM_THRESHOLD_, which makes copies of large arrays many times slower.
    settings = {
        "distributed.nanny.pre-spawn-environ": {**ONE_THREAD, GPU: BY_NUMBER},
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": 0,
        "distributed.admin.tick.limit": "1h",
        "distributed.comm.retry.count": 3,
    }
    with dask.config.set(settings), _elsewhere(run) if run.remote else _here(run) as client:
        if run.dashboard:
            say(f"dashboard: {client.dashboard_link}")
        if run.remote:
            _check_versions(client)
            _check_paths(client, paths)
            if run.device == "cuda":
                _check_device(client)
        yield DaskExecutor(client)


@contextmanager
def _here(run: RunConfig) -> Iterator[Any]:
    from distributed import Client, LocalCluster, system

    with (
        LocalCluster(
            n_workers=run.workers,
            threads_per_worker=1,
            processes=True,
            # Dask's own share is that of one core, and beside a GPU a worker has many.
            memory_limit=run.worker_memory_bytes
            or ("auto" if run.device == "cpu" else system.MEMORY_LIMIT // (run.workers or 1)),
            dashboard_address=":0",  # Dask opens a port for it in any case: one that no other cluster has
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _elsewhere(run: RunConfig) -> Iterator[Any]:
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it reports, we say in our own words
    if run.scheduler_file and not Path(run.scheduler_file).is_file():
        raise UsageError(f"--scheduler-file {run.scheduler_file} is not there; is the scheduler running?")
    where: dict[str, Any] = (
        {"scheduler_file": run.scheduler_file} if run.scheduler_file else {"address": run.scheduler}
    )
    try:
        client = Client(**where, timeout="20s")
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {run.scheduler or run.scheduler_file} ({error}); "
            "start one with `dask scheduler` and workers with `dask worker`"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=60)
        except TimeoutError:
            raise UsageError(
                f"the Dask scheduler at {run.scheduler or run.scheduler_file} has no worker; start some with `dask worker`"
            ) from None
        yield client


def _check_versions(client: Any) -> None:
    mine = versions()
    differences = [
        f"{address}: {name} {theirs.get(name)} (here {version})"
        for address, theirs in client.run(versions).items()
        for name, version in mine.items()
        if theirs.get(name) != version
    ]
    if differences:
        raise UsageError(
            "the workers have other versions than this process, and labels might differ:\n  "
            + "\n  ".join(differences[:10])
            + "\nInstall the same versions everywhere"
        )


def _check_paths(client: Any, paths: Sequence[str]) -> None:
    for address, missing in client.run(_missing, list(paths)).items():
        if missing:
            raise UsageError(
                f"worker {address} does not see {missing[0]}; workers must see videos and store under the same paths "
                "(or give a store on object storage)"
            )


def _check_device(client: Any) -> None:
    for address, error in client.run(resolve, "cuda", on_error="return").items():
        if isinstance(error, VstatsError):
            raise UsageError(f"worker {address} has no GPU that computes: {error}")


def _missing(paths: list[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]


def _allowed_failures(error: Any) -> int:
    return int(getattr(error, "allowed_failures", 0))


def _held_to_one_thread(function: Callable[[T], R], task: T) -> R:
    import cv2
    from distributed import get_worker

    cv2.setNumThreads(1)
    os.environ.update(ONE_THREAD)
    if os.environ.get(GPU) == BY_NUMBER:
        os.environ[GPU] = str(get_worker().name)
    return function(task)
