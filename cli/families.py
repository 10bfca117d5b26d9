"""`vstats families`."""

import json

import click


@click.command("families")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(as_json: bool) -> None:
    """List the label families with their columns, and the patterns that they are computed on."""
    from dataclasses import asdict

    from vstats.pipeline.definitions import describe_families, describe_patterns

    families, patterns = describe_families(), describe_patterns()
    if as_json:
        facts = {"families": [asdict(f) for f in families], "patterns": [asdict(p) for p in patterns]}
        click.echo(json.dumps(facts))
        return
    for family in families:
        click.echo(f"{family.name} (version {family.version})  {family.description}")
        for where, columns in (("each pattern", family.columns), ("whole crop", family.global_columns)):
            if columns:
                click.echo(f"  {where}")
            for name, meaning in columns.items():
                click.echo(f"    {name:<14} {meaning}")
        click.echo()
    click.echo("patterns")
    for pattern in patterns:
        click.echo(
            f"  {pattern.name} (version {pattern.version}, blocks compared by {pattern.compare})  {pattern.description}"
        )
