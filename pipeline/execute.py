"""Where tasks run: in this process, or on worker processes through Dask. The only import of Dask.

Both give the same results for the same tasks; only the order in which results arrive differs.
"""

import asyncio
import itertools
import logging
import multiprocessing
import os
import platform
import queue
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from vstats.kernels.cuda.device import CHOICE as GPU
from vstats.kernels.errors import VstatsError
from vstats.pipeline.config import RunConfig
from vstats.pipeline.device import Terms, resolve
from vstats.pipeline.errors import Unproven, UsageError, WorkerError, faults_on
from vstats.pipeline.proof import Proof
from vstats.pipeline.provenance import versions

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3
"""How often a task is tried that a worker's system or Dask itself refuses."""

DEATHS = 2
"""How many workers a task may kill before it is handed back."""

WATCH_SECONDS = 1.0
"""How long to wait for a result before looking whether scheduler and workers are still there."""

RESTART_SECONDS = 20.0
"""How long workers may take to start again before their absence is worth a word."""

CLOSE_SECONDS = 30.0
"""How long workers may take to end, which is mostly a fraction of a second."""

PATIENCE_SECONDS = 300.0
"""How long a run without any worker waits for one: a cluster's queue may be about to start some."""

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

    proofs: tuple[Proof, ...]
    """Of the processes that were there at the start, where they have to prove their bits."""

    @property
    def workers(self) -> int:
        """How many tasks run at once, at least 1."""
        ...

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | Lost[T]]:
        """Yield `function(task)` for every task, in any order, or the task where workers died on it."""
        ...


class SerialExecutor:
    """Runs tasks one after another in this process."""

    workers = 1

    def __init__(self, proofs: tuple[Proof, ...] = ()) -> None:
        self.proofs = proofs

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | Lost[T]]:
        """Yield `function(task)` for every task, in order."""
        for task in tasks:
            with faults_on():
                result = function(task)
            yield result


class DaskExecutor:
    """Runs tasks on the workers of a Dask client, with a bounded number in flight.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    fitness : Fitness
        What a worker must have: workers that join later are held to it too.
    say : callable
        Is told when no worker is left.
    proofs : tuple of Proof
        Of the workers that are there.
    """

    def __init__(
        self, client: Any, fitness: "Fitness", say: Callable[[str], None], proofs: tuple[Proof, ...]
    ) -> None:
        self._client = client
        self._fitness = fitness
        self._say = say
        self.proofs = proofs

    @property
    def workers(self) -> int:
        """How many workers are there, at least 1."""
        return max(1, self._workers())

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | Lost[T]]:
        """Yield `function(task)` for every task, as they finish.

        A task whose worker dies is tried again elsewhere, and handed back as `Lost` when it has cost `DEATHS` workers.
        What the function raises on purpose is raised here.

        Raises
        ------
        InternalError
            The function raised what nobody foresaw.
        WorkerError
            A worker's system or Dask refused a task `ATTEMPTS` times, no worker is left, or the scheduler went away.
        """
        waiting = iter(tasks)
        flying: dict[Any, tuple[T, int, int]] = {}
        finished: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def launch(task: T, failures: int = 0, deaths: int = 0) -> None:
            with _answering(self._client):
                future = self._client.submit(_work, self._fitness, function, task, pure=False, retries=0)
                flying[future] = (task, failures, deaths)
                future.add_done_callback(finished.put)

        def refill() -> None:
            # About twice the slots: workers never wait for us, and the scheduler never holds more than it needs.
            room = 2 * self.workers - len(flying)
            for task in itertools.islice(waiting, max(0, room)):
                launch(task)

        try:
            refill()
            while flying:
                future = self._next(finished)
                task, failures, deaths = flying.pop(future)
                with _answering(self._client):
                    error = future.exception()
                    result: Any = future.result() if error is None else None
                    future.release()
                if error is None:
                    refill()
                    yield result
                elif isinstance(error, VstatsError):
                    raise error
                elif (killed := _deaths(error)) > 0:
                    deaths += killed
                    if deaths < DEATHS:
                        launch(task, failures, deaths)
                    else:
                        refill()
                        yield Lost(task=task, deaths=deaths)
                elif failures + 1 < ATTEMPTS:
                    launch(task, failures + 1, deaths)
                else:
                    raise WorkerError(
                        f"a task failed {ATTEMPTS} times ({type(error).__name__}: {error}). What was finished is kept; "
                        "run the same command with --workers 0 to see where it breaks"
                    ) from error
        finally:
            if self._client.status == "running":  # a scheduler that is gone has nothing left to cancel
                with suppress(Exception):
                    self._client.cancel(list(flying))

    def _next(self, finished: "queue.SimpleQueue[Any]") -> Any:
        """Wait for a task to finish, and no longer than there is somebody who could finish one."""
        seen = time.monotonic()
        said = False
        while True:
            with suppress(queue.Empty):
                return finished.get(timeout=WATCH_SECONDS)
            if self._client.status != "running":
                raise _scheduler_gone()
            if self._workers():
                seen = time.monotonic()
            alone = time.monotonic() - seen
            if alone > PATIENCE_SECONDS:
                raise WorkerError(
                    f"no worker has been there for {PATIENCE_SECONDS:g} s; what was finished is kept: start workers and run "
                    "the same command again to go on"
                )
            if alone > RESTART_SECONDS and not said:
                said = True
                self._say(f"no worker is left; waiting up to {PATIENCE_SECONDS:g} s for one to come")

    def _workers(self) -> int:
        with _answering(self._client):
            return len(self._client.nthreads())


