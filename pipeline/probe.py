"""One pass over every video before anything is planned: what it is, and how many frames decode.

Headers lie about frame counts, and a plan must not, so every video is decoded once (without colour conversion).
What was found is kept beside the unfinished plan, so a run that is killed while probing goes on where it stopped.
"""

import contextlib
import json
import queue
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vstats.pipeline.config import DecodeLimits, RunConfig
from vstats.pipeline.device import decoders, videos_at_once
from vstats.pipeline.errors import VideoError, faults_on
from vstats.pipeline.execute import Executor, Lost
from vstats.pipeline.failures import TRIED, Tally, Trial
from vstats.pipeline.place import Place
from vstats.pipeline.progress import Progress
from vstats.pipeline.records import ManifestRow, VideoProbe, without_path
from vstats.pipeline.store import PROBES

FLUSH_SECONDS = 2.0
"""How much probing a kill may cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTask:
    """Videos to probe, as (key, path), and what `vstats.pipeline.plan.ShardTask` says of decoding and devices."""

    videos: tuple[tuple[str, str], ...]
    decode: DecodeLimits | None = None
    device: str = "cpu"
    decoders: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What probing one video gave: its facts, or the stage and message of what is wrong with it."""

    key: str
    probe: VideoProbe | None
    stage: str = ""
    message: str = ""


def probe_videos(task: ProbeTask) -> list[ProbeResult]:
    """Probe the videos of one task; a bad one is a result with a message, never an exception."""
    from vstats.pipeline.decoder import Decoder, decoder_for

    count = min(videos_at_once(task.device, task.decoders), len(task.videos))
    free: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
    for number in range(count):
        free.put(decoder_for(task.decode, number))

    def probe(video: tuple[str, str]) -> ProbeResult:
        key, path = video
        decoder = free.get()
        try:
            with faults_on(path):
                return ProbeResult(key=key, probe=decoder.probe(path))
        except VideoError as error:
            return ProbeResult(key=key, probe=None, stage=error.stage, message=without_path(error, path))
        finally:
            free.put(decoder)

    if count == 1:
        return [probe(video) for video in task.videos]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(probe, task.videos))


def videos_per_task(videos: int, run: RunConfig) -> int:
    """Return how many of so many videos are probed in one task: about 64 tasks, none of them long."""
    return max(1, min(16 * _at_once(run), videos // 64))


def _at_once(run: RunConfig) -> int:
    return 1 if run.device == "cpu" else max(1, decoders(run))


def probe_all(
    rows: Sequence[ManifestRow],
    executor: Executor,
    progress: Progress,
    place: Place | None,
    run: RunConfig,
    tally: Tally,
) -> dict[str, ProbeResult]:
    """Probe every video, and return what was found by key.

    Results are kept in files below `PROBES` at `place`, if given; those of an earlier run are used where the video is
    still the same file. Videos that failed are tried again.

    Raises
    ------
    SystematicFailure
        The first `TRIED` videos fail in the same way (all, if they are fewer; two at least). Not where an earlier run
        could read some, nor where `run` says how many may fail.
    TooManyFailures
        More videos failed than the run tolerates.
    """
    cache = ProbeCache(place) if place is not None else None
    known = cache.read() if cache is not None else {}
    results: dict[str, ProbeResult] = {}
    waiting: list[tuple[str, str]] = []
    for row in rows:
        old = known.get(row.key)
        if old is not None and old.probe is not None and _same_file(row.path, old.probe):
            results[row.key] = old
        else:
            waiting.append((row.key, row.path))
    what = ProbeTask(videos=(), decode=run.decode_limits, device=run.device, decoders=decoders(run))
    trial = Trial(watching=not results and not run.max_failures)

    def probe(videos: Sequence[tuple[str, str]], size: int) -> None:
        tasks = [replace(what, videos=tuple(videos[i : i + size])) for i in range(0, len(videos), size)]
        for batch in _batches(executor, tasks):
            results.update((result.key, result) for result in batch)
            if cache is not None:
                cache.add(batch)
            bad = [result for result in batch if result.probe is None]
            trial.add(((r.key, r.stage, r.message) for r in bad), succeeded=len(bad) < len(batch))
            progress.advance(len(batch), len(bad))
            tally.add(result.key for result in bad)

    progress.start("probing", len(rows), "video", done=len(results))
    try:
        if trial.watching:
            # All over the list, since neighbours may well be bad together; and by themselves, so that no other is tried.
            count = min(TRIED, len(waiting))
            probe([waiting[k * len(waiting) // count] for k in range(count)], _at_once(run))
            if trial.tried:
                raise trial.error()
            waiting = [video for video in waiting if video[0] not in results]
        probe(waiting, videos_per_task(len(waiting), run))
    finally:
        if cache is not None:
            cache.flush()
    progress.finish()
    return results


def _batches(executor: Executor, tasks: Sequence[ProbeTask]) -> Iterator[list[ProbeResult]]:
    """Yield what probing gave; where workers died, the videos are probed one by one until the culprit is named."""
    singly: list[ProbeTask] = []
    for outcome in executor.run(probe_videos, tasks):
        if isinstance(outcome, Lost):
            singly += [replace(outcome.task, videos=(video,)) for video in outcome.task.videos]
        else:
            yield outcome
    for outcome in executor.run(probe_videos, singly):
        if isinstance(outcome, Lost):
            message = f"workers died on it {outcome.deaths} times while it was probed"
            yield [ProbeResult(key=outcome.task.videos[0][0], probe=None, stage="decode", message=message)]
        else:
            yield outcome


class ProbeCache:
    """Probe results on disk: files of one JSON line a video, each written whole, at most one every few seconds."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.next = 0
        self.waiting: list[ProbeResult] = []
        self.flushed = time.monotonic()

    def read(self) -> dict[str, ProbeResult]:
        """Return what earlier runs found, by key."""
        known = {}
        for name in sorted(self.place.sizes(PROBES)):
            with contextlib.suppress(ValueError, TypeError, KeyError):  # not ours, or of another version
                self.next = max(self.next, int(name.removeprefix(f"{PROBES}/").removesuffix(".jsonl")) + 1)
                for line in self.place.read(name).splitlines():
                    record = json.loads(line)
                    if record["probe"] is not None:
                        record["probe"] = VideoProbe(**record["probe"])
                    known[record["key"]] = ProbeResult(**record)
        return known

    def add(self, batch: Sequence[ProbeResult]) -> None:
        """Keep results; those of the last seconds may still be lost."""
        self.waiting += batch
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self.waiting:
            lines = "".join(json.dumps(asdict(result)) + "\n" for result in self.waiting)
            self.place.write(f"{PROBES}/{self.next:06d}.jsonl", lines.encode())
            self.next += 1
            self.waiting = []
        self.flushed = time.monotonic()


def _same_file(path: str, probe: VideoProbe) -> bool:
    try:
        facts = Path(path).stat()
    except OSError:
        return False
    return (facts.st_size, facts.st_mtime_ns) == (probe.size_bytes, probe.mtime_ns)
