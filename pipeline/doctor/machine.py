"""What the machine has: a GPU, cores, memory, files, and whether workers start."""

import contextlib
import os
import platform
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from vstats.kernels.cuda.device import is_installed
from vstats.kernels.errors import BackendUnavailable
from vstats.pipeline import device, provenance
from vstats.pipeline.config import DecodeLimits
from vstats.pipeline.decoder import decoder_for
from vstats.pipeline.doctor.case import Answer, Case, fail, ok, warn
from vstats.pipeline.errors import DecodeError
from vstats.pipeline.estimate import in_bytes
from vstats.pipeline.execute import open_executor

WORKER_BYTES = 400 << 20
"""What a worker and its decoding process take at their peak."""

FILES, FILES_PER_WORKER = 64, 16
"""What a run holds open at its peak."""

BATCHES_BYTES = 256 << 20
"""What the batches take that DataLoader workers hold ready: 30 clips of 16 x 112 x 112 are 18 MB."""

VECTORS = {"AVX-512": "avx512f", "AVX2": "avx2", "SSE2": "sse2", "SVE": "sve", "NEON": "asimd"}
"""What Linux calls the vector instructions that kernels are compiled to."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")
SHARED_MEMORY = Path("/dev/shm")


def gpu(case: Case) -> Answer:
    """Settle what computes and how many workers there are, as a run does."""
    reasons: list[str] = []
    try:
        case.run = device.settle(case.run, case.config, reasons.append)
    except BackendUnavailable as error:
        case.run = device.settle(replace(case.run, device="cpu"), case.config, reasons.append)
        return fail(str(error), "mend that, or give --device cpu")
    if case.run.remote:
        return ok("workers elsewhere see for themselves")
    if case.run.device != "cpu":
        return ok(f"computes, with {case.workers} workers")
    if reasons:
        return warn(reasons[0], "nothing, if the CPU is fast enough: labels are the same")
    if Path("/proc/driver/nvidia/gpus").is_dir() and not is_installed():
        return warn("there is one, and no CuPy that uses it", "pip install 'vstats[cuda]'")
    return ok("not used: the CPU computes")


def cpu(case: Case) -> Answer:
    """See what the processor has, and how much of it there is for us."""
    flags = _cpu_flags()
    vectors = next((name for name, flag in VECTORS.items() if flag in flags), "unknown vectors")
    found = f"{provenance.machine()['cpu']}, {provenance.usable_cores()} cores, {vectors}"
    cores = _cores_allowed()
    if cores < case.workers:
        return warn(
            f"{found}; {case.workers} workers, where a container allows {cores:g} cores",
            f"give --workers {max(1, int(cores))}",
        )
    if "sse2" in flags and "avx2" not in flags:
        return warn(found, "nothing: labels are the same, but flow takes several times as long as with AVX2")
    return ok(found)


def _cpu_flags() -> set[str]:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    return set()


def _cores_allowed() -> float:
    with contextlib.suppress(OSError, ValueError):
        quota, period = map(int, QUOTA.read_text().split())
        return quota / period
    return float("inf")


def memory(case: Case) -> Answer:
    """Compare with what workers take."""
    free = _free_memory_bytes()
    if free is None:
        return ok(f"{platform.system()} does not say how much is free")
    wanted = (1 + case.workers) * WORKER_BYTES
    found = f"{in_bytes(free)} free; {case.workers} workers take up to {in_bytes(wanted)}"
    if free >= wanted:
        return ok(found)
    room = free // WORKER_BYTES - 1
    return fail(found, f"give --workers {room}" if room > 0 else "end other programs first")


def _free_memory_bytes() -> int | None:
    found = []
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")))
    with contextlib.suppress(OSError, ValueError):
        limit, used = ((QUOTA.parent / f"memory.{name}").read_text() for name in ("max", "current"))
        found.append(int(limit) - int(used))
    return min(found, default=None)


def open_files(case: Case) -> Answer:
    """Compare the limit of this process with what a run holds open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES + FILES_PER_WORKER * case.workers
    found = f"{soft} may be open at once; {case.workers} workers need up to {wanted}"
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ok(found)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return fail(found, f"run `ulimit -n {wanted}` in the shell first")
    return fail(found, f"give fewer --workers, or have the hard limit raised from {hard} to {wanted}")


def shared_memory(case: Case) -> Answer | None:
    """Try the folder that Python's locks are in, and the batches of DataLoader workers."""
    if platform.system() != "Linux":
        return None
    advice = "in a container: start it with --shm-size 1g"
    try:
        with tempfile.TemporaryFile(dir=SHARED_MEMORY) as file:
            file.write(bytes(1 << 20))
        facts = os.statvfs(SHARED_MEMORY)
    except OSError as error:
        return fail(f"{SHARED_MEMORY}: {error.strerror}; no worker starts without it", f"mount it; {advice}")
    free = facts.f_bavail * facts.f_frsize
    found = f"{in_bytes(free)} free in {SHARED_MEMORY}"
    if free < BATCHES_BYTES:
        return warn(
            f"{found}; workers of a DataLoader need up to {in_bytes(BATCHES_BYTES)}",
            f"to train, make it larger; {advice}",
        )
    return ok(found)


def workers(case: Case) -> Answer:
    """Start one, and have it start the process that decodes; or ask the scheduler's."""
    run = (
        case.run
        if case.run.remote
        else replace(case.run, device="cpu", workers=min(1, case.run.workers or 0))
    )
    began = time.perf_counter()
    with open_executor(run, terms=device.terms_of(run, case.config.flow)) as executor:
        for _ in executor.run(_ask_decoder, [run.decode_limits]):
            pass
        count = executor.workers
    seconds = time.perf_counter() - began
    if run.remote:
        return ok(f"{count} at {run.scheduler or run.scheduler_file}, fit to compute")
    return ok(
        "not started: --workers 0"
        if run.in_this_process
        else f"one and its decoder started within {seconds:.1f} s"
    )


def _ask_decoder(limits: DecodeLimits | None) -> None:
    with contextlib.suppress(DecodeError):  # it answers: there is no such video
        decoder_for(limits).probe("")