@contextmanager
def _answering(client: Any) -> Iterator[None]:
    """Say in our words that the scheduler went away: what Dask raises then depends on the moment."""
    try:
        yield
    except VstatsError:
        raise
    except (Exception, asyncio.CancelledError) as error:
        if client.status == "running" and not isinstance(error, OSError | asyncio.CancelledError):
            raise
        raise _scheduler_gone() from error


def _scheduler_gone() -> WorkerError:
    return WorkerError(
        "the Dask scheduler went away; what was finished is kept: run the same command again to go on"
    )


def _deaths(error: BaseException) -> int:
    """Return how many workers died on a task before Dask gave it up with `error`; 0 if that is not why."""
    from distributed.scheduler import KilledWorker

    # Our own scheduler gives up at the first death; another one may have tried several times already.
    return 1 + int(error.allowed_failures) if isinstance(error, KilledWorker) else 0


@contextmanager
def open_executor(
    run: RunConfig,
    *,
    paths: Sequence[str] = (),
    terms: Terms | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Executor]:
    """Yield an executor as `run` says.

    Parameters
    ----------
    run : RunConfig
        Which workers.
    paths : sequence of str
        Folders that workers elsewhere must see.
    terms : Terms, optional
        What every process that computes must prove before its first task; those that are there do it now.
    say : callable
        Is told what a person would want to know, such as the dashboard's address.

    Raises
    ------
    UsageError
        A scheduler cannot be reached, its workers have other versions than this process, or do not see `paths`.
    Unproven
        A process gives other bits than it must.
    """
    if terms is not None and not run.remote:
        from vstats.kernels.cpu.jit import is_compiled

        if not is_compiled():
            say("compiling kernels, for some seconds: the first run of a version on a machine does")
    if run.in_this_process:
        mine = (terms.prove(),) if terms is not None else ()
        _say_unproven(mine, say)
        yield SerialExecutor(mine)
        return
    import dask
    import distributed  # noqa: F401  before its settings change: setting them first would drop its defaults afterwards

    # Dask's own default adds MALLOC_TRIM_THRESHOLD_, which makes copies of large arrays many times slower.
    settings = {
        "distributed.nanny.pre-spawn-environ": {**ONE_THREAD, GPU: BY_NUMBER},
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": 0,
        "distributed.admin.tick.limit": "1h",
        # A result whose worker died is computed again, but only after as long as it takes to believe that it is dead.
        "distributed.comm.retry.count": 0,
        "distributed.comm.timeouts.connect": "30s" if run.remote else "5s",
    }
    with dask.config.set(settings), _elsewhere(run) if run.remote else _here(run) as client:
        if run.dashboard:
            say(f"dashboard: {client.dashboard_link}")
        fitness = Fitness(versions=versions(), paths=tuple(paths) if run.remote else (), terms=terms)
        if run.remote:
            _check_workers(client, fitness)
            if run.device == "cuda":
                _check_device(client)
        proofs: tuple[Proof, ...] = ()
        if terms is not None:
            fitness, proofs = _prove_workers(client, fitness, terms)
            _say_unproven(proofs, say)
        yield DaskExecutor(client, fitness, say, proofs)


