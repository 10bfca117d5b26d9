"""`vstats status`."""

import json

import click


@click.command("status")
@click.argument("store", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
def command(store: str, as_json: bool) -> None:
    """Show how far the extraction of STORE is, while it runs or after it stopped."""
    from dataclasses import asdict

    from vstats.pipeline.errors import NotAStore, NotCommitted
    from vstats.pipeline.lock import is_held
    from vstats.pipeline.place import open_place
    from vstats.pipeline.status import read_status
    from vstats.pipeline.store import Store

    place = open_place(store)
    try:
        opened = Store.open(place)
    except (NotAStore, NotCommitted):
        status = read_status(place)
        if status is None:
            raise
    else:
        if as_json:
            click.echo(json.dumps({"complete": True, "digest": opened.digest, "rows": opened.rows}))
        else:
            click.echo(f"complete   {opened.rows} rows, digest {opened.digest}")
        return
    running = is_held(place)
    if as_json:
        click.echo(json.dumps({"complete": False, "running": running, **asdict(status)}))
        return
    share = status.done / status.total if status.total else 1.0
    left = "" if status.seconds_left is None else f", {status.seconds_left:.0f} s left"
    click.echo(
        f"{status.stage}  {status.done} of {status.total} {status.unit}s ({share:.1%}), failed {status.failed}"
    )
    click.echo(f"rate       {status.per_second:.1f} {status.unit}s/s{left}")
    click.echo(f"run        process {status.pid} on {status.host}, started {status.started_at}")
    click.echo(f"updated    {status.updated_at}")
    if running is False:
        click.echo("stopped    nobody is working on it: run the same command again to go on")
