"""The command `guardhouse`: a table of subcommands, each imported only when it is called."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import click

from guardhouse.server.commands.frame import LazyGroup, verdict

# Name -> one line of help. A command is the click object `command` of the module of its name, here.
COMMANDS: Final = {
    "init": "Make a folder with everything a guarded model needs to start.",
    "serve": "Serve the models of a configuration file.",
    "check": "Validate a configuration and its policy.",
    "cert": "Issue certificates from the development authority, or show one.",
    "token": "Issue tokens from the development issuer.",
    "key": "Create, list and revoke API keys.",
    "policy": "Explain which rule of a policy decides a call.",
    "infer": "Ask a model, with the profile that init made.",
    "whoami": "Say who the server thinks you are, and what is left to you.",
    "limits": "Show what was spent of budgets, or begin one anew.",
    "stubs": "Write client stubs, or the .proto files they come from.",
    "audit": "Verify, read or search the ledger.",
    "top": "Watch who asks what, what is refused, and what it costs.",
    "traces": "Receive and show traces while developing.",
    "completion": "Print the completion script of a shell.",
}


def print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    """Print the installed version and leave."""
    from importlib.metadata import PackageNotFoundError, version

    if wanted and not context.resilient_parsing:
        try:
            click.echo(f"guardhouse {version('guardhouse')}")
        except PackageNotFoundError:
            click.echo("guardhouse (not installed: running from its sources)")
        context.exit()


@click.command(
    "guardhouse",
    cls=LazyGroup,
    package=__name__,
    summaries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the version and exit.",
)
def guardhouse() -> None:
    """A guard around a model served over gRPC.

    Start with `guardhouse init DIR`. GUARDHOUSE_DEBUG=1 adds the traceback to an error.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 on failure, 2 on wrong usage, 130 on Ctrl-C."""
    color = False if os.environ.get("NO_COLOR") else None
    try:
        result = guardhouse.main(arguments, "guardhouse", standalone_mode=False, color=color)
        status = result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort):
        status = 128 + signal.SIGINT
    except Exception as error:
        status = report(error)
    return flush(status)


def report(error: Exception) -> int:
    """Print an error's line on stderr, after its traceback where GUARDHOUSE_DEBUG=1; return its status."""
    line, status = verdict(error)
    if os.environ.get("GUARDHOUSE_DEBUG") == "1":
        traceback.print_exception(error)
    click.echo(line, err=True)
    return status


def flush(status: int) -> int:
    """Empty stdout while errors can still be kept quiet: whoever reads it may have left."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or 1
    return status
