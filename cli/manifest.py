"""``vstats manifest``: show what an input was understood as, and write it in the canonical form."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vstats.pipeline.manifest import Manifest
    from vstats.pipeline.records import ManifestRow

_SHOWN_ROWS = 5


@click.command("manifest")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "--root", metavar="DIR", help="Folder that paths and keys are relative to (default: the input's own)."
)
@click.option(
    "--kind",
    metavar="KIND",
    default="auto",
    show_default=True,
    help="Kind of list, where it is not what it looks like: canonical, parquet, json, jsonl, kinetics, csv, ucf101, "
    "hmdb51, hmdb51-test, paths, path-label, start-frames, multi-label, path-frames-label, raw-frames.",
)
@click.option(
    "--classes", metavar="FILE", help="Class list: a name a line, or 'index name' lines (classInd.txt)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.option(
    "-o", "--output", metavar="OUT", help="Write the canonical form: OUT ends in .jsonl, .csv or .parquet."
)
@click.option("--list-missing", is_flag=True, help="Also name every listed video that is not on disk.")
def manifest_command(
    inputs: tuple[str, ...],
    root: str | None,
    kind: str,
    classes: str | None,
    as_json: bool,
    output: str | None,
    list_missing: bool,
) -> None:
    """Show what INPUT is understood as: kind, rows, classes, what is there and what is missing.

    INPUT is a folder, a glob, a video, a list (its kind is recognised) or - for a list on standard input. Videos that
    are listed but not there are counted, and are no error.
    """
    from vstats.pipeline.manifest import read_manifest, write_manifest

    manifest = read_manifest(inputs, root=root, kind=kind, classes=classes)
    if output is not None:
        write_manifest(manifest, output)
    facts = _facts(manifest)
    if as_json:
        facts["first_rows"] = [_record(row, found=True) for row in manifest.rows[:_SHOWN_ROWS]]
        facts["notes"] = list(manifest.notes)
        if list_missing:
            facts["missing_keys"] = [row.key for row in manifest.missing]
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(
            f"{name.replace('_', ' '):<15}{value:,}" if isinstance(value, int) else f"{name:<15}{value}"
        )
    for title, rows in (("first rows", manifest.rows), ("first missing", manifest.missing)):
        if rows and not (list_missing and title == "first missing"):
            click.echo(f"{title}:")
            for row in rows[:_SHOWN_ROWS]:
                click.echo(f"  {_line(row)}")
    if list_missing:
        click.echo("missing:")
        for row in manifest.missing:
            click.echo(f"  {row.key}")
    for note in manifest.notes:
        click.echo(f"note: {note}")


command = manifest_command


def _facts(manifest: "Manifest") -> dict[str, object]:
    from vstats.pipeline.manifest import manifest_digest
    from vstats.pipeline.manifest.naming import printable

    rows = [*manifest.rows, *manifest.missing]
    return {
        "source": manifest.source,
        "kind": manifest.kind,
        "root": printable(manifest.root),
        "rows": len(rows),
        "found": len(manifest.rows),
        "missing": len(manifest.missing),
        "duplicates": manifest.duplicates,
        "other_files": manifest.other_files,
        "explicit_clips": sum(len(row.start_frames or ()) for row in rows),
        "classes": len(manifest.classes) or len({row.label for row in rows if row.label >= 0}),
        "without_label": sum(row.label < 0 for row in rows),
        "digest": manifest_digest(manifest),
    }


def _record(row: "ManifestRow", *, found: bool) -> dict[str, object]:
    starts = None if row.start_frames is None else list(row.start_frames)
    return {
        "key": row.key,
        "found": found,
        "label": row.label,
        "class": row.class_name,
        "start_frames": starts,
    }


def _line(row: "ManifestRow") -> str:
    words = [row.key]
    if row.label >= 0:
        words.append(f"label {row.label}" + (f" ({row.class_name})" if row.class_name else ""))
    if row.start_frames:
        shown = ", ".join(map(str, row.start_frames[:6]))
        words.append(f"start frames {shown}{', ...' if len(row.start_frames) > 6 else ''}")
    return "  ".join(words)
