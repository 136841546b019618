"""`guardhouse completion`: click's own completion script, for three shells."""

import click
from click.shell_completion import get_completion_class

EXAMPLE = """\b
Example:
  eval "$(guardhouse completion bash)"
  guardhouse completion fish > ~/.config/fish/completions/guardhouse.fish
"""


@click.command("completion", epilog=EXAMPLE)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes guardhouse's commands and options in SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click knows no completion for {shell}")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "guardhouse", "_GUARDHOUSE_COMPLETE").source())
