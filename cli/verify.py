"""`vstats verify`."""

import json

import click

from vstats.cli import options
from vstats.cli.progress import progress_for_stderr, say


@click.command("verify")
@click.argument("store", type=click.Path())
@click.option(
    "--recompute", default="0", metavar="N%", help="Also decode and compute N % of the videos again."
)
@options.moved_root
@options.device
@click.option(
    "--workers",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Worker processes for --recompute.",
)
@options.unproven
@click.option("--seed", default=0, show_default=True, help="Chooses the videos to recompute.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    store: str, recompute: str, root: str | None, device: str, workers: int, unproven: bool, seed: int, as_json: bool
) -> int:  # fmt: skip
    """Check every file and digest of STORE; with --recompute, that the videos still give the same bits.

    Exit code 3 when anything differs.
    """
    from vstats.pipeline.config import RunConfig
    from vstats.pipeline.errors import UsageError
    from vstats.pipeline.verify import verify

    try:
        percent = float(recompute.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise UsageError(f"--recompute is {recompute!r}; it must be a percentage from 0 to 100")
    report = verify(
        store,
        recompute_percent=percent,
        root=root,
        run=RunConfig(device=device, workers=workers, unproven=unproven),
        seed=seed,
        progress=progress_for_stderr(),
        say=say,
    )
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(report)))
    else:
        for unproven_stage in report.unproven:
            click.echo(f"unproven: {unproven_stage} gave other bits on known clips than it must", err=True)
        for finding in report.findings:
            click.echo(f"{finding.where}: {finding.message}")
        if report.findings:
            click.echo(
                f"{len(report.findings)} differences. To mend damaged files: remove {store}/COMMIT.json and run the "
                "same extract command again; only damaged shards are computed anew",
                err=True,
            )
        else:
            click.echo(f"whole   {report.files} files, {report.bytes:,} bytes")
            if percent:
                click.echo(
                    f"equal   {report.rows_recomputed} rows of {report.videos_recomputed} videos, bit for bit"
                )
            click.echo(f"digest  {report.digest}")
    return 3 if report.findings else 0
