"""A plan before it is written: from videos and what probing found to rows; and writing it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vstats.pipeline import store as stores
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.manifest import Manifest, manifest_digest
from vstats.pipeline.place import Place
from vstats.pipeline.plan import automatic_shard_size, clip_starts, video_rows
from vstats.pipeline.probe import ProbeResult
from vstats.pipeline.proof import Proof
from vstats.pipeline.provenance import machine, versions
from vstats.pipeline.records import Failure, ManifestRow, VideoProbe, VideoRecord
from vstats.pipeline.shard import row_arrays

FACTS = tuple(VideoProbe.__slots__)


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
    index = stores.IndexColumns()
    present = {row.key for row in manifest.rows}
    for asked in sorted((*manifest.rows, *manifest.missing), key=lambda row: row.key.encode()):

        def rows(frames: int, asked: ManifestRow = asked) -> int:
            return index.extend(video_rows(len(videos), asked.key, frames, config, asked.start_frames))

        record, failure = _plan_video(
            asked, probes.get(asked.key) if asked.key in present else None, config, rows
        )
        videos.append(record)
        if failure is not None:
            failures.append(failure)
    return Draft(
        index=index.arrays(),
        videos=tuple(videos),
        failures=tuple(failures),
        shard_size=run.shard_size or automatic_shard_size(len(index), config),
    )


def write_plan(
    place: Place, draft: Draft, manifest: Manifest, config: ExtractConfig, proofs: Sequence[Proof]
) -> None:
    """Lay out the store that a draft describes; `proofs` are those of the processes that will compute it.

    Raises
    ------
    StoreError
        The disk or server refused.
    """
    plan = stores.Plan(
        config=config,
        rows=draft.rows,
        shard_size=draft.shard_size,
        root=manifest.root,
        source=manifest.source,
        kind=manifest.kind,
        input_sha256=manifest_digest(manifest),
        arrays=(*stores.INDEX, *row_arrays(config)),
        versions=versions(),
        machine=stores.with_unproven(machine(), (proof.unproven for proof in proofs if proof.unproven)),
        planned_at=datetime.now(UTC).isoformat(timespec="seconds"),
        opencv_flow=" | ".join(dict.fromkeys(proof.opencv_flow for proof in proofs if proof.opencv_flow)),
    )
    stores.plan_store(place, plan, draft.index, draft.videos, draft.failures)


def _plan_video(
    asked: ManifestRow, found: ProbeResult | None, config: ExtractConfig, rows: Callable[[int], int]
) -> tuple[VideoRecord, Failure | None]:
    """Return a video's line and why it has no labels, if so; `rows` plans its rows and returns their number."""
    probe = found.probe if found is not None else None
    facts = {name: getattr(probe, name) for name in FACTS} if probe is not None else {}

    def line(status: str, error: str = "", count: int = 0) -> VideoRecord:
        starts = " ".join(map(str, asked.start_frames)) if asked.start_frames else ""
        return VideoRecord(
            key=asked.key, label=asked.label, class_name=asked.class_name, start_frames=starts, status=status,
            error=error, rows=count, **facts,
        )  # fmt: skip

    def without(status: str, stage: str, error: str, message: str) -> tuple[VideoRecord, Failure]:
        return line(status, message), Failure(
            key=asked.key, status=status, stage=stage, error=error, message=message
        )

    if found is None:
        return without("missing", "find", "Missing", "is not there")
    if probe is None:
        return without("failed", found.stage, "DecodeError", found.message)
    if config.damaged == "skip" and (probe.lost_packets or probe.corrupt_frames):
        message = f"{probe.lost_packets} packets lost, {probe.corrupt_frames} frames damaged"
        return without("skipped", "decode", "DamagedVideo", message)
    starts = clip_starts(probe.frames, config, asked.start_frames)
    short = (
        f"{probe.frames} frames decode and a clip reads {config.span}; --short loop would repeat the video"
    )
    if not starts:
        return without("skipped", "plan", "ShortVideo", short)
    count = rows(probe.frames)
    dropped = [s for s in asked.start_frames or () if s not in starts]
    if dropped:
        listed = len(asked.start_frames or ())
        message = f"{len(dropped)} of {listed} listed clips run past the end, first at {dropped[0]}: {short}"
        failure = Failure(key=asked.key, status="skipped", stage="plan", error="ShortVideo", message=message)
        return line("planned", message, count), failure
    return line("planned", count=count), None
