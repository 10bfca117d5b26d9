"""`vstats inspect`."""

import json
from typing import Any

import click


@click.command("inspect")
@click.argument("store", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(store: str, as_json: bool) -> None:
    """Show what is in STORE, finished or not: rows, videos, options, label histograms, failures, versions."""
    from dataclasses import asdict

    from vstats.pipeline.report import inspect
    from vstats.pipeline.store import Store

    facts = inspect(Store.open(store, incomplete=True))
    if as_json:
        click.echo(json.dumps(asdict(facts)))
        return
    state = (
        f"complete, {facts.committed_at}"
        if facts.complete
        else "NOT FINISHED: run the same extract command again"
    )
    lines = {
        "store": f"{facts.path} ({facts.bytes:,} bytes)",
        "state": state,
        "digest": facts.digest or "none yet",
        "videos": _pairs(facts.videos),
        "rows": _pairs(facts.rows),
        "shards": f"{facts.shards_done} of {facts.shards} done, {facts.shard_size} rows each",
        "no motion": f"{facts.no_motion:.1%} of the rows that decode",
        "damage": f"{facts.lost_packets} lost packets, {facts.corrupt_frames} damaged frames in the videos",
        "input": f"{facts.input['source']} ({facts.input['kind']}), root {facts.input['root']}",
        "planned": f"{facts.planned_at} on {facts.machine['host']} ({facts.machine['cpu']})",
        "computed by": ", ".join(
            f"{who or 'not recorded'}, {rows} rows" for who, rows in facts.computed_by.items()
        )
        or "nobody yet",
        "unproven": "; ".join(facts.unproven) or "nothing",
        "flow": "equal bits on any CPU"
        if facts.config["flow"] == "tvl1"
        else f"OpenCV's, whose bits depend on the CPU (sha256 on a known clip: {facts.opencv_flow or 'not recorded'})",
        "time": _pairs({stage: f"{spent:.1f} s" for stage, spent in facts.seconds.items()})
        + " summed over workers",
        "fingerprint": facts.fingerprint,
        "options": _pairs({n: value for n, value in facts.config.items() if n not in ("tvl1", "patterns")}),
        "own patterns": _pairs(
            {
                n: f"({p['blocks']} blocks, sha256 {p['sha256']})"
                for n, p in facts.config.get("patterns", {}).items()
            }
        ),
        "tvl1": _pairs(facts.config["tvl1"]),
        "versions": _pairs(facts.versions),
    }
    for name, text in lines.items():
        click.echo(f"{name:<12} {text}")
    click.echo("\narrays")
    for name, kind in facts.arrays.items():
        click.echo(f"  {name:<36} {kind}")
    if any(facts.histograms.values()):
        click.echo("\nlabels (value: rows; 0 is undefined)")
        for name, counts in facts.histograms.items():
            click.echo(f"  {name:<36} {_pairs(counts)}")
    if facts.margins:
        shares = list(next(iter(facts.margins.values())).below)
        titles = "".join(f"{'< ' + share:>8}" for share in shares)
        click.echo("\nmargins of winners over runners-up (share of labels below; quartiles)")
        click.echo(f"  {'':<36}{titles}     25 %    50 %    75 %")
        for name, margin in facts.margins.items():
            below = "".join(f"{share:>8.1%}" for share in margin.below.values())
            click.echo(f"  {name:<36}{below} {''.join(f'{q:>8.1%}' for q in margin.quartiles)}")
    if facts.failures:
        click.echo(f"\nwithout labels ({len(facts.failures)})")
        for failure in facts.failures[:20]:
            click.echo(
                f"  {failure['status']:<8} {failure['key']}: [{failure['stage']}] {failure['message']}"
            )
        if len(facts.failures) > 20:
            click.echo(f"  ... and {len(facts.failures) - 20} more, all in failures.jsonl")


def _pairs(facts: dict[Any, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "none"
