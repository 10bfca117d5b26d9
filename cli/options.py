"""Options that mean the same in several commands."""

import click

device = click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="What flow and labels are computed on, with equal bits; auto: a GPU if there is one, else the CPU.",
)

workers = click.option(
    "--workers",
    default=None,
    type=click.IntRange(0),
    metavar="N",
    help="Worker processes; 0 computes in this one.  [default: one a core, or one a GPU]",
)

moved_root = click.option(
    "--root", metavar="DIR", help="Where the videos are now.  [default: where they were when planned]"
)

unproven = click.option(
    "--unproven",
    is_flag=True,
    help="Go on where a process gives other bits on known clips than it must; the store says so for ever.",
)
