"""`vstats import`."""

import click

from vstats.cli.export import FORMS


@click.command("import")
@click.argument("source", type=click.Path(exists=True))
@click.option(
    "-o", "--output", required=True, metavar="PATH", help="The new store, or the new flow file or folder."
)
@click.option(
    "--format",
    "form",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *FORMS]),
    help="SOURCE's form.",
)
@click.option(
    "--to", default="flow-hdf5", show_default=True, type=click.Choice(["denseflow", "flo", "flow-hdf5"]),
    help="Of flow: the form to write.",
)  # fmt: skip
@click.option(
    "--bound", default=20.0, show_default=True, help="denseflow: pixels that 8 bits span on either side."
)
def command(source: str, output: str, form: str, to: str, bound: float) -> None:
    """Make a store of what `vstats export` wrote, or bring flow from one form to another.

    \b
    Examples:
      vstats import ucf101.h5 -o ucf101.vstats
      vstats import denseflow/ -o flow.h5 --bound 20
    """
    from vstats.pipeline.exchange import FLOW_FORMS, form_of, import_flow, import_labels

    found = form_of(source) if form == "auto" else form
    if found in FLOW_FORMS:
        done = import_flow(source, output, found, to, bound=bound)
        click.echo(f"flow of {done.count} clips written to {done.output}")
    else:
        done = import_labels(source, output, found)
        click.echo(f"store   {done.output}")
        click.echo(f"rows    {done.count}")
        click.echo(f"digest  {done.digest}")
