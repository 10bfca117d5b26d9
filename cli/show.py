"""`vstats show`."""

import click


@click.command("show")
@click.argument("store", type=click.Path())
@click.option("--row", type=int, metavar="N", help="Draw row N (from 0): of the store, or of --video.")
@click.option(
    "--rows", metavar="A:B", help="Draw rows A to B, B left out, on one contact sheet; `:` is all of them."
)
@click.option("--video", metavar="KEY", help="Choose among the rows of this video.  [default: its first]")
@click.option("-o", "--output", required=True, metavar="FILE", help="Picture to write, .png or .jpg.")
@click.option("--root", metavar="DIR", help="Where the videos are now.  [default: where they were planned]")
def command(
    store: str, row: int | None, rows: str | None, video: str | None, output: str, root: str | None
) -> int:
    r"""Draw what the labels of STORE were read from: frames, flow, motion boundaries, blocks, colours.

    The row is computed from its video again. Labels that come out otherwise than stored are named (exit code 3).

    \b
    Examples:
      vstats show labels.vstats --row 7 -o row.png
      vstats show labels.vstats --video Archery/v_Archery_g01_c01.avi -o archery.png
      vstats show labels.vstats --rows 0:16 -o sheet.jpg
    """
    from vstats.pipeline.errors import UsageError
    from vstats.pipeline.show import rows_of_video, show
    from vstats.pipeline.store import Store

    if row is not None and rows is not None:
        raise UsageError("--row and --rows exclude each other: give one")
    if row is None and rows is None and video is None:
        raise UsageError("nothing to draw: say --row N, --rows A:B or --video KEY")
    opened = Store.open(store, incomplete=True)
    among = range(opened.rows) if video is None else rows_of_video(opened, video)
    first, stop = _first_stop(rows, len(among)) if rows is not None else (row or 0, (row or 0) + 1)
    if first < 0 or stop > len(among):
        asked = f"--rows {rows}" if rows is not None else f"--row {row}"
        raise UsageError(f"{asked}: {video or store} has rows 0 to {len(among) - 1}")
    shown = show(
        opened, output, range(among.start + first, among.start + stop), sheet=rows is not None, root=root
    )
    what = f"row {shown.rows[0]}" if rows is None else f"rows {shown.rows[0]} to {shown.rows[-1]}"
    click.echo(f"{what} drawn to {shown.path}")
    for difference in shown.differences:
        click.echo(f"not as stored: {difference}", err=True)
    return 3 if shown.differences else 0


def _first_stop(text: str, count: int) -> tuple[int, int]:
    """Return the first row of "A:B" and the row after its last; either may be left out."""
    from vstats.pipeline.errors import UsageError

    first, colon, stop = text.partition(":")
    if not colon or not all(part.isdigit() or not part for part in (first, stop)):
        raise UsageError(f"--rows is {text!r}; it must be A:B, such as 0:16, or : for all")
    return int(first or 0), int(stop or count)
