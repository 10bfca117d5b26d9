"""The `vstats` command: finds the sub-command, and turns errors into messages and exit codes."""

import keyword
import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

COMMANDS = {
    "extract": "Label videos: a folder or data set list -> a store.",
    "manifest": "Show how an input list is understood.",
    "inspect": "Show what is in a store.",
    "labels": "Write a store's labels as csv, jsonl or parquet.",
    "export": "Write a store or its flow in a form that others read.",
    "import": "Make a store of an export; convert flow.",
    "show": "Draw what the labels of a row were read from.",
    "status": "Show how far a running extraction is.",
    "plan": "Split an input into parts, for sites without Dask.",
    "merge": "Join stores that were extracted in parts.",
    "retry-failed": "Compute failed videos again.",
    "verify": "Check every file of a store, and recompute labels.",
    "digest": "Print the digest of a store's labels.",
    "diff": "Compare the labels of two stores.",
    "doctor": "Check this machine, and estimate what a run takes.",
    "families": "List the label families and patterns that there are.",
}
"""Every command, each a file of this folder with a click command named `command`."""

EXIT_CODES = """\b
Exit codes: 0 complete; 1 finished, some videos failed; 2 wrong use; 3 a verify, diff or show found a difference;
            4 the store, the disk or the installation refused, or a fault of vstats; 130 interrupted (run the same
            command again to go on).
Every command takes --verbose, which prints the traceback of an error."""


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(dict)["verbose"] = True


VERBOSE = click.Option(
    ["--verbose"],
    is_flag=True,
    expose_value=False,
    callback=_remember,
    help="Print the traceback of an error.",
)
"""Every command's: people add it to the command that failed."""


class LazyGroup(click.Group):
    """A group that imports a command's file only when the command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        # No module can be called import: its file has a "_" more.
        file = cmd_name.replace("-", "_") + "_" * keyword.iskeyword(cmd_name)
        command = import_module(f"vstats.cli.{file}").command
        assert isinstance(command, click.Command)
        if VERBOSE not in command.params:
            command.params.append(VERBOSE)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="vstats")
def cli() -> None:
    """Motion and appearance statistics of videos: computed once, exactly, and made to be shared."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _interrupt)
    given: dict[str, bool] = {}
    try:
        code = cli.main(arguments, prog_name="vstats", standalone_mode=False, obj=given)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was finished is kept: run the same command again to go on", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output went away, as `head` does: not an error, and nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _explain(error, verbose="verbose" in given)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception, *, verbose: bool) -> int:
    from vstats.kernels.errors import VstatsError
    from vstats.pipeline.errors import InternalError

    known = error if isinstance(error, VstatsError) else InternalError.of(error)
    if verbose:
        import traceback

        details = (
            known.details if isinstance(known, InternalError) else "".join(traceback.format_exception(known))
        )
        click.echo(details, err=True, nl=False)
    click.echo(f"vstats: {known}", err=True)
    return int(getattr(known, "exit_code", 2))


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
