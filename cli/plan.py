"""`vstats plan`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vstats.pipeline.manifest import Manifest


@click.command("plan")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "--root", metavar="DIR", help="Folder that listed paths are relative to.  [default: the list's own]"
)
@click.option("--kind", default="auto", show_default=True, help="Kind of list, where it is not recognised.")
@click.option("--classes", metavar="FILE", help="List of class names (classInd.txt, a label map).")
@click.option("--part", metavar="K/N", help="Only the K-th of N parts, such as 3/8.")
@click.option("--parts", type=click.IntRange(1), metavar="N", help="All N parts.")
@click.option(
    "-o", "--output", metavar="OUT",
    help="Write lists: a file that ends in .jsonl, .csv or .parquet; with --parts a folder, for part-K-of-N.jsonl.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    inputs: tuple[str, ...], root: str | None, kind: str, classes: str | None, part: str | None, parts: int | None,
    output: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Split INPUT into parts for sites without Dask, and show what each part holds.

    A video's part is the sha256 of its key modulo N: the same for any order of the list. `vstats extract INPUT --part
    K/N` labels a part without a list of it; `vstats merge` joins the finished parts to the store that one extraction of
    INPUT makes, bit for bit.

    No video is opened, so rows are not counted; `vstats extract --dry-run` does.

    \b
    Examples:
      vstats plan kinetics-400_train.csv --root train/ --parts 8
      vstats plan kinetics-400_train.csv --root train/ --part 3/8 -o part-3-of-8.jsonl
      vstats plan kinetics-400_train.csv --root train/ --parts 8 -o lists/
    """
    from vstats.pipeline.errors import UsageError
    from vstats.pipeline.manifest import read_manifest, write_manifest
    from vstats.pipeline.manifest.naming import printable
    from vstats.pipeline.parts import Part, parse_part, select

    if part is not None and parts is not None:
        raise UsageError("--part and --parts exclude each other: give one")
    if part is not None:
        wanted = [parse_part(part)]
    else:
        wanted = [Part(number=number, of=parts or 1) for number in range(1, (parts or 1) + 1)]
    manifest = read_manifest(inputs, root=root, kind=kind, classes=classes)
    found = []
    for one in wanted:
        chosen = manifest if one.of == 1 else select(manifest, one)
        facts = {"part": str(one), **_facts(chosen)}
        if output is not None:
            file = Path(output) if parts is None else Path(output, f"part-{one.number}-of-{one.of}.jsonl")
            if parts is not None:
                _make_folder(file.parent)
            write_manifest(chosen, file)
            facts["list"] = str(file)
        found.append(facts)
    if as_json:
        whole = {"source": manifest.source, "kind": manifest.kind, "root": printable(manifest.root)}
        click.echo(json.dumps({**whole, "parts": found}))
        return
    click.echo(f"input  {manifest.source} ({manifest.kind})")
    click.echo(f"root   {printable(manifest.root)}")
    click.echo(f"{'part':<10}{'found':>10}{'missing':>10}{'bytes to read':>20}")
    for facts in found:
        click.echo(f"{facts['part']:<10}{facts['found']:>10,}{facts['missing']:>10,}{facts['bytes']:>20,}")
    for facts in found:
        if not facts["found"]:
            click.echo(
                f"note: part {facts['part']} holds no video that is there; fewer parts would do", err=True
            )


def _facts(manifest: "Manifest") -> dict[str, Any]:
    return {
        "found": len(manifest.rows),
        "missing": len(manifest.missing),
        "explicit_clips": sum(len(row.start_frames or ()) for row in (*manifest.rows, *manifest.missing)),
        "bytes": sum(map(_size, (row.path for row in manifest.rows))),
    }


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _make_folder(path: Path) -> None:
    from vstats.pipeline.durable import disk_refused

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_refused(path, error) from error
