"""`vstats extract`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vstats.cli import options
from vstats.cli.progress import progress_for_stderr, say

if TYPE_CHECKING:
    from vstats.pipeline.config import ExtractConfig, RunConfig


def _save_items(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in value.split(",") if item.strip())


@click.command("extract")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", metavar="STORE", help="Folder of the store, such as labels.vstats.")
@click.option(
    "--root", metavar="DIR", help="Folder that listed paths are relative to.  [default: the list's own]"
)
@click.option("--kind", default="auto", show_default=True, help="Kind of list, where it is not recognised.")
@click.option("--classes", metavar="FILE", help="List of class names (classInd.txt, a label map).")
@click.option(
    "--profile",
    default="sts",
    show_default=True,
    type=click.Choice(["sts", "sts-released", "mas-released"]),
    help="Definition of the labels; the released ones repeat the authors' published code.",
)
@click.option(
    "--clips-per-video",
    type=click.IntRange(1),
    metavar="K",
    help="Clips a video, evenly spread.  [default: 1]",
)
@click.option("--clip-step", type=click.IntRange(1), metavar="N", help="Instead: a clip every N frames.")
@click.option("--clip-length", default=16, show_default=True, type=click.IntRange(2), help="Frames a clip.")
@click.option(
    "--frame-stride",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Step between a clip's frames.",
)
@click.option(
    "--crops", default="center", show_default=True, help="center, corners, five or random:K crops a clip."
)
@click.option(
    "--flip",
    default="none",
    show_default=True,
    type=click.Choice(["none", "both"]),
    help="both: every row has a left-right mirrored twin.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of random crops.")
@click.option(
    "--short",
    default="skip",
    show_default=True,
    type=click.Choice(["skip", "loop"]),
    help="Videos shorter than a clip: left out (and recorded), or repeated.",
)
@click.option(
    "--damaged",
    default="keep",
    show_default=True,
    type=click.Choice(["keep", "skip"]),
    help="Videos with lost packets or damaged frames: labelled from what decodes, or left out (and recorded).",
)
@click.option(
    "--flow",
    default="tvl1",
    show_default=True,
    type=click.Choice(["tvl1", "opencv-tvl1", "dis", "farneback"]),
    help="Flow method.",
)
@click.option(
    "--flow-size",
    default="auto",
    show_default=True,
    metavar="SIZE",
    help="Size at which flow is computed: working, source, short:N or HxW.",
)
@click.option(
    "--frame-size", default="128x171", show_default=True, metavar="HxW", help="Size of the working frame."
)
@click.option("--crop-size", default=112, show_default=True, type=click.IntRange(1), help="Side of the crop.")
@click.option(
    "--save",
    default="",
    callback=_save_items,
    metavar="LIST",
    help="Also store clips, flow, statistics (comma-separated).",
)
@click.option("--statistics", is_flag=True, help="Short for --save statistics.")
@click.option(
    "--pattern",
    "own_patterns",
    multiple=True,
    metavar="NAME=MASKS.npy",
    help="Also label blocks of your own: bool [K, crop, crop], or block numbers [crop, crop]. May be repeated.",
)
@click.option(
    "--shard-size",
    default=0,
    type=click.IntRange(0),
    metavar="ROWS",
    help="Rows a shard.  [default: about 64 shards]",
)
@options.device
@options.workers
@click.option(
    "--worker-memory",
    default="",
    metavar="SIZE",
    help="Memory of a local worker, such as 2GiB.  [default: its share]",
)
@click.option(
    "--scheduler", default="", metavar="ADDRESS", help="Compute on a running Dask cluster: tcp://HOST:PORT."
)
@click.option(
    "--scheduler-file", default="", metavar="FILE", help="The same, by the file that `dask scheduler` wrote."
)
@click.option("--dashboard", is_flag=True, help="Print the address of Dask's dashboard (needs bokeh).")
@click.option(
    "--decode-timeout",
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give a video up when no frame comes for this long.",
)
@click.option(
    "--decode-memory",
    default="4GiB",
    show_default=True,
    metavar="SIZE",
    help="Memory that decoding a video may take.",
)
@click.option(
    "--max-failures",
    default="",
    metavar="N|P%",
    help="Failed videos that are tolerated (exit code 0); one more stops the run.  [default: any number, exit code 1; but "
    "when the first 20 all fail in the same way, the run stops with exit code 4]",
)
@click.option(
    "--part",
    default="",
    metavar="I/N",
    help="Take only part I of N of the videos; `vstats merge` joins the stores.",
)
@options.unproven
@click.option("--overwrite", is_flag=True, help="Start anew where another configuration's store stands.")
@click.option("--dry-run", is_flag=True, help="Print an estimate and the plan, and write nothing.")
@click.option("--demo", is_flag=True, help="Make a few small videos, label them and show what came out.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    inputs: tuple[str, ...], output: str | None, root: str | None, kind: str, classes: str | None, part: str,
    dry_run: bool, demo: bool, as_json: bool, **chosen: Any,
) -> int:  # fmt: skip
    """Label every video of INPUT into a store.

    INPUT is a folder, a glob, a video, - (paths on stdin), or a list: UCF101 splits, Kinetics CSV, mmaction2,
    PyTorchVideo, C3D and STS lists, plain paths, or csv, jsonl and parquet with named columns.

    Running the same command again finishes what is missing and otherwise does nothing.

    \b
    Examples:
      vstats extract videos/ -o labels.vstats
      vstats extract trainlist01.txt --root UCF-101/ --clips-per-video 10 --crops five -o ucf101.vstats
      vstats extract kinetics-400_train.csv --root train/ --statistics --workers 16 -o k400.vstats
    """
    from vstats.pipeline.errors import UsageError

    if demo:
        from vstats.pipeline import demo as demo_videos

        if inputs or output:
            raise UsageError(
                "--demo makes its own videos and its own store: give neither INPUT nor -o with it"
            )
        folder = Path("vstats-demo")
        inputs, output = (str(demo_videos.make_videos(folder / "videos")),), str(folder / "demo.vstats")
        chosen["clips_per_video"] = chosen["clips_per_video"] or demo_videos.CLIPS_PER_VIDEO
        chosen["save"] = (*chosen["save"], *demo_videos.SAVE)
    if not inputs:
        raise UsageError("no INPUT: give a folder, a video or a list (see vstats extract --help), or --demo")
    if not output:
        raise UsageError("no store: say with -o where labels go, such as -o labels.vstats")
    config, run = configured(**chosen)
    from vstats.pipeline.extract import extract
    from vstats.pipeline.parts import parse_part

    report = extract(
        inputs, output, config, run, root=root, kind=kind, classes=classes, dry_run=dry_run,
        part=parse_part(part) if part else None, progress=progress_for_stderr(), say=say,
    )  # fmt: skip
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps({**asdict(report), "failed": report.failed, "dry_run": dry_run}))
    else:
        _print(report, dry_run)
        if demo:
            _show_demo(report.store)
    if demo and not report.labelled and not dry_run:
        click.echo("the demo labelled nothing", err=True)
        return 1
    return 1 if report.failed and not chosen["max_failures"] else 0


def configured(
    *, clips_per_video: int | None, clip_step: int | None, frame_size: str, save: tuple[str, ...], statistics: bool,
    own_patterns: tuple[str, ...],
    shard_size: int, device: str, workers: int | None, worker_memory: str, scheduler: str, scheduler_file: str, dashboard: bool,
    decode_timeout: float, decode_memory: str, max_failures: str, unproven: bool, overwrite: bool,
    **settings: Any,
) -> tuple["ExtractConfig", "RunConfig"]:  # fmt: skip
    """Return what the options say that is to be computed, and how."""
    from vstats.pipeline.config import DecodeLimits, ExtractConfig, RunConfig, parse_bytes
    from vstats.pipeline.errors import UsageError
    from vstats.pipeline.masks import MaskPattern

    if clips_per_video and clip_step:
        raise UsageError("--clips-per-video and --clip-step exclude each other: give one")
    height, _, width = frame_size.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise UsageError(f"--frame-size is {frame_size!r}; it must be HEIGHTxWIDTH, such as 128x171")
    config = ExtractConfig(
        clips_per_video=clips_per_video or (0 if clip_step else 1),
        clip_step=clip_step or 0,
        working_height=int(height),
        working_width=int(width),
        save=(*save, "statistics") if statistics else save,
        patterns=tuple(MaskPattern.from_file(text) for text in own_patterns),
        **settings,
    )
    run = RunConfig(
        device=device,
        workers=workers,
        worker_memory_bytes=parse_bytes(worker_memory) if worker_memory else 0,
        scheduler=scheduler,
        scheduler_file=scheduler_file,
        dashboard=dashboard,
        decode=DecodeLimits(timeout_seconds=decode_timeout, memory_bytes=parse_bytes(decode_memory)),
        shard_size=shard_size,
        overwrite=overwrite,
        max_failures=max_failures,
        unproven=unproven,
    )
    return config, run


def _print(report: Any, dry_run: bool) -> None:
    videos = ", ".join(f"{count} {status}" for status, count in report.videos.items()) or "none"
    if dry_run:
        click.echo(f"would write  {report.store}")
        click.echo(f"videos       {videos}")
        click.echo(f"rows         {report.rows}")
        click.echo(f"shards       {report.shards} of {report.shard_size} rows")
        click.echo(f"bytes        {report.expected_bytes:,} before compression")
        if report.estimate is not None:
            click.echo(f"estimate     {report.estimate}")
    else:
        click.echo(f"store   {report.store}")
        click.echo(f"videos  {videos}")
        click.echo(f"rows    {report.labelled} labelled of {report.rows} planned")
        rate = report.computed_rows / report.seconds if report.seconds else 0.0
        work = (
            "complete already, nothing to do"
            if report.already_complete
            else f"{rate:.1f} clips/s in this run"
        )
        click.echo(f"time    {report.seconds:.1f} s ({work})")
        click.echo(f"digest  {report.digest}")
    if report.damaged:
        click.echo(
            f"damaged: {report.damaged} videos lost packets or hold damaged frames; they are labelled from what decodes "
            "(videos.parquet counts it; --damaged skip leaves them out)",
            err=True,
        )
    for unproven in report.unproven:
        click.echo(f"unproven: {unproven} gave other bits on known clips than it must", err=True)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    left_out = sorted((f for f in report.failures if f.status != "missing"), key=lambda f: f.status)
    missing = len(report.failures) - len(left_out)
    for failure in left_out[:10]:
        click.echo(f"{failure.status}: {failure.key}: [{failure.stage}] {failure.message}", err=True)
    if len(left_out) > 10:
        click.echo(f"... and {len(left_out) - 10} more, all in failures.jsonl", err=True)
    if missing:
        click.echo(
            f"missing: {missing} listed videos are not on disk; `vstats manifest --list-missing` names them",
            err=True,
        )


def _show_demo(store: str) -> None:
    from vstats.pipeline.report import label_words
    from vstats.pipeline.store import Store

    click.echo()
    for line in label_words(Store.open(store)):
        click.echo(line)
    click.echo(
        f"\nNext: vstats inspect {store}; vstats labels {store} --format csv; vstats verify {store} --recompute 100"
    )