@contextmanager
def _here(run: RunConfig) -> Iterator[Any]:
    from distributed import Client, LocalCluster, system

    with ExitStack() as stack:
        try:
            with _interrupts_blocked():
                cluster = LocalCluster(
                    n_workers=run.workers,
                    threads_per_worker=1,
                    processes=True,
                    # Dask's own share is that of one core, and beside a GPU a worker has many.
                    memory_limit=run.worker_memory_bytes
                    or ("auto" if run.device == "cpu" else system.MEMORY_LIMIT // (run.workers or 1)),
                    dashboard_address=":0",  # Dask opens a port for it in any case: one that no other cluster has
                    silence_logs="CRITICAL",
                )
            stack.callback(_close, cluster)
            client = stack.enter_context(Client(cluster))
            client.run(_hush)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise WorkerError(
                f"workers cannot be started ({error}): run the same command again, with fewer --workers if memory is short"
            ) from error
        yield client


def _close(cluster: Any) -> None:
    """End a local cluster; a worker process that does not end by itself must not hold up a run that has."""
    try:
        cluster.close(timeout=CLOSE_SECONDS)
    except TimeoutError:
        for process in multiprocessing.active_children():
            if process.name.startswith("Dask Worker"):
                process.kill()
        with suppress(TimeoutError):
            cluster.close(timeout=CLOSE_SECONDS)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Hold SIGINT back from the threads started meanwhile, and from what they start: Ctrl-C is for this thread alone."""
    resource_tracker.ensure_running()  # the thread that starts it, with the first process, would let SIGINT through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _elsewhere(run: RunConfig) -> Iterator[Any]:
    from distributed import Client

    for name in list(logging.root.manager.loggerDict):  # what they report, we say in our own words
        if name.partition(".")[0] in ("distributed", "asyncio", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
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
    try:
        with _answering(client):
            try:
                client.wait_for_workers(1, timeout=60)
            except TimeoutError:
                raise UsageError(
                    f"the Dask scheduler at {run.scheduler or run.scheduler_file} has no worker; start some with `dask worker`"
                ) from None
        yield client
    finally:
        with suppress(Exception, asyncio.CancelledError):  # a scheduler that is gone cannot be taken leave of
            client.close(timeout=2)


def _check_workers(client: Any, fitness: "Fitness") -> None:
    with _answering(client):
        found = client.run(fitness.missing, on_error="return")
    for address, unfit in found.items():
        if isinstance(unfit, OSError):
            continue  # it went away meanwhile; whoever comes instead is looked at before its first task
        if isinstance(unfit, Exception):
            raise UsageError(
                f"worker {address} cannot run vstats ({type(unfit).__name__}: {unfit}); install the same vstats there"
            )
        if unfit:
            raise UsageError(f"worker {address} {unfit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """What a worker must have: the versions of the process that planned, folders that it sees, and proven bits."""

    versions: dict[str, str]
    paths: tuple[str, ...]
    terms: Terms | None = None

    def missing(self) -> str:
        """Return what this process lacks, to follow a worker's name; "" if nothing."""
        mine = versions()
        differences = [
            f"{name} {mine.get(name)} (wanted: {version})"
            for name, version in self.versions.items()
            if mine.get(name) != version
        ]
        if differences:
            return (
                f"has other versions than the process that asks, and labels might differ: {', '.join(differences)}. "
                "Install the same versions everywhere"
            )
        unseen = [path for path in self.paths if not Path(path).exists()]
        if unseen:
            return (
                f"does not see {unseen[0]}; workers must see videos and store under the same paths "
                "(or give a store on object storage)"
            )
        return ""


def _hush() -> None:
    logging.getLogger("tornado").setLevel(
        logging.CRITICAL
    )  # a worker that ends reports what nobody waits for any more


def _check_device(client: Any) -> None:
    for address, error in client.run(resolve, "cuda", on_error="return").items():
        if isinstance(error, VstatsError):
            raise UsageError(f"worker {address} has no GPU that computes: {error}")


def _prove_workers(client: Any, fitness: Fitness, terms: Terms) -> tuple[Fitness, tuple[Proof, ...]]:
    """Let the workers prove their bits, and return what later ones are held to, and the proofs.

    One begins, then one of each other machine, then the rest: kernels that one compiles, the others find, as they find
    that its versions and CPU are proven. The first one's OpenCV flow is the measure of all others'.
    """
    proofs: list[Proof] = []
    with _answering(client):
        there = list(client.nthreads())
    first_of = {address.rpartition(":")[0]: address for address in reversed(there)}
    firsts = [address for address in there if address in first_of.values()]
    for group in (firsts[:1], firsts[1:], [address for address in there if address not in firsts]):
        proofs += _proofs_of(client, fitness, terms, group)
        if proofs and not terms.opencv_flow:
            terms = replace(terms, opencv_flow=proofs[0].opencv_flow)
            fitness = replace(fitness, terms=terms)
    return fitness, tuple(proofs)


def _proofs_of(client: Any, fitness: Fitness, terms: Terms, addresses: Sequence[str]) -> Iterator[Proof]:
    """Yield the proof of each of these workers, but for those that leave meanwhile."""
    from distributed import wait

    with _answering(client):
        flying = {
            client.submit(
                _work, fitness, Terms.prove, terms, workers=[address], pure=False, retries=0
            ): address
            for address in addresses
        }
        while flying:
            with suppress(TimeoutError):
                wait(list(flying), timeout=WATCH_SECONDS, return_when="FIRST_COMPLETED")
            there = client.nthreads()
            for future, address in list(flying.items()):
                if future.done():
                    del flying[future]
                    error = future.exception()
                    if error is None:
                        yield future.result()
                    elif isinstance(error, VstatsError):
                        raise error
                    elif not _deaths(error):  # who comes in a dead one's place proves before the first task
                        raise WorkerError(
                            f"worker {address} cannot label the known clips ({type(error).__name__}: {error})"
                        ) from error
                elif address not in there:
                    del flying[future]


def _say_unproven(proofs: Iterable[Proof], say: Callable[[str], None]) -> None:
    for unproven in dict.fromkeys(proof.unproven for proof in proofs if proof.unproven):
        say(f"not proven, and the store says so for ever: {unproven} gives other bits than it must")


@faults_on()
def _work(fitness: Fitness, function: Callable[[T], R], task: T) -> R:
    """Compute one task on a worker, which may have joined after the others were looked at."""
    import cv2
    from distributed import get_worker

    cv2.setNumThreads(1)
    os.environ.update(ONE_THREAD)
    if os.environ.get(GPU) == BY_NUMBER:
        os.environ[GPU] = str(get_worker().name)
    unfit = fitness.missing()
    if unfit:
        raise UsageError(f"the worker on {platform.node()} {unfit}")
    if fitness.terms is not None:
        try:
            fitness.terms.prove()
        except Unproven as error:
            raise Unproven(f"{error} (found on {platform.node()})") from error
    return function(task)
