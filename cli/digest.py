"""`vstats digest`."""

import json

import click


@click.command("digest")
@click.argument("store", type=click.Path())
@click.option("--arrays", is_flag=True, help="Also print the digest of every array.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(store: str, arrays: bool, as_json: bool) -> int:
    """Print the digest of what STORE holds, computed from its arrays.

    Equal digests mean equal rows, labels and videos, whatever the shard size, codec, worker count or machine.
    Exit code 3 when it is not the digest that was committed.
    """
    from vstats.pipeline.store import Store, root_of_roots

    opened = Store.open(store)
    roots = opened.compute_roots()
    digest = root_of_roots(roots)
    if as_json:
        click.echo(json.dumps({"digest": digest, "committed": opened.digest, "roots": roots}))
    else:
        if arrays:
            for name, root in sorted(roots.items()):
                click.echo(f"{root}  {name}")
        click.echo(digest)
    if digest != opened.digest:
        click.echo(
            f"COMMIT.json states {opened.digest}; `vstats verify {store}` names what differs", err=True
        )
        return 3
    return 0
