"""Which device a run and its processes compute on: asked before anything is planned, given up where it fails.

"auto" takes a GPU that gives the CPU's bits on the known clips (`vstats.pipeline.proof`).

``python -m vstats.pipeline.device auto`` answers for a run, as JSON: in a process of its own, so that the one that asks
holds no memory of a GPU that its workers need.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from vstats.kernels.backend import load
from vstats.kernels.cuda.device import is_installed
from vstats.kernels.errors import BackendUnavailable, DeviceLost, NoDevice
from vstats.pipeline import proof
from vstats.pipeline.config import DecodeLimits, ExtractConfig, RunConfig
from vstats.pipeline.errors import WorkerError
from vstats.pipeline.provenance import machine, usable_cores, versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a device that a user names comes to on this machine.

    `backend` is "cpu" or "cuda", and `count` how many such devices there are. `reason` says why it is not a GPU although
    there is one, `error` why "cuda" is not possible; "" otherwise.
    """

    backend: str = "cpu"
    count: int = 1
    reason: str = ""
    error: str = ""


def settle(run: RunConfig, config: ExtractConfig, say: Callable[[str], None]) -> RunConfig:
    """Return `run` with its device and the number of its workers decided, as far as this machine can tell.

    "auto" stays only where a GPU computes, or where workers elsewhere decide. `say` is told why a GPU is not used.

    Raises
    ------
    BackendUnavailable
        "cuda" is asked for and not possible here; the message says why.
    """
    device = run.device
    if device == "auto" and config.flow != "tvl1":
        device = "cpu"  # OpenCV computes flow there, and many workers are what helps
    if run.remote:
        return replace(run, device=device, workers=0)
    answer = _ask_here(device) if run.in_this_process else _ask_child(device)
    if answer.error:
        raise BackendUnavailable(answer.error)
    if answer.reason:
        say(f"the CPU computes, not the GPU: {answer.reason}")
    if answer.backend == "cpu":
        device = "cpu"
    workers = run.workers
    if workers is None:
        workers = usable_cores() if device == "cpu" else answer.count
    return replace(run, device=device, workers=workers)


@lru_cache(maxsize=3)
def choose(device: str) -> tuple[str, str]:
    """Return the backend for a device that a user names, and why it is not the GPU.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "auto" takes a GPU that is here and passes the test of its bits, else the CPU.

    Returns
    -------
    name : str
        "cpu" or "cuda".
    reason : str
        Why "auto" fell back on the CPU although there is a GPU; "" otherwise.

    Raises
    ------
    BackendUnavailable
        "cuda" was asked for, and CuPy, the driver or a device is missing, or the device gives other bits.
    """
    if device == "cpu":
        return "cpu", ""
    try:
        stages = proof.arithmetic("cuda", "tvl1")
    except (BackendUnavailable, DeviceLost) as error:
        if device == "auto":
            return "cpu", "" if isinstance(error, NoDevice) else str(error)
        if isinstance(error, BackendUnavailable):
            raise
        raise BackendUnavailable(f"the GPU does not pass its test: {error}") from error
    wrong = next((stage for stage in stages if not stage.ok), None)
    if wrong is None or wrong.name == "resize":  # which the CPU does, for both
        return "cuda", ""
    reason = (
        f"{wrong.library} gives other {wrong.name} than the CPU on a known clip ({', '.join(wrong.wrong)}). "
        "Its driver or memory may be at fault: compute with --device cpu"
    )
    if device == "auto":
        return "cpu", reason
    raise BackendUnavailable(reason)


def _ask_here(device: str) -> Answer:
    try:
        backend, reason = choose(device)
    except BackendUnavailable as error:
        return Answer(error=str(error))
    return Answer(backend=backend, count=load(backend).count, reason=reason)


@lru_cache(maxsize=3)
def _ask_child(device: str) -> Answer:
    if device == "cpu" or not is_installed():
        return _ask_here(device)
    command = [sys.executable, "-m", "vstats.pipeline.device", device]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    try:
        return Answer(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        what = f"a process that tried it ended with exit code {done.returncode}: {last}"
        return Answer(error=what) if device == "cuda" else Answer(reason=what)


_given_up: list[str] = []
"""Why this process computes on the CPU where it was to choose for itself."""


def resolve(device: str) -> str:
    """Return the backend by which this process computes on a device that a user names.

    Raises
    ------
    BackendUnavailable
        "cuda" is asked for and not possible here; the message says why.
    """
    if device == "auto" and _given_up:
        return "cpu"
    backend, reason = choose(device)
    if reason:
        _fall_back(reason)
    return backend


def give_up(device: str, error: DeviceLost) -> None:
    """Compute on the CPU from here on, where that was left to choose, and say so once.

    Raises
    ------
    WorkerError
        The device was asked for.
    """
    if device != "auto":
        raise WorkerError(
            f"{error}. What was finished is kept: run the same command again to go on, or with --device cpu"
        ) from error
    _fall_back(str(error))


def _fall_back(why: str) -> None:
    _given_up.append(why)
    sys.stderr.write(f"vstats: the CPU computes from here on, not the GPU: {why}\n")


def decoders(run: RunConfig) -> int:
    """Return how many videos a worker of a settled run decodes at once beside a GPU; 0: it sees for itself."""
    return 0 if run.remote else max(1, usable_cores() // max(1, run.workers or 0))


def videos_at_once(device: str, decoders: int) -> int:
    """Return how many videos a task decodes at once in this process: one where the CPU computes, its core being busy."""
    backend = resolve(device)
    if backend == "cpu":
        return 1
    return decoders or max(1, usable_cores() // load(backend).count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a process may compute: what it must prove, and whether it may go on where it cannot.

    `device`, `decode` and `flow` are those of the tasks. `opencv_flow` is the sha256 that OpenCV's flow of the known clip
    has in the same store; "" for any.
    """

    device: str
    decode: DecodeLimits | None
    flow: str
    opencv_flow: str = ""
    unproven: bool = False

    def prove(self, backend: str | None = None) -> proof.Proof:
        """Return the proof of this process, for the backend that it resolves the device to or for another.

        Raises
        ------
        Unproven
            It gives other bits than it must.
        """
        found = proof.proven(backend or resolve(self.device), self.decode, self.flow).against(
            self.opencv_flow
        )
        if not self.unproven:
            found.check()
        return found


def terms_of(run: RunConfig, flow: str, opencv_flow: str = "") -> Terms:
    """Return the terms of a settled run."""
    return Terms(
        device=run.device, decode=run.decode_limits, flow=flow, opencv_flow=opencv_flow, unproven=run.unproven
    )


def computed_by(backend: str, unproven: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return versions and machine of rows that this process computed with a backend, as receipts state them."""
    who = load(backend)
    facts = dict(machine())
    facts["backend"] = f"{backend}: {facts['cpu'] if backend == 'cpu' else who.name}"
    if backend == "cpu" and _given_up:
        facts["not_cuda"] = _given_up[0]
    if unproven:
        facts["unproven"] = unproven
    return versions() | who.versions, facts


if __name__ == "__main__":
    print(json.dumps(asdict(_ask_here(sys.argv[1]))))
