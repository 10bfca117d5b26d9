"""`vstats merge`."""

import json

import click

from vstats.cli.progress import progress_for_stderr


@click.command("merge")
@click.argument("stores", metavar="STORE...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", metavar="STORE", required=True, type=click.Path(), help="The new store.")
@click.option(
    "--shard-size",
    default=0,
    type=click.IntRange(0),
    metavar="ROWS",
    help="Rows a shard.  [default: about 64 shards]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(stores: tuple[str, ...], output: str, shard_size: int, as_json: bool) -> None:
    """Join finished stores of the same configuration that have no video in common.

    The new store has the digest that one extraction of all their videos has. Every file of the parts is checked while
    it is read. Running the same command again finishes what is missing and otherwise does nothing; the parts are left
    alone.

    \b
    Example:
      vstats merge part-*-of-8.vstats -o whole.vstats
    """
    from vstats.pipeline.merge import merge

    report = merge(stores, output, shard_size=shard_size, progress=progress_for_stderr())
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(report)))
        return
    videos = ", ".join(f"{count} {status}" for status, count in report.videos.items()) or "none"
    work = (
        "complete already, nothing to do"
        if report.already_complete
        else f"{report.merged_rows} rows in this run"
    )
    click.echo(f"store   {report.store}, of {report.sources} parts")
    click.echo(f"videos  {videos}")
    click.echo(f"rows    {report.labelled} labelled of {report.rows}")
    click.echo(f"time    {report.seconds:.1f} s ({work})")
    click.echo(f"digest  {report.digest}")
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    if report.failed:
        click.echo(
            f"{report.failed} videos failed in the parts; `vstats retry-failed {report.store}` tries them again",
            err=True,
        )
