"""What all commands share: groups that load late and suggest near names, and the line an error becomes."""

import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

# What an absent package means: the extra that brings it.
EXTRAS: Final = {
    "cryptography": "server",
    "duckdb": "audit",
    "grpc_health": "server",
    "grpc_reflection": "server",
    "joserfc": "server",
    "redis": "redis",
    "opentelemetry": "server",
    "orjson": "server",
    "uvloop": "server",
    "yaml": "server",
    "onnxruntime": "onnx",
    "sklearn": "demo",
}

# Errors whose text was written for the person at the terminal.
OWN: Final = (
    ("guardhouse.clients.errors", "ConfigurationError"),
    ("guardhouse.interceptors.capture.store", "CaptureError"),
    ("guardhouse.interceptors.documents", "ConfigError"),
    ("guardhouse.interceptors.tokens.keys", "KeyStoreError"),
    ("guardhouse.interceptors.ledger.file", "LedgerError"),
    ("guardhouse.server.app", "PortInUse"),
    ("guardhouse.server.models.base", "ModelLoadError"),
    ("guardhouse.server.traces.listen", "ListenError"),
    ("guardhouse.server.traces.store", "StoreError"),
)


class Group(click.Group):
    """A group that answers an unknown name with the nearest one it has."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help where no command is given: wrong usage, but not worth an error."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True, color=ctx.color)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of `args`. Raises click.UsageError where there is none."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            near = get_close_matches(name, self.list_commands(ctx), 1)
            raise click.UsageError(
                f"there is no command {name!r}" + "".join(f"; did you mean {it!r}?" for it in near), ctx
            )
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group that knows its commands by a table, and imports a command's module only to run it.

    Args:
        package: The package that holds a module per command.
        summaries: Name of the command -> one line of help, in the order of the listing.
    """

    def __init__(self, *args: Any, package: str, summaries: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package, self._summaries = package, summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the table."""
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of the command and return its `command`."""
        if cmd_name not in self._summaries:
            return None
        found: click.Command = import_module(f"{self._package}.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the names of the table, and the group's own options."""
        names = [
            CompletionItem(name, help=text)
            for name, text in self._summaries.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def verdict(error: Exception) -> tuple[str, int]:
    """Return the one line that tells a person about `error`, and the exit status."""
    status = error.exit_code if isinstance(error, click.ClickException) else 1
    words = next(say(error) for kind, say in SAYINGS if isinstance(error, kind()))
    return "guardhouse: " + " ".join(words.split()), status


def say_usage(error: Any) -> str:
    """Return a usage error with its next step."""
    path = error.ctx.command_path if error.ctx else "guardhouse"
    said = error.format_message().rstrip(".")
    return f"{said} (see `{path} --help`)"


def say_import(error: Any) -> str:
    """Return which extra brings what is absent."""
    extra = EXTRAS.get((error.name or "").partition(".")[0])
    return f"this command needs `pip install 'guardhouse[{extra}]'`" if extra else say_bug(error)


def say_system(error: Any) -> str:
    """Return what the operating system said, and of which file."""
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}" if error.filename is not None else what


def say_bug(error: Any) -> str:
    """Return an error that nobody foresaw."""
    return f"internal error: {type(error).__name__}: {error} (GUARDHOUSE_DEBUG=1 shows where)"


def own_errors() -> tuple[type[Exception], ...]:
    """Return those classes of `OWN` that are loaded: no other can have been raised."""
    return tuple(getattr(sys.modules[module], name) for module, name in OWN if module in sys.modules)


# Kind of error -> its words; the first that fits. Kinds are looked up late: nothing is imported for them.
SAYINGS: Final[list[tuple[Callable[[], Any], Callable[[Any], str]]]] = [
    (lambda: click.UsageError, say_usage),
    (lambda: click.ClickException, lambda error: str(error.format_message())),
    (own_errors, str),
    (lambda: ImportError, say_import),
    (lambda: OSError, say_system),
    (lambda: Exception, say_bug),
]
