"""A plan before it is written: from videos and what probing found to rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.manifest import Manifest
from vstats.pipeline.plan import automatic_shard_size, clip_starts, video_rows
from vstats.pipeline.probe import ProbeResult
from vstats.pipeline.records import Failure, ManifestRow, PlannedRow, VideoRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan before it is written: rows fixed, nothing on disk."""

    index: dict[str, stores.Array]
    videos: tuple[VideoRecord, ...]
    failures: tuple[Failure, ...]
    shard_size: int

    @property
    def rows(self) -> int:
        """Number of planned rows."""
        return sum(video.rows for video in self.videos)


def draft_plan(
    manifest: Manifest, probes: Mapping[str, ProbeResult], config: ExtractConfig, run: RunConfig
) -> Draft:
    """Fix every row: videos in the order of their keys, clips by first frame, crops and flips as configured."""
    videos: list[VideoRecord] = []
    failures: list[Failure] = []
    rows: list[PlannedRow] = []
    present = {row.key for row in manifest.rows}
    for asked in sorted((*manifest.rows, *manifest.missing), key=lambda row: row.key.encode()):
        record, failure = _plan_video(asked, probes.get(asked.key) if asked.key in present else None, config)
        if failure is not None:
            failures.append(failure)
        if record.status == "planned":
            mine = list(video_rows(len(videos), asked.key, record.frames, config, asked.start_frames))
            rows.extend(mine)
            record = replace(record, rows=len(mine))
        videos.append(record)
    return Draft(
        index=stores.index_columns(rows),
        videos=tuple(videos),
        failures=tuple(failures),
        shard_size=run.shard_size or automatic_shard_size(len(rows)),
    )


def _plan_video(
    asked: ManifestRow, found: ProbeResult | None, config: ExtractConfig
) -> tuple[VideoRecord, Failure | None]:
    record = VideoRecord(
        key=asked.key,
        label=asked.label,
        class_name=asked.class_name,
        start_frames=" ".join(map(str, asked.start_frames or ())),
        status="planned",
    )
    if found is None:
        message = f"{asked.path} is not there"
        failure = Failure(key=asked.key, status="missing", stage="find", error="Missing", message=message)
        return replace(record, status="missing", error=message), failure
    if found.probe is None:
        failure = Failure(
            key=asked.key, status="failed", stage=found.stage, error="DecodeError", message=found.message
        )
        return replace(record, status="failed", error=found.message), failure
    record = replace(record, **asdict(found.probe))
    frames = found.probe.frames
    damage = f"{found.probe.lost_packets} packets lost, {found.probe.corrupt_frames} frames damaged"
    if config.damaged == "skip" and (found.probe.lost_packets or found.probe.corrupt_frames):
        failure = Failure(
            key=asked.key, status="skipped", stage="decode", error="DamagedVideo", message=damage
        )
        return replace(record, status="skipped", error=damage), failure
    starts = clip_starts(frames, config, asked.start_frames)
    dropped = [s for s in asked.start_frames or () if s not in starts]
    short = f"{frames} frames decode and a clip reads {config.span}; --short loop would repeat the video"
    if not starts:
        failure = Failure(key=asked.key, status="skipped", stage="plan", error="ShortVideo", message=short)
        return replace(record, status="skipped", error=short), failure
    if dropped:
        listed = len(asked.start_frames or ())
        message = f"{len(dropped)} of {listed} listed clips run past the end, first at {dropped[0]}: {short}"
        failure = Failure(key=asked.key, status="skipped", stage="plan", error="ShortVideo", message=message)
        return replace(record, error=message), failure
    return record, None
