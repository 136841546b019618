"""`guardhouse audit`: is the ledger as it was written, and what does it say?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from guardhouse.server.audit.files import NoLedgerError
from guardhouse.server.commands.frame import LazyGroup

COMMANDS: Final = {
    "verify": "Check that every line is as it was written.",
    "tail": "Print the newest entries, and follow them.",
    "query": "Find calls, and sum what they cost.",
    "show": "Print what was captured of a call.",
}


class Unreadable(click.ClickException):
    """There is no ledger that could be read at the path."""

    exit_code = 2


@contextmanager
def reading() -> Iterator[None]:
    """Turn what a ledger's files can have against being read into one line, and exit code 2."""
    try:
        yield
    except NoLedgerError as error:
        raise Unreadable(str(error)) from error
    except OSError as error:
        if error.filename is None:  # of our own output, not of a file
            raise
        raise Unreadable(f"cannot read {error.filename}: {error.strerror}") from error


@click.group("audit", cls=LazyGroup, package=__name__, summaries=COMMANDS)
def command() -> None:
    """Check that the ledger is as it was written, or read what it says."""
