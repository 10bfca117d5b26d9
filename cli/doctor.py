"""`vstats doctor`."""

import json
from typing import Any

import click

from vstats.cli import extract

NOT_ASKED: dict[str, Any] = {"dashboard": False, "overwrite": False, "max_failures": ""}
"""Options of `vstats extract` that change nothing that is checked; all others are taken from there."""


@click.command("doctor")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-o", "--output", metavar="STORE", help="Where the store will be: its disk or server is tried.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    inputs: tuple[str, ...], output: str | None, as_json: bool, root: str | None, kind: str, classes: str | None,
    part: str, **chosen: Any,
) -> int:  # fmt: skip
    """Check the machine, the installation and STORE's place; with INPUT, estimate how long a run takes and its bytes.

    Every line says ok, warn or fail, what was found, and what to do; the exit code is 4 if one says fail. Takes the options
    of `vstats extract` that change what a run needs. Leaves nothing behind.

    \b
    Examples:
      vstats doctor
      vstats doctor videos/ -o labels.vstats
      vstats doctor kinetics-400_train.csv --root train/ --save clips --workers 16 -o s3://bucket/k400.vstats
    """
    from dataclasses import asdict

    try:
        from vstats.pipeline import doctor
        from vstats.pipeline.manifest import read_manifest
        from vstats.pipeline.parts import parse_part, select
    except ImportError as error:  # whoever needs a doctor may lack a package, too
        missing = {
            "check": "packages",
            "state": "fail",
            "found": f"vstats cannot be loaded: {error}",
            "advice": "install vstats anew, with pip, in an environment of its own",
        }
        if as_json:
            click.echo(json.dumps({"state": "fail", "findings": [missing], "estimate": None}))
        else:
            _print(**missing)
        return 4

    config, run = extract.configured(**chosen, **NOT_ASKED)
    manifest = read_manifest(inputs, root=root, kind=kind, classes=classes) if inputs else None
    if manifest is not None and part:
        manifest = select(manifest, parse_part(part))
    case = doctor.Case(config=config, run=run, manifest=manifest, output=output)
    diagnosis = doctor.examine(case, lambda finding: None if as_json else _print(**asdict(finding)))
    if as_json:
        click.echo(json.dumps({"state": diagnosis.state, **asdict(diagnosis)}))
    else:
        states = [finding.state for finding in diagnosis.findings]
        click.echo(f"{len(states)} checks: {states.count('fail')} fail, {states.count('warn')} warn")
    return 4 if diagnosis.state == "fail" else 0


def _print(check: str, state: str, found: str, advice: str) -> None:
    click.echo(f"{state:<5} {check:<14} {found}")
    if advice:
        click.echo(f"{'':<20} -> {advice}")


command.params += [
    param
    for param in extract.command.params
    if param.name not in {*NOT_ASKED, "inputs", "output", "dry_run", "demo", "as_json"}
]
