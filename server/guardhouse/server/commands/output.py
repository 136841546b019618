"""How commands speak: data on stdout, as JSON where a program reads it, and words for people."""

import json
from typing import Any

import click


def emit(data: Any, as_json: bool, text: str) -> None:
    """Print `data` as one JSON document, or `text` for a person."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=2) if as_json else text)


def ok(text: str, *, err: bool = False) -> None:
    """Say that something is well; in green on a terminal."""
    click.secho(text, fg="green", err=err)


def step(text: str, *, err: bool = False) -> None:
    """Say what to do next: a command as it may be typed; bold on a terminal."""
    click.secho(f"  {text}", bold=True, err=err)


def note(text: str) -> None:
    """Say something to a person without touching stdout, which may hold data."""
    click.secho(f"guardhouse: note: {text}", fg="yellow", err=True)
