"""`vstats diff`."""

import json

import click


@click.command("diff")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@click.option(
    "--first", default=10, show_default=True, type=click.IntRange(0), help="How many differences to list."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(a: str, b: str, first: int, as_json: bool) -> int:
    """Compare the labels of two stores row by row: which differ, how many, where.

    Rows are matched by video key, start frame, stride, crop and flip. Exit code 3 when anything differs.
    """
    from vstats.pipeline.diff import diff
    from vstats.pipeline.store import Store

    report = diff(Store.open(a), Store.open(b), first=first)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps({**asdict(report), "equal": report.equal}))
        return 0 if report.equal else 3
    for option in report.options:
        click.echo(f"option   {option}")
    for which, unproven in (("A", report.unproven_a), ("B", report.unproven_b)):
        for one in unproven:
            click.echo(f"unproven {which}: {one} gave other bits on known clips than it must")
    if report.other_flow:
        click.echo("flow     OpenCV's depends on the CPU, and these were computed on CPUs of several kinds")
    click.echo(f"rows     {report.common_rows} in both, {report.only_a} only in A, {report.only_b} only in B")
    if report.one_sided:
        click.echo(f"rows     {report.one_sided} labelled in one store and not in the other")
    for column in report.columns:
        if column.different:
            click.echo(
                f"label    {column.name:<36} {column.different:>8} of {column.compared} differ ({column.rate:.1%})"
            )
    for name in (*report.columns_only_a, *report.columns_only_b):
        click.echo(f"label    {name:<36} only in {'A' if name in report.columns_only_a else 'B'}")
    compared = sum(column.compared for column in report.columns)
    different = sum(column.different for column in report.columns)
    rate = different / compared if compared else 0.0
    click.echo(
        f"total    {different} of {compared} labels differ ({rate:.2%}), in {report.rows_that_differ} rows"
    )
    for d in report.first:
        where = f"{d.key} frame {d.start_frame} crop {d.crop_y},{d.crop_x}{' flipped' if d.flip else ''}"
        click.echo(f"row      {d.row_a} / {d.row_b}: {where}: {d.column} {d.a} -> {d.b}")
    return 0 if report.equal else 3
