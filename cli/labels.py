"""`vstats labels`."""

import sys

import click


@click.command("labels")
@click.argument("store", type=click.Path())
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    help="[default: by -o's suffix, else csv]",
)
@click.option("-o", "--output", metavar="FILE", help="File to write.  [default: stdout]")
@click.option("--incomplete", is_flag=True, help="Also read a store whose extraction has not finished.")
def command(store: str, form: str | None, output: str | None, incomplete: bool) -> None:
    """Write one line a row of STORE: the video's key and class, the clip, and every label.

    Labels count from 1; 0 is undefined; 255 stands where a row has no labels (its status says why).
    """
    from vstats.pipeline.errors import UsageError
    from vstats.pipeline.store import Store
    from vstats.pipeline.table import write_table

    suffix = (output or "").rpartition(".")[2]
    form = form or (suffix if suffix in ("csv", "jsonl", "parquet") else "csv")
    opened = Store.open(store, incomplete=incomplete)
    if output is None:
        if form == "parquet" and sys.stdout.isatty():
            raise UsageError("parquet is binary: give -o FILE, or send stdout to a file")
        write_table(opened, form, sys.stdout.buffer)
        return
    written = write_table(opened, form, output)
    click.echo(f"{written} rows written to {output}", err=True)
