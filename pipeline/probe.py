"""One pass over every video before anything is planned: what it is, and how many frames decode.

Headers lie about frame counts, and a plan must not, so every video is decoded once (without colour conversion).
What was found is kept beside the unfinished plan, so a run that is killed while probing goes on where it stopped.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vstats.pipeline.errors import StoreError, VideoError
from vstats.pipeline.execute import Executor
from vstats.pipeline.progress import Progress
from vstats.pipeline.records import ManifestRow, VideoProbe, without_path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTask:
    """Videos to probe, as (key, path)."""

    videos: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What probing one video gave: its facts, or the stage and message of what is wrong with it."""

    key: str
    probe: VideoProbe | None
    stage: str = ""
    message: str = ""


def probe_videos(task: ProbeTask) -> list[ProbeResult]:
    """Probe the videos of one task; a bad one is a result with a message, never an exception."""
    from vstats.pipeline.decode import probe_video

    results = []
    for key, path in task.videos:
        try:
            results.append(ProbeResult(key=key, probe=probe_video(path)))
        except VideoError as error:
            results.append(
                ProbeResult(key=key, probe=None, stage=error.stage, message=without_path(error, path))
            )
    return results


def probe_all(
    rows: Sequence[ManifestRow], executor: Executor, progress: Progress, cache: Path | None
) -> dict[str, ProbeResult]:
    known = _cached_probes(cache)
    results: dict[str, ProbeResult] = {}
    waiting: list[tuple[str, str]] = []
    for row in rows:
        old = known.get(row.key)
        if old is not None and old.probe is not None and _same_file(row.path, old.probe):
            results[row.key] = old
        else:
            waiting.append((row.key, row.path))
    size = max(1, min(16, len(waiting) // 64))
    tasks = [ProbeTask(videos=tuple(waiting[i : i + size])) for i in range(0, len(waiting), size)]
    progress.start("probing", len(rows), "video", done=len(results))
    with contextlib.ExitStack() as stack:
        log = None
        if cache is not None:
            try:
                cache.parent.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(cache.open("a"))
            except OSError as error:
                raise StoreError(f"{cache.parent} cannot be written: {error.strerror or error}") from error
        for batch in executor.run(probe_videos, tasks):
            for result in batch:
                results[result.key] = result
                if log is not None:
                    log.write(json.dumps(asdict(result)) + "\n")
            if log is not None:
                log.flush()
            progress.advance(len(batch), sum(1 for r in batch if r.probe is None))
    progress.finish()
    return results


def _cached_probes(cache: Path | None) -> dict[str, ProbeResult]:
    if cache is None or not cache.is_file():
        return {}
    known = {}
    for line in cache.read_text(errors="replace").splitlines():
        with contextlib.suppress(
            ValueError, TypeError, KeyError
        ):  # the last line of a killed run may be cut short
            record = json.loads(line)
            if record["probe"] is not None:
                record["probe"] = VideoProbe(**record["probe"])
            known[record["key"]] = ProbeResult(**record)
    return known


def _same_file(path: str, probe: VideoProbe) -> bool:
    try:
        facts = Path(path).stat()
    except OSError:
        return False
    return (facts.st_size, facts.st_mtime_ns) == (probe.size_bytes, probe.mtime_ns)
