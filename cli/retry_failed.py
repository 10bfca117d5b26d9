"""`vstats retry-failed`."""

import json

import click

from vstats.cli import options
from vstats.cli.progress import progress_for_stderr, say


@click.command("retry-failed")
@click.argument("store", type=click.Path())
@options.moved_root
@options.device
@options.workers
@options.unproven
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    store: str, root: str | None, device: str, workers: int | None, unproven: bool, as_json: bool
) -> int:
    """Compute again the videos of STORE that failed, or were missing and are there now.

    STORE ends with the digest of an extraction that found them whole from the start. It is replaced when all is done;
    until then it stays as it is, beside the folder STORE.retry, which needs as much disk again. Killed or interrupted,
    the same command goes on. Exit code 1 when some videos still fail.
    """
    from vstats.pipeline.config import RunConfig
    from vstats.pipeline.retry import retry_failed

    run = RunConfig(device=device, workers=workers, unproven=unproven)
    report = retry_failed(store, run=run, root=root, progress=progress_for_stderr(), say=say)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(report)))
        return 1 if report.failing else 0
    click.echo(f"store    {report.store}")
    click.echo(f"retried  {report.retried} videos, {len(report.mended)} mended")
    click.echo(f"digest   {report.digest}")
    for key, status in list(report.mended.items())[:10]:
        click.echo(f"mended: {key}" + ("" if status == "ok" else f" ({status})"))
    if len(report.mended) > 10:
        click.echo(f"... and {len(report.mended) - 10} more")
    for failure in report.failing[:10]:
        click.echo(f"failed: {failure.key}: [{failure.stage}] {failure.message}", err=True)
    if len(report.failing) > 10:
        click.echo(f"... and {len(report.failing) - 10} more, all in failures.jsonl", err=True)
    if report.missing:
        click.echo(f"missing: {report.missing} listed videos are still not on disk", err=True)
    return 1 if report.failing else 0
