"""`vstats export`."""

import click

FORMS = ("hdf5", "parquet", "webdataset", "denseflow", "flo", "flow-hdf5")


def save_items(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Return the comma-separated items of an option; none for "labels", None where it is not given."""
    return (
        None
        if value is None
        else tuple(i for i in (part.strip() for part in value.split(",")) if i not in ("", "labels"))
    )


@click.command("export")
@click.argument("store", type=click.Path())
@click.option("-o", "--output", required=True, metavar="PATH", help="File or folder to write.")
@click.option("--format", "form", required=True, type=click.Choice(FORMS), help="Its form.")
@click.option(
    "--save",
    default=None,
    callback=save_items,
    metavar="LIST",
    help="Of clips, flow, statistics those to write beside the labels; labels: none.  [default: what the form carries]",
)
@click.option(
    "--bound", default=20.0, show_default=True, help="denseflow: pixels that 8 bits span on either side."
)
def command(store: str, output: str, form: str, save: tuple[str, ...] | None, bound: float) -> None:
    """Write STORE in a form that other tools read.

    hdf5, parquet and webdataset carry labels and lose nothing: `vstats import` makes the store again, with the same
    digest. denseflow (JPEG pairs of 8 bits), flo and flow-hdf5 carry the flow that --save flow kept; denseflow loses up
    to BOUND/255 pixels, and what JPEG adds.

    \b
    Examples:
      vstats export ucf101.vstats -o ucf101.h5 --format hdf5
      vstats export ucf101.vstats -o shards/ --format webdataset --save clips
      vstats export ucf101.vstats -o flow/ --format denseflow --bound 20
    """
    from vstats.pipeline.exchange import FLOW_FORMS, export_flow, export_labels

    if form in FLOW_FORMS:
        done = export_flow(store, output, form, bound=bound)
        click.echo(f"flow of {done.count} clips written to {done.output}")
    else:
        done = export_labels(store, output, form, save=save)
        click.echo(f"{done.count} rows written to {done.output}")
