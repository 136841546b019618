"""`guardhouse infer`: one query from files, with a client's profile; and how `guardhouse whoami` connects."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from guardhouse.clients import Client, Credentials

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

EXAMPLE = """\b
Example:
  guardhouse infer digits --input digit.json
  guardhouse infer digits --input image=digit.npy --output answer.npz
"""


@dataclass(frozen=True, slots=True)
class Connection:
    """What the options say of where to call, and as whom."""

    profile: Path | None
    target: str
    token: str
    token_file: Path | None
    no_token: bool
    timeout: float


class Timeout(click.ParamType):  # type: ignore[type-arg] # generic from click 8.4 on only
    """A time like 30s, 500ms or 2m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds, more than none."""
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", str(value))
        seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no time: write it like 30s, 500ms or 2m", param, ctx)
        return seconds


PATH = click.Path(path_type=Path)

OPTIONS = (
    click.option("--profile", type=PATH, metavar="DIR", help="Folder with client.yaml; else . or .demo."),
    click.option("--target", default="", metavar="HOST:PORT", help="Call this, not the profile's target."),
    click.option("--token", default="", help="Send this token. Others on this machine may see it."),
    click.option("--token-file", type=PATH, metavar="FILE", help="Send the token in this file."),
    click.option("--no-token", is_flag=True, help="Send no token."),
    click.option("--timeout", type=Timeout(), default="30s", show_default=True, help="Time to answer."),
    click.option("--json", "as_json", is_flag=True, help="Print the answer or the refusal as JSON."),
)


def connection_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every command with a client has."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command("infer", epilog=EXAMPLE)
@click.argument("model")
@click.option(
    "--input",
    "sources",
    multiple=True,
    required=True,
    metavar="[NAME=]FILE",
    help="A .npy or .json file; repeat it for a model with several inputs.",
)
@click.option("--output", type=PATH, metavar="FILE", help="Write the outputs as .npz.")
@click.option("--version", default="", help="Version of the model; the server chooses where none is given.")
@connection_options
def command(
    model: str, sources: tuple[str, ...], output: Path | None, version: str, *, as_json: bool, **options: Any
) -> None:
    """Ask MODEL, with inputs from files, and print what it answers.

    Exits with 1 where the server refuses; the line printed then says why, and what to do.
    """
    with calling(Connection(**options), as_json=as_json) as client:
        from guardhouse.clients import files, terminal

        query = files.read_query(sources)
        start = time.perf_counter()
        result = client.infer(model, query.inputs, version=version, **query.arguments)
        seconds = time.perf_counter() - start
        if output is not None:
            files.write_npz(output, result)
        if as_json:
            click.echo(json.dumps(terminal.result_json(result, seconds)))
        else:
            click.echo(terminal.result_text(result, seconds))


@contextmanager
def calling(connection: Connection, *, as_json: bool) -> Iterator[Client]:
    """Lend a client; whatever goes wrong is told in one line, or as JSON, and ends the command with 1."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is loaded: its own lines help nobody here
    from guardhouse.clients import ConfigurationError, GuardhouseError, TensorError, explain
    from guardhouse.clients.files import FileError

    try:
        with connect(connection) as client:
            yield client
    except GuardhouseError as error:
        fail(explain.line(error), explain.as_json(error), as_json=as_json)
    except (ConfigurationError, TensorError, FileError) as error:
        fail(str(error), {"message": str(error)}, as_json=as_json)


def connect(connection: Connection) -> Client:
    """Return the client that the options and the profile describe. Raises ConfigurationError."""
    from guardhouse.clients import Client
    from guardhouse.clients.profile import read_profile

    target, credentials = read_profile(find_profile(connection.profile))
    return Client(
        connection.target or target,
        credentials=with_token(credentials, connection),
        timeout=connection.timeout,
    )


def find_profile(given: Path | None) -> Path:
    """Return the folder of the profile to use. Raises ConfigurationError where there is none."""
    from guardhouse.clients import ConfigurationError
    from guardhouse.clients.profile import FILE

    if given is not None:
        return given
    for folder in (Path(), Path(".demo")):
        if (folder / FILE).exists():
            return folder
    raise ConfigurationError(
        f"no {FILE} in this folder or .demo: give --profile DIR, or make one with `guardhouse init .demo`"
    )


def with_token(credentials: Credentials, connection: Connection) -> Credentials:
    """Return the profile's credentials with the token that the options want. Raises ConfigurationError."""
    from guardhouse.clients import ConfigurationError

    choices = (connection.no_token, bool(connection.token), connection.token_file is not None)
    if sum(choices) > 1:
        raise ConfigurationError("give only one of --token, --token-file and --no-token")
    if not any(choices):
        return credentials
    return replace(credentials, token=connection.token, token_file=connection.token_file)


def fail(line: str, details: dict[str, Any], *, as_json: bool) -> NoReturn:
    """End the command with 1 and say why: one line to stderr, or JSON to stdout."""
    if not as_json:
        raise click.ClickException(line)
    click.echo(json.dumps({"error": details}))
    raise click.exceptions.Exit(1)
