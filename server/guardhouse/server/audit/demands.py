"""What `guardhouse audit verify` is told of a ledger on the command line: its anchor, signer and key."""

import os
import re
from pathlib import Path
from typing import Final

import click

from guardhouse.interceptors.ledger.anchor import parse_anchor, read_anchor
from guardhouse.interceptors.ledger.chain import Link
from guardhouse.interceptors.ledger.keys import public_key_in, secret, secret_in

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
Context = click.Context
Parameter = click.Parameter


def anchor(_context: Context, _parameter: Parameter, value: str | None) -> Link | None:
    """The head in *value*, or in the file that it names."""
    if value is None:
        return None
    try:
        return parse_anchor(value)
    except ValueError:
        pass
    try:
        found = read_anchor(Path(value))
    except (ValueError, OSError) as error:
        raise click.BadParameter(f"{value} {_words(error)}") from error
    if found is None:
        raise click.BadParameter(f"{value} is neither SEQ:HASH nor a file that is there")
    return found


def public_key(_context: Context, _parameter: Parameter, value: str | None) -> str:
    """The public key in the file *value*, as hex; "" for none."""
    if value is None:
        return ""
    try:
        return public_key_in(Path(value))
    except (ValueError, OSError) as error:
        raise click.BadParameter(f"{value} {_words(error)}") from error


def key(_context: Context, _parameter: Parameter, value: str | None) -> bytes:
    """The secret in the file, or in the environment variable, that *value* names; b"" for none."""
    if value is None:
        return b""
    variable = _VARIABLE.fullmatch(value)
    try:
        return secret(os.environ.get(variable[1], "").encode()) if variable else secret_in(Path(value))
    except (ValueError, OSError) as error:
        raise click.BadParameter(f"{value} {_words(error)}") from error


def _words(error: ValueError | OSError) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
