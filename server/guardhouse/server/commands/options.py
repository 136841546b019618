"""Options that several commands share, and how the folder of `guardhouse init` is found."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from cryptography import x509

CONFIG: Final = "guardhouse.yaml"
# Where to look, in this order, when no --dir is given.
USUAL_PLACES: Final = (Path(), Path(".demo"))

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType):  # type: ignore[type-arg] # generic from click 8.4 on only
    """A length of time with its unit: 90s, 15m, 1h, 30d; from a second to 100 years. Gives a timedelta."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read `value`; fail with what to write instead."""
        from guardhouse.interceptors.documents.units import duration

        if isinstance(value, timedelta):
            return value
        try:
            seconds = duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 1 <= seconds <= 36_500 * 86_400:
            self.fail(f"`{value}` is not between 1s and 36500d", param, ctx)
        return timedelta(seconds=seconds)


def json_option(text: str) -> Callable[[F], F]:
    """Make the option --json, which `text` explains."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def set_option(command: F) -> F:
    """Add --set: values over those of the configuration."""
    return click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Put a value over the file's."
    )(command)


def dir_option(command: F) -> F:
    """Add --dir: the folder that init made."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Folder that init made; by default this one, or .demo.",
    )(command)


def force_option(text: str) -> Callable[[F], F]:
    """Make the option --force, which `text` explains."""
    return click.option("--force", is_flag=True, help=text)


def find_directory(given: Path | None) -> Path:
    """Return the folder that init made: the one given, or the first usual place with a configuration."""
    places = (given,) if given is not None else USUAL_PLACES
    for place in places:
        if (place / CONFIG).is_file():
            return place
    where = str(given) if given is not None else "this folder and .demo"
    raise click.ClickException(f"no {CONFIG} in {where}: give --dir, or make one with `guardhouse init DIR`")


def read_file(path: Path) -> bytes:
    """Return the content of a file that init made. Raises click.ClickException that says how to get one."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise click.ClickException(f"{path}: {reason} (`guardhouse init` makes it)") from error


def load_certificate(path: Path) -> "x509.Certificate":
    """Return the first certificate in a PEM file. Raises click.ClickException where there is none."""
    from guardhouse.server import certificates

    try:
        return certificates.load(path.read_bytes())
    except ValueError as error:
        raise click.ClickException(f"{path}: {error}") from error
